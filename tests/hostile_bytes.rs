//! A million packets that nobody sent, at every stage of a live connection: random ones, changed, cut, joined and
//! repeated copies of the genuine ones, from the peer's address and from others. Nothing panics, memory stays
//! bounded, and the connection goes on: messages come back and RTP flows afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that fails, and that runs tasks of its own"
)]

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use peerstack::base::Random;
use peerstack::{
    Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, DataChannelState,
    IceCandidateInit, IceConnectionState, IceServer, MediaStreamTrack, PeerConnection, PeerConnectionState,
    SessionDescription, SignalingState, TrackKind,
};
use peerstack_netsim::{Direction, Packet, StunServer, Verdict, addr, ip};
use support::{Peer, ROUND_TRIP, TwoHosts, ms};
use tokio::time::Instant;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Genuine packets the attacker keeps.
const KEPT: usize = 512;
/// What an attack may make two connections and the network between them hold at a time.
const MEMORY: usize = 24 << 20;
const SIGNALLING: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Stage {
    Gathering,
    Checks,
    DtlsHandshake,
    SctpHandshake,
    Established,
    Closing,
}

/// A stage, the packets it is attacked with, and how many of them a millisecond: stages that pass by themselves
/// get more at a time.
const ATTACKS: [(Stage, usize, usize); 6] = [
    (Stage::Gathering, 100_000, 1_000),
    (Stage::Checks, 200_000, 2_500),
    (Stage::DtlsHandshake, 200_000, 2_500),
    (Stage::SctpHandshake, 200_000, 2_500),
    (Stage::Established, 300_000, 1_000),
    (Stage::Closing, 100_000, 1_000),
];

/// What the attacker saw pass: when it has reached its host, which host, and the packet.
type Captured = Arc<Mutex<Vec<(Instant, usize, Packet)>>>;

struct Attacker {
    random: Random,
    captured: Captured,
    /// Whether it forges handshake messages of the peer: see [`is_forged_handshake`].
    forges_handshakes: bool,
}

/// Whether these bytes, from the peer's address, may be a message of its DTLS handshake that is not encrypted.
/// Nothing tells a changed ServerHello from the genuine one before the Finished messages (RFC 8446 section 4.4.4,
/// RFC 6347 section 4.2.6): who can put such packets on the path can prevent a handshake, as by dropping all.
fn is_forged_handshake(bytes: &[u8]) -> bool {
    matches!(bytes, [20..=22, ..])
}

impl Attacker {
    fn new(net: &TwoHosts, seed: u64) -> Self {
        let captured = Captured::default();
        let link = net.alice.interfaces()[0].link();
        for (direction, to) in [(Direction::Inbound, 0), (Direction::Outbound, 1)] {
            let (captured, mut random) = (Arc::clone(&captured), Random::from_seed(seed + to as u64));
            link.set_filter(direction, move |packet| {
                let mut captured = captured.lock().unwrap();
                let seen = (Instant::now() + ROUND_TRIP / 2, to, packet.clone());
                if captured.len() < KEPT {
                    captured.push(seen);
                } else {
                    // The newest are the most interesting: each stage has packets of its own.
                    captured[random.below(KEPT as u64) as usize] = seen;
                }
                Verdict::Pass
            });
        }
        Self { random: Random::from_seed(seed), captured, forges_handshakes: true }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.below(longest + 1)];
        self.random.fill(&mut bytes);
        bytes
    }

    /// A genuine packet that has arrived (a copy that came earlier would only be a shorter way): to this host
    /// mostly, or in the other direction, as a mirror would send it.
    fn genuine(&mut self, victim: usize) -> Option<Vec<u8>> {
        let captured = Arc::clone(&self.captured);
        let captured = captured.lock().unwrap();
        if captured.is_empty() {
            return None;
        }
        let (now, mirrored) = (Instant::now(), self.below(8) == 0);
        let tries = (0..8).map(|_| &captured[self.below(captured.len())]);
        let mut fitting = tries.filter(|(at, to, _)| *at < now && (*to == victim) != mirrored);
        fitting.next().map(|(_, _, packet)| packet.payload.clone())
    }

    /// Random bytes that get past the first look: of STUN, of DTLS, of RTP and RTCP.
    fn disguised(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes(1_400);
        bytes.resize(bytes.len().max(24), 0);
        let len = bytes.len();
        match self.below(4) {
            0 => {
                let typ = [0x0001_u16, 0x0101, 0x0111, 0x0011][self.below(4)];
                bytes[..2].copy_from_slice(&typ.to_be_bytes());
                let fits = self.below(4) != 0;
                let body = if fits { (len - 20) / 4 * 4 } else { self.below(2_000) };
                bytes[2..4].copy_from_slice(&(body as u16).to_be_bytes());
                bytes[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
                if fits {
                    bytes.truncate(20 + body);
                }
            }
            1 => {
                bytes[0] = 20 + self.below(44) as u8;
                bytes[1..5].copy_from_slice(&[
                    254,
                    [253, 255, 252, 3][self.below(4)],
                    0,
                    self.below(4) as u8,
                ]);
                let body = if self.below(4) == 0 { self.below(65_536) } else { len - 13 };
                bytes[11..13].copy_from_slice(&(body as u16).to_be_bytes());
                bytes[13] = self.below(26) as u8;
            }
            2 => bytes[0] = 128 + self.below(64) as u8,
            _ => {
                bytes[0] = 128 + self.below(64) as u8;
                bytes[1] = 192 + self.below(32) as u8;
                let words = if self.below(4) == 0 { self.below(65_536) } else { len / 4 - 1 };
                bytes[2..4].copy_from_slice(&(words as u16).to_be_bytes());
            }
        }
        bytes
    }

    fn mutated(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(4) {
            let len = bytes.len().max(1);
            let at = self.below(len);
            match self.below(7) {
                0 => bytes.truncate(at),
                1 => {
                    let more = self.bytes(64);
                    bytes.extend_from_slice(&more);
                }
                2 => drop(bytes.drain(at.min(bytes.len())..bytes.len().min(at + 4))),
                3 => bytes.insert(at.min(bytes.len()), self.random.u32() as u8),
                // Headers are where the decisions are.
                4 => {
                    if let Some(byte) = bytes.get_mut(at % 48) {
                        *byte = self.random.u32() as u8;
                    }
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << (self.random.u32() % 8);
                    }
                }
            }
        }
        bytes
    }

    fn payload(&mut self, victim: usize) -> Vec<u8> {
        let genuine = self.genuine(victim);
        match (self.below(10), genuine) {
            (0, _) | (_, None) => self.bytes(1_500),
            (1 | 2, _) => self.disguised(),
            (3, Some(genuine)) => genuine,
            (4, Some(mut genuine)) => {
                let other = self.genuine(victim).unwrap_or_default();
                genuine.extend_from_slice(&other);
                genuine
            }
            (_, Some(genuine)) => self.mutated(genuine),
        }
    }

    fn source(&mut self, victim: usize, addresses: &[Option<SocketAddr>; 2]) -> SocketAddr {
        let genuine = addresses[1 - victim].unwrap_or(addr("192.0.2.77:7777"));
        match self.below(10) {
            0 => SocketAddr::from((self.random.bytes::<4>(), self.random.u32() as u16)),
            1 => SocketAddr::new(genuine.ip(), self.random.u32() as u16),
            2 => addr("198.51.100.9:3478"),
            _ => genuine,
        }
    }

    /// Hands the hosts so many packets; those without a socket yet are spared.
    fn burst(&mut self, net: &TwoHosts, addresses: &[Option<SocketAddr>; 2], count: usize) -> usize {
        for _ in 0..count {
            let victim = if addresses[1].is_some() { self.below(2) } else { 0 };
            let Some(destination) = addresses[victim] else { return 0 };
            let source = self.source(victim, addresses);
            let mut payload = self.payload(victim);
            if !self.forges_handshakes
                && addresses[1 - victim] == Some(source)
                && is_forged_handshake(&payload)
            {
                // The genuine ones again, in any order and number, it may always send.
                payload = self.genuine(victim).unwrap_or_default();
            }
            let host = [&net.alice, &net.bob][victim];
            host.inject(Packet::udp(source, destination, payload));
        }
        count
    }
}

/// Where a connection's socket is, once it gathered its host candidate.
fn socket_of(pc: &PeerConnection) -> Option<SocketAddr> {
    let description = pc.local_description()?;
    let line = description.sdp.lines().find(|line| line.contains("typ host"))?;
    let words: Vec<&str> = line.split(' ').collect();
    Some(SocketAddr::new(words.get(4)?.parse().ok()?, words.get(5)?.parse().ok()?))
}

struct Session {
    net: TwoHosts,
    a: PeerConnection,
    b: PeerConnection,
    channel: DataChannel,
    remote: OnceCell<DataChannel>,
    closing: OnceCell<()>,
    forges_handshakes: bool,
}

impl Session {
    fn stage(&self) -> Stage {
        if self.closing.get().is_some() {
            return Stage::Closing;
        }
        let pcs = [&self.a, &self.b];
        let open = self.channel.ready_state() == DataChannelState::Open && self.remote.get().is_some();
        let ice = [IceConnectionState::Connected, IceConnectionState::Completed];
        if pcs.iter().all(|pc| pc.remote_description().is_none()) {
            Stage::Gathering
        } else if open {
            Stage::Established
        } else if pcs.iter().all(|pc| pc.connection_state() == PeerConnectionState::Connected) {
            Stage::SctpHandshake
        } else if pcs.iter().any(|pc| ice.contains(&pc.ice_connection_state())) {
            Stage::DtlsHandshake
        } else {
            Stage::Checks
        }
    }

    async fn failed(&self) {
        while [&self.a, &self.b].iter().all(|pc| pc.connection_state() != PeerConnectionState::Failed) {
            tokio::time::sleep(ms(10)).await;
        }
    }

    /// Attacks one stage until the quota is used up or the stage is over.
    async fn attack(&self, attacker: &mut Attacker, stage: Stage, quota: usize, each: usize) -> usize {
        let mut sent = 0;
        let mut begun = false;
        while sent < quota {
            tokio::time::sleep(ms(1)).await;
            if self.stage() == stage {
                begun = true;
                attacker.forges_handshakes = self.forges_handshakes || stage >= Stage::SctpHandshake;
                let addresses = [socket_of(&self.a), socket_of(&self.b)];
                sent += attacker.burst(&self.net, &addresses, each);
            } else if begun {
                break;
            }
        }
        sent
    }
}

async fn next_message(channel: &DataChannel) -> DataChannelMessage {
    loop {
        if let DataChannelEvent::Message(message) = channel.next_event().await.unwrap() {
            return message;
        }
    }
}

async fn echoes(a: &DataChannel, b: &DataChannel) {
    for number in 0..20 {
        let message = DataChannelMessage::Text(format!("still here {number}"));
        a.send(message.clone()).unwrap();
        assert_eq!(next_message(b).await, message);
        b.send(message.clone()).unwrap();
        assert_eq!(next_message(a).await, message);
    }
}

async fn rtp_flows(pc: &PeerConnection) {
    let track = pc.transceivers()[0].receiver().track();
    while track.try_recv().is_some() {}
    for _ in 0..5 {
        track.recv().await.unwrap();
    }
}

fn peer(net: &TwoHosts, number: usize) -> Peer {
    let host = [&net.alice, &net.bob][number];
    // One server answers, the other never does: gathering takes long enough to be attacked.
    let servers = ["stun:192.0.2.9:3478", "stun:192.0.2.10:3478"].map(IceServer::new);
    let configuration =
        Configuration::new().with_certificate(support::certificate(number)).with_ice_servers(servers);
    Peer::with(configuration, support::dependencies(&net.lab, host))
}

/// Makes a connection that is attacked in one stage, and uses it. Returns the packets of the attack, or `None` if
/// forged handshake messages ended the connection.
async fn attacked(stage: Stage, quota: usize, each: usize, forges_handshakes: bool) -> Option<usize> {
    let net = TwoHosts::start(stage as u64, |link| link);
    net.lab.set_tracing(false);
    let server = net.lab.host_at("stun", &net.lab.internet(), ip("192.0.2.9"));
    StunServer::new(&server, addr("192.0.2.9:3478"));
    let mut attacker = Attacker::new(&net, 100 + stage as u64);
    let (a_peer, b_peer) = (peer(&net, 0), peer(&net, 1));
    let (a, b) = (a_peer.pc.clone(), b_peer.pc.clone());
    let channel = a.create_data_channel("data", DataChannelInit::default()).unwrap();
    let senders = [("a", &a), ("b", &b)].map(|(id, pc)| {
        pc.add_track(MediaStreamTrack::with_id(TrackKind::Audio, id), &["s".into()]).unwrap()
    });
    let ((to_b, _a_seen), (_, mut b_seen)) = support::join(a_peer, b_peer, SIGNALLING);
    let (remote, closing) = (OnceCell::new(), OnceCell::new());
    let session = Session { net, a, b, channel, remote, closing, forges_handshakes };
    let Session { a, b, channel, .. } = &session;

    let open = async {
        to_b.offer(a).await;
        let remote = support::incoming_channel(&mut b_seen).await;
        while remote.next_event().await.unwrap() != DataChannelEvent::Open {}
        while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
        session.remote.set(remote).unwrap();
    };
    let use_it = async {
        let remote = session.remote.get().unwrap();
        tokio::join!(biased; echoes(channel, remote), rtp_flows(a), rtp_flows(b));
    };
    let close = async {
        session.closing.set(()).unwrap();
        channel.close();
        tokio::time::sleep(ms(40)).await;
        a.close();
        tokio::time::sleep(ms(80)).await;
        b.close();
        tokio::join!(a.closed(), b.closed());
    };
    let [one, two] = senders.map(support::send_audio);
    let media = async { tokio::join!(biased; one, two) };
    let whole = async {
        let attack = async {
            match stage {
                Stage::Established | Stage::Closing => 0,
                early => session.attack(&mut attacker, early, quota, each).await,
            }
        };
        let (mut sent, ()) = tokio::join!(biased; attack, open);
        if stage == Stage::Established {
            let (count, ()) = tokio::join!(biased; session.attack(&mut attacker, stage, quota, each), use_it);
            sent += count;
            let remote = session.remote.get().unwrap();
            tokio::join!(biased; echoes(channel, remote), rtp_flows(a), rtp_flows(b));
        } else {
            use_it.await;
        }
        if stage == Stage::Closing {
            let (count, ()) = tokio::join!(biased; session.attack(&mut attacker, stage, quota, each), close);
            sent += count;
        } else {
            close.await;
        }
        sent
    };
    let sent = tokio::select! {
        biased;
        sent = whole => Some(sent),
        () = session.failed(), if forges_handshakes => None,
        _ = media => unreachable!("audio is sent until the end"),
        () = tokio::time::sleep(Duration::from_secs(60)) => {
            panic!("{stage:?}: stuck in {:?}, {:?} {:?}", session.stage(), a.connection_state(), b.connection_state())
        }
    };
    a.close();
    b.close();
    tokio::join!(a.closed(), b.closed());
    assert_eq!(session.net.lab.open_sockets(), 0);
    sent
}

#[test]
fn a_million_packets_that_nobody_sent() {
    support::certificate(0);
    support::certificate(1);
    let mut total = 0;
    for (stage, quota, each) in ATTACKS {
        let start = counting::reset_peak();
        let sent = support::simulate(attacked(stage, quota, each, false)).unwrap();
        let peak = counting::peak() - start;
        support::say(&format!("{stage:?}: {sent} packets, {} KiB at most", peak >> 10));
        assert!(sent >= quota * 3 / 4, "{stage:?} was over after {sent} packets of {quota}");
        assert!(peak < MEMORY, "{stage:?}: {peak} bytes");
        total += sent;
    }
    support::say(&format!("{total} packets in all"));
    assert!(total >= 1_000_000);
}

/// An attacker on the path who also forges the peer's unencrypted handshake messages may prevent the connection.
/// Then it says so, within its thirty seconds, and everything else holds.
#[test]
fn forged_handshake_messages_end_a_connection_at_worst() {
    for stage in [Stage::Checks, Stage::DtlsHandshake] {
        let ended = support::simulate(attacked(stage, 20_000, 200, true));
        support::say(&format!("{stage:?} with forged handshake messages: {ended:?} packets"));
    }
}

/// A text with some of its words, lines and characters changed.
fn garbled(random: &mut Random, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len().max(1) as u64) as usize;
        let end = bytes.len().min(at + random.below(40) as usize);
        match random.below(6) {
            0 => drop(bytes.drain(at.min(end)..end)),
            1 => {
                let copy = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, copy);
            }
            2 => {
                let words: [&[u8]; 8] =
                    [b"\r\n", b" ", b":", b"-1", b"4294967296", b"a=mid:0\r\n", b"m=audio 0 X 0\r\n", b"\0"];
                bytes.splice(at..at, words[random.below(8) as usize].iter().copied());
            }
            3 => bytes.truncate(at),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.u32() as u8;
                }
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a peer's application may send by mistake or malice: each is refused with an error that says why, or taken,
/// and in the end the genuine ones connect.
#[test]
fn garbage_from_signalling_is_refused() {
    support::simulate(async {
        let net = TwoHosts::start(1, |link| link);
        let (a_peer, b_peer) = net.peers();
        let (a, b) = (a_peer.pc.clone(), b_peer.pc.clone());
        let channel = a.create_data_channel("data", DataChannelInit::default()).unwrap();
        a.add_track(MediaStreamTrack::with_id(TrackKind::Audio, "a"), &["s".into()]).unwrap();
        let offer = a.create_offer(Default::default()).await.unwrap();
        let mut random = Random::from_seed(1);
        let (mut refused, mut taken) = (0, 0);
        for _ in 0..5_000 {
            let garbage = SessionDescription::offer(garbled(&mut random, &offer.sdp));
            match b.set_remote_description(garbage).await {
                Ok(()) => {
                    taken += 1;
                    b.set_remote_description(SessionDescription::rollback()).await.unwrap();
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.message.is_empty());
                }
            }
            assert_eq!(b.signaling_state(), SignalingState::Stable);
        }
        support::say(&format!("garbled offers: {refused} refused, {taken} taken and rolled back"));
        assert!(refused > 500 && taken > 500);

        let ((to_b, _a_seen), (_, mut b_seen)) = support::join(a_peer, b_peer, ms(50));
        to_b.offer(&a).await;
        tokio::time::sleep(ms(60)).await;
        assert!(b.remote_description().is_some());
        let line =
            "candidate:1 1 udp 2122260223 198.51.100.1 9 typ host generation 0 ufrag abcd network-id 1";
        let mut refused = 0;
        for _ in 0..5_000 {
            let candidate = IceCandidateInit {
                candidate: garbled(&mut random, line),
                sdp_mid: (random.below(3) != 0).then(|| random.below(4).to_string()),
                sdp_mline_index: (random.below(3) != 0).then(|| random.below(4) as u16),
                username_fragment: (random.below(4) == 0).then(|| random.ice_string(4)),
            };
            if let Err(error) = b.add_ice_candidate(candidate).await {
                assert!(!error.message.is_empty());
                refused += 1;
            }
        }
        support::say(&format!("garbled candidates: {refused} of 5000 refused"));
        assert!(refused > 500);

        let garbage = SessionDescription::answer(garbled(&mut random, &offer.sdp));
        assert!(b.set_remote_description(garbage).await.is_err(), "an answer without an offer of ours");
        let remote = support::incoming_channel(&mut b_seen).await;
        while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
        echoes(&channel, &remote).await;
        a.close();
        b.close();
        tokio::join!(a.closed(), b.closed());
    });
}
