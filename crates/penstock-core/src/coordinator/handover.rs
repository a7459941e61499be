//! Where a held lease goes next: who asked for it, what the holder answers, and who is named before it lets go.
//!
//! A wish is answered in the row with the holder's next write: granted, and then the shard is stopped and the lease assigned;
//! or refused, by removing it. A worker that ends names an heir, which waits for the release.

use super::writes;
use crate::ids::WorkerId;
use crate::lease::{LeaseRow, LeaseWrite};
use crate::time::UnixMillis;

/// What is decided on the next owner of a held lease.
#[derive(Debug, Default)]
pub(super) struct Handover {
    next: Next,
    /// When the shard was told to stop, or stopped by itself.
    left: Option<UnixMillis>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Next {
    /// Nobody: the lease stays.
    #[default]
    Nobody,
    /// Nobody, and that has to be said: the wish in the row is removed.
    Refused,
    /// Whoever asked for it. The lease is assigned.
    Asker(WorkerId),
    /// Somebody, since this worker ends. The lease is released, and the heir takes it.
    Heir(WorkerId),
}

impl Handover {
    /// Answers the wish in the row, unless the next owner is settled. `may_move` tells whether the lease can be given away.
    pub(super) fn on_wish(&mut self, row: &LeaseRow, me: &WorkerId, may_move: bool) {
        if self.heir().is_some() {
            return;
        }
        self.next = match row.wanted.as_ref().filter(|wanted| *wanted != me) {
            None => Next::Nobody,
            Some(asker) if may_move => Next::Asker(asker.clone()),
            Some(_) => Next::Refused,
        };
    }

    /// Names the next owner, as this worker ends. An heir takes the lease rather than being given it: it may end as well, and
    /// must not leave a lease that nobody holds in its name.
    pub(super) fn bequeath(&mut self, heir: WorkerId) {
        self.next = Next::Heir(heir);
    }

    /// Whoever was named ends as well.
    pub(super) fn disinherit(&mut self) {
        if matches!(self.next, Next::Heir(_)) {
            self.next = Next::Nobody;
        }
    }

    /// The next owner.
    pub(super) const fn heir(&self) -> Option<&WorkerId> {
        match &self.next {
            Next::Asker(heir) | Next::Heir(heir) => Some(heir),
            Next::Nobody | Next::Refused => None,
        }
    }

    /// Whether the lease goes to somebody who asked.
    pub(super) const fn assigns(&self) -> bool {
        matches!(self.next, Next::Asker(_))
    }

    /// Whether the row says who the next owner is.
    pub(super) fn is_granted(&self, row: &LeaseRow) -> bool {
        self.heir().is_some() && row.granted.as_ref() == self.heir()
    }

    /// Whether the row does not say yet what is decided.
    pub(super) fn is_untold(&self, row: &LeaseRow) -> bool {
        match &self.next {
            Next::Nobody => false,
            Next::Refused => row.wanted.is_some(),
            Next::Asker(_) | Next::Heir(_) => !self.is_granted(row),
        }
    }

    /// Says in `write` what is decided.
    pub(super) fn tell(&self, write: LeaseWrite, row: &LeaseRow) -> LeaseWrite {
        match &self.next {
            Next::Refused => writes::with_refusal(write),
            Next::Asker(heir) | Next::Heir(heir) if !self.is_granted(row) => writes::with_grant(write, heir),
            Next::Nobody | Next::Asker(_) | Next::Heir(_) => write,
        }
    }

    /// The write by which this worker lets go.
    pub(super) fn release(&self, row: &LeaseRow, me: &WorkerId) -> LeaseWrite {
        match &self.next {
            // Whoever asked may have withdrawn the wish meanwhile, since it ends.
            Next::Asker(heir) if row.wanted.as_ref() == Some(heir) => writes::assign(row, me, heir, self.left),
            Next::Heir(heir) => writes::release(row, me, Some(heir), self.left),
            Next::Asker(_) | Next::Nobody | Next::Refused => writes::release(row, me, None, self.left),
        }
    }

    /// The shard is not read any more.
    pub(super) fn on_left(&mut self, wall: UnixMillis) {
        self.left.get_or_insert(wall);
    }
}
