//! The webrtc-srtp crate as a second backend, behind guards (feature `webrtc-srtp`). Runs on the network task; the
//! same role as [`SrtpContext`](crate::SrtpContext), which it is also tested against.
//!
//! What version 0.17.2 gets wrong, and what keeps it out here:
//! - it accepts SRTCP whose "E" bit is 0 without looking at the tag (AES-CM): such packets are refused before;
//! - SRTCP of 4 to 13 bytes and malformed header extensions panic it before authentication: lengths are checked
//!   before the call, and it never parses a header itself, it is only told the length, SSRC and sequence number;
//! - it makes state for an SSRC before authentication: sources not seen yet are tried on a context that is thrown
//!   away, each source that is real has a context of its own, and sources are bounded;
//! - replay protection is off by default and looks at 16 bits: it stays off, and indices are checked here.

use std::collections::HashMap;
use std::fmt;

use peerstack_dtls::SrtpProtectionProfile;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::replay_window::{REPLAY_WINDOW, ReplayWindow};
use crate::rtp_packet::{FIXED_HEADER_LEN, RtpHeaderView};
use crate::sent_packets::SentPackets;
use crate::srtp_backend::{SrtpBackend, SrtpError, SrtpKey, rtcp_overhead, rtp_overhead};
use crate::srtp_context::{
    MAX_SRTCP_INDEX, MAX_SSRCS, RTCP_HEADER_LEN, SRTCP_E_FLAG, SRTCP_INDEX_LEN, rtcp_ssrc,
};

/// The crate counts roll-overs from the last packet, we from the highest one, as RFC 3711 appendix A says. Within
/// this distance of the highest both agree; what is further away is refused.
const UNAMBIGUOUS: u64 = 0x8000 - REPLAY_WINDOW;
/// Packets of sources not seen yet that one context is used for: it keeps a state for each.
const MAX_PROBES: usize = 1024;

/// An index, and what the replay window says of it.
type CheckedIndex = (u64, Result<(), SrtpError>);

/// One source: what the crate knows of it, and which indices were seen.
struct Stream {
    context: Context,
    window: ReplayWindow,
    /// Sending: what may go out again.
    sent: SentPackets,
}

/// A context that is made anew after some use.
#[derive(Default)]
struct Disposable {
    context: Option<Context>,
    uses: usize,
}

impl Disposable {
    fn get(&mut self, key: &SrtpKey) -> Result<&mut Context, SrtpError> {
        if self.uses >= MAX_PROBES {
            *self = Self::default();
        }
        self.uses += 1;
        if self.context.is_none() {
            self.context = Some(new_context(key)?);
        }
        self.context.as_mut().ok_or(SrtpError::Cipher)
    }

    fn take(&mut self) -> Option<Context> {
        self.uses = 0;
        self.context.take()
    }
}

/// One direction of one session.
pub struct WebrtcSrtpBackend {
    key: SrtpKey,
    rtp_streams: HashMap<u32, Stream>,
    rtp_probe: Disposable,
    rtcp_streams: HashMap<u32, ReplayWindow>,
    /// Sending: holds the indices, for sources of our own. Receiving: the index is in the packet, so any context
    /// serves.
    rtcp_send: Context,
    rtcp_probe: Disposable,
}

impl fmt::Debug for WebrtcSrtpBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebrtcSrtpBackend")
            .field("profile", &self.key.profile)
            .field("rtp_streams", &self.rtp_streams.len())
            .field("rtcp_streams", &self.rtcp_streams.len())
            .finish_non_exhaustive()
    }
}

fn new_context(key: &SrtpKey) -> Result<Context, SrtpError> {
    let profile = match key.profile {
        SrtpProtectionProfile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpProtectionProfile::Aes128CmSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        SrtpProtectionProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProtectionProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    Context::new(key.key(), key.salt(), profile, None, None).map_err(|_| SrtpError::Cipher)
}

/// All the crate needs of a header: length, SSRC, sequence number. The length is expressed in CSRCs, each of four
/// bytes as every part of a header is, so that it never looks at an extension.
fn header_for_crate(header: &RtpHeaderView<'_>) -> rtp::header::Header {
    rtp::header::Header {
        version: 2,
        ssrc: header.ssrc(),
        sequence_number: header.sequence_number(),
        csrc: vec![0; header.len().saturating_sub(FIXED_HEADER_LEN) / 4],
        ..Default::default()
    }
}

/// Puts the crate's answer where the packet was; its length must be `len`.
fn put(buffer: &mut [u8], answer: &[u8], len: usize) -> Result<usize, SrtpError> {
    if answer.len() != len {
        return Err(SrtpError::Cipher);
    }
    buffer.get_mut(..len).ok_or(SrtpError::Cipher)?.copy_from_slice(answer);
    Ok(len)
}

impl WebrtcSrtpBackend {
    /// One direction of a session.
    ///
    /// # Errors
    /// The crate refuses the key.
    pub fn new(key: &SrtpKey) -> Result<Self, SrtpError> {
        Ok(Self {
            key: key.clone(),
            rtp_streams: HashMap::new(),
            rtp_probe: Disposable::default(),
            rtcp_streams: HashMap::new(),
            rtcp_send: new_context(key)?,
            rtcp_probe: Disposable::default(),
        })
    }

    /// The index of a packet and what the window says of it; `None` for a source not seen yet.
    fn check_rtp(&self, ssrc: u32, sequence_number: u16) -> Result<Option<CheckedIndex>, SrtpError> {
        let Some(stream) = self.rtp_streams.get(&ssrc) else {
            return if self.rtp_streams.len() < MAX_SSRCS { Ok(None) } else { Err(SrtpError::TooManySsrcs) };
        };
        let index = stream.window.estimate(sequence_number)?;
        let ambiguous = stream.window.highest().is_some_and(|highest| index.abs_diff(highest) > UNAMBIGUOUS);
        if ambiguous {
            return Err(SrtpError::TooOld);
        }
        Ok(Some((index, stream.window.check(index))))
    }

    /// Runs `call` on the source's context, or on one of no source; keeps what it learned if it succeeded.
    fn with_rtp_context<T>(
        &mut self,
        ssrc: u32,
        index: u64,
        call: impl FnOnce(&mut Context) -> Result<T, SrtpError>,
    ) -> Result<T, SrtpError> {
        if let Some(stream) = self.rtp_streams.get_mut(&ssrc) {
            let result = call(&mut stream.context)?;
            stream.window.accept(index);
            return Ok(result);
        }
        let result = call(self.rtp_probe.get(&self.key)?)?;
        if let Some(context) = self.rtp_probe.take() {
            let mut window = ReplayWindow::default();
            window.accept(index);
            self.rtp_streams.insert(ssrc, Stream { context, window, sent: SentPackets::default() });
        }
        Ok(result)
    }

    fn rtcp_window(&self, ssrc: u32) -> Result<Option<&ReplayWindow>, SrtpError> {
        match self.rtcp_streams.get(&ssrc) {
            Some(window) => Ok(Some(window)),
            None if self.rtcp_streams.len() < MAX_SSRCS => Ok(None),
            None => Err(SrtpError::TooManySsrcs),
        }
    }
}

impl SrtpBackend for WebrtcSrtpBackend {
    fn protect_rtp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let (have, need) = (buffer.len(), len + rtp_overhead(self.key.profile));
        let buffer = buffer.get_mut(..need).ok_or(SrtpError::BufferTooSmall { need, have })?;
        let header = RtpHeaderView::parse(buffer.get(..len).unwrap_or_default())?;
        let (ssrc, sequence_number) = (header.ssrc(), header.sequence_number());
        let header = header_for_crate(&header);
        // The highest index so far, where this one was used before.
        let (index, repeats) = match self.check_rtp(ssrc, sequence_number)? {
            None => (u64::from(sequence_number), None),
            Some((index, Err(SrtpError::Replayed))) => {
                (index, self.rtp_streams.get(&ssrc).and_then(|stream| stream.window.highest()))
            }
            Some((index, checked)) => (index, checked.map(|()| None)?),
        };
        let sealed = self.with_rtp_context(ssrc, index, |context| {
            let plain = buffer.get(..len).unwrap_or_default();
            context.encrypt_rtp_with_header(plain, &header).map_err(|_| SrtpError::Cipher)
        })?;
        if let Some(stream) = self.rtp_streams.get_mut(&ssrc) {
            match repeats {
                None => stream.sent.note(index, &sealed),
                Some(highest) if stream.sent.repeats(index, highest, &sealed) => {}
                Some(_) => return Err(SrtpError::IndexReused),
            }
        }
        put(buffer, &sealed, need)
    }

    fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let header = RtpHeaderView::parse(packet)?;
        let (ssrc, sequence_number, have) = (header.ssrc(), header.sequence_number(), packet.len());
        let len = have
            .checked_sub(rtp_overhead(self.key.profile))
            .filter(|len| *len >= header.len())
            .ok_or(SrtpError::TooShort { have })?;
        let header = header_for_crate(&header);
        let index = match self.check_rtp(ssrc, sequence_number)? {
            None => u64::from(sequence_number),
            Some((index, checked)) => checked.map(|()| index)?,
        };
        self.with_rtp_context(ssrc, index, |context| {
            let opened =
                context.decrypt_rtp_with_header(packet, &header).map_err(|_| SrtpError::Authentication)?;
            put(packet, &opened, len)
        })
    }

    fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let (have, need) = (buffer.len(), len + rtcp_overhead(self.key.profile));
        let buffer = buffer.get_mut(..need).ok_or(SrtpError::BufferTooSmall { need, have })?;
        let plain = buffer.get(..len).unwrap_or_default();
        let ssrc = rtcp_ssrc(plain)?;
        let last = self.rtcp_window(ssrc)?.and_then(ReplayWindow::highest).unwrap_or(0);
        // The crate begins at 0 again when the index is used up.
        if last >= u64::from(MAX_SRTCP_INDEX) {
            return Err(SrtpError::KeyExpired);
        }
        let sealed = self
            .rtcp_send
            .encrypt_rtcp(plain)
            .map_err(|_| SrtpError::Rtcp("the backend cannot read its header"))?;
        let len = put(buffer, &sealed, need)?;
        self.rtcp_streams.entry(ssrc).or_default().accept(last + 1);
        Ok(len)
    }

    fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let have = packet.len();
        let ssrc = rtcp_ssrc(packet)?;
        let len = have
            .checked_sub(rtcp_overhead(self.key.profile))
            .filter(|len| *len >= RTCP_HEADER_LEN)
            .ok_or(SrtpError::TooShort { have })?;
        // Before the HMAC's tag, or last with GCM: behind 16 bytes of tag.
        let index_at = match self.key.profile {
            SrtpProtectionProfile::Aes128CmSha1_80 | SrtpProtectionProfile::Aes128CmSha1_32 => len,
            SrtpProtectionProfile::AeadAes128Gcm | SrtpProtectionProfile::AeadAes256Gcm => {
                have.saturating_sub(SRTCP_INDEX_LEN)
            }
        };
        let word = packet
            .get(index_at..)
            .and_then(|tail| tail.first_chunk::<SRTCP_INDEX_LEN>())
            .map(|word| u32::from_be_bytes(*word))
            .ok_or(SrtpError::TooShort { have })?;
        if word & SRTCP_E_FLAG == 0 {
            return Err(SrtpError::NotEncrypted);
        }
        let index = u64::from(word & !SRTCP_E_FLAG);
        if let Some(window) = self.rtcp_window(ssrc)? {
            window.check(index)?;
        }
        let opened =
            self.rtcp_probe.get(&self.key)?.decrypt_rtcp(packet).map_err(|_| SrtpError::Authentication)?;
        let len = put(packet, &opened, len)?;
        self.rtcp_streams.entry(ssrc).or_default().accept(index);
        Ok(len)
    }

    fn remove_stream(&mut self, ssrc: u32) -> bool {
        let rtp = self.rtp_streams.remove(&ssrc).is_some();
        let rtcp = self.rtcp_streams.remove(&ssrc).is_some();
        rtp || rtcp
    }
}

#[cfg(test)]
#[path = "webrtc_srtp_backend_tests.rs"]
mod tests;
