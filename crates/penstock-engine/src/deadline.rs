//! Until when deliveries of a lease may begin, and the permit that each of them needs.
//!
//! One proof leads to the next: the coordinator alone makes the token of a held lease, a held lease alone makes a deadline, a
//! deadline alone gives permits, and a sink takes nothing without one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use penstock_core::coordinator::api::HeldLease;
use penstock_core::time::Instant;

use crate::clock::Clock;

/// Leave for one delivery: the leases of all that it carries were held when it was given. Spent by the delivery, not copied.
///
/// ```
/// # use penstock_core::intent::Destination;
/// # use penstock_engine::ports::{DeliveryPermit, ObjectSink, PreparedObject};
/// async fn deliver(permit: DeliveryPermit, sink: &dyn ObjectSink, to: &Destination, object: &PreparedObject) {
///     let _put = sink.put(permit, to, object).await;
/// }
/// ```
///
/// Nothing is delivered without one:
///
/// ```compile_fail,E0061
/// # use penstock_core::intent::Destination;
/// # use penstock_engine::ports::{DeliveryPermit, ObjectSink, PreparedObject};
/// async fn deliver(sink: &dyn ObjectSink, to: &Destination, object: &PreparedObject) {
///     let _put = sink.put(to, object).await;
/// }
/// ```
///
/// nor twice with the same one:
///
/// ```compile_fail,E0382
/// # use penstock_core::intent::Destination;
/// # use penstock_engine::ports::{DeliveryPermit, ObjectSink, PreparedObject};
/// async fn deliver(permit: DeliveryPermit, sink: &dyn ObjectSink, to: &Destination, object: &PreparedObject) {
///     let _put = sink.put(permit, to, object).await;
///     let _again = sink.put(permit, to, object).await;
/// }
/// ```
///
/// nor with one that was made up:
///
/// ```compile_fail,E0451
/// # use penstock_core::time::Instant;
/// # use penstock_engine::ports::DeliveryPermit;
/// let permit = DeliveryPermit { until: Instant::default() };
/// ```
#[derive(Debug)]
#[must_use = "it is leave to deliver"]
pub struct DeliveryPermit {
    until: Instant,
}

impl DeliveryPermit {
    /// A permit that proves nothing, for tests of sinks alone. A test of the sources sees to it that nothing else calls this.
    pub const fn unproven() -> Self {
        Self { until: Instant::from_nanos(u64::MAX) }
    }

    /// The deadline of the leases when it was given; they may have been proved again since.
    #[must_use]
    pub const fn until(&self) -> Instant {
        self.until
    }
}

/// Until when deliveries of one tenure may begin. The keeper extends it, the shard looks at it; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryDeadline(Arc<AtomicU64>);

impl DeliveryDeadline {
    /// The deadline of a lease that is held.
    pub(crate) fn of(held: &HeldLease) -> Self {
        Self(Arc::new(AtomicU64::new(held.until.as_nanos())))
    }

    /// A deadline of no lease.
    #[cfg(test)]
    pub(crate) fn new(until: Instant) -> Self {
        Self(Arc::new(AtomicU64::new(until.as_nanos())))
    }

    fn get(&self) -> Instant {
        Instant::from_nanos(self.0.load(Ordering::Acquire))
    }

    /// Moves the deadline. A deadline that was ended stays ended.
    pub(crate) fn extend(&self, until: Instant) {
        let extend = |old: u64| (old != 0).then_some(old.max(until.as_nanos()));
        // The only failure is an ended deadline, which is left as it is.
        let _ended = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, extend);
    }

    /// The lease is lost: no delivery may begin any more.
    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Runs an attempt that must not go on past the deadline, which may move meanwhile. `None` if it passed; the attempt is
    /// dropped then, with its outcome unknown. An attempt that would begin past the deadline gets no permit and does not begin.
    pub(crate) async fn bound<A: Future>(
        &self,
        clock: &Clock,
        attempt: impl FnOnce(DeliveryPermit) -> A,
    ) -> Option<A::Output> {
        let mut until = self.get();
        if until <= clock.now().instant {
            return None;
        }
        let mut attempt = std::pin::pin!(attempt(DeliveryPermit { until }));
        while until > clock.now().instant {
            tokio::select! {
                // Biased: an outcome that is known must not be lost to a deadline that comes at the same moment.
                biased;
                outcome = &mut attempt => return Some(outcome),
                () = clock.sleep_until(until) => until = self.get(),
            }
        }
        None
    }

    /// A permit for one call that carries records of several tenures, and that ends before the first of their deadlines. `None`
    /// if that leaves it less than `least`.
    pub(crate) fn permit_for_all<'a>(
        deadlines: impl Iterator<Item = &'a Self>,
        now: Instant,
        least: Duration,
    ) -> Option<DeliveryPermit> {
        let until = deadlines.map(Self::get).min()?;
        (until.since(now) >= least).then_some(DeliveryPermit { until })
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::path::{Path, PathBuf};

    use penstock_core::time::UnixMillis;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_ends_with_a_deadline_that_moves_and_none_begins_after_it() {
        let clock = Clock::simulated(UnixMillis(0));
        let deadline = DeliveryDeadline::new(Instant::from_nanos(1_000_000_000));
        let extend = async {
            clock.sleep(Duration::from_millis(900)).await;
            deadline.extend(Instant::from_nanos(3_000_000_000));
        };
        let attempt = deadline.bound(&clock, |permit| {
            assert_eq!(permit.until(), Instant::from_nanos(1_000_000_000));
            clock.sleep(Duration::from_secs(10))
        });
        assert_eq!(tokio::join!(attempt, extend).0, None);
        assert_eq!(clock.now().instant, Instant::from_nanos(3_000_000_000));
        assert_eq!(deadline.bound(&clock, |_| ready(1)).await, None);
        deadline.end();
        deadline.extend(Instant::from_nanos(9_000_000_000));
        assert_eq!(deadline.bound(&clock, |_| ready(1)).await, None);
    }

    #[test]
    fn a_call_is_permitted_until_the_first_of_its_deadlines() {
        let at = Instant::from_nanos;
        let [soon, later] = [100, 900].map(|nanos| DeliveryDeadline::new(at(nanos)));
        let permit = |now, least| {
            let both = [&later, &soon].into_iter();
            DeliveryDeadline::permit_for_all(both, at(now), Duration::from_nanos(least)).map(|permit| permit.until())
        };
        assert_eq!(permit(40, 60), Some(at(100)));
        assert_eq!(permit(41, 60), None);
        soon.end();
        assert_eq!(permit(0, 1), None);
        assert!(DeliveryDeadline::permit_for_all(std::iter::empty(), at(0), Duration::ZERO).is_none());
    }

    /// The sources of all crates that are built into a program, without what is there for tests.
    fn sources() -> Vec<(PathBuf, String)> {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut open: Vec<PathBuf> =
            std::fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path().join("src")).collect();
        let mut sources = Vec::new();
        while let Some(path) = open.pop() {
            let name = path.file_stem().unwrap_or_default();
            if ["tests", "fakes"].iter().any(|test| name == *test) {
                continue;
            }
            if path.is_dir() {
                open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                // The tests of a file stand at its end.
                let program = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
                sources.push((path, program));
            }
        }
        sources
    }

    #[test]
    fn no_proof_is_forged_outside_tests() {
        let sources = sources();
        assert!(sources.len() > 150, "{}", sources.len());
        let forges = |text: &str| ["::forged", "::unproven"].iter().any(|forgery| text.contains(forgery));
        let forged: Vec<_> = sources.iter().filter(|(_, text)| forges(text)).map(|(path, _)| path).collect();
        assert!(forged.is_empty(), "proofs for tests are used in {forged:?}");
        let makers = sources.iter().filter(|(_, text)| text.contains("LeaseToken::mint("));
        let makers: Vec<_> = makers.map(|(path, _)| path).collect();
        assert!(matches!(&makers[..], [one] if one.ends_with("coordinator/taking.rs")), "{makers:?}");
    }
}
