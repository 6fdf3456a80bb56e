//! `RTCPeerConnection` (webrtc-pc section 4.4). Answers to libwebrtc's `pc/peer_connection.cc`.

use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use peerstack_base::EventReceiver;
use peerstack_jsep::{Codec, ContentInfo};
use peerstack_p2p::CandidatePair;
use tokio::sync::{mpsc, oneshot};

use crate::configuration::{self, Configuration, PeerConnectionDependencies};
use crate::data_channel::DataChannel;
use crate::data_channel_init::DataChannelInit;
use crate::media_engine::RtpCapabilities;
use crate::media_stream_track::{MediaStreamTrack, TrackKind};
use crate::network_task::ConnectionCommand;
use crate::peer_connection_factory::PeerConnectionFactory;
use crate::rtp_packet::RtcpPacket;
use crate::rtp_parameters::checked_encodings;
use crate::rtp_transceiver::{RtpReceiver, RtpSender, RtpTransceiver, RtpTransceiverInit, distinct};
use crate::sctp_transport::SctpTransport;
use crate::sdp_offer_answer;
use crate::shared::Shared;
use crate::signaling_task::{Operation, SignalingCommand};
use crate::stats::{Selector, StatsReport, collect};
use crate::{
    IceCandidateInit, IceConnectionState, IceGatheringState, OfferOptions, PeerConnectionEvent,
    PeerConnectionState, RtcError, RtcErrorKind, RtpTransceiverDirection, SessionDescription, SignalingState,
};

/// The events of one connection, from the moment it was asked for, in order. Not W3C's, whose events each
/// have a handler (webrtc-pc section 4.4.2).
///
/// Events wait here until they are read. Candidates whose offer was taken back meanwhile, by a rollback or because one
/// of the peer came first, are left out: a browser's application has seen those before the rollback, and the peer would
/// refuse them (webrtc-pc section 4.4.2).
#[derive(Debug)]
pub struct PeerConnectionEvents {
    receiver: EventReceiver<PeerConnectionEvent>,
    shared: Weak<Shared>,
}

impl PeerConnectionEvents {
    /// The next event, or `None` if there is none now, or none will come any more.
    pub fn try_next(&mut self) -> Option<PeerConnectionEvent> {
        loop {
            let event = self.receiver.try_next()?;
            if self.is_in_force(&event) {
                return Some(event);
            }
        }
    }

    /// Waits for the next event; `None` once [`Closed`](PeerConnectionEvent::Closed) was read. May be dropped at any
    /// time without losing one.
    pub async fn next(&mut self) -> Option<PeerConnectionEvent> {
        loop {
            let event = self.receiver.next().await?;
            if self.is_in_force(&event) {
                return Some(event);
            }
        }
    }

    /// The poll form of [`next`](Self::next).
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<PeerConnectionEvent>> {
        loop {
            match ready!(self.receiver.poll_next(cx)) {
                Some(event) if !self.is_in_force(&event) => {}
                event => return Poll::Ready(event),
            }
        }
    }

    fn is_in_force(&self, event: &PeerConnectionEvent) -> bool {
        let candidates = match event {
            PeerConnectionEvent::IceCandidate(candidate) => std::slice::from_ref(candidate),
            // All are of one generation.
            PeerConnectionEvent::IceCandidatesRemoved(candidates) => candidates.get(..1).unwrap_or_default(),
            _ => return true,
        };
        self.shared.upgrade().is_none_or(|shared| {
            let state = shared.lock();
            candidates.iter().all(|candidate| sdp_offer_answer::is_in_force(&state, candidate))
        })
    }
}

/// A WebRTC connection to one peer (`RTCPeerConnection`, webrtc-pc section 4.4).
///
/// Cheap to clone; clones are the same connection. It is closed by [`close`](Self::close) or when the last
/// clone is dropped: either ends its tasks and frees its sockets and memory.
///
/// Methods that return a promise in the browser are `async` here and run one after another (the operations
/// chain); a future that is dropped does not undo what it asked for.
#[derive(Debug, Clone)]
#[doc(alias = "RTCPeerConnection")]
pub struct PeerConnection {
    inner: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        close(&self.shared);
    }
}

fn close(shared: &Arc<Shared>) {
    let first = sdp_offer_answer::close_state(&mut shared.lock());
    if first {
        let _ = shared.signaling.send(SignalingCommand::Close);
    }
}

impl PeerConnection {
    /// A connection with a network task of its own.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `SyntaxError` for a server URL that does not parse, `InvalidAccessError` for a TURN server without
    /// credentials, `NotSupportedError` for an engine whose feature is not built in, `InvalidStateError`
    /// outside a runtime.
    pub fn new(configuration: Configuration) -> Result<Self, RtcError> {
        Self::with_dependencies(configuration, PeerConnectionDependencies::default())
    }

    /// As [`new`](Self::new), in a world of the caller's: sockets, networks, names, clock, randomness. Not W3C's.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_dependencies(
        configuration: Configuration,
        dependencies: PeerConnectionDependencies,
    ) -> Result<Self, RtcError> {
        let factory = PeerConnectionFactory::with_dependencies(dependencies)?;
        factory.create_peer_connection(configuration)
    }

    pub(crate) fn from_shared(shared: Arc<Shared>) -> Self {
        Self { inner: Arc::new(Handle { shared }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// The events from now on (webrtc-pc section 4.4.2, the handlers). Ask right after making the connection to see
    /// all of them. Several may ask, and each reads what it got, or drops it: what is not read is kept, all but
    /// [`DataChannel`](PeerConnectionEvent::DataChannel) beyond some number.
    pub fn events(&self) -> PeerConnectionEvents {
        let receiver = self.shared().lock().events.subscribe();
        PeerConnectionEvents { receiver, shared: Arc::downgrade(self.shared()) }
    }

    async fn chain<R>(
        &self,
        operation: impl FnOnce(oneshot::Sender<Result<R, RtcError>>) -> Operation,
    ) -> Result<R, RtcError> {
        self.shared().lock().open()?;
        let (reply, answer) = oneshot::channel();
        let command = SignalingCommand::Operation(operation(reply));
        self.shared().signaling.send(command).map_err(|_| RtcError::closed())?;
        answer.await.unwrap_or_else(|_| Err(RtcError::closed()))
    }

    /// Makes an offer of what the connection wants to send and receive.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection or while a remote offer waits for its answer.
    pub async fn create_offer(&self, options: OfferOptions) -> Result<SessionDescription, RtcError> {
        self.chain(|reply| Operation::CreateOffer { options, reply }).await
    }

    /// Makes the answer to the remote offer.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection or without a remote offer.
    pub async fn create_answer(&self) -> Result<SessionDescription, RtcError> {
        self.chain(|reply| Operation::CreateAnswer { reply }).await
    }

    /// Puts a local description in force and starts gathering. Without one, or with an empty text, it is the offer or
    /// answer created last if that is still true, otherwise a new one. A rollback takes a local offer back.
    ///
    /// # Errors
    /// `InvalidStateError` if the signalling state does not allow it, `InvalidModificationError` for an offer or
    /// answer that is not the one this connection made last.
    pub async fn set_local_description(
        &self,
        description: impl Into<Option<SessionDescription>>,
    ) -> Result<(), RtcError> {
        let description = description.into();
        self.chain(|reply| Operation::SetLocalDescription { description, reply }).await
    }

    /// Puts the peer's description in force. An offer that meets a pending one of ours takes that back first, also where
    /// it is then refused; a rollback takes the peer's offer back.
    ///
    /// # Errors
    /// `InvalidStateError` if the signalling state does not allow it, `OperationError` with
    /// [`SdpSyntaxError`](crate::RtcErrorDetail::SdpSyntaxError) and the line for SDP that does not parse,
    /// `InvalidAccessError` for SDP that does not fit this connection.
    pub async fn set_remote_description(&self, description: SessionDescription) -> Result<(), RtcError> {
        self.chain(|reply| Operation::SetRemoteDescription { description, reply }).await
    }

    /// Adds a candidate of the peer. An empty candidate tells the end of candidates.
    ///
    /// # Errors
    /// `InvalidStateError` without a remote description, `TypeError` with neither mid nor line index,
    /// `OperationError` for a candidate that does not parse, a section that is not there or a user fragment that no
    /// remote description has. What is for a rejected section is taken and has no effect.
    pub async fn add_ice_candidate(&self, candidate: IceCandidateInit) -> Result<(), RtcError> {
        self.chain(|reply| Operation::AddIceCandidate { candidate, reply }).await
    }

    /// Takes candidates of the peer back, as its
    /// [`IceCandidatesRemoved`](crate::PeerConnectionEvent::IceCandidatesRemoved) told them: the remote descriptions have
    /// them no more, and no pairs are made of them. Pairs that are there live until they fail, since the peer may still
    /// answer; what is not known has no effect. W3C has no such method; libwebrtc's native API does
    /// (`PeerConnectionInterface::RemoveIceCandidates`).
    ///
    /// # Errors
    /// Those of [`add_ice_candidate`](Self::add_ice_candidate), and `TypeError` for an empty candidate; then none is
    /// taken back.
    pub async fn remove_ice_candidates(&self, candidates: Vec<IceCandidateInit>) -> Result<(), RtcError> {
        self.chain(|reply| Operation::RemoveIceCandidates { candidates, reply }).await
    }

    /// Makes the next offer carry new ICE credentials, unless the peer's is first to restart ICE. Before the first
    /// description there is nothing to restart.
    pub fn restart_ice(&self) {
        let mut state = self.shared().lock();
        if !state.closed && state.replace_ice_credentials() {
            self.shared().negotiation_needed(&mut state);
        }
    }

    /// Adds a track to send, with the ids of the streams it belongs to.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection, `InvalidAccessError` if the track is sent already.
    pub fn add_track(&self, track: MediaStreamTrack, streams: &[String]) -> Result<RtpSender, RtcError> {
        let shared = self.shared();
        let mut state = shared.lock();
        state.open()?;
        let mut alive = state.transceivers.iter().filter(|transceiver| !transceiver.stopped);
        if alive.any(|transceiver| transceiver.sender_track.as_ref() == Some(&track)) {
            let text = format!("the track {:?} is sent already by a sender of this connection", track.id());
            return Err(RtcError::invalid_access(text));
        }
        // webrtc-pc section 5.1: a sender of the kind that never sent and has no track is taken.
        let reusable = state.transceivers.iter().find(|transceiver| {
            transceiver.kind == track.kind()
                && transceiver.sender_track.is_none()
                && !transceiver.has_sent
                && !transceiver.stopped
                && !transceiver.stopping
        });
        let id = match reusable {
            Some(transceiver) => transceiver.id,
            None => {
                let settings = &shared.configuration.settings;
                let id = state.create_transceiver(track.kind(), RtpTransceiverDirection::Inactive, settings);
                if let Some(transceiver) = state.transceiver_mut(id) {
                    transceiver.from_add_track = true;
                    transceiver.direction = RtpTransceiverDirection::Sendrecv;
                }
                id
            }
        };
        let sender_id = state.sender_id_for(id, &track);
        if let Some(transceiver) = state.transceiver_mut(id) {
            transceiver.direction = RtpTransceiverDirection::new(true, transceiver.direction.receives());
            transceiver.sender_id = sender_id;
            transceiver.sender_track = Some(track);
            transceiver.sender_streams = distinct(streams);
            transceiver.used_by_add_track = true;
        }
        shared.negotiation_needed(&mut state);
        Ok(RtpSender { shared: Arc::clone(shared), id })
    }

    /// Stops sending a sender's track.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection, `InvalidAccessError` for a sender of another connection.
    pub fn remove_track(&self, sender: &RtpSender) -> Result<(), RtcError> {
        let shared = self.shared();
        let mut state = shared.lock();
        state.open()?;
        if !Arc::ptr_eq(&sender.shared, shared) {
            return Err(RtcError::invalid_access("the sender belongs to another connection"));
        }
        let Some(transceiver) = state.transceiver_mut(sender.id) else { return Ok(()) };
        if transceiver.stopped || transceiver.stopping || transceiver.sender_track.take().is_none() {
            return Ok(());
        }
        transceiver.direction = RtpTransceiverDirection::new(false, transceiver.direction.receives());
        shared.negotiation_needed(&mut state);
        Ok(())
    }

    /// Adds a transceiver for a kind of media, without a track to send yet.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection, `TypeError` for the direction `Stopped`; for encodings `TypeError`
    /// where a RID is malformed, said twice or missing, `RangeError` for a number that cannot be, `OperationError` for a codec that is not known.
    pub fn add_transceiver(
        &self,
        kind: TrackKind,
        init: RtpTransceiverInit,
    ) -> Result<RtpTransceiver, RtcError> {
        self.new_transceiver(kind, None, init)
    }

    /// Adds a transceiver that sends a track (webrtc-pc section 5.1, `addTransceiver`).
    ///
    /// # Errors
    /// As [`add_transceiver`](Self::add_transceiver).
    pub fn add_transceiver_with_track(
        &self,
        track: MediaStreamTrack,
        init: RtpTransceiverInit,
    ) -> Result<RtpTransceiver, RtcError> {
        self.new_transceiver(track.kind(), Some(track), init)
    }

    fn new_transceiver(
        &self,
        kind: TrackKind,
        track: Option<MediaStreamTrack>,
        init: RtpTransceiverInit,
    ) -> Result<RtpTransceiver, RtcError> {
        let shared = self.shared();
        let mut state = shared.lock();
        state.open()?;
        if init.direction == RtpTransceiverDirection::Stopped {
            return Err(RtcError::type_error("a transceiver is stopped by stop(), not made so"));
        }
        let settings = &shared.configuration.settings;
        let known = |codec: &Codec| settings.media.knows(kind, codec);
        let encodings = checked_encodings(kind, init.send_encodings, known)?;
        let id = state.create_transceiver(kind, init.direction, settings);
        let encodings = state.new_encodings(encodings);
        let sender_id = track.as_ref().map(|track| state.sender_id_for(id, track));
        if let Some(transceiver) = state.transceiver_mut(id) {
            transceiver.encodings = encodings;
            if let Some(sender_id) = sender_id {
                transceiver.sender_id = sender_id;
            }
            transceiver.sender_track = track;
            transceiver.sender_streams = distinct(&init.streams);
        }
        shared.negotiation_needed(&mut state);
        let made = state.transceiver(id).map(|transceiver| RtpTransceiver::new(shared, transceiver));
        made.ok_or_else(|| RtcError::operation("the transceiver is gone"))
    }

    /// Opens a data channel; messages pass once it tells `Open`.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection, `TypeError` for a label or protocol of more than 65,535 bytes,
    /// for two kinds of limited reliability at once, for a negotiated channel without id or with id 65,535,
    /// `OperationError` if the id is in use, is beyond the streams agreed on, or none is left.
    pub fn create_data_channel(&self, label: &str, init: DataChannelInit) -> Result<DataChannel, RtcError> {
        let shared = self.shared();
        let mut state = shared.lock();
        state.open()?;
        if !shared.configuration.settings.rtp_protection.has_dtls() {
            let text = "data channels need DTLS, which the setting rtp_protection takes away";
            return Err(RtcError::new(RtcErrorKind::NotSupportedError, text));
        }
        init.validate(label)?;
        let channel = shared.network.shared().register(label.to_owned(), init)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        shared
            .network
            .send(ConnectionCommand::OpenDataChannel { channel: Arc::clone(&channel), events: sender });
        if !state.wants_data {
            state.wants_data = true;
            shared.negotiation_needed(&mut state);
        }
        Ok(DataChannel::new(channel, shared.network.clone(), receiver))
    }

    /// The configuration in force (`getConfiguration`).
    pub fn configuration(&self) -> Configuration {
        self.shared().lock().configuration.clone()
    }

    /// Changes the ICE servers, the transport policy and, before there is a local description, how many transports
    /// gather ahead; those that did so by other servers are thrown away. They take effect with the next gathering,
    /// which the next offer brings about by restarting ICE if they are others than before (libwebrtc;
    /// [`restart_ice`](Self::restart_ice) asks for that offer).
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection, `InvalidModificationError` for a bundle policy, rtcp-mux policy,
    /// certificate or settings other than those the connection was made with, and what [`new`](Self::new) says of
    /// servers; nothing changed then.
    #[doc(alias = "setConfiguration")]
    pub fn set_configuration(&self, mut configuration: Configuration) -> Result<(), RtcError> {
        let shared = self.shared();
        let mut state = shared.lock();
        state.open()?;
        let before = &state.configuration;
        configuration::check_change(before, &configuration)?;
        if state.local_description_set
            && before.ice_candidate_pool_size != configuration.ice_candidate_pool_size
        {
            let text = "ice_candidate_pool_size cannot be changed once there is a local description";
            return Err(RtcError::new(RtcErrorKind::InvalidModificationError, text));
        }
        let ice_servers = configuration::parse_ice_servers(&configuration.ice_servers)?;
        let ice_transport_policy = configuration.ice_transport_policy;
        let changed = before.ice_servers != configuration.ice_servers
            || before.ice_transport_policy != ice_transport_policy;
        configuration.certificate = before.certificate.clone();
        let restart_ice = changed && state.local_description_set;
        let pool_size = (!state.local_description_set).then_some(configuration.ice_candidate_pool_size);
        state.configuration = configuration;
        shared.network.send(ConnectionCommand::SetConfiguration {
            ice_servers,
            ice_transport_policy,
            restart_ice,
            pool_size,
        });
        Ok(())
    }

    /// Whether the peer takes candidates behind its description (RFC 8838 section 4.1); `None` before there is one
    /// (`canTrickleIceCandidates`).
    pub fn can_trickle_ice_candidates(&self) -> Option<bool> {
        let state = self.shared().lock();
        let remote = &state.remote()?.parsed;
        let trickles = |content: &ContentInfo| content.transport.has_option("trickle");
        Some(remote.contents.iter().filter(|content| !content.rejected).any(trickles))
    }

    /// The SCTP transport of the data channels, once offer and answer agreed on one.
    pub fn sctp(&self) -> Option<SctpTransport> {
        self.shared().lock().views.sctp()
    }

    /// The senders of transceivers that are not stopped.
    pub fn senders(&self) -> Vec<RtpSender> {
        self.transceivers().iter().map(RtpTransceiver::sender).collect()
    }

    /// The receivers of transceivers that are not stopped.
    pub fn receivers(&self) -> Vec<RtpReceiver> {
        self.transceivers().iter().map(RtpTransceiver::receiver).collect()
    }

    /// The transceivers that are not stopped, in order of creation.
    pub fn transceivers(&self) -> Vec<RtpTransceiver> {
        let state = self.shared().lock();
        let alive = state.transceivers.iter().filter(|transceiver| !transceiver.stopped);
        alive.map(|transceiver| RtpTransceiver::new(self.shared(), transceiver)).collect()
    }

    /// The local description in force, pending before current, with the candidates gathered so far.
    pub fn local_description(&self) -> Option<SessionDescription> {
        self.shared().lock().local().map(sdp_offer_answer::to_text)
    }

    /// The local description of the last completed exchange.
    pub fn current_local_description(&self) -> Option<SessionDescription> {
        self.shared().lock().current_local.as_ref().map(sdp_offer_answer::to_text)
    }

    /// The local description of the exchange under way.
    pub fn pending_local_description(&self) -> Option<SessionDescription> {
        self.shared().lock().pending_local.as_ref().map(sdp_offer_answer::to_text)
    }

    /// The remote description in force, pending before current, with the candidates added so far.
    pub fn remote_description(&self) -> Option<SessionDescription> {
        self.shared().lock().remote().map(sdp_offer_answer::to_text)
    }

    /// The remote description of the last completed exchange.
    pub fn current_remote_description(&self) -> Option<SessionDescription> {
        self.shared().lock().current_remote.as_ref().map(sdp_offer_answer::to_text)
    }

    /// The remote description of the exchange under way.
    pub fn pending_remote_description(&self) -> Option<SessionDescription> {
        self.shared().lock().pending_remote.as_ref().map(sdp_offer_answer::to_text)
    }

    /// The signalling state.
    pub fn signaling_state(&self) -> SignalingState {
        self.shared().lock().signaling_state
    }

    /// The ICE connection state.
    pub fn ice_connection_state(&self) -> IceConnectionState {
        self.shared().lock().ice_connection_state
    }

    /// The gathering state.
    pub fn ice_gathering_state(&self) -> IceGatheringState {
        self.shared().lock().ice_gathering_state
    }

    /// The connection state: ICE and DTLS together.
    pub fn connection_state(&self) -> PeerConnectionState {
        self.shared().lock().connection_state
    }

    /// Whether [`close`](Self::close) was called (webrtc-pc section 4.4.1.1, `[[IsClosed]]`).
    pub fn is_closed(&self) -> bool {
        self.shared().lock().closed
    }

    /// What can be sent of a kind with this connection's settings (`RTCRtpSender.getCapabilities`, webrtc-pc section
    /// 5.2).
    pub fn sender_capabilities(&self, kind: TrackKind) -> RtpCapabilities {
        self.shared().configuration.settings.media.capabilities(kind)
    }

    /// What can be received of a kind with this connection's settings (`RTCRtpReceiver.getCapabilities`, webrtc-pc
    /// section 5.3).
    pub fn receiver_capabilities(&self, kind: TrackKind) -> RtpCapabilities {
        self.shared().configuration.settings.media.capabilities(kind)
    }

    /// What is measured: one typed report. Of a closed connection, what was measured last.
    ///
    /// # Errors
    /// None so far.
    pub async fn stats(&self) -> Result<StatsReport, RtcError> {
        Ok(collect(self.shared(), Selector::Connection).await)
    }

    /// What is measured of one track: of the sender or the receiver that has it (`getStats` with a selector,
    /// webrtc-pc section 8.2).
    ///
    /// # Errors
    /// `InvalidAccessError` unless exactly one sender or receiver of this connection has the track.
    pub async fn stats_of_track(&self, track: &MediaStreamTrack) -> Result<StatsReport, RtcError> {
        let selector = Selector::of_track(&self.shared().lock(), track)?;
        Ok(collect(self.shared(), selector).await)
    }

    /// The pair of candidates that carries packets.
    ///
    /// # Errors
    /// `InvalidStateError` on a closed connection.
    pub async fn selected_candidate_pair(&self) -> Result<Option<CandidatePair>, RtcError> {
        let (reply, answer) = oneshot::channel();
        self.shared().network.send(ConnectionCommand::SelectedPair { reply });
        answer.await.map_err(|_| RtcError::closed())
    }

    /// Sends raw bytes of RTCP (a compound packet, RFC 3550 section 6.1) on the transport of a section.
    ///
    /// # Errors
    /// `InvalidAccessError` unless the bytes are RTCP.
    pub fn send_rtcp(&self, mid: &str, packet: Bytes) -> Result<(), RtcError> {
        if peerstack_base::PacketClass::of(&packet) != peerstack_base::PacketClass::Rtcp {
            return Err(RtcError::invalid_access("the bytes are no RTCP packet"));
        }
        self.shared().network.send(ConnectionCommand::SendRtcp { mid: mid.to_owned(), packet });
        Ok(())
    }

    /// The next packet of RTCP (RFC 3550 section 6) that the engine does not read itself; `None` once the connection
    /// is closed.
    ///
    /// At most 256 wait; the oldest go first. Reports are in [`stats`](Self::stats), feedback on what is sent comes
    /// from [`RtpSender::next_feedback`].
    pub async fn next_rtcp(&self) -> Option<RtcpPacket> {
        self.shared().network.shared().rtcp.recv().await
    }

    /// Closes the connection: states change at once, the peer is told, then everything is freed
    /// ([`PeerConnectionEvent::Closed`], [`closed`](Self::closed)). Does nothing the second time.
    pub fn close(&self) {
        close(self.shared());
    }

    /// Waits until a closed connection has freed its tasks, sockets and memory.
    pub async fn closed(&self) {
        self.shared().signaling.closed().await;
    }
}
