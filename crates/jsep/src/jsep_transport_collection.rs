//! Which transport each m-section uses, now and as it was before an offer that may yet be rolled back.
//!
//! Owned by the JsepTransportController, on the network task. RFC 9143 section 7 (which m-sections share a
//! transport), RFC 9429 section 4.1.10.2 (rollback). Answers to libwebrtc's `pc/jsep_transport_collection.h`.

use std::collections::BTreeMap;

/// Names a transport for as long as its controller lives; numbers rise in the order of creation. The default is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TransportId(u32);

impl std::fmt::Display for TransportId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Which transport each mid uses.
pub(crate) type TransportMap = BTreeMap<String, TransportId>;

/// What a change of the map did.
#[derive(Debug)]
pub(crate) struct MapChange<T> {
    /// Mids whose transport is another one now, or gone, in order.
    pub(crate) changed: Vec<String>,
    /// Transports that no m-section can come back to.
    pub(crate) unused: Vec<(TransportId, T)>,
}

/// The transports, owned, and three maps of mids to them: the one in force, the one as of the pending offer
/// (from which each provisional answer starts anew) and the one of the stable state (to which a rollback
/// returns). A transport lives as long as any of the three leads to it.
#[derive(Debug)]
pub(crate) struct JsepTransportCollection<T> {
    transports: BTreeMap<TransportId, T>,
    current: TransportMap,
    offered: TransportMap,
    stable: TransportMap,
    next: u32,
}

impl<T> Default for JsepTransportCollection<T> {
    fn default() -> Self {
        Self {
            transports: BTreeMap::new(),
            current: TransportMap::new(),
            offered: TransportMap::new(),
            stable: TransportMap::new(),
            next: 0,
        }
    }
}

impl<T> JsepTransportCollection<T> {
    /// The name the transport after `ahead` others will have, so that a plan can name what it will make.
    pub(crate) fn next_id(&self, ahead: usize) -> TransportId {
        TransportId(self.next.saturating_add(u32::try_from(ahead).unwrap_or(u32::MAX)))
    }

    /// Takes a transport in. No m-section uses it yet.
    pub(crate) fn register(&mut self, transport: T) -> TransportId {
        let id = self.next_id(0);
        self.next = self.next.saturating_add(1);
        self.transports.insert(id, transport);
        id
    }

    /// A transport.
    pub(crate) fn get(&self, id: TransportId) -> Option<&T> {
        self.transports.get(&id)
    }

    /// A transport.
    pub(crate) fn get_mut(&mut self, id: TransportId) -> Option<&mut T> {
        self.transports.get_mut(&id)
    }

    /// The first transport that is as asked.
    pub(crate) fn find_mut(&mut self, is_it: impl Fn(&T) -> bool) -> Option<(TransportId, &mut T)> {
        let id = self.transports.iter().find(|(_, transport)| is_it(transport)).map(|(id, _)| *id)?;
        Some((id, self.transports.get_mut(&id)?))
    }

    /// The name of the transport a mid uses now.
    pub(crate) fn id_of(&self, mid: &str) -> Option<TransportId> {
        self.current.get(mid).copied()
    }

    /// The transport a mid uses now.
    pub(crate) fn by_mid(&self, mid: &str) -> Option<&T> {
        self.get(self.id_of(mid)?)
    }

    /// The transport a mid uses now.
    pub(crate) fn by_mid_mut(&mut self, mid: &str) -> Option<&mut T> {
        self.get_mut(self.id_of(mid)?)
    }

    /// All transports, those kept for a rollback included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TransportId, &T)> {
        self.transports.iter().map(|(id, transport)| (*id, transport))
    }

    /// All transports, those kept for a rollback included.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (TransportId, &mut T)> {
        self.transports.iter_mut().map(|(id, transport)| (*id, transport))
    }

    /// The transports some m-section uses now (libwebrtc `ActiveTransports`): those that enter the aggregates.
    pub(crate) fn active(&self) -> impl Iterator<Item = (TransportId, &T)> {
        self.iter().filter(|(id, _)| self.is_active(*id))
    }

    /// Whether some m-section uses a transport now.
    pub(crate) fn is_active(&self, id: TransportId) -> bool {
        self.current.values().any(|used| *used == id)
    }

    /// The map in force.
    pub(crate) fn current(&self) -> &TransportMap {
        &self.current
    }

    /// The map as of the pending offer; that of the stable state if there is none.
    pub(crate) fn offered(&self) -> &TransportMap {
        &self.offered
    }

    /// The map of the stable state, to which a rollback returns.
    pub(crate) fn stable(&self) -> &TransportMap {
        &self.stable
    }

    /// The mids that use a transport now, in the order of their names.
    pub(crate) fn mids_of(&self, id: TransportId) -> impl Iterator<Item = &str> {
        self.current.iter().filter(move |(_, used)| **used == id).map(|(mid, _)| mid.as_str())
    }

    /// Puts the map of an offer in force.
    pub(crate) fn set_offered(&mut self, map: TransportMap) -> MapChange<T> {
        self.offered = map.clone();
        self.replace_current(map)
    }

    /// Puts the map of a provisional answer in force; what the offer led to stays.
    pub(crate) fn set_provisional(&mut self, map: TransportMap) -> MapChange<T> {
        self.replace_current(map)
    }

    /// Puts the map of an answer in force: the new stable state (libwebrtc `CommitTransports`).
    pub(crate) fn commit(&mut self, map: TransportMap) -> MapChange<T> {
        self.offered = map.clone();
        self.stable = map.clone();
        self.replace_current(map)
    }

    /// Back to the stable state (libwebrtc `RollbackTransports`).
    pub(crate) fn rollback(&mut self) -> MapChange<T> {
        self.offered = self.stable.clone();
        self.replace_current(self.stable.clone())
    }

    /// Gives all transports away.
    pub(crate) fn take_all(&mut self) -> Vec<(TransportId, T)> {
        self.current.clear();
        self.offered.clear();
        self.stable.clear();
        std::mem::take(&mut self.transports).into_iter().collect()
    }

    fn replace_current(&mut self, map: TransportMap) -> MapChange<T> {
        let before = std::mem::replace(&mut self.current, map);
        let mut changed: Vec<String> = self
            .current
            .iter()
            .filter(|(mid, id)| before.get(*mid) != Some(id))
            .map(|(mid, _)| mid.clone())
            .collect();
        changed.extend(before.keys().filter(|mid| !self.current.contains_key(*mid)).cloned());
        MapChange { changed, unused: self.take_unused() }
    }

    fn take_unused(&mut self) -> Vec<(TransportId, T)> {
        let maps = [&self.current, &self.offered, &self.stable];
        let unused: Vec<TransportId> = self
            .transports
            .keys()
            .filter(|id| !maps.iter().any(|map| map.values().any(|used| used == *id)))
            .copied()
            .collect();
        unused.into_iter().filter_map(|id| Some((id, self.transports.remove(&id)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, TransportId)]) -> TransportMap {
        entries.iter().map(|(mid, id)| ((*mid).to_owned(), *id)).collect()
    }

    fn ids<T>(change: &MapChange<T>) -> Vec<TransportId> {
        change.unused.iter().map(|(id, _)| *id).collect()
    }

    /// J15: a rollback brings back the transports an offer rejected, and takes those it made.
    #[test]
    fn rollback_restores_rejected_transports() {
        let mut transports = JsepTransportCollection::default();
        let (first, second) = (transports.register("first"), transports.register("second"));
        let change = transports.commit(map(&[("0", first), ("1", second)]));
        assert_eq!((change.changed, change.unused.len()), (vec!["0".to_owned(), "1".to_owned()], 0));

        let third = transports.register("third");
        let change = transports.set_offered(map(&[("0", first), ("2", third)]));
        assert_eq!((&change.changed[..], ids(&change)), (&["2".to_owned(), "1".to_owned()][..], vec![]));
        assert_eq!(transports.active().map(|(id, _)| id).collect::<Vec<_>>(), [first, third]);
        assert_eq!(transports.iter().count(), 3);

        let change = transports.rollback();
        assert_eq!((change.changed.len(), ids(&change)), (2, vec![third]));
        assert_eq!(transports.by_mid("1"), Some(&"second"));
        assert_eq!(transports.by_mid("2"), None);
    }

    #[test]
    fn a_provisional_answer_keeps_what_the_offer_led_to() {
        let mut transports = JsepTransportCollection::default();
        let (first, second) = (transports.register("first"), transports.register("second"));
        transports.set_offered(map(&[("0", first), ("1", second)]));
        let change = transports.set_provisional(map(&[("0", first), ("1", first)]));
        assert_eq!((change.changed, change.unused.len()), (vec!["1".to_owned()], 0));
        assert_eq!(transports.offered().get("1"), Some(&second));
        assert!(!transports.is_active(second));

        let change = transports.commit(map(&[("0", first), ("1", first)]));
        assert_eq!((change.changed.len(), ids(&change)), (0, vec![second]));
        assert_eq!(transports.mids_of(first).collect::<Vec<_>>(), ["0", "1"]);
    }

    #[test]
    fn names_are_never_used_again() {
        let mut transports = JsepTransportCollection::default();
        let first = transports.register(());
        assert_eq!(transports.take_all().len(), 1);
        assert!(transports.register(()) > first);
    }
}
