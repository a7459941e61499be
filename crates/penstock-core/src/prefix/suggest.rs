//! Finds what was probably meant: the candidate nearest to a misspelt word.
//!
//! Only for messages; nothing is ever corrected silently.

/// The candidate that is nearest to `word`, if any is near enough to be a likely slip. Letter case counts little.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed: Vec<char> = word.to_lowercase().chars().collect();
    let tolerance = (typed.len() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            (distance(&typed, &letters), candidate)
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be changed, added, left out or swapped with their neighbour to get from `one` to `other`.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, wanted) in other.iter().enumerate() {
            let changed = above[column] + usize::from(letter != wanted);
            let mut least = changed.min(above[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && one[row - 1] == *wanted && *letter == other[column - 1] {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = above;
        above = current;
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let words = ["timestamp", "firehose", "partitionKeyFromQuery"];
        assert_eq!(nearest("timestmap", words), Some("timestamp"));
        assert_eq!(nearest("FIREHOSE", words), Some("firehose"));
        assert_eq!(nearest("partitionKeyFromQueries", words), Some("partitionKeyFromQuery"));
        assert_eq!(nearest("weather", words), None);
        assert_eq!(nearest("", words), None);
    }

    #[test]
    fn a_swap_of_neighbours_is_one_step() {
        let letters = |word: &str| word.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("ab"), &letters("ba")), 1);
        assert_eq!(distance(&letters("abc"), &letters("")), 3);
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
    }
}
