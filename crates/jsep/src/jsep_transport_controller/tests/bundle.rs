//! Which m-sections share a transport.

use super::*;

/// J16: without BUNDLE one transport for each m-line, with it one for all; each gathers once.
#[test]
fn transports_and_candidates_follow_the_groups() {
    for (policy, groups, before, after) in [
        (BundlePolicy::Balanced, &["0 1 2"][..], "0|1|2", "0 1 2"),
        (BundlePolicy::MaxCompat, &["0 1 2"], "0|1|2", "0 1 2"),
        (BundlePolicy::MaxBundle, &["0 1 2"], "0 1 2", "0 1 2"),
        (BundlePolicy::Balanced, &[], "0|1|2", "0|1|2"),
    ] {
        let mut test = Test::new(policy);
        let offer = test.offer("0:a 1:v 2:d", groups);
        test.set_local(SdpType::Offer, &offer).unwrap();
        assert_eq!(test.map(), before, "{policy:?}");
        test.controller.maybe_start_gathering(test.now);
        for mid in ["0", "1", "2"] {
            assert_eq!(test.ice(mid).gathering_requests, 1);
        }
        test.set_remote(SdpType::Answer, &peer("0:a 1:v 2:d", groups, ConnectionRole::Active)).unwrap();
        assert_eq!(test.map(), after, "{policy:?}");
        assert_eq!(test.controller.factory().made.len(), before.split('|').count());
    }
}

/// J08: only grouped mids share; the others keep their own; the data section can be the first.
#[test]
fn a_subset_is_bundled() {
    for (offered, answered, expected) in [
        ("0 1", "0 1", "0 1|2"),
        ("0 1 2", "0 1", "0 1|2"),
        ("2 1", "2 1", "0|1 2"),
        ("2 0", "2 0", "1|0 2"),
        ("0 1 2", "0", "0|1|2"),
    ] {
        let mut test = Test::new(BundlePolicy::Balanced);
        test.exchange("0:a 1:v 2:d", &[offered], ("0:a 1:v 2:d", &[answered]));
        assert_eq!(test.map(), expected, "{offered} answered {answered}");
    }
}

/// J08: the tag's transport is the one that stays, with what both sides said of it.
#[test]
fn the_tag_s_transport_stays() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer("0:d 1:a", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let (tag, other) = (test.controller.transport_id("0"), test.controller.transport_id("1"));
    test.set_remote(SdpType::Answer, &peer("0:d 1:a", &["0 1"], ConnectionRole::Active)).unwrap();
    assert_eq!((test.controller.transport_id("0"), test.controller.transport_id("1")), (tag, tag));
    assert!(test.controller.transport_by_id(other.unwrap()).is_none());
    assert_eq!(test.ice("1").ice_parameters, offer.content("0").unwrap().transport.ice);
    assert_eq!(test.ice("1").remote_ice_parameters.as_ref().unwrap().ufrag, "peer0");
    let changed: Vec<_> = test
        .events()
        .into_iter()
        .filter_map(|event| match event {
            JsepTransportControllerEvent::TransportChanged { mid, transport } => Some((mid, transport)),
            _ => None,
        })
        .collect();
    let changes = [("0".to_owned(), tag), ("1".to_owned(), other), ("1".to_owned(), tag)];
    assert_eq!(changed, changes);
}

/// J09: several groups, each with one transport; the answer may keep one only.
#[test]
fn several_groups_have_a_transport_each() {
    let layout = "0:a 1:a 2:v 3:v";
    let offered: &[&str] = &["0 1", "2 3"];
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxBundle] {
        let mut test = Test::new(policy);
        test.exchange(layout, offered, (layout, offered));
        assert_eq!(test.map(), "0 1|2 3", "{policy:?}");
        // Members of established groups are added and share at once.
        let more = test.offer("0:a 1:a 2:v 3:v 4:a 5:v", &["0 1 4", "2 3 5"]);
        test.set_local(SdpType::Offer, &more).unwrap();
        assert_eq!(test.map(), "0 1 4|2 3 5");
        assert_eq!(
            test.controller.factory().made.len(),
            if policy == BundlePolicy::Balanced { 4 } else { 2 }
        );
    }
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange(layout, offered, (layout, &["2 3"]));
    assert_eq!(test.map(), "0|1|2 3");
}

/// J09, J10, J11: what is refused changes nothing, and what is right can still follow.
#[test]
fn refused_groups_change_nothing() {
    let layout = "0:a 1:a 2:v 3:v";
    let offered: &[&str] = &["0 1", "2 3"];
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = test.offer(layout, offered);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let before = test.snapshot();
    let bad: [(&str, &[&str]); 6] = [
        (layout, &["0 2", "1 3"]),
        (layout, &["0 1 2 3"]),
        (layout, &["0 1", "1 2"]),
        (layout, &["0 9"]),
        ("0:ax 1:a 2:v 3:v", &["0 1", "2 3"]),
        ("0:a 1:a 2:v 2:v", &["0 1"]),
    ];
    for (answer, groups) in bad {
        let refused = test.set_remote(SdpType::Answer, &peer(answer, groups, ConnectionRole::Active));
        assert!(matches!(refused, Err(JsepError::InvalidBundle(_))), "{answer} {groups:?}: {refused:?}");
        assert_eq!(test.snapshot(), before);
    }
    test.set_remote(SdpType::Answer, &peer(layout, offered, ConnectionRole::Active)).unwrap();
    let before = test.snapshot();
    let transports = test.controller.transports_for_offer(&mids(layout), false).unwrap();
    for groups in [&["0 1 2 3"][..], &["0 2", "1 3"], &["0", "1", "2 3"]] {
        let offer = describe(layout, groups, |mid| transports[mid].clone());
        assert!(test.set_local(SdpType::Offer, &offer).is_err(), "{groups:?}");
        assert_eq!(test.snapshot(), before);
    }
}

/// J10: an answer leaves the established group only by rejecting; rejecting all of it closes the transport.
#[test]
fn an_established_group_is_left_by_rejecting() {
    let mut test = Test::new(BundlePolicy::Balanced);
    let (layout, group): (&str, &[&str]) = ("0:a 1:v", &["0 1"]);
    test.exchange(layout, group, (layout, group));
    let offer = test.offer(layout, group);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let out = test.set_remote(SdpType::Answer, &peer(layout, &["0"], ConnectionRole::Active));
    assert!(matches!(out, Err(JsepError::InvalidBundle(_))));
    test.set_remote(SdpType::Answer, &peer("0:a 1:vx", &["0"], ConnectionRole::Active)).unwrap();
    assert_eq!(test.map(), "0");

    // J11, J20: rejecting all is fine; the answer has an empty group.
    let offer = test.offer("0:a 1:vx", &["0"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    test.set_remote(SdpType::Answer, &peer("0:ax 1:vx", &[""], ConnectionRole::Active)).unwrap();
    assert_eq!(test.map(), "");
}

/// J12: a re-offer that names another tag keeps the group's transport.
#[test]
fn another_tag_keeps_the_transport() {
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxCompat, BundlePolicy::MaxBundle] {
        let mut test = Test::new(policy);
        test.exchange("0:a 1:v", &["0 1"], ("0:a 1:v", &["0 1"]));
        let transport = test.controller.transport_id("0");
        let made = test.controller.factory().made.len();
        for (layout, group) in [("0:a 1:v", "1 0"), ("0:a 1:v 2:d", "2 1 0"), ("0:ax 1:v 2:d", "2 1")] {
            test.exchange(layout, &[group], (layout, &[group]));
            assert_eq!(test.controller.transport_id("1"), transport, "{policy:?} {group}");
        }
        assert_eq!(test.controller.transport_id("2"), transport);
        assert_eq!(test.controller.factory().made.len(), made);
    }
}

/// J12, J17: the first mid of the answer's group is the tag, whatever the order.
#[test]
fn the_answer_s_first_mid_is_the_tag() {
    for (answer, group, tag) in
        [("0:a 1:v 2:d", "2 1 0", "2"), ("0:a 1:v 2:d", "1 0 2", "1"), ("0:ax 1:v 2:d", "1 2", "1")]
    {
        let mut test = Test::new(BundlePolicy::Balanced);
        let offer = test.offer("0:a 1:v 2:d", &["0 1 2"]);
        test.set_local(SdpType::Offer, &offer).unwrap();
        let expected = test.controller.transport_id(tag);
        test.set_remote(SdpType::Answer, &peer(answer, &[group], ConnectionRole::Active)).unwrap();
        for mid in group.split(' ') {
            assert_eq!(test.controller.transport_id(mid), expected, "{group}");
        }
        assert_eq!(test.controller.mid_of(expected.unwrap()), Some(tag));
        assert_eq!(test.ice(tag).remote_ice_parameters.as_ref().unwrap().ufrag, format!("peer{tag}"));
    }
}

/// J12: what is offered as a group is answered with one set of ICE parameters, which the next answer keeps: Firefox takes
/// other ones in a bundled section for a restart.
#[test]
fn an_answer_gives_a_group_one_set_of_parameters() {
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxCompat, BundlePolicy::MaxBundle] {
        let mut test = Test::new(policy);
        let mut last = None;
        for _ in 0..2 {
            test.set_remote(SdpType::Offer, &peer_offer("0:a 1:v 2:d", &["0 1 2"])).unwrap();
            let answer = test.answer("0:a 1:v 2:d", &["0 1 2"]);
            let said: Vec<_> = ["0", "1", "2"]
                .iter()
                .map(|mid| answer.content(mid).unwrap().transport.ice.clone())
                .collect();
            assert_eq!((&said[0], &said[0]), (&said[1], &said[2]), "{policy:?}");
            assert_eq!(last.take().unwrap_or_else(|| said.clone()), said, "{policy:?}");
            last = Some(said);
            test.set_local(SdpType::Answer, &answer).unwrap();
        }
    }
}

/// J13: with max-bundle a single m-line needs no group; a bundle-only section needs neither rtcp-mux nor ICE
/// parameters nor a fingerprint.
#[test]
fn what_a_bundle_only_section_need_not_say() {
    let mut test = Test::new(BundlePolicy::MaxBundle);
    test.exchange("0:a", &[], ("0:a", &[]));
    assert_eq!(test.map(), "0");

    let bare = |content: &mut ContentInfo| {
        content.transport = TransportDescription::default();
        if let Some(rtp) = content.description.as_rtp_mut() {
            rtp.rtcp_mux = false;
        }
    };
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxBundle] {
        let mut test = Test::new(policy);
        let offer = with(peer_offer("0:a 1:vb", &["0 1"]), "1", bare);
        test.set_remote(SdpType::Offer, &offer).unwrap();
        assert_eq!(test.map(), "0 1", "{policy:?}");
        let answer = with(test.answer("0:a 1:v", &["0 1"]), "1", bare);
        test.set_local(SdpType::Answer, &answer).unwrap();
        assert_eq!(test.map(), "0 1");
    }
    let mut test = Test::new(BundlePolicy::Balanced);
    let alone = with(peer_offer("0:a 1:vb", &[]), "1", bare);
    assert!(matches!(test.set_remote(SdpType::Offer, &alone), Err(JsepError::InvalidBundle(_))));
    // It has no transport to leave the group with.
    test.set_remote(SdpType::Offer, &peer_offer("0:a 1:vb", &["0 1"])).unwrap();
    let answer = test.answer("0:a 1:v", &["0"]);
    assert!(matches!(test.set_local(SdpType::Answer, &answer), Err(JsepError::InvalidBundle(_))));
    let answer = test.answer("0:a 1:vx", &["0"]);
    test.set_local(SdpType::Answer, &answer).unwrap();
    assert_eq!(test.map(), "0");
}

/// J14: without rtcp-mux offer and answer fail; data sections and rejected ones need none.
#[test]
fn rtcp_mux_is_required() {
    let unmuxed = |content: &mut ContentInfo| content.description.as_rtp_mut().unwrap().rtcp_mux = false;
    let mut test = Test::new(BundlePolicy::Balanced);
    let required = Err(JsepError::RtcpMuxRequired { mid: "0".to_owned() });
    assert_eq!(test.set_remote(SdpType::Offer, &with(peer_offer("0:a", &[]), "0", unmuxed)), required);
    let offer = test.offer("0:a 1:d", &[]);
    assert_eq!(test.set_local(SdpType::Offer, &with(offer.clone(), "0", unmuxed)), required);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let answer = peer("0:a 1:d", &[], ConnectionRole::Active);
    assert_eq!(test.set_remote(SdpType::Answer, &with(answer, "0", unmuxed)), required);
    let answer = peer("0:ax 1:d", &[], ConnectionRole::Active);
    test.set_remote(SdpType::Answer, &with(answer, "0", unmuxed)).unwrap();
}

/// J18: max-bundle refuses a remote offer and an answer without a group.
#[test]
fn max_bundle_needs_a_group() {
    let mut test = Test::new(BundlePolicy::MaxBundle);
    let without = peer_offer("0:a 1:v", &[]);
    assert!(matches!(test.set_remote(SdpType::Offer, &without), Err(JsepError::InvalidBundle(_))));
    let offer = test.offer("0:a 1:v", &["0 1"]);
    test.set_local(SdpType::Offer, &offer).unwrap();
    let answer = peer("0:a 1:v", &[], ConnectionRole::Active);
    assert!(matches!(test.set_remote(SdpType::Answer, &answer), Err(JsepError::InvalidBundle(_))));
}

/// J22: with max-compat what was outside the group may join it later.
#[test]
fn max_compat_may_bundle_more_later() {
    let mut test = Test::new(BundlePolicy::MaxCompat);
    test.exchange("0:a 1:v 2:d", &["0 1"], ("0:a 1:v 2:d", &["0 1"]));
    assert_eq!(test.map(), "0 1|2");
    test.exchange("0:a 1:v 2:d", &["0 1 2"], ("0:a 1:v 2:d", &["0 1 2"]));
    assert_eq!(test.map(), "0 1 2");
}

/// J19, J23: what shares a transport must agree on SSRCs, payload types and header extensions.
#[test]
fn collisions_within_a_group_are_refused() {
    let ssrc = |content: &mut ContentInfo| {
        content.description.as_rtp_mut().unwrap().ssrcs =
            vec![crate::SsrcInfo { ssrc: 9, ..Default::default() }];
    };
    let mut test = Test::new(BundlePolicy::Balanced);
    let offer = |groups: &[&str]| with(with(peer_offer("0:a 1:v", groups), "0", ssrc), "1", ssrc);
    assert!(matches!(test.set_remote(SdpType::Offer, &offer(&["0 1"])), Err(JsepError::InvalidBundle(_))));
    test.set_remote(SdpType::Offer, &offer(&[])).unwrap();
}

/// An offer takes a member out of its group: it gets a transport of its own (RFC 9143 section 7.5.3).
#[test]
fn a_member_taken_out_has_its_own_transport() {
    let mut test = Test::new(BundlePolicy::Balanced);
    test.exchange("0:a 1:v", &["0 1"], ("0:a 1:v", &["0 1"]));
    let transport = test.controller.transport_id("0");
    let out = peer_offer("0:a 1:v", &["0"]);
    test.set_remote(SdpType::Offer, &out).unwrap();
    assert_eq!(test.map(), "0|1");
    assert_eq!(test.controller.transport_id("0"), transport);
    let answer = test.answer("0:a 1:v", &["0"]);
    let ice = |mid: &str| answer.content(mid).unwrap().transport.ice.clone();
    assert_ne!(ice("0"), ice("1"));
    test.set_local(SdpType::Answer, &answer).unwrap();
    assert_eq!(test.map(), "0|1");
}
