//! The lease table on DynamoDB Local and ministack: items as the KCL writes them, what survives our writes, and what is known
//! of a write whose call failed.

#[path = "lease_table/faults.rs"]
mod faults;
#[path = "lease_table/preparing.rs"]
mod preparing;
#[path = "lease_table/reading.rs"]
mod reading;
#[path = "lease_table/rows.rs"]
mod rows;
mod support;
#[path = "lease_table/writing.rs"]
mod writing;
