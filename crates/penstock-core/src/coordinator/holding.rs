//! Holding leases: renewals, the requests of shards, losses, the end of shards, and the drain.

use std::collections::VecDeque;

use super::api::{Answer, Command, LossReason, Progress, Report, ShardRequest, StopReason, WriteId, WriteResult};
use super::held::{Finished, Held, Stage, Stored, Verdict};
use super::{Coordinator, Mode, hierarchy};
use crate::ids::{LeaseKey, LeaseToken, WorkerId};
use crate::time::{Instant, Now};

impl Coordinator {
    /// Gives up what was not proved in time. It is never renewed, only taken anew.
    pub(super) fn expire(&mut self, now: Instant) {
        let expired = self.held.iter().filter(|(_, held)| held.until(&self.timing) <= now);
        let expired: Vec<LeaseKey> = expired.map(|(key, _)| key.clone()).collect();
        for key in &expired {
            self.lose(key, LossReason::Expired, None);
        }
    }

    pub(super) fn on_written(&mut self, id: WriteId, result: WriteResult, now: Instant) {
        let Some(key) = self.writes.get(&id).cloned() else { return };
        if let Some(take) = self.finish_take(&key, id) {
            self.writes.remove(&id);
            return self.on_taken(take, &result, now);
        }
        let Some(held) = self.held.get_mut(&key) else {
            self.writes.remove(&id);
            return;
        };
        let verdict = held.on_written(id, result, &self.settings.worker, now, &self.timing, &mut self.random);
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
                self.lose(&key, reason, to);
                if reason == LossReason::Deleted {
                    self.table.on_missing(&key, now);
                }
            }
        }
    }

    fn on_stored(&mut self, key: &LeaseKey, stored: Stored, now: Instant) {
        let Stored { answer, checkpointed, finished } = stored;
        let Some(held) = self.held.get(key) else { return };
        let (token, until) = (held.token, held.until(&self.timing));
        self.table.record(held.row.clone(), now);
        if finished.is_none() && matches!(held.stage, Stage::Running | Stage::Stopping) {
            self.commands.push_back(Command::Extend { token, until });
        }
        if checkpointed && finished != Some(Finished::Ended) {
            self.report(Report::Checkpointed { key: key.clone() });
        }
        if let Some(answer) = answer {
            self.answer(token, answer);
        }
        match finished {
            None => {}
            Some(Finished::Ended) => self.on_ended(key, now),
            Some(Finished::Released(release)) => {
                if let Some(cool_down) = release.cool_down {
                    self.cooling.insert(key.clone(), now.after(cool_down));
                }
                self.drop_held(key);
                self.report(Report::Released { key: key.clone(), to: None });
            }
        }
    }

    fn on_ended(&mut self, key: &LeaseKey, now: Instant) {
        self.report(Report::Ended { key: key.clone() });
        if let Some(mut held) = self.drop_held(key) {
            self.stop(key, &mut held, StopReason::Ended);
        }
        // The children are there to be taken.
        self.scan.want(now);
        self.open_gates(now);
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
        let held = self.held.remove(key)?;
        self.tokens.remove(&held.token);
        Some(held)
    }

    fn stop(&mut self, key: &LeaseKey, held: &mut Held, why: StopReason) {
        if let Some(why) = held.stop(why) {
            self.commands.push_back(Command::StopShard { key: key.clone(), token: held.token, why });
        }
    }

    fn answer(&mut self, token: LeaseToken, answer: Answer) {
        self.commands.push_back(Command::Answer { token, answer });
    }

    fn held_by(&mut self, token: LeaseToken) -> Option<&mut Held> {
        self.held.get_mut(self.tokens.get(&token)?)
    }

    pub(super) fn on_request(&mut self, token: LeaseToken, request: ShardRequest, now: Now) {
        let children = match &request {
            ShardRequest::EndShard { children } => {
                children.iter().map(|child| hierarchy::child_row(child, &self.settings.streams[0], now.wall)).collect()
            }
            ShardRequest::Intend { .. }
            | ShardRequest::Commit(_)
            | ShardRequest::DropIntent { .. }
            | ShardRequest::GiveUp { .. } => VecDeque::new(),
        };
        match self.held_by(token).filter(|held| !held.has_request()) {
            Some(held) => held.accept(request, children, now.instant),
            None => self.answer(token, Answer::Lost),
        }
    }

    pub(super) fn on_progress(&mut self, token: LeaseToken, progress: Progress) {
        if let Some(held) = self.held_by(token) {
            held.on_progress(progress);
        }
    }

    /// A shard's tasks ended. Without a drain they could not go on: somebody else may try, and we do later.
    pub(super) fn on_stopped(&mut self, token: LeaseToken) {
        let cool_down = (self.mode == Mode::Working).then(|| self.timing.failover());
        if let Some(held) = self.held_by(token) {
            held.stage = Stage::Stopped;
            held.release(cool_down);
        }
    }

    pub(super) fn on_drain_requested(&mut self) {
        if !self.is_draining() {
            self.mode = Mode::Draining;
            self.stop_all();
        }
    }

    /// Stops what runs; what does not is released at once.
    pub(super) fn stop_all(&mut self) {
        let keys: Vec<LeaseKey> = self.held.keys().cloned().collect();
        for key in &keys {
            self.release_unstarted(key);
            let Some(held) = self.held.get_mut(key) else { continue };
            let token = held.token;
            if let Some(why) = held.stop(StopReason::Drain) {
                self.commands.push_back(Command::StopShard { key: key.clone(), token, why });
            }
        }
    }

    pub(super) fn release_unstarted(&mut self, key: &LeaseKey) {
        if let Some(held) = self.held.get_mut(key).filter(|held| held.stage == Stage::Waiting) {
            held.release(None);
        }
    }

    /// Sends what is to be written now, for every held lease.
    pub(super) fn advance_held(&mut self, now: Instant) {
        let keys: Vec<LeaseKey> = self.held.keys().cloned().collect();
        for key in keys {
            let fresh = WriteId(self.fresh_id());
            let Some(held) = self.held.get_mut(&key) else { continue };
            if let Some((id, write)) = held.write_to_send(fresh, &self.settings.worker, now) {
                self.writes.insert(id, key.clone());
                self.commands.push_back(Command::WriteLease { id, write });
            }
            if let Some(child) = held.child_to_create(now) {
                self.create(child);
            }
        }
    }

    pub(super) fn end_drain(&mut self) {
        if self.mode == Mode::Draining && self.held.is_empty() && self.takes.is_empty() {
            self.mode = Mode::Drained;
            self.commands.push_back(Command::Drained);
        }
    }
}
