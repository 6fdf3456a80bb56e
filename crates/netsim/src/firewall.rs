//! Firewalls: routers that let only some packets cross between their inside and their outside.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Link;
use crate::lab::Shared;
use crate::packet::{DropReason, Packet, Transport};
use crate::router::{Router, Segment};
use crate::world::NodeId;

/// What may cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirewallPolicy {
    /// Everything.
    AllowAll,
    /// No UDP, either way.
    BlockUdp,
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
        match self.policy {
            FirewallPolicy::BlockUdp if packet.transport == Transport::Udp => Err(DropReason::Firewall),
            FirewallPolicy::RepliesOnly { .. } => {
                self.flows.insert((packet.transport, packet.source, packet.destination), now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn inbound(&mut self, now: Instant, packet: &Packet) -> Result<(), DropReason> {
        match self.policy {
            FirewallPolicy::BlockUdp if packet.transport == Transport::Udp => Err(DropReason::Firewall),
            FirewallPolicy::RepliesOnly { lifetime } => {
                let alive = |at: &Instant| now.saturating_duration_since(*at) < lifetime;
                let flow = (packet.transport, packet.destination, packet.source);
                if self.flows.get(&flow).is_some_and(alive) { Ok(()) } else { Err(DropReason::Firewall) }
            }
            _ => Ok(()),
        }
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
