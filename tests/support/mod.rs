//! What the integration tests share: two PeerConnections in a virtual network, and the signalling between them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a helper of tests: each uses a part of it, runs tasks of its own, and fails by panicking"
)]

use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

use peerstack::base::Random;
use peerstack::{
    Certificate, Configuration, DataChannel, DataChannelEvent, DataChannelMessage, DataChannelState,
    IceCandidateInit, KeyAlgorithm, PeerConnection, PeerConnectionDependencies, PeerConnectionEvent,
    PeerConnectionEvents, RtpPacket, RtpSender, SdpType, SessionDescription, Settings,
};
use peerstack_netsim::{Host, Lab, LinkConfig, addr, ip};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Milliseconds.
pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Writes a line past the test harness, which keeps back what a passing test prints.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One of two certificates that all runs of a process share: to make one takes longer than to connect, and
/// runs whose traces are compared need the same.
pub(crate) fn certificate(number: usize) -> Certificate {
    static CERTIFICATES: [OnceLock<Certificate>; 2] = [const { OnceLock::new() }; 2];
    CERTIFICATES[number]
        .get_or_init(|| {
            let mut random = Random::from_seed(number as u64);
            // Good from 2026 on; the lab's clock begins in January of that year.
            Certificate::generate(KeyAlgorithm::default(), &LabEpoch, &mut random).unwrap()
        })
        .clone()
}

#[derive(Debug)]
struct LabEpoch;

impl peerstack::base::WallClock for LabEpoch {
    fn now(&self) -> std::time::SystemTime {
        std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
    }
}

/// Runs a future on a runtime of its own, single-threaded, whose clock stands still while anything can run.
pub(crate) fn simulate<F: Future>(future: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

/// A virtual network of two hosts with public addresses, 100 ms apart there and back.
#[derive(Debug)]
pub(crate) struct TwoHosts {
    pub(crate) lab: Lab,
    pub(crate) alice: Host,
    pub(crate) bob: Host,
}

/// The round trip between the two hosts.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(100);

impl TwoHosts {
    /// Starts the network. What is lost, is lost on the first host's link.
    pub(crate) fn start(seed: u64, change: impl FnOnce(LinkConfig) -> LinkConfig) -> Self {
        let lab = Lab::start(seed);
        let alice = lab.host_at("alice", &lab.internet(), ip("198.51.100.1"));
        let bob = lab.host_at("bob", &lab.internet(), ip("203.0.113.2"));
        alice.interfaces()[0].link().configure(change(LinkConfig::latency(ROUND_TRIP / 2)));
        Self { lab, alice, bob }
    }

    /// A connection on each host.
    pub(crate) fn peers(&self) -> (Peer, Peer) {
        (Peer::on(&self.lab, &self.alice, 0), Peer::on(&self.lab, &self.bob, 1))
    }
}

/// The addresses of [`TwoHosts`].
pub(crate) fn host_addr(number: usize, port: u16) -> std::net::SocketAddr {
    let mut address = addr(["198.51.100.1:0", "203.0.113.2:0"][number]);
    address.set_port(port);
    address
}

/// What a connection on a virtual host is made from.
pub(crate) fn dependencies(lab: &Lab, host: &Host) -> PeerConnectionDependencies {
    let mut dependencies = PeerConnectionDependencies::default();
    dependencies.packet_socket_factory = host.packet_socket_factory();
    dependencies.network_manager = host.network_manager();
    dependencies.dns_resolver = lab.dns_resolver();
    dependencies.wall_clock = lab.wall_clock();
    dependencies.random = lab.random(&host.name());
    dependencies
}

/// A connection and its events from the first on.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) pc: PeerConnection,
    pub(crate) events: PeerConnectionEvents,
}

impl Peer {
    /// A connection on a virtual host, with one of the two certificates.
    pub(crate) fn on(lab: &Lab, host: &Host, certificate_number: usize) -> Self {
        let configuration = Configuration::new().with_certificate(certificate(certificate_number));
        Self::with(configuration, dependencies(lab, host))
    }

    /// A connection.
    pub(crate) fn with(configuration: Configuration, dependencies: PeerConnectionDependencies) -> Self {
        let pc = PeerConnection::with_dependencies(configuration, dependencies).unwrap();
        let events = pc.events();
        Self { pc, events }
    }
}

/// What travels between two applications.
#[derive(Debug)]
pub(crate) enum Signal {
    Description(SessionDescription),
    Candidate(IceCandidateInit),
}

type Path = mpsc::UnboundedSender<(Instant, Signal)>;

/// One application's way to the other: everything in order, after a delay.
#[derive(Debug, Clone)]
pub(crate) struct Signaling {
    path: Path,
    delay: Duration,
}

impl Signaling {
    /// Sends.
    pub(crate) fn send(&self, signal: Signal) {
        // The other side is gone once it closed.
        let _ = self.path.send((Instant::now() + self.delay, signal));
    }

    /// Makes an offer, sends it, puts it in force.
    pub(crate) async fn offer(&self, pc: &PeerConnection) {
        let offer = pc.create_offer(Default::default()).await.unwrap();
        self.send(Signal::Description(offer.clone()));
        pc.set_local_description(offer).await.unwrap();
    }
}

/// What one side's events task tells a test.
pub(crate) type Seen = mpsc::UnboundedReceiver<PeerConnectionEvent>;

/// The tasks of two applications that hold handles on their connections.
#[derive(Debug)]
pub(crate) struct Applications([AbortHandle; 2]);

impl Applications {
    /// Ends them: the test's own handles are then the last.
    pub(crate) fn quit(self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Joins two applications: each trickles its candidates, and answers offers. Returns both ways out, and the
/// events of each that are not for signalling. The tasks end with the connections.
pub(crate) fn join(a: Peer, b: Peer, delay: Duration) -> ((Signaling, Seen), (Signaling, Seen)) {
    let (a, b, _) = join_applications(a, b, delay);
    (a, b)
}

/// As [`join`], with the means to end the applications while the connections are open.
pub(crate) fn join_applications(
    a: Peer,
    b: Peer,
    delay: Duration,
) -> ((Signaling, Seen), (Signaling, Seen), Applications) {
    let (to_b, b_inbox) = mpsc::unbounded_channel();
    let (to_a, a_inbox) = mpsc::unbounded_channel();
    let a_out = Signaling { path: to_b, delay };
    let b_out = Signaling { path: to_a, delay };
    let (a_seen, a_task) = run_application(a, a_out.clone(), a_inbox);
    let (b_seen, b_task) = run_application(b, b_out.clone(), b_inbox);
    ((a_out, a_seen), (b_out, b_seen), Applications([a_task, b_task]))
}

fn run_application(
    peer: Peer,
    out: Signaling,
    mut inbox: mpsc::UnboundedReceiver<(Instant, Signal)>,
) -> (Seen, AbortHandle) {
    let Peer { pc, mut events } = peer;
    let (seen, receiver) = mpsc::unbounded_channel();
    let trickle = out.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            match event {
                PeerConnectionEvent::IceCandidate(candidate) => trickle.send(Signal::Candidate(candidate)),
                other => drop(seen.send(other)),
            }
        }
    });
    let task = tokio::spawn(async move {
        let receive = async {
            while let Some((at, signal)) = inbox.recv().await {
                tokio::time::sleep_until(at).await;
                handle_signal(&pc, &out, signal).await;
            }
        };
        tokio::select! {
            biased;
            () = pc.closed() => {}
            () = receive => {}
        }
    });
    (receiver, task.abort_handle())
}

async fn handle_signal(pc: &PeerConnection, out: &Signaling, signal: Signal) {
    // A connection may be closed at any moment; nothing else may fail.
    let check = |result: Result<(), peerstack::RtcError>| {
        assert!(result.is_ok() || pc.is_closed(), "{result:?}");
    };
    match signal {
        Signal::Candidate(candidate) => check(pc.add_ice_candidate(candidate).await),
        Signal::Description(description) => {
            let is_offer = description.sdp_type == SdpType::Offer;
            check(pc.set_remote_description(description).await);
            if is_offer && let Ok(answer) = pc.create_answer().await {
                out.send(Signal::Description(answer.clone()));
                check(pc.set_local_description(answer).await);
            }
        }
    }
}

/// Sends an RTP packet every 20 ms, as audio does; never ends.
pub(crate) async fn send_audio(sender: RtpSender) {
    let mut packet = RtpPacket::default();
    packet.payload = vec![0x5a; 80].into();
    let mut ticks = tokio::time::interval(ms(20));
    loop {
        ticks.tick().await;
        packet.payload_type = sender.codecs().first().map_or(111, |codec| codec.payload_type);
        packet.sequence_number = packet.sequence_number.wrapping_add(1);
        packet.timestamp = packet.timestamp.wrapping_add(960);
        // Refused until the section is negotiated.
        let _ = sender.send_rtp(packet.clone());
    }
}

/// Sends back what comes.
pub(crate) async fn echo_back(channel: DataChannel) {
    while let Some(event) = channel.next_event().await {
        if let DataChannelEvent::Message(message) = event {
            // Refused once the channel closes.
            let _ = channel.send(message);
        }
    }
}

/// Sends messages over a channel that opens or is open, and waits for each to come back as it was.
pub(crate) async fn exchange(channel: &DataChannel, messages: &[DataChannelMessage]) {
    while channel.ready_state() != DataChannelState::Open {
        assert!(channel.next_event().await.is_some(), "the channel closed");
    }
    for message in messages {
        channel.send(message.clone()).unwrap();
    }
    for message in messages {
        let echoed = loop {
            match channel.next_event().await {
                Some(DataChannelEvent::Message(message)) => break message,
                Some(_) => {}
                None => panic!("the channel closed"),
            }
        };
        assert!(echoed == *message, "{} bytes came back for {}", echoed.len(), message.len());
    }
}

/// Settings of a connection over real sockets of the loopback interface.
pub(crate) fn loopback() -> Configuration {
    let mut settings = Settings::default();
    settings.allow_loopback = true;
    Configuration::new().with_settings(settings)
}

/// Waits for the data channel that the peer opens.
pub(crate) async fn incoming_channel(seen: &mut Seen) -> DataChannel {
    loop {
        match seen.recv().await {
            Some(PeerConnectionEvent::DataChannel(channel)) => return channel,
            Some(_) => {}
            None => panic!("the connection ended before a data channel came"),
        }
    }
}
