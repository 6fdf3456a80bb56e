//! Which networks are used, and what a filter lets through.

use super::*;
use std::net::SocketAddr;

use super::candidate_filter::passes_filter;
use crate::{Candidate, CandidateFilter};

#[derive(Debug)]
struct NoSockets;

impl PacketSocketFactory for NoSockets {
    fn create_udp_socket(
        &mut self,
        _: SocketAddr,
        _: Option<peerstack_base::PortRange>,
    ) -> std::io::Result<Box<dyn peerstack_base::AsyncUdpSocket>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

fn network(id: u16, adapter_type: AdapterType, ips: &[&str]) -> Network {
    Network {
        name: format!("if{id}"),
        adapter_type,
        prefix_len: 24,
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        id,
        preference: 127 - id as u8,
    }
}

fn used(networks: &[Network], configure: impl FnOnce(&mut PortAllocatorConfig)) -> Vec<u16> {
    let mut config = PortAllocatorConfig::default();
    configure(&mut config);
    let allocator = BasicPortAllocator::new(config, networks.to_vec(), Box::new(NoSockets));
    allocator.usable_networks().iter().map(|network| network.id).collect()
}

/// G02: loopback only if allowed.
#[test]
fn loopback_is_used_only_if_allowed() {
    let networks = [
        network(1, AdapterType::Loopback, &["127.0.0.1"]),
        network(2, AdapterType::Ethernet, &["192.0.2.1"]),
    ];
    assert_eq!(used(&networks, |_| {}), [2]);
    assert_eq!(used(&networks, |config| config.allow_loopback = true), [1, 2]);
    assert_eq!(used(&networks[..1], |_| {}), Vec::<u16>::new());
}

/// G03: ignored kinds; link-local IPv6 and networks without addresses are never used.
#[test]
fn ignored_kinds_and_useless_addresses() {
    let networks = [
        network(1, AdapterType::Wifi, &["192.0.2.1"]),
        network(2, AdapterType::Vpn, &["10.0.0.1"]),
        network(3, AdapterType::Ethernet, &["fe80::1"]),
        network(4, AdapterType::Ethernet, &[]),
    ];
    assert_eq!(used(&networks, |_| {}), [1, 2]);
    assert_eq!(used(&networks, |config| config.network_ignore_mask = vec![AdapterType::Vpn]), [1]);
}

/// G04: costly networks are left out if there are others, link-local ones not counted.
#[test]
fn costly_networks() {
    let networks =
        [network(1, AdapterType::Wifi, &["192.0.2.1"]), network(2, AdapterType::Cellular, &["198.51.100.1"])];
    let disable = |config: &mut PortAllocatorConfig| config.disable_costly_networks = true;
    assert_eq!(used(&networks, disable), [1]);
    assert_eq!(used(&networks[1..], disable), [2]);
    let link_local = [
        network(1, AdapterType::Wifi, &["169.254.1.1"]),
        network(2, AdapterType::Cellular, &["198.51.100.1"]),
    ];
    assert_eq!(used(&link_local, disable), [1, 2]);
}

/// G05: IPv6 networks are limited, spread over kinds; IPv4 is not.
#[test]
fn ipv6_networks_are_limited() {
    let mut networks: Vec<Network> =
        (1..=3).map(|id| network(id, AdapterType::Ethernet, &["2001:db8::1"])).collect();
    networks.push(network(4, AdapterType::Wifi, &["2001:db8:1::1"]));
    networks.push(network(5, AdapterType::Cellular, &["2001:db8:2::1"]));
    networks.push(network(6, AdapterType::Ethernet, &["192.0.2.1"]));
    assert_eq!(used(&networks, |config| config.max_ipv6_networks = 4), [1, 2, 4, 5, 6]);
    assert_eq!(used(&networks, |config| config.max_ipv6_networks = 2), [1, 4, 6]);
    assert_eq!(used(&networks, |config| config.max_ipv6_networks = 0), [6]);
}

/// G09: nothing listed: the "any" addresses.
#[test]
fn without_a_list_the_any_addresses_are_used() {
    let allocator = BasicPortAllocator::new(PortAllocatorConfig::default(), Vec::new(), Box::new(NoSockets));
    let ips: Vec<_> = allocator.usable_networks().iter().filter_map(Network::best_ip).collect();
    assert_eq!(ips, [IpAddr::from([0, 0, 0, 0]), IpAddr::from([0u16; 8])]);
}

/// G16: a public host address stands in for the server-reflexive one.
#[test]
fn filters_let_public_hosts_through_as_server_reflexive() {
    let srflx = CandidateFilter { host: false, srflx: true, relay: false };
    let host = |ip: &str| Candidate::parse(&format!("candidate:1 1 udp 1 {ip} 9 typ host")).unwrap();
    assert!(passes_filter(srflx, &host("203.0.113.1")));
    assert!(passes_filter(srflx, &host("2001:db8::1")));
    for private in ["192.168.0.1", "10.0.0.1", "127.0.0.1", "169.254.0.1", "fd00::1", "::1"] {
        assert!(!passes_filter(srflx, &host(private)), "{private}");
    }
}

/// A server's credentials are never shown.
#[test]
fn credentials_are_not_shown() {
    let server =
        crate::IceServer { username: "alice".into(), password: "s3cret".into(), ..Default::default() };
    let shown = format!("{server:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("alice"));
}
