//! coturn is killed in the middle of a call that it relays, and started again, having forgotten everything: the call
//! goes on without an ICE restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use peerstack::IceConnectionState::{Closed, Failed};
use peerstack::{PeerConnectionEvent, Settings};

use crate::call::Turn::{self, Tcp, Tls, Udp};
use crate::call::{Call, LIMIT, Options, pair_of};
use crate::lab::Nat::{Cone, NoUdp, Symmetric};
use crate::lab::{Lab, Nat, PUBLIC};
use crate::moving::{Talk, ping_pong};
use crate::support::{self, ms};
use crate::turn_server::{Certificates, TurnServer};

/// From when the server is back. Over UDP only silence tells (T05, 2.5 s and a look each 250 ms), by which the allocation
/// is asked for; a request that met no server is sent again at twice the distance each time (T01), so that as long again
/// as the server was away may pass. Then the pairs of the new allocation are checked, and to the peer they are others,
/// so that the switch is damped (T10).
fn limit(away: Duration) -> Duration {
    ms(2500 + 250 + 1000 + 1250) + away
}

async fn restart(name: &str, nats: [Nat; 2], turn: Turn, relay_only: bool, pair: &str, away: Duration) {
    crate::init_log();
    let mut lab = Lab::new();
    let certificates = Arc::new(Certificates::new());
    let server = TurnServer::start(&lab.internet, PUBLIC, &certificates);
    let hosts = nats.map(|nat| lab.host(nat));
    let options = Options {
        stun: true,
        turn: vec![turn],
        relay_only,
        root: certificates.root.clone(),
        settings: Settings::default(),
    };
    let mut call = Call::start([&hosts[0], &hosts[1]], [&options, &options]).await;
    let remote = tokio::time::timeout(LIMIT, call.opened()).await.expect("the channel opens");
    tokio::time::timeout(LIMIT, call.settled()).await.expect("the pair is stable");
    assert!(pair_of(&call.pcs).await.contains(pair), "{name} is relayed: {}", pair_of(&call.pcs).await);
    let before = [call.address_of(0).await.1, call.address_of(1).await.1];
    let (channel, over) = (call.channel.clone(), tokio::sync::Notify::new());
    let (echo, talk) = (tokio::spawn(support::echo_back(remote)), call.talk());
    let _talking = Talk(tokio::spawn(talk));

    let going = async {
        let restarts = async {
            let (internet, certificates) = (lab.internet.clone(), Arc::clone(&certificates));
            tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
            let killed = Instant::now();
            tokio::time::sleep(away).await;
            let start = move || TurnServer::start(&internet, PUBLIC, &certificates);
            let server = tokio::task::spawn_blocking(start).await.unwrap();
            over.notify_one();
            (server, killed.elapsed())
        };
        tokio::join!(ping_pong(&channel, &over), restarts)
    };
    let (gap, (server, was_away)) = tokio::time::timeout(LIMIT, going).await.expect("the call goes on");
    let says = format!("gap {} ms, {} of it without a server", gap.as_millis(), was_away.as_millis());
    support::say(&format!("{name:<44}{says}"));
    assert!(gap <= was_away + limit(was_away), "{name}: {says}");
    assert_eq!(before, [call.address_of(0).await.1, call.address_of(1).await.1], "ICE was not restarted");
    assert!(pair_of(&call.pcs).await.contains(pair), "{name} is relayed still");
    for seen in &mut call.seen {
        while let Ok(event) = seen.try_recv() {
            let ended = matches!(event, PeerConnectionEvent::IceConnectionStateChange(Failed | Closed));
            assert!(!ended, "{name}: {event:?}");
        }
    }
    call.close().await;
    echo.abort();
    drop((server, lab));
}

/// Makes a test of a row.
macro_rules! restarts {
    ($($name:ident: $nats:expr, $turn:expr, $relay_only:expr, $pair:expr, $away:expr;)+) => {
        $(
            #[tokio::test]
            #[ignore = "needs network namespaces: cargo xtask test --only namespaces"]
            async fn $name() {
                restart(stringify!($name), $nats, $turn, $relay_only, $pair, ms($away)).await;
            }
        )+
    };
}

// That may be relayed alone, that can only be, on one side or on both.
restarts! {
    coturn_restarts_relay_only_by_udp: [Cone, Symmetric], Udp, true, "r:udp/r:udp", 0;
    coturn_restarts_between_symmetric_nats: [Symmetric, Symmetric], Udp, false, "r:udp", 0;
    coturn_restarts_by_tcp: [NoUdp, NoUdp], Tcp, false, "r:tcp/r:tcp", 0;
    coturn_restarts_by_tls: [NoUdp, Cone], Tls, true, "r:tls/r:tls", 0;
    coturn_is_away_for_two_seconds: [Symmetric, Symmetric], Udp, false, "r:udp", 2000;
    coturn_is_away_for_two_seconds_by_tcp: [NoUdp, NoUdp], Tcp, false, "r:tcp/r:tcp", 2000;
}
