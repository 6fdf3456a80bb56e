//! NAT behaviours of RFC 4787 one by one, nesting, rebinding, and firewalls.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::net::SocketAddr;
use std::time::Instant;

use common::{ms, start};
use peerstack_netsim::{
    DropReason, FirewallPolicy, HostSocket, Lab, Nat, NatBehaviour, NatConfig, PortAssignment, Segment, addr,
    ip,
};

const INSIDE: &str = "192.168.0.2:5000";
const EXTERNAL: &str = "203.0.113.1";

/// A host behind a NAT, and three remote endpoints: two on one host, one on another.
struct Setting {
    start: Instant,
    lab: Lab,
    nat: Nat,
    inside: HostSocket,
    remote: [HostSocket; 3],
}

fn setting(config: NatConfig) -> Setting {
    let start = start();
    let lab = Lab::new(5, start);
    let nat = Nat::new("home", &lab.internet(), ip(EXTERNAL), config);
    let inside = lab.host_at("alice", &nat, ip("192.168.0.2")).bind(addr(INSIDE)).unwrap();
    let one = lab.host_at("one", &lab.internet(), ip("198.51.100.1"));
    let two = lab.host_at("two", &lab.internet(), ip("198.51.100.2"));
    let remote = [
        one.bind(addr("198.51.100.1:100")).unwrap(),
        one.bind(addr("198.51.100.1:200")).unwrap(),
        two.bind(addr("198.51.100.2:100")).unwrap(),
    ];
    Setting { start, lab, nat, inside, remote }
}

impl Setting {
    /// Sends from inside to a remote endpoint and tells which source it saw.
    fn out(&self, remote: usize) -> SocketAddr {
        self.inside.send_to(b"out", self.remote[remote].local()).unwrap();
        self.lab.advance(self.lab.now());
        self.remote[remote].try_recv().unwrap().source
    }

    /// Whether a packet from a remote endpoint to an external one comes in.
    fn comes_in(&self, remote: usize, external: SocketAddr) -> bool {
        self.remote[remote].send_to(b"in", external).unwrap();
        self.lab.advance(self.lab.now());
        let datagram = self.inside.try_recv();
        assert!(datagram.as_ref().is_none_or(|datagram| datagram.source == self.remote[remote].local()));
        datagram.is_some()
    }
}

fn config(mapping: NatBehaviour, filtering: NatBehaviour) -> NatConfig {
    NatConfig { mapping, filtering, ..NatConfig::full_cone() }
}

#[test]
fn mapping_endpoint_independent_reuses_the_external_endpoint_for_all() {
    let s = setting(config(NatBehaviour::EndpointIndependent, NatBehaviour::EndpointIndependent));
    let external = addr("203.0.113.1:5000");
    assert_eq!([s.out(0), s.out(1), s.out(2)], [external; 3]);
    assert_eq!(s.nat.mappings(), [(addr(INSIDE), external)]);
}

#[test]
fn mapping_address_dependent_reuses_it_for_one_address() {
    let s = setting(config(NatBehaviour::AddressDependent, NatBehaviour::EndpointIndependent));
    let [one, same, other] = [s.out(0), s.out(1), s.out(2)];
    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[test]
fn mapping_address_and_port_dependent_reuses_it_for_one_endpoint() {
    let s = setting(config(NatBehaviour::AddressAndPortDependent, NatBehaviour::EndpointIndependent));
    let [one, two, three, again] = [s.out(0), s.out(1), s.out(2), s.out(0)];
    assert!(one != two && two != three && one != three);
    assert_eq!(one, again);
    assert_eq!(s.nat.mappings().len(), 3);
}

#[test]
fn filtering_behaviours_admit_by_endpoint() {
    use NatBehaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    for (filtering, admitted) in [
        (EndpointIndependent, [true, true, true]),
        (AddressDependent, [true, true, false]),
        (AddressAndPortDependent, [true, false, false]),
    ] {
        let s = setting(config(EndpointIndependent, filtering));
        let external = s.out(0);
        let came_in = [0, 1, 2].map(|remote| s.comes_in(remote, external));
        assert_eq!(came_in, admitted, "{filtering:?}");
        let filtered = admitted.iter().filter(|admitted| !**admitted).count() as u64;
        assert_eq!(s.lab.dropped(DropReason::NatFilter), filtered);
    }
}

#[test]
fn nothing_comes_in_without_a_mapping() {
    let s = setting(NatConfig::full_cone());
    assert!(!s.comes_in(0, addr("203.0.113.1:5000")));
    assert!(!s.comes_in(0, addr("203.0.113.1:5001")));
    assert_eq!(s.lab.dropped(DropReason::NatNoMapping), 2);
    // Nor to an inside address, which nobody outside can name.
    s.remote[0].send_to(b"in", addr(INSIDE)).unwrap();
    s.lab.advance(s.start);
    assert_eq!(s.lab.dropped(DropReason::NoRoute), 1);
}

#[test]
fn the_classic_four() {
    // Which of: other port of the same host, other host; and whether a second destination sees the same source.
    for (config, other_port, other_host, same_source) in [
        (NatConfig::full_cone(), true, true, true),
        (NatConfig::address_restricted(), true, false, true),
        (NatConfig::port_restricted(), false, false, true),
        (NatConfig::symmetric(), false, false, false),
    ] {
        let s = setting(config.clone());
        let external = s.out(0);
        assert!(s.comes_in(0, external), "{config:?}");
        assert_eq!(s.comes_in(1, external), other_port, "{config:?}");
        assert_eq!(s.comes_in(2, external), other_host, "{config:?}");
        assert_eq!(s.out(2) == external, same_source, "{config:?}");
    }
}

#[test]
fn ports_are_preserved_where_free_else_the_next() {
    let s = setting(NatConfig::port_restricted());
    let second = s.lab.host_at("second", &s.nat, ip("192.168.0.3")).bind(addr("192.168.0.3:5000")).unwrap();
    assert_eq!(s.out(0), addr("203.0.113.1:5000"));
    second.send_to(b"x", s.remote[0].local()).unwrap();
    s.lab.advance(s.start);
    assert_eq!(s.remote[0].try_recv().unwrap().source, addr("203.0.113.1:5001"));
}

#[test]
fn ports_can_be_sequential_or_random_by_the_seed() {
    let s = setting(NatConfig::symmetric().with_ports(PortAssignment::Sequential));
    assert_eq!([s.out(0).port(), s.out(1).port()], [1024, 1025]);
    let random = || {
        let s = setting(NatConfig::symmetric());
        [s.out(0).port(), s.out(1).port()]
    };
    assert_eq!(random(), random());
    assert_ne!(random()[0] + 1, random()[1]);
}

#[test]
fn hairpinning_shows_the_external_source_and_is_off_at_first() {
    for on in [false, true] {
        let s = setting(NatConfig { hairpinning: on, ..NatConfig::full_cone() });
        let other = s.lab.host_at("other", &s.nat, ip("192.168.0.3")).bind(addr("192.168.0.3:6000")).unwrap();
        let external = s.out(0);
        other.send_to(b"hairpin", external).unwrap();
        s.lab.advance(s.start);
        let datagram = s.inside.try_recv();
        assert_eq!(datagram.map(|datagram| datagram.source), on.then_some(addr("203.0.113.1:6000")));
        assert_eq!(s.lab.dropped(DropReason::NatHairpin), u64::from(!on));
    }
}

#[test]
fn hairpinned_packets_are_filtered_too() {
    let s = setting(NatConfig::port_restricted().with_hairpinning());
    let other = s.lab.host_at("other", &s.nat, ip("192.168.0.3")).bind(addr("192.168.0.3:6000")).unwrap();
    let external = s.out(0);
    other.send_to(b"hairpin", external).unwrap();
    s.lab.advance(s.start);
    assert_eq!(s.inside.try_recv(), None);
    assert_eq!(s.lab.dropped(DropReason::NatFilter), 1);
    s.inside.send_to(b"first", addr("203.0.113.1:6000")).unwrap();
    s.lab.advance(s.start);
    assert_eq!(other.try_recv().unwrap().source, external);
    other.send_to(b"hairpin", external).unwrap();
    s.lab.advance(s.start);
    assert!(s.inside.try_recv().is_some());
}

#[test]
fn inside_hosts_reach_each_other_untranslated() {
    let s = setting(NatConfig::symmetric());
    let other = s.lab.host_at("other", &s.nat, ip("192.168.0.3")).bind(addr("192.168.0.3:6000")).unwrap();
    other.send_to(b"lan", addr(INSIDE)).unwrap();
    s.lab.advance(s.start);
    assert_eq!(s.inside.try_recv().unwrap().source, addr("192.168.0.3:6000"));
    assert!(s.nat.mappings().is_empty());
}

#[test]
fn a_mapping_dies_unless_refreshed_from_inside() {
    let s = setting(NatConfig::full_cone().with_lifetime(ms(1000)));
    let external = s.out(0);
    s.lab.advance(s.start + ms(900));
    s.out(0);
    s.lab.advance(s.start + ms(1899));
    // From outside does not refresh.
    assert!(s.comes_in(0, external));
    s.lab.advance(s.start + ms(1900));
    assert!(!s.comes_in(0, external));
    assert!(s.nat.mappings().is_empty());
}

#[test]
fn a_mapping_may_be_refreshed_from_outside() {
    let config = NatConfig { inbound_refresh: true, ..NatConfig::port_restricted().with_lifetime(ms(1000)) };
    let s = setting(config);
    let external = s.out(0);
    for round in 1..10 {
        s.lab.advance(s.start + ms(900 * round));
        assert!(s.comes_in(0, external), "round {round}");
    }
}

#[test]
fn a_permission_dies_while_its_mapping_lives() {
    let s = setting(NatConfig::port_restricted().with_lifetime(ms(1000)));
    let external = s.out(0);
    s.lab.advance(s.start + ms(600));
    s.out(1);
    s.lab.advance(s.start + ms(1200));
    assert!(!s.comes_in(0, external));
    assert!(s.comes_in(1, external));
}

#[test]
fn rebinding_changes_the_external_port_at_once() {
    let s = setting(NatConfig::port_restricted());
    let before = s.out(0);
    s.nat.rebind();
    assert!(!s.comes_in(0, before));
    let after = s.out(0);
    assert_ne!(before, after);
    assert!(s.comes_in(0, after));
    s.nat.rebind_to(&[ip("203.0.113.77")]);
    assert_eq!(s.out(0).ip(), ip("203.0.113.77"));
    assert!(!s.comes_in(0, after));
    s.nat.forget_mappings();
    assert!(s.nat.mappings().is_empty());
}

#[test]
fn nats_nest() {
    // Symmetric inside a cone: two destinations see two ports of the outer address.
    let lab = Lab::new(1, start());
    let outer = Nat::full_cone("carrier", &lab.internet(), ip(EXTERNAL));
    let inner = Nat::symmetric("home", &outer, ip("100.64.0.2"));
    let alice = lab.host_at("alice", &inner, ip("192.168.0.2")).bind(addr(INSIDE)).unwrap();
    let server = lab.host_at("server", &lab.internet(), ip("198.51.100.1"));
    let [one, two] = [100, 200].map(|port| server.bind(SocketAddr::new(ip("198.51.100.1"), port)).unwrap());
    for socket in [&one, &two] {
        alice.send_to(b"out", socket.local()).unwrap();
    }
    lab.advance(lab.now());
    let [first, second] = [one.try_recv().unwrap().source, two.try_recv().unwrap().source];
    assert_eq!([first.ip(), second.ip()], [ip(EXTERNAL); 2]);
    assert_ne!(first.port(), second.port());
    one.send_to(b"reply", first).unwrap();
    // The outer one is open to anybody, the inner one is not.
    two.send_to(b"stranger", first).unwrap();
    lab.advance(lab.now());
    assert_eq!(alice.try_recv().unwrap().payload, b"reply");
    assert_eq!(alice.try_recv(), None);
    assert_eq!(lab.dropped(DropReason::NatFilter), 1);
    assert_eq!(inner.mappings()[0].0, addr(INSIDE));
    assert_eq!(outer.mappings()[0].0.ip(), ip("100.64.0.2"));
}

#[test]
fn a_double_cone_hairpins_at_the_outer_nat() {
    let lab = Lab::new(1, start());
    let outer = Nat::new("carrier", &lab.internet(), ip(EXTERNAL), NatConfig::full_cone().with_hairpinning());
    let server =
        lab.host_at("server", &lab.internet(), ip("198.51.100.1")).bind(addr("198.51.100.1:1")).unwrap();
    let mut homes = Vec::new();
    for (name, external, port) in [("a", "100.64.0.2", 5000), ("b", "100.64.0.3", 6000)] {
        let home = Nat::full_cone(&format!("home {name}"), &outer, ip(external));
        let host = lab.host_at(name, &home, ip("192.168.0.2"));
        homes.push(host.bind(SocketAddr::new(ip("192.168.0.2"), port)).unwrap());
    }
    let [a, b] = &homes[..] else { unreachable!() };
    b.send_to(b"register", server.local()).unwrap();
    lab.advance(lab.now());
    let b_external = server.try_recv().unwrap().source;
    a.send_to(b"hello", b_external).unwrap();
    lab.advance(lab.now());
    assert_eq!(b.try_recv().unwrap().source, addr("203.0.113.1:5000"));
}

#[test]
fn a_family_without_external_address_is_routed() {
    let lab = Lab::new(1, start());
    let nat = Nat::symmetric("home", &lab.internet(), ip(EXTERNAL));
    let alice = lab.host_at("alice", &nat, ip("2001:db8::2")).bind(addr("[2001:db8::2]:1")).unwrap();
    let bob =
        lab.host_at("bob", &lab.internet(), ip("2001:db8:1::2")).bind(addr("[2001:db8:1::2]:2")).unwrap();
    bob.send_to(b"in", alice.local()).unwrap();
    alice.send_to(b"out", bob.local()).unwrap();
    lab.advance(lab.now());
    assert_eq!(alice.try_recv().unwrap().source, bob.local());
    assert_eq!(bob.try_recv().unwrap().source, alice.local());
}

fn firewalled(policy: FirewallPolicy) -> (Lab, HostSocket, HostSocket, HostSocket) {
    let lab = Lab::new(1, start());
    let firewall = lab.firewall("office", &lab.internet(), policy);
    let inside = lab.host_at("inside", &firewall, ip("192.0.2.1")).bind(addr("192.0.2.1:1")).unwrap();
    let colleague = lab.host_at("colleague", &firewall, ip("192.0.2.2")).bind(addr("192.0.2.2:2")).unwrap();
    let outside =
        lab.host_at("outside", &lab.internet(), ip("198.51.100.1")).bind(addr("198.51.100.1:3")).unwrap();
    (lab, inside, colleague, outside)
}

fn goes(lab: &Lab, from: &HostSocket, to: &HostSocket) -> bool {
    from.send_to(b"x", to.local()).unwrap();
    lab.advance(lab.now());
    let datagram = to.try_recv();
    assert!(datagram.as_ref().is_none_or(|datagram| datagram.source == from.local()));
    datagram.is_some()
}

#[test]
fn a_firewall_that_blocks_udp_blocks_it_both_ways_but_not_inside() {
    let (lab, inside, colleague, outside) = firewalled(FirewallPolicy::BlockUdp);
    assert!(!goes(&lab, &inside, &outside));
    assert!(!goes(&lab, &outside, &inside));
    assert!(goes(&lab, &inside, &colleague));
    assert_eq!(lab.dropped(DropReason::Firewall), 2);
}

#[test]
fn a_firewall_for_replies_lets_them_in_for_a_while() {
    let (lab, inside, colleague, outside) = firewalled(FirewallPolicy::RepliesOnly { lifetime: ms(1000) });
    assert!(!goes(&lab, &outside, &inside));
    assert!(goes(&lab, &inside, &outside));
    assert!(goes(&lab, &outside, &inside));
    assert!(!goes(&lab, &outside, &colleague));
    lab.advance(lab.now() + ms(1000));
    assert!(!goes(&lab, &outside, &inside));
}

#[test]
fn a_firewall_can_be_opened_and_routers_nest() {
    let lab = Lab::new(1, start());
    let firewall = lab.firewall("office", &lab.internet(), FirewallPolicy::BlockUdp);
    let floor = lab.router("floor", &firewall);
    let inside = lab.host_at("inside", &floor, ip("192.0.2.1")).bind(addr("192.0.2.1:1")).unwrap();
    let outside =
        lab.host_at("outside", &lab.internet(), ip("198.51.100.1")).bind(addr("198.51.100.1:3")).unwrap();
    assert!(!goes(&lab, &outside, &inside));
    firewall.set_policy(FirewallPolicy::AllowAll);
    assert!(goes(&lab, &outside, &inside));
    assert!(goes(&lab, &inside, &outside));
    assert!(floor.uplink().is_some() && lab.internet().uplink().is_none());
    assert!(firewall.as_router().uplink().is_some());
}
