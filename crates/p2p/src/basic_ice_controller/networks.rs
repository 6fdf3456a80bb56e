//! Which connections are kept in reserve: one for each of our networks, as libwebrtc's `GetBestConnectionByNetwork`
//! has it, and one for each of the peer's, where it tells them apart; owned by the network task.

use crate::connection::Connection;

/// One of our networks: its id, whether it is the "any" address's, and the family.
pub(super) type NetworkKey = (u16, bool, bool);

pub(super) fn network_key(connection: &Connection) -> NetworkKey {
    (connection.local.network_id, connection.any_network, connection.remote_address.is_ipv4())
}

/// Whether both end in one network of the peer, which it has told the number of.
pub(super) fn shares_remote_network(a: &Connection, b: &Connection) -> bool {
    a.remote.network_id != 0 && a.remote.network_id == b.remote.network_id
}

/// The first of each of our networks and of each of the peer's, in the order given, which is best first. A peer that
/// does not number its networks has one: it may be any of those that others end in.
pub(crate) fn best_by_network<'a>(
    connections: impl IntoIterator<Item = &'a Connection>,
) -> Vec<&'a Connection> {
    let mut best: Vec<&'a Connection> = Vec::new();
    for connection in connections {
        let (key, theirs) = (network_key(connection), connection.remote.network_id);
        let ours_is_new = !best.iter().any(|known| network_key(known) == key);
        let theirs_is_new =
            theirs != 0 && best.iter().all(|known| ![0, theirs].contains(&known.remote.network_id));
        if ours_is_new || theirs_is_new {
            best.push(connection);
        }
    }
    best
}
