//! Reading: the RFC's vectors, and bytes that nobody meant to send.

use std::path::PathBuf;

use super::vectors::*;
use super::*;
use crate::{
    MessageBuilder, PasswordAlgorithm, long_term_key_md5, long_term_key_sha256, short_term_key, userhash,
};

const ID: TransactionId = TransactionId::from_bytes(*b"abcdefghijkl");

/// Reads all there is to read in `bytes`, if they parse.
fn exercise(bytes: &[u8]) -> bool {
    let is_stun = is_stun(bytes);
    let Ok(message) = Message::parse(bytes) else { return false };
    assert!(is_stun);
    let count = message.attributes().count();
    assert!(count <= MAX_ATTRIBUTES);
    assert!(message.unknown_comprehension_required(&[]).len() <= count);
    let _ = (message.check_fingerprint(), message.check_integrity(b"key"));
    let _ = (message.check_message_integrity(b""), message.check_goog_message_integrity_32(b"key"));
    let _ = (message.mapped_address(), message.xor_mapped_address(), message.alternate_server());
    let _ = (message.alternate_domain(), message.username(), message.userhash(), message.realm());
    let _ = (message.nonce(), message.software(), message.error_code(), message.unknown_attributes().count());
    let _ = (message.password_algorithm(), message.password_algorithms().count(), message.priority());
    let _ = (message.use_candidate(), message.ice_controlled(), message.ice_controlling());
    let _ = (message.channel_number(), message.lifetime(), message.xor_peer_address());
    let _ = (message.xor_peer_addresses().count(), message.data(), message.xor_relayed_address());
    let _ = (message.xor_relayed_addresses().count(), message.requested_address_family());
    let _ = (message.additional_address_family(), message.even_port(), message.requested_transport());
    let _ = (message.dont_fragment(), message.reservation_token(), message.address_error_code());
    let _ = (message.icmp(), message.change_request(), message.response_port(), message.padding());
    let _ = (message.response_origin(), message.other_address(), message.nomination());
    let _ = (message.goog_network_info(), message.goog_last_ice_check_received());
    let _ = (message.goog_misc_info().map(Iterator::count), message.goog_delta(), message.goog_delta_ack());
    let _ = (message.meta_dtls_in_stun(), message.meta_dtls_in_stun_ack(), format!("{message:?}"));
    true
}

/// A message of raw attributes, lengths and padding right.
fn message_of(attributes: &[(AttributeType, &[u8])]) -> Vec<u8> {
    let mut bytes = hex("000100002112a442");
    bytes.extend_from_slice(ID.as_bytes());
    for (kind, value) in attributes {
        bytes.extend_from_slice(&kind.0.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0xEE);
    }
    let length = u16::try_from(bytes.len() - HEADER_LEN).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn rfc_5769_2_1_request() {
    let bytes = hex(REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, Method::BINDING));
    assert_eq!(message.transaction_id().as_bytes()[..], hex("b7e7a701bc34d686fa87dfae"));
    assert_eq!(message.software(), Some("STUN test client"));
    assert_eq!(message.username(), Some("evtj:h6vY"));
    assert_eq!(message.priority(), Some(0x6E00_01FF));
    assert_eq!(message.ice_controlled(), Some(0x932F_F9B1_5126_3B36));
    assert_eq!(message.ice_controlling(), None);
    assert_eq!(message.check_fingerprint(), FingerprintStatus::Valid);
    assert_eq!(message.check_integrity(short_term_key(PASSWORD)), IntegrityStatus::Valid);
    assert_eq!(message.check_integrity(b"another"), IntegrityStatus::Invalid);
    assert_eq!(message.check_message_integrity_sha256(PASSWORD.as_bytes()), IntegrityStatus::Missing);
    assert!(message.unknown_comprehension_required(AttributeType::KNOWN_ICE).is_empty());
}

#[test]
fn rfc_5769_2_2_and_2_3_responses() {
    for (text, address) in
        [(IPV4_RESPONSE, "192.0.2.1:32853"), (IPV6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let bytes = hex(text);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (Class::SuccessResponse, Method::BINDING));
        assert!(message.is_response());
        assert_eq!(message.software(), Some("test vector"));
        assert_eq!(message.xor_mapped_address(), Some(address.parse().unwrap()));
        assert_eq!(message.check_fingerprint(), FingerprintStatus::Valid);
        assert_eq!(message.check_integrity(PASSWORD.as_bytes()), IntegrityStatus::Valid);
    }
}

#[test]
fn rfc_5769_2_4_long_term_request() {
    let bytes = hex(LONG_TERM_REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.username(), Some(USER));
    assert_eq!(message.nonce(), Some("f//499k954d6OL34oL9FSTvy64sA"));
    assert_eq!(message.realm(), Some(REALM));
    let key = long_term_key_md5(USER, REALM, USER_PASSWORD);
    assert_eq!(message.check_integrity(&key), IntegrityStatus::Valid);
    assert_eq!(message.check_fingerprint(), FingerprintStatus::Missing);
}

#[test]
fn rfc_8489_b_1_sha256_request() {
    let bytes = hex(SHA256_REQUEST);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.userhash(), Some(userhash(USER, REALM)));
    assert_eq!(message.nonce(), Some("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"));
    assert_eq!(message.realm(), Some(REALM));
    assert_eq!(message.password_algorithm(), Some(PasswordAlgorithm::Sha256));
    let key = long_term_key_sha256(USER, REALM, USER_PASSWORD);
    assert_eq!(message.check_integrity(&key), IntegrityStatus::Valid);
    assert_eq!(message.check_message_integrity(&key), IntegrityStatus::Missing);
}

#[test]
fn classes_and_methods_interleave_their_bits() {
    for (number, class, method) in [
        (0x0001, Class::Request, Method::BINDING),
        (0x0011, Class::Indication, Method::BINDING),
        (0x0101, Class::SuccessResponse, Method::BINDING),
        (0x0111, Class::ErrorResponse, Method::BINDING),
        (0x0003, Class::Request, Method::ALLOCATE),
        (0x0017, Class::Indication, Method::DATA),
        (0x0200, Class::Request, Method::GOOG_PING),
        (0x0300, Class::SuccessResponse, Method::GOOG_PING),
        (0x0310, Class::ErrorResponse, Method::GOOG_PING),
        (0x3FFF, Class::ErrorResponse, Method::from_number(0xFFF)),
    ] {
        assert_eq!(message_type(class, method), number);
        assert_eq!(class_and_method(number), (class, method));
    }
    assert!((0..0x4000).all(|number| {
        let (class, method) = class_and_method(number);
        message_type(class, method) == number
    }));
}

#[test]
fn every_truncation_is_refused() {
    for bytes in all() {
        for len in 0..bytes.len() {
            assert!(!is_stun(&bytes[..len]), "{len}");
            assert!(Message::parse(&bytes[..len]).is_err(), "{len}");
            // With a length field that fits, the cut attribute is what is wrong, or nothing.
            if len >= HEADER_LEN && len % 4 == 0 {
                let mut shortened = bytes[..len].to_vec();
                shortened[2..4].copy_from_slice(&u16::try_from(len - HEADER_LEN).unwrap().to_be_bytes());
                exercise(&shortened);
            }
        }
        let mut longer = bytes.clone();
        longer.extend_from_slice(&[0; 4]);
        assert!(matches!(Message::parse(&longer), Err(ParseError::Length { .. })));
    }
}

#[test]
fn every_flipped_bit_is_survived_and_noticed() {
    for (bytes, key) in all().into_iter().zip([
        PASSWORD.as_bytes().to_vec(),
        PASSWORD.as_bytes().to_vec(),
        PASSWORD.as_bytes().to_vec(),
        long_term_key_md5(USER, REALM, USER_PASSWORD).to_vec(),
        long_term_key_sha256(USER, REALM, USER_PASSWORD).to_vec(),
    ]) {
        let original = Message::parse(&bytes).unwrap();
        let fingerprinted = original.has(AttributeType::FINGERPRINT);
        let signed = bytes.len() - if fingerprinted { FINGERPRINT_LEN } else { 0 };
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if !exercise(&flipped) {
                continue;
            }
            let message = Message::parse(&flipped).unwrap();
            if fingerprinted {
                assert_ne!(message.check_fingerprint(), FingerprintStatus::Valid, "bit {bit}");
            }
            if bit / 8 < signed {
                assert_ne!(message.check_integrity(&key), IntegrityStatus::Valid, "bit {bit}");
            }
        }
    }
}

#[test]
fn random_bytes_behind_a_header_are_survived() {
    let mut random = Random::from_seed(3);
    for _ in 0..20_000 {
        let mut bytes = hex("000100002112a442");
        bytes.resize(20 + 4 * usize::try_from(random.below(30)).unwrap(), 0);
        random.fill(&mut bytes[8..]);
        let length = u16::try_from(bytes.len() - HEADER_LEN).unwrap();
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        // Small lengths and known numbers, so that some of them parse.
        for word in bytes[20..].chunks_exact_mut(4) {
            if random.chance(0.5) {
                word[0] &= 0x80;
                word[1] &= 0x3F;
                word[2] = 0;
                word[3] &= 0x0F;
            }
        }
        exercise(&bytes);
    }
}

#[test]
fn headers_that_are_not_stun() {
    assert_eq!(Message::parse(&[]).err(), Some(ParseError::TooShort { len: 0 }));
    assert_eq!(Message::parse(&[0; 19]).err(), Some(ParseError::TooShort { len: 19 }));
    assert_eq!(Message::parse(&[0; 20]).err(), Some(ParseError::NotStun));
    let empty = message_of(&[]);
    assert!(exercise(&empty));
    for (byte, value) in [(0, 0x40), (0, 0x80), (4, 0x20)] {
        let mut bytes = empty.clone();
        bytes[byte] = value;
        assert_eq!(Message::parse(&bytes).err(), Some(ParseError::NotStun));
    }
    let mut odd = empty;
    odd.extend_from_slice(&[0, 0]);
    odd[3] = 2;
    assert_eq!(Message::parse(&odd).err(), Some(ParseError::Length { header: 2, datagram: 2 }));
}

#[test]
fn attributes_that_reach_beyond_the_end_are_refused() {
    let mut bytes = message_of(&[(AttributeType::SOFTWARE, b"abcd")]);
    bytes[23] = 5;
    let error = ParseError::AttributeLength { kind: AttributeType::SOFTWARE, offset: 20, len: 5 };
    assert_eq!(Message::parse(&bytes).err(), Some(error));
    bytes[22..24].copy_from_slice(&[0xFF, 0xFF]);
    assert!(Message::parse(&bytes).is_err());
    bytes[22..24].copy_from_slice(&[0, 1]);
    assert_eq!(Message::parse(&bytes).unwrap().software(), Some("a"));
}

#[test]
fn more_than_64_attributes_are_refused() {
    let attribute: (AttributeType, &[u8]) = (AttributeType::DATA, &[]);
    assert!(exercise(&message_of(&[attribute; MAX_ATTRIBUTES])));
    let too_many = message_of(&[attribute; MAX_ATTRIBUTES + 1]);
    assert_eq!(Message::parse(&too_many).err(), Some(ParseError::TooManyAttributes));
}

#[test]
fn the_first_occurrence_counts() {
    let bytes = message_of(&[
        (AttributeType::PRIORITY, &[0, 0, 0, 1]),
        (AttributeType::SOFTWARE, b"first"),
        (AttributeType::PRIORITY, &[0, 0, 0, 2]),
        (AttributeType::SOFTWARE, b"second"),
    ]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.priority(), Some(1));
    assert_eq!(message.software(), Some("first"));
}

#[test]
fn what_follows_integrity_is_ignored() {
    let key = b"key";
    let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, ID);
    builder.add_username("a:b").integrity(key);
    let mut bytes = builder.finish();
    // An attacker on the path appends what MESSAGE-INTEGRITY does not protect, and a right FINGERPRINT.
    let forged = message_of(&[
        (AttributeType::USE_CANDIDATE, &[]),
        (AttributeType(0x7FFF), &[]),
        (AttributeType::MESSAGE_INTEGRITY, &[0; 20]),
        (AttributeType::FINGERPRINT, &[0; 4]),
        (AttributeType::PRIORITY, &[0; 4]),
    ]);
    bytes.extend_from_slice(&forged[HEADER_LEN..forged.len() - 8]);
    let end = bytes.len() - FINGERPRINT_LEN;
    let length = u16::try_from(bytes.len() - HEADER_LEN).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let crc = crc32fast::hash(&bytes[..end]) ^ FINGERPRINT_XOR;
    bytes[end + 4..].copy_from_slice(&crc.to_be_bytes());

    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.check_integrity(key), IntegrityStatus::Valid);
    assert_eq!(message.check_fingerprint(), FingerprintStatus::Valid);
    assert!(!message.use_candidate());
    assert!(message.unknown_comprehension_required(AttributeType::KNOWN_ICE).is_empty());
    let kinds: Vec<_> = message.attributes().map(|attribute| attribute.kind).collect();
    let expected = [AttributeType::USERNAME, AttributeType::MESSAGE_INTEGRITY, AttributeType::FINGERPRINT];
    assert_eq!(kinds, expected);
}

#[test]
fn sha1_behind_sha256_does_not_count_and_sha256_behind_sha1_does() {
    let (sha1, sha256) = (AttributeType::MESSAGE_INTEGRITY, AttributeType::MESSAGE_INTEGRITY_SHA256);
    let wrong = message_of(&[(sha256, &[0; 32]), (sha1, &[0; 20]), (sha256, &[1; 32])]);
    let message = Message::parse(&wrong).unwrap();
    assert_eq!(message.attributes().map(|attribute| attribute.kind).collect::<Vec<_>>(), [sha256]);
    assert_eq!(message.check_message_integrity(b"key"), IntegrityStatus::Missing);

    let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, ID);
    builder.add_username("a:b").integrity(b"key").integrity_sha256(b"key").fingerprint();
    let bytes = builder.try_finish().unwrap();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.check_message_integrity(b"key"), IntegrityStatus::Valid);
    assert_eq!(message.check_message_integrity_sha256(b"key"), IntegrityStatus::Valid);
    assert_eq!(message.check_fingerprint(), FingerprintStatus::Valid);
}

#[test]
fn integrity_of_a_wrong_length_is_invalid() {
    for (kind, len) in [
        (AttributeType::MESSAGE_INTEGRITY, 0),
        (AttributeType::MESSAGE_INTEGRITY, 19),
        (AttributeType::MESSAGE_INTEGRITY, 32),
        (AttributeType::MESSAGE_INTEGRITY_SHA256, 0),
        (AttributeType::MESSAGE_INTEGRITY_SHA256, 4),
        (AttributeType::MESSAGE_INTEGRITY_SHA256, 15),
        (AttributeType::MESSAGE_INTEGRITY_SHA256, 18),
        (AttributeType::MESSAGE_INTEGRITY_SHA256, 36),
    ] {
        let bytes = message_of(&[(kind, &vec![0; len])]);
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.check_integrity(b"key"), IntegrityStatus::Invalid, "{kind} of {len}");
    }
}

#[test]
fn a_fingerprint_that_is_not_the_last_is_invalid() {
    let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, ID);
    let mut bytes = {
        builder.fingerprint();
        builder.finish()
    };
    assert_eq!(Message::parse(&bytes).unwrap().check_fingerprint(), FingerprintStatus::Valid);
    bytes.extend_from_slice(&[0x80, 0x22, 0, 0]);
    bytes[3] += 4;
    assert_eq!(Message::parse(&bytes).unwrap().check_fingerprint(), FingerprintStatus::Invalid);
    let long = message_of(&[(AttributeType::FINGERPRINT, &[0; 8])]);
    assert_eq!(Message::parse(&long).unwrap().check_fingerprint(), FingerprintStatus::Invalid);
}

/// C04: exactly the unknown comprehension-required attributes are listed, each once, in order.
#[test]
fn unknown_comprehension_required_attributes_are_listed() {
    let bytes = message_of(&[
        (AttributeType(0x7001), &[]),
        (AttributeType::USERNAME, b"a:b"),
        (AttributeType(0x0002), &[1]),
        (AttributeType(0x8FFF), &[]),
        (AttributeType(0xC057), &[0; 4]),
        (AttributeType(0x7001), &[]),
        (AttributeType::LIFETIME, &[0; 4]),
        (AttributeType::MESSAGE_INTEGRITY, &[0; 20]),
        (AttributeType(0x7003), &[]),
    ]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.unknown_comprehension_required(AttributeType::KNOWN_ICE), [0x7001, 0x0002, 0x000D]);
    assert_eq!(message.unknown_comprehension_required(AttributeType::KNOWN_TURN), [0x7001, 0x0002]);
}

#[test]
fn malformed_values_read_as_none() {
    let bytes = message_of(&[
        (AttributeType::XOR_MAPPED_ADDRESS, &[0, 1, 0, 0, 1, 2, 3]),
        (AttributeType::MAPPED_ADDRESS, &[0, 3, 0, 0, 1, 2, 3, 4]),
        (AttributeType::PRIORITY, &[1, 2, 3]),
        (AttributeType::USERNAME, &[0xFF, 0xFE]),
        (AttributeType::REALM, &[b'a'; 764]),
        (AttributeType::ERROR_CODE, &[0, 0, 2, 0]),
        (AttributeType::ICE_CONTROLLED, &[0; 9]),
        (AttributeType::EVEN_PORT, &[]),
        (AttributeType::GOOG_MISC_INFO, &[0; 3]),
        (AttributeType::PASSWORD_ALGORITHMS, &[0, 1, 0, 9, 0, 2, 0, 0]),
    ]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.xor_mapped_address(), message.mapped_address()), (None, None));
    assert_eq!((message.priority(), message.username(), message.realm()), (None, None, None));
    assert_eq!((message.error_code(), message.ice_controlled(), message.even_port()), (None, None, None));
    assert!(message.goog_misc_info().is_none());
    assert_eq!(message.password_algorithms().count(), 0);
    assert!(message.has(AttributeType::PRIORITY));
    let not_utf8 = message_of(&[(AttributeType::ERROR_CODE, &[0xFF, 0xFF, 0xFC, 87, 0xFF])]);
    let error = Message::parse(&not_utf8).unwrap().error_code().unwrap();
    assert_eq!((error.code, error.reason), (487, ""));
}

#[test]
fn debug_shows_no_values() {
    let bytes = hex(REQUEST);
    let text = format!("{:?}", Message::parse(&bytes).unwrap());
    let expected = "Binding Request b7e7a701bc34d686fa87dfae [SOFTWARE[16], PRIORITY[4], ICE_CONTROLLED[8], \
                    USERNAME[9], MESSAGE_INTEGRITY[20], FINGERPRINT[4]]";
    assert_eq!(text, expected);
}

/// Samples of public corpora, where the folder is present: parsed or refused.
#[test]
fn samples_are_parsed_or_refused() {
    let root = std::env::var_os("PEERSTACK_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora"),
        PathBuf::from,
    );
    let Ok(folder) = std::fs::read_dir(root.join("stun-corpus")) else { return };
    let mut parsed = 0;
    for entry in folder {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        parsed += usize::from(exercise(&bytes));
        let _ = crate::ChannelData::parse(&bytes);
        let mut deframer = crate::StreamDeframer::new(crate::Framing::Stun);
        deframer.push(&bytes);
        while let Ok(Some(_)) = deframer.next_frame() {}
    }
    assert!(parsed > 0, "no sample parsed");
}
