// What the pages of the small examples share: one request carries the offer there and the answer back.

const GATHER_MS = 2_000;

const $ = (id) => document.getElementById(id);

/** Shows a line, newest first. */
export function say(text) {
  const line = document.createElement('li');
  line.textContent = text;
  $('log')?.prepend(line);
}

/** Shows an error, and keeps it for whoever drives the page. */
export function fail(error) {
  window.error = String(error?.stack ?? error);
  say(`${error}`);
}

/** Waits until all candidates are in the local description, or for two seconds. */
export async function gathered(pc) {
  if (pc.iceGatheringState === 'complete') return;
  await new Promise((resolve) => {
    setTimeout(resolve, GATHER_MS);
    pc.addEventListener('icegatheringstatechange', () => { if (pc.iceGatheringState === 'complete') resolve(); });
  });
}

/** Offers what the connection is set up for, and sets the answer of `POST path`. */
export async function connect(pc, path = 'offer') {
  window.pc = pc;
  pc.addEventListener('connectionstatechange', () => say(`connection ${pc.connectionState}`));
  await pc.setLocalDescription();
  await gathered(pc);
  const response = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(pc.localDescription),
  });
  if (!response.ok) throw new Error(`the server refused the offer: ${await response.text()}`);
  await pc.setRemoteDescription(await response.json());
}

/** Camera and microphone; where a page may have none, a drawn picture and a tone. */
export async function source({ audio = true, video = true } = {}) {
  if (navigator.mediaDevices && !new URLSearchParams(location.search).has('drawn')) {
    return navigator.mediaDevices.getUserMedia({ audio, video });
  }
  const stream = new MediaStream();
  if (video) for (const track of drawn().getTracks()) stream.addTrack(track);
  if (audio) {
    const context = new AudioContext();
    const [tone, end] = [context.createOscillator(), context.createMediaStreamDestination()];
    tone.connect(end);
    tone.start();
    for (const track of end.stream.getTracks()) stream.addTrack(track);
  }
  return stream;
}

function drawn() {
  const canvas = Object.assign(document.createElement('canvas'), { width: 1280, height: 720 });
  const context = canvas.getContext('2d');
  let turn = 0;
  setInterval(() => {
    turn += 1;
    context.fillStyle = `hsl(${turn % 360} 60% 40%)`;
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = 'white';
    context.fillRect((turn * 5) % canvas.width, 150, 60, 60);
  }, 33);
  return canvas.captureStream(30);
}

/** Plays what comes in the element with this id. */
export function play(pc, id) {
  const stream = new MediaStream();
  pc.addEventListener('track', ({ track }) => {
    stream.addTrack(track);
    $(id).srcObject = stream;
  });
}
