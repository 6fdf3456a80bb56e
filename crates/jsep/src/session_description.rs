//! The typed session description: what offer and answer say, m-section by m-section.
//!
//! Plain data, owned by the signaling task and handed to the network task by value. RFC 8866, RFC 9429.
//! Answers to libwebrtc's `pc/session_description.h`, `pc/media_session.h` and `media/base/stream_params.h`.
//! The text form is read and written by `webrtc_sdp`.

use std::collections::BTreeMap;
use std::fmt;

use peerstack_dtls::DtlsFingerprint;
use peerstack_p2p::{Candidate, CandidateAddress, ConnectionRole, IceMode, IceParameters};

use crate::codec::Codec;
use crate::crypto_params::CryptoParams;

/// `a=group` semantics of RFC 9143.
pub const GROUP_SEMANTICS_BUNDLE: &str = "BUNDLE";

/// The protocol of an RTP m-section over DTLS-SRTP (RFC 9429 section 5.1.3).
pub const PROTOCOL_RTP: &str = "UDP/TLS/RTP/SAVPF";

/// The protocol of an RTP m-section whose keys are in the description (RFC 4568 with RFC 5124).
pub const PROTOCOL_RTP_SDES: &str = "RTP/SAVPF";

/// The protocol of an RTP m-section without protection (RFC 4585).
pub const PROTOCOL_RTP_IN_THE_CLEAR: &str = "RTP/AVPF";

/// The protocol of a data channel m-section (RFC 8841 section 4).
pub const PROTOCOL_SCTP: &str = "UDP/DTLS/SCTP";

/// The largest message a peer takes that did not say (RFC 8841 section 6.1), in bytes.
pub const DEFAULT_MAX_MESSAGE_SIZE: u64 = 65_536;

/// What a description is in the exchange (W3C `RTCSdpType`, RFC 9429 section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SdpType {
    /// Opens an exchange.
    Offer,
    /// A provisional answer.
    Pranswer,
    /// Ends an exchange.
    Answer,
    /// Takes an offer back.
    Rollback,
}

impl SdpType {
    /// The W3C word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::Pranswer => "pranswer",
            Self::Answer => "answer",
            Self::Rollback => "rollback",
        }
    }
}

impl fmt::Display for SdpType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an m-section carries (RFC 8866 section 5.14).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
    /// `m=application` over SCTP: data channels.
    Application,
    /// Anything else; the word of the m-line. Always rejected.
    Unsupported(String),
}

impl MediaKind {
    /// The word of the m-line.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Application => "application",
            Self::Unsupported(text) => text,
        }
    }

    /// Whether it is audio or video.
    pub fn is_rtp(&self) -> bool {
        matches!(self, Self::Audio | Self::Video)
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which way media goes (RFC 3264 section 5.1; W3C `RTCRtpTransceiverDirection`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RtpTransceiverDirection {
    /// Both ways; what a section without the attribute means.
    #[default]
    Sendrecv,
    /// From the writer of the description.
    Sendonly,
    /// To the writer of the description.
    Recvonly,
    /// Neither.
    Inactive,
    /// Neither, for good: what a transceiver tells that was stopped. No description says it, its section is
    /// rejected instead.
    Stopped,
}

impl RtpTransceiverDirection {
    /// Built from the two halves.
    pub fn new(send: bool, receive: bool) -> Self {
        match (send, receive) {
            (true, true) => Self::Sendrecv,
            (true, false) => Self::Sendonly,
            (false, true) => Self::Recvonly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the writer of the description sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::Sendrecv | Self::Sendonly)
    }

    /// Whether the writer of the description receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::Sendrecv | Self::Recvonly)
    }

    /// As the other side sees it.
    pub fn reversed(self) -> Self {
        Self::new(self.receives(), self.sends())
    }

    /// What both allow, seen from the same side.
    pub fn intersection(self, other: Self) -> Self {
        Self::new(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// The word of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sendrecv => "sendrecv",
            Self::Sendonly => "sendonly",
            Self::Recvonly => "recvonly",
            Self::Inactive => "inactive",
            Self::Stopped => "stopped",
        }
    }

    /// Reads the word of the attribute.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "sendrecv" => Some(Self::Sendrecv),
            "sendonly" => Some(Self::Sendonly),
            "recvonly" => Some(Self::Recvonly),
            "inactive" => Some(Self::Inactive),
            _ => None,
        }
    }
}

/// A group of m-sections (RFC 5888).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentGroup {
    /// `BUNDLE`, `LS`, ...
    pub semantics: String,
    /// The mids, in order. The first of a BUNDLE group is its tag (RFC 9143 section 7.1).
    pub mids: Vec<String>,
}

impl ContentGroup {
    /// A BUNDLE group.
    pub fn bundle(mids: Vec<String>) -> Self {
        Self { semantics: GROUP_SEMANTICS_BUNDLE.to_owned(), mids }
    }

    /// The first mid, whose transport the group uses.
    pub fn tag(&self) -> Option<&str> {
        self.mids.first().map(String::as_str)
    }

    /// Whether a mid is in the group.
    pub fn contains(&self, mid: &str) -> bool {
        self.mids.iter().any(|other| other == mid)
    }
}

/// An extension of RTP's header (RFC 8285).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpExtension {
    /// The number on the wire: 1 to 14 with the one-byte form, to 255 with the two-byte form.
    pub id: u8,
    /// What it is.
    pub uri: String,
    /// The direction it is used in, where the attribute says one.
    pub direction: Option<RtpTransceiverDirection>,
    /// Whether it is encrypted (RFC 6904).
    pub encrypt: bool,
}

impl RtpExtension {
    /// An extension used in both directions, in the clear.
    pub fn new(id: u8, uri: impl Into<String>) -> Self {
        Self { id, uri: uri.into(), direction: None, encrypt: false }
    }
}

/// A MediaStream a track belongs to (RFC 8830).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Msid {
    /// The stream; `None` is written `-`.
    pub stream_id: Option<String>,
    /// The track; may be absent in what peers of unified plan send.
    pub track_id: Option<String>,
}

/// What is said of one SSRC (RFC 5576).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SsrcInfo {
    /// The SSRC.
    pub ssrc: u32,
    /// The RTCP canonical name.
    pub cname: Option<String>,
    /// `a=ssrc:.. msid:` of peers before unified plan: stream and track.
    pub msid: Option<Msid>,
}

/// SSRCs that belong together (RFC 5576 section 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SsrcGroup {
    /// `FID` for retransmission, `SIM` for simulcast, `FEC-FR` for FlexFEC.
    pub semantics: String,
    /// The primary SSRC first.
    pub ssrcs: Vec<u32>,
}

/// Which way an RTP stream id is used (RFC 8851).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RidDirection {
    /// The writer sends it.
    Send,
    /// The writer receives it.
    Recv,
}

impl RidDirection {
    /// The word of the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Recv => "recv",
        }
    }

    /// The other direction.
    pub fn reversed(self) -> Self {
        match self {
            Self::Send => Self::Recv,
            Self::Recv => Self::Send,
        }
    }
}

/// An RTP stream id and its restrictions (RFC 8851 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RidDescription {
    /// The id.
    pub rid: String,
    /// The direction.
    pub direction: RidDirection,
    /// Payload types it is restricted to; empty for all.
    pub payload_types: Vec<u8>,
    /// Other restrictions (`max-width`, `max-br`, ...).
    pub restrictions: BTreeMap<String, String>,
}

/// One alternative of a simulcast stream (RFC 8853 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimulcastLayer {
    /// The RTP stream id.
    pub rid: String,
    /// Whether it starts paused (`~`).
    pub paused: bool,
}

/// `a=simulcast` (RFC 8853): streams in order, each a list of alternatives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SimulcastDescription {
    /// What the writer sends.
    pub send: Vec<Vec<SimulcastLayer>>,
    /// What the writer receives.
    pub recv: Vec<Vec<SimulcastLayer>>,
}

impl SimulcastDescription {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.send.is_empty() && self.recv.is_empty()
    }

    /// As the other side sees it.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { send: self.recv.clone(), recv: self.send.clone() }
    }
}

/// How a `b=` line counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BandwidthType {
    /// `AS`, in kilobits a second, lower layers included (RFC 8866 section 5.8).
    ApplicationSpecific,
    /// `TIAS`, in bits a second, without lower layers (RFC 3890).
    TransportIndependent,
}

/// A limit of bandwidth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bandwidth {
    /// How it was said.
    pub kind: BandwidthType,
    /// Bits a second.
    pub bps: u64,
}

/// What an audio or video section says (libwebrtc `RtpMediaContentDescription`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RtpMediaContentDescription {
    /// Which way media goes.
    pub direction: RtpTransceiverDirection,
    /// Codecs in order of preference.
    pub codecs: Vec<Codec>,
    /// Header extensions.
    pub header_extensions: Vec<RtpExtension>,
    /// `a=extmap-allow-mixed`: one-byte and two-byte forms may be mixed (RFC 8285 section 6).
    pub extmap_allow_mixed: bool,
    /// RTP and RTCP on one transport (RFC 5761).
    pub rtcp_mux: bool,
    /// Only so (RFC 8858).
    pub rtcp_mux_only: bool,
    /// Reduced-size RTCP (RFC 5506).
    pub rtcp_reduced_size: bool,
    /// Streams and track of what the writer sends.
    pub msids: Vec<Msid>,
    /// SSRCs of what the writer sends.
    pub ssrcs: Vec<SsrcInfo>,
    /// How they belong together.
    pub ssrc_groups: Vec<SsrcGroup>,
    /// RTP stream ids.
    pub rids: Vec<RidDescription>,
    /// Simulcast.
    pub simulcast: SimulcastDescription,
    /// Limit of what the writer wants to receive.
    pub bandwidth: Option<Bandwidth>,
    /// `a=ptime`, milliseconds of audio a packet.
    pub ptime: Option<u32>,
    /// `a=maxptime`, milliseconds.
    pub maxptime: Option<u32>,
}

/// What a data channel section says (RFC 8841; libwebrtc `SctpDataContentDescription`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SctpDataContentDescription {
    /// `a=sctp-port`, 5000 by custom.
    pub sctp_port: u16,
    /// `a=max-message-size` in bytes, 0 without limit; `None` if it was not said
    /// ([`DEFAULT_MAX_MESSAGE_SIZE`]).
    pub max_message_size: Option<u64>,
    /// The form of drafts before RFC 8841: `m=application 9 DTLS/SCTP 5000` and `a=sctpmap`.
    pub use_sctpmap: bool,
    /// Limit of bandwidth.
    pub bandwidth: Option<Bandwidth>,
}

impl Default for SctpDataContentDescription {
    fn default() -> Self {
        Self { sctp_port: 5000, max_message_size: None, use_sctpmap: false, bandwidth: None }
    }
}

impl SctpDataContentDescription {
    /// The largest message the writer takes, in bytes; `None` if there is no limit.
    pub fn effective_max_message_size(&self) -> Option<u64> {
        match self.max_message_size {
            Some(0) => None,
            Some(size) => Some(size),
            None => Some(DEFAULT_MAX_MESSAGE_SIZE),
        }
    }
}

/// What a section says that we cannot take part in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnsupportedContentDescription {
    /// The formats of the m-line, kept so that the answer can repeat them.
    pub formats: Vec<String>,
}

/// What an m-section says of its media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaContentDescription {
    /// Audio or video.
    Rtp(RtpMediaContentDescription),
    /// Data channels.
    Sctp(SctpDataContentDescription),
    /// Neither.
    Unsupported(UnsupportedContentDescription),
}

impl MediaContentDescription {
    /// Audio or video, if it is.
    pub fn as_rtp(&self) -> Option<&RtpMediaContentDescription> {
        match self {
            Self::Rtp(description) => Some(description),
            _ => None,
        }
    }

    /// Audio or video, if it is.
    pub fn as_rtp_mut(&mut self) -> Option<&mut RtpMediaContentDescription> {
        match self {
            Self::Rtp(description) => Some(description),
            _ => None,
        }
    }

    /// Data channels, if it is.
    pub fn as_sctp(&self) -> Option<&SctpDataContentDescription> {
        match self {
            Self::Sctp(description) => Some(description),
            _ => None,
        }
    }

    /// Whether RTP and RTCP share a transport; true for what is not RTP.
    pub fn rtcp_mux(&self) -> bool {
        self.as_rtp().is_none_or(|rtp| rtp.rtcp_mux)
    }
}

/// What an m-section says of its transport (libwebrtc `TransportDescription`). Attributes of the session level
/// are already inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportDescription {
    /// `ice-ufrag` and `ice-pwd`; `None` where neither was given.
    pub ice: Option<IceParameters>,
    /// `ice-options`, for example `trickle`.
    pub ice_options: Vec<String>,
    /// Lite if the session said `ice-lite`.
    pub ice_mode: IceMode,
    /// `fingerprint`s, one or more where DTLS is used.
    pub fingerprints: Vec<DtlsFingerprint>,
    /// `crypto`: SRTP keys in the description (RFC 4568). Of no effect unless the configuration asks for SDES by name.
    pub crypto: Vec<CryptoParams>,
    /// `setup`; absent means `active` in an answer (J01).
    pub setup: Option<ConnectionRole>,
    /// Candidates known when the description was written.
    pub candidates: Vec<Candidate>,
    /// `a=end-of-candidates`: no more will come (RFC 8840 section 4.1).
    pub end_of_candidates: bool,
}

impl TransportDescription {
    /// Whether `ice-options` has a token.
    pub fn has_option(&self, option: &str) -> bool {
        self.ice_options.iter().any(|other| other == option)
    }
}

/// One m-section (libwebrtc `ContentInfo` and `TransportInfo` in one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentInfo {
    /// `a=mid`; empty where a legacy peer left it out, until
    /// [`fill_in_missing_mids`](SessionDescription::fill_in_missing_mids).
    pub mid: String,
    /// What it carries.
    pub kind: MediaKind,
    /// The m-line's protocol, for example [`PROTOCOL_RTP`].
    pub protocol: String,
    /// Port 0 without [`bundle_only`](Self::bundle_only): the section is refused or over.
    pub rejected: bool,
    /// `a=bundle-only`: port 0, but alive within its group (RFC 9143 section 6).
    pub bundle_only: bool,
    /// Address of the `c=` line with the port of the m-line. `None` in descriptions made here: the writer takes
    /// the default candidate then (RFC 9429 section 5.2.1), or port 9 of 0.0.0.0.
    pub connection_address: Option<CandidateAddress>,
    /// Its transport.
    pub transport: TransportDescription,
    /// Its media.
    pub description: MediaContentDescription,
}

impl ContentInfo {
    /// Whether it is refused, or cannot be used.
    pub fn is_stopped(&self) -> bool {
        self.rejected
    }
}

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionDescription {
    /// Of the `o=` line: stays the same throughout a session.
    pub session_id: u64,
    /// Of the `o=` line: rises with each different description (RFC 9429 section 5.2.1).
    pub session_version: u64,
    /// The m-sections in order.
    pub contents: Vec<ContentInfo>,
    /// Groups with semantics BUNDLE. One with no mids is kept: an answer that rejects all says it (J20).
    pub bundle_groups: Vec<ContentGroup>,
    /// Groups with other semantics (`LS`, ...).
    pub other_groups: Vec<ContentGroup>,
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// `a=extmap-allow-mixed` of the session level.
    pub extmap_allow_mixed: bool,
    /// The value of `a=msid-semantic`, for example `WMS *`; `None` where it is absent.
    pub msid_semantic: Option<String>,
}

impl SessionDescription {
    /// The m-section of a mid.
    pub fn content(&self, mid: &str) -> Option<&ContentInfo> {
        self.contents.iter().find(|content| content.mid == mid)
    }

    /// The m-section of a mid.
    pub fn content_mut(&mut self, mid: &str) -> Option<&mut ContentInfo> {
        self.contents.iter_mut().find(|content| content.mid == mid)
    }

    /// The place of a mid among the m-sections (`sdpMLineIndex`).
    pub fn mline_index(&self, mid: &str) -> Option<usize> {
        self.contents.iter().position(|content| content.mid == mid)
    }

    /// Adds a candidate to an m-section, as local descriptions show those gathered so far (RFC 9429 section 5.2.1).
    /// One that is there already is not added again. Returns whether the section exists.
    pub fn add_candidate(&mut self, mid: &str, candidate: &Candidate) -> bool {
        let Some(content) = self.content_mut(mid) else { return false };
        let known = &mut content.transport.candidates;
        if !known.contains(candidate) {
            known.push(candidate.clone());
        }
        true
    }

    /// Takes candidates away again.
    pub fn remove_candidates(&mut self, mid: &str, candidates: &[Candidate]) {
        if let Some(content) = self.content_mut(mid) {
            content.transport.candidates.retain(|candidate| !candidates.contains(candidate));
        }
    }

    /// Gives mids to m-sections of a legacy peer that sent none (O12): those of `previous` at the same place, so
    /// that an answer or a second offer finds its sections again, otherwise the place as a number.
    pub fn fill_in_missing_mids(&mut self, previous: Option<&Self>) {
        let mut next = self.contents.len();
        for index in 0..self.contents.len() {
            if self.contents.get(index).is_none_or(|content| !content.mid.is_empty()) {
                continue;
            }
            let known = previous.and_then(|previous| previous.contents.get(index));
            let mut mid = known.map_or_else(|| index.to_string(), |content| content.mid.clone());
            while self.content(&mid).is_some() {
                mid = next.to_string();
                next += 1;
            }
            if let Some(content) = self.contents.get_mut(index) {
                content.mid = mid;
            }
        }
    }

    /// The BUNDLE group a mid is in.
    pub fn bundle_group_of(&self, mid: &str) -> Option<&ContentGroup> {
        self.bundle_groups.iter().find(|group| group.contains(mid))
    }
}
