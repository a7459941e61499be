//! Which worker leads: a function of the owners in the table, the same in every worker and in the KCL 2.x.
//!
//! The leader lists shards and keeps the rows in order. Two leaders at once do no harm (creates and deletes are
//! conditional), none for ever would: so an owner counts only while one of its leases is alive.

use std::collections::BTreeSet;

use crate::ids::WorkerId;

/// The seed of the KCL's shuffle.
const SEED: u64 = 1947;

/// Whether `worker` leads a fleet with these owners. Without owners everybody does.
pub(super) fn leads(worker: &WorkerId, owners: &BTreeSet<&WorkerId>) -> bool {
    let mut owners: Vec<&WorkerId> = owners.iter().copied().collect();
    // Java orders strings by UTF-16 code units, which differs from UTF-8 where surrogates are involved.
    owners.sort_by(|a, b| a.as_str().encode_utf16().cmp(b.as_str().encode_utf16()));
    owners.is_empty() || owners.get(leader_index(owners.len())).is_some_and(|leader| *leader == worker)
}

/// Which of `owners` sorted owners leads: the first after a shuffle by Java's `Collections.shuffle`, seeded 1947.
fn leader_index(owners: usize) -> usize {
    shuffled(owners).first().copied().unwrap_or(0)
}

fn shuffled(count: usize) -> Vec<usize> {
    let mut random = JavaRandom::seeded(SEED);
    let mut order: Vec<usize> = (0..count).collect();
    for bound in (2..=count).rev() {
        order.swap(bound - 1, random.below(bound));
    }
    order
}

/// `java.util.Random`: a linear congruential generator of 48 bits.
struct JavaRandom {
    state: u64,
}

impl JavaRandom {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;

    const fn seeded(seed: u64) -> Self {
        Self { state: (seed ^ Self::MULTIPLIER) & Self::MASK }
    }

    /// The top 31 bits of the next state.
    const fn next_31(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(Self::MULTIPLIER).wrapping_add(0xB) & Self::MASK;
        self.state >> 17
    }

    /// `nextInt(bound)`.
    const fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u64;
        if bound.is_power_of_two() {
            return ((bound * self.next_31()) >> 31) as usize;
        }
        loop {
            let drawn = self.next_31();
            let remainder = drawn % bound;
            // Java tests for overflow of 32 signed bits: the last, incomplete stretch of numbers is drawn again.
            if drawn - remainder + (bound - 1) < 1 << 31 {
                return remainder as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_is_the_one_that_a_java_runtime_gives() {
        let table =
            [0, 0, 2, 3, 4, 2, 2, 2, 3, 8, 6, 9, 12, 4, 10, 11, 13, 11, 0, 14, 13, 7, 1, 1, 0, 3, 9, 20, 12, 3, 22, 19];
        let ours: Vec<usize> = (1..=table.len()).map(leader_index).collect();
        assert_eq!(ours, table);
    }

    #[test]
    fn the_whole_shuffle_is_javas() {
        assert_eq!(shuffled(10), [8, 5, 1, 6, 9, 4, 2, 0, 7, 3]);
    }

    #[test]
    fn without_owners_everybody_leads() {
        assert!(leads(&WorkerId::new("me"), &BTreeSet::new()));
    }

    #[test]
    fn of_three_owners_the_third_leads_and_a_worker_without_leases_does_not() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(WorkerId::new);
        let owners = BTreeSet::from([&a, &b, &c]);
        assert_eq!([&a, &b, &c, &d].map(|worker| leads(worker, &owners)), [false, false, true, false]);
    }

    #[test]
    fn owners_are_ordered_by_utf_16_code_units() {
        // U+FF5E is one unit above every surrogate, although its code point is below U+1F600.
        let [plain, tilde, face] = ["a", "\u{ff5e}", "\u{1f600}"].map(WorkerId::new);
        assert!(leads(&tilde, &BTreeSet::from([&plain, &tilde, &face])));
    }
}
