//! What the targets share: choices read out of a fuzzer's bytes, and the one instant that all times are counted
//! from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Instant;

pub mod dtls;
pub mod ice;

/// The instant that a run counts from. Its value changes nothing.
pub fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// Reads choices out of a fuzzer's bytes. At their end everything is zero.
#[derive(Debug, Clone)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of the bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// The next `len` bytes, fewer at the end.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The next bytes, padded with zeros.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let taken = self.take(N);
        bytes[..taken.len()].copy_from_slice(taken);
        bytes
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `bound`, of one byte.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    /// Two bytes of length and as many bytes as they say, fewer at the end.
    pub fn chunk(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16());
        self.take(len)
    }

    /// An address: often one of a few.
    pub fn address(&mut self) -> SocketAddr {
        match self.below(4) {
            0 => SocketAddr::from(([192, 0, 2, 2], 4000 + u16::from(self.byte() % 4))),
            1 => SocketAddr::new(IpAddr::V6(Ipv6Addr::from(self.array::<16>())), self.u16()),
            _ => SocketAddr::new(IpAddr::V4(Ipv4Addr::from(self.array::<4>())), self.u16()),
        }
    }

    /// Changes a packet at a few places, and says whether it is another one now.
    pub fn mutate(&mut self, packet: &mut Vec<u8>) -> bool {
        let before = packet.clone();
        for _ in 0..self.below(5) {
            if packet.is_empty() {
                break;
            }
            let at = usize::from(self.u16()) % packet.len();
            match self.below(6) {
                0 => packet[at] ^= 1 << self.below(8),
                1 => packet[at] = self.byte(),
                2 => packet.truncate(at),
                3 => {
                    let inserted = self.take(4).to_vec();
                    drop(packet.splice(at..at, inserted));
                }
                4 => {
                    let end = (at + self.below(32)).min(packet.len());
                    packet.drain(at..end);
                }
                _ => {
                    for (slot, byte) in packet[at..].iter_mut().zip(self.array::<4>()) {
                        *slot = byte;
                    }
                }
            }
        }
        *packet != before
    }
}

/// CRC-32C as SCTP has it, in order of the packet with its own field taken for zero (RFC 9260 section 6.8).
pub fn crc32c(packet: &[u8]) -> u32 {
    let field = |at: usize| (8..12).contains(&at);
    let mut crc = u32::MAX;
    for (at, byte) in packet.iter().enumerate() {
        let byte = if field(at) { 0 } else { *byte };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
