//! Codecs as descriptions name them, and what is offered by default.
//!
//! Owned by the signaling task. RFC 8866 section 6.6 (`rtpmap`), section 6.15 (`fmtp`), RFC 4585 section 4.2
//! (`rtcp-fb`), RFC 4588 (`rtx`). Answers to libwebrtc's `media/base/codec.h` and `media/base/media_constants.h`.

use std::collections::BTreeMap;

use crate::codec_comparators;
use crate::session_description::{MediaKind, RtpExtension};

/// One `a=rtcp-fb` of a codec (RFC 4585 section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedbackParam {
    /// `nack`, `ccm`, `transport-cc`, ...
    pub id: String,
    /// `pli`, `fir`, ...; empty if there is none.
    pub param: String,
}

/// A codec of an m-section (RFC 8866 sections 6.6 and 6.15; W3C `RTCRtpCodecParameters`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding name; compared without regard to case. Empty if the description did not say: such a codec
    /// matches nothing.
    pub name: String,
    /// RTP clock, ticks a second.
    pub clock_rate: u32,
    /// Audio channels, 1 unless said; 0 for video.
    pub channels: u8,
    /// `fmtp` parameters. What has no `=` stands under the empty name.
    pub params: BTreeMap<String, String>,
    /// `rtcp-fb` attributes.
    pub feedback: Vec<FeedbackParam>,
}

impl Codec {
    /// An audio codec without parameters.
    pub fn audio(payload_type: u8, name: impl Into<String>, clock_rate: u32, channels: u8) -> Self {
        Self {
            payload_type,
            name: name.into(),
            clock_rate,
            channels,
            params: BTreeMap::new(),
            feedback: Vec::new(),
        }
    }

    /// A video codec of 90 kHz without parameters.
    pub fn video(payload_type: u8, name: impl Into<String>) -> Self {
        Self::audio(payload_type, name, 90_000, 0)
    }

    /// The retransmission codec of a video codec (RFC 4588 section 8.1).
    pub fn rtx(payload_type: u8, associated: u8) -> Self {
        Self::video(payload_type, "rtx").with_param("apt", associated.to_string())
    }

    /// With one more `fmtp` parameter.
    #[must_use]
    pub fn with_param(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.params.insert(name.into(), value.into());
        self
    }

    /// With one more `rtcp-fb`; `param` may be empty.
    #[must_use]
    pub fn with_feedback(mut self, id: impl Into<String>, param: impl Into<String>) -> Self {
        self.feedback.push(FeedbackParam { id: id.into(), param: param.into() });
        self
    }

    /// Whether the name is this one.
    pub fn is_named(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// Whether it retransmits another codec (RFC 4588).
    pub fn is_rtx(&self) -> bool {
        self.is_named("rtx")
    }

    /// Whether it repeats others (RFC 2198).
    pub fn is_red(&self) -> bool {
        self.is_named("red")
    }

    /// Whether it carries media of its own: not `rtx`, `red`, FEC, comfort noise, telephone events.
    pub fn is_media(&self) -> bool {
        const OTHERS: [&str; 7] = ["rtx", "red", "ulpfec", "flexfec", "flexfec-03", "CN", "telephone-event"];
        !self.name.is_empty() && !OTHERS.iter().any(|name| self.is_named(name))
    }

    /// The payload type an `rtx` codec retransmits.
    pub fn associated_payload_type(&self) -> Option<u8> {
        self.params.get("apt")?.parse().ok().filter(|number| *number < 128)
    }

    /// Whether two names mean the same codec, whatever their payload types: name, clock rate, channels, and for
    /// some codecs the parameters that make streams of different kinds (H.264 profile and packetization mode, VP9
    /// and AV1 profile, H.265 profile and tier). `rtx` and `red` match by name; what they go with is not looked
    /// at.
    pub fn matches(&self, other: &Self) -> bool {
        codec_comparators::matches(self, other)
    }

    /// The media type (RFC 6838), `audio/opus` and the like: W3C's `mimeType`.
    pub fn mime_type(&self) -> String {
        format!("{}/{}", if self.channels == 0 { "video" } else { "audio" }, self.name)
    }

    /// The parameters as an `a=fmtp` line says them (RFC 8866 section 6.15), W3C's `sdpFmtpLine`; `None` without any.
    pub fn sdp_fmtp_line(&self) -> Option<String> {
        let said = |(name, value): (&String, &String)| match name.is_empty() {
            true => value.clone(),
            false => format!("{name}={value}"),
        };
        let line = self.params.iter().map(said).collect::<Vec<_>>().join(";");
        (!line.is_empty()).then_some(line)
    }

    /// Whether two are the same to the last parameter but their payload type and feedback.
    pub fn is_same_format(&self, other: &Self) -> bool {
        self.is_named(&other.name)
            && self.clock_rate == other.clock_rate
            && self.channels.max(1) == other.channels.max(1)
            && self.params == other.params
    }
}

/// What a static payload type means without an `rtpmap` (RFC 3551 section 6): name, clock rate, channels.
pub(crate) fn static_payload_type(payload_type: u8) -> Option<(&'static str, u32, u8)> {
    Some(match payload_type {
        0 => ("PCMU", 8000, 1),
        3 => ("GSM", 8000, 1),
        4 => ("G723", 8000, 1),
        8 => ("PCMA", 8000, 1),
        9 => ("G722", 8000, 1),
        10 => ("L16", 44100, 2),
        11 => ("L16", 44100, 1),
        13 => ("CN", 8000, 1),
        14 => ("MPA", 90000, 1),
        15 => ("G728", 8000, 1),
        18 => ("G729", 8000, 1),
        26 => ("JPEG", 90000, 1),
        31 => ("H261", 90000, 1),
        32 => ("MPV", 90000, 1),
        33 => ("MP2T", 90000, 1),
        34 => ("H263", 90000, 1),
        _ => return None,
    })
}

/// The audio codecs offered by default, in order of preference. Encoded audio passes through, so that what all
/// browsers have can be listed.
pub fn default_audio_codecs() -> Vec<Codec> {
    vec![
        Codec::audio(111, "opus", 48_000, 2).with_param("minptime", "10").with_param("useinbandfec", "1"),
        Codec::audio(9, "G722", 8_000, 1),
        Codec::audio(0, "PCMU", 8_000, 1),
        Codec::audio(8, "PCMA", 8_000, 1),
        Codec::audio(13, "CN", 8_000, 1),
        Codec::audio(110, "telephone-event", 48_000, 1).with_param("", "0-15"),
        Codec::audio(126, "telephone-event", 8_000, 1).with_param("", "0-15"),
    ]
}

/// The video codecs offered by default, each with its retransmission codec, in order of preference.
pub fn default_video_codecs() -> Vec<Codec> {
    let h264 = |payload_type, packetization_mode: &str, profile_level_id: &str| {
        Codec::video(payload_type, "H264")
            .with_param("level-asymmetry-allowed", "1")
            .with_param("packetization-mode", packetization_mode)
            .with_param("profile-level-id", profile_level_id)
    };
    let vp9 =
        |payload_type, profile: &str| Codec::video(payload_type, "VP9").with_param("profile-id", profile);
    let av1 = Codec::video(45, "AV1")
        .with_param("level-idx", "5")
        .with_param("profile", "0")
        .with_param("tier", "0");
    // RFC 7798 section 7.1: main profile, main tier, level 3.1.
    let h265 = Codec::video(47, "H265")
        .with_param("level-id", "93")
        .with_param("profile-id", "1")
        .with_param("tier-flag", "0")
        .with_param("tx-mode", "SRST");
    let codecs = [
        (Codec::video(96, "VP8"), 97),
        (vp9(98, "0"), 99),
        (h264(102, "1", "42e01f"), 103),
        (h264(104, "0", "42e01f"), 105),
        (h264(106, "1", "42001f"), 107),
        (h264(108, "1", "4d001f"), 109),
        (h264(114, "1", "64001f"), 115),
        (av1, 46),
        (vp9(100, "2"), 101),
        (h265, 48),
    ];
    let with_feedback = |codec: Codec| {
        codec.with_feedback("ccm", "fir").with_feedback("nack", "").with_feedback("nack", "pli")
    };
    codecs
        .into_iter()
        .flat_map(|(codec, rtx)| {
            let rtx = Codec::rtx(rtx, codec.payload_type);
            [with_feedback(codec), rtx]
        })
        .collect()
}

/// URI of the header extension that carries the mid (RFC 9143 section 15).
pub const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// URI of the header extension that carries the RTP stream id (RFC 8852).
pub const RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
/// URI of the header extension that carries the id of the stream that is repaired (RFC 8852).
pub const REPAIRED_RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
/// URI of the header extension that carries the audio level (RFC 6464).
pub const AUDIO_LEVEL_URI: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
/// URI of the header extension that carries the time of sending.
pub const ABS_SEND_TIME_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";

/// The header extensions offered by default, with the ids they get if those are free. The same ones for audio and
/// video, so that bundled sections agree.
pub fn default_header_extensions(kind: &MediaKind) -> Vec<RtpExtension> {
    match kind {
        MediaKind::Audio => vec![
            RtpExtension::new(1, AUDIO_LEVEL_URI),
            RtpExtension::new(2, ABS_SEND_TIME_URI),
            RtpExtension::new(4, MID_URI),
        ],
        MediaKind::Video => vec![
            RtpExtension::new(2, ABS_SEND_TIME_URI),
            RtpExtension::new(4, MID_URI),
            RtpExtension::new(10, RID_URI),
            RtpExtension::new(11, REPAIRED_RID_URI),
        ],
        MediaKind::Application | MediaKind::Unsupported(_) => Vec::new(),
    }
}
