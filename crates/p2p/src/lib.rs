//! ICE as libwebrtc builds it: P2PTransportChannel over Connections, Ports and their allocator.

#![forbid(unsafe_code)]

mod candidate;
#[cfg(any(test, feature = "test-util"))]
mod fake_ice_transport;
mod ice_transport;
mod transport_description;

pub use candidate::{Candidate, CandidateAddress, CandidateType, IceProtocol, TcpCandidateType};
#[cfg(any(test, feature = "test-util"))]
pub use fake_ice_transport::{FakeIceFate, FakeIceLink, FakeIceSide, FakeIceTransport};
pub use ice_transport::{
    CandidateErrorEvent, CandidatePair, CandidatePairChange, IceGatheringState, IceSwitchReason,
    IceTransport, IceTransportEvent, IceTransportState, NetworkRoute,
};
pub use transport_description::{ConnectionRole, IceMode, IceParameters, IceRole};
