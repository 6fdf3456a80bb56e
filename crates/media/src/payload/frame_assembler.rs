//! Packets in any order to whole frames in order: waits for what is late, gives up what is lost and says so. The
//! application's to use; answers to libwebrtc's `modules/video_coding/packet_buffer.cc`. Bounded in packets and bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{PayloadFormat, depacketize};

/// Packets that wait at most, whatever was asked for: half of the sequence numbers would be ambiguous.
const MAX_WINDOW: u64 = 8_192;
/// Bytes that wait at most: several of the largest frames.
const MAX_BYTES: usize = 16 << 20;
/// A jump of the sequence numbers that is taken for a new stream (RFC 3550 appendix A.1 has the same number).
const MAX_JUMP: u64 = 3_000;
/// Packets that come before a stream is taken to have begun in the middle of a frame.
const MAX_WAIT_FOR_BEGINNING: u64 = 16;

#[derive(Debug, Clone)]
struct Packet {
    timestamp: u32,
    marker: bool,
    payload: Bytes,
}

/// A frame in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembledFrame {
    /// Its bytes, as [`PayloadFormat`] says.
    pub data: Bytes,
    /// RTP timestamp of its packets.
    pub timestamp: u32,
    /// Sequence number of its first packet.
    pub sequence_number: u16,
    /// Whether decoding can begin here; true for audio.
    pub key_frame: bool,
    /// Packets that were lost, or dropped since their frame was not whole, between this frame and the one before. A
    /// frame of H.264 or H.265 right behind a loss may lack its beginning: nothing in these formats tells.
    pub lost_packets: u64,
}

/// What became of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameAssemblerStats {
    /// Frames given out.
    pub frames: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came twice or too late.
    pub late: u64,
    /// Packets dropped since their frame was not whole or malformed.
    pub dropped: u64,
}

/// Puts frames together.
#[derive(Debug, Clone)]
pub struct FrameAssembler {
    format: PayloadFormat,
    window: u64,
    packets: BTreeMap<u64, Packet>,
    bytes: usize,
    /// The first packet of the next frame.
    next: Option<u64>,
    /// All from `next` to this are there and of one frame that does not end before it.
    scanned: u64,
    highest: u64,
    started: bool,
    /// What was left out since the last frame.
    lost: u64,
    stats: FrameAssemblerStats,
}

impl FrameAssembler {
    /// Waits for a packet until `window` packets behind it have come, 1 to 8,192.
    pub fn new(format: PayloadFormat, window: u16) -> Self {
        Self {
            format,
            window: u64::from(window).clamp(1, MAX_WINDOW),
            packets: BTreeMap::new(),
            bytes: 0,
            next: None,
            scanned: 0,
            highest: 0,
            started: false,
            lost: 0,
            stats: FrameAssemblerStats::default(),
        }
    }

    /// What became of packets so far.
    pub fn stats(&self) -> FrameAssemblerStats {
        self.stats
    }

    /// Takes a packet.
    pub fn push(&mut self, sequence_number: u16, timestamp: u32, marker: bool, payload: Bytes) {
        let number = match self.next {
            None => {
                // Room below, for what comes out of order at the beginning.
                let number = (1 << 32) + u64::from(sequence_number);
                (self.next, self.highest, self.scanned) = (Some(number), number, number);
                number
            }
            Some(_) => self.extended(sequence_number),
        };
        let next = self.next.unwrap_or(number);
        if number < next {
            if self.started || next - number > self.window {
                self.stats.late += 1;
                return;
            }
            (self.next, self.scanned) = (Some(number), number);
        } else if number > self.highest.max(next) + MAX_JUMP {
            self.restart(number);
        }
        if self.packets.contains_key(&number) {
            self.stats.late += 1;
            return;
        }
        self.highest = self.highest.max(number);
        self.bytes += payload.len();
        self.packets.insert(number, Packet { timestamp, marker, payload });
        while self.bytes > MAX_BYTES || self.packets.len() as u64 > MAX_WINDOW {
            self.skip_frame();
        }
    }

    /// The next frame, if it is whole.
    pub fn pop(&mut self) -> Option<AssembledFrame> {
        loop {
            match self.find_end() {
                Some(end) if self.may_begin_earlier(end) => return None,
                Some(end) => {
                    if let Some(frame) = self.take(end) {
                        return Some(frame);
                    }
                }
                None if self.waited_long_enough() => self.skip_frame(),
                None => return None,
            }
        }
    }

    /// The sequence number, unwrapped next to the highest there was.
    fn extended(&self, sequence_number: u16) -> u64 {
        let ahead = sequence_number.wrapping_sub(self.highest as u16);
        if ahead < 0x8000 {
            self.highest + u64::from(ahead)
        } else {
            self.highest.saturating_sub(u64::from(ahead.wrapping_neg()))
        }
    }

    /// At the beginning of a stream: what is there is no whole frame, but its first packets may still come.
    fn may_begin_earlier(&self, end: u64) -> bool {
        let Some(begin) = self.next.filter(|_| !self.started) else { return false };
        let waits = self.highest.saturating_sub(begin) < self.window.min(MAX_WAIT_FOR_BEGINNING);
        let payloads = self.packets.range(begin..=end).map(|(_, packet)| &packet.payload[..]);
        waits && depacketize(self.format, payloads).is_err()
    }

    fn waited_long_enough(&self) -> bool {
        let Some(next) = self.next else { return false };
        // A frame larger than the window is waited for as long as nothing of it is missing.
        !self.packets.is_empty()
            && self.highest.saturating_sub(next) >= self.window
            && self.highest > self.scanned
    }

    /// The last packet of the frame that begins with `next`, if all of it is there.
    fn find_end(&mut self) -> Option<u64> {
        let first = self.packets.get(&self.next?)?;
        if !self.format.is_video() {
            return self.next;
        }
        let timestamp = first.timestamp;
        loop {
            let here = self.packets.get(&self.scanned)?;
            if here.marker {
                return Some(self.scanned);
            }
            // Without the marker, the next timestamp ends it.
            if self.packets.get(&(self.scanned + 1))?.timestamp != timestamp {
                return Some(self.scanned);
            }
            self.scanned += 1;
        }
    }

    fn take(&mut self, end: u64) -> Option<AssembledFrame> {
        let begin = self.next?;
        let payloads = self.packets.range(begin..=end).map(|(_, packet)| &packet.payload[..]);
        let made = depacketize(self.format, payloads);
        let timestamp = self.packets.get(&begin).map_or(0, |packet| packet.timestamp);
        let whole = match (self.format, self.packets.get(&begin)) {
            (PayloadFormat::Whole, Some(packet)) => Some(packet.payload.clone()),
            _ => None,
        };
        let count = self.remove(begin, end);
        self.begin_at(end + 1);
        let frame = match made {
            Ok(frame) => frame,
            Err(error) => {
                tracing::debug!(target: "peerstack::media", %error, "frame dropped");
                self.stats.dropped += count;
                self.lost += count;
                return None;
            }
        };
        self.stats.frames += 1;
        Some(AssembledFrame {
            data: whole.unwrap_or_else(|| frame.data.into()),
            timestamp,
            sequence_number: begin as u16,
            key_frame: frame.key_frame,
            lost_packets: std::mem::take(&mut self.lost),
        })
    }

    fn begin_at(&mut self, number: u64) {
        self.started = true;
        (self.next, self.scanned) = (Some(number), number);
    }

    /// Takes packets out. How many there were.
    fn remove(&mut self, begin: u64, end: u64) -> u64 {
        let mut count = 0;
        while let Some((number, packet)) = self.packets.pop_first() {
            if number > end {
                self.packets.insert(number, packet);
                break;
            }
            if number >= begin {
                count += 1;
            }
            self.bytes = self.bytes.saturating_sub(packet.payload.len());
        }
        count
    }

    /// Gives the frame up of which a packet is missing: what is there of it, and what is missing up to the next packet
    /// of another.
    fn skip_frame(&mut self) {
        let Some(begin) = self.next else { return };
        let first = self.packets.first_key_value().map(|(number, packet)| (*number, packet.timestamp));
        let Some((first, timestamp)) = first else { return };
        // Lost before anything of what is there: begin with that, it may be a whole frame.
        let end = if first > begin {
            first - 1
        } else {
            let same =
                self.packets.values().take_while(|packet| packet.timestamp == timestamp).count() as u64;
            let last = self.packets.keys().take(same as usize).next_back().copied();
            last.unwrap_or(first)
        };
        let there = self.remove(begin, end);
        let missing = (end + 1 - begin).saturating_sub(there);
        self.stats.dropped += there;
        self.stats.lost += missing;
        self.lost += there + missing;
        self.begin_at(end + 1);
    }

    /// The numbers jumped: another stream begins. What waits is given up.
    fn restart(&mut self, number: u64) {
        let there = self.packets.len() as u64;
        self.stats.dropped += there;
        self.lost += there.max(1);
        self.packets.clear();
        self.bytes = 0;
        self.highest = number;
        self.begin_at(number);
        // What comes out of order at the beginning is still taken.
        self.started = false;
    }
}

#[cfg(test)]
#[path = "frame_assembler_tests.rs"]
mod tests;
