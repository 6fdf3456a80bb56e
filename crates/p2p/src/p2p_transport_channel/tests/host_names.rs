//! Names in place of host addresses.

use std::net::IpAddr;

use peerstack_base::AdapterType;
use peerstack_netsim::{Lab, LinkConfig, Nat, NatConfig, StunServer, TurnServer, addr, ip};

use super::harness::*;
use crate::*;

fn hidden(config: &mut P2PTransportChannelConfig) {
    config.port_allocator.mdns_host_candidates = true;
}

fn told(peer: &Peer) -> Vec<Candidate> {
    let candidate = |event: &IceTransportEvent| match event {
        IceTransportEvent::CandidateGathered(candidate) => Some(candidate.clone()),
        _ => None,
    };
    peer.events.iter().filter_map(|(_, event)| candidate(event)).collect()
}

fn name_of(candidate: &Candidate) -> &str {
    let CandidateAddress::Name(name, _) = &candidate.address else { panic!("{candidate:?}") };
    name
}

/// RFC 9562 section 5.4.
fn assert_uuid_name(name: &str) {
    let uuid = name.strip_suffix(".local").unwrap();
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{name}");
    assert!(uuid.chars().all(|digit| digit == '-' || matches!(digit, '0'..='9' | 'a'..='f')), "{name}");
    assert!(
        uuid.as_bytes()[14] == b'4' && matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'),
        "{name}"
    );
}

/// All that a peer tells and shows of itself.
fn everything_shown(peer: &Peer) -> String {
    // The route is for the layers above alone.
    let own = |event: &&IceTransportEvent| {
        use IceTransportEvent::{NetworkRouteChange, SelectedCandidatePairChange};
        !matches!(event, SelectedCandidatePairChange(_) | NetworkRouteChange(_))
    };
    let events: Vec<_> = peer.events.iter().map(|(_, event)| event).filter(own).collect();
    let pairs = peer.events.iter().filter_map(|(_, event)| match event {
        IceTransportEvent::SelectedCandidatePairChange(change) => change.pair.clone(),
        _ => None,
    });
    let pairs: Vec<Candidate> =
        pairs.chain(peer.channel.selected_candidate_pair()).map(|pair| pair.local).collect();
    let stats = peer.channel.stats(origin());
    let of_pairs: Vec<_> = stats.connections.iter().map(|info| &info.local_candidate).collect();
    format!("{events:?} {pairs:?} {of_pairs:?} {:?}", stats.local_candidates)
}

/// G24: host candidates are told by name, one for each address and transport, and connect once it is looked up;
/// packets and checks go by the address, which nothing shows; the names are taken back with the transport.
#[test]
fn names_stand_for_host_addresses() {
    let mut pair = Pair::open_with(41, hidden, hidden);
    pair.trickle = false;
    pair.start();
    pair.run_for(ms(1));
    for (peer, address) in [(&pair.a, ip("192.0.2.1")), (&pair.b, ip("192.0.2.2"))] {
        let candidates = told(peer);
        let [host] = &candidates[..] else { panic!("{candidates:?}") };
        assert_uuid_name(name_of(host));
        assert_eq!((host.candidate_type, host.related_address), (CandidateType::Host, None));
        assert!(host.to_sdp().contains(name_of(host)));
        assert_eq!(peer.registered, [(name_of(host).to_owned(), address)].into());
    }
    let names = |peer: &Peer| peer.registered.iter().map(|(name, ip)| (name.clone(), vec![*ip])).collect();
    (pair.b.names, pair.a.names) = (names(&pair.a), names(&pair.b));
    assert_ne!(pair.a.names, pair.b.names);
    pair.trickle = true;
    assert!(pair.run_until(ms(3_000), Pair::both_connected));
    pair.exchange_data();
    for (peer, address) in [(&pair.a, "192.0.2.1"), (&pair.b, "192.0.2.2")] {
        let connection = peer.channel.selected_connection().unwrap();
        assert_eq!(connection.local_candidate().address.ip().unwrap().ip(), ip(address));
        let shown = everything_shown(peer);
        assert!(!shown.contains(address), "{shown}");
        assert_eq!(peer.channel.selected_candidate_pair().unwrap().local, told(peer)[0]);
        assert!(
            peer.channel.stats(origin()).connections.iter().all(|info| info.local_candidate == told(peer)[0])
        );
    }
    // What they know of each other is the candidate that was told, not another one.
    assert_eq!(pair.a.selected_types(), Some((CandidateType::Host, CandidateType::Host)));
    pair.a.channel.close(pair.now);
    pair.settle();
    assert!(pair.a.registered.is_empty() && !pair.b.registered.is_empty());
}

/// G24: reflexive and relayed candidates show no address of the host as the related one, and no foundation that is made
/// of it; equal foundations stay equal, different ones different. Errors show none either.
#[test]
fn other_candidates_do_not_give_the_address_away() {
    let gather = |hide: bool| {
        let lab = Lab::new(43, origin());
        let nat = Nat::new("home", &lab.internet(), ip("203.0.113.2"), NatConfig::port_restricted());
        let (turn, stun) = (
            lab.host_at("turn", &lab.internet(), ip("198.51.100.7")),
            lab.host_at("stun", &lab.internet(), ip("198.51.100.9")),
        );
        StunServer::new(&stun, addr("198.51.100.9:3478"));
        TurnServer::new(&turn, addr("198.51.100.7:3478"), &[ip("198.51.100.7")], &[("user", "pass")]);
        let (a, b) =
            (lab.host_at("a", &nat, ip("192.168.0.2")), lab.host_at("b", &lab.internet(), ip("192.0.2.2")));
        let a = Peer::new(a, "a", 1, |config| {
            config.port_allocator.mdns_host_candidates = hide;
            config.port_allocator.tcp_candidates = TcpCandidatePolicy::ActivePassive;
            config.port_allocator.ice_servers = ["stun:198.51.100.9", "stun:192.0.2.77", "turn:198.51.100.7"]
                .map(|url| IceServer {
                    urls: vec![url.parse().unwrap()],
                    username: "user".into(),
                    password: "pass".into(),
                })
                .into();
        });
        let mut pair = Pair::new(lab, a, Peer::new(b, "b", 2, |_| {}));
        pair.a.gather(pair.now);
        pair.run_for(ms(45_000));
        pair
    };
    let (plain, pair) = (gather(false), gather(true));
    assert!(everything_shown(&plain.a).contains("192.168.0.2"), "the test can fail");
    let shown = everything_shown(&pair.a);
    assert!(!shown.contains("192.168.0.2"), "{shown}");
    let (plain, hidden) = (told(&plain.a), told(&pair.a));
    assert_eq!(plain.len(), hidden.len());
    for (plain, hidden) in plain.iter().zip(&hidden) {
        assert_ne!(plain.foundation, hidden.foundation);
        assert_eq!((plain.candidate_type, plain.priority), (hidden.candidate_type, hidden.priority));
        match hidden.candidate_type {
            CandidateType::Host => assert_uuid_name(name_of(hidden)),
            _ => assert_eq!(hidden.related_address, Some(addr("0.0.0.0:0")), "{hidden:?}"),
        }
    }
    for (one, first) in plain.iter().enumerate() {
        for (other, second) in plain.iter().enumerate() {
            let same = hidden[one].foundation == hidden[other].foundation;
            assert_eq!(first.foundation == second.foundation, same);
        }
    }
    let errors = pair.a.events.iter().filter_map(|(_, event)| match event {
        IceTransportEvent::CandidateError(error) => Some((error.address.as_str(), error.port)),
        _ => None,
    });
    assert_eq!(errors.collect::<Vec<_>>(), [("", None)]);
    // UDP and TCP share the name of their address.
    let mut names: Vec<&str> =
        hidden.iter().filter(|host| host.candidate_type == CandidateType::Host).map(name_of).collect();
    assert!(names.len() > 1);
    names.dedup();
    assert_eq!(names.len(), 1);
}

/// G19, G24: a host without a NAT tells what a STUN server sees of it, once, although that is its own address: behind
/// the name nobody knows. So a peer connects that cannot look names up. Without names it would add nothing.
#[test]
fn a_public_host_behind_a_name_tells_its_reflexive_address() {
    for hide in [true, false] {
        let lab = Lab::new(59, origin());
        for server in ["198.51.100.9", "198.51.100.10"] {
            let host = lab.host_at(server, &lab.internet(), ip(server));
            StunServer::new(&host, addr(&format!("{server}:3478")));
        }
        let host = |name, address| lab.host_at(name, &lab.internet(), ip(address));
        let a = Peer::new(host("a", "192.0.2.1"), "a", 1, |config| {
            config.port_allocator.mdns_host_candidates = hide;
            let url = |server: &str| format!("stun:{server}").parse().unwrap();
            config.port_allocator.ice_servers = vec![IceServer {
                urls: vec![url("198.51.100.9"), url("198.51.100.10")],
                username: String::new(),
                password: String::new(),
            }];
        });
        let b = Peer::new(host("b", "192.0.2.2"), "b", 2, |_| {});
        let mut pair = Pair::new(lab, a, b);
        pair.start();
        assert!(pair.run_until(ms(3_000), Pair::both_connected));
        let candidates = told(&pair.a);
        if !hide {
            assert!(matches!(&candidates[..], [host] if host.candidate_type == CandidateType::Host));
            continue;
        }
        let [host, reflexive] = &candidates[..] else { panic!("{candidates:?}") };
        assert_uuid_name(name_of(host));
        let ip_of = |candidate: &Candidate| candidate.address.ip().map(|address| address.ip());
        assert_eq!(reflexive.candidate_type, CandidateType::Srflx);
        assert_eq!(
            (ip_of(reflexive), host.address.port()),
            (Some(ip("192.0.2.1")), reflexive.address.port())
        );
        assert_eq!(reflexive.related_address, Some(addr("0.0.0.0:0")));
        // `b` knows no names.
        let remote = pair.b.channel.selected_candidate_pair().unwrap().remote;
        assert_eq!(ip_of(&remote), Some(ip("192.0.2.1")));
        assert_eq!(remote.candidate_type, CandidateType::Srflx);
        assert_eq!(pair.a.channel.selected_candidate_pair().unwrap().local, *host);
    }
}

/// G24: a name goes with its address and comes back with it; a restart and another network change no name.
#[test]
fn names_follow_the_networks() {
    let mut pair = Pair::open_with(47, hidden, |_| {});
    pair.connect();
    let networks = pair.a.host.network_manager().networks();
    let before = pair.a.registered.clone();
    let wifi =
        pair.a.host.add_interface("wlan0", AdapterType::Wifi, &pair.lab.internet(), &[ip("192.0.2.9")]);
    wifi.link().configure(LinkConfig::latency(ms(10)));
    let both = pair.a.host.network_manager().networks();
    pair.a.parameters.ufrag = "next".into();
    pair.a.channel.set_networks(pair.now, both.clone());
    pair.a.gather(pair.now);
    pair.settle();
    let addresses =
        |peer: &Peer| peer.registered.values().copied().collect::<std::collections::BTreeSet<IpAddr>>();
    assert_eq!(addresses(&pair.a), [ip("192.0.2.1"), ip("192.0.2.9")].into());
    assert!(before.iter().all(|(name, ip)| pair.a.registered.get(name) == Some(ip)));
    let with_both = pair.a.registered.clone();
    pair.a.channel.set_networks(pair.now, networks);
    pair.settle();
    assert_eq!(pair.a.registered, before);
    pair.a.parameters.ufrag = "last".into();
    pair.a.channel.set_networks(pair.now, both);
    pair.a.gather(pair.now);
    pair.settle();
    assert_eq!(pair.a.registered, with_both);
}

/// G24: an address that was configured to be shown is shown, and no name made for it.
#[test]
fn configured_addresses_are_shown() {
    let mapping = NatOneToOne::new(NatOneToOneMode::Host).with_external(ip("203.0.113.1")).unwrap();
    let configure = |config: &mut P2PTransportChannelConfig| {
        hidden(config);
        config.port_allocator.nat_one_to_one = mapping;
    };
    let mut pair = Pair::open_with(53, configure, |_| {});
    pair.start();
    pair.settle();
    let candidates = told(&pair.a);
    assert_eq!(candidates[0].address.ip().unwrap().ip(), ip("203.0.113.1"));
    assert!(pair.a.registered.is_empty());
    assert!(!everything_shown(&pair.a).contains("192.0.2.1"));
}
