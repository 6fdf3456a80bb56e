//! Requests that wait for an answer: retransmission, time-out, matching of responses.
//!
//! Owned by whatever sends requests (a `Connection`, a `StunPort`, a `TurnPort`) on the network task; sends
//! nothing itself. RFC 8489 sections 6.2.1, 6.3.3, 6.3.4 and 9.1.4. Answers to libwebrtc's
//! `p2p/base/stun_request.h`, with a context where that has subclasses.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::attribute::{AttributeType, error_code};
use crate::message::{Class, IntegrityStatus, Message, Method, ParseError, TransactionId};

/// The first wait for a response (libwebrtc `STUN_INITIAL_RTO`).
pub const STUN_INITIAL_RTO: Duration = Duration::from_millis(250);
/// The longest wait for a response (libwebrtc `STUN_MAX_RTO`).
pub const STUN_MAX_RTO: Duration = Duration::from_millis(8000);
/// Sends after the first one (libwebrtc `STUN_MAX_RETRANSMISSIONS`).
pub const STUN_MAX_RETRANSMISSIONS: u32 = 8;
/// From the first send to the time-out (libwebrtc `STUN_TOTAL_TIMEOUT`).
pub const STUN_TOTAL_TIMEOUT: Duration = Duration::from_millis(39_750);
/// Requests that may be pending in one manager unless told otherwise.
pub const DEFAULT_MAX_PENDING: usize = 256;

/// How often a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schedule {
    /// Again and again with doubling waits.
    Retransmit,
    /// Once, then the time-out.
    Once(Duration),
}

impl Schedule {
    /// The wait after the `sends`th send, and whether the time-out follows it.
    fn wait(self, sends: u32) -> (Duration, bool) {
        match self {
            Self::Once(timeout) => (timeout, true),
            Self::Retransmit => {
                let doublings = sends.saturating_sub(1).min(STUN_MAX_RETRANSMISSIONS);
                let wait = STUN_INITIAL_RTO.saturating_mul(1 << doublings).min(STUN_MAX_RTO);
                (wait, sends > STUN_MAX_RETRANSMISSIONS)
            }
        }
    }
}

/// Why bytes cannot be sent as a request.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// They are not a STUN message.
    #[error("not a STUN message: {0}")]
    Parse(#[from] ParseError),
    /// They are a message, but not a request.
    #[error("a request was expected, not {0:?}")]
    NotARequest(Class),
}

/// A request to be sent, with what its sender wants to find again when it ends.
pub struct StunRequest<T> {
    message: Vec<u8>,
    transaction_id: TransactionId,
    method: Method,
    key: Option<Box<[u8]>>,
    unsigned_errors: bool,
    known: &'static [AttributeType],
    schedule: Schedule,
    context: T,
}

impl<T> StunRequest<T> {
    /// A request made of a finished message; it is retransmitted until the time-out, and understands the
    /// attributes of [`AttributeType::KNOWN_TURN`] in its response.
    ///
    /// # Errors
    /// If the bytes are not a STUN request.
    pub fn new(message: Vec<u8>, context: T) -> Result<Self, RequestError> {
        let parsed = Message::parse(&message)?;
        if parsed.class() != Class::Request {
            return Err(RequestError::NotARequest(parsed.class()));
        }
        let (transaction_id, method) = (parsed.transaction_id(), parsed.method());
        Ok(Self {
            message,
            transaction_id,
            method,
            key: None,
            unsigned_errors: false,
            known: AttributeType::KNOWN_TURN,
            schedule: Schedule::Retransmit,
            context,
        })
    }

    /// Sent once and timed out after `timeout`: a connectivity check, which is followed by the next check and
    /// not by a retransmission (libwebrtc `ConnectionRequest`).
    #[must_use]
    pub fn once(mut self, timeout: Duration) -> Self {
        self.schedule = Schedule::Once(timeout);
        self
    }

    /// The response must be signed with this key. Error responses of those who cannot know the key (300, 400,
    /// 401, 420, 438, 500) may be unsigned.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Box<[u8]>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Any error response may be unsigned, as those of some TURN servers are; one that is signed must still be
    /// signed with the key.
    #[must_use]
    pub fn accept_unsigned_errors(mut self) -> Self {
        self.unsigned_errors = true;
        self
    }

    /// Comprehension-required attributes that the response may carry.
    #[must_use]
    pub fn with_known_attributes(mut self, known: &'static [AttributeType]) -> Self {
        self.known = known;
        self
    }

    /// Its transaction.
    pub fn transaction_id(&self) -> TransactionId {
        self.transaction_id
    }

    /// The context.
    pub fn context(&self) -> &T {
        &self.context
    }

    /// Whether a response may end this transaction: `Some(authenticated)`, or `None` if it is to be ignored
    /// (RFC 8489 section 9.1.4).
    fn accepts(&self, response: &Message<'_>) -> Option<bool> {
        let Some(key) = &self.key else { return Some(false) };
        let status = match response.check_integrity(key) {
            // GOOG_PING is signed in a way of its own.
            IntegrityStatus::Missing if self.method == Method::GOOG_PING => {
                response.check_goog_message_integrity_32(key)
            }
            status => status,
        };
        match status {
            IntegrityStatus::Valid => Some(true),
            IntegrityStatus::Invalid => None,
            IntegrityStatus::Missing if response.class() != Class::ErrorResponse => None,
            IntegrityStatus::Missing => {
                let code = response.error_code().map_or(0, |error| error.code);
                let excused = matches!(
                    code,
                    error_code::TRY_ALTERNATE
                        | error_code::BAD_REQUEST
                        | error_code::UNAUTHENTICATED
                        | error_code::UNKNOWN_ATTRIBUTE
                        | error_code::STALE_NONCE
                        | error_code::SERVER_ERROR
                );
                (self.unsigned_errors || excused).then_some(false)
            }
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for StunRequest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is a secret.
        f.debug_struct("StunRequest")
            .field("method", &self.method)
            .field("transaction_id", &self.transaction_id)
            .field("schedule", &self.schedule)
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

/// Why a request was not taken.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendRequestError {
    /// As many as the manager may have are pending.
    #[error("{limit} requests are pending already")]
    TooManyPending {
        /// How many may be.
        limit: usize,
    },
    /// A request of the same transaction id is pending.
    #[error("transaction {0} is pending already")]
    DuplicateTransaction(TransactionId),
}

/// One datagram to send now.
#[derive(Debug)]
pub struct RequestTransmit<'a, T> {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// The context of the request, which says where to.
    pub context: &'a T,
    /// The datagram.
    pub message: &'a [u8],
    /// 1 for the first send.
    pub attempt: u32,
}

/// How a response ended its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseResult {
    /// A success response.
    Success,
    /// An error response with its code, or `None` if that is missing or malformed; the rest of it is in the
    /// message.
    Error(Option<u16>),
    /// The response, of either class, carries comprehension-required attributes that are not understood: the
    /// transaction has failed (RFC 8489 sections 6.3.3 and 6.3.4).
    UnknownAttributes(Vec<u16>),
}

/// A transaction that a response ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response<T> {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// The context of the request.
    pub context: T,
    /// How it ended.
    pub result: ResponseResult,
    /// Whether the response was signed with the key of the request.
    pub authenticated: bool,
    /// Since the last send, as libwebrtc counts. Ambiguous unless [`sends`](Self::sends) is 1.
    pub rtt: Duration,
    /// How often the request was sent.
    pub sends: u32,
}

/// A transaction that no response ended in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTimeout<T> {
    /// The transaction.
    pub transaction_id: TransactionId,
    /// The context of the request.
    pub context: T,
    /// How often the request was sent.
    pub sends: u32,
}

/// Responses that ended nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IgnoredResponses {
    /// Of a transaction that is not pending, or that was not sent yet.
    pub unknown_transaction: u64,
    /// Of another method than the request's.
    pub wrong_method: u64,
    /// Not signed, or not with the key of the request.
    pub bad_integrity: u64,
}

struct Pending<T> {
    request: StunRequest<T>,
    sends: u32,
    sent_at: Option<Instant>,
    /// When the next send or the time-out is due.
    due: Instant,
    /// Whether the time-out is what is due.
    last: bool,
}

impl<T> Pending<T> {
    /// Counts a send at `now` and schedules what follows.
    fn mark_sent(&mut self, now: Instant) {
        self.sends += 1;
        self.sent_at = Some(now);
        let (wait, last) = self.request.schedule.wait(self.sends);
        self.due = now + wait;
        self.last = last;
    }
}

/// The pending requests of one sender.
///
/// After [`send`](Self::send) and [`handle_timeout`](Self::handle_timeout) drain
/// [`poll_transmit`](Self::poll_transmit), and after the latter [`poll_timed_out`](Self::poll_timed_out) too.
pub struct StunRequestManager<T> {
    pending: BTreeMap<TransactionId, Pending<T>>,
    ready: VecDeque<TransactionId>,
    timed_out: VecDeque<RequestTimeout<T>>,
    max_pending: usize,
    ignored: IgnoredResponses,
}

impl<T> fmt::Debug for StunRequestManager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StunRequestManager")
            .field("pending", &self.pending.len())
            .field("ignored", &self.ignored)
            .finish_non_exhaustive()
    }
}

impl<T> Default for StunRequestManager<T> {
    fn default() -> Self {
        Self::with_max_pending(DEFAULT_MAX_PENDING)
    }
}

impl<T> StunRequestManager<T> {
    /// With [`DEFAULT_MAX_PENDING`].
    pub fn new() -> Self {
        Self::default()
    }

    /// With another limit of pending requests.
    pub fn with_max_pending(max_pending: usize) -> Self {
        Self {
            pending: BTreeMap::new(),
            ready: VecDeque::new(),
            timed_out: VecDeque::new(),
            max_pending,
            ignored: IgnoredResponses::default(),
        }
    }

    /// Sends a request now: it comes out of [`poll_transmit`](Self::poll_transmit).
    ///
    /// # Errors
    /// If too many are pending or its transaction id is; nothing is changed then.
    pub fn send(&mut self, now: Instant, request: StunRequest<T>) -> Result<TransactionId, SendRequestError> {
        let id = self.insert(now, request)?;
        self.mark_ready(now, id);
        Ok(id)
    }

    /// Sends a request after `delay`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_delayed(
        &mut self,
        now: Instant,
        request: StunRequest<T>,
        delay: Duration,
    ) -> Result<TransactionId, SendRequestError> {
        if delay.is_zero() { self.send(now, request) } else { self.insert(now + delay, request) }
    }

    fn insert(&mut self, due: Instant, request: StunRequest<T>) -> Result<TransactionId, SendRequestError> {
        let id = request.transaction_id;
        if self.pending.len() >= self.max_pending {
            return Err(SendRequestError::TooManyPending { limit: self.max_pending });
        }
        if self.pending.contains_key(&id) {
            return Err(SendRequestError::DuplicateTransaction(id));
        }
        self.pending.insert(id, Pending { request, sends: 0, sent_at: None, due, last: false });
        Ok(id)
    }

    fn mark_ready(&mut self, now: Instant, id: TransactionId) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.mark_sent(now);
            self.ready.push_back(id);
        }
    }

    /// The next datagram to send, until `None`.
    pub fn poll_transmit(&mut self) -> Option<RequestTransmit<'_, T>> {
        // Requests that ended while they waited to be sent are passed over.
        let id = loop {
            let id = self.ready.pop_front()?;
            if self.pending.contains_key(&id) {
                break id;
            }
        };
        let pending = self.pending.get(&id)?;
        Some(RequestTransmit {
            transaction_id: id,
            context: &pending.request.context,
            message: &pending.request.message,
            attempt: pending.sends,
        })
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.pending.values().map(|pending| pending.due).min()
    }

    /// Sends what is due again, in the order in which it fell due, and ends what has waited long enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut due: Vec<(Instant, TransactionId)> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.due <= now)
            .map(|(id, pending)| (pending.due, *id))
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            if self.pending.get(&id).is_some_and(|pending| !pending.last) {
                self.mark_ready(now, id);
            } else if let Some(pending) = self.pending.remove(&id) {
                tracing::debug!(
                    target: "peerstack::stun",
                    transaction = %id,
                    method = ?pending.request.method,
                    sends = pending.sends,
                    "request timed out"
                );
                self.timed_out.push_back(RequestTimeout {
                    transaction_id: id,
                    context: pending.request.context,
                    sends: pending.sends,
                });
            }
        }
    }

    /// The next request that timed out, until `None`.
    pub fn poll_timed_out(&mut self) -> Option<RequestTimeout<T>> {
        self.timed_out.pop_front()
    }

    /// Matches a response with its request. `None` if it ends no transaction: unknown id, another method, or an
    /// integrity that fails; it is counted then and the transaction goes on (RFC 8489 section 9.1.4).
    pub fn check_response(&mut self, now: Instant, response: &Message<'_>) -> Option<Response<T>> {
        if !response.is_response() {
            return None;
        }
        let id = response.transaction_id();
        let Some((pending, sent_at)) =
            self.pending.get(&id).and_then(|pending| Some((pending, pending.sent_at?)))
        else {
            self.ignored.unknown_transaction += 1;
            return None;
        };
        if pending.request.method != response.method() {
            self.ignored.wrong_method += 1;
            return None;
        }
        let Some(authenticated) = pending.request.accepts(response) else {
            self.ignored.bad_integrity += 1;
            return None;
        };
        let unknown = response.unknown_comprehension_required(pending.request.known);
        let result = if !unknown.is_empty() {
            ResponseResult::UnknownAttributes(unknown)
        } else if response.class() == Class::SuccessResponse {
            ResponseResult::Success
        } else {
            ResponseResult::Error(response.error_code().map(|error| error.code))
        };
        let pending = self.pending.remove(&id)?;
        Some(Response {
            transaction_id: id,
            context: pending.request.context,
            result,
            authenticated,
            rtt: now.saturating_duration_since(sent_at),
            sends: pending.sends,
        })
    }

    /// Ends a request without an outcome and returns its context.
    pub fn cancel(&mut self, id: TransactionId) -> Option<T> {
        self.pending.remove(&id).map(|pending| pending.request.context)
    }

    /// Ends all requests, those that timed out and were not polled yet too, without an outcome.
    pub fn clear(&mut self) {
        self.pending.clear();
        self.ready.clear();
        self.timed_out.clear();
    }

    /// Ends, without an outcome, the requests for which `keep` says no.
    pub fn retain(&mut self, mut keep: impl FnMut(TransactionId, &T) -> bool) {
        self.pending.retain(|id, pending| keep(*id, &pending.request.context));
    }

    /// The context of a pending request.
    pub fn get(&self, id: TransactionId) -> Option<&T> {
        self.pending.get(&id).map(|pending| &pending.request.context)
    }

    /// Whether a request is pending.
    pub fn contains(&self, id: TransactionId) -> bool {
        self.pending.contains_key(&id)
    }

    /// The pending requests, in the order of their transaction ids: id, context and when each was last sent.
    pub fn iter(&self) -> impl Iterator<Item = (TransactionId, &T, Option<Instant>)> {
        self.pending.iter().map(|(id, pending)| (*id, &pending.request.context, pending.sent_at))
    }

    /// How many requests are pending.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether no request is pending.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Responses that ended nothing.
    pub fn ignored(&self) -> IgnoredResponses {
        self.ignored
    }
}

#[cfg(test)]
mod tests;
