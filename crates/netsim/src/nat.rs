//! NATs by their behaviours (RFC 4787): mapping, filtering, port assignment, hairpinning, lifetime.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerstack_base::Random;

use crate::lab::Shared;
use crate::packet::{DropReason, Transport};
use crate::router::{Router, Segment};
use crate::world::NodeId;
use crate::{Lab, Link};

/// What a mapping or a filter depends on besides the internal endpoint (RFC 4787 sections 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NatBehaviour {
    /// Nothing.
    EndpointIndependent,
    /// The remote address.
    AddressDependent,
    /// The remote address and port.
    AddressAndPortDependent,
}

/// How external ports are chosen (RFC 4787 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortAssignment {
    /// The internal port where it is free, else the next free one.
    Preserving,
    /// Any of 1024 to 65535, drawn from the lab's seed.
    Random,
    /// The next free one upwards from 1024.
    Sequential,
}

/// A NAT's behaviour. The constructors give the classic four (RFC 3489 section 5), with port preservation but
/// for the symmetric one, without hairpinning, and a lifetime of two minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatConfig {
    /// When an internal endpoint gets the same external one for another destination.
    pub mapping: NatBehaviour,
    /// From where a mapped endpoint may be reached.
    pub filtering: NatBehaviour,
    /// How external ports are chosen.
    pub ports: PortAssignment,
    /// Whether inside hosts reach each other by external addresses (RFC 4787 section 6); the source they see
    /// is the external one.
    pub hairpinning: bool,
    /// How long a mapping, and a filter's permission, lives after the last packet that refreshed it.
    pub lifetime: Duration,
    /// The internal address that has the external one for itself: what comes to a port without a mapping goes to
    /// the same port of it, from wherever it comes.
    pub one_to_one: Option<IpAddr>,
    /// Whether packets from outside refresh too (RFC 4787 section 4.3 allows both); those from inside always do.
    pub inbound_refresh: bool,
}

impl NatConfig {
    fn classic(mapping: NatBehaviour, filtering: NatBehaviour, ports: PortAssignment) -> Self {
        Self {
            mapping,
            filtering,
            ports,
            hairpinning: false,
            lifetime: Duration::from_secs(120),
            one_to_one: None,
            inbound_refresh: false,
        }
    }

    /// Endpoint-independent mapping and filtering.
    pub fn full_cone() -> Self {
        use NatBehaviour::EndpointIndependent;
        Self::classic(EndpointIndependent, EndpointIndependent, PortAssignment::Preserving)
    }

    /// Endpoint-independent mapping, address-dependent filtering.
    pub fn address_restricted() -> Self {
        use NatBehaviour::{AddressDependent, EndpointIndependent};
        Self::classic(EndpointIndependent, AddressDependent, PortAssignment::Preserving)
    }

    /// Endpoint-independent mapping, address-and-port-dependent filtering.
    pub fn port_restricted() -> Self {
        use NatBehaviour::{AddressAndPortDependent, EndpointIndependent};
        Self::classic(EndpointIndependent, AddressAndPortDependent, PortAssignment::Preserving)
    }

    /// Mapping and filtering depend on address and port; ports are random.
    pub fn symmetric() -> Self {
        use NatBehaviour::AddressAndPortDependent;
        Self::classic(AddressAndPortDependent, AddressAndPortDependent, PortAssignment::Random)
    }

    /// An external address for one internal one, with the same ports and no filter, as clouds have it.
    pub fn one_to_one(internal: impl Into<IpAddr>) -> Self {
        Self { one_to_one: Some(internal.into()), ..Self::full_cone() }
    }

    /// With hairpinning.
    pub fn with_hairpinning(self) -> Self {
        Self { hairpinning: true, ..self }
    }

    /// With this lifetime.
    pub fn with_lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// With this choice of ports.
    pub fn with_ports(self, ports: PortAssignment) -> Self {
        Self { ports, ..self }
    }
}

/// The part of a remote endpoint that a behaviour looks at.
fn key(behaviour: NatBehaviour, remote: SocketAddr) -> Option<(IpAddr, u16)> {
    match behaviour {
        NatBehaviour::EndpointIndependent => None,
        NatBehaviour::AddressDependent => Some((remote.ip(), 0)),
        NatBehaviour::AddressAndPortDependent => Some((remote.ip(), remote.port())),
    }
}

#[derive(Debug)]
struct Mapping {
    transport: Transport,
    internal: SocketAddr,
    external: SocketAddr,
    /// What of the remote endpoint the mapping depends on.
    key: Option<(IpAddr, u16)>,
    refreshed: Instant,
    /// Remote endpoints sent to, and when last: what filtering looks at.
    permissions: BTreeMap<SocketAddr, Instant>,
}

#[derive(Debug)]
pub(crate) struct NatState {
    pub(crate) config: NatConfig,
    pub(crate) external: Vec<IpAddr>,
    mappings: Vec<Mapping>,
    /// Ports of mappings forgotten on command, not used again so that a rebinding shows.
    retired: BTreeSet<SocketAddr>,
    random: Random,
}

impl NatState {
    pub(crate) fn new(config: NatConfig, external: Vec<IpAddr>, random: Random) -> Self {
        Self { config, external, mappings: Vec::new(), retired: BTreeSet::new(), random }
    }

    /// Whether addresses of this family are translated; others are routed as they are.
    pub(crate) fn translates(&self, address: IpAddr) -> bool {
        self.external.iter().any(|external| external.is_ipv4() == address.is_ipv4())
    }

    pub(crate) fn is_external(&self, address: IpAddr) -> bool {
        self.external.contains(&address)
    }

    fn expire(&mut self, now: Instant) {
        let lifetime = self.config.lifetime;
        let alive = |at: Instant| now.saturating_duration_since(at) < lifetime;
        for mapping in &mut self.mappings {
            mapping.permissions.retain(|_, at| alive(*at));
        }
        self.mappings.retain(|mapping| alive(mapping.refreshed));
    }

    /// The external endpoint of a packet going out, mapped if it was not.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        transport: Transport,
        internal: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, DropReason> {
        self.expire(now);
        let key = key(self.config.mapping, remote);
        let same = |m: &&mut Mapping| m.transport == transport && m.internal == internal && m.key == key;
        if let Some(mapping) = self.mappings.iter_mut().find(same) {
            mapping.refreshed = now;
            mapping.permissions.insert(remote, now);
            return Ok(mapping.external);
        }
        let external = self.assign(transport, internal).ok_or(DropReason::NatNoPort)?;
        self.mappings.push(Mapping {
            transport,
            internal,
            external,
            key,
            refreshed: now,
            permissions: BTreeMap::from([(remote, now)]),
        });
        Ok(external)
    }

    fn assign(&mut self, transport: Transport, internal: SocketAddr) -> Option<SocketAddr> {
        let ip = *self.external.iter().find(|ip| ip.is_ipv4() == internal.is_ipv4())?;
        let first = match self.config.ports {
            PortAssignment::Preserving => internal.port().max(1024),
            PortAssignment::Random => 1024 + self.random.below(64_512) as u16,
            PortAssignment::Sequential => 1024,
        };
        let free = |external: &SocketAddr| {
            let taken = |m: &Mapping| m.transport == transport && m.external == *external;
            !self.retired.contains(external) && !self.mappings.iter().any(taken)
        };
        (first..=u16::MAX).chain(1024..first).map(|port| SocketAddr::new(ip, port)).find(free)
    }

    /// The internal endpoint of a packet from `remote` to an external endpoint.
    pub(crate) fn inbound(
        &mut self,
        now: Instant,
        transport: Transport,
        external: SocketAddr,
        remote: SocketAddr,
    ) -> Result<SocketAddr, DropReason> {
        self.expire(now);
        let (filtering, refresh) = (self.config.filtering, self.config.inbound_refresh);
        let same = |m: &&mut Mapping| m.transport == transport && m.external == external;
        let Some(mapping) = self.mappings.iter_mut().find(same) else {
            let of_family = self.config.one_to_one.filter(|ip| ip.is_ipv4() == external.is_ipv4());
            let internal = of_family.ok_or(DropReason::NatNoMapping)?;
            return Ok(SocketAddr::new(internal, external.port()));
        };
        let wanted = key(filtering, remote);
        let mut permitted = mapping.permissions.keys().map(|peer| key(filtering, *peer));
        // RFC 4787 section 5: endpoint-independent filtering asks for no packet to this remote before.
        if filtering != NatBehaviour::EndpointIndependent && !permitted.any(|peer| peer == wanted) {
            return Err(DropReason::NatFilter);
        }
        if refresh {
            mapping.refreshed = now;
            let same = |(peer, _): &(&SocketAddr, &mut Instant)| key(filtering, **peer) == wanted;
            mapping.permissions.iter_mut().filter(same).for_each(|(_, at)| *at = now);
        }
        Ok(mapping.internal)
    }

    fn forget(&mut self, retire: bool) {
        if retire {
            self.retired.extend(self.mappings.iter().map(|mapping| mapping.external));
        }
        self.mappings.clear();
    }
}

/// A NAT: a network inside, an address outside. NATs nest by being each other's outside. Address families of
/// which it has no external address are routed through unchanged.
#[derive(Debug, Clone)]
pub struct Nat {
    pub(crate) shared: Shared,
    pub(crate) node: NodeId,
}

impl Nat {
    /// A NAT of this behaviour whose external address stands in `outside`.
    pub fn new(name: &str, outside: &impl Segment, external: impl Into<IpAddr>, config: NatConfig) -> Self {
        let outside = outside.as_router();
        let lab = Lab { shared: outside.shared.clone() };
        lab.nat(name, &outside, &[external.into()], config)
    }

    /// See [`NatConfig::full_cone`].
    pub fn full_cone(name: &str, outside: &impl Segment, external: impl Into<IpAddr>) -> Self {
        Self::new(name, outside, external, NatConfig::full_cone())
    }

    /// See [`NatConfig::address_restricted`].
    pub fn address_restricted(name: &str, outside: &impl Segment, external: impl Into<IpAddr>) -> Self {
        Self::new(name, outside, external, NatConfig::address_restricted())
    }

    /// See [`NatConfig::port_restricted`].
    pub fn port_restricted(name: &str, outside: &impl Segment, external: impl Into<IpAddr>) -> Self {
        Self::new(name, outside, external, NatConfig::port_restricted())
    }

    /// See [`NatConfig::symmetric`].
    pub fn symmetric(name: &str, outside: &impl Segment, external: impl Into<IpAddr>) -> Self {
        Self::new(name, outside, external, NatConfig::symmetric())
    }

    fn with<R>(&self, f: impl FnOnce(&mut NatState) -> R) -> Option<R> {
        self.shared.with(|world| world.nat_mut(self.node).map(f))
    }

    /// Changes its behaviour; mappings stay.
    pub fn configure(&self, config: NatConfig) {
        self.with(|nat| nat.config = config);
    }

    /// Rebinds: all mappings are forgotten, and the next packet out of each endpoint gets an external port that
    /// was not used before. What a restart or an expiry in mid-call looks like from outside.
    pub fn rebind(&self) {
        self.with(|nat| nat.forget(true));
    }

    /// Forgets all mappings; the same external ports may be assigned again.
    pub fn forget_mappings(&self) {
        self.with(|nat| nat.forget(false));
    }

    /// Moves to other external addresses, as after a reconnection of the access line; mappings are forgotten.
    pub fn rebind_to(&self, external: &[IpAddr]) {
        self.shared.with(|world| world.move_nat(self.node, external));
        self.with(|nat| nat.forget(false));
    }

    /// The external addresses.
    pub fn external(&self) -> Vec<IpAddr> {
        self.with(|nat| nat.external.clone()).unwrap_or_default()
    }

    /// The mappings that live now: internal and external endpoint, in order of their making.
    pub fn mappings(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.shared.with(|world| {
            let now = world.now;
            let nat = world.nat_mut(self.node);
            nat.map_or(Vec::new(), |nat| {
                nat.expire(now);
                nat.mappings.iter().map(|mapping| (mapping.internal, mapping.external)).collect()
            })
        })
    }

    /// The link to the network outside.
    pub fn link(&self) -> Link {
        self.as_router().uplink_of_inner()
    }
}

impl Segment for Nat {
    fn as_router(&self) -> Router {
        Router { shared: self.shared.clone(), node: self.node }
    }
}
