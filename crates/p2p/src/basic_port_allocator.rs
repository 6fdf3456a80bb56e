//! Gathering: the allocator, which knows networks and servers, and its sessions, one for each ICE generation.
//! Owned by the `P2PTransportChannel` on the network task. Answers to libwebrtc's
//! `p2p/client/basic_port_allocator.h`.

mod candidate_filter;
mod regathering;
mod session;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use peerstack_base::{AdapterType, Network, PacketSocketFactory};
use peerstack_stun::{Scheme, ServerUrl};

pub(crate) use self::candidate_filter::{hide_related_address, sanitize_related_address};
pub(crate) use self::regathering::is_same;
pub(crate) use self::session::{BasicPortAllocatorSession, SessionConfig, SessionIo};
use crate::port::PortId;
use crate::port_allocator::PortAllocatorConfig;
use crate::turn_port::{RelayProtocol, RelayServer};

/// Knows networks, servers and how to make sockets; makes sessions.
#[derive(Debug)]
pub(crate) struct BasicPortAllocator {
    pub(crate) config: PortAllocatorConfig,
    networks: Vec<Network>,
    factory: Box<dyn PacketSocketFactory>,
    next_port: u32,
}

impl BasicPortAllocator {
    pub(crate) fn new(
        config: PortAllocatorConfig,
        networks: Vec<Network>,
        factory: Box<dyn PacketSocketFactory>,
    ) -> Self {
        Self { config, networks, factory, next_port: 0 }
    }

    /// The networks that are listed.
    pub(crate) fn networks(&self) -> &[Network] {
        &self.networks
    }

    pub(crate) fn set_networks(&mut self, networks: Vec<Network>) {
        self.networks = networks;
    }

    /// The networks that are used (libwebrtc `BasicPortAllocatorSession::GetNetworks`).
    pub(crate) fn usable_networks(&self) -> Vec<Network> {
        if self.networks.is_empty() || !self.config.adapter_enumeration {
            return any_address_networks();
        }
        let mut networks: Vec<Network> =
            self.networks.iter().filter_map(|network| self.usable_part(network)).collect();
        if self.config.disable_costly_networks {
            // Link-local networks do not displace others (G04).
            let lowest = networks
                .iter()
                .filter(|network| !network.best_ip().is_some_and(is_link_local))
                .map(Network::cost)
                .min();
            if let Some(lowest) = lowest {
                networks.retain(|network| network.cost() <= lowest.saturating_add(100));
            }
        }
        self.limit_ipv6(&mut networks);
        networks
    }

    fn usable_part(&self, network: &Network) -> Option<Network> {
        let ignored = self.config.network_ignore_mask.contains(&network.adapter_type);
        let ips: Vec<IpAddr> = network
            .ips
            .iter()
            .copied()
            .filter(|ip| {
                let loopback = network.adapter_type == AdapterType::Loopback || ip.is_loopback();
                // Link-local IPv6 needs a scope, which candidates cannot carry.
                let scoped = ip.is_ipv6() && is_link_local(*ip);
                (!loopback || self.config.allow_loopback) && !scoped && !ip.is_multicast()
            })
            .collect();
        (!ignored && !ips.is_empty()).then(|| Network { ips, ..network.clone() })
    }

    /// Keeps at most `max_ipv6_networks` of IPv6, spread over kinds of adapters (G05).
    fn limit_ipv6(&self, networks: &mut Vec<Network>) {
        let is_v6 = |network: &Network| network.best_ip().is_some_and(|ip| ip.is_ipv6());
        let mut left: Vec<usize> =
            (0..networks.len()).filter(|index| networks.get(*index).is_some_and(is_v6)).collect();
        if left.len() <= self.config.max_ipv6_networks {
            return;
        }
        let mut kept: Vec<usize> = Vec::new();
        while kept.len() < self.config.max_ipv6_networks && !left.is_empty() {
            // One of each kind in turn, best first.
            let mut kinds: Vec<AdapterType> = Vec::new();
            left.retain(|index| {
                let Some(kind) = networks.get(*index).map(|network| network.adapter_type) else {
                    return false;
                };
                if kinds.contains(&kind) || kept.len() >= self.config.max_ipv6_networks {
                    return true;
                }
                kinds.push(kind);
                kept.push(*index);
                false
            });
        }
        let mut index = 0;
        networks.retain(|network| {
            let keep = !is_v6(network) || kept.contains(&index);
            index += 1;
            keep
        });
    }

    fn stun_servers(&self) -> Vec<ServerUrl> {
        let urls = self.config.ice_servers.iter().flat_map(|server| &server.urls);
        let mut servers: Vec<ServerUrl> = Vec::new();
        for url in urls.filter(|url| url.scheme == Scheme::Stun) {
            if !servers.contains(url) {
                servers.push(url.clone());
            }
        }
        servers
    }

    /// TURN servers over UDP are asked for the mapped address too, from the socket they share; those over TCP
    /// are not, since they are there to hide it (G20).
    fn turn_servers_as_stun_servers(&self) -> Vec<ServerUrl> {
        let known = self.stun_servers();
        let mut servers: Vec<ServerUrl> = Vec::new();
        for server in self.relay_servers().filter(|server| server.protocol == RelayProtocol::Udp) {
            let same = |url: &ServerUrl| url.host == server.url.host && url.port == server.url.port;
            if !known.iter().any(same) && !servers.iter().any(same) {
                servers.push(server.url);
            }
        }
        servers
    }

    /// TURN servers, the first configured most preferred (G23).
    fn relay_servers(&self) -> impl Iterator<Item = RelayServer> {
        let servers = self.config.ice_servers.iter().flat_map(|server| {
            let protocols = server.urls.iter().map(|url| (url, RelayProtocol::of(url)));
            protocols.filter_map(move |(url, protocol)| Some((server, url, protocol?)))
        });
        let count = servers.clone().count();
        servers.enumerate().map(move |(index, (server, url, protocol))| RelayServer {
            url: url.clone(),
            protocol,
            username: server.username.clone(),
            password: server.password.clone(),
            preference: u16::try_from(count - 1 - index).unwrap_or(u16::MAX),
        })
    }

    /// Servers of schemes that are not spoken: STUN and TURN over DTLS, STUN over TLS.
    fn unsupported_servers(&self) -> impl Iterator<Item = &ServerUrl> {
        let urls = self.config.ice_servers.iter().flat_map(|server| &server.urls);
        urls.filter(|url| url.scheme != Scheme::Stun && RelayProtocol::of(url).is_none())
    }

    fn has_relays(&self) -> bool {
        self.unsupported_servers().next().is_some() || self.relay_servers().next().is_some()
    }

    /// What a port bound to this address says it has, if that is not the address itself (G10).
    fn default_local_address(&mut self, bound: IpAddr) -> Option<IpAddr> {
        let hides = self.config.adapter_enumeration || !self.config.default_local_candidate;
        if hides || !bound.is_unspecified() {
            return None;
        }
        self.factory.default_local_address(bound.is_ipv4())
    }

    fn next_port_id(&mut self) -> PortId {
        let id = PortId(self.next_port);
        self.next_port += 1;
        id
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// What to bind to when interfaces cannot be listed (G09).
fn any_address_networks() -> Vec<Network> {
    let network = |ip: IpAddr| Network {
        name: "any".to_owned(),
        adapter_type: AdapterType::Any,
        prefix_len: 0,
        ips: vec![ip],
        id: 0,
        preference: 127,
    };
    vec![network(Ipv4Addr::UNSPECIFIED.into()), network(Ipv6Addr::UNSPECIFIED.into())]
}

#[cfg(test)]
mod tests;
