//! RTCP on a transport of its own: who gets one, who loses it, and what is asked of it meanwhile.

use peerstack_base::{IoRequest, PacketOptions, SendError, SocketId};
use peerstack_dtls::{
    DtlsEngineError, DtlsRole, DtlsTransportEvent, DtlsTransportState, SrtpProtectionProfile,
};
use peerstack_p2p::{
    IceGatheringState as Gathering, IceRole, IceTransport, IceTransportEvent, IceTransportState,
};
use peerstack_rtp_transport::RtpTransportInternal;

use super::*;
use crate::RtcpMuxPolicy;
use JsepTransportControllerEvent as Event;

impl Test {
    fn negotiating(bundle_policy: BundlePolicy) -> Self {
        let config = JsepTransportControllerConfig {
            rtcp_mux_policy: RtcpMuxPolicy::Negotiate,
            ..JsepTransportControllerConfig::with_bundle_policy(bundle_policy)
        };
        Self::with_config(&config, true)
    }

    fn rtcp(&mut self, mid: &str) -> Option<&mut FakeDtlsTransport> {
        self.controller.transport_mut(mid).unwrap().dtls_of_mut(IceComponent::Rtcp)
    }

    fn rtcp_ice(&mut self, mid: &str) -> &mut FakeIceTransport {
        self.rtcp(mid).unwrap().ice_mut()
    }

    /// Components of each transport in use: `"2 1"`.
    fn components(&self) -> String {
        let counts = self.controller.transports().map(|(_, it)| it.components().count().to_string());
        counts.collect::<Vec<_>>().join(" ")
    }

    fn gathers_for(&mut self, mids: &[&str]) -> usize {
        let mut requests = 0;
        for mid in mids {
            self.controller
                .transport_mut(mid)
                .unwrap()
                .for_each_ice(|ice| requests += ice.gathering_requests);
        }
        requests
    }

    fn muxes(&self, mid: &str) -> bool {
        self.controller.transport(mid).unwrap().rtp().rtcp_mux_enabled()
    }
}

/// A description whose RTP sections do not say rtcp-mux.
fn unmuxed(mut description: SessionDescription) -> SessionDescription {
    for rtp in description.contents.iter_mut().filter_map(|content| content.description.as_rtp_mut()) {
        rtp.rtcp_mux = false;
    }
    description
}

fn peer_answer(layout: &str, groups: &[&str]) -> SessionDescription {
    peer(layout, groups, ConnectionRole::Active)
}

fn of_rtcp(port: u16) -> Candidate {
    Candidate { component: 2, ..candidate(port) }
}

/// J16: transports that gather, and those that are left, by policy, BUNDLE and the answer's rtcp-mux: with rtcp-mux and
/// without BUNDLE one for each m-line, without either two, with both one; data sections have one throughout.
#[test]
fn transports_follow_policy_bundle_and_mux() {
    let layout = "0:a 1:v 2:d";
    for (policy, groups, mux, offered, left) in [
        (BundlePolicy::Balanced, &[][..], true, 5, "1 1 1"),
        (BundlePolicy::Balanced, &[], false, 5, "2 2 1"),
        (BundlePolicy::MaxCompat, &[], false, 5, "2 2 1"),
        (BundlePolicy::Balanced, &["0 1 2"], true, 5, "1"),
        (BundlePolicy::MaxBundle, &["0 1 2"], true, 2, "1"),
    ] {
        let mut test = Test::negotiating(policy);
        let offer = test.offer(layout, groups);
        test.set_local(SdpType::Offer, &offer).unwrap();
        test.controller.maybe_start_gathering(test.now);
        let made = test.controller.factory().made.clone();
        assert_eq!(made.len(), offered, "{policy:?} {made:?}");
        assert_eq!(made.iter().filter(|name| name.ends_with("/2")).count(), offered / 2, "{made:?}");
        if policy != BundlePolicy::MaxBundle {
            assert_eq!(test.gathers_for(&["0", "1", "2"]), offered);
        }
        let answer = peer_answer(layout, groups);
        let answer = if mux { answer } else { unmuxed(answer) };
        test.set_remote(SdpType::Answer, &answer).unwrap();
        assert_eq!(test.components(), left, "{policy:?} {groups:?} {mux}");
    }
    // With the default policy RTCP never has a transport.
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange(layout, &[], (layout, &[]));
    assert_eq!((test.components().as_str(), test.controller.factory().made.len()), ("1 1 1", 3));
}

/// D21: a final answer with rtcp-mux drops RTCP's transport, whoever answers; without it both live. A provisional one
/// drops nothing, but decides which of the two RTCP takes meanwhile.
#[test]
fn the_final_answer_drops_the_transport() {
    for local_answers in [false, true] {
        for (answers, left) in [("A", 1), ("a", 2), ("PA", 1), ("Pa", 2), ("pA", 1), ("pa", 2), ("PpPA", 1)] {
            let mut test = Test::negotiating(BundlePolicy::Balanced);
            if local_answers {
                test.set_remote(SdpType::Offer, &peer_offer("0:a", &[])).unwrap();
            } else {
                let offer = test.offer("0:a", &[]);
                test.set_local(SdpType::Offer, &offer).unwrap();
            }
            assert!(!test.muxes("0"));
            for step in answers.chars() {
                let is_final = step.eq_ignore_ascii_case(&'a');
                let sdp_type = if is_final { SdpType::Answer } else { SdpType::Pranswer };
                let mux = step.is_ascii_uppercase();
                let answer = match local_answers {
                    true => test.answer("0:a", &[]),
                    false => peer_answer("0:a", &[]),
                };
                let answer = if mux { answer } else { unmuxed(answer) };
                match local_answers {
                    true => test.set_local(sdp_type, &answer).unwrap(),
                    false => test.set_remote(sdp_type, &answer).unwrap(),
                }
                assert_eq!(test.muxes("0"), mux, "{answers} {step}");
                if !is_final {
                    assert_eq!(test.components(), "2", "{answers} {step}");
                }
            }
            assert_eq!(test.components(), left.to_string(), "{answers} local {local_answers}");
        }
    }
}

/// J14: with the policy "negotiate" a peer without rtcp-mux is taken, whoever offers.
#[test]
fn a_peer_without_mux_is_taken() {
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    test.set_remote(SdpType::Offer, &unmuxed(peer_offer("0:a 1:d", &[]))).unwrap();
    let answer = unmuxed(test.answer("0:a 1:d", &[]));
    test.set_local(SdpType::Answer, &answer).unwrap();
    assert_eq!((test.components().as_str(), test.muxes("0")), ("2 1", false));
    // Both agree on it later.
    test.exchange("0:a 1:d", &[], ("0:a 1:d", &[]));
    assert_eq!((test.components().as_str(), test.muxes("0")), ("1 1", true));
}

/// D21: what was agreed on is not taken back, and nobody answers what was not offered; what is refused changes nothing.
#[test]
fn mux_is_not_taken_back() {
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    let back = |problem| Err(JsepError::RtcpMux { mid: "0".to_owned(), problem });
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &unmuxed(offer)).unwrap();
    let before = test.snapshot();
    let unasked = back("it is answered, but it was not offered");
    assert_eq!(test.set_remote(SdpType::Answer, &peer_answer("0:a", &[])), unasked);
    assert_eq!(test.set_remote(SdpType::Pranswer, &peer_answer("0:a", &[])), unasked);
    assert_eq!((test.snapshot(), test.components()), (before, "2".to_owned()));
    test.controller.rollback_transports(test.now).unwrap();

    test.exchange("0:a", &[], ("0:a", &[]));
    let given_up = back("once agreed on it cannot be given up");
    let before = test.snapshot();
    let offer = test.offer("0:a", &[]);
    assert_eq!(test.set_local(SdpType::Offer, &unmuxed(offer.clone())), given_up);
    assert_eq!(test.set_remote(SdpType::Offer, &unmuxed(peer_offer("0:a", &[]))), given_up);
    assert_eq!(test.snapshot(), before);
    test.set_local(SdpType::Offer, &offer).unwrap();
    for sdp_type in [SdpType::Pranswer, SdpType::Answer] {
        assert_eq!(test.set_remote(sdp_type, &unmuxed(peer_answer("0:a", &[]))), given_up);
    }
    test.set_remote(SdpType::Answer, &peer_answer("0:a", &[])).unwrap();
}

/// J14, J18: what is bundled multiplexes, whatever the policy (RFC 9143 section 9.3); what left the group need not.
#[test]
fn bundled_sections_need_mux() {
    let required = Err(JsepError::RtcpMuxRequired { mid: "0".to_owned() });
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxCompat, BundlePolicy::MaxBundle] {
        let mut test = Test::negotiating(policy);
        let offer = unmuxed(peer_offer("0:a 1:v", &["0 1"]));
        assert_eq!(test.set_remote(SdpType::Offer, &offer), required, "{policy:?}");
        let offer = test.offer("0:a 1:v", &["0 1"]);
        test.set_local(SdpType::Offer, &offer).unwrap();
        let answer = unmuxed(peer_answer("0:a 1:v", &["0 1"]));
        assert_eq!(test.set_remote(SdpType::Answer, &answer), required, "{policy:?}");
        if policy != BundlePolicy::MaxBundle {
            test.set_remote(SdpType::Answer, &unmuxed(peer_answer("0:a 1:v", &[]))).unwrap();
            assert_eq!(test.components(), "2 2");
        }
    }
    // One section in the group, which multiplexes, and one that is not in it.
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    let offer = test.offer("0:a 1:v", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let answer = with(peer_answer("0:a 1:v", &["0"]), "1", |content| {
        content.description.as_rtp_mut().unwrap().rtcp_mux = false;
    });
    test.set_remote(SdpType::Answer, &answer).unwrap();
    assert_eq!(test.components(), "1 2");
}

/// J15: a rollback takes what the offer said of it back, too.
#[test]
fn a_rollback_takes_the_offer_s_word_back() {
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    let mut test = {
        assert!(test.muxes("0"));
        let mut test = Test::negotiating(BundlePolicy::Balanced);
        let offer = test.offer("0:a", &[]);
        test.set_local(SdpType::Offer, &offer).unwrap();
        test.set_remote(SdpType::Answer, &unmuxed(peer_answer("0:a", &[]))).unwrap();
        test
    };
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.set_remote(SdpType::Pranswer, &peer_answer("0:a", &[])).unwrap();
    assert!(test.muxes("0"));
    test.controller.rollback_transports(test.now).unwrap();
    assert_eq!((test.muxes("0"), test.components().as_str()), (false, "2"));
    // The peer's offer in place of ours says nothing of it: ours is rolled back first (RFC 9429 section 4.1.10.2).
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.set_remote(SdpType::Offer, &unmuxed(peer_offer("0:a", &[]))).unwrap();
    let answer = test.answer("0:a", &[]);
    assert!(matches!(test.set_local(SdpType::Answer, &answer), Err(JsepError::RtcpMux { .. })));
    test.set_local(SdpType::Answer, &unmuxed(answer)).unwrap();
    assert_eq!(test.components(), "2");
}

/// Both components have one set of parameters (RFC 8839 section 5.4), one role, one certificate of the peer, and each its
/// candidates; a restart is one of both.
#[test]
fn both_components_are_told() {
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.controller.maybe_start_gathering(test.now);
    let mut answer = unmuxed(peer_answer("0:a", &[]));
    answer.contents[0].transport.candidates = vec![candidate(1), of_rtcp(2)];
    answer.contents[0].transport.end_of_candidates = true;
    test.set_remote(SdpType::Answer, &answer).unwrap();
    let later = vec![of_rtcp(4), candidate(3), Candidate { component: 9, ..candidate(5) }];
    test.controller.add_remote_candidates(test.now, "0", later).unwrap();
    assert_eq!(test.rtcp_ice("0").remote_candidates, [of_rtcp(2), of_rtcp(4)]);
    let ignored = Candidate { component: 9, ..candidate(5) };
    assert_eq!(
        test.ice("0").remote_candidates,
        [candidate(1), candidate(3), ignored],
        "ICE looks at the last"
    );
    test.controller.remove_remote_candidates("0", &[of_rtcp(2), candidate(3)]).unwrap();
    assert_eq!(test.rtcp_ice("0").remote_candidates, [of_rtcp(4)]);
    test.controller.end_of_candidates(test.now, "0").unwrap();

    let tiebreaker = test.controller.ice_tiebreaker();
    let peers = peer_transport("0", ConnectionRole::Active).ice;
    let mut ours = offer.contents[0].transport.ice.clone();
    for round in 0..2 {
        for component in [IceComponent::Rtp, IceComponent::Rtcp] {
            let dtls = test.controller.transport_mut("0").unwrap().dtls_of_mut(component).unwrap();
            assert_eq!(dtls.remote_fingerprints(), [fingerprint(PEERS)]);
            assert_eq!(dtls.role(), Some(DtlsRole::Server));
            let ice = dtls.ice_mut();
            assert_eq!((&ice.ice_parameters, ice.tiebreaker), (&ours, Some(tiebreaker)));
            assert_eq!((ice.ice_role(), ice.gathering_requests), (IceRole::Controlling, round + 1));
            assert_eq!(ice.end_of_remote_candidates, 2);
            if round == 0 {
                assert_eq!(ice.remote_ice_parameters, peers);
            }
        }
        let restart = test.controller.transports_for_offer(&mids("0:a"), true).unwrap();
        let offer = describe("0:a", &[], |mid| restart[mid].clone());
        assert_ne!(ours, offer.contents[0].transport.ice);
        ours.clone_from(&offer.contents[0].transport.ice);
        test.set_local(SdpType::Offer, &offer).unwrap();
        test.controller.maybe_start_gathering(test.now);
    }
    // A role conflict of either is one of all.
    test.rtcp_ice("0").emit(IceTransportEvent::RoleConflict);
    test.process();
    assert_eq!(
        (test.ice("0").ice_role(), test.rtcp_ice("0").ice_role()),
        (IceRole::Controlled, IceRole::Controlled)
    );
}

/// Candidates of RTCP that RTP's transport carries are ignored by ICE, which knows its component.
#[test]
fn candidates_of_a_transport_that_is_gone_reach_no_one() {
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    test.controller.add_remote_candidates(test.now, "0", vec![of_rtcp(2)]).unwrap();
    assert!(test.rtcp("0").is_none());
    assert_eq!(test.ice("0").remote_candidates, [of_rtcp(2)]);
}

/// D14, J06, J07: the aggregates are of both components, and each tells its own states.
#[test]
fn aggregates_are_of_both_components() {
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.set_remote(SdpType::Answer, &unmuxed(peer_answer("0:a", &[]))).unwrap();
    let transport = test.controller.transport_id("0").unwrap();
    test.events();
    let connected = |dtls: &mut FakeDtlsTransport| {
        dtls.ice_mut().set_state(IceTransportState::Connected);
        dtls.connect(DtlsRole::Server, SrtpProtectionProfile::AeadAes128Gcm, 1);
    };
    connected(test.dtls("0"));
    test.process();
    assert_eq!(test.controller.ice_connection_state(), IceConnectionState::Checking);
    assert_eq!(test.controller.peer_connection_state(), PeerConnectionState::Connecting);
    let options = PacketOptions::default();
    let sent = test.controller.send_rtp_with(test.now, "0", &options, 100, |_| 100);
    assert_eq!(sent, Err(SendError::NotWritable), "D14: not before both are");
    test.events();
    connected(test.rtcp("0").unwrap());
    test.process();
    assert_eq!(test.controller.ice_connection_state(), IceConnectionState::Connected);
    assert_eq!(test.controller.peer_connection_state(), PeerConnectionState::Connected);
    let (mid, component) = ("0".to_owned(), IceComponent::Rtcp);
    let events = test.events();
    let state = IceTransportState::Connected;
    assert!(events.contains(&Event::IceTransportStateChange {
        mid: mid.clone(),
        transport,
        component,
        state
    }));
    let state = DtlsTransportState::Connected;
    assert!(events.contains(&Event::DtlsStateChange { mid: mid.clone(), transport, component, state }));

    test.rtcp("0").unwrap().emit(DtlsTransportEvent::HandshakeError(DtlsEngineError::Fingerprint));
    test.rtcp("0").unwrap().set_state(DtlsTransportState::Failed);
    test.process();
    assert_eq!(test.controller.peer_connection_state(), PeerConnectionState::Failed);
    let error = DtlsEngineError::Fingerprint;
    assert!(test.events().contains(&Event::DtlsHandshakeError { mid, transport, component, error }));
}

fn ends(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::EndOfCandidates { .. })).count()
}

/// The end of candidates is that of the section: of both components (RFC 8838 section 13), once in each generation, and
/// also where the answer ends one of them.
#[test]
fn candidates_end_with_those_of_both_components() {
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    for state in [Gathering::Gathering, Gathering::Complete] {
        test.ice("0").set_gathering_state(state);
    }
    test.rtcp_ice("0").set_gathering_state(Gathering::Gathering);
    test.rtcp_ice("0").emit(IceTransportEvent::CandidateGathered(of_rtcp(7)));
    test.process();
    assert_eq!(test.controller.ice_gathering_state(), IceGatheringState::Gathering);
    let events = test.events();
    assert_eq!(ends(&events), 0, "{events:?}");
    assert!(events.iter().any(
        |event| matches!(event, Event::CandidatesGathered { candidates, .. } if *candidates == [of_rtcp(7)])
    ));
    // A new generation before the end of the first.
    let restart = test.controller.transports_for_offer(&mids("0:a"), true).unwrap();
    test.set_local(SdpType::Offer, &describe("0:a", &[], |mid| restart[mid].clone())).unwrap();
    test.rtcp_ice("0").set_gathering_state(Gathering::Complete);
    test.process();
    assert_eq!(ends(&test.events()), 0, "RTP's are to come");
    for state in [Gathering::Gathering, Gathering::Complete] {
        test.ice("0").set_gathering_state(state);
    }
    test.process();
    assert_eq!(ends(&test.events()), 1);

    for gathered in [false, true] {
        let mut test = Test::negotiating(BundlePolicy::Balanced);
        let offer = test.offer("0:a", &[]);
        test.set_local(SdpType::Offer, &offer).unwrap();
        let state = if gathered { Gathering::Complete } else { Gathering::Gathering };
        test.ice("0").set_gathering_state(state);
        test.ice("0").emit(IceTransportEvent::CandidateGathered(candidate(6)));
        test.rtcp_ice("0").emit(IceTransportEvent::CandidateGathered(of_rtcp(7)));
        test.process();
        test.events();
        test.set_remote(SdpType::Answer, &peer_answer("0:a", &[])).unwrap();
        let events = test.events();
        assert_eq!(ends(&events), usize::from(gathered));
        assert!(events.iter().any(
            |event| matches!(event, Event::CandidatesRemoved { candidates, .. } if *candidates == [of_rtcp(7)])
        ));
        assert_eq!(test.controller.transport("0").unwrap().local_candidates(), [candidate(6)]);
    }
}

/// What is dropped is driven until it is drained, then gone; closing all closes both components.
#[test]
fn transports_that_are_dropped_end() {
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    let offer = test.offer("0:a 1:v", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let (dropped, kept) = (SocketId::unique(), SocketId::unique());
    test.rtcp_ice("0").push_io_request(IoRequest::CloseSocket { id: dropped });
    test.rtcp_ice("1").push_io_request(IoRequest::CloseSocket { id: kept });
    let answer = with(peer_answer("0:a 1:v", &[]), "1", |content| {
        content.description.as_rtp_mut().unwrap().rtcp_mux = false;
    });
    let (first, second) = (test.rtcp_ice("0").meta().socket, test.rtcp_ice("1").meta().socket);
    test.set_remote(SdpType::Answer, &answer).unwrap();
    assert!(test.controller.owns_socket(first) && test.controller.owns_socket(second));
    assert_eq!(test.controller.closing.len(), 1);
    let mut asked = Vec::new();
    while let Some(IoRequest::CloseSocket { id }) = test.controller.poll_io_request() {
        asked.push(id);
    }
    assert_eq!(asked, [kept, dropped, first], "its own socket is closed, too");
    test.process();
    assert!(!test.controller.owns_socket(first) && test.controller.owns_socket(second));
    test.controller.close(test.now);
    assert_eq!(test.controller.closing.len(), 2);
    while test.controller.poll_io_request().is_some() {}
    assert!(test.controller.is_drained() && !test.controller.owns_socket(second));
}

/// Snapshots name the component; each counts its own.
#[test]
fn each_component_has_its_statistics() {
    let mut test = Test::negotiating(BundlePolicy::Balanced);
    let offer = test.offer("0:a 1:d", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.set_remote(SdpType::Answer, &unmuxed(peer_answer("0:a 1:d", &[]))).unwrap();
    test.rtcp_ice("0").set_state(IceTransportState::Checking);
    let stats = test.controller.stats(test.now);
    let said: Vec<_> =
        stats.iter().map(|it| (it.name.as_str(), it.component, it.rtcp_apart, it.ice_state)).collect();
    let (rtp, rtcp) = (IceComponent::Rtp, IceComponent::Rtcp);
    assert_eq!(
        said,
        [
            ("0", rtp, true, IceTransportState::New),
            ("0", rtcp, false, IceTransportState::Checking),
            ("1", rtp, false, IceTransportState::New),
        ]
    );
}
