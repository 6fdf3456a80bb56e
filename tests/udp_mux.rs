//! Many PeerConnections on one UDP port of the loopback interface, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails")]

use std::time::Duration;

use peerstack::{
    Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, OfferOptions,
    PeerConnection, PeerConnectionDependencies, PeerConnectionEvent, PeerConnectionEvents,
    PeerConnectionFactory, Settings, UdpMux,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

fn configuration() -> Configuration {
    let mut settings = Settings::default();
    settings.allow_loopback = true;
    Configuration::new().with_settings(settings)
}

fn factory() -> PeerConnectionFactory {
    let mut dependencies = PeerConnectionDependencies::default();
    dependencies.udp_mux = Some(UdpMux::new(0));
    PeerConnectionFactory::with_dependencies(dependencies).unwrap()
}

/// Passes candidates on; the data channels that come in.
fn signal(mut events: PeerConnectionEvents, to: PeerConnection) -> mpsc::UnboundedReceiver<DataChannel> {
    let (sender, receiver) = mpsc::unbounded_channel();
    #[expect(clippy::disallowed_methods, reason = "the signalling between the two peers of a test")]
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                PeerConnectionEvent::IceCandidate(candidate) => drop(to.add_ice_candidate(candidate).await),
                PeerConnectionEvent::DataChannel(channel) => drop(sender.send(channel)),
                PeerConnectionEvent::Closed => break,
                _ => {}
            }
        }
    });
    receiver
}

/// One connection of the server's with a client: the messages of the client come back as they were sent.
async fn echo(server: PeerConnection, messages: Vec<DataChannelMessage>) -> u16 {
    let client = PeerConnection::new(configuration()).unwrap();
    let (client_events, server_events) = (client.events(), server.events());
    let channel = client.create_data_channel("echo", DataChannelInit::default()).unwrap();
    let offer = client.create_offer(OfferOptions::default()).await.unwrap();
    client.set_local_description(offer.clone()).await.unwrap();
    server.set_remote_description(offer).await.unwrap();
    let answer = server.create_answer().await.unwrap();
    server.set_local_description(answer.clone()).await.unwrap();
    client.set_remote_description(answer).await.unwrap();
    let _ = signal(client_events, server.clone());
    let mut incoming = signal(server_events, client.clone());
    let remote = incoming.recv().await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "the echo of a test")]
    tokio::spawn(async move {
        while let Some(event) = remote.next_event().await {
            if let DataChannelEvent::Message(message) = event {
                remote.send(message).unwrap();
            }
        }
    });
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
    for message in &messages {
        channel.send(message.clone()).unwrap();
    }
    for message in &messages {
        let echoed = loop {
            if let DataChannelEvent::Message(message) = channel.next_event().await.unwrap() {
                break message;
            }
        };
        assert!(echoed == *message, "{} bytes came back for {}", echoed.len(), message.len());
    }
    let port = server.selected_candidate_pair().await.unwrap().unwrap().local.address.port();
    client.close();
    server.close();
    tokio::join!(client.closed(), server.closed());
    port
}

/// Messages that only this peer sends.
fn messages(peer: usize, sizes: &[usize]) -> Vec<DataChannelMessage> {
    let bytes = |size: usize| (0..size).map(|index| (index * 7 + peer) as u8).collect::<Vec<u8>>();
    let text = DataChannelMessage::Text(format!("peer {peer}"));
    sizes.iter().map(|size| DataChannelMessage::Binary(bytes(*size).into())).chain([text]).collect()
}

async fn all_on_one_port(count: usize, sizes: &'static [usize]) {
    let factory = factory();
    let mut peers = JoinSet::new();
    for peer in 0..count {
        let server = factory.create_peer_connection(configuration()).unwrap();
        peers.spawn(echo(server, messages(peer, sizes)));
    }
    let ports = tokio::time::timeout(Duration::from_secs(120), peers.join_all()).await.unwrap();
    let addresses = factory.udp_mux_addresses();
    assert!(addresses.iter().any(|address| address.ip().is_loopback()), "{addresses:?}");
    assert_eq!(ports.len(), count);
    assert!(ports.iter().all(|port| *port == addresses[0].port()), "{ports:?}, shared: {addresses:?}");
}

/// Large messages, so that batches are sent and received with offload where the system has it.
#[tokio::test]
async fn two_connections_share_a_port() {
    all_on_one_port(2, &[0, 1, 1_200, 65_536, 262_144, 262_144, 262_144, 262_144]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_connections_share_a_port() {
    all_on_one_port(100, &[1, 1_200, 10_000]).await;
}
