//! Credentials of the SDK's chain for what is not an SDK client: the object store.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use penstock_engine::ports::{ErrorClass, SeamError};
use tokio::sync::Mutex;

use crate::error::chain;

/// Credentials are asked for again this long before they expire: long enough for a slow endpoint, short enough for the
/// shortest session (15 minutes).
const MARGIN: Duration = Duration::from_secs(120);
/// Credentials without an expiry are asked for again after this, since files change.
const REFRESH: Duration = Duration::from_secs(300);
/// How long the chain may take.
const TIME_OUT: Duration = Duration::from_secs(15);

/// One set of credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Gives out credentials and renews them before they expire.
#[derive(Debug)]
pub struct CredentialSource {
    provider: Option<SharedCredentialsProvider>,
    cached: Mutex<Option<Cached>>,
}

#[derive(Debug, Clone)]
struct Cached {
    keys: Keys,
    renew_at: SystemTime,
    expires_at: Option<SystemTime>,
}

impl CredentialSource {
    /// The credentials of a configuration, its assumed role included.
    #[must_use]
    pub fn new(config: &SdkConfig) -> Self {
        Self { provider: config.credentials_provider(), cached: Mutex::new(None) }
    }

    /// Credentials that hold for a while. If they cannot be renewed, those at hand are given out until they expire.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// `Denied` if there are none.
    pub async fn keys(&self) -> Result<Keys, SeamError> {
        let mut cached = self.cached.lock().await;
        let now = SystemTime::now();
        if let Some(cached) = cached.as_ref().filter(|cached| now < cached.renew_at) {
            return Ok(cached.keys.clone());
        }
        match (self.fetch(now).await, cached.as_ref()) {
            (Ok(fresh), _) => Ok(cached.insert(fresh).keys.clone()),
            (Err(_), Some(old)) if old.expires_at.is_none_or(|at| now < at) => Ok(old.keys.clone()),
            (Err(error), _) => Err(error),
        }
    }

    async fn fetch(&self, now: SystemTime) -> Result<Cached, SeamError> {
        let denied = |message: String| SeamError::new("credentials", "the object store", ErrorClass::Denied, message);
        let provider =
            self.provider.as_ref().ok_or_else(|| denied("no credentials provider is configured".to_owned()))?;
        let credentials = tokio::time::timeout(TIME_OUT, provider.provide_credentials())
            .await
            .map_err(|_| denied(format!("no AWS credentials within {TIME_OUT:?}")))?
            .map_err(|error| denied(format!("no AWS credentials: {}", chain(&error))))?;
        let expires_at = credentials.expiry();
        let renew_at = expires_at.map_or(now + REFRESH, |at| at.checked_sub(MARGIN).unwrap_or(now));
        Ok(Cached {
            keys: Keys {
                access_key_id: credentials.access_key_id().to_owned(),
                secret_access_key: credentials.secret_access_key().to_owned(),
                session_token: credentials.session_token().map(str::to_owned),
            },
            renew_at,
            expires_at,
        })
    }
}
