//! One connection's gathering in a virtual home network, event by event, as a log of libwebrtc shows it: an
//! interface `en0` (Wi-Fi, 192.168.50.49) behind a NAT (59.109.147.213), a STUN server on the internet. Then two
//! such homes meet.
//!
//! The log: UDP phase; host candidate gathered, priority 2122260223; port ready; the candidate signalled; 20 ms
//! later the server-reflexive candidate gathered, priority 1686052607; port completed; that candidate signalled.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails")]

mod support;

use std::cell::RefCell;
use std::io::Write;
use std::time::Duration;

use peerstack::base::AdapterType;
use peerstack::{
    CandidateType, Configuration, DataChannelEvent, DataChannelInit, IceGatheringState, IceServer,
    PeerConnectionEvent,
};
use peerstack_netsim::{Host, Lab, LinkConfig, NatConfig, PortAssignment, StunServer, addr, ip};
use support::{Peer, ms};

const STUN: &str = "198.51.100.9:3478";

/// A home: its NAT, and a laptop on its Wi-Fi 10 ms from the internet.
fn home(lab: &Lab, name: &str, outside: &str, inside: &str) -> Host {
    let config = NatConfig::port_restricted().with_ports(PortAssignment::Random);
    let nat = lab.nat(name, &lab.internet(), &[ip(outside)], config);
    let host = lab.host(&format!("{name} laptop"));
    let en0 = host.add_interface("en0", AdapterType::Wifi, &nat, &[ip(inside)]);
    en0.link().configure(LinkConfig::latency(ms(10)));
    host
}

fn lab() -> Lab {
    let lab = Lab::start(1);
    let server = lab.host_at("stun", &lab.internet(), addr(STUN).ip());
    StunServer::new(&server, addr(STUN));
    lab
}

fn peer(lab: &Lab, host: &Host, number: usize) -> Peer {
    let configuration = Configuration::new()
        .with_certificate(support::certificate(number))
        .with_ice_servers([IceServer::new(format!("stun:{STUN}"))]);
    Peer::with(configuration, support::dependencies(lab, host))
}

thread_local! {
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where the layers' `tracing` lines go: each test has a thread, and all its tasks run there.
#[derive(Debug)]
struct ThreadLog;

impl Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the lines are called in libwebrtc's log; other lines are not in it.
fn steps(log: &str) -> Vec<&'static str> {
    let known = [
        (&["ice::gathering", "phase=Udp"][..], "Allocation Phase=Udp"),
        (&["ice::port", "CandidateReady", "priority: 2122260223", "Host"], "Gathered candidate, host"),
        (&["ice::gathering", "PortReady"], "Port ready"),
        (&["peer_connection", "IceCandidate", "typ host"], "C->RS POST, host"),
        (&["ice::port", "CandidateReady", "priority: 1686052607", "Srflx"], "Gathered candidate, srflx"),
        (&["ice::port", "Complete("], "Port completed gathering candidates"),
        (&["peer_connection", "IceCandidate", "typ srflx"], "C->RS POST, srflx"),
        (&["ice::port", "Candidate"], "another candidate"),
        // W3C's end of candidates, which libwebrtc's log has not.
        (&["peer_connection", "IceCandidate(", "candidate: \"\""], "end of candidates signalled"),
        (&["peer_connection", "IceCandidate("], "another candidate signalled"),
    ];
    let step = |line: &str| {
        let (_, name) = known.iter().find(|(words, _)| words.iter().all(|word| line.contains(word)))?;
        Some(*name)
    };
    log.lines().filter_map(step).collect()
}

#[derive(Debug, PartialEq)]
enum Told {
    Gathering(IceGatheringState),
    Candidate(String),
}

/// What the application is told until gathering is complete, each with its time.
async fn gather(lab: &Lab, peer: &mut Peer) -> Vec<(Duration, Told)> {
    let mut told = Vec::new();
    loop {
        match peer.events.next().await.unwrap() {
            PeerConnectionEvent::IceCandidate(candidate) => {
                told.push((lab.elapsed(), Told::Candidate(candidate.candidate)));
            }
            PeerConnectionEvent::IceGatheringStateChange(state) => {
                told.push((lab.elapsed(), Told::Gathering(state)));
                if state == IceGatheringState::Complete {
                    return told;
                }
            }
            _ => {}
        }
    }
}

/// The candidate line with what is drawn by lot (foundation, ports, ufrag) named instead.
fn without_chance(line: &str) -> String {
    if line.is_empty() {
        return "END".to_owned();
    }
    let mut words: Vec<&str> = line.split(' ').collect();
    words[0] = "candidate:FOUNDATION";
    words[5] = "PORT";
    for (name, value) in [("rport", "PORT"), ("ufrag", "UFRAG")] {
        if let Some(index) = words.iter().position(|word| *word == name) {
            words[index + 1] = value;
        }
    }
    words.join(" ")
}

#[test]
fn gathering_goes_as_libwebrtcs_log_shows_it() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(|| ThreadLog)
        .init();
    let told = support::simulate(async {
        let lab = lab();
        let host = home(&lab, "home", "59.109.147.213", "192.168.50.49");
        let mut peer = peer(&lab, &host, 0);
        let _channel = peer.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        let offer = peer.pc.create_offer(Default::default()).await.unwrap();
        peer.pc.set_local_description(offer).await.unwrap();
        gather(&lab, &mut peer).await
    });
    let log = String::from_utf8(LOG.take()).unwrap();
    let expected = [
        "Allocation Phase=Udp",
        "Gathered candidate, host",
        "Port ready",
        "C->RS POST, host",
        "Gathered candidate, srflx",
        "Port completed gathering candidates",
        "C->RS POST, srflx",
        "end of candidates signalled",
    ];
    assert_eq!(steps(&log), expected, "{log}");

    let host = "candidate:FOUNDATION 1 udp 2122260223 192.168.50.49 PORT typ host generation 0 ufrag UFRAG \
                network-id 1 network-cost 10";
    let srflx = "candidate:FOUNDATION 1 udp 1686052607 59.109.147.213 PORT typ srflx raddr 192.168.50.49 \
                 rport PORT generation 0 ufrag UFRAG network-id 1 network-cost 10";
    let told: Vec<_> = told
        .into_iter()
        .map(|(at, told)| match told {
            Told::Candidate(line) => (at, Told::Candidate(without_chance(&line))),
            other => (at, other),
        })
        .collect();
    let expected = [
        (ms(0), Told::Gathering(IceGatheringState::Gathering)),
        (ms(0), Told::Candidate(host.into())),
        (ms(20), Told::Candidate(srflx.into())),
        (ms(20), Told::Candidate("END".into())),
        (ms(20), Told::Gathering(IceGatheringState::Complete)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn two_homes_meet_through_their_nats() {
    support::simulate(async {
        let lab = lab();
        let left = home(&lab, "left", "59.109.147.213", "192.168.50.49");
        let right = home(&lab, "right", "203.0.113.7", "192.168.1.2");
        let (a, b) = (peer(&lab, &left, 0), peer(&lab, &right, 1));
        let (a_pc, b_pc) = (a.pc.clone(), b.pc.clone());
        let channel = a_pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        let ((to_b, _a_seen), (_, mut b_seen)) = support::join(a, b, ms(20));
        to_b.offer(&a_pc).await;
        let remote = support::incoming_channel(&mut b_seen).await;
        while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
        for pc in [&a_pc, &b_pc] {
            let pair = pc.selected_candidate_pair().await.unwrap().unwrap();
            assert_eq!(pair.local.candidate_type, CandidateType::Srflx, "{pair:?}");
            assert_eq!(pair.remote.candidate_type, CandidateType::Srflx, "{pair:?}");
        }
        // Signalling once each way, gathering of the answerer, a check or two, DTLS and SCTP.
        assert!(lab.elapsed() < ms(600), "{:?}", lab.elapsed());
        drop(remote);
        a_pc.close();
        b_pc.close();
        tokio::join!(a_pc.closed(), b_pc.closed());
        assert_eq!(lab.open_sockets(), 0);
    });
}
