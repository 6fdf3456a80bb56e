//! What is known of one received stream: loss, order, jitter (RFC 3550 appendices A.1, A.3, A.8). Runs on the
//! network task; answers to libwebrtc's `modules/rtp_rtcp/source/receive_statistics_impl.h`.

use std::time::Instant;

use crate::rtcp_packet::ReportBlock;

/// A gap beyond this is a stream that began anew (RFC 3550 appendix A.1).
const MAX_DROPOUT: u16 = 3000;
/// So many packets late is still order (RFC 3550 appendix A.1).
const MAX_MISORDER: u16 = 100;
/// A difference of transit times beyond this is a jump of the timestamps, not jitter (libwebrtc: 5 s of video).
const MAX_TRANSIT_DIFFERENCE: u64 = 450_000;

/// Statistics of one received stream. Only for packets that were authenticated: there is no probation.
#[derive(Debug, Clone)]
pub struct StreamStatistician {
    clock_rate: u32,
    base: u64,
    /// Highest sequence number, roll-overs above 16 bits.
    highest: u64,
    /// A jump was seen: the next in row after it confirms that the stream began anew.
    restart_at: Option<u16>,
    /// Packets since `base`, duplicates included (RFC 3550 section 6.4.1).
    received: u64,
    /// Of the last report.
    prior: (u64, u64),
    /// Lost before the stream began anew.
    lost_before: i64,
    first_arrival: Instant,
    last_arrival: Instant,
    last_transit: Option<u32>,
    last_timestamp: u32,
    /// In 16ths.
    jitter_q4: u64,
}

impl StreamStatistician {
    /// Statistics from a stream's first packet on.
    pub fn new(now: Instant, clock_rate: u32, sequence_number: u16, timestamp: u32) -> Self {
        let base = u64::from(sequence_number);
        let mut statistician = Self {
            clock_rate,
            base,
            highest: base,
            restart_at: None,
            received: 1,
            prior: (0, 0),
            lost_before: 0,
            first_arrival: now,
            last_arrival: now,
            last_transit: None,
            last_timestamp: timestamp,
            jitter_q4: 0,
        };
        statistician.last_transit = Some(statistician.transit(now, timestamp));
        statistician
    }

    /// The payload's clock changed: what was measured in the old one is forgotten.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        if self.clock_rate != clock_rate {
            self.clock_rate = clock_rate;
            self.last_transit = None;
            self.jitter_q4 = 0;
        }
    }

    /// Counts a packet.
    pub fn on_packet(&mut self, now: Instant, sequence_number: u16, timestamp: u32) {
        let delta = sequence_number.wrapping_sub(self.highest as u16);
        self.last_arrival = now;
        if delta == 0 {
            self.received += 1;
        } else if delta < MAX_DROPOUT {
            self.restart_at = None;
            self.highest += u64::from(delta);
            self.received += 1;
            self.update_jitter(now, timestamp);
        } else if delta > u16::MAX - MAX_MISORDER {
            // Late: counted, its transit time says nothing (libwebrtc).
            self.received += 1;
            let behind = u64::from(delta.wrapping_neg());
            self.base = self.base.min(self.highest.saturating_sub(behind));
        } else if self.restart_at == Some(sequence_number) {
            self.restart(now, sequence_number, timestamp);
        } else {
            self.restart_at = Some(sequence_number.wrapping_add(1));
        }
    }

    fn restart(&mut self, now: Instant, sequence_number: u16, timestamp: u32) {
        self.lost_before = self.cumulative_lost();
        let (first_arrival, lost_before, clock_rate) =
            (self.first_arrival, self.lost_before, self.clock_rate);
        *self = Self::new(now, clock_rate, sequence_number, timestamp);
        self.first_arrival = first_arrival;
        self.lost_before = lost_before;
    }

    /// Arrival in the stream's clock less the timestamp; only differences of it mean something.
    fn transit(&self, now: Instant, timestamp: u32) -> u32 {
        let since = now.saturating_duration_since(self.first_arrival).as_nanos();
        let units = since.wrapping_mul(u128::from(self.clock_rate)) / 1_000_000_000;
        (units as u32).wrapping_sub(timestamp)
    }

    /// RFC 3550 appendix A.8. Packets of one frame share a timestamp and say nothing of jitter (libwebrtc).
    fn update_jitter(&mut self, now: Instant, timestamp: u32) {
        if timestamp == self.last_timestamp && self.last_transit.is_some() {
            return;
        }
        self.last_timestamp = timestamp;
        let transit = self.transit(now, timestamp);
        let last = self.last_transit.replace(transit);
        let Some(last) = last else { return };
        let difference = u64::from((transit.wrapping_sub(last) as i32).unsigned_abs());
        if difference < MAX_TRANSIT_DIFFERENCE {
            let (jitter, difference) = (self.jitter_q4 as i64, (difference << 4) as i64);
            // Rounded to the nearest.
            let change = (difference - jitter + 8) >> 4;
            self.jitter_q4 = (jitter + change).max(0) as u64;
        }
    }

    /// Packets there should be since the stream began (RFC 3550 appendix A.3).
    pub fn expected(&self) -> u64 {
        self.highest - self.base + 1
    }

    /// Packets lost; negative when duplicates outnumber them.
    pub fn cumulative_lost(&self) -> i64 {
        self.lost_before + self.expected() as i64 - self.received as i64
    }

    /// Jitter in the stream's clock.
    pub fn jitter(&self) -> u32 {
        u32::try_from(self.jitter_q4 >> 4).unwrap_or(u32::MAX)
    }

    /// Jitter in seconds.
    pub fn jitter_seconds(&self) -> f64 {
        if self.clock_rate == 0 { 0.0 } else { f64::from(self.jitter()) / f64::from(self.clock_rate) }
    }

    /// When the last packet came in.
    pub fn last_arrival(&self) -> Instant {
        self.last_arrival
    }

    /// Highest sequence number received, roll-overs in the upper half.
    pub fn extended_highest_sequence_number(&self) -> u32 {
        self.highest as u32
    }

    /// A report block, and the beginning of the next interval (RFC 3550 appendix A.3). The caller adds what it
    /// knows of sender reports.
    pub fn report(&mut self, ssrc: u32) -> ReportBlock {
        let (expected, received) = (self.expected(), self.received);
        let (expected_before, received_before) = std::mem::replace(&mut self.prior, (expected, received));
        let expected_now = expected.saturating_sub(expected_before);
        let lost_now = expected_now.saturating_sub(received.saturating_sub(received_before));
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        ReportBlock {
            ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: self.cumulative_lost().clamp(-0x80_0000, 0x7F_FFFF) as i32,
            extended_highest_sequence_number: self.extended_highest_sequence_number(),
            jitter: self.jitter(),
            last_sr: 0,
            delay_since_last_sr: 0,
        }
    }
}

#[cfg(test)]
#[path = "receive_statistics_tests.rs"]
mod tests;
