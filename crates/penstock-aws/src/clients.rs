//! SDK configurations: the default credential chain, Regions, endpoints and assumed roles.
//!
//! The SDK's retries are off: pacing and retries are the engine's, and each attempt counts against a shard's five reads a
//! second.

use std::time::Duration;

pub use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use penstock_engine::ports::{ErrorClass, SeamError};

use crate::error::chain;

/// A backstop for every call, above the engine's own time-outs: a hung connection never holds a call for ever.
const OPERATION_TIME_OUT: Duration = Duration::from_secs(120);
/// The connect time-out that the SDK itself uses by default from 2026 on.
const CONNECT_TIME_OUT: Duration = Duration::from_millis(3_100);

/// What all services share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsSettings {
    /// The Region; `None` for the SDK's chain.
    pub region: Option<String>,
    /// The profile; `None` for the SDK's chain.
    pub profile: Option<String>,
}

/// What one service has of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceSettings {
    /// The Region, where it differs.
    pub region: Option<String>,
    /// The endpoint URL, where it is not the Region's.
    pub endpoint: Option<String>,
    /// The role to assume for it.
    pub role: Option<AssumedRole>,
}

/// A role to assume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumedRole {
    /// The ARN of the role.
    pub arn: String,
    /// The external id that the role's trust policy asks for.
    pub external_id: Option<String>,
}

/// Loads the SDK's configuration: files, environment, instance metadata. Reads no credentials yet.
pub async fn load(settings: &AwsSettings) -> SdkConfig {
    let mut loader =
        aws_config::defaults(BehaviorVersion::v2026_01_12()).retry_config(RetryConfig::disabled()).timeout_config(
            TimeoutConfig::builder().connect_timeout(CONNECT_TIME_OUT).operation_timeout(OPERATION_TIME_OUT).build(),
        );
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    let Some(profile) = &settings.profile else { return loader.load().await };
    let config = loader.profile_name(profile).load().await;
    let Some(chain) = config.credentials_provider() else { return config };
    let named = NamedProfile { profile: profile.clone(), chain };
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(named)).build()
}

/// The chain with a profile that was asked for: where no credentials are had, the profile is named, which the chain does not do.
#[derive(Debug)]
struct NamedProfile {
    profile: String,
    chain: SharedCredentialsProvider,
}

impl ProvideCredentials for NamedProfile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.chain.provide_credentials().await.map_err(|error| {
                CredentialsError::not_loaded(format!("aws.profile is {:?}: {}", self.profile, chain(&error)))
            })
        })
    }
}

/// A configuration for endpoints of this machine that check no signatures: fixed credentials, nobody is asked for any.
pub async fn load_local(region: &str) -> SdkConfig {
    let credentials = aws_credential_types::Credentials::new("local", "local", None, None, "penstock local");
    load(&AwsSettings { region: Some(region.to_owned()), profile: None })
        .await
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// The configuration for one service: `base` with its Region, endpoint and role.
pub async fn for_service(base: &SdkConfig, service: &ServiceSettings) -> SdkConfig {
    let mut builder = base.to_builder();
    if let Some(region) = &service.region {
        builder.set_region(Some(Region::new(region.clone())));
    }
    if let Some(endpoint) = &service.endpoint {
        builder.set_endpoint_url(Some(endpoint.clone()));
    }
    if let Some(role) = &service.role {
        // Built on the base: STS is asked by its credentials, and in its Region if it has one.
        let mut provider = AssumeRoleProvider::builder(&role.arn).session_name("penstock").configure(base);
        if let (None, Some(region)) = (base.region(), &service.region) {
            provider = provider.region(Region::new(region.clone()));
        }
        if let Some(external_id) = &role.external_id {
            provider = provider.external_id(external_id);
        }
        builder.set_credentials_provider(Some(SharedCredentialsProvider::new(provider.build().await)));
    }
    builder.build()
}

/// Asks the chain for credentials once, so that their absence is one clear line at the start.
///
/// # Errors
/// `Denied`, saying what was tried and what to do.
pub async fn check_credentials(config: &SdkConfig, what_for: &str) -> Result<(), SeamError> {
    let denied = |message: String| SeamError::new("credentials", what_for, ErrorClass::Denied, message);
    let provider = config.credentials_provider().ok_or_else(|| denied(no_credentials("no provider is configured")))?;
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(error) => Err(denied(no_credentials(&chain(&error))).with_source(error)),
    }
}

/// What to do comes first: what the chain says is long.
fn no_credentials(why: &str) -> String {
    format!(
        "no AWS credentials: give the task or instance a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY; the SDK says: {why}"
    )
}

/// The Region of a configuration.
///
/// # Errors
/// `Rejected` if there is none, saying where to set it.
pub fn region(config: &SdkConfig, what_for: &str) -> Result<String, SeamError> {
    config.region().map(|region| region.as_ref().to_owned()).ok_or_else(|| {
        let message = "no Region: set aws.region in the configuration, or AWS_REGION";
        SeamError::new("configuration", what_for, ErrorClass::Rejected, message)
    })
}
