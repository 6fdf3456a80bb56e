//! Sorting, switching, pruning, choosing what to check.

use std::collections::BTreeMap;

use super::*;
use crate::connection::tests::{candidate, connection, origin};

struct Bench {
    now: Instant,
    connections: BTreeMap<ConnectionId, Connection>,
    controller: BasicIceController,
    role: IceRole,
    state: IceTransportState,
}

impl Bench {
    /// `count` connections on one network, of falling priority.
    fn new(count: u32) -> Self {
        let now = origin() + Duration::from_secs(3600);
        let mut bench = Self {
            now,
            connections: BTreeMap::new(),
            controller: BasicIceController::new(IceConfig::default()),
            role: IceRole::Controlling,
            state: IceTransportState::Checking,
        };
        for id in 0..count {
            let mut new = connection(now, id);
            new.remote.priority -= id;
            bench.connections.insert(ConnectionId(id), new);
            bench.controller.add_connection(ConnectionId(id));
        }
        bench
    }

    fn get(&mut self, id: u32) -> &mut Connection {
        self.connections.get_mut(&ConnectionId(id)).unwrap()
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut BasicIceController, &IceControllerView<'_>) -> R) -> R {
        let view = IceControllerView {
            now: self.now,
            connections: &self.connections,
            role: self.role,
            state: self.state,
        };
        f(&mut self.controller, &view)
    }

    fn sort(&mut self) -> SwitchResult {
        self.with(|controller, view| {
            controller.sort_and_switch_connection(view, IceSwitchReason::ConnectStateChange)
        })
    }

    fn select(&mut self, id: u32) {
        self.controller.set_selected_connection(Some(ConnectionId(id)));
    }

    fn strong(&mut self, id: u32) {
        let now = self.now;
        self.get(id).set_for_test(WriteState::Writable, true, now);
        self.get(id).set_rtt_for_test(Duration::from_millis(100), 1);
    }

    fn order(&self) -> Vec<u32> {
        self.controller.connections().iter().map(|id| id.0).collect()
    }

    fn next(&mut self) -> Option<u32> {
        self.with(|controller, view| controller.select_connection_to_ping(view, None))
            .connection
            .map(|id| id.0)
    }

    fn pruned(&mut self) -> Vec<u32> {
        self.with(|controller, view| controller.prune_connections(view)).iter().map(|id| id.0).collect()
    }
}

/// The second seed, "sorting": writable, write state, receiving, cost, priority, round-trip time, in this
/// order; equals keep theirs.
#[test]
fn sorting_follows_the_order_of_the_design() {
    let mut bench = Bench::new(3);
    bench.sort();
    assert_eq!(bench.order(), [0, 1, 2], "priority");

    bench.get(2).remote.network_cost = 0;
    bench.get(0).remote.network_cost = 10;
    bench.get(1).remote.network_cost = 5;
    bench.sort();
    assert_eq!(bench.order(), [2, 1, 0], "cost before priority");

    let now = bench.now;
    bench.get(0).set_for_test(WriteState::WriteInit, true, now);
    bench.sort();
    assert_eq!(bench.order(), [0, 2, 1], "receiving before cost");

    bench.get(1).set_for_test(WriteState::WriteUnreliable, false, now);
    bench.sort();
    assert_eq!(bench.order(), [1, 0, 2], "unreliable before init");

    bench.get(2).set_for_test(WriteState::Writable, false, now);
    bench.sort();
    assert_eq!(bench.order(), [2, 1, 0], "writable first");
}

#[test]
fn equals_keep_their_order_and_round_trip_time_is_the_last_resort() {
    let mut bench = Bench::new(3);
    for id in 0..3 {
        bench.get(id).remote.priority = 5;
    }
    bench.sort();
    assert_eq!(bench.order(), [0, 1, 2]);
    bench.get(2).set_rtt_for_test(Duration::from_millis(20), 1);
    bench.sort();
    assert_eq!(bench.order(), [2, 0, 1]);
    bench.sort();
    assert_eq!(bench.order(), [2, 0, 1]);
}

/// S01, S02: the controlled side follows nomination, then data, then priority; S03: write state outranks it.
#[test]
fn the_controlled_side_follows_the_peer() {
    let mut bench = Bench::new(3);
    let now = bench.now;
    for role in [IceRole::Controlled, IceRole::Controlling] {
        bench.role = role;
        bench.get(1).set_nomination_for_test(1);
        bench.get(2).set_times_for_test(None, None, Some(now));
        bench.sort();
        match role {
            IceRole::Controlled => assert_eq!(bench.order(), [1, 2, 0]),
            IceRole::Controlling => assert_eq!(bench.order(), [0, 1, 2]),
        }
    }
    bench.role = IceRole::Controlled;
    bench.get(0).set_nomination_for_test(2);
    bench.sort();
    assert_eq!(bench.order(), [0, 1, 2], "a later nomination is a better one");
    bench.strong(2);
    bench.sort();
    assert_eq!(bench.order(), [2, 0, 1], "write state outranks nomination");
}

/// S19: after a restart a nominated pair of the new generation beats the old one, on which data came in.
#[test]
fn a_new_generation_wins_once_nominated() {
    let mut bench = Bench::new(2);
    bench.role = IceRole::Controlled;
    let now = bench.now;
    bench.strong(0);
    bench.strong(1);
    bench.get(0).set_nomination_for_test(1);
    bench.get(0).set_times_for_test(None, None, Some(now));
    bench.get(1).remote.generation = 1;
    bench.get(1).local.generation = 1;
    bench.sort();
    assert_eq!(bench.order(), [0, 1]);
    bench.get(1).set_nomination_for_test(1);
    bench.sort();
    assert_eq!(bench.order(), [1, 0]);
}

/// The second seed, "selection": only what can be sent on, and not for a moment's advantage.
#[test]
fn only_usable_connections_are_selected() {
    let mut bench = Bench::new(2);
    assert_eq!(bench.sort(), SwitchResult::default(), "nothing is writable");
    let now = bench.now;
    bench.get(1).set_for_test(WriteState::WriteUnreliable, false, now);
    assert_eq!(bench.sort().connection, Some(ConnectionId(1)), "C15: unreliable will do");
    bench.select(1);
    assert_eq!(bench.sort(), SwitchResult::default(), "selected already");
    bench.strong(0);
    assert_eq!(bench.sort().connection, Some(ConnectionId(0)));
}

#[test]
fn a_costlier_connection_that_does_not_receive_is_not_switched_to() {
    let mut bench = Bench::new(2);
    let now = bench.now;
    bench.get(0).set_for_test(WriteState::WriteUnreliable, false, now);
    bench.select(0);
    bench.get(1).set_for_test(WriteState::Writable, false, now);
    bench.get(1).local.network_cost = 900;
    assert_eq!(bench.sort().connection, None);
    bench.get(1).set_for_test(WriteState::Writable, true, now);
    assert_eq!(bench.sort().connection, Some(ConnectionId(1)));
}

/// Round-trip time alone justifies a switch only with a margin of 10 ms.
#[test]
fn a_switch_for_round_trip_time_needs_a_margin() {
    for (rtt, expected) in [(95, None), (91, None), (90, Some(ConnectionId(1)))] {
        let mut bench = Bench::new(2);
        bench.get(1).remote.priority += 1;
        bench.strong(0);
        bench.strong(1);
        bench.select(0);
        bench.get(1).set_rtt_for_test(Duration::from_millis(rtt), 1);
        assert_eq!(bench.sort().connection, expected, "{rtt}");
    }
}

/// T10, S12: a switch that only receiving justifies waits for a second.
#[test]
fn a_switch_for_receiving_is_damped() {
    let mut bench = Bench::new(2);
    bench.strong(0);
    bench.strong(1);
    bench.select(0);
    let lost = bench.now;
    bench.get(0).set_for_test(WriteState::Writable, false, lost);
    let held = bench.sort();
    assert_eq!(held.connection, None);
    assert_eq!(held.recheck_event.map(|recheck| recheck.recheck_delay), Some(Duration::from_secs(1)));
    bench.now += Duration::from_millis(999);
    assert_eq!(bench.sort().connection, None);
    bench.now += Duration::from_millis(1);
    assert_eq!(bench.sort().connection, Some(ConnectionId(1)));
}

/// S05: a strong best prunes what is not better on its network; a weak one prunes nothing; other networks
/// keep their best.
#[test]
fn pruning_keeps_the_best_of_each_network() {
    let mut bench = Bench::new(4);
    bench.get(3).local.network_id = 2;
    bench.strong(1);
    bench.select(1);
    bench.sort();
    assert_eq!(bench.pruned(), [2], "0 has a higher priority, 3 another network");
    let now = bench.now;
    bench.get(1).set_for_test(WriteState::Writable, false, now);
    assert_eq!(bench.pruned(), Vec::<u32>::new(), "weak");
    bench.strong(0);
    bench.select(0);
    bench.sort();
    assert_eq!(bench.pruned(), [1, 2]);
}

/// S05, S09: one of each network of the peer's is a reserve too, once the peer has numbered them: it may move there. It
/// is kept once it works; until then all that end there are tried.
#[test]
fn pruning_keeps_the_best_of_each_network_of_the_peer() {
    let mut bench = Bench::new(5);
    bench.get(0).remote.network_id = 1;
    bench.get(1).remote.network_id = 1;
    bench.get(2).remote.network_id = 2;
    bench.get(3).remote.network_id = 2;
    bench.strong(0);
    bench.select(0);
    bench.sort();
    assert_eq!(bench.pruned(), [1, 4], "4 may be in any of the peer's networks");
    bench.strong(3);
    bench.sort();
    assert_eq!(bench.pruned(), [1, 4], "3 works, 2 is better and may work yet");
    bench.get(2).remote.priority = 1;
    bench.sort();
    assert_eq!(bench.pruned(), [1, 4, 2]);
    let now = bench.now;
    bench.get(3).set_for_test(WriteState::Writable, false, now);
    assert_eq!(bench.pruned(), [1, 4], "weak");
}

/// S05: not each of our networks with each of the peer's.
#[test]
fn pruning_keeps_no_more_than_one_for_each_network() {
    let mut bench = Bench::new(4);
    for (id, ours, theirs) in [(0, 1, 1), (1, 1, 2), (2, 2, 1), (3, 2, 2)] {
        bench.get(id).local.network_id = ours;
        bench.get(id).remote.network_id = theirs;
        bench.strong(id);
    }
    bench.select(0);
    bench.sort();
    assert_eq!(bench.pruned(), [3]);
}

/// S05: a peer that does not number its networks is taken to have one, as by libwebrtc, also where it told of some only.
#[test]
fn networks_without_a_number_are_not_told_apart() {
    let mut bench = Bench::new(3);
    bench.get(1).remote.network_id = 7;
    bench.strong(0);
    bench.select(0);
    bench.sort();
    assert_eq!(bench.pruned(), [1, 2]);
}

/// A connection of the "any" address may use the selected one's interface: no reserve.
#[test]
fn any_address_connections_are_pruned_against_the_selected_one() {
    let mut bench = Bench::new(2);
    bench.get(1).any_network = true;
    bench.get(1).local.network_id = 0;
    bench.strong(0);
    bench.select(0);
    bench.sort();
    assert_eq!(bench.pruned(), [1]);
}

/// C28: nothing is checked without the peer's credentials.
#[test]
fn what_cannot_be_checked_is_not() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.next(), Some(0));
    bench.get(0).remote_password = crate::connection::RemotePassword::default();
    assert_eq!(bench.next(), None);
    assert!(!bench.with(|controller, view| controller.has_pingable_connection(view)));
}

/// C26: the pair the peer checked goes first, the longest waiting of several; not once writable.
#[test]
fn triggered_checks_go_first() {
    let mut bench = Bench::new(4);
    let now = bench.now;
    let ago = |millis| Some(now - Duration::from_millis(millis));
    bench.get(2).set_times_for_test(None, ago(10), None);
    bench.get(3).set_times_for_test(ago(30), ago(20), None);
    assert_eq!(bench.next(), Some(3));
    bench.get(3).set_times_for_test(ago(5), ago(20), None);
    assert_eq!(bench.next(), Some(2));
    bench.get(2).set_for_test(WriteState::Writable, true, now);
    bench.get(2).set_times_for_test(ago(1), ago(0), None);
    assert_eq!(bench.next(), Some(0));
}

/// C27: relay pairs first, over UDP before TCP; others are not starved; then the best, then the one checked
/// longest ago.
#[test]
fn likely_pairs_go_first_and_none_starves() {
    let mut bench = Bench::new(4);
    for (id, protocol) in [(2, "tcp"), (3, "udp")] {
        bench.get(id).local = candidate("192.0.2.9:1", "relay", 5, "ours");
        bench.get(id).local.relay_protocol = Some(protocol);
        bench.get(id).remote.candidate_type = CandidateType::Relay;
    }
    let mut order = Vec::new();
    for step in 0..5 {
        let next = bench.next().unwrap();
        order.push(next);
        let at = bench.now - Duration::from_secs(10) + Duration::from_millis(step);
        bench.get(next).set_times_for_test(Some(at), None, None);
        bench.controller.mark_connection_pinged(ConnectionId(next));
    }
    assert_eq!(order, [3, 2, 0, 1, 3]);
}

/// The selected pair is checked first when its turn has come (T04): 900 ms until stable, then about 2.5 s.
#[test]
fn the_selected_pair_is_checked_at_its_interval() {
    let mut bench = Bench::new(2);
    let now = bench.now;
    bench.strong(0);
    bench.select(0);
    bench.strong(1);
    bench.get(1).set_times_for_test(Some(now), None, None);
    for (samples, pings, millis) in [(1, 0, 48), (1, 3, 900), (6, 3, 2500)] {
        bench.get(0).set_rtt_for_test(Duration::from_millis(50), samples);
        bench.get(0).set_pings_sent_for_test(pings);
        for (ago, expected) in [(millis - 1, false), (millis, true)] {
            bench.get(0).set_times_for_test(Some(now - Duration::from_millis(ago)), None, None);
            bench.get(1).set_pings_sent_for_test(3);
            assert_eq!(bench.next() == Some(0), expected, "{samples} samples, {ago} ms ago");
        }
    }
}

/// T03, C28: 48 ms while weak or while any pair had fewer than three checks, else 480 ms.
#[test]
fn pacing() {
    let mut bench = Bench::new(1);
    let recheck = |bench: &mut Bench, ago: u64| {
        let sent = bench.now - Duration::from_millis(ago);
        bench.with(|controller, view| controller.select_connection_to_ping(view, Some(sent)))
    };
    assert_eq!(recheck(&mut bench, 47).connection, None);
    let result = recheck(&mut bench, 48);
    assert_eq!(result.connection, Some(ConnectionId(0)));
    assert_eq!(result.recheck_delay, Duration::from_millis(48));
    bench.strong(0);
    bench.select(0);
    assert_eq!(recheck(&mut bench, 48).recheck_delay, Duration::from_millis(48), "fewer than three checks");
    bench.get(0).set_pings_sent_for_test(3);
    assert_eq!(recheck(&mut bench, 479).connection, None);
    let result = recheck(&mut bench, 480);
    assert_eq!(result.connection, Some(ConnectionId(0)));
    assert_eq!(result.recheck_delay, Duration::from_millis(250), "states are looked at more often");
}

/// T09, S15: reserves are checked every 25 s once completed; what is inactive is not while strong, but again
/// when weak (S06).
#[test]
fn reserves_are_checked_rarely() {
    let mut bench = Bench::new(2);
    let now = bench.now;
    bench.get(1).local.network_id = 2;
    bench.strong(0);
    bench.strong(1);
    bench.select(0);
    bench.state = IceTransportState::Completed;
    let pingable =
        |bench: &mut Bench| bench.with(|controller, view| controller.is_pingable(view, ConnectionId(1)));
    for (ago, expected) in [(24_999, false), (25_000, true)] {
        bench.get(1).set_response_for_test(Some(now - Duration::from_millis(ago)));
        assert_eq!(pingable(&mut bench), expected, "{ago} ms after the last response");
    }
    bench.get(1).set_for_test(WriteState::WriteTimeout, false, now);
    assert!(!pingable(&mut bench));
    bench.get(0).set_for_test(WriteState::WriteUnreliable, false, now);
    assert!(pingable(&mut bench), "weak: everything is tried");
}

/// C11, C12: who gets USE-CANDIDATE in each mode.
#[test]
fn nomination_modes() {
    use NominationMode::{Aggressive, Regular, SemiAggressive};
    let attr = |bench: &mut Bench, id, mode, remote| {
        bench.with(|controller, view| controller.get_use_candidate_attr(view, ConnectionId(id), mode, remote))
    };
    let mut bench = Bench::new(2);
    assert!(!attr(&mut bench, 0, Regular, IceMode::Full));
    assert!(attr(&mut bench, 0, Aggressive, IceMode::Full));
    assert!(attr(&mut bench, 0, SemiAggressive, IceMode::Full));
    assert!(!attr(&mut bench, 0, Aggressive, IceMode::Lite), "not before the check succeeded");
    bench.strong(1);
    bench.select(1);
    assert!(attr(&mut bench, 1, Regular, IceMode::Full));
    assert!(attr(&mut bench, 1, Aggressive, IceMode::Lite));
    assert!(!attr(&mut bench, 0, Regular, IceMode::Full));
    assert!(attr(&mut bench, 0, SemiAggressive, IceMode::Full), "it would be better");
    bench.strong(0);
    bench.select(0);
    assert!(!attr(&mut bench, 1, SemiAggressive, IceMode::Full));
}

/// S14: a preferred kind of network beats cost.
#[test]
fn network_preference_beats_cost() {
    let mut bench = Bench::new(2);
    bench.get(1).local.adapter_type = peerstack_base::AdapterType::Cellular;
    bench.get(1).local.network_cost = 900;
    bench.sort();
    assert_eq!(bench.order(), [0, 1]);
    let mut config = IceConfig::default();
    config.network_preference = Some(peerstack_base::AdapterType::Cellular);
    bench.controller.set_ice_config(&config);
    bench.sort();
    assert_eq!(bench.order(), [1, 0]);
}

/// C29: two relays count as writable at once, if so configured; better than an unreliable pair.
#[test]
fn relayed_pairs_may_be_presumed_writable() {
    let mut bench = Bench::new(2);
    let now = bench.now;
    bench.get(1).local.candidate_type = CandidateType::Relay;
    bench.get(1).remote.candidate_type = CandidateType::Prflx;
    bench.get(0).set_for_test(WriteState::WriteUnreliable, false, now);
    assert_eq!(bench.sort().connection, Some(ConnectionId(0)));
    let mut config = IceConfig::default();
    config.presume_writable_when_fully_relayed = true;
    bench.controller.set_ice_config(&config);
    assert_eq!(bench.sort().connection, Some(ConnectionId(1)));
}

#[test]
fn destroyed_connections_are_forgotten() {
    let mut bench = Bench::new(2);
    bench.strong(0);
    bench.select(0);
    bench.controller.mark_connection_pinged(ConnectionId(0));
    bench.connections.remove(&ConnectionId(0));
    bench.controller.on_connection_destroyed(ConnectionId(0));
    assert_eq!(bench.order(), [1]);
    assert_eq!(bench.next(), Some(1));
    bench.strong(1);
    assert_eq!(bench.sort().connection, Some(ConnectionId(1)));
}
