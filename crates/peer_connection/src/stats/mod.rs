//! Statistics (webrtc-stats). One typed dictionary for each kind that the layers measure so far.

use std::time::SystemTime;

use peerstack_p2p::{Candidate, CandidateType};

use crate::data_channel::DataChannelState;
use crate::shared::State;
use crate::{PeerConnectionState, TrackKind};

/// `RTCTransportStats`.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct TransportStats {
    /// The mid that speaks for the transport.
    pub mid: String,
    /// Bytes sent by ICE, STUN excluded.
    pub bytes_sent: u64,
    /// Bytes received by ICE, STUN excluded.
    pub bytes_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received.
    pub packets_received: u64,
    /// W3C's word for the DTLS state.
    pub dtls_state: String,
    /// Our DTLS role, `client` or `server`.
    pub dtls_role: Option<String>,
    /// `DTLS 1.2` or `DTLS 1.3`.
    pub tls_version: Option<String>,
    /// Cipher suite.
    pub dtls_cipher: Option<String>,
    /// SRTP profile.
    pub srtp_cipher: Option<String>,
    /// W3C's word for the ICE state.
    pub ice_state: String,
    /// Our ICE role, `controlling` or `controlled`.
    pub ice_role: String,
    /// Round-trip time of the selected pair in seconds, measured by connectivity checks.
    pub current_round_trip_time: Option<f64>,
    /// The selected pair.
    pub selected_candidate_pair: Option<SelectedPairStats>,
}

/// The two ends of the selected pair.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelectedPairStats {
    /// Ours.
    pub local: CandidateStats,
    /// The peer's.
    pub remote: CandidateStats,
}

/// `RTCIceCandidateStats`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CandidateStats {
    /// Address; empty while it is known from checks alone.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Type.
    pub candidate_type: CandidateType,
    /// Priority.
    pub priority: u32,
}

impl CandidateStats {
    pub(crate) fn new(candidate: &Candidate) -> Self {
        Self {
            address: candidate.address.ip().map(|address| address.ip().to_string()).unwrap_or_default(),
            port: candidate.address.port(),
            candidate_type: candidate.candidate_type,
            priority: candidate.priority,
        }
    }
}

/// `RTCInboundRtpStreamStats`.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct InboundRtpStats {
    /// SSRC.
    pub ssrc: u32,
    /// Section.
    pub mid: String,
    /// `audio` or `video`.
    pub kind: String,
    /// Packets received.
    pub packets_received: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Packets lost, negative where duplicates came (RFC 3550 section 6.4.1).
    pub packets_lost: i64,
    /// Jitter in seconds.
    pub jitter: f64,
}

/// `RTCOutboundRtpStreamStats`.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct OutboundRtpStats {
    /// SSRC.
    pub ssrc: u32,
    /// Section.
    pub mid: String,
    /// `audio` or `video`.
    pub kind: String,
    /// Packets sent.
    pub packets_sent: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
}

/// `RTCDataChannelStats`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataChannelStats {
    /// Label.
    pub label: String,
    /// Stream id.
    pub data_channel_identifier: Option<u16>,
    /// State.
    pub state: DataChannelState,
    /// Messages sent.
    pub messages_sent: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
}

/// What the network task measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct NetworkSnapshot {
    pub(crate) transports: Vec<TransportStats>,
    pub(crate) inbound: Vec<InboundRtpStats>,
    pub(crate) outbound: Vec<OutboundRtpStats>,
    pub(crate) data_channels: Vec<DataChannelStats>,
    pub(crate) timestamp: Option<SystemTime>,
}

/// `RTCStatsReport`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StatsReport {
    /// When it was measured.
    pub timestamp: SystemTime,
    /// The connection state then.
    pub connection_state: PeerConnectionState,
    /// Transports.
    pub transports: Vec<TransportStats>,
    /// Streams received.
    pub inbound_rtp: Vec<InboundRtpStats>,
    /// Streams sent.
    pub outbound_rtp: Vec<OutboundRtpStats>,
    /// Data channels that are not closed.
    pub data_channels: Vec<DataChannelStats>,
}

impl StatsReport {
    pub(crate) fn new(state: &State, snapshot: NetworkSnapshot) -> Self {
        Self {
            timestamp: snapshot.timestamp.unwrap_or(SystemTime::UNIX_EPOCH),
            connection_state: state.connection_state,
            transports: snapshot.transports,
            inbound_rtp: snapshot.inbound,
            outbound_rtp: snapshot.outbound,
            data_channels: snapshot.data_channels,
        }
    }
}

pub(crate) fn kind_word(kind: TrackKind) -> String {
    kind.as_str().to_owned()
}
