//! Two transports and a virtual link between them, for the tests of this crate: time by arithmetic, loss and
//! order by a seed.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use peerstack_base::Random;
use peerstack_dtls::DtlsRole;

use crate::{DataChannelEvent, DataChannelId, SctpTransport, SctpTransportConfig, SctpTransportState};

#[expect(clippy::disallowed_methods, reason = "the one instant all others of a test are counted from")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One end.
pub(crate) struct Peer {
    pub(crate) sctp: SctpTransport,
    pub(crate) events: VecDeque<DataChannelEvent>,
    /// Whether the application takes events.
    pub(crate) drains: bool,
}

impl Peer {
    fn new(config: SctpTransportConfig) -> Self {
        Self { sctp: SctpTransport::new("test", config), events: VecDeque::new(), drains: true }
    }

    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.sctp.poll_event() {
            self.events.push_back(event);
        }
    }

    /// Messages, in order, as bytes; other events are dropped.
    pub(crate) fn messages(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.events)
            .into_iter()
            .filter_map(|event| match event {
                DataChannelEvent::Message { data, .. } => Some(data),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn incoming(&mut self) -> Option<DataChannelId> {
        self.events.iter().find_map(|event| match event {
            DataChannelEvent::Incoming { id, .. } => Some(*id),
            _ => None,
        })
    }

    pub(crate) fn saw(&self, expected: &DataChannelEvent) -> bool {
        self.events.contains(expected)
    }
}

pub(crate) type Filter = Box<dyn FnMut(usize, &[u8]) -> bool>;

/// Two ends and what is between.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) peers: [Peer; 2],
    /// By time of arrival, then number.
    in_flight: BTreeMap<(Instant, u64), (usize, Bytes)>,
    number: u64,
    pub(crate) delay: Duration,
    pub(crate) jitter: u64,
    pub(crate) loss: f64,
    /// Bytes each direction carries in a second; 0 for no limit.
    pub(crate) rate: u64,
    busy: [Instant; 2],
    random: Random,
    /// Lets a packet of this sender pass.
    pub(crate) filter: Option<Filter>,
    pub(crate) sent: [usize; 2],
    pub(crate) largest: usize,
    /// Every packet, if asked for.
    pub(crate) log: Option<Vec<(usize, Bytes)>>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(SctpTransportConfig::default(), SctpTransportConfig::default())
    }

    pub(crate) fn with(a: SctpTransportConfig, b: SctpTransportConfig) -> Self {
        let now = epoch();
        Self {
            now,
            peers: [Peer::new(a), Peer::new(b)],
            in_flight: BTreeMap::new(),
            number: 0,
            delay: ms(10),
            jitter: 0,
            loss: 0.0,
            rate: 0,
            busy: [now; 2],
            random: Random::from_seed(1),
            filter: None,
            sent: [0; 2],
            largest: 0,
            log: None,
        }
    }

    pub(crate) fn seed(mut self, seed: u64) -> Self {
        self.random = Random::from_seed(seed);
        self
    }

    /// Peer 0 is the DTLS client.
    pub(crate) fn start(&mut self) {
        self.start_with(262_144);
    }

    pub(crate) fn start_with(&mut self, max_message_size: u32) {
        let now = self.now;
        self.peers[0].sctp.start(now, 5000, 5000, max_message_size, DtlsRole::Client).unwrap();
        self.peers[1].sctp.start(now, 5000, 5000, max_message_size, DtlsRole::Server).unwrap();
    }

    pub(crate) fn connected() -> Self {
        let mut pair = Self::new();
        pair.connect();
        pair
    }

    pub(crate) fn connect(&mut self) {
        self.start();
        self.run_until(ms(60_000), Self::both_connected);
        assert!(self.both_connected());
    }

    pub(crate) fn both_connected(&mut self) -> bool {
        self.peers.iter().all(|peer| peer.sctp.state() == SctpTransportState::Connected)
    }

    pub(crate) fn flush(&mut self) {
        for from in 0..2 {
            while let Some(packet) = self.peers[from].sctp.poll_transmit(self.now) {
                self.carry(from, packet);
            }
            if self.peers[from].drains {
                self.peers[from].drain();
            }
            self.peers[from].sctp.after_test_flush(self.now);
            if self.peers[from].drains {
                self.peers[from].drain();
            }
        }
    }

    fn carry(&mut self, from: usize, packet: Bytes) {
        self.sent[from] += 1;
        self.largest = self.largest.max(packet.len());
        if let Some(log) = &mut self.log {
            log.push((from, packet.clone()));
        }
        let passes = self.filter.as_mut().is_none_or(|filter| filter(from, &packet));
        if !passes || self.random.chance(self.loss) {
            return;
        }
        let mut at = self.now + self.delay + ms(self.random.below(self.jitter + 1));
        if let Some(nanos) = (packet.len() as u64 * 1_000_000_000).checked_div(self.rate) {
            let start = self.busy[from].max(self.now);
            self.busy[from] = start + Duration::from_nanos(nanos);
            at += self.busy[from] - self.now;
        }
        self.number += 1;
        self.in_flight.insert((at, self.number), (1 - from, packet));
    }

    /// To the next thing that happens, if that is before `until`.
    pub(crate) fn step(&mut self, until: Instant) -> bool {
        self.flush();
        let timers = self.peers.iter().filter_map(|peer| peer.sctp.next_timeout());
        let arrival = self.in_flight.keys().next().map(|(at, _)| *at);
        let Some(next) = timers.chain(arrival).min().filter(|next| *next <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(next);
        while let Some(entry) = self.in_flight.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (to, packet) = entry.remove();
            self.peers[to].sctp.receive(self.now, &packet);
        }
        for peer in &mut self.peers {
            peer.sctp.handle_timeout(self.now);
        }
        true
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.flush();
    }

    /// Returns whether it became true in time.
    pub(crate) fn run_until(&mut self, time: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.now + time;
        loop {
            self.flush();
            if done(self) {
                return true;
            }
            if !self.step(until) {
                self.flush();
                return done(self);
            }
        }
    }

    /// A channel from peer 0 to peer 1, open at both.
    pub(crate) fn channel(&mut self, init: crate::DataChannelInit) -> (DataChannelId, DataChannelId) {
        let a = self.peers[0].sctp.create_data_channel(self.now, init).unwrap();
        self.run_until(ms(60_000), |pair| pair.peers[1].incoming().is_some());
        let b = self.peers[1].incoming().unwrap();
        for peer in &mut self.peers {
            peer.events.clear();
        }
        (a, b)
    }
}
