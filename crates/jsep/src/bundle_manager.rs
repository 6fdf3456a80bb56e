//! Which m-sections share a transport: the BUNDLE groups that are in force, and the rules a new description must
//! keep.
//!
//! Plain data, owned by the JsepTransportController on the network task. RFC 9143 (BUNDLE), RFC 9429 section
//! 4.1.1 (bundle policies). Answers to `BundleManager` in libwebrtc's `pc/jsep_transport_collection.h` and to
//! `ValidateAndMaybeUpdateBundleGroups` in `pc/jsep_transport_controller.cc`.

use std::collections::BTreeMap;

use crate::{ContentGroup, JsepError, SdpType, SessionDescription};

/// W3C `RTCBundlePolicy`: how many transports an offer asks for while it is not known whether the peer bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BundlePolicy {
    /// One for each m-section until the answer bundles, as libwebrtc does.
    #[default]
    Balanced,
    /// One for each m-section until the answer bundles.
    MaxCompat,
    /// One for all, from the first offer on; a peer that does not bundle is refused.
    MaxBundle,
}

/// The groups in force (libwebrtc `BundleManager`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BundleManager {
    policy: BundlePolicy,
    groups: Vec<ContentGroup>,
    offered: Vec<ContentGroup>,
    stable: Vec<ContentGroup>,
}

impl BundleManager {
    /// No groups yet.
    pub(crate) fn new(policy: BundlePolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// The policy.
    pub(crate) fn policy(&self) -> BundlePolicy {
        self.policy
    }

    /// The groups in force.
    pub(crate) fn groups(&self) -> &[ContentGroup] {
        &self.groups
    }

    /// The group a mid is in (libwebrtc `LookupGroupByMid`).
    pub(crate) fn lookup_group_by_mid(&self, mid: &str) -> Option<&ContentGroup> {
        self.groups.iter().find(|group| group.contains(mid))
    }

    /// Whether a mid is its group's tag, or in no group: only such a mid has a transport's description of its
    /// own (libwebrtc `IsFirstMidInGroup`).
    pub(crate) fn is_first_mid_in_group(&self, mid: &str) -> bool {
        self.lookup_group_by_mid(mid).is_none_or(|group| group.tag() == Some(mid))
    }

    /// The groups as they will be with this description, or why it breaks RFC 9143. `offer` is what a
    /// (provisional) answer answers to. Nothing changes here: the caller puts the result in force when all
    /// else has been found good.
    pub(crate) fn with_description(
        &self,
        sdp_type: SdpType,
        description: &SessionDescription,
        offer: Option<&SessionDescription>,
    ) -> Result<Self, JsepError> {
        check_groups(description)?;
        self.check_policy(description)?;
        let mut next = self.clone();
        match sdp_type {
            SdpType::Offer => {
                check_offered_groups(&description.bundle_groups, &self.groups)?;
                check_no_group_is_gone(description, &self.groups)?;
                next.groups = self.groups_of_offer(description);
                next.offered.clone_from(&next.groups);
            }
            _ => {
                let offered = offer.map(|offer| offer.bundle_groups.as_slice()).unwrap_or_default();
                check_answered_groups(description, offered)?;
                check_nothing_left_a_group(description, &self.offered)?;
                next.groups.clone_from(&description.bundle_groups);
            }
        }
        check_tags(description, &next.groups)?;
        next.drop_rejected(description);
        Ok(next)
    }

    /// The groups in force are those to return to from now on (libwebrtc `Commit`).
    pub(crate) fn commit(&mut self) {
        self.offered.clone_from(&self.groups);
        self.stable.clone_from(&self.groups);
    }

    /// Back to the groups as of the last commit (libwebrtc `Rollback`).
    pub(crate) fn rollback(&mut self) {
        self.groups.clone_from(&self.stable);
        self.offered.clone_from(&self.stable);
    }

    fn check_policy(&self, description: &SessionDescription) -> Result<(), JsepError> {
        let alive = description.contents.iter().filter(|content| !content.rejected).count();
        // A single m-section needs no group: it has a single transport anyhow (J13).
        if self.policy == BundlePolicy::MaxBundle && alive > 1 && description.bundle_groups.is_empty() {
            return Err(JsepError::bundle(
                "the policy is max-bundle, but the description has no BUNDLE group",
            ));
        }
        Ok(())
    }

    /// RFC 9143 section 7.5: an offer may add m-sections to a group that exists and take some away, and they
    /// share its transport at once. A group that is new is in force only when answered, unless the policy is
    /// max-bundle.
    fn groups_of_offer(&self, description: &SessionDescription) -> Vec<ContentGroup> {
        if self.policy == BundlePolicy::MaxBundle {
            return description.bundle_groups.clone();
        }
        let mut groups = self.groups.clone();
        for group in &mut groups {
            let renewed =
                description.bundle_groups.iter().find(|new| new.mids.iter().any(|mid| group.contains(mid)));
            if let Some(renewed) = renewed {
                group.clone_from(renewed);
            }
        }
        groups
    }

    /// RFC 9143 section 7.5.4: an m-section that is over is in no group.
    fn drop_rejected(&mut self, description: &SessionDescription) {
        let rejected = |mid: &String| description.content(mid).is_none_or(|content| content.rejected);
        for group in &mut self.groups {
            group.mids.retain(|mid| !rejected(mid));
        }
        self.groups.retain(|group| !group.mids.is_empty());
    }
}

/// Mids of which group, by index.
type GroupOfMid<'d> = BTreeMap<&'d str, usize>;

fn group_of_mid(groups: &[ContentGroup]) -> GroupOfMid<'_> {
    let mut map = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        for mid in &group.mids {
            map.entry(mid.as_str()).or_insert(index);
        }
    }
    map
}

/// RFC 9143 section 5: each mid in one group only and once, and each mid of a group is an m-section's.
fn check_groups(description: &SessionDescription) -> Result<(), JsepError> {
    let mut seen: Vec<&str> = Vec::new();
    for mid in description.bundle_groups.iter().flat_map(|group| &group.mids) {
        if seen.contains(&mid.as_str()) {
            return Err(JsepError::bundle(format!("the mid {mid:?} stands in BUNDLE groups more than once")));
        }
        if description.content(mid).is_none() {
            return Err(JsepError::bundle(format!(
                "a BUNDLE group has the mid {mid:?}, but no m-section has it"
            )));
        }
        seen.push(mid);
    }
    Ok(())
}

/// J10: groups that exist are not merged, split or shuffled.
fn check_offered_groups(new: &[ContentGroup], existing: &[ContentGroup]) -> Result<(), JsepError> {
    let existing = group_of_mid(existing);
    let mut new_of_existing: BTreeMap<usize, usize> = BTreeMap::new();
    for (index, group) in new.iter().enumerate() {
        let mut existing_of_new = None;
        for mid in &group.mids {
            let Some(&old) = existing.get(mid.as_str()) else { continue };
            let merged = existing_of_new.replace(old).is_some_and(|other| other != old);
            let split = new_of_existing.insert(old, index).is_some_and(|other| other != index);
            if merged || split {
                return Err(JsepError::bundle(format!("the offer moves the mid {mid:?} to another group")));
            }
        }
    }
    Ok(())
}

/// What shares a transport goes on sharing it: an offer without the group could not be answered, since an answer may
/// neither add a group that was not offered nor take an m-section out of one in force (RFC 9143 section 7.3).
fn check_no_group_is_gone(
    description: &SessionDescription,
    existing: &[ContentGroup],
) -> Result<(), JsepError> {
    let grouped = |mid: &String| description.bundle_group_of(mid).is_some();
    let alive = |mid: &&String| description.content(mid).is_some_and(|content| !content.rejected);
    for group in existing.iter().filter(|group| !group.mids.iter().any(grouped)) {
        if let Some(mid) = group.mids.iter().find(alive) {
            return Err(JsepError::bundle(format!(
                "the offer has no BUNDLE group for the mid {mid:?}, which is in one already"
            )));
        }
    }
    Ok(())
}

/// RFC 9143 section 7.3: an answer's group is a subset of one of the offer's, and no two of the same.
fn check_answered_groups(
    description: &SessionDescription,
    offered: &[ContentGroup],
) -> Result<(), JsepError> {
    let offered = group_of_mid(offered);
    let mut used: Vec<usize> = Vec::new();
    for group in &description.bundle_groups {
        // An empty group is a subset of any (J20).
        let Some(tag) = group.tag() else { continue };
        let Some(&original) = offered.get(tag) else {
            return Err(JsepError::bundle(format!(
                "the answer has a BUNDLE group with the mid {tag:?} that no group of the offer has"
            )));
        };
        if used.contains(&original) {
            return Err(JsepError::bundle(format!("the answer splits the offered group of the mid {tag:?}")));
        }
        used.push(original);
        if let Some(mid) = group.mids.iter().find(|mid| offered.get(mid.as_str()) != Some(&original)) {
            return Err(JsepError::bundle(format!(
                "the answer adds the mid {mid:?} to a BUNDLE group it was not offered in"
            )));
        }
    }
    Ok(())
}

/// RFC 9143 section 7.3.3: what shares a transport already can only leave it by being rejected.
fn check_nothing_left_a_group(
    description: &SessionDescription,
    established: &[ContentGroup],
) -> Result<(), JsepError> {
    for mid in established.iter().flat_map(|group| &group.mids) {
        let grouped = description.bundle_group_of(mid).is_some();
        if !grouped && description.content(mid).is_none_or(|content| !content.rejected) {
            return Err(JsepError::bundle(format!(
                "the answer takes the mid {mid:?} out of its established group without rejecting it"
            )));
        }
    }
    Ok(())
}

/// J11: a rejected tag leaves its group without a transport.
fn check_tags(description: &SessionDescription, groups: &[ContentGroup]) -> Result<(), JsepError> {
    for group in groups {
        let Some(tag) = group.tag() else { continue };
        let Some(tagged) = description.content(tag) else {
            return Err(JsepError::bundle(format!("the BUNDLE tag {tag:?} is no m-section's mid")));
        };
        let alive = |mid: &&String| description.content(mid).is_some_and(|content| !content.rejected);
        if tagged.rejected
            && let Some(mid) = group.mids.iter().find(alive)
        {
            return Err(JsepError::bundle(format!(
                "the BUNDLE tag {tag:?} is rejected, so the m-section {mid:?} must be as well"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "bundle_manager_tests.rs"]
mod tests;
