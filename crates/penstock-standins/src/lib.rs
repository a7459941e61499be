//! Starts the independent stand-ins for AWS that tests run against, each as a child process on a free loopback port.
//!
//! Test support: only ever a dev-dependency, and it depends on no crate of the workspace. Everything here blocks. A
//! stand-in that cannot be installed, started or reached panics with the reason, so that its test fails; none is ever
//! skipped. No stand-in outlives the process that started it, however that one ends.

mod api;
mod dynamodb_local;
mod http;
mod install;
mod kinesis_local;
mod microburst;
mod ministack;
mod port;
mod server;

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

pub use api::{call, s3_get, s3_head, s3_keys, s3_put_bucket, try_call};
pub use dynamodb_local::DynamoDbLocal;
pub use install::{standin_dir, workspace_dir};
pub use kinesis_local::KinesisLocal;
pub use microburst::Microburst;
pub use ministack::Ministack;

/// The Region that tests name; no stand-in cares which it is.
pub const REGION: &str = "us-east-1";

/// The secret access key that goes with any access key id; no stand-in checks signatures.
pub const SECRET_ACCESS_KEY: &str = "standin";

/// Gives an account of 12 digits that no other caller got.
///
/// ministack and kinesis-local take an access key id of 12 digits for the account, and keep accounts apart; so do the
/// in-memory databases of DynamoDB Local. A test that signs with one of its own needs no names of its own.
pub fn unique_account() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
    // The shared servers live as long as this process, so its id and a count suffice; the time is for a server that
    // was started by hand and outlives many.
    let (count, pid) = (NEXT.fetch_add(1, Ordering::Relaxed), u64::from(process::id()));
    format!("{:03}{:05}{:04}", 100 + since_epoch % 900, pid % 100_000, count % 10_000)
}

#[cfg(test)]
mod server_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_have_twelve_digits_and_differ() {
        let (first, second) = (unique_account(), unique_account());
        assert_ne!(first, second);
        for account in [first, second] {
            assert_eq!(account.len(), 12, "{account}");
            assert!(account.bytes().all(|byte| byte.is_ascii_digit()), "{account}");
        }
    }
}
