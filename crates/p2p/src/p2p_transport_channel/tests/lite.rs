//! Lite agents: ours with a full one of ours, and with another.

use std::time::Duration;

use peerstack_base::SendError;
use peerstack_netsim::{FirewallPolicy, Lab, LinkConfig, Nat, StunServer, addr, ip};

use super::harness::*;
use crate::*;

fn lite(config: &mut P2PTransportChannelConfig) {
    config.ice_mode = IceMode::Lite;
    let url = "stun:198.51.100.9".parse().unwrap();
    config.port_allocator.ice_servers = vec![IceServer { urls: vec![url], ..IceServer::default() }];
    config.port_allocator.tcp_candidates = TcpCandidatePolicy::Active;
}

fn checks_sent(peer: &Peer, pair: &Pair) -> u64 {
    peer.channel.stats(pair.now).connections.iter().map(|connection| connection.stats.requests_sent).sum()
}

/// `a` is full and behind a symmetric NAT, `b` lite and in the open.
fn full_and_lite() -> (Pair, StunServer) {
    let lab = Lab::new(3, origin());
    let internet = lab.internet();
    let stun = lab.host_at("stun", &internet, ip("198.51.100.9"));
    let stun = StunServer::new(&stun, addr("198.51.100.9:3478"));
    let nat = Nat::symmetric("nat", &internet, ip("203.0.113.1"));
    let (a, b) = (lab.host_at("a", &nat, ip("192.168.0.2")), lab.host_at("b", &internet, ip("192.0.2.2")));
    for host in [&a, &b] {
        host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    }
    let mut pair = Pair::new(lab, Peer::new(a, "a", 1, |_| {}), Peer::new(b, "b", 2, lite));
    pair.a.channel.set_remote_ice_mode(IceMode::Lite);
    (pair, stun)
}

/// C12: the full side checks and nominates; the lite one has a host candidate, sends no check ever, and is
/// connected by the nomination. Data passes both ways for minutes, which consent outlasts on either side.
#[test]
fn a_full_agent_connects_to_a_lite_one() {
    let (mut pair, stun) = full_and_lite();
    pair.connect();
    assert_eq!(pair.b.selected_types(), Some((CandidateType::Host, CandidateType::Prflx)));
    assert_eq!(
        (pair.a.states(), pair.b.states()),
        (
            vec![IceTransportState::Checking, IceTransportState::Connected],
            vec![IceTransportState::Checking, IceTransportState::Connected],
        )
    );
    pair.exchange_data();
    pair.run_for(Duration::from_secs(180));
    pair.exchange_data();
    let local = pair.b.channel.stats(pair.now).local_candidates;
    assert_eq!(local.len(), 1, "one host candidate, none of TCP, none of a server: {local:?}");
    assert_eq!((checks_sent(&pair.b, &pair), stun.requests()), (0, 0));
    assert!(checks_sent(&pair.a, &pair) > 50);
    assert_eq!(pair.b.channel.state(), IceTransportState::Connected);
}

/// RFC 7675: what the peer does not check any more is not sent to; a restart connects again.
#[test]
fn a_lite_agent_stops_when_the_checks_do() {
    let (mut pair, _) = full_and_lite();
    pair.connect();
    pair.run_for(ms(5000));
    pair.a.host.interfaces()[0].link().set_up(false);
    pair.run_for(ms(27_000));
    assert_eq!(pair.b.channel.state(), IceTransportState::Disconnected);
    let failed = pair.run_until(ms(10_000), |pair| pair.b.channel.state() == IceTransportState::Failed);
    assert!(failed, "{:?}", pair.b.channel.state());
    assert_eq!(pair.b.send(pair.now, &[20; 10]), Err(SendError::NotWritable));
    pair.a.host.interfaces()[0].link().set_up(true);
    pair.a.parameters = new_parameters(&mut peerstack_base::Random::from_seed(5));
    pair.b.parameters = new_parameters(&mut peerstack_base::Random::from_seed(6));
    pair.connect();
    pair.exchange_data();
}

/// RFC 8445 section 6.1.1: a lite agent stays controlled: a full peer that says it is controlled too is told to
/// switch, whatever the tie-breakers.
#[test]
fn a_lite_agent_stays_controlled() {
    for (ours, theirs) in [(1, 2), (2, 1)] {
        let (mut pair, _) = full_and_lite();
        pair.a.channel.set_ice_role(IceRole::Controlled);
        pair.a.channel.set_ice_tiebreaker(theirs);
        pair.b.channel.set_ice_tiebreaker(ours);
        pair.connect();
        assert_eq!(pair.a.channel.ice_role(), IceRole::Controlling);
        assert_eq!(pair.b.channel.ice_role(), IceRole::Controlled);
        assert_eq!(pair.b.count(|event| *event == IceTransportEvent::RoleConflict), 0);
        pair.exchange_data();
    }
}

/// RFC 8445 section 8.2: where both are lite nobody checks, and the best pair that was signalled is used.
#[test]
fn two_lite_agents_use_what_was_signalled() {
    let mut pair = Pair::open_with(4, lite, lite);
    for peer in [&mut pair.a, &mut pair.b] {
        peer.channel.set_remote_ice_mode(IceMode::Lite);
    }
    pair.connect();
    pair.exchange_data();
    pair.run_for(Duration::from_secs(120));
    pair.exchange_data();
    assert_eq!((checks_sent(&pair.a, &pair), checks_sent(&pair.b, &pair)), (0, 0));
}

/// A lite agent that can be reached by TCP alone listens, and is connected to.
#[test]
fn a_lite_agent_is_reached_by_tcp() {
    let lab = Lab::new(1, origin());
    let peer = |name: &str, address: &str, seed, mode: IceMode| {
        let wall = lab.firewall(&format!("{name}-wall"), &lab.internet(), FirewallPolicy::BlockUdp);
        let host = lab.host_at(name, &wall, ip(address));
        Peer::new(host, name, seed, |config| {
            config.ice_mode = mode;
            config.port_allocator.tcp_candidates = TcpCandidatePolicy::ActivePassive;
        })
    };
    let (a, b) = (peer("a", "192.0.2.1", 1, IceMode::Full), peer("b", "192.0.2.2", 2, IceMode::Lite));
    let mut pair = Pair::new(lab, a, b);
    pair.a.channel.set_remote_ice_mode(IceMode::Lite);
    pair.connect();
    let selected = pair.b.channel.selected_candidate_pair().unwrap();
    assert_eq!(selected.local.tcp_type, Some(TcpCandidateType::Passive));
    pair.exchange_data();
}
