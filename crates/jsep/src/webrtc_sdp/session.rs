//! From lines to the typed description: the session level, and what m-sections inherit of it.

use peerstack_dtls::DtlsFingerprint;
use peerstack_p2p::{CandidateAddress, ConnectionRole, IceMode};

use super::attributes::{self, Reason};
use super::lines::{Document, Line};
use super::{SdpParseError, media};
use crate::session_description::{
    Bandwidth, GROUP_SEMANTICS_BUNDLE, RtpExtension, RtpTransceiverDirection, SessionDescription,
};

/// Most header extensions of one level: there are at most 255 ids, and sections inherit the list.
pub(super) const MAX_EXTENSIONS: usize = 64;
/// Most fingerprints of one level.
pub(super) const MAX_FINGERPRINTS: usize = 16;

/// What the session level says for all m-sections.
#[derive(Debug, Default)]
pub(super) struct SessionLevel {
    pub(super) ufrag: Option<String>,
    pub(super) pwd: Option<String>,
    pub(super) ice_options: Vec<String>,
    pub(super) ice_mode: IceMode,
    pub(super) fingerprints: Vec<DtlsFingerprint>,
    pub(super) setup: Option<ConnectionRole>,
    pub(super) direction: Option<RtpTransceiverDirection>,
    pub(super) extensions: Vec<RtpExtension>,
    pub(super) extmap_allow_mixed: bool,
    pub(super) connection: Option<CandidateAddress>,
    pub(super) bandwidth: Option<Bandwidth>,
    pub(super) end_of_candidates: bool,
}

/// Attributes of a level, each with the line it stands on.
pub(super) fn attributes_of<'a, 't>(
    lines: &'a [Line<'t>],
    attributes: &'a [sdp::description::common::Attribute],
) -> impl Iterator<Item = (&'a Line<'t>, &'a str, &'a str)> {
    let lines = lines.iter().filter(|line| line.kind == b'a');
    lines.zip(attributes).map(|(line, attribute)| {
        (line, attribute.key.as_str(), attribute.value.as_deref().unwrap_or_default())
    })
}

/// The `b=` lines of a level: the last one that says something counts.
pub(super) fn bandwidth_of(lines: &[Line<'_>]) -> Result<Option<Bandwidth>, SdpParseError> {
    let mut bandwidth = None;
    for line in lines.iter().filter(|line| line.kind == b'b') {
        let said = attributes::bandwidth(line.value).map_err(|reason| SdpParseError::at(line, reason))?;
        bandwidth = said.or(bandwidth);
    }
    Ok(bandwidth)
}

/// The `c=` line of a level.
pub(super) fn connection_of(
    lines: &[Line<'_>],
    connection: Option<&sdp::description::common::ConnectionInformation>,
    port: u16,
) -> Result<Option<CandidateAddress>, SdpParseError> {
    let line = lines.iter().rev().find(|line| line.kind == b'c');
    match (line, connection) {
        (Some(line), Some(connection)) => attributes::connection_address(connection, port)
            .map(Some)
            .map_err(|reason| SdpParseError::at(line, reason)),
        _ => Ok(None),
    }
}

/// Builds the typed description.
pub(super) fn build(
    document: &Document<'_>,
    text: &sdp::SessionDescription,
) -> Result<SessionDescription, SdpParseError> {
    let mut description = SessionDescription {
        session_id: text.origin.session_id,
        session_version: text.origin.session_version,
        ..SessionDescription::default()
    };
    let mut level = SessionLevel {
        connection: connection_of(&document.session, text.connection_information.as_ref(), 9)?,
        bandwidth: bandwidth_of(&document.session)?,
        ..SessionLevel::default()
    };
    for (line, key, value) in attributes_of(&document.session, &text.attributes) {
        session_attribute(&mut description, &mut level, key, value)
            .map_err(|reason| SdpParseError::at(line, reason))?;
    }
    for (section, text) in document.media.iter().zip(&text.media_descriptions) {
        let content = media::build(&level, section, text)?;
        if !content.mid.is_empty() && description.content(&content.mid).is_some() {
            let reason = format!("mid {} is used twice", content.mid);
            return Err(SdpParseError::at(&section.head, reason));
        }
        description.contents.push(content);
    }
    Ok(description)
}

fn session_attribute(
    description: &mut SessionDescription,
    level: &mut SessionLevel,
    key: &str,
    value: &str,
) -> Result<(), Reason> {
    match key {
        "group" => {
            let group = attributes::group(value)?;
            let bundle = group.semantics == GROUP_SEMANTICS_BUNDLE;
            let groups = if bundle { &mut description.bundle_groups } else { &mut description.other_groups };
            if groups.len() == super::MAX_MEDIA_SECTIONS {
                return Err("more groups than m-sections".into());
            }
            groups.push(group);
        }
        "ice-ufrag" => level.ufrag = Some(attributes::ice_ufrag(value)?),
        "ice-pwd" => level.pwd = Some(attributes::ice_pwd(value)?),
        "ice-options" => level.ice_options = attributes::ice_options(value)?,
        "ice-lite" => {
            level.ice_mode = IceMode::Lite;
            description.ice_lite = true;
        }
        "fingerprint" => push_fingerprint(&mut level.fingerprints, value)?,
        "setup" => level.setup = Some(setup(value)?),
        "extmap" => push_extension(&mut level.extensions, value)?,
        "extmap-allow-mixed" => {
            level.extmap_allow_mixed = true;
            description.extmap_allow_mixed = true;
        }
        "msid-semantic" => description.msid_semantic = Some(value.trim().to_owned()),
        "end-of-candidates" => level.end_of_candidates = true,
        _ => level.direction = RtpTransceiverDirection::parse(key).or(level.direction),
    }
    Ok(())
}

/// `a=setup` (RFC 4145 section 4).
pub(super) fn setup(value: &str) -> Result<ConnectionRole, Reason> {
    ConnectionRole::parse(value).ok_or_else(|| "setup is active, passive, actpass or holdconn".into())
}

/// Adds a fingerprint; the same one again is harmless.
pub(super) fn push_fingerprint(list: &mut Vec<DtlsFingerprint>, value: &str) -> Result<(), Reason> {
    let fingerprint = attributes::fingerprint(value)?;
    if !list.contains(&fingerprint) {
        if list.len() == MAX_FINGERPRINTS {
            return Err(format!("more than {MAX_FINGERPRINTS} fingerprints").into());
        }
        list.push(fingerprint);
    }
    Ok(())
}

/// Adds a header extension; the same one again is harmless.
pub(super) fn push_extension(list: &mut Vec<RtpExtension>, value: &str) -> Result<(), Reason> {
    let extension = attributes::extmap(value)?;
    if !list.contains(&extension) {
        if list.len() == MAX_EXTENSIONS {
            return Err(format!("more than {MAX_EXTENSIONS} header extensions").into());
        }
        list.push(extension);
    }
    Ok(())
}
