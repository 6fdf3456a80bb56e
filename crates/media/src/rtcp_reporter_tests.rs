use std::time::SystemTime;

use peerstack_rtp_transport::RtpPacket;

use super::*;
use crate::rtcp_packet::{RtcpPacket, rtcp_packets};
use crate::rtp_statistics::FeedbackCounter;
use crate::test_util::{FixedClock, corpus, rtp, start};

const VIDEO: u32 = 90_000;

fn config() -> RtcpConfig {
    RtcpConfig { cname: "me".to_owned(), ..RtcpConfig::default() }
}

fn reporter(now: Instant) -> RtcpReporter {
    RtcpReporter::new(now, config(), &FixedClock, Random::from_seed(1))
}

fn info(ssrc: u32, sequence_number: u16, timestamp: u32) -> RtpPacketInfo {
    RtpPacketInfo::from(&RtpPacket::parse(&rtp(ssrc, sequence_number, timestamp)).unwrap())
}

fn after(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// All that is ready, and that it is well-formed and below 1,200 bytes.
fn drain(reporter: &mut RtcpReporter) -> Vec<Vec<u8>> {
    let packets: Vec<_> = std::iter::from_fn(|| reporter.poll_rtcp()).collect();
    for packet in &packets {
        assert!(packet.len() < 1200 && rtcp_packets(packet).all(|packet| packet.is_ok()));
    }
    packets
}

fn events(reporter: &mut RtcpReporter) -> Vec<RtcpEvent> {
    std::iter::from_fn(|| reporter.poll_event()).collect()
}

/// Runs the timer when it is due; the instant it was.
fn run(reporter: &mut RtcpReporter) -> Instant {
    let at = reporter.next_timeout().unwrap();
    reporter.handle_timeout(at);
    at
}

/// A sender and a receiver over a way of `delay`, `loss` of every so many packets; what they told each other.
fn exchange(delay: Duration, loss: u16, seconds: u64) -> (RtcpReporter, RtcpReporter, Instant) {
    let now = start();
    let (mut sender, mut receiver) = (reporter(now), reporter(now));
    assert!(sender.add_sender(7, MediaKind::Video, VIDEO));
    let mut in_flight: Vec<(Instant, bool, Vec<u8>)> = Vec::new();
    let mut last = now;
    for ms in 0..seconds * 1000 {
        let at = now + after(ms);
        last = at;
        if ms % 10 == 0 {
            let sequence_number = (ms / 10) as u16;
            let packet = info(7, sequence_number, sequence_number as u32 * 900);
            sender.on_rtp_sent(at, &packet);
            if loss == 0 || sequence_number % loss != 1 {
                receiver.on_rtp_received(at + delay, &packet, MediaKind::Video, VIDEO);
            }
        }
        sender.handle_timeout(at);
        receiver.handle_timeout(at);
        in_flight.extend(drain(&mut sender).into_iter().map(|packet| (at + delay, true, packet)));
        in_flight.extend(drain(&mut receiver).into_iter().map(|packet| (at + delay, false, packet)));
        in_flight.retain(|(due, to_receiver, packet)| {
            if *due <= at {
                let end = if *to_receiver { &mut receiver } else { &mut sender };
                end.on_rtcp_received(at, packet);
            }
            *due > at
        });
    }
    (sender, receiver, last)
}

/// Q03, Q06: reports cross, and each side knows loss, round-trip time and what the other sent.
#[test]
fn reports_cross_and_tell_the_round_trip_time() {
    let (sender, receiver, _) = exchange(after(50), 10, 20);
    let inbound = receiver.inbound().next().unwrap();
    let outbound = sender.outbound().next().unwrap();
    assert_eq!((outbound.sent.packets, outbound.sent.payload_bytes), (2000, 200_000));
    assert_eq!(outbound.sent.header_bytes, 24_000);
    assert_eq!((inbound.received.packets, inbound.packets_lost, inbound.ssrc), (1800, 200, 7));
    let remote = sender.remote_inbound().next().unwrap();
    let round_trip = remote.round_trip_time.unwrap();
    assert!((after(99)..=after(102)).contains(&round_trip), "{round_trip:?}");
    assert!(remote.round_trip_time_measurements > 10 && remote.total_round_trip_time > after(1000));
    assert!((0.08..0.12).contains(&remote.fraction_lost) && remote.packets_lost > 150);
    let expected = remote.packets_received + u64::try_from(remote.packets_lost).unwrap();
    assert!((1_800..=2_000).contains(&expected), "{expected}");
    let remote = receiver.remote_outbound().next().unwrap();
    assert!(remote.packets_sent > 1800 && remote.bytes_sent == remote.packets_sent * 100);
    assert!(remote.reports > 13 && remote.remote_timestamp > Some(FixedClock.now()));
    assert_eq!(receiver.remote_cname(7), Some("me"));
    assert_eq!((sender.counters().malformed, receiver.counters().unknown_ssrc), (0, 0));
}

/// Intervals: audio 5 s, video 1 s, randomised between half and one and a half, the first after half of one.
#[test]
fn intervals_are_those_of_the_kind() {
    for (kind, interval) in [(MediaKind::Audio, 5000), (MediaKind::Video, 1000)] {
        let now = start();
        let mut reporter = reporter(now);
        reporter.add_sender(7, kind, 48_000);
        assert_eq!(reporter.next_timeout(), None);
        reporter.on_rtp_sent(now, &info(7, 1, 0));
        assert_eq!(reporter.next_timeout(), Some(now + after(interval / 2)));
        let mut last = run(&mut reporter);
        let (mut shortest, mut longest) = (Duration::MAX, Duration::ZERO);
        for _ in 0..200 {
            let at = run(&mut reporter);
            (shortest, longest) = (shortest.min(at - last), longest.max(at - last));
            last = at;
        }
        assert!(shortest >= after(interval / 2) && shortest < after(interval * 6 / 10));
        assert!(longest <= after(interval * 3 / 2) && longest > after(interval * 14 / 10));
        // What is read late is not lost without bound.
        assert_eq!(drain(&mut reporter).len(), 201);
    }
}

/// RFC 3550 section 6.1: a report first, a CNAME behind it. A sender that also receives reports both in one.
#[test]
fn compound_packets_begin_with_a_report() {
    let now = start();
    let mut reporter = reporter(now);
    reporter.add_sender(7, MediaKind::Video, VIDEO);
    reporter.on_rtp_sent(now, &info(7, 1, 1000));
    reporter.on_rtp_received(now, &info(8, 1, 0), MediaKind::Video, VIDEO);
    reporter.on_rtp_received(now, &info(9, 1, 0), MediaKind::Audio, 48_000);
    let at = run(&mut reporter);
    let sent = drain(&mut reporter);
    let packets: Vec<_> = rtcp_packets(&sent[0]).flatten().collect();
    let RtcpPacket::SenderReport { ssrc: 7, info, blocks } = packets[0] else { panic!("no sender report") };
    assert_eq!((info.packet_count, info.octet_count), (1, 100));
    // Half a second later, in the stream's clock.
    assert_eq!((at - now, info.rtp_timestamp), (after(500), 1000 + VIDEO / 2));
    assert_eq!(info.ntp.to_system_time().map(round), Some(round(FixedClock.now() + after(500))));
    assert_eq!(blocks.iter().map(|block| block.ssrc).collect::<Vec<_>>(), [8]);
    let RtcpPacket::SourceDescription(description) = packets[1] else { panic!("no description") };
    assert_eq!(description.cnames(), [(7, &b"me"[..])]);
    // Audio is only received: a receiver report, by a source that sends.
    while drain(&mut reporter).iter().all(|sent| {
        !matches!(rtcp_packets(sent).next(), Some(Ok(RtcpPacket::ReceiverReport { ssrc: 7, .. })))
    }) {
        run(&mut reporter);
    }
}

fn round(time: SystemTime) -> u128 {
    (time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() + 5) / 10
}

/// Many streams: several packets, each below 1,200 bytes; each source reported once.
#[test]
fn many_streams_are_reported_in_several_packets() {
    let now = start();
    let long = RtcpConfig { cname: "é".repeat(200), ..config() };
    let mut reporter = RtcpReporter::new(now, long, &FixedClock, Random::from_seed(1));
    for ssrc in 0..10 {
        reporter.add_sender(ssrc, MediaKind::Video, VIDEO);
        reporter.on_rtp_sent(now, &info(ssrc, 1, 0));
    }
    for ssrc in 100..170 {
        reporter.on_rtp_received(now, &info(ssrc, 1, 0), MediaKind::Video, VIDEO);
    }
    run(&mut reporter);
    let (mut senders, mut blocks_seen) = (Vec::new(), Vec::new());
    let sent = drain(&mut reporter);
    for packet in sent.iter().flat_map(|sent| rtcp_packets(sent)).flatten() {
        match packet {
            RtcpPacket::SenderReport { ssrc, blocks, .. } => {
                senders.push(ssrc);
                blocks_seen.extend(blocks.iter().map(|block| block.ssrc));
            }
            RtcpPacket::ReceiverReport { blocks, .. } => {
                blocks_seen.extend(blocks.iter().map(|block| block.ssrc));
            }
            _ => {}
        }
    }
    assert_eq!(senders, (0..10).collect::<Vec<_>>());
    assert_eq!(blocks_seen, (100..170).collect::<Vec<_>>());
}

/// A stream that fell silent is no longer reported, and the timer stops with the last one.
#[test]
fn silent_streams_are_left_out() {
    let now = start();
    let mut reporter = reporter(now);
    reporter.on_rtp_received(now, &info(8, 1, 0), MediaKind::Video, VIDEO);
    let mut reports = 0;
    while reporter.next_timeout().is_some() {
        let at = run(&mut reporter);
        reports += drain(&mut reporter).len();
        assert!(at < now + after(11_000));
    }
    assert!((5..=16).contains(&reports));
    reporter.on_rtp_received(now + after(60_000), &info(8, 2, 0), MediaKind::Video, VIDEO);
    assert!(reporter.next_timeout().is_some());
}

/// Feedback reaches the other side's application, once for a request, and is counted at both ends.
#[test]
fn feedback_reaches_the_other_side() {
    for reduced_size in [false, true] {
        let now = start();
        let (mut receiver, mut sender) = (reporter(now), reporter(now));
        receiver.set_reduced_size(reduced_size);
        sender.add_sender(7, MediaKind::Video, VIDEO);
        assert!(!receiver.send_pli(7) && !receiver.send_fir(7) && !receiver.send_nack(7, &[1]));
        receiver.on_rtp_received(now, &info(7, 1, 0), MediaKind::Video, VIDEO);
        assert!(receiver.send_pli(7) && receiver.send_fir(7) && receiver.send_fir(7));
        assert!(receiver.send_nack(7, &[1, 2, 30]));
        receiver.send_remb(1 << 20, &[7]);
        let sent = drain(&mut receiver);
        assert_eq!(sent.len(), 5);
        for packet in &sent {
            let report = matches!(rtcp_packets(packet).next(), Some(Ok(RtcpPacket::ReceiverReport { .. })));
            assert_eq!(report, !reduced_size);
            sender.on_rtcp_received(now, packet);
        }
        // The second of the two requests again: a repetition.
        sender.on_rtcp_received(now, &sent[2]);
        let (pli, fir) = (KeyFrameRequest::Pli, KeyFrameRequest::Fir);
        let expected = [
            RtcpEvent::KeyFrameRequested { ssrc: 7, request: pli },
            RtcpEvent::KeyFrameRequested { ssrc: 7, request: fir },
            RtcpEvent::KeyFrameRequested { ssrc: 7, request: fir },
            RtcpEvent::Nack { ssrc: 7, sequence_numbers: vec![1, 2, 30] },
            RtcpEvent::Remb { bitrate: 1 << 20, ssrcs: vec![7] },
        ];
        assert_eq!(events(&mut sender), expected);
        assert_eq!(receiver.inbound().next().unwrap().feedback, FeedbackCounter { pli: 1, fir: 2, nack: 1 });
        assert_eq!(sender.outbound().next().unwrap().feedback, FeedbackCounter { pli: 1, fir: 3, nack: 1 });
    }
}

#[test]
fn a_removed_sender_says_goodbye() {
    let now = start();
    let (mut sender, mut receiver) = (reporter(now), reporter(now));
    sender.add_sender(7, MediaKind::Video, VIDEO);
    sender.add_sender(8, MediaKind::Video, VIDEO);
    sender.on_rtp_sent(now, &info(7, 1, 0));
    receiver.on_rtp_received(now, &info(7, 1, 0), MediaKind::Video, VIDEO);
    sender.remove_sender(7);
    sender.remove_sender(8);
    for packet in drain(&mut sender) {
        receiver.on_rtcp_received(now, &packet);
    }
    assert_eq!(events(&mut receiver), [RtcpEvent::Bye { ssrc: 7 }]);
    assert_eq!((sender.outbound().count(), receiver.inbound().count()), (0, 1));
    receiver.remove_receiver(7);
    assert_eq!(receiver.inbound().count(), 0);
}

/// What is not about our streams is counted and goes nowhere.
#[test]
fn feedback_for_others_is_dropped() {
    let now = start();
    let mut reporter = reporter(now);
    let bytes = RtcpBuilder::new().pli(1, 99).fir(1, 99, 0).nack(1, 99, &[1]).bye(&[99]).build().unwrap();
    reporter.on_rtcp_received(now, &bytes);
    assert_eq!((events(&mut reporter), reporter.counters().unknown_ssrc), (vec![], 3));
    reporter.on_rtcp_received(now, &[0x8F, 0xCD, 0, 1, 0, 0, 0, 0]);
    assert_eq!((reporter.counters().malformed, reporter.counters().received), (1, 2));
}

/// Streams, events and packets that wait are bounded.
#[test]
fn tables_are_bounded() {
    let now = start();
    let mut reporter = reporter(now);
    for ssrc in 0..2 * MAX_STREAMS as u32 {
        reporter.add_sender(ssrc, MediaKind::Video, VIDEO);
        reporter.on_rtp_received(now, &info(ssrc, 1, 0), MediaKind::Audio, 48_000);
    }
    assert_eq!((reporter.outbound().count(), reporter.inbound().count()), (MAX_STREAMS, MAX_STREAMS));
    assert_eq!(reporter.counters().too_many_streams, 2 * MAX_STREAMS as u64);
    let pli = RtcpBuilder::new().pli(1, 5).build().unwrap();
    for _ in 0..1000 {
        reporter.on_rtcp_received(now, &pli);
        reporter.send_pli(5);
    }
    assert_eq!(events(&mut reporter).len(), MAX_WAITING);
    assert_eq!(drain(&mut reporter).len(), MAX_WAITING);
    assert_eq!(reporter.counters().events_dropped, 1000 - MAX_WAITING as u64);
}

/// A round-trip time that clocks of different pace make negative is the shortest one (libwebrtc).
#[test]
fn a_negative_round_trip_time_is_the_shortest() {
    let now = start();
    let mut reporter = reporter(now);
    reporter.add_sender(7, MediaKind::Video, VIDEO);
    for (last_sr, expected) in [(0, None), (reporter.clock.ntp(now).compact() + 10, Some(after(1)))] {
        let block = ReportBlock { ssrc: 7, last_sr, ..ReportBlock::default() };
        let bytes = RtcpBuilder::new().receiver_report(1, &[block]).build().unwrap();
        reporter.on_rtcp_received(now, &bytes);
        let remote = reporter.remote_inbound().next().unwrap();
        assert_eq!(remote.round_trip_time, expected);
        assert_eq!(events(&mut reporter), [RtcpEvent::ReportReceived { ssrc: 7 }]);
    }
}

#[test]
fn hostile_bytes_are_survived() {
    let now = start();
    let mut reporter = reporter(now);
    for ssrc in [0, 1, 7, 0xFFFF_FFFF] {
        reporter.add_sender(ssrc, MediaKind::Video, VIDEO);
        reporter.on_rtp_received(now, &info(ssrc, 1, 0), MediaKind::Video, VIDEO);
    }
    let mut random = Random::from_seed(9);
    for input in corpus("rtcp-corpus") {
        reporter.on_rtcp_received(now, &input);
    }
    for _ in 0..50_000 {
        let mut bytes = vec![0; 4 * (1 + random.below(20) as usize)];
        random.fill(&mut bytes);
        bytes[0] = 0x80 | (bytes[0] & 0x1F);
        bytes[1] = 200 + random.below(8) as u8;
        let words = random.below(bytes.len() as u64 / 4) as u16;
        bytes[2..4].copy_from_slice(&words.to_be_bytes());
        for word in bytes[4..].chunks_mut(4) {
            if random.chance(0.3) {
                word.copy_from_slice(&[0, 0, 0, 7]);
            }
        }
        reporter.on_rtcp_received(now, &bytes);
    }
    run(&mut reporter);
    drain(&mut reporter);
}

/// A sender that stopped is reported no more, keeps its statistics, and is reported again once it sends.
#[test]
fn a_stopped_sender_may_begin_again() {
    let now = start();
    let mut sender = reporter(now);
    sender.add_sender(7, MediaKind::Video, VIDEO);
    sender.on_rtp_sent(now, &info(7, 1, 0));
    sender.stop_sender(7);
    sender.stop_sender(7);
    sender.stop_all_senders();
    let sent = drain(&mut sender);
    assert_eq!(sent.len(), 1, "one goodbye");
    assert!(rtcp_packets(&sent[0]).any(|packet| matches!(packet, Ok(RtcpPacket::Bye(_)))));
    run(&mut sender);
    assert_eq!((drain(&mut sender).len(), sender.next_timeout()), (0, None));
    sender.on_rtp_sent(now + after(9_000), &info(7, 2, 0));
    run(&mut sender);
    assert_eq!(drain(&mut sender).len(), 1);
    assert_eq!(sender.outbound().next().unwrap().sent.packets, 2);
}

/// A source that said goodbye does not speak of others.
#[test]
fn reports_come_from_sources_that_are_there() {
    let now = start();
    let mut receiver = reporter(now);
    let reporting = |receiver: &mut RtcpReporter| {
        receiver.on_rtp_received(now, &info(9, 1, 0), MediaKind::Video, VIDEO);
        assert!(receiver.send_pli(9));
        match rtcp_packets(&drain(receiver)[0]).next() {
            Some(Ok(RtcpPacket::ReceiverReport { ssrc, .. })) => ssrc,
            other => panic!("{other:?}"),
        }
    };
    let own = reporting(&mut receiver);
    assert_eq!(own, receiver.own_ssrc);
    receiver.add_sender(7, MediaKind::Audio, 48_000);
    assert_eq!(reporting(&mut receiver), 7, "it is announced");
    receiver.on_rtp_sent(now, &info(7, 1, 0));
    receiver.stop_sender(7);
    drain(&mut receiver);
    assert_eq!(reporting(&mut receiver), own);
}

/// RFC 3550 section 6.6: 31 sources fit one goodbye.
#[test]
fn all_senders_say_goodbye() {
    let now = start();
    let mut sender = reporter(now);
    for ssrc in 1..=70 {
        sender.add_sender(ssrc, MediaKind::Audio, 48_000);
        if ssrc != 5 {
            sender.on_rtp_sent(now, &info(ssrc, 1, 0));
        }
    }
    sender.stop_all_senders();
    let mut gone = Vec::new();
    for packet in drain(&mut sender).iter().flat_map(|sent| rtcp_packets(sent)).flatten() {
        if let RtcpPacket::Bye(bye) = packet {
            gone.extend(bye.ssrcs.iter());
        }
    }
    assert_eq!(gone, (1..=70).filter(|ssrc| *ssrc != 5).collect::<Vec<_>>());
}

/// A section that changes its transport takes its streams along.
#[test]
fn streams_move_with_their_section() {
    let now = start();
    let (mut from, mut to) = (reporter(now), reporter(now));
    from.add_sender(7, MediaKind::Video, VIDEO);
    from.on_rtp_sent(now, &info(7, 1, 0));
    from.on_rtp_received(now, &info(8, 1, 0), MediaKind::Video, VIDEO);
    from.on_rtp_received(now, &info(9, 1, 0), MediaKind::Video, VIDEO);
    from.move_streams(now, &mut to, &[7, 70], &[8, 80]);
    assert!(to.has_receiver(8) && !from.has_receiver(8) && from.has_receiver(9));
    assert_eq!((from.outbound().count(), to.outbound().next().unwrap().sent.packets), (0, 1));
    run(&mut to);
    assert_eq!(drain(&mut to).len(), 1);
}

/// Peers that change their SSRC again and again are still tracked: what fell silent makes room.
#[test]
fn silent_streams_make_room() {
    let now = start();
    let mut reporter = reporter(now);
    for ssrc in 0..MAX_STREAMS as u32 {
        reporter.on_rtp_received(now + after(u64::from(ssrc)), &info(ssrc, 1, 0), MediaKind::Video, VIDEO);
    }
    let later = now + after(8_000);
    reporter.on_rtp_received(later, &info(5_000, 1, 0), MediaKind::Video, VIDEO);
    assert!(reporter.has_receiver(5_000) && !reporter.has_receiver(0) && reporter.has_receiver(1));
    reporter.on_rtp_received(later, &info(5_001, 1, 0), MediaKind::Video, VIDEO);
    assert_eq!((reporter.has_receiver(5_001), reporter.counters().too_many_streams), (false, 1));
}

/// What is not read here comes out whole; what no path carries is dropped.
#[test]
fn unknown_packets_are_handed_up() {
    let now = start();
    let mut reporter = reporter(now);
    let xr = [0x80, 207, 0, 2, 0, 0, 0, 1, 4, 0, 0, 0];
    let transport_cc =
        [0x8F, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 2, 0, 0, 3, 0, 0x20, 1, 0, 0].to_vec();
    reporter.on_rtcp_received(now, &[&xr[..], &transport_cc].concat());
    let expected =
        [RtcpEvent::Other(xr.to_vec()), RtcpEvent::TransportFeedback { media_ssrc: 2, packet: transport_cc }];
    assert_eq!(events(&mut reporter), expected);
    let mut large = vec![0; 4096];
    large[..4].copy_from_slice(&[0x80, 204, 3, 255]);
    reporter.on_rtcp_received(now, &large);
    assert_eq!((events(&mut reporter), reporter.counters().events_dropped), (vec![], 1));
    // A NACK asks for no more than can be answered.
    reporter.add_sender(7, MediaKind::Video, VIDEO);
    let mut nack = vec![0xFF; 4 * 400];
    nack[..12].copy_from_slice(&[0x81, 205, 1, 143, 0, 0, 0, 1, 0, 0, 0, 7]);
    reporter.on_rtcp_received(now, &nack);
    let [RtcpEvent::Nack { sequence_numbers, .. }] = &events(&mut reporter)[..] else { panic!("no NACK") };
    assert_eq!(sequence_numbers.len(), 1024);
}
