//! Gathering: candidates, STUN servers, filters, errors, completion.

use std::time::{Duration, Instant};

use peerstack_base::AdapterType;
use peerstack_netsim::{Host, Lab, LinkConfig, Nat, StunServer, addr, ip};
use peerstack_stun::ServerUrl;

use super::harness::*;
use crate::*;

fn server(url: &str) -> IceServer {
    let url: ServerUrl = url.parse().unwrap();
    IceServer { urls: vec![url], ..IceServer::default() }
}

/// A host behind a NAT, a STUN server, 10 ms from the middle each.
struct Home {
    lab: Lab,
    host: Host,
    server: StunServer,
}

impl Home {
    fn new() -> Self {
        let lab = Lab::new(1, origin());
        let nat = Nat::port_restricted("home", &lab.internet(), ip("59.109.147.213"));
        let host = lab.host("a");
        host.add_interface("en0", AdapterType::Wifi, &nat, &[ip("192.168.50.49")]);
        host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
        let stun = lab.host_at("stun", &lab.internet(), ip("198.51.100.9"));
        let server = StunServer::new(&stun, addr("198.51.100.9:3478"));
        Self { lab, host, server }
    }

    fn gather(self, configure: impl FnOnce(&mut P2PTransportChannelConfig)) -> (Pair, StunServer) {
        let a = Peer::new(self.host, "a", 1, configure);
        let other = self.lab.host_at("b", &self.lab.internet(), ip("192.0.2.2"));
        let b = Peer::new(other, "b", 2, |_| {});
        let mut pair = Pair::new(self.lab, a, b);
        pair.trickle = false;
        pair.a.gather(pair.now);
        pair.settle();
        (pair, self.server)
    }
}

fn gathered(peer: &Peer) -> Vec<(CandidateType, String)> {
    peer.outbox.iter().map(|candidate| (candidate.candidate_type, candidate.address.to_string())).collect()
}

fn errors(peer: &Peer) -> Vec<CandidateErrorEvent> {
    let error = |event: &IceTransportEvent| match event {
        IceTransportEvent::CandidateError(error) => Some(error.clone()),
        _ => None,
    };
    peer.events.iter().filter_map(|(_, event)| error(event)).collect()
}

/// The second seed's appendix two: order, types and priorities of a Wi-Fi network's candidates. G01, G33,
/// G18: raddr, and one ufrag for all.
#[test]
fn candidates_as_in_the_log_of_the_design() {
    let (mut pair, _) = Home::new().gather(|config| {
        config.port_allocator.ice_servers = vec![server("stun:198.51.100.9:3478")];
    });
    assert_eq!(pair.a.outbox.len(), 1, "the host candidate is there at once");
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Gathering);
    pair.run_for(ms(1000));
    let ufrag = pair.a.parameters.ufrag.clone();
    let lines: Vec<String> = pair.a.outbox.iter().map(Candidate::to_sdp).collect();
    let port = pair.a.outbox[0].address.port();
    let mapped = pair.a.outbox[1].address.port();
    let foundations: Vec<&str> = pair.a.outbox.iter().map(|c| c.foundation.as_str()).collect();
    assert_eq!(
        lines,
        [
            format!(
                "candidate:{} 1 udp 2122260223 192.168.50.49 {port} typ host generation 0 ufrag {ufrag} \
                 network-id 1 network-cost 10",
                foundations[0]
            ),
            format!(
                "candidate:{} 1 udp 1686052607 59.109.147.213 {mapped} typ srflx raddr 192.168.50.49 rport \
                 {port} generation 0 ufrag {ufrag} network-id 1 network-cost 10",
                foundations[1]
            ),
        ]
    );
    assert_ne!(foundations[0], foundations[1], "G32");
    assert_eq!(pair.a.outbox[1].url.as_deref(), Some("stun:198.51.100.9:3478"));
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    let gathering: Vec<_> = pair
        .a
        .events
        .iter()
        .filter_map(|(at, event)| match event {
            IceTransportEvent::GatheringStateChange(state) => Some((*at, *state)),
            _ => None,
        })
        .collect();
    assert_eq!(gathering, [(ms(0), IceGatheringState::Gathering), (ms(20), IceGatheringState::Complete)]);
}

/// G19, N04: without a NAT the server-reflexive candidate would be the host's: dropped, one port only.
#[test]
fn a_public_host_has_no_server_reflexive_candidate() {
    let lab = Lab::new(1, origin());
    let stun = lab.host_at("stun", &lab.internet(), ip("198.51.100.9"));
    let stun = StunServer::new(&stun, addr("198.51.100.9:3478"));
    let host = lab.host_at("a", &lab.internet(), ip("192.0.2.1"));
    let (mut pair, stun) = Home { lab, host, server: stun }.gather(|config| {
        config.port_allocator.ice_servers = vec![server("stun:198.51.100.9")];
    });
    pair.run_for(ms(500));
    assert_eq!(stun.requests(), 1);
    assert_eq!(pair.a.outbox.len(), 1);
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    assert_eq!(pair.a.socket_ids().len(), 1);
}

/// G15, T01, I13: an unreachable server: completes after its time-out, error 701 with its URL; G30: the other
/// server is not held up.
#[test]
fn an_unreachable_server_ends_in_701() {
    let (mut pair, stun) = Home::new().gather(|config| {
        config.port_allocator.ice_servers =
            vec![server("stun:198.51.100.9"), server("stun:203.0.113.77:3479")];
    });
    stun.configure(|config| config.answers = true);
    pair.run_for(ms(39_000));
    assert_eq!(pair.a.outbox.len(), 2, "G30: one bad server does not block the other");
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Gathering);
    pair.run_for(ms(1000));
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    let errors = errors(&pair.a);
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].error_code, errors[0].url.as_str()), (701, "stun:203.0.113.77:3479"));
    assert_eq!(errors[0].address, "192.168.50.49");
    assert_eq!(errors[0].port, Some(pair.a.outbox[0].address.port()));
    let done =
        pair.a.when(|event| *event == IceTransportEvent::GatheringStateChange(IceGatheringState::Complete));
    assert_eq!(done, Some(ms(39_750)));
}

/// G28, G21: a server by name; a name that does not resolve gives an error and ends; one of the other family
/// ends without.
#[test]
fn servers_by_name() {
    let home = Home::new();
    let (mut pair, _) = home.gather(|config| {
        config.port_allocator.ice_servers = vec![
            server("stun:stun.example"),
            server("stun:gone.example"),
            server("stun:six.example"),
            server("stun:[2001:db8::9]"),
        ];
    });
    pair.a.names.insert("stun.example".into(), vec![ip("198.51.100.9")]);
    // The first look-ups were answered with nothing while gathering began: begin anew.
    pair.a.names.insert("six.example".into(), vec![ip("2001:db8::9")]);
    pair.a.parameters = new_parameters(&mut peerstack_base::Random::from_seed(5));
    pair.a.outbox.clear();
    pair.a.events.clear();
    pair.a.gather(pair.now);
    pair.run_for(ms(500));
    assert_eq!(pair.a.outbox.len(), 2);
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    let urls: Vec<String> = errors(&pair.a).into_iter().map(|error| error.url).collect();
    assert_eq!(urls, ["stun:gone.example:3478"]);
}

/// G30: two servers, same mapped address: one candidate; G29, T11: keep-alives every 10 s make no more.
#[test]
fn keep_alives_make_no_candidates() {
    let home = Home::new();
    let other = home.lab.host_at("stun2", &home.lab.internet(), ip("198.51.100.10"));
    let second = StunServer::new(&other, addr("198.51.100.10:3478"));
    let (mut pair, stun) = home.gather(|config| {
        config.port_allocator.ice_servers = vec![server("stun:198.51.100.9"), server("stun:198.51.100.10")];
    });
    pair.run_for(ms(9_900));
    assert_eq!((stun.requests(), second.requests()), (1, 1));
    pair.run_for(ms(30_000));
    assert_eq!((stun.requests(), second.requests()), (4, 4));
    assert_eq!(pair.a.outbox.len(), 2);
    assert!(errors(&pair.a).is_empty());
    assert!(!stun.address().ip().is_loopback());
}

/// T11: on a costly network mappings are kept alive for two minutes.
#[test]
fn keep_alives_end_on_a_costly_network() {
    let home = Home::new();
    home.host.interfaces()[0].set_adapter_type(AdapterType::Cellular);
    let (mut pair, stun) = home.gather(|config| {
        config.port_allocator.ice_servers = vec![server("stun:198.51.100.9")];
    });
    pair.run_for(ms(130_000));
    let requests = stun.requests();
    assert!((12..=13).contains(&requests), "{requests}");
    pair.run_for(ms(60_000));
    assert_eq!(stun.requests(), requests);
}

/// An error response gives an event with its code.
#[test]
fn an_error_of_a_server_is_told() {
    let home = Home::new();
    home.server.configure(|config| config.error = Some(500));
    let (mut pair, _) = home.gather(|config| {
        config.port_allocator.ice_servers = vec![server("stun:198.51.100.9")];
    });
    pair.run_for(ms(100));
    assert_eq!(errors(&pair.a)[0].error_code, 500);
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
}

/// G16, G13: `relay` tells nothing here; host only; server-reflexive only hides the host's address; it completes even
/// if nothing is let through.
#[test]
fn filters() {
    let filtered = |filter: CandidateFilter| {
        let (mut pair, _) = Home::new().gather(|config| {
            config.port_allocator.ice_servers = vec![server("stun:198.51.100.9")];
            config.port_allocator.candidate_filter = filter;
        });
        pair.run_for(ms(500));
        assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete, "G13");
        let related: Vec<_> = pair.a.outbox.iter().map(|candidate| candidate.related_address).collect();
        let types: Vec<_> = gathered(&pair.a).into_iter().map(|(kind, _)| kind).collect();
        (types, related)
    };
    assert_eq!(filtered(CandidateFilter::RELAY).0, []);
    assert_eq!(filtered(CandidateFilter::NONE).0, []);
    let host = CandidateFilter { host: true, srflx: false, relay: false };
    assert_eq!(filtered(host), (vec![CandidateType::Host], vec![None]));
    let srflx = CandidateFilter { host: false, srflx: true, relay: false };
    assert_eq!(filtered(srflx), (vec![CandidateType::Srflx], vec![Some(addr("0.0.0.0:0"))]));
}

/// G08: every local socket lies in the range; a range that is used up gives no candidate and completes.
#[test]
fn ports_lie_in_the_range() {
    let (pair, _) = Home::new().gather(|config| {
        config.port_allocator.port_range = Some(peerstack_base::PortRange { min: 5000, max: 5001 });
    });
    assert!((5000..=5001).contains(&pair.a.outbox[0].address.port()));
}

/// G14, G07: binding fails: gathering completes empty; when the networks change, it is tried again.
#[test]
fn failing_sockets_end_gathering_empty() {
    let home = Home::new();
    home.host.interfaces()[0].set_bind_error(Some(std::io::ErrorKind::AddrNotAvailable));
    let (mut pair, _) = home.gather(|_| {});
    assert!(pair.a.outbox.is_empty());
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    pair.a.host.interfaces()[0].set_bind_error(None);
    let networks = pair.a.host.network_manager().networks();
    pair.a.channel.set_networks(pair.now, networks);
    pair.settle();
    assert_eq!(pair.a.outbox.len(), 1);
}

/// G06, G26, G40: an interface that comes up while the session runs is gathered on, with a local preference of
/// its own (G25); not once it was stopped by a strong pair.
#[test]
fn new_interfaces_are_gathered_on_until_connected() {
    let mut pair = Pair::open(1);
    pair.a.gather(pair.now);
    pair.settle();
    let internet = pair.lab.internet();
    pair.a.host.add_interface("eth1", AdapterType::Ethernet, &internet, &[ip("192.0.2.11")]);
    let networks = pair.a.host.network_manager().networks();
    pair.a.channel.set_networks(pair.now, networks);
    pair.settle();
    let host = |peer: &Peer| peer.channel.stats(origin()).local_candidates.len();
    assert_eq!(host(&pair.a), 2);
    let priorities: Vec<u32> =
        pair.a.channel.stats(pair.now).local_candidates.iter().map(|candidate| candidate.priority).collect();
    assert!(priorities[0] != priorities[1], "G25");

    pair.connect();
    pair.a.host.add_interface("eth2", AdapterType::Ethernet, &internet, &[ip("192.0.2.12")]);
    let networks = pair.a.host.network_manager().networks();
    pair.a.channel.set_networks(pair.now, networks);
    pair.settle();
    assert_eq!(host(&pair.a), 2, "G40: stopped by a strong pair");
}

fn continually(config: &mut P2PTransportChannelConfig) {
    config.ice_config.continual_gathering_policy = ContinualGatheringPolicy::GatherContinually;
}

fn networks_changed(pair: &mut Pair) {
    let networks = pair.a.host.network_manager().networks();
    pair.a.channel.set_networks(pair.now, networks);
}

/// G38, S11: continual gathering: a new interface yields new pairs although connected; one that goes takes its
/// candidates back, the peer is told, and the other one carries the data.
#[test]
fn continual_gathering_follows_the_interfaces() {
    let mut pair = Pair::open_with(1, continually, |_| {});
    pair.connect();
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Gathering, "never complete");
    let internet = pair.lab.internet();
    pair.a.host.add_interface("eth1", AdapterType::Ethernet, &internet, &[ip("192.0.2.11")]);
    networks_changed(&mut pair);
    pair.run_for(ms(2000));
    assert_eq!(pair.a.channel.stats(pair.now).local_candidates.len(), 2);
    assert_eq!(pair.a.channel.stats(pair.now).connections.len(), 2);
    let first = pair.a.channel.selected_candidate_pair().unwrap().local;
    let gone = usize::from(first.address.ip().unwrap().ip() == ip("192.0.2.11"));
    pair.a.host.interfaces()[gone].set_up(false);
    networks_changed(&mut pair);
    let removed = pair.run_until(ms(100), |pair| {
        pair.a.count(|event| matches!(event, IceTransportEvent::CandidatesRemoved(_))) == 1
    });
    assert!(removed);
    assert_eq!(pair.a.channel.stats(pair.now).local_candidates.len(), 1);
    pair.run_for(ms(8000));
    let now = pair.a.channel.selected_candidate_pair().unwrap().local;
    assert_ne!(now.address, first.address);
    pair.exchange_data();
}

/// S11: a network that is told to be gone is left as soon as another pair works, not when its loss shows by silence; on
/// either side.
#[test]
fn a_network_that_goes_is_left_at_once() {
    for controlling in [true, false] {
        let lab = Lab::new(1, origin());
        let (one, two) = (lab.host_at("a", &lab.internet(), ip("192.0.2.1")), ip("192.0.2.11"));
        one.add_interface("eth1", AdapterType::Ethernet, &lab.internet(), &[two]);
        let other = lab.host_at("b", &lab.internet(), ip("192.0.2.2"));
        let (a, b) = (Peer::new(one, "a", 1, |_| {}), Peer::new(other, "b", 2, |_| {}));
        let mut pair = if controlling { Pair::new(lab, a, b) } else { Pair::new(lab, b, a) };
        pair.connect();
        // Both pairs work, and are checked often enough to be known to.
        pair.run_for(ms(3000));
        let moving = |pair: &mut Pair, act: fn(&mut Peer, Instant, usize)| {
            let now = pair.now;
            let peer = if controlling { &mut pair.a } else { &mut pair.b };
            let ip = peer.channel.selected_candidate_pair().unwrap().local.address.ip().unwrap().ip();
            act(peer, now, usize::from(ip == self::ip("192.0.2.11")));
            ip
        };
        let before = moving(&mut pair, |peer, now, used| {
            peer.host.interfaces()[used].set_up(false);
            let networks = peer.host.network_manager().networks();
            peer.channel.set_networks(now, networks);
        });
        // One check of the other pair, which as a reserve is checked every 25 s and so does not receive.
        pair.run_for(ms(200));
        let after = moving(&mut pair, |_, _, _| {});
        assert_ne!(before, after, "controlling: {controlling}");
    }
}

/// S11, S02: the controlled side, which had pruned the pair of its only network that the controlling side turns to,
/// checks it again and follows the data, instead of waiting for silence on the other.
#[test]
fn the_controlled_side_follows_to_a_pair_it_pruned() {
    let lab = Lab::new(1, origin());
    let one = lab.host_at("a", &lab.internet(), ip("192.0.2.1"));
    one.add_interface("eth1", AdapterType::Ethernet, &lab.internet(), &[ip("192.0.2.11")]);
    let other = lab.host_at("b", &lab.internet(), ip("192.0.2.2"));
    let mut pair = Pair::new(lab, Peer::new(one, "a", 1, |_| {}), Peer::new(other, "b", 2, |_| {}));
    pair.connect();
    pair.exchange_data();
    pair.run_for(ms(3000));
    let ip_of =
        |pair: &Pair| pair.b.channel.selected_candidate_pair().unwrap().remote.address.ip().unwrap().ip();
    // There and back again.
    for _ in 0..2 {
        let before = ip_of(&pair);
        let used = usize::from(before == ip("192.0.2.11"));
        for (interface, up) in [(1 - used, true), (used, false)] {
            pair.a.host.interfaces()[interface].set_up(up);
        }
        networks_changed(&mut pair);
        for _ in 0..10 {
            let now = pair.now;
            let _ = pair.a.send(now, &[&[128, 96, 0, 0][..], &[7; 32]].concat());
            pair.run_for(ms(20));
        }
        assert_ne!(ip_of(&pair), before);
        pair.exchange_data();
        pair.run_for(ms(3000));
    }
}

/// S12: a network that was away for a moment, and no other pair: what is there goes on, although nothing is gathered.
#[test]
fn a_network_that_comes_back_carries_on() {
    let mut pair = Pair::open(1);
    pair.connect();
    let before = pair.a.channel.selected_candidate_pair();
    for up in [false, true] {
        pair.a.host.interfaces()[0].set_up(up);
        networks_changed(&mut pair);
        pair.run_for(ms(4000));
    }
    assert!(pair.a.channel.writable());
    assert_eq!(pair.a.channel.selected_candidate_pair(), before);
    pair.exchange_data();
}

/// T12: every five minutes networks that carry no connection are gathered on again; G39: under the new user
/// fragment after a restart.
#[test]
fn failed_networks_are_gathered_on_again() {
    let lab = Lab::new(1, origin());
    let host = lab.host_at("a", &lab.internet(), ip("192.0.2.1"));
    let dead = lab.firewall("dead", &lab.internet(), peerstack_netsim::FirewallPolicy::BlockUdp);
    host.add_interface("eth1", AdapterType::Ethernet, &dead, &[ip("192.0.2.11")]);
    let b = lab.host_at("b", &lab.internet(), ip("192.0.2.2"));
    let a = Peer::new(host, "a", 1, continually);
    let mut pair = Pair::new(lab, a, Peer::new(b, "b", 2, |_| {}));
    pair.connect();
    let gathered =
        |pair: &Pair| pair.a.count(|event| matches!(event, IceTransportEvent::CandidateGathered(_)));
    assert_eq!(gathered(&pair), 2);
    pair.run_for(Duration::from_secs(299));
    assert_eq!(gathered(&pair), 2);
    dead.set_policy(peerstack_netsim::FirewallPolicy::AllowAll);
    pair.run_for(Duration::from_secs(5));
    assert_eq!(gathered(&pair), 3, "on the dead network alone");
    assert_eq!(pair.a.channel.stats(pair.now).connections.len(), 2);
    assert!(pair.both_connected());
    // G39: after a restart no candidate carries the old user fragment.
    let old = pair.a.parameters.ufrag.clone();
    pair.a.parameters = new_parameters(&mut peerstack_base::Random::from_seed(9));
    pair.b.parameters = new_parameters(&mut peerstack_base::Random::from_seed(10));
    pair.a.events.clear();
    pair.start();
    pair.run_for(Duration::from_secs(700));
    let stale = |event: &IceTransportEvent| matches!(event, IceTransportEvent::CandidateGathered(candidate) if candidate.username_fragment == old);
    assert_eq!(pair.a.count(stale), 0);
}

/// G09: no adapters listed: bound to the "any" address, whose host candidate is not told, and still
/// server-reflexive; and it connects.
#[test]
fn without_listed_adapters_the_any_address_is_bound() {
    let home = Home::new();
    home.host.set_listed(false);
    let (mut pair, _) = home.gather(|config| {
        config.port_allocator.ice_servers = vec![server("stun:198.51.100.9")];
    });
    pair.run_for(ms(100));
    let types: Vec<_> = gathered(&pair.a).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(types, [CandidateType::Srflx]);
    pair.trickle = true;
    pair.b.gather(pair.now);
    pair.exchange_parameters();
    assert!(pair.run_until(ms(2000), Pair::both_connected));
    pair.exchange_data();
}

/// TURN URLs are taken and answered with an error event, a step delay after the UDP phase.
#[test]
fn turn_servers_are_told_to_be_unsupported() {
    let (mut pair, _) = Home::new().gather(|config| {
        config.port_allocator.ice_servers = vec![server("turn:198.51.100.9?transport=tcp")];
    });
    assert!(errors(&pair.a).is_empty());
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Gathering);
    pair.run_for(ms(50));
    assert_eq!(errors(&pair.a)[0].url, "turn:198.51.100.9:3478?transport=tcp");
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
}

/// The transitions of the gathering state, a restart included; I12: the same parameters gather once. S21: a port
/// of an older generation goes when it has no connections.
#[test]
fn gathering_states() {
    let mut pair = Pair::open(1);
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::New);
    pair.a.channel.maybe_start_gathering(pair.now);
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::New, "no parameters");
    for seed in 0..2 {
        pair.a.parameters = new_parameters(&mut peerstack_base::Random::from_seed(seed));
        pair.a.gather(pair.now);
        assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
        pair.a.channel.maybe_start_gathering(pair.now);
        pair.settle();
    }
    let changes = pair.a.count(|event| matches!(event, IceTransportEvent::GatheringStateChange(_)));
    assert_eq!(changes, 4, "the same parameters gather once");
    let generations: Vec<u32> = pair
        .a
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            IceTransportEvent::CandidateGathered(candidate) => Some(candidate.generation),
            _ => None,
        })
        .collect();
    assert_eq!(generations, [0, 1]);
    assert_eq!(pair.a.socket_ids().len(), 1, "S21: the old port had no connections");
}

/// I13: a policy of relays only gives nothing here; after it is widened, a restart gathers what it lets
/// through.
#[test]
fn a_wider_policy_counts_from_the_next_restart() {
    let mut pair =
        Pair::open_with(1, |config| config.port_allocator.candidate_filter = CandidateFilter::RELAY, |_| {});
    pair.a.gather(pair.now);
    pair.settle();
    assert!(pair.a.channel.stats(pair.now).local_candidates.is_empty());
    pair.a.channel.set_port_allocator_config(PortAllocatorConfig::default());
    pair.a.channel.maybe_start_gathering(pair.now);
    pair.settle();
    assert!(pair.a.channel.stats(pair.now).local_candidates.is_empty(), "not before");
    pair.a.parameters = new_parameters(&mut peerstack_base::Random::from_seed(5));
    pair.connect();
}
