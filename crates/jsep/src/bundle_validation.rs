//! What m-sections that share a transport must agree on: payload types, header extensions, SSRCs.
//!
//! Pure functions, called by the JsepTransportController before a description is put in force. RFC 9143 sections
//! 9.1 and 9.2. Answers to `ValidateBundledPayloadTypes`, `ValidateBundledRtpHeaderExtensions` and
//! `ValidateSsrcs` in libwebrtc's `pc/sdp_offer_answer.cc`.

use std::collections::BTreeMap;

use crate::{Codec, ContentInfo, JsepError, MediaKind, SessionDescription};

/// Checks each BUNDLE group of a description. Sections of different groups may collide.
pub(crate) fn validate_bundled_contents(description: &SessionDescription) -> Result<(), JsepError> {
    for group in &description.bundle_groups {
        let members: Vec<&ContentInfo> = group
            .mids
            .iter()
            .filter_map(|mid| description.content(mid))
            .filter(|content| !content.rejected)
            .collect();
        validate_payload_types(&members)?;
        validate_header_extensions(&members)?;
        validate_ssrcs(&members)?;
    }
    Ok(())
}

/// RFC 9143 section 9.1.1: one payload type, one codec with one set of parameters.
fn validate_payload_types(members: &[&ContentInfo]) -> Result<(), JsepError> {
    let mut codecs: BTreeMap<u8, (&MediaKind, &Codec)> = BTreeMap::new();
    for content in members {
        for codec in content.description.as_rtp().map(|rtp| rtp.codecs.as_slice()).unwrap_or_default() {
            let (kind, first) = *codecs.entry(codec.payload_type).or_insert((&content.kind, codec));
            if *kind != content.kind || !is_same_format(first, codec) {
                return Err(JsepError::bundle(format!(
                    "payload type {} means {}/{} and {}/{} in one BUNDLE group (m-section {:?})",
                    codec.payload_type,
                    first.name,
                    first.clock_rate,
                    codec.name,
                    codec.clock_rate,
                    content.mid,
                )));
            }
        }
    }
    Ok(())
}

fn is_same_format(a: &Codec, b: &Codec) -> bool {
    a.name.eq_ignore_ascii_case(&b.name)
        && a.clock_rate == b.clock_rate
        && a.channels == b.channels
        && a.params == b.params
}

/// RFC 8285 section 5 and RFC 9143 section 9.2: one id, one extension. Two ids for one extension do no harm.
fn validate_header_extensions(members: &[&ContentInfo]) -> Result<(), JsepError> {
    let mut uris: BTreeMap<u8, &str> = BTreeMap::new();
    for content in members {
        let extensions =
            content.description.as_rtp().map(|rtp| rtp.header_extensions.as_slice()).unwrap_or_default();
        for extension in extensions {
            let first = *uris.entry(extension.id).or_insert(&extension.uri);
            if first != extension.uri {
                return Err(JsepError::bundle(format!(
                    "header extension id {} means {first} and {} in one BUNDLE group (m-section {:?})",
                    extension.id, extension.uri, content.mid,
                )));
            }
        }
    }
    Ok(())
}

/// RFC 9143 section 9.2: a transport is one RTP session, so an SSRC has one m-section.
fn validate_ssrcs(members: &[&ContentInfo]) -> Result<(), JsepError> {
    let mut owners: BTreeMap<u32, &str> = BTreeMap::new();
    for content in members {
        for info in content.description.as_rtp().map(|rtp| rtp.ssrcs.as_slice()).unwrap_or_default() {
            let owner = *owners.entry(info.ssrc).or_insert(&content.mid);
            if owner != content.mid {
                return Err(JsepError::bundle(format!(
                    "SSRC {} stands in the bundled m-sections {owner:?} and {:?}",
                    info.ssrc, content.mid,
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ContentGroup, MediaContentDescription, PROTOCOL_RTP, RtpExtension, RtpMediaContentDescription,
        SsrcInfo, TransportDescription,
    };

    fn codec(payload_type: u8, name: &str, fmtp: &str) -> Codec {
        let params = fmtp.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        Codec {
            payload_type,
            name: name.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            params: params.into_iter().collect(),
            feedback: Vec::new(),
        }
    }

    fn content(mid: &str, kind: MediaKind, rtp: RtpMediaContentDescription) -> ContentInfo {
        ContentInfo {
            mid: mid.to_owned(),
            kind,
            protocol: PROTOCOL_RTP.to_owned(),
            rejected: false,
            bundle_only: false,
            connection_address: None,
            transport: TransportDescription::default(),
            description: MediaContentDescription::Rtp(rtp),
        }
    }

    fn check(first: ContentInfo, second: ContentInfo, groups: &[&[&str]]) -> Result<(), JsepError> {
        validate_bundled_contents(&SessionDescription {
            contents: vec![first, second],
            bundle_groups: groups
                .iter()
                .map(|mids| ContentGroup::bundle(mids.iter().map(|mid| (*mid).to_owned()).collect()))
                .collect(),
            ..SessionDescription::default()
        })
    }

    const BUNDLED: &[&[&str]] = &[&["0", "1"]];
    const APART: &[&[&str]] = &[&["0"], &["1"]];

    /// J23: the same payload type for another codec, other parameters or another kind.
    #[test]
    fn payload_types_mean_one_codec_in_a_group() {
        let with = |mid, kind, codec| {
            content(mid, kind, RtpMediaContentDescription { codecs: vec![codec], ..Default::default() })
        };
        let first = with("0", MediaKind::Video, codec(96, "VP8", ""));
        for (codec, kind, same) in [
            (codec(96, "vp8", ""), MediaKind::Video, true),
            (codec(97, "H264", ""), MediaKind::Video, true),
            (codec(96, "H264", ""), MediaKind::Video, false),
            (codec(96, "VP8", "max-fr=30"), MediaKind::Video, false),
            (codec(96, "VP8", ""), MediaKind::Audio, false),
        ] {
            let second = with("1", kind, codec);
            assert_eq!(check(first.clone(), second.clone(), BUNDLED).is_ok(), same, "{second:?}");
            assert!(check(first.clone(), second.clone(), APART).is_ok());
            assert!(check(first.clone(), second.clone(), &[]).is_ok());
            let rejected = ContentInfo { rejected: true, ..second };
            assert!(check(first.clone(), rejected, BUNDLED).is_ok());
        }
    }

    /// J23: one extmap id for two URIs is refused, two ids for one URI are tolerated.
    #[test]
    fn header_extension_ids_mean_one_uri_in_a_group() {
        let with = |mid, extensions: &[(u8, &str)]| {
            let header_extensions = extensions.iter().map(|(id, uri)| RtpExtension::new(*id, *uri)).collect();
            content(
                mid,
                MediaKind::Audio,
                RtpMediaContentDescription { header_extensions, ..Default::default() },
            )
        };
        let first = with("0", &[(1, "urn:a"), (2, "urn:b")]);
        assert!(check(first.clone(), with("1", &[(1, "urn:a"), (3, "urn:b")]), BUNDLED).is_ok());
        assert!(check(first.clone(), with("1", &[(2, "urn:a")]), BUNDLED).is_err());
        assert!(check(first, with("1", &[(2, "urn:a")]), APART).is_ok());
    }

    /// J19: the same SSRC on two bundled m-lines is refused; fine when unbundled.
    #[test]
    fn ssrcs_belong_to_one_section_of_a_group() {
        let with = |mid| {
            let ssrcs = vec![SsrcInfo { ssrc: 7, ..SsrcInfo::default() }];
            content(mid, MediaKind::Audio, RtpMediaContentDescription { ssrcs, ..Default::default() })
        };
        assert!(check(with("0"), with("1"), BUNDLED).is_err());
        assert!(check(with("0"), with("1"), APART).is_ok());
        assert!(check(with("0"), with("1"), &[]).is_ok());
    }
}
