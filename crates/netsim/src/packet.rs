//! A packet on its way through the lab. Owned by the lab's event queue.

use std::net::SocketAddr;

use peerstack_base::Ecn;

/// What carries the payload. Everything that keeps state by endpoint (NAT, firewall, port tables) keys it by
/// this as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Transport {
    /// A UDP datagram.
    #[default]
    Udp,
    /// A TCP segment.
    Tcp,
}

/// The header of a TCP segment, as far as the lab's TCP needs one. Numbers count from 0 and are wide enough not
/// to wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpHeader {
    /// Opens a connection.
    pub syn: bool,
    /// Carries an acknowledgement.
    pub ack: bool,
    /// The sender sends no more.
    pub fin: bool,
    /// Refuses or resets.
    pub rst: bool,
    /// Number of the first byte of the payload; SYN and FIN count for one each.
    pub sequence: u64,
    /// The next number expected.
    pub acknowledgement: u64,
}

/// One packet: addresses as they are where it is seen, so a NAT's two sides see different ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The transport protocol.
    pub transport: Transport,
    /// The source as written in the packet; it may be spoofed.
    pub source: SocketAddr,
    /// The destination.
    pub destination: SocketAddr,
    /// ECN bits of the IP header.
    pub ecn: Ecn,
    /// The header of a TCP segment.
    pub tcp: Option<TcpHeader>,
    /// What the transport protocol carries.
    pub payload: Vec<u8>,
}

impl Packet {
    /// A UDP datagram.
    pub fn udp(source: SocketAddr, destination: SocketAddr, payload: impl Into<Vec<u8>>) -> Self {
        let payload = payload.into();
        Self { transport: Transport::Udp, source, destination, ecn: Ecn::NotEct, tcp: None, payload }
    }

    /// What a server writes on a connection: between these endpoints, as one piece of a stream.
    pub fn stream(source: SocketAddr, destination: SocketAddr, payload: impl Into<Vec<u8>>) -> Self {
        Self { transport: Transport::Tcp, ..Self::udp(source, destination, payload) }
    }

    /// Bytes of the IP packet: payload, 8 bytes of UDP header or 20 of TCP's, and 20 (IPv4) or 40 (IPv6) of IP header. Rates
    /// and MTUs count these.
    pub fn wire_len(&self) -> usize {
        let header = if self.transport == Transport::Tcp { 20 } else { 8 };
        self.payload.len() + header + if self.destination.is_ipv4() { 20 } else { 40 }
    }
}

/// What a link's filter decides about a packet, which it may also have changed in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on.
    Pass,
    /// Is lost, and traced as dropped by a filter.
    Drop,
    /// Goes on after this much more time than the link's own latency; packets behind it may overtake it.
    Delay(std::time::Duration),
    /// Is replaced by these, in order; they are not filtered again.
    Replace(Vec<Packet>),
}

/// Why a packet ended before a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The link's loss model.
    Loss,
    /// The link's queue was full.
    Queue,
    /// Larger than the link's MTU.
    Mtu,
    /// The link or interface was down.
    LinkDown,
    /// A link's filter.
    Filter,
    /// No NAT mapping for the destination.
    NatNoMapping,
    /// A NAT's filtering behaviour (RFC 4787 section 5).
    NatFilter,
    /// A NAT without hairpinning (RFC 4787 section 6).
    NatHairpin,
    /// A NAT has no port left.
    NatNoPort,
    /// A firewall.
    Firewall,
    /// No router knows the destination.
    NoRoute,
    /// Nothing is bound to the destination.
    NoSocket,
    /// The socket's receive buffer was full.
    ReceiveBuffer,
}
