//! A DTLS transport under a test's command, for the unit tests of the layers above. Answers to libwebrtc's
//! `p2p/dtls/fake_dtls_transport.h`.
//!
//! Nothing is encrypted: what is sent lies in the [`outbox`](FakeDtlsTransport::outbox), what
//! [`push_data`](FakeDtlsTransport::push_data) put in comes out of `poll_data`. Each setter emits the event the
//! real transport would, on a change only.

use std::collections::VecDeque;
use std::time::Instant;

use peerstack_base::{EventReceiver, EventSource, PacketClass, PacketOptions, ReceiveMeta, SendError};
use peerstack_p2p::{FakeIceTransport, IceTransport, NetworkRoute};

use crate::{
    DtlsFingerprint, DtlsRole, DtlsTransportEvent, DtlsTransportInternal, DtlsTransportState,
    SrtpKeyingMaterial, SrtpProtectionProfile,
};

/// One packet that was sent through a [`FakeDtlsTransport`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeSentPacket {
    /// What was written into the slot.
    pub bytes: Vec<u8>,
    /// How it was to be sent; `srtp_bypass` tells SRTP from application data.
    pub options: PacketOptions,
    /// The size of the slot that was asked for.
    pub slot_len: usize,
}

/// A DTLS transport whose state, keys and packets a test sets.
#[derive(Debug)]
pub struct FakeDtlsTransport {
    ice: FakeIceTransport,
    events: EventSource<DtlsTransportEvent>,
    state: DtlsTransportState,
    writable: bool,
    receiving: bool,
    role: Option<DtlsRole>,
    keys: Option<SrtpKeyingMaterial>,
    remote_certificate: Option<Vec<u8>>,
    remote_fingerprints: Vec<DtlsFingerprint>,
    inbox: VecDeque<Vec<u8>>,
    current: Vec<u8>,
    outbox: Vec<FakeSentPacket>,
    send_error: Option<SendError>,
    max_packet: usize,
}

impl Default for FakeDtlsTransport {
    fn default() -> Self {
        Self::new("fake dtls")
    }
}

impl FakeDtlsTransport {
    /// A transport in state `New`, not writable, without keys. `scope` names it in traces.
    pub fn new(scope: &str) -> Self {
        Self {
            ice: FakeIceTransport::new(),
            events: EventSource::new(scope),
            state: DtlsTransportState::New,
            writable: false,
            receiving: false,
            role: None,
            keys: None,
            remote_certificate: None,
            remote_fingerprints: Vec::new(),
            inbox: VecDeque::new(),
            current: Vec::new(),
            outbox: Vec::new(),
            send_error: None,
            max_packet: 65_507,
        }
    }

    /// Two transports as after one handshake: client and server, connected, writable, the same keys.
    pub fn connected_pair(profile: SrtpProtectionProfile) -> (Self, Self) {
        let (mut client, mut server) = (Self::new("fake client"), Self::new("fake server"));
        client.connect(DtlsRole::Client, profile, 1);
        server.connect(DtlsRole::Server, profile, 1);
        (client, server)
    }

    /// What a handshake does: role, keys made from `seed` (the same at both ends), `Connected`, writable.
    pub fn connect(&mut self, role: DtlsRole, profile: SrtpProtectionProfile, seed: u8) {
        self.set_role(Some(role));
        self.set_srtp_keying_material(Some(Self::keying_material(profile, seed)));
        self.remote_certificate = Some(vec![seed; 16]);
        self.set_state(DtlsTransportState::Connected);
        self.set_writable(true);
    }

    /// Keying material that depends on `profile` and `seed` alone.
    pub fn keying_material(profile: SrtpProtectionProfile, seed: u8) -> SrtpKeyingMaterial {
        let len = 2 * (profile.key_len() + profile.salt_len());
        let material =
            (0..len).map(|i| seed.wrapping_mul(31).wrapping_add((i as u8).wrapping_mul(7))).collect();
        SrtpKeyingMaterial { profile, material }
    }

    /// Sets [`DtlsTransportInternal::writable`]; ICE below is set alike. Emits `WritableState`, and
    /// `ReadyToSend` when it became writable.
    pub fn set_writable(&mut self, writable: bool) {
        self.ice.set_writable(writable);
        if self.writable != writable {
            self.writable = writable;
            self.events.emit(DtlsTransportEvent::WritableState(writable));
            if writable {
                self.events.emit(DtlsTransportEvent::ReadyToSend);
            }
        }
    }

    /// Emits `ReceivingState` on a change.
    pub fn set_receiving(&mut self, receiving: bool) {
        if self.receiving != receiving {
            self.receiving = receiving;
            self.events.emit(DtlsTransportEvent::ReceivingState(receiving));
        }
    }

    /// Sets [`DtlsTransportInternal::state`]. Emits `StateChange`, and `Closed` behind it.
    pub fn set_state(&mut self, state: DtlsTransportState) {
        if self.state != state {
            self.state = state;
            self.events.emit(DtlsTransportEvent::StateChange(state));
            if state == DtlsTransportState::Closed {
                self.events.emit(DtlsTransportEvent::Closed);
            }
        }
    }

    /// Emits any event, for example `HandshakeError`.
    pub fn emit(&mut self, event: DtlsTransportEvent) {
        self.events.emit(event);
    }

    /// Emits `ReadyToSend`, as after `WouldBlock`.
    pub fn emit_ready_to_send(&mut self) {
        self.events.emit(DtlsTransportEvent::ReadyToSend);
    }

    /// Sets the role.
    pub fn set_role(&mut self, role: Option<DtlsRole>) {
        self.role = role;
    }

    /// Sets what the exporter gives.
    pub fn set_srtp_keying_material(&mut self, keys: Option<SrtpKeyingMaterial>) {
        self.keys = keys;
    }

    /// Sets the peer's certificate.
    pub fn set_remote_certificate(&mut self, certificate: Option<Vec<u8>>) {
        self.remote_certificate = certificate;
    }

    /// The fingerprints last given to `set_remote_parameters`.
    pub fn remote_fingerprints(&self) -> &[DtlsFingerprint] {
        &self.remote_fingerprints
    }

    /// Sets the route of the ICE transport below and emits its event.
    pub fn set_network_route(&mut self, route: Option<NetworkRoute>) {
        self.ice.set_network_route(route);
    }

    /// What `send_with` fails with from now on; `None` to let it send again.
    pub fn set_send_error(&mut self, error: Option<SendError>) {
        self.send_error = error;
    }

    /// The largest slot `send_with` gives.
    pub fn set_max_packet(&mut self, max: usize) {
        self.max_packet = max;
    }

    /// Puts a record of application data where `poll_data` finds it.
    pub fn push_data(&mut self, record: impl Into<Vec<u8>>) {
        self.inbox.push_back(record.into());
    }

    /// What was sent and not yet taken, in order.
    pub fn outbox(&self) -> &[FakeSentPacket] {
        &self.outbox
    }

    /// Takes what was sent.
    pub fn take_outbox(&mut self) -> Vec<FakeSentPacket> {
        std::mem::take(&mut self.outbox)
    }

    /// Takes the bytes of what was sent past DTLS.
    pub fn take_srtp(&mut self) -> Vec<Vec<u8>> {
        self.take_where(true)
    }

    /// Takes the application data that was sent.
    pub fn take_data(&mut self) -> Vec<Vec<u8>> {
        self.take_where(false)
    }

    fn take_where(&mut self, bypass: bool) -> Vec<Vec<u8>> {
        let (taken, kept) = std::mem::take(&mut self.outbox)
            .into_iter()
            .partition::<Vec<_>, _>(|packet| packet.options.srtp_bypass == bypass);
        self.outbox = kept;
        taken.into_iter().map(|packet| packet.bytes).collect()
    }
}

impl DtlsTransportInternal for FakeDtlsTransport {
    type Ice = FakeIceTransport;

    fn ice(&self) -> &FakeIceTransport {
        &self.ice
    }

    fn ice_mut(&mut self) -> &mut FakeIceTransport {
        &mut self.ice
    }

    fn receive<'d>(
        &mut self,
        _now: Instant,
        datagram: &'d mut [u8],
        _meta: &ReceiveMeta,
    ) -> Option<&'d mut [u8]> {
        match PacketClass::of(datagram) {
            PacketClass::Rtp | PacketClass::Rtcp => Some(datagram),
            // Stands for one record of application data.
            PacketClass::Dtls if self.state == DtlsTransportState::Connected => {
                self.inbox.push_back(datagram.to_vec());
                None
            }
            _ => None,
        }
    }

    fn poll_data(&mut self) -> Option<&[u8]> {
        self.current = self.inbox.pop_front()?;
        Some(&self.current)
    }

    fn send_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        _now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        if self.state == DtlsTransportState::Closed {
            return Err(SendError::Closed);
        }
        if let Some(error) = self.send_error {
            return Err(error);
        }
        if !self.writable {
            return Err(SendError::NotWritable);
        }
        if len > self.max_packet {
            return Err(SendError::TooLarge { len, limit: self.max_packet });
        }
        let mut bytes = vec![0; len];
        let written = write(&mut bytes).min(len);
        bytes.truncate(written);
        if written > 0 {
            self.outbox.push(FakeSentPacket { bytes, options: *options, slot_len: len });
        }
        Ok(written)
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.ice.next_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.ice.handle_timeout(now);
    }

    fn process(&mut self, now: Instant) {
        self.ice.process(now);
    }

    fn subscribe(&mut self) -> EventReceiver<DtlsTransportEvent> {
        self.events.subscribe()
    }

    fn writable(&self) -> bool {
        self.writable
    }

    fn state(&self) -> DtlsTransportState {
        self.state
    }

    fn role(&self) -> Option<DtlsRole> {
        self.role
    }

    fn srtp_keying_material(&self) -> Option<SrtpKeyingMaterial> {
        self.keys.clone()
    }

    fn remote_certificate(&self) -> Option<&[u8]> {
        self.remote_certificate.as_deref()
    }

    fn tls_version(&self) -> Option<&'static str> {
        (self.state == DtlsTransportState::Connected).then_some("DTLS 1.3")
    }

    fn cipher_suite(&self) -> Option<&str> {
        (self.state == DtlsTransportState::Connected).then_some("TLS_AES_128_GCM_SHA256")
    }

    fn set_remote_parameters(
        &mut self,
        _now: Instant,
        fingerprints: Vec<DtlsFingerprint>,
        role: DtlsRole,
    ) -> Result<(), String> {
        if fingerprints.is_empty() {
            return Err("no fingerprint".to_owned());
        }
        self.remote_fingerprints = fingerprints;
        self.role = Some(role);
        Ok(())
    }

    fn close(&mut self, now: Instant) {
        self.set_writable(false);
        self.set_state(DtlsTransportState::Closed);
        self.ice.close(now);
    }
}
