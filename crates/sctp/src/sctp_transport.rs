//! `SctpTransport`: the association and the data channels of one DTLS transport. Owned by the `JsepTransport`,
//! beside the RTP transports, on the network task; it owns no lower layer. RFC 8831, RFC 8841, W3C
//! `RTCSctpTransport`; answers to libwebrtc's `media/sctp/dcsctp_transport.cc` and `pc/sctp_transport.cc`.
//!
//! The contract: [`receive`](SctpTransport::receive) takes each decrypted record, [`flush`](SctpTransport::flush)
//! writes out what is due and runs after everything else of a turn. Any call that leaves something to be
//! written makes [`next_timeout`](SctpTransport::next_timeout) due at once, so that nothing waits for a timer.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use peerstack_base::{Counter, EventReceiver, EventSource, PacketKind, PacketOptions, SendError};
use peerstack_dtls::{DtlsRole, DtlsTransportInternal, DtlsTransportState};
use thiserror::Error;

use crate::data_channel_controller::{DataChannelController, Limits};
use crate::sctp_association::{
    AssociationConfig, AssociationError, AssociationEvent, AssociationInit, AssociationOpening,
    AssociationStats, SctpAssociation, SctpCloseReason,
};
use crate::sctp_data_channel::{
    DataChannelEvent, DataChannelId, DataChannelInit, DataChannelOpenError, DataChannelSendError,
    DataChannelState, DataChannelStats, MessageKind,
};
use crate::sctp_proto_association::SctpProtoAssociation;

/// W3C `RTCSctpTransportState` (webrtc-pc section 6.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SctpTransportState {
    /// The association does not stand yet.
    #[default]
    Connecting,
    /// It does.
    Connected,
    /// It is gone, and stays so.
    Closed,
}

/// What an [`SctpTransport`] tells upward. What concerns one channel is a [`DataChannelEvent`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SctpTransportEvent {
    /// [`SctpTransport::state`] changed.
    StateChange(SctpTransportState),
    /// The association stands; `max_channels` and `max_message_size` are final.
    Connected,
    /// A channel whose queue was full takes messages again.
    ReadyToSend,
    /// The association ended, and why; nothing comes after this.
    Closed(SctpCloseReason),
}
peerstack_base::layer_event!(SctpTransportEvent, "peerstack::sctp");

/// How a transport is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SctpTransportConfig {
    /// The association. Ports are given by [`SctpTransport::start`];
    /// `max_receive_message_size` is what SDP's `max-message-size` says (RFC 8841 section 6).
    pub association: AssociationConfig,
    /// The largest message we send to a peer that takes larger ones, in bytes.
    pub max_send_message_size: usize,
    /// Bytes that may wait in one channel; more is a typed error (libwebrtc `MaxSendQueueSize`).
    pub max_send_queue: usize,
    /// Bytes of received messages that may wait to be polled, or, having been polled, for the application
    /// ([`SctpTransport::set_backlog`]); beyond that the association is not read and the peer's window closes.
    pub max_undrained: usize,
}

impl Default for SctpTransportConfig {
    fn default() -> Self {
        Self {
            association: AssociationConfig::default(),
            max_send_message_size: 16 << 20,
            max_send_queue: 16 << 20,
            max_undrained: 8 << 20,
        }
    }
}

/// Why a transport did not start. Nothing was changed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SctpStartError {
    /// K13: ports stay what they are; new ones need a new transport, over a new DTLS association.
    #[error("SCTP ports cannot change from {old:?} to {new:?}")]
    PortsChanged {
        /// Ours and the peer's.
        old: (u16, u16),
        /// What was asked for.
        new: (u16, u16),
    },
    /// The transport is closed.
    #[error("the SCTP transport is closed")]
    Closed,
    /// The association refused.
    #[error(transparent)]
    Association(#[from] AssociationError),
}

/// What a transport counted (W3C `RTCSctpTransportStats`, and more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SctpTransportStats {
    /// Packets handed to DTLS.
    pub sent: Counter,
    /// Records taken from DTLS.
    pub received: Counter,
    /// Packets DTLS refused for another reason than want of room; SCTP sends them again.
    pub send_errors: u64,
    /// DCEP messages and payload protocol identifiers that made no sense.
    pub ignored_messages: u64,
    /// The association's numbers.
    pub association: AssociationStats,
}

/// See the file's header.
pub struct SctpTransport<A = SctpProtoAssociation> {
    config: SctpTransportConfig,
    state: SctpTransportState,
    /// What the association starts with once DTLS is up: timers do not run before anything can be sent.
    pending: Option<(AssociationConfig, AssociationOpening)>,
    association: Option<A>,
    channels: DataChannelController,
    events: EventSource<SctpTransportEvent>,
    ports: Option<(u16, u16)>,
    local_init: Option<Bytes>,
    remote_init: Option<Bytes>,
    /// A packet DTLS had no room for.
    held: Option<Bytes>,
    was_writable: Option<bool>,
    /// Set by what leaves something to be written; the time it happened.
    flush_wanted: Option<Instant>,
    last_now: Option<Instant>,
    stats: SctpTransportStats,
}

impl<A> fmt::Debug for SctpTransport<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SctpTransport")
            .field("state", &self.state)
            .field("ports", &self.ports)
            .finish_non_exhaustive()
    }
}

impl<A: SctpAssociation> SctpTransport<A> {
    /// A transport that is not started. `scope` names it in traces.
    pub fn new(scope: &str, config: SctpTransportConfig) -> Self {
        let limits = Limits {
            send_queue: config.max_send_queue,
            undrained: config.max_undrained,
            unread_at_reset: config.association.receive_buffer as usize,
            receive_message: config.association.max_receive_message_size as usize,
            send_message: 0,
        };
        Self {
            channels: DataChannelController::new(config.association.max_streams, limits),
            config,
            state: SctpTransportState::Connecting,
            pending: None,
            association: None,
            events: EventSource::new(scope),
            ports: None,
            local_init: None,
            remote_init: None,
            held: None,
            was_writable: None,
            flush_wanted: None,
            last_now: None,
            stats: SctpTransportStats::default(),
        }
    }

    /// Our INIT for SDP (SNAP, draft-hancke-tsvwg-snap), the same at every call. Used only if the peer's is
    /// given too, before [`start`](Self::start).
    ///
    /// # Errors
    /// What the association says.
    pub fn local_init(&mut self) -> Result<Bytes, AssociationError> {
        if self.local_init.is_none() {
            self.local_init = Some(A::generate_init(&self.config.association)?);
        }
        Ok(self.local_init.clone().unwrap_or_default())
    }

    /// The peer's INIT from SDP.
    pub fn set_remote_init(&mut self, init: Bytes) {
        self.remote_init = Some(init);
    }

    /// Starts the association; packets leave as soon as DTLS is writable. `remote_max_message_size` is SDP's
    /// value, 0 for no limit (RFC 8841 section 6). Called again with the same ports only the size is taken.
    ///
    /// # Errors
    /// [`SctpStartError`]; an INIT of the peer's that is none ends the transport when DTLS is up.
    pub fn start(
        &mut self,
        now: Instant,
        local_port: u16,
        remote_port: u16,
        remote_max_message_size: u32,
        dtls_role: DtlsRole,
    ) -> Result<(), SctpStartError> {
        if self.state == SctpTransportState::Closed {
            return Err(SctpStartError::Closed);
        }
        let new = (local_port, remote_port);
        if let Some(old) = self.ports
            && old != new
        {
            return Err(SctpStartError::PortsChanged { old, new });
        }
        if local_port == 0 || remote_port == 0 {
            return Err(AssociationError::Config("an SCTP port is 0".into()).into());
        }
        if self.ports.is_none() {
            let mut config = self.config.association.clone();
            (config.local_port, config.remote_port) = new;
            self.pending = Some((config, opening_of(dtls_role)));
            self.ports = Some(new);
            self.channels.set_role(dtls_role);
        }
        let remote = match remote_max_message_size {
            0 => usize::MAX,
            size => size as usize,
        };
        self.channels.limits.send_message = remote.min(self.config.max_send_message_size);
        self.touch(now);
        Ok(())
    }

    /// DTLS is up: it is writable, or a record came out of it.
    fn begin(&mut self, now: Instant) {
        let Some((config, opening)) = self.pending.take() else { return };
        let init = self
            .local_init
            .clone()
            .map(|local_init| AssociationInit { local_init, remote_init: self.remote_init.clone() });
        match A::start(now, config, opening, init) {
            Ok(association) => self.association = Some(association),
            Err(error) => {
                tracing::warn!(target: "peerstack::sctp", %error, "the association does not start");
                self.end(&SctpCloseReason::ProtocolViolation);
            }
        }
        self.drain_association();
    }

    /// Takes one record of DTLS application data. Any bytes are harmless.
    pub fn receive(&mut self, now: Instant, record: &[u8]) {
        self.stats.received.add(record.len());
        self.begin(now);
        if let Some(association) = &mut self.association {
            association.receive(now, record);
            self.process(now);
        }
    }

    /// Drains the association's events and reads messages.
    pub fn process(&mut self, now: Instant) {
        self.touch(now);
        self.drain_association();
        if let Some(association) = &mut self.association {
            self.channels.read(association);
        }
        // Reading may have been the last word of an association that ran out of buffer.
        self.drain_association();
    }

    fn touch(&mut self, now: Instant) {
        self.flush_wanted = Some(now);
        self.last_now = Some(now);
    }

    fn drain_association(&mut self) {
        while let Some(association) = &mut self.association
            && let Some(event) = association.poll_event()
        {
            match event {
                AssociationEvent::Connected { max_streams } => {
                    self.channels.on_connected(association, max_streams);
                    self.set_state(SctpTransportState::Connected);
                    self.events.emit(SctpTransportEvent::Connected);
                }
                AssociationEvent::Readable(sid) => self.channels.on_readable(sid),
                AssociationEvent::IncomingReset(sid) => self.channels.on_incoming_reset(association, sid),
                AssociationEvent::ResetComplete(sid) => self.channels.on_reset_complete(sid),
                AssociationEvent::ResetFailed(sid) => self.channels.on_reset_failed(sid),
                AssociationEvent::Closed(reason) => self.end(&reason),
            }
        }
    }

    fn set_state(&mut self, state: SctpTransportState) {
        if self.state != state {
            self.state = state;
            self.events.emit(SctpTransportEvent::StateChange(state));
        }
    }

    fn end(&mut self, reason: &SctpCloseReason) {
        if self.state != SctpTransportState::Closed {
            self.channels.on_association_closed(reason);
            self.set_state(SctpTransportState::Closed);
            self.events.emit(SctpTransportEvent::Closed(reason.clone()));
        }
    }

    /// The next packet that is due. [`flush`](Self::flush) calls it; another carrier than DTLS may too.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        self.begin(now);
        loop {
            let association = self.association.as_mut()?;
            let packet = association.poll_transmit(now);
            self.drain_association();
            if packet.is_some() {
                return packet;
            }
            let association = self.association.as_mut()?;
            if !self.channels.feed(now, association) {
                return None;
            }
        }
    }

    /// The transport below goes another way after a time in which nothing came through: what was lost is sent again at
    /// the next [`flush`](Self::flush), not when its timer, doubled with each loss, is due.
    pub fn path_restored(&mut self, now: Instant) {
        if let Some(association) = &mut self.association {
            association.path_restored(now);
        }
    }

    /// The DTLS association below is a new one, in this role. The SCTP association goes on over it if the peer does: what
    /// was lost is sent again. If the peer began anew it ends with [`SctpCloseReason::Replaced`].
    pub fn transport_restarted(&mut self, now: Instant, dtls_role: DtlsRole) {
        if self.ports.is_none() || self.state == SctpTransportState::Closed {
            return;
        }
        let opening = opening_of(dtls_role);
        if let Some((_, pending)) = &mut self.pending {
            *pending = opening;
        }
        if let Some(association) = &mut self.association {
            association.transport_restarted(opening);
        }
        self.channels.set_role(dtls_role);
        self.touch(now);
    }

    /// Another transport takes the place of this one: it ends, with an error for each of its channels. Nothing is sent.
    pub fn replace(&mut self, now: Instant) {
        self.touch(now);
        self.end(&SctpCloseReason::Replaced);
        (self.held, self.pending, self.association) = (None, None, None);
    }

    /// Whether [`poll_event`](Self::poll_event) has something to say.
    pub fn has_events(&self) -> bool {
        self.channels.has_events()
    }

    /// Writes out what is due. A packet for which there is no room waits for the next call.
    pub fn flush<D: DtlsTransportInternal>(&mut self, now: Instant, dtls: &mut D) {
        self.flush_wanted = None;
        self.last_now = Some(now);
        if self.association.is_none() && self.pending.is_none() {
            return;
        }
        if matches!(dtls.state(), DtlsTransportState::Closed | DtlsTransportState::Failed) {
            return self.transport_closed();
        }
        let writable = dtls.writable();
        if writable
            && self.was_writable == Some(false)
            && let Some(association) = &mut self.association
        {
            association.path_restored(now);
        }
        if writable || self.was_writable == Some(true) {
            self.was_writable = Some(writable);
        }
        if writable {
            self.write(now, dtls);
        }
        self.after_flush();
    }

    fn write<D: DtlsTransportInternal>(&mut self, now: Instant, dtls: &mut D) {
        let options = PacketOptions { kind: PacketKind::Data, ..PacketOptions::default() };
        while let Some(packet) = self.held.take().or_else(|| self.poll_transmit(now)) {
            let sent = dtls.send_with(now, &options, packet.len(), |slot| {
                let len = slot.len().min(packet.len());
                if let (Some(slot), Some(packet)) = (slot.get_mut(..len), packet.get(..len)) {
                    slot.copy_from_slice(packet);
                }
                len
            });
            match sent {
                Ok(_) => self.stats.sent.add(packet.len()),
                Err(SendError::WouldBlock | SendError::NotWritable) => {
                    self.held = Some(packet);
                    return;
                }
                Err(SendError::Closed) => return self.transport_closed(),
                Err(error) => {
                    self.stats.send_errors += 1;
                    tracing::debug!(target: "peerstack::sctp", %error, len = packet.len(), "packet not sent");
                }
            }
        }
        if self.state == SctpTransportState::Closed {
            self.association = None;
        }
    }

    fn after_flush(&mut self) {
        if let Some(association) = &mut self.association {
            self.channels.update_buffered(association);
        }
        if std::mem::take(&mut self.channels.room) {
            self.events.emit(SctpTransportEvent::ReadyToSend);
        }
    }

    fn transport_closed(&mut self) {
        self.end(&SctpCloseReason::TransportClosed);
        self.association = None;
        self.pending = None;
        self.held = None;
        self.flush_wanted = None;
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; in the past if a [`flush`](Self::flush) is.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.association.is_none() && self.pending.is_none() {
            return None;
        }
        match (self.flush_wanted, self.association.as_ref().and_then(A::next_timeout)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(association) = &mut self.association
            && association.next_timeout().is_some_and(|at| at <= now)
        {
            association.handle_timeout(now);
            self.process(now);
        }
    }

    /// A channel of this transport's events from now on.
    pub fn subscribe(&mut self) -> EventReceiver<SctpTransportEvent> {
        self.events.subscribe()
    }

    /// State.
    pub fn state(&self) -> SctpTransportState {
        self.state
    }

    /// What SDP's `max-message-size` is to say: the largest message we take, in bytes.
    pub fn local_max_message_size(&self) -> u32 {
        self.config.association.max_receive_message_size
    }

    /// The largest message that can be sent, in bytes; 0 before the start.
    pub fn max_message_size(&self) -> usize {
        self.channels.limits.send_message
    }

    /// W3C `maxChannels`: known once connected.
    pub fn max_channels(&self) -> Option<u16> {
        (self.state == SctpTransportState::Connected).then(|| self.channels.max_streams())
    }

    /// Our DTLS role, once started: it says which stream identifiers are ours (RFC 8832 section 6).
    pub fn dtls_role(&self) -> Option<DtlsRole> {
        self.channels.role()
    }

    /// Tells how many bytes of messages left by [`poll_event`](Self::poll_event) and wait for the application still.
    /// They count like what waits here: all channels together hold no more than `max_undrained` and what was in
    /// flight, and the peer is held back by its window.
    pub fn set_backlog(&mut self, now: Instant, bytes: usize) {
        self.channels.set_backlog(bytes);
        if self.channels.wants_read() {
            self.process(now);
        }
    }

    /// Numbers.
    pub fn stats(&self) -> SctpTransportStats {
        SctpTransportStats {
            ignored_messages: self.channels.ignored,
            association: self.association.as_ref().map(A::stats).unwrap_or_default(),
            ..self.stats
        }
    }

    /// Ends the association with an ABORT, which the next [`flush`](Self::flush) sends as the last packet, and
    /// all channels with it.
    pub fn close(&mut self, now: Instant) {
        self.touch(now);
        self.held = None;
        self.pending = None;
        if let Some(association) = &mut self.association {
            association.abort();
            self.drain_association();
        }
        self.end(&SctpCloseReason::Local);
    }
}

fn opening_of(dtls_role: DtlsRole) -> AssociationOpening {
    match dtls_role {
        DtlsRole::Client => AssociationOpening::Active,
        DtlsRole::Server => AssociationOpening::Passive,
    }
}

/// Data channels.
impl<A: SctpAssociation> SctpTransport<A> {
    /// Creates a channel; it opens when the association stands.
    ///
    /// # Errors
    /// [`DataChannelOpenError`].
    pub fn create_data_channel(
        &mut self,
        now: Instant,
        init: DataChannelInit,
    ) -> Result<DataChannelId, DataChannelOpenError> {
        if self.state == SctpTransportState::Closed {
            return Err(DataChannelOpenError::TransportClosed);
        }
        self.touch(now);
        self.channels.create(self.association.as_mut(), init)
    }

    /// Queues a message; it leaves with the next [`flush`](Self::flush) that has room for it. Never lost
    /// without a word: it is delivered, refused here, or given up as the channel's parameters say.
    ///
    /// # Errors
    /// [`DataChannelSendError`].
    pub fn send(
        &mut self,
        now: Instant,
        channel: DataChannelId,
        kind: MessageKind,
        data: impl Into<Bytes>,
    ) -> Result<(), DataChannelSendError> {
        self.touch(now);
        self.channels.send(now, self.association.as_mut(), channel, kind, data.into())
    }

    /// Closes a channel: what was sent goes out first. `Closed` comes when the peer has closed too, at once if
    /// the channel never opened.
    pub fn close_data_channel(&mut self, now: Instant, channel: DataChannelId) {
        self.touch(now);
        match &mut self.association {
            Some(association) => self.channels.close(association, channel),
            None => self.channels.close_unconnected(channel),
        }
    }

    /// The next event of a channel. Taking messages opens the peer's window.
    pub fn poll_event(&mut self) -> Option<DataChannelEvent> {
        let event = self.channels.poll_event(self.association.as_mut());
        if self.channels.wants_read() {
            self.flush_wanted = self.flush_wanted.or(self.last_now);
            if let Some(association) = &mut self.association {
                self.channels.read(association);
            }
        }
        self.drain_association();
        event
    }

    /// While a channel is paused nothing is read from it. All channels of a transport share one window, so one
    /// that is paused long enough stops the others too.
    pub fn set_paused(&mut self, now: Instant, channel: DataChannelId, paused: bool) {
        if let Some(channel) = self.channels.channel_mut(channel) {
            channel.paused = paused;
        }
        self.process(now);
    }

    /// W3C `bufferedAmount`: bytes of user messages that were not yet put into a packet.
    pub fn buffered_amount(&mut self, channel: DataChannelId) -> usize {
        let Some(channel) = self.channels.channel(channel) else { return 0 };
        let unsent = match (&mut self.association, channel.sid) {
            (Some(association), Some(sid)) => association.unsent_bytes(sid),
            _ => 0,
        };
        channel.queued + unsent
    }

    /// W3C `bufferedAmountLowThreshold`, 0 at first.
    pub fn set_buffered_amount_low_threshold(&mut self, channel: DataChannelId, bytes: usize) {
        if let Some(channel) = self.channels.channel_mut(channel) {
            channel.low_threshold = bytes;
        }
    }

    /// The channel's state; `Closed` for one that is gone.
    pub fn data_channel_state(&self, channel: DataChannelId) -> DataChannelState {
        self.channels.channel(channel).map_or(DataChannelState::Closed, |channel| channel.state)
    }

    /// The channel's parameters, `id` included once it is known.
    pub fn data_channel_init(&self, channel: DataChannelId) -> Option<&DataChannelInit> {
        self.channels.channel(channel).map(|channel| &channel.init)
    }

    /// The channel's counters.
    pub fn data_channel_stats(&self, channel: DataChannelId) -> Option<DataChannelStats> {
        self.channels.channel(channel).map(|channel| channel.stats)
    }

    /// The channels there are, oldest first.
    pub fn data_channels(&self) -> impl Iterator<Item = DataChannelId> + '_ {
        self.channels.ids()
    }
}

#[cfg(test)]
impl<A: SctpAssociation> SctpTransport<A> {
    /// What `flush` does beside writing, for links that take packets by `poll_transmit`.
    pub(crate) fn after_test_flush(&mut self, now: Instant) {
        self.flush_wanted = None;
        self.last_now = Some(now);
        if self.state == SctpTransportState::Closed {
            self.association = None;
        }
        self.after_flush();
    }
}

#[cfg(test)]
#[path = "sctp_transport_flow_tests.rs"]
mod flow_tests;
#[cfg(test)]
#[path = "hostile_tests.rs"]
mod hostile_tests;
#[cfg(test)]
#[path = "sctp_transport_path_tests.rs"]
mod path_tests;
#[cfg(test)]
#[path = "sctp_transport_tests.rs"]
mod tests;
