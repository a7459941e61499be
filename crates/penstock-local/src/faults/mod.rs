//! Faults that the local endpoints inject: rules, read from JSON or from a command line flag, and the plan that decides
//! per request. Decisions depend on the seed and the order of requests alone, so that a run can be repeated.

mod plan;
mod rule;
mod short;

pub(crate) use plan::{FaultPlan, Injected, PartialFailure};
pub use rule::{Effect, FaultRule, FaultRuleError, Service};
