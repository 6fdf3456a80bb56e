//! An ICE candidate (RFC 8445 section 5.3). Answers to libwebrtc's `api/candidate.h`.

mod attribute;

pub use attribute::CandidateParseError;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use peerstack_base::AdapterType;

/// Candidate types (RFC 8445 section 4; W3C `RTCIceCandidateType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateType {
    /// An address of an interface.
    Host,
    /// Seen by a STUN server.
    Srflx,
    /// Learned from a connectivity check.
    Prflx,
    /// Allocated on a TURN server.
    Relay,
}

impl CandidateType {
    /// The word of the candidate attribute (RFC 8839 section 5.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Srflx => "srflx",
            Self::Prflx => "prflx",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for CandidateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Transport of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IceProtocol {
    /// UDP.
    Udp,
    /// TCP (RFC 6544).
    Tcp,
}

/// How a TCP candidate connects (RFC 6544 section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TcpCandidateType {
    /// Opens connections.
    Active,
    /// Accepts connections.
    Passive,
    /// Simultaneous open.
    So,
}

/// The transport address of a candidate: an IP address, or a name to be resolved (a browser's `.local`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CandidateAddress {
    /// Known.
    Ip(SocketAddr),
    /// A host name and port; mDNS if it ends in `.local`.
    Name(String, u16),
}

impl CandidateAddress {
    /// The address if it is known.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Name(..) => None,
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name(_, port) => *port,
        }
    }
}

impl fmt::Display for CandidateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// A candidate, local or remote (RFC 8839 section 5.1; W3C `RTCIceCandidate`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Foundation (RFC 8445 section 5.1.1.3), 1 to 32 ice-chars.
    pub foundation: String,
    /// 1 RTP, 2 RTCP.
    pub component: u8,
    /// Transport.
    pub protocol: IceProtocol,
    /// Priority (RFC 8445 section 5.1.2).
    pub priority: u32,
    /// Address.
    pub address: CandidateAddress,
    /// Type.
    pub candidate_type: CandidateType,
    /// Base or mapped address, for all but host candidates.
    pub related_address: Option<SocketAddr>,
    /// For TCP candidates.
    pub tcp_type: Option<TcpCandidateType>,
    /// ICE user fragment this candidate belongs to; empty if the signalling did not say.
    pub username_fragment: String,
    /// ICE generation: rises with each restart (libwebrtc; attribute `generation`).
    pub generation: u32,
    /// Attribute `network-id`; 0 if unknown.
    pub network_id: u16,
    /// Attribute `network-cost`, 0 to 999.
    pub network_cost: u16,
    /// Adapter of a local candidate.
    pub adapter_type: AdapterType,
    /// URL of the STUN or TURN server a local candidate comes from.
    pub url: Option<String>,
    /// For a local relay candidate: how the TURN server is reached, `udp`, `tcp` or `tls`.
    pub relay_protocol: Option<&'static str>,
    /// For a remote candidate that was signalled by a name: the name, where `address` is what a look-up made of it. It
    /// is the name that is shown.
    pub resolved_from: Option<String>,
}

impl Candidate {
    /// Whether `other` is the same candidate as far as pairing goes: component, transport, address, type and
    /// user fragment.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        self.component == other.component
            && self.protocol == other.protocol
            && self.address == other.address
            && self.candidate_type == other.candidate_type
            && self.username_fragment == other.username_fragment
    }

    /// A remote candidate as it may be shown to the application, which learns no address that it did not signal
    /// itself (webrtc-stats, `RTCIceCandidateStats`, `address`): of one that was signalled by a name the name, of a
    /// peer-reflexive one nothing (C22).
    pub fn sanitized(&self) -> Self {
        let mut shown = self.clone();
        let name = shown.resolved_from.take();
        if name.is_some() || shown.candidate_type == CandidateType::Prflx {
            shown.address = CandidateAddress::Name(name.unwrap_or_default(), self.address.port());
        }
        shown
    }
}

/// Type preferences (RFC 8445 section 5.1.2.1, RFC 6544 section 4.2; libwebrtc `IcePriorityValue`).
///
/// `relay_protocol` is how the TURN server is reached, for relay candidates.
pub fn type_preference(
    candidate_type: CandidateType,
    protocol: IceProtocol,
    relay_protocol: Option<&str>,
) -> u8 {
    match (candidate_type, protocol) {
        (CandidateType::Host, IceProtocol::Udp) => 126,
        (CandidateType::Host, IceProtocol::Tcp) => 90,
        (CandidateType::Prflx, IceProtocol::Udp) => 110,
        (CandidateType::Prflx, IceProtocol::Tcp) => 80,
        (CandidateType::Srflx, _) => 100,
        (CandidateType::Relay, _) => match relay_protocol {
            Some("tls") => 0,
            Some("tcp") => 1,
            _ => 2,
        },
    }
}

/// What an address is worth among others (RFC 6724 section 2.1, with ULA above global addresses and native
/// IPv4 above 6to4 and Teredo, as libwebrtc ranks them; G34).
pub fn address_precedence(ip: IpAddr) -> u8 {
    let IpAddr::V6(ip) = ip else { return 30 };
    let [first, second, ..] = ip.segments();
    match ip {
        Ipv6Addr::LOCALHOST => 60,
        _ if first & 0xfe00 == 0xfc00 => 50,
        _ if ip.to_ipv4_mapped().is_some() => 30,
        _ if first == 0x2002 => 20,
        _ if first == 0x2001 && second == 0 => 10,
        // Site-local, 6bone and IPv4-compatible addresses are all deprecated.
        _ if first & 0xffc0 == 0xfec0 || first == 0x3ffe || ip.segments().get(..6) == Some(&[0; 6]) => 1,
        _ => 40,
    }
}

/// The priority of a candidate (RFC 8445 section 5.1.2.1, T20). The local preference is the network's
/// preference in the upper byte and the address's precedence in the lower one, plus `relay_preference`, which
/// orders TURN servers (G23, G25).
pub fn candidate_priority(
    type_preference: u8,
    network_preference: u8,
    ip: IpAddr,
    relay_preference: u16,
    component: u8,
) -> u32 {
    let local = (u16::from(network_preference) << 8) | u16::from(address_precedence(ip));
    let local = u32::from(local.saturating_add(relay_preference));
    (u32::from(type_preference) << 24) | (local << 8) | (256 - u32::from(component.max(1)))
}

/// The priority of a pair (RFC 8445 section 6.1.2.3, T20).
pub fn candidate_pair_priority(controlling: u32, controlled: u32) -> u64 {
    let (g, d) = (u64::from(controlling), u64::from(controlled));
    // Priorities above 2^31 - 1 break the RFC's rule, not us.
    (g.min(d) << 32).saturating_add(2 * g.max(d) + u64::from(g > d))
}

/// The foundation of a candidate (RFC 8445 section 5.1.1.3): the same for the same type, base address,
/// transport and server, however that is reached; otherwise different (G32). A checksum, as in libwebrtc.
pub fn candidate_foundation(
    candidate_type: CandidateType,
    base: IpAddr,
    protocol: IceProtocol,
    relay_protocol: Option<&str>,
    server: Option<&str>,
) -> String {
    let text = format!(
        "{}|{base}|{protocol:?}|{}|{}",
        candidate_type.as_str(),
        relay_protocol.unwrap_or_default(),
        server.unwrap_or_default()
    );
    crc32fast::hash(text.as_bytes()).to_string()
}

#[cfg(test)]
mod tests;
