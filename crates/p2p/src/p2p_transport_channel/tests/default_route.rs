//! The default route alone, and sockets that are not what they should be.

use std::io;
use std::net::{IpAddr, SocketAddr};

use peerstack_base::{
    AdapterType, AsyncStreamSocket, AsyncUdpSocket, PacketSocketFactory, PortRange, StreamOptions,
};
use peerstack_netsim::{FirewallPolicy, Host, Lab, LinkConfig, Nat, TurnServer, addr, ip};

use super::harness::*;
use crate::*;

use CandidateType::{Host as HostType, Relay, Srflx};

const TURN: &str = "198.51.100.7:3478";

/// A host with two networks, both behind a NAT; the first is the default route. A TURN server.
fn home(lab: &Lab) -> Host {
    let turn = lab.host_at("turn", &lab.internet(), ip("198.51.100.7"));
    TurnServer::new(&turn, addr(TURN), &[ip("198.51.100.7")], &[("user", "pass")]);
    turn.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    let nat = Nat::port_restricted("home", &lab.internet(), ip("203.0.113.1"));
    let host = lab.host("a");
    host.add_interface("eth0", AdapterType::Ethernet, &nat, &[ip("192.168.0.2")]);
    host.add_interface("vpn0", AdapterType::Vpn, &nat, &[ip("192.168.0.3")]);
    host
}

fn turn_server(config: &mut P2PTransportChannelConfig) {
    config.port_allocator.ice_servers = vec![IceServer {
        urls: vec!["turn:198.51.100.7".parse().unwrap()],
        username: "user".into(),
        password: "pass".into(),
    }];
}

fn gather(configure: impl FnOnce(&mut P2PTransportChannelConfig)) -> Pair {
    let lab = Lab::new(1, origin());
    let a = Peer::new(home(&lab), "a", 1, |config| {
        turn_server(config);
        config.port_allocator.adapter_enumeration = false;
        configure(config);
    });
    let b = Peer::new(lab.host_at("b", &lab.internet(), ip("192.0.2.2")), "b", 2, |_| {});
    let mut pair = Pair::new(lab, a, b);
    pair.trickle = false;
    pair.a.gather(pair.now);
    pair.run_for(ms(1000));
    assert_eq!(pair.a.channel.gathering_state(), IceGatheringState::Complete);
    pair
}

/// G10: without enumeration: the default route's private address, one mapped and one relayed one, and nothing of the
/// other network; they connect.
#[test]
fn the_default_route_alone_is_used() {
    let mut pair = gather(|_| {});
    let told: Vec<_> =
        pair.a.outbox.iter().map(|it| (it.candidate_type, it.address.ip().unwrap().ip())).collect();
    let expected = [(HostType, ip("192.168.0.2")), (Srflx, ip("203.0.113.1")), (Relay, ip("198.51.100.7"))];
    assert_eq!(told, expected);
    assert_eq!(pair.a.outbox[1].related_address, pair.a.outbox[0].address.ip());
    assert!(pair.a.outbox.iter().all(|candidate| candidate.adapter_type == AdapterType::Any));
    pair.trickle = true;
    pair.connect();
    pair.exchange_data();
}

/// G10: without its host candidate no address of the host is told, related ones included; they connect all the same.
#[test]
fn the_default_routes_address_can_be_hidden() {
    let mut pair = gather(|config| config.port_allocator.default_local_candidate = false);
    let types: Vec<_> = pair.a.outbox.iter().map(|candidate| candidate.candidate_type).collect();
    assert_eq!(types, [Srflx, Relay]);
    assert_eq!(pair.a.outbox[0].related_address, Some(addr("0.0.0.0:0")));
    assert!(!pair.a.outbox.iter().any(|candidate| candidate.to_sdp().contains("192.168.")));
    pair.trickle = true;
    pair.connect();
    pair.exchange_data();
}

/// G11: without enumeration, relays only and no TURN server: no socket at all.
#[test]
fn nothing_is_bound_where_nothing_may_be_told() {
    let pair = gather(|config| {
        config.port_allocator.ice_servers.clear();
        config.port_allocator.candidate_filter = CandidateFilter::RELAY;
    });
    assert!(pair.a.outbox.is_empty() && pair.a.socket_ids().is_empty());
}

/// A factory whose sockets are bound to another address than they were asked for.
#[derive(Debug)]
struct Astray {
    factory: Box<dyn PacketSocketFactory>,
    ip: IpAddr,
}

impl PacketSocketFactory for Astray {
    fn create_udp_socket(
        &mut self,
        local: SocketAddr,
        ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncUdpSocket>> {
        self.factory.create_udp_socket(SocketAddr::new(self.ip, local.port()), ports)
    }

    fn create_client_tcp_socket(
        &mut self,
        local: SocketAddr,
        options: &StreamOptions,
    ) -> io::Result<Box<dyn AsyncStreamSocket>> {
        self.factory.create_client_tcp_socket(SocketAddr::new(self.ip, local.port()), options)
    }
}

/// `a` has two networks and sockets that end up on `bound`; its TURN server is reached by TCP alone.
fn astray(bound: &str, more: &[&str]) -> Pair {
    let lab = Lab::new(1, origin());
    let turn = lab.host_at("turn", &lab.internet(), ip("198.51.100.7"));
    let server = TurnServer::new(&turn, addr(TURN), &[ip("198.51.100.7")], &[("user", "pass")]);
    server.listen_tcp(addr(TURN));
    let wall = lab.firewall("wall", &lab.internet(), FirewallPolicy::BlockUdp);
    let host = lab.host("a");
    let ips: Vec<IpAddr> = ["192.0.2.1"].iter().chain(more).map(|text| ip(text)).collect();
    host.add_interface("eth0", AdapterType::Ethernet, &wall, &ips);
    host.add_interface("eth1", AdapterType::Ethernet, &wall, &[ip("198.51.100.1")]);
    let a = Peer::new(host.clone(), "a", 1, |config| {
        turn_server(config);
        config.port_allocator.ice_servers[0].urls = vec!["turn:198.51.100.7?transport=tcp".parse().unwrap()];
        config.port_allocator.tcp_candidates = TcpCandidatePolicy::Active;
        config.networks.truncate(1);
        config.packet_socket_factory =
            Box::new(Astray { factory: host.packet_socket_factory(), ip: ip(bound) });
    });
    let b_wall = lab.firewall("b-wall", &lab.internet(), FirewallPolicy::BlockUdp);
    let b = Peer::new(lab.host_at("b", &b_wall, ip("192.0.2.2")), "b", 2, |config| {
        config.port_allocator.tcp_candidates = TcpCandidatePolicy::ActivePassive;
    });
    let mut pair = Pair::new(lab, a, b);
    pair.start();
    pair.run_for(ms(8000));
    pair
}

/// G35: what the system bound to another network is not used: no UDP candidate, no relay (and an error event that says
/// why), and no connection over TCP.
#[test]
fn sockets_of_another_network_are_not_used() {
    let pair = astray("198.51.100.1", &[]);
    let types: Vec<_> =
        pair.a.channel.stats(pair.now).local_candidates.iter().map(|it| it.protocol).collect();
    assert_eq!(types, [IceProtocol::Tcp], "the active one, which has no socket yet");
    let told = pair.a.events.iter().any(|(_, event)| {
        matches!(event, IceTransportEvent::CandidateError(error)
            if error.error_code == 701 && error.error_text.contains("another network"))
    });
    assert!(told);
    assert!(!pair.both_connected());
}

/// G35: another address of the same network is as good.
#[test]
fn other_addresses_of_the_network_are_used() {
    let mut pair = astray("192.0.2.11", &["192.0.2.11"]);
    assert!(pair.both_connected());
    let candidates = pair.a.channel.stats(pair.now).local_candidates;
    assert!(candidates.iter().any(|candidate| candidate.candidate_type == Relay));
    pair.exchange_data();
}
