//! A call: two applications that talk all the time and write down what arrives when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use peerstack::{
    CandidatePair, Configuration, DataChannel, DataChannelEvent, DataChannelInit, DataChannelMessage,
    MediaStreamTrack, OfferOptions, PeerConnection, PeerConnectionDependencies, PeerConnectionEvent,
    PeerConnectionState, RtpPacket, RtpSender, TrackKind,
};
use peerstack_base::AdapterType;
use peerstack_netsim::{Host, Lab, LinkConfig, Segment, ip};
use tokio::task::AbortHandle;

use crate::support::{self, Peer, Seen, Signal, Signaling, ms};

/// T05: without a packet for so long a pair does not receive; looked at each 250 ms.
pub(crate) const RECEIVING_TIMEOUT: Duration = Duration::from_millis(2500);
/// See [`RECEIVING_TIMEOUT`].
pub(crate) const CHECK_RECEIVING_INTERVAL: Duration = Duration::from_millis(250);
/// T10: damping of a switch that only receiving speaks for.
pub(crate) const RECEIVING_SWITCHING_DELAY: Duration = Duration::from_secs(1);
/// T04: the longest time between two checks of a stable pair, spread to 1.2 times its interval.
pub(crate) const CONSENT_CHECK_INTERVAL: Duration = Duration::from_millis(3000);
/// The controlled side has left a pair: the controlling one doubts it after a second without a packet (ours; in
/// libwebrtc only the receiving time-out tells), and leaves it after the damping delay.
pub(crate) const FOLLOWING: Duration = Duration::from_millis(2 * 1000 + 250 + 150);
/// T06, T07: a pair that was silent for so long has timed out.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// Each side sends an RTP packet and a message so often.
pub(crate) const TICK: Duration = Duration::from_millis(20);
/// The longest silence that is none: what jitter and the rhythm of 20 ms make of a steady stream.
pub(crate) const STEADY: Duration = Duration::from_millis(100);

/// Runs a scenario with each seed; which one failed is told.
pub(crate) fn each_seed(scenario: impl AsyncFn(u64)) {
    let seeds =
        std::env::var("PEERSTACK_SCENARIO_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for seed in 0..seeds {
        let told = TellSeed(seed);
        support::simulate(scenario(seed));
        std::mem::forget(told);
    }
}

struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        support::say(&format!("failed with seed {}", self.0));
    }
}

/// Waits, in virtual time.
pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// A point in the rhythm of checks, another one for each seed.
pub(crate) fn phase(seed: u64) -> Duration {
    ms(seed * 733 % 3000)
}

/// 20 ms there, and up to 4 ms of jitter.
pub(crate) fn ordinary() -> LinkConfig {
    LinkConfig::latency(ms(20)).with_jitter(ms(4))
}

/// Gives a host an interface with an ordinary link.
pub(crate) fn attach(host: &Host, name: &str, kind: AdapterType, segment: &impl Segment, address: &str) {
    let interface = host.add_interface(name, kind, segment, &[ip(address)]);
    interface.link().configure(ordinary());
}

/// A host with one wired interface.
pub(crate) fn host(lab: &Lab, name: &str, segment: &impl Segment, address: &str) -> Host {
    let host = lab.host(name);
    attach(&host, "eth0", AdapterType::Ethernet, segment, address);
    host
}

/// Two hosts in the open.
pub(crate) fn two_hosts(lab: &Lab) -> [Host; 2] {
    [("a", "192.0.2.1"), ("b", "192.0.2.2")].map(|(name, address)| host(lab, name, &lab.internet(), address))
}

/// What one side has heard so far, each with the time in the lab.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) rtp: Vec<(Duration, u16)>,
    pub(crate) messages: Vec<(Duration, u32)>,
    pub(crate) states: Vec<(Duration, PeerConnectionState)>,
    pub(crate) pairs: Vec<(Duration, CandidatePair)>,
    sent: u32,
    channel_closed: bool,
}

/// One side of a call.
pub(crate) struct Side {
    pub(crate) pc: PeerConnection,
    pub(crate) out: Signaling,
    heard: Arc<Mutex<Heard>>,
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Side {
    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    /// Our address and the peer's of the pair in use, as text.
    pub(crate) async fn selected(&self) -> (String, String) {
        match self.pc.selected_candidate_pair().await.unwrap() {
            Some(pair) => {
                let ip = |address: &peerstack::Candidate| {
                    address.address.ip().map(|address| address.ip().to_string()).unwrap_or_default()
                };
                (ip(&pair.local), ip(&pair.remote))
            }
            None => (String::new(), String::new()),
        }
    }

    /// How often the selected pair changed, the first time included.
    pub(crate) fn pair_changes(&self) -> usize {
        self.heard().pairs.len()
    }

    /// Whether it was ever in this state since a time.
    pub(crate) fn was(&self, state: PeerConnectionState, since: Duration) -> bool {
        self.heard().states.iter().any(|(at, was)| *was == state && *at >= since)
    }
}

/// Two applications that talk.
pub(crate) struct Call {
    pub(crate) lab: Lab,
    pub(crate) a: Side,
    pub(crate) b: Side,
    /// Nobody says anything while it is set; checks go on.
    quiet: Arc<AtomicBool>,
    tasks: Vec<AbortHandle>,
}

impl Call {
    /// `a` offers; returns once audio and messages arrive on both sides.
    pub(crate) async fn start(lab: &Lab, a: &Host, b: &Host) -> Self {
        Self::start_with(lab, (a, Configuration::new()), (b, Configuration::new())).await
    }

    /// A call between [`two_hosts`] that has gone on for long enough to be stable.
    pub(crate) async fn settled(seed: u64) -> (Lab, [Host; 2], Self) {
        let lab = Lab::start(seed);
        let [a, b] = two_hosts(&lab);
        let call = Self::start(&lab, &a, &b).await;
        pass(ms(10_000) + phase(seed)).await;
        (lab, [a, b], call)
    }

    /// As [`start`](Self::start), with settings of one's own.
    pub(crate) async fn start_with(lab: &Lab, a: (&Host, Configuration), b: (&Host, Configuration)) -> Self {
        Self::start_from(lab, (a.1, support::dependencies(lab, a.0)), b).await
    }

    /// As [`start_with`](Self::start_with), `a` made from dependencies of one's own.
    pub(crate) async fn start_from(
        lab: &Lab,
        a: (Configuration, PeerConnectionDependencies),
        b: (&Host, Configuration),
    ) -> Self {
        let call = Self::new(lab, a, b);
        call.a.out.offer(&call.a.pc).await;
        call.talks().await
    }

    /// As [`start_with`](Self::start_with), but `b` is told that `a` is lite, and therefore controls as well.
    pub(crate) async fn start_pretending_lite(
        lab: &Lab,
        a: (&Host, Configuration),
        b: (&Host, Configuration),
    ) -> Self {
        let call = Self::new(lab, (a.1, support::dependencies(lab, a.0)), b);
        let offer = call.a.pc.create_offer(OfferOptions::default()).await.unwrap();
        let mut lite = offer.clone();
        lite.sdp = offer.sdp.replacen("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n", 1);
        assert_ne!(lite.sdp, offer.sdp);
        call.a.out.send(Signal::Description(lite));
        call.a.pc.set_local_description(offer).await.unwrap();
        call.talks().await
    }

    async fn talks(self) -> Self {
        let talks = |side: &Side| !side.heard().rtp.is_empty() && !side.heard().messages.is_empty();
        self.until(Duration::from_secs(30), |call| talks(&call.a) && talks(&call.b)).await;
        self
    }

    fn new(lab: &Lab, a: (Configuration, PeerConnectionDependencies), b: (&Host, Configuration)) -> Self {
        let a = Peer::with(a.0.with_certificate(support::certificate(0)), a.1);
        let b = Peer::with(b.1.with_certificate(support::certificate(1)), support::dependencies(lab, b.0));
        let (a_pc, b_pc) = (a.pc.clone(), b.pc.clone());
        let channel = a_pc.create_data_channel("call", DataChannelInit::default()).unwrap();
        let ((to_b, a_seen), (to_a, b_seen)) = support::join(a, b, ms(30));
        let mut call = Self {
            lab: lab.clone(),
            a: Side { pc: a_pc, out: to_b, heard: Arc::default() },
            b: Side { pc: b_pc, out: to_a, heard: Arc::default() },
            quiet: Arc::default(),
            tasks: Vec::new(),
        };
        lab.set_tracing(false);
        call.run_side(true, a_seen, Some(channel));
        call.run_side(false, b_seen, None);
        call
    }

    fn run_side(&mut self, first: bool, seen: Seen, channel: Option<DataChannel>) {
        let side = if first { &self.a } else { &self.b };
        let (pc, heard, lab) = (side.pc.clone(), Arc::clone(&side.heard), self.lab.clone());
        let id = if first { "a" } else { "b" };
        let track = MediaStreamTrack::with_id(TrackKind::Audio, id);
        let sender = pc.add_track(track, &["call".into()]).unwrap();
        let tasks = [
            tokio::spawn(send_audio(sender, Arc::clone(&self.quiet))),
            tokio::spawn(hear_audio(pc, Arc::clone(&heard), lab.clone())),
            tokio::spawn(see_events(seen, channel, heard, lab, Arc::clone(&self.quiet))),
        ];
        self.tasks.extend(tasks.iter().map(tokio::task::JoinHandle::abort_handle));
    }

    /// Passes time until something holds.
    pub(crate) async fn until(&self, limit: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let start = self.lab.elapsed();
        while !holds(self) {
            let passed = self.lab.elapsed() - start;
            assert!(passed <= limit, "it did not come about within {limit:?}\n{}", self.story(start));
            pass(ms(5)).await;
        }
        self.lab.elapsed() - start
    }

    /// Passes time in which nobody says anything, so that nothing but checks keeps the call.
    pub(crate) async fn pass_quietly(&self, time: Duration) {
        self.quiet.store(true, Ordering::Relaxed);
        pass(time).await;
        self.quiet.store(false, Ordering::Relaxed);
    }

    /// A new offer with new ICE parameters, from `a`.
    pub(crate) async fn restart_ice(&self) {
        self.a.pc.restart_ice();
        self.a.out.offer(&self.a.pc).await;
    }

    /// The longest time without an RTP packet on either side since `from`; a silence at the end counts.
    pub(crate) fn gap(&self, from: Duration) -> Duration {
        gap_of(&self.a, from, self.lab.elapsed()).max(gap_of(&self.b, from, self.lab.elapsed()))
    }

    /// The longest time without a message on either side since `from`.
    pub(crate) fn message_gap(&self, from: Duration) -> Duration {
        let now = self.lab.elapsed();
        let of = |side: &Side| longest(side.heard().messages.iter().map(|(at, _)| *at), from, now);
        of(&self.a).max(of(&self.b))
    }

    /// Fails unless the longest silence since `from` lies in these bounds.
    pub(crate) fn assert_gap(&self, from: Duration, bounds: std::ops::RangeInclusive<Duration>) {
        let gap = self.gap(from);
        assert!(bounds.contains(&gap), "a silence of {gap:?}, not {bounds:?}\n{}", self.story(from));
    }

    /// Fails if either side has said so since a time.
    pub(crate) fn assert_never(&self, state: PeerConnectionState, since: Duration) {
        assert!(!self.a.was(state, since) && !self.b.was(state, since), "{state:?}\n{}", self.story(since));
    }

    /// Whether both sides say so.
    pub(crate) fn has_failed(&self) -> bool {
        [&self.a, &self.b].iter().all(|side| side.pc.connection_state() == PeerConnectionState::Failed)
    }

    /// Both sides still, or again, connected, and the channel works; every message once and in order.
    pub(crate) async fn end(self) {
        let states = [self.a.pc.connection_state(), self.b.pc.connection_state()];
        assert_eq!(states, [PeerConnectionState::Connected; 2], "{}", self.story(Duration::ZERO));
        let sent = [&self.a, &self.b].map(|side| side.heard().sent);
        // What was sent up to now arrives.
        self.until(Duration::from_secs(90), |call| {
            let arrived = [&call.b, &call.a].map(|side| side.heard().messages.len());
            arrived[0] >= sent[0] as usize && arrived[1] >= sent[1] as usize
        })
        .await;
        for side in [&self.a, &self.b] {
            let heard = side.heard();
            assert!(!heard.channel_closed);
            let in_order =
                heard.messages.iter().enumerate().all(|(index, (_, number))| *number == index as u32);
            assert!(in_order, "messages out of order, lost or repeated");
            let mut numbers: Vec<u16> = heard.rtp.iter().map(|(_, number)| *number).collect();
            let count = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "an RTP packet twice");
        }
        self.tasks.iter().for_each(AbortHandle::abort);
        self.a.pc.close();
        self.b.pc.close();
        tokio::join!(biased; self.a.pc.closed(), self.b.pc.closed());
        assert_eq!(self.lab.open_sockets(), 0);
    }

    /// What happened since a time, for whoever reads why a test failed.
    pub(crate) fn story(&self, since: Duration) -> String {
        let now = self.lab.elapsed();
        let of = |name: &str, side: &Side| {
            let heard = side.heard();
            let states: Vec<_> = heard.states.iter().filter(|(at, _)| *at >= since).collect();
            let pairs: Vec<String> = heard
                .pairs
                .iter()
                .filter(|(at, _)| *at >= since)
                .map(|(at, pair)| {
                    format!("{at:?}: {:?} > {:?}", pair.local.address.ip(), pair.remote.address.ip())
                })
                .collect();
            let gap = longest(heard.rtp.iter().map(|(at, _)| *at), since, now);
            let message_gap = longest(heard.messages.iter().map(|(at, _)| *at), since, now);
            let counts = (heard.rtp.len(), heard.messages.len(), heard.sent);
            format!(
                "{name}: {:?}; silence {gap:?}, of messages {message_gap:?}; rtp, messages, sent {counts:?}\n  \
                 states {states:?}\n  pairs {pairs:#?}\n",
                side.pc.connection_state()
            )
        };
        format!("from {since:?} to {now:?}\n{}{}", of("a", &self.a), of("b", &self.b))
    }
}

fn gap_of(side: &Side, from: Duration, now: Duration) -> Duration {
    longest(side.heard().rtp.iter().map(|(at, _)| *at), from, now)
}

fn longest(times: impl Iterator<Item = Duration>, from: Duration, now: Duration) -> Duration {
    let (mut last, mut longest) = (from, Duration::ZERO);
    for at in times.filter(|at| *at >= from).chain([now]) {
        longest = longest.max(at - last);
        last = at;
    }
    longest
}

/// Sends an RTP packet each 20 ms.
async fn send_audio(sender: RtpSender, quiet: Arc<AtomicBool>) {
    let mut packet = RtpPacket::default();
    packet.payload = vec![0x5a; 80].into();
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        if quiet.load(Ordering::Relaxed) {
            continue;
        }
        packet.payload_type = sender.codecs().first().map_or(111, |codec| codec.payload_type);
        packet.sequence_number = packet.sequence_number.wrapping_add(1);
        packet.timestamp = packet.timestamp.wrapping_add(960);
        // Refused until the section is negotiated, and while nothing can be sent.
        let _ = sender.send_rtp(packet.clone());
    }
}

async fn hear_audio(pc: PeerConnection, heard: Arc<Mutex<Heard>>, lab: Lab) {
    let track = loop {
        if let Some(transceiver) = pc.transceivers().first() {
            break transceiver.receiver().track();
        }
        pass(ms(1)).await;
    };
    while let Some(RtpPacket { sequence_number, .. }) = track.recv().await {
        let at = lab.elapsed();
        lock(&heard).rtp.push((at, sequence_number));
    }
}

async fn see_events(
    mut seen: Seen,
    channel: Option<DataChannel>,
    heard: Arc<Mutex<Heard>>,
    lab: Lab,
    quiet: Arc<AtomicBool>,
) {
    let start = |channel| tokio::spawn(talk(channel, Arc::clone(&heard), lab.clone(), Arc::clone(&quiet)));
    let mut channel_task = channel.map(start);
    while let Some(event) = seen.recv().await {
        let at = lab.elapsed();
        match event {
            PeerConnectionEvent::ConnectionStateChange(state) => lock(&heard).states.push((at, state)),
            PeerConnectionEvent::SelectedCandidatePairChange(event) => {
                lock(&heard).pairs.extend(event.pair.map(|pair| (at, pair)));
            }
            PeerConnectionEvent::DataChannel(channel) => {
                channel_task = Some(start(channel));
            }
            _ => {}
        }
    }
    if let Some(task) = channel_task {
        task.abort();
    }
}

/// Sends a numbered message each 20 ms once the channel is open, and writes down what comes.
async fn talk(channel: DataChannel, heard: Arc<Mutex<Heard>>, lab: Lab, quiet: Arc<AtomicBool>) {
    let mut ticks = tokio::time::interval(TICK);
    let mut open = false;
    loop {
        tokio::select! {
            biased;
            event = channel.next_event() => match event {
                Some(DataChannelEvent::Open) => open = true,
                Some(DataChannelEvent::Message(DataChannelMessage::Binary(bytes))) => {
                    let number = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                    let at = lab.elapsed();
                    lock(&heard).messages.push((at, number));
                }
                Some(DataChannelEvent::Closed) | None => {
                    lock(&heard).channel_closed = true;
                    return;
                }
                Some(_) => {}
            },
            _ = ticks.tick(), if open => {
                if quiet.load(Ordering::Relaxed) {
                    continue;
                }
                let number = lock(&heard).sent;
                let mut message = number.to_be_bytes().to_vec();
                message.resize(60, 0x11);
                if channel.send(DataChannelMessage::Binary(message.into())).is_ok() {
                    lock(&heard).sent += 1;
                }
            }
        }
    }
}
