//! What answers mean: pure functions from what was seen to rows.

use std::collections::BTreeSet;
use std::time::Duration;

use penstock_aws::probe::{Caller, CredentialsSeen, DeliverySeen, ReadSeen, Refusal, StreamSeen, TableSeen, Tried};
use penstock_core::lease::LeaseRow;
use penstock_core::position::Position;
use penstock_engine::ports::ErrorClass;

use super::arn;
use super::iam::{self, Action};
use super::report::Row;

mod failover;

pub(super) use failover::{Sight, Sights, failover};

/// A signature that is further off than this is refused.
const SKEW_REFUSED: i64 = 300;
/// What is worth a word: the arrival times of records are compared with our clock.
const SKEW_NOTED: i64 = 5;
/// The payload and the body of the largest answer to a fetch.
const FETCH_BYTES: u64 = 24 << 20;
/// Shards that one fetch at a time can serve without long waits: each takes some tens of milliseconds.
const SHARDS_PER_FETCH: u64 = 100;

/// The use of the credentials that read the streams.
pub(super) const READING: &str = "reading";

/// Where a client's calls go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) service: &'static str,
    pub(super) region: String,
    /// Another address than the Region's.
    pub(super) endpoint: Option<String>,
}

impl Place {
    /// What to look at when nobody answers.
    fn unreachable(&self) -> String {
        let Self { service, region, endpoint } = self;
        match endpoint {
            Some(endpoint) => format!("is anything listening at {endpoint}, and is it allowed through?"),
            None => format!(
                "is there a way to {service} in {region}: a VPC endpoint or a NAT gateway, its route, the security group, DNS?"
            ),
        }
    }
}

/// A call that needs one permission.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) action: Action,
    /// What it was tried on, in short.
    pub(super) on: &'a str,
    pub(super) resource: &'a str,
    pub(super) place: &'a Place,
}

impl Call<'_> {
    /// The row of what came back.
    pub(super) fn row<T>(&self, tried: &Tried<T>, says: impl FnOnce(&T) -> String) -> Row {
        match tried {
            Ok(seen) => Row::good(self.action.name, self.on, says(seen)),
            Err(refusal) => self.refused(refusal),
        }
    }

    /// The row of a refusal.
    pub(super) fn refused(&self, refusal: &Refusal) -> Row {
        let row = Row::failed(self.action.name, self.on, &refusal.message);
        if refusal.is_missing_permission() {
            return row.granting(self.action.on(self.resource));
        }
        if refusal.is_silence() {
            return row.fix(self.place.unreachable());
        }
        if refusal.class == ErrorClass::Throttled {
            let says = format!("throttled, so the permission is there: {}", refusal.message);
            return Row::warning(self.action.name, self.on, says);
        }
        match refusal.code.as_deref() {
            Some(code) if code.starts_with("KMS") => row.fix(kms(code)),
            Some(code) => row.fix(of_credentials(code).unwrap_or_default()),
            None => row,
        }
    }
}

/// What to do about a key of the stream.
fn kms(code: &str) -> String {
    match code {
        "KMSAccessDeniedException" => {
            format!(
                "allow kms:Decrypt on the key of the stream, here and in the key's own policy, as in {}",
                iam::DECRYPT_STREAM.policy
            )
        }
        "KMSDisabledException" => "enable the key of the stream".to_owned(),
        "KMSNotFoundException" => "the key of the stream is gone: give the stream another one".to_owned(),
        _ => "mend the key of the stream; nothing is lost meanwhile, within its retention".to_owned(),
    }
}

fn of_credentials(code: &str) -> Option<&'static str> {
    match code {
        "UnrecognizedClientException" | "InvalidClientTokenId" => {
            Some("this access key is not known there: look where the credentials come from, and at the Region")
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature" => {
            Some("look at the secret access key, and at the clock")
        }
        "ExpiredToken" | "ExpiredTokenException" => Some("renew the credentials"),
        "RequestExpired" => Some("set the clock"),
        "ResourceNotFoundException" => Some("look at the name, the Region and the account"),
        _ => None,
    }
}

/// Credentials for one use, and who they are.
pub(super) fn credentials(used_for: &str, role: Option<&str>, tried: &Tried<CredentialsSeen>) -> Row {
    match tried {
        Ok(CredentialsSeen { access_key_id, source, expires_in }) => {
            let expiry =
                expires_in.map_or(String::new(), |left| format!(", expire in {} min and are renewed", left / 60));
            Row::good("credentials", used_for, format!("{access_key_id} from {source}{expiry}"))
        }
        Err(refusal) => {
            let row = Row::failed("credentials", used_for, &refusal.message);
            match role {
                Some(_) if refusal.is_silence() => {
                    row.fix("is there a way to STS in aws.region: a VPC endpoint or a NAT gateway, the security group, DNS?")
                }
                Some(_) if refusal.code.as_deref().is_some_and(|code| of_credentials(code).is_some()) => {
                    row.fix(refusal.code.as_deref().and_then(of_credentials).unwrap_or_default())
                }
                Some(role) => {
                    let action = if used_for == READING { iam::ASSUME_SOURCE } else { iam::ASSUME_SINK };
                    let mut row = row.granting(action.on(role));
                    row.fix.push_str("; the role has to trust these credentials too, as in ");
                    row.fix.push_str(iam::TRUST);
                    row
                }
                None => row.fix("give the task or instance a role, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
            }
        }
    }
}

/// Who STS says that they are.
pub(super) fn caller(used_for: &str, tried: &Tried<Caller>) -> Row {
    const WHAT: &str = "sts:GetCallerIdentity";
    match tried {
        Ok(Caller { arn, .. }) => Row::good(WHAT, used_for, arn),
        Err(refusal) if refusal.is_silence() => {
            // Nothing else needs STS, but for roles to assume.
            let says = format!("nobody answered, so who the credentials are is not known: {}", refusal.message);
            Row::not_tried(WHAT, used_for, says)
        }
        Err(refusal) => {
            let fix = refusal.code.as_deref().and_then(of_credentials).unwrap_or_default();
            Row::failed(WHAT, used_for, &refusal.message).fix(fix)
        }
    }
}

/// The stream's state.
pub(super) fn stream_state(seen: &StreamSeen) -> Row {
    let mode = if seen.on_demand { "on demand" } else { "provisioned" };
    let hours = seen.retention.as_secs() / 3_600;
    let says = format!("{}, {mode}, {} open shards, keeps records {hours} h", seen.status, seen.open_shards);
    match seen.status.as_str() {
        "ACTIVE" | "UPDATING" => Row::good("stream", &seen.name, says),
        _ => Row::failed("stream", &seen.name, says)
            .fix("wait until it is ACTIVE; a stream that is being deleted has to be made again"),
    }
}

/// Whether a service's ARN is in the Region that is asked.
pub(super) fn region(on: &str, found: &str, place: &Place, key: &str) -> Option<Row> {
    let found = arn::parse(found)?.region;
    if found == place.region {
        return None;
    }
    // A stand-in has the Region that it likes.
    if place.endpoint.is_some() {
        return Some(Row::warning("Region", on, format!("its ARN says {found}, we ask in {}", place.region)));
    }
    let says = format!("its ARN says {found}, we ask in {}", place.region);
    Some(Row::failed("Region", on, says).fix(format!("set {key} to {found}")))
}

/// Whether the stream is another account's.
pub(super) fn account(seen: &StreamSeen, caller: Option<&Caller>) -> Option<Row> {
    let (owner, caller) = (arn::parse(&seen.arn)?.account, caller?);
    if owner == caller.account {
        return None;
    }
    let says = format!("the stream is account {owner}'s, the credentials are account {}'s", caller.account);
    let fix = format!("the stream's own policy has to allow reading too, as in {}", iam::CROSS_ACCOUNT);
    Some(Row::warning("account", &seen.name, says).fix(fix))
}

/// The key of the stream, as far as the one read shows.
pub(super) fn stream_key(seen: &StreamSeen, read: Option<&Tried<ReadSeen>>) -> Option<Row> {
    const WHAT: &str = "kms:Decrypt";
    let key = seen.key.as_deref()?;
    let on = seen.name.as_str();
    Some(match read {
        Some(Ok(read)) if read.records > 0 => Row::good(WHAT, on, format!("a record was read that {key} encrypts")),
        Some(Err(refusal)) if refusal.code.as_deref() == Some("KMSAccessDeniedException") => {
            Row::failed(WHAT, on, format!("{key}: {}", refusal.message)).granting(iam::DECRYPT_STREAM.on(key))
        }
        Some(Err(refusal)) if refusal.code.as_deref().is_some_and(|code| code.starts_with("KMS")) => {
            Row::failed(WHAT, on, format!("{key}: {}", refusal.message))
                .fix(kms(refusal.code.as_deref().unwrap_or_default()))
        }
        _ => Row::not_tried(WHAT, on, format!("{key} encrypts the stream, and there was no record to decrypt"))
            .fix(format!("allow {} on the key, as in {}", iam::DECRYPT_STREAM.name, iam::DECRYPT_STREAM.policy)),
    })
}

/// The clocks.
pub(super) fn clock(on: &str, ahead: Option<i64>) -> Option<Row> {
    let ahead = ahead?;
    let says = match ahead {
        0 => "as the service's".to_owned(),
        ahead if ahead > 0 => format!("{ahead} s ahead of the service's"),
        ahead => format!("{} s behind the service's", -ahead),
    };
    Some(match ahead.abs() {
        off if off >= SKEW_REFUSED => {
            Row::failed("clock", on, says).fix("set the clock: beyond five minutes S3 refuses every request")
        }
        off if off > SKEW_NOTED => {
            Row::warning("clock", on, says).fix("set the clock: lags and object times come from it")
        }
        _ => Row::good("clock", on, says),
    })
}

/// The lag that is known, against what the stream keeps.
pub(super) fn retention(seen: &StreamSeen, lag: Option<Duration>) -> Option<Row> {
    let lag = lag?;
    let share = lag.as_secs_f64() / seen.retention.as_secs_f64().max(1.0) * 100.0;
    let hours = seen.retention.as_secs() / 3_600;
    let says = format!("{} behind, {share:.0} % of the {hours} h that the stream keeps records", words(lag));
    Some(if share > 50.0 {
        Row::warning("retention", &seen.name, says)
            .fix("lengthen the stream's retention (kinesis:IncreaseStreamRetentionPeriod) before records are lost, then add workers")
    } else {
        Row::good("retention", &seen.name, says)
    })
}

fn words(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7_200 => format!("{} min", seconds / 60),
        _ => format!("{:.1} h", duration.as_secs_f64() / 3_600.0),
    }
}

/// The state of a table, and whether its key is ours.
pub(super) fn table(seen: &TableSeen, name: &str, key: &[&str]) -> Row {
    if seen.key != key {
        let says = format!("its key is {}, not {}", seen.key.join(", "), key.join(", "));
        return Row::failed("table", name, says).fix("set leases.table or application.name to a name of its own");
    }
    let kms = seen.kms_key.as_ref().map_or(String::new(), |key| format!(", encrypted with {key}"));
    match seen.status.as_str() {
        "" => Row::good("table", name, format!("there{kms}")),
        "ACTIVE" | "UPDATING" => Row::good("table", name, format!("{}{kms}", seen.status)),
        status @ "CREATING" => Row::warning("table", name, status).fix("`penstock run` waits for it"),
        status => Row::failed("table", name, status).fix("restore it, or set leases.table to another name"),
    }
}

/// Whether all shards find an owner.
pub(super) fn capacity(open_shards: u64, max_leases: Option<u64>, workers: u64) -> Option<Row> {
    let max = max_leases?;
    let room = max * workers.max(1);
    let says = format!(
        "{open_shards} open shards; {} with leases.max_leases = {max} take {room}",
        counted(workers.max(1), "worker")
    );
    Some(if room >= open_shards {
        Row::good("leases.max_leases", "all streams", says)
    } else {
        let needed = open_shards.div_ceil(max.max(1));
        Row::warning("leases.max_leases", "all streams", says)
            .fix(format!("start {needed} workers, or raise leases.max_leases: the other shards are read by nobody"))
    })
}

/// A number with its noun.
pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Whether the budget lets as many shards be read as one worker may hold.
pub(super) fn memory(budget: u64, open_shards: u64, workers: u64) -> Row {
    let fetches = (budget / 4 / FETCH_BYTES).max(1);
    let shards = open_shards.div_ceil(workers.max(1));
    let mib = budget >> 20;
    let says = format!(
        "{mib} MiB: {} at a time for {} of this worker",
        counted(fetches, "fetch").replace("fetchs", "fetches"),
        counted(shards, "shard")
    );
    if shards <= fetches * SHARDS_PER_FETCH {
        return Row::good("memory.budget", "this worker", says);
    }
    let needed = (shards.div_ceil(SHARDS_PER_FETCH) * 4 * FETCH_BYTES) >> 20;
    Row::warning("memory.budget", "this worker", says)
        .fix(format!("raise memory.budget to {needed}MiB, or start more workers"))
}

/// The delivery stream's state.
pub(super) fn delivery(name: &str, seen: &DeliverySeen, packs: Option<bool>) -> Row {
    if !seen.takes_puts() {
        return Row::failed(
            "delivery stream",
            name,
            format!("it takes its records from {}, not from puts", seen.source),
        )
        .fix("name one whose source is Direct PUT");
    }
    let does = if seen.does.is_empty() { "leaves records alone".to_owned() } else { seen.does.join(", ") };
    let packed = match packs {
        Some(true) => "; with sink.pack = \"auto\" records are packed",
        Some(false) => "; with sink.pack = \"auto\" records are not packed",
        None => "",
    };
    let key = seen.kms_key.as_ref().map_or(String::new(), |key| format!(", encrypts with {key}"));
    let says = format!("{}, {}, {does}{key}{packed}", seen.status, seen.source);
    match seen.status.as_str() {
        "ACTIVE" => Row::good("delivery stream", name, says),
        _ => Row::failed("delivery stream", name, says).fix("wait until it is ACTIVE, or make it again"),
    }
}

/// What a call without records tells: a missing permission, or nothing.
pub(super) fn put_records(call: &Call<'_>, tried: &Tried<()>) -> Row {
    let undecided = |says: String| {
        Row::not_tried(call.action.name, call.on, says)
            .fix(format!("make sure of it: {} on {}, as in {}", call.action.name, call.resource, call.action.policy))
    };
    match tried {
        Err(refusal) if refusal.is_missing_permission() || refusal.is_silence() => call.refused(refusal),
        Err(refusal) if refusal.class == ErrorClass::Denied => call.refused(refusal),
        // Whether the service looks at the permission before it looks at the request is not documented.
        Err(refusal) => {
            let code = refusal.code.as_deref().unwrap_or("no code");
            undecided(format!(
                "a call without records was refused as such ({code}), which tells nothing of the permission"
            ))
        }
        Ok(()) => undecided("a call without records was taken, which tells nothing of the permission".to_owned()),
    }
}

/// The workers that own leases.
pub(super) fn owners(rows: &[LeaseRow]) -> BTreeSet<&str> {
    let open = rows.iter().filter(|row| row.checkpoint != Position::ShardEnd);
    open.filter_map(|row| row.owner.as_ref().map(|owner| owner.as_str())).collect()
}

#[cfg(test)]
mod tests;
