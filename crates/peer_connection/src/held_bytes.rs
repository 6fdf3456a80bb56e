//! Counts the bytes of what a peer had us make and the application, or the queue of its events, still holds. Owned by the
//! network task, which adds, and by what is held, which takes off when it goes. No counterpart in libwebrtc.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is held in all.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldBytes(Arc<AtomicUsize>);

/// A part of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    all: HeldBytes,
}

impl HeldBytes {
    /// Takes so many bytes, unless more than `limit` were held then. One task alone may take.
    pub(crate) fn take(&self, bytes: usize, limit: usize) -> Option<Held> {
        if self.0.load(Ordering::Acquire) + bytes > limit {
            return None;
        }
        self.0.fetch_add(bytes, Ordering::AcqRel);
        Some(Held { bytes, all: self.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_makes_room() {
        let all = HeldBytes::default();
        let (first, second) = (all.take(60, 100), all.take(40, 100));
        assert!(first.is_some() && second.is_some() && all.take(1, 100).is_none());
        drop(second);
        assert!(all.take(41, 100).is_none() && all.take(40, 100).is_some());
    }
}
