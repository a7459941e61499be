//! Hash keys: where a partition key falls, and which range of the 128-bit space a shard covers.

use md5::{Digest, Md5};
use serde::Serialize;

/// An inclusive range of hash keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashRange {
    pub(crate) start: u128,
    pub(crate) end: u128,
}

/// A range as the API writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HashKeyRangeJson {
    starting_hash_key: String,
    ending_hash_key: String,
}

impl HashRange {
    pub(crate) fn contains(&self, key: u128) -> bool {
        (self.start..=self.end).contains(&key)
    }

    /// The two parts of a range that is cut before `at`; `at` lies inside and is not the start.
    pub(crate) fn split_at(&self, at: u128) -> [Self; 2] {
        [Self { start: self.start, end: at - 1 }, Self { start: at, end: self.end }]
    }

    /// The union of two adjacent ranges, in any order.
    pub(crate) fn join(&self, other: &Self) -> Option<Self> {
        let (low, high) = if self.start < other.start { (self, other) } else { (other, self) };
        (low.end.checked_add(1) == Some(high.start)).then_some(Self { start: low.start, end: high.end })
    }

    pub(crate) fn json(&self) -> HashKeyRangeJson {
        HashKeyRangeJson { starting_hash_key: self.start.to_string(), ending_hash_key: self.end.to_string() }
    }
}

/// The whole space in `count` ranges of equal size, as the service cuts it.
pub(crate) fn uniform_ranges(count: u32) -> Vec<HashRange> {
    let count = count.max(1);
    (0..count)
        .map(|i| HashRange {
            start: boundary(i, count),
            end: if i + 1 == count { u128::MAX } else { boundary(i + 1, count) - 1 },
        })
        .collect()
}

/// floor(i * 2^128 / count) for i < count.
fn boundary(i: u32, count: u32) -> u128 {
    if i == 0 {
        return 0;
    }
    let (i, count) = (u128::from(i), u128::from(count));
    // 2^128 = quotient * count + remainder, from 2^128 - 1; count is at least 2 here.
    let (quotient, remainder) = match (u128::MAX / count, u128::MAX % count + 1) {
        (quotient, remainder) if remainder == count => (quotient + 1, 0),
        parts => parts,
    };
    i * quotient + i * remainder / count
}

/// Where a partition key falls: the MD5 of its UTF-8 bytes as a big-endian number.
pub(crate) fn of_partition_key(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key.as_bytes()).into())
}

/// Reads a hash key: decimal, without leading zeros, below 2^128.
pub(crate) fn parse(text: &str) -> Option<u128> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit()));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_shards_are_cut_as_the_service_does() {
        let starts: Vec<String> = uniform_ranges(3).iter().map(|range| range.start.to_string()).collect();
        assert_eq!(starts, ["0", "113427455640312821154458202477256070485", "226854911280625642308916404954512140970"]);
    }

    #[test]
    fn ranges_cover_the_space_without_gap_or_overlap() {
        for count in [1, 2, 3, 5, 7, 64, 1000] {
            let ranges = uniform_ranges(count);
            assert_eq!(ranges.len(), count as usize);
            assert_eq!(ranges[0].start, 0);
            assert_eq!(ranges[ranges.len() - 1].end, u128::MAX);
            assert!(ranges.windows(2).all(|pair| pair[0].end + 1 == pair[1].start));
        }
    }

    #[test]
    fn twice_as_many_ranges_keep_the_old_boundaries() {
        let doubled: Vec<u128> = uniform_ranges(14).iter().step_by(2).map(|range| range.start).collect();
        let single: Vec<u128> = uniform_ranges(7).iter().map(|range| range.start).collect();
        assert_eq!(doubled, single);
    }

    #[test]
    fn a_partition_key_hashes_to_its_md5() {
        // MD5("a") = 0cc175b9c0f1b6a831c399e269772661
        assert_eq!(of_partition_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn splitting_and_joining_are_inverse() {
        let range = HashRange { start: 10, end: 99 };
        let [low, high] = range.split_at(50);
        assert_eq!((low.end, high.start), (49, 50));
        assert_eq!(low.join(&high), Some(range));
        assert_eq!(high.join(&low), Some(range));
        assert_eq!(low.join(&HashRange { start: 51, end: 60 }), None);
        assert_eq!(range.join(&HashRange { start: 0, end: u128::MAX }), None);
    }

    #[test]
    fn hash_keys_are_plain_decimals() {
        assert_eq!(parse("0"), Some(0));
        assert_eq!(parse(&u128::MAX.to_string()), Some(u128::MAX));
        for wrong in ["", "01", "+1", "-1", "340282366920938463463374607431768211456", "1e3"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
