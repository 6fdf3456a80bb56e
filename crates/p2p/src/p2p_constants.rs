//! Timing constants of ICE, by libwebrtc's names (`p2p/base/p2p_constants.h`). Read on the network task.

use std::time::Duration;

/// Between two checks while there is no good pair (T03).
pub const WEAK_PING_INTERVAL: Duration = Duration::from_millis(48);
/// Between two checks while there is a good pair (T03).
pub const STRONG_PING_INTERVAL: Duration = Duration::from_millis(480);
/// Checks of a writable pair until it is stable (T04).
pub const WEAK_OR_STABILIZING_WRITABLE_CONNECTION_PING_INTERVAL: Duration = Duration::from_millis(900);
/// Checks of a stable writable pair (T04); these are the consent checks of RFC 7675 too, and therefore
/// spread over 0.8 to 1.2 of this (RFC 7675 section 5.1).
pub const STRONG_AND_STABLE_WRITABLE_CONNECTION_PING_INTERVAL: Duration = Duration::from_millis(2500);
/// Checks of a pair that is kept as a reserve (T09).
pub const BACKUP_CONNECTION_PING_INTERVAL: Duration = Duration::from_secs(25);
/// A pair is not receiving after this long without a packet (T05).
pub const RECEIVING_TIMEOUT: Duration = Duration::from_millis(2500);
/// States are looked at this often at most (T05).
pub const MIN_CHECK_RECEIVING_INTERVAL: Duration = Duration::from_millis(50);
/// A writable pair becomes unreliable after this long, and [`CONNECTION_WRITE_CONNECT_FAILURES`] checks,
/// without a response (T06).
pub const CONNECTION_WRITE_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// See [`CONNECTION_WRITE_CONNECT_TIMEOUT`].
pub const CONNECTION_WRITE_CONNECT_FAILURES: usize = 5;
/// An unreliable or never writable pair times out after this long without a response (T06, T07).
pub const CONNECTION_WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// A pair on which nothing came in for this long is dead (T08).
pub const DEAD_CONNECTION_RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// No pair is deleted before it is this old (T08).
pub const MIN_CONNECTION_LIFETIME: Duration = Duration::from_secs(10);
/// Consent ends this long after the last response to a check (RFC 7675 section 5.1).
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);
/// A better pair must be better for this long, if it is only better at receiving (T10).
pub const RECEIVING_SWITCHING_DELAY: Duration = Duration::from_secs(1);
/// Each pair gets this many checks at the weak interval (C28).
pub const MIN_PINGS_AT_WEAK_PING_INTERVAL: u32 = 3;
/// Between two requests to a STUN server that keep the mapping alive (T11).
pub const STUN_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long mappings are kept alive on a costly network (T11).
pub const HIGH_COST_PORT_KEEPALIVE_LIFETIME: Duration = Duration::from_secs(120);
/// Between two looks for networks without a connection, with continual gathering (T12).
pub const REGATHER_ON_FAILED_NETWORKS_INTERVAL: Duration = Duration::from_secs(300);
/// Between two phases of an allocation sequence.
pub const DEFAULT_STEP_DELAY: Duration = Duration::from_millis(50);
/// Round-trip time of a pair before it was measured.
pub const DEFAULT_RTT: Duration = Duration::from_millis(3000);
/// The round-trip time used for time-outs is at least this.
pub const MINIMUM_RTT: Duration = Duration::from_millis(100);
/// The round-trip time used for time-outs is at most this.
pub const MAXIMUM_RTT: Duration = Duration::from_secs(60);
/// Weight of the past in the smoothed round-trip time.
pub const RTT_RATIO: u32 = 3;
/// How much better the round-trip time of a pair must be to justify a switch.
pub const MIN_IMPROVEMENT: Duration = Duration::from_millis(10);
/// How many IPv6 networks are used at most (G05).
pub const DEFAULT_MAX_IPV6_NETWORKS: usize = 5;

/// Remote candidates of one transport; more are ignored.
pub const MAX_REMOTE_CANDIDATES: usize = 256;
/// Pairs of one transport; more are not made.
pub const MAX_CONNECTIONS: usize = 1024;
/// Look-ups of names under way at once.
pub const MAX_PENDING_RESOLUTIONS: usize = 64;
/// Checks without a response that are remembered for each pair.
pub const MAX_OUTSTANDING_PINGS: usize = 64;
/// Checks that may be sent at once when pairs appear, before they are paced.
pub const PING_BURST: u32 = 6;
/// Answers a second to requests that did not authenticate.
pub const MAX_UNAUTHENTICATED_ERRORS_PER_SECOND: u32 = 20;
/// A check is forgotten after this long without a response.
pub const CONNECTION_RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
