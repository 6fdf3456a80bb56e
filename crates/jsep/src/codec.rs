//! Codecs as descriptions name them, what is offered by default, and when two are the same.
//!
//! Owned by the signaling task. RFC 8866 section 6.6 (`rtpmap`), section 6.15 (`fmtp`), RFC 4585 section 4.2
//! (`rtcp-fb`). Answers to libwebrtc's `media/base/codec.h` and `media/base/codec_comparators.h`.

use std::collections::BTreeMap;

/// One `a=rtcp-fb` of a codec (RFC 4585 section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeedbackParam {
    /// `nack`, `ccm`, `transport-cc`, ...
    pub id: String,
    /// `pli`, `fir`, ...; empty if there is none.
    pub param: String,
}

/// A codec of an m-section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding name; compared without regard to case.
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
