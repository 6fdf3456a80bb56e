//! An ICE candidate (RFC 8445 section 5.3). Answers to libwebrtc's `api/candidate.h`.

use std::fmt;
use std::net::SocketAddr;

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

/// A candidate, local or remote.
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
}
