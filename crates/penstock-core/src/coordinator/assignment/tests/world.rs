//! A table and its workers, reduced to what a choice sees and does: scans, takes, wishes and handovers in any order, some scans
//! in pairs that see the same picture.

use super::*;

#[derive(Debug, Clone)]
struct Entry {
    row: LeaseRow,
    /// When the row last changed.
    changed: u64,
    /// When another worker last took it.
    moved: Option<u64>,
    /// Who held it last.
    last: Option<WorkerId>,
}

/// What one worker decided on what it saw.
struct Decision {
    worker: usize,
    take: Vec<LeaseKey>,
    /// Each with the wish that stood there before.
    want: Vec<(LeaseKey, Option<WorkerId>)>,
}

#[derive(Debug, Clone)]
pub(super) struct World {
    entries: Vec<Entry>,
    /// Those that live, each with its limits.
    workers: Vec<(WorkerId, Limits)>,
    now: u64,
    random: Random,
    /// What is read through each lease on the average, in KiB per second; empty where throughputs stand still.
    means: Vec<u64>,
    /// How often a lease changed hands.
    pub(super) moves: usize,
}

impl World {
    /// `counts[n]` leases for the n-th worker, and `free` unowned ones.
    pub(super) fn new(counts: &[usize], free: usize, limits: Limits, seed: u64) -> Self {
        let workers: Vec<_> = (0..counts.len()).map(|worker| (name(worker), limits)).collect();
        let owners = counts.iter().enumerate().flat_map(|(worker, count)| vec![Some(name(worker)); *count]);
        let entries = owners.chain(vec![None; free]).enumerate().map(|(index, owner)| {
            let key = LeaseKey::new(&format!("shardId-{index:012}"));
            let mut row = LeaseRow::new(key, LeaseCounter(1), Position::TrimHorizon);
            row.owner.clone_from(&owner);
            row.taken_by.clone_from(&owner);
            Entry { row, changed: 0, moved: None, last: owner }
        });
        Self { entries: entries.collect(), workers, now: 0, random: Random::seeded(seed), means: Vec::new(), moves: 0 }
    }

    pub(super) fn with_loads(mut self, mut load: impl FnMut(&mut Random) -> u64) -> Self {
        for entry in &mut self.entries {
            entry.row.throughput = Some(Throughput::from_micros(load(&mut self.random) * 1_000_000));
        }
        self
    }

    /// From here on what is read through each lease is up to three tenths off its mean, anew before each renewal.
    pub(super) fn with_noise(mut self) -> Self {
        let mean = |entry: &Entry| entry.row.throughput.map_or(0, |throughput| throughput.micros() / 1_000_000);
        self.means = self.entries.iter().map(mean).collect();
        self
    }

    /// What is read through the n-th lease on the average.
    pub(super) fn drift(&mut self, mut mean: impl FnMut(usize) -> u64) {
        self.means.iter_mut().enumerate().for_each(|(index, of_lease)| *of_lease = mean(index));
    }

    pub(super) fn with_caps(mut self, caps: &[usize]) -> Self {
        for ((_, limits), cap) in self.workers.iter_mut().zip(caps) {
            limits.max_leases = Some(*cap);
        }
        self
    }

    /// The last `count` workers are gone; their leases are released, or expire.
    pub(super) fn leave(&mut self, count: usize, released: bool) {
        self.workers.truncate(self.workers.len() - count);
        for index in 0..self.entries.len() {
            let owner = &self.entries[index].row.owner;
            if released && owner.as_ref().is_some_and(|owner| self.index(owner).is_none()) {
                self.change(index, |row| row.owner = None);
            }
        }
    }

    fn index(&self, id: &WorkerId) -> Option<usize> {
        self.workers.iter().position(|(worker, _)| worker == id)
    }

    /// As long as four scans of a worker take, as in the product, and more than can pass between two: four rounds.
    fn cooldown(&self) -> u64 {
        12 * self.workers.len() as u64
    }

    fn failover(&self) -> u64 {
        8 * self.workers.len() as u64
    }

    fn change(&mut self, index: usize, change: impl FnOnce(&mut LeaseRow)) {
        let entry = &mut self.entries[index];
        change(&mut entry.row);
        entry.changed = self.now;
    }

    fn is_held(&self, entry: &Entry) -> bool {
        entry.row.owner.as_ref().is_some_and(|owner| self.index(owner).is_some())
    }

    /// What a worker would do.
    fn decide(&self, worker: usize, seed: u64) -> Decision {
        let (me, limits) = &self.workers[worker];
        let leases: Vec<Lease<'_>> = self.entries.iter().map(|entry| self.lease(entry, me)).collect();
        let Choice { take, want } = choose(&leases, me, *limits, &mut Random::seeded(seed));
        let before = |key: &LeaseKey| {
            let entry = self.entries.iter().find(|entry| entry.row.key == *key);
            entry.and_then(|entry| entry.row.wanted.clone())
        };
        let want = want.into_iter().map(|key| (key.clone(), before(&key))).collect();
        Decision { worker, take, want }
    }

    /// How many leases a worker would ask for.
    pub(super) fn wanted(&self, worker: usize) -> usize {
        self.decide(worker, 1).want.len()
    }

    fn lease<'a>(&self, entry: &'a Entry, me: &WorkerId) -> Lease<'a> {
        let still = if self.is_held(entry) { 0 } else { self.now - entry.changed };
        let resting = entry.moved.is_some_and(|moved| self.now - moved < self.cooldown());
        let mine = entry.row.owner.as_ref() == Some(me);
        Lease {
            row: &entry.row,
            expired: still > self.failover(),
            very_old: still > 3 * self.failover(),
            mine,
            barred: !mine && resting && entry.last.as_ref() != Some(me) && entry.row.granted.as_ref() != Some(me),
            resting,
            asked: !mine && entry.row.wanted.as_ref() == Some(me),
        }
    }

    fn carry_out(&mut self, decision: Decision) {
        let me = self.workers[decision.worker].0.clone();
        for key in decision.take {
            let Some(index) = self.entries.iter().position(|entry| entry.row.key == key) else { continue };
            if self.is_held(&self.entries[index]) {
                continue;
            }
            if self.entries[index].last.as_ref() != Some(&me) {
                self.moves += 1;
                self.entries[index].moved = Some(self.now);
            }
            self.entries[index].last = Some(me.clone());
            self.change(index, |row| {
                (row.owner, row.wanted, row.granted) = (Some(me.clone()), None, None);
                row.taken_by.clone_from(&row.owner);
            });
        }
        for (key, before) in decision.want {
            let Some(index) = self.entries.iter().position(|entry| entry.row.key == key) else { continue };
            let row = &self.entries[index].row;
            if row.wanted == before && row.owner.is_some() && row.owner.as_ref() != Some(&me) {
                self.change(index, |row| row.wanted = Some(me.clone()));
            }
        }
    }

    /// A holder answers what it is asked, and gives up what it granted before.
    fn renew(&mut self, worker: usize) {
        let me = self.workers[worker].0.clone();
        for index in 0..self.entries.len() {
            if self.entries[index].row.owner.as_ref() != Some(&me) {
                continue;
            }
            self.measure(index);
            let row = &self.entries[index].row;
            if row.granted.is_some() {
                self.change(index, |row| row.owner = None);
            } else if row.wanted.is_some() {
                self.change(index, |row| row.granted.clone_from(&row.wanted));
            }
        }
    }

    /// What was read since the last renewal, smoothed as the meter does it.
    fn measure(&mut self, index: usize) {
        let Some(mean) = self.means.get(index).map(|mean| mean * 1_000_000) else { return };
        let latest = Throughput::from_micros(mean * 7 / 10 + self.random.below(mean * 6 / 10 + 1));
        let stored = &mut self.entries[index].row.throughput;
        *stored = Some(stored.map_or(latest, |stored| stored.smoothed(latest)));
    }

    /// Every worker scans once and renews twice, in any order. Where they race, neighbouring scans may see the same picture.
    pub(super) fn round(&mut self, racing: bool) {
        let each = |worker| [(worker, true), (worker, false), (worker, false)];
        let mut events: Vec<(usize, bool)> = (0..self.workers.len()).flat_map(each).collect();
        self.random.shuffle(&mut events);
        let mut seen: Vec<Decision> = Vec::new();
        for (index, (worker, scans)) in events.iter().enumerate() {
            self.now += 1;
            if !scans {
                self.renew(*worker);
                continue;
            }
            let seed = self.random.next_u64();
            seen.push(self.decide(*worker, seed));
            let next_scans = events.get(index + 1).is_some_and(|(_, scans)| *scans);
            if racing && next_scans && seen.len() < 2 && self.random.below(2) == 0 {
                continue;
            }
            std::mem::take(&mut seen).into_iter().for_each(|decision| self.carry_out(decision));
            self.assert_limits();
        }
    }

    fn assert_limits(&self) {
        for (count, (_, limits)) in self.counts().into_iter().zip(&self.workers) {
            assert!(limits.max_leases.is_none_or(|most| count <= most), "more than allowed: {:?}", self.counts());
        }
    }

    /// Whether nobody would do anything, however often it chose.
    fn is_quiet(&self) -> bool {
        let moving = |entry: &Entry| {
            let row = &entry.row;
            let rests = entry.moved.is_some_and(|moved| self.now - moved < self.cooldown());
            let grows_old = !self.is_held(entry) && self.now - entry.changed <= 3 * self.failover();
            row.wanted.is_some() || row.granted.is_some() || rests || grows_old
        };
        // Where limits keep others from asking, a worker asks with a probability of one in as many as there are workers.
        let limited = self.workers.iter().any(|(_, limits)| limits.max_leases.is_some());
        let seeds = if limited { 12 * self.workers.len() as u64 } else { 4 };
        !self.entries.iter().any(moving)
            && (0..self.workers.len()).all(|worker| {
                (0..seeds).all(|seed| {
                    let Decision { take, want, .. } = self.decide(worker, seed);
                    take.is_empty() && want.is_empty()
                })
            })
    }

    /// Runs until nothing moves any more; panics if that takes too long.
    pub(super) fn settle(mut self, racing: bool) -> Self {
        for _ in 0..100 * (self.entries.len() + self.workers.len()) {
            self.round(racing);
            if self.is_quiet() {
                return self;
            }
        }
        panic!("no rest after {} moves: {:?}, {:?}", self.moves, self.counts(), self.loads());
    }

    /// The leases that each worker holds.
    pub(super) fn counts(&self) -> Vec<usize> {
        self.workers.iter().map(|(id, _)| self.of(id).count()).collect()
    }

    pub(super) fn loads(&self) -> Vec<u64> {
        let load = |row: &LeaseRow| row.throughput.map_or(0, |throughput| throughput.micros() / 1_000_000);
        self.workers.iter().map(|(id, _)| self.of(id).map(load).sum()).collect()
    }

    fn of(&self, id: &WorkerId) -> impl Iterator<Item = &LeaseRow> {
        self.entries.iter().map(|entry| &entry.row).filter(move |row| row.owner.as_ref() == Some(id))
    }

    pub(super) fn unheld(&self) -> usize {
        self.entries.iter().filter(|entry| !self.is_held(entry)).count()
    }

    /// The fewest moves after which everything is held and counts are within one.
    pub(super) fn least_moves(&self) -> usize {
        let mut counts = self.counts();
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let (floor, left_over) = (self.entries.len() / counts.len(), self.entries.len() % counts.len());
        let target = |rank: usize| floor + usize::from(rank < left_over);
        let surplus = counts.iter().enumerate().map(|(rank, count)| count.saturating_sub(target(rank)));
        self.unheld() + surplus.sum::<usize>()
    }
}

fn name(worker: usize) -> WorkerId {
    WorkerId::new(&format!("worker-{worker:02}"))
}
