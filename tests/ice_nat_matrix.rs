//! The NAT matrix: two PeerConnections, each behind one of ten kinds of access, with a STUN server and a TURN
//! server that is reached over UDP, TCP and TLS. Each of the 100 cells says which pair of candidates carries the
//! data in the end, as libwebrtc's `p2p_transport_channel_unittest` has it for 56 of them; the other 44, where
//! its virtual network has no TCP, follow from what gets through: direct TCP where one end can listen and the
//! other can reach it, else a relay over UDP, TCP or TLS, whichever gets out.
//!
//! `PEERSTACK_SIMULATION_SEEDS` sets the number of seeds of each cell under loss.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails")]
#![expect(clippy::disallowed_methods, reason = "it waits by the virtual clock of a test")]

mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use peerstack::{
    CandidateType, Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage,
    IceServer, PeerConnection, PeerConnectionState, Settings, StatsReport, TcpCandidatePolicy,
};
use peerstack_netsim::{
    FirewallPolicy, Host, Lab, LinkConfig, LossModel, Nat, NatConfig, StunServer, TurnServer, addr, ip,
};
use support::{Peer, ms};

/// How a host is attached to the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// A public address.
    Open,
    /// A full-cone NAT.
    Cone,
    /// An address-restricted NAT.
    Addr,
    /// A port-restricted NAT.
    Port,
    /// A symmetric NAT.
    Symmetric,
    /// A cone behind a cone.
    DoubleCone,
    /// A cone behind a symmetric NAT.
    SymmetricThenCone,
    /// A public address; a firewall drops UDP.
    NoUdp,
    /// A public address; a firewall drops UDP and connections from outside.
    NoUdpNoIncomingTcp,
    /// A public address; a firewall drops all but connections to ports 80 and 443 of others.
    Http,
}

use Access::{
    Addr, Cone, DoubleCone, Http, NoUdp, NoUdpNoIncomingTcp, Open, Port, Symmetric, SymmetricThenCone,
};

const ACCESSES: [Access; 10] =
    [Open, Cone, Addr, Port, Symmetric, DoubleCone, SymmetricThenCone, NoUdp, NoUdpNoIncomingTcp, Http];

/// Local candidate type of the controlling side / of the controlled side; h host, s server-reflexive, p
/// peer-reflexive, r relay; T over TCP. Row: the controlling side's access; column: the controlled side's.
#[rustfmt::skip]
const MATRIX: [[&str; 10]; 10] = [
    //          Open     Cone     Addr     Port     Sym      2Cone    Sym>Cone NoUdp    !TCPin   Http
    /* Open  */ ["h/h",   "h/s",   "h/s",   "h/s",   "h/p",   "h/s",   "h/p",   "hT/pT", "hT/pT", "h/r"],
    /* Cone  */ ["s/h",   "s/s",   "s/s",   "s/s",   "s/p",   "s/s",   "s/p",   "pT/hT", "s/r",   "s/r"],
    /* Addr  */ ["s/h",   "s/s",   "s/s",   "s/s",   "s/p",   "s/s",   "s/p",   "pT/hT", "s/r",   "s/r"],
    /* Port  */ ["s/h",   "s/s",   "s/s",   "s/s",   "r/p",   "s/s",   "r/p",   "pT/hT", "s/r",   "s/r"],
    /* Sym   */ ["p/h",   "p/s",   "p/s",   "p/r",   "p/r",   "p/s",   "p/r",   "pT/hT", "p/r",   "p/r"],
    /* 2Cone */ ["s/h",   "s/s",   "s/s",   "s/s",   "s/p",   "s/s",   "s/p",   "pT/hT", "s/r",   "s/r"],
    /* S>C   */ ["p/h",   "p/s",   "p/s",   "p/r",   "p/r",   "p/s",   "p/r",   "pT/hT", "p/r",   "p/r"],
    /* NoUdp */ ["hT/pT", "hT/pT", "hT/pT", "hT/pT", "hT/pT", "hT/pT", "hT/pT", "hT/pT", "hT/pT", "r/r"],
    /* !TCPin*/ ["pT/hT", "r/s",   "r/s",   "r/s",   "r/p",   "r/s",   "r/p",   "pT/hT", "r/r",   "r/r"],
    /* Http  */ ["r/h",   "r/s",   "r/s",   "r/s",   "r/p",   "r/s",   "r/p",   "r/r",   "r/r",   "r/r"],
];

/// Where only a relay will do, either side's will. Both pairs are of one priority, but for who controls and for
/// what checks bring to light, so that loss can decide: the pair that works first is nominated and prunes the
/// other, and the side whose allocation is late has stopped gathering by then (G40).
const EITHER_RELAY: [(&str, &str); 3] = [("r/p", "s/r"), ("p/r", "r/s"), ("p/r", "r/p")];

fn is_expected(pair: &str, expected: &str, loss: f64) -> bool {
    pair == expected || (loss > 0.0 && EITHER_RELAY.contains(&(expected, pair)))
}

const STUN: &str = "198.51.100.9:3478";
const TURN: &str = "198.51.100.7:3478";
const TURN_TLS: &str = "198.51.100.7:443";

/// How long a pair may take to be writable both ways.
fn connecting(expected: &str) -> Duration {
    match expected {
        _ if expected.contains('T') => ms(4000),
        _ if expected.contains('r') => ms(3000),
        _ => ms(2000),
    }
}

/// How long the expected pair may take to be the selected one from then on.
const SETTLING: Duration = Duration::from_secs(10);
/// T07: a pair that was never answered is given up after so long, not before.
const GIVEN_UP: Duration = Duration::from_secs(15);
/// How long two sides between which nothing gets through may take to say so: every cell has pairs over TCP, and a connection
/// that is not answered is waited for for 30 s; then signalling and what looks at it.
const FAILING: Duration = Duration::from_secs(31);

fn host(lab: &Lab, name: &str, access: Access) -> Host {
    let number = u8::from(name == "b");
    let public = ip(&format!("203.0.113.{}", 1 + number));
    let private = ip(&format!("192.168.{number}.2"));
    let outer = |config: NatConfig| Nat::new(&format!("{name}-nat"), &lab.internet(), public, config);
    let behind = |outer: &Nat| {
        let middle = ip(&format!("10.9.{number}.1"));
        lab.host_at(name, &Nat::full_cone(&format!("{name}-inner"), outer, middle), private)
    };
    let walled =
        |policy| lab.host_at(name, &lab.firewall(&format!("{name}-wall"), &lab.internet(), policy), public);
    let host = match access {
        Open => lab.host_at(name, &lab.internet(), public),
        Cone => lab.host_at(name, &outer(NatConfig::full_cone()), private),
        Addr => lab.host_at(name, &outer(NatConfig::address_restricted()), private),
        Port => lab.host_at(name, &outer(NatConfig::port_restricted()), private),
        Symmetric => lab.host_at(name, &outer(NatConfig::symmetric()), private),
        DoubleCone => behind(&outer(NatConfig::full_cone())),
        SymmetricThenCone => behind(&outer(NatConfig::symmetric())),
        NoUdp => walled(FirewallPolicy::BlockUdp),
        NoUdpNoIncomingTcp => walled(FirewallPolicy::BlockUdpAndIncomingTcp),
        Http => walled(FirewallPolicy::OutgoingHttpOnly),
    };
    host.interfaces()[0].link().configure(LinkConfig::latency(ms(10)));
    host
}

fn servers(lab: &Lab) {
    let stun = lab.host_at("stun", &lab.internet(), addr(STUN).ip());
    StunServer::new(&stun, addr(STUN));
    let turn = lab.host_at("turn", &lab.internet(), addr(TURN).ip());
    let turn = TurnServer::new(&turn, addr(TURN), &[addr(TURN).ip()], &[("user", "pass")]);
    turn.listen_tcp(addr(TURN));
    turn.listen_tcp(addr(TURN_TLS));
}

fn peer(lab: &Lab, host: &Host, number: usize, with_turn: bool) -> Peer {
    let mut ice_servers = vec![IceServer::new(format!("stun:{STUN}"))];
    if with_turn {
        let mut turn = IceServer::new(format!("turn:{TURN}?transport=udp"));
        turn.urls.push(format!("turn:{TURN}?transport=tcp"));
        turn.urls.push(format!("turns:{TURN_TLS}"));
        (turn.username, turn.credential) = ("user".into(), "pass".into());
        ice_servers.push(turn);
    }
    let mut settings = Settings::default();
    settings.tcp_candidates = TcpCandidatePolicy::ActivePassive;
    let configuration = Configuration::new()
        .with_certificate(support::certificate(number))
        .with_ice_servers(ice_servers)
        .with_settings(settings);
    Peer::with(configuration, support::dependencies(lab, host))
}

struct Cell {
    lab: Lab,
    a: PeerConnection,
    b: PeerConnection,
    channel: DataChannel,
    b_seen: support::Seen,
    a_seen: support::Seen,
}

/// Offers from `a`, which therefore controls.
async fn start(seed: u64, accesses: (Access, Access), loss: f64, with_turn: bool) -> Cell {
    let lab = Lab::start(seed);
    servers(&lab);
    let (host_a, host_b) = (host(&lab, "a", accesses.0), host(&lab, "b", accesses.1));
    for host in [&host_a, &host_b] {
        let config = LinkConfig::latency(ms(10)).with_loss(LossModel::Uniform(loss));
        host.interfaces()[0].link().configure(config);
    }
    let (peer_a, peer_b) = (peer(&lab, &host_a, 0, with_turn), peer(&lab, &host_b, 1, with_turn));
    let (a, b) = (peer_a.pc.clone(), peer_b.pc.clone());
    let channel = a.create_data_channel("matrix", DataChannelInit::default()).unwrap();
    let ((to_b, a_seen), (_, b_seen)) = support::join(peer_a, peer_b, ms(10));
    to_b.offer(&a).await;
    Cell { lab, a, b, channel, b_seen, a_seen }
}

fn letter(candidate_type: CandidateType, protocol: &str) -> String {
    let letter = match candidate_type {
        CandidateType::Host => "h",
        CandidateType::Srflx => "s",
        CandidateType::Prflx => "p",
        CandidateType::Relay => "r",
    };
    format!("{letter}{}", if protocol == "tcp" { "T" } else { "" })
}

/// The type of our candidate of the selected pair.
fn selected(report: &StatsReport) -> Option<String> {
    let pair = report.transports.first()?.selected_candidate_pair.as_ref()?;
    Some(letter(pair.local.candidate_type, &pair.local.protocol))
}

/// Local types of both ends, as a cell of the table has them.
async fn pair_of(a: &PeerConnection, b: &PeerConnection) -> String {
    let (a, b) = (a.stats().await.unwrap(), b.stats().await.unwrap());
    match (selected(&a), selected(&b)) {
        (Some(a), Some(b)) => format!("{a}/{b}"),
        _ => String::from("-"),
    }
}

fn messages() -> [DataChannelMessage; 10] {
    std::array::from_fn(|number| DataChannelMessage::Binary(vec![number as u8; 36].into()))
}

async fn connected(pc: &PeerConnection) {
    while pc.connection_state() != PeerConnectionState::Connected {
        tokio::time::sleep(ms(5)).await;
    }
}

/// Runs a cell; what was wrong, if anything was.
async fn run(seed: u64, accesses: (Access, Access), loss: f64, expected: &str) -> Result<(), String> {
    let mut cell = start(seed, accesses, loss, true).await;
    let both = async { tokio::join!(biased; connected(&cell.a), connected(&cell.b)) };
    // Lost packets take their time; what counts then is that it comes about.
    let limit = if loss > 0.0 { Duration::from_secs(60) } else { connecting(expected) };
    if tokio::time::timeout(limit, both).await.is_err() {
        let dropped = cell.lab.all_dropped();
        return Err(format!(
            "not connected within {limit:?}; {:?}; {dropped:?}",
            pair_of(&cell.a, &cell.b).await
        ));
    }
    let settling = async {
        while cell.channel.next_event().await.unwrap() != DataChannelEvent::Open {}
        let remote = support::incoming_channel(&mut cell.b_seen).await;
        let data = async {
            // Data shows the controlled side which of the pairs that work is meant: it goes on until both ends
            // are on one.
            loop {
                support::exchange(&cell.channel, &messages()).await;
                if is_expected(&pair_of(&cell.a, &cell.b).await, expected, loss) {
                    break;
                }
                tokio::time::sleep(ms(50)).await;
            }
        };
        tokio::select! {
            biased;
            () = data => {}
            () = support::echo_back(remote) => {}
        }
    };
    let limit = if loss > 0.0 { Duration::from_secs(60) } else { SETTLING };
    if tokio::time::timeout(limit, settling).await.is_err() {
        return Err(format!("{} instead of {expected}", pair_of(&cell.a, &cell.b).await));
    }
    while cell.a_seen.try_recv().is_ok() {}
    cell.a.close();
    cell.b.close();
    tokio::join!(cell.a.closed(), cell.b.closed());
    Ok(())
}

/// Runs every cell with these seeds on all cores; the cells that went wrong.
fn run_matrix(seeds: u64, loss: f64) -> Vec<String> {
    let jobs: Vec<(usize, usize, u64)> = (0..10)
        .flat_map(|row| (0..10).flat_map(move |column| (0..seeds).map(move |seed| (row, column, seed))))
        .collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((row, column, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)).copied()
                {
                    let accesses = (ACCESSES[row], ACCESSES[column]);
                    let result = support::simulate(run(seed + 1, accesses, loss, MATRIX[row][column]));
                    if let Err(error) = result {
                        let text = format!("{:?} to {:?}, seed {seed}: {error}", accesses.0, accesses.1);
                        failures.lock().unwrap().push(text);
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

/// N01, N02, N05, N06, N07, N09: all 100 cells. I14: also end to end over TURN by TCP and TLS.
#[test]
fn every_cell_connects_by_the_expected_pair() {
    let failures = run_matrix(1, 0.0);
    support::say(&format!("{} of 100", 100 - failures.len()));
    assert!(failures.is_empty(), "{failures:#?}");
}

/// N01: the same with 5 % of packets lost, each way, on each host's link.
#[test]
fn every_cell_connects_under_loss() {
    let seeds =
        std::env::var("PEERSTACK_SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1);
    let failures = run_matrix(seeds, 0.05);
    let total = 100 * seeds as usize;
    support::say(&format!("{} of {total} with 5 % loss", total - failures.len()));
    assert!(failures.is_empty(), "{failures:#?}");
}

/// I11, N06: every cell that needs a relay, in both orders of roles, and none but these, fails on both sides when there is
/// no TURN server, within [`FAILING`].
#[test]
fn no_way_through_ends_in_failed() {
    let cells: Vec<(Access, Access)> = (0..100)
        .filter(|cell| MATRIX[cell / 10][cell % 10].contains('r'))
        .map(|cell| (ACCESSES[cell / 10], ACCESSES[cell % 10]))
        .collect();
    let total = cells.len();
    let mut times = Vec::new();
    for accesses in cells {
        support::simulate(async {
            let cell = start(1, accesses, 0.0, false).await;
            let begun = cell.lab.elapsed();
            let failed = async |pc: &PeerConnection| {
                while pc.connection_state() != PeerConnectionState::Failed {
                    assert_ne!(pc.connection_state(), PeerConnectionState::Connected, "{accesses:?}");
                    tokio::time::sleep(ms(50)).await;
                }
                cell.lab.elapsed() - begun
            };
            let both = async { tokio::join!(biased; failed(&cell.a), failed(&cell.b)) };
            let result = tokio::time::timeout(FAILING, both).await;
            let states = (cell.a.connection_state(), cell.b.connection_state());
            let Ok(took) = result else { panic!("{accesses:?}: {states:?} after {FAILING:?}") };
            assert!(took.0.min(took.1) >= GIVEN_UP, "{accesses:?}: {took:?}");
            times.push(took.0.max(took.1));
        });
    }
    let longest = times.iter().max().unwrap();
    support::say(&format!("{total} of {total} fail without a TURN server, in {longest:?} at most"));
}
