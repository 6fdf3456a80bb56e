//! Cuts a byte stream into frames: RFC 4571 (ICE-TCP), and STUN with ChannelData over TCP or TLS (TURN).
//!
//! Owned by a TCP port on the network task; holds one frame at most besides what one read brought. RFC 4571
//! section 2, RFC 6544 section 10.1, RFC 8489 section 6.2.2, RFC 8656 section 12.5. Answers to libwebrtc's
//! `p2p/base/async_stun_tcp_socket.cc` and `AsyncTCPSocket`.

use thiserror::Error;

use crate::channel_data::{CHANNEL_DATA_HEADER_LEN, is_channel_number};
use crate::message::{HEADER_LEN, MAGIC_COOKIE};

/// Bytes a deframer holds at most: the largest frame, and room to read on.
const CAPACITY: usize = 128 << 10;
/// Once empty, a buffer larger than this is given back.
const KEEP: usize = 16 << 10;

/// Why a stream cannot be cut into frames any more: the connection is to be closed.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramingError {
    /// What follows is neither a STUN header nor one of ChannelData.
    #[error("the stream holds neither STUN nor ChannelData where a message should begin")]
    NotAMessage,
    /// The frame is longer than the datagram its header stands for.
    #[error("{len} bytes are more than a frame can carry")]
    TooLong {
        /// Bytes of the frame.
        len: usize,
    },
}

/// Which frames a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Two bytes of length before each packet (RFC 4571 section 2).
    Rfc4571,
    /// STUN messages, and ChannelData padded to a multiple of four (RFC 8656 section 12.5).
    Stun,
}

/// Where the first frame lies in the buffer and what it takes up.
struct Frame {
    skip: usize,
    len: usize,
    total: usize,
}

impl Framing {
    fn first_frame(self, bytes: &[u8]) -> Result<Option<Frame>, FramingError> {
        match self {
            Self::Rfc4571 => Ok(bytes.first_chunk().map(|field| {
                let len = usize::from(u16::from_be_bytes(*field));
                Frame { skip: 2, len, total: 2 + len }
            })),
            Self::Stun => first_message(bytes),
        }
    }
}

fn first_message(bytes: &[u8]) -> Result<Option<Frame>, FramingError> {
    let Some(&[t0, t1, l0, l1]) = bytes.first_chunk() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if is_channel_number(u16::from_be_bytes([t0, t1])) {
        let len = CHANNEL_DATA_HEADER_LEN + length;
        return Ok(Some(Frame { skip: 0, len, total: len.next_multiple_of(4) }));
    }
    if t0 & 0xC0 != 0 || !length.is_multiple_of(4) {
        return Err(FramingError::NotAMessage);
    }
    match bytes.get(4..8) {
        None => Ok(None),
        Some(cookie) if cookie == MAGIC_COOKIE.to_be_bytes() => {
            let len = HEADER_LEN + length;
            Ok(Some(Frame { skip: 0, len, total: len }))
        }
        Some(_) => Err(FramingError::NotAMessage),
    }
}

/// Collects what was read from a stream and hands out its frames.
///
/// ```
/// use peerstack_stun::{Framing, StreamDeframer};
///
/// let mut deframer = StreamDeframer::new(Framing::Rfc4571);
/// assert_eq!(deframer.push(&[0, 3, 1, 2]), 4);
/// assert_eq!(deframer.next_frame(), Ok(None));
/// deframer.push(&[3]);
/// assert_eq!(deframer.next_frame(), Ok(Some(&mut [1, 2, 3][..])));
/// ```
pub struct StreamDeframer {
    framing: Framing,
    buffer: Vec<u8>,
    consumed: usize,
    error: Option<FramingError>,
}

impl std::fmt::Debug for StreamDeframer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamDeframer")
            .field("framing", &self.framing)
            .field("buffered", &self.buffered())
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl StreamDeframer {
    /// An empty one.
    pub fn new(framing: Framing) -> Self {
        Self { framing, buffer: Vec::new(), consumed: 0, error: None }
    }

    /// Bytes that wait for the rest of their frame, or to be handed out.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.consumed
    }

    /// Takes what was read from the stream, and returns how much of it: less than all only when full, and then
    /// there is a frame to hand out. After an error the rest is swallowed.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        if self.error.is_some() {
            return bytes.len();
        }
        self.compact();
        let room = CAPACITY.saturating_sub(self.buffer.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(taken);
        taken.len()
    }

    fn compact(&mut self) {
        if self.consumed == self.buffer.len() {
            self.buffer.clear();
            if self.buffer.capacity() > KEEP {
                self.buffer.shrink_to(KEEP);
            }
        } else if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
        }
        self.consumed = 0;
    }

    /// The next frame, without the length field of RFC 4571 and without ChannelData's padding; `None` until
    /// more is pushed. Frames are mutable because they are decrypted where they lie.
    ///
    /// # Errors
    /// Once the stream is out of step it stays so, and what it still held is dropped.
    pub fn next_frame(&mut self) -> Result<Option<&mut [u8]>, FramingError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let rest = self.buffer.get(self.consumed..).unwrap_or_default();
        let frame = match self.framing.first_frame(rest) {
            Ok(Some(frame)) if frame.total <= rest.len() => frame,
            Ok(_) => return Ok(None),
            Err(error) => {
                self.error = Some(error);
                self.buffer = Vec::new();
                self.consumed = 0;
                return Err(error);
            }
        };
        let start = self.consumed + frame.skip;
        self.consumed += frame.total;
        Ok(self.buffer.get_mut(start..start + frame.len))
    }
}

/// Appends a packet with its length before it (RFC 4571 section 2).
///
/// # Errors
/// If it is longer than the length field can say; nothing is appended then.
pub fn write_rfc4571_frame(packet: &[u8], buffer: &mut Vec<u8>) -> Result<(), FramingError> {
    let field = u16::try_from(packet.len()).map_err(|_| FramingError::TooLong { len: packet.len() })?;
    buffer.extend_from_slice(&field.to_be_bytes());
    buffer.extend_from_slice(packet);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChannelData, Class, MessageBuilder, Method, TransactionId};

    /// All frames of a stream that arrives in pieces of `step` bytes.
    fn frames(framing: Framing, stream: &[u8], step: usize) -> Result<Vec<Vec<u8>>, FramingError> {
        let (mut deframer, mut out) = (StreamDeframer::new(framing), Vec::new());
        for piece in stream.chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                let taken = deframer.push(rest);
                rest = &rest[taken..];
                let before = out.len();
                while let Some(frame) = deframer.next_frame()? {
                    out.push(frame.to_vec());
                }
                assert!(taken > 0 || out.len() > before, "a full deframer has a frame");
                assert!(deframer.buffered() <= CAPACITY);
            }
        }
        Ok(out)
    }

    #[test]
    fn rfc_4571_frames_come_out_however_the_stream_is_cut() {
        let packets = [vec![], vec![1], vec![2; 300], vec![3; 65_535], vec![4; 20]];
        let mut stream = Vec::new();
        packets.iter().for_each(|packet| write_rfc4571_frame(packet, &mut stream).unwrap());
        for step in [1, 2, 3, 1000, 65_537, 1 << 20] {
            assert_eq!(frames(Framing::Rfc4571, &stream, step).unwrap(), packets, "step {step}");
        }
        let mut buffer = Vec::new();
        let too_long = write_rfc4571_frame(&vec![0; 65_536], &mut buffer);
        assert_eq!(too_long, Err(FramingError::TooLong { len: 65_536 }));
        assert!(buffer.is_empty());
    }

    #[test]
    fn stun_and_channel_data_come_out_however_the_stream_is_cut() {
        let id = TransactionId::from_bytes([5; 12]);
        let mut binding = MessageBuilder::new(Class::Request, Method::BINDING, id);
        binding.add_software("x").fingerprint();
        let binding = binding.finish();
        let mut stream = binding.clone();
        let (mut short, mut long) = (Vec::new(), Vec::new());
        for (len, plain) in [(5, &mut short), (65_535, &mut long)] {
            let data = vec![6; len];
            let message = ChannelData { channel: 0x4FFF, data: &data };
            message.write(plain).unwrap();
            message.write_padded(&mut stream).unwrap();
        }
        stream.extend_from_slice(&binding);
        let expected = [binding.clone(), short, long, binding];
        for step in [1, 7, 4096, 1 << 20] {
            assert_eq!(frames(Framing::Stun, &stream, step).unwrap(), expected, "step {step}");
        }
    }

    #[test]
    fn a_stream_out_of_step_stays_so() {
        let mut deframer = StreamDeframer::new(Framing::Stun);
        // A TLS alert of a server that expected TLS.
        deframer.push(&[0x15, 3, 3, 0, 2, 2, 10, 0]);
        assert_eq!(deframer.next_frame(), Err(FramingError::NotAMessage));
        assert_eq!(deframer.push(&[0; 100]), 100);
        assert_eq!(deframer.buffered(), 0);
        assert_eq!(deframer.next_frame(), Err(FramingError::NotAMessage));
        for head in [[0x80, 0, 0, 0], [0, 1, 0, 3], [0x3F, 1, 0, 1], [0x50, 0, 0, 0]] {
            assert_eq!(
                frames(Framing::Stun, &[&head[..], &[0; 4]].concat(), 1),
                Err(FramingError::NotAMessage)
            );
        }
    }

    #[test]
    fn a_frame_that_never_ends_does_not_grow() {
        let mut deframer = StreamDeframer::new(Framing::Rfc4571);
        deframer.push(&[0xFF, 0xFF]);
        for _ in 0..65 {
            deframer.push(&[0; 1000]);
        }
        assert_eq!(deframer.next_frame(), Ok(None));
        let taken = deframer.push(&vec![0; 1 << 20]);
        assert_eq!(2 + 65_000 + taken, CAPACITY);
        assert_eq!(deframer.next_frame().map(|frame| frame.map(|frame| frame.len())), Ok(Some(65_535)));
    }
}
