//! Under tokio's paused clock: times, wakers, the driver's end, networks and names.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::future::poll_fn;
use std::io::{self, IoSliceMut};
use std::task::Poll;

use common::{ms, us};
use peerstack_base::{AdapterType, AsyncUdpSocket, Ecn, RecvMeta, Transmit};
use peerstack_netsim::{DnsAnswer, HostSocket, Lab, LinkConfig, LossModel, Nat, Trace, addr, ip};

async fn recv(socket: &mut HostSocket) -> (RecvMeta, Vec<u8>) {
    let mut buffer = vec![0; 65_536];
    let mut meta = [RecvMeta::default()];
    let count =
        poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)).await.unwrap();
    assert_eq!(count, 1);
    buffer.truncate(meta[0].len);
    (meta[0], buffer)
}

fn transmit(destination: &str, contents: &'static [u8]) -> Transmit<'static> {
    Transmit { destination: addr(destination), ecn: Ecn::Ect0, contents, segment_size: None }
}

#[tokio::test(start_paused = true)]
async fn a_datagram_arrives_at_its_virtual_time() {
    let lab = Lab::start(1);
    let alice = lab.host_at("alice", &lab.internet(), ip("192.0.2.1"));
    let bob = lab.host_at("bob", &lab.internet(), ip("2001:db8::2"));
    bob.add_interface("eth1", AdapterType::Wifi, &lab.internet(), &[ip("192.0.2.2")]);
    let mut a = alice.bind(addr("192.0.2.1:0")).unwrap();
    let mut b = bob.bind(addr("0.0.0.0:2000")).unwrap();
    alice.interfaces()[0].link().configure(LinkConfig::latency(ms(250)));

    let began = lab.now();
    a.try_send(&transmit("192.0.2.2:2000", b"ping")).unwrap();
    let (meta, bytes) = recv(&mut b).await;
    assert_eq!(lab.now() - began, ms(250));
    assert_eq!((meta.remote, meta.ecn), (a.local_addr().unwrap(), Ecn::Ect0));
    assert_eq!((meta.local_ip, &bytes[..]), (Some(ip("192.0.2.2")), &b"ping"[..]));

    b.try_send(&Transmit {
        destination: meta.remote,
        ecn: Ecn::NotEct,
        contents: b"pong",
        segment_size: None,
    })
    .unwrap();
    let (meta, _) = recv(&mut a).await;
    assert_eq!(meta.remote, addr("192.0.2.2:2000"));
    assert_eq!(lab.now() - began, ms(500));
}

#[tokio::test(start_paused = true)]
async fn inside_times_are_exact_while_readiness_has_tokios_grain() {
    let lab = Lab::start(1);
    let alice = lab.host_at("alice", &lab.internet(), ip("192.0.2.1"));
    let bob = lab.host_at("bob", &lab.internet(), ip("192.0.2.2"));
    for host in [&alice, &bob] {
        host.interfaces()[0].link().configure(LinkConfig::latency(us(1300)));
    }
    let mut a = alice.bind(addr("192.0.2.1:0")).unwrap();
    let mut b = bob.bind(addr("192.0.2.2:2000")).unwrap();
    a.try_send(&transmit("192.0.2.2:2000", b"ping")).unwrap();
    recv(&mut b).await;
    assert_eq!(lab.elapsed(), ms(3));
    let trace = lab.trace();
    assert_eq!(trace.entries().last().unwrap().at, us(2600));
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_with_the_last_handle() {
    let lab = Lab::with_tokio_clock(1);
    let mut run = Box::pin(lab.run());
    assert!(poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await);
    let host = lab.host("alone");
    drop(lab);
    assert!(poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await);
    drop(host);
    run.await;
}

#[tokio::test(start_paused = true)]
async fn networks_tell_of_changes() {
    let lab = Lab::start(1);
    let host = lab.host("phone");
    let wifi = host.add_interface(
        "wlan0",
        AdapterType::Wifi,
        &lab.internet(),
        &[ip("192.0.2.1"), ip("2001:db8::1")],
    );
    host.add_interface("wwan0", AdapterType::Cellular, &lab.internet(), &[ip("192.0.2.9")]);
    let mut manager = host.network_manager();
    let networks = manager.networks();
    let summary: Vec<_> = networks.iter().map(|n| (&n.name[..], n.ips[0], n.id, n.preference)).collect();
    assert_eq!(
        summary,
        [
            ("wlan0", ip("2001:db8::1"), 1, 127),
            ("wlan0", ip("192.0.2.1"), 2, 126),
            ("wwan0", ip("192.0.2.9"), 3, 125)
        ]
    );
    assert!(poll_fn(|cx| Poll::Ready(manager.poll_changed(cx).is_pending())).await);
    let off = wifi.clone();
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        tokio::time::sleep(ms(70)).await;
        off.set_up(false);
    });
    poll_fn(|cx| manager.poll_changed(cx)).await;
    assert_eq!(lab.elapsed(), ms(70));
    let networks = manager.networks();
    assert_eq!(networks.iter().map(|n| (&n.name[..], n.id)).collect::<Vec<_>>(), [("wwan0", 3)]);
    assert!(poll_fn(|cx| Poll::Ready(manager.poll_changed(cx).is_pending())).await);
    assert_eq!(host.bind(addr("192.0.2.1:0")).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);

    wifi.set_up(true);
    assert!(poll_fn(|cx| Poll::Ready(manager.poll_changed(cx).is_ready())).await);
    assert_eq!(manager.networks()[0].id, 1, "a network that returns keeps its id");
    host.set_listed(false);
    assert!(manager.networks().is_empty());
}

#[tokio::test(start_paused = true)]
async fn names_resolve_fail_and_stay_silent() {
    let lab = Lab::start(1);
    lab.set_name("stun.example.com", &[ip("192.0.2.3"), ip("2001:db8::3")]);
    lab.set_name("8f2e.local", &[ip("192.168.0.2")]);
    lab.set_answer("broken.example.com", DnsAnswer::Error(io::ErrorKind::TimedOut));
    lab.set_answer("silent.example.com", DnsAnswer::Silence);
    let resolver = lab.dns_resolver();
    assert_eq!(resolver.resolve("STUN.example.com.").await.unwrap(), [ip("192.0.2.3"), ip("2001:db8::3")]);
    lab.set_dns_latency(ms(30));
    assert_eq!(resolver.resolve("8f2e.local").await.unwrap(), [ip("192.168.0.2")]);
    assert_eq!(lab.elapsed(), ms(30));
    assert_eq!(resolver.resolve("broken.example.com").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(resolver.resolve("unknown.example.com").await.unwrap_err().kind(), io::ErrorKind::NotFound);
    let silent = tokio::time::timeout(ms(10_000), resolver.resolve("silent.example.com")).await;
    assert!(silent.is_err());
    assert_eq!(lab.dns_queries().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_host_would_block_and_wakes_writers() {
    let lab = Lab::start(1);
    let host = lab.host_at("alice", &lab.internet(), ip("192.0.2.1"));
    let mut socket = host.bind(addr("192.0.2.1:0")).unwrap();
    host.set_send_blocked(true);
    let refused = socket.try_send(&transmit("192.0.2.2:2000", b"x")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    tokio::spawn(async move {
        tokio::time::sleep(ms(20)).await;
        host.set_send_blocked(false);
    });
    poll_fn(|cx| socket.poll_writable(cx)).await.unwrap();
    assert_eq!(lab.elapsed(), ms(20));
    socket.try_send(&transmit("192.0.2.2:2000", b"x")).unwrap();
}

/// Two tasks that answer each other over a bad link for ten virtual seconds, one of them with a timer.
async fn conversation(seed: u64) -> Trace {
    let lab = Lab::start(seed);
    let nat = Nat::symmetric("home", &lab.internet(), ip("203.0.113.1"));
    let alice = lab.host_at("alice", &nat, ip("192.168.0.2"));
    let bob = lab.host_at("bob", &lab.internet(), ip("192.0.2.2"));
    alice.interfaces()[0]
        .link()
        .configure(LinkConfig::latency(us(12_345)).with_loss(LossModel::Uniform(0.2)).with_jitter(ms(9)));
    let mut a = alice.bind(addr("192.168.0.2:0")).unwrap();
    let mut b = bob.bind(addr("192.0.2.2:2000")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test's own task")]
    let echo = tokio::spawn(async move {
        loop {
            let (meta, bytes) = recv(&mut b).await;
            let _ = b.try_send(&Transmit {
                destination: meta.remote,
                ecn: Ecn::NotEct,
                contents: &bytes,
                segment_size: (meta.stride < meta.len).then_some(meta.stride),
            });
        }
    });
    let mut random = lab.random("alice");
    while lab.elapsed() < ms(10_000) {
        let _ = a.try_send(&transmit("192.0.2.2:2000", b"some words"));
        let pause = ms(random.below(40));
        let _ = tokio::time::timeout(pause, recv(&mut a)).await;
    }
    echo.abort();
    lab.trace()
}

#[tokio::test(start_paused = true)]
async fn a_conversation_of_tasks_repeats() {
    let first = conversation(3).await;
    assert!(first.entries().len() > 1000);
    assert_eq!(first.first_difference(&conversation(3).await), None);
    assert!(first.first_difference(&conversation(4).await).is_some());
}

#[tokio::test(start_paused = true)]
async fn the_date_follows_the_clock() {
    let lab = Lab::start(1);
    let clock = lab.wall_clock();
    let began = clock.now();
    tokio::time::advance(ms(1500)).await;
    assert_eq!(clock.now().duration_since(began).unwrap(), ms(1500));
    assert_eq!(lab.random("a").u64(), lab.random("a").u64());
    assert_ne!(lab.random("a").u64(), lab.random("b").u64());
}
