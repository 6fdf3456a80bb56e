//! What is selected when pairs come back, when the peer's network fails, and when another controller decides.

use std::time::{Duration, Instant};

use peerstack_base::AdapterType;
use peerstack_netsim::{Lab, LinkConfig, ip};

use super::harness::*;
use crate::*;

/// Two networks on each side, of one kind.
fn two_homed(seed: u64) -> Pair {
    let lab = Lab::new(seed, origin());
    let internet = lab.internet();
    let host = |name: &str, ips: [&str; 2]| {
        let host = lab.host(name);
        for (index, address) in ips.iter().enumerate() {
            host.add_interface(&format!("eth{index}"), AdapterType::Ethernet, &internet, &[ip(address)]);
        }
        for interface in host.interfaces() {
            interface.link().configure(LinkConfig::latency(ms(10)));
        }
        host
    };
    let a = host("a", ["192.0.2.1", "198.51.100.1"]);
    let b = host("b", ["192.0.2.2", "198.51.100.2"]);
    Pair::new(lab, Peer::new(a, "a", 1, |_| {}), Peer::new(b, "b", 2, |_| {}))
}

fn selected(peer: &Peer) -> (String, String) {
    let selected = peer.channel.selected_connection().unwrap();
    let text = |candidate: &Candidate| candidate.address.ip().unwrap().ip().to_string();
    (text(selected.local_candidate()), text(selected.remote_candidate()))
}

/// S13: the peer's network fails: our side goes to the peer's other address, and stays on its own network.
#[test]
fn the_peers_network_failing_does_not_move_us() {
    let mut pair = two_homed(1);
    pair.connect();
    pair.run_for(ms(5000));
    let (ours, theirs) = selected(&pair.a);
    let failing = usize::from(theirs == "198.51.100.2");
    pair.b.host.interfaces()[failing].link().set_up(false);
    let moved =
        pair.run_until(ms(8000), |pair| selected(&pair.a).1 != theirs && selected(&pair.b).0 != theirs);
    assert!(moved);
    pair.run_for(ms(5000));
    assert_eq!(selected(&pair.a).0, ours, "our network works");
    assert_eq!(selected(&pair.b).1, ours);
    pair.exchange_data();
}

/// S07: a pair that died and is made anew of a check has the priority it had, since it is made of the candidate that was
/// signalled; one of an address that never was has a peer-reflexive one's.
#[test]
fn a_pair_that_comes_back_has_its_priority() {
    let mut pair = Pair::open(2);
    pair.connect();
    pair.run_for(ms(2000));
    let describe = |pair: &Pair| {
        let connection = pair.a.channel.selected_connection().unwrap();
        let priority = connection.priority(IceRole::Controlling);
        (connection.id(), priority, connection.remote_candidate().candidate_type)
    };
    let (id, priority, candidate_type) = describe(&pair);
    pair.b.host.interfaces()[0].link().set_up(false);
    let gone = pair.run_until(ms(60_000), |pair| pair.a.channel.connections().next().is_none());
    assert!(gone, "the pair died");
    pair.b.host.interfaces()[0].link().set_up(true);
    // The peer begins again, with a pair of its own made anew.
    let remote = pair.a.channel.stats(pair.now).local_candidates;
    for candidate in remote {
        pair.b.channel.add_remote_candidate(pair.now, candidate);
    }
    assert!(pair.run_until(ms(20_000), Pair::both_connected), "it comes back");
    let again = describe(&pair);
    assert_ne!(again.0, id);
    assert_eq!((again.1, again.2), (priority, candidate_type));
    pair.exchange_data();

    // One that was never signalled.
    let mut pair = Pair::open(3);
    pair.trickle = false;
    pair.start();
    pair.settle();
    let candidate = pair.a.outbox[0].clone();
    pair.b.channel.add_remote_candidate(pair.now, candidate);
    assert!(pair.run_until(ms(2000), Pair::both_connected));
    let (_, _, candidate_type) = describe(&pair);
    let learned = pair.a.channel.selected_connection().unwrap().remote_candidate().priority;
    assert_eq!((candidate_type, learned >> 24), (CandidateType::Prflx, 110));
}

/// Decides as the one it wraps, but selects the pair of lowest priority.
#[derive(Debug)]
struct Contrary(BasicIceController);

impl IceController for Contrary {
    fn set_ice_config(&mut self, config: &IceConfig) {
        self.0.set_ice_config(config);
    }

    fn set_selected_connection(&mut self, connection: Option<ConnectionId>) {
        self.0.set_selected_connection(connection);
    }

    fn add_connection(&mut self, connection: ConnectionId) {
        self.0.add_connection(connection);
    }

    fn on_connection_destroyed(&mut self, connection: ConnectionId) {
        self.0.on_connection_destroyed(connection);
    }

    fn connections(&self) -> &[ConnectionId] {
        self.0.connections()
    }

    fn has_pingable_connection(&self, view: &IceControllerView<'_>) -> bool {
        self.0.has_pingable_connection(view)
    }

    fn is_pingable(&self, view: &IceControllerView<'_>, connection: ConnectionId) -> bool {
        self.0.is_pingable(view, connection)
    }

    fn select_connection_to_ping(
        &mut self,
        view: &IceControllerView<'_>,
        last: Option<Instant>,
    ) -> PingResult {
        self.0.select_connection_to_ping(view, last)
    }

    fn mark_connection_pinged(&mut self, connection: ConnectionId) {
        self.0.mark_connection_pinged(connection);
    }

    fn get_use_candidate_attr(
        &self,
        view: &IceControllerView<'_>,
        connection: ConnectionId,
        mode: NominationMode,
        remote: IceMode,
    ) -> bool {
        self.0.get_use_candidate_attr(view, connection, mode, remote)
    }

    fn should_switch_connection(
        &mut self,
        _: &IceControllerView<'_>,
        _: IceSwitchReason,
        _: ConnectionId,
    ) -> SwitchResult {
        SwitchResult::default()
    }

    fn sort_and_switch_connection(
        &mut self,
        view: &IceControllerView<'_>,
        _: IceSwitchReason,
    ) -> SwitchResult {
        let writable = view.connections.values().filter(|connection| connection.writable());
        let worst = writable.min_by_key(|connection| connection.priority(view.role)).map(Connection::id);
        SwitchResult { connection: worst, recheck_event: None }
    }

    fn prune_connections(&self, _: &IceControllerView<'_>) -> Vec<ConnectionId> {
        Vec::new()
    }
}

/// S23: the controller that was plugged in decides what is selected.
#[test]
fn another_controller_decides() {
    let priorities = |pair: &Pair| -> (u64, u64) {
        let of = |connection: &Connection| connection.priority(IceRole::Controlling);
        let all = pair.a.channel.connections().map(of);
        (of(pair.a.channel.selected_connection().unwrap()), all.min().unwrap())
    };
    let mut pair = two_homed(1);
    pair.a.channel.set_ice_controller(Box::new(Contrary(BasicIceController::new(IceConfig::default()))));
    pair.connect();
    pair.run_for(Duration::from_secs(5));
    let (chosen, worst) = priorities(&pair);
    assert_eq!(chosen, worst);
    pair.exchange_data();
    assert_eq!(selected(&pair.a), ("198.51.100.1".to_owned(), "198.51.100.2".to_owned()));
    let mut pair = two_homed(1);
    pair.connect();
    pair.run_for(Duration::from_secs(5));
    let (chosen, worst) = priorities(&pair);
    assert!(chosen >= worst, "left to ours the best is selected");
    assert_eq!(selected(&pair.a).0, "192.0.2.1");
}
