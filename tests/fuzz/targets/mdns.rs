//! Responses of mDNS (RFC 6762): addresses come only out of a response that holds the name asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_peer_connection::io::MdnsResolver;

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
});
