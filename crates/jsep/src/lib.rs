//! JSEP: the typed session description, its text, offers and answers; JsepTransportController, JsepTransport,
//! BUNDLE.

#![forbid(unsafe_code)]

mod bundle_manager;
mod bundle_validation;
mod codec;
mod codec_comparators;
mod crypto_params;
mod jsep_transport;
mod jsep_transport_collection;
mod jsep_transport_controller;
mod media_session;
mod rtcp_mux_filter;
mod session_description;
mod session_validation;
#[cfg(test)]
mod test_corpora;
#[cfg(test)]
mod test_sdp;
mod transport_description_factory;
mod transport_stats;
pub mod webrtc_sdp;

pub use bundle_manager::BundlePolicy;
pub use codec::{
    ABS_SEND_TIME_URI, AUDIO_LEVEL_URI, Codec, FeedbackParam, MID_URI, REPAIRED_RID_URI, RID_URI,
    default_audio_codecs, default_header_extensions, default_video_codecs,
};
pub use crypto_params::CryptoParams;
pub use jsep_transport::{BundledTransport, JsepTransport, RtpProtection, RtpTransportKind};
pub use jsep_transport_collection::TransportId;
pub use jsep_transport_controller::{
    CreateTransport, IceConnectionState, IceGatheringState, JsepError, JsepTransportController,
    JsepTransportControllerConfig, JsepTransportControllerEvent, JsepTransportFactory,
    LegacyIceConnectionState, PeerConnectionState, TransportSink,
};
pub use media_session::{
    MediaDescriptionOptions, MediaSessionDescriptionFactory, MediaSessionError, MediaSessionOptions,
};
pub use rtcp_mux_filter::{IceComponent, RtcpMuxPolicy};
pub use session_description::{
    Bandwidth, BandwidthType, ContentGroup, ContentInfo, DEFAULT_MAX_MESSAGE_SIZE, GROUP_SEMANTICS_BUNDLE,
    MediaContentDescription, MediaKind, Msid, PROTOCOL_RTP, PROTOCOL_RTP_IN_THE_CLEAR, PROTOCOL_RTP_SDES,
    PROTOCOL_SCTP, RidDescription, RidDirection, RtpExtension, RtpMediaContentDescription,
    RtpTransceiverDirection, SctpDataContentDescription, SdpType, SessionDescription, SimulcastDescription,
    SimulcastLayer, SsrcGroup, SsrcInfo, TransportDescription, UnsupportedContentDescription,
};
pub use session_validation::SessionValidationError;
pub use transport_stats::{SctpStats, TransportStats};
pub use webrtc_sdp::SdpParseError;
