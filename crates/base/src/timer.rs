//! A small table of named timers, one `Instant` each.

use std::time::Instant;

/// The timers of one layer, indexed by a small enum cast to `usize` (after quinn's `TimerTable`).
///
/// ```
/// use peerstack_base::TimerTable;
/// use std::time::{Duration, Instant};
/// # #[expect(clippy::disallowed_methods)]
/// let now = Instant::now();
/// const PING: usize = 0;
/// let mut timers = TimerTable::<2>::default();
/// timers.set(PING, now + Duration::from_millis(48));
/// assert_eq!(timers.next_timeout(), Some(now + Duration::from_millis(48)));
/// assert!(!timers.expire(PING, now));
/// assert!(timers.expire(PING, now + Duration::from_millis(48)));
/// assert_eq!(timers.next_timeout(), None);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TimerTable<const N: usize> {
    timers: [Option<Instant>; N],
}

impl<const N: usize> Default for TimerTable<N> {
    fn default() -> Self {
        Self { timers: [None; N] }
    }
}

impl<const N: usize> TimerTable<N> {
    /// Arms a timer, replacing what it was. An index out of range is ignored.
    pub fn set(&mut self, timer: usize, at: Instant) {
        if let Some(slot) = self.timers.get_mut(timer) {
            *slot = Some(at);
        }
    }

    /// Disarms a timer.
    pub fn stop(&mut self, timer: usize) {
        if let Some(slot) = self.timers.get_mut(timer) {
            *slot = None;
        }
    }

    /// When a timer is due, if it is armed.
    pub fn get(&self, timer: usize) -> Option<Instant> {
        self.timers.get(timer).copied().flatten()
    }

    /// Whether the timer was due at `now`; if so it is disarmed.
    pub fn expire(&mut self, timer: usize, now: Instant) -> bool {
        match self.timers.get_mut(timer) {
            Some(slot) if slot.is_some_and(|at| at <= now) => {
                *slot = None;
                true
            }
            _ => false,
        }
    }

    /// The earliest of all.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.iter().flatten().min().copied()
    }
}
