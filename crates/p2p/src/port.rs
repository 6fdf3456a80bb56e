//! A local means of communication: one local transport address with the candidates it gives and the
//! connections made from it. Owned by a `BasicPortAllocatorSession` on the network task. Answers to
//! libwebrtc's `p2p/base/port.h`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use peerstack_base::{EventSource, IoRequest, Network, Random, ResolveId, SocketId, TransmitQueue};
use peerstack_stun::{
    AttributeType, Class, FingerprintStatus, IntegrityStatus, Message, Method, error_code, short_term_key,
};

use crate::candidate::{candidate_foundation, candidate_priority, type_preference};
use crate::connection::ConnectionId;
use crate::udp_port::UdpPort;
use crate::{
    Candidate, CandidateAddress, CandidateErrorEvent, CandidateType, IceProtocol, IceTransportEvent,
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
}
peerstack_base::layer_event!(PortEvent, "peerstack::ice::port");

/// The hands of a port: what goes out, and randomness.
pub(crate) struct PortIo<'a> {
    pub(crate) transmits: &'a mut TransmitQueue,
    pub(crate) io_requests: &'a mut VecDeque<IoRequest>,
    pub(crate) random: &'a mut Random,
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
}

impl PortBase {
    /// A candidate of this port; not added to it.
    pub(crate) fn make_candidate(&self, new: NewAddress) -> Candidate {
        let preference = type_preference(new.candidate_type, IceProtocol::Udp, None);
        // The base address decides the local preference: a server-reflexive candidate of an IPv4 network is
        // as good as its network.
        let priority =
            candidate_priority(preference, self.network.preference, new.base.ip(), 0, self.component);
        Candidate {
            foundation: candidate_foundation(
                new.candidate_type,
                new.base.ip(),
                IceProtocol::Udp,
                None,
                new.url.as_deref(),
            ),
            component: self.component,
            protocol: IceProtocol::Udp,
            priority,
            address: CandidateAddress::Ip(new.address),
            candidate_type: new.candidate_type,
            related_address: new.related,
            tcp_type: None,
            username_fragment: self.username_fragment.clone(),
            generation: self.generation,
            network_id: self.network.id,
            network_cost: self.network.cost(),
            adapter_type: self.network.adapter_type,
            url: new.url,
            relay_protocol: None,
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
}

/// Authenticates a connectivity check's datagram for a port with these credentials (RFC 8445 section 7.3,
/// RFC 8489 sections 6.3 and 9.1.3; libwebrtc `Port::GetStunMessage`).
pub(crate) fn get_stun_message<'d>(datagram: &'d [u8], ufrag: &str, pwd: &str) -> StunVerdict<'d> {
    let Ok(message) = Message::parse(datagram) else { return StunVerdict::Malformed };
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
}

impl Port {
    pub(crate) fn base(&self) -> &PortBase {
        match self {
            Self::Udp(port) => &port.base,
        }
    }

    pub(crate) fn base_mut(&mut self) -> &mut PortBase {
        match self {
            Self::Udp(port) => &mut port.base,
        }
    }

    /// The socket its packets go by.
    pub(crate) fn socket(&self) -> SocketId {
        match self {
            Self::Udp(port) => port.socket(),
        }
    }

    /// Starts gathering (libwebrtc `PrepareAddress`).
    pub(crate) fn prepare_address(&mut self, now: Instant, io: &mut PortIo<'_>) {
        match self {
            Self::Udp(port) => port.prepare_address(now, io),
        }
    }

    /// Takes what a server sent; `true` if it was one of this port's.
    pub(crate) fn handle_server_packet(
        &mut self,
        now: Instant,
        datagram: &[u8],
        remote: SocketAddr,
        io: &mut PortIo<'_>,
    ) -> bool {
        match self {
            Self::Udp(port) => port.handle_server_packet(now, datagram, remote, io),
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
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Udp(port) => port.next_timeout(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, io: &mut PortIo<'_>) {
        match self {
            Self::Udp(port) => port.handle_timeout(now, io),
        }
    }

    /// Ends gathering; what is on its way is not waited for.
    pub(crate) fn stop_gathering(&mut self) {
        match self {
            Self::Udp(port) => port.stop_gathering(),
        }
    }

    /// Whether connections to this remote candidate can be made from here (C17).
    pub(crate) fn is_compatible_address(&self, remote: &Candidate, address: SocketAddr) -> bool {
        match self {
            Self::Udp(port) => remote.protocol == IceProtocol::Udp && port.is_compatible_address(address),
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
