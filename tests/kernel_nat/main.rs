//! The kernel's NATs: two hosts in network namespaces, each behind a router that masquerades as a cone or
//! symmetrically, with coturn over UDP, TCP and TLS on the public side; and what coturn tells of each NAT.
//!
//! Needs root, or a user namespace, with network namespaces, iproute2, nftables and coturn:
//! `cargo xtask test --only namespaces` runs it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails")]
#![expect(clippy::disallowed_methods, reason = "real sockets in real time")]

mod asleep;
mod call;
mod echo;
mod lab;
mod mdns;
mod moving;
mod namespace;
mod nat_check;
#[path = "../support/mod.rs"]
mod support;
mod turn_restarted;
mod turn_server;

use call::Turn::{Tcp, Tls, Udp};
use call::{Call, Options, Turn};
use lab::Nat::{Cone, NoUdp, Symmetric, SymmetricNoUdp};
use lab::{Lab, Nat, PUBLIC};
use turn_server::{Certificates, TurnServer};

/// What `RUST_LOG` asks for.
fn init_log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // Once a process.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// An example's binary, which `cargo build --example` puts beside this one.
fn example(name: &str) -> std::path::PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(name)
}

/// Two hosts behind NATs, with these ways to the server, connect by one of the expected pairs. Local candidates:
/// s server-reflexive, p peer-reflexive, r relay.
async fn connect(name: &str, nats: [Nat; 2], turn: &[Turn], relay_only: bool, expected: &[&str]) {
    init_log();
    let mut lab = Lab::new();
    let certificates = Certificates::new();
    let server = TurnServer::start(&lab.internet, PUBLIC, &certificates);
    let hosts = nats.map(|nat| lab.host(nat));
    let options = Options {
        stun: true,
        turn: turn.to_vec(),
        relay_only,
        root: certificates.root.clone(),
        settings: Default::default(),
    };
    let started = std::time::Instant::now();
    let mut call = Call::start([&hosts[0], &hosts[1]], [&options, &options]).await;
    let pair = call.use_it(expected).await;
    support::say(&format!("{name:<44}{pair:?} in {} ms", started.elapsed().as_millis()));
    pair.unwrap();
    call.close().await;
    drop((server, lab));
}

/// Makes a test of a row.
macro_rules! rows {
    ($($name:ident: $a:expr, $b:expr, $turn:expr, $relay_only:expr => $expected:expr;)+) => {
        $(
            #[tokio::test]
            #[ignore = "needs network namespaces: cargo xtask test --only namespaces"]
            async fn $name() {
                connect(stringify!($name), [$a, $b], &$turn, $relay_only, &$expected).await;
            }
        )+
    };
}

// Either side's relay will do where one must: both pairs have one priority. A symmetric NAT shows the relay another
// address than it showed the STUN server.
rows! {
    cone_to_cone: Cone, Cone, [Udp, Tcp, Tls], false => ["s/s"];
    cone_to_cone_without_turn: Cone, Cone, [], false => ["s/s"];
    cone_to_symmetric: Cone, Symmetric, [Udp], false => ["r:udp/p", "s/r:udp"];
    symmetric_to_cone: Symmetric, Cone, [Udp], false => ["p/r:udp", "r:udp/s"];
    symmetric_to_symmetric: Symmetric, Symmetric, [Udp], false => ["r:udp/p", "p/r:udp"];
    symmetric_to_symmetric_by_tcp: Symmetric, Symmetric, [Tcp], false => ["r:tcp/p", "p/r:tcp"];
    symmetric_to_symmetric_by_tls: Symmetric, Symmetric, [Tls], false => ["r:tls/p", "p/r:tls"];
    no_udp_to_cone_by_tcp: NoUdp, Cone, [Udp, Tcp], false => ["r:tcp/s"];
    no_udp_to_cone_by_tls: NoUdp, Cone, [Udp, Tls], false => ["r:tls/s"];
    cone_to_no_udp_by_tcp: Cone, NoUdp, [Udp, Tcp], false => ["s/r:tcp"];
    cone_to_no_udp_by_tls: Cone, NoUdp, [Udp, Tls], false => ["s/r:tls"];
    no_udp_to_symmetric_by_tcp: NoUdp, Symmetric, [Udp, Tcp], false => ["r:tcp/p"];
    no_udp_to_no_udp_by_tcp: NoUdp, NoUdp, [Udp, Tcp], false => ["r:tcp/r:tcp"];
    no_udp_to_no_udp_by_tls: NoUdp, SymmetricNoUdp, [Udp, Tls], false => ["r:tls/r:tls"];
    relay_only_by_udp: Cone, Symmetric, [Udp], true => ["r:udp/r:udp"];
    relay_only_by_tcp: Cone, Symmetric, [Tcp], true => ["r:tcp/r:tcp"];
    relay_only_by_tls: Cone, Symmetric, [Tls], true => ["r:tls/r:tls"];
}
