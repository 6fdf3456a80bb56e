//! Permissions, by address, and channels, by address and port, of one allocation (RFC 8656 sections 9 and
//! 12). Owned by a `TurnPort` on the network task; answers to libwebrtc's `TurnEntry` in
//! `p2p/base/turn_port.cc`.

use std::collections::btree_map;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_stun::{MAX_CHANNEL, is_channel_number};

use super::allocation::TurnRequest;
use super::{TurnPort, TurnPortState};
use crate::p2p_constants::MAX_CONNECTIONS;
use crate::port::{PortEvent, PortIo};

/// How long a permission lives (RFC 8656 section 9).
const TURN_PERMISSION_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Permissions and channels are refreshed after this long (T13).
const TURN_PERMISSION_REFRESH: Duration = Duration::from_secs(4 * 60);
/// How long a channel lives (RFC 8656 section 12); after as long again without a permission its number may be
/// used for another peer.
const TURN_CHANNEL_TIMEOUT: Duration = Duration::from_secs(10 * 60 + 5 * 60);

/// Leave to receive from an address.
#[derive(Debug)]
pub(super) struct Permission {
    /// When to refresh it, or, without a connection to this address, to forget it.
    due: Instant,
    granted: bool,
}

impl Permission {
    pub(super) fn due(&self) -> Instant {
        self.due
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChannelState {
    Unbound,
    Binding(u16),
    Bound(u16),
    /// The server refuses: Send indications will do (U09).
    Refused,
}

/// What is known of a peer's transport address.
#[derive(Debug)]
pub(super) struct TurnEntry {
    channel: ChannelState,
    /// When to refresh the channel, or, without a connection, to forget the entry.
    due: Option<Instant>,
}

impl TurnEntry {
    /// The channel, bound or about to be: the server may use it before its response is here.
    pub(super) fn channel(&self) -> Option<u16> {
        match self.channel {
            ChannelState::Binding(number) | ChannelState::Bound(number) => Some(number),
            ChannelState::Unbound | ChannelState::Refused => None,
        }
    }

    pub(super) fn bound_channel(&self) -> Option<u16> {
        match self.channel {
            ChannelState::Bound(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn unbind(&mut self) {
        (self.channel, self.due) = (ChannelState::Unbound, None);
    }
}

impl TurnPort {
    /// The allocation is gone, and with it its permissions and channels.
    pub(super) fn forget_entries(&mut self, io: &mut PortIo<'_>) {
        self.permissions.clear();
        let connections = &self.base.connections;
        self.entries.retain(|peer, _| connections.contains_key(peer));
        self.entries.values_mut().for_each(TurnEntry::unbind);
        self.tell_routes(io);
    }

    /// There is an allocation again: the peers of all connections need their permissions.
    pub(super) fn renew_entries(&mut self, now: Instant, io: &mut PortIo<'_>) {
        let peers: Vec<SocketAddr> = self.base.connections.keys().copied().collect();
        for peer in peers {
            self.create_or_refresh_entry(now, peer, io);
        }
        self.tell_routes(io);
    }

    fn tell_routes(&self, io: &mut PortIo<'_>) {
        for peer in self.base.connections.keys() {
            io.events.emit(PortEvent::RouteChange(self.base.id, *peer));
        }
    }

    /// A connection to this peer was made: it needs a permission (libwebrtc `CreateOrRefreshEntry`).
    pub(crate) fn create_or_refresh_entry(&mut self, now: Instant, peer: SocketAddr, io: &mut PortIo<'_>) {
        if self.entries.len() >= 2 * MAX_CONNECTIONS {
            return;
        }
        let unbound = TurnEntry { channel: ChannelState::Unbound, due: None };
        self.entries.entry(peer).or_insert(unbound);
        if let btree_map::Entry::Vacant(vacant) = self.permissions.entry(peer.ip()) {
            vacant.insert(Permission { due: now + TURN_PERMISSION_TIMEOUT, granted: false });
            self.send_request(now, TurnRequest::create_permission(peer), io);
        }
    }

    /// Data goes to this peer: a channel makes its packets shorter (RFC 8656 section 12). Does nothing if one
    /// is bound, or about to be.
    pub(crate) fn bind_channel(&mut self, now: Instant, peer: SocketAddr, io: &mut PortIo<'_>) {
        let ready = self.state == TurnPortState::Ready;
        let Some(entry) = self.entries.get_mut(&peer).filter(|_| ready) else { return };
        if entry.channel != ChannelState::Unbound || !is_channel_number(self.next_channel) {
            return;
        }
        let number = self.next_channel;
        // Numbers are not used again while the allocation lives, so that none is ever bound to two peers.
        self.next_channel = if number == MAX_CHANNEL { 0 } else { number + 1 };
        entry.channel = ChannelState::Binding(number);
        self.send_request(now, TurnRequest::channel_bind(peer, number), io);
    }

    fn has_connection_to(&self, peer: SocketAddr) -> bool {
        self.base.connections.contains_key(&peer)
    }

    fn has_connection_to_ip(&self, ip: IpAddr) -> bool {
        self.base.connections.keys().any(|peer| peer.ip() == ip)
    }

    /// Refreshes what connections use, forgets the rest.
    pub(super) fn refresh_entries(&mut self, now: Instant, io: &mut PortIo<'_>) {
        let due: Vec<IpAddr> = self
            .permissions
            .iter()
            .filter(|(_, permission)| permission.due <= now)
            .map(|(ip, _)| *ip)
            .collect();
        for ip in due {
            let peer = self.base.connections.keys().find(|peer| peer.ip() == ip).copied();
            match (peer, self.permissions.get_mut(&ip)) {
                (Some(peer), Some(permission)) => {
                    permission.due = now + TURN_PERMISSION_TIMEOUT;
                    self.send_request(now, TurnRequest::create_permission(peer), io);
                }
                _ => {
                    self.permissions.remove(&ip);
                    self.entries.retain(|peer, entry| peer.ip() != ip || entry.due.is_some());
                }
            }
        }
        let due: Vec<SocketAddr> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.due.is_some_and(|at| at <= now))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            let used = self.has_connection_to(peer);
            let Some(entry) = self.entries.get_mut(&peer) else { continue };
            match entry.channel {
                ChannelState::Bound(number) if used => {
                    entry.due = None;
                    self.send_request(now, TurnRequest::channel_bind(peer, number), io);
                }
                _ if used => entry.due = None,
                _ => {
                    self.entries.remove(&peer);
                }
            }
        }
    }

    pub(super) fn on_create_permission_success(&mut self, now: Instant, ip: IpAddr) {
        let used = self.has_connection_to_ip(ip);
        if let Some(permission) = self.permissions.get_mut(&ip) {
            permission.granted = true;
            permission.due = now + if used { TURN_PERMISSION_REFRESH } else { TURN_PERMISSION_TIMEOUT };
        }
    }

    /// Without a permission nothing comes back: the pairs with this address have failed (U08).
    pub(super) fn on_create_permission_error(&mut self, ip: IpAddr, io: &mut PortIo<'_>) {
        tracing::debug!(target: "peerstack::ice::turn", %ip, "no permission");
        self.permissions.remove(&ip);
        for peer in self.base.connections.keys().filter(|peer| peer.ip() == ip) {
            io.events.emit(PortEvent::PeerUnreachable(self.base.id, *peer));
        }
    }

    pub(super) fn on_channel_bind_success(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        number: u16,
        io: &mut PortIo<'_>,
    ) {
        let used = self.has_connection_to(peer);
        let Some(entry) = self.entries.get_mut(&peer) else { return };
        if entry.channel() != Some(number) {
            return;
        }
        entry.channel = ChannelState::Bound(number);
        entry.due = Some(now + if used { TURN_PERMISSION_REFRESH } else { TURN_CHANNEL_TIMEOUT });
        io.events.emit(PortEvent::RouteChange(self.base.id, peer));
    }

    /// Send indications do what the channel did not (U09).
    pub(super) fn on_channel_bind_error(&mut self, peer: SocketAddr, io: &mut PortIo<'_>) {
        tracing::debug!(target: "peerstack::ice::turn", %peer, "no channel");
        if let Some(entry) = self.entries.get_mut(&peer) {
            entry.channel = ChannelState::Refused;
            entry.due = None;
            io.events.emit(PortEvent::RouteChange(self.base.id, peer));
        }
    }

    /// Whether the server granted the permission.
    #[cfg(test)]
    pub(super) fn has_permission(&self, ip: IpAddr) -> bool {
        self.permissions.get(&ip).is_some_and(|permission| permission.granted)
    }
}
