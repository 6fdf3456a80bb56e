//! Application data that waits to be read. Owned by the transport.

use std::collections::VecDeque;

/// Application data that waits to be read, in bytes; what comes beyond it is lost, as on a network.
pub(crate) const MAX_PENDING_DATA: usize = 1 << 20;

/// Application data that waits to be read: records one behind another.
#[derive(Debug, Default)]
pub(crate) struct PendingData {
    bytes: Vec<u8>,
    lengths: VecDeque<usize>,
    read: usize,
}

impl PendingData {
    /// Keeps a record; `false` if too much waits.
    pub(crate) fn push(&mut self, record: &[u8]) -> bool {
        if self.bytes.len() - self.read + record.len() > MAX_PENDING_DATA {
            return false;
        }
        if self.lengths.is_empty() {
            self.clear();
        }
        self.bytes.extend_from_slice(record);
        self.lengths.push_back(record.len());
        true
    }

    /// The next record.
    pub(crate) fn pop(&mut self) -> Option<&[u8]> {
        let length = self.lengths.pop_front()?;
        let start = self.read;
        self.read += length;
        self.bytes.get(start..self.read)
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lengths.clear();
        self.read = 0;
    }
}
