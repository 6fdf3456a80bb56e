//! Networks that come, go or fail while a session lives. Answers to `OnNetworksChanged`,
//! `RegatherOnFailedNetworks` and `ClearGettingPorts` of libwebrtc's `p2p/client/basic_port_allocator.cc`; runs
//! on the network task.

use std::time::Instant;

use peerstack_base::{Network, SocketId};

use super::candidate_filter::{is_signalable, sanitize_related_address};
use super::{BasicPortAllocator, BasicPortAllocatorSession, SessionIo};
use crate::connection::ConnectionId;
use crate::port::{Port, PortId, PortState};
use crate::{Candidate, CandidateType, PortAllocatorSessionEvent};

/// One network as of two lists.
pub(crate) fn is_same(a: &Network, b: &Network) -> bool {
    a.name == b.name && a.best_ip() == b.best_ip()
}

impl BasicPortAllocatorSession {
    /// The list of networks changed: sequences for new ones, ports of lost ones pruned (G06, G07).
    pub(crate) fn on_networks_changed(
        &mut self,
        now: Instant,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        let usable = allocator.usable_networks();
        self.leave_networks(io, |network| !usable.iter().any(|now| is_same(now, network)));
        if self.started && !self.stopped {
            // Networks on which binding failed are tried again (G07).
            let ports = &self.ports;
            self.sequences.retain(|sequence| {
                sequence.bound.is_some() || ports.values().any(|port| port.base().network == sequence.network)
            });
            self.do_allocate(now, allocator, io);
            self.run(now, allocator, io);
        }
    }

    /// Its connections, each with the network of its port.
    pub(crate) fn networks_of_connections(&self) -> impl Iterator<Item = (ConnectionId, &Network)> {
        let bases = self.ports.values().map(Port::base);
        bases.flat_map(|base| base.connections.values().map(|id| (*id, &base.network)))
    }

    /// Gathers anew on networks that carry no connection, although they are there (T12).
    pub(crate) fn regather_on_failed_networks(
        &mut self,
        now: Instant,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        if !self.started || self.stopped {
            return;
        }
        let working: Vec<Network> = self
            .ports
            .values()
            .filter(|port| port.base().state != PortState::Pruned && !port.base().connections.is_empty())
            .map(|port| port.base().network.clone())
            .collect();
        self.leave_networks(io, |network| !working.iter().any(|works| is_same(works, network)));
        self.do_allocate(now, allocator, io);
        self.run(now, allocator, io);
    }

    /// Prunes the ports of networks and forgets their sequences; their candidates are told to be gone.
    fn leave_networks(&mut self, io: &mut SessionIo<'_>, left: impl Fn(&Network) -> bool) {
        let pruned: Vec<PortId> = self
            .ports
            .iter()
            .filter(|(_, port)| port.base().state != PortState::Pruned && left(&port.base().network))
            .map(|(id, _)| *id)
            .collect();
        let sockets: Vec<SocketId> = self
            .sequences
            .extract_if(.., |sequence| left(&sequence.network))
            .filter_map(|sequence| sequence.bound.map(|bound| bound.id))
            .collect();
        self.close_unused_sockets(sockets, io.io_requests);
        let mut removed: Vec<Candidate> = Vec::new();
        for id in &pruned {
            if let Some(port) = self.ports.get_mut(id) {
                port.prune();
                removed.extend(port.base().candidates.iter().cloned());
            }
        }
        if !pruned.is_empty() {
            self.events.emit(PortAllocatorSessionEvent::PortsPruned(pruned));
            self.on_candidates_removed(removed);
        }
    }

    /// Candidates of ports are gone: told as they were told; what checks brought to light was not.
    pub(super) fn on_candidates_removed(&mut self, removed: Vec<Candidate>) {
        let filter = self.filter;
        let told = removed.into_iter().filter(|candidate| {
            candidate.candidate_type != CandidateType::Prflx && is_signalable(filter, candidate)
        });
        let removed: Vec<Candidate> =
            told.map(|candidate| sanitize_related_address(filter, candidate)).collect();
        if !removed.is_empty() {
            self.events.emit(PortAllocatorSessionEvent::CandidatesRemoved(removed));
        }
    }

    /// Ends gathering for now: phases that were not begun are left out, what is on its way still comes (G40).
    pub(crate) fn clear_getting_ports(&mut self) {
        self.cleared = true;
        for sequence in &mut self.sequences {
            sequence.stop();
        }
        self.maybe_signal_done();
    }
}
