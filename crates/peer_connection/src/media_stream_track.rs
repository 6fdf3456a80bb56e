//! `MediaStreamTrack` (mediacapture-main section 4.3), as far as RTP goes: a remote track is a queue of RTP
//! packets, a local one an identity that a sender is given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use peerstack_base::Random;

use crate::dropping_queue::DroppingQueue;
use crate::rtp_packet::RtpPacket;

/// What a track carries: its `kind` (mediacapture-main section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

impl TrackKind {
    /// The W3C string.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// A track (`MediaStreamTrack`, mediacapture-main section 4.3). Cheap to clone; clones are the same track.
#[derive(Debug, Clone)]
pub struct MediaStreamTrack {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: Mutex<String>,
    kind: TrackKind,
    remote: bool,
    packets: DroppingQueue<RtpPacket>,
    dropped: AtomicU64,
    /// By SSRC, see [`TakenFrames`].
    taken: Mutex<Vec<(u32, TakenFrames)>>,
    /// Width and height in pixels.
    video_size: Mutex<Option<(u32, u32)>>,
}

/// SSRCs of one track that are counted apart.
const MAX_COUNTED_SSRCS: usize = 64;

/// What became of the packets of one stream in its track's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TakenFrames {
    /// Frames of which the application took a packet; packets of one timestamp are one.
    pub(crate) frames: u64,
    /// Packets dropped because the application was too slow.
    pub(crate) packets_dropped: u64,
    /// Frames of which a packet was dropped so.
    pub(crate) frames_dropped: u64,
    last_taken: Option<u32>,
    last_dropped: Option<u32>,
}

impl TakenFrames {
    fn take(&mut self, timestamp: u32) {
        if self.last_taken.replace(timestamp) != Some(timestamp) {
            self.frames += 1;
        }
    }

    fn drop_packet(&mut self, timestamp: u32) {
        self.packets_dropped += 1;
        if self.last_dropped.replace(timestamp) != Some(timestamp) {
            self.frames_dropped += 1;
        }
    }
}

impl PartialEq for MediaStreamTrack {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for MediaStreamTrack {}

impl MediaStreamTrack {
    /// A local track with a random id.
    pub fn new(kind: TrackKind) -> Self {
        Self::with_id(kind, uuid(&mut Random::from_system()))
    }

    /// A local track with an id of the caller's. Not W3C's.
    pub fn with_id(kind: TrackKind, id: impl Into<String>) -> Self {
        Self::build(kind, id.into(), false, 0)
    }

    pub(crate) fn remote(kind: TrackKind, id: String, capacity: usize) -> Self {
        Self::build(kind, id, true, capacity)
    }

    fn build(kind: TrackKind, id: String, remote: bool, capacity: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                id: Mutex::new(id),
                kind,
                remote,
                packets: DroppingQueue::new(capacity),
                dropped: AtomicU64::new(0),
                taken: Mutex::new(Vec::new()),
                video_size: Mutex::new(None),
            }),
        }
    }

    /// The id; a remote track has the one its peer signalled.
    pub fn id(&self) -> String {
        self.inner.id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_id(&self, id: String) {
        *self.inner.id.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// Audio or video.
    pub fn kind(&self) -> TrackKind {
        self.inner.kind
    }

    /// Whether it comes from the peer. Not W3C's.
    pub fn is_remote(&self) -> bool {
        self.inner.remote
    }

    /// Whether no packet will come any more. Packets that came before can still be read.
    pub fn ended(&self) -> bool {
        self.inner.packets.is_closed()
    }

    /// RTP packets dropped because the application did not read fast enough: the oldest go first. Not W3C's.
    pub fn packets_dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed)
    }

    /// Says how large the pictures of a local video track are, in pixels, for statistics (`media-source`): the engine
    /// does not look into them. Not W3C's.
    pub fn set_video_size(&self, width: u32, height: u32) {
        *self.inner.video_size.lock().unwrap_or_else(PoisonError::into_inner) = Some((width, height));
    }

    /// What [`set_video_size`](Self::set_video_size) said last: width and height in pixels. Not W3C's.
    pub fn video_size(&self) -> Option<(u32, u32)> {
        *self.inner.video_size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of a stream's packets so far.
    pub(crate) fn taken(&self, ssrc: u32) -> TakenFrames {
        let taken = self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().find(|(known, _)| *known == ssrc).map(|(_, frames)| *frames).unwrap_or_default()
    }

    fn count(&self, ssrc: u32, count: impl FnOnce(&mut TakenFrames)) {
        let mut taken = self.inner.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = taken.iter().position(|(known, _)| *known == ssrc) {
            // The one that was silent the longest stands first, and goes first.
            taken[index..].rotate_left(1);
            if let Some((_, frames)) = taken.last_mut() {
                count(frames);
            }
            return;
        }
        if taken.len() >= MAX_COUNTED_SSRCS {
            taken.remove(0);
        }
        let mut frames = TakenFrames::default();
        count(&mut frames);
        taken.push((ssrc, frames));
    }

    /// The next RTP packet (RFC 3550 section 5.1); `None` once the track ended and all was read, and at once on a
    /// local track.
    pub async fn recv(&self) -> Option<RtpPacket> {
        if !self.inner.remote {
            return None;
        }
        let packet = self.inner.packets.recv().await?;
        self.count(packet.ssrc, |frames| frames.take(packet.timestamp));
        Some(packet)
    }

    /// The next RTP packet (RFC 3550 section 5.1) if one is there.
    pub fn try_recv(&self) -> Option<RtpPacket> {
        let packet = self.inner.packets.try_recv()?;
        self.count(packet.ssrc, |frames| frames.take(packet.timestamp));
        Some(packet)
    }

    pub(crate) fn push(&self, packet: RtpPacket) {
        if let Some(dropped) = self.inner.packets.push(packet) {
            self.inner.dropped.fetch_add(1, Ordering::Relaxed);
            self.count(dropped.ssrc, |frames| frames.drop_packet(dropped.timestamp));
        }
    }

    pub(crate) fn end(&self) {
        self.inner.packets.close();
    }
}

/// A random UUID (RFC 9562 section 5.4), as browsers use for track and stream ids.
pub(crate) fn uuid(random: &mut Random) -> String {
    let mut bytes = random.bytes::<16>();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence_number: u16) -> RtpPacket {
        RtpPacket { sequence_number, ..RtpPacket::default() }
    }

    #[test]
    fn a_uuid_has_version_and_variant() {
        let uuid = uuid(&mut Random::from_seed(1));
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]));
    }

    #[tokio::test]
    async fn the_oldest_packets_go_first_when_nobody_reads() {
        let track = MediaStreamTrack::remote(TrackKind::Video, "t".into(), 2);
        for number in 0..3 {
            track.push(packet(number));
        }
        assert_eq!(track.packets_dropped(), 1);
        assert_eq!((track.taken(0).packets_dropped, track.taken(0).frames_dropped), (1, 1));
        track.end();
        track.push(packet(9));
        assert_eq!(track.recv().await.unwrap().sequence_number, 1);
        assert_eq!(track.recv().await.unwrap().sequence_number, 2);
        assert!(track.recv().await.is_none());
        // Of one timestamp: one frame.
        assert_eq!(track.taken(0).frames, 1);
    }
}
