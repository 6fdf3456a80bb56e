//! An interface goes down, and the host says so, and comes back.

use std::time::Duration;

use peerstack::{Configuration, ContinualGatheringPolicy, PeerConnectionState, Settings};
use peerstack_base::AdapterType;
use peerstack_netsim::Lab;

use crate::call::{
    CHECK_RECEIVING_INTERVAL, Call, FOLLOWING, STEADY, WRITE_TIMEOUT, attach, each_seed, host, pass, phase,
};
use crate::support::ms;

fn continually() -> Configuration {
    let mut settings = Settings::default();
    settings.continual_gathering = ContinualGatheringPolicy::GatherContinually;
    Configuration::new().with_settings(settings)
}

/// G38, S11: with two interfaces the other one takes over at once, since there is nothing to wait for; a
/// controlling peer follows when it misses our packets. When the better one is back the call returns to it, and
/// nobody hears that it did.
#[test]
fn one_of_two_interfaces() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let a = host(&lab, "a", &lab.internet(), "192.0.2.1");
        attach(&a, "wwan0", AdapterType::Cellular, &lab.internet(), "198.51.100.1");
        let b = host(&lab, "b", &lab.internet(), "192.0.2.2");
        let (first, second) = if seed.is_multiple_of(2) { (&a, &b) } else { (&b, &a) };
        let call = Call::start_with(&lab, (first, continually()), (second, continually())).await;
        let moving = if seed.is_multiple_of(2) { &call.a } else { &call.b };
        pass(ms(10_000) + phase(seed)).await;
        assert_eq!(moving.selected().await.0, "192.0.2.1");
        let lost = lab.elapsed();
        a.interfaces()[0].set_up(false);
        pass(ms(20_000)).await;
        assert_eq!(moving.selected().await.0, "198.51.100.1");
        call.assert_gap(lost, Duration::ZERO..=if seed.is_multiple_of(2) { ms(500) } else { FOLLOWING });
        let found = lab.elapsed();
        a.interfaces()[0].set_up(true);
        pass(ms(20_000)).await;
        assert_eq!(moving.selected().await.0, "192.0.2.1", "{}", call.story(found));
        call.assert_gap(found, Duration::ZERO..=STEADY);
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        call.end().await;
    });
}

/// T06: the only interface is gone for eight seconds: the call waits, and goes on with the first check, which
/// comes with the pace of a weak pair.
#[test]
fn the_only_interface_for_a_while() {
    each_seed(async |seed| {
        let (lab, [a, _], call) = Call::settled(seed).await;
        let lost = lab.elapsed();
        a.interfaces()[0].set_up(false);
        pass(ms(8000)).await;
        a.interfaces()[0].set_up(true);
        pass(ms(10_000)).await;
        // A check of either side, there and back, and the rhythm of the audio.
        call.assert_gap(lost, ms(8000)..=ms(8000) + CHECK_RECEIVING_INTERVAL + ms(100));
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        call.end().await;
    });
}

/// T06, S08, I14, K09: gone for longer than a pair lives, both sides say so; an ICE restart brings the call
/// back, its channel and what waited in it too.
#[test]
fn the_only_interface_for_long() {
    each_seed(async |seed| {
        let (lab, [a, _], call) = Call::settled(seed).await;
        let lost = lab.elapsed();
        a.interfaces()[0].set_up(false);
        let took = call.until(WRITE_TIMEOUT + ms(5000), Call::has_failed).await;
        assert!(took >= WRITE_TIMEOUT, "{took:?}");
        pass(ms(5000)).await;
        a.interfaces()[0].set_up(true);
        pass(ms(5000)).await;
        assert!(call.has_failed(), "nothing is sent any more, so nothing can have come back");
        let found = lab.elapsed();
        call.restart_ice().await;
        pass(ms(10_000)).await;
        // Offer and answer, a check, and DTLS, which needs no new handshake.
        call.assert_gap(found, ms(60)..=ms(500));
        assert!(call.message_gap(lost) > ms(20_000));
        call.end().await;
    });
}
