//! SRTP and SRTCP in place (RFC 3711, RFC 7714), the default backend. Runs on the network task; answers to
//! libsrtp's `srtp.c`.
//!
//! Nothing of a packet is believed before its tag is verified: no state is made, no index moved. What is kept for
//! a source is a few words, and sources are bounded.

mod ciphers;
mod header_encryption;
mod key_derivation;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use peerstack_dtls::SrtpProtectionProfile;

use crate::replay_window::ReplayWindow;
use crate::rtp_packet::RtpHeaderView;
use crate::sent_packets::SentPackets;
use crate::srtp_backend::{SrtpBackend, SrtpError, SrtpKey, rtcp_overhead, rtp_overhead};
use ciphers::{RtcpCipher, RtpCipher};
use header_encryption::HeaderEncryption;

/// Sources one direction of a session keeps state for, each of SRTP and SRTCP.
pub(crate) const MAX_SSRCS: usize = 1024;
/// RTCP's header and the sender's SSRC, which SRTCP leaves in the clear.
pub(crate) const RTCP_HEADER_LEN: usize = 8;
/// "E" flag and index behind an SRTCP packet.
pub(crate) const SRTCP_INDEX_LEN: usize = 4;
/// "E": the packet is encrypted.
pub(crate) const SRTCP_E_FLAG: u32 = 1 << 31;
/// SRTCP's index has 31 bits.
pub(crate) const MAX_SRTCP_INDEX: u32 = (1 << 31) - 1;

/// One direction of one session: session keys and, for each source, which indices were seen.
pub struct SrtpContext {
    profile: SrtpProtectionProfile,
    rtp: RtpCipher,
    rtcp: RtcpCipher,
    header_encryption: Option<HeaderEncryption>,
    rtp_streams: HashMap<u32, ReplayWindow>,
    /// Sending: what may go out again.
    sent: HashMap<u32, SentPackets>,
    /// Receiving: indices seen. Sending: the highest is the last one used.
    rtcp_streams: HashMap<u32, ReplayWindow>,
}

impl fmt::Debug for SrtpContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpContext")
            .field("profile", &self.profile)
            .field("rtp_streams", &self.rtp_streams.len())
            .field("rtcp_streams", &self.rtcp_streams.len())
            .finish_non_exhaustive()
    }
}

impl SrtpContext {
    /// Derives the session keys (RFC 3711 section 4.3, RFC 7714 section 11). Values of the header extensions in
    /// `encrypted_ids` are encrypted (RFC 6904).
    ///
    /// # Errors
    /// The cipher refused the key.
    pub fn new(key: &SrtpKey, encrypted_ids: &[u8]) -> Result<Self, SrtpError> {
        let header_encryption = match encrypted_ids {
            [] => None,
            ids => Some(HeaderEncryption::new(key, ids)?),
        };
        Ok(Self {
            profile: key.profile,
            rtp: RtpCipher::derive(key)?,
            rtcp: RtcpCipher::derive(key)?,
            header_encryption,
            rtp_streams: HashMap::new(),
            sent: HashMap::new(),
            rtcp_streams: HashMap::new(),
        })
    }
}

/// The window of a source: the one there is, or an empty one if there is room for another source.
fn window(streams: &HashMap<u32, ReplayWindow>, ssrc: u32) -> Result<Option<&ReplayWindow>, SrtpError> {
    match streams.get(&ssrc) {
        Some(window) => Ok(Some(window)),
        None if streams.len() < MAX_SSRCS => Ok(None),
        None => Err(SrtpError::TooManySsrcs),
    }
}

fn accept(streams: &mut HashMap<u32, ReplayWindow>, ssrc: u32, index: u64) {
    match streams.entry(ssrc) {
        Entry::Occupied(mut entry) => entry.get_mut().accept(index),
        Entry::Vacant(entry) => entry.insert(ReplayWindow::default()).accept(index),
    }
}

impl SrtpBackend for SrtpContext {
    fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let (have, need) = (buffer.len(), len + rtp_overhead(self.profile));
        let packet = buffer.get_mut(..need).ok_or(SrtpError::BufferTooSmall { need, have })?;
        let header = RtpHeaderView::parse(packet.get(..len).unwrap_or_default())?;
        let (ssrc, sequence_number, header_len) = (header.ssrc(), header.sequence_number(), header.len());
        // The highest index so far, where this one was used before.
        let (index, repeats) = match window(&self.rtp_streams, ssrc)? {
            None => (u64::from(sequence_number), None),
            Some(window) => {
                let index = window.estimate(sequence_number)?;
                match window.check(index) {
                    Err(SrtpError::Replayed) => (index, window.highest()),
                    other => (index, other.map(|()| None)?),
                }
            }
        };
        if let Some(header_encryption) = &self.header_encryption {
            header_encryption.apply(packet.get_mut(..len).unwrap_or_default(), ssrc, index)?;
        }
        self.rtp.protect(packet, header_len, ssrc, index)?;
        match repeats {
            None => {
                self.sent.entry(ssrc).or_default().note(index, packet);
                accept(&mut self.rtp_streams, ssrc, index);
            }
            Some(highest) => {
                if !self.sent.get(&ssrc).is_some_and(|sent| sent.repeats(index, highest, packet)) {
                    packet.fill(0);
                    return Err(SrtpError::IndexReused);
                }
            }
        }
        Ok(need)
    }

    fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = RtpHeaderView::parse(packet)?;
        let (ssrc, sequence_number, header_len) = (header.ssrc(), header.sequence_number(), header.len());
        let have = packet.len();
        let len = have
            .checked_sub(rtp_overhead(self.profile))
            .filter(|len| *len >= header_len)
            .ok_or(SrtpError::TooShort { have })?;
        let index = match window(&self.rtp_streams, ssrc)? {
            None => u64::from(sequence_number),
            Some(window) => {
                let index = window.estimate(sequence_number)?;
                window.check(index)?;
                index
            }
        };
        self.rtp.unprotect(packet, header_len, ssrc, index)?;
        accept(&mut self.rtp_streams, ssrc, index);
        if let Some(header_encryption) = &self.header_encryption {
            header_encryption.apply(packet.get_mut(..len).unwrap_or_default(), ssrc, index)?;
        }
        Ok(len)
    }

    fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let (have, need) = (buffer.len(), len + rtcp_overhead(self.profile));
        let packet = buffer.get_mut(..need).ok_or(SrtpError::BufferTooSmall { need, have })?;
        let ssrc = rtcp_ssrc(packet.get(..len).unwrap_or_default())?;
        let last = window(&self.rtcp_streams, ssrc)?.and_then(ReplayWindow::highest);
        let index = last.map_or(1, |last| last + 1);
        let index = u32::try_from(index)
            .ok()
            .filter(|index| *index <= MAX_SRTCP_INDEX)
            .ok_or(SrtpError::KeyExpired)?;
        self.rtcp.protect(packet, ssrc, index)?;
        accept(&mut self.rtcp_streams, ssrc, u64::from(index));
        Ok(need)
    }

    fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let have = packet.len();
        let ssrc = rtcp_ssrc(packet)?;
        let len = have
            .checked_sub(rtcp_overhead(self.profile))
            .filter(|len| *len >= RTCP_HEADER_LEN)
            .ok_or(SrtpError::TooShort { have })?;
        let (index, encrypted) = self.rtcp.index(packet)?;
        if !encrypted {
            return Err(SrtpError::NotEncrypted);
        }
        if let Some(window) = window(&self.rtcp_streams, ssrc)? {
            window.check(u64::from(index))?;
        }
        self.rtcp.unprotect(packet, ssrc, index)?;
        accept(&mut self.rtcp_streams, ssrc, u64::from(index));
        Ok(len)
    }

    fn remove_stream(&mut self, ssrc: u32) -> bool {
        self.sent.remove(&ssrc);
        let rtp = self.rtp_streams.remove(&ssrc).is_some();
        let rtcp = self.rtcp_streams.remove(&ssrc).is_some();
        rtp || rtcp
    }
}

/// The sender's SSRC of an RTCP packet (RFC 3550 section 6.4).
pub(crate) fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    let header: &[u8; RTCP_HEADER_LEN] =
        packet.first_chunk().ok_or(SrtpError::Rtcp("fewer than 8 bytes of header"))?;
    let [first, _, _, _, ssrc @ ..] = header;
    if first >> 6 != 2 {
        return Err(SrtpError::Rtcp("version is not 2"));
    }
    Ok(u32::from_be_bytes(*ssrc))
}

#[cfg(test)]
#[path = "srtp_context_tests.rs"]
pub(crate) mod tests;
