//! `penstock leases` on real tables, beside real workers: what an operator releases, sets, converts and acknowledges, what is
//! refused, and what a worker makes of it afterwards.

mod support;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use penstock_standins::call;
use serde_json::{Value, json};
use support::{
    Account, Job, Local, Output, Place, Reader, SOON, Store, Stream, Teller, Told, Worker, dynamodb, run, wait_until,
};

const APPLICATION: &str = "clicks-to-files";
const SHARD: &str = "shardId-000000000000";

/// Makes two tests of each body, `<body>::sqlite` and `<body>::dynamodb`.
macro_rules! on_both_stores {
    ($($body:ident),+ $(,)?) => {
        $(mod $body {
            #[test]
            fn sqlite() {
                super::$body(super::support::Store::Sqlite);
            }

            #[test]
            fn dynamodb() {
                super::$body(super::support::Store::DynamoDb);
            }
        })+
    };
}

on_both_stores! {
    an_operator_releases_a_dead_worker_s_leases_and_sets_positions,
    a_sequence_number_of_another_shard_is_no_position,
    a_table_of_the_other_form_is_refused_until_it_is_converted,
    force_takes_a_lease_from_a_live_worker,
    reading_goes_on_at_the_position_that_was_set,
    a_child_s_position_waits_for_the_end_of_its_parent,
    a_child_s_position_waits_for_a_parent_without_a_lease,
}

/// A stream, and a job from it into a directory.
struct World {
    account: Account,
    local: Local,
    stream: Stream,
    job: Job,
    teller: Teller,
    reader: Reader,
}

impl World {
    fn new(store: Store, shards: u32) -> Self {
        let (account, local) = (Account::new(), Local::start(&[]));
        let stream = Stream::create(&local.endpoint(), &account, "clicks", shards);
        let sections = format!(
            "{}[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"1s\"\nbuffer_size = \"1MiB\"\n",
            store.section("failover_time = \"2s\"\n")
        );
        let job = Job::new(&account, &store.services(&local), APPLICATION, "clicks", &sections);
        let reader = Reader::new(Place::directory(job.out()));
        Self { account, local, stream, job, teller: Teller::plain(), reader }
    }

    fn tell(&mut self, count: u64) {
        self.teller.tell(&self.stream, count, 100);
    }

    #[track_caller]
    fn wait_for_all(&mut self) {
        self.reader.wait_for_all(&self.teller, SOON);
    }

    /// Starts a worker, and ends it once the sink has so many records.
    #[track_caller]
    fn run_until_there_are(&mut self, count: u64, label: &str) {
        let mut worker = Worker::start(&self.job, label);
        self.reader.wait_for_some(count, SOON);
        worker.drain_cleanly();
    }

    /// The records that were delivered, once or more.
    fn delivered(&mut self) -> BTreeSet<u64> {
        self.reader.look();
        let lines = self.reader.objects().flat_map(|object| object.content.split(|byte| *byte == b'\n'));
        let told = lines.filter(|line| !line.is_empty()).map(serde_json::from_slice::<Told>);
        told.map(|told| told.expect("a record that was told").id).collect()
    }

    fn leases(&self, arguments: &[&str]) -> Output {
        run(&self.job, &[&["leases"], arguments, &["-c", "penstock.toml"]].concat())
    }

    /// `leases list`; a table that is not there yet is empty.
    fn list(&self) -> Value {
        serde_json::from_str(&self.leases(&["list", "--json"]).stdout).unwrap_or_default()
    }

    fn rows(&self) -> Vec<Value> {
        self.list()["leases"].as_array().cloned().unwrap_or_default()
    }

    /// The row of a shard; `null` if there is none.
    fn row(&self, shard: &str) -> Value {
        self.rows().into_iter().find(|row| row["shard"] == shard).unwrap_or_default()
    }

    /// A tool that is forced meets a write of the live worker now and then: it is called again, as it asks for.
    #[track_caller]
    fn forced(&self, arguments: &[&str]) -> Output {
        let mut output = self.leases(arguments);
        wait_until("the worker leaves the tool a moment", SOON, || {
            let collided = output.code == 1 && output.stderr.contains("changed meanwhile");
            if collided {
                output = self.leases(arguments);
            }
            !collided
        });
        output
    }
}

/// Now, apart from the records before and after it.
fn a_moment_apart() -> String {
    let pause = Duration::from_millis(20);
    thread::sleep(pause);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    thread::sleep(pause);
    let millis = i64::try_from(since.as_millis()).expect("it is not that late");
    jiff::Timestamp::from_millisecond(millis).expect("a time").to_string()
}

fn delivered_by(worker: &mut Worker) -> f64 {
    worker.metrics().sum("penstock_records_delivered_total")
}

fn losses(worker: &mut Worker) -> f64 {
    worker.metrics().sum("penstock_lease_losses_total")
}

#[track_caller]
fn assert_said(output: &Output, words: &str) {
    assert!(output.code == 0 && output.stdout.contains(words), "{words:?} is not in {output:?}");
}

#[track_caller]
fn assert_refused(output: &Output, words: &str) {
    assert!(output.code == 1 && output.stderr.contains(words), "{words:?} is not in {output:?}");
}

fn an_operator_releases_a_dead_worker_s_leases_and_sets_positions(store: Store) {
    let mut world = World::new(store, 1);
    let mut one = Worker::start(&world.job, "one");
    world.tell(100);
    world.wait_for_all();
    assert_refused(&world.leases(&["set-position", SHARD, "--to", "TRIM_HORIZON"]), "alive");
    one.kill_9();
    assert_said(&world.leases(&["release", SHARD]), "released");
    assert_eq!(world.row(SHARD)["owner"], Value::Null);

    assert_said(&world.leases(&["set-position", SHARD, "--to", "TRIM_HORIZON"]), "delivered again");
    let gap = world.list()["gaps"][0].clone();
    assert!(gap["reason"] == "position_set" && gap["open"] == true, "{gap:#}");
    assert_said(&world.leases(&["acknowledge-gap", gap["id"].as_str().expect("an id")]), "acknowledged");
    assert_eq!(world.list()["gaps"][0]["open"], false);
    assert_said(&world.leases(&["acknowledge-gap", "--all"]), "no gap is open");

    // The batch is cut where it was before, so its object has the same key and holds the same: it stands there once.
    let mut two = Worker::start(&world.job, "two");
    wait_until("everything is delivered again", SOON, || delivered_by(&mut two) >= 100.0);
    two.drain_cleanly();
}

fn a_sequence_number_of_another_shard_is_no_position(store: Store) {
    let mut world = World::new(store, 2);
    world.tell(100);
    world.run_until_there_are(100, "one");
    let checkpoints = |world: &World| {
        let of = |row: &Value| row["checkpoint"].as_str().expect("a checkpoint").to_owned();
        world.rows().iter().map(of).collect::<Vec<_>>()
    };
    let before = checkpoints(&world);
    let sequence = |shard: usize| before[shard].split('/').next().expect("a sequence number").to_owned();
    let (own, foreign) = (sequence(0), sequence(1));
    let set = |world: &World, to: &str| world.leases(&["set-position", SHARD, "--to", to]);

    for wrong in [foreign.as_str(), "4959"] {
        assert_refused(&set(&world, wrong), "of no record of shardId-000000000000");
    }
    assert_eq!(checkpoints(&world), before, "nothing was written");
    let set_on = set(&world, &format!("{own}/7"));
    assert!(set_on.code == 0 && set_on.stdout.contains("skipped") && set_on.stderr.is_empty(), "{set_on:?}");
    assert_eq!(checkpoints(&world)[0], format!("{own}/7"));

    world.local.stop();
    let unasked = set(&world, &foreign);
    assert!(unasked.code == 0 && unasked.stderr.contains("is not known"), "{unasked:?}");
    assert_eq!(checkpoints(&world)[0], foreign);
}

fn force_takes_a_lease_from_a_live_worker(store: Store) {
    let mut world = World::new(store, 1);
    let mut one = Worker::start(&world.job, "one");
    world.tell(100);
    world.wait_for_all();
    // Each column of the list has its value while a worker is at it.
    let told = ["owner", "arrival_milliseconds", "lag_milliseconds", "throughput_kib_per_second"];
    wait_until("the row tells all", SOON, || {
        let row = world.row(SHARD);
        told.iter().all(|name| !row[name].is_null())
    });
    let owner = world.row(SHARD)["owner"].clone();
    assert_refused(&world.leases(&["release", SHARD]), "alive");
    assert_eq!((world.row(SHARD)["owner"].clone(), losses(&mut one)), (owner.clone(), 0.0));

    let released = world.forced(&["release", SHARD, "--force"]);
    assert_said(&released, &format!("released, it belonged to {}", owner.as_str().expect("an owner")));
    wait_until("it has lost the lease", SOON, || losses(&mut one) >= 1.0);
    world.tell(100);
    world.wait_for_all();

    let before = delivered_by(&mut one);
    let set = world.forced(&["set-position", SHARD, "--to", "TRIM_HORIZON", "--force"]);
    assert_said(&set, "delivered again");
    wait_until("it has lost the lease again", SOON, || losses(&mut one) >= 2.0);
    wait_until("everything is delivered again", SOON, || delivered_by(&mut one) >= before + 200.0);
    one.drain_cleanly();
    world.reader.verdict(&world.teller).assert_at_least_once();
}

fn reading_goes_on_at_the_position_that_was_set(store: Store) {
    let set = |world: &World, to: &str| world.leases(&["set-position", SHARD, "--to", to]);
    let mut world = World::new(store, 1);
    world.tell(100);
    world.run_until_there_are(100, "one");

    let before_the_skipped = a_moment_apart();
    world.tell(100);
    assert_said(&set(&world, "LATEST"), "skipped");
    world.tell(100);
    world.run_until_there_are(200, "at-the-tip");
    assert_eq!(world.delivered(), (0..100).chain(200..300).collect());

    world.tell(100);
    let time = a_moment_apart();
    world.tell(100);
    assert_said(&set(&world, &time), "skipped");
    world.run_until_there_are(300, "at-a-time");
    assert_eq!(world.delivered(), (0..100).chain(200..300).chain(400..500).collect());

    assert_said(&set(&world, &before_the_skipped), "delivered again");
    world.run_until_there_are(500, "at-an-earlier-time");
    assert_eq!(world.delivered(), (0..500).collect());
    let list = world.list();
    let open: Vec<&Value> = list["gaps"].as_array().expect("gaps").iter().filter(|gap| gap["open"] == true).collect();
    assert!(open.len() == 3 && open.iter().all(|gap| gap["reason"] == "position_set"), "{open:#?}");
}

fn a_child_s_position_waits_for_the_end_of_its_parent(store: Store) {
    let mut world = World::new(store, 1);
    world.tell(100);
    world.stream.split(&world.stream.open_shards()[0]);
    world.tell(100);
    world.run_until_there_are(200, "one");
    let child = world.stream.open_shards()[0].id.clone();
    let set = |world: &World, shard: &str| world.leases(&["set-position", shard, "--to", "TRIM_HORIZON"]);
    assert_eq!(world.row(SHARD)["checkpoint"], "SHARD_END");
    assert_said(&set(&world, &child), "delivered again");

    assert_said(&set(&world, SHARD), "set back from SHARD_END");
    let before = world.row(&child);
    assert_refused(&set(&world, &child), &format!("the parent {SHARD} of {child} is not read to its end"));
    assert_eq!(world.row(&child), before);
    // With all others it is refused as a whole.
    let gaps = world.list()["gaps"].clone();
    assert_refused(&world.leases(&["set-position", "--all", "--to", "TRIM_HORIZON"]), "is not read to its end");
    assert_eq!(world.list()["gaps"], gaps);

    let mut two = Worker::start(&world.job, "two");
    wait_until("the parent is at its end again", SOON, || world.row(SHARD)["checkpoint"] == "SHARD_END");
    two.drain_cleanly();
    assert_said(&set(&world, &child), "");
}

fn a_child_s_position_waits_for_a_parent_without_a_lease(store: Store) {
    let mut world = World::new(store, 1);
    world.tell(100);
    world.stream.split(&world.stream.open_shards()[0]);
    // From the tip on only the children are read.
    world.job.edit("[source]\n", "[source]\nstart = \"LATEST\"\n");
    let mut one = Worker::start(&world.job, "one");
    wait_until("the children have leases", SOON, || world.rows().len() == 2);
    one.drain_cleanly();
    let (child, before) = (world.stream.open_shards()[0].id.clone(), world.rows());
    assert_eq!(world.row(SHARD), Value::Null);
    let refused = world.leases(&["set-position", &child, "--to", "TRIM_HORIZON"]);
    assert_refused(&refused, &format!("the parent {SHARD} of {child} has no lease yet and is still in the stream"));
    assert_eq!(world.rows(), before);
}

fn a_table_of_the_other_form_is_refused_until_it_is_converted(store: Store) {
    let mut world = World::new(store, 2);
    let views = Stream::create(&world.local.endpoint(), &world.account, "views", 2);
    let mut one = Worker::start(&world.job, "one");
    world.tell(300);
    world.wait_for_all();
    world.job.edit("streams = [\"clicks\"]", "streams = [\"clicks\", \"views\"]");
    let convert = |world: &World, more: &[&str]| world.leases(&[&["convert"], more].concat());
    let before: Vec<Value> = world.rows().iter().map(|row| row["lease"].clone()).collect();
    assert_refused(&convert(&world, &["--stream", "clicks"]), "alive");
    assert_eq!(world.rows().iter().map(|row| row["lease"].clone()).collect::<Vec<_>>(), before);
    assert_eq!(losses(&mut one), 0.0);
    one.drain_cleanly();

    let mut refused = Worker::start(&world.job, "refused");
    assert_eq!(refused.exit_code(SOON), 1, "{}", refused.log());
    assert!(refused.log().contains("penstock leases convert"), "{}", refused.log());
    assert_refused(&convert(&world, &[]), "--stream");
    assert_said(&convert(&world, &["--stream", "clicks"]), "shardId-000000000000 is now ");
    assert_said(&convert(&world, &["--stream", "clicks"]), "nothing to convert");

    let mut both = Worker::start(&world.job, "both");
    world.tell(300);
    world.teller.tell(&views, 300, 100);
    world.wait_for_all();
    both.drain_cleanly();
    let verdict = world.reader.verdict(&world.teller);
    verdict.assert_at_least_once();
    assert_eq!(verdict.repeats, 0, "it goes on where it stood");
}

/// The items of the lease table, as they are.
fn items(world: &World) -> Vec<Value> {
    let scan = json!({"TableName": APPLICATION, "ConsistentRead": true});
    let answer = call(&dynamodb().endpoint(), world.account.id(), "DynamoDB_20120810.Scan", &scan);
    let mut items = answer["Items"].as_array().expect("a scan answers with items").clone();
    items.sort_by_key(|item| item["leaseKey"]["S"].to_string());
    items
}

fn put(world: &World, item: &Value) {
    let put = json!({"TableName": APPLICATION, "Item": item});
    call(&dynamodb().endpoint(), world.account.id(), "DynamoDB_20120810.PutItem", &put);
}

/// On DynamoDB, where a row can be put back as it was.
#[test]
fn a_conversion_that_was_cut_short_is_finished_by_the_next_run_and_takes_no_other_row_for_its_own() {
    let mut world = World::new(Store::DynamoDb, 2);
    world.tell(300);
    world.run_until_there_are(300, "one");
    world.job.edit("failover_time", "keys = \"multi\"\nfailover_time");
    let old = items(&world);
    assert_said(&world.leases(&["convert"]), "shardId-000000000000 is now ");
    let new = items(&world);
    assert!(new.len() == 2 && new.iter().all(|item| !old.contains(item)), "{new:#?}");

    // The run ended between making the new row of the second lease and removing the old one.
    put(&world, &old[1]);
    let again = world.leases(&["convert"]);
    assert_said(&again, "shardId-000000000001 is now ");
    assert!(!again.stdout.contains("shardId-000000000000"), "{again:?}");
    assert_eq!(items(&world), new);

    // A worker was at the old row meanwhile.
    let mut moved = old[1].clone();
    moved["checkpointSubSequenceNumber"] = json!({"N": "7"});
    put(&world, &moved);
    assert_refused(&world.leases(&["convert"]), "does not hold what the old one holds");
    assert_eq!(items(&world).len(), 3, "both are there");
}
