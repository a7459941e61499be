//! Runs a plan: one world on one thread, on tokio's paused time. The same plan gives the same trace, byte for byte.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Once};
use std::time::Duration;

use penstock_core::intent::OutsideHashRange;
use penstock_core::random::Random;
use tokio::time::Instant;

use crate::cluster::{Cluster, FAILOVER};
use crate::ledger::{Ledger, Move};
use crate::plan::{Action, Plan};
use crate::stream::{ShardNumber, Streams};
use crate::world::{State, Trace, Violation, World};

/// How often workers are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a quiet world may take to settle everything: a few failover times, waits after errors included.
const PATIENCE: Duration = Duration::from_secs(300);

const NO_PANIC: &str = "no task panics";
const SETTLES: &str = "everything is settled, ended and balanced in the end";

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    /// What held to the end, or the invariant that did not.
    pub outcome: Result<Settled, Violation>,
    /// All that happened.
    pub trace: Trace,
}

/// A run that kept every invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// User records written, and settled.
    pub records: usize,
    /// Objects in the store.
    pub objects: usize,
    /// Deliveries of records that were delivered before (calls only).
    pub repeats: u64,
    /// Every lease that went from one worker to another.
    pub moves: Vec<Move>,
    /// The longest that nobody fetched from an open shard, once somebody had.
    pub silence: Duration,
    /// When everything was settled.
    pub at: Duration,
}

/// Runs a plan.
///
/// # Panics
/// If no runtime can be made.
#[must_use]
pub fn run(plan: &Plan) -> Run {
    listen_for_panics();
    PANICS.with_borrow_mut(Vec::clear);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime without IO needs nothing");
    let (world, end) = runtime.block_on(drive(plan));
    drop(runtime);
    world.with(|state| {
        if let Some(panic) = PANICS.with_borrow(|panics| panics.first().cloned()) {
            state.violation = Some(Violation { invariant: NO_PANIC, seen: panic });
        }
        let outcome = match state.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(settled(state, end)),
        };
        Run { outcome, trace: std::mem::take(&mut state.trace) }
    })
}

/// How the story ended, before the last drain.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    at: Duration,
    silence: Duration,
}

fn settled(state: &State, end: End) -> Settled {
    let State { streams, store, ledger, .. } = state;
    let End { at, silence } = end;
    let moves = ledger.moves.clone();
    Settled { records: streams.written(), objects: store.len(), repeats: ledger.repeats, moves, silence, at }
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The engine survives panics of single shards; a simulation must not.
fn listen_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            before(panic);
        }));
    });
}

/// Something that happens at a time.
enum Step {
    Act(Action),
    Write { users: u64 },
}

fn steps(plan: &Plan, random: &mut Random) -> Vec<(Duration, Step)> {
    let mut steps: Vec<(Duration, Step)> = plan.actions.iter().map(|(at, action)| (*at, Step::Act(*action))).collect();
    let until = u64::try_from(plan.write_until.as_millis()).unwrap_or(u64::MAX);
    for _ in 0..plan.records {
        // In bursts: a quarter of the records comes with whole seconds.
        let at = random.below(until);
        let at = if random.below(4) == 0 { at / 1000 * 1000 } else { at };
        let users = if random.below(8) == 0 { 2 + random.below(4) } else { 1 };
        steps.push((Duration::from_millis(at), Step::Write { users }));
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}

async fn drive(plan: &Plan) -> (Arc<World>, End) {
    let mut random = Random::seeded(plan.seed);
    let streams = Streams::new(plan.streams, plan.shards, plan.iterator_life);
    let world = Arc::new(World::new(streams, Ledger::new(FAILOVER, plan.check_rules)));
    let mut cluster = Cluster::new(plan.clone(), Arc::clone(&world), random.fork());
    let steps = steps(plan, &mut random);
    let mut end = End::default();
    let story = async {
        for slot in 0..plan.workers {
            cluster.act(Action::Start(slot)).await;
        }
        for (at, step) in steps {
            watch_until(&mut cluster, at).await;
            take(plan, &world, &mut cluster, step, &mut random).await;
        }
        watch_until(&mut cluster, plan.quiet_from()).await;
        cluster.calm().await;
        end.at = settle(&world, &mut cluster).await;
        end.silence = world.with(|state| state.streams.longest_silence(state.now));
        cluster.drain().await;
        // Whatever is still on the way must do no harm either.
        tokio::time::sleep(6 * FAILOVER).await;
    };
    tokio::select! {
        // Biased: a world in which an invariant is broken ends at once.
        biased;
        () = world.broken() => {}
        () = story => {}
    }
    (world, end)
}

async fn take(plan: &Plan, world: &World, cluster: &mut Cluster, step: Step, random: &mut Random) {
    match step {
        Step::Write { users } => world.with(|state| write(plan, state, users, random)),
        Step::Act(Action::Split) => world.with(|state| {
            let open = state.streams.open_shards();
            let chosen = open[usize::try_from(random.below(open.len() as u64)).unwrap_or(0)];
            split(state, chosen);
        }),
        Step::Act(Action::Merge) => world.with(|state| {
            let pairs = state.streams.neighbours();
            let chosen = usize::try_from(random.below(pairs.len() as u64)).unwrap_or(0);
            if let Some(pair) = pairs.get(chosen) {
                merge(state, *pair);
            }
        }),
        Step::Act(Action::Reshard(count)) => world.with(|state| reshard(state, count)),
        Step::Act(Action::Recreate(stream)) => world.with(|state| {
            state.note("", format_args!("stream {stream} is deleted and created again"));
            let wall = state.wall();
            state.streams.recreate(stream, wall);
            state.ledger.on_stream_gone(&state.streams);
        }),
        Step::Act(action) => cluster.act(action).await,
    }
}

fn write(plan: &Plan, state: &mut State, users: u64, random: &mut Random) {
    let (wall, stray) = (state.wall(), random.below(1000) < plan.strays);
    let strays = state.streams.put(users, stray, wall, random);
    let State { streams, ledger, .. } = state;
    let written = streams.written() as u64;
    for id in written - users..written {
        let Some((shard, _)) = streams.place(id) else { continue };
        match plan.outside {
            // An aggregate with a stray is dropped whole.
            OutsideHashRange::Drop if !strays.is_empty() => ledger.on_dropped(streams, shard, id),
            OutsideHashRange::SetAside if strays.contains(&id) => ledger.on_stray(id),
            _ => {}
        }
        if streams.is_of_recreated(shard) {
            ledger.on_unread(streams, shard, id);
        }
    }
}

fn split(state: &mut State, shard: ShardNumber) {
    let (key, wall) = (state.streams.shards()[shard].key.clone(), state.wall());
    state.note("", format_args!("splits {key}"));
    state.streams.split(shard, wall);
}

fn merge(state: &mut State, (one, other): (ShardNumber, ShardNumber)) {
    let (shards, wall) = (state.streams.shards(), state.wall());
    let (first, second) = (shards[one].key.clone(), shards[other].key.clone());
    state.note("", format_args!("merges {first} and {second}"));
    state.streams.merge(one, other, wall);
}

/// Splits or merges each open shard once at most, until there are `count`.
fn reshard(state: &mut State, count: usize) {
    let open = state.streams.open_shards();
    for shard in open.iter().take(count.saturating_sub(open.len())) {
        split(state, *shard);
    }
    let mut merged = BTreeSet::new();
    let mut left = open.len().saturating_sub(count);
    for (one, other) in state.streams.neighbours() {
        if left > 0 && !merged.contains(&one) && !merged.contains(&other) {
            merge(state, (one, other));
            merged.extend([one, other]);
            left -= 1;
        }
    }
}

/// Waits until then, and looks at the workers meanwhile.
async fn watch_until(cluster: &mut Cluster, at: Duration) {
    while let Some(left) = at.checked_sub(cluster.elapsed()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(LOOK)).await;
        cluster.look().await;
    }
}

async fn settle(world: &World, cluster: &mut Cluster) -> Duration {
    let until = Instant::now() + PATIENCE;
    loop {
        cluster.look().await;
        match cluster.unfinished() {
            None => return cluster.elapsed(),
            Some(unfinished) if Instant::now() >= until => {
                world.with(|state| state.broke(SETTLES, unfinished));
                return cluster.elapsed();
            }
            Some(_) => tokio::time::sleep(LOOK).await,
        }
    }
}
