//! One side sleeps, as when a laptop's lid is closed or its process is stopped: none of its timers is looked at, what
//! comes waits in its sockets as far as there is room. The other side's time goes on.

use std::time::Duration;

use super::harness::*;
use crate::IceTransportState::{Checking, Connected, Disconnected, Failed};
use crate::*;

/// `a` or `b` sleeps for so long, in the middle of things.
fn after_sleep(seed: u64, a_sleeps: bool, time: Duration) -> Pair {
    let mut pair = Pair::open(seed);
    pair.connect();
    pair.run_for(ms(20_000 + seed * 379));
    asleep(&mut pair, a_sleeps, true);
    pair.run_for(time);
    asleep(&mut pair, a_sleeps, false);
    pair
}

fn asleep(pair: &mut Pair, a_sleeps: bool, asleep: bool) {
    let sleeper = if a_sleeps { &mut pair.a } else { &mut pair.b };
    sleeper.asleep = asleep;
}

fn awake(pair: &Pair, a_sleeps: bool) -> &Peer {
    if a_sleeps { &pair.b } else { &pair.a }
}

/// T06: after ten seconds the other side is disconnected, and both go on by themselves: the first check is answered.
/// Consent stands still (RFC 7675).
#[test]
fn ten_seconds_of_one_sides_sleep_pass() {
    for (seed, a_sleeps) in [(1, true), (2, false), (3, true), (4, false)] {
        let mut pair = after_sleep(seed, a_sleeps, ms(10_000));
        assert_eq!(awake(&pair, a_sleeps).states(), [Checking, Connected, Disconnected], "seed {seed}");
        let back = pair.run_until(ms(1000), |pair| {
            [&pair.a, &pair.b].iter().all(|peer| peer.channel.state() == Connected && peer.channel.writable())
        });
        assert!(back, "seed {seed}");
        assert_eq!(pair.a.channel.stats(pair.now).selected_candidate_pair_changes, 1);
        pair.exchange_data();
    }
}

/// T06, S08: after twenty seconds the other side has given up all its pairs, but its ports are there, and he who wakes
/// has consent still: his checks make a pair anew, without an ICE restart.
#[test]
fn who_wakes_with_consent_brings_the_other_back() {
    for (seed, a_sleeps) in [(1, true), (2, false), (3, true), (4, false)] {
        let mut pair = after_sleep(seed, a_sleeps, ms(22_000));
        assert_eq!(
            awake(&pair, a_sleeps).states(),
            [Checking, Connected, Disconnected, Failed],
            "seed {seed}"
        );
        assert!(pair.run_until(ms(3000), Pair::both_connected), "seed {seed}");
        assert_eq!(awake(&pair, a_sleeps).states().last(), Some(&Connected));
        pair.exchange_data();
    }
}

/// RFC 7675 section 5.1: after forty seconds consent is gone: he who wakes sends no packet on, and has failed as the other
/// one has. The other's checks that wait in his socket are checks still: they are answered and returned, so that consent
/// is asked for anew, and both are back by themselves, as in libwebrtc, which would never have stopped.
#[test]
fn checks_that_waited_bring_both_back() {
    for (seed, a_sleeps) in [(1, true), (2, false), (3, true), (4, false)] {
        let mut pair = after_sleep(seed, a_sleeps, ms(40_000));
        assert_eq!(awake(&pair, a_sleeps).channel.state(), Failed, "seed {seed}");
        let sleeper = if a_sleeps { &mut pair.a } else { &mut pair.b };
        let refused = sleeper.send(pair.now, &[20; 10]);
        assert_eq!(refused, Err(peerstack_base::SendError::NotWritable), "before any timer ran");
        assert!(pair.run_until(ms(3000), Pair::both_connected), "seed {seed}");
        let sleeper = if a_sleeps { &pair.a } else { &pair.b };
        assert_eq!(sleeper.states()[..3], [Checking, Connected, Failed], "seed {seed}");
        pair.exchange_data();
    }
}

/// RFC 7675 section 5.1: where its network slept as well nothing waits, and nobody sends: it is the application that brings
/// both back, by an ICE restart (S19).
#[test]
fn forty_seconds_off_the_network_take_a_restart() {
    for (seed, a_sleeps) in [(1, true), (2, false), (3, true), (4, false)] {
        let mut pair = Pair::open(seed);
        pair.connect();
        pair.run_for(ms(20_000 + seed * 379));
        let link = |pair: &Pair, up| {
            let sleeper = if a_sleeps { &pair.a } else { &pair.b };
            sleeper.host.interfaces()[0].link().set_up(up);
        };
        link(&pair, false);
        asleep(&mut pair, a_sleeps, true);
        pair.run_for(ms(40_000));
        link(&pair, true);
        asleep(&mut pair, a_sleeps, false);
        let failed = |pair: &Pair| [&pair.a, &pair.b].iter().all(|peer| peer.channel.state() == Failed);
        assert!(pair.run_until(ms(1000), failed), "seed {seed}");
        pair.run_for(ms(30_000));
        assert!(failed(&pair), "seed {seed}: nobody sends");
        let mut random = peerstack_base::Random::from_seed(90 + seed);
        pair.a.parameters = new_parameters(&mut random);
        pair.b.parameters = new_parameters(&mut random);
        pair.start();
        assert!(pair.run_until(ms(1000), Pair::both_connected), "seed {seed}");
        pair.exchange_data();
    }
}
