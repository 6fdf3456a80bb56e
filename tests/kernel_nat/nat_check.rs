//! Which kind of NAT coturn's answers to RFC 5780 show, on two addresses, to `nat::discover` and to the example
//! `nat-check`. nftables' masquerade keeps a host's port where nobody else has it, whoever is sent to, unless it is told
//! that ports be random; either way a reply alone comes back, of the address and port that was sent to.

use std::process::{Command, Output, Stdio};

use peerstack::PeerConnectionDependencies;
use peerstack::nat::NatBehaviour::{self, AddressAndPortDependent, AddressDependent, EndpointIndependent};
use peerstack::nat::{NatReport, NatType, discover, discover_from};

use crate::lab::{Lab, Nat, OTHER, PUBLIC};
use crate::namespace::Namespace;
use crate::support;
use crate::turn_server::{Certificates, PORT, TurnServer};

/// How a host reaches the server.
#[derive(Debug, Clone, Copy)]
enum Access {
    /// By an address of its own.
    Public,
    /// By one, behind a firewall that lets in replies.
    Firewall,
    Behind(Nat),
}

/// What is to be found.
#[derive(Debug, Clone, Copy)]
struct Expected {
    nat_type: NatType,
    mapping: Option<NatBehaviour>,
    filtering: Option<NatBehaviour>,
}

/// The example's output.
fn nat_check(host: &Namespace, arguments: &[&str]) -> Output {
    let mut command = Command::new(crate::example("nat-check"));
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    host.enter(|| command.output().expect("cargo build --example nat-check"))
}

/// As the example says it.
fn words(behaviour: NatBehaviour) -> &'static str {
    match behaviour {
        EndpointIndependent => "endpoint-independent",
        AddressDependent => "address-dependent",
        AddressAndPortDependent => "address- and port-dependent",
    }
}

/// Both functions and the example at once, each from a socket of its own.
async fn run(name: &str, access: Access, expected: Expected) {
    crate::init_log();
    let mut lab = Lab::new();
    lab.add_other_address();
    let server = TurnServer::start_on(&lab.internet, &[PUBLIC, OTHER], &Certificates::new());
    let (host, local, mapped) = match access {
        Public => (lab.public_host(false), "203.0.113.20", "203.0.113.20"),
        Firewall => (lab.public_host(true), "203.0.113.20", "203.0.113.20"),
        Behind(nat) => (lab.host(nat), "10.0.0.2", "203.0.113.10"),
    };
    let url = format!("stun:{PUBLIC}:{PORT}");
    let runtime = host.runtime();
    let (first, second) = (url.clone(), url.clone());
    let unbound = runtime.handle().spawn(async move { discover(&first).await });
    let bound = runtime.handle().spawn(async move {
        let local = Some(local.parse().unwrap());
        discover_from(&second, local, &mut PeerConnectionDependencies::default()).await
    });
    let program = tokio::task::spawn_blocking(move || nat_check(&host, &[&url]));
    let (unbound, bound, program) = tokio::join!(unbound, bound, program);
    for report in [unbound.unwrap().unwrap(), bound.unwrap().unwrap()] {
        support::say(&format!("{name:<44}{:?}, {report:?}", report.nat_type()));
        check(&report, expected, local, mapped);
    }
    let program = program.unwrap();
    let text = String::from_utf8_lossy(&program.stdout);
    assert!(program.status.success(), "{program:?}");
    let line = |name: &str, words: &str| format!("{name:<11}{words}\n");
    assert!(text.contains(&line("NAT type", &expected.nat_type.to_string())), "{text}");
    for (name, behaviour) in [("mapping", expected.mapping), ("filtering", expected.filtering)] {
        match behaviour {
            Some(behaviour) => assert!(text.contains(&line(name, words(behaviour))), "{text}"),
            None => assert!(!text.contains(name), "{text}"),
        }
    }
    drop((server, lab));
}

fn check(report: &NatReport, expected: Expected, local: &str, mapped: &str) {
    assert_eq!(report.nat_type(), Some(expected.nat_type));
    assert_eq!((report.mapping, report.filtering), (expected.mapping, expected.filtering));
    assert_eq!(report.local.ip().to_string(), local);
    let is_blocked = expected.nat_type == NatType::UdpBlocked;
    let told = [report.mapped, report.other].map(|address| address.map(|address| address.ip().to_string()));
    let (mapped, other) = (Some(mapped.to_owned()), Some(OTHER.to_owned()));
    assert_eq!(told, if is_blocked { [None, None] } else { [mapped, other] });
}

/// Makes a test of a row.
macro_rules! kinds {
    ($($name:ident: $access:expr => $nat_type:ident, $mapping:expr, $filtering:expr;)+) => {
        $(
            #[tokio::test]
            #[ignore = "needs network namespaces: cargo xtask test --only namespaces"]
            async fn $name() {
                let (nat_type, mapping, filtering) = (NatType::$nat_type, $mapping, $filtering);
                run(stringify!($name), $access, Expected { nat_type, mapping, filtering }).await;
            }
        )+
    };
}

use Access::{Behind, Firewall, Public};

kinds! {
    a_public_address: Public => OpenInternet, None, Some(EndpointIndependent);
    a_firewall: Firewall => SymmetricUdpFirewall, None, Some(AddressAndPortDependent);
    a_full_cone: Behind(Nat::FullCone) => FullCone, Some(EndpointIndependent), Some(EndpointIndependent);
    a_restricted_cone: Behind(Nat::RestrictedCone) => RestrictedCone, Some(EndpointIndependent), Some(AddressDependent);
    masquerade: Behind(Nat::Cone) => PortRestrictedCone, Some(EndpointIndependent), Some(AddressAndPortDependent);
    masquerade_with_random_ports: Behind(Nat::Symmetric) => Symmetric, Some(AddressAndPortDependent), Some(AddressAndPortDependent);
    udp_blocked: Behind(Nat::NoUdp) => UdpBlocked, None, None;
}

/// A server with one address tells where it sees us, and the example that this is all.
#[test]
#[ignore = "needs network namespaces: cargo xtask test --only namespaces"]
fn one_address_tells_no_behaviour() {
    let mut lab = Lab::new();
    let server = TurnServer::start(&lab.internet, PUBLIC, &Certificates::new());
    let host = lab.host(Nat::Cone);
    let output = nat_check(&host, &[&format!("stun:{PUBLIC}:{PORT}"), "--bind", "10.0.0.2"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    for part in ["not found out\n", "mapped     203.0.113.10:", "has no other address (RFC 5780)"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    drop((server, lab));
}
