//! Each crafted input that `webrtc-dtls` dies of, and that it does not get through.

use super::*;
use crate::handshake_record::SERVER_HELLO;
use crate::test_pair::start;

fn record(content_type: u8, epoch: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![content_type, 254, 253, 0, epoch, 0, 0, 0, 0, 0, 1];
    bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn fragment(message_type: u8, length: u16, message_seq: u8, offset: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![message_type, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, message_seq, 0]);
    bytes.extend(offset.to_be_bytes());
    bytes.push(0);
    bytes.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn hello() -> Vec<u8> {
    let mut body = vec![254, 253];
    body.extend([7; 32]);
    body.extend([0, 0, 0, 2, 0xC0, 0x2B, 1, 0, 0, 4, 0, 23, 0, 0]);
    body
}

fn server() -> WebrtcDtlsGuard {
    WebrtcDtlsGuard::new(DtlsRole::Server, Duration::from_millis(100))
}

#[test]
fn forty_thousand_fragments_of_a_byte_are_nothing() {
    let mut guard = server();
    for offset in 0..40_000 {
        let bytes = record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, 40_000, 0, offset, &[1]));
        assert_eq!(guard.admit(&bytes), None);
    }
    // The largest that is put together.
    for offset in 0..8_000 {
        let bytes = record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, 8_000, 0, offset, &[1]));
        assert_eq!(guard.admit(&bytes), None, "does not parse");
    }
    assert!(guard.admit(&record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, 48, 0, 0, &hello()))).is_some());
}

#[test]
fn a_message_in_pieces_becomes_one_record() {
    let mut guard = server();
    let hello = hello();
    let length = u16::try_from(hello.len()).unwrap();
    // Cut elsewhere the second time; the first time the second piece was lost.
    assert_eq!(guard.admit(&record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, length, 0, 0, &hello[..30]))), None);
    assert_eq!(guard.admit(&record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, length, 0, 0, &hello[..20]))), None);
    let admitted = guard.admit(&record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, length, 0, 20, &hello[20..])));
    assert_eq!(admitted, Some(record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, length, 0, 0, &hello))));
}

#[test]
fn a_stray_byte_in_extensions_is_refused() {
    let mut guard = server();
    for stray in [1_u8, 2, 3] {
        let mut body = hello();
        let at = body.len() - 5;
        body[at] += stray;
        body.extend(vec![0; usize::from(stray)]);
        let length = u16::try_from(body.len()).unwrap();
        assert_eq!(guard.admit(&record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, length, 0, 0, &body))), None);
    }
    assert_eq!(guard.dropped.packets, 3);
}

#[test]
fn after_completion_only_what_has_keys_passes() {
    let mut guard = server();
    guard.complete();
    let long = [0; AEAD_OVERHEAD + 2];
    let passes = |content_type, epoch, payload: &[u8]| {
        let mut guard = server();
        guard.complete();
        guard.admit(&record(content_type, epoch, payload)).is_some()
    };
    for content_type in 0..=255 {
        assert!(!passes(content_type, 0, &[1, 0]), "{content_type} in plaintext");
        assert!(!passes(content_type, 0, &long), "{content_type} in plaintext");
        let keyed = matches!(content_type, ALERT | APPLICATION_DATA);
        assert_eq!(passes(content_type, 1, &long), keyed, "{content_type}");
        assert!(!passes(content_type, 2, &long), "{content_type} in a later epoch");
        // Shorter than nonce and tag: an underflow in webrtc-dtls.
        for length in 0..AEAD_OVERHEAD {
            assert!(!passes(content_type, 1, &long[..length]));
        }
    }
}

#[test]
fn before_completion_only_the_handshake_passes() {
    for content_type in 0..=255 {
        let mut guard = server();
        let long = [0; 100];
        let keyed = matches!(content_type, ALERT | HANDSHAKE | APPLICATION_DATA);
        assert_eq!(guard.admit(&record(content_type, 1, &long)).is_some(), keyed);
        assert!(guard.admit(&record(content_type, 2, &long)).is_none());
        assert!(guard.admit(&record(content_type, 0, &[])).is_none());
        let change = content_type == CHANGE_CIPHER_SPEC;
        assert_eq!(guard.admit(&record(content_type, 0, &[1])).is_some(), change);
        assert!(guard.admit(&record(content_type, 0, &[2])).is_none());
        assert!(guard.admit(&record(content_type, 0, &[1, 0])).is_none());
        assert!(guard.admit(&record(content_type, 0, &[2, 0])).is_none());
    }
}

#[test]
fn what_waits_is_bounded() {
    let mut guard = server();
    let passed = (0..1000).filter(|_| guard.admit(&record(APPLICATION_DATA, 1, &[0; 50])).is_some()).count();
    assert_eq!(passed, MAX_EARLY_RECORDS);
    let hello = record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, 48, 0, 0, &hello()));
    let passed = (0..1000).filter(|_| guard.admit(&hello).is_some()).count();
    assert_eq!(passed, MAX_HANDSHAKE_RECORDS);
    let mut guard = server();
    let far = record(HANDSHAKE, 0, &fragment(CLIENT_HELLO, 48, 16, 0, &self::hello()));
    assert_eq!(guard.admit(&far), None);
    let ours = record(HANDSHAKE, 0, &fragment(SERVER_HELLO, 48, 0, 0, &self::hello()));
    assert_eq!(guard.admit(&ours), None);
}

#[test]
fn a_lost_last_flight_is_sent_again() {
    let (mut guard, now) = (server(), start());
    let mut flight = record(CHANGE_CIPHER_SPEC, 0, &[1]);
    flight.extend(record(HANDSHAKE, 1, &[9; 48]));
    let retransmission = record(HANDSHAKE, 0, &fragment(16, 2, 2, 0, &[1, 1]));
    guard.observe_outgoing(&flight);
    assert_eq!(guard.answer(now, &retransmission), None);
    guard.complete();
    guard.observe_outgoing(&record(APPLICATION_DATA, 1, &[1; 40]));
    assert_eq!(guard.answer(now, &retransmission), Some(flight.clone()));
    // Not for each of a burst, and not for anything else.
    assert_eq!(guard.answer(now, &retransmission), None);
    let later = now + Duration::from_millis(50);
    assert_eq!(guard.answer(later, &record(ALERT, 0, &[1, 0])), None);
    assert_eq!(guard.answer(later, &record(HANDSHAKE, 0, &fragment(1, 2, 0, 0, &[1, 1]))), None);
    assert_eq!(guard.answer(later, &retransmission), Some(flight));
}
