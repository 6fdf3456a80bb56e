//! The decisions of the original design: sorting by state, nomination, data, cost, priority and round-trip
//! time; damped switching; pruning by network. Answers to libwebrtc's `p2p/base/basic_ice_controller.h`;
//! owned by the `P2PTransportChannel` on the network task.

mod networks;

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::connection::{Connection, ConnectionId, IceCandidatePairState, WriteState};
use crate::ice_controller::{IceController, IceControllerView, IceRecheckEvent, PingResult, SwitchResult};
use crate::p2p_constants::{
    MIN_IMPROVEMENT, MIN_PINGS_AT_WEAK_PING_INTERVAL, WEAK_OR_STABILIZING_WRITABLE_CONNECTION_PING_INTERVAL,
};
use crate::{CandidateType, IceConfig, IceMode, IceRole, IceSwitchReason, IceTransportState, NominationMode};
pub(crate) use networks::best_by_network;
use networks::{network_key, shares_remote_network};

/// libwebrtc's controller.
#[derive(Debug)]
pub struct BasicIceController {
    config: IceConfig,
    selected: Option<ConnectionId>,
    /// Best first, as of the last sorting.
    connections: Vec<ConnectionId>,
    pinged: BTreeSet<ConnectionId>,
    unpinged: BTreeSet<ConnectionId>,
}

impl BasicIceController {
    /// A controller without connections.
    pub fn new(config: IceConfig) -> Self {
        Self {
            config,
            selected: None,
            connections: Vec::new(),
            pinged: BTreeSet::new(),
            unpinged: BTreeSet::new(),
        }
    }

    fn selected<'a>(&self, view: &IceControllerView<'a>) -> Option<&'a Connection> {
        self.selected.and_then(|id| view.get(id))
    }

    /// All connections, best first as of the last sorting.
    fn sorted<'a>(&self, view: &IceControllerView<'a>) -> impl Iterator<Item = &'a Connection> {
        self.connections.iter().filter_map(|id| view.get(*id))
    }

    /// The same for who looks more than once: a look-up costs more than what is looked at.
    fn collect_sorted<'a>(&self, view: &IceControllerView<'a>) -> Vec<&'a Connection> {
        let mut sorted = Vec::with_capacity(self.connections.len());
        sorted.extend(self.sorted(view));
        sorted
    }

    /// Whether there is no good pair: none selected, or that is weak.
    fn weak(&self, view: &IceControllerView<'_>) -> bool {
        self.selected(view).is_none_or(Connection::weak)
    }

    fn presumed_writable(&self, connection: &Connection) -> bool {
        connection.presumed_writable(&self.config)
    }

    /// Sending on an unreliable connection is allowed: it may be bad luck (C15).
    fn ready_to_send(&self, connection: &Connection) -> bool {
        matches!(connection.write_state(), WriteState::Writable | WriteState::WriteUnreliable)
            || self.presumed_writable(connection)
    }

    /// How often an active writable connection is checked (T04).
    fn active_writable_ping_interval(
        &self,
        view: &IceControllerView<'_>,
        connection: &Connection,
    ) -> Duration {
        if connection.num_pings_sent() < MIN_PINGS_AT_WEAK_PING_INTERVAL {
            return self.config.ice_check_interval_weak_connectivity;
        }
        let stable = self.config.stable_writable_connection_ping_interval;
        if !self.weak(view) && connection.stable(view.now) {
            // Consent checks are spread (RFC 7675 section 5.1).
            stable * connection.interval_thousandths / 1000
        } else {
            stable.min(WEAK_OR_STABILIZING_WRITABLE_CONNECTION_PING_INTERVAL)
        }
    }

    fn writable_past_ping_interval(&self, view: &IceControllerView<'_>, connection: &Connection) -> bool {
        let interval = self.active_writable_ping_interval(view, connection);
        connection.last_ping_sent().is_none_or(|sent| sent + interval <= view.now)
    }

    /// A reserve: ICE is completed, another connection is selected, and this one is alive (S15).
    fn is_backup(&self, view: &IceControllerView<'_>, connection: &Connection) -> bool {
        view.state == IceTransportState::Completed
            && self.selected != Some(connection.id())
            && connection.active()
            // What is being made to work again is no reserve yet.
            && connection.write_state() != WriteState::WriteInit
    }

    fn pingable(&self, view: &IceControllerView<'_>, connection: &Connection) -> bool {
        if !connection.has_remote_credentials() || connection.state() == IceCandidatePairState::Failed {
            return false;
        }
        if !connection.connected() && !connection.writable() {
            return false;
        }
        if self.weak(view) {
            return true;
        }
        if self.is_backup(view, connection) {
            let interval = self.config.backup_connection_ping_interval;
            return connection.rtt_samples() == 0
                || connection.last_ping_response_received().is_none_or(|at| view.now >= at + interval);
        }
        connection.active() && (!connection.writable() || self.writable_past_ping_interval(view, connection))
    }

    /// The best connection of each network of ours and of the peer's, the selected one on its own networks.
    fn best_by_network<'a>(
        &self,
        view: &IceControllerView<'a>,
        sorted: &[&'a Connection],
    ) -> Vec<&'a Connection> {
        best_by_network(self.selected(view).into_iter().chain(sorted.iter().copied()))
    }

    /// Whether a connection is given up in favour of another one of a network that they share (S05).
    fn prunes(&self, view: &IceControllerView<'_>, best: &Connection, connection: &Connection) -> bool {
        // What a restart brings is not pruned in favour of what it replaces: the peer's checks may come, and look like
        // less than they are, before its answer (C23, RFC 8445 section 9). Nor, on the controlled side, what the peer
        // has chosen since.
        // What comes when all is settled is checked once before it is set aside: it may be where the peer is about to
        // move, and our NAT shall let its checks in by then.
        let unchecked = connection.num_pings_sent() == 0 && connection.has_remote_credentials();
        let late = unchecked && best.stable(view.now);
        best.id() != connection.id()
            && !late
            && !best.weak()
            && (view.role == IceRole::Controlling
                || connection.last_nomination_received() <= best.last_nomination_received())
            && connection.generations() <= best.generations()
            && self.compare_candidates(view.role, best, connection) != Ordering::Less
    }

    fn find_next_pingable(
        &mut self,
        view: &IceControllerView<'_>,
        sorted: &[&Connection],
    ) -> Option<ConnectionId> {
        // The selected pair first: consent must not lapse.
        if let Some(selected) = self.selected(view)
            && selected.connected()
            && selected.writable()
            && self.writable_past_ping_interval(view, selected)
        {
            return Some(selected.id());
        }
        // When weak, one writable connection a network is kept fresh enough to be switched to; of these the
        // one checked longest ago.
        if self.weak(view) {
            let oldest = self
                .best_by_network(view, sorted)
                .into_iter()
                .filter(|connection| connection.writable() && connection.connected())
                .filter(|connection| self.writable_past_ping_interval(view, connection))
                .min_by_key(|connection| connection.last_ping_sent());
            if let Some(connection) = oldest {
                return Some(connection.id());
            }
        }
        if let Some(connection) = self.oldest_needing_triggered_check(view, sorted) {
            return Some(connection);
        }
        self.most_pingable(view, sorted)
    }

    /// Received a check but sent none since, and not writable: the longest waiting (C26).
    fn oldest_needing_triggered_check(
        &self,
        view: &IceControllerView<'_>,
        sorted: &[&Connection],
    ) -> Option<ConnectionId> {
        let waiting = sorted.iter().filter(|connection| {
            !connection.writable()
                && connection.last_ping_received() > connection.last_ping_sent()
                && self.pingable(view, connection)
        });
        waiting.min_by_key(|connection| connection.last_ping_received()).map(|connection| connection.id())
    }

    /// Connections that were not checked yet go first; once all were, all count as unchecked again. Among
    /// them the likeliest to work, then the one checked longest ago, then the best.
    fn most_pingable(
        &mut self,
        view: &IceControllerView<'_>,
        sorted: &[&Connection],
    ) -> Option<ConnectionId> {
        let (mut unchecked, mut checked): (Option<&Connection>, Option<&Connection>) = (None, None);
        for connection in sorted.iter().filter(|connection| self.pingable(view, connection)) {
            let best = if self.unpinged.contains(&connection.id()) { &mut unchecked } else { &mut checked };
            // `sorted` is best first, so an equal one never replaces.
            if best.is_none_or(|best| self.more_pingable(connection, best) == Ordering::Greater) {
                *best = Some(connection);
            }
        }
        if unchecked.is_none() {
            self.unpinged.append(&mut self.pinged);
        }
        unchecked.or(checked).map(Connection::id)
    }

    fn more_pingable(&self, a: &Connection, b: &Connection) -> Ordering {
        let likely = |connection: &Connection| {
            let relayed = connection.local.candidate_type == CandidateType::Relay
                && connection.remote.candidate_type == CandidateType::Relay;
            let udp = connection.local.relay_protocol.is_none_or(|protocol| protocol == "udp");
            if relayed { 1 + u8::from(udp) } else { 0 }
        };
        let by_likelihood = if self.config.prioritize_most_likely_candidate_pairs {
            likely(a).cmp(&likely(b))
        } else {
            Ordering::Equal
        };
        by_likelihood.then_with(|| b.last_ping_sent().cmp(&a.last_ping_sent()))
    }

    /// Compares by state: `Greater` if `a` is better. `unchanged_before` damps a switch that only receiving
    /// justifies; the second value says whether that held it back (T10).
    fn compare_states(
        &self,
        a: &Connection,
        b: &Connection,
        unchanged_before: Option<Instant>,
    ) -> (Ordering, bool) {
        let writable = |connection: &Connection| connection.writable() || self.presumed_writable(connection);
        let order = writable(a)
            .cmp(&writable(b))
            // Better states have lower values.
            .then_with(|| b.write_state().cmp(&a.write_state()));
        if order != Ordering::Equal {
            return (order, false);
        }
        let mut held_back = false;
        match (a.receiving(), b.receiving()) {
            (true, false) => return (Ordering::Greater, false),
            (false, true) => {
                let long_enough = unchanged_before.is_none_or(|threshold| {
                    a.receiving_unchanged_since() <= threshold && b.receiving_unchanged_since() <= threshold
                });
                if long_enough {
                    return (Ordering::Less, false);
                }
                held_back = true;
            }
            _ => {}
        }
        let order =
            if a.writable() && b.writable() { a.connected().cmp(&b.connected()) } else { Ordering::Equal };
        (order, held_back)
    }

    fn compare_networks(&self, a: &Connection, b: &Connection) -> Ordering {
        let preferred = |connection: &Connection| {
            self.config.network_preference.is_some_and(|kind| connection.local.adapter_type == kind)
        };
        preferred(a).cmp(&preferred(b)).then_with(|| b.network_cost().cmp(&a.network_cost()))
    }

    /// Network, priority, generation, and whether the port lives on.
    fn compare_candidates(&self, role: IceRole, a: &Connection, b: &Connection) -> Ordering {
        self.compare_networks(a, b)
            .then_with(|| a.priority(role).cmp(&b.priority(role)))
            .then_with(|| a.generations().cmp(&b.generations()))
            .then_with(|| b.port_pruned.cmp(&a.port_pruned))
    }

    fn compare(
        &self,
        role: IceRole,
        a: &Connection,
        b: &Connection,
        unchanged_before: Option<Instant>,
    ) -> (Ordering, bool) {
        // A writable and receiving connection is better than one that is not, even if that is nominated (S03).
        let (order, held_back) = self.compare_states(a, b, unchanged_before);
        let order = order
            .then_with(|| match role {
                IceRole::Controlling => Ordering::Equal,
                IceRole::Controlled => compare_as_controlled(a, b),
            })
            .then_with(|| self.compare_candidates(role, a, b));
        (order, held_back)
    }
}

/// The peer decides: its nomination, then where its data comes in. After a restart a nominated pair of the
/// newer generation is better than one of the older, on which data came in until then (RFC 8445 section 9).
fn compare_as_controlled(a: &Connection, b: &Connection) -> Ordering {
    // A lexicographic key, so that sorting sees a total order.
    let generation = |connection: &Connection| {
        if connection.remote_nomination() > 0 { Some(connection.generations()) } else { None }
    };
    generation(a)
        .cmp(&generation(b))
        .then_with(|| a.remote_nomination().cmp(&b.remote_nomination()))
        .then_with(|| a.last_data_received().cmp(&b.last_data_received()))
}

impl IceController for BasicIceController {
    fn set_ice_config(&mut self, config: &IceConfig) {
        self.config = config.clone();
    }

    fn set_selected_connection(&mut self, connection: Option<ConnectionId>) {
        self.selected = connection;
    }

    fn add_connection(&mut self, connection: ConnectionId) {
        self.connections.push(connection);
        self.unpinged.insert(connection);
    }

    fn on_connection_destroyed(&mut self, connection: ConnectionId) {
        self.connections.retain(|id| *id != connection);
        self.pinged.remove(&connection);
        self.unpinged.remove(&connection);
        if self.selected == Some(connection) {
            self.selected = None;
        }
    }

    fn connections(&self) -> &[ConnectionId] {
        &self.connections
    }

    fn has_pingable_connection(&self, view: &IceControllerView<'_>) -> bool {
        self.sorted(view).any(|connection| self.pingable(view, connection))
    }

    fn is_pingable(&self, view: &IceControllerView<'_>, connection: ConnectionId) -> bool {
        view.get(connection).is_some_and(|connection| self.pingable(view, connection))
    }

    fn select_connection_to_ping(
        &mut self,
        view: &IceControllerView<'_>,
        last_ping_sent: Option<Instant>,
    ) -> PingResult {
        let sorted = self.collect_sorted(view);
        let need_more = sorted.iter().any(|connection| {
            connection.active() && connection.num_pings_sent() < MIN_PINGS_AT_WEAK_PING_INTERVAL
        });
        let interval = if self.weak(view) || need_more {
            self.config.ice_check_interval_weak_connectivity
        } else {
            self.config.ice_check_interval_strong_connectivity
        };
        let due = last_ping_sent.is_none_or(|sent| view.now >= sent + interval);
        let connection = if due { self.find_next_pingable(view, &sorted) } else { None };
        PingResult { connection, recheck_delay: interval.min(self.config.check_receiving_interval()) }
    }

    fn mark_connection_pinged(&mut self, connection: ConnectionId) {
        if self.unpinged.remove(&connection) {
            self.pinged.insert(connection);
        }
    }

    fn get_use_candidate_attr(
        &self,
        view: &IceControllerView<'_>,
        connection: ConnectionId,
        mode: NominationMode,
        remote_ice_mode: IceMode,
    ) -> bool {
        let Some(candidate) = view.get(connection) else { return false };
        let selected = self.selected == Some(connection);
        match (mode, remote_ice_mode) {
            // A lite peer takes the first nomination it hears, so it hears only of what works (C11).
            (NominationMode::Regular, _) | (_, IceMode::Lite) => selected && candidate.writable(),
            (NominationMode::Aggressive, IceMode::Full) => true,
            (NominationMode::SemiAggressive, IceMode::Full) => match self.selected(view) {
                None => true,
                Some(current) => {
                    selected
                        || !current.writable()
                        || self.compare_candidates(view.role, candidate, current) == Ordering::Greater
                }
            },
        }
    }

    fn should_switch_connection(
        &mut self,
        view: &IceControllerView<'_>,
        reason: IceSwitchReason,
        connection: ConnectionId,
    ) -> SwitchResult {
        let Some(new) = view.get(connection) else { return SwitchResult::default() };
        if !self.ready_to_send(new) || self.selected == Some(connection) {
            return SwitchResult::default();
        }
        let switch = SwitchResult { connection: Some(connection), recheck_event: None };
        let Some(selected) = self.selected(view) else { return switch };
        // Costlier and not receiving: it only seems better for a moment.
        if self.compare_networks(new, selected) == Ordering::Less && !new.receiving() {
            return SwitchResult::default();
        }
        let delay = self.config.receiving_switching_delay;
        let unchanged_before = view.now.checked_sub(delay);
        let (order, held_back) = self.compare(view.role, selected, new, unchanged_before);
        let recheck_event =
            (held_back && !delay.is_zero()).then_some(IceRecheckEvent { reason, recheck_delay: delay });
        let stay = SwitchResult { connection: None, recheck_event };
        match order {
            Ordering::Less => switch,
            Ordering::Greater => stay,
            // All else equal, only a clearly shorter way justifies a switch.
            Ordering::Equal if new.rtt() + MIN_IMPROVEMENT <= selected.rtt() => switch,
            Ordering::Equal => stay,
        }
    }

    fn sort_and_switch_connection(
        &mut self,
        view: &IceControllerView<'_>,
        reason: IceSwitchReason,
    ) -> SwitchResult {
        let mut connections = self.collect_sorted(view);
        // Stable: equals keep their order.
        connections.sort_by(|a, b| {
            let (order, _) = self.compare(view.role, a, b, None);
            order.reverse().then_with(|| a.rtt().cmp(&b.rtt()))
        });
        self.connections.clear();
        self.connections.extend(connections.iter().map(|connection| connection.id()));
        match self.connections.first() {
            Some(top) => self.should_switch_connection(view, reason, *top),
            None => SwitchResult::default(),
        }
    }

    fn prune_connections(&self, view: &IceControllerView<'_>) -> Vec<ConnectionId> {
        let sorted = self.collect_sorted(view);
        let best = self.best_by_network(view, &sorted);
        sorted
            .iter()
            .filter(|connection| {
                let connection = *connection;
                if connection.any_network {
                    // It may use the selected one's interface: it is no reserve.
                    return self.selected(view).is_some_and(|best| self.prunes(view, best, connection));
                }
                if best.iter().any(|best| best.id() == connection.id()) {
                    return false;
                }
                // Of our network another one is kept, and, where the peer tells its networks apart, of its.
                let ours = best.iter().find(|best| network_key(best) == network_key(connection));
                let theirs = best.iter().find(|best| shares_remote_network(best, connection));
                ours.is_some_and(|best| self.prunes(view, best, connection))
                    && theirs.is_none_or(|best| self.prunes(view, best, connection))
            })
            .map(|connection| connection.id())
            .collect()
    }
}

#[cfg(test)]
mod tests;
