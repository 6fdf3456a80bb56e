//! ICE as libwebrtc builds it: P2PTransportChannel over Connections, Ports and their allocator.

#![forbid(unsafe_code)]

mod allocation_sequence;
mod async_tcp_packet_socket;
mod basic_ice_controller;
mod basic_port_allocator;
mod candidate;
mod candidate_pool;
mod connection;
mod connection_info;
#[cfg(any(test, feature = "test-util"))]
mod fake_ice_transport;
mod ice_config;
mod ice_controller;
mod ice_transport;
mod nat_behaviour_discovery;
mod nat_one_to_one;
pub mod p2p_constants;
mod p2p_transport_channel;
mod packet_route;
mod port;
mod port_allocator;
mod tcp_port;
mod transport_description;
mod turn_port;
mod udp_port;

pub use allocation_sequence::{AllocationPhase, AllocationSequenceState};
pub use async_tcp_packet_socket::{AsyncTcpListenSocket, AsyncTcpPacketSocket};
pub use basic_ice_controller::BasicIceController;
pub use candidate::{
    Candidate, CandidateAddress, CandidateParseError, CandidateType, IceProtocol, TcpCandidateType,
    address_precedence, candidate_foundation, candidate_pair_priority, candidate_priority, type_preference,
};
pub use candidate_pool::CandidatePool;
pub use connection::{
    Connection, ConnectionEvent, ConnectionId, ConnectionStats, IceCandidatePairState, WriteState,
};
pub use connection_info::{ConnectionInfo, DiscardedPackets, IceTransportStats};
#[cfg(any(test, feature = "test-util"))]
pub use fake_ice_transport::{FakeIceFate, FakeIceLink, FakeIceSide, FakeIceTransport};
pub use ice_config::{ContinualGatheringPolicy, IceConfig, NominationMode};
pub use ice_controller::{IceController, IceControllerView, IceRecheckEvent, PingResult, SwitchResult};
pub use ice_transport::{
    CandidateErrorEvent, CandidatePair, CandidatePairChange, IceGatheringState, IceSwitchReason,
    IceTransport, IceTransportEvent, IceTransportState, NetworkRoute,
};
pub use nat_behaviour_discovery::{
    NAT_TEST_TIMEOUT, NatBehaviour, NatBehaviourDiscovery, NatReport, NatType,
};
pub use nat_one_to_one::{NatOneToOne, NatOneToOneError, NatOneToOneMode};
pub use p2p_transport_channel::{P2PTransportChannel, P2PTransportChannelConfig};
pub use port::{PortEvent, PortId, PortState};
pub use port_allocator::{
    CandidateFilter, IceServer, PortAllocatorConfig, PortAllocatorSessionEvent, TcpCandidatePolicy,
};
pub use transport_description::{ConnectionRole, IceMode, IceParameters, IceRole};
