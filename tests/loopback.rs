//! Two PeerConnections over real UDP sockets of the loopback interface.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails")]

use peerstack::{
    Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, OfferOptions,
    PeerConnection, PeerConnectionEvent, PeerConnectionEvents, Settings,
};

fn peer() -> (PeerConnection, PeerConnectionEvents) {
    let mut settings = Settings::default();
    settings.allow_loopback = true;
    let pc = PeerConnection::new(Configuration::new().with_settings(settings)).unwrap();
    let events = pc.events();
    (pc, events)
}

/// Passes candidates on until a data channel comes in, if one is awaited.
fn signal(
    mut events: PeerConnectionEvents,
    to: PeerConnection,
) -> tokio::sync::mpsc::UnboundedReceiver<DataChannel> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    #[expect(clippy::disallowed_methods, reason = "the signalling between the two peers of a test")]
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                PeerConnectionEvent::IceCandidate(candidate) => {
                    to.add_ice_candidate(candidate).await.unwrap()
                }
                PeerConnectionEvent::DataChannel(channel) => sender.send(channel).unwrap(),
                PeerConnectionEvent::Closed => break,
                _ => {}
            }
        }
    });
    receiver
}

async fn next_message(channel: &DataChannel) -> DataChannelMessage {
    loop {
        match channel.next_event().await {
            Some(DataChannelEvent::Message(message)) => return message,
            Some(_) => {}
            None => panic!("the channel closed"),
        }
    }
}

#[tokio::test]
async fn messages_of_all_sizes_are_echoed_in_order() {
    let (a, a_events) = peer();
    let (b, b_events) = peer();
    let channel = a.create_data_channel("echo", DataChannelInit::default()).unwrap();
    let offer = a.create_offer(OfferOptions::default()).await.unwrap();
    a.set_local_description(offer.clone()).await.unwrap();
    b.set_remote_description(offer).await.unwrap();
    let answer = b.create_answer().await.unwrap();
    b.set_local_description(answer.clone()).await.unwrap();
    a.set_remote_description(answer).await.unwrap();
    let _ = signal(a_events, b.clone());
    let mut incoming = signal(b_events, a.clone());

    let remote = incoming.recv().await.unwrap();
    assert_eq!(remote.label(), "echo");
    #[expect(clippy::disallowed_methods, reason = "the echo of a test")]
    tokio::spawn(async move {
        while let Some(event) = remote.next_event().await {
            if let DataChannelEvent::Message(message) = event {
                remote.send(message).unwrap();
            }
        }
    });
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
    let mut sent = vec![DataChannelMessage::Text("grüße".into()), DataChannelMessage::Text(String::new())];
    for size in [0, 1, 1_200, 16_384, 65_536, 262_144] {
        let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        sent.push(DataChannelMessage::Binary(bytes.into()));
    }
    for message in &sent {
        channel.send(message.clone()).unwrap();
    }
    for message in &sent {
        let echoed = next_message(&channel).await;
        assert!(echoed == *message, "{} bytes came back for {}", echoed.len(), message.len());
    }
    a.close();
    b.close();
    tokio::join!(a.closed(), b.closed());
}
