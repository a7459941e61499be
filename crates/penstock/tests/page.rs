//! The status page in a real browser: what it draws against what the services and the worker say, how it reads in light, in dark and
//! on a phone, with many shards, and when the worker dies. Its pictures lie in the directory for what tests leave, under `page/`.

#[path = "page/browser.rs"]
mod browser;
mod support;

use std::collections::BTreeMap;

use browser::{Browser, DARK, DESK, Facts, PHONE, Shown};
use support::{Account, Job, Local, SOON, Services, Shard, Stream, Teller, Worker, wait_until};

const HASH_KEYS: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;
/// WCAG 2 asks for this of words of ordinary size.
const LEAST_CONTRAST: f64 = 4.5;

struct World {
    _local: Local,
    stream: Stream,
    job: Job,
    teller: Teller,
}

impl World {
    fn new(shards: u32) -> Self {
        let (account, local) = (Account::new(), Local::start(&[]));
        let stream = Stream::create(&local.endpoint(), &account, "clicks", shards);
        let sections = "[leases]\nstore = \"sqlite\"\nfailover_time = \"2s\"\n[sink]\ntype = \"directory\"\npath = \"out\"\n\
                        buffer_interval = \"1s\"\n";
        let job = Job::new(&account, &Services::at(&local.endpoint()), "clicks-to-files", "clicks", sections);
        Self { _local: local, stream, job, teller: Teller::plain() }
    }

    fn tell(&mut self, records: u64) {
        self.teller.tell(&self.stream, records, 200);
    }
}

fn url(worker: &mut Worker) -> String {
    format!("http://{}/", worker.admin())
}

/// What must hold of the page whatever it shows.
#[track_caller]
fn is_well_made(facts: &Facts) {
    assert_eq!(facts.elsewhere, [""; 0], "it asks nobody else");
    assert_eq!(facts.complaints, [""; 0], "the browser has nothing to complain of");
    let worst = &facts.contrast;
    assert!(worst.ratio >= LEAST_CONTRAST, "the contrast of {:?} is {:.2}", worst.words, worst.ratio);
    assert!(facts.overflow <= 0.0, "it is {} px wider than the window", facts.overflow);
    assert_eq!(
        (facts.nameless, facts.stops),
        (0, 1),
        "every control has a name, and the drawing is one stop for the keyboard"
    );
    assert_eq!(facts.marked, 0, "other people's words are text");
}

/// Every shard that the service lists lies where its hash range does, and says who has it.
#[track_caller]
fn is_to_scale(facts: &Facts, shards: &[Shard]) {
    let drawn: BTreeMap<&str, &Shown> = facts.shards.iter().map(|shown| (shown.key.as_str(), shown)).collect();
    assert_eq!((drawn.len(), facts.shards.len()), (shards.len(), shards.len()), "{:?}", drawn.keys());
    let width = facts.range.as_ref().expect("there is a drawing").width;
    let bottom = facts.range.as_ref().map_or(0.0, |range| range.height);
    for shard in shards {
        let shown = drawn[shard.id.as_str()];
        let (from, to) = shard.hash_range;
        let [part] = shown.parts.as_slice() else { panic!("{} has {} parts", shard.id, shown.parts.len()) };
        let expected = (from as f64 / HASH_KEYS * width, (to - from) as f64 / HASH_KEYS * width);
        assert!(
            (part.x - expected.0).abs() < 0.02 && (part.width - expected.1).abs() < 0.02,
            "{shown:?}: {expected:?}"
        );
        assert!((shown.seen - part.width).abs() < 1.5, "the browser draws it {} wide: {shown:?}", shown.seen);
        assert!(part.y >= 0.0 && part.y + part.height <= bottom, "{shown:?}");
        assert_eq!(shown.kinds.contains(&"ended".to_owned()), !shard.is_open, "{shown:?}");
    }
}

/// Those that are read have the colour and the letter of their owner, and say how far behind they are.
#[track_caller]
fn owners_and_lags_are_told(facts: &Facts, status: &serde_json::Value) {
    let of =
        |kind: &str| facts.shards.iter().filter(|shown| shown.kinds.iter().any(|is| is == kind)).collect::<Vec<_>>();
    let (own, other) = (of("own"), of("other"));
    assert!(!own.is_empty() && !other.is_empty(), "{:#?}", facts.shards);
    assert_ne!(own[0].owner, other[0].owner, "their colours differ");
    let worker = status["worker"].as_str().expect("a worker has a name");
    for lease in status["leases"].as_array().expect("there are leases") {
        let Some(owner) = lease["owner"].as_str() else { continue };
        let shown = facts.shards.iter().find(|shown| shown.key == lease["lease"]).expect("it is drawn");
        let letter = if owner == worker { "A" } else { "B" };
        assert!(shown.words.iter().any(|word| word.starts_with(letter)), "{shown:?} is of {owner}");
        assert!(shown.label.contains(&format!("worker {letter}")) && shown.label.contains("lag "), "{shown:?}");
        assert!(shown.words.iter().any(|word| word.ends_with('s')), "{shown:?} has no lag");
        assert!(shown.kinds.iter().any(|kind| kind == "lag-0" || kind == "lag-1"), "{shown:?} is not behind");
    }
}

#[test]
fn the_page_shows_the_fleet_as_it_is_and_says_when_its_worker_is_gone() {
    let mut world = World::new(3);
    let (mut one, mut two) = (Worker::start(&world.job, "one"), Worker::start(&world.job, "two"));
    let home = tempfile::tempdir().unwrap();
    let mut browser = Browser::start(home.path());
    world.tell(600);
    wait_until("both hold leases", SOON, || {
        let held = |worker: &mut Worker| worker.metrics().sum("penstock_leases_held") > 0.0;
        held(&mut one) && held(&mut two)
    });
    let open = world.stream.open_shards();
    world.stream.split(&open[1]);
    world.tell(600);
    wait_until("the children are read by both", SOON, || {
        let status = one.status();
        let owned = status["leases"].as_array().unwrap().iter().filter(|lease| lease["owner"].is_string()).count();
        owned == 4 && status["workers"] == 2 && status["records"]["delivered"] != 0
    });

    browser.open(&url(&mut one), DESK);
    world.tell(600);
    browser.wait("document.querySelectorAll('.shard .line .stroke[d^=M]').length >= 4");
    browser.shot("light");
    let facts = browser.facts();
    is_well_made(&facts);
    is_to_scale(&facts, &world.stream.shards());
    owners_and_lags_are_told(&facts, &one.status());
    assert_eq!((facts.pill.as_str(), facts.stale, facts.banners.as_str()), ("ready", false, ""));
    assert!(facts.freshness.starts_with("as of ") && facts.title.contains("clicks-to-files"), "{facts:#?}");
    assert!(facts.summary.as_deref().is_some_and(|words| words.starts_with("4 shards to read")), "{:?}", facts.summary);
    assert_eq!((facts.workers.len(), facts.rows.len()), (2, 4), "{:?}", facts.rows);
    assert!(facts.workers[0].starts_with("one-") && facts.workers[1].starts_with("two-"), "{:?}", facts.workers);
    assert_eq!((facts.tiles["Sink"].as_str(), facts.tiles["Open gaps"].as_str()), ("ready", "0"));
    keyboard(&mut browser, &world.stream.shards());

    for (view, name) in [(DARK, "dark"), (PHONE, "phone")] {
        browser.open(&url(&mut one), view);
        browser.wait("document.querySelectorAll('.worker').length === 2");
        let facts = browser.facts();
        is_well_made(&facts);
        is_to_scale(&facts, &world.stream.shards());
        browser.shot(name);
    }
    assert_ne!(browser.facts().shards[0].colour, "none");

    browser.open(&url(&mut one), DESK);
    one.kill_9();
    browser.wait("document.body.classList.contains('stale')");
    browser.shot("gone");
    let facts = browser.facts();
    assert_eq!((facts.pill.as_str(), facts.stale), ("not answering", true));
    assert!(facts.banners.contains("The worker does not answer: it cannot be reached"), "{}", facts.banners);
    assert!(facts.banners.contains("What is shown is of ") && facts.freshness.contains("asked again in"), "{facts:#?}");
    assert_eq!(facts.shards.len(), 5, "what was known stays");
    assert!(facts.contrast.ratio >= LEAST_CONTRAST, "{:?}", facts.contrast);
    two.drain_cleanly();
}

/// From shard to shard by arrows, into its details and on to its relatives, without a mouse.
fn keyboard(browser: &mut Browser, shards: &[Shard]) {
    let parent = shards.iter().find(|shard| !shard.is_open).expect("one was split");
    browser.focus("svg.range [tabindex='0']");
    browser.press(&["End", "Home", "ArrowRight", "ArrowLeft", "End"]);
    let last = browser.facts().focused.expect("a shard has the focus");
    assert!(shards.iter().any(|shard| shard.id == last && shard.hash_range.1 == u128::MAX), "{last} is not the last");
    let by_key = format!("svg.range [data-shard='{}']", parent.id);
    browser.focus(&by_key);
    browser.press(&["Enter"]);
    browser.wait("document.querySelector('.detail:not([hidden])') !== null");
    let detail = browser.facts().detail.expect("the details are open");
    assert!(detail.contains(&parent.id) && detail.contains("ended") && detail.contains("Children"), "{detail}");
    browser.focus(".detail dd button");
    browser.press(&["Enter"]);
    let detail = browser.facts().detail.expect("the details are open");
    let child = shards.iter().find(|shard| shard.parents.contains(&parent.id)).expect("it has children");
    assert!(detail.contains(&child.id) && detail.contains("Checkpoint") && detail.contains("Parents"), "{detail}");
    browser.shot("detail");
    is_well_made(&browser.facts());
}

#[test]
fn hundreds_and_thousands_of_shards_stay_readable() {
    let mut world = World::new(1);
    let mut worker = Worker::start(&world.job, "one");
    world.tell(50);
    wait_until("it reads", SOON, || worker.status()["shards"].as_array().is_some_and(|shards| !shards.is_empty()));
    let home = tempfile::tempdir().unwrap();
    let mut browser = Browser::start(home.path());
    let url = url(&mut worker);
    for (view, name) in [(DESK, "light"), (DARK, "dark"), (PHONE, "phone")] {
        browser.open_fleet(&url, view, 500, 12);
        browser.shot(&format!("500-{name}"));
        let facts = browser.facts();
        is_well_made(&facts);
        tiles_the_range(&facts, 500);
        assert_eq!(facts.workers.len(), 12);
        assert!(facts.errors.contains("PutObject") && facts.errors.contains("1,204×"), "{}", facts.errors);
        assert!(facts.gaps.contains("trimmed"), "{}", facts.gaps);
        let troubled = facts.shards.iter().filter(|shown| shown.kinds.iter().any(|kind| kind == "in-trouble"));
        assert!(troubled.clone().count() > 0 && troubled.clone().all(|shown| shown.label.contains("SlowDown: <b>")));
        assert!(facts.rows[0].iter().any(|cell| cell.contains("SlowDown")), "trouble comes first: {:?}", facts.rows[0]);
    }
    browser.open_fleet(&url, DESK, 5_000, 40);
    browser.shot("5000");
    let facts = browser.facts();
    is_well_made(&facts);
    tiles_the_range(&facts, 5_000);
    let busiest = browser.busiest();
    assert!(busiest < 3_000.0, "5,000 shards keep the page busy for {busiest} ms");
    worker.drain_cleanly();
}

/// The shards without children cover the whole hash range, row by row, without a hole or an overlap, in equal parts.
#[track_caller]
fn tiles_the_range(facts: &Facts, shards: u32) {
    let range = facts.range.as_ref().expect("there is a drawing");
    let open: Vec<&Shown> =
        facts.shards.iter().filter(|shown| !shown.kinds.iter().any(|kind| kind == "ended")).collect();
    assert_eq!(open.len(), shards as usize);
    let share = f64::from(range.rows) * range.width / f64::from(shards);
    assert!(share >= 4.0, "{share} px for a shard");
    let mut ends: BTreeMap<i64, f64> = BTreeMap::new();
    for shown in &open {
        let width: f64 = shown.parts.iter().map(|part| part.width).sum();
        assert!((width - share).abs() < 0.02, "{shown:?} is not {share} px wide");
        for part in &shown.parts {
            let end = ends.entry(part.y.round() as i64).or_default();
            assert!((part.x - *end).abs() < 0.02, "{shown:?} begins {} px after the one before", part.x - *end);
            *end = part.x + part.width;
            assert!(part.height >= 14.0 && part.y + part.height <= range.height, "{shown:?}");
        }
    }
    assert_eq!(ends.len(), range.rows as usize);
    assert!(ends.values().all(|end| (end - range.width).abs() < 0.02), "{ends:?}");
}
