//! The state of one PeerConnection: one struct behind one mutex, held by the handles and the signaling task,
//! never across an await.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use peerstack_base::{EventSource, Random};
use peerstack_jsep::{Codec, RtpExtension, SessionDescription as ParsedDescription};
use peerstack_p2p::IceParameters;
use tokio::sync::mpsc;

use crate::configuration::{Configuration, Settings};
use crate::dropping_queue::DroppingQueue;
use crate::media_engine::RtpHeaderExtensionCapability;
use crate::media_stream_track::{MediaStreamTrack, TrackKind, uuid};
use crate::network_task::NetworkHandle;
use crate::network_task::TransceiverId;
use crate::rtp_packet::RtcpFeedback;
use crate::rtp_parameters::{RtpEncodingParameters, RtpSendParameters};
use crate::sample::SampleSender;
use crate::send_encodings::SendEncoding;
use crate::signaling_task::SignalingCommand;
use crate::transport_views::TransportViews;
use crate::{
    IceConnectionState, IceGatheringState, PeerConnectionEvent, PeerConnectionState, RtcError,
    RtpTransceiverDirection, SdpType, SignalingState,
};

/// Feedback items that wait for the application on one sender.
const FEEDBACK_QUEUE: usize = 256;

/// A description that was set, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub(crate) sdp_type: SdpType,
    pub(crate) parsed: ParsedDescription,
}

/// What stands behind `RtpTransceiver`, `RtpSender` and `RtpReceiver`.
#[derive(Debug, Clone)]
pub(crate) struct Transceiver {
    pub(crate) id: TransceiverId,
    pub(crate) kind: TrackKind,
    pub(crate) mid: Option<String>,
    pub(crate) direction: RtpTransceiverDirection,
    pub(crate) current_direction: Option<RtpTransceiverDirection>,
    /// What the track events told so far (webrtc-pc `[[FiredDirection]]`).
    pub(crate) fired_direction: Option<RtpTransceiverDirection>,
    pub(crate) stopping: bool,
    pub(crate) stopped: bool,
    /// Made by `add_track`, or left to it by a rollback: a remote offer may take it (RFC 9429 section 5.10).
    pub(crate) from_add_track: bool,
    /// `add_track` once gave it a track: a rollback leaves it (RFC 9429 section 4.1.10.2).
    pub(crate) used_by_add_track: bool,
    /// Made by a remote offer: a rollback removes it.
    pub(crate) from_remote_offer: bool,
    pub(crate) codec_preferences: Vec<Codec>,
    pub(crate) negotiated_codecs: Vec<Codec>,
    pub(crate) sender_track: Option<MediaStreamTrack>,
    /// What `a=msid` calls the track sent; stays when the track is replaced.
    pub(crate) sender_id: String,
    pub(crate) sender_streams: Vec<String>,
    /// What is sent of the track: one at least.
    pub(crate) encodings: Vec<SendEncoding>,
    /// What makes packets of samples.
    pub(crate) samples: Arc<Mutex<SampleSender>>,
    /// What `get_parameters` returned last (webrtc-pc `[[LastReturnedParameters]]`).
    pub(crate) last_parameters: Option<RtpSendParameters>,
    /// Of our description and of the peer's, for what is sent and what is received.
    pub(crate) send_extensions: Vec<RtpExtension>,
    pub(crate) receive_extensions: Vec<RtpExtension>,
    /// Both sides take RTCP feedback that goes alone (RFC 5506).
    pub(crate) reduced_size: bool,
    /// What the next description says of header extensions (webrtc-extensions `[[HeaderExtensionsToNegotiate]]`).
    pub(crate) header_extensions: Vec<RtpHeaderExtensionCapability>,
    /// Whether it was ever negotiated to send: `add_track` does not take such a one again.
    pub(crate) has_sent: bool,
    pub(crate) receiver_track: MediaStreamTrack,
    pub(crate) receiver_streams: Vec<String>,
    pub(crate) feedback: Arc<DroppingQueue<RtcpFeedback>>,
}

impl Transceiver {
    /// The SSRC of the first encoding.
    pub(crate) fn ssrc(&self) -> u32 {
        self.encodings.first().map_or(0, |encoding| encoding.ssrc)
    }
}

/// The whole state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) closed: bool,
    pub(crate) signaling_state: SignalingState,
    pub(crate) ice_connection_state: IceConnectionState,
    pub(crate) ice_gathering_state: IceGatheringState,
    pub(crate) connection_state: PeerConnectionState,
    pub(crate) current_local: Option<Description>,
    pub(crate) current_remote: Option<Description>,
    pub(crate) pending_local: Option<Description>,
    pub(crate) pending_remote: Option<Description>,
    pub(crate) transceivers: Vec<Transceiver>,
    /// What `set_configuration` may change is read here.
    pub(crate) configuration: Configuration,
    /// A local description was set: what is fixed from then on cannot be configured any more.
    pub(crate) local_description_set: bool,
    pub(crate) views: TransportViews,
    next_transceiver: u32,
    /// Whether a data channel was ever made: offers then carry the application section.
    pub(crate) wants_data: bool,
    pub(crate) negotiation_needed: bool,
    /// The algorithm of webrtc-pc section 4.7.3 is to run once the operations chain is empty.
    pub(crate) check_negotiation_needed: bool,
    /// The ICE user fragments and passwords that `restart_ice` wants to be rid of (webrtc-pc
    /// `[[LocalIceCredentialsToReplace]]`).
    ice_credentials_to_replace: Vec<IceParameters>,
    /// No number below is a mid of ours again: a recycled section gets a new one.
    pub(crate) next_mid: u32,
    pub(crate) cname: String,
    pub(crate) random: Random,
    pub(crate) events: EventSource<PeerConnectionEvent>,
}

impl State {
    pub(crate) fn new(configuration: Configuration, mut random: Random, scope: &str) -> Self {
        Self {
            closed: false,
            signaling_state: SignalingState::default(),
            ice_connection_state: IceConnectionState::New,
            ice_gathering_state: IceGatheringState::New,
            connection_state: PeerConnectionState::New,
            current_local: None,
            current_remote: None,
            pending_local: None,
            pending_remote: None,
            transceivers: Vec::new(),
            configuration,
            local_description_set: false,
            views: TransportViews::default(),
            next_transceiver: 0,
            wants_data: false,
            negotiation_needed: false,
            check_negotiation_needed: false,
            ice_credentials_to_replace: Vec::new(),
            next_mid: 0,
            cname: random.ice_string(16),
            random,
            events: EventSource::new(scope),
        }
    }

    pub(crate) fn open(&self) -> Result<(), RtcError> {
        if self.closed { Err(RtcError::closed()) } else { Ok(()) }
    }

    /// The description in force, pending before current.
    pub(crate) fn local(&self) -> Option<&Description> {
        self.pending_local.as_ref().or(self.current_local.as_ref())
    }

    /// The description in force, pending before current.
    pub(crate) fn remote(&self) -> Option<&Description> {
        self.pending_remote.as_ref().or(self.current_remote.as_ref())
    }

    /// `restart_ice`: all credentials in use are to be replaced (webrtc-pc section 4.4.2). Whether there are any.
    pub(crate) fn replace_ice_credentials(&mut self) -> bool {
        let descriptions = [self.current_local.as_ref(), self.pending_local.as_ref()];
        let in_use: Vec<_> = descriptions.into_iter().flatten().flat_map(credentials).collect();
        self.ice_credentials_to_replace = in_use;
        !self.ice_credentials_to_replace.is_empty()
    }

    /// Whether `restart_ice` was called and no exchange carried it out yet.
    pub(crate) fn wants_ice_restart(&self) -> bool {
        !self.ice_credentials_to_replace.is_empty()
    }

    /// Whether the next offer restarts ICE: the description of ours in force has credentials to replace. A pending
    /// offer may have replaced them already.
    pub(crate) fn offers_ice_restart(&self) -> bool {
        let replaced = |used: &IceParameters| self.ice_credentials_to_replace.contains(used);
        self.local().is_some_and(|local| credentials(local).any(|used| replaced(&used)))
    }

    /// An exchange is over: if none of the credentials is left, the restart was carried out, by whichever side.
    pub(crate) fn note_ice_restarted(&mut self) {
        if !self.offers_ice_restart() {
            self.ice_credentials_to_replace.clear();
        }
    }

    pub(crate) fn set_signaling_state(&mut self, state: SignalingState) {
        if self.signaling_state != state {
            self.signaling_state = state;
            self.events.emit(PeerConnectionEvent::SignalingStateChange(state));
        }
    }

    pub(crate) fn transceiver(&self, id: TransceiverId) -> Option<&Transceiver> {
        self.transceivers.iter().find(|transceiver| transceiver.id == id)
    }

    pub(crate) fn transceiver_mut(&mut self, id: TransceiverId) -> Option<&mut Transceiver> {
        self.transceivers.iter_mut().find(|transceiver| transceiver.id == id)
    }

    pub(crate) fn transceiver_by_mid(&mut self, mid: &str) -> Option<&mut Transceiver> {
        self.transceivers.iter_mut().find(|transceiver| transceiver.mid.as_deref() == Some(mid))
    }

    /// What `a=msid` is to call a track that a sender gets: by its id, or by another where a sender has that already,
    /// as one track may be sent several times and no two sections may say the same (RFC 8830 section 2).
    pub(crate) fn sender_id_for(&mut self, id: TransceiverId, track: &MediaStreamTrack) -> String {
        let wanted = track.id();
        let mut others = self.transceivers.iter().filter(|other| other.id != id);
        match others.any(|other| other.sender_id == wanted) {
            true => uuid(&mut self.random),
            false => wanted,
        }
    }

    /// An SSRC that no encoding of the connection has.
    pub(crate) fn fresh_ssrc(&mut self) -> u32 {
        loop {
            let ssrc = self.random.u32();
            let mut encodings = self.transceivers.iter().flat_map(|transceiver| &transceiver.encodings);
            if ssrc != 0 && encodings.all(|encoding| encoding.ssrc != ssrc && encoding.rtx_ssrc != ssrc) {
                return ssrc;
            }
        }
    }

    /// Encodings with SSRCs of their own, each with another for its retransmissions (R19).
    pub(crate) fn new_encodings(&mut self, parameters: Vec<RtpEncodingParameters>) -> Vec<SendEncoding> {
        let mut made: Vec<SendEncoding> = Vec::with_capacity(parameters.len());
        for parameters in parameters {
            let mut next = || loop {
                let ssrc = self.fresh_ssrc();
                if made.iter().all(|other| other.ssrc != ssrc && other.rtx_ssrc != ssrc) {
                    return ssrc;
                }
            };
            let ssrc = next();
            let rtx_ssrc = loop {
                let other = next();
                if other != ssrc {
                    break other;
                }
            };
            made.push(SendEncoding {
                parameters,
                ssrc,
                rtx_ssrc,
                payload_types: Vec::new(),
                restrictions: BTreeMap::new(),
                paused: false,
            });
        }
        made
    }

    /// Makes a transceiver with one encoding. SSRCs are unique within the connection.
    pub(crate) fn create_transceiver(
        &mut self,
        kind: TrackKind,
        direction: RtpTransceiverDirection,
        settings: &Settings,
    ) -> TransceiverId {
        let id = TransceiverId(self.next_transceiver);
        self.next_transceiver += 1;
        let parameters = match kind {
            TrackKind::Audio => RtpEncodingParameters::default(),
            TrackKind::Video => RtpEncodingParameters::default().with_scale_resolution_down_by(1.0),
        };
        let encodings = self.new_encodings(vec![parameters]);
        let track_queue = settings.track_queue;
        let receiver_track = MediaStreamTrack::remote(kind, uuid(&mut self.random), track_queue);
        self.transceivers.push(Transceiver {
            id,
            kind,
            mid: None,
            direction,
            current_direction: None,
            fired_direction: None,
            stopping: false,
            stopped: false,
            from_add_track: false,
            used_by_add_track: false,
            from_remote_offer: false,
            codec_preferences: Vec::new(),
            negotiated_codecs: Vec::new(),
            sender_track: None,
            sender_id: uuid(&mut self.random),
            sender_streams: Vec::new(),
            encodings,
            samples: Arc::new(Mutex::new(SampleSender::new(self.random.fork()))),
            last_parameters: None,
            send_extensions: Vec::new(),
            receive_extensions: Vec::new(),
            reduced_size: false,
            header_extensions: settings.media.header_extensions(kind).to_vec(),
            has_sent: false,
            receiver_track,
            receiver_streams: Vec::new(),
            feedback: Arc::new(DroppingQueue::new(FEEDBACK_QUEUE)),
        });
        id
    }
}

/// ICE user fragments and passwords of the sections that are in use.
fn credentials(description: &Description) -> impl Iterator<Item = IceParameters> {
    let alive = description.parsed.contents.iter().filter(|content| !content.rejected);
    alive.filter_map(|content| content.transport.ice.clone())
}

/// What all handles of one connection and its signaling task share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) configuration: Configuration,
    pub(crate) network: NetworkHandle,
    pub(crate) signaling: mpsc::UnboundedSender<SignalingCommand>,
}

/// Every handle prints this: neither the state, which holds descriptions, nor a lock.
impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        state: State,
        configuration: Configuration,
        network: NetworkHandle,
        signaling: mpsc::UnboundedSender<SignalingCommand>,
    ) -> Self {
        Self { state: Mutex::new(state), configuration, network, signaling }
    }

    /// The state. A panic of a holder cannot leave it torn: nothing in here panics.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a transceiver. One that is gone, by a rollback or because its section is over, reads as a stopped one.
    pub(crate) fn with_transceiver<R>(&self, id: TransceiverId, read: impl FnOnce(&Transceiver) -> R) -> R {
        let state = self.lock();
        match state.transceiver(id) {
            Some(transceiver) => read(transceiver),
            None => read(&removed(id)),
        }
    }

    /// Changes a transceiver; `change` says whether negotiation may be needed for it.
    pub(crate) fn update_transceiver(
        &self,
        id: TransceiverId,
        change: impl FnOnce(&mut Transceiver) -> Result<bool, RtcError>,
    ) -> Result<(), RtcError> {
        let mut state = self.lock();
        state.open()?;
        let transceiver = state
            .transceiver_mut(id)
            .filter(|transceiver| !transceiver.stopped && !transceiver.stopping)
            .ok_or_else(|| RtcError::invalid_state("the transceiver is stopped"))?;
        if change(transceiver)? {
            self.negotiation_needed(&mut state);
        }
        Ok(())
    }

    /// Asks for the negotiation-needed algorithm (webrtc-pc section 4.7.3) once the operations chain is empty.
    pub(crate) fn negotiation_needed(&self, state: &mut State) {
        state.check_negotiation_needed = true;
        // Only wakes the task; if it is gone the connection is closed and nothing is needed.
        let _ = self.signaling.send(SignalingCommand::Wake);
    }
}

pub(crate) fn removed(id: TransceiverId) -> Transceiver {
    let feedback = DroppingQueue::new(0);
    feedback.close();
    let receiver_track = MediaStreamTrack::remote(TrackKind::Audio, String::new(), 0);
    receiver_track.end();
    Transceiver {
        id,
        kind: TrackKind::Audio,
        mid: None,
        direction: RtpTransceiverDirection::Inactive,
        current_direction: None,
        fired_direction: None,
        stopping: true,
        stopped: true,
        from_add_track: false,
        used_by_add_track: false,
        from_remote_offer: false,
        codec_preferences: Vec::new(),
        negotiated_codecs: Vec::new(),
        sender_track: None,
        sender_id: String::new(),
        sender_streams: Vec::new(),
        encodings: Vec::new(),
        samples: Arc::new(Mutex::new(SampleSender::new(Random::from_seed(0)))),
        last_parameters: None,
        send_extensions: Vec::new(),
        receive_extensions: Vec::new(),
        reduced_size: false,
        header_extensions: Vec::new(),
        has_sent: false,
        receiver_track,
        receiver_streams: Vec::new(),
        feedback: Arc::new(feedback),
    }
}
