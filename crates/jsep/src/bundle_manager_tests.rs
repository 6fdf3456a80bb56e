//! BUNDLE groups through offers and answers, as libwebrtc's controller tests have them.

use super::*;
use crate::{ContentInfo, MediaContentDescription, MediaKind, PROTOCOL_RTP, TransportDescription};

/// A description with m-sections "0".."n"; an `x` behind a mid rejects it.
fn description(mids: &str, groups: &[&str]) -> SessionDescription {
    let contents = mids
        .split_whitespace()
        .map(|word| ContentInfo {
            mid: word.trim_end_matches('x').to_owned(),
            kind: MediaKind::Audio,
            protocol: PROTOCOL_RTP.to_owned(),
            rejected: word.ends_with('x'),
            bundle_only: false,
            connection_address: None,
            transport: TransportDescription::default(),
            description: MediaContentDescription::Rtp(Default::default()),
        })
        .collect();
    let group = |mids: &&str| ContentGroup::bundle(mids.split_whitespace().map(str::to_owned).collect());
    SessionDescription {
        contents,
        bundle_groups: groups.iter().map(group).collect(),
        ..SessionDescription::default()
    }
}

fn groups(manager: &BundleManager) -> Vec<String> {
    manager.groups().iter().map(|group| group.mids.join(" ")).collect()
}

/// After one exchange.
fn established(
    policy: BundlePolicy,
    offer: &SessionDescription,
    answer: &SessionDescription,
) -> Result<BundleManager, JsepError> {
    let mut manager = BundleManager::new(policy)
        .with_description(SdpType::Offer, offer, None)?
        .with_description(SdpType::Answer, answer, Some(offer))?;
    manager.commit();
    Ok(manager)
}

fn offer(manager: &BundleManager, offer: &SessionDescription) -> Result<BundleManager, JsepError> {
    manager.with_description(SdpType::Offer, offer, None)
}

/// J08: only an answer puts groups in force, unless the policy is max-bundle.
#[test]
fn an_offer_bundles_at_once_only_with_max_bundle() {
    let offered = description("0 1 2", &["0 1"]);
    for (policy, expected) in [
        (BundlePolicy::Balanced, vec![]),
        (BundlePolicy::MaxCompat, vec![]),
        (BundlePolicy::MaxBundle, vec!["0 1".to_owned()]),
    ] {
        let manager = offer(&BundleManager::new(policy), &offered).unwrap();
        assert_eq!(groups(&manager), expected, "{policy:?}");
        let manager = established(policy, &offered, &offered).unwrap();
        assert_eq!(groups(&manager), ["0 1"]);
        assert!(manager.is_first_mid_in_group("0"));
        assert!(!manager.is_first_mid_in_group("1"));
        assert!(manager.is_first_mid_in_group("2"));
    }
}

/// J09: several groups; the answer may keep one only; swaps, overlaps, unknown mids and additions are refused.
#[test]
fn an_answer_keeps_subsets_of_the_offered_groups() {
    let offered = description("0 1 2 3", &["0 1", "2 3"]);
    for good in [&["0 1", "2 3"][..], &["2 3"], &["1 0"], &["0 1", ""], &[]] {
        let answer = description("0 1 2 3", good);
        let manager = established(BundlePolicy::Balanced, &offered, &answer);
        let expected: Vec<&str> = good.iter().copied().filter(|group| !group.is_empty()).collect();
        assert_eq!(groups(&manager.unwrap()), expected);
    }
    for bad in
        [&["0 2", "1 3"][..], &["0 1 2"], &["0 1", "1 2 3"], &["0 0"], &["0 9"], &["0", "1"], &["0 1 2 3"]]
    {
        let answer = description("0 1 2 3", bad);
        let refused = established(BundlePolicy::Balanced, &offered, &answer);
        assert!(matches!(refused, Err(JsepError::InvalidBundle(_))), "{bad:?}: {refused:?}");
    }
    let alone = description("0 1", &["0"]);
    assert!(established(BundlePolicy::Balanced, &alone, &description("0 1", &["0 1"])).is_err());
    assert!(established(BundlePolicy::Balanced, &description("0 1", &[]), &alone).is_err());
}

/// J10: an established group cannot be merged, split, shuffled or left; m-sections may join it.
#[test]
fn an_established_group_keeps_its_members() {
    let first = description("0 1 2 3", &["0 1", "2 3"]);
    let manager = established(BundlePolicy::Balanced, &first, &first).unwrap();
    for bad in [&["0 1 2 3"][..], &["0 2", "1 3"], &["0", "1", "2 3"]] {
        let refused = offer(&manager, &description("0 1 2 3", bad));
        assert!(matches!(refused, Err(JsepError::InvalidBundle(_))), "{bad:?}");
    }
    let added = offer(&manager, &description("0 1 2 3 4 5", &["0 1 4", "2 3 5"])).unwrap();
    assert_eq!(groups(&added), ["0 1 4", "2 3 5"]);

    // The answer cannot take a member out, but may reject it.
    let offered = description("0 1 2 3", &["0 1", "2 3"]);
    let pending = offer(&manager, &offered).unwrap();
    let answer = |mids, groups: &[&str]| {
        pending.with_description(SdpType::Answer, &description(mids, groups), Some(&offered))
    };
    assert!(answer("0 1 2 3", &["0", "2 3"]).is_err());
    assert_eq!(groups(&answer("0 1x 2 3", &["0", "2 3"]).unwrap()), ["0", "2 3"]);
    assert_eq!(groups(&answer("0 1x 2 3", &["0 1", "2 3"]).unwrap()), ["0", "2 3"]);
}

/// J10: an offer may move a member out of its group (RFC 9143 section 7.5.3).
#[test]
fn an_offer_may_take_a_member_out() {
    let first = description("0 1", &["0 1"]);
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxBundle] {
        let manager = established(policy, &first, &first).unwrap();
        let reduced = description("0 1", &["0"]);
        let pending = offer(&manager, &reduced).unwrap();
        assert_eq!(groups(&pending), ["0"]);
        assert!(pending.with_description(SdpType::Answer, &reduced, Some(&reduced)).is_ok());
    }
}

/// J11: the tag alone cannot be rejected; all can.
#[test]
fn a_rejected_tag_is_an_error() {
    let offered = description("0 1", &["0 1"]);
    assert!(established(BundlePolicy::Balanced, &offered, &description("0x 1", &["0 1"])).is_err());
    let all = established(BundlePolicy::Balanced, &offered, &description("0x 1x", &["0 1"])).unwrap();
    assert!(all.groups().is_empty());
    let next = established(BundlePolicy::Balanced, &offered, &description("0x 1", &["1"])).unwrap();
    assert_eq!(groups(&next), ["1"]);
}

/// J12, J17: the tag is the first of the answer's list, whatever the order.
#[test]
fn the_answers_order_decides_the_tag() {
    let offered = description("0 1 2", &["0 1 2"]);
    for (answer, tag) in [("2 1 0", "2"), ("1 2 0", "1"), ("0 2 1", "0"), ("1 2", "1")] {
        let answered =
            established(BundlePolicy::Balanced, &offered, &description("0 1 2", &[answer])).unwrap();
        assert!(answered.is_first_mid_in_group(tag));
        let turned = offer(&answered, &description("0 1 2", &["2 1"])).unwrap();
        assert!(turned.is_first_mid_in_group("2"));
    }
}

/// J13, J18: max-bundle refuses descriptions without a group, but for a single m-section.
#[test]
fn max_bundle_needs_a_group() {
    let policy = BundlePolicy::MaxBundle;
    let bundled = description("0 1", &["0 1"]);
    assert!(offer(&BundleManager::new(policy), &description("0 1", &[])).is_err());
    assert!(established(policy, &bundled, &description("0 1", &[])).is_err());
    assert!(offer(&BundleManager::new(policy), &description("0", &[])).is_ok());
    assert!(offer(&BundleManager::new(policy), &description("0 1x", &[])).is_ok());
}

/// J20: an answer that rejects all has an empty group.
#[test]
fn an_empty_group_is_fine() {
    let offered = description("0 1", &["0 1"]);
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxBundle] {
        let manager = established(policy, &offered, &description("0x 1x", &[""])).unwrap();
        assert!(manager.groups().is_empty());
    }
}

/// J15: after a rollback a different group can follow.
#[test]
fn rollback_restores_the_groups() {
    let first = description("0 1", &["0 1"]);
    let mut manager = established(BundlePolicy::MaxBundle, &first, &first).unwrap();
    manager = offer(&manager, &description("0 1 2", &["0 1 2"])).unwrap();
    assert_eq!(groups(&manager), ["0 1 2"]);
    manager.rollback();
    assert_eq!(groups(&manager), ["0 1"]);
    assert!(offer(&manager, &description("0 1 3", &["0 1", "3"])).is_ok());

    let mut fresh = offer(&BundleManager::new(BundlePolicy::MaxBundle), &first).unwrap();
    fresh.rollback();
    assert!(offer(&fresh, &description("0 1 2", &["1 2", "0"])).is_ok());
}

/// J22: with max-compat an m-section outside the group may be added later.
#[test]
fn max_compat_may_add_to_the_group_later() {
    let manager = established(
        BundlePolicy::MaxCompat,
        &description("0 1 2", &["0 1"]),
        &description("0 1 2", &["0 1"]),
    )
    .unwrap();
    let offered = description("0 1 2", &["0 1 2"]);
    let pending = offer(&manager, &offered).unwrap();
    assert_eq!(groups(&pending), ["0 1 2"]);
    assert!(pending.with_description(SdpType::Answer, &offered, Some(&offered)).is_ok());
}

/// A provisional answer may be followed by another choice of groups.
#[test]
fn a_provisional_answer_binds_nobody() {
    let offered = description("0 1 2", &["0 1 2"]);
    let pending = offer(&BundleManager::new(BundlePolicy::Balanced), &offered).unwrap();
    let answer = |manager: &BundleManager, sdp_type, group: &str| {
        manager.with_description(sdp_type, &description("0 1 2", &[group]), Some(&offered))
    };
    let provisional = answer(&pending, SdpType::Pranswer, "0 1").unwrap();
    assert_eq!(groups(&provisional), ["0 1"]);
    let last = answer(&provisional, SdpType::Answer, "2 0").unwrap();
    assert_eq!(groups(&last), ["2 0"]);
}

/// Found by fuzzing: such an offer was taken, and no answer to it could be.
#[test]
fn an_offer_without_the_established_group_is_refused_at_once() {
    for policy in [BundlePolicy::Balanced, BundlePolicy::MaxCompat, BundlePolicy::MaxBundle] {
        let grouped = description("0 1", &["0 1"]);
        let manager = established(policy, &grouped, &grouped).unwrap();
        assert!(offer(&manager, &description("0 1", &[])).is_err(), "{policy:?}");
        assert!(offer(&manager, &description("0 1x", &[])).is_err(), "{policy:?}: one is alive");
        assert!(offer(&manager, &description("0x 1x", &[])).is_ok(), "{policy:?}: all is over");
        assert!(offer(&manager, &description("0 1", &["0"])).is_ok(), "{policy:?}: one leaves it");
    }
}
