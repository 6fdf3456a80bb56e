use peerstack_base::Random;

use super::*;
use crate::test_util::{corpus, hex};

fn all(bytes: &[u8]) -> Vec<Result<RtcpPacket<'_>, RtcpError>> {
    rtcp_packets(bytes).collect()
}

fn one(bytes: &[u8]) -> RtcpPacket<'_> {
    let packets = all(bytes);
    assert_eq!(packets.len(), 1);
    packets[0].unwrap()
}

#[test]
fn a_sender_report_with_a_block() {
    let bytes = hex("81c8000c 00000001 0000000200000003 00000004 00000005 00000006
        00000007 40fffffe 00010008 00000009 0000000a 0000000b");
    let RtcpPacket::SenderReport { ssrc, info, blocks } = one(&bytes) else { panic!("not a sender report") };
    assert_eq!((ssrc, info.ntp, info.rtp_timestamp), (1, NtpTime(0x2_0000_0003), 4));
    assert_eq!((info.packet_count, info.octet_count), (5, 6));
    let block = blocks.iter().next().unwrap();
    assert_eq!((block.ssrc, block.fraction_lost, block.cumulative_lost), (7, 0x40, -2));
    assert_eq!((block.extended_highest_sequence_number, block.jitter), (0x1_0008, 9));
    assert_eq!((block.last_sr, block.delay_since_last_sr, blocks.iter().count()), (10, 11, 1));
    // One block more than there is.
    let mut bytes = bytes;
    bytes[0] = 0x82;
    assert_eq!(all(&bytes), [Err(RtcpError::Content { packet_type: 200 })]);
}

#[test]
fn a_compound_packet_is_split() {
    let bytes = hex("80c90001 00000001  81ca0003 00000001 0103 616263 00 0000  81cb0001 00000001");
    let packets = all(&bytes);
    assert!(matches!(packets[0], Ok(RtcpPacket::ReceiverReport { ssrc: 1, .. })));
    let Ok(RtcpPacket::SourceDescription(description)) = packets[1] else { panic!("not a description") };
    assert_eq!(description.cnames(), [(1, &b"abc"[..])]);
    let Ok(RtcpPacket::Bye(bye)) = packets[2] else { panic!("not a goodbye") };
    assert_eq!((bye.ssrcs.iter().collect::<Vec<_>>(), bye.reason), (vec![1], None));
    assert_eq!(packets.len(), 3);
}

/// RFC 4585 section 6.2.1.
#[test]
fn a_nack_names_packets() {
    let bytes = hex("81cd0004 00000001 00000002 00648001 ffff0001");
    let RtcpPacket::Nack { sender_ssrc: 1, media_ssrc: 2, packets } = one(&bytes) else {
        panic!("not a NACK")
    };
    assert_eq!(packets.sequence_numbers().collect::<Vec<_>>(), [100, 101, 116, 65535, 0]);
    assert!(all(&hex("81cd0002 00000001 00000002"))[0].is_err());
}

#[test]
fn feedback() {
    let bytes = hex("81ce0002 00000001 00000002");
    assert_eq!(one(&bytes), RtcpPacket::Pli { sender_ssrc: 1, media_ssrc: 2 });
    let bytes = hex("84ce0004 00000001 00000000 00000002 07000000");
    let RtcpPacket::Fir { sender_ssrc: 1, entries } = one(&bytes) else { panic!("not a FIR") };
    assert_eq!(entries.iter().collect::<Vec<_>>(), [(2, 7)]);
    let bytes = hex("8fce0006 00000001 00000000 52454d42 020a1234 00000002 00000003");
    let RtcpPacket::Remb { sender_ssrc: 1, bitrate, ssrcs } = one(&bytes) else { panic!("not a REMB") };
    assert_eq!((bitrate, ssrcs.iter().collect::<Vec<_>>()), (0x2_1234 << 2, vec![2, 3]));
    // More streams than there are, and an estimate beyond 64 bits.
    assert!(all(&hex("8fce0005 00000001 00000000 52454d42 020a1234 00000002"))[0].is_err());
    assert!(all(&hex("8fce0004 00000001 00000000 52454d42 00ffffff"))[0].is_err());
    let bytes = hex("8fcd0005 00000001 00000002 00010002 00000300 20010000");
    let RtcpPacket::TransportFeedback { payload, .. } = one(&bytes) else { panic!("not transport feedback") };
    assert_eq!(payload.len(), 12);
}

/// RFC 3550 section 6.4.1.
#[test]
fn padding_fits_or_is_refused() {
    assert!(matches!(one(&hex("a0c90002 00000001 00000004")), RtcpPacket::ReceiverReport { .. }));
    // As some peers write it: three bytes, behind an empty reason.
    let bytes = hex("a1cb0002 00000001 00000003");
    let RtcpPacket::Bye(bye) = one(&bytes) else { panic!("not a goodbye") };
    assert_eq!((bye.ssrcs.iter().collect::<Vec<_>>(), bye.reason), (vec![1], Some(&[][..])));
    for bytes in ["a0c90002 00000001 00000000", "a0c90002 00000001 0000000c", "a0c90000"] {
        assert_eq!(all(&hex(bytes))[0], Err(RtcpError::Padding), "{bytes}");
    }
}

/// Eight bytes that panic the rtcp crate's parser of transport feedback, and their like.
#[test]
fn inputs_that_panic_the_rtcp_crate() {
    for format in 0..32u8 {
        for packet_type in 192..=223 {
            for words in 0..6u8 {
                let mut bytes = vec![0x80 | format, packet_type, 0, words];
                bytes.resize(4 + 4 * usize::from(words), 0xFF);
                touch(&bytes);
            }
        }
    }
    assert_eq!(all(&hex("8fcd0001 00000000")), [Err(RtcpError::Content { packet_type: 205 })]);
    assert_eq!(all(&hex("81cd0001 00000000")), [Err(RtcpError::Content { packet_type: 205 })]);
}

#[test]
fn what_is_cut_off_is_refused() {
    assert_eq!(all(&[]), []);
    assert_eq!(all(&hex("80c900")), [Err(RtcpError::TooShort { need: 4, have: 3 })]);
    assert_eq!(all(&hex("80c90001 0000")), [Err(RtcpError::TooShort { need: 8, have: 6 })]);
    assert_eq!(all(&hex("40c90000")), [Err(RtcpError::Version(1))]);
    // Descriptions: no end, an item behind the end, no chunk.
    for bytes in ["81ca0001 00000001", "81ca0002 00000001 01ff0000", "81ca0000", "81ca0002 00000001 01020000"]
    {
        let bytes = hex(bytes);
        assert!(all(&bytes)[0].is_err(), "{bytes:x?}");
    }
    assert!(all(&hex("81cb0002 00000001 05616263"))[0].is_err());
}

fn touch(bytes: &[u8]) {
    for packet in rtcp_packets(bytes).flatten() {
        match packet {
            RtcpPacket::SenderReport { blocks, .. } | RtcpPacket::ReceiverReport { blocks, .. } => {
                assert!(blocks.iter().count() <= 31);
            }
            RtcpPacket::SourceDescription(description) => drop(description.cnames()),
            RtcpPacket::Bye(bye) => assert!(bye.ssrcs.iter().count() <= 31),
            RtcpPacket::Nack { packets, .. } => assert!(packets.sequence_numbers().count() >= 1),
            RtcpPacket::Fir { entries, .. } => assert!(entries.iter().count() >= 1),
            RtcpPacket::Remb { ssrcs, .. } => assert!(ssrcs.iter().count() <= 255),
            _ => {}
        }
    }
}

#[test]
fn any_bytes_parse_or_are_refused() {
    let mut random = Random::from_seed(4);
    for input in [corpus("rtcp-corpus"), corpus("rtp-corpus")].concat() {
        touch(&input);
        for _ in 0..200 {
            let mut mutated = input.clone();
            let Some(last) = mutated.len().checked_sub(1) else { break };
            mutated[random.below(last as u64 + 1) as usize] = random.u32() as u8;
            touch(&mutated);
        }
    }
    for _ in 0..50_000 {
        let mut bytes = vec![0; 4 + 4 * random.below(12) as usize];
        random.fill(&mut bytes);
        bytes[0] = 0x80 | (bytes[0] & 0x3F);
        bytes[1] = 200 + random.below(8) as u8;
        bytes[2] = 0;
        bytes[3] = random.below(12) as u8;
        touch(&bytes);
    }
}
