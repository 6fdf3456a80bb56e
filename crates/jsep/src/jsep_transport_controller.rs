//! JsepTransportController.

mod aggregate_states;

pub use aggregate_states::{
    IceConnectionState, IceGatheringState, LegacyIceConnectionState, PeerConnectionState,
};
