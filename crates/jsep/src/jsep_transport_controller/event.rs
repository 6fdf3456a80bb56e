//! What the controller tells upward.

use peerstack_dtls::{DtlsEngineError, DtlsTransportState};
use peerstack_p2p::{
    Candidate, CandidateErrorEvent, CandidatePairChange, IceGatheringState as TransportGatheringState,
    IceTransportState, NetworkRoute,
};
use peerstack_rtp_transport::UnDemuxablePacket;
use peerstack_sctp::{SctpCloseReason, SctpTransportState};

use super::{IceConnectionState, IceGatheringState, LegacyIceConnectionState, PeerConnectionState};
use crate::{IceComponent, TransportId};

/// What a JsepTransportController tells upward. `mid` is the m-section that describes the transport: the tag of
/// its BUNDLE group, or the only one that uses it. What is kept for a rollback alone tells changes of its states
/// under the mid it was made for, and no candidates.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum JsepTransportControllerEvent {
    /// The aggregate changed (W3C `iceconnectionstatechange`). "connected" is never skipped on the way from
    /// "checking" to "completed".
    IceConnectionState(IceConnectionState),
    /// The aggregate changed (W3C `connectionstatechange`).
    PeerConnectionState(PeerConnectionState),
    /// The aggregate changed (W3C `icegatheringstatechange`).
    IceGatheringState(IceGatheringState),
    /// The aggregate of libwebrtc's original changed.
    LegacyIceConnectionState(LegacyIceConnectionState),
    /// Local candidates to be signalled.
    CandidatesGathered {
        /// The m-section.
        mid: String,
        /// Its place in the local description, if it has one.
        mline_index: Option<usize>,
        /// The transport.
        transport: TransportId,
        /// In the order they were gathered; `username_fragment` tells the generation.
        candidates: Vec<Candidate>,
    },
    /// Gathering from one server or address failed (W3C `icecandidateerror`).
    CandidateError {
        /// The m-section.
        mid: String,
        /// What happened.
        error: CandidateErrorEvent,
    },
    /// Local candidates are gone.
    CandidatesRemoved {
        /// The m-section.
        mid: String,
        /// Its place in the local description, if it has one.
        mline_index: Option<usize>,
        /// Which.
        candidates: Vec<Candidate>,
    },
    /// A transport selected another pair.
    CandidatePairChange {
        /// The m-section.
        mid: String,
        /// The transport.
        transport: TransportId,
        /// Which of its components.
        component: IceComponent,
        /// What changed.
        change: Box<CandidatePairChange>,
    },
    /// The way packets of a transport take changed.
    NetworkRouteChange {
        /// The transport.
        transport: TransportId,
        /// The way now.
        route: Option<NetworkRoute>,
    },
    /// The ICE state of one transport changed (W3C `RTCIceTransport` `statechange`).
    IceTransportStateChange {
        /// The m-section.
        mid: String,
        /// The transport.
        transport: TransportId,
        /// Which of its components.
        component: IceComponent,
        /// The state now.
        state: IceTransportState,
    },
    /// All candidates of an m-section and this generation are gathered, those of all components (RFC 8838 section 13). Not
    /// told of an offer that was taken back.
    EndOfCandidates {
        /// The m-section.
        mid: String,
        /// Its place in the local description, if it has one.
        mline_index: Option<usize>,
    },
    /// The gathering state of one transport changed (W3C `RTCIceTransport` `gatheringstatechange`).
    IceTransportGatheringState {
        /// The m-section.
        mid: String,
        /// Its place in the local description, if it has one.
        mline_index: Option<usize>,
        /// The transport.
        transport: TransportId,
        /// Which of its components.
        component: IceComponent,
        /// The state now.
        state: TransportGatheringState,
    },
    /// The DTLS handshake failed.
    DtlsHandshakeError {
        /// The m-section.
        mid: String,
        /// The transport.
        transport: TransportId,
        /// Which packets it carries.
        component: IceComponent,
        /// Why.
        error: DtlsEngineError,
    },
    /// The DTLS state of a transport changed (W3C `RTCDtlsTransport` `statechange`).
    DtlsStateChange {
        /// The m-section.
        mid: String,
        /// The transport.
        transport: TransportId,
        /// Which of its components.
        component: IceComponent,
        /// The state now.
        state: DtlsTransportState,
    },
    /// An m-section uses another transport now, or none (libwebrtc `OnTransportChanged`).
    TransportChanged {
        /// The m-section.
        mid: String,
        /// The transport.
        transport: Option<TransportId>,
    },
    /// RTP and RTCP may be sent by a transport, or no longer.
    WritableState {
        /// The transport.
        transport: TransportId,
        /// Whether it may be sent.
        writable: bool,
    },
    /// An SSRC that no sink claims sent its first packet: the layer above may register a sink (once for an
    /// SSRC).
    UnDemuxableRtpPacket {
        /// The transport.
        transport: TransportId,
        /// What it says of itself.
        source: UnDemuxablePacket,
    },
    /// The SCTP association's state changed (W3C `RTCSctpTransport` `statechange`).
    SctpStateChange {
        /// The transport.
        transport: TransportId,
        /// The state now.
        state: SctpTransportState,
    },
    /// The SCTP association ended, and why.
    SctpClosed {
        /// The transport.
        transport: TransportId,
        /// Why.
        reason: SctpCloseReason,
    },
    /// After `WouldBlock`: sending by a transport may be tried again.
    ReadyToSend {
        /// The transport.
        transport: TransportId,
    },
}
peerstack_base::layer_event!(JsepTransportControllerEvent, "peerstack::jsep");
