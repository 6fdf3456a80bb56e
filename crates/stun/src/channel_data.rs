//! TURN ChannelData: four bytes of header instead of a STUN message.
//!
//! Runs on the network task, per packet; allocates nothing. RFC 8656 sections 12.4 to 12.6. Answers to what
//! libwebrtc's `p2p/base/turn_port.cc` does in `TurnEntry::Send` and `TurnPort::HandleChannelData`.

use thiserror::Error;

/// Bytes of the header.
pub const CHANNEL_DATA_HEADER_LEN: usize = 4;
/// The lowest channel number (RFC 8656 section 12).
pub const MIN_CHANNEL: u16 = 0x4000;
/// The highest channel number (RFC 8656 section 12).
pub const MAX_CHANNEL: u16 = 0x4FFF;

/// Why bytes are not, or cannot become, a ChannelData message.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelDataError {
    /// Shorter than the header.
    #[error("{len} bytes are fewer than the 4 of a ChannelData header")]
    TooShort {
        /// Bytes there were.
        len: usize,
    },
    /// The channel number is not one of 0x4000 to 0x4FFF.
    #[error("{0:#06x} is not a channel number")]
    Channel(u16),
    /// The length field says more than there is, or so much less that it is not padding.
    #[error("the header says {header} bytes of data, the datagram holds {datagram}")]
    Length {
        /// What the length field says.
        header: usize,
        /// Bytes that follow the header.
        datagram: usize,
    },
    /// More data than the length field can say.
    #[error("{len} bytes are more than ChannelData can carry")]
    TooLong {
        /// Bytes of data.
        len: usize,
    },
}

/// A ChannelData message, borrowed from the datagram it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// The channel number.
    pub channel: u16,
    /// The application data.
    pub data: &'a [u8],
}

/// Whether `channel` is a channel number.
#[inline]
pub const fn is_channel_number(channel: u16) -> bool {
    MIN_CHANNEL <= channel && channel <= MAX_CHANNEL
}

impl<'a> ChannelData<'a> {
    /// Reads a datagram. Up to three bytes of padding may follow the data (RFC 8656 section 12.5).
    ///
    /// # Errors
    /// [`ChannelDataError`] says what is wrong with it.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ChannelDataError> {
        let Some((&[c0, c1, l0, l1], rest)) = bytes.split_first_chunk::<CHANNEL_DATA_HEADER_LEN>() else {
            return Err(ChannelDataError::TooShort { len: bytes.len() });
        };
        let channel = u16::from_be_bytes([c0, c1]);
        if !is_channel_number(channel) {
            return Err(ChannelDataError::Channel(channel));
        }
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        match rest.get(..len) {
            Some(data) if rest.len() - len < 4 => Ok(Self { channel, data }),
            _ => Err(ChannelDataError::Length { header: len, datagram: rest.len() }),
        }
    }

    /// The header of a message with `len` bytes of data, for who writes the data in place behind it.
    ///
    /// # Errors
    /// If the channel number or the length cannot be.
    #[inline]
    pub fn header(channel: u16, len: usize) -> Result<[u8; CHANNEL_DATA_HEADER_LEN], ChannelDataError> {
        if !is_channel_number(channel) {
            return Err(ChannelDataError::Channel(channel));
        }
        let [l0, l1] = u16::try_from(len).map_err(|_| ChannelDataError::TooLong { len })?.to_be_bytes();
        let [c0, c1] = channel.to_be_bytes();
        Ok([c0, c1, l0, l1])
    }

    /// Appends the message, without padding, as it goes over UDP.
    ///
    /// # Errors
    /// If the channel number or the length cannot be; nothing is appended then.
    pub fn write(&self, buffer: &mut Vec<u8>) -> Result<(), ChannelDataError> {
        let header = Self::header(self.channel, self.data.len())?;
        buffer.extend_from_slice(&header);
        buffer.extend_from_slice(self.data);
        Ok(())
    }

    /// Appends the message, padded to a multiple of four, as it goes over TCP and TLS (RFC 8656 section 12.5).
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_padded(&self, buffer: &mut Vec<u8>) -> Result<(), ChannelDataError> {
        self.write(buffer)?;
        let padding = self.data.len().next_multiple_of(4) - self.data.len();
        buffer.extend_from_slice([0; 3].get(..padding).unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_with_and_without_padding() {
        for len in 0..9 {
            let data = vec![7; len];
            let message = ChannelData { channel: 0x4001, data: &data };
            let (mut plain, mut padded) = (Vec::new(), Vec::new());
            message.write(&mut plain).unwrap();
            message.write_padded(&mut padded).unwrap();
            assert_eq!(plain.len(), 4 + len);
            assert_eq!(padded.len(), 4 + len.next_multiple_of(4));
            assert_eq!(ChannelData::parse(&plain), Ok(message));
            assert_eq!(ChannelData::parse(&padded), Ok(message));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(ChannelData::parse(&[0x40, 0, 0]), Err(ChannelDataError::TooShort { len: 3 }));
        assert_eq!(ChannelData::parse(&[0x3F, 0xFF, 0, 0]), Err(ChannelDataError::Channel(0x3FFF)));
        assert_eq!(ChannelData::parse(&[0x50, 0, 0, 0]), Err(ChannelDataError::Channel(0x5000)));
        let length = |header, datagram| Err(ChannelDataError::Length { header, datagram });
        assert_eq!(ChannelData::parse(&[0x40, 0, 0, 2, 1]), length(2, 1));
        assert_eq!(ChannelData::parse(&[0x40, 0, 0, 0, 1, 1, 1, 1]), length(0, 4));
        let mut buffer = vec![9];
        let too_long = vec![0; 65_536];
        let refused = ChannelData { channel: 0x4000, data: &too_long }.write(&mut buffer);
        assert_eq!(refused, Err(ChannelDataError::TooLong { len: 65_536 }));
        assert!(ChannelData { channel: 0x5000, data: &[] }.write_padded(&mut buffer).is_err());
        assert_eq!(buffer, [9]);
    }
}
