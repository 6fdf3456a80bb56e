//! Whose datagrams are, and who may change that.

use peerstack_base::{Ecn, Random};
use peerstack_stun::{MessageBuilder, Method};

use super::*;

const A: ConnectionId = ConnectionId(1);
const B: ConnectionId = ConnectionId(2);

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin")]
fn origin() -> Instant {
    Instant::now()
}

fn remote(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Two connections on one socket, with user fragments `aaaa` and `bbbb`.
fn two() -> (UdpMuxTable, SocketId, SocketId) {
    let mut table = UdpMuxTable::new(Arc::default());
    let (a, b) = (SocketId::unique(), SocketId::unique());
    assert!(table.join(a, A, "aaaa".to_owned()) && table.join(b, B, "bbbb".to_owned()));
    (table, a, b)
}

fn message(class: Class, id: u8, username: Option<&str>) -> Vec<u8> {
    let mut builder = MessageBuilder::new(class, Method::BINDING, TransactionId::from_bytes([id; 12]));
    if let Some(username) = username {
        builder.add_username(username);
    }
    builder.fingerprint();
    builder.finish()
}

fn check(username: &str) -> Vec<u8> {
    message(Class::Request, 1, Some(username))
}

fn send(table: &mut UdpMuxTable, id: SocketId, to: SocketAddr, contents: &[u8]) {
    let transmit = Transmit { destination: to, ecn: Ecn::NotEct, contents, segment_size: None };
    table.note_sent(id, &transmit);
}

const DATA: &[u8] = &[128, 96, 0, 1];

#[test]
fn a_check_goes_to_the_user_fragment_it_names() {
    let (mut table, a, b) = two();
    assert_eq!(table.find(&check("aaaa:x"), remote(1)), Some((A, a)));
    assert_eq!(table.find(&check("bbbb:x"), remote(1)), Some((B, b)));
    for username in ["cccc:x", "aaaaa:x", "aaa:x", ":aaaa", "AAAA:x"] {
        assert_eq!(table.find(&check(username), remote(1)), None, "{username}");
    }
    assert_eq!(table.counters.unknown_ufrag.load(Ordering::Relaxed), 5);
    // Nothing was learned from any of them.
    assert!(table.routes.is_empty() && table.transactions.is_empty());
}

#[test]
fn data_goes_to_whom_authenticated_the_address() {
    let (mut table, a, b) = two();
    let now = origin();
    assert_eq!(table.find(DATA, remote(1)), None);
    table.add_route(now, a, remote(1), false);
    table.add_route(now, b, remote(2), true);
    assert_eq!(table.find(DATA, remote(1)), Some((A, a)));
    assert_eq!(table.find(DATA, remote(2)), Some((B, b)));
    // A keep-alive and a GOOG-PING name nobody.
    assert_eq!(table.find(&message(Class::Indication, 3, None), remote(2)), Some((B, b)));
    assert_eq!(table.find(&message(Class::Request, 3, None), remote(2)), Some((B, b)));
    // The user fragment counts before the address.
    assert_eq!(table.find(&check("aaaa:x"), remote(2)), Some((A, a)));
    table.remove_route(a, remote(1));
    assert_eq!(table.find(DATA, remote(1)), None);
    assert_eq!(table.counters.unknown_address.load(Ordering::Relaxed), 2);
}

#[test]
fn a_response_goes_to_whom_asked_and_comes_from_where_it_was_asked() {
    let (mut table, a, b) = two();
    send(&mut table, a, remote(9), &message(Class::Request, 1, Some("x:aaaa")));
    send(&mut table, b, remote(9), &message(Class::Request, 2, Some("x:bbbb")));
    // An answer of ours is nothing to wait for.
    send(&mut table, b, remote(9), &message(Class::SuccessResponse, 3, None));
    for class in [Class::SuccessResponse, Class::ErrorResponse] {
        assert_eq!(table.find(&message(class, 1, None), remote(9)), Some((A, a)));
        assert_eq!(table.find(&message(class, 2, None), remote(9)), Some((B, b)));
        assert_eq!(table.find(&message(class, 3, None), remote(9)), None);
        assert_eq!(table.find(&message(class, 1, None), remote(8)), None);
    }
    assert_eq!(table.counters.unknown_transaction.load(Ordering::Relaxed), 4);
}

#[test]
fn requests_in_a_batch_are_all_remembered() {
    let (mut table, a, _) = two();
    let requests = [1, 2, 3].map(|id| message(Class::Request, id, None));
    let contents = requests.concat();
    let segment_size = Some(requests[0].len());
    let transmit = Transmit { destination: remote(9), ecn: Ecn::NotEct, contents: &contents, segment_size };
    table.note_sent(a, &transmit);
    for id in [1, 2, 3] {
        assert_eq!(table.find(&message(Class::SuccessResponse, id, None), remote(9)), Some((A, a)));
    }
}

/// Somebody who has a connection of their own forges the source of their checks.
#[test]
fn a_forged_source_takes_no_address_that_is_in_use() {
    let (mut table, a, b) = two();
    let now = origin();
    table.add_route(now, a, remote(1), true);
    for second in 0..10 {
        // B's checks authenticate, A's peer goes on answering.
        table.add_route(now + seconds(second), b, remote(1), false);
        table.add_route(now + seconds(second), a, remote(1), true);
        assert_eq!(table.find(DATA, remote(1)), Some((A, a)));
    }
    // Nor once A's peer is silent: B's own check was never answered from there.
    table.add_route(now + seconds(100), b, remote(1), false);
    assert_eq!(table.find(DATA, remote(1)), Some((A, a)));
    assert!(table.counters.refused_routes.load(Ordering::Relaxed) >= 11);
}

#[test]
fn a_forged_source_keeps_no_address_from_whom_it_is() {
    let (mut table, a, b) = two();
    let now = origin();
    // Before A's peer is there.
    table.add_route(now, b, remote(1), false);
    table.add_route(now, a, remote(1), false);
    assert_eq!(table.find(DATA, remote(1)), Some((B, b)));
    table.add_route(now, a, remote(1), true);
    assert_eq!(table.find(DATA, remote(1)), Some((A, a)));
    // Nor do many of them: the one that is answered has a place.
    for _ in 0..2 * MAX_CLAIMS {
        let (id, owner) = (SocketId::unique(), ConnectionId(3));
        assert!(table.join(id, owner, format!("{id:?}")));
        table.add_route(now, id, remote(2), false);
    }
    assert_eq!(table.routes[&remote(2)].len(), MAX_CLAIMS);
    table.add_route(now, a, remote(2), true);
    assert_eq!(table.find(DATA, remote(2)), Some((A, a)));
    assert_eq!(table.routes[&remote(2)].len(), MAX_CLAIMS);
}

#[test]
fn an_address_passes_on_once_the_new_peer_answers_and_the_old_one_does_not() {
    let (mut table, a, b) = two();
    let now = origin();
    table.add_route(now, a, remote(1), true);
    table.add_route(now + seconds(4), b, remote(1), true);
    assert_eq!(table.find(DATA, remote(1)), Some((A, a)));
    table.add_route(now + seconds(5), b, remote(1), true);
    assert_eq!(table.find(DATA, remote(1)), Some((B, b)));
    // Both on one address, as with an ICE restart: the other follows at once.
    table.remove_route(b, remote(1));
    assert_eq!(table.find(DATA, remote(1)), Some((A, a)));
}

#[test]
fn who_leaves_leaves_nothing() {
    let (mut table, a, b) = two();
    let now = origin();
    for port in 1..100 {
        table.add_route(now, a, remote(port), port % 2 == 0);
        send(&mut table, a, remote(port), &message(Class::Request, port as u8, None));
    }
    table.block(A);
    assert_eq!(table.members_of(A), [a]);
    table.leave(a);
    table.leave(a);
    assert!(table.routes.is_empty() && table.transactions.is_empty() && table.unblock().is_empty());
    assert_eq!(table.find(&check("aaaa:x"), remote(1)), None);
    assert!(table.members_of(A).is_empty() && table.has(b) && !table.has(a));
    table.leave(b);
    assert!(table.is_empty() && table.ufrags.is_empty());
}

#[test]
fn a_user_fragment_belongs_to_one_and_may_be_replaced() {
    let (mut table, a, b) = two();
    assert!(!table.join(SocketId::unique(), B, "aaaa".to_owned()));
    assert!(table.join(a, A, "aaaa".to_owned()) && table.join(a, A, "new1".to_owned()));
    assert_eq!(table.find(&check("aaaa:x"), remote(1)), None);
    assert_eq!(table.find(&check("new1:x"), remote(1)), Some((A, a)));
    assert!(table.join(b, B, "aaaa".to_owned()));
}

/// Memory is bounded by the number of connections, whatever comes in.
#[test]
fn floods_leave_bounded_traces() {
    let (mut table, a, _) = two();
    let (now, mut random) = (origin(), Random::from_seed(1));
    for port in 1..=20_000 {
        let _ = table.find(&check(&format!("{}:x", random.ice_string(4))), remote(port));
        let _ = table.find(DATA, remote(port));
        let noise: [u8; 40] = random.bytes();
        let _ = table.find(&noise, remote(port));
        let _ = table.find(&[&[0, 1, 0, 0][..], &noise].concat(), remote(port));
    }
    assert!(table.routes.is_empty() && table.transactions.is_empty());
    // A peer whose checks authenticate, from ever other addresses.
    for port in 1..=20_000 {
        table.add_route(now, a, remote(port), false);
        let request = message(Class::Request, 0, None);
        let id: [u8; 12] = random.bytes();
        send(&mut table, a, remote(port), &[&request[..8], &id, &request[20..]].concat());
    }
    assert_eq!((table.routes.len(), table.transactions.len()), (MAX_ROUTES, MAX_TRANSACTIONS));
    assert_eq!(table.members[&a].transactions.len(), MAX_TRANSACTIONS);
}
