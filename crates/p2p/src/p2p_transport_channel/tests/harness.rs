//! Two transports on hosts of a virtual network, driven in virtual time without a runtime.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use peerstack_base::{
    AsyncUdpSocket, EventReceiver, IoRequest, PacketOptions, Random, ReceiveMeta, RecvMeta, ResolveId,
    SendError, SocketId,
};
use peerstack_netsim::{Host, Lab, LinkConfig, addr, ip};

use super::super::*;
use crate::{AsyncTcpListenSocket, AsyncTcpPacketSocket, CandidateType};

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An arbitrary origin of time.
#[expect(clippy::disallowed_methods, reason = "tests count from an arbitrary origin")]
pub(crate) fn origin() -> Instant {
    Instant::now()
}

/// One end: a host with a transport, its sockets and what it told.
pub(crate) struct Peer {
    pub(crate) host: Host,
    pub(crate) channel: P2PTransportChannel,
    receiver: EventReceiver<IceTransportEvent>,
    sockets: BTreeMap<SocketId, Box<dyn AsyncUdpSocket>>,
    streams: BTreeMap<SocketId, (AsyncTcpPacketSocket, Option<SocketId>)>,
    listeners: BTreeMap<SocketId, AsyncTcpListenSocket>,
    pub(crate) events: Vec<(Duration, IceTransportEvent)>,
    pub(crate) data: Vec<Vec<u8>>,
    /// Candidates that were not signalled yet.
    pub(crate) outbox: Vec<Candidate>,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    /// Names of its own that it had registered.
    pub(crate) registered: BTreeMap<String, IpAddr>,
    pub(crate) resolutions: Vec<(ResolveId, String)>,
    pub(crate) hold_resolutions: bool,
    pub(crate) parameters: IceParameters,
    /// Whether role conflicts are acted on.
    pub(crate) follow_roles: bool,
    /// Nothing of it runs; what comes waits in its sockets.
    pub(crate) asleep: bool,
    /// Datagrams that are to be looked at instead of sent, if set.
    pub(crate) sent: Option<Vec<(SocketAddr, Vec<u8>)>>,
}

impl Peer {
    pub(crate) fn new(
        host: Host,
        name: &str,
        seed: u64,
        configure: impl FnOnce(&mut P2PTransportChannelConfig),
    ) -> Self {
        let networks = host.network_manager().networks();
        let mut config = P2PTransportChannelConfig::new(name, host.packet_socket_factory(), networks);
        configure(&mut config);
        let mut random = Random::from_seed(seed);
        let parameters = new_parameters(&mut random);
        let mut channel = P2PTransportChannel::new(config, random);
        let receiver = channel.subscribe();
        Self {
            host,
            channel,
            receiver,
            sockets: BTreeMap::new(),
            streams: BTreeMap::new(),
            listeners: BTreeMap::new(),
            events: Vec::new(),
            data: Vec::new(),
            outbox: Vec::new(),
            names: BTreeMap::new(),
            registered: BTreeMap::new(),
            resolutions: Vec::new(),
            hold_resolutions: false,
            parameters,
            follow_roles: true,
            asleep: false,
            sent: None,
        }
    }

    pub(crate) fn gather(&mut self, now: Instant) {
        self.channel.set_ice_parameters(self.parameters.clone());
        self.channel.maybe_start_gathering(now);
    }

    /// Lets everything that is due at `now` happen; whether anything did.
    fn turn(&mut self, now: Instant, elapsed: Duration) -> bool {
        let mut any = false;
        if self.asleep {
            return false;
        }
        if self.channel.next_timeout().is_some_and(|at| at <= now) {
            self.channel.handle_timeout(now);
            any = true;
        }
        any |= self.receive(now);
        any |= self.poll_streams(now);
        any |= self.requests(now);
        while let Some(event) = self.receiver.try_next() {
            any = true;
            match &event {
                IceTransportEvent::CandidateGathered(candidate) => self.outbox.push(candidate.clone()),
                IceTransportEvent::RoleConflict if self.follow_roles => {
                    self.channel.set_ice_role(self.channel.ice_role().reversed());
                    self.channel.process(now);
                }
                _ => {}
            }
            self.events.push((elapsed, event));
        }
        any | self.flush()
    }

    fn requests(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(request) = self.channel.poll_io_request() {
            any = true;
            match request {
                IoRequest::AddUdpSocket { id, socket } => {
                    assert!(self.channel.owns_socket(id));
                    self.sockets.insert(id, socket);
                }
                IoRequest::AddStream { id, socket, framing } => {
                    assert!(self.channel.owns_socket(id));
                    self.streams.insert(id, (AsyncTcpPacketSocket::new(id, socket, framing), None));
                }
                IoRequest::AddListener { id, listener, framing } => {
                    self.listeners.insert(id, AsyncTcpListenSocket::new(id, listener, framing));
                }
                IoRequest::CloseSocket { id } => {
                    self.flush();
                    self.channel.transmits().forget_socket(id);
                    self.sockets.remove(&id);
                    self.listeners.remove(&id);
                    if let Some((stream, _)) = self.streams.get_mut(&id) {
                        stream.close();
                    }
                }
                IoRequest::RegisterMdnsName { name, address } => {
                    let known = self.registered.insert(name, address);
                    assert!(known.is_none(), "registered twice");
                }
                IoRequest::RemoveMdnsName { name } => assert!(self.registered.remove(&name).is_some()),
                IoRequest::Resolve { id, name } => self.resolutions.push((id, name)),
                other => panic!("{other:?}"),
            }
        }
        if !self.hold_resolutions {
            for (id, name) in std::mem::take(&mut self.resolutions) {
                let addresses = self.names.get(&name).cloned().unwrap_or_default();
                self.channel.handle_resolved(now, id, &addresses);
            }
        }
        any
    }

    fn receive(&mut self, now: Instant) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut arrived = Vec::new();
        for (id, socket) in &mut self.sockets {
            loop {
                let mut buffer = [0u8; 2048];
                let mut meta = [RecvMeta::default()];
                let Poll::Ready(Ok(1)) =
                    socket.poll_recv(&mut cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)
                else {
                    break;
                };
                let stride = meta[0].stride.max(1);
                for part in buffer[..meta[0].len].chunks(stride) {
                    arrived.push((*id, meta[0].remote, part.to_vec()));
                }
            }
        }
        let any = !arrived.is_empty();
        for (socket, remote, mut datagram) in arrived {
            let meta = ReceiveMeta { socket, remote, local_ip: None, ecn: peerstack_base::Ecn::NotEct };
            if let Some(data) = self.channel.receive(now, &mut datagram, &meta) {
                self.data.push(data.to_vec());
            }
        }
        any
    }

    fn poll_streams(&mut self, now: Instant) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut any = false;
        let mut events = Vec::new();
        for (id, listener) in &mut self.listeners {
            loop {
                let open = self.streams.values().filter(|(_, from)| *from == Some(*id)).count();
                let Some((stream, event)) = listener.poll_accept(&mut cx, open) else { break };
                self.streams.insert(stream.id(), (stream, Some(*id)));
                events.push(event);
            }
        }
        for (stream, _) in self.streams.values_mut() {
            let (channel, data) = (&mut self.channel, &mut self.data);
            let event = stream.poll(&mut cx, |packet, meta| {
                any = true;
                data.extend(channel.receive(now, packet, meta).map(|data| data.to_vec()));
            });
            events.extend(event);
        }
        self.streams.retain(|_, (stream, _)| !stream.is_closed());
        any |= !events.is_empty();
        for event in events {
            self.channel.handle_socket_event(now, &event);
        }
        any
    }

    fn flush(&mut self) -> bool {
        let mut any = false;
        while let Some((socket, transmit)) = self.channel.transmits().peek(|_| 1) {
            any = true;
            let (destination, contents) = (transmit.destination, transmit.contents.to_vec());
            self.channel.transmits().pop(contents.len());
            if let Some(sent) = &mut self.sent {
                sent.push((destination, contents));
                continue;
            }
            let transmit = peerstack_base::Transmit {
                destination,
                ecn: peerstack_base::Ecn::NotEct,
                contents: &contents,
                segment_size: None,
            };
            if let Some(socket) = self.sockets.get_mut(&socket) {
                let _ = socket.try_send(&transmit);
            } else if let Some((stream, _)) = self.streams.get_mut(&socket) {
                stream.send(&transmit);
            }
        }
        any
    }

    pub(crate) fn send(&mut self, now: Instant, data: &[u8]) -> Result<usize, SendError> {
        self.channel.send_with(now, &PacketOptions::default(), data.len(), |slot| {
            slot.copy_from_slice(data);
            data.len()
        })
    }

    pub(crate) fn socket_ids(&self) -> Vec<SocketId> {
        self.sockets.keys().copied().collect()
    }

    pub(crate) fn states(&self) -> Vec<IceTransportState> {
        let state = |event: &IceTransportEvent| match event {
            IceTransportEvent::StateChange(state) => Some(*state),
            _ => None,
        };
        self.events.iter().filter_map(|(_, event)| state(event)).collect()
    }

    pub(crate) fn when(&self, wanted: impl Fn(&IceTransportEvent) -> bool) -> Option<Duration> {
        self.events.iter().find(|(_, event)| wanted(event)).map(|(at, _)| *at)
    }

    pub(crate) fn count(&self, wanted: impl Fn(&IceTransportEvent) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| wanted(event)).count()
    }

    pub(crate) fn selected_types(&self) -> Option<(CandidateType, CandidateType)> {
        self.channel
            .selected_candidate_pair()
            .map(|pair| (pair.local.candidate_type, pair.remote.candidate_type))
    }
}

pub(crate) fn new_parameters(random: &mut Random) -> IceParameters {
    IceParameters { ufrag: random.ice_string(4), pwd: random.ice_string(24), renomination: false }
}

/// Two peers and the network between them.
pub(crate) struct Pair {
    pub(crate) lab: Lab,
    pub(crate) a: Peer,
    pub(crate) b: Peer,
    pub(crate) now: Instant,
    start: Instant,
    /// Whether candidates travel to the other side as they come.
    pub(crate) trickle: bool,
}

impl Pair {
    /// `a` controls.
    pub(crate) fn new(lab: Lab, mut a: Peer, mut b: Peer) -> Self {
        a.channel.set_ice_role(IceRole::Controlling);
        b.channel.set_ice_role(IceRole::Controlled);
        let now = lab.now();
        Self { lab, a, b, now, start: now, trickle: true }
    }

    /// Two hosts in the open, 10 ms from the middle each: 40 ms round trip.
    pub(crate) fn open(seed: u64) -> Self {
        Self::open_with(seed, |_| {}, |_| {})
    }

    pub(crate) fn open_with(
        seed: u64,
        configure_a: impl FnOnce(&mut P2PTransportChannelConfig),
        configure_b: impl FnOnce(&mut P2PTransportChannelConfig),
    ) -> Self {
        let lab = Lab::new(seed, origin());
        let a = lab.host_at("a", &lab.internet(), ip("192.0.2.1"));
        let b = lab.host_at("b", &lab.internet(), ip("192.0.2.2"));
        for host in [&a, &b] {
            host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
        }
        let a = Peer::new(a, "a", 2 * seed + 1, configure_a);
        let b = Peer::new(b, "b", 2 * seed + 2, configure_b);
        Self::new(lab, a, b)
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Tells each side the other's parameters.
    pub(crate) fn exchange_parameters(&mut self) {
        let (a, b) = (self.a.parameters.clone(), self.b.parameters.clone());
        self.a.channel.set_remote_ice_parameters(self.now, b);
        self.b.channel.set_remote_ice_parameters(self.now, a);
    }

    /// Both gather and know each other's parameters.
    pub(crate) fn start(&mut self) {
        self.a.gather(self.now);
        self.b.gather(self.now);
        self.exchange_parameters();
    }

    /// Lets everything that is due now happen.
    pub(crate) fn settle(&mut self) {
        for _ in 0..1000 {
            self.lab.advance(self.now);
            let elapsed = self.elapsed();
            let mut any = self.a.turn(self.now, elapsed);
            any |= self.b.turn(self.now, elapsed);
            if self.trickle {
                for candidate in std::mem::take(&mut self.a.outbox) {
                    self.b.channel.add_remote_candidate(self.now, candidate);
                    any = true;
                }
                for candidate in std::mem::take(&mut self.b.outbox) {
                    self.a.channel.add_remote_candidate(self.now, candidate);
                    any = true;
                }
            }
            if !any && self.lab.next_event().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("never settles at {:?}", self.elapsed());
    }

    /// Passes virtual time until `done`, or until `limit` has passed.
    pub(crate) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            let timeout = |peer: &Peer| peer.channel.next_timeout().filter(|_| !peer.asleep);
            let timeouts = [timeout(&self.a), timeout(&self.b)];
            let next = timeouts.into_iter().flatten().chain(self.lab.next_event()).min();
            let Some(next) = next.filter(|at| *at <= end) else {
                self.now = end;
                self.settle();
                return done(self);
            };
            self.now = next.max(self.now);
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    pub(crate) fn both_connected(&self) -> bool {
        self.a.channel.writable() && self.b.channel.writable()
    }

    /// Starts and connects.
    pub(crate) fn connect(&mut self) {
        self.start();
        assert!(self.run_until(ms(5000), Self::both_connected), "not connected");
    }

    /// Packets each way arrive, once and unchanged.
    pub(crate) fn exchange_data(&mut self) {
        let (at_a, at_b) = (self.a.data.len(), self.b.data.len());
        for number in 0..10u8 {
            let packet = [&[128, 96, 0, number][..], &[7; 32]].concat();
            assert_eq!(self.a.send(self.now, &packet), Ok(36));
            assert_eq!(self.b.send(self.now, &packet), Ok(36));
        }
        self.run_for(ms(500));
        assert_eq!((self.a.data.len() - at_a, self.b.data.len() - at_b), (10, 10));
    }
}

pub(crate) fn candidate(text: &str, priority: u32) -> Candidate {
    let address: SocketAddr = addr(text);
    Candidate::parse(&format!(
        "candidate:1 1 udp {priority} {} {} typ host generation 0",
        address.ip(),
        address.port()
    ))
    .unwrap()
}
