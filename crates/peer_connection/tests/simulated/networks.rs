//! Networks that come and go while a connection lives.

use peerstack_base::AdapterType;
use peerstack_netsim::ip;
use peerstack_peer_connection::{
    Configuration, ContinualGatheringPolicy, DataChannelEvent, DataChannelInit, DataChannelMessage,
    IceCandidateInit, OfferOptions, PeerConnection, PeerConnectionEvent, PeerConnectionEvents, RtcErrorKind,
    Settings,
};

use crate::harness::{dependencies, ms, negotiate, pass, two_hosts, two_peers_with};

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

/// What was told as gone so far, one list for each event.
fn removed(events: &mut PeerConnectionEvents) -> Vec<Vec<IceCandidateInit>> {
    let told = std::iter::from_fn(|| events.try_next());
    told.filter_map(|event| match event {
        PeerConnectionEvent::IceCandidatesRemoved(candidates) => Some(candidates),
        _ => None,
    })
    .collect()
}

/// How often this address is in a description.
fn mentions(description: Option<peerstack_peer_connection::SessionDescription>, address: &str) -> usize {
    let sdp = description.unwrap().sdp;
    sdp.lines().filter(|line| line.starts_with("a=candidate:") && line.contains(address)).count()
}

/// G38: the candidates of a network that goes are told as removed, once and as they were signalled, and leave the
/// description; the peer takes them out of its own by `remove_ice_candidates`, and the connection lives.
#[tokio::test(start_paused = true)]
async fn candidates_of_a_network_that_goes_are_told_and_taken_back() {
    let mut settings = Settings::default();
    settings.continual_gathering = ContinualGatheringPolicy::GatherContinually;
    let configuration = Configuration::new().with_settings(settings);
    let (lab, a, mut b) = two_peers_with(22, ms(5), &configuration);
    a.host.add_interface("wlan0", AdapterType::Wifi, &lab.internet(), &[ip("192.0.2.77")]);
    let mut events = a.pc.events();
    let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    negotiate(&a, &b).await;
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
    let remote = b.channels.recv().await.unwrap();
    pass(ms(3_000)).await;
    assert_eq!(removed(&mut events), Vec::<Vec<IceCandidateInit>>::new());
    assert_eq!(mentions(a.pc.local_description(), "192.0.2.77"), 1);
    assert_eq!(mentions(b.pc.remote_description(), "192.0.2.77"), 1);

    a.host.interfaces()[1].set_up(false);
    pass(ms(3_000)).await;
    let told = removed(&mut events);
    assert_eq!(told.len(), 1, "{told:?}");
    let [candidate] = &told[0][..] else { panic!("{told:?}") };
    assert!(candidate.candidate.contains(" 192.0.2.77 ") && candidate.candidate.contains(" typ host"));
    assert_eq!((candidate.sdp_mid.as_deref(), candidate.sdp_mline_index), (Some("0"), Some(0)));
    assert!(candidate.username_fragment.is_some());
    assert_eq!(mentions(a.pc.local_description(), "192.0.2.77"), 0);
    assert_eq!(mentions(a.pc.local_description(), "192.0.2.1"), 1);

    assert_eq!(mentions(b.pc.remote_description(), "192.0.2.77"), 1);
    b.pc.remove_ice_candidates(told[0].clone()).await.unwrap();
    assert_eq!(mentions(b.pc.remote_description(), "192.0.2.77"), 0);
    assert_eq!(mentions(b.pc.remote_description(), "192.0.2.1"), 1);
    // What is not known, any more, has no effect.
    b.pc.remove_ice_candidates(told[0].clone()).await.unwrap();
    channel.send(DataChannelMessage::Text("on".into())).unwrap();
    assert_eq!(remote.next_event().await, Some(DataChannelEvent::Open));
    assert_eq!(
        remote.next_event().await,
        Some(DataChannelEvent::Message(DataChannelMessage::Text("on".into())))
    );
    for pc in [&a.pc, &b.pc] {
        pc.close();
        pc.closed().await;
    }
}

/// What cannot be taken back is refused, and what came with it stays.
#[tokio::test(start_paused = true)]
async fn candidates_that_cannot_be_taken_back() {
    let (_lab, a, b) = two_peers_with(23, ms(5), &Configuration::new());
    let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let good = IceCandidateInit { sdp_mid: Some("0".into()), ..IceCandidateInit::default() };
    let before = b.pc.remove_ice_candidates(vec![good.clone()]).await.unwrap_err();
    assert_eq!(before.kind, RtcErrorKind::InvalidStateError);
    negotiate(&a, &b).await;
    pass(ms(3_000)).await;
    let line = a.pc.local_description().unwrap().sdp;
    let line = line.lines().find_map(|line| line.strip_prefix("a=candidate:")).unwrap().to_owned();
    let good = IceCandidateInit { candidate: format!("candidate:{line}"), ..good };
    let without_section = IceCandidateInit { sdp_mid: None, ..good.clone() };
    let elsewhere = IceCandidateInit { sdp_mid: Some("7".into()), ..good.clone() };
    let garbage = IceCandidateInit { candidate: "candidate:1 1 udp".into(), ..good.clone() };
    let end = IceCandidateInit { candidate: String::new(), ..good.clone() };
    let other = IceCandidateInit { username_fragment: Some("nobody".into()), ..good.clone() };
    for (bad, kind) in [
        (without_section, RtcErrorKind::TypeError),
        (elsewhere, RtcErrorKind::OperationError),
        (garbage, RtcErrorKind::OperationError),
        (end, RtcErrorKind::TypeError),
        (other, RtcErrorKind::OperationError),
    ] {
        let error = b.pc.remove_ice_candidates(vec![good.clone(), bad.clone()]).await.unwrap_err();
        assert_eq!(error.kind, kind, "{bad:?}");
        assert_eq!(mentions(b.pc.remote_description(), "192.0.2.1"), 1);
    }
    b.pc.remove_ice_candidates(vec![good.clone()]).await.unwrap();
    assert_eq!(mentions(b.pc.remote_description(), "192.0.2.1"), 0);
    for pc in [&a.pc, &b.pc] {
        pc.close();
        pc.closed().await;
    }
    assert!(b.pc.remove_ice_candidates(vec![good]).await.is_err(), "closed");
}
