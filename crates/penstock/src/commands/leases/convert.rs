//! `penstock leases convert`: gives the rows of a table the form of key that the configuration asks for.
//!
//! Row by row: a new one with everything that the old one holds, then the old one goes. A run that was cut short is run again;
//! what it finds done is left alone. No worker may be at the table meanwhile.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use penstock_core::ids::{LeaseCounter, LeaseKey, StreamId};
use penstock_core::lease::{CreateOutcome, LeaseRow};
use penstock_core::time::UnixMillis;
use penstock_engine::clock::Clock;
use penstock_engine::ports::{LeaseTable, StreamDescription};
use serde_json::json;

use super::{Open, patience, tool};
use crate::cli::ConvertArgs;
use crate::config::settings::KeyForm;
use crate::progress::Progress;
use crate::wiring::ports;

/// Converts the table.
pub(super) async fn run(open: &Open, args: &ConvertArgs) -> anyhow::Result<String> {
    if let Some(row) = open.scan.unreadable.first() {
        bail!("the lease {} cannot be read: {}; mend or remove it first", row.key, row.problem);
    }
    let rows: Vec<&LeaseRow> = open.scan.rows.iter().collect();
    let stream = described(open, args.stream.as_deref()).await?;
    let moves = moves(&rows, open.settings.leases.keys, &stream, args.force, Clock::Boot.now().wall)?;
    tool::refuse_if_alive(open, &rows, args.force).await?;
    let mut progress = Progress::new();
    progress.begin(moves.len() as u64, "leases converted");
    carry_out(open.table.as_ref(), &moves, |done| progress.reach(done)).await?;
    progress.finish();
    Ok(match args.report.json {
        true => {
            let moved = moves.iter().map(|it| json!({ "from": it.old.key.as_str(), "to": it.new.key.as_str() }));
            format!("{:#}\n", json!({ "converted": moved.collect::<Vec<_>>() }))
        }
        false if moves.is_empty() => "nothing to convert: every lease has the form that is asked for\n".to_owned(),
        false => moves.iter().map(|it| format!("{} is now {}\n", it.old.key, it.new.key)).collect(),
    })
}

async fn carry_out(table: &dyn LeaseTable, moves: &[Move], mut reach: impl FnMut(u64)) -> anyhow::Result<()> {
    for (done, Move { old, new }) in (1..).zip(moves) {
        if patience::answered("create", &new.key, table.create(new)).await? == CreateOutcome::Exists {
            refuse_unless_equal(table, new).await?;
        }
        if !patience::answered("remove", &old.key, table.remove(&old.key, old.counter)).await? {
            bail!("the lease {} changed meanwhile: a worker is at it; stop it and run this again", old.key);
        }
        reach(done);
    }
    Ok(())
}

/// An earlier run may have made the row and not come to remove the old one. Anything else under its key is not ours to pass over.
async fn refuse_unless_equal(table: &dyn LeaseTable, new: &LeaseRow) -> anyhow::Result<()> {
    let scan = patience::scan(table).await?;
    let found = scan.rows.into_iter().find(|row| row.key == new.key);
    let counter = found.as_ref().map_or(LeaseCounter(0), |found| found.counter);
    if found.as_ref() != Some(&LeaseRow { counter, ..new.clone() }) {
        bail!(
            "there is a lease {} already, and it does not hold what the old one holds: remove one of the two",
            new.key
        );
    }
    Ok(())
}

/// The stream that rows without a stream in their keys belong to.
async fn described(open: &Open, named: Option<&str>) -> anyhow::Result<StreamDescription> {
    let sources = ports::sources(&open.settings, &open.aws).await?;
    let names: Vec<String> = sources.iter().map(|source| source.name.to_string()).collect();
    let source = match named {
        Some(named) => sources
            .into_iter()
            .find(|source| source.name.as_str() == named)
            .with_context(|| format!("{named} is not in source.streams; there are: {}", names.join(", ")))?,
        None if names.len() > 1 => {
            bail!(
                "source.streams has several streams: say with --stream which one the leases belong to: {}",
                names.join(", ")
            )
        }
        None => sources.into_iter().next().context("source.streams is empty")?,
    };
    Ok(source.source.describe().await?)
}

/// One row, as it is and as it shall be.
#[derive(Debug, PartialEq, Eq)]
struct Move {
    old: LeaseRow,
    new: LeaseRow,
}

fn moves(
    rows: &[&LeaseRow],
    to: KeyForm,
    stream: &StreamDescription,
    force: bool,
    now: UnixMillis,
) -> anyhow::Result<Vec<Move>> {
    let other = rows.iter().filter(|row| (row.key.stream_id().is_some()) != (to == KeyForm::Multi));
    let other: Vec<&LeaseRow> = other.copied().collect();
    refuse_foreign_stream(&other, to, stream)?;
    other.into_iter().map(|row| Ok(Move { old: row.clone(), new: converted(row, to, stream, force, now)? })).collect()
}

fn refuse_foreign_stream(rows: &[&LeaseRow], to: KeyForm, stream: &StreamDescription) -> anyhow::Result<()> {
    let ids: BTreeSet<StreamId> = rows.iter().filter_map(|row| row.key.stream_id()).collect();
    if to == KeyForm::Single && ids.len() > 1 {
        let ids: Vec<&str> = ids.iter().map(StreamId::as_str).collect();
        bail!("the leases are of several streams, {}: their shard ids would collide", ids.join(" and "));
    }
    let created = |row: &LeaseRow| row.stream_created.filter(|created| *created != stream.created);
    if let Some((row, created)) = rows.iter().find_map(|row| created(row).map(|created| (row, created))) {
        bail!(
            "the lease {} belongs to a stream that was created at {created}; {} was created at {}",
            row.key,
            stream.name,
            stream.created
        );
    }
    match ids.first().filter(|id| **id != stream.stream_id()) {
        Some(id) => bail!("the leases are of {id}, the stream of the configuration is {}", stream.stream_id()),
        None => Ok(()),
    }
}

fn converted(
    row: &LeaseRow,
    to: KeyForm,
    stream: &StreamDescription,
    force: bool,
    now: UnixMillis,
) -> anyhow::Result<LeaseRow> {
    if row.intent.is_some() {
        bail!(
            "the lease {} has an open intent, which names the old key: let a worker carry it out, or give it up with \
             `penstock leases abandon-intent`",
            row.key
        );
    }
    if !force && (row.unknown.is_some() || row.foreign_pending.is_some()) {
        bail!(
            "the lease {} holds attributes that would be left behind (a pending checkpoint of a KCL worker, or some that \
             penstock does not know); --force leaves them behind",
            row.key
        );
    }
    let id = (to == KeyForm::Multi).then(|| stream.stream_id());
    Ok(LeaseRow {
        key: LeaseKey::of(id.as_ref(), &row.key.shard_id()),
        // As for any row that is made: a counter that no earlier row under this key had.
        counter: row.counter.max(LeaseCounter(now.not_negative())),
        owner: None,
        checkpoint_owner: None,
        wanted: None,
        granted: None,
        left: None,
        taken_by: None,
        foreign_pending: None,
        unknown: None,
        stream_created: Some(stream.created),
        ..row.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;
    use penstock_core::ids::{ApplicationName, ShardId, StreamName, WorkerId};
    use penstock_core::lease::{LeaseWant, LeaseWrite, Scan, WriteOutcome};
    use penstock_core::position::{Position, RecordPosition};
    use penstock_engine::ports::{KclVersion, SeamError, TableProblem};
    use penstock_local::lease_table::SqliteLeaseTable;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn stream() -> StreamDescription {
        StreamDescription {
            name: StreamName::new("clicks"),
            arn: Some("arn:aws:kinesis:eu-west-1:123456789012:stream/clicks".to_owned()),
            created: UnixMillis(1_700_000_000_000),
            retention: Duration::from_secs(86_400),
        }
    }

    fn row() -> LeaseRow {
        let checkpoint = Position::After(RecordPosition::parse("100/2").unwrap());
        LeaseRow {
            owner: Some(WorkerId::new("gone-1")),
            chain: Some(RecordPosition::parse("90").unwrap()),
            parents: [ShardId::new("shardId-000000000000")].into(),
            ..LeaseRow::new(LeaseKey::new("shardId-000000000001"), LeaseCounter(7), checkpoint)
        }
    }

    #[test]
    fn a_row_goes_to_the_other_form_and_back_with_all_that_it_holds() {
        let row = row();
        let there = moves(&[&row], KeyForm::Multi, &stream(), false, NOW).unwrap();
        let new = &there[0].new;
        assert_eq!(new.key.as_str(), "123456789012:clicks:1700000000:shardId-000000000001");
        assert_eq!(new.counter, LeaseCounter(1_800_000_000_000));
        let kept = LeaseRow { owner: None, key: new.key.clone(), counter: new.counter, ..row.clone() };
        assert_eq!(*new, LeaseRow { stream_created: Some(stream().created), ..kept });
        let back = moves(&[new], KeyForm::Single, &stream(), false, NOW).unwrap();
        assert_eq!((&back[0].new.key, &back[0].new.checkpoint), (&row.key, &row.checkpoint));
    }

    #[test]
    fn rows_that_have_the_form_are_left_alone() {
        assert_eq!(moves(&[&row()], KeyForm::Single, &stream(), false, NOW).unwrap(), []);
    }

    #[test]
    fn what_would_be_lost_or_confused_is_refused() {
        let intent = LeaseRow { intent: Some(Bytes::from_static(b"x")), ..row() };
        let unknown = LeaseRow { unknown: Some([1; 32]), ..row() };
        let elder = LeaseRow { stream_created: Some(UnixMillis(5)), ..row() };
        for (row, said) in [(&intent, "open intent"), (&unknown, "--force"), (&elder, "was created at")] {
            let refusal = moves(&[row], KeyForm::Multi, &stream(), false, NOW).unwrap_err().to_string();
            assert!(refusal.contains(said), "{refusal}");
        }
        let of = |id: &str| LeaseRow { key: LeaseKey::of(Some(&StreamId::new(id)), &ShardId::new("s-1")), ..row() };
        let (one, other) = (of("123456789012:clicks:1700000000"), of("123456789012:views:1700000000"));
        let refusal = moves(&[&one, &other], KeyForm::Single, &stream(), false, NOW).unwrap_err().to_string();
        assert!(refusal.contains("several streams"), "{refusal}");
        assert!(moves(&[&other], KeyForm::Single, &stream(), false, NOW).is_err());
    }

    /// A table whose host goes away after so many of the calls that change it.
    struct Cut {
        table: SqliteLeaseTable,
        left: AtomicU32,
    }

    impl Cut {
        fn after(table: &SqliteLeaseTable, calls: u32) -> Self {
            Self { table: table.clone(), left: AtomicU32::new(calls) }
        }

        fn count(&self, operation: &'static str) -> Result<(), SeamError> {
            let counted = self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            counted.map(drop).map_err(|_| SeamError::timed_out(operation, "it", Duration::ZERO))
        }
    }

    #[async_trait]
    impl LeaseTable for Cut {
        async fn prepare(&self) -> Result<(), TableProblem> {
            self.table.prepare().await
        }
        async fn scan(&self) -> Result<Scan, SeamError> {
            self.table.scan().await
        }
        async fn create(&self, row: &LeaseRow) -> Result<CreateOutcome, SeamError> {
            self.count("create")?;
            self.table.create(row).await
        }
        async fn write(&self, write: &LeaseWrite) -> Result<WriteOutcome, SeamError> {
            self.table.write(write).await
        }
        async fn want(&self, want: &LeaseWant) -> Result<bool, SeamError> {
            self.table.want(want).await
        }
        async fn remove(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
            self.count("remove")?;
            self.table.remove(key, counter).await
        }
        async fn kcl_version(&self) -> Result<KclVersion, SeamError> {
            self.table.kcl_version().await
        }
        async fn delete(&self, key: &LeaseKey, counter: LeaseCounter) -> Result<bool, SeamError> {
            self.table.delete(key, counter).await
        }
    }

    async fn table_of(dir: &tempfile::TempDir, rows: &[LeaseRow]) -> SqliteLeaseTable {
        let table = SqliteLeaseTable::new(&dir.path().join("leases.sqlite"), &ApplicationName::new("app"));
        table.prepare().await.unwrap();
        for row in rows {
            table.create(row).await.unwrap();
        }
        table
    }

    /// One run over what stands in the table.
    async fn run_at(table: &dyn LeaseTable, now: UnixMillis) -> anyhow::Result<usize> {
        let scan = table.scan().await?;
        let rows: Vec<&LeaseRow> = scan.rows.iter().collect();
        let moves = moves(&rows, KeyForm::Multi, &stream(), false, now)?;
        carry_out(table, &moves, |_| {}).await?;
        Ok(moves.len())
    }

    fn three() -> [LeaseRow; 3] {
        [1, 2, 3].map(|shard| LeaseRow { key: LeaseKey::new(&format!("shardId-00000000000{shard}")), ..row() })
    }

    #[tokio::test]
    async fn a_run_that_was_cut_short_anywhere_is_finished_by_the_next() {
        for calls in 0..6 {
            let dir = tempfile::tempdir().unwrap();
            let table = table_of(&dir, &three()).await;
            let error = run_at(&Cut::after(&table, calls), NOW).await.unwrap_err().to_string();
            assert!(error.contains("no answer"), "{error}");
            let left = run_at(&table, UnixMillis(NOW.0 + 60_000)).await.unwrap();
            assert_eq!(left, 3 - usize::try_from(calls / 2).unwrap());
            let wanted = three().map(|row| converted(&row, KeyForm::Multi, &stream(), false, NOW).unwrap());
            let uncounted = |row: &LeaseRow| LeaseRow { counter: LeaseCounter(0), ..row.clone() };
            let found = table.scan().await.unwrap().rows;
            assert_eq!(found.iter().map(uncounted).collect::<Vec<_>>(), wanted.each_ref().map(uncounted), "{calls}");
        }
    }

    #[tokio::test]
    async fn a_row_that_an_earlier_run_did_not_make_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let table = table_of(&dir, &three()[..1]).await;
        let new = converted(&three()[0], KeyForm::Multi, &stream(), false, NOW).unwrap();
        let other = LeaseRow { checkpoint: Position::TrimHorizon, ..new };
        table.create(&other).await.unwrap();
        let before = table.scan().await.unwrap().rows;
        let error = run_at(&table, NOW).await.unwrap_err().to_string();
        assert!(error.contains("does not hold what the old one holds"), "{error}");
        assert_eq!(table.scan().await.unwrap().rows, before);
    }
}
