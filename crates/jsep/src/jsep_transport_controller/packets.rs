//! The turn of the network task: packets, timers, events from below, and what the layers want of the task.
//!
//! Answers to the signal handlers (`OnTransport*_n`) of libwebrtc's `pc/jsep_transport_controller.cc`.

use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use peerstack_base::{
    IoRequest, PacketOptions, ReceiveMeta, ResolveId, SendError, SocketEvent, SocketId, TransmitQueue,
};
use peerstack_dtls::{DtlsTransportEvent, DtlsTransportInternal};
use peerstack_p2p::{IceGatheringState as TransportGatheringState, IceTransport, IceTransportEvent};
use peerstack_rtp_transport::{
    Received, RtpExtensionType, RtpPacket, RtpTransportEvent, RtpTransportInternal, SinkId, StreamId,
    UnDemuxablePacket,
};
use peerstack_sctp::{SctpCloseReason, SctpTransportEvent};

use super::factory::JsepTransportFactory;
use super::{JsepTransportController, JsepTransportControllerEvent as Event};
use crate::{IceComponent, JsepTransport, TransportId};

/// Rounds of one `process`: each layer reacts to the others within a few, so more would be a loop of theirs.
const MAX_ROUNDS: usize = 16;

/// Nothing came in for this long before the pair changed: what was sent meanwhile is lost, rather than on its way.
const OUTAGE: Duration = Duration::from_millis(200);

/// Who takes the packets of one datagram. Called within [`JsepTransportController::receive`], so the packet lies
/// where it was received.
pub trait TransportSink {
    /// An RTP packet, authenticated and decrypted, of a sink that was registered.
    fn on_rtp_packet(&mut self, now: Instant, transport: TransportId, sink: SinkId, packet: &RtpPacket<'_>);

    /// An RTP packet, authenticated and decrypted, that no sink claims. After the first packet of an SSRC a sink
    /// may be bound to it.
    fn on_undemuxable_rtp_packet(
        &mut self,
        now: Instant,
        transport: TransportId,
        source: &UnDemuxablePacket,
        packet: &RtpPacket<'_>,
    );

    /// A compound RTCP packet, authenticated and decrypted, not yet parsed.
    fn on_rtcp_packet(&mut self, now: Instant, transport: TransportId, packet: &[u8]);
}

impl<F: JsepTransportFactory> JsepTransportController<F> {
    /// Takes a datagram of one of the transports' sockets; what it carries for media goes to `sink`, data
    /// channels' bytes to the SCTP transport. Then call [`process`](Self::process).
    pub fn receive(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        meta: &ReceiveMeta,
        sink: &mut impl TransportSink,
    ) {
        let Some((id, transport)) = self.transports.find_mut(|transport| transport.owns_socket(meta.socket))
        else {
            return self.receive_closing(now, datagram, meta);
        };
        match transport.receive(now, datagram, meta) {
            Received::Rtp { packet, sink: Some(to) } => sink.on_rtp_packet(now, id, to, &packet),
            Received::Rtp { packet, sink: None } => {
                let source = source_of(transport, &packet);
                sink.on_undemuxable_rtp_packet(now, id, &source, &packet);
            }
            Received::Rtcp(packet) => sink.on_rtcp_packet(now, id, packet),
            Received::None => {}
        }
    }

    /// A transport that is closing may still need an answer, for example to release an allocation.
    fn receive_closing(&mut self, now: Instant, datagram: &mut [u8], meta: &ReceiveMeta) {
        let mut closing = self.closing.iter_mut();
        if let Some(transport) = closing.find(|transport| transport.owns_socket(meta.socket)) {
            let _ = transport.receive(now, datagram, meta);
        }
    }

    /// Sends one RTP packet of at most `len` bytes by the transport of an m-section: `write` fills the slot and
    /// returns how many bytes count (0 takes it back); it is protected where it lies. Returns that number.
    ///
    /// # Errors
    /// [`SendError::Closed`], [`SendError::NotWritable`] if the m-section has no transport or it is not
    /// connected, and what the transport says.
    pub fn send_rtp_with(
        &mut self,
        now: Instant,
        mid: &str,
        options: &PacketOptions,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, SendError> {
        let transport = self.sending_transport(mid)?;
        transport.rtp_mut().send_rtp_with(now, options, len, write)
    }

    /// Sends one compound RTCP packet by the transport of an m-section. As
    /// [`send_rtp_with`](Self::send_rtp_with).
    ///
    /// # Errors
    /// As [`send_rtp_with`](Self::send_rtp_with).
    pub fn send_rtcp_with(
        &mut self,
        now: Instant,
        mid: &str,
        options: &PacketOptions,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, SendError> {
        let transport = self.sending_transport(mid)?;
        transport.rtp_mut().send_rtcp_with(now, options, len, write)
    }

    fn sending_transport(&mut self, mid: &str) -> Result<&mut JsepTransport<F::Dtls>, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        self.transports.by_mid_mut(mid).ok_or(SendError::NotWritable)
    }

    /// Ready when a layer below has work that no datagram and no timer announces (an engine that runs on a task
    /// of its own): then call [`process`](Self::process).
    pub fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { transports, closing, factory, .. } = self;
        let all = transports.iter_mut().map(|(_, transport)| transport).chain(closing);
        let mut woken = Poll::Pending;
        // Each is polled, so that each knows whom to wake.
        for transport in all {
            transport.for_each_dtls(|dtls| {
                if factory.poll_wake(dtls, cx).is_ready() {
                    woken = Poll::Ready(());
                }
            });
        }
        woken
    }

    /// Whether a socket belongs to one of the transports.
    pub fn owns_socket(&self, socket: SocketId) -> bool {
        self.all_transports().any(|transport| transport.owns_socket(socket))
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.all_transports().filter_map(JsepTransport::next_timeout).min()
    }

    /// Runs what is due in all layers. Then call [`process`](Self::process).
    pub fn handle_timeout(&mut self, now: Instant) {
        for transport in self.all_transports_mut() {
            transport.handle_timeout(now);
        }
    }

    /// Drains the events of all layers bottom-up until nothing new comes, then computes the aggregates. Runs
    /// after every datagram, timer and command.
    pub fn process(&mut self, now: Instant) {
        for _ in 0..MAX_ROUNDS {
            let mut round = Round::default();
            for id in self.transport_ids() {
                self.process_transport(now, id, &mut round);
            }
            if round.role_conflict {
                self.reverse_ice_role();
            }
            if !round.busy {
                break;
            }
        }
        self.renew_sctp(now);
        for transport in &mut self.closing {
            transport.process(now);
        }
        self.forget_drained();
        self.update_aggregate_states();
    }

    /// Calls `visit` with each queue of datagrams that wait to be sent.
    pub fn for_each_transmit_queue(&mut self, mut visit: impl FnMut(&mut TransmitQueue)) {
        for transport in self.all_transports_mut() {
            transport.for_each_ice(|ice| visit(ice.transmits()));
        }
    }

    /// The next thing the network task is asked to do.
    pub fn poll_io_request(&mut self) -> Option<IoRequest> {
        self.all_transports_mut().find_map(|transport| transport.poll_io_request())
    }

    /// The answer to [`IoRequest::Resolve`]; a transport that did not ask ignores it.
    pub fn handle_resolved(&mut self, now: Instant, id: ResolveId, addresses: &[IpAddr]) {
        for transport in self.all_transports_mut() {
            transport.for_each_ice(|ice| ice.handle_resolved(now, id, addresses));
        }
    }

    /// What became of a stream or listener; a transport of which it is not ignores it.
    pub fn handle_socket_event(&mut self, now: Instant, event: &SocketEvent) {
        self.for_owner_of(event.socket(), |ice| ice.handle_socket_event(now, event));
    }

    /// The network task could not send by this socket, for a reason other than `WouldBlock`.
    pub fn handle_send_error(&mut self, now: Instant, socket: SocketId, error: &std::io::Error) {
        self.for_owner_of(socket, |ice| ice.handle_send_error(now, socket, error));
    }

    /// Calls `visit` with each ICE transport that uses a socket: several may share one.
    fn for_owner_of(
        &mut self,
        socket: SocketId,
        mut visit: impl FnMut(&mut <F::Dtls as DtlsTransportInternal>::Ice),
    ) {
        for transport in self.all_transports_mut() {
            transport.for_each_ice(|ice| {
                if ice.owns_socket(socket) {
                    visit(ice);
                }
            });
        }
    }

    /// The network task wrote out enough of the queues after `WouldBlock`.
    pub fn handle_unblocked(&mut self, now: Instant) {
        for transport in self.all_transports_mut() {
            transport.for_each_ice(|ice| ice.handle_unblocked(now));
        }
    }

    /// Closes all transports. No event comes after this; what is still to be sent and the sockets to be closed
    /// are handed out until [`is_drained`](Self::is_drained).
    pub fn close(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        self.closed = true;
        self.aggregates = self.aggregates.closed();
        for (_, mut transport) in self.transports.take_all() {
            transport.close(now);
            self.closing.push(transport);
        }
        for transport in &mut self.closing {
            transport.process(now);
        }
    }

    /// Whether the controller was closed and nothing is left to be sent or asked for: it can be dropped.
    pub fn is_drained(&mut self) -> bool {
        self.forget_drained();
        self.closed && self.closing.is_empty()
    }

    fn forget_drained(&mut self) {
        self.closing.retain_mut(|transport| !transport.is_drained());
    }

    pub(super) fn transport_ids(&self) -> Vec<TransportId> {
        self.transports.iter().map(|(id, _)| id).collect()
    }

    fn all_transports(&self) -> impl Iterator<Item = &JsepTransport<F::Dtls>> {
        self.transports.iter().map(|(_, transport)| transport).chain(&self.closing)
    }

    fn all_transports_mut(&mut self) -> impl Iterator<Item = &mut JsepTransport<F::Dtls>> {
        self.transports.iter_mut().map(|(_, transport)| transport).chain(&mut self.closing)
    }

    fn process_transport(&mut self, now: Instant, id: TransportId, round: &mut Round) {
        let Some(transport) = self.transports.get_mut(id) else { return };
        transport.process(now);
        let mut changed = false;
        while let Some((component, event)) =
            self.transports.get_mut(id).and_then(JsepTransport::next_ice_event)
        {
            changed = true;
            round.role_conflict |= event == IceTransportEvent::RoleConflict;
            self.on_ice_event(now, id, component, event);
        }
        while let Some((component, event)) =
            self.transports.get_mut(id).and_then(JsepTransport::next_dtls_event)
        {
            changed = true;
            self.on_dtls_event(id, component, event);
        }
        while let Some(event) = self.transports.get_mut(id).and_then(|t| t.rtp_events.try_next()) {
            changed = true;
            self.on_rtp_event(id, event);
        }
        if let Some(transport) = self.transports.get_mut(id) {
            transport.flush(now, changed);
        }
        while let Some(event) = self.transports.get_mut(id).and_then(JsepTransport::next_sctp_event) {
            changed = true;
            self.on_sctp_event(id, event);
        }
        round.busy |= changed;
    }

    fn on_ice_event(
        &mut self,
        now: Instant,
        id: TransportId,
        component: IceComponent,
        event: IceTransportEvent,
    ) {
        let place = self.place_of(id);
        let in_use = place.is_some();
        let Some((mid, mline_index)) = place.or_else(|| self.former_place_of(id)) else { return };
        match event {
            IceTransportEvent::SelectedCandidatePairChange(change) => {
                let silent = change.pair.is_some() && change.estimated_disconnected_time >= OUTAGE;
                if silent
                    && component == IceComponent::Rtp
                    && let Some(transport) = self.transports.get_mut(id)
                {
                    transport.path_restored(now);
                }
                let change = Box::new(change);
                self.events.emit(Event::CandidatePairChange { mid, transport: id, component, change });
            }
            IceTransportEvent::StateChange(state) => {
                self.events.emit(Event::IceTransportStateChange { mid, transport: id, component, state });
            }
            IceTransportEvent::GatheringStateChange(state) => {
                let ended = self.transports.get_mut(id).is_some_and(|it| it.note_gathering(component, state));
                if in_use && ended && self.gathers_for_description_in_force(id) {
                    self.events.emit(Event::EndOfCandidates { mid: mid.clone(), mline_index });
                }
                self.events.emit(Event::IceTransportGatheringState {
                    mid,
                    mline_index,
                    transport: id,
                    component,
                    state,
                });
                if in_use && state == TransportGatheringState::Gathering {
                    self.tell_gathering();
                }
            }
            // What no m-section uses now, but a rollback may need, has nothing to signal.
            _ if !in_use => {}
            // Nor has what is gathered still for an offer that was taken back: the peer knows no such generation.
            IceTransportEvent::CandidateGathered(_) if !self.gathers_for_description_in_force(id) => {}
            IceTransportEvent::CandidateGathered(candidate) => {
                if let Some(transport) = self.transports.get_mut(id) {
                    transport.add_local_candidate(candidate.clone());
                }
                let candidates = vec![candidate];
                self.events.emit(Event::CandidatesGathered { mid, mline_index, transport: id, candidates });
            }
            IceTransportEvent::CandidatesRemoved(candidates) => {
                if let Some(transport) = self.transports.get_mut(id) {
                    transport.remove_local_candidates(&candidates);
                }
                self.events.emit(Event::CandidatesRemoved { mid, mline_index, candidates });
            }
            IceTransportEvent::CandidateError(error) => {
                self.events.emit(Event::CandidateError { mid, error });
            }
            // DTLS and RTP above listen to these themselves; a role conflict was noted by the caller.
            _ => {}
        }
    }

    fn on_dtls_event(&mut self, id: TransportId, component: IceComponent, event: DtlsTransportEvent) {
        let Some((mid, _)) = self.place_of(id).or_else(|| self.former_place_of(id)) else { return };
        match event {
            DtlsTransportEvent::StateChange(state) => {
                self.events.emit(Event::DtlsStateChange { mid, transport: id, component, state });
            }
            DtlsTransportEvent::HandshakeError(error) => {
                self.events.emit(Event::DtlsHandshakeError { mid, transport: id, component, error });
            }
            _ => {}
        }
    }

    fn on_rtp_event(&mut self, id: TransportId, event: RtpTransportEvent) {
        match event {
            RtpTransportEvent::ReadyToSend(true) => {
                self.events.emit(Event::ReadyToSend { transport: id });
            }
            RtpTransportEvent::WritableState(writable) => {
                self.events.emit(Event::WritableState { transport: id, writable });
            }
            RtpTransportEvent::NetworkRouteChange(route) => {
                self.events.emit(Event::NetworkRouteChange { transport: id, route });
            }
            RtpTransportEvent::UnDemuxable(source) => {
                self.events.emit(Event::UnDemuxableRtpPacket { transport: id, source });
            }
            _ => {}
        }
    }

    fn on_sctp_event(&mut self, id: TransportId, event: SctpTransportEvent) {
        match event {
            SctpTransportEvent::StateChange(state) => {
                self.events.emit(Event::SctpStateChange { transport: id, state });
            }
            SctpTransportEvent::Closed(reason) => {
                let sctp = self.transports.get_mut(id).and_then(|transport| transport.sctp_slot().as_mut());
                if let Some(sctp) = sctp.filter(|_| reason == SctpCloseReason::Replaced) {
                    sctp.renew = true;
                }
                self.events.emit(Event::SctpClosed { transport: id, reason });
            }
            // Channels tell what concerns them by events of their own.
            _ => {}
        }
    }

    fn gathers_for_description_in_force(&self, id: TransportId) -> bool {
        self.transports.get(id).is_some_and(JsepTransport::gathers_for_description_in_force)
    }

    /// What a transport that is kept for a rollback is called.
    fn former_place_of(&self, id: TransportId) -> Option<(String, Option<usize>)> {
        Some((self.transports.get(id)?.name().to_owned(), None))
    }

    /// The mid that speaks for a transport, and its place in the local description.
    pub(super) fn place_of(&self, id: TransportId) -> Option<(String, Option<usize>)> {
        let mid = self.mid_of(id)?.to_owned();
        let mline_index = self.local_description().and_then(|description| description.mline_index(&mid));
        Some((mid, mline_index))
    }
}

/// What one round of `process` brought.
#[derive(Debug, Default)]
struct Round {
    busy: bool,
    role_conflict: bool,
}

/// What a packet that no sink claims says of itself.
fn source_of<D: DtlsTransportInternal>(
    transport: &JsepTransport<D>,
    packet: &RtpPacket<'_>,
) -> UnDemuxablePacket {
    let header = packet.header();
    let name = |extension| {
        let id = transport.rtp().extensions().id(extension)?;
        header.extension(id).and_then(StreamId::from_extension)
    };
    UnDemuxablePacket {
        ssrc: header.ssrc(),
        payload_type: header.payload_type(),
        mid: name(RtpExtensionType::Mid),
        rsid: name(RtpExtensionType::RtpStreamId).or_else(|| name(RtpExtensionType::RepairedRtpStreamId)),
    }
}
