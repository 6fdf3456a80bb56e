//! STUN messages (RFC 8489): every getter, integrity, fingerprint, and writing again what was read; responses to
//! pending requests.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use peerstack_fuzz::{Input, origin};
use peerstack_stun::{
    AttributeType, Class, FingerprintStatus, HEADER_LEN, IntegrityStatus, MAX_ATTRIBUTES, Message,
    MessageBuilder, StunRequest, StunRequestManager, is_stun,
};

const KEY: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";
const COMPUTED: [AttributeType; 4] = [
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::GOOG_MESSAGE_INTEGRITY_32,
    AttributeType::FINGERPRINT,
];

fuzz_target!(|data: &[u8]| {
    exercise(data);
    // The same as the body of a message whose header is right.
    let mut input = Input::new(data);
    let mut bytes = input.u16().to_be_bytes().to_vec();
    bytes[0] &= 0x3F;
    bytes.extend_from_slice(&[0, 0, 0x21, 0x12, 0xA4, 0x42]);
    bytes.extend_from_slice(b"abcdefghijkl");
    let body = input.rest();
    bytes.extend_from_slice(&body[..body.len() & !3]);
    if let Ok(length) = u16::try_from(bytes.len() - HEADER_LEN) {
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        exercise(&bytes);
    }
});

fn exercise(bytes: &[u8]) {
    let is_stun = is_stun(bytes);
    let Ok(message) = Message::parse(bytes) else { return };
    assert!(is_stun);
    assert_eq!(message.as_bytes(), bytes);
    let count = message.attributes().count();
    assert!(count <= MAX_ATTRIBUTES);
    assert!(message.unknown_comprehension_required(&[]).len() <= count);
    read_all(&message);
    write_again(&message);
    answer(&message);
}

fn read_all(message: &Message<'_>) {
    let _ = (message.check_fingerprint(), message.check_integrity(KEY), message.check_message_integrity(b""));
    let _ = (message.check_message_integrity_sha256(KEY), message.check_goog_message_integrity_32(KEY));
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
}

/// What was read is written again, signed, and read as the same; one bit more or less is noticed.
fn write_again(message: &Message<'_>) {
    let attributes: Vec<_> = message
        .attributes()
        .map(|attribute| (attribute.kind, attribute.value))
        .filter(|(kind, _)| !COMPUTED.contains(kind))
        .collect();
    let mut builder =
        MessageBuilder::<Vec<u8>>::new(message.class(), message.method(), message.transaction_id());
    for (kind, value) in &attributes {
        builder.add_attribute(*kind, value);
    }
    builder.integrity(KEY).fingerprint();
    let fits = attributes.len() + 2 <= MAX_ATTRIBUTES && message.as_bytes().len() < 65_000;
    let Ok(mut bytes) = builder.try_finish() else {
        assert!(!fits, "a message that was read can be written");
        return;
    };
    let again = Message::parse(&bytes).expect("what was written can be read");
    assert_eq!((again.class(), again.method()), (message.class(), message.method()));
    assert_eq!(again.transaction_id(), message.transaction_id());
    assert_eq!(again.check_integrity(KEY), IntegrityStatus::Valid);
    assert_eq!(again.check_fingerprint(), FingerprintStatus::Valid);
    let kept = again.attributes().map(|attribute| (attribute.kind, attribute.value));
    assert!(kept.filter(|(kind, _)| !COMPUTED.contains(kind)).eq(attributes.iter().copied()));
    let at = message.transaction_id().as_bytes()[11] as usize % (bytes.len() - 8);
    bytes[at] ^= 4;
    if let Ok(changed) = Message::parse(&bytes) {
        assert_ne!(changed.check_integrity(KEY), IntegrityStatus::Valid);
        assert_ne!(changed.check_fingerprint(), FingerprintStatus::Valid);
    }
}

/// Only a response to the pending request ends it, once, and only if it is signed.
fn answer(message: &Message<'_>) {
    let request =
        MessageBuilder::<Vec<u8>>::new(Class::Request, message.method(), message.transaction_id()).finish();
    let mut manager = StunRequestManager::with_max_pending(1);
    let request = StunRequest::new(request, ()).unwrap().with_key(KEY);
    manager.send(origin(), request).unwrap();
    while manager.poll_transmit().is_some() {}
    let now = origin() + Duration::from_millis(20);
    match manager.check_response(now, message) {
        Some(response) => {
            assert!(message.is_response());
            assert_eq!(response.transaction_id, message.transaction_id());
            if message.class() == Class::SuccessResponse {
                assert!(response.authenticated);
            }
            assert_eq!(response.authenticated, message.check_integrity(KEY) == IntegrityStatus::Valid);
            assert!(manager.is_empty());
            assert!(manager.check_response(now, message).is_none());
        }
        None => assert_eq!(manager.len(), 1),
    }
}
