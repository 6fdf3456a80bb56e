//! Offers and answers: from what an application wants to the typed description.
//!
//! Owned by the signaling task. RFC 9429 sections 5.2 and 5.3, RFC 3264, RFC 9143. Answers to libwebrtc's
//! `pc/media_session.h` and `call/payload_type_picker.h`. Who sends what, and over which transport, the caller
//! says; here it becomes m-sections whose payload types and header extensions stay what they were.

mod answer;
mod negotiate;
mod offer;
mod payload_types;
#[cfg(test)]
mod tests;

use peerstack_base::Random;
use thiserror::Error;

use crate::BundlePolicy;
use crate::codec::{Codec, default_audio_codecs, default_header_extensions, default_video_codecs};
use crate::session_description::{
    ContentInfo, MediaContentDescription, MediaKind, Msid, RidDescription, RtpExtension,
    RtpTransceiverDirection, SessionDescription, SimulcastDescription, SsrcGroup, TransportDescription,
};
use payload_types::NumberRegistry;

/// The SCTP port of our data channel sections (RFC 8831 leaves it open; all browsers take this one).
const SCTP_PORT: u16 = 5000;
/// The largest data channel message we take unless told otherwise, in bytes; what libwebrtc says too.
const MAX_MESSAGE_SIZE: u64 = 262_144;

/// Why no offer or answer could be made. Nothing has changed then.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MediaSessionError {
    /// A mid is not a token of 1 to 16 characters.
    #[error("{0:?} is not a mid")]
    InvalidMid(String),
    /// Two sections have the same mid.
    #[error("the mid {0:?} is used twice")]
    DuplicateMid(String),
    /// Sections are never taken away, only rejected (O32; RFC 3264 section 8).
    #[error("{given} m-sections are fewer than the {before} there were")]
    MissingSections {
        /// How many there were, or the offer has.
        before: usize,
        /// How many were asked for.
        given: usize,
    },
    /// An answer has as many sections as its offer (RFC 3264 section 6).
    #[error("{given} m-sections answer {offered}")]
    WrongNumberOfSections {
        /// Sections of the offer.
        offered: usize,
        /// How many were asked for.
        given: usize,
    },
    /// A section at this place has another mid and is in use.
    #[error("m-section {index} has the mid {before:?} and is in use: it cannot become {given:?}")]
    SectionInUse {
        /// Place, counted from 0.
        index: usize,
        /// The mid it has.
        before: String,
        /// The mid that was asked for.
        given: String,
    },
    /// A mid stands for another kind of media already (O25).
    #[error("the m-section {mid:?} is {before}, not {given}")]
    KindChanged {
        /// The mid.
        mid: String,
        /// What it is.
        before: String,
        /// What was asked for.
        given: String,
    },
    /// An answer's `setup` is none that the offer leaves (J01; RFC 8842 section 5.3).
    #[error("the m-section {mid:?} cannot answer setup:{offered} with setup:{given}")]
    InvalidSetup {
        /// The mid.
        mid: String,
        /// What was offered.
        offered: &'static str,
        /// What was asked for.
        given: &'static str,
    },
    /// What is to be answered is not an offer that stands alone, for example one with a mid missing.
    #[error("the offer cannot be answered: {0}")]
    InvalidOffer(String),
}

/// What an application wants of one m-section (libwebrtc `MediaDescriptionOptions`).
#[derive(Debug, Clone)]
pub struct MediaDescriptionOptions {
    /// The mid.
    pub mid: String,
    /// What it carries. In an answer that of the offered section.
    pub kind: MediaKind,
    /// What we are ready to do; an answer takes what the offer leaves of it (O05).
    pub direction: RtpTransceiverDirection,
    /// Over, or refused: port 0 (O03, O18).
    pub stopped: bool,
    /// Codecs we have, in order of preference, with the payload types they get if those are free. `rtx` behind
    /// what it retransmits.
    pub codecs: Vec<Codec>,
    /// The order of [`codecs`](Self::codecs) is the application's (`setCodecPreferences`): an answer keeps it
    /// rather than the offer's.
    pub keep_codec_order: bool,
    /// Header extensions we have, with the ids they get if those are free.
    pub header_extensions: Vec<RtpExtension>,
    /// Streams and track we send. Written while we send, and as long as we did before (O09).
    pub msids: Vec<Msid>,
    /// SSRCs we send with, the CNAME being that of [`MediaSessionOptions`]. Written as msids are; leave them out
    /// where RTP stream ids tell streams apart.
    pub ssrcs: Vec<u32>,
    /// How they belong together.
    pub ssrc_groups: Vec<SsrcGroup>,
    /// RTP stream ids we send, or want to receive (RFC 8851). An answer keeps those the offer has.
    pub rids: Vec<RidDescription>,
    /// How they make up simulcast.
    pub simulcast: SimulcastDescription,
    /// Whether an answer accepts all simulcast streams that the offer sends, without their being named in
    /// [`rids`](Self::rids).
    pub accept_simulcast: bool,
    /// ICE parameters, fingerprints and candidates. `setup` may be left out: `actpass` is offered, and answered
    /// as J01 says.
    pub transport: TransportDescription,
}

impl MediaDescriptionOptions {
    /// With the default codecs and header extensions of its kind, `sendrecv`, nothing to send yet.
    pub fn new(mid: impl Into<String>, kind: MediaKind, transport: TransportDescription) -> Self {
        let codecs = match kind {
            MediaKind::Audio => default_audio_codecs(),
            MediaKind::Video => default_video_codecs(),
            MediaKind::Application | MediaKind::Unsupported(_) => Vec::new(),
        };
        Self {
            mid: mid.into(),
            direction: RtpTransceiverDirection::Sendrecv,
            stopped: false,
            codecs,
            keep_codec_order: false,
            header_extensions: default_header_extensions(&kind),
            msids: Vec::new(),
            ssrcs: Vec::new(),
            ssrc_groups: Vec::new(),
            rids: Vec::new(),
            simulcast: SimulcastDescription::default(),
            accept_simulcast: true,
            transport,
            kind,
        }
    }

    /// A section that is over.
    pub fn stopped(mid: impl Into<String>, kind: MediaKind) -> Self {
        Self { stopped: true, ..Self::new(mid, kind, TransportDescription::default()) }
    }
}

/// What an application wants of a description (libwebrtc `MediaSessionOptions`).
#[derive(Debug, Clone)]
pub struct MediaSessionOptions {
    /// The m-sections in order. In an answer one for each of the offer.
    pub sections: Vec<MediaDescriptionOptions>,
    /// Whether m-sections share a transport (RFC 9143).
    pub bundle: bool,
    /// What becomes of a peer that does not know BUNDLE (W3C `RTCBundlePolicy`).
    pub bundle_policy: BundlePolicy,
    /// `a=rtcp-mux-only` (RFC 8858): a peer without rtcp-mux is of no use.
    pub rtcp_mux_only: bool,
    /// The protocol that the m-lines of audio and video in an offer begin with; one once agreed is kept.
    pub rtp_protocol: &'static str,
    /// `a=extmap-allow-mixed` (RFC 8285 section 6).
    pub extmap_allow_mixed: bool,
    /// `a=rtcp-rsize` (RFC 5506).
    pub rtcp_reduced_size: bool,
    /// The RTCP canonical name of all we send.
    pub cname: String,
    /// The largest data channel message we take, in bytes: `a=max-message-size` (RFC 8841 section 6).
    pub max_message_size: u64,
}

impl Default for MediaSessionOptions {
    fn default() -> Self {
        Self {
            sections: Vec::new(),
            bundle: true,
            bundle_policy: BundlePolicy::default(),
            rtcp_mux_only: false,
            rtp_protocol: crate::PROTOCOL_RTP,
            extmap_allow_mixed: true,
            rtcp_reduced_size: true,
            max_message_size: MAX_MESSAGE_SIZE,
            cname: String::new(),
        }
    }
}

/// Makes the offers and answers of one PeerConnection (libwebrtc `MediaSessionDescriptionFactory`).
///
/// It remembers what payload types and header extension ids stood for, so that none is ever given another meaning
/// (O25; RFC 3264 section 8.3.2), and numbers the descriptions (O14).
#[derive(Debug, Clone)]
pub struct MediaSessionDescriptionFactory {
    session_id: u64,
    session_version: u64,
    last: Option<SessionDescription>,
    numbers: NumberRegistry,
}

impl MediaSessionDescriptionFactory {
    /// With a session id of its own: 62 random bits (RFC 9429 section 5.2.1).
    pub fn new(random: &mut Random) -> Self {
        Self {
            session_id: random.u64() >> 2,
            session_version: 0,
            last: None,
            numbers: NumberRegistry::default(),
        }
    }

    /// Makes an offer (RFC 9429 section 5.2).
    ///
    /// `local` and `remote` are the descriptions in force on either side (pending, otherwise current), `None`
    /// before the first exchange. A section whose place was rejected on either side may be recycled with another
    /// mid; that the rejection is a current one, not a pending one, the caller sees to (O07).
    ///
    /// # Errors
    /// [`MediaSessionError`], for example sections that do not continue those of `local`.
    pub fn create_offer(
        &mut self,
        options: &MediaSessionOptions,
        local: Option<&SessionDescription>,
        remote: Option<&SessionDescription>,
    ) -> Result<SessionDescription, MediaSessionError> {
        let mut numbers = self.numbers.clone();
        let offer = offer::create(options, local, remote, &mut numbers)?;
        Ok(self.finish(offer, numbers))
    }

    /// Makes an answer (RFC 9429 section 5.3), a provisional one the same way. `local` is the description of ours
    /// in force before, if any.
    ///
    /// # Errors
    /// [`MediaSessionError`], for example a number of sections that is not the offer's.
    pub fn create_answer(
        &mut self,
        options: &MediaSessionOptions,
        offer: &SessionDescription,
        local: Option<&SessionDescription>,
    ) -> Result<SessionDescription, MediaSessionError> {
        let answer = answer::create(options, offer, local)?;
        let mut numbers = self.numbers.clone();
        numbers.record(offer);
        Ok(self.finish(answer, numbers))
    }

    /// Numbers a description: the same as the last one keeps its version, another one gets the next (O14).
    fn finish(
        &mut self,
        mut description: SessionDescription,
        mut numbers: NumberRegistry,
    ) -> SessionDescription {
        numbers.record(&description);
        self.numbers = numbers;
        description.session_id = self.session_id;
        description.session_version = self.session_version;
        if self.last.as_ref() != Some(&description) {
            self.session_version += 1;
            description.session_version = self.session_version;
            self.last = Some(description.clone());
        }
        description
    }
}

/// What both kinds of description begin with.
fn check_sections(sections: &[MediaDescriptionOptions]) -> Result<(), MediaSessionError> {
    for (index, section) in sections.iter().enumerate() {
        if crate::webrtc_sdp::check_mid(&section.mid).is_err() {
            return Err(MediaSessionError::InvalidMid(section.mid.clone()));
        }
        if sections.iter().take(index).any(|other| other.mid == section.mid) {
            return Err(MediaSessionError::DuplicateMid(section.mid.clone()));
        }
    }
    Ok(())
}

/// A mid keeps its kind (O25).
fn check_kind(
    section: &MediaDescriptionOptions,
    before: Option<&ContentInfo>,
) -> Result<(), MediaSessionError> {
    match before {
        Some(before) if before.kind != section.kind => Err(MediaSessionError::KindChanged {
            mid: section.mid.clone(),
            before: before.kind.as_str().to_owned(),
            given: section.kind.as_str().to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Whether streams and track are written: while we send, and from then on (O09).
fn says_senders(direction: RtpTransceiverDirection, before: Option<&ContentInfo>) -> bool {
    let sent = before.filter(|before| !before.rejected).and_then(|before| before.description.as_rtp());
    direction.sends() || sent.is_some_and(|rtp| !rtp.msids.is_empty() || !rtp.ssrcs.is_empty())
}

/// The attribute `msid-semantic` of libwebrtc: peers of before unified plan look for it.
fn msid_semantic(contents: &[ContentInfo]) -> Option<String> {
    let mut semantic = "WMS".to_owned();
    let mut seen: Vec<&str> = Vec::new();
    for content in contents {
        let MediaContentDescription::Rtp(rtp) = &content.description else { continue };
        for stream in rtp.msids.iter().filter_map(|msid| msid.stream_id.as_deref()) {
            if !seen.contains(&stream) {
                seen.push(stream);
                semantic.push(' ');
                semantic.push_str(stream);
            }
        }
    }
    Some(semantic)
}
