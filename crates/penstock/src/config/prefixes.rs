//! Prefix expressions, checked by the parser that will later evaluate them, so that nothing that
//! passes here can fail at the first object.

use super::problem::Problem;
use super::value::Values;
use penstock_core::prefix::{PrefixExpression, PrefixKind, PrefixPair, PrefixPairError, PrefixWarning};

const PREFIX: &str = "sink.prefix";
const ERROR_PREFIX: &str = "sink.error_prefix";

/// Checks the prefix and the error prefix of the sink.
pub(crate) fn check(values: &Values, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    // Keys that do not belong to the sink are not among the values.
    if values.get_even_empty(ERROR_PREFIX).is_none() {
        return;
    }
    let (prefix, error_prefix) = (text(values, PREFIX), text(values, ERROR_PREFIX));
    match PrefixPair::parse(prefix, error_prefix) {
        Ok(pair) => {
            let ids = pair.prefix.partition_ids();
            let unpartitioned =
                |id: &&str| format!("asks for the partition value {id:?}; this version does not partition by content");
            problems.extend(ids.iter().map(|id| values.problem(PREFIX, unpartitioned(id))));
            warnings.extend(doubts(values, PREFIX, pair.prefix.warnings()));
            if !error_prefix.is_empty() {
                warnings.extend(doubts(values, ERROR_PREFIX, pair.error_prefix.warnings()));
            }
        }
        Err(PrefixPairError::Prefix(error)) => {
            problems.push(values.problem(PREFIX, error.to_string()));
            problems.extend(error_prefix_alone(values, error_prefix));
        }
        Err(PrefixPairError::ErrorPrefix(error)) => {
            let key = if error_prefix.is_empty() { PREFIX } else { ERROR_PREFIX };
            problems.push(values.problem(key, error.to_string()));
        }
        Err(missing @ PrefixPairError::ErrorPrefixMissing) => {
            problems.push(Problem::new(ERROR_PREFIX, format!("is required: {missing}")));
        }
    }
}

fn text<'a>(values: &'a Values, key: &str) -> &'a str {
    values.text(key).unwrap_or_default()
}

/// The pair's parser stops at the prefix; the error prefix has a right to be heard too.
fn error_prefix_alone(values: &Values, error_prefix: &str) -> Option<Problem> {
    if error_prefix.is_empty() {
        return None;
    }
    let error = PrefixExpression::parse(PrefixKind::ErrorPrefix, error_prefix).err()?;
    Some(values.problem(ERROR_PREFIX, error.to_string()))
}

fn doubts<'a>(values: &'a Values, key: &'a str, found: &'a [PrefixWarning]) -> impl Iterator<Item = Problem> + 'a {
    found.iter().map(move |warning| values.problem(key, warning.to_string()))
}
