//! What a connection counts, as webrtc-stats' `RTCIceCandidatePairStats` asks. Answers to libwebrtc's
//! `p2p/base/connection_info.h`.

use std::time::{Duration, Instant};

use peerstack_base::Counter;

/// Counters of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionStats {
    /// Data sent, checks not counted.
    pub sent: Counter,
    /// Data received, checks not counted.
    pub received: Counter,
    /// Data that was not sent because the pair was not usable or the queue full.
    pub discarded_on_send: Counter,
    /// Checks sent.
    pub requests_sent: u64,
    /// Of these, before the first response.
    pub requests_sent_before_first_response: u64,
    /// Checks sent after the first response: they keep consent (RFC 7675).
    pub consent_requests_sent: u64,
    /// Checks of the peer received.
    pub requests_received: u64,
    /// Responses sent.
    pub responses_sent: u64,
    /// Responses received.
    pub responses_received: u64,
    /// Sum of all round-trip times.
    pub total_round_trip_time: Duration,
    /// The last round-trip time.
    pub current_round_trip_time: Option<Duration>,
    /// When data was last sent.
    pub last_packet_sent: Option<Instant>,
    /// When data was last received.
    pub last_packet_received: Option<Instant>,
    consented: bool,
}

impl ConnectionStats {
    pub(crate) fn request_sent(&mut self) {
        self.requests_sent += 1;
        if self.consented {
            self.consent_requests_sent += 1;
        } else {
            self.requests_sent_before_first_response += 1;
        }
    }

    pub(crate) fn consent_answered(&mut self) {
        self.consented = true;
    }
}
