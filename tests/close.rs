//! Nothing is left behind: after a thousand connections that were opened, used and closed in one process, the
//! live tasks, the open file descriptors and the allocated memory are what they were.
//!
//! Rounds over real sockets of the loopback interface end in every way: closed after use, while gathering, while
//! checks and handshake are under way, in the middle of a transfer, or never closed but dropped. Rounds in a
//! virtual network end at every fifth millisecond of a connection's making.
//!
//! `PEERSTACK_CLOSE_ROUNDS` sets the number of rounds over real sockets (1,000; 10,000 before a release).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that fails, and that runs tasks of its own"
)]

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::time::Duration;

use bytes::Bytes;
use peerstack::{
    Configuration, DataChannel, DataChannelEvent, DataChannelInit, IceConnectionState, PeerConnection,
    PeerConnectionEvent, Settings,
};
use peerstack_netsim::Lab;
use support::{Applications, Peer, Seen, TwoHosts, ms};
use tokio::runtime::Handle;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Rounds over real sockets that run at the same time: each waits for timers most of the time.
const AT_ONCE: usize = 20;
/// What the runtime and the cryptographic library may keep for themselves meanwhile; nothing has been seen. One
/// block leaked in one round of fifty would be more.
const SLACK_BLOCKS: usize = 16;
const SLACK_BYTES: usize = 8 << 10;

/// What must not grow.
#[derive(Debug, Clone, Copy)]
struct Figures {
    tasks: usize,
    files: usize,
    blocks: usize,
    bytes: usize,
}

impl Figures {
    fn now() -> Self {
        Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            blocks: counting::blocks(),
            bytes: counting::bytes(),
        }
    }

    fn assert_back_at(&self, start: &Self) {
        support::say(&format!("  before {start:?}\n  after  {self:?}"));
        assert_eq!(self.tasks, start.tasks, "tasks are left");
        assert_eq!(self.files, start.files, "file descriptors are left");
        assert!(self.blocks <= start.blocks + SLACK_BLOCKS, "blocks of memory are left");
        assert!(self.bytes <= start.bytes + SLACK_BYTES, "bytes are left");
    }
}

/// When and how a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    AfterUse,
    Gathering,
    Checking,
    Handshake,
    Transfer,
    DroppedAfterUse,
    DroppedInHandshake,
    DroppedUnused,
}

const ENDS: [End; 8] = [
    End::AfterUse,
    End::Gathering,
    End::Checking,
    End::Handshake,
    End::Transfer,
    End::DroppedAfterUse,
    End::DroppedInHandshake,
    End::DroppedUnused,
];

impl End {
    fn by_drop(self) -> bool {
        matches!(self, Self::DroppedAfterUse | Self::DroppedInHandshake | Self::DroppedUnused)
    }
}

fn real_peer() -> Peer {
    let mut settings = Settings::default();
    settings.allow_loopback = true;
    Peer::with(Configuration::new().with_settings(settings), Default::default())
}

/// Waits until the events say so.
async fn until(seen: &mut Seen, found: impl Fn(&PeerConnectionEvent) -> bool) {
    while let Some(event) = seen.recv().await {
        if found(&event) {
            return;
        }
    }
    panic!("the connection ended before");
}

/// Waits until everything of a connection is freed, without a handle on it.
async fn until_gone(mut seen: Seen) {
    while seen.recv().await.is_some() {}
}

fn is_checking(event: &PeerConnectionEvent) -> bool {
    matches!(event, PeerConnectionEvent::IceConnectionStateChange(IceConnectionState::Checking))
}

fn is_handshaking(event: &PeerConnectionEvent) -> bool {
    matches!(event, PeerConnectionEvent::IceConnectionStateChange(IceConnectionState::Connected))
}

async fn opened(channel: &DataChannel) {
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
}

async fn next_message(channel: &DataChannel) -> usize {
    loop {
        match channel.next_event().await.unwrap() {
            DataChannelEvent::Message(message) => return message.len(),
            event => assert_ne!(event, DataChannelEvent::Closed),
        }
    }
}

/// A message there and back.
async fn echo(a: &DataChannel, b: &DataChannel, size: usize) {
    a.send(Bytes::from(vec![7; size])).unwrap();
    assert_eq!(next_message(b).await, size);
    b.send(Bytes::from(vec![7; size])).unwrap();
    assert_eq!(next_message(a).await, size);
}

/// The two applications' connections; the first has the data channel.
struct Open {
    a: PeerConnection,
    b: PeerConnection,
    channel: DataChannel,
    a_seen: Seen,
    b_seen: Seen,
    applications: Applications,
}

async fn open() -> Open {
    let (a_peer, b_peer) = (real_peer(), real_peer());
    let (a, b) = (a_peer.pc.clone(), b_peer.pc.clone());
    let channel = a.create_data_channel("data", DataChannelInit::default()).unwrap();
    let ((to_b, a_seen), (_, b_seen), applications) =
        support::join_applications(a_peer, b_peer, Duration::ZERO);
    to_b.offer(&a).await;
    Open { a, b, channel, a_seen, b_seen, applications }
}

async fn real_round(end: End) {
    let Open { a, b, channel, mut a_seen, mut b_seen, applications } = open().await;
    match end {
        End::Gathering | End::DroppedUnused => {}
        End::Checking => until(&mut a_seen, is_checking).await,
        End::Handshake | End::DroppedInHandshake => until(&mut b_seen, is_handshaking).await,
        End::AfterUse | End::DroppedAfterUse | End::Transfer => {
            let remote = support::incoming_channel(&mut b_seen).await;
            opened(&channel).await;
            echo(&channel, &remote, 1_000).await;
            if end == End::Transfer {
                for _ in 0..16 {
                    channel.send(Bytes::from(vec![1; 65_536])).unwrap();
                    remote.send(Bytes::from(vec![2; 65_536])).unwrap();
                }
                next_message(&remote).await;
            }
        }
    }
    if !end.by_drop() {
        a.close();
        b.close();
        tokio::join!(a.closed(), b.closed());
    }
    applications.quit();
    drop((a, b, channel));
    tokio::join!(until_gone(a_seen), until_gone(b_seen));
}

async fn real_rounds(count: usize) {
    let mut running = tokio::task::JoinSet::<Result<(), tokio::time::error::Elapsed>>::new();
    for round in 0..count {
        if running.len() == AT_ONCE {
            running.join_next().await.unwrap().unwrap().unwrap();
        }
        running.spawn(tokio::time::timeout(Duration::from_secs(30), real_round(ENDS[round % ENDS.len()])));
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap().unwrap();
    }
}

fn over_real_sockets() {
    let rounds = std::env::var("PEERSTACK_CLOSE_ROUNDS").ok().and_then(|text| text.parse().ok());
    let rounds: usize = rounds.unwrap_or(1_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        real_rounds((rounds / 5).max(2 * AT_ONCE)).await;
        let start = Figures::now();
        real_rounds(rounds).await;
        support::say(&format!("{rounds} rounds over real sockets:"));
        Figures::now().assert_back_at(&start);
    });
}

/// How a connection of the virtual network ends, so long after its offer.
#[derive(Debug, Clone, Copy)]
enum Leave {
    CloseFirst,
    CloseSecond,
    CloseBoth,
    DropBoth,
}

async fn virtual_round(at: Duration, leave: Leave) {
    let net = TwoHosts::start(1, |link| link);
    let (a_peer, b_peer) = net.peers();
    let (a, b) = (a_peer.pc.clone(), b_peer.pc.clone());
    let channel = a.create_data_channel("data", DataChannelInit::default()).unwrap();
    let ((to_b, a_seen), (_, b_seen), applications) = support::join_applications(a_peer, b_peer, ms(50));
    to_b.offer(&a).await;
    // Full queues at both ends, as soon as there is a channel.
    for _ in 0..16 {
        let _ = channel.send(Bytes::from(vec![1; 65_536]));
    }
    tokio::time::sleep(at).await;
    match leave {
        Leave::CloseFirst | Leave::CloseSecond => {
            let (first, second) = if matches!(leave, Leave::CloseFirst) { (&a, &b) } else { (&b, &a) };
            first.close();
            first.closed().await;
            // The other one learns of it, if there is anything to learn it from.
            tokio::time::sleep(ms(100)).await;
            second.close();
        }
        Leave::CloseBoth => {
            a.close();
            b.close();
        }
        Leave::DropBoth => {}
    }
    applications.quit();
    drop((a, b, channel, to_b));
    tokio::join!(until_gone(a_seen), until_gone(b_seen));
    assert_eq!(net.lab.open_sockets(), 0);
    driver_ended(net.lab.clone(), net).await;
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0, "{at:?} {leave:?}");
}

/// The network's own task ends with the last handle on it.
async fn driver_ended(lab: Lab, net: TwoHosts) {
    drop((lab, net));
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

fn virtual_rounds() {
    for step in 0..140 {
        let leave =
            [Leave::CloseFirst, Leave::CloseSecond, Leave::CloseBoth, Leave::DropBoth][step as usize % 4];
        support::simulate(virtual_round(ms(5 * step), leave));
    }
}

fn in_a_virtual_network() {
    virtual_rounds();
    let (blocks, bytes) = (counting::blocks(), counting::bytes());
    virtual_rounds();
    let (blocks_after, bytes_after) = (counting::blocks(), counting::bytes());
    support::say(&format!(
        "140 rounds in a virtual network:\n  before {blocks} blocks, {bytes} bytes\n  after  {blocks_after} \
         blocks, {bytes_after} bytes"
    ));
    assert!(blocks_after <= blocks + SLACK_BLOCKS, "blocks of memory are left");
    assert!(bytes_after <= bytes + SLACK_BYTES, "bytes are left");
}

/// One test, because what is measured is the process's.
#[test]
fn nothing_is_left_behind() {
    in_a_virtual_network();
    over_real_sockets();
}
