//! A virtual network for tests: hosts, links, routers, NATs, firewalls, STUN and TURN servers.
//!
//! Dev-only; what libwebrtc's tests have in `rtc_base/virtual_socket_server.cc`, `p2p/test/nat_server.cc`,
//! `p2p/test/test_stun_server.cc` and `p2p/test/turn_server.cc`.
//!
//! Everything happens in a [`Lab`]: an event queue ordered by (time, sequence number), advanced to a time by
//! whoever holds it. The same seed and the same calls give the same packets at the same times, comparable by
//! [`Trace`]. Each link, host and NAT draws from a generator of its own, seeded by the lab's seed and its name,
//! so that adding one does not shift another.
//!
//! Two ways to drive it:
//! - under tokio's paused clock (`#[tokio::test(start_paused = true)]`, a current-thread runtime):
//!   [`Lab::start`] reads tokio's clock and spawns one driver task. Packets move at exact times inside the lab;
//!   tokio's timers have a grain of 1 ms, so a packet due at 1.3 ms is readable at 2 ms.
//! - without a runtime: [`Lab::new`], then [`Lab::advance`] and [`Lab::next_event`], and
//!   [`HostSocket::send_to`] and [`HostSocket::try_recv`].
//!
//! The network is a tree: [`Lab::internet`] is its root, and [`Router`], [`Nat`] and [`Firewall`] each have an
//! inside, to which hosts and further routers are attached by one [`Link`] each, and an uplink.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use peerstack_netsim::{Lab, LinkConfig, Nat, addr, ip};
//!
//! # #[expect(clippy::disallowed_methods)]
//! let start = Instant::now();
//! let lab = Lab::new(7, start);
//! let home = Nat::port_restricted("home", &lab.internet(), ip("203.0.113.1"));
//! let alice = lab.host_at("alice", &home, ip("192.168.0.2"));
//! let bob = lab.host_at("bob", &lab.internet(), ip("198.51.100.1"));
//! bob.interfaces()[0].link().configure(LinkConfig::latency(Duration::from_millis(20)));
//!
//! let a = alice.bind(addr("192.168.0.2:5000")).unwrap();
//! let b = bob.bind(addr("198.51.100.1:6000")).unwrap();
//! a.send_to(b"hello", addr("198.51.100.1:6000")).unwrap();
//! lab.advance(start + Duration::from_millis(20));
//! let datagram = b.try_recv().unwrap();
//! assert_eq!(datagram.payload, b"hello");
//! assert_eq!(datagram.source, addr("203.0.113.1:5000"));
//! ```

#![forbid(unsafe_code)]

mod dns;
mod firewall;
mod host;
mod lab;
mod link;
mod nat;
mod packet;
mod router;
mod socket;
mod stream;
mod stun_server;
mod tcp;
mod trace;
mod turn_allocation;
mod turn_server;
mod world;

pub use dns::{DnsAnswer, LabMdnsResponder, LabResolver};
pub use firewall::{Firewall, FirewallPolicy};
pub use host::{Host, HostNetworkManager, HostSocketFactory, Interface, Service, SocketOptions};
pub use lab::Lab;
pub use link::{Direction, Link, LinkConfig, LinkStats, LossModel};
pub use nat::{Nat, NatBehaviour, NatConfig, PortAssignment};
pub use packet::{DropReason, Packet, TcpHeader, Transport, Verdict};
pub use router::{Router, Segment};
pub use socket::{Datagram, HostSocket};
pub use stream::{HostListener, HostStream};
pub use stun_server::{StunServer, StunServerConfig};
pub use trace::{DtlsKind, Trace, TraceAction, TraceEntry, TraceKind};
pub use turn_server::{TurnServer, TurnServerConfig};

/// Parses an address for a test.
///
/// # Panics
/// If it is not an IP address.
#[expect(clippy::panic, reason = "a test's own constants")]
pub fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not an IP address"))
}

/// Parses a transport address for a test.
///
/// # Panics
/// If it is not an IP address with a port.
#[expect(clippy::panic, reason = "a test's own constants")]
pub fn addr(text: &str) -> std::net::SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not an address with a port"))
}
