//! The perfect negotiation of webrtc-pc section 10.7: both sides may offer whenever they like, and one of them, the
//! polite one, takes its offer back when two meet.
//!
//! In a browser the recipe needs flags against callbacks that run in between (`makingOffer`,
//! `isSettingRemoteAnswerPending`). Here one task handles one thing after the other, and nothing is in between.

use peerstack::{
    IceCandidateInit, MediaStreamTrack, PeerConnection, PeerConnectionEvent, RtcError,
    RtpTransceiverDirection, SdpType, SessionDescription, SignalingState,
};
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::common::signaling::{Candidate, Description, Refusal};

/// What signalling carries, one of both.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Message {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Description>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) candidate: Option<Candidate>,
}

/// One side of the negotiation.
#[derive(Debug)]
pub(crate) struct Negotiator {
    pc: PeerConnection,
    polite: bool,
    /// Offers of the peer that met one of ours: ignored, or answered after ours was taken back.
    pub(crate) collisions: usize,
}

impl Negotiator {
    pub(crate) fn new(pc: PeerConnection, polite: bool) -> Self {
        Self { pc, polite, collisions: 0 }
    }

    /// What to send because of an event.
    pub(crate) async fn on_event(&mut self, event: &PeerConnectionEvent) -> Result<Option<Message>, Refusal> {
        match event {
            // Events wait to be read: an offer of the peer may have come first. It is told again when that is done.
            PeerConnectionEvent::NegotiationNeeded if self.pc.signaling_state() == SignalingState::Stable => {
                Ok(Some(self.describe().await?))
            }
            // Nor was a candidate's offer always kept until it is read of here.
            PeerConnectionEvent::IceCandidate(candidate) if self.is_current(candidate) => {
                Ok(Some(Message { candidate: Some(candidate.clone().into()), ..Message::default() }))
            }
            _ => Ok(None),
        }
    }

    /// What to send because of a message of the peer.
    pub(crate) async fn on_message(&mut self, message: Message) -> Result<Option<Message>, Refusal> {
        if let Some(description) = message.description {
            return self.on_description(description.try_into()?).await;
        }
        if let Some(candidate) = message.candidate {
            // One of an offer that was ignored, or that the peer took back meanwhile, is for nothing.
            if let Err(error) = self.pc.add_ice_candidate(candidate.into()).await {
                debug!(%error, "candidate");
            }
        }
        Ok(None)
    }

    async fn on_description(&mut self, description: SessionDescription) -> Result<Option<Message>, Refusal> {
        let is_offer = description.sdp_type == SdpType::Offer;
        let collision = is_offer && self.pc.signaling_state() != SignalingState::Stable;
        self.collisions += usize::from(collision);
        if collision && !self.polite {
            return Ok(None);
        }
        // Takes an offer of ours back where there is one.
        self.pc.set_remote_description(description).await?;
        if !is_offer {
            return Ok(None);
        }
        self.send_what_is_received()?;
        Ok(Some(self.describe().await?))
    }

    /// Before an offer is answered: each section that brings something gets a track to send it back.
    fn send_what_is_received(&self) -> Result<(), RtcError> {
        for transceiver in self.pc.transceivers() {
            if !transceiver.stopped() && transceiver.sender().track().is_none() {
                transceiver.sender().replace_track(Some(MediaStreamTrack::new(transceiver.kind())))?;
                transceiver.set_direction(RtpTransceiverDirection::Sendrecv)?;
            }
        }
        Ok(())
    }

    /// Whether a candidate is of the local description, and of none that was taken back.
    fn is_current(&self, candidate: &IceCandidateInit) -> bool {
        let Some(ufrag) = &candidate.username_fragment else { return true };
        let description = self.pc.local_description();
        description.is_some_and(|description| description.sdp.contains(&format!("a=ice-ufrag:{ufrag}\r\n")))
    }

    /// The offer or answer that is asked for.
    pub(crate) async fn describe(&mut self) -> Result<Message, RtcError> {
        self.pc.set_local_description(None).await?;
        let description = self.pc.local_description().map(Description::from);
        Ok(Message { description, ..Message::default() })
    }
}
