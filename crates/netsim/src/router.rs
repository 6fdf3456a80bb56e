//! Routers: networks that hosts and further routers are attached to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::firewall::FirewallState;
use crate::lab::Shared;
use crate::link::Link;
use crate::nat::NatState;
use crate::packet::Packet;
use crate::world::{LinkId, NodeId};

/// What hosts and routers can be attached to: the inside of a [`Router`], [`Nat`](crate::Nat) or
/// [`Firewall`](crate::Firewall).
pub trait Segment {
    /// The router whose inside this is.
    fn as_router(&self) -> Router;
}

#[derive(Debug)]
pub(crate) enum RouterKind {
    Plain,
    Nat(NatState),
    Firewall(FirewallState),
}

#[derive(Debug)]
pub(crate) struct RouterState {
    pub(crate) name: Arc<str>,
    pub(crate) uplink: Option<LinkId>,
    pub(crate) table: BTreeMap<IpAddr, LinkId>,
    pub(crate) kind: RouterKind,
}

/// A router without opinions. The lab's root, [`Lab::internet`](crate::Lab::internet), is one.
#[derive(Debug, Clone)]
pub struct Router {
    pub(crate) shared: Shared,
    pub(crate) node: NodeId,
}

impl Router {
    /// The link to the network outside; `None` for the root.
    pub fn uplink(&self) -> Option<Link> {
        let id = self.shared.with(|world| world.router(self.node).and_then(|router| router.uplink))?;
        Some(Link { shared: self.shared.clone(), id })
    }

    /// For kinds that always have one.
    #[expect(clippy::expect_used, reason = "NATs and firewalls are only made with an uplink")]
    pub(crate) fn uplink_of_inner(&self) -> Link {
        self.uplink().expect("an inner router has an uplink")
    }

    /// Puts a packet, with whatever source it claims, into this router as if it came from outside; it is
    /// routed from here (through a NAT's or firewall's rules if this is one).
    pub fn inject(&self, packet: Packet) {
        self.shared.with(|world| world.forward(self.node, None, packet));
    }
}

impl Segment for Router {
    fn as_router(&self) -> Router {
        self.clone()
    }
}
