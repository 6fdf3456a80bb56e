//! Offer and answer (webrtc-pc sections 4.4.1.4 and 4.4.2, RFC 9429 section 5). Answers to libwebrtc's
//! `pc/sdp_offer_answer.cc`; owned by the signaling task, whose operations chain runs one of these at a time.

mod apply;
mod candidates;
mod layout;
mod negotiation_needed;
mod remote_checks;
mod signaling_table;

use std::sync::Arc;

use peerstack_base::Random;
use peerstack_jsep::{
    ContentInfo, JsepError, MediaSessionDescriptionFactory, SessionDescription as ParsedDescription,
};
use tokio::sync::oneshot;

pub(crate) use self::candidates::{
    add_local_candidate, end_of_candidates, is_in_force, note_gathering_state, remove_local_candidates,
};
pub(crate) use self::negotiation_needed::{close_state, update_negotiation_needed};
use crate::network_task::{ConnectionCommand, MediaSection};
use crate::shared::{Description, Shared, State};
use crate::transport_views::{self, TransportsView};
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

/// What `create_offer` or `create_answer` made last: only this may be set (webrtc-pc section 4.4.1.4).
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
    last_offer: Option<Arc<Created>>,
    last_answer: Option<Arc<Created>>,
    /// What was created last brings ICE credentials that no description has yet.
    last_has_credentials: bool,
    /// What a rollback restores: the transceivers as they were in the last stable state.
    stable: Option<Vec<crate::shared::Transceiver>>,
}

impl SdpOfferAnswerHandler {
    pub(crate) fn new(shared: Arc<Shared>, random: &mut Random) -> Self {
        let factory = MediaSessionDescriptionFactory::new(random);
        Self {
            shared,
            factory,
            last_offer: None,
            last_answer: None,
            last_has_credentials: false,
            stable: None,
        }
    }

    /// Asks the network task and waits. Whoever closes the connection meanwhile ends the operation here, before it
    /// changes anything (webrtc-pc section 4.4.1.2).
    async fn ask<R>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<R, JsepError>>) -> ConnectionCommand,
    ) -> Result<R, RtcError> {
        let (reply, answer) = oneshot::channel();
        self.shared.network.send(command(reply));
        let result = answer.await.map_err(|_| RtcError::closed())?;
        self.shared.lock().open()?;
        result.map_err(from_jsep)
    }

    /// `createOffer`.
    pub(crate) async fn create_offer(
        &mut self,
        options: OfferOptions,
    ) -> Result<SessionDescription, RtcError> {
        Ok(SessionDescription::offer(self.make_offer(options).await?.text.clone()))
    }

    async fn make_offer(&mut self, options: OfferOptions) -> Result<Arc<Created>, RtcError> {
        let (sections, restart) = {
            let state = self.shared.lock();
            if !signaling_table::may_create_offer(state.signaling_state) {
                return Err(wrong_state("create_offer", state.signaling_state));
            }
            (layout::offer_sections(&state), options.ice_restart || state.offers_ice_restart())
        };
        let new_credentials = restart || self.shared.lock().local().is_none();
        let mids = sections.iter().map(|section| section.mid.clone()).collect();
        let transports = self
            .ask(|reply| ConnectionCommand::OfferTransports { mids, ice_restart: restart, reply })
            .await?;
        let created = {
            let state = self.shared.lock();
            layout::create_offer(&mut self.factory, &state, &self.shared.configuration, sections, transports)?
        };
        self.last_has_credentials = new_credentials;
        Ok(Arc::clone(self.last_offer.insert(Arc::new(created))))
    }

    /// The description of this type that was created last, if it was not set yet and still says what would be said now
    /// (webrtc-pc section 4.4.2, `setLocalDescription`): another would have other ICE credentials.
    fn last_created(&mut self, is_offer: bool) -> Option<Arc<Created>> {
        let last = if is_offer { &self.last_offer } else { &self.last_answer };
        let last = last.clone().filter(|_| self.last_has_credentials)?;
        let state = self.shared.lock();
        let of = |content: &ContentInfo| (content.mid.clone(), content.transport.clone());
        let transports = last.parsed.contents.iter().map(of).collect();
        let (factory, configuration) = (&mut self.factory, &self.shared.configuration);
        let again = if is_offer {
            let sections = layout::offer_sections(&state);
            layout::create_offer(factory, &state, configuration, sections, transports)
        } else {
            layout::create_answer(factory, &state, configuration, transports)
        };
        Some(last).filter(|last| again.is_ok_and(|again| again.text == last.text))
    }

    /// `createAnswer`.
    pub(crate) async fn create_answer(&mut self) -> Result<SessionDescription, RtcError> {
        Ok(SessionDescription::answer(self.make_answer().await?.text.clone()))
    }

    async fn make_answer(&mut self) -> Result<Arc<Created>, RtcError> {
        let mids: Vec<String> = {
            let state = self.shared.lock();
            let allowed = signaling_table::may_create_answer(state.signaling_state);
            let Some(offer) = state.pending_remote.as_ref().filter(|_| allowed) else {
                return Err(wrong_state("create_answer", state.signaling_state));
            };
            let alive = offer.parsed.contents.iter().filter(|content| !content.rejected);
            alive.map(|content| content.mid.clone()).collect()
        };
        let transports = self.ask(|reply| ConnectionCommand::AnswerTransports { mids, reply }).await?;
        let created = {
            let state = self.shared.lock();
            layout::create_answer(&mut self.factory, &state, &self.shared.configuration, transports)?
        };
        self.last_has_credentials = true;
        Ok(Arc::clone(self.last_answer.insert(Arc::new(created))))
    }

    /// `setLocalDescription`; without a description, what the signalling state asks for.
    pub(crate) async fn set_local_description(
        &mut self,
        description: Option<SessionDescription>,
    ) -> Result<(), RtcError> {
        let state = self.shared.lock().signaling_state;
        let description = description.unwrap_or_else(|| SessionDescription {
            sdp_type: signaling_table::implied_local(state),
            sdp: String::new(),
        });
        let sdp_type = description.sdp_type;
        if sdp_type == SdpType::Rollback {
            return self.rollback("local").await;
        }
        let next = signaling_table::after_local(state, sdp_type)
            .ok_or_else(|| wrong_set("local", sdp_type, state))?;
        let created = self.created(&description).await?;
        let media = {
            let state = self.shared.lock();
            match sdp_type {
                SdpType::Offer => Some(apply::receptive_sections(&state, &created)),
                _ => media_if_final(&state, sdp_type, Some(&created.parsed), None),
            }
        };
        let view = self.set_on_network(true, sdp_type, &created.parsed, media).await?;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.open()?;
        self.remember_stable(&state);
        apply::assign_mids(&mut state, &created);
        let changes = apply::local(&mut state, sdp_type, created.parsed.clone());
        state.local_description_set = true;
        transport_views::apply(&mut state, view);
        self.finish(&mut state, sdp_type, next, changes);
        Ok(())
    }

    /// The description that was created with this text; one made now if there is no text.
    async fn created(&mut self, description: &SessionDescription) -> Result<Arc<Created>, RtcError> {
        let is_offer = description.sdp_type == SdpType::Offer;
        if description.sdp.is_empty() {
            return match self.last_created(is_offer) {
                Some(last) => Ok(last),
                None if is_offer => self.make_offer(OfferOptions::default()).await,
                None => self.make_answer().await,
            };
        }
        let (last, what) = match is_offer {
            true => (&self.last_offer, "offer"),
            false => (&self.last_answer, "answer"),
        };
        let found = last.as_ref().filter(|created| created.text == description.sdp);
        found.map(Arc::clone).ok_or_else(|| {
            let text = match last {
                Some(_) => format!("the SDP is not that of the {what} created last"),
                None => format!("no {what} was created that could be set"),
            };
            RtcError::new(RtcErrorKind::InvalidModificationError, text)
        })
    }

    /// `setRemoteDescription`.
    pub(crate) async fn set_remote_description(
        &mut self,
        description: SessionDescription,
    ) -> Result<(), RtcError> {
        let sdp_type = description.sdp_type;
        if sdp_type == SdpType::Rollback {
            return self.rollback("remote").await;
        }
        let state = self.shared.lock().signaling_state;
        // webrtc-pc section 4.4.1.4: a remote offer rolls a local one back.
        let glare = sdp_type == SdpType::Offer && state == SignalingState::HaveLocalOffer;
        let from = if glare { SignalingState::Stable } else { state };
        let next = signaling_table::after_remote(from, sdp_type)
            .ok_or_else(|| wrong_set("remote", sdp_type, state))?;
        let result = self.apply_remote_description(description, glare, next).await;
        if glare && result.is_err() && !self.shared.lock().closed {
            // The rollback comes first and stands, whatever comes of the offer.
            self.rollback("local").await?;
        }
        result
    }

    async fn apply_remote_description(
        &mut self,
        description: SessionDescription,
        glare: bool,
        next: SignalingState,
    ) -> Result<(), RtcError> {
        let sdp_type = description.sdp_type;
        let mut parsed = peerstack_jsep::webrtc_sdp::parse(&description.sdp).map_err(|error| {
            RtcError::sdp_syntax(format!("the {} {error}", sdp_type.as_str()), error.line_number)
        })?;
        let media = {
            let state = self.shared.lock();
            remote_checks::complete_and_check(&state, sdp_type, &mut parsed)?;
            // A local offer that is taken back is listened to no more.
            let restored = glare.then(|| apply::current_sections(&state));
            restored.or_else(|| media_if_final(&state, sdp_type, None, Some(&parsed)))
        };
        // The transports take a local offer back by themselves where the remote one is good.
        let view = self.set_on_network(false, sdp_type, &parsed, media).await?;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.open()?;
        if glare {
            self.restore_stable(&mut state);
            state.set_signaling_state(SignalingState::Stable);
        }
        self.remember_stable(&state);
        self.last_answer = None;
        if sdp_type == SdpType::Offer {
            apply::associate_sections(&mut state, &self.shared, &parsed);
        }
        let changes = apply::remote(&mut state, sdp_type, parsed);
        transport_views::apply(&mut state, view);
        self.finish(&mut state, sdp_type, next, changes);
        Ok(())
    }

    async fn set_on_network(
        &self,
        local: bool,
        sdp_type: SdpType,
        parsed: &ParsedDescription,
        media: Option<Vec<MediaSection>>,
    ) -> Result<TransportsView, RtcError> {
        let description = Box::new(parsed.clone());
        self.ask(|reply| ConnectionCommand::SetDescription { local, sdp_type, description, media, reply })
            .await
    }

    /// Back to the last stable state (RFC 9429 section 4.1.10.2): the side that offered takes its offer back.
    async fn rollback(&mut self, side: &str) -> Result<(), RtcError> {
        let state = self.shared.lock().signaling_state;
        if !signaling_table::may_roll_back(state, side == "local") {
            return Err(wrong_set(side, SdpType::Rollback, state));
        }
        let media = apply::current_sections(&self.shared.lock());
        let view = self.ask(|reply| ConnectionCommand::Rollback { media, reply }).await?;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.open()?;
        let changes = self.restore_stable(&mut state);
        transport_views::apply(&mut state, view);
        self.finish(&mut state, SdpType::Rollback, SignalingState::Stable, changes);
        Ok(())
    }

    fn remember_stable(&mut self, state: &State) {
        if state.signaling_state == SignalingState::Stable {
            self.stable = Some(state.transceivers.clone());
        }
    }

    fn restore_stable(&mut self, state: &mut State) -> apply::TrackChanges {
        state.pending_local = None;
        state.pending_remote = None;
        self.last_answer = None;
        self.stable.take().map(|before| apply::restore_transceivers(state, &before)).unwrap_or_default()
    }

    /// The end of all that sets a description: the state, then what it means for tracks, then whether there is more
    /// to negotiate.
    fn finish(
        &mut self,
        state: &mut State,
        sdp_type: SdpType,
        next: SignalingState,
        changes: apply::TrackChanges,
    ) {
        self.last_has_credentials = false;
        state.set_signaling_state(next);
        if next == SignalingState::Stable {
            self.stable = None;
            if sdp_type == SdpType::Answer {
                self.last_offer = None;
                self.last_answer = None;
                state.note_ice_restarted();
                apply::forget_stopped(state);
            }
            state.negotiation_needed = false;
            state.check_negotiation_needed = true;
        }
        changes.tell(state, &self.shared);
    }

    /// `addIceCandidate`.
    pub(crate) fn add_ice_candidate(&mut self, init: &IceCandidateInit) -> Result<(), RtcError> {
        let (candidate, targets) = {
            let mut state = self.shared.lock();
            let (candidate, targets) = candidates::add_ice_candidate(&mut state, init)?;
            if let Some(candidate) = &candidate {
                targets.iter().for_each(|mid| state.views.add_remote_candidate(mid, candidate));
            }
            (candidate, targets)
        };
        for mid in targets {
            self.shared.network.send(match &candidate {
                Some(candidate) => {
                    ConnectionCommand::AddRemoteCandidate { mid, candidate: Box::new(candidate.clone()) }
                }
                None => ConnectionCommand::EndOfCandidates { mid },
            });
        }
        Ok(())
    }

    pub(crate) fn remove_ice_candidates(&mut self, inits: &[IceCandidateInit]) -> Result<(), RtcError> {
        let gone = {
            let mut state = self.shared.lock();
            let gone = candidates::remove_ice_candidates(&mut state, inits)?;
            gone.iter().for_each(|(mid, candidate)| state.views.remove_remote_candidate(mid, candidate));
            gone
        };
        for (mid, candidate) in gone {
            let candidate = Box::new(candidate);
            self.shared.network.send(ConnectionCommand::RemoveRemoteCandidate { mid, candidate });
        }
        Ok(())
    }
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

/// What transports refuse is what a description says, but for the end of all (webrtc-pc section 4.4.1.4).
fn from_jsep(error: JsepError) -> RtcError {
    match error {
        JsepError::Closed => RtcError::closed(),
        JsepError::InvalidState { .. } => RtcError::invalid_state(error.to_string()),
        error => RtcError::invalid_access(error.to_string()),
    }
}
