//! Offer and answer (webrtc-pc sections 4.4.1.5 and 4.4.2, RFC 9429 section 5). Answers to libwebrtc's
//! `pc/sdp_offer_answer.cc`; owned by the signaling task, whose operations chain runs one of these at a time.

mod apply;
mod candidates;
mod layout;
mod negotiation_needed;
mod signaling_table;

use std::sync::Arc;

use peerstack_base::Random;
use peerstack_jsep::{JsepError, MediaSessionDescriptionFactory, SessionDescription as ParsedDescription};
use peerstack_p2p::Candidate;
use tokio::sync::oneshot;

pub(crate) use self::candidates::{add_local_candidate, note_gathering_state, remove_local_candidates};
pub(crate) use self::negotiation_needed::{close_state, update_negotiation_needed};
use crate::network_task::{ConnectionCommand, MediaSection};
use crate::shared::{Description, Shared, State};
use crate::{
    IceCandidateInit, OfferOptions, RtcError, RtcErrorKind, SdpType, SessionDescription, SignalingState,
};

/// A description as text, with the candidates known so far.
pub(crate) fn to_text(description: &Description) -> SessionDescription {
    SessionDescription {
        sdp_type: description.sdp_type,
        sdp: peerstack_jsep::webrtc_sdp::serialize(&description.parsed),
    }
}

/// What `create_offer` or `create_answer` made last: only this may be set (webrtc-pc section 4.4.1.5).
#[derive(Debug)]
struct Created {
    text: String,
    parsed: ParsedDescription,
    owners: Vec<layout::SectionOwner>,
}

/// Makes and applies descriptions.
#[derive(Debug)]
pub(crate) struct SdpOfferAnswerHandler {
    shared: Arc<Shared>,
    factory: MediaSessionDescriptionFactory,
    last_offer: Option<Created>,
    last_answer: Option<Created>,
    /// What a rollback restores: the transceivers as they were in the last stable state.
    stable: Option<Vec<crate::shared::Transceiver>>,
}

impl SdpOfferAnswerHandler {
    pub(crate) fn new(shared: Arc<Shared>, random: &mut Random) -> Self {
        let factory = MediaSessionDescriptionFactory::new(random);
        Self { shared, factory, last_offer: None, last_answer: None, stable: None }
    }

    /// `createOffer`.
    pub(crate) async fn create_offer(
        &mut self,
        options: OfferOptions,
    ) -> Result<SessionDescription, RtcError> {
        let (sections, restart) = {
            let mut state = self.shared.lock();
            if !matches!(state.signaling_state, SignalingState::Stable | SignalingState::HaveLocalOffer) {
                return Err(wrong_state("create_offer", state.signaling_state));
            }
            let sections = layout::offer_sections(&mut state);
            (sections, options.ice_restart || state.ice_restart)
        };
        let mids = sections.iter().map(|section| section.mid.clone()).collect();
        let (reply, answer) = oneshot::channel();
        self.shared.network.send(ConnectionCommand::OfferTransports { mids, ice_restart: restart, reply });
        let transports = answer.await.map_err(|_| RtcError::closed())?.map_err(from_jsep)?;
        let created = {
            let state = self.shared.lock();
            layout::create_offer(&mut self.factory, &state, &self.shared.configuration, sections, transports)?
        };
        let description = SessionDescription::offer(created.text.clone());
        self.last_offer = Some(created);
        Ok(description)
    }

    /// `createAnswer`.
    pub(crate) async fn create_answer(&mut self) -> Result<SessionDescription, RtcError> {
        let mids: Vec<String> = {
            let state = self.shared.lock();
            let allowed = [SignalingState::HaveRemoteOffer, SignalingState::HaveLocalPranswer];
            let offer = state.pending_remote.as_ref();
            match offer.filter(|_| allowed.contains(&state.signaling_state)) {
                Some(offer) => offer.parsed.contents.iter().map(|content| content.mid.clone()).collect(),
                None => return Err(wrong_state("create_answer", state.signaling_state)),
            }
        };
        let (reply, answer) = oneshot::channel();
        self.shared.network.send(ConnectionCommand::AnswerTransports { mids, reply });
        let transports = answer.await.map_err(|_| RtcError::closed())?.map_err(from_jsep)?;
        let created = {
            let state = self.shared.lock();
            layout::create_answer(&mut self.factory, &state, &self.shared.configuration, transports)?
        };
        let description = SessionDescription::answer(created.text.clone());
        self.last_answer = Some(created);
        Ok(description)
    }

    /// `setLocalDescription`; without a description, what the signalling state asks for.
    pub(crate) async fn set_local_description(
        &mut self,
        description: Option<SessionDescription>,
    ) -> Result<(), RtcError> {
        let description = match description {
            Some(description) => description,
            None => self.implicit_description().await?,
        };
        if description.sdp_type == SdpType::Rollback {
            return self.rollback().await;
        }
        let next = {
            let state = self.shared.lock();
            signaling_table::after_local(state.signaling_state, description.sdp_type)
                .ok_or_else(|| wrong_set("local", description.sdp_type, state.signaling_state))?
        };
        let created = self.take_created(&description).await?;
        let shared = Arc::clone(&self.shared);
        let media = {
            let mut state = shared.lock();
            self.remember_stable(&state);
            apply::assign_mids(&mut state, &created);
            media_if_final(&state, description.sdp_type, Some(&created.parsed), None)
        };
        if let Err(error) = self.set_on_network(true, description.sdp_type, &created.parsed, media).await {
            self.undo_failed();
            return Err(error);
        }
        let mut state = shared.lock();
        apply::local(&mut state, &self.shared, description.sdp_type, created.parsed);
        self.finish(&mut state, next);
        Ok(())
    }

    async fn implicit_description(&mut self) -> Result<SessionDescription, RtcError> {
        let state = self.shared.lock().signaling_state;
        match state {
            SignalingState::Stable | SignalingState::HaveLocalOffer | SignalingState::HaveRemotePranswer => {
                self.create_offer(OfferOptions::default()).await
            }
            _ => self.create_answer().await,
        }
    }

    /// The description that was created with this text. An empty text means the last one.
    async fn take_created(&mut self, description: &SessionDescription) -> Result<Created, RtcError> {
        let is_offer = description.sdp_type == SdpType::Offer;
        let last = if is_offer { &mut self.last_offer } else { &mut self.last_answer };
        if description.sdp.is_empty() && last.is_none() {
            if is_offer {
                self.create_offer(OfferOptions::default()).await?;
            } else {
                self.create_answer().await?;
            }
        }
        let last = if is_offer { &mut self.last_offer } else { &mut self.last_answer };
        match last.take() {
            Some(created) if description.sdp.is_empty() || created.text == description.sdp => Ok(created),
            other => {
                *last = other;
                let text = format!("the SDP is not the {} created last", description.sdp_type.as_str());
                Err(RtcError::new(RtcErrorKind::InvalidModificationError, text))
            }
        }
    }

    /// `setRemoteDescription`.
    pub(crate) async fn set_remote_description(
        &mut self,
        description: SessionDescription,
    ) -> Result<(), RtcError> {
        if description.sdp_type == SdpType::Rollback {
            return self.rollback().await;
        }
        let parsed = peerstack_jsep::webrtc_sdp::parse(&description.sdp)
            .map_err(|error| RtcError::syntax(format!("the {} {error}", description.sdp_type.as_str())))?;
        let state = self.shared.lock().signaling_state;
        let glare = description.sdp_type == SdpType::Offer && state == SignalingState::HaveLocalOffer;
        let from = if glare { SignalingState::Stable } else { state };
        let next = signaling_table::after_remote(from, description.sdp_type)
            .ok_or_else(|| wrong_set("remote", description.sdp_type, state))?;
        if glare {
            // webrtc-pc section 4.4.1.5 step 4.4: a remote offer rolls a local one back.
            self.rollback_transports().await?;
            let shared = Arc::clone(&self.shared);
            self.restore_stable(&mut shared.lock());
        }
        let shared = Arc::clone(&self.shared);
        let media = {
            let mut state = shared.lock();
            self.remember_stable(&state);
            apply::check_remote(&state, description.sdp_type, &parsed)?;
            if description.sdp_type == SdpType::Offer {
                apply::associate_sections(&mut state, &self.shared, &parsed);
            }
            media_if_final(&state, description.sdp_type, None, Some(&parsed))
        };
        if let Err(error) = self.set_on_network(false, description.sdp_type, &parsed, media).await {
            self.undo_failed();
            return Err(error);
        }
        let mut state = shared.lock();
        apply::remote(&mut state, &self.shared, description.sdp_type, parsed);
        self.finish(&mut state, next);
        Ok(())
    }

    async fn set_on_network(
        &self,
        local: bool,
        sdp_type: SdpType,
        parsed: &ParsedDescription,
        media: Option<Vec<MediaSection>>,
    ) -> Result<(), RtcError> {
        let (reply, answer) = oneshot::channel();
        let description = Box::new(parsed.clone());
        self.shared.network.send(ConnectionCommand::SetDescription {
            local,
            sdp_type,
            description,
            media,
            reply,
        });
        answer.await.map_err(|_| RtcError::closed())?.map_err(from_jsep)
    }

    /// Back to the last stable state (RFC 9429 section 4.1.10.2).
    async fn rollback(&mut self) -> Result<(), RtcError> {
        let state = self.shared.lock().signaling_state;
        if !matches!(state, SignalingState::HaveLocalOffer | SignalingState::HaveRemoteOffer) {
            return Err(RtcError::invalid_state(format!("nothing to roll back in state {}", state.as_str())));
        }
        self.rollback_transports().await?;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        self.restore_stable(&mut state);
        self.finish(&mut state, SignalingState::Stable);
        Ok(())
    }

    async fn rollback_transports(&self) -> Result<(), RtcError> {
        let (reply, answer) = oneshot::channel();
        self.shared.network.send(ConnectionCommand::Rollback { reply });
        answer.await.map_err(|_| RtcError::closed())?.map_err(from_jsep)
    }

    fn remember_stable(&mut self, state: &State) {
        if state.signaling_state == SignalingState::Stable && self.stable.is_none() {
            self.stable = Some(state.transceivers.clone());
        }
    }

    fn restore_stable(&mut self, state: &mut State) {
        state.pending_local = None;
        state.pending_remote = None;
        self.last_offer = None;
        self.last_answer = None;
        if let Some(before) = self.stable.take() {
            apply::restore_transceivers(state, before);
        }
    }

    /// A set that failed leaves the state as it was.
    fn undo_failed(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if state.signaling_state == SignalingState::Stable
            && let Some(before) = self.stable.take()
        {
            apply::restore_transceivers(&mut state, before);
        }
    }

    fn finish(&mut self, state: &mut State, next: SignalingState) {
        state.set_signaling_state(next);
        if next == SignalingState::Stable {
            self.stable = None;
            self.last_offer = None;
            self.last_answer = None;
            state.negotiation_needed = false;
            state.check_negotiation_needed = true;
        }
    }

    /// `addIceCandidate`.
    pub(crate) fn add_ice_candidate(&mut self, init: &IceCandidateInit) -> Result<(), RtcError> {
        let candidate = parse_candidate(init)?;
        let mut state = self.shared.lock();
        let remote = state
            .remote()
            .ok_or_else(|| RtcError::invalid_state("there is no remote description to add a candidate to"))?;
        let end_of_all = candidate.is_none() && init.sdp_mid.is_none() && init.sdp_mline_index.is_none();
        let mids: Vec<String> = if end_of_all {
            remote.parsed.contents.iter().map(|content| content.mid.clone()).collect()
        } else {
            vec![section_of(&remote.parsed, init)?]
        };
        for mid in mids {
            candidates::add_remote_candidate(&mut state, &mid, candidate.as_ref());
            self.shared.network.send(match &candidate {
                Some(candidate) => {
                    ConnectionCommand::AddRemoteCandidate { mid, candidate: Box::new(candidate.clone()) }
                }
                None => ConnectionCommand::EndOfCandidates { mid },
            });
        }
        Ok(())
    }
}

fn parse_candidate(init: &IceCandidateInit) -> Result<Option<Candidate>, RtcError> {
    if init.candidate.is_empty() {
        return Ok(None);
    }
    if init.sdp_mid.is_none() && init.sdp_mline_index.is_none() {
        return Err(RtcError::type_error("a candidate needs sdp_mid or sdp_mline_index"));
    }
    let mut candidate = Candidate::parse(&init.candidate)
        .map_err(|error| RtcError::operation(format!("the candidate {:?}: {error}", init.candidate)))?;
    if let Some(ufrag) = &init.username_fragment {
        candidate.username_fragment.clone_from(ufrag);
    }
    Ok(Some(candidate))
}

fn section_of(description: &ParsedDescription, init: &IceCandidateInit) -> Result<String, RtcError> {
    // The tag counts more than the position.
    if let Some(mid) = &init.sdp_mid {
        let found = description.content(mid).map(|content| content.mid.clone());
        return found.ok_or_else(|| RtcError::operation(format!("no media section has the mid {mid:?}")));
    }
    let index = usize::from(init.sdp_mline_index.unwrap_or_default());
    let found = description.contents.get(index).map(|content| content.mid.clone());
    found.ok_or_else(|| RtcError::operation(format!("there is no media section {index}")))
}

/// The sections packets flow in, once both descriptions are known.
fn media_if_final(
    state: &State,
    sdp_type: SdpType,
    local: Option<&ParsedDescription>,
    remote: Option<&ParsedDescription>,
) -> Option<Vec<MediaSection>> {
    if sdp_type == SdpType::Offer {
        return None;
    }
    let local = local.or(state.local().map(|description| &description.parsed))?;
    let remote = remote.or(state.remote().map(|description| &description.parsed))?;
    Some(apply::media_sections(state, local, remote))
}

fn wrong_state(call: &str, state: SignalingState) -> RtcError {
    RtcError::invalid_state(format!("{call} is not allowed in signalling state {}", state.as_str()))
}

fn wrong_set(side: &str, sdp_type: SdpType, state: SignalingState) -> RtcError {
    let (sdp_type, state) = (sdp_type.as_str(), state.as_str());
    RtcError::invalid_state(format!("a {side} {sdp_type} cannot be set in signalling state {state}"))
}

fn from_jsep(error: JsepError) -> RtcError {
    RtcError::new(RtcErrorKind::InvalidAccessError, error.to_string())
}
