//! What one echo peer did, counted; also when it last did something.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Written by the tasks of a peer, read by its watchdog and by `GET /peers/{id}/stats`.
#[derive(Debug)]
pub(crate) struct Counters {
    started: Instant,
    last_activity_ms: AtomicU64,
    messages_in: AtomicU64,
    message_bytes_in: AtomicU64,
    messages_out: AtomicU64,
    message_bytes_out: AtomicU64,
    rtp_in: AtomicU64,
    rtp_out: AtomicU64,
    rtp_not_echoed: AtomicU64,
    rtp_resent: AtomicU64,
    rtp_asked_again: AtomicU64,
    key_frames_asked: AtomicU64,
}

/// A reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Reading {
    pub(crate) messages_in: u64,
    pub(crate) message_bytes_in: u64,
    pub(crate) messages_out: u64,
    pub(crate) message_bytes_out: u64,
    /// RTP packets that came, repetitions included.
    pub(crate) rtp_in: u64,
    /// RTP packets sent back.
    pub(crate) rtp_out: u64,
    /// RTP packets that did not go back: padding, repetitions, other layers of a simulcast, no room.
    pub(crate) rtp_not_echoed: u64,
    /// RTP packets the peer asked for again and got.
    pub(crate) rtp_resent: u64,
    /// RTP packets asked of the peer again.
    pub(crate) rtp_asked_again: u64,
    /// Key frames asked of the peer.
    pub(crate) key_frames_asked: u64,
}

impl Counters {
    pub(crate) fn new(now: Instant) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            started: now,
            last_activity_ms: zero(),
            messages_in: zero(),
            message_bytes_in: zero(),
            messages_out: zero(),
            message_bytes_out: zero(),
            rtp_in: zero(),
            rtp_out: zero(),
            rtp_not_echoed: zero(),
            rtp_resent: zero(),
            rtp_asked_again: zero(),
            key_frames_asked: zero(),
        }
    }

    /// Notes that the peer did more than prove that it lives.
    fn touch(&self) {
        self.last_activity_ms.fetch_max(self.started.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long there was neither a message nor an RTP packet.
    pub(crate) fn idle(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last_activity_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.started).saturating_sub(last)
    }

    pub(crate) fn message_in(&self, bytes: usize) {
        self.touch();
        add(&self.messages_in, 1);
        add(&self.message_bytes_in, bytes as u64);
    }

    pub(crate) fn message_out(&self, bytes: usize) {
        self.touch();
        add(&self.messages_out, 1);
        add(&self.message_bytes_out, bytes as u64);
    }

    pub(crate) fn rtp_in(&self) {
        self.touch();
        add(&self.rtp_in, 1);
    }

    pub(crate) fn rtp_out(&self) {
        add(&self.rtp_out, 1);
    }

    pub(crate) fn rtp_not_echoed(&self) {
        add(&self.rtp_not_echoed, 1);
    }

    pub(crate) fn rtp_resent(&self) {
        add(&self.rtp_resent, 1);
    }

    pub(crate) fn rtp_asked_again(&self, packets: usize) {
        add(&self.rtp_asked_again, packets as u64);
    }

    pub(crate) fn key_frame_asked(&self) {
        add(&self.key_frames_asked, 1);
    }

    pub(crate) fn read(&self) -> Reading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reading {
            messages_in: get(&self.messages_in),
            message_bytes_in: get(&self.message_bytes_in),
            messages_out: get(&self.messages_out),
            message_bytes_out: get(&self.message_bytes_out),
            rtp_in: get(&self.rtp_in),
            rtp_out: get(&self.rtp_out),
            rtp_not_echoed: get(&self.rtp_not_echoed),
            rtp_resent: get(&self.rtp_resent),
            rtp_asked_again: get(&self.rtp_asked_again),
            key_frames_asked: get(&self.key_frames_asked),
        }
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_idle_from_its_last_message_or_packet() {
        let start = Instant::now();
        let counters = Counters::new(start);
        let minute = Duration::from_secs(60);
        assert_eq!(counters.idle(start + minute), minute);
        counters.last_activity_ms.store(20_000, Ordering::Relaxed);
        assert_eq!(counters.idle(start + minute), Duration::from_secs(40));
        assert_eq!(counters.idle(start), Duration::ZERO);
    }

    #[test]
    fn messages_and_packets_are_counted_apart() {
        let counters = Counters::new(Instant::now());
        counters.message_in(3);
        counters.message_out(3);
        counters.rtp_in();
        let reading = counters.read();
        assert_eq!((reading.messages_in, reading.message_bytes_out, reading.rtp_in), (1, 3, 1));
        assert_eq!(reading.rtp_out, 0);
    }
}
