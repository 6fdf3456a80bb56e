// The browser's side of a call with the test peer: perfect negotiation as webrtc-pc section 10.7 writes it, and calls
// by name to the other side. Driven by `window.call`; everything that can be looked at afterwards is kept.

const LIMIT_MS = 30_000;
const SAMPLE_MS = 50;

const sleep = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

class Call {
  constructor() {
    this.history = [];
    this.errors = [];
    this.descriptions = [];
    this.asked = new Map();
    this.channels = new Map();
    this.makingOffer = false;
    this.ignoreOffer = false;
    this.collisions = 0;
    this.offersSent = 0;
    this.stream = null;
  }

  note(what) {
    this.history.push(`${new Date().toISOString()} ${what}`);
  }

  fail(error) {
    this.note(`error ${error.name}: ${error.message ?? error}`);
    this.errors.push(String(error));
  }

  /** Opens signalling; nothing is negotiated yet. `polite`: whether the browser is, the peer being the other. */
  async open({ server, polite = true, media = true }) {
    this.polite = polite;
    // Asked for first: browsers tell host addresses only to pages with the camera.
    if (media) this.stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    this.pc = new RTCPeerConnection();
    this.watch();
    this.socket = new WebSocket(`${server.replace('http', 'ws')}/peer${polite ? '' : '?polite'}`);
    let queue = Promise.resolve();
    this.socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.reply) return this.onReply(message);
      if (message.error) return this.fail(new Error(`the peer: ${message.error}`));
      queue = queue.then(() => this.onMessage(message)).catch((error) => this.fail(error));
    };
    await new Promise((resolve, reject) => { this.socket.onopen = resolve; this.socket.onerror = reject; });
  }

  watch() {
    const { pc } = this;
    for (const state of ['connectionState', 'iceConnectionState', 'iceGatheringState', 'signalingState']) {
      pc.addEventListener(`${state.toLowerCase()}change`, () => this.note(`${state} ${pc[state]}`));
    }
    pc.onicecandidate = ({ candidate }) => { if (candidate) this.send({ candidate }); };
    pc.onnegotiationneeded = () => this.offer().catch((error) => this.fail(error));
    pc.ondatachannel = ({ channel }) => this.use(channel);
    pc.ontrack = ({ track, transceiver }) => {
      this.note(`track ${track.kind} of ${transceiver.mid}`);
      if (track.kind === 'video') document.getElementById('echoed').srcObject = new MediaStream([track]);
      // What the peer offers to take it gets.
      const own = this.stream?.getTracks().find(({ kind }) => kind === track.kind);
      if (own && this.answersWithMedia && !transceiver.sender.track) {
        transceiver.sender.replaceTrack(own).catch((error) => this.fail(error));
        transceiver.direction = 'sendrecv';
      }
    };
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  async offer() {
    try {
      this.makingOffer = true;
      await this.pc.setLocalDescription();
      this.sendDescription();
    } finally {
      this.makingOffer = false;
    }
  }

  /** Offers, and has the peer offer before it sees ours. */
  async collide(args) {
    this.makingOffer = true;
    await this.pc.setLocalDescription();
    const offered = this.ask('offer', args);
    this.sendDescription();
    this.makingOffer = false;
    await offered;
  }

  /** Remembers the last descriptions. */
  keep(way, { type, sdp }) {
    this.descriptions.push([`${way} ${type}`, sdp]);
    if (this.descriptions.length > 8) this.descriptions.shift();
  }

  sendDescription() {
    const description = this.pc.localDescription;
    this.note(`sends ${description.type}`);
    this.keep('sent', description);
    if (description.type === 'offer') this.offersSent += 1;
    this.send({ description });
  }

  async onMessage({ description, candidate }) {
    const { pc } = this;
    if (candidate) {
      try {
        await pc.addIceCandidate(candidate);
      } catch (error) {
        if (!this.ignoreOffer) throw error;
      }
      return;
    }
    this.keep('received', description);
    // Messages are taken one by one, so that no answer is being set meanwhile.
    const collision = description.type === 'offer' && (this.makingOffer || pc.signalingState !== 'stable');
    this.ignoreOffer = !this.polite && collision;
    this.collisions += collision ? 1 : 0;
    this.note(`receives ${description.type}${collision ? ', and had offered' : ''}${this.ignoreOffer ? ': ignored' : ''}`);
    if (this.ignoreOffer) return;
    await pc.setRemoteDescription(description);
    if (description.type === 'offer') {
      await pc.setLocalDescription();
      this.sendDescription();
    }
  }

  /** Calls a method of the peer. */
  ask(method, args = {}) {
    const call = this.asked.size + 1;
    const reply = new Promise((resolve, reject) => { this.asked.set(call, { resolve, reject }); });
    this.send({ call, method, args });
    return reply;
  }

  onReply({ reply, result, error }) {
    const { resolve, reject } = this.asked.get(reply);
    if (error) reject(new Error(error));
    else resolve(result);
  }

  // ---- Waiting ----------------------------------------------------------------------------------------------

  /** Waits until `reached` gives something, and gives it. An error of either side ends the wait. */
  async until(what, reached, limit = LIMIT_MS) {
    const start = performance.now();
    for (;;) {
      if (this.errors.length) throw new Error(this.errors.join('; '));
      const got = await reached();
      if (got) return got;
      if (performance.now() - start > limit) throw new Error(`not within ${limit} ms: ${what}`);
      await sleep(SAMPLE_MS);
    }
  }

  connected() {
    return this.until('connected', () => this.pc.connectionState === 'connected');
  }

  /** Waits until neither side has anything to negotiate. */
  settled() {
    return this.until('both sides stable and agreed', async () => {
      const offers = this.offersSent;
      const theirs = await this.ask('state');
      const stable = () => this.pc.signalingState === 'stable' && !this.makingOffer && offers === this.offersSent;
      if (!stable() || theirs.signalingState !== 'stable') return false;
      const mirror = { sendrecv: 'sendrecv', sendonly: 'recvonly', recvonly: 'sendonly', inactive: 'inactive' };
      const ours = this.pc.getTransceivers().filter(({ mid, currentDirection }) => mid && currentDirection !== 'stopped');
      const agreed = ours.every(({ mid, currentDirection }) => {
        const other = theirs.transceivers.find((transceiver) => transceiver.mid === mid);
        return other && mirror[other.currentDirection] === currentDirection;
      });
      return agreed && ours.length === theirs.transceivers.length ? theirs : false;
    });
  }

  // ---- Media ------------------------------------------------------------------------------------------------

  /** Frames decoded of a section so far. */
  async decoded(mid) {
    const receiver = this.pc.getTransceivers().find((transceiver) => transceiver.mid === mid)?.receiver;
    if (!receiver) return 0;
    const report = [...(await receiver.getStats()).values()];
    return report.filter(({ type }) => type === 'inbound-rtp').reduce((sum, { framesDecoded }) => sum + (framesDecoded ?? 0), 0);
  }

  /** Waits until `count` more frames of the section are decoded. */
  async flows(mid, count = 5) {
    const start = await this.decoded(mid);
    const from = performance.now();
    await this.until(`${count} frames of section ${mid}`, async () => await this.decoded(mid) >= start + count);
    return Math.round(performance.now() - from);
  }

  /** The longest time without a decoded frame of the section while `body` runs. */
  async longestWithoutFrame(mid, body) {
    let [frames, rise, longest, over] = [await this.decoded(mid), performance.now(), 0, false];
    const watch = (async () => {
      while (!over) {
        const [now, at] = [await this.decoded(mid), performance.now()];
        longest = Math.max(longest, at - rise);
        if (now > frames) rise = at;
        frames = now;
        await sleep(SAMPLE_MS);
      }
    })();
    try {
      await body();
    } finally {
      over = true;
      await watch;
    }
    return Math.round(longest);
  }

  /** The colour in the middle of the picture that comes back. */
  colour() {
    const canvas = Object.assign(document.createElement('canvas'), { width: 16, height: 16 });
    const context = canvas.getContext('2d');
    context.drawImage(document.getElementById('echoed'), 0, 0, 16, 16);
    return [...context.getImageData(8, 8, 1, 1).data.slice(0, 3)];
  }

  /** A picture of one colour, that moves enough to be sent. */
  picture(colour) {
    const canvas = Object.assign(document.createElement('canvas'), { width: 320, height: 240 });
    const context = canvas.getContext('2d');
    let turn = 0;
    const draw = () => {
      turn += 1;
      context.fillStyle = colour;
      context.fillRect(0, 0, 320, 240);
      context.fillStyle = 'white';
      context.fillRect(turn % 320, 0, 4, 4);
    };
    draw();
    setInterval(draw, 50);
    return canvas.captureStream(20).getVideoTracks()[0];
  }

  // ---- Data channels ----------------------------------------------------------------------------------------

  use(channel) {
    channel.binaryType = 'arraybuffer';
    this.channels.set(channel.label, channel);
    for (const event of ['open', 'closing', 'close', 'error']) {
      channel.addEventListener(event, () => this.note(`channel ${channel.label} ${event}`));
    }
    return channel;
  }

  openChannel(label) {
    return this.until(`channel ${label} open`, () => {
      const channel = this.channels.get(label);
      return channel?.readyState === 'open' ? channel : null;
    });
  }

  /** Sends messages one by one and requires each to come back equal. */
  async echoes(label, messages) {
    const channel = await this.openChannel(label);
    for (const message of messages) {
      const back = new Promise((resolve) => { channel.addEventListener('message', ({ data }) => resolve(data), { once: true }); });
      channel.send(message);
      const data = await Promise.race([back, sleep(LIMIT_MS).then(() => { throw new Error(`nothing came back on ${label}`); })]);
      const shown = (value) => (typeof value === 'string' ? value : [...new Uint8Array(value)].join());
      if (typeof data !== typeof message || shown(data) !== shown(message)) {
        throw new Error(`${label}: ${shown(message)} went out, ${shown(data)} came back`);
      }
    }
  }

  options(label) {
    const { ordered, maxRetransmits, maxPacketLifeTime, protocol, negotiated, id } = this.channels.get(label);
    return { ordered, maxRetransmits, maxPacketLifeTime, protocol, negotiated, id };
  }

  close() {
    this.pc?.close();
    this.socket?.close();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
  }

  report() {
    return { history: this.history, errors: this.errors, descriptions: this.descriptions };
  }
}

window.newCall = () => { window.call = new Call(); };
window.ready = true;
