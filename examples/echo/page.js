// The page: connects to the echo server it came from, and shows what happens.
//
// ?auto=1          connects at once
// ?source=canvas   sends the drawn picture and the tone, without asking for the camera
// ?role=answer     the server makes the offer
//
// window.peerstackEcho = { state, error, pc, channel, peerId, log, start(), stop(), say(text), stats(), serverStats() }

import { Lines } from './lines.js';
import { Plot, bits, count, milliseconds } from './plot.js';
import { protocol } from './protocol.js';
import { facts, readBrowser } from './report.js';
import { Session } from './session.js';
import { $, Log, Steps, showChannel, showFacts, showFailure, showNotice, showPeer, showSound, showState } from './view.js';

const MEASURE_MS = 1000;
// Measurements without a byte of media before the page says so: browsers notice after five seconds and more.
const SILENT = 2;

// Why this page can have no camera, if that is known before anybody asks for it.
const NO_CAMERA = navigator.mediaDevices || window.isSecureContext ? ''
  : `${location.origin} is neither localhost nor HTTPS, so the browser gives this page no camera. `
    + 'A drawn picture and a tone are sent instead.';

const parameters = new URLSearchParams(location.search);
const steps = new Steps($('steps'));
const log = new Log($('log'));
const lines = new Lines($('lines'));
const plots = {
  trip: new Plot($('plots'), 'Round trip', milliseconds),
  sent: new Plot($('plots'), 'Bit rate sent', bits),
  received: new Plot($('plots'), 'Bit rate back', bits, true),
  frames: new Plot($('plots'), 'Frame rate back', count('fps'), true),
};

// The attempt that runs, or null; the latest one; and what was measured of it.
let session = null;
let latest = null;
let measured = {};

const page = window.peerstackEcho = {
  state: 'idle',
  error: null,
  get pc() { return latest?.pc ?? null; },
  get channel() { return latest?.channel ?? null; },
  get peerId() { return latest?.peerId ?? null; },
  log: log.entries,
  start: connect,
  stop: () => session?.hangUp('You hung up.'),
  say: (text) => send(text, text),
  stats: () => (page.pc ? readBrowser(page.pc) : null),
  serverStats: () => (page.peerId ? protocol.stats(page.peerId) : null),
};

// ---- One attempt ------------------------------------------------------------------------------------------

async function connect() {
  if (session) return;
  reset();
  const remote = new MediaStream();
  session = latest = new Session({
    steps, log,
    on: {
      state: setState,
      notice: showNotice,
      source: (stream) => { $('sent').srcObject = stream; },
      peer: showPeer,
      channel: useChannel,
      track: (track) => {
        remote.addTrack(track);
        showEchoed(remote);
      },
      ended: onEnded,
    },
  });
  measured.timer = setInterval(measure, MEASURE_MS);
  await session.start($('source').value, $('role').value);
}

function reset() {
  page.error = null;
  measured = { last: null, silent: 0, busy: false, timer: 0, serverLost: false };
  steps.reset();
  log.reset();
  lines.clear();
  Object.values(plots).forEach((plot) => plot.clear());
  for (const id of ['sent', 'echoed']) $(`${id}-caption`).textContent = '';
  showFailure(null);
  showNotice(NO_CAMERA);
  showPeer(null);
  showFacts(facts(null, null));
}

function setState(state, text) {
  page.state = state;
  showState(state, text);
}

function useChannel(channel) {
  const show = () => { if (session?.channel === channel) showChannel(channel.readyState); };
  for (const name of ['open', 'closing', 'close']) channel.addEventListener(name, show);
  channel.addEventListener('message', (event) => lines.receive(event.data));
  show();
}

function showEchoed(stream) {
  const video = $('echoed');
  if (video.srcObject !== stream) video.srcObject = stream;
  video.play().catch(() => {});
  $('listen').disabled = stream.getAudioTracks().length === 0;
}

function onEnded(failure) {
  session = null;
  clearInterval(measured.timer);
  lines.abandon();
  for (const id of ['sent', 'echoed']) {
    $(id).srcObject = null;
    $(id).parentElement.classList.remove('playing');
  }
  showChannel('closed');
  showSound(false);
  $('listen').disabled = true;
  if (!failure) return setState('idle', 'Not connected');
  page.error = { title: failure.title, message: failure.message, hint: failure.hint };
  setState('failed', failure.title);
  showFailure(failure);
}

// Sends on the data channel. Resolves to the milliseconds until the same came back, or null.
function send(shown, data) {
  const open = session?.channel?.readyState === 'open';
  return open ? lines.send(session.channel, shown, data) : Promise.resolve(null);
}

// ---- Measuring --------------------------------------------------------------------------------------------

// Reads both sides and shows them.
async function measure() {
  const mine = session;
  if (!mine?.pc || measured.busy) return;
  measured.busy = true;
  const [browser, server] = await Promise.all([
    readBrowser(mine.pc).catch(() => null),
    mine.peerId ? protocol.stats(mine.peerId).catch((error) => ({ error })) : null,
  ]);
  measured.busy = false;
  if (session !== mine || !browser) return;
  const error = server?.error;
  if (error && !measured.serverLost) log.add(`No statistics from the server: ${error.message}`, true);
  measured.serverLost = Boolean(error);
  browser.listening = !$('echoed').muted;
  showFacts(facts(browser, error ? null : server));
  if (measured.last) {
    showRates(measured.last, browser);
    noticeSilence(measured.last, browser);
  }
  measured.last = browser;
  if (error) mine.onServerError(error);
  else if (server) mine.onServer(server);
}

function showRates(last, now) {
  const seconds = (now.time - last.time) / 1000;
  const rate = (name) => Math.max(0, ((now[name] ?? 0) - (last[name] ?? 0)) / seconds);
  plots.trip.push(now.roundTrip);
  plots.sent.push(rate('bytesSent') * 8);
  plots.received.push(rate('bytesReceived') * 8);
  plots.frames.push(rate('framesDecoded'));
  $('sent-caption').textContent = picture(now.videoOut, rate('framesEncoded'));
  $('echoed-caption').textContent = picture(now.videoIn, rate('framesDecoded'));
}

function picture({ frameWidth, frameHeight }, frames) {
  return frameWidth ? `${frameWidth} × ${frameHeight}, ${Math.round(frames)} fps` : '';
}

// Sound is sent without a pause, so its echo comes without one.
function noticeSilence(last, now) {
  const quiet = last.mediaReceived > 0 && now.mediaReceived === last.mediaReceived;
  measured.silent = quiet ? measured.silent + 1 : 0;
  if (page.state === 'connected' && measured.silent >= SILENT) {
    setState('interrupted', 'Interrupted: nothing comes from the server');
    log.add('Nothing comes from the server any more', true);
  } else if (page.state === 'interrupted' && !quiet && now.connection === 'connected') {
    setState('connected', 'Connected');
    log.add('The server is heard again');
  }
}

// ---- Controls ---------------------------------------------------------------------------------------------

$('controls').addEventListener('submit', (event) => {
  event.preventDefault();
  connect();
});
$('stop').addEventListener('click', page.stop);
$('listen').addEventListener('click', () => {
  session?.source?.resume();
  showSound($('echoed').muted);
  $('echoed').play().catch(() => {});
});
$('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('line').value;
  if (!text) return;
  $('line').value = '';
  page.say(text);
});
$('blob').addEventListener('click', () => {
  const data = crypto.getRandomValues(new Uint8Array(65_536));
  send('64 KiB of random bytes', data.buffer);
});
for (const id of ['sent', 'echoed']) {
  $(id).addEventListener('playing', () => {
    if (!session || !$(id).videoWidth) return;
    $(id).parentElement.classList.add('playing');
    if (id === 'echoed') steps.done('echo');
  });
}
// Browsers start no sound before somebody has touched the page.
document.addEventListener('pointerdown', () => session?.source?.resume());
window.addEventListener('pagehide', () => session?.hangUp('The page was left.'));

if (parameters.get('source') === 'canvas' || !navigator.mediaDevices) $('source').value = 'canvas';
if (parameters.get('role') === 'answer') $('role').value = 'answer';
reset();
setState('idle', 'Not connected');
if (parameters.get('auto') === '1') connect();
