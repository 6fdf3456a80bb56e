//! Counters of RTP streams, as W3C webrtc-stats names them. Answers to libwebrtc's
//! `modules/rtp_rtcp/include/rtp_rtcp_defines.h` (`StreamDataCounters`) and `report_block_data.h`.

use std::time::{Duration, Instant, SystemTime};

use peerstack_rtp_transport::RtpPacket;

/// Kind of media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// What statistics want to know of an RTP packet. Taken from the packet in the clear, before it is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpPacketInfo {
    /// Source.
    pub ssrc: u32,
    /// Sequence number.
    pub sequence_number: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Bytes of the header, extension included.
    pub header_len: usize,
    /// Bytes of payload, without padding.
    pub payload_len: usize,
    /// Bytes of padding.
    pub padding_len: usize,
    /// Whether it was sent before, under this SSRC or another (RFC 4588).
    pub retransmission: bool,
}

impl From<&RtpPacket<'_>> for RtpPacketInfo {
    fn from(packet: &RtpPacket<'_>) -> Self {
        let header = packet.header();
        Self {
            ssrc: header.ssrc(),
            sequence_number: header.sequence_number(),
            timestamp: header.timestamp(),
            header_len: header.len(),
            payload_len: packet.payload().len(),
            padding_len: packet.padding_len(),
            retransmission: false,
        }
    }
}

/// Packets and bytes of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamCounter {
    /// Packets.
    pub packets: u64,
    /// Bytes of payload.
    pub payload_bytes: u64,
    /// Bytes of headers and padding.
    pub header_bytes: u64,
}

impl std::ops::AddAssign for StreamCounter {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.payload_bytes += other.payload_bytes;
        self.header_bytes += other.header_bytes;
    }
}

impl StreamCounter {
    pub(crate) fn add(&mut self, packet: &RtpPacketInfo) {
        self.packets += 1;
        self.payload_bytes += packet.payload_len as u64;
        self.header_bytes += (packet.header_len + packet.padding_len) as u64;
    }
}

/// Feedback that was sent or came in for one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedbackCounter {
    /// Picture loss indications.
    pub pli: u32,
    /// Full intra requests.
    pub fir: u32,
    /// Generic NACKs.
    pub nack: u32,
}

/// A stream we receive (`RTCInboundRtpStreamStats`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InboundRtpStats {
    /// Source.
    pub ssrc: u32,
    /// Kind.
    pub kind: MediaKind,
    /// What came in.
    pub received: StreamCounter,
    /// Packets lost; negative when duplicates outnumber them.
    pub packets_lost: i64,
    /// Seconds.
    pub jitter: f64,
    /// When the last packet came in.
    pub last_packet_received: Instant,
    /// Feedback we sent.
    pub feedback: FeedbackCounter,
}

/// What a peer says of a stream it sends us (`RTCRemoteOutboundRtpStreamStats`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteOutboundRtpStats {
    /// Source.
    pub ssrc: u32,
    /// Kind.
    pub kind: MediaKind,
    /// Packets it sent.
    pub packets_sent: u32,
    /// Bytes of payload it sent.
    pub bytes_sent: u32,
    /// Its date of the last report.
    pub remote_timestamp: Option<SystemTime>,
    /// When the last report came in.
    pub received_at: Instant,
    /// Reports that came in.
    pub reports: u64,
}

/// A stream we send (`RTCOutboundRtpStreamStats`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundRtpStats {
    /// Source.
    pub ssrc: u32,
    /// Kind.
    pub kind: MediaKind,
    /// What was sent.
    pub sent: StreamCounter,
    /// What of it was sent again.
    pub retransmitted: StreamCounter,
    /// Feedback that came in.
    pub feedback: FeedbackCounter,
}

/// What a peer says of a stream we send it (`RTCRemoteInboundRtpStreamStats`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RemoteInboundRtpStats {
    /// Source.
    pub ssrc: u32,
    /// Kind.
    pub kind: MediaKind,
    /// Packets it received: those it should have, less those it lost (RFC 3550 section 6.4.1).
    pub packets_received: u64,
    /// Packets it lost.
    pub packets_lost: i32,
    /// Part of the packets it lost in the last interval, 0 to 1.
    pub fraction_lost: f64,
    /// Seconds.
    pub jitter: f64,
    /// The last round-trip time, once one was measured (Q06).
    pub round_trip_time: Option<Duration>,
    /// Sum of all round-trip times that were measured.
    pub total_round_trip_time: Duration,
    /// How many were measured.
    pub round_trip_time_measurements: u64,
    /// When the last report came in.
    pub received_at: Instant,
}
