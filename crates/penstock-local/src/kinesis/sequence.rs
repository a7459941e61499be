//! Sequence numbers of real length: 56 decimal digits, 186 bits, ordered within a shard and from parent to child.
//! The layout follows what is known of the service's: a leading 2, the shard's creation, the index, the time of writing,
//! the shard, a version. Nothing but this file may know it; clients must not.

/// Number of decimal digits of every sequence number.
pub(crate) const DIGITS: usize = 56;

const LEAD: u64 = 2;
const VERSION: u128 = 2;
/// Creation and write times are seconds of 36 bits.
const SECONDS_MASK: u64 = (1 << 36) - 1;
/// 10^19, the largest power of ten in 64 bits.
const CHUNK: u128 = 10_000_000_000_000_000_000;

/// A record's place in its shard, with what tells the shard apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SequenceNumber {
    /// Seconds; greater for a child than for its parents, and for a stream than for an earlier one of the same name.
    pub(crate) epoch: u64,
    /// The shard's number.
    pub(crate) shard: u32,
    /// Ordered within the shard, not dense.
    pub(crate) index: u64,
    /// Seconds since the Unix epoch of the write.
    pub(crate) written: u64,
}

impl SequenceNumber {
    /// The number's decimal digits.
    pub(crate) fn digits(self) -> [u8; DIGITS] {
        let (high, low) = self.pack();
        let mut limbs = [u128::from(high), low >> 64, low & u128::from(u64::MAX)];
        let mut digits = [b'0'; DIGITS];
        let mut end = DIGITS;
        while end > 0 {
            let mut chunk = divide_by_chunk(&mut limbs);
            for digit in digits[..end].iter_mut().rev().take(19) {
                *digit = b'0' + u8::try_from(chunk % 10).unwrap_or(0);
                chunk /= 10;
            }
            end = end.saturating_sub(19);
        }
        digits
    }

    /// The number as text.
    pub(crate) fn text(self) -> String {
        String::from_utf8_lossy(&self.digits()).into_owned()
    }

    /// Reads a number this server gave out; `None` for any other text.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (mut high, mut low) = (0_u128, 0_u128);
        for digit in text.bytes() {
            // low * 10 + digit, with the carry into high; low is kept below 2^124 pieces by splitting it.
            let bottom = (low & u128::from(u64::MAX)) * 10 + u128::from(digit - b'0');
            let top = (low >> 64) * 10 + (bottom >> 64);
            low = (top << 64) | (bottom & u128::from(u64::MAX));
            high = high * 10 + (top >> 64);
        }
        Self::unpack(u64::try_from(high).ok()?, low)
    }

    /// The upper 60 and the lower 128 bits.
    fn pack(self) -> (u64, u128) {
        let nibble = u64::from(self.shard & 0xF);
        let high = (LEAD << 56) | ((self.epoch & SECONDS_MASK) << 20) | (nibble << 16) | (self.index >> 48);
        let low = (u128::from(self.index & 0xFFFF_FFFF_FFFF) << 80)
            | (u128::from(mix(self.index) & 0xFF) << 72)
            | (u128::from(self.written & SECONDS_MASK) << 36)
            | (u128::from(self.shard) << 4)
            | VERSION;
        (high, low)
    }

    #[expect(clippy::cast_possible_truncation, reason = "each field is masked to its width")]
    fn unpack(high: u64, low: u128) -> Option<Self> {
        let number = Self {
            epoch: (high >> 20) & SECONDS_MASK,
            shard: (low >> 4) as u32,
            index: ((high & 0xFFFF) << 48) | (low >> 80) as u64,
            written: ((low >> 36) as u64) & SECONDS_MASK,
        };
        (number.pack() == (high, low)).then_some(number)
    }
}

/// The index after `index`: larger by 1 to 16, so that nobody counts on density.
pub(crate) fn next_index(index: u64) -> u64 {
    index + 1 + (mix(index) >> 8 & 0xF)
}

fn mix(index: u64) -> u64 {
    let mixed = (index ^ (index >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 27)
}

fn divide_by_chunk(limbs: &mut [u128; 3]) -> u64 {
    let mut remainder = 0_u128;
    for limb in limbs {
        let value = (remainder << 64) | *limb;
        *limb = value / CHUNK;
        remainder = value % CHUNK;
    }
    u64::try_from(remainder).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(epoch: u64, shard: u32, index: u64) -> SequenceNumber {
        SequenceNumber { epoch, shard, index, written: 1_790_000_123 }
    }

    #[test]
    fn numbers_have_56_digits_and_are_read_back() {
        for epoch in [0, 1_500_000_000, 1_790_000_000, SECONDS_MASK] {
            for (shard, index) in [(0, 0), (7, 1), (16, 12_345_678_901), (u32::MAX, u64::MAX)] {
                let number = number(epoch, shard, index);
                let text = number.text();
                assert_eq!(text.len(), 56);
                assert_ne!(text.as_bytes()[0], b'0');
                assert_eq!(SequenceNumber::parse(&text), Some(number));
            }
        }
    }

    #[test]
    fn numbers_begin_as_those_of_the_service_do() {
        // 49590338271490256608559692538361571095921575989136588898 is one of AWS's documentation.
        let number = SequenceNumber { epoch: 1_542_776_258, shard: 6, index: 1_734_642_199, written: 1_545_084_650 };
        assert_eq!(number.text()[..28], *"4959033827149025660855969253");
    }

    #[test]
    fn order_is_by_epoch_then_index() {
        let ordered = [number(5, 3, 0), number(5, 3, 1), number(5, 3, 1 << 50), number(6, 1, 0), number(6, 1, 9)];
        assert!(ordered.windows(2).all(|pair| pair[0].text() < pair[1].text()));
    }

    #[test]
    fn indexes_rise_and_are_not_dense() {
        let mut index = 0;
        let steps: Vec<u64> = (0..1000)
            .map(|_| {
                let before = index;
                index = next_index(index);
                index - before
            })
            .collect();
        assert!(steps.iter().all(|step| (1..=16).contains(step)));
        assert!(steps.iter().any(|&step| step > 1));
    }

    #[test]
    fn other_texts_are_not_sequence_numbers() {
        let text = number(1_790_000_000, 2, 77).text();
        let (last, rest) = text.as_bytes().split_last().unwrap();
        let other = format!("{}{}", std::str::from_utf8(rest).unwrap(), (last - b'0' + 1) % 10);
        for wrong in ["", "0", "abc", &other, &text[1..], &format!("{text}0"), &"9".repeat(56), &"+".repeat(56)] {
            assert_eq!(SequenceNumber::parse(wrong), None, "{wrong}");
        }
    }
}
