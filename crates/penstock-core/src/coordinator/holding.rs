//! Holding leases: renewals, the requests of shards, losses, the end of shards.

use std::collections::VecDeque;

use super::api::{Answer, Command, LossReason, Progress, Report, ShardRequest, StopReason, WriteId, WriteResult};
use super::flight::{CoolDown, Finished, Stored, Verdict};
use super::held::{Held, Stage};
use super::{Cooling, Coordinator, Mode, hierarchy};
use crate::ids::{LeaseKey, LeaseToken, WorkerId};
use crate::time::{Instant, Now};

impl Coordinator {
    /// Gives up what was not proved in time. It is never renewed, only taken anew.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_over = |key: &&LeaseKey| self.held.get(key).is_some_and(|held| held.until(&self.timing) <= now);
        let expired: Vec<LeaseKey> = self.held.due(now).filter(is_over).cloned().collect();
        for key in &expired {
            self.lose(key, LossReason::Expired, None);
        }
    }

    pub(super) fn on_written(&mut self, id: WriteId, result: WriteResult, now: Now) {
        let Some(key) = self.writes.get(&id).cloned() else { return };
        if let Some(take) = self.finish_take(&key, id) {
            self.writes.remove(&id);
            return self.on_taken(take, result, now);
        }
        let Some(held) = self.held.get_mut(&key) else {
            self.writes.remove(&id);
            return;
        };
        let verdict = held.on_written(id, result, &self.settings.worker, now.instant, &self.timing, &mut self.random);
        if !held.has_flight(id) {
            self.writes.remove(&id);
        }
        match verdict {
            Verdict::Open => {}
            Verdict::Stored(stored) => self.on_stored(&key, stored, now),
            Verdict::Recut => {
                let token = held.token;
                self.answer(token, Answer::Lost);
            }
            Verdict::Lost { reason, to } => {
                let open = held.is_surely_open();
                self.lose(&key, reason, to);
                if reason == LossReason::Deleted {
                    self.table.on_missing(&key, now.instant);
                    self.on_missed(&key, open, now.instant);
                }
            }
        }
    }

    fn on_stored(&mut self, key: &LeaseKey, stored: Stored, now: Now) {
        let Stored { answer, checkpointed, finished } = stored;
        let Some(held) = self.held.get(key) else { return };
        let (token, until) = (held.token, held.until(&self.timing));
        self.table.record(held.row.clone(), now.instant);
        if finished.is_none() && matches!(held.stage, Stage::Running | Stage::Stopping) {
            self.commands.push_back(Command::Extend { token, until });
        }
        if checkpointed && !matches!(finished, Some(Finished::Ended)) {
            self.report(Report::Checkpointed { key: key.clone() });
        }
        if let Some(answer) = answer {
            self.answer(token, answer);
        }
        match finished {
            None => self.on_wish(key, now),
            Some(Finished::Ended) => self.on_ended(key, now),
            Some(Finished::Released { cool_down, to }) => {
                match (cool_down, &to) {
                    (Some(cool_down), _) => self.leave_alone(key, cool_down, now.instant),
                    (None, Some(_)) => self.gave = Some(now.instant),
                    // Free for everybody, and so for us.
                    (None, None) => self.scan.want(now.instant),
                }
                self.moved.insert(key.clone(), now.instant);
                self.drop_held(key);
                self.report(Report::Released { key: key.clone(), to });
                self.hasten_scan(now.instant);
            }
        }
    }

    fn leave_alone(&mut self, key: &LeaseKey, CoolDown { lasts, intent }: CoolDown, now: Instant) {
        self.cooling.insert(key.clone(), Cooling { until: now.after(lasts), intent });
    }

    fn on_ended(&mut self, key: &LeaseKey, now: Now) {
        self.report(Report::Ended { key: key.clone() });
        if let Some(mut held) = self.drop_held(key) {
            self.stop(key, &mut held, StopReason::Ended);
        }
        // The children are there to be taken.
        self.scan.want(now.instant);
        self.open_gates(now.instant);
    }

    fn lose(&mut self, key: &LeaseKey, reason: LossReason, to: Option<WorkerId>) {
        let Some(mut held) = self.drop_held(key) else { return };
        self.stop(key, &mut held, StopReason::Lost(reason));
        if held.has_request() {
            self.answer(held.token, Answer::Lost);
        }
        self.report(Report::Lost { key: key.clone(), reason, to });
    }

    fn drop_held(&mut self, key: &LeaseKey) -> Option<Held> {
        self.ledger.forget_start(key);
        self.held.remove(key)
    }

    fn stop(&mut self, key: &LeaseKey, held: &mut Held, why: StopReason) {
        if let Some(why) = held.stop(why, self.wall) {
            self.commands.push_back(Command::StopShard { key: key.clone(), token: held.token, why });
        }
    }

    fn answer(&mut self, token: LeaseToken, answer: Answer) {
        self.commands.push_back(Command::Answer { token, answer });
    }

    fn held_by(&mut self, token: LeaseToken) -> Option<&mut Held> {
        let key = self.held.key_of(token)?.clone();
        self.held.get_mut(&key)
    }

    pub(super) fn on_request(&mut self, token: LeaseToken, request: ShardRequest, now: Now) {
        let children = match &request {
            ShardRequest::EndShard { children } => {
                let parent = self.held.key_of(token).and_then(|key| self.held.get(key));
                let stream = parent.and_then(|held| Some((held, self.streams.get(held.stream)?)));
                stream.map_or_else(VecDeque::new, |(held, stream)| {
                    let row = |child| hierarchy::child_row(child, &held.row, &stream.settings, now.wall);
                    children.iter().map(row).collect()
                })
            }
            ShardRequest::Intend { .. }
            | ShardRequest::Commit(_)
            | ShardRequest::SettleUntil { .. }
            | ShardRequest::DropIntent { .. }
            | ShardRequest::GiveUp { .. } => VecDeque::new(),
        };
        let Some(key) = self.held.key_of(token).cloned() else { return self.answer(token, Answer::Lost) };
        for child in &children {
            self.births.entry(child.key.clone()).or_default().insert(key.clone());
        }
        match self.held.get_mut(&key).filter(|held| !held.has_request()) {
            Some(held) => held.accept(request, children, now),
            None => self.answer(token, Answer::Lost),
        }
    }

    /// The create of a row ended: the shards that cannot end before the row stands hear of it.
    pub(super) fn on_child_created(&mut self, key: &LeaseKey, stands: bool, now: Instant) {
        let Some(parents) = self.births.get(key).cloned() else { return };
        for parent in &parents {
            if let Some(held) = self.held.get_mut(parent) {
                held.on_created(key, stands, now, &self.timing, &mut self.random);
            }
        }
        if stands || !parents.iter().any(|parent| self.held.contains_key(parent)) {
            self.births.remove(key);
        }
    }

    pub(super) fn on_progress(&mut self, token: LeaseToken, progress: Progress) {
        // Most of it waits for the next renewal, and there is a lot of it.
        let held = if progress.urgent { self.held_by(token) } else { self.held.by_token_quietly(token) };
        if let Some(held) = held {
            held.on_progress(progress);
        }
    }

    /// A shard's tasks ended. If they were not told to, they could not go on: somebody else may try, and we do later.
    pub(super) fn on_stopped(&mut self, token: LeaseToken) {
        let cool_down = (self.mode == Mode::Working).then(|| self.timing.failover());
        let wall = self.wall;
        if let Some(held) = self.held_by(token) {
            let by_itself = held.stage == Stage::Running;
            held.stage = Stage::Stopped;
            held.handover.on_left(wall);
            held.release(cool_down.filter(|_| by_itself));
        }
    }

    /// Sends what is to be written now, for every held lease to which something happened or whose time has come.
    pub(super) fn advance_held(&mut self, now: Instant) {
        for key in self.held.take_restless(now) {
            let fresh = WriteId(self.fresh_id());
            let Some(held) = self.held.get_mut(&key) else { continue };
            if let Some((id, write)) = held.write_to_send(fresh, &self.settings.worker, now, &self.timing) {
                self.writes.insert(id, key.clone());
                self.commands.push_back(Command::WriteLease { id, write });
            }
            if let Some(child) = held.child_to_create(now) {
                self.create(child);
            }
            self.held.settle(&key, &self.timing);
        }
        self.held.forget_touches();
    }
}
