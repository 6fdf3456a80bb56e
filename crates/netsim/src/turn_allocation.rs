//! One allocation of the TURN server: permissions, channels, lifetimes (RFC 8656 sections 6, 9 and 12).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_stun::TransactionId;

/// RFC 8656 section 9.
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// RFC 8656 section 12.
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) relayed: SocketAddr,
    pub(crate) username: String,
    /// The Allocate request that made it, whose retransmissions get the same answer.
    pub(crate) made_by: TransactionId,
    pub(crate) expires: Instant,
    permissions: BTreeMap<IpAddr, Instant>,
    channels: BTreeMap<u16, (SocketAddr, Instant)>,
}

impl Allocation {
    pub(crate) fn new(
        relayed: SocketAddr,
        username: String,
        made_by: TransactionId,
        expires: Instant,
    ) -> Self {
        let (permissions, channels) = (BTreeMap::new(), BTreeMap::new());
        Self { relayed, username, made_by, expires, permissions, channels }
    }

    pub(crate) fn permit(&mut self, now: Instant, peer: IpAddr) {
        self.permissions.insert(peer, now + PERMISSION_LIFETIME);
    }

    pub(crate) fn is_permitted(&self, now: Instant, peer: IpAddr) -> bool {
        self.permissions.get(&peer).is_some_and(|until| *until > now)
    }

    /// Binds a channel, or refreshes it; `false` if the number or the peer is bound otherwise.
    pub(crate) fn bind(&mut self, now: Instant, channel: u16, peer: SocketAddr) -> bool {
        self.channels.retain(|_, (_, until)| *until > now);
        let conflict = self.channels.iter().any(|(number, (to, _))| (*number == channel) != (*to == peer));
        if conflict {
            return false;
        }
        self.channels.insert(channel, (peer, now + CHANNEL_LIFETIME));
        self.permit(now, peer.ip());
        true
    }

    pub(crate) fn peer_of(&self, now: Instant, channel: u16) -> Option<SocketAddr> {
        self.channels.get(&channel).filter(|(_, until)| *until > now).map(|(peer, _)| *peer)
    }

    pub(crate) fn channel_of(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let mut bound = self.channels.iter().filter(|(_, (to, until))| *to == peer && *until > now);
        bound.next().map(|(number, _)| *number)
    }
}
