//! A packet on its way through the lab. Owned by the lab's event queue.

use std::net::SocketAddr;

use peerstack_base::Ecn;

/// What carries the payload. TCP segments will be a further variant; everything that keeps state by endpoint
/// (NAT, firewall, port tables) keys it by this as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Transport {
    /// A UDP datagram.
    #[default]
    Udp,
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
    /// What the transport protocol carries.
    pub payload: Vec<u8>,
}

impl Packet {
    /// A UDP datagram.
    pub fn udp(source: SocketAddr, destination: SocketAddr, payload: impl Into<Vec<u8>>) -> Self {
        Self { transport: Transport::Udp, source, destination, ecn: Ecn::NotEct, payload: payload.into() }
    }

    /// Bytes of the IP packet: payload, 8 bytes of UDP header and 20 (IPv4) or 40 (IPv6) of IP header. Rates
    /// and MTUs count these.
    pub fn wire_len(&self) -> usize {
        self.payload.len() + 8 + if self.destination.is_ipv4() { 20 } else { 40 }
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
