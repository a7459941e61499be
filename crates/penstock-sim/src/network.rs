//! The way from a worker to the seams and back: delays, and everything that can go wrong on it.
//!
//! A request that was made travels on its own: dropping the caller's future, or killing the worker, does not undo it. Both the
//! fates and the delays are drawn from the seed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use penstock_core::random::Random;
use penstock_engine::ports::{ErrorClass, SeamError};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::world::World;

/// One of the seams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seam {
    /// The stream.
    Source,
    /// The lease table.
    Table,
    /// Objects, calls and what is set aside.
    Sink,
    /// The gap ledger.
    Gaps,
}

impl Seam {
    /// All seams.
    pub const ALL: [Self; 4] = [Self::Source, Self::Table, Self::Sink, Self::Gaps];
}

/// How a service fails for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Everything is refused for pace.
    Throttled,
    /// What was named does not exist for this time, as if it had been deleted.
    Gone,
    /// Nothing is answered, and nothing takes effect.
    Hangs,
    /// Nothing is answered, and what was asked for takes effect.
    HangsAfterEffect,
}

/// How often, of a thousand calls, what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// The request never arrives.
    pub request_lost: u64,
    /// The effect comes about, the answer does not arrive.
    pub reply_lost: u64,
    /// The effect comes about much later, without an answer.
    pub late: u64,
    /// Refused for pace, without effect.
    pub throttled: u64,
    /// A server's fault, without effect.
    pub refused: u64,
    /// The longest ordinary way, there or back, in milliseconds.
    pub delay: u64,
}

/// What goes wrong on each seam, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// The stream.
    pub source: Rates,
    /// The lease table.
    pub table: Rates,
    /// Objects, calls and what is set aside.
    pub sink: Rates,
    /// The gap ledger.
    pub gaps: Rates,
    /// Of a thousand entries of a call, how many fail for this time.
    pub entries_failed: u64,
    /// From then on nothing goes wrong.
    pub until: Duration,
    /// The latest that a late effect comes about after its request, in milliseconds.
    pub latest: u64,
}

/// The longest way, there or back, of a quiet world, in milliseconds.
const QUIET_DELAY: u64 = 15;

/// What becomes of one call.
#[derive(Debug, Clone, Copy)]
struct Passage {
    out: Duration,
    back: Duration,
    fate: Fate,
    /// Whether the caller hears of a broken connection, or nothing at all.
    heard: bool,
    /// Whether a freeze on the way out still holds the request back: decided, not yet sent.
    held: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    RequestLost,
    ReplyLost,
    Late,
    Throttled,
    Refused,
    Gone,
}

/// The ways of one worker to all seams.
#[derive(Debug)]
pub struct Link {
    /// The worker's name in the trace.
    pub name: String,
    /// The world.
    pub world: Arc<World>,
    faults: Faults,
    began: Instant,
    random: Mutex<Random>,
    frozen: AtomicBool,
    /// Wakes in the order of waiting, unlike a watch channel, which draws lots.
    thaw: Notify,
    cut: Mutex<[Instant; 4]>,
    deaf: Mutex<[Instant; 4]>,
}

impl Link {
    /// The ways of the worker `name`.
    #[must_use]
    pub fn new(name: String, world: Arc<World>, faults: Faults, began: Instant, random: Random) -> Arc<Self> {
        let (frozen, thaw) = (AtomicBool::new(false), Notify::new());
        let (cut, deaf) = (Mutex::new([began; 4]), Mutex::new([began; 4]));
        Arc::new(Self { name, world, faults, began, random: Mutex::new(random), frozen, thaw, cut, deaf })
    }

    /// Holds back everything that the worker sends or is to hear. What it decided meanwhile comes about after the thaw.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
        self.thaw.notify_waiters();
    }

    /// Cuts the worker off from one seam until then.
    pub fn cut(&self, seam: Seam, until: Instant) {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)[seam as usize] = until;
    }

    /// Lets the worker hear no answer of one seam until then.
    pub fn deafen(&self, seam: Seam, until: Instant) {
        self.deaf.lock().unwrap_or_else(PoisonError::into_inner)[seam as usize] = until;
    }

    fn is_deaf(&self, seam: Seam) -> bool {
        self.deaf.lock().unwrap_or_else(PoisonError::into_inner)[seam as usize] > Instant::now()
    }

    fn is_cut(&self, seam: Seam) -> bool {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)[seam as usize] > Instant::now()
    }

    /// A number of this link's own stream.
    pub fn below(&self, bound: u64) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).below(bound)
    }

    /// Whether something that happens `of_thousand` times of a thousand happens, while things go wrong.
    pub fn fails(&self, of_thousand: u64) -> bool {
        self.began.elapsed() < self.faults.until && self.below(1000) < of_thousand
    }

    /// What goes wrong.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    fn passage(&self, seam: Seam) -> Passage {
        let rates = match seam {
            Seam::Source => self.faults.source,
            Seam::Table => self.faults.table,
            Seam::Sink => self.faults.sink,
            Seam::Gaps => self.faults.gaps,
        };
        let wild = self.began.elapsed() < self.faults.until;
        let delay = if wild { rates.delay.max(1) } else { QUIET_DELAY };
        let mut drawn = self.below(1000);
        let mut fate = Fate::Answered;
        if wild {
            let fates = [
                (rates.request_lost, Fate::RequestLost),
                (rates.reply_lost, Fate::ReplyLost),
                (rates.late, Fate::Late),
                (rates.throttled, Fate::Throttled),
                (rates.refused, Fate::Refused),
            ];
            for (rate, which) in fates {
                if drawn < rate {
                    fate = which;
                    break;
                }
                drawn -= rate;
            }
        }
        let (out, back, mut heard) = (self.below(delay), self.below(delay), self.below(2) == 0);
        if self.is_cut(seam) {
            fate = Fate::RequestLost;
        }
        if self.is_deaf(seam) {
            (fate, heard) = (Fate::ReplyLost, false);
        }
        match self.world.outage(seam) {
            None => {}
            Some(Outage::Throttled) => fate = Fate::Throttled,
            Some(Outage::Gone) => fate = Fate::Gone,
            Some(Outage::Hangs) => (fate, heard) = (Fate::RequestLost, false),
            Some(Outage::HangsAfterEffect) => (fate, heard) = (Fate::ReplyLost, false),
        }
        let held = self.below(2) == 0;
        Passage { out: Duration::from_millis(1 + out), back: Duration::from_millis(1 + back), fate, heard, held }
    }

    /// Makes a call: `effect` comes about in the world, once or never, whatever becomes of the returned future.
    ///
    /// # Errors
    /// What `effect` says, or what happened on the way.
    pub async fn call<T: Send + 'static>(
        self: &Arc<Self>,
        seam: Seam,
        operation: &'static str,
        subject: String,
        effect: impl FnOnce(&World) -> Result<T, SeamError> + Send + 'static,
    ) -> Result<T, SeamError> {
        let passage = self.passage(seam);
        if passage.fate != Fate::Answered {
            self.world.note(&self.name, format_args!("{operation} {subject} meets {:?}", passage.fate));
        }
        let (reply, answer) = oneshot::channel();
        let link = Arc::clone(self);
        // Detached on purpose: it is on the way, nobody can take it back.
        drop(tokio::spawn(link.carry(seam, passage, operation, subject, effect, reply)));
        match answer.await {
            Ok(answer) => answer,
            // Nobody will ever answer; the caller's own time-out ends this.
            Err(_) => std::future::pending().await,
        }
    }

    async fn carry<T>(
        self: Arc<Self>,
        seam: Seam,
        passage: Passage,
        operation: &'static str,
        subject: String,
        effect: impl FnOnce(&World) -> Result<T, SeamError>,
        reply: oneshot::Sender<Result<T, SeamError>>,
    ) {
        let Passage { out, back, fate, heard, held } = passage;
        let error = |class, message: &str| SeamError::new(operation, subject.as_str(), class, message);
        self.thawed().await;
        tokio::time::sleep(out).await;
        if held {
            self.thawed().await;
        }
        match fate {
            Fate::Throttled => self.answer(reply, back, Err(error(ErrorClass::Throttled, "slow down"))).await,
            Fate::Gone => self.answer(reply, back, Err(error(ErrorClass::NotFound, "there is no such thing"))).await,
            Fate::Refused => self.answer(reply, back, Err(error(ErrorClass::Transient, "internal failure"))).await,
            Fate::RequestLost => {
                if heard {
                    self.answer(reply, back, Err(error(ErrorClass::Transient, "connection reset"))).await;
                }
            }
            Fate::ReplyLost => {
                let _nobody_hears = effect(&self.world);
                if heard {
                    self.answer(reply, back, Err(error(ErrorClass::Transient, "connection reset"))).await;
                }
            }
            Fate::Late => {
                let late = Duration::from_millis(self.below(self.faults.latest.max(1)));
                if heard {
                    self.answer(reply, back, Err(error(ErrorClass::Transient, "connection reset"))).await;
                } else {
                    drop(reply);
                }
                tokio::time::sleep(late).await;
                self.world.note(&self.name, format_args!("{operation} {subject} arrives late"));
                let _nobody_hears = effect(&self.world);
            }
            Fate::Answered => {
                let answer = effect(&self.world);
                if !self.is_cut(seam) {
                    self.answer(reply, back, answer).await;
                }
            }
        }
    }

    async fn answer<T>(
        &self,
        reply: oneshot::Sender<Result<T, SeamError>>,
        back: Duration,
        answer: Result<T, SeamError>,
    ) {
        tokio::time::sleep(back).await;
        self.thawed().await;
        // The caller may have gone away.
        let _gone = reply.send(answer);
    }

    async fn thawed(&self) {
        while self.frozen.load(Ordering::Relaxed) {
            self.thaw.notified().await;
        }
    }
}
