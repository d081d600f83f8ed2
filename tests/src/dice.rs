//! Chance that can be repeated: the same seed throws the same numbers (`SplitMix64`, public domain, S. Vigna 2015).
//! For tests only; nothing here is secret.

use std::time::Duration;

/// A die with as many sides as asked for.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that throw what every other with this seed throws.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `sides`.
    ///
    /// # Panics
    /// When there are no sides.
    pub fn below(&mut self, sides: usize) -> usize {
        let sides = u64::try_from(sides).expect("a length fits into 64 bits");
        usize::try_from(self.number() % sides).expect("below a length")
    }

    /// Whether something happens that happens `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A time between two others, in whole milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = usize::try_from(most.saturating_sub(least).as_millis()).unwrap_or(usize::MAX - 1);
        least + Duration::from_millis(self.below(span + 1) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn equal_seeds_throw_equal_numbers_and_all_sides_come_up() {
        let (mut one, mut other) = (Dice::seeded(7), Dice::seeded(7));
        let mut seen = [false; 6];
        for _ in 0..100 {
            let side = one.below(6);
            assert_eq!(side, other.below(6));
            seen[side] = true;
        }
        assert_eq!(seen, [true; 6]);
    }
}
