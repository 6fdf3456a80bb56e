//! The boundary between the data channels and an SCTP association, so that one association can replace
//! another. Answers to libwebrtc's `net/dcsctp/public/dcsctp_socket.h`; an association is owned by its
//! `SctpTransport` on the network task. RFC 9260, RFC 6525, RFC 3758, RFC 8831.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use thiserror::Error;

/// How an association is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AssociationConfig {
    /// Our SCTP port, not 0.
    pub local_port: u16,
    /// The peer's SCTP port, not 0.
    pub remote_port: u16,
    /// Streams in each direction that are offered in INIT.
    pub max_streams: u16,
    /// Bytes that may wait to be read: the window the peer is told (`a_rwnd`).
    pub receive_buffer: u32,
    /// The largest message we take, in bytes; a larger one ends the association.
    pub max_receive_message_size: u32,
    /// The largest SCTP packet we write, in bytes, common header included.
    pub max_packet_size: usize,
    /// RTO before there is a measurement.
    pub rto_initial: Duration,
    /// RTO is never below.
    pub rto_min: Duration,
    /// RTO is never above.
    pub rto_max: Duration,
    /// Once established, backing off goes no further than this or one RTO, whichever is longer (libwebrtc
    /// `max_timer_backoff_duration`): what waits goes out soon after an outage ends.
    pub max_backoff: Duration,
    /// Backing off goes no further than this before: INIT and COOKIE ECHO are small, ICE and DTLS have shown that
    /// the path exists, and somebody waits. RFC 9260 section 16 would go on to 60 s, dcsctp's handshake timers to
    /// where its `max_timer_backoff_duration` is not applied; at 30 % loss each way one connection in a hundred
    /// then takes longer than 30 s.
    pub max_init_backoff: Duration,
    /// INIT and COOKIE ECHO are sent again so often; `None` for as long as it takes.
    pub max_init_retransmits: Option<u16>,
}

impl Default for AssociationConfig {
    fn default() -> Self {
        Self {
            local_port: 5000,
            remote_port: 5000,
            max_streams: crate::MAX_SCTP_STREAMS,
            receive_buffer: 5 << 20,
            max_receive_message_size: 256 << 10,
            max_packet_size: 1191,
            rto_initial: Duration::from_millis(500),
            rto_min: Duration::from_millis(400),
            rto_max: Duration::from_secs(60),
            max_backoff: Duration::from_secs(3),
            max_init_backoff: Duration::from_secs(1),
            // Two minutes, as the eight of RFC 9260 section 16 with its backing off.
            max_init_retransmits: Some(120),
        }
    }
}

/// Who sends the first INIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssociationOpening {
    /// We do, at once. The DTLS client.
    Active,
    /// The peer is expected to; we do if nothing came for one RTO. The DTLS server.
    Passive,
}

/// INIT chunks that travelled in SDP (SNAP, draft-hancke-tsvwg-snap): with both there is no handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationInit {
    /// Ours, made by [`SctpAssociation::generate_init`] when the offer or answer was.
    pub local_init: Bytes,
    /// The peer's, if it gave one.
    pub remote_init: Option<Bytes>,
}

/// How to send one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendOptions {
    /// It may overtake others.
    pub unordered: bool,
    /// Give up after so many retransmissions (RFC 7496 section 3.2).
    pub max_retransmits: Option<u16>,
    /// Give up after so long (RFC 7496 section 3.1).
    pub lifetime: Option<Duration>,
}

/// One whole message.
#[derive(Clone, PartialEq, Eq)]
pub struct AssociationMessage {
    /// Payload protocol identifier.
    pub ppid: u32,
    /// Its bytes.
    pub payload: Bytes,
}

impl fmt::Debug for AssociationMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssociationMessage {{ ppid: {}, {} bytes }}", self.ppid, self.payload.len())
    }
}

/// Why an association ended.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SctpCloseReason {
    /// We closed it.
    #[error("closed here")]
    Local,
    /// The peer sent ABORT.
    #[error("the peer aborted the association{}", cause_text(*cause_code))]
    PeerAborted {
        /// The first error cause it gave (RFC 9260 section 3.3.10; 12 is its user's wish), if any.
        cause_code: Option<u16>,
    },
    /// The peer shut it down.
    #[error("the peer shut the association down")]
    PeerShutdown,
    /// INIT or COOKIE ECHO was never answered.
    #[error("the peer did not answer the handshake")]
    HandshakeTimeout,
    /// The peer sent what RFC 9260 does not allow, or a message larger than it was told we take.
    #[error("the peer broke the protocol")]
    ProtocolViolation,
    /// The receive buffer filled with messages that could never be completed.
    #[error("the receive buffer is exhausted by incomplete messages")]
    ReceiveBufferExhausted,
    /// The transport below is closed or failed.
    #[error("the transport below is closed")]
    TransportClosed,
    /// Another association takes its place over a new DTLS association: the peer began anew, or other ports were agreed
    /// on (RFC 8841 section 9.3). What was not delivered is lost.
    #[error("another association took its place")]
    Replaced,
}

impl SctpCloseReason {
    /// The cause code the peer gave (W3C `RTCError.sctpCauseCode`).
    pub fn cause_code(&self) -> Option<u16> {
        match self {
            Self::PeerAborted { cause_code } => *cause_code,
            _ => None,
        }
    }
}

fn cause_text(cause_code: Option<u16>) -> String {
    cause_code.map(|code| format!(", cause {code}")).unwrap_or_default()
}

/// What an association tells its transport.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssociationEvent {
    /// The handshake is done.
    Connected {
        /// Streams both sides agreed on.
        max_streams: u16,
    },
    /// The association is gone.
    Closed(SctpCloseReason),
    /// [`SctpAssociation::read`] has a message of this stream.
    Readable(u16),
    /// The peer reset the stream, and our direction is being reset in answer (RFC 8831 section 6.7). What came
    /// before is to be read now.
    IncomingReset(u16),
    /// Both directions are reset: the identifier is free.
    ResetComplete(u16),
    /// The peer refused or did not answer the reset: the identifier must not be used again.
    ResetFailed(u16),
}

/// Why an association refused a call. Nothing was changed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AssociationError {
    /// It cannot be set up so.
    #[error("the association cannot be set up: {0}")]
    Config(String),
    /// There is no such stream, or it is being reset, or the association does not stand.
    #[error("stream {sid}: {reason}")]
    Stream {
        /// Which.
        sid: u16,
        /// What the association said.
        reason: String,
    },
}

/// What an association counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AssociationStats {
    /// Smoothed round trip time.
    pub rtt: Option<Duration>,
    /// Retransmission time-out now.
    pub rto: Option<Duration>,
    /// Congestion window in bytes, where the association tells.
    pub congestion_window: Option<u32>,
    /// The window the peer gave us last, in bytes.
    pub receiver_window: Option<u32>,
    /// DATA chunks sent again.
    pub retransmissions: u64,
    /// Packets from the peer that were refused, or had a chunk taken out, before anything was believed.
    pub refused: u64,
}

/// An SCTP association of one stream-id space, over a transport that carries whole packets. No input or output
/// of its own; it is told the time.
pub trait SctpAssociation: Sized + fmt::Debug {
    /// An INIT chunk to put into SDP (SNAP).
    ///
    /// # Errors
    /// [`AssociationError::Config`] if the configuration gives none.
    fn generate_init(config: &AssociationConfig) -> Result<Bytes, AssociationError>;

    /// Begins the handshake, or with both INITs is done with it.
    ///
    /// # Errors
    /// [`AssociationError::Config`] for ports of 0 or an INIT that is none.
    fn start(
        now: Instant,
        config: AssociationConfig,
        opening: AssociationOpening,
        init: Option<AssociationInit>,
    ) -> Result<Self, AssociationError>;

    /// Takes one packet of the peer. Any bytes are harmless.
    fn receive(&mut self, now: Instant, packet: &[u8]);

    /// The next packet to send, none larger than [`AssociationConfig::max_packet_size`] where that is possible
    /// at all.
    fn poll_transmit(&mut self, now: Instant) -> Option<Bytes>;

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn next_timeout(&self) -> Option<Instant>;

    /// Runs what is due.
    fn handle_timeout(&mut self, now: Instant);

    /// The path came back after an outage: what was backed off is tried now.
    fn path_restored(&mut self, now: Instant);

    /// The DTLS association below is a new one (RFC 8842 section 5.5). SCTP does not see what carries it (RFC 8261), so
    /// this association goes on; but the peer may be another one now, which began anew: until a packet of this
    /// association comes, an INIT or ABORT of the peer's ends it with [`SctpCloseReason::Replaced`] where it stands, and is
    /// taken for the first one where it does not.
    fn transport_restarted(&mut self, opening: AssociationOpening);

    /// The next event, in order.
    fn poll_event(&mut self) -> Option<AssociationEvent>;

    /// Makes a stream known before anything was sent or received on it.
    ///
    /// # Errors
    /// [`AssociationError::Stream`] if it exists or is being reset.
    fn open_stream(&mut self, sid: u16) -> Result<(), AssociationError>;

    /// Queues a message of at least one byte.
    ///
    /// # Errors
    /// [`AssociationError::Stream`] if the stream cannot be written.
    fn send(
        &mut self,
        sid: u16,
        ppid: u32,
        payload: Bytes,
        options: &SendOptions,
    ) -> Result<(), AssociationError>;

    /// Takes a message of this stream, if there is a whole one; that opens the window to the peer.
    fn read(&mut self, sid: u16) -> Option<AssociationMessage>;

    /// Sends what was queued, then resets the stream (RFC 6525). Nothing more can be read or written.
    ///
    /// # Errors
    /// [`AssociationError::Stream`] if there is no such stream.
    fn reset_stream(&mut self, sid: u16) -> Result<(), AssociationError>;

    /// Bytes of user messages queued for this stream that were never put into a packet yet.
    fn unsent_bytes(&mut self, sid: u16) -> usize;

    /// The same for all streams together; may be more than there is, never less.
    fn total_unsent(&self) -> usize;

    /// While it does not accept data, DATA chunks are as good as lost: not stored, not acknowledged, and therefore
    /// sent again. For what the window cannot hold back: messages of streams that the peer resets leave it unread.
    fn set_accepting_data(&mut self, accepting: bool);

    /// Ends the association with an ABORT, which [`poll_transmit`](Self::poll_transmit) gives out; then nothing
    /// more.
    fn abort(&mut self);

    /// Numbers.
    fn stats(&self) -> AssociationStats;
}
