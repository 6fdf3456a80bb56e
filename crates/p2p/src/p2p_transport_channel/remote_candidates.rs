//! The peer's parameters and candidates, and the connections made of them. Answers to `AddRemoteCandidate`,
//! `CreateConnections` and `SetRemoteIceParameters` of libwebrtc's `p2p/base/p2p_transport_channel.cc`; runs
//! on the network task.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use peerstack_base::{IoRequest, ResolveId};

use super::P2PTransportChannel;
use crate::connection::{Connection, ConnectionId, NewConnection};
use crate::p2p_constants::{MAX_CONNECTIONS, MAX_PENDING_RESOLUTIONS, MAX_REMOTE_CANDIDATES};
use crate::port::{Port, PortId, PortState};
use crate::{Candidate, CandidateAddress, CandidateFilter, IceMode, IceParameters, IceSwitchReason};

/// A candidate of the peer that ports to come are paired with.
#[derive(Debug, Clone)]
pub(super) struct RemoteCandidate {
    pub(super) candidate: Candidate,
    /// Its address came out of a look-up: a relay shall not learn it (C31).
    pub(super) resolved: bool,
}

/// A candidate whose name is being looked up.
#[derive(Debug)]
pub(super) struct PendingResolution {
    pub(super) candidate: Candidate,
}

impl P2PTransportChannel {
    /// The generation that the peer's parameters of now have.
    fn remote_generation(&self) -> u32 {
        self.remote_ice_parameters.len().saturating_sub(1) as u32
    }

    /// The password and generation of a user fragment of the peer. An unknown one belongs to a generation to
    /// come (C24).
    pub(super) fn find_remote_ice_from_ufrag(&self, ufrag: &str) -> (String, u32) {
        let known = self.remote_ice_parameters.iter().enumerate().rev().find(|(_, p)| p.ufrag == ufrag);
        match known {
            Some((generation, parameters)) => (parameters.pwd.clone(), generation as u32),
            None => (String::new(), self.remote_ice_parameters.len() as u32),
        }
    }

    pub(super) fn on_remote_ice_parameters(&mut self, parameters: IceParameters) {
        let new = self
            .remote_ice_parameters
            .last()
            .is_none_or(|last| last.ufrag != parameters.ufrag || last.pwd != parameters.pwd);
        if new {
            self.remote_ice_parameters.push(parameters.clone());
        } else if let Some(last) = self.remote_ice_parameters.last_mut() {
            last.renomination = parameters.renomination;
        }
        let generation = self.remote_generation();
        for known in &mut self.remote_candidates {
            let candidate = &mut known.candidate;
            if candidate.username_fragment.is_empty() {
                candidate.username_fragment.clone_from(&parameters.ufrag);
            }
            if candidate.username_fragment == parameters.ufrag {
                candidate.generation = generation;
            }
        }
        for connection in self.connections.values_mut() {
            connection.maybe_set_remote_ice_parameters(&parameters, generation);
        }
        self.request_sort(IceSwitchReason::RemoteCandidateGenerationChange);
    }

    pub(super) fn on_remote_candidate(&mut self, now: Instant, mut candidate: Candidate) {
        if candidate.component != self.component {
            return;
        }
        if let Some(current) = self.remote_ice_parameters.last() {
            if candidate.username_fragment.is_empty() {
                candidate.username_fragment.clone_from(&current.ufrag);
            }
            candidate.generation = self.find_remote_ice_from_ufrag(&candidate.username_fragment).1;
            if candidate.generation < self.remote_generation() {
                tracing::debug!(
                    target: "peerstack::ice", transport = %self.name,
                    "a candidate of an earlier generation is dropped"
                );
                return;
            }
        } else {
            // The offer's or answer's parameters are still on their way.
            candidate.generation = 0;
        }
        match &candidate.address {
            CandidateAddress::Ip(_) => self.finish_adding_remote_candidate(now, candidate, false),
            CandidateAddress::Name(name, _) => {
                let name = name.clone();
                self.resolve_remote_candidate(name, candidate);
            }
        }
    }

    /// A browser's `.local` candidate (RFC 8828), or another name (C31).
    fn resolve_remote_candidate(&mut self, name: String, candidate: Candidate) {
        let filter = self.allocator.config.candidate_filter;
        let useless = filter == CandidateFilter::RELAY || filter == CandidateFilter::NONE;
        let known = self.resolutions.values().any(|pending| pending.candidate.is_equivalent(&candidate));
        if useless || known || self.resolutions.len() >= MAX_PENDING_RESOLUTIONS || name.is_empty() {
            return;
        }
        let id = ResolveId::unique();
        self.resolutions.insert(id, PendingResolution { candidate });
        self.io_requests.push_back(IoRequest::Resolve { id, name });
    }

    pub(super) fn on_remote_candidate_resolved(
        &mut self,
        now: Instant,
        pending: PendingResolution,
        addresses: &[IpAddr],
    ) {
        let mut candidate = pending.candidate;
        // IPv6 if there is a socket for it, else IPv4, as libwebrtc prefers.
        let have_v6 = self.has_port_of_family(false);
        let v6 = addresses.iter().find(|ip| ip.is_ipv6()).filter(|_| have_v6);
        let Some(ip) = v6.or_else(|| addresses.iter().find(|ip| ip.is_ipv4())).or(addresses.first()) else {
            tracing::debug!(
                target: "peerstack::ice", transport = %self.name, "the name of a candidate was not resolved"
            );
            return;
        };
        let resolved = CandidateAddress::Ip(SocketAddr::new(*ip, candidate.address.port()));
        if let CandidateAddress::Name(name, _) = std::mem::replace(&mut candidate.address, resolved) {
            candidate.resolved_from = Some(name);
        }
        if let Some(current) = self.remote_ice_parameters.last() {
            // Parameters may have come, or changed, while the name was looked up.
            if candidate.username_fragment.is_empty() {
                candidate.username_fragment.clone_from(&current.ufrag);
            }
            candidate.generation = self.find_remote_ice_from_ufrag(&candidate.username_fragment).1;
            if candidate.generation < self.remote_generation() {
                return;
            }
        }
        self.finish_adding_remote_candidate(now, candidate, true);
    }

    fn has_port_of_family(&self, ipv4: bool) -> bool {
        self.ports.iter().any(|id| {
            let network = self.session_of_port(*id).and_then(|session| session.port(*id));
            network.and_then(|port| port.base().network.best_ip()).is_some_and(|ip| ip.is_ipv4() == ipv4)
        })
    }

    fn finish_adding_remote_candidate(&mut self, now: Instant, candidate: Candidate, resolved: bool) {
        // What was learned from a check is signalled now: its type becomes the signalled one (C21).
        for connection in self.connections.values_mut() {
            connection.maybe_update_peer_reflexive_candidate(&candidate);
        }
        let known = RemoteCandidate { candidate, resolved };
        for port in self.ports.clone() {
            self.pair(now, port, &known);
        }
        self.remember_remote_candidate(known);
        self.request_sort(IceSwitchReason::NewConnectionFromRemoteCandidate);
    }

    /// Makes the connection of a port and a signalled candidate, if they fit.
    pub(super) fn pair(&mut self, now: Instant, port: PortId, remote: &RemoteCandidate) {
        let relayed = self
            .session_of_port(port)
            .and_then(|session| session.port(port))
            .is_some_and(|port| matches!(port, Port::Turn(_)));
        // A lite agent has no check list: pairs are made of the peer's checks (RFC 8445 section 2.5), or, if that is
        // lite too, of what was signalled.
        let lite = self.ice_mode == IceMode::Lite;
        if (remote.resolved && relayed) || (lite && self.remote_ice_mode == IceMode::Full) {
            return;
        }
        let id = self.create_connection(now, port, &remote.candidate);
        if lite && let Some(connection) = id.and_then(|id| self.connections.get_mut(&id)) {
            connection.take_unchecked(&mut self.connection_events);
        }
    }

    fn remember_remote_candidate(&mut self, remote: RemoteCandidate) {
        let candidate = &remote.candidate;
        // Those of earlier generations are of no use to ports to come.
        let oldest = candidate.generation.min(self.remote_generation());
        self.remote_candidates.retain(|known| known.candidate.generation >= oldest);
        let known = self.remote_candidates.iter().any(|known| {
            known.candidate.address == candidate.address
                && known.candidate.protocol == candidate.protocol
                && known.candidate.username_fragment == candidate.username_fragment
        });
        if known {
            return;
        }
        if self.remote_candidates.len() < MAX_REMOTE_CANDIDATES {
            self.remote_candidates.push(remote);
        } else {
            self.discarded.over_limit += 1;
        }
    }

    /// Makes the connection of a port and a remote candidate, unless there is one of the same or a newer
    /// generation (C25), or they do not fit (C17).
    pub(super) fn create_connection(
        &mut self,
        now: Instant,
        port_id: PortId,
        remote: &Candidate,
    ) -> Option<ConnectionId> {
        let address = remote.address.ip()?;
        let port = self.sessions.iter_mut().find_map(|session| session.session.port_mut(port_id))?;
        if !port.is_compatible_address(remote, address) {
            return None;
        }
        let local = port.local_candidate(address)?;
        let base = port.base_mut();
        let existing = base.connections.get(&address).and_then(|id| self.connections.get(id));
        if let Some(existing) = existing {
            let newer = existing.remote.generation < remote.generation
                && existing.remote.username_fragment != remote.username_fragment;
            if !newer {
                return None;
            }
        }
        if self.connections.len() >= MAX_CONNECTIONS {
            self.discarded.over_limit += 1;
            return None;
        }
        let id = ConnectionId(self.next_connection);
        let replaced = base.connections.insert(address, id);
        let any_network = base.network.best_ip().is_none_or(|ip| ip.is_unspecified());
        let pruned = base.state == PortState::Pruned;
        let (password, _) = self.find_remote_ice_from_ufrag(&remote.username_fragment);
        let mut route = None;
        self.with_port(port_id, |port, io| {
            port.on_connection_created(now, address, io);
            route = port.route_to(address).map(|route| (route, port.is_connected(address)));
        });
        let Some((route, connected)) = route else {
            // No stream to this address.
            let port = self.sessions.iter_mut().find_map(|session| session.session.port_mut(port_id));
            if let Some(port) = port {
                port.base_mut().connections.remove(&address);
            }
            return None;
        };
        self.next_connection += 1;
        let mut connection = Connection::new(
            now,
            NewConnection {
                id,
                port: port_id,
                route,
                remote_address: address,
                local,
                remote: remote.clone(),
                remote_password: password,
                any_network,
            },
        );
        connection.port_pruned = pruned;
        connection.lite = self.ice_mode == IceMode::Lite;
        connection.connected = connected;
        tracing::debug!(
            target: "peerstack::ice", transport = %self.name, connection = id.0,
            local = ?connection.local.address, remote = %address, remote_type = %remote.candidate_type,
            "new connection"
        );
        if let Some(replaced) = replaced {
            // The old one is not found by its address any more: it ends (C16).
            self.remove_connection(now, replaced);
        }
        self.connections.insert(id, connection);
        self.controller.add_connection(id);
        self.had_connection = true;
        Some(id)
    }
}
