//! Names instead of addresses in what is told of local candidates (draft-ietf-mmusic-mdns-ice-candidates section 3.1).
//! Answers to `MaybeObfuscateAddress` of libwebrtc's `p2p/base/port.cc` and `SanitizeCandidate` of its
//! `p2p/base/port_allocator.cc`; runs on the network task.
//!
//! Ports and connections keep the addresses, with which checks and packets go; the names stand in what leaves the
//! transport: candidates, the selected pair, statistics.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use peerstack_base::{IoRequest, Network, Random};

use super::P2PTransportChannel;
use crate::basic_port_allocator::{hide_related_address, sanitize_related_address};
use crate::{Candidate, CandidateAddress, CandidateErrorEvent, CandidateType, NatOneToOne, NatOneToOneMode};

/// The name of an address.
#[derive(Debug)]
struct HostName {
    name: String,
    /// Whether neighbours are told.
    registered: bool,
}

/// The names of one transport, one for each address that it told; none is used by another transport.
#[derive(Debug, Default)]
pub(super) struct HostNames {
    names: BTreeMap<IpAddr, HostName>,
    /// What is told in place of foundations: these are checksums over an address, which a list of all addresses would
    /// undo.
    foundations: BTreeMap<String, String>,
}

impl HostNames {
    /// Makes the names that a candidate is told with, where there are none yet.
    fn prepare(
        &mut self,
        candidate: &Candidate,
        nat: &NatOneToOne,
        random: &mut Random,
        io_requests: &mut VecDeque<IoRequest>,
    ) {
        if !self.foundations.contains_key(&candidate.foundation) {
            let mut told = random.u32().to_string();
            while self.foundations.values().any(|known| *known == told) {
                told = random.u32().to_string();
            }
            self.foundations.insert(candidate.foundation.clone(), told);
        }
        let Some(address) = candidate.address.ip().map(|address| address.ip()) else { return };
        if candidate.candidate_type != CandidateType::Host || is_configured(nat, address) {
            return;
        }
        let known = self
            .names
            .entry(address)
            .or_insert_with(|| HostName { name: format!("{}.local", uuid_v4(random)), registered: false });
        if !std::mem::replace(&mut known.registered, true) {
            io_requests.push_back(IoRequest::RegisterMdnsName { name: known.name.clone(), address });
        }
    }

    /// A candidate as it is told. What has no name shows nothing in place of its address.
    fn conceal(&self, candidate: &Candidate, nat: &NatOneToOne) -> Candidate {
        let mut told = candidate.clone();
        told.foundation = self.foundations.get(&candidate.foundation).cloned().unwrap_or_default();
        let address = candidate.address.ip().map(|address| address.ip());
        let shown = address.is_some_and(|address| is_configured(nat, address));
        match candidate.candidate_type {
            CandidateType::Host | CandidateType::Prflx if !shown => {
                let known = address.and_then(|address| self.names.get(&address));
                let name = known.map(|known| known.name.clone()).unwrap_or_default();
                told.address = CandidateAddress::Name(name, candidate.address.port());
            }
            _ => {}
        }
        hide_related_address(&mut told);
        told
    }

    /// Names of addresses that the host does not have any more stand for nothing; an address that comes back has the
    /// name it had.
    fn retain(&mut self, networks: &[Network], io_requests: &mut VecDeque<IoRequest>) {
        let listed = |ip: &IpAddr| networks.iter().any(|network| network.ips.contains(ip));
        for (_, known) in self.names.iter_mut().filter(|(ip, known)| known.registered && !listed(ip)) {
            known.registered = false;
            io_requests.push_back(IoRequest::RemoveMdnsName { name: known.name.clone() });
        }
    }

    fn remove_all(&mut self, io_requests: &mut VecDeque<IoRequest>) {
        self.retain(&[], io_requests);
    }
}

impl P2PTransportChannel {
    /// A local candidate as it is told for the first time.
    pub(super) fn tell(&mut self, candidate: Candidate) -> Candidate {
        let config = &self.allocator.config;
        if !config.mdns_host_candidates {
            return candidate;
        }
        let nat = &config.nat_one_to_one;
        self.host_names.prepare(&candidate, nat, &mut self.random, &mut self.io_requests);
        self.host_names.conceal(&candidate, nat)
    }

    /// A local candidate as it may be shown: as it was told, if it was.
    pub(super) fn shown(&self, candidate: &Candidate) -> Candidate {
        let config = &self.allocator.config;
        if config.mdns_host_candidates {
            self.host_names.conceal(candidate, &config.nat_one_to_one)
        } else {
            sanitize_related_address(config.candidate_filter, candidate.clone())
        }
    }

    /// An error of gathering as it may be shown (webrtc-pc section 4.8.3: no address that no candidate shows).
    pub(super) fn shown_error(&self, mut error: CandidateErrorEvent) -> CandidateErrorEvent {
        if self.allocator.config.mdns_host_candidates {
            error.address.clear();
            error.port = None;
        }
        error
    }

    /// Neighbours are told no address that the host lost.
    pub(super) fn remove_lost_host_names(&mut self) {
        if !self.allocator.networks().is_empty() {
            self.host_names.retain(self.allocator.networks(), &mut self.io_requests);
        }
    }

    /// Neighbours are told nothing any more.
    pub(super) fn remove_host_names(&mut self) {
        self.host_names.remove_all(&mut self.io_requests);
    }
}

/// Whether an address is shown because it was configured to be, instead of the host's own.
fn is_configured(nat: &NatOneToOne, address: IpAddr) -> bool {
    nat.mode() == NatOneToOneMode::Host && nat.is_external(address)
}

/// A random UUID (RFC 9562 section 5.4), which the name is to be made of.
fn uuid_v4(random: &mut Random) -> String {
    let mut bytes: [u8; 16] = random.bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
