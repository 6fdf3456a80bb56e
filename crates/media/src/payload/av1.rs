//! AV1 in RTP (AOM, "RTP Payload Format For AV1"). Answers to libwebrtc's `rtp_packetizer_av1.cc` and
//! `video_rtp_depacketizer_av1.cc`.

use bytes::{BufMut, Bytes, BytesMut};

use super::{DepacketizeError, DepacketizedFrame, PacketizeError, Reader};

/// Aggregation header (section 4.4): the first element continues one.
const CONTINUES: u8 = 0x80;
/// The last element goes on in the next packet.
const GOES_ON: u8 = 0x40;
/// How many elements there are; 0 where each says its length.
const COUNT: u8 = 0x30;
/// A new coded video sequence begins.
const NEW_SEQUENCE: u8 = 0x08;
/// OBU header (AV1 section 5.3.2).
const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;
const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;
const TILE_LIST: u8 = 8;
const PADDING: u8 = 15;
/// An OBU that begins each temporal unit in a file and is not sent (section 5).
const DELIMITER: [u8; 2] = [TEMPORAL_DELIMITER << 3 | HAS_SIZE, 0];
/// Bytes of a length at most: OBUs are smaller than 2^32.
const MAX_LEB128: usize = 8;

fn kind_of(header: u8) -> u8 {
    header >> 3 & 0x0F
}

fn leb128(reader: &mut Reader<'_>) -> Result<usize, DepacketizeError> {
    let mut value = 0u64;
    for index in 0..MAX_LEB128 {
        let byte = reader.u8()?;
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let fits = u32::try_from(value).ok().and_then(|value| usize::try_from(value).ok());
            return fits.ok_or(DepacketizeError("a length of more than 32 bits"));
        }
    }
    Err(DepacketizeError("a length that does not end"))
}

fn put_leb128(data: &mut impl BufMut, mut value: usize) {
    loop {
        let byte = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            return data.put_u8(byte);
        }
        data.put_u8(byte | 0x80);
    }
}

fn leb128_len(value: usize) -> usize {
    let bits = usize::BITS - value.leading_zeros();
    (bits.div_ceil(7) as usize).max(1)
}

/// One OBU: its header without the size field, and its payload.
struct Obu<'f> {
    /// One byte, or two with the extension.
    header: [u8; 2],
    header_len: usize,
    payload: &'f [u8],
}

impl<'f> Obu<'f> {
    /// Reads the header; the OBU has a size, or takes all there is.
    fn read(reader: &mut Reader<'f>) -> Result<Self, DepacketizeError> {
        let first = reader.u8()?;
        if first & 0x80 != 0 {
            return Err(DepacketizeError("the forbidden bit of an OBU is set"));
        }
        let extended = first & HAS_EXTENSION != 0;
        let extension = if extended { reader.u8()? } else { 0 };
        let len = if first & HAS_SIZE != 0 { leb128(reader)? } else { reader.rest.len() };
        let payload = reader.take(len)?;
        Ok(Self { header: [first & !HAS_SIZE, extension], header_len: if extended { 2 } else { 1 }, payload })
    }

    fn header(&self) -> &[u8] {
        self.header.get(..self.header_len).unwrap_or_default()
    }

    fn kind(&self) -> u8 {
        kind_of(self.header[0])
    }

    fn is_sent(&self) -> bool {
        !matches!(self.kind(), TEMPORAL_DELIMITER | TILE_LIST | PADDING)
    }
}

pub(super) fn packetize(frame: &Bytes, room: usize) -> Result<Vec<Bytes>, PacketizeError> {
    let mut reader = Reader::new(frame);
    let mut obus = Vec::new();
    while !reader.rest.is_empty() {
        let obu = Obu::read(&mut reader).map_err(|error| PacketizeError::Malformed(error.0))?;
        if obu.is_sent() {
            obus.push(obu);
        }
    }
    if obus.is_empty() {
        return Err(PacketizeError::Malformed("a temporal unit without an OBU to send"));
    }
    let new_sequence = obus.iter().any(|obu| obu.kind() == SEQUENCE_HEADER);
    let mut payloads: Vec<BytesMut> = Vec::new();
    let mut current = BytesMut::from(&[if new_sequence { NEW_SEQUENCE } else { 0 }][..]);
    for obu in &obus {
        let mut element = BytesMut::with_capacity(2 + obu.payload.len());
        element.extend_from_slice(obu.header());
        element.extend_from_slice(obu.payload);
        let mut rest: &[u8] = &element;
        let mut begun = false;
        while !rest.is_empty() {
            let free = room.saturating_sub(current.len());
            // The length's own bytes, then at least a few of the element.
            let fits = free.saturating_sub(leb128_len(rest.len().min(free)));
            if fits < 2.min(rest.len()) || fits == 0 {
                payloads.push(std::mem::replace(&mut current, header_of(begun)));
                if begun {
                    mark(&mut payloads);
                }
                continue;
            }
            let (part, behind) = rest.split_at(rest.len().min(fits));
            put_leb128(&mut current, part.len());
            current.extend_from_slice(part);
            rest = behind;
            begun = true;
            if !rest.is_empty() {
                payloads.push(std::mem::replace(&mut current, header_of(true)));
                mark(&mut payloads);
            }
        }
    }
    payloads.push(current);
    Ok(payloads.into_iter().map(BytesMut::freeze).collect())
}

/// An aggregation header where each element says its length.
fn header_of(continues: bool) -> BytesMut {
    BytesMut::from(&[if continues { CONTINUES } else { 0 }][..])
}

/// The last element of the last packet goes on.
fn mark(payloads: &mut [BytesMut]) {
    if let Some(first) = payloads.last_mut().and_then(|payload| payload.first_mut()) {
        *first |= GOES_ON;
    }
}

pub(super) fn depacketize<'p>(
    payloads: impl Iterator<Item = &'p [u8]>,
) -> Result<DepacketizedFrame, DepacketizeError> {
    let mut frame = DepacketizedFrame { data: DELIMITER.to_vec(), key_frame: false };
    // An element that goes on.
    let mut open: Option<Vec<u8>> = None;
    for payload in payloads {
        let mut reader = Reader::new(payload);
        let header = reader.u8()?;
        if open.is_some() != (header & CONTINUES != 0) {
            return Err(DepacketizeError("an OBU element that goes on is not where it should be"));
        }
        let count = (header & COUNT) >> 4;
        let mut index = 0;
        while !reader.rest.is_empty() {
            index += 1;
            let len = if count != 0 && index == count { reader.rest.len() } else { leb128(&mut reader)? };
            let element = reader.take(len)?;
            let goes_on = header & GOES_ON != 0 && reader.rest.is_empty();
            match (open.take(), goes_on) {
                (None, false) => obu(&mut frame, element)?,
                (None, true) => open = Some(element.to_vec()),
                (Some(mut begun), goes_on) => {
                    begun.extend_from_slice(element);
                    if goes_on {
                        open = Some(begun);
                    } else {
                        obu(&mut frame, &begun)?;
                    }
                }
            }
        }
        if index == 0 || count != 0 && index != count {
            return Err(DepacketizeError("not as many OBU elements as the header says"));
        }
    }
    if open.is_some() || frame.data.len() == DELIMITER.len() {
        return Err(DepacketizeError("the last OBU of a temporal unit is not there"));
    }
    Ok(frame)
}

/// Writes an element as an OBU that says its size.
fn obu(frame: &mut DepacketizedFrame, element: &[u8]) -> Result<(), DepacketizeError> {
    // An element of no bytes is nothing (section 4.4).
    if element.is_empty() {
        return Ok(());
    }
    let mut reader = Reader::new(element);
    let obu = Obu::read(&mut reader)?;
    if !reader.rest.is_empty() {
        return Err(DepacketizeError("bytes behind an OBU"));
    }
    if !obu.is_sent() {
        return Ok(());
    }
    frame.key_frame |= obu.kind() == SEQUENCE_HEADER;
    frame.data.push(obu.header[0] | HAS_SIZE);
    frame.data.extend(obu.header().iter().skip(1));
    put_leb128(&mut frame.data, obu.payload.len());
    frame.data.extend_from_slice(obu.payload);
    Ok(())
}
