//! Counts what an application has not read yet, and says when to stop and when to go on: the back-pressure between the
//! network task, which adds, and the application's task, which takes. Owned by both. No counterpart in libwebrtc,
//! whose observers cannot be slow.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes that wait on one data channel, or on all of a connection.
///
/// Whoever blocks looks at the amount once more afterwards, and whoever takes looks at the flag after it took: one of
/// the two sees the other, in any order, so nobody waits for a wake-up that was never sent. That needs one order of
/// both variables for both sides, hence `SeqCst`.
#[derive(Debug)]
pub(crate) struct UnreadGate {
    limit: usize,
    amount: AtomicUsize,
    blocked: AtomicBool,
}

impl UnreadGate {
    /// A gate that closes at `limit` bytes and opens again at half of it.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, amount: AtomicUsize::new(0), blocked: AtomicBool::new(false) }
    }

    /// Bytes that wait.
    pub(crate) fn amount(&self) -> usize {
        self.amount.load(Ordering::SeqCst)
    }

    /// More waits.
    pub(crate) fn add(&self, bytes: usize) {
        self.amount.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Whether too much waits. If so whoever takes enough will be told by [`take`](Self::take) to say so.
    pub(crate) fn block_if_full(&self) -> bool {
        if self.amount() < self.limit {
            return false;
        }
        self.blocked.store(true, Ordering::SeqCst);
        // What was taken before the flag stood was taken in silence.
        self.amount() > self.limit / 2 || !self.blocked.swap(false, Ordering::SeqCst)
    }

    /// Less waits. Whether the network task is to be told that it may go on.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let left = self.amount.fetch_sub(bytes, Ordering::SeqCst).saturating_sub(bytes);
        left <= self.limit / 2 && self.blocked.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_closes_at_the_limit_and_opens_at_half_of_it_once() {
        let gate = UnreadGate::new(100);
        gate.add(99);
        assert!(!gate.block_if_full());
        gate.add(1);
        assert!(gate.block_if_full());
        assert!(!gate.take(49));
        assert!(gate.take(1));
        assert!(!gate.take(50));
        assert_eq!(gate.amount(), 0);
        assert!(!gate.block_if_full());
    }

    /// Two threads, one adding and one taking: the one that adds is always woken.
    #[test]
    fn nobody_waits_for_ever() {
        const ROUNDS: usize = 20_000;
        let gate = &UnreadGate::new(4);
        let (wake, woken) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    gate.add(1);
                    if gate.block_if_full() {
                        woken.recv().unwrap();
                    }
                }
            });
            let mut taken = 0;
            while taken < ROUNDS {
                if gate.amount() > 0 {
                    taken += 1;
                    if gate.take(1) {
                        // Nobody is left to be woken once all was added.
                        let _ = wake.send(());
                    }
                }
                std::hint::spin_loop();
            }
        });
        assert_eq!(gate.amount(), 0);
    }
}
