//! VP9 in RTP (RFC 9628). Answers to libwebrtc's `rtp_format_vp9.cc` and `video_rtp_depacketizer_vp9.cc`.

use bytes::{BufMut, Bytes, BytesMut};

use super::{DepacketizeError, DepacketizedFrame, Reader, even_parts};

const PICTURE_ID: u8 = 0x80;
const INTER_PICTURE: u8 = 0x40;
const LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGIN: u8 = 0x08;
const END: u8 = 0x04;
const STRUCTURE: u8 = 0x02;
/// Descriptor with a picture id of 15 bits and one reference (section 4.2).
const DESCRIPTOR: usize = 4;
/// The frame before, and no other (P_DIFF of 1, N of 0).
const REFERS_TO_LAST: u8 = 1 << 1;
/// References one frame has at most (section 4.2).
const MAX_REFERENCES: usize = 3;

pub(super) fn packetize(frame: &Bytes, room: usize, picture_id: u16) -> Vec<Bytes> {
    let key_frame = is_key_frame(frame);
    let parts: Vec<&[u8]> = even_parts(frame, room.saturating_sub(DESCRIPTOR)).collect();
    let last = parts.len().saturating_sub(1);
    let part = |(index, data): (usize, &&[u8])| {
        let mut payload = BytesMut::with_capacity(DESCRIPTOR + data.len());
        let begin = if index == 0 { BEGIN } else { 0 };
        let end = if index == last { END } else { 0 };
        let inter = if key_frame { 0 } else { INTER_PICTURE };
        payload.put_u8(PICTURE_ID | inter | FLEXIBLE | begin | end);
        payload.put_u16(0x8000 | picture_id);
        if !key_frame {
            payload.put_u8(REFERS_TO_LAST);
        }
        payload.extend_from_slice(data);
        payload.freeze()
    };
    parts.iter().enumerate().map(part).collect()
}

/// The uncompressed header of the bitstream: frame marker, profile, show_existing_frame, frame_type.
fn is_key_frame(frame: &[u8]) -> bool {
    let Some(byte) = frame.first() else { return false };
    let bit = |index: u8| byte >> (7 - index) & 1;
    let profile = bit(2) | bit(3) << 1;
    // Profile 3 has a reserved bit.
    let at = if profile == 3 { 5 } else { 4 };
    byte >> 6 == 2 && bit(at) == 0 && bit(at + 1) == 0
}

pub(super) fn depacketize<'p>(
    payloads: impl Iterator<Item = &'p [u8]>,
) -> Result<DepacketizedFrame, DepacketizeError> {
    let mut frame = DepacketizedFrame::default();
    let mut first = true;
    for payload in payloads {
        let mut reader = Reader::new(payload);
        let descriptor = reader.u8()?;
        if descriptor & PICTURE_ID != 0 && reader.u8()? & 0x80 != 0 {
            reader.u8()?;
        }
        if descriptor & LAYERS != 0 {
            reader.u8()?;
            if descriptor & FLEXIBLE == 0 {
                reader.u8()?;
            }
        }
        if descriptor & FLEXIBLE != 0 && descriptor & INTER_PICTURE != 0 {
            let mut count = 1;
            while reader.u8()? & 1 != 0 {
                count += 1;
                if count > MAX_REFERENCES {
                    return Err(DepacketizeError("more than three references"));
                }
            }
        }
        if descriptor & STRUCTURE != 0 {
            skip_structure(&mut reader)?;
        }
        if reader.rest.is_empty() {
            return Err(DepacketizeError("no VP9 behind the descriptor"));
        }
        if first {
            if descriptor & BEGIN == 0 {
                return Err(DepacketizeError("not the beginning of a VP9 frame"));
            }
            frame.key_frame = descriptor & INTER_PICTURE == 0;
            first = false;
        }
        frame.data.extend_from_slice(reader.rest);
    }
    Ok(frame)
}

/// The scalability structure (section 4.2.1).
fn skip_structure(reader: &mut Reader<'_>) -> Result<(), DepacketizeError> {
    let head = reader.u8()?;
    let layers = usize::from(head >> 5) + 1;
    if head & 0x10 != 0 {
        reader.take(4 * layers)?;
    }
    if head & 0x08 != 0 {
        for _ in 0..reader.u8()? {
            let references = reader.u8()? >> 2 & 3;
            reader.take(usize::from(references))?;
        }
    }
    Ok(())
}
