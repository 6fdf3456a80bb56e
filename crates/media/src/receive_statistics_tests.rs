use std::time::Duration;

use super::*;
use crate::test_util::start;

const CLOCK: u32 = 90_000;

fn after(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// RFC 3550 appendix A.3: expected, lost, and the fraction of the last interval.
#[test]
fn loss_is_counted_for_the_stream_and_the_interval() {
    let now = start();
    let mut stream = StreamStatistician::new(now, CLOCK, 65_530, 0);
    for i in 1..100u16 {
        if i % 4 != 0 {
            stream.on_packet(now, 65_530u16.wrapping_add(i), 0);
        }
    }
    assert_eq!((stream.expected(), stream.cumulative_lost()), (100, 24));
    let block = stream.report(7);
    assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (7, 61, 24));
    assert_eq!(block.extended_highest_sequence_number, 0x1_0000 + 93);
    // Nothing lost in the next interval, nothing at all in the one after.
    for i in 100..110u16 {
        stream.on_packet(now, 65_530u16.wrapping_add(i), 0);
    }
    let block = stream.report(7);
    assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 24));
    assert_eq!(stream.report(7).fraction_lost, 0);
}

/// Late packets make up for the loss; duplicates make it negative (RFC 3550 section 6.4.1).
#[test]
fn late_packets_and_duplicates_count() {
    let now = start();
    let mut stream = StreamStatistician::new(now, CLOCK, 10, 0);
    stream.on_packet(now, 12, 0);
    assert_eq!(stream.cumulative_lost(), 1);
    stream.on_packet(now, 11, 0);
    assert_eq!(stream.cumulative_lost(), 0);
    stream.on_packet(now, 12, 0);
    assert_eq!((stream.cumulative_lost(), stream.report(1).cumulative_lost), (-1, -1));
}

/// RFC 3550 appendix A.1: a jump is believed when its successor comes; one stray packet changes nothing.
#[test]
fn a_stream_that_began_anew_is_followed() {
    let now = start();
    let mut stream = StreamStatistician::new(now, CLOCK, 10, 0);
    stream.on_packet(now, 12, 0);
    stream.on_packet(now, 30_000, 0);
    stream.on_packet(now, 13, 0);
    assert_eq!((stream.expected(), stream.cumulative_lost()), (4, 1));
    stream.on_packet(now, 30_000, 0);
    stream.on_packet(now, 30_001, 0);
    assert_eq!((stream.expected(), stream.cumulative_lost()), (1, 1));
    assert_eq!(stream.extended_highest_sequence_number(), 30_001);
    stream.on_packet(now, 30_003, 0);
    assert_eq!(stream.cumulative_lost(), 2);
}

/// RFC 3550 appendix A.8: a steady stream has no jitter, one whose packets come 10 ms early and late has it.
#[test]
fn jitter_is_the_mean_deviation_of_transit() {
    let now = start();
    let mut steady = StreamStatistician::new(now, CLOCK, 0, 0);
    let mut uneven = StreamStatistician::new(now, CLOCK, 0, 0);
    for i in 1..500u16 {
        let (sent, timestamp) = (20 * u64::from(i), u32::from(i) * 1800);
        steady.on_packet(now + after(sent), i, timestamp);
        uneven.on_packet(now + after(sent + 10 * u64::from(i % 2)), i, timestamp);
    }
    assert_eq!((steady.jitter(), steady.last_arrival()), (0, now + after(499 * 20)));
    // 10 ms are 900 units.
    assert!((895..=900).contains(&uneven.jitter()), "{}", uneven.jitter());
    assert!((0.0099..=0.01).contains(&uneven.jitter_seconds()));
    // Packets of one frame, and a jump of the timestamps, change nothing.
    let jitter = uneven.jitter();
    uneven.on_packet(now + after(10_500), 500, 499 * 1800);
    uneven.on_packet(now + after(10_600), 501, 0x8000_0000);
    assert_eq!(uneven.jitter(), jitter);
    uneven.set_clock_rate(48_000);
    assert_eq!(uneven.jitter(), 0);
}
