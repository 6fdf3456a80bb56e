//! One publisher, many players: RTP goes from the one to the others as it is, requests for key frames the other way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use peerstack::base::Random;
use peerstack::{
    Configuration, MediaStreamTrack, PeerConnection, PeerConnectionEvent, PeerConnectionFactory,
    PeerConnectionState, RtcError, RtpPacket, RtpReceiver, RtpSender, RtpTransceiver,
    RtpTransceiverDirection, SessionDescription, TrackKind,
};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::common::signaling;

/// Packets a player may be behind before it misses some: more than a second of video.
const BEHIND: usize = 1_024;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Player,
}

/// One PeerConnection, with what WHIP needs to know of it.
pub(crate) struct Session {
    pub(crate) id: String,
    /// The local ICE user fragment: the session's ETag, as it changes with each restart.
    pub(crate) ice: String,
    pub(crate) answer: String,
}

/// A packet on its way: where it came from, and the codec of its payload type there.
#[derive(Debug, Clone)]
struct Forwarded {
    kind: TrackKind,
    codec: Arc<str>,
    packet: RtpPacket,
}

/// See the module.
pub(crate) struct Stage {
    factory: PeerConnectionFactory,
    configuration: Configuration,
    packets: broadcast::Sender<Forwarded>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: BTreeMap<String, (PeerConnection, String)>,
    publisher: Option<String>,
    /// The publisher's video, whom players ask for key frames.
    video: Option<(RtpReceiver, u32)>,
}

impl Stage {
    pub(crate) fn new(configuration: Configuration) -> Result<Self, RtcError> {
        let (packets, _) = broadcast::channel(BEHIND);
        Ok(Self { factory: PeerConnectionFactory::new()?, configuration, packets, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers an offer.
    pub(crate) async fn start(
        self: &Arc<Self>,
        role: Role,
        offer: String,
    ) -> Result<Session, (StatusCode, String)> {
        let id = Random::from_system().ice_string(24).replace(['+', '/'], "-");
        if role == Role::Publisher {
            let mut state = self.lock();
            if state.publisher.is_some() {
                return Err((StatusCode::CONFLICT, "Somebody publishes already.".to_owned()));
            }
            state.publisher = Some(id.clone());
        }
        let answered = self.answer(role, &id, offer).await;
        if answered.is_err() {
            self.forget(&id);
        }
        answered.map_err(|error| (StatusCode::BAD_REQUEST, format!("The offer cannot be answered: {error}.")))
    }

    async fn answer(self: &Arc<Self>, role: Role, id: &str, offer: String) -> Result<Session, RtcError> {
        let pc = self.factory.create_peer_connection(self.configuration.clone())?;
        // Before anything can happen, so that nothing is missed.
        let events = pc.events();
        pc.set_remote_description(SessionDescription::offer(offer)).await?;
        for transceiver in pc.transceivers() {
            if role == Role::Publisher {
                transceiver.set_direction(RtpTransceiverDirection::Recvonly)?;
            } else {
                transceiver.sender().replace_track(Some(MediaStreamTrack::new(transceiver.kind())))?;
                transceiver.sender().set_streams(&["stage".to_owned()])?;
                transceiver.set_direction(RtpTransceiverDirection::Sendonly)?;
            }
        }
        let answer = signaling::answer(&pc).await?.sdp;
        let ice =
            answer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap_or_default().to_owned();
        self.lock().sessions.insert(id.to_owned(), (pc.clone(), ice.clone()));
        for transceiver in pc.transceivers() {
            match role {
                Role::Publisher => tokio::spawn(Arc::clone(self).publish(transceiver)),
                Role::Player => tokio::spawn(Arc::clone(self).play(transceiver.sender(), transceiver.kind())),
            };
        }
        tokio::spawn(Arc::clone(self).watch(id.to_owned(), pc, events));
        Ok(Session { id: id.to_owned(), ice, answer })
    }

    /// Gives all that one section of the publisher brings to whoever listens.
    async fn publish(self: Arc<Self>, transceiver: RtpTransceiver) {
        let (track, receiver) = (transceiver.receiver().track(), transceiver.receiver());
        while let Some(packet) = track.recv().await {
            let codecs = transceiver.sender().codecs();
            let codec = codecs.iter().find(|codec| codec.payload_type == packet.payload_type);
            // Retransmissions and error correction are made for one way only.
            let Some(codec) = codec.filter(|codec| codec.is_media()) else { continue };
            if track.kind() == TrackKind::Video
                && self.lock().video.as_ref().is_none_or(|(_, ssrc)| *ssrc != packet.ssrc)
            {
                self.lock().video = Some((receiver.clone(), packet.ssrc));
                self.ask_key_frame();
            }
            let codec = codec.name.to_ascii_lowercase().into();
            // Fails while nobody plays.
            let _ = self.packets.send(Forwarded { kind: track.kind(), codec, packet });
        }
    }

    /// Sends one kind of what is published to a player, in its payload type for the codec.
    async fn play(self: Arc<Self>, sender: RtpSender, kind: TrackKind) {
        let mut packets = self.packets.subscribe();
        loop {
            tokio::select! {
                forwarded = packets.recv() => match forwarded {
                    Ok(Forwarded { kind: of, codec, mut packet }) if of == kind => {
                        let codecs = sender.codecs();
                        let Some(codec) = codecs.iter().find(|known| known.name.eq_ignore_ascii_case(&codec)) else { continue };
                        packet.payload_type = codec.payload_type;
                        // Not before the connection is there.
                        let _ = sender.send_rtp(packet);
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => self.ask_key_frame(),
                    Err(RecvError::Closed) => return,
                },
                feedback = sender.next_feedback() => match feedback {
                    Some(_) if kind == TrackKind::Video => self.ask_key_frame(),
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    fn ask_key_frame(&self) {
        if let Some((receiver, ssrc)) = &self.lock().video {
            receiver.send_pli(*ssrc);
        }
    }

    /// Runs until the connection is of no use any more.
    async fn watch(
        self: Arc<Self>,
        id: String,
        pc: PeerConnection,
        mut events: peerstack::PeerConnectionEvents,
    ) {
        while let Some(event) = events.next().await {
            match event {
                PeerConnectionEvent::ConnectionStateChange(PeerConnectionState::Connected) => {
                    self.ask_key_frame()
                }
                event if signaling::is_over(&pc, &event) => break,
                _ => {}
            }
        }
        pc.close();
        self.forget(&id);
    }

    fn forget(&self, id: &str) {
        let mut state = self.lock();
        state.sessions.remove(id);
        if state.publisher.as_deref() == Some(id) {
            state.publisher = None;
            state.video = None;
        }
    }

    /// A session that is there, and its ETag.
    pub(crate) fn session(&self, id: &str) -> Result<(PeerConnection, String), String> {
        self.lock().sessions.get(id).cloned().ok_or_else(|| "There is no such session.".to_owned())
    }

    /// Ends a session.
    pub(crate) fn end(&self, id: &str) -> Result<(), String> {
        let (pc, _) = self.session(id)?;
        pc.close();
        self.forget(id);
        Ok(())
    }
}
