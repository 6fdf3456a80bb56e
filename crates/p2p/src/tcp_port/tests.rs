//! TCP candidates between two transports on the virtual network, UDP blocked where TCP shall win.

use std::time::Duration;

use peerstack_netsim::{FirewallPolicy, Lab, LinkConfig, Nat, addr, ip};

use crate::p2p_transport_channel::tests::harness::*;
use crate::*;

fn active(config: &mut P2PTransportChannelConfig) {
    config.port_allocator.tcp_candidates = TcpCandidatePolicy::Active;
}

fn active_passive(config: &mut P2PTransportChannelConfig) {
    config.port_allocator.tcp_candidates = TcpCandidatePolicy::ActivePassive;
}

/// Two public hosts, each behind a firewall.
fn walled(
    a: (FirewallPolicy, fn(&mut P2PTransportChannelConfig)),
    b: (FirewallPolicy, fn(&mut P2PTransportChannelConfig)),
) -> Pair {
    let lab = Lab::new(1, origin());
    let peer = |name: &str, policy, address: &str, seed, configure: fn(&mut P2PTransportChannelConfig)| {
        let wall = lab.firewall(&format!("{name}-wall"), &lab.internet(), policy);
        let host = lab.host_at(name, &wall, ip(address));
        host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
        Peer::new(host, name, seed, configure)
    };
    let (a, b) = (peer("a", a.0, "192.0.2.1", 1, a.1), peer("b", b.0, "192.0.2.2", 2, b.1));
    Pair::new(lab, a, b)
}

fn tcp_types(peer: &Peer) -> (Option<TcpCandidateType>, Option<TcpCandidateType>) {
    let pair = peer.channel.selected_candidate_pair().unwrap();
    assert_eq!((pair.local.protocol, pair.remote.protocol), (IceProtocol::Tcp, IceProtocol::Tcp));
    (pair.local.tcp_type, pair.remote.tcp_type)
}

use CandidateType::{Host, Prflx};
use TcpCandidateType::{Active, Passive};

/// C19: one end listens, the other only connects: host and peer-reflexive, passive and active.
#[test]
fn active_connects_to_passive() {
    let mut pair = walled((FirewallPolicy::BlockUdp, active_passive), (FirewallPolicy::BlockUdp, active));
    pair.connect();
    assert_eq!(pair.a.selected_types(), Some((Host, Prflx)));
    assert_eq!(pair.b.selected_types(), Some((Prflx, Host)));
    assert_eq!(
        (tcp_types(&pair.a), tcp_types(&pair.b)),
        ((Some(Passive), Some(Active)), (Some(Active), Some(Passive)))
    );
    pair.exchange_data();
    let signalled: Vec<String> =
        pair.b.channel.stats(pair.now).local_candidates.iter().map(Candidate::to_sdp).collect();
    assert!(
        signalled.iter().any(|line| line.contains("tcp") && line.contains(" 9 typ host tcptype active")),
        "{signalled:?}"
    );
}

/// C20: a host that can only connect outward by TCP still connects; two of them do not.
#[test]
fn outward_only() {
    let closed = FirewallPolicy::BlockUdpAndIncomingTcp;
    let mut pair = walled((closed, active_passive), (FirewallPolicy::BlockUdp, active_passive));
    pair.connect();
    assert_eq!(
        (pair.a.selected_types(), pair.b.selected_types()),
        (Some((Prflx, Host)), Some((Host, Prflx)))
    );
    pair.exchange_data();
    let mut pair = walled((closed, active_passive), (closed, active_passive));
    pair.start();
    pair.run_for(Duration::from_secs(90));
    assert!(!pair.both_connected());
    assert_eq!(pair.a.channel.state(), IceTransportState::Failed);
}

/// Section 1 of the behaviours: where both could listen, the controlling side's host candidate wins.
#[test]
fn both_could_listen() {
    let mut pair =
        walled((FirewallPolicy::BlockUdp, active_passive), (FirewallPolicy::BlockUdp, active_passive));
    pair.connect();
    pair.run_for(ms(3000));
    assert_eq!(
        (pair.a.selected_types(), pair.b.selected_types()),
        (Some((Host, Prflx)), Some((Prflx, Host)))
    );
    pair.exchange_data();
}

/// UDP wins where it works: TCP candidates are of lower priority.
#[test]
fn udp_is_preferred() {
    let mut pair =
        walled((FirewallPolicy::AllowAll, active_passive), (FirewallPolicy::AllowAll, active_passive));
    pair.connect();
    pair.run_for(ms(3000));
    let selected = pair.a.channel.selected_candidate_pair().unwrap();
    assert_eq!(selected.local.protocol, IceProtocol::Udp);
}

/// C18: a connection that breaks is connected again; data flows on.
#[test]
fn a_broken_connection_is_connected_again() {
    let mut pair = walled((FirewallPolicy::BlockUdp, active_passive), (FirewallPolicy::BlockUdp, active));
    pair.connect();
    pair.exchange_data();
    // The peer's end forgets the connection: what comes next is answered by a reset.
    let at_a = pair.a.channel.selected_candidate_pair().unwrap();
    pair.a.host.stop_serving(at_a.local.address.ip().unwrap());
    pair.run_for(Duration::from_secs(8));
    assert!(pair.both_connected());
    pair.exchange_data();
}

/// G01: host candidates over TCP follow the policy: passive with its port, active with port 9, after those of UDP.
#[test]
fn candidates_follow_what_sockets_there_are() {
    let mut pair = walled((FirewallPolicy::AllowAll, active_passive), (FirewallPolicy::AllowAll, active));
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.b.gather(pair.now);
    pair.run_for(ms(100));
    let kinds = |peer: &Peer| peer.outbox.iter().map(|c| (c.protocol, c.tcp_type)).collect::<Vec<_>>();
    assert_eq!(kinds(&pair.a), [(IceProtocol::Udp, None), (IceProtocol::Tcp, Some(Passive))]);
    assert_eq!(kinds(&pair.b), [(IceProtocol::Udp, None), (IceProtocol::Tcp, Some(Active))]);
    assert_eq!(pair.b.outbox[1].address.port(), 9);
    assert_eq!(pair.a.outbox[1].priority >> 24, 90);
    // The TCP phase is a step delay after the first.
    let at = pair.a.events.iter().rev().find_map(|(at, event)| match event {
        IceTransportEvent::CandidateGathered(candidate) if candidate.protocol == IceProtocol::Tcp => {
            Some(*at)
        }
        _ => None,
    });
    assert_eq!(at, Some(ms(50)));
}

/// A stream that says nothing is closed, and streams are bounded; closing leaves nothing open.
#[test]
fn strangers_are_not_kept() {
    let mut pair = walled((FirewallPolicy::AllowAll, active_passive), (FirewallPolicy::AllowAll, active));
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.run_for(ms(100));
    let passive = pair.a.outbox[1].address.ip().unwrap();
    let stranger = pair.lab.host_at("stranger", &pair.lab.internet(), ip("198.51.100.3"));
    let before = pair.lab.open_sockets();
    let mut streams: Vec<_> =
        (0..100).map(|_| stranger.connect_from(addr("198.51.100.3:0"), passive).unwrap()).collect();
    use peerstack_base::AsyncStreamSocket;
    for stream in &mut streams {
        let _ = stream.try_write(&[0; 10]);
    }
    pair.run_for(ms(1000));
    assert_eq!(pair.lab.open_sockets(), before + 100 + 64);
    pair.run_for(Duration::from_secs(20));
    assert_eq!(pair.lab.open_sockets(), before + 100);
    drop(streams);
    pair.a.channel.close(pair.now);
    pair.b.channel.close(pair.now);
    pair.run_for(ms(1000));
    assert_eq!(pair.lab.open_sockets(), 0);
}

/// Behind a NAT outward connections work too.
#[test]
fn through_a_nat() {
    let lab = Lab::new(1, origin());
    let nat = Nat::symmetric("nat", &lab.internet(), ip("203.0.113.1"));
    let wall = lab.firewall("wall", &nat, FirewallPolicy::BlockUdp);
    let a = Peer::new(lab.host_at("a", &wall, ip("192.168.0.2")), "a", 1, active);
    let b = Peer::new(lab.host_at("b", &lab.internet(), ip("192.0.2.2")), "b", 2, active_passive);
    let mut pair = Pair::new(lab, a, b);
    pair.connect();
    pair.exchange_data();
    assert_eq!(pair.b.selected_types(), Some((Host, Prflx)));
}
