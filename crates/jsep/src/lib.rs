//! JSEP: the typed session description, its text, offers and answers; JsepTransportController, JsepTransport,
//! BUNDLE.

#![forbid(unsafe_code)]

mod codec;
mod jsep_transport_controller;
mod session_description;
pub mod webrtc_sdp;

pub use codec::{Codec, FeedbackParam};
pub use jsep_transport_controller::{
    IceConnectionState, IceGatheringState, LegacyIceConnectionState, PeerConnectionState,
};
pub use session_description::{
    Bandwidth, BandwidthType, ContentGroup, ContentInfo, DEFAULT_MAX_MESSAGE_SIZE, GROUP_SEMANTICS_BUNDLE,
    MediaContentDescription, MediaKind, Msid, PROTOCOL_RTP, PROTOCOL_SCTP, RidDescription, RidDirection,
    RtpExtension, RtpMediaContentDescription, RtpTransceiverDirection, SctpDataContentDescription, SdpType,
    SessionDescription, SimulcastDescription, SimulcastLayer, SsrcGroup, SsrcInfo, TransportDescription,
    UnsupportedContentDescription,
};
pub use webrtc_sdp::SdpParseError;
