//! Which m-section will use which transport once a description is in force, without changing anything yet.
//!
//! Pure functions of the JsepTransportController, on the network task. RFC 9143 section 7: members of a group use
//! the transport of its tag, a group that exists keeps its transport when its tag changes. Answers to
//! `HandleBundledContent` and `MaybeCreateJsepTransport` in libwebrtc's `pc/jsep_transport_controller.cc`.

use crate::bundle_manager::BundleManager;
use crate::jsep_transport_collection::{TransportId, TransportMap};
use crate::{ContentGroup, JsepError, SessionDescription};

/// The map of a description, and the transports it needs that do not exist.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PlannedMap {
    pub(crate) map: TransportMap,
    /// Name and id of each transport to make, in order.
    pub(crate) new: Vec<(TransportId, String)>,
    /// The mids whose m-sections describe a transport, in order: tags, and what is in no group.
    pub(crate) owners: Vec<String>,
}

/// Plans the map. `base` is the map the description builds upon, `before` the groups that shared transports so
/// far, `after` those that will.
pub(crate) fn plan_map(
    description: &SessionDescription,
    base: &TransportMap,
    before: &[ContentGroup],
    after: &BundleManager,
    next_id: impl Fn(usize) -> TransportId,
) -> Result<PlannedMap, JsepError> {
    let mut plan = PlannedMap::default();
    for group in after.groups() {
        let Some(tag) = group.tag() else { continue };
        let existing = base.get(tag).or_else(|| transport_of_group(group, base, before));
        let id = plan.reuse_or_make(existing.copied(), tag, &next_id);
        for mid in &group.mids {
            plan.map.insert(mid.clone(), id);
        }
    }
    for content in description.contents.iter().filter(|content| !content.rejected && !content.bundle_only) {
        if !plan.map.contains_key(&content.mid) {
            let id = plan.reuse_or_make(base.get(&content.mid).copied(), &content.mid, &next_id);
            plan.map.insert(content.mid.clone(), id);
        }
    }
    plan.map_bundle_only(description)?;
    let owns = |mid: &&String| {
        let content = description.content(mid);
        content.is_some_and(|content| !content.rejected)
            && after.is_first_mid_in_group(mid)
            && (after.lookup_group_by_mid(mid).is_some()
                || content.is_some_and(|content| !content.bundle_only))
    };
    plan.owners = description.contents.iter().map(|content| &content.mid).filter(owns).cloned().collect();
    Ok(plan)
}

/// A tag that is new to its group takes over the group's transport.
fn transport_of_group<'m>(
    group: &ContentGroup,
    base: &'m TransportMap,
    before: &[ContentGroup],
) -> Option<&'m TransportId> {
    let old = before.iter().find(|old| old.mids.iter().any(|mid| group.contains(mid)))?;
    old.mids.iter().filter(|mid| group.contains(mid)).find_map(|mid| base.get(mid))
}

impl PlannedMap {
    fn reuse_or_make(
        &mut self,
        existing: Option<TransportId>,
        name: &str,
        next_id: impl Fn(usize) -> TransportId,
    ) -> TransportId {
        // What was shared stays with the group; whoever left it needs a transport of its own.
        if let Some(id) = existing.filter(|id| !self.map.values().any(|used| used == id)) {
            return id;
        }
        let id = next_id(self.new.len());
        self.new.push((id, name.to_owned()));
        id
    }

    /// A bundle-only section has no transport of its own, so it uses the tag's before any answer (RFC 9143
    /// section 7.2.2).
    fn map_bundle_only(&mut self, description: &SessionDescription) -> Result<(), JsepError> {
        for content in description.contents.iter().filter(|content| content.bundle_only && !content.rejected)
        {
            if self.map.contains_key(&content.mid) {
                continue;
            }
            let group = description.bundle_group_of(&content.mid);
            let shared = group.and_then(|group| group.mids.iter().find_map(|mid| self.map.get(mid)));
            let Some(id) = shared.copied() else {
                return Err(JsepError::bundle(format!(
                    "the m-section {:?} is bundle-only, but no BUNDLE group gives it a transport",
                    content.mid
                )));
            };
            self.map.insert(content.mid.clone(), id);
        }
        Ok(())
    }
}
