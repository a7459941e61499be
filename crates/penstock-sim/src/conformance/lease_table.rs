//! The rules of the lease table, as one suite for every store.
//!
//! A store's test hands in a function that makes an empty table, and a [`Stranger`] that does to its rows what other programs
//! do. The suite panics at the first rule that is broken.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use penstock_sim::conformance::lease_table::{self, Place};
//! # use penstock_sim::lease_table::SimulatedLeaseTable;
//! # async fn test() {
//! lease_table::run(|_case| async {
//!     let table = Arc::new(SimulatedLeaseTable::new());
//!     Place { tables: vec![table.clone()], stranger: table }
//! })
//! .await;
//! # }
//! ```

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use penstock_core::ids::{LeaseKey, ShardId};
use penstock_core::lease::{CreateOutcome, LeaseRow, WriteOutcome};
use penstock_engine::ports::LeaseTable;

pub mod contention;
mod rows;
mod streams;
mod wishes;
mod writes;

/// An empty, prepared lease table.
#[derive(Clone)]
pub struct Place {
    /// Handles onto the one table, at least one: as many connections or clients as its workers would have.
    pub tables: Vec<Arc<dyn LeaseTable>>,
    /// The hand of other programs.
    pub stranger: Arc<dyn Stranger>,
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("tables", &self.tables.len()).finish_non_exhaustive()
    }
}

impl Place {
    fn table(&self) -> &dyn LeaseTable {
        &*self.tables[0]
    }
}

/// What other programs do to a row that exists. Each call bypasses the lease table and leaves the counter as it is.
#[async_trait]
pub trait Stranger: Send + Sync {
    /// Leaves a pending checkpoint, as a KCL worker does that prepares one.
    async fn leave_pending(&self, key: &LeaseKey);

    /// Gives the row an attribute that penstock does not know, or changes its value.
    async fn leave_unknown(&self, key: &LeaseKey, value: &str);

    /// Makes the checkpoint something that is none.
    async fn damage(&self, key: &LeaseKey);

    /// Makes the throughput something that is none.
    async fn damage_throughput(&self, key: &LeaseKey);

    /// Names the children, as a KCL worker does at a shard's end.
    async fn name_children(&self, key: &LeaseKey, children: &[ShardId]);
}

/// Tries every rule. `make` gives an empty, prepared table for a case, whose name fits into a table or file name.
///
/// # Panics
/// At the first rule that the store breaks.
pub async fn run<F, R>(make: F)
where
    F: Fn(&'static str) -> R,
    R: Future<Output = Place>,
{
    rows::a_new_row_is_stored_once(&make("create").await).await;
    rows::every_attribute_survives_the_table(&make("attributes").await).await;
    rows::every_position_survives_the_table(&make("positions").await).await;
    rows::an_intent_survives_byte_for_byte(&make("intents").await).await;
    rows::a_scan_is_in_the_order_of_the_keys(&make("order").await).await;
    rows::a_row_that_cannot_be_read_is_named(&make("damage").await).await;
    rows::prepare_leaves_what_is_there(&make("prepare").await).await;
    writes::each_part_of_an_expectation_is_asked(&make("expect").await).await;
    writes::each_field_of_a_change_is_stored(&make("change").await).await;
    writes::a_row_that_is_not_there_is_not_made(&make("missing").await).await;
    writes::a_checkpoint_removes_a_foreign_pending_one(&make("pending").await).await;
    writes::what_is_unknown_survives_and_shows_in_the_digest(&make("unknown").await).await;
    writes::only_a_completed_row_of_that_counter_is_deleted(&make("delete").await).await;
    writes::a_row_of_that_counter_is_removed_whatever_it_holds(&make("remove").await).await;
    writes::a_write_shows_what_others_left_without_the_counter(&make("meanwhile").await).await;
    wishes::a_wish_leaves_everything_else_alone(&make("wish").await).await;
    wishes::a_wish_upon_anything_else_is_refused(&make("wish-refused").await).await;
    wishes::a_wish_that_stands_already_stands(&make("wish-stands").await).await;
    wishes::a_wish_makes_no_row(&make("wish-missing").await).await;
    wishes::one_wish_of_many_stands(&make("wish-race").await).await;
    streams::shards_of_several_streams_live_side_by_side(&make("streams").await).await;
    streams::a_throughput_keeps_its_decimals(&make("throughput").await).await;
    streams::a_throughput_that_is_none_costs_nothing(&make("bad-throughput").await).await;
    contention::no_update_is_lost(&make("contention").await).await;
    contention::one_create_wins(&make("race").await).await;
}

// === What the cases share ===

/// The only readable row, and nothing unreadable beside it.
async fn only_row(table: &dyn LeaseTable) -> LeaseRow {
    let scan = table.scan().await.expect("a scan");
    assert_eq!(scan.unreadable, [], "all rows can be read");
    let found = scan.rows.len();
    let [row] = <[_; 1]>::try_from(scan.rows).unwrap_or_else(|_| panic!("{found} rows where one should be"));
    row
}

/// What a write answers that left this row.
fn applied(row: &LeaseRow) -> WriteOutcome {
    WriteOutcome::Applied(Box::new(row.clone()))
}

/// Stores a row that is not there yet.
async fn create(table: &dyn LeaseTable, row: &LeaseRow) {
    let outcome = table.create(row).await.expect("a create");
    assert_eq!(outcome, CreateOutcome::Created, "{}", row.key);
}
