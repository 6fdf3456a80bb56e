//! H.264 in RTP (RFC 6184): single NAL units, STAP-A and FU-A, which is what packetization modes 0 and 1 have. Answers
//! to libwebrtc's `rtp_format_h264.cc` and `video_rtp_depacketizer_h264.cc`.

use bytes::{BufMut, Bytes, BytesMut};

use super::nal_units::{self, START_CODE};
use super::{DepacketizeError, DepacketizedFrame, PacketizeError, Reader, even_parts};

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const IDR: u8 = 5;
const SPS: u8 = 7;
const FILLER: u8 = 12;
const TYPE: u8 = 0x1F;
const REFERENCE: u8 = 0x60;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
/// FU indicator and FU header (section 5.8).
const FU_HEADER: usize = 2;

pub(super) fn packetize(frame: &Bytes, room: usize, single_nal: bool) -> Result<Vec<Bytes>, PacketizeError> {
    let mut units = nal_units::split(frame);
    units.retain(|unit| unit.first().is_some_and(|byte| byte & TYPE != FILLER));
    let reserved = |unit: &Bytes| unit.first().is_none_or(|byte| !(1..STAP_A).contains(&(byte & TYPE)));
    if units.is_empty() || units.iter().any(reserved) {
        return Err(PacketizeError::Malformed("no access unit of H.264 in Annex B"));
    }
    if single_nal {
        return match units.iter().find(|unit| unit.len() > room) {
            Some(unit) => Err(PacketizeError::TooLarge { len: unit.len(), room }),
            None => Ok(units),
        };
    }
    let mut payloads = Vec::new();
    for group in nal_units::grouped(&units, room, 1) {
        match group.as_slice() {
            [unit] if unit.len() > room => fragment(unit, room, &mut payloads),
            [unit] => payloads.push(unit.clone()),
            several => {
                // The highest importance of those inside (section 5.7).
                let bytes = several.iter().filter_map(|unit| unit.first());
                let reference = bytes.map(|byte| byte & REFERENCE).max().unwrap_or_default();
                payloads.push(nal_units::aggregate(&[reference | STAP_A], several));
            }
        }
    }
    Ok(payloads)
}

fn fragment(unit: &Bytes, room: usize, payloads: &mut Vec<Bytes>) {
    let Some((header, data)) = unit.split_first() else { return };
    let parts: Vec<&[u8]> = even_parts(data, room - FU_HEADER).collect();
    let last = parts.len().saturating_sub(1);
    for (index, part) in parts.iter().enumerate() {
        let start = if index == 0 { FU_START } else { 0 };
        let end = if index == last { FU_END } else { 0 };
        let mut payload = BytesMut::with_capacity(FU_HEADER + part.len());
        payload.put_u8(header & !TYPE | FU_A);
        payload.put_u8(header & TYPE | start | end);
        payload.extend_from_slice(part);
        payloads.push(payload.freeze());
    }
}

pub(super) fn depacketize<'p>(
    payloads: impl Iterator<Item = &'p [u8]>,
) -> Result<DepacketizedFrame, DepacketizeError> {
    let mut frame = DepacketizedFrame::default();
    // A NAL unit whose fragments still come, by its type.
    let mut open: Option<u8> = None;
    for payload in payloads {
        let mut reader = Reader::new(payload);
        let header = reader.u8()?;
        let kind = header & TYPE;
        if open.is_some() && kind != FU_A {
            return Err(DepacketizeError("the fragments of a NAL unit do not end"));
        }
        match kind {
            1..STAP_A => unit(&mut frame, payload),
            STAP_A => {
                while !reader.rest.is_empty() {
                    let len = reader.u16()?;
                    let inside = reader.take(usize::from(len))?;
                    if inside.first().is_none_or(|byte| !(1..STAP_A).contains(&(byte & TYPE))) {
                        return Err(DepacketizeError("an aggregation packet holds what is no NAL unit"));
                    }
                    unit(&mut frame, inside);
                }
            }
            FU_A => {
                let fragment = reader.u8()?;
                let (start, end, kind) = (fragment & FU_START != 0, fragment & FU_END != 0, fragment & TYPE);
                match (start, open) {
                    (true, None) if (1..STAP_A).contains(&kind) => unit(&mut frame, &[header & !TYPE | kind]),
                    (false, Some(before)) if before == kind => {}
                    _ => return Err(DepacketizeError("a fragment of a NAL unit out of place")),
                }
                frame.data.extend_from_slice(reader.rest);
                open = (!end).then_some(kind);
            }
            _ => return Err(DepacketizeError("a packet type that modes 0 and 1 do not have")),
        }
    }
    match open {
        Some(_) => Err(DepacketizeError("the fragments of a NAL unit do not end")),
        None if frame.data.is_empty() => Err(DepacketizeError("no NAL unit")),
        None => Ok(frame),
    }
}

fn unit(frame: &mut DepacketizedFrame, bytes: &[u8]) {
    let kind = bytes.first().map(|byte| byte & TYPE);
    frame.key_frame |= matches!(kind, Some(IDR | SPS));
    frame.data.extend_from_slice(&START_CODE);
    frame.data.extend_from_slice(bytes);
}
