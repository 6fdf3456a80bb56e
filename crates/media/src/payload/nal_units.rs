//! NAL units in Annex B of H.264 and H.265: start codes, and what both RTP formats share.

use bytes::{Bytes, BytesMut};

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
