//! ICE as libwebrtc builds it: P2PTransportChannel over Connections, Ports and their allocator.

#![forbid(unsafe_code)]

mod candidate;
mod ice_transport;
mod transport_description;

pub use candidate::{Candidate, CandidateAddress, CandidateType, IceProtocol, TcpCandidateType};
pub use ice_transport::{
    CandidateErrorEvent, CandidatePair, CandidatePairChange, IceGatheringState, IceSwitchReason,
    IceTransport, IceTransportEvent, IceTransportState, NetworkRoute,
};
pub use transport_description::{ConnectionRole, IceMode, IceParameters, IceRole};
