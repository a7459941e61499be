//! Wishes: set upon the holder and the wish that were seen, with nothing else touched, the counter least of all.

use std::sync::Arc;

use penstock_core::ids::{LeaseKey, WorkerId};
use penstock_core::lease::{LeaseRow, LeaseWant};
use tokio::task::JoinSet;

use super::rows::{bare_row, full_row, key};
use super::{Place, create, only_row};

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name)
}

/// A row that is held, with nothing between its holder and a wish.
fn held() -> LeaseRow {
    LeaseRow { checkpoint_owner: None, wanted: None, owner: Some(worker("holder")), ..full_row() }
}

fn want(before: Option<&str>, wanted: &str) -> LeaseWant {
    LeaseWant { key: key(), owner: worker("holder"), before: before.map(worker), wanted: worker(wanted) }
}

pub(super) async fn a_wish_leaves_everything_else_alone(place: &Place) {
    let table = place.table();
    for (index, row) in [held(), LeaseRow { owner: Some(worker("holder")), ..bare_row() }].into_iter().enumerate() {
        let row = LeaseRow { key: LeaseKey::new(&format!("held-{index}")), ..row };
        create(table, &row).await;
        place.stranger.leave_pending(&row.key).await;
        place.stranger.leave_unknown(&row.key, "theirs").await;
        let find = async || {
            let rows = table.scan().await.expect("a scan").rows;
            rows.into_iter().find(|found| found.key == row.key).expect("the row")
        };
        let before = find().await;
        let first = LeaseWant { key: row.key.clone(), ..want(None, "me") };
        assert!(table.want(&first).await.expect("a wish"));
        assert_eq!(find().await, LeaseRow { wanted: Some(worker("me")), ..before.clone() });
        let second = LeaseWant { key: row.key.clone(), ..want(Some("me"), "another") };
        assert!(table.want(&second).await.expect("a wish"), "one takes the place of another");
        assert_eq!(find().await, LeaseRow { wanted: Some(worker("another")), ..before });
    }
}

pub(super) async fn a_wish_upon_anything_else_is_refused(place: &Place) {
    let cases = [
        // The holder is another, or there is none.
        (LeaseRow { owner: Some(worker("Holder")), ..held() }, want(None, "me")),
        (LeaseRow { owner: None, ..held() }, want(None, "me")),
        // Somebody else was quicker, or gave it up.
        (LeaseRow { wanted: Some(worker("other")), ..held() }, want(None, "me")),
        (LeaseRow { wanted: Some(worker("other")), ..held() }, want(Some("third"), "me")),
        (held(), want(Some("other"), "me")),
        // A KCL 3 worker hands it over.
        (LeaseRow { checkpoint_owner: Some(worker("old")), ..held() }, want(None, "me")),
        (LeaseRow { checkpoint_owner: Some(worker("holder")), ..held() }, want(None, "me")),
    ];
    let table = place.table();
    for (index, (row, wish)) in cases.into_iter().enumerate() {
        let key = LeaseKey::new(&format!("held-{index}"));
        let (row, wish) = (LeaseRow { key: key.clone(), ..row }, LeaseWant { key, ..wish });
        create(table, &row).await;
        assert!(!table.want(&wish).await.expect("a refusal is no error"), "{wish:?}");
        assert!(table.scan().await.expect("a scan").rows.contains(&row), "it left nothing: {wish:?}");
    }
}

pub(super) async fn a_wish_that_stands_already_stands(place: &Place) {
    let table = place.table();
    create(table, &held()).await;
    assert!(table.want(&want(None, "me")).await.expect("a wish"));
    assert!(table.want(&want(None, "me")).await.expect("a wish"), "its first answer was lost");
    assert!(table.want(&want(Some("other"), "me")).await.expect("a wish"));
    assert_eq!(only_row(table).await, LeaseRow { wanted: Some(worker("me")), ..held() });
    let of_another_time = LeaseWant { owner: worker("before"), ..want(None, "me") };
    assert!(!table.want(&of_another_time).await.expect("a wish"), "the holder that was asked is none now");
}

pub(super) async fn a_wish_makes_no_row(place: &Place) {
    let table = place.table();
    assert!(!table.want(&want(None, "me")).await.expect("a wish"));
    create(table, &held()).await;
    assert!(table.remove(&key(), held().counter).await.expect("a removal"));
    assert!(!table.want(&want(None, "me")).await.expect("a wish"), "a row that is gone stays gone");
    assert_eq!(table.scan().await.expect("a scan").rows, []);
}

pub(super) async fn one_wish_of_many_stands(place: &Place) {
    create(place.table(), &held()).await;
    let mut workers = JoinSet::new();
    for number in 0..8 {
        let table = Arc::clone(&place.tables[number % place.tables.len()]);
        workers.spawn(async move {
            let name = format!("w{number}");
            table.want(&want(None, &name)).await.expect("a wish").then(|| worker(&name))
        });
    }
    let mut stand = Vec::new();
    while let Some(ended) = workers.join_next().await {
        stand.extend(ended.expect("a worker that ends"));
    }
    let [stands] = &stand[..] else { panic!("one wish stands, not {stand:?}") };
    assert_eq!(only_row(place.table()).await, LeaseRow { wanted: Some(stands.clone()), ..held() });
}
