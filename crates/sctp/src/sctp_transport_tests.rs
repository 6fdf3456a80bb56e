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

/// K08: messages of many sizes, whole and in order.
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

/// K08: 1 MiB where both sides agreed on it, and one byte more is refused at `send`.
#[test]
fn a_mebibyte_if_negotiated() {
    let mut config = SctpTransportConfig::default();
    config.association.max_receive_message_size = 1 << 20;
    let mut pair = Pair::with(config.clone(), config);
    pair.start_with(1 << 20);
    let (a, _) = pair.channel(DataChannelInit::labelled("large"));
    let message = payload(1 << 20, 3);
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, message.clone()).unwrap();
    assert_eq!(
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload((1 << 20) + 1, 3)),
        Err(DataChannelSendError::TooLarge { len: (1 << 20) + 1, limit: 1 << 20 })
    );
    assert!(pair.run_until(ms(60_000), |pair| !pair.peers[1].events.is_empty()));
    assert!(pair.peers[1].messages() == [message]);
}

/// K04: empty messages are empty, keep their kind, and are counted.
#[test]
fn empty_messages_stay_empty() {
    let mut pair = Pair::connected();
    let (a, b) = pair.channel(DataChannelInit::labelled("empty"));
    for kind in [MessageKind::Text, MessageKind::Binary] {
        pair.peers[0].sctp.send(pair.now, a, kind, Bytes::new()).unwrap();
    }
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "abc").unwrap();
    assert_eq!(pair.peers[0].sctp.buffered_amount(a), 3);
    pair.run_for(ms(500));
    let kinds: Vec<_> = pair.peers[1]
        .events
        .iter()
        .map(|event| match event {
            DataChannelEvent::Message { kind, data, .. } => (*kind, data.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, [(MessageKind::Text, 0), (MessageKind::Binary, 0), (MessageKind::Text, 3)]);
    let sent = pair.peers[0].sctp.data_channel_stats(a).unwrap();
    let received = pair.peers[1].sctp.data_channel_stats(b).unwrap();
    assert_eq!((sent.messages_sent, sent.bytes_sent), (3, 3));
    assert_eq!((received.messages_received, received.bytes_received), (3, 3));
    assert_eq!(pair.peers[0].sctp.buffered_amount(a), 0);
}

/// K01: a negotiated channel sends nothing for itself; both sides write at once.
#[test]
fn a_negotiated_channel_sends_no_open() {
    let mut pair = Pair::new();
    let init = DataChannelInit { negotiated: true, id: Some(7), ..DataChannelInit::labelled("n") };
    let a = pair.peers[0].sctp.create_data_channel(pair.now, init.clone()).unwrap();
    let b = pair.peers[1].sctp.create_data_channel(pair.now, init).unwrap();
    pair.connect();
    pair.log = Some(Vec::new());
    pair.run_for(ms(1000));
    assert!(pair.log.take().unwrap().is_empty());
    assert!(pair.peers.iter_mut().all(|peer| peer.incoming().is_none()));
    for (peer, id) in [(0, a), (1, b)] {
        assert!(pair.peers[peer].saw(&DataChannelEvent::Open { id }));
        pair.peers[peer].sctp.send(pair.now, id, MessageKind::Text, "x").unwrap();
    }
    pair.run_for(ms(100));
    assert_eq!(pair.peers.each_mut().map(|peer| peer.messages().len()), [1, 1]);
}

/// A negotiated channel that the other side creates later finds what was sent to it.
#[test]
fn messages_before_a_negotiated_channel_exists_are_kept() {
    let mut pair = Pair::connected();
    let init = DataChannelInit { negotiated: true, id: Some(4), ..DataChannelInit::default() };
    let a = pair.peers[0].sctp.create_data_channel(pair.now, init.clone()).unwrap();
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "early").unwrap();
    pair.run_for(ms(500));
    assert!(pair.peers[1].events.is_empty());
    pair.peers[1].sctp.create_data_channel(pair.now, init).unwrap();
    pair.run_for(ms(100));
    assert_eq!(pair.peers[1].messages(), [Bytes::from_static(b"early")]);
}

/// K02: an unordered channel sends in order until the peer is known to have it, and unordered after.
#[test]
fn unordered_waits_for_the_ack() {
    let unordered = |packet: &[u8]| {
        crate::sctp_packet::chunks(packet)
            .unwrap()
            .iter()
            .filter_map(|chunk| chunk.data())
            .filter(|data| data.ppid != 50)
            .map(|data| data.unordered)
            .collect::<Vec<_>>()
    };
    let mut pair = Pair::connected();
    pair.log = Some(Vec::new());
    let init = DataChannelInit { ordered: false, ..DataChannelInit::labelled("u") };
    let a = pair.peers[0].sctp.create_data_channel(pair.now, init).unwrap();
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "before").unwrap();
    pair.run_for(ms(500));
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "after").unwrap();
    pair.run_for(ms(500));
    let flags: Vec<bool> = pair
        .log
        .take()
        .unwrap()
        .iter()
        .filter(|(from, _)| *from == 0)
        .flat_map(|(_, packet)| unordered(packet))
        .collect();
    assert_eq!(flags, [false, true]);
    assert_eq!(pair.peers[1].messages().len(), 2);
}

/// K03: identifiers follow the DTLS role, from both sides at once.
#[test]
fn both_sides_open_at_once() {
    let mut pair = Pair::new();
    let mut ids = [const { Vec::new() }; 2];
    for (peer, created) in ids.iter_mut().enumerate() {
        for label in ["a", "b"] {
            let init = DataChannelInit::labelled(label);
            created.push(pair.peers[peer].sctp.create_data_channel(pair.now, init).unwrap());
        }
    }
    pair.connect();
    pair.run_for(ms(500));
    let sids = |peer: usize, ids: &[DataChannelId]| -> Vec<u16> {
        ids.iter().map(|id| pair.peers[peer].sctp.data_channel_init(*id).unwrap().id.unwrap()).collect()
    };
    assert_eq!(sids(0, &ids[0]), [0, 2]);
    assert_eq!(sids(1, &ids[1]), [1, 3]);
    assert_eq!(pair.peers.each_ref().map(|peer| peer.sctp.data_channels().count()), [4, 4]);
}

/// K03: two channels that took the same identifier live on as they are; the second OPEN is ignored.
#[test]
fn the_same_identifier_on_both_sides_is_survived() {
    let mut pair = Pair::connected();
    let init = DataChannelInit { id: Some(6), ..DataChannelInit::labelled("same") };
    let a = pair.peers[0].sctp.create_data_channel(pair.now, init.clone()).unwrap();
    let b = pair.peers[1].sctp.create_data_channel(pair.now, init).unwrap();
    pair.run_for(ms(500));
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "1").unwrap();
    pair.peers[1].sctp.send(pair.now, b, MessageKind::Text, "2").unwrap();
    pair.run_for(ms(500));
    assert_eq!(pair.peers[0].sctp.stats().ignored_messages, 1);
    assert_eq!(pair.peers.each_mut().map(|peer| peer.messages().len()), [1, 1]);
}

/// K03, K11, K21: closing from either side closes both, and the identifiers are used again.
#[test]
fn closed_channels_give_their_identifiers_back() {
    let mut config = SctpTransportConfig::default();
    config.association.max_streams = 4;
    let mut pair = Pair::with(config.clone(), config);
    pair.connect();
    for round in 0..12 {
        let (a, b) = pair.channel(DataChannelInit::labelled(format!("{round}")));
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(3000, 1)).unwrap();
        let (closer, other, ids) = if round % 2 == 0 { (0, 1, [a, b]) } else { (1, 0, [b, a]) };
        pair.run_for(ms(200));
        assert_eq!(pair.peers[1].messages().len(), 1);
        pair.peers[closer].sctp.close_data_channel(pair.now, ids[0]);
        assert_eq!(pair.peers[closer].sctp.data_channel_state(ids[0]), DataChannelState::Closing);
        pair.run_for(ms(2000));
        assert!(pair.peers[closer].saw(&DataChannelEvent::Closed { id: ids[0] }), "round {round}");
        assert!(!pair.peers[closer].saw(&DataChannelEvent::Closing { id: ids[0] }));
        assert!(pair.peers[other].saw(&DataChannelEvent::Closing { id: ids[1] }));
        assert!(pair.peers[other].saw(&DataChannelEvent::Closed { id: ids[1] }));
        assert_eq!(pair.peers.each_ref().map(|peer| peer.sctp.data_channels().count()), [0, 0]);
    }
}

/// K21, K08: a channel closed with a full queue delivers all of it first, over a lossy path too.
#[test]
fn close_sends_what_waits() {
    let mut pair = Pair::connected().seed(5);
    (pair.loss, pair.jitter) = (0.05, 10);
    let (a, _) = pair.channel(DataChannelInit::labelled("flush"));
    for i in 0..20 {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(50_000, i)).unwrap();
    }
    pair.peers[0].sctp.close_data_channel(pair.now, a);
    assert_eq!(
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "late"),
        Err(DataChannelSendError::NotOpen(DataChannelState::Closing))
    );
    assert!(pair.run_until(ms(300_000), |pair| pair.peers[0].saw(&DataChannelEvent::Closed { id: a })));
    pair.run_for(ms(5000));
    let closed = pair.peers[1].events.iter().filter(|e| matches!(e, DataChannelEvent::Closed { .. })).count();
    assert_eq!(closed, 1);
    let messages = pair.peers[1].messages();
    assert!(messages == (0..20).map(|i| payload(50_000, i)).collect::<Vec<_>>());
}

/// K05: a channel that never opened closes at once; K14: a closed transport sends its ABORT and nothing more,
/// and K11: its channels close at the peer, with the reason.
#[test]
fn a_closed_transport_is_silent() {
    let mut pair = Pair::new();
    let never = pair.peers[0].sctp.create_data_channel(pair.now, DataChannelInit::default()).unwrap();
    pair.peers[0].sctp.close_data_channel(pair.now, never);
    assert_eq!(pair.peers[0].sctp.poll_event(), Some(DataChannelEvent::Closed { id: never }));
    pair.connect();
    let (a, b) = pair.channel(DataChannelInit::labelled("x"));
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(100_000, 0)).unwrap();
    let before = pair.sent[0];
    pair.peers[0].sctp.close(pair.now);
    assert_eq!(pair.peers[0].sctp.state(), SctpTransportState::Closed);
    pair.run_for(ms(120_000));
    assert_eq!(pair.sent[0], before + 1);
    assert!(pair.peers[0].saw(&DataChannelEvent::Closed { id: a }));
    let error =
        crate::DataChannelError::AssociationClosed(SctpCloseReason::PeerAborted { cause_code: Some(12) });
    assert!(pair.peers[1].saw(&DataChannelEvent::Error { id: b, error }));
    assert!(pair.peers[1].saw(&DataChannelEvent::Closed { id: b }));
    assert_eq!(pair.peers[1].sctp.state(), SctpTransportState::Closed);
    assert_eq!(pair.peers.each_ref().map(|peer| peer.sctp.next_timeout()), [None, None]);
    assert_eq!(
        pair.peers[0].sctp.create_data_channel(pair.now, DataChannelInit::default()),
        Err(DataChannelOpenError::TransportClosed)
    );
}

/// K06: the queue's limit is a typed error, never a silent drop; room is told.
#[test]
fn a_full_queue_is_an_error() {
    let config = SctpTransportConfig { max_send_queue: 100_000, ..SctpTransportConfig::default() };
    let mut pair = Pair::with(config.clone(), config);
    pair.connect();
    let (a, _) = pair.channel(DataChannelInit::labelled("full"));
    let mut events = pair.peers[0].sctp.subscribe();
    for _ in 0..10 {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(10_000, 0)).unwrap();
    }
    assert_eq!(
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(1, 0)),
        Err(DataChannelSendError::QueueFull { len: 1, buffered: 100_000, limit: 100_000 })
    );
    pair.run_for(ms(2000));
    assert_eq!(pair.peers[1].messages().len(), 10);
    assert_eq!(events.try_next(), Some(SctpTransportEvent::ReadyToSend));
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(1, 0)).unwrap();
}

/// K07, K27: `buffered_amount` is what was never in a packet, and the event comes once, on falling.
#[test]
fn buffered_amount_falls_once() {
    let mut pair = Pair::connected();
    let (a, _) = pair.channel(DataChannelInit::labelled("b"));
    pair.peers[0].sctp.set_buffered_amount_low_threshold(a, 20_000);
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(10_000, 0)).unwrap();
    pair.run_for(ms(500));
    assert!(pair.peers[0].events.is_empty());
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(200_000, 0)).unwrap();
    assert_eq!(pair.peers[0].sctp.buffered_amount(a), 200_000);
    pair.flush();
    let after_first_flight = pair.peers[0].sctp.buffered_amount(a);
    assert!((150_000..200_000).contains(&after_first_flight), "{after_first_flight}");
    pair.run_for(ms(3000));
    assert_eq!(pair.peers[0].events, [DataChannelEvent::BufferedAmountLow { id: a }]);
    assert_eq!(pair.peers[0].sctp.buffered_amount(a), 0);
}

/// K24 and back-pressure: a reader that stops closes the window, nothing is lost, and the window opens again.
#[test]
fn a_slow_reader_loses_nothing() {
    let mut config = SctpTransportConfig { max_undrained: 100_000, ..SctpTransportConfig::default() };
    config.association.receive_buffer = 400_000;
    let mut pair = Pair::with(config.clone(), config);
    pair.connect();
    let (a, _) = pair.channel(DataChannelInit::labelled("slow"));
    pair.peers[1].drains = false;
    for i in 0..200 {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(20_000, i)).unwrap();
    }
    pair.run_for(ms(20_000));
    let stuck = pair.peers[0].sctp.buffered_amount(a);
    assert!(stuck > 3_400_000, "{stuck}");
    pair.run_for(ms(20_000));
    assert_eq!(pair.peers[0].sctp.buffered_amount(a), stuck);
    pair.peers[1].drains = true;
    let resumed = pair.now;
    let ok = pair.run_until(ms(60_000), |pair| pair.peers[1].events.len() == 200);
    assert!(ok);
    // Without telling the peer that the window is open each stop would cost one of its time-outs.
    assert!(pair.now - resumed < ms(6000), "{:?}", pair.now - resumed);
    assert!(pair.peers[1].messages() == (0..200).map(|i| payload(20_000, i)).collect::<Vec<_>>());
}

/// A paused channel keeps its messages for later and does not stop the others while the window lasts.
#[test]
fn a_paused_channel_waits() {
    let mut pair = Pair::connected();
    let (a1, b1) = pair.channel(DataChannelInit::labelled("paused"));
    let (a2, _) = pair.channel(DataChannelInit::labelled("running"));
    pair.peers[1].sctp.set_paused(pair.now, b1, true);
    for id in [a1, a2] {
        pair.peers[0].sctp.send(pair.now, id, MessageKind::Binary, payload(100_000, 0)).unwrap();
    }
    pair.run_for(ms(3000));
    assert_eq!(pair.peers[1].messages().len(), 1);
    pair.peers[1].sctp.set_paused(pair.now, b1, false);
    pair.run_for(ms(100));
    assert_eq!(pair.peers[1].messages().len(), 1);
}

/// What was sent before the peer closed is delivered though the channel was paused, and the identifier is free
/// afterwards.
#[test]
fn a_paused_channel_is_emptied_when_the_peer_closes() {
    let mut pair = Pair::connected();
    let (a, b) = pair.channel(DataChannelInit::labelled("paused"));
    pair.peers[1].sctp.set_paused(pair.now, b, true);
    for i in 0..3 {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(30_000, i)).unwrap();
    }
    pair.run_for(ms(1000));
    pair.peers[0].sctp.close_data_channel(pair.now, a);
    pair.run_for(ms(3000));
    assert!(pair.peers[0].saw(&DataChannelEvent::Closed { id: a }));
    let events = &pair.peers[1].events;
    assert_eq!(events.len(), 5, "{events:?}");
    assert_eq!(events[3], DataChannelEvent::Closing { id: b });
    assert_eq!(events[4], DataChannelEvent::Closed { id: b });
}

/// K23 (without interleaving): channels take turns, message by message.
#[test]
fn channels_take_turns() {
    let mut pair = Pair::connected();
    let (a1, _) = pair.channel(DataChannelInit::labelled("bulk"));
    let (a2, b2) = pair.channel(DataChannelInit::labelled("small"));
    for i in 0..100 {
        pair.peers[0].sctp.send(pair.now, a1, MessageKind::Binary, payload(20_000, i)).unwrap();
    }
    for i in 0..5 {
        pair.peers[0].sctp.send(pair.now, a2, MessageKind::Binary, payload(10, i)).unwrap();
    }
    pair.run_until(ms(60_000), |pair| pair.peers[1].events.len() == 105);
    let last_small = pair.peers[1]
        .events
        .iter()
        .rposition(|event| matches!(event, DataChannelEvent::Message { id, .. } if *id == b2))
        .unwrap();
    assert!(last_small < 15, "{last_small}");
}

/// T19: 1,024 channels work, the next is refused.
#[test]
fn a_thousand_and_twenty_four_channels() {
    let mut pair = Pair::connected();
    let mut ids = Vec::new();
    for id in 0..1024 {
        let init = DataChannelInit { negotiated: true, id: Some(id), ..DataChannelInit::default() };
        let both =
            [0, 1].map(|peer| pair.peers[peer].sctp.create_data_channel(pair.now, init.clone()).unwrap());
        ids.push(both);
    }
    assert_eq!(
        pair.peers[0].sctp.create_data_channel(pair.now, DataChannelInit::default()),
        Err(DataChannelOpenError::NoIdLeft)
    );
    for [a, _] in &ids {
        pair.peers[0].sctp.send(pair.now, *a, MessageKind::Binary, payload(10, 0)).unwrap();
    }
    assert!(pair.run_until(ms(60_000), |pair| pair.peers[1].events.len() >= 2048));
    assert_eq!(pair.peers[1].messages().len(), 1024);
    assert!(pair.largest <= 1191);
    // All at once: their resets travel in several chunks.
    for [a, _] in &ids {
        pair.peers[0].sctp.close_data_channel(pair.now, *a);
    }
    assert!(pair.run_until(ms(60_000), |pair| {
        pair.peers.iter().all(|peer| peer.sctp.data_channels().count() == 0)
    }));
    assert!(pair.largest <= 1191);
}

/// K15: fewer streams at the peer limit our channels; those beyond close with the reason.
#[test]
fn the_peers_streams_limit_channels() {
    let mut few = SctpTransportConfig::default();
    few.association.max_streams = 4;
    let mut pair = Pair::with(SctpTransportConfig::default(), few);
    let now = pair.now;
    let ids: Vec<_> = (0..3)
        .map(|i| {
            let init = DataChannelInit::labelled(format!("{i}"));
            pair.peers[0].sctp.create_data_channel(now, init).unwrap()
        })
        .collect();
    pair.connect();
    pair.run_for(ms(500));
    assert_eq!(pair.peers[0].sctp.max_channels(), Some(4));
    let error = crate::DataChannelError::NoStream { limit: 4 };
    assert!(pair.peers[0].saw(&DataChannelEvent::Error { id: ids[2], error }));
    assert!(pair.peers[0].saw(&DataChannelEvent::Closed { id: ids[2] }));
    assert_eq!(pair.peers[0].sctp.data_channel_state(ids[1]), DataChannelState::Open);
    assert_eq!(
        pair.peers[0].sctp.create_data_channel(now, DataChannelInit::default()),
        Err(DataChannelOpenError::NoIdLeft)
    );
}

/// K07: a peer that takes no message as large as the OPEN never hears of the channel.
#[test]
fn an_open_larger_than_the_peer_takes_closes_the_channel() {
    let mut pair = Pair::new();
    let a = pair.peers[0]
        .sctp
        .create_data_channel(pair.now, DataChannelInit::labelled("a longer label"))
        .unwrap();
    pair.start_with(20);
    pair.run_for(ms(1000));
    let error = crate::DataChannelError::OpenTooLarge { len: 26, limit: 20 };
    assert!(pair.peers[0].saw(&DataChannelEvent::Error { id: a, error }));
    assert!(pair.peers[0].saw(&DataChannelEvent::Closed { id: a }));
    assert!(pair.peers[1].events.is_empty());
}

/// W3C `createDataChannel`'s errors.
#[test]
fn bad_parameters_are_refused() {
    let mut sctp: SctpTransport = SctpTransport::new("test", SctpTransportConfig::default());
    let now = crate::test_pair::epoch();
    let label = |len| "x".repeat(len);
    let base = DataChannelInit::default;
    for (init, error) in [
        (DataChannelInit { label: label(65_536), ..base() }, DataChannelOpenError::LabelTooLong(65_536)),
        (
            DataChannelInit { protocol: label(65_536), ..base() },
            DataChannelOpenError::ProtocolTooLong(65_536),
        ),
        (
            DataChannelInit { max_retransmits: Some(1), max_packet_life_time: Some(1), ..base() },
            DataChannelOpenError::BothReliabilities,
        ),
        (DataChannelInit { negotiated: true, ..base() }, DataChannelOpenError::NegotiatedWithoutId),
        (
            DataChannelInit { id: Some(1024), ..base() },
            DataChannelOpenError::IdOutOfRange { id: 1024, limit: 1024 },
        ),
    ] {
        assert_eq!(sctp.create_data_channel(now, init), Err(error));
    }
    let init = DataChannelInit { id: Some(3), ..base() };
    sctp.create_data_channel(now, init.clone()).unwrap();
    assert_eq!(sctp.create_data_channel(now, init), Err(DataChannelOpenError::IdInUse(3)));
    assert_eq!(sctp.data_channels().count(), 1);
}

/// K13: the ports of a started transport stay.
#[test]
fn ports_cannot_change() {
    let mut pair = Pair::connected();
    let sctp = &mut pair.peers[0].sctp;
    assert_eq!(sctp.start(pair.now, 5000, 5000, 65_536, DtlsRole::Client), Ok(()));
    assert_eq!(sctp.max_message_size(), 65_536);
    assert_eq!(
        sctp.start(pair.now, 5000, 5001, 65_536, DtlsRole::Client),
        Err(SctpStartError::PortsChanged { old: (5000, 5000), new: (5000, 5001) })
    );
}
