//! Frames, their pace, and the loudness of sound, as RTP tells them without a codec: timestamps and the audio level of
//! RFC 6464. Runs on the network task; answers to what libwebrtc's encoders, decoders and jitter buffers count for
//! webrtc-stats.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Frames remembered to tell how many there are in a second.
const MAX_FRAMES_PER_SECOND: usize = 256;
/// A step of timestamps beyond this many seconds is a stream that paused, not one long frame.
const LONGEST_FRAME: f64 = 1.0;

/// Counts one stream of RTP.
#[derive(Debug, Clone, Default)]
pub struct MediaCounter {
    last: Option<Frame>,
    frames: u64,
    recent: VecDeque<Instant>,
    total_audio_energy: f64,
    total_samples_duration: f64,
}

#[derive(Debug, Clone, Copy)]
struct Frame {
    timestamp: u32,
    at: Instant,
    audio_level: Option<u8>,
    /// In seconds, as far as it is known: until the next frame begins, as long as the one before.
    duration: f64,
}

/// What a [`MediaCounter`] counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MediaCounts {
    /// Frames: packets of one timestamp are one.
    pub frames: u64,
    /// Frames of the last second.
    pub frames_per_second: f64,
    /// Loudness of the last frame, 0 to 1 (webrtc-stats `audioLevel`), where packets tell.
    pub audio_level: Option<f64>,
    /// Sum of the squares of levels times their durations in seconds (webrtc-stats `totalAudioEnergy`).
    pub total_audio_energy: f64,
    /// Seconds of sound, or of picture, by timestamps (webrtc-stats `totalSamplesDuration`).
    pub total_samples_duration: f64,
}

/// 0 to 1, of a level in -dBov (RFC 6464 section 3): 127 is silence.
fn linear(level: u8) -> f64 {
    if level >= 127 { 0.0 } else { 10_f64.powf(-f64::from(level) / 20.0) }
}

impl MediaCounter {
    /// Counts a packet. `clock_rate` is its payload's, in Hz; `audio_level` in -dBov, if it says so (RFC 6464).
    pub fn add(&mut self, now: Instant, timestamp: u32, clock_rate: u32, audio_level: Option<u8>) {
        let mut duration = 0.0;
        if let Some(last) = &mut self.last {
            let step = timestamp.wrapping_sub(last.timestamp);
            if step == 0 {
                last.audio_level = last.audio_level.or(audio_level);
                return;
            }
            if step > u32::MAX / 2 {
                // Late: its frame was counted, or will be missed.
                return;
            }
            let seconds = f64::from(step) / f64::from(clock_rate.max(1));
            duration = if seconds <= LONGEST_FRAME { seconds } else { last.duration };
            self.total_samples_duration += duration;
            self.total_audio_energy += last.audio_level.map_or(0.0, linear).powi(2) * duration;
        }
        self.last = Some(Frame { timestamp, at: now, audio_level, duration });
        self.frames += 1;
        if self.recent.len() == MAX_FRAMES_PER_SECOND {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
    }

    /// When the last frame began to come.
    pub fn last_frame(&self) -> Option<Instant> {
        self.last.map(|last| last.at)
    }

    /// What was counted until now.
    pub fn counts(&self, now: Instant) -> MediaCounts {
        let second = Duration::from_secs(1);
        let recent = self.recent.iter().filter(|at| now.saturating_duration_since(**at) < second);
        MediaCounts {
            frames: self.frames,
            frames_per_second: recent.count() as f64,
            audio_level: self.last.and_then(|last| last.audio_level).map(linear),
            total_audio_energy: self.total_audio_energy,
            total_samples_duration: self.total_samples_duration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util;

    #[test]
    fn packets_of_one_timestamp_are_a_frame() {
        let (start, mut counter) = (test_util::start(), MediaCounter::default());
        for frame in 0..90_u32 {
            let now = start + Duration::from_millis(u64::from(frame) * 1000 / 30);
            for _ in 0..3 {
                counter.add(now, (u32::MAX - 9_000).wrapping_add(frame * 3_000), 90_000, None);
            }
            // One that comes late.
            counter.add(
                now,
                (u32::MAX - 9_000).wrapping_add(frame * 3_000).wrapping_sub(3_000),
                90_000,
                None,
            );
        }
        let counts = counter.counts(start + Duration::from_millis(2_990));
        assert_eq!((counts.frames, counts.frames_per_second, counts.audio_level), (90, 30.0, None));
        assert!((counts.total_samples_duration - 89.0 / 30.0).abs() < 1e-9);
        assert_eq!(counter.counts(start + Duration::from_secs(10)).frames_per_second, 0.0);
    }

    /// webrtc-stats `totalAudioEnergy`: duration times the square of the level.
    #[test]
    fn energy_is_level_squared_times_duration() {
        let (start, mut counter) = (test_util::start(), MediaCounter::default());
        for frame in 0..=100_u32 {
            counter.add(start, frame * 960, 48_000, Some(20));
        }
        let counts = counter.counts(start);
        assert!((counts.audio_level.unwrap() - 0.1).abs() < 1e-9);
        assert!((counts.total_samples_duration - 2.0).abs() < 1e-9);
        assert!((counts.total_audio_energy - 0.02).abs() < 1e-9);
        // Silence, and a pause of a minute that is no sound.
        counter.add(start, 100 * 960 + 60 * 48_000, 48_000, Some(127));
        let counts = counter.counts(start);
        assert_eq!(counts.audio_level, Some(0.0));
        assert!((counts.total_samples_duration - 2.02).abs() < 1e-9);
    }
}
