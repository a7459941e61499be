//! A stream or two, a lease table and a directory that penstock and Java consumers share, and what came of every record.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use penstock_standins::{DynamoDbLocal, KinesisLocal, call};
use serde_json::json;
use tempfile::TempDir;

use crate::java::{Java, Journal, Kcl, Orders};
use crate::support::{
    Account, Job, Local, Place, Proof, Reader, Services, Shard, Stream, Teller, Worker, lease_rows, wait_until,
};

/// The same for every worker on the table. Short, so that a test takes over quickly; long enough for two busy cores.
const FAILOVER: Duration = Duration::from_secs(3);
pub(crate) const APPLICATION: &str = "clicks-on-the-kcl";
const STREAM: &str = "clicks";
/// The key of the KCL's own record of its version.
pub(crate) const VERSION_RECORD: &str = "Migration3.0";
/// A KCL worker may wait 30 s before it makes the first leases.
pub(crate) const LONG: Duration = Duration::from_secs(120);
/// How often a KCL worker renews in a failover time.
const RENEWALS: u64 = 3;
/// How often records are added while something is waited for.
const TRICKLE: Duration = Duration::from_millis(300);

/// Where the stream is.
pub(crate) enum Kinesis {
    /// `penstock local`.
    Ours(Local),
    /// kinesis-local: independent of us, and slow.
    Independent(KinesisLocal),
}

impl Kinesis {
    pub(crate) fn ours() -> Self {
        Self::Ours(Local::start(&["--no-limits"]))
    }

    pub(crate) fn independent() -> Self {
        Self::Independent(KinesisLocal::start())
    }

    fn endpoint(&self) -> String {
        match self {
            Self::Ours(local) => local.endpoint(),
            Self::Independent(local) => local.endpoint(),
        }
    }

    /// The most records of a test: kinesis-local takes below 2,000.
    fn capacity(&self) -> u64 {
        match self {
            Self::Ours(_) => 50_000,
            Self::Independent(_) => 1_500,
        }
    }
}

/// One for all tests: accounts keep them apart.
fn dynamodb() -> String {
    static SHARED: OnceLock<DynamoDbLocal> = OnceLock::new();
    SHARED.get_or_init(DynamoDbLocal::start).endpoint()
}

/// The attributes of a row, as text.
pub(crate) type Row = BTreeMap<String, String>;

/// Everything that one test works on.
pub(crate) struct World {
    account: Account,
    kinesis: Kinesis,
    streams: Vec<Stream>,
    job: Job,
    teller: Teller,
    reader: Reader,
    journals: Vec<PathBuf>,
    dir: TempDir,
    last_trickle: Instant,
}

impl World {
    /// An empty stream with so many shards, and no table yet.
    pub(crate) fn new(kinesis: Kinesis, shards: u32) -> Self {
        Self::of_streams(kinesis, &[STREAM], shards)
    }

    /// Two empty streams with so many shards each, and no table yet.
    pub(crate) fn of_two_streams(kinesis: Kinesis, shards: u32) -> Self {
        Self::of_streams(kinesis, &[STREAM, "views"], shards)
    }

    fn of_streams(kinesis: Kinesis, names: &[&str], shards: u32) -> Self {
        let account = Account::new();
        let create = |name: &&str| Stream::create(&kinesis.endpoint(), &account, name, shards);
        let streams: Vec<Stream> = names.iter().map(create).collect();
        let services = Services { kinesis: kinesis.endpoint(), dynamodb: dynamodb(), ..Services::default() };
        let sections = format!(
            "[leases]\nfailover_time = \"{}s\"\n[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"1s\"\n",
            FAILOVER.as_secs()
        );
        let job = Job::new(&account, &services, APPLICATION, &names.join("\", \""), &sections);
        let reader = Reader::new(Place::directory(job.out()));
        let dir = TempDir::with_prefix("penstock-interop-").expect("a temporary directory");
        let teller = Teller::aggregating().padded(20);
        Self { account, kinesis, streams, job, teller, reader, journals: Vec::new(), dir, last_trickle: Instant::now() }
    }

    /// Starts a Java consumer.
    pub(crate) fn java(&mut self, kcl: Kcl, name: &str) -> Java {
        self.start_java(kcl, name, false)
    }

    /// Starts a Java consumer that goes no further in each shard than the middle of an aggregate.
    pub(crate) fn halting_java(&mut self, kcl: Kcl, name: &str) -> Java {
        self.start_java(kcl, name, true)
    }

    fn start_java(&mut self, kcl: Kcl, name: &str, halts: bool) -> Java {
        let streams: Vec<&str> = self.streams.iter().map(|stream| stream.name.as_str()).collect();
        let orders = Orders {
            kcl,
            account: self.account.id(),
            kinesis: self.kinesis.endpoint(),
            dynamodb: dynamodb(),
            stream: &streams.join(","),
            application: APPLICATION,
            failover: FAILOVER,
            halts,
        };
        let java = Java::start(&orders, name, self.dir.path());
        self.journals.push(java.journal_file());
        java
    }

    /// Starts a penstock worker.
    pub(crate) fn penstock(&self, label: &str, settings: &[&str]) -> Worker {
        Worker::start_with(&self.job, label, settings)
    }

    /// The job that penstock's workers share.
    pub(crate) fn job(&self) -> &Job {
        &self.job
    }

    /// Puts more user records.
    pub(crate) fn tell(&mut self, count: u64) {
        let room = self.kinesis.capacity().saturating_sub(self.teller.told());
        self.teller.tell_all(&self.streams, count.min(room), 50);
    }

    /// Splits the open shard of which `is_meant` holds, by its row.
    #[track_caller]
    pub(crate) fn split(&self, is_meant: impl Fn(&Row) -> bool) -> Shard {
        let [stream] = &self.streams[..] else { panic!("of which stream?") };
        let rows = self.leases();
        let open = stream.open_shards();
        let meant = open.into_iter().find(|shard| rows.get(&shard.id).is_some_and(&is_meant));
        let shard = meant.unwrap_or_else(|| panic!("no such shard: {rows:#?}"));
        stream.split(&shard);
        shard
    }

    /// All rows of the table by key, of whatever kind.
    pub(crate) fn rows(&self) -> BTreeMap<String, Row> {
        lease_rows(&dynamodb(), &self.account, APPLICATION)
    }

    /// The rows of shards.
    pub(crate) fn leases(&self) -> BTreeMap<String, Row> {
        self.rows().into_iter().filter(|(key, _)| is_lease(key)).collect()
    }

    /// Puts the KCL's record of its version in another state, as its leader or its migration tool does.
    pub(crate) fn record_version(&self, state: &str) {
        let update = json!({
            "TableName": APPLICATION, "Key": {"leaseKey": {"S": VERSION_RECORD}}, "UpdateExpression": "SET cv = :state",
            "ConditionExpression": "attribute_exists(leaseKey)", "ExpressionAttributeValues": {":state": {"S": state}},
        });
        call(&dynamodb(), self.account.id(), "DynamoDB_20120810.UpdateItem", &update);
    }

    /// How many unfinished shards a worker owns.
    pub(crate) fn held_by(&self, name: &str) -> usize {
        let unfinished = |row: &&Row| row["checkpoint"] != "SHARD_END";
        self.leases().values().filter(unfinished).filter(|row| is_owned_by(row, name)).count()
    }

    /// Waits for two failover times of a KCL worker that holds all leases, told by its renewals; fails if it loses one.
    #[track_caller]
    pub(crate) fn wait_while_it_renews(&self, name: &str) {
        let counter = |row: &Row| row["leaseCounter"].parse::<u64>().expect("a counter is a number");
        let before = self.leases();
        wait_until(&format!("{name} renews"), LONG, || {
            let now = self.leases();
            for (shard, row) in &now {
                assert!(is_owned_by(row, name), "{shard} is not {name}'s any more: {row:#?}");
            }
            now.iter().all(|(shard, row)| counter(row) >= counter(&before[shard]) + 2 * RENEWALS)
        });
    }

    /// Waits while records keep coming.
    #[track_caller]
    pub(crate) fn wait_under_load(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        wait_until(what, LONG, || {
            if self.last_trickle.elapsed() >= TRICKLE {
                self.last_trickle = Instant::now();
                self.tell(5);
            }
            condition(self)
        });
    }

    /// Waits until every record told so far was settled by a Java consumer or is in the directory.
    #[track_caller]
    pub(crate) fn wait_for_all(&mut self) {
        let told = self.teller.told();
        let mut found = 0;
        wait_until(&format!("all {told} records are processed"), LONG, || {
            found = self.everything().found();
            found >= told
        });
    }

    /// What Java consumers settled and what is in the directory.
    fn everything(&mut self) -> Proof {
        let mut proof = self.in_directory();
        for journal in self.journals.iter().map(|file| Journal::read(file)) {
            journal.settled().iter().for_each(|entry| proof.look(entry.data.as_bytes(), &entry.shard));
        }
        proof
    }

    fn in_directory(&mut self) -> Proof {
        self.reader.look();
        let mut proof = Proof::default();
        for object in self.reader.in_order() {
            let lines = object.content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            lines.for_each(|line| proof.look(line, &object.key));
        }
        proof
    }

    /// Whether an object begins at this position: `SEQ` or `SEQ/SUB`.
    pub(crate) fn objects_begin_at(&mut self, position: &str) -> bool {
        self.reader.look();
        self.reader.objects().any(|object| object.metadata.get("penstock-first").is_some_and(|first| first == position))
    }

    /// Lets nothing more be written: where the directory was, there is a file.
    pub(crate) fn take_the_directory_away(&self) {
        let out = self.job.out();
        fs::rename(&out, out.with_extension("away")).expect("the directory can be moved");
        File::create(&out).expect("a file in the temporary directory");
    }

    /// Puts the directory back, as it was.
    pub(crate) fn give_the_directory_back(&self) {
        let out = self.job.out();
        fs::remove_file(&out).expect("the file is there");
        fs::rename(out.with_extension("away"), &out).expect("the directory can be moved back");
    }

    /// How many records are in the directory.
    pub(crate) fn delivered(&mut self) -> u64 {
        self.reader.found()
    }

    /// Every record was settled by exactly one side, exactly once, and each side had the records of a key in their order.
    #[track_caller]
    pub(crate) fn assert_each_once(&mut self) {
        self.assert_each_once_but_for(&[]);
    }

    /// As [`World::assert_each_once`], but for what Java may repeat where it took a lease from a penstock that ran: the one batch
    /// whose objects were written and whose commit came too late. `taken` has a shard once for each time.
    #[track_caller]
    pub(crate) fn assert_each_once_but_for(&mut self, taken: &[String]) {
        let told = self.teller.told();
        let everything = self.everything().verdict(told);
        everything.assert_at_least_once();
        let in_directory = self.in_directory().verdict(told);
        assert!(in_directory.repeats == 0, "penstock repeated {:?}", in_directory.repeated);
        assert!(in_directory.out_of_order.is_empty(), "penstock: {:#?}", in_directory.out_of_order);
        let mut by_java = Proof::default();
        for file in &self.journals {
            let journal = Journal::read(file);
            journal.settled().iter().for_each(|entry| by_java.look(entry.data.as_bytes(), &entry.shard));
            let mut processed = Proof::default();
            journal.of("record").for_each(|entry| processed.look(entry.data.as_bytes(), &entry.shard));
            let processed = processed.verdict(told);
            assert!(processed.out_of_order.is_empty(), "{}: {:#?}", file.display(), processed.out_of_order);
        }
        let by_java = by_java.verdict(told);
        assert!(by_java.repeats == 0, "the Java consumers repeated {:?}", by_java.repeated);
        let late = self.batches_that_java_repeated();
        let allowed = |shard: &String| taken.iter().filter(|taken| *taken == shard).count();
        let unexpected: Vec<_> = late.iter().filter(|(shard, batches)| batches.len() > allowed(shard)).collect();
        assert!(unexpected.is_empty(), "processed by penstock and by Java: {unexpected:#?}; taken were {taken:?}");
    }

    /// The ends of penstock's batches with a record that Java settled too, by shard.
    fn batches_that_java_repeated(&self) -> BTreeMap<String, BTreeSet<String>> {
        let journals: Vec<Journal> = self.journals.iter().map(|file| Journal::read(file)).collect();
        let settled: BTreeSet<&[u8]> =
            journals.iter().flat_map(Journal::settled).map(|entry| entry.data.as_bytes()).collect();
        let leases = self.leases();
        let mut batches: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for object in self.reader.objects() {
            if object.content.split(|byte| *byte == b'\n').any(|line| settled.contains(line)) {
                let said = |name: &str| object.metadata.get(name).cloned().unwrap_or_default();
                let (stream, shard) = (said("penstock-stream"), said("penstock-shard"));
                let is_its = |key: &&String| **key == shard || is_of_several(key, &stream, &shard);
                let lease = leases.keys().find(is_its).expect("an object is of a shard with a lease");
                batches.entry(lease.clone()).or_default().insert(said("penstock-last"));
            }
        }
        batches
    }
}

/// Whether a key of several streams is that of this stream's shard.
fn is_of_several(key: &str, stream: &str, shard: &str) -> bool {
    let parts: Vec<&str> = key.split(':').collect();
    matches!(parts[..], [_, name, _, id] if name == stream && id == shard)
}

/// Whether a key is that of a shard, in an application of one stream or of several.
pub(crate) fn is_lease(key: &str) -> bool {
    key.rsplit(':').next().is_some_and(|shard| shard.starts_with("shardId-"))
}

/// Whether a row is a worker's: Java's names are whole, penstock's begin with the label.
pub(crate) fn is_owned_by(row: &Row, name: &str) -> bool {
    row.get("leaseOwner").is_some_and(|owner| owner == name || owner.starts_with(&format!("{name}-")))
}

/// A row's checkpoint, with its subsequence number.
pub(crate) fn checkpoint(row: &Row) -> (String, String) {
    (row["checkpoint"].clone(), row["checkpointSubSequenceNumber"].clone())
}
