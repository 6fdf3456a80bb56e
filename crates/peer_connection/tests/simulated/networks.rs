//! Networks that come and go while a connection lives.

use peerstack_base::AdapterType;
use peerstack_netsim::ip;
use peerstack_peer_connection::{
    Configuration, DataChannelInit, OfferOptions, PeerConnection, PeerConnectionEvent, PeerConnectionEvents,
};

use crate::harness::{dependencies, ms, pass, two_hosts};

/// The addresses of the candidates that were told so far.
fn candidates(events: &mut PeerConnectionEvents) -> Vec<String> {
    let told = std::iter::from_fn(|| events.try_next());
    told.filter_map(|event| match event {
        PeerConnectionEvent::IceCandidate(candidate) => {
            candidate.candidate.split(' ').nth(4).map(str::to_owned)
        }
        _ => None,
    })
    .collect()
}

/// G06, I05: a network that appears is gathered on, without the application's help; each has one candidate.
#[tokio::test(start_paused = true)]
async fn a_new_network_is_gathered_on() {
    let (lab, host, _) = two_hosts(21, ms(5));
    let pc = PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, &host, 1)).unwrap();
    let mut events = pc.events();
    let _channel = pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let offer = pc.create_offer(OfferOptions::default()).await.unwrap();
    pc.set_local_description(offer).await.unwrap();
    pass(ms(3_000)).await;
    assert_eq!(candidates(&mut events), ["192.0.2.1"]);
    host.add_interface("wlan0", AdapterType::Wifi, &lab.internet(), &[ip("192.0.2.77")]);
    pass(ms(3_000)).await;
    assert_eq!(candidates(&mut events), ["192.0.2.77"]);
    pc.close();
    pc.closed().await;
}
