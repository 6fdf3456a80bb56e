//! The whole of it on the virtual network, under the paused clock.

use std::time::Duration;

use peerstack_netsim::{DnsAnswer, Host, Lab, LinkConfig, Nat, NatConfig, StunServer, addr, ip};

use super::*;
use crate::RtcErrorKind;

fn lab() -> (Lab, StunServer) {
    let lab = Lab::start(5);
    let host = lab.host_at("stun", &lab.internet(), ip("198.51.100.1"));
    let second = [ip("198.51.100.2")];
    host.add_interface("eth1", peerstack_base::AdapterType::Ethernet, &lab.internet(), &second);
    lab.set_name("stun.example.org", &[ip("2001:db8::1"), ip("198.51.100.1")]);
    let server = StunServer::with_other_address(&host, addr("198.51.100.1:3478"), addr("198.51.100.2:3479"));
    (lab, server)
}

fn dependencies(lab: &Lab, host: &Host) -> PeerConnectionDependencies {
    PeerConnectionDependencies {
        packet_socket_factory: host.packet_socket_factory(),
        network_manager: host.network_manager(),
        dns_resolver: lab.dns_resolver(),
        random: peerstack_base::Random::from_seed(1),
        ..PeerConnectionDependencies::default()
    }
}

#[tokio::test(start_paused = true)]
async fn each_nat_has_its_name() {
    for (nat, expected) in [
        (NatConfig::full_cone(), NatType::FullCone),
        (NatConfig::address_restricted(), NatType::RestrictedCone),
        (NatConfig::port_restricted(), NatType::PortRestrictedCone),
        (NatConfig::symmetric(), NatType::Symmetric),
    ] {
        let (lab, _server) = lab();
        let nat = Nat::new("home", &lab.internet(), ip("203.0.113.1"), nat);
        let host = lab.host_at("client", &nat, ip("192.168.0.2"));
        host.interfaces()[0].link().configure(LinkConfig::latency(Duration::from_millis(20)));
        let mut dependencies = dependencies(&lab, &host);
        let server = "stun:stun.example.org";
        let report = discover_from(server, Some(ip("192.168.0.2")), &mut dependencies).await.unwrap();
        assert_eq!(report.nat_type(), Some(expected));
        assert_eq!(report.local.ip(), ip("192.168.0.2"));
        // The socket is gone.
        assert_eq!(lab.open_sockets(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_blocked_and_not_an_error() {
    let (lab, server) = lab();
    server.configure(|config| config.answers = false);
    let host = lab.host_at("client", &lab.internet(), ip("192.0.2.5"));
    let begun = lab.now();
    let report = discover_from("stun:198.51.100.1", None, &mut dependencies(&lab, &host)).await.unwrap();
    assert_eq!((report.nat_type(), lab.now() - begun), (Some(NatType::UdpBlocked), NAT_TEST_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_errors_that_say_what_is_wrong() {
    let (lab, _server) = lab();
    lab.set_answer("unknown.example.org", DnsAnswer::Error(io::ErrorKind::NotFound));
    let host = lab.host_at("client", &lab.internet(), ip("192.0.2.5"));
    for (url, local, kind, part) in [
        ("http://x", None, RtcErrorKind::SyntaxError, "http://x"),
        ("turn:x", None, RtcErrorKind::SyntaxError, "not a stun: URL"),
        ("stun:unknown.example.org", None, RtcErrorKind::NetworkError, "was not found"),
        ("stun:198.51.100.1", Some("::1"), RtcErrorKind::NetworkError, "no address of the family"),
        ("stun:198.51.100.1", Some("192.0.2.77"), RtcErrorKind::NetworkError, "no socket on 192.0.2.77"),
    ] {
        let error = discover_from(url, local.map(ip), &mut dependencies(&lab, &host)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn the_local_address_is_of_the_best_network_that_reaches_the_server() {
    let network = |id: u16, ips: &[&str]| Network {
        name: format!("if{id}"),
        adapter_type: peerstack_base::AdapterType::Ethernet,
        prefix_len: 24,
        ips: ips.iter().map(|text| ip(text)).collect(),
        id,
        preference: 127,
    };
    let networks = [
        network(1, &["127.0.0.1"]),
        network(2, &["fe80::1", "2001:db8::5"]),
        network(3, &["192.0.2.5"]),
        network(4, &["192.0.2.6"]),
    ];
    for (server, expected) in [
        ("198.51.100.1", "192.0.2.5"),
        ("2001:db8::1", "2001:db8::5"),
        ("127.0.0.2", "127.0.0.1"),
        ("::1", "::"),
    ] {
        assert_eq!(local_address(ip(server), &networks), ip(expected), "{server}");
    }
}
