//! One side's process is asleep, as when a laptop's lid is closed or it gets SIGSTOP, while the other's goes on: none of
//! its tasks run, no timer of it is looked at, and what comes waits in its sockets as far as there is room.

use std::time::{Duration, Instant};

use peerstack::{PeerConnectionEvent, PeerConnectionState};

use crate::call::{Call, LIMIT, Options};
use crate::lab::Lab;
use crate::lab::Nat::Cone;
use crate::lab::PUBLIC;
use crate::moving::ping_pong;
use crate::support::{self, ms};
use crate::turn_server::{Certificates, TurnServer};

/// What the side that is awake said, and when.
type Said = Vec<(Duration, PeerConnectionState)>;

/// Whether the one who offered, and controls, sleeps; for how long; whether ICE is restarted then by the other one.
async fn sleep(name: &str, offerer: bool, asleep: Duration, restart: bool, limit: Duration) -> Said {
    crate::init_log();
    let mut lab = Lab::new();
    let certificates = Certificates::new();
    let server = TurnServer::start(&lab.internet, PUBLIC, &certificates);
    let hosts = [lab.host(Cone), lab.host(Cone)];
    let options = Options { stun: true, root: certificates.root.clone(), ..Options::default() };
    let mut call = Call::start([&hosts[0], &hosts[1]], [&options, &options]).await;
    let remote = tokio::time::timeout(LIMIT, call.opened()).await.expect("the channel opens");
    tokio::time::timeout(LIMIT, call.settled()).await.expect("the pair is stable");
    let sleeper = usize::from(!offerer);
    let (channel, echo) = (call.channel.clone(), tokio::spawn(support::echo_back(remote)));
    let (awake, woken) = (1 - sleeper, tokio::sync::Notify::new());
    let mut said = Said::new();
    // What was told before.
    while call.seen[awake].try_recv().is_ok() {}
    let began = Instant::now();
    let mut stopped = call.stop(sleeper, asleep);
    let going = async {
        let sleeps = async {
            loop {
                tokio::select! {
                    event = call.seen[awake].recv() => {
                        if let Some(PeerConnectionEvent::ConnectionStateChange(state)) = event {
                            said.push((began.elapsed(), state));
                        }
                    }
                    woken = &mut stopped => break woken.unwrap(),
                }
            }
            if restart {
                call.pcs[awake].restart_ice();
                call.signaling[awake].offer(&call.pcs[awake]).await;
            }
            woken.notify_one();
        };
        tokio::join!(ping_pong(&channel, &woken), sleeps).0
    };
    let gap = tokio::time::timeout(asleep + LIMIT, going).await.expect("the call goes on");
    let over = gap.saturating_sub(asleep);
    support::say(&format!(
        "{name:<44}gap {} ms, {} after it woke; {said:?}",
        gap.as_millis(),
        over.as_millis()
    ));
    assert!(began.elapsed() >= asleep && gap >= asleep - ms(500), "{name}: it did not sleep, {gap:?}");
    assert!(over <= limit, "{name}: {over:?} instead of {limit:?}");
    call.close().await;
    echo.abort();
    drop((server, lab));
    said
}

/// T06: the other side says disconnected, 5 s after a check that was not answered, and everything goes on by itself: the
/// pair is there on both sides, and the first check finds it so.
#[tokio::test]
#[ignore = "needs network namespaces: cargo xtask test --only namespaces"]
async fn asleep_for_ten_seconds() {
    let said = sleep("asleep_for_ten_seconds", false, ms(10_000), false, ms(2000)).await;
    let [(at, PeerConnectionState::Disconnected)] = said[..] else { panic!("{said:?}") };
    assert!((ms(5000)..ms(9000)).contains(&at), "{at:?}");
}

/// T06, RFC 7675: the other side says disconnected, and 15 s after that check failed; he who wakes has no consent to send
/// any more. An ICE restart brings it back, with the channel and what waits in it.
#[tokio::test]
#[ignore = "needs network namespaces: cargo xtask test --only namespaces"]
async fn asleep_for_thirty_five_seconds() {
    let said = sleep("asleep_for_thirty_five_seconds", false, ms(35_000), true, ms(3000)).await;
    let [(disconnected, PeerConnectionState::Disconnected), (failed, PeerConnectionState::Failed)] = said[..]
    else {
        panic!("{said:?}")
    };
    assert!((ms(5000)..ms(9000)).contains(&disconnected), "{disconnected:?}");
    assert!((ms(15_000)..ms(20_000)).contains(&failed), "{failed:?}");
}
