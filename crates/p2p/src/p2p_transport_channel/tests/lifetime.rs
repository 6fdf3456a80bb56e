//! What happens to a connected transport: outages, consent, fail-over, restart, networks that go.

use std::time::Duration;

use peerstack_base::{AdapterType, SendError};
use peerstack_netsim::{Lab, LinkConfig, ip};

use super::harness::*;
use crate::*;

fn cut(pair: &Pair, up: bool) {
    pair.b.host.interfaces()[0].link().set_up(up);
}

/// C15, S08, S10, I11: receiving goes first, then writable (disconnected), at last everything (failed), and
/// no byte is sent after that (RFC 7675). `WritableState`, `ReceivingState` and `StateChange` once each.
#[test]
fn a_lost_peer_goes_from_disconnected_to_failed() {
    let mut pair = Pair::open(1);
    pair.connect();
    pair.run_for(ms(10_000));
    let cut_at = pair.elapsed();
    cut(&pair, false);
    let events = pair.a.events.len();
    assert!(pair.run_until(ms(60_000), |pair| pair.a.channel.state() == IceTransportState::Failed));
    let told: Vec<(Duration, &IceTransportEvent)> =
        pair.a.events[events..].iter().map(|(at, event)| (*at - cut_at, event)).collect();
    let at = |wanted: IceTransportEvent| {
        let found: Vec<_> = told.iter().filter(|(_, event)| **event == wanted).collect();
        assert_eq!(found.len(), 1, "{wanted:?} in {told:?}");
        found[0].0
    };
    let not_receiving = at(IceTransportEvent::ReceivingState(false));
    let not_writable = at(IceTransportEvent::WritableState(false));
    let disconnected = at(IceTransportEvent::StateChange(IceTransportState::Disconnected));
    let failed = at(IceTransportEvent::StateChange(IceTransportState::Failed));
    assert!((ms(1500)..ms(3500)).contains(&not_receiving), "{not_receiving:?}");
    assert!((ms(5000)..ms(9000)).contains(&not_writable), "{not_writable:?}");
    assert_eq!(disconnected, not_writable);
    assert!((ms(15_000)..ms(20_000)).contains(&failed), "{failed:?}");
    assert_eq!(pair.a.send(pair.now, &[20; 10]), Err(SendError::NotWritable));
    assert_eq!(pair.a.channel.legacy_state(), IceTransportState::Failed);
    assert_eq!(pair.a.channel.selected_candidate_pair(), None);
    assert_eq!(pair.a.channel.network_route(), None);
    pair.lab.set_tracing(false);
    let sent = pair.lab.trace().to_string().len();
    pair.lab.set_tracing(true);
    pair.b.channel.close(pair.now);
    pair.run_for(ms(60_000));
    assert_eq!(pair.lab.trace().to_string().len(), sent, "no check, no data: silence");
}

/// C15: while unreliable, data may be sent; and it recovers.
#[test]
fn a_pair_recovers_from_an_outage() {
    let mut pair = Pair::open(2);
    pair.connect();
    pair.run_for(ms(5000));
    cut(&pair, false);
    assert!(pair.run_until(ms(20_000), |pair| !pair.a.channel.writable()));
    assert_eq!(pair.a.channel.state(), IceTransportState::Disconnected);
    assert_eq!(pair.a.send(pair.now, &[20; 10]), Ok(10));
    cut(&pair, true);
    assert!(pair.run_until(ms(3000), Pair::both_connected));
    assert_eq!(pair.a.channel.state(), IceTransportState::Connected);
    pair.exchange_data();
    assert_eq!(pair.a.channel.stats(pair.now).selected_candidate_pair_changes, 1);
}

/// RFC 7675 section 5.1: no response for 30 s ends the right to send, even if no timer ran.
#[test]
fn consent_stops_sending_even_without_timers() {
    let mut pair = Pair::open(3);
    pair.connect();
    let late = pair.now + ms(30_001);
    assert_eq!(pair.a.send(late, &[20; 10]), Err(SendError::NotWritable));
    assert_eq!(pair.a.send(pair.now, &[20; 10]), Ok(10));
}

/// T04, RFC 7675 section 5.1: a stable pair is checked every 2.0 to 3.0 s, at uneven distances, and idle
/// besides.
#[test]
fn consent_checks_are_spread() {
    let mut pair = Pair::open(4);
    pair.connect();
    pair.run_for(ms(20_000));
    let requests = |pair: &Pair| pair.a.channel.stats(pair.now).connections[0].stats.requests_sent;
    let mut gaps = Vec::new();
    let (mut last, mut count) = (pair.elapsed(), requests(&pair));
    while gaps.len() < 20 {
        pair.run_for(ms(10));
        if requests(&pair) > count {
            gaps.push(pair.elapsed() - last);
            (last, count) = (pair.elapsed(), requests(&pair));
        }
    }
    // The rhythm of 250 ms at which a check is picked adds to the interval.
    assert!(gaps[1..].iter().all(|gap| (ms(1990)..=ms(3260)).contains(gap)), "{gaps:?}");
    assert!(gaps[1..].iter().min() != gaps[1..].iter().max());
}

/// Two interfaces on each side.
fn two_homed(seed: u64) -> Pair {
    let lab = Lab::new(seed, origin());
    let internet = lab.internet();
    let host = |name: &str, first: &str, second: &str| {
        let host = lab.host(name);
        host.add_interface("wifi", AdapterType::Wifi, &internet, &[ip(first)]);
        host.add_interface("cell", AdapterType::Cellular, &internet, &[ip(second)]);
        for interface in host.interfaces() {
            interface.link().configure(LinkConfig::latency(ms(10)));
        }
        host
    };
    let a = host("a", "192.0.2.1", "198.51.100.1");
    let b = host("b", "192.0.2.2", "198.51.100.2");
    Pair::new(lab, Peer::new(a, "a", 1, |_| {}), Peer::new(b, "b", 2, |_| {}))
}

fn local_ip(peer: &Peer) -> String {
    let selected = peer.channel.selected_connection().unwrap();
    selected.local_candidate().address.ip().unwrap().ip().to_string()
}

/// S14, S09: the cheap networks are selected on both sides; the costly ones keep a reserve each, so ICE is
/// completed with one pair for each network of either side.
#[test]
fn cheap_networks_are_selected() {
    let mut pair = two_homed(1);
    pair.connect();
    pair.run_for(ms(5000));
    assert_eq!((local_ip(&pair.a).as_str(), local_ip(&pair.b).as_str()), ("192.0.2.1", "192.0.2.2"));
    assert_eq!(pair.a.channel.legacy_state(), IceTransportState::Completed);
    let active: Vec<_> = pair.a.channel.connections().filter(|connection| connection.active()).collect();
    assert_eq!(active.len(), 3);
    assert_eq!(pair.a.channel.network_route().map(|route| route.adapter_type), Some(AdapterType::Wifi));
}

/// S11, S18, S16: our interface dies: within a second or so of the loss of receiving the other carries packets.
#[test]
fn an_interface_dies_and_the_other_takes_over() {
    for kill_a in [true, false] {
        let mut pair = two_homed(2);
        pair.connect();
        pair.run_for(ms(8000));
        let cut_at = pair.elapsed();
        let victim = if kill_a { &pair.a } else { &pair.b };
        victim.host.interfaces()[0].link().set_up(false);
        let over = pair.run_until(ms(20_000), |pair| {
            let away = |peer: &Peer| {
                peer.channel.selected_connection().is_some_and(|connection| {
                    let pair = [connection.local_candidate(), connection.remote_candidate()];
                    let ips = pair.map(|candidate| candidate.address.ip().unwrap().ip().to_string());
                    let dead = if kill_a { "192.0.2.1" } else { "192.0.2.2" };
                    !ips.contains(&dead.to_owned())
                })
            };
            away(&pair.a) && away(&pair.b) && pair.both_connected()
        });
        assert!(over, "kill_a {kill_a}");
        let took = pair.elapsed() - cut_at;
        assert!(took <= ms(6000), "{took:?}");
        pair.exchange_data();
        let change = pair.a.events.iter().rev().find_map(|(_, event)| match event {
            IceTransportEvent::SelectedCandidatePairChange(change) => Some(change.clone()),
            _ => None,
        });
        assert!(change.unwrap().estimated_disconnected_time > Duration::ZERO, "S18");
        assert_eq!(pair.a.channel.stats(pair.now).selected_candidate_pair_changes, 2, "S16");
    }
}

/// S12: a short outage causes no switch.
#[test]
fn a_short_outage_causes_no_switch() {
    let mut pair = two_homed(3);
    pair.connect();
    pair.run_for(ms(8000));
    let changes = |pair: &Pair| {
        [&pair.a, &pair.b].map(|peer| peer.channel.stats(pair.now).selected_candidate_pair_changes)
    };
    let before = changes(&pair);
    pair.a.host.interfaces()[0].link().set_up(false);
    pair.run_for(ms(900));
    pair.a.host.interfaces()[0].link().set_up(true);
    pair.run_for(ms(10_000));
    assert_eq!(changes(&pair), before);
    pair.exchange_data();
}

/// Its network is gone from the list: its ports make no new connections, the peer is not told (G38), and the
/// reserve takes over; its port goes with its connections (S21).
#[test]
fn a_network_that_is_gone_is_left() {
    let mut pair = two_homed(4);
    pair.connect();
    pair.run_for(ms(8000));
    pair.a.host.interfaces()[0].set_up(false);
    let networks = pair.a.host.network_manager().networks();
    pair.a.channel.set_networks(pair.now, networks);
    pair.run_for(ms(10_000));
    assert_eq!(local_ip(&pair.a), "198.51.100.1");
    assert_eq!(pair.a.count(|event| matches!(event, IceTransportEvent::CandidatesRemoved(_))), 0);
    pair.exchange_data();
    pair.run_for(ms(60_000));
    assert_eq!(pair.a.socket_ids().len(), 1, "S21: the pruned port died with its connections");
}

/// S19, G39, I06: a restart gathers anew under a new ufrag; the old pair carries packets until the new one is
/// selected; then the old ports die.
#[test]
fn an_ice_restart_moves_to_the_new_generation() {
    for data_flows in [false, true] {
        let mut pair = Pair::open(5);
        pair.connect();
        pair.exchange_data();
        let old_sockets = pair.a.socket_ids();
        let (old_a, old_b) = (pair.a.parameters.clone(), pair.b.parameters.clone());
        let mut random = peerstack_base::Random::from_seed(99);
        pair.a.parameters = new_parameters(&mut random);
        pair.b.parameters = new_parameters(&mut random);

        // The offer: a gathers, b learns of it, and a, still without an answer, goes on with the old pair.
        pair.a.gather(pair.now);
        pair.settle();
        let parameters = pair.a.parameters.clone();
        pair.b.channel.set_remote_ice_parameters(pair.now, parameters);
        pair.run_for(ms(300));
        assert!(pair.both_connected());
        pair.exchange_data();
        pair.b.gather(pair.now);
        pair.exchange_parameters();
        let on_new = |pair: &Pair| {
            let new = |peer: &Peer, old: &IceParameters| {
                peer.channel
                    .selected_connection()
                    .is_some_and(|connection| connection.remote_candidate().username_fragment != old.ufrag)
            };
            new(&pair.a, &old_b) && new(&pair.b, &old_a)
        };
        if data_flows {
            pair.exchange_data();
        }
        assert!(pair.run_until(ms(5000), on_new));
        assert!(pair.both_connected());
        assert_eq!(pair.a.count(|event| *event == IceTransportEvent::WritableState(false)), 0);
        pair.exchange_data();
        let ufrag = pair.a.parameters.ufrag.clone();
        let stats = pair.a.channel.stats(pair.now);
        assert!(stats.local_candidates.iter().all(|candidate| candidate.username_fragment == ufrag));
        assert!(stats.local_candidates.iter().all(|candidate| candidate.generation == 1));
        pair.run_for(ms(70_000));
        let sockets = pair.a.socket_ids();
        assert_eq!(sockets.len(), 1);
        assert!(!sockets.contains(&old_sockets[0]));
        pair.exchange_data();
    }
}

/// S19: restart after failure: checking again, then connected.
#[test]
fn a_restart_after_failure_connects_again() {
    let mut pair = Pair::open(6);
    pair.connect();
    cut(&pair, false);
    assert!(pair.run_until(ms(90_000), |pair| {
        pair.a.channel.state() == IceTransportState::Failed
            && pair.b.channel.state() == IceTransportState::Failed
    }));
    cut(&pair, true);
    let mut random = peerstack_base::Random::from_seed(98);
    pair.a.parameters = new_parameters(&mut random);
    pair.b.parameters = new_parameters(&mut random);
    pair.start();
    assert!(pair.run_until(ms(3000), Pair::both_connected));
    assert_eq!(pair.a.channel.state(), IceTransportState::Connected);
    pair.exchange_data();
}

/// C23: the peer's checks of the new generation come before its parameters: paired, answered, filled in.
#[test]
fn early_checks_during_a_restart() {
    let mut pair = Pair::open(7);
    pair.connect();
    let mut random = peerstack_base::Random::from_seed(97);
    pair.a.parameters = new_parameters(&mut random);
    pair.b.parameters = new_parameters(&mut random);
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.b.gather(pair.now);
    pair.settle();
    // b knows everything, a nothing yet.
    let parameters = pair.a.parameters.clone();
    pair.b.channel.set_remote_ice_parameters(pair.now, parameters);
    let candidate = pair.a.outbox.last().cloned().unwrap();
    pair.b.channel.add_remote_candidate(pair.now, candidate);
    pair.run_for(ms(200));
    let early = pair.a.channel.connections().last().unwrap();
    assert_eq!(early.remote_candidate().candidate_type, CandidateType::Prflx);
    assert_eq!(early.num_pings_sent(), 0);
    let parameters = pair.b.parameters.clone();
    pair.a.channel.set_remote_ice_parameters(pair.now, parameters.clone());
    let on_new = |pair: &Pair| {
        pair.a
            .channel
            .selected_connection()
            .is_some_and(|connection| connection.remote_candidate().username_fragment == parameters.ufrag)
    };
    pair.run_for(ms(100));
    let early = pair.a.channel.connections().last().unwrap();
    assert!(early.writable() && !on_new(&pair), "a peer-reflexive pair is worth less than the old one");
    let signalled = pair.b.outbox.last().cloned().unwrap();
    pair.a.channel.add_remote_candidate(pair.now, signalled);
    assert!(pair.run_until(ms(1000), on_new));
    pair.exchange_data();
}

/// S09: the table of transport states: new, checking, connected, disconnected, failed, closed; nothing is
/// told twice in a row.
#[test]
fn transport_states() {
    use IceTransportState::{Checking, Closed, Connected, Disconnected, Failed, New};
    let mut pair = Pair::open(8);
    assert_eq!((pair.a.channel.state(), pair.a.channel.legacy_state()), (New, New));
    pair.start();
    pair.settle();
    assert_eq!((pair.a.channel.state(), pair.b.channel.state()), (Checking, Checking));
    pair.run_for(ms(2000));
    // The network fails for a while, and then for good.
    cut(&pair, false);
    pair.run_for(ms(10_000));
    cut(&pair, true);
    pair.run_for(ms(5000));
    cut(&pair, false);
    pair.run_for(ms(60_000));
    pair.a.channel.close(pair.now);
    pair.settle();
    let states = [Checking, Connected, Disconnected, Connected, Disconnected, Failed, Closed];
    assert_eq!(pair.a.states(), states);

    // Never connected: T07, RFC 8445 section 6.1.2.6.
    let mut pair = Pair::open(9);
    cut(&pair, false);
    pair.start();
    pair.run_for(ms(14_000));
    assert_eq!(pair.a.states(), [Checking]);
    pair.run_for(ms(3000));
    assert_eq!(pair.a.states(), [Checking, Failed]);
    // The network is back and the peer's candidate is told again: checked again, C16.
    cut(&pair, true);
    let parameters = new_parameters(&mut peerstack_base::Random::from_seed(4));
    pair.b.parameters = parameters;
    pair.a.parameters = new_parameters(&mut peerstack_base::Random::from_seed(5));
    pair.start();
    pair.run_for(ms(1000));
    assert_eq!(pair.a.states(), [Checking, Failed, Checking, Connected]);
}

/// S09: the connecting (checking) state of the original design lasts while a network has several active pairs; S05,
/// T08: the worse one is pruned, and deleted.
#[test]
fn legacy_state_counts_pairs_of_a_network() {
    let mut pair = Pair::open(10);
    pair.start();
    pair.b.channel.add_remote_candidate(pair.now, candidate("192.0.2.77:5", 5));
    pair.a.channel.add_remote_candidate(pair.now, candidate("192.0.2.77:5", 5));
    pair.settle();
    assert_eq!(pair.a.channel.legacy_state(), IceTransportState::Checking);
    pair.run_for(ms(2000));
    assert_eq!(pair.a.channel.legacy_state(), IceTransportState::Completed, "S05: the other was pruned");
    pair.run_for(ms(20_000));
    assert_eq!(pair.a.channel.connections().count(), 1, "T08: and deleted");
}
