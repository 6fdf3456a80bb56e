//! The negotiation-needed algorithm (webrtc-pc section 4.7.3) and the changes of state that need no transport.

use peerstack_jsep::MediaKind;

use crate::rtp_transceiver::TransceiverId;
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
    let needed = check_if_negotiation_is_needed(state);
    if needed && !state.negotiation_needed {
        state.events.emit(PeerConnectionEvent::NegotiationNeeded);
    }
    state.negotiation_needed = needed;
}

fn check_if_negotiation_is_needed(state: &State) -> bool {
    if state.ice_restart {
        return true;
    }
    let (local, remote) = (state.current_local.as_ref(), state.current_remote.as_ref());
    let has_data = local.is_some_and(|description| {
        description
            .parsed
            .contents
            .iter()
            .any(|content| content.kind == MediaKind::Application && !content.rejected)
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
    if transceiver.stopped {
        return false;
    }
    let find = |description: Option<&Description>| {
        let mid = transceiver.mid.as_deref()?;
        let contents = &description?.parsed.contents;
        contents.iter().find(|content| content.mid == mid).cloned()
    };
    let (Some(local_content), Some(remote_content)) = (find(local), find(remote)) else {
        return !transceiver.stopping;
    };
    if transceiver.stopping {
        return !local_content.rejected && !remote_content.rejected;
    }
    let (Some(local_media), Some(remote_media)) =
        (local_content.description.as_rtp(), remote_content.description.as_rtp())
    else {
        return false;
    };
    if transceiver.direction.sends() {
        let mut streams: Vec<_> =
            local_media.msids.iter().filter_map(|msid| msid.stream_id.clone()).collect();
        let mut wanted = transceiver.sender_streams.clone();
        streams.sort_unstable();
        wanted.sort_unstable();
        if local_media.direction.sends() && streams != wanted {
            return true;
        }
    }
    let local_is_offer = local.is_some_and(|description| description.sdp_type == SdpType::Offer);
    if local_is_offer {
        let wanted = transceiver.direction;
        wanted != local_media.direction && wanted != remote_media.direction.reversed()
    } else {
        transceiver.direction.intersection(remote_media.direction.reversed()) != local_media.direction
    }
}

/// The synchronous half of `close()`. Returns whether this was the first time.
pub(crate) fn close_state(state: &mut State) -> bool {
    if state.closed {
        return false;
    }
    state.closed = true;
    state.set_signaling_state(SignalingState::Closed);
    state.ice_connection_state = IceConnectionState::Closed;
    state.connection_state = PeerConnectionState::Closed;
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
    track_queue: usize,
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
            let id = state.create_transceiver(kind, RtpTransceiverDirection::Recvonly, track_queue);
            if let Some(transceiver) = state.transceiver_mut(id) {
                transceiver.from_remote_offer = true;
            }
            id
        }
    }
}
