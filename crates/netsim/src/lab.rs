//! The lab: owner of the virtual world, and its driver under tokio's clock.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use peerstack_base::{AdapterType, DnsResolver, MdnsResponder, Random, WallClock};
use tokio::time::Sleep;

use crate::dns::{DnsAnswer, LabMdnsResponder, LabResolver};
use crate::firewall::{Firewall, FirewallPolicy, FirewallState};
use crate::host::Host;
use crate::nat::{Nat, NatConfig};
use crate::packet::{DropReason, Packet};
use crate::router::{Router, RouterKind, Segment};
use crate::trace::Trace;
use crate::world::{Clock, World};

/// The date on which every lab begins, in seconds since 1970: 1 January 2026.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

/// The world behind every handle. One lock, held for the length of one call; no layer of the product shares
/// state like this, but here many hosts' tasks touch one network.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<World>>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lab(..)")
    }
}

impl Shared {
    /// Brings the world to the clock's time, runs `f`, then wakes whoever has something to do; wakers run
    /// outside the lock.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        let (result, wakers) = {
            let mut world = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            world.sync_clock();
            let result = f(&mut world);
            world.arm_driver();
            (result, std::mem::take(&mut world.wakers))
        };
        wakers.into_iter().for_each(std::task::Waker::wake);
        result
    }
}

/// See [`Lab::wall_clock`].
#[derive(Debug)]
struct LabWallClock {
    shared: Shared,
}

impl WallClock for LabWallClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + EPOCH + self.shared.with(|world| world.elapsed())
    }
}

/// A virtual network. Cheap to clone; it lives as long as any handle to it.
#[derive(Debug, Clone)]
pub struct Lab {
    pub(crate) shared: Shared,
}

impl Lab {
    /// A lab that is told the time by [`advance`](Self::advance), and begins at `start`.
    pub fn new(seed: u64, start: Instant) -> Self {
        Self { shared: Shared(Arc::new(Mutex::new(World::new(seed, start, Clock::Told)))) }
    }

    /// A lab that reads tokio's clock, to be driven by [`run`](Self::run). Call it inside a runtime.
    #[expect(clippy::disallowed_methods, reason = "the virtual network is where simulated time comes from")]
    pub fn with_tokio_clock(seed: u64) -> Self {
        let start = tokio::time::Instant::now().into_std();
        Self { shared: Shared(Arc::new(Mutex::new(World::new(seed, start, Clock::Tokio)))) }
    }

    /// A lab that reads tokio's clock, with its driver spawned; that task ends when the last handle to the lab
    /// is dropped. Call it inside a current-thread runtime whose clock is paused.
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver of the virtual network, not of a PeerConnection"
    )]
    pub fn start(seed: u64) -> Self {
        let lab = Self::with_tokio_clock(seed);
        drop(tokio::spawn(lab.run()));
        lab
    }

    /// The driver: moves packets when tokio's clock reaches their time; ends with the last handle to the lab.
    pub fn run(&self) -> impl Future<Output = ()> + Send + 'static {
        drive(Arc::downgrade(&self.shared.0))
    }

    /// Moves everything that is due at `now` or before, each at its own time. Time never goes back.
    pub fn advance(&self, now: Instant) {
        self.shared.with(|world| world.advance(now));
    }

    /// When something happens next, if anything does.
    pub fn next_event(&self) -> Option<Instant> {
        self.shared.with(|world| world.next_event())
    }

    /// Advances from event to event until nothing is under way or `limit` is reached. For labs that are told
    /// the time.
    pub fn run_until(&self, limit: Instant) {
        while let Some(at) = self.next_event().filter(|at| *at <= limit) {
            self.advance(at);
        }
        self.advance(limit);
    }

    /// The time in the lab.
    pub fn now(&self) -> Instant {
        self.shared.with(|world| world.now)
    }

    /// Virtual time since the lab began.
    pub fn elapsed(&self) -> Duration {
        self.shared.with(|world| world.elapsed())
    }

    /// A date that follows the lab's time, beginning on 1 January 2026.
    pub fn wall_clock(&self) -> Arc<dyn WallClock> {
        Arc::new(LabWallClock { shared: self.shared.clone() })
    }

    /// A generator for whatever runs on the lab's hosts, seeded by the lab's seed and this name.
    pub fn random(&self, name: &str) -> Random {
        self.shared.with(|world| world.random(&format!("user {name}")))
    }

    /// The root of the network.
    pub fn internet(&self) -> Router {
        Router { shared: self.shared.clone(), node: World::ROOT }
    }

    fn inner_router(&self, name: &str, outside: &impl Segment, kind: RouterKind, ips: &[IpAddr]) -> Router {
        let outside = outside.as_router().node;
        let node = self.shared.with(|world| world.add_router(name, outside, kind, ips));
        Router { shared: self.shared.clone(), node }
    }

    /// A network of its own, its addresses reachable from `outside`.
    pub fn router(&self, name: &str, outside: &impl Segment) -> Router {
        self.inner_router(name, outside, RouterKind::Plain, &[])
    }

    /// A NAT with these external addresses in `outside`; of each family the first is used.
    pub fn nat(&self, name: &str, outside: &impl Segment, external: &[IpAddr], config: NatConfig) -> Nat {
        let state = self.shared.with(|world| world.nat_state(name, config, external));
        let router = self.inner_router(name, outside, RouterKind::Nat(state), external);
        Nat { shared: router.shared, node: router.node }
    }

    /// A firewall before a network of its own.
    pub fn firewall(&self, name: &str, outside: &impl Segment, policy: FirewallPolicy) -> Firewall {
        let kind = RouterKind::Firewall(FirewallState::new(policy));
        let router = self.inner_router(name, outside, kind, &[]);
        Firewall { shared: router.shared, node: router.node }
    }

    /// A host with nothing but its loopback interface.
    pub fn host(&self, name: &str) -> Host {
        let node = self.shared.with(|world| world.add_host(name));
        Host { shared: self.shared.clone(), node }
    }

    /// A host with one wired interface, `eth0`, of this address.
    pub fn host_at(&self, name: &str, segment: &impl Segment, ip: IpAddr) -> Host {
        let host = self.host(name);
        host.add_interface("eth0", AdapterType::Ethernet, segment, &[ip]);
        host
    }

    /// Resolves the names set by [`set_name`](Self::set_name), `.local` ones too; others are not found.
    pub fn dns_resolver(&self) -> Arc<dyn DnsResolver> {
        Arc::new(LabResolver { shared: self.shared.clone() })
    }

    /// Makes names known to [`dns_resolver`](Self::dns_resolver), whoever asks.
    pub fn mdns_responder(&self) -> Box<dyn MdnsResponder> {
        Box::new(LabMdnsResponder { shared: self.shared.clone() })
    }

    /// Gives a name its addresses.
    pub fn set_name(&self, name: &str, ips: &[IpAddr]) {
        self.set_answer(name, DnsAnswer::Addresses(ips.to_vec()));
    }

    /// Sets what is answered for a name.
    pub fn set_answer(&self, name: &str, answer: DnsAnswer) {
        self.shared.with(|world| world.dns.set(name, answer));
    }

    /// How long each look-up takes; none at all by default.
    pub fn set_dns_latency(&self, latency: Duration) {
        self.shared.with(|world| world.dns.latency = latency);
    }

    /// Names that were looked up, in order.
    pub fn dns_queries(&self) -> Vec<String> {
        self.shared.with(|world| world.dns.queries.clone())
    }

    /// Sockets that are bound now, on all hosts. Servers of the lab do not count.
    pub fn open_sockets(&self) -> usize {
        self.shared.with(|world| world.sockets.len() + world.listeners.len() + world.open_streams())
    }

    /// Puts a packet, with whatever source it claims, into the internet.
    pub fn inject(&self, packet: Packet) {
        self.internet().inject(packet);
    }

    /// What happened so far.
    pub fn trace(&self) -> Trace {
        self.shared.with(|world| world.trace.clone())
    }

    /// Whether to record: on at first. Turn it off before sending in bulk.
    pub fn set_tracing(&self, on: bool) {
        self.shared.with(|world| world.tracing = on);
    }

    /// Packets that ended for this reason so far.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.shared.with(|world| world.dropped.get(&reason).copied().unwrap_or(0))
    }

    /// All reasons for which packets ended so far, with their number.
    pub fn all_dropped(&self) -> BTreeMap<DropReason, u64> {
        self.shared.with(|world| world.dropped.clone())
    }
}

async fn drive(world: Weak<Mutex<World>>) {
    let mut sleep: Option<Pin<Box<Sleep>>> = None;
    poll_fn(move |cx| {
        loop {
            let Some(shared) = world.upgrade().map(Shared) else { return Poll::Ready(()) };
            let next = shared.with(|world| {
                world.driver = Some(cx.waker().clone());
                world.armed = world.next_event();
                world.armed
            });
            // The last handle may be this one; dropping it then wakes this task again.
            drop(shared);
            let Some(next) = next else { return Poll::Pending };
            let deadline = tokio::time::Instant::from_std(next);
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            sleep.as_mut().reset(deadline);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}
