//! From the typed description to text, in libwebrtc's order of lines.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use peerstack_dtls::DtlsFingerprint;
use peerstack_p2p::{Candidate, CandidateAddress, CandidateType, IceProtocol};
use sdp::description::common::{Address, Attribute, Bandwidth as BandwidthLine, ConnectionInformation};
use sdp::description::media::{MediaName, RangedPort};
use sdp::description::session::{Origin, TimeDescription};

use crate::codec::Codec;
use crate::session_description::{
    Bandwidth, BandwidthType, ContentGroup, ContentInfo, MediaContentDescription, Msid, RidDescription,
    RtpExtension, RtpMediaContentDescription, SctpDataContentDescription, SessionDescription,
    SimulcastDescription, SimulcastLayer, TransportDescription,
};

/// The port that means "none yet" (RFC 9429 section 5.2.1).
const DISCARD_PORT: u16 = 9;

/// Writes a description as text with CRLF line ends, in the order libwebrtc writes it.
///
/// Control characters in names that an application chose (streams, tracks, CNAMEs) are left out, so that no
/// value can begin a line of its own.
pub fn serialize(description: &SessionDescription) -> String {
    let mut attributes = Attributes::default();
    for group in description.bundle_groups.iter().chain(&description.other_groups) {
        attributes.value("group", group_value(group));
    }
    if description.extmap_allow_mixed {
        attributes.flag("extmap-allow-mixed");
    }
    if let Some(semantic) = &description.msid_semantic {
        attributes.value("msid-semantic", format!(" {semantic}"));
    }
    if description.ice_lite {
        attributes.flag("ice-lite");
    }
    sdp::SessionDescription {
        version: 0,
        origin: Origin {
            username: "-".to_owned(),
            session_id: description.session_id,
            session_version: description.session_version,
            network_type: "IN".to_owned(),
            address_type: "IP4".to_owned(),
            // Says nothing about us, as RFC 9429 section 5.2.1 wants it.
            unicast_address: "127.0.0.1".to_owned(),
        },
        session_name: "-".to_owned(),
        time_descriptions: vec![TimeDescription::default()],
        attributes: attributes.0,
        media_descriptions: description
            .contents
            .iter()
            .map(|content| media(content, description.extmap_allow_mixed))
            .collect(),
        ..sdp::SessionDescription::default()
    }
    .marshal()
}

/// Attributes in the making.
#[derive(Default)]
struct Attributes(Vec<Attribute>);

impl Attributes {
    fn flag(&mut self, key: &str) {
        self.0.push(Attribute::new(key.to_owned(), None));
    }

    fn value(&mut self, key: &str, mut value: String) {
        if value.contains(char::is_control) {
            value.retain(|c| !c.is_control());
        }
        self.0.push(Attribute::new(key.to_owned(), Some(value)));
    }
}

fn group_value(group: &ContentGroup) -> String {
    let mut value = group.semantics.clone();
    for mid in &group.mids {
        value.push(' ');
        value.push_str(mid);
    }
    value
}

fn media(content: &ContentInfo, session_allows_mixed: bool) -> sdp::MediaDescription {
    let address = default_address(content);
    let mut attributes = Attributes::default();
    if matches!(content.description, MediaContentDescription::Rtp(_)) {
        attributes.value("rtcp", rtcp_value(content));
    }
    transport(&mut attributes, &content.transport);
    if !content.mid.is_empty() {
        attributes.value("mid", content.mid.clone());
    }
    if content.bundle_only {
        attributes.flag("bundle-only");
    }
    match &content.description {
        MediaContentDescription::Rtp(description) => {
            rtp(&mut attributes, description, session_allows_mixed);
        }
        MediaContentDescription::Sctp(description) => sctp(&mut attributes, description),
        MediaContentDescription::Unsupported(_) => {}
    }
    let port = if content.rejected || content.bundle_only { 0 } else { address.port() };
    sdp::MediaDescription {
        media_name: MediaName {
            media: content.kind.as_str().to_owned(),
            port: RangedPort { value: isize::try_from(port).unwrap_or_default(), range: None },
            protos: content.protocol.split('/').map(str::to_owned).collect(),
            formats: formats(content),
        },
        connection_information: Some(connection(&address)),
        bandwidth: bandwidth(content).into_iter().collect(),
        attributes: attributes.0,
        ..sdp::MediaDescription::default()
    }
}

fn formats(content: &ContentInfo) -> Vec<String> {
    match &content.description {
        MediaContentDescription::Rtp(rtp) if rtp.codecs.is_empty() => vec!["0".to_owned()],
        MediaContentDescription::Rtp(rtp) => {
            rtp.codecs.iter().map(|codec| codec.payload_type.to_string()).collect()
        }
        MediaContentDescription::Sctp(sctp) if sctp.use_sctpmap => vec![sctp.sctp_port.to_string()],
        MediaContentDescription::Sctp(_) => vec!["webrtc-datachannel".to_owned()],
        MediaContentDescription::Unsupported(unsupported) if unsupported.formats.is_empty() => {
            vec!["0".to_owned()]
        }
        MediaContentDescription::Unsupported(unsupported) => unsupported.formats.clone(),
    }
}

/// The default candidate of a component (RFC 8839 section 4.2.1.2, RFC 9429 section 5.2.1): the one most likely
/// to work, which is relayed before reflexive before host, UDP, and IPv4 where there is a choice. Names are for
/// nobody's default.
fn default_candidate(candidates: &[Candidate], component: u8) -> Option<SocketAddr> {
    let rank = |candidate: &Candidate| match candidate.candidate_type {
        CandidateType::Relay => 3,
        CandidateType::Srflx => 2,
        CandidateType::Host => 1,
        CandidateType::Prflx => 0,
    };
    let mut best: Option<(SocketAddr, (bool, i32))> = None;
    for candidate in candidates {
        if candidate.component != component || candidate.protocol != IceProtocol::Udp {
            continue;
        }
        let Some(address) = candidate.address.ip() else { continue };
        let merit = (address.is_ipv4(), rank(candidate));
        if best.is_none_or(|(_, other)| merit > other) {
            best = Some((address, merit));
        }
    }
    best.map(|(address, _)| address)
}

fn no_address() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DISCARD_PORT)
}

fn default_address(content: &ContentInfo) -> CandidateAddress {
    if let Some(address) = &content.connection_address {
        return address.clone();
    }
    let candidate = default_candidate(&content.transport.candidates, 1);
    CandidateAddress::Ip(candidate.unwrap_or_else(no_address))
}

fn connection(address: &CandidateAddress) -> ConnectionInformation {
    let (family, host) = match address {
        CandidateAddress::Ip(address) => (family(address), address.ip().to_string()),
        CandidateAddress::Name(name, _) => ("IP4", name.clone()),
    };
    ConnectionInformation {
        network_type: "IN".to_owned(),
        address_type: family.to_owned(),
        address: Some(Address { address: host, ttl: None, range: None }),
    }
}

fn family(address: &SocketAddr) -> &'static str {
    if address.is_ipv4() { "IP4" } else { "IP6" }
}

/// `a=rtcp` (RFC 3605), which older peers look for even with rtcp-mux.
fn rtcp_value(content: &ContentInfo) -> String {
    let address = default_candidate(&content.transport.candidates, 2).unwrap_or_else(no_address);
    format!("{} IN {} {}", address.port(), family(&address), address.ip())
}

fn bandwidth(content: &ContentInfo) -> Option<BandwidthLine> {
    let Bandwidth { kind, bps } = match &content.description {
        MediaContentDescription::Rtp(rtp) => rtp.bandwidth?,
        MediaContentDescription::Sctp(sctp) => sctp.bandwidth?,
        MediaContentDescription::Unsupported(_) => return None,
    };
    let (name, bandwidth) = match kind {
        BandwidthType::ApplicationSpecific => ("AS", bps / 1000),
        BandwidthType::TransportIndependent => ("TIAS", bps),
    };
    Some(BandwidthLine { experimental: false, bandwidth_type: name.to_owned(), bandwidth })
}

fn transport(attributes: &mut Attributes, transport: &TransportDescription) {
    for candidate in &transport.candidates {
        // The section says the user fragment (libwebrtc writes it into trickled candidates alone).
        let candidate = Candidate { username_fragment: String::new(), ..candidate.clone() };
        let line = candidate.to_sdp();
        attributes.value("candidate", line.trim_start_matches("candidate:").to_owned());
    }
    if transport.end_of_candidates {
        attributes.flag("end-of-candidates");
    }
    if let Some(ice) = &transport.ice {
        attributes.value("ice-ufrag", ice.ufrag.clone());
        attributes.value("ice-pwd", ice.pwd.clone());
    }
    if !transport.ice_options.is_empty() {
        attributes.value("ice-options", transport.ice_options.join(" "));
    }
    for fingerprint in &transport.fingerprints {
        attributes.value("fingerprint", fingerprint_value(fingerprint));
    }
    for crypto in &transport.crypto {
        attributes.value("crypto", crypto.to_sdp());
    }
    if let Some(setup) = transport.setup {
        attributes.value("setup", setup.as_str().to_owned());
    }
}

fn fingerprint_value(fingerprint: &DtlsFingerprint) -> String {
    let hash: Vec<String> = fingerprint.value.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("{} {}", fingerprint.algorithm, hash.join(":"))
}

fn rtp(attributes: &mut Attributes, rtp: &RtpMediaContentDescription, session_allows_mixed: bool) {
    if rtp.extmap_allow_mixed && !session_allows_mixed {
        attributes.flag("extmap-allow-mixed");
    }
    for extension in &rtp.header_extensions {
        attributes.value("extmap", extmap_value(extension));
    }
    attributes.flag(rtp.direction.as_str());
    for msid in &rtp.msids {
        attributes.value("msid", msid_value(msid));
    }
    if rtp.rtcp_mux {
        attributes.flag("rtcp-mux");
    }
    if rtp.rtcp_mux_only {
        attributes.flag("rtcp-mux-only");
    }
    if rtp.rtcp_reduced_size {
        attributes.flag("rtcp-rsize");
    }
    for codec in &rtp.codecs {
        write_codec(attributes, codec);
    }
    if let Some(ptime) = rtp.ptime {
        attributes.value("ptime", ptime.to_string());
    }
    if let Some(maxptime) = rtp.maxptime {
        attributes.value("maxptime", maxptime.to_string());
    }
    ssrcs(attributes, rtp);
    for rid in &rtp.rids {
        attributes.value("rid", rid_value(rid));
    }
    if !rtp.simulcast.is_empty() {
        attributes.value("simulcast", simulcast_value(&rtp.simulcast));
    }
}

fn extmap_value(extension: &RtpExtension) -> String {
    let direction = extension.direction.map(|direction| format!("/{}", direction.as_str()));
    let encrypt = if extension.encrypt { "urn:ietf:params:rtp-hdrext:encrypt " } else { "" };
    format!("{}{} {encrypt}{}", extension.id, direction.unwrap_or_default(), extension.uri)
}

fn msid_value(msid: &Msid) -> String {
    let stream = msid.stream_id.as_deref().unwrap_or("-");
    match &msid.track_id {
        Some(track) => format!("{stream} {track}"),
        None => stream.to_owned(),
    }
}

fn write_codec(attributes: &mut Attributes, codec: &Codec) {
    let number = codec.payload_type;
    if !codec.name.is_empty() {
        let channels = if codec.channels > 1 { format!("/{}", codec.channels) } else { String::new() };
        attributes.value("rtpmap", format!("{number} {}/{}{channels}", codec.name, codec.clock_rate));
    }
    for feedback in &codec.feedback {
        let param = if feedback.param.is_empty() { String::new() } else { format!(" {}", feedback.param) };
        attributes.value("rtcp-fb", format!("{number} {}{param}", feedback.id));
    }
    if !codec.params.is_empty() {
        let params: Vec<String> = codec
            .params
            .iter()
            .map(|(name, value)| if name.is_empty() { value.clone() } else { format!("{name}={value}") })
            .collect();
        attributes.value("fmtp", format!("{number} {}", params.join(";")));
    }
}

fn sctp(attributes: &mut Attributes, sctp: &SctpDataContentDescription) {
    if sctp.use_sctpmap {
        attributes.value("sctpmap", format!("{} webrtc-datachannel 1024", sctp.sctp_port));
    } else {
        attributes.value("sctp-port", sctp.sctp_port.to_string());
    }
    if let Some(size) = sctp.max_message_size {
        attributes.value("max-message-size", size.to_string());
    }
}

fn ssrcs(attributes: &mut Attributes, rtp: &RtpMediaContentDescription) {
    for group in &rtp.ssrc_groups {
        let mut value = group.semantics.clone();
        for ssrc in &group.ssrcs {
            value.push_str(&format!(" {ssrc}"));
        }
        attributes.value("ssrc-group", value);
    }
    for info in &rtp.ssrcs {
        if let Some(cname) = &info.cname {
            attributes.value("ssrc", format!("{} cname:{cname}", info.ssrc));
        }
        if let Some(msid) = &info.msid {
            attributes.value("ssrc", format!("{} msid:{}", info.ssrc, msid_value(msid)));
        }
        if info.cname.is_none() && info.msid.is_none() {
            // A peer said of it what we do not keep. That there is such an SSRC counts, for groups above all; the
            // syntax asks for an attribute (RFC 5576 section 4.1).
            attributes.value("ssrc", format!("{} cname:", info.ssrc));
        }
    }
}

fn rid_value(rid: &RidDescription) -> String {
    let mut restrictions = Vec::new();
    if !rid.payload_types.is_empty() {
        let numbers: Vec<String> = rid.payload_types.iter().map(u8::to_string).collect();
        restrictions.push(format!("pt={}", numbers.join(",")));
    }
    for (name, value) in &rid.restrictions {
        restrictions.push(if value.is_empty() { name.clone() } else { format!("{name}={value}") });
    }
    let text = format!("{} {} {}", rid.rid, rid.direction.as_str(), restrictions.join(";"));
    text.trim_end().to_owned()
}

fn simulcast_value(simulcast: &SimulcastDescription) -> String {
    let list = |streams: &[Vec<SimulcastLayer>]| {
        let stream = |alternatives: &Vec<SimulcastLayer>| {
            let layers = alternatives
                .iter()
                .map(|layer| if layer.paused { format!("~{}", layer.rid) } else { layer.rid.clone() });
            layers.collect::<Vec<_>>().join(",")
        };
        streams.iter().map(stream).collect::<Vec<_>>().join(";")
    };
    let mut parts = Vec::new();
    if !simulcast.send.is_empty() {
        parts.push(format!("send {}", list(&simulcast.send)));
    }
    if !simulcast.recv.is_empty() {
        parts.push(format!("recv {}", list(&simulcast.recv)));
    }
    parts.join(" ")
}
