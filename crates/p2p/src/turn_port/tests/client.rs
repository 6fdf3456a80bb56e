//! One port, fed by hand: what is not signed, or not ours, changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use peerstack_base::{
    AdapterType, AsyncUdpSocket, EventReceiver, EventSource, Network, PacketSocketFactory, Random,
    TransmitQueue,
};
use peerstack_stun::{MessageBuilder, TransactionId, error_code, long_term_key_md5};

use super::super::*;
use crate::port::PortId;

#[derive(Debug)]
struct NoSockets;

impl PacketSocketFactory for NoSockets {
    fn create_udp_socket(
        &mut self,
        _: SocketAddr,
        _: Option<PortRange>,
    ) -> std::io::Result<Box<dyn AsyncUdpSocket>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

struct Bench {
    now: Instant,
    port: TurnPort,
    transmits: TransmitQueue,
    io_requests: VecDeque<IoRequest>,
    random: Random,
    factory: NoSockets,
    events: EventSource<PortEvent>,
    receiver: EventReceiver<PortEvent>,
}

const PEER: &str = "203.0.113.9:1000";

fn key() -> [u8; 16] {
    long_term_key_md5("user", "example.org", "pass")
}

impl Bench {
    fn new() -> Self {
        let base = PortBase {
            id: PortId(0),
            network: Network {
                name: "eth0".into(),
                adapter_type: AdapterType::Ethernet,
                prefix_len: 24,
                ips: vec![IpAddr::from([192, 0, 2, 1])],
                id: 1,
                preference: 127,
            },
            component: 1,
            generation: 0,
            username_fragment: "ufrg".into(),
            password: "p".repeat(24),
            candidates: Vec::new(),
            connections: BTreeMap::new(),
            state: PortState::InProgress,
            ready: false,
            external: None,
            names_hosts: false,
        };
        let server = RelayServer {
            url: "turn:198.51.100.7".parse().unwrap(),
            protocol: RelayProtocol::Udp,
            username: "user".into(),
            password: "pass".into(),
            preference: 0,
        };
        let socket = (SocketId::unique(), "192.0.2.1:5000".parse().unwrap());
        let mut events = EventSource::new("test");
        Self {
            now: crate::p2p_transport_channel::tests::harness::origin(),
            port: TurnPort::new(base, server, Some(socket), None),
            transmits: TransmitQueue::default(),
            io_requests: VecDeque::new(),
            random: Random::from_seed(1),
            factory: NoSockets,
            receiver: events.subscribe(),
            events,
        }
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut TurnPort, Instant, &mut PortIo<'_>) -> R) -> R {
        let mut io = PortIo {
            transmits: &mut self.transmits,
            io_requests: &mut self.io_requests,
            random: &mut self.random,
            factory: &mut self.factory,
            events: &mut self.events,
        };
        f(&mut self.port, self.now, &mut io)
    }

    /// The next datagram that goes out.
    fn sent(&mut self) -> Option<Vec<u8>> {
        let (_, transmit) = self.transmits.peek(|_| 1)?;
        assert_eq!(transmit.destination, "198.51.100.7:3478".parse().unwrap());
        let datagram = transmit.contents.to_vec();
        self.transmits.pop(datagram.len());
        Some(datagram)
    }

    fn receive(&mut self, datagram: &[u8]) -> TurnPacket {
        self.with(|port, now, io| port.handle_packet(now, datagram, io))
    }

    fn answer(&mut self, request: &[u8], class: Class, fill: impl FnOnce(&mut MessageBuilder)) -> TurnPacket {
        let request = Message::parse(request).unwrap();
        let mut builder = MessageBuilder::new(class, request.method(), request.transaction_id());
        fill(&mut builder);
        let response = builder.try_finish().unwrap();
        self.receive(&response)
    }

    fn challenge(&mut self) {
        self.with(|port, now, io| port.prepare_address(now, io));
        let request = self.sent().unwrap();
        self.answer(&request, Class::ErrorResponse, |builder| {
            builder.add_error_code(error_code::UNAUTHENTICATED, "").add_realm("example.org").add_nonce("n1");
        });
    }

    fn allocate(&mut self) {
        self.challenge();
        let request = self.sent().unwrap();
        self.answer(&request, Class::SuccessResponse, |builder| {
            allocated(builder);
            builder.integrity(&key());
        });
        assert_eq!(self.port.base.candidates.len(), 1);
    }

    fn events(&mut self) -> Vec<PortEvent> {
        std::iter::from_fn(|| self.receiver.try_next()).collect()
    }
}

fn allocated(builder: &mut MessageBuilder) {
    builder.add_xor_relayed_address("198.51.100.7:50000".parse().unwrap());
    builder.add_xor_mapped_address("203.0.113.1:6000".parse().unwrap());
    builder.add_lifetime(600);
}

/// The first request carries no credentials, the second one the user name, realm and nonce of the challenge.
#[test]
fn requests_are_signed_once_asked_for() {
    let mut bench = Bench::new();
    bench.with(|port, now, io| port.prepare_address(now, io));
    let first = bench.sent().unwrap();
    let message = Message::parse(&first).unwrap();
    assert_eq!((message.requested_transport(), message.username()), (Some(17), None));
    bench.answer(&first, Class::ErrorResponse, |builder| {
        builder.add_error_code(error_code::UNAUTHENTICATED, "").add_realm("example.org").add_nonce("n1");
    });
    let second = bench.sent().unwrap();
    let message = Message::parse(&second).unwrap();
    assert_eq!((message.username(), message.nonce()), (Some("user"), Some("n1")));
    assert_eq!(message.check_integrity(&key()), peerstack_stun::IntegrityStatus::Valid);
    assert_eq!(bench.sent(), None);
}

/// A success that is not signed, or with another key, is not believed.
#[test]
fn unsigned_and_forged_successes_are_not_believed() {
    let mut bench = Bench::new();
    bench.challenge();
    let request = bench.sent().unwrap();
    for key in [None, Some(long_term_key_md5("user", "example.org", "other"))] {
        bench.answer(&request, Class::SuccessResponse, |builder| {
            allocated(builder);
            if let Some(key) = key {
                builder.integrity(&key);
            }
        });
        assert!(bench.port.base.candidates.is_empty());
    }
    // And one to the request that carried no credentials at all, from a server that asks for none.
    bench.answer(&request, Class::SuccessResponse, |builder| {
        allocated(builder);
        builder.integrity(&key());
    });
    assert_eq!(bench.port.base.candidates.len(), 1);
}

/// A success that lacks what it must hold gives an error event.
#[test]
fn an_incomplete_success_is_an_error() {
    let mut bench = Bench::new();
    bench.challenge();
    let request = bench.sent().unwrap();
    bench.answer(&request, Class::SuccessResponse, |builder| {
        builder.add_lifetime(600).integrity(&key());
    });
    let [PortEvent::CandidateError(_, error), PortEvent::Error(_)] = &bench.events()[..] else { panic!() };
    assert_eq!(error.error_code, 701);
}

/// U03: nonces that are stale without end do not make us ask without end.
#[test]
fn endless_stale_nonces_end() {
    let mut bench = Bench::new();
    bench.challenge();
    let mut requests = 0;
    while let Some(request) = bench.sent() {
        requests += 1;
        bench.answer(&request, Class::ErrorResponse, |builder| {
            builder.add_error_code(error_code::STALE_NONCE, "Stale").add_nonce(&format!("n{requests}"));
        });
    }
    assert_eq!(requests, 4);
    let events = bench.events();
    assert!(
        matches!(&events[0], PortEvent::CandidateError(_, error) if error.error_code == 438),
        "{events:?}"
    );
}

/// T13: refreshed a minute before the end, half-way for short lifetimes, hourly at most.
#[test]
fn refreshes_are_in_time() {
    for (lifetime, expected) in [(600, 540), (120, 60), (119, 59), (3600, 3540), (100_000, 3540), (0, 1)] {
        let mut bench = Bench::new();
        bench.challenge();
        let request = bench.sent().unwrap();
        bench.answer(&request, Class::SuccessResponse, |builder| {
            builder.add_xor_relayed_address("198.51.100.7:50000".parse().unwrap());
            builder.add_xor_mapped_address("203.0.113.1:6000".parse().unwrap());
            builder.add_lifetime(lifetime).integrity(&key());
        });
        let delay = bench.port.next_timeout().unwrap() - bench.now;
        assert_eq!(delay.as_secs(), expected, "{lifetime}");
    }
}

/// U07, U09: CreatePermission with the connection, ChannelBind with the first data, channels from 0x4000 (T13).
#[test]
fn permissions_come_first_and_channels_with_data() {
    let mut bench = Bench::new();
    bench.allocate();
    let peer: SocketAddr = PEER.parse().unwrap();
    bench.with(|port, now, io| port.create_or_refresh_entry(now, peer, io));
    let permission = bench.sent().unwrap();
    let message = Message::parse(&permission).unwrap();
    assert_eq!((message.method(), message.xor_peer_address()), (Method::CREATE_PERMISSION, Some(peer)));
    assert_eq!(bench.sent(), None);
    bench.answer(&permission, Class::SuccessResponse, |builder| {
        builder.integrity(&key());
    });
    assert!(bench.port.has_permission(peer.ip()));
    assert!(bench.port.route_to(peer).unwrap().wants_channel());
    bench.with(|port, now, io| port.bind_channel(now, peer, io));
    bench.with(|port, now, io| port.bind_channel(now, peer, io));
    let bind = bench.sent().unwrap();
    assert_eq!(Message::parse(&bind).unwrap().channel_number(), Some(0x4000));
    assert_eq!(bench.sent(), None, "once");
    assert!(bench.port.route_to(peer).unwrap().wants_channel());
    bench.events();
    bench.answer(&bind, Class::SuccessResponse, |builder| {
        builder.integrity(&key());
    });
    assert_eq!(bench.events(), [PortEvent::RouteChange(PortId(0), peer)]);
    assert!(!bench.port.route_to(peer).unwrap().wants_channel());
    let data = [&[0x40, 0, 0, 3][..], b"abc"].concat();
    assert_eq!(bench.receive(&data), TurnPacket::Data(4..7, peer));
    assert_eq!(bench.receive(&[0x40, 1, 0, 1, 0]), TurnPacket::Consumed, "another channel");
}

/// U07: data indications count for peers with a permission alone.
#[test]
fn data_of_strangers_is_dropped() {
    let mut bench = Bench::new();
    bench.allocate();
    let indication = |peer: &str| {
        let id = TransactionId::from_bytes([1; 12]);
        let mut builder = MessageBuilder::new(Class::Indication, Method::DATA, id);
        builder.add_xor_peer_address(peer.parse().unwrap()).add_data(b"abc");
        builder.finish()
    };
    assert_eq!(bench.receive(&indication(PEER)), TurnPacket::Consumed);
    let peer: SocketAddr = PEER.parse().unwrap();
    bench.with(|port, now, io| port.create_or_refresh_entry(now, peer, io));
    let bytes = indication(PEER);
    let TurnPacket::Data(range, from) = bench.receive(&bytes) else { panic!() };
    assert_eq!((&bytes[range], from), (&b"abc"[..], peer));
    // Another port of the same address: the permission is the address's.
    assert!(matches!(bench.receive(&indication("203.0.113.9:2000")), TurnPacket::Data(..)));
    assert_eq!(bench.receive(&indication("203.0.113.10:1000")), TurnPacket::Consumed);
}

/// What is forgotten: a permission five minutes after its last use, and its entry.
#[test]
fn unused_permissions_end() {
    let mut bench = Bench::new();
    bench.allocate();
    let peer: SocketAddr = PEER.parse().unwrap();
    bench.with(|port, now, io| port.create_or_refresh_entry(now, peer, io));
    bench.now += Duration::from_secs(301);
    bench.with(|port, now, io| port.handle_timeout(now, io));
    assert!(bench.port.entries.is_empty() && bench.port.permissions.is_empty());
}

/// Responses to nothing we asked, and other messages of the server's address, are left to other ports.
#[test]
fn other_packets_are_not_mine() {
    let mut bench = Bench::new();
    bench.allocate();
    let id = TransactionId::from_bytes([1; 12]);
    for class in [Class::SuccessResponse, Class::ErrorResponse, Class::Request] {
        let mut builder = MessageBuilder::new(class, Method::BINDING, id);
        builder.fingerprint();
        assert_eq!(bench.receive(&builder.finish()), TurnPacket::NotMine);
    }
    assert_eq!(bench.receive(&[]), TurnPacket::NotMine);
    assert_eq!(bench.receive(&[0; 20]), TurnPacket::NotMine);
}

/// U11: an allocation that comes after gathering was ended is given back.
#[test]
fn a_late_allocation_is_released() {
    let mut bench = Bench::new();
    bench.challenge();
    bench.port.stop_gathering();
    let request = bench.sent().unwrap();
    bench.answer(&request, Class::SuccessResponse, |builder| {
        allocated(builder);
        builder.integrity(&key());
    });
    assert!(bench.port.base.candidates.is_empty());
    let release = bench.sent().unwrap();
    let message = Message::parse(&release).unwrap();
    assert_eq!((message.method(), message.lifetime()), (Method::REFRESH, Some(0)));
}

/// No bytes make it panic or go wrong, also those of truncated and flipped messages.
#[test]
fn hostile_bytes() {
    let mut bench = Bench::new();
    bench.allocate();
    let id = TransactionId::from_bytes([1; 12]);
    let mut builder = MessageBuilder::new(Class::Indication, Method::DATA, id);
    builder.add_xor_peer_address(PEER.parse().unwrap()).add_data(b"abc");
    let message = builder.finish();
    for len in 0..message.len() {
        bench.receive(&message[..len]);
    }
    for bit in 0..message.len() * 8 {
        let mut flipped = message.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        bench.receive(&flipped);
    }
    assert_eq!(bench.port.base.candidates.len(), 1);
}
