//! Bytes that no peer should send, to whole transports: never a panic, never without bound, and what stands
//! goes on standing where that can be asked. The number of rounds is fixed, so that runs are the same.

use std::time::Instant;

use bytes::Bytes;
use peerstack_base::Random;
use peerstack_dtls::DtlsRole;

use crate::sctp_packet::{CommonHeader, build, chunk_type, chunks, crc32c};
use crate::test_pair::{Pair, epoch, ms};
use crate::{
    DataChannelEvent, DataChannelInit, MessageKind, SctpTransport, SctpTransportConfig, SctpTransportState,
};

/// Makes the checksum right, so that what is behind it is reached.
fn seal(packet: &mut [u8]) {
    if packet.len() >= 12 {
        packet[8..12].fill(0);
        let crc = crc32c(packet).to_le_bytes();
        packet[8..12].copy_from_slice(&crc);
    }
}

fn mutate(random: &mut Random, packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    for _ in 0..=random.below(4) {
        // The common header stays mostly right: a wrong tag ends the journey at once.
        let from = if random.chance(0.95) { 12 } else { 0 };
        if bytes.len() <= from {
            break;
        }
        let at = from + random.below((bytes.len() - from) as u64) as usize;
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.u32() as u8,
            2 => bytes[at] = [0, 1, 3, 4, 0x7f, 0x80, 0xff][random.below(7) as usize],
            3 => bytes.truncate(at),
            4 => {
                let tail = bytes[at..].to_vec();
                bytes.extend_from_slice(&tail);
            }
            _ => {
                let value = random.u32().to_be_bytes();
                for (slot, byte) in bytes[at..].iter_mut().zip(value) {
                    *slot = byte;
                }
            }
        }
    }
    seal(&mut bytes);
    bytes
}

fn drive(sctp: &mut SctpTransport, now: Instant) {
    for _ in 0..1000 {
        if sctp.poll_transmit(now).is_none() {
            break;
        }
    }
    while sctp.poll_event().is_some() {}
    sctp.after_test_flush(now);
}

/// Real packets of a whole life, changed, at each moment of that life.
fn fuzz_life(seed: u64, changed_per_packet: usize) {
    let mut random = Random::from_seed(seed);
    let mut pair = Pair::new().seed(seed);
    (pair.loss, pair.jitter) = (0.05, 10);
    pair.log = Some(Vec::new());
    let init = DataChannelInit { ordered: false, max_retransmits: Some(1), ..DataChannelInit::labelled("u") };
    let a = pair.peers[0].sctp.create_data_channel(pair.now, DataChannelInit::labelled("o")).unwrap();
    let b = pair.peers[0].sctp.create_data_channel(pair.now, init).unwrap();
    pair.start();
    let mut seen: Vec<(usize, Bytes)> = Vec::new();
    for round in 0..400_u32 {
        for id in [a, b] {
            let len = [0, 1, 100, 3000, 20_000][random.below(5) as usize];
            let _ = pair.peers[0].sctp.send(pair.now, id, MessageKind::Binary, vec![7; len]);
        }
        if round == 200 {
            pair.peers[0].sctp.close_data_channel(pair.now, a);
        }
        let until = pair.now + ms(20);
        pair.step(until);
        seen.append(pair.log.as_mut().unwrap());
        if pair.peers.iter().any(|peer| peer.sctp.state() == SctpTransportState::Closed) {
            break;
        }
        if seen.is_empty() {
            continue;
        }
        for _ in 0..changed_per_packet {
            let (from, packet) = &seen[random.below(seen.len() as u64) as usize];
            let changed = mutate(&mut random, packet);
            pair.peers[1 - from].sctp.receive(pair.now, &changed);
        }
    }
    pair.run_for(ms(5000));
}

/// `PEERSTACK_SCTP_FUZZ_SEEDS` says how many lives; 4,000 take minutes, with `--release`.
#[test]
fn changed_packets_never_panic() {
    let seeds = std::env::var("PEERSTACK_SCTP_FUZZ_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(12_u64) {
        // Few changes a round let the association live longer, many reach more of its beginning.
        fuzz_life(seed, [6, 1, 3, 30][seed as usize % 4]);
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::from_seed(2);
    let mut pair = Pair::connected();
    for _ in 0..20_000 {
        let mut bytes = vec![0; random.below(300) as usize];
        random.fill(&mut bytes);
        pair.peers[0].sctp.receive(pair.now, &bytes);
        if bytes.len() > 16 {
            bytes[..4].copy_from_slice(&[0x13, 0x88, 0x13, 0x88]);
            seal(&mut bytes);
            pair.peers[1].sctp.receive(pair.now, &bytes);
        }
    }
    assert!(pair.both_connected());
}

/// A peer of our own making: it shook hands, and now sends what it likes.
struct Attacker {
    now: Instant,
    victim: SctpTransport,
    header: CommonHeader,
    tsn: u32,
}

impl Attacker {
    fn new() -> Self {
        let mut pair = Pair::new();
        pair.log = Some(Vec::new());
        pair.connect();
        pair.run_for(ms(1000));
        let log = pair.log.take().unwrap();
        let init = log
            .iter()
            .filter(|(from, _)| *from == 0)
            .find_map(|(_, packet)| chunks(packet).unwrap().iter().find_map(|chunk| chunk.init()))
            .unwrap();
        let header = log
            .iter()
            .filter(|(from, _)| *from == 0)
            .filter_map(|(_, packet)| CommonHeader::parse(packet))
            .find(|header| header.verification_tag != 0)
            .unwrap();
        let [_, victim] = pair.peers;
        Self { now: pair.now, victim: victim.sctp, header, tsn: init.initial_tsn }
    }

    fn send(&mut self, chunk: &[&[u8]]) {
        let packet = build(self.header, chunk.iter().copied());
        self.victim.receive(self.now, &packet);
    }

    fn data(&self, offset: u32, sid: u16, ssn: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut chunk = vec![chunk_type::DATA, flags];
        chunk.extend_from_slice(&(16 + payload.len() as u16).to_be_bytes());
        chunk.extend_from_slice(&self.tsn.wrapping_add(offset).to_be_bytes());
        chunk.extend_from_slice(&sid.to_be_bytes());
        chunk.extend_from_slice(&ssn.to_be_bytes());
        chunk.extend_from_slice(&53_u32.to_be_bytes());
        chunk.extend_from_slice(payload);
        chunk
    }

    fn flush(&mut self) {
        self.now += ms(1);
        drive(&mut self.victim, self.now);
    }
}

/// Numbers all over their space: comparing them is no total order, and the standard library's sort panics on
/// that (more than 20 elements, each time in another order).
#[test]
fn scattered_numbers_never_panic() {
    for seed in 0..20 {
        let mut random = Random::from_seed(seed);
        let mut attacker = Attacker::new();
        for _ in 0..400 {
            let (offset, ssn) = (random.u32(), random.u32() as u16);
            for (offset, flags) in [(offset, 2), (offset, 6), (random.below(60_000) as u32 + 1, 2)] {
                let chunk = attacker.data(offset, 0, ssn, flags, b"x");
                attacker.send(&[&chunk]);
            }
        }
        attacker.flush();
    }
}

/// One-byte fragments of messages that never end: what is stored has a bound, and so has the work.
#[test]
fn endless_fragments_are_bounded() {
    let mut attacker = Attacker::new();
    let mut offset = 0;
    for _ in 0..1200 {
        let many: Vec<Vec<u8>> =
            (0..55).map(|i| attacker.data(offset + i, (i % 7) as u16, 0, 2, b"x")).collect();
        attacker.send(&many.iter().map(Vec::as_slice).collect::<Vec<_>>());
        offset += 55;
        attacker.flush();
    }
    assert!(attacker.victim.stats().association.refused > 0);
}

/// Data without OPEN: kept for a while, never without bound, and the stream is reset in the end.
#[test]
fn data_for_no_channel_is_bounded() {
    let mut attacker = Attacker::new();
    for i in 0..2000_u32 {
        let chunk = attacker.data(i, (i % 1024) as u16, (i / 1024) as u16, 3, &[1; 1000]);
        attacker.send(&[&chunk]);
        attacker.flush();
    }
    assert!(attacker.victim.stats().ignored_messages > 700);
    assert_eq!(attacker.victim.state(), SctpTransportState::Connected);
}

/// Answers pile up while nothing can be sent: the peer is no longer listened to.
#[test]
fn requests_without_room_for_answers_are_bounded() {
    let mut attacker = Attacker::new();
    let mut heartbeat = vec![chunk_type::HEARTBEAT, 0, 0, 108, 0, 1, 0, 104];
    heartbeat.resize(108, 5);
    for _ in 0..10_000 {
        attacker.send(&[&heartbeat]);
    }
    let mut answers = 0;
    while attacker.victim.poll_transmit(attacker.now).is_some() {
        answers += 1;
    }
    assert!((1000..=4096).contains(&answers), "{answers}");
    attacker.send(&[&heartbeat]);
    assert!(attacker.victim.poll_transmit(attacker.now).is_some());
}

/// K20: heartbeats are answered with what they carried. K26: an unknown chunk is reported, the rest processed.
#[test]
fn heartbeats_and_unknown_chunks_are_answered() {
    let mut attacker = Attacker::new();
    attacker.send(&[&[chunk_type::HEARTBEAT, 0, 0, 12, 0, 1, 0, 8, 1, 2, 3, 4]]);
    let answer = attacker.victim.poll_transmit(attacker.now).unwrap();
    assert_eq!(&answer[12..], [5, 0, 0, 12, 0, 1, 0, 8, 1, 2, 3, 4]);
    attacker.send(&[&[0xc5, 0, 0, 4], &[chunk_type::HEARTBEAT, 0, 0, 12, 0, 1, 0, 8, 1, 2, 3, 4]]);
    let kinds: Vec<u8> = std::iter::from_fn(|| attacker.victim.poll_transmit(attacker.now))
        .flat_map(|packet| chunks(&packet).unwrap().iter().map(|chunk| chunk.kind).collect::<Vec<_>>())
        .collect();
    assert_eq!(kinds, [chunk_type::ERROR, 5]);
}

/// An ERROR is no reason to give up; an ABORT is.
#[test]
fn only_abort_ends_the_association() {
    let mut attacker = Attacker::new();
    attacker.send(&[&[chunk_type::ERROR, 0, 0, 8, 0, 8, 0, 4]]);
    attacker.flush();
    assert_eq!(attacker.victim.state(), SctpTransportState::Connected);
    attacker.send(&[&[chunk_type::ABORT, 0, 0, 4]]);
    attacker.flush();
    assert_eq!(attacker.victim.state(), SctpTransportState::Closed);
}

/// Messages in parts in the deprecated form (RFC 8831 section 6.6) become one; other PPIDs are ignored.
#[test]
fn deprecated_parts_become_one_message() {
    let mut attacker = Attacker::new();
    let open = crate::DcepMessage::Open(DataChannelInit::labelled("old").open_message()).write();
    for (i, (ppid, payload)) in
        [(50_u32, &open[..]), (52, b"ab"), (52, b"cd"), (53, b"ef"), (99, b"?"), (54, b"x"), (51, b"y")]
            .into_iter()
            .enumerate()
    {
        let mut chunk = attacker.data(i as u32, 2, i as u16, 3, payload);
        chunk[12..16].copy_from_slice(&ppid.to_be_bytes());
        attacker.send(&[&chunk]);
    }
    let mut messages = Vec::new();
    while let Some(event) = attacker.victim.poll_event() {
        if let DataChannelEvent::Message { kind, data, .. } = event {
            messages.push((kind, data));
        }
    }
    let expected = [(MessageKind::Binary, Bytes::from_static(b"abcdef")), (MessageKind::Text, "xy".into())];
    assert_eq!(messages, expected);
    assert_eq!(attacker.victim.stats().ignored_messages, 1);
}

/// A malformed OPEN resets its stream and hurts nobody else.
#[test]
fn a_malformed_open_is_reset() {
    let mut attacker = Attacker::new();
    let mut chunk = attacker.data(0, 2, 0, 3, &[3, 0x55, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    chunk[12..16].copy_from_slice(&50_u32.to_be_bytes());
    attacker.send(&[&chunk]);
    assert_eq!(attacker.victim.poll_event(), None);
    attacker.flush();
    assert_eq!(attacker.victim.state(), SctpTransportState::Connected);
    assert_eq!(attacker.victim.data_channels().count(), 0);
}

/// Packets of libwebrtc's fuzzer corpus, as they are and with tag and checksum made right, at each state.
#[test]
fn the_corpus_never_panics() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora");
    let root = std::env::var_os("PEERSTACK_CORPORA").unwrap_or_else(|| beside.into());
    let folder = std::path::PathBuf::from(root).join("sctp-packet-corpus");
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut random = Random::from_seed(4);
    for bytes in files.iter().filter_map(|path| std::fs::read(path).ok()) {
        let mut fresh =
            SctpTransport::<crate::SctpProtoAssociation>::new("f", SctpTransportConfig::default());
        let now = epoch();
        fresh.start(now, 5000, 5000, 0, DtlsRole::Server).unwrap();
        fresh.receive(now, &bytes);
        drive(&mut fresh, now);
        let mut attacker = Attacker::new();
        for round in 0..200 {
            let mut packet = if round == 0 { bytes.clone() } else { mutate(&mut random, &bytes) };
            if packet.len() >= 12 {
                packet[..4].copy_from_slice(&[0x13, 0x88, 0x13, 0x88]);
                packet[4..8].copy_from_slice(&attacker.header.verification_tag.to_be_bytes());
            }
            seal(&mut packet);
            attacker.victim.receive(attacker.now, &packet);
            attacker.flush();
        }
    }
}

/// Labels and protocols of 65,535 bytes each: a peer has 64 such channels, and the stream of one more is reset; once
/// one of them is gone there is room again.
#[test]
fn long_names_are_bounded() {
    let mut pair = Pair::new();
    pair.connect();
    let long = DataChannelInit {
        protocol: "p".repeat(usize::from(u16::MAX)),
        ..DataChannelInit::labelled("l".repeat(usize::from(u16::MAX)))
    };
    let fit = crate::MAX_PEER_NAME_BYTES / (2 * usize::from(u16::MAX));
    let mut ids = Vec::new();
    for number in 0..=fit {
        let id = pair.peers[0].sctp.create_data_channel(pair.now, long.clone()).unwrap();
        let told = |pair: &mut Pair| {
            let (there, closed) = (pair.peers[1].incoming(), DataChannelEvent::Closed { id });
            there.is_some() || pair.peers[0].saw(&closed)
        };
        assert!(pair.run_until(ms(20_000), told), "{number}");
        assert_eq!(pair.peers[0].saw(&DataChannelEvent::Closed { id }), number == fit);
        pair.peers[1].events.clear();
        ids.push(id);
    }
    pair.peers[0].sctp.close_data_channel(pair.now, ids[3]);
    assert!(pair.run_until(ms(5_000), |pair| pair.peers[0].saw(&DataChannelEvent::Closed { id: ids[3] })));
    pair.peers[1].events.clear();
    pair.peers[0].sctp.create_data_channel(pair.now, long).unwrap();
    assert!(pair.run_until(ms(20_000), |pair| pair.peers[1].incoming().is_some()));
}
