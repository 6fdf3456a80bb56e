//! Two PeerConnections on two hosts, and the signalling between them.

use std::sync::Arc;
use std::time::Duration;

use peerstack_base::Random;
use peerstack_netsim::{Host, Lab, LinkConfig, ip};
use peerstack_peer_connection::{
    Configuration, DataChannel, MediaStreamTrack, OfferOptions, PeerConnection, PeerConnectionDependencies,
    PeerConnectionEvent, PeerConnectionFactory, RtpPacket, RtpSender, SessionDescription,
};
use tokio::sync::{mpsc, watch};

/// Lets virtual time pass.
#[expect(clippy::disallowed_methods, reason = "virtual time: under the paused clock nobody waits")]
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[expect(clippy::disallowed_methods, reason = "the signalling between the two peers of a test")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Two hosts on one network, each `delay` away from its middle.
pub(crate) fn two_hosts(seed: u64, delay: Duration) -> (Lab, Host, Host) {
    let lab = Lab::start(seed);
    let a = lab.host_at("a", &lab.internet(), ip("192.0.2.1"));
    let b = lab.host_at("b", &lab.internet(), ip("192.0.2.2"));
    for host in [&a, &b] {
        host.interfaces()[0].link().configure(LinkConfig::latency(delay));
    }
    (lab, a, b)
}

/// What connections of a host are made from.
pub(crate) fn dependencies(lab: &Lab, host: &Host, seed: u64) -> PeerConnectionDependencies {
    let mut dependencies = PeerConnectionDependencies::default();
    dependencies.packet_socket_factory = host.packet_socket_factory();
    dependencies.network_manager = host.network_manager();
    dependencies.wall_clock = lab.wall_clock();
    dependencies.random = Random::from_seed(seed);
    dependencies
}

/// A connection, and what came in by its events.
pub(crate) struct Peer {
    negotiated: Arc<watch::Sender<bool>>,
    pub(crate) pc: PeerConnection,
    pub(crate) host: Host,
    pub(crate) tracks: mpsc::UnboundedReceiver<MediaStreamTrack>,
    pub(crate) channels: mpsc::UnboundedReceiver<DataChannel>,
}

impl Peer {
    /// Descriptions were passed on by the test itself: candidates may follow.
    pub(crate) fn release(&self) {
        let _ = self.negotiated.send_replace(true);
    }
}

/// Two connections on two hosts that are not negotiated yet.
pub(crate) fn two_peers(seed: u64, delay: Duration) -> (Lab, Peer, Peer) {
    two_peers_with(seed, delay, &Configuration::new())
}

/// As [`two_peers`], both made from this.
pub(crate) fn two_peers_with(seed: u64, delay: Duration, configuration: &Configuration) -> (Lab, Peer, Peer) {
    let (lab, a, b) = two_hosts(seed, delay);
    let make = |host: &Host, seed| {
        let factory = PeerConnectionFactory::with_dependencies(dependencies(&lab, host, seed)).unwrap();
        factory.create_peer_connection(configuration.clone()).unwrap()
    };
    let (pc_a, pc_b) = (make(&a, seed), make(&b, seed + 1));
    let (a, b) = joined((pc_a, a), (pc_b, b));
    (lab, a, b)
}

/// Passes candidates between two connections for as long as they live.
pub(crate) fn joined(
    (a, a_host): (PeerConnection, Host),
    (b, b_host): (PeerConnection, Host),
) -> (Peer, Peer) {
    let negotiated = Arc::new(watch::channel(false).0);
    let of = |pc: &PeerConnection, to: &PeerConnection| {
        let (mut events, to) = (pc.events(), to.clone());
        let mut ready = negotiated.subscribe();
        let (track, tracks) = mpsc::unbounded_channel();
        let (channel, channels) = mpsc::unbounded_channel();
        spawn(async move {
            // A candidate is taken once there is a remote description.
            if ready.wait_for(|ready| *ready).await.is_err() {
                return;
            }
            while let Some(event) = events.next().await {
                match event {
                    PeerConnectionEvent::IceCandidate(candidate) => {
                        let _ = to.add_ice_candidate(candidate).await;
                    }
                    PeerConnectionEvent::Track(event) => drop(track.send(event.track)),
                    PeerConnectionEvent::DataChannel(event) => drop(channel.send(event)),
                    PeerConnectionEvent::Closed => break,
                    _ => {}
                }
            }
        });
        (tracks, channels)
    };
    let ((a_tracks, a_channels), (b_tracks, b_channels)) = (of(&a, &b), of(&b, &a));
    let a = Peer {
        negotiated: Arc::clone(&negotiated),
        pc: a,
        host: a_host,
        tracks: a_tracks,
        channels: a_channels,
    };
    (a, Peer { negotiated, pc: b, host: b_host, tracks: b_tracks, channels: b_channels })
}

/// One exchange of offer and answer.
pub(crate) async fn negotiate(a: &Peer, b: &Peer) {
    negotiate_without(a, b, "").await;
}

/// As [`negotiate`], but a signalling server takes out the lines that begin so.
pub(crate) async fn negotiate_without(a: &Peer, b: &Peer, line: &str) {
    exchange(&a.pc, &b.pc, line).await;
    let _ = a.negotiated.send_replace(true);
}

/// As [`negotiate`], but a signalling server changes what passes.
pub(crate) async fn negotiate_changed(a: &Peer, b: &Peer, change: impl Fn(&str) -> String) {
    let changed = |mut description: SessionDescription| {
        description.sdp = change(&description.sdp);
        description
    };
    let offer = a.pc.create_offer(OfferOptions::default()).await.unwrap();
    a.pc.set_local_description(offer.clone()).await.unwrap();
    b.pc.set_remote_description(changed(offer)).await.unwrap();
    let answer = b.pc.create_answer().await.unwrap();
    b.pc.set_local_description(answer.clone()).await.unwrap();
    a.pc.set_remote_description(changed(answer)).await.unwrap();
    let _ = a.negotiated.send_replace(true);
}

/// As [`negotiate`], but the peers see what these make of each other's offer and answer.
pub(crate) async fn negotiate_with(
    a: &Peer,
    b: &Peer,
    offered: fn(SessionDescription) -> SessionDescription,
    answered: fn(SessionDescription) -> SessionDescription,
) {
    a.pc.set_local_description(None).await.unwrap();
    b.pc.set_remote_description(offered(a.pc.local_description().unwrap())).await.unwrap();
    b.pc.set_local_description(None).await.unwrap();
    a.pc.set_remote_description(answered(b.pc.local_description().unwrap())).await.unwrap();
    let _ = a.negotiated.send_replace(true);
}

fn without(mut description: SessionDescription, line: &str) -> SessionDescription {
    if !line.is_empty() {
        let kept = description.sdp.split_inclusive('\n').filter(|other| !other.starts_with(line));
        description.sdp = kept.collect();
    }
    description
}

async fn exchange(a: &PeerConnection, b: &PeerConnection, line: &str) {
    let offer = a.create_offer(OfferOptions::default()).await.unwrap();
    a.set_local_description(offer.clone()).await.unwrap();
    b.set_remote_description(without(offer, line)).await.unwrap();
    let answer = b.create_answer().await.unwrap();
    b.set_local_description(answer.clone()).await.unwrap();
    a.set_remote_description(without(answer, line)).await.unwrap();
}

/// Sends `count` packets of 100 bytes, one each 10 ms; `first` is the first sequence number.
pub(crate) async fn send_media(sender: &RtpSender, first: u16, count: u16) {
    let codec = sender.codecs()[0].clone();
    for index in 0..count {
        let sequence_number = first.wrapping_add(index);
        let packet = RtpPacket {
            payload_type: codec.payload_type,
            sequence_number,
            timestamp: u32::from(sequence_number) * (codec.clock_rate / 100),
            payload: vec![7; 100].into(),
            ..RtpPacket::default()
        };
        sender.send_rtp(packet).unwrap();
        pass(ms(10)).await;
    }
}
