//! The association that stands on the crate `sctp-proto`: its clock, its packets and its resets brought under
//! the contract of [`SctpAssociation`]. Owned by its `SctpTransport` on the network task. RFC 9260, RFC 6525;
//! answers to libwebrtc's `net/dcsctp/socket/dcsctp_socket.cc`.
//!
//! What is done here and not there:
//! - its `connect` reads the system's clock for the first INIT's timer; deadlines are therefore translated, so
//!   that everything runs by the time that is handed in ([`Deadline`]);
//! - an INIT that is not expected never reaches it (it closes an established association, and without a server
//!   configuration panics), and both sides may begin at once;
//! - packets are judged before ([`PacketGuard`]) and cut to size after, because its bundling and its SACKs may
//!   exceed the path's limit;
//! - the peer is told when the window opens again; bytes that were never sent are counted; the round trip
//!   time is measured.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier, ReliabilityType, ServerConfig, StreamEvent, TransportConfig,
};

use crate::sctp_association::{
    AssociationConfig, AssociationError, AssociationEvent, AssociationInit, AssociationMessage,
    AssociationOpening, AssociationStats, SctpAssociation, SctpCloseReason, SendOptions,
};
use crate::sctp_packet::{self, ChunkRef, CommonHeader, InitHeader, chunk_type, tsn_after};
use crate::sctp_packet_guard::{Admission, PacketGuard};

/// There is no address below DTLS; the crate asks for one that is not port 0.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);
/// DATA and common header, which the crate adds to the payload size to get its MTU.
const DATA_OVERHEAD: usize = 28;
/// Packets taken without one having been sent: beyond that a peer only makes us store answers.
const MAX_INPUTS_PER_OUTPUT: u32 = 4096;
/// DCEP and the two "empty" messages, whose byte is none of the user's (RFC 8831 section 6.6).
const NOT_USER_BYTES: [u32; 3] = [50, 56, 57];

/// Where the handshake stands, as far as it decides what an INIT means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer's INIT is awaited until then.
    Waiting(Instant),
    /// Our INIT is out; `true` once COOKIE ECHO is too.
    Connecting(bool),
    /// The peer's INIT with this tag was answered.
    Accepting(u32),
    Established,
    Closed,
}

/// A deadline of the crate's and what it means by our clock. The crate's may lie in the system's time (its
/// first INIT), or further ahead than the cap on backing off allows.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    theirs: Instant,
    ours: Instant,
}

/// See the file's header.
pub struct SctpProtoAssociation {
    config: AssociationConfig,
    opening: AssociationOpening,
    phase: Phase,
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: Option<Association>,
    guard: PacketGuard,
    deadline: Option<Deadline>,
    /// The header of what we send, once the peer's tag is known.
    header: Option<CommonHeader>,
    max_streams: u16,
    out: VecDeque<Bytes>,
    events: VecDeque<AssociationEvent>,
    unsent: BTreeMap<u16, usize>,
    total_unsent: usize,
    /// Messages of streams that the peer reset before they were read.
    leftover: BTreeMap<u16, VecDeque<AssociationMessage>>,
    resetting: Vec<u16>,
    freed: usize,
    inputs: u32,
    end: Option<SctpCloseReason>,
    rtt_probe: Option<(u32, Instant)>,
    stats: AssociationStats,
}

impl fmt::Debug for SctpProtoAssociation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SctpProtoAssociation")
            .field("phase", &self.phase)
            .field("opening", &self.opening)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn transport_config(config: &AssociationConfig) -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(config.receive_buffer)
        .with_max_send_message_size(u32::MAX)
        .with_max_receive_message_size(config.max_receive_message_size)
        .with_max_num_outbound_streams(config.max_streams)
        .with_max_num_inbound_streams(config.max_streams)
        .with_rto_initial_ms(millis(config.rto_initial))
        .with_rto_min_ms(millis(config.rto_min))
        .with_rto_max_ms(millis(config.rto_max))
        .with_max_init_retransmits(config.max_init_retransmits.map(usize::from))
        // DATA is never given up: whether the path is dead is for ICE's consent to say (RFC 7675).
        .with_max_data_retransmits(None)
        .with_local_port(config.local_port)
        .with_remote_port(config.remote_port)
}

fn new_endpoint(config: &AssociationConfig) -> Endpoint {
    let mut endpoint = EndpointConfig::new();
    let payload = config.max_packet_size.saturating_sub(DATA_OVERHEAD).clamp(256, 16_384) / 4 * 4;
    endpoint.max_payload_size(payload as u32);
    let mut server = ServerConfig::default();
    server.transport = Arc::new(transport_config(config));
    Endpoint::new(Arc::new(endpoint), Some(Arc::new(server)))
}

fn init_of(chunk: &[u8]) -> Option<InitHeader> {
    ChunkRef { kind: *chunk.first()?, flags: *chunk.get(1)?, bytes: chunk }
        .init()
        .filter(|_| chunk.first() == Some(&chunk_type::INIT))
}

impl SctpProtoAssociation {
    fn connect(&mut self, now: Instant, init: Option<(Bytes, Bytes)>) -> Result<(), AssociationError> {
        let mut client = ClientConfig::default();
        client.transport = Arc::new(transport_config(&self.config));
        if let Some((local, remote)) = init {
            let no_init = |which: &str| AssociationError::Config(format!("the {which} INIT is none"));
            let ours = init_of(&local).ok_or_else(|| no_init("local"))?;
            let theirs = init_of(&remote).ok_or_else(|| no_init("remote"))?;
            self.guard.local_tag = Some(ours.initiate_tag);
            self.guard.highest_sent = Some(ours.initial_tsn.wrapping_sub(1));
            self.learn_peer(&theirs);
            self.header = Some(CommonHeader {
                source_port: self.config.local_port,
                destination_port: self.config.remote_port,
                verification_tag: theirs.initiate_tag,
            });
            client = client.with_snap(local, remote);
        }
        let (handle, association) = self
            .endpoint
            .connect(client, PEER)
            .map_err(|error| AssociationError::Config(error.to_string()))?;
        // The crate took the system's time for this one deadline.
        self.deadline =
            association.poll_timeout().map(|theirs| Deadline { theirs, ours: now + self.config.rto_initial });
        self.handle = handle;
        self.association = Some(association);
        self.phase = Phase::Connecting(false);
        self.collect_events();
        Ok(())
    }

    fn learn_peer(&mut self, init: &InitHeader) {
        self.guard.set_peer_initial_tsn(init.initial_tsn);
        self.max_streams = self.config.max_streams.min(init.inbound_streams).min(init.outbound_streams);
    }

    /// An INIT: section 5.2.1 when both begin at once, 5.2.2 when one comes late.
    fn receive_init(&mut self, now: Instant, packet: &[u8], init: &InitHeader) {
        let take = match self.phase {
            Phase::Waiting(_) => true,
            // Both began. A peer that keeps to section 5.2.1 answers ours whatever we do; two of our kind must
            // not both give way or both insist, so the DTLS client's wins. (Not the larger tag's: tags are
            // random, and no two runs would be alike.)
            Phase::Connecting(false) => self.opening == AssociationOpening::Passive,
            Phase::Connecting(true) => false,
            Phase::Accepting(tag) if tag == init.initiate_tag => {
                self.feed(now, Bytes::copy_from_slice(packet));
                return;
            }
            Phase::Accepting(_) => true,
            // A late copy, or a peer that began anew, which in WebRTC comes with a new DTLS association.
            Phase::Established | Phase::Closed => false,
        };
        if !take {
            self.stats.refused += 1;
            return;
        }
        self.accept(now, packet, init);
    }

    fn accept(&mut self, now: Instant, packet: &[u8], init: &InitHeader) {
        let mut endpoint = new_endpoint(&self.config);
        let answer = endpoint.handle(now, PEER, None, None, Bytes::copy_from_slice(packet));
        let Some((handle, DatagramEvent::NewAssociation(mut association))) = answer else {
            self.stats.refused += 1;
            return;
        };
        // An INIT that breaks section 3.3.2 is not answered: then nothing happened.
        let Some(transmit) = association.poll_transmit(now) else {
            self.stats.refused += 1;
            return;
        };
        self.guard = PacketGuard::new(self.config.max_streams, self.config.receive_buffer);
        self.learn_peer(init);
        self.endpoint = endpoint;
        self.handle = handle;
        self.association = Some(association);
        self.phase = Phase::Accepting(init.initiate_tag);
        self.deadline = None;
        self.out.clear();
        self.queue(now, transmit.payload);
    }

    fn feed(&mut self, now: Instant, packet: Bytes) {
        let Some(association) = &mut self.association else { return };
        if let Some((handle, DatagramEvent::AssociationEvent(event))) =
            self.endpoint.handle(now, PEER, None, None, packet)
            && handle == self.handle
        {
            association.handle_event(event);
        }
        self.collect_events();
        self.rearm(now);
    }

    fn collect_events(&mut self) {
        while let Some(event) = self.association.as_mut().and_then(Association::poll) {
            match event {
                Event::Connected if self.phase != Phase::Established => {
                    self.phase = Phase::Established;
                    self.events.push_back(AssociationEvent::Connected { max_streams: self.max_streams });
                }
                Event::HandshakeFailed { .. } => self.closed(SctpCloseReason::HandshakeTimeout),
                Event::AssociationLost { reason } => {
                    let exhausted = reason == sctp_proto::AssociationError::ReceiveBufferExhausted;
                    let told = if exhausted {
                        SctpCloseReason::ReceiveBufferExhausted
                    } else {
                        self.end.clone().unwrap_or(SctpCloseReason::ProtocolViolation)
                    };
                    self.closed(told);
                }
                Event::Stream(event) => self.stream_event(event),
                _ => {}
            }
        }
    }

    fn stream_event(&mut self, event: StreamEvent) {
        let event = match event {
            StreamEvent::Opened { .. } => {
                if let Some(association) = &mut self.association {
                    let _ = association.accept_stream();
                }
                return;
            }
            StreamEvent::Readable { id } => AssociationEvent::Readable(id),
            StreamEvent::Finished { id } => {
                self.guard.forget_stream(id);
                self.forget_unsent(id);
                self.resetting.retain(|sid| *sid != id);
                AssociationEvent::IncomingReset(id)
            }
            StreamEvent::ResetComplete { id } => AssociationEvent::ResetComplete(id),
            StreamEvent::ResetFailed { id, .. } => AssociationEvent::ResetFailed(id),
            _ => return,
        };
        self.events.push_back(event);
    }

    fn closed(&mut self, reason: SctpCloseReason) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            self.unsent.clear();
            self.total_unsent = 0;
            self.events.push_back(AssociationEvent::Closed(reason));
        }
    }

    fn forget_unsent(&mut self, sid: u16) {
        if let Some(bytes) = self.unsent.remove(&sid) {
            self.total_unsent = self.total_unsent.saturating_sub(bytes);
        }
    }

    /// A stream that the peer reset while messages wait unread holds the reset, and new data behind it, until
    /// they are read. They are taken out here, and an incomplete rest is given up.
    fn finish_resets(&mut self) {
        for sid in self.resetting.clone() {
            if !self.is_retiring(sid) {
                continue;
            }
            while let Some(message) = self.read_association(sid) {
                self.leftover.entry(sid).or_default().push_back(message);
            }
            if self.is_retiring(sid)
                && let Some(Ok(mut stream)) =
                    self.association.as_mut().map(|association| association.stream(sid))
            {
                let _ = stream.stop();
            }
            self.collect_events();
        }
    }

    /// Readable, but closed for writing by no call of ours.
    fn is_retiring(&mut self, sid: u16) -> bool {
        matches!(
            self.association.as_mut().map(|association| association.stream(sid)),
            Some(Ok(stream)) if stream.is_readable() && !stream.is_writable()
        )
    }

    fn read_association(&mut self, sid: u16) -> Option<AssociationMessage> {
        let mut stream = self.association.as_mut()?.stream(sid).ok()?;
        let mut message = stream.read_sctp().ok()??;
        let (len, chunks) = (message.len(), message.chunks.len());
        let ppid = match message.ppi {
            PayloadProtocolIdentifier::Unknown => self.guard.odd_ppid(sid),
            known => known as u32,
        };
        self.guard.on_read(sid, chunks);
        self.freed += len;
        let payload = message.next(len).map(|chunk| chunk.bytes).unwrap_or_default();
        Some(AssociationMessage { ppid, payload })
    }

    /// Asks the association for all it has to send, once.
    fn pump(&mut self, now: Instant) {
        if let Some(report) = self.guard.report.take()
            && let Some(header) = self.header
        {
            self.out.push_back(sctp_packet::build(header, [&report[..]]));
        }
        self.offer_window(now);
        if let Some(transmit) =
            self.association.as_mut().and_then(|association| association.poll_transmit(now))
        {
            self.queue(now, transmit.payload);
        }
        self.collect_events();
        self.rearm(now);
    }

    fn queue(&mut self, now: Instant, payload: Payload) {
        let Payload::RawEncode(packets) = payload else { return };
        let mut out = std::mem::take(&mut self.out);
        for packet in packets {
            self.on_egress(now, &packet);
            sctp_packet::fit(packet, self.config.max_packet_size, |packet| out.push_back(packet));
        }
        self.out = out;
    }

    /// Learns from what is sent: tags, TSNs, what was told to the peer, what left the queue.
    fn on_egress(&mut self, now: Instant, packet: &[u8]) {
        let (Some(header), Some(chunks)) = (CommonHeader::parse(packet), sctp_packet::chunks(packet)) else {
            return;
        };
        if header.verification_tag != 0 {
            self.header = Some(header);
        }
        for chunk in chunks {
            if let Some(data) = chunk.data() {
                self.on_data_sent(now, &data);
            } else if let Some((cumulative, window)) = chunk.sack() {
                self.guard.on_sack_sent(cumulative, window);
                self.freed = 0;
            } else if let Some(init) = chunk.init() {
                self.guard.local_tag = Some(init.initiate_tag);
                self.guard.highest_sent = Some(init.initial_tsn.wrapping_sub(1));
            } else if chunk.kind == chunk_type::COOKIE_ECHO && self.phase == Phase::Connecting(false) {
                self.phase = Phase::Connecting(true);
            } else if chunk.kind == chunk_type::FORWARD_TSN
                && let Some(to) = sctp_packet::u32_at(chunk.bytes, 4)
                && self.guard.highest_sent.is_none_or(|highest| tsn_after(to, highest))
            {
                self.guard.highest_sent = Some(to);
            }
        }
    }

    fn on_data_sent(&mut self, now: Instant, data: &sctp_packet::DataHeader) {
        if self.guard.highest_sent.is_some_and(|highest| !tsn_after(data.tsn, highest)) {
            self.stats.retransmissions += 1;
            if self.rtt_probe.is_some_and(|(tsn, _)| tsn == data.tsn) {
                // Karn: whether the first or the second was acknowledged cannot be told (section 6.3.1 C5).
                self.rtt_probe = None;
            }
            return;
        }
        self.guard.highest_sent = Some(data.tsn);
        self.rtt_probe.get_or_insert((data.tsn, now));
        if !NOT_USER_BYTES.contains(&data.ppid)
            && let Some(unsent) = self.unsent.get_mut(&data.sid)
        {
            let sent = data.len.min(*unsent);
            *unsent -= sent;
            self.total_unsent = self.total_unsent.saturating_sub(sent);
        }
    }

    fn on_sack_received(&mut self, now: Instant, cumulative: u32, window: u32) {
        self.stats.receiver_window = Some(window);
        if let Some((tsn, sent)) = self.rtt_probe
            && !tsn_after(tsn, cumulative)
        {
            let measured = now.saturating_duration_since(sent);
            self.stats.rtt = Some(self.stats.rtt.map_or(measured, |rtt| (rtt * 7 + measured) / 8));
            self.rtt_probe = None;
        }
    }

    /// Section 6.2: a receiver whose window opened again says so, or the peer waits for its own timer.
    fn offer_window(&mut self, now: Instant) {
        let quarter = (self.config.receive_buffer / 4) as usize;
        if self.phase != Phase::Established
            || self.freed < quarter
            || self.guard.advertised_window >= self.config.receive_buffer / 2
        {
            return;
        }
        let (Some(received), Some(tag)) = (self.guard.acknowledged(), self.guard.local_tag) else { return };
        let header = CommonHeader {
            source_port: self.config.remote_port,
            destination_port: self.config.local_port,
            verification_tag: tag,
        };
        self.freed = 0;
        self.feed(now, sctp_packet::duplicate_data(header, received));
    }

    fn our_deadline(&self) -> Option<Instant> {
        let theirs = self.association.as_ref()?.poll_timeout()?;
        match self.deadline {
            Some(deadline) if deadline.theirs == theirs => Some(deadline.ours),
            _ => Some(theirs),
        }
    }

    /// Translates a deadline that is new.
    fn rearm(&mut self, now: Instant) {
        let Some(association) = &self.association else { return };
        let theirs = association.poll_timeout();
        if self.deadline.map(|deadline| deadline.theirs) == theirs {
            return;
        }
        let latest = self.longest_wait(association).map(|wait| now + wait);
        self.deadline = theirs
            .zip(latest)
            .and_then(|(theirs, latest)| (theirs > latest).then_some(Deadline { theirs, ours: latest }));
    }

    /// How far ahead a deadline may lie.
    fn longest_wait(&self, association: &Association) -> Option<Duration> {
        match self.phase {
            Phase::Established => Some(self.config.max_backoff.max(association.rtt())),
            Phase::Connecting(_) => Some(self.config.max_init_backoff.max(self.config.rto_initial)),
            Phase::Waiting(_) | Phase::Accepting(_) | Phase::Closed => None,
        }
    }

    /// Lets the next timer expire, whatever the crate thinks of the time.
    fn expire(&mut self, now: Instant) {
        let Some(association) = &mut self.association else { return };
        let Some(theirs) = association.poll_timeout() else { return };
        let at = theirs.max(now);
        association.handle_timeout(at);
        // What was armed just now counts from `at`.
        self.deadline = association
            .poll_timeout()
            .filter(|_| at > now)
            .map(|theirs| Deadline { theirs, ours: now + theirs.saturating_duration_since(at) });
        if let Some(association) = &self.association
            && let Some(wait) = self.longest_wait(association)
            && let Some(theirs) = association.poll_timeout()
        {
            let ours = self.deadline.map_or(theirs, |deadline| deadline.ours);
            self.deadline = Some(Deadline { theirs, ours: ours.min(now + wait) });
        }
        self.collect_events();
    }

    fn stream_error(sid: u16, reason: impl ToString) -> AssociationError {
        AssociationError::Stream { sid, reason: reason.to_string() }
    }
}

impl SctpAssociation for SctpProtoAssociation {
    fn generate_init(config: &AssociationConfig) -> Result<Bytes, AssociationError> {
        sctp_proto::generate_snap_token(&transport_config(config))
            .map_err(|error| AssociationError::Config(error.to_string()))
    }

    fn start(
        now: Instant,
        mut config: AssociationConfig,
        opening: AssociationOpening,
        init: Option<AssociationInit>,
    ) -> Result<Self, AssociationError> {
        if config.local_port == 0 || config.remote_port == 0 {
            return Err(AssociationError::Config("an SCTP port is 0".into()));
        }
        config.max_packet_size = config.max_packet_size.clamp(512, 16_384);
        let mut this = Self {
            endpoint: new_endpoint(&config),
            guard: PacketGuard::new(config.max_streams, config.receive_buffer),
            phase: Phase::Waiting(now + config.rto_initial),
            max_streams: config.max_streams,
            config,
            opening,
            handle: AssociationHandle(0),
            association: None,
            deadline: None,
            header: None,
            out: VecDeque::new(),
            events: VecDeque::new(),
            unsent: BTreeMap::new(),
            total_unsent: 0,
            leftover: BTreeMap::new(),
            resetting: Vec::new(),
            freed: 0,
            inputs: 0,
            end: None,
            rtt_probe: None,
            stats: AssociationStats::default(),
        };
        let both = init.and_then(|init| Some((init.local_init, init.remote_init?)));
        if both.is_some() || opening == AssociationOpening::Active {
            this.connect(now, both)?;
        }
        Ok(this)
    }

    fn receive(&mut self, now: Instant, packet: &[u8]) {
        let ports = CommonHeader::parse(packet).is_some_and(|header| {
            header.source_port == self.config.remote_port && header.destination_port == self.config.local_port
        });
        if !ports || self.phase == Phase::Closed || self.inputs >= MAX_INPUTS_PER_OUTPUT {
            self.stats.refused += 1;
            return;
        }
        self.inputs += 1;
        let Some(chunks) = sctp_packet::chunks(packet) else {
            self.stats.refused += 1;
            return;
        };
        if let [chunk] = chunks[..]
            && chunk.kind == chunk_type::INIT
            && let Some(init) = chunk.init()
        {
            return self.receive_init(now, packet, &init);
        }
        let admitted = match self.guard.admit(packet) {
            Admission::Pass => Bytes::copy_from_slice(packet),
            Admission::Rewritten(packet) => packet,
            Admission::Refused => Bytes::new(),
        };
        if admitted.len() != packet.len() {
            self.stats.refused += 1;
        }
        if admitted.is_empty() {
            return;
        }
        self.observe(now, &admitted);
        self.feed(now, admitted);
        if !self.resetting.is_empty() {
            self.finish_resets();
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if self.out.is_empty() {
            let closing = self.phase == Phase::Closed;
            self.pump(now);
            if closing {
                // What a closed association still had to say was its last word.
                self.association = None;
            }
        }
        let packet = self.out.pop_front();
        if self.out.is_empty() {
            self.inputs = 0;
        }
        packet
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(until) => Some(until),
            Phase::Closed => None,
            _ => self.our_deadline(),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting(until) if until <= now => {
                if self.connect(now, None).is_err() {
                    self.closed(SctpCloseReason::HandshakeTimeout);
                }
            }
            Phase::Waiting(_) | Phase::Closed => {}
            _ => {
                while self.phase != Phase::Closed && self.our_deadline().is_some_and(|at| at <= now) {
                    self.expire(now);
                }
            }
        }
    }

    fn path_restored(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Established | Phase::Connecting(_)) {
            return;
        }
        // A delayed acknowledgement may stand before the timer that matters.
        let acknowledgement = now + Duration::from_millis(200);
        if self.our_deadline().is_some_and(|at| at <= acknowledgement) {
            self.expire(now);
        }
        if self.our_deadline().is_some_and(|at| at > acknowledgement) {
            self.expire(now);
        }
    }

    fn poll_event(&mut self) -> Option<AssociationEvent> {
        self.events.pop_front()
    }

    fn open_stream(&mut self, sid: u16) -> Result<(), AssociationError> {
        let association = self.association.as_mut().ok_or_else(|| Self::stream_error(sid, "not started"))?;
        let error = match association.open_stream(sid, PayloadProtocolIdentifier::Binary) {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        // The peer was first: the stream is there.
        if association.stream(sid).is_ok_and(|stream| stream.is_writable()) {
            return Ok(());
        }
        Err(Self::stream_error(sid, error))
    }

    fn send(
        &mut self,
        sid: u16,
        ppid: u32,
        payload: Bytes,
        options: &SendOptions,
    ) -> Result<(), AssociationError> {
        let error = |error: sctp_proto::Error| Self::stream_error(sid, error);
        let association = self.association.as_mut().ok_or_else(|| Self::stream_error(sid, "not started"))?;
        let mut stream = association.stream(sid).map_err(error)?;
        let (kind, value) = match (options.max_retransmits, options.lifetime) {
            (Some(count), _) => (ReliabilityType::Rexmit, u32::from(count)),
            (None, Some(lifetime)) => {
                (ReliabilityType::Timed, u32::try_from(lifetime.as_millis()).unwrap_or(u32::MAX))
            }
            (None, None) => (ReliabilityType::Reliable, 0),
        };
        stream.set_reliability_params(options.unordered, kind, value).map_err(error)?;
        stream.set_default_payload_type(PayloadProtocolIdentifier::from(ppid)).map_err(error)?;
        let len = payload.len();
        stream.write_chunks(&mut [payload]).map_err(error)?;
        if !NOT_USER_BYTES.contains(&ppid) {
            *self.unsent.entry(sid).or_default() += len;
            self.total_unsent += len;
        }
        Ok(())
    }

    fn read(&mut self, sid: u16) -> Option<AssociationMessage> {
        if let Some(queue) = self.leftover.get_mut(&sid) {
            let message = queue.pop_front();
            if queue.is_empty() {
                self.leftover.remove(&sid);
            }
            if message.is_some() {
                return message;
            }
        }
        let message = self.read_association(sid);
        self.collect_events();
        message
    }

    fn reset_stream(&mut self, sid: u16) -> Result<(), AssociationError> {
        let association = self.association.as_mut().ok_or_else(|| Self::stream_error(sid, "not started"))?;
        let closed = association.stream(sid).and_then(|mut stream| stream.close());
        self.collect_events();
        closed.map_err(|error| Self::stream_error(sid, error))
    }

    fn unsent_bytes(&mut self, sid: u16) -> usize {
        let Some(&counted) = self.unsent.get(&sid) else { return 0 };
        // A message whose time was up left the queue without ever having been in a packet.
        let queued = self
            .association
            .as_mut()
            .and_then(|association| association.stream(sid).ok()?.buffered_amount().ok())
            .unwrap_or_default();
        let unsent = counted.min(queued);
        self.total_unsent = self.total_unsent.saturating_sub(counted - unsent);
        if unsent == 0 {
            self.unsent.remove(&sid);
        } else {
            self.unsent.insert(sid, unsent);
        }
        unsent
    }

    fn total_unsent(&self) -> usize {
        self.total_unsent
    }

    fn abort(&mut self) {
        self.out.clear();
        if let Some(header) = self.header
            && self.phase != Phase::Closed
        {
            self.out.push_back(sctp_packet::abort(header));
        }
        self.association = None;
        self.closed(SctpCloseReason::Local);
    }

    fn stats(&self) -> AssociationStats {
        AssociationStats { rto: self.association.as_ref().map(Association::rtt), ..self.stats }
    }
}

impl SctpProtoAssociation {
    /// Learns from what the peer sends, after it was judged.
    fn observe(&mut self, now: Instant, packet: &[u8]) {
        for chunk in sctp_packet::chunks(packet).unwrap_or_default() {
            match chunk.kind {
                chunk_type::INIT_ACK if self.phase == Phase::Connecting(false) => {
                    if let Some(init) = chunk.init() {
                        self.learn_peer(&init);
                    }
                }
                chunk_type::SACK => {
                    if let Some((cumulative, window)) = chunk.sack() {
                        self.on_sack_received(now, cumulative, window);
                    }
                }
                chunk_type::ABORT => self.end = Some(SctpCloseReason::PeerAborted),
                chunk_type::SHUTDOWN => self.end = Some(SctpCloseReason::PeerShutdown),
                chunk_type::RECONFIG => {
                    if let Some(sids) = PacketGuard::reset_streams(packet) {
                        self.resetting = if sids.is_empty() {
                            self.association.as_ref().map(Association::stream_ids).unwrap_or_default()
                        } else {
                            sids
                        };
                        self.resetting.sort_unstable();
                    }
                }
                _ => {}
            }
        }
    }
}
