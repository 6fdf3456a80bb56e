//! A host behind a NAT that has an address for it alone, and that is told so instead of asking a STUN server.

use peerstack_netsim::{Host, Lab, LinkConfig, Nat, NatConfig, StunServer, addr, ip};

use super::harness::*;
use crate::*;

fn mapping(mode: NatOneToOneMode) -> NatOneToOne {
    NatOneToOne::new(mode).with_external(ip("203.0.113.1")).unwrap()
}

/// The server behind its NAT, and a client behind another.
fn pair(client_nat: NatConfig, configure: impl FnOnce(&mut P2PTransportChannelConfig)) -> Pair {
    let lab = Lab::new(1, origin());
    let cloud = Nat::new("cloud", &lab.internet(), ip("203.0.113.1"), NatConfig::one_to_one(ip("10.0.0.2")));
    let home = Nat::new("home", &lab.internet(), ip("203.0.113.2"), client_nat);
    let (server, client) =
        (lab.host_at("server", &cloud, ip("10.0.0.2")), lab.host_at("client", &home, ip("192.168.0.2")));
    for host in [&server, &client] {
        let host: &Host = host;
        host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    }
    Pair::new(lab, Peer::new(client, "a", 1, |_| {}), Peer::new(server, "b", 2, configure))
}

fn told(peer: &Peer) -> Vec<Candidate> {
    let candidate = |event: &IceTransportEvent| match event {
        IceTransportEvent::CandidateGathered(candidate) => Some(candidate.clone()),
        _ => None,
    };
    peer.events.iter().filter_map(|(_, event)| candidate(event)).collect()
}

/// The host candidate shows the external address and nothing of the local one; a client behind any NAT connects.
#[test]
fn host_candidates_show_the_external_address() {
    for nat in [NatConfig::full_cone(), NatConfig::port_restricted(), NatConfig::symmetric()] {
        let mut pair =
            pair(nat, |config| config.port_allocator.nat_one_to_one = mapping(NatOneToOneMode::Host));
        pair.connect();
        let candidates = told(&pair.b);
        let [host] = &candidates[..] else { panic!("{candidates:?}") };
        assert_eq!((host.candidate_type, host.related_address), (CandidateType::Host, None));
        assert_eq!(host.address.ip().unwrap().ip(), ip("203.0.113.1"));
        assert!(!host.to_sdp().contains("10.0.0.2"));
        // What the peer sees of us is that candidate, not a new one.
        let selected = pair.b.channel.selected_candidate_pair().unwrap();
        assert_eq!(&selected.local, host);
        pair.exchange_data();
    }
}

/// The host candidate stays, and a server-reflexive one is beside it.
#[test]
fn server_reflexive_candidates_are_added() {
    let mut pair = pair(NatConfig::symmetric(), |config| {
        config.port_allocator.nat_one_to_one = mapping(NatOneToOneMode::ServerReflexive);
    });
    pair.connect();
    let candidates = told(&pair.b);
    let [host, srflx] = &candidates[..] else { panic!("{candidates:?}") };
    let (host_address, srflx_address) = (host.address.ip().unwrap(), srflx.address.ip().unwrap());
    assert_eq!((host_address.ip(), srflx_address.ip()), (ip("10.0.0.2"), ip("203.0.113.1")));
    assert_eq!((srflx.candidate_type, srflx.related_address), (CandidateType::Srflx, Some(host_address)));
    assert_eq!(srflx_address.port(), host_address.port());
    assert!(srflx.priority < host.priority && srflx.foundation != host.foundation);
    assert_eq!(pair.b.selected_types().unwrap().0, CandidateType::Srflx);
    pair.exchange_data();
}

/// A STUN server that sees what was configured adds nothing.
#[test]
fn what_a_stun_server_sees_is_not_told_twice() {
    for mode in [NatOneToOneMode::Host, NatOneToOneMode::ServerReflexive] {
        let mut pair = pair(NatConfig::full_cone(), |config| {
            config.port_allocator.nat_one_to_one = mapping(mode);
            let urls = vec!["stun:198.51.100.9".parse().unwrap()];
            config.port_allocator.ice_servers = vec![IceServer { urls, ..IceServer::default() }];
        });
        let stun = pair.lab.host_at("stun", &pair.lab.internet(), ip("198.51.100.9"));
        let server = StunServer::new(&stun, addr("198.51.100.9:3478"));
        pair.connect();
        pair.run_for(ms(1_000));
        assert!(server.requests() > 0);
        let external =
            told(&pair.b).iter().filter(|told| told.address.ip().unwrap().ip() == ip("203.0.113.1")).count();
        assert_eq!(external, 1, "{:?}", told(&pair.b));
    }
}

/// Without the configuration nobody reaches the server: the test can fail.
#[test]
fn without_the_mapping_there_is_no_way_in() {
    let mut pair = pair(NatConfig::symmetric(), |_| {});
    pair.start();
    pair.a.channel.set_ice_role(IceRole::Controlling);
    assert!(told(&pair.b).iter().all(|told| told.address.ip().unwrap().ip() == ip("10.0.0.2")));
    let reached = pair.run_until(ms(3_000), |pair| pair.a.channel.writable());
    // The client's checks to the private address go nowhere, but the server's own reach the client only if its
    // NAT lets them in, which a symmetric one does not.
    assert!(!reached);
}

/// TCP candidates that listen are mapped as UDP's are, those that connect have no port to map.
#[test]
fn tcp_candidates_are_mapped_where_they_listen() {
    for (mode, policy, expected) in [
        (NatOneToOneMode::Host, TcpCandidatePolicy::ActivePassive, vec!["203.0.113.1"]),
        (NatOneToOneMode::Host, TcpCandidatePolicy::Active, vec!["203.0.113.1"]),
        (
            NatOneToOneMode::ServerReflexive,
            TcpCandidatePolicy::ActivePassive,
            vec!["10.0.0.2", "203.0.113.1"],
        ),
        (NatOneToOneMode::ServerReflexive, TcpCandidatePolicy::Active, vec!["10.0.0.2"]),
    ] {
        let mut pair = pair(NatConfig::full_cone(), |config| {
            config.port_allocator.nat_one_to_one = mapping(mode);
            config.port_allocator.tcp_candidates = policy;
        });
        pair.b.gather(pair.now);
        pair.run_for(ms(1_000));
        let tcp: Vec<String> = told(&pair.b)
            .iter()
            .filter(|told| told.protocol == IceProtocol::Tcp)
            .map(|told| told.address.ip().unwrap().ip().to_string())
            .collect();
        assert_eq!(tcp, expected, "{mode:?} {policy:?}");
    }
}
