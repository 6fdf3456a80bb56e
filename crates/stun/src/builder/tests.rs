//! Writing: what is written reads back, byte for byte as in the RFCs.

use super::*;
use crate::message::vectors::*;
use crate::{
    FingerprintStatus, IntegrityStatus, long_term_key_md5, long_term_key_sha256, short_term_key, userhash,
};

const ID: TransactionId = TransactionId::from_bytes(*b"abcdefghijkl");

fn request() -> MessageBuilder {
    MessageBuilder::new(Class::Request, Method::BINDING, ID)
}

fn id_of(bytes: &[u8]) -> TransactionId {
    Message::parse(bytes).unwrap().transaction_id()
}

#[test]
fn rfc_5769_2_1_is_written_up_to_the_padding() {
    // The RFC pads the user name with spaces and we with zeros, so integrity and fingerprint differ.
    let expected = hex(REQUEST);
    let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id_of(&expected));
    builder.add_software("STUN test client").add_priority(0x6E00_01FF);
    builder.add_ice_controlled(0x932F_F9B1_5126_3B36).add_username("evtj:h6vY");
    builder.integrity(short_term_key(PASSWORD)).fingerprint();
    let bytes = builder.try_finish().unwrap();
    assert_eq!(bytes.len(), expected.len());
    assert_eq!(bytes[..73], expected[..73]);
    assert_eq!(bytes[73..76], [0; 3]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.check_integrity(short_term_key(PASSWORD)), IntegrityStatus::Valid);
    assert_eq!(message.check_fingerprint(), FingerprintStatus::Valid);
}

#[test]
fn rfc_5769_2_3_addresses_are_written_alike() {
    for (text, address) in
        [(IPV4_RESPONSE, "192.0.2.1:32853"), (IPV6_RESPONSE, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let expected = hex(text);
        let mut builder = MessageBuilder::new(Class::SuccessResponse, Method::BINDING, id_of(&expected));
        builder.add_software("test vector").add_xor_mapped_address(address.parse().unwrap());
        let bytes = builder.finish();
        // SOFTWARE is padded with a space in the RFC.
        assert_eq!(bytes[4..35], expected[4..35]);
        assert_eq!(bytes[36..], expected[36..bytes.len()]);
    }
}

#[test]
fn rfc_5769_2_4_is_written_byte_for_byte() {
    let expected = hex(LONG_TERM_REQUEST);
    let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id_of(&expected));
    builder.add_username(USER).add_nonce("f//499k954d6OL34oL9FSTvy64sA").add_realm(REALM);
    builder.integrity(&long_term_key_md5(USER, REALM, USER_PASSWORD));
    assert_eq!(builder.try_finish().unwrap(), expected);
}

#[test]
fn rfc_8489_b_1_is_written_byte_for_byte() {
    let expected = hex(SHA256_REQUEST);
    let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id_of(&expected));
    builder.add_userhash(&userhash(USER, REALM)).add_nonce("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA");
    builder.add_realm(REALM).add_password_algorithm(PasswordAlgorithm::Sha256);
    builder.integrity_sha256(&long_term_key_sha256(USER, REALM, USER_PASSWORD));
    assert_eq!(builder.try_finish().unwrap(), expected);
}

#[test]
fn a_response_takes_method_and_transaction_from_its_request() {
    let request = MessageBuilder::new(Class::Request, Method::REFRESH, ID).finish();
    let request = Message::parse(&request).unwrap();
    let response = MessageBuilder::response_to(&request, Class::ErrorResponse).finish();
    let response = Message::parse(&response).unwrap();
    assert_eq!((response.class(), response.method()), (Class::ErrorResponse, Method::REFRESH));
    assert_eq!(response.transaction_id(), ID);
}

#[test]
fn addresses_round_trip() {
    for text in ["192.0.2.1:1", "255.255.255.255:65535", "0.0.0.0:0", "[2001:db8::1]:3478", "[::]:0"] {
        let address = text.parse().unwrap();
        let mut builder = request();
        builder.add_mapped_address(address).add_xor_mapped_address(address).add_alternate_server(address);
        builder.add_xor_peer_address(address).add_xor_relayed_address(address);
        builder.add_response_origin(address).add_other_address(address);
        let bytes = builder.try_finish().unwrap();
        let message = Message::parse(&bytes).unwrap();
        for read in [
            message.mapped_address(),
            message.xor_mapped_address(),
            message.alternate_server(),
            message.xor_peer_address(),
            message.xor_relayed_address(),
            message.response_origin(),
            message.other_address(),
        ] {
            assert_eq!(read, Some(address));
        }
    }
}

#[test]
fn several_addresses_of_one_kind_round_trip() {
    let addresses: [SocketAddr; 3] =
        ["192.0.2.1:1", "[2001:db8::2]:2", "192.0.2.3:3"].map(|text| text.parse().unwrap());
    let mut builder = request();
    for address in addresses {
        builder.add_xor_peer_address(address).add_xor_relayed_address(address);
    }
    let bytes = builder.try_finish().unwrap();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.xor_peer_addresses().collect::<Vec<_>>(), addresses);
    assert_eq!(message.xor_relayed_addresses().collect::<Vec<_>>(), addresses);
}

#[test]
fn stun_attributes_round_trip() {
    let algorithms = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];
    let mut builder = request();
    builder.add_username("user").add_realm("realm").add_nonce("nonce").add_software("software");
    builder.add_error_code(438, "Stale Nonce").add_unknown_attributes(&[0x7001, 0x7002, 0x7003]);
    builder.add_password_algorithm(PasswordAlgorithm::Md5).add_password_algorithms(&algorithms);
    builder.add_alternate_domain("example.org").add_userhash(&[7; 32]);
    builder.add_change_request(ChangeRequest { change_ip: true, change_port: false });
    builder.add_response_port(4000).add_padding(1201);
    builder.add_attribute(AttributeType(0x8ABC), b"raw");
    let bytes = builder.try_finish().unwrap();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.username(), Some("user"));
    assert_eq!(message.realm(), Some("realm"));
    assert_eq!(message.nonce(), Some("nonce"));
    assert_eq!(message.software(), Some("software"));
    let error = message.error_code().unwrap();
    assert_eq!((error.code, error.reason), (438, "Stale Nonce"));
    let unknown: Vec<u16> = message.unknown_attributes().map(|kind| kind.0).collect();
    assert_eq!(unknown, [0x7001, 0x7002, 0x7003]);
    assert_eq!(message.password_algorithm(), Some(PasswordAlgorithm::Md5));
    assert_eq!(message.password_algorithms().collect::<Vec<_>>(), algorithms);
    assert_eq!(message.alternate_domain(), Some("example.org"));
    assert_eq!(message.userhash(), Some([7; 32]));
    assert_eq!(message.change_request(), Some(ChangeRequest { change_ip: true, change_port: false }));
    assert_eq!((message.response_port(), message.padding()), (Some(4000), Some(1201)));
    assert_eq!(message.attribute(AttributeType(0x8ABC)), Some(&b"raw"[..]));
}

#[test]
fn ice_and_libwebrtc_attributes_round_trip() {
    let info = GoogNetworkInfo { network_id: 3, network_cost: 999 };
    let mut builder = request();
    builder
        .add_priority(1_845_501_695)
        .add_use_candidate()
        .add_ice_controlled(1)
        .add_ice_controlling(u64::MAX);
    builder.add_nomination(5).add_goog_network_info(info).add_goog_last_ice_check_received(ID);
    builder.add_goog_misc_info(&[1, 2]).add_goog_delta(b"delta").add_goog_delta_ack(9);
    builder.add_meta_dtls_in_stun(&[22; 300]).add_meta_dtls_in_stun_ack(&[1, 2, 3, 4]);
    let bytes = builder.try_finish().unwrap();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.priority(), message.use_candidate()), (Some(1_845_501_695), true));
    assert_eq!((message.ice_controlled(), message.ice_controlling()), (Some(1), Some(u64::MAX)));
    assert_eq!((message.nomination(), message.goog_network_info()), (Some(5), Some(info)));
    assert_eq!(message.goog_last_ice_check_received(), Some(ID));
    assert_eq!(message.goog_misc_info().unwrap().collect::<Vec<_>>(), [1, 2]);
    assert_eq!((message.goog_delta(), message.goog_delta_ack()), (Some(&b"delta"[..]), Some(9)));
    assert_eq!(message.meta_dtls_in_stun(), Some(&[22; 300][..]));
    assert_eq!(message.meta_dtls_in_stun_ack(), Some(&[1, 2, 3, 4][..]));
}

#[test]
fn turn_attributes_round_trip() {
    let icmp = Icmp { icmp_type: 3, code: 4, data: [0, 0, 5, 220] };
    let mut builder = MessageBuilder::new(Class::Request, Method::ALLOCATE, ID);
    builder.add_channel_number(0x4001).add_lifetime(600).add_data(b"data").add_requested_transport(17);
    builder.add_requested_address_family(AddressFamily::Ipv6);
    builder.add_additional_address_family(AddressFamily::Ipv6).add_even_port(true).add_dont_fragment();
    builder.add_reservation_token(&[8; 8]).add_icmp(icmp);
    builder.add_address_error_code(AddressFamily::Ipv4, 440, "no");
    let bytes = builder.try_finish().unwrap();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.method(), Method::ALLOCATE);
    assert_eq!((message.channel_number(), message.lifetime()), (Some(0x4001), Some(600)));
    assert_eq!((message.data(), message.requested_transport()), (Some(&b"data"[..]), Some(17)));
    assert_eq!(message.requested_address_family(), Some(AddressFamily::Ipv6));
    assert_eq!(message.additional_address_family(), Some(AddressFamily::Ipv6));
    assert_eq!((message.even_port(), message.dont_fragment()), (Some(true), true));
    assert_eq!((message.reservation_token(), message.icmp()), (Some([8; 8]), Some(icmp)));
    assert_eq!(message.address_error_code(), Some((AddressFamily::Ipv4, 440)));
}

#[test]
fn sha256_may_be_cut_to_sixteen_bytes() {
    for len in [16, 20, 24, 28, 32] {
        let mut builder = request();
        builder.add_username("a:b").integrity_sha256_truncated(b"key", len).fingerprint();
        let bytes = builder.try_finish().unwrap();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256).map(<[u8]>::len), Some(len));
        assert_eq!(message.check_integrity(b"key"), IntegrityStatus::Valid);
        assert_eq!(message.check_integrity(b"other"), IntegrityStatus::Invalid);
        assert_eq!(message.check_fingerprint(), FingerprintStatus::Valid);
    }
    for len in [0, 12, 17, 36] {
        let mut builder = request();
        builder.integrity_sha256_truncated(b"key", len);
        assert!(matches!(builder.error(), Some(BuildError::InvalidValue { .. })), "{len}");
    }
}

#[test]
fn goog_ping_is_signed_with_32_bits() {
    let mut builder = MessageBuilder::new(Class::Request, Method::GOOG_PING, ID);
    builder.goog_integrity_32(b"key").fingerprint();
    let bytes = builder.try_finish().unwrap();
    assert_eq!(bytes.len(), 36);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.check_goog_message_integrity_32(b"key"), IntegrityStatus::Valid);
    assert_eq!(message.check_goog_message_integrity_32(b"other"), IntegrityStatus::Invalid);
    assert_eq!(message.check_integrity(b"key"), IntegrityStatus::Missing);
}

#[test]
fn a_buffer_is_reused_or_appended_to() {
    let first = {
        let mut builder = request();
        builder.add_priority(1).integrity(b"key").fingerprint();
        builder.finish()
    };
    let mut buffer = vec![0xAA; 300];
    let (pointer, capacity) = (buffer.as_ptr(), buffer.capacity());
    let mut builder = MessageBuilder::reuse(buffer, Class::Request, Method::BINDING, ID);
    builder.add_priority(1).integrity(b"key").fingerprint();
    buffer = builder.finish();
    assert_eq!(buffer, first);
    assert_eq!((buffer.as_ptr(), buffer.capacity()), (pointer, capacity));

    let mut builder = MessageBuilder::append_to(&mut buffer, Class::Request, Method::BINDING, ID);
    builder.add_priority(1).integrity(b"key").fingerprint();
    builder.finish();
    assert_eq!(buffer, [&first[..], &first[..]].concat());
}

#[test]
fn what_cannot_be_written_is_left_out_and_told() {
    let long = "x".repeat(764);
    let too_long = |attribute, limit| BuildError::ValueTooLong { attribute, len: 764, limit };
    let invalid = |attribute| BuildError::InvalidValue { attribute };
    let check = |error: BuildError, write: &dyn Fn(&mut MessageBuilder)| {
        let mut builder = request();
        builder.add_priority(1);
        write(&mut builder);
        builder.add_use_candidate();
        assert_eq!(builder.error(), Some(error));
        let bytes = builder.finish();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.attributes().count(), 2, "{error}");
        let mut again = request();
        write(&mut again);
        assert_eq!(again.try_finish(), Err(error));
    };
    check(too_long(AttributeType::USERNAME, 513), &|builder| _ = builder.add_username(&long));
    check(too_long(AttributeType::REALM, 763), &|builder| _ = builder.add_realm(&long));
    check(too_long(AttributeType::NONCE, 763), &|builder| _ = builder.add_nonce(&long));
    check(too_long(AttributeType::SOFTWARE, 763), &|builder| _ = builder.add_software(&long));
    check(too_long(AttributeType::ERROR_CODE, 763), &|builder| _ = builder.add_error_code(400, &long));
    check(invalid(AttributeType::ERROR_CODE), &|builder| _ = builder.add_error_code(200, ""));
    check(invalid(AttributeType::ERROR_CODE), &|builder| _ = builder.add_error_code(700, ""));
    check(invalid(AttributeType::FINGERPRINT), &|builder| {
        builder.add_attribute(AttributeType::FINGERPRINT, &[0; 4]);
    });
    check(BuildError::MessageTooLong { attribute: AttributeType::DATA }, &|builder| {
        builder.add_data(&vec![0; 65_529]);
    });
    check(BuildError::MessageTooLong { attribute: AttributeType::PADDING }, &|builder| {
        builder.add_padding(usize::MAX);
    });
}

#[test]
fn the_largest_message_is_written() {
    let mut builder = request();
    builder.add_data(&vec![1; 65_492]).integrity(b"key").fingerprint();
    let bytes = builder.try_finish().unwrap();
    assert_eq!(bytes.len(), HEADER_LEN + 65_528);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.check_integrity(b"key"), IntegrityStatus::Valid);
    assert_eq!(message.check_fingerprint(), FingerprintStatus::Valid);
    let mut builder = request();
    builder.add_data(&vec![1; 65_528]);
    assert_eq!(builder.finish().len(), HEADER_LEN + MAX_LENGTH);
    let mut builder = request();
    builder.add_data(&vec![1; 65_520]).integrity(b"key");
    assert!(matches!(builder.error(), Some(BuildError::MessageTooLong { .. })));
}

#[test]
fn attributes_come_in_order() {
    for write in [
        |builder: &mut MessageBuilder| _ = builder.integrity(b"k").add_priority(1),
        |builder: &mut MessageBuilder| _ = builder.integrity(b"k").integrity(b"k"),
        |builder: &mut MessageBuilder| _ = builder.integrity_sha256(b"k").integrity(b"k"),
        |builder: &mut MessageBuilder| _ = builder.fingerprint().integrity(b"k"),
        |builder: &mut MessageBuilder| _ = builder.fingerprint().fingerprint(),
    ] {
        let mut builder = request();
        write(&mut builder);
        assert!(matches!(builder.error(), Some(BuildError::OutOfOrder { .. })));
        let bytes = builder.finish();
        assert_eq!(Message::parse(&bytes).unwrap().attributes().count(), 1);
    }
}

#[test]
fn a_message_holds_64_attributes() {
    let mut builder = request();
    for _ in 0..70 {
        builder.add_use_candidate();
    }
    assert!(matches!(builder.error(), Some(BuildError::MessageTooLong { .. })));
    let bytes = builder.finish();
    assert_eq!(Message::parse(&bytes).unwrap().attributes().count(), MAX_ATTRIBUTES);
}
