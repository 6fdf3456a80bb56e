//! What an ICE transport tells of itself for `stats()`: candidates, pairs, counters. Answers to libwebrtc's
//! `p2p/base/connection_info.h`; snapshots, made on the network task.

use std::time::Duration;

use crate::connection::{ConnectionId, ConnectionStats, IceCandidatePairState, WriteState};
use crate::{Candidate, IceRole, IceTransportState};

/// A candidate pair (webrtc-stats `RTCIceCandidatePairStats`).
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionInfo {
    /// Stable within the transport.
    pub id: ConnectionId,
    /// Ours.
    pub local_candidate: Candidate,
    /// The peer's; without its address while it is peer-reflexive (C22).
    pub remote_candidate: Candidate,
    /// `state`.
    pub state: IceCandidatePairState,
    /// Whether packets get through.
    pub write_state: WriteState,
    /// Whether packets came in lately.
    pub receiving: bool,
    /// Whether it carries packets.
    pub selected: bool,
    /// `nominated`.
    pub nominated: bool,
    /// Pair priority (RFC 8445 section 6.1.2.3).
    pub priority: u64,
    /// Smoothed round-trip time, once measured.
    pub rtt: Option<Duration>,
    /// Counters.
    pub stats: ConnectionStats,
}

/// Datagrams that were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiscardedPackets {
    /// Neither STUN with a right fingerprint nor anything else that travels here.
    pub malformed: u64,
    /// Checks with a wrong user name or password, responses to no request of ours, data before any check.
    pub unauthenticated: u64,
    /// From an address, or by a socket, of which nothing is known.
    pub unknown: u64,
    /// Beyond a limit: too many pairs, too many errors to answer.
    pub over_limit: u64,
}

impl DiscardedPackets {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.malformed + self.unauthenticated + self.unknown + self.over_limit
    }
}

/// A snapshot of an ICE transport (webrtc-stats `RTCTransportStats`, the ICE part).
#[derive(Debug, Clone, PartialEq)]
pub struct IceTransportStats {
    /// State.
    pub state: IceTransportState,
    /// Our role.
    pub role: IceRole,
    /// Our user fragment.
    pub local_username_fragment: String,
    /// All pairs, in the order they were made.
    pub connections: Vec<ConnectionInfo>,
    /// Our candidates, as told to the peer.
    pub local_candidates: Vec<Candidate>,
    /// The peer's candidates; without its address while one is peer-reflexive.
    pub remote_candidates: Vec<Candidate>,
    /// How often the selected pair changed (S16).
    pub selected_candidate_pair_changes: u32,
    /// Data sent over all pairs, those that are gone too: bytes.
    pub bytes_sent: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Packets received.
    pub packets_received: u64,
    /// What was dropped.
    pub discarded: DiscardedPackets,
}
