//! What happens in a run, and when: plain values, so that a run is a function of its plan.

use std::time::Duration;

use penstock_core::coordinator::api::InitialPosition;
use penstock_core::intent::OutsideHashRange;

use crate::network::{Faults, Outage, Seam};
use crate::stream::StreamNumber;

/// Where records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkKind {
    /// Objects with a recorded intent: exactly once.
    Objects,
    /// Calls: at least once.
    Calls {
        /// What the sink says of the boundaries of entries.
        packable: Option<bool>,
        /// Whether there are records that it never takes.
        poison: bool,
    },
}

/// The place of a worker; who is killed there is followed by another with an owner string of its own.
pub type Slot = usize;

/// A tool of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Writes the owner out.
    Release,
    /// Sets a position ahead of the checkpoint, where no intent is open; what lies between is noted and skipped.
    SetPosition,
    /// Gives up what the open intent holds; that is noted.
    AbandonIntent,
}

/// Something that happens to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// An open shard is split.
    Split,
    /// Two neighbouring open shards are merged.
    Merge,
    /// Open shards are split or merged until there are so many, as far as each takes part once.
    Reshard(usize),
    /// A stream is deleted and created again under its name.
    Recreate(StreamNumber),
    /// The retention ends of all that arrived longer ago than this, and of shards that were closed before.
    Trim(Duration),
    /// A worker starts, unless one runs there.
    Start(Slot),
    /// A worker ends without a goodbye. What it sent is still on the way.
    Kill(Slot),
    /// A worker stands still: nothing it sends takes effect, nothing comes back.
    Freeze(Slot),
    /// It goes on with what it had decided.
    Thaw(Slot),
    /// A worker is cut off from one seam for a while.
    Cut(Slot, Seam, Duration),
    /// A worker hears no answer of one seam for a while, although everything that it asks for comes about.
    Deafen(Slot, Seam, Duration),
    /// No worker is served by one seam for a while.
    Outage(Seam, Outage, Duration),
    /// A worker is told to end.
    Drain(Slot),
    /// A program of another make writes an owned row: it keeps the owner, adds one to the counter and changes nothing else. The
    /// owner's next write is rejected by a row that looks as its own success would, but for what the write was about.
    Touch,
    /// An operator uses a tool on some row.
    Tool(Tool),
    /// An operator deletes some row.
    Erase,
    /// Some row cannot be read any more.
    Damage,
    /// Rows that could not be read can be read again.
    Repair,
    /// A worker of the KCL takes a lease.
    KclTakes,
    /// It checkpoints what it processed of the leases that it holds.
    KclCheckpoints,
    /// It notes a pending checkpoint in the leases that it holds.
    KclPrepares,
    /// It gives them up.
    KclLeaves,
    /// It creates the rows of listed shards that have none, where the stream is to be begun.
    KclSyncs,
    /// It deletes a completed row whose children are read already.
    KclCleans,
    /// A leader of the KCL 3 begins to hand a lease over to a worker of its own.
    Kcl3HandsOver,
    /// That worker gets the leases that it was promised.
    Kcl3Assigns,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Draws everything that is not written here.
    pub seed: u64,
    /// Where records go.
    pub sink: SinkKind,
    /// The streams.
    pub streams: usize,
    /// The shards of each at the beginning.
    pub shards: usize,
    /// The workers at the beginning.
    pub workers: usize,
    /// Where shards start that nobody has read.
    pub initial: InitialPosition,
    /// Whether settings that touch bytes differ: every second worker of the beginning, and all that start later, have others.
    pub mixed_settings: bool,
    /// The records that are written, and until when.
    pub records: u64,
    /// When the last of them is written.
    pub write_until: Duration,
    /// Of a thousand aggregates, how many hold user records that hash outside the shard.
    pub strays: u64,
    /// What becomes of those.
    pub outside: OutsideHashRange,
    /// The largest page of a fetch.
    pub largest_page: u64,
    /// How long an iterator lives.
    pub iterator_life: Duration,
    /// The time between two fetches of a shard that is caught up.
    pub idle_interval: Duration,
    /// The most leases that a worker asks for in one cycle.
    pub max_steals: usize,
    /// The size that closes a batch, in bytes.
    pub buffer_size: u64,
    /// The age that closes a batch.
    pub buffer_interval: Duration,
    /// The bytes that a worker may hold.
    pub memory_budget: u64,
    /// Whether calls of one shard keep their order.
    pub ordered_calls: bool,
    /// What goes wrong on the way.
    pub faults: Faults,
    /// What happens when.
    pub actions: Vec<(Duration, Action)>,
    /// Whether the rules of the protocol are checked beside what they are good for.
    pub check_rules: bool,
}

impl Plan {
    /// A quiet world: two workers, three shards, nothing goes wrong.
    #[must_use]
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            sink: SinkKind::Objects,
            streams: 1,
            shards: 3,
            workers: 2,
            initial: InitialPosition::TrimHorizon,
            mixed_settings: false,
            records: 200,
            write_until: Duration::from_secs(40),
            strays: 0,
            outside: OutsideHashRange::Deliver,
            largest_page: 12,
            iterator_life: Duration::from_secs(300),
            idle_interval: Duration::from_secs(1),
            max_steals: 1,
            buffer_size: 60,
            buffer_interval: Duration::from_secs(5),
            memory_budget: 256 << 20,
            ordered_calls: false,
            faults: Faults::default(),
            actions: Vec::new(),
            check_rules: true,
        }
    }

    /// The same with something that happens.
    #[must_use]
    pub fn at(mut self, millis: u64, action: Action) -> Self {
        self.actions.push((Duration::from_millis(millis), action));
        self
    }

    /// When the last thing happens that is not the workers' own doing.
    #[must_use]
    pub fn quiet_from(&self) -> Duration {
        let acted = self.actions.iter().map(|(at, action)| match action {
            Action::Cut(_, _, lasts) | Action::Deafen(_, _, lasts) | Action::Outage(_, _, lasts) => *at + *lasts,
            _ => *at,
        });
        let late = self.faults.until + Duration::from_millis(self.faults.latest);
        acted.chain([self.write_until, late]).max().unwrap_or_default()
    }
}
