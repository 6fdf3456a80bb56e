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
}

/// The answer of a [`DnsResolver`].
pub type ResolveFuture = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Looks up host names.
pub trait DnsResolver: Send + Sync + Debug {
    /// Addresses of a name, best first.
    fn resolve(&self, name: &str) -> ResolveFuture;
}
