//! How an object sink was asked to encode and name its objects.

use penstock_core::ids::ApplicationName;
use penstock_core::intent::{Compression, Destination, Encoding, OutsideHashRange};
use penstock_core::object_key::{ApplicationNameError, FileExtension, FileExtensionError, ObjectNaming};
use penstock_core::prefix::{PrefixPair, Zone};

use crate::compress::{Codec, UnknownLevel};

/// The settings of an object sink.
#[derive(Debug, Clone)]
pub struct ObjectSinkSettings {
    /// The application, which every key names.
    pub application: ApplicationName,
    /// Where new objects go.
    pub destination: Destination,
    /// Where in it, for delivered records and for those that are set aside.
    pub prefixes: PrefixPair,
    /// The time zone of the keys.
    pub zone: Zone,
    /// The end of the keys, with its dot; empty for the one of the compression: none, `.gz` or `.zst`.
    pub file_extension: String,
    /// Appended to each record unless it already ends in it.
    pub delimiter: Vec<u8>,
    /// Whether aggregates are taken apart before they come here.
    pub deaggregate: bool,
    /// What happens to user records of an aggregate that hash outside the shard.
    pub outside_hash_range: OutsideHashRange,
    /// The compression of the objects.
    pub compression: Compression,
    /// Its level; 0 for the default: 3 for gzip, 1 for zstd.
    pub compression_level: i32,
}

/// Settings that no object could be made with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The compression does not have this level.
    #[error(transparent)]
    Level(#[from] UnknownLevel),
    /// The file extension is none.
    #[error(transparent)]
    Extension(#[from] FileExtensionError),
    /// The application's name cannot stand in a key.
    #[error(transparent)]
    Application(#[from] ApplicationNameError),
    /// The destination is none.
    #[error("the destination {destination} cannot be used: {problem}")]
    Destination {
        /// The destination.
        destination: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The names of a sink's objects: two namings that differ in their prefix.
#[derive(Debug, Clone)]
pub(crate) struct Namings {
    pub(crate) records: ObjectNaming,
    pub(crate) errors: ObjectNaming,
}

impl ObjectSinkSettings {
    /// What an intent records of these settings.
    pub(crate) fn encoding(&self) -> Encoding {
        Encoding {
            delimiter: self.delimiter.clone(),
            deaggregate: self.deaggregate,
            outside_hash_range: self.outside_hash_range,
            hash_range: None,
            compression: self.compression,
            level: self.compression_level,
            time_zone: self.zone.name().to_owned(),
        }
    }

    /// Checks all that can be checked without a store.
    pub(crate) fn namings(&self) -> Result<Namings, SettingsError> {
        Codec::new(self.compression, self.compression_level)?;
        let extension = match self.file_extension.as_str() {
            "" => default_extension(self.compression),
            given => given,
        };
        let extension = FileExtension::parse(extension)?;
        let naming = |prefix: &penstock_core::prefix::PrefixExpression| {
            ObjectNaming::new(self.application.as_str(), prefix.clone(), self.zone.clone(), extension.clone())
        };
        Ok(Namings { records: naming(&self.prefixes.prefix)?, errors: naming(&self.prefixes.error_prefix)? })
    }
}

const fn default_extension(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "",
        Compression::Gzip => ".gz",
        Compression::Zstd => ".zst",
    }
}
