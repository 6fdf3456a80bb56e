// One attempt to connect: media, offer and answer, candidates, and what the browser tells until the end.

import { dtlsFailed, whyFailed } from './failures.js';
import { Failure, protocol } from './protocol.js';
import { openSource } from './source.js';

// The description is sent after so long at the latest; candidates found later follow one by one.
const GATHER_MS = 500;
// From the answer to the connection.
const CONNECT_MS = 30_000;

export class Session {
  // `steps` and `log` are shown while it runs. `on` = { state(name, text), notice(text), source(stream),
  // peer(id), channel(channel), track(track), ended(failure or null) } tells the page.
  constructor({ steps, log, on }) {
    this.steps = steps;
    this.log = log;
    this.on = on;
    this.pc = null;
    this.channel = null;
    this.peerId = null;
    this.source = null;
    this.ended = false;
    this.candidates = { local: [], remote: [] };
    // Candidates that wait until the server knows our description; null once it does.
    this.waiting = [];
  }

  async start(wanted, role) {
    try {
      this.on.state('connecting', 'Connecting');
      this.steps.now('media');
      const config = await protocol.config();
      await this.#openSource(wanted);
      this.pc = new RTCPeerConnection({ iceServers: config.iceServers });
      this.#watch();
      await (role === 'answer' ? this.#answer() : this.#offer());
      this.steps.now('ice');
      this.late = setTimeout(() => this.#failed(), CONNECT_MS);
    } catch (error) {
      this.fail(error);
    }
  }

  hangUp(why) {
    if (this.ended) return;
    this.log.add(why);
    this.#end(null);
  }

  fail(error) {
    if (this.ended) return;
    const failure = error instanceof Failure ? error : new Failure('It failed', `${error.name}: ${error.message}`);
    this.log.add(`${failure.title}: ${failure.message}`, true);
    this.steps.failed();
    this.#end(failure);
  }

  // What the server tells of this connection, asked each second: it may know of an end before the browser does.
  onServer(stats) {
    if (stats.dtls_error) this.fail(dtlsFailed(stats.dtls_error));
  }

  onServerError(error) {
    if (!error.gone) return;
    this.fail(this.steps.reached().has('dtls') ? error : whyFailed(this.steps.reached(), this.candidates, error.message));
  }

  #end(failure) {
    this.ended = true;
    clearTimeout(this.late);
    // The server need not wait until the connection has fallen silent.
    if (this.peerId) protocol.leave(this.peerId);
    this.pc?.close();
    this.source?.stop();
    this.on.ended(failure);
  }

  // ---- Offer and answer -----------------------------------------------------------------------------------

  async #openSource(wanted) {
    const source = await openSource(wanted);
    if (this.ended) {
      source.stop();
      this.#still();
    }
    this.source = source;
    this.on.source(source.stream);
    for (const track of source.stream.getTracks()) {
      track.addEventListener('ended', () => this.#tell(`The ${track.kind} that is sent has stopped`, true));
    }
    if (source.notice) {
      this.on.notice(source.notice);
      this.log.add(source.notice);
    }
    this.steps.done('media');
  }

  async #offer() {
    this.steps.now('offer');
    this.#addTracks();
    this.#useChannel(this.pc.createDataChannel('echo'));
    await this.pc.setLocalDescription();
    const sdp = await this.#described();
    this.steps.done('offer');
    this.steps.now('answer');
    const { id, description } = await protocol.offer(sdp);
    this.#usePeer(id);
    this.#still();
    this.#sendWaiting();
    this.candidates.remote = candidatesOf(description.sdp);
    await this.pc.setRemoteDescription(description);
    this.steps.done('answer');
  }

  async #answer() {
    this.steps.now('offer');
    const { id, type, sdp } = await protocol.session();
    this.#usePeer(id);
    this.#still();
    this.candidates.remote = candidatesOf(sdp);
    await this.pc.setRemoteDescription({ type, sdp });
    this.steps.done('offer');
    this.steps.now('answer');
    this.#addTracks();
    await this.pc.setLocalDescription();
    await protocol.answer(id, await this.#described());
    this.#still();
    this.#sendWaiting();
    this.steps.done('answer');
  }

  #addTracks() {
    for (const track of this.source.stream.getTracks()) this.pc.addTrack(track, this.source.stream);
  }

  // Our description with the candidates found meanwhile: those need not follow.
  async #described() {
    await gathered(this.pc);
    this.#still();
    const { sdp } = this.pc.localDescription;
    const inside = new Set(candidatesOf(sdp).map(candidateKey));
    this.waiting = this.waiting.filter((candidate) => !inside.has(candidateKey(candidate.candidate)));
    return sdp;
  }

  #usePeer(id) {
    this.peerId = id;
    if (!this.ended) this.on.peer(id);
    else if (id) protocol.leave(id);
  }

  // Throws if the attempt was ended while it waited for something.
  #still() {
    if (this.ended) throw new Failure('Ended', 'The attempt was ended.');
  }

  // ---- Candidates -----------------------------------------------------------------------------------------

  #onCandidate(candidate) {
    if (!candidate?.candidate) return;
    this.candidates.local.push(candidate.candidate);
    if (this.waiting) this.waiting.push(candidate.toJSON());
    else this.#sendCandidate(candidate.toJSON());
  }

  #sendWaiting() {
    const waiting = this.waiting;
    this.waiting = null;
    waiting.forEach((candidate) => this.#sendCandidate(candidate));
  }

  #sendCandidate(candidate) {
    // Another server of the protocol has no names for its peers, and what came by then must do.
    if (!this.peerId) return;
    protocol.candidate(this.peerId, candidate).catch((error) => {
      if (!error.gone) this.#tell(`Candidate not taken: ${error.message}`, true);
    });
  }

  // ---- What the browser tells -----------------------------------------------------------------------------

  #watch() {
    const { pc } = this;
    const listen = (target, name, handler) => target.addEventListener(name, (event) => { if (!this.ended) handler(event); });
    listen(pc, 'icecandidate', ({ candidate }) => this.#onCandidate(candidate));
    listen(pc, 'icecandidateerror', ({ url, errorCode, errorText }) => {
      this.#tell(`${url ?? 'ICE server'}: ${errorCode} ${errorText}`, true);
    });
    listen(pc, 'signalingstatechange', () => this.#tell(`Signalling ${pc.signalingState}`));
    listen(pc, 'iceconnectionstatechange', () => this.#onIce());
    listen(pc, 'connectionstatechange', () => this.#onConnection());
    listen(pc, 'datachannel', ({ channel }) => { if (!this.channel) this.#useChannel(channel); });
    listen(pc, 'track', ({ track }) => {
      this.#tell(`Track ${track.kind}`);
      this.on.track(track);
    });
  }

  #onIce() {
    const state = this.pc.iceConnectionState;
    this.#tell(`ICE ${state}`, state === 'failed');
    if (state !== 'connected' && state !== 'completed') return;
    this.steps.done('ice');
    this.steps.now('dtls');
  }

  #onConnection() {
    const state = this.pc.connectionState;
    this.#tell(`Connection ${state}`, state === 'failed');
    switch (state) {
      case 'connected':
        clearTimeout(this.late);
        this.steps.done('ice', 'dtls');
        this.steps.now('data');
        this.steps.now('echo');
        this.on.state('connected', 'Connected');
        break;
      case 'disconnected':
        this.on.state('interrupted', 'Interrupted: nothing comes from the server');
        break;
      case 'failed':
        this.#failed();
        break;
    }
  }

  // Asks the server, which may know more, before it says why.
  async #failed() {
    const told = !this.peerId ? '' : await protocol.stats(this.peerId)
      .then((stats) => stats.dtls_error, (error) => (error.gone ? error.message : null));
    this.fail(whyFailed(this.steps.reached(), this.candidates, told));
  }

  #useChannel(channel) {
    this.channel = channel;
    channel.binaryType = 'arraybuffer';
    channel.addEventListener('open', () => {
      if (this.ended) return;
      this.#tell(`Data channel "${channel.label}" open`);
      this.steps.done('dtls', 'data');
    });
    channel.addEventListener('error', (event) => this.#tell(`Data channel: ${event.error?.message ?? 'error'}`, true));
    channel.addEventListener('close', () => this.#onChannelClosed());
    this.on.channel(channel);
  }

  // The server ended the connection, unless it says otherwise.
  async #onChannelClosed() {
    this.#tell('Data channel closed');
    if (this.ended || !this.peerId) return;
    await protocol.stats(this.peerId).catch((error) => this.fail(error.gone ? error
      : new Failure('The server ended the connection', error.message, { hint: error.hint })));
  }

  #tell(text, bad = false) {
    if (!this.ended) this.log.add(text, bad);
  }
}

function gathered(pc) {
  if (pc.iceGatheringState === 'complete') return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHER_MS);
    pc.addEventListener('icegatheringstatechange', () => {
      if (pc.iceGatheringState !== 'complete') return;
      clearTimeout(timer);
      resolve();
    });
  });
}

function candidatesOf(sdp) {
  const lines = sdp.split(/\r?\n/).filter((line) => line.startsWith('a=candidate:'));
  return [...new Set(lines.map((line) => line.slice(2)))];
}

// Foundation to port: what follows may be written in more than one way.
const candidateKey = (text) => text.split(' ').slice(0, 6).join(' ');
