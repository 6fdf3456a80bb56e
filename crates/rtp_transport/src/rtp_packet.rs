//! A validating, borrowed view of an RTP packet (RFC 3550 section 5.1, header extensions of RFC 8285). Runs on
//! the network task; answers to libwebrtc's `modules/rtp_rtcp/source/rtp_packet.cc`.
//!
//! Total: any bytes either parse or give an [`RtpError`]; nothing here panics, allocates or copies.

use thiserror::Error;

/// Bytes of the fixed header.
pub const FIXED_HEADER_LEN: usize = 12;
/// Bytes before the extension's elements: "defined by profile" and length.
const EXTENSION_HEADER_LEN: usize = 4;
/// "Defined by profile" of one-byte header extensions (RFC 8285 section 4.2).
pub const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// "Defined by profile" of two-byte header extensions, the lower four bits being `appbits` (RFC 8285 section 4.3).
pub const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Why bytes are not an RTP packet, or a packet could not be written.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RtpError {
    /// The bytes end before the header does.
    #[error("an RTP header needs {need} bytes, the packet has {have}")]
    TooShort {
        /// Bytes the header asks for.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// Not version 2.
    #[error("RTP version {0} is not 2")]
    Version(u8),
    /// The padding is longer than the payload, or its length is 0.
    #[error("padding of {padding} bytes does not fit a payload of {payload} bytes")]
    Padding {
        /// What the last byte says.
        padding: usize,
        /// Bytes behind the header.
        payload: usize,
    },
    /// The buffer to write into is too small.
    #[error("writing the packet needs {need} bytes, the buffer has {have}")]
    BufferTooSmall {
        /// Bytes needed.
        need: usize,
        /// Bytes there are.
        have: usize,
    },
    /// A header extension that cannot be written: id 0 or 15, or more than 255 bytes.
    #[error("header extension {id} of {len} bytes cannot be written")]
    Extension {
        /// Its id.
        id: u8,
        /// Bytes of its value.
        len: usize,
    },
    /// More than 15 contributing sources, or extensions of more than 65,535 words.
    #[error("too many contributing sources or header extensions")]
    TooMuch,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |b| b.iter().fold(0, |n, byte| n << 8 | u16::from(*byte)))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| b.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
}

/// The header of an RTP packet: all that SRTP leaves in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeaderView<'a> {
    /// Exactly the header.
    header: &'a [u8],
    /// Where the extension elements begin; `header.len()` without extension.
    extension_at: usize,
}

impl<'a> RtpHeaderView<'a> {
    /// Reads the header at the start of `bytes`. What follows it is not looked at.
    ///
    /// # Errors
    /// The version is not 2, or the bytes end within the header.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let have = bytes.len();
        let short = |need| RtpError::TooShort { need, have };
        let first = *bytes.first().ok_or(short(FIXED_HEADER_LEN))?;
        if first >> 6 != 2 {
            return Err(RtpError::Version(first >> 6));
        }
        let csrc_end = FIXED_HEADER_LEN + 4 * usize::from(first & 0x0F);
        if have < csrc_end {
            return Err(short(csrc_end));
        }
        let (mut len, mut extension_at) = (csrc_end, csrc_end);
        if first & 0x10 != 0 {
            extension_at = csrc_end + EXTENSION_HEADER_LEN;
            if have < extension_at {
                return Err(short(extension_at));
            }
            len = extension_at + 4 * usize::from(u16_at(bytes, csrc_end + 2));
        }
        let header = bytes.get(..len).ok_or(short(len))?;
        Ok(Self { header, extension_at })
    }

    /// Bytes of the header, extension included: the payload begins there.
    pub fn len(&self) -> usize {
        self.header.len()
    }

    /// Never: a header has at least twelve bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The header's bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.header
    }

    fn first(&self) -> u8 {
        self.header.first().copied().unwrap_or_default()
    }

    /// Whether padding follows the payload.
    pub fn has_padding(&self) -> bool {
        self.first() & 0x20 != 0
    }

    /// Whether there is a header extension.
    pub fn has_extension(&self) -> bool {
        self.first() & 0x10 != 0
    }

    /// The marker bit.
    pub fn marker(&self) -> bool {
        self.header.get(1).is_some_and(|byte| byte & 0x80 != 0)
    }

    /// Payload type, 0 to 127.
    pub fn payload_type(&self) -> u8 {
        self.header.get(1).map_or(0, |byte| byte & 0x7F)
    }

    /// Sequence number.
    pub fn sequence_number(&self) -> u16 {
        u16_at(self.header, 2)
    }

    /// Timestamp, in the payload's clock.
    pub fn timestamp(&self) -> u32 {
        u32_at(self.header, 4)
    }

    /// Synchronisation source.
    pub fn ssrc(&self) -> u32 {
        u32_at(self.header, 8)
    }

    /// Contributing sources.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        let header = self.header;
        let count = usize::from(self.first() & 0x0F);
        (0..count).map(move |i| u32_at(header, FIXED_HEADER_LEN + 4 * i))
    }

    /// "Defined by profile" of the header extension.
    pub fn extension_profile(&self) -> Option<u16> {
        self.has_extension().then(|| u16_at(self.header, self.extension_at - EXTENSION_HEADER_LEN))
    }

    /// The extension elements of RFC 8285, padding left out. Reading stops at id 15 of the one-byte form (section
    /// 4.2) and at an element that is cut off; an unknown profile has none.
    pub fn extensions(&self) -> Extensions<'a> {
        let rest = self.header.get(self.extension_at..).unwrap_or_default();
        Extensions::new(rest, self.extension_at, ExtensionForm::of(self.extension_profile()))
    }

    /// The value of one extension element.
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions().find(|element| element.id == id).map(|element| element.value)
    }
}

/// How extension elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionForm {
    /// Four bits each of id and length.
    OneByte,
    /// A byte each of id and length.
    TwoByte,
    /// Not those of RFC 8285.
    Unknown,
}

impl ExtensionForm {
    fn of(profile: Option<u16>) -> Self {
        match profile {
            Some(ONE_BYTE_PROFILE) => Self::OneByte,
            Some(profile) if profile & 0xFFF0 == TWO_BYTE_PROFILE => Self::TwoByte,
            _ => Self::Unknown,
        }
    }
}

/// One extension element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionElement<'a> {
    /// Local identifier.
    pub id: u8,
    /// Value.
    pub value: &'a [u8],
    /// Where the id stands, from the packet's first byte.
    pub at: usize,
    /// Where the value stands, from the packet's first byte.
    pub value_at: usize,
}

/// Iterator of [`RtpHeaderView::extensions`].
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    rest: &'a [u8],
    at: usize,
    form: ExtensionForm,
}

impl<'a> Extensions<'a> {
    /// Elements in `rest`, which begins `at` bytes into the packet.
    pub(crate) fn new(rest: &'a [u8], at: usize, form: ExtensionForm) -> Self {
        Self { rest, at, form }
    }

    /// Where reading goes on, from the packet's first byte.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// How they are written.
    pub fn form(&self) -> ExtensionForm {
        self.form
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = ExtensionElement<'a>;

    fn next(&mut self) -> Option<ExtensionElement<'a>> {
        loop {
            let (first, after) = self.rest.split_first()?;
            let (id, len, head) = match self.form {
                // Id 0 is padding: one byte, in the one-byte form only if its length says nothing (RFC 8285
                // section 4.2: an id of 0 with a length is skipped like any unknown element).
                ExtensionForm::OneByte if *first == 0 => (0, 0, 1),
                ExtensionForm::OneByte if first >> 4 == 15 => return None,
                ExtensionForm::OneByte => (first >> 4, usize::from(first & 0x0F) + 1, 1),
                ExtensionForm::TwoByte if *first == 0 => (0, 0, 1),
                ExtensionForm::TwoByte => (*first, usize::from(*after.first()?), 2),
                ExtensionForm::Unknown => return None,
            };
            let value = self.rest.get(head..head + len)?;
            let element = ExtensionElement { id, value, at: self.at, value_at: self.at + head };
            self.rest = self.rest.get(head + len..).unwrap_or_default();
            self.at += head + len;
            if id != 0 {
                return Some(element);
            }
        }
    }
}

/// A whole RTP packet in the clear: header, payload, padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    header: RtpHeaderView<'a>,
    bytes: &'a [u8],
    payload_end: usize,
}

impl<'a> RtpPacket<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// As [`RtpHeaderView::parse`], and padding that is longer than what follows the header, or of length 0.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let header = RtpHeaderView::parse(bytes)?;
        let payload = bytes.len() - header.len();
        let padding = match bytes.last() {
            Some(last) if header.has_padding() => usize::from(*last),
            _ => 0,
        };
        if padding > payload || (header.has_padding() && padding == 0) {
            return Err(RtpError::Padding { padding, payload });
        }
        Ok(Self { header, bytes, payload_end: bytes.len() - padding })
    }

    /// The header.
    pub fn header(&self) -> &RtpHeaderView<'a> {
        &self.header
    }

    /// All of the packet.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The payload, without padding.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.header.len()..self.payload_end).unwrap_or_default()
    }

    /// Bytes of padding, its length byte included.
    pub fn padding_len(&self) -> usize {
        self.bytes.len() - self.payload_end
    }
}

#[cfg(test)]
#[path = "rtp_packet_tests.rs"]
mod tests;
