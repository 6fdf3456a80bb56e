//! ICE for one transport: gathers, pairs, checks, selects, and carries packets over the selected pair. Owned
//! by the network task. RFC 8445, RFC 8838, RFC 7675; answers to libwebrtc's
//! `p2p/base/p2p_transport_channel.h`.
//!
//! Nothing waits for a tick: a candidate is paired when it is there, a pair checked when it is made, a check
//! of the peer answered and returned, a pair that answered selected and nominated, all within the call that
//! brought the news.

mod checking;
mod gathering;
mod host_names;
mod remote_candidates;
mod selection;
mod stats;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use peerstack_base::{
    Counter, EventReceiver, EventSource, IoRequest, Network, PacketOptions, PacketSocketFactory, Random,
    ReceiveMeta, ResolveId, SendError, SocketEvent, SocketId, TransmitQueue,
};

use crate::basic_port_allocator::{BasicPortAllocator, BasicPortAllocatorSession, SessionIo};
use crate::connection::{Connection, ConnectionEvent, ConnectionId, WriteState};
use crate::p2p_constants::{MAX_UNAUTHENTICATED_ERRORS_PER_SECOND, PING_BURST};
use crate::port::PortId;
use crate::{
    BasicIceController, Candidate, CandidateFilter, CandidatePair, DiscardedPackets, IceConfig,
    IceController, IceGatheringState, IceMode, IceParameters, IceRole, IceSwitchReason, IceTransport,
    IceTransportEvent, IceTransportState, NetworkRoute, PortAllocatorConfig, PortAllocatorSessionEvent,
    TcpCandidatePolicy,
};
use host_names::HostNames;
use remote_candidates::{PendingResolution, RemoteCandidate};

/// What a [`P2PTransportChannel`] is made of.
#[derive(Debug)]
pub struct P2PTransportChannelConfig {
    /// Names it in traces, for example the mid.
    pub name: String,
    /// 1 RTP (also with rtcp-mux), 2 RTCP.
    pub component: u8,
    /// Timings and modes.
    pub ice_config: IceConfig,
    /// Servers, filters and limits of gathering.
    pub port_allocator: PortAllocatorConfig,
    /// Makes its sockets.
    pub packet_socket_factory: Box<dyn PacketSocketFactory>,
    /// The networks now; none means binding to the "any" address.
    pub networks: Vec<Network>,
    /// Our role until [`IceTransport::set_ice_role`] says otherwise.
    pub role: IceRole,
    /// Whether we are a lite agent (RFC 8445 section 2.5): host candidates alone, no checks of our own, and the
    /// peer nominates. For hosts that can be reached at their addresses.
    pub ice_mode: IceMode,
}

impl P2PTransportChannelConfig {
    /// A configuration with defaults for all but what has none.
    pub fn new(
        name: impl Into<String>,
        packet_socket_factory: Box<dyn PacketSocketFactory>,
        networks: Vec<Network>,
    ) -> Self {
        Self {
            name: name.into(),
            component: 1,
            ice_config: IceConfig::default(),
            port_allocator: PortAllocatorConfig::default(),
            packet_socket_factory,
            networks,
            role: IceRole::Controlled,
            ice_mode: IceMode::Full,
        }
    }
}

/// A session of gathering with the channel of its events.
#[derive(Debug)]
struct Session {
    session: BasicPortAllocatorSession,
    events: EventReceiver<PortAllocatorSessionEvent>,
    /// Gathers ahead of a description; what it tells waits.
    pooled: bool,
}

/// An ICE transport.
#[derive(Debug)]
pub struct P2PTransportChannel {
    name: String,
    component: u8,
    config: IceConfig,
    role: IceRole,
    /// A conflict was told and the role not set since.
    role_conflict_told: bool,
    tiebreaker: u64,
    ice_parameters: Option<IceParameters>,
    /// One for each remote generation.
    remote_ice_parameters: Vec<IceParameters>,
    remote_ice_mode: IceMode,
    /// Ours.
    ice_mode: IceMode,

    allocator: BasicPortAllocator,
    /// The newest is the last one.
    sessions: Vec<Session>,
    sessions_made: u32,
    /// Ports of the newest session that new connections are made from.
    ports: Vec<PortId>,
    local_candidates: Vec<Candidate>,
    host_names: HostNames,
    remote_candidates: Vec<RemoteCandidate>,
    resolutions: BTreeMap<ResolveId, PendingResolution>,

    controller: Box<dyn IceController>,
    connections: BTreeMap<ConnectionId, Connection>,
    next_connection: u32,
    connection_events: EventSource<ConnectionEvent>,
    connection_receiver: EventReceiver<ConnectionEvent>,
    connection_events_seen: u64,
    selected: Option<ConnectionId>,
    selected_changes: u32,
    /// Where, and when, the peer was last heard by another connection than the selected one.
    heard_elsewhere: Option<(Instant, ConnectionId)>,
    nomination: u32,
    sort_reason: Option<IceSwitchReason>,

    events: EventSource<IceTransportEvent>,
    transmits: TransmitQueue,
    io_requests: VecDeque<IoRequest>,
    random: Random,

    had_connection: bool,
    has_been_writable: bool,
    writable: bool,
    receiving: bool,
    state: IceTransportState,
    legacy_state: IceTransportState,
    gathering_state: IceGatheringState,
    network_route: Option<NetworkRoute>,
    closed: bool,

    last_ping_sent: Option<Instant>,
    ping_due: Option<Instant>,
    ping_tokens: u32,
    ping_tokens_at: Option<Instant>,
    rechecks: Vec<(Instant, IceSwitchReason)>,
    regather_due: Option<Instant>,
    error_tokens: u32,
    error_tokens_at: Option<Instant>,

    /// Data of connections that are gone.
    gone_sent: Counter,
    gone_received: Counter,
    discarded: DiscardedPackets,
}

impl P2PTransportChannel {
    /// A transport that does nothing until it is told parameters and to gather.
    pub fn new(config: P2PTransportChannelConfig, mut random: Random) -> Self {
        let scope = format!("{}/{}", config.name, config.component);
        let mut connection_events = EventSource::new(scope.clone());
        Self {
            controller: Box::new(BasicIceController::new(config.ice_config.clone())),
            name: config.name,
            component: config.component,
            config: config.ice_config,
            role: config.role,
            role_conflict_told: false,
            tiebreaker: random.u64(),
            ice_parameters: None,
            remote_ice_parameters: Vec::new(),
            remote_ice_mode: IceMode::Full,
            ice_mode: config.ice_mode,
            allocator: BasicPortAllocator::new(
                for_mode(config.ice_mode, config.port_allocator),
                config.networks,
                config.packet_socket_factory,
            ),
            sessions: Vec::new(),
            sessions_made: 0,
            ports: Vec::new(),
            local_candidates: Vec::new(),
            host_names: HostNames::default(),
            remote_candidates: Vec::new(),
            resolutions: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            connection_receiver: connection_events.subscribe(),
            connection_events,
            connection_events_seen: 0,
            selected: None,
            selected_changes: 0,
            heard_elsewhere: None,
            nomination: 0,
            sort_reason: None,
            events: EventSource::new(scope),
            transmits: TransmitQueue::default(),
            io_requests: VecDeque::new(),
            random,
            had_connection: false,
            has_been_writable: false,
            writable: false,
            receiving: false,
            state: IceTransportState::New,
            legacy_state: IceTransportState::New,
            gathering_state: IceGatheringState::New,
            network_route: None,
            closed: false,
            last_ping_sent: None,
            ping_due: None,
            ping_tokens: PING_BURST,
            ping_tokens_at: None,
            rechecks: Vec::new(),
            regather_due: None,
            error_tokens: MAX_UNAUTHENTICATED_ERRORS_PER_SECOND,
            error_tokens_at: None,
            gone_sent: Counter::default(),
            gone_received: Counter::default(),
            discarded: DiscardedPackets::default(),
        }
    }

    /// Replaces the controller that decides; to be called before there are connections (S23).
    pub fn set_ice_controller(&mut self, mut controller: Box<dyn IceController>) {
        controller.set_ice_config(&self.config);
        for id in self.controller.connections() {
            controller.add_connection(*id);
        }
        controller.set_selected_connection(self.selected);
        self.controller = controller;
    }

    /// New timings and modes.
    pub fn set_ice_config(&mut self, config: IceConfig) {
        self.controller.set_ice_config(&config);
        self.config = config;
    }

    /// Servers, filters and limits for the next session of gathering, which begins with an ICE restart
    /// (W3C `setConfiguration`). Only the candidate filter counts at once, and only where
    /// [`IceConfig::surface_ice_candidates_on_ice_transport_type_changed`] says so; what it tells then is emitted
    /// by the next [`process`](IceTransport::process).
    pub fn set_port_allocator_config(&mut self, config: PortAllocatorConfig) {
        self.allocator.config = for_mode(self.ice_mode, config);
        if self.config.surface_ice_candidates_on_ice_transport_type_changed
            && let Some(last) = self.sessions.last_mut().filter(|last| !last.pooled)
        {
            last.session.set_candidate_filter(self.allocator.config.candidate_filter);
        }
    }

    /// The servers, filters and limits of gathering.
    pub fn port_allocator_config(&self) -> &PortAllocatorConfig {
        &self.allocator.config
    }

    /// The networks changed: new ones are gathered on while gathering has not stopped, ports of lost ones
    /// make no new connections (G06).
    pub fn set_networks(&mut self, now: Instant, networks: Vec<Network>) {
        if self.closed {
            return;
        }
        self.allocator.set_networks(networks);
        let Some(last) = self.sessions.last_mut() else { return };
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        last.session.on_networks_changed(now, &mut self.allocator, &mut io);
        self.update_networks_of_connections();
        self.process(now);
        // What is told of candidates that are gone has the name still.
        self.remove_lost_host_names();
    }

    /// Another name in traces, for one that was made ahead of its description.
    pub fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
        let scope = format!("{name}/{}", self.component);
        self.connection_events.set_scope(scope.clone());
        self.events.set_scope(scope);
    }

    /// Whether nothing is left to be sent or asked for.
    pub(crate) fn is_drained(&self) -> bool {
        !self.is_releasing() && self.io_requests.is_empty() && self.transmits.is_empty()
    }

    /// Its name and component, as in traces.
    pub fn name(&self) -> (&str, u8) {
        (&self.name, self.component)
    }

    /// Its connections, in the order they were made.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values()
    }

    /// The connection that carries packets.
    pub fn selected_connection(&self) -> Option<&Connection> {
        self.selected.and_then(|id| self.connections.get(&id))
    }

    /// A connection's candidates as the application may see them (C22).
    fn candidate_pair(&self, connection: &Connection) -> CandidatePair {
        CandidatePair {
            local: self.shown(connection.local_candidate()),
            remote: connection.remote_candidate().sanitized(),
        }
    }

    fn ready_to_send(&self, connection: &Connection) -> bool {
        matches!(connection.write_state(), WriteState::Writable | WriteState::WriteUnreliable)
            || connection.presumed_writable(&self.config)
    }

    fn session_of_port(&self, id: PortId) -> Option<&BasicPortAllocatorSession> {
        self.sessions.iter().map(|session| &session.session).find(|session| session.port(id).is_some())
    }

    fn request_sort(&mut self, reason: IceSwitchReason) {
        self.sort_reason.get_or_insert(reason);
    }

    /// Drains the events of sessions; whether there were any.
    fn drain_session_events(&mut self, now: Instant) -> bool {
        let mut drained = Vec::new();
        for (index, session) in self.sessions.iter_mut().enumerate().filter(|(_, session)| !session.pooled) {
            while let Some(event) = session.events.try_next() {
                drained.push((index, event));
            }
        }
        let any = !drained.is_empty();
        for (index, event) in drained {
            self.on_session_event(now, index, event);
        }
        any
    }

    /// Drains the events of connections; whether there were any.
    fn drain_connection_events(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(event) = self.connection_receiver.try_next() {
            any = true;
            match event {
                ConnectionEvent::StateChange(id) => {
                    self.verify_allocation_of(now, id);
                    self.request_sort(IceSwitchReason::ConnectStateChange);
                }
                ConnectionEvent::Nominated(id) => self.on_nominated(now, id),
                ConnectionEvent::Destroyed(id) => self.on_connection_destroyed(now, id),
                ConnectionEvent::RoleConflict(_) => self.on_role_conflict(),
            }
        }
        self.connection_events_seen = self.connection_events.emitted();
        any
    }

    fn on_role_conflict(&mut self) {
        // Once until the controller has answered: two switches would be none.
        if !self.role_conflict_told {
            self.role_conflict_told = true;
            self.events.emit(IceTransportEvent::RoleConflict);
        }
    }

    /// A few turns settle everything: each sorting may prune, each pruning changes states.
    fn settle(&mut self, now: Instant) {
        for _ in 0..16 {
            let mut any = self.drain_session_events(now);
            any |= self.drain_connection_events(now);
            if let Some(reason) = self.sort_reason.take() {
                self.sort_connections_and_update_state(now, reason);
                any = true;
            }
            if !any {
                return;
            }
        }
    }
}

impl IceTransport for P2PTransportChannel {
    fn receive<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Option<&'d mut [u8]> {
        let passed = self.receive_datagram(now, datagram, meta);
        if self.closed {
            self.sessions.retain(|session| session.session.is_releasing());
            return None;
        }
        if self.sort_reason.is_some() || self.connection_events_seen != self.connection_events.emitted() {
            self.process(now);
        }
        passed.and_then(|range| datagram.get_mut(range))
    }

    fn send_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        let Some(connection) = self.selected.and_then(|id| self.connections.get_mut(&id)) else {
            return Err(SendError::NotWritable);
        };
        let usable = matches!(connection.write_state(), WriteState::Writable | WriteState::WriteUnreliable)
            || connection.presumed_writable(&self.config);
        if !usable || connection.consent_expired(now) {
            connection.stats.discarded_on_send.add(len);
            return Err(SendError::NotWritable);
        }
        let route = connection.route;
        match route.push_with(&mut self.transmits, &mut self.random, options.ecn, len, write) {
            Ok(0) => Ok(0),
            Ok(written) => {
                connection.stats.sent.add(written);
                connection.stats.last_packet_sent = Some(now);
                if route.wants_channel() {
                    let (port, remote) = (connection.port, connection.remote_address);
                    self.bind_channel(now, port, remote);
                }
                Ok(written)
            }
            Err(error) => {
                connection.stats.discarded_on_send.add(len);
                Err(error)
            }
        }
    }

    fn transmits(&mut self) -> &mut TransmitQueue {
        &mut self.transmits
    }

    fn poll_io_request(&mut self) -> Option<IoRequest> {
        self.io_requests.pop_front()
    }

    fn handle_resolved(&mut self, now: Instant, id: ResolveId, addresses: &[IpAddr]) {
        if self.closed {
            return;
        }
        if let Some(pending) = self.resolutions.remove(&id) {
            self.on_remote_candidate_resolved(now, pending, addresses);
        } else {
            let mut io = SessionIo {
                transmits: &mut self.transmits,
                io_requests: &mut self.io_requests,
                random: &mut self.random,
            };
            for session in &mut self.sessions {
                if session.session.handle_resolved(now, id, addresses, &mut self.allocator, &mut io) {
                    break;
                }
            }
        }
        self.process(now);
    }

    fn handle_socket_event(&mut self, now: Instant, event: &SocketEvent) {
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        let taken = self
            .sessions
            .iter_mut()
            .any(|session| session.session.handle_socket_event(now, event, &mut self.allocator, &mut io));
        if taken {
            self.process(now);
        } else if let SocketEvent::Accepted { id, .. } = event {
            // Its listener is gone by now.
            self.io_requests.push_back(IoRequest::CloseSocket { id: *id });
        }
    }

    fn handle_send_error(&mut self, _now: Instant, socket: SocketId, error: &std::io::Error) {
        // Checks tell whether a pair works; one datagram's error says little (no route now, a full buffer).
        tracing::trace!(target: "peerstack::ice", transport = %self.name, ?socket, %error, "not sent");
    }

    fn handle_unblocked(&mut self, _now: Instant) {
        if !self.closed {
            self.events.emit(IceTransportEvent::ReadyToSend);
        }
    }

    fn owns_socket(&self, socket: SocketId) -> bool {
        self.sessions.iter().any(|session| session.session.owns_socket(socket))
    }

    fn next_timeout(&self) -> Option<Instant> {
        if self.closed {
            return self.sessions.iter().filter_map(|session| session.session.next_timeout()).min();
        }
        let sessions = self.sessions.iter().filter_map(|session| session.session.next_timeout());
        let rechecks = self.rechecks.iter().map(|(at, _)| *at);
        sessions.chain(rechecks).chain(self.ping_due).chain(self.regather_due).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        for session in &mut self.sessions {
            if session.session.next_timeout().is_some_and(|at| at <= now) {
                session.session.handle_timeout(now, &mut self.allocator, &mut io);
            }
        }
        if self.closed {
            return self.sessions.retain(|session| session.session.is_releasing());
        }
        if self.regather_due.is_some_and(|at| at <= now) {
            self.regather_on_failed_networks(now);
        }
        let due = self.rechecks.iter().find(|(at, _)| *at <= now).map(|(_, reason)| *reason);
        if let Some(reason) = due {
            self.rechecks.retain(|(at, _)| *at > now);
            self.request_sort(reason);
        }
        if self.ping_due.is_some_and(|at| at <= now) {
            self.check_and_ping(now);
        }
        self.process(now);
    }

    fn process(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        self.settle(now);
        self.maybe_start_pinging(now);
        self.ping_what_is_new(now);
        // Pings change no state that sorting looks at, but what they find full is told.
        self.settle(now);
    }

    fn subscribe(&mut self) -> EventReceiver<IceTransportEvent> {
        self.events.subscribe()
    }

    fn writable(&self) -> bool {
        self.writable
    }

    fn receiving(&self) -> bool {
        self.receiving
    }

    fn state(&self) -> IceTransportState {
        self.state
    }

    fn legacy_state(&self) -> IceTransportState {
        self.legacy_state
    }

    fn gathering_state(&self) -> IceGatheringState {
        self.gathering_state
    }

    fn rtt(&self) -> Option<Duration> {
        self.selected_connection().filter(|connection| connection.rtt_samples() > 0).map(Connection::rtt)
    }

    fn selected_candidate_pair(&self) -> Option<CandidatePair> {
        self.selected_connection().map(|connection| self.candidate_pair(connection))
    }

    fn network_route(&self) -> Option<NetworkRoute> {
        self.network_route
    }

    fn ice_role(&self) -> IceRole {
        self.role
    }

    fn set_ice_role(&mut self, role: IceRole) {
        self.role_conflict_told = false;
        if self.role != role {
            tracing::debug!(target: "peerstack::ice", transport = %self.name, ?role, "role");
            self.role = role;
            // Priorities and nominations mean something else now.
            self.request_sort(IceSwitchReason::Unknown);
        }
    }

    fn set_ice_tiebreaker(&mut self, tiebreaker: u64) {
        self.tiebreaker = tiebreaker;
    }

    fn set_ice_parameters(&mut self, parameters: IceParameters) {
        self.ice_parameters = Some(parameters);
    }

    fn set_remote_ice_parameters(&mut self, now: Instant, parameters: IceParameters) {
        if !self.closed {
            self.on_remote_ice_parameters(parameters);
            self.process(now);
        }
    }

    fn set_remote_ice_mode(&mut self, mode: IceMode) {
        self.remote_ice_mode = mode;
    }

    fn maybe_start_gathering(&mut self, now: Instant) {
        if !self.closed {
            self.start_gathering_if_needed(now);
            self.process(now);
        }
    }

    fn add_remote_candidate(&mut self, now: Instant, candidate: Candidate) {
        if !self.closed {
            self.on_remote_candidate(now, candidate);
            self.process(now);
        }
    }

    fn remove_remote_candidate(&mut self, candidate: &Candidate) {
        // Pairs made of it live on until they fail, as in libwebrtc: the peer may still answer there.
        self.remote_candidates.retain(|known| {
            !(known.candidate.address == candidate.address
                && known.candidate.protocol == candidate.protocol
                && (candidate.username_fragment.is_empty()
                    || known.candidate.username_fragment == candidate.username_fragment))
        });
        self.resolutions.retain(|_, pending| pending.candidate.address != candidate.address);
    }

    fn is_releasing(&self) -> bool {
        self.closed && !self.sessions.is_empty()
    }

    fn pooled_ice_parameters(&self) -> Option<IceParameters> {
        self.sessions.last().filter(|last| last.pooled).map(|last| last.session.parameters.clone())
    }

    fn end_of_remote_candidates(&mut self, now: Instant) {
        // No reason to fail sooner: the peer's checks may still come from an address it did not signal (RFC
        // 8863 section 3), and pairs fail by themselves.
        self.process(now);
    }

    fn close(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        let ids: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for id in ids {
            self.controller.on_connection_destroyed(id);
        }
        self.connections.clear();
        let mut io = SessionIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
        };
        for session in &mut self.sessions {
            session.session.close(now, &mut self.allocator, &mut io);
        }
        self.remove_host_names();
        // Servers may ask for another nonce before they release.
        self.sessions.retain(|session| session.session.is_releasing());
        self.ports.clear();
        self.remote_candidates.clear();
        self.resolutions.clear();
        self.rechecks.clear();
        self.selected = None;
        self.ping_due = None;
        self.network_route = None;
        self.closed = true;
        self.legacy_state = IceTransportState::Closed;
        if std::mem::replace(&mut self.writable, false) {
            self.events.emit(IceTransportEvent::WritableState(false));
        }
        if std::mem::replace(&mut self.receiving, false) {
            self.events.emit(IceTransportEvent::ReceivingState(false));
        }
        self.state = IceTransportState::Closed;
        self.events.emit(IceTransportEvent::StateChange(IceTransportState::Closed));
        self.events.emit(IceTransportEvent::Closed);
    }
}

/// What a lite agent gathers: host candidates, and of TCP those to which one connects (RFC 8445 section 5.2).
fn for_mode(mode: IceMode, mut config: PortAllocatorConfig) -> PortAllocatorConfig {
    if mode == IceMode::Lite {
        config.ice_servers.clear();
        config.candidate_filter = CandidateFilter { host: true, ..CandidateFilter::NONE };
        if config.tcp_candidates == TcpCandidatePolicy::Active {
            config.tcp_candidates = TcpCandidatePolicy::Disabled;
        }
    }
    config
}

#[cfg(test)]
pub(crate) mod tests;
