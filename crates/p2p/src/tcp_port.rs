//! Host candidates over TCP: listens for the peer's active candidates, connects to its passive ones. Owned by a
//! `BasicPortAllocatorSession` on the network task. RFC 6544, RFC 4571; answers to libwebrtc's `TCPPort` and
//! `TCPConnection` in `p2p/base/tcp_port.h`.
//!
//! As there, a port that listens gives one candidate, the passive one, and connects outward all the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::{IoRequest, PortRange, SocketEvent, SocketId, StreamFraming, StreamOptions};

use crate::packet_route::{PacketRoute, RouteFraming};
use crate::port::{NewAddress, PortBase, PortEvent, PortIo};
use crate::port_allocator::TcpCandidatePolicy;
use crate::udp_port::is_compatible;
use crate::{Candidate, CandidateType, IceProtocol, TcpCandidateType};

/// The port of an active candidate (RFC 6544 section 4.5).
const DISCARD_PORT: u16 = 9;
/// How long a stream that was accepted may be without a check that authenticates.
const ACCEPTED_STREAM_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may take to be there: systems try for two minutes, checks do not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection that was lost may take to be there again (libwebrtc `reconnection_timeout`).
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamState {
    Connecting,
    Connected,
    /// Lost, and connecting again.
    Reconnecting,
}

#[derive(Debug)]
struct Stream {
    id: SocketId,
    state: StreamState,
    outgoing: bool,
    /// When it is given up unless something happens before.
    deadline: Option<Instant>,
}

/// TCP of one network.
#[derive(Debug)]
pub(crate) struct TcpPort {
    pub(crate) base: PortBase,
    listener: Option<SocketId>,
    local: SocketAddr,
    /// By the other end's address.
    streams: BTreeMap<SocketAddr, Stream>,
}

impl TcpPort {
    pub(crate) fn new(base: PortBase) -> Self {
        let ip = base.network.best_ip().unwrap_or(IpAddr::from([0, 0, 0, 0]));
        Self { base, listener: None, local: SocketAddr::new(ip, DISCARD_PORT), streams: BTreeMap::new() }
    }

    /// Listens if it may, and has its candidate at once.
    pub(crate) fn start(
        &mut self,
        policy: TcpCandidatePolicy,
        ports: Option<PortRange>,
        io: &mut PortIo<'_>,
    ) {
        let mut tcp_type = TcpCandidateType::Active;
        if policy == TcpCandidatePolicy::ActivePassive {
            let listener = io
                .factory
                .create_server_tcp_socket(SocketAddr::new(self.local.ip(), 0), ports)
                .and_then(|listener| Ok((listener.local_addr()?, listener)));
            match listener {
                Ok((local, listener)) if local.ip() == self.local.ip() => {
                    let id = SocketId::unique();
                    let framing = StreamFraming::Rfc4571;
                    io.io_requests.push_back(IoRequest::AddListener { id, listener, framing });
                    self.listener = Some(id);
                    self.local = local;
                    tcp_type = TcpCandidateType::Passive;
                }
                // A socket of another network would give a candidate that does not say where to connect (G35).
                Ok((local, _)) => {
                    tracing::debug!(target: "peerstack::ice::tcp", %local, "bound to another address");
                }
                Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                    self.base.state = crate::PortState::Error;
                    return io.events.emit(PortEvent::Error(self.base.id));
                }
                Err(error) => {
                    tracing::debug!(target: "peerstack::ice::tcp", %error, "cannot listen");
                }
            }
        }
        self.base.add_host_address(
            NewAddress {
                protocol: IceProtocol::Tcp,
                tcp_type: Some(tcp_type),
                ..NewAddress::udp(CandidateType::Host, self.local, self.local)
            },
            io.events,
        );
        self.base.complete(io.events);
    }

    /// All its sockets.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = SocketId> {
        self.listener.into_iter().chain(self.streams.values().map(|stream| stream.id))
    }

    pub(crate) fn owns_socket(&self, socket: SocketId) -> bool {
        self.sockets().any(|id| id == socket)
    }

    pub(crate) fn is_compatible_address(&self, remote: &Candidate, address: SocketAddr) -> bool {
        if remote.protocol != IceProtocol::Tcp || !is_compatible(self.local.ip(), address) {
            return false;
        }
        // What only connects is not connected to; once it has connected it is known by its stream.
        self.streams.contains_key(&address) || remote.tcp_type != Some(TcpCandidateType::Active)
    }

    /// The candidate a connection to this address is made from: the active side's is an active one.
    pub(crate) fn local_candidate(&self, remote: SocketAddr) -> Option<Candidate> {
        let mut candidate = self.base.candidates.first()?.clone();
        if self.streams.get(&remote).is_none_or(|stream| stream.outgoing) {
            candidate.tcp_type = Some(TcpCandidateType::Active);
            candidate.address = crate::CandidateAddress::Ip(SocketAddr::new(self.local.ip(), DISCARD_PORT));
        }
        Some(candidate)
    }

    pub(crate) fn route_to(&self, remote: SocketAddr) -> Option<PacketRoute> {
        let stream = self.streams.get(&remote)?;
        Some(PacketRoute { socket: stream.id, destination: remote, framing: RouteFraming::Rfc4571 })
    }

    pub(crate) fn is_connected(&self, remote: SocketAddr) -> bool {
        self.streams.get(&remote).is_some_and(|stream| stream.state == StreamState::Connected)
    }

    /// A connection is made: it needs a stream, unless it came by one.
    pub(crate) fn on_connection_created(&mut self, now: Instant, remote: SocketAddr, io: &mut PortIo<'_>) {
        match self.streams.get_mut(&remote) {
            Some(stream) => stream.deadline = None,
            None => {
                self.open(remote, StreamState::Connecting, now + CONNECT_TIMEOUT, io);
            }
        }
    }

    fn open(
        &mut self,
        remote: SocketAddr,
        state: StreamState,
        deadline: Instant,
        io: &mut PortIo<'_>,
    ) -> bool {
        let deadline = Some(deadline);
        let options = StreamOptions { remote, tls: None, proxy: false, host: None };
        let local = SocketAddr::new(self.local.ip(), 0);
        match io.factory.create_client_tcp_socket(local, &options) {
            Ok(socket) => {
                let id = SocketId::unique();
                io.io_requests.push_back(IoRequest::AddStream {
                    id,
                    socket,
                    framing: StreamFraming::Rfc4571,
                });
                self.streams.insert(remote, Stream { id, state, outgoing: true, deadline });
                true
            }
            Err(error) => {
                tracing::debug!(target: "peerstack::ice::tcp", %remote, %error, "cannot connect");
                false
            }
        }
    }

    pub(crate) fn on_connection_destroyed(&mut self, remote: SocketAddr, io_requests: &mut Vec<SocketId>) {
        io_requests.extend(self.streams.remove(&remote).map(|stream| stream.id));
    }

    pub(crate) fn handle_socket_event(&mut self, now: Instant, event: &SocketEvent, io: &mut PortIo<'_>) {
        match *event {
            SocketEvent::Accepted { id, remote, .. } => self.on_accepted(now, id, remote, io),
            SocketEvent::Connected { id, local } => {
                let Some(remote) = self.remote_of(id) else { return };
                let known = self.base.network.ips.contains(&local.ip()) || self.local.ip().is_unspecified();
                if !known && !local.ip().is_loopback() {
                    // Bound to an address of another network: it is not what it says (G35). Loopback is what
                    // some firewalls make of it.
                    io.io_requests.push_back(IoRequest::CloseSocket { id });
                    self.streams.remove(&remote);
                    return io.events.emit(PortEvent::ConnectionClosed(self.base.id, remote));
                }
                if let Some(stream) = self.streams.get_mut(&remote) {
                    stream.state = StreamState::Connected;
                    stream.deadline = None;
                }
                io.events.emit(PortEvent::RouteChange(self.base.id, remote));
            }
            SocketEvent::Closed { id, .. } => {
                if self.listener == Some(id) {
                    self.listener = None;
                } else if let Some(remote) = self.remote_of(id) {
                    self.on_closed(now, remote, io);
                }
            }
            _ => {}
        }
    }

    fn remote_of(&self, id: SocketId) -> Option<SocketAddr> {
        self.streams.iter().find(|(_, stream)| stream.id == id).map(|(remote, _)| *remote)
    }

    fn on_accepted(&mut self, now: Instant, id: SocketId, remote: SocketAddr, io: &mut PortIo<'_>) {
        if self.streams.contains_key(&remote) || self.base.state == crate::PortState::Pruned {
            return io.io_requests.push_back(IoRequest::CloseSocket { id });
        }
        let deadline = Some(now + ACCEPTED_STREAM_TIMEOUT);
        self.streams.insert(remote, Stream { id, state: StreamState::Connected, outgoing: false, deadline });
    }

    /// A stream is gone: one that we had connected is connected again (C18), any other's connection ends.
    fn on_closed(&mut self, now: Instant, remote: SocketAddr, io: &mut PortIo<'_>) {
        let Some(stream) = self.streams.remove(&remote) else { return };
        let again = stream.outgoing
            && stream.state == StreamState::Connected
            && self.base.connections.contains_key(&remote)
            && self.open(remote, StreamState::Reconnecting, now + RECONNECT_TIMEOUT, io);
        io.events.emit(if again {
            PortEvent::RouteChange(self.base.id, remote)
        } else {
            PortEvent::ConnectionClosed(self.base.id, remote)
        });
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.streams.values().filter_map(|stream| stream.deadline).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, io: &mut PortIo<'_>) {
        let late: Vec<SocketAddr> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.deadline.is_some_and(|at| at <= now))
            .map(|(remote, _)| *remote)
            .collect();
        for remote in late {
            if let Some(stream) = self.streams.remove(&remote) {
                io.io_requests.push_back(IoRequest::CloseSocket { id: stream.id });
                io.events.emit(PortEvent::ConnectionClosed(self.base.id, remote));
            }
        }
    }
}

#[cfg(test)]
mod tests;
