//! Packets come twice, late, and in another order: checks as well as all else.

use std::time::Duration;

use peerstack::PeerConnectionState;
use peerstack_netsim::{Lab, LinkConfig};

use crate::call::{Call, each_seed, ordinary, pass, two_hosts};
use crate::support::ms;

fn disorder() -> LinkConfig {
    ordinary().with_duplicate(0.3).with_reorder(0.3, ms(70))
}

/// C06, C25, D18: a check that comes twice makes no second pair, a response that comes twice answers one check,
/// late ones are still worth something; each RTP packet and each message comes up once.
#[test]
fn everything_comes_up_once() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let [a, b] = two_hosts(&lab);
        for host in [&a, &b] {
            host.interfaces()[0].link().configure(disorder());
        }
        let call = Call::start(&lab, &a, &b).await;
        let begun = lab.elapsed();
        pass(Duration::from_secs(30)).await;
        call.assert_gap(begun, Duration::ZERO..=ms(200));
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        call.assert_never(PeerConnectionState::Disconnected, Duration::ZERO);
        assert_eq!((call.a.pair_changes(), call.b.pair_changes()), (1, 1), "{}", call.story(begun));
        for side in [&call.a, &call.b] {
            assert_eq!(side.pc.stats().await.unwrap().candidate_pairs.len(), 1);
            let arrived = side.heard().rtp.iter().filter(|(at, _)| *at >= begun).count();
            assert!((1490..=1510).contains(&arrived), "{arrived} of 1500");
        }
        call.end().await;
    });
}

/// An ICE restart in that disorder: checks of the old and of the new generation arrive mixed.
#[test]
fn a_restart_goes_through() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let [a, b] = two_hosts(&lab);
        for host in [&a, &b] {
            host.interfaces()[0].link().configure(disorder());
        }
        let call = Call::start(&lab, &a, &b).await;
        pass(ms(5000)).await;
        let restarted = lab.elapsed();
        call.restart_ice().await;
        pass(ms(10_000)).await;
        call.assert_gap(restarted, Duration::ZERO..=ms(200));
        call.assert_never(PeerConnectionState::Disconnected, Duration::ZERO);
        call.end().await;
    });
}
