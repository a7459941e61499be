//! The workers of a world: a coordinator each, the events that reach it, and its commands carried out.

use super::*;

pub(super) struct Worker {
    pub(super) coordinator: Coordinator,
    pub(super) alive: bool,
    pub(super) paused_until: Instant,
    pub(super) tick_at: Option<Instant>,
    pub(super) takes: BTreeMap<LeaseKey, WriteId>,
    pub(super) running: BTreeMap<LeaseToken, Running>,
    pub(super) drained: bool,
    pub(super) leaving: bool,
    pub(super) knows: Known,
}

impl World {
    pub(super) fn start_worker(&mut self) {
        let index = self.workers.len();
        let settings = CoordinatorSettings {
            worker: worker_id(index),
            failover_time: FAILOVER,
            max_leases: None,
            max_steals_per_cycle: usize::from(self.plan.steals),
            streams: vec![StreamSettings {
                name: StreamName::new("orders"),
                id: None,
                created: UnixMillis(1),
                initial_position: InitialPosition::TrimHorizon,
            }],
            mode: LeaseMode::Peer,
            longest_linger: if self.plan.drains { Duration::from_secs(6) } else { Duration::ZERO },
            seed: self.random.next_u64(),
        };
        self.workers.push(Worker {
            coordinator: Coordinator::new(settings),
            alive: true,
            paused_until: self.now,
            tick_at: None,
            takes: BTreeMap::new(),
            running: BTreeMap::new(),
            drained: false,
            leaving: false,
            knows: Known::default(),
        });
        let delay = self.below(3_000);
        self.schedule(delay, Item::Deliver(index, Box::new(Event::Tick)));
    }

    pub(super) fn deliver(&mut self, index: usize, event: Event) {
        let wall = self.wall();
        if let Event::LeasesScanned { scan: Some(scan), .. } = &event {
            self.workers[index].knows.look(&scan.rows);
        }
        self.note(|| format!("{index} hears {event:?}"));
        self.workers[index].coordinator.handle(event, Now { instant: self.now, wall });
        while let Some(command) = self.workers[index].coordinator.poll() {
            self.note(|| format!("{index} {command:?}"));
            self.carry_out(index, command);
        }
        let worker = &mut self.workers[index];
        if let Some(due) = worker.coordinator.next_deadline()
            && worker.tick_at.is_none_or(|at| due < at)
        {
            let at = due.max(self.now);
            worker.tick_at = Some(at);
            self.schedule_at(at, Item::Tick(index));
        }
    }

    fn carry_out(&mut self, index: usize, command: Command) {
        match command {
            Command::ScanLeases => self.send(index, Request::Scan(self.now, None)),
            Command::ListShards(_) => self.send(index, Request::List),
            Command::WantLease(want) => self.send(index, Request::Want(want)),
            Command::RecordGap(entry) => self.send(index, Request::Gap(entry)),
            Command::CreateLease(row) => self.send(index, Request::Create(row)),
            Command::DeleteLease { key, counter } => self.send(index, Request::Delete(key, counter)),
            Command::WriteLease { id, write } => {
                let worker = &mut self.workers[index];
                let tenure = if is_take(index, &write) {
                    worker.takes.insert(write.key.clone(), id);
                    None
                } else {
                    worker.takes.get(&write.key).map(|take| Tenure(index, *take))
                };
                self.send(index, Request::Write(id, write, tenure));
            }
            Command::StartShard(held) => self.start_shard(index, held),
            Command::StopShard { token, why, .. } => self.stop_shard(index, token, why),
            Command::Extend { token, until } => {
                if let Some(running) = self.workers[index].running.get_mut(&token) {
                    running.until = until;
                }
            }
            Command::Answer { token, answer } => self.answered(index, token, answer),
            Command::Report(_) => {}
            Command::Drained => {
                self.workers[index].drained = true;
                self.workers[index].alive &= !self.workers[index].leaving;
            }
        }
    }
}

impl Worker {
    pub(super) fn reads(&self, key: &LeaseKey) -> bool {
        self.running.values().any(|running| running.key == *key)
    }
}
