//! How much of everything a pipeline uses in a month of 730 hours: pure quantities, no prices.
//!
//! Numbers are f64 and never rounded in here, but for the steps that the services themselves charge in.

/// Hours of a month, as AWS's calculator has it.
pub(super) const HOURS: f64 = 730.0;
/// Seconds of a month.
pub(super) const SECONDS: f64 = HOURS * 3_600.0;
pub(super) const GIB: f64 = 1_073_741_824.0;
const MIB: f64 = 1_048_576.0;
const MILLION: f64 = 1_000_000.0;

/// Kinesis charges puts in steps of 25 KB of a record.
const PUT_UNIT: f64 = 25_600.0;
/// Firehose charges in steps of 5 KB of a record.
const FIREHOSE_STEP: f64 = 5_120.0;
/// On-demand streams charge each record in steps of 1 KB.
const ON_DEMAND_STEP: f64 = 1_024.0;
/// Base64 in JSON: what Kinesis and Firehose send and take for each byte of payload.
const BASE64: f64 = 4.0 / 3.0;
/// Records and bytes that one shard takes in a second.
const SHARD_RECORDS: f64 = 1_000.0;
const SHARD_BYTES: f64 = MIB;
/// What penstock puts into one call of Firehose at the most.
const CALL_BYTES: f64 = 4_000_000.0;

/// A row of the lease table, as penstock writes it for one stream.
const LEASE_ROW_BYTES: f64 = 720.0;
const READ_UNIT: f64 = 4_096.0;
/// Renewals and looks come up to a tenth of their interval early, a twentieth on the average.
const JITTER: f64 = 0.95;

/// What flows, on the average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    pub(super) records_per_second: f64,
    pub(super) record_bytes: f64,
    pub(super) shards: f64,
    pub(super) workers: f64,
}

impl Load {
    /// Records a month.
    pub(super) fn records(&self) -> f64 {
        self.records_per_second * SECONDS
    }

    pub(super) fn bytes_per_second(&self) -> f64 {
        self.records_per_second * self.record_bytes
    }

    /// Payload a month.
    pub(super) fn gib(&self) -> f64 {
        self.bytes_per_second() * SECONDS / GIB
    }

    /// The payload as Kinesis sends it, or Firehose takes it: base64.
    pub(super) fn wire_gib(&self) -> f64 {
        self.gib() * BASE64
    }

    /// The shards that this load needs by the limits of writing.
    pub(super) fn least_shards(&self) -> f64 {
        (self.records_per_second / SHARD_RECORDS).max(self.bytes_per_second() / SHARD_BYTES).ceil().max(1.0)
    }

    /// PUT payload units a month: each record in steps of 25 KB.
    pub(super) fn put_units(&self) -> f64 {
        self.records() * steps(self.record_bytes, PUT_UNIT)
    }

    /// What an on-demand stream counts a month, in or out: each record in steps of 1 KB.
    pub(super) fn on_demand_gib(&self) -> f64 {
        self.records() * steps(self.record_bytes, ON_DEMAND_STEP) * ON_DEMAND_STEP / GIB
    }

    /// What Firehose counts a month where each record is one of its records.
    pub(super) fn firehose_gib(&self) -> f64 {
        self.records() * steps(self.record_bytes, FIREHOSE_STEP) * FIREHOSE_STEP / GIB
    }

    /// What Firehose counts a month where penstock packs: what one call carries, with a delimiter a record, in steps.
    pub(super) fn packed_firehose_gib(&self, linger: f64) -> f64 {
        let calls = self.calls_per_second(linger);
        if calls <= 0.0 {
            return 0.0;
        }
        let bytes_per_call = self.records_per_second * (self.record_bytes + 1.0) / calls;
        calls * SECONDS * steps(bytes_per_call, FIREHOSE_STEP) * FIREHOSE_STEP / GIB
    }

    /// Calls of Firehose by all workers: one goes out `linger` after its first record, or when it is full.
    pub(super) fn calls_per_second(&self, linger: f64) -> f64 {
        let of_one = self.records_per_second / self.workers;
        let by_time = windows_per_second(of_one, linger) * self.workers;
        by_time.max(self.bytes_per_second() / CALL_BYTES)
    }
}

fn steps(bytes: f64, step: f64) -> f64 {
    (bytes / step).ceil().max(1.0)
}

/// How often a window of `seconds` opens that its first record opens: once in a window and the mean wait for a record.
fn windows_per_second(records_per_second: f64, seconds: f64) -> f64 {
    if records_per_second <= 0.0 { 0.0 } else { 1.0 / (seconds + 1.0 / records_per_second) }
}

/// Invocations of a function behind an event source mapping.
///
/// Lambda looks into each shard about once a second. Without a batching window it invokes whenever it finds records (these arrive
/// independently of each other), with one a window after the first; never with more than a batch.
pub(super) fn lambda_invocations(load: &Load, batch: f64, window: f64) -> f64 {
    let of_shard = load.records_per_second / load.shards;
    let by_time = if window <= 0.0 { 1.0 - (-of_shard).exp() } else { windows_per_second(of_shard, window) };
    by_time.max(of_shard / batch) * load.shards * SECONDS
}

/// What a function's memory costs in time.
pub(super) fn gb_seconds(invocations: f64, milliseconds: f64, memory_mb: f64) -> f64 {
    invocations * milliseconds / 1_000.0 * memory_mb / 1_024.0
}

/// Objects a month of a writer that closes each at a size or an age, whichever comes first.
pub(super) fn objects(bytes_per_second: f64, writers: f64, object_bytes: f64, interval: f64) -> f64 {
    if bytes_per_second <= 0.0 {
        return 0.0;
    }
    (bytes_per_second / object_bytes).max(writers / interval) * SECONDS
}

/// What the lease table is asked a second, by all workers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LeaseTraffic {
    /// Write request units.
    pub(super) writes: f64,
    /// Read request units.
    pub(super) reads: f64,
}

/// The traffic of penstock's leases: each is renewed three times within the failover time, a checkpoint counts as a renewal, and each worker
/// looks at the whole table twice within it, with consistent reads.
///
/// Between checkpoints that are further apart than renewals there are renewals too: there it is the least, and the sum of both the most.
pub(super) fn lease_traffic(shards: f64, workers: f64, failover: f64, checkpoints_per_shard: f64) -> LeaseTraffic {
    let renewals = 1.0 / (failover / 3.0 * JITTER);
    let looks = 1.0 / (failover / 2.0 * JITTER);
    LeaseTraffic {
        writes: shards * renewals.max(checkpoints_per_shard),
        reads: workers * looks * (shards * LEASE_ROW_BYTES / READ_UNIT).ceil(),
    }
}

/// Checkpoints of one shard a second behind Firehose: one for each call that carries records of it.
pub(super) fn call_checkpoints(load: &Load, linger: f64) -> f64 {
    let of_shard = load.records_per_second / load.shards;
    windows_per_second(of_shard, linger).max(load.bytes_per_second() / load.shards / CALL_BYTES)
}

/// Checkpoints of one shard a second behind objects: the intent, and what follows it.
pub(super) fn object_checkpoints(load: &Load, objects: f64) -> f64 {
    2.0 * objects / SECONDS / load.shards
}

/// A task of Fargate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Task {
    pub(super) vcpu: f64,
    pub(super) memory_gb: f64,
}

/// The smallest task that is at most half busy, and the vCPUs that all workers keep busy.
pub(super) fn task(load: &Load, cpu_seconds_per_gb: f64) -> (Task, f64) {
    const SIZES: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];
    let busy = load.bytes_per_second() / 1e9 * cpu_seconds_per_gb;
    let vcpu = SIZES.into_iter().find(|size| size * load.workers / 2.0 >= busy).unwrap_or(4.0);
    (Task { vcpu, memory_gb: 2.0 * vcpu }, busy)
}

/// In millions, as most prices are.
pub(super) fn millions(quantity: f64) -> f64 {
    quantity / MILLION
}

#[cfg(test)]
mod tests {
    use super::super::prices::{Item, PriceList, Till};
    use super::*;

    /// Dollars in us-east-1.
    fn usd(item: Item, quantity: f64) -> f64 {
        let list = PriceList::load(None, None).unwrap();
        let mut till = Till::new(&list);
        let amount = till.amount(item, "us-east-1", quantity).usd;
        till.close().unwrap();
        amount
    }

    #[track_caller]
    fn about(found: f64, expected: f64) {
        // As many digits as the examples print.
        let half = if expected < 100.0 { 0.005 } else { 0.5 };
        assert!((found - expected).abs() <= half + 1e-9, "{found}, not {expected}");
    }

    fn fargate_arm(vcpu: f64, memory_gb: f64, hours: f64) -> f64 {
        usd(Item::FargateArmVcpuHour, vcpu * hours) + usd(Item::FargateArmGbHour, memory_gb * hours)
    }

    fn lambda(invocations: f64, gb_seconds: f64, price: Item, free: bool) -> f64 {
        let (free_invocations, free_seconds) = if free { (1e6, 400_000.0) } else { (0.0, 0.0) };
        usd(Item::LambdaMillion, millions((invocations - free_invocations).max(0.0)))
            + usd(price, (gb_seconds - free_seconds).max(0.0))
    }

    /// 100,000 records and 20 MB a day.
    fn small() -> Load {
        Load { records_per_second: 100_000.0 / 86_400.0, record_bytes: 200.0, shards: 1.0, workers: 1.0 }
    }

    /// 10 MiB/s of records of 1 KiB.
    fn large() -> Load {
        Load { records_per_second: 10_240.0, record_bytes: 1_024.0, shards: 11.0, workers: 2.0 }
    }

    #[test]
    fn the_small_example_costs_what_was_reckoned_by_hand() {
        let load = small();
        about(load.gib(), 0.567);
        assert_eq!(load.least_shards(), 1.0);
        about(usd(Item::ShardHour, load.shards * HOURS), 10.95);
        about(usd(Item::PutMillion, millions(load.put_units())), 0.04);
        about(usd(Item::OnDemandHour, HOURS), 29.20);
        about(usd(Item::OnDemandInGib, load.on_demand_gib()), 0.23);
        about(usd(Item::OnDemandOutGib, load.on_demand_gib()), 0.12);
        about(usd(Item::FirehoseGib, load.firehose_gib()), 0.42);
        about(usd(Item::S3PutThousand, objects(load.bytes_per_second(), 1.0, 64.0 * MIB, 300.0) / 1e3), 0.04);
        // At the most one invocation a second.
        let seconds = gb_seconds(SECONDS, 100.0, 128.0);
        about(lambda(SECONDS, seconds, Item::LambdaX86GbSecond, true), 0.33);
        about(lambda(SECONDS, seconds, Item::LambdaX86GbSecond, false), 1.07);
        about(usd(Item::LogsGib, SECONDS * 400.0 / GIB), 0.49);
        let windows = SECONDS / 60.0;
        about(lambda(windows, gb_seconds(windows, 100.0, 128.0), Item::LambdaX86GbSecond, false), 0.02);
        about(usd(Item::S3PutThousand, windows / 1e3), 0.22);
        about(usd(Item::FirehoseGib, load.gib()), 0.016);
        about(fargate_arm(0.25, 0.5, HOURS), 7.21);
        about(usd(Item::FargateX86VcpuHour, 0.25 * HOURS) + usd(Item::FargateX86GbHour, 0.5 * HOURS), 9.01);
        about(usd(Item::Ipv4Hour, HOURS), 3.65);
        about(usd(Item::Ec2NanoHour, HOURS), 3.07);
        about(usd(Item::DiskGbMonth, 8.0), 0.64);
        about(usd(Item::NatHour, HOURS), 32.85);
    }

    #[test]
    fn the_large_example_costs_what_was_reckoned_by_hand() {
        let load = large();
        about(load.gib(), 25_664.0);
        assert_eq!(load.least_shards(), 11.0);
        about(usd(Item::ShardHour, load.shards * HOURS), 120.0);
        about(usd(Item::PutMillion, millions(load.put_units())), 377.0);
        let aggregated = Load { records_per_second: 10_240.0 / 25.0, record_bytes: 25_600.0, ..load };
        about(usd(Item::PutMillion, millions(aggregated.put_units())), 15.07);
        let on_demand = usd(Item::OnDemandHour, HOURS)
            + usd(Item::OnDemandInGib, load.on_demand_gib())
            + usd(Item::OnDemandOutGib, load.on_demand_gib());
        about(on_demand, 3_109.0);
        about(usd(Item::FirehoseGib, load.firehose_gib()), 3_721.0);
        about(usd(Item::FirehoseGib, load.gib()), 744.0);
        let put = objects(load.bytes_per_second(), 11.0, 64.0 * MIB, 300.0);
        about(usd(Item::S3PutThousand, put / 1e3), 2.05);
        about(usd(Item::S3PutThousand, put * 10.0 / 1e3), 20.53);
        let invocations = lambda_invocations(&load, 1_000.0, 10.0);
        about(lambda(invocations, gb_seconds(invocations, 300.0, 512.0), Item::LambdaX86GbSecond, true), 65.79);
        about(lambda(invocations, gb_seconds(invocations, 300.0, 512.0), Item::LambdaArmGbSecond, true), 53.67);
        about(usd(Item::LogsGib, invocations * 400.0 / GIB), 5.01);
        let invocations = lambda_invocations(&load, 100.0, 10.0);
        about(lambda(invocations, gb_seconds(invocations, 100.0, 512.0), Item::LambdaX86GbSecond, true), 271.0);
        about(lambda(invocations, gb_seconds(invocations, 100.0, 512.0), Item::LambdaArmGbSecond, true), 228.0);
        about(fargate_arm(1.0, 2.0, 2.0 * HOURS), 57.67);
        about(usd(Item::Ipv4Hour, 2.0 * HOURS), 7.30);
        about(usd(Item::EndpointGib, load.wire_gib()), 342.0);
        about(usd(Item::EndpointHour, 2.0 * HOURS), 14.60);
        about(usd(Item::NatGib, load.wire_gib()), 1_540.0);
        about(usd(Item::OtherRegionGib, load.gib()), 513.0);
        about(usd(Item::OtherRegionGib, load.wire_gib()), 684.0);
    }

    #[test]
    fn renewals_cost_what_was_reckoned_by_hand() {
        for (shards, dollars) in [
            (1.0, [0.49, 0.33, 0.16]),
            (10.0, [4.93, 3.29, 1.64]),
            (11.0, [5.42, 3.61, 1.81]),
            (100.0, [49.28, 32.85, 16.43]),
            (1_000.0, [493.0, 329.0, 164.0]),
        ] {
            for (interval, dollars) in [10.0 / 3.0, 5.0, 10.0].into_iter().zip(dollars) {
                // Without the jitter, which that table leaves out.
                let writes = lease_traffic(shards, 1.0, interval * 3.0 / JITTER, 0.0).writes;
                about(usd(Item::WriteMillion, millions(writes * SECONDS)), dollars);
            }
        }
    }

    #[test]
    fn a_packed_call_is_charged_by_what_it_carries_and_never_more_than_its_records_alone() {
        let load = small();
        // A call a second or less carries two records and is charged as one.
        let calls = load.calls_per_second(1.0);
        assert!((0.5..0.6).contains(&calls), "{calls}");
        about(load.packed_firehose_gib(1.0), calls * SECONDS * 5_120.0 / GIB);
        // Waiting longer fills them.
        about(load.packed_firehose_gib(300.0) / load.gib(), 1.03);
        for linger in [0.1, 1.0, 10.0, 300.0] {
            for load in [load, large()] {
                let packed = load.packed_firehose_gib(linger);
                assert!(packed >= load.gib() && packed <= load.firehose_gib(), "{linger}: {packed}");
            }
        }
        // Full calls waste less than a step each.
        about(large().packed_firehose_gib(1.0) / large().gib(), 1.0);
    }

    #[test]
    fn nothing_that_flows_costs_nothing_that_flows() {
        let load = Load { records_per_second: 0.0, ..small() };
        assert_eq!(load.put_units() + load.firehose_gib() + load.packed_firehose_gib(1.0), 0.0);
        assert_eq!(lambda_invocations(&load, 500.0, 0.0) + lambda_invocations(&load, 500.0, 5.0), 0.0);
        assert_eq!(objects(0.0, 1.0, MIB, 300.0), 0.0);
        assert_eq!(call_checkpoints(&load, 1.0), 0.0);
    }

    #[test]
    fn a_task_is_at_most_half_busy() {
        assert_eq!(task(&small(), 10.0).0, Task { vcpu: 0.25, memory_gb: 0.5 });
        let (found, busy) = task(&Load { workers: 1.0, ..large() }, 50.0);
        assert_eq!(found, Task { vcpu: 2.0, memory_gb: 4.0 });
        about(busy, 0.524);
    }

    #[test]
    fn the_page_on_leases_has_these_numbers() {
        let page = include_str!("../../../../../docs/leases.md");
        for failover in [10.0, 30.0] {
            let LeaseTraffic { writes, reads } = lease_traffic(1_000.0, 4.0, failover, 0.0);
            let dollars = [
                usd(Item::WriteMillion, millions(writes * SECONDS)),
                usd(Item::ReadMillion, millions(reads * SECONDS)),
            ];
            let row = format!(
                "| penstock, `failover_time = \"{failover}s\"` | {writes:.0} | 4 × {:.0} | ${:.0} + ${:.0} |",
                reads / 4.0,
                dollars[0],
                dollars[1]
            );
            assert!(page.contains(&row), "{row}");
        }
        // What the coordinator really asks for is counted, and held against that page, where it is tested.
        assert_eq!(lease_traffic(1_000.0, 4.0, 10.0, 1.0).writes, 1_000.0);
    }

    /// The KCL 2.x renews at a fixed rate, in whole milliseconds, whatever it checkpoints, and each of its workers scans once in two
    /// failover times, without consistent reads, which cost half.
    #[test]
    fn the_page_on_leases_has_the_numbers_of_the_kcl() {
        let (shards, workers, failover, epsilon) = (1_000.0, 4.0, 10_000_u32, 25);
        let seconds = |millis: u32| f64::from(millis) / 1_000.0;
        let renewals = shards / seconds(failover / 3 - epsilon);
        let units = (shards * LEASE_ROW_BYTES / READ_UNIT).ceil() / 2.0 / seconds(2 * (failover + epsilon));
        let writes = |a_second: f64| usd(Item::WriteMillion, millions(a_second * SECONDS)).round();
        let reads = usd(Item::ReadMillion, millions(workers * units * SECONDS)).round();
        let more = writes(shards);
        let row = format!(
            "| KCL 2.x, `failoverTimeMillis` 10,000 | {renewals:.0}, and one more for each checkpoint | {workers} × {units:.1} | \
             ${} + ${reads}, and ${},{:03} more where each shard checkpoints once a second |",
            writes(renewals),
            (more / 1_000.0).floor(),
            more % 1_000.0,
        );
        assert!(include_str!("../../../../../docs/leases.md").contains(&row), "{row}");
    }
}
