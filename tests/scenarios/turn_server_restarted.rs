//! The TURN server restarts in the middle of a call: it has forgotten the allocation, and drops silently what is
//! sent through it, or is not there at all for a while.

use std::time::Duration;

use peerstack::{Configuration, IceServer, IceTransportPolicy, PeerConnectionState};
use peerstack_netsim::{Lab, Nat, NatConfig, TurnServer, addr, ip};

use crate::call::{
    CHECK_RECEIVING_INTERVAL, Call, FOLLOWING, RECEIVING_SWITCHING_DELAY, RECEIVING_TIMEOUT, WRITE_TIMEOUT,
    each_seed, host, pass, phase,
};
use crate::support::ms;

const TURN: &str = "198.51.100.7:3478";

struct Relayed {
    lab: Lab,
    turn: TurnServer,
    call: Call,
}

/// `a` by a relay only; `b` as it likes, behind a NAT, or by a relay of the same server.
async fn start(seed: u64, transport: &str, both: bool) -> Relayed {
    let lab = Lab::start(seed);
    let turn = lab.host_at("turn", &lab.internet(), ip("198.51.100.7"));
    let turn = TurnServer::new(&turn, addr(TURN), &[ip("198.51.100.7")], &[("user", "pass")]);
    turn.listen_tcp(addr(TURN));
    let nat = Nat::new("nat", &lab.internet(), ip("203.0.113.2"), NatConfig::address_restricted());
    let (a, b) = (host(&lab, "a", &lab.internet(), "192.0.2.1"), host(&lab, "b", &nat, "192.168.2.2"));
    let relay = || {
        let mut server = IceServer::new(format!("turn:{TURN}?transport={transport}"));
        (server.username, server.credential) = ("user".into(), "pass".into());
        let mut configuration = Configuration::new().with_ice_servers([server]);
        configuration.ice_transport_policy = IceTransportPolicy::Relay;
        configuration
    };
    // The server tells `b` its public address too.
    let plain = Configuration::new().with_ice_servers([IceServer::new(format!("stun:{TURN}"))]);
    let plain = if both { relay() } else { plain };
    let call = if seed.is_multiple_of(2) {
        Call::start_with(&lab, (&a, relay()), (&b, plain)).await
    } else {
        Call::start_with(&lab, (&b, plain), (&a, relay())).await
    };
    pass(ms(10_000) + phase(seed)).await;
    Relayed { lab, turn, call }
}

/// U10: nothing comes any more, so the allocation is asked for: 437, it is gone. Another one is made, and the
/// call goes on over it, without an ICE restart.
#[test]
fn the_allocation_is_made_anew() {
    for (transport, both) in [("udp", false), ("udp", true)] {
        each_seed(async |seed| {
            let Relayed { lab, turn, call } = start(seed, transport, both).await;
            let restarted = lab.elapsed();
            turn.restart();
            pass(ms(15_000)).await;
            // The silence is noticed, a refresh and an allocation are five round trips, then checks. To the peer,
            // and where both relays are new to us too, the pair is another one, and the switch to it damped.
            let limit = RECEIVING_TIMEOUT + CHECK_RECEIVING_INTERVAL + RECEIVING_SWITCHING_DELAY + ms(1000);
            call.assert_gap(restarted, ms(1000)..=limit);
            call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
            assert_eq!(turn.allocations().len(), if both { 2 } else { 1 });
            call.end().await;
        });
    }
}

/// The server is away for six seconds: the request is sent again until it is back.
#[test]
fn the_server_is_away_for_a_while() {
    each_seed(async |seed| {
        let Relayed { lab, turn, call } = start(seed, "udp", false).await;
        let away = lab.elapsed();
        turn.configure(|config| config.answers = false);
        pass(ms(6000)).await;
        turn.restart();
        turn.configure(|config| config.answers = true);
        pass(ms(15_000)).await;
        // T01: at the latest after as long again as it was away, the request that was not answered is repeated.
        call.assert_gap(away, ms(6000)..=ms(14_000));
        call.assert_never(PeerConnectionState::Failed, Duration::ZERO);
        call.end().await;
    });
}

/// U12: a TCP connection to the server is reset, which tells at once: the relay is connected again.
#[test]
fn over_tcp_the_end_is_told() {
    each_seed(async |seed| {
        let Relayed { lab, turn, call } = start(seed, "tcp", false).await;
        let restarted = lab.elapsed();
        turn.restart();
        pass(ms(15_000)).await;
        call.assert_gap(restarted, ms(100)..=FOLLOWING);
        call.end().await;
    });
}

/// The application may restart ICE as well, at any moment.
#[test]
fn an_ice_restart_helps_as_well() {
    each_seed(async |seed| {
        let Relayed { lab, turn, call } = start(seed, "udp", true).await;
        turn.restart();
        pass(phase(seed)).await;
        let restarted = lab.elapsed();
        call.restart_ice().await;
        pass(ms(10_000)).await;
        call.assert_gap(restarted, ms(60)..=ms(1500));
        call.end().await;
    });
}

/// The server is gone for good: both sides say so, in the time a pair lives.
#[test]
fn without_the_server_the_call_fails() {
    each_seed(async |seed| {
        let Relayed { turn, call, .. } = start(seed, "udp", false).await;
        turn.stop();
        let failed = PeerConnectionState::Failed;
        let took = call
            .until(WRITE_TIMEOUT + ms(8000), |call| {
                call.a.pc.connection_state() == failed && call.b.pc.connection_state() == failed
            })
            .await;
        assert!(took >= WRITE_TIMEOUT - ms(1000), "{took:?}");
    });
}
