//! Randomness, handed in: ufrag, pwd, tie-breaker, transaction ids, SSRCs.

use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// The ICE alphabet (RFC 8839 section 5.4, `ice-char`); 64 characters, so six bits each without bias.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A cryptographic generator (ChaCha12), seeded by the system or, in tests, by a number. Each layer gets a
/// [`fork`](Self::fork) of its own, so that what one draws never shifts what another draws.
#[derive(Clone)]
pub struct Random {
    generator: StdRng,
    repeatable: bool,
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The state would tell every password drawn from here on.
        f.write_str("Random(..)")
    }
}

impl Random {
    /// Seeded by the operating system.
    pub fn from_system() -> Self {
        Self { generator: StdRng::from_os_rng(), repeatable: false }
    }

    /// Seeded by a number: repeatable, for tests only.
    pub fn from_seed(seed: u64) -> Self {
        Self { generator: StdRng::seed_from_u64(seed), repeatable: true }
    }

    /// A generator of its own for another layer.
    pub fn fork(&mut self) -> Self {
        Self { generator: StdRng::from_rng(&mut self.generator), repeatable: self.repeatable }
    }

    /// A seed for a library that otherwise draws from the system: drawn from this generator if a number seeded
    /// it or the one it was forked from, and `None` from the system's randomness, which 64 bits must not narrow.
    pub fn seed_if_repeatable(&mut self) -> Option<u64> {
        self.repeatable.then(|| self.u64())
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill_bytes(bytes);
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.generator.fill_bytes(&mut bytes);
        bytes
    }

    /// A random 32-bit number.
    pub fn u32(&mut self) -> u32 {
        self.generator.next_u32()
    }

    /// A random 64-bit number.
    pub fn u64(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.generator.random_range(0..bound) }
    }

    /// `true` with this probability, which is clamped to 0..=1.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.generator.random_bool(probability.clamp(0.0, 1.0))
    }

    /// A string of `len` characters of ICE's alphabet, six random bits each.
    pub fn ice_string(&mut self, len: usize) -> String {
        (0..len)
            .map(|_| {
                let index = (self.generator.next_u32() & 63) as usize;
                char::from(ICE_CHARS[index])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_forks_are_independent() {
        let (mut a, mut b) = (Random::from_seed(7), Random::from_seed(7));
        assert_eq!(a.ice_string(24), b.ice_string(24));
        let mut fork = a.fork();
        let _ = b.fork();
        fork.u64();
        assert_eq!(a.u64(), b.u64());
        assert!(!format!("{a:?}").contains(char::is_numeric));
    }

    #[test]
    fn only_what_a_number_seeded_gives_seeds() {
        let (mut a, mut b) = (Random::from_seed(7).fork(), Random::from_seed(7).fork());
        let seed = a.seed_if_repeatable();
        assert!(seed.is_some() && seed == b.seed_if_repeatable());
        assert_eq!(Random::from_system().fork().seed_if_repeatable(), None);
    }

    #[test]
    fn below_keeps_its_bound() {
        let mut random = Random::from_seed(1);
        assert_eq!(random.below(0), 0);
        assert!((0..1000).all(|_| random.below(3) < 3));
    }
}
