//! What gathering is told and what it tells: servers, filters, limits, session events. Answers to libwebrtc's
//! `p2p/base/port_allocator.h`; owned by the network task.

use std::fmt;
use std::net::SocketAddr;

use peerstack_base::{AdapterType, PortRange};
use peerstack_stun::ServerUrl;

use crate::port::PortId;
use crate::{Candidate, CandidateErrorEvent, NatOneToOne, p2p_constants};

/// A STUN or TURN server (W3C `RTCIceServer`).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IceServer {
    /// Ways to reach it.
    pub urls: Vec<ServerUrl>,
    /// User name, for TURN.
    pub username: String,
    /// Password, for TURN; a secret.
    pub password: String,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // User names of TURN often hold a customer's name, and with the password they are the credentials.
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Which candidates are used and told (libwebrtc `CF_*`; W3C `RTCIceTransportPolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CandidateFilter {
    /// Host candidates.
    pub host: bool,
    /// Server-reflexive candidates.
    pub srflx: bool,
    /// Relay candidates.
    pub relay: bool,
}

impl CandidateFilter {
    /// All.
    pub const ALL: Self = Self { host: true, srflx: true, relay: true };
    /// None.
    pub const NONE: Self = Self { host: false, srflx: false, relay: false };
    /// W3C's policy `relay`.
    pub const RELAY: Self = Self { host: false, srflx: false, relay: true };
}

impl Default for CandidateFilter {
    fn default() -> Self {
        Self::ALL
    }
}

/// Host candidates over TCP (libwebrtc `TcpCandidatePolicy` and `allow_tcp_listen`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TcpCandidatePolicy {
    /// None.
    #[default]
    Disabled,
    /// Connects to the peer's passive candidates, as browsers do.
    Active,
    /// Listens too.
    ActivePassive,
}

/// What gathering is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PortAllocatorConfig {
    /// Servers, in order of preference.
    pub ice_servers: Vec<IceServer>,
    /// Which candidates are used.
    pub candidate_filter: CandidateFilter,
    /// Host candidates over TCP.
    pub tcp_candidates: TcpCandidatePolicy,
    /// Addresses that a NAT translates one to one.
    pub nat_one_to_one: NatOneToOne,
    /// Whether what is told of local candidates shows names below `.local` in place of the host's addresses, which
    /// neighbours are told by mDNS (draft-ietf-mmusic-mdns-ice-candidates).
    pub mdns_host_candidates: bool,
    /// Local ports that may be used.
    pub port_range: Option<PortRange>,
    /// Whether loopback interfaces are used (G02).
    pub allow_loopback: bool,
    /// Adapters that are not used (G03).
    pub network_ignore_mask: Vec<AdapterType>,
    /// Costly networks are left out if there are others (G04).
    pub disable_costly_networks: bool,
    /// IPv6 networks that are used at most (G05).
    pub max_ipv6_networks: usize,
    /// Whether a port is bound on each network that is listed. Otherwise one is bound to the "any" address of each
    /// family, so that the default route alone is used and no other address is told (libwebrtc
    /// `PORTALLOCATOR_DISABLE_ADAPTER_ENUMERATION`; G10).
    pub adapter_enumeration: bool,
    /// Without enumeration: whether the default route's address is told as a host candidate (libwebrtc
    /// `PORTALLOCATOR_DISABLE_DEFAULT_LOCAL_CANDIDATE`; G10).
    pub default_local_candidate: bool,
}

impl Default for PortAllocatorConfig {
    fn default() -> Self {
        Self {
            ice_servers: Vec::new(),
            candidate_filter: CandidateFilter::ALL,
            tcp_candidates: TcpCandidatePolicy::default(),
            nat_one_to_one: NatOneToOne::default(),
            mdns_host_candidates: false,
            port_range: None,
            allow_loopback: false,
            network_ignore_mask: Vec::new(),
            disable_costly_networks: false,
            max_ipv6_networks: p2p_constants::DEFAULT_MAX_IPV6_NETWORKS,
            adapter_enumeration: true,
            default_local_candidate: true,
        }
    }
}

/// What a session of gathering tells its transport.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortAllocatorSessionEvent {
    /// A port can be paired.
    PortReady(PortId),
    /// Ports of a network that is gone.
    PortsPruned(Vec<PortId>),
    /// Candidates to be told to the peer.
    CandidatesReady(Vec<Candidate>),
    /// A server or address gave none.
    CandidateError(CandidateErrorEvent),
    /// Candidates that are gone.
    CandidatesRemoved(Vec<Candidate>),
    /// Nothing more will come.
    CandidatesAllocationDone,
    /// Packets of a port to a remote address go another way from now on.
    RouteChange(PortId, SocketAddr),
    /// Nothing reaches a remote address from a port any more.
    PeerUnreachable(PortId, SocketAddr),
    /// The stream to a remote address is gone.
    ConnectionClosed(PortId, SocketAddr),
}
peerstack_base::layer_event!(PortAllocatorSessionEvent, "peerstack::ice::gathering");
