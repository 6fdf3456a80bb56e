//! Two transports find each other: time to connect, order of events, roles, early checks, close.

use peerstack_base::{Ecn, PacketOptions, ReceiveMeta, SendError};
use peerstack_netsim::ip;

use super::harness::*;
use crate::*;

/// One round trip from the exchange of parameters to writable on both sides, and the order of what is told. S17:
/// bytes and packets are counted exactly.
#[test]
fn two_hosts_connect_in_one_round_trip() {
    let mut pair = Pair::open(1);
    pair.connect();
    assert_eq!(pair.elapsed(), ms(40));
    for peer in [&pair.a, &pair.b] {
        let names: Vec<&str> = peer
            .events
            .iter()
            .map(|(_, event)| match event {
                IceTransportEvent::GatheringStateChange(IceGatheringState::Gathering) => "gathering",
                IceTransportEvent::CandidateGathered(_) => "candidate",
                IceTransportEvent::GatheringStateChange(_) => "complete",
                IceTransportEvent::StateChange(IceTransportState::Checking) => "checking",
                IceTransportEvent::ReceivingState(true) => "receiving",
                IceTransportEvent::SelectedCandidatePairChange(_) => "selected",
                IceTransportEvent::NetworkRouteChange(Some(_)) => "route",
                IceTransportEvent::ReadyToSend => "ready",
                IceTransportEvent::WritableState(true) => "writable",
                IceTransportEvent::StateChange(IceTransportState::Connected) => "connected",
                _ => "other",
            })
            .collect();
        let expected = [
            "gathering",
            "candidate",
            "complete",
            "checking",
            "receiving",
            "selected",
            "route",
            "ready",
            "writable",
            "connected",
        ];
        assert_eq!(names, expected);
        assert_eq!(peer.selected_types(), Some((CandidateType::Host, CandidateType::Host)));
    }
    pair.exchange_data();
    // S17: ten packets of 36 bytes each way, checks not counted.
    for peer in [&pair.a, &pair.b] {
        let stats = peer.channel.stats(pair.now);
        assert_eq!((stats.packets_sent, stats.bytes_sent), (10, 360));
        assert_eq!((stats.packets_received, stats.bytes_received), (10, 360));
        assert_eq!(stats.discarded.total(), 0);
        assert_eq!(stats.selected_candidate_pair_changes, 1);
        assert!(stats.connections[0].nominated && stats.connections[0].selected);
    }
    // S09: one pair on its network.
    assert_eq!(pair.a.channel.legacy_state(), IceTransportState::Completed);
    assert_eq!(pair.a.channel.state(), IceTransportState::Connected);
    assert_eq!(pair.a.channel.rtt(), Some(ms(40)));
}

/// The same seed gives the same packets at the same times.
#[test]
fn runs_repeat() {
    let run = || {
        let mut pair = Pair::open(9);
        pair.connect();
        pair.run_for(ms(10_000));
        pair.lab.trace().to_string()
    };
    assert_eq!(run(), run());
}

/// C08, C07: both begin as controlling, or as controlled; exactly one switches, then they connect.
#[test]
fn role_conflicts_are_resolved() {
    for role in [IceRole::Controlling, IceRole::Controlled] {
        for seed in 1..=6 {
            let mut pair = Pair::open(seed);
            pair.a.channel.set_ice_role(role);
            pair.b.channel.set_ice_role(role);
            pair.a.channel.set_ice_tiebreaker(seed * 1000);
            pair.b.channel.set_ice_tiebreaker(if seed % 2 == 0 { 5 } else { u64::MAX });
            pair.connect();
            pair.run_for(ms(1000));
            let conflict = |event: &IceTransportEvent| *event == IceTransportEvent::RoleConflict;
            assert_eq!(pair.a.count(conflict) + pair.b.count(conflict), 1, "{role:?} {seed}");
            let a_controls = seed % 2 == 0;
            assert_eq!(pair.a.channel.ice_role() == IceRole::Controlling, a_controls);
            assert_eq!(pair.b.channel.ice_role() == IceRole::Controlled, a_controls);
            pair.exchange_data();
        }
    }
}

/// C07: a role conflict is told once until it is acted on; without that, the side that should switch does not.
#[test]
fn a_role_conflict_is_told_once() {
    let mut pair = Pair::open(3);
    pair.b.channel.set_ice_role(IceRole::Controlling);
    pair.a.channel.set_ice_tiebreaker(1);
    pair.b.channel.set_ice_tiebreaker(2);
    pair.a.follow_roles = false;
    pair.start();
    pair.run_for(ms(2000));
    assert_eq!(pair.a.count(|event| *event == IceTransportEvent::RoleConflict), 1);
    assert_eq!(pair.b.count(|event| *event == IceTransportEvent::RoleConflict), 0);
}

/// C21, C28: the offerer's checks reach the answerer, and the answerer's the offerer, before the answer is
/// there: answered, paired, and checked at once when the parameters come. C22: the address of what was
/// learned so is hidden, and the type becomes the signalled one without a new pair (C25). S04: both are connected by
/// such a pair before it is signalled.
#[test]
fn checks_that_come_before_the_answer_are_answered() {
    let mut pair = Pair::open(4);
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.b.gather(pair.now);
    pair.settle();
    // b, the answerer, knows all of a; a knows nothing of b.
    let parameters = pair.a.parameters.clone();
    pair.b.channel.set_remote_ice_parameters(pair.now, parameters);
    for candidate in std::mem::take(&mut pair.a.outbox) {
        pair.b.channel.add_remote_candidate(pair.now, candidate);
    }
    pair.run_for(ms(200));
    assert!(pair.b.channel.writable(), "its checks are answered");
    assert!(!pair.a.channel.writable());
    let stats = pair.a.channel.stats(pair.now);
    assert_eq!(stats.connections.len(), 1);
    assert_eq!(stats.connections[0].remote_candidate.candidate_type, CandidateType::Prflx);
    assert_eq!(stats.connections[0].remote_candidate.address.ip(), None, "C22");
    assert_eq!(stats.connections[0].stats.requests_sent, 0, "C28: no checks without credentials");

    // Data on the pair that was checked by the peer passes already.
    let sent = pair.b.send(pair.now, &[20, 254, 253, 0]);
    assert_eq!(sent, Ok(4));
    pair.run_for(ms(50));
    assert_eq!(pair.a.data.len(), 1);

    let (at, parameters) = (pair.elapsed(), pair.b.parameters.clone());
    pair.a.channel.set_remote_ice_parameters(pair.now, parameters);
    assert!(pair.run_until(ms(1000), Pair::both_connected));
    assert_eq!(pair.elapsed() - at, ms(40));
    let candidate = pair.b.outbox[0].clone();
    pair.a.channel.add_remote_candidate(pair.now, candidate.clone());
    pair.a.channel.add_remote_candidate(pair.now, candidate);
    pair.run_for(ms(100));
    assert_eq!(pair.a.selected_types(), Some((CandidateType::Host, CandidateType::Host)));
    assert_eq!(pair.a.channel.connections().count(), 1, "C25: no pair more");
    pair.exchange_data();
}

/// C24: candidates without a ufrag work; with an old one are dropped; with a future one are kept and checked
/// when the parameters come.
#[test]
fn candidates_by_ufrag() {
    let mut pair = Pair::open(5);
    pair.trickle = false;
    pair.a.gather(pair.now);
    let mut random = peerstack_base::Random::from_seed(77);
    let (old, new) = (new_parameters(&mut random), new_parameters(&mut random));
    let pings = |pair: &Pair| {
        pair.a.channel.stats(pair.now).connections.iter().map(|c| c.stats.requests_sent).collect::<Vec<_>>()
    };

    pair.a.channel.add_remote_candidate(pair.now, candidate("192.0.2.2:1", 5));
    pair.run_for(ms(100));
    assert_eq!(pings(&pair), [0], "before any parameters");
    pair.a.channel.set_remote_ice_parameters(pair.now, old.clone());
    pair.run_for(ms(100));
    assert!(pings(&pair)[0] > 0);

    let mut future = candidate("192.0.2.2:2", 5);
    future.username_fragment.clone_from(&new.ufrag);
    pair.a.channel.add_remote_candidate(pair.now, future);
    pair.run_for(ms(100));
    assert_eq!(pings(&pair)[1..], [0]);
    pair.a.channel.set_remote_ice_parameters(pair.now, new);
    pair.run_for(ms(100));
    assert!(pings(&pair)[1] > 0);

    let mut late = candidate("192.0.2.2:3", 5);
    late.username_fragment = old.ufrag;
    pair.a.channel.add_remote_candidate(pair.now, late);
    assert_eq!(pings(&pair).len(), 2, "of an earlier generation");
}

/// C17: no pairs across families, to the "any" address, to port 0, or to another component.
#[test]
fn what_cannot_be_paired_is_not() {
    let mut pair = Pair::open(5);
    pair.a.gather(pair.now);
    for text in ["[2001:db8::1]:5", "0.0.0.0:5", "192.0.2.7:0", "224.0.0.1:5", "255.255.255.255:5"] {
        pair.a.channel.add_remote_candidate(pair.now, candidate(text, 5));
    }
    let tcp = Candidate::parse("candidate:1 1 tcp 5 192.0.2.9 9 typ host tcptype active").unwrap();
    pair.a.channel.add_remote_candidate(pair.now, tcp);
    let rtcp = Candidate::parse("candidate:1 2 udp 5 192.0.2.9 9 typ host").unwrap();
    pair.a.channel.add_remote_candidate(pair.now, rtcp);
    assert_eq!(pair.a.channel.connections().count(), 0);
    assert_eq!(pair.a.channel.state(), IceTransportState::New);
}

/// C31: a browser's `.local` candidate is looked up, then paired; what is not found is tolerated; the policy
/// `relay` looks nothing up, and without a TURN server makes no ports (G11).
#[test]
fn mdns_candidates_are_resolved() {
    let local = |candidate: &Candidate, name: &str| {
        let mut hidden = candidate.clone();
        hidden.address = CandidateAddress::Name(name.into(), candidate.address.port());
        hidden
    };
    let mut pair = Pair::open(6);
    pair.trickle = false;
    pair.a.names.insert("here.local".into(), vec![ip("2001:db8::5"), ip("192.0.2.2")]);
    pair.start();
    pair.settle();
    let shown = pair.b.outbox[0].clone();
    pair.a.channel.add_remote_candidate(pair.now, local(&shown, "gone.local"));
    pair.run_for(ms(100));
    assert_eq!(pair.a.channel.connections().count(), 0);
    pair.a.channel.add_remote_candidate(pair.now, local(&shown, "here.local"));
    assert!(pair.run_until(ms(500), Pair::both_connected));
    pair.exchange_data();

    let mut pair =
        Pair::open_with(6, |config| config.port_allocator.candidate_filter = CandidateFilter::RELAY, |_| {});
    pair.a.hold_resolutions = true;
    pair.start();
    pair.a.channel.add_remote_candidate(pair.now, local(&shown, "here.local"));
    pair.settle();
    assert!(pair.a.resolutions.is_empty());
    assert!(pair.a.socket_ids().is_empty(), "G11: no ports at all");
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
}

/// An ICE restart while a name is looked up: the candidate of the old generation is not paired.
#[test]
fn a_late_look_up_of_an_old_generation_is_dropped() {
    let mut pair = Pair::open(6);
    pair.trickle = false;
    pair.start();
    pair.a.hold_resolutions = true;
    let mut hidden = candidate("192.0.2.2:5", 5);
    hidden.address = CandidateAddress::Name("x.local".into(), 5);
    pair.a.channel.add_remote_candidate(pair.now, hidden);
    pair.settle();
    let (id, _) = pair.a.resolutions[0].clone();
    let parameters = new_parameters(&mut peerstack_base::Random::from_seed(1));
    pair.a.channel.set_remote_ice_parameters(pair.now, parameters);
    pair.a.channel.handle_resolved(pair.now, id, &[ip("192.0.2.2")]);
    assert_eq!(pair.a.channel.connections().count(), 0);
    // An answer nobody asked for changes nothing.
    pair.a.channel.handle_resolved(pair.now, id, &[ip("192.0.2.2")]);
}

/// Before a pair is usable nothing is sent; after close neither, and everything is given back.
#[test]
fn sending_says_why_not() {
    let mut pair = Pair::open(7);
    assert_eq!(pair.a.send(pair.now, &[20; 30]), Err(SendError::NotWritable));
    pair.start();
    pair.settle();
    assert_eq!(pair.a.send(pair.now, &[20; 30]), Err(SendError::NotWritable));
    assert!(pair.run_until(ms(1000), Pair::both_connected));
    let taken_back = pair.a.channel.send_with(pair.now, &PacketOptions::default(), 100, |_| 0);
    assert_eq!(taken_back, Ok(0));
    let too_large = pair.a.channel.send_with(pair.now, &PacketOptions::default(), 70_000, |slot| slot.len());
    assert!(matches!(too_large, Err(SendError::TooLarge { .. })));
    while pair.a.channel.send_with(pair.now, &PacketOptions::default(), 1200, |slot| slot.len()).is_ok() {}
    let full = pair.a.channel.send_with(pair.now, &PacketOptions::default(), 1200, |slot| slot.len());
    assert_eq!(full, Err(SendError::WouldBlock));
    let ready = |event: &IceTransportEvent| *event == IceTransportEvent::ReadyToSend;
    let before = pair.a.count(ready);
    pair.a.channel.handle_unblocked(pair.now);
    pair.settle();
    assert_eq!(pair.a.count(ready), before + 1);

    pair.a.channel.close(pair.now);
    pair.a.channel.close(pair.now);
    assert_eq!(pair.a.send(pair.now, &[20; 30]), Err(SendError::Closed));
    pair.settle();
    assert!(pair.a.socket_ids().is_empty(), "its sockets are closed");
    assert_eq!(pair.a.events.last().map(|(_, event)| event.clone()), Some(IceTransportEvent::Closed));
    assert_eq!(pair.a.states().last(), Some(&IceTransportState::Closed));
    assert_eq!(pair.a.channel.next_timeout(), None);
    // Nothing that comes later does anything.
    pair.a.channel.maybe_start_gathering(pair.now);
    pair.a.channel.add_remote_candidate(pair.now, candidate("192.0.2.2:5", 5));
    pair.exchange_parameters();
    pair.a.channel.handle_timeout(pair.now);
    let events = pair.a.events.len();
    pair.run_for(ms(1000));
    assert_eq!(pair.a.events.len(), events);
    assert_eq!(pair.a.channel.connections().count(), 0);
}

/// S17: data from an address that was signalled but on which no check passed is dropped and counted; so is what
/// comes by a socket or from an address that is not known.
#[test]
fn data_counts_only_after_a_check() {
    let mut pair = Pair::open(8);
    pair.trickle = false;
    pair.start();
    pair.settle();
    pair.a.channel.add_remote_candidate(pair.now, candidate("192.0.2.2:9", 5));
    let socket = pair.a.socket_ids()[0];
    let mut meta =
        ReceiveMeta { socket, remote: "192.0.2.2:9".parse().unwrap(), local_ip: None, ecn: Ecn::NotEct };
    assert_eq!(pair.a.channel.receive(pair.now, &mut [22, 254, 253], &meta), None);
    assert_eq!(pair.a.channel.stats(pair.now).discarded.unauthenticated, 1);
    meta.remote = "192.0.2.3:9".parse().unwrap();
    assert_eq!(pair.a.channel.receive(pair.now, &mut [22, 254, 253], &meta), None);
    assert_eq!(pair.a.channel.receive(pair.now, &mut [200, 1], &meta), None);
    assert_eq!(pair.a.channel.receive(pair.now, &mut [], &meta), None);
    meta.socket = peerstack_base::SocketId::unique();
    assert_eq!(pair.a.channel.receive(pair.now, &mut [22, 254, 253], &meta), None);
    assert!(!pair.a.channel.owns_socket(meta.socket));
    let discarded = pair.a.channel.stats(pair.now).discarded;
    assert_eq!((discarded.unknown, discarded.malformed), (2, 2));
}

/// Every nomination mode of the peer is accepted.
#[test]
fn every_nomination_mode_connects() {
    for mode in [NominationMode::Regular, NominationMode::Aggressive, NominationMode::SemiAggressive] {
        let mut pair = Pair::open_with(10, |config| config.ice_config.nomination_mode = mode, |_| {});
        pair.connect();
        pair.run_for(ms(300));
        assert!(pair.b.channel.selected_connection().is_some_and(Connection::nominated), "{mode:?}");
        assert!(pair.a.channel.selected_connection().is_some_and(Connection::nominated), "{mode:?}");
        pair.exchange_data();
    }
}

/// C10: with renomination on both sides the value rises and is acknowledged.
#[test]
fn renomination_is_used_if_both_know_it() {
    let mut pair = Pair::open(11);
    pair.a.parameters.renomination = true;
    pair.b.parameters.renomination = true;
    pair.connect();
    pair.run_for(ms(300));
    assert_eq!(pair.b.channel.selected_connection().map(Connection::remote_nomination), Some(1));
    assert!(pair.a.channel.selected_connection().is_some_and(Connection::nominated));
}

/// Loss both ways: still connected, for every seed.
#[test]
fn connects_through_loss() {
    for seed in 0..40 {
        let mut pair = Pair::open(seed);
        let loss = peerstack_netsim::LinkConfig::latency(ms(25))
            .with_loss(peerstack_netsim::LossModel::Uniform(0.3));
        for host in [&pair.a.host, &pair.b.host] {
            host.interfaces()[0].link().configure(loss.clone());
        }
        pair.start();
        assert!(pair.run_until(ms(10_000), Pair::both_connected), "seed {seed}");
    }
}

/// G36: where both families work, IPv6 is selected. S20: a change of role reaches pairs that exist.
#[test]
fn ipv6_is_preferred() {
    let mut pair = Pair::open(12);
    let internet = pair.lab.internet();
    for (peer, address) in [(&mut pair.a, "2001:db8::1"), (&mut pair.b, "2001:db8::2")] {
        peer.host.add_interface("eth1", peerstack_base::AdapterType::Ethernet, &internet, &[ip(address)]);
        let networks = peer.host.network_manager().networks();
        peer.channel.set_networks(pair.now, networks);
    }
    pair.connect();
    pair.run_for(ms(1000));
    for peer in [&pair.a, &pair.b] {
        let route = peer.channel.network_route().unwrap();
        assert!(route.local_ip.is_some_and(|ip| ip.is_ipv6()));
        assert_eq!(route.packet_overhead, 48);
    }
    pair.a.channel.set_ice_role(IceRole::Controlled);
    pair.b.channel.set_ice_role(IceRole::Controlling);
    pair.run_for(ms(5000));
    assert!(pair.both_connected());
    pair.exchange_data();
}
