//! A second handshake beside the one that a server is in: a ClientHello with another random may be that of the true client,
//! which began anew, or the one the server answers may have been forged. Nobody can tell before the end, so both go on,
//! and whoever proves to have the signalled certificate first is the peer. Part of [`DtlsTransport`]; runs on the network
//! task. RFC 6347 section 4.2.8, RFC 9147 section 5.11; libwebrtc's engine stays with the first ClientHello.

use std::time::{Duration, Instant};

use peerstack_p2p::IceTransport;

use super::{DtlsTransport, HANDSHAKE_OPTIONS};
use crate::dtls_engine::{DtlsEngine, DtlsEngineOutput};
use crate::handshake_record::client_hello_random;
use crate::{DtlsRole, DtlsTransportInternal, DtlsTransportState, SrtpKeyingMaterial};

/// Another challenger does not take the place of one before that: what each costs us, and makes us send to the peer's
/// address, is a handshake a second for the 30 s that there are.
const CHALLENGE_INTERVAL: Duration = Duration::from_secs(1);

/// The other handshake.
#[derive(Debug)]
pub(super) struct Challenger {
    pub(super) engine: Box<dyn DtlsEngine>,
    random: [u8; 32],
    certificate: Option<Vec<u8>>,
    keys: Option<SrtpKeyingMaterial>,
}

/// Who is given a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Engine,
    Challenger,
    /// It does not say whose it is.
    Both,
}

impl<I: IceTransport> DtlsTransport<I> {
    /// Whose a datagram is. A ClientHello with a random that is not known begins a challenge, unless one began a moment
    /// ago; then it is nobody's, and a true client sends it again.
    pub(super) fn route(&mut self, now: Instant, datagram: &[u8]) -> Route {
        if self.state != DtlsTransportState::Connecting || self.role() != Some(DtlsRole::Server) {
            return Route::Engine;
        }
        let Some(random) = client_hello_random(datagram) else {
            return if self.challenger.is_some() { Route::Both } else { Route::Engine };
        };
        if *self.hello_random.get_or_insert(random) == random {
            return Route::Engine;
        }
        let known = self.challenger.as_ref().is_some_and(|challenger| challenger.random == random);
        let free = self.challenged.is_none_or(|at| now >= at + CHALLENGE_INTERVAL);
        if !known
            && free
            && let Ok(engine) = self.build_engine(now)
        {
            tracing::debug!(target: "peerstack::dtls", "another ClientHello in the middle of a handshake");
            self.challenged = Some(now);
            self.stats.challenges += 1;
            self.challenger = Some(Challenger { engine, random, certificate: None, keys: None });
        } else if !known {
            self.stats.dropped.add(datagram.len());
        }
        Route::Challenger
    }

    /// Whether the challenger is the peer now. A ClientHello that is not its own passes it by; what breaks it breaks
    /// nothing else.
    pub(super) fn feed_challenger(&mut self, now: Instant, datagram: &[u8]) -> bool {
        let Some(challenger) = &mut self.challenger else { return false };
        if let Some(random) = client_hello_random(datagram)
            && random != challenger.random
        {
            return false;
        }
        if challenger.engine.handle_datagram(now, datagram).is_err() {
            self.challenger = None;
            return false;
        }
        self.pump_challenger(now)
    }

    /// Does what the challenger wants; whether it is the peer now.
    pub(super) fn pump_challenger(&mut self, now: Instant) -> bool {
        // Outside while it is polled; what ends it leaves it there.
        let Some(mut challenger) = self.challenger.take() else { return false };
        loop {
            match challenger.engine.poll() {
                Ok(DtlsEngineOutput::Idle) => {
                    self.challenger = Some(challenger);
                    return false;
                }
                Ok(DtlsEngineOutput::Datagram(datagram)) => {
                    let sent = self.ice.send_with(now, &HANDSHAKE_OPTIONS, datagram.len(), |slot| {
                        slot.copy_from_slice(datagram);
                        datagram.len()
                    });
                    if sent.is_ok() {
                        self.stats.handshake_sent.add(datagram.len());
                    }
                }
                // D09: before a key or a byte is used.
                Ok(DtlsEngineOutput::PeerCertificate(der)) if self.is_the_peers(der) => {
                    challenger.certificate = Some(der.to_vec());
                }
                Ok(DtlsEngineOutput::KeyingMaterial(keys)) => challenger.keys = Some(keys),
                Ok(DtlsEngineOutput::Connected(session)) if challenger.certificate.is_some() => {
                    tracing::debug!(target: "peerstack::dtls", "the later ClientHello was the peer's");
                    self.adopt(challenger);
                    self.session = Some(session);
                    return true;
                }
                _ => return false,
            }
        }
    }

    /// The challenger goes on alone, if there is one.
    pub(super) fn promote_challenger(&mut self) -> bool {
        let Some(challenger) = self.challenger.take() else { return false };
        if self.state != DtlsTransportState::Connecting {
            return false;
        }
        self.adopt(challenger);
        true
    }

    fn adopt(&mut self, challenger: Challenger) {
        self.end_association();
        let Challenger { engine, random, certificate, keys } = challenger;
        (self.engine, self.hello_random) = (Some(engine), Some(random));
        (self.certificate, self.keys) = (certificate, keys);
    }

    /// Of two handshakes the later one alone sends again by itself: a client that began anew would take an old flight for
    /// the answer. The other client, should that be the true one, asks by sending again, too.
    pub(super) fn timed_engine(&self) -> Option<&dyn DtlsEngine> {
        let challenger = self.challenger.as_ref().map(|challenger| &challenger.engine);
        challenger.or(self.engine.as_ref()).map(|engine| &**engine)
    }

    pub(super) fn run_challenger_timers(&mut self, now: Instant) {
        if let Some(challenger) = &mut self.challenger
            && challenger.engine.poll_timeout().is_some_and(|at| at <= now)
        {
            if challenger.engine.handle_timeout(now).is_err() {
                self.challenger = None;
            }
            self.pump(now);
        }
    }
}
