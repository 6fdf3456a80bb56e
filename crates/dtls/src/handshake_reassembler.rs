//! Puts plaintext handshake messages together by byte coverage, so that an engine meets whole messages only
//! (RFC 6347 section 4.2.3). Owned by an engine.
//!
//! Both engines need it: `dimpl` as a DTLS 1.2 server never finishes a ClientHello that was cut elsewhere when
//! it was sent again, `webrtc-dtls` does not either and recurses once a fragment.

use std::collections::BTreeMap;

use crate::handshake_record::{Fragment, HANDSHAKE, HANDSHAKE_HEADER, RECORD_HEADER, Record};

/// Messages that are incomplete at a time.
const MAX_MESSAGES: usize = 16;

#[derive(Debug)]
struct Partial {
    message_type: u8,
    body: Vec<u8>,
    /// One bit a byte of the body.
    covered: Vec<u64>,
    missing: usize,
}

impl Partial {
    fn new(fragment: &Fragment<'_>) -> Self {
        Self {
            message_type: fragment.message_type,
            body: vec![0; fragment.length],
            covered: vec![0; fragment.length.div_ceil(64)],
            missing: fragment.length,
        }
    }

    fn cover(&mut self, fragment: &Fragment<'_>) {
        for (offset, &byte) in (fragment.offset..).zip(fragment.body) {
            let (Some(slot), Some(bits)) = (self.body.get_mut(offset), self.covered.get_mut(offset / 64))
            else {
                return;
            };
            *slot = byte;
            let bit = 1 << (offset % 64);
            if *bits & bit == 0 {
                *bits |= bit;
                self.missing -= 1;
            }
        }
    }
}

/// Handshake messages of one epoch under way.
#[derive(Debug)]
pub(crate) struct HandshakeReassembler {
    messages: BTreeMap<u16, Partial>,
    max_message: usize,
}

impl HandshakeReassembler {
    /// Messages longer than `max_message` bytes are refused.
    pub(crate) fn new(max_message: usize) -> Self {
        Self { messages: BTreeMap::new(), max_message }
    }

    /// Takes a fragment of `record` and returns a record with the whole message in it, once it is complete:
    /// the message is forgotten then, and comes again if it is sent again.
    ///
    /// When two fragments contradict each other the later one wins: one of them is forged, and the real peer
    /// sends again.
    pub(crate) fn push(&mut self, record: &Record<'_>, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        if fragment.length > self.max_message {
            return None;
        }
        let contradicts = self.messages.get(&fragment.message_seq).is_none_or(|partial| {
            partial.message_type != fragment.message_type || partial.body.len() != fragment.length
        });
        if contradicts {
            if !self.messages.contains_key(&fragment.message_seq) && self.messages.len() >= MAX_MESSAGES {
                // The earliest messages are the ones a handshake waits for.
                let last = self.messages.last_key_value().map(|(&number, _)| number)?;
                if last < fragment.message_seq {
                    return None;
                }
                self.messages.pop_last();
            }
            self.messages.insert(fragment.message_seq, Partial::new(fragment));
        }
        let partial = self.messages.get_mut(&fragment.message_seq)?;
        partial.cover(fragment);
        if partial.missing > 0 {
            return None;
        }
        let partial = self.messages.remove(&fragment.message_seq)?;
        whole_record(record, fragment.message_seq, &partial)
    }
}

fn whole_record(record: &Record<'_>, message_seq: u16, partial: &Partial) -> Option<Vec<u8>> {
    let length = u32::try_from(partial.body.len()).ok()?.to_be_bytes();
    let payload = u16::try_from(HANDSHAKE_HEADER + partial.body.len()).ok()?;
    let mut bytes = Vec::with_capacity(RECORD_HEADER + usize::from(payload));
    bytes.push(HANDSHAKE);
    // Version, epoch and number are those of the record that completed the message.
    bytes.extend_from_slice(record.bytes.get(1..11)?);
    bytes.extend_from_slice(&payload.to_be_bytes());
    bytes.push(partial.message_type);
    bytes.extend_from_slice(length.get(1..)?);
    bytes.extend_from_slice(&message_seq.to_be_bytes());
    bytes.extend_from_slice(&[0; 3]);
    bytes.extend_from_slice(length.get(1..)?);
    bytes.extend_from_slice(&partial.body);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use peerstack_base::Random;

    use super::*;
    use crate::handshake_record::{fragments, records};

    const RECORD: Record<'static> = Record {
        content_type: HANDSHAKE,
        epoch: 0,
        sequence: 3,
        payload: &[],
        bytes: &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0],
    };

    fn fragment(message_seq: u16, length: usize, offset: usize, body: &[u8]) -> Fragment<'_> {
        Fragment { message_type: 1, length, message_seq, offset, body }
    }

    #[test]
    fn any_cuts_in_any_order_come_together() {
        let message: Vec<u8> = (0..=255).cycle().take(2000).collect();
        for seed in 0..50 {
            let mut random = Random::from_seed(seed);
            let mut reassembler = HandshakeReassembler::new(1 << 16);
            let mut sent = 0;
            let whole = loop {
                let offset = random.below(2300).saturating_sub(300) as usize;
                let end = (offset + 1 + random.below(400) as usize).min(2000);
                let piece = fragment(0, 2000, offset, &message[offset..end]);
                if let Some(whole) = reassembler.push(&RECORD, &piece) {
                    break whole;
                }
                sent += 1;
                assert!(sent < 1000);
            };
            let record = records(&whole).next().unwrap();
            let piece = fragments(record.payload).next().unwrap();
            assert_eq!((piece.body, piece.length, record.sequence), (&message[..], 2000, 3));
            assert!(reassembler.messages.is_empty());
        }
    }

    #[test]
    fn the_empty_message_is_whole_at_once() {
        let mut reassembler = HandshakeReassembler::new(100);
        assert!(reassembler.push(&RECORD, &fragment(4, 0, 0, &[])).is_some());
    }

    #[test]
    fn memory_is_bounded_and_early_messages_win() {
        let mut reassembler = HandshakeReassembler::new(1 << 16);
        assert_eq!(reassembler.push(&RECORD, &fragment(0, (1 << 16) + 1, 0, &[1])), None);
        assert!(reassembler.messages.is_empty());
        for number in 1000..3000 {
            assert_eq!(reassembler.push(&RECORD, &fragment(number, 60_000, 0, &[1])), None);
        }
        assert_eq!(reassembler.messages.len(), MAX_MESSAGES);
        assert_eq!(reassembler.push(&RECORD, &fragment(0, 2, 0, &[1])), None);
        assert!(reassembler.push(&RECORD, &fragment(0, 2, 1, &[2])).is_some());
        assert!(reassembler.messages.len() <= MAX_MESSAGES);
    }

    #[test]
    fn a_contradiction_does_not_stick() {
        let mut reassembler = HandshakeReassembler::new(100);
        assert_eq!(reassembler.push(&RECORD, &fragment(0, 90, 0, &[9; 5])), None);
        assert_eq!(reassembler.push(&RECORD, &fragment(0, 3, 0, &[1, 2])), None);
        let whole = reassembler.push(&RECORD, &fragment(0, 3, 2, &[3])).unwrap();
        assert!(whole.ends_with(&[1, 2, 3]));
    }
}
