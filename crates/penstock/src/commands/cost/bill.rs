//! What a pipeline costs on each route, line by line: the quantities of the model times the prices of the list. Pure.

use super::model::{self, GIB, HOURS, Load, SECONDS, Task, millions};
use super::prices::{Amount, Assumptions, Item, Price, PriceList, Till};

/// Requests and GB-seconds that Lambda gives away each month.
const FREE_INVOCATIONS: f64 = 1_000_000.0;
const FREE_GB_SECONDS: f64 = 400_000.0;
const MIB: f64 = 1_048_576.0;

/// What is to be reckoned.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    pub(super) load: Load,
    /// The stream's Region.
    pub(super) region: String,
    /// The delivery stream's or the bucket's.
    pub(super) sink_region: String,
    pub(super) sink: Sink,
    /// Seconds.
    pub(super) failover: f64,
    /// Whether leases live in DynamoDB.
    pub(super) dynamodb: bool,
}

impl Pipeline {
    /// Whether the sink is in another Region than the stream.
    pub(super) fn crosses(&self) -> bool {
        self.region != self.sink_region
    }
}

/// Where penstock delivers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sink {
    /// A delivery stream.
    Firehose {
        /// Whether records are packed.
        pack: bool,
        /// Seconds.
        linger: f64,
    },
    /// A bucket.
    S3 {
        /// Bytes of an object as stored.
        object_bytes: f64,
        /// Seconds.
        interval: f64,
        /// Whether objects are compressed.
        compressed: bool,
    },
}

/// The routes, in the order of the columns.
pub(super) const ROUTES: [&str; 5] = ["on Fargate", "on EC2", "on a host you have", "Lambda", "Firehose alone"];

/// A line: an amount for each route, `None` where there is nothing to pay for.
pub(super) type Cells = [Option<Amount>; ROUTES.len()];

/// One line of the bill.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) what: String,
    pub(super) cells: Cells,
}

/// What is not in the totals, and what it would cost.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Beside {
    pub(super) what: String,
    pub(super) amount: Amount,
}

/// The bill.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bill {
    /// What the stream costs, whoever reads it.
    pub(super) stream: Vec<Line>,
    /// What a route adds.
    pub(super) routes: Vec<Line>,
    pub(super) beside: Vec<Beside>,
    pub(super) prices: Vec<Price>,
    pub(super) assumptions: Vec<String>,
}

/// The sum of lines, route by route.
pub(super) fn total<'a>(lines: impl Iterator<Item = &'a Line> + Clone) -> Cells {
    std::array::from_fn(|route| Some(lines.clone().filter_map(|line| line.cells[route]).sum()))
}

/// Reckons.
///
/// # Errors
/// If a price is missing.
pub(super) fn bill(pipeline: &Pipeline, list: &PriceList) -> anyhow::Result<Bill> {
    let mut desk = Desk { pipeline, assumed: *list.assumptions(), till: Till::new(list) };
    let stream = desk.stream();
    let lambda = desk.lambda_use();
    let mut routes = desk.leases();
    routes.extend(desk.compute());
    routes.extend(desk.lambda(lambda));
    routes.extend(desk.delivery(lambda));
    routes.retain(|line| line.cells.iter().any(Option::is_some));
    let beside = desk.beside(lambda);
    let assumptions = assumptions(pipeline, &desk.assumed, lambda);
    Ok(Bill { stream, routes, beside, prices: desk.till.close()?, assumptions })
}

/// Invocations and GB-seconds a month.
#[derive(Debug, Clone, Copy)]
struct LambdaUse {
    invocations: f64,
    milliseconds: f64,
    gb_seconds: f64,
}

struct Desk<'a> {
    pipeline: &'a Pipeline,
    assumed: Assumptions,
    till: Till<'a>,
}

impl Desk<'_> {
    fn at_stream(&mut self, item: Item, quantity: f64) -> Amount {
        self.till.amount(item, &self.pipeline.region, quantity)
    }

    fn at_sink(&mut self, item: Item, quantity: f64) -> Amount {
        self.till.amount(item, &self.pipeline.sink_region, quantity)
    }

    fn stream(&mut self) -> Vec<Line> {
        let load = self.pipeline.load;
        let shards = self.at_stream(Item::ShardHour, load.shards * HOURS);
        let puts = self.at_stream(Item::PutMillion, millions(load.put_units()));
        vec![line("Kinesis: shards", [Some(shards); 5]), line("Kinesis: PUT payload units", [Some(puts); 5])]
    }

    /// Only penstock's; a mapping of Lambda and Firehose keep theirs for nothing.
    fn leases(&mut self) -> Vec<Line> {
        let Pipeline { load, failover, dynamodb, .. } = *self.pipeline;
        if !dynamodb {
            return Vec::new();
        }
        let checkpoints = match self.pipeline.sink {
            Sink::Firehose { linger, .. } => model::call_checkpoints(&load, linger),
            Sink::S3 { .. } => model::object_checkpoints(&load, self.own_objects()),
        };
        let traffic = model::lease_traffic(load.shards, load.workers, failover, checkpoints);
        let writes = self.at_stream(Item::WriteMillion, millions(traffic.writes * SECONDS));
        let reads = self.at_stream(Item::ReadMillion, millions(traffic.reads * SECONDS));
        vec![line("DynamoDB: lease writes", penstock(writes)), line("DynamoDB: looks at the leases", penstock(reads))]
    }

    fn compute(&mut self) -> Vec<Line> {
        let load = self.pipeline.load;
        let (Task { vcpu, memory_gb }, busy) = model::task(&load, self.assumed.cpu_seconds_per_gb);
        let hours = load.workers * HOURS;
        let fargate = self.at_stream(Item::FargateArmVcpuHour, vcpu * hours)
            + self.at_stream(Item::FargateArmGbHour, memory_gb * hours);
        let (instance, _) = instance(busy / load.workers);
        let ec2 = self.at_stream(instance, hours);
        let disk = self.at_stream(Item::DiskGbMonth, self.assumed.disk_gb * load.workers);
        let address = self.at_stream(Item::Ipv4Hour, hours);
        vec![
            line("compute", [Some(fargate), Some(ec2), None, None, None]),
            line("disk", [None, Some(disk), None, None, None]),
            line("public IPv4 address", [Some(address), Some(address), None, None, None]),
        ]
    }

    fn lambda_use(&self) -> LambdaUse {
        let Assumptions { lambda_batch, lambda_window_seconds, lambda_memory_mb, .. } = self.assumed;
        let load = &self.pipeline.load;
        let invocations = model::lambda_invocations(load, lambda_batch, lambda_window_seconds);
        let records = if invocations > 0.0 { load.records() / invocations } else { 0.0 };
        let far = if self.pipeline.crosses() { self.assumed.lambda_milliseconds_other_region } else { 0.0 };
        let milliseconds =
            self.assumed.lambda_milliseconds + records * self.assumed.lambda_milliseconds_per_record + far;
        LambdaUse {
            invocations,
            milliseconds,
            gb_seconds: model::gb_seconds(invocations, milliseconds, lambda_memory_mb),
        }
    }

    fn lambda(&mut self, lambda: LambdaUse) -> Vec<Line> {
        let requests = self.at_stream(Item::LambdaMillion, millions(lambda.invocations));
        let duration = self.at_stream(Item::LambdaArmGbSecond, lambda.gb_seconds);
        let logs = self.at_stream(Item::LogsGib, lambda.invocations * self.assumed.lambda_log_bytes / GIB);
        let only = |amount| [None, None, None, Some(amount), None];
        vec![
            line("Lambda: invocations", only(requests)),
            line("Lambda: time", only(duration)),
            line("CloudWatch Logs", only(logs)),
        ]
    }

    /// Objects a month that penstock puts itself.
    fn own_objects(&self) -> f64 {
        match self.pipeline.sink {
            Sink::Firehose { .. } => 0.0,
            Sink::S3 { object_bytes, interval, compressed } => {
                let load = &self.pipeline.load;
                let ratio = if compressed { self.assumed.compression_ratio } else { 1.0 };
                model::objects(load.bytes_per_second() / ratio, load.shards, object_bytes, interval)
            }
        }
    }

    /// Objects a month that one delivery stream puts.
    fn firehose_objects(&self) -> f64 {
        let Assumptions { firehose_object_mib, firehose_object_seconds, .. } = self.assumed;
        let bytes = self.pipeline.load.bytes_per_second();
        model::objects(bytes, 1.0, firehose_object_mib * MIB, firehose_object_seconds)
    }

    fn delivery(&mut self, lambda: LambdaUse) -> Vec<Line> {
        let load = self.pipeline.load;
        let crosses = self.pipeline.crosses();
        let unpacked = load.firehose_gib();
        // Firehose reads only a stream of its own Region.
        let alone = self.at_stream(Item::FirehoseGib, unpacked);
        let objects = self.firehose_objects();
        let their_objects = self.at_sink(Item::S3PutThousand, objects / 1e3);
        let mut lines = Vec::new();
        let (ours, lambdas, our_gib, lambda_gib) = match self.pipeline.sink {
            Sink::Firehose { pack, linger } => {
                let ours = if pack { load.packed_firehose_gib(linger) } else { unpacked };
                let ingested = self.at_sink(Item::FirehoseGib, ours);
                let lambda_ingested = self.at_sink(Item::FirehoseGib, unpacked);
                lines.push(line("Firehose: ingestion", all(ingested, lambda_ingested, alone)));
                (their_objects, their_objects, load.wire_gib(), load.wire_gib())
            }
            Sink::S3 { compressed, .. } => {
                lines.push(line("Firehose: ingestion", [None, None, None, None, Some(alone)]));
                let ours = self.at_sink(Item::S3PutThousand, self.own_objects() / 1e3);
                // An object for each invocation.
                let lambdas = self.at_sink(Item::S3PutThousand, lambda.invocations / 1e3);
                let ratio = if compressed { self.assumed.compression_ratio } else { 1.0 };
                (ours, lambdas, load.gib() / ratio, load.gib())
            }
        };
        lines.push(line("S3: PUT requests", all(ours, lambdas, their_objects)));
        if crosses {
            let [ours, lambdas, alone] =
                [our_gib, lambda_gib, load.gib()].map(|gib| self.at_stream(Item::OtherRegionGib, gib));
            lines.push(line("transfer to the other Region", all(ours, lambdas, alone)));
        }
        lines
    }

    fn beside(&mut self, lambda: LambdaUse) -> Vec<Beside> {
        let load = self.pipeline.load;
        let mut beside = Vec::new();
        if let Sink::Firehose { pack, linger } = self.pipeline.sink {
            let (what, gib) = match pack {
                true => ("Firehose ingestion by penstock if records may not be packed".to_owned(), load.firehose_gib()),
                false => (
                    "Firehose ingestion by penstock if records may be packed".to_owned(),
                    load.packed_firehose_gib(linger),
                ),
            };
            beside.push(Beside { what, amount: self.at_sink(Item::FirehoseGib, gib) });
            let patient = load.packed_firehose_gib(60.0);
            if pack && linger < 60.0 && patient < 0.95 * load.packed_firehose_gib(linger) {
                let what = "Firehose ingestion by penstock with sink.linger = \"60s\"".to_owned();
                beside.push(Beside { what, amount: self.at_sink(Item::FirehoseGib, patient) });
            }
        }
        let nat = self.at_stream(Item::NatHour, HOURS) + self.at_stream(Item::NatGib, 2.0 * load.wire_gib());
        beside
            .push(Beside { what: "a NAT gateway, with all that is read and sent through it".to_owned(), amount: nat });
        let on_demand = self.at_stream(Item::OnDemandHour, HOURS)
            + self.at_stream(Item::OnDemandInGib, load.on_demand_gib())
            + self.at_stream(Item::OnDemandOutGib, load.on_demand_gib());
        beside.push(Beside { what: "the stream on demand instead of provisioned".to_owned(), amount: on_demand });
        let free = self.at_stream(Item::LambdaMillion, millions(lambda.invocations.min(FREE_INVOCATIONS)))
            + self.at_stream(Item::LambdaArmGbSecond, lambda.gb_seconds.min(FREE_GB_SECONDS));
        let free = Amount { usd: -free.usd, ..free };
        beside
            .push(Beside { what: "Lambda's free tier, where the account has not used it up".to_owned(), amount: free });
        beside
    }
}

/// The smallest instance whose baseline carries this many busy vCPUs, a half kept back.
fn instance(busy: f64) -> (Item, &'static str) {
    match busy {
        busy if busy <= 0.05 => (Item::Ec2NanoHour, "t4g.nano"),
        busy if busy <= 0.1 => (Item::Ec2MicroHour, "t4g.micro"),
        _ => (Item::Ec2SmallHour, "t4g.small"),
    }
}

fn line(what: &str, cells: Cells) -> Line {
    Line { what: what.to_owned(), cells }
}

/// The same wherever penstock runs, and nothing elsewhere.
fn penstock(amount: Amount) -> Cells {
    [Some(amount), Some(amount), Some(amount), None, None]
}

fn all(penstock: Amount, lambda: Amount, alone: Amount) -> Cells {
    [Some(penstock), Some(penstock), Some(penstock), Some(lambda), Some(alone)]
}

/// What the figures rest on, in words.
fn assumptions(pipeline: &Pipeline, assumed: &Assumptions, lambda: LambdaUse) -> Vec<String> {
    let Pipeline { load, sink, .. } = pipeline;
    let mut lines =
        vec!["the load is even over the month; peaks need more shards, and perhaps more workers".to_owned()];
    if load.shards < load.least_shards() {
        lines
            .push(format!("{} shards are too few for it: a shard takes 1,000 records and 1 MiB a second", load.shards));
    }
    let (Task { vcpu, memory_gb }, busy) = model::task(load, assumed.cpu_seconds_per_gb);
    let (_, instance) = instance(busy / load.workers);
    lines.push(format!(
        "each worker is a Fargate task of {vcpu} vCPU and {memory_gb} GB on Arm, or a {instance} with {} GB of disk, in a public subnet; \
         at {} CPU seconds a GB all of them together keep {busy:.3} vCPU busy. A host you have costs nothing more",
        assumed.disk_gb, assumed.cpu_seconds_per_gb
    ));
    if busy / load.workers > 0.2 {
        lines.push("that is more than the baseline of a t4g.small: take a larger instance, or more workers".to_owned());
    }
    if pipeline.dynamodb {
        lines.push(format!(
            "leases.failover_time is {} s: a lease is renewed three times within it unless checkpoints do that; each worker looks twice",
            pipeline.failover
        ));
    }
    match sink {
        Sink::Firehose { linger, .. } => lines.push(format!(
            "penstock sends a call {linger} s after its first record, {:.3} calls a second in all, and checkpoints after each; packed \
             records are charged by the call",
            load.calls_per_second(*linger)
        )),
        Sink::S3 { object_bytes, interval, compressed } => lines.push(format!(
            "penstock closes an object at {:.0} MiB or after {interval} s, one a shard at a time{}; Lambda puts one an invocation",
            object_bytes / MIB,
            if *compressed { format!(", compressed to a {}th", assumed.compression_ratio) } else { String::new() }
        )),
    }
    lines.push(format!(
        "Lambda: one function on Arm, {} MB, {:.0} ms an invocation, batch {}, window {} s, {:.2} million invocations a month, each record \
         forwarded as it is; nothing of this is measured",
        assumed.lambda_memory_mb,
        lambda.milliseconds,
        assumed.lambda_batch,
        assumed.lambda_window_seconds,
        millions(lambda.invocations)
    ));
    lines.push(format!(
        "Firehose puts an object every {} s or {} MiB, and charges each record in steps of 5 KB, also of a stream that it reads itself",
        assumed.firehose_object_seconds, assumed.firehose_object_mib
    ));
    if load.bytes_per_second() > MIB && matches!(sink, Sink::Firehose { .. }) {
        lines.push(
            "a delivery stream takes 1 MiB a second at first, 5 MiB in us-east-1, us-west-2 and eu-west-1: ask for a higher quota"
                .to_owned(),
        );
    }
    if pipeline.crosses() {
        lines.push(format!(
            "Firehose alone stands in {} and writes to a bucket in {}; that it can is unverified",
            pipeline.region, pipeline.sink_region
        ));
    }
    lines.push(
        "left out: S3 storage and what reads it, KMS, logs of penstock, the protocols' overhead, taxes; HTTP to Kinesis and Firehose is \
         counted as base64"
            .to_owned(),
    );
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokyo_to_oregon(sink: Sink) -> Pipeline {
        let load = Load { records_per_second: 100_000.0 / 86_400.0, record_bytes: 200.0, shards: 1.0, workers: 1.0 };
        Pipeline {
            load,
            region: "ap-northeast-1".to_owned(),
            sink_region: "us-west-2".to_owned(),
            sink,
            failover: 10.0,
            dynamodb: true,
        }
    }

    fn cell(bill: &Bill, what: &str, route: &str) -> Option<f64> {
        let route = ROUTES.iter().position(|one| *one == route).unwrap();
        let mut lines = bill.stream.iter().chain(&bill.routes).filter(|line| line.what == what);
        lines.next().unwrap_or_else(|| panic!("no line {what}: {bill:?}")).cells[route].map(|amount| amount.usd)
    }

    fn near(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 0.006, "{found}, not {expected}");
    }

    #[test]
    fn each_line_is_paid_in_the_region_that_it_falls_in() {
        let list = PriceList::load(None, None).unwrap();
        let bill = bill(&tokyo_to_oregon(Sink::Firehose { pack: true, linger: 1.0 }), &list).unwrap();
        near(cell(&bill, "Kinesis: shards", "Lambda"), 730.0 * 0.0195);
        // Firehose takes Lambda's records in Oregon, and reads the stream itself in Tokyo.
        near(cell(&bill, "Firehose: ingestion", "Lambda"), 14.504 * 0.029);
        near(cell(&bill, "Firehose: ingestion", "Firehose alone"), 14.504 * 0.036);
        near(cell(&bill, "transfer to the other Region", "on EC2"), 0.5666 * 4.0 / 3.0 * 0.09);
        near(cell(&bill, "transfer to the other Region", "Firehose alone"), 0.5666 * 0.09);
        near(cell(&bill, "compute", "on Fargate"), 730.0 * (0.25 * 0.04045 + 0.5 * 0.00442));
        assert_eq!(cell(&bill, "compute", "on a host you have"), None);
        assert_eq!(cell(&bill, "DynamoDB: lease writes", "Lambda"), None);
        assert!(bill.assumptions.iter().any(|line| line.contains("unverified")), "{:?}", bill.assumptions);
    }

    #[test]
    fn the_total_is_the_sum_of_its_column() {
        let list = PriceList::load(None, None).unwrap();
        let bill = bill(&tokyo_to_oregon(Sink::Firehose { pack: true, linger: 1.0 }), &list).unwrap();
        let sums = total(bill.routes.iter());
        for (route, sum) in sums.iter().enumerate() {
            let by_hand: f64 = bill.routes.iter().filter_map(|line| line.cells[route]).map(|amount| amount.usd).sum();
            assert!((sum.unwrap().usd - by_hand).abs() < 1e-9);
        }
        // At this size a task of its own costs more than Lambda, and a host that runs anyway less than a task.
        let usd = |route: usize| sums[route].unwrap().usd;
        assert!(usd(0) > usd(3) && usd(2) < usd(1));
    }

    #[test]
    fn objects_straight_into_s3_leave_firehose_out_and_compress_what_crosses() {
        let list = PriceList::load(None, None).unwrap();
        let s3 = |compressed| Sink::S3 { object_bytes: 64.0 * MIB, interval: 300.0, compressed };
        let plain = bill(&tokyo_to_oregon(s3(false)), &list).unwrap();
        assert_eq!(cell(&plain, "Firehose: ingestion", "on EC2"), None);
        near(cell(&plain, "S3: PUT requests", "on EC2"), 8_760.0 * 0.005 / 1e3);
        near(cell(&plain, "transfer to the other Region", "on EC2"), 0.5666 * 0.09);
        let packed = bill(&tokyo_to_oregon(s3(true)), &list).unwrap();
        near(cell(&packed, "transfer to the other Region", "on EC2"), 0.5666 * 0.09 / 4.0);
    }

    #[test]
    fn leases_of_one_host_and_one_region_have_no_such_lines() {
        let list = PriceList::load(None, None).unwrap();
        let mut pipeline = tokyo_to_oregon(Sink::Firehose { pack: false, linger: 1.0 });
        pipeline.dynamodb = false;
        pipeline.sink_region.clone_from(&pipeline.region);
        let bill = bill(&pipeline, &list).unwrap();
        let lines: Vec<&str> = bill.routes.iter().map(|line| line.what.as_str()).collect();
        assert!(!lines.iter().any(|what| what.contains("DynamoDB") || what.contains("other Region")), "{lines:?}");
    }
}
