//! What a prefix evaluates to: a function of one instant, a zone, a digest and partition values.
//!
//! `random-string` is derived, not drawn: an object that is named again gets the same name.

use std::collections::BTreeMap;

use jiff::civil;
use sha2::{Digest, Sha256};

use super::error::PrefixErrorReason;
use super::expression::{ErrorOutputType, Part, Piece, PrefixExpression};
use super::zone::{LocalInstant, Zone};

/// The most characters of an evaluated prefix, as in Firehose.
pub const MAX_EVALUATED_CHARS: usize = 512;

/// Characters of a `random-string`, as in Firehose.
const RANDOM_STRING_CHARS: usize = 11;

/// Why a checked prefix has no value for these records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// The arrival time is no date that a pattern could print.
    #[error("the arrival time {instant_ms} ms lies outside the years 1 to 9998")]
    InstantOutOfRange {
        /// Milliseconds since 1970.
        instant_ms: i64,
    },
    /// The records have no value for a partition id of the prefix.
    #[error("there is no partition value for `{id}`")]
    NoPartitionValue {
        /// The id.
        id: String,
    },
    /// The records have an empty value for a partition id of the prefix.
    #[error("the partition value for `{id}` is empty")]
    EmptyPartitionValue {
        /// The id.
        id: String,
    },
    /// An error prefix was evaluated without saying which kind of error.
    #[error("an error prefix needs an error output type")]
    NoErrorOutputType,
    /// The value is longer than Firehose allows.
    #[error("the prefix evaluates to {chars} characters, the most is {MAX_EVALUATED_CHARS}")]
    TooLong {
        /// How many it has.
        chars: usize,
    },
}

impl PrefixExpression {
    /// Evaluates the prefix for one instant, in milliseconds since 1970, which all its times share.
    ///
    /// `digest_seed` is what `random-string` is derived from, each occurrence differently. `error_output_type` is
    /// needed by an error prefix that names it, and ignored by others.
    pub fn evaluate(
        &self,
        instant_ms: i64,
        zone: &Zone,
        digest_seed: &[u8],
        partition_values: &BTreeMap<String, String>,
        error_output_type: Option<ErrorOutputType>,
    ) -> Result<String, EvaluateError> {
        let at = zone.local(instant_ms).ok_or(EvaluateError::InstantOutOfRange { instant_ms })?;
        let mut out = String::new();
        let mut random_strings = 0;
        for part in self.parts() {
            match &part.piece {
                Piece::Literal(literal) => out.push_str(literal),
                Piece::Timestamp(pattern) => out.push_str(&pattern.format(&at)),
                Piece::RandomString => {
                    out.push_str(&random_string(digest_seed, random_strings));
                    random_strings += 1;
                }
                Piece::ErrorOutputType => {
                    out.push_str(error_output_type.ok_or(EvaluateError::NoErrorOutputType)?.as_str());
                }
                Piece::PartitionValue(id) => out.push_str(partition_value(partition_values, id)?),
            }
        }
        match out.chars().count() {
            chars if chars > MAX_EVALUATED_CHARS => Err(EvaluateError::TooLong { chars }),
            _ => Ok(out),
        }
    }
}

fn partition_value<'a>(values: &'a BTreeMap<String, String>, id: &str) -> Result<&'a str, EvaluateError> {
    match values.get(id).map(String::as_str) {
        None => Err(EvaluateError::NoPartitionValue { id: id.to_owned() }),
        Some("") => Err(EvaluateError::EmptyPartitionValue { id: id.to_owned() }),
        Some(value) => Ok(value),
    }
}

/// The `random-string` of the occurrence `occurrence` (from 0): 11 lower-case letters and digits.
///
/// SHA-256 over `random-string`, a zero byte, the occurrence as 4 bytes big-endian, and the seed; its first 16 bytes
/// as a big-endian number, whose digits to the base 36 are the characters, the lowest first. Pinned: keys depend on it.
pub fn random_string(digest_seed: &[u8], occurrence: u32) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let digest = Sha256::new()
        .chain_update(b"random-string\0")
        .chain_update(occurrence.to_be_bytes())
        .chain_update(digest_seed)
        .finalize();
    let mut number = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let mut out = String::with_capacity(RANDOM_STRING_CHARS);
    for _ in 0..RANDOM_STRING_CHARS {
        out.push(char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
    }
    out
}

/// Refuses a prefix whose keys no store would take, by an instant that prints the longest names.
pub(super) fn check_sample(parts: &[Part]) -> Result<(), (usize, PrefixErrorReason)> {
    let at = LocalInstant {
        civil: civil::datetime(2026, 9, 30, 23, 59, 59, 999_000_000),
        offset_seconds: 0,
        abbreviation: "UTC".to_owned(),
        zone: "UTC".to_owned(),
    };
    // Each character with the place in the source that it comes from.
    let mut sample: Vec<(usize, char)> = Vec::new();
    for Part { offset, piece } in parts {
        let text = match piece {
            Piece::Literal(literal) => {
                sample.extend(literal.char_indices().map(|(within, letter)| (offset + within, letter)));
                continue;
            }
            Piece::Timestamp(pattern) => pattern.format(&at),
            Piece::RandomString => "r".repeat(RANDOM_STRING_CHARS),
            Piece::ErrorOutputType => ErrorOutputType::ProcessingFailed.as_str().to_owned(),
            Piece::PartitionValue(_) => "v".to_owned(),
        };
        sample.extend(text.chars().map(|letter| (*offset, letter)));
    }
    check_segments(&sample)?;
    match sample.len() {
        chars if chars > MAX_EVALUATED_CHARS => Err((0, PrefixErrorReason::EvaluatesTooLong { chars })),
        _ => Ok(()),
    }
}

fn check_segments(sample: &[(usize, char)]) -> Result<(), (usize, PrefixErrorReason)> {
    if let Some((offset, letter)) = sample.iter().find(|(_, letter)| letter.is_control()) {
        return Err((*offset, PrefixErrorReason::ControlCharacter(*letter)));
    }
    let mut segments: Vec<&[(usize, char)]> = sample.split(|(_, letter)| *letter == '/').collect();
    // The last is continued by the object's name.
    segments.pop();
    let mut start = 0;
    for letters in segments {
        let offset = sample[start].0;
        let segment: String = letters.iter().map(|(_, letter)| letter).collect();
        match segment.as_str() {
            "" => return Err((offset, PrefixErrorReason::EmptySegment)),
            "." | ".." => return Err((offset, PrefixErrorReason::DotSegment { segment })),
            _ => start += letters.len() + 1,
        }
    }
    Ok(())
}
