//! Which RTP transport a JsepTransport has: DTLS-SRTP, or by explicit configuration SRTP with keys given, or plain
//! RTP.
//!
//! Dispatch is static within each kind. Answers to `unencrypted_rtp_transport_`, `sdes_transport_` and
//! `dtls_srtp_transport_` of libwebrtc's `pc/jsep_transport.h`.

use std::time::Instant;

use peerstack_base::{EventReceiver, PacketOptions, ReceiveMeta, SendError};
use peerstack_dtls::{DtlsTransportInternal, SrtpProtectionProfile};
use peerstack_rtp_transport::{
    DtlsSrtpTransport, Received, RtpDemuxer, RtpHeaderExtensionMap, RtpTransport, RtpTransportEvent,
    RtpTransportInternal, RtpTransportStats, SinkId, SrtpBackendKind, SrtpError, SrtpKey, SrtpSession,
    SrtpTransport,
};

use crate::crypto_params::SrtpKeys;

/// How RTP is protected. All but the first are for closed networks and tests: a browser takes DTLS-SRTP only
/// (RFC 8827 section 6.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RtpProtection {
    /// SRTP with keys from DTLS (RFC 5764).
    #[default]
    DtlsSrtp,
    /// SRTP with keys that were agreed on elsewhere; the factory's transports have DTLS disabled.
    Srtp {
        /// The key to send with.
        send: SrtpKey,
        /// The key to receive with.
        receive: SrtpKey,
    },
    /// SRTP with keys that offer and answer say (SDES, RFC 4568), which are as safe as the signalling is; the factory's
    /// transports have DTLS disabled.
    Sdes,
    /// No protection; the factory's transports have DTLS disabled.
    None,
}

impl RtpProtection {
    /// SRTP with these keys.
    ///
    /// # Errors
    /// The backend does not take them.
    pub fn srtp(kind: SrtpBackendKind, send: SrtpKey, receive: SrtpKey) -> Result<Self, SrtpError> {
        let mut session = SrtpSession::new(kind);
        session.set_send(&send, &[])?;
        session.set_receive(&receive, &[])?;
        Ok(Self::Srtp { send, receive })
    }
}

/// The RTP transport of a JsepTransport; its verbs are those of [`RtpTransportInternal`].
#[derive(Debug)]
pub enum RtpTransportKind<D: DtlsTransportInternal> {
    /// RTP in the clear.
    Rtp(RtpTransport<D>),
    /// SRTP with keys that were given.
    Srtp(SrtpTransport<D>),
    /// SRTP with keys from DTLS.
    DtlsSrtp(DtlsSrtpTransport<D>),
}

/// The same on each kind.
macro_rules! each {
    ($kind:expr, $transport:ident => $call:expr) => {
        match $kind {
            RtpTransportKind::Rtp($transport) => $call,
            RtpTransportKind::Srtp($transport) => $call,
            RtpTransportKind::DtlsSrtp($transport) => $call,
        }
    };
}

impl<D: DtlsTransportInternal> RtpTransportKind<D> {
    /// Over one DTLS transport, RTCP multiplexed, or over two with RTCP apart until that is agreed on. `scope` names it in
    /// traces.
    pub fn new(
        scope: &str,
        dtls: D,
        rtcp: Option<D>,
        backend: SrtpBackendKind,
        protection: &RtpProtection,
    ) -> Self {
        match protection {
            RtpProtection::DtlsSrtp => Self::DtlsSrtp(DtlsSrtpTransport::new(scope, dtls, rtcp, backend)),
            RtpProtection::Srtp { send, receive } => {
                let mut srtp = SrtpTransport::new(scope, dtls, rtcp, backend);
                if let Err(error) = srtp.set_rtp_keys(send, receive) {
                    // Without keys nothing is sent and all that comes is dropped and counted.
                    tracing::error!(target: "peerstack::jsep", %error, "the configured SRTP keys are refused");
                }
                Self::Srtp(srtp)
            }
            RtpProtection::Sdes => Self::Srtp(SrtpTransport::new(scope, dtls, rtcp, backend)),
            RtpProtection::None => Self::Rtp(RtpTransport::new(scope, dtls, rtcp)),
        }
    }

    /// The DTLS transport below.
    pub fn dtls(&self) -> &D {
        self.rtp_dtls()
    }

    /// Keys that offer and answer agreed on, or none again.
    pub(crate) fn set_srtp_keys(&mut self, keys: Option<&SrtpKeys>) -> Result<(), SrtpError> {
        let Self::Srtp(transport) = self else { return Ok(()) };
        match keys {
            Some(keys) => transport.set_rtp_keys(&keys.send, &keys.receive),
            None => {
                transport.reset_keys();
                Ok(())
            }
        }
    }

    /// The SRTP profile in force.
    pub fn srtp_profile(&self) -> Option<SrtpProtectionProfile> {
        match self {
            Self::Rtp(_) => None,
            Self::Srtp(transport) => transport.srtp_profile(),
            Self::DtlsSrtp(transport) => transport.srtp_profile(),
        }
    }

    /// Why keys that DTLS exported could not be used, if that happened.
    pub fn setup_error(&self) -> Option<SrtpError> {
        match self {
            Self::DtlsSrtp(transport) => transport.setup_error(),
            Self::Rtp(_) | Self::Srtp(_) => None,
        }
    }

    /// The header extensions whose values are encrypted (RFC 6904), by their ids (D22).
    pub(crate) fn set_encrypted_header_extension_ids(&mut self, send: &[u8], receive: &[u8]) {
        match self {
            Self::Rtp(_) => {}
            Self::Srtp(transport) => transport.set_encrypted_header_extension_ids(send, receive),
            Self::DtlsSrtp(transport) => transport.set_encrypted_header_extension_ids(send, receive),
        }
    }

    /// Forgets a source that is received: its replay state, and whose it was (D19).
    pub fn remove_ssrc(&mut self, ssrc: u32) {
        match self {
            Self::Rtp(transport) => transport.demuxer_mut().forget_ssrc(ssrc),
            Self::Srtp(transport) => transport.remove_ssrc(ssrc),
            Self::DtlsSrtp(transport) => transport.remove_ssrc(ssrc),
        }
    }
}

impl<D: DtlsTransportInternal> RtpTransportInternal for RtpTransportKind<D> {
    type Dtls = D;
    type Sink = SinkId;

    fn receive<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Received<'d, SinkId> {
        each!(self, transport => transport.receive(now, datagram, meta))
    }

    fn send_rtp_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        each!(self, transport => transport.send_rtp_with(now, options, len, write))
    }

    fn send_rtcp_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError> {
        each!(self, transport => transport.send_rtcp_with(now, options, len, write))
    }

    fn next_timeout(&self) -> Option<Instant> {
        each!(self, transport => transport.next_timeout())
    }

    fn handle_timeout(&mut self, now: Instant) {
        each!(self, transport => transport.handle_timeout(now));
    }

    fn process(&mut self, now: Instant) {
        each!(self, transport => transport.process(now));
    }

    fn subscribe(&mut self) -> EventReceiver<RtpTransportEvent> {
        each!(self, transport => transport.subscribe())
    }

    fn writable(&self) -> bool {
        each!(self, transport => transport.writable())
    }

    fn ready_to_send(&self) -> bool {
        each!(self, transport => transport.ready_to_send())
    }

    fn srtp_active(&self) -> bool {
        each!(self, transport => transport.srtp_active())
    }

    fn rtcp_mux_enabled(&self) -> bool {
        each!(self, transport => transport.rtcp_mux_enabled())
    }

    fn set_rtcp_mux_enabled(&mut self, enabled: bool) {
        each!(self, transport => transport.set_rtcp_mux_enabled(enabled));
    }

    fn rtp_dtls(&self) -> &D {
        each!(self, transport => transport.rtp_dtls())
    }

    fn rtp_dtls_mut(&mut self) -> &mut D {
        each!(self, transport => transport.rtp_dtls_mut())
    }

    fn rtcp_dtls(&self) -> Option<&D> {
        each!(self, transport => transport.rtcp_dtls())
    }

    fn rtcp_dtls_mut(&mut self) -> Option<&mut D> {
        each!(self, transport => transport.rtcp_dtls_mut())
    }

    fn remove_rtcp_dtls(&mut self) -> Option<D> {
        each!(self, transport => transport.remove_rtcp_dtls())
    }

    fn demuxer(&self) -> &RtpDemuxer<SinkId> {
        each!(self, transport => transport.demuxer())
    }

    fn demuxer_mut(&mut self) -> &mut RtpDemuxer<SinkId> {
        each!(self, transport => transport.demuxer_mut())
    }

    fn extensions(&self) -> &RtpHeaderExtensionMap {
        each!(self, transport => transport.extensions())
    }

    fn set_extensions(&mut self, extensions: RtpHeaderExtensionMap) {
        each!(self, transport => transport.set_extensions(extensions));
    }

    fn stats(&self) -> RtpTransportStats {
        each!(self, transport => transport.stats())
    }
}
