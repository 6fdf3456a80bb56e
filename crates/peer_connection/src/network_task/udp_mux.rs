//! Whose datagram it is, on a UDP socket that many transports share: sans-IO, one table for each socket. Owned
//! by the network task, which owns the transports too: a datagram is handed over by a call, not by a queue.
//! RFC 8445 section 7.3, RFC 8489 section 14.3; libwebrtc has nothing of the kind, others call it a UDP mux.
//!
//! | datagram | belongs to |
//! |---|---|
//! | a STUN request with USERNAME | the transport with the local user fragment it names |
//! | a STUN response | the transport that sent the request: by transaction id, and only from where that went |
//! | anything else | the transport that has the remote address |
//!
//! Nothing here believes what a datagram says: the transport that a check names verifies its MESSAGE-INTEGRITY,
//! and only then says that the address is its own. A check may bear a forged source, so an address that is in use
//! passes to another transport only once that one's own check was answered from there, and the first one's was
//! not for a while.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use peerstack_base::{PacketClass, SocketId, Transmit};
use peerstack_stun::{Class, HEADER_LEN, Message, TransactionId};

use super::commands::ConnectionId;

/// Requests of one transport whose answers are awaited; of more the oldest is forgotten. A transport checks every
/// 48 ms at most, so that this is the time of a long round trip several times over.
const MAX_TRANSACTIONS: usize = 256;
/// Remote addresses of one transport; more than a transport has connections.
const MAX_ROUTES: usize = 512;
/// Transports that have had an answer from one remote address.
const MAX_CLAIMS: usize = 8;
/// An address whose transport had no answer from it for so long is no longer in use: twice the longest interval
/// between checks of a pair that works (libwebrtc `STRONG_AND_STABLE_WRITABLE_CONNECTION_PING_INTERVAL`).
const STALE: Duration = Duration::from_secs(5);

/// What shared sockets dropped, over all of a factory.
#[derive(Debug, Default)]
pub(crate) struct UdpMuxCounters {
    pub(crate) malformed: AtomicU64,
    pub(crate) unknown_ufrag: AtomicU64,
    pub(crate) unknown_transaction: AtomicU64,
    pub(crate) unknown_address: AtomicU64,
    pub(crate) refused_routes: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One transport on the socket.
#[derive(Debug)]
struct Member {
    owner: ConnectionId,
    ufrag: String,
    /// Where it has a claim.
    routes: BTreeSet<SocketAddr>,
    /// The oldest first.
    transactions: VecDeque<TransactionId>,
}

/// A transport that authenticated a peer at an address.
#[derive(Debug, Clone, Copy)]
struct Claim {
    id: SocketId,
    /// When the peer last answered there.
    answered: Option<Instant>,
}

impl Claim {
    fn is_in_use(&self, now: Instant) -> bool {
        self.answered.is_some_and(|at| now.saturating_duration_since(at) < STALE)
    }
}

/// The table of one shared socket.
#[derive(Debug)]
pub(super) struct UdpMuxTable {
    members: BTreeMap<SocketId, Member>,
    ufrags: HashMap<String, SocketId>,
    /// The first claim is in force.
    routes: HashMap<SocketAddr, Vec<Claim>>,
    transactions: HashMap<TransactionId, (SocketId, SocketAddr)>,
    /// Connections whose packets wait until the socket takes more.
    blocked: BTreeSet<ConnectionId>,
    counters: Arc<UdpMuxCounters>,
}

impl UdpMuxTable {
    pub(super) fn new(counters: Arc<UdpMuxCounters>) -> Self {
        Self {
            members: BTreeMap::new(),
            ufrags: HashMap::new(),
            routes: HashMap::new(),
            transactions: HashMap::new(),
            blocked: BTreeSet::new(),
            counters,
        }
    }

    /// Takes a transport in, or gives it another user fragment. `false` if another transport has that one.
    pub(super) fn join(&mut self, id: SocketId, owner: ConnectionId, ufrag: String) -> bool {
        if self.ufrags.get(&ufrag).is_some_and(|other| *other != id) {
            return false;
        }
        let member = self.members.entry(id).or_insert_with(|| Member {
            owner,
            ufrag: String::new(),
            routes: BTreeSet::new(),
            transactions: VecDeque::new(),
        });
        self.ufrags.remove(&member.ufrag);
        member.ufrag.clone_from(&ufrag);
        self.ufrags.insert(ufrag, id);
        true
    }

    /// Forgets all about a transport.
    pub(super) fn leave(&mut self, id: SocketId) {
        let Some(member) = self.members.remove(&id) else { return };
        self.ufrags.remove(&member.ufrag);
        for transaction in &member.transactions {
            self.transactions.remove(transaction);
        }
        for remote in member.routes {
            self.remove_claim(id, remote);
        }
        if !self.members.values().any(|other| other.owner == member.owner) {
            self.blocked.remove(&member.owner);
        }
    }

    /// Whether it has no transport.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The transports of a connection.
    pub(super) fn members_of(&self, owner: ConnectionId) -> Vec<SocketId> {
        self.members.iter().filter(|(_, member)| member.owner == owner).map(|(id, _)| *id).collect()
    }

    pub(super) fn has(&self, id: SocketId) -> bool {
        self.members.contains_key(&id)
    }

    /// Whose a datagram is.
    pub(super) fn find(&mut self, datagram: &[u8], remote: SocketAddr) -> Option<(ConnectionId, SocketId)> {
        let id = match PacketClass::of(datagram) {
            PacketClass::Stun => self.find_stun(datagram, remote),
            _ => self.find_address(remote),
        }?;
        Some((self.members.get(&id)?.owner, id))
    }

    fn find_stun(&mut self, datagram: &[u8], remote: SocketAddr) -> Option<SocketId> {
        let Ok(message) = Message::parse(datagram) else {
            count(&self.counters.malformed);
            return None;
        };
        match (message.class(), message.username()) {
            (Class::SuccessResponse | Class::ErrorResponse, _) => {
                let transaction = message.transaction_id();
                let found = self.transactions.get(&transaction).filter(|(_, asked)| *asked == remote);
                let Some((id, _)) = found.copied() else {
                    count(&self.counters.unknown_transaction);
                    return None;
                };
                Some(id)
            }
            (Class::Request, Some(username)) => {
                let ufrag = username.split_once(':').map_or(username, |(local, _)| local);
                let found = self.ufrags.get(ufrag).copied();
                if found.is_none() {
                    count(&self.counters.unknown_ufrag);
                }
                found
            }
            _ => self.find_address(remote),
        }
    }

    fn find_address(&self, remote: SocketAddr) -> Option<SocketId> {
        let found = self.routes.get(&remote).and_then(|claims| claims.first()).map(|claim| claim.id);
        if found.is_none() {
            count(&self.counters.unknown_address);
        }
        found
    }

    /// A transport authenticated a peer at an address; `answered` if that answered a check of the transport's.
    pub(super) fn add_route(&mut self, now: Instant, id: SocketId, remote: SocketAddr, answered: bool) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let claims = self.routes.entry(remote).or_default();
        let claim = Claim { id, answered: answered.then_some(now) };
        let mut displaced = None;
        if let Some(known) = claims.iter_mut().find(|known| known.id == id) {
            known.answered = claim.answered.or(known.answered);
        } else if member.routes.len() < MAX_ROUTES && claims.len() < MAX_CLAIMS {
            claims.push(claim);
            member.routes.insert(remote);
        } else if let Some(useless) = claims.iter_mut().find(|known| answered && !known.is_in_use(now)) {
            displaced = Some(std::mem::replace(useless, claim).id);
            member.routes.insert(remote);
        } else {
            if claims.is_empty() {
                self.routes.remove(&remote);
            }
            return count(&self.counters.refused_routes);
        }
        if answered && !claims.first().is_some_and(|first| first.is_in_use(now)) {
            promote(claims, id);
        }
        if claims.first().is_some_and(|first| first.id != id) {
            count(&self.counters.refused_routes);
        }
        if let Some(other) = displaced.and_then(|other| self.members.get_mut(&other)) {
            other.routes.remove(&remote);
        }
    }

    /// A transport has no connection to an address any more.
    pub(super) fn remove_route(&mut self, id: SocketId, remote: SocketAddr) {
        if self.members.get_mut(&id).is_some_and(|member| member.routes.remove(&remote)) {
            self.remove_claim(id, remote);
        }
    }

    /// The one that was answered last follows the one in force.
    fn remove_claim(&mut self, id: SocketId, remote: SocketAddr) {
        let Some(claims) = self.routes.get_mut(&remote) else { return };
        let in_force = claims.first().is_some_and(|first| first.id == id);
        claims.retain(|claim| claim.id != id);
        if claims.is_empty() {
            self.routes.remove(&remote);
        } else if in_force
            && let Some(next) = claims.iter().max_by_key(|claim| claim.answered).map(|claim| claim.id)
        {
            promote(claims, next);
        }
    }

    /// Packets of a transport go out: the requests among them are remembered, so that their answers find back.
    pub(super) fn note_sent(&mut self, id: SocketId, transmit: &Transmit<'_>) {
        // STUN, which is nearly never in a batch with anything else.
        if PacketClass::of(transmit.contents) != PacketClass::Stun {
            return;
        }
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(segment) {
            if let Some(transaction) = request_transaction(datagram) {
                self.remember(id, transaction, transmit.destination);
            }
        }
    }

    fn remember(&mut self, id: SocketId, transaction: TransactionId, destination: SocketAddr) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if self.transactions.insert(transaction, (id, destination)).is_some() {
            // Sent again.
            return;
        }
        member.transactions.push_back(transaction);
        if member.transactions.len() > MAX_TRANSACTIONS
            && let Some(oldest) = member.transactions.pop_front()
        {
            self.transactions.remove(&oldest);
        }
    }

    /// Packets of this connection wait until the socket takes more.
    pub(super) fn block(&mut self, owner: ConnectionId) {
        self.blocked.insert(owner);
    }

    /// The socket takes more: whose packets waited for that.
    pub(super) fn unblock(&mut self) -> BTreeSet<ConnectionId> {
        std::mem::take(&mut self.blocked)
    }
}

fn promote(claims: &mut [Claim], id: SocketId) {
    if let Some(at) = claims.iter().position(|claim| claim.id == id) {
        claims.swap(0, at);
    }
}

/// The transaction of a request that is about to be sent: our own, so that its form is not in question.
fn request_transaction(datagram: &[u8]) -> Option<TransactionId> {
    let header = datagram.first_chunk::<HEADER_LEN>()?;
    let [first, second, ..] = *header;
    // The two bits of the class, both zero in a request (RFC 8489 section 5).
    if first > 3 || first & 0x01 != 0 || second & 0x10 != 0 {
        return None;
    }
    header.last_chunk().map(|id| TransactionId::from_bytes(*id))
}

#[cfg(test)]
#[path = "udp_mux_tests.rs"]
mod tests;
