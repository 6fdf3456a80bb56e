//! `MediaStreamTrack` (mediacapture-main section 4.3), as far as RTP goes: a remote track is a queue of RTP
//! packets, a local one an identity that a sender is given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use peerstack_base::Random;

use crate::dropping_queue::DroppingQueue;
use crate::rtp_packet::RtpPacket;

/// What a track carries.
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

/// A track. Cheap to clone; clones are the same track.
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

    /// A local track with an id of the caller's.
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

    /// Whether it comes from the peer.
    pub fn is_remote(&self) -> bool {
        self.inner.remote
    }

    /// Whether no packet will come any more. Packets that came before can still be read.
    pub fn ended(&self) -> bool {
        self.inner.packets.is_closed()
    }

    /// RTP packets dropped because the application did not read fast enough: the oldest go first.
    pub fn packets_dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed)
    }

    /// The next RTP packet; `None` once the track ended and all was read, and at once on a local track.
    pub async fn recv(&self) -> Option<RtpPacket> {
        if self.inner.remote { self.inner.packets.recv().await } else { None }
    }

    /// The next RTP packet if one is there.
    pub fn try_recv(&self) -> Option<RtpPacket> {
        self.inner.packets.try_recv()
    }

    pub(crate) fn push(&self, packet: RtpPacket) {
        if self.inner.packets.push(packet) {
            self.inner.dropped.fetch_add(1, Ordering::Relaxed);
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
        track.end();
        track.push(packet(9));
        assert_eq!(track.recv().await.unwrap().sequence_number, 1);
        assert_eq!(track.recv().await.unwrap().sequence_number, 2);
        assert!(track.recv().await.is_none());
    }
}
