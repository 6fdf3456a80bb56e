//! DtlsTransport::receive over the default engine, as client and server, at every stage: what was sent is lost,
//! changed, repeated, and records are made up. Nobody is let in, nothing is read that was not said, what is connected
//! stays connected, and without interference it connects.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use peerstack_dtls::{DtlsEngineKind, DtlsTransportInternal};
use peerstack_fuzz::dtls::Pair;
use peerstack_fuzz::{Input, origin};

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut pair = Pair::new(origin(), [DtlsEngineKind::Dimpl; 2]);
    // How far the handshake goes before the fuzzer meddles.
    for step in 0..input.below(16) {
        pair.deliver_next((step + 1) % 2);
    }
    while !input.is_empty() {
        pair.act(&mut input);
        pair.check_standing();
    }
    for _ in 0..40 {
        while pair.deliver_next(1) | pair.deliver_next(0) {}
        if pair.connected(0) && pair.connected(1) {
            return;
        }
        pair.advance(Duration::from_secs(1));
    }
    assert!(pair.forged, "{:?} {:?}", pair.ends[0].dtls.state(), pair.ends[1].dtls.state());
});
