//! Offer and answer as applications see it: descriptions, rollback, transceivers, candidates, errors.

use peerstack_netsim::{Host, Lab};
use peerstack_peer_connection::{
    Codec, Configuration, DataChannelInit, IceCandidateInit, MediaStreamTrack, OfferOptions, PeerConnection,
    PeerConnectionEvent, PeerConnectionEvents, RtcError, RtcErrorDetail, RtcErrorKind, RtpPacket,
    RtpTransceiverDirection as D, RtpTransceiverInit, SdpType, SessionDescription, SignalingState, TrackKind,
};

use crate::harness::{dependencies, ms, pass, two_hosts};
use crate::signaling_states::visible;

struct Pair {
    _lab: Lab,
    _hosts: [Host; 2],
    a: PeerConnection,
    b: PeerConnection,
}

fn pair(seed: u64) -> Pair {
    let (lab, one, two) = two_hosts(seed, ms(5));
    let make = |host, seed| {
        PeerConnection::with_dependencies(Configuration::new(), dependencies(&lab, host, seed)).unwrap()
    };
    let (a, b) = (make(&one, seed), make(&two, seed + 1));
    Pair { _lab: lab, _hosts: [one, two], a, b }
}

fn audio() -> MediaStreamTrack {
    MediaStreamTrack::new(TrackKind::Audio)
}

/// Offers, without a text of the caller's.
async fn offer(from: &PeerConnection, to: &PeerConnection) {
    from.set_local_description(None).await.unwrap();
    to.set_remote_description(from.local_description().unwrap()).await.unwrap();
}

async fn exchange(a: &PeerConnection, b: &PeerConnection) {
    offer(a, b).await;
    offer(b, a).await;
}

async fn events(channel: &mut PeerConnectionEvents) -> Vec<PeerConnectionEvent> {
    pass(ms(1)).await;
    std::iter::from_fn(|| channel.try_next()).collect()
}

/// `stable have-local-offer`, with `needed` and the kinds of tracks among them.
async fn story(channel: &mut PeerConnectionEvents) -> String {
    let words = events(channel).await.into_iter().filter_map(|event| match event {
        PeerConnectionEvent::NegotiationNeeded => Some("needed".to_owned()),
        PeerConnectionEvent::SignalingStateChange(state) => Some(state.as_str().to_owned()),
        PeerConnectionEvent::Track(event) => Some(format!("+{}", event.streams.join(","))),
        PeerConnectionEvent::TrackRemoved(event) => Some(format!("-{}", event.streams.join(","))),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn mids(pc: &PeerConnection) -> Vec<Option<String>> {
    pc.transceivers().iter().map(|one| one.mid()).collect()
}

fn m_lines(pc: &PeerConnection) -> Vec<String> {
    let sdp = pc.local_description().unwrap().sdp;
    let lines = sdp.lines().filter(|line| line.starts_with("m=") || line.starts_with("a=mid:"));
    let mut all: Vec<String> = Vec::new();
    for line in lines {
        match (line.strip_prefix("m="), line.strip_prefix("a=mid:")) {
            (Some(media), _) => {
                let mut words = media.split(' ');
                let (kind, port) = (words.next().unwrap(), words.next().unwrap());
                all.push(format!("{kind}{}", if port == "0" { " rejected" } else { "" }));
            }
            (_, Some(mid)) => all.last_mut().unwrap().push_str(&format!(" {mid}")),
            _ => {}
        }
    }
    all
}

fn ufrag(description: Option<SessionDescription>) -> String {
    let sdp = description.unwrap().sdp;
    sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap().to_owned()
}

/// O17: told once when stable and the chain is empty, looked at again when an exchange is over.
#[tokio::test(start_paused = true)]
async fn negotiation_needed_is_told_once() {
    let Pair { a, b, _lab, .. } = pair(61);
    let mut told = a.events();
    for _ in 0..3 {
        let _ = a.add_track(audio(), &[]).unwrap();
    }
    let _ = a.create_data_channel("d", DataChannelInit::default()).unwrap();
    assert_eq!(story(&mut told).await, "needed");
    let _ = a.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    assert_eq!(story(&mut told).await, "");
    a.set_local_description(None).await.unwrap();
    let late = a.add_track(audio(), &[]).unwrap();
    assert_eq!(story(&mut told).await, "have-local-offer");
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
    offer(&b, &a).await;
    assert_eq!(story(&mut told).await, "stable needed");
    exchange(&a, &b).await;
    assert_eq!(story(&mut told).await, "have-local-offer stable");
    // What changes nothing that was agreed needs nothing.
    late.replace_track(Some(audio())).unwrap();
    a.transceivers()[0].set_direction(D::Sendrecv).unwrap();
    late.set_streams(&[]).unwrap();
    assert_eq!(story(&mut told).await, "");
    late.set_streams(&["s".to_owned()]).unwrap();
    assert_eq!(story(&mut told).await, "needed");
}

/// O15: operations run one after another in the order they were asked for; a close in the middle ends them all, and
/// none changes anything after it.
#[tokio::test(start_paused = true)]
async fn operations_run_in_order_until_closed() {
    let Pair { a, _lab, .. } = pair(62);
    let _ = a.add_track(audio(), &[]).unwrap();
    let (made, set, again) = tokio::join!(
        a.create_offer(OfferOptions::default()),
        a.set_local_description(None),
        a.create_answer()
    );
    assert_eq!((made.is_ok(), set.is_ok()), (true, true));
    assert_eq!(again.unwrap_err().kind, RtcErrorKind::InvalidStateError);
    // However far the operations came.
    for turns in 0..16 {
        let Pair { a, b, _lab, .. } = pair(162 + 2 * turns);
        let _ = a.add_track(audio(), &[]).unwrap();
        offer(&a, &b).await;
        let asked =
            async { tokio::join!(b.set_local_description(None), b.create_offer(OfferOptions::default())) };
        let close = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            b.close();
        };
        let ((set, made), ()) = tokio::join!(asked, close);
        assert_eq!(set.is_ok(), b.local_description().is_some(), "after {turns} turns");
        assert_eq!(b.transceivers().len(), 0);
        for error in [set.err(), made.err()].into_iter().flatten() {
            assert_eq!(error.kind, RtcErrorKind::InvalidStateError);
        }
        assert_eq!(b.signaling_state(), SignalingState::Closed);
        if turns == 0 {
            assert!(b.local_description().is_none());
        }
    }
}

/// O19, O20, O22: either side takes its offer back; what the offer made is gone, what it changed is as before.
#[tokio::test(start_paused = true)]
async fn rollback_restores_what_was() {
    let Pair { a, b, _lab, .. } = pair(63);
    let _ = a.add_track(audio(), &["s".to_owned()]).unwrap();
    exchange(&a, &b).await;
    let (mut a_told, mut b_told) = (a.events(), b.events());
    let before = [visible(&a), visible(&b)];
    let video = a.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    a.transceivers()[0].set_direction(D::Inactive).unwrap();
    offer(&a, &b).await;
    assert_eq!((video.mid().as_deref(), b.transceivers().len()), (Some("1"), 2));
    assert_eq!(story(&mut b_told).await, "have-remote-offer -s +");
    b.set_remote_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!(story(&mut b_told).await, "stable - +s");
    assert_eq!(visible(&b), before[1]);
    a.set_local_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!(video.mid(), None);
    video.stop().unwrap();
    a.transceivers()[0].set_direction(D::Sendrecv).unwrap();
    let descriptions = |text: &str| text.split(" [(").next().unwrap().to_owned();
    assert_eq!(descriptions(&visible(&a)), descriptions(&before[0]));
    // The need is looked at again once stable, and is gone with what made it.
    assert_eq!(story(&mut a_told).await, "have-local-offer stable");
    exchange(&a, &b).await;
    assert_eq!((mids(&a).len(), mids(&b).len()), (1, 1));
}

/// O20: what a remote offer made stays after its rollback if add_track took it.
#[tokio::test(start_paused = true)]
async fn rollback_leaves_what_add_track_took() {
    let Pair { a, b, _lab, .. } = pair(64);
    for _ in 0..2 {
        let _ = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    }
    offer(&a, &b).await;
    let sender = b.add_track(audio(), &[]).unwrap();
    assert_eq!(b.transceivers().len(), 2);
    b.set_remote_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!(mids(&b), [None]);
    assert_eq!(b.transceivers()[0].sender(), sender);
    // And is taken by the next remote offer.
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
    assert_eq!(mids(&b), [Some("0".to_owned()), Some("1".to_owned())]);
    assert_eq!(b.transceivers()[0].direction(), D::Sendrecv);
}

/// O21: a remote offer takes a local one back by itself, through stable; the need for ours is told after the answer. One
/// that is not good takes nothing back.
#[tokio::test(start_paused = true)]
async fn a_remote_offer_rolls_a_local_one_back() {
    let Pair { a, b, _lab, .. } = pair(65);
    let _ = a.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    let _ = b.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    a.set_local_description(None).await.unwrap();
    b.set_local_description(None).await.unwrap();
    pass(ms(100)).await;
    let mut told = a.events();
    let good = b.local_description().unwrap();
    a.set_remote_description(good).await.unwrap();
    assert!(a.pending_local_description().is_none());
    assert_eq!(mids(&a), [None, Some("0".to_owned())]);
    offer(&a, &b).await;
    assert_eq!(story(&mut told).await, "stable have-remote-offer + stable needed");
    exchange(&a, &b).await;
    assert_eq!((m_lines(&a), a.transceivers().len()), (vec!["audio 0".into(), "video 1".into()], 2));
}

/// O31: a provisional answer puts media and transports in force, the final one ends the exchange; it cannot be rolled
/// back.
#[tokio::test(start_paused = true)]
async fn a_provisional_answer_comes_first() {
    let Pair { a, b, _lab, .. } = pair(66);
    let _ = a.add_track(audio(), &[]).unwrap();
    offer(&a, &b).await;
    let answer = b.create_answer().await.unwrap();
    let pranswer = SessionDescription { sdp_type: SdpType::Pranswer, ..answer.clone() };
    b.set_local_description(pranswer.clone()).await.unwrap();
    a.set_remote_description(pranswer).await.unwrap();
    assert_eq!(a.signaling_state(), SignalingState::HaveRemotePranswer);
    assert_eq!(b.signaling_state(), SignalingState::HaveLocalPranswer);
    assert_eq!(a.transceivers()[0].current_direction(), Some(D::Sendonly));
    assert!(a.current_local_description().is_none() && b.current_local_description().is_none());
    assert_eq!(b.pending_local_description().unwrap().sdp_type, SdpType::Pranswer);
    let _ = b.transceivers()[0].set_direction(D::Sendrecv);
    b.set_local_description(None).await.unwrap();
    a.set_remote_description(b.local_description().unwrap()).await.unwrap();
    assert_eq!(a.transceivers()[0].current_direction(), Some(D::Sendrecv));
    assert_eq!(b.current_local_description().unwrap().sdp_type, SdpType::Answer);
    for pc in [&a, &b] {
        assert_eq!(pc.signaling_state(), SignalingState::Stable);
        assert!(pc.pending_local_description().is_none() && pc.pending_remote_description().is_none());
    }
}

/// O01, O02, O03, O07, O08, R07: sections stand in order of creation, what is stopped is rejected and its place taken by what
/// comes next of media, under a new mid; data has one section that is never recycled for media.
#[tokio::test(start_paused = true)]
async fn sections_are_added_stopped_and_recycled() {
    let Pair { a, b, _lab, .. } = pair(67);
    assert!(!a.create_offer(OfferOptions::default()).await.unwrap().sdp.contains("m="));
    let audio = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    let never = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    never.stop().unwrap();
    pass(ms(1)).await;
    assert_eq!((a.transceivers().len(), never.stopped()), (1, true));
    for label in ["one", "two"] {
        let _ = a.create_data_channel(label, DataChannelInit::default()).unwrap();
    }
    exchange(&a, &b).await;
    assert_eq!(m_lines(&a), ["audio 0", "application 1"]);
    assert_eq!((a.transceivers().len(), b.transceivers().len()), (1, 1));
    assert!(never.stopped());
    // The callee adds at the end.
    let _ = b.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    exchange(&b, &a).await;
    assert_eq!(m_lines(&a), ["audio 0", "application 1", "video 2"]);

    audio.stop().unwrap();
    let video = a.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    offer(&a, &b).await;
    // Not yet rejected when the offer was made: not recycled.
    assert_eq!(m_lines(&a), ["audio rejected 0", "application 1", "video 2", "video 3"]);
    assert_eq!(b.transceivers().len(), 2);
    let third = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    // Rejected in a pending description only.
    a.set_local_description(None).await.unwrap();
    assert_eq!(m_lines(&a)[0], "audio rejected 0");
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
    offer(&b, &a).await;
    assert_eq!((audio.mid(), audio.kind(), audio.stopped()), (None, TrackKind::Audio, true));
    assert_eq!((a.transceivers().len(), b.transceivers().len()), (3, 3));
    let fourth = a.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    let twice =
        [a.create_offer(OfferOptions::default()).await, a.create_offer(OfferOptions::default()).await];
    let [one, two] = twice.map(|offer| offer.unwrap().sdp.lines().filter(|l| l.starts_with("a=mid")).count());
    assert_eq!(one, two);
    exchange(&a, &b).await;
    assert_eq!(m_lines(&a), ["video 5", "application 1", "video 2", "video 3", "audio 4"]);
    assert_eq!(
        (fourth.mid().as_deref(), third.mid().as_deref(), video.mid().as_deref()),
        (Some("5"), Some("4"), Some("3"))
    );
    assert_eq!(fourth.current_direction(), Some(D::Sendonly));
    assert_eq!(b.transceivers().len(), 4);
}

/// O06, O05, R06: a section that the callee stopped is rejected by its answer or its next offer; inactive stops nothing.
#[tokio::test(start_paused = true)]
async fn either_side_stops() {
    let Pair { a, b, _lab, .. } = pair(68);
    for _ in 0..3 {
        let _ = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    }
    exchange(&a, &b).await;
    let [first, second, third] = [0, 1, 2].map(|index| b.transceivers()[index].clone());
    first.set_direction(D::Inactive).unwrap();
    exchange(&b, &a).await;
    assert_eq!((first.stopped(), a.transceivers()[0].current_direction()), (false, Some(D::Inactive)));
    // The tag of the group among them.
    first.stop().unwrap();
    second.stop().unwrap();
    assert_eq!(first.set_direction(D::Sendrecv).unwrap_err().kind, RtcErrorKind::InvalidStateError);
    assert_eq!(b.transceivers().len(), 3);
    exchange(&a, &b).await;
    assert_eq!((mids(&a), mids(&b)), (vec![Some("2".to_owned())], vec![Some("2".to_owned())]));
    assert_eq!((first.current_direction(), first.mid()), (Some(D::Stopped), None));
    third.stop().unwrap();
    exchange(&b, &a).await;
    assert_eq!((mids(&a).len(), mids(&b).len()), (0, 0));
}

/// O04, O05, R02, R03: a remote offer takes what add_track made if the peer would receive, never what add_transceiver made;
/// add_track takes what never sent.
#[tokio::test(start_paused = true)]
async fn transceivers_are_reused_as_the_specification_says() {
    let Pair { a, b, _lab, .. } = pair(69);
    for direction in [D::Sendonly, D::Sendrecv, D::Sendrecv] {
        let _ = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::new(direction)).unwrap();
    }
    let _ = b.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    let sender = b.add_track(audio(), &[]).unwrap();
    assert_eq!(b.transceivers().len(), 1, "what never sent is taken");
    let second = b.add_track(audio(), &[]).unwrap();
    offer(&a, &b).await;
    let of = |index: usize| b.transceivers()[index].clone();
    assert_eq!(mids(&b), [None, Some("1".into()), Some("0".into()), Some("2".into())]);
    assert_eq!(of(1).sender(), second);
    assert_eq!([of(2), of(3)].map(|one| one.direction()), [D::Recvonly; 2]);
    let third = b.add_track(audio(), &[]).unwrap();
    assert_eq!((of(2).sender() == third, of(2).direction()), (true, D::Sendrecv));
    assert_eq!(b.add_track(third.track().unwrap(), &[]).unwrap_err().kind, RtcErrorKind::InvalidAccessError);
    offer(&b, &a).await;
    let agreed: Vec<_> = a.transceivers().iter().map(|one| one.current_direction()).collect();
    assert_eq!(agreed, [Some(D::Sendonly), Some(D::Sendrecv), Some(D::Sendonly)]);
    // What sent is not taken again.
    b.remove_track(&second).unwrap();
    assert_eq!((second.track(), of(1).direction()), (None, D::Recvonly));
    b.remove_track(&second).unwrap();
    assert!(b.add_track(audio(), &[]).unwrap() != second);
    assert_eq!(a.remove_track(&sender).unwrap_err().kind, RtcErrorKind::InvalidAccessError);
    let video = MediaStreamTrack::new(TrackKind::Video);
    assert_eq!(sender.replace_track(Some(video)).unwrap_err().kind, RtcErrorKind::TypeError);
}

/// R04, O09, O10: a track is told when it begins, not again by another offer, and when it ends; msid is said from when it is
/// sent.
#[tokio::test(start_paused = true)]
async fn tracks_come_and_go() {
    let Pair { a, b, _lab, .. } = pair(70);
    let mut told = b.events();
    let track = audio();
    let sender = a.add_track(track.clone(), &["s".to_owned(), "t".to_owned(), "s".to_owned()]).unwrap();
    offer(&a, &b).await;
    offer(&a, &b).await;
    offer(&b, &a).await;
    assert_eq!(story(&mut told).await, "have-remote-offer +s,t stable");
    let receiver = b.receivers()[0].clone();
    assert_eq!(receiver.track().id(), track.id());
    exchange(&a, &b).await;
    assert_eq!(story(&mut told).await, "have-remote-offer stable");
    a.remove_track(&sender).unwrap();
    exchange(&a, &b).await;
    assert_eq!(story(&mut told).await, "have-remote-offer -s,t stable");
    assert!(a.local_description().unwrap().sdp.contains("a=msid:"));
    a.transceivers()[0].set_direction(D::Sendrecv).unwrap();
    sender.set_streams(&[]).unwrap();
    exchange(&a, &b).await;
    assert_eq!(story(&mut told).await, "have-remote-offer + stable");
    assert_eq!(b.receivers()[0], receiver);
    a.transceivers()[0].stop().unwrap();
    exchange(&a, &b).await;
    assert_eq!(
        (story(&mut told).await.as_str(), receiver.track().ended()),
        ("have-remote-offer - stable", true)
    );
}

/// J03, J05, O22, I07: restart_ice asks for new credentials until an exchange brought them, whoever offered; a rollback
/// does not forget it; an offer may ask by itself.
#[tokio::test(start_paused = true)]
async fn ice_restarts() {
    let Pair { a, b, _lab, .. } = pair(71);
    let mut told = a.events();
    a.restart_ice();
    assert_eq!(story(&mut told).await, "");
    let _ = a.add_track(audio(), &[]).unwrap();
    exchange(&a, &b).await;
    let _ = story(&mut told).await;
    let first = ufrag(a.local_description());
    exchange(&a, &b).await;
    assert_eq!(ufrag(a.local_description()), first);
    let _ = story(&mut told).await;
    a.restart_ice();
    a.restart_ice();
    assert_eq!(story(&mut told).await, "needed");
    a.set_local_description(None).await.unwrap();
    let second = ufrag(a.local_description());
    assert_ne!(second, first);
    // Offered again it is the same one.
    a.set_local_description(None).await.unwrap();
    assert_eq!(ufrag(a.local_description()), second);
    a.set_local_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!(ufrag(a.local_description()), first);
    assert_eq!(story(&mut told).await, "have-local-offer stable needed");
    // The peer restarts first, which is as good.
    let restart = b.create_offer(OfferOptions::ice_restart()).await.unwrap();
    b.set_local_description(restart.clone()).await.unwrap();
    a.set_remote_description(restart).await.unwrap();
    offer(&a, &b).await;
    assert_ne!(ufrag(a.local_description()), first);
    assert_eq!(story(&mut told).await, "have-remote-offer stable");
    let third = ufrag(a.local_description());
    exchange(&a, &b).await;
    assert_eq!(ufrag(a.local_description()), third);
}

fn candidate(mid: Option<&str>, ufrag: Option<&str>) -> IceCandidateInit {
    IceCandidateInit {
        candidate: "candidate:1 1 udp 2122260223 192.0.2.9 5000 typ host".to_owned(),
        sdp_mid: mid.map(str::to_owned),
        username_fragment: ufrag.map(str::to_owned),
        ..IceCandidateInit::default()
    }
}

/// I01, I02, I06: candidates enter the description of their generation; what is late for a section that is over has no
/// effect, what fits nothing is refused; an empty one is the end.
#[tokio::test(start_paused = true)]
async fn candidates_find_their_generation() {
    let Pair { a, b, _lab, .. } = pair(72);
    for _ in 0..2 {
        let _ = a.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
    }
    let early = b.add_ice_candidate(candidate(Some("0"), None)).await.unwrap_err();
    assert_eq!(early.kind, RtcErrorKind::InvalidStateError);
    offer(&a, &b).await;
    let known = ufrag(a.local_description());
    let before = visible(&b);
    let refused = [
        (candidate(Some("7"), None), RtcErrorKind::OperationError),
        (
            IceCandidateInit { sdp_mline_index: Some(2), ..candidate(None, None) },
            RtcErrorKind::OperationError,
        ),
        (candidate(None, None), RtcErrorKind::TypeError),
        (candidate(Some("0"), Some("nope")), RtcErrorKind::OperationError),
        (
            IceCandidateInit { candidate: "candidate:x".to_owned(), ..candidate(Some("0"), None) },
            RtcErrorKind::OperationError,
        ),
    ];
    for (init, kind) in refused {
        let error = b.add_ice_candidate(init.clone()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{init:?}: {error}");
        assert_eq!(visible(&b), before, "{init:?}");
    }
    b.add_ice_candidate(candidate(Some("0"), Some(&known))).await.unwrap();
    b.add_ice_candidate(candidate(Some("0"), Some(&known))).await.unwrap();
    let said = |pc: &PeerConnection, text: &str| pc.remote_description().unwrap().sdp.matches(text).count();
    assert_eq!(said(&b, "192.0.2.9 5000"), 1);
    b.add_ice_candidate(IceCandidateInit::default()).await.unwrap();
    assert_eq!(said(&b, "a=end-of-candidates"), 2);
    offer(&b, &a).await;

    // Another generation: the candidate is of the one that is pending, and goes with it.
    let restart = a.create_offer(OfferOptions::ice_restart()).await.unwrap();
    a.set_local_description(restart.clone()).await.unwrap();
    b.set_remote_description(restart).await.unwrap();
    let new = ufrag(a.local_description());
    assert_eq!(said(&b, "192.0.2.9 5000"), 0);
    b.add_ice_candidate(candidate(Some("0"), Some(&new))).await.unwrap();
    b.add_ice_candidate(candidate(Some("0"), Some(&known))).await.unwrap();
    assert_eq!(said(&b, "192.0.2.9 5000"), 1);
    b.set_remote_description(SessionDescription::rollback()).await.unwrap();
    assert_eq!((said(&b, "192.0.2.9 5000"), ufrag(b.remote_description())), (1, known));
    let late = b.add_ice_candidate(candidate(Some("0"), Some(&new))).await.unwrap_err();
    assert_eq!(late.kind, RtcErrorKind::OperationError);
    a.set_local_description(SessionDescription::rollback()).await.unwrap();

    a.transceivers()[1].stop().unwrap();
    exchange(&a, &b).await;
    b.add_ice_candidate(candidate(Some("1"), Some("gone"))).await.unwrap();
    b.add_ice_candidate(candidate(Some("1"), None)).await.unwrap();
    assert_eq!(said(&b, "192.0.2.9 5000"), 1);
}

/// O14, I01: a description that continues another has the candidates known so far.
#[tokio::test(start_paused = true)]
async fn candidates_outlive_a_renegotiation() {
    let Pair { a, b, _lab, .. } = pair(73);
    let _ = a.add_track(audio(), &[]).unwrap();
    a.set_local_description(None).await.unwrap();
    pass(ms(500)).await;
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
    offer(&b, &a).await;
    let candidates =
        |description: Option<SessionDescription>| description.unwrap().sdp.matches("a=candidate").count();
    let known = candidates(a.local_description());
    assert!(known > 0);
    let plain = a.create_offer(OfferOptions::default()).await.unwrap();
    a.set_local_description(plain.clone()).await.unwrap();
    assert_eq!(candidates(a.local_description()), known);
    b.set_remote_description(plain).await.unwrap();
    assert_eq!(candidates(b.remote_description()), known);
}

/// O11, O25, O32, I04: SDP that does not parse is told with its line, one that does not fit with what does not; nothing
/// changes.
#[tokio::test(start_paused = true)]
async fn bad_descriptions_change_nothing() {
    let Pair { a, b, _lab, .. } = pair(74);
    let _ = a.add_track(audio(), &[]).unwrap();
    let _ = a.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    exchange(&a, &b).await;
    let good = a.create_offer(OfferOptions::default()).await.unwrap().sdp;
    let one_section = &good[..good.find("m=video").unwrap()];
    let before = visible(&b);
    let bad = [
        good.replace("a=mid:1", "a=mid:7"),
        good.replace("m=video", "m=audio"),
        one_section.replace("BUNDLE 0 1", "BUNDLE 0"),
        good.replace("a=ice-ufrag", "a=x").replace("a=ice-pwd", "a=y"),
        good.replace("a=fingerprint", "a=x"),
        good.replace("a=rtcp-mux", "a=x"),
        good.clone() + "a=ssrc:1 msid:s t\r\na=ssrc:2 msid:s u\r\n",
    ];
    for (index, sdp) in bad.into_iter().enumerate() {
        let error = b.set_remote_description(SessionDescription::offer(sdp)).await.unwrap_err();
        assert_eq!((error.kind, error.detail), (RtcErrorKind::InvalidAccessError, None), "{index}: {error}");
        assert_eq!(visible(&b), before, "{index}: {error}");
    }
    let error = b.set_remote_description(SessionDescription::offer("v=0\r\nx")).await.unwrap_err();
    assert_eq!(error.kind, RtcErrorKind::OperationError);
    assert_eq!(error.detail, Some(RtcErrorDetail::SdpSyntaxError { line_number: 2 }), "{error}");
    let twice = good.replace("a=mid:1", "a=mid:0");
    let error = b.set_remote_description(SessionDescription::offer(twice)).await.unwrap_err();
    assert!(matches!(error.detail, Some(RtcErrorDetail::SdpSyntaxError { line_number: 20.. })), "{error}");
    assert_eq!(visible(&b), before);

    // Our own must be what was created last.
    let before = visible(&a);
    for other in [good.replace("sendrecv", "inactive"), b.remote_description().unwrap().sdp + "a=x\r\n"] {
        let error = a.set_local_description(SessionDescription::offer(other)).await.unwrap_err();
        assert_eq!((error.kind, visible(&a) == before), (RtcErrorKind::InvalidModificationError, true));
    }
    a.set_local_description(SessionDescription::offer(good.clone())).await.unwrap();
    a.set_local_description(SessionDescription::offer(good.clone())).await.unwrap();
    // An answer has the sections of its offer.
    b.set_remote_description(SessionDescription::offer(good)).await.unwrap();
    let answer = b.create_answer().await.unwrap().sdp;
    let before = visible(&a);
    for bad in [
        answer.replace("a=mid:1", "a=mid:7"),
        answer[..answer.find("m=video").unwrap()].replace("BUNDLE 0 1", "BUNDLE 0"),
        answer.replace("a=setup:active", "a=setup:actpass").replace("a=setup:passive", "a=setup:actpass"),
    ] {
        let error = a.set_remote_description(SessionDescription::answer(bad)).await.unwrap_err();
        assert_eq!((error.kind, visible(&a) == before), (RtcErrorKind::InvalidAccessError, true), "{error}");
    }
    a.set_remote_description(SessionDescription::answer(answer)).await.unwrap();
}

/// R02, R03, R06, O34: what is refused without waiting has the name the specification gives it, says what was wrong, and
/// changes nothing.
#[tokio::test(start_paused = true)]
async fn calls_that_fail_at_once_change_nothing() {
    let Pair { a, b, _lab, .. } = pair(75);
    let track = audio();
    let sender = a.add_track(track.clone(), &["s".to_owned()]).unwrap();
    let foreign = b.add_track(audio(), &[]).unwrap();
    let stopped = a.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    stopped.stop().unwrap();
    pass(ms(1)).await;
    let kind = |result: Result<(), RtcError>| result.map_err(|error| (error.kind, error.message.len() > 15));
    use RtcErrorKind::{InvalidAccessError, InvalidModificationError, InvalidStateError, TypeError};
    let video = || MediaStreamTrack::new(TrackKind::Video);
    let rtx = |mut codec: Codec| {
        codec.name = "rtx".to_owned();
        codec
    };
    let codec = {
        exchange(&a, &b).await;
        sender.codecs()[0].clone()
    };
    let before = (visible(&a), sender.streams(), sender.track());
    let calls: [(RtcErrorKind, Result<(), RtcError>); 10] = [
        (InvalidAccessError, a.add_track(track, &[]).map(drop)),
        (InvalidAccessError, a.remove_track(&foreign)),
        (TypeError, sender.replace_track(Some(video()))),
        (InvalidStateError, stopped.set_direction(D::Inactive)),
        (InvalidStateError, stopped.sender().replace_track(Some(video()))),
        (InvalidStateError, stopped.sender().set_streams(&[])),
        (InvalidStateError, stopped.sender().send_rtp(RtpPacket::default())),
        (InvalidStateError, stopped.set_codec_preferences(Vec::new())),
        (InvalidModificationError, a.transceivers()[0].set_codec_preferences(vec![rtx(codec)])),
        (InvalidAccessError, a.send_rtcp("0", vec![1, 2, 3].into())),
    ];
    for (index, (wanted, result)) in calls.into_iter().enumerate() {
        assert_eq!(kind(result), Err((wanted, true)), "call {index}");
    }
    assert_eq!((visible(&a), sender.streams(), sender.track()), before);
    // A stopped one may be stopped again, and its sender be taken away.
    stopped.stop().unwrap();
    a.remove_track(&stopped.sender()).unwrap();
    assert_eq!(visible(&a), before.0);

    a.close();
    let closed = [
        a.add_track(audio(), &[]).map(drop),
        a.remove_track(&sender),
        sender.replace_track(None),
        sender.set_streams(&[]),
        sender.send_rtp(RtpPacket::default()),
    ];
    for result in closed {
        assert_eq!(kind(result), Err((InvalidStateError, true)));
    }
}
