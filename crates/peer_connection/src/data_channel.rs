//! `RTCDataChannel` (webrtc-pc section 6.2). Answers to libwebrtc's `pc/sctp_data_channel.cc`; the handle is
//! the application's, the other end is the network task's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use peerstack_base::Counter;
use tokio::sync::mpsc;

use crate::held_bytes::Held;
use crate::network_task::{ChannelKey, ConnectionCommand, NetworkHandle};
use crate::unread_gate::UnreadGate;
use crate::{RtcError, RtcErrorKind};

/// Bytes that may wait to be sent on one channel; beyond it [`DataChannel::send`] fails (libwebrtc
/// `kMaxQueuedSendDataBytes`).
pub(crate) const MAX_QUEUED_SEND_BYTES: usize = 16 << 20;

/// Bytes that may wait for the application on one channel before the peer is held back.
const MAX_UNREAD: usize = 8 << 20;

/// Bytes that a waiting message takes beside its own.
const MESSAGE_OVERHEAD: usize = 256;

/// `RTCDataChannelState` (webrtc-pc section 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum DataChannelState {
    /// Not yet open.
    #[default]
    Connecting,
    /// Messages pass.
    Open,
    /// Closing: what was sent before still goes out.
    Closing,
    /// Closed.
    Closed,
}

/// `RTCPriorityType` (webrtc-priority section 4): how much of the path a channel gets while others have something to
/// send too. Each step is twice the one before (RFC 8831 section 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
#[doc(alias = "RTCPriorityType")]
pub enum PriorityType {
    /// Below normal, 128 on the wire.
    VeryLow,
    /// Normal, 256 on the wire.
    #[default]
    Low,
    /// High, 512 on the wire.
    Medium,
    /// Extra high, 1024 on the wire.
    High,
}

impl PriorityType {
    /// The W3C string.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// The value of DATA_CHANNEL_OPEN (RFC 8832 section 5.1).
    pub(crate) fn to_wire(self) -> u16 {
        match self {
            Self::VeryLow => 128,
            Self::Low => 256,
            Self::Medium => 512,
            Self::High => 1024,
        }
    }

    /// Of what a peer says; values between count as the step below (RFC 8831 section 6.4).
    pub(crate) fn from_wire(value: u16) -> Self {
        match value {
            0..=128 => Self::VeryLow,
            129..=256 => Self::Low,
            257..=512 => Self::Medium,
            513.. => Self::High,
        }
    }
}

/// How a channel is made (`RTCDataChannelInit`, webrtc-pc section 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataChannelInit {
    /// Whether messages arrive in order. Default: yes.
    pub ordered: bool,
    /// Milliseconds after which a message is given up; not together with `max_retransmits`.
    pub max_packet_life_time: Option<u16>,
    /// Retransmissions after which a message is given up; not together with `max_packet_life_time`.
    pub max_retransmits: Option<u16>,
    /// Sub-protocol, at most 65,535 bytes.
    pub protocol: String,
    /// Both sides make the channel with the same `id`; nothing is announced.
    pub negotiated: bool,
    /// Stream id, 0 to 65,534: needed for a negotiated channel, of no meaning for others, whose id is chosen once the
    /// DTLS role is known (RFC 8832 section 6).
    pub id: Option<u16>,
    /// How much of the path it gets.
    pub priority: PriorityType,
}

impl Default for DataChannelInit {
    fn default() -> Self {
        Self {
            ordered: true,
            max_packet_life_time: None,
            max_retransmits: None,
            protocol: String::new(),
            negotiated: false,
            id: None,
            priority: PriorityType::default(),
        }
    }
}

impl DataChannelInit {
    /// W3C's checks (webrtc-pc section 6.1, createDataChannel, steps 5 to 14).
    pub(crate) fn validate(&self, label: &str) -> Result<(), RtcError> {
        if label.len() > 65_535 {
            return Err(RtcError::type_error(format!(
                "the label has {} bytes, 65535 are allowed",
                label.len()
            )));
        }
        if self.protocol.len() > 65_535 {
            let len = self.protocol.len();
            return Err(RtcError::type_error(format!("the protocol has {len} bytes, 65535 are allowed")));
        }
        if self.max_packet_life_time.is_some() && self.max_retransmits.is_some() {
            return Err(RtcError::type_error("max_packet_life_time and max_retransmits exclude each other"));
        }
        match (self.negotiated, self.id) {
            (true, None) => Err(RtcError::type_error("a negotiated channel needs an id")),
            (true, Some(65_535)) => Err(RtcError::type_error("id 65535 is reserved (RFC 8832 section 5.1)")),
            _ => Ok(()),
        }
    }
}

/// One message: a string or bytes, as the peer sent it (RFC 8831 section 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataChannelMessage {
    /// Text. What a peer sent as text but is no UTF-8 has its bad parts replaced.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl DataChannelMessage {
    /// Bytes of the message.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// What a waiting message counts for: a peer that sends nothing but empty ones is held back too.
    pub(crate) fn cost(&self) -> usize {
        self.len() + MESSAGE_OVERHEAD
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&str> for DataChannelMessage {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for DataChannelMessage {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for DataChannelMessage {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for DataChannelMessage {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

/// What happens on a channel: the events of `RTCDataChannel` (webrtc-pc section 6.2), in order, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataChannelEvent {
    /// Messages pass now.
    Open,
    /// A message came.
    Message(DataChannelMessage),
    /// `buffered_amount` fell to the low threshold.
    BufferedAmountLow,
    /// The channel broke, and why; `Closed` follows.
    Error(RtcError),
    /// The peer closes the channel.
    Closing,
    /// Closed; nothing comes after this.
    Closed,
}

/// What both ends of a channel share.
#[derive(Debug)]
pub(crate) struct DataChannelShared {
    pub(crate) key: ChannelKey,
    pub(crate) label: String,
    pub(crate) init: DataChannelInit,
    dynamic: Mutex<Dynamic>,
    buffered_amount: AtomicUsize,
    low_threshold: AtomicUsize,
    /// What the messages in the application's queue cost, see [`DataChannelMessage::cost`].
    pub(crate) unread: UnreadGate,
    /// The same of all channels of the connection.
    unread_of_all: Arc<UnreadGate>,
    /// Label and protocol, where the peer chose them.
    _names: Option<Held>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Dynamic {
    state: DataChannelState,
    id: Option<u16>,
    counters: DataChannelCounters,
}

/// Messages, and bytes in them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DataChannelCounters {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
}

impl DataChannelShared {
    pub(crate) fn new(
        key: ChannelKey,
        label: String,
        init: DataChannelInit,
        unread_of_all: Arc<UnreadGate>,
        names: Option<Held>,
    ) -> Self {
        let dynamic = Dynamic { id: init.id, ..Dynamic::default() };
        Self {
            key,
            label,
            init,
            dynamic: Mutex::new(dynamic),
            buffered_amount: AtomicUsize::new(0),
            low_threshold: AtomicUsize::new(0),
            unread: UnreadGate::new(MAX_UNREAD),
            unread_of_all,
            _names: names,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Dynamic> {
        self.dynamic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn state(&self) -> DataChannelState {
        self.lock().state
    }

    pub(crate) fn set_state(&self, state: DataChannelState) {
        self.lock().state = state;
    }

    pub(crate) fn id(&self) -> Option<u16> {
        self.lock().id
    }

    pub(crate) fn set_id(&self, id: u16) {
        self.lock().id = Some(id);
    }

    pub(crate) fn counters(&self) -> DataChannelCounters {
        self.lock().counters
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.lock().counters.received.add(bytes);
    }

    pub(crate) fn buffered_amount(&self) -> usize {
        self.buffered_amount.load(Ordering::Acquire)
    }

    /// Counts bytes as sent. Returns whether the amount crossed the low threshold from above.
    pub(crate) fn release(&self, bytes: usize) -> bool {
        let before = self.buffered_amount.fetch_sub(bytes, Ordering::AcqRel);
        let threshold = self.low_threshold.load(Ordering::Acquire);
        before > threshold && before.saturating_sub(bytes) <= threshold
    }

    /// A message of this cost goes into the application's queue.
    pub(crate) fn add_unread(&self, cost: usize) {
        self.unread.add(cost);
        self.unread_of_all.add(cost);
    }

    /// It was taken out of it. Whether the network task is to be told.
    pub(crate) fn take_unread(&self, cost: usize) -> bool {
        let (this, all) = (self.unread.take(cost), self.unread_of_all.take(cost));
        this || all
    }
}

/// A data channel (`RTCDataChannel`, webrtc-pc section 6.2). Cheap to clone; when the last clone is dropped the channel
/// is closed.
#[derive(Debug, Clone)]
#[doc(alias = "RTCDataChannel")]
pub struct DataChannel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<DataChannelShared>,
    network: NetworkHandle,
    events: tokio::sync::Mutex<mpsc::UnboundedReceiver<DataChannelEvent>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody will read what waits: it counts no longer. What comes from here on is refused to its sender.
        let events = self.events.get_mut();
        events.close();
        let mut resume = false;
        while let Ok(event) = events.try_recv() {
            if let DataChannelEvent::Message(message) = event {
                resume |= self.shared.take_unread(message.cost());
            }
        }
        if resume {
            self.network.send(ConnectionCommand::ResumeDataChannel(self.shared.key));
        }
        if self.shared.state() != DataChannelState::Closed {
            self.network.send(ConnectionCommand::CloseDataChannel(self.shared.key));
        }
    }
}

impl DataChannel {
    pub(crate) fn new(
        shared: Arc<DataChannelShared>,
        network: NetworkHandle,
        events: mpsc::UnboundedReceiver<DataChannelEvent>,
    ) -> Self {
        Self { inner: Arc::new(Inner { shared, network, events: tokio::sync::Mutex::new(events) }) }
    }

    /// The label.
    pub fn label(&self) -> &str {
        &self.inner.shared.label
    }

    /// The sub-protocol.
    pub fn protocol(&self) -> &str {
        &self.inner.shared.init.protocol
    }

    /// Whether messages arrive in order.
    pub fn ordered(&self) -> bool {
        self.inner.shared.init.ordered
    }

    /// Milliseconds after which a message is given up.
    pub fn max_packet_life_time(&self) -> Option<u16> {
        self.inner.shared.init.max_packet_life_time
    }

    /// Retransmissions after which a message is given up.
    pub fn max_retransmits(&self) -> Option<u16> {
        self.inner.shared.init.max_retransmits
    }

    /// Whether both sides made the channel by agreement.
    pub fn negotiated(&self) -> bool {
        self.inner.shared.init.negotiated
    }

    /// How much of the path it gets.
    pub fn priority(&self) -> PriorityType {
        self.inner.shared.init.priority
    }

    /// The stream id: given at once if the channel is negotiated or the DTLS role is known, else with the answer that
    /// tells the role.
    pub fn id(&self) -> Option<u16> {
        self.inner.shared.id()
    }

    /// The state.
    pub fn ready_state(&self) -> DataChannelState {
        self.inner.shared.state()
    }

    /// Bytes handed to [`send`](Self::send) that did not go out yet.
    pub fn buffered_amount(&self) -> usize {
        self.inner.shared.buffered_amount()
    }

    /// The amount at which [`DataChannelEvent::BufferedAmountLow`] is told, in bytes; 0 at first.
    pub fn buffered_amount_low_threshold(&self) -> usize {
        self.inner.shared.low_threshold.load(Ordering::Acquire)
    }

    /// Sets the amount at which [`DataChannelEvent::BufferedAmountLow`] is told, in bytes.
    pub fn set_buffered_amount_low_threshold(&self, bytes: usize) {
        self.inner.shared.low_threshold.store(bytes, Ordering::Release);
    }

    /// Sends one message.
    ///
    /// # Errors
    /// `InvalidStateError` unless the channel is open, `TypeError` for a message larger than the peer takes,
    /// `OperationError` when 16 MiB wait already: go on at [`DataChannelEvent::BufferedAmountLow`]. In each
    /// case nothing was sent.
    pub fn send(&self, message: impl Into<DataChannelMessage>) -> Result<(), RtcError> {
        let message = message.into();
        let (shared, len) = (&self.inner.shared, message.len());
        if shared.state() != DataChannelState::Open {
            let state = shared.state();
            let label = &shared.label;
            return Err(RtcError::invalid_state(format!(
                "the data channel {label:?} is {state:?}, not Open"
            )));
        }
        let limit = self.inner.network.max_message_size();
        if len > limit {
            return Err(RtcError::type_error(format!("the message has {len} bytes, the peer takes {limit}")));
        }
        let waiting = shared.buffered_amount.fetch_add(len, Ordering::AcqRel);
        if waiting + len > MAX_QUEUED_SEND_BYTES {
            shared.buffered_amount.fetch_sub(len, Ordering::AcqRel);
            let text = format!("{waiting} bytes wait already, {MAX_QUEUED_SEND_BYTES} may");
            return Err(RtcError::new(RtcErrorKind::OperationError, text));
        }
        shared.lock().counters.sent.add(len);
        self.inner.network.send(ConnectionCommand::SendData { channel: shared.key, message });
        Ok(())
    }

    /// Sends a text message; see [`send`](Self::send), which webrtc-pc section 6.2 overloads.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_text(&self, text: impl Into<String>) -> Result<(), RtcError> {
        self.send(DataChannelMessage::Text(text.into()))
    }

    /// The next event (webrtc-pc section 6.2, the handlers); `None` once the channel is closed and all was read.
    /// Messages that are not taken hold the peer back once 8 MiB wait on the channel, or 32 MiB on all channels of
    /// the connection; none is dropped.
    pub async fn next_event(&self) -> Option<DataChannelEvent> {
        let event = self.inner.events.lock().await.recv().await;
        if let Some(DataChannelEvent::Message(message)) = &event {
            let shared = &self.inner.shared;
            if shared.take_unread(message.cost()) {
                self.inner.network.send(ConnectionCommand::ResumeDataChannel(shared.key));
            }
        }
        event
    }

    /// Closes the channel: what was sent before still goes out. Does nothing on a closed one.
    pub fn close(&self) {
        let shared = &self.inner.shared;
        if matches!(shared.state(), DataChannelState::Connecting | DataChannelState::Open) {
            shared.set_state(DataChannelState::Closing);
            self.inner.network.send(ConnectionCommand::CloseDataChannel(shared.key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8831 section 6.4.
    #[test]
    fn priorities_have_numbers() {
        use PriorityType::{High, Low, Medium, VeryLow};
        for (priority, wire) in [(VeryLow, 128), (Low, 256), (Medium, 512), (High, 1024)] {
            assert_eq!((priority.to_wire(), PriorityType::from_wire(wire)), (wire, priority));
        }
        assert_eq!([0, 129, 600, 65_535].map(PriorityType::from_wire), [VeryLow, Low, High, High]);
    }

    /// K01: what W3C's createDataChannel refuses, and what it takes at the edge.
    #[test]
    fn w3c_checks_what_a_channel_is_made_from() {
        let ok = DataChannelInit::default();
        assert_eq!(ok.validate("label"), Ok(()));
        let both = DataChannelInit { max_packet_life_time: Some(1), max_retransmits: Some(1), ..ok.clone() };
        let no_id = DataChannelInit { negotiated: true, ..ok.clone() };
        let reserved = DataChannelInit { negotiated: true, id: Some(65_535), ..ok.clone() };
        // Of a channel that is not negotiated the id says nothing.
        assert_eq!(DataChannelInit { id: Some(65_535), ..ok.clone() }.validate(""), Ok(()));
        let most = DataChannelInit {
            protocol: "p".repeat(65_535),
            negotiated: true,
            id: Some(65_534),
            ..ok.clone()
        };
        assert_eq!(most.validate(&"l".repeat(65_535)), Ok(()));
        let long = DataChannelInit { protocol: "p".repeat(65_536), ..ok.clone() };
        for bad in [both, no_id, reserved, long] {
            assert_eq!(bad.validate("label").map_err(|error| error.kind), Err(RtcErrorKind::TypeError));
        }
        assert!(ok.validate(&"l".repeat(65_536)).is_err());
    }

    #[test]
    fn the_low_threshold_is_told_only_when_crossed_from_above() {
        let all = Arc::new(UnreadGate::new(1));
        let shared =
            DataChannelShared::new(ChannelKey(1), String::new(), DataChannelInit::default(), all, None);
        shared.low_threshold.store(10, Ordering::Release);
        shared.buffered_amount.store(30, Ordering::Release);
        assert!(!shared.release(10));
        assert!(shared.release(10));
        assert!(!shared.release(10));
    }
}
