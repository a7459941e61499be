//! `penstock cost` as users run it: the examples of the documents are its real output, and a running worker tells the load.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::{Account, Job, Local, Services, Stream, Worker, wait_until};

/// What the program says, and its exit code.
fn cost(arguments: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_penstock")).arg("cost").args(arguments).output().expect("penstock starts");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it prints UTF-8");
    (output.status.code().expect("no signal ended it"), text(&output.stdout), text(&output.stderr))
}

fn document(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).expect("the document is there")
}

/// The code blocks that begin with a command of ours, and what stands under it.
fn examples(document: &str) -> Vec<(Vec<String>, String)> {
    let mut examples = Vec::new();
    for block in document.split("```").skip(1).step_by(2) {
        let block = block.split_once('\n').map_or("", |(_language, block)| block);
        let Some(command) = block.strip_prefix("$ penstock cost ") else { continue };
        let mut lines = command.lines();
        let mut words = String::new();
        for line in lines.by_ref() {
            match line.strip_suffix('\\') {
                Some(more) => words.push_str(more),
                None => {
                    words.push_str(line);
                    break;
                }
            }
        }
        let rest: Vec<&str> = lines.collect();
        examples.push((words.split_whitespace().map(str::to_owned).collect(), rest.join("\n")));
    }
    examples
}

#[test]
fn the_examples_of_the_documents_are_what_the_program_prints() {
    for (name, least) in [("README.md", 1), ("docs/cost.md", 2)] {
        let found = examples(&document(name));
        assert!(found.len() >= least, "{name} has {} examples", found.len());
        for (arguments, shown) in found {
            let (code, printed, said) = cost(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(code, 0, "{name} {arguments:?}: {said}");
            assert!(shown.lines().count() >= 5, "{name}: the example of {arguments:?} shows nothing");
            assert!(printed.contains(&shown), "{name}: {arguments:?} prints\n{printed}\nand not\n{shown}");
        }
    }
}

#[test]
fn the_example_of_the_readme_is_the_one_from_tokyo_to_oregon() {
    let (arguments, shown) = examples(&document("README.md")).remove(0);
    let line = arguments.join(" ");
    for part in ["--records-per-day 100000", "--record-bytes 200", "--region ap-northeast-1", "--sink-region us-west-2"]
    {
        assert!(line.contains(part), "{line}");
    }
    assert!(shown.contains("total without the stream"), "{shown}");
}

#[test]
fn programs_get_every_line_and_totals_that_are_their_sums() {
    let (code, printed, _) = cost(&[
        "--records-per-day",
        "884736000",
        "--record-bytes",
        "1024",
        "--region",
        "us-east-1",
        "--workers",
        "2",
        "--json",
    ]);
    assert_eq!(code, 0);
    let bill: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(bill["load"]["shards"], 11.0);
    for route in ["on Fargate", "on EC2", "on a host you have", "Lambda", "Firehose alone"] {
        let lines = ["stream", "routes"].map(|part| bill[part].as_array().unwrap().clone()).concat();
        let sum: f64 = lines.iter().filter_map(|line| line["usd_per_month"][route]["usd"].as_f64()).sum();
        let total = bill["total"][route]["usd"].as_f64().unwrap();
        assert!((sum - total).abs() < 1e-6 && total > 100.0, "{route}: {sum}, {total}");
    }
    assert_eq!(bill["prices"]["date"], "2026-11-21");
    let used = bill["prices"]["used"].as_array().unwrap();
    assert!(used.iter().all(|price| price["mark"].is_string() && price["usd"].is_number()), "{used:?}");
}

#[test]
fn a_region_without_prices_is_refused_unless_another_one_is_named() {
    let load = ["--records-per-day", "1000", "--record-bytes", "100", "--region", "eu-west-3"];
    let (code, printed, said) = cost(&load);
    assert_eq!((code, printed.as_str()), (1, ""), "{said}");
    assert!(said.contains("eu-west-3") && said.contains("--fallback-region") && said.lines().count() == 1, "{said}");
    let (code, printed, _) = cost(&[load.as_slice(), &["--fallback-region", "us-east-1"]].concat());
    assert_eq!(code, 0);
    assert!(printed.contains("unverified, taken to be us-east-1's"), "{printed}");
}

#[test]
fn prices_are_printed_changed_and_given_back() {
    let (code, printed, _) = cost(&["--print-prices"]);
    assert_eq!(code, 0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prices.toml");
    let text = printed.replacen("kinesis_shard_hour = { usd = 0.015", "kinesis_shard_hour = { usd = 1.0", 1);
    assert_ne!(text, printed);
    fs::write(&file, text).unwrap();
    let load = ["--records-per-day", "1000", "--record-bytes", "100", "--region", "us-east-1", "--prices"];
    let (code, printed, said) = cost(&[load.as_slice(), &[file.to_str().unwrap()]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(printed.contains("730.00"), "{printed}");
    let (code, _, said) = cost(&[load.as_slice(), &["/nowhere/prices.toml"]].concat());
    assert_eq!(code, 1);
    assert!(said.contains("/nowhere/prices.toml") && said.lines().count() == 1, "{said}");
}

#[test]
fn a_running_worker_tells_the_load() {
    let local = Local::start(&[]);
    let account = Account::new();
    let stream = Stream::create(&local.endpoint(), &account, "clicks", 2);
    let sections = "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n[sink]\ntype = \"directory\"\npath = \"out\"\nbuffer_interval = \"1s\"\n";
    let job = Job::new(&account, &Services::at(&local.endpoint()), "clicks-to-files", "clicks", sections);
    let mut worker = Worker::start(&job, "one");
    wait_until("it holds both shards", support::SOON, || worker.metrics().sum("penstock_leases_held") == 2.0);
    let feeder = thread::spawn(move || {
        for batch in 0..24 {
            let records: Vec<(String, Vec<u8>)> =
                (0..50).map(|one| (format!("{batch}-{one}"), vec![b'x'; 300])).collect();
            stream.put(&records);
            thread::sleep(Duration::from_millis(250));
        }
    });
    let url = format!("http://{}", worker.admin());
    let (code, printed, said) =
        cost(&["--url", &url, "--region", "us-east-1", "--look-seconds", "4", "--sink", "s3", "--json"]);
    feeder.join().unwrap();
    assert_eq!(code, 0, "{said}");
    let bill: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(bill["load"]["record_bytes"], 300.0);
    assert_eq!((bill["load"]["shards"].as_f64(), bill["load"]["workers"].as_f64()), (Some(2.0), Some(1.0)));
    // 200 a second, as far as a busy machine feeds them.
    let rate = bill["load"]["records_per_second"].as_f64().unwrap();
    assert!((20.0..400.0).contains(&rate), "{rate}");
    worker.drain_cleanly();
    let (code, _, said) = cost(&["--url", &url, "--region", "us-east-1"]);
    assert_eq!(code, 1);
    assert!(said.contains(&url) && said.lines().count() == 1, "{said}");
}

#[test]
fn a_configuration_gives_regions_sink_and_leases() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clicks.toml");
    let text = "[application]\nname = \"clicks\"\n[aws]\nregion = \"ap-northeast-1\"\n[source]\nstreams = [\"clicks\"]\n[leases]\nfailover_time = \"30s\"\n\
                [sink]\ntype = \"firehose\"\ndelivery_stream = \"to-lake\"\nregion = \"us-west-2\"\nset_aside_path = \"aside\"\npack = \"false\"\n\
                [admin]\nlisten = \"127.0.0.1:9\"\n";
    fs::write(&file, text).unwrap();
    let config = ["-c", file.to_str().unwrap()];
    let load = ["--records-per-day", "100000", "--record-bytes", "200", "--json"];
    let (code, printed, said) = cost(&[config.as_slice(), &load].concat());
    assert_eq!(code, 0, "{said}");
    let bill: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&bill["region"], &bill["sink_region"]), (&"ap-northeast-1".into(), &"us-west-2".into()));
    assert!(printed.contains("leases.failover_time is 30 s"), "{printed}");
    // Not packed: what Lambda pays.
    let lines = bill["routes"].as_array().unwrap();
    let firehose = &lines.iter().find(|line| line["what"] == "Firehose: ingestion").unwrap()["usd_per_month"];
    assert_eq!(firehose["on EC2"]["usd"], firehose["Lambda"]["usd"]);
    // Without numbers the worker of this configuration is asked, and nobody is there.
    let (code, _, said) = cost(&config);
    assert!(code == 1 && said.contains("http://127.0.0.1:9") && said.lines().count() == 1, "{code} {said}");
    fs::write(&file, text.replace("delivery_stream", "delivery_steam")).unwrap();
    let (code, _, said) = cost(&config);
    assert!(code == 3 && said.contains("sink.delivery_steam"), "{code} {said}");
}
