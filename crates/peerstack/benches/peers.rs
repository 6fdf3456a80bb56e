//! What two peers cost together: messages of a data channel and packets of RTP over loopback sockets, both ends and
//! all tasks on one thread, beside plain datagrams on the same runtime: machines differ, the ratio stays
//! (docs/performance.md). `cargo bench -p peerstack`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot go on")]
#![expect(clippy::disallowed_methods, reason = "an application has clocks and tasks of its own")]

use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use peerstack::{
    Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage, MediaStreamTrack,
    PeerConnection, PeerConnectionEvent, PeerConnectionEvents, RtpPacket, RtpSender, Settings, TrackKind,
};
use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Sent at once, then waited for.
const BURST: usize = 32;
/// Bytes of a packet's payload, and of a plain datagram.
const PACKET: usize = 1_200;
/// Loopback loses nothing that fits into a socket's buffer.
const LOST: Duration = Duration::from_secs(10);

fn main() {
    divan::main();
}

/// Two connected peers.
struct Call {
    runtime: Runtime,
    channel: DataChannel,
    remote: DataChannel,
    sender: RtpSender,
    track: MediaStreamTrack,
    _peers: [PeerConnection; 2],
}

/// Passes candidates on; what channels and tracks come in.
fn signal(
    mut events: PeerConnectionEvents,
    to: PeerConnection,
) -> (mpsc::UnboundedReceiver<DataChannel>, mpsc::UnboundedReceiver<MediaStreamTrack>) {
    let ((channels, of_channels), (tracks, of_tracks)) =
        (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                PeerConnectionEvent::IceCandidate(candidate) => drop(to.add_ice_candidate(candidate).await),
                PeerConnectionEvent::DataChannel(channel) => drop(channels.send(channel)),
                PeerConnectionEvent::Track(event) => drop(tracks.send(event.track)),
                _ => {}
            }
        }
    });
    (of_channels, of_tracks)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Call {
    fn connect() -> Self {
        let runtime = runtime();
        let (channel, remote, sender, track, peers) = runtime.block_on(async {
            let [a, b] = [(); 2].map(|()| {
                let mut settings = Settings::default();
                settings.allow_loopback = true;
                PeerConnection::new(Configuration::new().with_settings(settings)).unwrap()
            });
            let channel = a.create_data_channel("bench", DataChannelInit::default()).unwrap();
            let sender = a.add_track(MediaStreamTrack::new(TrackKind::Video), &[]).unwrap();
            let (_to_b, (mut channels, mut tracks)) =
                (signal(a.events(), b.clone()), signal(b.events(), a.clone()));
            a.set_local_description(None).await.unwrap();
            b.set_remote_description(a.local_description().unwrap()).await.unwrap();
            b.set_local_description(None).await.unwrap();
            a.set_remote_description(b.local_description().unwrap()).await.unwrap();
            let (track, remote) = (tracks.recv().await.unwrap(), channels.recv().await.unwrap());
            while channel.next_event().await.unwrap() != DataChannelEvent::Open {}
            (channel, remote, sender, track, [a, b])
        });
        Self { runtime, channel, remote, sender, track, _peers: peers }
    }
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LOST, what).await {
        Ok(done) => done,
        Err(_) => panic!("something was lost"),
    }
}

/// Messages of one size, in order and acknowledged.
#[divan::bench(args = [1_024, 16_384, 65_536])]
fn data_channel_messages(bencher: Bencher, size: usize) {
    let call = Call::connect();
    let message = DataChannelMessage::Binary(vec![0x5a; size].into());
    bencher.counter(ItemsCount::new(BURST)).counter(BytesCount::new(BURST * size)).bench_local(|| {
        call.runtime.block_on(in_time(async {
            for _ in 0..BURST {
                call.channel.send(message.clone()).unwrap();
            }
            let mut left = BURST;
            while left > 0 {
                match call.remote.next_event().await {
                    Some(DataChannelEvent::Message(_)) => left -= 1,
                    Some(_) => {}
                    None => panic!("the channel closed"),
                }
            }
        }));
    });
}

/// Packets of RTP, protected and demultiplexed.
#[divan::bench]
fn rtp_packets(bencher: Bencher) {
    let call = Call::connect();
    let mut packet = RtpPacket::default();
    packet.payload = vec![0x5a; PACKET].into();
    packet.payload_type = call.sender.codecs().first().unwrap().payload_type;
    bencher.counter(ItemsCount::new(BURST)).counter(BytesCount::new(BURST * PACKET)).bench_local(|| {
        call.runtime.block_on(in_time(async {
            for _ in 0..BURST {
                packet.sequence_number = packet.sequence_number.wrapping_add(1);
                packet.timestamp = packet.timestamp.wrapping_add(3_000);
                call.sender.send_rtp(packet.clone()).unwrap();
            }
            for _ in 0..BURST {
                call.track.recv().await.unwrap();
            }
        }));
    });
}

/// What the system asks for as many datagrams, one at a time, and nothing else.
#[divan::bench]
fn plain_datagrams(bencher: Bencher) {
    let runtime = runtime();
    let (a, b) = runtime.block_on(async {
        let (a, b) =
            (UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap());
        a.connect(b.local_addr().unwrap()).await.unwrap();
        (a, b)
    });
    let mut datagram = [0x5a; PACKET];
    bencher.counter(ItemsCount::new(BURST)).counter(BytesCount::new(BURST * PACKET)).bench_local(|| {
        runtime.block_on(in_time(async {
            for _ in 0..BURST {
                a.send(&datagram).await.unwrap();
            }
            for _ in 0..BURST {
                b.recv(&mut datagram).await.unwrap();
            }
        }));
    });
}
