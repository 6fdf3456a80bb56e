//! From lines to the typed description: one m-section.

use std::collections::BTreeMap;

use peerstack_p2p::{Candidate, CandidateAddress, IceParameters};

use super::attributes::{self, Reason};
use super::lines::{Line, Section};
use super::session::{
    self, SessionLevel, attributes_of, bandwidth_of, connection_of, push_extension, push_fingerprint,
};
use super::{SdpParseError, simulcast};
use crate::codec::{Codec, FeedbackParam, static_payload_type};
use crate::crypto_params::{CryptoParams, MAX_CRYPTO_LINES};
use crate::session_description::{
    ContentInfo, MediaContentDescription, MediaKind, RtpMediaContentDescription, RtpTransceiverDirection,
    SctpDataContentDescription, SsrcInfo, TransportDescription, UnsupportedContentDescription,
};

/// Most candidates, SSRCs, SSRC groups and streams of one section.
const MAX_PER_SECTION: usize = 1_000;
/// Most rid lines of one section.
const MAX_RIDS: usize = 64;
/// Most `rtcp-fb` of one codec, those of `*` included.
const MAX_FEEDBACK: usize = 32;

/// An m-section being read.
struct Builder {
    mid: Option<String>,
    bundle_only: bool,
    ufrag: Option<String>,
    pwd: Option<String>,
    transport: TransportDescription,
    rtp: RtpMediaContentDescription,
    sctp: SctpDataContentDescription,
    sctpmap: Option<u16>,
    own_extensions: bool,
    simulcast_seen: bool,
    formats: Vec<u8>,
    maps: BTreeMap<u8, (String, u32, Option<u8>)>,
    params: BTreeMap<u8, BTreeMap<String, String>>,
    feedback: BTreeMap<u8, Vec<FeedbackParam>>,
    feedback_for_all: Vec<FeedbackParam>,
}

/// Builds the typed m-section.
pub(super) fn build(
    level: &SessionLevel,
    section: &Section<'_>,
    text: &sdp::MediaDescription,
) -> Result<ContentInfo, SdpParseError> {
    let at_head = |reason: Reason| SdpParseError::at(&section.head, reason);
    let mut words = section.head.value.split_whitespace();
    let word = words.next().unwrap_or_default();
    let protocol = words.nth(1).unwrap_or_default().to_owned();
    let port = u16::try_from(text.media_name.port.value).unwrap_or_default();
    let kind = kind_of(word, &protocol).map_err(at_head)?;

    let mut builder = Builder::new(level);
    if kind.is_rtp() {
        for format in &text.media_name.formats {
            let number = attributes::payload_type(format).map_err(at_head)?;
            if !builder.formats.contains(&number) {
                builder.formats.push(number);
            }
        }
    } else if kind == MediaKind::Application {
        builder.read_sctp_format(text.media_name.formats.first()).map_err(at_head)?;
    }
    for (line, key, value) in attributes_of(&section.lines, &text.attributes) {
        builder.attribute(&kind, key, value).map_err(|reason| SdpParseError::at(line, reason))?;
    }
    let connection = connection_of(&section.lines, text.connection_information.as_ref(), port)?;
    let connection = connection.or_else(|| {
        level.connection.clone().map(|address| match address {
            CandidateAddress::Ip(mut address) => {
                address.set_port(port);
                CandidateAddress::Ip(address)
            }
            CandidateAddress::Name(name, _) => CandidateAddress::Name(name, port),
        })
    });
    let bandwidth = bandwidth_of(&section.lines)?.or(level.bandwidth);

    let bundle_only = builder.bundle_only && port == 0;
    let rejected = matches!(kind, MediaKind::Unsupported(_)) || (port == 0 && !bundle_only);
    let transport = builder.finish_transport(level).map_err(at_head)?;
    let description = match &kind {
        MediaKind::Audio | MediaKind::Video => {
            builder.rtp.bandwidth = bandwidth;
            MediaContentDescription::Rtp(builder.finish_rtp(&kind))
        }
        MediaKind::Application => {
            builder.sctp.bandwidth = bandwidth;
            MediaContentDescription::Sctp(builder.finish_sctp(&section.head)?)
        }
        MediaKind::Unsupported(_) => MediaContentDescription::Unsupported(UnsupportedContentDescription {
            formats: section.head.value.split_whitespace().skip(3).map(str::to_owned).collect(),
        }),
    };
    Ok(ContentInfo {
        mid: builder.mid.unwrap_or_default(),
        kind,
        protocol,
        rejected,
        bundle_only,
        connection_address: connection,
        transport,
        description,
    })
}

/// What the words of the m-line say. A known medium over a protocol that is not its own is not known (P02).
fn kind_of(word: &str, protocol: &str) -> Result<MediaKind, Reason> {
    if !attributes::is_token(word) || !protocol.split('/').all(attributes::is_token) {
        return Err("media and protocol are tokens".into());
    }
    let rtp = protocol.split('/').any(|part| part == "RTP");
    let sctp = matches!(protocol, "DTLS/SCTP" | "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP");
    Ok(match word {
        "audio" if rtp => MediaKind::Audio,
        "video" if rtp => MediaKind::Video,
        "application" if sctp => MediaKind::Application,
        _ => MediaKind::Unsupported(word.to_owned()),
    })
}

impl Builder {
    fn new(level: &SessionLevel) -> Self {
        Self {
            mid: None,
            bundle_only: false,
            ufrag: level.ufrag.clone(),
            pwd: level.pwd.clone(),
            transport: TransportDescription {
                ice_mode: level.ice_mode,
                setup: level.setup,
                end_of_candidates: level.end_of_candidates,
                ..TransportDescription::default()
            },
            rtp: RtpMediaContentDescription {
                direction: level.direction.unwrap_or_default(),
                extmap_allow_mixed: level.extmap_allow_mixed,
                header_extensions: level.extensions.clone(),
                ..RtpMediaContentDescription::default()
            },
            sctp: SctpDataContentDescription::default(),
            sctpmap: None,
            own_extensions: false,
            simulcast_seen: false,
            formats: Vec::new(),
            maps: BTreeMap::new(),
            params: BTreeMap::new(),
            feedback: BTreeMap::new(),
            feedback_for_all: Vec::new(),
        }
    }

    /// `webrtc-datachannel` (RFC 8841), or the port number of the drafts before it.
    fn read_sctp_format(&mut self, format: Option<&String>) -> Result<(), Reason> {
        match format.map(String::as_str) {
            Some("webrtc-datachannel") => Ok(()),
            Some(number) => {
                self.sctp.use_sctpmap = true;
                self.sctp.sctp_port =
                    number.parse().map_err(|_| "the format is webrtc-datachannel or an SCTP port")?;
                Ok(())
            }
            None => Err("a data channel section has a format".into()),
        }
    }

    fn attribute(&mut self, kind: &MediaKind, key: &str, value: &str) -> Result<(), Reason> {
        match key {
            "mid" => self.mid = Some(attributes::mid(value)?),
            "bundle-only" => self.bundle_only = true,
            "ice-ufrag" => self.ufrag = Some(attributes::ice_ufrag(value)?),
            "ice-pwd" => self.pwd = Some(attributes::ice_pwd(value)?),
            "ice-options" => self.transport.ice_options = attributes::ice_options(value)?,
            "fingerprint" => push_fingerprint(&mut self.transport.fingerprints, value)?,
            "crypto" => self.crypto(value),
            "setup" => self.transport.setup = Some(session::setup(value)?),
            "candidate" => {
                let candidate = match Candidate::parse(&format!("candidate:{value}")) {
                    Ok(candidate) => Some(candidate),
                    // A transport we do not know (P03).
                    Err(error) if error.is_ignorable() => None,
                    Err(error) => return Err(error.to_string().into()),
                };
                push_bounded(&mut self.transport.candidates, candidate, MAX_PER_SECTION)?;
            }
            "end-of-candidates" => self.transport.end_of_candidates = true,
            _ if kind.is_rtp() => return self.rtp_attribute(key, value),
            _ if *kind == MediaKind::Application => return self.sctp_attribute(key, value),
            _ => {}
        }
        Ok(())
    }

    /// What is no line we can use is left out (RFC 4568 section 7.1.2).
    fn crypto(&mut self, value: &str) {
        let lines = &mut self.transport.crypto;
        if lines.len() < MAX_CRYPTO_LINES {
            lines.extend(CryptoParams::parse(value));
        }
    }

    fn rtp_attribute(&mut self, key: &str, value: &str) -> Result<(), Reason> {
        match key {
            "rtpmap" => self.rtpmap(value)?,
            "fmtp" => {
                let (number, params) = attributes::fmtp(value)?;
                if self.formats.contains(&number) {
                    self.params.entry(number).or_default().extend(params);
                }
            }
            "rtcp-fb" => {
                let (number, param) = attributes::rtcp_fb(value)?;
                let list = match number {
                    Some(number) if self.formats.contains(&number) => {
                        self.feedback.entry(number).or_default()
                    }
                    Some(_) => return Ok(()),
                    None => &mut self.feedback_for_all,
                };
                if list.len() < MAX_FEEDBACK && !list.contains(&param) {
                    list.push(param);
                }
            }
            "extmap" => {
                if !self.own_extensions && !self.rtp.header_extensions.is_empty() {
                    return Err(
                        "header extensions stand at the session level or in sections, not both".into()
                    );
                }
                self.own_extensions = true;
                push_extension(&mut self.rtp.header_extensions, value)?;
            }
            "extmap-allow-mixed" => self.rtp.extmap_allow_mixed = true,
            "rtcp-mux" => self.rtp.rtcp_mux = true,
            "rtcp-mux-only" => self.rtp.rtcp_mux_only = true,
            "rtcp-rsize" => self.rtp.rtcp_reduced_size = true,
            "ptime" => self.rtp.ptime = Some(milliseconds(value)?),
            "maxptime" => self.rtp.maxptime = Some(milliseconds(value)?),
            "msid" => self.msid(value)?,
            "ssrc" => self.ssrc(value)?,
            "ssrc-group" => {
                let group = attributes::ssrc_group(value)?;
                push_bounded(&mut self.rtp.ssrc_groups, Some(group), MAX_PER_SECTION)?;
            }
            "rid" => push_bounded(&mut self.rtp.rids, simulcast::rid(value), MAX_RIDS)?,
            "simulcast" => {
                if self.simulcast_seen {
                    return Err("a section has one simulcast attribute".into());
                }
                self.simulcast_seen = true;
                self.rtp.simulcast = simulcast::simulcast(value)?;
            }
            _ => {
                if let Some(direction) = RtpTransceiverDirection::parse(key) {
                    self.rtp.direction = direction;
                }
            }
        }
        Ok(())
    }

    fn rtpmap(&mut self, value: &str) -> Result<(), Reason> {
        let (number, name, rate, channels) = attributes::rtpmap(value)?;
        if !self.formats.contains(&number) {
            return Ok(());
        }
        let same = |known: &(String, u32, Option<u8>)| {
            known.0.eq_ignore_ascii_case(&name)
                && known.1 == rate
                && known.2.unwrap_or(1) == channels.unwrap_or(1)
        };
        match self.maps.get(&number) {
            Some(known) if !same(known) => {
                Err(format!("payload type {number} has another rtpmap already").into())
            }
            _ => {
                self.maps.insert(number, (name, rate, channels));
                Ok(())
            }
        }
    }

    fn msid(&mut self, value: &str) -> Result<(), Reason> {
        let msid = attributes::msid(value)?;
        if self.rtp.msids.first().is_some_and(|first| first.track_id != msid.track_id) {
            return Err("the streams of one section have the same track".into());
        }
        if !self.rtp.msids.contains(&msid) {
            push_bounded(&mut self.rtp.msids, Some(msid), MAX_PER_SECTION)?;
        }
        Ok(())
    }

    fn ssrc(&mut self, value: &str) -> Result<(), Reason> {
        let (ssrc, name, value) = attributes::ssrc(value)?;
        let index = match self.rtp.ssrcs.iter().position(|info| info.ssrc == ssrc) {
            Some(index) => index,
            None => {
                let info = SsrcInfo { ssrc, ..SsrcInfo::default() };
                push_bounded(&mut self.rtp.ssrcs, Some(info), MAX_PER_SECTION)?;
                self.rtp.ssrcs.len() - 1
            }
        };
        let Some(info) = self.rtp.ssrcs.get_mut(index) else { return Ok(()) };
        match name {
            "cname" if !value.is_empty() => info.cname = Some(value.to_owned()),
            "msid" => info.msid = attributes::msid(value).ok(),
            _ => {}
        }
        Ok(())
    }

    fn sctp_attribute(&mut self, key: &str, value: &str) -> Result<(), Reason> {
        match key {
            "sctp-port" => {
                if self.sctp.use_sctpmap {
                    return Err("sctp-port does not go with the m-line of before RFC 8841".into());
                }
                self.sctp.sctp_port = value.parse().map_err(|_| "the SCTP port is a number of 16 bits")?;
            }
            "max-message-size" => {
                let size = value.parse::<u64>().map_err(|_| "max-message-size is a number")?;
                self.sctp.max_message_size = Some(size);
            }
            "sctpmap" => {
                let mut fields = value.split_whitespace();
                let port = fields.next().and_then(|text| text.parse::<u16>().ok());
                let port = port.ok_or("an sctpmap begins with an SCTP port")?;
                if fields.next() == Some("webrtc-datachannel") {
                    self.sctpmap = Some(port);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Fills in what the section left to the session level.
    fn finish_transport(&mut self, level: &SessionLevel) -> Result<TransportDescription, Reason> {
        let mut transport = std::mem::take(&mut self.transport);
        if transport.fingerprints.is_empty() {
            transport.fingerprints.clone_from(&level.fingerprints);
        }
        if transport.ice_options.is_empty() {
            transport.ice_options.clone_from(&level.ice_options);
        }
        let renomination = transport.has_option("renomination");
        transport.ice = match (self.ufrag.take(), self.pwd.take()) {
            (Some(ufrag), Some(pwd)) => Some(IceParameters { ufrag, pwd, renomination }),
            (None, None) => None,
            (Some(_), None) => return Err("an ICE ufrag without a password".into()),
            (None, Some(_)) => return Err("an ICE password without a ufrag".into()),
        };
        // What a candidate says of itself does not outweigh its section (P03).
        if let Some(ice) = &transport.ice {
            for candidate in &mut transport.candidates {
                candidate.username_fragment.clone_from(&ice.ufrag);
            }
        }
        Ok(transport)
    }

    fn finish_rtp(&mut self, kind: &MediaKind) -> RtpMediaContentDescription {
        let mut rtp = std::mem::take(&mut self.rtp);
        for number in std::mem::take(&mut self.formats) {
            rtp.codecs.push(self.codec(kind, number));
        }
        simulcast::tidy(&mut rtp);
        rtp
    }

    fn codec(&mut self, kind: &MediaKind, number: u8) -> Codec {
        let audio = *kind == MediaKind::Audio;
        let (name, clock_rate, channels) = match self.maps.remove(&number) {
            Some((name, rate, channels)) => (name, rate, channels.unwrap_or(1)),
            None => match static_payload_type(number) {
                Some((name, rate, channels)) => (name.to_owned(), rate, channels),
                // Nobody says what it is: kept, but it matches nothing.
                None => (String::new(), 0, 1),
            },
        };
        let mut feedback = self.feedback.remove(&number).unwrap_or_default();
        for param in &self.feedback_for_all {
            if feedback.len() < MAX_FEEDBACK && !feedback.contains(param) {
                feedback.push(param.clone());
            }
        }
        Codec {
            payload_type: number,
            name,
            clock_rate,
            channels: if audio { channels } else { 0 },
            params: self.params.remove(&number).unwrap_or_default(),
            feedback,
        }
    }

    fn finish_sctp(&mut self, head: &Line<'_>) -> Result<SctpDataContentDescription, SdpParseError> {
        let sctp = std::mem::take(&mut self.sctp);
        if sctp.use_sctpmap && self.sctpmap.is_some_and(|port| port != sctp.sctp_port) {
            return Err(SdpParseError::at(head, "the m-line and sctpmap name different SCTP ports"));
        }
        Ok(sctp)
    }
}

/// Adds to a list that a peer must not make grow without end.
fn push_bounded<T>(list: &mut Vec<T>, item: Option<T>, limit: usize) -> Result<(), Reason> {
    if let Some(item) = item {
        if list.len() >= limit {
            return Err(format!("more than {limit} of these in one section").into());
        }
        list.push(item);
    }
    Ok(())
}

fn milliseconds(value: &str) -> Result<u32, Reason> {
    value.parse().map_err(|_| "a packet time is a number of milliseconds".into())
}
