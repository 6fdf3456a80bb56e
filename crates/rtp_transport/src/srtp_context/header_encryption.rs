//! Encrypted header extensions (RFC 6904).

use std::fmt;

use peerstack_dtls::SrtpProtectionProfile;

use super::ciphers::aes_cm_iv;
use super::key_derivation::{AesCm, Label, derive};
use crate::rtp_packet::{ExtensionForm, Extensions, RtpHeaderView};
use crate::srtp_backend::{SrtpError, SrtpKey};

/// Encrypts the values of chosen extension elements. AES-CM for the AEAD profiles too (RFC 7714 section 8.2).
pub(super) struct HeaderEncryption {
    cipher: AesCm,
    salt: [u8; 14],
    encrypted: Box<[bool; 256]>,
}

impl fmt::Debug for HeaderEncryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderEncryption(..)")
    }
}

impl HeaderEncryption {
    pub(super) fn new(master: &SrtpKey, ids: &[u8]) -> Result<Self, SrtpError> {
        let cipher = match master.profile {
            SrtpProtectionProfile::AeadAes256Gcm => {
                AesCm::new(&derive::<32>(master, Label::HeaderEncryption)?.0)?
            }
            _ => AesCm::new(&derive::<16>(master, Label::HeaderEncryption)?.0)?,
        };
        let mut encrypted = Box::new([false; 256]);
        for id in ids {
            if let Some(slot) = encrypted.get_mut(usize::from(*id)) {
                *slot = true;
            }
        }
        // AES-CM's salt of 112 bits, whatever the profile's own is.
        let salt = derive::<14>(master, Label::HeaderSalt)?.0;
        Ok(Self { cipher, salt, encrypted })
    }

    /// XORs the key stream into the values of the chosen elements; the same call encrypts and decrypts. The
    /// stream runs along all elements, ids and lengths are left as they are (RFC 6904 section 3).
    pub(super) fn apply(&self, packet: &mut [u8], ssrc: u32, index: u64) -> Result<(), SrtpError> {
        // In pieces, so that no buffer as long as the longest header is needed.
        const PIECE: usize = 256;
        let iv = aes_cm_iv(&self.salt, ssrc, index);
        let header = RtpHeaderView::parse(packet)?;
        let (start, form, end) = (header.extensions().position(), header.extensions().form(), header.len());
        let mut piece_at = start;
        let mut elements_at = start;
        while piece_at < end {
            let mut stream = [0; PIECE];
            let mut iv = iv;
            // Each piece is 16 blocks; the block counter is the IV's last two bytes.
            let blocks = ((piece_at - start) / 16) as u16;
            let [.., high, low] = &mut iv;
            [*high, *low] = blocks.to_be_bytes();
            self.cipher.apply(&iv, &mut stream)?;
            let piece_end = end.min(piece_at + PIECE);
            elements_at = self.apply_piece(packet, form, elements_at, (piece_at, piece_end, end), &stream);
            piece_at = piece_end;
        }
        Ok(())
    }

    /// Applies one piece of key stream to the elements from `at` on; returns where the next piece goes on
    /// reading, the first element that reaches behind this one.
    fn apply_piece(
        &self,
        packet: &mut [u8],
        form: ExtensionForm,
        mut at: usize,
        (piece_at, piece_end, end): (usize, usize, usize),
        stream: &[u8],
    ) -> usize {
        loop {
            let rest = packet.get(at..end).unwrap_or_default();
            let mut elements = Extensions::new(rest, at, form);
            let Some(element) = elements.next() else { return end };
            let (id, value_at, value_end) =
                (element.id, element.value_at, element.value_at + element.value.len());
            if value_at >= piece_end {
                return at;
            }
            if self.encrypted.get(usize::from(id)).copied().unwrap_or(false) {
                let (from, to) = (value_at.max(piece_at), value_end.min(piece_end));
                let value = packet.get_mut(from..to).unwrap_or_default();
                let keys = stream.get(from.saturating_sub(piece_at)..).unwrap_or_default();
                value.iter_mut().zip(keys).for_each(|(byte, key)| *byte ^= key);
            }
            if value_end > piece_end {
                return at;
            }
            at = value_end;
        }
    }
}
