//! SRTP with keys from DTLS (RFC 5764). Runs on the network task; answers to libwebrtc's
//! `pc/dtls_srtp_transport.h`.
//!
//! Keys are read from DTLS as soon as it is connected and writable: in `process`, and at the latest when the first
//! protected packet comes, so that no packet behind the last handshake message is lost. They are forgotten
//! whenever DTLS leaves the connected state.

use std::fmt::Debug;
use std::time::Instant;

use peerstack_base::{EventReceiver, PacketOptions, ReceiveMeta, SendError};
use peerstack_dtls::{DtlsTransportInternal, DtlsTransportState, SrtpProtectionProfile};

use crate::header_extension_map::RtpHeaderExtensionMap;
use crate::rtp_demuxer::RtpDemuxer;
use crate::rtp_transport_internal::{
    Received, RtpTransportEvent, RtpTransportInternal, RtpTransportStats, SinkId,
};
use crate::srtp_backend::{SrtpBackendKind, SrtpError, SrtpKey};
use crate::srtp_transport::SrtpTransport;

/// SRTP over one DTLS transport, or two while RTCP is not multiplexed.
#[derive(Debug)]
pub struct DtlsSrtpTransport<D, S = SinkId> {
    srtp: SrtpTransport<D, S>,
    setup_error: Option<SrtpError>,
}

impl<D: DtlsTransportInternal, S: Copy + Eq + Debug> DtlsSrtpTransport<D, S> {
    /// Over `rtp`, and `rtcp` while RTCP is not multiplexed. `scope` names the transport in traces.
    pub fn new(scope: &str, rtp: D, rtcp: Option<D>, kind: SrtpBackendKind) -> Self {
        Self { srtp: SrtpTransport::new(scope, rtp, rtcp, kind), setup_error: None }
    }

    /// Replaces the transports below: the SRTP context is a new one (D15). Returns those that were there.
    pub fn set_dtls_transports(&mut self, rtp: D, rtcp: Option<D>) -> (D, Option<D>) {
        self.setup_error = None;
        self.srtp.replace_dtls(rtp, rtcp)
    }

    /// The profile in force.
    pub fn srtp_profile(&self) -> Option<SrtpProtectionProfile> {
        self.srtp.srtp_profile()
    }

    /// Why keys that DTLS exported could not be used, if that happened.
    pub fn setup_error(&self) -> Option<SrtpError> {
        self.setup_error
    }

    /// Which backend protects.
    pub fn backend_kind(&self) -> SrtpBackendKind {
        self.srtp.backend_kind()
    }

    /// D19: forgets a source that is received: its replay state, and whose it was.
    pub fn remove_ssrc(&mut self, ssrc: u32) {
        self.srtp.remove_ssrc(ssrc);
    }

    /// The header extensions whose values are encrypted (RFC 6904), by their ids; in force from the next keys on
    /// (D22).
    pub fn set_encrypted_header_extension_ids(&mut self, send: &[u8], receive: &[u8]) {
        self.srtp.set_encrypted_header_extension_ids(send, receive);
    }

    /// What the events of DTLS say, before its getters: leaving the connected state takes keys away even if it is
    /// connected again by now, and never those that were installed after it.
    fn follow_dtls(&mut self) {
        let (below, route) = self.srtp.rtp.drain_lower();
        if below.rtp_left_connected {
            self.srtp.reset_keys();
            self.setup_error = None;
        }
        if below.rtcp_left_connected {
            self.srtp.reset_rtcp_keys();
            self.setup_error = None;
        }
        self.maybe_setup_dtls_srtp();
        self.srtp.emit_route(route);
        let (active, writable) = (self.srtp_active(), self.writable());
        self.srtp.rtp.emit_changes(active, writable);
    }

    /// Installs the keys that are there and not yet installed.
    fn maybe_setup_dtls_srtp(&mut self) {
        // What failed once fails again with the same keys.
        if self.setup_error.is_some() {
            return;
        }
        if let Err(error) = self.try_setup_dtls_srtp() {
            tracing::warn!(target: "peerstack::rtp", %error, "the keys of DTLS cannot be used");
            self.setup_error = Some(error);
        }
    }

    fn try_setup_dtls_srtp(&mut self) -> Result<(), SrtpError> {
        if !self.srtp.rtp_keys_installed()
            && let Some((send, receive)) = exported(self.srtp.rtp_dtls())?
        {
            self.srtp.set_rtp_keys(&send, &receive)?;
        }
        if self.srtp.rtp.rtcp_apart()
            && !self.srtp.rtcp_keys_installed()
            && let Some(dtls) = self.srtp.rtcp_dtls()
            && let Some((send, receive)) = exported(dtls)?
        {
            self.srtp.set_rtcp_keys(&send, &receive)?;
        }
        Ok(())
    }
}

/// The keys of a transport that is connected and writable.
fn exported(dtls: &impl DtlsTransportInternal) -> Result<Option<(SrtpKey, SrtpKey)>, SrtpError> {
    if dtls.state() != DtlsTransportState::Connected || !dtls.writable() {
        return Ok(None);
    }
    match (dtls.srtp_keying_material(), dtls.role()) {
        (Some(material), Some(role)) => SrtpKey::from_dtls(&material, role).map(Some),
        _ => Ok(None),
    }
}

impl<D: DtlsTransportInternal, S: Copy + Eq + Debug> RtpTransportInternal for DtlsSrtpTransport<D, S> {
    type Dtls = D;
    type Sink = S;

    fn receive<'d>(&mut self, now: Instant, datagram: &'d mut [u8], meta: &ReceiveMeta) -> Received<'d, S> {
        let Some((component, class, packet)) = self.srtp.receive_lower(now, datagram, meta) else {
            return Received::None;
        };
        if !self.srtp_active() {
            self.follow_dtls();
        }
        self.srtp.receive_srtp(packet, class, component)
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
        self.srtp.send_rtp_with(now, options, len, write)
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
        self.srtp.send_rtcp_with(now, options, len, write)
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.srtp.next_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.srtp.handle_timeout(now);
    }

    fn process(&mut self, now: Instant) {
        self.srtp.rtp.process_lower(now);
        self.follow_dtls();
    }

    fn subscribe(&mut self) -> EventReceiver<RtpTransportEvent> {
        self.srtp.subscribe()
    }

    fn writable(&self) -> bool {
        self.srtp_active() && self.srtp.rtp.lower_writable()
    }

    fn ready_to_send(&self) -> bool {
        self.writable() && !self.srtp.rtp.blocked()
    }

    /// D14: keys of RTP, and of RTCP's own transport while it has one.
    fn srtp_active(&self) -> bool {
        let rtcp = if self.srtp.rtp.rtcp_mux_enabled() { true } else { self.srtp.rtcp_keys_installed() };
        self.srtp.rtp_keys_installed() && rtcp
    }

    fn rtcp_mux_enabled(&self) -> bool {
        self.srtp.rtcp_mux_enabled()
    }

    fn set_rtcp_mux_enabled(&mut self, enabled: bool) {
        self.srtp.set_rtcp_mux_enabled(enabled);
    }

    fn rtp_dtls(&self) -> &D {
        self.srtp.rtp_dtls()
    }

    fn rtp_dtls_mut(&mut self) -> &mut D {
        self.srtp.rtp_dtls_mut()
    }

    fn rtcp_dtls(&self) -> Option<&D> {
        self.srtp.rtcp_dtls()
    }

    fn rtcp_dtls_mut(&mut self) -> Option<&mut D> {
        self.srtp.rtcp_dtls_mut()
    }

    fn remove_rtcp_dtls(&mut self) -> Option<D> {
        self.srtp.remove_rtcp_dtls()
    }

    fn demuxer(&self) -> &RtpDemuxer<S> {
        self.srtp.demuxer()
    }

    fn demuxer_mut(&mut self) -> &mut RtpDemuxer<S> {
        self.srtp.demuxer_mut()
    }

    fn extensions(&self) -> &RtpHeaderExtensionMap {
        self.srtp.extensions()
    }

    fn set_extensions(&mut self, extensions: RtpHeaderExtensionMap) {
        self.srtp.set_extensions(extensions);
    }

    fn stats(&self) -> RtpTransportStats {
        self.srtp.stats()
    }
}

#[cfg(test)]
#[path = "dtls_srtp_transport_tests.rs"]
mod tests;
