//! Sender and receiver reports, and feedback both ways, for all streams of one transport (RFC 3550 section 6, RFC
//! 4585, RFC 5104). Runs on the network task; answers to libwebrtc's `modules/rtp_rtcp/source/rtcp_sender.h` and
//! `rtcp_receiver.h`.
//!
//! No I/O: the owner tells of packets that were sent and received, runs the timer, and sends what
//! [`RtcpReporter::poll_rtcp`] gives. Streams of one kind are reported together in one compound packet.

mod feedback;
mod incoming;
mod streams;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use peerstack_base::{Random, WallClock};

use crate::ntp_time::NtpClock;
use crate::rtcp_builder::RtcpBuilder;
use crate::rtcp_packet::ReportBlock;
use crate::rtp_statistics::{
    InboundRtpStats, MediaKind, OutboundRtpStats, RemoteInboundRtpStats, RemoteOutboundRtpStats,
    RtpPacketInfo,
};
use streams::{ReceiveStream, SendStream};

/// Streams that are tracked in each direction, at most.
pub const MAX_STREAMS: usize = 1000;
/// Events and packets that wait, at most; beyond it the oldest are dropped.
const MAX_WAITING: usize = 256;
/// What goes into one compound packet, so that it stays below 1,200 bytes.
const SENDERS_PER_PACKET: usize = 4;
const BLOCKS_PER_PACKET: usize = 24;
/// Sources of one goodbye: five bits count them (RFC 3550 section 6.6).
const MAX_BYES: usize = 31;
/// A stream that was silent for this long is left out of reports (libwebrtc `kStatisticsTimeoutMs`).
const SILENCE: Duration = Duration::from_secs(8);
/// CNAMEs are short (RFC 7022); a longer one is cut, so that a compound packet keeps its bound.
const MAX_CNAME: usize = 64;

/// How RTCP is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtcpConfig {
    /// Canonical name of all our streams (RFC 7022).
    pub cname: String,
    /// Feedback may go alone (RFC 5506), as `a=rtcp-rsize` says.
    pub reduced_size: bool,
    /// Mean interval of audio's reports (libwebrtc: 5 s).
    pub audio_interval: Duration,
    /// Mean interval of video's reports (libwebrtc: 1 s).
    pub video_interval: Duration,
}

impl Default for RtcpConfig {
    fn default() -> Self {
        Self {
            cname: String::new(),
            reduced_size: false,
            audio_interval: Duration::from_secs(5),
            video_interval: Duration::from_secs(1),
        }
    }
}

/// How a key frame was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyFrameRequest {
    /// Picture loss indication (RFC 4585 section 6.3.1).
    Pli,
    /// Full intra request (RFC 5104 section 4.3.1).
    Fir,
}

/// What came in by RTCP and concerns the application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtcpEvent {
    /// The peer wants a key frame of a stream we send.
    KeyFrameRequested {
        /// Our stream.
        ssrc: u32,
        /// How it asked.
        request: KeyFrameRequest,
    },
    /// The peer misses packets of a stream we send.
    Nack {
        /// Our stream.
        ssrc: u32,
        /// Which.
        sequence_numbers: Vec<u16>,
    },
    /// The peer's estimate of what it can receive.
    Remb {
        /// Bits per second.
        bitrate: u64,
        /// The streams it is about.
        ssrcs: Vec<u32>,
    },
    /// Transport-wide congestion control feedback, not parsed.
    TransportFeedback {
        /// Any of the streams it is about; maybe none of ours.
        media_ssrc: u32,
        /// The whole packet.
        packet: Vec<u8>,
    },
    /// A packet that is not read here: extended reports, application-defined packets, other feedback.
    Other(Vec<u8>),
    /// A report of a stream we send came in: statistics changed.
    ReportReceived {
        /// Our stream.
        ssrc: u32,
    },
    /// A stream we receive has ended.
    Bye {
        /// The peer's stream.
        ssrc: u32,
    },
}

/// Counters of what was malformed or had to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtcpCounters {
    /// Compound packets that came in.
    pub received: u64,
    /// Of these, how many were malformed somewhere.
    pub malformed: u64,
    /// Feedback for streams that are not ours.
    pub unknown_ssrc: u64,
    /// Events nobody read in time.
    pub events_dropped: u64,
    /// Streams beyond the bound.
    pub too_many_streams: u64,
    /// Compound packets that were made.
    pub made: u64,
}

/// Reports and feedback of one transport.
#[derive(Debug)]
pub struct RtcpReporter {
    config: RtcpConfig,
    random: Random,
    clock: NtpClock,
    /// Our SSRC while we only receive.
    own_ssrc: u32,
    send: BTreeMap<u32, SendStream>,
    receive: BTreeMap<u32, ReceiveStream>,
    /// When reports of audio and video are due.
    next_report: [Option<Instant>; 2],
    outgoing: VecDeque<Vec<u8>>,
    events: VecDeque<RtcpEvent>,
    counters: RtcpCounters,
}

impl RtcpReporter {
    /// A reporter without streams. The date is asked for once, here.
    pub fn new(now: Instant, config: RtcpConfig, wall_clock: &dyn WallClock, mut random: Random) -> Self {
        let own_ssrc = random.u32().max(1);
        Self {
            config,
            own_ssrc,
            random,
            clock: NtpClock::new(now, wall_clock),
            send: BTreeMap::new(),
            receive: BTreeMap::new(),
            next_report: [None; 2],
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            counters: RtcpCounters::default(),
        }
    }

    /// Whether feedback may go alone.
    pub fn set_reduced_size(&mut self, reduced_size: bool) {
        self.config.reduced_size = reduced_size;
    }

    /// Adds a stream we send. `clock_rate` is its payload's, in Hz. Returns whether there was room.
    pub fn add_sender(&mut self, ssrc: u32, kind: MediaKind, clock_rate: u32) -> bool {
        if self.send.len() >= MAX_STREAMS && !self.send.contains_key(&ssrc) {
            self.counters.too_many_streams += 1;
            return false;
        }
        self.send.entry(ssrc).or_insert_with(|| SendStream::new(kind, clock_rate)).set(kind, clock_rate);
        true
    }

    /// Removes a stream we send, and says goodbye if it has sent anything (RFC 3550 section 6.6).
    pub fn remove_sender(&mut self, ssrc: u32) {
        self.stop_sender(ssrc);
        self.send.remove(&ssrc);
    }

    /// Says goodbye for a stream we send, if it has sent anything, and reports it no more until it sends again. Its
    /// statistics stay.
    pub fn stop_sender(&mut self, ssrc: u32) {
        if self.send.get_mut(&ssrc).is_some_and(SendStream::stop) {
            let mut builder = RtcpBuilder::new();
            builder.receiver_report(ssrc, &[]).cname(&[ssrc], self.cname()).bye(&[ssrc]);
            self.queue(&builder);
        }
    }

    /// Says goodbye for all streams we send (RFC 3550 section 6.6): the transport closes.
    pub fn stop_all_senders(&mut self) {
        let ssrcs: Vec<u32> =
            self.send.iter_mut().filter_map(|(ssrc, stream)| stream.stop().then_some(*ssrc)).collect();
        for some in ssrcs.chunks(MAX_BYES) {
            let mut builder = RtcpBuilder::new();
            let first = some.first().copied().unwrap_or(self.own_ssrc);
            builder.receiver_report(first, &[]).cname(&[first], self.cname()).bye(some);
            self.queue(&builder);
        }
    }

    /// Forgets a stream we receive.
    pub fn remove_receiver(&mut self, ssrc: u32) {
        self.receive.remove(&ssrc);
    }

    /// Whether a stream is received and tracked.
    pub fn has_receiver(&self, ssrc: u32) -> bool {
        self.receive.contains_key(&ssrc)
    }

    /// Hands streams over to the reporter of another transport, where their media section went (BUNDLE). Their
    /// statistics go with them.
    pub fn move_streams(&mut self, now: Instant, to: &mut Self, senders: &[u32], receivers: &[u32]) {
        for ssrc in senders {
            if let Some(stream) = self.send.remove(ssrc) {
                to.arm(now, stream.kind);
                to.send.insert(*ssrc, stream);
            }
        }
        for ssrc in receivers {
            if let Some(stream) = self.receive.remove(ssrc) {
                to.arm(now, stream.kind);
                to.receive.insert(*ssrc, stream);
            }
        }
    }

    /// Tells of a packet that was sent; of streams that were not added it counts nothing.
    pub fn on_rtp_sent(&mut self, now: Instant, packet: &RtpPacketInfo) {
        if let Some(stream) = self.send.get_mut(&packet.ssrc) {
            stream.on_sent(now, packet);
            let kind = stream.kind;
            self.arm(now, kind);
        }
    }

    /// Tells of a packet that came in (authenticated); its stream is added if it is new. `clock_rate` is the
    /// payload's, in Hz.
    pub fn on_rtp_received(
        &mut self,
        now: Instant,
        packet: &RtpPacketInfo,
        kind: MediaKind,
        clock_rate: u32,
    ) {
        if let Some(stream) = self.receive.get_mut(&packet.ssrc) {
            stream.on_received(now, packet, kind, clock_rate);
        } else if self.receive.len() >= MAX_STREAMS && !self.forget_silent(now) {
            self.counters.too_many_streams += 1;
            return;
        } else {
            self.receive.insert(packet.ssrc, ReceiveStream::new(now, packet, kind, clock_rate));
        }
        self.arm(now, kind);
    }

    /// Makes room by forgetting the stream that was silent the longest, if it is reported no more.
    fn forget_silent(&mut self, now: Instant) -> bool {
        let silent = self.receive.iter().filter(|(_, stream)| !stream.heard_since(now, SILENCE));
        let Some((ssrc, _)) = silent.min_by_key(|(_, stream)| stream.last_arrival()) else { return false };
        let ssrc = *ssrc;
        self.receive.remove(&ssrc).is_some()
    }

    fn interval(&self, kind: MediaKind) -> Duration {
        match kind {
            MediaKind::Audio => self.config.audio_interval,
            MediaKind::Video => self.config.video_interval,
        }
    }

    fn cname(&self) -> &str {
        let end = (0..=MAX_CNAME.min(self.config.cname.len())).rev();
        end.into_iter().find_map(|end| self.config.cname.get(..end)).unwrap_or_default()
    }

    /// The first report comes after half an interval (libwebrtc).
    fn arm(&mut self, now: Instant, kind: MediaKind) {
        let first = now + self.interval(kind) / 2;
        self.next_report[kind as usize].get_or_insert(first);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next_report.iter().flatten().min().copied()
    }

    /// Makes the reports that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for kind in [MediaKind::Audio, MediaKind::Video] {
            if self.next_report[kind as usize].is_some_and(|at| at <= now) {
                // RFC 3550 section 6.2: between half and one and a half of the interval, lest peers march in step.
                let milli = 500 + self.random.below(1001) as u32;
                let next = now + self.interval(kind) * milli / 1000;
                self.next_report[kind as usize] = self.make_reports(now, kind).then_some(next);
            }
        }
    }

    /// Compound packets of one kind; whether there was anything to report.
    fn make_reports(&mut self, now: Instant, kind: MediaKind) -> bool {
        let senders: Vec<u32> = (self.send.iter())
            .filter(|(_, stream)| stream.kind == kind && stream.sends())
            .map(|(ssrc, _)| *ssrc)
            .collect();
        let blocks: Vec<ReportBlock> = (self.receive.iter_mut())
            .filter(|(_, stream)| stream.kind == kind && stream.heard_since(now, SILENCE))
            .map(|(ssrc, stream)| stream.report(now, *ssrc))
            .collect();
        if senders.is_empty() && blocks.is_empty() {
            return false;
        }
        let (mut senders, mut blocks) = (senders.as_slice(), blocks.as_slice());
        while !senders.is_empty() || !blocks.is_empty() {
            let (now_senders, rest) = senders.split_at(senders.len().min(SENDERS_PER_PACKET));
            let (now_blocks, rest_blocks) = blocks.split_at(blocks.len().min(BLOCKS_PER_PACKET));
            self.make_report(now, kind, now_senders, now_blocks);
            (senders, blocks) = (rest, rest_blocks);
        }
        true
    }

    fn make_report(&mut self, now: Instant, kind: MediaKind, senders: &[u32], blocks: &[ReportBlock]) {
        let mut builder = RtcpBuilder::new();
        let ntp = self.clock.ntp(now);
        for (i, ssrc) in senders.iter().enumerate() {
            if let Some(stream) = self.send.get_mut(ssrc) {
                // What we receive is reported once, by the first of our sources.
                let blocks = if i == 0 { blocks } else { &[] };
                builder.sender_report(*ssrc, &stream.sender_info(now, ntp), blocks);
            }
        }
        let receiver = [self.feedback_ssrc(kind)];
        let sources = if senders.is_empty() { &receiver[..] } else { senders };
        if builder.is_empty() {
            builder.receiver_report(receiver[0], blocks);
        }
        builder.cname(sources, self.cname());
        self.queue(&builder);
    }

    fn queue(&mut self, builder: &RtcpBuilder) {
        match builder.build() {
            Ok(packet) => {
                if self.outgoing.len() >= MAX_WAITING {
                    self.outgoing.pop_front();
                }
                self.outgoing.push_back(packet);
                self.counters.made += 1;
            }
            Err(error) => tracing::debug!(target: "peerstack::rtcp", %error, "report not made"),
        }
    }

    /// The next compound packet to send, of less than 1,200 bytes. One that cannot be sent is lost: the next
    /// report says the same.
    pub fn poll_rtcp(&mut self) -> Option<Vec<u8>> {
        self.outgoing.pop_front()
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<RtcpEvent> {
        self.events.pop_front()
    }

    /// Counters.
    pub fn counters(&self) -> RtcpCounters {
        self.counters
    }

    /// The streams we receive, by SSRC.
    pub fn inbound(&self) -> impl Iterator<Item = InboundRtpStats> + '_ {
        self.receive.iter().map(|(ssrc, stream)| stream.inbound(*ssrc))
    }

    /// One stream we receive.
    pub fn inbound_of(&self, ssrc: u32) -> Option<InboundRtpStats> {
        self.receive.get(&ssrc).map(|stream| stream.inbound(ssrc))
    }

    /// What the peer said of one stream we receive.
    pub fn remote_outbound_of(&self, ssrc: u32) -> Option<RemoteOutboundRtpStats> {
        self.receive.get(&ssrc).and_then(|stream| stream.remote_outbound(ssrc))
    }

    /// One stream we send.
    pub fn outbound_of(&self, ssrc: u32) -> Option<OutboundRtpStats> {
        self.send.get(&ssrc).map(|stream| stream.outbound(ssrc))
    }

    /// What the peer said of one stream we send.
    pub fn remote_inbound_of(&self, ssrc: u32) -> Option<RemoteInboundRtpStats> {
        self.send.get(&ssrc).and_then(|stream| stream.remote_inbound(ssrc))
    }

    /// What the peer said of the streams we receive, by SSRC.
    pub fn remote_outbound(&self) -> impl Iterator<Item = RemoteOutboundRtpStats> + '_ {
        self.receive.iter().filter_map(|(ssrc, stream)| stream.remote_outbound(*ssrc))
    }

    /// The streams we send, by SSRC.
    pub fn outbound(&self) -> impl Iterator<Item = OutboundRtpStats> + '_ {
        self.send.iter().map(|(ssrc, stream)| stream.outbound(*ssrc))
    }

    /// What the peer said of the streams we send, by SSRC.
    pub fn remote_inbound(&self) -> impl Iterator<Item = RemoteInboundRtpStats> + '_ {
        self.send.iter().filter_map(|(ssrc, stream)| stream.remote_inbound(*ssrc))
    }

    /// The CNAME a received stream told.
    pub fn remote_cname(&self, ssrc: u32) -> Option<&str> {
        self.receive.get(&ssrc).and_then(|stream| stream.cname.as_deref())
    }
}

#[cfg(test)]
#[path = "rtcp_reporter_tests.rs"]
mod tests;
