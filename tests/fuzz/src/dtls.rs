//! Two DtlsTransports over fakes of ICE, and the fuzzer between them.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use peerstack_base::{EventReceiver, PacketOptions, Random, SystemWallClock};
use peerstack_dtls::{
    Certificate, DtlsEngineKind, DtlsRole, DtlsTransport, DtlsTransportConfig, DtlsTransportEvent,
    DtlsTransportInternal, DtlsTransportState, KeyAlgorithm,
};
use peerstack_p2p::FakeIceTransport;

use crate::Input;

/// Bytes that one datagram of a handshake may cause: a flight with a certificate, sent twice.
const MAX_CAUSED: usize = 16 << 10;

fn certificates() -> &'static [Certificate; 2] {
    static CERTIFICATES: OnceLock<[Certificate; 2]> = OnceLock::new();
    CERTIFICATES.get_or_init(|| {
        [1, 2].map(|seed| {
            let random = &mut Random::from_seed(seed);
            Certificate::generate(KeyAlgorithm::EcdsaP256, &SystemWallClock, random).unwrap()
        })
    })
}

/// One end.
#[derive(Debug)]
pub struct End {
    /// The transport.
    pub dtls: DtlsTransport<FakeIceTransport>,
    events: EventReceiver<DtlsTransportEvent>,
    /// Why it failed.
    pub error: Option<String>,
    /// What it sent and was not yet delivered.
    pub sent: Vec<Vec<u8>>,
    /// What it was given to send as application data.
    said: Vec<Vec<u8>>,
    heard: usize,
}

/// Both ends; 0 is the client.
#[derive(Debug)]
pub struct Pair {
    /// The time.
    pub now: Instant,
    /// The ends.
    pub ends: [End; 2],
    /// Datagrams that were sent before, by either, to be changed and sent once more.
    seen: Vec<(usize, Vec<u8>)>,
    /// Whether the fuzzer did anything but carry.
    pub forged: bool,
    /// When each end last got a datagram of the other's as it was sent.
    connected: [bool; 2],
}

impl Pair {
    /// Both ready to begin, at `now`.
    pub fn new(now: Instant, engines: [DtlsEngineKind; 2]) -> Self {
        let (one, other) = FakeIceTransport::pair();
        let mut ice = [Some(one), Some(other)];
        let ends = [0, 1].map(|side: usize| {
            let mut config = DtlsTransportConfig::new(certificates()[side].clone());
            config.seed = Some(side as u64 + 1);
            config.engine = engines[side];
            let mut dtls = DtlsTransport::new(ice[side].take().unwrap(), config);
            let events = dtls.subscribe();
            let fingerprint = certificates()[1 - side].fingerprint();
            let role = [DtlsRole::Client, DtlsRole::Server][side];
            dtls.set_remote_parameters(now, vec![fingerprint], role).unwrap();
            dtls.ice_mut().set_writable(true);
            End { dtls, events, error: None, sent: Vec::new(), said: Vec::new(), heard: 0 }
        });
        let mut pair = Self { now, ends, seen: Vec::new(), forged: false, connected: [false; 2] };
        pair.settle(0);
        pair.settle(1);
        pair
    }

    /// Lets an end react, and collects what it has to say; how many bytes that is.
    pub fn settle(&mut self, side: usize) -> usize {
        let said = self.ends[1 - side].said.clone();
        let end = &mut self.ends[side];
        end.dtls.process(self.now);
        while let Some(record) = end.dtls.poll_data() {
            assert!(said.iter().any(|known| known == record), "only what the peer said");
            end.heard += 1;
        }
        while let Some(event) = end.events.try_next() {
            if let DtlsTransportEvent::HandshakeError(error) = event {
                end.error = Some(error.to_string());
            }
        }
        let sent = end.dtls.ice_mut().take_sent();
        let bytes = sent.iter().map(Vec::len).sum();
        self.seen.extend(sent.iter().map(|datagram| (side, datagram.clone())));
        let excess = self.seen.len().saturating_sub(64);
        self.seen.drain(..excess);
        end.sent.extend(sent);
        assert_eq!(end.dtls.writable(), end.dtls.state() == DtlsTransportState::Connected);
        if end.dtls.state() == DtlsTransportState::Connected {
            // D09: nobody else was let in.
            assert_eq!(end.dtls.remote_certificate(), Some(certificates()[1 - side].der()));
            assert!(end.dtls.srtp_keying_material().is_some());
        } else {
            assert!(end.dtls.srtp_keying_material().is_none() && end.dtls.remote_certificate().is_none());
        }
        bytes
    }

    /// One datagram to one end.
    pub fn deliver(&mut self, to: usize, mut datagram: Vec<u8>) {
        let meta = self.ends[to].dtls.ice().meta();
        let connected = self.connected(to);
        let rtp = matches!(datagram.first(), Some(128..=191));
        let passed = self.ends[to].dtls.receive(self.now, &mut datagram, &meta).is_some();
        assert_eq!(passed, rtp && connected);
        let caused = self.settle(to);
        assert!(caused <= MAX_CAUSED, "{caused} bytes for {}", datagram.len());
    }

    /// The oldest datagram that was not delivered yet.
    pub fn deliver_next(&mut self, to: usize) -> bool {
        let sent = &mut self.ends[1 - to].sent;
        if sent.is_empty() {
            return false;
        }
        let datagram = sent.remove(0);
        self.deliver(to, datagram);
        true
    }

    /// Whether an end is connected.
    pub fn connected(&self, side: usize) -> bool {
        self.ends[side].dtls.state() == DtlsTransportState::Connected
    }

    /// What stands, stands: nobody but the peer ends it, and silence is for ICE to judge.
    pub fn check_standing(&mut self) {
        for side in 0..2 {
            let ended = self.connected[side] && !self.connected(side);
            assert!(!ended, "what stood was ended: {:?}", self.ends[side].error);
            self.connected[side] = self.connected(side);
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
        for side in 0..2 {
            self.ends[side].dtls.handle_timeout(self.now);
            self.settle(side);
        }
    }

    /// Application data from one end.
    pub fn say(&mut self, from: usize, data: &[u8]) {
        if data.is_empty() || data.len() > 1100 {
            return;
        }
        let connected = self.connected(from);
        let sent = self.ends[from].dtls.send_with(self.now, &PacketOptions::default(), data.len(), |slot| {
            slot.copy_from_slice(data);
            data.len()
        });
        assert!(connected || sent.is_err());
        if sent.is_ok() {
            self.ends[from].said.push(data.to_vec());
        }
        self.settle(from);
    }

    /// One choice of the fuzzer.
    pub fn act(&mut self, input: &mut Input<'_>) {
        let action = input.byte();
        let to = usize::from(action >> 7);
        match action % 16 {
            0..=2 => {
                self.deliver_next(to);
            }
            3 => {
                // Lost.
                self.forged = true;
                if !self.ends[to].sent.is_empty() {
                    self.ends[to].sent.remove(0);
                }
            }
            4..=7 => self.again(to, input),
            8 => self.record(to, input),
            9..=10 => self.handshake(to, input),
            11 => {
                self.forged = true;
                self.deliver(to, input.chunk().to_vec());
            }
            12..=13 => {
                self.forged = true;
                let tens = u64::from(input.byte());
                self.advance(Duration::from_millis(tens * 10));
            }
            _ => self.say(to, input.chunk()),
        }
    }

    /// A datagram that was sent before, by either, changed.
    fn again(&mut self, to: usize, input: &mut Input<'_>) {
        if self.seen.is_empty() {
            return;
        }
        self.forged = true;
        let (_, mut datagram) = self.seen[input.below(self.seen.len())].clone();
        input.mutate(&mut datagram);
        self.deliver(to, datagram);
    }

    /// A record whose header is right.
    fn record(&mut self, to: usize, input: &mut Input<'_>) {
        self.forged = true;
        let (kind, epoch, number) = (20 + input.byte() % 8, u16::from(input.byte() % 4), input.u16());
        let body = input.chunk();
        self.deliver(to, record(kind, epoch, number, &body[..body.len().min(2000)]));
    }

    /// Fragments of handshake messages whose lengths are right.
    fn handshake(&mut self, to: usize, input: &mut Input<'_>) {
        const TYPES: [u8; 14] = [0, 1, 2, 3, 4, 8, 11, 12, 13, 14, 15, 16, 20, 24];
        self.forged = true;
        let mut datagram = Vec::new();
        for _ in 0..=input.below(6) {
            let (kind, number) = (TYPES[input.below(TYPES.len())], u16::from(input.byte() % 8));
            let (more, offset) = (u32::from(input.byte()), u32::from(input.byte()));
            let body = input.chunk();
            let body = &body[..body.len().min(500)];
            let length = body.len() as u32;
            let mut fragment = vec![kind];
            fragment.extend(&(offset + length + more).to_be_bytes()[1..]);
            fragment.extend(number.to_be_bytes());
            fragment.extend(&offset.to_be_bytes()[1..]);
            fragment.extend(&length.to_be_bytes()[1..]);
            fragment.extend(body);
            datagram.extend(record(22, 0, number, &fragment));
        }
        self.deliver(to, datagram);
    }
}

fn record(kind: u8, epoch: u16, number: u16, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 254, 253];
    record.extend(epoch.to_be_bytes());
    record.extend([0; 4]);
    record.extend(number.to_be_bytes());
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}
