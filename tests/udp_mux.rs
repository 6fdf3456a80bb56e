//! Many PeerConnections on one UDP port of the loopback interface, over real sockets.

#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod support;

use std::time::Duration;

use peerstack::{
    DataChannelInit, DataChannelMessage, PeerConnection, PeerConnectionDependencies, PeerConnectionFactory,
    UdpMux,
};
use support::Peer;
use tokio::task::JoinSet;

fn factory() -> PeerConnectionFactory {
    let mut dependencies = PeerConnectionDependencies::default();
    dependencies.udp_mux = Some(UdpMux::new(0));
    PeerConnectionFactory::with_dependencies(dependencies).unwrap()
}

/// One connection of the server's with a client: the messages of the client come back as they were sent.
async fn echo(server: PeerConnection, messages: Vec<DataChannelMessage>) -> u16 {
    let client = Peer::with(support::loopback(), PeerConnectionDependencies::default());
    let pcs = [client.pc.clone(), server.clone()];
    let channel = client.pc.create_data_channel("echo", DataChannelInit::default()).unwrap();
    let events = server.events();
    let ((out, _), (_, mut seen)) = support::join(client, Peer { pc: server, events }, support::ms(0));
    out.offer(&pcs[0]).await;
    let remote = support::incoming_channel(&mut seen).await;
    #[expect(clippy::disallowed_methods, reason = "the echo of a test")]
    tokio::spawn(support::echo_back(remote));
    support::exchange(&channel, &messages).await;
    let port = pcs[1].selected_candidate_pair().await.unwrap().unwrap().local.address.port();
    pcs.iter().for_each(PeerConnection::close);
    tokio::join!(pcs[0].closed(), pcs[1].closed());
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
        let server = factory.create_peer_connection(support::loopback()).unwrap();
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
