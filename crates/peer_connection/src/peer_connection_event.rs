//! What a PeerConnection tells the application: one stream of one enum (webrtc-pc section 11.2's events).
//! Each carries the state as of that event.

use peerstack_p2p::CandidatePair;

use crate::data_channel::DataChannel;
use crate::media_stream_track::MediaStreamTrack;
use crate::rtp_transceiver::{RtpReceiver, RtpTransceiver};
use crate::{IceCandidateInit, IceConnectionState, IceGatheringState, PeerConnectionState, SignalingState};

/// A receiver got a track to receive (`RTCTrackEvent`).
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

/// RTP came with an SSRC that no media section claims; its packets are read from the track.
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

/// Gathering with one server failed (`RTCPeerConnectionIceErrorEvent`).
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

/// What a PeerConnection tells.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PeerConnectionEvent {
    /// An offer should be made: `set_local_description(None)`, and tell the peer. As events wait to be read, an offer
    /// of the peer may have come meanwhile; then the signalling state is not stable, and this is told again.
    NegotiationNeeded,
    /// A local candidate to signal to the peer.
    IceCandidate(IceCandidateInit),
    /// A server or address gave no candidate; gathering goes on.
    IceCandidateError(IceCandidateErrorEvent),
    /// The signalling state changed.
    SignalingStateChange(SignalingState),
    /// The ICE connection state changed.
    IceConnectionStateChange(IceConnectionState),
    /// The gathering state changed. At `Complete` the local description holds every candidate.
    IceGatheringStateChange(IceGatheringState),
    /// The connection state changed.
    ConnectionStateChange(PeerConnectionState),
    /// Packets take another pair.
    SelectedCandidatePairChange(Box<CandidatePair>),
    /// The DTLS handshake failed, and why; the connection state changes to `Failed`.
    DtlsHandshakeError(String),
    /// A track to receive.
    Track(TrackEvent),
    /// The peer sends a track no more, or its offer to do so was rolled back: the browser's `removetrack` and
    /// `mute`. The receiver and its track stay, and may be told again. The streams are those it was in.
    TrackRemoved(TrackEvent),
    /// RTP came that no media section claims.
    UnsignaledTrack(UnsignaledTrackEvent),
    /// The peer opened a data channel.
    DataChannel(DataChannel),
    /// Everything of the connection is freed; nothing comes after this.
    Closed,
}
peerstack_base::layer_event!(PeerConnectionEvent, "peerstack::peer_connection");
