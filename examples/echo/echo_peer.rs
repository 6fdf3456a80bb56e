//! One peer: a PeerConnection whose channels and tracks come back, watched until it is of no use any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use peerstack::{
    DataChannelInit, IceGatheringState, MediaStreamTrack, PeerConnection, PeerConnectionEvent,
    PeerConnectionEvents, PeerConnectionState, RtcError, RtpTransceiverDirection, RtpTransceiverInit,
    SessionDescription, TrackKind,
};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use crate::counters::Counters;
use crate::echo_channel::echo_channel;
use crate::echo_track::echo_track;
use crate::stats;

/// An answer that carries its candidates waits for them no longer.
const GATHERING: Duration = Duration::from_secs(3);
/// How often the watchdog looks.
const WATCH: Duration = Duration::from_secs(1);
/// Channels and tracks of one peer that are echoed at once.
const MAX_TASKS: usize = 1_100;

/// See the module.
#[derive(Debug)]
pub(crate) struct EchoPeer {
    pub(crate) id: String,
    pub(crate) pc: PeerConnection,
    pub(crate) counters: Arc<Counters>,
    pub(crate) started: Instant,
    /// With nothing but consent checks for so long it is closed.
    idle: Duration,
    /// Why the handshake failed, if it did.
    dtls_error: Mutex<Option<String>>,
}

impl EchoPeer {
    pub(crate) fn new(id: String, pc: PeerConnection, idle: Duration) -> Self {
        let started = Instant::now();
        let counters = Arc::new(Counters::new(started));
        Self { id, pc, counters, started, idle, dtls_error: Mutex::new(None) }
    }

    /// Answers an offer; the answer holds the candidates.
    pub(crate) async fn answer(&self, offer: SessionDescription) -> Result<SessionDescription, AnswerError> {
        self.pc.set_remote_description(offer).await.map_err(AnswerError::Theirs)?;
        self.send_what_is_received().map_err(AnswerError::Ours)?;
        let answer = self.pc.create_answer().await.map_err(AnswerError::Ours)?;
        self.pc.set_local_description(answer).await.map_err(AnswerError::Ours)?;
        self.local_description().await.map_err(AnswerError::Ours)
    }

    /// Makes an offer of audio, video and a data channel.
    pub(crate) async fn offer(&self) -> Result<SessionDescription, RtcError> {
        for kind in [TrackKind::Audio, TrackKind::Video] {
            let init =
                RtpTransceiverInit::new(RtpTransceiverDirection::Sendrecv).with_streams(["echo".to_owned()]);
            self.pc.add_transceiver_with_track(MediaStreamTrack::new(kind), init)?;
        }
        // Keeps the section for data open, so that the peer may open channels; what it sends here comes back
        // as on any other.
        let channel = self.pc.create_data_channel("echo", DataChannelInit::default())?;
        let counters = Arc::clone(&self.counters);
        tokio::spawn(echo_channel(channel, counters));
        let offer = self.pc.create_offer(Default::default()).await?;
        self.pc.set_local_description(offer).await?;
        self.local_description().await
    }

    /// Every section that the peer sends on gets a track to send back, before the answer is made.
    fn send_what_is_received(&self) -> Result<(), RtcError> {
        for transceiver in self.pc.transceivers() {
            if transceiver.stopped() || !transceiver.direction().receives() {
                continue;
            }
            if transceiver.sender().track().is_none() {
                transceiver.sender().replace_track(Some(MediaStreamTrack::new(transceiver.kind())))?;
            }
            transceiver.set_direction(RtpTransceiverDirection::Sendrecv)?;
        }
        Ok(())
    }

    /// The local description once it holds all candidates, or those found so far after three seconds.
    async fn local_description(&self) -> Result<SessionDescription, RtcError> {
        gathered(&self.pc, GATHERING).await;
        let description = self.pc.local_description();
        description.ok_or_else(|| {
            RtcError::new(peerstack::RtcErrorKind::InvalidStateError, "the connection was closed meanwhile")
        })
    }

    /// Why the DTLS handshake failed, if it did.
    pub(crate) fn dtls_error(&self) -> Option<String> {
        self.dtls_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Echoes until the connection is of no use any more, then frees it. Returns why.
    pub(crate) async fn run(&self, mut events: PeerConnectionEvents) -> String {
        let mut tasks = JoinSet::new();
        let mut watch = interval(WATCH);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reason = loop {
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else { break "closed".to_owned() };
                    if let Some(reason) = self.on_event(event, &mut tasks) {
                        break reason;
                    }
                }
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                _ = watch.tick() => {
                    if self.counters.idle(Instant::now()) >= self.idle {
                        break format!("nothing but consent checks for {} s", self.idle.as_secs());
                    }
                    if stats::closed_by_peer(&self.pc).await {
                        break "closed by the peer".to_owned();
                    }
                }
            }
        };
        self.pc.close();
        self.pc.closed().await;
        tasks.shutdown().await;
        info!(peer = self.id, reason, "peer ended");
        reason
    }

    fn on_event(&self, event: PeerConnectionEvent, tasks: &mut JoinSet<()>) -> Option<String> {
        match event {
            PeerConnectionEvent::Track(event) if tasks.len() < MAX_TASKS => {
                tasks.spawn(echo_track(event.transceiver, Arc::clone(&self.counters)));
            }
            PeerConnectionEvent::DataChannel(channel) if tasks.len() < MAX_TASKS => {
                tasks.spawn(echo_channel(channel, Arc::clone(&self.counters)));
            }
            PeerConnectionEvent::Track(_) | PeerConnectionEvent::DataChannel(_) => {
                return Some(format!("more than {MAX_TASKS} channels and tracks"));
            }
            PeerConnectionEvent::ConnectionStateChange(state) => {
                info!(peer = self.id, ?state, "connection");
                return self.ended(state);
            }
            PeerConnectionEvent::DtlsTransportError(event) => {
                let error = event.error.message;
                warn!(peer = self.id, error, "DTLS handshake failed");
                *self.dtls_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
            PeerConnectionEvent::UnsignaledTrack(event) => {
                warn!(peer = self.id, ssrc = event.ssrc, "RTP that no section claims is not echoed");
            }
            PeerConnectionEvent::IceCandidateError(error) => {
                warn!(
                    peer = self.id,
                    url = error.url,
                    code = error.error_code,
                    text = error.error_text,
                    "ICE server"
                );
            }
            PeerConnectionEvent::Closed => return Some("closed".to_owned()),
            other => debug!(peer = self.id, event = ?other),
        }
        None
    }

    fn ended(&self, state: PeerConnectionState) -> Option<String> {
        match state {
            PeerConnectionState::Failed => Some(match self.dtls_error() {
                Some(error) => format!("DTLS handshake failed: {error}"),
                None => "ICE failed: no pair of candidates gets through, or no more".to_owned(),
            }),
            PeerConnectionState::Closed => Some("closed by the peer".to_owned()),
            _ => None,
        }
    }
}

/// Whose fault it is that there is no answer.
#[derive(Debug)]
pub(crate) enum AnswerError {
    /// The description the peer sent.
    Theirs(RtcError),
    /// Something here.
    Ours(RtcError),
}

/// Waits until gathering is complete, or for `limit`.
pub(crate) async fn gathered(pc: &PeerConnection, limit: Duration) {
    let mut events = pc.events();
    let complete = async {
        while pc.ice_gathering_state() != IceGatheringState::Complete && !pc.is_closed() {
            if events.next().await.is_none() {
                return;
            }
        }
    };
    if timeout(limit, complete).await.is_err() {
        warn!("gathering takes long: going on with the candidates found so far");
    }
}
