//! The boundary between DTLS and what stands on it. Answers to libwebrtc's
//! `p2p/dtls/dtls_transport_internal.h`; owned by the network task.
//!
//! `DtlsTransport` implements it, and so does `FakeDtlsTransport` (feature `test-util`), over which the layers
//! above are unit-tested.

use std::fmt;
use std::time::Instant;

use peerstack_base::{EventReceiver, PacketOptions, ReceiveMeta, SendError};
use peerstack_p2p::IceTransport;

use crate::dtls_engine::DtlsEngineError;

/// W3C `RTCDtlsTransportState` (webrtc-pc section 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DtlsTransportState {
    /// Not started.
    #[default]
    New,
    /// Handshake under way.
    Connecting,
    /// Handshake done and the peer's certificate verified.
    Connected,
    /// Closed by us or by the peer's close_notify.
    Closed,
    /// The handshake failed, or the certificate is not the one that was signalled.
    Failed,
}

/// Which side of the handshake we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// Sends the ClientHello (`setup:active`).
    Client,
    /// Answers it (`setup:passive`).
    Server,
}

/// A certificate's hash as SDP carries it (RFC 8122 section 5).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DtlsFingerprint {
    /// Hash function in lower case, for example `sha-256`.
    pub algorithm: String,
    /// The hash.
    pub value: Vec<u8>,
}

/// SRTP protection profiles (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpProtectionProfile {
    /// AES_128_CM_HMAC_SHA1_80.
    Aes128CmSha1_80,
    /// AES_128_CM_HMAC_SHA1_32 (RTCP keeps 80 bits).
    Aes128CmSha1_32,
    /// AEAD_AES_128_GCM.
    AeadAes128Gcm,
    /// AEAD_AES_256_GCM.
    AeadAes256Gcm,
}

impl SrtpProtectionProfile {
    /// Bytes of the master key.
    pub fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    /// Bytes of the master salt.
    pub fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::Aes128CmSha1_32 => 14,
            _ => 12,
        }
    }

    /// The number on the wire.
    pub fn id(self) -> u16 {
        match self {
            Self::Aes128CmSha1_80 => 0x0001,
            Self::Aes128CmSha1_32 => 0x0002,
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
        }
    }

    /// The name IANA registered.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aes128CmSha1_80 => "SRTP_AES128_CM_HMAC_SHA1_80",
            Self::Aes128CmSha1_32 => "SRTP_AES128_CM_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        }
    }
}

/// What the exporter gave (RFC 5764 section 4.2): client key, server key, client salt, server salt, one behind
/// another. Overwritten with zeros when dropped; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKeyingMaterial {
    /// The negotiated profile.
    pub profile: SrtpProtectionProfile,
    /// `2 * (key_len + salt_len)` bytes.
    pub material: Vec<u8>,
}

impl Drop for SrtpKeyingMaterial {
    fn drop(&mut self) {
        self.material.fill(0);
        std::hint::black_box(&self.material);
    }
}

impl fmt::Debug for SrtpKeyingMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKeyingMaterial").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// What a DTLS transport tells upward.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DtlsTransportEvent {
    /// [`DtlsTransportInternal::writable`] changed.
    WritableState(bool),
    /// The transport below is receiving, or no longer.
    ReceivingState(bool),
    /// Sending may be tried again.
    ReadyToSend,
    /// [`DtlsTransportInternal::state`] changed. Keys are readable before `Connected` is emitted.
    StateChange(DtlsTransportState),
    /// The handshake failed, and why; `StateChange(Failed)` follows.
    HandshakeError(DtlsEngineError),
    /// Closed; nothing comes after this.
    Closed,
}
peerstack_base::layer_event!(DtlsTransportEvent, "peerstack::dtls");

/// A DTLS transport: application data sealed, SRTP passed by, keys exported.
pub trait DtlsTransportInternal {
    /// The transport below.
    type Ice: IceTransport;

    /// The transport below.
    fn ice(&self) -> &Self::Ice;

    /// The transport below.
    fn ice_mut(&mut self) -> &mut Self::Ice;

    /// Takes a datagram of one of ICE's sockets. DTLS records are consumed; SRTP and SRTCP (first byte 128 to
    /// 191) pass through. Then call [`poll_data`](Self::poll_data) until `None`.
    fn receive<'d>(
        &mut self,
        now: Instant,
        datagram: &'d mut [u8],
        meta: &ReceiveMeta,
    ) -> Option<&'d mut [u8]>;

    /// The next decrypted record of application data, borrowed until the next call. Only ever from a peer
    /// whose certificate was verified.
    fn poll_data(&mut self) -> Option<&[u8]>;

    /// Sends one packet of at most `len` bytes: with `options.srtp_bypass` as it is, otherwise sealed as one
    /// record of application data. `write` fills the slot and returns how many bytes count.
    ///
    /// # Errors
    /// [`SendError::NotWritable`] before the handshake ended, and what the transport below says.
    fn send_with<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        now: Instant,
        options: &PacketOptions,
        len: usize,
        write: F,
    ) -> Result<usize, SendError>;

    /// When [`handle_timeout`](Self::handle_timeout) is due, the transport below included.
    fn next_timeout(&self) -> Option<Instant>;

    /// Runs what is due, in the transport below too.
    fn handle_timeout(&mut self, now: Instant);

    /// `process` of the transport below, then drains its events and reacts.
    fn process(&mut self, now: Instant);

    /// A channel of this transport's events from now on.
    fn subscribe(&mut self) -> EventReceiver<DtlsTransportEvent>;

    /// Whether application data and SRTP may be sent.
    fn writable(&self) -> bool;

    /// State.
    fn state(&self) -> DtlsTransportState;

    /// Our role, once known.
    fn role(&self) -> Option<DtlsRole>;

    /// The keying material of SRTP, once connected; `None` if no profile was negotiated.
    fn srtp_keying_material(&self) -> Option<SrtpKeyingMaterial>;

    /// The peer's certificate in DER, once connected; `None` before and after.
    fn remote_certificate(&self) -> Option<&[u8]>;

    /// `"DTLS 1.2"` or `"DTLS 1.3"`, once connected.
    fn tls_version(&self) -> Option<&'static str>;

    /// The cipher suite's IANA name where the engine tells, once connected.
    fn cipher_suite(&self) -> Option<&str>;

    /// The peer's fingerprints and our role, from offer and answer; the handshake starts as soon as ICE is
    /// writable. The same values again are harmless.
    ///
    /// # Errors
    /// What is wrong with the values: no fingerprint, a hash function that is not known or too weak, a length
    /// that is not the function's, a role changed without a new fingerprint.
    fn set_remote_parameters(
        &mut self,
        now: Instant,
        fingerprints: Vec<DtlsFingerprint>,
        role: DtlsRole,
    ) -> Result<(), String>;

    /// Closes: close_notify, no more packets, the transport below closed too.
    fn close(&mut self, now: Instant);

    /// Whether close_notify has still to leave after [`close`](Self::close). It comes by itself, or is given up.
    fn closing(&self) -> bool {
        false
    }
}
