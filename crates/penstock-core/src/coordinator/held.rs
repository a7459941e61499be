//! One held lease: its row as our last write left it, the write under way, and what waits for the next one.
//!
//! At most one write is under way. One whose outcome is unknown is sent again, the same bytes, and nothing else is written
//! before it is answered or the lease is given up. Memory changes only once the table has: there is nothing to take back.

use std::collections::VecDeque;
use std::time::Duration;

use super::api::Answer;
use super::api::{HeldLease, Progress, ShardRequest, Silence, StopReason, StreamIndex, WriteId, WriteResult};
use super::flight::{self, CoolDown, Finished, Flight, Purpose, Stored, Verdict};
use super::handover::Handover;
use super::meter::Meter;
use super::timing::Timing;
use super::writes;
use crate::ids::{HashRange, LeaseKey, LeaseToken, WorkerId};
use crate::lease::{LeaseRow, LeaseWrite, WriteOutcome};
use crate::mutant::{self, Mutant};
use crate::position::{Position, RecordPosition};
use crate::random::Random;
use crate::time::{Instant, Now, UnixMillis};

/// A lease that this worker holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) token: LeaseToken,
    pub(super) stream: StreamIndex,
    pub(super) row: LeaseRow,
    /// When the take was first sent.
    pub(super) taken: Instant,
    /// Whether somebody had read the shard before: only then has the lease changed hands.
    pub(super) moved: bool,
    pub(super) stage: Stage,
    /// When the write that proved the lease last was first sent.
    proved: Instant,
    flight: Option<Flight>,
    request: Option<ShardRequest>,
    ending: Option<Ending>,
    progress: Progress,
    meter: Meter,
    pub(super) handover: Handover,
    /// Since when nobody has read the shard, until it is started.
    silent_since: Option<Silence>,
    release: Option<Release>,
    renew_at: Instant,
    /// What the shard covers, where the row does not say it: stored with the next renewal.
    pub(super) learned_range: Option<HashRange>,
    /// Not before this, after a failure.
    retry_at: Option<Instant>,
    failures: u32,
}

/// Where the tasks of the shard are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not started: a parent is not done.
    Waiting,
    /// Started.
    Running,
    /// Told to stop.
    Stopping,
    /// Ended.
    Stopped,
}

/// That the lease is to be released once nothing else is to be written.
#[derive(Debug, Clone, Copy)]
struct Release {
    /// How long not to take it again.
    cool_down: Option<Duration>,
}

/// How far the end of a shard has come.
#[derive(Debug)]
struct Ending {
    /// The rows of the children that are not known to exist; the first one is being created.
    to_create: VecDeque<LeaseRow>,
    /// When to ask for the first one (again); `None` while the answer is due.
    create_at: Option<Instant>,
    children_named: bool,
    failures: u32,
}

impl Held {
    /// A lease whose take is stored. The take was first sent at `taken`.
    pub(super) fn new(
        token: LeaseToken,
        stream: StreamIndex,
        row: LeaseRow,
        taken: Instant,
        renew_at: Instant,
        silent_since: Option<Silence>,
    ) -> Self {
        Self {
            token,
            stream,
            row,
            taken,
            moved: silent_since.is_some(),
            stage: Stage::Waiting,
            proved: taken,
            flight: None,
            request: None,
            ending: None,
            progress: Progress::default(),
            meter: Meter::new(taken),
            handover: Handover::default(),
            silent_since,
            release: None,
            renew_at,
            learned_range: None,
            retry_at: None,
            failures: 0,
        }
    }

    /// The local deadline.
    pub(super) fn until(&self, timing: &Timing) -> Instant {
        timing.until(self.proved)
    }

    /// Whether the shard has not been started and may be, if its parents allow.
    pub(super) fn may_start(&self) -> bool {
        self.stage == Stage::Waiting && self.release.is_none()
    }

    /// Whether no write of ours can have completed the lease.
    pub(super) const fn is_surely_open(&self) -> bool {
        self.ending.is_none()
    }

    /// Starts the shard: the proof to hand to it.
    pub(super) fn start(&mut self, now: Instant, timing: &Timing) -> HeldLease {
        self.stage = Stage::Running;
        self.meter = Meter::new(now);
        HeldLease {
            token: self.token,
            row: self.row.clone(),
            until: self.until(timing),
            stream: self.stream,
            silent_since: self.silent_since.take(),
        }
    }

    /// The shard has to wait: whatever silence there was is nobody's doing.
    pub(super) fn keep_waiting(&mut self) {
        self.silent_since = None;
    }

    /// Whether this write is under way.
    pub(super) fn has_flight(&self, id: WriteId) -> bool {
        self.flight.as_ref().is_some_and(|flight| flight.id == id)
    }

    /// Whether a request of the shard is open.
    pub(super) const fn has_request(&self) -> bool {
        self.request.is_some()
    }

    /// Opens a request. `children` are the rows of the children, for the end of a shard.
    pub(super) fn accept(&mut self, request: ShardRequest, children: VecDeque<LeaseRow>, now: Now) {
        if matches!(request, ShardRequest::GiveUp { .. }) {
            self.handover.on_left(now.wall);
        }
        if matches!(request, ShardRequest::EndShard { .. }) {
            let create_at = Some(now.instant);
            self.ending = Some(Ending { to_create: children, create_at, children_named: false, failures: 0 });
        }
        self.request = Some(request);
    }

    /// Takes in what the shard has settled; a checkpoint never moves back.
    pub(super) fn on_progress(&mut self, progress: Progress) {
        let Progress { settled, lag, read, urgent } = progress;
        let known = self.progress.settled.as_ref().map(|(after, _)| after);
        if let Some((after, arrival)) = settled
            && known.is_none_or(|known| after > *known)
        {
            self.progress.settled = Some((after, arrival));
        }
        self.progress.lag = lag.or(self.progress.lag);
        self.progress.urgent |= urgent;
        self.meter.on_read(read);
    }

    /// Asks for the release of the lease, after everything that is still to be written.
    pub(super) fn release(&mut self, cool_down: Option<Duration>) {
        if matches!(self.request, Some(ShardRequest::Intend { .. })) && self.flight.is_none() {
            // Nobody is left to put what it would announce.
            self.request = None;
        }
        self.release.get_or_insert(Release { cool_down });
        self.drop_stuck_end();
    }

    /// Drops the end of the shard, if rows of children cannot be created and nobody waits for it any more: whoever has the
    /// lease next repeats it.
    fn drop_stuck_end(&mut self) {
        let fails = self.ending.as_ref().is_some_and(|ending| !ending.to_create.is_empty() && ending.failures > 0);
        if fails && self.release.is_some() && self.stage == Stage::Stopped {
            (self.request, self.ending) = (None, None);
        }
    }

    /// Looks at the wish in the row, if there is one. `rested` tells whether the lease may move again.
    pub(super) fn on_wish(&mut self, me: &WorkerId, rested: bool) {
        if self.release.is_some() || matches!(self.request, Some(ShardRequest::GiveUp { .. })) {
            return;
        }
        self.handover.on_wish(&self.row, me, rested && self.ending.is_none());
        if self.handover.assigns() && self.stage == Stage::Waiting {
            self.release(None);
        }
    }

    /// This worker ends, and `heir` is to have the lease.
    pub(super) fn bequeath(&mut self, heir: WorkerId) {
        self.handover.bequeath(heir);
        if self.stage == Stage::Waiting {
            self.release(None);
        }
    }

    /// A scan showed the row: whoever wants the lease writes that without the counter, and a row that has the counter of our last
    /// write was read after it.
    pub(super) fn on_seen(&mut self, seen: &LeaseRow) {
        if seen.counter == self.row.counter {
            self.row.wanted.clone_from(&seen.wanted);
        }
    }

    /// Whether the holder has said in the row that the lease goes to whoever asked for it, and the shard still runs.
    pub(super) fn is_to_stop(&self) -> bool {
        self.stage == Stage::Running && self.handover.assigns() && self.handover.is_granted(&self.row)
    }

    /// When this lease needs attention next.
    pub(super) fn next_deadline(&self, timing: &Timing) -> Instant {
        let write = match &self.flight {
            Some(flight) => flight.resend_at,
            // What was wanted at once and is not under way has failed, and waits to be sent again.
            None if self.wants_write() => self.retry_at,
            None => Some(self.retry_at.map_or(self.renew_at, |retry| retry.max(self.renew_at))),
        };
        let create =
            self.ending.as_ref().filter(|ending| !ending.to_create.is_empty()).and_then(|ending| ending.create_at);
        [write, create].into_iter().flatten().fold(self.until(timing), Instant::min)
    }

    /// Whether there is something to write that does not wait for the next renewal.
    fn wants_write(&self) -> bool {
        let request = match &self.request {
            Some(ShardRequest::EndShard { .. }) => {
                return self.ending.as_ref().is_none_or(|ending| ending.to_create.is_empty());
            }
            Some(_) => true,
            None => false,
        };
        request || self.release.is_some() || self.is_urgent()
    }

    /// Whether the next renewal is not to wait.
    fn is_urgent(&self) -> bool {
        (self.progress.urgent && self.settled().is_some()) || self.handover.is_untold(&self.row)
    }

    /// The row of a child that is to be created now.
    pub(super) fn child_to_create(&mut self, now: Instant) -> Option<LeaseRow> {
        let ending = self.ending.as_mut()?;
        let row = ending.to_create.front()?;
        ending.create_at.take_if(|at| *at <= now)?;
        Some(row.clone())
    }

    /// A create ended: `stands` tells whether the row is known to stand in the table.
    pub(super) fn on_created(
        &mut self,
        key: &LeaseKey,
        stands: bool,
        now: Instant,
        timing: &Timing,
        random: &mut Random,
    ) {
        let Some(ending) = &mut self.ending else { return };
        if ending.to_create.front().is_none_or(|row| row.key != *key) {
            return;
        }
        if stands {
            ending.to_create.pop_front();
            ending.failures = 0;
            ending.create_at = Some(now);
        } else {
            ending.create_at = Some(timing.retry(now, ending.failures, random));
            ending.failures = ending.failures.saturating_add(1);
            self.drop_stuck_end();
        }
    }

    /// The write that is to be sent now, if any. `fresh` is the id of a write that was not sent before.
    pub(super) fn write_to_send(
        &mut self,
        fresh: WriteId,
        me: &WorkerId,
        now: Instant,
        timing: &Timing,
    ) -> Option<(WriteId, LeaseWrite)> {
        if let Some(flight) = &mut self.flight {
            if mutant::is(Mutant::RenewalBesideUnknown) && flight.uncertain && self.renew_at <= now {
                self.renew_at = now.after(timing.failover());
                return Some((fresh, writes::renew(&self.row, me)));
            }
            flight.resend_at.take_if(|at| *at <= now)?;
            return Some((flight.id, flight.write.clone()));
        }
        if self.retry_at.is_some_and(|retry| now < retry) {
            return None;
        }
        let (purpose, write) = self.next_write(me, now)?;
        let (read, throughput) = self.meter.measure(now, timing, self.row.throughput).unzip();
        let write = writes::with_throughput(write, throughput);
        let flight = Flight { id: fresh, write, purpose, first_sent: now, read, uncertain: false, resend_at: None };
        let sent = (flight.id, flight.write.clone());
        self.flight = Some(flight);
        Some(sent)
    }

    fn next_write(&self, me: &WorkerId, now: Instant) -> Option<(Purpose, LeaseWrite)> {
        let row = &self.row;
        let request = match &self.request {
            Some(ShardRequest::Intend { from, intent }) => Some(writes::intend(row, me, from, intent)),
            Some(ShardRequest::Commit(commit)) => Some(writes::commit(row, me, commit)),
            Some(ShardRequest::SettleUntil { from, until }) => Some(writes::settle_until(row, me, from, *until)),
            Some(ShardRequest::DropIntent { intent }) => Some(writes::drop_intent(row, me, intent)),
            Some(ShardRequest::EndShard { .. }) => return self.end_write(me).or_else(|| self.renewal(me, now)),
            Some(ShardRequest::GiveUp { .. }) => return Some(self.release_write(me)),
            None => None,
        };
        if let Some(write) = request {
            let write = self.handover.tell(write, &self.row);
            return Some((Purpose::Request, writes::with_lag(write, self.progress.lag)));
        }
        if self.release.is_some() {
            return Some(self.release_write(me));
        }
        self.renewal(me, now)
    }

    fn end_write(&self, me: &WorkerId) -> Option<(Purpose, LeaseWrite)> {
        let (Some(ShardRequest::EndShard { children }), Some(ending)) = (&self.request, &self.ending) else {
            return None;
        };
        if !ending.to_create.is_empty() {
            return None;
        }
        if children.is_empty() || ending.children_named {
            return Some((Purpose::End, writes::end(&self.row, me)));
        }
        let children = children.iter().map(|child| child.id.clone()).collect();
        Some((Purpose::Children, writes::name_children(&self.row, me, children)))
    }

    fn release_write(&self, me: &WorkerId) -> (Purpose, LeaseWrite) {
        (Purpose::Release, self.with_progress(self.handover.release(&self.row, me)))
    }

    fn renewal(&self, me: &WorkerId, now: Instant) -> Option<(Purpose, LeaseWrite)> {
        (self.is_urgent() || self.renew_at <= now).then(|| {
            let renewal = self.handover.tell(writes::renew(&self.row, me), &self.row);
            (Purpose::Renewal, self.with_progress(renewal))
        })
    }

    /// What is settled beyond the row's checkpoint. An open intent goes first: it may cover the same records.
    fn settled(&self) -> Option<&(RecordPosition, UnixMillis)> {
        let settled = self.progress.settled.as_ref()?;
        let beyond = match &self.row.checkpoint {
            Position::After(checkpoint) => settled.0 > *checkpoint,
            Position::AtTimestamp | Position::TrimHorizon | Position::Latest => true,
            Position::ShardEnd => false,
        };
        (beyond && self.row.intent.is_none()).then_some(settled)
    }

    fn with_progress(&self, write: LeaseWrite) -> LeaseWrite {
        let mut write = writes::with_lag(write, self.progress.lag);
        if self.row.hash_range.is_none() {
            write.change.hash_range = self.learned_range;
        }
        match self.settled() {
            Some(settled) => writes::with_checkpoint(write, &self.row, settled),
            None => write,
        }
    }

    /// Takes in the answer to a write.
    pub(super) fn on_written(
        &mut self,
        id: WriteId,
        result: WriteResult,
        me: &WorkerId,
        now: Instant,
        timing: &Timing,
        random: &mut Random,
    ) -> Verdict {
        let Some(mut flight) = self.flight.take_if(|flight| flight.id == id) else { return Verdict::Open };
        if mutant::is(Mutant::StampAfterWrite) {
            flight.first_sent = now;
        }
        match result {
            WriteResult::Answered(WriteOutcome::Applied(row)) => {
                Verdict::Stored(self.on_stored(flight, *row, timing, random))
            }
            WriteResult::Answered(WriteOutcome::Conflict(Some(found)))
                if flight.is_own_success(&self.row, &found, me) =>
            {
                Verdict::Stored(self.on_stored(flight, *found, timing, random))
            }
            WriteResult::Answered(WriteOutcome::Conflict(found)) => flight::loss(found.map(|found| *found), me),
            WriteResult::NotApplied if !flight.uncertain => {
                self.retry_at = Some(self.back_off(now, timing, random));
                Verdict::Open
            }
            WriteResult::Unknown if self.recuts(&flight) => {
                self.request = None;
                Verdict::Recut
            }
            // Also a later sending that was certainly not applied: an earlier one may have been.
            WriteResult::NotApplied | WriteResult::Unknown => {
                let resend_at = Some(self.back_off(now, timing, random));
                self.flight = Some(Flight { uncertain: true, resend_at, ..flight });
                Verdict::Open
            }
        }
    }

    fn recuts(&self, flight: &Flight) -> bool {
        mutant::is(Mutant::RecutAfterUnknownIntent)
            && flight.purpose == Purpose::Request
            && matches!(self.request, Some(ShardRequest::Intend { .. }))
    }

    fn back_off(&mut self, now: Instant, timing: &Timing, random: &mut Random) -> Instant {
        let at = timing.retry(now, self.failures, random);
        self.failures = self.failures.saturating_add(1);
        at
    }

    /// A write is stored, and left the row like this.
    fn on_stored(&mut self, flight: Flight, row: LeaseRow, timing: &Timing, random: &mut Random) -> Stored {
        let checkpointed = row.checkpoint != self.row.checkpoint;
        self.row = row;
        self.proved = flight.first_sent;
        self.renew_at = timing.next_renewal(flight.first_sent, random);
        self.retry_at = None;
        self.failures = 0;
        self.meter.on_stored(flight.read, flight.first_sent);
        self.on_progress_stored();
        let (answer, finished) = self.on_purpose_met(flight.purpose);
        Stored { answer, checkpointed, finished }
    }

    fn on_progress_stored(&mut self) {
        if self.row.lag == self.progress.lag {
            self.progress.lag = None;
        }
        if let Position::After(checkpoint) = &self.row.checkpoint {
            self.progress.settled.take_if(|(after, _)| *after <= *checkpoint);
        }
        self.progress.urgent &= self.progress.settled.is_some();
    }

    fn on_purpose_met(&mut self, purpose: Purpose) -> (Option<Answer>, Option<Finished>) {
        let done = Answer::Done { checkpoint: self.row.checkpoint.clone() };
        match purpose {
            Purpose::Renewal => (None, None),
            Purpose::Request => (self.request.take().map(|_| done), None),
            Purpose::Children => {
                if let Some(ending) = &mut self.ending {
                    ending.children_named = true;
                }
                (None, None)
            }
            Purpose::End => (self.request.take().map(|_| done), Some(Finished::Ended)),
            Purpose::Release => {
                let asked = match self.request.take() {
                    Some(ShardRequest::GiveUp { cool_down }) => Some(cool_down),
                    Some(_) | None => None,
                };
                let intent = self.row.intent.clone().filter(|_| asked.is_some());
                let lasts = asked.or(self.release.and_then(|release| release.cool_down));
                let cool_down = lasts.map(|lasts| CoolDown { lasts, intent });
                let to = self.row.owner.clone().or_else(|| self.row.granted.clone());
                (asked.map(|_| done), Some(Finished::Released { cool_down, to }))
            }
        }
    }

    /// How a shard is stopped for this reason: nothing to do if it does not run.
    pub(super) fn stop(&mut self, why: StopReason, wall: UnixMillis) -> Option<StopReason> {
        let tell = match self.stage {
            Stage::Running => true,
            Stage::Stopping => !matches!(why, StopReason::Drain | StopReason::HandOver),
            Stage::Waiting | Stage::Stopped => false,
        };
        if tell {
            self.stage = Stage::Stopping;
            self.handover.on_left(wall);
        }
        tell.then_some(why)
    }
}
