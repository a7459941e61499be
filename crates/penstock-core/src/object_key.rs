//! Object keys: the evaluated prefix, then `<application>-<shard number>-<yyyy-MM-dd-HH-mm-ss>-<uuid><extension>`.
//!
//! A key is a function of what is in the object and of nothing else: no clock, no counter. It is computed once, when
//! the batch is sealed; from then on the recorded intent decides. The bytes that the uuid and `random-string` are made
//! from are pinned by tests, since two versions of penstock may run side by side.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::prefix::{DateTimePattern, ErrorOutputType, EvaluateError, PrefixExpression, Zone};

/// The most bytes of a key in S3: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>.
pub const MAX_KEY_BYTES: usize = 1_024;

/// The most characters of a file extension, as in Firehose.
pub const MAX_EXTENSION_CHARS: usize = 128;

/// The namespace of our version 5 uuids: itself the version 5 uuid of `penstock object` in the namespace of DNS names.
const NAMESPACE: Uuid = Uuid::from_u128(0x9862_8f08_26d0_5329_b071_192a_87ff_cb60);

const TIME_IN_NAME: &str = "yyyy-MM-dd-HH-mm-ss";

/// What makes one object different from every other.
///
/// Two objects with equal identities get equal names. For an object of records that is lease key, batch range,
/// partition values and part; one that sets records aside says so beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectIdentity<'a> {
    /// The lease key, which names stream and shard.
    pub lease_key: &'a str,
    /// The position after which the batch starts (exclusive), as `SEQ`, `SEQ/SUB` or a sentinel.
    pub after: &'a str,
    /// The position of the batch's last record (inclusive), as `SEQ` or `SEQ/SUB`.
    pub last: &'a str,
    /// The partition values of all records of the object; empty without partitioning.
    pub partition_values: &'a BTreeMap<String, String>,
    /// The number of the object among those of the batch with these partition values.
    pub part: u32,
    /// Why the records of the object were set aside; `None` for an object of delivered records.
    pub set_aside: Option<ErrorOutputType>,
}

impl ObjectIdentity<'_> {
    /// The bytes that uuid and digest are made from: each value as a netstring (`5:hello,`), so that no two identities
    /// are written alike. Lease key, after, last, part, then id and value of each partition in the order of the ids;
    /// for records that were set aside, the error output type at the end.
    fn canonical(&self) -> Vec<u8> {
        let Self { lease_key, after, last, partition_values, part, set_aside } = *self;
        let part = part.to_string();
        let mut out = Vec::new();
        let mut write = |value: &str| {
            out.extend_from_slice(format!("{}:", value.len()).as_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(b',');
        };
        for value in [lease_key, after, last, &part] {
            write(value);
        }
        for (id, value) in partition_values {
            write(id);
            write(value);
        }
        if let Some(error_output_type) = set_aside {
            write(error_output_type.as_str());
        }
        out
    }

    /// The uuid of the object's name: version 5 over the identity.
    pub fn uuid(&self) -> Uuid {
        Uuid::new_v5(&NAMESPACE, &self.canonical())
    }

    /// What `random-string` is derived from: the SHA-256 of the identity.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.canonical()).into()
    }
}

/// The end of an object's name, such as `.gz`: empty, or a dot and what Firehose's `FileExtension` allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileExtension(String);

/// A text that is no file extension.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileExtensionError {
    /// It does not start with a dot.
    #[error("the file extension `{0}` must start with a dot: `.{0}`")]
    NoDot(String),
    /// There is nothing after the dot.
    #[error("the file extension `.` has nothing after its dot; leave it empty for none")]
    OnlyDot,
    /// A character that Firehose does not allow, a capital letter among them.
    #[error("the file extension `{extension}` has the character `{character}`; allowed are a-z, 0-9 and !-_.*'()")]
    Character {
        /// The extension.
        extension: String,
        /// The first such character.
        character: char,
    },
    /// It is too long.
    #[error("the file extension has {chars} characters, the most is {MAX_EXTENSION_CHARS}")]
    TooLong {
        /// How many it has.
        chars: usize,
    },
}

impl FileExtension {
    /// Checks an extension. The empty one is none.
    pub fn parse(extension: &str) -> Result<Self, FileExtensionError> {
        let allowed =
            |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "!-_.*'()".contains(letter);
        match extension.strip_prefix('.') {
            None if extension.is_empty() => return Ok(Self::default()),
            None => return Err(FileExtensionError::NoDot(extension.to_owned())),
            Some("") => return Err(FileExtensionError::OnlyDot),
            Some(_) => {}
        }
        if let Some(character) = extension.chars().find(|letter| !allowed(*letter)) {
            return Err(FileExtensionError::Character { extension: extension.to_owned(), character });
        }
        match extension.len() {
            chars if chars > MAX_EXTENSION_CHARS => Err(FileExtensionError::TooLong { chars }),
            _ => Ok(Self(extension.to_owned())),
        }
    }

    /// The extension with its dot, or the empty string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileExtension {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Why an object has no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectKeyError {
    /// The prefix has no value for these records.
    #[error(transparent)]
    Prefix(#[from] EvaluateError),
    /// The key is longer than S3 allows.
    #[error("the object key has {bytes} bytes, the most is {MAX_KEY_BYTES}")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// A partition value made a folder that stores do not take: one without a name, `.` or `..`.
    #[error("the object key `{key}` has a folder without a name, or called `.` or `..`")]
    Segment {
        /// The key.
        key: String,
    },
    /// A partition value has a line break, a tab or the like.
    #[error("the object key {key:?} has a control character")]
    ControlCharacter {
        /// The key.
        key: String,
    },
}

/// An application name that cannot stand in a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the application name `{0}` cannot stand in an object key: it must not be empty, start with a dot, or have a slash \
     or a control character"
)]
pub struct ApplicationNameError(String);

/// How the objects of one sink are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectNaming {
    application: String,
    prefix: PrefixExpression,
    zone: Zone,
    extension: FileExtension,
}

impl ObjectNaming {
    /// Makes a naming. For objects that set records aside, use another one, with the error prefix.
    pub fn new(
        application: &str,
        prefix: PrefixExpression,
        zone: Zone,
        extension: FileExtension,
    ) -> Result<Self, ApplicationNameError> {
        let refused = |letter: char| letter == '/' || letter.is_control();
        // A name that starts with a dot would be a hidden file, which a directory keeps for its own use.
        if application.is_empty() || application.starts_with('.') || application.contains(refused) {
            return Err(ApplicationNameError(application.to_owned()));
        }
        Ok(Self { application: application.to_owned(), prefix, zone, extension })
    }

    /// The key of one object.
    ///
    /// `shard_id` gives the shard number (see [`shard_number`]); `first_arrival_ms` is the arrival time of the batch's
    /// first record, in milliseconds since 1970, the one instant of the whole key.
    pub fn key(
        &self,
        shard_id: &str,
        first_arrival_ms: i64,
        identity: &ObjectIdentity<'_>,
    ) -> Result<String, ObjectKeyError> {
        let Self { application, prefix, zone, extension } = self;
        let at =
            zone.local(first_arrival_ms).ok_or(EvaluateError::InstantOutOfRange { instant_ms: first_arrival_ms })?;
        let folder = prefix.evaluate(
            first_arrival_ms,
            zone,
            &identity.digest(),
            identity.partition_values,
            identity.set_aside,
        )?;
        let time = DateTimePattern::parse(TIME_IN_NAME).expect("the pattern of the name is one").format(&at);
        let (shard, uuid) = (shard_number(shard_id), identity.uuid());
        checked(format!("{folder}{application}-{shard}-{time}-{uuid}{extension}"))
    }
}

/// Refuses what S3 refuses or a store would change on the way.
fn checked(key: String) -> Result<String, ObjectKeyError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(ObjectKeyError::TooLong { bytes: key.len() });
    }
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(ObjectKeyError::Segment { key });
    }
    if key.contains(char::is_control) {
        return Err(ObjectKeyError::ControlCharacter { key });
    }
    Ok(key)
}

/// The number in a shard id: `12` for `shardId-000000000012`.
///
/// A shard id of another form stands for itself, with everything but letters, digits, `_`, `.` and `-` written as `_`.
pub fn shard_number(shard_id: &str) -> String {
    let digits = shard_id
        .strip_prefix("shardId-")
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()));
    match digits.map(|digits| digits.trim_start_matches('0')) {
        Some("") => "0".to_owned(),
        Some(number) => number.to_owned(),
        None => {
            let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
            shard_id.chars().map(|letter| if allowed(letter) { letter } else { '_' }).collect()
        }
    }
}
