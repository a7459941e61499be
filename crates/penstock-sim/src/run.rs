//! Runs a plan: one world on one thread, on tokio's paused time. The same plan gives the same trace, byte for byte.

use std::cell::RefCell;
use std::sync::{Arc, Once};
use std::time::Duration;

use penstock_core::random::Random;
use tokio::time::Instant;

use crate::cluster::{Cluster, FAILOVER};
use crate::ledger::Ledger;
use crate::plan::{Action, Plan};
use crate::stream::Stream;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// User records written, and settled.
    pub records: usize,
    /// Objects in the store.
    pub objects: usize,
    /// Deliveries of records that were delivered before (calls only).
    pub repeats: u64,
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
    let (world, settled_at) = runtime.block_on(drive(plan));
    drop(runtime);
    world.with(|state| {
        if let Some(panic) = PANICS.with_borrow(|panics| panics.first().cloned()) {
            state.violation = Some(Violation { invariant: NO_PANIC, seen: panic });
        }
        let outcome = match state.violation.take() {
            Some(violation) => Err(violation),
            None => Ok(settled(state, settled_at)),
        };
        Run { outcome, trace: std::mem::take(&mut state.trace) }
    })
}

fn settled(state: &State, at: Duration) -> Settled {
    let State { stream, store, ledger, .. } = state;
    Settled { records: stream.written(), objects: store.len(), repeats: ledger.repeats, at }
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

async fn drive(plan: &Plan) -> (Arc<World>, Duration) {
    let mut random = Random::seeded(plan.seed);
    let stream = Stream::new(plan.shards, plan.iterator_life);
    let world = Arc::new(World::new(stream, Ledger::new(FAILOVER, plan.check_rules)));
    let mut cluster = Cluster::new(plan.clone(), Arc::clone(&world), random.fork());
    let steps = steps(plan, &mut random);
    let mut settled_at = Duration::ZERO;
    let story = async {
        for slot in 0..plan.workers {
            cluster.act(Action::Start(slot)).await;
        }
        for (at, step) in steps {
            watch_until(&mut cluster, at).await;
            take(&world, &mut cluster, step, &mut random).await;
        }
        watch_until(&mut cluster, plan.quiet_from()).await;
        cluster.calm().await;
        settled_at = settle(&world, &mut cluster).await;
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
    (world, settled_at)
}

async fn take(world: &World, cluster: &mut Cluster, step: Step, random: &mut Random) {
    match step {
        Step::Write { users } => world.with(|state| {
            let wall = state.wall();
            state.stream.put(users, wall, random);
        }),
        Step::Act(Action::Split) => world.with(|state| {
            let open = state.stream.open_shards();
            let chosen = open[usize::try_from(random.below(open.len() as u64)).unwrap_or(0)];
            state.note("", format_args!("split shard {chosen}"));
            state.stream.split(chosen);
        }),
        Step::Act(Action::Merge) => world.with(|state| {
            let pairs = state.stream.neighbours();
            if let Some((one, other)) =
                pairs.get(usize::try_from(random.below(pairs.len() as u64)).unwrap_or(0)).copied()
            {
                state.note("", format_args!("merge shards {one} and {other}"));
                state.stream.merge(one, other);
            }
        }),
        Step::Act(action) => cluster.act(action).await,
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
