//! Writing RTP packets, and rewriting the header extensions of packets that are passed on. Runs on the network
//! task; answers to libwebrtc's `modules/rtp_rtcp/source/rtp_packet.cc`.

use crate::header_extension_map::ExtensionIdMapping;
use crate::rtp_packet::{
    ExtensionForm, Extensions, FIXED_HEADER_LEN, ONE_BYTE_PROFILE, RtpError, RtpHeaderView, RtpPacket,
    TWO_BYTE_PROFILE,
};

/// An RTP header that owns what it says (RFC 3550 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RtpHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence_number: u16,
    /// Timestamp, in the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Contributing sources, 15 at most.
    pub csrcs: Vec<u32>,
    /// Header extensions: local identifier and value.
    pub extensions: Vec<(u8, Vec<u8>)>,
}

impl From<&RtpHeaderView<'_>> for RtpHeader {
    fn from(view: &RtpHeaderView<'_>) -> Self {
        Self {
            marker: view.marker(),
            payload_type: view.payload_type(),
            sequence_number: view.sequence_number(),
            timestamp: view.timestamp(),
            ssrc: view.ssrc(),
            csrcs: view.csrcs().collect(),
            extensions: view.extensions().map(|element| (element.id, element.value.to_vec())).collect(),
        }
    }
}

impl RtpHeader {
    /// Writes a packet of this header and `payload` to the start of `buffer`. Returns how many bytes it has.
    ///
    /// # Errors
    /// The buffer is too small, or an extension cannot be written. The buffer's content is then undefined.
    pub fn write(&self, payload: &[u8], buffer: &mut [u8]) -> Result<usize, RtpError> {
        let extensions = self.extensions.iter().map(|(id, value)| (*id, value.as_slice()));
        let header_len = write_rtp_header(
            buffer,
            &RtpFields {
                marker: self.marker,
                payload_type: self.payload_type,
                sequence_number: self.sequence_number,
                timestamp: self.timestamp,
                ssrc: self.ssrc,
                padding: false,
            },
            self.csrcs.iter().copied(),
            extensions,
        )?;
        append(buffer, header_len, payload)
    }
}

/// The fixed part of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RtpFields {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence_number: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Padding bit; the caller writes the padding.
    pub padding: bool,
}

impl From<&RtpHeaderView<'_>> for RtpFields {
    fn from(view: &RtpHeaderView<'_>) -> Self {
        Self {
            marker: view.marker(),
            payload_type: view.payload_type(),
            sequence_number: view.sequence_number(),
            timestamp: view.timestamp(),
            ssrc: view.ssrc(),
            padding: view.has_padding(),
        }
    }
}

fn put(buffer: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(slot) = buffer.get_mut(at..at + bytes.len()) {
        slot.copy_from_slice(bytes);
    }
}

fn append(buffer: &mut [u8], at: usize, bytes: &[u8]) -> Result<usize, RtpError> {
    let (have, need) = (buffer.len(), at + bytes.len());
    let slot = buffer.get_mut(at..need).ok_or(RtpError::BufferTooSmall { need, have })?;
    slot.copy_from_slice(bytes);
    Ok(need)
}

/// Writes a header to the start of `buffer` and returns its length. Extensions take the one-byte form if all
/// fit it (ids 1 to 14, values of 1 to 16 bytes), otherwise the two-byte form (RFC 8285 section 4.1.2; the peer
/// must have agreed to `extmap-allow-mixed` or to such ids).
///
/// # Errors
/// The buffer is too small, there are too many CSRCs, or an extension cannot be written. The buffer's content is
/// then undefined.
pub fn write_rtp_header<'e>(
    buffer: &mut [u8],
    fields: &RtpFields,
    csrcs: impl Iterator<Item = u32> + Clone,
    extensions: impl Iterator<Item = (u8, &'e [u8])> + Clone,
) -> Result<usize, RtpError> {
    let csrc_count = csrcs.clone().count();
    if csrc_count > 15 {
        return Err(RtpError::TooMuch);
    }
    let (form, words) = extension_layout(extensions.clone())?;
    let extension_at = FIXED_HEADER_LEN + 4 * csrc_count;
    let need = extension_at + words.map_or(0, |words| 4 + 4 * usize::from(words));
    let have = buffer.len();
    let header = buffer.get_mut(..need).ok_or(RtpError::BufferTooSmall { need, have })?;
    let first = 0x80 | u8::from(fields.padding) << 5 | u8::from(words.is_some()) << 4 | csrc_count as u8;
    let second = u8::from(fields.marker) << 7 | (fields.payload_type & 0x7F);
    put(header, 0, &[first, second]);
    put(header, 2, &fields.sequence_number.to_be_bytes());
    put(header, 4, &fields.timestamp.to_be_bytes());
    put(header, 8, &fields.ssrc.to_be_bytes());
    for (i, csrc) in csrcs.enumerate() {
        put(header, FIXED_HEADER_LEN + 4 * i, &csrc.to_be_bytes());
    }
    if let Some(words) = words {
        let profile = if form == ExtensionForm::TwoByte { TWO_BYTE_PROFILE } else { ONE_BYTE_PROFILE };
        put(header, extension_at, &profile.to_be_bytes());
        put(header, extension_at + 2, &words.to_be_bytes());
        let mut at = extension_at + 4;
        for (id, value) in extensions {
            let len = value.len() as u8;
            if form == ExtensionForm::TwoByte {
                put(header, at, &[id, len]);
                at += 2;
            } else {
                put(header, at, &[id << 4 | len.wrapping_sub(1)]);
                at += 1;
            }
            put(header, at, value);
            at += value.len();
        }
        if let Some(padding) = header.get_mut(at..) {
            padding.fill(0);
        }
    }
    Ok(need)
}

/// The form that fits, and the words of the elements; `None` words without elements.
fn extension_layout<'e>(
    extensions: impl Iterator<Item = (u8, &'e [u8])> + Clone,
) -> Result<(ExtensionForm, Option<u16>), RtpError> {
    let (mut one_byte, mut elements, mut values) = (true, 0, 0);
    for (id, value) in extensions {
        if id == 0 || id == 15 || value.len() > 255 {
            return Err(RtpError::Extension { id, len: value.len() });
        }
        one_byte &= id < 15 && (1..=16).contains(&value.len());
        elements += 1;
        values += value.len();
    }
    if elements == 0 {
        return Ok((ExtensionForm::OneByte, None));
    }
    let (form, heads) =
        if one_byte { (ExtensionForm::OneByte, elements) } else { (ExtensionForm::TwoByte, 2 * elements) };
    let words = u16::try_from((heads + values).div_ceil(4)).map_err(|_| RtpError::TooMuch)?;
    Ok((form, Some(words)))
}

/// Writes `packet` for another peer to the start of `buffer`: extension ids through `mapping` (those the other
/// side did not negotiate are left out), `set` in addition or instead (MID, RID), SSRC, sequence number, payload
/// type and marker from `fields`. Payload and padding are copied. Returns how many bytes were written.
///
/// # Errors
/// The buffer is too small or an extension cannot be written. The buffer's content is then undefined.
pub fn write_forwarded(
    packet: &RtpPacket<'_>,
    fields: &RtpFields,
    mapping: &ExtensionIdMapping,
    set: &[(u8, &[u8])],
    buffer: &mut [u8],
) -> Result<usize, RtpError> {
    let header = packet.header();
    let kept = header
        .extensions()
        .filter_map(|element| mapping.get(element.id).map(|id| (id, element.value)))
        .filter(|(id, _)| set.iter().all(|(replaced, _)| replaced != id));
    let fields = RtpFields { padding: header.has_padding(), ..*fields };
    let len = write_rtp_header(buffer, &fields, header.csrcs(), kept.chain(set.iter().copied()))?;
    append(buffer, len, packet.as_bytes().get(header.len()..).unwrap_or_default())
}

/// Bytes a packet may grow by in [`write_forwarded`]: the two-byte form of what was one-byte, the extension's
/// own header, and `set`.
pub fn forwarded_len_bound(packet: &RtpPacket<'_>, set: &[(u8, &[u8])]) -> usize {
    let elements = packet.header().extensions().count();
    let added: usize = set.iter().map(|(_, value)| value.len() + 2).sum();
    packet.as_bytes().len() + elements + added + 4 + 3
}

/// Changes the ids of header extensions where they lie. What `mapping` does not know, or what does not fit the
/// form the packet has, becomes padding.
///
/// # Errors
/// As [`RtpHeaderView::parse`]; the packet is then as it was.
pub fn rewrite_extension_ids(packet: &mut [u8], mapping: &ExtensionIdMapping) -> Result<(), RtpError> {
    let (header_len, form, mut at) = {
        let header = RtpHeaderView::parse(packet)?;
        let extensions = header.extensions();
        (header.len(), extensions.form(), extensions.position())
    };
    loop {
        let rest = packet.get(at..header_len).unwrap_or_default();
        let Some(element) = Extensions::new(rest, at, form).next() else { return Ok(()) };
        let (id, start, end) = (element.id, element.at, element.value_at + element.value.len());
        let fits = |id: &u8| form == ExtensionForm::TwoByte || *id < 15;
        match (mapping.get(id).filter(fits), form) {
            (Some(new), ExtensionForm::OneByte) => {
                if let Some(byte) = packet.get_mut(start) {
                    *byte = new << 4 | (*byte & 0x0F);
                }
            }
            (Some(new), _) => put(packet, start, &[new]),
            (None, _) => {
                if let Some(element) = packet.get_mut(start..end) {
                    element.fill(0);
                }
            }
        }
        at = end;
    }
}

#[cfg(test)]
#[path = "rtp_packet_writer_tests.rs"]
mod tests;
