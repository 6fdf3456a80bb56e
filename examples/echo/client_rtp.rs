//! The client's RTP: packets out at an even pace, counted as they come back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use peerstack::base::Random;
use peerstack::{RtcpFeedback, RtpPacket, RtpTransceiver, TrackKind};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Packets sent on each transceiver.
const PACKETS: u16 = 300;
/// One packet each.
const PACE: Duration = Duration::from_millis(5);
/// Nothing more after so long of silence at the end.
const TAIL: Duration = Duration::from_millis(1_000);
/// Nor after so long altogether: a server that makes RTP of its own never falls silent.
const LONGEST_TAIL: Duration = Duration::from_secs(3);
/// Opus, 20 ms of silence (RFC 6716): what a server that decodes can decode.
const OPUS_SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// What came of it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RtpReport {
    pub(crate) sent: u64,
    /// RTP packets that came, whatever they hold.
    pub(crate) came: u64,
    /// Those of them that equal one that was sent, each counted once.
    pub(crate) equal: u64,
    /// Sent again since the peer asked.
    pub(crate) resent: u64,
    pub(crate) median_round_trip: Option<Duration>,
}

impl RtpReport {
    /// Packets that did not come back.
    pub(crate) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.equal)
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            came: self.came + other.came,
            equal: self.equal + other.equal,
            resent: self.resent + other.resent,
            median_round_trip: self.median_round_trip.max(other.median_round_trip),
        }
    }
}

/// Sends on a transceiver and counts what comes back. `None` if the section was not negotiated both ways.
pub(crate) async fn exchange(transceiver: &RtpTransceiver, random: &mut Random) -> Option<RtpReport> {
    let both = transceiver.current_direction().is_some_and(|way| way.sends() && way.receives());
    let payload_type = transceiver.sender().codecs().first()?.payload_type;
    if !both {
        return None;
    }
    let mut exchange = Exchange::new(transceiver, payload_type, random);
    exchange.run().await;
    Some(exchange.finish())
}

struct Exchange<'a> {
    transceiver: &'a RtpTransceiver,
    payload_type: u8,
    first_number: u16,
    first_timestamp: u32,
    random: &'a mut Random,
    on_the_way: BTreeMap<u16, (RtpPacket, Instant)>,
    round_trips: Vec<Duration>,
    report: RtpReport,
}

impl<'a> Exchange<'a> {
    fn new(transceiver: &'a RtpTransceiver, payload_type: u8, random: &'a mut Random) -> Self {
        Self {
            transceiver,
            payload_type,
            first_number: random.below(1 << 16) as u16,
            first_timestamp: random.u32(),
            random,
            on_the_way: BTreeMap::new(),
            round_trips: Vec::new(),
            report: RtpReport::default(),
        }
    }

    fn packet(&mut self, index: u16) -> RtpPacket {
        let audio = self.transceiver.kind() == TrackKind::Audio;
        let payload = if audio {
            Bytes::from_static(&OPUS_SILENCE)
        } else {
            let mut payload = vec![0; 200 + self.random.below(900) as usize];
            self.random.fill(&mut payload);
            Bytes::from(payload)
        };
        // 20 ms of audio at 48 kHz; a frame of video at 90 kHz and 30 frames a second.
        let step = if audio { 960 } else { 3_000 };
        RtpPacket {
            payload_type: self.payload_type,
            marker: !audio,
            sequence_number: self.first_number.wrapping_add(index),
            timestamp: self.first_timestamp.wrapping_add(u32::from(index) * step),
            payload,
            ..RtpPacket::default()
        }
    }

    async fn run(&mut self) {
        let (track, sender) = (self.transceiver.receiver().track(), self.transceiver.sender());
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut next = 0;
        while next < PACKETS {
            tokio::select! {
                _ = pace.tick() => {
                    let packet = self.packet(next);
                    next += 1;
                    self.send(packet);
                }
                packet = track.recv() => match packet {
                    Some(packet) => self.on_packet(packet),
                    None => return,
                },
                Some(feedback) = sender.next_feedback() => self.on_feedback(feedback),
            }
        }
        // What is on the way by then is lost, and shows as that.
        let _ = timeout(LONGEST_TAIL, self.tail()).await;
    }

    async fn tail(&mut self) {
        let (track, sender) = (self.transceiver.receiver().track(), self.transceiver.sender());
        while !self.on_the_way.is_empty() {
            let turn = async {
                tokio::select! {
                    packet = track.recv() => packet.map(|packet| self.on_packet(packet)),
                    Some(feedback) = sender.next_feedback() => {
                        self.on_feedback(feedback);
                        Some(())
                    }
                }
            };
            if !matches!(timeout(TAIL, turn).await, Ok(Some(()))) {
                return;
            }
        }
    }

    fn send(&mut self, packet: RtpPacket) {
        self.report.sent += 1;
        self.on_the_way.insert(packet.sequence_number, (packet.clone(), Instant::now()));
        // What cannot be sent is lost, and shows as that.
        let _ = self.transceiver.sender().send_rtp(packet);
    }

    fn on_packet(&mut self, packet: RtpPacket) {
        self.report.came += 1;
        let Some((sent, at)) = self.on_the_way.get(&packet.sequence_number) else { return };
        let equal = sent.payload == packet.payload
            && sent.timestamp == packet.timestamp
            && sent.payload_type == packet.payload_type
            && sent.marker == packet.marker;
        if equal {
            self.report.equal += 1;
            self.round_trips.push(at.elapsed());
            self.on_the_way.remove(&packet.sequence_number);
        }
    }

    fn on_feedback(&mut self, feedback: RtcpFeedback) {
        let RtcpFeedback::Nack { sequence_numbers, .. } = feedback else { return };
        for number in sequence_numbers {
            if let Some((packet, _)) = self.on_the_way.get(&number) {
                self.report.resent += u64::from(self.transceiver.sender().send_rtp(packet.clone()).is_ok());
            }
        }
    }

    fn finish(mut self) -> RtpReport {
        self.round_trips.sort_unstable();
        self.report.median_round_trip = self.round_trips.get(self.round_trips.len() / 2).copied();
        self.report
    }
}
