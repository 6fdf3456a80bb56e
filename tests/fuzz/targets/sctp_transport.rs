//! SctpTransport and the packet guard before its association: a peer of the fuzzer's making, with right checksums and
//! tags, at every stage of the handshake and after it. What is answered and kept is bounded, and a channel of ours
//! still works where nothing ended the association.

#![no_main]

use std::time::{Duration, Instant};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use peerstack_dtls::DtlsRole;
use peerstack_fuzz::{Input, crc32c, origin};
use peerstack_sctp::{
    DataChannelEvent, DataChannelId, DataChannelInit, SctpTransport, SctpTransportConfig, SctpTransportState,
};

const COMMON_HEADER: usize = 12;
/// The buffer that SctpTransportConfig gives, and a message on its way.
const MAX_UNREAD: usize = 9 << 20;
/// Far below what an association waits before it gives a peer up.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// Both ends; the fuzzer stands between them and speaks in the name of either.
struct Pair {
    now: Instant,
    ends: [SctpTransport; 2],
    /// What each sent last, to be changed and sent once more.
    seen: [Vec<Bytes>; 2],
    /// The tag each must use.
    tags: [u32; 2],
    /// The TSN each used last.
    tsns: [u32; 2],
    channels: Vec<DataChannelId>,
    /// How long nothing was carried.
    silent: Duration,
    /// Something was made up, or kept from arriving for long: an association may end.
    forged: bool,
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let end = || SctpTransport::new("fuzz", SctpTransportConfig::default());
    let mut pair = Pair {
        now: origin(),
        ends: [end(), end()],
        seen: [Vec::new(), Vec::new()],
        tags: [0; 2],
        tsns: [0; 2],
        channels: Vec::new(),
        silent: Duration::ZERO,
        forged: false,
    };
    pair.ends[0].start(pair.now, 5000, 5000, 262_144, DtlsRole::Client).unwrap();
    pair.ends[1].start(pair.now, 5000, 5000, 262_144, DtlsRole::Server).unwrap();
    for _ in 0..input.below(12) {
        pair.exchange();
    }
    while !input.is_empty() {
        let action = input.byte();
        let to = usize::from(action >> 7);
        match action % 16 {
            0..=3 => pair.chunks(to, &mut input),
            4..=6 => pair.changed(to, &mut input),
            7 => pair.data(to, &mut input),
            8 => pair.deliver(to, input.chunk()),
            9..=11 => pair.exchange(),
            12 => pair.wait(u64::from(input.byte())),
            13 => pair.open(&mut input),
            14 => pair.send(&mut input),
            _ => pair.close_channel(),
        }
    }
    pair.settle();
});

impl Pair {
    fn deliver(&mut self, to: usize, packet: &[u8]) {
        self.forged = true;
        let before = self.ends[to].stats();
        self.ends[to].receive(self.now, packet);
        let after = self.ends[to].stats();
        assert_eq!(after.received.packets, before.received.packets + 1);
        // One packet in makes few out: the rest waits for an acknowledgement or a timer.
        let sent = self.drain(to);
        assert!(sent <= 4096, "{sent} packets for one");
    }

    /// What `from` wants to send; it is remembered and not delivered.
    fn drain(&mut self, from: usize) -> usize {
        let mut sent = 0;
        while sent < 5000
            && let Some(packet) = self.ends[from].poll_transmit(self.now)
        {
            assert!(packet.len() <= 1191, "{} bytes", packet.len());
            self.learn(from, &packet);
            self.seen[from].push(packet);
            sent += 1;
        }
        let excess = self.seen[from].len().saturating_sub(64);
        self.seen[from].drain(..excess);
        while let Some(event) = self.ends[from].poll_event() {
            if let DataChannelEvent::Message { data, .. } = event {
                assert!(data.len() <= MAX_UNREAD);
            }
        }
        sent
    }

    fn learn(&mut self, from: usize, packet: &[u8]) {
        let word =
            |at: usize| packet.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        // A packet of ours carries the peer's tag; an INIT carries none and names our own.
        match packet.get(COMMON_HEADER) {
            Some(1 | 2) => {
                self.tags[1 - from] = word(16);
                self.tsns[from] = word(28).wrapping_sub(1);
            }
            Some(0) => self.tsns[from] = word(16),
            _ => {}
        }
    }

    /// Carries what waits both ways, unchanged.
    fn exchange(&mut self) {
        for from in 0..2 {
            self.drain(from);
            for packet in std::mem::take(&mut self.seen[from]) {
                self.ends[1 - from].receive(self.now, &packet);
            }
        }
        self.now += Duration::from_millis(1);
        self.silent = Duration::ZERO;
    }

    fn wait(&mut self, steps: u64) {
        let time = Duration::from_millis(steps * steps);
        self.now += time;
        // Nothing is carried meanwhile: an end that hears nothing for long rightly gives up.
        self.silent += time;
        self.forged |= self.silent > MAX_SILENCE;
        for end in 0..2 {
            self.ends[end].handle_timeout(self.now);
            self.drain(end);
        }
    }

    fn sealed(&self, to: usize, chunks: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x13, 0x88, 0x13, 0x88];
        packet.extend(self.tags[1 - to].to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(chunks);
        seal(&mut packet);
        packet
    }

    /// Chunks whose lengths are right and whose content is the fuzzer's.
    fn chunks(&mut self, to: usize, input: &mut Input<'_>) {
        const KINDS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 130, 192, 64];
        let mut chunks = Vec::new();
        for _ in 0..=input.below(4) {
            let kind = match input.byte() {
                byte if byte < 240 => KINDS[usize::from(byte % 16)],
                byte => byte,
            };
            let (flags, body) = (input.byte(), input.chunk());
            let body = &body[..body.len().min(1200)];
            chunks.extend([kind, flags]);
            chunks.extend(((body.len() + 4) as u16).to_be_bytes());
            chunks.extend(body);
            chunks.resize(chunks.len().next_multiple_of(4), 0);
        }
        if input.below(8) == 0 {
            self.tags[1 - to] ^= u32::from(input.byte() / 64);
        }
        let packet = self.sealed(to, &chunks);
        self.deliver(to, &packet);
    }

    /// A packet that was sent before, changed.
    fn changed(&mut self, to: usize, input: &mut Input<'_>) {
        let seen = &self.seen[1 - to];
        if seen.is_empty() {
            return;
        }
        let mut chunks = seen[usize::from(input.byte()) % seen.len()][COMMON_HEADER..].to_vec();
        input.mutate(&mut chunks);
        let packet = self.sealed(to, &chunks);
        self.deliver(to, &packet);
    }

    /// DATA that follows what the peer has.
    fn data(&mut self, to: usize, input: &mut Input<'_>) {
        let mut chunks = Vec::new();
        for _ in 0..=input.below(8) {
            let (flags, ahead, sid) =
                (input.byte() & 15, u32::from(input.byte() % 8), u16::from(input.byte() % 4));
            let (ssn, ppid) = (u16::from(input.byte()), 50 + u32::from(input.byte() % 8));
            let body = input.chunk();
            let body = &body[..body.len().min(1100)];
            let tsn = self.tsns[1 - to].wrapping_add(1 + ahead);
            chunks.extend([0, flags]);
            chunks.extend(((body.len() + 16) as u16).to_be_bytes());
            chunks.extend(tsn.to_be_bytes());
            chunks.extend([sid.to_be_bytes(), ssn.to_be_bytes()].concat());
            chunks.extend(ppid.to_be_bytes());
            chunks.extend(body);
            chunks.resize(chunks.len().next_multiple_of(4), 0);
            if ahead == 0 {
                self.tsns[1 - to] = tsn;
            }
        }
        let packet = self.sealed(to, &chunks);
        self.deliver(to, &packet);
    }

    fn open(&mut self, input: &mut Input<'_>) {
        let mut init = DataChannelInit::labelled("fuzz");
        init.ordered = input.flag();
        if input.flag() {
            init.max_retransmits = Some(input.u16() % 4);
        }
        if self.channels.len() < 32
            && let Ok(channel) = self.ends[0].create_data_channel(self.now, init)
        {
            self.channels.push(channel);
        }
    }

    fn send(&mut self, input: &mut Input<'_>) {
        let (index, len) = (input.below(self.channels.len()), usize::from(input.u16()));
        if let Some(channel) = self.channels.get(index) {
            let text = peerstack_sctp::MessageKind::Binary;
            let _ = self.ends[0].send(self.now, *channel, text, vec![1; len]);
        }
    }

    fn close_channel(&mut self) {
        if let Some(channel) = self.channels.pop() {
            self.ends[0].close_data_channel(self.now, channel);
        }
    }

    /// Left alone, both ends come to rest: connected or closed, with no timer that is due again and again.
    fn settle(&mut self) {
        let end = self.now + Duration::from_secs(120);
        for _ in 0..2000 {
            self.exchange();
            let timers = self.ends.iter().filter_map(SctpTransport::next_timeout);
            let Some(next) = timers.min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            for side in &mut self.ends {
                side.handle_timeout(self.now);
            }
        }
        if !self.forged {
            assert!(self.ends.iter().all(|end| end.state() == SctpTransportState::Connected));
        }
        for side in 0..2 {
            self.ends[side].close(self.now);
            self.drain(side);
            assert_eq!(self.ends[side].state(), SctpTransportState::Closed);
        }
    }
}

fn seal(packet: &mut [u8]) {
    let crc = crc32c(packet).to_le_bytes();
    packet[8..12].copy_from_slice(&crc);
}
