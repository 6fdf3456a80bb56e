//! DtlsTransport::receive over webrtc-dtls behind its guards: as dtls_transport, with one end of each engine or both
//! of this one. Its tasks run on a runtime whose clock goes along.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use peerstack_dtls::{DtlsEngineKind, DtlsTransportInternal};
use peerstack_fuzz::Input;
use peerstack_fuzz::dtls::Pair;
use tokio::runtime::Builder;

const ENGINES: [[DtlsEngineKind; 2]; 3] = [
    [DtlsEngineKind::WebrtcDtls, DtlsEngineKind::WebrtcDtls],
    [DtlsEngineKind::WebrtcDtls, DtlsEngineKind::Dimpl],
    [DtlsEngineKind::Dimpl, DtlsEngineKind::WebrtcDtls],
];

fuzz_target!(|data: &[u8]| {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut input = Input::new(data);
        let now = tokio::time::Instant::now().into_std();
        let mut pair = Pair::new(now, ENGINES[input.below(3)]);
        for step in 0..input.below(16) {
            turn(&mut pair).await;
            pair.deliver_next((step + 1) % 2);
        }
        while !input.is_empty() {
            pair.act(&mut input);
            turn(&mut pair).await;
            pair.check_standing();
        }
        for _ in 0..200 {
            turn(&mut pair).await;
            while pair.deliver_next(1) | pair.deliver_next(0) {
                turn(&mut pair).await;
            }
            if pair.connected(0) && pair.connected(1) {
                return;
            }
            pair.advance(Duration::from_millis(200));
        }
        assert!(pair.forged, "{:?} {:?}", pair.ends[0].dtls.state(), pair.ends[1].dtls.state());
    });
});

/// Lets the engines' tasks run, at the pair's time.
async fn turn(pair: &mut Pair) {
    let behind = pair.now.saturating_duration_since(tokio::time::Instant::now().into_std());
    tokio::time::advance(behind).await;
    for _ in 0..8 {
        tokio::task::yield_now().await;
        pair.settle(0);
        pair.settle(1);
    }
}
