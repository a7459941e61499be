//! All delivery streams, their throughput quotas and what is ready to be written. Pure: handed the time.

use std::collections::{BTreeMap, VecDeque};

use super::buffer::{Buffer, Filled};
use super::destination::Destination;
use crate::clock::Time;
use crate::limits::{MIB, Throughput, WriteLimits};
use crate::wire::ApiError;

/// What may wait to be written; beyond it records are refused as if over the quota.
const MAX_BACKLOG_BYTES: u64 = 256 * MIB;
/// Regions with the larger quotas.
const LARGE_REGIONS: [&str; 3] = ["us-east-1", "us-west-2", "eu-west-1"];

/// What the server was told about its Firehose.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Twelve digits, in ARNs.
    pub(crate) account: String,
    /// Whether throughput quotas are enforced; sizes always are.
    pub(crate) throttle: bool,
    /// Makes names of objects differ from those of other runs.
    pub(crate) seed: u64,
}

/// A delivery stream.
#[derive(Debug)]
pub(crate) struct DeliveryStream {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) created: Time,
    pub(crate) destination: Destination,
    buffer: Buffer,
    quota: WriteLimits,
    requests: Throughput,
}

/// An object that is ready to be written.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Tells objects of one server apart, and stays when one is tried again.
    pub(crate) number: u64,
    pub(crate) stream: String,
    pub(crate) destination: Destination,
    pub(crate) filled: Filled,
}

/// All delivery streams.
#[derive(Debug)]
pub(crate) struct DeliveryStreams {
    settings: Settings,
    streams: BTreeMap<String, DeliveryStream>,
    ready: VecDeque<Delivery>,
    records_taken: u64,
    deliveries: u64,
}

impl DeliveryStreams {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, streams: BTreeMap::new(), ready: VecDeque::new(), records_taken: 0, deliveries: 0 }
    }

    /// Creates a delivery stream and gives its ARN.
    pub(crate) fn create(&mut self, name: &str, region: &str, to: Destination, now: Time) -> Result<String, ApiError> {
        let account = &self.settings.account;
        if self.streams.contains_key(name) {
            return Err(ApiError::in_use(format!("Firehose {name} under accountId {account} already exists")));
        }
        let scale = if LARGE_REGIONS.contains(&region) { 5 } else { 1 };
        let arn = format!("arn:aws:firehose:{region}:{account}:deliverystream/{name}");
        let stream = DeliveryStream {
            name: name.to_owned(),
            arn: arn.clone(),
            created: now,
            buffer: Buffer::new(to.buffer_bytes, to.buffer_interval),
            destination: to,
            // 100,000 records, 1,000 requests, 1 MiB a second; in the large Regions five times the records and bytes.
            quota: WriteLimits::new(scale * MIB, scale * 100_000),
            requests: Throughput::new(if scale == 5 { 2000 } else { 1000 }),
        };
        self.streams.insert(name.to_owned(), stream);
        Ok(arn)
    }

    /// Deletes a delivery stream; what it has taken is still written.
    pub(crate) fn delete(&mut self, name: &str, now: Time) -> Result<(), ApiError> {
        let mut stream = self.streams.remove(name).ok_or_else(|| self.not_found(name))?;
        if let Some(filled) = stream.buffer.due(true, now) {
            self.deliveries += 1;
            self.ready.push_back(stream.delivery(self.deliveries, filled));
        }
        Ok(())
    }

    pub(crate) fn find(&self, name: &str) -> Result<&DeliveryStream, ApiError> {
        self.streams.get(name).ok_or_else(|| self.not_found(name))
    }

    /// Names after `after`, in order.
    pub(crate) fn names_after<'a>(&'a self, after: &'a str) -> impl Iterator<Item = &'a str> {
        self.streams.keys().map(String::as_str).filter(move |name| *name > after)
    }

    /// Counts a put request against the quota, or refuses it whole.
    pub(crate) fn admit_request(&mut self, name: &str, now: Time) -> Result<(), ApiError> {
        let missing = self.not_found(name);
        let throttle = self.settings.throttle;
        let stream = self.streams.get_mut(name).ok_or(missing)?;
        if throttle && !stream.requests.has_room(1, now) {
            return Err(ApiError::service_unavailable("Slow down."));
        }
        stream.requests.take(1, now);
        Ok(())
    }

    /// Takes a record and gives its id, or refuses it for the quota.
    pub(crate) fn put(&mut self, name: &str, record: &[u8], now: Time) -> Result<String, ApiError> {
        let (missing, full) = (self.not_found(name), self.backlog() > MAX_BACKLOG_BYTES);
        let stream = self.streams.get_mut(name).ok_or(missing)?;
        let over = self.settings.throttle && !stream.quota.admit(record.len() as u64, now);
        if over || full {
            return Err(ApiError::service_unavailable("Slow down."));
        }
        let newline = stream.destination.append_newline;
        if let Some(filled) = stream.buffer.append(record, newline, now) {
            self.deliveries += 1;
            self.ready.push_back(stream.delivery(self.deliveries, filled));
        }
        self.records_taken += 1;
        Ok(format!("{:016x}{:016x}", self.settings.seed, self.records_taken))
    }

    /// Closes the buffers that are old enough, or all, and gives the next object to write.
    pub(crate) fn next_delivery(&mut self, all: bool, now: Time) -> Option<Delivery> {
        for stream in self.streams.values_mut() {
            if let Some(filled) = stream.buffer.due(all, now) {
                self.deliveries += 1;
                self.ready.push_back(stream.delivery(self.deliveries, filled));
            }
        }
        self.ready.pop_front()
    }

    /// Takes back an object that could not be written: it stays the next one.
    pub(crate) fn put_back(&mut self, delivery: Delivery) {
        self.ready.push_front(delivery);
    }

    fn backlog(&self) -> u64 {
        let ready: usize = self.ready.iter().map(|delivery| delivery.filled.content.len()).sum();
        self.streams.values().map(|stream| stream.buffer.len()).sum::<u64>() + ready as u64
    }

    fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(format!("Firehose {name} under account {} not found.", self.settings.account))
    }
}

impl DeliveryStream {
    fn delivery(&self, number: u64, filled: Filled) -> Delivery {
        Delivery { number, stream: self.name.clone(), destination: self.destination.clone(), filled }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::destination::tests::configuration;
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(1_790_000_000_000 + millis)
    }

    fn streams(region: &str) -> DeliveryStreams {
        let mut streams = DeliveryStreams::new(Settings { account: "000000000000".into(), throttle: true, seed: 1 });
        let hints = json!({ "BufferingHints": { "SizeInMBs": 1, "IntervalInSeconds": 10 } });
        let destination = Destination::parse(&configuration(hints)).unwrap();
        streams.create("clicks", region, destination, at(0)).unwrap();
        streams
    }

    #[test]
    fn records_beyond_the_quota_of_the_region_are_refused() {
        for (region, taken) in [("us-east-1", 5), ("ap-northeast-1", 1)] {
            let mut streams = streams(region);
            let record = vec![0; usize::try_from(MIB).unwrap()];
            assert_eq!((0..10).filter(|_| streams.put("clicks", &record, at(0)).is_ok()).count(), taken);
            assert_eq!(streams.put("clicks", &record, at(0)).unwrap_err().code, "ServiceUnavailableException");
        }
    }

    #[test]
    fn requests_beyond_the_quota_are_refused_whole() {
        let mut streams = streams("ap-northeast-1");
        assert_eq!((0..1500).filter(|_| streams.admit_request("clicks", at(0)).is_ok()).count(), 1000);
        assert!(streams.admit_request("clicks", at(10)).is_ok());
        assert_eq!(streams.admit_request("other", at(10)).unwrap_err().code, "ResourceNotFoundException");
    }

    #[test]
    fn what_was_taken_is_delivered_once_when_it_is_due() {
        let mut streams = streams("us-east-1");
        let ids: Vec<String> = (0..3).map(|_| streams.put("clicks", b"x", at(0)).unwrap()).collect();
        assert!(ids[0] != ids[1] && ids[1] != ids[2]);
        assert!(streams.next_delivery(false, at(9_999)).is_none());
        let delivery = streams.next_delivery(false, at(10_000)).unwrap();
        assert_eq!(delivery.filled.content, b"xxx");
        assert!(streams.next_delivery(true, at(10_000)).is_none());
        streams.put_back(delivery);
        assert_eq!(streams.next_delivery(false, at(10_001)).unwrap().filled.content, b"xxx");
    }

    #[test]
    fn a_deleted_stream_still_delivers_what_it_took() {
        let mut streams = streams("us-east-1");
        streams.put("clicks", b"x", at(0)).unwrap();
        streams.delete("clicks", at(1)).unwrap();
        assert_eq!(streams.next_delivery(false, at(1)).unwrap().filled.content, b"x");
        assert!(streams.find("clicks").is_err());
    }
}
