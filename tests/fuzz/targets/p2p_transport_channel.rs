//! P2PTransportChannel::receive: a live transport and a peer of the fuzzer's making, which knows both passwords where
//! it likes: checks, answers, indications, data, changed and forged packets, candidates, restarts, time. Little goes
//! out for what comes in, what is kept is bounded, data comes only from who was authenticated.

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
use peerstack_p2p::p2p_constants::{MAX_CONNECTIONS, MAX_REMOTE_CANDIDATES};
use peerstack_p2p::{
    Candidate, IceMode, IceParameters, IceRole, IceTransport, IceTransportEvent, IceTransportState,
    P2PTransportChannel, P2PTransportChannelConfig, WriteState,
};
use peerstack_stun::{
    AttributeType, Class, GoogNetworkInfo, Message, MessageBuilder, Method, TransactionId, short_term_key,
};

/// Datagrams that one may cause: its answer, and a burst of checks.
const MAX_CAUSED: usize = 8;

struct Wire {
    now: Instant,
    channel: P2PTransportChannel,
    events: EventReceiver<IceTransportEvent>,
    socket: SocketId,
    ours: IceParameters,
    theirs: IceParameters,
    generation: u8,
    /// Checks that wait for their answer.
    checks: Vec<(SocketAddr, Vec<u8>)>,
    /// Who ever sent something with our password, or answered with its own.
    authenticated: BTreeSet<SocketAddr>,
    closed: bool,
}

fn parameters(side: &str, generation: u8) -> IceParameters {
    IceParameters {
        ufrag: format!("{side}{generation:02}"),
        pwd: format!("{side}{generation:02}password0123456789"),
        renomination: generation & 4 == 4,
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut wire = Wire::new(&mut input);
    while !input.is_empty() && !wire.closed {
        match input.byte() % 20 {
            0..=4 => wire.request(&mut input),
            5..=8 => wire.answer(&mut input),
            9 => wire.indication(&mut input),
            10..=11 => {
                let from = input.address();
                wire.receive(from, &mut input.chunk().to_vec());
            }
            12..=13 => wire.wait(input.u16()),
            14 => wire.candidate(&mut input),
            15 => wire.restart(&mut input),
            16 => wire.channel.set_ice_role(wire.channel.ice_role().reversed()),
            17 => wire.channel.end_of_remote_candidates(wire.now),
            18 => wire.send(input.chunk()),
            _ if input.byte() == 0 => wire.close(),
            _ => wire.channel.set_remote_ice_mode(if input.flag() { IceMode::Lite } else { IceMode::Full }),
        }
        wire.turn();
    }
    wire.close();
});

impl Wire {
    fn new(input: &mut Input<'_>) -> Self {
        let mut config =
            P2PTransportChannelConfig::new("fuzz", Box::new(SilentSocketFactory::default()), vec![network()]);
        config.role = if input.flag() { IceRole::Controlling } else { IceRole::Controlled };
        let mut channel = P2PTransportChannel::new(config, Random::from_seed(5));
        let events = channel.subscribe();
        let (now, ours, theirs) = (origin(), parameters("ours", 0), parameters("peer", 0));
        channel.set_ice_tiebreaker(0x8000_0000_0000_0000);
        channel.set_ice_parameters(ours.clone());
        channel.maybe_start_gathering(now);
        channel.set_remote_ice_parameters(now, theirs.clone());
        let socket = SocketId::unique();
        let (generation, checks, authenticated) = (0, Vec::new(), BTreeSet::new());
        let mut wire = Self {
            now,
            channel,
            events,
            socket,
            ours,
            theirs,
            generation,
            checks,
            authenticated,
            closed: false,
        };
        wire.turn();
        wire.wait(2);
        wire
    }

    fn turn(&mut self) {
        self.channel.process(self.now);
        while let Some(request) = self.channel.poll_io_request() {
            match request {
                IoRequest::AddUdpSocket { id, .. } => self.socket = id,
                IoRequest::Resolve { id, .. } => {
                    self.channel.handle_resolved(self.now, id, &[[192, 0, 2, 9].into()]);
                }
                _ => {}
            }
        }
        while self.events.try_next().is_some() {}
        let _ = self.drain();
        assert!(self.channel.connections().count() <= MAX_CONNECTIONS);
        let stats = self.channel.stats(self.now);
        assert!(stats.remote_candidates.len() <= MAX_REMOTE_CANDIDATES + MAX_CONNECTIONS);
        assert!(stats.local_candidates.len() <= MAX_REMOTE_CANDIDATES + MAX_CONNECTIONS);
    }

    /// What the channel wants to send, as lengths; checks are kept.
    fn drain(&mut self) -> Vec<usize> {
        let mut lengths = Vec::new();
        while let Some((_, transmit)) = self.channel.transmits().peek(|_| 1) {
            let (to, bytes) = (transmit.destination, transmit.contents.to_vec());
            self.channel.transmits().pop(bytes.len());
            lengths.push(bytes.len());
            if PacketClass::of(&bytes) == PacketClass::Stun {
                let message = Message::parse(&bytes).expect("what is sent can be read");
                if message.class() == Class::Request {
                    self.checks.push((to, bytes));
                }
            }
        }
        let excess = self.checks.len().saturating_sub(32);
        self.checks.drain(..excess);
        lengths
    }

    fn receive(&mut self, remote: SocketAddr, datagram: &mut [u8]) {
        let before = datagram.to_vec();
        let known = self.authenticated.contains(&remote);
        let meta = ReceiveMeta { socket: self.socket, remote, local_ip: None, ecn: Ecn::NotEct };
        let passed = self.channel.receive(self.now, datagram, &meta).map(|data| data.to_vec());
        if let Some(data) = passed {
            assert!(known, "data comes only from who was authenticated");
            assert_eq!(data, before);
            assert!(!matches!(PacketClass::of(&data), PacketClass::Stun | PacketClass::Unknown));
        }
        self.channel.process(self.now);
        let caused = self.drain();
        assert!(caused.len() <= MAX_CAUSED, "{} datagrams for one", caused.len());
        if !known {
            let out: usize = caused.iter().sum();
            assert!(out <= 3 * before.len() + 64, "{out} bytes for {}", before.len());
        }
    }

    fn random(input: &mut Input<'_>) -> TransactionId {
        TransactionId::from_bytes(input.array())
    }

    /// A check: right, but for what the fuzzer makes of it.
    fn request(&mut self, input: &mut Input<'_>) {
        let (from, what) = (input.address(), input.byte());
        let method =
            if what & 0x0F == 0x0F { Method::from_number(input.u16() & 0xFFF) } else { Method::BINDING };
        let mut builder = MessageBuilder::<Vec<u8>>::new(Class::Request, method, Self::random(input));
        match what & 3 {
            0 => builder.add_username(&String::from_utf8_lossy(input.chunk())),
            _ => builder.add_username(&format!("{}:{}", self.ours.ufrag, self.theirs.ufrag)),
        };
        let attributes = input.byte();
        if attributes & 1 == 0 {
            builder.add_priority(input.u32());
        }
        match attributes & 6 {
            2 => builder.add_ice_controlling(input.u64()),
            4 => builder.add_ice_controlled(input.u64()),
            6 => builder.add_ice_controlling(0x8000_0000_0000_0000),
            _ => &mut builder,
        };
        if attributes & 8 == 8 {
            builder.add_use_candidate();
        }
        if attributes & 16 == 16 {
            builder.add_nomination(input.u32());
        }
        if attributes & 32 == 32 {
            let (network_id, network_cost) = (input.u16(), input.u16());
            builder.add_goog_network_info(GoogNetworkInfo { network_id, network_cost });
        }
        if attributes & 64 == 64 {
            builder.add_attribute(AttributeType(input.u16()), input.chunk());
        }
        if attributes & 128 == 128 {
            builder.add_meta_dtls_in_stun(input.chunk());
        }
        let signed = what & 16 == 0;
        if signed {
            builder.integrity(short_term_key(&self.ours.pwd));
        }
        builder.fingerprint();
        let Ok(mut datagram) = builder.try_finish() else { return };
        // Whatever is changed now is not authenticated any more.
        let changed = what & 32 == 32 && input.mutate(&mut datagram);
        if signed && !changed {
            self.authenticated.insert(from);
        }
        self.receive(from, &mut datagram);
    }

    /// An answer to one of its checks.
    fn answer(&mut self, input: &mut Input<'_>) {
        if self.checks.is_empty() {
            return;
        }
        let (to, check) = self.checks[input.below(self.checks.len())].clone();
        let check = Message::parse(&check).unwrap();
        let what = input.byte();
        let from = if what & 1 == 1 && what & 2 == 2 { input.address() } else { to };
        let class = if what & 4 == 4 { Class::ErrorResponse } else { Class::SuccessResponse };
        let mut builder = MessageBuilder::<Vec<u8>>::response_to(&check, class);
        match class {
            Class::SuccessResponse if what & 8 == 8 => builder.add_xor_mapped_address(input.address()),
            Class::SuccessResponse => builder.add_xor_mapped_address(([192, 0, 2, 1], 50_001).into()),
            _ => builder.add_error_code([487, 400, 401, 420, 500, 300][input.below(6)], "no"),
        };
        if what & 64 == 64 {
            builder.add_attribute(AttributeType(input.u16()), input.chunk());
        }
        let signed = what & 16 == 0;
        if signed {
            builder.integrity(short_term_key(&self.theirs.pwd));
        }
        builder.fingerprint();
        let Ok(mut datagram) = builder.try_finish() else { return };
        let changed = what & 32 == 32 && input.mutate(&mut datagram);
        if signed && !changed && class == Class::SuccessResponse {
            self.authenticated.insert(from);
        }
        self.receive(from, &mut datagram);
    }

    fn indication(&mut self, input: &mut Input<'_>) {
        let from = input.address();
        let mut builder =
            MessageBuilder::<Vec<u8>>::new(Class::Indication, Method::BINDING, Self::random(input));
        if input.flag() {
            builder.fingerprint();
        }
        let mut datagram = builder.finish();
        self.receive(from, &mut datagram);
    }

    fn wait(&mut self, tens: u16) {
        let end = self.now + Duration::from_millis(u64::from(tens % 4096) * 10);
        for _ in 0..400 {
            let Some(next) = self.channel.next_timeout().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            self.channel.handle_timeout(self.now);
            self.turn();
        }
        self.now = end;
        self.channel.handle_timeout(self.now);
    }

    fn candidate(&mut self, input: &mut Input<'_>) {
        let address = input.address();
        let text = match input.flag() {
            true => String::from_utf8_lossy(input.chunk()).into_owned(),
            false => format!(
                "candidate:1 1 udp {} {} {} typ host generation {}",
                input.u32(),
                address.ip(),
                address.port(),
                input.below(4)
            ),
        };
        let Ok(candidate) = Candidate::parse(&text) else { return };
        match input.below(4) {
            0 => self.channel.remove_remote_candidate(&candidate),
            _ => self.channel.add_remote_candidate(self.now, candidate),
        }
    }

    fn restart(&mut self, input: &mut Input<'_>) {
        self.generation = self.generation.wrapping_add(1) % 100;
        let which = input.byte();
        if which & 1 == 1 {
            self.ours = parameters("ours", self.generation);
            self.channel.set_ice_parameters(self.ours.clone());
            self.channel.maybe_start_gathering(self.now);
            self.turn();
        }
        if which & 2 == 2 {
            self.theirs = parameters("peer", self.generation);
            self.channel.set_remote_ice_parameters(self.now, self.theirs.clone());
        }
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
        // They stay known to be what they are: the transport does not look into what it sends.
        while let Some((_, transmit)) = self.channel.transmits().peek(|_| 1) {
            let len = transmit.contents.len();
            self.channel.transmits().pop(len);
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.channel.close(self.now);
        assert_eq!(self.channel.state(), IceTransportState::Closed);
        assert!(!self.channel.writable() && self.channel.next_timeout().is_none());
    }
}
