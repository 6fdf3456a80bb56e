//! A relay candidate's port: the TURN server is the fuzzer's, and so are the peers behind it. Responses of every kind
//! to every request, signed or not, data by indication and by channel, time. Little goes out for what comes in, and
//! data comes only from who was authenticated by ICE, wherever the server says it is from.

#![no_main]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use peerstack_base::{
    Ecn, EventReceiver, IoRequest, PacketClass, PacketOptions, Random, ReceiveMeta, SocketId,
};
use peerstack_fuzz::ice::{SilentSocketFactory, network};
use peerstack_fuzz::{Input, origin};
use peerstack_p2p::p2p_constants::MAX_CONNECTIONS;
use peerstack_p2p::{
    Candidate, IceParameters, IceRole, IceServer, IceTransport, IceTransportEvent, P2PTransportChannel,
    P2PTransportChannelConfig, WriteState,
};
use peerstack_stun::{
    AttributeType, ChannelData, Class, Message, MessageBuilder, Method, TransactionId, long_term_key_md5,
    short_term_key,
};

const SERVER: &str = "192.0.2.50:3478";
/// Datagrams that one may cause: its answer, requests of the port, and a burst of checks.
const MAX_CAUSED: usize = 24;

struct Wire {
    now: Instant,
    channel: P2PTransportChannel,
    events: EventReceiver<IceTransportEvent>,
    sockets: Vec<SocketId>,
    /// Requests to servers that wait for their answer.
    requests: Vec<(SocketAddr, Vec<u8>)>,
    /// Checks to peers, out of what they were wrapped in.
    checks: Vec<(SocketAddr, Vec<u8>)>,
    authenticated: BTreeSet<SocketAddr>,
}

fn parameters(side: &str) -> IceParameters {
    IceParameters {
        ufrag: format!("{side}00"),
        pwd: format!("{side}00password0123456789"),
        renomination: false,
    }
}

fn peer(input: &mut Input<'_>) -> SocketAddr {
    ([203, 0, 113, input.byte() % 4], 5000 + u16::from(input.byte() % 2)).into()
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut wire = Wire::new(&mut input);
    // How far the allocation goes before the fuzzer meddles.
    for _ in 0..input.below(4) {
        wire.answer_rightly(0);
    }
    while !input.is_empty() {
        match input.byte() % 16 {
            0..=2 => wire.answer(&mut input),
            3..=4 => {
                let index = input.below(8);
                wire.answer_rightly(index);
            }
            5..=7 => wire.check(&mut input),
            8..=9 => wire.check_response(&mut input),
            10 => {
                let (from, inner) = (peer(&mut input), input.chunk().to_vec());
                wire.from_peer(&mut input, from, &inner);
            }
            11 => wire.receive(SERVER.parse().unwrap(), input.chunk().to_vec(), None),
            12..=13 => wire.wait(input.u16()),
            14 => wire.candidate(&mut input),
            _ => wire.send(input.chunk()),
        }
    }
    wire.close();
});

/// An allocation that is given back is waited for, and not for long: its server may ask for another nonce.
const RELEASE: Duration = Duration::from_secs(1);

impl Wire {
    fn close(&mut self) {
        let closed = self.now;
        self.channel.close(self.now);
        self.drain();
        while let Some(at) = self.channel.next_timeout() {
            assert!(at <= closed + RELEASE, "nothing is left to do");
            self.now = self.now.max(at);
            self.channel.handle_timeout(self.now);
            self.drain();
        }
    }

    fn new(input: &mut Input<'_>) -> Self {
        let mut config =
            P2PTransportChannelConfig::new("fuzz", Box::new(SilentSocketFactory::default()), vec![network()]);
        config.role = if input.flag() { IceRole::Controlling } else { IceRole::Controlled };
        config.port_allocator.ice_servers = vec![IceServer {
            urls: vec![format!("turn:{SERVER}?transport=udp").parse().unwrap()],
            username: "user".to_owned(),
            password: "secret".to_owned(),
        }];
        let mut channel = P2PTransportChannel::new(config, Random::from_seed(5));
        let (events, now) = (channel.subscribe(), origin());
        channel.set_ice_parameters(parameters("ours"));
        channel.maybe_start_gathering(now);
        channel.set_remote_ice_parameters(now, parameters("peer"));
        let (requests, checks) = (Vec::new(), Vec::new());
        let (sockets, authenticated) = (Vec::new(), BTreeSet::new());
        let mut wire = Self { now, channel, events, sockets, requests, checks, authenticated };
        wire.turn();
        wire.wait(10);
        wire
    }

    fn turn(&mut self) {
        self.channel.process(self.now);
        while let Some(request) = self.channel.poll_io_request() {
            match request {
                IoRequest::AddUdpSocket { id, .. } => self.sockets.push(id),
                IoRequest::CloseSocket { id } => self.sockets.retain(|socket| *socket != id),
                IoRequest::Resolve { id, .. } => {
                    self.channel.handle_resolved(self.now, id, &[[192, 0, 2, 50].into()]);
                }
                _ => {}
            }
        }
        while self.events.try_next().is_some() {}
        assert!(self.channel.connections().count() <= MAX_CONNECTIONS);
        assert!(self.channel.stats(self.now).local_candidates.len() <= 64);
        assert!(self.sockets.len() <= 16);
    }

    /// How many datagrams the channel wants to send; what waits for an answer is kept.
    fn drain(&mut self) -> usize {
        let mut count = 0;
        while let Some((_, transmit)) = self.channel.transmits().peek(|_| 1) {
            let (to, bytes) = (transmit.destination, transmit.contents.to_vec());
            self.channel.transmits().pop(bytes.len());
            count += 1;
            if ChannelData::parse(&bytes).is_ok() {
                continue;
            }
            let Ok(message) = Message::parse(&bytes) else { continue };
            match (message.class(), message.method()) {
                (Class::Request, Method::BINDING) => self.checks.push((to, bytes)),
                (Class::Request, _) => self.requests.push((to, bytes)),
                (Class::Indication, Method::SEND) => {
                    let (Some(to), Some(inner)) = (message.xor_peer_address(), message.data()) else {
                        panic!("a Send indication holds both")
                    };
                    if Message::parse(inner).is_ok_and(|inner| inner.class() == Class::Request) {
                        self.checks.push((to, inner.to_vec()));
                    }
                }
                _ => {}
            }
        }
        let excess = self.requests.len().saturating_sub(16);
        self.requests.drain(..excess);
        let excess = self.checks.len().saturating_sub(16);
        self.checks.drain(..excess);
        count
    }

    /// `inner`: what of it may be handed up, and whose it is then.
    fn receive(&mut self, remote: SocketAddr, mut datagram: Vec<u8>, inner: Option<(SocketAddr, &[u8])>) {
        let Some(socket) = self.sockets.last().copied() else { return };
        let meta = ReceiveMeta { socket, remote, local_ip: None, ecn: Ecn::NotEct };
        let passed = self.channel.receive(self.now, &mut datagram, &meta).map(|data| data.to_vec());
        if let Some(data) = passed {
            assert!(!matches!(PacketClass::of(&data), PacketClass::Stun | PacketClass::Unknown));
            if let Some((peer, inner)) = inner {
                assert!(self.authenticated.contains(&peer), "data comes only from who was authenticated");
                assert_eq!(data, inner);
            } else {
                assert!(!self.authenticated.is_empty());
            }
        }
        self.turn();
        let caused = self.drain();
        assert!(caused <= MAX_CAUSED, "{caused} datagrams for one");
    }

    fn wait(&mut self, tens: u16) {
        let end = self.now + Duration::from_millis(u64::from(tens) * 10);
        for _ in 0..300 {
            let Some(next) = self.channel.next_timeout().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            self.channel.handle_timeout(self.now);
            self.turn();
            assert!(self.drain() <= 4 * MAX_CAUSED);
        }
        self.now = end;
    }

    fn key() -> [u8; 16] {
        long_term_key_md5("user", "realm", "secret")
    }

    /// The answer that a server gives.
    fn answer_rightly(&mut self, index: usize) {
        if self.requests.is_empty() {
            return;
        }
        let (from, request) = self.requests.remove(index % self.requests.len());
        let request = Message::parse(&request).unwrap();
        let datagram = if request.username().is_none() {
            let mut builder = MessageBuilder::<Vec<u8>>::response_to(&request, Class::ErrorResponse);
            builder.add_error_code(401, "").add_realm("realm").add_nonce("nonce");
            builder.finish()
        } else {
            let mut builder = MessageBuilder::<Vec<u8>>::response_to(&request, Class::SuccessResponse);
            builder.add_xor_relayed_address(([198, 51, 100, 1], 49_152).into());
            builder.add_xor_mapped_address(([192, 0, 2, 1], 50_001).into()).add_lifetime(600);
            builder.integrity(&Self::key());
            builder.finish()
        };
        self.receive(from, datagram, None);
    }

    /// Any other.
    fn answer(&mut self, input: &mut Input<'_>) {
        if self.requests.is_empty() {
            return;
        }
        let (from, request) = self.requests[input.below(self.requests.len())].clone();
        let request = Message::parse(&request).unwrap();
        let what = input.byte();
        let class = if what & 1 == 1 { Class::ErrorResponse } else { Class::SuccessResponse };
        let mut builder = MessageBuilder::<Vec<u8>>::response_to(&request, class);
        if class == Class::ErrorResponse {
            builder.add_error_code([401, 438, 300, 437, 403, 508, 400][input.below(7)], "no");
        }
        let attributes = input.byte();
        if attributes & 1 == 1 {
            builder.add_xor_relayed_address(input.address());
        }
        if attributes & 2 == 2 {
            builder.add_xor_mapped_address(input.address());
        }
        if attributes & 4 == 4 {
            builder.add_lifetime(input.u32());
        }
        if attributes & 8 == 8 {
            builder.add_realm("realm");
        }
        if attributes & 16 == 16 {
            builder.add_nonce(&String::from_utf8_lossy(input.take(40)));
        }
        if attributes & 32 == 32 {
            builder.add_alternate_server(input.address());
        }
        if attributes & 64 == 64 {
            builder.add_attribute(AttributeType(input.u16()), input.chunk());
        }
        if what & 2 == 2 {
            builder.integrity(&Self::key());
        }
        if what & 4 == 4 {
            builder.fingerprint();
        }
        let Ok(mut datagram) = builder.try_finish() else { return };
        if what & 8 == 8 {
            input.mutate(&mut datagram);
        }
        self.receive(from, datagram, None);
    }

    /// A peer's packet, by way of the server.
    fn from_peer(&mut self, input: &mut Input<'_>, from: SocketAddr, inner: &[u8]) {
        let how = input.byte();
        if how & 1 == 1 {
            let mut datagram = Vec::new();
            let channel = ChannelData { channel: 0x4000 + u16::from(how >> 4), data: inner };
            if channel.write(&mut datagram).is_ok() {
                // Whose channel that is only the port knows.
                self.receive(SERVER.parse().unwrap(), datagram, None);
            }
            return;
        }
        let id = TransactionId::from_bytes(input.array());
        let mut builder = MessageBuilder::<Vec<u8>>::new(Class::Indication, Method::DATA, id);
        builder.add_xor_peer_address(from).add_data(inner);
        let Ok(mut datagram) = builder.try_finish() else { return };
        let changed = how & 14 == 14 && input.mutate(&mut datagram);
        self.receive(SERVER.parse().unwrap(), datagram, (!changed).then_some((from, inner)));
    }

    fn check(&mut self, input: &mut Input<'_>) {
        let (from, what) = (peer(input), input.byte());
        let id = TransactionId::from_bytes(input.array());
        let mut builder = MessageBuilder::<Vec<u8>>::new(Class::Request, Method::BINDING, id);
        builder.add_username("ours00:peer00").add_priority(input.u32());
        if what & 1 == 1 {
            builder.add_use_candidate();
        }
        if what & 2 == 0 {
            builder.integrity(short_term_key("ours00password0123456789"));
            self.authenticated.insert(from);
        }
        builder.fingerprint();
        let check = builder.finish();
        self.from_peer(input, from, &check);
    }

    fn check_response(&mut self, input: &mut Input<'_>) {
        if self.checks.is_empty() {
            return;
        }
        let (to, check) = self.checks[input.below(self.checks.len())].clone();
        let check = Message::parse(&check).unwrap();
        let mut builder = MessageBuilder::<Vec<u8>>::response_to(&check, Class::SuccessResponse);
        builder.add_xor_mapped_address(([198, 51, 100, 1], 49_152).into());
        builder.integrity(short_term_key("peer00password0123456789")).fingerprint();
        let response = builder.finish();
        self.authenticated.insert(to);
        match input.flag() {
            true => self.from_peer(input, to, &response),
            false => self.receive(to, response, None),
        }
    }

    fn candidate(&mut self, input: &mut Input<'_>) {
        let address = peer(input);
        let text = format!("candidate:1 1 udp {} {} {} typ host", input.u32(), address.ip(), address.port());
        let Ok(candidate) = Candidate::parse(&text) else { return };
        self.channel.add_remote_candidate(self.now, candidate);
        self.turn();
        self.drain();
    }

    fn send(&mut self, bytes: &[u8]) {
        // A pair that has missed some answers is still sent on, though it is not called writable any more.
        let selected = self.channel.selected_connection();
        let unreliable = selected.is_some_and(|pair| pair.write_state() == WriteState::WriteUnreliable);
        let writable = self.channel.writable() || unreliable;
        let sent = self.channel.send_with(self.now, &PacketOptions::default(), bytes.len(), |slot| {
            slot[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        });
        assert!(writable || sent.is_err());
        while let Some((_, transmit)) = self.channel.transmits().peek(|_| 1) {
            let len = transmit.contents.len();
            self.channel.transmits().pop(len);
        }
    }
}
