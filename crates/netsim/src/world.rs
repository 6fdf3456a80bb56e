//! The core: an event queue ordered by (time, sequence number), and the way of a packet from node to node.
//! Sans-IO; behind the lab's lock.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use peerstack_base::Random;

use crate::dns::DnsState;
use crate::firewall::FirewallState;
use crate::host::HostState;
use crate::link::{Direction, Lane, LinkState};
use crate::nat::{NatConfig, NatState};
use crate::packet::{DropReason, Packet, Verdict};
use crate::router::{RouterKind, RouterState};
use crate::socket::{SocketKey, SocketState};
use crate::tcp::{ListenerState, StreamKey, TcpState};
use crate::trace::{Trace, TraceAction};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(usize);
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(usize);

#[derive(Debug)]
enum Node {
    Host(Box<HostState>),
    Router(RouterState),
}

#[derive(Debug)]
enum Event {
    /// A packet comes out of a link.
    Arrive { link: LinkId, direction: Direction, epoch: u64, packet: Packet },
    /// A packet that a host sent to itself.
    Local { host: NodeId, packet: Packet },
    /// A look-up has its answer.
    Resolved { query: u64 },
    /// A connection's retransmission may be due.
    Retransmit { connection: StreamKey },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// By `advance` alone.
    Told,
    /// Read from tokio at each call.
    Tokio,
}

#[derive(Debug)]
pub(crate) struct World {
    clock: Clock,
    seed: u64,
    start: Instant,
    pub(crate) now: Instant,
    sequence: u64,
    events: BTreeMap<(Instant, u64), Event>,
    nodes: Vec<Node>,
    links: Vec<LinkState>,
    names: BTreeMap<String, u32>,
    pub(crate) sockets: BTreeMap<SocketKey, SocketState>,
    pub(crate) next_socket: u64,
    pub(crate) streams: BTreeMap<StreamKey, TcpState>,
    pub(crate) listeners: BTreeMap<SocketKey, ListenerState>,
    pub(crate) dns: DnsState,
    pub(crate) trace: Trace,
    pub(crate) tracing: bool,
    pub(crate) dropped: BTreeMap<DropReason, u64>,
    /// To be woken once the lock is released.
    pub(crate) wakers: Vec<Waker>,
    /// The driver's task, and the time its timer is set to.
    pub(crate) driver: Option<Waker>,
    pub(crate) armed: Option<Instant>,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

impl World {
    /// The internet.
    pub(crate) const ROOT: NodeId = NodeId(0);

    pub(crate) fn new(seed: u64, start: Instant, clock: Clock) -> Self {
        let root = RouterState {
            name: Arc::from("internet"),
            uplink: None,
            table: BTreeMap::new(),
            kind: RouterKind::Plain,
        };
        Self {
            clock,
            seed,
            start,
            now: start,
            sequence: 0,
            events: BTreeMap::new(),
            nodes: vec![Node::Router(root)],
            links: Vec::new(),
            names: BTreeMap::new(),
            sockets: BTreeMap::new(),
            next_socket: 0,
            streams: BTreeMap::new(),
            listeners: BTreeMap::new(),
            dns: DnsState::default(),
            trace: Trace::default(),
            tracing: true,
            dropped: BTreeMap::new(),
            wakers: Vec::new(),
            driver: None,
            armed: None,
        }
    }

    // ---- time

    #[expect(clippy::disallowed_methods, reason = "the virtual network is where simulated time comes from")]
    pub(crate) fn sync_clock(&mut self) {
        // Outside the runtime, as when it is being torn down, tokio would tell real time.
        if self.clock == Clock::Tokio && tokio::runtime::Handle::try_current().is_ok() {
            let now = tokio::time::Instant::now().into_std();
            self.advance(now);
        }
    }

    pub(crate) fn advance(&mut self, to: Instant) {
        while let Some(entry) = self.events.first_entry() {
            let at = entry.key().0;
            if at > to {
                break;
            }
            let event = entry.remove();
            self.now = self.now.max(at);
            self.handle(event);
        }
        self.now = self.now.max(to);
    }

    pub(crate) fn next_event(&self) -> Option<Instant> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now.saturating_duration_since(self.start)
    }

    /// Wakes the driver if something is due before its timer.
    pub(crate) fn arm_driver(&mut self) {
        let Some(next) = self.next_event() else { return };
        if self.armed.is_none_or(|armed| next < armed) {
            self.wakers.extend(self.driver.take());
            self.armed = Some(next);
        }
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    pub(crate) fn schedule_dns(&mut self, query: u64) {
        self.schedule(self.now + self.dns.latency, Event::Resolved { query });
    }

    pub(crate) fn schedule_retransmit(&mut self, at: Instant, connection: StreamKey) {
        self.schedule(at, Event::Retransmit { connection });
    }

    pub(crate) fn schedule_local(&mut self, host: NodeId, packet: Packet) {
        self.schedule(self.now, Event::Local { host, packet });
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive { link: id, direction, epoch, packet } => {
                let link = self.link(id);
                let (lower, upper) = (link.lower, link.upper);
                if link.epoch != epoch || !link.up {
                    link.lane(direction).stats.down += 1;
                    let place = Arc::clone(&link.name);
                    return self.drop_packet(DropReason::LinkDown, &place, &packet);
                }
                link.lane(direction).stats.delivered.add(packet.wire_len());
                let node = if direction == Direction::Outbound { upper } else { lower };
                match self.nodes.get(node.0) {
                    Some(Node::Host(_)) => self.deliver(node, packet),
                    _ => self.forward(node, Some(id), packet),
                }
            }
            Event::Local { host, packet } => self.deliver(host, packet),
            Event::Resolved { query } => self.wakers.extend(self.dns.waiting.remove(&query).flatten()),
            Event::Retransmit { connection } => self.retransmit(connection),
        }
    }

    // ---- randomness and names

    /// A generator seeded by the lab's seed and a name: what stands elsewhere in the lab does not shift it.
    pub(crate) fn random(&self, name: &str) -> Random {
        // FNV-1a.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut random = Random::from_seed(self.seed.rotate_left(32) ^ hash);
        random.fork()
    }

    /// Makes a name unique in the lab by a number.
    fn unique(&mut self, name: &str) -> Arc<str> {
        let count = self.names.entry(name.to_owned()).or_default();
        *count += 1;
        if *count == 1 { Arc::from(name) } else { Arc::from(format!("{name}#{count}")) }
    }

    // ---- building

    fn add_link(&mut self, name: &str, lower: NodeId, upper: NodeId) -> LinkId {
        let name = self.unique(name);
        let lane = |direction: &str| Lane::new(self.now, self.random(&format!("link {name} {direction}")));
        let lanes = [lane("outbound"), lane("inbound")];
        self.links.push(LinkState { name, lower, upper, up: true, epoch: 0, lanes });
        LinkId(self.links.len() - 1)
    }

    pub(crate) fn nat_state(&self, name: &str, config: NatConfig, external: &[IpAddr]) -> NatState {
        NatState::new(config, external.to_vec(), self.random(&format!("nat {name}")))
    }

    pub(crate) fn add_router(
        &mut self,
        name: &str,
        outside: NodeId,
        kind: RouterKind,
        ips: &[IpAddr],
    ) -> NodeId {
        let name = self.unique(name);
        let node = NodeId(self.nodes.len());
        let uplink = self.add_link(&format!("{name}/uplink"), node, outside);
        let table = BTreeMap::new();
        self.nodes.push(Node::Router(RouterState { name, uplink: Some(uplink), table, kind }));
        ips.iter().for_each(|ip| self.announce(outside, *ip, uplink));
        node
    }

    pub(crate) fn add_host(&mut self, name: &str) -> NodeId {
        let name = self.unique(name);
        let random = self.random(&format!("host {name}"));
        self.nodes.push(Node::Host(Box::new(HostState::new(name, random))));
        NodeId(self.nodes.len() - 1)
    }

    pub(crate) fn attach(&mut self, host: NodeId, interface: &str, router: NodeId, ips: &[IpAddr]) -> LinkId {
        let name = self.host(host).map_or(String::new(), |host| format!("{}/{interface}", host.name));
        let link = self.add_link(&name, host, router);
        ips.iter().for_each(|ip| self.announce(router, *ip, link));
        link
    }

    /// Moves a link's lower end to other addresses, and perhaps to another router.
    pub(crate) fn move_link(&mut self, id: LinkId, router: Option<NodeId>, old: &[IpAddr], new: &[IpAddr]) {
        let now = self.now;
        let link = self.link(id);
        let from = link.upper;
        let to = router.unwrap_or(from);
        link.upper = to;
        link.cut(now);
        old.iter().for_each(|ip| self.withdraw(from, *ip));
        new.iter().for_each(|ip| self.announce(to, *ip, id));
    }

    /// Makes an address known to a router and to those outside it, up to the next NAT of its family.
    #[expect(clippy::panic, reason = "a mistake in a test's own set-up")]
    fn announce(&mut self, router: NodeId, ip: IpAddr, link: LinkId) {
        let Some(state) = self.router_mut(router) else { return };
        if state.table.insert(ip, link).is_some() {
            panic!("{ip} is already in the network of {}", state.name);
        }
        if let (Some(uplink), false) = (state.uplink, state.hides(ip)) {
            let outside = self.link(uplink).upper;
            self.announce(outside, ip, uplink);
        }
    }

    fn withdraw(&mut self, router: NodeId, ip: IpAddr) {
        let Some(state) = self.router_mut(router) else { return };
        state.table.remove(&ip);
        if let (Some(uplink), false) = (state.uplink, state.hides(ip)) {
            let outside = self.link(uplink).upper;
            self.withdraw(outside, ip);
        }
    }

    pub(crate) fn move_nat(&mut self, node: NodeId, external: &[IpAddr]) {
        let Some(nat) = self.nat_mut(node) else { return };
        let old = std::mem::replace(&mut nat.external, external.to_vec());
        if let Some(uplink) = self.router(node).and_then(|router| router.uplink) {
            self.move_link(uplink, None, &old, external);
        }
    }

    // ---- access

    /// A link of this world: ids are only made by it and links are never removed.
    pub(crate) fn link(&mut self, id: LinkId) -> &mut LinkState {
        &mut self.links[id.0]
    }

    pub(crate) fn router(&self, node: NodeId) -> Option<&RouterState> {
        match self.nodes.get(node.0)? {
            Node::Router(router) => Some(router),
            Node::Host(_) => None,
        }
    }

    fn router_mut(&mut self, node: NodeId) -> Option<&mut RouterState> {
        match self.nodes.get_mut(node.0)? {
            Node::Router(router) => Some(router),
            Node::Host(_) => None,
        }
    }

    pub(crate) fn nat_mut(&mut self, node: NodeId) -> Option<&mut NatState> {
        match &mut self.router_mut(node)?.kind {
            RouterKind::Nat(nat) => Some(nat),
            _ => None,
        }
    }

    pub(crate) fn set_firewall(&mut self, node: NodeId, state: FirewallState) {
        if let Some(router) = self.router_mut(node) {
            router.kind = RouterKind::Firewall(state);
        }
    }

    pub(crate) fn host(&mut self, node: NodeId) -> Option<&mut HostState> {
        match self.nodes.get_mut(node.0)? {
            Node::Host(host) => Some(host),
            Node::Router(_) => None,
        }
    }

    // ---- packets

    pub(crate) fn record(&mut self, action: TraceAction, place: &Arc<str>, packet: &Packet) {
        let (from, to, len) = (packet.source, packet.destination, packet.payload.len());
        tracing::trace!(target: "peerstack::netsim", at = ?self.elapsed(), %place, ?action, %from, %to, len);
        if self.tracing {
            self.trace.record(self.now.saturating_duration_since(self.start), action, place, packet);
        }
    }

    pub(crate) fn drop_packet(&mut self, reason: DropReason, place: &Arc<str>, packet: &Packet) {
        *self.dropped.entry(reason).or_default() += 1;
        self.record(TraceAction::Dropped(reason), place, packet);
    }

    /// Puts a packet into a link.
    pub(crate) fn transmit(&mut self, id: LinkId, direction: Direction, mut packet: Packet) {
        let now = self.now;
        let link = self.link(id);
        let (place, epoch, up) = (Arc::clone(&link.name), link.epoch, link.up);
        let lane = link.lane(direction);
        if !up {
            lane.stats.down += 1;
            return self.drop_packet(DropReason::LinkDown, &place, &packet);
        }
        let verdict = lane.filter.as_mut().map_or(Verdict::Pass, |filter| filter(&mut packet));
        let (packets, delay) = match verdict {
            Verdict::Pass => (vec![packet], None),
            Verdict::Delay(delay) => (vec![packet], Some(delay)),
            Verdict::Drop => {
                lane.stats.filtered += 1;
                return self.drop_packet(DropReason::Filter, &place, &packet);
            }
            Verdict::Replace(packets) => {
                lane.stats.filtered += 1;
                (packets, None)
            }
        };
        for packet in packets {
            match self.link(id).lane(direction).offer(now, packet.wire_len(), delay) {
                Err(reason) => self.drop_packet(reason, &place, &packet),
                Ok((at, copy)) => {
                    if let Some(at) = copy {
                        let packet = packet.clone();
                        self.schedule(at, Event::Arrive { link: id, direction, epoch, packet });
                    }
                    self.schedule(at, Event::Arrive { link: id, direction, epoch, packet });
                }
            }
        }
    }

    /// A router has a packet that came by `from`, or from nowhere, which counts as outside.
    pub(crate) fn forward(&mut self, node: NodeId, from: Option<LinkId>, mut packet: Packet) {
        let now = self.now;
        let Some(router) = self.router_mut(node) else { return };
        let outside = from.is_none() || from == router.uplink;
        let inside_destination = router.table.contains_key(&packet.destination.ip());
        let verdict = match &mut router.kind {
            RouterKind::Nat(nat) => translate(nat, now, outside, inside_destination, &mut packet),
            RouterKind::Firewall(firewall) if outside => firewall.inbound(now, &packet),
            RouterKind::Firewall(firewall) if !inside_destination => firewall.outbound(now, &packet),
            RouterKind::Firewall(_) | RouterKind::Plain => Ok(()),
        };
        let place = Arc::clone(&router.name);
        let route = match router.table.get(&packet.destination.ip()) {
            Some(link) => Some((*link, Direction::Inbound)),
            None if outside && from.is_some() => None,
            None => router.uplink.map(|uplink| (uplink, Direction::Outbound)),
        };
        match (verdict, route) {
            (Err(reason), _) => self.drop_packet(reason, &place, &packet),
            (Ok(()), None) => self.drop_packet(DropReason::NoRoute, &place, &packet),
            (Ok(()), Some((link, direction))) => self.transmit(link, direction, packet),
        }
    }
}

impl RouterState {
    /// Whether an inside address is unknown outside because it is translated.
    fn hides(&self, ip: IpAddr) -> bool {
        matches!(&self.kind, RouterKind::Nat(nat) if nat.translates(ip))
    }
}

/// Rewrites a packet as the NAT does.
fn translate(
    nat: &mut NatState,
    now: Instant,
    outside: bool,
    inside_destination: bool,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    let destination = packet.destination;
    if !nat.translates(destination.ip()) {
        return Ok(());
    }
    if outside {
        if !nat.is_external(destination.ip()) {
            // Nobody outside can name an inside address.
            return Err(DropReason::NatNoMapping);
        }
        packet.destination = nat.inbound(now, packet.transport, destination, packet.source)?;
        return Ok(());
    }
    if inside_destination {
        return Ok(());
    }
    if nat.is_external(destination.ip()) {
        if !nat.config.hairpinning {
            return Err(DropReason::NatHairpin);
        }
        // RFC 4787 section 6, REQ-9: the source is the external one, and filtering applies to it.
        let source = nat.outbound(now, packet.transport, packet.source, destination)?;
        packet.destination = nat.inbound(now, packet.transport, destination, source)?;
        packet.source = source;
        return Ok(());
    }
    packet.source = nat.outbound(now, packet.transport, packet.source, destination)?;
    Ok(())
}

/// Addresses are compared without flow labels and scopes.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}
