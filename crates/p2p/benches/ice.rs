//! What ICE costs: a check handled, a data packet through the selected pair, 1,000 pairs sorted. Two transports
//! over sockets that do nothing; their datagrams are carried by hand, so that nothing but ICE is measured. Beside
//! each stands what it cannot do without, from the same run: machines differ, the ratio stays (docs/performance.md).
//! `cargo bench -p peerstack-p2p`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on")]

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use peerstack_base::{
    AdapterType, AsyncUdpSocket, Ecn, IoRequest, Network, PacketOptions, PacketSocketFactory, PortRange,
    Random, ReceiveMeta, RecvMeta, SocketId, Transmit,
};
use peerstack_p2p::{
    BasicIceController, Candidate, ConnectionId, IceConfig, IceController, IceParameters, IceRole,
    IceSwitchReason, IceTransport, IceTransportEvent, P2PTransportChannel, P2PTransportChannelConfig,
};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Bound, and otherwise nothing.
#[derive(Debug)]
struct Socket(SocketAddr);

impl AsyncUdpSocket for Socket {
    fn try_send(&mut self, _transmit: &Transmit<'_>) -> io::Result<()> {
        Ok(())
    }

    fn poll_writable(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_recv(
        &mut self,
        _cx: &mut Context<'_>,
        _bufs: &mut [IoSliceMut<'_>],
        _meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0)
    }
}

#[derive(Debug)]
struct Factory;

impl PacketSocketFactory for Factory {
    fn create_udp_socket(
        &mut self,
        local: SocketAddr,
        _ports: Option<PortRange>,
    ) -> io::Result<Box<dyn AsyncUdpSocket>> {
        Ok(Box::new(Socket(SocketAddr::new(local.ip(), 50_000))))
    }
}

/// One end of a call.
struct Peer {
    channel: P2PTransportChannel,
    socket: Option<SocketId>,
    address: SocketAddr,
}

impl Peer {
    /// With an address in each of so many networks.
    fn new(number: u8, networks: u8, role: IceRole) -> Self {
        let network = |index: u8| Network {
            name: format!("eth{index}"),
            adapter_type: AdapterType::Ethernet,
            prefix_len: 24,
            ips: vec![[10, index, 0, number].into()],
            id: u16::from(index) + 1,
            preference: 127 - index,
        };
        let mut config =
            P2PTransportChannelConfig::new("bench", Box::new(Factory), (0..networks).map(network).collect());
        config.role = role;
        let channel = P2PTransportChannel::new(config, Random::from_seed(number.into()));
        Self { channel, socket: None, address: SocketAddr::from(([10, 0, 0, number], 50_000)) }
    }

    fn gather(&mut self, now: Instant, parameters: &IceParameters) -> Vec<Candidate> {
        let mut events = self.channel.subscribe();
        self.channel.set_ice_parameters(parameters.clone());
        self.channel.maybe_start_gathering(now);
        self.channel.process(now);
        while let Some(request) = self.channel.poll_io_request() {
            if let IoRequest::AddUdpSocket { id, .. } = request {
                self.socket.get_or_insert(id);
            }
        }
        let gathered = std::iter::from_fn(|| events.try_next()).filter_map(|event| match event {
            IceTransportEvent::CandidateGathered(candidate) => Some(candidate),
            _ => None,
        });
        gathered.collect()
    }

    fn meta(&self, from: &Self) -> ReceiveMeta {
        ReceiveMeta { socket: self.socket.unwrap(), remote: from.address, local_ip: None, ecn: Ecn::NotEct }
    }

    /// The next datagram that is to go out.
    fn pop(&mut self) -> Option<Vec<u8>> {
        let (_, transmit) = self.channel.transmits().peek(|_| 1)?;
        let datagram = transmit.contents.to_vec();
        self.channel.transmits().pop(datagram.len());
        Some(datagram)
    }

    /// Forgets what is to go out.
    fn drop_transmits(&mut self) {
        while let Some(len) =
            self.channel.transmits().peek(|_| 64).map(|(_, transmit)| transmit.contents.len())
        {
            self.channel.transmits().pop(len);
        }
    }
}

fn parameters(number: u8) -> IceParameters {
    let mut random = Random::from_seed(100 + u64::from(number));
    IceParameters { ufrag: random.ice_string(4), pwd: random.ice_string(24), renomination: false }
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin of time")]
fn origin() -> Instant {
    Instant::now()
}

/// Two peers that are connected, and the time at which they are.
fn connected() -> (Peer, Peer, Instant) {
    let mut now = origin();
    let (mut a, mut b) = (Peer::new(1, 1, IceRole::Controlling), Peer::new(2, 1, IceRole::Controlled));
    let (for_b, for_a) = (a.gather(now, &parameters(1)), b.gather(now, &parameters(2)));
    a.channel.set_remote_ice_parameters(now, parameters(2));
    b.channel.set_remote_ice_parameters(now, parameters(1));
    for_a.into_iter().for_each(|candidate| a.channel.add_remote_candidate(now, candidate));
    for_b.into_iter().for_each(|candidate| b.channel.add_remote_candidate(now, candidate));
    for _ in 0..1000 {
        carry(now, &mut a, &mut b);
        carry(now, &mut b, &mut a);
        let stable = [&a, &b]
            .iter()
            .all(|peer| peer.channel.selected_connection().is_some_and(|connection| connection.stable(now)));
        if stable {
            return (a, b, now);
        }
        let timeouts = [&a, &b].map(|peer| peer.channel.next_timeout());
        now = timeouts.into_iter().flatten().min().unwrap_or(now).max(now + Duration::from_millis(1));
        a.channel.handle_timeout(now);
        b.channel.handle_timeout(now);
    }
    panic!("not connected");
}

fn carry(now: Instant, from: &mut Peer, to: &mut Peer) {
    let meta = to.meta(from);
    while let Some(mut datagram) = from.pop() {
        to.channel.receive(now, &mut datagram, &meta);
    }
}

/// The peer's check on the selected pair: parsed, authenticated, answered.
#[divan::bench]
fn check_handled(bencher: Bencher) {
    let (mut a, mut b, mut now) = connected();
    let check = loop {
        now += Duration::from_millis(100);
        a.channel.handle_timeout(now);
        if let Some(check) = a.pop() {
            break check;
        }
    };
    let meta = b.meta(&a);
    let mut datagram = check.clone();
    bencher.bench_local(|| {
        datagram.copy_from_slice(&check);
        let data = b.channel.receive(now, black_box(&mut datagram), &meta);
        assert!(data.is_none());
        b.drop_transmits();
    });
}

/// What that cannot do without: two HMACs, of the check and of the answer, each under a password, and two checksums.
#[divan::bench]
fn check_handled_floor(bencher: Bencher) {
    let (check, answer, password) = ([1u8; 96], [2u8; 44], [3u8; 24]);
    bencher.bench_local(|| {
        for text in [&check[..], &answer] {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, black_box(&password));
            black_box(hmac::sign(&key, black_box(text)));
            black_box(crc32fast::hash(black_box(text)));
        }
    });
}

/// 1,200 bytes: written into the slot of the transmit queue on one side, taken for data on the other.
#[divan::bench]
fn data_packet(bencher: Bencher) {
    let (mut a, mut b, now) = connected();
    let meta = b.meta(&a);
    let payload = [128u8; 1200];
    let mut datagram = payload;
    bencher.counter(BytesCount::new(payload.len())).bench_local(|| {
        let sent = a.channel.send_with(now, &PacketOptions::default(), payload.len(), |slot| {
            slot.copy_from_slice(black_box(&payload));
            payload.len()
        });
        assert_eq!(sent, Ok(payload.len()));
        if let Some((_, transmit)) = a.channel.transmits().peek(|_| 1) {
            datagram.copy_from_slice(transmit.contents);
        }
        a.channel.transmits().pop(payload.len());
        assert!(b.channel.receive(now, black_box(&mut datagram), &meta).is_some());
    });
}

/// What that cannot do without: the two copies.
#[divan::bench]
fn data_packet_floor(bencher: Bencher) {
    let payload = [128u8; 1200];
    let (mut slot, mut datagram) = (payload, payload);
    bencher.counter(BytesCount::new(payload.len())).bench_local(|| {
        black_box(&mut slot).copy_from_slice(black_box(&payload));
        black_box(&mut datagram).copy_from_slice(black_box(&slot));
    });
}

/// And what the kernel asks for such a packet: written to a loopback socket, and read.
#[divan::bench]
fn data_packet_by_the_kernel(bencher: Bencher) {
    let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    a.connect(b.local_addr().unwrap()).unwrap();
    let payload = [128u8; 1200];
    let mut datagram = payload;
    bencher.counter(BytesCount::new(payload.len())).bench_local(|| {
        a.send(&payload).unwrap();
        b.recv(&mut datagram).unwrap()
    });
}

/// So many candidates of the peer, in four networks of ours.
fn remote_candidates(count: u32) -> Vec<Candidate> {
    let candidate = |number: u32| {
        let (priority, host) = (1_000_000_000 - 7919 * (number % 100), number + 1);
        let text =
            format!("candidate:{number} 1 udp {priority} 192.0.2.{} {} typ host", host % 250, 1000 + number);
        Candidate::parse(&text).unwrap()
    };
    (0..count).map(candidate).collect()
}

/// A transport with four networks, which knows the peer's parameters.
fn with_four_networks(now: Instant) -> Peer {
    let mut peer = Peer::new(1, 4, IceRole::Controlling);
    peer.gather(now, &parameters(1));
    peer.channel.set_remote_ice_parameters(now, parameters(2));
    peer
}

/// A transport with so many pairs, of falling and of equal priority.
fn with_pairs(count: u32) -> (Peer, Instant) {
    let now = origin();
    let mut peer = with_four_networks(now);
    for candidate in remote_candidates(count / 4) {
        peer.channel.add_remote_candidate(now, candidate);
    }
    peer.drop_transmits();
    assert_eq!(peer.channel.connections().count(), count as usize / 4 * 4);
    (peer, now)
}

fn shuffle<T>(items: &mut [T]) {
    let mut random = Random::from_seed(7);
    for index in (1..items.len()).rev() {
        items.swap(index, random.below(index as u64 + 1) as usize);
    }
}

/// The controller's part alone, from an order that is not the right one.
#[divan::bench(args = [10, 100, 1000])]
fn pairs_sorted(bencher: Bencher, count: u32) {
    let (peer, now) = with_pairs(count);
    let view = peer.channel.ice_controller_view(now);
    let mut ids: Vec<ConnectionId> = view.connections.keys().copied().collect();
    shuffle(&mut ids);
    let controller = || {
        let mut controller = BasicIceController::new(IceConfig::default());
        ids.iter().for_each(|id| controller.add_connection(*id));
        controller
    };
    bencher.with_inputs(controller).bench_local_refs(|controller| {
        black_box(controller.sort_and_switch_connection(&view, IceSwitchReason::ConnectStateChange));
    });
}

/// As many numbers, in an order as bad.
#[divan::bench(args = [10, 100, 1000])]
fn pairs_sorted_floor(bencher: Bencher, count: u64) {
    let mut keys: Vec<u64> = (0..count / 4 * 4).collect();
    shuffle(&mut keys);
    bencher.with_inputs(|| keys.clone()).bench_local_refs(|keys| black_box(keys).sort());
}

/// Which of so many pairs is checked next.
#[divan::bench(args = [10, 100, 1000])]
fn next_check_chosen(bencher: Bencher, count: u32) {
    let (peer, now) = with_pairs(count);
    let view = peer.channel.ice_controller_view(now);
    let mut controller = BasicIceController::new(IceConfig::default());
    view.connections.keys().for_each(|id| controller.add_connection(*id));
    bencher.bench_local(|| black_box(controller.select_connection_to_ping(&view, None)));
}

/// The peer's candidates come one after the other, until there are so many pairs: all of it together.
#[divan::bench(args = [10, 100, 1000])]
fn pairs_made(bencher: Bencher, count: u32) {
    let now = origin();
    let input = || (with_four_networks(now), remote_candidates(count / 4));
    bencher.with_inputs(input).bench_local_values(|(mut peer, candidates)| {
        for candidate in candidates {
            peer.channel.add_remote_candidate(now, candidate);
        }
        peer
    });
}

/// One turn of the rhythm of checks, with so many pairs of which none was answered.
#[divan::bench(args = [10, 100, 1000])]
fn rhythm(bencher: Bencher, count: u32) {
    let (mut peer, mut now) = with_pairs(count);
    bencher.bench_local(|| {
        now = peer.channel.next_timeout().unwrap_or(now);
        peer.channel.handle_timeout(now);
        peer.drop_transmits();
    });
}
