//! Who gets how much of the path, which identifiers are given when, and how much may wait at a reader that does not
//! read: two transports over a virtual link.

use bytes::Bytes;

use super::*;
use crate::DataChannelError;
use crate::test_pair::{Pair, ms};

/// K23 (without interleaving): a higher priority gets more of the path while both have something to send, and
/// nothing starves.
#[test]
fn priorities_share_the_path() {
    let mut pair = Pair::connected();
    pair.rate = 200_000;
    let (low, low_there) =
        pair.channel(DataChannelInit { priority: 128, ..DataChannelInit::labelled("low") });
    let (high, high_there) =
        pair.channel(DataChannelInit { priority: 1024, ..DataChannelInit::labelled("high") });
    for _ in 0..400 {
        for channel in [low, high] {
            pair.peers[0].sctp.send(pair.now, channel, MessageKind::Binary, vec![0; 1000]).unwrap();
        }
    }
    assert!(pair.run_until(ms(60_000), |pair| pair.peers[1].events.len() >= 400));
    let of = |channel: DataChannelId| {
        let is_message = |event: &&DataChannelEvent| match event {
            DataChannelEvent::Message { id, .. } => *id == channel,
            _ => false,
        };
        pair.peers[1].events.iter().filter(is_message).count()
    };
    let (low, high) = (of(low_there), of(high_there));
    // 1 to 8 by their priorities, less what was handed down before the other had anything.
    assert!(low > 20 && high > 5 * low, "{low} of the low channel, {high} of the high one");
}

/// K03: channels made before the DTLS role is known get their identifiers with it, in the order of their making.
#[test]
fn identifiers_come_with_the_role() {
    let mut pair = Pair::new();
    let create = |pair: &mut Pair, init| pair.peers[1].sctp.create_data_channel(pair.now, init).unwrap();
    let first = create(&mut pair, DataChannelInit::default());
    let given =
        create(&mut pair, DataChannelInit { negotiated: true, id: Some(3), ..DataChannelInit::default() });
    let last = create(&mut pair, DataChannelInit::default());
    let ids = |pair: &Pair| {
        [first, given, last].map(|id| pair.peers[1].sctp.data_channel_init(id).and_then(|init| init.id))
    };
    assert_eq!(ids(&pair), [None, Some(3), None]);
    pair.start();
    assert_eq!(pair.peers[1].sctp.dtls_role(), Some(DtlsRole::Server));
    assert_eq!(ids(&pair), [Some(1), Some(3), Some(5)]);
    assert_eq!(pair.peers[1].sctp.data_channel_state(first), DataChannelState::Connecting);
}

/// K03: more channels than there are identifiers of ours: what is left over closes with the reason when the role is
/// known.
#[test]
fn channels_without_an_identifier_close() {
    let mut few = SctpTransportConfig::default();
    few.association.max_streams = 4;
    let mut pair = Pair::with(few.clone(), few);
    let now = pair.now;
    let ids =
        [0; 3].map(|_| pair.peers[0].sctp.create_data_channel(now, DataChannelInit::default()).unwrap());
    pair.start();
    pair.flush();
    let error = DataChannelError::NoStream { limit: 4 };
    assert_eq!(
        pair.peers[0].events,
        [DataChannelEvent::Error { id: ids[2], error }, DataChannelEvent::Closed { id: ids[2] }]
    );
}

fn small_buffers() -> SctpTransportConfig {
    let mut config = SctpTransportConfig { max_undrained: 100_000, ..SctpTransportConfig::default() };
    config.association.receive_buffer = 400_000;
    config
}

/// K06: what was handed out but not taken counts too, over all channels: the window closes, nothing is lost, and it
/// opens again.
#[test]
fn the_backlog_closes_the_window() {
    let mut pair = Pair::with(small_buffers(), small_buffers());
    pair.connect();
    let channels: Vec<_> =
        (0..8).map(|i| pair.channel(DataChannelInit::labelled(format!("{i}"))).0).collect();
    for channel in &channels {
        for _ in 0..10 {
            pair.peers[0].sctp.send(pair.now, *channel, MessageKind::Binary, vec![7; 20_000]).unwrap();
        }
    }
    // The application takes nothing of what is handed out.
    let mut backlog = 0;
    for _ in 0..3000 {
        let until = pair.now + ms(20);
        pair.step(until);
        backlog = pair.peers[1]
            .events
            .iter()
            .map(|event| match event {
                DataChannelEvent::Message { data, .. } => data.len(),
                _ => 0,
            })
            .sum();
        pair.peers[1].sctp.set_backlog(pair.now, backlog);
    }
    // One turn's worth may come before the count is told.
    assert!(backlog <= 300_000, "{backlog}");
    let stuck: usize = channels.iter().map(|id| pair.peers[0].sctp.buffered_amount(*id)).sum();
    assert!(stuck > 900_000, "{stuck}");
    pair.peers[1].sctp.set_backlog(pair.now, 0);
    assert!(pair.run_until(ms(60_000), |pair| pair.peers[1].events.len() >= 80));
    assert_eq!(pair.peers[1].messages().len(), 80);
}

/// K06: a peer that sends and closes its channels, again and again, to a reader that takes nothing: what waits is
/// bounded though closed channels leave the window, and nothing is lost.
#[test]
fn what_is_reset_unread_is_bounded() {
    let mut pair = Pair::with(small_buffers(), small_buffers());
    pair.connect();
    pair.peers[1].drains = false;
    let mut most = 0;
    for round in 0..40_u8 {
        let now = pair.now;
        let channel = pair.peers[0].sctp.create_data_channel(now, DataChannelInit::default()).unwrap();
        for _ in 0..15 {
            pair.peers[0].sctp.send(now, channel, MessageKind::Binary, vec![round; 20_000]).unwrap();
        }
        pair.peers[0].sctp.close_data_channel(now, channel);
        pair.run_for(ms(500));
        most = most.max(pair.peers[1].sctp.channels.held());
    }
    assert!((400_000..=100_000 + 2 * 400_000 + 64_000).contains(&most), "{most}");
    pair.peers[1].drains = true;
    assert!(pair.run_until(ms(600_000), |pair| {
        pair.peers[1].events.iter().filter(|event| matches!(event, DataChannelEvent::Closed { .. })).count()
            == 40
    }));
    let lost = pair.peers[1].events.iter().find(|event| matches!(event, DataChannelEvent::Error { .. }));
    assert_eq!(lost, None);
    let messages: Vec<Bytes> = pair.peers[1].messages();
    assert_eq!(messages.len(), 600);
    for round in 0..40 {
        assert_eq!(messages.iter().filter(|message| message.first() == Some(&round)).count(), 15);
    }
}
