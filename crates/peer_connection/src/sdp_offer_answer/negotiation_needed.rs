//! The negotiation-needed algorithm (webrtc-pc section 4.7.3) and the changes of state that need no transport.

use peerstack_jsep::{MediaKind, RtpMediaContentDescription};

use super::apply;
use crate::configuration::Settings;
use crate::network_task::TransceiverId;
use crate::shared::{Description, State, Transceiver};
use crate::{
    IceConnectionState, PeerConnectionEvent, PeerConnectionState, RtpTransceiverDirection, SdpType,
    SignalingState,
};

/// Runs when the operations chain is empty: tells `NegotiationNeeded` once for each need.
pub(crate) fn update_negotiation_needed(state: &mut State) {
    if state.closed || !state.check_negotiation_needed || state.signaling_state != SignalingState::Stable {
        return;
    }
    state.check_negotiation_needed = false;
    apply::forget_stopped(state);
    let needed = check_if_negotiation_is_needed(state);
    if needed && !state.negotiation_needed {
        state.events.emit(PeerConnectionEvent::NegotiationNeeded);
    }
    state.negotiation_needed = needed;
}

/// webrtc-pc section 4.7.3, "check if negotiation is needed".
fn check_if_negotiation_is_needed(state: &State) -> bool {
    if state.wants_ice_restart() {
        return true;
    }
    let (local, remote) = (state.current_local.as_ref(), state.current_remote.as_ref());
    let has_data = local.is_some_and(|description| {
        let mut contents = description.parsed.contents.iter();
        contents.any(|content| content.kind == MediaKind::Application && !content.rejected)
    });
    if state.wants_data && !has_data {
        return true;
    }
    state.transceivers.iter().any(|transceiver| transceiver_needs_it(transceiver, local, remote))
}

fn transceiver_needs_it(
    transceiver: &Transceiver,
    local: Option<&Description>,
    remote: Option<&Description>,
) -> bool {
    let over = transceiver.stopping || transceiver.stopped;
    let find = |description: Option<&'_ Description>| {
        description?.parsed.content(transceiver.mid.as_deref()?).cloned()
    };
    let (Some(local_content), Some(remote_content)) = (find(local), find(remote)) else {
        // Not associated: one that is over already needs no section either.
        return !over;
    };
    if over {
        return !local_content.rejected && !remote_content.rejected;
    }
    let (Some(local_media), Some(remote_media)) =
        (local_content.description.as_rtp(), remote_content.description.as_rtp())
    else {
        return false;
    };
    let wanted = transceiver.direction;
    if wanted.sends() && !says_streams(local_media, &transceiver.sender_streams) {
        return true;
    }
    let offered = remote_media.direction.reversed();
    match local.map(|description| description.sdp_type) {
        Some(SdpType::Offer) => wanted != local_media.direction && wanted != offered,
        _ => local_media.direction != wanted.intersection(offered),
    }
}

/// Whether the `a=msid` lines name these streams.
fn says_streams(media: &RtpMediaContentDescription, wanted: &[String]) -> bool {
    let mut said: Vec<&str> = media.msids.iter().filter_map(|msid| msid.stream_id.as_deref()).collect();
    let mut wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    said.sort_unstable();
    wanted.sort_unstable();
    !media.msids.is_empty() && said == wanted
}

/// The synchronous half of `close()`. Returns whether this was the first time.
pub(crate) fn close_state(state: &mut State) -> bool {
    if state.closed {
        return false;
    }
    state.closed = true;
    // webrtc-pc section 4.4.2, `close`: none of the three is told as an event.
    state.signaling_state = SignalingState::Closed;
    state.ice_connection_state = IceConnectionState::Closed;
    state.connection_state = PeerConnectionState::Closed;
    state.views.close();
    for transceiver in &mut state.transceivers {
        transceiver.stopping = true;
        transceiver.stopped = true;
        transceiver.direction = RtpTransceiverDirection::Inactive;
        transceiver.receiver_track.end();
        transceiver.feedback.close();
    }
    true
}

/// The transceiver of a section of the peer's offer, made if none fits (RFC 9429 section 5.10).
pub(super) fn associate(
    state: &mut State,
    mid: &str,
    kind: crate::TrackKind,
    offered: RtpTransceiverDirection,
    settings: &Settings,
) -> TransceiverId {
    if let Some(transceiver) = state.transceiver_by_mid(mid) {
        return transceiver.id;
    }
    // Only what add_track made, and only if the peer would receive.
    let free = state.transceivers.iter().find(|transceiver| {
        transceiver.mid.is_none()
            && transceiver.from_add_track
            && transceiver.kind == kind
            && !transceiver.stopped
            && !transceiver.stopping
            && offered.receives()
    });
    match free {
        Some(transceiver) => transceiver.id,
        None => {
            let id = state.create_transceiver(kind, RtpTransceiverDirection::Recvonly, settings);
            if let Some(transceiver) = state.transceiver_mut(id) {
                transceiver.from_remote_offer = true;
            }
            id
        }
    }
}
