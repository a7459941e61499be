//! How far the service's clock is from ours, by the Date header of an answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::DateTime;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::Format;

/// Notes the header of the last answer, and when it came.
#[derive(Debug, Clone, Default)]
pub(super) struct DateWatch(Arc<Mutex<Option<i64>>>);

impl DateWatch {
    /// Our clock less the service's, in seconds. The header has whole seconds, so that one more or less says nothing.
    pub(super) fn ahead_seconds(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for DateWatch {
    fn name(&self) -> &'static str {
        "DateWatch"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let theirs =
            context.response().headers().get("date").and_then(|text| DateTime::from_str(text, Format::HttpDate).ok());
        let ahead = theirs.map(|theirs| DateTime::from(SystemTime::now()).secs() - theirs.secs());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ahead;
        Ok(())
    }
}
