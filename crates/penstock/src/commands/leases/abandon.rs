//! `penstock leases abandon-intent`: gives up the range of an intent that nobody can carry out, or drops one that nobody can
//! read. The write of a tool: it asks for the counter and the very intent, adds one to the counter, and leaves neither an
//! owner nor an intent. It never moves a checkpoint back.

use anyhow::{Context, bail};
use penstock_core::gap::{GapEnd, GapRange, GapReason};
use penstock_core::intent::Intent;
use penstock_core::intent::codec::{self, UnreadableIntent};
use penstock_core::lease::{Change, Field, LeaseRow, LeaseWrite};
use penstock_core::position::Position;
use penstock_engine::clock::Clock;
use serde_json::{Value, json};

use super::list::intent_to_json;
use super::{Open, tool};
use crate::cli::AbandonIntentArgs;

/// Gives the intent of one lease up: first in the ledger, then in the row.
pub(super) async fn run(open: &Open, args: &AbandonIntentArgs) -> anyhow::Result<String> {
    let row = open.find(&args.lease)?;
    let plan = Plan::of(row, args.unreadable)?;
    let now = Clock::Boot.now().wall;
    tool::note_gap(open, row, GapReason::IntentAbandoned, plan.given_up.range(row), now).await?;
    tool::carry_out(open.table.as_ref(), &plan.write).await?;
    Ok(match args.report.json {
        true => format!("{:#}\n", plan.given_up.as_json(row)),
        false => plan.given_up.as_text(row),
    })
}

/// The write, and what it gives up.
#[derive(Debug)]
struct Plan {
    write: LeaseWrite,
    given_up: GivenUp,
}

/// What a write gives up.
#[derive(Debug, PartialEq, Eq)]
enum GivenUp {
    /// The range of an intent: the checkpoint passes it.
    Range(Box<Intent>),
    /// What stood there, whatever it was: the checkpoint stays.
    Unreadable(UnreadableIntent),
}

impl Plan {
    /// Decides what is done about the open intent of this row; `unreadable` is the flag that drops one that cannot be read.
    fn of(row: &LeaseRow, unreadable: bool) -> anyhow::Result<Self> {
        let key = &row.key;
        let bytes =
            row.intent.as_ref().with_context(|| format!("the lease {key} has no open intent: nothing to abandon"))?;
        match codec::decode(bytes) {
            Ok(_) if unreadable => bail!(
                "the intent of {key} can be read, so its range can be given up as it stands: leave --unreadable out"
            ),
            Ok(intent) => Self::passing(row, intent),
            Err(problem) if unreadable => Ok(Self {
                write: tools_write(row, Change::counter(tool::next(row))),
                given_up: GivenUp::Unreadable(problem),
            }),
            Err(problem) => bail!(
                "the intent of {key} cannot be read, so its range is not known: {problem}; if no penstock that can read it \
                 is left, `penstock leases abandon-intent {key} --unreadable` drops it: the records behind the checkpoint \
                 are read again, and those in objects that were already put for it are delivered twice"
            ),
        }
    }

    fn passing(row: &LeaseRow, intent: Intent) -> anyhow::Result<Self> {
        let after = Position::After(intent.last.clone());
        if row.checkpoint >= after {
            bail!(
                "the checkpoint of {} is at {} already, behind its intent: the next owner drops it",
                row.key,
                row.checkpoint
            );
        }
        let change = Change {
            owner_switches: Some(0),
            checkpoint: Some(after),
            arrival: Field::Remove,
            ..Change::counter(tool::next(row))
        };
        Ok(Self { write: tools_write(row, change), given_up: GivenUp::Range(Box::new(intent)) })
    }
}

/// The write of this tool: the intent goes too.
fn tools_write(row: &LeaseRow, change: Change) -> LeaseWrite {
    tool::write(row, Change { intent: Field::Remove, ..change })
}

impl GivenUp {
    /// What the ledger is told. Of an intent that cannot be read nobody knows the end: its records may repeat.
    fn range(&self, row: &LeaseRow) -> GapRange {
        let end = match self {
            Self::Range(intent) => GapEnd::Through(intent.last.clone()),
            Self::Unreadable(_) => GapEnd::Unknown,
        };
        GapRange { after: row.checkpoint.clone(), end }
    }

    fn as_text(&self, row: &LeaseRow) -> String {
        let key = &row.key;
        match self {
            Self::Range(intent) => {
                let keys: Vec<_> = intent.objects.iter().map(|object| object.key.as_str()).collect();
                format!(
                    "{key}: gave up {} records, from {} to {}; reading goes on behind them, at most a minute from now\n\
                     objects of it that may have been written already: {}\n",
                    intent.records(),
                    intent.first,
                    intent.last,
                    keys.join(", ")
                )
            }
            Self::Unreadable(problem) => format!(
                "{key}: dropped an intent that cannot be read ({problem}); the checkpoint stays at {}\n\
                 no record is passed over, but some may repeat: all behind the checkpoint are read again, and those in \
                 objects that were already put for this intent are then delivered a second time, in other objects\n",
                row.checkpoint
            ),
        }
    }

    fn as_json(&self, row: &LeaseRow) -> Value {
        let lease = row.key.as_str();
        match self {
            Self::Range(intent) => json!({ "lease": lease, "abandoned": intent_to_json(intent) }),
            Self::Unreadable(problem) => json!({
                "lease": lease,
                "dropped": { "problem": problem.to_string(), "may_repeat_after": row.checkpoint.to_string() },
            }),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use penstock_core::ids::{ApplicationName, LeaseCounter, LeaseKey, StreamName, WorkerId};
    use penstock_core::intent::{
        Compression, Content, Destination, Encoding, IntentId, IntentObject, OutsideHashRange,
    };
    use penstock_core::position::RecordPosition;
    use penstock_core::time::UnixMillis;

    use super::*;

    fn row(intent: Option<&'static [u8]>) -> LeaseRow {
        LeaseRow {
            owner: Some(WorkerId::new("gone-1")),
            owner_switches: 3,
            intent: intent.map(Bytes::from_static),
            wanted: Some(WorkerId::new("heir-2")),
            ..LeaseRow::new(LeaseKey::new("shardId-000000000000"), LeaseCounter(7), Position::TrimHorizon)
        }
    }

    #[test]
    fn an_unreadable_intent_is_dropped_only_when_told_so_and_the_checkpoint_stays() {
        for bytes in [b"PSin\x09rest".as_slice(), b"PSin\x01\0", b"junk"] {
            let row = row(Some(bytes));
            let refusal = format!("{:#}", Plan::of(&row, false).unwrap_err());
            assert!(refusal.contains("abandon-intent shardId-000000000000 --unreadable"), "{refusal}");
            let plan = Plan::of(&row, true).unwrap();
            assert!(plan.write.expect.holds(&row));
            let left = plan.write.change.apply(&row);
            let expected =
                LeaseRow { owner: None, intent: None, wanted: None, counter: LeaseCounter(8), ..row.clone() };
            assert_eq!(left, expected);
            let said = plan.given_up.as_text(&row);
            assert!(said.contains("TRIM_HORIZON") && said.contains("delivered a second time"), "{said}");
        }
    }

    #[test]
    fn the_drop_asks_for_the_exact_bytes_and_the_counter() {
        let seen = row(Some(b"junk"));
        let expect = Plan::of(&seen, true).unwrap().write.expect;
        for changed in [
            LeaseRow { counter: LeaseCounter(8), ..seen.clone() },
            LeaseRow { intent: Some(Bytes::from_static(b"junk2")), ..seen.clone() },
            LeaseRow { intent: None, ..seen.clone() },
        ] {
            assert!(!expect.holds(&changed), "{changed:?}");
        }
    }

    pub(in super::super) fn readable() -> Intent {
        let at = |text| RecordPosition::parse(text).unwrap();
        Intent {
            id: IntentId([7; 16]),
            application: ApplicationName::new("app"),
            stream: StreamName::new("clicks"),
            lease: LeaseKey::new("shardId-000000000000"),
            from: Position::TrimHorizon,
            first: at("100"),
            last: at("105"),
            chain: None,
            time: UnixMillis(1_700_000_000_000),
            destination: Destination::Directory { path: "/lake".into() },
            encoding: Encoding {
                delimiter: b"\n".to_vec(),
                deaggregate: true,
                outside_hash_range: OutsideHashRange::Deliver,
                hash_range: None,
                compression: Compression::None,
                level: 0,
                time_zone: "UTC".into(),
            },
            objects: vec![IntentObject {
                content: Content::Records,
                key: "k/1".into(),
                partition: BTreeMap::new(),
                first: at("100"),
                last: at("105"),
                records: 6,
                sha256: [0; 32],
            }],
        }
    }

    #[test]
    fn a_readable_intent_is_passed_and_not_dropped() {
        let intent = readable();
        let row = LeaseRow { intent: Some(codec::encode(&intent).unwrap()), ..row(None) };
        assert!(Plan::of(&row, true).unwrap_err().to_string().contains("leave --unreadable out"));
        let plan = Plan::of(&row, false).unwrap();
        let left = plan.write.change.apply(&row);
        assert_eq!((left.owner, left.intent, left.counter), (None, None, LeaseCounter(8)));
        assert_eq!(left.checkpoint, Position::After(intent.last.clone()));
        assert_eq!(plan.given_up, GivenUp::Range(Box::new(intent)));
    }

    #[test]
    fn without_an_intent_there_is_nothing_to_abandon() {
        for unreadable in [false, true] {
            assert!(Plan::of(&row(None), unreadable).unwrap_err().to_string().contains("no open intent"));
        }
    }
}
