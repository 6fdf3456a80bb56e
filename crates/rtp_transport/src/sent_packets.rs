//! What was sent under which index, so that a packet may go out again but no other in its place. Runs on the
//! network task; answers to libsrtp's `allow_repeat_tx`, which libwebrtc sets for retransmissions without RTX.
//!
//! Two packets under one index give the key stream away, and with GCM the authentication key too (RFC 7714
//! section 8.3); the same packet sealed twice gives the same bytes, which tells nobody anything.

/// Packets of one source that may be repeated: the latest ones.
const REPEATABLE: u64 = 512;
/// Bytes at the end of a sealed packet that stand for all of it: they lie in the authentication tag, or reach from
/// it into the encrypted payload where the tag is short.
const TAIL: usize = 8;

/// The tails of the packets of one source, by index; 4 KiB once the source sends.
#[derive(Debug, Default)]
pub(crate) struct SentPackets {
    tails: Vec<[u8; TAIL]>,
}

impl SentPackets {
    /// Remembers a sealed packet.
    pub(crate) fn note(&mut self, index: u64, sealed: &[u8]) {
        let Some(tail) = sealed.last_chunk::<TAIL>() else { return };
        if self.tails.is_empty() {
            self.tails.resize(REPEATABLE as usize, [0; TAIL]);
        }
        if let Some(slot) = self.tails.get_mut(slot(index)) {
            *slot = *tail;
        }
    }

    /// Whether a packet sealed under an index that was used is the one it was used for. `highest` is the highest
    /// index used; packets too far below it are forgotten.
    pub(crate) fn repeats(&self, index: u64, highest: u64, sealed: &[u8]) -> bool {
        highest.saturating_sub(index) < REPEATABLE
            && self.tails.get(slot(index)).is_some_and(|tail| sealed.last_chunk() == Some(tail))
    }
}

fn slot(index: u64) -> usize {
    (index % REPEATABLE) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let mut sent = SentPackets::default();
        let sealed = |index: u64| [[7; 20].as_slice(), &index.to_be_bytes()].concat();
        assert!(!sent.repeats(0, 0, &sealed(0)), "nothing was sent");
        (0..=600).for_each(|index| sent.note(index, &sealed(index)));
        assert!(sent.repeats(600, 600, &sealed(600)));
        assert!(sent.repeats(89, 600, &sealed(89)));
        assert!(!sent.repeats(88, 600, &sealed(88)), "forgotten");
        assert!(!sent.repeats(600, 600, &sealed(599)), "another packet");
        assert!(!sent.repeats(600, 600, &[1; 4]));
    }
}
