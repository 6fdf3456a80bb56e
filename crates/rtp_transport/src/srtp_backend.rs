//! What protects packets: one direction of one SRTP session behind a trait, its keys and its errors. Runs on the
//! network task; answers to the part of libsrtp that libwebrtc's `pc/srtp_session.cc` calls.

use std::fmt;

use peerstack_dtls::{DtlsRole, SrtpKeyingMaterial, SrtpProtectionProfile};
use thiserror::Error;

use crate::rtp_packet::RtpError;

/// Why a packet was not protected, or is not to be believed.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SrtpError {
    /// The master key's length is not the profile's.
    #[error("a master key of {have} bytes where the profile needs {need}")]
    KeyLength {
        /// Bytes the profile needs.
        need: usize,
        /// Bytes given.
        have: usize,
    },
    /// The master salt's length is not the profile's.
    #[error("a master salt of {have} bytes where the profile needs {need}")]
    SaltLength {
        /// Bytes the profile needs.
        need: usize,
        /// Bytes given.
        have: usize,
    },
    /// Keys are installed already; a session keeps its keys for life.
    #[error("the session has keys already")]
    KeysInstalled,
    /// No keys are installed.
    #[error("the session has no keys")]
    NoKeys,
    /// The bytes are not an RTP packet.
    #[error("not an RTP packet: {0}")]
    Rtp(#[from] RtpError),
    /// The bytes are not an RTCP packet, or too few for what SRTCP adds.
    #[error("not an RTCP packet: {0}")]
    Rtcp(&'static str),
    /// Too few bytes behind the header for the authentication tag.
    #[error("{have} bytes are too few for the header and an authentication tag")]
    TooShort {
        /// Bytes of the packet.
        have: usize,
    },
    /// The buffer has no room for what protection adds.
    #[error("protecting the packet needs {need} bytes, the buffer has {have}")]
    BufferTooSmall {
        /// Bytes needed.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The authentication tag is not the packet's.
    #[error("authentication failed")]
    Authentication,
    /// SRTCP without encryption, which was not agreed on.
    #[error("SRTCP packet without encryption")]
    NotEncrypted,
    /// Received before.
    #[error("replayed packet")]
    Replayed,
    /// Older than the replay window, so nobody can say whether it was received before.
    #[error("packet older than the replay window")]
    TooOld,
    /// Sending: the packet's index was used for another packet, or for one too long ago to tell.
    #[error("the packet's index was used before, and not for this packet")]
    IndexReused,
    /// The key has protected as many packets as it may (RFC 3711 section 9.2).
    #[error("the key is used up")]
    KeyExpired,
    /// More sources than the session keeps state for.
    #[error("too many SSRCs")]
    TooManySsrcs,
    /// The cipher refused; never seen with correct lengths.
    #[error("cipher failure")]
    Cipher,
    /// The backend cannot do what is asked for.
    #[error("not supported by this backend: {0}")]
    Unsupported(&'static str),
}

/// Master key and salt of one direction (RFC 3711 section 3.2.1). Overwritten when dropped; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKey {
    /// Profile.
    pub profile: SrtpProtectionProfile,
    key: Vec<u8>,
    salt: Vec<u8>,
}

impl SrtpKey {
    /// A key of one direction.
    ///
    /// # Errors
    /// D17: a length that is not the profile's.
    pub fn new(profile: SrtpProtectionProfile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        if key.len() != profile.key_len() {
            return Err(SrtpError::KeyLength { need: profile.key_len(), have: key.len() });
        }
        if salt.len() != profile.salt_len() {
            return Err(SrtpError::SaltLength { need: profile.salt_len(), have: salt.len() });
        }
        Ok(Self { profile, key: key.to_vec(), salt: salt.to_vec() })
    }

    /// The keys to send and to receive with, from what DTLS exported (RFC 5764 section 4.2).
    ///
    /// # Errors
    /// The material is shorter than the profile needs.
    pub fn from_dtls(material: &SrtpKeyingMaterial, role: DtlsRole) -> Result<(Self, Self), SrtpError> {
        let (profile, bytes) = (material.profile, &material.material);
        let (key, salt) = (profile.key_len(), profile.salt_len());
        if bytes.len() != 2 * (key + salt) {
            return Err(SrtpError::KeyLength { need: 2 * (key + salt), have: bytes.len() });
        }
        let part = |at: usize, len: usize| bytes.get(at..at + len).unwrap_or_default();
        let client = Self::new(profile, part(0, key), part(2 * key, salt))?;
        let server = Self::new(profile, part(key, key), part(2 * key + salt, salt))?;
        Ok(match role {
            DtlsRole::Client => (client, server),
            DtlsRole::Server => (server, client),
        })
    }

    /// The master key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The master salt.
    pub(crate) fn salt(&self) -> &[u8] {
        &self.salt
    }
}

impl Drop for SrtpKey {
    fn drop(&mut self) {
        self.key.fill(0);
        self.salt.fill(0);
        std::hint::black_box((&self.key, &self.salt));
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Bytes SRTP adds to an RTP packet (RFC 3711 section 3.1, RFC 7714 section 8.1).
pub fn rtp_overhead(profile: SrtpProtectionProfile) -> usize {
    match profile {
        SrtpProtectionProfile::Aes128CmSha1_80 => 10,
        SrtpProtectionProfile::Aes128CmSha1_32 => 4,
        SrtpProtectionProfile::AeadAes128Gcm | SrtpProtectionProfile::AeadAes256Gcm => 16,
    }
}

/// Bytes SRTCP adds to an RTCP packet, its index included. The tag is 80 bits long for SHA1_32 too (RFC 5764
/// section 4.1.2; D16).
pub fn rtcp_overhead(profile: SrtpProtectionProfile) -> usize {
    match profile {
        SrtpProtectionProfile::Aes128CmSha1_80 | SrtpProtectionProfile::Aes128CmSha1_32 => 14,
        SrtpProtectionProfile::AeadAes128Gcm | SrtpProtectionProfile::AeadAes256Gcm => 20,
    }
}

/// One direction of an SRTP session. An instance either protects or unprotects, never both.
///
/// A call that fails leaves no trace in the session; the bytes it was given may be changed by it.
pub trait SrtpBackend: Send + fmt::Debug {
    /// Protects the RTP packet in the first `len` bytes of `buffer` where it lies. Returns its new length.
    ///
    /// # Errors
    /// See [`SrtpError`].
    fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError>;

    /// Authenticates and decrypts an SRTP packet where it lies. Returns the RTP packet's length.
    ///
    /// # Errors
    /// See [`SrtpError`].
    fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError>;

    /// Protects the RTCP packet in the first `len` bytes of `buffer` where it lies. Returns its new length.
    ///
    /// # Errors
    /// See [`SrtpError`].
    fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError>;

    /// Authenticates and decrypts an SRTCP packet where it lies. Returns the RTCP packet's length.
    ///
    /// # Errors
    /// See [`SrtpError`].
    fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError>;

    /// Forgets what is known of a source, its replay state included (D19). Returns whether there was anything.
    /// For what is received only: a sender that forgot would use the same indices again.
    fn remove_stream(&mut self, ssrc: u32) -> bool;
}

/// Which backend protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SrtpBackendKind {
    /// Ours: in place, over aws-lc-rs.
    #[default]
    InPlace,
    /// The webrtc-srtp crate behind guards.
    #[cfg(feature = "webrtc-srtp")]
    WebrtcSrtp,
}

impl SrtpBackendKind {
    /// A backend for one direction. Values of the header extensions in `encrypted_ids` are encrypted (RFC 6904).
    ///
    /// # Errors
    /// The backend cannot do that.
    pub fn create(self, key: &SrtpKey, encrypted_ids: &[u8]) -> Result<Box<dyn SrtpBackend>, SrtpError> {
        match self {
            Self::InPlace => Ok(Box::new(crate::srtp_context::SrtpContext::new(key, encrypted_ids)?)),
            #[cfg(feature = "webrtc-srtp")]
            Self::WebrtcSrtp if !encrypted_ids.is_empty() => {
                Err(SrtpError::Unsupported("encrypted header extensions"))
            }
            #[cfg(feature = "webrtc-srtp")]
            Self::WebrtcSrtp => Ok(Box::new(crate::webrtc_srtp_backend::WebrtcSrtpBackend::new(key)?)),
        }
    }
}
