//! A host moves from one link to another in the middle of a call, to another router with another address. Messages go
//! round at a steady pace; the gap is the longest time between two that came back.

use std::time::{Duration, Instant};

use peerstack::{
    ContinualGatheringPolicy, DataChannel, DataChannelEvent, DataChannelMessage, IceConnectionState,
    PeerConnectionEvent,
};

use crate::call::{Call, LIMIT, Options, Turn};
use crate::lab::{Lab, Link, Nat, PUBLIC};
use crate::namespace::Namespace;
use crate::support::{self, ms};
use crate::turn_server::{Certificates, TurnServer};

/// Between two messages.
const PACE: Duration = Duration::from_millis(20);
/// That follow the move before it counts as done.
const AFTERWARDS: usize = 25;
/// What the move may take without an ICE restart.
const WITHOUT_RESTART: Duration = Duration::from_secs(3);

/// In which order the links change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The new one is there from the beginning: a pair of it stands in reserve.
    Reserve,
    /// The new one comes up, and at once the old one goes down.
    NewFirst,
    /// The old one goes down, then the new one comes up.
    OldFirst,
}

/// How a host moves.
#[derive(Debug, Clone, Copy)]
struct Move {
    name: &'static str,
    order: Order,
    /// Whether the call has gone on for a while; otherwise it has just been connected.
    settled: bool,
    /// Whether audio is sent both ways. Otherwise he who moved has nothing to say by the new way until he is asked.
    audio: bool,
    /// Whether it is the one that offered, and so controls.
    offerer_moves: bool,
    /// The routers of the two links, and of the other host.
    nats: [Nat; 3],
    gathering: ContinualGatheringPolicy,
    /// libwebrtc's `ice_connection_receiving_timeout`, of both.
    receiving_timeout: Option<Duration>,
    /// Whether ICE is restarted when its state says that it must be.
    restart: bool,
    limit: Duration,
}

/// Waits for messages that come back, sends the next ones.
pub(crate) async fn ping_pong(channel: &DataChannel, moved: &tokio::sync::Notify) -> Duration {
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut last, mut longest, mut left) = (Instant::now(), Duration::ZERO, None);
    let mut is_moved = std::pin::pin!(moved.notified());
    loop {
        tokio::select! {
            biased;
            () = &mut is_moved, if left.is_none() => left = Some(AFTERWARDS),
            event = channel.next_event() => match event {
                Some(DataChannelEvent::Message(message)) => {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    // Those that were sent after the move.
                    if message.len() == 2 && let Some(left) = &mut left {
                        *left -= 1;
                        if *left == 0 {
                            return longest;
                        }
                    }
                }
                Some(_) => {}
                None => panic!("the channel closed"),
            },
            _ = ticks.tick() => {
                let size = 1 + usize::from(left.is_some());
                // Refused while much waits.
                let _ = channel.send(DataChannelMessage::Binary(vec![0x5a; size].into()));
            }
        }
    }
}

/// Restarts ICE where its state says that it is needed.
async fn restart_when_disconnected(call: &mut Call, number: usize) {
    loop {
        match call.seen[number].recv().await {
            Some(PeerConnectionEvent::IceConnectionStateChange(
                IceConnectionState::Disconnected | IceConnectionState::Failed,
            )) => {
                call.pcs[number].restart_ice();
                call.signaling[number].offer(&call.pcs[number]).await;
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

async fn move_host(host: &Namespace, order: Order, [old, new]: [Link; 2]) {
    let host = host.clone();
    // `ip` is waited for, which must not hold up the call.
    let moving = tokio::task::spawn_blocking(move || match order {
        Order::Reserve => old.down(&host),
        Order::NewFirst => {
            new.up(&host);
            old.down(&host);
        }
        Order::OldFirst => {
            old.down(&host);
            new.up(&host);
        }
    });
    moving.await.unwrap();
}

/// Audio, until dropped.
pub(crate) struct Talk(pub(crate) tokio::task::JoinHandle<()>);

impl Drop for Talk {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(case: Move) {
    crate::init_log();
    let mut lab = Lab::new();
    let certificates = Certificates::new();
    let server = TurnServer::start(&lab.internet, PUBLIC, &certificates);
    let moving = Namespace::new();
    let links = [lab.link(&moving, case.nats[0], "eth0"), lab.link(&moving, case.nats[1], "eth1")];
    links[0].up(&moving);
    if case.order == Order::Reserve {
        links[1].up(&moving);
    }
    let staying = lab.host(case.nats[2]);
    let mut options = Options {
        stun: true,
        turn: vec![Turn::Udp],
        relay_only: false,
        root: certificates.root.clone(),
        settings: Default::default(),
    };
    options.settings.continual_gathering = case.gathering;
    options.settings.ice_receiving_timeout = case.receiving_timeout;
    let hosts = if case.offerer_moves { [&moving, &staying] } else { [&staying, &moving] };
    let mut call = Call::start(hosts, [&options, &options]).await;
    let remote = tokio::time::timeout(LIMIT, call.opened()).await.expect("the channel opens");
    let mover = usize::from(!case.offerer_moves);
    // In reserve is what has been checked.
    let there = if case.order == Order::Reserve { &links[..] } else { &links[..1] };
    tokio::time::timeout(LIMIT, call.pairs_of(mover, there)).await.expect("pairs of each link");
    if case.settled {
        tokio::time::timeout(LIMIT, call.settled()).await.expect("the pair is stable");
    }

    let channel = call.channel.clone();
    let (before, ufrag) = call.address_of(mover).await;
    let (moved, echo) = (tokio::sync::Notify::new(), tokio::spawn(support::echo_back(remote)));
    let talk = call.talk();
    let _talking = case.audio.then(|| Talk(tokio::spawn(talk)));
    let going = async {
        let measured = ping_pong(&channel, &moved);
        let moves = async {
            // The one in use goes down.
            let mut order = links;
            if !links[0].owns(&before) {
                order.reverse();
            }
            move_host(&moving, case.order, order).await;
            moved.notify_one();
        };
        tokio::join!(measured, moves).0
    };
    let gap = tokio::select! {
        gap = tokio::time::timeout(LIMIT, going) => gap,
        () = restart_when_disconnected(&mut call, mover), if case.restart => unreachable!(),
    };
    let gap = gap.unwrap_or(LIMIT);
    support::say(&format!("{:<44}gap {} ms", case.name, gap.as_millis()));
    let (after, new_ufrag) = call.address_of(mover).await;
    assert_ne!(before, after);
    assert_eq!(ufrag != new_ufrag, case.restart);
    assert!(gap <= case.limit, "{}: {gap:?} instead of {:?}", case.name, case.limit);
    call.close().await;
    echo.abort();
    drop((server, lab));
}

/// Makes a test of a row.
macro_rules! moves {
    ($($name:ident: $order:ident, $settled:expr, $audio:expr, $offerer_moves:expr, $nats:expr, $gathering:ident, $receiving:expr, $restart:expr => $limit:expr;)+) => {
        $(
            #[tokio::test]
            #[ignore = "needs network namespaces: cargo xtask test --only namespaces"]
            async fn $name() {
                run(Move {
                    name: stringify!($name),
                    order: Order::$order,
                    settled: $settled,
                    audio: $audio,
                    offerer_moves: $offerer_moves,
                    nats: $nats,
                    gathering: ContinualGatheringPolicy::$gathering,
                    receiving_timeout: $receiving,
                    restart: $restart,
                    limit: $limit,
                })
                .await;
            }
        )+
    };
}

use Nat::{Cone, Symmetric};

/// Until a pair is unreliable, which says that a restart is needed: 5 s after a check that is not answered (T06); and
/// what that takes.
const RESTART: Duration = Duration::from_secs(10);

// The staying side decides when it controls: a second of silence, while the mover is heard by another way, be it by no
// more than checks, and a second more, so that a short outage changes nothing (T10).
moves! {
    offerer_moves_to_its_reserve: Reserve, true, true, true, [Cone, Cone, Cone], GatherOnce, None, false => WITHOUT_RESTART;
    offerer_moves: NewFirst, true, true, true, [Cone, Cone, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    offerer_moves_over_no_link: OldFirst, true, true, true, [Cone, Cone, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    offerer_moves_to_a_symmetric_nat: NewFirst, true, true, true, [Cone, Symmetric, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    offerer_moves_relayed: NewFirst, true, true, true, [Symmetric, Symmetric, Symmetric], GatherContinually, None, false => WITHOUT_RESTART;
    answerer_moves: NewFirst, true, true, false, [Cone, Cone, Cone], GatherContinually, Some(ms(1000)), false => WITHOUT_RESTART;
    answerer_moves_to_its_reserve: Reserve, true, true, false, [Cone, Cone, Cone], GatherOnce, Some(ms(1000)), false => WITHOUT_RESTART;
    answerer_moves_to_its_reserve_with_data_alone: Reserve, true, false, false, [Cone, Cone, Cone], GatherOnce, None, false => WITHOUT_RESTART;
    answerer_moves_with_libwebrtcs_times: NewFirst, true, true, false, [Cone, Cone, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    answerer_moves_with_data_alone: NewFirst, true, false, false, [Cone, Cone, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    offerer_moves_at_once: NewFirst, false, true, true, [Cone, Cone, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    answerer_moves_at_once: NewFirst, false, true, false, [Cone, Cone, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    answerer_moves_at_once_with_data_alone: NewFirst, false, false, false, [Cone, Cone, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    answerer_moves_to_a_symmetric_nat: NewFirst, true, true, false, [Cone, Symmetric, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    answerer_moves_over_no_link: OldFirst, true, true, false, [Cone, Cone, Cone], GatherContinually, None, false => WITHOUT_RESTART;
    answerer_moves_relayed: NewFirst, true, false, false, [Symmetric, Symmetric, Symmetric], GatherContinually, None, false => WITHOUT_RESTART;
    offerer_moves_with_a_restart: NewFirst, true, true, true, [Cone, Cone, Cone], GatherOnce, None, true => RESTART;
    answerer_moves_with_a_restart: OldFirst, true, true, false, [Cone, Symmetric, Cone], GatherOnce, None, true => RESTART;
}
