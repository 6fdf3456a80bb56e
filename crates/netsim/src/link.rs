//! Links: latency, jitter, loss, rate, MTU, duplication and reordering, each direction of its own. Sans-IO;
//! owned by the lab.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use peerstack_base::{Counter, Random};

use crate::lab::Shared;
use crate::packet::{DropReason, Packet, Verdict};
use crate::world::{LinkId, NodeId};

/// How a link loses packets.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum LossModel {
    /// Never.
    #[default]
    None,
    /// Each packet with this probability, independent of the others.
    Uniform(f64),
    /// In bursts: a chain of two states, stepped once a packet before its fate is drawn (Gilbert 1960,
    /// Elliott 1963). The share of time in the bad state is `to_bad / (to_bad + to_good)`, a burst lasts
    /// `1 / to_good` packets.
    GilbertElliott {
        /// Probability of a step from good to bad.
        to_bad: f64,
        /// Probability of a step from bad to good.
        to_good: f64,
        /// Loss while good.
        loss_good: f64,
        /// Loss while bad.
        loss_bad: f64,
    },
}

impl LossModel {
    /// Bursty loss of this mean rate whose bursts lose `burst` packets on average (at least 1).
    pub fn bursty(rate: f64, burst: f64) -> Self {
        let rate = rate.clamp(0.0, 0.99);
        let to_good = 1.0 / burst.max(1.0);
        Self::GilbertElliott {
            to_bad: (rate * to_good / (1.0 - rate)).min(1.0),
            to_good,
            loss_good: 0.0,
            loss_bad: 1.0,
        }
    }
}

/// What one direction of a link is like. The default is instant and loses nothing, with an MTU of 1,500.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkConfig {
    /// Time from the last bit sent to its arrival.
    pub latency: Duration,
    /// A uniform random time up to this is added to each packet's latency. Order is kept: jitter alone never
    /// makes a packet overtake another.
    pub jitter: Duration,
    /// Loss on the wire: a lost packet has taken its time of the rate.
    pub loss: LossModel,
    /// Bits per second of IP packets; `None` is unlimited.
    pub rate: Option<u64>,
    /// With a rate: bytes of IP packets that may be waiting or being sent; one more packet is dropped. A
    /// packet that finds the queue empty is always taken.
    pub queue_bytes: usize,
    /// The largest IP packet; larger ones are dropped.
    pub mtu: usize,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that a packet is late by [`reorder_delay`](Self::reorder_delay), overtaken by those behind.
    pub reorder: f64,
    /// How late.
    pub reorder_delay: Duration,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: LossModel::None,
            rate: None,
            queue_bytes: 64 << 10,
            mtu: 1500,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(10),
        }
    }
}

impl LinkConfig {
    /// A link of this latency and nothing else.
    pub fn latency(latency: Duration) -> Self {
        Self { latency, ..Self::default() }
    }

    /// With this loss.
    pub fn with_loss(self, loss: LossModel) -> Self {
        Self { loss, ..self }
    }

    /// With this jitter.
    pub fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// With this rate in bits per second and a queue of so many bytes.
    pub fn with_rate(self, rate: u64, queue_bytes: usize) -> Self {
        Self { rate: Some(rate), queue_bytes, ..self }
    }

    /// With this MTU.
    pub fn with_mtu(self, mtu: usize) -> Self {
        Self { mtu, ..self }
    }

    /// With this probability of duplication.
    pub fn with_duplicate(self, duplicate: f64) -> Self {
        Self { duplicate, ..self }
    }

    /// With this probability of being late by `delay`.
    pub fn with_reorder(self, reorder: f64, delay: Duration) -> Self {
        Self { reorder, reorder_delay: delay, ..self }
    }
}

/// A direction of a link, seen from its lower end: the host's interface, or the inner router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the host or inner router outwards.
    Outbound,
    /// Towards the host or inner router.
    Inbound,
}

/// What one direction of a link did so far; bytes are of IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Packets that reached the other end, copies included.
    pub delivered: Counter,
    /// Lost by the loss model.
    pub lost: u64,
    /// Dropped by a full queue.
    pub queue_full: u64,
    /// Dropped for their size.
    pub too_large: u64,
    /// Dropped because the link was down, at either end of the journey.
    pub down: u64,
    /// Dropped or replaced by the filter.
    pub filtered: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Made late.
    pub reordered: u64,
}

pub(crate) type Filter = Box<dyn FnMut(&mut Packet) -> Verdict + Send>;

/// One direction's state.
pub(crate) struct Lane {
    pub(crate) config: LinkConfig,
    pub(crate) stats: LinkStats,
    pub(crate) filter: Option<Filter>,
    random: Random,
    bad: bool,
    /// When the transmitter is free, and what it has not sent out yet: (time of the last bit, bytes).
    busy_until: Instant,
    queue: VecDeque<(Instant, usize)>,
    queued: usize,
    last_arrival: Instant,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("config", &self.config)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Lane {
    pub(crate) fn new(now: Instant, random: Random) -> Self {
        Self {
            config: LinkConfig::default(),
            stats: LinkStats::default(),
            filter: None,
            random,
            bad: false,
            busy_until: now,
            queue: VecDeque::new(),
            queued: 0,
            last_arrival: now,
        }
    }

    /// When a packet of `len` bytes offered now arrives; a copy's time follows where it is duplicated.
    pub(crate) fn offer(
        &mut self,
        now: Instant,
        len: usize,
        extra: Option<Duration>,
    ) -> Result<(Instant, Option<Instant>), DropReason> {
        if len > self.config.mtu {
            self.stats.too_large += 1;
            return Err(DropReason::Mtu);
        }
        let sent = self.serialise(now, len)?;
        if self.lose() {
            self.stats.lost += 1;
            return Err(DropReason::Loss);
        }
        let jitter = duration_from(self.random.below(nanos(self.config.jitter).saturating_add(1)));
        let arrival = sent + self.config.latency + jitter;
        let arrival = if let Some(extra) = extra {
            arrival + extra
        } else if self.config.reorder > 0.0 && self.random.chance(self.config.reorder) {
            self.stats.reordered += 1;
            arrival + self.config.reorder_delay
        } else {
            self.last_arrival = arrival.max(self.last_arrival);
            self.last_arrival
        };
        let duplicate = self.config.duplicate > 0.0 && self.random.chance(self.config.duplicate);
        if duplicate {
            self.stats.duplicated += 1;
        }
        Ok((arrival, duplicate.then_some(arrival)))
    }

    /// Queues and sends at the link's rate: when the last bit has left.
    fn serialise(&mut self, now: Instant, len: usize) -> Result<Instant, DropReason> {
        while let Some(&(done, bytes)) = self.queue.front() {
            if done > now {
                break;
            }
            self.queued -= bytes;
            self.queue.pop_front();
        }
        let Some(rate) = self.config.rate else { return Ok(now) };
        if !self.queue.is_empty() && self.queued + len > self.config.queue_bytes {
            self.stats.queue_full += 1;
            return Err(DropReason::Queue);
        }
        let bits = len as u128 * 8;
        let time = (bits * 1_000_000_000).div_ceil(u128::from(rate.max(1)));
        let done = self.busy_until.max(now) + duration_from(u64::try_from(time).unwrap_or(u64::MAX));
        self.busy_until = done;
        self.queue.push_back((done, len));
        self.queued += len;
        Ok(done)
    }

    fn lose(&mut self) -> bool {
        match self.config.loss {
            LossModel::None => false,
            LossModel::Uniform(rate) => self.random.chance(rate),
            LossModel::GilbertElliott { to_bad, to_good, loss_good, loss_bad } => {
                if self.random.chance(if self.bad { to_good } else { to_bad }) {
                    self.bad = !self.bad;
                }
                self.random.chance(if self.bad { loss_bad } else { loss_good })
            }
        }
    }

    /// Forgets what waits, as when the link goes down.
    pub(crate) fn reset(&mut self, now: Instant) {
        self.queue.clear();
        self.queued = 0;
        self.busy_until = now;
        self.last_arrival = now;
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn duration_from(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

/// A link's state: two lanes between a lower node (host or inner router) and an upper router.
#[derive(Debug)]
pub(crate) struct LinkState {
    pub(crate) name: std::sync::Arc<str>,
    pub(crate) lower: NodeId,
    pub(crate) upper: NodeId,
    pub(crate) up: bool,
    /// Raised when the link goes down or moves: packets under way from before are lost.
    pub(crate) epoch: u64,
    pub(crate) lanes: [Lane; 2],
}

impl LinkState {
    pub(crate) fn set_up(&mut self, now: Instant, up: bool) {
        if self.up != up {
            self.up = up;
            self.cut(now);
        }
    }

    /// Loses what is under way.
    pub(crate) fn cut(&mut self, now: Instant) {
        self.epoch += 1;
        self.lanes.iter_mut().for_each(|lane| lane.reset(now));
    }

    pub(crate) fn lane(&mut self, direction: Direction) -> &mut Lane {
        let [outbound, inbound] = &mut self.lanes;
        match direction {
            Direction::Outbound => outbound,
            Direction::Inbound => inbound,
        }
    }
}

/// A handle to a link; all settings may be changed while packets flow and hold for packets sent afterwards.
#[derive(Debug, Clone)]
pub struct Link {
    pub(crate) shared: Shared,
    pub(crate) id: LinkId,
}

impl Link {
    fn with<R>(&self, f: impl FnOnce(Instant, &mut LinkState) -> R) -> R {
        self.shared.with(|world| f(world.now, world.link(self.id)))
    }

    /// Its name: the lower end's and its interface's.
    pub fn name(&self) -> String {
        self.with(|_, link| link.name.to_string())
    }

    /// Sets both directions alike.
    pub fn configure(&self, config: LinkConfig) {
        self.with(|_, link| {
            for lane in &mut link.lanes {
                lane.config = config.clone();
            }
        });
    }

    /// Sets one direction.
    pub fn configure_direction(&self, direction: Direction, config: LinkConfig) {
        self.with(|_, link| link.lane(direction).config = config);
    }

    /// Changes both directions' settings in place.
    pub fn update(&self, change: impl Fn(&mut LinkConfig)) {
        self.with(|_, link| link.lanes.iter_mut().for_each(|lane| change(&mut lane.config)));
    }

    /// Sets both directions' loss.
    pub fn set_loss(&self, loss: LossModel) {
        self.update(|config| config.loss = loss);
    }

    /// The settings of a direction.
    pub fn config(&self, direction: Direction) -> LinkConfig {
        self.with(|_, link| link.lane(direction).config.clone())
    }

    /// Cuts or restores the link without the host being told, as a cable pulled behind a switch: packets
    /// under way are lost. [`Interface::set_up`](crate::Interface::set_up) is what a host notices.
    pub fn set_up(&self, up: bool) {
        self.with(|now, link| link.set_up(now, up));
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.with(|_, link| link.up)
    }

    /// Looks at, changes, drops or replaces every packet that enters the link in this direction, before
    /// anything else happens to it. The closure must not call into the lab.
    pub fn set_filter(
        &self,
        direction: Direction,
        filter: impl FnMut(&mut Packet) -> Verdict + Send + 'static,
    ) {
        // The old one is dropped outside the lock, whatever it holds.
        let old = self.with(|_, link| link.lane(direction).filter.replace(Box::new(filter)));
        drop(old);
    }

    /// Takes the filter of this direction away.
    pub fn clear_filter(&self, direction: Direction) {
        let old = self.with(|_, link| link.lane(direction).filter.take());
        drop(old);
    }

    /// What a direction did so far.
    pub fn stats(&self, direction: Direction) -> LinkStats {
        self.with(|_, link| link.lane(direction).stats)
    }
}
