//! Candidates in descriptions: what is gathered enters the local one, what is signalled the remote one
//! (webrtc-pc sections 4.4.2 and 4.8).

use peerstack_jsep::{ContentInfo, SessionDescription as ParsedDescription};
use peerstack_p2p::Candidate;

use crate::shared::State;
use crate::transport_views::is_among;
use crate::{IceCandidateInit, IceGatheringState, RtcError};

/// Candidates a description may hold for one section; a peer that sends more gains nothing.
const MAX_CANDIDATES: usize = 256;

/// Enters a gathered candidate into the local description and says what to signal; `None` if the section is
/// gone.
pub(crate) fn add_local_candidate(
    state: &mut State,
    mid: &str,
    candidate: Candidate,
) -> Option<IceCandidateInit> {
    let mut init = None;
    for description in [state.pending_local.as_mut(), state.current_local.as_mut()].into_iter().flatten() {
        let Some((index, content)) = find(&mut description.parsed, mid) else { continue };
        if content.transport.ice.as_ref().is_some_and(|ice| ice.ufrag != candidate.username_fragment) {
            continue;
        }
        push(content, candidate.clone());
        init.get_or_insert_with(|| IceCandidateInit {
            candidate: candidate.to_sdp(),
            sdp_mid: Some(mid.to_owned()),
            sdp_mline_index: u16::try_from(index).ok(),
            username_fragment: Some(candidate.username_fragment.clone()),
        });
    }
    init
}

/// Whether a local description in force has the generation that a candidate told of is of. While it waited to be read,
/// its offer may have been taken back: the peer, which was never told of it or has forgotten it, would refuse it.
pub(crate) fn is_in_force(state: &State, init: &IceCandidateInit) -> bool {
    let (Some(mid), Some(ufrag)) = (&init.sdp_mid, &init.username_fragment) else { return true };
    let descriptions = [state.pending_local.as_ref(), state.current_local.as_ref()].into_iter().flatten();
    let mut contents = descriptions.filter_map(|description| description.parsed.content(mid));
    contents.any(|content| content.transport.ice.as_ref().is_none_or(|ice| ice.ufrag == *ufrag))
}

/// Takes candidates that are gone out of the local descriptions; returns what to signal of those that a description
/// had, as those of this section.
pub(crate) fn remove_local_candidates(
    state: &mut State,
    mid: &str,
    gone: &[Candidate],
) -> Vec<IceCandidateInit> {
    let mut told: Vec<IceCandidateInit> = Vec::new();
    for description in [state.pending_local.as_mut(), state.current_local.as_mut()].into_iter().flatten() {
        for (index, content) in description.parsed.contents.iter_mut().enumerate() {
            content.transport.candidates.retain(|candidate| {
                if !is_among(gone, candidate) {
                    return true;
                }
                let init = IceCandidateInit {
                    candidate: candidate.to_sdp(),
                    sdp_mid: Some(content.mid.clone()),
                    sdp_mline_index: u16::try_from(index).ok(),
                    username_fragment: Some(candidate.username_fragment.clone()),
                };
                if content.mid == mid && !told.contains(&init) {
                    told.push(init);
                }
                false
            });
        }
    }
    told
}

/// Marks the end of candidates in the local description once gathering is complete.
pub(crate) fn note_gathering_state(state: &mut State, gathering: IceGatheringState) {
    let complete = gathering == IceGatheringState::Complete;
    for description in [state.pending_local.as_mut(), state.current_local.as_mut()].into_iter().flatten() {
        for content in &mut description.parsed.contents {
            content.transport.end_of_candidates = complete && !content.transport.candidates.is_empty();
        }
    }
}

/// A transport has gathered all candidates of its generation: says so in the description, and what to signal (RFC 8838
/// section 13, RFC 8840 section 8.2). `None` if the section is gone.
pub(crate) fn end_of_candidates(state: &mut State, mid: &str) -> Option<IceCandidateInit> {
    let mut end = None;
    for description in [state.pending_local.as_mut(), state.current_local.as_mut()].into_iter().flatten() {
        let Some((index, content)) = find(&mut description.parsed, mid) else { continue };
        let Some(ice) = content.transport.ice.as_ref().filter(|_| !content.rejected) else { continue };
        end.get_or_insert_with(|| IceCandidateInit {
            candidate: String::new(),
            sdp_mid: Some(mid.to_owned()),
            sdp_mline_index: u16::try_from(index).ok(),
            username_fragment: Some(ice.ufrag.clone()),
        });
    }
    end
}

/// `addIceCandidate` (webrtc-pc section 4.4.2): enters a candidate, or the end of candidates, into the remote
/// descriptions it belongs to. Returns it with the sections whose transports are to be told.
pub(super) fn add_ice_candidate(
    state: &mut State,
    init: &IceCandidateInit,
) -> Result<(Option<Candidate>, Vec<String>), RtcError> {
    let names_section = init.sdp_mid.is_some() || init.sdp_mline_index.is_some();
    if !init.candidate.is_empty() && !names_section {
        return Err(RtcError::type_error("a candidate needs sdp_mid or sdp_mline_index, both are absent"));
    }
    let remote = state
        .remote()
        .ok_or_else(|| RtcError::invalid_state("there is no remote description to add a candidate to"))?;
    let mids = match names_section {
        true => vec![section_of(&remote.parsed, init)?],
        // The end of all candidates.
        false => remote.parsed.contents.iter().map(|content| content.mid.clone()).collect(),
    };
    if let Some(ufrag) = &init.username_fragment {
        check_generation(state, &mids, ufrag)?;
    }
    let candidate = parse_candidate(init)?;
    let targets = mids.into_iter().filter(|mid| add_remote_candidate(state, mid, init, candidate.as_ref()));
    let targets = targets.collect();
    Ok((candidate, targets))
}

/// Takes candidates of the peer out of the remote descriptions. Returns each with the section whose transport is to be
/// told. Nothing has changed if any is refused.
pub(super) fn remove_ice_candidates(
    state: &mut State,
    inits: &[IceCandidateInit],
) -> Result<Vec<(String, Candidate)>, RtcError> {
    let Some(remote) = state.remote() else {
        return Err(RtcError::invalid_state("there is no remote description to take a candidate out of"));
    };
    let mut gone = Vec::new();
    for init in inits {
        if init.sdp_mid.is_none() && init.sdp_mline_index.is_none() {
            let text = "a candidate needs sdp_mid or sdp_mline_index, both are absent";
            return Err(RtcError::type_error(text));
        }
        let mid = section_of(&remote.parsed, init)?;
        let Some(candidate) = parse_candidate(init)? else {
            return Err(RtcError::type_error("the end of candidates cannot be taken back"));
        };
        if !candidate.username_fragment.is_empty() {
            check_generation(state, std::slice::from_ref(&mid), &candidate.username_fragment)?;
        }
        gone.push((mid, candidate));
    }
    for description in [state.pending_remote.as_mut(), state.current_remote.as_mut()].into_iter().flatten() {
        for (mid, gone) in &gone {
            let Some((_, content)) = find(&mut description.parsed, mid) else { continue };
            let gone = std::slice::from_ref(gone);
            content.transport.candidates.retain(|candidate| !is_among(gone, candidate));
        }
    }
    Ok(gone)
}

fn section_of(description: &ParsedDescription, init: &IceCandidateInit) -> Result<String, RtcError> {
    // The tag counts more than the position.
    if let Some(mid) = &init.sdp_mid {
        let found = description.content(mid).map(|content| content.mid.clone());
        return found.ok_or_else(|| {
            RtcError::operation(format!("no media section of the remote description has the mid {mid:?}"))
        });
    }
    let index = usize::from(init.sdp_mline_index.unwrap_or_default());
    let found = description.contents.get(index).map(|content| content.mid.clone());
    found.ok_or_else(|| {
        let count = description.contents.len();
        RtcError::operation(format!("there is no media section {index}, the remote description has {count}"))
    })
}

/// The generation must be one that a remote description in force has.
fn check_generation(state: &State, mids: &[String], ufrag: &str) -> Result<(), RtcError> {
    let known = [state.pending_remote.as_ref(), state.current_remote.as_ref()].into_iter().flatten().any(
        |description| {
            let contents = mids.iter().filter_map(|mid| description.parsed.content(mid));
            contents.filter(|content| !content.rejected).any(|content| has_ufrag(content, ufrag))
        },
    );
    // A section that is over has no user fragment: what comes for it is late, not wrong.
    let over =
        |mid: &String| state.remote().and_then(|it| it.parsed.content(mid)).is_some_and(|it| it.rejected);
    if known || mids.iter().all(over) {
        return Ok(());
    }
    Err(RtcError::operation(format!(
        "no remote description has the ICE user fragment {ufrag:?} for {mids:?}"
    )))
}

fn has_ufrag(content: &ContentInfo, ufrag: &str) -> bool {
    content.transport.ice.as_ref().is_some_and(|ice| ice.ufrag == ufrag)
}

fn parse_candidate(init: &IceCandidateInit) -> Result<Option<Candidate>, RtcError> {
    if init.candidate.is_empty() {
        return Ok(None);
    }
    let mut candidate = Candidate::parse(&init.candidate)
        .map_err(|error| RtcError::operation(format!("the candidate {:?}: {error}", init.candidate)))?;
    if let Some(ufrag) = &init.username_fragment {
        candidate.username_fragment.clone_from(ufrag);
    }
    Ok(Some(candidate))
}

/// Enters it into the remote descriptions of its generation. Returns whether the transport is to be told: not if the
/// section is rejected, and of the end of candidates only in the generation in force.
fn add_remote_candidate(
    state: &mut State,
    mid: &str,
    init: &IceCandidateInit,
    candidate: Option<&Candidate>,
) -> bool {
    let said =
        candidate.map(|candidate| candidate.username_fragment.clone()).filter(|ufrag| !ufrag.is_empty());
    let ufrag = init.username_fragment.clone().or(said);
    let (mut latest, mut tell) = (true, false);
    for description in [state.pending_remote.as_mut(), state.current_remote.as_mut()].into_iter().flatten() {
        let newest = std::mem::take(&mut latest);
        let Some((_, content)) = find(&mut description.parsed, mid) else { continue };
        if content.rejected {
            continue;
        }
        let belongs = match &ufrag {
            Some(ufrag) => has_ufrag(content, ufrag),
            // Without a word on the generation it is the latest.
            None => newest,
        };
        match candidate {
            // What is not of this generation may be of one to come: the transport keeps it.
            Some(candidate) => {
                tell = true;
                if belongs {
                    push(content, candidate.clone());
                }
            }
            None if belongs => {
                content.transport.end_of_candidates = true;
                tell |= newest;
            }
            None => {}
        }
    }
    tell
}

/// A description that continues the one before, its generation being the same, still has the candidates known so far
/// (RFC 9429 section 5.2.2).
pub(super) fn carry_over(before: Option<&ParsedDescription>, description: &mut ParsedDescription) {
    let Some(before) = before else { return };
    for content in description.contents.iter_mut().filter(|content| !content.rejected) {
        let Some(old) = before.content(&content.mid).filter(|old| !old.rejected) else { continue };
        let same = |a: &ContentInfo, b: &ContentInfo| match (&a.transport.ice, &b.transport.ice) {
            (Some(a), Some(b)) => (&a.ufrag, &a.pwd) == (&b.ufrag, &b.pwd),
            _ => false,
        };
        if same(old, content) {
            for candidate in &old.transport.candidates {
                push(content, candidate.clone());
            }
            content.transport.end_of_candidates |= old.transport.end_of_candidates;
        }
    }
}

fn find<'a>(description: &'a mut ParsedDescription, mid: &str) -> Option<(usize, &'a mut ContentInfo)> {
    description.contents.iter_mut().enumerate().find(|(_, content)| content.mid == mid)
}

fn push(content: &mut ContentInfo, candidate: Candidate) {
    let candidates = &mut content.transport.candidates;
    if candidates.len() < MAX_CANDIDATES && !candidates.contains(&candidate) {
        candidates.push(candidate);
    }
}
