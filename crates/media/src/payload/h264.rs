//! H.264 in RTP (RFC 6184): single NAL units, STAP-A and FU-A, which is what packetization modes 0 and 1 have. Answers
//! to libwebrtc's `rtp_format_h264.cc` and `video_rtp_depacketizer_h264.cc`.

use bytes::Bytes;

use super::nal_units::{self, OpenUnit, START_CODE};
use super::{DepacketizeError, DepacketizedFrame, PacketizeError, Reader};

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const IDR: u8 = 5;
const SPS: u8 = 7;
const FILLER: u8 = 12;
const TYPE: u8 = 0x1F;
const REFERENCE: u8 = 0x60;

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
    payloads.extend(nal_units::fragments(&[header & !TYPE | FU_A], header & TYPE, data, room));
}

pub(super) fn depacketize<'p>(
    payloads: impl Iterator<Item = &'p [u8]>,
) -> Result<DepacketizedFrame, DepacketizeError> {
    let mut frame = DepacketizedFrame::default();
    let mut open = OpenUnit::default();
    for payload in payloads {
        let mut reader = Reader::new(payload);
        let header = reader.u8()?;
        let kind = header & TYPE;
        if kind != FU_A {
            open.check_ended()?;
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
                if let Some(kind) = open.take(reader.u8()?, TYPE, |kind| (1..STAP_A).contains(&kind))? {
                    unit(&mut frame, &[header & !TYPE | kind]);
                }
                frame.data.extend_from_slice(reader.rest);
            }
            _ => return Err(DepacketizeError("a packet type that modes 0 and 1 do not have")),
        }
    }
    open.finish(frame)
}

fn unit(frame: &mut DepacketizedFrame, bytes: &[u8]) {
    let kind = bytes.first().map(|byte| byte & TYPE);
    frame.key_frame |= matches!(kind, Some(IDR | SPS));
    frame.data.extend_from_slice(&START_CODE);
    frame.data.extend_from_slice(bytes);
}
