//! When two codecs are the same, and what an answer says of H.264.
//!
//! Pure functions of the signaling task. RFC 6184 section 8 (H.264), RFC 9628 section 6 (VP9), the AV1 RTP
//! payload specification section 7, RFC 7798 section 7 (H.265). Answers to libwebrtc's
//! `media/base/codec_comparators.cc` and `api/video_codecs/h264_profile_level_id.cc`.

use std::collections::BTreeMap;

use crate::codec::Codec;

/// See [`Codec::matches`].
pub(crate) fn matches(a: &Codec, b: &Codec) -> bool {
    // 0 and 1 channel are the same: video has none, audio without a number has one.
    let same = !a.name.is_empty()
        && a.is_named(&b.name)
        && a.clock_rate == b.clock_rate
        && a.channels.max(1) == b.channels.max(1);
    if !same {
        return false;
    }
    let same_param = |name: &str, default: &str| param(a, name, default) == param(b, name, default);
    if a.is_named("H264") {
        same_param("packetization-mode", "0")
            && match (H264ProfileLevel::of(a), H264ProfileLevel::of(b)) {
                (Some(a), Some(b)) => a.profile == b.profile,
                _ => false,
            }
    } else if a.is_named("VP9") {
        same_param("profile-id", "0")
    } else if a.is_named("AV1") {
        same_param("profile", "0")
    } else if a.is_named("H265") {
        same_param("profile-space", "0")
            && same_param("profile-id", "1")
            && same_param("tier-flag", "0")
            && same_param("tx-mode", "SRST")
    } else {
        true
    }
}

fn param<'a>(codec: &'a Codec, name: &str, default: &'a str) -> &'a str {
    let found = codec.params.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
    found.map_or(default, |(_, value)| value.as_str())
}

/// Profiles of H.264 that differ for a decoder (RFC 6184 section 8.1, table 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    PredictiveHigh444,
}

/// A `profile-level-id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct H264ProfileLevel {
    pub(crate) profile: H264Profile,
    /// Ten times the level; 9 stands for level 1b.
    pub(crate) level: u8,
}

impl H264ProfileLevel {
    /// Of a codec. One that says nothing has what libwebrtc and Firefox take it for: constrained baseline, level
    /// 3.1. `None` if the value is malformed or a profile nobody uses.
    pub(crate) fn of(codec: &Codec) -> Option<Self> {
        Self::parse(param(codec, "profile-level-id", "42e01f"))
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let [_, idc, iop, level] = u32::from_str_radix(text, 16).ok()?.to_be_bytes();
        // The bits of profile-iop that decide, table 5.
        let profile = match (idc, iop) {
            (0x42, iop) if iop & 0b0100_1111 == 0b0100_0000 => H264Profile::ConstrainedBaseline,
            (0x4d, iop) if iop & 0b1000_1111 == 0b1000_0000 => H264Profile::ConstrainedBaseline,
            (0x58, iop) if iop & 0b1100_1111 == 0b1100_0000 => H264Profile::ConstrainedBaseline,
            (0x42, iop) if iop & 0b0100_1111 == 0 => H264Profile::Baseline,
            (0x58, iop) if iop & 0b1100_1111 == 0b1000_0000 => H264Profile::Baseline,
            (0x4d, iop) if iop & 0b1010_1111 == 0 => H264Profile::Main,
            (0x64, 0) => H264Profile::High,
            (0x64, 0b0000_1100) => H264Profile::ConstrainedHigh,
            (0xf4, 0) => H264Profile::PredictiveHigh444,
            _ => return None,
        };
        // Level 1b is level 1.1 with constraint_set3_flag for the three old profiles.
        let old =
            matches!(profile, H264Profile::ConstrainedBaseline | H264Profile::Baseline | H264Profile::Main);
        let level = if level == 11 && old && iop & 0b0001_0000 != 0 { 9 } else { level };
        Some(Self { profile, level })
    }

    /// Levels in order: 1 is below 1b, 1b below 1.1.
    fn rank(self) -> (u8, bool) {
        if self.level == 9 { (10, true) } else { (self.level, false) }
    }

    fn text(self) -> String {
        let (idc, iop) = match self.profile {
            H264Profile::ConstrainedBaseline => (0x42, 0xe0),
            H264Profile::Baseline => (0x42, 0x00),
            H264Profile::Main => (0x4d, 0x00),
            H264Profile::ConstrainedHigh => (0x64, 0x0c),
            H264Profile::High => (0x64, 0x00),
            H264Profile::PredictiveHigh444 => (0xf4, 0x00),
        };
        let (iop, level) = if self.level == 9 { (iop | 0x10, 11) } else { (iop, self.level) };
        format!("{idc:02x}{iop:02x}{level:02x}")
    }
}

/// Sets what an answer says of the level (RFC 6184 section 8.2.2): ours if both allow asymmetry, otherwise the
/// lower of both. `ours` already holds our parameters.
pub(crate) fn negotiate_h264_level(negotiated: &mut BTreeMap<String, String>, ours: &Codec, theirs: &Codec) {
    let said = |codec: &Codec| codec.params.contains_key("profile-level-id");
    if !said(ours) && !said(theirs) {
        return;
    }
    let (Some(own), Some(other)) = (H264ProfileLevel::of(ours), H264ProfileLevel::of(theirs)) else {
        return;
    };
    let asymmetry = [ours, theirs].iter().all(|codec| param(codec, "level-asymmetry-allowed", "0") == "1");
    let chosen = if asymmetry || own.rank() <= other.rank() { own } else { other };
    negotiated.insert("profile-level-id".to_owned(), chosen.text());
}

/// Sets what an answer says of H.265's level: the lower of both (RFC 7798 section 7.2.2), 3.1 where nothing is said
/// (section 7.1). `ours` already holds our parameters.
pub(crate) fn negotiate_h265_level(negotiated: &mut BTreeMap<String, String>, ours: &Codec, theirs: &Codec) {
    let level = |codec: &Codec| param(codec, "level-id", "93").parse::<u8>().ok();
    let (Some(own), Some(other)) = (level(ours), level(theirs)) else { return };
    let said = [ours, theirs].iter().any(|codec| codec.params.contains_key("level-id"));
    if said {
        negotiated.insert("level-id".to_owned(), own.min(other).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7798 section 7.2.2: the lower level of both; profile, tier and transmission mode decide what matches.
    #[test]
    fn h265_is_compared_and_its_level_agreed() {
        let h265 = |params: &[(&str, &str)]| {
            let codec = Codec::video(100, "H265");
            params.iter().fold(codec, |codec, (name, value)| codec.with_param(*name, *value))
        };
        let plain = h265(&[]);
        assert!(plain.matches(&h265(&[("profile-id", "1"), ("level-id", "180"), ("tx-mode", "SRST")])));
        for other in [("profile-id", "2"), ("tier-flag", "1"), ("tx-mode", "MRST"), ("profile-space", "1")] {
            assert!(!plain.matches(&h265(&[other])), "{other:?}");
        }
        for (own, other, agreed) in [("93", "150", "93"), ("150", "93", "93"), ("120", "120", "120")] {
            let (own, other) = (h265(&[("level-id", own)]), h265(&[("level-id", other)]));
            let mut params = own.params.clone();
            negotiate_h265_level(&mut params, &own, &other);
            assert_eq!(params["level-id"], agreed);
        }
        let mut params = BTreeMap::new();
        negotiate_h265_level(&mut params, &plain, &plain);
        assert!(params.is_empty());
        negotiate_h265_level(&mut params, &plain, &h265(&[("level-id", "60")]));
        assert_eq!(params["level-id"], "60");
        let mut untouched = BTreeMap::new();
        negotiate_h265_level(&mut untouched, &plain, &h265(&[("level-id", "high")]));
        assert!(untouched.is_empty());
    }

    fn h264(params: &[(&str, &str)]) -> Codec {
        params.iter().fold(Codec::video(100, "H264"), |codec, (name, value)| codec.with_param(*name, *value))
    }

    #[test]
    fn names_rates_and_channels_decide() {
        let opus = Codec::audio(111, "opus", 48_000, 2);
        assert!(opus.matches(&Codec::audio(96, "OPUS", 48_000, 2).with_param("stereo", "1")));
        assert!(!opus.matches(&Codec::audio(111, "opus", 48_000, 1)));
        assert!(!opus.matches(&Codec::audio(111, "opus", 16_000, 2)));
        assert!(Codec::audio(9, "G722", 8_000, 1).matches(&Codec::audio(9, "G722", 8_000, 0)));
        let nameless = Codec::video(96, "");
        assert!(!nameless.matches(&nameless));
    }

    /// RFC 6184 table 5: ways to write the same profile.
    #[test]
    fn h264_profiles_compare_by_meaning() {
        let with = |id| h264(&[("profile-level-id", id), ("packetization-mode", "1")]);
        assert!(with("42e01f").matches(&with("42E034")));
        assert!(with("42e01f").matches(&with("42c00d")));
        assert!(with("42e01f").matches(&with("4d801f")));
        assert!(!with("42e01f").matches(&with("42001f")));
        assert!(with("42001f").matches(&with("58a01f")));
        assert!(!with("64001f").matches(&with("640c1f")));
        assert!(!with("4d001f").matches(&with("64001f")));
        assert!(!with("42e01f").matches(&h264(&[("profile-level-id", "42e01f")])));
        assert!(with("42e01f").matches(&h264(&[("packetization-mode", "1")])));
        assert!(h264(&[("packetization-mode", "0")]).matches(&h264(&[])));
        for bad in ["", "42e0", "42e01g", "+2e01f", "ffffff", "42e01f00"] {
            assert!(!with(bad).matches(&with(bad)), "{bad}");
        }
    }

    #[test]
    fn vp9_av1_and_h265_profiles_have_defaults() {
        let vp9 = Codec::video(98, "VP9");
        assert!(vp9.matches(&vp9.clone().with_param("profile-id", "0")));
        assert!(!vp9.matches(&vp9.clone().with_param("profile-id", "2")));
        let av1 = Codec::video(45, "AV1");
        assert!(av1.matches(&av1.clone().with_param("profile", "0").with_param("level-idx", "9")));
        assert!(!av1.matches(&av1.clone().with_param("profile", "1")));
        let h265 = Codec::video(49, "H265");
        assert!(h265.matches(&h265.clone().with_param("profile-id", "1").with_param("level-id", "93")));
        assert!(!h265.matches(&h265.clone().with_param("profile-id", "2")));
    }

    /// RFC 6184 section 8.2.2: the level of an answer.
    #[test]
    fn h264_level_of_an_answer() {
        let of = |ours: &[(&str, &str)], theirs: &[(&str, &str)]| {
            let ours = h264(ours);
            let mut params = ours.params.clone();
            negotiate_h264_level(&mut params, &ours, &h264(theirs));
            params.get("profile-level-id").cloned()
        };
        let (low, high) = (("profile-level-id", "42e015"), ("profile-level-id", "42e01f"));
        let asymmetry = ("level-asymmetry-allowed", "1");
        assert_eq!(of(&[high], &[low]).as_deref(), Some("42e015"));
        assert_eq!(of(&[low], &[high]).as_deref(), Some("42e015"));
        assert_eq!(of(&[high, asymmetry], &[low]).as_deref(), Some("42e015"));
        assert_eq!(of(&[high, asymmetry], &[low, asymmetry]).as_deref(), Some("42e01f"));
        assert_eq!(of(&[], &[]), None);
        // Level 1b, written as 1.1 with a flag, is below 1.1 and above 1.
        assert_eq!(
            of(&[("profile-level-id", "42f00b")], &[("profile-level-id", "42e00b")]).as_deref(),
            Some("42f00b")
        );
        assert_eq!(
            of(&[("profile-level-id", "42f00b")], &[("profile-level-id", "42e00a")]).as_deref(),
            Some("42e00a")
        );
    }
}
