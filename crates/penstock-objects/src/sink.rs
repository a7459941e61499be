//! The sink of objects: writers, and the stores that their objects go to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::ObjectStore;
use penstock_core::intent::{Destination, Encoding};
use penstock_core::object_key::{ObjectIdentity, ObjectNaming};
use penstock_core::prefix::ErrorOutputType;
use penstock_engine::ports::{
    DeliveryPermit, ErrorClass, ObjectSink, ObjectWriter, PreparedObject, Put, SeamError, ShardIdentity, WriterError,
};

use crate::readback::Readback;
use crate::settings::{Namings, ObjectSinkSettings, SettingsError};
use crate::store::Store;
use crate::store::directory::Directory;
use crate::store::remote::Remote;
use crate::store::s3::S3Settings;
use crate::writer::ShardWriter;

/// The sinks `s3` and `directory`.
///
/// An intent that is found is carried out where it was recorded, whatever this sink's own destination is: into any directory, and
/// into any bucket if there are [`S3Settings`].
pub struct StoreSink {
    settings: ObjectSinkSettings,
    namings: Namings,
    stores: Stores,
}

impl StoreSink {
    /// Makes the sink. Nothing is asked of a store before the first probe.
    ///
    /// # Errors
    /// If no object could be made with these settings.
    pub fn new(settings: ObjectSinkSettings, s3: Option<S3Settings>) -> Result<Self, SettingsError> {
        let namings = settings.namings()?;
        check_destination(&settings.destination, &[&namings.records, &namings.errors], s3.as_ref())?;
        let stores = Stores::new(s3, probe_key(settings.prefixes.prefix.source()));
        Ok(Self { settings, namings, stores })
    }

    /// The same over a store that was made elsewhere, which then stands for the destination.
    ///
    /// # Errors
    /// If no object could be made with these settings.
    pub fn over(settings: ObjectSinkSettings, store: Arc<dyn ObjectStore>) -> Result<Self, SettingsError> {
        let sink = Self::new(settings, None)?;
        let name = sink.settings.destination.to_string();
        let remote = Remote::new(store, name, sink.stores.probe_key.clone());
        sink.stores.keep(&sink.settings.destination, Arc::new(remote));
        Ok(sink)
    }

    /// Reads the destination back.
    ///
    /// # Errors
    /// If no client for it can be made.
    pub fn readback(&self) -> Result<Readback, SeamError> {
        Ok(Readback::over(self.stores.open(&self.settings.destination)?))
    }
}

#[async_trait]
impl ObjectSink for StoreSink {
    fn destination(&self) -> Destination {
        self.settings.destination.clone()
    }

    fn encoding(&self) -> Encoding {
        self.settings.encoding()
    }

    fn writer(&self, shard: &ShardIdentity, encoding: &Encoding) -> Result<Box<dyn ObjectWriter>, WriterError> {
        let writer = ShardWriter::new(
            shard.clone(),
            self.settings.application.clone(),
            self.settings.destination.clone(),
            self.namings.clone(),
            encoding.clone(),
        )?;
        Ok(Box::new(writer))
    }

    async fn probe(&self, destination: &Destination) -> Result<bool, SeamError> {
        // Only our own directory is created: that another one is missing is an answer.
        let create = *destination == self.settings.destination;
        self.stores.open(destination)?.probe(create).await
    }

    async fn put(
        &self,
        _: DeliveryPermit,
        destination: &Destination,
        object: &PreparedObject,
    ) -> Result<Put, SeamError> {
        self.stores.open(destination)?.put_if_absent(object).await
    }

    async fn digest_of(&self, destination: &Destination, key: &str) -> Result<Option<[u8; 32]>, SeamError> {
        self.stores.open(destination)?.digest_of(key).await
    }
}

/// The stores that were asked for, each opened once.
pub(crate) struct Stores {
    s3: Option<S3Settings>,
    probe_key: String,
    opened: Mutex<Vec<(Destination, Arc<dyn Store>)>>,
}

impl Stores {
    pub(crate) fn new(s3: Option<S3Settings>, probe_key: String) -> Self {
        Self { s3, probe_key, opened: Mutex::new(Vec::new()) }
    }

    pub(crate) fn open(&self, destination: &Destination) -> Result<Arc<dyn Store>, SeamError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, store)) = opened.iter().find(|(known, _)| known == destination) {
            return Ok(Arc::clone(store));
        }
        let store: Arc<dyn Store> = match destination {
            Destination::Directory { path } => Arc::new(Directory::new(path)),
            Destination::S3 { bucket, region } => {
                let Some(s3) = &self.s3 else {
                    let message = "this worker has no way to S3; another worker must finish what was begun there";
                    return Err(SeamError::new("connect", destination.to_string(), ErrorClass::Denied, message));
                };
                Arc::new(Remote::new(s3.open(bucket, region)?, destination.to_string(), self.probe_key.clone()))
            }
        };
        opened.push((destination.clone(), Arc::clone(&store)));
        Ok(store)
    }

    fn keep(&self, destination: &Destination, store: Arc<dyn Store>) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push((destination.clone(), store));
    }
}

/// A key under the part of the prefix that no expression changes: permissions may be bound to it.
pub(crate) fn probe_key(prefix: &str) -> String {
    let literal = prefix.split("!{").next().unwrap_or_default();
    format!("{literal}.penstock-probe")
}

/// Refuses a destination that nothing could be put into under these names.
pub(crate) fn check_destination(
    destination: &Destination,
    namings: &[&ObjectNaming],
    s3: Option<&S3Settings>,
) -> Result<(), SettingsError> {
    let problem = match destination {
        Destination::Directory { path } if !Path::new(path).is_absolute() => "the path is not absolute",
        Destination::Directory { .. } if namings.iter().any(|naming| is_hidden(naming)) => {
            "the prefix ends in a name that starts with a dot: such files are hidden, which a directory keeps for its own use"
        }
        Destination::S3 { bucket, .. } if bucket.is_empty() => "the bucket has no name",
        Destination::S3 { region, .. } if region.is_empty() && s3.is_some_and(|s3| s3.region.is_empty()) => {
            "no Region is known for the bucket"
        }
        Destination::Directory { .. } | Destination::S3 { .. } => return Ok(()),
    };
    Err(SettingsError::Destination { destination: destination.to_string(), problem: problem.to_owned() })
}

/// Whether a name starts with a dot. That is a matter of the prefix's end, so one sample tells.
fn is_hidden(naming: &ObjectNaming) -> bool {
    let identity = ObjectIdentity {
        lease_key: "shardId-000000000000",
        after: "TRIM_HORIZON",
        last: "0",
        partition_values: &BTreeMap::new(),
        part: 1,
        set_aside: Some(ErrorOutputType::ProcessingFailed),
    };
    let key = naming.key("shardId-000000000000", 0, &identity);
    key.is_ok_and(|key| key.rsplit('/').next().is_some_and(|name| name.starts_with('.')))
}
