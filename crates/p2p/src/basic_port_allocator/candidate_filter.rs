//! Which candidates are told, and what they show. Answers to `SetCandidateFilter`, `SanitizeCandidate` and
//! `IsAllowedByCandidateFilter` of libwebrtc's `p2p/client/basic_port_allocator.cc`; runs on the network task.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::BasicPortAllocatorSession;
use crate::port::{Port, PortId, PortState};
use crate::{Candidate, CandidateFilter, CandidateType, PortAllocatorSessionEvent};

impl BasicPortAllocatorSession {
    /// Another filter: what was gathered and hidden so far is told if it lets it through; what was told stays
    /// told (G17).
    pub(crate) fn set_candidate_filter(&mut self, filter: CandidateFilter) {
        let before = std::mem::replace(&mut self.filter, filter);
        if before == filter || self.stopped {
            return;
        }
        let mut surfaced: Vec<(PortId, Vec<Candidate>)> = Vec::new();
        for (id, port) in &mut self.ports {
            if matches!(port.base().state, PortState::Error | PortState::Pruned) {
                continue;
            }
            let hidden = hidden_before(port, before);
            let newly = |allowed: fn(CandidateFilter, &Candidate) -> bool| {
                hidden.iter().filter(move |candidate| allowed(filter, candidate))
            };
            if !port.base().ready && newly(is_pairable).next().is_some() {
                port.base_mut().ready = true;
                self.events.emit(PortAllocatorSessionEvent::PortReady(*id));
            }
            let told = newly(is_signalable).cloned();
            surfaced.push((*id, told.map(|candidate| sanitize_related_address(filter, candidate)).collect()));
        }
        for (_, candidates) in surfaced {
            if !candidates.is_empty() {
                self.events.emit(PortAllocatorSessionEvent::CandidatesReady(candidates));
            }
        }
    }
}

/// Candidates of a port that were gathered and not told; what checks brought to light never is.
fn hidden_before(port: &Port, before: CandidateFilter) -> Vec<Candidate> {
    let gathered = port.base().candidates.iter().filter(|known| known.candidate_type != CandidateType::Prflx);
    gathered.filter(|candidate| !is_signalable(before, candidate)).cloned().collect()
}

/// Whether a candidate is told to the peer; the "any" address says nothing.
pub(super) fn is_signalable(filter: CandidateFilter, candidate: &Candidate) -> bool {
    !is_any(candidate) && passes_filter(filter, candidate)
}

/// Whether connections are made from a candidate: if it is told, or if it is of the "any" address, which cannot
/// be, while host candidates are wanted (libwebrtc `CandidatePairable`).
pub(super) fn is_pairable(filter: CandidateFilter, candidate: &Candidate) -> bool {
    is_signalable(filter, candidate) || (is_any(candidate) && filter.host)
}

fn is_any(candidate: &Candidate) -> bool {
    candidate.address.ip().is_some_and(|address| address.ip().is_unspecified())
}

/// Whether a candidate may be told to the peer (G16). Without a NAT, the host's public address stands in for
/// the server-reflexive one.
pub(super) fn passes_filter(filter: CandidateFilter, candidate: &Candidate) -> bool {
    match candidate.candidate_type {
        CandidateType::Host => {
            filter.host
                || (filter.srflx && candidate.address.ip().is_some_and(|address| !is_private(address.ip())))
        }
        CandidateType::Srflx | CandidateType::Prflx => filter.srflx,
        CandidateType::Relay => filter.relay,
    }
}

/// A related address that the filter does not let through is not shown (G16).
pub(crate) fn sanitize_related_address(filter: CandidateFilter, mut candidate: Candidate) -> Candidate {
    let hidden = match candidate.candidate_type {
        CandidateType::Srflx => !filter.host,
        CandidateType::Relay => !filter.srflx,
        _ => false,
    };
    if hidden {
        hide_related_address(&mut candidate);
    }
    candidate
}

/// Says nothing by a related address but its family (draft-ietf-mmusic-mdns-ice-candidates section 3.1.2).
pub(crate) fn hide_related_address(candidate: &mut Candidate) {
    if let Some(related) = &mut candidate.related_address {
        let any: IpAddr = match related.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        *related = SocketAddr::new(any, 0);
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
        }
    }
}
