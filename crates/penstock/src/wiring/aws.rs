//! The SDK's configuration for each service, and its credentials for the object store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use penstock_aws::clients::{self, AssumedRole, SdkConfig, ServiceSettings};
use penstock_aws::credentials::CredentialSource;
use penstock_engine::ports::SeamError;
use penstock_objects::S3Settings;

use crate::config::settings::{AccessSettings, AwsSettings};

/// The longest wait for an answer of S3 to a request without a body.
const S3_TIME_OUT: Duration = Duration::from_secs(20);

/// The SDK's configuration as `[aws]` says, read once.
pub(crate) struct Aws {
    base: SdkConfig,
    settings: AwsSettings,
}

/// A service that penstock speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Kinesis,
    DynamoDb,
    Firehose,
    S3,
}

impl Aws {
    /// Reads files, environment and instance metadata; asks for no credentials.
    pub(crate) async fn load(settings: &AwsSettings) -> Self {
        let base = clients::AwsSettings { region: settings.region.clone(), profile: settings.profile.clone() };
        Self { base: clients::load(&base).await, settings: settings.clone() }
    }

    /// The same for endpoints of this machine, with fixed credentials: nobody is asked for any.
    pub(crate) async fn local(settings: &AwsSettings) -> Self {
        let region = settings.region.as_deref().unwrap_or("us-east-1");
        Self { base: clients::load_local(region).await, settings: settings.clone() }
    }

    /// The configuration of one service.
    pub(crate) async fn service(&self, service: Service, access: Option<&AccessSettings>) -> SdkConfig {
        let settings = ServiceSettings {
            region: access.and_then(|access| access.region.clone()),
            endpoint: self.endpoint(service),
            role: access.and_then(assumed_role),
        };
        clients::for_service(&self.base, &settings).await
    }

    /// S3 for the object store.
    ///
    /// # Errors
    /// If no Region is known.
    pub(crate) async fn s3(&self, access: &AccessSettings) -> Result<S3Settings, SeamError> {
        let config = self.service(Service::S3, Some(access)).await;
        Ok(S3Settings {
            region: clients::region(&config, "the sink's bucket")?,
            endpoint: self.endpoint(Service::S3),
            credentials: Arc::new(ObjectStoreCredentials(CredentialSource::new(&config))),
            time_out: S3_TIME_OUT,
        })
    }

    fn endpoint(&self, service: Service) -> Option<String> {
        let endpoints = &self.settings.endpoints;
        match service {
            Service::Kinesis => endpoints.kinesis.clone(),
            Service::DynamoDb => endpoints.dynamodb.clone(),
            Service::Firehose => endpoints.firehose.clone(),
            Service::S3 => endpoints.s3.clone(),
        }
    }
}

fn assumed_role(access: &AccessSettings) -> Option<AssumedRole> {
    let arn = access.role_arn.clone()?;
    Some(AssumedRole { arn, external_id: access.external_id.clone() })
}

/// The SDK's credentials, as the object store asks for them.
#[derive(Debug)]
struct ObjectStoreCredentials(CredentialSource);

#[async_trait]
impl CredentialProvider for ObjectStoreCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let keys = self.0.keys().await.map_err(|error| object_store::Error::Unauthenticated {
            path: "credentials".to_owned(),
            source: Box::new(error),
        })?;
        Ok(Arc::new(AwsCredential {
            key_id: keys.access_key_id,
            secret_key: keys.secret_access_key,
            token: keys.session_token,
        }))
    }
}
