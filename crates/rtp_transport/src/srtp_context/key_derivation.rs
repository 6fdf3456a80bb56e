//! Session keys from the master key (RFC 3711 section 4.3, RFC 7714 section 11).

use std::fmt;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use crate::srtp_backend::{SrtpError, SrtpKey};

/// Labels of RFC 3711 section 4.3.2 and RFC 6904 section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
    HeaderEncryption = 6,
    HeaderSalt = 7,
}

/// AES in counter mode, as RFC 3711 section 4.1.1 uses it.
pub(super) struct AesCm(EncryptingKey);

impl fmt::Debug for AesCm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesCm(..)")
    }
}

impl AesCm {
    /// With a key of 16 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Result<Self, SrtpError> {
        let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
        UnboundCipherKey::new(algorithm, key)
            .and_then(EncryptingKey::ctr)
            .map(Self)
            .map_err(|_| SrtpError::Cipher)
    }

    /// XORs the key stream that begins at `iv` into `data`.
    pub(super) fn apply(&self, iv: &[u8; 16], data: &mut [u8]) -> Result<(), SrtpError> {
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        self.0.less_safe_encrypt(data, context).map(|_| ()).map_err(|_| SrtpError::Cipher)
    }
}

/// `N` bytes of key for one use. The key derivation rate is 0: once per master key.
pub(super) fn derive<const N: usize>(master: &SrtpKey, label: Label) -> Result<zeroed::Secret<N>, SrtpError> {
    let mut iv = [0; 16];
    // A salt of 96 bits is moved to the left of the 112 (RFC 7714 section 11).
    iv.iter_mut().zip(master.salt()).for_each(|(to, from)| *to = *from);
    iv[7] ^= label as u8;
    let mut key = zeroed::Secret([0; N]);
    AesCm::new(master.key())?.apply(&iv, &mut key.0)?;
    Ok(key)
}

/// Bytes that are overwritten when dropped.
pub(super) mod zeroed {
    /// A secret on the stack.
    pub(in super::super) struct Secret<const N: usize>(pub(in super::super) [u8; N]);

    impl<const N: usize> Drop for Secret<N> {
        fn drop(&mut self) {
            self.0.fill(0);
            std::hint::black_box(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use peerstack_dtls::SrtpProtectionProfile::Aes128CmSha1_80;

    use super::*;
    use crate::test_util::hex;

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_of_the_rfc() {
        let (key, salt) = (hex("E1F97A0D3E018BE0D64FA32C06DE4139"), hex("0EC675AD498AFEEBB6960B3AABE6"));
        let master = SrtpKey::new(Aes128CmSha1_80, &key, &salt).unwrap();
        let cipher = derive::<16>(&master, Label::RtpEncryption).unwrap();
        assert_eq!(cipher.0.to_vec(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        let salt = derive::<14>(&master, Label::RtpSalt).unwrap();
        assert_eq!(salt.0.to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        let auth = derive::<20>(&master, Label::RtpAuthentication).unwrap();
        assert_eq!(auth.0.to_vec(), hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    /// RFC 3711 appendix B.2.
    #[test]
    fn key_stream_of_the_rfc() {
        let cipher = AesCm::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
        let iv: [u8; 16] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
        let mut stream = vec![0; 0xFF02 * 16];
        cipher.apply(&iv, &mut stream).unwrap();
        assert_eq!(
            stream[..32].to_vec(),
            hex("E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB")
        );
        assert_eq!(
            stream[0xFEFF * 16..].to_vec(),
            hex(
                "EC8CDF7398607CB0F2D21675EA9EA1E4362B7C3C6773516318A077D7FC5073AE6A2CC3787889374FBEB4C81B17BA6C44"
            )
        );
    }
}
