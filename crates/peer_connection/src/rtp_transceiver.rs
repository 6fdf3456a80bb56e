//! `RTCRtpTransceiver`, `RTCRtpSender` and `RTCRtpReceiver` (webrtc-pc sections 5.2 to 5.4): handles on what
//! the connection's state holds. Answers to libwebrtc's `pc/rtp_transceiver.cc`, `rtp_sender.cc` and
//! `rtp_receiver.cc`.

use std::sync::Arc;

use peerstack_jsep::Codec;

use crate::dtls_transport::DtlsTransport;
use crate::media_stream_track::{MediaStreamTrack, TrackKind};
use crate::network_task::ConnectionCommand;
use crate::rtp_packet::{RtcpFeedback, RtpPacket};
use crate::shared::{Shared, Transceiver};
use crate::stats::{Selector, StatsReport, collect};
use crate::{RtcError, RtpTransceiverDirection};

/// Names a transceiver of one connection, in order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TransceiverId(pub(crate) u32);

/// How a transceiver is made (`RTCRtpTransceiverInit`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpTransceiverInit {
    /// Direction; `Sendrecv` at first.
    pub direction: RtpTransceiverDirection,
    /// Ids of the streams the track belongs to.
    pub streams: Vec<String>,
}

impl Default for RtpTransceiverInit {
    fn default() -> Self {
        Self { direction: RtpTransceiverDirection::Sendrecv, streams: Vec::new() }
    }
}

impl RtpTransceiverInit {
    /// With this direction.
    pub fn new(direction: RtpTransceiverDirection) -> Self {
        Self { direction, ..Self::default() }
    }

    /// With these streams.
    #[must_use]
    pub fn with_streams(mut self, streams: impl IntoIterator<Item = String>) -> Self {
        self.streams.extend(streams);
        self
    }
}

/// A sender and a receiver that share a media section.
#[derive(Debug, Clone)]
#[doc(alias = "RTCRtpTransceiver")]
pub struct RtpTransceiver {
    shared: Arc<Shared>,
    id: TransceiverId,
    /// The receiver's: stays when the transceiver is gone.
    track: MediaStreamTrack,
}

impl PartialEq for RtpTransceiver {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.id == other.id
    }
}

impl RtpTransceiver {
    pub(crate) fn new(shared: &Arc<Shared>, transceiver: &Transceiver) -> Self {
        let track = transceiver.receiver_track.clone();
        Self { shared: Arc::clone(shared), id: transceiver.id, track }
    }

    /// Audio or video.
    pub fn kind(&self) -> TrackKind {
        self.track.kind()
    }

    /// The media section's identification tag, once negotiated; `None` again when the section is over.
    pub fn mid(&self) -> Option<String> {
        self.shared.with_transceiver(self.id, |transceiver| transceiver.mid.clone())
    }

    /// The sender.
    pub fn sender(&self) -> RtpSender {
        RtpSender { shared: Arc::clone(&self.shared), id: self.id }
    }

    /// The receiver.
    pub fn receiver(&self) -> RtpReceiver {
        RtpReceiver { shared: Arc::clone(&self.shared), id: self.id, track: self.track.clone() }
    }

    /// The direction that the next offer or answer will ask for; `Stopped` once the transceiver is stopped or about to
    /// be.
    pub fn direction(&self) -> RtpTransceiverDirection {
        self.shared.with_transceiver(self.id, |transceiver| {
            match transceiver.stopping || transceiver.stopped {
                true => RtpTransceiverDirection::Stopped,
                false => transceiver.direction,
            }
        })
    }

    /// The direction negotiated last; `None` before, `Stopped` once the section is over.
    pub fn current_direction(&self) -> Option<RtpTransceiverDirection> {
        self.shared.with_transceiver(self.id, |transceiver| match transceiver.stopped {
            true => Some(RtpTransceiverDirection::Stopped),
            false => transceiver.current_direction,
        })
    }

    /// Whether [`stop`](Self::stop) was called or the peer rejected the section.
    pub fn stopped(&self) -> bool {
        self.shared.with_transceiver(self.id, |transceiver| transceiver.stopped || transceiver.stopping)
    }

    /// Sets the direction of the next negotiation.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection or a stopped transceiver, `TypeError` for `Stopped`, which only
    /// [`stop`](Self::stop) makes it.
    pub fn set_direction(&self, direction: RtpTransceiverDirection) -> Result<(), RtcError> {
        if direction == RtpTransceiverDirection::Stopped {
            return Err(RtcError::type_error("a transceiver is stopped by stop(), not by a direction"));
        }
        self.shared.update_transceiver(self.id, |transceiver| {
            if transceiver.direction == direction {
                return Ok(false);
            }
            transceiver.direction = direction;
            Ok(true)
        })
    }

    /// Ends sending and receiving for good; the next negotiation rejects the section.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection.
    pub fn stop(&self) -> Result<(), RtcError> {
        if self.stopped() {
            return Ok(());
        }
        self.shared.update_transceiver(self.id, |transceiver| {
            transceiver.stopping = true;
            transceiver.direction = RtpTransceiverDirection::Inactive;
            transceiver.receiver_track.end();
            Ok(true)
        })?;
        self.shared.network.send(ConnectionCommand::StopSender(self.id));
        Ok(())
    }

    /// Orders and limits the codecs of the next negotiation; an empty list brings the defaults back.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection or a stopped transceiver, `InvalidModificationError` for a
    /// list without a media codec.
    pub fn set_codec_preferences(&self, codecs: Vec<Codec>) -> Result<(), RtcError> {
        if !codecs.is_empty() && !codecs.iter().any(Codec::is_media) {
            return Err(RtcError::new(
                crate::RtcErrorKind::InvalidModificationError,
                "the list holds no media codec, only retransmission or error correction",
            ));
        }
        self.shared.update_transceiver(self.id, |transceiver| {
            transceiver.codec_preferences = codecs;
            Ok(true)
        })
    }
}

/// Sends one track.
#[derive(Debug, Clone)]
#[doc(alias = "RTCRtpSender")]
pub struct RtpSender {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: TransceiverId,
}

impl PartialEq for RtpSender {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.id == other.id
    }
}

impl RtpSender {
    /// The track, if it has one.
    pub fn track(&self) -> Option<MediaStreamTrack> {
        self.shared.with_transceiver(self.id, |transceiver| transceiver.sender_track.clone())
    }

    /// The transport its packets take; `None` until a description gave its section one.
    pub fn transport(&self) -> Option<DtlsTransport> {
        transport_of(&self.shared, self.id)
    }

    /// The SSRC its packets carry.
    pub fn ssrc(&self) -> u32 {
        self.shared.with_transceiver(self.id, |transceiver| transceiver.ssrc)
    }

    /// The codecs negotiated for the section, the first being the peer's preference; empty before.
    pub fn codecs(&self) -> Vec<Codec> {
        self.shared.with_transceiver(self.id, |transceiver| transceiver.negotiated_codecs.clone())
    }

    /// What is measured of what this sender sends: its streams and all they refer to (`getStats`).
    ///
    /// # Errors
    /// None so far.
    pub async fn stats(&self) -> Result<StatsReport, RtcError> {
        Ok(collect(&self.shared, Selector::Sender(self.id)).await)
    }

    /// The ids of the streams the track belongs to, as told to the peer by `a=msid` (RFC 8830).
    pub fn streams(&self) -> Vec<String> {
        self.shared.with_transceiver(self.id, |transceiver| transceiver.sender_streams.clone())
    }

    /// Says which streams the track belongs to; an id given twice counts once. The peer is told by the next
    /// negotiation.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection or a stopped transceiver.
    pub fn set_streams(&self, streams: &[String]) -> Result<(), RtcError> {
        let streams = distinct(streams);
        self.shared.update_transceiver(self.id, |transceiver| {
            transceiver.sender_streams = streams;
            Ok(true)
        })
    }

    /// Puts another track, or none, in place of the one sent; no negotiation is needed.
    ///
    /// # Errors
    /// `TypeError` for a track of the other kind, `InvalidStateError` on a closed connection or a stopped
    /// transceiver.
    pub fn replace_track(&self, track: Option<MediaStreamTrack>) -> Result<(), RtcError> {
        self.shared.update_transceiver(self.id, |transceiver| {
            if let Some(track) = track.as_ref().filter(|track| track.kind() != transceiver.kind) {
                let (got, want) = (track.kind().as_str(), transceiver.kind.as_str());
                return Err(RtcError::type_error(format!("the track is {got}, the sender's kind is {want}")));
            }
            transceiver.sender_track = track;
            Ok(false)
        })
    }

    /// Sends one RTP packet. Its sequence number and timestamp are the caller's; SSRC and the ids of header
    /// extensions are the sender's, and MID is added.
    ///
    /// The packet is handed to the network task. It is dropped there, and counted, while the transport is not
    /// writable: media is never queued.
    ///
    /// # Errors
    /// `InvalidStateError` unless the section was negotiated to send, `OperationError` when the network task
    /// is 4 MiB behind.
    pub fn send_rtp(&self, packet: RtpPacket) -> Result<(), RtcError> {
        self.shared.with_transceiver(self.id, |transceiver| {
            if transceiver.stopped
                || transceiver.stopping
                || !transceiver.current_direction.is_some_and(|direction| direction.sends())
            {
                return Err(RtcError::invalid_state("the section is not negotiated to send"));
            }
            Ok(())
        })?;
        self.shared.network.send_rtp(self.id, packet)
    }

    /// The next feedback of the peer on what was sent; `None` once the connection is closed.
    ///
    /// At most 256 items wait; the oldest go first.
    pub async fn next_feedback(&self) -> Option<RtcpFeedback> {
        let queue = self.shared.with_transceiver(self.id, |transceiver| Arc::clone(&transceiver.feedback));
        queue.recv().await
    }
}

fn transport_of(shared: &Shared, id: TransceiverId) -> Option<DtlsTransport> {
    let state = shared.lock();
    state.views.of_mid(state.transceiver(id)?.mid.as_deref()?)
}

/// Stream ids, each once, in their order.
pub(crate) fn distinct(streams: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::with_capacity(streams.len());
    for stream in streams {
        if !all.contains(stream) {
            all.push(stream.clone());
        }
    }
    all
}

/// Receives one track.
#[derive(Debug, Clone)]
#[doc(alias = "RTCRtpReceiver")]
pub struct RtpReceiver {
    shared: Arc<Shared>,
    id: TransceiverId,
    track: MediaStreamTrack,
}

impl PartialEq for RtpReceiver {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.id == other.id
    }
}

impl RtpReceiver {
    /// The track; it exists from the start and gets packets once negotiated.
    pub fn track(&self) -> MediaStreamTrack {
        self.track.clone()
    }

    /// The transport its packets take; `None` until a description gave its section one.
    pub fn transport(&self) -> Option<DtlsTransport> {
        transport_of(&self.shared, self.id)
    }

    /// What is measured of what this receiver receives: its streams and all they refer to (`getStats`).
    ///
    /// # Errors
    /// None so far.
    pub async fn stats(&self) -> Result<StatsReport, RtcError> {
        Ok(collect(&self.shared, Selector::Receiver(self.id)).await)
    }

    /// Asks the peer for a key frame of the stream `ssrc` (PLI, RFC 4585 section 6.3.1).
    ///
    /// As all feedback: nothing is sent while the transport is not writable, or of a stream of which no packet came.
    pub fn send_pli(&self, ssrc: u32) {
        self.send_feedback(RtcpFeedback::Pli { ssrc });
    }

    /// Asks the peer for a full intra frame of the stream `ssrc` (FIR, RFC 5104 section 4.3.1).
    pub fn send_fir(&self, ssrc: u32) {
        self.send_feedback(RtcpFeedback::Fir { ssrc });
    }

    /// Asks the peer for packets again (generic NACK, RFC 4585 section 6.2.1).
    pub fn send_nack(&self, ssrc: u32, sequence_numbers: Vec<u16>) {
        self.send_feedback(RtcpFeedback::Nack { ssrc, sequence_numbers });
    }

    fn send_feedback(&self, feedback: RtcpFeedback) {
        self.shared.network.send(ConnectionCommand::SendFeedback(self.id, feedback));
    }
}
