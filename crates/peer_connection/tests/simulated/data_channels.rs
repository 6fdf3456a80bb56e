//! Data channels whose reader is slow.

use peerstack_peer_connection::{DataChannelEvent, DataChannelInit, DataChannelMessage};

use crate::harness::{ms, negotiate, pass, two_peers};

/// Messages without content count too: the peer is held back, and none is dropped.
#[tokio::test(start_paused = true)]
async fn empty_messages_hold_the_peer_back() {
    const COUNT: u64 = 40_000;
    let (_lab, a, mut b) = two_peers(41, ms(1));
    let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    negotiate(&a, &b).await;
    let remote = b.channels.recv().await.unwrap();
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
    for _ in 0..COUNT {
        channel.send("").unwrap();
    }
    channel.send("last").unwrap();
    pass(ms(60_000)).await;
    let waiting = b.pc.stats().await.unwrap().data_channels[0].messages_received;
    assert!(waiting < COUNT, "all {waiting} of them wait");
    let mut received = 0;
    loop {
        match remote.next_event().await.unwrap() {
            DataChannelEvent::Message(message) if message.is_empty() => received += 1,
            DataChannelEvent::Message(message) => {
                assert_eq!((received, message), (COUNT, DataChannelMessage::from("last")));
                break;
            }
            _ => {}
        }
    }
}
