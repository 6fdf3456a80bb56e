//! Two PeerConnections in namespaces of their own, and what goes through them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use peerstack::base::{DnsResolver, PacketSocketFactory, Random, ResolveFuture};
use peerstack::io::BasicPacketSocketFactory;
use peerstack::{
    CandidateStats, Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage,
    IceServer, IceTransportPolicy, MediaStreamTrack, PeerConnection, PeerConnectionDependencies, RtpSender,
    StatsReport, TrackKind,
};

use tokio::task::JoinHandle;

use crate::lab::{Link, PUBLIC};
use crate::namespace::{Namespace, NamespaceRuntime};
use crate::support::{self, Peer, Seen, Signaling, ms};
use crate::turn_server::{NAME, PASSWORD, PORT, TLS_PORT, USER};

/// How long anything that works may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Packets of RTP that must come through each way.
const PACKETS: usize = 10;

/// Checks answered until a pair is stable.
const RESPONSES: u64 = 5;

/// A way to the TURN server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Udp,
    Tcp,
    Tls,
}

impl Turn {
    /// Its URL. TLS by name, as the certificate is for that.
    pub(crate) fn url(self) -> String {
        match self {
            Self::Udp => format!("turn:{PUBLIC}:{PORT}?transport=udp"),
            Self::Tcp => format!("turn:{PUBLIC}:{PORT}?transport=tcp"),
            Self::Tls => format!("turns:{NAME}:{TLS_PORT}?transport=tcp"),
        }
    }
}

/// What both peers are told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) stun: bool,
    pub(crate) turn: Vec<Turn>,
    pub(crate) relay_only: bool,
    /// The authority of the server's certificate, DER.
    pub(crate) root: Vec<u8>,
    /// Changes the settings.
    pub(crate) settings: peerstack::Settings,
}

impl Options {
    pub(crate) fn configuration(&self) -> Configuration {
        let mut servers = Vec::new();
        if self.stun {
            servers.push(IceServer::new(format!("stun:{PUBLIC}:{PORT}")));
        }
        if !self.turn.is_empty() {
            let mut server = IceServer::default();
            server.urls = self.turn.iter().map(|turn| turn.url()).collect();
            (server.username, server.credential) = (USER.into(), PASSWORD.into());
            servers.push(server);
        }
        let mut configuration =
            Configuration::new().with_ice_servers(servers).with_settings(self.settings.clone());
        if self.relay_only {
            configuration.ice_transport_policy = IceTransportPolicy::Relay;
        }
        configuration
    }
}

/// Knows where the TURN server is, and the other names that tests give it.
#[derive(Debug)]
pub(crate) struct Names;

impl DnsResolver for Names {
    fn resolve(&self, name: &str) -> ResolveFuture {
        let result = match name.ends_with(".example") {
            true => Ok(vec![PUBLIC.parse::<IpAddr>().unwrap()]),
            false => Err(io::Error::new(io::ErrorKind::NotFound, "not a name of this test")),
        };
        Box::pin(async move { result })
    }
}

/// A connection whose network task runs in a namespace.
pub(crate) fn peer(
    namespace: &Namespace,
    configuration: Configuration,
    root: &[u8],
) -> (Peer, NamespaceRuntime) {
    let runtime = namespace.runtime();
    let mut dependencies = PeerConnectionDependencies::default();
    let factory = BasicPacketSocketFactory::new().with_root_certificates(vec![root.to_vec()]).unwrap();
    dependencies.packet_socket_factory = Box::new(factory) as Box<dyn PacketSocketFactory>;
    dependencies.dns_resolver = Arc::new(Names);
    dependencies.random = Random::from_system();
    dependencies.runtime = Some(runtime.handle());
    (Peer::with(configuration, dependencies), runtime)
}

/// Two connections that have been joined, with a data channel and audio both ways.
#[derive(Debug)]
pub(crate) struct Call {
    /// Of each: offers, and so controls, first.
    pub(crate) pcs: [PeerConnection; 2],
    pub(crate) signaling: [Signaling; 2],
    pub(crate) seen: [Seen; 2],
    pub(crate) channel: DataChannel,
    senders: [RtpSender; 2],
    runtimes: [NamespaceRuntime; 2],
}

impl Call {
    /// Makes both and has the first offer.
    pub(crate) async fn start(hosts: [&Namespace; 2], options: [&Options; 2]) -> Self {
        let [(a, a_runtime), (b, b_runtime)] =
            [0, 1].map(|n| peer(hosts[n], options[n].configuration(), &options[n].root));
        let pcs = [a.pc.clone(), b.pc.clone()];
        let channel = a.pc.create_data_channel("data", DataChannelInit::default()).unwrap();
        let senders = [&a.pc, &b.pc]
            .map(|pc| pc.add_track(MediaStreamTrack::new(TrackKind::Audio), &["s".into()]).unwrap());
        let ((a_out, a_seen), (b_out, b_seen)) = support::join(a, b, ms(1));
        a_out.offer(&pcs[0]).await;
        Self {
            pcs,
            signaling: [a_out, b_out],
            seen: [a_seen, b_seen],
            channel,
            senders,
            runtimes: [a_runtime, b_runtime],
        }
    }

    /// The other end of the data channel, once it is open.
    pub(crate) async fn opened(&mut self) -> DataChannel {
        let remote = support::incoming_channel(&mut self.seen[1]).await;
        while self.channel.next_event().await.unwrap() != DataChannelEvent::Open {}
        remote
    }

    /// Data and RTP go through each way until both ends are on an expected pair; `Err` says on which they are.
    pub(crate) async fn use_it(&mut self, expected: &[&str]) -> Result<String, String> {
        let [one, two] = self.senders.clone().map(support::send_audio);
        let pcs = self.pcs.clone();
        let through = async {
            let remote = self.opened().await;
            let exchanged = async {
                loop {
                    support::exchange(&self.channel, &messages()).await;
                    let pair = pair_of(&self.pcs).await;
                    if expected.contains(&pair.as_str()) {
                        return pair;
                    }
                    tokio::time::sleep(ms(20)).await;
                }
            };
            let data = async {
                tokio::select! {
                    pair = exchanged => pair,
                    () = support::echo_back(remote) => unreachable!("the channel closed"),
                }
            };
            let (pair, ..) = tokio::join!(data, packets_arrive(&self.pcs[0]), packets_arrive(&self.pcs[1]));
            pair
        };
        tokio::select! {
            pair = tokio::time::timeout(LIMIT, through) => match pair {
                Ok(pair) => Ok(pair),
                Err(_) => Err(format!(
                    "{} instead of {expected:?}, {:?}",
                    pair_of(&pcs).await,
                    pcs.each_ref().map(PeerConnection::connection_state)
                )),
            },
            () = one => unreachable!(),
            () = two => unreachable!(),
        }
    }

    /// Sends audio both ways for as long as it is polled.
    pub(crate) fn talk(&self) -> impl Future<Output = ()> + use<> {
        let [one, two] = self.senders.clone().map(support::send_audio);
        async move {
            tokio::join!(one, two);
        }
    }

    /// Waits until one side has a working pair of each of these links.
    pub(crate) async fn pairs_of(&self, number: usize, links: &[Link]) {
        loop {
            let report = self.pcs[number].stats().await.unwrap();
            let has_pair = |link: &Link| {
                let mut working = report.candidate_pairs.iter().filter(|pair| pair.state == "succeeded");
                working.any(|pair| {
                    let mut local = report.local_candidates.iter();
                    local.any(|local| local.id == pair.local_candidate_id && link.owns(&base_of(local)))
                })
            };
            if links.iter().all(has_pair) {
                return;
            }
            tokio::time::sleep(ms(20)).await;
        }
    }

    /// Waits until both sides have measured the round trips of their pair often enough to call it stable (T04).
    pub(crate) async fn settled(&self) {
        for pc in &self.pcs {
            loop {
                let report = pc.stats().await.unwrap();
                let used = report.transports.first().and_then(|used| used.selected_candidate_pair_id.clone());
                let mut pairs = report.candidate_pairs.iter();
                if pairs.any(|pair| Some(&pair.id) == used.as_ref() && pair.responses_received >= RESPONSES) {
                    break;
                }
                tokio::time::sleep(ms(20)).await;
            }
        }
    }

    /// Nothing of one side runs for a while, as if its process had been stopped: its runtime has one thread, and that is
    /// held up.
    pub(crate) fn stop(&self, number: usize, time: Duration) -> JoinHandle<()> {
        self.runtimes[number].handle().spawn(async move { std::thread::sleep(time) })
    }

    /// The address that one side's selected pair is based on, and its user fragment.
    pub(crate) async fn address_of(&self, number: usize) -> (String, String) {
        let report = self.pcs[number].stats().await.unwrap();
        let transport = report.transports.first().unwrap();
        let pair = transport.selected_candidate_pair.as_ref();
        let base = pair.map_or(String::new(), |pair| base_of(&pair.local));
        (base, transport.ice_local_username_fragment.clone().unwrap())
    }

    /// Closes both.
    pub(crate) async fn close(self) {
        self.pcs.iter().for_each(PeerConnection::close);
        tokio::join!(self.pcs[0].closed(), self.pcs[1].closed());
    }
}

/// The address behind a candidate: the host's, of a relay's the router's.
fn base_of(candidate: &CandidateStats) -> String {
    candidate.related_address.clone().or_else(|| candidate.address.clone()).unwrap_or_default()
}

async fn packets_arrive(pc: &PeerConnection) {
    let track = pc.transceivers()[0].receiver().track();
    for _ in 0..PACKETS {
        assert_eq!(track.recv().await.unwrap().payload.len(), 80);
    }
}

/// Messages of several sizes.
fn messages() -> [DataChannelMessage; 3] {
    [1, 1_000, 20_000].map(|size| DataChannelMessage::Binary(vec![0x5a; size].into()))
}

/// Local candidates of both ends of the selected pair: `h`, `s`, `p`, or `r` with the protocol to the server.
pub(crate) async fn pair_of(pcs: &[PeerConnection; 2]) -> String {
    let (a, b) = (pcs[0].stats().await.unwrap(), pcs[1].stats().await.unwrap());
    format!("{}/{}", letter(&a), letter(&b))
}

fn letter(report: &StatsReport) -> String {
    let pair = report.transports.first().and_then(|transport| transport.selected_candidate_pair.as_ref());
    let Some(pair) = pair else { return "-".to_owned() };
    let relay = pair.local.relay_protocol.clone().unwrap_or_default();
    let letter = match pair.local.candidate_type {
        peerstack::CandidateType::Host => "h",
        peerstack::CandidateType::Srflx => "s",
        peerstack::CandidateType::Prflx => "p",
        peerstack::CandidateType::Relay => "r",
    };
    match relay.is_empty() {
        true => letter.to_owned(),
        false => format!("{letter}:{relay}"),
    }
}
