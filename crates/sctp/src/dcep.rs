//! The WebRTC Data Channel Establishment Protocol. Stateless; owned by nobody. RFC 8832; answers to libwebrtc's
//! `pc/sctp_utils.cc`.

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;

const DATA_CHANNEL_ACK: u8 = 0x02;
const DATA_CHANNEL_OPEN: u8 = 0x03;
const OPEN_HEADER: usize = 12;
const UNORDERED: u8 = 0x80;

/// How hard a channel tries (RFC 8832 section 5.1, "Channel Type").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reliability {
    /// Until the peer has it.
    #[default]
    Reliable,
    /// A message is given up after so many retransmissions.
    MaxRetransmits(u16),
    /// A message is given up so many milliseconds after it was sent.
    MaxPacketLifeTime(u16),
}

/// DATA_CHANNEL_OPEN (RFC 8832 section 5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataChannelOpen {
    /// The channel's label.
    pub label: String,
    /// The subprotocol, or nothing.
    pub protocol: String,
    /// Whether messages are delivered in order.
    pub ordered: bool,
    /// How hard the channel tries.
    pub reliability: Reliability,
    /// Priority (RFC 8831 section 6.4): 128 below normal, 256 normal, 512 high, 1024 extra high.
    pub priority: u16,
}

/// A message of DCEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DcepMessage {
    /// Opens a channel.
    Open(DataChannelOpen),
    /// Says that the channel is open.
    Ack,
}

/// Why bytes are not a DCEP message.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DcepError {
    /// No byte at all.
    #[error("an empty DCEP message")]
    Empty,
    /// A message type that RFC 8832 does not know.
    #[error("DCEP message type {0:#04x} is not known")]
    MessageType(u8),
    /// A channel type that RFC 8832 does not know.
    #[error("DCEP channel type {0:#04x} is not known")]
    ChannelType(u8),
    /// The lengths inside do not add up to the message's.
    #[error("a DATA_CHANNEL_OPEN of {len} bytes that should have {expected}")]
    Length {
        /// Bytes there are.
        len: usize,
        /// Bytes the fields ask for.
        expected: usize,
    },
    /// Label or protocol is not UTF-8.
    #[error("the {0} is not UTF-8")]
    Utf8(&'static str),
}

impl DataChannelOpen {
    /// Bytes of the message.
    pub fn encoded_len(&self) -> usize {
        OPEN_HEADER + self.label.len() + self.protocol.len()
    }

    fn channel_type(&self) -> (u8, u32) {
        let (kind, value) = match self.reliability {
            Reliability::Reliable => (0x00, 0),
            Reliability::MaxRetransmits(count) => (0x01, u32::from(count)),
            Reliability::MaxPacketLifeTime(millis) => (0x02, u32::from(millis)),
        };
        (if self.ordered { kind } else { kind | UNORDERED }, value)
    }

    fn parse(bytes: &[u8]) -> Result<Self, DcepError> {
        let short = DcepError::Length { len: bytes.len(), expected: OPEN_HEADER };
        let Some(&[_, channel_type, p0, p1, r0, r1, r2, r3, l0, l1, n0, n1]) = bytes.first_chunk() else {
            return Err(short);
        };
        let label_len = usize::from(u16::from_be_bytes([l0, l1]));
        let protocol_len = usize::from(u16::from_be_bytes([n0, n1]));
        let expected = OPEN_HEADER + label_len + protocol_len;
        let wrong = DcepError::Length { len: bytes.len(), expected };
        let strings = bytes.get(OPEN_HEADER..expected).ok_or(wrong)?;
        if bytes.len() != expected {
            return Err(wrong);
        }
        let (label, protocol) = strings.split_at_checked(label_len).ok_or(wrong)?;
        let text = |bytes: &[u8], what| {
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| DcepError::Utf8(what))
        };
        // The field has 32 bits, W3C's attributes 16: nobody tells 65,535 retransmissions from more.
        let value = u32::from_be_bytes([r0, r1, r2, r3]).min(u32::from(u16::MAX)) as u16;
        let reliability = match channel_type & !UNORDERED {
            0x00 => Reliability::Reliable,
            0x01 => Reliability::MaxRetransmits(value),
            0x02 => Reliability::MaxPacketLifeTime(value),
            _ => return Err(DcepError::ChannelType(channel_type)),
        };
        Ok(Self {
            label: text(label, "label")?,
            protocol: text(protocol, "protocol")?,
            ordered: channel_type & UNORDERED == 0,
            reliability,
            priority: u16::from_be_bytes([p0, p1]),
        })
    }
}

impl DcepMessage {
    /// Reads a message. Total: any bytes give a message or say why not.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, DcepError> {
        match bytes.first() {
            None => Err(DcepError::Empty),
            // RFC 8832 section 5.2: one byte; more is tolerated, as libwebrtc does.
            Some(&DATA_CHANNEL_ACK) => Ok(Self::Ack),
            Some(&DATA_CHANNEL_OPEN) => DataChannelOpen::parse(bytes).map(Self::Open),
            Some(&other) => Err(DcepError::MessageType(other)),
        }
    }

    /// Writes the message. Label and protocol of more than 65,535 bytes, which creating a channel refuses, are
    /// cut.
    pub fn write(&self) -> Bytes {
        let Self::Open(open) = self else {
            return Bytes::from_static(&[DATA_CHANNEL_ACK]);
        };
        let limit = usize::from(u16::MAX);
        let label = open.label.as_bytes().get(..limit).unwrap_or(open.label.as_bytes());
        let protocol = open.protocol.as_bytes().get(..limit).unwrap_or(open.protocol.as_bytes());
        let (channel_type, value) = open.channel_type();
        let mut bytes = BytesMut::with_capacity(open.encoded_len());
        bytes.put_u8(DATA_CHANNEL_OPEN);
        bytes.put_u8(channel_type);
        bytes.put_u16(open.priority);
        bytes.put_u32(value);
        bytes.put_u16(label.len() as u16);
        bytes.put_u16(protocol.len() as u16);
        bytes.put_slice(label);
        bytes.put_slice(protocol);
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(ordered: bool, reliability: Reliability) -> DataChannelOpen {
        DataChannelOpen {
            label: "läbel".into(),
            protocol: "proto".into(),
            ordered,
            reliability,
            priority: 256,
        }
    }

    /// RFC 8832 section 8.2.2: the six channel types, there and back.
    #[test]
    fn every_channel_type_survives_the_wire() {
        for (ordered, reliability, kind) in [
            (true, Reliability::Reliable, 0x00),
            (false, Reliability::Reliable, 0x80),
            (true, Reliability::MaxRetransmits(7), 0x01),
            (false, Reliability::MaxRetransmits(0), 0x81),
            (true, Reliability::MaxPacketLifeTime(3000), 0x02),
            (false, Reliability::MaxPacketLifeTime(65_535), 0x82),
        ] {
            let message = DcepMessage::Open(open(ordered, reliability));
            let bytes = message.write();
            assert_eq!(bytes[1], kind);
            assert_eq!(DcepMessage::parse(&bytes), Ok(message));
        }
        assert_eq!(DcepMessage::parse(&DcepMessage::Ack.write()), Ok(DcepMessage::Ack));
    }

    #[test]
    fn the_layout_is_the_rfcs() {
        let mut message = open(false, Reliability::MaxRetransmits(0x1234));
        (message.label, message.protocol) = ("ab".into(), "c".into());
        assert_eq!(
            &DcepMessage::Open(message).write()[..],
            [3, 0x81, 1, 0, 0, 0, 0x12, 0x34, 0, 2, 0, 1, b'a', b'b', b'c']
        );
    }

    #[test]
    fn every_cut_and_every_wrong_byte_is_refused_or_read() {
        let bytes = DcepMessage::Open(open(true, Reliability::Reliable)).write();
        for len in 0..bytes.len() {
            assert!(DcepMessage::parse(&bytes[..len]).is_err());
        }
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let mut changed = bytes.to_vec();
                changed[at] = value;
                let _ = DcepMessage::parse(&changed);
            }
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(
            DcepMessage::parse(&longer),
            Err(DcepError::Length { len: longer.len(), expected: bytes.len() })
        );
    }

    #[test]
    fn the_reason_is_told() {
        assert_eq!(DcepMessage::parse(&[]), Err(DcepError::Empty));
        assert_eq!(DcepMessage::parse(&[4]), Err(DcepError::MessageType(4)));
        assert_eq!(DcepMessage::parse(&[3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(DcepError::ChannelType(3)));
        assert_eq!(
            DcepMessage::parse(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xff]),
            Err(DcepError::Utf8("label"))
        );
        let more = DcepMessage::parse(&[3, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert!(
            matches!(more, Ok(DcepMessage::Open(open)) if open.reliability == Reliability::MaxRetransmits(65_535))
        );
    }
}
