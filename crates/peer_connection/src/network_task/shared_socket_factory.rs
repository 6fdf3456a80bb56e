//! The network task's socket factory as it is lent to each transport, and the UDP sockets that all transports
//! share where the factory is so configured. Owned by the network task; answers to the part of libwebrtc's
//! `PacketSocketFactory` that its network thread owns, and to what other engines call a UDP mux.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peerstack_base::{
    AsyncStreamListener, AsyncStreamSocket, AsyncUdpSocket, PacketSocketFactory, PortRange, StreamOptions,
};

use super::udp_mux::UdpMuxCounters;
use crate::configuration::UdpMux;

/// A shared socket that the network task has not taken over yet.
#[derive(Debug)]
pub(super) struct OpenedSocket {
    pub(super) local: SocketAddr,
    pub(super) socket: Box<dyn AsyncUdpSocket>,
}

#[derive(Debug)]
struct Inner {
    factory: Box<dyn PacketSocketFactory>,
    /// The port of the shared sockets, 0 until one was opened; `None` if each transport binds its own.
    shared_port: Option<u16>,
    shared: BTreeMap<IpAddr, SocketAddr>,
    opened: Vec<OpenedSocket>,
}

impl Inner {
    fn shared_udp_socket(&mut self, ip: IpAddr) -> io::Result<Option<SocketAddr>> {
        let Some(port) = self.shared_port else { return Ok(None) };
        if let Some(local) = self.shared.get(&ip) {
            return Ok(Some(*local));
        }
        let socket = self.factory.create_udp_socket(SocketAddr::new(ip, port), None)?;
        let local = socket.local_addr()?;
        // With port 0 the first address chooses for all.
        self.shared_port = Some(local.port());
        self.shared.insert(ip, local);
        self.opened.push(OpenedSocket { local, socket });
        tracing::info!(target: "peerstack::network", %local, "shared UDP socket");
        Ok(Some(local))
    }
}

/// The task's socket factory, lent to each channel. Only the network task calls it (and the
/// PeerConnectionFactory while it is made), so the lock is never contended; it is there because a channel owns
/// its factory.
#[derive(Debug, Clone)]
pub(crate) struct SharedSocketFactory {
    inner: Arc<Mutex<Inner>>,
    counters: Arc<UdpMuxCounters>,
}

impl SharedSocketFactory {
    pub(super) fn new(factory: Box<dyn PacketSocketFactory>, mux: Option<UdpMux>) -> Self {
        let inner = Inner {
            factory,
            shared_port: mux.map(|mux| mux.port),
            shared: BTreeMap::new(),
            opened: Vec::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)), counters: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether transports share sockets.
    pub(crate) fn is_shared(&self) -> bool {
        self.lock().shared_port.is_some()
    }

    /// The addresses of the shared sockets.
    pub(crate) fn shared_addresses(&self) -> Vec<SocketAddr> {
        self.lock().shared.values().copied().collect()
    }

    /// What the shared sockets dropped.
    pub(crate) fn counters(&self) -> &Arc<UdpMuxCounters> {
        &self.counters
    }

    /// Shared sockets opened since the last call.
    pub(super) fn take_opened(&self) -> Vec<OpenedSocket> {
        std::mem::take(&mut self.lock().opened)
    }

    /// A shared socket was closed; it is opened again when it is needed.
    pub(super) fn forget_shared(&self, local: SocketAddr) {
        self.lock().shared.retain(|_, other| *other != local);
    }
}

impl PacketSocketFactory for SharedSocketFactory {
    fn create_udp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncUdpSocket>> {
        self.lock().factory.create_udp_socket(local, ports)
    }

    fn shared_udp_socket(&mut self, local: IpAddr) -> io::Result<Option<SocketAddr>> {
        self.lock().shared_udp_socket(local)
    }

    fn create_server_tcp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncStreamListener>> {
        self.lock().factory.create_server_tcp_socket(local, ports)
    }

    fn create_client_tcp_socket(
        &mut self,
        local: SocketAddr,
        options: &StreamOptions,
    ) -> io::Result<Box<dyn AsyncStreamSocket>> {
        self.lock().factory.create_client_tcp_socket(local, options)
    }

    fn resolves_names(&self) -> bool {
        self.lock().factory.resolves_names()
    }

    fn default_local_address(&mut self, ipv4: bool) -> Option<IpAddr> {
        self.lock().factory.default_local_address(ipv4)
    }
}
