//! Whole transports with TURN servers: gathering, connecting, data, release.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use peerstack_base::{AsyncStreamSocket, AsyncUdpSocket, PacketSocketFactory, PortRange, StreamOptions};
use peerstack_netsim::{Host, Lab, LinkConfig, Nat, TurnServer, addr, ip};
use peerstack_stun::{Method, PasswordAlgorithm, error_code};

use crate::p2p_transport_channel::tests::harness::*;
use crate::*;

const TURN: &str = "198.51.100.7:3478";

fn turn_server(lab: &Lab) -> TurnServer {
    let host = lab.host_at("turn", &lab.internet(), ip("198.51.100.7"));
    host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    TurnServer::new(&host, addr(TURN), &[ip("198.51.100.7")], &[("user", "pass")])
}

pub(super) fn with_url(url: &str) -> IceServer {
    IceServer { urls: vec![url.parse().unwrap()], username: "user".into(), password: "pass".into() }
}

fn relay_only(config: &mut P2PTransportChannelConfig) {
    config.port_allocator.ice_servers = vec![with_url("turn:198.51.100.7")];
    config.port_allocator.candidate_filter = CandidateFilter::RELAY;
}

fn all(config: &mut P2PTransportChannelConfig) {
    config.port_allocator.ice_servers = vec![with_url("turn:198.51.100.7")];
}

fn nowhere(_: &mut P2PTransportChannelConfig) {}

fn home(lab: &Lab, name: &str, public: &str, private: &str) -> Host {
    let nat = Nat::symmetric(&format!("{name}-nat"), &lab.internet(), ip(public));
    let host = lab.host_at(name, &nat, ip(private));
    host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    host
}

fn pair(
    a: impl FnOnce(&mut P2PTransportChannelConfig),
    b: impl FnOnce(&mut P2PTransportChannelConfig),
) -> (Pair, TurnServer) {
    let lab = Lab::new(1, origin());
    let server = turn_server(&lab);
    let a = Peer::new(home(&lab, "a", "203.0.113.1", "192.168.0.2"), "a", 3, a);
    let b = Peer::new(home(&lab, "b", "203.0.113.2", "192.168.1.2"), "b", 4, b);
    (Pair::new(lab, a, b), server)
}

fn errors(peer: &Peer) -> Vec<CandidateErrorEvent> {
    let error = |event: &IceTransportEvent| match event {
        IceTransportEvent::CandidateError(error) => Some(error.clone()),
        _ => None,
    };
    peer.events.iter().filter_map(|(_, event)| error(event)).collect()
}

fn gather(configure: impl FnOnce(&mut TurnServer)) -> (Pair, TurnServer) {
    let (mut pair, mut server) = pair(all, nowhere);
    configure(&mut server);
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.run_for(ms(1000));
    (pair, server)
}

fn types(peer: &Peer) -> Vec<CandidateType> {
    peer.outbox.iter().map(|candidate| candidate.candidate_type).collect()
}

/// U01, G01, G19, G20, G33: host, server-reflexive (of the TURN server) and relay on one socket; the relay
/// candidate's related address is the mapped one, its URL names transport and port.
#[test]
fn host_srflx_and_relay_share_a_socket() {
    let (pair, server) = gather(|_| {});
    use CandidateType::{Host, Relay, Srflx};
    assert_eq!(types(&pair.a), [Host, Srflx, Relay]);
    assert_eq!(pair.a.socket_ids().len(), 1);
    let relay = &pair.a.outbox[2];
    let allocations = server.allocations();
    assert_eq!(relay.address.ip(), Some(allocations[0].1));
    assert_eq!(relay.related_address, Some(allocations[0].0), "G33");
    assert_eq!(relay.url.as_deref(), Some("turn:198.51.100.7:3478?transport=udp"));
    assert_eq!(relay.relay_protocol, Some("udp"));
    assert_eq!(relay.priority >> 24, 2);
    assert_eq!(pair.a.outbox[1].url.as_deref(), Some("stun:198.51.100.7:3478"));
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    // The relay phase begins a step delay after the first; two round trips of 40 ms follow.
    let done =
        pair.a.when(|event| *event == IceTransportEvent::GatheringStateChange(IceGatheringState::Complete));
    assert_eq!(done, Some(ms(50 + 2 * 40)));
    assert!(errors(&pair.a).is_empty());
}

/// G16: the policy of relays only surfaces relay candidates, without related addresses, and needs no UDP port.
#[test]
fn relay_only_tells_relays_only() {
    let (mut pair, server) = pair(relay_only, relay_only);
    pair.connect();
    pair.exchange_data();
    assert_eq!(pair.a.selected_types(), Some((CandidateType::Relay, CandidateType::Relay)));
    let local = pair.a.channel.stats(pair.now).local_candidates;
    assert_eq!(local.len(), 1);
    assert_eq!(local[0].related_address, Some(addr("0.0.0.0:0")));
    assert_eq!(server.allocations().len(), 2);
}

/// N06: symmetric and symmetric: one relay, the other side seen as peer-reflexive.
/// Data goes by a channel after the first packets.
#[test]
fn symmetric_nats_connect_by_a_relay() {
    let (mut pair, server) = pair(all, all);
    pair.start();
    assert!(pair.run_until(ms(3000), Pair::both_connected));
    pair.run_for(ms(3000));
    let (local, remote) = pair.a.selected_types().unwrap();
    assert!(local == CandidateType::Relay || remote == CandidateType::Relay, "{local} {remote}");
    assert!(errors(&pair.a).is_empty() && errors(&pair.b).is_empty());
    pair.exchange_data();
    let before = server.relayed();
    pair.exchange_data();
    assert!(server.relayed() > before);
    // IPv4, UDP and a channel's header.
    let overheads = [pair.a.channel.network_route(), pair.b.channel.network_route()]
        .map(|route| route.unwrap().packet_overhead);
    assert!(overheads.contains(&32), "{overheads:?}");
}

/// U11: closing gives the allocation back.
#[test]
fn closing_releases_the_allocation() {
    let (mut pair, server) = pair(all, all);
    pair.connect();
    assert_eq!(server.allocations().len(), 2);
    pair.a.channel.close(pair.now);
    pair.run_for(ms(100));
    assert_eq!(server.allocations().len(), 1);
    assert!(pair.a.socket_ids().is_empty());
    pair.b.channel.close(pair.now);
    pair.run_for(ms(100));
    assert!(server.allocations().is_empty());
    assert_eq!(pair.lab.open_sockets(), 0);
}

/// U03, U11: the nonce is stale when the allocation is given back, on close and after a restart: it is given back with the
/// new one. A server that is gone is waited for for a second.
#[test]
fn a_release_with_a_stale_nonce_is_sent_again() {
    let (mut pair, server) = pair(all, all);
    server.configure(|config| config.one_time_nonces = true);
    pair.connect();
    pair.run_for(ms(1000));
    assert_eq!(server.allocations().len(), 2);
    server.expire_nonce();
    pair.a.channel.close(pair.now);
    pair.settle();
    assert!(pair.a.channel.is_releasing());
    pair.run_for(ms(200));
    assert_eq!((server.allocations().len(), pair.a.socket_ids().len()), (1, 0));
    assert!(!pair.a.channel.is_releasing() && pair.a.channel.next_timeout().is_none());
    server.configure(|config| config.answers = false);
    pair.b.channel.close(pair.now);
    pair.run_for(ms(990));
    assert!(!pair.b.socket_ids().is_empty());
    pair.run_for(ms(20));
    assert!(pair.b.socket_ids().is_empty() && !pair.b.channel.is_releasing());
    assert_eq!(pair.b.channel.next_timeout(), None);
}

/// U10, T13: allocations, permissions and channels are refreshed for as long as they are used.
#[test]
fn everything_is_refreshed_for_an_hour() {
    let (mut pair, server) = pair(relay_only, relay_only);
    server.configure(|config| config.nonce_lifetime = Duration::from_secs(100));
    pair.connect();
    pair.exchange_data();
    for _ in 0..12 {
        pair.run_for(Duration::from_secs(300));
        assert!(pair.both_connected(), "at {:?}", pair.elapsed());
        pair.exchange_data();
    }
    assert_eq!(server.allocations().len(), 2);
}

/// U03: stale nonces, also such as are good for one request only.
#[test]
fn stale_nonces_are_renewed() {
    let (mut pair, server) = pair(relay_only, relay_only);
    server.configure(|config| config.one_time_nonces = true);
    pair.connect();
    pair.exchange_data();
    pair.exchange_data();
    assert!(errors(&pair.a).is_empty());
}

/// SHA-256 where the server prefers it (RFC 8489 section 9.2).
#[test]
fn sha256_keys() {
    let (mut pair, server) = pair(relay_only, relay_only);
    server.configure(|config| {
        config.password_algorithms = vec![PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];
    });
    pair.connect();
    pair.exchange_data();
}

/// U02: a wrong password: an error event and no candidate; the rest of gathering goes on.
#[test]
fn wrong_credentials() {
    let (pair, _) = gather(|server| {
        server.configure(|config| {
            config.users.insert("user".into(), "other".into());
        })
    });
    use CandidateType::{Host, Srflx};
    assert_eq!(types(&pair.a), [Host, Srflx]);
    let errors = errors(&pair.a);
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].error_code, errors[0].error_text.as_str()), (401, "Unauthenticated"));
    assert_eq!(errors[0].url, "turn:198.51.100.7:3478?transport=udp");
    assert_eq!(errors[0].address, "192.168.0.2");
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
}

/// Refusals give their code and text: 486 (quota), 508, 440.
#[test]
fn refusals_are_told() {
    for code in [486, 508, 440, 442, 500] {
        let (pair, _) = gather(|server| {
            server.configure(|config| config.refuse = [(Method::ALLOCATE, code)].into());
        });
        let errors = errors(&pair.a);
        assert_eq!(errors.len(), 1, "{code}");
        assert_eq!((errors[0].error_code, errors[0].error_text.as_str()), (code, error_code::reason(code)));
        assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    }
}

/// I13: a server that does not answer: 701 after the request's time-out, one event for its URL.
#[test]
fn a_silent_server_ends_in_701() {
    let (mut pair, _) = gather(|server| server.configure(|config| config.answers = false));
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Gathering);
    pair.run_for(Duration::from_secs(40));
    let errors = errors(&pair.a);
    assert_eq!(errors.len(), 1, "the server asked as a STUN server too is told once");
    assert_eq!(errors[0].error_code, 701);
    assert_eq!(errors[0].error_text, "TURN allocate request timed out.");
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
}

/// U05: 300: the alternate server is followed; one that sends back and forth is not.
#[test]
fn alternate_servers() {
    for (back, expected) in [(false, None), (true, Some(300))] {
        let (mut pair, server) = pair(all, nowhere);
        let other = pair.lab.host_at("other", &pair.lab.internet(), ip("198.51.100.8"));
        let other =
            TurnServer::new(&other, addr("198.51.100.8:3478"), &[ip("198.51.100.8")], &[("user", "pass")]);
        server.configure(|config| config.alternate = Some(addr("198.51.100.8:3478")));
        if back {
            other.configure(|config| config.alternate = Some(addr(TURN)));
        }
        pair.trickle = false;
        pair.a.gather(pair.now);
        pair.run_for(ms(1000));
        assert_eq!(errors(&pair.a).first().map(|error| error.error_code), expected);
        assert_eq!(other.allocations().len(), usize::from(!back));
        assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    }
}

/// U05, U06: alternates that are not followed: loopback, another family, a forbidden port.
#[test]
fn alternates_that_are_refused() {
    for alternate in ["127.0.0.1:3478", "[2001:db8::1]:3478", "198.51.100.8:25", "0.0.0.0:3478"] {
        let (pair, _) = gather(|server| server.configure(|config| config.alternate = Some(addr(alternate))));
        let errors = errors(&pair.a);
        assert_eq!(errors.len(), 1, "{alternate}");
        assert_eq!(errors[0].error_code, 300);
    }
}

/// U06: ports of other protocols are not gone to.
#[test]
fn forbidden_ports() {
    for (port, allowed) in [(25, false), (53, true), (80, true), (443, true), (1023, false), (1024, true)] {
        let (mut pair, _) = pair(
            |config| config.port_allocator.ice_servers = vec![with_url(&format!("turn:198.51.100.7:{port}"))],
            nowhere,
        );
        pair.trickle = false;
        pair.a.gather(pair.now);
        pair.run_for(ms(100));
        assert_eq!(errors(&pair.a).is_empty(), allowed, "{port}");
    }
}

/// U04: the server knows an allocation of our address: another socket is taken.
#[test]
fn an_allocation_mismatch_takes_another_socket() {
    let (mut pair, server) = gather(|server| {
        server.configure(|config| config.refuse = [(Method::ALLOCATE, 437)].into());
    });
    let errors_now = errors(&pair.a);
    assert_eq!(errors_now.len(), 1, "given up after two retries");
    assert_eq!(errors_now[0].error_code, 437);

    // A transport that went without a word leaves its allocation behind; the next one has its socket's port.
    server.configure(|config| config.refuse.clear());
    let range = PortRange { min: 5000, max: 5010 };
    let nat = Nat::full_cone("cone", &pair.lab.internet(), ip("203.0.113.5"));
    let host = pair.lab.host_at("c", &nat, ip("192.168.5.2"));
    for round in 0..2 {
        // The one before goes first, with its sockets.
        pair.a = Peer::new(pair.b.host.clone(), "none", 8, nowhere);
        pair.a = Peer::new(host.clone(), "c", 9 + round as u64, |config| {
            all(config);
            config.port_allocator.port_range = Some(range);
        });
        pair.a.gather(pair.now);
        pair.run_for(ms(1000));
        assert!(types(&pair.a).contains(&CandidateType::Relay), "round {round}");
        assert_eq!(pair.a.socket_ids().len(), 1 + round, "its own socket in the second round");
    }
    assert_eq!(server.allocations().len(), 2);
}

/// U07, U08: without a permission nothing reaches the peer: the pair fails.
#[test]
fn a_refused_permission_fails_the_pair() {
    let (mut pair, server) = pair(relay_only, relay_only);
    server.configure(|config| config.refuse = [(Method::CREATE_PERMISSION, 403)].into());
    pair.start();
    pair.run_for(ms(2000));
    assert!(!pair.both_connected());
    assert_eq!(pair.a.channel.state(), IceTransportState::Failed);
}

/// U09: a refused channel: Send and Data indications carry the packets.
#[test]
fn without_channels_indications_do() {
    let (mut pair, server) = pair(relay_only, relay_only);
    server.configure(|config| config.refuse = [(Method::CHANNEL_BIND, 400)].into());
    pair.connect();
    pair.exchange_data();
    pair.exchange_data();
    assert_eq!(pair.a.channel.network_route().unwrap().packet_overhead, 28 + 36);
}

/// U10: an allocation that the server does not refresh: its pairs fail.
#[test]
fn an_allocation_that_is_not_refreshed_fails_its_pairs() {
    let (mut pair, server) = pair(relay_only, all);
    pair.start();
    assert!(pair.run_until(ms(3000), Pair::both_connected));
    server.configure(|config| config.refuse = [(Method::REFRESH, 403)].into());
    pair.run_for(Duration::from_secs(600));
    assert!(!pair.a.channel.writable());
    assert_eq!(pair.a.channel.state(), IceTransportState::Failed);
}

/// U10: an allocation that the server does not know any more is made anew, by the next refresh at the latest, and
/// its pairs, whose permissions and channels are gone with it, go on under another address. The old candidate is
/// forgotten and the new one told.
#[test]
fn a_lost_allocation_is_made_anew() {
    let (mut pair, server) = pair(relay_only, all);
    pair.start();
    assert!(pair.run_until(ms(3000), Pair::both_connected));
    pair.exchange_data();
    let relayed = |pair: &Pair| {
        let told = pair.a.channel.stats(pair.now).local_candidates;
        told.iter().map(|candidate| candidate.address.ip().unwrap()).collect::<Vec<_>>()
    };
    let (before, told) = (relayed(&pair), pair.a.count(is_gathered));
    server.restart();
    // Nobody says anything: the checks find out (T05), or the refresh.
    pair.run_for(ms(10_000));
    assert!(pair.both_connected());
    pair.exchange_data();
    pair.exchange_data();
    let after = relayed(&pair);
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_ne!(before, after);
    assert_eq!(pair.a.count(is_gathered), told + 1);
    let held = || server.allocations().iter().any(|(_, relayed)| *relayed == after[0]);
    assert!(held());
    pair.run_for(Duration::from_secs(1300));
    pair.exchange_data();
    assert!(held(), "and it is refreshed");
}

fn is_gathered(event: &IceTransportEvent) -> bool {
    matches!(event, IceTransportEvent::CandidateGathered(_))
}

/// A server that is silent for a moment, or a peer that is gone, costs a Refresh and no allocation.
#[test]
fn an_allocation_that_is_there_is_kept() {
    let (mut pair, server) = pair(relay_only, all);
    pair.start();
    assert!(pair.run_until(ms(3000), Pair::both_connected));
    let before = server.allocations();
    pair.b.host.interfaces()[0].link().set_up(false);
    pair.run_for(ms(6000));
    assert!(!pair.a.channel.receiving());
    assert_eq!(server.allocations(), before);
    pair.b.host.interfaces()[0].link().set_up(true);
    assert!(pair.run_until(ms(3000), Pair::both_connected));
    pair.exchange_data();
}

/// U13: a server of the other family is passed over without an error; a name that has such addresses only
/// too.
#[test]
fn another_family_is_passed_over() {
    let (mut pair, _) = pair(
        |config| {
            config.port_allocator.ice_servers =
                vec![with_url("turn:[2001:db8::7]"), with_url("turn:six.example")];
        },
        nowhere,
    );
    pair.a.names.insert("six.example".into(), vec![ip("2001:db8::7")]);
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.run_for(ms(100));
    assert!(errors(&pair.a).is_empty());
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
}

/// U15: a name that is not found gives an error with the URL; one that is found is used.
#[test]
fn servers_by_name() {
    let (mut pair, server) = pair(
        |config| {
            config.port_allocator.ice_servers =
                vec![with_url("turn:gone.example"), with_url("turn:turn.example")];
        },
        nowhere,
    );
    pair.a.names.insert("turn.example".into(), vec![ip("198.51.100.7")]);
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.run_for(ms(1000));
    let errors = errors(&pair.a);
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].url, "turn:gone.example:3478?transport=udp");
    assert_eq!((errors[0].error_code, server.allocations().len()), (701, 1));
}

/// G23: relay candidates of several servers get distinct local preferences, in the order configured.
#[test]
fn relay_preferences_follow_the_configuration() {
    let (mut pair, _) = pair(
        |config| {
            config.port_allocator.ice_servers =
                vec![with_url("turn:198.51.100.7"), with_url("turn:198.51.100.8")];
        },
        nowhere,
    );
    let other = pair.lab.host_at("other", &pair.lab.internet(), ip("198.51.100.8"));
    TurnServer::new(&other, addr("198.51.100.8:3478"), &[ip("198.51.100.8")], &[("user", "pass")]);
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.run_for(ms(1000));
    let mut relays: Vec<&Candidate> =
        pair.a.outbox.iter().filter(|candidate| candidate.candidate_type == CandidateType::Relay).collect();
    relays.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
    let urls: Vec<_> = relays.iter().map(|candidate| candidate.url.clone().unwrap()).collect();
    assert_eq!(urls, ["turn:198.51.100.7:3478?transport=udp", "turn:198.51.100.8:3478?transport=udp"]);
    assert_eq!(relays[0].priority - relays[1].priority, 1 << 8);
    assert_ne!(relays[0].foundation, relays[1].foundation, "G32");
}

/// W3C: a TURN server without credentials is refused above; here it is an error event.
#[test]
fn missing_credentials() {
    let (mut pair, _) = pair(
        |config| {
            let urls = vec!["turn:198.51.100.7".parse().unwrap()];
            config.port_allocator.ice_servers = vec![IceServer { urls, ..IceServer::default() }];
        },
        nowhere,
    );
    pair.a.gather(pair.now);
    pair.run_for(ms(100));
    assert_eq!(errors(&pair.a)[0].error_code, 401);
}

/// S19: an ICE restart behind symmetric NATs: the new generation gets an allocation of its own, the old one is
/// released when its pairs are gone.
#[test]
fn a_restart_allocates_anew_and_releases_the_old() {
    let (mut pair, server) = pair(relay_only, relay_only);
    pair.connect();
    let mut random = peerstack_base::Random::from_seed(77);
    pair.a.parameters = new_parameters(&mut random);
    pair.b.parameters = new_parameters(&mut random);
    pair.start();
    pair.run_for(ms(1000));
    assert!(pair.both_connected());
    assert_eq!(server.allocations().len(), 4);
    pair.run_for(Duration::from_secs(120));
    pair.exchange_data();
    assert_eq!(server.allocations().len(), 2);
}

/// C31: a relay never learns an address that came out of mDNS.
#[test]
fn relays_are_not_paired_with_resolved_names() {
    let (mut pair, _) = pair(all, nowhere);
    pair.trickle = false;
    pair.start();
    pair.run_for(ms(500));
    let mut named = candidate("192.0.2.1:4444", 1);
    named.address = CandidateAddress::Name("x.local".into(), 4444);
    pair.a.names.insert("x.local".into(), vec![ip("192.168.7.7")]);
    pair.a.channel.add_remote_candidate(pair.now, named);
    pair.run_for(ms(100));
    let connections = pair.a.channel.stats(pair.now).connections;
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].local_candidate.candidate_type, CandidateType::Host);
}

/// C09: a conflict of roles is answered over TURN too, also to an address that was not known.
#[test]
fn a_role_conflict_is_answered_over_a_relay() {
    let (mut pair, _) = pair(relay_only, relay_only);
    pair.b.channel.set_ice_role(IceRole::Controlling);
    pair.connect();
    pair.exchange_data();
    assert_ne!(pair.a.channel.ice_role(), pair.b.channel.ice_role());
}

fn streams(url: &'static str) -> impl Fn(&mut P2PTransportChannelConfig) + Copy {
    move |config| {
        relay_only(config);
        config.port_allocator.ice_servers = vec![with_url(url)];
    }
}

/// U01: over TCP and TLS; the URL, the relay protocol and the priority tell. U11: released on close.
#[test]
fn relays_over_streams() {
    for (url, shown, protocol, preference) in [
        ("turn:198.51.100.7?transport=tcp", "turn:198.51.100.7:3478?transport=tcp", "tcp", 1),
        ("turns:198.51.100.7:443", "turns:198.51.100.7:443?transport=tcp", "tls", 0),
    ] {
        let (mut pair, server) = pair(streams(url), streams(url));
        server.listen_tcp(addr(TURN));
        server.listen_tcp(addr("198.51.100.7:443"));
        pair.connect();
        pair.exchange_data();
        pair.exchange_data();
        let local = pair.a.channel.stats(pair.now).local_candidates;
        assert_eq!(local[0].url.as_deref(), Some(shown));
        assert_eq!((local[0].relay_protocol, local[0].priority >> 24), (Some(protocol), preference));
        assert_eq!((local[0].protocol, local[0].tcp_type), (IceProtocol::Udp, None));
        assert!(errors(&pair.a).is_empty());
        assert_eq!(pair.a.channel.network_route().unwrap().packet_overhead, 20 + 20 + 4);
        pair.run_for(Duration::from_secs(1300));
        pair.exchange_data();
        // U11: released on close.
        pair.a.channel.close(pair.now);
        pair.run_for(ms(1000));
        assert_eq!(server.allocations().len(), 1);
        pair.b.channel.close(pair.now);
        pair.run_for(ms(1000));
        assert_eq!((server.allocations().len(), pair.lab.open_sockets()), (0, 0));
    }
}

/// G20: a TURN server over TCP alone is not asked for the mapped address, which it is there to hide.
#[test]
fn servers_over_tcp_are_not_stun_servers() {
    let (mut pair, server) = pair(
        |config| config.port_allocator.ice_servers = vec![with_url("turn:198.51.100.7?transport=tcp")],
        nowhere,
    );
    server.listen_tcp(addr(TURN));
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.run_for(ms(1000));
    assert_eq!(types(&pair.a), [CandidateType::Host, CandidateType::Relay]);
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
}

/// I13: nobody listens: an error event with the URL, at once; a black hole: after the connection's time-out.
#[test]
fn unreachable_servers_over_tcp() {
    let (mut pair, _) =
        pair(streams("turn:198.51.100.7?transport=tcp"), streams("turn:198.51.100.99?transport=tcp"));
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.b.gather(pair.now);
    pair.run_for(ms(1000));
    let told = errors(&pair.a);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].error_code, told[0].url.as_str()), (701, "turn:198.51.100.7:3478?transport=tcp"));
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    assert!(errors(&pair.b).is_empty());
    pair.run_for(Duration::from_secs(200));
    assert_eq!(errors(&pair.b).len(), 1);
    assert_eq!(pair.b.channel.gathering_state(), IceGatheringState::Complete);
}

/// A factory that reaches servers by a proxy, which alone knows their names.
#[derive(Debug)]
struct Proxied(Box<dyn PacketSocketFactory>);

impl PacketSocketFactory for Proxied {
    fn create_udp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncUdpSocket>> {
        self.0.create_udp_socket(local, ports)
    }

    fn create_client_tcp_socket(
        &mut self,
        local: SocketAddr,
        options: &StreamOptions,
    ) -> io::Result<Box<dyn AsyncStreamSocket>> {
        assert_eq!(options.host.as_deref(), Some("turn.example"));
        assert_eq!((options.remote, options.proxy), (addr("0.0.0.0:3478"), true));
        self.0.create_client_tcp_socket(local, &StreamOptions { remote: addr(TURN), ..options.clone() })
    }

    fn resolves_names(&self) -> bool {
        true
    }
}

/// U15: by a proxy a server's name is not looked up by us, but handed on; over UDP it is looked up.
#[test]
fn a_proxy_is_told_the_servers_name() {
    let lab = Lab::new(1, origin());
    let server = turn_server(&lab);
    server.listen_tcp(addr(TURN));
    let host = home(&lab, "a", "203.0.113.1", "192.168.0.2");
    let factory = host.packet_socket_factory();
    let a = Peer::new(host, "a", 3, |config| {
        streams("turn:turn.example?transport=tcp")(config);
        config.packet_socket_factory = Box::new(Proxied(factory));
    });
    let b = Peer::new(home(&lab, "b", "203.0.113.2", "192.168.1.2"), "b", 4, |config| {
        relay_only(config);
        config.port_allocator.ice_servers = vec![with_url("turn:turn.example")];
    });
    let mut pair = Pair::new(lab, a, b);
    (pair.a.hold_resolutions, pair.b.hold_resolutions) = (true, true);
    pair.start();
    pair.run_for(ms(1000));
    assert!(pair.a.resolutions.is_empty());
    assert_eq!(pair.b.resolutions.len(), 1);
    let told = pair.a.channel.stats(pair.now).local_candidates.len();
    assert_eq!((told, server.allocations().len()), (1, 1));
    let (id, _) = pair.b.resolutions.remove(0);
    pair.b.channel.handle_resolved(pair.now, id, &[ip("198.51.100.7")]);
    assert!(pair.run_until(ms(3000), Pair::both_connected));
    pair.exchange_data();
}

/// U12: the server's end of the stream closes: no pairs are made while there is none. It is opened again, and
/// where the server is there again the pairs go on; where it is not they end, before they would time out.
#[test]
fn a_closed_stream_is_opened_again() {
    let url = "turn:198.51.100.7?transport=tcp";
    let (mut pair, server) = pair(streams(url), streams(url));
    server.listen_tcp(addr(TURN));
    pair.connect();
    pair.exchange_data();
    server.restart();
    // Both relays are others now: to each side the pair is another one (T05, T10).
    pair.run_for(ms(5000));
    assert!(pair.both_connected());
    pair.exchange_data();
    assert_eq!(server.allocations().len(), 2);
    server.stop();
    pair.run_for(ms(200));
    let pairs = pair.a.channel.stats(pair.now).connections.len();
    pair.a.channel.add_remote_candidate(pair.now, candidate("203.0.113.77:7", 1));
    assert_eq!(pair.a.channel.stats(pair.now).connections.len(), pairs);
    pair.run_for(ms(13_000));
    assert!(pair.a.channel.stats(pair.now).connections.is_empty());
    assert_eq!(pair.a.channel.state(), IceTransportState::Failed);
}

/// U12: a stream that closes before there is anything to keep is not opened again.
#[test]
fn a_closed_stream_ends_what_it_has() {
    let url = "turn:198.51.100.7?transport=tcp";
    let (mut pair, server) = pair(streams(url), streams(url));
    server.listen_tcp(addr(TURN));
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.run_for(ms(1000));
    assert_eq!(server.allocations().len(), 1);
    server.restart();
    pair.run_for(ms(5000));
    assert!(server.allocations().is_empty());
    pair.exchange_parameters();
    pair.a.channel.add_remote_candidate(pair.now, candidate("203.0.113.77:7", 1));
    assert!(pair.a.channel.stats(pair.now).connections.is_empty());
}

/// U05: 300 over TCP: the next server is connected to.
#[test]
fn alternate_servers_over_tcp() {
    let (mut pair, server) = pair(streams("turn:198.51.100.7?transport=tcp"), nowhere);
    let other = pair.lab.host_at("other", &pair.lab.internet(), ip("198.51.100.8"));
    let other =
        TurnServer::new(&other, addr("198.51.100.8:3478"), &[ip("198.51.100.8")], &[("user", "pass")]);
    server.listen_tcp(addr(TURN));
    other.listen_tcp(addr("198.51.100.8:3478"));
    server.configure(|config| config.alternate = Some(addr("198.51.100.8:3478")));
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.run_for(ms(1000));
    assert!(errors(&pair.a).is_empty());
    assert_eq!(other.allocations().len(), 1);
    assert_eq!(types(&pair.a), [CandidateType::Relay]);
}

/// U03, U04 over TCP: stale nonces are renewed; a mismatch takes another connection, twice.
#[test]
fn retries_over_tcp() {
    let url = "turn:198.51.100.7?transport=tcp";
    let (mut pair, server) = pair(streams(url), streams(url));
    server.listen_tcp(addr(TURN));
    server.configure(|config| config.refuse = [(Method::ALLOCATE, 437)].into());
    pair.a.gather(pair.now);
    pair.run_for(ms(1000));
    assert_eq!(errors(&pair.a)[0].error_code, 437);
    server.configure(|config| {
        config.refuse.clear();
        config.one_time_nonces = true;
    });
    pair.a.parameters = new_parameters(&mut peerstack_base::Random::from_seed(5));
    pair.connect();
    pair.exchange_data();
}
