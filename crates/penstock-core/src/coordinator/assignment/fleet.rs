//! Who has what: for which worker each open lease counts, and how many leases and how much throughput that makes.
//!
//! A lease on its way counts for the worker that will have it, in every picture alike: for the one that its holder hands it
//! over to, and else for the one that asks for it. Otherwise two workers would both make up for the same difference.

use std::collections::BTreeSet;

use super::{Lease, Limits};
use crate::ids::WorkerId;

/// For whom an open lease counts. Workers are indices into [`Fleet::workers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// For nobody: it may be taken. `ours` if the row names us, be it for a take whose outcome we never heard of.
    Free { ours: bool },
    /// For us: it was given to us, or released for us, and we do not hold it yet.
    Promised,
    /// For a worker that does not hold it yet.
    OnItsWay(usize),
    /// For its holder, and nobody that lives has asked for it.
    Settled(usize),
}

impl Standing {
    /// The worker that the lease counts for.
    const fn counts_for(self, me: usize) -> Option<usize> {
        match self {
            Self::Free { .. } => None,
            Self::Promised => Some(me),
            Self::OnItsWay(worker) | Self::Settled(worker) => Some(worker),
        }
    }
}

/// What one worker has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Having<'a> {
    pub(super) id: &'a WorkerId,
    /// Its open leases.
    pub(super) count: usize,
    /// What is read through them, in millionths of a KiB per second.
    pub(super) load: i128,
}

/// The open leases and the workers that live, as one scan shows them.
#[derive(Debug)]
pub(super) struct Fleet<'a> {
    pub(super) leases: Vec<(&'a Lease<'a>, Standing)>,
    /// In the order of their ids.
    pub(super) workers: Vec<Having<'a>>,
    me: usize,
    /// Open leases that we hold or have asked for; those that are on their way to somebody else count until they are gone.
    held: usize,
}

impl<'a> Fleet<'a> {
    pub(super) fn of(leases: &'a [Lease<'a>], me: &'a WorkerId) -> Self {
        let open: Vec<&Lease<'a>> = leases.iter().filter(|lease| lease.is_open()).collect();
        let members = Members::of(&open, me);
        let mut workers: Vec<Having<'a>> = members.ids.iter().map(|id| Having { id, count: 0, load: 0 }).collect();
        let own = members.index(me).unwrap_or_default();
        let leases: Vec<_> = open.into_iter().map(|lease| (lease, members.standing(lease, me, own))).collect();
        let mut held = 0;
        for (lease, standing) in &leases {
            let worker = standing.counts_for(own);
            if let Some(having) = worker.and_then(|worker| workers.get_mut(worker)) {
                having.count += 1;
                having.load += lease.load().unwrap_or_default();
            }
            held += usize::from(lease.mine || *standing == Standing::OnItsWay(own));
        }
        Self { leases, workers, me: own, held }
    }

    /// What we have.
    pub(super) fn own(&self) -> Having<'a> {
        self.workers[self.me]
    }

    /// All workers but us.
    pub(super) fn others(&self) -> impl Iterator<Item = Having<'a>> {
        let me = self.me;
        self.workers.iter().enumerate().filter(move |(worker, _)| *worker != me).map(|(_, having)| *having)
    }

    /// The open leases over the workers, rounded up.
    pub(super) fn fair_share(&self) -> usize {
        self.leases.len().div_ceil(self.workers.len())
    }

    /// The open leases over the workers, rounded down.
    pub(super) fn floor(&self) -> usize {
        self.leases.len() / self.workers.len()
    }

    /// How many leases all workers together lack to have as many as the floor.
    pub(super) fn missing(&self) -> usize {
        self.workers.iter().map(|worker| self.floor().saturating_sub(worker.count)).sum()
    }

    /// How many leases more we may hold.
    pub(super) fn room(&self, limits: Limits) -> usize {
        limits.max_leases.unwrap_or(usize::MAX).saturating_sub(self.held)
    }

    /// How many leases we may ask for in one cycle. Nobody knows a worker that holds nothing, and all that come at the same time
    /// would ask for the same share of what there is: the first lease makes it known, and the others follow then.
    pub(super) fn pace(&self, limits: Limits) -> usize {
        if self.leases.iter().any(|(lease, _)| lease.mine) {
            limits.max_moves
        } else {
            limits.max_moves.min(1_usize.saturating_sub(self.held))
        }
    }

    /// Whether throughput is known for all open leases, and not nothing for all of them.
    pub(super) fn is_load_known(&self) -> bool {
        self.leases.iter().all(|(lease, _)| lease.load().is_some())
            && self.leases.iter().any(|(lease, _)| lease.load() > Some(0))
    }

    /// Whether something is free that we may take.
    pub(super) fn has_free(&self) -> bool {
        self.leases.iter().any(|(lease, standing)| matches!(standing, Standing::Free { .. }) && !lease.barred)
    }

    /// Whether nothing is free or on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.leases.iter().all(|(_, standing)| matches!(standing, Standing::Settled(_)))
    }

    /// Whether nothing is on its way or has just arrived.
    pub(super) fn is_quiet(&self) -> bool {
        let on_its_way = |standing: &Standing| matches!(standing, Standing::OnItsWay(_) | Standing::Promised);
        !self.leases.iter().any(|(lease, standing)| lease.resting || on_its_way(standing))
    }

    /// Our leases that nobody has asked for and that may be asked for.
    pub(super) fn own_movable(&self) -> impl Iterator<Item = &'a Lease<'a>> {
        let own = Standing::Settled(self.me);
        self.leases
            .iter()
            .filter(move |(lease, standing)| *standing == own && lease.may_move())
            .map(|(lease, _)| *lease)
    }

    /// The leases of others that we may ask for, each with its holder.
    pub(super) fn askable(&self) -> impl Iterator<Item = (Having<'a>, &'a Lease<'a>)> {
        self.leases.iter().filter_map(|(lease, standing)| match standing {
            Standing::Settled(holder) if *holder != self.me && lease.may_move() && !lease.barred => {
                Some((*self.workers.get(*holder)?, *lease))
            }
            Standing::Settled(_) | Standing::Free { .. } | Standing::Promised | Standing::OnItsWay(_) => None,
        })
    }
}

/// The workers that live.
struct Members<'a> {
    /// In their order.
    ids: Vec<&'a WorkerId>,
}

impl<'a> Members<'a> {
    /// We live, and so does whoever holds a live lease. A worker that has just come holds nothing: it is known by the first
    /// lease that somebody hands over to it. A wish alone proves nothing, because the row that carries it is kept young by its
    /// holder; what is handed over is soon released and then grows old, should nobody come for it.
    fn of(open: &[&'a Lease<'a>], me: &'a WorkerId) -> Self {
        let mut ids: BTreeSet<&WorkerId> = open.iter().filter_map(|lease| lease.live_owner(me)).collect();
        let fresh = || open.iter().filter(|lease| lease.mine || !lease.expired);
        let released_for = || fresh().filter(|lease| !lease.mine).filter_map(|lease| lease.released_for());
        let at_work = !ids.is_empty() || released_for().any(|heir| heir == me);
        // Where nobody is at work, all that was promised was promised in a former life of the fleet.
        if at_work {
            ids.extend(released_for());
            ids.extend(fresh().filter_map(|lease| lease.row.granted_to()));
        }
        ids.insert(me);
        Self { ids: ids.into_iter().collect() }
    }

    fn index(&self, id: &WorkerId) -> Option<usize> {
        self.ids.binary_search(&id).ok()
    }

    fn standing(&self, lease: &Lease<'a>, me: &WorkerId, own: usize) -> Standing {
        let row = lease.row;
        let index = |id: Option<&WorkerId>| id.and_then(|id| self.index(id));
        let Some(holder) = lease.live_owner(me).and_then(|owner| self.index(owner)) else {
            return self.standing_unheld(lease, me, own);
        };
        // A wish of ours that we do not know of any more is none.
        let asker = if lease.asked { Some(own) } else { index(row.wanted.as_ref()).filter(|asker| *asker != own) };
        match index(row.granted_to()).or(asker).filter(|heir| *heir != holder) {
            Some(heir) => Standing::OnItsWay(heir),
            None => Standing::Settled(holder),
        }
    }

    fn standing_unheld(&self, lease: &Lease<'_>, me: &WorkerId, own: usize) -> Standing {
        let row = lease.row;
        let heir = lease.released_for();
        let named = row.owner.as_ref() == Some(me);
        let ours = named || heir == Some(me);
        if named && !lease.expired && !lease.barred {
            // Its holder gave it to us, whatever we have by now: nobody else will read it.
            return Standing::Promised;
        }
        if row.owner.is_some() || lease.expired {
            return Standing::Free { ours };
        }
        match heir.and_then(|heir| self.index(heir)) {
            Some(heir) if heir != own => Standing::OnItsWay(heir),
            Some(_) if !lease.barred => Standing::Promised,
            Some(_) | None => Standing::Free { ours },
        }
    }
}
