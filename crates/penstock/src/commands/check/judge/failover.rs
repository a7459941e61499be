//! How often the owners of leases renew, held against our failover time: from some looks at the table, pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::report::Row;

/// What one look at the table showed of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Sight {
    pub(in super::super) owner: String,
    pub(in super::super) counter: u64,
    /// The checkpoint, and what is pending beside it: what else a write may be about.
    pub(in super::super) progress: String,
}

/// Looks at the table, each at a time since the first.
pub(in super::super) type Sights = Vec<(Duration, BTreeMap<String, Sight>)>;

/// How often the owners renew, held against our failover time.
pub(in super::super) fn failover(sights: &Sights, ours: Duration) -> Vec<Row> {
    const WHAT: &str = "leases.failover_time";
    let (Some((_, first)), Some((looked, _))) = (sights.first(), sights.last()) else { return Vec::new() };
    let owners: BTreeSet<&str> = first.values().map(|sight| sight.owner.as_str()).collect();
    if owners.is_empty() {
        return vec![Row::not_tried(
            WHAT,
            "the lease table",
            "nobody owns a lease: there is nothing to hold it against",
        )];
    }
    let looked_for = format!("looked {:.1} s", looked.as_secs_f64());
    let rows = owners.into_iter().map(|owner| {
        let Renewals { leases, writes, seconds, checkpoints } = renewals(sights, first, owner);
        match (writes, interval(leases, writes, seconds, checkpoints > 0)) {
            (0, _) if checkpoints > 0 => Row::not_tried(
                WHAT,
                owner,
                format!("it checkpoints all the time, which hides its renewals ({looked_for})"),
            ),
            // A lease is renewed within a third of the failover time; a shorter look shows nothing.
            (0, _) if looked.as_secs_f64() < ours.as_secs_f64() / 3.0 * 1.2 => {
                Row::not_tried(WHAT, owner, format!("too short a look to see a renewal ({looked_for})"))
            }
            (0, _) => {
                let says = format!("none of its {leases} leases was renewed ({looked_for})");
                Row::warning(WHAT, owner, says).fix(format!(
                    "it is dead, or its failover time is far longer than our {} s: all workers need the same",
                    ours.as_secs_f64()
                ))
            }
            (_, None) => {
                Row::not_tried(WHAT, owner, format!("too few renewals to tell its failover time ({looked_for})"))
            }
            (_, Some(every)) => {
                let theirs = every * 3.0;
                let says =
                    format!("renews every {every:.1} s, as with a failover time of about {theirs:.0} s ({looked_for})");
                let ratio = theirs / ours.as_secs_f64();
                if (0.65..=1.45).contains(&ratio) {
                    Row::good(WHAT, owner, says)
                } else {
                    Row::warning(WHAT, owner, says).fix(format!(
                        "ours is {} s: set both to the same, or each takes the other for dead, or waits too long",
                        ours.as_secs_f64()
                    ))
                }
            }
        }
    });
    rows.collect()
}

#[derive(Debug)]
struct Renewals {
    leases: usize,
    writes: u32,
    /// Seconds that all these leases together were looked at.
    seconds: f64,
    /// Leases that were checkpointed meanwhile.
    checkpoints: usize,
}

/// The writes of leases that kept owner and progress, which is written whenever there is some.
fn renewals(sights: &Sights, first: &BTreeMap<String, Sight>, owner: &str) -> Renewals {
    let mut renewals = Renewals { leases: 0, writes: 0, seconds: 0.0, checkpoints: 0 };
    for (key, start) in first.iter().filter(|(_, sight)| sight.owner == owner) {
        renewals.leases += 1;
        let mut before = (Duration::ZERO, start);
        for (at, sights) in sights.iter().skip(1) {
            let Some(now) = sights.get(key).filter(|now| now.owner == owner) else { break };
            if now.progress != start.progress {
                renewals.checkpoints += 1;
                break;
            }
            renewals.writes += u32::from(now.counter != before.1.counter);
            renewals.seconds += (*at - before.0).as_secs_f64();
            before = (*at, now);
        }
    }
    renewals
}

/// The mean interval; with few writes it would be chance, all the more where leases were seen for a part of the time only.
fn interval(leases: usize, writes: u32, seconds: f64, partly: bool) -> Option<f64> {
    let enough = if partly { writes >= 8 } else { writes >= 4 || (leases == 1 && writes >= 2) };
    enough.then(|| seconds / f64::from(writes))
}
