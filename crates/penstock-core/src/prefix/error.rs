//! Why a prefix is refused: where, by which rule, and what was probably meant.

use super::evaluate::MAX_EVALUATED_CHARS;
use super::expression::MAX_SOURCE_CHARS;
use super::pattern::PatternErrorReason;

/// A prefix that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {}: {reason}", offset + 1)]
pub struct PrefixError {
    /// Where, in characters from the start of the prefix, from 0.
    pub offset: usize,
    /// Why.
    pub reason: PrefixErrorReason,
}

/// The rule that a prefix breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixErrorReason {
    /// The text is longer than Firehose takes.
    #[error("the prefix has {chars} characters, the most is {MAX_SOURCE_CHARS}")]
    SourceTooLong {
        /// How many it has.
        chars: usize,
    },
    /// What it evaluates to would be longer than Firehose allows.
    #[error("the prefix can evaluate to {chars} characters, the most is {MAX_EVALUATED_CHARS}")]
    EvaluatesTooLong {
        /// How many it would have.
        chars: usize,
    },
    /// `!{` without a `}` after it.
    #[error("this expression has no closing brace; `!{{` always opens one")]
    Unclosed,
    /// `!{` within an expression.
    #[error("an expression cannot stand inside another; perhaps the one before lacks its closing brace")]
    Nested,
    /// An expression without a namespace.
    #[error("`!{{{expression}}}` lacks its namespace; {}", did_you_mean(meant))]
    NoNamespace {
        /// What stands between the braces.
        expression: String,
        /// The whole expression that was probably meant.
        meant: Option<String>,
    },
    /// A namespace that does not exist.
    #[error("there is no namespace `{namespace}`; {}", did_you_mean(meant))]
    UnknownNamespace {
        /// The namespace as it was written.
        namespace: String,
        /// The namespace that was probably meant.
        meant: Option<String>,
    },
    /// A value that the namespace `firehose` does not have.
    #[error("the namespace `firehose` has no `{value}`; it has `random-string` and `error-output-type`")]
    UnknownFirehoseValue {
        /// The value as it was written.
        value: String,
    },
    /// A pattern that `DateTimeFormatter` refuses, or that we cannot print.
    #[error("{0}")]
    Pattern(PatternErrorReason),
    /// `error-output-type` in a prefix that is not for errors.
    #[error("`!{{firehose:error-output-type}}` has a value only in the error prefix")]
    ErrorTypeInPrefix,
    /// An error prefix with expressions, none of which is `error-output-type`.
    #[error(
        "an error prefix with expressions must have `!{{firehose:error-output-type}}` among them, such as \
         errors/!{{firehose:error-output-type}}/!{{timestamp:yyyy/MM/dd}}/"
    )]
    ErrorTypeMissing,
    /// A partition value in the error prefix.
    #[error("a record that failed has no partition values: `{namespace}` cannot stand in the error prefix")]
    PartitionInErrorPrefix {
        /// The namespace.
        namespace: String,
    },
    /// A partition value from a Lambda function.
    #[error(
        "there is no Lambda function here that could give `!{{partitionKeyFromLambda:{id}}}`; take the value from the \
         record: !{{partitionKeyFromQuery:{id}}}"
    )]
    PartitionFromLambda {
        /// The id.
        id: String,
    },
    /// A partition id that cannot be a key of the configuration.
    #[error("`{id}` is no partition id; one is made of letters, digits, `_` and `-`, at most 128")]
    PartitionId {
        /// The id as it was written.
        id: String,
    },
    /// Two slashes in a row, or one at the start.
    #[error("the key would have a folder without a name here (a slash at the start, or two in a row)")]
    EmptySegment,
    /// A folder called `.` or `..`.
    #[error("a folder cannot be called `{segment}`")]
    DotSegment {
        /// The name.
        segment: String,
    },
    /// A line break, a tab or the like.
    #[error("a control character ({0:?}) cannot stand in a key")]
    ControlCharacter(char),
}

fn did_you_mean(meant: &Option<String>) -> String {
    match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "there are timestamp, firehose and partitionKeyFromQuery".to_owned(),
    }
}
