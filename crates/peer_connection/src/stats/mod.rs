//! Statistics (webrtc-stats): one typed dictionary for each kind, its members named as W3C's in snake_case. Made
//! from what the network task measured, serialized with W3C's member names; answers to libwebrtc's `api/stats/rtcstats_objects.h`.
//!
//! Each object has an `id` that stays while the thing it is about does, and references others by their ids.
//! Times are in milliseconds since 1970 (`DOMHighResTimeStamp`), durations in seconds.

mod data_channel;
mod media_source;
mod report;
mod rtp;
mod transport;

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub use data_channel::{DataChannelStats, PeerConnectionStats};
pub use media_source::MediaSourceStats;
use peerstack_media::MediaCounts;
pub(crate) use report::{Selector, collect};
pub use report::{Stats, StatsReport};
pub(crate) use rtp::codec_stats;
pub use rtp::{CodecStats, InboundRtpStats, OutboundRtpStats, RemoteInboundRtpStats, RemoteOutboundRtpStats};
pub use transport::{
    CandidatePairStats, CandidateStats, CertificateStats, SelectedPairStats, TransportStats,
};
pub(crate) use transport::{add_transport, transport_id};

use crate::TrackKind;

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

    /// The instant of the snapshot.
    pub(crate) fn now(&self) -> Instant {
        self.now
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

/// Serializes a state as W3C's word for it.
pub(crate) fn as_word<T: std::fmt::Debug, S: serde::Serializer>(
    state: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&word(state))
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
    /// What applications handed to the senders of sections, by mid.
    pub(crate) media_sources: BTreeMap<String, MediaCounts>,
    pub(crate) timestamp: Option<SystemTime>,
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
