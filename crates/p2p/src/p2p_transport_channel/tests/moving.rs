//! The peer moves to another of its networks, and we, who control, have but one: there is a reserve, and we follow by
//! what is heard of the peer, also where it has nothing to say.

use std::time::Duration;

use peerstack_base::AdapterType;
use peerstack_netsim::{Lab, LinkConfig, ip};

use super::harness::*;
use crate::*;

/// The check after a second of silence, the look at it, the damping delay, and the check of where the peer is.
const FOLLOWING: Duration = Duration::from_millis(1000 + 250 + 1000 + 100);

/// `a` controls and has one network, `b` has two of one kind.
fn towards_two_homed(seed: u64, configure: impl Fn(&mut P2PTransportChannelConfig)) -> Pair {
    let lab = Lab::new(seed, origin());
    let internet = lab.internet();
    let a = lab.host_at("a", &internet, ip("192.0.2.1"));
    let b = lab.host("b");
    b.add_interface("eth0", AdapterType::Ethernet, &internet, &[ip("192.0.2.2")]);
    b.add_interface("eth1", AdapterType::Ethernet, &internet, &[ip("198.51.100.2")]);
    for interface in a.interfaces().into_iter().chain(b.interfaces()) {
        interface.link().configure(LinkConfig::latency(ms(10)));
    }
    Pair::new(lab, Peer::new(a, "a", 2 * seed + 1, &configure), Peer::new(b, "b", 2 * seed + 2, &configure))
}

/// Where `a` sends to.
fn destination(pair: &Pair) -> Option<String> {
    let selected = pair.a.channel.selected_connection()?;
    Some(selected.remote_candidate().address.ip()?.ip().to_string())
}

/// The index of `b`'s interface that is in use.
fn used(pair: &Pair) -> usize {
    usize::from(destination(pair).unwrap() == "198.51.100.2")
}

fn changes(pair: &Pair) -> u32 {
    pair.a.channel.stats(pair.now).selected_candidate_pair_changes
}

/// `b`'s interface goes, and `b` is told.
fn leave(pair: &mut Pair, interface: usize) {
    pair.b.host.interfaces()[interface].set_up(false);
    tell(pair);
}

fn tell(pair: &mut Pair) {
    let networks = pair.b.host.network_manager().networks();
    pair.b.channel.set_networks(pair.now, networks);
}

/// S05, S09, T09: both sides keep a pair of the peer's other network; ICE is completed with it.
#[test]
fn a_pair_of_the_peers_other_network_is_kept() {
    for seed in 0..5 {
        let mut pair = towards_two_homed(seed, |_| {});
        pair.connect();
        pair.run_for(ms(120_000));
        for peer in [&pair.a, &pair.b] {
            let writable = peer.channel.connections().filter(|connection| connection.writable()).count();
            assert_eq!(
                (writable, peer.channel.legacy_state()),
                (2, IceTransportState::Completed),
                "seed {seed}"
            );
        }
        pair.exchange_data();
    }
}

/// T10, S11: the peer has moved and says nothing but its checks: ours is questioned, not answered, and left within 2.4 s,
/// though consent is asked for seconds later; not before the damping delay is over.
#[test]
fn the_peers_checks_tell_that_it_moved() {
    for seed in 0..12 {
        let mut pair = towards_two_homed(seed, |_| {});
        pair.connect();
        pair.run_for(ms(20_000 + seed * 277));
        let (before, left) = (used(&pair), pair.elapsed());
        leave(&mut pair, before);
        assert!(pair.run_until(ms(10_000), |pair| used(pair) != before), "seed {seed}");
        let took = pair.elapsed() - left;
        assert!((ms(1000)..=FOLLOWING).contains(&took), "seed {seed}: {took:?}");
        pair.exchange_data();
        assert_eq!(changes(&pair), 2);
    }
}

/// T10: the same where no reserve was left: the peer's other network comes when the call has just been connected, or
/// long after.
#[test]
fn a_network_that_comes_as_the_other_goes() {
    for (seed, settled) in [(1, ms(0)), (2, ms(300)), (3, ms(20_000))] {
        let mut pair = towards_two_homed(seed, |config| {
            config.ice_config.continual_gathering_policy = ContinualGatheringPolicy::GatherContinually;
        });
        leave(&mut pair, 1);
        pair.connect();
        pair.run_for(settled);
        pair.b.host.interfaces()[1].set_up(true);
        let left = pair.elapsed();
        leave(&mut pair, 0);
        assert!(pair.run_until(ms(10_000), |pair| used(pair) == 1), "{settled:?}");
        let took = pair.elapsed() - left;
        assert!(took <= FOLLOWING, "{settled:?}: {took:?}");
        pair.exchange_data();
    }
}

/// S12: the peer is away from its network for less than the damping delay, and heard by the other one meanwhile.
#[test]
fn the_peers_short_absence_causes_no_switch() {
    for seed in 0..6 {
        let mut pair = towards_two_homed(seed, |_| {});
        pair.connect();
        pair.run_for(ms(20_000 + seed * 391));
        let before = used(&pair);
        leave(&mut pair, before);
        pair.run_for(ms(900));
        pair.b.host.interfaces()[before].set_up(true);
        tell(&mut pair);
        pair.run_for(ms(10_000));
        assert_eq!((used(&pair), changes(&pair)), (before, 1), "seed {seed}");
        pair.exchange_data();
    }
}

/// T04, T10: what is heard of a reserve costs no more than a question, which is answered.
#[test]
fn a_reserve_that_is_heard_raises_no_doubt() {
    let mut pair = towards_two_homed(1, |_| {});
    pair.connect();
    pair.run_for(ms(10_000));
    let sent = |pair: &Pair| -> u64 {
        pair.a.channel.stats(pair.now).connections.iter().map(|it| it.stats.requests_sent).sum()
    };
    let before = sent(&pair);
    pair.run_for(ms(100_000));
    let checks = sent(&pair) - before;
    // Each 2.5 s of the selected pair, each 25 s of the reserve, and a question at each of both sides' checks of that.
    assert!(checks <= 100_000 / 2000 + 4 + 8, "{checks}");
    assert_eq!(pair.a.count(|event| *event == IceTransportEvent::ReceivingState(false)), 0);
    assert_eq!(changes(&pair), 1);
}
