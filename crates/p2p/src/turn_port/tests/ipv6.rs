//! Relays by IPv6, and relays of another family than the way to their server.

use std::net::{IpAddr, SocketAddr};

use peerstack_netsim::{FirewallPolicy, Lab, LinkConfig, TurnServer, addr, ip};

use crate::p2p_transport_channel::tests::harness::*;
use crate::*;

/// A host at `ours` with a TURN server at `server` that relays from `relay`, and a peer at `peer`, which lets nothing in
/// but from the relay.
fn relayed(ours: &str, server: &str, relay: &str, peer: &str) -> (Pair, TurnServer) {
    let lab = Lab::new(1, origin());
    let internet = lab.internet();
    let turn = lab.host("turn");
    let ips: Vec<IpAddr> = [ip(server), ip(relay)].into_iter().collect();
    turn.add_interface("eth0", peerstack_base::AdapterType::Ethernet, &internet, &ips);
    let at = SocketAddr::new(ip(server), 3478);
    let turn_server = TurnServer::new(&turn, at, &[ip(relay)], &[("user", "pass")]);
    let (a, b) = (lab.host_at("a", &internet, ip(ours)), lab.host_at("b", &internet, ip(peer)));
    for host in [&a, &b, &turn] {
        host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    }
    let a = Peer::new(a, "a", 1, |config| {
        let host = if at.is_ipv6() { format!("[{}]", at.ip()) } else { at.ip().to_string() };
        config.port_allocator.ice_servers = vec![IceServer {
            urls: vec![format!("turn:{host}").parse().unwrap()],
            username: "user".into(),
            password: "pass".into(),
        }];
        config.port_allocator.candidate_filter = CandidateFilter::RELAY;
    });
    (Pair::new(lab, a, Peer::new(b, "b", 2, |_| {})), turn_server)
}

/// U13: a server that relays by IPv6 alone refuses what it is asked first (440), and is asked for IPv6; an IPv6 peer is
/// reached by it, with a permission, by a channel, for as long as it is refreshed.
#[test]
fn an_ipv6_peer_is_reached_by_an_ipv6_relay() {
    for (ours, server) in [("2001:db8::1", "2001:db8::7"), ("192.0.2.1", "192.0.2.7")] {
        let (mut pair, turn) = relayed(ours, server, "2001:db8:1::7", "2001:db8::2");
        pair.connect();
        assert_eq!(pair.a.selected_types().unwrap().0, CandidateType::Relay);
        let local = pair.a.channel.selected_candidate_pair().unwrap().local;
        assert_eq!(local.address.ip().unwrap().ip(), ip("2001:db8:1::7"));
        assert!(turn.allocations()[0].1.is_ipv6());
        pair.exchange_data();
        pair.run_for(ms(700_000));
        pair.exchange_data();
        assert_eq!(pair.a.channel.state(), IceTransportState::Connected);
    }
}

/// U13: a relay of another family than the way to its server reaches peers of its own family, and is paired with no
/// other.
#[test]
fn an_ipv4_peer_is_reached_from_an_ipv6_host() {
    let (mut pair, turn) = relayed("2001:db8::1", "2001:db8::7", "198.51.100.7", "192.0.2.2");
    pair.connect();
    assert!(turn.allocations()[0].0.is_ipv6() && turn.allocations()[0].1.is_ipv4());
    pair.exchange_data();
    let (mut pair, turn) = relayed("2001:db8::1", "2001:db8::7", "198.51.100.7", "2001:db8::2");
    pair.start();
    pair.run_for(ms(5000));
    assert_eq!((turn.allocations().len(), pair.a.channel.connections().count()), (1, 0));
}

/// A server that refuses either family is told with its code; gathering completes.
#[test]
fn a_server_without_any_family_is_told() {
    let (mut pair, turn) = relayed("2001:db8::1", "2001:db8::7", "2001:db8:1::7", "2001:db8::2");
    turn.configure(|config| {
        config.refuse.insert(
            peerstack_stun::Method::ALLOCATE,
            peerstack_stun::error_code::ADDRESS_FAMILY_NOT_SUPPORTED,
        );
    });
    pair.start();
    pair.run_for(ms(5000));
    let codes: Vec<u16> = pair
        .a
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            IceTransportEvent::CandidateError(error) => Some(error.error_code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [440]);
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
}

/// U14: the pair of an address was destroyed: a check from there comes from an unknown address again, and makes a new
/// pair that carries data; and signalled anew it can be paired anew.
#[test]
fn the_address_of_a_destroyed_pair_can_be_paired_again() {
    let lab = Lab::new(1, origin());
    let internet = lab.internet();
    let turn = lab.host_at("turn", &internet, ip("198.51.100.7"));
    TurnServer::new(&turn, addr("198.51.100.7:3478"), &[ip("198.51.100.7")], &[("user", "pass")]);
    let wall = lab.firewall("wall", &internet, FirewallPolicy::AllowAll);
    let (a, b) = (lab.host_at("a", &internet, ip("192.0.2.1")), lab.host_at("b", &wall, ip("192.0.2.2")));
    for host in [&a, &b, &turn] {
        host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    }
    let a = Peer::new(a, "a", 1, |config| {
        config.port_allocator.ice_servers = vec![super::transport::with_url("turn:198.51.100.7")];
        config.port_allocator.candidate_filter = CandidateFilter::RELAY;
    });
    let mut pair = Pair::new(lab, a, Peer::new(b, "b", 2, |_| {}));
    pair.connect();
    pair.exchange_data();
    let id = |pair: &Pair| pair.a.channel.selected_connection().map(Connection::id);
    let remote = pair.a.channel.selected_connection().unwrap().remote_candidate().address.clone();
    let first = id(&pair);
    pair.b.host.interfaces()[0].link().set_up(false);
    assert!(pair.run_until(ms(60_000), |pair| pair.a.channel.connections().next().is_none()), "destroyed");
    pair.b.host.interfaces()[0].link().set_up(true);
    let candidates = [
        (pair.a.channel.stats(pair.now).local_candidates, false),
        (pair.b.channel.stats(pair.now).local_candidates, true),
    ];
    for (candidates, to_a) in candidates {
        for candidate in candidates {
            let peer = if to_a { &mut pair.a } else { &mut pair.b };
            peer.channel.add_remote_candidate(pair.now, candidate);
        }
    }
    assert!(pair.run_until(ms(20_000), Pair::both_connected), "paired again");
    let again = pair.a.channel.selected_connection().unwrap();
    assert_eq!(again.remote_candidate().address, remote);
    assert_ne!(Some(again.id()), first);
    pair.exchange_data();
}
