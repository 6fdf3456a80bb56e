//! Snapshots for `stats()` (webrtc-stats). Answers to `GetStats` of libwebrtc's
//! `p2p/base/p2p_transport_channel.cc`; runs on the network task.

use std::time::Instant;

use super::P2PTransportChannel;
use crate::Candidate;
use crate::connection_info::{ConnectionInfo, IceTransportStats};

impl P2PTransportChannel {
    /// A snapshot of candidates, pairs and counters.
    pub fn stats(&self, _now: Instant) -> IceTransportStats {
        let connections: Vec<ConnectionInfo> = self
            .connections
            .values()
            .map(|connection| ConnectionInfo {
                id: connection.id(),
                local_candidate: self.shown(connection.local_candidate()),
                remote_candidate: connection.remote_candidate().sanitized(),
                state: connection.state(),
                write_state: connection.write_state(),
                receiving: connection.receiving(),
                selected: connection.selected(),
                nominated: connection.nominated(),
                priority: connection.priority(self.role),
                rtt: (connection.rtt_samples() > 0).then(|| connection.rtt()),
                stats: connection.stats,
            })
            .collect();
        let mut remote_candidates: Vec<Candidate> = Vec::new();
        let of_pairs = connections.iter().map(|info| info.remote_candidate.clone());
        let signalled = self.remote_candidates.iter().map(|known| known.candidate.sanitized());
        for candidate in of_pairs.chain(signalled) {
            if !remote_candidates.iter().any(|known| known.is_equivalent(&candidate)) {
                remote_candidates.push(candidate);
            }
        }
        let sum =
            |gone: u64, count: fn(&ConnectionInfo) -> u64| gone + connections.iter().map(count).sum::<u64>();
        IceTransportStats {
            state: self.state,
            role: self.role,
            local_username_fragment: self
                .ice_parameters
                .as_ref()
                .map(|parameters| parameters.ufrag.clone())
                .unwrap_or_default(),
            bytes_sent: sum(self.gone_sent.bytes, |info| info.stats.sent.bytes),
            packets_sent: sum(self.gone_sent.packets, |info| info.stats.sent.packets),
            bytes_received: sum(self.gone_received.bytes, |info| info.stats.received.bytes),
            packets_received: sum(self.gone_received.packets, |info| info.stats.received.packets),
            connections,
            local_candidates: self.local_candidates.clone(),
            remote_candidates,
            selected_candidate_pair_changes: self.selected_changes,
            discarded: self.discarded,
        }
    }
}
