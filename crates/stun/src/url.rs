//! The URLs of STUN and TURN servers.
//!
//! Runs where a configuration is read; owns nothing. RFC 7064 (stun, stuns), RFC 7065 (turn, turns), RFC 3986
//! section 3.2 (host and port). Answers to libwebrtc's `pc/ice_server_parsing.cc`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// The port of stun and turn without one (RFC 7064 section 3.2, RFC 7065 section 3.2).
pub const DEFAULT_PORT: u16 = 3478;
/// The port of stuns and turns without one.
pub const DEFAULT_TLS_PORT: u16 = 5349;
/// A longer host name cannot be looked up (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

/// The scheme of a server's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// STUN.
    Stun,
    /// STUN over TLS.
    Stuns,
    /// TURN.
    Turn,
    /// TURN over TLS.
    Turns,
}

impl Scheme {
    /// Its name, as it stands before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stun => "stun",
            Self::Stuns => "stuns",
            Self::Turn => "turn",
            Self::Turns => "turns",
        }
    }

    /// Whether it is turn or turns.
    pub const fn is_turn(self) -> bool {
        matches!(self, Self::Turn | Self::Turns)
    }

    /// Whether it is stuns or turns.
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Stuns | Self::Turns)
    }

    /// The port of a URL without one.
    pub const fn default_port(self) -> u16 {
        if self.is_secure() { DEFAULT_TLS_PORT } else { DEFAULT_PORT }
    }

    /// The transport of a URL without one: UDP, below TLS TCP.
    pub const fn default_transport(self) -> UrlTransport {
        if self.is_secure() { UrlTransport::Tcp } else { UrlTransport::Udp }
    }
}

/// The transport between us and the server; with a secure scheme TLS runs over TCP, and DTLS over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UrlTransport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// The host of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name to be looked up.
    Name(String),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// Why a text is not the URL of a STUN or TURN server.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UrlError {
    /// No colon after a scheme.
    #[error("a STUN or TURN URL begins with stun:, stuns:, turn: or turns:")]
    MissingScheme,
    /// Another scheme.
    #[error("the scheme {0:?} is not stun, stuns, turn or turns")]
    UnknownScheme(String),
    /// There is a user before the host; credentials are configured beside the URL.
    #[error("a user before the host is not allowed")]
    UserInfo,
    /// There is a path, or `//` after the scheme.
    #[error("a path is not allowed, nor is // after the scheme")]
    Path,
    /// There is a fragment.
    #[error("a fragment is not allowed")]
    Fragment,
    /// No host.
    #[error("the host is missing")]
    MissingHost,
    /// The host is neither a name nor an address; an IPv6 address stands in brackets.
    #[error("{0:?} is not a host")]
    InvalidHost(String),
    /// The port is not a number of 1 to 65535.
    #[error("{0:?} is not a port")]
    InvalidPort(String),
    /// There is a query on stun or stuns.
    #[error("a query is allowed on turn and turns only")]
    QueryOnStun,
    /// The query is not `transport=udp` or `transport=tcp`.
    #[error("the query {0:?} is not transport=udp or transport=tcp")]
    InvalidQuery(String),
}

/// The URL of a STUN or TURN server.
///
/// ```
/// use peerstack_stun::{ServerUrl, UrlTransport};
///
/// let url: ServerUrl = "turns:[2001:db8::1]?transport=tcp".parse()?;
/// assert_eq!((url.port, url.transport), (5349, UrlTransport::Tcp));
/// assert_eq!(url.to_string(), "turns:[2001:db8::1]:5349?transport=tcp");
/// # Ok::<(), peerstack_stun::UrlError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerUrl {
    /// Its scheme.
    pub scheme: Scheme,
    /// Its host.
    pub host: Host,
    /// Its port, or the default of the scheme.
    pub port: u16,
    /// Its transport, or the default of the scheme.
    pub transport: UrlTransport,
}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::MissingScheme)?;
        let scheme = parse_scheme(scheme)?;
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        if authority.contains('/') {
            return Err(UrlError::Path);
        }
        let (host, port) = split_host_and_port(authority)?;
        let host = parse_host(host)?;
        let port = port.map_or(Ok(scheme.default_port()), parse_port)?;
        let transport = match query {
            None => scheme.default_transport(),
            Some(_) if !scheme.is_turn() => return Err(UrlError::QueryOnStun),
            Some(query) => parse_transport(query)?,
        };
        Ok(Self { scheme, host, port, transport })
    }
}

fn parse_scheme(text: &str) -> Result<Scheme, UrlError> {
    // Schemes are case-insensitive (RFC 3986 section 3.1).
    [Scheme::Stun, Scheme::Stuns, Scheme::Turn, Scheme::Turns]
        .into_iter()
        .find(|scheme| scheme.as_str().eq_ignore_ascii_case(text))
        .ok_or_else(|| UrlError::UnknownScheme(excerpt(text)))
}

/// Host, brackets included, and port if there is a colon.
fn split_host_and_port(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if authority.starts_with('[') {
        let end = authority.find(']').ok_or_else(|| UrlError::InvalidHost(excerpt(authority)))?;
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(UrlError::InvalidHost(excerpt(authority))),
        };
    }
    match authority.split_once(':') {
        // Two colons: an IPv6 address without brackets, of which the port cannot be told.
        Some((_, port)) if port.contains(':') => Err(UrlError::InvalidHost(excerpt(authority))),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn parse_host(text: &str) -> Result<Host, UrlError> {
    if text.is_empty() {
        return Err(UrlError::MissingHost);
    }
    let invalid = || UrlError::InvalidHost(excerpt(text));
    if let Some(ip) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return ip.parse::<Ipv6Addr>().map(|ip| Host::Ip(ip.into())).map_err(|_| invalid());
    }
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    // What looks like an IPv4 address and is none must not be looked up: resolvers read 0x7f.1 as an address.
    let last = text.strip_suffix('.').unwrap_or(text).rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .strip_prefix("0x")
            .or(last.strip_prefix("0X"))
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let labels_fit = text.strip_suffix('.').unwrap_or(text).split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    });
    if numeric || !labels_fit || text.len() > MAX_HOST {
        return Err(invalid());
    }
    Ok(Host::Name(text.to_owned()))
}

fn parse_port(text: &str) -> Result<u16, UrlError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(UrlError::InvalidPort(excerpt(text))),
    }
}

fn parse_transport(query: &str) -> Result<UrlTransport, UrlError> {
    match query {
        "transport=udp" => Ok(UrlTransport::Udp),
        "transport=tcp" => Ok(UrlTransport::Tcp),
        _ => Err(UrlError::InvalidQuery(excerpt(query))),
    }
}

/// What an error shows of a text of any length.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.scheme.as_str(), self.host, self.port)?;
        match (self.scheme.is_turn(), self.transport) {
            (false, _) => Ok(()),
            (true, UrlTransport::Udp) => f.write_str("?transport=udp"),
            (true, UrlTransport::Tcp) => f.write_str("?transport=tcp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(scheme: Scheme, host: &str, port: u16, transport: UrlTransport) -> Result<ServerUrl, UrlError> {
        let host = match host.parse() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(host.to_owned()),
        };
        Ok(ServerUrl { scheme, host, port, transport })
    }

    /// U17: default ports, transports, brackets.
    #[test]
    fn good_urls() {
        use Scheme::{Stun, Stuns, Turn, Turns};
        use UrlTransport::{Tcp, Udp};
        for (text, expected) in [
            ("stun:hostname", url(Stun, "hostname", 3478, Udp)),
            ("stuns:hostname", url(Stuns, "hostname", 5349, Tcp)),
            ("turn:hostname", url(Turn, "hostname", 3478, Udp)),
            ("turns:hostname", url(Turns, "hostname", 5349, Tcp)),
            ("STUN:Host.Example.", url(Stun, "Host.Example.", 3478, Udp)),
            ("stun:stun.example.org:19302", url(Stun, "stun.example.org", 19302, Udp)),
            ("turn:hostname:65535", url(Turn, "hostname", 65535, Udp)),
            ("turn:hostname?transport=udp", url(Turn, "hostname", 3478, Udp)),
            ("turn:hostname?transport=tcp", url(Turn, "hostname", 3478, Tcp)),
            ("turns:hostname:443?transport=tcp", url(Turns, "hostname", 443, Tcp)),
            ("turns:hostname?transport=udp", url(Turns, "hostname", 5349, Udp)),
            ("stun:192.0.2.1", url(Stun, "192.0.2.1", 3478, Udp)),
            ("stun:192.0.2.1:1", url(Stun, "192.0.2.1", 1, Udp)),
            ("stun:[1:2:3:4:5:6:7:8]", url(Stun, "1:2:3:4:5:6:7:8", 3478, Udp)),
            ("turn:[::1]:1234?transport=tcp", url(Turn, "::1", 1234, Tcp)),
        ] {
            assert_eq!(text.parse::<ServerUrl>(), expected, "{text}");
            let parsed = text.parse::<ServerUrl>().unwrap();
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{text}");
        }
    }

    /// U17: what is refused, and why.
    #[test]
    fn bad_urls() {
        let host = |text: &str| UrlError::InvalidHost(text.to_owned());
        let port = |text: &str| UrlError::InvalidPort(text.to_owned());
        let query = |text: &str| UrlError::InvalidQuery(text.to_owned());
        for (text, error) in [
            ("", UrlError::MissingScheme),
            ("hostname", UrlError::MissingScheme),
            ("http:hostname", UrlError::UnknownScheme("http".to_owned())),
            (":hostname", UrlError::UnknownScheme(String::new())),
            ("stunss:hostname", UrlError::UnknownScheme("stunss".to_owned())),
            ("stun:", UrlError::MissingHost),
            ("stun::3478", UrlError::MissingHost),
            ("stun:?transport=udp", UrlError::MissingHost),
            ("stun://hostname", UrlError::Path),
            ("stun:hostname/path", UrlError::Path),
            ("stun:/hostname", UrlError::Path),
            ("turn:user@hostname", UrlError::UserInfo),
            ("turn:user:pass@hostname:1", UrlError::UserInfo),
            ("stun:user@[::1]", UrlError::UserInfo),
            ("stun:hostname#here", UrlError::Fragment),
            ("stun:hostname:", port("")),
            ("stun:hostname:0", port("0")),
            ("stun:hostname:65536", port("65536")),
            ("stun:hostname:+1", port("+1")),
            ("stun:hostname:-1", port("-1")),
            ("stun:hostname:12x", port("12x")),
            ("stun:1:2:3:4:5:6:7:8", host("1:2:3:4:5:6:7:8")),
            ("stun:[1:2:3:4:5:6:7:8", host("[1:2:3:4:5:6:7:8")),
            ("stun:[1:2:3]", host("[1:2:3]")),
            ("stun:[::1]x", host("[::1]x")),
            ("stun:[::1]1", host("[::1]1")),
            ("stun:[192.0.2.1]", host("[192.0.2.1]")),
            ("stun:[fe80::1%eth0]", host("[fe80::1%eth0]")),
            ("stun:]:1", host("]")),
            ("stun:256.0.0.1", host("256.0.0.1")),
            ("stun:127.1", host("127.1")),
            ("stun:0x7f000001", host("0x7f000001")),
            ("stun:a..b", host("a..b")),
            ("stun:.", host(".")),
            ("stun:ho st", host("ho st")),
            ("stun:h\u{f6}st", host("h\u{f6}st")),
            ("stun:hostname?transport=udp", UrlError::QueryOnStun),
            ("stuns:hostname?transport=tcp", UrlError::QueryOnStun),
            ("turn:hostname?", query("")),
            ("turn:hostname?transport=", query("transport=")),
            ("turn:hostname?transport=sctp", query("transport=sctp")),
            ("turn:hostname?Transport=udp", query("Transport=udp")),
            ("turn:hostname?transport=udp&transport=tcp", query("transport=udp&transport=tcp")),
            ("turn:hostname?x=y", query("x=y")),
        ] {
            assert_eq!(text.parse::<ServerUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn an_error_shows_a_bounded_excerpt() {
        let long = format!("stun:{}", "a".repeat(10_000));
        assert!(matches!(long.parse::<ServerUrl>(), Err(UrlError::InvalidHost(text)) if text.len() == 64));
    }
}
