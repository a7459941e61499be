//! `--online`: everything is tried at once, each call with a limit of its own, and the rows are put in order at the end.

use std::future::Future;
use std::time::Duration;

use penstock_aws::clients::SdkConfig;
use penstock_aws::probe::{self, Caller, Refusal, Tried};
use penstock_engine::ports::ErrorClass;

use super::judge::{self, Place};
use super::report::Row;
use super::{leases, sink, source};
use crate::config::Surroundings;
use crate::config::settings::{AccessSettings, LeaseStoreSettings, Settings, SinkSettings};
use crate::wiring::aws::{Aws, Service};

/// How long a call may take: far more than any of them does.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// How long the chain of credentials may take, which asks several places in turn.
const CREDENTIALS_LIMIT: Duration = Duration::from_secs(15);

/// A call that is given up after a while.
pub(super) async fn limited<T>(call: impl Future<Output = Tried<T>>) -> Tried<T> {
    within(CALL_LIMIT, call).await
}

async fn within<T>(limit: Duration, call: impl Future<Output = Tried<T>>) -> Tried<T> {
    let silence = || Refusal {
        class: ErrorClass::Transient,
        code: None,
        message: format!("did not answer within {} s", limit.as_secs()),
    };
    tokio::time::timeout(limit, call).await.unwrap_or_else(|_| Err(silence()))
}

/// A service with what is needed to ask it; `None` in place of one that is not used, or whose credentials are missing.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) config: SdkConfig,
    pub(super) place: Place,
    pub(super) caller: Option<Caller>,
}

impl Client {
    /// The account of its credentials, if STS told.
    pub(super) fn account(&self) -> Option<&str> {
        self.caller.as_ref().map(|caller| caller.account.as_str())
    }
}

/// What is asked, and for what.
struct Use<'a> {
    service: Service,
    name: &'static str,
    used_for: &'static str,
    access: Option<&'a AccessSettings>,
}

/// Tries everything that this configuration needs.
pub(super) async fn rows(settings: &Settings, surroundings: &Surroundings) -> Vec<Row> {
    let aws = Aws::load(&settings.aws).await;
    let reading = Use {
        service: Service::Kinesis,
        name: "Kinesis",
        used_for: judge::READING,
        access: Some(&settings.source.access),
    };
    let leasing = matches!(settings.leases.store, LeaseStoreSettings::DynamoDb { .. }).then_some(Use {
        service: Service::DynamoDb,
        name: "DynamoDB",
        used_for: "leases",
        access: None,
    });
    let writing = match &settings.sink {
        SinkSettings::Firehose(firehose) => Some(Use {
            service: Service::Firehose,
            name: "Firehose",
            used_for: "the sink",
            access: Some(&firehose.access),
        }),
        SinkSettings::S3 { access, .. } => {
            Some(Use { service: Service::S3, name: "S3", used_for: "the sink", access: Some(access) })
        }
        SinkSettings::Directory { .. } | SinkSettings::Stdout => None,
    };
    let ((mut rows, reading), (more, leasing), (yet_more, writing)) = tokio::join!(
        open(&aws, Some(reading), surroundings),
        open(&aws, leasing, surroundings),
        open(&aws, writing, surroundings)
    );
    rows.extend(more);
    rows.extend(yet_more);
    let mut rows = merged(rows);
    let (streams, (table, table_rows), sink_rows) = tokio::join!(
        source::streams(settings, reading.as_ref()),
        leases::look(settings, &aws, leasing.as_ref()),
        sink::rows(settings, &aws, writing.as_ref())
    );
    // What needs both the streams and the leases.
    let (reads, failover) =
        tokio::join!(source::reads(&streams, reading.as_ref(), &table), leases::observe(settings, &table));
    rows.extend(source::rows(&streams, &reads, reading.as_ref(), &table));
    rows.extend(table_rows);
    rows.extend(leases::against_streams(settings, &table, &streams));
    rows.extend(failover);
    rows.extend(sink_rows);
    rows
}

/// Rows that say the same of several uses become one.
fn merged(rows: Vec<Row>) -> Vec<Row> {
    let mut merged: Vec<Row> = Vec::new();
    for row in rows {
        let same = |one: &&mut Row| Row { on: row.on.clone(), ..(**one).clone() } == row;
        match merged.iter_mut().find(same) {
            Some(one) => one.on = format!("{}, {}", one.on, row.on),
            None => merged.push(row),
        }
    }
    merged
}

/// The configuration of a service, once its credentials are there.
async fn open(aws: &Aws, used: Option<Use<'_>>, surroundings: &Surroundings) -> (Vec<Row>, Option<Client>) {
    let Some(Use { service, name, used_for, access }) = used else { return (Vec::new(), None) };
    let config = aws.service(service, access).await;
    let Some(region) = config.region().map(ToString::to_string) else {
        let row =
            Row::failed("Region", used_for, "there is none").fix("set aws.region in the configuration, or AWS_REGION");
        return (vec![row], None);
    };
    let role = access.and_then(|access| access.role_arn.as_deref());
    let found = within(CREDENTIALS_LIMIT, probe::credentials(&config)).await;
    let mut rows = vec![judge::credentials(used_for, role, &found)];
    if found.is_err() {
        return (rows, None);
    }
    let place = Place { service: name, region, endpoint: config.endpoint_url().map(str::to_owned) };
    let mut who = None;
    if place.endpoint.is_none() || has_own_sts(surroundings) {
        let caller = limited(probe::caller(&config)).await;
        rows.push(judge::caller(used_for, &caller));
        who = caller.ok();
    } else {
        let says = format!("{name} has an endpoint of its own, and STS has none: set AWS_ENDPOINT_URL_STS");
        rows.push(Row::not_tried("sts:GetCallerIdentity", used_for, says));
    }
    (rows, Some(Client { config, place, caller: who }))
}

/// Whether STS is at another address too. Beside a stand-in, nobody means AWS's own.
fn has_own_sts(surroundings: &Surroundings) -> bool {
    let is_set = |name: &str| surroundings.environment.iter().any(|(found, value)| found == name && !value.is_empty());
    is_set("AWS_ENDPOINT_URL_STS") || is_set("AWS_ENDPOINT_URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_for_several_uses_is_said_once() {
        let row = |on: &str, says: &str| Row::good("credentials", on, says);
        let rows = merged(vec![row("reading", "A"), row("leases", "B"), row("the sink", "A")]);
        assert_eq!(rows, [row("reading, the sink", "A"), row("leases", "B")]);
    }
}
