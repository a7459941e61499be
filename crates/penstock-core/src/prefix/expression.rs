//! A prefix or an error prefix, parsed and checked against all rules that need no second prefix.
//!
//! The parser finds `!{namespace:value}`; what stands between is literal text, kept as it is.

use std::collections::BTreeSet;
use std::fmt;

use super::error::{PrefixError, PrefixErrorReason};
use super::evaluate;
use super::pattern::{DateTimePattern, PatternError};
use super::suggest::nearest;
use super::warning::{self, PrefixWarning};

/// The most characters of a prefix as it is written, as in Firehose's API.
pub const MAX_SOURCE_CHARS: usize = 1_024;

/// What Firehose appends to a prefix that has no time of its own.
pub(super) const DEFAULT_TIME: &str = "yyyy/MM/dd/HH/";

const MAX_PARTITION_ID_CHARS: usize = 128;

/// Which of the two prefixes an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixKind {
    /// For the objects with the records.
    Prefix,
    /// For what could not be delivered.
    ErrorPrefix,
}

/// Why records stand under the error prefix: the value of `!{firehose:error-output-type}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorOutputType {
    /// A transform failed.
    ProcessingFailed,
    /// The sink does not take the record.
    DeliveryFailed,
}

impl ErrorOutputType {
    /// The text that stands in the key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProcessingFailed => "processing-failed",
            Self::DeliveryFailed => "delivery-failed",
        }
    }
}

impl fmt::Display for ErrorOutputType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A prefix in Firehose's expression language, checked and ready to be evaluated.
///
/// ```
/// use std::collections::BTreeMap;
/// use penstock_core::prefix::{PrefixExpression, PrefixKind, Zone};
///
/// let prefix = PrefixExpression::parse(PrefixKind::Prefix, "clicks/!{timestamp:yyyy/MM/dd/HH}/")?;
/// let tokyo = Zone::named("Asia/Tokyo")?;
/// // 2026-11-21T10:30:00Z
/// let evaluated = prefix.evaluate(1_795_257_000_000, &tokyo, b"", &BTreeMap::new(), None)?;
/// assert_eq!(evaluated, "clicks/2026/11/21/19/");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixExpression {
    kind: PrefixKind,
    source: String,
    parts: Vec<Part>,
    has_expressions: bool,
    warnings: Vec<PrefixWarning>,
}

/// A piece of a prefix and where it stands in it, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: usize,
    pub(super) piece: Piece,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Literal(String),
    Timestamp(DateTimePattern),
    RandomString,
    ErrorOutputType,
    PartitionValue(String),
}

/// A reason and its place in bytes, until the place is known in characters.
type Refusal = (usize, PrefixErrorReason);

impl PrefixExpression {
    /// Parses a prefix, or says where and why it breaks a rule.
    ///
    /// A [`PrefixKind::Prefix`] without a time gets `!{timestamp:yyyy/MM/dd/HH/}` appended, with no separator. An error
    /// prefix without any expression stays as it is.
    pub fn parse(kind: PrefixKind, source: &str) -> Result<Self, PrefixError> {
        Self::parse_by_bytes(kind, source).map_err(|(offset, reason)| PrefixError {
            offset: source.get(..offset).unwrap_or(source).chars().count(),
            reason,
        })
    }

    fn parse_by_bytes(kind: PrefixKind, source: &str) -> Result<Self, Refusal> {
        let chars = source.chars().count();
        if chars > MAX_SOURCE_CHARS {
            return Err((0, PrefixErrorReason::SourceTooLong { chars }));
        }
        let mut parts = split(kind, source)?;
        let has = |wanted: fn(&Piece) -> bool, parts: &[Part]| parts.iter().any(|part| wanted(&part.piece));
        let has_expressions = has(|piece| !matches!(piece, Piece::Literal(_)), &parts);
        match kind {
            PrefixKind::Prefix if !has(|piece| matches!(piece, Piece::Timestamp(_)), &parts) => {
                let time = DateTimePattern::parse(DEFAULT_TIME).expect("the default pattern is one");
                parts.push(Part { offset: source.len(), piece: Piece::Timestamp(time) });
            }
            PrefixKind::ErrorPrefix if has_expressions && !has(|piece| *piece == Piece::ErrorOutputType, &parts) => {
                return Err((0, PrefixErrorReason::ErrorTypeMissing));
            }
            PrefixKind::Prefix | PrefixKind::ErrorPrefix => {}
        }
        evaluate::check_sample(&parts)?;
        let warnings = warning::find(kind, source, &parts);
        Ok(Self { kind, source: source.to_owned(), parts, has_expressions, warnings })
    }

    /// Which of the two prefixes this is.
    pub fn kind(&self) -> PrefixKind {
        self.kind
    }

    /// The prefix as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether any expression was written; the appended time is none.
    pub fn has_expressions(&self) -> bool {
        self.has_expressions
    }

    /// What is allowed and probably not meant.
    pub fn warnings(&self) -> &[PrefixWarning] {
        &self.warnings
    }

    /// The ids whose partition values are needed to evaluate this prefix.
    pub fn partition_ids(&self) -> BTreeSet<&str> {
        self.parts
            .iter()
            .filter_map(|part| match &part.piece {
                Piece::PartitionValue(id) => Some(id.as_str()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

fn split(kind: PrefixKind, source: &str) -> Result<Vec<Part>, Refusal> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let literal = rest.find("!{").unwrap_or(rest.len());
        if literal > 0 {
            parts.push(Part { offset: at, piece: Piece::Literal(rest[..literal].to_owned()) });
            at += literal;
            continue;
        }
        let inside = &rest[2..];
        let end = inside.find('}').ok_or((at, PrefixErrorReason::Unclosed))?;
        let expression = &inside[..end];
        if let Some(nested) = expression.find("!{") {
            return Err((at + 2 + nested, PrefixErrorReason::Nested));
        }
        let piece = piece(kind, expression).map_err(|(offset, reason)| (at + 2 + offset, reason))?;
        parts.push(Part { offset: at, piece });
        at += 2 + end + 1;
    }
    Ok(parts)
}

/// Reads what stands between the braces; offsets count from there.
fn piece(kind: PrefixKind, expression: &str) -> Result<Piece, Refusal> {
    let Some((namespace, value)) = expression.split_once(':') else {
        let reason = PrefixErrorReason::NoNamespace { expression: expression.to_owned(), meant: whole(expression) };
        return Err((0, reason));
    };
    let value_at = namespace.len() + 1;
    let in_errors = kind == PrefixKind::ErrorPrefix;
    match namespace {
        "timestamp" => DateTimePattern::parse(value)
            .map(Piece::Timestamp)
            .map_err(|PatternError { offset, reason }| (value_at + offset, PrefixErrorReason::Pattern(reason))),
        "firehose" => match value {
            "random-string" => Ok(Piece::RandomString),
            "error-output-type" if in_errors => Ok(Piece::ErrorOutputType),
            "error-output-type" => Err((0, PrefixErrorReason::ErrorTypeInPrefix)),
            _ => Err((value_at, PrefixErrorReason::UnknownFirehoseValue { value: value.to_owned() })),
        },
        "partitionKeyFromQuery" | "partitionKeyFromLambda" if in_errors => {
            Err((0, PrefixErrorReason::PartitionInErrorPrefix { namespace: namespace.to_owned() }))
        }
        "partitionKeyFromQuery" => match is_partition_id(value) {
            true => Ok(Piece::PartitionValue(value.to_owned())),
            false => Err((value_at, PrefixErrorReason::PartitionId { id: value.to_owned() })),
        },
        "partitionKeyFromLambda" => Err((0, PrefixErrorReason::PartitionFromLambda { id: value.to_owned() })),
        _ => Err((0, unknown_namespace(namespace))),
    }
}

const NAMESPACES: [&str; 3] = ["timestamp", "firehose", "partitionKeyFromQuery"];

fn unknown_namespace(namespace: &str) -> PrefixErrorReason {
    let trimmed = namespace.trim();
    let meant = match trimmed.to_lowercase().as_str() {
        "time" | "date" | "datetime" | "ts" => Some("timestamp"),
        "partition" | "partitionkey" | "partitionkeyfrom" | "query" => Some("partitionKeyFromQuery"),
        _ => nearest(trimmed, NAMESPACES),
    };
    PrefixErrorReason::UnknownNamespace { namespace: namespace.to_owned(), meant: meant.map(str::to_owned) }
}

/// The whole expression that somebody meant who wrote no namespace.
fn whole(expression: &str) -> Option<String> {
    let word = expression.trim();
    match nearest(word, ["random-string", "error-output-type", "timestamp"])? {
        "timestamp" => Some(format!("!{{timestamp:{DEFAULT_TIME}}}")),
        value => Some(format!("!{{firehose:{value}}}")),
    }
}

fn is_partition_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=MAX_PARTITION_ID_CHARS).contains(&id.len()) && id.bytes().all(allowed)
}
