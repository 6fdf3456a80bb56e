//! What a description must fulfil before it is applied, beyond its text being well-formed.
//!
//! Pure functions, called by the signaling task in `set_local_description` and `set_remote_description`. RFC 9429
//! section 5.8.3, RFC 3264 sections 6 and 8, RFC 5576. Answers to the `Validate..` functions of libwebrtc's
//! `pc/sdp_offer_answer.cc`; BUNDLE, ICE parameters and fingerprints are looked at by the JsepTransportController.

use std::collections::BTreeSet;

use thiserror::Error;

use crate::session_description::{
    ContentInfo, MediaContentDescription, RtpMediaContentDescription, SessionDescription,
};

/// Most SSRCs of a `SIM` group (O27).
const MAX_SIMULCAST_SSRCS: usize = 4;

/// Why a description cannot be applied.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionValidationError {
    /// A section has no mid (O12).
    #[error("m-section {index} has no mid")]
    MissingMid {
        /// Place, counted from 0.
        index: usize,
    },
    /// Two sections have the same mid.
    #[error("the mid {0:?} is used twice")]
    DuplicateMid(String),
    /// Two tracks in one section, as before unified plan (O11).
    #[error("the m-section {0:?} holds more than one track (plan B)")]
    PlanB(String),
    /// SSRCs or their groups contradict each other (O27).
    #[error("the m-section {mid:?}: {problem}")]
    InvalidSsrcs {
        /// The section.
        mid: String,
        /// What is wrong.
        problem: String,
    },
    /// An m-section of data channels that is not rejected names no SCTP port (RFC 8841 section 5.1).
    #[error("the m-section {0:?} of data channels has SCTP port 0")]
    NoSctpPort(String),
    /// Sections are not those of the description before (O32, O25) or of the offer.
    #[error("{0}")]
    SectionsDiffer(String),
}

impl SessionDescription {
    /// Whether the description holds together by itself.
    ///
    /// # Errors
    /// O11, O12, O27: what is wrong with which section.
    pub fn validate(&self) -> Result<(), SessionValidationError> {
        let mut mids = BTreeSet::new();
        for (index, content) in self.contents.iter().enumerate() {
            if content.mid.is_empty() {
                return Err(SessionValidationError::MissingMid { index });
            }
            if !mids.insert(content.mid.as_str()) {
                return Err(SessionValidationError::DuplicateMid(content.mid.clone()));
            }
            if let MediaContentDescription::Sctp(sctp) = &content.description
                && sctp.sctp_port == 0
                && !content.rejected
            {
                return Err(SessionValidationError::NoSctpPort(content.mid.clone()));
            }
            if let MediaContentDescription::Rtp(rtp) = &content.description {
                if has_several_tracks(rtp) {
                    return Err(SessionValidationError::PlanB(content.mid.clone()));
                }
                validate_ssrc_groups(rtp).map_err(|problem| SessionValidationError::InvalidSsrcs {
                    mid: content.mid.clone(),
                    problem,
                })?;
            }
        }
        Ok(())
    }

    /// [`validate`](Self::validate), and that no SSRC is ours twice (O27). For local descriptions: peers may use
    /// one twice in sections that are not bundled.
    ///
    /// # Errors
    /// As `validate`.
    pub fn validate_local(&self) -> Result<(), SessionValidationError> {
        self.validate()?;
        let mut seen = BTreeSet::new();
        for content in &self.contents {
            for info in content.description.as_rtp().map(|rtp| rtp.ssrcs.as_slice()).unwrap_or_default() {
                if !seen.insert(info.ssrc) {
                    return Err(SessionValidationError::InvalidSsrcs {
                        mid: content.mid.clone(),
                        problem: format!("SSRC {} is used twice", info.ssrc),
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether this offer continues a description of the same session: no sections less (O32), a mid of another
    /// name only where the place was rejected by either side, `other` being that of the other side, and a mid never
    /// for another kind (O25).
    ///
    /// # Errors
    /// The first section that does not.
    pub fn validate_continues(
        &self,
        before: &Self,
        other: Option<&Self>,
    ) -> Result<(), SessionValidationError> {
        if self.contents.len() < before.contents.len() {
            return Err(SessionValidationError::SectionsDiffer(format!(
                "{} m-sections are fewer than the {} there were",
                self.contents.len(),
                before.contents.len()
            )));
        }
        for (index, (content, old)) in self.contents.iter().zip(&before.contents).enumerate() {
            let refused = || other.and_then(|other| other.contents.get(index)).is_some_and(|it| it.rejected);
            if content.mid != old.mid && !old.rejected && !refused() {
                return Err(SessionValidationError::SectionsDiffer(format!(
                    "m-section {index} has the mid {:?} and is in use: it cannot become {:?}",
                    old.mid, content.mid
                )));
            }
            if content.mid == old.mid && content.kind != old.kind {
                return Err(kinds_differ(content, old));
            }
        }
        Ok(())
    }

    /// Whether this answer has the sections of its offer: as many, the same mids, kinds and protocols in the same
    /// order, none accepted that was not offered (RFC 3264 section 6).
    ///
    /// # Errors
    /// The first section that does not fit.
    pub fn validate_answers(&self, offer: &Self) -> Result<(), SessionValidationError> {
        if self.contents.len() != offer.contents.len() {
            return Err(SessionValidationError::SectionsDiffer(format!(
                "{} m-sections answer {}",
                self.contents.len(),
                offer.contents.len()
            )));
        }
        for (index, (content, offered)) in self.contents.iter().zip(&offer.contents).enumerate() {
            if content.mid != offered.mid {
                return Err(SessionValidationError::SectionsDiffer(format!(
                    "m-section {index} was offered as {:?} and answered as {:?}",
                    offered.mid, content.mid
                )));
            }
            if content.kind != offered.kind {
                return Err(kinds_differ(content, offered));
            }
            if offered.rejected && !content.rejected {
                return Err(SessionValidationError::SectionsDiffer(format!(
                    "the m-section {:?} was not offered (port 0), but is accepted",
                    content.mid
                )));
            }
        }
        Ok(())
    }
}

fn kinds_differ(content: &ContentInfo, before: &ContentInfo) -> SessionValidationError {
    SessionValidationError::SectionsDiffer(format!(
        "the m-section {:?} is {}, not {}",
        content.mid, before.kind, content.kind
    ))
}

/// SSRCs of different tracks (O11); `a=msid` says one track by its syntax.
fn has_several_tracks(rtp: &RtpMediaContentDescription) -> bool {
    let mut tracks = rtp.ssrcs.iter().filter_map(|info| info.msid.as_ref()?.track_id.as_deref());
    let first = tracks.next();
    tracks.any(|track| Some(track) != first)
}

fn validate_ssrc_groups(rtp: &RtpMediaContentDescription) -> Result<(), String> {
    let declared: BTreeSet<u32> = rtp.ssrcs.iter().map(|info| info.ssrc).collect();
    let mut primaries = BTreeSet::new();
    for group in &rtp.ssrc_groups {
        let semantics = group.semantics.as_str();
        match semantics {
            "FID" | "FEC-FR" => {
                if group.ssrcs.len() != 2 {
                    return Err(format!("a {semantics} group has 2 SSRCs, not {}", group.ssrcs.len()));
                }
                if let Some(ssrc) = group.ssrcs.iter().find(|ssrc| !declared.contains(ssrc)) {
                    return Err(format!("SSRC {ssrc} of a {semantics} group stands in no ssrc line"));
                }
            }
            "SIM" if group.ssrcs.len() > MAX_SIMULCAST_SSRCS => {
                return Err(format!("a SIM group has at most {MAX_SIMULCAST_SSRCS} SSRCs"));
            }
            _ => {}
        }
        let primary = group.ssrcs.first().copied();
        if !primaries.insert((semantics, primary)) {
            return Err(format!("two {semantics} groups begin with the same SSRC"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_sdp;
    use crate::webrtc_sdp::parse;

    const HEAD: &str = "v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\n";

    fn section(lines: &str) -> SessionDescription {
        let text = format!("{HEAD}m=video 9 UDP/TLS/RTP/SAVPF 96\na=mid:0\n{}", lines.replace('|', "\n"));
        parse(&text).unwrap()
    }

    #[test]
    fn browsers_are_valid() {
        for text in test_sdp::ALL {
            let description = parse(text).unwrap();
            assert_eq!(description.validate_local(), Ok(()));
            assert_eq!(description.validate_continues(&description, None), Ok(()));
            assert_eq!(description.validate_answers(&description), Ok(()));
        }
        let (offer, answer) =
            (parse(test_sdp::CHROMIUM_OFFER).unwrap(), parse(test_sdp::FIREFOX_ANSWER).unwrap());
        assert_eq!(answer.validate_answers(&offer), Ok(()));
    }

    /// An offer without an SCTP port could not be answered.
    #[test]
    fn data_channels_have_a_port() {
        let data = |port: u16| {
            let media = "UDP/DTLS/SCTP webrtc-datachannel\na=mid:0\na=sctp-port:0\n";
            parse(&format!("{HEAD}m=application {port} {media}")).unwrap()
        };
        assert_eq!(data(9).validate(), Err(SessionValidationError::NoSctpPort("0".to_owned())));
        assert_eq!(data(0).validate(), Ok(()), "rejected");
    }

    /// O12: mids are there and unique.
    #[test]
    fn mids_are_there_and_unique() {
        let mut description = parse(test_sdp::CHROMIUM_OFFER).unwrap();
        description.contents[1].mid = "0".to_owned();
        assert_eq!(description.validate(), Err(SessionValidationError::DuplicateMid("0".to_owned())));
        description.contents[1].mid.clear();
        assert_eq!(description.validate(), Err(SessionValidationError::MissingMid { index: 1 }));
    }

    /// O11: plan B.
    #[test]
    fn one_track_a_section() {
        let of = |lines: &str| section(lines).validate();
        assert_eq!(of("a=ssrc:1 msid:s t|a=ssrc:2 msid:s t"), Ok(()));
        let plan_b = of("a=ssrc:1 msid:s t|a=ssrc:2 msid:s u");
        assert_eq!(plan_b, Err(SessionValidationError::PlanB("0".to_owned())));
    }

    /// O27: groups of SSRCs.
    #[test]
    fn ssrc_groups() {
        let of = |lines: &str| section(&format!("a=ssrc:1 cname:c|a=ssrc:2 cname:c|{lines}")).validate();
        for good in [
            "a=ssrc-group:FID 1 2",
            "a=ssrc-group:FID 1 2|a=ssrc-group:FEC-FR 1 2",
            "a=ssrc-group:SIM 1 2 3 4",
            "a=ssrc-group:X 7 8 9 10 11",
        ] {
            assert_eq!(of(good), Ok(()), "{good}");
        }
        for bad in [
            "a=ssrc-group:FID 1",
            "a=ssrc-group:FID 1 2 3",
            "a=ssrc-group:FID 1 3",
            "a=ssrc-group:FEC-FR 3 1",
            "a=ssrc-group:SIM 1 2 3 4 5",
            "a=ssrc-group:SIM 1 2|a=ssrc-group:SIM 1 3",
        ] {
            assert!(matches!(of(bad), Err(SessionValidationError::InvalidSsrcs { .. })), "{bad}");
        }
        let mut twice = section("a=ssrc:1 cname:c");
        let mut second = twice.contents[0].clone();
        second.mid = "1".to_owned();
        twice.contents.push(second);
        assert_eq!(twice.validate(), Ok(()));
        assert!(matches!(twice.validate_local(), Err(SessionValidationError::InvalidSsrcs { .. })));
    }

    /// O32, O25, O07: offers continue; RFC 3264 section 6: answers fit.
    #[test]
    fn sections_continue_and_fit() {
        let before = parse(test_sdp::CHROMIUM_OFFER).unwrap();
        let changed = |change: fn(&mut SessionDescription)| {
            let mut description = before.clone();
            change(&mut description);
            description
        };
        let fewer = changed(|description| description.contents.truncate(2));
        let renamed = changed(|description| description.contents[1].mid = "x".to_owned());
        let other = changed(|description| description.contents[1].kind = crate::MediaKind::Audio);
        for bad in [&fewer, &renamed, &other] {
            assert!(bad.validate_continues(&before, None).is_err());
            assert!(bad.validate_answers(&before).is_err());
        }
        let rejected = changed(|description| description.contents[1].rejected = true);
        assert_eq!(renamed.validate_continues(&rejected, None), Ok(()));
        assert_eq!(renamed.validate_continues(&before, Some(&rejected)), Ok(()));
        assert_eq!(rejected.validate_answers(&before), Ok(()));
        assert!(before.validate_answers(&rejected).is_err());
        assert!(before.validate_answers(&fewer).is_err());
        assert_eq!(before.validate_continues(&fewer, None), Ok(()));
    }
}
