//! What descriptions do to transceivers (webrtc-pc section 4.4.1.4, "set a session description").

use std::sync::Arc;

use peerstack_jsep::{
    Codec, ContentInfo, MediaKind, RtpExtension, RtpMediaContentDescription,
    SessionDescription as ParsedDescription,
};

use super::layout::SectionOwner;
use super::{Created, candidates, negotiation_needed};
use crate::media_engine::{codec_match, in_direction};
use crate::network_task::TransceiverId;
use crate::network_task::{MediaSection, SectionEncoding};
use crate::peer_connection_event::TrackEvent;
use crate::rtp_parameters::MAX_ENCODINGS;
use crate::rtp_transceiver::{RtpTransceiver, distinct};
use crate::send_encodings::{self, SendEncoding, WantedLayer};
use crate::shared::{Description, Shared, State, Transceiver};
use crate::{PeerConnectionEvent, RtpTransceiverDirection, SdpType, TrackKind};

/// What the stream of a peer is called that does not name its streams, as in libwebrtc.
const DEFAULT_STREAM: &str = "default";

pub(super) fn track_kind(kind: &MediaKind) -> Option<TrackKind> {
    match kind {
        MediaKind::Audio => Some(TrackKind::Audio),
        MediaKind::Video => Some(TrackKind::Video),
        _ => None,
    }
}

/// What a description changed of the tracks to receive, told once the state is that of the description.
#[derive(Debug, Default)]
pub(super) struct TrackChanges {
    /// The peer sends no more, with the streams it was in.
    removed: Vec<(Transceiver, Vec<String>)>,
    added: Vec<TransceiverId>,
}

impl TrackChanges {
    /// Tells the events: what is gone first (webrtc-pc section 4.4.1.4).
    pub(super) fn tell(self, state: &mut State, shared: &Arc<Shared>) {
        for (transceiver, streams) in self.removed {
            let event = PeerConnectionEvent::TrackRemoved(track_event(shared, &transceiver, streams));
            state.events.emit(event);
        }
        for id in self.added {
            let Some(transceiver) = state.transceiver(id) else { continue };
            let event = track_event(shared, transceiver, transceiver.receiver_streams.clone());
            state.events.emit(PeerConnectionEvent::Track(event));
        }
    }
}

fn track_event(shared: &Arc<Shared>, transceiver: &Transceiver, streams: Vec<String>) -> TrackEvent {
    let handle = RtpTransceiver::new(shared, transceiver);
    TrackEvent {
        receiver: handle.receiver(),
        track: transceiver.receiver_track.clone(),
        streams,
        transceiver: handle,
    }
}

/// Gives the transceivers of a local description their sections.
pub(super) fn assign_mids(state: &mut State, created: &Created) {
    for (content, owner) in created.parsed.contents.iter().zip(&created.owners) {
        if let Some(next) = content.mid.parse().ok().and_then(|mid: u32| mid.checked_add(1)) {
            state.next_mid = state.next_mid.max(next);
        }
        let SectionOwner::Transceiver(id) = owner else { continue };
        if let Some(transceiver) = state.transceiver_mut(*id) {
            transceiver.mid = Some(content.mid.clone());
        }
    }
}

/// Finds or makes the transceivers of a remote offer.
pub(super) fn associate_sections(state: &mut State, shared: &Arc<Shared>, parsed: &ParsedDescription) {
    let settings = &shared.configuration.settings;
    for content in parsed.contents.iter().filter(|content| !content.rejected) {
        let (Some(kind), Some(media)) = (track_kind(&content.kind), content.description.as_rtp()) else {
            continue;
        };
        let id = negotiation_needed::associate(state, &content.mid, kind, media.direction, settings);
        let offered = send_encodings::wanted_by_peer(&content.kind, media);
        // SSRCs for as many as there may be, taken before the transceiver is borrowed.
        let mut ssrcs: Vec<u32> = Vec::new();
        while !offered.is_empty() && ssrcs.len() < 2 * MAX_ENCODINGS {
            let ssrc = state.fresh_ssrc();
            if !ssrcs.contains(&ssrc) {
                ssrcs.push(ssrc);
            }
        }
        let Some(transceiver) = state.transceiver_mut(id) else { continue };
        transceiver.mid = Some(content.mid.clone());
        if send_encodings::take_offered(&mut transceiver.encodings, &offered, || {
            ssrcs.pop().unwrap_or_default()
        }) {
            transceiver.last_parameters = None;
        }
    }
}

/// Puts a local description in force.
pub(super) fn local(state: &mut State, sdp_type: SdpType, mut parsed: ParsedDescription) -> TrackChanges {
    let mut changes = TrackChanges::default();
    if sdp_type != SdpType::Offer {
        for content in &parsed.contents {
            let Some(transceiver) = state.transceiver_by_mid(&content.mid) else { continue };
            let direction = direction_of(content);
            settle(transceiver, content, direction, true);
            if let Some(media) = content.description.as_rtp().filter(|_| !content.rejected) {
                settle_encodings(transceiver, &send_encodings::said_by_us(&content.kind, media), false);
            }
            if !direction.receives() {
                stop_receiving(transceiver, &mut changes);
            }
            transceiver.fired_direction = Some(direction);
            if content.rejected {
                stop(transceiver);
            }
        }
    }
    candidates::carry_over(state.local().map(|before| &before.parsed), &mut parsed);
    let description = Description { sdp_type, parsed };
    match sdp_type {
        SdpType::Answer => {
            state.current_local = Some(description);
            state.current_remote = state.pending_remote.take();
            state.pending_local = None;
        }
        _ => state.pending_local = Some(description),
    }
    changes
}

/// Puts a remote description in force.
pub(super) fn remote(state: &mut State, sdp_type: SdpType, mut parsed: ParsedDescription) -> TrackChanges {
    let mut changes = TrackChanges::default();
    for content in &parsed.contents {
        let offered = state.pending_local.as_ref().and_then(|offer| offer.parsed.content(&content.mid));
        let offered = offered.map_or(RtpTransceiverDirection::Sendrecv, direction_of);
        let Some(transceiver) = state.transceiver_by_mid(&content.mid) else { continue };
        let mut direction = direction_of(content).reversed();
        if sdp_type != SdpType::Offer {
            // An answer takes no more than was offered, whatever it says (RFC 3264 section 6.1).
            direction = direction.intersection(offered);
            settle(transceiver, content, direction, false);
            if let Some(media) = content.description.as_rtp().filter(|_| !content.rejected) {
                settle_encodings(transceiver, &send_encodings::wanted_by_peer(&content.kind, media), true);
            }
        }
        update_track(transceiver, content, direction, &mut changes);
        if content.rejected {
            stop(transceiver);
        }
    }
    candidates::carry_over(state.remote().map(|before| &before.parsed), &mut parsed);
    let description = Description { sdp_type, parsed };
    match sdp_type {
        SdpType::Answer => {
            state.current_remote = Some(description);
            state.current_local = state.pending_local.take();
            state.pending_remote = None;
        }
        _ => state.pending_remote = Some(description),
    }
    changes
}

/// The direction of a section as its writer sees it; nothing goes in one that is rejected.
fn direction_of(content: &ContentInfo) -> RtpTransceiverDirection {
    let media = content.description.as_rtp().filter(|_| !content.rejected);
    media.map_or(RtpTransceiverDirection::Inactive, |media| media.direction)
}

/// An answer settles direction and codecs of its sections.
fn settle(
    transceiver: &mut Transceiver,
    content: &ContentInfo,
    direction: RtpTransceiverDirection,
    ours: bool,
) {
    let Some(media) = content.description.as_rtp().filter(|_| !content.rejected) else { return };
    transceiver.current_direction = Some(direction);
    transceiver.negotiated_codecs.clone_from(&media.codecs);
    transceiver.reduced_size = media.rtcp_reduced_size;
    // The answer says what is left of the offer, as its writer sees it.
    transceiver.send_extensions = in_direction(&media.header_extensions, ours);
    transceiver.receive_extensions = in_direction(&media.header_extensions, !ours);
    transceiver.has_sent |= direction.sends();
}

/// An answer settles which encodings go on, and with which codec (R11, R19).
fn settle_encodings(transceiver: &mut Transceiver, agreed: &[WantedLayer], peer_answers: bool) {
    let before = transceiver.encodings.len();
    send_encodings::narrow(&mut transceiver.encodings, agreed, peer_answers);
    // R13: parameters got before are of no use only if there are fewer encodings now.
    if transceiver.encodings.len() != before {
        transceiver.last_parameters = None;
    }
    let Transceiver { encodings, negotiated_codecs, .. } = transceiver;
    for encoding in encodings {
        let parameters = &mut encoding.parameters;
        let known = |codec: &Codec| negotiated_codecs.iter().any(|own| codec_match(own, codec));
        if parameters.codec.as_ref().is_some_and(|codec| !known(codec)) {
            parameters.codec = None;
        }
    }
}

fn stop(transceiver: &mut Transceiver) {
    transceiver.stopping = true;
    transceiver.stopped = true;
    transceiver.current_direction = None;
    transceiver.direction = RtpTransceiverDirection::Inactive;
    transceiver.receiver_track.end();
    transceiver.feedback.close();
}

/// webrtc-pc section 4.4.1.4: a track is told when the section starts to receive, again after it stopped to.
fn update_track(
    transceiver: &mut Transceiver,
    content: &ContentInfo,
    direction: RtpTransceiverDirection,
    changes: &mut TrackChanges,
) {
    let fired = transceiver.fired_direction.is_some_and(RtpTransceiverDirection::receives);
    if direction.receives() {
        let msids = content.description.as_rtp().map(|media| media.msids.as_slice()).unwrap_or_default();
        let streams: Vec<String> = match msids {
            // A peer that knows no `a=msid`: all its tracks are in one stream.
            [] => vec![DEFAULT_STREAM.to_owned()],
            msids => msids.iter().filter_map(|msid| msid.stream_id.clone()).collect(),
        };
        transceiver.receiver_streams = distinct(&streams);
        if !fired {
            if let Some(id) = msids.iter().find_map(|msid| msid.track_id.clone()) {
                transceiver.receiver_track.set_id(id);
            }
            changes.added.push(transceiver.id);
        }
    } else {
        stop_receiving(transceiver, changes);
    }
    transceiver.fired_direction = Some(direction);
}

/// The peer sends no more: its track is in no stream ("process the removal of a remote track").
fn stop_receiving(transceiver: &mut Transceiver, changes: &mut TrackChanges) {
    let streams = std::mem::take(&mut transceiver.receiver_streams);
    if transceiver.fired_direction.is_some_and(RtpTransceiverDirection::receives) {
        changes.removed.push((transceiver.clone(), streams));
    }
}

/// What a rollback does to transceivers: those the remote offer made go, unless `add_track` took them; the others
/// get back what negotiation had changed (RFC 9429 section 4.1.10.2). What a rejected section stopped stays so.
pub(super) fn restore_transceivers(state: &mut State, before: &[Transceiver]) -> TrackChanges {
    let mut changes = TrackChanges::default();
    state.transceivers.retain_mut(|transceiver| {
        let old = before.iter().find(|old| old.id == transceiver.id);
        let receives = |one: &Transceiver| one.fired_direction.is_some_and(RtpTransceiverDirection::receives);
        let (did, does) = (old.is_some_and(receives), receives(transceiver));
        if does && !did {
            stop_receiving(transceiver, &mut changes);
        } else if did && !does && !transceiver.stopped {
            changes.added.push(transceiver.id);
        }
        transceiver.mid = old.and_then(|old| old.mid.clone());
        transceiver.current_direction =
            old.and_then(|old| old.current_direction).filter(|_| !transceiver.stopped);
        transceiver.fired_direction = old.and_then(|old| old.fired_direction);
        if let Some(old) = old.filter(|old| old.encodings.len() != transceiver.encodings.len()) {
            transceiver.encodings.clone_from(&old.encodings);
            transceiver.last_parameters = None;
        }
        transceiver.receiver_streams = old.map(|old| old.receiver_streams.clone()).unwrap_or_default();
        if old.is_some() || !transceiver.from_remote_offer {
            return true;
        }
        transceiver.from_remote_offer = false;
        transceiver.from_add_track = transceiver.used_by_add_track;
        if !transceiver.used_by_add_track {
            stop(transceiver);
        }
        transceiver.used_by_add_track
    });
    changes
}

/// Lets go of transceivers that are over and whose section, if they ever had one, is refused (webrtc-pc section
/// 4.4.1.4, at the end of an exchange). One without a section has nothing to wait for (O03).
pub(super) fn forget_stopped(state: &mut State) {
    let State { transceivers, current_local, current_remote, .. } = state;
    let descriptions = [current_local.as_ref(), current_remote.as_ref()];
    transceivers.retain_mut(|transceiver| {
        let Some(mid) = transceiver.mid.as_deref() else {
            if transceiver.stopping {
                stop(transceiver);
            }
            return !transceiver.stopping;
        };
        let mut contents = descriptions.iter().flatten().map(|description| description.parsed.content(mid));
        let refused = contents.any(|content| content.is_none_or(|content| content.rejected));
        !(transceiver.stopped && refused)
    });
}

/// The sections of the last completed exchange.
pub(super) fn current_sections(state: &State) -> Vec<MediaSection> {
    match (&state.current_local, &state.current_remote) {
        (Some(local), Some(remote)) => media_sections(state, &local.parsed, &remote.parsed),
        _ => Vec::new(),
    }
}

/// O28: what an offer of ours would receive is listened to before its answer comes, which media may overtake; what was
/// agreed before goes on (webrtc-pc section 4.4.1.4, `[[Receptive]]`).
pub(super) fn receptive_sections(state: &State, offer: &Created) -> Vec<MediaSection> {
    let mut sections = current_sections(state);
    for (content, owner) in offer.parsed.contents.iter().zip(&offer.owners) {
        let SectionOwner::Transceiver(id) = owner else { continue };
        let media =
            content.description.as_rtp().filter(|media| !content.rejected && media.direction.receives());
        let (Some(media), Some(transceiver)) = (media, state.transceiver(*id)) else { continue };
        if let Some(section) = sections.iter_mut().find(|section| section.id == *id) {
            section.direction = RtpTransceiverDirection::new(section.direction.sends(), true);
            section.receive_codecs.clone_from(&media.codecs);
            section.receive_extensions = in_direction(&media.header_extensions, false);
            continue;
        }
        sections.push(MediaSection {
            mid: content.mid.clone(),
            id: *id,
            kind: transceiver.kind,
            direction: RtpTransceiverDirection::Recvonly,
            receive_codecs: media.codecs.clone(),
            send_codecs: Vec::new(),
            reduced_size: false,
            remote_ssrcs: Vec::new(),
            remote_repairs: Vec::new(),
            receive_extensions: in_direction(&media.header_extensions, false),
            send_extensions: Vec::new(),
            extmap_allow_mixed: media.extmap_allow_mixed,
            encodings: transceiver.encodings.iter().map(section_encoding).collect(),
            track: transceiver.receiver_track.clone(),
            feedback: Arc::clone(&transceiver.feedback),
        });
    }
    sections
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
            let mut encodings = transceiver.encodings.clone();
            let mut agreed = send_encodings::wanted_by_peer(&ours.kind, their_media);
            let said = send_encodings::said_by_us(&ours.kind, our_media);
            agreed.retain(|layer| said.iter().any(|own| own.rid == layer.rid));
            send_encodings::narrow(&mut encodings, &agreed, false);
            Some(MediaSection {
                mid: ours.mid.clone(),
                id: transceiver.id,
                kind: transceiver.kind,
                direction,
                receive_codecs: our_media.codecs.clone(),
                send_codecs: their_media.codecs.clone(),
                reduced_size: our_media.rtcp_reduced_size && their_media.rtcp_reduced_size,
                remote_ssrcs: their_media.ssrcs.iter().map(|info| info.ssrc).collect(),
                remote_repairs: repairs(their_media),
                receive_extensions: agreed_extensions(our_media, their_media),
                send_extensions: agreed_extensions(their_media, our_media),
                extmap_allow_mixed: our_media.extmap_allow_mixed && their_media.extmap_allow_mixed,
                encodings: encodings.iter().map(section_encoding).collect(),
                track: transceiver.receiver_track.clone(),
                feedback: Arc::clone(&transceiver.feedback),
            })
        })
        .collect()
}

/// The header extensions that go from `sender` to `receiver`, with the ids the receiver has for them (RFC 8285
/// section 5).
fn agreed_extensions(
    receiver: &RtpMediaContentDescription,
    sender: &RtpMediaContentDescription,
) -> Vec<RtpExtension> {
    let mut agreed = in_direction(&receiver.header_extensions, false);
    let sent = in_direction(&sender.header_extensions, true);
    agreed.retain(|one| sent.iter().any(|other| other.uri == one.uri));
    agreed
}

/// What the network task needs of an encoding.
fn section_encoding(encoding: &SendEncoding) -> SectionEncoding {
    let rid = encoding.rid().map(Arc::from);
    SectionEncoding { rid, ssrc: encoding.ssrc, rtx_ssrc: encoding.rtx_ssrc }
}

/// Which SSRC of the peer repairs which (RFC 4588 section 8.3).
fn repairs(media: &RtpMediaContentDescription) -> Vec<(u32, u32)> {
    let groups = media.ssrc_groups.iter().filter(|group| group.semantics == "FID");
    groups
        .filter_map(|group| match group.ssrcs.as_slice() {
            [primary, repair] => Some((*repair, *primary)),
            _ => None,
        })
        .collect()
}
