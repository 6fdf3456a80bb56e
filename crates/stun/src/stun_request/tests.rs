//! Timing, matching and ending of requests.

use super::*;
use crate::MessageBuilder;

const KEY: &[u8] = b"password";

#[expect(clippy::disallowed_methods, reason = "tests count from some instant")]
fn start() -> Instant {
    Instant::now()
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn id(number: u8) -> TransactionId {
    TransactionId::from_bytes([number; 12])
}

fn request(number: u8) -> StunRequest<u8> {
    let message = MessageBuilder::new(Class::Request, Method::BINDING, id(number)).finish();
    StunRequest::new(message, number).unwrap()
}

fn response(number: u8, class: Class, write: impl FnOnce(&mut MessageBuilder)) -> Vec<u8> {
    let mut builder = MessageBuilder::new(class, Method::BINDING, id(number));
    write(&mut builder);
    builder.try_finish().unwrap()
}

fn check(manager: &mut StunRequestManager<u8>, now: Instant, bytes: &[u8]) -> Option<Response<u8>> {
    manager.check_response(now, &Message::parse(bytes).unwrap())
}

/// What is sent now: contexts and attempts.
fn sent(manager: &mut StunRequestManager<u8>) -> Vec<(u8, u32)> {
    let mut out = Vec::new();
    while let Some(transmit) = manager.poll_transmit() {
        assert_eq!(Message::parse(transmit.message).unwrap().transaction_id(), transmit.transaction_id);
        out.push((*transmit.context, transmit.attempt));
    }
    out
}

/// Contexts and milliseconds.
type Offsets = Vec<(u8, u128)>;

/// Runs to the end: offsets of the sends and of the time-outs, in milliseconds.
fn run(manager: &mut StunRequestManager<u8>, start: Instant) -> (Offsets, Offsets) {
    let (mut sends, mut timeouts) = (Vec::new(), Vec::new());
    let mut now = start;
    loop {
        let at = now.duration_since(start).as_millis();
        sends.extend(sent(manager).into_iter().map(|(context, _)| (context, at)));
        while let Some(timeout) = manager.poll_timed_out() {
            timeouts.push((timeout.context, at));
        }
        let Some(next) = manager.next_timeout() else { return (sends, timeouts) };
        assert!(next > now, "a timer that does not advance");
        now = next;
        manager.handle_timeout(now);
    }
}

/// T01: nine sends, doubling from 250 ms, capped at 8 s; time-out at 39.75 s.
#[test]
fn retransmissions_come_when_libwebrtc_sends_them() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    manager.send(now, request(1)).unwrap();
    let (sends, timeouts) = run(&mut manager, now);
    let offsets: Vec<u128> = sends.iter().map(|(_, at)| *at).collect();
    assert_eq!(offsets, [0, 250, 750, 1750, 3750, 7750, 15750, 23750, 31750]);
    assert_eq!(timeouts, [(1, STUN_TOTAL_TIMEOUT.as_millis())]);
    assert!(manager.is_empty());
}

/// C06: the time-out comes only after the last wait, not with the last send.
#[test]
fn time_out_only_after_the_last_wait() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    manager.send(now, request(1)).unwrap();
    // A late and impatient owner: each call is one millisecond after the due time, or far too early.
    for _ in 0..STUN_MAX_RETRANSMISSIONS {
        manager.handle_timeout(now);
        manager.handle_timeout(manager.next_timeout().unwrap() + ms(1));
        assert_eq!(manager.poll_timed_out(), None);
    }
    assert_eq!(sent(&mut manager).len(), 9);
    let last = manager.next_timeout().unwrap();
    manager.handle_timeout(last - ms(1));
    assert_eq!((manager.poll_timed_out(), manager.len()), (None, 1));
    manager.handle_timeout(last);
    let expected = RequestTimeout { transaction_id: id(1), context: 1, sends: 9 };
    assert_eq!((manager.poll_timed_out(), manager.poll_timed_out()), (Some(expected), None));
    assert!(sent(&mut manager).is_empty());
}

#[test]
fn a_connectivity_check_is_sent_once() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    manager.send(now, request(1).once(ms(5000))).unwrap();
    assert_eq!(run(&mut manager, now), (vec![(1, 0)], vec![(1, 5000)]));
}

#[test]
fn a_delayed_request_is_sent_later_and_ends_later() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    manager.send_delayed(now, request(1).once(ms(100)), ms(20)).unwrap();
    manager.send_delayed(now, request(2).once(ms(100)), ms(0)).unwrap();
    assert_eq!(sent(&mut manager), [(2, 1)]);
    // Nobody can answer what was not sent.
    let early = response(1, Class::SuccessResponse, |_| ());
    assert_eq!(check(&mut manager, now, &early), None);
    assert_eq!(manager.ignored().unknown_transaction, 1);
    assert_eq!(run(&mut manager, now), (vec![(1, 20)], vec![(2, 100), (1, 120)]));
}

#[test]
fn what_falls_due_together_is_sent_in_order() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    for (number, delay) in [(1, 30), (3, 10), (2, 10), (4, 20)] {
        manager.send_delayed(now, request(number), ms(delay)).unwrap();
    }
    assert_eq!(manager.next_timeout(), Some(now + ms(10)));
    manager.handle_timeout(now + ms(40));
    assert_eq!(sent(&mut manager), [(2, 1), (3, 1), (4, 1), (1, 1)]);
}

#[test]
fn a_response_ends_its_transaction_and_tells_the_round_trip() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    manager.send(now, request(1)).unwrap();
    manager.send(now, request(2)).unwrap();
    manager.handle_timeout(now + ms(250));
    assert_eq!(sent(&mut manager).len(), 4);
    let bytes = response(2, Class::SuccessResponse, |_| ());
    let expected = Response {
        transaction_id: id(2),
        context: 2,
        result: ResponseResult::Success,
        authenticated: false,
        rtt: ms(30),
        sends: 2,
    };
    assert_eq!(check(&mut manager, now + ms(280), &bytes), Some(expected));
    assert_eq!((manager.len(), manager.contains(id(1))), (1, true));
    // A second copy of it ends nothing.
    assert_eq!(check(&mut manager, now + ms(281), &bytes), None);
    assert_eq!(manager.ignored().unknown_transaction, 1);
}

/// C06: another transaction id, another method, or no response at all is ignored.
#[test]
fn what_does_not_answer_is_ignored() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    manager.send(now, request(1)).unwrap();
    assert_eq!(check(&mut manager, now, &response(9, Class::SuccessResponse, |_| ())), None);
    assert_eq!(check(&mut manager, now, &response(1, Class::Request, |_| ())), None);
    assert_eq!(check(&mut manager, now, &response(1, Class::Indication, |_| ())), None);
    let other = MessageBuilder::new(Class::SuccessResponse, Method::ALLOCATE, id(1)).finish();
    assert_eq!(check(&mut manager, now, &other), None);
    let ignored = IgnoredResponses { unknown_transaction: 1, wrong_method: 1, bad_integrity: 0 };
    assert_eq!((manager.ignored(), manager.len()), (ignored, 1));
}

/// C06: an error response ends the transaction as an error.
#[test]
fn an_error_response_ends_as_an_error() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    for (number, code) in [(1, Some(500)), (2, None)] {
        manager.send(now, request(number)).unwrap();
        let bytes = response(number, Class::ErrorResponse, |builder| {
            code.into_iter().for_each(|code| _ = builder.add_error_code(code, "no"));
        });
        let ended = check(&mut manager, now, &bytes).unwrap();
        assert_eq!((ended.context, ended.result), (number, ResponseResult::Error(code)));
    }
    assert!(manager.is_empty());
}

/// C04: a response with an unknown comprehension-required attribute fails the transaction.
#[test]
fn unknown_attributes_in_a_response_fail_the_transaction() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    for class in [Class::SuccessResponse, Class::ErrorResponse] {
        manager.send(now, request(1)).unwrap();
        let bytes = response(1, class, |builder| {
            builder.add_attribute(AttributeType(0x7001), &[]).add_attribute(AttributeType(0xF001), &[]);
        });
        let ended = check(&mut manager, now, &bytes).unwrap();
        assert_eq!(ended.result, ResponseResult::UnknownAttributes(vec![0x7001]));
    }
    // What is known depends on the request.
    manager.send(now, request(2).with_known_attributes(AttributeType::KNOWN_ICE)).unwrap();
    let bytes = response(2, Class::SuccessResponse, |builder| _ = builder.add_lifetime(1));
    let ended = check(&mut manager, now, &bytes).unwrap();
    assert_eq!(ended.result, ResponseResult::UnknownAttributes(vec![AttributeType::LIFETIME.0]));
}

#[test]
fn a_response_that_fails_integrity_is_ignored_and_the_transaction_goes_on() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    manager.send(now, request(1).with_key(KEY)).unwrap();
    for bytes in [
        response(1, Class::SuccessResponse, |_| ()),
        response(1, Class::SuccessResponse, |builder| _ = builder.integrity(b"wrong")),
        response(1, Class::SuccessResponse, |builder| _ = builder.integrity_sha256(b"wrong")),
        response(1, Class::SuccessResponse, |builder| _ = builder.goog_integrity_32(KEY)),
        response(1, Class::SuccessResponse, |b| _ = b.add_attribute(AttributeType(0x7001), &[])),
        response(1, Class::ErrorResponse, |builder| _ = builder.add_error_code(400, "").integrity(b"wrong")),
        response(1, Class::ErrorResponse, |builder| _ = builder.add_error_code(487, "")),
        response(1, Class::ErrorResponse, |_| ()),
    ] {
        assert_eq!(check(&mut manager, now, &bytes), None);
    }
    assert_eq!((manager.ignored().bad_integrity, manager.len()), (8, 1));
    let signed = response(1, Class::SuccessResponse, |builder| _ = builder.integrity(KEY));
    assert!(check(&mut manager, now, &signed).is_some_and(|ended| ended.authenticated));
}

#[test]
fn both_integrity_attributes_are_accepted() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    for number in 1..4 {
        manager.send(now, request(number).with_key(KEY)).unwrap();
        let bytes = response(number, Class::SuccessResponse, |builder| {
            if number & 1 != 0 {
                builder.integrity(KEY);
            }
            if number & 2 != 0 {
                builder.integrity_sha256(KEY);
            }
        });
        assert!(check(&mut manager, now, &bytes).is_some_and(|ended| ended.authenticated));
    }
}

#[test]
fn errors_that_cannot_be_signed_need_not_be() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    for code in [300, 400, 401, 420, 438, 500] {
        manager.send(now, request(1).with_key(KEY)).unwrap();
        let bytes = response(1, Class::ErrorResponse, |builder| _ = builder.add_error_code(code, ""));
        let ended = check(&mut manager, now, &bytes).unwrap();
        assert_eq!((ended.result, ended.authenticated), (ResponseResult::Error(Some(code)), false));
    }
    let unsigned = response(2, Class::ErrorResponse, |builder| _ = builder.add_error_code(437, ""));
    manager.send(now, request(2).with_key(KEY)).unwrap();
    assert_eq!(check(&mut manager, now, &unsigned), None);
    manager.clear();
    manager.send(now, request(2).with_key(KEY).accept_unsigned_errors()).unwrap();
    assert!(check(&mut manager, now, &unsigned).is_some_and(|ended| !ended.authenticated));
}

#[test]
fn goog_ping_responses_are_signed_their_own_way() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    let ping = MessageBuilder::new(Class::Request, Method::GOOG_PING, id(1)).finish();
    manager.send(now, StunRequest::new(ping, 1).unwrap().with_key(KEY)).unwrap();
    for (key, ends) in [(&b"wrong"[..], false), (KEY, true)] {
        let mut builder = MessageBuilder::new(Class::SuccessResponse, Method::GOOG_PING, id(1));
        builder.goog_integrity_32(key).fingerprint();
        assert_eq!(check(&mut manager, now, &builder.finish()).is_some(), ends);
    }
}

#[test]
fn pending_requests_are_bounded() {
    let (mut manager, now) = (StunRequestManager::with_max_pending(2), start());
    manager.send(now, request(1)).unwrap();
    assert_eq!(manager.send(now, request(1)), Err(SendRequestError::DuplicateTransaction(id(1))));
    manager.send_delayed(now, request(2), ms(1)).unwrap();
    assert_eq!(manager.send(now, request(3)), Err(SendRequestError::TooManyPending { limit: 2 }));
    assert_eq!(sent(&mut manager), [(1, 1)]);
}

#[test]
fn a_request_ended_by_its_owner_is_not_sent_and_has_no_outcome() {
    let (mut manager, now) = (StunRequestManager::new(), start());
    for number in 1..=4 {
        manager.send(now, request(number)).unwrap();
    }
    assert_eq!((manager.cancel(id(1)), manager.cancel(id(1))), (Some(1), None));
    manager.retain(|_, context| *context != 2);
    assert_eq!((manager.get(id(2)), manager.get(id(3))), (None, Some(&3)));
    assert_eq!(manager.iter().map(|(_, context, _)| *context).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(sent(&mut manager), [(3, 1), (4, 1)]);
    manager.clear();
    assert_eq!((manager.next_timeout(), manager.len()), (None, 0));
}

#[test]
fn only_requests_are_sent() {
    let indication = MessageBuilder::new(Class::Indication, Method::BINDING, id(1)).finish();
    let refused = StunRequest::new(indication, ()).err();
    assert_eq!(refused, Some(RequestError::NotARequest(Class::Indication)));
    assert!(matches!(StunRequest::new(vec![0; 20], ()), Err(RequestError::Parse(ParseError::NotStun))));
}

#[test]
fn debug_shows_no_key() {
    let text = format!("{:?}", request(1).with_key(*b"s3cret"));
    assert!(!text.contains("s3cret") && !text.contains("115"), "{text}");
}
