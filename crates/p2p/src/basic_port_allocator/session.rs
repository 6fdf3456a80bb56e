//! One generation's gathering: sequences, their ports, and what they give. Owned by the `P2PTransportChannel` on
//! the network task. Answers to `BasicPortAllocatorSession` of libwebrtc's `p2p/client/basic_port_allocator.h`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::{
    EventReceiver, EventSource, IoRequest, Network, Random, ReceiveMeta, ResolveId, SocketEvent, SocketId,
    TransmitQueue,
};
use peerstack_stun::Host;

use super::BasicPortAllocator;
use super::candidate_filter::{is_pairable, is_signalable, sanitize_related_address};
use crate::allocation_sequence::{AllocationPhase, AllocationSequence, AllocationSequenceState, BoundSocket};
use crate::port::{Port, PortBase, PortEvent, PortId, PortIo, PortState};
use crate::port_allocator::{PortAllocatorSessionEvent, TcpCandidatePolicy};
use crate::tcp_port::TcpPort;
use crate::turn_port::{RelayProtocol, RelayServer, TurnPacket, TurnPort};
use crate::udp_port::{SERVER_NOT_REACHABLE_ERROR, UdpPort};
use crate::{Candidate, CandidateErrorEvent, CandidateFilter, IceParameters};

/// What a session writes into, lent by the transport for a call.
pub(crate) struct SessionIo<'a> {
    pub(crate) transmits: &'a mut TransmitQueue,
    pub(crate) io_requests: &'a mut VecDeque<IoRequest>,
    pub(crate) random: &'a mut Random,
}

/// What a session is made with.
#[derive(Debug)]
pub(crate) struct SessionConfig {
    pub(crate) parameters: IceParameters,
    pub(crate) generation: u32,
    pub(crate) component: u8,
    pub(crate) step_delay: Duration,
    pub(crate) keepalive_interval: Duration,
    /// What is told and paired.
    pub(crate) filter: CandidateFilter,
    /// What is gathered: more than is told where a wider filter is to find it.
    pub(crate) gathers: CandidateFilter,
}

/// Gathering for one ICE generation.
#[derive(Debug)]
pub(crate) struct BasicPortAllocatorSession {
    pub(crate) parameters: IceParameters,
    pub(crate) generation: u32,
    component: u8,
    step_delay: Duration,
    keepalive_interval: Duration,
    pub(super) filter: CandidateFilter,
    gathers: CandidateFilter,
    pub(super) ports: BTreeMap<PortId, Port>,
    /// Gone, but for the answer to the release of their allocations.
    releasing: Vec<TurnPort>,
    pub(super) sequences: Vec<AllocationSequence>,
    port_events: EventSource<PortEvent>,
    port_receiver: EventReceiver<PortEvent>,
    pub(super) events: EventSource<PortAllocatorSessionEvent>,
    pub(super) started: bool,
    pub(super) stopped: bool,
    pub(super) cleared: bool,
    done_signalled: bool,
    unsupported_told: bool,
}

impl BasicPortAllocatorSession {
    pub(crate) fn new(scope: &str, config: SessionConfig) -> Self {
        let mut port_events = EventSource::new(scope);
        Self {
            parameters: config.parameters,
            generation: config.generation,
            component: config.component,
            step_delay: config.step_delay,
            keepalive_interval: config.keepalive_interval,
            filter: config.filter,
            gathers: config.gathers,
            ports: BTreeMap::new(),
            releasing: Vec::new(),
            sequences: Vec::new(),
            port_receiver: port_events.subscribe(),
            port_events,
            events: EventSource::new(scope),
            started: false,
            stopped: false,
            cleared: false,
            done_signalled: false,
            unsupported_told: false,
        }
    }

    pub(crate) fn subscribe(&mut self) -> EventReceiver<PortAllocatorSessionEvent> {
        self.events.subscribe()
    }

    pub(crate) fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(&id)
    }

    pub(crate) fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.ports.get_mut(&id)
    }

    /// The port that what comes by this socket is for, unless it comes from one of its TURN servers.
    pub(crate) fn port_of_socket(&self, socket: SocketId) -> Option<PortId> {
        let of_socket =
            |(_, port): &(&PortId, &Port)| port.owns_socket(socket) && !matches!(port, Port::Turn(_));
        self.ports.iter().find(of_socket).map(|(id, _)| *id)
    }

    pub(crate) fn owns_socket(&self, socket: SocketId) -> bool {
        self.sequences.iter().any(|sequence| sequence.bound.is_some_and(|bound| bound.id == socket))
            || self.ports.values().any(|port| port.owns_socket(socket))
            || self.releasing.iter().any(|port| port.socket() == Some(socket))
    }

    /// Whether an allocation is being given back.
    pub(crate) fn is_releasing(&self) -> bool {
        !self.releasing.is_empty()
    }

    /// Lets a port go: its allocation is released, its sockets are those to be closed if nobody else has them.
    fn release_port(
        &mut self,
        now: Instant,
        mut port: Port,
        sockets: &mut Vec<SocketId>,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        port.release(now, &mut port_io(io, allocator, &mut self.port_events));
        sockets.extend(port.sockets());
        if let Port::Turn(turn) = port
            && turn.is_releasing()
        {
            self.releasing.push(turn);
        }
    }

    /// Forgets ports whose release was answered, or waited for long enough, and closes their sockets.
    fn finish_releases(&mut self, io_requests: &mut VecDeque<IoRequest>) {
        let done = self.releasing.extract_if(.., |port| !port.is_releasing());
        let sockets: Vec<SocketId> = done.filter_map(|port| port.socket()).collect();
        self.close_unused_sockets(sockets, io_requests);
    }

    /// Whether gathering has ended for now: it goes on when networks change or fail.
    pub(crate) fn is_cleared(&self) -> bool {
        self.cleared
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Starts gathering on every usable network.
    pub(crate) fn start_getting_ports(
        &mut self,
        now: Instant,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        self.started = true;
        self.do_allocate(now, allocator, io);
        self.run(now, allocator, io);
    }

    /// Starts a sequence for each network that has none (libwebrtc `DoAllocate`; G06).
    pub(super) fn do_allocate(
        &mut self,
        now: Instant,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        let filter = self.gathers;
        if filter == CandidateFilter::NONE {
            return;
        }
        let (udp, relays) = (filter.host || filter.srflx, filter.relay && allocator.has_relays());
        let tcp = filter.host && allocator.config.tcp_candidates != TcpCandidatePolicy::Disabled;
        let relays_over_udp =
            filter.relay && allocator.relay_servers().any(|server| server.protocol == RelayProtocol::Udp);
        for network in allocator.usable_networks() {
            let same = |sequence: &AllocationSequence| {
                sequence.network.id == network.id
                    && sequence.network.best_ip() == network.best_ip()
                    && sequence.network.name == network.name
            };
            if self.sequences.iter().any(same) {
                continue;
            }
            let mut sequence = AllocationSequence::new(network, self.step_delay, relays, tcp);
            if udp || relays_over_udp {
                let range = allocator.config.port_range;
                let ufrag = &self.parameters.ufrag;
                if let Err(error) = sequence.init(allocator.factory.as_mut(), range, ufrag, io.io_requests) {
                    tracing::warn!(
                        target: "peerstack::ice::gathering",
                        network = %sequence.network.name, %error, "no UDP socket on this network"
                    );
                }
            }
            if udp {
                self.create_udp_port(allocator, &sequence);
            }
            sequence.start(now);
            self.sequences.push(sequence);
        }
    }

    fn new_port_base(&self, allocator: &mut BasicPortAllocator, network: &Network) -> PortBase {
        PortBase {
            id: allocator.next_port_id(),
            network: network.clone(),
            component: self.component,
            generation: self.generation,
            username_fragment: self.parameters.ufrag.clone(),
            password: self.parameters.pwd.clone(),
            candidates: Vec::new(),
            connections: BTreeMap::new(),
            state: PortState::InProgress,
            ready: false,
            external: network.best_ip().and_then(|ip| {
                let mapping = &allocator.config.nat_one_to_one;
                Some((mapping.mode(), mapping.external_of(ip)?))
            }),
            names_hosts: allocator.config.mdns_host_candidates,
        }
    }

    fn create_udp_port(&mut self, allocator: &mut BasicPortAllocator, sequence: &AllocationSequence) {
        let Some(bound) = sequence.bound else { return };
        let base = self.new_port_base(allocator, &sequence.network);
        let (servers, turn_servers) = (allocator.stun_servers(), allocator.turn_servers_as_stun_servers());
        let mut port = UdpPort::new(base, bound, &servers, &turn_servers, self.keepalive_interval);
        if let Some(ip) = allocator.default_local_address(bound.local.ip()) {
            port.set_default_local_address(ip);
        }
        self.ports.insert(port.base.id, Port::Udp(port));
    }

    /// A port for each TURN server that can be reached from this network (libwebrtc `CreateRelayPorts`).
    fn create_relay_ports(
        &mut self,
        now: Instant,
        index: usize,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        if !self.gathers.relay {
            return;
        }
        let Some((network, bound)) =
            self.sequences.get(index).map(|sequence| (sequence.network.clone(), sequence.bound))
        else {
            return;
        };
        let ipv4 = network.best_ip().is_none_or(|ip| ip.is_ipv4());
        let servers: Vec<RelayServer> = allocator.relay_servers().collect();
        for server in servers {
            if matches!(server.url.host, Host::Ip(ip) if ip.is_ipv4() != ipv4) {
                continue;
            }
            // On a socket of many transports a server would see one client, which has one allocation (RFC 8656
            // section 7.2).
            let shared = bound.filter(|bound| server.protocol == RelayProtocol::Udp && !bound.muxed);
            let base = self.new_port_base(allocator, &network);
            let id = base.id;
            let socket = shared.map(|bound| (bound.id, bound.local));
            let mut port = Port::Turn(TurnPort::new(base, server, socket, allocator.config.port_range));
            port.prepare_address(now, &mut port_io(io, allocator, &mut self.port_events));
            self.ports.insert(id, port);
        }
    }

    /// Runs the phases that are due and drains the events of ports.
    pub(crate) fn run(&mut self, now: Instant, allocator: &mut BasicPortAllocator, io: &mut SessionIo<'_>) {
        for index in 0..self.sequences.len() {
            while let Some(phase) =
                self.sequences.get_mut(index).and_then(|sequence| sequence.poll_phase(now))
            {
                self.run_phase(now, phase, index, allocator, io);
            }
        }
        self.process();
    }

    fn run_phase(
        &mut self,
        now: Instant,
        phase: AllocationPhase,
        index: usize,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        let Some(network) = self.sequences.get(index).map(|sequence| sequence.network.clone()) else {
            return;
        };
        tracing::debug!(target: "peerstack::ice::gathering", network = %network.name, ?phase, "phase");
        match phase {
            AllocationPhase::Udp => {
                let of_network = |port: &&mut Port| {
                    let base = port.base();
                    base.network == network && base.candidates.is_empty()
                };
                for port in self.ports.values_mut().filter(of_network) {
                    port.prepare_address(now, &mut port_io(io, allocator, &mut self.port_events));
                }
            }
            AllocationPhase::Relay => {
                self.tell_unsupported_servers(allocator);
                self.create_relay_ports(now, index, allocator, io);
            }
            AllocationPhase::Tcp => self.create_tcp_port(&network, allocator, io),
        }
    }

    /// libwebrtc `CreateTCPPorts`.
    fn create_tcp_port(
        &mut self,
        network: &Network,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        let (policy, ports) = (allocator.config.tcp_candidates, allocator.config.port_range);
        if policy == TcpCandidatePolicy::Disabled || !self.gathers.host {
            return;
        }
        let mut port = TcpPort::new(self.new_port_base(allocator, network));
        port.start(policy, ports, &mut port_io(io, allocator, &mut self.port_events));
        self.ports.insert(port.base.id, Port::Tcp(port));
    }

    fn tell_unsupported_servers(&mut self, allocator: &BasicPortAllocator) {
        if self.unsupported_told || !self.gathers.relay {
            return;
        }
        self.unsupported_told = true;
        for url in allocator.unsupported_servers() {
            self.events.emit(PortAllocatorSessionEvent::CandidateError(CandidateErrorEvent {
                address: String::new(),
                port: None,
                url: url.to_string(),
                error_code: SERVER_NOT_REACHABLE_ERROR,
                error_text: "servers of this scheme are not supported yet".to_owned(),
            }));
        }
    }

    /// Drains the events of ports.
    fn process(&mut self) {
        while let Some(event) = self.port_receiver.try_next() {
            match event {
                PortEvent::CandidateReady(port, candidate) => {
                    self.on_candidate_ready(port, candidate);
                }
                PortEvent::CandidateError(_, error) => {
                    self.events.emit(PortAllocatorSessionEvent::CandidateError(error));
                }
                PortEvent::Complete(_) | PortEvent::Error(_) => {}
                PortEvent::RouteChange(port, remote) => {
                    self.events.emit(PortAllocatorSessionEvent::RouteChange(port, remote));
                }
                PortEvent::ConnectionClosed(port, remote) => {
                    self.events.emit(PortAllocatorSessionEvent::ConnectionClosed(port, remote));
                }
                PortEvent::CandidatesRemoved(_, candidates) => self.on_candidates_removed(candidates),
                PortEvent::PeerUnreachable(port, remote) => {
                    self.events.emit(PortAllocatorSessionEvent::PeerUnreachable(port, remote));
                }
            }
        }
        self.maybe_signal_done();
    }

    fn on_candidate_ready(&mut self, id: PortId, candidate: Candidate) {
        // What takes the place of a relay that was told, and lost, is told after gathering too.
        let replaces = candidate.candidate_type == crate::CandidateType::Relay
            && self.ports.get(&id).is_some_and(|port| port.base().ready);
        if self.stopped && !replaces {
            return;
        }
        let filter = self.filter;
        let Some(port) = self.ports.get_mut(&id) else { return };
        if is_pairable(filter, &candidate) && !port.base().ready {
            port.base_mut().ready = true;
            self.events.emit(PortAllocatorSessionEvent::PortReady(id));
        }
        if is_signalable(filter, &candidate) {
            let candidate = sanitize_related_address(filter, candidate);
            self.events.emit(PortAllocatorSessionEvent::CandidatesReady(vec![candidate]));
        }
    }

    /// Whether every sequence and port is through (libwebrtc `CandidatesAllocationDone`).
    fn candidates_allocation_done(&self) -> bool {
        self.started
            && self.sequences.iter().all(|sequence| sequence.state() != AllocationSequenceState::Running)
            && self.ports.values().all(|port| port.base().state != PortState::InProgress)
    }

    pub(super) fn maybe_signal_done(&mut self) {
        if !self.done_signalled && self.candidates_allocation_done() {
            self.done_signalled = true;
            self.events.emit(PortAllocatorSessionEvent::CandidatesAllocationDone);
        }
    }

    /// Says that nothing more will come, if so, also when it said so before.
    pub(crate) fn signal_done_again(&mut self) {
        self.done_signalled = false;
        self.maybe_signal_done();
    }

    /// Another user fragment and password, for ports and candidates that are there too (G18).
    pub(crate) fn set_ice_parameters(
        &mut self,
        parameters: IceParameters,
        io_requests: &mut VecDeque<IoRequest>,
    ) {
        let bound = self.sequences.iter().filter_map(|sequence| sequence.bound);
        for BoundSocket { id, local, .. } in bound.filter(|bound| bound.muxed) {
            io_requests.push_back(IoRequest::JoinUdpMux { id, local, ufrag: parameters.ufrag.clone() });
        }
        for port in self.ports.values_mut() {
            let base = port.base_mut();
            base.username_fragment.clone_from(&parameters.ufrag);
            base.password.clone_from(&parameters.pwd);
            for candidate in &mut base.candidates {
                candidate.username_fragment.clone_from(&parameters.ufrag);
            }
        }
        self.parameters = parameters;
    }

    /// Stops: what is not there yet does not come any more (G26).
    pub(crate) fn stop_getting_ports(&mut self) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        for sequence in &mut self.sequences {
            sequence.stop();
        }
        for port in self.ports.values_mut() {
            port.stop_gathering();
            if port.base().state == PortState::InProgress {
                port.base_mut().state = PortState::Complete;
            }
        }
        self.maybe_signal_done();
    }

    pub(crate) fn prune_all_ports(&mut self) {
        for port in self.ports.values_mut() {
            port.prune();
        }
    }

    /// Removes pruned ports without connections and asks for their sockets to be closed (S21).
    pub(crate) fn remove_dead_ports(
        &mut self,
        now: Instant,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        let dead = |_: &PortId, port: &mut Port| {
            port.base().state == PortState::Pruned && port.base().connections.is_empty()
        };
        let mut sockets: Vec<SocketId> = Vec::new();
        let dead: Vec<Port> = self.ports.extract_if(.., dead).map(|(_, port)| port).collect();
        for port in dead {
            self.release_port(now, port, &mut sockets, allocator, io);
        }
        if self.stopped {
            let bound = self.sequences.iter_mut().filter_map(|sequence| sequence.bound.take());
            sockets.extend(bound.map(|bound| bound.id));
        }
        self.close_unused_sockets(sockets, io.io_requests);
    }

    /// Closes those of these sockets that no port and no sequence has.
    pub(super) fn close_unused_sockets(
        &mut self,
        sockets: Vec<SocketId>,
        io_requests: &mut VecDeque<IoRequest>,
    ) {
        let mut closed: Vec<SocketId> = Vec::new();
        for id in sockets {
            if !closed.contains(&id) && !self.owns_socket(id) {
                closed.push(id);
                io_requests.push_back(IoRequest::CloseSocket { id });
            }
        }
    }

    /// Ends everything: allocations are released, sockets closed (U11).
    pub(crate) fn close(&mut self, now: Instant, allocator: &mut BasicPortAllocator, io: &mut SessionIo<'_>) {
        let mut sockets: Vec<SocketId> = Vec::new();
        for (_, port) in std::mem::take(&mut self.ports) {
            self.release_port(now, port, &mut sockets, allocator, io);
        }
        let sequences = std::mem::take(&mut self.sequences);
        sockets.extend(sequences.iter().filter_map(|sequence| sequence.bound).map(|bound| bound.id));
        self.close_unused_sockets(sockets, io.io_requests);
    }

    /// Takes what came from a TURN server; says of which port it was.
    pub(crate) fn handle_turn_packet(
        &mut self,
        now: Instant,
        datagram: &[u8],
        meta: &ReceiveMeta,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) -> Option<(PortId, TurnPacket)> {
        let mut found = None;
        for (id, port) in &mut self.ports {
            let Port::Turn(port) = port else { continue };
            if port.can_handle_incoming_packets_from(meta.socket, meta.remote) {
                let packet =
                    port.handle_packet(now, datagram, &mut port_io(io, allocator, &mut self.port_events));
                if packet != TurnPacket::NotMine {
                    found = Some((*id, packet));
                    break;
                }
            }
        }
        for port in &mut self.releasing {
            if found.is_none() && port.can_handle_incoming_packets_from(meta.socket, meta.remote) {
                let packet =
                    port.handle_packet(now, datagram, &mut port_io(io, allocator, &mut self.port_events));
                // What peers still send is for nobody.
                found = (packet != TurnPacket::NotMine).then_some((port.base.id, TurnPacket::Consumed));
            }
        }
        self.finish_releases(io.io_requests);
        // Nothing but responses has events.
        if matches!(found, Some((_, TurnPacket::Consumed))) {
            self.process();
        }
        found
    }

    /// Lends a port its hands; does nothing where the session has no port of this name.
    pub(crate) fn with_port(
        &mut self,
        id: PortId,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
        call: impl FnOnce(&mut Port, &mut PortIo<'_>),
    ) {
        if let Some(port) = self.ports.get_mut(&id) {
            call(port, &mut port_io(io, allocator, &mut self.port_events));
        }
    }

    /// A connection of a port is gone.
    pub(crate) fn on_connection_destroyed(
        &mut self,
        id: PortId,
        remote: SocketAddr,
        io_requests: &mut VecDeque<IoRequest>,
    ) {
        let mut sockets = Vec::new();
        if let Some(port) = self.ports.get_mut(&id) {
            port.on_connection_destroyed(remote, &mut sockets);
        }
        self.close_unused_sockets(sockets, io_requests);
    }

    /// What became of a stream or listener of a port; `false` if it is of none.
    pub(crate) fn handle_socket_event(
        &mut self,
        now: Instant,
        event: &SocketEvent,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) -> bool {
        let port = self.ports.values_mut().find(|port| port.owns_socket(event.socket()));
        let Some(port) = port else { return false };
        port.handle_socket_event(now, event, &mut port_io(io, allocator, &mut self.port_events));
        self.process();
        true
    }

    /// Takes what a STUN server sent; `false` if it is none of its responses.
    pub(crate) fn handle_server_packet(
        &mut self,
        now: Instant,
        id: PortId,
        datagram: &[u8],
        remote: SocketAddr,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) -> bool {
        let Some(Port::Udp(port)) = self.ports.get_mut(&id) else { return false };
        let mut io = port_io(io, allocator, &mut self.port_events);
        let consumed = port.handle_server_packet(now, datagram, remote, &mut io);
        if consumed {
            self.process();
        }
        consumed
    }

    pub(crate) fn handle_resolved(
        &mut self,
        now: Instant,
        id: ResolveId,
        addresses: &[IpAddr],
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) -> bool {
        let mut io = port_io(io, allocator, &mut self.port_events);
        let taken = self.ports.values_mut().any(|port| port.handle_resolved(now, id, addresses, &mut io));
        if taken {
            self.process();
        }
        taken
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let sequences = self.sequences.iter().filter_map(AllocationSequence::next_timeout);
        let releasing = self.releasing.iter().filter_map(TurnPort::next_timeout);
        sequences.chain(self.ports.values().filter_map(Port::next_timeout)).chain(releasing).min()
    }

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        for port in self.ports.values_mut() {
            if port.next_timeout().is_some_and(|at| at <= now) {
                port.handle_timeout(now, &mut port_io(io, allocator, &mut self.port_events));
            }
        }
        for port in &mut self.releasing {
            port.handle_timeout(now, &mut port_io(io, allocator, &mut self.port_events));
        }
        self.finish_releases(io.io_requests);
        self.run(now, allocator, io);
    }
}

/// The hands of a port, lent by its session.
fn port_io<'a>(
    io: &'a mut SessionIo<'_>,
    allocator: &'a mut BasicPortAllocator,
    events: &'a mut EventSource<PortEvent>,
) -> PortIo<'a> {
    PortIo {
        transmits: io.transmits,
        io_requests: io.io_requests,
        random: io.random,
        factory: allocator.factory.as_mut(),
        events,
    }
}
