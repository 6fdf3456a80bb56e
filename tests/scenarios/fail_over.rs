//! The pair in use stops working without anybody being told, as when a cable is pulled behind a switch: the
//! reserve takes over, without an ICE restart.

use std::time::Duration;

use peerstack::PeerConnectionState;
use peerstack_base::AdapterType;
use peerstack_netsim::{Host, Lab};

use crate::call::{
    CHECK_RECEIVING_INTERVAL, Call, RECEIVING_SWITCHING_DELAY, RECEIVING_TIMEOUT, attach, each_seed, host,
    pass, phase,
};
use crate::support::ms;

/// A host with a wired and a costlier wireless interface.
fn two_homed(lab: &Lab, name: &str, wired: &str, wireless: &str) -> Host {
    let host = lab.host(name);
    attach(&host, "eth0", AdapterType::Ethernet, &lab.internet(), wired);
    attach(&host, "wlan0", AdapterType::Wifi, &lab.internet(), wireless);
    host
}

/// The pair is weak once it does not receive, the reserve is selected when that has lasted for the damping
/// delay; both are noticed by looks at intervals, then the peer follows.
const FAIL_OVER: Duration = Duration::from_millis(
    (RECEIVING_TIMEOUT.as_millis()
        + RECEIVING_SWITCHING_DELAY.as_millis()
        + 2 * CHECK_RECEIVING_INTERVAL.as_millis()
        + 250) as u64,
);

/// S11, S13, T05, T10: our wired interface dies, or the peer's: both sides are on a working pair within 4.25 s,
/// and the side whose network is well stays on it.
#[test]
fn the_reserve_takes_over() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let a = two_homed(&lab, "a", "192.0.2.1", "198.51.100.1");
        let b = two_homed(&lab, "b", "192.0.2.2", "198.51.100.2");
        let call = Call::start(&lab, &a, &b).await;
        pass(ms(10_000) + phase(seed)).await;
        assert_eq!(call.a.selected().await, ("192.0.2.1".into(), "192.0.2.2".into()));
        let victim = if seed.is_multiple_of(2) { &a } else { &b };
        let cut = lab.elapsed();
        victim.interfaces()[0].link().set_up(false);
        pass(ms(12_000)).await;
        call.assert_gap(cut, ms(1000)..=FAIL_OVER);
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        let expected = if seed.is_multiple_of(2) {
            ("198.51.100.1", "192.0.2.2")
        } else {
            ("192.0.2.1", "198.51.100.2")
        };
        let selected = call.a.selected().await;
        assert_eq!((selected.0.as_str(), selected.1.as_str()), expected, "{}", call.story(cut));
        call.end().await;
    });
}

/// The same after the call has lasted for minutes: the reserve is still there, checked each 25 s (T09).
#[test]
fn the_reserve_is_kept_for_minutes() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let a = two_homed(&lab, "a", "192.0.2.1", "198.51.100.1");
        let b = two_homed(&lab, "b", "192.0.2.2", "198.51.100.2");
        let call = Call::start(&lab, &a, &b).await;
        call.pass_quietly(ms(180_000)).await;
        pass(phase(seed)).await;
        let victim = if seed.is_multiple_of(2) { &a } else { &b };
        let cut = lab.elapsed();
        victim.interfaces()[0].link().set_up(false);
        pass(ms(12_000)).await;
        call.assert_gap(cut, ms(1000)..=FAIL_OVER);
        call.end().await;
    });
}

/// S05, S11: the side that controls has one interface, the other one two, or the reverse: there is a reserve of the
/// other's second network either way, and it takes over.
#[test]
fn one_side_has_a_reserve() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let a = two_homed(&lab, "a", "192.0.2.1", "198.51.100.1");
        let b = host(&lab, "b", &lab.internet(), "192.0.2.2");
        let (first, second) = if seed.is_multiple_of(2) { (&b, &a) } else { (&a, &b) };
        let call = Call::start(&lab, first, second).await;
        pass(ms(60_000) + phase(seed)).await;
        let cut = lab.elapsed();
        a.interfaces()[0].link().set_up(false);
        pass(ms(12_000)).await;
        call.assert_gap(cut, ms(1000)..=FAIL_OVER);
        call.assert_never(PeerConnectionState::Disconnected, cut);
        let two_homed = if seed.is_multiple_of(2) { &call.b } else { &call.a };
        assert_eq!(two_homed.selected().await, ("198.51.100.1".into(), "192.0.2.2".into()));
        call.end().await;
    });
}
