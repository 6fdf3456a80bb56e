//! Messages of mDNS (RFC 6762): addresses come only out of a response that holds the name asked for, answers only to a
//! query that asks for a name of ours.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use peerstack_peer_connection::io::{BasicMdnsResponder, MdnsResolver};

const NAME: &str = "a-1.local";

fuzz_target!(|data: &[u8]| {
    let addresses = MdnsResolver::addresses_in(data, NAME);
    if !addresses.is_empty() {
        // A response, with at least twelve bytes of header and a record of its own for each address.
        assert!(data.len() > 12 && data[2] & 0x80 == 0x80);
        assert!(addresses.len() * 14 <= data.len());
        assert!(data.windows(3).any(|window| window.eq_ignore_ascii_case(b"a-1")));
    }
    // Somebody else's name is nobody's.
    assert!(MdnsResolver::addresses_in(data, "").is_empty() || data.len() > 12);

    let ours = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
    for legacy in [false, true] {
        let Some(reply) = BasicMdnsResponder::answer_to(data, NAME, ours, legacy) else { continue };
        // To a query with our name in it, with no address but ours, and nobody answers it again.
        assert!(data.len() > 12 && data[2] & 0x80 == 0 && addresses.is_empty());
        assert!(data.windows(3).any(|window| window.eq_ignore_ascii_case(b"a-1")));
        assert!(reply.len() <= 1_472);
        assert!(MdnsResolver::addresses_in(&reply, NAME).iter().all(|address| *address == ours));
        assert_eq!(BasicMdnsResponder::answer_to(&reply, NAME, ours, legacy), None);
    }
});
