//! `penstock leases set-position`: where a shard is read from next, and what that repeats or skips.
//!
//! Refused while an intent is open (its records would be cut anew), while a live worker has the shard, before the shard's
//! parents have ended, and where the service says that the sequence number is none of the shard. What is skipped or repeated stands in the gap ledger before the position is set.

use std::io::Write;

use anyhow::{Context, bail};
use penstock_core::gap::{GapEnd, GapRange, GapReason};
use penstock_core::ids::ShardId;
use penstock_core::lease::{Change, Field, LeaseRow};
use penstock_core::position::{Position, RecordPosition};
use penstock_core::time::UnixMillis;
use penstock_engine::clock::Clock;
use penstock_engine::ports::{ErrorClass, OpenAt};
use penstock_engine::worker::StreamSource;
use serde_json::{Value, json};

use super::{Open, patience, tool};
use crate::cli::SetPositionArgs;
use crate::config::form;
use crate::wiring::ports;

/// Where to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    TrimHorizon,
    Latest,
    Time(UnixMillis),
    /// Everything up to here counts as delivered.
    After(RecordPosition),
}

impl Target {
    fn parse(text: &str) -> anyhow::Result<Self> {
        match text {
            "TRIM_HORIZON" => return Ok(Self::TrimHorizon),
            "LATEST" => return Ok(Self::Latest),
            _ => {}
        }
        if let Some(time) = form::parse_time(text) {
            return Ok(Self::Time(UnixMillis(i64::try_from(time).context("the time is too late")?)));
        }
        RecordPosition::parse(text).map(Self::After).ok().with_context(|| {
            format!(
                "{text:?} is no position: TRIM_HORIZON, LATEST, a time as in 2026-11-21T10:30:00Z, or the sequence number of the \
                 last record that counts as delivered, as in 4959…/2"
            )
        })
    }
}

/// Sets the position of the chosen leases.
pub(super) async fn run(open: &Open, args: &SetPositionArgs) -> anyhow::Result<String> {
    let target = Target::parse(&args.position)?;
    let chosen = open.chosen(&args.choice)?;
    if chosen.len() > 1 && matches!(target, Target::After(_)) {
        bail!("a sequence number belongs to one shard: name one lease");
    }
    let now = Clock::Boot.now().wall;
    refuse_the_future(&target, now)?;
    let mut plans = Vec::new();
    for row in &chosen {
        refuse_unless_parents_ended(open, row).await?;
        plans.push(Plan::of(row, &target, now)?);
        if let Target::After(position) = &target {
            refuse_what_is_of_another_shard(open, row, position).await?;
        }
    }
    tool::refuse_if_alive(open, &chosen, args.force).await?;
    for (done, (row, plan)) in chosen.iter().zip(&plans).enumerate() {
        carry_out(open, row, plan, now).await.map_err(|error| patience::after(&chosen[..done], error))?;
    }
    let said = chosen.iter().zip(&plans);
    Ok(match args.report.json {
        true => {
            format!("{:#}\n", json!({ "positions": said.map(|(row, plan)| plan.to_json(row)).collect::<Vec<_>>() }))
        }
        false => said.map(|(row, plan)| format!("{}: {}\n", row.key, plan.said)).collect(),
    })
}

/// The ledger first, then the row.
async fn carry_out(open: &Open, row: &LeaseRow, plan: &Plan, now: UnixMillis) -> anyhow::Result<()> {
    if let Some(range) = &plan.range {
        tool::note_gap(open, row, GapReason::PositionSet, range.clone(), now).await?;
    }
    tool::carry_out(open.table.as_ref(), &tool::write(row, plan.change.clone())).await?;
    Ok(())
}

/// Kinesis reads from no time that is still to come: the shard would stand still until it is mended.
fn refuse_the_future(target: &Target, now: UnixMillis) -> anyhow::Result<()> {
    match target {
        Target::Time(time) if *time > now => bail!("{time} is still to come (it is {now}): LATEST reads from now on"),
        _ => Ok(()),
    }
}

/// A child that is read before its parents' end mixes up the order of its keys.
async fn refuse_unless_parents_ended(open: &Open, row: &LeaseRow) -> anyhow::Result<()> {
    let mut absent: Vec<&ShardId> = Vec::new();
    for parent in &row.parents {
        let key = row.key.sibling(parent);
        match open.scan.rows.iter().find(|row| row.key == key) {
            Some(parent) if parent.checkpoint == Position::ShardEnd => {}
            Some(_) => bail!("the parent {parent} of {} is not read to its end: set its position instead", row.key),
            None => absent.push(parent),
        }
    }
    // Its own progress shows that they had ended.
    if absent.is_empty() || row.checkpoint.has_progress() {
        return Ok(());
    }
    let source = source_of(open, row).await.context("its parents cannot be looked up")?;
    let listed = source.source.list_shards().await?;
    match absent.into_iter().find(|parent| listed.iter().any(|shard| shard.id == **parent)) {
        Some(parent) => bail!("the parent {parent} of {} has no lease yet and is still in the stream", row.key),
        None => Ok(()),
    }
}

/// A checkpoint that the service does not know stops the shard until somebody sets another.
///
/// Where the service cannot be asked the operator knows better, and is told: a tool for bad days must not need all of AWS.
async fn refuse_what_is_of_another_shard(open: &Open, row: &LeaseRow, to: &RecordPosition) -> anyhow::Result<()> {
    let (key, shard, at) = (&row.key, row.key.shard_id(), OpenAt::At(to.sequence.clone()));
    let asked = async {
        let source = source_of(open, row).await?;
        Ok(patience::answered("GetShardIterator", key, source.source.open(&shard, &at)).await)
    };
    let unknown: anyhow::Error = match asked.await {
        Ok(Ok(_iterator)) => return Ok(()),
        Ok(Err(error)) if error.class == ErrorClass::Rejected => bail!(
            "{} is the sequence number of no record of {key}: a shard whose number it is not stands still at it; nothing was \
             changed ({error})",
            to.sequence
        ),
        Ok(Err(error)) => error.into(),
        Err(error) => error,
    };
    writeln!(
        std::io::stderr(),
        "whether {} is a sequence number of {key} is not known, and it is taken as it is: {unknown:#}",
        to.sequence
    )?;
    Ok(())
}

/// The stream of a row, as the service has it.
async fn source_of(open: &Open, row: &LeaseRow) -> anyhow::Result<StreamSource> {
    let stream = open.stream_of(row);
    let sources = ports::sources(&open.settings, &open.aws).await?;
    let source = sources.into_iter().find(|source| source.name == stream);
    source.with_context(|| format!("the stream {stream} of {} is not in source.streams", row.key))
}

/// What is done to a row.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    change: Change,
    /// What the ledger is told: what is skipped, or comes again. `None` if nothing was read yet.
    range: Option<GapRange>,
    said: String,
}

impl Plan {
    fn of(row: &LeaseRow, target: &Target, now: UnixMillis) -> anyhow::Result<Self> {
        let key = &row.key;
        if row.intent.is_some() {
            bail!(
                "the lease {key} has an open intent: let a worker carry it out, or give it up with `penstock leases \
                 abandon-intent {key}`, and set the position then"
            );
        }
        if Some(&row.checkpoint) == target.checkpoint().as_ref() && matches!(target, Target::After(_)) {
            bail!("the lease {key} stands at {} already", row.checkpoint);
        }
        let start = match target {
            Target::TrimHorizon | Target::After(_) => Field::Remove,
            Target::Latest => Field::Set(now),
            Target::Time(time) => Field::Set(*time),
        };
        let change = Change {
            owner_switches: Some(0),
            checkpoint: target.checkpoint(),
            start,
            arrival: Field::Remove,
            lag: Field::Remove,
            // The next object follows upon the new position, not upon the last object.
            chain: Field::Remove,
            ..Change::counter(tool::next(row))
        };
        let (range, said) = effect(row, target, now);
        Ok(Self { change, range, said })
    }

    fn to_json(&self, row: &LeaseRow) -> Value {
        json!({
            "lease": row.key.as_str(),
            "before": row.checkpoint.to_string(),
            "after": self.change.checkpoint.as_ref().map(ToString::to_string),
            "range": self.range.as_ref().map(ToString::to_string),
            "effect": self.said,
        })
    }
}

impl Target {
    fn checkpoint(&self) -> Option<Position> {
        Some(match self {
            Self::TrimHorizon => Position::TrimHorizon,
            Self::Latest => Position::Latest,
            Self::Time(_) => Position::AtTimestamp,
            Self::After(position) => Position::After(position.clone()),
        })
    }
}

/// What the ledger and the operator are told of a position.
fn effect(row: &LeaseRow, target: &Target, now: UnixMillis) -> (Option<GapRange>, String) {
    let before = &row.checkpoint;
    let read = before.record().cloned();
    let skipped = |end: GapEnd, until: &str| {
        let range = GapRange { after: before.clone(), end };
        (Some(range), format!("set from {before}; what lies between there and {until} is skipped"))
    };
    let again = |after: Position, from: &str| match (&read, before) {
        (Some(last), _) => {
            let range = GapRange { after, end: GapEnd::Through(last.clone()) };
            (Some(range), format!("set back from {before}; what lies between {from} and there is delivered again"))
        }
        (None, Position::ShardEnd) => {
            let range = GapRange { after, end: GapEnd::Unknown };
            let said = format!("set back from {before}; what the stream still has behind {from} is delivered again");
            (Some(range), said)
        }
        (None, _) => (None, format!("set; nothing was read since it stood at {before}")),
    };
    match target {
        Target::TrimHorizon => again(Position::TrimHorizon, "the oldest record"),
        Target::Latest if *before == Position::ShardEnd => {
            (None, "set; the shard had been read to its end, nothing of it is delivered again".to_owned())
        }
        Target::Latest => skipped(GapEnd::Until(now), "now"),
        Target::Time(time) => match row.arrival.filter(|_| *before != Position::ShardEnd) {
            Some(arrival) if arrival < *time => skipped(GapEnd::Until(*time), &format!("what arrived at {time}")),
            Some(_) => again(Position::AtTimestamp, &format!("what arrived at {time}")),
            None if read.is_none() && *before != Position::ShardEnd => {
                skipped(GapEnd::Until(*time), &format!("{time}"))
            }
            None if *before == Position::ShardEnd => again(Position::AtTimestamp, &format!("what arrived at {time}")),
            // The row does not tell when its checkpoint arrived.
            None => {
                let range = GapRange { after: before.clone(), end: GapEnd::Unknown };
                let said = format!(
                    "set from {before} to what arrived at {time}; which of the two is later cannot be told from the row: what \
                     lies between is either skipped or delivered again"
                );
                (Some(range), said)
            }
        },
        Target::After(position) => {
            let target = Position::After(position.clone());
            if target > *before {
                skipped(GapEnd::Through(position.clone()), &format!("{position}, this one included,"))
            } else {
                again(target, &position.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_700_000_100_000);

    fn at(text: &str) -> RecordPosition {
        RecordPosition::parse(text).unwrap()
    }

    fn row(checkpoint: Position) -> LeaseRow {
        LeaseRow {
            owner: Some(WorkerId::new("gone-1")),
            arrival: Some(UnixMillis(1_700_000_000_000)),
            lag: Some(7),
            chain: Some(at("90")),
            ..LeaseRow::new(LeaseKey::new("shardId-000000000000"), LeaseCounter(7), checkpoint)
        }
    }

    #[test]
    fn a_position_is_a_word_a_time_or_a_sequence_number() {
        assert_eq!(Target::parse("TRIM_HORIZON").unwrap(), Target::TrimHorizon);
        assert_eq!(Target::parse("LATEST").unwrap(), Target::Latest);
        assert_eq!(Target::parse("2023-11-14T22:13:20Z").unwrap(), Target::Time(UnixMillis(1_700_000_000_000)));
        assert_eq!(Target::parse("4959/2").unwrap(), Target::After(at("4959/2")));
        for text in ["latest", "yesterday", "", "-1", "SHARD_END"] {
            assert!(Target::parse(text).unwrap_err().to_string().contains("is no position"), "{text}");
        }
    }

    #[test]
    fn whatever_is_set_the_owner_goes_and_the_counter_grows_by_one() {
        let row = row(Position::After(at("100")));
        for target in [Target::TrimHorizon, Target::Latest, Target::Time(NOW), Target::After(at("200"))] {
            let plan = Plan::of(&row, &target, NOW).unwrap();
            let write = tool::write(&row, plan.change);
            assert!(write.expect.holds(&row));
            let left = write.change.apply(&row);
            let start = match target {
                Target::Latest | Target::Time(_) => Some(NOW),
                Target::TrimHorizon | Target::After(_) => None,
            };
            let checkpoint = target.checkpoint().unwrap();
            let expected = LeaseRow { start, ..LeaseRow::new(row.key.clone(), LeaseCounter(8), checkpoint) };
            assert_eq!(left, expected);
        }
    }

    #[test]
    fn an_open_intent_is_no_time_to_set_a_position() {
        let row = LeaseRow { intent: Some(Bytes::from_static(b"x")), ..row(Position::TrimHorizon) };
        let refusal = Plan::of(&row, &Target::Latest, NOW).unwrap_err().to_string();
        assert!(refusal.contains("abandon-intent shardId-000000000000"), "{refusal}");
    }

    #[test]
    fn forward_skips_and_back_repeats() {
        let row = row(Position::After(at("100")));
        let of = |target| effect(&row, &target, NOW);
        let after = |text| Position::After(at(text));
        let (range, said) = of(Target::After(at("200")));
        assert_eq!(range.unwrap(), GapRange { after: after("100"), end: GapEnd::Through(at("200")) });
        assert!(said.contains("skipped"), "{said}");
        let (range, said) = of(Target::After(at("50/3")));
        assert_eq!(range.unwrap(), GapRange { after: after("50/3"), end: GapEnd::Through(at("100")) });
        assert!(said.contains("delivered again"), "{said}");
        let (range, _) = of(Target::Latest);
        assert_eq!(range.unwrap(), GapRange { after: after("100"), end: GapEnd::Until(NOW) });
        let (range, _) = of(Target::TrimHorizon);
        assert_eq!(range.unwrap(), GapRange { after: Position::TrimHorizon, end: GapEnd::Through(at("100")) });
        assert!(of(Target::Time(NOW)).1.contains("skipped"));
        assert!(of(Target::Time(UnixMillis(1))).1.contains("delivered again"));
    }

    #[test]
    fn a_time_to_come_is_refused_and_one_that_cannot_be_compared_is_not_guessed_at() {
        let tomorrow = Target::Time(UnixMillis(NOW.0 + 86_400_000));
        let refusal = refuse_the_future(&tomorrow, NOW).unwrap_err().to_string();
        assert!(refusal.contains("LATEST"), "{refusal}");
        refuse_the_future(&Target::Time(NOW), NOW).unwrap();
        let row = LeaseRow { arrival: None, ..row(Position::After(at("100"))) };
        let (range, said) = effect(&row, &Target::Time(UnixMillis(1)), NOW);
        assert_eq!(range.unwrap(), GapRange { after: Position::After(at("100")), end: GapEnd::Unknown });
        assert!(said.contains("either skipped or delivered again"), "{said}");
        let ended = LeaseRow { checkpoint: Position::ShardEnd, ..row };
        assert!(effect(&ended, &Target::Time(UnixMillis(1)), NOW).1.contains("is delivered again"));
    }

    #[test]
    fn nothing_is_told_of_a_shard_that_was_never_read() {
        let row = LeaseRow { arrival: None, ..row(Position::TrimHorizon) };
        assert_eq!(effect(&row, &Target::TrimHorizon, NOW).0, None);
    }
}
