//! Two transports joined by a scripted link, and the clock that drives them: the harness of this crate's tests.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use peerstack_base::{EventReceiver, PacketOptions, Random, SendError, SystemWallClock};
use peerstack_p2p::{FakeIceLink, FakeIceSide, FakeIceTransport};

use crate::{
    Certificate, DtlsRole, DtlsTransport, DtlsTransportConfig, DtlsTransportEvent, DtlsTransportInternal,
    DtlsTransportState, KeyAlgorithm,
};

/// The instant all others are reckoned from.
#[expect(clippy::disallowed_methods, reason = "the one instant all others are reckoned from")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// Two certificates, made once for all tests.
pub(crate) fn certificates() -> &'static [Certificate; 2] {
    static CERTIFICATES: OnceLock<[Certificate; 2]> = OnceLock::new();
    CERTIFICATES.get_or_init(|| {
        [1, 2].map(|seed| {
            let random = &mut Random::from_seed(seed);
            Certificate::generate(KeyAlgorithm::EcdsaP256, &SystemWallClock, random).unwrap()
        })
    })
}

pub(crate) fn config(side: FakeIceSide) -> DtlsTransportConfig {
    let mut config = DtlsTransportConfig::new(certificates()[side as usize].clone());
    config.seed = Some(side as u64 + 1);
    config
}

/// One end.
#[derive(Debug)]
pub(crate) struct Peer {
    pub dtls: DtlsTransport<FakeIceTransport>,
    events: EventReceiver<DtlsTransportEvent>,
    /// Events so far.
    pub told: Vec<DtlsTransportEvent>,
    /// Application data received.
    pub data: Vec<Vec<u8>>,
    /// What passed through.
    pub srtp: Vec<Vec<u8>>,
}

impl Peer {
    pub(crate) fn new(ice: FakeIceTransport, config: DtlsTransportConfig) -> Self {
        let mut dtls = DtlsTransport::new(ice, config);
        let events = dtls.subscribe();
        Self { dtls, events, told: Vec::new(), data: Vec::new(), srtp: Vec::new() }
    }

    pub(crate) fn receive(&mut self, now: Instant, mut datagram: Vec<u8>) {
        let meta = self.dtls.ice().meta();
        if let Some(passed) = self.dtls.receive(now, &mut datagram, &meta) {
            self.srtp.push(passed.to_vec());
        }
        self.settle(now);
    }

    pub(crate) fn settle(&mut self, now: Instant) {
        self.dtls.process(now);
        while let Some(record) = self.dtls.poll_data() {
            self.data.push(record.to_vec());
        }
        while let Some(event) = self.events.try_next() {
            self.told.push(event);
        }
    }

    pub(crate) fn send(&mut self, now: Instant, data: &[u8]) -> Result<usize, SendError> {
        self.send_with_options(now, &PacketOptions::default(), data)
    }

    pub(crate) fn send_with_options(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        data: &[u8],
    ) -> Result<usize, SendError> {
        self.dtls.send_with(now, options, data.len(), |slot| {
            slot.copy_from_slice(data);
            data.len()
        })
    }

    pub(crate) fn states(&self) -> Vec<DtlsTransportState> {
        let state = |event: &DtlsTransportEvent| match event {
            DtlsTransportEvent::StateChange(state) => Some(*state),
            _ => None,
        };
        self.told.iter().filter_map(state).collect()
    }
}

/// Two ends and the link between them. A is the client unless told otherwise.
#[derive(Debug)]
pub(crate) struct Pair {
    pub now: Instant,
    pub a: Peer,
    pub b: Peer,
    pub link: FakeIceLink,
}

impl Pair {
    /// With 10 ms one way.
    pub(crate) fn new(a: DtlsTransportConfig, b: DtlsTransportConfig) -> Self {
        let (one, other) = FakeIceTransport::pair();
        Self {
            now: start(),
            a: Peer::new(one, a),
            b: Peer::new(other, b),
            link: FakeIceLink::new(Duration::from_millis(10)),
        }
    }

    pub(crate) fn with_defaults() -> Self {
        Self::new(config(FakeIceSide::A), config(FakeIceSide::B))
    }

    pub(crate) fn peer(&mut self, side: FakeIceSide) -> &mut Peer {
        match side {
            FakeIceSide::A => &mut self.a,
            FakeIceSide::B => &mut self.b,
        }
    }

    /// Tells each the other's fingerprint, A being the client.
    pub(crate) fn exchange_parameters(&mut self) {
        self.tell_parameters(FakeIceSide::A, DtlsRole::Client).unwrap();
        self.tell_parameters(FakeIceSide::B, DtlsRole::Server).unwrap();
    }

    /// Tells one side the other's real fingerprint.
    pub(crate) fn tell_parameters(&mut self, side: FakeIceSide, role: DtlsRole) -> Result<(), String> {
        let fingerprint = certificates()[side.other() as usize].fingerprint();
        let now = self.now;
        let peer = self.peer(side);
        let result = peer.dtls.set_remote_parameters(now, vec![fingerprint], role);
        peer.settle(now);
        result
    }

    pub(crate) fn set_writable(&mut self, side: FakeIceSide, writable: bool) {
        let now = self.now;
        let peer = self.peer(side);
        peer.dtls.ice_mut().set_writable(writable);
        peer.settle(now);
    }

    /// Everything a handshake needs.
    pub(crate) fn go(&mut self) {
        self.exchange_parameters();
        self.set_writable(FakeIceSide::A, true);
        self.set_writable(FakeIceSide::B, true);
    }

    fn collect(&mut self) {
        self.link.collect(self.now, FakeIceSide::A, self.a.dtls.ice_mut());
        self.link.collect(self.now, FakeIceSide::B, self.b.dtls.ice_mut());
    }

    /// Delivers what has arrived by now, and what it causes at once.
    pub(crate) fn deliver(&mut self) {
        self.collect();
        while let Some((to, datagram)) = self.link.pop_due(self.now) {
            let now = self.now;
            self.peer(to).receive(now, datagram);
            self.collect();
        }
    }

    /// Goes on until `done`, or until `limit` has passed. Returns whether it was done.
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.deliver();
            if done(self) {
                return true;
            }
            let times = [self.link.next_delivery(), self.a.dtls.next_timeout(), self.b.dtls.next_timeout()];
            let Some(next) = times.into_iter().flatten().min().filter(|&next| next <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(next);
            for side in [FakeIceSide::A, FakeIceSide::B] {
                let now = self.now;
                let peer = self.peer(side);
                if peer.dtls.next_timeout().is_some_and(|at| at <= now) {
                    peer.dtls.handle_timeout(now);
                }
                peer.settle(now);
            }
        }
    }

    /// Lets `time` pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    pub(crate) fn connected(&self) -> bool {
        [&self.a, &self.b].iter().all(|peer| peer.dtls.state() == DtlsTransportState::Connected)
    }

    /// Runs until both are connected.
    pub(crate) fn connect(&mut self) -> bool {
        self.run_until(Duration::from_secs(60), |pair| pair.connected())
    }

    /// A message each way.
    pub(crate) fn talk(&mut self) -> bool {
        let (now, before) = (self.now, (self.a.data.len(), self.b.data.len()));
        if self.a.send(now, b"from a").is_err() || self.b.send(now, b"from b").is_err() {
            return false;
        }
        let done = |pair: &mut Self| pair.a.data.len() > before.0 && pair.b.data.len() > before.1;
        self.run_until(Duration::from_secs(5), done)
            && self.a.data.last().is_some_and(|data| data == b"from b")
            && self.b.data.last().is_some_and(|data| data == b"from a")
    }
}

/// For engines with tasks of their own: a current-thread runtime whose clock is paused goes along.
#[cfg(feature = "webrtc-dtls")]
impl Pair {
    /// Lets tasks run and carries what they say, without letting time pass.
    async fn turn(&mut self) {
        for _ in 0..40 {
            tokio::task::yield_now().await;
            let now = self.now;
            self.a.settle(now);
            self.b.settle(now);
            self.deliver();
        }
    }

    /// As [`run_until`](Self::run_until).
    pub(crate) async fn run_until_async(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> bool {
        let end = self.now + limit;
        loop {
            self.turn().await;
            if done(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            let times = [
                self.link.next_delivery(),
                self.a.dtls.next_timeout(),
                self.b.dtls.next_timeout(),
                Some(self.now + Duration::from_millis(5)),
                Some(end),
            ];
            let next = times.into_iter().flatten().min().unwrap_or(end).max(self.now);
            tokio::time::advance(next - self.now).await;
            self.now = next;
            for side in [FakeIceSide::A, FakeIceSide::B] {
                let peer = self.peer(side);
                if peer.dtls.next_timeout().is_some_and(|at| at <= next) {
                    peer.dtls.handle_timeout(next);
                }
            }
        }
    }

    /// As [`run_for`](Self::run_for).
    pub(crate) async fn run_for_async(&mut self, time: Duration) {
        self.run_until_async(time, |_| false).await;
    }

    /// As [`connect`](Self::connect).
    pub(crate) async fn connect_async(&mut self) -> bool {
        self.run_until_async(Duration::from_secs(60), |pair| pair.connected()).await
    }

    /// As [`talk`](Self::talk).
    pub(crate) async fn talk_async(&mut self) -> bool {
        let (now, before) = (self.now, (self.a.data.len(), self.b.data.len()));
        if self.a.send(now, b"from a").is_err() || self.b.send(now, b"from b").is_err() {
            return false;
        }
        let done = |pair: &mut Self| pair.a.data.len() > before.0 && pair.b.data.len() > before.1;
        self.run_until_async(Duration::from_secs(5), done).await
            && self.a.data.last().is_some_and(|data| data == b"from b")
            && self.b.data.last().is_some_and(|data| data == b"from a")
    }
}
