//! The price list: one dated TOML file, embedded, over which an operator's own file is laid price by price.
//!
//! Every price says where it comes from. One that is not there is never guessed: it is refused by name, or taken from a Region that
//! the operator names.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use serde::Deserialize;

/// The embedded file, as `--print-prices` prints it.
pub(super) const EMBEDDED: &str = include_str!("prices.toml");

/// How far a price can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mark {
    /// The operator looked it up.
    Checked,
    /// Read in a text of AWS's own, though not on its price pages.
    ByAws,
    /// Read in somebody's copy of AWS's list.
    SecondHand,
    /// Remembered, or another Region's.
    Unverified,
}

impl Mark {
    /// The word of the file.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::ByAws => "by-aws",
            Self::SecondHand => "second-hand",
            Self::Unverified => "unverified",
        }
    }
}

/// What a price is for. The names are the file's keys.
macro_rules! items {
    ($($item:ident = $key:literal, $unit:literal;)*) => {
        /// What a price is for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Item { $(
            #[doc = $unit]
            $item,
        )* }

        impl Item {
            const ALL: &[Self] = &[$(Self::$item),*];

            /// Its key in the file.
            pub(super) const fn key(self) -> &'static str {
                match self { $(Self::$item => $key),* }
            }

            /// What one price pays for.
            pub(super) const fn unit(self) -> &'static str {
                match self { $(Self::$item => $unit),* }
            }
        }
    };
}

items! {
    ShardHour = "kinesis_shard_hour", "an hour of a provisioned shard";
    PutMillion = "kinesis_put_million", "a million PUT payload units of 25 KB";
    OnDemandHour = "kinesis_on_demand_hour", "an hour of an on-demand stream";
    OnDemandInGib = "kinesis_on_demand_in_gib", "a GiB into an on-demand stream";
    OnDemandOutGib = "kinesis_on_demand_out_gib", "a GiB out of an on-demand stream";
    WriteMillion = "dynamodb_write_million", "a million write request units";
    ReadMillion = "dynamodb_read_million", "a million read request units";
    FirehoseGib = "firehose_gib", "a GiB ingested, in steps of 5 KB a record";
    S3PutThousand = "s3_put_thousand", "a thousand PUT requests";
    LambdaMillion = "lambda_request_million", "a million invocations";
    LambdaArmGbSecond = "lambda_arm_gb_second", "a GB-second on Arm";
    LambdaX86GbSecond = "lambda_x86_gb_second", "a GB-second on x86";
    FargateArmVcpuHour = "fargate_arm_vcpu_hour", "an hour of a vCPU on Arm";
    FargateArmGbHour = "fargate_arm_gb_hour", "an hour of a GB of memory on Arm";
    FargateX86VcpuHour = "fargate_x86_vcpu_hour", "an hour of a vCPU on x86";
    FargateX86GbHour = "fargate_x86_gb_hour", "an hour of a GB of memory on x86";
    Ec2NanoHour = "ec2_t4g_nano_hour", "an hour of a t4g.nano";
    Ec2MicroHour = "ec2_t4g_micro_hour", "an hour of a t4g.micro";
    Ec2SmallHour = "ec2_t4g_small_hour", "an hour of a t4g.small";
    DiskGbMonth = "ebs_gp3_gb_month", "a month of a GB of gp3";
    Ipv4Hour = "public_ipv4_hour", "an hour of a public IPv4 address";
    NatHour = "nat_gateway_hour", "an hour of a NAT gateway";
    NatGib = "nat_gateway_gib", "a GiB through a NAT gateway";
    EndpointHour = "vpc_endpoint_hour", "an hour of an interface endpoint in a zone";
    EndpointGib = "vpc_endpoint_gib", "a GiB through an interface endpoint";
    OtherRegionGib = "other_region_gib", "a GiB to another Region";
    LogsGib = "cloudwatch_logs_gib", "a GiB into CloudWatch Logs";
}

/// One price as a file writes it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    usd: Option<f64>,
    like: Option<String>,
    source: Option<String>,
    mark: Mark,
}

/// What is taken for granted.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Assumptions {
    pub(super) lambda_memory_mb: f64,
    pub(super) lambda_milliseconds: f64,
    pub(super) lambda_milliseconds_per_record: f64,
    pub(super) lambda_milliseconds_other_region: f64,
    pub(super) lambda_batch: f64,
    pub(super) lambda_window_seconds: f64,
    pub(super) lambda_log_bytes: f64,
    pub(super) cpu_seconds_per_gb: f64,
    pub(super) compression_ratio: f64,
    pub(super) firehose_object_seconds: f64,
    pub(super) firehose_object_mib: f64,
    pub(super) disk_gb: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    date: String,
    sources: BTreeMap<String, String>,
    assumptions: Assumptions,
    regions: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// A price as it is used.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Price {
    pub(super) item: Item,
    /// The Region that pays it.
    pub(super) region: String,
    pub(super) usd: f64,
    /// The Region whose price it is, where that is another one.
    pub(super) taken_from: Option<String>,
    pub(super) source: String,
    pub(super) mark: Mark,
}

/// All prices, with the Region to fall back on.
#[derive(Debug)]
pub(super) struct PriceList {
    file: File,
    fallback: Option<String>,
}

impl PriceList {
    /// The embedded list with `own` laid over it, if there is one.
    ///
    /// # Errors
    /// If the operator's file is no list of prices, or the Region to fall back on has none.
    pub(super) fn load(own: Option<&str>, fallback: Option<&str>) -> anyhow::Result<Self> {
        let mut value: toml::Table = EMBEDDED.parse().context("the embedded prices")?;
        if let Some(own) = own {
            lay_over(&mut value, own.parse().context("not TOML")?);
        }
        let file: File = value.try_into().context("not a list of prices")?;
        for (region, entries) in &file.regions {
            for (key, entry) in entries {
                check(&file, region, key, entry)?;
            }
        }
        if let Some(region) = fallback
            && !file.regions.contains_key(region)
        {
            bail!("--fallback-region {region}: there are prices for {}", regions(&file));
        }
        Ok(Self { file, fallback: fallback.map(str::to_owned) })
    }

    /// The day on which the prices were put together.
    pub(super) fn date(&self) -> &str {
        &self.file.date
    }

    /// What is taken for granted.
    pub(super) const fn assumptions(&self) -> &Assumptions {
        &self.file.assumptions
    }

    /// What a source's short name stands for.
    pub(super) fn source(&self, name: &str) -> &str {
        self.file.sources.get(name).map_or("", String::as_str)
    }

    fn find(&self, item: Item, region: &str) -> Option<Price> {
        let own = self.entry(item, region).map(|(usd, like, entry)| (usd, like, entry.mark, entry));
        let (usd, taken_from, mark, entry) = own.or_else(|| {
            let fallback = self.fallback.as_deref()?;
            let (usd, _, entry) = self.entry(item, fallback)?;
            Some((usd, Some(fallback.to_owned()), Mark::Unverified, entry))
        })?;
        let source = entry.source.clone().unwrap_or_else(|| "none".to_owned());
        Some(Price { item, region: region.to_owned(), usd, taken_from, source, mark })
    }

    fn entry(&self, item: Item, region: &str) -> Option<(f64, Option<String>, &Entry)> {
        let entry = self.file.regions.get(region)?.get(item.key())?;
        match (entry.usd, &entry.like) {
            (Some(usd), _) => Some((usd, None, entry)),
            (None, Some(like)) => {
                let usd = self.file.regions.get(like)?.get(item.key())?.usd?;
                Some((usd, Some(like.clone()), entry))
            }
            (None, None) => None,
        }
    }
}

/// Tables are merged; what is no table replaces what was there. A price replaces the whole price.
fn lay_over(base: &mut toml::Table, own: toml::Table) {
    for (key, value) in own {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) if !above.contains_key("mark") => {
                lay_over(below, above);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn check(file: &File, region: &str, key: &str, entry: &Entry) -> anyhow::Result<()> {
    if !Item::ALL.iter().any(|item| item.key() == key) {
        let known: Vec<&str> = Item::ALL.iter().map(|item| item.key()).collect();
        bail!("regions.{region}.{key}: there is no such price; there are {}", known.join(", "));
    }
    match (entry.usd, &entry.like) {
        (Some(usd), None) if usd.is_finite() && usd >= 0.0 => Ok(()),
        (None, Some(like)) => {
            let there = file.regions.get(like).and_then(|of| of.get(key)).is_some_and(|entry| entry.usd.is_some());
            if there { Ok(()) } else { bail!("regions.{region}.{key}: {like} has no price of its own for it") }
        }
        _ => bail!("regions.{region}.{key}: it needs either usd, a number from 0, or like, a Region"),
    }
}

fn regions(file: &File) -> String {
    file.regions.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// Gives out prices, and keeps what was used and what was missing.
#[derive(Debug)]
pub(super) struct Till<'a> {
    list: &'a PriceList,
    used: BTreeMap<(Item, String), Price>,
    missing: BTreeSet<(Item, String)>,
}

impl<'a> Till<'a> {
    /// A till that has given out nothing.
    pub(super) const fn new(list: &'a PriceList) -> Self {
        Self { list, used: BTreeMap::new(), missing: BTreeSet::new() }
    }

    /// `quantity` units of an item in a Region. What has no price counts nothing, and [`Till::close`] says so.
    pub(super) fn amount(&mut self, item: Item, region: &str, quantity: f64) -> Amount {
        match self.list.find(item, region) {
            Some(price) => {
                let amount = Amount { usd: quantity * price.usd, doubtful: price.mark == Mark::Unverified };
                self.used.insert((item, region.to_owned()), price);
                amount
            }
            None => {
                self.missing.insert((item, region.to_owned()));
                Amount::default()
            }
        }
    }

    /// The prices that were used.
    ///
    /// # Errors
    /// If one was missing.
    pub(super) fn close(self) -> anyhow::Result<Vec<Price>> {
        if self.missing.is_empty() {
            return Ok(self.used.into_values().collect());
        }
        let missing: Vec<String> =
            self.missing.iter().map(|(item, region)| format!("{} in {region}", item.key())).collect();
        bail!(
            "there is no price for {}; there are prices for {}: give yours with --prices FILE, or name a Region whose prices to take \
             instead with --fallback-region",
            missing.join(", "),
            regions(&self.list.file)
        )
    }
}

/// Dollars a month.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Amount {
    pub(super) usd: f64,
    /// Whether a price in it is unverified.
    pub(super) doubtful: bool,
}

impl std::ops::Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { usd: self.usd + other.usd, doubtful: self.doubtful || other.doubtful }
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |sum, amount| sum + amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_of_the_list_has_every_price_and_says_where_from() {
        let list = PriceList::load(None, None).unwrap();
        for region in list.file.regions.keys() {
            for item in Item::ALL {
                let price = list.find(*item, region).unwrap_or_else(|| panic!("{} in {region}", item.key()));
                assert!(price.taken_from.is_some() || !list.source(&price.source).is_empty(), "{price:?}");
                // What is another Region's, or nobody's, is never more than unverified.
                let known = price.taken_from.is_none() && price.source != "none";
                assert_eq!(known, price.mark != Mark::Unverified, "{price:?}");
            }
        }
    }

    #[test]
    fn one_price_of_an_operator_replaces_one_and_leaves_the_others() {
        let own = "date = \"2027-01-01\"\n[regions.us-east-1]\nfirehose_gib = { usd = 0.03, source = \"bill\", mark = \"checked\" }\n\
                   [sources]\nbill = \"our own\"\n[assumptions]\nlambda_batch = 100\n";
        let list = PriceList::load(Some(own), None).unwrap();
        assert_eq!(list.date(), "2027-01-01");
        assert_eq!(list.assumptions().lambda_batch, 100.0);
        let price = list.find(Item::FirehoseGib, "us-east-1").unwrap();
        assert_eq!((price.usd, price.mark, list.source(&price.source)), (0.03, Mark::Checked, "our own"));
        assert_eq!(list.find(Item::FirehoseGib, "us-west-2").unwrap().usd, 0.03);
        assert_eq!(list.find(Item::ShardHour, "us-east-1").unwrap().usd, 0.015);
    }

    #[test]
    fn a_missing_price_is_refused_by_name_or_taken_from_the_region_that_was_named() {
        let list = PriceList::load(None, None).unwrap();
        let mut till = Till::new(&list);
        till.amount(Item::ShardHour, "eu-west-3", 1.0);
        let refusal = till.close().unwrap_err().to_string();
        for word in ["kinesis_shard_hour in eu-west-3", "ap-northeast-1", "--prices", "--fallback-region"] {
            assert!(refusal.contains(word), "{refusal}");
        }
        let list = PriceList::load(None, Some("us-east-1")).unwrap();
        let mut till = Till::new(&list);
        assert_eq!(till.amount(Item::ShardHour, "eu-west-3", 2.0), Amount { usd: 0.03, doubtful: true });
        let used = till.close().unwrap();
        assert_eq!(used[0].taken_from.as_deref(), Some("us-east-1"));
        assert!(PriceList::load(None, Some("mars-1")).is_err());
    }

    #[test]
    fn a_file_that_is_no_list_of_prices_is_told_what_is_wrong() {
        for (own, word) in [
            ("date = 7", "date"),
            ("[regions.us-east-1]\nfirehose = { usd = 1, mark = \"checked\" }", "firehose"),
            ("[regions.us-east-1]\nfirehose_gib = { usd = -1, mark = \"checked\" }", "usd"),
            ("[regions.us-east-1]\nfirehose_gib = { like = \"mars-1\", mark = \"checked\" }", "mars-1"),
            ("[regions.us-east-1]\nfirehose_gib = { usd = 1, mark = \"surely\" }", "surely"),
            ("[assumptions]\nlambda_bacth = 7", "lambda_bacth"),
            ("[", "TOML"),
        ] {
            let problem = format!("{:#}", PriceList::load(Some(own), None).unwrap_err());
            assert!(problem.contains(word), "{own}: {problem}");
        }
    }
}
