//! H.265 in RTP (RFC 7798): single NAL units, aggregation packets and fragmentation units, without decoding order
//! numbers (`sprop-max-don-diff` 0). Answers to libwebrtc's `rtp_packetizer_h265.cc` and
//! `video_rtp_depacketizer_h265.cc`.

use bytes::Bytes;

use super::nal_units::{self, OpenUnit, START_CODE};
use super::{DepacketizeError, DepacketizedFrame, PacketizeError, Reader};

const AGGREGATION: u8 = 48;
const FRAGMENTATION: u8 = 49;
const FILLER: u8 = 38;
/// Payload header (section 4.2).
const HEADER: usize = 2;
/// The bits of a type, in a FU header and, a bit further left, in the first byte of a unit's.
const TYPE: u8 = 0x3F;

fn kind_of(unit: &[u8]) -> Option<u8> {
    // Two bytes of header, and something behind them.
    (unit.len() > HEADER).then(|| unit.first().map_or(0, |byte| byte >> 1 & TYPE))
}

/// The two bytes of header with another type.
fn retyped(header: [u8; 2], kind: u8) -> [u8; 2] {
    [header[0] & 0x81 | kind << 1, header[1]]
}

pub(super) fn packetize(frame: &Bytes, room: usize) -> Result<Vec<Bytes>, PacketizeError> {
    let mut units = nal_units::split(frame);
    units.retain(|unit| kind_of(unit) != Some(FILLER));
    if units.is_empty() || units.iter().any(|unit| kind_of(unit).is_none_or(|kind| kind >= AGGREGATION)) {
        return Err(PacketizeError::Malformed("no access unit of H.265 in Annex B"));
    }
    let mut payloads = Vec::new();
    for group in nal_units::grouped(&units, room, HEADER) {
        match group.as_slice() {
            [unit] if unit.len() > room => fragment(unit, room, &mut payloads),
            [unit] => payloads.push(unit.clone()),
            several => payloads.push(nal_units::aggregate(&aggregation_header(several), several)),
        }
    }
    Ok(payloads)
}

/// The lowest layer and temporal id of those inside (section 4.4.2).
fn aggregation_header(units: &[Bytes]) -> [u8; 2] {
    let headers = || units.iter().filter_map(|unit| unit.first_chunk::<2>().copied());
    let layer = |header: [u8; 2]| (header[0] & 1) << 5 | header[1] >> 3;
    let layer = headers().map(layer).min().unwrap_or_default();
    let temporal = headers().map(|header| header[1] & 7).min().unwrap_or(1);
    let forbidden = headers().fold(0, |all, header| all | header[0] & 0x80);
    [forbidden | AGGREGATION << 1 | layer >> 5, layer << 3 | temporal]
}

fn fragment(unit: &Bytes, room: usize, payloads: &mut Vec<Bytes>) {
    let Some((header, data)) = unit.split_first_chunk::<2>() else { return };
    let payload_header = retyped(*header, FRAGMENTATION);
    payloads.extend(nal_units::fragments(&payload_header, header[0] >> 1 & TYPE, data, room));
}

pub(super) fn depacketize<'p>(
    payloads: impl Iterator<Item = &'p [u8]>,
) -> Result<DepacketizedFrame, DepacketizeError> {
    let mut frame = DepacketizedFrame::default();
    let mut open = OpenUnit::default();
    for payload in payloads {
        let mut reader = Reader::new(payload);
        let header = [reader.u8()?, reader.u8()?];
        let kind = header[0] >> 1 & TYPE;
        if kind != FRAGMENTATION {
            open.check_ended()?;
        }
        match kind {
            0..AGGREGATION => unit(&mut frame, payload)?,
            AGGREGATION => {
                while !reader.rest.is_empty() {
                    let len = reader.u16()?;
                    unit(&mut frame, reader.take(usize::from(len))?)?;
                }
            }
            FRAGMENTATION => {
                if let Some(kind) = open.take(reader.u8()?, TYPE, |kind| kind < AGGREGATION)? {
                    begin(&mut frame, kind, &retyped(header, kind));
                }
                frame.data.extend_from_slice(reader.rest);
            }
            _ => return Err(DepacketizeError("a packet type that is not taken")),
        }
    }
    open.finish(frame)
}

fn unit(frame: &mut DepacketizedFrame, bytes: &[u8]) -> Result<(), DepacketizeError> {
    match kind_of(bytes) {
        Some(kind) if kind < AGGREGATION => begin(frame, kind, bytes),
        _ => return Err(DepacketizeError("not a NAL unit")),
    }
    Ok(())
}

/// Writes a NAL unit, or the beginning of one. Pictures that all decoding can begin with are of types 16 to 21, and
/// come with their parameter sets (32 to 34).
fn begin(frame: &mut DepacketizedFrame, kind: u8, bytes: &[u8]) {
    frame.key_frame |= matches!(kind, 16..=21 | 32..=34);
    frame.data.extend_from_slice(&START_CODE);
    frame.data.extend_from_slice(bytes);
}
