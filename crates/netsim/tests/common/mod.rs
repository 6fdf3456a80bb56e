#![allow(dead_code, reason = "each test file uses some of it")]

use std::time::{Duration, Instant};

use peerstack_netsim::{Host, HostSocket, Lab, addr, ip};

#[expect(clippy::disallowed_methods, reason = "the one instant all others are reckoned from")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

/// Two hosts in the internet: `alice` 192.0.2.1 with a socket on 1000, `bob` 192.0.2.2 on 2000.
pub(crate) struct Pair {
    pub(crate) start: Instant,
    pub(crate) lab: Lab,
    pub(crate) alice: Host,
    pub(crate) bob: Host,
    pub(crate) a: HostSocket,
    pub(crate) b: HostSocket,
}

impl Pair {
    pub(crate) fn new(seed: u64) -> Self {
        let start = start();
        let lab = Lab::new(seed, start);
        let alice = lab.host_at("alice", &lab.internet(), ip("192.0.2.1"));
        let bob = lab.host_at("bob", &lab.internet(), ip("192.0.2.2"));
        let a = alice.bind(addr("192.0.2.1:1000")).unwrap();
        let b = bob.bind(addr("192.0.2.2:2000")).unwrap();
        Self { start, lab, alice, bob, a, b }
    }

    /// Sends to bob and tells at which time, in microseconds, what arrives.
    pub(crate) fn arrivals(&self, limit: Duration) -> Vec<(u64, Vec<u8>)> {
        let mut arrivals = Vec::new();
        let mut take = || {
            while let Some(datagram) = self.b.try_recv() {
                arrivals.push((self.lab.elapsed().as_micros() as u64, datagram.payload));
            }
        };
        while let Some(at) = self.lab.next_event().filter(|at| *at <= self.start + limit) {
            self.lab.advance(at);
            take();
        }
        arrivals
    }
}

pub(crate) const B: &str = "192.0.2.2:2000";
