//! Gathering ahead of a description, and filters that change.

use peerstack_base::Random;
use peerstack_netsim::{Lab, LinkConfig, Nat, StunServer, TurnServer, addr, ip};

use super::harness::*;
use crate::*;

use CandidateType::{Host, Relay, Srflx};

/// `a` behind a NAT with a STUN and a TURN server, 40 ms round trip; `b` in the open.
fn lab(configure: impl FnOnce(&mut P2PTransportChannelConfig)) -> Pair {
    let lab = Lab::new(1, origin());
    let internet = lab.internet();
    let turn = lab.host_at("turn", &internet, ip("198.51.100.7"));
    TurnServer::new(&turn, addr("198.51.100.7:3478"), &[ip("198.51.100.7")], &[("user", "pass")]);
    let stun = lab.host_at("stun", &internet, ip("198.51.100.9"));
    StunServer::new(&stun, addr("198.51.100.9:3478"));
    let nat = Nat::port_restricted("home", &internet, ip("203.0.113.1"));
    let hosts = [lab.host_at("a", &nat, ip("192.168.0.2")), lab.host_at("b", &internet, ip("192.0.2.2"))];
    for host in hosts.iter().chain([&turn, &stun]) {
        host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    }
    let [a, b] = hosts;
    let a = Peer::new(a, "a", 1, |config| {
        let server = |url: &str| IceServer {
            urls: vec![url.parse().unwrap()],
            username: "user".into(),
            password: "pass".into(),
        };
        config.port_allocator.ice_servers = vec![server("stun:198.51.100.9"), server("turn:198.51.100.7")];
        configure(config);
    });
    Pair::new(lab, a, Peer::new(b, "b", 2, |_| {}))
}

fn types(peer: &Peer) -> Vec<CandidateType> {
    peer.outbox.iter().map(|candidate| candidate.candidate_type).collect()
}

fn filter(types: &[CandidateType]) -> CandidateFilter {
    CandidateFilter {
        host: types.contains(&Host),
        srflx: types.contains(&Srflx),
        relay: types.contains(&Relay),
    }
}

fn gathering_states(peer: &Peer) -> Vec<IceGatheringState> {
    let state = |event: &IceTransportEvent| match event {
        IceTransportEvent::GatheringStateChange(state) => Some(*state),
        _ => None,
    };
    peer.events.iter().filter_map(|(_, event)| state(event)).collect()
}

/// A pair whose `a` gathered ahead for `millis`.
fn pooled(millis: u64, configure: impl FnOnce(&mut P2PTransportChannelConfig)) -> Pair {
    let mut pair = lab(configure);
    let parameters = new_parameters(&mut Random::from_seed(77));
    pair.a.channel.start_pooled_gathering(pair.now, parameters);
    pair.run_for(ms(millis));
    assert!(pair.a.events.is_empty(), "nothing is told: {:?}", pair.a.events);
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::New);
    pair
}

/// G17, G18, G27: what was gathered ahead is told at once when it is taken, finished as it is, by its own parameters.
#[test]
fn what_was_gathered_ahead_is_told_at_once() {
    let mut pair = pooled(2000, |_| {});
    let parameters = pair.a.channel.pooled_ice_parameters().unwrap();
    pair.a.parameters = parameters.clone();
    let sockets = pair.a.socket_ids();
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.settle();
    assert_eq!(types(&pair.a), [Host, Srflx, Relay]);
    assert!(pair.a.outbox.iter().all(|candidate| candidate.username_fragment == parameters.ufrag));
    let complete = [IceGatheringState::Gathering, IceGatheringState::Complete];
    assert_eq!(gathering_states(&pair.a), complete);
    assert_eq!(pair.a.channel.pooled_ice_parameters(), None);
    assert_eq!(pair.a.socket_ids(), sockets, "by the sockets it had");
    let last =
        pair.a.events.iter().rposition(|(_, event)| matches!(event, IceTransportEvent::CandidateGathered(_)));
    let end = pair.a.events.iter().position(|(_, event)| {
        *event == IceTransportEvent::GatheringStateChange(IceGatheringState::Complete)
    });
    assert!(last < end, "the end comes last");
}

/// G18: taken under other parameters, its ports and candidates get those, and it connects by them.
#[test]
fn a_pooled_session_takes_other_parameters() {
    let mut pair = pooled(2000, |_| {});
    let ufrag = pair.a.parameters.ufrag.clone();
    assert_ne!(pair.a.channel.pooled_ice_parameters().unwrap().ufrag, ufrag);
    pair.connect();
    let local = pair.a.channel.stats(pair.now).local_candidates;
    assert!(local.len() == 3 && local.iter().all(|candidate| candidate.username_fragment == ufrag));
    pair.exchange_data();
}

/// G37: a session that is taken before it is finished goes on, and connects by the sockets it had.
#[test]
fn an_unfinished_session_goes_on() {
    for millis in [0, 10, 60] {
        let mut pair = pooled(millis, |_| {});
        let sockets = pair.a.socket_ids();
        pair.connect();
        pair.exchange_data();
        assert_eq!(pair.a.socket_ids(), sockets);
    }
}

/// G17: the filter of the moment at which it is taken counts; a wider one tells the rest at once, a narrower one
/// takes nothing back.
#[test]
fn a_pooled_session_is_filtered_when_taken() {
    let mut pair = pooled(2000, |config| {
        config.port_allocator.candidate_filter = CandidateFilter::RELAY;
        config.ice_config.surface_ice_candidates_on_ice_transport_type_changed = true;
    });
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.settle();
    assert_eq!(types(&pair.a), [Relay]);
    assert_eq!(pair.a.outbox[0].related_address, Some(addr("0.0.0.0:0")));
    let set = |pair: &mut Pair, types: &[CandidateType]| {
        let mut config = pair.a.channel.port_allocator_config().clone();
        config.candidate_filter = filter(types);
        pair.a.channel.set_port_allocator_config(config);
        pair.a.channel.process(pair.now);
        pair.settle();
    };
    set(&mut pair, &[Srflx, Relay]);
    assert_eq!(types(&pair.a), [Relay, Srflx]);
    assert_eq!(pair.a.outbox[1].related_address, Some(addr("0.0.0.0:0")), "the host's address stays hidden");
    set(&mut pair, &[Host, Srflx, Relay]);
    assert_eq!(types(&pair.a), [Relay, Srflx, Host]);
    set(&mut pair, &[Relay]);
    assert_eq!(types(&pair.a).len(), 3);
    assert_eq!(pair.a.count(|event| matches!(event, IceTransportEvent::CandidatesRemoved(_))), 0);
    assert_eq!(gathering_states(&pair.a), [IceGatheringState::Gathering, IceGatheringState::Complete]);
}

/// G17: a port whose candidates are hidden is not paired, and not there for whoever finds it; once they are told it
/// is, and connects.
#[test]
fn hidden_ports_are_neither_paired_nor_answer() {
    let mut pair = lab(|config| {
        config.port_allocator.candidate_filter = CandidateFilter::RELAY;
        config.port_allocator.ice_servers.clear();
        config.ice_config.surface_ice_candidates_on_ice_transport_type_changed = true;
    });
    pair.start();
    pair.run_for(ms(2000));
    assert_eq!((types(&pair.a), pair.a.socket_ids().len()), (vec![], 1));
    assert_eq!((pair.a.channel.connections().count(), pair.b.channel.connections().count()), (0, 0));
    let mut config = pair.a.channel.port_allocator_config().clone();
    config.candidate_filter = CandidateFilter::ALL;
    pair.a.channel.set_port_allocator_config(config);
    pair.a.channel.process(pair.now);
    assert!(pair.run_until(ms(3000), Pair::both_connected));
    pair.exchange_data();
}
