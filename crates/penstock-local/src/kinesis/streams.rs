//! The account: all streams by name, and the rates of its control operations. Pure: handed the time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::stream::{NewStream, Stream};
use crate::clock::Time;
use crate::limits::CallRate;
use crate::wire::ApiError;

/// Calls a second that the account may make.
const CONTROL_RATES: [(&str, usize); 14] = [
    ("AddTagsToStream", 5),
    ("CreateStream", 5),
    ("DecreaseStreamRetentionPeriod", 5),
    ("DeleteStream", 5),
    ("DescribeLimits", 1),
    ("DescribeStream", 10),
    ("DescribeStreamSummary", 20),
    ("IncreaseStreamRetentionPeriod", 5),
    ("ListShards", 1000),
    ("ListStreams", 5),
    ("ListTagsForStream", 5),
    ("MergeShards", 5),
    ("SplitShard", 5),
    ("UpdateShardCount", 10),
];

/// What the server was told about its Kinesis.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Twelve digits, in ARNs.
    pub(crate) account: String,
    /// Whether rates are enforced; sizes always are.
    pub(crate) throttle: bool,
    /// How long a shard iterator is good for.
    pub(crate) iterator_life: Duration,
    /// What counts as an hour of retention.
    pub(crate) retention_hour: Duration,
    /// Makes the tokens of this server its own.
    pub(crate) token_key: u64,
}

/// All streams.
#[derive(Debug)]
pub(crate) struct Streams {
    settings: Settings,
    streams: BTreeMap<String, Stream>,
    rates: BTreeMap<&'static str, CallRate>,
    incarnations: u64,
    /// Above the epoch of every deleted stream.
    epoch_floor: u64,
}

impl Streams {
    pub(crate) fn new(settings: Settings) -> Self {
        let rates = CONTROL_RATES.map(|(operation, rate)| (operation, CallRate::new(rate)));
        Self { settings, streams: BTreeMap::new(), rates: rates.into(), incarnations: 0, epoch_floor: 0 }
    }

    /// Counts a control operation, or refuses it with `LimitExceededException`.
    pub(crate) fn admit(&mut self, operation: &str, now: Time) -> Result<(), ApiError> {
        let rate = self.rates.get_mut(operation).filter(|_| self.settings.throttle);
        if rate.is_none_or(|rate| rate.admit(now)) {
            return Ok(());
        }
        let account = &self.settings.account;
        Err(ApiError::limit_exceeded(format!("Rate exceeded for {operation} under account {account}.")))
    }

    pub(crate) fn create(&mut self, new: NewStream, now: Time) -> Result<(), ApiError> {
        if self.streams.contains_key(&new.name) {
            let account = &self.settings.account;
            return Err(ApiError::in_use(format!("Stream {} under account {account} already exists.", new.name)));
        }
        self.incarnations += 1;
        let epoch = self.epoch_floor.max(now.as_millis() / 1000);
        let stream = Stream::new(new, &self.settings.account, self.incarnations, epoch, now);
        self.streams.insert(stream.name.clone(), stream);
        Ok(())
    }

    pub(crate) fn delete(&mut self, name: &str) {
        if let Some(stream) = self.streams.remove(name) {
            self.epoch_floor = self.epoch_floor.max(stream.last_epoch() + 1);
        }
    }

    /// The stream of that name or ARN, with what has outlived its retention dropped.
    pub(crate) fn find(&mut self, name: Option<&str>, arn: Option<&str>, now: Time) -> Result<&mut Stream, ApiError> {
        let in_arn = arn.map(|arn| arn.rsplit_once(":stream/").map_or("", |(_, name)| name));
        let wanted = match (name, in_arn) {
            (None, None) => return Err(ApiError::invalid_argument("Either StreamName or StreamARN is required.")),
            (Some(name), Some(in_arn)) if name != in_arn => {
                return Err(ApiError::invalid_argument("StreamName and StreamARN do not name the same stream."));
            }
            (_, Some(in_arn)) => in_arn,
            (Some(name), None) => name,
        };
        let found = self.streams.get_mut(wanted).filter(|stream| arn.is_none_or(|arn| stream.arn == arn));
        let Some(stream) = found else {
            let (named, account) = (arn.unwrap_or(wanted), &self.settings.account);
            return Err(ApiError::not_found(format!("Stream {named} under account {account} not found.")));
        };
        stream.expire(self.settings.retention_hour, now);
        Ok(stream)
    }

    /// All streams, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.streams.values()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::stream::StreamMode;
    use super::*;

    pub(crate) fn settings() -> Settings {
        Settings {
            account: "000000000000".into(),
            throttle: true,
            iterator_life: Duration::from_secs(300),
            retention_hour: Duration::from_secs(3600),
            token_key: 1,
        }
    }

    fn new_stream(name: &str) -> NewStream {
        NewStream {
            name: name.into(),
            region: "eu-west-1".into(),
            shards: 1,
            mode: StreamMode::Provisioned,
            max_record_kib: 1024,
            tags: BTreeMap::new(),
        }
    }

    #[test]
    fn a_stream_is_found_by_name_or_by_its_own_arn() {
        let now = Time::from_millis(1_790_000_000_000);
        let mut streams = Streams::new(settings());
        streams.create(new_stream("clicks"), now).unwrap();
        let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/clicks";
        let other = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks";
        assert!(streams.find(Some("clicks"), None, now).is_ok());
        assert!(streams.find(None, Some(arn), now).is_ok());
        assert!(streams.find(Some("clicks"), Some(arn), now).is_ok());
        let code = |result: Result<&mut Stream, ApiError>| result.unwrap_err().code;
        assert_eq!(code(streams.find(None, Some(other), now)), "ResourceNotFoundException");
        assert_eq!(code(streams.find(Some("clock"), None, now)), "ResourceNotFoundException");
        assert_eq!(code(streams.find(Some("clock"), Some(arn), now)), "InvalidArgumentException");
        assert_eq!(code(streams.find(None, None, now)), "InvalidArgumentException");
    }

    #[test]
    fn a_recreated_stream_never_repeats_sequence_numbers() {
        let now = Time::from_millis(1_790_000_000_000);
        let mut streams = Streams::new(settings());
        streams.create(new_stream("clicks"), now).unwrap();
        assert_eq!(streams.create(new_stream("clicks"), now).unwrap_err().code, "ResourceInUseException");
        let first = streams.find(Some("clicks"), None, now).unwrap().shards[&0].starting_sequence();
        streams.delete("clicks");
        streams.create(new_stream("clicks"), now).unwrap();
        let again = streams.find(Some("clicks"), None, now).unwrap();
        assert!(first.text() < again.shards[&0].starting_sequence().text());
        assert_eq!(again.incarnation, 2);
    }

    #[test]
    fn control_operations_have_rates() {
        let now = Time::from_millis(1_790_000_000_000);
        let mut streams = Streams::new(settings());
        assert_eq!((0..30).filter(|_| streams.admit("DescribeStreamSummary", now).is_ok()).count(), 20);
        assert_eq!(streams.admit("DescribeStreamSummary", now).unwrap_err().code, "LimitExceededException");
        assert_eq!((0..30).filter(|_| streams.admit("PutRecords", now).is_ok()).count(), 30);
        let mut free = Streams::new(Settings { throttle: false, ..settings() });
        assert_eq!((0..30).filter(|_| free.admit("DescribeStreamSummary", now).is_ok()).count(), 30);
    }
}
