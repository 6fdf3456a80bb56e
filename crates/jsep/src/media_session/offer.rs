//! Offers (RFC 9429 section 5.2).

use peerstack_p2p::{ConnectionRole, IceMode};

use super::payload_types::{NumberPicker, NumberRegistry};
use super::{
    MediaDescriptionOptions, MediaSessionError, MediaSessionOptions, SCTP_PORT, check_kind, check_sections,
    msid_semantic, says_senders,
};
use crate::BundlePolicy;
use crate::codec::Codec;
use crate::session_description::{
    ContentGroup, ContentInfo, MediaContentDescription, MediaKind, PROTOCOL_SCTP, RidDirection,
    RtpMediaContentDescription, RtpTransceiverDirection, SctpDataContentDescription, SessionDescription,
    SsrcInfo, TransportDescription, UnsupportedContentDescription,
};

/// Makes an offer, but for its `o=` line.
pub(super) fn create(
    options: &MediaSessionOptions,
    local: Option<&SessionDescription>,
    remote: Option<&SessionDescription>,
    numbers: &mut NumberRegistry,
) -> Result<SessionDescription, MediaSessionError> {
    check_sections(&options.sections)?;
    check_continuity(options, local, remote)?;
    for description in [local, remote].into_iter().flatten() {
        numbers.record(description);
    }
    let mut picker = NumberPicker::new(numbers);
    let mut contents = Vec::with_capacity(options.sections.len());
    for section in &options.sections {
        let before = [local, remote].map(|side| side.and_then(|side| side.content(&section.mid)));
        contents.push(content(options, section, before, &mut picker));
    }
    let bundle_groups = bundle_groups(options, &contents, local);
    if options.bundle && local.is_none_or(|local| local.bundle_groups.is_empty()) {
        mark_bundle_only(options.bundle_policy, &mut contents);
    }
    Ok(SessionDescription {
        msid_semantic: msid_semantic(&contents),
        ice_lite: contents.iter().any(|content| content.transport.ice_mode == IceMode::Lite),
        extmap_allow_mixed: options.extmap_allow_mixed,
        contents,
        bundle_groups,
        ..SessionDescription::default()
    })
}

/// The sections continue those there were: none less, the same mids at the same places unless the place was
/// rejected (O07), each mid of its kind (O25).
fn check_continuity(
    options: &MediaSessionOptions,
    local: Option<&SessionDescription>,
    remote: Option<&SessionDescription>,
) -> Result<(), MediaSessionError> {
    for side in [local, remote].into_iter().flatten() {
        if options.sections.len() < side.contents.len() {
            return Err(MediaSessionError::MissingSections {
                before: side.contents.len(),
                given: options.sections.len(),
            });
        }
    }
    for (index, section) in options.sections.iter().enumerate() {
        let before = [local, remote].map(|side| side.and_then(|side| side.contents.get(index)));
        let recyclable = before.iter().flatten().any(|content| content.rejected);
        for content in before.into_iter().flatten() {
            if content.mid != section.mid && !recyclable {
                return Err(MediaSessionError::SectionInUse {
                    index,
                    before: content.mid.clone(),
                    given: section.mid.clone(),
                });
            }
        }
        for side in [local, remote].into_iter().flatten() {
            check_kind(section, side.content(&section.mid))?;
        }
    }
    Ok(())
}

fn content(
    options: &MediaSessionOptions,
    section: &MediaDescriptionOptions,
    before: [Option<&ContentInfo>; 2],
    picker: &mut NumberPicker<'_>,
) -> ContentInfo {
    let [local, remote] = before;
    let protocol = match section.kind {
        MediaKind::Application => PROTOCOL_SCTP,
        _ => options.rtp_protocol,
    };
    // A protocol once agreed is kept: `UDP/TLS/RTP/SAVPF` and `UDP/DTLS/SCTP` are what we begin with.
    let protocol = local.or(remote).map_or(protocol, |content| content.protocol.as_str());
    let stopped = section.stopped || matches!(section.kind, MediaKind::Unsupported(_));
    let description = match &section.kind {
        MediaKind::Audio | MediaKind::Video => {
            let known: Vec<&ContentInfo> = before.into_iter().flatten().collect();
            MediaContentDescription::Rtp(rtp(options, section, &known, stopped, picker))
        }
        MediaKind::Application => MediaContentDescription::Sctp(SctpDataContentDescription {
            sctp_port: SCTP_PORT,
            max_message_size: Some(options.max_message_size),
            // A peer of before RFC 8841 offered it; we go on as we answered.
            use_sctpmap: local
                .and_then(|content| content.description.as_sctp())
                .is_some_and(|sctp| sctp.use_sctpmap),
            bandwidth: None,
        }),
        MediaKind::Unsupported(_) => {
            let known = local.or(remote).map(|content| &content.description);
            match known {
                Some(MediaContentDescription::Unsupported(unsupported)) => {
                    MediaContentDescription::Unsupported(unsupported.clone())
                }
                _ => MediaContentDescription::Unsupported(UnsupportedContentDescription::default()),
            }
        }
    };
    ContentInfo {
        mid: section.mid.clone(),
        kind: section.kind.clone(),
        protocol: protocol.to_owned(),
        rejected: stopped,
        bundle_only: false,
        connection_address: None,
        transport: if stopped { TransportDescription::default() } else { transport(section) },
        description,
    }
}

fn transport(section: &MediaDescriptionOptions) -> TransportDescription {
    let mut transport = section.transport.clone();
    if transport.setup.is_none() && !transport.fingerprints.is_empty() {
        transport.setup = Some(ConnectionRole::Actpass);
    }
    if transport.ice.is_some() && !transport.has_option("trickle") {
        transport.ice_options.insert(0, "trickle".to_owned());
    }
    transport
}

fn rtp(
    options: &MediaSessionOptions,
    section: &MediaDescriptionOptions,
    before: &[&ContentInfo],
    stopped: bool,
    picker: &mut NumberPicker<'_>,
) -> RtpMediaContentDescription {
    let codecs = picker.codecs(&section.codecs, before);
    if stopped {
        // A refused section says no more than that it is there (O03).
        return RtpMediaContentDescription {
            direction: RtpTransceiverDirection::Inactive,
            codecs,
            extmap_allow_mixed: options.extmap_allow_mixed,
            ..RtpMediaContentDescription::default()
        };
    }
    let mut rtp = RtpMediaContentDescription {
        direction: section.direction,
        codecs,
        header_extensions: picker.extensions(&section.header_extensions, before, options.extmap_allow_mixed),
        extmap_allow_mixed: options.extmap_allow_mixed,
        rtcp_mux: true,
        rtcp_mux_only: options.rtcp_mux_only,
        rtcp_reduced_size: options.rtcp_reduced_size,
        ..RtpMediaContentDescription::default()
    };
    let local = before.iter().copied().find(|content| content.mid == section.mid);
    write_senders(options, section, says_senders(section.direction, local), &mut rtp);
    let goes = |direction: RidDirection| match direction {
        RidDirection::Send => section.direction.sends(),
        RidDirection::Recv => section.direction.receives(),
    };
    rtp.rids = section.rids.iter().filter(|rid| goes(rid.direction)).cloned().collect();
    if section.direction.sends() {
        rtp.simulcast.send.clone_from(&section.simulcast.send);
    }
    if section.direction.receives() {
        rtp.simulcast.recv.clone_from(&section.simulcast.recv);
    }
    rtp
}

/// Streams, track and SSRCs of what we send.
pub(super) fn write_senders(
    options: &MediaSessionOptions,
    section: &MediaDescriptionOptions,
    said: bool,
    rtp: &mut RtpMediaContentDescription,
) {
    if !said {
        return;
    }
    rtp.msids.clone_from(&section.msids);
    // The SSRC of retransmissions is said where they were negotiated (RFC 4588 section 8.3).
    let repaired = rtp.codecs.iter().any(Codec::is_rtx);
    let groups = section.ssrc_groups.iter();
    let (groups, left_out): (Vec<_>, Vec<_>) =
        groups.cloned().partition(|group| repaired || group.semantics != "FID");
    let repairs = |ssrc: &u32| left_out.iter().any(|group| group.ssrcs.iter().skip(1).any(|one| one == ssrc));
    rtp.ssrcs = section
        .ssrcs
        .iter()
        .filter(|ssrc| !repairs(ssrc))
        .map(|ssrc| SsrcInfo { ssrc: *ssrc, cname: Some(options.cname.clone()), msid: None })
        .collect();
    rtp.ssrc_groups = groups;
}

/// The BUNDLE groups: those that exist without what is rejected, with what is new in the first (J08, J10, J22).
fn bundle_groups(
    options: &MediaSessionOptions,
    contents: &[ContentInfo],
    local: Option<&SessionDescription>,
) -> Vec<ContentGroup> {
    if !options.bundle {
        return Vec::new();
    }
    let alive = |mid: &String| contents.iter().any(|content| content.mid == *mid && !content.rejected);
    let mut groups: Vec<ContentGroup> = local.map_or_else(Vec::new, |local| local.bundle_groups.clone());
    for group in &mut groups {
        group.mids.retain(alive);
    }
    groups.retain(|group| !group.mids.is_empty());
    let rest: Vec<String> = contents
        .iter()
        .filter(|content| !content.rejected && !groups.iter().any(|group| group.contains(&content.mid)))
        .map(|content| content.mid.clone())
        .collect();
    match groups.first_mut() {
        Some(group) => group.mids.extend(rest),
        None if !rest.is_empty() => groups.push(ContentGroup::bundle(rest)),
        None => {}
    }
    groups
}

/// With `max-bundle` all sections but the first are there only if the peer bundles (RFC 9429 section 4.1.1). The
/// other policies offer each a transport of its own, as libwebrtc does.
fn mark_bundle_only(policy: BundlePolicy, contents: &mut [ContentInfo]) {
    if policy == BundlePolicy::MaxBundle {
        for content in contents.iter_mut().filter(|content| !content.rejected).skip(1) {
            content.bundle_only = true;
        }
    }
}
