//! The `stdout` sink: records on standard output, for looking. At least once.

use std::io::Write;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use penstock_engine::ports::{CallLimits, CallSink, CallTarget, DeliveryPermit, EntryOutcome, ErrorClass, SeamError};

/// Standard output.
#[derive(Debug, Default)]
pub(crate) struct StdoutSink;

#[async_trait]
impl CallSink for StdoutSink {
    fn limits(&self) -> CallLimits {
        // No limit of the sink's: a call is what is written under one lock, an entry the largest record that Kinesis takes.
        CallLimits {
            max_entries: 1_000,
            max_call_bytes: 16 * 1024 * 1024,
            max_entry_bytes: 16 * 1024 * 1024,
            billed_step: None,
        }
    }

    async fn probe(&self) -> Result<CallTarget, SeamError> {
        Ok(CallTarget { packable: Some(false) })
    }

    async fn call(
        &self,
        _: DeliveryPermit,
        entries: &[Bytes],
        _time_out: Duration,
    ) -> Result<Vec<EntryOutcome>, SeamError> {
        let entries = entries.to_vec();
        // A reader that does not read blocks this write, and must not block the worker.
        tokio::task::spawn_blocking(move || write(&entries)).await.map_err(|error| failed(&error.to_string()))?
    }
}

fn write(entries: &[Bytes]) -> Result<Vec<EntryOutcome>, SeamError> {
    let mut out = std::io::stdout().lock();
    for entry in entries {
        out.write_all(entry).map_err(|error| failed(&error.to_string()))?;
    }
    out.flush().map_err(|error| failed(&error.to_string()))?;
    Ok(vec![EntryOutcome::Delivered; entries.len()])
}

fn failed(message: &str) -> SeamError {
    SeamError::new("print", "standard output", ErrorClass::Transient, message)
}
