//! RTCP of one connection on the network task: a reporter for each transport, whose streams belong to sections.
//! RFC 3550 section 6, RFC 4585, RFC 5104. Answers to the part of libwebrtc's `modules/rtp_rtcp/` that `call/` runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use peerstack_base::{Random, WallClock};
use peerstack_jsep::TransportId;
use peerstack_media::{
    KeyFrameRequest, MAX_STREAMS, MediaKind, RtcpConfig, RtcpEvent, RtcpReporter, RtpPacketInfo,
};

use crate::network_task::TransceiverId;
use crate::rtp_packet::RtcpFeedback;

/// What a section says of its streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SectionStreams {
    pub(super) id: TransceiverId,
    pub(super) transport: TransportId,
    pub(super) kind: MediaKind,
    /// Of what is sent, retransmissions included, each with the clock of the codec it is sent with, in Hz.
    pub(super) ssrcs: BTreeMap<u32, u32>,
    pub(super) sends: bool,
    /// Whether both sides take feedback without a report before it (RFC 5506).
    pub(super) reduced_size: bool,
}

/// Whose a received stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// `None` if no section claims it.
    pub(super) section: Option<TransceiverId>,
    /// Of its last packet.
    pub(super) payload_type: u8,
}

/// What came in and is for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// For the sender of this section.
    Feedback(TransceiverId, RtcpFeedback),
    /// Nothing that is read here.
    Raw(Bytes),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Rtcp {
    cname: String,
    wall_clock: Arc<dyn WallClock>,
    random: Random,
    reporters: BTreeMap<TransportId, RtcpReporter>,
    sections: BTreeMap<TransceiverId, SectionStreams>,
    sources: BTreeMap<(TransportId, u32), Source>,
}

impl Rtcp {
    pub(super) fn new(cname: String, wall_clock: Arc<dyn WallClock>, random: Random) -> Self {
        Self {
            cname,
            wall_clock,
            random,
            reporters: BTreeMap::new(),
            sections: BTreeMap::new(),
            sources: BTreeMap::new(),
        }
    }

    fn reporter(&mut self, now: Instant, transport: TransportId) -> &mut RtcpReporter {
        let Self { reporters, cname, wall_clock, random, .. } = self;
        reporters.entry(transport).or_insert_with(|| {
            let config = RtcpConfig { cname: cname.clone(), ..RtcpConfig::default() };
            RtcpReporter::new(now, config, &**wall_clock, random.fork())
        })
    }

    /// The sections of an answer replace those before. `alive` are all transports there are.
    pub(super) fn configure(
        &mut self,
        now: Instant,
        sections: Vec<SectionStreams>,
        alive: &BTreeSet<TransportId>,
    ) {
        let mut before = std::mem::take(&mut self.sections);
        let mut reduced: BTreeMap<TransportId, bool> = BTreeMap::new();
        for section in sections {
            let old = before.remove(&section.id);
            if let Some(old) = old.as_ref().filter(|old| old.transport != section.transport) {
                self.move_section(now, old, section.transport);
            }
            let dropped = old.map(|old| old.ssrcs).unwrap_or_default().into_keys();
            *reduced.entry(section.transport).or_insert(true) &= section.reduced_size;
            let reporter = self.reporter(now, section.transport);
            for ssrc in dropped.filter(|ssrc| !section.ssrcs.contains_key(ssrc)) {
                reporter.stop_sender(ssrc);
            }
            for (ssrc, clock_rate) in &section.ssrcs {
                if section.sends {
                    reporter.add_sender(*ssrc, section.kind, *clock_rate);
                } else {
                    reporter.stop_sender(*ssrc);
                }
            }
            self.sections.insert(section.id, section);
        }
        for gone in before.into_values() {
            if let Some(reporter) = self.reporters.get_mut(&gone.transport) {
                gone.ssrcs.keys().for_each(|ssrc| reporter.remove_sender(*ssrc));
                let owned = |source: &Source| source.section == Some(gone.id);
                for ((_, ssrc), _) in self.sources.iter().filter(|(_, source)| owned(source)) {
                    reporter.remove_receiver(*ssrc);
                }
                self.sources.retain(|_, source| !owned(source));
            }
        }
        for (transport, reduced) in reduced {
            self.reporter(now, transport).set_reduced_size(reduced);
        }
        self.reporters.retain(|transport, _| alive.contains(transport));
        self.sources.retain(|(transport, _), _| alive.contains(transport));
    }

    fn move_section(&mut self, now: Instant, old: &SectionStreams, to: TransportId) {
        let receivers: Vec<u32> = (self.sources.iter())
            .filter(|((transport, _), source)| *transport == old.transport && source.section == Some(old.id))
            .map(|((_, ssrc), _)| *ssrc)
            .collect();
        for ssrc in &receivers {
            if let Some(source) = self.sources.remove(&(old.transport, *ssrc)) {
                self.sources.insert((to, *ssrc), source);
            }
        }
        self.reporter(now, to);
        let Some(mut target) = self.reporters.remove(&to) else { return };
        if let Some(from) = self.reporters.get_mut(&old.transport) {
            let senders: Vec<u32> = old.ssrcs.keys().copied().collect();
            from.move_streams(now, &mut target, &senders, &receivers);
        }
        self.reporters.insert(to, target);
    }

    /// A packet of a section went out.
    pub(super) fn on_sent(
        &mut self,
        now: Instant,
        id: TransceiverId,
        packet: &RtpPacketInfo,
        clock_rate: u32,
    ) {
        let Some(section) = self.sections.get_mut(&id) else { return };
        let Some(reporter) = self.reporters.get_mut(&section.transport) else { return };
        let known = section.ssrcs.get_mut(&packet.ssrc);
        if let Some(known) = known.filter(|known| **known != clock_rate) {
            *known = clock_rate;
            reporter.add_sender(packet.ssrc, section.kind, clock_rate);
        }
        reporter.on_rtp_sent(now, packet);
    }

    /// A packet came in by a transport.
    pub(super) fn on_received(
        &mut self,
        now: Instant,
        transport: TransportId,
        source: Source,
        packet: &RtpPacketInfo,
        kind: MediaKind,
        clock_rate: u32,
    ) {
        let reporter = self.reporter(now, transport);
        reporter.on_rtp_received(now, packet, kind, clock_rate);
        if !reporter.has_receiver(packet.ssrc) {
            return;
        }
        if self.sources.insert((transport, packet.ssrc), source).is_none() {
            self.forget_sources();
        }
    }

    /// The reporters forget streams that fell silent; here that is caught up with before it is too many.
    fn forget_sources(&mut self) {
        let Self { reporters, sources, .. } = self;
        if sources.len() > 2 * MAX_STREAMS {
            sources.retain(|(transport, ssrc), _| {
                reporters.get(transport).is_some_and(|reporter| reporter.has_receiver(*ssrc))
            });
        }
    }

    /// A compound packet of the peer; `tell` takes what is for the application.
    pub(super) fn on_rtcp(
        &mut self,
        now: Instant,
        transport: TransportId,
        compound: &[u8],
        mut tell: impl FnMut(Incoming),
    ) {
        let reporter = self.reporter(now, transport);
        reporter.on_rtcp_received(now, compound);
        while let Some(event) = self.reporters.get_mut(&transport).and_then(RtcpReporter::poll_event) {
            self.tell(transport, event, &mut tell);
        }
    }

    fn tell(&self, transport: TransportId, event: RtcpEvent, tell: &mut impl FnMut(Incoming)) {
        let of = |ssrc: u32| {
            let mut all = self.sections.values();
            all.find(|section| section.transport == transport && section.ssrcs.contains_key(&ssrc))
                .map(|found| found.id)
        };
        let any = || {
            let mut all = self.sections.values();
            all.find(|section| section.transport == transport && section.sends).map(|found| found.id)
        };
        match event {
            RtcpEvent::KeyFrameRequested { ssrc, request } => {
                let feedback = match request {
                    KeyFrameRequest::Pli => RtcpFeedback::Pli { ssrc },
                    KeyFrameRequest::Fir => RtcpFeedback::Fir { ssrc },
                };
                of(ssrc).into_iter().for_each(|id| tell(Incoming::Feedback(id, feedback.clone())));
            }
            RtcpEvent::Nack { ssrc, sequence_numbers } => {
                let Some(id) = of(ssrc) else { return };
                tell(Incoming::Feedback(id, RtcpFeedback::Nack { ssrc, sequence_numbers }));
            }
            RtcpEvent::Remb { bitrate, ssrcs } => {
                let meant: BTreeSet<TransceiverId> = ssrcs.iter().filter_map(|ssrc| of(*ssrc)).collect();
                for id in meant {
                    tell(Incoming::Feedback(id, RtcpFeedback::Remb { bitrate, ssrcs: ssrcs.clone() }));
                }
            }
            RtcpEvent::TransportFeedback { media_ssrc, packet } => {
                // It is about all packets of the transport, whatever source it names.
                let Some(id) = of(media_ssrc).or_else(any) else { return };
                let packet = packet.into();
                tell(Incoming::Feedback(id, RtcpFeedback::TransportFeedback { packet }));
            }
            RtcpEvent::Other(packet) => tell(Incoming::Raw(packet.into())),
            // The numbers are in the statistics.
            _ => {}
        }
    }

    /// Feedback of the application on what the section receives. Nothing goes out for streams that are not there.
    pub(super) fn send_feedback(&mut self, id: TransceiverId, feedback: &RtcpFeedback) {
        let Some(section) = self.sections.get(&id) else { return };
        let Some(reporter) = self.reporters.get_mut(&section.transport) else { return };
        match feedback {
            RtcpFeedback::Pli { ssrc } => drop(reporter.send_pli(*ssrc)),
            RtcpFeedback::Fir { ssrc } => drop(reporter.send_fir(*ssrc)),
            RtcpFeedback::Nack { ssrc, sequence_numbers } => {
                reporter.send_nack(*ssrc, sequence_numbers);
            }
            RtcpFeedback::Remb { .. } | RtcpFeedback::TransportFeedback { .. } => {}
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.reporters.values().filter_map(RtcpReporter::next_timeout).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for reporter in self.reporters.values_mut() {
            reporter.handle_timeout(now);
        }
    }

    /// The next compound packet to send.
    pub(super) fn poll(&mut self) -> Option<(TransportId, Vec<u8>)> {
        self.reporters.iter_mut().find_map(|(transport, reporter)| Some((*transport, reporter.poll_rtcp()?)))
    }

    /// Says goodbye: [`poll`](Self::poll) has the last packets.
    pub(super) fn close(&mut self) {
        for reporter in self.reporters.values_mut() {
            reporter.stop_all_senders();
        }
    }

    /// The reporters, for statistics.
    pub(super) fn reporters(&self) -> impl Iterator<Item = (TransportId, &RtcpReporter)> {
        self.reporters.iter().map(|(transport, reporter)| (*transport, reporter))
    }

    /// Whose a received stream is.
    pub(super) fn source(&self, transport: TransportId, ssrc: u32) -> Option<Source> {
        self.sources.get(&(transport, ssrc)).copied()
    }

    /// Whose the streams sent by a transport are, by SSRC.
    pub(super) fn senders(&self, transport: TransportId) -> BTreeMap<u32, TransceiverId> {
        let of = self.sections.values().filter(|section| section.transport == transport);
        of.flat_map(|section| section.ssrcs.keys().map(|ssrc| (*ssrc, section.id))).collect()
    }

    /// The application ends a sender before it is negotiated (webrtc-pc section 5.4, stop sending and receiving).
    pub(super) fn stop_sender(&mut self, id: TransceiverId) {
        let Some(section) = self.sections.get(&id) else { return };
        if let Some(reporter) = self.reporters.get_mut(&section.transport) {
            section.ssrcs.keys().for_each(|ssrc| reporter.stop_sender(*ssrc));
        }
    }
}
