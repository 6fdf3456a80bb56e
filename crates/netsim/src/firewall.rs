//! Firewalls: routers that let only some packets cross between their inside and their outside.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Link;
use crate::lab::Shared;
use crate::packet::{DropReason, Packet, Transport};
use crate::router::{Router, Segment};
use crate::world::NodeId;

/// How long an idle TCP connection is remembered (RFC 5382 section 5).
const TCP_IDLE: Duration = Duration::from_secs(2 * 3600 + 240);

/// What may cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirewallPolicy {
    /// Everything.
    AllowAll,
    /// No UDP, either way.
    BlockUdp,
    /// No UDP, either way, and no TCP connection from outside.
    BlockUdpAndIncomingTcp,
    /// Nothing but TCP connections from inside to ports 80 and 443.
    OutgoingHttpOnly,
    /// A packet from outside only as a reply: the inside endpoint sent to exactly that remote endpoint within
    /// `lifetime` (what libwebrtc's tests call a symmetric UDP firewall).
    RepliesOnly {
        /// How long a packet out lets replies in.
        lifetime: Duration,
    },
}

impl FirewallPolicy {
    /// Replies only, for two minutes.
    pub fn replies_only() -> Self {
        Self::RepliesOnly { lifetime: Duration::from_secs(120) }
    }
}

#[derive(Debug)]
pub(crate) struct FirewallState {
    pub(crate) policy: FirewallPolicy,
    /// When (inside, outside) last sent outwards.
    flows: BTreeMap<(Transport, SocketAddr, SocketAddr), Instant>,
}

impl FirewallState {
    pub(crate) fn new(policy: FirewallPolicy) -> Self {
        Self { policy, flows: BTreeMap::new() }
    }

    pub(crate) fn outbound(&mut self, now: Instant, packet: &Packet) -> Result<(), DropReason> {
        let udp = packet.transport == Transport::Udp;
        let http = matches!(packet.destination.port(), 80 | 443);
        match self.policy {
            FirewallPolicy::AllowAll => Ok(()),
            FirewallPolicy::BlockUdp | FirewallPolicy::BlockUdpAndIncomingTcp if udp => {
                Err(DropReason::Firewall)
            }
            FirewallPolicy::BlockUdp => Ok(()),
            FirewallPolicy::OutgoingHttpOnly if udp || !http => Err(DropReason::Firewall),
            _ => {
                self.flows.insert((packet.transport, packet.source, packet.destination), now);
                Ok(())
            }
        }
    }

    pub(crate) fn inbound(&mut self, now: Instant, packet: &Packet) -> Result<(), DropReason> {
        let udp = packet.transport == Transport::Udp;
        let lifetime = match self.policy {
            FirewallPolicy::AllowAll => return Ok(()),
            _ if udp && !matches!(self.policy, FirewallPolicy::RepliesOnly { .. }) => {
                return Err(DropReason::Firewall);
            }
            FirewallPolicy::BlockUdp => return Ok(()),
            FirewallPolicy::RepliesOnly { lifetime } => lifetime,
            // What keeps state by connection forgets an idle one after hours.
            FirewallPolicy::BlockUdpAndIncomingTcp | FirewallPolicy::OutgoingHttpOnly => TCP_IDLE,
        };
        let flow = (packet.transport, packet.destination, packet.source);
        let alive = |at: &Instant| now.saturating_duration_since(*at) < lifetime;
        if self.flows.get(&flow).is_some_and(alive) { Ok(()) } else { Err(DropReason::Firewall) }
    }
}

/// A firewall: a network inside, its addresses reachable from outside as its policy says.
#[derive(Debug, Clone)]
pub struct Firewall {
    pub(crate) shared: Shared,
    pub(crate) node: NodeId,
}

impl Firewall {
    /// Changes the policy; flows let through before are forgotten.
    pub fn set_policy(&self, policy: FirewallPolicy) {
        self.shared.with(|world| world.set_firewall(self.node, FirewallState::new(policy)));
    }

    /// The link to the network outside.
    pub fn link(&self) -> Link {
        self.as_router().uplink_of_inner()
    }
}

impl Segment for Firewall {
    fn as_router(&self) -> Router {
        Router { shared: self.shared.clone(), node: self.node }
    }
}
