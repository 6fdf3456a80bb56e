//! What the reporter knows of one stream.

use std::time::{Duration, Instant};

use crate::ntp_time::{NtpTime, compact_duration};
use crate::receive_statistics::StreamStatistician;
use crate::rtcp_packet::{ReportBlock, SenderInfo};
use crate::rtp_statistics::{
    FeedbackCounter, InboundRtpStats, MediaKind, OutboundRtpStats, RemoteInboundRtpStats,
    RemoteOutboundRtpStats, RtpPacketInfo, StreamCounter,
};

/// The last report block the peer sent of a stream of ours.
#[derive(Debug, Clone, Copy)]
struct RemoteReport {
    block: ReportBlock,
    at: Instant,
    round_trip_time: Option<Duration>,
    total_round_trip_time: Duration,
    measurements: u64,
}

/// A stream we send.
#[derive(Debug)]
pub(super) struct SendStream {
    pub(super) kind: MediaKind,
    clock_rate: u32,
    sent: StreamCounter,
    /// What of it was sent again.
    retransmitted: StreamCounter,
    /// When the last packet was sent, and its timestamp.
    last: Option<(Instant, u32)>,
    /// Sequence number of the first packet sent.
    first: Option<u16>,
    sends: bool,
    pub(super) feedback: FeedbackCounter,
    /// Last full intra request: who asked, and its number.
    pub(super) last_fir: Option<(u32, u8)>,
    remote: Option<RemoteReport>,
}

impl SendStream {
    pub(super) fn new(kind: MediaKind, clock_rate: u32) -> Self {
        Self {
            kind,
            clock_rate,
            sent: StreamCounter::default(),
            retransmitted: StreamCounter::default(),
            last: None,
            first: None,
            sends: false,
            feedback: FeedbackCounter::default(),
            last_fir: None,
            remote: None,
        }
    }

    pub(super) fn set(&mut self, kind: MediaKind, clock_rate: u32) {
        (self.kind, self.clock_rate) = (kind, clock_rate);
    }

    /// Whether packets went out, and none said goodbye since.
    pub(super) fn sends(&self) -> bool {
        self.sends
    }

    /// Whether it sent, and sends no more.
    pub(super) fn said_goodbye(&self) -> bool {
        self.last.is_some() && !self.sends
    }

    /// No packet is to come. Whether any came so far.
    pub(super) fn stop(&mut self) -> bool {
        std::mem::take(&mut self.sends)
    }

    pub(super) fn on_sent(&mut self, now: Instant, packet: &RtpPacketInfo) {
        self.sends = true;
        self.sent.add(packet);
        if packet.retransmission {
            self.retransmitted.add(packet);
        }
        self.first.get_or_insert(packet.sequence_number);
        // An old timestamp sent now says nothing of the clock.
        if !packet.retransmission || self.last.is_none() {
            self.last = Some((now, packet.timestamp));
        }
    }

    /// The RTP timestamp of now is the last packet's, and what passed since (RFC 3550 section 6.4.1).
    pub(super) fn sender_info(&self, now: Instant, ntp: NtpTime) -> SenderInfo {
        let rtp_timestamp = self.last.map_or(0, |(at, timestamp)| {
            let passed = now.saturating_duration_since(at).as_nanos() * u128::from(self.clock_rate);
            timestamp.wrapping_add((passed / 1_000_000_000) as u32)
        });
        SenderInfo {
            ntp,
            rtp_timestamp,
            packet_count: self.sent.packets as u32,
            octet_count: self.sent.payload_bytes as u32,
        }
    }

    pub(super) fn on_report(&mut self, now: Instant, block: ReportBlock, round_trip_time: Option<Duration>) {
        let before = self.remote;
        self.remote = Some(RemoteReport {
            block,
            at: now,
            round_trip_time: round_trip_time.or(before.and_then(|before| before.round_trip_time)),
            total_round_trip_time: before.map_or(Duration::ZERO, |before| before.total_round_trip_time)
                + round_trip_time.unwrap_or_default(),
            measurements: before.map_or(0, |before| before.measurements)
                + u64::from(round_trip_time.is_some()),
        });
    }

    pub(super) fn outbound(&self, ssrc: u32) -> OutboundRtpStats {
        let (sent, retransmitted) = (self.sent, self.retransmitted);
        OutboundRtpStats { ssrc, kind: self.kind, sent, retransmitted, feedback: self.feedback }
    }

    pub(super) fn remote_inbound(&self, ssrc: u32) -> Option<RemoteInboundRtpStats> {
        let remote = self.remote?;
        let clock_rate = f64::from(self.clock_rate.max(1));
        let highest = remote.block.extended_highest_sequence_number;
        let expected = highest.wrapping_sub(u32::from(self.first.unwrap_or_default())).wrapping_add(1);
        let received = i64::from(expected) - i64::from(remote.block.cumulative_lost);
        Some(RemoteInboundRtpStats {
            ssrc,
            kind: self.kind,
            // A peer that counted from elsewhere must not make up packets that were never sent.
            packets_received: u64::try_from(received).unwrap_or_default().min(self.sent.packets),
            packets_lost: remote.block.cumulative_lost,
            fraction_lost: f64::from(remote.block.fraction_lost) / 256.0,
            jitter: f64::from(remote.block.jitter) / clock_rate,
            round_trip_time: remote.round_trip_time,
            total_round_trip_time: remote.total_round_trip_time,
            round_trip_time_measurements: remote.measurements,
            received_at: remote.at,
        })
    }
}

/// The last sender report of a stream we receive.
#[derive(Debug, Clone, Copy)]
struct LastSenderReport {
    info: SenderInfo,
    at: Instant,
    reports: u64,
}

/// A stream we receive.
#[derive(Debug)]
pub(super) struct ReceiveStream {
    pub(super) kind: MediaKind,
    statistics: StreamStatistician,
    received: StreamCounter,
    pub(super) feedback: FeedbackCounter,
    /// Number of the next full intra request.
    pub(super) next_fir: u8,
    last_sr: Option<LastSenderReport>,
    pub(super) cname: Option<String>,
}

impl ReceiveStream {
    pub(super) fn new(now: Instant, packet: &RtpPacketInfo, kind: MediaKind, clock_rate: u32) -> Self {
        let statistics = StreamStatistician::new(now, clock_rate, packet.sequence_number, packet.timestamp);
        let mut received = StreamCounter::default();
        received.add(packet);
        Self {
            kind,
            statistics,
            received,
            feedback: FeedbackCounter::default(),
            next_fir: 0,
            last_sr: None,
            cname: None,
        }
    }

    pub(super) fn on_received(
        &mut self,
        now: Instant,
        packet: &RtpPacketInfo,
        kind: MediaKind,
        clock_rate: u32,
    ) {
        self.kind = kind;
        self.received.add(packet);
        self.statistics.set_clock_rate(clock_rate);
        self.statistics.on_packet(now, packet.sequence_number, packet.timestamp);
    }

    pub(super) fn on_sender_report(&mut self, now: Instant, info: SenderInfo) {
        let reports = self.last_sr.map_or(0, |last| last.reports) + 1;
        self.last_sr = Some(LastSenderReport { info, at: now, reports });
    }

    pub(super) fn heard_since(&self, now: Instant, silence: Duration) -> bool {
        now.saturating_duration_since(self.statistics.last_arrival()) < silence
    }

    pub(super) fn last_arrival(&self) -> Instant {
        self.statistics.last_arrival()
    }

    /// A report block, and the beginning of the next interval.
    pub(super) fn report(&mut self, now: Instant, ssrc: u32) -> ReportBlock {
        let block = self.statistics.report(ssrc);
        match self.last_sr {
            None => block,
            Some(last) => ReportBlock {
                last_sr: last.info.ntp.compact(),
                delay_since_last_sr: compact_duration(now.saturating_duration_since(last.at)),
                ..block
            },
        }
    }

    pub(super) fn inbound(&self, ssrc: u32) -> InboundRtpStats {
        InboundRtpStats {
            ssrc,
            kind: self.kind,
            received: self.received,
            packets_lost: self.statistics.cumulative_lost(),
            jitter: self.statistics.jitter_seconds(),
            last_packet_received: self.statistics.last_arrival(),
            feedback: self.feedback,
        }
    }

    pub(super) fn remote_outbound(&self, ssrc: u32) -> Option<RemoteOutboundRtpStats> {
        let last = self.last_sr?;
        Some(RemoteOutboundRtpStats {
            ssrc,
            kind: self.kind,
            packets_sent: last.info.packet_count,
            bytes_sent: last.info.octet_count,
            remote_timestamp: last.info.ntp.to_system_time(),
            received_at: last.at,
            reports: last.reports,
        })
    }
}
