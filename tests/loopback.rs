//! Two PeerConnections over real UDP sockets of the loopback interface.

#![allow(clippy::unwrap_used, reason = "a test that fails")]

mod support;

use peerstack::{DataChannelInit, DataChannelMessage, PeerConnection, PeerConnectionDependencies};
use support::Peer;

#[tokio::test]
async fn messages_of_all_sizes_are_echoed_in_order() {
    let [a, b] = [0, 1].map(|_| Peer::with(support::loopback(), PeerConnectionDependencies::default()));
    let pcs = [a.pc.clone(), b.pc.clone()];
    let channel = pcs[0].create_data_channel("echo", DataChannelInit::default()).unwrap();
    let ((out, _), (_, mut seen)) = support::join(a, b, support::ms(0));
    out.offer(&pcs[0]).await;

    let remote = support::incoming_channel(&mut seen).await;
    assert_eq!(remote.label(), "echo");
    #[expect(clippy::disallowed_methods, reason = "the echo of a test")]
    tokio::spawn(support::echo_back(remote));
    let mut messages =
        vec![DataChannelMessage::Text("grüße".into()), DataChannelMessage::Text(String::new())];
    for size in [0, 1, 1_200, 16_384, 65_536, 262_144] {
        let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        messages.push(DataChannelMessage::Binary(bytes.into()));
    }
    support::exchange(&channel, &messages).await;
    pcs.iter().for_each(PeerConnection::close);
    tokio::join!(pcs[0].closed(), pcs[1].closed());
}
