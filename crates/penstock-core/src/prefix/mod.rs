//! Firehose's prefix expressions: `clicks/!{timestamp:yyyy/MM/dd/HH/}` and what they evaluate to.
//!
//! A prefix is checked whole when it is parsed: what parses evaluates, but for what only a record can tell (its
//! arrival time, its partition values). Evaluation is a function of its arguments: the zone rules are those compiled
//! in, the locale is English (Java's `en` and its root locale agree on all that is printed here).
//!
//! Rules: <https://docs.aws.amazon.com/firehose/latest/dev/s3-prefixes.html>.

mod error;
mod evaluate;
mod expression;
mod fields;
mod pair;
mod pattern;
mod suggest;
mod warning;
mod zone;

pub use error::{PrefixError, PrefixErrorReason};
pub use evaluate::{EvaluateError, MAX_EVALUATED_CHARS, random_string};
pub use expression::{ErrorOutputType, MAX_SOURCE_CHARS, PrefixExpression, PrefixKind};
pub use pair::{PrefixPair, PrefixPairError};
pub use pattern::{DateTimePattern, PatternError, PatternErrorReason};
pub use warning::{PrefixWarning, PrefixWarningReason};
pub use zone::{LocalInstant, UnknownZone, Zone};
