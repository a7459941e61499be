//! The end-to-end tests' own judges, tried on what they have to refuse.

mod support;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sha2::{Digest, Sha256};
use support::{Page, Place, Proof, Reader, Teller, Told};

fn line(id: u64, key: &str, nth: u64) -> Vec<u8> {
    serde_json::to_vec(&Told { id, key: key.to_owned(), nth, padding: String::new() }).expect("it has a JSON form")
}

#[test]
fn a_proof_finds_what_is_missing_repeated_out_of_order_or_strange() {
    let verdict = |lines: &[Vec<u8>]| {
        let mut proof = Proof::default();
        lines.iter().for_each(|line| proof.look(line, "here"));
        proof.verdict(2)
    };
    verdict(&[line(0, "a", 0), line(1, "a", 1)]).assert_exactly_once();
    assert_eq!(verdict(&[line(1, "a", 1)]).missing, [0]);
    let repeated = verdict(&[line(0, "a", 0), line(1, "a", 1), line(0, "a", 0)]);
    assert_eq!((repeated.repeats, repeated.repeated), (1, vec![0]));
    assert_eq!(verdict(&[line(1, "a", 1), line(0, "a", 0)]).out_of_order.len(), 1);
    assert_eq!(verdict(&[line(7, "a", 0), b"{".to_vec()]).strangers.len(), 2);
}

#[test]
fn a_page_that_a_scraper_would_refuse_is_refused() {
    let page = Page::parse("# HELP a it\n# TYPE a counter\na{b=\"c\"} 1\na{b=\"d\"} 2.5\n");
    assert_eq!((page.sum("a"), page.type_of("a"), page.has_help("a")), (3.5, Some("counter"), true));
    for wrong in [
        "# TYPE a counter\n# TYPE a gauge\n",
        "a 1\n# TYPE a counter\n",
        "a 1\na 2\n",
        "a{b=\"c\"} 1\nd 1\na{b=\"e\"} 1\n",
        "a{b=c} 1\n",
        "1a 1\n",
        "a one\n",
        "# TYPE a number\n",
    ] {
        assert!(catch_unwind(|| Page::parse(wrong)).is_err(), "{wrong:?}");
    }
}

/// One object of the shard: where it begins, its last position, its content, and the count that it claims.
type Object<'a> = (&'a str, &'a str, &'a [u8], u64);

#[test]
fn objects_that_break_their_word_or_their_chain_are_refused() {
    let (first, second) = ([line(0, "a", 0), b"\n".to_vec()].concat(), [line(1, "a", 1), b"\n".to_vec()].concat());
    let judged = |objects: &[Object<'_>]| {
        let dir = tempfile::tempdir().unwrap();
        for (nth, (after, last, content, records)) in objects.iter().enumerate() {
            let sha256 = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let sidecar = serde_json::json!({
                "penstock-stream": "s", "penstock-shard": "shardId-000000000003", "penstock-after": after,
                "penstock-last": last, "penstock-part": "1/1", "penstock-first": last, "penstock-sha256": sha256,
                "penstock-records": records.to_string(), "penstock-version": "0",
            });
            fs::write(dir.path().join(format!("a-3-2026-{nth}")), content).unwrap();
            fs::write(dir.path().join(format!(".a-3-2026-{nth}.json")), sidecar.to_string()).unwrap();
        }
        let place = Place::directory(dir.path());
        let teller = Teller::having_told(objects.len() as u64);
        catch_unwind(AssertUnwindSafe(|| Reader::new(place).assert_exactly_once(&teller))).is_ok()
    };
    assert!(judged(&[("TRIM_HORIZON", "5", &first, 1), ("5", "6", &second, 1)]));
    assert!(!judged(&[("TRIM_HORIZON", "5", &first, 1), ("4", "6", &second, 1)]), "an overlap");
    assert!(!judged(&[("TRIM_HORIZON", "5", &first, 1), ("5/1", "6", &second, 1)]), "a hole");
    assert!(!judged(&[("TRIM_HORIZON", "5", &first, 2), ("5", "6", &second, 1)]), "a wrong count");
    assert!(!judged(&[("TRIM_HORIZON", "6", &first, 1), ("6", "5", &second, 1)]), "the wrong order");
    assert!(!judged(&[("TRIM_HORIZON", "5", &first, 1), ("5", "6", &first, 1)]), "a repeat");
}
