//! A store behind `object_store`: put if absent, and what to make of "already exists".

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use penstock_engine::ports::{ErrorClass, PreparedObject, Put, SeamError};

use super::s3::answer::{self, Answer};
use super::s3::watch;
use super::{FinishedObject, Store, check_key, settle};
use crate::metadata::{self, Metadata};
use crate::unhex;

/// How often a put is tried while "already exists" and "there is nothing" follow each other: racing writers, or a reader that
/// moves objects away. Then the engine's own pause and repetition take over.
const ATTEMPTS: u32 = 3;

/// The longest wait for the first 8 MiB of an object, and for each that follow.
const READ_TIME_OUT: Duration = Duration::from_secs(30);

/// HEAD requests at once while a listing is completed.
const HEADS_IN_FLIGHT: usize = 16;

/// One bucket, or what behaves like one.
pub(crate) struct Remote {
    store: Arc<dyn ObjectStore>,
    /// `s3://bucket`.
    name: String,
    /// A key that no object ever has, below the beginning that all keys of the sink share: permissions may end there.
    probe_key: String,
}

impl Remote {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, name: String, probe_key: String) -> Self {
        Self { store, name, probe_key }
    }

    fn subject(&self, key: &str) -> String {
        format!("{}/{key}", self.name)
    }

    fn path(&self, key: &str) -> Result<Path, SeamError> {
        let rejected = |problem: String| SeamError::new("put", self.subject(key), ErrorClass::Rejected, problem);
        check_key(key).map_err(rejected)?;
        Path::parse(key).map_err(|error| rejected(error.to_string()))
    }

    /// The metadata of an object; `None` if there is none.
    async fn head(&self, path: &Path) -> Result<Option<Metadata>, SeamError> {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match self.store.get_opts(path, options).await {
            Ok(found) => Ok(Some(metadata_of(&found.attributes))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(answer::seam_error("HeadObject", self.subject(path.as_ref()), error)),
        }
    }
}

fn attributes_of(object: &PreparedObject) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, "application/octet-stream".into());
    for (name, value) in &object.metadata {
        attributes.insert(Attribute::Metadata((*name).into()), value.clone().into());
    }
    attributes
}

fn metadata_of(attributes: &Attributes) -> Metadata {
    let named = attributes.iter().filter_map(|(attribute, value)| match attribute {
        Attribute::Metadata(name) => Some((name.to_string(), value.to_string())),
        _ => None,
    });
    named.collect()
}

/// Whether a put was refused because there is an object, or because another one was being put at the same moment (S3's 409).
fn says_exists(error: &Error) -> bool {
    matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. })
        || Answer::of(error).is_some_and(|answer| matches!(answer.status, 409 | 412))
}

fn is_absent(error: &Error) -> bool {
    match Answer::of(error) {
        Some(answer) => answer.status == 404 && answer.code != "NoSuchBucket",
        None => matches!(error, Error::NotFound { .. }),
    }
}

#[async_trait]
impl Store for Remote {
    async fn probe(&self, _create: bool) -> Result<bool, SeamError> {
        // A write on a condition that no object fulfils: it needs the permissions of a put, and leaves nothing.
        let version = UpdateVersion { e_tag: Some("\"penstock-probe\"".to_owned()), version: None };
        let path = self.path(&self.probe_key)?;
        let options = PutOptions { mode: PutMode::Update(version), ..PutOptions::default() };
        match self.store.put_opts(&path, PutPayload::new(), options).await {
            Ok(_) => {
                tracing::warn!(store = %self.name, "the store ignored a condition (If-Match): it may replace objects");
                self.store
                    .delete(&path)
                    .await
                    .map_err(|error| answer::seam_error("DeleteObject", self.subject(&self.probe_key), error))?;
                Ok(true)
            }
            Err(error) if says_exists(&error) || is_absent(&error) => Ok(true),
            Err(error) if Answer::of(&error).is_some_and(|answer| answer.code == "NoSuchBucket") => Ok(false),
            Err(error) => Err(answer::seam_error("PutObject", self.subject(&self.probe_key), error)),
        }
    }

    async fn put_if_absent(&self, object: &PreparedObject) -> Result<Put, SeamError> {
        let path = self.path(&object.key)?;
        for _ in 0..ATTEMPTS {
            let payload: PutPayload = object.body.iter().cloned().collect();
            let options =
                PutOptions { mode: PutMode::Create, attributes: attributes_of(object), ..PutOptions::default() };
            match self.store.put_opts(&path, payload, options).await {
                Ok(_) => return Ok(Put::Written),
                Err(error) if says_exists(&error) => {}
                Err(error) => return Err(answer::seam_error("PutObject", self.subject(&object.key), error)),
            }
            if let Some(there) = self.head(&path).await? {
                return settle(self.subject(&object.key), object, &there);
            }
        }
        let message = format!("{ATTEMPTS} times in turn the store said that it exists and that it does not");
        Err(SeamError::new("PutObject", self.subject(&object.key), ErrorClass::Transient, message))
    }

    async fn digest_of(&self, key: &str) -> Result<Option<[u8; 32]>, SeamError> {
        let Some(there) = self.head(&self.path(key)?).await? else { return Ok(None) };
        match there.get(metadata::SHA256).and_then(|digits| unhex(digits)) {
            Some(digest) => Ok(Some(digest)),
            None => {
                let message = "the object under this key has no penstock-sha256: it is not ours";
                Err(SeamError::new("HeadObject", self.subject(key), ErrorClass::Rejected, message))
            }
        }
    }

    async fn list(&self) -> Result<Vec<FinishedObject>, SeamError> {
        let listed: Vec<_> = self
            .store
            .list(None)
            .try_collect()
            .await
            .map_err(|error| answer::seam_error("ListObjectsV2", self.name.clone(), error))?;
        let heads = futures::stream::iter(listed).map(async |entry: object_store::ObjectMeta| {
            let metadata = self.head(&entry.location).await?;
            Ok(metadata.map(|metadata| FinishedObject {
                key: entry.location.to_string(),
                stored_bytes: entry.size,
                metadata,
            }))
        });
        let mut objects: Vec<FinishedObject> =
            heads.buffer_unordered(HEADS_IN_FLIGHT).try_filter_map(async |object| Ok(object)).try_collect().await?;
        objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(objects)
    }

    async fn read(&self, key: &str) -> Result<Vec<u8>, SeamError> {
        let path = self.path(key)?;
        let refused = |error| answer::seam_error("GetObject", self.subject(key), error);
        let found = self.store.get(&path).await.map_err(refused)?;
        let limit = watch::limit(READ_TIME_OUT, found.meta.size);
        match tokio::time::timeout(limit, found.bytes()).await {
            Ok(content) => Ok(content.map_err(refused)?.to_vec()),
            Err(_) => Err(SeamError::timed_out("GetObject", self.subject(key), limit)),
        }
    }
}
