//! Sockets and hosts: binding, ports, batches, buffers, interfaces that come and go, and repeatability.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{self, IoSliceMut};

use common::{B, Pair, ms};
use peerstack_base::{AdapterType, AsyncUdpSocket, Ecn, PortRange, RecvMeta, Transmit};
use peerstack_netsim::{
    DropReason, Host, LinkConfig, LossModel, SocketOptions, Trace, TraceAction, addr, ip,
};

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn binding_says_what_is_taken_or_not_here() {
    let pair = Pair::new(1);
    assert_eq!(kind(pair.alice.bind(addr("192.0.2.1:1000"))), io::ErrorKind::AddrInUse);
    assert_eq!(kind(pair.alice.bind(addr("0.0.0.0:1000"))), io::ErrorKind::AddrInUse);
    assert_eq!(kind(pair.alice.bind(addr("192.0.2.2:1"))), io::ErrorKind::AddrNotAvailable);
    assert_eq!(kind(pair.alice.bind(addr("[2001:db8::1]:1"))), io::ErrorKind::AddrNotAvailable);
    // Ports of IPv4 and IPv6 are apart, and so are those of two addresses.
    let _any = pair.alice.bind(addr("[::]:1000")).unwrap();
    let _loopback = pair.alice.bind(addr("127.0.0.1:1000")).unwrap();
    pair.alice.interfaces()[0].set_bind_error(Some(io::ErrorKind::PermissionDenied));
    assert_eq!(kind(pair.alice.bind(addr("192.0.2.1:0"))), io::ErrorKind::PermissionDenied);
    pair.alice.interfaces()[0].set_bind_error(None);
    pair.alice.bind(addr("192.0.2.1:0")).unwrap();
}

#[test]
fn ephemeral_ports_and_ranges() {
    let pair = Pair::new(1);
    let ports = |pair: &Pair| {
        let sockets: Vec<_> = (0..50).map(|_| pair.alice.bind(addr("192.0.2.1:0")).unwrap()).collect();
        sockets.iter().map(|socket| socket.local().port()).collect::<Vec<_>>()
    };
    let first = ports(&pair);
    assert!(first.iter().all(|port| *port >= 49_152));
    assert_eq!(first, ports(&Pair::new(1)));
    assert_ne!(first, ports(&Pair::new(2)));

    let range = Some(PortRange { min: 3000, max: 3002 });
    let sockets: Vec<_> = (0..3).map(|_| pair.alice.bind_in(addr("192.0.2.1:0"), range).unwrap()).collect();
    assert_eq!(sockets.iter().map(|socket| socket.local().port()).collect::<Vec<_>>(), [3000, 3001, 3002]);
    assert_eq!(kind(pair.alice.bind_in(addr("192.0.2.1:0"), range)), io::ErrorKind::AddrInUse);
}

#[test]
fn dropping_a_socket_frees_its_port() {
    let Pair { lab, alice, a, b, .. } = Pair::new(1);
    assert_eq!(lab.open_sockets(), 2);
    a.send_to(b"x", addr(B)).unwrap();
    drop(b);
    assert_eq!(lab.open_sockets(), 1);
    lab.advance(lab.now());
    assert_eq!(lab.dropped(DropReason::NoSocket), 1);
    drop(a);
    assert_eq!(lab.open_sockets(), 0);
    alice.bind(addr("192.0.2.1:1000")).unwrap();
    assert_eq!(lab.open_sockets(), 0);
}

#[test]
fn sending_says_what_cannot_be() {
    let pair = Pair::new(1);
    assert_eq!(kind(pair.a.send_to(b"x", addr("[2001:db8::1]:1"))), io::ErrorKind::InvalidInput);
    assert_eq!(kind(pair.a.send_to(b"x", addr("192.0.2.2:0"))), io::ErrorKind::InvalidInput);
    assert_eq!(kind(pair.a.send_to(&[0; 65_508], addr(B))), io::ErrorKind::InvalidInput);
    let v6 = pair.alice.bind(addr("[::]:0")).unwrap();
    assert_eq!(kind(v6.send_to(b"x", addr("[2001:db8::1]:1"))), io::ErrorKind::NetworkUnreachable);
    let loopback = pair.alice.bind(addr("127.0.0.1:0")).unwrap();
    assert_eq!(kind(loopback.send_to(b"x", addr(B))), io::ErrorKind::NetworkUnreachable);
    // Nobody answers for an address that no host has.
    pair.a.send_to(b"x", addr("192.0.2.99:1")).unwrap();
    pair.lab.advance(pair.start);
    assert_eq!(pair.lab.dropped(DropReason::NoRoute), 1);
}

#[test]
fn a_host_reaches_itself_and_its_loopback() {
    let pair = Pair::new(1);
    let loopback = pair.alice.bind(addr("127.0.0.1:7")).unwrap();
    let any = pair.alice.bind(addr("0.0.0.0:8")).unwrap();
    any.send_to(b"x", loopback.local()).unwrap();
    loopback.send_to(b"y", addr("192.0.2.1:8")).unwrap();
    pair.lab.advance(pair.start);
    assert_eq!(loopback.try_recv().unwrap().source, addr("127.0.0.1:8"));
    assert_eq!(any.try_recv().unwrap().local_ip, ip("192.0.2.1"));
}

#[test]
fn an_interface_that_goes_down_and_up() {
    let pair = Pair::new(1);
    let eth0 = &pair.alice.interfaces()[0];
    eth0.set_up(false);
    assert!(!eth0.is_up());
    assert_eq!(kind(pair.a.send_to(b"x", addr(B))), io::ErrorKind::NetworkUnreachable);
    pair.b.send_to(b"x", addr("192.0.2.1:1000")).unwrap();
    pair.lab.advance(pair.start);
    assert_eq!(pair.lab.dropped(DropReason::LinkDown), 1);
    eth0.set_up(true);
    pair.a.send_to(b"x", addr(B)).unwrap();
    pair.lab.advance(pair.start);
    assert!(pair.b.try_recv().is_some());
}

#[test]
fn a_host_with_two_interfaces_sends_by_the_one_it_is_bound_to() {
    let pair = Pair::new(1);
    let cell =
        pair.alice.add_interface("wwan0", AdapterType::Cellular, &pair.lab.internet(), &[ip("198.51.100.7")]);
    cell.link().configure(LinkConfig::latency(ms(80)));
    let by_cell = pair.alice.bind(addr("198.51.100.7:0")).unwrap();
    by_cell.send_to(b"cell", addr(B)).unwrap();
    pair.a.send_to(b"eth", addr(B)).unwrap();
    let payloads: Vec<_> = pair.arrivals(ms(100)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(payloads, [0, 80_000]);
    // Any-address sockets take the first interface that is up.
    let any = pair.alice.bind(addr("0.0.0.0:0")).unwrap();
    pair.alice.interfaces()[0].set_up(false);
    any.send_to(b"any", addr(B)).unwrap();
    pair.lab.run_until(pair.start + ms(200));
    assert_eq!(pair.b.try_recv().unwrap().source.ip(), ip("198.51.100.7"));
}

#[test]
fn an_interface_moves_to_another_network() {
    let pair = Pair::new(1);
    let cafe = pair.lab.router("cafe", &pair.lab.internet());
    let eth0 = &pair.alice.interfaces()[0];
    eth0.move_to(&cafe, &[ip("203.0.113.50")]);
    assert_eq!(kind(pair.a.send_to(b"x", addr(B))), io::ErrorKind::NetworkUnreachable);
    let socket = pair.alice.bind(addr("203.0.113.50:0")).unwrap();
    socket.send_to(b"x", addr(B)).unwrap();
    pair.lab.advance(pair.start);
    let source = pair.b.try_recv().unwrap().source;
    pair.b.send_to(b"y", source).unwrap();
    pair.lab.advance(pair.start);
    assert!(socket.try_recv().is_some());
    eth0.set_ips(&[ip("203.0.113.51"), ip("2001:db8::51")]);
    pair.b.send_to(b"y", source).unwrap();
    pair.lab.advance(pair.start);
    assert_eq!(socket.try_recv(), None);
    assert_eq!(eth0.ips().len(), 2);
}

/// Sends datagrams of these sizes one by one, then receives into buffers of this size.
fn batches(pair: &Pair, sizes: &[usize], buffer: usize) -> Vec<(usize, usize)> {
    for (number, size) in sizes.iter().enumerate() {
        pair.a.send_to(&vec![number as u8; *size], addr(B)).unwrap();
    }
    pair.lab.advance(pair.lab.now());
    let mut received = Vec::new();
    loop {
        let mut space = [vec![0; buffer], vec![0; buffer]];
        let mut bufs = space.iter_mut().map(|space| IoSliceMut::new(space)).collect::<Vec<_>>();
        let mut meta = [RecvMeta::default(); 2];
        let count = pair.b.try_recv_batch(&mut bufs, &mut meta);
        if count == 0 {
            return received;
        }
        received.extend(meta[..count].iter().map(|meta| (meta.len, meta.stride)));
    }
}

#[test]
fn equal_datagrams_are_received_as_one_with_a_stride() {
    let pair = Pair::new(1);
    assert_eq!(batches(&pair, &[100, 100, 40, 100, 0, 7], 1500), [(240, 100), (100, 100), (0, 0), (7, 7)]);
    assert_eq!(batches(&pair, &[100, 100, 100], 250), [(200, 100), (100, 100)]);
    assert_eq!(batches(&pair, &[40, 100], 1500), [(40, 40), (100, 100)]);
    // A datagram longer than the buffer is cut, as recvmsg does.
    assert_eq!(batches(&pair, &[100, 10], 60), [(60, 60), (10, 10)]);
    let many = batches(&pair, &[10; 130], 65_536);
    assert_eq!(many, [(640, 10), (640, 10), (20, 10)]);
}

fn with_options(host: &Host, options: SocketOptions, local: &str) -> peerstack_netsim::HostSocket {
    host.set_socket_options(options);
    host.bind(addr(local)).unwrap()
}

#[test]
fn without_offload_each_datagram_stands_alone() {
    let mut pair = Pair::new(1);
    let options =
        SocketOptions { max_transmit_segments: 1, max_receive_segments: 1, ..SocketOptions::default() };
    pair.b = with_options(&pair.bob, options, "192.0.2.2:2001");
    let mut a = with_options(&pair.alice, options, "192.0.2.1:1001");
    a.send_to(&[1; 10], pair.b.local()).unwrap();
    let transmit = Transmit {
        destination: pair.b.local(),
        ecn: Ecn::NotEct,
        contents: &[0; 30],
        segment_size: Some(10),
    };
    assert_eq!(kind(a.try_send(&transmit)), io::ErrorKind::InvalidInput);
    assert_eq!((a.max_transmit_segments(), a.max_receive_segments()), (1, 1));
    a.send_to(&[2; 10], pair.b.local()).unwrap();
    assert_eq!(batches(&pair, &[], 1500), [(10, 10), (10, 10)]);
}

#[test]
fn a_transmit_is_cut_into_segments() {
    let mut pair = Pair::new(1);
    let transmit =
        Transmit { destination: addr(B), ecn: Ecn::Ce, contents: &[7; 250], segment_size: Some(100) };
    pair.a.try_send(&transmit).unwrap();
    pair.lab.advance(pair.start);
    let sizes: Vec<_> = std::iter::from_fn(|| pair.b.try_recv()).map(|d| (d.payload.len(), d.ecn)).collect();
    assert_eq!(sizes, [(100, Ecn::Ce), (100, Ecn::Ce), (50, Ecn::Ce)]);
    let empty = Transmit { destination: addr(B), ecn: Ecn::Ce, contents: &[], segment_size: None };
    pair.a.try_send(&empty).unwrap();
    pair.lab.advance(pair.start);
    assert_eq!(pair.b.try_recv().unwrap().payload, b"");
}

#[test]
fn a_full_receive_buffer_drops_and_counts() {
    let mut pair = Pair::new(1);
    let options = SocketOptions { receive_buffer: 250, ..SocketOptions::default() };
    pair.b = with_options(&pair.bob, options, "192.0.2.2:2001");
    for _ in 0..4 {
        pair.a.send_to(&[0; 100], pair.b.local()).unwrap();
    }
    pair.lab.advance(pair.start);
    assert_eq!((pair.b.overflowed(), pair.b.pending_bytes()), (2, 200));
    assert_eq!(pair.lab.dropped(DropReason::ReceiveBuffer), 2);
    pair.b.try_recv().unwrap();
    pair.a.send_to(&[0; 100], pair.b.local()).unwrap();
    pair.lab.advance(pair.start);
    assert_eq!((pair.b.overflowed(), pair.b.pending_bytes()), (2, 200));
}

#[test]
fn a_server_answers_and_does_not_count_as_a_socket() {
    let pair = Pair::new(1);
    let at = addr("192.0.2.2:7");
    pair.bob.serve(at, |_, packet| {
        let mut answer = packet.clone();
        std::mem::swap(&mut answer.source, &mut answer.destination);
        vec![answer]
    });
    assert_eq!(pair.lab.open_sockets(), 2);
    assert_eq!(kind(pair.bob.bind(at)), io::ErrorKind::AddrInUse);
    pair.a.send_to(b"echo", at).unwrap();
    pair.lab.advance(pair.start);
    assert_eq!(pair.a.try_recv().unwrap().source, at);
    pair.bob.stop_serving(at);
    pair.bob.bind(at).unwrap();
}

/// A storm over bad links, answered by the other side.
fn storm(seed: u64, further_host: bool) -> Trace {
    let pair = Pair::new(seed);
    if further_host {
        pair.lab.host_at("further", &pair.lab.internet(), ip("192.0.2.77"));
    }
    let config = LinkConfig::latency(ms(20))
        .with_jitter(ms(5))
        .with_loss(LossModel::bursty(0.2, 3.0))
        .with_duplicate(0.05)
        .with_reorder(0.05, ms(7))
        .with_rate(2_000_000, 10_000);
    pair.alice.interfaces()[0].link().configure(config.clone());
    pair.bob.interfaces()[0].link().configure(config);
    for round in 0..200 {
        pair.lab.run_until(pair.start + ms(round * 3));
        pair.a.send_to(&[20; 500], addr(B)).unwrap();
        while let Some(datagram) = pair.b.try_recv() {
            pair.b.send_to(&[128; 300], datagram.source).unwrap();
        }
    }
    pair.lab.run_until(pair.start + ms(2000));
    pair.lab.trace()
}

#[test]
fn a_seed_gives_the_same_trace_again() {
    let trace = storm(11, false);
    assert!(trace.entries().iter().any(|entry| entry.action == TraceAction::Dropped(DropReason::Loss)));
    assert!(trace.entries().len() > 500);
    assert_eq!(trace.first_difference(&storm(11, false)), None);
    // Another host does not shift what is drawn for these links.
    assert_eq!(trace.first_difference(&storm(11, true)), None);
    let difference = trace.first_difference(&storm(12, false)).unwrap();
    assert!(difference.contains("this ") && difference.contains("other "), "{difference}");
    assert!(trace.to_string().lines().next().unwrap().contains("alice"));
}
