// The page: connects to the echo server it came from, and shows what happens.
//
// ?auto=1          connects at once
// ?source=canvas   sends the drawn picture and the tone, without asking for the camera
// ?role=answer     the server makes the offer
//
// window.peerstackEcho = { pc, channel, peerId, state, error, log, start(), stop(), say(text), stats(), serverStats() }

import { Plot, bits, count, milliseconds } from './plot.js';
import { openSource } from './source.js';
import { facts, readBrowser } from './report.js';

const STEPS = [
  ['media', 'Media'], ['offer', 'Offer'], ['answer', 'Answer'], ['ice', 'ICE'],
  ['dtls', 'DTLS'], ['data', 'Data'], ['echo', 'Picture'],
];
const GATHER_MS = 500;
const HTTP_MS = 20_000;
const LINE_MS = 10_000;
const MAX_LOG = 200;
const GONE = 'The peer is gone';

const $ = (id) => document.getElementById(id);
const parameters = new URLSearchParams(location.search);

// A failure told to the person: what, why, what to do about it.
class Failure extends Error {
  constructor(title, text, hint = '') {
    super(text);
    this.title = title;
    this.hint = hint;
  }
}

const page = {
  pc: null,
  channel: null,
  peerId: null,
  state: 'idle',
  error: null,
  log: [],
  start: connect,
  stop: () => hangUp('You hung up.'),
  say,
  stats: () => (page.pc ? readBrowser(page.pc) : null),
  serverStats,
};
window.peerstackEcho = page;

let session = null;

const plots = {
  trip: new Plot($('plots'), 'Round trip', milliseconds),
  sent: new Plot($('plots'), 'Sent', bits),
  received: new Plot($('plots'), 'Came back', bits, true),
  frames: new Plot($('plots'), 'Pictures a second', count('fps'), true),
};

// ---- Connecting -------------------------------------------------------------------------------------------

async function connect() {
  if (session) return;
  const mine = { started: performance.now(), steps: {}, seen: new Set(), lines: [], candidates: { local: [], remote: [] }, trickle: [] };
  session = mine;
  reset();
  setState('connecting', 'Connecting');
  try {
    await begin(mine);
  } catch (error) {
    if (session === mine) await fail(error);
  }
}

// Throws if the attempt was ended while it waited for something.
function still(mine) {
  if (session !== mine) throw new Failure('Ended', 'The attempt was ended.');
}

async function begin(mine) {
  step('media', 'now');
  const config = await ask('GET', 'config').then((response) => response.json());
  const source = await openSource($('source').value);
  if (session !== mine) { source.stop(); still(mine); }
  mine.source = source;
  $('sent').srcObject = source.stream;
  if (source.notice) notice(source.notice);
  step('media', 'done');
  const pc = new RTCPeerConnection({ iceServers: config.iceServers });
  mine.pc = page.pc = pc;
  watch(mine, pc);
  if ($('role').value === 'answer') await answer(mine, pc);
  else await offer(mine, pc);
  mine.timer = setInterval(() => watchServer(mine), 1000);
  step('ice', 'now');
}

async function offer(mine, pc) {
  step('offer', 'now');
  send(mine, pc);
  useChannel(mine, pc.createDataChannel('echo'));
  await pc.setLocalDescription();
  await gathered(pc);
  still(mine);
  step('offer', 'done');
  step('answer', 'now');
  const response = await ask('POST', 'offer', { type: 'offer', sdp: pc.localDescription.sdp });
  usePeer(mine, response.headers.get('x-peer-id'));
  const description = await response.json();
  still(mine);
  noteCandidates(mine, 'remote', description.sdp);
  await pc.setRemoteDescription(description);
  step('answer', 'done');
}

async function answer(mine, pc) {
  step('offer', 'now');
  const response = await ask('POST', 'session');
  const description = await response.json();
  usePeer(mine, description.id);
  still(mine);
  noteCandidates(mine, 'remote', description.sdp);
  await pc.setRemoteDescription({ type: description.type, sdp: description.sdp });
  step('offer', 'done');
  step('answer', 'now');
  send(mine, pc);
  await pc.setLocalDescription();
  await gathered(pc);
  still(mine);
  await ask('POST', `session/${description.id}/answer`, { type: 'answer', sdp: pc.localDescription.sdp });
  step('answer', 'done');
}

function send(mine, pc) {
  for (const track of mine.source.stream.getTracks()) pc.addTrack(track, mine.source.stream);
}

// Candidates found a little later follow one by one.
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

function usePeer(mine, id) {
  mine.peerId = page.peerId = id;
  $('peer-id').hidden = !id;
  $('peer-id').textContent = id ? `peer ${id.slice(0, 8)}` : '';
  if (id) $('peer-id').title = id;
  for (const candidate of mine.trickle.splice(0)) trickle(mine, candidate);
}

function trickle(mine, candidate) {
  if (!mine.peerId) {
    mine.trickle.push(candidate);
    return;
  }
  ask('POST', `peers/${mine.peerId}/candidate`, candidate).catch((error) => log(`Candidate not taken: ${error.message}`, true));
}

// ---- Watching ---------------------------------------------------------------------------------------------

function watch(mine, pc) {
  const current = (handler) => (event) => { if (session === mine) handler(event); };
  pc.addEventListener('icecandidate', current((event) => {
    if (!event.candidate?.candidate) return;
    mine.candidates.local.push(event.candidate.candidate);
    // What is in the description that is sent needs not be sent twice, but it does no harm.
    trickle(mine, event.candidate.toJSON());
  }));
  pc.addEventListener('icecandidateerror', current((event) => {
    log(`${event.url ?? 'ICE server'}: ${event.errorCode} ${event.errorText}`, true);
  }));
  pc.addEventListener('iceconnectionstatechange', current(() => {
    log(`ICE ${pc.iceConnectionState}`, pc.iceConnectionState === 'failed');
    if (['connected', 'completed'].includes(pc.iceConnectionState)) {
      step('ice', 'done');
      if (mine.steps.dtls !== 'done') step('dtls', 'now');
    }
  }));
  pc.addEventListener('connectionstatechange', current(() => onConnectionState(mine, pc)));
  pc.addEventListener('signalingstatechange', current(() => log(`Signalling ${pc.signalingState}`)));
  pc.addEventListener('datachannel', current((event) => {
    if (!mine.channel) useChannel(mine, event.channel);
  }));
  pc.addEventListener('track', current((event) => onTrack(mine, event)));
}

async function onConnectionState(mine, pc) {
  if (mine.failing) return;
  log(`Connection ${pc.connectionState}`, pc.connectionState === 'failed');
  switch (pc.connectionState) {
    case 'connected':
      step('ice', 'done');
      step('dtls', 'done');
      if (mine.steps.data !== 'done') step('data', 'now');
      if (mine.steps.echo !== 'done') step('echo', 'now');
      setState('connected', 'Connected');
      measure(mine);
      break;
    case 'disconnected':
      setState('interrupted', 'Interrupted: nothing comes from the server just now');
      break;
    case 'failed':
      mine.failing = true;
      await fail(await whyFailed(mine));
      break;
    case 'closed':
      await hangUp('The connection was closed.');
      break;
  }
}

async function whyFailed(mine) {
  const server = await measure(mine);
  const reason = server?.lost?.message ?? server?.dtls_error;
  const told = reason ? `peerstack says: ${reason}` : '';
  if (mine.steps.dtls === 'done') {
    return new Failure('The connection was lost', 'Packets no longer get through to the server.',
      `${told}\nThe network may have changed, or the server was stopped.`.trim());
  }
  if (mine.steps.ice === 'done') return dtlsFailure(reason);
  const shown = (list) => [...new Set(list.map(shortCandidate))].join(', ') || 'nothing';
  return new Failure('ICE failed', 'No way for packets between browser and server was found.',
    `The browser offered: ${shown(mine.candidates.local)}.\nThe server offered: ${shown(mine.candidates.remote)}.\n`
    + `A firewall or a VPN may hold UDP back. ${told}`);
}

function dtlsFailure(reason) {
  return new Failure('DTLS failed', 'Packets get through, but browser and server could not agree on keys. '
    + 'A certificate that is not the one named in offer or answer is refused.', reason ? `peerstack says: ${reason}` : '');
}

function shortCandidate(text) {
  const [, , protocol = '', , address = '', , , type] = text.replace(/^a=/, '').split(' ');
  const shown = address.endsWith('.local') ? 'address hidden by the browser (mDNS)' : address;
  return `${type} ${shown} ${protocol.toLowerCase()}`;
}

function noteCandidates(mine, side, sdp) {
  mine.candidates[side] = [...new Set(sdp.split(/\r?\n/).filter((line) => line.startsWith('a=candidate:')))];
}

function onTrack(mine, event) {
  log(`Track ${event.track.kind}`);
  mine.remote ??= new MediaStream();
  mine.remote.addTrack(event.track);
  const video = $('echoed');
  if (video.srcObject !== mine.remote) video.srcObject = mine.remote;
  video.play().catch(() => {});
  if (event.track.kind === 'audio') $('listen').disabled = false;
}

for (const id of ['sent', 'echoed']) {
  $(id).addEventListener('playing', () => {
    if (!session || !$(id).videoWidth) return;
    $(id).parentElement.classList.add('playing');
    if (id === 'echoed') step('echo', 'done');
  });
  $(id).addEventListener('emptied', () => $(id).parentElement.classList.remove('playing'));
}

// ---- The data channel -------------------------------------------------------------------------------------

function useChannel(mine, channel) {
  mine.channel = page.channel = channel;
  channel.binaryType = 'arraybuffer';
  tag('channel-state', channel.readyState);
  channel.addEventListener('open', () => {
    if (session !== mine) return;
    log(`Data channel "${channel.label}" open`);
    tag('channel-state', 'open');
    step('dtls', 'done');
    step('data', 'done');
    enableTyping(true);
  });
  channel.addEventListener('message', (event) => onMessage(mine, event.data));
  channel.addEventListener('error', (event) => {
    if (session === mine) log(`Data channel: ${event.error?.message ?? 'error'}`, true);
  });
  channel.addEventListener('close', () => {
    tag('channel-state', 'closed');
    if (session !== mine) return;
    log('Data channel closed');
    enableTyping(false);
    onChannelClosed(mine);
  });
}

// The server ended the connection, unless the browser sees it still standing a moment later.
async function onChannelClosed(mine) {
  const answer = await serverStats().catch((error) => error);
  if (session !== mine || !(answer instanceof Error)) return;
  await fail(new Failure('The server ended the connection', answer.message,
    'Connect again to go on.'));
}

function enableTyping(on) {
  for (const id of ['line', 'send', 'blob']) $(id).disabled = !on;
}

function say(text) {
  return sendLine(text, text);
}

// Sends and waits for the same to come back. Resolves to the milliseconds that took, or null.
function sendLine(shown, data) {
  const mine = session;
  if (!mine?.channel || mine.channel.readyState !== 'open') return Promise.resolve(null);
  const item = document.createElement('li');
  const label = document.createElement('span');
  label.className = 'text';
  label.textContent = shown;
  const trip = document.createElement('span');
  trip.className = 'trip';
  trip.textContent = 'on the way';
  item.append(label, trip);
  $('lines').append(item);
  while ($('lines').children.length > MAX_LOG) $('lines').firstChild.remove();
  $('lines').scrollTop = $('lines').scrollHeight;
  return new Promise((resolve) => {
    const line = { data, at: performance.now(), done: finish };
    const timer = setTimeout(() => finish(null), LINE_MS);
    function finish(took) {
      clearTimeout(timer);
      mine.lines = mine.lines.filter((other) => other !== line);
      item.className = took === null ? 'lost' : 'back';
      trip.textContent = took === null ? 'did not come back' : `back in ${took.toFixed(1)} ms`;
      resolve(took);
    }
    mine.lines.push(line);
    try {
      mine.channel.send(data);
    } catch (error) {
      log(`Not sent: ${error.message}`, true);
      finish(null);
    }
  });
}

function onMessage(mine, data) {
  const line = mine.lines.find((waiting) => same(waiting.data, data));
  if (line) line.done(performance.now() - line.at);
}

function same(a, b) {
  if (typeof a === 'string' || typeof b === 'string') return a === b;
  const [left, right] = [new Uint8Array(a), new Uint8Array(b)];
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

// ---- Measuring --------------------------------------------------------------------------------------------

// Measures, and ends the attempt when the server has ended it: the browser alone may not learn of that.
async function watchServer(mine) {
  const server = await measure(mine);
  if (session !== mine || !server) return;
  if (server.lost?.title === GONE) {
    await fail(new Failure('The server ended the connection', server.lost.message, 'Connect again to go on.'));
  } else if (server.dtls_error) {
    await fail(dtlsFailure(server.dtls_error));
  }
}

// Reads both sides and shows them. Gives what the server said; `lost` if it said nothing.
async function measure(mine) {
  if (session !== mine || !mine.pc || mine.measuring) return null;
  mine.measuring = true;
  const [browser, server] = await Promise.all([
    readBrowser(mine.pc).catch(() => null),
    mine.peerId ? serverStats().catch((error) => ({ lost: error })) : null,
  ]);
  mine.measuring = false;
  if (session !== mine || !browser) return null;
  if (server?.lost && !mine.serverLost) log(`Statistics of the server: ${server.lost.message}`, true);
  mine.serverLost = Boolean(server?.lost);
  showFacts(facts(browser, server?.lost ? null : server));
  showRates(mine.last, browser);
  mine.last = browser;
  return server;
}

function showRates(last, now) {
  if (!last || now.time - last.time < 300) return;
  const seconds = (now.time - last.time) / 1000;
  const rate = (name) => Math.max(0, ((now[name] ?? 0) - (last[name] ?? 0)) / seconds);
  plots.trip.push(now.roundTrip);
  plots.sent.push(rate('bytesSent') * 8);
  plots.received.push(rate('bytesReceived') * 8);
  const frames = ((now.videoIn.framesDecoded ?? 0) - (last.videoIn.framesDecoded ?? 0)) / seconds;
  plots.frames.push(Math.max(0, frames));
  $('sent-caption').textContent = picture(now.videoOut, (now.videoOut.framesEncoded - last.videoOut.framesEncoded) / seconds);
  $('echoed-caption').textContent = picture(now.videoIn, frames);
}

function picture(entry, frames) {
  const size = entry.frameWidth ? `${entry.frameWidth} × ${entry.frameHeight}` : '';
  return size && Number.isFinite(frames) ? `${size}, ${Math.round(Math.max(0, frames))} fps` : size;
}

function showFacts(rows) {
  const body = $('facts');
  rows.forEach(([name, browser, server, browserClass = '', serverClass = ''], index) => {
    let row = body.rows[index];
    if (!row) {
      row = body.insertRow();
      const head = document.createElement('th');
      head.scope = 'row';
      row.append(head);
      row.insertCell();
      row.insertCell();
    }
    const [head, left, right] = row.children;
    set(head, name, '');
    set(left, browser, browserClass);
    set(right, server, serverClass);
  });
}

function set(cell, text, className) {
  if (cell.textContent !== text) cell.textContent = text;
  if (cell.className !== className) cell.className = className;
}

// ---- HTTP -------------------------------------------------------------------------------------------------

// Asks the server this page came from. A refusal is a Failure with the server's own sentence.
async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(new URL(path, location.href.split('?')[0]), {
      method,
      headers: body ? { 'content-type': 'application/json' } : {},
      body: body ? JSON.stringify(body) : undefined,
      signal: AbortSignal.timeout(HTTP_MS),
    });
  } catch (error) {
    if (error.name === 'TimeoutError') {
      throw new Failure('The server does not answer', `${location.origin} took longer than ${HTTP_MS / 1000} s.`);
    }
    throw new Failure('The server is not reachable', `Nothing answers at ${location.origin}.`,
      'Is it still running? Start it with: cargo run --release --example echo');
  }
  if (response.ok) return response;
  const sentence = (await response.text().catch(() => '')).trim().slice(0, 500);
  throw refusal(response.status, sentence);
}

function refusal(status, sentence) {
  const text = sentence || `The server answered with status ${status}.`;
  switch (status) {
    case 503: return new Failure('The server is full', text, 'Close another page that is connected, or start the server with a larger --max-peers.');
    case 400: return new Failure('The server refused the offer', text);
    case 404: case 410: return new Failure(GONE, text);
    default: return new Failure(`The server answered with ${status}`, text);
  }
}

async function serverStats() {
  if (!page.peerId) return null;
  const response = await ask('GET', `peers/${page.peerId}/stats`);
  return response.json();
}

// ---- The end ----------------------------------------------------------------------------------------------

async function fail(error) {
  if (!session) return;
  const failure = error instanceof Failure ? error : new Failure('It failed', `${error.name}: ${error.message}`);
  log(`${failure.title}: ${failure.message}`, true);
  page.error = { title: failure.title, message: failure.message, hint: failure.hint };
  for (const [id] of STEPS) if (session?.steps[id] === 'now') { step(id, 'bad'); break; }
  finish();
  setState('failed', failure.title);
  $('failure-title').textContent = failure.title;
  $('failure-text').textContent = failure.message;
  $('failure-hint').textContent = failure.hint;
  $('failure-hint').hidden = !failure.hint;
  $('failure').hidden = false;
}

async function hangUp(why) {
  if (!session) return;
  log(why);
  leave();
  finish();
  setState('idle', 'Not connected');
}

// Tells the server, which need not wait for the connection to fall silent then.
function leave() {
  if (session?.peerId) fetch(`peers/${session.peerId}`, { method: 'DELETE', keepalive: true }).catch(() => {});
}

function finish() {
  const mine = session;
  session = null;
  if (!mine) return;
  clearInterval(mine.timer);
  mine.lines.slice().forEach((line) => line.done(null));
  mine.pc?.close();
  mine.source?.stop();
  for (const id of ['sent', 'echoed']) {
    $(id).srcObject = null;
    $(id).parentElement.classList.remove('playing');
  }
  enableTyping(false);
  tag('channel-state', 'closed');
  listen(false);
  $('listen').disabled = true;
}

window.addEventListener('pagehide', () => {
  leave();
  finish();
});

// ---- Showing ----------------------------------------------------------------------------------------------

function setState(state, text) {
  page.state = state;
  document.body.dataset.state = state;
  $('status-text').textContent = text;
  const running = state !== 'idle' && state !== 'failed';
  $('start').hidden = running;
  $('stop').hidden = !running;
  $('start').textContent = state === 'failed' ? 'Try again' : 'Connect';
  $('source').disabled = running;
  $('role').disabled = running;
}

function reset() {
  page.error = null;
  page.log.length = 0;
  page.pc = page.channel = page.peerId = null;
  $('peer-id').hidden = true;
  $('failure').hidden = true;
  $('notice').hidden = true;
  $('log').replaceChildren();
  $('lines').replaceChildren();
  $('sent-caption').textContent = $('echoed-caption').textContent = '';
  Object.values(plots).forEach((plot) => plot.clear());
  showFacts(facts(null, null));
  showSteps();
}

function notice(text) {
  $('notice').textContent = text;
  $('notice').hidden = false;
  log(text);
}

function showSteps() {
  $('steps').replaceChildren(...STEPS.map(([id, name]) => {
    const item = document.createElement('li');
    item.id = `step-${id}`;
    item.className = 'step';
    const title = document.createElement('b');
    title.textContent = name;
    const time = document.createElement('small');
    time.textContent = '\u00a0';
    item.append(title, time);
    return item;
  }));
}

// Marks a step as under way, done (once, with its time) or failed.
function step(id, how) {
  if (!session || session.steps[id] === 'done' || session.steps[id] === how) return;
  session.steps[id] = how;
  const item = $(`step-${id}`);
  item.className = `step ${how}`;
  const time = `${Math.round(performance.now() - session.started)} ms`;
  item.lastChild.textContent = how === 'done' ? time : how === 'bad' ? 'failed' : 'under way';
  if (how === 'done') log(`${item.firstChild.textContent} done`);
}

function tag(id, text) {
  $(id).textContent = text;
  $(id).classList.toggle('open', text === 'open');
}

function log(text, bad = false) {
  const at = session ? performance.now() - session.started : 0;
  page.log.push({ at, text, bad });
  const item = document.createElement('li');
  const time = document.createElement('time');
  time.textContent = `${(at / 1000).toFixed(3)} s`;
  const label = document.createElement('span');
  label.textContent = text;
  if (bad) label.className = 'bad';
  item.append(time, label);
  $('log').prepend(item);
  while ($('log').children.length > MAX_LOG) $('log').lastChild.remove();
}

function listen(on) {
  $('echoed').muted = !on;
  $('listen').setAttribute('aria-pressed', String(on));
  $('listen').textContent = on ? 'Mute the sound' : 'Play the sound';
}

// ---- Controls ---------------------------------------------------------------------------------------------

$('controls').addEventListener('submit', (event) => {
  event.preventDefault();
  connect();
});
$('stop').addEventListener('click', () => page.stop());
$('listen').addEventListener('click', () => {
  session?.source?.resume();
  listen($('echoed').muted);
  $('echoed').play().catch(() => {});
});
$('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('line').value;
  if (!text) return;
  $('line').value = '';
  say(text);
});
$('blob').addEventListener('click', () => {
  const data = crypto.getRandomValues(new Uint8Array(65_536));
  sendLine('64 KiB of random bytes', data.buffer);
});
document.addEventListener('pointerdown', () => session?.source?.resume());

if (parameters.get('source') === 'canvas' || !navigator.mediaDevices) $('source').value = 'canvas';
if (parameters.get('role') === 'answer') $('role').value = 'answer';
showSteps();
showFacts(facts(null, null));
setState('idle', 'Not connected');
if (!navigator.mediaDevices && parameters.get('source') !== 'canvas') {
  notice(`${location.origin} is neither localhost nor HTTPS, so the browser gives this page no camera. `
    + 'A drawn picture and a tone are sent instead.');
}
if (parameters.get('auto') === '1') connect();
