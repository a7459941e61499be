//! A delivery stream: what it is, and a call without records.

use aws_config::SdkConfig;
use aws_sdk_firehose::Client;
use aws_sdk_firehose::types as sdk;

use super::{Refusal, Tried};

/// Asks about one delivery stream.
#[derive(Debug, Clone)]
pub struct DeliveryProbe {
    client: Client,
    name: String,
}

/// What a delivery stream says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySeen {
    /// Its ARN.
    pub arn: String,
    /// `ACTIVE`, or something else.
    pub status: String,
    /// Where it takes records from: `DirectPut`, or something else.
    pub source: String,
    /// What it does with records on their way to S3, in words.
    pub does: Vec<&'static str>,
    /// The KMS key that it encrypts with, if it is the customer's.
    pub kms_key: Option<String>,
}

impl DeliverySeen {
    /// Whether it takes what is put.
    #[must_use]
    pub fn takes_puts(&self) -> bool {
        !matches!(self.source.as_str(), "KinesisStreamAsSource" | "MSKAsSource" | "DatabaseAsSource")
    }
}

impl DeliveryProbe {
    /// A probe over a configuration that has its Region, endpoint and credentials.
    #[must_use]
    pub fn new(config: &SdkConfig, name: &str) -> Self {
        Self { client: Client::new(config), name: name.to_owned() }
    }

    /// DescribeDeliveryStream.
    ///
    /// # Errors
    /// What the service refused it with.
    pub async fn describe(&self) -> Tried<DeliverySeen> {
        let output = self.client.describe_delivery_stream().delivery_stream_name(&self.name).send().await;
        let stream = output.map_err(|error| Refusal::of(&error))?.delivery_stream_description;
        let stream = stream.ok_or_else(|| Refusal::broken("the answer has no description"))?;
        Ok(DeliverySeen {
            arn: stream.delivery_stream_arn.clone(),
            status: stream.delivery_stream_status.as_str().to_owned(),
            source: stream.delivery_stream_type.as_str().to_owned(),
            does: stream.destinations.iter().flat_map(does).collect(),
            kms_key: stream.delivery_stream_encryption_configuration.and_then(|encryption| encryption.key_arn),
        })
    }

    /// PutRecordBatch without a record. Nothing can come of it but a refusal, and only a missing permission says something.
    ///
    /// # Errors
    /// What the service refused it with: always something, on AWS.
    pub async fn put_nothing(&self) -> Tried<()> {
        let call = self.client.put_record_batch().delivery_stream_name(&self.name).set_records(Some(Vec::new()));
        call.send().await.map(drop).map_err(|error| Refusal::of(&error))
    }
}

fn does(destination: &sdk::DestinationDescription) -> Vec<&'static str> {
    let Some(s3) = &destination.extended_s3_destination_description else { return Vec::new() };
    let on = |enabled: Option<bool>| enabled.unwrap_or(true);
    let processes = s3
        .processing_configuration
        .as_ref()
        .is_some_and(|it| on(it.enabled) && it.processors.as_ref().is_some_and(|processors| !processors.is_empty()));
    let converts = s3.data_format_conversion_configuration.as_ref().is_some_and(|it| on(it.enabled));
    let partitions = s3.dynamic_partitioning_configuration.as_ref().is_some_and(|it| on(it.enabled));
    [(processes, "processes records"), (converts, "converts their format"), (partitions, "partitions them")]
        .into_iter()
        .filter_map(|(it, word)| it.then_some(word))
        .collect()
}
