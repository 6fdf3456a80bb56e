//! Links: latency, rate, queue, MTU, loss, jitter, duplication, reordering, filters; to the microsecond.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{B, Pair, ms, us};
use peerstack_netsim::{Direction, DropReason, Link, LinkConfig, LossModel, Packet, Verdict, addr};

fn link(pair: &Pair) -> Link {
    pair.alice.interfaces()[0].link()
}

fn send(pair: &Pair, count: usize, len: usize) {
    for number in 0..count {
        let mut payload = vec![0; len];
        if let Some(first) = payload.first_mut() {
            *first = number as u8;
        }
        pair.a.send_to(&payload, addr(B)).unwrap();
    }
}

#[test]
fn latencies_of_both_links_add_up_exactly() {
    let pair = Pair::new(1);
    link(&pair).configure(LinkConfig::latency(us(1234)));
    pair.bob.interfaces()[0].link().configure(LinkConfig::latency(ms(20)));
    send(&pair, 1, 10);
    pair.lab.advance(pair.start + us(21_233));
    assert_eq!(pair.b.try_recv(), None);
    pair.lab.advance(pair.start + us(21_234));
    let datagram = pair.b.try_recv().unwrap();
    assert_eq!((datagram.source, datagram.payload.len()), (addr("192.0.2.1:1000"), 10));
}

#[test]
fn directions_differ() {
    let pair = Pair::new(1);
    link(&pair).configure_direction(Direction::Outbound, LinkConfig::latency(ms(5)));
    link(&pair).configure_direction(Direction::Inbound, LinkConfig::latency(ms(50)));
    send(&pair, 1, 1);
    assert_eq!(pair.arrivals(ms(100)), [(5000, vec![0])]);
    pair.b.send_to(&[1], addr("192.0.2.1:1000")).unwrap();
    assert_eq!(pair.lab.next_event(), Some(pair.start + ms(5)));
    pair.lab.advance(pair.start + ms(54));
    assert_eq!(pair.a.try_recv(), None);
    pair.lab.advance(pair.start + ms(55));
    assert!(pair.a.try_recv().is_some());
}

#[test]
fn a_rate_spaces_packets_and_its_queue_drops_what_is_too_much() {
    let pair = Pair::new(1);
    // 972 + 28 bytes at 1 Mbit/s take 8 ms each; three fit into the queue.
    link(&pair).configure(LinkConfig::latency(ms(1)).with_rate(1_000_000, 3000));
    send(&pair, 5, 972);
    let arrivals: Vec<_> = pair.arrivals(ms(100)).into_iter().map(|(at, payload)| (at, payload[0])).collect();
    assert_eq!(arrivals, [(9_000, 0), (17_000, 1), (25_000, 2)]);
    assert_eq!(pair.lab.dropped(DropReason::Queue), 2);
    let stats = link(&pair).stats(Direction::Outbound);
    assert_eq!((stats.delivered.packets, stats.delivered.bytes, stats.queue_full), (3, 3000, 2));
}

#[test]
fn a_rate_is_kept_after_idle_time() {
    let pair = Pair::new(1);
    link(&pair).configure(LinkConfig::default().with_rate(8_000_000, 64 << 10));
    send(&pair, 1, 972);
    assert_eq!(pair.arrivals(ms(100)), [(1000, vec![0; 972])]);
    pair.lab.advance(pair.start + ms(10));
    send(&pair, 1, 972);
    assert_eq!(pair.arrivals(ms(100)), [(11_000, vec![0; 972])]);
}

#[test]
fn the_mtu_counts_ip_and_udp_headers() {
    let pair = Pair::new(1);
    link(&pair).update(|config| config.mtu = 1280);
    send(&pair, 1, 1252);
    send(&pair, 1, 1253);
    assert_eq!(pair.arrivals(ms(1)).len(), 1);
    assert_eq!(pair.lab.dropped(DropReason::Mtu), 1);
}

fn losses(seed: u64, loss: LossModel) -> (u64, Vec<usize>) {
    let pair = Pair::new(seed);
    link(&pair).set_loss(loss);
    let mut bursts = Vec::new();
    let mut burst = 0;
    for _ in 0..10_000 {
        send(&pair, 1, 1);
        let arrived = pair.arrivals(ms(1)).len();
        if arrived == 0 {
            burst += 1;
        } else if burst > 0 {
            bursts.push(burst);
            burst = 0;
        }
    }
    (link(&pair).stats(Direction::Outbound).lost, bursts)
}

#[test]
fn uniform_loss_has_its_rate_and_repeats() {
    let (lost, bursts) = losses(7, LossModel::Uniform(0.1));
    assert_eq!(lost, 994);
    assert_eq!(losses(7, LossModel::Uniform(0.1)), (lost, bursts));
    assert_ne!(losses(8, LossModel::Uniform(0.1)).0, lost);
    assert_eq!(losses(7, LossModel::None).0, 0);
    assert_eq!(losses(7, LossModel::Uniform(1.0)).0, 10_000);
}

#[test]
fn gilbert_elliott_loses_in_bursts() {
    let (lost, bursts) = losses(7, LossModel::bursty(0.1, 5.0));
    assert_eq!(lost, 995);
    let mean = bursts.iter().sum::<usize>() as f64 / bursts.len() as f64;
    assert!((4.5..5.5).contains(&mean), "{mean}");
    let (_, uniform) = losses(7, LossModel::Uniform(0.1));
    assert!(uniform.len() > 4 * bursts.len());
}

#[test]
fn jitter_varies_but_keeps_the_order() {
    let pair = Pair::new(3);
    link(&pair).configure(LinkConfig::latency(ms(10)).with_jitter(ms(5)));
    send(&pair, 100, 1);
    let arrivals = pair.arrivals(ms(100));
    assert!(arrivals.iter().enumerate().all(|(number, (_, payload))| payload[0] == number as u8));
    assert!(arrivals.iter().all(|(at, _)| (10_000..=15_000).contains(at)));
    assert!(arrivals.first().unwrap().0 < arrivals.last().unwrap().0);
}

#[test]
fn reordered_packets_are_overtaken() {
    let pair = Pair::new(3);
    link(&pair).configure(LinkConfig::latency(ms(1)).with_reorder(0.2, ms(2)));
    for _ in 0..100 {
        send(&pair, 1, 1);
    }
    let late = pair.arrivals(ms(100)).into_iter().filter(|(at, _)| *at == 3000).count() as u64;
    assert_eq!(late, link(&pair).stats(Direction::Outbound).reordered);
    assert!((10..30).contains(&late), "{late}");
}

#[test]
fn duplicates_arrive_twice() {
    let pair = Pair::new(3);
    link(&pair).configure(LinkConfig::default().with_duplicate(1.0));
    send(&pair, 2, 1);
    let numbers: Vec<_> = pair.arrivals(ms(1)).into_iter().map(|(_, payload)| payload[0]).collect();
    assert_eq!(numbers, [0, 0, 1, 1]);
}

#[test]
fn a_filter_sees_changes_delays_replaces_and_drops() {
    let pair = Pair::new(1);
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    link(&pair).set_filter(Direction::Outbound, move |packet| {
        counter.fetch_add(1, Ordering::Relaxed);
        match packet.payload[0] {
            0 => Verdict::Drop,
            1 => {
                packet.payload = b"changed".to_vec();
                Verdict::Pass
            }
            2 => Verdict::Delay(ms(5)),
            _ => Verdict::Replace(vec![Packet { payload: b"instead".to_vec(), ..packet.clone() }; 2]),
        }
    });
    send(&pair, 4, 1);
    let expected = [(0, &b"changed"[..]), (0, b"instead"), (0, b"instead"), (5000, &[2])];
    assert_eq!(pair.arrivals(ms(10)), expected.map(|(at, payload)| (at, payload.to_vec())));
    assert_eq!(seen.load(Ordering::Relaxed), 4);
    assert_eq!(pair.lab.dropped(DropReason::Filter), 1);
    link(&pair).clear_filter(Direction::Outbound);
    send(&pair, 1, 1);
    assert_eq!(pair.arrivals(ms(10)).len(), 1);
}

#[test]
fn a_link_that_goes_down_loses_what_is_under_way() {
    let pair = Pair::new(1);
    link(&pair).configure(LinkConfig::latency(ms(10)));
    send(&pair, 1, 1);
    link(&pair).set_up(false);
    send(&pair, 1, 1);
    link(&pair).set_up(true);
    send(&pair, 1, 2);
    assert_eq!(pair.arrivals(ms(100)), [(10_000, vec![0, 0])]);
    assert_eq!(pair.lab.dropped(DropReason::LinkDown), 2);
}

#[test]
fn a_spoofed_source_is_routed_by_its_destination() {
    let pair = Pair::new(1);
    pair.lab.inject(Packet::udp(addr("203.0.113.9:9"), addr(B), *b"evil"));
    pair.bob.inject(Packet::udp(addr("192.0.2.1:1000"), addr(B), *b"closer"));
    let closer = pair.b.try_recv().unwrap();
    assert_eq!((closer.source, &closer.payload[..]), (addr("192.0.2.1:1000"), &b"closer"[..]));
    pair.lab.advance(pair.start);
    let evil = pair.b.try_recv().unwrap();
    assert_eq!((evil.source, &evil.payload[..]), (addr("203.0.113.9:9"), &b"evil"[..]));
}
