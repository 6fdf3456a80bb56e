//! VP8 in RTP (RFC 7741). Answers to libwebrtc's `rtp_format_vp8.cc` and `video_rtp_depacketizer_vp8.cc`.

use bytes::{BufMut, Bytes, BytesMut};

use super::{DepacketizeError, DepacketizedFrame, Reader, even_parts};

/// Descriptor with a picture id of 15 bits (section 4.2).
const DESCRIPTOR: usize = 4;
const EXTENDED: u8 = 0x80;
const START: u8 = 0x10;
const PARTITION: u8 = 0x07;
const PICTURE_ID: u8 = 0x80;

pub(super) fn packetize(frame: &Bytes, room: usize, picture_id: u16) -> Vec<Bytes> {
    let part = |(index, data): (usize, &[u8])| {
        let mut payload = BytesMut::with_capacity(DESCRIPTOR + data.len());
        payload.put_u8(EXTENDED | if index == 0 { START } else { 0 });
        payload.put_u8(PICTURE_ID);
        payload.put_u16(0x8000 | picture_id);
        payload.extend_from_slice(data);
        payload.freeze()
    };
    even_parts(frame, room.saturating_sub(DESCRIPTOR)).enumerate().map(part).collect()
}

pub(super) fn depacketize<'p>(
    payloads: impl Iterator<Item = &'p [u8]>,
) -> Result<DepacketizedFrame, DepacketizeError> {
    let mut frame = DepacketizedFrame::default();
    let mut first = true;
    for payload in payloads {
        let mut reader = Reader::new(payload);
        let descriptor = reader.u8()?;
        if descriptor & EXTENDED != 0 {
            let extension = reader.u8()?;
            if extension & PICTURE_ID != 0 && reader.u8()? & 0x80 != 0 {
                reader.u8()?;
            }
            // TL0PICIDX, then TID, Y and KEYIDX in one byte.
            if extension & 0x40 != 0 {
                reader.u8()?;
            }
            if extension & 0x30 != 0 {
                reader.u8()?;
            }
        }
        let Some(byte) = reader.rest.first() else {
            return Err(DepacketizeError("no VP8 behind the descriptor"));
        };
        if first {
            if descriptor & START == 0 || descriptor & PARTITION != 0 {
                return Err(DepacketizeError("not the beginning of a VP8 frame"));
            }
            // RFC 6386 section 9.1: the first bit is 0 in a key frame.
            frame.key_frame = byte & 1 == 0;
            first = false;
        }
        frame.data.extend_from_slice(reader.rest);
    }
    Ok(frame)
}
