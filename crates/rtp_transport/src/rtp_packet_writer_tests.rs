use peerstack_base::Random;

use super::*;
use crate::test_util::{corpus, hex, rtp_with};

fn written(extensions: &[(u8, &[u8])]) -> Result<Vec<u8>, RtpError> {
    let mut buffer = [0xEE; 600];
    let fields = RtpFields { payload_type: 96, sequence_number: 1, ssrc: 1, ..RtpFields::default() };
    let len = write_rtp_header(&mut buffer, &fields, [].into_iter(), extensions.iter().copied())?;
    Ok(buffer[..len].to_vec())
}

fn elements(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    RtpHeaderView::parse(bytes).unwrap().extensions().map(|e| (e.id, e.value.to_vec())).collect()
}

/// RFC 8285 sections 4.2 and 4.3.
#[test]
fn the_form_is_the_shortest_that_fits() {
    assert_eq!(written(&[]).unwrap().len(), 12);
    let fixed = "9060 0001 00000000 00000001";
    assert_eq!(
        written(&[(1, b"a"), (14, b"bc")]).unwrap(),
        hex(&format!("{fixed} bede0002 1061 e16263 000000"))
    );
    assert_eq!(
        written(&[(1, b"a"), (16, b"")]).unwrap(),
        hex(&format!("{fixed} 10000002 010161 1000 000000"))
    );
    assert_eq!(written(&[(1, b"")]).unwrap(), hex(&format!("{fixed} 10000001 0100 0000")));
    assert_eq!(written(&[(1, &[7; 17])]).unwrap().len(), 12 + 4 + 20);
    assert_eq!(written(&[(15, b"a")]), Err(RtpError::Extension { id: 15, len: 1 }));
    assert_eq!(written(&[(0, b"a")]), Err(RtpError::Extension { id: 0, len: 1 }));
    assert_eq!(written(&[(1, &[0; 256])]), Err(RtpError::Extension { id: 1, len: 256 }));
}

#[test]
fn an_owned_header_is_written_as_it_was_read() {
    let bytes = rtp_with(7, 9, 111, &[(3, b"abc"), (200, b"")], b"payload");
    let packet = RtpPacket::parse(&bytes).unwrap();
    let mut header = RtpHeader::from(packet.header());
    let mut buffer = [0; 100];
    let len = header.write(packet.payload(), &mut buffer).unwrap();
    assert_eq!(buffer[..len], bytes);
    header.csrcs = vec![1; 15];
    header.marker = true;
    let len = header.write(b"x", &mut buffer).unwrap();
    assert_eq!(RtpHeader::from(RtpPacket::parse(&buffer[..len]).unwrap().header()), header);
    for too_small in 0..len {
        assert!(header.write(b"x", &mut buffer[..too_small]).is_err());
    }
    header.csrcs.push(1);
    assert_eq!(header.write(b"", &mut buffer), Err(RtpError::TooMuch));
}

fn mapping(pairs: &[(u8, u8)]) -> ExtensionIdMapping {
    let mut mapping = ExtensionIdMapping::default();
    pairs.iter().for_each(|(from, to)| mapping.set(*from, Some(*to)));
    mapping
}

#[test]
fn a_forwarded_packet_has_the_other_sides_ids_and_mid() {
    let mut bytes = rtp_with(7, 9, 111, &[(1, b"audio"), (2, b"x"), (4, b"level")], b"payload\x02");
    bytes[0] |= 0x20;
    bytes[12 + 4 + 1] = b'A';
    let packet = RtpPacket::parse(&bytes).unwrap();
    let fields = RtpFields { payload_type: 96, ssrc: 8, ..RtpFields::from(packet.header()) };
    let set: &[(u8, &[u8])] = &[(5, b"0")];
    let mut buffer = [0; 200];
    let len = write_forwarded(&packet, &fields, &mapping(&[(1, 5), (2, 20)]), set, &mut buffer).unwrap();
    assert!(len <= forwarded_len_bound(&packet, set));
    let forwarded = RtpPacket::parse(&buffer[..len]).unwrap();
    assert_eq!(elements(&buffer[..len]), [(20, b"x".to_vec()), (5, b"0".to_vec())]);
    assert_eq!((forwarded.header().ssrc(), forwarded.header().payload_type()), (8, 96));
    assert_eq!((forwarded.header().sequence_number(), forwarded.header().timestamp()), (9, 9 * 960));
    assert_eq!((forwarded.payload(), forwarded.padding_len()), (&b"payloa"[..], 2));
}

#[test]
fn ids_are_rewritten_where_they_lie() {
    let mut bytes = rtp_with(7, 9, 111, &[(1, b"aa"), (2, b"b"), (3, b"cc"), (4, b"d")], b"payload");
    let len = bytes.len();
    rewrite_extension_ids(&mut bytes, &mapping(&[(1, 2), (2, 1), (3, 16)])).unwrap();
    assert_eq!(bytes.len(), len);
    // 16 does not fit the one-byte form, 4 is not negotiated: both become padding.
    assert_eq!(elements(&bytes), [(2, b"aa".to_vec()), (1, b"b".to_vec())]);
    assert_eq!(RtpPacket::parse(&bytes).unwrap().payload(), b"payload");
    let mut bytes = rtp_with(7, 9, 111, &[(1, b""), (200, b"b"), (3, b"cc")], b"payload");
    rewrite_extension_ids(&mut bytes, &mapping(&[(1, 100), (3, 4)])).unwrap();
    assert_eq!(elements(&bytes), [(100, vec![]), (4, b"cc".to_vec())]);
    assert!(rewrite_extension_ids(&mut [0x80; 11], &mapping(&[])).is_err());
}

#[test]
fn any_packet_can_be_rewritten_and_forwarded() {
    let mut random = Random::from_seed(6);
    let mut map = ExtensionIdMapping::default();
    (1..=255).for_each(|id| map.set(id, (id % 3 != 0).then_some(id % 16)));
    let mut inputs = corpus("rtp-corpus");
    for _ in 0..5000 {
        let mut bytes = rtp_with(1, 1, 96, &[(1, b"abcd"), (200, &[1; 20])], b"payload");
        for _ in 0..3 {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.u32() as u8;
        }
        inputs.push(bytes);
    }
    for mut input in inputs {
        let mut buffer = vec![0; 70_000];
        if let Ok(packet) = RtpPacket::parse(&input) {
            let fields = RtpFields::from(packet.header());
            if let Ok(len) = write_forwarded(&packet, &fields, &map, &[(1, b"0")], &mut buffer) {
                assert!(len <= forwarded_len_bound(&packet, &[(1, b"0")]));
                let forwarded = RtpPacket::parse(&buffer[..len]).unwrap();
                assert_eq!(forwarded.payload(), packet.payload());
            }
        }
        let payload = RtpPacket::parse(&input).map(|packet| packet.payload().to_vec());
        let _ = rewrite_extension_ids(&mut input, &map);
        assert_eq!(RtpPacket::parse(&input).map(|packet| packet.payload().to_vec()), payload);
    }
}
