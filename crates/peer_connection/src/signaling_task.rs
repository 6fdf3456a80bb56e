//! The signaling task, one for each PeerConnection: runs the operations chain (webrtc-pc section 4.4.1.2) and
//! turns what the network task tells into the connection's state and events. Answers to libwebrtc's signaling
//! thread.

use std::sync::Arc;

use peerstack_base::Random;
use tokio::sync::{mpsc, oneshot};

use crate::data_channel::DataChannel;
use crate::network_task::{ConnectionCommand, NetworkEvent};
use crate::peer_connection_event::{IceCandidateErrorEvent, UnsignaledTrackEvent};
use crate::sdp_offer_answer::{self, SdpOfferAnswerHandler};
use crate::shared::Shared;
use crate::transport_views;
use crate::{IceCandidateInit, OfferOptions, PeerConnectionEvent, RtcError, SessionDescription};

/// Events that may wait for the application before it is told of no more data channels: twice as many as there can be
/// at a time, as those that a peer closes again wait too.
const MAX_UNREAD_EVENTS: usize = 2_048;

type Reply<R> = oneshot::Sender<Result<R, RtcError>>;

/// What the operations chain runs, one after another.
#[derive(Debug)]
pub(crate) enum Operation {
    CreateOffer { options: OfferOptions, reply: Reply<SessionDescription> },
    CreateAnswer { reply: Reply<SessionDescription> },
    SetLocalDescription { description: Option<SessionDescription>, reply: Reply<()> },
    SetRemoteDescription { description: SessionDescription, reply: Reply<()> },
    AddIceCandidate { candidate: IceCandidateInit, reply: Reply<()> },
    RemoveIceCandidates { candidates: Vec<IceCandidateInit>, reply: Reply<()> },
}

/// What handles ask of the task.
#[derive(Debug)]
pub(crate) enum SignalingCommand {
    /// Run this when all before it are done.
    Operation(Operation),
    /// Look at the state again.
    Wake,
    /// The state is closed already: free everything and end.
    Close,
}

/// The task's own.
pub(crate) struct SignalingTask {
    shared: Arc<Shared>,
    handler: SdpOfferAnswerHandler,
    commands: mpsc::UnboundedReceiver<SignalingCommand>,
    network: mpsc::UnboundedReceiver<NetworkEvent>,
}

impl SignalingTask {
    pub(crate) fn new(
        shared: Arc<Shared>,
        random: &mut Random,
        commands: mpsc::UnboundedReceiver<SignalingCommand>,
        network: mpsc::UnboundedReceiver<NetworkEvent>,
    ) -> Self {
        let handler = SdpOfferAnswerHandler::new(Arc::clone(&shared), random);
        Self { shared, handler, commands, network }
    }

    /// Runs until the connection is closed and freed.
    pub(crate) async fn run(mut self) {
        let mut network_alive = true;
        loop {
            tokio::select! {
                biased;
                event = self.network.recv(), if network_alive => match event {
                    Some(event) => self.handle_event(event),
                    None => network_alive = false,
                },
                command = self.commands.recv() => match command {
                    Some(SignalingCommand::Operation(operation)) => self.run_operation(operation).await,
                    Some(SignalingCommand::Wake) => {}
                    Some(SignalingCommand::Close) | None => break,
                },
            }
            self.update_negotiation_needed().await;
        }
        self.close().await;
    }

    /// webrtc-pc section 4.7.3: once the operations chain is empty. Who was waiting for the last operation has its turn
    /// first, as the specification queues a task: it may ask for the next one.
    async fn update_negotiation_needed(&mut self) {
        if self.commands.is_empty() && self.shared.lock().check_negotiation_needed {
            tokio::task::yield_now().await;
        }
        if self.commands.is_empty() {
            sdp_offer_answer::update_negotiation_needed(&mut self.shared.lock());
        }
    }

    async fn close(mut self) {
        let (reply, closed) = oneshot::channel();
        self.shared.network.send(ConnectionCommand::Close { reply });
        // An error means that the network task is gone, which is as closed as can be.
        let _ = closed.await;
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            if let SignalingCommand::Operation(operation) = command {
                refuse(operation);
            }
        }
        self.shared.lock().events.emit(PeerConnectionEvent::Closed);
    }

    async fn run_operation(&mut self, operation: Operation) {
        if self.shared.lock().closed {
            return refuse(operation);
        }
        // A caller that no longer waits for the answer does not matter to what was asked for.
        match operation {
            Operation::CreateOffer { options, reply } => {
                let _ = reply.send(self.handler.create_offer(options).await);
            }
            Operation::CreateAnswer { reply } => {
                let _ = reply.send(self.handler.create_answer().await);
            }
            Operation::SetLocalDescription { description, reply } => {
                let _ = reply.send(self.handler.set_local_description(description).await);
            }
            Operation::SetRemoteDescription { description, reply } => {
                let _ = reply.send(self.handler.set_remote_description(description).await);
            }
            Operation::AddIceCandidate { candidate, reply } => {
                let _ = reply.send(self.handler.add_ice_candidate(&candidate));
            }
            Operation::RemoveIceCandidates { candidates, reply } => {
                let _ = reply.send(self.handler.remove_ice_candidates(&candidates));
            }
        }
    }

    fn handle_event(&mut self, event: NetworkEvent) {
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        if state.closed {
            return;
        }
        match event {
            NetworkEvent::IceConnectionState(ice) => {
                state.ice_connection_state = ice;
                state.events.emit(PeerConnectionEvent::IceConnectionStateChange(ice));
            }
            NetworkEvent::ConnectionState(connection) => {
                state.connection_state = connection;
                state.events.emit(PeerConnectionEvent::ConnectionStateChange(connection));
            }
            NetworkEvent::GatheringState(gathering) => {
                state.ice_gathering_state = gathering;
                sdp_offer_answer::note_gathering_state(state, gathering);
                state.events.emit(PeerConnectionEvent::IceGatheringStateChange(gathering));
            }
            NetworkEvent::Candidates { transport, mid, candidates } => {
                for candidate in candidates {
                    let init = sdp_offer_answer::add_local_candidate(state, &mid, candidate.clone());
                    if let Some(init) = init {
                        state.views.add_local_candidate(transport, &candidate);
                        state.events.emit(PeerConnectionEvent::IceCandidate(init));
                    }
                }
            }
            NetworkEvent::CandidateError(error) => {
                state.events.emit(PeerConnectionEvent::IceCandidateError(IceCandidateErrorEvent {
                    address: error.address,
                    port: error.port,
                    url: error.url,
                    error_code: error.error_code,
                    error_text: error.error_text,
                }));
            }
            NetworkEvent::CandidatesRemoved { mid, candidates } => {
                let told = sdp_offer_answer::remove_local_candidates(state, &mid, &candidates);
                state.views.remove_local_candidates(&candidates);
                if !told.is_empty() {
                    state.events.emit(PeerConnectionEvent::IceCandidatesRemoved(told));
                }
            }
            // webrtc-pc section 5.6: the end of candidates is told before the state.
            NetworkEvent::EndOfCandidates(mid) => {
                if let Some(end) = sdp_offer_answer::end_of_candidates(state, &mid) {
                    state.events.emit(PeerConnectionEvent::IceCandidate(end));
                }
            }
            NetworkEvent::IceTransport { transport, component, role, change } => {
                transport_views::ice_changed(state, (transport, component), role, change);
            }
            NetworkEvent::DtlsTransport { transport, component, state: now, certificate } => {
                transport_views::dtls_changed(state, (transport, component), now, certificate);
            }
            NetworkEvent::SctpTransport(view) => transport_views::sctp_changed(state, view),
            NetworkEvent::DtlsTransportError { transport, component, error } => {
                transport_views::dtls_failed(state, (transport, component), error);
            }
            NetworkEvent::DataChannel { channel, events } => {
                let channel = DataChannel::new(channel, self.shared.network.clone(), events);
                let id = channel.id();
                // Told to nobody the channel is dropped, and with that closed: its stream is reset.
                if !state.events.emit_within(MAX_UNREAD_EVENTS, PeerConnectionEvent::DataChannel(channel)) {
                    tracing::debug!(target: "peerstack::peer_connection", id, "nobody takes the peer's data channel");
                }
            }
            NetworkEvent::UnsignaledTrack { ssrc, payload_type, track } => {
                let event = UnsignaledTrackEvent { ssrc, payload_type, track };
                state.events.emit(PeerConnectionEvent::UnsignaledTrack(event));
            }
        }
    }
}

fn refuse(operation: Operation) {
    match operation {
        Operation::CreateOffer { reply, .. } | Operation::CreateAnswer { reply } => {
            let _ = reply.send(Err(RtcError::closed()));
        }
        Operation::SetLocalDescription { reply, .. }
        | Operation::SetRemoteDescription { reply, .. }
        | Operation::AddIceCandidate { reply, .. }
        | Operation::RemoveIceCandidates { reply, .. } => {
            let _ = reply.send(Err(RtcError::closed()));
        }
    }
}
