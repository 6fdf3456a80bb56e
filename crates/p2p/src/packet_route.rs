//! How a packet for one remote address is put into the transmit queue: by which socket, to where, and wrapped
//! how. Held by each `Connection` on the network task; the packet is written once, behind its header. RFC 8656
//! sections 11.1 and 12.5, RFC 4571 section 2; answers to the sending halves of libwebrtc's `Port::SendTo` and
//! `TurnEntry::Send`.

use std::net::SocketAddr;

use peerstack_base::{Ecn, Random, SendError, SocketId, TransmitQueue};
use peerstack_stun::{CHANNEL_DATA_HEADER_LEN, ChannelData, Class, MessageBuilder, Method, TransactionId};

/// Bytes of the length field of RFC 4571.
const RFC4571_HEADER_LEN: usize = 2;

/// What stands around a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteFraming {
    /// Nothing: a datagram.
    Plain,
    /// Its length before it, on a stream.
    Rfc4571,
    /// ChannelData; on a stream padded to a multiple of four.
    Channel {
        /// The channel.
        number: u16,
        /// Whether the server is reached by a stream.
        stream: bool,
    },
    /// A Send indication, while there is no channel.
    Indication {
        /// To whom.
        peer: SocketAddr,
    },
}

/// The way to one remote address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PacketRoute {
    /// By which socket.
    pub(crate) socket: SocketId,
    /// The peer's address, or the TURN server's.
    pub(crate) destination: SocketAddr,
    /// What stands around the packet.
    pub(crate) framing: RouteFraming,
}

impl PacketRoute {
    /// A plain datagram.
    pub(crate) fn plain(socket: SocketId, destination: SocketAddr) -> Self {
        Self { socket, destination, framing: RouteFraming::Plain }
    }

    /// Whether a channel would make packets shorter.
    pub(crate) fn wants_channel(&self) -> bool {
        matches!(self.framing, RouteFraming::Indication { .. })
    }

    /// Bytes of the header of UDP or TCP and of what the wrapping adds.
    pub(crate) fn overhead(&self) -> usize {
        let transport = match self.framing {
            RouteFraming::Rfc4571 | RouteFraming::Channel { stream: true, .. } => 20,
            _ => 8,
        };
        transport + self.wrapping()
    }

    fn wrapping(&self) -> usize {
        match self.framing {
            RouteFraming::Plain => 0,
            RouteFraming::Rfc4571 => RFC4571_HEADER_LEN,
            RouteFraming::Channel { .. } => CHANNEL_DATA_HEADER_LEN,
            RouteFraming::Indication { peer } => {
                if peer.is_ipv4() {
                    36
                } else {
                    48
                }
            }
        }
    }

    /// Appends a packet of at most `len` bytes: `write` fills a slot of exactly `len` bytes where it will lie
    /// and returns how many of them count; 0 takes it back. Returns that number.
    pub(crate) fn push_with(
        &self,
        transmits: &mut TransmitQueue,
        random: &mut Random,
        ecn: Ecn,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<usize, SendError> {
        match self.framing {
            RouteFraming::Plain => transmits.push_with(self.socket, self.destination, ecn, len, write),
            RouteFraming::Rfc4571 => {
                self.push_behind(transmits, ecn, len, write, &[0; RFC4571_HEADER_LEN], 0, |slot, written| {
                    put_u16(slot, 0, written)
                })
            }
            RouteFraming::Channel { number, stream } => {
                let header = ChannelData::header(number, 0)
                    .map_err(|_| SendError::Malformed("not a channel number"))?;
                let pad = if stream { 4 } else { 1 };
                self.push_behind(transmits, ecn, len, write, &header, pad, |slot, written| {
                    put_u16(slot, 2, written)
                })
            }
            RouteFraming::Indication { peer } => {
                let id = TransactionId::new(random);
                let mut builder = MessageBuilder::new(Class::Indication, Method::SEND, id);
                builder.add_xor_peer_address(peer).add_data(&[]);
                let prefix = builder.finish();
                let before = prefix.len();
                self.push_behind(transmits, ecn, len, write, &prefix, 4, |slot, written| {
                    // DATA's length, then the message's (RFC 8489 sections 5 and 14).
                    put_u16(slot, before - 2, written);
                    put_u16(slot, 2, before - peerstack_stun::HEADER_LEN + written.next_multiple_of(4));
                })
            }
        }
    }

    /// Writes `prefix`, lets the packet be written behind it, patches the prefix and pads.
    fn push_behind(
        &self,
        transmits: &mut TransmitQueue,
        ecn: Ecn,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> usize,
        prefix: &[u8],
        pad: usize,
        patch: impl FnOnce(&mut [u8], usize),
    ) -> Result<usize, SendError> {
        let (before, pad) = (prefix.len(), pad.max(1));
        let limit = usize::from(u16::MAX) - before - 3;
        if len > limit {
            return Err(SendError::TooLarge { len, limit });
        }
        let mut written = 0;
        let slot_len = before + len.next_multiple_of(pad);
        transmits.push_with(self.socket, self.destination, ecn, slot_len, |slot| {
            let Some((header, body)) = slot.split_at_mut_checked(before) else { return 0 };
            let Some(packet) = body.get_mut(..len) else { return 0 };
            written = write(packet).min(len);
            if written == 0 {
                return 0;
            }
            // What was written beyond what counts is not sent, not even as padding.
            body.get_mut(written..).unwrap_or_default().fill(0);
            header.copy_from_slice(prefix);
            patch(header, written);
            before + written.next_multiple_of(pad)
        })?;
        Ok(written)
    }

    /// Appends a packet by copying it.
    pub(crate) fn push(
        &self,
        transmits: &mut TransmitQueue,
        random: &mut Random,
        packet: &[u8],
    ) -> Result<usize, SendError> {
        self.push_with(transmits, random, Ecn::NotEct, packet.len(), |slot| {
            slot.copy_from_slice(packet);
            packet.len()
        })
    }
}

fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    if let (Some(field), Ok(value)) = (bytes.get_mut(at..at + 2), u16::try_from(value)) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use peerstack_stun::Message;

    use super::*;

    fn sent(framing: RouteFraming, packet: &[u8]) -> Vec<u8> {
        let (mut transmits, mut random) = (TransmitQueue::default(), Random::from_seed(1));
        let destination = SocketAddr::from(([192, 0, 2, 9], 3478));
        let route = PacketRoute { socket: SocketId::unique(), destination, framing };
        // The slot is larger than what counts, as with a layer that reserves room for a trailer.
        let written = route.push_with(&mut transmits, &mut random, Ecn::NotEct, packet.len() + 5, |slot| {
            slot[..packet.len()].copy_from_slice(packet);
            slot[packet.len()..].fill(0xee);
            packet.len()
        });
        assert_eq!(written, Ok(packet.len()));
        let (_, transmit) = transmits.peek(|_| 1).unwrap();
        assert_eq!(transmit.destination, destination);
        assert!(transmit.contents.len() <= packet.len() + route.wrapping() + 3);
        transmit.contents.to_vec()
    }

    #[test]
    fn packets_are_wrapped_where_they_lie() {
        for len in 1..9 {
            let packet = vec![0x80; len];
            assert_eq!(sent(RouteFraming::Plain, &packet), packet);
            let framed = sent(RouteFraming::Rfc4571, &packet);
            assert_eq!(framed, [&[0, len as u8][..], &packet].concat());
            let data = ChannelData { channel: 0x4001, data: &packet };
            let (mut plain, mut padded) = (Vec::new(), Vec::new());
            data.write(&mut plain).unwrap();
            data.write_padded(&mut padded).unwrap();
            assert_eq!(sent(RouteFraming::Channel { number: 0x4001, stream: false }, &packet), plain);
            assert_eq!(sent(RouteFraming::Channel { number: 0x4001, stream: true }, &packet), padded);
        }
    }

    #[test]
    fn indications_are_messages() {
        for peer in ["192.0.2.1:5", "[2001:db8::1]:5"] {
            let peer: SocketAddr = peer.parse().unwrap();
            for len in 1..9 {
                let packet = vec![0x80; len];
                let bytes = sent(RouteFraming::Indication { peer }, &packet);
                let message = Message::parse(&bytes).unwrap();
                assert_eq!((message.class(), message.method()), (Class::Indication, Method::SEND));
                assert_eq!(message.xor_peer_address(), Some(peer));
                assert_eq!(message.data(), Some(&packet[..]));
            }
        }
    }

    #[test]
    fn what_is_taken_back_or_too_long_leaves_nothing() {
        let (mut transmits, mut random) = (TransmitQueue::default(), Random::from_seed(1));
        let destination = SocketAddr::from(([192, 0, 2, 9], 3478));
        for framing in [
            RouteFraming::Rfc4571,
            RouteFraming::Channel { number: 0x4000, stream: true },
            RouteFraming::Indication { peer: destination },
        ] {
            let route = PacketRoute { socket: SocketId::unique(), destination, framing };
            assert_eq!(route.push_with(&mut transmits, &mut random, Ecn::NotEct, 9, |_| 0), Ok(0));
            let too_long = route.push(&mut transmits, &mut random, &[0; 65_536]);
            assert!(matches!(too_long, Err(SendError::TooLarge { .. })));
            assert!(transmits.is_empty());
        }
    }
}
