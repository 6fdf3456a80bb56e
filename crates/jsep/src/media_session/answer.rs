//! Answers (RFC 9429 section 5.3).

use peerstack_p2p::{ConnectionRole, IceMode};

use super::offer::write_senders;
use super::{
    MediaDescriptionOptions, MediaSessionError, MediaSessionOptions, SCTP_PORT, check_kind, check_sections,
    msid_semantic, negotiate, says_senders,
};
use crate::jsep_transport::answer_setup;
use crate::session_description::{
    ContentGroup, ContentInfo, MediaContentDescription, MediaKind, RtpMediaContentDescription,
    RtpTransceiverDirection, SctpDataContentDescription, SessionDescription, TransportDescription,
};

/// Makes an answer, but for its `o=` line.
pub(super) fn create(
    options: &MediaSessionOptions,
    offer: &SessionDescription,
    local: Option<&SessionDescription>,
) -> Result<SessionDescription, MediaSessionError> {
    check_sections(&options.sections)?;
    if options.sections.len() != offer.contents.len() {
        return Err(MediaSessionError::WrongNumberOfSections {
            offered: offer.contents.len(),
            given: options.sections.len(),
        });
    }
    let mut contents: Vec<ContentInfo> = Vec::with_capacity(offer.contents.len());
    for (index, (section, offered)) in options.sections.iter().zip(&offer.contents).enumerate() {
        if offered.mid != section.mid {
            return Err(MediaSessionError::SectionInUse {
                index,
                before: offered.mid.clone(),
                given: section.mid.clone(),
            });
        }
        check_kind(section, Some(offered))?;
        let before = local.and_then(|local| local.content(&section.mid));
        // One data channel section is all there is.
        let second = offered.kind == MediaKind::Application
            && contents.iter().any(|content| content.kind == MediaKind::Application && !content.rejected);
        // bundle-only without a group, or with a peer that does not bundle, has no transport.
        let alone = offered.bundle_only && (!options.bundle || offer.bundle_group_of(&offered.mid).is_none());
        let refused = second || alone;
        contents.push(content(options, section, offered, before, refused)?);
    }
    let mut answer = SessionDescription {
        msid_semantic: msid_semantic(&contents),
        ice_lite: contents.iter().any(|content| content.transport.ice_mode == IceMode::Lite),
        extmap_allow_mixed: options.extmap_allow_mixed && offer.extmap_allow_mixed,
        contents,
        ..SessionDescription::default()
    };
    if options.bundle {
        answer.bundle_groups = bundle_groups(offer, &answer);
    }
    Ok(answer)
}

/// The groups of the offer without what is rejected. A group of which nothing is left is written empty (J20).
fn bundle_groups(offer: &SessionDescription, answer: &SessionDescription) -> Vec<ContentGroup> {
    let alive = |mid: &&String| answer.content(mid).is_some_and(|content| !content.rejected);
    let group =
        |group: &ContentGroup| ContentGroup::bundle(group.mids.iter().filter(alive).cloned().collect());
    offer.bundle_groups.iter().map(group).collect()
}

fn content(
    options: &MediaSessionOptions,
    section: &MediaDescriptionOptions,
    offered: &ContentInfo,
    before: Option<&ContentInfo>,
    refused: bool,
) -> Result<ContentInfo, MediaSessionError> {
    let description = if offered.rejected || section.stopped || refused {
        None
    } else {
        match &offered.description {
            MediaContentDescription::Rtp(rtp) => {
                self::rtp(options, section, rtp, before).map(MediaContentDescription::Rtp)
            }
            MediaContentDescription::Sctp(sctp) => {
                Some(MediaContentDescription::Sctp(SctpDataContentDescription {
                    // In the old form the number in the m-line is ours to choose; peers of then expect theirs.
                    sctp_port: if sctp.use_sctpmap { sctp.sctp_port } else { SCTP_PORT },
                    max_message_size: Some(options.max_message_size),
                    use_sctpmap: sctp.use_sctpmap,
                    bandwidth: None,
                }))
            }
            MediaContentDescription::Unsupported(_) => None,
        }
    };
    let rejected = description.is_none();
    let transport = if rejected { TransportDescription::default() } else { transport(section, offered)? };
    Ok(ContentInfo {
        mid: section.mid.clone(),
        kind: offered.kind.clone(),
        protocol: offered.protocol.clone(),
        rejected,
        bundle_only: false,
        connection_address: None,
        transport,
        description: description.unwrap_or_else(|| refusal(&offered.description)),
    })
}

/// What stands in a refused section: a format, since an m-line has one (RFC 3264 section 6).
fn refusal(offered: &MediaContentDescription) -> MediaContentDescription {
    match offered {
        MediaContentDescription::Rtp(rtp) => MediaContentDescription::Rtp(RtpMediaContentDescription {
            direction: RtpTransceiverDirection::Inactive,
            codecs: rtp.codecs.first().cloned().into_iter().collect(),
            ..RtpMediaContentDescription::default()
        }),
        MediaContentDescription::Sctp(sctp) => MediaContentDescription::Sctp(SctpDataContentDescription {
            use_sctpmap: sctp.use_sctpmap,
            sctp_port: sctp.sctp_port,
            ..SctpDataContentDescription::default()
        }),
        MediaContentDescription::Unsupported(unsupported) => {
            MediaContentDescription::Unsupported(unsupported.clone())
        }
    }
}

/// An RTP section, or `None` if there is no codec both have (O26).
fn rtp(
    options: &MediaSessionOptions,
    section: &MediaDescriptionOptions,
    offered: &RtpMediaContentDescription,
    before: Option<&ContentInfo>,
) -> Option<RtpMediaContentDescription> {
    let codecs = negotiate::codecs(&section.codecs, &offered.codecs, section.keep_codec_order);
    if !codecs.iter().any(crate::Codec::is_media) {
        return None;
    }
    let direction = section.direction.intersection(offered.direction.reversed());
    let mut rtp = RtpMediaContentDescription {
        direction,
        codecs,
        header_extensions: negotiate::header_extensions(
            &section.header_extensions,
            &offered.header_extensions,
        ),
        extmap_allow_mixed: options.extmap_allow_mixed && offered.extmap_allow_mixed,
        rtcp_mux: offered.rtcp_mux,
        rtcp_mux_only: false,
        rtcp_reduced_size: options.rtcp_reduced_size && offered.rtcp_reduced_size,
        ..RtpMediaContentDescription::default()
    };
    write_senders(options, section, says_senders(direction, before), &mut rtp);
    negotiate::simulcast(section, offered, &mut rtp);
    Some(rtp)
}

/// Our transport, with the role the offer leaves us (J01).
fn transport(
    section: &MediaDescriptionOptions,
    offered: &ContentInfo,
) -> Result<TransportDescription, MediaSessionError> {
    let mut transport = section.transport.clone();
    if transport.ice.is_some() && !transport.has_option("trickle") {
        transport.ice_options.insert(0, "trickle".to_owned());
    }
    if transport.fingerprints.is_empty() {
        return Ok(transport);
    }
    let offer = offered.transport.setup;
    let setup = transport.setup.unwrap_or_else(|| answer_setup(offer, None));
    let fits = match offer {
        Some(ConnectionRole::Active) => setup == ConnectionRole::Passive,
        Some(ConnectionRole::Passive) => setup == ConnectionRole::Active,
        _ => matches!(setup, ConnectionRole::Active | ConnectionRole::Passive),
    };
    if !fits {
        return Err(MediaSessionError::InvalidSetup {
            mid: section.mid.clone(),
            offered: offer.map_or("none", ConnectionRole::as_str),
            given: setup.as_str(),
        });
    }
    transport.setup = Some(setup);
    Ok(transport)
}
