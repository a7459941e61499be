//! The bill as an aligned table for people, and as JSON for programs.

use serde_json::{Value, json};

use super::bill::{Bill, Cells, Line, Pipeline, ROUTES, Sink, total};
use super::prices::{Amount, Price, PriceList};

/// The table, what is beside it, the assumptions and the prices.
pub(super) fn text(pipeline: &Pipeline, bill: &Bill, list: &PriceList, from: &str) -> String {
    let mut text = format!("{}\n{from}\n", headline(pipeline));
    text.push_str(&format!(
        "US dollars a month of 730 hours, by the price list of {}; ? rests on an unverified price\n\n",
        list.date()
    ));
    let mut rows = vec![(String::new(), ROUTES.map(head))];
    rows.extend(bill.stream.iter().chain(&bill.routes).map(row));
    rows.push(("total".to_owned(), total(bill.stream.iter().chain(&bill.routes)).map(figure)));
    rows.push(("total without the stream".to_owned(), total(bill.routes.iter()).map(figure)));
    text.push_str(&table(&rows));
    text.push_str("\nNot in the totals:\n");
    let figures: Vec<String> = bill.beside.iter().map(|beside| figure(Some(beside.amount))).collect();
    let width = figures.iter().map(String::len).max().unwrap_or(0);
    for (beside, figure) in bill.beside.iter().zip(&figures) {
        text.push_str(&format!("  {figure:>width$}  {}\n", beside.what));
    }
    text.push_str("\nTaken for granted:\n");
    for line in &bill.assumptions {
        text.push_str(&wrapped(line));
    }
    text.push_str(&prices(bill, list));
    text
}

fn headline(pipeline: &Pipeline) -> String {
    let load = &pipeline.load;
    let sink = match pipeline.sink {
        Sink::Firehose { .. } => "Firehose",
        Sink::S3 { .. } => "S3",
    };
    let a_day = load.records_per_second * 86_400.0;
    format!(
        "{} records and {} a day, {} records a second of {} bytes, in {} and {}, from {} into {sink} in {}",
        thousands(a_day),
        size(load.bytes_per_second() * 86_400.0),
        rate(load.records_per_second),
        thousands(load.record_bytes),
        counted(load.shards, "shard"),
        counted(load.workers, "worker"),
        pipeline.region,
        pipeline.sink_region
    )
}

/// A rate, with decimals where they matter.
fn rate(number: f64) -> String {
    if number < 100.0 { format!("{number:.2}") } else { thousands(number) }
}

fn counted(count: f64, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1.0 { "" } else { "s" })
}

fn size(bytes: f64) -> String {
    for (unit, name) in [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")] {
        if bytes >= unit {
            return format!("{:.0} {name}", bytes / unit);
        }
    }
    format!("{bytes:.0} bytes")
}

/// A whole number with its thousands parted.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn head(route: &str) -> String {
    match route {
        "on Fargate" => "on Fargate",
        "on EC2" => "on EC2",
        "on a host you have" => "on your host",
        other => other,
    }
    .to_owned()
}

fn row(line: &Line) -> (String, [String; ROUTES.len()]) {
    (line.what.clone(), line.cells.map(figure))
}

/// Two decimals, each figure rounded by itself; a blank or `?` behind it keeps the points under each other.
fn figure(amount: Option<Amount>) -> String {
    match amount {
        None => "- ".to_owned(),
        Some(Amount { usd, doubtful }) => {
            let mark = if doubtful { '?' } else { ' ' };
            // What is there and rounds to nothing is not nothing.
            let small = usd > 0.0 && usd < 0.005;
            if small { format!("<0.01{mark}") } else { format!("{}{mark}", cents(usd)) }
        }
    }
}

fn cents(usd: f64) -> String {
    let text = format!("{:.2}", usd.abs());
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let whole: f64 = whole.parse().unwrap_or_default();
    format!("{}{}.{cents}", if usd < 0.0 { "-" } else { "" }, thousands(whole))
}

fn table(rows: &[(String, [String; ROUTES.len()])]) -> String {
    let first = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    let width = |column: usize| rows.iter().map(|(_, cells)| cells[column].len()).max().unwrap_or(0).max(11);
    let widths: [usize; ROUTES.len()] = std::array::from_fn(width);
    let span = widths[..3].iter().sum::<usize>() + 4;
    let mut text = format!("{:first$}  {:-^span$}\n", "", " penstock ");
    for (what, cells) in rows {
        let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        text.push_str(format!("{what:first$}  {}", cells.join("  ")).trim_end());
        text.push('\n');
    }
    text
}

/// A point of a list, broken at 120 columns.
fn wrapped(line: &str) -> String {
    let (mut text, mut width) = ("  -".to_owned(), 3);
    for word in line.split_whitespace() {
        if width + 1 + word.len() > 120 {
            text.push_str("\n   ");
            width = 3;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + word.len();
    }
    text.push('\n');
    text
}

/// The prices by where they come from.
fn prices(bill: &Bill, list: &PriceList) -> String {
    let mut text =
        "\nPrices (none was read on AWS's price pages; --print-prices shows all of them, --prices FILE replaces them):\n".to_owned();
    let mut origins: Vec<(String, Vec<String>)> = Vec::new();
    for price in &bill.prices {
        let origin = origin(price, list);
        let of = format!("{} {} in {}", price.item.key(), price.usd, price.region);
        match origins.iter_mut().find(|(known, _)| *known == origin) {
            Some((_, prices)) => prices.push(of),
            None => origins.push((origin, vec![of])),
        }
    }
    origins.sort();
    for (origin, prices) in origins {
        text.push_str(&wrapped(&format!("{origin}: {}", prices.join(", "))));
    }
    text
}

fn origin(price: &Price, list: &PriceList) -> String {
    match &price.taken_from {
        Some(region) => format!("{}, taken to be {region}'s", price.mark.as_str()),
        None => match list.source(&price.source) {
            "" => price.mark.as_str().to_owned(),
            source => format!("{}, {source}", price.mark.as_str()),
        },
    }
}

/// Everything, in dollars that are not rounded.
pub(super) fn json(pipeline: &Pipeline, bill: &Bill, list: &PriceList, from: &str) -> Value {
    let cells = |cells: &Cells| -> Value {
        ROUTES
            .iter()
            .zip(cells)
            .map(|(route, cell)| ((*route).to_owned(), amount(*cell)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let lines = |lines: &[Line]| -> Vec<Value> {
        lines.iter().map(|line| json!({ "what": line.what, "usd_per_month": cells(&line.cells) })).collect()
    };
    let load = &pipeline.load;
    json!({
        "load": {
            "from": from,
            "records_per_second": load.records_per_second,
            "record_bytes": load.record_bytes,
            "shards": load.shards,
            "workers": load.workers,
        },
        "region": pipeline.region,
        "sink_region": pipeline.sink_region,
        "hours_per_month": super::model::HOURS,
        "stream": lines(&bill.stream),
        "routes": lines(&bill.routes),
        "total": cells(&total(bill.stream.iter().chain(&bill.routes))),
        "total_without_stream": cells(&total(bill.routes.iter())),
        "not_in_totals": bill
            .beside
            .iter()
            .map(|beside| json!({ "what": beside.what, "usd_per_month": amount(Some(beside.amount)) }))
            .collect::<Vec<_>>(),
        "assumptions": bill.assumptions,
        "prices": {
            "date": list.date(),
            "used": bill.prices.iter().map(|price| price_to_json(price, list)).collect::<Vec<_>>(),
        },
    })
}

fn amount(cell: Option<Amount>) -> Value {
    cell.map_or(Value::Null, |Amount { usd, doubtful }| json!({ "usd": usd, "unverified": doubtful }))
}

fn price_to_json(price: &Price, list: &PriceList) -> Value {
    json!({
        "price": price.item.key(),
        "region": price.region,
        "usd": price.usd,
        "for": price.item.unit(),
        "mark": price.mark.as_str(),
        "source": list.source(&price.source),
        "taken_from": price.taken_from,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_rounded_to_cents_and_what_is_little_is_not_nothing() {
        let figure = |usd| figure(Some(Amount { usd, doubtful: false }));
        assert_eq!(
            [0.0, 0.004, 0.005, 3.125, 1234.5, -0.4, 1e6].map(figure),
            ["0.00 ", "<0.01 ", "0.01 ", "3.12 ", "1,234.50 ", "-0.40 ", "1,000,000.00 "]
        );
        assert_eq!(super::figure(Some(Amount { usd: 1.0, doubtful: true })), "1.00?");
        assert_eq!(super::figure(None), "- ");
    }

    #[test]
    fn numbers_are_parted_by_thousands() {
        assert_eq!([1.0, 999.0, 1_000.0, 1_234_567.0].map(thousands), ["1", "999", "1,000", "1,234,567"]);
        assert_eq!([20e6, 999.0, 1.5e12].map(size), ["20 MB", "999 bytes", "2 TB"]);
    }

    #[test]
    fn long_points_are_broken_and_none_of_their_words_is_lost() {
        let words = "word ".repeat(60);
        let text = wrapped(&words);
        assert!(text.lines().all(|line| line.len() <= 120) && text.lines().count() == 3, "{text}");
        assert_eq!(text.matches("word").count(), 60);
    }
}
