"""A tone and a grey picture to send, and a look at what comes back. Written for aiortc's API."""

import array
import asyncio
import fractions
import math

from av import AudioFrame, VideoFrame

RATE = 48_000
SAMPLES = RATE // 50
TONE_HZ = 440
AMPLITUDE = 8_000
SIZE = (320, 240)
LUMA = 180
FRAMES_PER_SECOND = 20


def tone_track(rtc):
    """A track of `rtc` (aiortc or webrtc.aiortc) with a tone of 440 Hz."""

    class Tone(rtc.MediaStreamTrack):
        kind = "audio"
        sent = 0

        async def recv(self) -> AudioFrame:
            await asyncio.sleep(SAMPLES / RATE)
            start = self.sent
            wave = array.array("h", (
                round(AMPLITUDE * math.sin(2 * math.pi * TONE_HZ * at / RATE)) for at in range(start, start + SAMPLES)
            ))
            frame = AudioFrame(format="s16", layout="mono", samples=SAMPLES)
            frame.planes[0].update(wave.tobytes())
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, fractions.Fraction(1, RATE)
            self.sent += SAMPLES
            return frame

    return Tone()


def grey_track(rtc):
    """A track of `rtc` with a picture of one grey."""

    class Grey(rtc.MediaStreamTrack):
        kind = "video"
        sent = 0

        async def recv(self) -> VideoFrame:
            await asyncio.sleep(1 / FRAMES_PER_SECOND)
            frame = VideoFrame(*SIZE, "yuv420p")
            for plane, value in zip(frame.planes, (LUMA, 128, 128)):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.pts, frame.time_base = self.sent, fractions.Fraction(1, FRAMES_PER_SECOND)
            self.sent += 1
            return frame

    return Grey()


def loudness(frame: AudioFrame) -> float:
    """The root of the mean square of the samples."""
    samples = array.array("h", bytes(frame.planes[0]))
    return math.sqrt(sum(sample * sample for sample in samples) / max(1, len(samples)))


def brightness(frame: VideoFrame) -> float:
    """The mean of the luma plane."""
    plane = frame.reformat(format="yuv420p").planes[0]
    row = bytes(plane)[: plane.width]
    return sum(row) / max(1, len(row))


async def hear(track, frames: int) -> float:
    """Reads so many frames; gives how loud the loudest was."""
    return max([loudness(await track.recv()) for _ in range(frames)])


async def see(track, frames: int) -> float:
    """Reads so many frames; gives how bright the last was."""
    last = None
    for _ in range(frames):
        last = await track.recv()
    return brightness(last)
