//! Who the credentials are: what the chain says of them, and what STS says, which every identity may ask.

use std::error::Error;
use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use penstock_engine::ports::ErrorClass;

use super::{Refusal, Tried};
use crate::error::chain;

/// Who calls, by STS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Twelve digits.
    pub account: String,
    /// Of the user, or of the role and its session.
    pub arn: String,
}

/// What is known of credentials without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsSeen {
    /// The access key id, which is no secret.
    pub access_key_id: String,
    /// Where the chain found them, in words.
    pub source: String,
    /// Seconds until they expire; `None` if they do not.
    pub expires_in: Option<u64>,
}

/// Asks the chain, assumed roles included.
///
/// # Errors
/// If it has no credentials.
pub async fn credentials(config: &SdkConfig) -> Tried<CredentialsSeen> {
    let denied = |message: String| Refusal { class: ErrorClass::Denied, code: None, message };
    let provider = config.credentials_provider().ok_or_else(|| denied("no provider is configured".to_owned()))?;
    let found = provider.provide_credentials().await.map_err(|error| {
        // What STS said of a role, or that it said nothing, is better than what the chain makes of it.
        of_role(&error).unwrap_or_else(|| denied(chain(&error)))
    })?;
    let features = found.get_property::<Vec<AwsCredentialFeature>>();
    let steps: Vec<&str> = features.into_iter().flatten().filter_map(words).collect();
    let source = if steps.is_empty() { "the SDK's chain".to_owned() } else { steps.join(", then ") };
    let left = |at: SystemTime| at.duration_since(SystemTime::now()).map_or(0, |left| left.as_secs());
    Ok(CredentialsSeen {
        access_key_id: found.access_key_id().to_owned(),
        source,
        expires_in: found.expiry().map(left),
    })
}

/// The refusal of a role, where that is what an error goes back to.
fn of_role(error: &(dyn Error + 'static)) -> Option<Refusal> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<SdkError<AssumeRoleError, Response>>() {
            return Some(Refusal::of(refused));
        }
        cause = error.source();
    }
    None
}

/// A step of the chain, for people.
fn words(feature: &AwsCredentialFeature) -> Option<&'static str> {
    match feature {
        AwsCredentialFeature::CredentialsEnvVars => Some("the environment"),
        AwsCredentialFeature::CredentialsEnvVarsStsWebIdToken
        | AwsCredentialFeature::CredentialsStsAssumeRoleWebId
        | AwsCredentialFeature::CredentialsProfileStsWebIdToken => Some("a web identity"),
        AwsCredentialFeature::CredentialsStsAssumeRole => Some("an assumed role"),
        AwsCredentialFeature::CredentialsProfile
        | AwsCredentialFeature::CredentialsProfileSourceProfile
        | AwsCredentialFeature::CredentialsProfileNamedProvider => Some("a profile"),
        AwsCredentialFeature::CredentialsProfileSso | AwsCredentialFeature::CredentialsSso => Some("single sign-on"),
        AwsCredentialFeature::CredentialsProfileProcess | AwsCredentialFeature::CredentialsProcess => {
            Some("a credential process")
        }
        AwsCredentialFeature::CredentialsHttp => Some("the task's credential endpoint"),
        AwsCredentialFeature::CredentialsImds => Some("the instance's metadata"),
        _ => None,
    }
}

/// Asks STS, which needs no permission. The endpoint is the Region's, or that of `AWS_ENDPOINT_URL_STS`.
///
/// # Errors
/// If STS refuses or is not reached.
pub async fn caller(config: &SdkConfig) -> Tried<Caller> {
    let mut builder = config.to_builder();
    builder.set_endpoint_url(None);
    let client = aws_sdk_sts::Client::new(&builder.build());
    let output = client.get_caller_identity().send().await.map_err(|error| Refusal::of(&error))?;
    match (output.account, output.arn) {
        (Some(account), Some(arn)) => Ok(Caller { account, arn }),
        _ => Err(Refusal::broken("the answer names no account")),
    }
}
