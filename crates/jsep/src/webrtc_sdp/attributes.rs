//! The values of single attributes. Each function takes what stands behind the colon and says what is wrong.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use peerstack_dtls::DtlsFingerprint;
use peerstack_p2p::CandidateAddress;

use super::MAX_MEDIA_SECTIONS;
use crate::codec::FeedbackParam;
use crate::session_description::{
    Bandwidth, BandwidthType, ContentGroup, Msid, RtpExtension, RtpTransceiverDirection, SsrcGroup,
};

/// What is wrong with a value.
pub(super) type Reason = Cow<'static, str>;

/// Longest mid (T16), so that it fits into the one-byte form of the header extension.
const MAX_MID_BYTES: usize = 16;
/// Longest URI of a header extension; those in use have fewer than 100 characters.
const MAX_URI_BYTES: usize = 256;
/// Longest codec name.
const MAX_NAME_BYTES: usize = 64;
/// Longest token of `ice-options` and the like.
const MAX_TOKEN_BYTES: usize = 64;
/// libwebrtc's limit of audio channels (P14).
const MAX_AUDIO_CHANNELS: u8 = 24;
/// Most SSRCs of a group.
const MAX_GROUP_SSRCS: usize = 64;

/// The `token` of RFC 8866 section 9.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| {
            matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'~')
                || byte.is_ascii_alphanumeric()
        })
}

/// A payload type: 0 to 127.
pub(super) fn payload_type(text: &str) -> Result<u8, Reason> {
    match text.parse::<u8>() {
        Ok(number) if number < 128 && !text.starts_with('+') => Ok(number),
        _ => Err("a payload type is a number from 0 to 127".into()),
    }
}

/// `a=mid` (RFC 5888 section 4).
pub(super) fn mid(value: &str) -> Result<String, Reason> {
    if !is_token(value) {
        return Err("a mid is a token".into());
    }
    if value.len() > MAX_MID_BYTES {
        return Err(format!("a mid has at most {MAX_MID_BYTES} bytes").into());
    }
    Ok(value.to_owned())
}

/// `a=group` (RFC 5888 section 5).
pub(super) fn group(value: &str) -> Result<ContentGroup, Reason> {
    let mut fields = value.split_whitespace();
    let semantics = fields.next().filter(|text| is_token(text)).ok_or("a group begins with its semantics")?;
    let mut mids = Vec::new();
    for field in fields {
        if mids.len() == MAX_MEDIA_SECTIONS {
            return Err("more mids than m-sections".into());
        }
        mids.push(mid(field)?);
    }
    Ok(ContentGroup { semantics: semantics.to_owned(), mids })
}

/// `a=fingerprint` (RFC 8122 section 5).
pub(super) fn fingerprint(value: &str) -> Result<DtlsFingerprint, Reason> {
    let mut fields = value.split_whitespace();
    let (Some(algorithm), Some(hash), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err("a fingerprint is a hash function and a hash".into());
    };
    if !is_token(algorithm) || algorithm.len() > MAX_TOKEN_BYTES {
        return Err("the hash function is not a token".into());
    }
    let algorithm = algorithm.to_ascii_lowercase();
    let value = hash
        .split(':')
        .map(|pair| match pair.as_bytes() {
            [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                u8::from_str_radix(pair, 16).map_err(|_| Reason::from("not hexadecimal"))
            }
            _ => Err("a hash is pairs of hexadecimal digits with colons between them".into()),
        })
        .collect::<Result<Vec<u8>, _>>()?;
    let expected = match algorithm.as_str() {
        "md2" | "md5" => Some(16),
        "sha-1" => Some(20),
        "sha-224" => Some(28),
        "sha-256" => Some(32),
        "sha-384" => Some(48),
        "sha-512" => Some(64),
        _ => None,
    };
    match expected {
        Some(expected) if expected != value.len() => {
            Err(format!("a {algorithm} hash has {expected} bytes, not {}", value.len()).into())
        }
        None if value.len() > 64 => Err("a hash has at most 64 bytes".into()),
        _ => Ok(DtlsFingerprint { algorithm, value }),
    }
}

/// Whether the characters are those of ICE. RFC 8839 section 5.4 has letters, digits, `+` and `/`; like libwebrtc
/// we bear four more that are seen in the field.
fn is_ice_text(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'#' | b'='))
}

/// `a=ice-ufrag` (RFC 8839 section 5.4).
pub(super) fn ice_ufrag(value: &str) -> Result<String, Reason> {
    if (4..=256).contains(&value.len()) && is_ice_text(value) {
        Ok(value.to_owned())
    } else {
        Err("an ICE ufrag has 4 to 256 ICE characters".into())
    }
}

/// `a=ice-pwd` (RFC 8839 section 5.4).
pub(super) fn ice_pwd(value: &str) -> Result<String, Reason> {
    if (22..=256).contains(&value.len()) && is_ice_text(value) {
        Ok(value.to_owned())
    } else {
        Err("an ICE password has 22 to 256 ICE characters".into())
    }
}

/// `a=ice-options` (RFC 8839 section 5.6).
pub(super) fn ice_options(value: &str) -> Result<Vec<String>, Reason> {
    let options: Vec<String> = value.split_whitespace().map(str::to_owned).collect();
    if options.len() > 16 || options.iter().any(|option| option.len() > MAX_TOKEN_BYTES) {
        return Err("more or longer ICE options than we look at".into());
    }
    Ok(options)
}

/// `a=rtpmap` (RFC 8866 section 6.6): payload type, name, clock rate, channels if they were given.
pub(super) fn rtpmap(value: &str) -> Result<(u8, String, u32, Option<u8>), Reason> {
    let (number, encoding) = value.split_once(char::is_whitespace).ok_or("an rtpmap has two fields")?;
    let number = payload_type(number)?;
    let mut fields = encoding.trim().split('/');
    let name = fields.next().unwrap_or_default();
    let rate = fields.next().ok_or("an encoding is a name and a clock rate")?;
    let channels = fields.next();
    if !is_token(name) || name.len() > MAX_NAME_BYTES {
        return Err("the codec's name is not a token".into());
    }
    let rate = rate.trim().parse::<u32>().map_err(|_| "the clock rate is not a number")?;
    let channels = match channels {
        None => None,
        Some(text) => match text.trim().parse::<u8>() {
            Ok(channels) if channels <= MAX_AUDIO_CHANNELS => Some(channels.max(1)),
            _ => return Err(format!("at most {MAX_AUDIO_CHANNELS} channels").into()),
        },
    };
    Ok((number, name.to_owned(), rate, channels))
}

/// `a=fmtp` (RFC 8866 section 6.15). What has no `=` stands under the empty name.
pub(super) fn fmtp(value: &str) -> Result<(u8, BTreeMap<String, String>), Reason> {
    let (number, text) = value.split_once(char::is_whitespace).ok_or("an fmtp has two fields")?;
    let number = payload_type(number)?;
    let mut params = BTreeMap::new();
    let mut bare: Vec<&str> = Vec::new();
    for param in text.split(';').map(str::trim).filter(|param| !param.is_empty()) {
        match param.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                params.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            _ => bare.push(param),
        }
    }
    if !bare.is_empty() {
        params.insert(String::new(), bare.join(";"));
    }
    Ok((number, params))
}

/// `a=rtcp-fb` (RFC 4585 section 4.2): `None` for `*`, all payload types.
pub(super) fn rtcp_fb(value: &str) -> Result<(Option<u8>, FeedbackParam), Reason> {
    let mut fields = value.split_whitespace();
    let (Some(number), Some(id)) = (fields.next(), fields.next()) else {
        return Err("an rtcp-fb has a payload type and a kind".into());
    };
    let number = if number == "*" { None } else { Some(payload_type(number)?) };
    let param = fields.collect::<Vec<_>>().join(" ");
    if id.len() + param.len() > MAX_URI_BYTES {
        return Err("longer than any feedback there is".into());
    }
    Ok((number, FeedbackParam { id: id.to_owned(), param }))
}

/// `a=extmap` (RFC 8285 section 8, RFC 6904 section 4).
pub(super) fn extmap(value: &str) -> Result<RtpExtension, Reason> {
    const ENCRYPT: &str = "urn:ietf:params:rtp-hdrext:encrypt";
    let mut fields = value.split_whitespace();
    let (Some(id), Some(uri)) = (fields.next(), fields.next()) else {
        return Err("an extmap has an id and a URI".into());
    };
    let (id, direction) = match id.split_once('/') {
        None => (id, None),
        Some((id, word)) => {
            let direction = RtpTransceiverDirection::parse(word).ok_or("not a direction")?;
            (id, Some(direction))
        }
    };
    let id = match id.parse::<u8>() {
        Ok(number) if number > 0 => number,
        _ => return Err("the id of a header extension is a number from 1 to 255".into()),
    };
    let (uri, encrypt) = match fields.next() {
        Some(inner) if uri == ENCRYPT => (inner, true),
        None if uri == ENCRYPT => return Err("encrypt is followed by the URI of what it encrypts".into()),
        _ => (uri, false),
    };
    if uri.len() > MAX_URI_BYTES {
        return Err(format!("a URI has at most {MAX_URI_BYTES} bytes").into());
    }
    Ok(RtpExtension { id, uri: uri.to_owned(), direction, encrypt })
}

/// `a=msid` (RFC 8830 section 2).
pub(super) fn msid(value: &str) -> Result<Msid, Reason> {
    let mut fields = value.split_whitespace();
    let (stream, track, rest) = (fields.next(), fields.next(), fields.next());
    let stream = stream.ok_or("an msid names a stream")?;
    if rest.is_some() {
        return Err("an msid has at most two fields".into());
    }
    let stream_id = (stream != "-").then(|| stream.to_owned());
    Ok(Msid { stream_id, track_id: track.map(str::to_owned) })
}

/// `a=ssrc` (RFC 5576 section 4.1): the SSRC, and what is said of it.
pub(super) fn ssrc(value: &str) -> Result<(u32, &str, &str), Reason> {
    let (number, attribute) =
        value.split_once(char::is_whitespace).ok_or("an ssrc is followed by an attribute of it")?;
    let number = number.parse::<u32>().map_err(|_| "an SSRC is a number of 32 bits")?;
    let (name, value) = attribute.trim().split_once(':').unwrap_or((attribute.trim(), ""));
    Ok((number, name, value.trim()))
}

/// `a=ssrc-group` (RFC 5576 section 4.2).
pub(super) fn ssrc_group(value: &str) -> Result<SsrcGroup, Reason> {
    let mut fields = value.split_whitespace();
    let semantics = fields.next().ok_or("a group begins with its semantics")?;
    let mut ssrcs = Vec::new();
    for field in fields {
        let number = field.parse::<u32>().map_err(|_| "an SSRC is a number of 32 bits")?;
        if ssrcs.contains(&number) {
            return Err(format!("SSRC {number} stands in the group twice").into());
        }
        if ssrcs.len() == MAX_GROUP_SSRCS {
            return Err(format!("more than {MAX_GROUP_SSRCS} SSRCs in a group").into());
        }
        ssrcs.push(number);
    }
    if ssrcs.is_empty() {
        return Err("a group without SSRCs".into());
    }
    Ok(SsrcGroup { semantics: semantics.to_owned(), ssrcs })
}

/// A `b=` line; `None` if it says nothing to us (P06).
pub(super) fn bandwidth(value: &str) -> Result<Option<Bandwidth>, Reason> {
    let (name, number) = value.split_once(':').ok_or("a bandwidth is a type and a number")?;
    let (kind, factor) = match name {
        "AS" => (BandwidthType::ApplicationSpecific, 1000),
        "TIAS" => (BandwidthType::TransportIndependent, 1),
        _ => return Ok(None),
    };
    let number = number.trim();
    if number == "-1" {
        return Ok(None);
    }
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a bandwidth is not negative and a number".into());
    }
    // Digits only: what does not fit is just very much. libwebrtc clamps to a signed 32-bit number.
    let bps = number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(factor).min(i32::MAX as u64);
    Ok(Some(Bandwidth { kind, bps }))
}

/// The address of a `c=` line (RFC 8866 section 5.7), whose first two fields the `sdp` crate has checked.
pub(super) fn connection_address(
    connection: &sdp::description::common::ConnectionInformation,
    port: u16,
) -> Result<CandidateAddress, Reason> {
    let text = connection.address.as_ref().map(|address| address.address.as_str());
    let text = text.ok_or("a connection has an address")?;
    // A time to live and a count of addresses belong to multicast.
    let host = text.split('/').next().unwrap_or_default();
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv4() == (connection.address_type == "IP4") => {
            Ok(CandidateAddress::Ip(SocketAddr::new(ip, port)))
        }
        Ok(_) => Err("the address is not of the family the line says".into()),
        Err(_) if is_host_name(host) => Ok(CandidateAddress::Name(host.to_owned(), port)),
        Err(_) => Err("neither an address nor a host name".into()),
    }
}

/// Whether a text can be a host name: letters, digits, hyphens, underscores, dots (RFC 1123).
pub(super) fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
}
