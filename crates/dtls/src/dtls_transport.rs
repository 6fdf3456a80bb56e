//! DTLS over an ICE transport: handshake, certificate check, application data; SRTP passes by. Answers to
//! libwebrtc's `p2p/dtls/dtls_transport.h` (RFC 5764, RFC 6347, RFC 8842, RFC 9147); owned by the network task.

mod challenger;
mod handshake;

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use peerstack_base::{
    Counter, EventReceiver, EventSource, PacketClass, PacketKind, PacketOptions, ReceiveMeta, SendError,
};
use peerstack_p2p::{IceTransport, IceTransportEvent};

use self::challenger::Challenger;
use crate::dtls_engine::{DtlsEngine, DtlsEngineError, DtlsEngineOutput, DtlsSession};
use crate::fingerprint::usable_fingerprints;
use crate::pending_data::PendingData;
use crate::{
    DtlsFingerprint, DtlsRole, DtlsTransportConfig, DtlsTransportEvent, DtlsTransportInternal,
    DtlsTransportState, SrtpKeyingMaterial,
};

/// An engine that has not said close_notify after so long says it no more.
const FAREWELL: Duration = Duration::from_secs(1);
const HANDSHAKE_OPTIONS: PacketOptions =
    PacketOptions { srtp_bypass: false, kind: PacketKind::Dtls, ecn: peerstack_base::Ecn::NotEct };

/// What came in and was not used, and other things worth counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DtlsTransportStats {
    /// Application data received.
    pub received: Counter,
    /// Application data sent.
    pub sent: Counter,
    /// Handshake and alert datagrams sent.
    pub handshake_sent: Counter,
    /// Datagrams dropped: of no protocol, too early, too late, or too many.
    pub dropped: Counter,
    /// How often a broken handshake was begun anew.
    pub restarts: u32,
    /// How often a ClientHello with another random began a second handshake beside the one a server was in.
    pub challenges: u32,
}

#[derive(Debug)]
struct RemoteParameters {
    fingerprints: Vec<DtlsFingerprint>,
    role: DtlsRole,
}

/// DTLS over ICE.
#[derive(Debug)]
pub struct DtlsTransport<I> {
    ice: I,
    ice_events: EventReceiver<IceTransportEvent>,
    events: EventSource<DtlsTransportEvent>,
    /// `None`: packets pass as they are.
    config: Option<DtlsTransportConfig>,
    remote: Option<RemoteParameters>,
    engine: Option<Box<dyn DtlsEngine>>,
    /// How many were built.
    engines: u64,
    /// The random of the ClientHello that a server's engine answers.
    hello_random: Option<[u8; 32]>,
    /// Another handshake, begun by a ClientHello with another random; whoever is done first is the peer.
    challenger: Option<Challenger>,
    /// When the last one was begun.
    challenged: Option<Instant>,
    state: DtlsTransportState,
    told_writable: bool,
    closed: bool,
    early_hellos: Vec<Vec<u8>>,
    /// The peer's certificate, only ever one that matches a fingerprint.
    certificate: Option<Vec<u8>>,
    session: Option<DtlsSession>,
    keys: Option<SrtpKeyingMaterial>,
    deadline: Option<Instant>,
    /// A fatal alert that nobody has authenticated.
    alert: Option<u8>,
    /// Closed, but the engine has still to say close_notify: until when it may.
    farewell: Option<Instant>,
    /// The engine took no more application data; `ReadyToSend` follows when it has said something.
    engine_busy: bool,
    pending: PendingData,
    scratch: Vec<u8>,
    stats: DtlsTransportStats,
}

impl<I: IceTransport> DtlsTransport<I> {
    /// A transport that waits for ICE to be writable and for the peer's parameters.
    pub fn new(ice: I, config: DtlsTransportConfig) -> Self {
        Self::build(ice, Some(config))
    }

    /// A transport with DTLS disabled: packets pass straight to ICE and it is writable when ICE is. Its state
    /// stays `New`.
    pub fn without_dtls(ice: I) -> Self {
        Self::build(ice, None)
    }

    fn build(mut ice: I, config: Option<DtlsTransportConfig>) -> Self {
        let ice_events = ice.subscribe();
        let told_writable = config.is_none() && ice.writable();
        Self {
            ice,
            ice_events,
            events: EventSource::new("dtls"),
            config,
            remote: None,
            engine: None,
            engines: 0,
            hello_random: None,
            challenger: None,
            challenged: None,
            state: DtlsTransportState::New,
            told_writable,
            closed: false,
            early_hellos: Vec::new(),
            certificate: None,
            session: None,
            keys: None,
            deadline: None,
            alert: None,
            engine_busy: false,
            farewell: None,
            pending: PendingData::default(),
            scratch: Vec::new(),
            stats: DtlsTransportStats::default(),
        }
    }

    /// Whether DTLS is spoken, or packets pass as they are.
    pub fn dtls_active(&self) -> bool {
        self.config.is_some()
    }

    /// Counters.
    pub fn stats(&self) -> DtlsTransportStats {
        self.stats
    }

    /// Ready when the engine has something to say without having been called: the network task then calls
    /// [`process`](DtlsTransportInternal::process). Never ready with the default engine.
    pub fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Each is polled, so that each knows whom to wake.
        let challenger = self.challenger.as_mut().map(|challenger| &mut challenger.engine);
        let engines = self.engine.iter_mut().chain(challenger);
        let ready = engines.map(|engine| engine.poll_wake(cx).is_ready());
        if ready.fold(false, |any, ready| any | ready) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn set_state(&mut self, state: DtlsTransportState) {
        if self.state != state {
            self.state = state;
            self.events.emit(DtlsTransportEvent::StateChange(state));
        }
    }

    /// Tells a change of writability; the last thing each entry point does.
    fn tell_writable(&mut self) {
        let writable = self.writable();
        if self.told_writable != writable {
            self.told_writable = writable;
            self.events.emit(DtlsTransportEvent::WritableState(writable));
        }
    }

    /// Does what the engine wants until it wants nothing more.
    fn pump(&mut self, now: Instant) {
        // What becomes of single datagrams of a handshake is the retransmission's concern. After it, an engine
        // with tasks of its own says here what was given it to be sealed.
        self.pump_challenger(now);
        let connected = self.state == DtlsTransportState::Connected;
        let options = if connected { PacketOptions::default() } else { HANDSHAKE_OPTIONS };
        let _ = self.pump_with(now, &options);
        if self.engine_busy && self.writable() {
            self.engine_busy = false;
            self.events.emit(DtlsTransportEvent::ReadyToSend);
        }
    }

    fn pump_with(&mut self, now: Instant, options: &PacketOptions) -> Result<(), SendError> {
        let mut sent = Ok(());
        // Outside while it is polled, because what it says is acted upon.
        let Some(mut engine) = self.engine.take() else { return sent };
        loop {
            let verdict = match engine.poll() {
                Ok(DtlsEngineOutput::Idle) => break,
                Ok(output) => self.handle_output(now, output, options, &mut sent),
                Err(error) => Err(error),
            };
            if let Err(error) = verdict {
                if error == DtlsEngineError::Fingerprint {
                    self.refuse(now, engine);
                }
                self.engine_failed(now, error);
                // A new association may have begun, and has something to say.
                self.pump(now);
                return sent;
            }
            if self.state == DtlsTransportState::Closed && self.farewell.is_none() {
                return sent;
            }
        }
        self.engine = Some(engine);
        // Only now, because keys may come after the engine said that it is connected.
        if self.state == DtlsTransportState::Connecting && self.session.is_some() {
            self.deadline = None;
            self.set_state(DtlsTransportState::Connected);
        }
        sent
    }

    fn handle_output(
        &mut self,
        now: Instant,
        output: DtlsEngineOutput<'_>,
        options: &PacketOptions,
        sent: &mut Result<(), SendError>,
    ) -> Result<(), DtlsEngineError> {
        match output {
            DtlsEngineOutput::Idle => {}
            DtlsEngineOutput::Datagram(datagram) => {
                let result = self.ice.send_with(now, options, datagram.len(), |slot| {
                    slot.copy_from_slice(datagram);
                    datagram.len()
                });
                match result {
                    Ok(_) if options.kind == PacketKind::Dtls => {
                        self.stats.handshake_sent.add(datagram.len())
                    }
                    Ok(_) => {}
                    Err(error) => *sent = sent.and(Err(error)),
                }
            }
            // D09: before a key or a byte is used. A second certificate is checked as the first.
            DtlsEngineOutput::PeerCertificate(der) => {
                if !self.is_the_peers(der) {
                    return Err(DtlsEngineError::Fingerprint);
                }
                self.certificate = Some(der.to_vec());
            }
            DtlsEngineOutput::Connected(session) => {
                if self.certificate.is_none() {
                    return Err(DtlsEngineError::Fingerprint);
                }
                self.session = Some(session);
            }
            DtlsEngineOutput::KeyingMaterial(keys) => self.keys = Some(keys),
            DtlsEngineOutput::ApplicationData(data) => {
                if self.session.is_some() && self.pending.push(data) {
                    self.stats.received.add(data.len());
                } else {
                    self.stats.dropped.add(data.len());
                }
            }
            DtlsEngineOutput::Closed => {
                tracing::debug!(target: "peerstack::dtls", "the peer closed the association");
                self.end_association();
                self.end_with(DtlsTransportState::Closed);
            }
        }
        Ok(())
    }

    /// Whether a certificate was signalled.
    fn is_the_peers(&self, der: &[u8]) -> bool {
        let fingerprints = self.remote.iter().flat_map(|remote| &remote.fingerprints);
        fingerprints.into_iter().any(|fingerprint| fingerprint.matches(der))
    }

    fn fail(&mut self, error: &DtlsEngineError) {
        self.end_association();
        self.events.emit(DtlsTransportEvent::HandshakeError(error.clone()));
        self.end_with(DtlsTransportState::Failed);
    }

    /// Not writable any more, then the state: in that order, as libwebrtc does.
    fn end_with(&mut self, state: DtlsTransportState) {
        self.deadline = None;
        self.alert = None;
        if self.told_writable {
            self.told_writable = false;
            self.events.emit(DtlsTransportEvent::WritableState(false));
        }
        self.set_state(state);
    }

    /// Forgets the association and what it gave. Data that was read under its keys stays readable.
    fn end_association(&mut self) {
        self.engine = None;
        self.hello_random = None;
        self.challenger = None;
        self.certificate = None;
        self.session = None;
        self.keys = None;
    }

    /// J02: a new certificate means a new association (RFC 8842 section 5.5).
    fn restart(&mut self, now: Instant) {
        self.end_association();
        self.early_hellos.clear();
        self.pending.clear();
        self.stats.restarts = 0;
        self.challenged = None;
        self.end_with(DtlsTransportState::New);
        self.maybe_start(now);
    }

    /// Closes what is below once close_notify has left.
    fn maybe_finish_close(&mut self, now: Instant) {
        let said = self.engine.as_ref().is_none_or(|engine| !engine.closing());
        if self.farewell.is_some_and(|latest| said || latest <= now) {
            self.farewell = None;
            self.finish_close(now);
        }
    }

    fn finish_close(&mut self, now: Instant) {
        self.end_association();
        self.ice.close(now);
        self.events.emit(DtlsTransportEvent::Closed);
    }

    fn handle_ice_event(&mut self, now: Instant, event: &IceTransportEvent) {
        match event {
            IceTransportEvent::WritableState(_) => self.maybe_start(now),
            IceTransportEvent::ReceivingState(receiving) => {
                self.events.emit(DtlsTransportEvent::ReceivingState(*receiving));
            }
            IceTransportEvent::ReadyToSend if self.writable() => {
                self.tell_writable();
                self.events.emit(DtlsTransportEvent::ReadyToSend);
            }
            IceTransportEvent::Closed if !self.closed => self.close(now),
            _ => {}
        }
    }
}

impl<I: IceTransport> DtlsTransportInternal for DtlsTransport<I> {
    type Ice = I;

    fn ice(&self) -> &I {
        &self.ice
    }

    fn ice_mut(&mut self) -> &mut I {
        &mut self.ice
    }

    fn receive<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Option<&'d mut [u8]> {
        // ICE hands over what came by a validated pair only.
        let datagram = self.ice.receive(now, datagram, meta)?;
        if self.config.is_none() {
            return Some(datagram);
        }
        match PacketClass::of(datagram) {
            PacketClass::Dtls => {
                self.handle_dtls(now, datagram);
                self.tell_writable();
                None
            }
            // D10: SRTP has keys of its own; before they exist nobody can read it.
            PacketClass::Rtp | PacketClass::Rtcp if self.state == DtlsTransportState::Connected => {
                Some(datagram)
            }
            _ => {
                self.stats.dropped.add(datagram.len());
                None
            }
        }
    }

    fn poll_data(&mut self) -> Option<&[u8]> {
        self.pending.pop()
    }

    fn send_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if !self.writable() {
            return Err(SendError::NotWritable);
        }
        if self.config.is_none() {
            return self.ice.send_with(now, options, len, write);
        }
        if options.srtp_bypass {
            return send_srtp(&mut self.ice, now, options, len, write);
        }
        let Some(engine) = &mut self.engine else { return Err(SendError::NotWritable) };
        self.scratch.clear();
        self.scratch.resize(len, 0);
        let written = write(&mut self.scratch).min(len);
        if written == 0 {
            return Ok(0);
        }
        match engine.send(now, self.scratch.get(..written).unwrap_or_default()) {
            Ok(()) => {}
            Err(DtlsEngineError::Busy) => {
                self.engine_busy = true;
                return Err(SendError::WouldBlock);
            }
            Err(DtlsEngineError::Send(_)) => return Err(SendError::Protect("the record was not sealed")),
            Err(error) => {
                self.engine_failed(now, error);
                self.tell_writable();
                return Err(SendError::NotWritable);
            }
        }
        let sent = self.pump_with(now, options);
        self.tell_writable();
        sent?;
        self.stats.sent.add(written);
        Ok(written)
    }

    fn next_timeout(&self) -> Option<Instant> {
        let engine = self.timed_engine().and_then(|engine| engine.poll_timeout());
        [self.ice.next_timeout(), engine, self.deadline, self.farewell].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
        if self.state == DtlsTransportState::Connecting && self.deadline.is_some_and(|at| at <= now) {
            self.fail(&self.alert.map_or(DtlsEngineError::Timeout, DtlsEngineError::Alert));
        }
        self.run_challenger_timers(now);
        if self.challenger.is_none()
            && let Some(engine) = &mut self.engine
            && engine.poll_timeout().is_some_and(|at| at <= now)
        {
            if let Err(error) = engine.handle_timeout(now) {
                self.engine_failed(now, error);
            }
            self.pump(now);
        }
        self.maybe_finish_close(now);
        self.tell_writable();
    }

    fn process(&mut self, now: Instant) {
        self.ice.process(now);
        while let Some(event) = self.ice_events.try_next() {
            self.handle_ice_event(now, &event);
        }
        self.pump(now);
        self.maybe_finish_close(now);
        self.tell_writable();
    }

    fn subscribe(&mut self) -> EventReceiver<DtlsTransportEvent> {
        self.events.subscribe()
    }

    fn writable(&self) -> bool {
        // D06: ICE first, then DTLS.
        let open = self.config.is_none() || self.state == DtlsTransportState::Connected;
        open && !self.closed && self.ice.writable()
    }

    fn state(&self) -> DtlsTransportState {
        self.state
    }

    fn role(&self) -> Option<DtlsRole> {
        self.remote.as_ref().map(|remote| remote.role)
    }

    fn srtp_keying_material(&self) -> Option<SrtpKeyingMaterial> {
        self.session.and(self.keys.clone())
    }

    fn remote_certificate(&self) -> Option<&[u8]> {
        // D08: what is shown during the handshake is not proved yet.
        self.session.and(self.certificate.as_deref())
    }

    fn tls_version(&self) -> Option<&'static str> {
        self.session.map(|session| session.version.as_str())
    }

    fn cipher_suite(&self) -> Option<&str> {
        self.session.and_then(|session| session.cipher_suite)
    }

    fn set_remote_parameters(
        &mut self,
        now: Instant,
        fingerprints: Vec<DtlsFingerprint>,
        role: DtlsRole,
    ) -> Result<(), String> {
        if self.closed {
            return Err("the DTLS transport is closed".into());
        }
        if self.config.is_none() {
            return Err("DTLS is disabled by configuration".into());
        }
        let fingerprints = usable_fingerprints(fingerprints)?;
        if let Some(remote) = &self.remote {
            let same = fingerprints.len() == remote.fingerprints.len()
                && fingerprints.iter().all(|fingerprint| remote.fingerprints.contains(fingerprint));
            if same && role == remote.role {
                return Ok(());
            }
            if same {
                return Err("the DTLS role changed without a new certificate fingerprint".into());
            }
        }
        self.remote = Some(RemoteParameters { fingerprints, role });
        if self.state == DtlsTransportState::New {
            self.maybe_start(now);
        } else {
            self.restart(now);
        }
        self.tell_writable();
        Ok(())
    }

    fn close(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        if let Some(engine) = &mut self.engine {
            engine.close(now);
            self.pump(now);
        }
        self.closed = true;
        self.early_hellos.clear();
        self.pending.clear();
        if self.engine.as_ref().is_some_and(|engine| engine.closing()) {
            self.farewell = Some(now + FAREWELL);
        }
        (self.certificate, self.session, self.keys) = (None, None, None);
        self.end_with(DtlsTransportState::Closed);
        if self.farewell.is_none() {
            self.finish_close(now);
        }
    }

    fn closing(&self) -> bool {
        self.farewell.is_some()
    }
}

/// D10: what is not SRTP must not leave unsealed.
fn send_srtp<I: IceTransport, F: FnOnce(&mut [u8]) -> usize>(
    ice: &mut I,
    now: Instant,
    options: &PacketOptions,
    len: usize,
    write: F,
) -> Result<usize, SendError> {
    let mut refused = false;
    let written = ice.send_with(now, options, len, |slot| {
        let written = write(slot).min(slot.len());
        let class = PacketClass::of(slot.get(..written).unwrap_or_default());
        refused = written > 0 && !matches!(class, PacketClass::Rtp | PacketClass::Rtcp);
        if refused { 0 } else { written }
    })?;
    if refused { Err(SendError::Malformed("what passes DTLS by must be SRTP or SRTCP")) } else { Ok(written) }
}

#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
mod tests;
