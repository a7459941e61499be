//! A small deterministic generator of random numbers (SplitMix64), seeded by the caller.
//!
//! It spreads delays and breaks ties; it is no source of secrets. The same seed gives the same numbers on every
//! machine and in every version: simulations replay from their seed alone.

/// A stream of random numbers that is a function of its seed.
///
/// ```
/// use penstock_core::random::Random;
///
/// let mut one = Random::seeded(7);
/// let mut other = Random::seeded(7);
/// assert_eq!(one.next_u64(), other.next_u64());
/// assert!(one.below(10) < 10);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: u64,
}

/// The golden ratio as a 64-bit fraction: the step of SplitMix64.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Starts the stream that belongs to `seed`. Any seed is as good as any other, 0 too.
    pub const fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number of the stream, each of the 2^64 equally likely.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, each equally likely. A bound of 0 gives 0, as a bound of 1 does.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound <= 1 {
            return 0;
        }
        // The high half of the product is the number. Of the low halves, the first 2^64 mod `bound` would make some
        // numbers likelier than others and are drawn again (Lemire, "Fast random integer generation in an interval").
        let uneven = bound.wrapping_neg() % bound;
        loop {
            let product = self.next_u64() as u128 * bound as u128;
            if product as u64 >= uneven {
                return (product >> 64) as u64;
            }
        }
    }

    /// A number in `[0, 1)`, with the 53 bits that a double holds.
    pub const fn unit_f64(&mut self) -> f64 {
        const ULP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * ULP
    }

    /// Splits off a generator of its own, so that what one part draws does not shift what another part sees.
    #[must_use = "the fork is the generator to use; this one only moved on"]
    pub const fn fork(&mut self) -> Self {
        // Mixed once more, so that the fork does not stand on a state that this stream passes through.
        let mut seed = Self::seeded(self.next_u64() ^ STEP);
        Self::seeded(seed.next_u64())
    }

    /// Puts `items` into a random order, each order equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let chosen = self.below(last as u64 + 1) as usize;
            items.swap(last, chosen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_the_published_splitmix64() {
        // The first outputs of the reference implementation for the seed 1234567.
        let mut random = Random::seeded(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| random.next_u64()).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821,
            ]
        );
    }

    #[test]
    fn below_stays_below_and_reaches_everything_evenly() {
        let mut random = Random::seeded(1);
        let mut seen = [0_u32; 6];
        for _ in 0..6_000 {
            seen[random.below(6) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (850..1_150).contains(count)), "{seen:?}");
    }

    #[test]
    fn below_is_even_where_a_remainder_would_not_be() {
        // Three quarters of 2^64: without drawing again, every third number would come twice as often as the others.
        let bound = 3 << 62;
        let mut random = Random::seeded(2);
        let thirds = (0..9_000).filter(|_| random.below(bound).is_multiple_of(3)).count();
        assert!((2_800..3_200).contains(&thirds), "{thirds}");
    }

    #[test]
    fn below_nothing_is_zero() {
        let mut random = Random::seeded(3);
        assert_eq!((random.below(0), random.below(1)), (0, 0));
    }

    #[test]
    fn unit_numbers_lie_in_the_half_open_interval_and_average_a_half() {
        let mut random = Random::seeded(4);
        let drawn: Vec<f64> = (0..10_000).map(|_| random.unit_f64()).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = drawn.iter().sum::<f64>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
    }

    #[test]
    fn a_fork_is_a_stream_of_its_own_and_repeats_with_its_parent() {
        let mut parent = Random::seeded(5);
        let mut fork = parent.fork();
        let later: Vec<u64> = (0..1_000).map(|_| parent.next_u64()).collect();
        assert!((0..1_000).all(|_| !later.contains(&fork.next_u64())));
        assert_eq!(Random::seeded(5).fork(), Random::seeded(5).fork());
    }

    #[test]
    fn a_shuffle_keeps_the_items_and_changes_their_order() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::seeded(6).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
