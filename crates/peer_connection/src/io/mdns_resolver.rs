//! One-shot look-up of a name below `.local` (RFC 6762), which is how browsers hide host addresses in
//! candidates (draft-ietf-mmusic-mdns-ice-candidates section 3.2). Answers to libwebrtc's use of
//! `AsyncDnsResolver` for such names.
//!
//! Responses come by multicast, so the query is sent from port 5353 of every interface, over IPv4 and IPv6, and the
//! group of either is joined on each. Both are asked for addresses of both families. What comes in is untrusted: only
//! an address record for the very name asked for counts, and ICE's own checks decide whether anybody listens there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use peerstack_base::{DnsResolver, ResolveFuture};
use simple_dns::PacketFlag;
use simple_dns::rdata::RData;

use super::mdns_message::{self, MAX_MESSAGE};
use super::mdns_sockets::{MdnsSockets, PORT, interfaces};

/// Waits before the query is sent again (RFC 6762 section 5.2 asks for a second and doubling; the first is
/// shorter because connectivity checks wait for it), and at last before giving up.
const WAITS: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(750),
    Duration::from_millis(1_500),
    Duration::from_millis(2_500),
];

/// Resolves names below `.local` by multicast.
#[derive(Debug, Clone, Copy, Default)]
pub struct MdnsResolver;

impl DnsResolver for MdnsResolver {
    fn resolve(&self, name: &str) -> ResolveFuture {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        Box::pin(async move { resolve(&name).await })
    }
}

#[cfg(feature = "fuzzing")]
impl MdnsResolver {
    /// The addresses a response holds for `name`, for tests/fuzz.
    #[doc(hidden)]
    pub fn addresses_in(message: &[u8], name: &str) -> Vec<IpAddr> {
        addresses_in(message, name)
    }
}

async fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    let query = query(name)?;
    let interfaces = interfaces();
    let mut sockets = MdnsSockets::open()?;
    sockets.join(&interfaces);
    let mut buffer = vec![0; MAX_MESSAGE];
    for wait in WAITS {
        sockets.multicast(&query, &interfaces, |_| true).await;
        let answer = tokio::time::timeout(wait, listen(&mut sockets, name, &mut buffer)).await;
        if let Ok(addresses) = answer {
            return addresses;
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("nobody answered for {name}")))
}

async fn listen(sockets: &mut MdnsSockets, name: &str, buffer: &mut [u8]) -> io::Result<Vec<IpAddr>> {
    loop {
        let (len, source) = sockets.receive(buffer).await?;
        // An answer from another port is none (RFC 6762 section 6).
        if source.port() != PORT {
            continue;
        }
        let addresses = addresses_in(buffer.get(..len).unwrap_or_default(), name);
        if !addresses.is_empty() {
            return Ok(addresses);
        }
    }
}

fn query(name: &str) -> io::Result<Vec<u8>> {
    let bad_name =
        |error| io::Error::new(io::ErrorKind::InvalidInput, format!("{name} is no host name: {error}"));
    mdns_message::query(name).map_err(bad_name)
}

/// The addresses a response holds for `name`; empty for anything else. Total on any bytes.
pub(crate) fn addresses_in(message: &[u8], name: &str) -> Vec<IpAddr> {
    let Some(packet) = mdns_message::parse(message) else { return Vec::new() };
    if !packet.has_flags(PacketFlag::RESPONSE) {
        return Vec::new();
    }
    let answers = packet.answers.iter().chain(&packet.additional_records);
    answers
        // One that holds for no time takes the name back (RFC 6762 section 10.1).
        .filter(|record| record.ttl > 0 && record.name.to_string().eq_ignore_ascii_case(name))
        .filter_map(|record| match &record.rdata {
            RData::A(a) => Some(IpAddr::from(Ipv4Addr::from(a.address))),
            RData::AAAA(aaaa) => Some(IpAddr::from(Ipv6Addr::from(aaaa.address))),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use simple_dns::rdata::A;
    use simple_dns::{CLASS, Name, Packet, ResourceRecord};

    use super::*;

    fn response(name: &str) -> Vec<u8> {
        let mut packet = Packet::new_reply(0);
        packet.answers.push(ResourceRecord::new(
            Name::new_unchecked(name),
            CLASS::IN,
            120,
            RData::A(A { address: 0xC000_0201 }),
        ));
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn only_a_response_for_the_name_counts() {
        let expected = [IpAddr::from([192, 0, 2, 1])];
        assert_eq!(addresses_in(&response("a-1.local"), "a-1.local"), expected);
        assert_eq!(addresses_in(&response("A-1.LOCAL"), "a-1.local"), expected);
        assert!(addresses_in(&response("b.local"), "a-1.local").is_empty());
        assert!(addresses_in(&query("a-1.local").unwrap(), "a-1.local").is_empty());
    }

    #[test]
    fn truncated_and_flipped_messages_are_empty_or_an_answer_and_never_panic() {
        let message = response("a-1.local");
        for len in 0..message.len() {
            let _ = addresses_in(&message[..len], "a-1.local");
        }
        for bit in 0..message.len() * 8 {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = addresses_in(&flipped, "a-1.local");
        }
    }

    #[test]
    fn the_corpus_never_panics() {
        let root = std::env::var_os("PEERSTACK_CORPORA").map_or_else(
            || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora").into(),
            std::path::PathBuf::from,
        );
        let Ok(folder) = std::fs::read_dir(root.join("mdns-corpus")) else { return };
        for file in folder.flatten() {
            let _ = addresses_in(&std::fs::read(file.path()).unwrap_or_default(), "a-1.local");
        }
    }

    #[test]
    fn a_name_that_is_none_is_an_error() {
        let long = format!("{}.local", "a".repeat(300));
        assert_eq!(query(&long).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
