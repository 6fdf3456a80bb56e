//! The codecs and header extensions a connection can negotiate, and how one registers one's own. Part of the
//! configuration; answers to libwebrtc's `media/engine/webrtc_media_engine.h` and to `GetRtpSenderCapabilities` of
//! `pc/peer_connection_factory.cc`.

use peerstack_jsep::{
    ABS_SEND_TIME_URI, AUDIO_LEVEL_URI, Codec, MID_URI, MediaKind, REPAIRED_RID_URI, RID_URI, RtpExtension,
    default_audio_codecs, default_video_codecs,
};
use peerstack_rtp_transport::RtpExtensionType;

use crate::media_stream_track::TrackKind;
use crate::{RtcError, RtcErrorKind, RtpTransceiverDirection};

/// Header extensions of one kind at most: each offer carries them all.
const MAX_EXTENSIONS: usize = 64;
/// Bytes of a URI at most.
const MAX_URI: usize = 255;

/// A header extension that can be negotiated (`RTCRtpHeaderExtensionCapability`, with the direction of
/// webrtc-extensions section 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "RTCRtpHeaderExtensionCapability")]
pub struct RtpHeaderExtensionCapability {
    /// What it is.
    pub uri: String,
    /// In which direction it is offered; `Stopped` for not at all.
    pub direction: RtpTransceiverDirection,
}

impl RtpHeaderExtensionCapability {
    /// An extension to be offered so.
    pub fn new(uri: impl Into<String>, direction: RtpTransceiverDirection) -> Self {
        Self { uri: uri.into(), direction }
    }
}

/// What can be sent or received of one kind (`RTCRtpCapabilities`, webrtc-pc section 5.2.10).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[doc(alias = "RTCRtpCapabilities")]
pub struct RtpCapabilities {
    /// The codecs, each once, in order of preference. Retransmission stands once, for all that it goes with.
    pub codecs: Vec<Codec>,
    /// The header extensions.
    pub header_extensions: Vec<RtpHeaderExtensionCapability>,
}

/// The codecs and header extensions of a connection ([`Settings::media`](crate::Settings::media)). Not W3C's: a browser
/// has those it has.
///
/// By default what browsers have and send without being asked: Opus, G.722, PCMU, PCMA, CN and telephone-event; VP8,
/// VP9, H.264, AV1, H.265, each with RTX. [`full`](Self::full) adds RED, ULPFEC and FlexFEC; others are added by
/// [`register_codec`](Self::register_codec). Nothing is encoded or decoded here: a codec is a name that both sides
/// agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaEngine {
    audio: Vec<Codec>,
    video: Vec<Codec>,
    audio_extensions: Vec<RtpHeaderExtensionCapability>,
    video_extensions: Vec<RtpHeaderExtensionCapability>,
}

impl Default for MediaEngine {
    fn default() -> Self {
        Self {
            audio: default_audio_codecs(),
            video: default_video_codecs(),
            audio_extensions: extensions(&[MID_URI, AUDIO_LEVEL_URI, ABS_SEND_TIME_URI], AUDIO_ON_REQUEST),
            video_extensions: extensions(
                &[MID_URI, RID_URI, REPAIRED_RID_URI, ABS_SEND_TIME_URI],
                VIDEO_ON_REQUEST,
            ),
        }
    }
}

const AUDIO_ON_REQUEST: &[RtpExtensionType] =
    &[RtpExtensionType::CsrcAudioLevel, RtpExtensionType::AbsoluteCaptureTime];
const VIDEO_ON_REQUEST: &[RtpExtensionType] = &[
    RtpExtensionType::VideoOrientation,
    RtpExtensionType::PlayoutDelay,
    RtpExtensionType::VideoContentType,
    RtpExtensionType::VideoTiming,
    RtpExtensionType::ColorSpace,
    RtpExtensionType::DependencyDescriptor,
    RtpExtensionType::VideoLayersAllocation,
    RtpExtensionType::TransmissionTimeOffset,
    RtpExtensionType::AbsoluteCaptureTime,
];

fn extensions(offered: &[&str], on_request: &[RtpExtensionType]) -> Vec<RtpHeaderExtensionCapability> {
    let both = RtpTransceiverDirection::Sendrecv;
    let offered = offered.iter().map(|uri| RtpHeaderExtensionCapability::new(*uri, both));
    offered
        .chain(
            on_request
                .iter()
                .map(|one| RtpHeaderExtensionCapability::new(one.uri(), RtpTransceiverDirection::Stopped)),
        )
        .collect()
}

impl MediaEngine {
    /// Without any codec or header extension but the identification of sections, which bundling needs.
    pub fn empty() -> Self {
        Self {
            audio: Vec::new(),
            video: Vec::new(),
            audio_extensions: extensions(&[MID_URI], &[]),
            video_extensions: extensions(&[MID_URI], &[]),
        }
    }

    /// The default, with RED for audio (RFC 2198) and video, ULPFEC (RFC 5109) and FlexFEC (RFC 8627). What these
    /// carry is for the application: the engine passes their packets through.
    pub fn full() -> Self {
        let mut engine = Self::default();
        engine.audio.insert(1, Codec::audio(63, "red", 48_000, 2).with_param("", "111/111"));
        engine.video.extend([
            Codec::video(116, "red"),
            Codec::rtx(117, 116),
            Codec::video(118, "ulpfec"),
            Codec::video(119, "flexfec-03").with_param("repair-window", "10000000"),
        ]);
        engine
    }

    /// The codecs of one kind in order of preference, with the payload types they get if those are free.
    pub fn codecs(&self, kind: TrackKind) -> &[Codec] {
        match kind {
            TrackKind::Audio => &self.audio,
            TrackKind::Video => &self.video,
        }
    }

    /// The header extensions of one kind.
    pub fn header_extensions(&self, kind: TrackKind) -> &[RtpHeaderExtensionCapability] {
        match kind {
            TrackKind::Audio => &self.audio_extensions,
            TrackKind::Video => &self.video_extensions,
        }
    }

    /// Adds a codec behind those there are. Its payload type is kept if it is free, otherwise it gets another;
    /// which, is returned. `rtx` says by `apt` what it goes with ([`Codec::rtx`]).
    ///
    /// # Errors
    /// `TypeError` for a name that is no token, a clock rate of 0, a payload type that is none or that RTCP uses
    /// (64 to 95, RFC 5761 section 4), `rtx` of nothing; `InvalidModificationError` for a codec that is there;
    /// `OperationError` if no payload type is left.
    pub fn register_codec(&mut self, kind: TrackKind, mut codec: Codec) -> Result<u8, RtcError> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
        if codec.name.is_empty() || codec.name.len() > 64 || !codec.name.bytes().all(token) {
            return Err(RtcError::type_error(format!("{:?} is not the name of a codec", codec.name)));
        }
        if codec.clock_rate == 0 {
            return Err(RtcError::type_error("the clock rate of a codec is not 0"));
        }
        if codec.payload_type > 127 || (64..=95).contains(&codec.payload_type) {
            let text = format!("{} is not a payload type (RFC 5761 section 4)", codec.payload_type);
            return Err(RtcError::type_error(text));
        }
        if codec.is_rtx()
            && !self.codecs(kind).iter().any(|one| Some(one.payload_type) == codec.associated_payload_type())
        {
            return Err(RtcError::type_error(
                "the rtx codec says no payload type of a codec that is registered",
            ));
        }
        codec.channels = match kind {
            TrackKind::Audio => codec.channels.max(1),
            TrackKind::Video => 0,
        };
        let same = |one: &&Codec| match codec.is_rtx() {
            true => one.is_rtx() && one.associated_payload_type() == codec.associated_payload_type(),
            false => one.matches(&codec) && one.params == codec.params,
        };
        if self.codecs(kind).iter().find(same).is_some() {
            let text = format!("the codec {:?} is registered already", codec.name);
            return Err(RtcError::new(RtcErrorKind::InvalidModificationError, text));
        }
        let taken = |number: u8| self.audio.iter().chain(&self.video).any(|one| one.payload_type == number);
        let wanted = codec.payload_type;
        let number = std::iter::once(wanted).chain(96..=127).chain(35..=63).find(|number| !taken(*number));
        codec.payload_type = number.ok_or_else(|| RtcError::operation("no payload type is left"))?;
        let number = codec.payload_type;
        match kind {
            TrackKind::Audio => self.audio.push(codec),
            TrackKind::Video => self.video.push(codec),
        }
        Ok(number)
    }

    /// Takes all codecs of a name away, with the retransmission that goes with them.
    pub fn remove_codec(&mut self, kind: TrackKind, name: &str) {
        let codecs = match kind {
            TrackKind::Audio => &mut self.audio,
            TrackKind::Video => &mut self.video,
        };
        codecs.retain(|codec| !codec.is_named(name));
        let left: Vec<u8> = codecs.iter().filter(|one| !one.is_rtx()).map(|one| one.payload_type).collect();
        codecs.retain(|codec| {
            !codec.is_rtx() || codec.associated_payload_type().is_some_and(|number| left.contains(&number))
        });
    }

    /// Adds a header extension, or changes the direction of one there is; `Stopped` for one that transceivers have
    /// but do not offer until they are told to.
    ///
    /// # Errors
    /// `TypeError` for what is no URI, or MID in another direction than both; `OperationError` if there are too many.
    pub fn register_header_extension(
        &mut self,
        kind: TrackKind,
        uri: &str,
        direction: RtpTransceiverDirection,
    ) -> Result<(), RtcError> {
        if uri.is_empty() || uri.len() > MAX_URI || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(RtcError::type_error(format!("{uri:?} is not the URI of a header extension")));
        }
        if uri == MID_URI && direction != RtpTransceiverDirection::Sendrecv {
            return Err(RtcError::type_error("the identification of sections goes both ways (RFC 9143)"));
        }
        let list = match kind {
            TrackKind::Audio => &mut self.audio_extensions,
            TrackKind::Video => &mut self.video_extensions,
        };
        if let Some(known) = list.iter_mut().find(|one| one.uri == uri) {
            known.direction = direction;
            return Ok(());
        }
        if list.len() >= MAX_EXTENSIONS {
            return Err(RtcError::operation(format!("there are {MAX_EXTENSIONS} header extensions already")));
        }
        list.push(RtpHeaderExtensionCapability::new(uri, direction));
        Ok(())
    }

    /// What can be sent or received (`RTCRtpSender.getCapabilities`, `RTCRtpReceiver.getCapabilities`): the same,
    /// since packets pass through.
    pub fn capabilities(&self, kind: TrackKind) -> RtpCapabilities {
        let mut codecs: Vec<Codec> = Vec::new();
        for codec in self.codecs(kind) {
            let mut codec = codec.clone();
            if codec.is_rtx() {
                // One for all: what it goes with is said by the codec before it.
                codec.params.clear();
            }
            if !codecs.iter().any(|other| other.is_same_format(&codec)) {
                codecs.push(codec);
            }
        }
        RtpCapabilities { codecs, header_extensions: self.header_extensions(kind).to_vec() }
    }

    /// Whether a codec is one of the capabilities (webrtc-pc section 5.2, "codec dictionary match"): name, clock rate,
    /// channels and parameters.
    pub(crate) fn knows(&self, kind: TrackKind, codec: &Codec) -> bool {
        self.codecs(kind).iter().any(|own| codec_match(own, codec))
    }
}

/// webrtc-pc section 5.2's "codec dictionary match": all of it, names without regard to case. The parameters of `rtx`
/// are not the application's; parameters that are not said match what is there.
pub(crate) fn codec_match(own: &Codec, wanted: &Codec) -> bool {
    let same = own.is_named(&wanted.name)
        && own.clock_rate == wanted.clock_rate
        && own.channels.max(1) == wanted.channels.max(1);
    same && (own.is_rtx() || wanted.params.is_empty() || own.matches(wanted) && same_params(own, wanted))
}

/// Parameters that both name are the same; the level of H.264 is not looked at, it is the receiver's to say.
fn same_params(own: &Codec, wanted: &Codec) -> bool {
    wanted.params.iter().all(|(name, value)| {
        name == "profile-level-id"
            || own.params.get(name).is_some_and(|other| other.eq_ignore_ascii_case(value))
    })
}

/// The codecs of a section in the order of `set_codec_preferences`: those of the engine, RTX behind what it goes with
/// if the list has RTX at all.
pub(crate) fn preferred(own: &[Codec], preferences: &[Codec]) -> Vec<Codec> {
    let with_rtx = preferences.iter().any(Codec::is_rtx);
    let mut codecs: Vec<Codec> = Vec::new();
    for wanted in preferences.iter().filter(|codec| !codec.is_rtx()) {
        for codec in own.iter().filter(|own| codec_match(own, wanted)) {
            if codecs.iter().any(|known| known.payload_type == codec.payload_type) {
                continue;
            }
            codecs.push(codec.clone());
            let goes_with = |one: &&Codec| one.associated_payload_type() == Some(codec.payload_type);
            if with_rtx {
                codecs.extend(own.iter().filter(|one| one.is_rtx()).filter(goes_with).cloned());
            }
        }
    }
    codecs
}

/// Checks `set_codec_preferences` (webrtc-pc section 5.4): each codec is one of ours, one at least carries media;
/// doubles are left out.
pub(crate) fn checked_preferences(
    engine: &MediaEngine,
    kind: TrackKind,
    codecs: Vec<Codec>,
) -> Result<Vec<Codec>, RtcError> {
    let refuse = |text: String| Err(RtcError::new(RtcErrorKind::InvalidModificationError, text));
    let mut list: Vec<Codec> = Vec::new();
    for codec in codecs {
        if !engine.knows(kind, &codec) {
            let text = format!("the {} codec {:?} is none of the capabilities", kind.as_str(), codec.name);
            return refuse(text);
        }
        if !list.iter().any(|known| known.is_same_format(&codec)) {
            list.push(codec);
        }
    }
    if !list.is_empty() && !list.iter().any(Codec::is_media) {
        return refuse("the list holds no media codec, only retransmission or error correction".to_owned());
    }
    Ok(list)
}

/// Checks `set_header_extensions_to_negotiate`: only directions change, and MID stays (R14).
pub(crate) fn check_extensions(
    before: &[RtpHeaderExtensionCapability],
    wanted: &[RtpHeaderExtensionCapability],
) -> Result<(), RtcError> {
    let refuse = |text: String| Err(RtcError::new(RtcErrorKind::InvalidModificationError, text));
    if before.len() != wanted.len() {
        return refuse(format!("{} header extensions are given, there are {}", wanted.len(), before.len()));
    }
    for (own, given) in before.iter().zip(wanted) {
        if own.uri != given.uri {
            return refuse(format!("the header extension {:?} stands where {:?} was", given.uri, own.uri));
        }
        if own.uri == MID_URI && given.direction != RtpTransceiverDirection::Sendrecv {
            return refuse("the identification of sections goes both ways (RFC 9143)".to_owned());
        }
    }
    Ok(())
}

/// The negotiated header extensions that go this way: `ours` are those of the description whose writer sends if
/// `sends`. Without a direction they go both ways (RFC 8285 section 6).
pub(crate) fn in_direction(extensions: &[RtpExtension], sends: bool) -> Vec<RtpExtension> {
    let goes = |one: &&RtpExtension| {
        one.direction.is_none_or(|direction| if sends { direction.sends() } else { direction.receives() })
    };
    extensions.iter().filter(goes).cloned().collect()
}

/// The header extensions of a section to be described, without those that are stopped. Ids are wishes.
pub(crate) fn described_extensions(
    kind: &MediaKind,
    wanted: &[RtpHeaderExtensionCapability],
) -> Vec<RtpExtension> {
    let defaults = peerstack_jsep::default_header_extensions(kind);
    let offered = wanted.iter().filter(|one| one.direction != RtpTransceiverDirection::Stopped);
    let described = offered.map(|one| {
        let direction = one.direction;
        let id = defaults.iter().find(|known| known.uri == one.uri).map_or(0, |known| known.id);
        let both = direction == RtpTransceiverDirection::Sendrecv;
        RtpExtension { direction: (!both).then_some(direction), ..RtpExtension::new(id, &one.uri) }
    });
    let mut list: Vec<RtpExtension> = described.collect();
    // Known ids first, so that what has none does not take theirs.
    list.sort_by_key(|one| (one.id == 0, one.id));
    list
}

#[cfg(test)]
#[path = "media_engine_tests.rs"]
mod tests;
