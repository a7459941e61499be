//! Rows from made-up answers.

use std::collections::BTreeMap;

use penstock_core::ids::{LeaseCounter, LeaseKey, WorkerId};

use super::super::report::Outcome;
use super::*;

fn refusal(class: ErrorClass, code: Option<&str>) -> Refusal {
    Refusal { class, code: code.map(str::to_owned), message: "it is so".to_owned() }
}

fn place() -> Place {
    Place { service: "Kinesis", region: "us-east-1".to_owned(), endpoint: None }
}

fn stream() -> StreamSeen {
    StreamSeen {
        name: "clicks".to_owned(),
        arn: "arn:aws:kinesis:us-east-1:111122223333:stream/clicks".to_owned(),
        status: "ACTIVE".to_owned(),
        on_demand: false,
        retention: Duration::from_secs(24 * 3_600),
        created: penstock_core::time::UnixMillis(0),
        open_shards: 4,
        key: None,
        clock_ahead: Some(0),
    }
}

fn call(place: &Place) -> Call<'_> {
    Call { action: iam::GET_RECORDS, on: "clicks", resource: "arn:aws:kinesis:us-east-1:1:stream/clicks", place }
}

#[test]
fn a_missing_permission_is_named_with_its_resource_and_the_file_that_has_it() {
    let place = place();
    for code in ["AccessDeniedException", "AccessDenied"] {
        let row = call(&place).refused(&refusal(ErrorClass::Denied, Some(code)));
        assert_eq!(row.outcome, Outcome::Failed);
        let grant = row.grant.unwrap();
        assert_eq!(
            (grant.action, grant.resource.as_str(), grant.policy),
            ("kinesis:GetRecords", "arn:aws:kinesis:us-east-1:1:stream/clicks", "deploy/iam/source-polling.json")
        );
    }
}

#[test]
fn silence_sends_to_the_network_or_to_the_endpoint_and_never_to_a_policy() {
    let mut place = place();
    let row = call(&place).refused(&refusal(ErrorClass::Transient, None));
    assert!(row.fix.contains("VPC endpoint") && row.fix.contains("security group"), "{row:?}");
    assert_eq!(row.grant, None);
    place.endpoint = Some("http://127.0.0.1:4567".to_owned());
    let row = call(&place).refused(&refusal(ErrorClass::Transient, None));
    assert!(row.fix.contains("http://127.0.0.1:4567"), "{row:?}");
    // A service that is ill answers.
    let row = call(&place).refused(&refusal(ErrorClass::Transient, Some("InternalFailure")));
    assert_eq!(row.fix, "");
}

#[test]
fn a_throttled_call_shows_its_permission() {
    let place = place();
    let row = call(&place).refused(&refusal(ErrorClass::Throttled, Some("ProvisionedThroughputExceededException")));
    assert_eq!((row.outcome, row.grant), (Outcome::Warning, None));
}

#[test]
fn a_key_that_is_refused_is_named_and_one_without_records_is_not_vouched_for() {
    let mut stream = stream();
    assert_eq!(stream_key(&stream, None), None);
    stream.key = Some("arn:aws:kms:us-east-1:1:key/k".to_owned());
    let read = |records| Ok(ReadSeen { records, behind: Duration::ZERO });
    assert_eq!(stream_key(&stream, Some(&read(1))).unwrap().outcome, Outcome::Good);
    assert_eq!(stream_key(&stream, Some(&read(0))).unwrap().outcome, Outcome::NotTried);
    let denied = Err(refusal(ErrorClass::Denied, Some("KMSAccessDeniedException")));
    let grant = stream_key(&stream, Some(&denied)).unwrap().grant.unwrap();
    assert_eq!((grant.action, grant.resource.as_str()), ("kms:Decrypt", "arn:aws:kms:us-east-1:1:key/k"));
    assert_eq!(grant.policy, "deploy/iam/source-kms.json");
    let disabled = Err(refusal(ErrorClass::Denied, Some("KMSDisabledException")));
    assert!(stream_key(&stream, Some(&disabled)).unwrap().fix.contains("enable"));
}

#[test]
fn half_of_the_retention_is_where_it_gets_late() {
    let outcome = |hours: u64| retention(&stream(), Some(Duration::from_secs(hours * 3_600))).unwrap().outcome;
    assert_eq!([outcome(0), outcome(12), outcome(13), outcome(30)], {
        [Outcome::Good, Outcome::Good, Outcome::Warning, Outcome::Warning]
    });
    assert_eq!(retention(&stream(), None), None);
}

#[test]
fn clocks_that_differ_are_told_before_and_after_signatures_are_refused() {
    for (ahead, outcome) in [
        (0, Outcome::Good),
        (-5, Outcome::Good),
        (6, Outcome::Warning),
        (-299, Outcome::Warning),
        (300, Outcome::Failed),
    ] {
        assert_eq!(clock("Kinesis", Some(ahead)).unwrap().outcome, outcome, "{ahead}");
    }
}

#[test]
fn an_arn_of_another_region_is_refused_with_the_key_to_set() {
    let arn = "arn:aws:kinesis:eu-west-1:1:stream/clicks";
    let row = region("clicks", arn, &place(), "source.region").unwrap();
    assert!(row.outcome == Outcome::Failed && row.fix == "set source.region to eu-west-1", "{row:?}");
    assert_eq!(region("clicks", "arn:aws:kinesis:us-east-1:1:stream/clicks", &place(), "source.region"), None);
    let stand_in = Place { endpoint: Some("http://127.0.0.1:1".to_owned()), ..place() };
    assert_eq!(region("clicks", arn, &stand_in, "source.region").unwrap().outcome, Outcome::Warning);
}

#[test]
fn a_stream_of_another_account_needs_a_policy_of_its_own() {
    let caller = |account: &str| Caller { account: account.to_owned(), arn: String::new() };
    assert_eq!(account(&stream(), Some(&caller("111122223333"))), None);
    let row = account(&stream(), Some(&caller("444455556666"))).unwrap();
    assert!(row.fix.contains("source-cross-account.resource-policy.json"), "{row:?}");
}

#[test]
fn shards_that_nobody_may_take_are_counted() {
    assert_eq!(capacity(10, None, 1), None);
    assert_eq!(capacity(10, Some(5), 2).unwrap().outcome, Outcome::Good);
    let row = capacity(11, Some(5), 2).unwrap();
    assert!(row.outcome == Outcome::Warning && row.fix.contains("start 3 workers"), "{row:?}");
    // Before the first one runs, this one is counted.
    assert_eq!(capacity(5, Some(5), 0).unwrap().outcome, Outcome::Good);
}

#[test]
fn a_budget_is_held_against_the_shards_of_one_worker() {
    assert_eq!(memory(256 << 20, 200, 1).outcome, Outcome::Good);
    assert_eq!(memory(256 << 20, 400, 2).outcome, Outcome::Good);
    let row = memory(256 << 20, 1_000, 1);
    assert!(row.outcome == Outcome::Warning && row.fix.contains("960MiB"), "{row:?}");
    assert_eq!(memory(960 << 20, 1_000, 1).outcome, Outcome::Good);
}

#[test]
fn a_call_without_records_tells_a_missing_permission_and_nothing_else() {
    let place = place();
    let call = Call { action: iam::PUT_RECORDS, ..call(&place) };
    let of = |tried: Tried<()>| put_records(&call, &tried).outcome;
    assert_eq!(of(Err(refusal(ErrorClass::Denied, Some("AccessDeniedException")))), Outcome::Failed);
    assert_eq!(of(Err(refusal(ErrorClass::Rejected, Some("ValidationException")))), Outcome::NotTried);
    assert_eq!(of(Err(refusal(ErrorClass::Transient, None))), Outcome::Failed);
    assert_eq!(of(Ok(())), Outcome::NotTried);
}

#[test]
fn a_delivery_stream_that_reads_a_stream_itself_takes_no_puts() {
    let seen = |source: &str, status: &str| DeliverySeen {
        arn: String::new(),
        status: status.to_owned(),
        source: source.to_owned(),
        does: vec!["processes records"],
        kms_key: None,
    };
    assert_eq!(delivery("to-lake", &seen("DirectPut", "ACTIVE"), Some(true)).outcome, Outcome::Good);
    assert_eq!(delivery("to-lake", &seen("DirectPut", "CREATING_FAILED"), None).outcome, Outcome::Failed);
    assert_eq!(delivery("to-lake", &seen("KinesisStreamAsSource", "ACTIVE"), None).outcome, Outcome::Failed);
    assert_eq!(delivery("to-lake", &seen("MSKAsSource", "ACTIVE"), None).outcome, Outcome::Failed);
}

#[test]
fn a_table_with_another_key_is_somebody_elses() {
    let seen = |key: &str, status: &str| TableSeen {
        arn: String::new(),
        status: status.to_owned(),
        key: vec![key.to_owned()],
        kms_key: None,
    };
    let of = |key, status| table(&seen(key, status), "t", &["leaseKey"]).outcome;
    assert_eq!(of("orderId", "ACTIVE"), Outcome::Failed);
    assert_eq!([of("leaseKey", "ACTIVE"), of("leaseKey", "")], [Outcome::Good, Outcome::Good]);
    assert_eq!([of("leaseKey", "CREATING"), of("leaseKey", "ARCHIVED")], [Outcome::Warning, Outcome::Failed]);
}

/// Looks each quarter of a second at leases that their owner renews each `every` seconds, each begun at another time.
fn sights(owner: &str, leases: u32, every: f64, looked: f64) -> Sights {
    let mut sights = Vec::new();
    let mut at = 0.0;
    while at <= looked {
        let sight = |lease: u32| {
            let phase = f64::from(lease) / f64::from(leases) * every;
            let writes = ((at + phase) / every).floor();
            let counter = format!("{writes:.0}").parse().unwrap();
            (format!("shard-{lease}"), Sight { owner: owner.to_owned(), counter, progress: "7".to_owned() })
        };
        sights.push((Duration::from_secs_f64(at), (0..leases).map(sight).collect()));
        at += 0.25;
    }
    sights
}

#[test]
fn the_failover_time_of_others_is_read_from_their_renewals() {
    let ours = Duration::from_secs(10);
    for (leases, every, outcome) in [
        (1, 3.3, Outcome::Good),
        (20, 3.3, Outcome::Good),
        (20, 10.0, Outcome::Warning),
        (20, 1.0, Outcome::Warning),
        (1, 1.0, Outcome::Warning),
        // One lease that moves once or never within the look tells nothing, or that it is late.
        (1, 60.0, Outcome::Warning),
        (1, 7.0, Outcome::NotTried),
    ] {
        let rows = failover(&sights("java", leases, every, 7.5), ours);
        assert_eq!(rows[0].outcome, outcome, "{leases} every {every}: {rows:?}");
        assert!(rows[0].says.contains("looked 7.5 s"), "{rows:?}");
    }
    // Checkpoints come whenever there is one, and say nothing of renewals.
    let mut busy = sights("java", 20, 1.0, 7.5);
    for (at, sights) in &mut busy {
        sights.values_mut().for_each(|sight| sight.progress = format!("{at:?}"));
    }
    assert_eq!(failover(&busy, ours)[0].outcome, Outcome::NotTried);
    // Leases that are quiet for a part of the look only: what few renewals were seen may be chance.
    let mut partly = sights("java", 5, 2.0, 7.5);
    for (at, sights) in partly.iter_mut().filter(|(at, _)| at.as_secs_f64() > 2.0) {
        sights.values_mut().for_each(|sight| sight.progress = format!("{at:?}"));
    }
    assert_eq!(failover(&partly, ours)[0].outcome, Outcome::NotTried);
    // A short look at a long failover time is no evidence.
    assert_eq!(failover(&sights("java", 1, 60.0, 7.5), Duration::from_secs(60))[0].outcome, Outcome::NotTried);
    assert_eq!(failover(&vec![(Duration::ZERO, BTreeMap::new())], ours)[0].outcome, Outcome::NotTried);
}

#[test]
fn only_owners_of_open_shards_are_workers() {
    let row = |key: &str, owner: Option<&str>, checkpoint| {
        let mut row = LeaseRow::new(LeaseKey::new(key), LeaseCounter(1), checkpoint);
        row.owner = owner.map(WorkerId::new);
        row
    };
    let rows = [
        row("a", Some("one"), Position::TrimHorizon),
        row("b", Some("one"), Position::TrimHorizon),
        row("c", Some("gone"), Position::ShardEnd),
        row("d", None, Position::TrimHorizon),
    ];
    assert_eq!(owners(&rows).into_iter().collect::<Vec<_>>(), ["one"]);
}

#[test]
fn credentials_that_a_role_refuses_name_the_role_and_its_file() {
    let denied = Err(refusal(ErrorClass::Denied, None));
    for (used_for, policy) in [(READING, "assume-source-role.json"), ("the sink", "assume-sink-role.json")] {
        let grant = credentials(used_for, Some("arn:aws:iam::1:role/r"), &denied).grant.unwrap();
        assert_eq!((grant.action, grant.resource.as_str()), ("sts:AssumeRole", "arn:aws:iam::1:role/r"));
        assert_eq!(grant.policy, format!("deploy/iam/{policy}"));
    }
    let expired = Err(refusal(ErrorClass::Denied, Some("ExpiredToken")));
    assert_eq!(credentials(READING, Some("arn:aws:iam::1:role/r"), &expired).fix, "renew the credentials");
    let silent = Err(refusal(ErrorClass::Transient, None));
    let row = credentials(READING, Some("arn:aws:iam::1:role/r"), &silent);
    assert!(row.grant.is_none() && row.fix.contains("STS"), "{row:?}");
    let row = credentials(READING, None, &denied);
    assert!(row.grant.is_none() && row.fix.contains("AWS_PROFILE"), "{row:?}");
}
