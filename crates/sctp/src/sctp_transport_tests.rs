//! Tests of `SctpTransport`: two of them over a virtual link.

use bytes::Bytes;

use super::*;
use crate::test_pair::{Pair, ms};

fn payload(len: usize, seed: u8) -> Bytes {
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add((i >> 8) as u8).wrapping_add(seed)).collect()
}

/// K01, K02: a channel opens when the association stands, the peer sees it with its parameters, and messages go
/// both ways.
#[test]
fn messages_are_echoed() {
    let mut pair = Pair::new();
    let init = DataChannelInit { protocol: "p".into(), ..DataChannelInit::labelled("chat") };
    let a = pair.peers[0].sctp.create_data_channel(pair.now, init.clone()).unwrap();
    assert_eq!(pair.peers[0].sctp.data_channel_state(a), DataChannelState::Connecting);
    pair.connect();
    assert!(pair.peers[0].saw(&DataChannelEvent::Open { id: a }));
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "hello").unwrap();
    assert!(pair.run_until(ms(1000), |pair| pair.peers[1].events.len() >= 3));
    let events: Vec<_> = pair.peers[1].events.drain(..).collect();
    let DataChannelEvent::Incoming { id: b, init: seen } = &events[0] else { panic!("{events:?}") };
    assert_eq!(*seen, DataChannelInit { id: Some(0), ..init });
    assert_eq!(events[1], DataChannelEvent::Open { id: *b });
    let hello = Bytes::from_static(b"hello");
    assert_eq!(events[2], DataChannelEvent::Message { id: *b, kind: MessageKind::Text, data: hello.clone() });
    pair.peers[1].sctp.send(pair.now, *b, MessageKind::Binary, hello.clone()).unwrap();
    assert!(pair.run_until(ms(1000), |pair| {
        pair.peers[0].events.iter().any(|event| {
            *event == DataChannelEvent::Message { id: a, kind: MessageKind::Binary, data: hello.clone() }
        })
    }));
}

#[test]
fn sizes_arrive_equal_and_in_order() {
    let mut pair = Pair::connected();
    let (a, _) = pair.channel(DataChannelInit::labelled("sizes"));
    let sizes = [0, 1, 2, 1159, 1160, 1161, 1200, 16 << 10, 64 << 10, 256 << 10, 0, 7];
    let sent: Vec<_> = sizes.iter().enumerate().map(|(i, size)| payload(*size, i as u8)).collect();
    for message in &sent {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, message.clone()).unwrap();
    }
    assert!(pair.run_until(ms(60_000), |pair| pair.peers[1].events.len() >= sent.len()));
    assert!(pair.peers[1].messages() == sent);
    assert!(pair.largest <= 1191);
}
