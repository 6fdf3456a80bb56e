//! What a description of the peer must fulfil before it is applied (RFC 9429 section 5.8.3). Called by the signaling
//! task; what concerns transports is looked at by the network task. Answers to the `Validate..` functions of
//! libwebrtc's `pc/sdp_offer_answer.cc`.

use peerstack_jsep::{ContentInfo, MediaKind, RID_URI, SessionDescription as ParsedDescription};

use crate::configuration::RtpProtection;
use crate::shared::State;
use crate::{RtcError, SdpType};

/// Gives a legacy peer's sections their mids (O12), then refuses what does not hold together or does not continue what
/// was agreed.
pub(super) fn complete_and_check(
    state: &State,
    sdp_type: SdpType,
    parsed: &mut ParsedDescription,
) -> Result<(), RtcError> {
    let refuse = |error: peerstack_jsep::SessionValidationError| {
        RtcError::invalid_access(format!("the {} is not usable: {error}", sdp_type.as_str()))
    };
    if state.configuration.settings.rtp_protection == RtpProtection::DangerouslyNone {
        check_in_the_clear(parsed)?;
    }
    if sdp_type == SdpType::Offer {
        let before = state.current_remote.as_ref().map(|description| &description.parsed);
        let ours = state.current_local.as_ref().map(|description| &description.parsed);
        parsed.fill_in_missing_mids(before);
        parsed.validate().map_err(refuse)?;
        before.map_or(Ok(()), |before| parsed.validate_continues(before, ours)).map_err(refuse)
    } else {
        let offer = state.pending_local.as_ref().map(|description| &description.parsed);
        parsed.fill_in_missing_mids(offer);
        parsed.validate().map_err(refuse)?;
        check_simulcast(sdp_type, parsed)?;
        offer.map_or(Ok(()), |offer| parsed.validate_answers(offer)).map_err(refuse)
    }
}

/// A peer that protects its media does not read ours in the clear, nor we its.
fn check_in_the_clear(parsed: &ParsedDescription) -> Result<(), RtcError> {
    let protects = |content: &&ContentInfo| {
        content.kind.is_rtp()
            && !content.rejected
            && (content.protocol.contains("SAVP")
                || !content.transport.fingerprints.is_empty()
                || !content.transport.crypto.is_empty())
    };
    match parsed.contents.iter().find(protects) {
        Some(content) => Err(RtcError::invalid_access(format!(
            "the peer protects the media section {:?}, and the setting rtp_protection does not",
            content.mid
        ))),
        None => Ok(()),
    }
}

/// R11: an answer takes simulcast only where it takes the header extension that tells the streams apart (RFC 8853
/// section 5.1), and never of audio, which is not offered so.
fn check_simulcast(sdp_type: SdpType, parsed: &ParsedDescription) -> Result<(), RtcError> {
    for content in &parsed.contents {
        let Some(media) = content.description.as_rtp().filter(|media| !media.simulcast.is_empty()) else {
            continue;
        };
        let problem = if content.kind == MediaKind::Audio {
            "simulcast of audio was not offered"
        } else if !media.header_extensions.iter().any(|extension| extension.uri == RID_URI) {
            "simulcast needs the header extension that carries RIDs"
        } else {
            continue;
        };
        let (what, mid) = (sdp_type.as_str(), &content.mid);
        return Err(RtcError::invalid_access(format!(
            "the {what} is not usable: m-section {mid:?}: {problem}"
        )));
    }
    Ok(())
}
