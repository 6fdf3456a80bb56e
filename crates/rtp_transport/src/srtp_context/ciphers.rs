//! The ciphers of SRTP and SRTCP over a packet that lies in one buffer: AES-CM with HMAC-SHA1 (RFC 3711) and
//! AES-GCM (RFC 7714).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use peerstack_dtls::SrtpProtectionProfile;

use super::key_derivation::{AesCm, Label, derive};
use super::{RTCP_HEADER_LEN, SRTCP_E_FLAG, SRTCP_INDEX_LEN};
use crate::srtp_backend::{SrtpError, SrtpKey, rtp_overhead};

/// Bytes of GCM's tag.
const GCM_TAG: usize = 16;
/// Bytes of SRTCP's HMAC tag, whatever SRTP's is.
const RTCP_HMAC_TAG: usize = 10;
/// Bytes of SHA-1.
const SHA1_LEN: usize = 20;

/// Session keys of SRTP.
pub(super) enum RtpCipher {
    AesCm { cipher: AesCm, salt: [u8; 14], auth: hmac::Key, tag_len: usize },
    AesGcm { key: LessSafeKey, salt: [u8; 12] },
}

/// Session keys of SRTCP.
pub(super) enum RtcpCipher {
    AesCm { cipher: AesCm, salt: [u8; 14], auth: hmac::Key },
    AesGcm { key: LessSafeKey, salt: [u8; 12] },
}

/// RFC 3711 section 4.1.1: salt * 2^16 XOR SSRC * 2^64 XOR index * 2^16.
pub(super) fn aes_cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
    xor(&mut iv, 4, &ssrc.to_be_bytes());
    // 48 bits, at bytes 8 to 13.
    xor(&mut iv, 8, &(index << 16).to_be_bytes());
    iv
}

/// RFC 7714 sections 8.1 and 9.1: both indices end at the last byte.
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = *salt;
    xor(&mut nonce, 2, &ssrc.to_be_bytes());
    xor(&mut nonce, 4, &(index & 0xFFFF_FFFF_FFFF).to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn xor(to: &mut [u8], at: usize, from: &[u8]) {
    to.iter_mut().skip(at).zip(from).for_each(|(to, from)| *to ^= from);
}

fn gcm_key(master: &SrtpKey, label: Label) -> Result<LessSafeKey, SrtpError> {
    let key = match master.profile {
        SrtpProtectionProfile::AeadAes256Gcm => {
            UnboundKey::new(&AES_256_GCM, &derive::<32>(master, label)?.0)
        }
        _ => UnboundKey::new(&AES_128_GCM, &derive::<16>(master, label)?.0),
    };
    key.map(LessSafeKey::new).map_err(|_| SrtpError::Cipher)
}

fn hmac_key(master: &SrtpKey, label: Label) -> Result<hmac::Key, SrtpError> {
    Ok(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &derive::<SHA1_LEN>(master, label)?.0))
}

fn is_gcm(profile: SrtpProtectionProfile) -> bool {
    matches!(profile, SrtpProtectionProfile::AeadAes128Gcm | SrtpProtectionProfile::AeadAes256Gcm)
}

/// The packet without its last `n` bytes, and those.
fn split_tail(packet: &mut [u8], n: usize) -> Result<(&mut [u8], &mut [u8]), SrtpError> {
    let have = packet.len();
    let at = have.checked_sub(n).ok_or(SrtpError::TooShort { have })?;
    packet.split_at_mut_checked(at).ok_or(SrtpError::TooShort { have })
}

fn split_header(packet: &mut [u8], header_len: usize) -> Result<(&mut [u8], &mut [u8]), SrtpError> {
    let have = packet.len();
    packet.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort { have })
}

/// HMAC over `parts`, its first bytes written to `tag`.
fn hmac_tag(key: &hmac::Key, parts: [&[u8]; 2]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

fn put_tag(tag: &mut [u8], full: &hmac::Tag) {
    tag.iter_mut().zip(full.as_ref()).for_each(|(to, from)| *to = *from);
}

fn verify_tag(tag: &[u8], full: &hmac::Tag) -> Result<(), SrtpError> {
    let expected = full.as_ref().get(..tag.len()).ok_or(SrtpError::Authentication)?;
    verify_slices_are_equal(expected, tag).map_err(|_| SrtpError::Authentication)
}

impl RtpCipher {
    pub(super) fn derive(master: &SrtpKey) -> Result<Self, SrtpError> {
        if is_gcm(master.profile) {
            let key = gcm_key(master, Label::RtpEncryption)?;
            return Ok(Self::AesGcm { key, salt: derive::<12>(master, Label::RtpSalt)?.0 });
        }
        Ok(Self::AesCm {
            cipher: AesCm::new(&derive::<16>(master, Label::RtpEncryption)?.0)?,
            salt: derive::<14>(master, Label::RtpSalt)?.0,
            auth: hmac_key(master, Label::RtpAuthentication)?,
            tag_len: rtp_overhead(master.profile),
        })
    }

    /// Encrypts what lies between header and tag, and writes the tag.
    pub(super) fn protect(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Self::AesCm { cipher, salt, auth, tag_len } => {
                let (body, tag) = split_tail(packet, *tag_len)?;
                let (_, payload) = split_header(body, header_len)?;
                cipher.apply(&aes_cm_iv(salt, ssrc, index), payload)?;
                // RFC 3711 section 4.2: the roll-over counter is authenticated behind the packet.
                let roc = ((index >> 16) as u32).to_be_bytes();
                put_tag(tag, &hmac_tag(auth, [body, &roc]));
            }
            Self::AesGcm { key, salt } => {
                let (body, tag) = split_tail(packet, GCM_TAG)?;
                let (header, payload) = split_header(body, header_len)?;
                let sealed = key
                    .seal_in_place_separate_tag(gcm_nonce(salt, ssrc, index), Aad::from(&*header), payload)
                    .map_err(|_| SrtpError::Cipher)?;
                tag.copy_from_slice(sealed.as_ref());
            }
        }
        Ok(())
    }

    /// Verifies the tag, then decrypts what lies between header and tag.
    pub(super) fn unprotect(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Self::AesCm { cipher, salt, auth, tag_len } => {
                let (body, tag) = split_tail(packet, *tag_len)?;
                let roc = ((index >> 16) as u32).to_be_bytes();
                verify_tag(tag, &hmac_tag(auth, [body, &roc]))?;
                let (_, payload) = split_header(body, header_len)?;
                cipher.apply(&aes_cm_iv(salt, ssrc, index), payload)
            }
            Self::AesGcm { key, salt } => {
                let (body, tag) = split_tail(packet, GCM_TAG)?;
                let (header, payload) = split_header(body, header_len)?;
                let nonce = gcm_nonce(salt, ssrc, index);
                key.open_in_place_separate_tag(nonce, Aad::from(&*header), tag, payload)
                    .map(|_| ())
                    .map_err(|_| SrtpError::Authentication)
            }
        }
    }
}

impl RtcpCipher {
    pub(super) fn derive(master: &SrtpKey) -> Result<Self, SrtpError> {
        if is_gcm(master.profile) {
            let key = gcm_key(master, Label::RtcpEncryption)?;
            return Ok(Self::AesGcm { key, salt: derive::<12>(master, Label::RtcpSalt)?.0 });
        }
        Ok(Self::AesCm {
            cipher: AesCm::new(&derive::<16>(master, Label::RtcpEncryption)?.0)?,
            salt: derive::<14>(master, Label::RtcpSalt)?.0,
            auth: hmac_key(master, Label::RtcpAuthentication)?,
        })
    }

    /// Index and "E" flag of a received packet: before the tag with HMAC, last with GCM.
    pub(super) fn index(&self, packet: &[u8]) -> Result<(u32, bool), SrtpError> {
        let behind = match self {
            Self::AesCm { .. } => RTCP_HMAC_TAG,
            Self::AesGcm { .. } => 0,
        };
        let have = packet.len();
        let word = have
            .checked_sub(behind)
            .and_then(|end| packet.get(..end))
            .and_then(|body| body.last_chunk::<SRTCP_INDEX_LEN>())
            .map(|word| u32::from_be_bytes(*word))
            .ok_or(SrtpError::TooShort { have })?;
        Ok((word & !SRTCP_E_FLAG, word & SRTCP_E_FLAG != 0))
    }

    /// Encrypts what lies between header and index, and writes index and tag.
    pub(super) fn protect(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<(), SrtpError> {
        let word = (index | SRTCP_E_FLAG).to_be_bytes();
        match self {
            Self::AesCm { cipher, salt, auth } => {
                let (body, tag) = split_tail(packet, RTCP_HMAC_TAG)?;
                let (encrypted, index_word) = split_tail(body, SRTCP_INDEX_LEN)?;
                let (_, payload) = split_header(encrypted, RTCP_HEADER_LEN)?;
                cipher.apply(&aes_cm_iv(salt, ssrc, u64::from(index)), payload)?;
                index_word.copy_from_slice(&word);
                put_tag(tag, &hmac_tag(auth, [body, &[]]));
            }
            Self::AesGcm { key, salt } => {
                let (body, index_word) = split_tail(packet, SRTCP_INDEX_LEN)?;
                index_word.copy_from_slice(&word);
                let (body, tag) = split_tail(body, GCM_TAG)?;
                let (header, payload) = split_header(body, RTCP_HEADER_LEN)?;
                let aad = rtcp_aad(header, word);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let sealed = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), payload)
                    .map_err(|_| SrtpError::Cipher)?;
                tag.copy_from_slice(sealed.as_ref());
            }
        }
        Ok(())
    }

    /// Verifies the tag, then decrypts what lies between header and index.
    pub(super) fn unprotect(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Result<(), SrtpError> {
        match self {
            Self::AesCm { cipher, salt, auth } => {
                let (body, tag) = split_tail(packet, RTCP_HMAC_TAG)?;
                verify_tag(tag, &hmac_tag(auth, [body, &[]]))?;
                let (encrypted, _) = split_tail(body, SRTCP_INDEX_LEN)?;
                let (_, payload) = split_header(encrypted, RTCP_HEADER_LEN)?;
                cipher.apply(&aes_cm_iv(salt, ssrc, u64::from(index)), payload)
            }
            Self::AesGcm { key, salt } => {
                let word = (index | SRTCP_E_FLAG).to_be_bytes();
                let (body, _) = split_tail(packet, SRTCP_INDEX_LEN)?;
                let (body, tag) = split_tail(body, GCM_TAG)?;
                let (header, payload) = split_header(body, RTCP_HEADER_LEN)?;
                let aad = rtcp_aad(header, word);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, payload)
                    .map(|_| ())
                    .map_err(|_| SrtpError::Authentication)
            }
        }
    }
}

/// RFC 7714 section 9.2: the header and the word of flag and index.
fn rtcp_aad(header: &[u8], word: [u8; SRTCP_INDEX_LEN]) -> [u8; RTCP_HEADER_LEN + SRTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_HEADER_LEN + SRTCP_INDEX_LEN];
    aad.iter_mut().zip(header.iter().chain(&word)).for_each(|(to, from)| *to = *from);
    aad
}

#[cfg(test)]
impl RtpCipher {
    /// GCM with session keys as they are, for the vectors of RFC 7714.
    pub(super) fn gcm_with_session_key(key: &[u8], salt: [u8; 12]) -> Self {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        Self::AesGcm { key: LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap()), salt }
    }
}

#[cfg(test)]
impl RtcpCipher {
    /// GCM with session keys as they are, for the vectors of RFC 7714.
    pub(super) fn gcm_with_session_key(key: &[u8], salt: [u8; 12]) -> Self {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        Self::AesGcm { key: LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap()), salt }
    }
}
