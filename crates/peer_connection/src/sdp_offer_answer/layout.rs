//! Which media section is whose, and what each asks for (RFC 9429 sections 5.2 and 5.3).

use peerstack_jsep::{
    ContentInfo, MediaDescriptionOptions, MediaKind, MediaSessionDescriptionFactory, MediaSessionError,
    MediaSessionOptions, Msid, RtpTransceiverDirection, SsrcGroup,
};

use super::Created;
use crate::configuration::Configuration;
use crate::network_task::TransceiverId;
use crate::network_task::Transports;
use crate::shared::{Description, State, Transceiver};
use crate::{RtcError, TrackKind, media_engine, send_encodings};

/// Whose a section is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SectionOwner {
    /// A transceiver's.
    Transceiver(TransceiverId),
    /// The data channels'.
    Data,
    /// Nobody's any more: rejected.
    Nobody,
}

/// A section of the offer to be made.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) mid: String,
    kind: MediaKind,
    owner: SectionOwner,
    /// Refused in a description that is current, and nobody's: another may take the place (O07).
    recyclable: bool,
}

impl Section {
    fn new(mid: String, kind: MediaKind, owner: SectionOwner) -> Self {
        Self { mid, kind, owner, recyclable: false }
    }
}

/// The sections of the next offer: those there are in their order, then new transceivers in order of creation,
/// then data. What is new takes the places of what is over, media those of media (RFC 9429 section 5.2.2).
pub(super) fn offer_sections(state: &State) -> Vec<Section> {
    let mut sections = existing_sections(state);
    let new = state
        .transceivers
        .iter()
        .filter(|transceiver| transceiver.mid.is_none() && !transceiver.stopped && !transceiver.stopping);
    for transceiver in new {
        let mid = free_mid(state, &sections);
        let owner = SectionOwner::Transceiver(transceiver.id);
        let section = Section::new(mid, media_kind(transceiver.kind), owner);
        place(&mut sections, section, MediaKind::is_rtp);
    }
    if state.wants_data && !sections.iter().any(|section| section.owner == SectionOwner::Data) {
        let mid = free_mid(state, &sections);
        let section = Section::new(mid, MediaKind::Application, SectionOwner::Data);
        place(&mut sections, section, |kind| *kind == MediaKind::Application);
    }
    sections
}

fn place(sections: &mut Vec<Section>, section: Section, fits: impl Fn(&MediaKind) -> bool) {
    match sections.iter_mut().find(|old| old.recyclable && fits(&old.kind)) {
        Some(old) => *old = section,
        None => sections.push(section),
    }
}

fn existing_sections(state: &State) -> Vec<Section> {
    let (local, remote) = (contents_of(state.local()), contents_of(state.remote()));
    let current = [contents_of(state.current_local.as_ref()), contents_of(state.current_remote.as_ref())];
    let longer = remote.get(local.len()..).unwrap_or_default();
    let all = local.iter().chain(longer).enumerate();
    all.map(|(index, content)| {
        let mid = content.mid.as_str();
        let now = current.iter().filter_map(|contents| contents.get(index));
        let refused = now.filter(|content| content.mid == mid).any(|content| content.rejected);
        let transceiver = state.transceivers.iter().find(|other| other.mid.as_deref() == Some(mid));
        let owner = match (&content.kind, transceiver) {
            (MediaKind::Application, _) if !refused && !content.rejected => SectionOwner::Data,
            (_, Some(transceiver)) if !transceiver.stopped && !transceiver.stopping => {
                SectionOwner::Transceiver(transceiver.id)
            }
            _ => SectionOwner::Nobody,
        };
        let recyclable = refused && owner == SectionOwner::Nobody;
        Section { recyclable, ..Section::new(content.mid.clone(), content.kind.clone(), owner) }
    })
    .collect()
}

fn contents_of(description: Option<&Description>) -> &[ContentInfo] {
    description.map_or(&[], |description| description.parsed.contents.as_slice())
}

/// The lowest number that no section on either side has and none of ours ever had.
fn free_mid(state: &State, sections: &[Section]) -> String {
    let taken = |mid: &str| {
        sections.iter().any(|section| section.mid == mid)
            || [&state.current_local, &state.current_remote, &state.pending_local, &state.pending_remote]
                .into_iter()
                .flatten()
                .any(|description| description.parsed.content(mid).is_some())
    };
    let mut number = state.next_mid;
    while taken(&number.to_string()) {
        number = number.wrapping_add(1);
    }
    number.to_string()
}

fn media_kind(kind: TrackKind) -> MediaKind {
    match kind {
        TrackKind::Audio => MediaKind::Audio,
        TrackKind::Video => MediaKind::Video,
    }
}

/// Makes the offer.
pub(super) fn create_offer(
    factory: &mut MediaSessionDescriptionFactory,
    state: &State,
    configuration: &Configuration,
    sections: Vec<Section>,
    mut transports: Transports,
) -> Result<Created, RtcError> {
    let owners = sections.iter().map(|section| section.owner).collect();
    let local = state.local().map(|description| &description.parsed);
    let wanted = sections.into_iter().map(|section| {
        let transport = transports.remove(&section.mid).unwrap_or_default();
        let mut wanted = options(state, configuration, section.mid, section.kind, section.owner, transport);
        let before = local.and_then(|local| local.content(&wanted.mid)?.description.as_rtp());
        if let (Some(before), SectionOwner::Transceiver(_)) = (before, section.owner) {
            send_encodings::keep_received_layers(&mut wanted, before);
        }
        wanted
    });
    let options = session_options(state, configuration, wanted.collect());
    let remote = state.remote().map(|description| &description.parsed);
    let parsed = factory.create_offer(&options, local, remote).map_err(from_media_session)?;
    Ok(Created { text: peerstack_jsep::webrtc_sdp::serialize(&parsed), parsed, owners })
}

/// Makes the answer to the pending remote offer.
pub(super) fn create_answer(
    factory: &mut MediaSessionDescriptionFactory,
    state: &State,
    configuration: &Configuration,
    mut transports: Transports,
) -> Result<Created, RtcError> {
    let offer = state.pending_remote.as_ref();
    let offer = &offer.ok_or_else(|| RtcError::invalid_state("there is no remote offer"))?.parsed;
    let mut owners = Vec::new();
    let mut wanted = Vec::new();
    for content in &offer.contents {
        let transceiver =
            state.transceivers.iter().find(|other| other.mid.as_deref() == Some(content.mid.as_str()));
        let owner = match (&content.kind, transceiver) {
            _ if content.rejected => SectionOwner::Nobody,
            // Data channels are over DTLS (RFC 8831 section 5).
            (MediaKind::Application, _) if !configuration.settings.rtp_protection.has_dtls() => {
                SectionOwner::Nobody
            }
            (MediaKind::Application, _) => SectionOwner::Data,
            (_, Some(transceiver)) if !transceiver.stopping && !transceiver.stopped => {
                SectionOwner::Transceiver(transceiver.id)
            }
            _ => SectionOwner::Nobody,
        };
        owners.push(owner);
        let transport = transports.remove(&content.mid).unwrap_or_default();
        wanted.push(options(
            state,
            configuration,
            content.mid.clone(),
            content.kind.clone(),
            owner,
            transport,
        ));
    }
    let options = session_options(state, configuration, wanted);
    let local = state.local().map(|description| &description.parsed);
    let parsed = factory.create_answer(&options, offer, local).map_err(from_media_session)?;
    Ok(Created { text: peerstack_jsep::webrtc_sdp::serialize(&parsed), parsed, owners })
}

fn session_options(
    state: &State,
    configuration: &Configuration,
    sections: Vec<MediaDescriptionOptions>,
) -> MediaSessionOptions {
    MediaSessionOptions {
        sections,
        bundle_policy: configuration.bundle_policy.to_jsep(),
        rtp_protocol: configuration.settings.rtp_protection.protocol(),
        cname: state.cname.clone(),
        max_message_size: u64::from(configuration.settings.max_message_size),
        ..MediaSessionOptions::default()
    }
}

fn options(
    state: &State,
    configuration: &Configuration,
    mid: String,
    kind: MediaKind,
    owner: SectionOwner,
    transport: peerstack_jsep::TransportDescription,
) -> MediaDescriptionOptions {
    let transceiver = match owner {
        SectionOwner::Nobody => return MediaDescriptionOptions::stopped(mid, kind),
        SectionOwner::Data => None,
        SectionOwner::Transceiver(id) => state.transceiver(id),
    };
    let mut options = MediaDescriptionOptions::new(mid, kind, transport);
    if let Some(transceiver) = transceiver {
        describe(&mut options, configuration, transceiver);
    }
    options
}

fn describe(options: &mut MediaDescriptionOptions, configuration: &Configuration, transceiver: &Transceiver) {
    options.direction = transceiver.direction;
    let own = configuration.settings.media.codecs(transceiver.kind);
    options.keep_codec_order = !transceiver.codec_preferences.is_empty();
    options.codecs = match options.keep_codec_order {
        true => media_engine::preferred(own, &transceiver.codec_preferences),
        false => own.to_vec(),
    };
    options.header_extensions =
        media_engine::described_extensions(&options.kind, &transceiver.header_extensions);
    let track_id = Some(transceiver.sender_id.clone());
    options.msids = match transceiver.sender_streams.as_slice() {
        [] => vec![Msid { stream_id: None, track_id }],
        streams => streams
            .iter()
            .map(|stream| Msid { stream_id: Some(stream.clone()), track_id: track_id.clone() })
            .collect(),
    };
    (options.rids, options.simulcast) = send_encodings::describe(&transceiver.encodings);
    // Where RIDs tell streams apart SSRCs are not said (RFC 8853 section 5.4).
    if options.rids.is_empty()
        && transceiver.direction != RtpTransceiverDirection::Inactive
        && let Some(encoding) = transceiver.encodings.first()
    {
        options.ssrcs = vec![encoding.ssrc, encoding.rtx_ssrc];
        options.ssrc_groups = vec![SsrcGroup { semantics: "FID".to_owned(), ssrcs: options.ssrcs.clone() }];
    }
}

fn from_media_session(error: MediaSessionError) -> RtcError {
    RtcError::operation(error.to_string())
}
