//! The candidate attribute of SDP and trickle ICE (RFC 8839 section 5.1), with libwebrtc's extensions.
//! Answers to `ParseCandidate` and `BuildCandidate` of libwebrtc's `api/webrtc_sdp.cc`. Runs wherever a
//! description is read or written; owns nothing.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use peerstack_base::AdapterType;
use thiserror::Error;

use super::{Candidate, CandidateAddress, CandidateType, IceProtocol, TcpCandidateType};

/// No candidate line is longer than this; a host name has 253 characters at most, a ufrag 256.
const MAX_LINE: usize = 2048;
/// How much of an offending text an error repeats.
const SHOWN: usize = 64;

/// Why a text is not a candidate attribute.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CandidateParseError {
    /// The line is longer than any candidate.
    #[error("the candidate has {len} bytes, more than the {MAX_LINE} that are read")]
    TooLong {
        /// Bytes.
        len: usize,
    },
    /// It does not begin with `candidate:` (an `a=` before it is fine).
    #[error("the line begins with {found:?}, not with \"candidate:\"")]
    Prefix {
        /// What it begins with.
        found: String,
    },
    /// A field is missing.
    #[error("the candidate ends before its {field}")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field has a value it cannot have.
    #[error("the candidate's {field} is {value:?}, but must be {expected}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What stands there.
        value: String,
        /// What should.
        expected: &'static str,
    },
    /// A transport that is not used here; such a candidate is skipped, not refused (RFC 8839 section 5.1).
    #[error("the candidate's transport {0:?} is neither udp nor tcp")]
    UnsupportedTransport(String),
}

impl CandidateParseError {
    /// Whether the candidate is well-formed as far as it was read and only of no use here.
    pub fn is_ignorable(&self) -> bool {
        matches!(self, Self::UnsupportedTransport(_))
    }

    fn invalid(field: &'static str, value: &str, expected: &'static str) -> Self {
        Self::Invalid { field, value: value.chars().take(SHOWN).collect(), expected }
    }
}

fn is_ice_chars(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

/// Whether `name` can be a host name: letters, digits, hyphens, underscores and dots, at most 253 (RFC 1035
/// section 2.3.4).
pub(crate) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let trimmed = name.strip_suffix('.').unwrap_or(name);
    trimmed.len() <= 253 && trimmed.split('.').all(label)
}

fn number<T: std::str::FromStr>(
    field: &'static str,
    text: &str,
    expected: &'static str,
) -> Result<T, CandidateParseError> {
    // `parse` alone would take a leading plus.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| CandidateParseError::invalid(field, text, expected))
}

struct Fields<'a>(std::str::SplitAsciiWhitespace<'a>);

impl<'a> Fields<'a> {
    fn take(&mut self, field: &'static str) -> Result<&'a str, CandidateParseError> {
        self.0.next().ok_or(CandidateParseError::Missing { field })
    }
}

impl Candidate {
    /// Reads a candidate attribute, with or without `a=` before it. Total on any text.
    ///
    /// A `tcptype` may be missing, unknown extensions are ignored, `raddr` without a known address reads as
    /// none, and a ufrag here never changes the section's (P03).
    ///
    /// # Errors
    /// [`CandidateParseError`] says which field is wrong and how.
    pub fn parse(line: &str) -> Result<Self, CandidateParseError> {
        if line.len() > MAX_LINE {
            return Err(CandidateParseError::TooLong { len: line.len() });
        }
        let line = line.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let Some(body) = line.strip_prefix("candidate:") else {
            return Err(CandidateParseError::Prefix { found: line.chars().take(SHOWN).collect() });
        };
        let mut fields = Fields(body.split_ascii_whitespace());
        let mut candidate = Self::parse_fixed(&mut fields)?;
        candidate.parse_extensions(&mut fields)?;
        Ok(candidate)
    }

    fn parse_fixed(fields: &mut Fields<'_>) -> Result<Self, CandidateParseError> {
        let foundation = fields.take("foundation")?;
        if foundation.len() > 32 || !is_ice_chars(foundation) {
            let expected = "1 to 32 letters, digits, + or /";
            return Err(CandidateParseError::invalid("foundation", foundation, expected));
        }
        let component = fields.take("component")?;
        let component = match number::<u16>("component", component, "a number from 1 to 255")? {
            value @ 1..=255 => value as u8,
            _ => {
                let expected = "a number from 1 to 255";
                return Err(CandidateParseError::invalid("component", component, expected));
            }
        };
        let transport = fields.take("transport")?;
        let protocol = match transport {
            _ if transport.eq_ignore_ascii_case("udp") => Some(IceProtocol::Udp),
            _ if transport.eq_ignore_ascii_case("tcp") => Some(IceProtocol::Tcp),
            _ => None,
        };
        let priority = number("priority", fields.take("priority")?, "a number below 2^32")?;
        let address = fields.take("address")?;
        let port = number("port", fields.take("port")?, "a number from 0 to 65535")?;
        let address = match address.parse::<IpAddr>() {
            Ok(ip) => CandidateAddress::Ip(SocketAddr::new(ip, port)),
            Err(_) if is_host_name(address) => CandidateAddress::Name(address.to_owned(), port),
            Err(_) => {
                let expected = "an IP address or a host name";
                return Err(CandidateParseError::invalid("address", address, expected));
            }
        };
        let typ = fields.take("type")?;
        if typ != "typ" {
            return Err(CandidateParseError::invalid("type", typ, "the word typ before it"));
        }
        let candidate_type = match fields.take("type")? {
            "host" => CandidateType::Host,
            "srflx" => CandidateType::Srflx,
            "prflx" => CandidateType::Prflx,
            "relay" => CandidateType::Relay,
            other => {
                return Err(CandidateParseError::invalid("type", other, "host, srflx, prflx or relay"));
            }
        };
        let protocol = protocol.ok_or_else(|| {
            CandidateParseError::UnsupportedTransport(transport.chars().take(SHOWN).collect())
        })?;
        Ok(Self {
            foundation: foundation.to_owned(),
            component,
            protocol,
            priority,
            address,
            candidate_type,
            related_address: None,
            tcp_type: None,
            username_fragment: String::new(),
            generation: 0,
            network_id: 0,
            network_cost: 0,
            adapter_type: AdapterType::Unknown,
            url: None,
            relay_protocol: None,
            resolved_from: None,
        })
    }

    fn parse_extensions(&mut self, fields: &mut Fields<'_>) -> Result<(), CandidateParseError> {
        let (mut raddr, mut rport) = (None, 0);
        while let Some(name) = fields.0.next() {
            let Some(value) = fields.0.next() else { break };
            match name {
                "raddr" => raddr = value.parse::<IpAddr>().ok(),
                "rport" => rport = number("rport", value, "a number from 0 to 65535")?,
                "tcptype" => {
                    self.tcp_type = Some(match value {
                        "active" => TcpCandidateType::Active,
                        "passive" => TcpCandidateType::Passive,
                        "so" => TcpCandidateType::So,
                        _ => {
                            let expected = "active, passive or so";
                            return Err(CandidateParseError::invalid("tcptype", value, expected));
                        }
                    });
                }
                "generation" => self.generation = number("generation", value, "a number below 2^32")?,
                "ufrag" => {
                    if value.len() > 256 || !is_ice_chars(value) {
                        let expected = "at most 256 letters, digits, + or /";
                        return Err(CandidateParseError::invalid("ufrag", value, expected));
                    }
                    self.username_fragment = value.to_owned();
                }
                "network-id" => self.network_id = number("network-id", value, "a number below 65536")?,
                "network-cost" => {
                    let cost: u16 = number("network-cost", value, "a number below 65536")?;
                    self.network_cost = cost.min(999);
                }
                _ => {}
            }
        }
        self.related_address = raddr.map(|ip| SocketAddr::new(ip, rport));
        Ok(())
    }

    /// Writes the candidate attribute without `a=`, as libwebrtc does: what
    /// `RTCIceCandidate.candidate` holds.
    pub fn to_sdp(&self) -> String {
        let mut line = String::with_capacity(128);
        let protocol = match self.protocol {
            IceProtocol::Udp => "udp",
            IceProtocol::Tcp => "tcp",
        };
        let (host, port): (&dyn std::fmt::Display, u16) = match &self.address {
            CandidateAddress::Ip(address) => (&address.ip(), address.port()),
            CandidateAddress::Name(name, port) => (name, *port),
        };
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            "candidate:{} {} {protocol} {} {host} {port} typ {}",
            self.foundation, self.component, self.priority, self.candidate_type
        );
        if let Some(related) = self.related_address {
            let _ = write!(line, " raddr {} rport {}", related.ip(), related.port());
        }
        if let Some(tcp_type) = self.tcp_type {
            let word = match tcp_type {
                TcpCandidateType::Active => "active",
                TcpCandidateType::Passive => "passive",
                TcpCandidateType::So => "so",
            };
            let _ = write!(line, " tcptype {word}");
        }
        let _ = write!(line, " generation {}", self.generation);
        if !self.username_fragment.is_empty() {
            let _ = write!(line, " ufrag {}", self.username_fragment);
        }
        if self.network_id > 0 {
            let _ = write!(line, " network-id {}", self.network_id);
        }
        if self.network_cost > 0 {
            let _ = write!(line, " network-cost {}", self.network_cost);
        }
        line
    }
}
