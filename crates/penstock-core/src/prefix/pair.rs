//! The rules that hold between a prefix and its error prefix, and the error prefix that is meant when none is given.

use super::error::PrefixError;
use super::expression::{DEFAULT_TIME, PrefixExpression, PrefixKind};

/// A prefix with its error prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixPair {
    /// Where the objects with the records go.
    pub prefix: PrefixExpression,
    /// Where records go that could not be delivered.
    pub error_prefix: PrefixExpression,
}

/// Why a prefix and an error prefix cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixPairError {
    /// The prefix breaks a rule.
    #[error("{0}")]
    Prefix(PrefixError),
    /// The error prefix breaks a rule.
    #[error("{0}")]
    ErrorPrefix(PrefixError),
    /// The prefix has expressions, so the error prefix cannot be derived from it.
    #[error(
        "a prefix with expressions needs an error prefix beside it, such as \
         errors/!{{firehose:error-output-type}}/!{{timestamp:yyyy/MM/dd}}/"
    )]
    ErrorPrefixMissing,
}

impl PrefixPair {
    /// Parses both; an empty `error_prefix` means that none was given.
    ///
    /// Without one, and if the prefix has no expressions, errors go to the prefix followed by
    /// `!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH/}`.
    pub fn parse(prefix: &str, error_prefix: &str) -> Result<Self, PrefixPairError> {
        let parsed = PrefixExpression::parse(PrefixKind::Prefix, prefix).map_err(PrefixPairError::Prefix)?;
        let errors = match error_prefix {
            "" if parsed.has_expressions() => return Err(PrefixPairError::ErrorPrefixMissing),
            "" => format!("{prefix}!{{firehose:error-output-type}}/!{{timestamp:{DEFAULT_TIME}}}"),
            given => given.to_owned(),
        };
        let error_prefix =
            PrefixExpression::parse(PrefixKind::ErrorPrefix, &errors).map_err(PrefixPairError::ErrorPrefix)?;
        Ok(Self { prefix: parsed, error_prefix })
    }
}
