//! What webrtc-pc promises of its objects at each step of an exchange: transports, directions, tracks, sections that are
//! stopped, what descriptions must have.

use peerstack_netsim::Lab;
use peerstack_peer_connection::{
    BundlePolicy, Configuration, DataChannel, DataChannelEvent, DataChannelInit, DtlsTransport,
    IceCandidateInit, MediaStreamTrack, OfferOptions, PeerConnection, PeerConnectionEvent,
    PeerConnectionEvents, RtcErrorKind, RtpTransceiverDirection as Direction, RtpTransceiverInit,
    SctpTransportState, SessionDescription, TrackKind,
};

use crate::harness::{Peer, ms, negotiate, pass, two_peers, two_peers_with};

fn audio() -> MediaStreamTrack {
    MediaStreamTrack::new(TrackKind::Audio)
}

fn streams(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The offer of `a` at both sides.
async fn offered(a: &PeerConnection, b: &PeerConnection) {
    a.set_local_description(None).await.unwrap();
    b.set_remote_description(a.local_description().unwrap()).await.unwrap();
}

/// The answer of `b` at both sides.
async fn answered(a: &PeerConnection, b: &PeerConnection) {
    b.set_local_description(None).await.unwrap();
    a.set_remote_description(b.local_description().unwrap()).await.unwrap();
}

fn changed(description: &SessionDescription, from: &str, to: &str) -> SessionDescription {
    let mut description = description.clone();
    assert!(description.sdp.contains(from), "{from:?} in {}", description.sdp);
    description.sdp = description.sdp.replace(from, to);
    description
}

/// Tracks told since, by their streams.
fn told(events: &mut PeerConnectionEvents) -> Vec<Vec<String>> {
    std::iter::from_fn(|| events.try_next())
        .filter_map(|event| match event {
            PeerConnectionEvent::Track(event) => Some(event.streams),
            _ => None,
        })
        .collect()
}

fn m_lines(description: &SessionDescription) -> Vec<&str> {
    description.sdp.lines().filter(|line| line.starts_with("m=")).collect()
}

/// webrtc-pc section 5.2, `transport`: none before a description is set; a local offer gives each section its own but for
/// those that only bundle; a remote offer gives none; the answer puts all on one.
#[tokio::test(start_paused = true)]
async fn transports_come_with_local_offers_and_answers() {
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxCompat, BundlePolicy::MaxBundle] {
        let (_lab, a, b) = two_peers_with(700, ms(5), &Configuration::new().with_bundle_policy(policy));
        let first = a.pc.add_track(audio(), &[]).unwrap();
        let second = a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
        let of = |pc: &PeerConnection| -> Vec<Option<DtlsTransport>> {
            let transceivers = pc.transceivers();
            for one in &transceivers {
                assert_eq!(one.sender().transport(), one.receiver().transport());
            }
            transceivers.iter().map(|one| one.sender().transport()).collect()
        };
        let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
        assert_eq!(of(&a.pc), [None, None]);
        a.pc.set_local_description(offer.clone()).await.unwrap();
        assert!(first.transport().is_some() && second.transport().is_some());
        assert_eq!(first.transport() == second.transport(), policy == BundlePolicy::MaxBundle);
        b.pc.set_remote_description(offer).await.unwrap();
        assert_eq!(of(&b.pc), [None, None], "{policy:?}");
        answered(&a.pc, &b.pc).await;
        for pc in [&a.pc, &b.pc] {
            let all = of(pc);
            assert!(all[0].is_some() && all[0] == all[1], "{policy:?}: {all:?}");
        }
    }
}

/// webrtc-pc section 4.2.4: which sections gather candidates. With `balanced` it is each, as libwebrtc does, not one of each
/// kind.
#[tokio::test(start_paused = true)]
async fn the_bundle_policy_says_which_sections_gather() {
    for (policy, expected) in [
        (BundlePolicy::Balanced, [true, true, true, true]),
        (BundlePolicy::MaxCompat, [true, true, true, true]),
        (BundlePolicy::MaxBundle, [true, false, false, false]),
    ] {
        let (_lab, a, _b) = two_peers_with(701, ms(5), &Configuration::new().with_bundle_policy(policy));
        for kind in [TrackKind::Audio, TrackKind::Audio, TrackKind::Video] {
            a.pc.add_transceiver(kind, RtpTransceiverInit::default()).unwrap();
        }
        let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        a.pc.set_local_description(None).await.unwrap();
        pass(ms(1_000)).await;
        let description = a.pc.local_description().unwrap();
        let gathered: Vec<bool> =
            description.sdp.split("m=").skip(1).map(|section| section.contains("a=candidate:")).collect();
        assert_eq!(gathered, expected, "{policy:?}");
    }
}

/// webrtc-pc section 5.4, `stop`: what was never offered needs no section; what was is refused, and sends nothing.
#[tokio::test(start_paused = true)]
async fn what_is_stopped_is_not_offered() {
    let (_lab, a, b) = two_peers(702, ms(5));
    let init = RtpTransceiverInit::new(Direction::Sendonly);
    let gone = a.pc.add_transceiver(TrackKind::Audio, init).unwrap();
    a.pc.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    gone.stop().unwrap();
    assert_eq!((gone.sender().transport(), gone.receiver().transport()), (None, None));
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    assert_eq!(m_lines(&offer).len(), 1);
    assert!(m_lines(&offer)[0].starts_with("m=video"));
    negotiate(&a, &b).await;

    for direction in [Direction::Sendonly, Direction::Inactive, Direction::Sendrecv] {
        let stays = a.pc.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
        negotiate(&a, &b).await;
        let place = m_lines(&a.pc.local_description().unwrap()).len();
        stays.set_direction(direction).unwrap();
        let never = a.pc.add_transceiver(TrackKind::Audio, RtpTransceiverInit::default()).unwrap();
        never.stop().unwrap();
        stays.stop().unwrap();
        let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
        assert_eq!(m_lines(&offer).len(), place, "{}", offer.sdp);
        let refused = offer.sdp.split("m=").find(|section| section.starts_with("audio 0 ")).unwrap();
        assert!(refused.contains("a=inactive"), "{refused}");
        negotiate(&a, &b).await;
        assert_eq!((a.pc.transceivers().len(), b.pc.transceivers().len()), (1, 1));
        assert_eq!((a.pc.senders().len(), b.pc.receivers().len()), (1, 1));
        // Either side may offer again.
        a.pc.set_local_description(None).await.unwrap();
        a.pc.set_local_description(Some(SessionDescription::rollback())).await.unwrap();
    }
}

/// webrtc-pc sections 5.4 and 4.4.1.4: a transceiver may be stopped at each step of an exchange, which goes on; the next
/// one carries it out, where that exchange could not.
#[tokio::test(start_paused = true)]
async fn stopping_fits_into_each_step_of_an_exchange() {
    for step in ["created", "offered", "remote offer", "answer created", "answered"] {
        let (_lab, a, b) = two_peers(703, ms(5));
        for peer in [&a, &b] {
            peer.pc.add_track(audio(), &streams(&["s"])).unwrap();
        }
        let stop = |peer: &Peer, at: &str| {
            if at == step {
                peer.pc.transceivers()[0].stop().unwrap();
            }
        };
        let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
        stop(&a, "created");
        a.pc.set_local_description(offer.clone()).await.unwrap();
        stop(&a, "offered");
        b.pc.set_remote_description(offer).await.unwrap();
        stop(&b, "remote offer");
        let answer = b.pc.create_answer().await.unwrap();
        stop(&b, "answer created");
        b.pc.set_local_description(answer.clone()).await.unwrap();
        let mut events = a.pc.events();
        a.pc.set_remote_description(answer).await.unwrap();
        stop(&b, "answered");
        a.release();
        // What was agreed on is told, be it about to stop.
        let expected = if step == "remote offer" { vec![] } else { vec![streams(&["s"])] };
        assert_eq!(told(&mut events), expected, "{step}");
        if step != "remote offer" {
            assert_eq!((a.pc.transceivers().len(), b.pc.transceivers().len()), (1, 1), "{step}");
            let (one, other) = (a.pc.transceivers().remove(0), b.pc.transceivers().remove(0));
            assert!(one.stopped() != other.stopped() && one.mid() == other.mid() && one.mid().is_some());
            pass(ms(2_000)).await;
            assert_eq!(a.pc.connection_state().as_str(), "connected", "{step}");
            negotiate(&a, &b).await;
            assert_eq!((one.mid(), other.mid()), (None, None), "{step}");
        }
        assert!(a.pc.transceivers().is_empty() && b.pc.transceivers().is_empty(), "{step}");
    }
}

/// RFC 9429 section 5.2.2: an offer that takes a refused section again is good even if what it is for was stopped
/// meanwhile.
#[tokio::test(start_paused = true)]
async fn a_recycled_section_may_be_stopped_before_it_is_set() {
    let (_lab, a, b) = two_peers(704, ms(5));
    a.pc.add_track(audio(), &[]).unwrap();
    a.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    negotiate(&a, &b).await;
    a.pc.transceivers()[1].stop().unwrap();
    negotiate(&a, &b).await;
    let again = a.pc.add_transceiver(TrackKind::Video, RtpTransceiverInit::default()).unwrap();
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    assert_eq!(m_lines(&offer).len(), 2);
    again.stop().unwrap();
    a.pc.set_local_description(offer.clone()).await.unwrap();
    b.pc.set_remote_description(offer).await.unwrap();
    answered(&a.pc, &b.pc).await;
    negotiate(&a, &b).await;
    assert_eq!((a.pc.transceivers().len(), b.pc.transceivers().len()), (1, 1));
}

/// webrtc-pc section 4.4.2, `addIceCandidate`: that we stopped what a section is for is nothing against its candidates.
#[tokio::test(start_paused = true)]
async fn candidates_of_a_stopped_transceiver_are_taken() {
    let (_lab, a, b) = two_peers(705, ms(5));
    for peer in [&a, &b] {
        peer.pc.add_track(audio(), &[]).unwrap();
        peer.pc.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
    }
    a.pc.set_local_description(None).await.unwrap();
    a.pc.transceivers()[1].stop().unwrap();
    a.pc.set_local_description(Some(SessionDescription::rollback())).await.unwrap();
    offered(&b.pc, &a.pc).await;
    let candidate = "candidate:0 1 UDP 2122252543 192.168.1.112 64261 typ host".to_owned();
    let sdp_mid = b.pc.transceivers()[1].mid();
    let init = IceCandidateInit { candidate, sdp_mid, ..IceCandidateInit::default() };
    a.pc.add_ice_candidate(init).await.unwrap();
}

/// webrtc-pc sections 5.1 and 5.7: which offers make a track known, with which streams.
#[tokio::test(start_paused = true)]
async fn tracks_are_told_with_their_streams() {
    // Not if the peer does not send; its section gets a transceiver all the same.
    let (_lab, a, b) = two_peers(706, ms(5));
    let mut events = b.pc.events();
    a.pc.add_transceiver(TrackKind::Audio, RtpTransceiverInit::new(Direction::Recvonly)).unwrap();
    offered(&a.pc, &b.pc).await;
    assert!(told(&mut events).is_empty());
    let made = b.pc.transceivers().remove(0);
    assert_eq!((made.direction(), made.current_direction()), (Direction::Recvonly, None));
    assert!(made.sender().track().is_none());

    // A stream needs no track; an `a=msid` needs no track either; a section needs no `a=mid`.
    let (_lab, a, b) = two_peers(707, ms(5));
    let mut events = b.pc.events();
    let init = RtpTransceiverInit::default().with_streams(streams(&["s", "t"]));
    a.pc.add_transceiver(TrackKind::Audio, init).unwrap();
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    a.pc.set_local_description(offer.clone()).await.unwrap();
    let short = offer.sdp.lines().map(|line| match line.strip_prefix("a=msid:") {
        Some(rest) => format!("a=msid:{}\r\n", rest.split(' ').next().unwrap()),
        None => format!("{line}\r\n"),
    });
    let short = SessionDescription::offer(short.collect::<String>());
    assert!(short.sdp.contains("a=msid:s\r\n"), "{}", short.sdp);
    let group = short.sdp.lines().find(|line| line.starts_with("a=group:")).unwrap().to_owned();
    let plain = changed(&changed(&short, "a=mid:", "a=unknown:"), &group, "a=unknown:x");
    b.pc.set_remote_description(plain).await.unwrap();
    assert_eq!(told(&mut events), [streams(&["s", "t"])]);
    assert!(b.pc.transceivers()[0].mid().is_some());
}

/// webrtc-pc section 4.4.1.4, rollback of a remote offer: what it made goes, be it with a track or another direction, but
/// not if `add_track` took it; tracks that had gone are told again; what was stopped stays so.
#[tokio::test(start_paused = true)]
async fn a_remote_offer_is_taken_back_and_made_again() {
    let (_lab, a, b) = two_peers(708, ms(5));
    a.pc.add_track(audio(), &streams(&["s"])).unwrap();
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    let rollback = || b.pc.set_remote_description(SessionDescription::rollback());
    b.pc.set_remote_description(offer.clone()).await.unwrap();
    let gone = b.pc.transceivers().remove(0);
    let mid = gone.mid();
    rollback().await.unwrap();
    assert!(b.pc.transceivers().is_empty() && gone.stopped() && gone.receiver().track().ended());
    assert_eq!(gone.mid(), None);
    b.pc.set_remote_description(offer.clone()).await.unwrap();
    let again = b.pc.transceivers().remove(0);
    assert_eq!((again.mid(), again.direction()), (mid.clone(), Direction::Recvonly));
    again.sender().replace_track(Some(audio())).unwrap();
    again.set_direction(Direction::Sendrecv).unwrap();
    rollback().await.unwrap();
    assert!(b.pc.transceivers().is_empty());
    b.pc.set_remote_description(offer.clone()).await.unwrap();
    b.pc.add_track(audio(), &streams(&["t"])).unwrap();
    assert_eq!(b.pc.transceivers().len(), 1);
    rollback().await.unwrap();
    let kept = b.pc.transceivers().remove(0);
    assert_eq!((kept.mid(), kept.direction(), kept.stopped()), (None, Direction::Sendrecv, false));

    let (mut at_a, mut at_b) = (a.pc.events(), b.pc.events());
    a.pc.set_local_description(offer.clone()).await.unwrap();
    b.pc.set_remote_description(offer).await.unwrap();
    assert_eq!(told(&mut at_b), [streams(&["s"])]);
    answered(&a.pc, &b.pc).await;
    assert_eq!(told(&mut at_a), [streams(&["t"])]);
    let ours = a.pc.transceivers().remove(0);
    assert_eq!((ours.mid(), ours.current_direction()), (mid, Some(Direction::Sendrecv)));

    ours.set_direction(Direction::Recvonly).unwrap();
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    b.pc.set_remote_description(offer).await.unwrap();
    assert!(told(&mut at_b).is_empty());
    rollback().await.unwrap();
    assert_eq!(told(&mut at_b), [streams(&["s"])]);

    ours.stop().unwrap();
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    b.pc.set_remote_description(offer).await.unwrap();
    rollback().await.unwrap();
    assert!(kept.stopped() && kept.receiver().track().ended());
}

/// webrtc-pc section 6.1.1: the association is there with the answer, and takes what the peer says last.
#[tokio::test(start_paused = true)]
async fn the_association_comes_with_the_answer() {
    let (_lab, a, b) = two_peers(709, ms(5));
    let _channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    offered(&a.pc, &b.pc).await;
    assert!(a.pc.sctp().is_none() && b.pc.sctp().is_none());
    answered(&a.pc, &b.pc).await;
    for pc in [&a.pc, &b.pc] {
        let sctp = pc.sctp().unwrap();
        assert_eq!((sctp.state(), sctp.max_channels()), (SctpTransportState::Connecting, None));
        assert_eq!(sctp.max_message_size(), 262_144);
    }
    a.release();
    pass(ms(1_000)).await;
    a.pc.set_local_description(None).await.unwrap();
    let smaller =
        changed(&a.pc.local_description().unwrap(), "max-message-size:262144", "max-message-size:256");
    b.pc.set_remote_description(smaller).await.unwrap();
    answered(&a.pc, &b.pc).await;
    assert_eq!(b.pc.sctp().unwrap().max_message_size(), 256);
    assert_eq!(a.pc.sctp().unwrap().max_message_size(), 262_144);
}

/// A channel and its other end, open.
async fn channels(configuration: &Configuration, media: bool) -> (Lab, Peer, Peer, [DataChannel; 2]) {
    let (lab, a, mut b) = two_peers_with(710, ms(5), configuration);
    if media {
        a.pc.add_track(audio(), &[]).unwrap();
    }
    let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
    negotiate(&a, &b).await;
    let remote = b.channels.recv().await.unwrap();
    for one in [&channel, &remote] {
        assert_eq!(one.next_event().await, Some(DataChannelEvent::Open));
    }
    (lab, a, b, [channel, remote])
}

/// RFC 9143 section 7.3.1: where the section that speaks for the bundle is refused the next one does; its channels go on.
#[tokio::test(start_paused = true)]
async fn the_bundle_outlives_the_section_that_spoke_for_it() {
    let configuration = Configuration::new().with_bundle_policy(BundlePolicy::MaxBundle);
    let (_lab, a, b, [channel, remote]) = channels(&configuration, true).await;
    b.pc.transceivers()[0].stop().unwrap();
    negotiate(&a, &b).await;
    assert!(b.pc.local_description().unwrap().sdp.contains("a=group:BUNDLE 1\r\n"));
    assert!(a.pc.transceivers().is_empty());
    pass(ms(5_000)).await;
    for (from, to) in [(&channel, &remote), (&remote, &channel)] {
        from.send("on").unwrap();
        while to.next_event().await != Some(DataChannelEvent::Message("on".into())) {}
    }
}

/// webrtc-pc section 6.2: what waits at `close` counts on, on either way to close.
#[tokio::test(start_paused = true)]
async fn what_waits_counts_after_closing() {
    let (_lab, a, _b, [channel, _remote]) = channels(&Configuration::new(), false).await;
    channel.send("hello").unwrap();
    channel.close();
    assert_eq!(channel.buffered_amount(), 5);
    let other = a.pc.create_data_channel("other", DataChannelInit::default()).unwrap();
    while other.next_event().await != Some(DataChannelEvent::Open) {}
    other.send("hello").unwrap();
    a.pc.close();
    assert_eq!(other.buffered_amount(), 5);
}

/// webrtc-pc section 4.2.5: with `require` RTP and RTCP share a transport, or the description is refused.
#[tokio::test(start_paused = true)]
async fn rtcp_mux_is_required() {
    let (_lab, a, b) = two_peers(711, ms(5));
    a.pc.add_track(audio(), &[]).unwrap();
    a.pc.set_local_description(None).await.unwrap();
    let offer = a.pc.local_description().unwrap();
    let refused = b.pc.set_remote_description(changed(&offer, "a=rtcp-mux\r\n", "")).await.unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidAccessError);
    b.pc.set_remote_description(offer).await.unwrap();
    b.pc.set_local_description(None).await.unwrap();
    let answer = b.pc.local_description().unwrap();
    let refused = a.pc.set_remote_description(changed(&answer, "a=rtcp-mux\r\n", "")).await.unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidAccessError);
    a.pc.set_remote_description(answer).await.unwrap();
}

/// webrtc-pc section 5.4, `direction`: what is stopped, or closed, takes none; section 5.3, `getParameters`: a receiver has no
/// name for RTCP; webrtc-stats, `RTCDtlsRole`: it is `unknown` before the answer.
#[tokio::test(start_paused = true)]
async fn roles_names_and_directions_at_their_time() {
    let (_lab, a, b) = two_peers(712, ms(5));
    let sender = a.pc.add_track(audio(), &[]).unwrap();
    offered(&a.pc, &b.pc).await;
    let report = a.pc.stats().await.unwrap();
    assert_eq!(report.transports[0].dtls_role.as_deref(), Some("unknown"));
    answered(&a.pc, &b.pc).await;
    let receiver = b.pc.receivers().remove(0);
    assert!(!sender.get_parameters().rtcp.cname.is_empty());
    assert!(receiver.get_parameters().rtcp.cname.is_empty() && receiver.get_parameters().rtcp.reduced_size);
    let transceiver = a.pc.transceivers().remove(0);
    transceiver.stop().unwrap();
    let refused = transceiver.set_direction(Direction::Stopped).unwrap_err();
    assert_eq!(refused.kind, RtcErrorKind::InvalidStateError);
    let other = b.pc.transceivers().remove(0);
    b.pc.close();
    assert_eq!(
        (other.direction(), other.current_direction()),
        (Direction::Stopped, Some(Direction::Stopped))
    );
    assert!(b.pc.transceivers().is_empty());
}
