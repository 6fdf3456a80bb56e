use peerstack_base::Random;

use super::*;
use crate::test_util::{corpus, hex, rtp_with};

#[test]
fn the_fixed_header_and_csrcs() {
    let bytes = hex("82 e0 1234 00000064 cafebabe 00000001 00000002 aabbcc");
    let packet = RtpPacket::parse(&bytes).unwrap();
    let header = packet.header();
    assert_eq!((header.marker(), header.payload_type(), header.sequence_number()), (true, 0x60, 0x1234));
    assert_eq!((header.timestamp(), header.ssrc(), header.len()), (100, 0xCAFE_BABE, 20));
    assert_eq!(header.csrcs().collect::<Vec<_>>(), [1, 2]);
    assert_eq!((packet.payload(), header.has_extension()), (&[0xaa, 0xbb, 0xcc][..], false));
    assert_eq!(header.extensions().count(), 0);
}

#[test]
fn what_is_cut_off_is_refused() {
    let bytes = rtp_with(1, 1, 96, &[(1, b"0")], b"");
    for len in 0..bytes.len() {
        assert!(RtpPacket::parse(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(RtpPacket::parse(&bytes).is_ok());
    assert_eq!(RtpPacket::parse(&[0x40; 12]), Err(RtpError::Version(1)));
}

/// RFC 3550 section 5.1: the last byte counts the padding, itself included.
#[test]
fn padding_fits_the_payload_or_is_refused() {
    let mut bytes = hex("a060 0001 00000000 00000001 01020304");
    for (last, payload) in [(1, Some(3)), (4, Some(0)), (0, None), (5, None)] {
        *bytes.last_mut().unwrap() = last;
        let parsed = RtpPacket::parse(&bytes).map(|packet| packet.payload().len()).ok();
        assert_eq!(parsed, payload, "padding {last}");
    }
    assert!(RtpPacket::parse(&bytes[..12]).is_err());
}

fn with_extension(profile: &str, elements: &str) -> Vec<u8> {
    let elements = hex(elements);
    assert!(elements.len().is_multiple_of(4));
    let mut bytes = hex("9060 0001 00000000 00000001");
    bytes.extend(hex(profile));
    bytes.extend(((elements.len() / 4) as u16).to_be_bytes());
    bytes.extend(elements);
    bytes
}

fn elements(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    RtpHeaderView::parse(bytes).unwrap().extensions().map(|e| (e.id, e.value.to_vec())).collect()
}

/// RFC 8285 section 4.2: padding between elements, id 15 ends it all, an element that is cut off too.
#[test]
fn one_byte_extensions() {
    let bytes = with_extension("bede", "10aa 00 00 21bbcc 00");
    assert_eq!(elements(&bytes), [(1, vec![0xaa]), (2, vec![0xbb, 0xcc])]);
    let bytes = with_extension("bede", "10aa f0bb 10cc 10cc");
    assert_eq!(elements(&bytes), [(1, vec![0xaa])]);
    let bytes = with_extension("bede", "10aa 2fbb");
    assert_eq!(elements(&bytes), [(1, vec![0xaa])]);
    // Id 0 with a length is skipped with its value.
    let bytes = with_extension("bede", "02aabbcc 10dd 0000");
    assert_eq!(elements(&bytes), [(1, vec![0xdd])]);
    let header = RtpHeaderView::parse(&bytes).unwrap();
    assert_eq!((header.extension(1), header.extension(2)), (Some(&[0xdd][..]), None));
}

/// RFC 8285 section 4.3: 0x1000 to 0x100F; a value may be empty; id 15 is an id.
#[test]
fn two_byte_extensions() {
    for profile in ["1000", "1001", "100f"] {
        let bytes = with_extension(profile, "0100 00 0f02aabb 00 c801cc 00");
        assert_eq!(elements(&bytes), [(1, vec![]), (15, vec![0xaa, 0xbb]), (200, vec![0xcc])], "{profile}");
    }
    assert_eq!(elements(&with_extension("1000", "0104aabb")), []);
    assert_eq!(elements(&with_extension("1000", "00000001")), []);
    assert_eq!(elements(&with_extension("1010", "0101aa00")), []);
    assert_eq!(elements(&with_extension("0000", "0101aa00")), []);
}

/// The 20 bytes that panic the rtp crate's parser: its element reaches behind the extension.
#[test]
fn the_packet_that_panics_the_rtp_crate() {
    let bytes = hex("90 60 00 07 00 00 00 01 01 02 03 04 be de 00 01 10 ff 26 01");
    assert_eq!(elements(&bytes), [(1, vec![0xff])]);
    assert_eq!(RtpPacket::parse(&bytes).unwrap().payload(), []);
}

fn touch(bytes: &[u8]) {
    let Ok(header) = RtpHeaderView::parse(bytes) else { return };
    assert!(header.len() <= bytes.len());
    let _ = (header.csrcs().count(), header.extension_profile(), header.marker());
    for element in header.extensions() {
        assert!(element.id != 0 && element.value_at + element.value.len() <= header.len());
        assert_eq!(&bytes[element.value_at..][..element.value.len()], element.value);
    }
    if let Ok(packet) = RtpPacket::parse(bytes) {
        assert_eq!(header.len() + packet.payload().len() + packet.padding_len(), bytes.len());
    }
}

#[test]
fn any_bytes_parse_or_are_refused() {
    let mut random = Random::from_seed(5);
    for input in [corpus("rtp-corpus"), corpus("dependency_descriptor-corpus")].concat() {
        touch(&input);
        for _ in 0..50 {
            let mut mutated = input.clone();
            let Some(at) = mutated.len().checked_sub(1) else { break };
            mutated[random.below(at as u64 + 1) as usize] = random.u32() as u8;
            touch(&mutated);
        }
    }
    for _ in 0..20_000 {
        let mut bytes = vec![0; random.below(64) as usize];
        random.fill(&mut bytes);
        if bytes.len() > 16 {
            bytes[0] = 0x80 | (bytes[0] & 0x31);
            bytes[14] = 0;
            bytes[12] = if random.chance(0.5) { 0xBE } else { 0x10 };
            bytes[13] = if bytes[12] == 0xBE { 0xDE } else { bytes[13] & 0x0F };
            bytes[15] &= 0x0F;
        }
        touch(&bytes);
    }
}
