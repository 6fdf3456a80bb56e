//! What is sent and received, as the application sees and sets it (webrtc-pc sections 5.2.2 to 5.2.10): the
//! encodings of a sender, the parameters of senders and receivers. Plain data of the caller's; the checks answer to
//! libwebrtc's `media/base/media_engine.cc` (`CheckRtpParametersValues`) and `pc/rtp_parameters_conversion.cc`.

use peerstack_jsep::{Codec, RtpExtension};

use crate::media_stream_track::TrackKind;
use crate::{RtcError, RtcErrorKind};

/// The encodings one sender may have (libwebrtc `kMaxSimulcastStreams`); audio has one.
pub(crate) const MAX_ENCODINGS: usize = 3;
/// Bytes of a RID at most: what the header extension carries in the form all peers know (RFC 8852 section 3).
const MAX_RID: usize = 16;

/// One encoding of what a sender sends (`RTCRtpEncodingParameters`, webrtc-pc section 5.2.5): with several it is
/// simulcast, and each has a RID.
///
/// The engine encodes nothing: what concerns the encoder (bit rate, frame rate, resolution) is kept for the
/// application, which reads it by [`RtpSender::get_parameters`](crate::RtpSender::get_parameters).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[doc(alias = "RTCRtpEncodingParameters")]
pub struct RtpEncodingParameters {
    /// The RTP stream id (RFC 8851): 1 to 16 letters, digits, `-` and `_`. Set once, when the transceiver is made.
    pub rid: Option<String>,
    /// Whether it is sent; true at first.
    pub active: bool,
    /// The codec it is sent with; the first that was negotiated if `None`.
    pub codec: Option<Codec>,
    /// Bits a second at most.
    pub max_bitrate: Option<u64>,
    /// Frames a second at most, of video.
    pub max_framerate: Option<f64>,
    /// By how much each side of a video picture is divided, 1 or more.
    pub scale_resolution_down_by: Option<f64>,
}

impl Default for RtpEncodingParameters {
    fn default() -> Self {
        Self {
            rid: None,
            active: true,
            codec: None,
            max_bitrate: None,
            max_framerate: None,
            scale_resolution_down_by: None,
        }
    }
}

impl RtpEncodingParameters {
    /// An active encoding with this RID.
    pub fn new(rid: impl Into<String>) -> Self {
        Self { rid: Some(rid.into()), ..Self::default() }
    }

    /// Sent or not.
    #[must_use]
    pub fn with_active(mut self, active: bool) -> Self {
        self.active = active;
        self
    }

    /// With this codec.
    #[must_use]
    pub fn with_codec(mut self, codec: Codec) -> Self {
        self.codec = Some(codec);
        self
    }

    /// With at most so many bits a second.
    #[must_use]
    pub fn with_max_bitrate(mut self, bits_a_second: u64) -> Self {
        self.max_bitrate = Some(bits_a_second);
        self
    }

    /// With at most so many frames a second.
    #[must_use]
    pub fn with_max_framerate(mut self, frames_a_second: f64) -> Self {
        self.max_framerate = Some(frames_a_second);
        self
    }

    /// With each side of the picture divided by `factor`.
    #[must_use]
    pub fn with_scale_resolution_down_by(mut self, factor: f64) -> Self {
        self.scale_resolution_down_by = Some(factor);
        self
    }
}

/// A header extension that was negotiated (`RTCRtpHeaderExtensionParameters`, webrtc-pc section 5.2.7).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpHeaderExtensionParameters {
    /// What it is.
    pub uri: String,
    /// Its number on the wire (RFC 8285).
    pub id: u16,
    /// Whether it is encrypted (RFC 6904).
    pub encrypted: bool,
}

/// How RTCP goes (`RTCRtcpParameters`, webrtc-pc section 5.2.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RtcpParameters {
    /// Our canonical name (RFC 7022); empty of a receiver.
    pub cname: String,
    /// Whether feedback may go alone (RFC 5506).
    pub reduced_size: bool,
}

/// The parameters of a sender (`RTCRtpSendParameters`, webrtc-pc section 5.2.2). Change the encodings and hand it
/// back to [`RtpSender::set_parameters`](crate::RtpSender::set_parameters); all else is read-only.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[doc(alias = "RTCRtpSendParameters")]
pub struct RtpSendParameters {
    /// Names this call of `get_parameters`.
    pub transaction_id: String,
    /// The encodings.
    pub encodings: Vec<RtpEncodingParameters>,
    /// Codecs that were negotiated, in order of preference; none before.
    pub codecs: Vec<Codec>,
    /// Header extensions that were negotiated.
    pub header_extensions: Vec<RtpHeaderExtensionParameters>,
    /// RTCP.
    pub rtcp: RtcpParameters,
}

/// The parameters of a receiver (`RTCRtpReceiveParameters`, webrtc-pc section 5.2.3); nothing is in them before the
/// negotiation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
#[doc(alias = "RTCRtpReceiveParameters")]
pub struct RtpReceiveParameters {
    /// Codecs that may come, in order of preference.
    pub codecs: Vec<Codec>,
    /// Header extensions that may come.
    pub header_extensions: Vec<RtpHeaderExtensionParameters>,
    /// RTCP.
    pub rtcp: RtcpParameters,
}

/// As the application is told.
pub(crate) fn extension_parameters(extensions: &[RtpExtension]) -> Vec<RtpHeaderExtensionParameters> {
    let told = |one: &RtpExtension| RtpHeaderExtensionParameters {
        uri: one.uri.clone(),
        id: u16::from(one.id),
        encrypted: one.encrypt,
    };
    extensions.iter().map(told).collect()
}

/// Checks and completes the encodings of `add_transceiver` (webrtc-pc section 5.1, "addTransceiver sendEncodings
/// validation steps"; R08, R09). There is at least one afterwards.
pub(crate) fn checked_encodings(
    kind: TrackKind,
    mut encodings: Vec<RtpEncodingParameters>,
    known: impl Fn(&Codec) -> bool,
) -> Result<Vec<RtpEncodingParameters>, RtcError> {
    check_rids(&encodings)?;
    for codec in encodings.iter().filter_map(|encoding| encoding.codec.as_ref()) {
        if !known(codec) {
            let text =
                format!("the codec {:?} of an encoding is none of the sender's capabilities", codec.name);
            return Err(RtcError::operation(text));
        }
    }
    check_values(kind, &mut encodings)?;
    let limit = match kind {
        TrackKind::Audio => 1,
        TrackKind::Video => MAX_ENCODINGS,
    };
    encodings.truncate(limit);
    match encodings.as_mut_slice() {
        [] => encodings.push(RtpEncodingParameters::default()),
        // One stream needs no name.
        [one] => one.rid = None,
        several => {
            for (index, encoding) in several.iter_mut().enumerate() {
                // R09: all or none have one.
                encoding.rid.get_or_insert_with(|| index.to_string());
            }
        }
    }
    if kind == TrackKind::Video {
        let scaled = encodings.iter().any(|encoding| encoding.scale_resolution_down_by.is_some());
        // Without a word of the caller's the last has the full size, each before it half of the next.
        let mut factor = 1.0;
        for encoding in encodings.iter_mut().rev() {
            encoding.scale_resolution_down_by.get_or_insert(factor);
            factor *= if scaled { 1.0 } else { 2.0 };
        }
    }
    Ok(encodings)
}

fn check_rids(encodings: &[RtpEncodingParameters]) -> Result<(), RtcError> {
    let rids: Vec<&str> = encodings.iter().filter_map(|encoding| encoding.rid.as_deref()).collect();
    for rid in &rids {
        let token = rid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !token || !(1..=MAX_RID).contains(&rid.len()) {
            let text =
                format!("the rid {rid:?} is not 1 to {MAX_RID} letters, digits, '-' and '_' (RFC 8851)");
            return Err(RtcError::type_error(text));
        }
        if rids.iter().filter(|other| *other == rid).count() > 1 {
            return Err(RtcError::type_error(format!("the rid {rid:?} stands in two encodings")));
        }
    }
    if !rids.is_empty() && rids.len() != encodings.len() {
        return Err(RtcError::type_error("some of the encodings have a rid, others have none"));
    }
    Ok(())
}

/// What audio does not have goes; numbers that cannot be are refused.
fn check_values(kind: TrackKind, encodings: &mut [RtpEncodingParameters]) -> Result<(), RtcError> {
    let range = |text: String| RtcError::new(RtcErrorKind::RangeError, text);
    for encoding in encodings {
        if kind == TrackKind::Audio {
            encoding.scale_resolution_down_by = None;
            encoding.max_framerate = None;
        }
        if let Some(factor) = encoding.scale_resolution_down_by
            && !(factor.is_finite() && factor >= 1.0)
        {
            return Err(range(format!("scale_resolution_down_by is {factor}, 1 is the least")));
        }
        if let Some(rate) = encoding.max_framerate
            && !(rate.is_finite() && rate >= 0.0)
        {
            return Err(range(format!("max_framerate is {rate}, 0 is the least")));
        }
        // webrtc-pc's unsigned long.
        if let Some(rate) = encoding.max_bitrate.filter(|rate| *rate > u64::from(u32::MAX)) {
            return Err(range(format!("max_bitrate is {rate}, {} is the most", u32::MAX)));
        }
    }
    Ok(())
}

/// Checks what `set_parameters` is given against what `get_parameters` returned last (webrtc-pc section 5.2, R13,
/// R19). `choosable` are the codecs an encoding may name.
pub(crate) fn checked_parameters(
    kind: TrackKind,
    last: &RtpSendParameters,
    rids: &[Option<String>],
    mut given: RtpSendParameters,
    choosable: impl Fn(&Codec) -> bool,
) -> Result<Vec<RtpEncodingParameters>, RtcError> {
    let refuse = |text: String| Err(RtcError::new(RtcErrorKind::InvalidModificationError, text));
    if given.encodings.len() != rids.len() {
        return refuse(format!("{} encodings are given, there are {}", given.encodings.len(), rids.len()));
    }
    if given.encodings.iter().zip(rids).any(|(encoding, rid)| encoding.rid != *rid) {
        return refuse("the rids of encodings and their order cannot change".to_owned());
    }
    if given.transaction_id != last.transaction_id {
        return refuse("the transaction is not that of the parameters got last".to_owned());
    }
    if given.codecs != last.codecs {
        return refuse(
            "the codecs are read-only: set_codec_preferences and a negotiation change them".to_owned(),
        );
    }
    if given.header_extensions != last.header_extensions || given.rtcp != last.rtcp {
        return refuse("header extensions and RTCP are read-only".to_owned());
    }
    if let Some(codec) =
        given.encodings.iter().filter_map(|encoding| encoding.codec.as_ref()).find(|codec| !choosable(codec))
    {
        return refuse(format!("the codec {:?} of an encoding was not negotiated", codec.name));
    }
    check_values(kind, &mut given.encodings)?;
    if kind == TrackKind::Video {
        for encoding in &mut given.encodings {
            encoding.scale_resolution_down_by.get_or_insert(1.0);
        }
    }
    Ok(given.encodings)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Encoding = RtpEncodingParameters;

    fn check(kind: TrackKind, encodings: Vec<Encoding>) -> Result<Vec<Encoding>, RtcErrorKind> {
        let known = |codec: &Codec| codec.is_named("VP8") || codec.is_named("opus");
        checked_encodings(kind, encodings, known).map_err(|error| error.kind)
    }

    fn rids(encodings: &[Encoding]) -> Vec<Option<&str>> {
        encodings.iter().map(|encoding| encoding.rid.as_deref()).collect()
    }

    /// R08, R09: what encodings may say, by W3C's error names.
    #[test]
    fn encodings_are_checked() {
        use RtcErrorKind::{OperationError, RangeError, TypeError};
        let video = |encodings| check(TrackKind::Video, encodings).map(drop);
        let two = |a: &str, b: &str| vec![Encoding::new(a), Encoding::new(b)];
        for rid in ["", "a b", "a.b", "ä", "~a", "a;b", "01234567890123456"] {
            assert_eq!(video(two("1", rid)), Err(TypeError), "{rid:?}");
            assert_eq!(video(vec![Encoding::new(rid)]), Err(TypeError), "{rid:?} alone");
        }
        assert_eq!(video(two("0123456789abcdef", "A-_9")), Ok(()));
        assert_eq!(video(two("1", "1")), Err(TypeError));
        assert_eq!(video(vec![Encoding::new("1"), Encoding::default()]), Err(TypeError));
        for factor in [0.99, 0.0, -1.0, f64::NAN, f64::INFINITY] {
            let one = Encoding::default().with_scale_resolution_down_by(factor);
            assert_eq!(video(vec![one]), Err(RangeError), "{factor}");
        }
        for rate in [-0.5, f64::NAN] {
            assert_eq!(video(vec![Encoding::default().with_max_framerate(rate)]), Err(RangeError), "{rate}");
        }
        assert_eq!(video(vec![Encoding::default().with_max_framerate(0.0)]), Ok(()));
        assert_eq!(video(vec![Encoding::default().with_max_bitrate(1 << 40)]), Err(RangeError));
        let codec = |name| vec![Encoding::default().with_codec(Codec::video(1, name))];
        assert_eq!(video(codec("VP8")), Ok(()));
        assert_eq!(video(codec("H263")), Err(OperationError));
    }

    /// R09: all or none have rids, too many are cut from the tail, one alone has none.
    #[test]
    fn encodings_are_completed() {
        let made = check(TrackKind::Video, vec![]).unwrap();
        assert_eq!((rids(&made), made[0].active), (vec![None], true));
        let made = check(TrackKind::Video, vec![Encoding::new("h")]).unwrap();
        assert_eq!(rids(&made), [None]);
        let made = check(TrackKind::Video, vec![Encoding::default(); 2]).unwrap();
        assert_eq!(rids(&made), [Some("0"), Some("1")]);
        let five = ["a", "b", "c", "d", "e"].map(Encoding::new).to_vec();
        let made = check(TrackKind::Video, five.clone()).unwrap();
        assert_eq!(rids(&made), [Some("a"), Some("b"), Some("c")]);
        // An invalid one that would be cut is refused all the same.
        let mut bad = five;
        bad[4].scale_resolution_down_by = Some(0.5);
        assert_eq!(check(TrackKind::Video, bad), Err(RtcErrorKind::RangeError));
        // Audio is not sent in several encodings, and has no picture.
        let loud = Encoding::new("a").with_scale_resolution_down_by(0.1).with_max_framerate(-1.0);
        let made = check(TrackKind::Audio, vec![loud, Encoding::new("b")]).unwrap();
        assert_eq!(rids(&made), [None]);
        assert_eq!((made[0].scale_resolution_down_by, made[0].max_framerate), (None, None));
    }

    /// R19: without a factor each is half of the next, with one the others are whole.
    #[test]
    fn layers_are_scaled() {
        let factors = |encodings: Vec<Encoding>| -> Vec<f64> {
            let made = check(TrackKind::Video, encodings).unwrap();
            made.iter().filter_map(|encoding| encoding.scale_resolution_down_by).collect()
        };
        assert_eq!(factors(["a", "b", "c"].map(Encoding::new).to_vec()), [4.0, 2.0, 1.0]);
        let mut some = ["a", "b", "c"].map(Encoding::new).to_vec();
        some[1].scale_resolution_down_by = Some(3.0);
        assert_eq!(factors(some), [1.0, 3.0, 1.0]);
        assert_eq!(factors(vec![]), [1.0]);
    }

    /// R13, R19: only the encodings' own values may change.
    #[test]
    fn parameters_are_checked() {
        use RtcErrorKind::{InvalidModificationError, RangeError};
        let last = RtpSendParameters {
            transaction_id: "t".to_owned(),
            encodings: vec![Encoding::new("a"), Encoding::new("b")],
            codecs: vec![Codec::video(96, "VP8")],
            header_extensions: Vec::new(),
            rtcp: RtcpParameters::default(),
        };
        let rids = [Some("a".to_owned()), Some("b".to_owned())];
        let set = |change: &dyn Fn(&mut RtpSendParameters)| {
            let mut given = last.clone();
            change(&mut given);
            checked_parameters(TrackKind::Video, &last, &rids, given, |codec| codec.is_named("VP8"))
                .map_err(|error| error.kind)
        };
        let made = set(&|given| given.encodings[1].active = false).unwrap();
        assert_eq!((made[0].active, made[1].active), (true, false));
        assert_eq!(made[0].scale_resolution_down_by, Some(1.0));
        let changes: [&dyn Fn(&mut RtpSendParameters); 9] = [
            &|given| drop(given.encodings.pop()),
            &|given| given.encodings.push(Encoding::new("c")),
            &|given| given.encodings.swap(0, 1),
            &|given| given.encodings[0].rid = None,
            &|given| given.transaction_id.push('x'),
            &|given| given.codecs.clear(),
            &|given| given.rtcp.reduced_size = true,
            &|given| given.rtcp.cname.push('x'),
            &|given| given.encodings[0].codec = Some(Codec::video(97, "H264")),
        ];
        for (index, change) in changes.iter().enumerate() {
            assert_eq!(set(change), Err(InvalidModificationError), "change {index}");
        }
        assert_eq!(set(&|given| given.encodings[0].scale_resolution_down_by = Some(0.5)), Err(RangeError));
        assert_eq!(set(&|given| given.encodings[0].max_framerate = Some(-1.0)), Err(RangeError));
        assert!(set(&|given| given.encodings[0].codec = Some(Codec::video(97, "VP8"))).is_ok());
    }
}
