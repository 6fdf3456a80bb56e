use super::*;
use crate::ntp_time::NtpTime;
use crate::rtcp_packet::{RtcpPacket, rtcp_packets};

fn block(ssrc: u32, lost: i32) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: 12,
        cumulative_lost: lost,
        extended_highest_sequence_number: 0x1_0002,
        jitter: 3,
        last_sr: 4,
        delay_since_last_sr: 5,
    }
}

fn packets(bytes: &[u8]) -> Vec<RtcpPacket<'_>> {
    rtcp_packets(bytes).collect::<Result<_, _>>().unwrap()
}

#[test]
fn reports_are_read_as_they_were_written() {
    let info = SenderInfo { ntp: NtpTime(1 << 40), rtp_timestamp: 2, packet_count: 3, octet_count: 4 };
    let blocks = [block(7, 5), block(8, -5), block(9, i32::MAX)];
    let bytes = RtcpBuilder::new()
        .sender_report(1, &info, &blocks)
        .receiver_report(2, &blocks[..1])
        .cname(&[1, 2], "name")
        .bye(&[1])
        .build()
        .unwrap();
    let packets = packets(&bytes);
    let RtcpPacket::SenderReport { ssrc: 1, info: read, blocks: read_blocks } = packets[0] else {
        panic!("not a sender report")
    };
    assert_eq!(read, info);
    let clamped = ReportBlock { cumulative_lost: 0x7F_FFFF, ..blocks[2] };
    assert_eq!(read_blocks.iter().collect::<Vec<_>>(), [blocks[0], blocks[1], clamped]);
    assert!(matches!(packets[1], RtcpPacket::ReceiverReport { ssrc: 2, .. }));
    let RtcpPacket::SourceDescription(description) = packets[2] else { panic!("not a description") };
    assert_eq!(description.cnames(), [(1, &b"name"[..]), (2, b"name")]);
    assert!(matches!(packets[3], RtcpPacket::Bye(_)));
    // The rtcp crate reads its own.
    assert_eq!(rtcp::packet::unmarshal(&mut &bytes[..]).unwrap().len(), 4);
}

#[test]
fn counts_are_bounded_by_five_bits() {
    let blocks = vec![block(7, 5); 40];
    let ssrcs: Vec<u32> = (0..40).collect();
    let bytes =
        RtcpBuilder::new().receiver_report(1, &blocks).cname(&ssrcs, "n").bye(&ssrcs).build().unwrap();
    let RtcpPacket::ReceiverReport { blocks, .. } = packets(&bytes)[0] else { panic!("not a report") };
    assert_eq!(blocks.iter().count(), 31);
    assert!(RtcpBuilder::new().build().is_err());
}

#[test]
fn feedback_is_read_as_it_was_written() {
    let bytes = RtcpBuilder::new()
        .pli(1, 2)
        .fir(1, 2, 9)
        .nack(1, 2, &[65_530, 65_531, 10, 10, 11, 200])
        .nack(1, 2, &[])
        .remb(1, 1_500_000, &[2, 3])
        .build()
        .unwrap();
    let packets = packets(&bytes);
    assert_eq!(packets.len(), 4);
    assert_eq!(packets[0], RtcpPacket::Pli { sender_ssrc: 1, media_ssrc: 2 });
    let RtcpPacket::Fir { entries, .. } = packets[1] else { panic!("not a FIR") };
    assert_eq!(entries.iter().collect::<Vec<_>>(), [(2, 9)]);
    let RtcpPacket::Nack { packets: nack, .. } = packets[2] else { panic!("not a NACK") };
    assert_eq!(nack.sequence_numbers().collect::<Vec<_>>(), [65_530, 65_531, 10, 11, 200]);
    let RtcpPacket::Remb { bitrate, ssrcs, .. } = packets[3] else { panic!("not a REMB") };
    assert!((1_490_000..=1_500_000).contains(&bitrate));
    assert_eq!(ssrcs.iter().collect::<Vec<_>>(), [2, 3]);
}

/// What our reader accepts of reports, the rtcp crate reads the same.
#[test]
fn reader_and_crate_agree_on_the_corpus() {
    use rtcp::packet::unmarshal;
    for input in crate::test_util::corpus("rtcp-corpus") {
        let Some(Ok(RtcpPacket::ReceiverReport { ssrc, blocks })) = rtcp_packets(&input).next() else {
            continue;
        };
        let len = 4 + 4 * usize::from(u16::from_be_bytes([input[2], input[3]]));
        if let Ok(theirs) = unmarshal(&mut &input[..len]) {
            let theirs = theirs[0].as_any().downcast_ref::<ReceiverReport>().unwrap();
            assert_eq!((theirs.ssrc, theirs.reports.len()), (ssrc, blocks.iter().count()));
        }
    }
}
