//! Two PeerConnections over a virtual network: they connect under loss, every time, and every run repeats.
//!
//! For each loss rate and seed a connection with a data channel and audio both ways is made, used and closed,
//! twice; the two traces (time, place, from, to, kind of packet, length) must be the same. The time it took is
//! printed as a table in units of the round trip. `PEERSTACK_SIMULATION_SEEDS` sets the number of seeds.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use peerstack::{
    DataChannel, DataChannelEvent, DataChannelInit, MediaStreamTrack, PeerConnection, TrackKind,
};
use peerstack_netsim::{LossModel, Trace, TraceEntry, TraceKind};
use support::{ROUND_TRIP, Seen, TwoHosts};

const LOSSES: [f64; 3] = [0.0, 0.1, 0.3];
const LIMIT: Duration = Duration::from_secs(30);

/// When each thing was there, counted from the moment the offer was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Times {
    /// Both ends of the data channel open.
    channel: Duration,
    /// An RTP packet through each way.
    rtp: Duration,
}

#[derive(Debug)]
struct Run {
    connected: Option<Times>,
    trace: Trace,
}

async fn opened(channel: &DataChannel) {
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
}

async fn rtp_arrives(pc: &PeerConnection) {
    let track = pc.transceivers()[0].receiver().track();
    assert_eq!(track.recv().await.unwrap().payload.len(), 80);
}

/// Both ends: the channel open, an RTP packet through.
async fn connected(
    (a, b): (&PeerConnection, &PeerConnection),
    channel: &DataChannel,
    b_seen: &mut Seen,
    net: &TwoHosts,
) -> Times {
    let channels = async {
        let incoming = async {
            let channel = support::incoming_channel(b_seen).await;
            opened(&channel).await;
            channel
        };
        let ((), remote) = tokio::join!(biased; opened(channel), incoming);
        (net.lab.elapsed(), remote)
    };
    let rtp = async {
        tokio::join!(biased; rtp_arrives(a), rtp_arrives(b));
        net.lab.elapsed()
    };
    let ((channel, _remote), rtp) = tokio::join!(biased; channels, rtp);
    Times { channel, rtp }
}

async fn run(seed: u64, loss: f64) -> Run {
    let net = TwoHosts::start(seed, |link| link.with_loss(LossModel::Uniform(loss)));
    let (a_peer, b_peer) = net.peers();
    let (a, b) = (a_peer.pc.clone(), b_peer.pc.clone());
    let channel = a.create_data_channel("data", DataChannelInit::default()).unwrap();
    let a_sender = a.add_track(MediaStreamTrack::with_id(TrackKind::Audio, "a"), &["s".into()]).unwrap();
    let b_sender = b.add_track(MediaStreamTrack::with_id(TrackKind::Audio, "b"), &["s".into()]).unwrap();
    let ((to_b, _a_seen), (_, mut b_seen)) = support::join(a_peer, b_peer, ROUND_TRIP / 2);
    let work = async {
        to_b.offer(&a).await;
        connected((&a, &b), &channel, &mut b_seen, &net).await
    };
    let media = async { tokio::join!(biased; support::send_audio(a_sender), support::send_audio(b_sender)) };
    let connected = tokio::select! {
        biased;
        times = work => Some(times),
        _ = media => None,
        () = sleep(LIMIT) => None,
    };
    a.close();
    b.close();
    tokio::join!(biased; a.closed(), b.closed());
    assert_eq!(net.lab.open_sockets(), 0);
    Run { connected, trace: net.lab.trace() }
}

#[expect(clippy::disallowed_methods, reason = "the virtual clock of a test")]
async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}

/// One seed, twice.
fn run_twice(seed: u64, loss: f64) -> Result<Times, String> {
    let [first, second] = [(); 2].map(|()| support::simulate(run(seed, loss)));
    let at = format!("seed {seed} at {loss} loss");
    if let Some(difference) = first.trace.first_difference(&second.trace) {
        return Err(format!("{at}: two runs part at {difference}"));
    }
    let dtls = |entry: &TraceEntry| matches!(entry.kind, TraceKind::Dtls(_));
    first.connected.ok_or_else(|| format!("{at}: not connected in {LIMIT:?}\n{}", first.trace.only(dtls)))
}

/// All seeds, on as many threads as there are processors.
fn all_seeds(seeds: usize, loss: f64) -> (Vec<Times>, Vec<String>) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Vec::new(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let result = run_twice(seed as u64, loss);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(times) => results.0.push(times),
                        Err(failure) => results.1.push(failure),
                    }
                }
            });
        }
    });
    results.into_inner().unwrap()
}

fn row(name: &str, mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() - 1) as f64 * share).round() as usize;
        times[index].as_secs_f64() / ROUND_TRIP.as_secs_f64()
    };
    let columns = [0.0, 0.5, 0.9, 0.99, 1.0].map(|share| format!("{:>8.2}", at(share)));
    format!("{name:<28}{}", columns.concat())
}

#[test]
fn connections_are_made_under_loss_and_every_run_repeats() {
    let seeds = std::env::var("PEERSTACK_SIMULATION_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds = seeds.unwrap_or(200);
    let header = ["min", "median", "p90", "p99", "max"].map(|column| format!("{column:>8}"));
    support::say("Round trips (of 100 ms) from create_offer, signalling with half a round trip a message:");
    support::say(&format!("{:<28}{}", "", header.concat()));
    let mut failures = Vec::new();
    for loss in LOSSES {
        let (times, failed) = all_seeds(seeds, loss);
        if !times.is_empty() {
            let name = format!("{:>3.0} % loss, RTP both ways", loss * 100.0);
            support::say(&row(&name, times.iter().map(|times| times.rtp).collect()));
            let name = format!("{:>3.0} % loss, data channel", loss * 100.0);
            support::say(&row(&name, times.iter().map(|times| times.channel).collect()));
        }
        failures.extend(failed);
    }
    let count = failures.len();
    failures.truncate(3);
    assert!(failures.is_empty(), "{count} of {} failed:\n{}", seeds * LOSSES.len(), failures.join("\n"));
}
