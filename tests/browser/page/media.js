// The echoed picture and sound, watched for a while by what the decoder counts.

const SAMPLE_MS = 100;
const FIRST_FRAME_MS = 20_000;

const sleep = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

async function inbound(pc) {
  const found = {};
  for (const entry of (await pc.getStats()).values()) {
    if (entry.type === 'inbound-rtp') found[entry.kind ?? entry.mediaType] = entry;
  }
  return found;
}

async function firstFrame(pc) {
  const start = performance.now();
  for (;;) {
    const { video } = await inbound(pc);
    if (video?.framesDecoded > 0) return performance.now() - start;
    if (performance.now() - start > FIRST_FRAME_MS) throw new Error('no echoed frame was decoded');
    await sleep(SAMPLE_MS);
  }
}

/** Watches from the first decoded frame. */
export async function watchMedia(pc, milliseconds) {
  const waited = await firstFrame(pc);
  const first = await inbound(pc);
  const start = first.video.timestamp;
  let last = first;
  let rise = start;
  let longest = 0;
  while (last.video.timestamp - start < milliseconds) {
    await sleep(SAMPLE_MS);
    const now = await inbound(pc);
    if (now.video.framesDecoded > last.video.framesDecoded) {
      longest = Math.max(longest, now.video.timestamp - rise);
      rise = now.video.timestamp;
    }
    last = now;
  }
  longest = Math.max(longest, last.video.timestamp - rise);
  const video = document.getElementById('echoed');
  return {
    firstFrameAfterMs: Math.round(waited),
    seconds: (last.video.timestamp - start) / 1000,
    framesDecoded: last.video.framesDecoded - first.video.framesDecoded,
    longestWithoutFrameMs: Math.round(longest),
    freezes: (last.video.freezeCount ?? 0) - (first.video.freezeCount ?? 0),
    frozenSeconds: (last.video.totalFreezesDuration ?? 0) - (first.video.totalFreezesDuration ?? 0),
    size: [video.videoWidth, video.videoHeight],
    audioEnergy: (last.audio?.totalAudioEnergy ?? 0) - (first.audio?.totalAudioEnergy ?? 0),
    audioPackets: (last.audio?.packetsReceived ?? 0) - (first.audio?.packetsReceived ?? 0),
  };
}
