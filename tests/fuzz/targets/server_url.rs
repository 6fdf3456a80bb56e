//! URLs of STUN and TURN servers (RFC 7064, RFC 7065): what is read is written in one form, which reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_stun::ServerUrl;

fuzz_target!(|text: &str| {
    let Ok(url) = text.parse::<ServerUrl>() else { return };
    assert!(url.port > 0);
    let written = url.to_string();
    let again: ServerUrl = written.parse().expect("what was written can be read");
    assert_eq!(again, url);
    assert_eq!(again.to_string(), written);
});
