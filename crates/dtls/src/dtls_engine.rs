//! What a DTLS implementation is to [`DtlsTransport`](crate::DtlsTransport): sans-IO, told the time, polled
//! for what it wants. Answers to libwebrtc's `rtc_base/ssl_stream_adapter.h`; owned by the network task.
//!
//! An engine is one association in one role. It authenticates nobody: it shows the peer's certificate before
//! it says `Connected`, and whoever drives it compares fingerprints before a key or a byte is used.

use std::fmt;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::{Certificate, DtlsFingerprint, DtlsRole, SrtpKeyingMaterial, SrtpProtectionProfile};

/// The largest handshake datagram that is looked at (libwebrtc's `kMaxDtlsPacketLen`). Together with the
/// bound on fragments an engine keeps it bounds a handshake message, and so a certificate.
pub(crate) const MAX_HANDSHAKE_DATAGRAM: usize = 2048;

/// DTLS versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DtlsVersion {
    /// RFC 6347.
    Dtls12,
    /// RFC 9147.
    Dtls13,
}

impl DtlsVersion {
    /// `"DTLS 1.2"` or `"DTLS 1.3"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dtls12 => "DTLS 1.2",
            Self::Dtls13 => "DTLS 1.3",
        }
    }
}

impl fmt::Display for DtlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which implementation speaks DTLS. Not W3C's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DtlsEngineKind {
    /// `dimpl`: DTLS 1.3 and 1.2, no task of its own.
    #[default]
    Dimpl,
    /// `webrtc-dtls` behind a bridge: DTLS 1.2; needs the Cargo feature `webrtc-dtls` and a tokio runtime.
    WebrtcDtls,
}

/// Why an association cannot go on. Every one of them ends the engine.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DtlsEngineError {
    /// The configuration cannot be met by this engine.
    #[error("the DTLS configuration cannot be used: {0}")]
    Configuration(String),
    /// The handshake took longer than it may.
    #[error("the DTLS handshake timed out")]
    Timeout,
    /// The handshake was not done some seconds after a plaintext fatal alert (RFC 8446 section 6.2).
    #[error("the peer, or somebody in its name, refused the DTLS handshake with alert {0}")]
    Alert(u8),
    /// What came from the peer, or from somebody in its name, ended the association.
    #[error("the DTLS association failed: {0}")]
    Protocol(String),
    /// The handshake agreed on an SRTP profile that was not configured, which an engine that offers its own cannot
    /// prevent.
    #[error("the SRTP profile agreed on was not configured: {0}")]
    SrtpProfile(&'static str),
    /// The peer's certificate is none of those that were signalled (RFC 8122 section 6).
    #[error("the peer's certificate does not match a signalled fingerprint")]
    Fingerprint,
    /// The peer's certificate cannot be used by this engine, for example because its key is RSA.
    #[error("the peer's certificate cannot be used: {0}")]
    Certificate(String),
    /// Sending application data failed.
    #[error("application data was not sent: {0}")]
    Send(String),
    /// The engine cannot take more application data for now.
    #[error("the DTLS engine is busy")]
    Busy,
    /// There is no association any more.
    #[error("the DTLS association is closed")]
    Closed,
}

impl DtlsEngineError {
    /// Whether somebody who merely sends datagrams in the peer's name may have caused it. Then it is worth
    /// beginning anew.
    pub(crate) fn may_be_anybody_s(&self) -> bool {
        matches!(self, Self::Protocol(_))
    }
}

/// How to build an engine.
#[derive(Clone)]
pub(crate) struct DtlsEngineConfig {
    /// Ours.
    pub certificate: Certificate,
    /// Which side we are.
    pub role: DtlsRole,
    /// Of the peer's certificate, for an engine that can refuse one during the handshake. Who drives the engine
    /// checks it in any case.
    #[cfg_attr(
        not(feature = "webrtc-dtls"),
        expect(dead_code, reason = "the default engine leaves it to its driver")
    )]
    pub fingerprints: Vec<DtlsFingerprint>,
    /// Offered or accepted SRTP profiles, best first.
    pub srtp_profiles: Vec<SrtpProtectionProfile>,
    /// The lowest version accepted.
    pub min_version: DtlsVersion,
    /// The highest version offered.
    pub max_version: DtlsVersion,
    /// Bytes of a handshake datagram at most.
    pub mtu: usize,
    /// First retransmission of a flight.
    pub retransmit_after: Duration,
    /// Seeds what may be repeatable in a simulation; `None` in production, where the engine draws from the
    /// system.
    pub seed: Option<u64>,
}

/// What an engine wants, told by [`DtlsEngine::poll`] until it says `Idle`.
#[derive(Debug, PartialEq)]
pub(crate) enum DtlsEngineOutput<'a> {
    /// To be sent to the peer.
    Datagram(&'a [u8]),
    /// The peer's certificate in DER, before `Connected`.
    PeerCertificate(&'a [u8]),
    /// The handshake is done.
    Connected(DtlsSession),
    /// SRTP keys (RFC 5764 section 4.2), about the time of `Connected`.
    KeyingMaterial(SrtpKeyingMaterial),
    /// One record of application data.
    ApplicationData(&'a [u8]),
    /// The peer said close_notify under its keys.
    Closed,
    /// Nothing more for now.
    Idle,
}

/// What was agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DtlsSession {
    /// The version.
    pub version: DtlsVersion,
    /// IANA's name of the cipher suite, if the engine tells.
    pub cipher_suite: Option<&'static str>,
}

/// One DTLS association.
pub(crate) trait DtlsEngine: Send + fmt::Debug {
    /// Takes one datagram. Total: whatever the bytes are it never panics.
    ///
    /// # Errors
    /// The association is over. Noise is not an error.
    fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DtlsEngineError>;

    /// Runs what is due.
    ///
    /// # Errors
    /// The association is over.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsEngineError>;

    /// The next thing it wants; borrowed until the next call.
    ///
    /// # Errors
    /// The association is over.
    fn poll(&mut self) -> Result<DtlsEngineOutput<'_>, DtlsEngineError>;

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// Seals one record of application data; what is to be sent comes out of [`poll`](Self::poll).
    ///
    /// # Errors
    /// The association is over, or not yet there.
    fn send(&mut self, now: Instant, data: &[u8]) -> Result<(), DtlsEngineError>;

    /// Says close_notify, if there is an association; what is to be sent comes out of [`poll`](Self::poll).
    fn close(&mut self, now: Instant);

    /// Whether close_notify is still to come out of [`poll`](Self::poll): an engine that runs on a task of its own
    /// takes a moment.
    fn closing(&self) -> bool {
        false
    }

    /// Ready when the engine has something to say without having been called, which only an engine with tasks
    /// of its own ever does.
    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = cx;
        Poll::Pending
    }
}
