//! Sessions of gathering and what they tell. Answers to `MaybeStartGathering`, `OnPortReady` and
//! `OnCandidatesReady` of libwebrtc's `p2p/base/p2p_transport_channel.cc`; runs on the network task.

use std::net::SocketAddr;
use std::time::Instant;

use super::{P2PTransportChannel, Session};
use crate::basic_port_allocator::{BasicPortAllocatorSession, SessionConfig, SessionIo, is_same};
use crate::connection::ConnectionId;
use crate::port::{Port, PortId, PortIo};
use crate::{
    CandidateFilter, CandidateType, IceGatheringState, IceMode, IceParameters, IceSwitchReason,
    IceTransportEvent, PortAllocatorSessionEvent,
};

impl P2PTransportChannel {
    /// A session for the current parameters unless there is one: the first, or after an ICE restart
    /// (RFC 8445 section 9).
    pub(super) fn start_gathering_if_needed(&mut self, now: Instant) {
        let Some(parameters) = self.ice_parameters.clone() else {
            tracing::warn!(target: "peerstack::ice", transport = %self.name, "no ICE parameters to gather with");
            return;
        };
        if self.sessions.last().is_some_and(|last| last.pooled) {
            return self.take_pooled_session(now, parameters);
        }
        let current = self.sessions.last().map(|session| &session.session.parameters);
        if current.is_some_and(|now| now.ufrag == parameters.ufrag && now.pwd == parameters.pwd) {
            return;
        }
        self.set_gathering_state(IceGatheringState::Gathering);
        for session in &mut self.sessions {
            session.session.stop_getting_ports();
            // New connections are made from the new ports alone; those of old ones live on (S19).
            session.session.prune_all_ports();
            // What an ended session still says does not count any more.
            while session.events.try_next().is_some() {}
        }
        let pruned: Vec<PortId> = std::mem::take(&mut self.ports);
        pruned.iter().for_each(|port| self.update_routes(now, *port));
        self.mark_port_pruned(&pruned);
        self.local_candidates.clear();
        let filter = self.allocator.config.candidate_filter;
        self.start_session(now, parameters, filter, false);
        if self.config.gather_continually() {
            self.regather_due = Some(now + self.config.regather_on_failed_networks_interval);
        }
        self.remove_dead_sessions(now);
    }

    /// A session that gathers from now on.
    fn start_session(
        &mut self,
        now: Instant,
        parameters: IceParameters,
        filter: CandidateFilter,
        pooled: bool,
    ) {
        let mut session = self.new_session(parameters, filter, pooled);
        self.sessions_made += 1;
        let events = session.subscribe();
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        session.start_getting_ports(now, &mut self.allocator, &mut io);
        self.sessions.push(Session { session, events, pooled });
    }

    /// Gathers ahead of any description, under these parameters: everything, whatever the filter, and nothing of it
    /// is told before [`maybe_start_gathering`](crate::IceTransport::maybe_start_gathering) takes it (libwebrtc's
    /// pooled session; W3C `iceCandidatePoolSize`; G17, G27). Does nothing once there is a session.
    pub fn start_pooled_gathering(&mut self, now: Instant, parameters: IceParameters) {
        if self.closed || !self.sessions.is_empty() {
            return;
        }
        // Nothing passes this filter, so nothing is told and no port is paired.
        self.start_session(now, parameters, CandidateFilter::NONE, true);
    }

    /// Takes what was gathered ahead: under the parameters that the description says, through the filter of now,
    /// finished or not (libwebrtc `TakePooledSession`; G17, G18, G37).
    fn take_pooled_session(&mut self, now: Instant, parameters: IceParameters) {
        self.set_gathering_state(IceGatheringState::Gathering);
        let filter = self.allocator.config.candidate_filter;
        let continually = self.config.gather_continually();
        let Some(last) = self.sessions.last_mut() else { return };
        last.pooled = false;
        // Of what it said so far errors alone count: candidates are told now, and the end after them.
        let mut errors = Vec::new();
        while let Some(event) = last.events.try_next() {
            if let PortAllocatorSessionEvent::CandidateError(error) = event {
                errors.push(error);
            }
        }
        last.session.set_ice_parameters(parameters, &mut self.io_requests);
        last.session.set_candidate_filter(filter);
        last.session.signal_done_again();
        for error in errors {
            let error = self.shown_error(error);
            self.events.emit(IceTransportEvent::CandidateError(error));
        }
        if continually {
            self.regather_due = Some(now + self.config.regather_on_failed_networks_interval);
        }
    }

    fn new_session(
        &self,
        parameters: IceParameters,
        filter: CandidateFilter,
        pooled: bool,
    ) -> BasicPortAllocatorSession {
        let told = self.allocator.config.candidate_filter;
        let hides = self.config.surface_ice_candidates_on_ice_transport_type_changed || pooled;
        let config = SessionConfig {
            parameters,
            generation: self.sessions_made,
            component: self.component,
            step_delay: self.config.step_delay,
            keepalive_interval: self.config.stun_keepalive_interval,
            filter,
            gathers: if hides && self.ice_mode == IceMode::Full { CandidateFilter::ALL } else { told },
        };
        BasicPortAllocatorSession::new(&format!("{}/{}", self.name, self.component), config)
    }

    fn mark_port_pruned(&mut self, ports: &[PortId]) {
        for connection in self.connections.values_mut() {
            if ports.contains(&connection.port) {
                connection.port_pruned = true;
            }
        }
    }

    /// Removes ports that are pruned and without connections, and old sessions without ports.
    pub(super) fn remove_dead_sessions(&mut self, now: Instant) {
        let last = self.sessions.len().saturating_sub(1);
        let mut index = 0;
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        self.sessions.retain_mut(|session| {
            session.session.remove_dead_ports(now, &mut self.allocator, &mut io);
            let keep = index == last || !session.session.is_empty() || session.session.is_releasing();
            index += 1;
            keep
        });
    }

    pub(super) fn set_gathering_state(&mut self, state: IceGatheringState) {
        if self.gathering_state != state {
            self.gathering_state = state;
            self.events.emit(IceTransportEvent::GatheringStateChange(state));
        }
    }

    pub(super) fn on_session_event(&mut self, now: Instant, index: usize, event: PortAllocatorSessionEvent) {
        let newest = index + 1 == self.sessions.len();
        match event {
            PortAllocatorSessionEvent::PortReady(port) if newest => self.on_port_ready(now, port),
            PortAllocatorSessionEvent::PortReady(_) => {}
            PortAllocatorSessionEvent::PortsPruned(ports) => {
                self.ports.retain(|port| !ports.contains(port));
                self.mark_port_pruned(&ports);
                self.remove_dead_sessions(now);
                self.request_sort(IceSwitchReason::Unknown);
            }
            PortAllocatorSessionEvent::CandidatesReady(candidates) if newest => {
                for candidate in candidates {
                    let candidate = self.tell(candidate);
                    self.local_candidates.push(candidate.clone());
                    self.events.emit(IceTransportEvent::CandidateGathered(candidate));
                }
            }
            PortAllocatorSessionEvent::CandidatesReady(_) => {}
            PortAllocatorSessionEvent::CandidateError(error) => {
                let error = self.shown_error(error);
                self.events.emit(IceTransportEvent::CandidateError(error));
            }
            PortAllocatorSessionEvent::CandidatesRemoved(removed) => {
                let removed: Vec<_> = removed.iter().map(|candidate| self.shown(candidate)).collect();
                self.local_candidates.retain(|candidate| !removed.contains(candidate));
                // Without continual gathering the peer is not told: a restart replaces them all (G38, G39).
                if newest && self.config.gather_continually() {
                    self.events.emit(IceTransportEvent::CandidatesRemoved(removed));
                }
            }
            // Continual gathering is never complete.
            PortAllocatorSessionEvent::CandidatesAllocationDone
                if newest && !self.config.gather_continually() =>
            {
                self.set_gathering_state(IceGatheringState::Complete);
            }
            PortAllocatorSessionEvent::CandidatesAllocationDone => {}
            PortAllocatorSessionEvent::RouteChange(port, _) => self.update_routes(now, port),
            PortAllocatorSessionEvent::ConnectionClosed(port, remote) => {
                let id = self.connection_of(port, remote);
                if let Some(connection) = id.and_then(|id| self.connections.get_mut(&id)) {
                    connection.fail_and_destroy(&mut self.connection_events);
                }
            }
            PortAllocatorSessionEvent::PeerUnreachable(port, remote) => {
                // A relay will not carry anything to this peer (U08).
                let id = self.connection_of(port, remote);
                if let Some(connection) = id.and_then(|id| self.connections.get_mut(&id)) {
                    connection.fail_and_prune(&mut self.connection_events);
                }
            }
        }
    }

    /// Pairs whose network is gone are not connected: one that works takes over at once, instead of when the loss
    /// shows by silence (S11).
    pub(super) fn update_networks_of_connections(&mut self) {
        let usable = self.allocator.usable_networks();
        for session in &self.sessions {
            for (id, network) in session.session.networks_of_connections() {
                let gone = !usable.iter().any(|usable| is_same(usable, network));
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.set_network_gone(gone, &mut self.connection_events);
                }
            }
        }
    }

    /// Nothing comes by the selected pair any more: where a relay is its local end, the server may have lost the
    /// allocation, and is asked.
    pub(super) fn verify_allocation_of(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id).filter(|_| self.selected == Some(id)) else {
            return;
        };
        let silent = !connection.receiving() && connection.last_received().is_some();
        if !silent || connection.local.candidate_type != CandidateType::Relay {
            return;
        }
        self.with_port(connection.port, |port, io| port.verify_allocation(now, io));
    }

    /// Lends a port its hands, whichever session has it.
    pub(super) fn with_port(&mut self, id: PortId, mut call: impl FnMut(&mut Port, &mut PortIo<'_>)) {
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        for session in &mut self.sessions {
            session.session.with_port(id, &mut self.allocator, &mut io, &mut call);
        }
    }

    /// Time to look for networks that carry nothing (T12).
    pub(super) fn regather_on_failed_networks(&mut self, now: Instant) {
        self.regather_due = Some(now + self.config.regather_on_failed_networks_interval);
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        if let Some(last) = self.sessions.last_mut().filter(|last| last.session.is_cleared()) {
            last.session.regather_on_failed_networks(now, &mut self.allocator, &mut io);
        }
    }

    fn connection_of(&self, port: PortId, remote: SocketAddr) -> Option<ConnectionId> {
        self.session_of_port(port)?.port(port)?.base().connections.get(&remote).copied()
    }

    /// Connections of a port send the way it says now.
    fn update_routes(&mut self, now: Instant, port: PortId) {
        let mut renewed = None;
        let session = self.sessions.iter().find(|session| session.session.port(port).is_some());
        let Some(port) = session.and_then(|session| session.session.port(port)) else { return };
        for (remote, id) in &port.base().connections {
            if let (Some(route), Some(connection)) = (port.route_to(*remote), self.connections.get_mut(id)) {
                connection.set_route(route, port.is_connected(*remote), &mut self.connection_events);
                // A relay that was made anew has another address.
                let relayed = connection.local.candidate_type == CandidateType::Relay;
                let known = connection.local.address.ip().is_some_and(|at| port.base().has_candidate(at));
                if let Some(candidate) = port.local_candidate(*remote).filter(|_| relayed && !known) {
                    connection.local = candidate;
                    renewed = renewed.or(Some(*id).filter(|id| self.selected == Some(*id)));
                }
            }
        }
        if let Some(id) = renewed {
            // The peer learns of it by a check.
            self.ping_connection(now, id);
        }
        self.request_sort(IceSwitchReason::Unknown);
    }

    /// Data went by a port with more around it than need be.
    pub(super) fn bind_channel(&mut self, now: Instant, port: PortId, remote: SocketAddr) {
        self.with_port(port, |port, io| port.bind_channel(now, remote, io));
    }

    /// A port can be paired: with every remote candidate there is.
    fn on_port_ready(&mut self, now: Instant, port: PortId) {
        self.ports.push(port);
        for remote in self.remote_candidates.clone() {
            self.pair(now, port, &remote);
        }
        self.request_sort(IceSwitchReason::NewConnectionFromLocalCandidate);
    }

    /// A strong pair of the newest generation ends gathering (G40).
    pub(super) fn maybe_stop_port_allocator_sessions(&mut self) {
        let newest = self.sessions.last().map_or(0, |session| session.session.generation);
        let strong = self
            .selected_connection()
            .is_some_and(|connection| !connection.weak() && connection.local.generation >= newest);
        if !strong || self.config.gather_after_connected {
            return;
        }
        let continually = self.config.gather_continually();
        let Some(last) = self.sessions.last_mut() else { return };
        if continually && !last.session.is_cleared() {
            last.session.clear_getting_ports();
        } else if !continually && !last.session.is_stopped() {
            last.session.stop_getting_ports();
        }
    }
}
