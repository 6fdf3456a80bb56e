//! The handshake of a [`DtlsTransport`]: when it begins, what of it anybody may say, and when it begins anew. Answers to
//! `MaybeStartDtls`, `HandleDtlsPacket` and `ConfigureHandshakeTimeout` of libwebrtc's `p2p/dtls/dtls_transport.cc`;
//! runs on the network task. RFC 6347 section 4.2, RFC 9147 section 5.

use std::time::{Duration, Instant};

use peerstack_p2p::IceTransport;

use super::challenger::Route;
use super::{DtlsTransport, HANDSHAKE_OPTIONS};
use crate::dimpl_engine::DimplEngine;
use crate::dtls_engine::{
    DtlsEngine, DtlsEngineConfig, DtlsEngineError, DtlsEngineOutput, MAX_HANDSHAKE_DATAGRAM,
};
use crate::handshake_record::{ALERT, Record, is_client_hello, pieces, records};
use crate::{DtlsEngineKind, DtlsRole, DtlsTransportInternal, DtlsTransportState};

/// ClientHello datagrams kept until the peer's parameters are known (D02).
const MAX_EARLY_HELLOS: usize = 4;
/// A handshake that takes longer has failed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// What a handshake is given after a fatal alert that nobody has authenticated: the real one goes on meanwhile
/// if the alert was forged.
const ALERT_GRACE: Duration = Duration::from_secs(5);
/// How often an association that broke before it was authenticated is begun anew.
const MAX_RESTARTS: u32 = 8;
/// Bounds of the first retransmission, which is twice ICE's round-trip time (libwebrtc `kMinHandshakeTimeoutMs`
/// and `kMaxHandshakeTimeoutMs`).
const MIN_RETRANSMIT: Duration = Duration::from_millis(50);
const MAX_RETRANSMIT: Duration = Duration::from_secs(3);
/// The smallest datagrams a handshake is cut into: IPv4's minimum of 576 less headers.
const MIN_MTU: usize = 512;
/// What an engine has to say at most when it is closed.
const MAX_FAREWELL: usize = 64;
/// The first bits of a record that only DTLS 1.3 writes (RFC 9147 section 4).
const DTLS_13_CIPHERTEXT: u8 = 0b001;

impl<I: IceTransport> DtlsTransport<I> {
    /// D01: starts as soon as ICE is writable and the peer's parameters are known, whichever comes last.
    pub(super) fn maybe_start(&mut self, now: Instant) {
        let ready = self.state == DtlsTransportState::New && self.engine.is_none() && !self.closed;
        if !ready || !self.ice.writable() || self.remote.is_none() || self.config.is_none() {
            return;
        }
        match self.build_engine(now) {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => return self.fail(&error),
        }
        self.set_state(DtlsTransportState::Connecting);
        let early = std::mem::take(&mut self.early_hellos);
        if self.role() == Some(DtlsRole::Server) {
            for hello in &early {
                self.feed(now, hello);
            }
        } else {
            self.deadline = Some(now + HANDSHAKE_TIMEOUT);
        }
        self.pump(now);
    }

    pub(super) fn build_engine(&mut self, now: Instant) -> Result<Box<dyn DtlsEngine>, DtlsEngineError> {
        let (Some(config), Some(remote)) = (&self.config, &self.remote) else {
            return Err(DtlsEngineError::Closed);
        };
        if let Some(clock) = &config.wall_clock
            && config.certificate.expires() <= clock.now()
        {
            return Err(DtlsEngineError::Configuration("our certificate has expired".into()));
        }
        if config.min_version > config.max_version {
            return Err(DtlsEngineError::Configuration("no DTLS version is allowed".into()));
        }
        // T02: libwebrtc begins with 50 ms until ICE knows the round-trip time.
        let retransmit_after = match self.ice.rtt() {
            Some(rtt) => rtt.saturating_mul(2).clamp(MIN_RETRANSMIT, MAX_RETRANSMIT),
            None => MIN_RETRANSMIT,
        };
        let engine_config = DtlsEngineConfig {
            certificate: config.certificate.clone(),
            role: remote.role,
            fingerprints: remote.fingerprints.clone(),
            srtp_profiles: config.srtp_profiles.clone(),
            min_version: config.min_version,
            max_version: config.max_version,
            mtu: config.mtu.clamp(MIN_MTU, MAX_HANDSHAKE_DATAGRAM),
            retransmit_after,
            // Another one for each engine, or they would have the same hello random.
            seed: config.seed.map(|seed| seed.wrapping_add(self.engines)),
        };
        let kind = config.engine;
        self.engines += 1;
        match kind {
            DtlsEngineKind::Dimpl => Ok(Box::new(DimplEngine::new(engine_config, now)?)),
            #[cfg(feature = "webrtc-dtls")]
            DtlsEngineKind::WebrtcDtls => {
                Ok(Box::new(crate::webrtc_dtls_engine::WebrtcDtlsEngine::new(engine_config, now)?))
            }
            #[cfg(not(feature = "webrtc-dtls"))]
            DtlsEngineKind::WebrtcDtls => Err(DtlsEngineError::Configuration(
                "the engine webrtc-dtls was not built in (Cargo feature webrtc-dtls)".into(),
            )),
        }
    }

    /// One DTLS datagram from the peer.
    pub(super) fn handle_dtls(&mut self, now: Instant, datagram: &[u8]) {
        if self.engine.is_some() {
            if self.state == DtlsTransportState::Connecting && has_plaintext_alert(datagram) {
                self.feed_without_alerts(now, datagram);
            } else {
                self.feed(now, datagram);
            }
            return self.pump(now);
        }
        // D02: the peer may begin before its answer has reached us.
        let room = self.early_hellos.len() < MAX_EARLY_HELLOS && datagram.len() <= MAX_HANDSHAKE_DATAGRAM;
        let wanted = self.state == DtlsTransportState::New && room && is_client_hello(datagram);
        if wanted && !self.early_hellos.iter().any(|known| known == datagram) {
            self.early_hellos.push(datagram.to_vec());
        } else {
            self.stats.dropped.add(datagram.len());
        }
    }

    /// Anybody can say that the handshake failed. Engines believe it and end; here it shortens the time the
    /// handshake is given, and is the reason told when that is over.
    pub(super) fn feed_without_alerts(&mut self, now: Instant, datagram: &[u8]) {
        for piece in pieces(datagram) {
            match records(piece).next().filter(is_plaintext_alert) {
                None => self.feed(now, piece),
                Some(alert) => {
                    if let &[2, description] = alert.payload {
                        tracing::debug!(target: "peerstack::dtls", description, "plaintext fatal alert");
                        let grace = now + ALERT_GRACE;
                        self.alert = Some(description);
                        self.deadline = Some(self.deadline.map_or(grace, |deadline| deadline.min(grace)));
                    }
                    self.stats.dropped.add(piece.len());
                }
            }
        }
    }

    pub(super) fn feed(&mut self, now: Instant, datagram: &[u8]) {
        if self.state == DtlsTransportState::Connecting && self.deadline.is_none() {
            self.deadline = Some(now + HANDSHAKE_TIMEOUT);
        }
        let route = self.route(now, datagram);
        if route != Route::Engine && self.feed_challenger(now, datagram) {
            // It won: there is nobody else any more.
            return;
        }
        if route == Route::Challenger {
            return;
        }
        let Some(engine) = &mut self.engine else { return };
        if let Err(error) = engine.handle_datagram(now, datagram) {
            self.engine_failed(now, error);
        }
    }

    /// Tells a peer whose certificate was refused that it is over, where it may believe otherwise: a DTLS 1.3 client
    /// is done before we have seen its certificate. Any other peer still waits for a last flight of ours, which
    /// lies ready in the engine and must not leave.
    pub(super) fn refuse(&mut self, now: Instant, mut engine: Box<dyn DtlsEngine>) {
        if self.role() != Some(DtlsRole::Server) {
            return;
        }
        engine.close(now);
        for _ in 0..MAX_FAREWELL {
            match engine.poll() {
                Ok(DtlsEngineOutput::Datagram(datagram)) => {
                    if datagram.first().is_none_or(|first| first >> 5 != DTLS_13_CIPHERTEXT) {
                        continue;
                    }
                    // Lost if it cannot be sent, as on a network.
                    let _ = self.ice.send_with(now, &HANDSHAKE_OPTIONS, datagram.len(), |slot| {
                        slot.copy_from_slice(datagram);
                        datagram.len()
                    });
                }
                Ok(DtlsEngineOutput::Idle) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }

    /// The association is over: begun anew if nobody was authenticated, because anybody may have caused that;
    /// given up otherwise, or after too many times.
    pub(super) fn engine_failed(&mut self, now: Instant, error: DtlsEngineError) {
        if self.promote_challenger() {
            tracing::debug!(target: "peerstack::dtls", %error, "one of two handshakes broke");
            return;
        }
        self.end_association();
        let anew = self.state == DtlsTransportState::Connecting && error.may_be_anybody_s();
        let in_time = self.deadline.is_none_or(|deadline| now < deadline);
        if !anew || !in_time || self.stats.restarts >= MAX_RESTARTS {
            return self.fail(&error);
        }
        self.stats.restarts += 1;
        tracing::debug!(target: "peerstack::dtls", %error, restarts = self.stats.restarts, "handshake begun anew");
        match self.build_engine(now) {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => self.fail(&error),
        }
    }
}

fn is_plaintext_alert(record: &Record<'_>) -> bool {
    record.content_type == ALERT && record.epoch == 0
}

fn has_plaintext_alert(datagram: &[u8]) -> bool {
    records(datagram).any(|record| is_plaintext_alert(&record))
}
