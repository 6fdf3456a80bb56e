//! Counting.

/// Packets and bytes, as statistics count them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, without the headers of the layers below.
    pub bytes: u64,
}

impl Counter {
    /// Counts one packet of `bytes` bytes.
    pub fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}
