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

mod handshake;
mod packets;
mod streams;
mod timers;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, DatagramEvent, Endpoint, Event, PayloadProtocolIdentifier,
    ReliabilityType, StreamEvent,
};

use crate::sctp_association::{
    AssociationConfig, AssociationError, AssociationEvent, AssociationInit, AssociationMessage,
    AssociationOpening, AssociationStats, SctpAssociation, SctpCloseReason, SendOptions,
};
use crate::sctp_packet::{self, CommonHeader, chunk_type};
use crate::sctp_packet_guard::{Admission, PacketGuard};
use handshake::{new_endpoint, transport_config};

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
    /// DTLS began anew, and no packet of this association came since.
    peer_may_be_new: bool,
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

impl SctpProtoAssociation {
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
            peer_may_be_new: false,
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
        let last = chunks.iter().any(|chunk| chunk.kind == chunk_type::ABORT);
        if last && self.peer_may_be_new && self.phase == Phase::Established {
            // A peer that knows nothing of this association (RFC 9260 section 8.4).
            return self.closed(SctpCloseReason::Replaced);
        }
        self.peer_may_be_new = false;
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

    fn transport_restarted(&mut self, opening: AssociationOpening) {
        self.opening = opening;
        self.peer_may_be_new = true;
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

    fn set_accepting_data(&mut self, accepting: bool) {
        self.guard.refuses_data = !accepting;
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
