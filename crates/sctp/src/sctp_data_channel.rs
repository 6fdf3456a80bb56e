//! One data channel: its parameters, its state and what waits to be sent. Owned by the `DataChannelController`
//! of its transport, on the network task. RFC 8831, RFC 8832, W3C `RTCDataChannel`; answers to libwebrtc's
//! `pc/sctp_data_channel.cc`.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::dcep::{DataChannelOpen, DcepError, Reliability};
use crate::sctp_association::{SctpCloseReason, SendOptions};

/// Names a channel of one transport; stream identifiers are given later and used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataChannelId(pub(crate) u64);

impl fmt::Display for DataChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "data channel {}", self.0)
    }
}

/// W3C `RTCDataChannelState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DataChannelState {
    /// The association does not stand yet.
    #[default]
    Connecting,
    /// Messages may be sent.
    Open,
    /// Being closed by us or by the peer; what was sent before still goes out.
    Closing,
    /// Gone.
    Closed,
}

/// How to create a channel (W3C `RTCDataChannelInit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataChannelInit {
    /// Label; not unique.
    pub label: String,
    /// Subprotocol, or nothing.
    pub protocol: String,
    /// Whether messages are delivered in order.
    pub ordered: bool,
    /// Give a message up after so many retransmissions; not together with `max_packet_life_time`.
    pub max_retransmits: Option<u16>,
    /// Give a message up so many milliseconds after it was sent; not together with `max_retransmits`.
    pub max_packet_life_time: Option<u16>,
    /// Both sides create the channel with the same `id`, and nothing is sent for it.
    pub negotiated: bool,
    /// The stream identifier; needed if negotiated, else chosen when the association stands.
    pub id: Option<u16>,
    /// Priority as DCEP carries it (RFC 8831 section 6.4); 256 is normal.
    pub priority: u16,
}

impl Default for DataChannelInit {
    fn default() -> Self {
        Self {
            label: String::new(),
            protocol: String::new(),
            ordered: true,
            max_retransmits: None,
            max_packet_life_time: None,
            negotiated: false,
            id: None,
            priority: 256,
        }
    }
}

impl DataChannelInit {
    /// A reliable, ordered channel with this label.
    pub fn labelled(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    fn reliability(&self) -> Reliability {
        match (self.max_retransmits, self.max_packet_life_time) {
            (Some(count), _) => Reliability::MaxRetransmits(count),
            (None, Some(millis)) => Reliability::MaxPacketLifeTime(millis),
            (None, None) => Reliability::Reliable,
        }
    }

    pub(crate) fn open_message(&self) -> DataChannelOpen {
        DataChannelOpen {
            label: self.label.clone(),
            protocol: self.protocol.clone(),
            ordered: self.ordered,
            reliability: self.reliability(),
            priority: self.priority,
        }
    }

    pub(crate) fn from_open(open: DataChannelOpen, sid: u16) -> Self {
        let (max_retransmits, max_packet_life_time) = match open.reliability {
            Reliability::Reliable => (None, None),
            Reliability::MaxRetransmits(count) => (Some(count), None),
            Reliability::MaxPacketLifeTime(millis) => (None, Some(millis)),
        };
        Self {
            label: open.label,
            protocol: open.protocol,
            ordered: open.ordered,
            max_retransmits,
            max_packet_life_time,
            negotiated: false,
            id: Some(sid),
            priority: open.priority,
        }
    }

    /// W3C `createDataChannel`, steps 10 to 18.
    pub(crate) fn validate(&self, limit: u16) -> Result<(), DataChannelOpenError> {
        let longest = usize::from(u16::MAX);
        if self.label.len() > longest {
            return Err(DataChannelOpenError::LabelTooLong(self.label.len()));
        }
        if self.protocol.len() > longest {
            return Err(DataChannelOpenError::ProtocolTooLong(self.protocol.len()));
        }
        if self.max_retransmits.is_some() && self.max_packet_life_time.is_some() {
            return Err(DataChannelOpenError::BothReliabilities);
        }
        match self.id {
            None if self.negotiated => Err(DataChannelOpenError::NegotiatedWithoutId),
            Some(id) if id >= limit => Err(DataChannelOpenError::IdOutOfRange { id, limit }),
            _ => Ok(()),
        }
    }
}

/// Why a channel was not created. Nothing was changed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataChannelOpenError {
    /// W3C `TypeError`.
    #[error("a label of {0} bytes is longer than 65535")]
    LabelTooLong(usize),
    /// W3C `TypeError`.
    #[error("a protocol of {0} bytes is longer than 65535")]
    ProtocolTooLong(usize),
    /// W3C `TypeError`.
    #[error("maxRetransmits and maxPacketLifeTime exclude each other")]
    BothReliabilities,
    /// W3C `TypeError`.
    #[error("a negotiated channel needs an id")]
    NegotiatedWithoutId,
    /// W3C `OperationError`.
    #[error("id {id} is not below {limit}")]
    IdOutOfRange {
        /// What was asked for.
        id: u16,
        /// Identifiers are below.
        limit: u16,
    },
    /// W3C `OperationError`.
    #[error("id {0} is in use")]
    IdInUse(u16),
    /// W3C `OperationError`.
    #[error("no stream identifier is free")]
    NoIdLeft,
    /// W3C `InvalidStateError`.
    #[error("the SCTP transport is closed")]
    TransportClosed,
}

/// Why a message was not taken. Nothing was changed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataChannelSendError {
    /// There is no such channel, or no longer: W3C `InvalidStateError`.
    #[error("there is no such channel")]
    NoSuchChannel,
    /// W3C `InvalidStateError`.
    #[error("the channel is not open but {0:?}")]
    NotOpen(DataChannelState),
    /// W3C `TypeError`.
    #[error("a message of {len} bytes is larger than the peer's limit of {limit}")]
    TooLarge {
        /// Its bytes.
        len: usize,
        /// The most that can be sent ([`max_message_size`](crate::SctpTransport::max_message_size)).
        limit: usize,
    },
    /// W3C `OperationError`: wait for [`BufferedAmountLow`](DataChannelEvent::BufferedAmountLow).
    #[error("{buffered} bytes wait already, and {len} more would exceed the limit of {limit}")]
    QueueFull {
        /// Its bytes.
        len: usize,
        /// What waits.
        buffered: usize,
        /// What may wait.
        limit: usize,
    },
}

/// What went wrong with a channel (W3C `RTCErrorEvent` on `RTCDataChannel`).
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataChannelError {
    /// The peer takes no message as large as the DATA_CHANNEL_OPEN.
    #[error("DATA_CHANNEL_OPEN of {len} bytes is larger than the peer's limit of {limit}")]
    OpenTooLarge {
        /// Bytes of the message.
        len: usize,
        /// The peer's limit.
        limit: usize,
    },
    /// The association has no stream for the channel: the peer offered fewer, or all are in use.
    #[error("there is no stream for the channel; {limit} were agreed on")]
    NoStream {
        /// Streams that were agreed on.
        limit: u16,
    },
    /// The association refused the stream.
    #[error("the stream cannot be used: {0}")]
    Stream(String),
    /// The peer refused or did not answer the stream's reset.
    #[error("the peer did not reset the stream")]
    ResetFailed,
    /// A message in parts (RFC 8831 section 6.6, deprecated) is larger than was agreed.
    #[error("the peer sent a message larger than the limit of {limit} bytes")]
    MessageTooLarge {
        /// What we take.
        limit: usize,
    },
    /// The peer closed the channel before the application had read all; the rest is lost.
    #[error("{bytes} bytes that were not read in time are lost, the peer closed the channel")]
    UnreadLost {
        /// Bytes lost.
        bytes: usize,
    },
    /// A DCEP message on the channel's stream is none.
    #[error("malformed DCEP message: {0}")]
    Dcep(#[from] DcepError),
    /// The association ended.
    #[error("the SCTP association ended: {0}")]
    AssociationClosed(SctpCloseReason),
}

/// What a message is (RFC 8831 section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text; what the peer sent is not checked.
    Text,
    /// Bytes.
    Binary,
}

/// Payload protocol identifiers (RFC 8831 section 8).
pub(crate) mod ppid {
    pub(crate) const DCEP: u32 = 50;
    pub(crate) const STRING: u32 = 51;
    pub(crate) const BINARY_PARTIAL: u32 = 52;
    pub(crate) const BINARY: u32 = 53;
    pub(crate) const STRING_PARTIAL: u32 = 54;
    pub(crate) const STRING_EMPTY: u32 = 56;
    pub(crate) const BINARY_EMPTY: u32 = 57;
}

impl MessageKind {
    /// SCTP carries no message of no bytes: an empty one has a PPID of its own and one byte that does not
    /// count (RFC 8831 section 6.6).
    pub(crate) fn to_wire(self, payload: Bytes) -> (u32, Bytes) {
        match (self, payload.is_empty()) {
            (Self::Text, false) => (ppid::STRING, payload),
            (Self::Binary, false) => (ppid::BINARY, payload),
            (Self::Text, true) => (ppid::STRING_EMPTY, Bytes::from_static(&[0])),
            (Self::Binary, true) => (ppid::BINARY_EMPTY, Bytes::from_static(&[0])),
        }
    }

    /// The reverse, for whole messages.
    pub(crate) fn from_wire(ppid: u32, payload: Bytes) -> Option<(Self, Bytes)> {
        match ppid {
            ppid::STRING => Some((Self::Text, payload)),
            ppid::BINARY => Some((Self::Binary, payload)),
            ppid::STRING_EMPTY => Some((Self::Text, Bytes::new())),
            ppid::BINARY_EMPTY => Some((Self::Binary, Bytes::new())),
            _ => None,
        }
    }
}

/// What the channels of a transport tell the application, in order.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataChannelEvent {
    /// The peer opened a channel (W3C `datachannel`); `Open` follows.
    Incoming {
        /// Its name.
        id: DataChannelId,
        /// Its parameters; `id` holds the stream identifier.
        init: DataChannelInit,
    },
    /// Messages may be sent.
    Open {
        /// Which channel.
        id: DataChannelId,
    },
    /// A message.
    Message {
        /// Which channel.
        id: DataChannelId,
        /// Text or bytes.
        kind: MessageKind,
        /// The message.
        data: Bytes,
    },
    /// `buffered_amount` fell from above the threshold to it or below.
    BufferedAmountLow {
        /// Which channel.
        id: DataChannelId,
    },
    /// The peer is closing the channel; `Closed` follows.
    Closing {
        /// Which channel.
        id: DataChannelId,
    },
    /// Something went wrong; `Closed` follows unless the error says otherwise.
    Error {
        /// Which channel.
        id: DataChannelId,
        /// What.
        error: DataChannelError,
    },
    /// The channel is gone, nothing comes after this.
    Closed {
        /// Which channel.
        id: DataChannelId,
    },
}

impl fmt::Debug for DataChannelEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incoming { id, init } => write!(f, "Incoming({id}, {:?})", init.label),
            Self::Open { id } => write!(f, "Open({id})"),
            Self::Message { id, kind, data } => write!(f, "Message({id}, {kind:?}, {} bytes)", data.len()),
            Self::BufferedAmountLow { id } => write!(f, "BufferedAmountLow({id})"),
            Self::Closing { id } => write!(f, "Closing({id})"),
            Self::Error { id, error } => write!(f, "Error({id}, {error})"),
            Self::Closed { id } => write!(f, "Closed({id})"),
        }
    }
}

/// W3C `RTCDataChannelStats`, the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DataChannelStats {
    /// Messages taken for sending.
    pub messages_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Messages handed to the application's queue.
    pub messages_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Messages that were given up because their lifetime ended before they were first sent.
    pub messages_expired: u64,
}

/// A message that waits.
#[derive(Debug)]
pub(crate) struct QueuedMessage {
    pub(crate) ppid: u32,
    pub(crate) payload: Bytes,
    /// What it counts in `buffered_amount`.
    pub(crate) counts: usize,
    /// W3C counts the lifetime from `send`.
    pub(crate) deadline: Option<Instant>,
}

/// What a message takes of a channel's share beside its bytes.
const MESSAGE_COST: usize = 32;

/// A channel.
pub(crate) struct SctpDataChannel {
    pub(crate) init: DataChannelInit,
    pub(crate) sid: Option<u16>,
    pub(crate) state: DataChannelState,
    /// The peer opened it.
    pub(crate) of_peer: bool,
    /// DATA_CHANNEL_OPEN is out and neither ACK nor data came (RFC 8832 section 6): all is sent in order.
    pub(crate) ack_pending: bool,
    pub(crate) queue: VecDeque<QueuedMessage>,
    /// Bytes of `queue` that count.
    pub(crate) queued: usize,
    /// The last reading of `buffered_amount`.
    pub(crate) buffered: usize,
    pub(crate) low_threshold: usize,
    /// A message was refused for want of room.
    pub(crate) was_full: bool,
    pub(crate) paused: bool,
    /// Parts of a message in the deprecated form.
    pub(crate) partial: Option<BytesMut>,
    pub(crate) reset_sent: bool,
    /// Grows with each byte sent, the slower the higher the priority: who has the smallest is next. (Weighted fair
    /// queueing; libwebrtc's `net/dcsctp/tx/stream_scheduler.h` keeps the same clock.)
    pub(crate) virtual_time: u64,
    pub(crate) stats: DataChannelStats,
}

impl SctpDataChannel {
    pub(crate) fn new(init: DataChannelInit) -> Self {
        Self {
            sid: init.id,
            init,
            state: DataChannelState::Connecting,
            of_peer: false,
            ack_pending: false,
            queue: VecDeque::new(),
            queued: 0,
            buffered: 0,
            low_threshold: 0,
            was_full: false,
            paused: false,
            partial: None,
            reset_sent: false,
            virtual_time: 0,
            stats: DataChannelStats::default(),
        }
    }

    pub(crate) fn enqueue(&mut self, message: QueuedMessage) {
        self.queued += message.counts;
        self.buffered += message.counts;
        self.queue.push_back(message);
    }

    /// What a message of so many bytes adds to [`virtual_time`](Self::virtual_time).
    pub(crate) fn cost(&self, len: usize) -> u64 {
        ((len + MESSAGE_COST) as u64).saturating_mul(1 << 16) / u64::from(self.init.priority.max(1))
    }

    /// Takes the next message whose time is not up.
    pub(crate) fn dequeue(&mut self, now: Instant) -> Option<(QueuedMessage, SendOptions)> {
        while let Some(message) = self.queue.pop_front() {
            self.queued = self.queued.saturating_sub(message.counts);
            if message.deadline.is_some_and(|deadline| deadline <= now) {
                self.stats.messages_expired += 1;
                continue;
            }
            let options = self.send_options(&message, now);
            return Some((message, options));
        }
        None
    }

    /// DCEP goes reliable and in order, and so does all before the peer knows the channel (RFC 8832 section 6).
    fn send_options(&self, message: &QueuedMessage, now: Instant) -> SendOptions {
        if message.ppid == ppid::DCEP {
            return SendOptions::default();
        }
        SendOptions {
            unordered: !self.init.ordered && !self.ack_pending,
            max_retransmits: self.init.max_retransmits,
            lifetime: message.deadline.map(|deadline| deadline.saturating_duration_since(now)),
        }
    }

    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.init.max_packet_life_time.map(|millis| now + Duration::from_millis(u64::from(millis)))
    }

    pub(crate) fn forget_queue(&mut self) {
        self.queue = VecDeque::new();
        self.queued = 0;
    }
}
