//! Where records go that a sink of calls cannot take: one object per call and error output type, in the shape of the error
//! objects of an object sink, put if absent.
//!
//! Such a record may be set aside again after a crash. The name follows from the positions of all its records, so a repeat
//! finds its object there; what the service said may differ from one time to the next and is not held against it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use penstock_core::ids::ApplicationName;
use penstock_core::intent::{Compression, Destination};
use penstock_core::object_key::{FileExtension, ObjectIdentity, ObjectNaming};
use penstock_core::prefix::{ErrorOutputType, PrefixExpression, Zone};
use penstock_engine::ports::{
    DeliveryPermit, ErrorClass, PreparedObject, SeamError, SetAside, SetAsideBatch, SetAsideRecord,
};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::compress::Codec;
use crate::encode::ContentBuilder;
use crate::error_lines::{Aside, ErrorLines, error_output_type};
use crate::settings::SettingsError;
use crate::sink::{Stores, check_destination, probe_key};
use crate::store::Store;
use crate::store::s3::S3Settings;
use crate::{hex, metadata};

/// Where records are set aside.
#[derive(Debug, Clone)]
pub struct SetAsideSettings {
    /// The application, which every key names.
    pub application: ApplicationName,
    /// A bucket, or a directory.
    pub destination: Destination,
    /// Where in it. An expression of the kind [`penstock_core::prefix::PrefixKind::ErrorPrefix`].
    pub error_prefix: PrefixExpression,
    /// The time zone of the keys.
    pub zone: Zone,
}

/// Sets records aside as objects.
pub struct StoreSetAside {
    destination: Destination,
    naming: ObjectNaming,
    stores: Stores,
    /// Whether the place was found, or a directory created, since the start. A directory that vanishes later is not created
    /// again: it may be a file system that is not mounted.
    found: OnceCell<()>,
}

impl StoreSetAside {
    /// Makes the place. Nothing is asked of the store before the first probe or record.
    ///
    /// # Errors
    /// If nothing could be put with these settings.
    pub fn new(settings: SetAsideSettings, s3: Option<S3Settings>) -> Result<Self, SettingsError> {
        let SetAsideSettings { application, destination, error_prefix, zone } = settings;
        let probe_key = probe_key(error_prefix.source());
        let naming = ObjectNaming::new(application.as_str(), error_prefix, zone, FileExtension::default())?;
        check_destination(&destination, &[&naming], s3.as_ref())?;
        let stores = Stores::new(s3, probe_key);
        Ok(Self { destination, naming, stores, found: OnceCell::new() })
    }

    /// Asks whether the place exists and can be written to; a missing directory is created. `Ok(false)` only if it provably
    /// does not exist.
    ///
    /// # Errors
    /// What the store said.
    pub async fn probe(&self) -> Result<bool, SeamError> {
        self.store()?.probe(true).await
    }

    async fn find(&self) -> Result<(), SeamError> {
        match self.probe().await? {
            true => Ok(()),
            false => {
                let message = "there is no such place to set records aside; create it, or correct its name";
                Err(SeamError::new("probe", self.destination.to_string(), ErrorClass::NotFound, message))
            }
        }
    }

    fn store(&self) -> Result<Arc<dyn Store>, SeamError> {
        self.stores.open(&self.destination)
    }

    fn object(
        &self,
        batch: &SetAsideBatch,
        error_output_type: ErrorOutputType,
        records: &[&SetAsideRecord],
    ) -> Result<PreparedObject, SeamError> {
        let (first, last) = (records[0], records[records.len() - 1]);
        let key = self.key(batch, error_output_type, records)?;
        let mut lines = ErrorLines::default();
        for SetAsideRecord { position, arrival, data, reason } in records {
            lines.push(&batch.shard, &Aside { position, arrival: *arrival, data, reason });
        }
        let mut content = ContentBuilder::new(Codec::new(Compression::None, 0).expect("no compression has no levels"));
        // A call has no recorded time, and the clock must not make a repeat differ.
        lines.write(|index| records[index].arrival, |slice| content.extend(slice));
        let content = content.finish();
        let metadata = vec![
            (metadata::STREAM, batch.shard.stream.to_string()),
            (metadata::SHARD, batch.shard.shard.to_string()),
            (metadata::FIRST, first.position.to_string()),
            (metadata::LAST, last.position.to_string()),
            (metadata::RECORDS, records.len().to_string()),
            (metadata::SHA256, hex(&content.sha256)),
            (metadata::VERSION, env!("CARGO_PKG_VERSION").to_owned()),
        ];
        Ok(PreparedObject { key, body: content.body, metadata, sha256: content.sha256 })
    }

    fn key(
        &self,
        batch: &SetAsideBatch,
        error_output_type: ErrorOutputType,
        records: &[&SetAsideRecord],
    ) -> Result<String, SeamError> {
        let (first, last) = (records[0], records[records.len() - 1]);
        let mut positions = Sha256::new();
        for record in records {
            positions.update(format!("{},", record.position));
        }
        let identity = ObjectIdentity {
            lease_key: batch.shard.lease.as_str(),
            after: &format!("set-aside:{}", hex(&positions.finalize())),
            last: &last.position.to_string(),
            partition_values: &BTreeMap::new(),
            part: 1,
            set_aside: Some(error_output_type),
        };
        self.naming.key(batch.shard.shard.as_str(), first.arrival.0, &identity).map_err(|error| {
            SeamError::new("set aside", batch.shard.shard.to_string(), ErrorClass::Rejected, error.to_string())
        })
    }
}

#[async_trait]
impl SetAside for StoreSetAside {
    async fn set_aside(&self, _: DeliveryPermit, batch: &SetAsideBatch) -> Result<(), SeamError> {
        self.found.get_or_try_init(|| self.find()).await?;
        let mut kinds: BTreeMap<ErrorOutputType, Vec<&SetAsideRecord>> = BTreeMap::new();
        for record in &batch.records {
            kinds.entry(error_output_type(&record.reason)).or_default().push(record);
        }
        let store = self.store()?;
        for (kind, records) in kinds {
            let object = self.object(batch, kind, &records)?;
            match store.put_if_absent(&object).await {
                Ok(_) => {}
                Err(error) if error.class == ErrorClass::Rejected && store.digest_of(&object.key).await?.is_some() => {
                    tracing::debug!(key = %object.key, "these records were set aside earlier, for another reason");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
