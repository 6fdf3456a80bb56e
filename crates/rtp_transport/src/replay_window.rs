//! Packet indices of one source: the roll-over counter's estimate and the replay window (RFC 3711 section 3.3
//! and appendix A). Answers to libsrtp's `rdbx` and `rdb`.

use crate::srtp_backend::SrtpError;

/// Packets the window covers (T17).
pub(crate) const REPLAY_WINDOW: u64 = 1024;
const WORDS: usize = (REPLAY_WINDOW / 64) as usize;
/// SRTP's index has 48 bits, SRTCP's 31.
pub(crate) const MAX_SRTP_INDEX: u64 = (1 << 48) - 1;

/// Which indices were seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplayWindow {
    /// The highest index accepted, once there is one.
    highest: Option<u64>,
    /// One bit an index, at `index % REPLAY_WINDOW`.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// The 48-bit index of a sequence number: the one nearest to the highest seen (RFC 3711 section 3.3.1).
    ///
    /// # Errors
    /// The roll-over counter would pass 2^32: the key is used up.
    pub(crate) fn estimate(&self, sequence_number: u16) -> Result<u64, SrtpError> {
        let Some(highest) = self.highest else { return Ok(u64::from(sequence_number)) };
        let (seq, last) = (i32::from(sequence_number), (highest & 0xFFFF) as i32);
        let roc = highest >> 16;
        let roc = if last < 0x8000 {
            // Before the stream's first packet there is nothing: with a counter of 0 a far sequence number can
            // only be ahead.
            if seq - last > 0x8000 && roc > 0 { roc - 1 } else { roc }
        } else if last - 0x8000 > seq {
            roc + 1
        } else {
            roc
        };
        let index = roc << 16 | u64::from(sequence_number);
        if index > MAX_SRTP_INDEX { Err(SrtpError::KeyExpired) } else { Ok(index) }
    }

    /// Whether an index may be accepted.
    ///
    /// # Errors
    /// D18: it was accepted before, or is older than the window.
    pub(crate) fn check(&self, index: u64) -> Result<(), SrtpError> {
        match self.highest {
            Some(highest) if index <= highest => {
                if highest - index >= REPLAY_WINDOW {
                    Err(SrtpError::TooOld)
                } else if self.seen.get(word(index)).is_some_and(|word| word & bit(index) != 0) {
                    Err(SrtpError::Replayed)
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// Marks an index as seen; call it only for what is authenticated.
    pub(crate) fn accept(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index > highest => {
                if index - highest >= REPLAY_WINDOW {
                    self.seen = [0; WORDS];
                } else {
                    for skipped in highest + 1..index {
                        self.mark(skipped, false);
                    }
                }
                self.highest = Some(index);
            }
            None => self.highest = Some(index),
            Some(_) => {}
        }
        self.mark(index, true);
    }

    /// The highest index accepted.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// For tests: as if `index` had been accepted.
    #[cfg(test)]
    pub(crate) fn starting_at(index: u64) -> Self {
        let mut window = Self::default();
        window.accept(index);
        window
    }

    fn mark(&mut self, index: u64, seen: bool) {
        if let Some(word) = self.seen.get_mut(word(index)) {
            if seen {
                *word |= bit(index);
            } else {
                *word &= !bit(index);
            }
        }
    }
}

fn word(index: u64) -> usize {
    (index % REPLAY_WINDOW / 64) as usize
}

fn bit(index: u64) -> u64 {
    1 << (index % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D18, T17: inside the window once, again rejected, older than 1024 rejected.
    #[test]
    fn once_within_the_window() {
        let mut window = ReplayWindow::default();
        for index in (0..5000).step_by(2) {
            window.check(index).unwrap();
            window.accept(index);
            assert_eq!(window.check(index), Err(SrtpError::Replayed));
        }
        assert_eq!(window.highest(), Some(4998));
        assert_eq!(window.check(4998 - 1023), Ok(()));
        assert_eq!(window.check(4998 - 1022), Err(SrtpError::Replayed));
        assert_eq!(window.check(4998 - 1024), Err(SrtpError::TooOld));
        window.accept(4998 - 1023);
        assert_eq!(window.check(4998 - 1023), Err(SrtpError::Replayed));
        window.accept(4998 + 1024);
        assert_eq!(window.check(4999), Ok(()));
        assert_eq!(window.check(4998), Err(SrtpError::TooOld));
    }

    /// D18: wrap around 65535, both ways of reordering. RFC 3711 appendix A.
    #[test]
    fn the_counter_rolls_over_with_the_nearest_index() {
        for (highest, sequence_number, index) in [
            (0, 0x8000, 0x8000),
            (0, 0x8001, 0x8001),
            (0x8000, 0, 0),
            (0x8001, 0, 0x1_0000),
            (0xFFFF, 0, 0x1_0000),
            (0x1_0000, 0xFFFF, 0xFFFF),
            (0x1_7FFF, 0xFFFF, 0x1_FFFF),
            (0x1_7FFE, 0xFFFF, 0xFFFF),
            (0x5_FFF0, 0x0010, 0x6_0010),
        ] {
            let window = ReplayWindow::starting_at(highest);
            assert_eq!(window.estimate(sequence_number), Ok(index), "{highest:#x} {sequence_number:#x}");
        }
        let last = ReplayWindow::starting_at(MAX_SRTP_INDEX);
        assert_eq!(last.estimate(0), Err(SrtpError::KeyExpired));
        assert_eq!(last.estimate(0xFFFE), Ok(MAX_SRTP_INDEX - 1));
        assert_eq!(ReplayWindow::default().estimate(65_000), Ok(65_000));
    }
}
