//! A STUN message as it was received: a borrowed view, validated once.
//!
//! Runs on the network task, once per datagram; allocates nothing. RFC 8489 sections 5, 6.3 and 14. Answers to
//! the reading half of libwebrtc's `StunMessage` (`api/transport/stun.h`).

mod getters;
pub(crate) use getters::{MAX_DOMAIN, MAX_TEXT, MAX_USERNAME};

use std::fmt;

use peerstack_base::Random;
use thiserror::Error;

use crate::attribute::AttributeType;
use crate::credentials::{Hash, message_hmac, tag_matches};

/// The fixed value of the header's second word (RFC 8489 section 5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;
/// Bytes of the header.
pub const HEADER_LEN: usize = 20;
/// Messages with more attributes than this are refused.
pub const MAX_ATTRIBUTES: usize = 64;
/// What the CRC-32 of FINGERPRINT is XORed with (RFC 8489 section 14.7).
pub(crate) const FINGERPRINT_XOR: u32 = 0x5354_554E;
/// Bytes of a whole FINGERPRINT attribute.
pub(crate) const FINGERPRINT_LEN: usize = 8;

/// Names a transaction: 96 bits (RFC 8489 section 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId([u8; 12]);

impl TransactionId {
    /// A random one, which is what makes responses hard to forge.
    pub fn new(random: &mut Random) -> Self {
        Self(random.bytes())
    }

    /// From the bytes on the wire.
    #[inline]
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// The bytes on the wire.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The class of a message (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Asks for a response.
    Request,
    /// Asks for none.
    Indication,
    /// The request was carried out.
    SuccessResponse,
    /// The request was refused.
    ErrorResponse,
}

/// The method of a message: 12 bits (RFC 8489 section 18.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(u16);

impl Method {
    /// RFC 8489 section 3.
    pub const BINDING: Self = Self(0x001);
    /// RFC 8656 section 7.
    pub const ALLOCATE: Self = Self(0x003);
    /// RFC 8656 section 8.
    pub const REFRESH: Self = Self(0x004);
    /// RFC 8656 section 11; indications only.
    pub const SEND: Self = Self(0x006);
    /// RFC 8656 section 11; indications only.
    pub const DATA: Self = Self(0x007);
    /// RFC 8656 section 10.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// RFC 8656 section 12.
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// RFC 6062 section 6.1.
    pub const CONNECT: Self = Self(0x00A);
    /// RFC 6062 section 6.1.
    pub const CONNECTION_BIND: Self = Self(0x00B);
    /// RFC 6062 section 6.1; indications only.
    pub const CONNECTION_ATTEMPT: Self = Self(0x00C);
    /// libwebrtc: a short connectivity check (message types 0x200, 0x300, 0x310).
    pub const GOOG_PING: Self = Self(0x080);

    /// A method by number; bits beyond the lower 12 are cut off.
    #[inline]
    pub const fn from_number(number: u16) -> Self {
        Self(number & 0xFFF)
    }

    /// Its number.
    #[inline]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::BINDING => "Binding",
            Self::ALLOCATE => "Allocate",
            Self::REFRESH => "Refresh",
            Self::SEND => "Send",
            Self::DATA => "Data",
            Self::CREATE_PERMISSION => "CreatePermission",
            Self::CHANNEL_BIND => "ChannelBind",
            Self::CONNECT => "Connect",
            Self::CONNECTION_BIND => "ConnectionBind",
            Self::CONNECTION_ATTEMPT => "ConnectionAttempt",
            Self::GOOG_PING => "GoogPing",
            Self(number) => return write!(f, "{number:#05x}"),
        })
    }
}

/// The message type of a class and method: the bits of the one lie between those of the other (RFC 8489
/// section 5, figure 3).
#[inline]
pub(crate) const fn message_type(class: Class, method: Method) -> u16 {
    let class_bits = match class {
        Class::Request => 0x0000,
        Class::Indication => 0x0010,
        Class::SuccessResponse => 0x0100,
        Class::ErrorResponse => 0x0110,
    };
    let m = method.0;
    (m & 0x000F) | ((m & 0x0070) << 1) | ((m & 0x0F80) << 2) | class_bits
}

#[inline]
const fn class_and_method(message_type: u16) -> (Class, Method) {
    let class = match message_type & 0x0110 {
        0x0000 => Class::Request,
        0x0010 => Class::Indication,
        0x0100 => Class::SuccessResponse,
        _ => Class::ErrorResponse,
    };
    let m = (message_type & 0x000F) | ((message_type >> 1) & 0x0070) | ((message_type >> 2) & 0x0F80);
    (class, Method(m))
}

/// Why bytes are not a STUN message.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// Shorter than the header.
    #[error("{len} bytes are fewer than the 20 of a STUN header")]
    TooShort {
        /// Bytes there were.
        len: usize,
    },
    /// The first two bits are not zero, or the magic cookie is wrong.
    #[error("the first two bits or the magic cookie are not STUN's")]
    NotStun,
    /// The length field is not that of the datagram, or not a multiple of four.
    #[error("the header says {header} bytes of attributes, the datagram holds {datagram}")]
    Length {
        /// What the length field says.
        header: usize,
        /// Bytes that follow the header.
        datagram: usize,
    },
    /// An attribute, padding included, reaches beyond the end.
    #[error("attribute {kind} of {len} bytes at offset {offset} reaches beyond the message")]
    AttributeLength {
        /// Which.
        kind: AttributeType,
        /// Where it begins.
        offset: usize,
        /// What its length field says.
        len: usize,
    },
    /// More than [`MAX_ATTRIBUTES`].
    #[error("more than {MAX_ATTRIBUTES} attributes")]
    TooManyAttributes,
}

/// What a check of FINGERPRINT found (RFC 8489 section 14.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FingerprintStatus {
    /// There is one, it is the last attribute, and it is right.
    Valid,
    /// There is none.
    Missing,
    /// There is one, but it is wrong or not the last attribute.
    Invalid,
}

/// What a check of MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegrityStatus {
    /// There is one and it was made with this key.
    Valid,
    /// There is none.
    Missing,
    /// There is one and it was not made with this key, or is malformed.
    Invalid,
}

/// Whether a datagram looks like STUN: first two bits zero, the magic cookie, and a length field that is a
/// multiple of four and equal to what follows the header (RFC 8489 section 5). [`Message::parse`] asks more.
#[inline]
pub fn is_stun(datagram: &[u8]) -> bool {
    check_header(datagram).is_ok()
}

#[inline]
fn check_header(bytes: &[u8]) -> Result<&[u8; HEADER_LEN], ParseError> {
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Err(ParseError::TooShort { len: bytes.len() });
    };
    let [t0, _, l0, l1, c0, c1, c2, c3, ..] = *header;
    if t0 & 0xC0 != 0 || u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
        return Err(ParseError::NotStun);
    }
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let datagram = bytes.len() - HEADER_LEN;
    if length != datagram || !length.is_multiple_of(4) {
        return Err(ParseError::Length { header: length, datagram });
    }
    Ok(header)
}

/// One attribute as it lies in a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawAttribute<'a> {
    /// Its number.
    pub kind: AttributeType,
    /// Its value, without padding.
    pub value: &'a [u8],
    offset: usize,
}

impl fmt::Debug for RawAttribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}[{}]", self.kind, self.value.len())
    }
}

/// Reads the attribute at `offset`; `Ok(None)` at the end. Also returns where the next one begins.
#[inline]
fn read_attribute(bytes: &[u8], offset: usize) -> Result<Option<(RawAttribute<'_>, usize)>, ParseError> {
    let rest = bytes.get(offset..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(None);
    }
    // The whole message is a multiple of four, and so is each step: four bytes are always there.
    let Some((&[k0, k1, l0, l1], rest)) = rest.split_first_chunk::<4>() else {
        return Err(ParseError::AttributeLength { kind: AttributeType(0), offset, len: 0 });
    };
    let kind = AttributeType(u16::from_be_bytes([k0, k1]));
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let padded = len.next_multiple_of(4);
    match rest.get(..len) {
        Some(value) if padded <= rest.len() => {
            Ok(Some((RawAttribute { kind, value, offset }, offset + 4 + padded)))
        }
        _ => Err(ParseError::AttributeLength { kind, offset, len }),
    }
}

/// How far the attributes that count reach: what follows an integrity attribute is not protected by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    AfterIntegrity,
    AfterIntegritySha256,
    End,
}

/// The attributes of a message that count, in order: after MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and
/// FINGERPRINT, after MESSAGE-INTEGRITY-SHA256 only FINGERPRINT, after FINGERPRINT none (RFC 8489 sections
/// 14.5 to 14.7).
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    offset: usize,
    stage: Stage,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = RawAttribute<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawAttribute<'a>> {
        while self.stage < Stage::End {
            let (attribute, next) = read_attribute(self.bytes, self.offset).ok().flatten()?;
            self.offset = next;
            let (counts, stage) = match attribute.kind {
                AttributeType::FINGERPRINT => (true, Stage::End),
                AttributeType::MESSAGE_INTEGRITY_SHA256 => {
                    (self.stage < Stage::AfterIntegritySha256, Stage::AfterIntegritySha256)
                }
                AttributeType::MESSAGE_INTEGRITY => {
                    (self.stage < Stage::AfterIntegrity, self.stage.max(Stage::AfterIntegrity))
                }
                _ => (self.stage == Stage::Open, self.stage),
            };
            self.stage = stage;
            if counts {
                return Some(attribute);
            }
        }
        None
    }
}

/// A STUN message, borrowed from the datagram it came in.
///
/// Attributes are read by getters. Where an attribute occurs more than once the first occurrence counts
/// (RFC 8489 section 14); a malformed value reads as `None`, and [`has`](Self::has) tells it from an absent one.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: Method,
    transaction_id: TransactionId,
}

impl<'a> Message<'a> {
    /// Validates a datagram: header, lengths and padding of every attribute. Total on any bytes, allocates
    /// nothing, and looks at [`MAX_ATTRIBUTES`] attributes at most.
    ///
    /// # Errors
    /// [`ParseError`] says what is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let header = check_header(bytes)?;
        let [t0, t1, ..] = *header;
        let (class, method) = class_and_method(u16::from_be_bytes([t0, t1]));
        let mut transaction_id = [0; 12];
        if let Some(id) = header.last_chunk() {
            transaction_id = *id;
        }
        let (mut offset, mut count) = (HEADER_LEN, 0);
        while let Some((_, next)) = read_attribute(bytes, offset)? {
            count += 1;
            if count > MAX_ATTRIBUTES {
                return Err(ParseError::TooManyAttributes);
            }
            offset = next;
        }
        Ok(Self { bytes, class, method, transaction_id: TransactionId(transaction_id) })
    }

    /// Its class.
    #[inline]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Its method.
    #[inline]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Its transaction.
    #[inline]
    pub fn transaction_id(&self) -> TransactionId {
        self.transaction_id
    }

    /// Whether it answers a request: a success or an error response.
    #[inline]
    pub fn is_response(&self) -> bool {
        matches!(self.class, Class::SuccessResponse | Class::ErrorResponse)
    }

    /// The whole message, header included.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes that count, in order.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { bytes: self.bytes, offset: HEADER_LEN, stage: Stage::Open }
    }

    #[inline]
    fn find(&self, kind: AttributeType) -> Option<RawAttribute<'a>> {
        self.attributes().find(|attribute| attribute.kind == kind)
    }

    /// The value of the first occurrence of an attribute.
    #[inline]
    pub fn attribute(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.find(kind).map(|attribute| attribute.value)
    }

    /// Whether the attribute is there, well formed or not.
    #[inline]
    pub fn has(&self, kind: AttributeType) -> bool {
        self.find(kind).is_some()
    }

    /// The comprehension-required attributes that are not in `known`, each once, in order of appearance; at most
    /// [`MAX_ATTRIBUTES`]. Integrity attributes and FINGERPRINT are always known. Empty, and without an
    /// allocation, for nearly every message (RFC 8489 sections 6.3.1 to 6.3.4).
    pub fn unknown_comprehension_required(&self, known: &[AttributeType]) -> Vec<u16> {
        let mut unknown = Vec::new();
        for RawAttribute { kind, .. } in self.attributes() {
            let fine = !kind.is_comprehension_required()
                || kind == AttributeType::MESSAGE_INTEGRITY
                || kind == AttributeType::MESSAGE_INTEGRITY_SHA256
                || known.contains(&kind);
            if !fine && !unknown.contains(&kind.0) {
                unknown.push(kind.0);
            }
        }
        unknown
    }

    /// Checks FINGERPRINT (RFC 8489 section 14.7), which must be the last attribute.
    pub fn check_fingerprint(&self) -> FingerprintStatus {
        let Some(attribute) = self.find(AttributeType::FINGERPRINT) else {
            return FingerprintStatus::Missing;
        };
        let Ok(value) = <[u8; 4]>::try_from(attribute.value) else { return FingerprintStatus::Invalid };
        let text = self.bytes.get(..attribute.offset).unwrap_or_default();
        let is_last = attribute.offset + FINGERPRINT_LEN == self.bytes.len();
        if is_last && crc32fast::hash(text) ^ FINGERPRINT_XOR == u32::from_be_bytes(value) {
            FingerprintStatus::Valid
        } else {
            FingerprintStatus::Invalid
        }
    }

    /// Checks the strongest integrity attribute there is: MESSAGE-INTEGRITY-SHA256 if present, otherwise
    /// MESSAGE-INTEGRITY. In constant time. Who knows which one the peer must send asks for that one, since
    /// nothing protects the presence of the stronger.
    pub fn check_integrity(&self, key: &[u8]) -> IntegrityStatus {
        match self.check_message_integrity_sha256(key) {
            IntegrityStatus::Missing => self.check_message_integrity(key),
            status => status,
        }
    }

    /// Checks MESSAGE-INTEGRITY, an HMAC-SHA1 (RFC 8489 section 14.5), in constant time.
    pub fn check_message_integrity(&self, key: &[u8]) -> IntegrityStatus {
        self.check_hmac(AttributeType::MESSAGE_INTEGRITY, Hash::Sha1, key, |len| len == 20)
    }

    /// Checks MESSAGE-INTEGRITY-SHA256, an HMAC-SHA256 of which the sender may cut off up to half (RFC 8489
    /// section 14.6), in constant time.
    pub fn check_message_integrity_sha256(&self, key: &[u8]) -> IntegrityStatus {
        self.check_hmac(AttributeType::MESSAGE_INTEGRITY_SHA256, Hash::Sha256, key, |len| {
            (16..=32).contains(&len) && len % 4 == 0
        })
    }

    /// Checks GOOG-MESSAGE-INTEGRITY-32, the first 32 bits of an HMAC-SHA1, which only GOOG_PING carries.
    pub fn check_goog_message_integrity_32(&self, key: &[u8]) -> IntegrityStatus {
        self.check_hmac(AttributeType::GOOG_MESSAGE_INTEGRITY_32, Hash::Sha1, key, |len| len == 4)
    }

    fn check_hmac(
        &self,
        kind: AttributeType,
        hash: Hash,
        key: &[u8],
        fits: impl FnOnce(usize) -> bool,
    ) -> IntegrityStatus {
        let Some(attribute) = self.find(kind) else { return IntegrityStatus::Missing };
        if !fits(attribute.value.len()) {
            return IntegrityStatus::Invalid;
        }
        // The length field covers the integrity attribute and nothing behind it.
        let end = attribute.offset + 4 + attribute.value.len() - HEADER_LEN;
        let (Some(text), Ok(length)) = (self.bytes.get(..attribute.offset), u16::try_from(end)) else {
            return IntegrityStatus::Invalid;
        };
        if tag_matches(&message_hmac(hash, key, text, length), attribute.value) {
            IntegrityStatus::Valid
        } else {
            IntegrityStatus::Invalid
        }
    }
}

impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?} ", self.method, self.class, self.transaction_id)?;
        f.debug_list().entries(self.attributes()).finish()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod vectors;
