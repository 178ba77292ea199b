//! Seeded randomness: the same seed gives the same run, byte for byte, on every machine.

use std::ops::Range;

/// A small generator (SplitMix64). Good enough to shake a simulated device; never for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that repeats itself for the same `seed`.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// A generator of its own for each `name`, so that one more device leaves the others as they were.
    pub fn named(seed: u64, name: &str) -> Random {
        // FNV-1a: stable across releases, unlike the hasher of std.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Random::new(seed ^ hash)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0, below 1.
    pub fn unit(&mut self) -> f64 {
        // 32 bits convert to f64 without loss.
        f64::from(u32::try_from(self.bits() >> 32).expect("32 bits are left after the shift")) / 4_294_967_296.0
    }

    /// Between `-spread` and `spread`.
    pub fn around_zero(&mut self, spread: f64) -> f64 {
        (self.unit() * 2.0 - 1.0) * spread
    }

    /// True with the given probability. Draws even for 0 and 1, so that rates do not shift the sequence.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One index out of a range that is not empty.
    pub fn index(&mut self, range: Range<usize>) -> usize {
        assert!(!range.is_empty(), "an index is drawn from something");
        let width = u64::try_from(range.len()).expect("a usize fits 64 bits");
        range.start + usize::try_from(self.bits() % width).expect("below a usize")
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.bits().to_be_bytes()[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_name_repeat_their_sequence() {
        let draw = |seed, name| {
            let mut random = Random::named(seed, name);
            (random.bits(), random.bits())
        };
        assert_eq!(draw(7, "pump-1"), draw(7, "pump-1"));
        assert_ne!(draw(7, "pump-1"), draw(8, "pump-1"));
        assert_ne!(draw(7, "pump-1"), draw(7, "pump-2"));
    }

    #[test]
    fn units_and_indexes_stay_in_their_range() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            assert!((0.0..1.0).contains(&random.unit()));
            assert!((3..5).contains(&random.index(3..5)));
        }
    }
}
