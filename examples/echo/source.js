// What is sent: camera and microphone, or a drawn picture and a tone where they cannot be had.

const WIDTH = 640;
const HEIGHT = 360;
const FRAMES = 30;

// Gives { stream, kind, notice, resume(), stop() }; `notice` says why there is no camera, if it was wanted.
export async function openSource(wanted) {
  if (wanted === 'canvas') return drawn(null);
  if (!navigator.mediaDevices?.getUserMedia) {
    const why = window.isSecureContext
      ? 'This browser gives pages no camera'
      : `${location.origin} is neither localhost nor HTTPS, so the browser gives this page no camera`;
    return drawn(`${why}. A drawn picture and a tone are sent instead.`);
  }
  try {
    return camera(await navigator.mediaDevices.getUserMedia({
      audio: true,
      video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
    }), null);
  } catch (error) {
    return withoutBoth(error);
  }
}

// One of the two may be there all the same.
async function withoutBoth(error) {
  if (error.name === 'NotFoundError' || error.name === 'NotReadableError' || error.name === 'OverconstrainedError') {
    const video = await navigator.mediaDevices.getUserMedia({ video: true }).catch(() => null);
    if (video) {
      const tone = makeTone();
      const source = camera(new MediaStream([...video.getTracks(), ...tone.stream.getTracks()]),
        'There is no usable microphone. A tone is sent instead.');
      return { ...source, resume: tone.resume, stop: () => { source.stop(); tone.stop(); } };
    }
    const audio = await navigator.mediaDevices.getUserMedia({ audio: true }).catch(() => null);
    if (audio) {
      const picture = makePicture();
      const stream = new MediaStream([...audio.getTracks(), ...picture.stream.getTracks()]);
      return {
        stream, kind: 'microphone and drawn picture', resume() {},
        notice: 'There is no usable camera. A drawn picture is sent instead.',
        stop() { stream.getTracks().forEach((track) => track.stop()); picture.stop(); },
      };
    }
  }
  return drawn(`${reasonOf(error)} A drawn picture and a tone are sent instead.`);
}

function reasonOf(error) {
  switch (error.name) {
    case 'NotAllowedError': return 'The browser was told not to give this page the camera.';
    case 'NotFoundError': return 'This machine has neither camera nor microphone.';
    case 'NotReadableError': return 'The camera is used by another program.';
    default: return `There is no camera (${error.name}: ${error.message}).`;
  }
}

function camera(stream, notice) {
  return {
    stream, kind: 'camera', notice, resume() {},
    stop() { stream.getTracks().forEach((track) => track.stop()); },
  };
}

function drawn(notice) {
  const picture = makePicture();
  const tone = makeTone();
  const stream = new MediaStream([...tone.stream.getTracks(), ...picture.stream.getTracks()]);
  return {
    stream, kind: 'drawn picture', notice, resume: tone.resume,
    stop() { picture.stop(); tone.stop(); },
  };
}

function makePicture() {
  const canvas = document.createElement('canvas');
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext('2d', { alpha: false });
  let frame = 0;
  draw(context, frame);
  const stream = canvas.captureStream(FRAMES);
  // A timer, since animation frames stop on pages in the background.
  const timer = setInterval(() => draw(context, ++frame), 1000 / FRAMES);
  return {
    stream,
    stop() { clearInterval(timer); stream.getTracks().forEach((track) => track.stop()); },
  };
}

// A clock to compare the two pictures by, a hand that shows every dropped frame, and colours.
function draw(context, frame) {
  const turn = (frame / (FRAMES * 4)) * Math.PI * 2;
  const backdrop = context.createLinearGradient(0, 0, WIDTH, HEIGHT);
  backdrop.addColorStop(0, '#0c2b33');
  backdrop.addColorStop(1, '#0a3a3a');
  context.fillStyle = backdrop;
  context.fillRect(0, 0, WIDTH, HEIGHT);
  const bars = ['#e9e6dc', '#e0b83b', '#3fb3b3', '#4c9f5b', '#b45a9a', '#c4452f', '#3b5fb5', '#7b8a3a'];
  const step = WIDTH / (bars.length - 1);
  bars.forEach((colour, index) => {
    context.fillStyle = colour;
    const x = ((index * step + frame * 1.5) % (WIDTH + step)) - step;
    context.fillRect(x, HEIGHT - 38, step + 1, 38);
  });
  dial(context, turn);
  const now = new Date();
  const clock = now.toTimeString().slice(0, 8);
  const milliseconds = String(now.getMilliseconds()).padStart(3, '0');
  context.fillStyle = '#f2f5f3';
  context.textAlign = 'left';
  context.font = '600 54px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace';
  context.fillText(clock, 272, 170);
  context.font = '400 30px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace';
  context.fillStyle = '#8fd3cf';
  context.fillText(`.${milliseconds}   frame ${frame}`, 272, 216);
}

function dial(context, turn) {
  const [x, y, radius] = [146, 160, 96];
  context.lineWidth = 12;
  context.strokeStyle = '#14474c';
  context.beginPath();
  context.arc(x, y, radius, 0, Math.PI * 2);
  context.stroke();
  context.strokeStyle = '#59c3c3';
  context.beginPath();
  context.arc(x, y, radius, turn - Math.PI / 2 - 1.1, turn - Math.PI / 2);
  context.stroke();
  context.lineWidth = 6;
  context.lineCap = 'round';
  context.strokeStyle = '#f2f5f3';
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + Math.sin(turn) * (radius - 18), y - Math.cos(turn) * (radius - 18));
  context.stroke();
}

// Two soft notes in turn, so that a break can be heard.
function makeTone() {
  const audio = new AudioContext();
  const oscillator = new OscillatorNode(audio, { type: 'sine', frequency: 440 });
  const swing = new OscillatorNode(audio, { type: 'square', frequency: 1 });
  const depth = new GainNode(audio, { gain: 55 });
  const volume = new GainNode(audio, { gain: 0.2 });
  const out = new MediaStreamAudioDestinationNode(audio, { channelCount: 1 });
  swing.connect(depth).connect(oscillator.frequency);
  oscillator.connect(volume).connect(out);
  oscillator.start();
  swing.start();
  const resume = () => {
    if (audio.state === 'suspended') audio.resume().catch(() => {});
  };
  resume();
  return {
    stream: out.stream, resume,
    stop() { out.stream.getTracks().forEach((track) => track.stop()); audio.close().catch(() => {}); },
  };
}
