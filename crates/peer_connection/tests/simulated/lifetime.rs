//! What ends a connection frees its sockets and both of its tasks, at every stage of its life.

use peerstack_netsim::{Host, Lab};
use peerstack_peer_connection::{
    Configuration, DataChannelEvent, DataChannelInit, DtlsEngineKind, IceGatheringState, MediaStreamTrack,
    OfferOptions, PeerConnection, PeerConnectionFactory, PeerConnectionState, Settings, SrtpEngineKind,
    TrackKind,
};

use crate::harness::{dependencies, ms, negotiate, pass, two_hosts, two_peers};

/// Tasks of the runtime that are alive: the test's helpers among them.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// After the tasks had their turn.
async fn settled(lab: &Lab) -> (usize, usize) {
    pass(ms(10)).await;
    (tasks(), lab.open_sockets())
}

/// How far a connection gets before it ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    New,
    Offered,
    Gathering,
}

async fn reach(pc: &PeerConnection, stage: Stage) {
    if stage == Stage::New {
        return;
    }
    let _ = pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let _ = pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    let offer = pc.create_offer(OfferOptions::default()).await.unwrap();
    if stage == Stage::Gathering {
        pc.set_local_description(offer).await.unwrap();
        pass(ms(1)).await;
        assert_ne!(pc.ice_gathering_state(), IceGatheringState::New);
    }
}

/// Close, and dropping the last handle without it.
#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_early_leaves_nothing() {
    let (lab, host, _) = two_hosts(31, ms(5));
    let before = settled(&lab).await;
    assert_eq!(before.1, 0);
    for stage in [Stage::New, Stage::Offered, Stage::Gathering] {
        for close in [true, false] {
            let dependencies = dependencies(&lab, &host, 1);
            let pc = PeerConnection::with_dependencies(Configuration::new(), dependencies).unwrap();
            let clone = pc.clone();
            reach(&pc, stage).await;
            drop(clone);
            assert!(!pc.is_closed());
            if close {
                pc.close();
                pc.closed().await;
                assert_eq!(settled(&lab).await, before, "closed when {stage:?}");
            }
            drop(pc);
            assert_eq!(settled(&lab).await, before, "dropped when {stage:?}");
        }
    }
}

/// Two connected connections without anything of the test's that holds them.
async fn connected(lab: &Lab, hosts: [&Host; 2], settings: &Settings) -> (PeerConnection, PeerConnection) {
    let make = |host, seed| {
        let configuration = Configuration::new().with_settings(settings.clone());
        PeerConnection::with_dependencies(configuration, dependencies(lab, host, seed)).unwrap()
    };
    let (a, b) = (make(hosts[0], 1), make(hosts[1], 2));
    let channel = a.create_data_channel("data", DataChannelInit::default()).unwrap();
    let _ = a.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    // Candidates travel within the descriptions.
    a.set_local_description(None).await.unwrap();
    pass(ms(500)).await;
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
    b.set_local_description(None).await.unwrap();
    pass(ms(500)).await;
    a.set_remote_description(b.local_description().unwrap()).await.unwrap();
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
    assert_eq!(a.connection_state(), PeerConnectionState::Connected);
    (a, b)
}

/// Both engines, and both ways to end; the peer that is left alone ends too.
#[tokio::test(start_paused = true)]
async fn connected_connections_leave_nothing() {
    let (lab, a_host, b_host) = two_hosts(35, ms(5));
    let before = settled(&lab).await;
    #[cfg_attr(not(all(feature = "webrtc-dtls", feature = "webrtc-srtp")), allow(unused_mut))]
    let mut engines = vec![(DtlsEngineKind::Dimpl, SrtpEngineKind::Peerstack)];
    #[cfg(all(feature = "webrtc-dtls", feature = "webrtc-srtp"))]
    engines.push((DtlsEngineKind::WebrtcDtls, SrtpEngineKind::WebrtcSrtp));
    for (dtls, srtp) in engines {
        let mut settings = Settings::default();
        (settings.dtls_engine, settings.srtp_engine) = (dtls, srtp);
        for close in [true, false] {
            let (a, b) = connected(&lab, [&a_host, &b_host], &settings).await;
            let events = b.events();
            if close {
                a.close();
            }
            drop(a);
            pass(ms(100)).await;
            drop(b);
            assert_eq!(settled(&lab).await, before, "{dtls:?}, closed: {close}");
            drop(events);
        }
    }
}

/// The peer is gone without a word: the connection fails, and ends as any other.
#[tokio::test(start_paused = true)]
async fn a_failed_connection_leaves_nothing() {
    let (lab, a_host, b_host) = two_hosts(36, ms(5));
    let before = settled(&lab).await;
    let (a, b) = connected(&lab, [&a_host, &b_host], &Settings::default()).await;
    b_host.interfaces()[0].link().set_up(false);
    drop(b);
    pass(ms(120_000)).await;
    assert_eq!(a.connection_state(), PeerConnectionState::Failed);
    drop(a);
    assert_eq!(settled(&lab).await, before);
}

/// What was asked for and not waited for holds nothing either.
#[tokio::test(start_paused = true)]
async fn operations_under_way_hold_nothing() {
    let (lab, host, _) = two_hosts(37, ms(5));
    let before = settled(&lab).await;
    let pc = PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, &host, 1)).unwrap();
    let _channel = pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let waiting = pc.clone();
    let offer = tokio::join!(
        async move {
            let first = waiting.create_offer(OfferOptions::default());
            let second = waiting.set_local_description(None);
            tokio::join!(first, second)
        },
        async {
            pc.close();
            drop(pc);
        }
    );
    // Asked before the close or after: answered in any case.
    let ((first, second), ()) = offer;
    assert!(first.is_err() || second.is_err());
    assert_eq!(settled(&lab).await, before);
}

/// A connection outlives its factory; the network task ends with the last connection, or with the factory if it
/// has none.
#[tokio::test(start_paused = true)]
async fn the_network_task_ends_with_the_last_that_needs_it() {
    let (lab, host, _) = two_hosts(32, ms(5));
    let before = settled(&lab).await;
    drop(PeerConnectionFactory::with_dependencies(dependencies(&lab, &host, 1)).unwrap());
    assert_eq!(settled(&lab).await, before);

    let factory = PeerConnectionFactory::with_dependencies(dependencies(&lab, &host, 1)).unwrap();
    let one = factory.create_peer_connection(Configuration::new()).unwrap();
    let two = factory.create_peer_connection(Configuration::new()).unwrap();
    drop(factory);
    reach(&one, Stage::Gathering).await;
    reach(&two, Stage::Gathering).await;
    drop(one);
    assert!(two.stats().await.is_ok());
    assert_eq!(settled(&lab).await.0, before.0 + 2, "its own task and the network task");
    drop(two);
    assert_eq!(settled(&lab).await, before);
}

/// O34, Q07: channels, senders and tracks that the application keeps hold nothing open; what comes late fails, and
/// statistics can still be read.
#[tokio::test(start_paused = true)]
async fn handles_that_are_kept_hold_nothing_open() {
    let (lab, a, mut b) = two_peers(33, ms(5));
    let before = settled(&lab).await;
    let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    let sender = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate(&a, &b).await;
    let (remote, track) = (b.channels.recv().await.unwrap(), b.tracks.recv().await.unwrap());
    assert_eq!(b.pc.connection_state(), PeerConnectionState::Connected);
    let receiver = b.pc.receivers().remove(0);
    a.pc.close();
    a.pc.closed().await;
    // The peer is told.
    while remote.next_event().await.is_some() {}
    b.pc.close();
    b.pc.closed().await;
    // Two connections with two tasks each, and the two that passed candidates.
    assert_eq!(settled(&lab).await, (before.0 - 6, 0));
    assert_eq!((track.recv().await, channel.next_event().await.is_some()), (None, true));
    while channel.next_event().await.is_some() {}
    assert_eq!(sender.next_feedback().await, None);
    receiver.send_pli(1);
    assert!(sender.send_rtp(Default::default()).is_err() && channel.send("late").is_err());
    assert!(a.pc.create_offer(OfferOptions::default()).await.is_err());
    // What was measured last can still be asked for.
    let last = a.pc.stats().await.unwrap();
    assert_eq!(last.connection_state, PeerConnectionState::Closed);
    assert_eq!((last.transports.len(), last.data_channels.len()), (1, 1));
    assert!(last.transports[0].packets_sent > 0 && last.transports[0].dtls_state == "connected");
}

/// K14: A connection that was closed sends nothing more, and what its peer still says reaches no one.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_close() {
    let (lab, a, mut b) = two_peers(34, ms(5));
    let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    negotiate(&a, &b).await;
    let _remote = b.channels.recv().await.unwrap();
    a.pc.close();
    a.pc.closed().await;
    let from_a = || {
        let ours = |ip: std::net::IpAddr| a.host.interfaces()[0].ips().contains(&ip);
        lab.trace().sent().only(|entry| ours(entry.from.ip())).entries().len()
    };
    let sent = from_a();
    pass(ms(60_000)).await;
    assert_eq!(from_a(), sent);
}
