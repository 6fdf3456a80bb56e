//! ICE parameters, DTLS roles and fingerprints through offers and answers.

use peerstack_dtls::DtlsRole;

use super::*;

fn ufrag(description: &SessionDescription, mid: &str) -> String {
    description.content(mid).unwrap().transport.ice.clone().unwrap().ufrag
}

/// J01: the role DTLS is told, for each answer, whoever offers.
#[test]
fn dtls_is_told_the_role() {
    for (setup, ours) in [
        (Some(ConnectionRole::Active), DtlsRole::Server),
        (Some(ConnectionRole::Passive), DtlsRole::Client),
        (None, DtlsRole::Server),
    ] {
        let mut test = Test::new(BundlePolicy::Balanced);
        let offer = test.offer("0:a", &[]);
        assert_eq!(offer.content("0").unwrap().transport.setup, Some(ConnectionRole::Actpass));
        test.set_local(SdpType::Offer, &offer).unwrap();
        assert_eq!(test.dtls("0").role(), None);
        let answer =
            with(peer("0:a", &[], ConnectionRole::Active), "0", |content| content.transport.setup = setup);
        test.set_remote(SdpType::Answer, &answer).unwrap();
        assert_eq!(test.dtls("0").role(), Some(ours), "answered {setup:?}");
        assert_eq!(test.dtls("0").remote_fingerprints(), [fingerprint(PEERS)]);
    }
    for (setup, answered, ours) in [
        (ConnectionRole::Actpass, ConnectionRole::Active, DtlsRole::Client),
        (ConnectionRole::Active, ConnectionRole::Passive, DtlsRole::Server),
        (ConnectionRole::Passive, ConnectionRole::Active, DtlsRole::Client),
    ] {
        let mut test = Test::new(BundlePolicy::Balanced);
        test.set_remote(SdpType::Offer, &peer("0:a", &[], setup)).unwrap();
        let answer = test.answer("0:a", &[]);
        assert_eq!(answer.content("0").unwrap().transport.setup, Some(answered));
        test.set_local(SdpType::Answer, &answer).unwrap();
        assert_eq!(test.dtls("0").role(), Some(ours), "offered {setup:?}");
    }
}

/// J01: an answer with actpass is refused.
#[test]
fn an_answer_must_choose() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let before = test.snapshot();
    for setup in [ConnectionRole::Actpass, ConnectionRole::Holdconn] {
        let refused = test.set_remote(SdpType::Answer, &peer("0:a", &[], setup));
        assert!(matches!(refused, Err(JsepError::InvalidDtls { .. })), "{setup:?}");
        assert_eq!(test.snapshot(), before);
    }
}

/// J02: a later offer may restate the role; another role needs another fingerprint, and an answer that says another one
/// without it changes nothing.
#[test]
fn the_role_changes_with_the_fingerprint_only() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a", &[], ("0:a", &[]));
    assert_eq!(test.dtls("0").role(), Some(DtlsRole::Server));

    // The peer is the client: it may restate active, and we keep our role under actpass.
    for setup in [ConnectionRole::Active, ConnectionRole::Actpass] {
        test.set_remote(SdpType::Offer, &peer("0:a", &[], setup)).unwrap();
        let answer = test.answer("0:a", &[]);
        assert_eq!(answer.content("0").unwrap().transport.setup, Some(ConnectionRole::Passive));
        test.set_local(SdpType::Answer, &answer).unwrap();
        assert_eq!(test.dtls("0").role(), Some(DtlsRole::Server));
    }

    // Another role, the same fingerprint: offered it is refused, where we left the choice the association stays.
    let before = test.snapshot();
    let refused =
        test.set_remote(SdpType::Offer, &peer("0:a", &[], ConnectionRole::Passive)).and_then(|()| {
            let answer = test.answer("0:a", &[]);
            test.set_local(SdpType::Answer, &answer)
        });
    assert!(matches!(refused, Err(JsepError::InvalidDtls { .. })));
    test.controller.rollback_transports(test.now).unwrap();
    assert_eq!(test.snapshot(), before);
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.set_remote(SdpType::Answer, &peer("0:a", &[], ConnectionRole::Passive)).unwrap();
    assert_eq!(test.dtls("0").role(), Some(DtlsRole::Server));
    let offer = test.offer("0:a", &[]);
    test.set_local(SdpType::Offer, &offer).unwrap();

    // Another role, another fingerprint.
    let answer = with(peer("0:a", &[], ConnectionRole::Passive), "0", |content| {
        content.transport.fingerprints = vec![fingerprint(9)];
    });
    test.set_remote(SdpType::Answer, &answer).unwrap();
    assert_eq!(test.dtls("0").role(), Some(DtlsRole::Client));
    assert_eq!(test.dtls("0").remote_fingerprints(), [fingerprint(9)]);
}

/// J03, J05: parameters stay unless restarted; the flag makes the next offer a restart and clears with it.
#[test]
fn ice_parameters_stay_unless_restarted() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let first = test.offer("0:a 1:v", &[]);
    assert_ne!(ufrag(&first, "0"), ufrag(&first, "1"));
    assert!(first.content("0").unwrap().transport.has_option("trickle"));
    test.set_local(SdpType::Offer, &first).unwrap();
    test.set_remote(SdpType::Answer, &peer("0:a 1:v", &[], ConnectionRole::Active)).unwrap();
    assert_eq!(test.offer("0:a 1:v", &[]), first);
    assert!(!test.controller.needs_ice_restart("0"));

    test.controller.set_needs_ice_restart_flag();
    assert!(test.controller.needs_ice_restart("0") && test.controller.needs_ice_restart("1"));
    let restarted = test.offer("0:a 1:v", &[]);
    assert_ne!(ufrag(&restarted, "0"), ufrag(&first, "0"));
    // Only what has new parameters in force is restarted.
    let half = with(restarted.clone(), "1", |content| {
        content.transport = first.content("1").unwrap().transport.clone();
    });
    test.set_local(SdpType::Offer, &half).unwrap();
    assert!(!test.controller.needs_ice_restart("0"));
    assert!(test.controller.needs_ice_restart("1"));
    assert_eq!(test.ice("0").ice_parameters, restarted.content("0").unwrap().transport.ice);
    test.set_local(SdpType::Offer, &restarted).unwrap();
    assert!(!test.controller.needs_ice_restart("1"));

    let asked = test.controller.ice_parameters_for_offer("0", true).unwrap();
    assert_ne!(asked.ufrag, ufrag(&restarted, "0"));
    assert_eq!(test.controller.ice_parameters_for_offer("0", false).unwrap().ufrag, ufrag(&restarted, "0"));
}

/// J03: the peer's restart is answered with new parameters, everything else with the old ones.
#[test]
fn a_remote_restart_is_answered_with_a_restart() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.set_remote(SdpType::Offer, &peer_offer("0:a", &[])).unwrap();
    let first = test.answer("0:a", &[]);
    test.set_local(SdpType::Answer, &first).unwrap();

    test.set_remote(SdpType::Offer, &peer_offer("0:a", &[])).unwrap();
    let second = test.answer("0:a", &[]);
    assert_eq!(ufrag(&second, "0"), ufrag(&first, "0"));
    test.set_local(SdpType::Answer, &second).unwrap();

    let restart = with(peer_offer("0:a", &[]), "0", |content| {
        content.transport.ice.as_mut().unwrap().ufrag = "fresh".to_owned();
    });
    test.set_remote(SdpType::Offer, &restart).unwrap();
    let third = test.answer("0:a", &[]);
    assert_ne!(ufrag(&third, "0"), ufrag(&first, "0"));
    test.set_local(SdpType::Answer, &third).unwrap();
    assert_eq!(test.ice("0").remote_ice_parameters.as_ref().unwrap().ufrag, "fresh");
    assert_eq!(test.ice("0").ice_parameters, third.content("0").unwrap().transport.ice);
}

/// I08: of two sections that are not bundled the peer restarts one: the answer has new parameters for that one alone, and the
/// other's transport is told nothing.
#[test]
fn a_restart_of_one_section_changes_that_alone() {
    let mut test = Test::new(BundlePolicy::MaxCompat);
    test.set_remote(SdpType::Offer, &peer_offer("0:a 1:v", &[])).unwrap();
    let first = test.answer("0:a 1:v", &[]);
    test.set_local(SdpType::Answer, &first).unwrap();
    assert_ne!(test.controller.transport_id("0"), test.controller.transport_id("1"));
    let told = |test: &mut Test, mid| {
        (test.ice(mid).ice_parameters.clone(), test.ice(mid).remote_ice_parameters.clone())
    };
    let before = told(&mut test, "0");
    let restart = with(peer_offer("0:a 1:v", &[]), "1", |content| {
        content.transport.ice.as_mut().unwrap().ufrag = "fresh".to_owned();
    });
    test.set_remote(SdpType::Offer, &restart).unwrap();
    let second = test.answer("0:a 1:v", &[]);
    test.set_local(SdpType::Answer, &second).unwrap();
    assert_eq!(ufrag(&second, "0"), ufrag(&first, "0"));
    assert_ne!(ufrag(&second, "1"), ufrag(&first, "1"));
    assert_eq!(told(&mut test, "0"), before);
    assert_eq!(test.ice("1").ice_parameters, second.content("1").unwrap().transport.ice);
    assert_eq!(test.ice("1").remote_ice_parameters.as_ref().unwrap().ufrag, "fresh");
}

/// J03, I12: with max-bundle, and for what joins an established group, an offer says the same of all.
#[test]
fn sections_of_one_transport_say_the_same() {
    let mut test = Test::new(BundlePolicy::MaxBundle);
    let offer = test.offer("0:a 1:v", &["0 1"]);
    assert_eq!(offer.contents[0].transport, offer.contents[1].transport);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.set_remote(SdpType::Answer, &peer("0:a 1:v", &["0 1"], ConnectionRole::Active)).unwrap();
    let more = test.offer("0:a 1:v 2:d", &["0 1 2"]);
    assert_eq!(more.contents[2].transport, offer.contents[0].transport);

    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a 1:v", &["0 1"], ("0:a 1:v", &["0 1"]));
    let more = test.offer("0:a 1:v 2:d", &["0 1 2"]);
    assert_eq!(more.contents[2].transport, more.contents[0].transport);
    assert_eq!(more.contents[1].transport, more.contents[0].transport);
}

/// T14, D23, I04: parameters and fingerprints that are absent or wrong are refused, and nothing changes.
#[test]
fn bad_transport_descriptions_are_refused() {
    type Change = fn(&mut TransportDescription);
    let changes: [(Change, &str); 8] = [
        (|t| t.ice = None, "ice"),
        (|t| t.ice.as_mut().unwrap().ufrag = "abc".to_owned(), "ice"),
        (|t| t.ice.as_mut().unwrap().pwd = "a".repeat(21), "ice"),
        (|t| t.ice.as_mut().unwrap().ufrag = "a".repeat(257), "ice"),
        (|t| t.ice.as_mut().unwrap().ufrag = "white space".to_owned(), "ice"),
        (|t| t.fingerprints.clear(), "dtls"),
        (|t| t.fingerprints[0].algorithm = "md5".to_owned(), "dtls"),
        (|t| t.fingerprints[0].value.truncate(31), "dtls"),
    ];
    for (change, kind) in changes {
        let mut test = Test::new(BundlePolicy::Balanced);
        let before = test.snapshot();
        let check = |refused: Result<(), JsepError>| match kind {
            "ice" => assert!(matches!(refused, Err(JsepError::InvalidIceParameters { .. })), "{refused:?}"),
            _ => assert!(matches!(refused, Err(JsepError::InvalidDtls { .. })), "{refused:?}"),
        };
        let bad = |content: &mut ContentInfo| change(&mut content.transport);
        let offer = with(peer_offer("0:a 1:v", &[]), "1", bad);
        check(test.set_remote(SdpType::Offer, &offer));
        assert_eq!(test.snapshot(), before);
        let ours = with(test.offer("0:a 1:v", &[]), "1", bad);
        check(test.set_local(SdpType::Offer, &ours));
        assert_eq!(test.snapshot(), before);
        // A rejected section says nothing.
        let rejected = with(peer_offer("0:a 1:vx", &[]), "1", bad);
        test.set_remote(SdpType::Offer, &rejected).unwrap();
    }
}

#[test]
fn a_description_of_ours_has_our_fingerprint() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = with(test.offer("0:a", &[]), "0", |content| {
        content.transport.fingerprints = vec![fingerprint(PEERS)];
    });
    assert!(matches!(test.set_local(SdpType::Offer, &offer), Err(JsepError::InvalidDtls { .. })));
    // One that cannot be checked among others that can does no harm.
    let offer = with(peer_offer("0:a", &[]), "0", |content| {
        let weak = DtlsFingerprint { algorithm: "sha-1".to_owned(), value: vec![3; 20] };
        content.transport.fingerprints.insert(0, weak);
    });
    test.set_remote(SdpType::Offer, &offer).unwrap();
}

/// O13, as far as transports see it: what may follow what.
#[test]
fn descriptions_come_in_order() {
    let offer = peer_offer("0:a", &[]);
    let answer = peer("0:a", &[], ConnectionRole::Active);
    let mut test = Test::new(BundlePolicy::Balanced);
    let ours = test.offer("0:a", &[]);
    let refused = |result| assert!(matches!(result, Err(JsepError::InvalidState { .. })), "{result:?}");
    refused(test.set_remote(SdpType::Answer, &answer));
    refused(test.set_remote(SdpType::Pranswer, &answer));
    refused(test.set_local(SdpType::Answer, &ours));
    refused(test.set_local(SdpType::Rollback, &ours));
    refused(test.controller.rollback_transports(test.now));
    test.set_local(SdpType::Offer, &ours).unwrap();
    test.set_local(SdpType::Offer, &ours).unwrap();
    refused(test.set_local(SdpType::Answer, &ours));
    test.set_remote(SdpType::Pranswer, &answer).unwrap();
    test.set_remote(SdpType::Pranswer, &answer).unwrap();
    test.set_remote(SdpType::Answer, &answer).unwrap();
    refused(test.set_remote(SdpType::Answer, &answer));
    test.set_remote(SdpType::Offer, &offer).unwrap();
    // A remote offer takes ours back, ours takes none back.
    refused(test.set_local(SdpType::Offer, &ours));
}

/// O31: a provisional answer connects; the answer may bundle otherwise, and come from another peer.
#[test]
fn a_provisional_answer_may_be_replaced() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let layout = "0:a 1:v";
    let offer = test.offer(layout, &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let second = test.controller.transport_id("1");
    test.set_remote(SdpType::Pranswer, &peer(layout, &["0 1"], ConnectionRole::Active)).unwrap();
    assert_eq!(test.map(), "0 1");
    assert_eq!(test.dtls("0").role(), Some(DtlsRole::Server));
    let other = with(peer(layout, &[], ConnectionRole::Passive), "0", |content| {
        content.transport.fingerprints = vec![fingerprint(5)];
        content.transport.ice.as_mut().unwrap().ufrag = "another".to_owned();
    });
    test.set_remote(SdpType::Answer, &other).unwrap();
    assert_eq!(test.map(), "0|1");
    assert_eq!(test.controller.transport_id("1"), second);
    assert_eq!(test.dtls("0").remote_fingerprints(), [fingerprint(5)]);
    assert_eq!(test.dtls("0").role(), Some(DtlsRole::Client));
    assert_eq!(test.ice("0").remote_ice_parameters.as_ref().unwrap().ufrag, "another");
}

/// A description without sections, and one with a section without mid.
#[test]
fn odd_descriptions() {
    let mut test = Test::new(BundlePolicy::MaxBundle);
    let empty = SessionDescription::default();
    test.set_local(SdpType::Offer, &empty).unwrap();
    test.set_remote(SdpType::Answer, &empty).unwrap();
    test.process();
    assert_eq!(test.events(), []);
    let nameless = with(peer_offer("0:a", &[]), "0", |content| content.mid.clear());
    assert!(matches!(test.set_remote(SdpType::Offer, &nameless), Err(JsepError::InvalidBundle(_))));
    // A section rejected in the offer cannot be used in the answer.
    test.set_remote(SdpType::Offer, &peer_offer("0:ax", &[])).unwrap();
    let answer = with(peer("0:a", &[], ConnectionRole::Active), "0", |content| {
        content.transport.fingerprints = vec![fingerprint(OURS)];
    });
    assert!(matches!(test.set_local(SdpType::Answer, &answer), Err(JsepError::InvalidBundle(_))));
}
