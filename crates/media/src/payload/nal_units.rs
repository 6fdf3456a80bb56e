//! NAL units in Annex B of H.264 and H.265: start codes, and what both RTP formats share.

use bytes::{BufMut, Bytes, BytesMut};

use super::{DepacketizeError, DepacketizedFrame, even_parts};

/// First and last of the fragments of a unit, in the FU header that both formats have.
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// What stands before each NAL unit.
pub(super) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The NAL units between start codes (Annex B), without empty ones. Bytes without a start code are one.
pub(super) fn split(frame: &Bytes) -> Vec<Bytes> {
    let mut units = Vec::new();
    let mut begin: Option<usize> = None;
    let mut zeros = 0usize;
    for (index, byte) in frame.iter().enumerate() {
        if *byte == 0 {
            zeros += 1;
            continue;
        }
        if *byte == 1 && zeros >= 2 {
            if let Some(begin) = begin {
                push(&mut units, frame, begin, index - zeros);
            }
            begin = Some(index + 1);
        }
        zeros = 0;
    }
    // Zeros at the end are padding (trailing_zero_8bits).
    match begin {
        Some(begin) => push(&mut units, frame, begin, frame.len() - zeros),
        None => push(&mut units, frame, 0, frame.len() - zeros),
    }
    units
}

fn push(units: &mut Vec<Bytes>, frame: &Bytes, begin: usize, end: usize) {
    if begin < end {
        units.push(frame.slice(begin..end));
    }
}

/// Groups small units that fit one packet together: each with two bytes of length, behind `header` bytes.
pub(super) fn grouped(units: &[Bytes], room: usize, header: usize) -> Vec<Vec<Bytes>> {
    let mut groups: Vec<Vec<Bytes>> = Vec::new();
    let mut used = room;
    for unit in units {
        let cost = 2 + unit.len();
        match groups.last_mut().filter(|_| used + cost <= room) {
            Some(group) => {
                group.push(unit.clone());
                used += cost;
            }
            None => {
                groups.push(vec![unit.clone()]);
                used = header + cost;
            }
        }
    }
    groups
}

/// An aggregation packet of these units.
pub(super) fn aggregate(header: &[u8], units: &[Bytes]) -> Bytes {
    let mut payload = BytesMut::from(header);
    for unit in units {
        // What was grouped is smaller than a packet.
        let len = u16::try_from(unit.len()).unwrap_or(u16::MAX);
        payload.extend_from_slice(&len.to_be_bytes());
        payload.extend_from_slice(unit);
    }
    payload.freeze()
}

/// The fragments of a unit of this type: what follows its header in parts, each behind the payload header and a FU
/// header (RFC 6184 section 5.8, RFC 7798 section 4.4.3).
pub(super) fn fragments(payload_header: &[u8], kind: u8, data: &[u8], room: usize) -> Vec<Bytes> {
    let header_len = payload_header.len() + 1;
    let parts: Vec<&[u8]> = even_parts(data, room - header_len).collect();
    let last = parts.len().saturating_sub(1);
    let fragment = |(index, part): (usize, &[u8])| {
        let start = if index == 0 { FU_START } else { 0 };
        let end = if index == last { FU_END } else { 0 };
        let mut payload = BytesMut::with_capacity(header_len + part.len());
        payload.extend_from_slice(payload_header);
        payload.put_u8(kind | start | end);
        payload.extend_from_slice(part);
        payload.freeze()
    };
    parts.into_iter().enumerate().map(fragment).collect()
}

/// The unit whose fragments still come, by its type.
#[derive(Debug, Default)]
pub(super) struct OpenUnit(Option<u8>);

impl OpenUnit {
    /// Nothing else may come before the last fragment.
    pub(super) fn check_ended(&self) -> Result<(), DepacketizeError> {
        match self.0 {
            Some(_) => Err(DepacketizeError("the fragments of a NAL unit do not end")),
            None => Ok(()),
        }
    }

    /// Takes the next FU header; gives the type of the unit if it begins here. `types` are the bits of the type,
    /// `is_unit` says of which type a unit may be.
    pub(super) fn take(
        &mut self,
        fu_header: u8,
        types: u8,
        is_unit: impl FnOnce(u8) -> bool,
    ) -> Result<Option<u8>, DepacketizeError> {
        let kind = fu_header & types;
        let begins = match (fu_header & FU_START != 0, self.0) {
            (true, None) if is_unit(kind) => Some(kind),
            (false, Some(before)) if before == kind => None,
            _ => return Err(DepacketizeError("a fragment of a NAL unit out of place")),
        };
        self.0 = (fu_header & FU_END == 0).then_some(kind);
        Ok(begins)
    }

    /// The frame, if its last unit is whole and there is one.
    pub(super) fn finish(self, frame: DepacketizedFrame) -> Result<DepacketizedFrame, DepacketizeError> {
        self.check_ended()?;
        if frame.data.is_empty() {
            return Err(DepacketizeError("no NAL unit"));
        }
        Ok(frame)
    }
}
