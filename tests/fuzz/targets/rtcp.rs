//! RTCP (RFC 3550 section 6, RFC 4585, RFC 5104): a compound is split, read, and what we can write is written again
//! and reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use peerstack_media::{MAX_BLOCKS, RtcpBuilder, RtcpPacket, rtcp_packets};

fuzz_target!(|data: &[u8]| {
    let mut packets = 0;
    let mut failed = false;
    for packet in rtcp_packets(data) {
        packets += 1;
        match packet {
            Ok(packet) => {
                read_all(&packet, data.len());
                write_again(&packet);
            }
            Err(_) => failed = true,
        }
    }
    assert!(packets <= data.len().div_ceil(4));
    assert!(!data.is_empty() == (packets > 0) || failed);
});

fn read_all(packet: &RtcpPacket<'_>, len: usize) {
    // No more items than there are bytes for: one NACK item of four bytes asks for 17 packets at most.
    let items = match packet {
        RtcpPacket::SenderReport { blocks, .. } | RtcpPacket::ReceiverReport { blocks, .. } => {
            assert!(blocks.iter().count() <= MAX_BLOCKS);
            blocks.iter().count() * 24
        }
        RtcpPacket::SourceDescription(description) => {
            description.cnames().iter().map(|(_, name)| name.len() + 2).sum()
        }
        RtcpPacket::Bye(bye) => bye.ssrcs.iter().count() * 4 + bye.reason.map_or(0, <[u8]>::len),
        RtcpPacket::Nack { packets, .. } => packets.sequence_numbers().count().div_ceil(17) * 4,
        RtcpPacket::Fir { entries, .. } => entries.iter().count() * 8,
        RtcpPacket::Remb { ssrcs, .. } => ssrcs.iter().count() * 4,
        RtcpPacket::TransportFeedback { payload, .. } | RtcpPacket::Other { payload, .. } => payload.len(),
        _ => 0,
    };
    assert!(items < len);
}

fn write_again(packet: &RtcpPacket<'_>) {
    let mut builder = RtcpBuilder::new();
    match packet {
        RtcpPacket::SenderReport { ssrc, info, blocks } => {
            builder.sender_report(*ssrc, info, &blocks.iter().collect::<Vec<_>>())
        }
        RtcpPacket::ReceiverReport { ssrc, blocks } => {
            builder.receiver_report(*ssrc, &blocks.iter().collect::<Vec<_>>())
        }
        RtcpPacket::Bye(bye) => builder.bye(&bye.ssrcs.iter().collect::<Vec<_>>()),
        RtcpPacket::Nack { sender_ssrc, media_ssrc, packets } => {
            builder.nack(*sender_ssrc, *media_ssrc, &packets.sequence_numbers().collect::<Vec<_>>())
        }
        RtcpPacket::Pli { sender_ssrc, media_ssrc } => builder.pli(*sender_ssrc, *media_ssrc),
        RtcpPacket::Fir { sender_ssrc, entries } => {
            let Some((ssrc, number)) = entries.iter().next() else { return };
            builder.fir(*sender_ssrc, ssrc, number)
        }
        RtcpPacket::Remb { sender_ssrc, bitrate, ssrcs } => {
            builder.remb(*sender_ssrc, *bitrate, &ssrcs.iter().collect::<Vec<_>>())
        }
        _ => return,
    };
    // Longer lists than our writer takes are cut; more than the length field can say it refuses.
    let Ok(bytes) = builder.build() else { return };
    assert_eq!(bytes.len() % 4, 0);
    let again: Vec<_> = rtcp_packets(&bytes).collect();
    let [Ok(again)] = again.as_slice() else { panic!("what was written cannot be read: {again:?}") };
    match (packet, again) {
        (RtcpPacket::Bye(before), RtcpPacket::Bye(after)) => {
            assert!(after.ssrcs.iter().eq(before.ssrcs.iter()))
        }
        (RtcpPacket::Nack { packets: before, .. }, RtcpPacket::Nack { packets: after, .. }) => {
            let mut after = after.sequence_numbers();
            // In the order asked for, what was asked for twice in a row once.
            let all: std::collections::BTreeSet<u16> = before.sequence_numbers().collect();
            assert!(after.all(|number| all.contains(&number)));
        }
        (RtcpPacket::Fir { entries: before, .. }, RtcpPacket::Fir { entries: after, .. }) => {
            assert_eq!(before.iter().next(), after.iter().next());
        }
        (RtcpPacket::Remb { ssrcs: before, .. }, RtcpPacket::Remb { ssrcs: after, .. }) => {
            assert!(after.iter().eq(before.iter().take(MAX_BLOCKS)));
        }
        _ => assert_eq!(packet, again),
    }
}
