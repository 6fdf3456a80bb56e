//! Sockets and names, as traits: production uses `quinn-udp` and the system's resolver, simulations use
//! netsim. The shape is that of UDP with segmentation offload, because one system call a packet costs more
//! than all the cryptography.

use std::fmt::Debug;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::Ecn;

/// One buffer for one destination, cut into datagrams of `segment_size` bytes (the last may be shorter).
#[derive(Debug, Clone, Copy)]
pub struct Transmit<'a> {
    /// Where to.
    pub destination: SocketAddr,
    /// ECN bits.
    pub ecn: Ecn,
    /// The datagrams, one behind another.
    pub contents: &'a [u8],
    /// Bytes of each datagram but the last; `None` for a single datagram.
    pub segment_size: Option<usize>,
}

/// What came in: `len` bytes that hold one datagram for each `stride`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvMeta {
    /// The sender.
    pub remote: SocketAddr,
    /// Bytes received into the buffer.
    pub len: usize,
    /// Bytes of each datagram but the last, which may be shorter; equal to `len` for a single datagram.
    pub stride: usize,
    /// ECN bits.
    pub ecn: Ecn,
    /// The local address it was sent to, where the system tells.
    pub local_ip: Option<IpAddr>,
}

impl Default for RecvMeta {
    fn default() -> Self {
        Self {
            remote: SocketAddr::from(([0, 0, 0, 0], 0)),
            len: 0,
            stride: 0,
            ecn: Ecn::NotEct,
            local_ip: None,
        }
    }
}

/// A UDP socket with batches.
pub trait AsyncUdpSocket: Send + Debug {
    /// Sends one transmit or nothing. `WouldBlock` means wait for [`poll_writable`](Self::poll_writable);
    /// any other error concerns this destination alone and the socket lives on.
    fn try_send(&mut self, transmit: &Transmit<'_>) -> io::Result<()>;

    /// Ready when [`try_send`](Self::try_send) may be tried again.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Receives into `bufs`, describing each filled one in `meta`; returns how many were filled.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>>;

    /// The address it is bound to.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// How many segments one [`Transmit`] may hold; 1 without offload.
    fn max_transmit_segments(&self) -> usize {
        1
    }

    /// How many datagrams one receive buffer may be filled with; 1 without offload.
    fn max_receive_segments(&self) -> usize {
        1
    }
}

/// Local ports that may be used, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// First.
    pub min: u16,
    /// Last.
    pub max: u16,
}

/// A stream: TCP, or TLS over it. It may still be connecting.
pub trait AsyncStreamSocket: Send + Debug {
    /// Ready when connected, with TLS when its handshake is done; with an error when that failed.
    fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what is there; `Ok(0)` means that the other end will send no more.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes as much as fits. `WouldBlock` means wait for [`poll_writable`](Self::poll_writable); after any
    /// other error the stream is dead.
    fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Ready when [`try_write`](Self::try_write) may be tried again.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The address it is bound to.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The other end's address.
    fn peer_addr(&self) -> io::Result<SocketAddr>;
}

/// Accepts streams.
pub trait AsyncStreamListener: Send + Debug {
    /// The next stream, connected. An error concerns one stream alone.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Box<dyn AsyncStreamSocket>>>;

    /// The address it is bound to.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Where a stream goes and what runs over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// The address to connect to.
    pub remote: SocketAddr,
    /// With TLS: the server's name, or its address as text, which its certificate must be for.
    pub tls: Option<String>,
    /// Whether it goes by the proxy for which the factory is configured, if it is.
    pub proxy: bool,
    /// The server's name, if it was given by one: what a proxy is asked for instead of the address (RFC 9110
    /// section 9.3.6). The address is then not looked up, and may be unspecified, where
    /// [`PacketSocketFactory::resolves_names`] says so.
    pub host: Option<String>,
}

/// Makes sockets (libwebrtc `PacketSocketFactory`).
pub trait PacketSocketFactory: Send + Debug {
    /// Binds a UDP socket to `local`; port 0 takes any port, or one of `ports` where given.
    ///
    /// # Errors
    /// What the system said, for example that the address is not this host's or every port is taken.
    fn create_udp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncUdpSocket>>;

    /// The address of the UDP socket that all transports of a network task share on this local address, opened
    /// if it is not; `None` where each transport binds a socket of its own. A transport takes part in it by
    /// [`IoRequest::JoinUdpMux`](crate::IoRequest::JoinUdpMux).
    ///
    /// # Errors
    /// As [`create_udp_socket`](Self::create_udp_socket).
    fn shared_udp_socket(&mut self, local: IpAddr) -> io::Result<Option<SocketAddr>> {
        let _ = local;
        Ok(None)
    }

    /// Listens on a TCP port of `local`; port 0 takes any port, or one of `ports` where given.
    ///
    /// # Errors
    /// As [`create_udp_socket`](Self::create_udp_socket); `Unsupported` from a factory of UDP alone.
    fn create_server_tcp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncStreamListener>> {
        let _ = (local, ports);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Begins to connect a stream from an address, port 0 meaning any; how that ends is told by
    /// [`AsyncStreamSocket::poll_connected`].
    ///
    /// # Errors
    /// As [`create_server_tcp_socket`](Self::create_server_tcp_socket).
    fn create_client_tcp_socket(
        &mut self,
        local: SocketAddr,
        options: &StreamOptions,
    ) -> io::Result<Box<dyn AsyncStreamSocket>> {
        let _ = (local, options);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Whether streams with [`StreamOptions::proxy`] are opened by a proxy, which looks names up itself.
    fn resolves_names(&self) -> bool {
        false
    }

    /// The address of this family that packets to the public network leave from, if there is one (libwebrtc
    /// `DefaultLocalAddressProvider`): what a port bound to the "any" address says it has.
    fn default_local_address(&mut self, ipv4: bool) -> Option<IpAddr> {
        let _ = ipv4;
        None
    }
}

/// The answer of a [`DnsResolver`].
pub type ResolveFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks up host names.
pub trait DnsResolver: Send + Sync + Debug {
    /// Addresses of a name, best first.
    fn resolve(&self, name: &str) -> ResolveFuture;
}

/// Tells neighbours the addresses behind our names below `.local` (RFC 6762; libwebrtc `MdnsResponderInterface`).
pub trait MdnsResponder: Send + Debug {
    /// A name stands for an address from now on. That it cannot be told is no error: peers then learn the address from
    /// our checks.
    fn register(&mut self, name: &str, address: IpAddr);
    /// A name stands for nothing any more; one that is not known is ignored.
    fn remove(&mut self, name: &str);
}
