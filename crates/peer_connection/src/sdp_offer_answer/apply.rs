//! What descriptions do to transceivers (webrtc-pc section 4.4.1.5, "set a session description").

use std::sync::Arc;

use peerstack_jsep::{ContentInfo, MediaKind, SessionDescription as ParsedDescription};

use super::layout::SectionOwner;
use super::{Created, negotiation_needed};
use crate::network_task::MediaSection;
use crate::peer_connection_event::TrackEvent;
use crate::rtp_transceiver::{RtpReceiver, RtpTransceiver, TransceiverId};
use crate::shared::{Description, Shared, State, Transceiver};
use crate::{PeerConnectionEvent, RtcError, RtcErrorKind, RtpTransceiverDirection, SdpType, TrackKind};

pub(super) fn track_kind(kind: &MediaKind) -> Option<TrackKind> {
    match kind {
        MediaKind::Audio => Some(TrackKind::Audio),
        MediaKind::Video => Some(TrackKind::Video),
        _ => None,
    }
}

/// Gives the transceivers of a local description their sections.
pub(super) fn assign_mids(state: &mut State, created: &Created) {
    for (content, owner) in created.parsed.contents.iter().zip(&created.owners) {
        let SectionOwner::Transceiver(id) = owner else { continue };
        if let Some(transceiver) = state.transceiver_mut(*id) {
            transceiver.mid = Some(content.mid.clone());
        }
    }
}

/// Refuses what no peer that follows RFC 9429 section 5.8 sends.
pub(super) fn check_remote(
    state: &State,
    sdp_type: SdpType,
    parsed: &ParsedDescription,
) -> Result<(), RtcError> {
    let bad = |text: String| Err(RtcError::new(RtcErrorKind::InvalidAccessError, text));
    let previous = match sdp_type {
        SdpType::Offer => state.current_remote.as_ref(),
        _ => state.pending_local.as_ref(),
    };
    let Some(previous) = previous else { return Ok(()) };
    let (got, had) = (parsed.contents.len(), previous.parsed.contents.len());
    if sdp_type != SdpType::Offer && got != had {
        return bad(format!("the answer has {got} media sections, the offer has {had}"));
    }
    if got < had {
        return bad(format!("the offer has {got} media sections, the description before has {had}"));
    }
    for (index, (new, old)) in parsed.contents.iter().zip(&previous.parsed.contents).enumerate() {
        if sdp_type != SdpType::Offer && (new.kind != old.kind || new.mid != old.mid) {
            return bad(format!(
                "section {index} of the answer is {:?} {}, of the offer {:?} {}",
                new.mid,
                new.kind.as_str(),
                old.mid,
                old.kind.as_str()
            ));
        }
    }
    Ok(())
}

/// Finds or makes the transceivers of a remote offer.
pub(super) fn associate_sections(state: &mut State, shared: &Arc<Shared>, parsed: &ParsedDescription) {
    let queue = shared.configuration.settings.track_queue;
    for content in parsed.contents.iter().filter(|content| !content.rejected) {
        let (Some(kind), Some(media)) = (track_kind(&content.kind), content.description.as_rtp()) else {
            continue;
        };
        let id = negotiation_needed::associate(state, &content.mid, kind, media.direction, queue);
        if let Some(transceiver) = state.transceiver_mut(id) {
            transceiver.mid = Some(content.mid.clone());
        }
    }
}

/// Puts a local description in force.
pub(super) fn local(state: &mut State, shared: &Arc<Shared>, sdp_type: SdpType, parsed: ParsedDescription) {
    if sdp_type != SdpType::Offer {
        for content in &parsed.contents {
            settle(state, content, true);
            lose_track_if_not_receiving(state, content);
        }
    }
    let _ = shared;
    let description = Description { sdp_type, parsed };
    match sdp_type {
        SdpType::Answer => {
            state.current_local = Some(description);
            state.current_remote = state.pending_remote.take();
            state.pending_local = None;
        }
        _ => state.pending_local = Some(description),
    }
    if sdp_type == SdpType::Offer {
        state.ice_restart = false;
    }
}

/// Puts a remote description in force and tells the tracks it brings.
pub(super) fn remote(state: &mut State, shared: &Arc<Shared>, sdp_type: SdpType, parsed: ParsedDescription) {
    let mut tracks = Vec::new();
    for content in &parsed.contents {
        if sdp_type != SdpType::Offer {
            settle(state, content, false);
        }
        tracks.extend(update_track(state, content));
    }
    let description = Description { sdp_type, parsed };
    match sdp_type {
        SdpType::Answer => {
            state.current_remote = Some(description);
            state.current_local = state.pending_local.take();
            state.pending_remote = None;
        }
        _ => state.pending_remote = Some(description),
    }
    for id in tracks {
        let Some(transceiver) = state.transceiver(id) else { continue };
        let event = TrackEvent {
            receiver: RtpReceiver { shared: Arc::clone(shared), id },
            track: transceiver.receiver_track.clone(),
            streams: transceiver.receiver_streams.clone(),
            transceiver: RtpTransceiver { shared: Arc::clone(shared), id },
        };
        state.events.emit(PeerConnectionEvent::Track(event));
    }
}

/// An answer settles direction and codecs of its sections.
fn settle(state: &mut State, content: &ContentInfo, local: bool) {
    let Some(transceiver) = state.transceiver_by_mid(&content.mid) else { return };
    if content.rejected {
        stop(transceiver);
        return;
    }
    let Some(media) = content.description.as_rtp() else { return };
    let direction = if local { media.direction } else { media.direction.reversed() };
    transceiver.current_direction = Some(direction);
    transceiver.negotiated_codecs.clone_from(&media.codecs);
    transceiver.has_sent |= direction.sends();
}

fn stop(transceiver: &mut Transceiver) {
    transceiver.stopping = true;
    transceiver.stopped = true;
    transceiver.current_direction = None;
    transceiver.direction = RtpTransceiverDirection::Inactive;
    transceiver.receiver_track.end();
    transceiver.feedback.close();
}

/// webrtc-pc section 4.4.1.5: a track is told when the section starts to receive, again after it stopped to.
fn update_track(state: &mut State, content: &ContentInfo) -> Option<TransceiverId> {
    let media = content.description.as_rtp()?;
    let transceiver = state.transceiver_by_mid(&content.mid)?;
    if content.rejected {
        return None;
    }
    let ours = media.direction.reversed();
    let fired = transceiver.fired_direction.is_some_and(RtpTransceiverDirection::receives);
    let mut streams: Vec<String> = media.msids.iter().filter_map(|msid| msid.stream_id.clone()).collect();
    streams.dedup();
    transceiver.receiver_streams = streams;
    let track_id = media.msids.iter().find_map(|msid| msid.track_id.clone());
    if let Some(id) = track_id.filter(|_| !fired) {
        transceiver.receiver_track.set_id(id);
    }
    transceiver.fired_direction = Some(ours);
    (ours.receives() && !fired).then_some(transceiver.id)
}

fn lose_track_if_not_receiving(state: &mut State, content: &ContentInfo) {
    let Some(media) = content.description.as_rtp() else { return };
    let Some(transceiver) = state.transceiver_by_mid(&content.mid) else { return };
    if !media.direction.receives() {
        transceiver.fired_direction = Some(media.direction);
    }
}

/// What a rollback does to transceivers: those the remote offer made go, unless the application uses them;
/// the others get back what negotiation had changed (RFC 9429 section 4.1.10.2).
pub(super) fn restore_transceivers(state: &mut State, before: Vec<Transceiver>) {
    state.transceivers.retain_mut(|transceiver| {
        let old = before.iter().find(|old| old.id == transceiver.id);
        if old.is_none() && transceiver.from_remote_offer && transceiver.sender_track.is_none() {
            transceiver.stopped = true;
            transceiver.receiver_track.end();
            transceiver.feedback.close();
            return false;
        }
        transceiver.mid = old.and_then(|old| old.mid.clone());
        transceiver.current_direction = old.and_then(|old| old.current_direction);
        transceiver.fired_direction = old.and_then(|old| old.fired_direction);
        true
    });
}

/// The sections that both descriptions carry, as the network task needs them.
pub(super) fn media_sections(
    state: &State,
    local: &ParsedDescription,
    remote: &ParsedDescription,
) -> Vec<MediaSection> {
    let pairs = local.contents.iter().filter_map(|ours| Some((ours, remote.content(&ours.mid)?)));
    pairs
        .filter(|(ours, theirs)| !ours.rejected && !theirs.rejected)
        .filter_map(|(ours, theirs)| {
            let (our_media, their_media) = (ours.description.as_rtp()?, theirs.description.as_rtp()?);
            let transceiver = state
                .transceivers
                .iter()
                .find(|transceiver| transceiver.mid.as_deref() == Some(&ours.mid))?;
            let direction = our_media.direction.intersection(their_media.direction.reversed());
            Some(MediaSection {
                mid: ours.mid.clone(),
                id: transceiver.id,
                kind: transceiver.kind,
                direction,
                receive_codecs: our_media.codecs.clone(),
                send_codecs: their_media.codecs.clone(),
                reduced_size: our_media.rtcp_reduced_size && their_media.rtcp_reduced_size,
                remote_ssrcs: their_media.ssrcs.iter().map(|info| info.ssrc).collect(),
                receive_extensions: our_media.header_extensions.clone(),
                send_extensions: their_media.header_extensions.clone(),
                ssrc: transceiver.ssrc,
                track: transceiver.receiver_track.clone(),
                feedback: Arc::clone(&transceiver.feedback),
            })
        })
        .collect()
}
