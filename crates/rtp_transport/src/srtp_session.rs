//! An SRTP session: a key to send with and a key to receive with. Runs on the network task; answers to
//! libwebrtc's `pc/srtp_session.h`.

use peerstack_dtls::SrtpProtectionProfile;

use crate::srtp_backend::{SrtpBackend, SrtpBackendKind, SrtpError, SrtpKey, rtcp_overhead, rtp_overhead};

/// Keys of one transport, both directions. Keys are installed once: a new negotiation makes a new session.
#[derive(Debug)]
pub struct SrtpSession {
    kind: SrtpBackendKind,
    send: Option<Box<dyn SrtpBackend>>,
    receive: Option<Box<dyn SrtpBackend>>,
    profile: Option<SrtpProtectionProfile>,
}

impl SrtpSession {
    /// A session without keys.
    pub fn new(kind: SrtpBackendKind) -> Self {
        Self { kind, send: None, receive: None, profile: None }
    }

    /// Installs the key to send with; `encrypted_ids` are header extensions whose values are encrypted.
    ///
    /// # Errors
    /// D17: there is a key already; or the backend refuses it.
    pub fn set_send(&mut self, key: &SrtpKey, encrypted_ids: &[u8]) -> Result<(), SrtpError> {
        if self.send.is_some() {
            return Err(SrtpError::KeysInstalled);
        }
        self.send = Some(self.kind.create(key, encrypted_ids)?);
        self.profile = Some(key.profile);
        Ok(())
    }

    /// Installs the key to receive with; `encrypted_ids` are header extensions whose values are encrypted.
    ///
    /// # Errors
    /// As [`set_send`](Self::set_send).
    pub fn set_receive(&mut self, key: &SrtpKey, encrypted_ids: &[u8]) -> Result<(), SrtpError> {
        if self.receive.is_some() {
            return Err(SrtpError::KeysInstalled);
        }
        self.receive = Some(self.kind.create(key, encrypted_ids)?);
        self.profile = Some(key.profile);
        Ok(())
    }

    /// Whether there is a key for each direction.
    pub fn is_active(&self) -> bool {
        self.send.is_some() && self.receive.is_some()
    }

    /// The profile, once there is a key.
    pub fn profile(&self) -> Option<SrtpProtectionProfile> {
        self.profile
    }

    /// Bytes that protection adds to an RTP packet.
    pub fn rtp_overhead(&self) -> usize {
        self.profile.map_or(0, rtp_overhead)
    }

    /// Bytes that protection adds to an RTCP packet.
    pub fn rtcp_overhead(&self) -> usize {
        self.profile.map_or(0, rtcp_overhead)
    }

    /// Protects the RTP packet in the first `len` bytes of `buffer`. Returns its new length.
    ///
    /// # Errors
    /// See [`SrtpError`].
    pub fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        self.send.as_mut().ok_or(SrtpError::NoKeys)?.protect_rtp(buffer, len)
    }

    /// Protects the RTCP packet in the first `len` bytes of `buffer`. Returns its new length.
    ///
    /// # Errors
    /// See [`SrtpError`].
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        self.send.as_mut().ok_or(SrtpError::NoKeys)?.protect_rtcp(buffer, len)
    }

    /// Authenticates and decrypts an SRTP packet where it lies. Returns the RTP packet's length.
    ///
    /// # Errors
    /// See [`SrtpError`].
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        self.receive.as_mut().ok_or(SrtpError::NoKeys)?.unprotect_rtp(packet)
    }

    /// Authenticates and decrypts an SRTCP packet where it lies. Returns the RTCP packet's length.
    ///
    /// # Errors
    /// See [`SrtpError`].
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        self.receive.as_mut().ok_or(SrtpError::NoKeys)?.unprotect_rtcp(packet)
    }

    /// D19: forgets a source that is received, its replay state included. Returns whether there was anything.
    pub fn remove_ssrc(&mut self, ssrc: u32) -> bool {
        self.receive.as_mut().is_some_and(|backend| backend.remove_stream(ssrc))
    }
}

#[cfg(test)]
#[path = "srtp_session_tests.rs"]
mod tests;
