//! Discovery behind every kind of NAT and firewall of the virtual network, and against servers that lie.

use peerstack_netsim::{
    Firewall, FirewallPolicy, HostSocket, Lab, LinkConfig, LossModel, Nat, NatConfig, Segment, StunServer,
    addr, ip,
};
use peerstack_netsim::{NatBehaviour as SimBehaviour, PortAssignment};

use super::NatBehaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
use super::*;

const SERVER: &str = "198.51.100.1:3478";
const OTHER: &str = "198.51.100.2:3479";

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin")]
fn origin() -> Instant {
    Instant::now()
}

fn lab() -> (Lab, StunServer) {
    let lab = Lab::new(5, origin());
    let host = lab.host_at("stun", &lab.internet(), ip("198.51.100.1"));
    let all = [ip("198.51.100.2")];
    host.add_interface("eth1", peerstack_base::AdapterType::Ethernet, &lab.internet(), &all);
    let server = StunServer::with_other_address(&host, addr(SERVER), addr(OTHER));
    (lab, server)
}

fn client(lab: &Lab, segment: &impl Segment, address: &str) -> HostSocket {
    let host = lab.host_at("client", segment, addr(address).ip());
    host.interfaces()[0].link().configure(LinkConfig::latency(Duration::from_millis(20)));
    host.bind(addr(address)).unwrap()
}

fn discover(lab: &Lab, socket: &HostSocket) -> (NatReport, Duration) {
    let begun = lab.now();
    let mut discovery = NatBehaviourDiscovery::new(
        begun,
        addr(SERVER),
        socket.local(),
        NAT_TEST_TIMEOUT,
        Random::from_seed(1),
    );
    for _ in 0..1_000 {
        let now = lab.now();
        while let Some(datagram) = socket.try_recv() {
            discovery.receive(now, &datagram.payload, datagram.source, Some(datagram.local_ip));
        }
        if discovery.next_timeout().is_some_and(|at| at <= now) {
            discovery.handle_timeout(now);
        }
        while let Some((to, datagram)) = discovery.poll_transmit() {
            socket.send_to(&datagram, to).unwrap();
        }
        if let Some(report) = discovery.report() {
            assert_eq!(discovery.next_timeout(), None);
            return (report.clone(), lab.now() - begun);
        }
        let next = discovery.next_timeout().into_iter().chain(lab.next_event()).min();
        lab.advance(next.unwrap());
    }
    panic!("never ends");
}

fn behind(nat: NatConfig) -> NatReport {
    let (lab, _server) = lab();
    let nat = Nat::new("home", &lab.internet(), ip("203.0.113.1"), nat);
    let socket = client(&lab, &nat, "192.168.0.2:5000");
    let (report, time) = discover(&lab, &socket);
    assert!(time <= 3 * NAT_TEST_TIMEOUT, "{time:?}");
    assert_eq!(report.mapped.unwrap().ip(), ip("203.0.113.1"));
    assert_eq!((report.local, report.other), (addr("192.168.0.2:5000"), Some(addr(OTHER))));
    assert_eq!(report.behind_nat(), Some(true));
    report
}

/// Every mapping with every filter, and the classic name of each.
#[test]
fn every_nat_is_told_by_its_behaviours() {
    let behaviours = [
        (SimBehaviour::EndpointIndependent, EndpointIndependent),
        (SimBehaviour::AddressDependent, AddressDependent),
        (SimBehaviour::AddressAndPortDependent, AddressAndPortDependent),
    ];
    for (sim_mapping, mapping) in behaviours {
        for (sim_filtering, filtering) in behaviours {
            for ports in [PortAssignment::Preserving, PortAssignment::Random, PortAssignment::Sequential] {
                let nat =
                    NatConfig { mapping: sim_mapping, filtering: sim_filtering, ..NatConfig::full_cone() };
                let report = behind(nat.with_ports(ports));
                assert_eq!((report.mapping, report.filtering), (Some(mapping), Some(filtering)));
                let classic = match (mapping, filtering) {
                    (_, EndpointIndependent) => NatType::FullCone,
                    (AddressDependent | AddressAndPortDependent, _) => NatType::Symmetric,
                    (_, AddressDependent) => NatType::RestrictedCone,
                    (_, AddressAndPortDependent) => NatType::PortRestrictedCone,
                };
                assert_eq!(report.nat_type(), Some(classic), "{mapping:?} {filtering:?}");
            }
        }
    }
}

#[test]
fn the_classic_four_have_their_names() {
    for (nat, name) in [
        (NatConfig::full_cone(), "Full Cone NAT"),
        (NatConfig::address_restricted(), "Restricted Cone NAT"),
        (NatConfig::port_restricted(), "Port Restricted Cone NAT"),
        (NatConfig::symmetric(), "Symmetric NAT"),
    ] {
        assert_eq!(behind(nat.clone()).nat_type().unwrap().to_string(), name);
        assert_eq!(behind(nat.with_hairpinning()).nat_type().unwrap().to_string(), name);
    }
}

#[test]
fn without_a_nat_it_is_open_or_a_firewall() {
    let (lab, _server) = lab();
    let socket = client(&lab, &lab.internet(), "192.0.2.5:5000");
    let (report, time) = discover(&lab, &socket);
    assert_eq!((report.behind_nat(), report.nat_type()), (Some(false), Some(NatType::OpenInternet)));
    assert_eq!(time, Duration::from_millis(80));
    for (policy, expected) in [
        (FirewallPolicy::AllowAll, NatType::OpenInternet),
        (FirewallPolicy::replies_only(), NatType::SymmetricUdpFirewall),
        (FirewallPolicy::BlockUdp, NatType::UdpBlocked),
        (FirewallPolicy::BlockUdpAndIncomingTcp, NatType::UdpBlocked),
        (FirewallPolicy::OutgoingHttpOnly, NatType::UdpBlocked),
    ] {
        let (lab, _server) = self::lab();
        let firewall: Firewall = lab.firewall("office", &lab.internet(), policy);
        let socket = client(&lab, &firewall, "192.0.2.5:5000");
        let (report, time) = discover(&lab, &socket);
        assert_eq!(report.nat_type(), Some(expected), "{policy:?}");
        assert!(time <= 2 * NAT_TEST_TIMEOUT, "{time:?}");
    }
}

/// The address stands in that the system says the answer came to.
#[test]
fn a_socket_on_the_any_address_is_no_nat() {
    let (lab, _server) = lab();
    let host = lab.host_at("client", &lab.internet(), ip("192.0.2.5"));
    let socket = host.bind(addr("0.0.0.0:5000")).unwrap();
    let (report, _) = discover(&lab, &socket);
    assert_eq!((report.local, report.nat_type()), (addr("192.0.2.5:5000"), Some(NatType::OpenInternet)));
}

/// What is lost is sent again: one lost packet is no filter.
#[test]
fn loss_is_not_taken_for_a_filter() {
    for seed in 0..20 {
        let lab = Lab::new(seed, origin());
        let host = lab.host_at("stun", &lab.internet(), ip("198.51.100.1"));
        let second = [ip("198.51.100.2")];
        host.add_interface("eth1", peerstack_base::AdapterType::Ethernet, &lab.internet(), &second);
        let _server = StunServer::with_other_address(&host, addr(SERVER), addr(OTHER));
        let nat = Nat::new("home", &lab.internet(), ip("203.0.113.1"), NatConfig::address_restricted());
        let socket = client(&lab, &nat, "192.168.0.2:5000");
        nat.link().set_loss(LossModel::Uniform(0.05));
        assert_eq!(discover(&lab, &socket).0.nat_type(), Some(NatType::RestrictedCone), "seed {seed}");
    }
}

/// A server with one address tells the mapping and nothing more.
#[test]
fn a_server_without_another_address_leaves_the_type_open() {
    let (lab, server) = lab();
    server.stop();
    let host = lab.host_at("plain", &lab.internet(), ip("198.51.100.9"));
    let _plain = StunServer::new(&host, addr("198.51.100.9:3478"));
    let socket = client(&lab, &lab.internet(), "192.0.2.5:5000");
    let mut discovery = NatBehaviourDiscovery::new(
        lab.now(),
        addr("198.51.100.9:3478"),
        socket.local(),
        NAT_TEST_TIMEOUT,
        Random::from_seed(1),
    );
    let (to, datagram) = discovery.poll_transmit().unwrap();
    socket.send_to(&datagram, to).unwrap();
    lab.run_until(lab.now() + Duration::from_millis(100));
    let answer = socket.try_recv().unwrap();
    discovery.receive(lab.now(), &answer.payload, answer.source, None);
    let report = discovery.report().unwrap();
    assert_eq!((report.mapped, report.other), (Some(addr("192.0.2.5:5000")), None));
    assert_eq!((report.behind_nat(), report.nat_type()), (Some(false), None));
}

/// A discovery spoken to by hand.
struct Wire {
    now: Instant,
    discovery: NatBehaviourDiscovery,
}

impl Wire {
    fn new() -> Self {
        let now = origin();
        let local = addr("10.0.0.1:5000");
        let random = Random::from_seed(2);
        Self {
            now,
            discovery: NatBehaviourDiscovery::new(now, addr(SERVER), local, NAT_TEST_TIMEOUT, random),
        }
    }

    fn sent(&mut self) -> Vec<(SocketAddr, TransactionId)> {
        std::iter::from_fn(|| self.discovery.poll_transmit())
            .map(|(to, bytes)| (to, Message::parse(&bytes).unwrap().transaction_id()))
            .collect()
    }

    fn answer(&mut self, id: TransactionId, from: &str, build: impl FnOnce(&mut MessageBuilder)) {
        let mut builder = MessageBuilder::new(Class::SuccessResponse, Method::BINDING, id);
        builder.add_xor_mapped_address(addr("203.0.113.1:9"));
        build(&mut builder);
        self.discovery.receive(self.now, &builder.finish(), addr(from), None);
    }

    fn first(&mut self, other: &str) {
        let [(to, id)] = self.sent()[..] else { panic!() };
        assert_eq!(to, addr(SERVER));
        self.answer(id, SERVER, |builder| {
            builder.add_other_address(addr(other));
        });
    }
}

/// A server may not send us to where it likes: neither to a single address again, nor to one of many hosts.
#[test]
fn an_other_address_that_is_none_is_not_used() {
    for other in [
        SERVER,
        "198.51.100.1:3479",
        "198.51.100.2:3478",
        "[2001:db8::1]:3479",
        "255.255.255.255:3479",
        "224.0.0.1:3479",
        "0.0.0.0:3479",
        "127.0.0.1:3479",
        "198.51.100.2:0",
    ] {
        let mut wire = Wire::new();
        wire.first(other);
        assert_eq!(wire.discovery.report().map(|report| report.other), Some(None), "{other}");
        assert!(wire.sent().is_empty());
    }
}

/// Who answers from the address that was asked does not look at CHANGE-REQUEST: nothing is known of the filter.
#[test]
fn a_server_that_ignores_change_request_says_nothing_of_filters() {
    let mut wire = Wire::new();
    wire.first(OTHER);
    for (_, id) in wire.sent() {
        wire.answer(id, SERVER, |_| {});
    }
    let mapping = wire.sent();
    assert_eq!(
        mapping.iter().map(|(to, _)| *to).collect::<Vec<_>>(),
        [addr("198.51.100.2:3478"), addr(OTHER)]
    );
    for (to, id) in mapping {
        wire.answer(id, &to.to_string(), |_| {});
    }
    let report = wire.discovery.report().unwrap();
    assert_eq!((report.mapping, report.filtering), (Some(EndpointIndependent), None));
    assert_eq!(report.nat_type(), None);
}

/// Answers from elsewhere, of unknown transactions and of no form change nothing.
#[test]
fn what_comes_from_elsewhere_is_ignored() {
    let mut wire = Wire::new();
    let [(_, id)] = wire.sent()[..] else { panic!() };
    wire.answer(id, "198.51.100.66:3478", |_| {});
    wire.answer(TransactionId::new(&mut Random::from_seed(99)), SERVER, |_| {});
    let request = MessageBuilder::new(Class::Request, Method::BINDING, id).finish();
    wire.discovery.receive(wire.now, &request, addr(SERVER), None);
    for len in 0..request.len() {
        wire.discovery.receive(wire.now, &request[..len], addr(SERVER), None);
    }
    assert_eq!(wire.discovery.report(), None);
    // Sent again, four times in all, and then it is over.
    let mut sends = 1;
    while let Some(at) = wire.discovery.next_timeout() {
        wire.discovery.handle_timeout(at);
        sends += wire.sent().len();
    }
    assert_eq!((sends, wire.discovery.report().unwrap().nat_type()), (4, Some(NatType::UdpBlocked)));
}
