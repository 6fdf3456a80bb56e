//! A fifth of all packets is lost, each way, for a minute.

use std::time::Duration;

use peerstack::PeerConnectionState;
use peerstack_netsim::{Lab, LossModel};

use crate::call::{Call, TICK, each_seed, pass, two_hosts};
use crate::support::ms;

/// T05, T06, C15: checks are lost like all else, but media comes in, so the pair goes on receiving; nothing
/// fails, the pair stays, four fifths of the audio arrive and each message does.
#[test]
fn the_call_goes_on() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let [a, b] = two_hosts(&lab);
        let call = Call::start(&lab, &a, &b).await;
        pass(ms(2000)).await;
        let begun = lab.elapsed();
        a.interfaces()[0].link().set_loss(LossModel::Uniform(0.2));
        pass(Duration::from_secs(60)).await;
        call.assert_gap(begun, TICK..=ms(600));
        // T18: a message that is lost five times in a row, and those behind it, wait for 0.4, 0.8, 1.6, 3 and 3 s.
        assert!(call.message_gap(begun) < ms(9000), "{}", call.story(begun));
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        assert_eq!((call.a.pair_changes(), call.b.pair_changes()), (1, 1), "{}", call.story(begun));
        for side in [&call.a, &call.b] {
            let arrived = side.heard().rtp.iter().filter(|(at, _)| *at >= begun).count();
            assert!((2250..2550).contains(&arrived), "{arrived} of 3000");
        }
        a.interfaces()[0].link().set_loss(LossModel::None);
        call.end().await;
    });
}

/// The call is made under that loss too.
#[test]
fn the_call_begins() {
    each_seed(async |seed| {
        let lab = Lab::start(seed);
        let [a, b] = two_hosts(&lab);
        a.interfaces()[0].link().set_loss(LossModel::Uniform(0.2));
        let call = Call::start(&lab, &a, &b).await;
        pass(ms(10_000)).await;
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        a.interfaces()[0].link().set_loss(LossModel::None);
        pass(ms(5000)).await;
        call.end().await;
    });
}
