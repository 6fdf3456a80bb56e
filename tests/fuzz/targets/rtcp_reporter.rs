//! RtcpReporter and the receive statistics below it: any RTP and RTCP, in any order and at any time, gives reports
//! that can be read and numbers that add up; what waits is bounded.

#![no_main]

use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use peerstack_base::{Random, WallClock};
use peerstack_fuzz::{Input, origin};
use peerstack_media::{
    MAX_STREAMS, MediaKind, RtcpConfig, RtcpEvent, RtcpReporter, RtpPacketInfo, StreamStatistician,
    rtcp_packets,
};

#[derive(Debug)]
struct Date;

impl WallClock for Date {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }
}

const RATES: [u32; 5] = [90_000, 48_000, 8_000, 0, u32::MAX];

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let mut now = origin();
    let mut reporter = RtcpReporter::new(now, RtcpConfig::default(), &Date, Random::from_seed(3));
    let mut alone: Option<StreamStatistician> = None;
    let (mut received, mut compounds) = (0, 0);
    while !input.is_empty() {
        let kind = if input.flag() { MediaKind::Audio } else { MediaKind::Video };
        match input.byte() % 12 {
            0..=3 => {
                let packet = info(&mut input);
                let rate = RATES[input.below(5)];
                reporter.on_rtp_received(now, &packet, kind, rate);
                received += 1;
                let (number, timestamp) = (packet.sequence_number, packet.timestamp);
                match &mut alone {
                    Some(alone) => alone.on_packet(now, number, timestamp),
                    None => alone = Some(StreamStatistician::new(now, rate, number, timestamp)),
                }
            }
            4 => reporter.on_rtp_sent(now, &info(&mut input)),
            5 => {
                reporter.add_sender(u32::from(input.byte() % 4), kind, RATES[input.below(5)]);
            }
            6 => match input.flag() {
                true => reporter.remove_sender(u32::from(input.byte() % 4)),
                false => reporter.remove_receiver(u32::from(input.byte() % 4)),
            },
            7..=9 => {
                reporter.on_rtcp_received(now, input.chunk());
                compounds += 1;
                assert_eq!(reporter.counters().received, compounds);
            }
            10 => now += Duration::from_millis(u64::from(input.u16()) * 7),
            _ => {
                reporter.handle_timeout(now);
                assert!(reporter.next_timeout().is_none_or(|at| at > now));
            }
        }
        drain(&mut reporter, input.flag());
        if let Some(alone) = &mut alone {
            assert!(alone.expected() > 0);
            let report = alone.report(7);
            assert!(
                i64::from(report.cumulative_lost) == alone.cumulative_lost().clamp(-0x80_0000, 0x7F_FFFF)
            );
            assert!(alone.jitter_seconds() >= 0.0);
        }
    }
    assert!(reporter.counters().malformed <= compounds);
    let inbound: u64 = reporter.inbound().map(|stats| stats.received.packets).sum();
    assert!(inbound + reporter.counters().too_many_streams <= received);
    assert!(reporter.inbound().count() <= MAX_STREAMS);
    assert!(reporter.outbound().count() <= 4);
    let _ = (reporter.remote_outbound().count(), reporter.remote_inbound().count(), reporter.remote_cname(1));
});

fn info(input: &mut Input<'_>) -> RtpPacketInfo {
    RtpPacketInfo {
        ssrc: u32::from(input.byte() % 4),
        sequence_number: input.u16(),
        timestamp: input.u32(),
        header_len: 12,
        payload_len: usize::from(input.byte()),
        padding_len: 0,
        retransmission: input.byte() % 8 == 0,
    }
}

fn drain(reporter: &mut RtcpReporter, all: bool) {
    let mut waiting = 0;
    while let Some(packet) = reporter.poll_rtcp() {
        waiting += 1;
        assert!(packet.len() <= 1400 && packet.len() % 4 == 0);
        assert!(rtcp_packets(&packet).all(|packet| packet.is_ok()), "our reports can be read");
    }
    assert!(waiting <= 256);
    while all && let Some(event) = reporter.poll_event() {
        if let RtcpEvent::Nack { sequence_numbers, .. } = event {
            assert!(sequence_numbers.len() <= 17 * 0x1_0000);
        }
    }
}
