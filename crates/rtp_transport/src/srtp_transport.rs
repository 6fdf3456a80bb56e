//! RTP under SRTP with keys that are given to it: by DTLS (see [`DtlsSrtpTransport`](crate::DtlsSrtpTransport)) or
//! by explicit configuration (SDES, RFC 4568). Runs on the network task; answers to libwebrtc's
//! `pc/srtp_transport.h`.

use std::fmt::Debug;
use std::time::Instant;

use peerstack_base::{EventReceiver, PacketClass, PacketOptions, ReceiveMeta, SendError};
use peerstack_dtls::{DtlsTransportInternal, SrtpProtectionProfile};
use peerstack_p2p::NetworkRoute;

use crate::header_extension_map::RtpHeaderExtensionMap;
use crate::rtp_demuxer::RtpDemuxer;
use crate::rtp_transport::{Component, RtpTransport};
use crate::rtp_transport_internal::{
    Received, RtpTransportEvent, RtpTransportInternal, RtpTransportStats, SinkId,
};
use crate::srtp_backend::{SrtpBackendKind, SrtpError, SrtpKey};
use crate::srtp_session::SrtpSession;

/// RTP under SRTP.
#[derive(Debug)]
pub struct SrtpTransport<D, S = SinkId> {
    pub(crate) rtp: RtpTransport<D, S>,
    kind: SrtpBackendKind,
    session: SrtpSession,
    /// RTCP's own keys, while DTLS made some for its own transport.
    rtcp_session: Option<SrtpSession>,
    encrypted_send: Vec<u8>,
    encrypted_receive: Vec<u8>,
}

impl<D: DtlsTransportInternal, S: Copy + Eq + Debug> SrtpTransport<D, S> {
    /// Over `rtp`, and `rtcp` while RTCP is not multiplexed; without keys at first.
    pub fn new(scope: &str, rtp: D, rtcp: Option<D>, kind: SrtpBackendKind) -> Self {
        Self {
            rtp: RtpTransport::new(scope, rtp, rtcp),
            kind,
            session: SrtpSession::new(kind),
            rtcp_session: None,
            encrypted_send: Vec::new(),
            encrypted_receive: Vec::new(),
        }
    }

    /// Installs the keys of RTP, and of RTCP too unless [`set_rtcp_keys`](Self::set_rtcp_keys) gives it its own.
    /// Other keys than those installed make a new session.
    ///
    /// # Errors
    /// The backend refuses a key; the session is then as it was.
    pub fn set_rtp_keys(&mut self, send: &SrtpKey, receive: &SrtpKey) -> Result<(), SrtpError> {
        self.session = self.make_session(send, receive)?;
        Ok(())
    }

    /// Installs the keys of RTCP, where it has a transport of its own.
    ///
    /// # Errors
    /// As [`set_rtp_keys`](Self::set_rtp_keys).
    pub fn set_rtcp_keys(&mut self, send: &SrtpKey, receive: &SrtpKey) -> Result<(), SrtpError> {
        self.rtcp_session = Some(self.make_session(send, receive)?);
        Ok(())
    }

    fn make_session(&self, send: &SrtpKey, receive: &SrtpKey) -> Result<SrtpSession, SrtpError> {
        let mut session = SrtpSession::new(self.kind);
        session.set_send(send, &self.encrypted_send)?;
        session.set_receive(receive, &self.encrypted_receive)?;
        Ok(session)
    }

    /// Forgets all keys.
    pub fn reset_keys(&mut self) {
        self.session = SrtpSession::new(self.kind);
        self.rtcp_session = None;
    }

    /// Forgets RTCP's own keys.
    pub(crate) fn reset_rtcp_keys(&mut self) {
        self.rtcp_session = None;
    }

    /// Whether RTP has keys in both directions, whatever RTCP needs.
    pub(crate) fn rtp_keys_installed(&self) -> bool {
        self.session.is_active()
    }

    /// Whether RTCP has keys of its own.
    pub(crate) fn rtcp_keys_installed(&self) -> bool {
        self.rtcp_session.is_some()
    }

    /// The header extensions whose values are encrypted (RFC 6904), by their ids; in force from the next keys on
    /// (D22).
    pub fn set_encrypted_header_extension_ids(&mut self, send: &[u8], receive: &[u8]) {
        self.encrypted_send = send.to_vec();
        self.encrypted_receive = receive.to_vec();
    }

    /// The profile in force.
    pub fn srtp_profile(&self) -> Option<SrtpProtectionProfile> {
        self.session.is_active().then(|| self.session.profile()).flatten()
    }

    /// Which backend protects.
    pub fn backend_kind(&self) -> SrtpBackendKind {
        self.kind
    }

    /// D19: forgets a source that is received: its replay state, and whose it was.
    pub fn remove_ssrc(&mut self, ssrc: u32) {
        self.session.remove_ssrc(ssrc);
        self.rtp.forget_told(ssrc);
        self.rtp.demuxer_mut().forget_ssrc(ssrc);
    }

    /// Replaces the transports below and forgets the keys that came from them (D15); returns those that were
    /// there.
    pub(crate) fn replace_dtls(&mut self, rtp: D, rtcp: Option<D>) -> (D, Option<D>) {
        self.reset_keys();
        self.rtp.replace_dtls(rtp, rtcp)
    }

    pub(crate) fn receive_srtp<'d>(
        &mut self,
        packet: &'d mut [u8],
        class: PacketClass,
        component: Component,
    ) -> Received<'d, S> {
        let wire_len = packet.len();
        let unprotected = match (class, component, &mut self.rtcp_session) {
            (PacketClass::Rtcp, Component::Rtcp, Some(session)) => session.unprotect_rtcp(packet),
            (PacketClass::Rtcp, ..) => self.session.unprotect_rtcp(packet),
            _ => self.session.unprotect_rtp(packet),
        };
        let len = match unprotected {
            Ok(len) => len,
            Err(error) => {
                tracing::trace!(target: "peerstack::rtp", %error, len = wire_len, "packet dropped");
                self.rtp.count_drop(error);
                return Received::None;
            }
        };
        let packet = packet.get(..len).unwrap_or_default();
        match class {
            PacketClass::Rtcp => self.rtp.deliver_rtcp(packet, wire_len),
            _ => self.rtp.deliver_rtp(packet, wire_len),
        }
    }

    pub(crate) fn receive_lower<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Option<(Component, PacketClass, &'d mut [u8])> {
        self.rtp.receive_lower(now, datagram, meta)
    }

    /// Tells the route if it changed.
    pub(crate) fn emit_route(&mut self, route: Option<Option<NetworkRoute>>) {
        if let Some(route) = route {
            self.rtp.emit_route(route, self.session.rtp_overhead());
        }
    }
}

/// What goes upward of SRTP's refusal.
fn send_error(error: SrtpError) -> SendError {
    match error {
        SrtpError::NoKeys => SendError::NotWritable,
        SrtpError::Rtp(_) => SendError::Malformed("not an RTP packet"),
        SrtpError::Rtcp(what) => SendError::Malformed(what),
        SrtpError::BufferTooSmall { need, have } => SendError::TooLarge { len: need, limit: have },
        SrtpError::IndexReused => SendError::Protect("the sequence number was used for another packet"),
        SrtpError::TooOld => SendError::Protect("the sequence number is too old"),
        SrtpError::KeyExpired => SendError::Protect("the key is used up"),
        SrtpError::TooManySsrcs => SendError::Protect("too many SSRCs"),
        _ => SendError::Protect("the cipher refused"),
    }
}

impl<D: DtlsTransportInternal, S: Copy + Eq + Debug> RtpTransportInternal for SrtpTransport<D, S> {
    type Dtls = D;
    type Sink = S;

    fn receive<'d>(&mut self, now: Instant, datagram: &'d mut [u8], meta: &ReceiveMeta) -> Received<'d, S> {
        match self.receive_lower(now, datagram, meta) {
            Some((component, class, packet)) => self.receive_srtp(packet, class, component),
            None => Received::None,
        }
    }

    fn send_rtp_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        if !self.srtp_active() {
            return Err(SendError::NotWritable);
        }
        let session = &mut self.session;
        let lens = (len, session.rtp_overhead());
        self.rtp.send_lower(now, PacketClass::Rtp, options, lens, write, |slot, written| {
            session.protect_rtp(slot, written).map_err(send_error)
        })
    }

    fn send_rtcp_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        if !self.srtp_active() {
            return Err(SendError::NotWritable);
        }
        let session = match &mut self.rtcp_session {
            Some(session) if self.rtp.rtcp_apart() => session,
            _ => &mut self.session,
        };
        let lens = (len, session.rtcp_overhead());
        self.rtp.send_lower(now, PacketClass::Rtcp, options, lens, write, |slot, written| {
            session.protect_rtcp(slot, written).map_err(send_error)
        })
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.rtp.next_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.rtp.handle_timeout(now);
    }

    fn process(&mut self, now: Instant) {
        self.rtp.process_lower(now);
        let (_, route) = self.rtp.drain_lower();
        self.emit_route(route);
        let (active, writable) = (self.srtp_active(), self.writable());
        self.rtp.emit_changes(active, writable);
    }

    fn subscribe(&mut self) -> EventReceiver<RtpTransportEvent> {
        self.rtp.subscribe()
    }

    fn writable(&self) -> bool {
        self.srtp_active() && self.rtp.lower_writable()
    }

    fn ready_to_send(&self) -> bool {
        self.writable() && !self.rtp.blocked()
    }

    fn srtp_active(&self) -> bool {
        self.session.is_active()
    }

    fn rtcp_mux_enabled(&self) -> bool {
        self.rtp.rtcp_mux_enabled()
    }

    fn set_rtcp_mux_enabled(&mut self, enabled: bool) {
        self.rtp.set_rtcp_mux_enabled(enabled);
    }

    fn rtp_dtls(&self) -> &D {
        self.rtp.rtp_dtls()
    }

    fn rtp_dtls_mut(&mut self) -> &mut D {
        self.rtp.rtp_dtls_mut()
    }

    fn rtcp_dtls(&self) -> Option<&D> {
        self.rtp.rtcp_dtls()
    }

    fn rtcp_dtls_mut(&mut self) -> Option<&mut D> {
        self.rtp.rtcp_dtls_mut()
    }

    fn remove_rtcp_dtls(&mut self) -> Option<D> {
        self.rtcp_session = None;
        self.rtp.remove_rtcp_dtls()
    }

    fn demuxer(&self) -> &RtpDemuxer<S> {
        self.rtp.demuxer()
    }

    fn demuxer_mut(&mut self) -> &mut RtpDemuxer<S> {
        self.rtp.demuxer_mut()
    }

    fn extensions(&self) -> &RtpHeaderExtensionMap {
        self.rtp.extensions()
    }

    fn set_extensions(&mut self, extensions: RtpHeaderExtensionMap) {
        self.rtp.set_extensions(extensions);
    }

    fn stats(&self) -> RtpTransportStats {
        self.rtp.stats()
    }
}

#[cfg(test)]
#[path = "srtp_transport_tests.rs"]
mod tests;
