//! What ICE can be told: timings and modes. Answers to `IceConfig` of libwebrtc's
//! `p2p/base/ice_transport_internal.h`; owned by the network task.

use std::time::Duration;

use peerstack_base::AdapterType;

use crate::p2p_constants as constants;

/// How the controlling side nominates (RFC 8445 section 8.1.1, RFC 5245 section 8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NominationMode {
    /// The selected pair, once a check on it has succeeded.
    #[default]
    Regular,
    /// Every pair, with every check (RFC 5245 section 8.1.1.2).
    Aggressive,
    /// Pairs that would be better than the selected one, with every check; only the selected and writable
    /// pair if the peer is lite.
    SemiAggressive,
}

/// Whether gathering goes on for as long as the transport lives (libwebrtc `ContinualGatheringPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ContinualGatheringPolicy {
    /// Until a good pair is there.
    #[default]
    GatherOnce,
    /// New networks give new candidates, lost ones take theirs back, and failed ones are gathered on again.
    GatherContinually,
}

/// Timings and modes of one ICE transport; the default is libwebrtc's.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct IceConfig {
    /// A pair is not receiving after this long (T05).
    pub receiving_timeout: Duration,
    /// Between checks of a reserve pair (T09).
    pub backup_connection_ping_interval: Duration,
    /// Between checks of a stable writable pair (T04).
    pub stable_writable_connection_ping_interval: Duration,
    /// Between checks while there is no good pair (T03).
    pub ice_check_interval_weak_connectivity: Duration,
    /// Between checks while there is a good pair (T03).
    pub ice_check_interval_strong_connectivity: Duration,
    /// Writable to unreliable: time without a response (T06).
    pub ice_unwritable_timeout: Duration,
    /// Writable to unreliable: checks without a response (T06).
    pub ice_unwritable_min_checks: usize,
    /// Unreliable or never writable to timed out (T06, T07).
    pub ice_inactive_timeout: Duration,
    /// Damping of a switch because of receiving (T10).
    pub receiving_switching_delay: Duration,
    /// Dead after this long without a packet (T08); at least 30 s.
    pub dead_connection_timeout: Duration,
    /// Between requests that keep a mapping alive (T11).
    pub stun_keepalive_interval: Duration,
    /// Between phases of gathering.
    pub step_delay: Duration,
    /// How the controlling side nominates.
    pub nomination_mode: NominationMode,
    /// A pair of two relays counts as writable before its first check succeeded (C29).
    pub presume_writable_when_fully_relayed: bool,
    /// Pairs of two relays are checked first (C27).
    pub prioritize_most_likely_candidate_pairs: bool,
    /// Networks of this kind are better than others, whatever they cost (S14).
    pub network_preference: Option<AdapterType>,
    /// Whether gathering goes on for as long as the transport lives (G38).
    pub continual_gathering_policy: ContinualGatheringPolicy,
    /// With continual gathering: how often networks without a connection are gathered on again (T12).
    pub regather_on_failed_networks_interval: Duration,
    /// Gathering goes on although a good pair exists (G40).
    pub gather_after_connected: bool,
    /// Acknowledges checks of the peer inside our own checks (C30).
    pub piggyback_ice_check_acknowledgement: bool,
    /// Gathers what the candidate filter hides too, so that a wider filter tells it at once (G17). Without it a
    /// wider filter counts from the next ICE restart, as W3C's `setConfiguration` has it.
    pub surface_ice_candidates_on_ice_transport_type_changed: bool,
    /// Tells the peer that we understand GOOG_PING (C13).
    pub announce_goog_ping: bool,
    /// Sends GOOG_PING, a check of 32 bytes, where a whole check would say what the last answered one said, to
    /// peers that announced it (C13). Off by default, as in libwebrtc: its signature has 32 bits only.
    pub enable_goog_ping: bool,
}

impl Default for IceConfig {
    fn default() -> Self {
        Self {
            receiving_timeout: constants::RECEIVING_TIMEOUT,
            backup_connection_ping_interval: constants::BACKUP_CONNECTION_PING_INTERVAL,
            stable_writable_connection_ping_interval:
                constants::STRONG_AND_STABLE_WRITABLE_CONNECTION_PING_INTERVAL,
            ice_check_interval_weak_connectivity: constants::WEAK_PING_INTERVAL,
            ice_check_interval_strong_connectivity: constants::STRONG_PING_INTERVAL,
            ice_unwritable_timeout: constants::CONNECTION_WRITE_CONNECT_TIMEOUT,
            ice_unwritable_min_checks: constants::CONNECTION_WRITE_CONNECT_FAILURES,
            ice_inactive_timeout: constants::CONNECTION_WRITE_TIMEOUT,
            receiving_switching_delay: constants::RECEIVING_SWITCHING_DELAY,
            dead_connection_timeout: constants::DEAD_CONNECTION_RECEIVE_TIMEOUT,
            stun_keepalive_interval: constants::STUN_KEEPALIVE_INTERVAL,
            step_delay: constants::DEFAULT_STEP_DELAY,
            nomination_mode: NominationMode::default(),
            presume_writable_when_fully_relayed: false,
            prioritize_most_likely_candidate_pairs: true,
            network_preference: None,
            continual_gathering_policy: ContinualGatheringPolicy::default(),
            regather_on_failed_networks_interval: constants::REGATHER_ON_FAILED_NETWORKS_INTERVAL,
            gather_after_connected: false,
            piggyback_ice_check_acknowledgement: false,
            surface_ice_candidates_on_ice_transport_type_changed: false,
            announce_goog_ping: true,
            enable_goog_ping: false,
        }
    }
}

impl IceConfig {
    /// Whether gathering goes on.
    pub fn gather_continually(&self) -> bool {
        self.continual_gathering_policy == ContinualGatheringPolicy::GatherContinually
    }

    /// How often states are looked at: a tenth of the receiving time-out, 50 ms at least (T05).
    pub fn check_receiving_interval(&self) -> Duration {
        (self.receiving_timeout / 10).max(constants::MIN_CHECK_RECEIVING_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T05: a time-out of 500 ms is looked at every 50 ms, the default every 250 ms.
    #[test]
    fn the_check_interval_is_a_tenth_of_the_time_out() {
        let mut config = IceConfig::default();
        assert_eq!(config.check_receiving_interval(), Duration::from_millis(250));
        config.receiving_timeout = Duration::from_millis(500);
        assert_eq!(config.check_receiving_interval(), Duration::from_millis(50));
        config.receiving_timeout = Duration::from_millis(100);
        assert_eq!(config.check_receiving_interval(), Duration::from_millis(50));
    }
}
