//! Peers without BUNDLE: a transport for each section, media and data over each of them.

use peerstack_netsim::Lab;
use peerstack_peer_connection::{
    BundlePolicy, Configuration, DataChannelEvent, DataChannelInit, DataChannelMessage, DtlsTransport,
    DtlsTransportState, IceConnectionState, MediaStreamTrack, PeerConnection, PeerConnectionEvent,
    PeerConnectionState, RtcErrorKind, RtpSender, SessionDescription, TrackKind,
};

use crate::harness::{
    Peer, dependencies, joined, ms, negotiate, negotiate_with, pass, send_media, two_hosts,
};

fn peers(seed: u64, policies: [BundlePolicy; 2]) -> (Lab, Peer, Peer) {
    let (lab, a, b) = two_hosts(seed, ms(5));
    let [pc_a, pc_b] = [(&a, policies[0], seed), (&b, policies[1], seed + 1)].map(|(host, policy, seed)| {
        let configuration = Configuration::new().with_bundle_policy(policy);
        PeerConnection::with_dependencies(configuration, dependencies(&lab, host, seed)).unwrap()
    });
    let (a, b) = joined((pc_a, a), (pc_b, b));
    (lab, a, b)
}

/// As a peer that never heard of BUNDLE says it.
fn unbundled(mut description: SessionDescription) -> SessionDescription {
    let strange = ["a=group:BUNDLE", "a=bundle-only"];
    let lines = description.sdp.split_inclusive('\n');
    description.sdp = lines.filter(|line| !strange.iter().any(|strange| line.starts_with(strange))).collect();
    description
}

fn as_it_is(description: SessionDescription) -> SessionDescription {
    description
}

fn distinct(transports: impl IntoIterator<Item = Option<DtlsTransport>>) -> Vec<DtlsTransport> {
    let mut all: Vec<DtlsTransport> = Vec::new();
    for transport in transports.into_iter().flatten() {
        if !all.contains(&transport) {
            all.push(transport);
        }
    }
    all
}

async fn flows(sender: &RtpSender, peer: &mut Peer, kind: TrackKind) {
    let track =
        peer.pc.receivers().into_iter().map(|one| one.track()).find(|track| track.kind() == kind).unwrap();
    send_media(sender, 0, 50).await;
    pass(ms(500)).await;
    let mut count = 0;
    while let Some(packet) = track.try_recv() {
        assert_eq!(packet.payload.len(), 100);
        count += 1;
    }
    assert_eq!(count, 50, "{kind:?}");
}

/// J06, J08, J16: audio, video and data flow over as many transports as the descriptions leave. The offerer offers a group and
/// is answered without one, the answerer sees an offer without one; statistics and aggregates are those of all of them.
#[tokio::test(start_paused = true)]
async fn media_and_data_flow_over_each_transport() {
    for (seed, bundles, policies) in [
        (51, false, [BundlePolicy::Balanced, BundlePolicy::Balanced]),
        (53, false, [BundlePolicy::MaxCompat, BundlePolicy::Balanced]),
        (55, false, [BundlePolicy::Balanced, BundlePolicy::MaxCompat]),
        (57, true, [BundlePolicy::MaxCompat, BundlePolicy::MaxBundle]),
        (59, true, [BundlePolicy::MaxBundle, BundlePolicy::Balanced]),
    ] {
        let expected = if bundles { 1 } else { 3 };
        let (_lab, a, mut b) = peers(seed, policies);
        let mut events = a.pc.events();
        let audio = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
        let video = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
        let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        negotiate_with(&a, &b, if bundles { as_it_is } else { unbundled }, as_it_is).await;
        let remote = b.channels.recv().await.unwrap();
        while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
        pass(ms(3_000)).await;
        for pc in [&a.pc, &b.pc] {
            let media = pc.transceivers().into_iter().map(|one| one.receiver().transport());
            let transports = distinct(media.chain([pc.sctp().map(|sctp| sctp.transport())]));
            assert_eq!(transports.len(), expected, "seed {seed}");
            assert!(transports.iter().all(|one| one.state() == DtlsTransportState::Connected), "seed {seed}");
            assert_eq!(pc.connection_state(), PeerConnectionState::Connected);
            let ice = pc.ice_connection_state();
            assert!(matches!(ice, IceConnectionState::Connected | IceConnectionState::Completed), "{ice}");
        }
        // Connected is told once, when all of them are.
        let told: Vec<_> = std::iter::from_fn(|| events.try_next())
            .filter_map(|event| match event {
                PeerConnectionEvent::ConnectionStateChange(state) => Some(state),
                _ => None,
            })
            .collect();
        assert_eq!(told, [PeerConnectionState::Connecting, PeerConnectionState::Connected], "seed {seed}");

        flows(&audio, &mut b, TrackKind::Audio).await;
        flows(&video, &mut b, TrackKind::Video).await;
        channel.send("by itself").unwrap();
        pass(ms(200)).await;
        assert_eq!(remote.next_event().await, Some(DataChannelEvent::Open));
        let message = DataChannelEvent::Message(DataChannelMessage::from("by itself"));
        assert_eq!(remote.next_event().await, Some(message));

        let (at_a, at_b) = (a.pc.stats().await.unwrap(), b.pc.stats().await.unwrap());
        assert_eq!((at_a.transports.len(), at_b.transports.len()), (expected, expected));
        let mut mids: Vec<&str> = at_a.transports.iter().map(|one| one.mid.as_str()).collect();
        mids.sort_unstable();
        assert_eq!(mids, ["0", "1", "2"][..expected]);
        for ours in &at_a.transports {
            let theirs = at_b.transports.iter().find(|one| one.mid == ours.mid).unwrap();
            assert_eq!((ours.dtls_state.as_str(), theirs.dtls_state.as_str()), ("connected", "connected"));
            assert!(ours.bytes_sent > 0 && ours.selected_candidate_pair_id.is_some());
            assert_eq!(ours.remote_certificate_id, theirs.local_certificate_id);
        }
        for (sender, kind) in [(&audio, "audio"), (&video, "video")] {
            let sent = at_a.outbound_rtp.iter().find(|one| one.ssrc == sender.ssrc()).unwrap();
            let received = at_b.inbound_rtp.iter().find(|one| one.ssrc == sender.ssrc()).unwrap();
            assert_eq!((sent.packets_sent, received.packets_received, sent.kind.as_str()), (50, 50, kind));
            let of = at_a.transports.iter().find(|one| one.id == sent.transport_id).unwrap();
            assert!(expected == 1 || sent.mid == of.mid, "{} {}", sent.mid, of.mid);
        }
    }
}

/// J06: one of several transports that fails makes the connection fail, and its end that of no other.
#[tokio::test(start_paused = true)]
async fn a_section_that_is_stopped_takes_its_transport_along() {
    let (_lab, a, b) = peers(61, [BundlePolicy::Balanced; 2]);
    let audio = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    let _video = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate_with(&a, &b, unbundled, unbundled).await;
    pass(ms(3_000)).await;
    let transceivers = a.pc.transceivers();
    let transports: Vec<_> = transceivers.iter().map(|one| one.sender().transport().unwrap()).collect();
    assert_ne!(transports[0], transports[1]);
    transceivers[1].stop().unwrap();
    negotiate_with(&a, &b, unbundled, unbundled).await;
    pass(ms(3_000)).await;
    assert_eq!(transports[0].state(), DtlsTransportState::Connected);
    assert_eq!(transports[1].state(), DtlsTransportState::Closed);
    assert_eq!(a.pc.stats().await.unwrap().transports.len(), 1);
    assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
    assert_eq!(audio.transport(), Some(transports[0].clone()));
}

/// J18: with max-bundle a peer that does not bundle is refused, in offer and answer, and nothing changes.
#[tokio::test(start_paused = true)]
async fn max_bundle_refuses_who_does_not_bundle() {
    let (_lab, a, b) = peers(63, [BundlePolicy::MaxBundle, BundlePolicy::Balanced]);
    for pc in [&a.pc, &b.pc] {
        for kind in [TrackKind::Audio, TrackKind::Video] {
            let _ = pc.add_track(MediaStreamTrack::new(kind), &[]).unwrap();
        }
    }
    b.pc.set_local_description(None).await.unwrap();
    let offer = unbundled(b.pc.local_description().unwrap());
    let refused = a.pc.set_remote_description(offer).await.unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidAccessError);
    assert!(a.pc.remote_description().is_none());
    b.pc.set_local_description(SessionDescription::rollback()).await.unwrap();

    a.pc.set_local_description(None).await.unwrap();
    b.pc.set_remote_description(a.pc.local_description().unwrap()).await.unwrap();
    b.pc.set_local_description(None).await.unwrap();
    let answer = b.pc.local_description().unwrap();
    let refused = a.pc.set_remote_description(unbundled(answer.clone())).await.unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidAccessError);
    a.pc.set_remote_description(answer).await.unwrap();
    let transports: Vec<_> = a.pc.senders().iter().map(RtpSender::transport).collect();
    assert_eq!(distinct(transports).len(), 1);
}

/// J22: what stood outside of the group joins it with a later exchange; its transport closes.
#[tokio::test(start_paused = true)]
async fn sections_bundle_later() {
    let (_lab, a, mut b) = peers(65, [BundlePolicy::MaxCompat; 2]);
    let audio = a.pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &[]).unwrap();
    let video = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate_with(&a, &b, unbundled, as_it_is).await;
    pass(ms(3_000)).await;
    let apart = video.transport().unwrap();
    assert_ne!(audio.transport(), Some(apart.clone()));
    flows(&video, &mut b, TrackKind::Video).await;
    negotiate(&a, &b).await;
    pass(ms(3_000)).await;
    if video.transport() == audio.transport() {
        assert_eq!(apart.state(), DtlsTransportState::Closed);
    }
    let (_, transports) = (b.tracks.try_recv(), a.pc.stats().await.unwrap().transports.len());
    assert_eq!(transports, 1, "{}", a.pc.local_description().unwrap().sdp);
    assert_eq!(a.pc.connection_state(), PeerConnectionState::Connected);
}
