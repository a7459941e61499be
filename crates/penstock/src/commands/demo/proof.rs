//! The demo's proof: every record is there, how often, and in order for each partition key. Pure.

use std::collections::BTreeMap;
use std::fmt;

use super::story::View;

/// Holds what was read back against what was told.
#[derive(Debug)]
pub(super) struct Proof {
    /// How often each number was seen.
    seen: Vec<u32>,
    /// The place that is expected next, for each user.
    next_of: BTreeMap<String, u64>,
    out_of_order: u64,
    strangers: u64,
    first_problem: Option<String>,
}

/// What a proof found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Records that were told.
    pub(super) told: u64,
    /// Records that are not there.
    pub(super) missing: u64,
    /// Records that are there more than once: how many too many.
    pub(super) repeated: u64,
    /// Records that stand before one that was told earlier for the same partition key.
    pub(super) out_of_order: u64,
    /// Lines that were never told.
    pub(super) strangers: u64,
    /// The first thing that is wrong, for the reader.
    pub(super) first_problem: Option<String>,
}

impl Proof {
    /// A proof about the numbers `0..told`.
    pub(super) fn new(told: u64) -> Self {
        let numbers = usize::try_from(told).expect("the command line bounds the number of records");
        Self { seen: vec![0; numbers], next_of: BTreeMap::new(), out_of_order: 0, strangers: 0, first_problem: None }
    }

    /// Looks at one line, in the order of the objects. `place` says where it stands.
    pub(super) fn look(&mut self, line: &[u8], place: &str) {
        let view = serde_json::from_slice::<View>(line).ok();
        let counted = view.as_ref().and_then(|view| self.seen.get_mut(usize::try_from(view.id).ok()?));
        let (Some(view), Some(count)) = (&view, counted) else {
            self.strangers += 1;
            self.problem(|| format!("a line of {place} was never told: {}", String::from_utf8_lossy(line)));
            return;
        };
        *count += 1;
        if *count > 1 {
            self.problem(|| format!("record {} is repeated in {place}", view.id));
            return;
        }
        let next = self.next_of.entry(view.user.clone()).or_insert(0);
        if view.nth < *next {
            self.out_of_order += 1;
            self.problem(|| format!("record {} of {} comes too late, in {place}", view.id, view.user));
        } else {
            *next = view.nth + 1;
        }
    }

    fn problem(&mut self, problem: impl FnOnce() -> String) {
        self.first_problem.get_or_insert_with(problem);
    }

    /// What was found.
    pub(super) fn verdict(self) -> Verdict {
        let missing = self.seen.iter().filter(|count| **count == 0).count() as u64;
        let first_missing = self.seen.iter().position(|count| *count == 0);
        Verdict {
            told: self.seen.len() as u64,
            missing,
            repeated: self.seen.iter().map(|count| u64::from(count.saturating_sub(1))).sum(),
            out_of_order: self.out_of_order,
            strangers: self.strangers,
            first_problem: self.first_problem.or_else(|| first_missing.map(|id| format!("record {id} is missing"))),
        }
    }
}

impl Verdict {
    /// Each record once, and in order.
    pub(super) const fn is_exactly_once(&self) -> bool {
        self.is_at_least_once() && self.repeated == 0 && self.out_of_order == 0
    }

    /// Each record, perhaps more than once.
    pub(super) const fn is_at_least_once(&self) -> bool {
        self.missing == 0 && self.strangers == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  records told           {:>9}", self.told)?;
        writeln!(f, "  missing                {:>9}", self.missing)?;
        writeln!(f, "  repeated               {:>9}", self.repeated)?;
        write!(f, "  out of order           {:>9}", self.out_of_order)?;
        if self.strangers > 0 {
            write!(f, "\n  never told             {:>9}", self.strangers)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u64, user: &str, nth: u64) -> Vec<u8> {
        format!(r#"{{"id":{id},"user":"{user}","nth":{nth},"path":"/","at":"","took_ms":1,"agent":""}}"#).into_bytes()
    }

    fn verdict(told: u64, lines: &[Vec<u8>]) -> Verdict {
        let mut proof = Proof::new(told);
        lines.iter().for_each(|line| proof.look(line, "an object"));
        proof.verdict()
    }

    #[test]
    fn each_record_once_and_in_order_is_proved() {
        let verdict = verdict(3, &[line(0, "a", 0), line(2, "b", 0), line(1, "a", 1)]);
        assert!(verdict.is_exactly_once(), "{verdict}");
    }

    #[test]
    fn a_missing_record_is_found() {
        let verdict = verdict(2, &[line(0, "a", 0)]);
        assert!(!verdict.is_at_least_once());
        assert_eq!(verdict.first_problem.as_deref(), Some("record 1 is missing"));
    }

    #[test]
    fn a_repeat_is_found_and_still_at_least_once() {
        let verdict = verdict(1, &[line(0, "a", 0), line(0, "a", 0)]);
        assert!(!verdict.is_exactly_once() && verdict.is_at_least_once());
        assert_eq!(verdict.repeated, 1);
    }

    #[test]
    fn a_wrong_order_is_found() {
        assert!(!verdict(2, &[line(1, "a", 1), line(0, "a", 0)]).is_exactly_once());
    }

    #[test]
    fn a_line_that_nobody_told_is_found() {
        let verdict = verdict(1, &[line(0, "a", 0), line(9, "a", 9), b"rubbish".to_vec()]);
        assert_eq!(verdict.strangers, 2);
        assert!(!verdict.is_at_least_once());
    }
}
