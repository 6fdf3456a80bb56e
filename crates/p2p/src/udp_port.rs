//! Host and server-reflexive candidates on one shared UDP socket. Owned by a `BasicPortAllocatorSession` on
//! the network task. RFC 8445 section 5.1.1; answers to libwebrtc's `UDPPort` in `p2p/base/stun_port.h`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::{AdapterType, Ecn, IoRequest, ResolveId, SocketId};
use peerstack_stun::{
    AttributeType, Class, Host, Message, MessageBuilder, Method, ResponseResult, ServerUrl, StunRequest,
    StunRequestManager, TransactionId,
};

use crate::allocation_sequence::BoundSocket;
use crate::port::{NewAddress, PortBase, PortIo};
use crate::{CandidateErrorEvent, CandidateType, p2p_constants};

/// The error code of a server that was not reached (W3C `RTCPeerConnectionIceErrorEvent`).
pub(crate) const SERVER_NOT_REACHABLE_ERROR: u16 = 701;

/// How far the question to one STUN server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerState {
    New,
    Resolving(ResolveId),
    Binding(SocketAddr),
    /// Answered; kept alive until a time, if not for ever.
    Succeeded(SocketAddr),
    /// Failed, or of another address family.
    Done,
}

#[derive(Debug)]
struct StunServer {
    url: ServerUrl,
    shown: String,
    /// A TURN server asked on the side, whose failure its own port tells.
    quiet: bool,
    state: ServerState,
    keepalive: Option<Instant>,
}

/// One UDP socket with its host candidate and what STUN servers see of it.
#[derive(Debug)]
pub(crate) struct UdpPort {
    pub(crate) base: PortBase,
    socket: SocketId,
    local: SocketAddr,
    /// Whether transports of other PeerConnections use the socket too.
    muxed: bool,
    /// What its host candidate says: another address than `local` where that is the "any" address.
    shown: SocketAddr,
    servers: Vec<StunServer>,
    requests: StunRequestManager<usize>,
    keepalive_interval: Duration,
    keepalive_until: Option<Instant>,
    stopped: bool,
}

impl UdpPort {
    pub(crate) fn new(
        base: PortBase,
        bound: BoundSocket,
        servers: &[ServerUrl],
        turn_servers: &[ServerUrl],
        keepalive_interval: Duration,
    ) -> Self {
        let quiet = [(servers, false), (turn_servers, true)];
        let servers = quiet
            .into_iter()
            .flat_map(|(urls, quiet)| urls.iter().map(move |url| (url, quiet)))
            .map(|(url, quiet)| StunServer {
                url: url.clone(),
                shown: format!("stun:{}:{}", url.host, url.port),
                quiet,
                state: ServerState::New,
                keepalive: None,
            })
            .collect();
        Self {
            base,
            socket: bound.id,
            local: bound.local,
            muxed: bound.muxed,
            shown: bound.local,
            servers,
            requests: StunRequestManager::new(),
            keepalive_interval,
            keepalive_until: None,
            stopped: false,
        }
    }

    pub(crate) fn socket(&self) -> SocketId {
        self.socket
    }

    pub(crate) fn muxed_socket(&self) -> Option<SocketId> {
        self.muxed.then_some(self.socket)
    }

    /// Bound to the "any" address, it has this one as far as the public network is concerned (libwebrtc
    /// `MaybeSetDefaultLocalAddress`; G10).
    pub(crate) fn set_default_local_address(&mut self, ip: IpAddr) {
        self.shown.set_ip(ip);
    }

    /// The host candidate is there at once; then the STUN servers are asked.
    pub(crate) fn prepare_address(&mut self, now: Instant, io: &mut PortIo<'_>) {
        let host = NewAddress::udp(CandidateType::Host, self.shown, self.shown);
        self.base.add_host_address(host, io.events);
        if self.base.network.adapter_type == AdapterType::Cellular {
            self.keepalive_until = Some(now + p2p_constants::HIGH_COST_PORT_KEEPALIVE_LIFETIME);
        }
        for index in 0..self.servers.len() {
            self.start_server(now, index, io);
        }
        self.maybe_complete(io);
    }

    fn start_server(&mut self, now: Instant, index: usize, io: &mut PortIo<'_>) {
        let Some(server) = self.servers.get_mut(index) else { return };
        match &server.url.host {
            Host::Ip(ip) => {
                let address = SocketAddr::new(*ip, server.url.port);
                self.send_binding_request(now, index, address, io);
            }
            Host::Name(name) => {
                let id = ResolveId::unique();
                server.state = ServerState::Resolving(id);
                io.io_requests.push_back(IoRequest::Resolve { id, name: name.clone() });
            }
        }
    }

    fn send_binding_request(&mut self, now: Instant, index: usize, address: SocketAddr, io: &mut PortIo<'_>) {
        let Some(server) = self.servers.get_mut(index) else { return };
        if address.is_ipv4() != self.local.is_ipv4()
            || (address.ip().is_loopback()
                && !self.local.ip().is_loopback()
                && !self.local.ip().is_unspecified())
        {
            // Of no use from this address; not an error (G28).
            server.state = ServerState::Done;
            return;
        }
        if !matches!(server.state, ServerState::Succeeded(_)) {
            server.state = ServerState::Binding(address);
        }
        let id = TransactionId::new(io.random);
        let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
        builder.fingerprint();
        let Ok(request) = StunRequest::new(builder.finish(), index) else { return };
        let request = request.with_known_attributes(AttributeType::KNOWN_STUN);
        if self.requests.send(now, request).is_err() {
            server.state = ServerState::Done;
        }
        self.flush(io);
    }

    fn flush(&mut self, io: &mut PortIo<'_>) {
        while let Some(transmit) = self.requests.poll_transmit() {
            let address = match self.servers.get(*transmit.context).map(|server| server.state) {
                Some(ServerState::Binding(address) | ServerState::Succeeded(address)) => address,
                _ => continue,
            };
            if io.transmits.push(self.socket, address, Ecn::NotEct, transmit.message).is_err() {
                tracing::debug!(target: "peerstack::ice", "a STUN request found no room in the transmit queue");
            }
        }
    }

    pub(crate) fn handle_server_packet(
        &mut self,
        now: Instant,
        datagram: &[u8],
        remote: SocketAddr,
        io: &mut PortIo<'_>,
    ) -> bool {
        let from_server = self.servers.iter().any(|server| match server.state {
            ServerState::Binding(address) | ServerState::Succeeded(address) => address == remote,
            _ => false,
        });
        if !from_server {
            return false;
        }
        let Ok(message) = Message::parse(datagram) else { return false };
        let Some(response) = self.requests.check_response(now, &message) else { return false };
        let index = response.context;
        match response.result {
            ResponseResult::Success => {
                let mapped = message.xor_mapped_address().or_else(|| message.mapped_address());
                match mapped {
                    Some(mapped) => self.binding_succeeded(now, index, mapped, io),
                    None => self.binding_failed(now, index, 400, "the response holds no mapped address", io),
                }
            }
            ResponseResult::Error(code) => {
                let text = message.error_code().map_or("", |error| error.reason).to_owned();
                self.binding_failed(now, index, code.unwrap_or(SERVER_NOT_REACHABLE_ERROR), &text, io);
            }
            _ => self.binding_failed(now, index, 420, "the response holds unknown attributes", io),
        }
        true
    }

    fn binding_succeeded(&mut self, now: Instant, index: usize, mapped: SocketAddr, io: &mut PortIo<'_>) {
        let Some(server) = self.servers.get_mut(index) else { return };
        self.requests.retain(|_, context| *context != index);
        let first = match server.state {
            ServerState::Binding(address) => {
                server.state = ServerState::Succeeded(address);
                true
            }
            _ => false,
        };
        server.keepalive = Some(now + self.keepalive_interval)
            .filter(|at| self.keepalive_until.is_none_or(|until| *at <= until));
        let usable =
            mapped.is_ipv4() == self.local.is_ipv4() && mapped.port() != 0 && !mapped.ip().is_unspecified();
        // The same address as the host's means there is no NAT (G19), but behind a name the peer does not see that it is
        // the same, and may not be able to look the name up (G24); one seen by another server already adds nothing
        // (G30), nor do keep-alives (G29).
        if first && usable && !self.stopped && !self.base.tells_address(mapped) {
            let url = Some(server.shown.clone());
            let related = if self.shown.ip().is_unspecified() {
                SocketAddr::new(self.shown.ip(), 0)
            } else {
                self.shown
            };
            let srflx = NewAddress {
                related: Some(related),
                url,
                ..NewAddress::udp(CandidateType::Srflx, mapped, self.shown)
            };
            self.base.add_address(srflx, io.events);
        }
        self.maybe_complete(io);
    }

    fn binding_failed(&mut self, now: Instant, index: usize, code: u16, text: &str, io: &mut PortIo<'_>) {
        let Some(server) = self.servers.get_mut(index) else { return };
        self.requests.retain(|_, context| *context != index);
        if let ServerState::Succeeded(_) = server.state {
            // A keep-alive failed: the next one may not.
            server.keepalive = Some(now + self.keepalive_interval);
            return;
        }
        server.state = ServerState::Done;
        if server.quiet {
            return self.maybe_complete(io);
        }
        let event = CandidateErrorEvent {
            address: if self.shown.ip().is_unspecified() {
                String::new()
            } else {
                self.shown.ip().to_string()
            },
            port: Some(self.local.port()),
            url: server.shown.clone(),
            error_code: code,
            error_text: text.to_owned(),
        };
        io.events.emit(crate::port::PortEvent::CandidateError(self.base.id, event));
        self.maybe_complete(io);
    }

    fn maybe_complete(&mut self, io: &mut PortIo<'_>) {
        let done =
            |server: &StunServer| matches!(server.state, ServerState::Succeeded(_) | ServerState::Done);
        if self.servers.iter().all(done) {
            self.base.complete(io.events);
        }
    }

    pub(crate) fn handle_resolved(
        &mut self,
        now: Instant,
        id: ResolveId,
        addresses: &[IpAddr],
        io: &mut PortIo<'_>,
    ) -> bool {
        let Some(index) = self.servers.iter().position(|server| server.state == ServerState::Resolving(id))
        else {
            return false;
        };
        let Some(port) = self.servers.get(index).map(|server| server.url.port) else { return true };
        match addresses.iter().find(|ip| ip.is_ipv4() == self.local.is_ipv4()) {
            Some(ip) => self.send_binding_request(now, index, SocketAddr::new(*ip, port), io),
            None if addresses.is_empty() => {
                let text = "the server's host name was not resolved";
                self.binding_failed(now, index, SERVER_NOT_REACHABLE_ERROR, text, io);
            }
            None => {
                // Resolved, but to the other family alone: of no use from this address (G28).
                if let Some(server) = self.servers.get_mut(index) {
                    server.state = ServerState::Done;
                }
            }
        }
        self.maybe_complete(io);
        true
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let keepalive = self.servers.iter().filter_map(|server| server.keepalive).min();
        [self.requests.next_timeout(), keepalive].into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, io: &mut PortIo<'_>) {
        self.requests.handle_timeout(now);
        self.flush(io);
        while let Some(timed_out) = self.requests.poll_timed_out() {
            let text = "the STUN binding request timed out";
            self.binding_failed(now, timed_out.context, SERVER_NOT_REACHABLE_ERROR, text, io);
        }
        for index in 0..self.servers.len() {
            let Some(server) = self.servers.get_mut(index) else { continue };
            if server.keepalive.is_some_and(|at| at <= now) {
                server.keepalive = None;
                if let ServerState::Succeeded(address) = server.state {
                    self.send_binding_request(now, index, address, io);
                }
            }
        }
    }

    pub(crate) fn stop_gathering(&mut self) {
        self.stopped = true;
        for (index, server) in self.servers.iter_mut().enumerate() {
            if !matches!(server.state, ServerState::Succeeded(_)) {
                server.state = ServerState::Done;
                self.requests.retain(|_, context| *context != index);
            }
        }
    }

    pub(crate) fn is_compatible_address(&self, remote: SocketAddr) -> bool {
        is_compatible(self.local.ip(), remote)
    }
}

/// The same family, and link-local with link-local only (C17); a loopback socket reaches nothing else.
pub(crate) fn is_compatible(local: IpAddr, remote: SocketAddr) -> bool {
    if remote.port() == 0 || remote.ip().is_unspecified() || remote.ip().is_multicast() {
        return false;
    }
    match (local, remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            !remote.is_broadcast() && (!local.is_loopback() || remote.is_loopback())
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            local.is_unspecified()
                || (local.is_unicast_link_local() == remote.is_unicast_link_local()
                    && (!local.is_loopback() || remote.is_loopback()))
        }
        _ => false,
    }
}
