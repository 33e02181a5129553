//! For bindings to JavaScript: calls from a page that has no `await` of its own, deliveries by their texts, and jobs whose
//! handlers cannot be dropped.
//!
//! In a page, effects are synchronous: what a call changes is changed before it gives its promise back. [`begin`] runs a
//! request of this library, and every task that it wakes, as far as they can go, and only then returns.

use std::time::Duration;

use crate::error::BoxError;
use crate::handover::Receipt;
#[cfg(doc)]
use crate::job::JobContext;
use crate::job::{FailureCode, JobBuilder, JobError};
use crate::queue::MessageId;
pub use crate::runtime::{Begun, Pending, begin};
use crate::time::whole_millis;

/// The receipt of a delivery of a queue, or of a group's, by its [`delivery_id`](crate::queue::Message::delivery_id) and
/// the lease that it was taken with. `None`: the text is no delivery id.
pub fn receipt(tenant: &str, object: &str, group: Option<&str>, delivery_id: &str, lease: Duration) -> Option<Receipt> {
    let (id, fence) = delivery_id.split_once('.')?;
    Some(Receipt {
        tenant: tenant.into(),
        object: object.into(),
        group: group.map(Into::into),
        id: MessageId(id.parse().ok()?),
        fence: fence.parse().ok()?,
        lease: whole_millis(lease),
    })
}

/// Of a job definition: its lease is the limit of a run too, which only heartbeats move. The end of the lease is a timeout,
/// settled in that instant whatever the handler does; [`JobContext::cancelled`] tells it as a lost lease.
pub fn lease_is_limit<I, O>(job: JobBuilder<I, O>) -> JobBuilder<I, O> {
    job.lease_is_limit()
}

/// A handler's failure that ends its job with this code, whatever attempts are left.
pub fn job_ends(code: FailureCode, error: impl Into<BoxError>) -> JobError {
    JobError::ending(code, error)
}
