//! Tests of `SctpTransport` over paths that lose, reorder, break and come back, and over a fake DTLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use peerstack_base::SendError;
use peerstack_dtls::{DtlsRole, DtlsTransportState, FakeDtlsTransport, SrtpProtectionProfile};

use crate::sctp_packet::{chunk_type, chunks};
use crate::test_pair::{Pair, epoch, ms};
use crate::{
    DataChannelEvent, DataChannelInit, MessageKind, SctpCloseReason, SctpTransport, SctpTransportConfig,
    SctpTransportEvent, SctpTransportState,
};

fn payload(len: usize, seed: u8) -> Bytes {
    (0..len).map(|i| (i as u8).wrapping_mul(17).wrapping_add((i >> 8) as u8).wrapping_add(seed)).collect()
}

fn is(packet: &[u8], kind: u8) -> bool {
    chunks(packet).unwrap().iter().any(|chunk| chunk.kind == kind)
}

fn lossy(loss: f64, seed: u64) {
    let mut pair = Pair::new().seed(seed);
    (pair.loss, pair.jitter) = (loss, 5);
    let a = pair.peers[0].sctp.create_data_channel(pair.now, DataChannelInit::labelled("lossy")).unwrap();
    pair.start();
    assert!(pair.run_until(ms(300_000), |pair| pair.peers[0].sctp.state() == SctpTransportState::Connected));
    let sizes = [0, 1, 1200, 16 << 10, 64 << 10, 3, 0, 50_000];
    let sent: Vec<_> = sizes.iter().enumerate().map(|(i, size)| payload(*size, i as u8)).collect();
    for message in &sent {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, message.clone()).unwrap();
    }
    let count = |pair: &mut Pair| {
        pair.peers[1].events.iter().filter(|e| matches!(e, DataChannelEvent::Message { .. })).count()
    };
    assert!(pair.run_until(ms(1_800_000), |pair| count(pair) == sent.len()), "seed {seed}");
    assert!(pair.peers[1].messages() == sent);
}

/// K19: loss of 10 %, with reordering.
#[test]
fn ten_percent_lost() {
    for seed in 0..5 {
        lossy(0.1, seed);
    }
}

/// K19: loss of 30 %, with reordering.
#[test]
fn thirty_percent_lost() {
    for seed in 0..5 {
        lossy(0.3, seed);
    }
}

/// K18, T18: each packet of the handshake lost once is sent again when its timer is due by the time we are told,
/// not by the system's.
#[test]
fn each_packet_of_the_handshake_may_be_lost() {
    for kind in [chunk_type::INIT, chunk_type::INIT_ACK, chunk_type::COOKIE_ECHO, chunk_type::COOKIE_ACK] {
        let mut pair = Pair::new();
        let mut lost = false;
        pair.filter = Some(Box::new(move |_, packet| {
            let lose = !lost && is(packet, kind);
            lost |= lose;
            !lose
        }));
        let start = pair.now;
        pair.connect();
        let took = pair.now - start;
        assert!((ms(500)..ms(600)).contains(&took), "chunk {kind}: {took:?}");
    }
}

/// T18, K18: INIT is sent again with doubled waits of at most a second, and given up after two minutes.
#[test]
fn a_silent_peer_is_given_up() {
    let mut pair = Pair::new();
    pair.peers[0].sctp.start(pair.now, 5000, 5000, 0, DtlsRole::Client).unwrap();
    pair.filter = Some(Box::new(|_, _| false));
    let mut events = pair.peers[0].sctp.subscribe();
    let start = pair.now;
    let mut sent = Vec::new();
    let mut known = 0;
    pair.run_until(ms(600_000), |pair| {
        if pair.sent[0] > known {
            known = pair.sent[0];
            sent.push((pair.now - start).as_millis());
        }
        pair.peers[0].sctp.state() == SctpTransportState::Closed
    });
    let seconds = (0..119).map(|count| 1500 + 1000 * count);
    assert_eq!(sent, [0, 500].into_iter().chain(seconds).collect::<Vec<_>>());
    assert_eq!(events.try_next(), Some(SctpTransportEvent::StateChange(SctpTransportState::Closed)));
    assert_eq!(events.try_next(), Some(SctpTransportEvent::Closed(SctpCloseReason::HandshakeTimeout)));
}

/// A peer that waits for our INIT although it is the DTLS client gets one.
#[test]
fn the_dtls_server_begins_if_the_client_does_not() {
    let mut pair = Pair::new();
    // Both are servers, the second of them not in a hurry: neither begins, until one RTO has passed.
    pair.peers[0].sctp.start(pair.now, 5000, 5000, 0, DtlsRole::Server).unwrap();
    pair.run_for(ms(100));
    pair.peers[1].sctp.start(pair.now, 5000, 5000, 0, DtlsRole::Server).unwrap();
    assert!(pair.run_until(ms(5000), Pair::both_connected));
}

/// K18: both sides send INIT, each before it has the other's.
#[test]
fn simultaneous_init() {
    let inits = Arc::new(AtomicUsize::new(0));
    // By how much the server starts earlier; it sends INIT 500 ms after that, and packets take 10 ms.
    let rounds = [491, 495, 499, 500, 501, 505, 509];
    for ahead in rounds {
        let mut pair = Pair::new();
        let seen = Arc::clone(&inits);
        pair.filter = Some(Box::new(move |_, packet| {
            seen.fetch_add(usize::from(is(packet, chunk_type::INIT)), Ordering::Relaxed);
            true
        }));
        pair.peers[1].sctp.start(pair.now, 5000, 5000, 0, DtlsRole::Server).unwrap();
        pair.run_for(ms(ahead));
        pair.peers[0].sctp.start(pair.now, 5000, 5000, 0, DtlsRole::Client).unwrap();
        assert!(pair.run_until(ms(5000), Pair::both_connected), "{ahead} ms");
        let (a, _) = pair.channel(DataChannelInit::labelled("after"));
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "x").unwrap();
        pair.run_for(ms(500));
        assert_eq!(pair.peers[1].messages().len(), 1);
    }
    assert_eq!(inits.load(Ordering::Relaxed), 2 * rounds.len(), "they crossed, and none was sent again");
}

/// K18: an INIT that comes late, or from a peer that began anew, does not hurt what stands.
#[test]
fn a_late_init_changes_nothing() {
    let mut pair = Pair::new();
    pair.log = Some(Vec::new());
    pair.connect();
    let log = pair.log.take().unwrap();
    for (from, packet) in log {
        pair.peers[1 - from].sctp.receive(pair.now, &packet);
        if is(&packet, chunk_type::INIT) {
            let mut other_tag = packet.to_vec();
            other_tag[16] ^= 1;
            pair.peers[1 - from].sctp.receive(pair.now, &other_tag);
        }
    }
    pair.run_for(ms(1000));
    let (a, _) = pair.channel(DataChannelInit::labelled("still"));
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "x").unwrap();
    pair.run_for(ms(500));
    assert_eq!(pair.peers[1].messages().len(), 1);
}

/// SNAP: with both INITs in the descriptions there is no handshake.
#[test]
fn inits_from_the_descriptions_save_the_handshake() {
    let mut pair = Pair::new();
    let inits = [0, 1].map(|peer: usize| pair.peers[peer].sctp.local_init().unwrap());
    assert_eq!(pair.peers[0].sctp.local_init().unwrap(), inits[0]);
    pair.peers[0].sctp.set_remote_init(inits[1].clone());
    pair.peers[1].sctp.set_remote_init(inits[0].clone());
    pair.start();
    pair.flush();
    assert!(pair.both_connected());
    assert_eq!(pair.sent, [0, 0]);
    let (a, _) = pair.channel(DataChannelInit::labelled("snap"));
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(100_000, 0)).unwrap();
    pair.run_for(ms(3000));
    assert_eq!(pair.peers[1].messages().len(), 1);
}

/// K09: what waits through an outage arrives soon after its end, however long it was.
#[test]
fn an_outage_is_over_when_it_is_over() {
    let mut pair = Pair::connected();
    let (a, _) = pair.channel(DataChannelInit::labelled("outage"));
    pair.filter = Some(Box::new(|_, _| false));
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(30_000, 0)).unwrap();
    pair.run_for(ms(120_000));
    assert!(pair.peers[1].events.is_empty());
    pair.filter = None;
    assert!(pair.run_until(ms(5000), |pair| !pair.peers[1].events.is_empty()));
}

/// K09: another path carries at once what the old one lost, whatever its timer says.
#[test]
fn another_path_is_used_at_once() {
    let mut pair = Pair::connected();
    let (a, _) = pair.channel(DataChannelInit::labelled("path"));
    pair.filter = Some(Box::new(|_, _| false));
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(100, 0)).unwrap();
    pair.run_for(ms(10_000));
    pair.filter = None;
    let now = pair.now;
    pair.peers[0].sctp.path_restored(now);
    assert!(pair.run_until(ms(100), |pair| !pair.peers[1].events.is_empty()));
}

/// K10, K22: an unreliable channel gives up what the outage took, the reliable one beside it does not; the
/// fragments of a message are given up together.
#[test]
fn unreliable_messages_are_given_up() {
    let init = DataChannelInit::labelled;
    for unreliable in [
        DataChannelInit { max_retransmits: Some(0), ..init("none") },
        DataChannelInit { max_retransmits: Some(0), ordered: false, ..init("none") },
        DataChannelInit { max_packet_life_time: Some(100), ..init("life") },
        DataChannelInit { max_packet_life_time: Some(100), ordered: false, ..init("life") },
    ] {
        let mut pair = Pair::connected();
        let (a, b) = pair.channel(unreliable.clone());
        let (reliable, _) = pair.channel(init("reliable"));
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "first").unwrap();
        pair.run_for(ms(300));
        pair.filter = Some(Box::new(|_, _| false));
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(2000, 0)).unwrap();
        pair.peers[0].sctp.send(pair.now, reliable, MessageKind::Text, "kept").unwrap();
        pair.run_for(ms(10_000));
        pair.filter = None;
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "last").unwrap();
        pair.run_for(ms(10_000));
        let lossy: Vec<_> = pair.peers[1]
            .events
            .iter()
            .filter_map(|event| match event {
                DataChannelEvent::Message { id, data, .. } if *id == b => Some(data.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(lossy, ["first", "last"], "{unreliable:?}");
        assert_eq!(pair.peers[1].messages().len(), 3);
        assert_eq!(pair.peers[0].sctp.buffered_amount(a), 0);
    }
}

/// K22: W3C counts a message's life from `send`: what waits too long in our queue is not sent at all, and the room it
/// took is free.
#[test]
fn a_message_may_expire_before_it_is_sent() {
    let mut pair = Pair::connected();
    let init = DataChannelInit { max_packet_life_time: Some(200), ..DataChannelInit::labelled("l") };
    let (a, b) = pair.channel(init);
    pair.filter = Some(Box::new(|_, _| false));
    for i in 0..50 {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(20_000, i)).unwrap();
    }
    pair.run_for(ms(5000));
    pair.filter = None;
    pair.run_for(ms(10_000));
    assert!(pair.peers[0].sctp.data_channel_stats(a).unwrap().messages_expired > 30);
    assert_eq!(pair.peers[0].sctp.buffered_amount(a), 0);
    pair.peers[1].events.clear();
    pair.peers[0].sctp.send(pair.now, a, MessageKind::Text, "now").unwrap();
    pair.run_for(ms(1000));
    assert!(pair.peers[1].saw(&DataChannelEvent::Message {
        id: b,
        kind: MessageKind::Text,
        data: Bytes::from_static(b"now")
    }));
}

/// K22: unreliable and unordered under steady loss: whole messages or none, no duplicates, and the channel lives.
#[test]
fn a_lossy_unreliable_channel_lives() {
    let mut pair = Pair::connected().seed(3);
    let init = DataChannelInit { max_retransmits: Some(0), ordered: false, ..DataChannelInit::labelled("u") };
    let (a, _) = pair.channel(init);
    (pair.loss, pair.jitter) = (0.1, 20);
    for i in 0..500_u32 {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, Bytes::from(vec![i as u8; 2500])).unwrap();
        pair.run_for(ms(10));
    }
    pair.run_for(ms(20_000));
    let messages = pair.peers[1].messages();
    assert!((250..500).contains(&messages.len()), "{}", messages.len());
    assert!(messages.iter().all(|message| message.len() == 2500 && message.iter().all(|b| *b == message[0])));
}

/// K16, and bundling: no packet exceeds the path's limit, whatever is bundled and however many gaps there are.
#[test]
fn no_packet_is_too_large() {
    let mut pair = Pair::connected().seed(9);
    let (a, _) = pair.channel(DataChannelInit { ordered: false, ..DataChannelInit::labelled("small") });
    (pair.loss, pair.jitter) = (0.3, 20);
    for round in 0..20_u8 {
        for len in 1..200 {
            pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(len, round)).unwrap();
        }
        pair.run_for(ms(100));
    }
    assert!(pair.run_until(ms(1_200_000), |pair| pair.peers[1].events.len() == 20 * 199));
    assert!(pair.largest <= 1191, "{}", pair.largest);
}

/// K28: the round trip time is measured, and the time-out stays in its bounds.
#[test]
fn the_round_trip_is_measured() {
    let mut pair = Pair::connected();
    pair.delay = ms(40);
    let (a, _) = pair.channel(DataChannelInit::labelled("rtt"));
    for _ in 0..20 {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(5000, 0)).unwrap();
        pair.run_for(ms(300));
    }
    let stats = pair.peers[0].sctp.stats().association;
    let rtt = stats.rtt.unwrap();
    assert!((ms(80)..ms(150)).contains(&rtt), "{rtt:?}");
    assert!(stats.rto.unwrap() >= ms(400));
    assert_eq!(stats.retransmissions, 0);
    assert_eq!(stats.refused, 0);
}

/// Bulk over a path of 20 ms and 4 MB/s: most of the rate is used.
#[test]
fn bulk_fills_the_path() {
    let mut pair = Pair::connected();
    let (a, _) = pair.channel(DataChannelInit::labelled("bulk"));
    pair.rate = 4_000_000;
    for i in 0..128 {
        pair.peers[0].sctp.send(pair.now, a, MessageKind::Binary, payload(65_536, i)).unwrap();
    }
    let start = pair.now;
    assert!(pair.run_until(ms(60_000), |pair| pair.peers[1].events.len() == 128));
    let took = pair.now - start;
    assert!(took < ms(3500), "{took:?}");
}

fn over_dtls() -> (SctpTransport, FakeDtlsTransport) {
    let (mut client, _) = FakeDtlsTransport::connected_pair(SrtpProtectionProfile::AeadAes128Gcm);
    client.set_writable(false);
    (SctpTransport::new("test", SctpTransportConfig::default()), client)
}

/// Nothing runs before DTLS is up; no room means the packet waits, and it is the same one.
#[test]
fn a_packet_without_room_waits() {
    let (mut sctp, mut dtls) = over_dtls();
    let now = epoch();
    sctp.start(now, 5000, 5000, 0, DtlsRole::Client).unwrap();
    sctp.flush(now, &mut dtls);
    assert_eq!(sctp.next_timeout(), None);
    dtls.set_writable(true);
    dtls.set_send_error(Some(SendError::WouldBlock));
    sctp.flush(now, &mut dtls);
    assert!(dtls.take_data().is_empty());
    assert_eq!(sctp.next_timeout(), Some(now + ms(500)));
    dtls.set_send_error(None);
    sctp.flush(now + ms(1), &mut dtls);
    let sent = dtls.take_data();
    assert_eq!(sent.len(), 1);
    assert!(is(&sent[0], chunk_type::INIT));
    assert_eq!(sctp.stats().sent.packets, 1);
}

/// K05: the transport below is lost with data waiting: channels close with the reason, once.
#[test]
fn a_lost_transport_closes_the_channels() {
    let (mut sctp, mut dtls) = over_dtls();
    let now = epoch();
    let id = sctp.create_data_channel(now, DataChannelInit::labelled("x")).unwrap();
    sctp.start(now, 5000, 5000, 0, DtlsRole::Client).unwrap();
    dtls.set_writable(true);
    sctp.flush(now, &mut dtls);
    dtls.set_state(DtlsTransportState::Failed);
    sctp.flush(now, &mut dtls);
    sctp.flush(now, &mut dtls);
    assert_eq!(sctp.state(), SctpTransportState::Closed);
    let error = crate::DataChannelError::AssociationClosed(SctpCloseReason::TransportClosed);
    assert_eq!(sctp.poll_event(), Some(DataChannelEvent::Error { id, error }));
    assert_eq!(sctp.poll_event(), Some(DataChannelEvent::Closed { id }));
    assert_eq!(sctp.poll_event(), None);
    assert_eq!(sctp.next_timeout(), None);
}

/// K09: when DTLS is writable again what was backed off goes out at once.
#[test]
fn writable_again_means_now() {
    let (mut a, mut dtls) = over_dtls();
    let mut pair = Pair::new();
    let mut now = pair.now;
    dtls.set_writable(true);
    a.start(now, 5000, 5000, 0, DtlsRole::Client).unwrap();
    pair.peers[1].sctp.start(now, 5000, 5000, 0, DtlsRole::Server).unwrap();
    let exchange = |a: &mut SctpTransport, dtls: &mut FakeDtlsTransport, pair: &mut Pair, now| {
        for _ in 0..6 {
            a.flush(now, dtls);
            for packet in dtls.take_data() {
                pair.peers[1].sctp.receive(now, &packet);
            }
            while let Some(packet) = pair.peers[1].sctp.poll_transmit(now) {
                a.receive(now, &packet);
            }
        }
    };
    exchange(&mut a, &mut dtls, &mut pair, now);
    let id = a.create_data_channel(now, DataChannelInit::labelled("x")).unwrap();
    exchange(&mut a, &mut dtls, &mut pair, now);
    assert_eq!(a.state(), SctpTransportState::Connected);
    a.send(now, id, MessageKind::Text, "lost").unwrap();
    a.flush(now, &mut dtls);
    assert_eq!(dtls.take_data().len(), 1);
    dtls.set_writable(false);
    a.flush(now, &mut dtls);
    for _ in 0..600 {
        now += ms(100);
        a.handle_timeout(now);
        a.flush(now, &mut dtls);
    }
    assert!(dtls.take_data().is_empty());
    dtls.set_writable(true);
    a.flush(now, &mut dtls);
    assert!(dtls.take_data().iter().any(|packet| is(packet, chunk_type::DATA)));
}
