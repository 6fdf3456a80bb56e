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
