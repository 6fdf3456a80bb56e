//! Relay candidates: an allocation on a TURN server, with permissions and channels for peers. Owned by a
//! `BasicPortAllocatorSession` on the network task. RFC 8656; answers to libwebrtc's `p2p/base/turn_port.h`.
//!
//! Over UDP it may share its socket with the `UdpPort` of the same network; what the server sends is told
//! apart by the server's address. Nothing that a response says is believed unless it is signed, but for the
//! errors of servers that cannot sign (RFC 8489 section 9.2.5).

mod allocation;
mod credentials;
mod entry;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::{
    Ecn, IoRequest, PortRange, ResolveId, SocketEvent, SocketId, StreamFraming, StreamOptions,
};
use peerstack_stun::{
    AddressFamily, ChannelData, Class, Host, Message, Method, Scheme, ServerUrl, StunRequestManager,
    UrlTransport,
};

use self::allocation::TurnRequest;
use self::credentials::LongTermCredentials;
use self::entry::{Permission, TurnEntry};
use crate::CandidateErrorEvent;
use crate::packet_route::{PacketRoute, RouteFraming};
use crate::port::{PortBase, PortEvent, PortIo, PortState};
use crate::udp_port::SERVER_NOT_REACHABLE_ERROR;

/// Bytes of a TURN user name at most (T15).
const MAX_TURN_USERNAME_LENGTH: usize = 509;
/// Requests that wait for an answer at once: some for each permission and channel.
const MAX_PENDING_REQUESTS: usize = 1024;

/// How often a lost stream to a server is opened again for the pairs that need it: after 0, 0.5, 1, 1.5 s and so
/// on, for as long as a pair lives (T06).
const MAX_RECONNECTS: u32 = 7;
/// See [`MAX_RECONNECTS`].
const RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// How a TURN server is reached (libwebrtc `ProtocolType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RelayProtocol {
    Udp,
    Tcp,
    Tls,
}

impl RelayProtocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Of a URL; `None` for one that is not of a TURN server, or that asks for DTLS.
    pub(crate) fn of(url: &ServerUrl) -> Option<Self> {
        match (url.scheme, url.transport) {
            (Scheme::Turn, UrlTransport::Udp) => Some(Self::Udp),
            (Scheme::Turn, UrlTransport::Tcp) => Some(Self::Tcp),
            (Scheme::Turns, UrlTransport::Tcp) => Some(Self::Tls),
            _ => None,
        }
    }

    pub(crate) fn is_stream(self) -> bool {
        self != Self::Udp
    }
}

/// A TURN server and how much it is preferred (libwebrtc `RelayServerConfig`).
#[derive(Clone)]
pub(crate) struct RelayServer {
    pub(crate) url: ServerUrl,
    pub(crate) protocol: RelayProtocol,
    pub(crate) username: String,
    pub(crate) password: String,
    /// Higher for servers configured first (G23).
    pub(crate) preference: u16,
}

impl std::fmt::Debug for RelayServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RelayServer").field("url", &self.url).finish_non_exhaustive()
    }
}

/// How far it is (libwebrtc `TurnPort::PortState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnPortState {
    /// Not yet able to send to the server.
    Connecting,
    /// Able to send to the server.
    Connected,
    /// There is an allocation.
    Ready,
    /// The allocation could not be refreshed: what still comes is received.
    ReceiveOnly,
    /// The connection to the server is gone, or there never was one.
    Disconnected,
}

/// What a packet of the server was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TurnPacket {
    /// Nothing of this port.
    NotMine,
    /// A response, or something of no use.
    Consumed,
    /// A peer's packet: where it lies in the datagram, and from whom.
    Data(std::ops::Range<usize>, SocketAddr),
}

/// An allocation on a TURN server.
#[derive(Debug)]
pub(crate) struct TurnPort {
    pub(crate) base: PortBase,
    server: RelayServer,
    shown: String,
    socket: Option<SocketId>,
    /// Our address of that socket.
    local: SocketAddr,
    /// Whether the socket is the sequence's, which other ports use too.
    shared: bool,
    ports: Option<PortRange>,
    state: TurnPortState,
    resolving: Option<ResolveId>,
    server_address: Option<SocketAddr>,
    /// Servers tried, so that alternates do not send us round in circles (U05).
    attempted: Vec<SocketAddr>,
    mismatches: u32,
    /// The family of relayed address that is asked for, if not what the server takes (U13).
    requested_family: Option<AddressFamily>,
    credentials: LongTermCredentials,
    requests: StunRequestManager<TurnRequest>,
    refresh_at: Option<Instant>,
    /// A Refresh waits for its answer.
    refreshing: bool,
    /// The allocation was lost, and another one is to take its place for the pairs there are.
    renewing: bool,
    /// When the lost stream to the server is opened again, and how often it was since there was an allocation.
    reconnect_at: Option<Instant>,
    reconnects: u32,
    permissions: BTreeMap<IpAddr, Permission>,
    entries: BTreeMap<SocketAddr, TurnEntry>,
    next_channel: u16,
    /// Gathering was ended before there was an allocation.
    stopped: bool,
}

impl TurnPort {
    /// A port for a server; `socket` is the sequence's, for servers that are reached over UDP.
    pub(crate) fn new(
        base: PortBase,
        server: RelayServer,
        socket: Option<(SocketId, SocketAddr)>,
        ports: Option<PortRange>,
    ) -> Self {
        let ip = base.network.best_ip().unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let shown = server.url.to_string();
        let credentials = LongTermCredentials::new(&server.username, &server.password);
        Self {
            base,
            server,
            shown,
            socket: socket.map(|(id, _)| id),
            local: socket.map_or(SocketAddr::new(ip, 0), |(_, local)| local),
            shared: socket.is_some(),
            ports,
            state: TurnPortState::Connecting,
            resolving: None,
            server_address: None,
            attempted: Vec::new(),
            mismatches: 0,
            requested_family: None,
            credentials,
            requests: StunRequestManager::with_max_pending(MAX_PENDING_REQUESTS),
            refresh_at: None,
            refreshing: false,
            renewing: false,
            reconnect_at: None,
            reconnects: 0,
            permissions: BTreeMap::new(),
            entries: BTreeMap::new(),
            next_channel: peerstack_stun::MIN_CHANNEL,
            stopped: false,
        }
    }

    pub(crate) fn socket(&self) -> Option<SocketId> {
        self.socket
    }

    /// Whether this is what the server sends us, by socket and source.
    pub(crate) fn can_handle_incoming_packets_from(&self, socket: SocketId, remote: SocketAddr) -> bool {
        self.socket == Some(socket)
            && (self.server.protocol.is_stream() || self.server_address == Some(remote))
    }

    /// Starts: looks the server's name up, reaches it, asks for an allocation.
    pub(crate) fn prepare_address(&mut self, now: Instant, io: &mut PortIo<'_>) {
        if !self.credentials.is_complete() {
            let text = "Missing TURN server credentials.";
            return self.on_allocate_error(peerstack_stun::error_code::UNAUTHENTICATED, text, io);
        }
        if self.server.username.len() > MAX_TURN_USERNAME_LENGTH {
            let text = "The TURN user name is longer than 509 bytes.";
            return self.on_allocate_error(SERVER_NOT_REACHABLE_ERROR, text, io);
        }
        if !is_allowed_turn_port(self.server.url.port) {
            let text = "The TURN server's port is not allowed.";
            return self.on_allocate_error(SERVER_NOT_REACHABLE_ERROR, text, io);
        }
        match &self.server.url.host {
            Host::Ip(ip) => {
                let address = SocketAddr::new(*ip, self.server.url.port);
                self.connect(now, address, io);
            }
            // A proxy looks the name up, which we may not be able to.
            Host::Name(_) if self.server.protocol.is_stream() && io.factory.resolves_names() => {
                let address = SocketAddr::new(unspecified_like(self.local.ip()), self.server.url.port);
                self.connect(now, address, io);
            }
            Host::Name(name) => {
                let id = ResolveId::unique();
                self.resolving = Some(id);
                io.io_requests.push_back(IoRequest::Resolve { id, name: name.clone() });
            }
        }
    }

    pub(crate) fn handle_resolved(
        &mut self,
        now: Instant,
        id: ResolveId,
        addresses: &[IpAddr],
        io: &mut PortIo<'_>,
    ) -> bool {
        if self.resolving != Some(id) {
            return false;
        }
        self.resolving = None;
        if self.stopped {
            return true;
        }
        match addresses.iter().find(|ip| ip.is_ipv4() == self.local.is_ipv4()).or(addresses.first()) {
            Some(ip) => self.connect(now, SocketAddr::new(*ip, self.server.url.port), io),
            None => {
                let text = "TURN host lookup received error.";
                self.on_allocate_error(SERVER_NOT_REACHABLE_ERROR, text, io);
            }
        }
        true
    }

    /// Goes to a server's address.
    fn connect(&mut self, now: Instant, address: SocketAddr, io: &mut PortIo<'_>) {
        if !self.can_reach(address) {
            // Of no use from this address; not an error (U13).
            self.state = TurnPortState::Disconnected;
            return self.base.complete(io.events);
        }
        self.attempted.push(address);
        self.server_address = Some(address);
        if self.server.protocol.is_stream() {
            return self.open_stream(address, io);
        }
        if self.socket.is_none() && !self.open_own_socket(io) {
            return;
        }
        self.state = TurnPortState::Connected;
        self.send_request(now, TurnRequest::allocate(), io);
    }

    /// The same family, and loopback from loopback only.
    fn can_reach(&self, address: SocketAddr) -> bool {
        let local = self.local.ip();
        address.is_ipv4() == local.is_ipv4()
            && (!address.ip().is_loopback() || local.is_loopback() || local.is_unspecified())
    }

    /// Leaves the stream it has, if any, for another; the allocation is asked for once that is connected.
    fn open_stream(&mut self, address: SocketAddr, io: &mut PortIo<'_>) {
        if let Some(id) = self.socket.take() {
            io.io_requests.push_back(IoRequest::CloseSocket { id });
        }
        self.state = TurnPortState::Connecting;
        let tls = (self.server.protocol == RelayProtocol::Tls).then(|| match &self.server.url.host {
            Host::Name(name) => name.clone(),
            Host::Ip(ip) => ip.to_string(),
        });
        let host = match &self.server.url.host {
            // An alternate server is another one than the name is of.
            Host::Name(name) if self.attempted.len() <= 1 => Some(name.clone()),
            _ => None,
        };
        let local = SocketAddr::new(self.local.ip(), 0);
        let options = StreamOptions { remote: address, tls, proxy: true, host };
        match io.factory.create_client_tcp_socket(local, &options) {
            Ok(socket) => {
                let id = SocketId::unique();
                io.io_requests.push_back(IoRequest::AddStream { id, socket, framing: StreamFraming::Stun });
                self.socket = Some(id);
            }
            Err(error) => {
                tracing::debug!(target: "peerstack::ice::turn", %error, "no stream to a TURN server");
                let text = "Failed to create TURN client socket.";
                self.on_allocate_error(SERVER_NOT_REACHABLE_ERROR, text, io);
            }
        }
    }

    pub(crate) fn handle_socket_event(&mut self, now: Instant, event: &SocketEvent, io: &mut PortIo<'_>) {
        match event {
            SocketEvent::Connected { local, .. } if self.state == TurnPortState::Connecting => {
                let known = self.base.network.ips.contains(&local.ip()) || self.local.ip().is_unspecified();
                if !known && !local.ip().is_loopback() {
                    // What it reaches it reaches by another network (G35).
                    let text = "The TURN client socket is bound to another network's address.";
                    return self.on_allocate_error(SERVER_NOT_REACHABLE_ERROR, text, io);
                }
                self.local = *local;
                self.state = TurnPortState::Connected;
                self.send_request(now, TurnRequest::allocate(), io);
            }
            SocketEvent::Closed { reason, .. } => self.on_socket_closed(now, reason, io),
            _ => {}
        }
    }

    /// The stream is gone, and with it the allocation. Where it has pairs it is opened again: at once, then at
    /// growing distances; libwebrtc gives the pairs up (U12).
    fn on_socket_closed(&mut self, now: Instant, reason: &str, io: &mut PortIo<'_>) {
        self.socket = None;
        (self.refresh_at, self.refreshing) = (None, false);
        let had = self.receives() || self.renewing;
        if had && !self.base.connections.is_empty() && self.reconnects < MAX_RECONNECTS {
            tracing::debug!(target: "peerstack::ice::turn", url = %self.shown, reason, "the stream is lost");
            self.requests.clear();
            self.credentials.reset();
            self.renewing = true;
            self.state = TurnPortState::Connecting;
            self.forget_entries(io);
            let wait = if self.reconnects == 0 { Duration::ZERO } else { RECONNECT_DELAY * self.reconnects };
            self.reconnects += 1;
            self.reconnect_at = Some(now + wait);
            return;
        }
        self.entries.clear();
        self.permissions.clear();
        if !self.receives() {
            let text = format!("The connection to the TURN server is closed: {reason}");
            self.on_allocate_error(SERVER_NOT_REACHABLE_ERROR, &text, io);
        }
        self.requests.clear();
        self.state = TurnPortState::Disconnected;
        for peer in self.base.connections.keys() {
            io.events.emit(PortEvent::ConnectionClosed(self.base.id, *peer));
        }
    }

    /// Leaves the socket it has, if any, for one of its own.
    fn open_own_socket(&mut self, io: &mut PortIo<'_>) -> bool {
        let local = SocketAddr::new(self.local.ip(), 0);
        let bound = io.factory.create_udp_socket(local, self.ports).and_then(|socket| {
            let local = socket.local_addr()?;
            Ok((socket, local))
        });
        match bound {
            Ok((socket, local)) => {
                if let Some(id) = self.socket.take_if(|_| !self.shared) {
                    io.io_requests.push_back(IoRequest::CloseSocket { id });
                }
                let id = SocketId::unique();
                io.io_requests.push_back(IoRequest::AddUdpSocket { id, socket });
                (self.socket, self.local, self.shared) = (Some(id), local, false);
                true
            }
            Err(error) => {
                tracing::debug!(target: "peerstack::ice::turn", %error, "no socket for a TURN server");
                let text = "Failed to create TURN client socket.";
                self.on_allocate_error(SERVER_NOT_REACHABLE_ERROR, text, io);
                false
            }
        }
    }

    /// It gives no candidate, and why.
    fn on_allocate_error(&mut self, code: u16, text: &str, io: &mut PortIo<'_>) {
        tracing::debug!(target: "peerstack::ice::turn", url = %self.shown, code, text, "no allocation");
        self.requests.clear();
        if self.state != TurnPortState::Ready {
            self.state = TurnPortState::Disconnected;
        }
        self.reconnect_at = None;
        if std::mem::take(&mut self.renewing) {
            self.fail_connections(io);
        }
        if !self.stopped {
            let unspecified = self.local.ip().is_unspecified();
            io.events.emit(PortEvent::CandidateError(
                self.base.id,
                CandidateErrorEvent {
                    address: if unspecified { String::new() } else { self.local.ip().to_string() },
                    port: Some(self.local.port()),
                    url: self.shown.clone(),
                    error_code: code,
                    error_text: text.to_owned(),
                },
            ));
        }
        if self.base.state == PortState::InProgress {
            self.base.state = PortState::Error;
            io.events.emit(PortEvent::Error(self.base.id));
        }
    }

    /// Whether there is an allocation from which a peer of this family can be reached (U13).
    pub(crate) fn is_compatible_address(&self, remote: SocketAddr) -> bool {
        self.state == TurnPortState::Ready
            && self.base.state != PortState::Pruned
            && remote.port() != 0
            && !remote.ip().is_unspecified()
            && !remote.ip().is_multicast()
            && self.base.candidate_of_family(remote.is_ipv4()).is_some()
    }

    /// The way to a peer: its channel once that is bound.
    pub(crate) fn route_to(&self, peer: SocketAddr) -> Option<PacketRoute> {
        let (socket, destination) = (self.socket?, self.server_address?);
        let framing = match self.entries.get(&peer).and_then(TurnEntry::bound_channel) {
            Some(number) => RouteFraming::Channel { number, stream: self.server.protocol.is_stream() },
            None => RouteFraming::Indication { peer },
        };
        Some(PacketRoute { socket, destination, framing })
    }

    /// Takes a packet that came from the server.
    pub(crate) fn handle_packet(&mut self, now: Instant, datagram: &[u8], io: &mut PortIo<'_>) -> TurnPacket {
        if let Ok(channel) = ChannelData::parse(datagram) {
            return self.handle_channel_data(datagram, &channel);
        }
        let Ok(message) = Message::parse(datagram) else { return TurnPacket::NotMine };
        match (message.class(), message.method()) {
            (Class::Indication, Method::DATA) => self.handle_data_indication(datagram, &message),
            (Class::SuccessResponse | Class::ErrorResponse, _) => {
                if self.handle_response(now, &message, io) {
                    TurnPacket::Consumed
                } else {
                    TurnPacket::NotMine
                }
            }
            _ => TurnPacket::NotMine,
        }
    }

    fn receives(&self) -> bool {
        matches!(self.state, TurnPortState::Ready | TurnPortState::ReceiveOnly)
    }

    fn handle_channel_data(&self, datagram: &[u8], channel: &ChannelData<'_>) -> TurnPacket {
        let by_channel = self.entries.iter().find(|(_, entry)| entry.channel() == Some(channel.channel));
        match by_channel {
            Some((peer, _)) if self.receives() => TurnPacket::Data(range_of(datagram, channel.data), *peer),
            _ => TurnPacket::Consumed,
        }
    }

    fn handle_data_indication(&self, datagram: &[u8], message: &Message<'_>) -> TurnPacket {
        match (message.xor_peer_address(), message.data()) {
            // The server lets no others through; a forged source shall not either.
            (Some(peer), Some(data)) if self.receives() && self.permissions.contains_key(&peer.ip()) => {
                TurnPacket::Data(range_of(datagram, data), peer)
            }
            _ => TurnPacket::Consumed,
        }
    }

    fn flush(&mut self, io: &mut PortIo<'_>) {
        while let Some(transmit) = self.requests.poll_transmit() {
            let (Some(socket), Some(server)) = (self.socket, self.server_address) else { continue };
            if io.transmits.push(socket, server, Ecn::NotEct, transmit.message).is_err() {
                tracing::debug!(target: "peerstack::ice::turn", "a request found no room in the transmit queue");
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let permissions = self.permissions.values().map(Permission::due);
        let entries = self.entries.values().filter_map(TurnEntry::due);
        permissions
            .chain(entries)
            .chain(self.requests.next_timeout())
            .chain(self.refresh_at)
            .chain(self.reconnect_at)
            .min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, io: &mut PortIo<'_>) {
        self.requests.handle_timeout(now);
        self.flush(io);
        while let Some(timed_out) = self.requests.poll_timed_out() {
            self.on_request_timed_out(now, timed_out.context, io);
        }
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            self.refreshing = true;
            self.send_request(now, TurnRequest::refresh(), io);
        }
        if self.reconnect_at.is_some_and(|at| at <= now) {
            self.reconnect_at = None;
            if let Some(server) = self.server_address {
                self.open_stream(server, io);
            }
        }
        self.refresh_entries(now, io);
    }

    /// No more candidates are wanted: an allocation that is still on its way is released when it comes.
    pub(crate) fn stop_gathering(&mut self) {
        if self.state != TurnPortState::Ready && !self.renewing {
            self.stopped = true;
            self.resolving = None;
        }
    }

    /// Whether an answer to the release is waited for: a stale nonce is answered (U03).
    pub(crate) fn is_releasing(&self) -> bool {
        self.state == TurnPortState::Disconnected && !self.requests.is_empty()
    }

    /// Gives the allocation back (U11): a Refresh with a lifetime of zero. Over a stream its end does the same.
    pub(crate) fn release(&mut self, now: Instant, io: &mut PortIo<'_>) {
        self.requests.clear();
        self.refresh_at = None;
        self.entries.clear();
        self.permissions.clear();
        if self.receives() {
            self.send_request(now, TurnRequest::release(), io);
        }
        if self.server.protocol.is_stream() {
            self.requests.clear();
        }
        self.state = TurnPortState::Disconnected;
    }
}

/// Where a part of a datagram lies in it.
fn range_of(datagram: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(datagram.as_ptr() as usize);
    start..start + part.len()
}

fn unspecified_like(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

/// Ports below 1024 are other protocols', but for those that pass firewalls (U06; libwebrtc `AllowedTurnPort`).
fn is_allowed_turn_port(port: u16) -> bool {
    matches!(port, 53 | 80 | 443 | 1024..)
}

#[cfg(test)]
mod tests;
