//! Gathering: the allocator, which knows networks and servers, and its sessions, one for each ICE generation.
//! Owned by the `P2PTransportChannel` on the network task. Answers to libwebrtc's
//! `p2p/client/basic_port_allocator.h`.

mod regathering;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::{
    AdapterType, EventReceiver, EventSource, IoRequest, Network, PacketSocketFactory, Random, ReceiveMeta,
    ResolveId, SocketEvent, SocketId, TransmitQueue,
};
use peerstack_stun::{Host, Scheme, ServerUrl};

use crate::allocation_sequence::{AllocationPhase, AllocationSequence, AllocationSequenceState};
use crate::port::{Port, PortBase, PortEvent, PortId, PortIo, PortState};
use crate::port_allocator::{PortAllocatorConfig, PortAllocatorSessionEvent, TcpCandidatePolicy};
use crate::tcp_port::TcpPort;
use crate::turn_port::{RelayProtocol, RelayServer, TurnPacket, TurnPort};
use crate::udp_port::{SERVER_NOT_REACHABLE_ERROR, UdpPort};
use crate::{Candidate, CandidateErrorEvent, CandidateType, IceParameters};

/// Knows networks, servers and how to make sockets; makes sessions.
#[derive(Debug)]
pub(crate) struct BasicPortAllocator {
    pub(crate) config: PortAllocatorConfig,
    networks: Vec<Network>,
    factory: Box<dyn PacketSocketFactory>,
    next_port: u32,
}

impl BasicPortAllocator {
    pub(crate) fn new(
        config: PortAllocatorConfig,
        networks: Vec<Network>,
        factory: Box<dyn PacketSocketFactory>,
    ) -> Self {
        Self { config, networks, factory, next_port: 0 }
    }

    pub(crate) fn set_networks(&mut self, networks: Vec<Network>) {
        self.networks = networks;
    }

    /// The networks that are used (libwebrtc `BasicPortAllocatorSession::GetNetworks`).
    pub(crate) fn usable_networks(&self) -> Vec<Network> {
        if self.networks.is_empty() {
            return any_address_networks();
        }
        let mut networks: Vec<Network> =
            self.networks.iter().filter_map(|network| self.usable_part(network)).collect();
        if self.config.disable_costly_networks {
            // Link-local networks do not displace others (G04).
            let lowest = networks
                .iter()
                .filter(|network| !network.best_ip().is_some_and(is_link_local))
                .map(Network::cost)
                .min();
            if let Some(lowest) = lowest {
                networks.retain(|network| network.cost() <= lowest.saturating_add(100));
            }
        }
        self.limit_ipv6(&mut networks);
        networks
    }

    fn usable_part(&self, network: &Network) -> Option<Network> {
        let ignored = self.config.network_ignore_mask.contains(&network.adapter_type);
        let ips: Vec<IpAddr> = network
            .ips
            .iter()
            .copied()
            .filter(|ip| {
                let loopback = network.adapter_type == AdapterType::Loopback || ip.is_loopback();
                // Link-local IPv6 needs a scope, which candidates cannot carry.
                let scoped = ip.is_ipv6() && is_link_local(*ip);
                (!loopback || self.config.allow_loopback) && !scoped && !ip.is_multicast()
            })
            .collect();
        (!ignored && !ips.is_empty()).then(|| Network { ips, ..network.clone() })
    }

    /// Keeps at most `max_ipv6_networks` of IPv6, spread over kinds of adapters (G05).
    fn limit_ipv6(&self, networks: &mut Vec<Network>) {
        let is_v6 = |network: &Network| network.best_ip().is_some_and(|ip| ip.is_ipv6());
        let mut left: Vec<usize> =
            (0..networks.len()).filter(|index| networks.get(*index).is_some_and(is_v6)).collect();
        if left.len() <= self.config.max_ipv6_networks {
            return;
        }
        let mut kept: Vec<usize> = Vec::new();
        while kept.len() < self.config.max_ipv6_networks && !left.is_empty() {
            // One of each kind in turn, best first.
            let mut kinds: Vec<AdapterType> = Vec::new();
            left.retain(|index| {
                let Some(kind) = networks.get(*index).map(|network| network.adapter_type) else {
                    return false;
                };
                if kinds.contains(&kind) || kept.len() >= self.config.max_ipv6_networks {
                    return true;
                }
                kinds.push(kind);
                kept.push(*index);
                false
            });
        }
        let mut index = 0;
        networks.retain(|network| {
            let keep = !is_v6(network) || kept.contains(&index);
            index += 1;
            keep
        });
    }

    fn stun_servers(&self) -> Vec<ServerUrl> {
        let urls = self.config.ice_servers.iter().flat_map(|server| &server.urls);
        let mut servers: Vec<ServerUrl> = Vec::new();
        for url in urls.filter(|url| url.scheme == Scheme::Stun) {
            if !servers.contains(url) {
                servers.push(url.clone());
            }
        }
        servers
    }

    /// TURN servers over UDP are asked for the mapped address too, from the socket they share; those over TCP
    /// are not, since they are there to hide it (G20).
    fn turn_servers_as_stun_servers(&self) -> Vec<ServerUrl> {
        let known = self.stun_servers();
        let mut servers: Vec<ServerUrl> = Vec::new();
        for server in self.relay_servers().filter(|server| server.protocol == RelayProtocol::Udp) {
            let same = |url: &ServerUrl| url.host == server.url.host && url.port == server.url.port;
            if !known.iter().any(same) && !servers.iter().any(same) {
                servers.push(server.url);
            }
        }
        servers
    }

    /// TURN servers, the first configured most preferred (G23).
    fn relay_servers(&self) -> impl Iterator<Item = RelayServer> {
        let servers = self.config.ice_servers.iter().flat_map(|server| {
            let protocols = server.urls.iter().map(|url| (url, RelayProtocol::of(url)));
            protocols.filter_map(move |(url, protocol)| Some((server, url, protocol?)))
        });
        let count = servers.clone().count();
        servers.enumerate().map(move |(index, (server, url, protocol))| RelayServer {
            url: url.clone(),
            protocol,
            username: server.username.clone(),
            password: server.password.clone(),
            preference: u16::try_from(count - 1 - index).unwrap_or(u16::MAX),
        })
    }

    /// Servers of schemes that are not spoken: STUN and TURN over DTLS, STUN over TLS.
    fn unsupported_servers(&self) -> impl Iterator<Item = &ServerUrl> {
        let urls = self.config.ice_servers.iter().flat_map(|server| &server.urls);
        urls.filter(|url| url.scheme != Scheme::Stun && RelayProtocol::of(url).is_none())
    }

    fn has_relays(&self) -> bool {
        self.config.candidate_filter.relay
            && (self.unsupported_servers().next().is_some() || self.relay_servers().next().is_some())
    }

    fn next_port_id(&mut self) -> PortId {
        let id = PortId(self.next_port);
        self.next_port += 1;
        id
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// What to bind to when interfaces cannot be listed (G09).
fn any_address_networks() -> Vec<Network> {
    let network = |ip: IpAddr| Network {
        name: "any".to_owned(),
        adapter_type: AdapterType::Any,
        prefix_len: 0,
        ips: vec![ip],
        id: 0,
        preference: 127,
    };
    vec![network(Ipv4Addr::UNSPECIFIED.into()), network(Ipv6Addr::UNSPECIFIED.into())]
}

/// What a session writes into, lent by the transport for a call.
pub(crate) struct SessionIo<'a> {
    pub(crate) transmits: &'a mut TransmitQueue,
    pub(crate) io_requests: &'a mut VecDeque<IoRequest>,
    pub(crate) random: &'a mut Random,
}

/// Gathering for one ICE generation.
#[derive(Debug)]
pub(crate) struct BasicPortAllocatorSession {
    pub(crate) parameters: IceParameters,
    pub(crate) generation: u32,
    component: u8,
    step_delay: Duration,
    keepalive_interval: Duration,
    ports: BTreeMap<PortId, Port>,
    sequences: Vec<AllocationSequence>,
    port_events: EventSource<PortEvent>,
    port_receiver: EventReceiver<PortEvent>,
    events: EventSource<PortAllocatorSessionEvent>,
    started: bool,
    stopped: bool,
    cleared: bool,
    done_signalled: bool,
    unsupported_told: bool,
}

impl BasicPortAllocatorSession {
    pub(crate) fn new(
        scope: &str,
        parameters: IceParameters,
        generation: u32,
        component: u8,
        step_delay: Duration,
        keepalive_interval: Duration,
    ) -> Self {
        let mut port_events = EventSource::new(scope);
        Self {
            parameters,
            generation,
            component,
            step_delay,
            keepalive_interval,
            ports: BTreeMap::new(),
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
    fn do_allocate(&mut self, now: Instant, allocator: &mut BasicPortAllocator, io: &mut SessionIo<'_>) {
        let filter = allocator.config.candidate_filter;
        if filter == crate::CandidateFilter::NONE {
            return;
        }
        let (udp, relays) = (filter.host || filter.srflx, allocator.has_relays());
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
                if let Err(error) = sequence.init(allocator.factory.as_mut(), range, io.io_requests) {
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
        }
    }

    fn create_udp_port(&mut self, allocator: &mut BasicPortAllocator, sequence: &AllocationSequence) {
        let Some(bound) = sequence.bound else { return };
        let base = self.new_port_base(allocator, &sequence.network);
        let (servers, turn_servers) = (allocator.stun_servers(), allocator.turn_servers_as_stun_servers());
        let port =
            UdpPort::new(base, bound.id, bound.local, &servers, &turn_servers, self.keepalive_interval);
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
        if !allocator.config.candidate_filter.relay {
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
            let shared = bound.filter(|_| server.protocol == RelayProtocol::Udp);
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
        self.process(allocator);
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
        if policy == TcpCandidatePolicy::Disabled || !allocator.config.candidate_filter.host {
            return;
        }
        let mut port = TcpPort::new(self.new_port_base(allocator, network));
        port.start(policy, ports, &mut port_io(io, allocator, &mut self.port_events));
        self.ports.insert(port.base.id, Port::Tcp(port));
    }

    fn tell_unsupported_servers(&mut self, allocator: &BasicPortAllocator) {
        if self.unsupported_told || !allocator.has_relays() {
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
    fn process(&mut self, allocator: &BasicPortAllocator) {
        while let Some(event) = self.port_receiver.try_next() {
            match event {
                PortEvent::CandidateReady(port, candidate) => {
                    self.on_candidate_ready(port, candidate, allocator);
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
                PortEvent::PeerUnreachable(port, remote) => {
                    self.events.emit(PortAllocatorSessionEvent::PeerUnreachable(port, remote));
                }
            }
        }
        self.maybe_signal_done();
    }

    fn on_candidate_ready(&mut self, id: PortId, candidate: Candidate, allocator: &BasicPortAllocator) {
        if self.stopped {
            return;
        }
        let filter = allocator.config.candidate_filter;
        let any = candidate.address.ip().is_some_and(|address| address.ip().is_unspecified());
        let signalable = !any && passes_filter(filter, &candidate);
        let Some(port) = self.ports.get_mut(&id) else { return };
        // A port bound to the "any" address gives a host candidate that says nothing, but can be paired.
        if (signalable || (any && filter.host)) && !port.base().ready {
            port.base_mut().ready = true;
            self.events.emit(PortAllocatorSessionEvent::PortReady(id));
        }
        if signalable {
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

    fn maybe_signal_done(&mut self) {
        if !self.done_signalled && self.candidates_allocation_done() {
            self.done_signalled = true;
            self.events.emit(PortAllocatorSessionEvent::CandidatesAllocationDone);
        }
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
        for (_, mut port) in self.ports.extract_if(.., dead) {
            port.release(now, &mut port_io(io, allocator, &mut self.port_events));
            sockets.extend(port.sockets());
        }
        if self.stopped {
            let bound = self.sequences.iter_mut().filter_map(|sequence| sequence.bound.take());
            sockets.extend(bound.map(|bound| bound.id));
        }
        self.close_unused_sockets(sockets, io.io_requests);
    }

    /// Closes those of these sockets that no port and no sequence has.
    fn close_unused_sockets(&mut self, sockets: Vec<SocketId>, io_requests: &mut VecDeque<IoRequest>) {
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
        for (_, mut port) in std::mem::take(&mut self.ports) {
            port.release(now, &mut port_io(io, allocator, &mut self.port_events));
            sockets.extend(port.sockets());
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
        // Nothing but responses has events.
        if matches!(found, Some((_, TurnPacket::Consumed))) {
            self.process(allocator);
        }
        found
    }

    /// A connection of a port was made.
    pub(crate) fn on_connection_created(
        &mut self,
        now: Instant,
        id: PortId,
        remote: SocketAddr,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        if let Some(port) = self.ports.get_mut(&id) {
            port.on_connection_created(now, remote, &mut port_io(io, allocator, &mut self.port_events));
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
        self.process(allocator);
        true
    }

    /// Data goes from a port to a remote address with more around it than need be.
    pub(crate) fn bind_channel(
        &mut self,
        now: Instant,
        id: PortId,
        remote: SocketAddr,
        allocator: &mut BasicPortAllocator,
        io: &mut SessionIo<'_>,
    ) {
        if let Some(port) = self.ports.get_mut(&id) {
            port.bind_channel(now, remote, &mut port_io(io, allocator, &mut self.port_events));
        }
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
            self.process(allocator);
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
            self.process(allocator);
        }
        taken
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let sequences = self.sequences.iter().filter_map(AllocationSequence::next_timeout);
        sequences.chain(self.ports.values().filter_map(Port::next_timeout)).min()
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

/// Whether a candidate may be told to the peer (G16). Without a NAT, the host's public address stands in for
/// the server-reflexive one.
fn passes_filter(filter: crate::CandidateFilter, candidate: &Candidate) -> bool {
    match candidate.candidate_type {
        CandidateType::Host => {
            filter.host
                || (filter.srflx && candidate.address.ip().is_some_and(|address| !is_private(address.ip())))
        }
        CandidateType::Srflx | CandidateType::Prflx => filter.srflx,
        CandidateType::Relay => filter.relay,
    }
}

/// A related address that the filter does not let through is not shown (G16).
fn sanitize_related_address(filter: crate::CandidateFilter, mut candidate: Candidate) -> Candidate {
    let hidden = match candidate.candidate_type {
        CandidateType::Srflx => !filter.host,
        CandidateType::Relay => !filter.srflx,
        _ => false,
    };
    if hidden && let Some(related) = &mut candidate.related_address {
        let any: IpAddr = match related.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        *related = SocketAddr::new(any, 0);
    }
    candidate
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
    }
}

#[cfg(test)]
mod tests;
