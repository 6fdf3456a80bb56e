// The browser's side of the tests: one RTCPeerConnection against the echo server, driven by `window.peer`.
//
// Everything that can be looked at afterwards is kept: each change of state with its wall-clock time, both
// descriptions, each error.

import { exchange } from './messages.js';
import { watchMedia } from './media.js';
import { readStats } from './stats.js';

const CONNECT_MS = 30_000;
const GATHER_MS = 5_000;

/** Changes the first hex digit of every fingerprint, and nothing else. */
function tamper(sdp) {
  const changed = sdp.replace(/^(a=fingerprint:\S+ )([0-9A-Fa-f])/gm, (_, start, digit) =>
    start + (digit === '0' ? '1' : '0'));
  if (changed === sdp) throw new Error('the description holds no fingerprint');
  return changed;
}

class Peer {
  constructor() {
    this.history = [];
    this.descriptions = {};
    this.remote = new MediaStream();
    this.closed = new Promise((resolve) => { this.onClosed = resolve; });
  }

  note(what) {
    this.history.push({ at: Date.now(), what });
  }

  /**
   * Negotiates with the echo server; does not wait for the connection.
   * server: its address. role: 'offer' or 'answer'. media: whether camera and microphone are sent.
   * tampered: 'ours' or 'theirs', the description whose fingerprint is changed on the way.
   */
  async negotiate({ server, role, media, tampered }) {
    this.server = server;
    this.stream = media ? await navigator.mediaDevices.getUserMedia({ audio: true, video: true }) : null;
    this.pc = new RTCPeerConnection();
    this.watch();
    if (role === 'offer') await this.offer(tampered);
    else await this.answer(tampered);
  }

  watch() {
    const { pc } = this;
    for (const [event, state] of [
      ['connectionstatechange', 'connectionState'],
      ['iceconnectionstatechange', 'iceConnectionState'],
      ['icegatheringstatechange', 'iceGatheringState'],
      ['signalingstatechange', 'signalingState'],
    ]) {
      pc.addEventListener(event, () => this.note(`${state} ${pc[state]}`));
    }
    pc.addEventListener('icecandidate', ({ candidate }) => this.note(`candidate ${candidate?.candidate ?? 'none more'}`));
    pc.addEventListener('datachannel', ({ channel }) => this.use(channel));
    pc.addEventListener('track', ({ track }) => {
      this.note(`track ${track.kind}`);
      this.remote.addTrack(track);
      const video = document.getElementById('echoed');
      if (video.srcObject !== this.remote) video.srcObject = this.remote;
    });
  }

  use(channel) {
    this.channel = channel;
    channel.binaryType = 'arraybuffer';
    for (const event of ['open', 'closing', 'close', 'error']) {
      channel.addEventListener(event, (got) => {
        this.note(`channel ${event}${got.error ? `: ${got.error.message}` : ''}`);
        if (event === 'close') this.onClosed(Date.now());
      });
    }
  }

  async offer(tampered) {
    this.addTracks();
    this.use(this.pc.createDataChannel('test'));
    await this.pc.setLocalDescription();
    const response = await this.ask('POST', 'offer', await this.local(tampered));
    this.id = response.headers.get('x-peer-id');
    await this.setRemote(await response.json(), tampered);
  }

  async answer(tampered) {
    const session = await (await this.ask('POST', 'session')).json();
    this.id = session.id;
    await this.setRemote({ type: session.type, sdp: session.sdp }, tampered);
    this.addTracks();
    await this.pc.setLocalDescription();
    await this.ask('POST', `session/${this.id}/answer`, await this.local(tampered));
  }

  addTracks() {
    for (const track of this.stream?.getTracks() ?? []) this.pc.addTrack(track, this.stream);
  }

  async local(tampered) {
    await this.until('gathered', GATHER_MS, () => this.pc.iceGatheringState === 'complete', 'icegatheringstatechange');
    const { type, sdp } = this.pc.localDescription;
    this.descriptions[type] = sdp;
    return { type, sdp: tampered === 'ours' ? tamper(sdp) : sdp };
  }

  async setRemote({ type, sdp }, tampered) {
    this.descriptions[type] = sdp;
    await this.pc.setRemoteDescription({ type, sdp: tampered === 'theirs' ? tamper(sdp) : sdp });
  }

  async ask(method, path, body) {
    const response = await fetch(`${this.server}/${path}`, {
      method,
      headers: body ? { 'content-type': 'application/json' } : {},
      body: body ? JSON.stringify(body) : undefined,
    });
    if (!response.ok) throw new Error(`${method} /${path}: ${response.status} ${await response.text()}`);
    return response;
  }

  until(what, limit, reached, event, target = this.pc) {
    if (reached()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not ${what} within ${limit / 1000} s`)), limit);
      target.addEventListener(event, () => {
        if (!reached()) return;
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Waits for the connection and the open data channel. */
  async connected() {
    const { pc } = this;
    const ended = () => ['connected', 'failed', 'closed'].includes(pc.connectionState);
    await this.until('connected', CONNECT_MS, ended, 'connectionstatechange');
    if (pc.connectionState !== 'connected') throw new Error(`the connection is ${pc.connectionState}`);
    if (!this.channel) await this.until('told of the data channel', CONNECT_MS, () => this.channel, 'datachannel');
    await this.until('open', CONNECT_MS, () => this.channel.readyState === 'open', 'open', this.channel);
  }

  /** Waits until the connection is over. */
  async failed() {
    const over = () => ['failed', 'closed'].includes(this.pc.connectionState);
    await this.until('failed', 90_000, over, 'connectionstatechange');
  }

  exchange(plan) {
    return exchange(this.channel, plan);
  }

  watchMedia(seconds) {
    return watchMedia(this.pc, seconds * 1000);
  }

  stats() {
    return readStats(this.pc);
  }

  /** Closes; gives the wall-clock time of the call in milliseconds. */
  close() {
    const at = Date.now();
    this.pc.close();
    return at;
  }

  /** What a failed test prints. */
  async report() {
    const stats = this.pc ? await readStats(this.pc).catch((error) => String(error)) : null;
    return { history: this.history, descriptions: this.descriptions, stats };
  }
}

window.newPeer = () => { window.peer = new Peer(); };
window.ready = true;
