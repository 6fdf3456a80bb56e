//! Statistics (webrtc-stats): one typed dictionary for each kind, its members named as W3C's in snake_case. Made
//! from what the network task measured; answers to libwebrtc's `api/stats/rtcstats_objects.h`.
//!
//! Each object has an `id` that stays while the thing it is about does, and references others by their ids.
//! Times are in milliseconds since 1970 (`DOMHighResTimeStamp`), durations in seconds.

mod data_channel;
mod rtp;
mod transport;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use data_channel::{DataChannelStats, PeerConnectionStats};
pub(crate) use rtp::codec_stats;
pub use rtp::{CodecStats, InboundRtpStats, OutboundRtpStats, RemoteInboundRtpStats, RemoteOutboundRtpStats};
pub use transport::{
    CandidatePairStats, CandidateStats, CertificateStats, SelectedPairStats, TransportStats,
};
pub(crate) use transport::{add_transport, transport_id};

use crate::shared::State;
use crate::{PeerConnectionState, TrackKind};

/// Dates of instants, as of one snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatsClock {
    now: Instant,
    date: SystemTime,
}

impl StatsClock {
    pub(crate) fn new(now: Instant, date: SystemTime) -> Self {
        Self { now, date }
    }

    /// Milliseconds since 1970 at the snapshot.
    pub(crate) fn timestamp(&self) -> f64 {
        milliseconds(self.date)
    }

    /// Milliseconds since 1970 at an instant before it.
    pub(crate) fn at(&self, instant: Instant) -> f64 {
        let ago = self.now.saturating_duration_since(instant);
        self.date.checked_sub(ago).map_or(0.0, milliseconds)
    }
}

/// Milliseconds since 1970.
pub(crate) fn milliseconds(date: SystemTime) -> f64 {
    date.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

/// W3C's word for a state whose names are W3C's: `InProgress` is `in-progress`.
pub(crate) fn word(state: &impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for character in format!("{state:?}").chars() {
        if character.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(character.to_ascii_lowercase());
    }
    word
}

pub(crate) fn kind_word(kind: TrackKind) -> String {
    kind.as_str().to_owned()
}

/// What the network task measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct NetworkSnapshot {
    pub(crate) peer_connection: PeerConnectionStats,
    pub(crate) transports: Vec<TransportStats>,
    pub(crate) candidate_pairs: Vec<CandidatePairStats>,
    pub(crate) local_candidates: Vec<CandidateStats>,
    pub(crate) remote_candidates: Vec<CandidateStats>,
    pub(crate) certificates: Vec<CertificateStats>,
    pub(crate) codecs: Vec<CodecStats>,
    pub(crate) inbound_rtp: Vec<InboundRtpStats>,
    pub(crate) outbound_rtp: Vec<OutboundRtpStats>,
    pub(crate) remote_inbound_rtp: Vec<RemoteInboundRtpStats>,
    pub(crate) remote_outbound_rtp: Vec<RemoteOutboundRtpStats>,
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
    /// The connection.
    pub peer_connection: PeerConnectionStats,
    /// Transports.
    pub transports: Vec<TransportStats>,
    /// Pairs of candidates of all transports.
    pub candidate_pairs: Vec<CandidatePairStats>,
    /// Our candidates.
    pub local_candidates: Vec<CandidateStats>,
    /// The peer's candidates.
    pub remote_candidates: Vec<CandidateStats>,
    /// Ours and the peer's.
    pub certificates: Vec<CertificateStats>,
    /// Those that a stream uses.
    pub codecs: Vec<CodecStats>,
    /// Streams received.
    pub inbound_rtp: Vec<InboundRtpStats>,
    /// Streams sent.
    pub outbound_rtp: Vec<OutboundRtpStats>,
    /// What the peer reports of the streams sent.
    pub remote_inbound_rtp: Vec<RemoteInboundRtpStats>,
    /// What the peer reports of the streams received.
    pub remote_outbound_rtp: Vec<RemoteOutboundRtpStats>,
    /// Data channels that are not closed.
    pub data_channels: Vec<DataChannelStats>,
}

impl StatsReport {
    pub(crate) fn new(state: &State, snapshot: NetworkSnapshot) -> Self {
        Self {
            timestamp: snapshot.timestamp.unwrap_or(UNIX_EPOCH),
            connection_state: state.connection_state,
            peer_connection: snapshot.peer_connection,
            transports: snapshot.transports,
            candidate_pairs: snapshot.candidate_pairs,
            local_candidates: snapshot.local_candidates,
            remote_candidates: snapshot.remote_candidates,
            certificates: snapshot.certificates,
            codecs: snapshot.codecs,
            inbound_rtp: snapshot.inbound_rtp,
            outbound_rtp: snapshot.outbound_rtp,
            remote_inbound_rtp: snapshot.remote_inbound_rtp,
            remote_outbound_rtp: snapshot.remote_outbound_rtp,
            data_channels: snapshot.data_channels,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use peerstack_p2p::{IceCandidatePairState, IceRole};

    use super::*;

    #[test]
    fn states_are_told_in_w3cs_words() {
        assert_eq!(word(&IceCandidatePairState::InProgress), "in-progress");
        assert_eq!(word(&IceRole::Controlling), "controlling");
    }

    #[test]
    fn instants_have_dates() {
        #[expect(clippy::disallowed_methods, reason = "tests count from one real instant")]
        let now = Instant::now();
        let later = now + Duration::from_secs(3);
        let clock = StatsClock::new(later, UNIX_EPOCH + Duration::from_secs(10));
        assert_eq!((clock.timestamp(), clock.at(now), clock.at(later)), (10_000.0, 7_000.0, 10_000.0));
    }
}
