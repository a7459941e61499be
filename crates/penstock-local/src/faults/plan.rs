//! Which fault a request meets: the rules in their order, with how often each has fired, and one seeded generator.

use std::time::Duration;

use super::rule::{Effect, FaultRule, Service};

/// The rules of a server, and how far they have gone.
#[derive(Debug)]
pub(crate) struct FaultPlan {
    rules: Vec<Armed>,
    random: Random,
}

#[derive(Debug)]
struct Armed {
    rule: FaultRule,
    met: u64,
    fired: u64,
}

/// What is done to one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Injected {
    pub(crate) latency: Duration,
    pub(crate) effect: Effect,
    /// For choices within the request.
    pub(crate) seed: u64,
}

/// The choice of entries that a partial failure refuses.
#[derive(Debug, Clone)]
pub(crate) struct PartialFailure {
    fraction: f64,
    code: Option<String>,
    seed: u64,
}

/// SplitMix64: small, seeded, good enough to choose by.
#[derive(Debug, Clone)]
struct Random(u64);

impl FaultPlan {
    pub(crate) fn new(rules: Vec<FaultRule>, seed: u64) -> Self {
        let rules = rules.into_iter().map(|rule| Armed { rule, met: 0, fired: 0 }).collect();
        Self { rules, random: Random(seed) }
    }

    /// The fault for a request: that of the first rule that meets it and fires.
    pub(crate) fn decide(&mut self, service: Service, operation: &str) -> Option<Injected> {
        for armed in &mut self.rules {
            if armed.rule.meets(service, operation) && armed.fires(&mut self.random) {
                let FaultRule { latency, effect, .. } = &armed.rule;
                return Some(Injected { latency: *latency, effect: effect.clone(), seed: self.random.next() });
            }
        }
        None
    }
}

impl Armed {
    fn fires(&mut self, random: &mut Random) -> bool {
        if self.rule.times.is_some_and(|times| self.fired >= times) {
            return false;
        }
        let met = self.met;
        self.met += 1;
        let in_turn = self.rule.sequence.is_none_or(|(fail, pass)| met % (fail.saturating_add(pass)) < fail);
        let fires = in_turn && random.fraction() < self.rule.probability;
        self.fired += u64::from(fires);
        fires
    }
}

impl PartialFailure {
    pub(crate) fn new(fraction: f64, code: Option<String>, seed: u64) -> Self {
        Self { fraction, code, seed }
    }

    /// For each of `count` entries, whether it is refused. Of two or more, at least one is refused and one is taken; a
    /// single entry is taken.
    pub(crate) fn pick(&self, count: usize) -> Vec<bool> {
        let mut random = Random(self.seed);
        let mut refused: Vec<bool> = (0..count).map(|_| random.fraction() < self.fraction).collect();
        if count < 2 {
            refused.fill(false);
            return refused;
        }
        let any = usize::try_from(random.next() % count as u64).unwrap_or(0);
        if refused.iter().all(|&refused| refused) {
            refused[any] = false;
        } else if !refused.contains(&true) {
            refused[any] = true;
        }
        refused
    }

    /// The refused entries' code: the rule's, or the service's throttle.
    pub(crate) fn code(&self, service: Service) -> String {
        let throttle = match service {
            Service::Kinesis => "ProvisionedThroughputExceededException",
            Service::Firehose => "ServiceUnavailableException",
        };
        self.code.clone().unwrap_or_else(|| throttle.to_owned())
    }
}

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and below 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(rules: &[&str], seed: u64, requests: usize) -> Vec<bool> {
        let mut plan = FaultPlan::new(rules.iter().map(|rule| rule.parse().unwrap()).collect(), seed);
        (0..requests).map(|_| plan.decide(Service::Kinesis, "GetRecords").is_some()).collect()
    }

    #[test]
    fn a_rule_fires_as_often_as_it_may() {
        assert_eq!(fired(&["kinesis.GetRecords:reset:times=2"], 1, 4), [true, true, false, false]);
        assert_eq!(fired(&["firehose.PutRecord:reset"], 1, 2), [false, false]);
        assert_eq!(fired(&["*:reset:fail=1,pass=2"], 1, 6), [true, false, false, true, false, false]);
    }

    #[test]
    fn probability_is_kept_and_the_seed_decides() {
        let run = fired(&["*:reset:p=0.3"], 7, 10_000);
        assert_eq!(run, fired(&["*:reset:p=0.3"], 7, 10_000));
        assert_ne!(run, fired(&["*:reset:p=0.3"], 8, 10_000));
        let hits = run.iter().filter(|&&hit| hit).count();
        assert!((2_700..3_300).contains(&hits), "{hits}");
        assert!(!fired(&["*:reset:p=0"], 7, 1000).contains(&true));
    }

    #[test]
    fn the_first_rule_that_fires_wins() {
        let rules = ["kinesis.GetRecords:hang:times=1", "kinesis.*:reset"].map(|rule| rule.parse().unwrap());
        let mut plan = FaultPlan::new(rules.into(), 1);
        let mut next = || plan.decide(Service::Kinesis, "GetRecords").unwrap().effect;
        assert_eq!((next(), next()), (Effect::Hang, Effect::Reset));
    }

    #[test]
    fn a_partial_failure_takes_some_and_refuses_some() {
        for seed in 0..200 {
            for fraction in [0.0, 0.01, 0.5, 1.0] {
                let refused = PartialFailure::new(fraction, None, seed).pick(5);
                assert!(refused.contains(&true) && refused.contains(&false), "{seed} {fraction}");
            }
            assert_eq!(PartialFailure::new(1.0, None, seed).pick(1), [false]);
        }
        let half = PartialFailure::new(0.5, None, 3).pick(1000).iter().filter(|&&refused| refused).count();
        assert!((400..600).contains(&half), "{half}");
    }
}
