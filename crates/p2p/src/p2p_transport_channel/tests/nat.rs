//! The NAT matrix without relays (section 1 of the behaviours): which candidates win between which NATs.

use peerstack_netsim::{Host, Lab, LinkConfig, Nat, NatConfig, StunServer, addr, ip};
use peerstack_stun::ServerUrl;

use super::harness::*;
use crate::*;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Site {
    Open,
    Cone,
    Addr,
    Port,
    Sym,
    DoubleCone,
    SymThenCone,
}

const SITES: [Site; 7] =
    [Site::Open, Site::Cone, Site::Addr, Site::Port, Site::Sym, Site::DoubleCone, Site::SymThenCone];

fn host(lab: &Lab, name: &str, site: Site, public: &str, private: &str) -> Host {
    let outer = |config: NatConfig| Nat::new(&format!("{name}-nat"), &lab.internet(), ip(public), config);
    let inside = |nat: &Nat| lab.host_at(name, nat, ip(private));
    let behind = |outer: &Nat| {
        let middle = ip(if name == "a" { "10.9.0.1" } else { "10.9.1.1" });
        lab.host_at(name, &Nat::full_cone(&format!("{name}-inner"), outer, middle), ip(private))
    };
    let host = match site {
        Site::Open => lab.host_at(name, &lab.internet(), ip(public)),
        Site::Cone => inside(&outer(NatConfig::full_cone())),
        Site::Addr => inside(&outer(NatConfig::address_restricted())),
        Site::Port => inside(&outer(NatConfig::port_restricted())),
        Site::Sym => inside(&outer(NatConfig::symmetric())),
        Site::DoubleCone => behind(&outer(NatConfig::full_cone())),
        Site::SymThenCone => behind(&outer(NatConfig::symmetric())),
    };
    host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    host
}

fn pair_of(a: Site, b: Site, short_checks: bool) -> Pair {
    let lab = Lab::new(1, origin());
    let stun = lab.host_at("stun", &lab.internet(), ip("198.51.100.9"));
    StunServer::new(&stun, addr("198.51.100.9:3478"));
    let configure = |config: &mut P2PTransportChannelConfig| {
        let url: ServerUrl = "stun:198.51.100.9".parse().unwrap();
        config.port_allocator.ice_servers = vec![IceServer { urls: vec![url], ..IceServer::default() }];
        config.ice_config.enable_goog_ping = short_checks;
        config.ice_config.piggyback_ice_check_acknowledgement = !short_checks;
    };
    let host_a = host(&lab, "a", a, "203.0.113.1", "192.168.0.2");
    let host_b = host(&lab, "b", b, "203.0.113.2", "192.168.1.2");
    Pair::new(lab, Peer::new(host_a, "a", 1, configure), Peer::new(host_b, "b", 2, configure))
}

fn rank(site: Site) -> u32 {
    match site {
        Site::Open | Site::Cone | Site::DoubleCone => 0,
        Site::Addr => 1,
        Site::Port => 2,
        Site::Sym | Site::SymThenCone => 3,
    }
}

/// What a side's local candidate turns out to be: host in the open, peer-reflexive behind a symmetric NAT,
/// else server-reflexive.
fn expected(site: Site) -> CandidateType {
    match site {
        Site::Open => CandidateType::Host,
        Site::Sym | Site::SymThenCone => CandidateType::Prflx,
        _ => CandidateType::Srflx,
    }
}

/// N01, N05, N07: every cell of the matrix that needs no relay connects within a second or two and settles on the
/// expected pair; those that do need one do not connect (N08: rank sums below 5).
#[test]
fn nat_matrix_without_relays() {
    check_matrix(false);
}

/// N03: the same with short checks.
#[test]
fn nat_matrix_with_short_checks() {
    check_matrix(true);
}

fn check_matrix(short_checks: bool) {
    for a in SITES {
        for b in SITES {
            let mut pair = pair_of(a, b, short_checks);
            pair.start();
            let connected = pair.run_until(ms(3000), |pair| {
                pair.both_connected() && pair.a.channel.receiving() && pair.b.channel.receiving()
            });
            let possible = rank(a) + rank(b) < 5;
            assert_eq!(connected, possible, "{a:?} {b:?}");
            if !possible {
                continue;
            }
            pair.run_for(ms(3000));
            let seen = |peer: &Peer| {
                let selected = peer.channel.selected_connection().unwrap();
                (selected.local_candidate().candidate_type, selected.remote_candidate().candidate_type)
            };
            assert_eq!(seen(&pair.a), (expected(a), expected(b)), "{a:?} {b:?}");
            assert_eq!(seen(&pair.b), (expected(b), expected(a)), "{a:?} {b:?}");
            pair.exchange_data();
        }
    }
}

/// S25: two peers behind the same NAT connect by their host candidates; hairpinning is not needed.
#[test]
fn peers_behind_the_same_nat_connect_by_host() {
    let lab = Lab::new(1, origin());
    let stun = lab.host_at("stun", &lab.internet(), ip("198.51.100.9"));
    StunServer::new(&stun, addr("198.51.100.9:3478"));
    let nat = Nat::full_cone("home", &lab.internet(), ip("203.0.113.1"));
    let configure = |config: &mut P2PTransportChannelConfig| {
        let url: ServerUrl = "stun:198.51.100.9".parse().unwrap();
        config.port_allocator.ice_servers = vec![IceServer { urls: vec![url], ..IceServer::default() }];
    };
    let a = lab.host_at("a", &nat, ip("192.168.0.2"));
    let b = lab.host_at("b", &nat, ip("192.168.0.3"));
    let mut pair = Pair::new(lab, Peer::new(a, "a", 1, configure), Peer::new(b, "b", 2, configure));
    pair.connect();
    pair.run_for(ms(1000));
    assert_eq!(pair.a.selected_types(), Some((CandidateType::Host, CandidateType::Host)));
    assert_eq!(pair.b.selected_types(), Some((CandidateType::Host, CandidateType::Host)));
}
