//! All data channels of one transport: identifiers, DCEP, turns in sending, back-pressure in receiving, closing.
//! Owned by its `SctpTransport` on the network task. RFC 8831, RFC 8832; answers to libwebrtc's
//! `pc/data_channel_controller.cc`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use peerstack_dtls::DtlsRole;

use crate::dcep::DcepMessage;
use crate::sctp_association::{AssociationMessage, SctpAssociation, SctpCloseReason};
use crate::sctp_data_channel::{
    DataChannelError, DataChannelEvent, DataChannelId, DataChannelInit, DataChannelOpenError,
    DataChannelSendError, DataChannelState, MessageKind, QueuedMessage, SctpDataChannel, ppid,
};
use crate::sctp_sid_allocator::SctpSidAllocator;

/// The association is given no more than this ahead: it sends in the order it was given, so what lies here
/// decides whose turn it is.
const FEED: usize = 64 << 10;
/// Resets asked for at once: their identifiers travel in one chunk, which must fit a packet.
const MAX_RESETS: usize = 256;
/// What an event costs beside its bytes.
const EVENT_COST: usize = 64;
/// Messages one channel may have waiting, whatever their size.
const MAX_QUEUED_MESSAGES: usize = 1 << 18;
/// Bytes of the labels and protocols of the channels that a peer opened and that are not closed: DCEP allows 65,535 of
/// each (RFC 8832 section 5.1), on each of the streams. A channel beyond it is refused by the reset of its stream.
pub const MAX_PEER_NAME_BYTES: usize = 8 << 20;
/// Messages for streams whose channel the application has not created yet.
const MAX_ORPHAN_BYTES: usize = 256 << 10;

/// What the channels may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) send_queue: usize,
    pub(crate) undrained: usize,
    pub(crate) unread_at_reset: usize,
    pub(crate) receive_message: usize,
    /// What the peer takes.
    pub(crate) send_message: usize,
}

/// See the file's header.
pub(crate) struct DataChannelController {
    pub(crate) limits: Limits,
    channels: BTreeMap<DataChannelId, SctpDataChannel>,
    by_sid: BTreeMap<u16, DataChannelId>,
    sids: SctpSidAllocator,
    role: Option<DtlsRole>,
    connected: bool,
    next_id: u64,
    /// Channels with something to send, the next first (see [`SctpDataChannel::virtual_time`]).
    sendable: BTreeSet<(u64, DataChannelId)>,
    /// When, by the clock of bytes and priorities, the channel that sent last had its turn.
    virtual_time: u64,
    /// Channels whose `buffered_amount` is not 0.
    watched: BTreeSet<DataChannelId>,
    /// Channels whose reset is still to be asked for.
    closing: BTreeSet<DataChannelId>,
    resets: usize,
    readable: BTreeSet<u16>,
    last_read: u16,
    orphans: BTreeMap<u16, Vec<(MessageKind, Bytes)>>,
    orphan_bytes: usize,
    events: VecDeque<DataChannelEvent>,
    undrained: usize,
    /// Bytes that left here and that the application has not taken yet.
    backlog: usize,
    /// DCEP messages and PPIDs that make no sense.
    pub(crate) ignored: u64,
    /// A channel that was full has room again.
    pub(crate) room: bool,
}

impl DataChannelController {
    pub(crate) fn new(max_streams: u16, limits: Limits) -> Self {
        Self {
            limits,
            channels: BTreeMap::new(),
            by_sid: BTreeMap::new(),
            sids: SctpSidAllocator::new(max_streams),
            role: None,
            connected: false,
            next_id: 0,
            sendable: BTreeSet::new(),
            virtual_time: 0,
            watched: BTreeSet::new(),
            closing: BTreeSet::new(),
            resets: 0,
            readable: BTreeSet::new(),
            last_read: 0,
            orphans: BTreeMap::new(),
            orphan_bytes: 0,
            events: VecDeque::new(),
            undrained: 0,
            backlog: 0,
            ignored: 0,
            room: false,
        }
    }

    /// The DTLS role is known, and with it which identifiers are ours: channels that wait get theirs, in the order
    /// of their creation (W3C webrtc-pc section 4.4.1.4, the role of the SCTP transport).
    pub(crate) fn set_role(&mut self, role: DtlsRole) {
        self.role = Some(role);
        for id in self.channels.keys().copied().collect::<Vec<_>>() {
            let Some(channel) = self.channels.get_mut(&id).filter(|channel| channel.sid.is_none()) else {
                continue;
            };
            let Some(sid) = self.sids.allocate(role) else {
                let limit = self.sids.limit();
                self.fail(id, DataChannelError::NoStream { limit });
                continue;
            };
            (channel.sid, channel.init.id) = (Some(sid), Some(sid));
            self.by_sid.insert(sid, id);
        }
    }

    pub(crate) fn role(&self) -> Option<DtlsRole> {
        self.role
    }

    pub(crate) fn channel(&self, id: DataChannelId) -> Option<&SctpDataChannel> {
        self.channels.get(&id)
    }

    pub(crate) fn channel_mut(&mut self, id: DataChannelId) -> Option<&mut SctpDataChannel> {
        self.channels.get_mut(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = DataChannelId> + '_ {
        self.channels.keys().copied()
    }

    /// Streams in each direction.
    pub(crate) fn max_streams(&self) -> u16 {
        self.sids.limit()
    }

    fn insert(&mut self, channel: SctpDataChannel) -> DataChannelId {
        let id = DataChannelId(self.next_id);
        self.next_id += 1;
        if let Some(sid) = channel.sid {
            self.by_sid.insert(sid, id);
        }
        self.channels.insert(id, channel);
        id
    }

    // Creating.

    pub(crate) fn create<A: SctpAssociation>(
        &mut self,
        association: Option<&mut A>,
        mut init: DataChannelInit,
    ) -> Result<DataChannelId, DataChannelOpenError> {
        init.validate(self.sids.limit())?;
        if self.channels.len() >= usize::from(self.sids.limit()) {
            return Err(DataChannelOpenError::NoIdLeft);
        }
        let sid = match (init.id, self.role) {
            (Some(sid), _) => {
                if !self.sids.reserve(sid) {
                    return Err(DataChannelOpenError::IdInUse(sid));
                }
                Some(sid)
            }
            (None, Some(role)) => Some(self.sids.allocate(role).ok_or(DataChannelOpenError::NoIdLeft)?),
            (None, None) => None,
        };
        init.id = sid;
        let id = self.insert(SctpDataChannel::new(init));
        if self.connected
            && let Some(association) = association
        {
            self.open(association, id);
        }
        Ok(id)
    }

    pub(crate) fn on_connected<A: SctpAssociation>(&mut self, association: &mut A, max_streams: u16) {
        self.connected = true;
        self.sids.set_limit(max_streams);
        for id in self.channels.keys().copied().collect::<Vec<_>>() {
            self.open(association, id);
        }
    }

    /// The association stands: gives the channel its stream, and tells the peer unless it knows.
    fn open<A: SctpAssociation>(&mut self, association: &mut A, id: DataChannelId) {
        let limit = self.sids.limit();
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.state != DataChannelState::Connecting {
            return;
        }
        let sid = channel.sid.or_else(|| self.sids.allocate(self.role?)).filter(|sid| *sid < limit);
        let Some(sid) = sid else {
            return self.fail(id, DataChannelError::NoStream { limit });
        };
        (channel.sid, channel.init.id) = (Some(sid), Some(sid));
        self.by_sid.insert(sid, id);
        let message = channel.init.open_message();
        let (len, most) = (message.encoded_len(), self.limits.send_message);
        if !channel.init.negotiated && len > most {
            return self.fail(id, DataChannelError::OpenTooLarge { len, limit: most });
        }
        if let Err(error) = association.open_stream(sid) {
            return self.fail(id, DataChannelError::Stream(error.to_string()));
        }
        channel.state = DataChannelState::Open;
        if !channel.init.negotiated {
            channel.ack_pending = true;
            self.enqueue_dcep(id, &DcepMessage::Open(message));
        }
        self.events.push_back(DataChannelEvent::Open { id });
        self.adopt_orphans(id, sid);
    }

    fn enqueue_dcep(&mut self, id: DataChannelId, message: &DcepMessage) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let payload = message.write();
        channel.enqueue(QueuedMessage { ppid: ppid::DCEP, payload, counts: 0, deadline: None });
        self.schedule(id);
    }

    // Sending.

    pub(crate) fn send<A: SctpAssociation>(
        &mut self,
        now: Instant,
        association: Option<&mut A>,
        id: DataChannelId,
        kind: MessageKind,
        data: Bytes,
    ) -> Result<(), DataChannelSendError> {
        let (limits, len) = (self.limits, data.len());
        let channel = self.channels.get_mut(&id).ok_or(DataChannelSendError::NoSuchChannel)?;
        if channel.state != DataChannelState::Open {
            return Err(DataChannelSendError::NotOpen(channel.state));
        }
        if len > limits.send_message {
            return Err(DataChannelSendError::TooLarge { len, limit: limits.send_message });
        }
        if let (Some(association), Some(sid)) = (association, channel.sid)
            && channel.buffered + len > limits.send_queue
        {
            channel.buffered = channel.queued + association.unsent_bytes(sid);
        }
        let buffered = channel.buffered;
        if buffered + len > limits.send_queue || channel.queue.len() >= MAX_QUEUED_MESSAGES {
            channel.was_full = true;
            return Err(DataChannelSendError::QueueFull { len, buffered, limit: limits.send_queue });
        }
        let deadline = channel.deadline(now);
        let (ppid, payload) = kind.to_wire(data);
        channel.enqueue(QueuedMessage { ppid, payload, counts: len, deadline });
        channel.stats.messages_sent += 1;
        channel.stats.bytes_sent += len as u64;
        self.watched.insert(id);
        self.schedule(id);
        Ok(())
    }

    /// Gives a channel whose first message was queued its place. One that had nothing to send gains nothing by it.
    fn schedule(&mut self, id: DataChannelId) {
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.queue.len() == 1
        {
            channel.virtual_time = channel.virtual_time.max(self.virtual_time);
            self.sendable.insert((channel.virtual_time, id));
        }
    }

    /// Gives the association messages while it has little, the channels sharing what there is by their priorities
    /// (RFC 8831 section 6.4); then asks for the resets that are due. Returns whether it gave any.
    pub(crate) fn feed<A: SctpAssociation>(&mut self, now: Instant, association: &mut A) -> bool {
        let mut fed = false;
        if !self.connected {
            return fed;
        }
        while association.total_unsent() < FEED
            && let Some((virtual_time, id)) = self.sendable.pop_first()
        {
            let Some(channel) = self.channels.get_mut(&id) else { continue };
            let Some(sid) = channel.sid else { continue };
            let Some((message, options)) = channel.dequeue(now) else { continue };
            self.virtual_time = self.virtual_time.max(virtual_time);
            channel.virtual_time = virtual_time.saturating_add(channel.cost(message.payload.len()));
            if !channel.queue.is_empty() {
                self.sendable.insert((channel.virtual_time, id));
            }
            match association.send(sid, message.ppid, message.payload, &options) {
                Ok(()) => fed = true,
                Err(error) => self.fail(id, DataChannelError::Stream(error.to_string())),
            }
        }
        self.ask_for_resets(association) || fed
    }

    /// Compares `buffered_amount` with the last reading; K27: an event only on falling from above.
    pub(crate) fn update_buffered<A: SctpAssociation>(&mut self, association: &mut A) {
        for id in self.watched.iter().copied().collect::<Vec<_>>() {
            let Some(channel) = self.channels.get_mut(&id) else {
                self.watched.remove(&id);
                continue;
            };
            let before = channel.buffered;
            let unsent = channel.sid.map_or(0, |sid| association.unsent_bytes(sid));
            channel.buffered = channel.queued + unsent;
            if before > channel.low_threshold && channel.buffered <= channel.low_threshold {
                self.events.push_back(DataChannelEvent::BufferedAmountLow { id });
            }
            if channel.was_full && channel.buffered <= self.limits.send_queue / 2 {
                channel.was_full = false;
                self.room = true;
            }
            if channel.buffered == 0 {
                self.watched.remove(&id);
            }
        }
    }

    // Receiving.

    pub(crate) fn on_readable(&mut self, sid: u16) {
        self.readable.insert(sid);
    }

    /// Reads while the application keeps up: what is not read closes the peer's window.
    pub(crate) fn read<A: SctpAssociation>(&mut self, association: &mut A) {
        while self.held() < self.limits.undrained
            && let Some(sid) = self.next_readable()
        {
            self.last_read = sid;
            match association.read(sid) {
                Some(message) => self.on_message(association, sid, message),
                None => {
                    self.readable.remove(&sid);
                }
            }
        }
        self.update_admission(association);
    }

    /// What was read and is not taken yet, here or above.
    pub(crate) fn held(&self) -> usize {
        self.undrained + self.backlog
    }

    /// What was handed out and not taken: together with what waits here it is bounded.
    pub(crate) fn set_backlog(&mut self, bytes: usize) {
        self.backlog = bytes;
    }

    /// The window holds back what is not read. What a peer sends and then resets the stream of is read whatever
    /// waits, or the identifier would never be free; so that it cannot send without end that way nothing is
    /// accepted once a whole window more is held.
    fn update_admission<A: SctpAssociation>(&self, association: &mut A) {
        association.set_accepting_data(self.held() < self.limits.undrained + self.limits.unread_at_reset);
    }

    fn next_readable(&self) -> Option<u16> {
        let after = (std::ops::Bound::Excluded(self.last_read), std::ops::Bound::Unbounded);
        let allowed = |sid: &&u16| {
            !self.by_sid.get(sid).and_then(|id| self.channels.get(id)).is_some_and(|channel| channel.paused)
        };
        self.readable
            .range(after)
            .find(allowed)
            .or_else(|| self.readable.range(..=self.last_read).find(allowed))
            .copied()
    }

    fn on_message<A: SctpAssociation>(&mut self, association: &mut A, sid: u16, message: AssociationMessage) {
        let id = self.by_sid.get(&sid).copied();
        match (id, message.ppid) {
            (Some(id), ppid::DCEP) => self.on_dcep(id, &message.payload),
            (None, ppid::DCEP) => self.on_first_dcep(association, sid, &message.payload),
            (Some(id), _) => self.on_data(association, id, message),
            (None, _) => self.on_orphan(association, sid, message),
        }
    }

    fn on_dcep(&mut self, id: DataChannelId, payload: &[u8]) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        match DcepMessage::parse(payload) {
            Ok(DcepMessage::Ack) => channel.ack_pending = false,
            // The identifier is taken here, by a negotiated channel or because both sides took it at once.
            Ok(DcepMessage::Open(_)) => self.ignored += 1,
            Err(error) => {
                self.ignored += 1;
                tracing::debug!(target: "peerstack::sctp", %id, %error, "DCEP message ignored");
            }
        }
    }

    fn on_first_dcep<A: SctpAssociation>(&mut self, association: &mut A, sid: u16, payload: &[u8]) {
        let open = match DcepMessage::parse(payload) {
            Ok(DcepMessage::Open(open))
                if self.peer_name_bytes() + open.label.len() + open.protocol.len() > MAX_PEER_NAME_BYTES =>
            {
                self.ignored += 1;
                tracing::debug!(target: "peerstack::sctp", sid, "the names of the peer's channels are too long");
                let _ = association.reset_stream(sid);
                return;
            }
            Ok(DcepMessage::Open(open)) if self.sids.reserve(sid) => open,
            other => {
                self.ignored += 1;
                tracing::debug!(target: "peerstack::sctp", sid, ?other, "no channel opened");
                if other.is_err() {
                    let _ = association.reset_stream(sid);
                }
                return;
            }
        };
        let mut channel = SctpDataChannel::new(DataChannelInit::from_open(open, sid));
        (channel.state, channel.of_peer) = (DataChannelState::Open, true);
        let init = channel.init.clone();
        let id = self.insert(channel);
        self.enqueue_dcep(id, &DcepMessage::Ack);
        self.events.push_back(DataChannelEvent::Incoming { id, init });
        self.events.push_back(DataChannelEvent::Open { id });
        self.adopt_orphans(id, sid);
    }

    fn on_data<A: SctpAssociation>(
        &mut self,
        association: &mut A,
        id: DataChannelId,
        message: AssociationMessage,
    ) {
        let limit = self.limits.receive_message;
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.ack_pending = false;
        if channel.state != DataChannelState::Open {
            return;
        }
        let held = channel.partial.as_ref().map_or(0, BytesMut::len);
        if held > 0 && held + message.payload.len() > limit {
            self.events.push_back(DataChannelEvent::Error {
                id,
                error: DataChannelError::MessageTooLarge { limit },
            });
            channel.partial = None;
            return self.close(association, id);
        }
        if matches!(message.ppid, ppid::BINARY_PARTIAL | ppid::STRING_PARTIAL) {
            channel.partial.get_or_insert_default().extend_from_slice(&message.payload);
            return;
        }
        match MessageKind::from_wire(message.ppid, message.payload) {
            Some((kind, data)) => {
                let data = match channel.partial.take() {
                    Some(mut whole) => {
                        whole.extend_from_slice(&data);
                        whole.freeze()
                    }
                    None => data,
                };
                self.deliver(id, kind, data);
            }
            None => self.ignored += 1,
        }
    }

    fn deliver(&mut self, id: DataChannelId, kind: MessageKind, data: Bytes) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.stats.messages_received += 1;
            channel.stats.bytes_received += data.len() as u64;
            self.undrained += data.len() + EVENT_COST;
            self.events.push_back(DataChannelEvent::Message { id, kind, data });
        }
    }

    /// There are as many channels as streams at most, and each takes a message of the peer's.
    fn peer_name_bytes(&self) -> usize {
        let theirs = self.channels.values().filter(|channel| channel.of_peer);
        theirs.map(|channel| channel.init.label.len() + channel.init.protocol.len()).sum()
    }

    /// A message for a channel that is not there: the application may be about to create it (negotiated). Kept
    /// for a while; too much, and the peer sees its stream reset.
    fn on_orphan<A: SctpAssociation>(&mut self, association: &mut A, sid: u16, message: AssociationMessage) {
        let Some((kind, data)) = MessageKind::from_wire(message.ppid, message.payload) else {
            self.ignored += 1;
            return;
        };
        if self.orphan_bytes + data.len() + EVENT_COST > MAX_ORPHAN_BYTES {
            self.ignored += 1;
            self.forget_orphans(sid);
            let _ = association.reset_stream(sid);
            return;
        }
        self.orphan_bytes += data.len() + EVENT_COST;
        self.orphans.entry(sid).or_default().push((kind, data));
    }

    fn forget_orphans(&mut self, sid: u16) -> Vec<(MessageKind, Bytes)> {
        let messages = self.orphans.remove(&sid).unwrap_or_default();
        let bytes: usize = messages.iter().map(|(_, data)| data.len() + EVENT_COST).sum();
        self.orphan_bytes = self.orphan_bytes.saturating_sub(bytes);
        messages
    }

    fn adopt_orphans(&mut self, id: DataChannelId, sid: u16) {
        for (kind, data) in self.forget_orphans(sid) {
            self.deliver(id, kind, data);
        }
    }

    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn poll_event<A: SctpAssociation>(
        &mut self,
        association: Option<&mut A>,
    ) -> Option<DataChannelEvent> {
        if self.events.is_empty()
            && let Some(association) = association
        {
            self.read(association);
        }
        let event = self.events.pop_front();
        if let Some(DataChannelEvent::Message { data, .. }) = &event {
            self.undrained = self.undrained.saturating_sub(data.len() + EVENT_COST);
        }
        event
    }

    /// Whether messages could be read that were left because too much waited.
    pub(crate) fn wants_read(&self) -> bool {
        self.held() < self.limits.undrained && self.next_readable().is_some()
    }

    // Closing.

    pub(crate) fn close<A: SctpAssociation>(&mut self, association: &mut A, id: DataChannelId) {
        if !self.connected {
            return self.close_unconnected(id);
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.state == DataChannelState::Open {
            channel.state = DataChannelState::Closing;
            channel.partial = None;
            self.closing.insert(id);
            self.ask_for_resets(association);
        }
    }

    /// K05: a channel that never had a stream closes at once.
    pub(crate) fn close_unconnected(&mut self, id: DataChannelId) {
        if self.channels.contains_key(&id) {
            self.end(id, true);
        }
    }

    /// RFC 8831 section 6.7: what was sent goes out first, then the outgoing stream is reset.
    fn ask_for_resets<A: SctpAssociation>(&mut self, association: &mut A) -> bool {
        let mut asked = false;
        for id in self.closing.iter().copied().collect::<Vec<_>>() {
            if self.resets >= MAX_RESETS {
                break;
            }
            let Some(channel) = self.channels.get_mut(&id) else {
                self.closing.remove(&id);
                continue;
            };
            let Some(sid) = channel.sid else { continue };
            if !channel.queue.is_empty() {
                continue;
            }
            self.closing.remove(&id);
            match association.reset_stream(sid) {
                Ok(()) => {
                    channel.reset_sent = true;
                    self.resets += 1;
                    asked = true;
                }
                Err(error) => self.fail(id, DataChannelError::Stream(error.to_string())),
            }
        }
        asked
    }

    /// The peer closed: what it sent before is handed out, whatever else waits; ours is no use any more.
    pub(crate) fn on_incoming_reset<A: SctpAssociation>(&mut self, association: &mut A, sid: u16) {
        // No more than a window can come behind the point where nothing is accepted any more.
        let hard_limit = self.limits.undrained + 2 * self.limits.unread_at_reset;
        let mut lost = 0;
        while let Some(message) = association.read(sid) {
            if self.held() < hard_limit {
                self.on_message(association, sid, message);
            } else {
                lost += message.payload.len();
            }
        }
        self.readable.remove(&sid);
        self.update_admission(association);
        let Some(&id) = self.by_sid.get(&sid) else {
            self.forget_orphans(sid);
            return;
        };
        if lost > 0 {
            self.events.push_back(DataChannelEvent::Error {
                id,
                error: DataChannelError::UnreadLost { bytes: lost },
            });
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        channel.forget_queue();
        self.closing.remove(&id);
        if channel.state == DataChannelState::Open {
            channel.state = DataChannelState::Closing;
            self.events.push_back(DataChannelEvent::Closing { id });
        }
    }

    pub(crate) fn on_reset_complete(&mut self, sid: u16) {
        if let Some(&id) = self.by_sid.get(&sid)
            && self.channels.get(&id).is_some_and(|channel| channel.state == DataChannelState::Closing)
        {
            self.end(id, true);
        }
    }

    pub(crate) fn on_reset_failed(&mut self, sid: u16) {
        if let Some(&id) = self.by_sid.get(&sid) {
            self.events.push_back(DataChannelEvent::Error { id, error: DataChannelError::ResetFailed });
            self.end(id, false);
        }
    }

    fn fail(&mut self, id: DataChannelId, error: DataChannelError) {
        // An identifier the association refuses is not handed out again.
        let keep = matches!(error, DataChannelError::Stream(_));
        self.events.push_back(DataChannelEvent::Error { id, error });
        self.end(id, !keep);
    }

    fn end(&mut self, id: DataChannelId, release: bool) {
        let Some(channel) = self.channels.remove(&id) else { return };
        if let Some(sid) = channel.sid {
            self.by_sid.remove(&sid);
            if release {
                self.sids.release(sid);
            }
        }
        if channel.reset_sent {
            self.resets = self.resets.saturating_sub(1);
        }
        self.closing.remove(&id);
        self.watched.remove(&id);
        self.events.push_back(DataChannelEvent::Closed { id });
    }

    /// The association is gone: every channel ends, with the reason unless it was our wish.
    pub(crate) fn on_association_closed(&mut self, reason: &SctpCloseReason) {
        self.connected = false;
        self.sendable.clear();
        self.readable.clear();
        self.orphans.clear();
        self.orphan_bytes = 0;
        for id in self.channels.keys().copied().collect::<Vec<_>>() {
            if *reason != SctpCloseReason::Local {
                let error = DataChannelError::AssociationClosed(reason.clone());
                self.events.push_back(DataChannelEvent::Error { id, error });
            }
            self.end(id, true);
        }
    }
}
