//! The lease table, the gap ledger and the KCL's coordinator: every call that the daemon makes, and what the rows say of the fleet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use penstock_aws::probe::{Refusal, TableProbe, TableSeen, Tried};
use penstock_core::ids::StreamId;
use penstock_core::lease::{LeaseRow, Scan};
use penstock_engine::ports::{ErrorClass, KclVersion, LeaseTable, SeamError, StreamDescription};

use super::arn;
use super::iam::{self, Action};
use super::judge::{self, Call, Sight, Sights};
use super::online::{Client, limited};
use super::report::Row;
use super::source::{self, Stream};
use crate::config::settings::{KeyForm, LeaseStoreSettings, Settings};
use crate::telemetry::one_line;
use crate::wiring::aws::Aws;
use crate::wiring::ports;

/// How long a whole scan may take.
const SCAN_LIMIT: Duration = Duration::from_secs(10);
/// The longest look at renewals.
const LONGEST_LOOK: Duration = Duration::from_secs(12);
/// The most characters of a table's name.
const LONGEST_NAME: usize = 255;

/// The lease table with what stands in it.
pub(super) struct Table {
    table: Option<Arc<dyn LeaseTable>>,
    scan: Option<Scan>,
}

impl Table {
    /// The rows that could be read.
    pub(super) fn rows(&self) -> &[LeaseRow] {
        self.scan.as_ref().map_or(&[], |scan| &scan.rows)
    }
}

/// Tries every call, and scans once.
pub(super) async fn look(settings: &Settings, aws: &Aws, client: Option<&Client>) -> (Table, Vec<Row>) {
    match &settings.leases.store {
        LeaseStoreSettings::DynamoDb { table } => {
            let Some(client) = client else { return (Table { table: None, scan: None }, Vec::new()) };
            let ((found, scan_rows), rows) = tokio::join!(scan(settings, aws), tables(table, client));
            (found, rows.into_iter().chain(scan_rows).collect())
        }
        LeaseStoreSettings::Sqlite { .. } => scan(settings, aws).await,
    }
}

/// What the daemon itself sees: the rows, the gaps, the KCL's version.
async fn scan(settings: &Settings, aws: &Aws) -> (Table, Vec<Row>) {
    let opened = tokio::try_join!(ports::leases(settings, aws), ports::gaps(settings, aws));
    let (table, gaps) = match opened {
        Ok(opened) => opened,
        Err(problem) => {
            return (
                Table { table: None, scan: None },
                vec![Row::failed("leases", "the lease table", one_line(&problem))],
            );
        }
    };
    let (scan, entries, version) = tokio::join!(
        tokio::time::timeout(SCAN_LIMIT, table.scan()),
        tokio::time::timeout(SCAN_LIMIT, gaps.entries()),
        tokio::time::timeout(SCAN_LIMIT, table.kcl_version())
    );
    let mut rows = Vec::new();
    let mut found = None;
    match scan {
        Ok(Ok(scan)) => {
            rows.extend(of_scan(&scan));
            found = Some(scan);
        }
        Ok(Err(error)) => rows.push(missing_or_failed("leases", "the lease table", &error)),
        Err(_) => rows.push(too_slow("leases", "the lease table")),
    }
    rows.push(match entries {
        Ok(Ok((entries, _))) => {
            let open = entries.iter().filter(|entry| entry.is_open()).count();
            let row = Row::good("gaps", "the gap ledger", format!("{open} open"));
            if open == 0 { row } else { row.fix("`penstock leases list` shows them") }
        }
        Ok(Err(error)) => missing_or_failed("gaps", "the gap ledger", &error),
        Err(_) => too_slow("gaps", "the gap ledger"),
    });
    rows.push(match version {
        Ok(Ok(version)) => of_version(&version, settings.leases.exclusive),
        Ok(Err(error)) if error.class == ErrorClass::NotFound => {
            of_version(&KclVersion::Unrecorded, settings.leases.exclusive)
        }
        Ok(Err(error)) => Row::failed("KCL 3 leader", "the lease table", error.to_string()),
        Err(_) => too_slow("KCL 3 leader", "the lease table"),
    });
    (Table { table: Some(table), scan: found }, rows)
}

fn too_slow(what: &str, on: &str) -> Row {
    Row::failed(what, on, format!("did not answer within {} s", SCAN_LIMIT.as_secs()))
}

fn missing_or_failed(what: &str, on: &str, error: &SeamError) -> Row {
    match error.class {
        ErrorClass::NotFound => Row::good(what, on, "there is none yet; `penstock run` creates it"),
        _ => Row::failed(what, on, error.to_string()),
    }
}

fn of_scan(scan: &Scan) -> Vec<Row> {
    let unreadable = scan
        .unreadable
        .iter()
        .map(|row| Row::failed("leases", row.key.as_str(), format!("the row cannot be read: {}", row.problem)));
    let workers = judge::owners(&scan.rows).len();
    let says = format!(
        "{}, {} of open shards",
        judge::counted(scan.rows.len() as u64, "lease"),
        judge::counted(workers as u64, "owner")
    );
    std::iter::once(Row::good("leases", "the lease table", says)).chain(unreadable).collect()
}

/// Whether a leader of the KCL 3 assigns these leases.
fn of_version(version: &KclVersion, exclusive: bool) -> Row {
    const WHAT: &str = "KCL 3 leader";
    const ON: &str = "the lease table";
    match version {
        KclVersion::Unrecorded => Row::good(WHAT, ON, "there is no record of any"),
        KclVersion::Peers(state) => Row::good(WHAT, ON, format!("{state}: every worker takes for itself")),
        KclVersion::Leader(state) if exclusive => {
            Row::good(WHAT, ON, format!("{state}; leases.mode = \"exclusive\" goes on once no worker of it is left"))
        }
        KclVersion::Leader(state) => Row::failed(WHAT, ON, state.clone())
            .fix("stop its workers and set leases.mode = \"exclusive\", or roll it back to 2.x first"),
    }
}

/// Each permission on each table.
async fn tables(name: &str, client: &Client) -> Vec<Row> {
    let leases = TableProbe::leases(&client.config, name);
    let gaps = TableProbe::gaps(&client.config, name);
    let coordinator = TableProbe::coordinator(&client.config, name);
    let coordinate = async {
        match coordinator.table().len() <= LONGEST_NAME {
            true => Some(limited(coordinator.get()).await),
            false => None,
        }
    };
    let (lease_rows, gap_rows, coordinated) =
        tokio::join!(one_table(&leases, client, true), one_table(&gaps, client, false), coordinate);
    let mut rows = lease_rows;
    rows.extend(gap_rows);
    let resource = resource(coordinator.table(), client);
    let call = Call { action: iam::GET_ITEM, on: coordinator.table(), resource: &resource, place: &client.place };
    rows.extend(coordinated.map(|tried| match tried {
        Err(refusal) if refusal.class == ErrorClass::NotFound => {
            Row::good(call.action.name, call.on, "allowed; there is no such table, so no KCL 3 either")
        }
        tried => call.row(&tried, |()| "allowed".to_owned()),
    }));
    rows
}

fn resource(table: &str, client: &Client) -> String {
    arn::of("dynamodb", &client.place.region, client.account(), &format!("table/{table}"))
}

/// The calls that one table is asked for. A table that is not there refuses what is allowed with its absence: IAM comes first.
async fn one_table(probe: &TableProbe, client: &Client, is_leases: bool) -> Vec<Row> {
    let (seen, get, scan, query, put, update, delete) = tokio::join!(
        limited(probe.describe()),
        limited(probe.get()),
        limited(probe.scan()),
        limited(probe.query()),
        limited(probe.put_nothing()),
        limited(probe.update_nothing()),
        limited(probe.delete_nothing())
    );
    let resource = resource(probe.table(), client);
    let missing = matches!(&seen, Err(refusal) if refusal.class == ErrorClass::NotFound);
    let call = |action: Action| Call { action, on: probe.table(), resource: &resource, place: &client.place };
    let mut rows = of_description(probe, &call(iam::DESCRIBE_TABLE), &seen);
    if seen.as_ref().is_err_and(Refusal::is_silence) && get.as_ref().is_err_and(Refusal::is_silence) {
        // Eleven times the same helps nobody.
        return rows;
    }
    // A table of somebody else's has another key: its refusals would be about that.
    let foreign = matches!(&seen, Ok(seen) if seen.key != probe.key());
    // The ledger is never asked for one item and never deletes; leases are never queried.
    let calls: &[(Action, &Tried<()>, bool)] = match is_leases {
        true => &[
            (iam::GET_ITEM, &get, false),
            (iam::SCAN, &scan, false),
            (iam::PUT_ITEM, &put, true),
            (iam::UPDATE_ITEM, &update, true),
            (iam::DELETE_ITEM, &delete, true),
        ],
        false => &[
            (iam::SCAN, &scan, false),
            (iam::QUERY, &query, false),
            (iam::PUT_ITEM, &put, true),
            (iam::UPDATE_ITEM, &update, true),
        ],
    };
    for (action, tried, writes) in calls.iter().filter(|_| !foreign) {
        rows.push(of_call(&call(*action), tried, *writes, missing));
    }
    if missing {
        let create = call(iam::CREATE_TABLE);
        rows.push(
            Row::not_tried(
                create.action.name,
                create.on,
                "it would leave a table; `penstock run` makes it at its first start",
            )
            .fix(format!(
                "make sure of it: {} on {}, as in {}",
                create.action.name, create.resource, create.action.policy
            )),
        );
    }
    rows
}

fn of_description(probe: &TableProbe, call: &Call<'_>, seen: &Tried<TableSeen>) -> Vec<Row> {
    match seen {
        Ok(seen) => {
            let region = judge::region(probe.table(), &seen.arn, call.place, "aws.region");
            [call.row(&Ok(()), |()| "allowed".to_owned()), judge::table(seen, probe.table(), probe.key())]
                .into_iter()
                .chain(region)
                .collect()
        }
        Err(refusal) if refusal.class == ErrorClass::NotFound => {
            vec![Row::good(call.action.name, call.on, "allowed; there is no such table yet")]
        }
        Err(refusal) => vec![call.refused(refusal)],
    }
}

fn of_call(call: &Call<'_>, tried: &Tried<()>, writes: bool, missing: bool) -> Row {
    match tried {
        Err(refusal) if missing && refusal.class == ErrorClass::NotFound => {
            Row::good(call.action.name, call.on, "allowed; there is no such table yet")
        }
        tried => call.row(tried, |()| {
            if writes { "allowed; nothing was written, on a condition that cannot hold" } else { "allowed" }.to_owned()
        }),
    }
}

/// Looks at the table for the better part of a failover time.
pub(super) async fn observe(settings: &Settings, table: &Table) -> Vec<Row> {
    let (Some(open), Some(first)) = (&table.table, &table.scan) else { return Vec::new() };
    let failover = settings.leases.failover_time;
    let mut sights: Sights = vec![(Duration::ZERO, sight(first))];
    if judge::owners(&first.rows).is_empty() {
        return judge::failover(&sights, failover);
    }
    let look = failover.mul_f64(0.75).clamp(Duration::from_secs(2), LONGEST_LOOK);
    // A scan of many rows costs: the more of them, the fewer looks.
    let pause = Duration::from_millis(if first.rows.len() > 200 { 1_000 } else { 250 });
    // The first one counts from where this begins: what was seen before may be old.
    let started = Instant::now();
    sights.clear();
    while started.elapsed() < look || sights.len() < 2 {
        match tokio::time::timeout(SCAN_LIMIT, open.scan()).await {
            Ok(Ok(scan)) => sights.push((started.elapsed(), sight(&scan))),
            Ok(Err(_)) | Err(_) if started.elapsed() >= look => break,
            Ok(Err(_)) | Err(_) => {}
        }
        tokio::time::sleep(pause).await;
    }
    judge::failover(&sights, failover)
}

/// The owned rows of open shards.
fn sight(scan: &Scan) -> BTreeMap<String, Sight> {
    let owned = scan.rows.iter().filter(|row| row.checkpoint != penstock_core::position::Position::ShardEnd);
    let owned = owned.filter_map(|row| {
        let owner = row.owner.as_ref()?.to_string();
        let progress = format!("{} {:?} {:?}", row.checkpoint, row.intent, row.foreign_pending);
        let sight = Sight { owner, counter: row.counter.0, progress };
        Some((row.key.to_string(), sight))
    });
    owned.collect()
}

/// What the rows say against the streams and the settings.
pub(super) fn against_streams(settings: &Settings, table: &Table, streams: &[Stream]) -> Vec<Row> {
    let mut rows = Vec::new();
    let seen: Vec<_> = streams.iter().filter_map(|stream| stream.seen.as_ref().ok()).collect();
    if let Some(scan) = &table.scan {
        rows.extend(of_other_form(scan, settings.leases.keys));
        for stream in &seen {
            rows.extend(of_another_stream(scan, &source::description(stream), settings.leases.keys));
        }
    }
    if !seen.is_empty() {
        let open: u64 = seen.iter().map(|seen| u64::from(seen.open_shards)).sum();
        let workers = judge::owners(table.rows()).len() as u64;
        let max = settings.leases.max_leases.map(|max| u64::from(max.get()));
        rows.extend(judge::capacity(open, max, workers));
        rows.push(judge::memory(settings.memory_budget, open, workers));
    }
    rows
}

/// What `run` refuses to start with: leases of a stream that was there under this name before.
fn of_another_stream(scan: &Scan, stream: &StreamDescription, keys: KeyForm) -> Option<Row> {
    let id = stream.stream_id();
    let is_namesake = |row: &&LeaseRow| match (keys, row.key.stream_id()) {
        (KeyForm::Single, None) => true,
        (KeyForm::Multi, Some(found)) => {
            let same = |one: &StreamId| one.parts().map(|(account, name, _)| (account.to_owned(), name));
            same(&found) == same(&id)
        }
        (KeyForm::Single, Some(_)) | (KeyForm::Multi, None) => false,
    };
    let mut created = scan.rows.iter().filter(is_namesake).filter_map(|row| row.stream_created);
    let rows = created.find(|created| *created != stream.created)?;
    let says = format!(
        "the leases belong to a stream that was created at {rows}, {} was created at {}",
        stream.name, stream.created
    );
    Some(
        Row::failed("leases", stream.name.as_str(), says)
            .fix("use another application name, or remove the leases of the old stream"),
    )
}

/// Rows whose keys have another form than the configuration's.
fn of_other_form(scan: &Scan, keys: KeyForm) -> Option<Row> {
    let row = scan.rows.iter().find(|row| row.key.stream_id().is_some() != (keys == KeyForm::Multi))?;
    Some(
        Row::failed("leases", row.key.as_str(), "its key has another form than leases.keys asks for")
            .fix("`penstock leases convert` changes the table; or use another application name"),
    )
}

#[cfg(test)]
mod tests {
    use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};
    use penstock_core::position::Position;

    use super::*;

    #[test]
    fn a_write_about_an_object_is_seen_as_progress() {
        let progress = |change: fn(&mut LeaseRow)| {
            let mut row = LeaseRow::new(LeaseKey::new("a"), LeaseCounter(1), Position::TrimHorizon);
            row.owner = Some(WorkerId::new("one"));
            change(&mut row);
            let scan = Scan { rows: vec![row], unreadable: Vec::new() };
            sight(&scan)["a"].progress.clone()
        };
        let quiet = progress(|_| {});
        assert_eq!(quiet, progress(|row| row.counter = LeaseCounter(2)));
        assert_ne!(quiet, progress(|row| row.intent = Some("an intent".into())));
        assert_ne!(quiet, progress(|row| row.foreign_pending = Some("a KCL's".into())));
        assert_ne!(quiet, progress(|row| row.checkpoint = Position::Latest));
    }
}
