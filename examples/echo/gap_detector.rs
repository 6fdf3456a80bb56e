//! Which RTP packets of an incoming stream were lost, and when to ask for them (RFC 4585 section 6.2.1).
//! Bounded in memory, in time and in requests.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Times one packet is asked for.
const MAX_REQUESTS: u8 = 4;
/// How long a packet may be late before it is asked for: it may only be reordered.
const REORDERING: Duration = Duration::from_millis(10);
/// How long the answer may take before the next request.
const RETRY: Duration = Duration::from_millis(100);
/// Missing packets followed at once; a larger hole is no loss that packets sent again could mend.
const MAX_MISSING: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Missing {
    sequence_number: u16,
    requests: u8,
    due: Instant,
}

/// What a packet tells of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next, or the first.
    Next,
    /// That many before it are missing.
    Gap(u16),
    /// One that was missing.
    Recovered,
    /// One that came before, or so late that it was given up.
    Late,
    /// So far from the others that a new beginning is more likely.
    Restart,
}

/// The state of one stream.
#[derive(Debug, Default)]
pub(crate) struct GapDetector {
    highest: Option<u16>,
    missing: VecDeque<Missing>,
    lost: u64,
}

impl GapDetector {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes note of a packet.
    pub(crate) fn on_packet(&mut self, now: Instant, sequence_number: u16) -> Arrival {
        let Some(highest) = self.highest else {
            self.highest = Some(sequence_number);
            return Arrival::Next;
        };
        // RFC 3550 appendix A.1: distances modulo 2^16, the nearer way round.
        let ahead = sequence_number.wrapping_sub(highest);
        if ahead == 0 || ahead >= 0x8000 {
            return self.on_older(highest, sequence_number);
        }
        self.highest = Some(sequence_number);
        let gap = ahead - 1;
        if usize::from(gap) > MAX_MISSING {
            self.give_up_all();
            return Arrival::Restart;
        }
        for offset in 1..=gap {
            if self.missing.len() >= MAX_MISSING {
                self.missing.pop_front();
                self.lost += 1;
            }
            let sequence_number = highest.wrapping_add(offset);
            self.missing.push_back(Missing { sequence_number, requests: 0, due: now + REORDERING });
        }
        if gap == 0 { Arrival::Next } else { Arrival::Gap(gap) }
    }

    fn on_older(&mut self, highest: u16, sequence_number: u16) -> Arrival {
        if let Some(index) = self.missing.iter().position(|entry| entry.sequence_number == sequence_number) {
            self.missing.remove(index);
            return Arrival::Recovered;
        }
        if usize::from(highest.wrapping_sub(sequence_number)) > MAX_MISSING * 4 {
            self.highest = Some(sequence_number);
            self.give_up_all();
            return Arrival::Restart;
        }
        Arrival::Late
    }

    fn give_up_all(&mut self) {
        self.lost += self.missing.len() as u64;
        self.missing.clear();
    }

    /// When [`requests`](Self::requests) has something to say.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.missing.iter().map(|entry| entry.due).min()
    }

    /// The numbers to ask for now. What was asked for often enough is given up.
    pub(crate) fn requests(&mut self, now: Instant) -> Vec<u16> {
        let mut numbers = Vec::new();
        let before = self.missing.len();
        self.missing.retain_mut(|entry| {
            if entry.due > now {
                return true;
            }
            if entry.requests >= MAX_REQUESTS {
                return false;
            }
            entry.requests += 1;
            entry.due = now + RETRY;
            numbers.push(entry.sequence_number);
            true
        });
        self.lost += (before - self.missing.len()) as u64;
        numbers
    }

    /// Packets that never came.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "the one instant that the others are computed from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_gap_is_asked_for_several_times_and_then_given_up() {
        let mut now = start();
        let mut gaps = GapDetector::new();
        assert_eq!(gaps.on_packet(now, 10), Arrival::Next);
        assert_eq!(gaps.on_packet(now, 13), Arrival::Gap(2));
        assert_eq!(gaps.requests(now), Vec::<u16>::new());
        assert_eq!(gaps.next_due(), Some(now + REORDERING));
        now += REORDERING;
        for _ in 0..MAX_REQUESTS {
            assert_eq!((gaps.requests(now), gaps.lost()), (vec![11, 12], 0));
            assert_eq!(gaps.requests(now), Vec::<u16>::new());
            now += RETRY;
        }
        assert_eq!(gaps.requests(now), Vec::<u16>::new());
        assert_eq!((gaps.next_due(), gaps.lost()), (None, 2));
    }

    #[test]
    fn a_reordered_packet_is_not_asked_for() {
        let now = start();
        let mut gaps = GapDetector::new();
        gaps.on_packet(now, 1);
        gaps.on_packet(now, 3);
        assert_eq!(gaps.on_packet(now, 2), Arrival::Recovered);
        assert_eq!(gaps.requests(now + REORDERING), Vec::<u16>::new());
        assert_eq!(gaps.on_packet(now, 2), Arrival::Late);
        assert_eq!(gaps.on_packet(now, 3), Arrival::Late);
        assert_eq!(gaps.on_packet(now, 4), Arrival::Next);
        assert_eq!(gaps.lost(), 0);
    }

    #[test]
    fn numbers_wrap_around() {
        let now = start();
        let mut gaps = GapDetector::new();
        gaps.on_packet(now, 65_534);
        assert_eq!(gaps.on_packet(now, 1), Arrival::Gap(2));
        assert_eq!(gaps.requests(now + REORDERING), [65_535, 0]);
        assert_eq!(gaps.on_packet(now, 0), Arrival::Recovered);
        assert_eq!(gaps.on_packet(now, 65_535), Arrival::Recovered);
        assert_eq!(gaps.next_due(), None);
    }

    #[test]
    fn memory_is_bounded_and_a_jump_is_a_new_beginning() {
        let now = start();
        let mut gaps = GapDetector::new();
        gaps.on_packet(now, 0);
        assert_eq!(gaps.on_packet(now, 200), Arrival::Gap(199));
        assert_eq!(gaps.on_packet(now, 400), Arrival::Gap(199));
        assert_eq!(gaps.missing.len(), MAX_MISSING);
        assert_eq!(gaps.lost(), 398 - MAX_MISSING as u64);
        assert_eq!(gaps.on_packet(now, 2_000), Arrival::Restart);
        assert!(gaps.missing.is_empty());
        assert_eq!(gaps.on_packet(now, 500), Arrival::Restart);
        assert_eq!(gaps.on_packet(now, 501), Arrival::Next);
    }
}
