//! What a PeerConnection tells the application: one stream of one enum (webrtc-pc section 12's events).
//! Each carries the state as of that event.

use peerstack_dtls::DtlsTransportState;
use peerstack_p2p::{CandidatePair, IceGatheringState as IceGathererState, IceTransportState};
use peerstack_sctp::SctpTransportState;

use crate::data_channel::DataChannel;
use crate::dtls_transport::DtlsTransport;
use crate::ice_transport::IceTransport;
use crate::media_stream_track::MediaStreamTrack;
use crate::rtp_transceiver::{RtpReceiver, RtpTransceiver};
use crate::sctp_transport::SctpTransport;
use crate::{
    IceCandidateInit, IceConnectionState, IceGatheringState, PeerConnectionState, RtcError, SignalingState,
};

/// A receiver got a track to receive (`RTCTrackEvent`, webrtc-pc section 5.7).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TrackEvent {
    /// The receiver.
    pub receiver: RtpReceiver,
    /// Its track.
    pub track: MediaStreamTrack,
    /// Ids of the streams the peer put it in.
    pub streams: Vec<String>,
    /// The transceiver.
    pub transceiver: RtpTransceiver,
}

/// RTP came with an SSRC that no media section claims (RFC 9143 section 9.2); its packets are read from the track.
/// Not W3C's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UnsignaledTrackEvent {
    /// The SSRC.
    pub ssrc: u32,
    /// The payload type of the first packet.
    pub payload_type: u8,
    /// The packets.
    pub track: MediaStreamTrack,
}

/// Packets of a transport take another pair (`selectedcandidatepairchange`, webrtc-pc section 5.6).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SelectedCandidatePairEvent {
    /// The transport.
    pub transport: IceTransport,
    /// The pair now; `None` if ICE lost all (webrtc-pc section 5.6, `selectedCandidatePair`).
    pub pair: Option<CandidatePair>,
}

/// Gathering with one server failed (`RTCPeerConnectionIceErrorEvent`, webrtc-pc section 4.8.3).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IceCandidateErrorEvent {
    /// Local address, empty if it must not be shown.
    pub address: String,
    /// Local port.
    pub port: Option<u16>,
    /// URL of the server.
    pub url: String,
    /// STUN error code, or 701 if the server was not reached.
    pub error_code: u16,
    /// What happened.
    pub error_text: String,
}

/// A DTLS transport failed (`RTCErrorEvent`, webrtc-pc section 11.3).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DtlsTransportErrorEvent {
    /// The transport.
    pub transport: DtlsTransport,
    /// Why: an `OperationError` with [`DtlsFailure`](crate::RtcErrorDetail::DtlsFailure) or
    /// [`FingerprintFailure`](crate::RtcErrorDetail::FingerprintFailure) as its detail.
    pub error: RtcError,
}

/// What a PeerConnection tells: the events of webrtc-pc section 4.4.2 and those of the objects it holds, in order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PeerConnectionEvent {
    /// An offer should be made: `set_local_description(None)`, and tell the peer. As events wait to be read, an offer
    /// of the peer may have come meanwhile; then the signalling state is not stable, and this is told again.
    NegotiationNeeded,
    /// A local candidate to signal to the peer; an empty one is the end of candidates of a transport, in the generation
    /// that the user fragment names.
    IceCandidate(IceCandidateInit),
    /// Local candidates that were told are there no more, since their network went while gathering goes on
    /// ([`Settings::continual_gathering`](crate::Settings::continual_gathering)). To be signalled, to peers that take it
    /// ([`remove_ice_candidates`](crate::PeerConnection::remove_ice_candidates)); one that is not told tries them in vain.
    /// All are of one media section. W3C has no such event; libwebrtc's native API does
    /// (`PeerConnectionObserver::OnIceCandidatesRemoved`).
    IceCandidatesRemoved(Vec<IceCandidateInit>),
    /// A server or address gave no candidate; gathering goes on.
    IceCandidateError(IceCandidateErrorEvent),
    /// The signalling state changed. As with the other states, `close` tells no event of it.
    SignalingStateChange(SignalingState),
    /// The ICE connection state changed.
    IceConnectionStateChange(IceConnectionState),
    /// The gathering state changed. At `Complete` the local description holds every candidate.
    IceGatheringStateChange(IceGatheringState),
    /// The connection state changed.
    ConnectionStateChange(PeerConnectionState),
    /// Packets of a transport take another pair.
    SelectedCandidatePairChange(Box<SelectedCandidatePairEvent>),
    /// The state of one ICE transport changed (`RTCIceTransport`'s `statechange`, webrtc-pc section 5.6); the
    /// connection's own, if that changes with it, is told after it.
    IceTransportStateChange {
        /// The transport.
        transport: IceTransport,
        /// Its state as of this event.
        state: IceTransportState,
    },
    /// The gathering state of one ICE transport changed (`gatheringstatechange`, webrtc-pc section 5.6).
    IceTransportGatheringStateChange {
        /// The transport.
        transport: IceTransport,
        /// Its state as of this event.
        state: IceGathererState,
    },
    /// The state of one DTLS transport changed (`RTCDtlsTransport`'s `statechange`, webrtc-pc section 5.5).
    DtlsTransportStateChange {
        /// The transport.
        transport: DtlsTransport,
        /// Its state as of this event.
        state: DtlsTransportState,
    },
    /// The state of the data channels' association changed (`RTCSctpTransport`'s `statechange`, webrtc-pc section
    /// 6.1.1).
    SctpTransportStateChange {
        /// The association.
        transport: SctpTransport,
        /// Its state as of this event.
        state: SctpTransportState,
    },
    /// A DTLS transport failed, and why (`RTCDtlsTransport`'s `error`, webrtc-pc section 5.5); its state changes to
    /// `Failed` next.
    DtlsTransportError(Box<DtlsTransportErrorEvent>),
    /// A track to receive.
    Track(TrackEvent),
    /// The peer sends a track no more, or its offer to do so was rolled back: the browser's `removetrack` (webrtc-pc
    /// section 5.1.1) and `mute`. The receiver and its track stay, and may be told again. The streams are those it
    /// was in.
    TrackRemoved(TrackEvent),
    /// RTP came that no media section claims. Not W3C's.
    UnsignaledTrack(UnsignaledTrackEvent),
    /// The peer opened a data channel. Not told to a reader for whom 2,048 events wait already, as a peer may open and
    /// close channels without end; one that nobody is told of is closed. So is one that makes the labels and protocols
    /// of its channels more than 8 MiB, closed ones among them that still wait here or that the application holds.
    DataChannel(DataChannel),
    /// Everything of the connection is freed; nothing comes after this. Not W3C's: there a closed connection is silent.
    Closed,
}
peerstack_base::layer_event!(PeerConnectionEvent, "peerstack::peer_connection");
