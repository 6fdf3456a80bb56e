//! Frames to RTP payloads and back: the packetizers and depacketizers of the usual codecs. Runs wherever the
//! application's calls do; answers to libwebrtc's `modules/rtp_rtcp/source/rtp_format*.cc` and
//! `video_rtp_depacketizer*.cc`. What stands here is our own: the crate `rtp` panics on crafted payloads and has no
//! depacketizer of AV1.
//!
//! A frame is what an encoder gives and a decoder takes: an Opus or G.711 packet, a VP8 or VP9 frame, an access unit of
//! H.264 or H.265 in Annex B (start codes), a temporal unit of AV1 in low-overhead format.

mod av1;
mod frame_assembler;
mod h264;
mod h265;
mod nal_units;
mod opus;
mod vp8;
mod vp9;

use bytes::Bytes;
use thiserror::Error;

pub use frame_assembler::{AssembledFrame, FrameAssembler, FrameAssemblerStats};
pub use opus::opus_packet_duration;

/// The least room a packetizer needs for a payload, in bytes.
pub const MIN_PAYLOAD: usize = 64;

/// How frames of a codec stand in RTP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadFormat {
    /// One frame a packet: Opus (RFC 7587), G.711, G.722, L16 (RFC 3551), comfort noise (RFC 3389).
    Whole,
    /// RFC 7741.
    Vp8,
    /// RFC 9628, in flexible mode.
    Vp9,
    /// RFC 6184.
    H264 {
        /// Packetization mode 0: one NAL unit a packet, neither aggregated nor cut.
        single_nal: bool,
    },
    /// RFC 7798, one stream over one transport, without decoding order numbers.
    H265,
    /// AOM's "RTP Payload Format For AV1".
    Av1,
}

impl PayloadFormat {
    /// The format of a codec, by its encoding name; `packetization_mode` is that parameter of H.264. `None` for one
    /// that is not known here.
    pub fn of(name: &str, packetization_mode: Option<&str>) -> Option<Self> {
        const WHOLE: [&str; 6] = ["opus", "PCMU", "PCMA", "G722", "L16", "CN"];
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        Some(match () {
            () if WHOLE.iter().any(|other| is(other)) => Self::Whole,
            () if is("VP8") => Self::Vp8,
            () if is("VP9") => Self::Vp9,
            () if is("H264") => Self::H264 { single_nal: packetization_mode.unwrap_or("0") == "0" },
            () if is("H265") => Self::H265,
            () if is("AV1") => Self::Av1,
            () => return None,
        })
    }

    /// Whether a frame may take several packets, the last of which has the marker bit.
    pub fn is_video(self) -> bool {
        self != Self::Whole
    }
}

/// Why a frame was not packetized.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketizeError {
    /// Nothing to send.
    #[error("the frame is empty")]
    Empty,
    /// The codec's frames cannot be cut, and this one does not fit.
    #[error("{len} bytes do not fit into a packet of {room}")]
    TooLarge {
        /// Bytes of what cannot be cut.
        len: usize,
        /// Bytes there are.
        room: usize,
    },
    /// It is no frame of this codec.
    #[error("the frame is malformed: {0}")]
    Malformed(&'static str),
}

/// Why a payload was not read; what was wrong with it.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("{0}")]
pub struct DepacketizeError(pub &'static str);

/// Turns frames into payloads, one after another.
#[derive(Debug, Clone)]
pub struct Packetizer {
    format: PayloadFormat,
    max_payload: usize,
    /// 15 bits, of VP8 and VP9.
    picture_id: u16,
}

impl Packetizer {
    /// Payloads have at most `max_payload` bytes ([`MIN_PAYLOAD`] at least); `picture_id` begins the numbers of VP8 and
    /// VP9 frames, and is best random.
    pub fn new(format: PayloadFormat, max_payload: usize, picture_id: u16) -> Self {
        Self { format, max_payload: max_payload.max(MIN_PAYLOAD), picture_id: picture_id & 0x7FFF }
    }

    /// The format.
    pub fn format(&self) -> PayloadFormat {
        self.format
    }

    /// The payloads of a frame, in order; of video the last gets the marker bit.
    ///
    /// # Errors
    /// The frame is none of this codec, or cannot be cut so that it fits. Nothing has changed then.
    pub fn packetize(&mut self, frame: &Bytes) -> Result<Vec<Bytes>, PacketizeError> {
        if frame.is_empty() {
            return Err(PacketizeError::Empty);
        }
        let room = self.max_payload;
        let payloads = match self.format {
            PayloadFormat::Whole if frame.len() > room => {
                return Err(PacketizeError::TooLarge { len: frame.len(), room });
            }
            PayloadFormat::Whole => vec![frame.clone()],
            PayloadFormat::Vp8 => vp8::packetize(frame, room, self.picture_id),
            PayloadFormat::Vp9 => vp9::packetize(frame, room, self.picture_id),
            PayloadFormat::H264 { single_nal } => h264::packetize(frame, room, single_nal)?,
            PayloadFormat::H265 => h265::packetize(frame, room)?,
            PayloadFormat::Av1 => av1::packetize(frame, room)?,
        };
        self.picture_id = self.picture_id.wrapping_add(1) & 0x7FFF;
        Ok(payloads)
    }
}

/// A frame that was put together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DepacketizedFrame {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Whether decoding can begin here; true for audio.
    pub key_frame: bool,
}

/// Puts the payloads of one frame together; they are all of its packets, in order.
///
/// # Errors
/// A payload is malformed, or the first does not begin a frame.
pub fn depacketize<'p>(
    format: PayloadFormat,
    payloads: impl Iterator<Item = &'p [u8]>,
) -> Result<DepacketizedFrame, DepacketizeError> {
    match format {
        PayloadFormat::Whole => {
            let data = payloads.fold(Vec::new(), |mut data, payload| {
                data.extend_from_slice(payload);
                data
            });
            Ok(DepacketizedFrame { data, key_frame: true })
        }
        PayloadFormat::Vp8 => vp8::depacketize(payloads),
        PayloadFormat::Vp9 => vp9::depacketize(payloads),
        PayloadFormat::H264 { .. } => h264::depacketize(payloads),
        PayloadFormat::H265 => h265::depacketize(payloads),
        PayloadFormat::Av1 => av1::depacketize(payloads),
    }
}

/// Cuts `data` into parts of nearly the same size, `room` at most: none is left that is nearly empty.
fn even_parts(data: &[u8], room: usize) -> impl Iterator<Item = &[u8]> {
    let count = data.len().div_ceil(room.max(1)).max(1);
    data.chunks(data.len().div_ceil(count).max(1))
}

/// Reads the beginning of a payload.
struct Reader<'p> {
    rest: &'p [u8],
}

impl<'p> Reader<'p> {
    fn new(rest: &'p [u8]) -> Self {
        Self { rest }
    }

    fn u8(&mut self) -> Result<u8, DepacketizeError> {
        let (first, rest) = self.rest.split_first().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*first)
    }

    fn u16(&mut self) -> Result<u16, DepacketizeError> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    fn take(&mut self, len: usize) -> Result<&'p [u8], DepacketizeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }
}

const SHORT: DepacketizeError = DepacketizeError("the payload ends too early");

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
