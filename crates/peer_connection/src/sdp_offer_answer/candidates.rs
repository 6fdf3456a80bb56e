//! Candidates in descriptions: what is gathered enters the local one, what is signalled the remote one
//! (webrtc-pc sections 4.4.1.6 and 4.8).

use peerstack_jsep::{ContentInfo, SessionDescription as ParsedDescription};
use peerstack_p2p::Candidate;

use crate::shared::State;
use crate::{IceCandidateInit, IceGatheringState};

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

/// Takes candidates that are gone out of the local descriptions.
pub(crate) fn remove_local_candidates(state: &mut State, gone: &[Candidate]) {
    for description in [state.pending_local.as_mut(), state.current_local.as_mut()].into_iter().flatten() {
        for content in &mut description.parsed.contents {
            content.transport.candidates.retain(|candidate| {
                !gone
                    .iter()
                    .any(|gone| gone.address == candidate.address && gone.protocol == candidate.protocol)
            });
        }
    }
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

/// Enters a signalled candidate, or the end of candidates, into the remote descriptions.
pub(super) fn add_remote_candidate(state: &mut State, mid: &str, candidate: Option<&Candidate>) {
    for description in [state.pending_remote.as_mut(), state.current_remote.as_mut()].into_iter().flatten() {
        let Some((_, content)) = find(&mut description.parsed, mid) else { continue };
        match candidate {
            Some(candidate) => push(content, candidate.clone()),
            None => content.transport.end_of_candidates = true,
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
