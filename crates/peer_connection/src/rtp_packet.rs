//! An RTP packet as the application sees it: decrypted, parsed, its header extensions named by URI.

use std::sync::Arc;

use bytes::Bytes;

/// One header extension element (RFC 8285), named by the URI it was negotiated with, so that it survives a
/// section or a peer with other ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpHeaderExtension {
    /// The URI.
    pub uri: Arc<str>,
    /// Its bytes, at most 255 (16 in the one-byte form).
    pub value: Bytes,
}

/// An RTP packet (RFC 3550 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RtpPacket {
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence_number: u16,
    /// Timestamp in units of the codec's clock.
    pub timestamp: u32,
    /// Synchronisation source. A sender replaces it by its own.
    pub ssrc: u32,
    /// RTP stream id of the encoding it belongs to, where the sender has several (RFC 8852). Of a received packet the
    /// one it carries, or that packets of its SSRC carried before; of one that is sent it chooses the encoding.
    pub rid: Option<Arc<str>>,
    /// Contributing sources, at most 15.
    pub csrcs: Vec<u32>,
    /// Header extensions; those the section did not negotiate are left out when sent.
    pub header_extensions: Vec<RtpHeaderExtension>,
    /// Payload without padding.
    pub payload: Bytes,
}

/// A source that was heard (`RTCRtpContributingSource`, `RTCRtpSynchronizationSource`, webrtc-pc section 5.3).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
#[doc(alias = "RTCRtpContributingSource")]
pub struct RtpSource {
    /// Its SSRC or CSRC.
    pub source: u32,
    /// When its last packet came, in milliseconds since 1970.
    pub timestamp: f64,
    /// RTP timestamp of that packet.
    pub rtp_timestamp: u32,
    /// Its audio level then, 0 to 1 and 1 being the loudest, where the packet said it (RFC 6464, RFC 6465).
    pub audio_level: Option<f64>,
}

/// Feedback of the peer on what a sender sent (RFC 4585, RFC 5104).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtcpFeedback {
    /// Picture loss: send a key frame.
    Pli {
        /// The stream meant.
        ssrc: u32,
    },
    /// A full intra request: send a key frame.
    Fir {
        /// The stream meant.
        ssrc: u32,
    },
    /// These sequence numbers were lost: send them again if they are still worth it.
    Nack {
        /// The stream meant.
        ssrc: u32,
        /// Sequence numbers.
        sequence_numbers: Vec<u16>,
    },
    /// The peer's estimate of the way to it, in bits a second (REMB).
    Remb {
        /// Bits a second.
        bitrate: u64,
        /// The streams meant.
        ssrcs: Vec<u32>,
    },
    /// Transport-wide congestion control feedback
    /// (draft-holmer-rmcat-transport-wide-cc-extensions), for the congestion controller of the application.
    TransportFeedback {
        /// The RTCP packet.
        packet: Bytes,
    },
}

/// RTCP of the peer that the engine does not read: extended reports (RFC 3611), application-defined packets, other
/// feedback.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtcpPacket {
    /// The section that speaks for the transport it came in by.
    pub mid: String,
    /// One packet of a compound, header included (RFC 3550 section 6.1).
    pub packet: Bytes,
}
