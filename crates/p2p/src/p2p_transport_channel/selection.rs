//! Sorting, switching, pruning, and the states that follow. Answers to `SortConnectionsAndUpdateState`,
//! `SwitchSelectedConnection` and `ComputeState` of libwebrtc's `p2p/base/p2p_transport_channel.cc`; runs on
//! the network task.

use std::time::{Duration, Instant};

use peerstack_base::{AdapterType, IoRequest};

use super::P2PTransportChannel;
use crate::basic_ice_controller::best_by_network;
use crate::connection::{Connection, ConnectionId};
use crate::port::Port;
use crate::{
    CandidatePairChange, CandidateType, IceControllerView, IceRole, IceSwitchReason, IceTransportEvent,
    IceTransportState, NetworkRoute, NominationMode, SwitchResult,
};

impl P2PTransportChannel {
    pub(super) fn sort_connections_and_update_state(&mut self, now: Instant, reason: IceSwitchReason) {
        let view = IceControllerView {
            now,
            connections: &self.connections,
            role: self.role,
            state: self.legacy_state,
        };
        let result = self.controller.sort_and_switch_connection(&view, reason);
        self.apply_switch(now, reason, result);
        // The controlled side prunes only once the peer has nominated: it might delete what the peer is about
        // to select.
        let may_prune = self.role == IceRole::Controlling
            || self.selected_connection().is_some_and(Connection::nominated);
        if may_prune {
            self.prune_connections(now);
        }
        let all_timed_out =
            !self.connections.is_empty() && !self.connections.values().any(Connection::active);
        if all_timed_out {
            self.handle_all_timed_out(now);
        }
        self.update_transport_state(now);
        self.maybe_stop_port_allocator_sessions();
    }

    fn apply_switch(&mut self, now: Instant, reason: IceSwitchReason, result: SwitchResult) {
        if let Some(recheck) = result.recheck_event {
            let at = now + recheck.recheck_delay;
            // One look a reason is enough.
            self.rechecks.retain(|(_, known)| *known != recheck.reason);
            self.rechecks.push((at, recheck.reason));
        }
        if let Some(connection) = result.connection {
            self.switch_selected_connection(now, Some(connection), reason);
        }
    }

    fn prune_connections(&mut self, now: Instant) {
        let view = IceControllerView {
            now,
            connections: &self.connections,
            role: self.role,
            state: self.legacy_state,
        };
        for id in self.controller.prune_connections(&view) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.prune(&mut self.connection_events);
            }
        }
    }

    /// Nothing is left: all connections end, so that what comes then begins anew (S08).
    fn handle_all_timed_out(&mut self, now: Instant) {
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.remove_connection(now, id);
        }
        self.remove_dead_sessions(now);
    }

    /// The controlling side nominated a connection.
    pub(super) fn on_nominated(&mut self, now: Instant, id: ConnectionId) {
        if self.role != IceRole::Controlled || self.selected == Some(id) {
            self.request_sort(IceSwitchReason::NominationOnControlledSide);
            return;
        }
        self.consider_switch(now, id, IceSwitchReason::NominationOnControlledSide);
        self.request_sort(IceSwitchReason::NominationOnControlledSide);
    }

    /// Looks at one connection without sorting all.
    pub(super) fn consider_switch(&mut self, now: Instant, id: ConnectionId, reason: IceSwitchReason) {
        let view = IceControllerView {
            now,
            connections: &self.connections,
            role: self.role,
            state: self.legacy_state,
        };
        let result = self.controller.should_switch_connection(&view, reason, id);
        let switched = result.connection.is_some();
        self.apply_switch(now, reason, result);
        if switched {
            self.request_sort(reason);
        }
    }

    fn switch_selected_connection(
        &mut self,
        now: Instant,
        new: Option<ConnectionId>,
        reason: IceSwitchReason,
    ) {
        let old = self.selected.take();
        let old_received = old.and_then(|id| self.connections.get_mut(&id)).and_then(|connection| {
            connection.set_selected(false);
            connection.last_received()
        });
        self.selected = new;
        self.selected_changes += 1;
        self.controller.set_selected_connection(new);
        let mut change = CandidatePairChange {
            pair: None,
            reason,
            last_data_received: None,
            // S18: how long nothing came in before; nothing at the first selection.
            estimated_disconnected_time: old_received
                .map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
        };
        if let Some(connection) = new.and_then(|id| self.connections.get_mut(&id)) {
            connection.set_selected(true);
            change.last_data_received = connection.last_data_received();
            self.nomination = self.nomination.saturating_add(1);
            change.pair = self.selected_connection().map(|connection| self.candidate_pair(connection));
        }
        self.events.emit(IceTransportEvent::SelectedCandidatePairChange(change));
        self.update_network_route();
        if let Some(connection) = self.selected_connection() {
            let (id, ready) = (connection.id(), self.ready_to_send(connection));
            if ready {
                self.events.emit(IceTransportEvent::ReadyToSend);
            }
            // The nomination is on its way at once (RFC 8445 section 8.1.1), not with the next check that
            // happens to be due.
            if self.role == IceRole::Controlling && self.config.nomination_mode != NominationMode::Aggressive
            {
                self.ping_connection(now, id);
            }
        }
    }

    fn update_network_route(&mut self) {
        let route = self.selected_connection().map(|connection| {
            let local_ip = connection.local.address.ip().map(|address| address.ip());
            let ip_header = if connection.remote_address.is_ipv4() { 20 } else { 40 };
            NetworkRoute {
                connected: self.ready_to_send(connection),
                local_network_id: connection.local.network_id,
                remote_network_id: connection.remote.network_id,
                adapter_type: connection.local.adapter_type,
                packet_overhead: ip_header + connection.route.overhead(),
                relayed: connection.local.candidate_type == CandidateType::Relay
                    || connection.remote.candidate_type == CandidateType::Relay,
                local_ip: local_ip.filter(|_| connection.local.adapter_type != AdapterType::Any),
            }
        });
        if route != self.network_route {
            self.network_route = route;
            self.events.emit(IceTransportEvent::NetworkRouteChange(route));
        }
    }

    /// Takes a connection out of everything that knows it.
    pub(super) fn remove_connection(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let stats = &connection.stats;
        for (gone, counter) in [(&mut self.gone_sent, stats.sent), (&mut self.gone_received, stats.received)]
        {
            gone.packets += counter.packets;
            gone.bytes += counter.bytes;
        }
        let port = self.sessions.iter_mut().find_map(|session| session.session.port_mut(connection.port));
        if let Some(port) = port {
            let known = &mut port.base_mut().connections;
            if known.get(&connection.remote_address) == Some(&id) {
                known.remove(&connection.remote_address);
            }
        }
        if let Some(session) =
            self.sessions.iter_mut().find(|session| session.session.port(connection.port).is_some())
        {
            let (port, remote) = (connection.port, connection.remote_address);
            let replaced =
                session.session.port(port).is_some_and(|port| port.base().connections.contains_key(&remote));
            let muxed = session.session.port(port).and_then(Port::muxed_socket);
            if let Some(id) = muxed.filter(|_| !replaced) {
                self.io_requests.push_back(IoRequest::RemoveUdpMuxRoute { id, remote });
            }
            if !replaced {
                session.session.on_connection_destroyed(port, remote, &mut self.io_requests);
            }
        }
        self.controller.on_connection_destroyed(id);
        if self.selected == Some(id) {
            self.switch_selected_connection(now, None, IceSwitchReason::SelectedConnectionDestroyed);
            self.request_sort(IceSwitchReason::SelectedConnectionDestroyed);
        }
    }

    pub(super) fn on_connection_destroyed(&mut self, now: Instant, id: ConnectionId) {
        self.remove_connection(now, id);
        self.remove_dead_sessions(now);
        self.request_sort(IceSwitchReason::ConnectStateChange);
    }

    fn update_transport_state(&mut self, now: Instant) {
        let _ = now;
        let writable = self
            .selected_connection()
            .is_some_and(|connection| connection.writable() || connection.presumed_writable(&self.config));
        let receiving = self.connections.values().any(Connection::receiving);
        if writable != self.writable {
            self.writable = writable;
            self.has_been_writable |= writable;
            self.events.emit(IceTransportEvent::WritableState(writable));
        }
        if receiving != self.receiving {
            self.receiving = receiving;
            self.events.emit(IceTransportEvent::ReceivingState(receiving));
        }
        self.legacy_state = self.compute_state();
        let state = self.compute_ice_transport_state();
        if state != self.state {
            self.state = state;
            self.events.emit(IceTransportEvent::StateChange(state));
        }
        self.update_network_route();
    }

    /// The state of the second seed's text (libwebrtc `ComputeState`): failed without an active connection,
    /// connecting with more than one for each network of ours and of the peer's, else completed.
    fn compute_state(&self) -> IceTransportState {
        if !self.had_connection {
            return IceTransportState::New;
        }
        // Best first, as pruning goes by.
        let ids = self.selected.iter().chain(self.controller.connections());
        let active: Vec<&Connection> =
            ids.filter_map(|id| self.connections.get(id)).filter(|connection| connection.active()).collect();
        let kept = best_by_network(active.iter().copied());
        if active.is_empty() {
            IceTransportState::Failed
        } else if active.iter().all(|connection| kept.iter().any(|kept| kept.id() == connection.id())) {
            IceTransportState::Completed
        } else {
            IceTransportState::Checking
        }
    }

    /// The state of W3C (libwebrtc `ComputeIceTransportState`), which never says completed: the aggregate
    /// above does.
    fn compute_ice_transport_state(&self) -> IceTransportState {
        let has_connection = self.connections.values().any(Connection::active);
        match (self.had_connection, has_connection) {
            (true, false) => IceTransportState::Failed,
            (false, false) => IceTransportState::New,
            _ if self.writable => IceTransportState::Connected,
            _ if self.has_been_writable => IceTransportState::Disconnected,
            _ => IceTransportState::Checking,
        }
    }
}
