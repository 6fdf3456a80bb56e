//! What `webrtc-dtls` may see of the network. It recurses once a fragment, indexes into messages it has not
//! checked, ends a connection for a plaintext alert, an unknown type or an odd record, keeps what it cannot use
//! without bound, and never answers a peer that lost its last flight. Sans-IO; owned by the engine.

use std::time::{Duration, Instant};

use peerstack_base::Counter;

use crate::DtlsRole;
use crate::handshake_reassembler::HandshakeReassembler;
use crate::handshake_record::{
    ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, CLIENT_HELLO, HANDSHAKE, HANDSHAKE_HEADER, RECORD_HEADER,
    Record, fragments, records,
};
use crate::webrtc_dtls_messages::{may_come_from_peer, parses_exactly, server_key_exchange_curve};

/// The largest handshake message: one record must fit the 8,192 bytes `webrtc-dtls` reads into.
const MAX_MESSAGE: usize = 8_000;
/// No message of a handshake has a higher number.
const MAX_MESSAGE_SEQ: u16 = 15;
/// Plaintext handshake records handed over in one association, retransmissions included: they are kept.
const MAX_HANDSHAKE_RECORDS: usize = 400;
/// Records handed over before the handshake is done that wait for keys: they are kept, too.
const MAX_EARLY_RECORDS: usize = 64;
/// Explicit nonce and tag of AES-GCM, the only suites that are configured: shorter records underflow.
const AEAD_OVERHEAD: usize = 8 + 16;

/// The guard of one association.
#[derive(Debug)]
pub(crate) struct WebrtcDtlsGuard {
    role: DtlsRole,
    completed: bool,
    reassembler: HandshakeReassembler,
    handshake_records: usize,
    early_records: usize,
    /// The key exchange group the server chose.
    curve: Option<u16>,
    /// The datagram with our ChangeCipherSpec and Finished.
    last_flight: Option<Vec<u8>>,
    answered: Option<Instant>,
    answer_interval: Duration,
    /// What was kept out.
    pub dropped: Counter,
}

impl WebrtcDtlsGuard {
    pub(crate) fn new(role: DtlsRole, retransmit_after: Duration) -> Self {
        Self {
            role,
            completed: false,
            reassembler: HandshakeReassembler::new(MAX_MESSAGE),
            handshake_records: 0,
            early_records: 0,
            curve: None,
            last_flight: None,
            answered: None,
            answer_interval: retransmit_after / 2,
            dropped: Counter::default(),
        }
    }

    /// The handshake is done.
    pub(crate) fn complete(&mut self) {
        self.completed = true;
    }

    /// Looks at a datagram of ours on its way out.
    pub(crate) fn observe_outgoing(&mut self, datagram: &[u8]) {
        if self.completed {
            return;
        }
        for record in records(datagram).filter(|record| record.epoch == 0) {
            match record.content_type {
                CHANGE_CIPHER_SPEC => self.last_flight = Some(datagram.to_vec()),
                HANDSHAKE => self.learn_curve(&record),
                _ => {}
            }
        }
    }

    fn learn_curve(&mut self, record: &Record<'_>) {
        for fragment in fragments(record.payload) {
            if let Some(curve) = server_key_exchange_curve(fragment.message_type, fragment.body) {
                self.curve = Some(curve);
            }
        }
    }

    /// What of a datagram may be handed over, as one datagram; `None` if nothing.
    pub(crate) fn admit(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        let mut admitted = Vec::with_capacity(datagram.len());
        for record in records(datagram) {
            let before = admitted.len();
            match (record.epoch, record.content_type) {
                (0, HANDSHAKE) if !self.completed => self.admit_handshake(&record, &mut admitted),
                (0, CHANGE_CIPHER_SPEC) if !self.completed && record.payload == [1] => {
                    self.admit_early(&record, &mut admitted);
                }
                // After the handshake: retransmissions of Finished, which webrtc-dtls would keep for ever.
                (1, HANDSHAKE) if !self.completed => self.admit_early(&record, &mut admitted),
                (1, ALERT | APPLICATION_DATA) if record.payload.len() >= AEAD_OVERHEAD => {
                    if self.completed {
                        admitted.extend_from_slice(record.bytes);
                    } else {
                        self.admit_early(&record, &mut admitted);
                    }
                }
                _ => {}
            }
            if admitted.len() == before {
                self.dropped.add(record.bytes.len());
            }
        }
        (!admitted.is_empty()).then_some(admitted)
    }

    fn admit_early(&mut self, record: &Record<'_>, admitted: &mut Vec<u8>) {
        let long_enough = record.epoch == 0 || record.payload.len() >= AEAD_OVERHEAD;
        if long_enough && self.early_records < MAX_EARLY_RECORDS {
            self.early_records += 1;
            admitted.extend_from_slice(record.bytes);
        }
    }

    fn admit_handshake(&mut self, record: &Record<'_>, admitted: &mut Vec<u8>) {
        for fragment in fragments(record.payload) {
            let expected = may_come_from_peer(self.role, fragment.message_type)
                && fragment.message_seq <= MAX_MESSAGE_SEQ;
            if !expected || self.handshake_records >= MAX_HANDSHAKE_RECORDS {
                continue;
            }
            let Some(whole) = self.reassembler.push(record, &fragment) else { continue };
            let body = whole.get(RECORD_HEADER + HANDSHAKE_HEADER..).unwrap_or_default();
            // A message that does not parse is skipped by webrtc-dtls as if it had been read: the real one that
            // follows would never be looked at.
            if !parses_exactly(fragment.message_type, body, self.curve) {
                continue;
            }
            if let Some(curve) = server_key_exchange_curve(fragment.message_type, body) {
                self.curve = Some(curve);
            }
            self.handshake_records += 1;
            admitted.extend_from_slice(&whole);
        }
    }

    /// Our last flight once more, if the datagram shows that the peer has not got it: handshake messages in
    /// plaintext after the handshake (RFC 6347 section 4.2.4).
    pub(crate) fn answer(&mut self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        if !self.completed || self.role != DtlsRole::Server {
            return None;
        }
        // Not for a ClientHello, which the peer sent before our first flight.
        let retransmission = records(datagram)
            .filter(|record| record.content_type == HANDSHAKE && record.epoch == 0)
            .flat_map(|record| fragments(record.payload))
            .any(|fragment| fragment.message_type != CLIENT_HELLO);
        let lately = self.answered.is_some_and(|at| now < at + self.answer_interval);
        if !retransmission || lately {
            return None;
        }
        self.answered = Some(now);
        self.last_flight.clone()
    }
}

#[cfg(test)]
#[path = "webrtc_dtls_guard_tests.rs"]
mod tests;
