//! What was tried, row by row: what, on what, what came of it, and what to do. As a table for people and as JSON for programs.

use serde_json::{Value, json};

use crate::commands::leases::aligned;

/// What came of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is as it should be.
    Good,
    /// It works, and will be trouble.
    Warning,
    /// It could not be tried without leaving something behind, or something else has to work first.
    NotTried,
    /// It does not work.
    Failed,
}

impl Outcome {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::NotTried => "not tried",
            Self::Failed => "FAILED",
        }
    }

    /// For programs.
    const fn key(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::NotTried => "not_tried",
            Self::Failed => "failed",
        }
    }
}

/// A permission that would mend a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    /// As a policy names it.
    pub(super) action: &'static str,
    /// The ARN of what it is for.
    pub(super) resource: String,
    /// The file that has it.
    pub(super) policy: &'static str,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) on: String,
    pub(super) outcome: Outcome,
    /// What was seen, or what happened.
    pub(super) says: String,
    /// What to do about it; empty if nothing.
    pub(super) fix: String,
    pub(super) grant: Option<Grant>,
}

impl Row {
    pub(super) fn new(
        what: impl Into<String>,
        on: impl Into<String>,
        outcome: Outcome,
        says: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), on: on.into(), outcome, says: says.into(), fix: String::new(), grant: None }
    }

    pub(super) fn good(what: impl Into<String>, on: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(what, on, Outcome::Good, says)
    }

    pub(super) fn failed(what: impl Into<String>, on: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(what, on, Outcome::Failed, says)
    }

    pub(super) fn warning(what: impl Into<String>, on: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(what, on, Outcome::Warning, says)
    }

    pub(super) fn not_tried(what: impl Into<String>, on: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(what, on, Outcome::NotTried, says)
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// The permission that is missing, which is also what to do.
    pub(super) fn granting(mut self, grant: Grant) -> Self {
        self.fix = format!("allow {} on {}, as in {}", grant.action, grant.resource, grant.policy);
        self.grant = Some(grant);
        self
    }
}

/// All rows, and what the configuration was warned about.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    pub(super) warnings: Vec<String>,
}

impl Report {
    /// Whether the exit code is 1.
    pub(super) fn has_failed(&self) -> bool {
        self.rows.iter().any(|row| row.outcome == Outcome::Failed)
    }

    /// The table; what to do stands below the row that it is about.
    pub(super) fn text(&self) -> String {
        let cells = self
            .rows
            .iter()
            .map(|row| [row.outcome.word().to_owned(), row.what.clone(), row.on.clone(), row.says.clone()]);
        let head = ["RESULT", "WHAT", "ON", "SEEN"].map(str::to_owned);
        let table = aligned(&std::iter::once(head).chain(cells).collect::<Vec<_>>());
        let mut lines = table.lines();
        let mut text = lines.next().map_or_else(String::new, |head| format!("{head}\n"));
        for (line, row) in lines.zip(&self.rows) {
            text.push_str(line);
            text.push('\n');
            if !row.fix.is_empty() {
                text.push_str(&format!("           fix: {}\n", row.fix));
            }
        }
        for warning in &self.warnings {
            text.push_str(&format!("warning    {warning}\n"));
        }
        text.push_str(&self.summary());
        text
    }

    fn summary(&self) -> String {
        let count = |outcome| self.rows.iter().filter(|row| row.outcome == outcome).count();
        let parts = [Outcome::Good, Outcome::Warning, Outcome::NotTried, Outcome::Failed].map(|outcome| {
            let count = count(outcome) + if outcome == Outcome::Warning { self.warnings.len() } else { 0 };
            format!("{count} {}", outcome.word().to_lowercase())
        });
        format!("{}\n", parts.join(", "))
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "ok": !self.has_failed(),
            "checks": self.rows.iter().map(row_to_json).collect::<Vec<_>>(),
            "warnings": self.warnings,
        })
    }
}

fn row_to_json(row: &Row) -> Value {
    json!({
        "check": row.what,
        "on": row.on,
        "result": row.outcome.key(),
        "detail": row.says,
        "fix": Some(&row.fix).filter(|fix| !fix.is_empty()),
        "grant": row.grant.as_ref().map(|grant| json!({
            "action": grant.action,
            "resource": grant.resource,
            "policy": grant.policy,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let grant = Grant {
            action: "kinesis:GetRecords",
            resource: "arn:x".to_owned(),
            policy: "deploy/iam/source-polling.json",
        };
        Report {
            rows: vec![
                Row::good("read a record", "clicks", "1 record"),
                Row::failed("read", "c", "denied").granting(grant),
                Row::not_tried("put", "to-lake", "it would leave a record"),
            ],
            warnings: vec!["prefix: odd".to_owned()],
        }
    }

    #[test]
    fn what_to_do_stands_below_its_row_and_everything_is_counted() {
        assert_eq!(
            report().text(),
            "RESULT     WHAT           ON       SEEN\n\
             ok         read a record  clicks   1 record\n\
             FAILED     read           c        denied\n\
             \x20          fix: allow kinesis:GetRecords on arn:x, as in deploy/iam/source-polling.json\n\
             not tried  put            to-lake  it would leave a record\n\
             warning    prefix: odd\n\
             1 ok, 1 warning, 1 not tried, 1 failed\n"
        );
    }

    #[test]
    fn programs_get_the_action_the_resource_and_the_file() {
        let json = report().json();
        assert_eq!(json["ok"], false);
        assert_eq!(json["checks"][1]["grant"]["action"], "kinesis:GetRecords");
        assert_eq!(json["checks"][1]["grant"]["policy"], "deploy/iam/source-polling.json");
        assert_eq!(json["checks"][0]["fix"], Value::Null);
        assert_eq!(json["checks"][2]["result"], "not_tried");
    }

    #[test]
    fn only_a_failure_is_one() {
        let mut report = report();
        assert!(report.has_failed());
        report.rows.remove(1);
        assert!(!report.has_failed());
    }
}
