//! `RTCRtpTransceiver`, `RTCRtpSender` and `RTCRtpReceiver` (webrtc-pc sections 5.2 to 5.4): handles on what
//! the connection's state holds. Answers to libwebrtc's `pc/rtp_transceiver.cc`, `rtp_sender.cc` and
//! `rtp_receiver.cc`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use peerstack_jsep::Codec;
use tokio::sync::oneshot;

use crate::dtls_transport::DtlsTransport;
use crate::media_engine::{self, RtpHeaderExtensionCapability, codec_match};
use crate::media_stream_track::{MediaStreamTrack, TrackKind, uuid};
use crate::network_task::{ConnectionCommand, TransceiverId};
use crate::rtp_packet::{RtcpFeedback, RtpPacket, RtpSource};
use crate::rtp_parameters::{
    RtcpParameters, RtpEncodingParameters, RtpReceiveParameters, RtpSendParameters, checked_parameters,
    extension_parameters,
};
use crate::sample::Sample;
use crate::send_encodings::SendEncoding;
use crate::shared::{Shared, Transceiver, removed};
use crate::stats::{Selector, StatsReport, collect};
use crate::{IceComponent, RtcError, RtpTransceiverDirection};

/// How a transceiver is made (`RTCRtpTransceiverInit`, webrtc-pc section 5.1).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RtpTransceiverInit {
    /// Direction; `Sendrecv` at first.
    pub direction: RtpTransceiverDirection,
    /// Ids of the streams the track belongs to.
    pub streams: Vec<String>,
    /// The encodings to send, in order: several make simulcast. None means one without restrictions.
    pub send_encodings: Vec<RtpEncodingParameters>,
}

impl Default for RtpTransceiverInit {
    fn default() -> Self {
        Self { direction: RtpTransceiverDirection::Sendrecv, streams: Vec::new(), send_encodings: Vec::new() }
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

    /// With these encodings.
    #[must_use]
    pub fn with_send_encodings(mut self, encodings: impl IntoIterator<Item = RtpEncodingParameters>) -> Self {
        self.send_encodings.extend(encodings);
        self
    }
}

/// A sender and a receiver that share a media section (`RTCRtpTransceiver`, webrtc-pc section 5.4).
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
        self.shared.update_transceiver(self.id, |transceiver| {
            if direction == RtpTransceiverDirection::Stopped {
                return Err(RtcError::type_error("a transceiver is stopped by stop(), not by a direction"));
            }
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
        self.shared.lock().open()?;
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

    /// Orders and limits the codecs of the next negotiation; an empty list brings the defaults back. Take them from
    /// [`PeerConnection::sender_capabilities`](crate::PeerConnection::sender_capabilities): payload types do not
    /// count, and parameters that are not said match all.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection or a stopped transceiver, `InvalidModificationError` for a codec
    /// that is none of the capabilities, or a list of retransmission and error correction alone.
    pub fn set_codec_preferences(&self, codecs: Vec<Codec>) -> Result<(), RtcError> {
        let codecs = media_engine::checked_preferences(
            &self.shared.configuration.settings.media,
            self.kind(),
            codecs,
        )?;
        self.shared.update_transceiver(self.id, |transceiver| {
            transceiver.codec_preferences = codecs;
            Ok(true)
        })
    }
}

impl RtpTransceiver {
    /// The header extensions that the next offer or answer says, each with its direction, `Stopped` for those that are
    /// left out (webrtc-extensions, section "RTP header extension control").
    #[doc(alias = "getHeaderExtensionsToNegotiate")]
    pub fn get_header_extensions_to_negotiate(&self) -> Vec<RtpHeaderExtensionCapability> {
        self.shared.with_transceiver(self.id, |transceiver| transceiver.header_extensions.clone())
    }

    /// Sets the directions of the header extensions for the next negotiation: the list got, with other directions.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection or a stopped transceiver; `InvalidModificationError` for other
    /// URIs, another order or number, or where the identification of sections is not to go both ways.
    #[doc(alias = "setHeaderExtensionsToNegotiate")]
    pub fn set_header_extensions_to_negotiate(
        &self,
        extensions: Vec<RtpHeaderExtensionCapability>,
    ) -> Result<(), RtcError> {
        self.shared.update_transceiver(self.id, |transceiver| {
            media_engine::check_extensions(&transceiver.header_extensions, &extensions)?;
            transceiver.header_extensions = extensions;
            Ok(false)
        })
    }

    /// The header extensions with the directions that were negotiated last; `Stopped` for those that were not, and for
    /// all before.
    #[doc(alias = "getNegotiatedHeaderExtensions")]
    pub fn get_negotiated_header_extensions(&self) -> Vec<RtpHeaderExtensionCapability> {
        self.shared.with_transceiver(self.id, |transceiver| {
            let direction = |uri: &str| {
                let sends = transceiver.send_extensions.iter().any(|one| one.uri == uri);
                let receives = transceiver.receive_extensions.iter().any(|one| one.uri == uri);
                match sends || receives {
                    true => RtpTransceiverDirection::new(sends, receives),
                    false => RtpTransceiverDirection::Stopped,
                }
            };
            let all = transceiver.header_extensions.iter();
            all.map(|one| RtpHeaderExtensionCapability::new(&one.uri, direction(&one.uri))).collect()
        })
    }
}

/// One encoding of a sender as it goes out: what the peer needs to tell it from others, and what it restricts it to
/// (RFC 8851). Not W3C's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpLayer {
    /// The RTP stream id; `None` for a sender of one encoding.
    pub rid: Option<String>,
    /// The SSRC of its packets.
    pub ssrc: u32,
    /// The SSRC of its retransmissions, used where RTX is negotiated (RFC 4588).
    pub rtx_ssrc: u32,
    /// Whether it is sent.
    pub active: bool,
    /// Payload types the peer takes it in; empty for all that were negotiated (RFC 8851 section 5).
    pub payload_types: Vec<u8>,
    /// What else the peer restricts: `max-width`, `max-height`, `max-fps`, `max-br`, ...
    pub restrictions: BTreeMap<String, String>,
    /// Whether the peer asked for it to be paused at first (`~`). Nothing is done about it: set its encoding inactive
    /// ([`RtpSender::set_parameters`]) to comply.
    pub paused: bool,
}

/// Sends one track (`RTCRtpSender`, webrtc-pc section 5.2).
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

    /// The transport its packets take; `None` until a local description, or an answer, gave its section one.
    pub fn transport(&self) -> Option<DtlsTransport> {
        transport_of(&self.shared, self.id, IceComponent::Rtp)
    }

    /// The transport its RTCP takes, where that is not RTP's (`rtcpTransport`, which stood in webrtc-pc as long as
    /// [`RtcpMuxPolicy::Negotiate`](crate::RtcpMuxPolicy)); `None` where the two are multiplexed.
    pub fn rtcp_transport(&self) -> Option<DtlsTransport> {
        transport_of(&self.shared, self.id, IceComponent::Rtcp)
    }

    /// The SSRC its packets carry; of several encodings that of the first.
    pub fn ssrc(&self) -> u32 {
        self.shared.with_transceiver(self.id, Transceiver::ssrc)
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

    /// The encodings as they go out, in order. Not W3C's.
    pub fn layers(&self) -> Vec<RtpLayer> {
        let layer = |encoding: &SendEncoding| RtpLayer {
            rid: encoding.parameters.rid.clone(),
            ssrc: encoding.ssrc,
            rtx_ssrc: encoding.rtx_ssrc,
            active: encoding.parameters.active,
            payload_types: encoding.payload_types.clone(),
            restrictions: encoding.restrictions.clone(),
            paused: encoding.paused,
        };
        self.shared.with_transceiver(self.id, |transceiver| transceiver.encodings.iter().map(layer).collect())
    }

    /// The encodings and what was negotiated. Hand them back to [`set_parameters`](Self::set_parameters) to change the
    /// encodings.
    ///
    /// As nothing here runs between two turns of an event loop, they stay good until they are set, until this is called
    /// again after a change, or until a negotiation takes an encoding away.
    #[doc(alias = "getParameters")]
    pub fn get_parameters(&self) -> RtpSendParameters {
        let mut state = self.shared.lock();
        let transaction_id = uuid(&mut state.random);
        let cname = state.cname.clone();
        let Some(transceiver) = state.transceiver_mut(self.id) else {
            return parameters_of(&removed(self.id), transaction_id, cname);
        };
        if let Some(last) = &transceiver.last_parameters {
            let now = parameters_of(transceiver, last.transaction_id.clone(), cname.clone());
            if now == *last {
                return now;
            }
        }
        let parameters = parameters_of(transceiver, transaction_id, cname);
        transceiver.last_parameters = Some(parameters.clone());
        parameters
    }

    /// Changes the encodings: what [`get_parameters`](Self::get_parameters) returned last, with other values. No
    /// negotiation is needed.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection, a stopped transceiver, or where the parameters were not got since
    /// they were set or an encoding went away; `InvalidModificationError` where more than the encodings' values is
    /// changed, or a codec was not negotiated; `RangeError` for a number that cannot be.
    #[doc(alias = "setParameters")]
    pub fn set_parameters(&self, parameters: RtpSendParameters) -> Result<(), RtcError> {
        let engine = &self.shared.configuration.settings.media;
        self.shared.update_transceiver(self.id, |transceiver| {
            let Some(last) = &transceiver.last_parameters else {
                return Err(RtcError::invalid_state("get_parameters comes before set_parameters"));
            };
            let rids: Vec<_> = transceiver.encodings.iter().map(|one| one.parameters.rid.clone()).collect();
            let negotiated = &transceiver.negotiated_codecs;
            // webrtc-pc: before a negotiation all that could be negotiated.
            let choosable = |codec: &Codec| match negotiated.is_empty() {
                true => engine.knows(transceiver.kind, codec),
                false => negotiated.iter().any(|own| codec_match(own, codec)),
            };
            let encodings = checked_parameters(transceiver.kind, last, &rids, parameters, choosable)?;
            for (encoding, parameters) in transceiver.encodings.iter_mut().zip(encodings) {
                encoding.parameters = parameters;
            }
            transceiver.last_parameters = None;
            Ok(false)
        })
    }

    /// Sends one RTP packet. Its sequence number and timestamp are the caller's; SSRC and the ids of header
    /// extensions are the sender's, and MID is added. Not W3C's.
    ///
    /// Of a sender with several encodings the packet's [`rid`](RtpPacket::rid) says which; without, it is the first.
    /// RID is added then. Each encoding has sequence numbers and timestamps of its own.
    ///
    /// The packet is handed to the network task. It is dropped there, and counted, while the transport is not
    /// writable: media is never queued.
    ///
    /// # Errors
    /// `InvalidStateError` unless the section was negotiated to send and the encoding is active, `InvalidAccessError`
    /// for a RID that is none of the sender's or a payload type that the peer does not take the encoding in,
    /// `OperationError` when the network task is 4 MiB behind.
    pub fn send_rtp(&self, packet: RtpPacket) -> Result<(), RtcError> {
        let packet = self.of_encoding(packet)?;
        self.shared.network.send_rtp(self.id, packet, false)
    }

    /// Sends a packet again, as the peer's NACK asked for: in a stream of retransmissions where RTX was negotiated
    /// for its payload type (RFC 4588), as it was otherwise.
    ///
    /// # Errors
    /// As [`send_rtp`](Self::send_rtp).
    pub fn resend_rtp(&self, packet: RtpPacket) -> Result<(), RtcError> {
        let packet = self.of_encoding(packet)?;
        self.shared.network.send_rtp(self.id, packet, true)
    }

    /// Sends one frame, in as many RTP packets as it takes, with the codec of its encoding: the one its parameters
    /// name, otherwise the first that was negotiated ([`codecs`](Self::codecs)). Sequence numbers and timestamps are
    /// made here; do not mix it with [`send_rtp`](Self::send_rtp) on one encoding. Not W3C's.
    ///
    /// # Errors
    /// As `send_rtp`; `NotSupportedError` for a codec whose payload format is not known, `OperationError` for bytes
    /// that are no frame of the codec or that do not fit where it cannot be cut.
    pub fn send_sample(&self, sample: Sample) -> Result<(), RtcError> {
        let (ssrc, codec, samples) = self.shared.with_transceiver(self.id, |transceiver| {
            let encoding = encoding_of(transceiver, sample.rid.as_deref(), None)?;
            let taken = &encoding.payload_types;
            let mut negotiated = transceiver
                .negotiated_codecs
                .iter()
                .filter(|one| taken.is_empty() || taken.contains(&one.payload_type));
            let codec = match &encoding.parameters.codec {
                Some(wanted) => negotiated.find(|own| codec_match(own, wanted)),
                None => negotiated.find(|own| own.is_media()),
            };
            let codec =
                codec.ok_or_else(|| RtcError::invalid_state("no codec was negotiated for the encoding"))?;
            Ok::<_, RtcError>((encoding.ssrc, codec.clone(), Arc::clone(&transceiver.samples)))
        })?;
        let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in samples.packets(ssrc, &codec, sample)? {
            self.shared.network.send_rtp(self.id, RtpPacket { ssrc, ..packet }, false)?;
        }
        Ok(())
    }

    /// Gives a packet the SSRC of its encoding.
    fn of_encoding(&self, mut packet: RtpPacket) -> Result<RtpPacket, RtcError> {
        packet.ssrc = self.shared.with_transceiver(self.id, |transceiver| {
            encoding_of(transceiver, packet.rid.as_deref(), Some(packet.payload_type))
                .map(|encoding| encoding.ssrc)
        })?;
        Ok(packet)
    }

    /// The next feedback of the peer on what was sent; `None` once the connection is closed. Not W3C's.
    ///
    /// At most 256 items wait; the oldest go first.
    pub async fn next_feedback(&self) -> Option<RtcpFeedback> {
        let queue = self.shared.with_transceiver(self.id, |transceiver| Arc::clone(&transceiver.feedback));
        queue.recv().await
    }
}

/// A remote offer alone gives a section none: the answer may take another (webrtc-pc section 4.4.1.4).
fn transport_of(shared: &Shared, id: TransceiverId, component: IceComponent) -> Option<DtlsTransport> {
    let state = shared.lock();
    let mid = state.transceiver(id)?.mid.as_deref()?;
    state.local()?.parsed.content(mid)?;
    state.views.of_mid(mid, component)
}

/// The encoding of this RID, if packets of it may be sent.
fn encoding_of<'t>(
    transceiver: &'t Transceiver,
    rid: Option<&str>,
    payload_type: Option<u8>,
) -> Result<&'t SendEncoding, RtcError> {
    if transceiver.stopped
        || transceiver.stopping
        || !transceiver.current_direction.is_some_and(|direction| direction.sends())
    {
        return Err(RtcError::invalid_state("the section is not negotiated to send"));
    }
    let encodings = &transceiver.encodings;
    let simulcast = encodings.iter().any(|encoding| encoding.rid().is_some());
    // What is passed on may have the RID of where it came from.
    let rid = rid.filter(|_| simulcast);
    let Some(encoding) = encodings.iter().find(|one| rid.is_none() || one.rid() == rid) else {
        let text = format!("the sender has no encoding with the rid {:?}", rid.unwrap_or_default());
        return Err(RtcError::invalid_access(text));
    };
    if !encoding.parameters.active {
        return Err(RtcError::invalid_state("the encoding is not active"));
    }
    let taken = &encoding.payload_types;
    if let Some(payload_type) = payload_type.filter(|number| !taken.is_empty() && !taken.contains(number)) {
        let text = format!("the peer does not take this encoding in payload type {payload_type}");
        return Err(RtcError::invalid_access(text));
    }
    Ok(encoding)
}

fn parameters_of(transceiver: &Transceiver, transaction_id: String, cname: String) -> RtpSendParameters {
    RtpSendParameters {
        transaction_id,
        encodings: transceiver.encodings.iter().map(|encoding| encoding.parameters.clone()).collect(),
        codecs: transceiver.negotiated_codecs.clone(),
        header_extensions: extension_parameters(&transceiver.send_extensions),
        rtcp: RtcpParameters { cname, reduced_size: transceiver.reduced_size },
    }
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

/// Receives one track (`RTCRtpReceiver`, webrtc-pc section 5.3).
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

    /// The transport its packets take; `None` until a local description, or an answer, gave its section one.
    pub fn transport(&self) -> Option<DtlsTransport> {
        transport_of(&self.shared, self.id, IceComponent::Rtp)
    }

    /// The transport its RTCP takes, where that is not RTP's (`rtcpTransport`, which stood in webrtc-pc as long as
    /// [`RtcpMuxPolicy::Negotiate`](crate::RtcpMuxPolicy)); `None` where the two are multiplexed.
    pub fn rtcp_transport(&self) -> Option<DtlsTransport> {
        transport_of(&self.shared, self.id, IceComponent::Rtcp)
    }

    /// What is measured of what this receiver receives: its streams and all they refer to (`getStats`).
    ///
    /// # Errors
    /// None so far.
    pub async fn stats(&self) -> Result<StatsReport, RtcError> {
        Ok(collect(&self.shared, Selector::Receiver(self.id)).await)
    }

    /// Who contributed to what was heard in the last ten seconds, by the CSRCs of a mixer, heard last first; nobody
    /// on a closed connection.
    #[doc(alias = "getContributingSources")]
    pub async fn contributing_sources(&self) -> Vec<RtpSource> {
        self.sources(true).await
    }

    /// The SSRCs that were heard in the last ten seconds, heard last first; none on a closed connection.
    #[doc(alias = "getSynchronizationSources")]
    pub async fn synchronization_sources(&self) -> Vec<RtpSource> {
        self.sources(false).await
    }

    async fn sources(&self, contributing: bool) -> Vec<RtpSource> {
        let (reply, answer) = oneshot::channel();
        self.shared.network.send(ConnectionCommand::Sources { id: self.id, contributing, reply });
        answer.await.unwrap_or_default()
    }

    /// The ids of the streams the peer put the track in (RFC 8830), by its last description.
    pub fn streams(&self) -> Vec<String> {
        self.shared.with_transceiver(self.id, |transceiver| transceiver.receiver_streams.clone())
    }

    /// What may be received, as negotiated; nothing before.
    #[doc(alias = "getParameters")]
    pub fn get_parameters(&self) -> RtpReceiveParameters {
        let state = self.shared.lock();
        let Some(transceiver) = state.transceiver(self.id) else { return RtpReceiveParameters::default() };
        if transceiver.current_direction.is_none() {
            return RtpReceiveParameters::default();
        }
        RtpReceiveParameters {
            codecs: transceiver.negotiated_codecs.clone(),
            header_extensions: extension_parameters(&transceiver.receive_extensions),
            // The name of whom it comes from is not a parameter of ours (webrtc-pc section 5.3).
            rtcp: RtcpParameters { cname: String::new(), reduced_size: transceiver.reduced_size },
        }
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
