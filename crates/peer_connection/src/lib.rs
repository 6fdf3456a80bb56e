//! PeerConnection: offer and answer, transceivers, data channels, statistics, and the two tasks that run them.
//!
//! Answers to libwebrtc's `pc/`. The public crate is `peerstack`, which re-exports what is public here.

#![forbid(unsafe_code)]

mod certificate;
mod configuration;
mod data_channel;
mod data_channel_event;
mod data_channel_init;
mod data_channel_shared;
mod dropping_queue;
mod dtls_transport;
mod held_bytes;
mod ice_transport;
pub mod io;
mod media_engine;
mod media_stream_track;
pub mod nat;
mod network_task;
mod peer_connection;
mod peer_connection_event;
mod peer_connection_factory;
mod rtc_error;
mod rtp_packet;
mod rtp_parameters;
mod rtp_transceiver;
mod sample;
mod sctp_transport;
mod sdp_offer_answer;
mod send_encodings;
mod shared;
mod signaling_task;
mod states;
mod stats;
mod transport_views;
mod unread_gate;

pub use certificate::{KeygenAlgorithm, generate_certificate};
pub use configuration::{
    AdapterType, BundlePolicy, Configuration, ContinualGatheringPolicy, DtlsEngineKind, IceServer,
    IceTransportPolicy, NatOneToOne, NatOneToOneError, NatOneToOneMode, PeerConnectionDependencies,
    RtcpMuxPolicy, RtpProtection, Settings, SrtpEngineKind, TcpCandidatePolicy, UdpMux,
};
pub use data_channel::DataChannel;
pub use data_channel_event::{DataChannelEvent, DataChannelMessage, DataChannelState};
pub use data_channel_init::{DataChannelInit, PriorityType};
pub use dtls_transport::DtlsTransport;
pub use ice_transport::{IceParameters, IceTransport};
pub use media_engine::{MediaEngine, RtpCapabilities, RtpHeaderExtensionCapability};
pub use media_stream_track::{MediaStreamTrack, TrackKind};
pub use peer_connection::{PeerConnection, PeerConnectionEvents};
pub use peer_connection_event::{
    DtlsTransportErrorEvent, IceCandidateErrorEvent, PeerConnectionEvent, SelectedCandidatePairEvent,
    TrackEvent, UnsignaledTrackEvent,
};
pub use peer_connection_factory::{PeerConnectionFactory, UdpMuxStats};
pub use peerstack_base as base;
pub use peerstack_dtls::{Certificate, CertificateError, DtlsFingerprint, DtlsTransportState, KeyAlgorithm};
pub use peerstack_jsep::{Codec, FeedbackParam, IceComponent, RtpTransceiverDirection};
pub use peerstack_media::opus_packet_duration;
pub use peerstack_p2p::{
    Candidate, CandidatePair, CandidateType, IceGatheringState as IceGathererState, IceRole,
    IceTransportState,
};
pub use peerstack_sctp::SctpTransportState;
pub use rtc_error::{RtcError, RtcErrorDetail, RtcErrorKind};
pub use rtp_packet::{RtcpFeedback, RtcpPacket, RtpHeaderExtension, RtpPacket, RtpSource};
pub use rtp_parameters::{
    RtcpParameters, RtpEncodingParameters, RtpHeaderExtensionParameters, RtpReceiveParameters,
    RtpSendParameters,
};
pub use rtp_transceiver::{RtpLayer, RtpReceiver, RtpSender, RtpTransceiver, RtpTransceiverInit};
pub use sample::{ReceivedSample, Sample, SampleBuilder};
pub use sctp_transport::SctpTransport;
pub use states::{
    IceCandidateInit, IceConnectionState, IceGatheringState, OfferOptions, PeerConnectionState, SdpType,
    SessionDescription, SignalingState,
};
pub use stats::{
    CandidatePairStats, CandidateStats, CertificateStats, CodecStats, DataChannelStats, InboundRtpStats,
    MediaSourceStats, OutboundRtpStats, PeerConnectionStats, RemoteInboundRtpStats, RemoteOutboundRtpStats,
    SelectedPairStats, Stats, StatsReport, TransportStats,
};
