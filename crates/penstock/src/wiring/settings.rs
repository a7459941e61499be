//! The configuration as the engine is told it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroUsize;

use penstock_core::coordinator::api::{InitialPosition, LeaseMode};
use penstock_core::ids::{ApplicationName, WorkerId};
use penstock_core::intent;
use penstock_core::time::UnixMillis;
use penstock_engine::settings as engine;

use crate::config::settings::{
    FirehoseSettings, KeyForm, ObjectSettings, Ordering, OutsideHashRange, Pack, Settings, SinkSettings, StartPosition,
};

/// A number that no other start of any process had, from the operating system's randomness.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The owner string of this start: `<label>-<8 random hex>`.
pub(crate) fn owner_string(label: &str) -> WorkerId {
    let random = u32::try_from(random_seed() >> 32).expect("the upper half of 64 bits");
    WorkerId::new(&format!("{label}-{random:08x}"))
}

/// What the engine's worker is told.
pub(crate) fn worker_settings(settings: &Settings) -> engine::WorkerSettings {
    let application = ApplicationName::new(&settings.application.name);
    let worker = owner_string(&settings.application.worker_id);
    let defaults = engine::WorkerSettings::new(application, worker, random_seed());
    engine::WorkerSettings {
        leases: lease_settings(settings),
        source: source_settings(settings),
        objects: object_settings(settings, defaults.objects),
        calls: call_settings(settings, defaults.calls),
        memory_budget: settings.memory_budget,
        grace_period: settings.grace_period,
        per_shard_metrics: settings.admin.per_shard_metrics,
        application: defaults.application,
        worker: defaults.worker,
        time_outs: defaults.time_outs,
        seed: defaults.seed,
    }
}

fn lease_settings(settings: &Settings) -> engine::LeaseSettings {
    let leases = &settings.leases;
    engine::LeaseSettings {
        failover_time: leases.failover_time,
        max_leases: leases.max_leases.and_then(|max| usize::try_from(max.get()).ok()),
        max_steals_per_cycle: usize::try_from(leases.max_steals_per_cycle).unwrap_or(usize::MAX),
        mode: if leases.exclusive { LeaseMode::Exclusive } else { LeaseMode::Peer },
        keys: match leases.keys {
            KeyForm::Single => engine::KeyForm::Single,
            KeyForm::Multi => engine::KeyForm::Multi,
        },
    }
}

/// Where shards start that nobody has read.
pub(crate) fn initial_position(start: StartPosition) -> InitialPosition {
    match start {
        StartPosition::TrimHorizon => InitialPosition::TrimHorizon,
        StartPosition::Latest => InitialPosition::Latest,
        StartPosition::AtTimestamp { unix_millis } => {
            InitialPosition::Timestamp(UnixMillis(i64::try_from(unix_millis).unwrap_or(i64::MAX)))
        }
    }
}

fn source_settings(settings: &Settings) -> engine::SourceSettings {
    let source = &settings.source;
    engine::SourceSettings {
        fetch_interval: source.fetch_interval,
        idle_interval: source.idle_interval,
        max_records_per_fetch: source.max_records_per_fetch,
        deaggregate: source.deaggregate,
        outside_hash_range: outside_hash_range(source.outside_hash_range),
        ..engine::SourceSettings::default()
    }
}

/// What happens to straddlers, as core calls it.
pub(crate) fn outside_hash_range(rule: OutsideHashRange) -> intent::OutsideHashRange {
    match rule {
        OutsideHashRange::Deliver => intent::OutsideHashRange::Deliver,
        OutsideHashRange::SetAside => intent::OutsideHashRange::SetAside,
        OutsideHashRange::Drop => intent::OutsideHashRange::Drop,
    }
}

fn object_settings(settings: &Settings, defaults: engine::ObjectSettings) -> engine::ObjectSettings {
    match &settings.sink {
        SinkSettings::S3 { objects, .. } | SinkSettings::Directory { objects, .. } => {
            let ObjectSettings { buffer_size, buffer_interval, .. } = objects;
            engine::ObjectSettings { buffer_size: *buffer_size, buffer_interval: *buffer_interval }
        }
        SinkSettings::Firehose(_) | SinkSettings::Stdout => defaults,
    }
}

fn call_settings(settings: &Settings, defaults: engine::CallSettings) -> engine::CallSettings {
    let delimiter = settings.delimiter.clone().into_bytes();
    match &settings.sink {
        SinkSettings::Firehose(firehose) => firehose_calls(firehose, delimiter),
        // Each record at once, as it comes: this sink is for looking.
        SinkSettings::Stdout => engine::CallSettings {
            pack: engine::Pack::False,
            linger: std::time::Duration::from_millis(100),
            ordering: engine::Ordering::PerShard,
            delimiter,
            ..defaults
        },
        SinkSettings::S3 { .. } | SinkSettings::Directory { .. } => defaults,
    }
}

fn firehose_calls(firehose: &FirehoseSettings, delimiter: Vec<u8>) -> engine::CallSettings {
    engine::CallSettings {
        pack: match firehose.pack {
            Pack::Auto => engine::Pack::Auto,
            Pack::Always => engine::Pack::True,
            Pack::Never => engine::Pack::False,
        },
        pack_size: usize::try_from(firehose.pack_size).unwrap_or(usize::MAX),
        linger: firehose.linger,
        max_calls_in_flight: usize::try_from(firehose.max_calls_in_flight)
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN),
        ordering: match firehose.ordering {
            Ordering::Relaxed => engine::Ordering::Relaxed,
            Ordering::PerShard => engine::Ordering::PerShard,
        },
        delimiter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_string_is_new_at_each_start() {
        let one = owner_string("host");
        assert_ne!(one, owner_string("host"));
        let random = one.as_str().strip_prefix("host-").unwrap();
        assert_eq!(random.len(), 8);
        assert!(random.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
