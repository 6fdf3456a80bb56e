//! A local means of communication: one local transport address with the candidates it gives and the
//! connections made from it. Owned by a `BasicPortAllocatorSession` on the network task. Answers to
//! libwebrtc's `p2p/base/port.h`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use peerstack_base::{
    EventSource, IoRequest, Network, PacketSocketFactory, Random, ResolveId, SocketEvent, SocketId,
    TransmitQueue,
};
use peerstack_stun::{
    AttributeType, Class, FingerprintStatus, IntegrityStatus, Message, Method, error_code, short_term_key,
};

use crate::candidate::{candidate_foundation, candidate_priority, type_preference};
use crate::connection::ConnectionId;
use crate::packet_route::PacketRoute;
use crate::tcp_port::TcpPort;
use crate::turn_port::TurnPort;
use crate::udp_port::UdpPort;
use crate::{
    Candidate, CandidateAddress, CandidateErrorEvent, CandidateType, IceProtocol, IceTransportEvent,
    NatOneToOneMode, TcpCandidateType,
};

/// Names a port within its transport; rises with each one made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub(crate) u32);

/// How far a port is (libwebrtc `PortData::State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortState {
    /// Still gathering candidates.
    InProgress,
    /// All its candidates are there.
    Complete,
    /// It gave none.
    Error,
    /// Its network is gone or its generation over: no new connections.
    Pruned,
}

/// What a port tells its session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortEvent {
    /// A candidate is there.
    CandidateReady(PortId, Candidate),
    /// A server gave none.
    CandidateError(PortId, CandidateErrorEvent),
    /// No more candidates will come.
    Complete(PortId),
    /// It gave none and never will.
    Error(PortId),
    /// Packets to this peer go another way from now on: a channel was bound, or will not be.
    RouteChange(PortId, SocketAddr),
    /// Nothing reaches this peer from here any more.
    PeerUnreachable(PortId, SocketAddr),
    /// Candidates that were told are gone.
    CandidatesRemoved(PortId, Vec<Candidate>),
    /// The stream to this address, or to the relay before it, is gone.
    ConnectionClosed(PortId, SocketAddr),
}
peerstack_base::layer_event!(PortEvent, "peerstack::ice::port");

/// The hands of a port: what goes out, and randomness.
pub(crate) struct PortIo<'a> {
    pub(crate) transmits: &'a mut TransmitQueue,
    pub(crate) io_requests: &'a mut VecDeque<IoRequest>,
    pub(crate) random: &'a mut Random,
    pub(crate) factory: &'a mut dyn PacketSocketFactory,
    pub(crate) events: &'a mut EventSource<PortEvent>,
}

/// What all ports have.
pub(crate) struct PortBase {
    pub(crate) id: PortId,
    pub(crate) network: Network,
    pub(crate) component: u8,
    pub(crate) generation: u32,
    pub(crate) username_fragment: String,
    pub(crate) password: String,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) connections: BTreeMap<SocketAddr, ConnectionId>,
    pub(crate) state: PortState,
    /// Whether its session told that it can be paired.
    pub(crate) ready: bool,
    /// The address that a NAT shows in place of ours, and what becomes of the host candidate.
    pub(crate) external: Option<(NatOneToOneMode, IpAddr)>,
    /// Whether host candidates are told by name (draft-ietf-mmusic-mdns-ice-candidates).
    pub(crate) names_hosts: bool,
}

impl std::fmt::Debug for PortBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortBase")
            .field("id", &self.id)
            .field("network", &self.network.name)
            .field("state", &self.state)
            .field("candidates", &self.candidates.len())
            .field("connections", &self.connections.len())
            .finish_non_exhaustive()
    }
}

/// What a candidate is made of besides what its port knows.
pub(crate) struct NewAddress {
    pub(crate) address: SocketAddr,
    pub(crate) base: SocketAddr,
    pub(crate) related: Option<SocketAddr>,
    pub(crate) candidate_type: CandidateType,
    pub(crate) url: Option<String>,
    pub(crate) protocol: IceProtocol,
    pub(crate) tcp_type: Option<TcpCandidateType>,
    pub(crate) relay_protocol: Option<&'static str>,
    pub(crate) relay_preference: u16,
}

impl NewAddress {
    /// One of UDP, without a server.
    pub(crate) fn udp(candidate_type: CandidateType, address: SocketAddr, base: SocketAddr) -> Self {
        Self {
            address,
            base,
            related: None,
            candidate_type,
            url: None,
            protocol: IceProtocol::Udp,
            tcp_type: None,
            relay_protocol: None,
            relay_preference: 0,
        }
    }
}

impl PortBase {
    /// A candidate of this port; not added to it.
    pub(crate) fn make_candidate(&self, new: NewAddress) -> Candidate {
        let preference = type_preference(new.candidate_type, new.protocol, new.relay_protocol);
        // The base address decides the local preference: a server-reflexive candidate of an IPv4 network is
        // as good as its network.
        let priority = candidate_priority(
            preference,
            self.network.preference,
            new.base.ip(),
            new.relay_preference,
            self.component,
        );
        Candidate {
            foundation: candidate_foundation(
                new.candidate_type,
                new.base.ip(),
                new.protocol,
                new.relay_protocol,
                new.url.as_deref(),
            ),
            component: self.component,
            protocol: new.protocol,
            priority,
            address: CandidateAddress::Ip(new.address),
            candidate_type: new.candidate_type,
            related_address: new.related,
            tcp_type: new.tcp_type,
            username_fragment: self.username_fragment.clone(),
            generation: self.generation,
            network_id: self.network.id,
            network_cost: self.network.cost(),
            adapter_type: self.network.adapter_type,
            url: new.url,
            relay_protocol: new.relay_protocol,
            resolved_from: None,
        }
    }

    /// Adds a host candidate, as the NAT before it shows it where that is configured.
    pub(crate) fn add_host_address(&mut self, mut new: NewAddress, events: &mut EventSource<PortEvent>) {
        match self.external {
            Some((NatOneToOneMode::Host, ip)) => {
                new.address.set_ip(ip);
                self.add_address(new, events);
            }
            // An active TCP candidate has no port that a NAT could show.
            Some((NatOneToOneMode::ServerReflexive, ip))
                if new.tcp_type != Some(TcpCandidateType::Active) =>
            {
                let host = new.address;
                let srflx = NewAddress {
                    protocol: new.protocol,
                    tcp_type: new.tcp_type,
                    related: Some(host),
                    ..NewAddress::udp(CandidateType::Srflx, SocketAddr::new(ip, host.port()), new.base)
                };
                self.add_address(new, events);
                self.add_address(srflx, events);
            }
            _ => self.add_address(new, events),
        }
    }

    /// Adds a candidate and tells of it (libwebrtc `Port::AddAddress`).
    pub(crate) fn add_address(&mut self, new: NewAddress, events: &mut EventSource<PortEvent>) {
        let candidate = self.make_candidate(new);
        self.candidates.push(candidate.clone());
        events.emit(PortEvent::CandidateReady(self.id, candidate));
    }

    pub(crate) fn has_candidate(&self, address: SocketAddr) -> bool {
        self.candidates.iter().any(|candidate| candidate.address.ip() == Some(address))
    }

    /// Whether a candidate tells this address. A host candidate that stands behind a name does not, unless the address
    /// was configured to be shown.
    pub(crate) fn tells_address(&self, address: SocketAddr) -> bool {
        let configured = matches!(self.external, Some((NatOneToOneMode::Host, _)));
        let named = |candidate: &Candidate| {
            self.names_hosts && !configured && candidate.candidate_type == CandidateType::Host
        };
        let mut of_address =
            self.candidates.iter().filter(|candidate| candidate.address.ip() == Some(address));
        of_address.any(|candidate| !named(candidate))
    }

    /// The candidate that a connection to a peer of this family is made from.
    pub(crate) fn candidate_of_family(&self, ipv4: bool) -> Option<&Candidate> {
        let of_family =
            |candidate: &&Candidate| candidate.address.ip().is_some_and(|address| address.is_ipv4() == ipv4);
        self.candidates.iter().find(of_family)
    }

    pub(crate) fn complete(&mut self, events: &mut EventSource<PortEvent>) {
        if self.state == PortState::InProgress {
            self.state = PortState::Complete;
            events.emit(PortEvent::Complete(self.id));
        }
    }
}

/// What a datagram that begins like STUN turned out to be, once authenticated as far as it can be.
pub(crate) enum StunVerdict<'d> {
    /// Not a STUN message, or one without a right fingerprint (C03): dropped.
    Malformed,
    /// A check that did not authenticate: to be answered with this error, or with none if `None`.
    Refused(Option<(Message<'d>, u16, Vec<u16>)>),
    /// The peer's authenticated check, with its user fragment.
    Request(Message<'d>, &'d str),
    /// A response, authenticated by the request it answers.
    Response(Message<'d>),
    /// A binding indication; cannot be authenticated.
    Indication,
    /// The peer's authenticated GOOG_PING, which stands for its last check (C13).
    GoogPing(Message<'d>),
}

/// Authenticates a connectivity check's datagram for a port with these credentials (RFC 8445 section 7.3,
/// RFC 8489 sections 6.3 and 9.1.3; libwebrtc `Port::GetStunMessage`).
pub(crate) fn get_stun_message<'d>(datagram: &'d [u8], ufrag: &str, pwd: &str) -> StunVerdict<'d> {
    let Ok(message) = Message::parse(datagram) else { return StunVerdict::Malformed };
    if message.method() == Method::GOOG_PING {
        return get_goog_ping(message, pwd);
    }
    if message.check_fingerprint() != FingerprintStatus::Valid || message.method() != Method::BINDING {
        return StunVerdict::Malformed;
    }
    match message.class() {
        Class::SuccessResponse | Class::ErrorResponse => StunVerdict::Response(message),
        Class::Indication => {
            if message.unknown_comprehension_required(AttributeType::KNOWN_ICE).is_empty() {
                StunVerdict::Indication
            } else {
                StunVerdict::Refused(None)
            }
        }
        Class::Request => authenticate_request(message, ufrag, pwd),
    }
}

/// GOOG_PING has no fingerprint and 32 bits of integrity, which is why it says nothing but that the peer is there.
fn get_goog_ping<'d>(message: Message<'d>, pwd: &str) -> StunVerdict<'d> {
    let refuse = |code| StunVerdict::Refused(Some((message, code, Vec::new())));
    match message.class() {
        Class::SuccessResponse | Class::ErrorResponse => StunVerdict::Response(message),
        Class::Indication => StunVerdict::Malformed,
        Class::Request => match message.check_goog_message_integrity_32(short_term_key(pwd)) {
            IntegrityStatus::Missing => refuse(error_code::BAD_REQUEST),
            IntegrityStatus::Invalid => refuse(error_code::UNAUTHENTICATED),
            IntegrityStatus::Valid => {
                let unknown = message.unknown_comprehension_required(AttributeType::KNOWN_ICE);
                if unknown.is_empty() {
                    StunVerdict::GoogPing(message)
                } else {
                    StunVerdict::Refused(Some((message, error_code::UNKNOWN_ATTRIBUTE, unknown)))
                }
            }
        },
    }
}

fn authenticate_request<'d>(message: Message<'d>, ufrag: &str, pwd: &str) -> StunVerdict<'d> {
    let refuse = |code| StunVerdict::Refused(Some((message, code, Vec::new())));
    let integrity = message.check_integrity(short_term_key(pwd));
    if !message.has(AttributeType::USERNAME) || integrity == IntegrityStatus::Missing {
        return refuse(error_code::BAD_REQUEST);
    }
    let names = message.username().and_then(|username| username.split_once(':'));
    let Some((local, remote)) = names else { return refuse(error_code::UNAUTHENTICATED) };
    if local != ufrag || remote.is_empty() || integrity != IntegrityStatus::Valid {
        return refuse(error_code::UNAUTHENTICATED);
    }
    let unknown = message.unknown_comprehension_required(AttributeType::KNOWN_ICE);
    if !unknown.is_empty() {
        return StunVerdict::Refused(Some((message, error_code::UNKNOWN_ATTRIBUTE, unknown)));
    }
    StunVerdict::Request(message, remote)
}

/// A port of any kind.
#[derive(Debug)]
pub(crate) enum Port {
    /// Host and server-reflexive candidates on one UDP socket.
    Udp(UdpPort),
    /// Relay candidates of one TURN server.
    Turn(TurnPort),
    /// Host candidates over TCP.
    Tcp(TcpPort),
}

impl Port {
    pub(crate) fn base(&self) -> &PortBase {
        match self {
            Self::Udp(port) => &port.base,
            Self::Turn(port) => &port.base,
            Self::Tcp(port) => &port.base,
        }
    }

    pub(crate) fn base_mut(&mut self) -> &mut PortBase {
        match self {
            Self::Udp(port) => &mut port.base,
            Self::Turn(port) => &mut port.base,
            Self::Tcp(port) => &mut port.base,
        }
    }

    /// The sockets its packets go by, some shared with other ports.
    pub(crate) fn sockets(&self) -> Vec<SocketId> {
        match self {
            Self::Udp(port) => vec![port.socket()],
            Self::Turn(port) => port.socket().into_iter().collect(),
            Self::Tcp(port) => port.sockets().collect(),
        }
    }

    pub(crate) fn owns_socket(&self, socket: SocketId) -> bool {
        match self {
            Self::Udp(port) => port.socket() == socket,
            Self::Turn(port) => port.socket() == Some(socket),
            Self::Tcp(port) => port.owns_socket(socket),
        }
    }

    /// Its socket, if transports of other PeerConnections use that too.
    pub(crate) fn muxed_socket(&self) -> Option<SocketId> {
        match self {
            Self::Udp(port) => port.muxed_socket(),
            Self::Turn(_) | Self::Tcp(_) => None,
        }
    }

    /// What became of one of its streams.
    pub(crate) fn handle_socket_event(&mut self, now: Instant, event: &SocketEvent, io: &mut PortIo<'_>) {
        match self {
            Self::Udp(_) => {}
            Self::Turn(port) => port.handle_socket_event(now, event, io),
            Self::Tcp(port) => port.handle_socket_event(now, event, io),
        }
    }

    /// Whether packets can be sent to this address: always so with datagrams.
    pub(crate) fn is_connected(&self, remote: SocketAddr) -> bool {
        match self {
            Self::Udp(_) | Self::Turn(_) => true,
            Self::Tcp(port) => port.is_connected(remote),
        }
    }

    /// The candidate that a connection to this address is made from.
    pub(crate) fn local_candidate(&self, remote: SocketAddr) -> Option<Candidate> {
        match self {
            Self::Tcp(port) => port.local_candidate(remote),
            _ => {
                let base = self.base();
                base.candidate_of_family(remote.is_ipv4()).or(base.candidates.first()).cloned()
            }
        }
    }

    /// A connection to this address is gone; sockets that it alone had are added to `sockets`.
    pub(crate) fn on_connection_destroyed(&mut self, remote: SocketAddr, sockets: &mut Vec<SocketId>) {
        if let Self::Tcp(port) = self {
            port.on_connection_destroyed(remote, sockets);
        }
    }

    /// The way of a packet to a remote address.
    pub(crate) fn route_to(&self, remote: SocketAddr) -> Option<PacketRoute> {
        match self {
            Self::Udp(port) => Some(PacketRoute::plain(port.socket(), remote)),
            Self::Turn(port) => port.route_to(remote),
            Self::Tcp(port) => port.route_to(remote),
        }
    }

    /// Starts gathering (libwebrtc `PrepareAddress`).
    pub(crate) fn prepare_address(&mut self, now: Instant, io: &mut PortIo<'_>) {
        match self {
            Self::Udp(port) => port.prepare_address(now, io),
            Self::Turn(port) => port.prepare_address(now, io),
            Self::Tcp(_) => {}
        }
    }

    /// A connection to this remote address was made.
    pub(crate) fn on_connection_created(&mut self, now: Instant, remote: SocketAddr, io: &mut PortIo<'_>) {
        match self {
            Self::Udp(_) => {}
            Self::Turn(port) => port.create_or_refresh_entry(now, remote, io),
            Self::Tcp(port) => port.on_connection_created(now, remote, io),
        }
    }

    /// Data goes to this remote address, with more around it than need be.
    pub(crate) fn bind_channel(&mut self, now: Instant, remote: SocketAddr, io: &mut PortIo<'_>) {
        match self {
            Self::Udp(_) | Self::Tcp(_) => {}
            Self::Turn(port) => port.bind_channel(now, remote, io),
        }
    }

    pub(crate) fn handle_resolved(
        &mut self,
        now: Instant,
        id: ResolveId,
        addresses: &[IpAddr],
        io: &mut PortIo<'_>,
    ) -> bool {
        match self {
            Self::Udp(port) => port.handle_resolved(now, id, addresses, io),
            Self::Turn(port) => port.handle_resolved(now, id, addresses, io),
            Self::Tcp(_) => false,
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Udp(port) => port.next_timeout(),
            Self::Turn(port) => port.next_timeout(),
            Self::Tcp(port) => port.next_timeout(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, io: &mut PortIo<'_>) {
        match self {
            Self::Udp(port) => port.handle_timeout(now, io),
            Self::Turn(port) => port.handle_timeout(now, io),
            Self::Tcp(port) => port.handle_timeout(now, io),
        }
    }

    /// Ends gathering; what is on its way is not waited for.
    pub(crate) fn stop_gathering(&mut self) {
        match self {
            Self::Udp(port) => port.stop_gathering(),
            Self::Turn(port) => port.stop_gathering(),
            Self::Tcp(_) => {}
        }
    }

    /// Nothing comes by it any more: asks the server whether it still holds what it held.
    pub(crate) fn verify_allocation(&mut self, now: Instant, io: &mut PortIo<'_>) {
        match self {
            Self::Udp(_) | Self::Tcp(_) => {}
            Self::Turn(port) => port.verify_allocation(now, io),
        }
    }

    /// Gives back what servers hold for it.
    pub(crate) fn release(&mut self, now: Instant, io: &mut PortIo<'_>) {
        match self {
            Self::Udp(_) | Self::Tcp(_) => {}
            Self::Turn(port) => port.release(now, io),
        }
    }

    /// Whether connections to this remote candidate can be made from here (C17).
    pub(crate) fn is_compatible_address(&self, remote: &Candidate, address: SocketAddr) -> bool {
        match self {
            Self::Udp(port) => remote.protocol == IceProtocol::Udp && port.is_compatible_address(address),
            Self::Turn(port) => remote.protocol == IceProtocol::Udp && port.is_compatible_address(address),
            Self::Tcp(port) => port.is_compatible_address(remote, address),
        }
    }

    /// No new connections; lives as long as those it has.
    pub(crate) fn prune(&mut self) {
        self.stop_gathering();
        self.base_mut().state = PortState::Pruned;
    }
}

impl From<CandidateErrorEvent> for IceTransportEvent {
    fn from(event: CandidateErrorEvent) -> Self {
        Self::CandidateError(event)
    }
}
