//! ICE roles, candidates and what the network task does for ICE.

use std::time::Duration;

use peerstack_base::{IoRequest, ResolveId};
use peerstack_p2p::{
    CandidateErrorEvent, CandidatePair, CandidatePairChange, IceMode, IceSwitchReason, IceTransport,
    IceTransportEvent,
};

use super::*;

use JsepTransportControllerEvent as Event;

fn lite(mut description: SessionDescription) -> SessionDescription {
    description.ice_lite = true;
    description
}

impl Test {
    fn role(&mut self, mid: &str) -> IceRole {
        let role = self.ice(mid).ice_role();
        assert_eq!(role, self.controller.ice_role());
        role
    }
}

/// J04: the first offerer is controlling, and stays so whoever offers later, restart or not.
#[test]
fn the_first_offerer_is_controlling() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    assert_eq!(test.role("0"), IceRole::Controlling);
    test.set_remote(SdpType::Offer, &peer_offer("0:a 1:v", &[])).unwrap();
    assert_eq!((test.role("0"), test.role("1")), (IceRole::Controlling, IceRole::Controlling));

    let mut test = Test::new(BundlePolicy::Balanced);
    test.set_remote(SdpType::Offer, &peer_offer("0:a", &[])).unwrap();
    assert_eq!(test.role("0"), IceRole::Controlled);
    let answer = test.answer("0:a", &[]);
    test.set_local(SdpType::Answer, &answer).unwrap();
    let restart = test.controller.transports_for_offer(&["0".to_owned()], true).unwrap();
    let offer = describe("0:a", &[], |mid| restart[mid].clone());
    test.set_local(SdpType::Offer, &offer).unwrap();
    assert_eq!(test.role("0"), IceRole::Controlled);
    let tiebreaker = test.controller.ice_tiebreaker();
    assert_eq!(test.ice("0").tiebreaker, Some(tiebreaker));
}

/// J04, I09: a lite peer makes us controlling, whoever offers; we stay controlling afterwards.
#[test]
fn a_lite_peer_makes_us_controlling() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.set_remote(SdpType::Offer, &lite(peer_offer("0:a", &[]))).unwrap();
    assert_eq!(test.role("0"), IceRole::Controlling);
    assert_eq!(test.ice("0").remote_ice_mode, IceMode::Lite);
    let answer = test.answer("0:a", &[]);
    test.set_local(SdpType::Answer, &answer).unwrap();
    assert_eq!(test.role("0"), IceRole::Controlling);
    test.set_remote(SdpType::Offer, &peer_offer("0:a", &[])).unwrap();
    assert_eq!(test.role("0"), IceRole::Controlling);
    assert_eq!(test.ice("0").remote_ice_mode, IceMode::Full);

    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.set_remote(SdpType::Answer, &lite(peer("0:a", &[], ConnectionRole::Active))).unwrap();
    assert_eq!(test.role("0"), IceRole::Controlling);
    assert_eq!(test.ice("0").remote_ice_mode, IceMode::Lite);
}

/// I09: lite ourselves we say so and are controlled, whoever offers and whatever we know so far; if the peer is lite too
/// the first offerer controls.
#[test]
fn a_lite_agent_is_controlled_by_a_full_peer() {
    let new = || {
        let mut config = JsepTransportControllerConfig::with_bundle_policy(BundlePolicy::Balanced);
        config.ice_lite = true;
        Test::with_config(&config, true)
    };
    for (peer_is_lite, role) in [(false, IceRole::Controlled), (true, IceRole::Controlling)] {
        let mut test = new();
        let offer = test.offer("0:a", &[]);
        assert_eq!(offer.contents[0].transport.ice_mode, IceMode::Lite);
        test.set_local(SdpType::Offer, &offer).unwrap();
        assert_eq!(test.role("0"), IceRole::Controlled);
        let answer = peer("0:a", &[], ConnectionRole::Active);
        let answer = if peer_is_lite { lite(answer) } else { answer };
        test.set_remote(SdpType::Answer, &answer).unwrap();
        assert_eq!(test.role("0"), role);
    }
    for peer_is_lite in [false, true] {
        let mut test = new();
        let offer = peer_offer("0:a", &[]);
        let offer = if peer_is_lite { lite(offer) } else { offer };
        test.set_remote(SdpType::Offer, &offer).unwrap();
        assert_eq!(test.role("0"), IceRole::Controlled);
        let answer = test.answer("0:a", &[]);
        assert_eq!(answer.contents[0].transport.ice_mode, IceMode::Lite);
        test.set_local(SdpType::Answer, &answer).unwrap();
        assert_eq!(test.role("0"), IceRole::Controlled);
    }
}

/// A role conflict switches all transports once, however many tell of it in one turn.
#[test]
fn a_role_conflict_switches_all() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a 1:v", &[], ("0:a 1:v", &[]));
    for mid in ["0", "1", "1"] {
        test.ice(mid).emit(IceTransportEvent::RoleConflict);
    }
    test.process();
    assert_eq!((test.role("0"), test.role("1")), (IceRole::Controlled, IceRole::Controlled));
    let offer = test.offer("0:a 1:v 2:v", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    assert_eq!(test.role("2"), IceRole::Controlled);
    test.ice("0").emit(IceTransportEvent::RoleConflict);
    test.process();
    assert_eq!(test.role("2"), IceRole::Controlling);
}

/// I01, O22: what is gathered for an ICE restart that was taken back is told no more, nor is its end.
#[test]
fn candidates_of_an_offer_taken_back_are_not_told() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    test.controller.maybe_start_gathering(test.now);
    let transports = test.controller.transports_for_offer(&["0".to_owned()], true).unwrap();
    let restart = describe("0:a", &[], |mid| transports[mid].clone());
    test.set_local(SdpType::Offer, &restart).unwrap();
    test.controller.maybe_start_gathering(test.now);
    test.controller.rollback_transports(test.now).unwrap();
    test.process();
    test.events();
    test.ice("0").emit(IceTransportEvent::CandidateGathered(candidate(1)));
    test.ice("0").emit(IceTransportEvent::GatheringStateChange(peerstack_p2p::IceGatheringState::Complete));
    test.process();
    let told =
        |event: &Event| matches!(event, Event::CandidatesGathered { .. } | Event::EndOfCandidates { .. });
    assert!(!test.events().iter().any(told));
    assert_eq!(test.controller.transport("0").unwrap().local_candidates(), []);
    // Of what is in force, which is gathered again with the next description.
    test.controller.maybe_start_gathering(test.now);
    test.ice("0").emit(IceTransportEvent::CandidateGathered(candidate(2)));
    test.ice("0").emit(IceTransportEvent::GatheringStateChange(peerstack_p2p::IceGatheringState::Complete));
    test.process();
    assert_eq!(test.events().iter().filter(|event| told(event)).count(), 2);
}

/// I01: local candidates are told with the section that speaks for the transport, and kept, until a restart (I06).
#[test]
fn local_candidates_are_told_and_kept() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:a 1:v", &["1 0"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.events();
    let (first, second) = (test.controller.transport_id("0"), test.controller.transport_id("1"));
    test.controller.maybe_start_gathering(test.now);
    test.process();
    test.events();
    test.ice("0").emit(IceTransportEvent::CandidateGathered(candidate(1)));
    test.ice("1").emit(IceTransportEvent::CandidateGathered(candidate(2)));
    test.process();
    let gathered = |mid: &str, mline_index, transport: Option<TransportId>, port| Event::CandidatesGathered {
        mid: mid.to_owned(),
        mline_index: Some(mline_index),
        transport: transport.unwrap(),
        candidates: vec![candidate(port)],
    };
    assert_eq!(test.events(), [gathered("0", 0, first, 1), gathered("1", 1, second, 2)]);
    test.set_remote(SdpType::Answer, &peer("0:a 1:v", &["1 0"], ConnectionRole::Active)).unwrap();
    test.events();
    test.ice("0").emit(IceTransportEvent::CandidateGathered(candidate(3)));
    test.process();
    assert_eq!(test.events(), [gathered("1", 1, second, 3)]);
    let kept = |test: &Test| test.controller.transport("0").unwrap().local_candidates().to_vec();
    assert_eq!(kept(&test), [candidate(2), candidate(3)]);

    let error = CandidateErrorEvent {
        address: String::new(),
        port: None,
        url: "stun:192.0.2.9".to_owned(),
        error_code: 701,
        error_text: "not reached".to_owned(),
    };
    let change = CandidatePairChange {
        pair: Some(CandidatePair { local: candidate(3), remote: candidate(4) }),
        reason: IceSwitchReason::Unknown,
        last_data_received: None,
        estimated_disconnected_time: Duration::ZERO,
    };
    test.ice("1").emit(IceTransportEvent::CandidatesRemoved(vec![candidate(2)]));
    test.ice("1").emit(IceTransportEvent::CandidateError(error.clone()));
    test.ice("1").emit(IceTransportEvent::SelectedCandidatePairChange(change.clone()));
    test.process();
    let mid = || "1".to_owned();
    assert_eq!(
        test.events(),
        [
            Event::CandidatesRemoved { mid: mid(), mline_index: Some(1), candidates: vec![candidate(2)] },
            Event::CandidateError { mid: mid(), error },
            Event::CandidatePairChange {
                mid: mid(),
                transport: second.unwrap(),
                component: IceComponent::Rtp,
                change: Box::new(change)
            },
        ]
    );
    assert_eq!(kept(&test), [candidate(3)]);
    // A new generation begins without any.
    let restart = test.controller.transports_for_offer(&mids("0:a 1:v"), true).unwrap();
    let offer = describe("0:a 1:v", &["1 0"], |mid| restart[mid].clone());
    test.set_local(SdpType::Offer, &offer).unwrap();
    assert_eq!(kept(&test), []);
}

/// I01: candidates in a description and behind it; twice is once; taken back; the end of them.
#[test]
fn remote_candidates_reach_their_transport() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:a 1:v", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let answer = with(peer("0:a 1:v", &[], ConnectionRole::Active), "1", |content| {
        content.transport.candidates = vec![candidate(1)];
        content.transport.end_of_candidates = true;
    });
    test.set_remote(SdpType::Answer, &answer).unwrap();
    assert_eq!(test.ice("0").remote_candidates, []);
    assert_eq!(test.ice("1").remote_candidates, [candidate(1)]);
    assert_eq!(test.ice("1").end_of_remote_candidates, 1);
    let now = test.now;
    test.controller.add_remote_candidates(now, "1", vec![candidate(1), candidate(2)]).unwrap();
    assert_eq!(test.ice("1").remote_candidates, [candidate(1), candidate(2)]);
    test.controller.remove_remote_candidates("1", &[candidate(1)]).unwrap();
    assert_eq!(test.ice("1").remote_candidates, [candidate(2)]);
    test.controller.end_of_candidates(now, "0").unwrap();
    assert_eq!(test.ice("0").end_of_remote_candidates, 1);
    let unknown = Err(JsepError::UnknownMid { mid: "7".to_owned() });
    assert_eq!(test.controller.add_remote_candidates(now, "7", vec![candidate(1)]), unknown);
    assert_eq!(test.controller.remove_remote_candidates("7", &[candidate(1)]), unknown);
    assert_eq!(test.controller.end_of_candidates(now, "7"), unknown);
}

/// J21: candidates of an m-line that is bundled elsewhere, or rejected, are ignored.
#[test]
fn candidates_of_a_bundled_section_are_ignored() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:a 1:v 2:v", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let answer = with(peer("0:a 1:v 2:vx", &["0 1"], ConnectionRole::Active), "1", |content| {
        content.transport.candidates = vec![candidate(1)];
        content.transport.end_of_candidates = true;
    });
    test.set_remote(SdpType::Answer, &answer).unwrap();
    for mid in ["1", "2"] {
        test.controller.add_remote_candidates(test.now, mid, vec![candidate(2)]).unwrap();
        test.controller.end_of_candidates(test.now, mid).unwrap();
    }
    assert_eq!(test.ice("0").remote_candidates, []);
    assert_eq!(test.ice("0").end_of_remote_candidates, 0);
    test.controller.add_remote_candidates(test.now, "0", vec![candidate(3)]).unwrap();
    assert_eq!(test.ice("1").remote_candidates, [candidate(3)]);
}

/// I05: nothing is gathered before our description is set.
#[test]
fn gathering_waits_for_our_parameters() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.set_remote(SdpType::Offer, &peer_offer("0:a", &[])).unwrap();
    test.controller.maybe_start_gathering(test.now);
    assert_eq!(test.ice("0").gathering_requests, 0);
    let answer = test.answer("0:a", &[]);
    test.set_local(SdpType::Answer, &answer).unwrap();
    test.controller.maybe_start_gathering(test.now);
    assert_eq!(test.ice("0").gathering_requests, 1);
}

#[test]
fn the_network_task_is_served() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a 1:v", &[], ("0:a 1:v", &[]));
    let (now, id) = (test.now, ResolveId::unique());
    let socket = test.ice("1").meta().socket;
    test.ice("1").set_timeout(Some(now + Duration::from_secs(1)));
    test.ice("0").set_timeout(Some(now + Duration::from_secs(2)));
    assert_eq!(test.controller.next_timeout(), Some(now + Duration::from_secs(1)));
    test.controller.handle_timeout(now + Duration::from_secs(1));
    assert_eq!((test.ice("0").handled_timeouts(), test.ice("1").handled_timeouts()), (0, 1));
    assert_eq!(test.controller.next_timeout(), Some(now + Duration::from_secs(2)));

    test.ice("1").push_io_request(IoRequest::Resolve { id, name: "host.local".to_owned() });
    assert!(matches!(test.controller.poll_io_request(), Some(IoRequest::Resolve { .. })));
    assert!(test.controller.poll_io_request().is_none());
    test.controller.handle_resolved(now, id, &[[192, 0, 2, 7].into()]);
    assert_eq!(test.ice("1").resolved.len(), 1);
    test.controller.handle_send_error(now, socket, &std::io::ErrorKind::NetworkUnreachable.into());
    assert_eq!((test.ice("0").send_errors.len(), test.ice("1").send_errors.len()), (0, 1));
    let mut queues = 0;
    test.controller.for_each_transmit_queue(|_| queues += 1);
    assert_eq!(queues, 2);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(test.controller.poll_wake(&mut context).is_pending());
}
