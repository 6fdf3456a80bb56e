//! A peer that floods: what one connection holds stays bounded, whatever comes and however much of it, and it goes
//! on afterwards. The peer here knows all secrets: its requests are authentic, its messages are encrypted.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that fails, and that runs tasks of its own"
)]

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use peerstack::base::Random;
use peerstack::{
    DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, IceCandidateInit, MediaStreamTrack,
    PeerConnection, RtpPacket, SessionDescription, TrackKind,
};
use peerstack_netsim::Packet;
use peerstack_stun::{Class, MessageBuilder, Method, TransactionId};
use support::{Seen, TwoHosts, ms};

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

const MIB: usize = 1 << 20;

/// A connection, its data channel's two ends, and the tracks' senders.
struct Connected {
    net: TwoHosts,
    a: PeerConnection,
    b: PeerConnection,
    channel: DataChannel,
    remote: DataChannel,
    _seen: (Seen, Seen),
}

async fn opened(channel: &DataChannel) {
    while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
}

async fn connected() -> Connected {
    let net = TwoHosts::start(1, |link| link);
    net.lab.set_tracing(false);
    let (a_peer, b_peer) = net.peers();
    let (a, b) = (a_peer.pc.clone(), b_peer.pc.clone());
    let channel = a.create_data_channel("data", DataChannelInit::default()).unwrap();
    for (id, pc) in [("a", &a), ("b", &b)] {
        pc.add_track(MediaStreamTrack::with_id(TrackKind::Video, id), &["s".into()]).unwrap();
    }
    let ((to_b, a_seen), (_, mut b_seen)) = support::join(a_peer, b_peer, ms(50));
    to_b.offer(&a).await;
    let remote = support::incoming_channel(&mut b_seen).await;
    tokio::join!(opened(&channel), opened(&remote));
    Connected { net, a, b, channel, remote, _seen: (a_seen, b_seen) }
}

async fn next_message(channel: &DataChannel) -> DataChannelMessage {
    loop {
        if let DataChannelEvent::Message(message) = channel.next_event().await.unwrap() {
            return message;
        }
    }
}

async fn goes_on(connected: &Connected) {
    let Connected { channel, remote, .. } = connected;
    for (from, to) in [(channel, remote), (remote, channel)] {
        from.send("afterwards").unwrap();
        assert_eq!(next_message(to).await, DataChannelMessage::from("afterwards"));
    }
}

async fn end(connected: Connected) {
    connected.a.close();
    connected.b.close();
    tokio::join!(connected.a.closed(), connected.b.closed());
    assert_eq!(connected.net.lab.open_sockets(), 0);
}

/// Runs one flood: `limit` is what may be held at one time beyond what the open connection held.
fn flood<F: Future<Output = Connected>>(name: &str, limit: usize, run: impl FnOnce(Connected) -> F) {
    support::simulate(async {
        let connected = connected().await;
        let start = counting::reset_peak();
        let connected = run(connected).await;
        let peak = counting::peak() - start;
        support::say(&format!("{name}: {} KiB at most", peak >> 10));
        assert!(peak <= limit, "{name}: {peak} bytes, {limit} may be");
        goes_on(&connected).await;
        end(connected).await;
    });
}

fn attribute(description: &SessionDescription, name: &str) -> String {
    let prefix = format!("a={name}:");
    let line = description.sdp.lines().find_map(|line| line.strip_prefix(&prefix));
    line.unwrap().to_owned()
}

fn host_address(pc: &PeerConnection) -> SocketAddr {
    let line = attribute(&pc.local_description().unwrap(), "candidate");
    let words: Vec<&str> = line.split(' ').collect();
    SocketAddr::new(words[4].parse().unwrap(), words[5].parse().unwrap())
}

/// Authentic checks from so many addresses, each a peer-reflexive candidate of its own.
async fn checks_from_everywhere(connected: Connected) -> Connected {
    let (local, remote) =
        (connected.a.local_description().unwrap(), connected.b.local_description().unwrap());
    let username = format!("{}:{}", attribute(&local, "ice-ufrag"), attribute(&remote, "ice-ufrag"));
    let password = attribute(&local, "ice-pwd");
    let destination = host_address(&connected.a);
    let mut random = Random::from_seed(1);
    for number in 0..5_000 {
        let id = TransactionId::new(&mut random);
        let mut builder = MessageBuilder::new(Class::Request, Method::BINDING, id);
        builder.add_username(&username).add_priority(random.u32()).add_ice_controlled(1).add_use_candidate();
        builder.integrity(password.as_bytes()).fingerprint();
        let source = SocketAddr::from((random.bytes::<4>(), 1_024 + random.below(60_000) as u16));
        connected.net.alice.inject(Packet::udp(source, destination, builder.finish()));
        if number % 500 == 0 {
            tokio::time::sleep(ms(20)).await;
        }
    }
    tokio::time::sleep(ms(2_000)).await;
    connected
}

/// Candidates by signalling, all of them well-formed.
async fn candidates_without_end(connected: Connected) -> Connected {
    let mid = Some("0".to_owned());
    let mut random = Random::from_seed(2);
    for number in 0..2_000_u32 {
        let address = match number % 3 {
            0 => format!("{}", std::net::Ipv4Addr::from(random.bytes::<4>())),
            1 => format!("{}", std::net::Ipv6Addr::from(random.bytes::<16>())),
            _ => format!("{number:08x}-0000-4000-8000-000000000000.local"),
        };
        let candidate = format!("candidate:{number} 1 udp {} {address} 9999 typ host", random.u32() >> 1);
        let init = IceCandidateInit { candidate, sdp_mid: mid.clone(), ..IceCandidateInit::default() };
        // Beyond what a description holds they may be refused.
        let _ = connected.a.add_ice_candidate(init).await;
    }
    tokio::time::sleep(ms(2_000)).await;
    connected
}

/// Sends as much as the channel takes for so long, while nobody reads at the other end, then reads it all.
async fn nobody_reads(
    connected: Connected,
    message: DataChannelMessage,
    at_a_time: usize,
    for_so_long: Duration,
) -> Connected {
    let Connected { channel, remote, net, .. } = &connected;
    let until = net.lab.elapsed() + for_so_long;
    let mut sent = 0;
    while net.lab.elapsed() < until {
        let mut burst = 0;
        while burst < at_a_time && channel.buffered_amount() < MIB && channel.send(message.clone()).is_ok() {
            burst += 1;
        }
        sent += burst;
        tokio::time::sleep(ms(5)).await;
    }
    for _ in 0..sent {
        assert!(next_message(remote).await == message);
    }
    support::say(&format!("  {sent} messages of {} bytes, read in the end", message.len()));
    connected
}

/// RTP that nobody reads.
async fn rtp_without_a_reader(connected: Connected) -> Connected {
    let sender = connected.b.senders().remove(0);
    let payload_type = sender.codecs()[0].payload_type;
    for number in 0..6_000_u32 {
        let mut packet = RtpPacket::default();
        packet.payload_type = payload_type;
        packet.sequence_number = number as u16;
        packet.timestamp = number * 90;
        packet.payload = Bytes::from(vec![0x55; 1_100]);
        sender.send_rtp(packet).unwrap();
        if number % 100 == 0 {
            tokio::time::sleep(ms(1)).await;
        }
    }
    tokio::time::sleep(ms(200)).await;
    let track = connected.a.receivers()[0].track();
    assert!(track.packets_dropped() > 3_000);
    connected
}

/// Channels that the peer opens and never closes, and that nobody asked for.
async fn channels_without_end(connected: Connected) -> Connected {
    let mut kept = Vec::new();
    for number in 0..1_200 {
        // Refused on our side too at some point; what reaches the other is enough.
        match connected.b.create_data_channel(&"l".repeat(1_000), DataChannelInit::default()) {
            Ok(channel) => kept.push(channel),
            Err(_) => break,
        }
        if number % 50 == 0 {
            tokio::time::sleep(ms(100)).await;
        }
    }
    tokio::time::sleep(ms(5_000)).await;
    support::say(&format!("  {} channels", kept.len()));
    assert!(kept.len() > 500);
    connected
}

/// One test, because what is measured is the process's: both connections and the network between them.
#[test]
fn what_a_connection_holds_is_bounded() {
    support::certificate(0);
    support::certificate(1);
    flood("5,000 authentic checks from as many addresses", 8 * MIB, checks_from_everywhere);
    flood("2,000 signalled candidates", 8 * MIB, candidates_without_end);
    flood("large messages, unread", 32 * MIB, |connected| {
        nobody_reads(connected, Bytes::from(vec![1; 65_536]).into(), 20, Duration::from_secs(20))
    });
    flood("empty messages, unread", 24 * MIB, |connected| {
        nobody_reads(connected, Bytes::new().into(), 50, Duration::from_secs(2))
    });
    // 5,000 packets of them are under way in the network.
    flood("RTP, unread", 12 * MIB, rtp_without_a_reader);
    flood("data channels without end", 32 * MIB, channels_without_end);
}
