//! A NAT forgets its mappings in the middle of a call, as after a restart or when another subscriber needed the
//! port: packets come from another port from then on, and what is sent to the old one is lost.

use std::time::Duration;

use peerstack::{CandidateType, Configuration, IceServer, PeerConnectionState};
use peerstack_netsim::{Lab, Nat, NatConfig, StunServer, addr, ip};

use crate::call::{
    CHECK_RECEIVING_INTERVAL, CONSENT_CHECK_INTERVAL, Call, RECEIVING_SWITCHING_DELAY, RECEIVING_TIMEOUT,
    WRITE_TIMEOUT, each_seed, host, pass, phase,
};
use crate::support::ms;

struct Rebinding {
    lab: Lab,
    nat: Nat,
    call: Call,
    /// Whether the side behind the NAT that rebinds offered.
    first: bool,
}

/// `a` behind a NAT, `b` behind another, or in the open.
async fn start(seed: u64, config: NatConfig, other: Option<NatConfig>) -> Rebinding {
    let lab = Lab::start(seed);
    StunServer::new(&lab.host_at("stun", &lab.internet(), ip("198.51.100.9")), addr("198.51.100.9:3478"));
    let nat = Nat::new("nat", &lab.internet(), ip("203.0.113.1"), config);
    let a = host(&lab, "a", &nat, "192.168.1.2");
    let b = match other {
        Some(config) => {
            let nat = Nat::new("other", &lab.internet(), ip("203.0.113.2"), config);
            host(&lab, "b", &nat, "192.168.2.2")
        }
        None => host(&lab, "b", &lab.internet(), "192.0.2.2"),
    };
    let configuration = || Configuration::new().with_ice_servers([IceServer::new("stun:198.51.100.9:3478")]);
    let first = seed.is_multiple_of(2);
    let (one, two) = if first { (&a, &b) } else { (&b, &a) };
    let call = Call::start_with(&lab, (one, configuration()), (two, configuration())).await;
    pass(ms(10_000) + phase(seed)).await;
    Rebinding { lab, nat, call, first }
}

/// C21, S01: the peer in the open hears the next check from the new port, at most 3 s later, makes a
/// peer-reflexive candidate of it, and answers there. A controlled peer follows the data at once; a controlling
/// one, to which the new pair is worth as much as the old one, once that has been silent.
#[test]
fn the_peer_follows_to_the_new_port() {
    for config in [NatConfig::port_restricted(), NatConfig::symmetric()] {
        each_seed(async |seed| {
            let Rebinding { lab, nat, call, first } = start(seed, config.clone(), None).await;
            let rebound = lab.elapsed();
            nat.rebind();
            pass(ms(15_000)).await;
            let hearing = CONSENT_CHECK_INTERVAL + CHECK_RECEIVING_INTERVAL + ms(100);
            let silent =
                RECEIVING_TIMEOUT + RECEIVING_SWITCHING_DELAY + 2 * CHECK_RECEIVING_INTERVAL + ms(100);
            call.assert_gap(rebound, ms(60)..=if first { hearing } else { hearing.max(silent) });
            call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
            let peer = if first { &call.b } else { &call.a };
            let remote = peer.pc.selected_candidate_pair().await.unwrap().unwrap().remote;
            assert_eq!(remote.candidate_type, CandidateType::Prflx, "{}", call.story(rebound));
            call.end().await;
        });
    }
}

/// A peer behind a NAT that lets in whoever it has sent to, from any port, is no different.
#[test]
fn the_peer_follows_behind_a_nat_too() {
    each_seed(async |seed| {
        let other = Some(NatConfig::address_restricted());
        let Rebinding { lab, nat, call, .. } = start(seed, NatConfig::port_restricted(), other).await;
        let rebound = lab.elapsed();
        nat.rebind();
        pass(ms(15_000)).await;
        let hearing = CONSENT_CHECK_INTERVAL + CHECK_RECEIVING_INTERVAL + ms(100);
        let silent = RECEIVING_TIMEOUT + RECEIVING_SWITCHING_DELAY + 2 * CHECK_RECEIVING_INTERVAL + ms(100);
        call.assert_gap(rebound, ms(60)..=hearing.max(silent));
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        call.end().await;
    });
}

/// Two NATs that let in only from the very ports that were sent to: nobody learns of the new port. Both sides
/// say that the connection failed, and an ICE restart brings it back.
#[test]
fn where_nobody_can_learn_of_it_a_restart_helps() {
    each_seed(async |seed| {
        let other = Some(NatConfig::port_restricted());
        let Rebinding { lab, nat, call, .. } = start(seed, NatConfig::port_restricted(), other).await;
        nat.rebind();
        call.until(WRITE_TIMEOUT + ms(8000), Call::has_failed).await;
        let restarted = lab.elapsed();
        call.restart_ice().await;
        pass(ms(10_000)).await;
        call.assert_gap(restarted, ms(60)..=ms(1000));
        call.end().await;
    });
}
