//! What setting descriptions means where the specification is particular: glare with an offer that is refused, the
//! offer created last, streams that nobody named, what closing tells.

use peerstack_netsim::{Host, Lab};
use peerstack_peer_connection::{
    Configuration, DataChannelInit, IceCandidateInit, IceGatheringState, MediaStreamTrack, OfferOptions,
    PeerConnection, PeerConnectionEvent, PeerConnectionEvents, RtcErrorKind, RtpTransceiverDirection,
    RtpTransceiverInit, SessionDescription, SignalingState, TrackKind,
};

use crate::harness::{dependencies, ms, pass, two_hosts};

fn two(seed: u64) -> (Lab, [Host; 2], PeerConnection, PeerConnection) {
    let (lab, one, two) = two_hosts(seed, ms(5));
    let make = |host, seed| {
        PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, host, seed)).unwrap()
    };
    let (a, b) = (make(&one, seed), make(&two, seed + 1));
    (lab, [one, two], a, b)
}

async fn exchange(a: &PeerConnection, b: &PeerConnection) {
    a.set_local_description(None).await.unwrap();
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
    b.set_local_description(None).await.unwrap();
    a.set_remote_description(b.local_description().unwrap()).await.unwrap();
}

fn all(events: &mut PeerConnectionEvents) -> Vec<PeerConnectionEvent> {
    std::iter::from_fn(|| events.try_next()).collect()
}

fn states(events: &mut PeerConnectionEvents) -> Vec<SignalingState> {
    let state = |event| match event {
        PeerConnectionEvent::SignalingStateChange(state) => Some(state),
        _ => None,
    };
    all(events).into_iter().filter_map(state).collect()
}

/// O21: an offer of the peer takes ours back also where it is refused, whatever is wrong with it: the rollback comes
/// first and stands, and the need for our offer is told again.
#[tokio::test(start_paused = true)]
async fn an_offer_that_is_refused_has_taken_ours_back() {
    let (_lab, _hosts, a, b) = two(201);
    let ours = a.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    let _ = b.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    b.set_local_description(None).await.unwrap();
    let good = b.local_description().unwrap();
    for (wrong, kind) in [
        ("Invalid SDP".to_owned(), RtcErrorKind::OperationError),
        (good.sdp.replace("a=group:BUNDLE 0", "a=group:BUNDLE 7"), RtcErrorKind::InvalidAccessError),
        (good.sdp.replace("a=fingerprint", "a=x"), RtcErrorKind::InvalidAccessError),
    ] {
        a.set_local_description(None).await.unwrap();
        pass(ms(100)).await;
        let mut told = a.events();
        let error = a.set_remote_description(SessionDescription::offer(wrong)).await.unwrap_err();
        assert_eq!((error.kind, a.signaling_state()), (kind, SignalingState::Stable), "{error}");
        assert!(a.local_description().is_none() && a.remote_description().is_none());
        assert_eq!((a.transceivers().len(), ours.mid()), (1, None));
        pass(ms(1)).await;
        let told = all(&mut told);
        let needed = told.iter().filter(|one| matches!(one, PeerConnectionEvent::NegotiationNeeded)).count();
        let stable = PeerConnectionEvent::SignalingStateChange(SignalingState::Stable);
        let went = told.iter().filter(|one| format!("{one:?}") == format!("{stable:?}")).count();
        assert_eq!((needed, went), (1, 1), "{told:?}");
    }
    exchange(&b, &a).await;
    exchange(&a, &b).await;
    assert_eq!(ours.current_direction(), Some(RtpTransceiverDirection::Sendonly));
}

/// O21: candidates that come right behind an offer that meets ours find it.
#[tokio::test(start_paused = true)]
async fn candidates_behind_an_offer_that_meets_ours_are_taken() {
    let (_lab, _hosts, a, b) = two(203);
    for pc in [&a, &b] {
        let _ = pc.create_data_channel("d", DataChannelInit::default()).unwrap();
        pc.set_local_description(None).await.unwrap();
    }
    let mut told = a.events();
    let (set, added) = tokio::join!(
        a.set_remote_description(b.local_description().unwrap()),
        a.add_ice_candidate(IceCandidateInit::default())
    );
    assert_eq!((set.is_ok(), added.is_ok()), (true, true));
    assert_eq!(states(&mut told), [SignalingState::Stable, SignalingState::HaveRemoteOffer]);
}

/// O15: without a description what was created last is set if it still is what would be created; an ICE restart that
/// was asked for is not lost.
#[tokio::test(start_paused = true)]
async fn without_a_description_the_last_one_created_counts() {
    let (_lab, _hosts, a, b) = two(205);
    let _ = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    let offer = a.create_offer(OfferOptions::default()).await.unwrap();
    a.set_local_description(None).await.unwrap();
    assert_eq!(a.pending_local_description().unwrap().sdp, offer.sdp);
    b.set_remote_description(offer).await.unwrap();
    let answer = b.create_answer().await.unwrap();
    b.set_local_description(None).await.unwrap();
    assert_eq!(b.current_local_description().unwrap().sdp, answer.sdp);
    a.set_remote_description(answer).await.unwrap();

    let ufrag = |sdp: &str| {
        sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::to_owned).unwrap()
    };
    let before = ufrag(&a.local_description().unwrap().sdp);
    let restart = a.create_offer(OfferOptions::ice_restart()).await.unwrap();
    assert_ne!(ufrag(&restart.sdp), before);
    a.set_local_description(None).await.unwrap();
    assert_eq!(a.pending_local_description().unwrap().sdp, restart.sdp);
    // Once more, and with something new to say: it is not another restart.
    a.set_local_description(None).await.unwrap();
    let _ = a.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    a.set_local_description(None).await.unwrap();
    let pending = a.pending_local_description().unwrap().sdp;
    assert_eq!(ufrag(&pending), ufrag(&restart.sdp));
    assert!(pending.contains("m=video"));
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
    b.set_local_description(None).await.unwrap();
    a.set_remote_description(b.local_description().unwrap()).await.unwrap();
    let now = ufrag(&a.local_description().unwrap().sdp);
    exchange(&a, &b).await;
    assert_eq!((ufrag(&a.local_description().unwrap().sdp) == now, now == before), (true, false));
}

/// O10: the tracks of a peer that writes no `a=msid` are in one stream; one that says there is none is believed.
#[tokio::test(start_paused = true)]
async fn a_peer_that_names_no_streams_has_one() {
    let (_lab, _hosts, a, b) = two(207);
    let _ = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    let _ = a.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    let offer = a.create_offer(OfferOptions::default()).await.unwrap().sdp;
    assert!(offer.contains("a=msid:- "), "{offer}");
    let legacy: String = offer.split_inclusive("\r\n").filter(|line| !line.contains("msid")).collect();
    for (sdp, streams) in [(offer, vec![]), (legacy, vec!["default".to_owned()])] {
        b.set_remote_description(SessionDescription::offer(sdp)).await.unwrap();
        let got: Vec<_> = b.receivers().iter().map(|receiver| receiver.streams()).collect();
        assert_eq!(got, [streams.clone(), streams]);
        b.set_remote_description(SessionDescription::rollback()).await.unwrap();
    }
}

/// R01: one track that is sent several times is said by another name each time (RFC 8830 section 2).
#[tokio::test(start_paused = true)]
async fn a_track_sent_twice_has_two_names() {
    let (_lab, _hosts, a, b) = two(209);
    let track = MediaStreamTrack::new(TrackKind::Audio);
    let init = || RtpTransceiverInit::default().with_streams(["s".to_owned()]);
    for _ in 0..3 {
        let _ = a.add_transceiver_with_track(track.clone(), init()).unwrap();
    }
    // A sender keeps its name when its track is replaced, so the track may be added anew.
    let sender = a.add_track(MediaStreamTrack::with_id(TrackKind::Video, "v"), &["s".to_owned()]).unwrap();
    sender.replace_track(None).unwrap();
    exchange(&a, &b).await;
    let _ = a.add_track(MediaStreamTrack::with_id(TrackKind::Video, "v"), &["s".to_owned()]).unwrap();
    exchange(&a, &b).await;
    let mut tracks: Vec<_> = b.receivers().iter().map(|receiver| receiver.track().id()).collect();
    assert_eq!((tracks.len(), tracks[0].clone(), tracks[3].clone()), (5, track.id(), "v".to_owned()));
    tracks.sort_unstable();
    tracks.dedup();
    assert_eq!(tracks.len(), 5);
}

/// R01: a transceiver is not made as a stopped one.
#[tokio::test(start_paused = true)]
async fn no_transceiver_is_made_stopped() {
    let (_lab, _hosts, a, _b) = two(211);
    let stopped = || RtpTransceiverInit::new(RtpTransceiverDirection::Stopped);
    let track = MediaStreamTrack::new(TrackKind::Audio);
    for result in
        [a.add_transceiver(TrackKind::Audio, stopped()), a.add_transceiver_with_track(track, stopped())]
    {
        assert_eq!(result.unwrap_err().kind, RtcErrorKind::TypeError);
    }
    assert!(a.transceivers().is_empty());
}

/// O34: `close` changes the states and tells none of them; what is told is that all is freed.
#[tokio::test(start_paused = true)]
async fn closing_tells_no_state() {
    let (_lab, _hosts, a, b) = two(213);
    let _ = a.create_data_channel("d", DataChannelInit::default()).unwrap();
    exchange(&a, &b).await;
    pass(ms(100)).await;
    let mut told = a.events();
    a.close();
    assert_eq!(a.signaling_state(), SignalingState::Closed);
    a.closed().await;
    let told = all(&mut told);
    assert!(matches!(told.as_slice(), [PeerConnectionEvent::Closed]), "{told:?}");
}

/// J15: with the first offer the transports go, and gathering is new again; an ICE restart that is taken back once it
/// has gathered leaves it complete.
#[tokio::test(start_paused = true)]
async fn a_rollback_takes_the_gathering_state_back() {
    let gathering = |events: &mut PeerConnectionEvents| {
        let state = |event| match event {
            PeerConnectionEvent::IceGatheringStateChange(state) => Some(state),
            _ => None,
        };
        all(events).into_iter().filter_map(state).collect::<Vec<_>>()
    };
    use IceGatheringState as S;
    let (_lab, _hosts, a, b) = two(215);
    let _ = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    let mut told = a.events();
    for (wait, expected) in [(ms(1_000), vec![S::Gathering, S::Complete, S::New]), (ms(0), vec![])] {
        a.set_local_description(None).await.unwrap();
        pass(wait).await;
        a.set_local_description(SessionDescription::rollback()).await.unwrap();
        pass(ms(1_000)).await;
        let states = gathering(&mut told);
        assert_eq!(a.ice_gathering_state(), S::New, "{states:?}");
        match expected.is_empty() {
            true => assert!(states.last().is_none_or(|last| *last == S::New), "{states:?}"),
            false => assert_eq!(states, expected),
        }
    }
    exchange(&a, &b).await;
    pass(ms(1_000)).await;
    assert_eq!(gathering(&mut told), [S::Gathering, S::Complete]);
    let restart = a.create_offer(OfferOptions::ice_restart()).await.unwrap();
    a.set_local_description(restart).await.unwrap();
    pass(ms(1_000)).await;
    assert_eq!(gathering(&mut told), [S::Gathering, S::Complete]);
    a.set_local_description(SessionDescription::rollback()).await.unwrap();
    pass(ms(1_000)).await;
    assert_eq!((gathering(&mut told), a.ice_gathering_state()), (vec![], S::Complete));
}
