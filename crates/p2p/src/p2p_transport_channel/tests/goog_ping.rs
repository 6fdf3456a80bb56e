//! GOOG_PING: asked for, announced, sent, answered, given up (libwebrtc `Connection::ShouldSendGoogPing`).

use peerstack_base::{Ecn, Random, ReceiveMeta};
use peerstack_netsim::addr;
use peerstack_stun::{Class, IntegrityStatus, Message, MessageBuilder, Method, TransactionId, error_code};

use super::harness::*;
use crate::*;

fn enabled(config: &mut P2PTransportChannelConfig) {
    config.ice_config.enable_goog_ping = true;
    // What acknowledges the peer's last check says another thing each time.
    config.ice_config.piggyback_ice_check_acknowledgement = false;
}

fn plain(config: &mut P2PTransportChannelConfig) {
    config.ice_config.piggyback_ice_check_acknowledgement = false;
}

fn silent(config: &mut P2PTransportChannelConfig) {
    config.ice_config.announce_goog_ping = false;
}

/// The next checks of `a`, taken off the wire instead of sent.
fn next_checks(pair: &mut Pair, millis: u64) -> Vec<Vec<u8>> {
    pair.a.sent = Some(Vec::new());
    pair.run_for(ms(millis));
    pair.a.sent.take().unwrap().into_iter().map(|(_, datagram)| datagram).collect()
}

fn requests(datagrams: &[Vec<u8>]) -> Vec<Method> {
    let messages = datagrams.iter().filter_map(|datagram| Message::parse(datagram).ok());
    messages.filter(|message| message.class() == Class::Request).map(|message| message.method()).collect()
}

/// C13: once the peer announced it, what would say the same again is a GOOG_PING of 32 bytes; the pair stays writable by
/// their answers alone, far beyond the end of consent.
#[test]
fn checks_become_short() {
    let mut pair = Pair::open_with(1, enabled, enabled);
    pair.connect();
    pair.run_for(ms(10_000));
    let checks = next_checks(&mut pair, 3000);
    assert!(requests(&checks).contains(&Method::GOOG_PING));
    assert!(!requests(&checks).contains(&Method::BINDING), "{checks:?}");
    let short = checks.iter().find(|it| Message::parse(it).unwrap().class() == Class::Request).unwrap();
    assert_eq!(short.len(), 28, "a header and 32 bits of integrity");
    pair.run_for(ms(120_000));
    assert!(pair.both_connected());
    assert_eq!(pair.a.channel.state(), IceTransportState::Connected);
    assert_eq!(pair.a.states(), [IceTransportState::Checking, IceTransportState::Connected]);
    pair.exchange_data();
}

/// C13: not to a peer that does not announce it, nor to one that was not asked; a peer of ours announces it by default
/// and sends none itself.
#[test]
fn only_if_the_peer_announced_it() {
    type Configure = fn(&mut P2PTransportChannelConfig);
    let cases: [(Configure, Configure, bool); 4] =
        [(enabled, silent, false), (plain, enabled, false), (plain, plain, false), (enabled, plain, true)];
    for (a, b, short) in cases {
        let mut pair = Pair::open_with(2, a, b);
        pair.connect();
        pair.run_for(ms(10_000));
        assert_eq!(requests(&next_checks(&mut pair, 3000)).contains(&Method::GOOG_PING), short);
    }
}

/// C13: another thing to say (here a role, and the network's cost) is said by a whole check, after which short ones come
/// again.
#[test]
fn a_change_is_said_in_full() {
    let mut pair = Pair::open_with(3, enabled, enabled);
    pair.connect();
    pair.run_for(ms(10_000));
    pair.a.channel.set_ice_tiebreaker(4242);
    let checks = next_checks(&mut pair, 3000);
    assert_eq!(requests(&checks).first(), Some(&Method::BINDING));
    let first = checks.iter().find(|it| Message::parse(it).unwrap().class() == Class::Request).unwrap();
    assert_eq!(Message::parse(first).unwrap().ice_controlling(), Some(4242));
    pair.run_for(ms(5000));
    assert!(requests(&next_checks(&mut pair, 3000)).contains(&Method::GOOG_PING));
}

/// What `b` answers to a datagram of `a`'s address.
fn answer(pair: &mut Pair, datagram: &[u8]) -> Option<Vec<u8>> {
    let socket = pair.b.socket_ids()[0];
    let remote = pair.b.channel.selected_connection().unwrap().remote_candidate().address.ip().unwrap();
    answer_to(pair, datagram, ReceiveMeta { socket, remote, local_ip: None, ecn: Ecn::NotEct })
}

fn answer_to(pair: &mut Pair, datagram: &[u8], meta: ReceiveMeta) -> Option<Vec<u8>> {
    pair.b.sent = Some(Vec::new());
    assert!(pair.b.channel.receive(pair.now, &mut datagram.to_vec(), &meta).is_none());
    pair.settle();
    let sent = pair.b.sent.take().unwrap();
    let id = Message::parse(datagram).map(|message| message.transaction_id()).ok()?;
    let answers =
        |it: &Vec<u8>| Message::parse(it).is_ok_and(|it| it.is_response() && it.transaction_id() == id);
    sent.into_iter().map(|(_, datagram)| datagram).find(answers)
}

fn short_check(seed: u64, pwd: Option<&str>) -> Vec<u8> {
    let id = TransactionId::new(&mut Random::from_seed(seed));
    let mut builder = MessageBuilder::new(Class::Request, Method::GOOG_PING, id);
    if let Some(pwd) = pwd {
        builder.goog_integrity_32(pwd.as_bytes());
    }
    builder.finish()
}

/// C13: a GOOG_PING is answered by one, signed alike, if it is signed right and comes from where the peer checked in full;
/// otherwise an error asks for a whole check.
#[test]
fn short_checks_are_answered() {
    let mut pair = Pair::open(5);
    pair.connect();
    pair.run_for(ms(1000));
    let pwd = pair.b.parameters.pwd.clone();
    let received = |pair: &Pair| pair.b.channel.selected_connection().unwrap().last_ping_received();
    let before = received(&pair);
    pair.now += ms(7);
    let good = answer(&mut pair, &short_check(1, Some(&pwd))).unwrap();
    let message = Message::parse(&good).unwrap();
    assert_eq!((message.class(), message.method()), (Class::SuccessResponse, Method::GOOG_PING));
    assert_eq!(message.check_goog_message_integrity_32(pwd.as_bytes()), IntegrityStatus::Valid);
    assert!(received(&pair) > before);
    let socket = pair.b.socket_ids()[0];
    let stranger = ReceiveMeta { socket, remote: addr("192.0.2.9:9"), local_ip: None, ecn: Ecn::NotEct };
    let connections = pair.b.channel.connections().count();
    let code = |answer: Option<Vec<u8>>| {
        let answer = answer.unwrap();
        let message = Message::parse(&answer).unwrap();
        assert_eq!((message.class(), message.method()), (Class::ErrorResponse, Method::GOOG_PING));
        message.error_code().unwrap().code
    };
    let before = received(&pair);
    pair.now += ms(7);
    assert_eq!(code(answer(&mut pair, &short_check(2, None))), error_code::BAD_REQUEST);
    assert_eq!(code(answer(&mut pair, &short_check(3, Some("wrong")))), error_code::UNAUTHENTICATED);
    assert_eq!(code(answer_to(&mut pair, &short_check(4, Some(&pwd)), stranger)), error_code::BAD_REQUEST);
    assert_eq!(received(&pair), before, "what is refused does nothing else");
    assert_eq!(pair.b.channel.connections().count(), connections, "and makes no pair");
}

/// C13: a peer that forgot the pair refuses the short check; the next one is whole, and nothing is lost.
#[test]
fn an_error_falls_back_to_whole_checks() {
    let mut pair = Pair::open_with(6, enabled, enabled);
    pair.connect();
    pair.run_for(ms(10_000));
    let checks = next_checks(&mut pair, 3000);
    let short = checks.iter().find(|it| requests(&[it.to_vec()]) == [Method::GOOG_PING]).unwrap();
    let request = Message::parse(short).unwrap();
    let mut builder = MessageBuilder::response_to(&request, Class::ErrorResponse);
    builder.add_error_code(error_code::BAD_REQUEST, "Bad Request");
    let remote = pair.a.channel.selected_connection().unwrap().remote_candidate().address.ip().unwrap();
    let meta = ReceiveMeta { socket: pair.a.socket_ids()[0], remote, local_ip: None, ecn: Ecn::NotEct };
    pair.a.channel.receive(pair.now, &mut builder.finish(), &meta);
    assert_eq!(requests(&next_checks(&mut pair, 3000)).first(), Some(&Method::BINDING));
    pair.run_for(ms(10_000));
    assert!(pair.both_connected());
    assert_eq!(pair.a.channel.stats(pair.now).selected_candidate_pair_changes, 1);
}

/// C13: version 0 of the announcement is none, in a request and in a response.
#[test]
fn version_zero_is_not_accepted() {
    let id = TransactionId::new(&mut Random::from_seed(1));
    for (numbers, announces) in
        [(vec![], false), (vec![0], false), (vec![1], true), (vec![2, 0], true), (vec![0, 1], false)]
    {
        let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
        builder.add_goog_misc_info(&numbers);
        let bytes = builder.finish();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(connection::announces_goog_ping(&message), announces, "{numbers:?}");
    }
}
