//! For bindings to JavaScript: calls from a page that has no `await` of its own, deliveries by their texts, jobs whose
//! handlers cannot be dropped, and schedules that call objects of the page.
//!
//! In a page, effects are synchronous: what a call changes is changed before it gives its promise back. [`begin`] runs a
//! request of this library, and every task that it wakes, as far as they can go, and only then returns.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{BoxError, Error, ErrorKind, Result};
use crate::handover::Receipt;
#[cfg(doc)]
use crate::job::JobContext;
use crate::job::{FailureCode, JobBuilder, JobError};
use crate::queue::MessageId;
use crate::runtime::BoxFuture;
pub use crate::runtime::{Begun, Pending, begin};
use crate::scheduler::{Register, Scheduler, SchedulerBuilder, Slot};
use crate::time::{Timestamp, whole_millis};

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

/// What runs the schedules of a scheduler in a page, in the place of jobs and handlers: objects of the page, which are called.
/// A schedule has the name of its target as that of its handler. The numbers of jobs are whatever tells them apart.
pub trait Targets: Send + Sync {
    /// The names of those that this handle brings.
    fn names(&self) -> Vec<Arc<str>>;
    /// Whether a started handle of the page has it.
    fn is_served(&self, name: &str) -> bool;
    /// Whether this handle has it.
    fn is_here(&self, name: &str) -> bool;
    /// Hands a slot or a trigger to it; gives the number of the job. The same slot may come again, also beside a call that
    /// is not over. Dropping the future withdraws nothing.
    fn call(&self, name: &str, slot: Slot) -> BoxFuture<'static, Result<u64>>;
    /// Of a schedule nothing is to be decided any more up to this slot.
    fn decided(&self, schedule: &str, slot: Timestamp) -> Result<()>;
}

/// Gives a scheduler its targets.
pub fn with_targets(scheduler: SchedulerBuilder, targets: Arc<dyn Targets>) -> SchedulerBuilder {
    scheduler.targets(targets)
}

/// What is announced of a handle's targets has changed.
pub fn announce(scheduler: &Scheduler) {
    scheduler.announce();
}

/// Registers a schedule that goes on behind this slot, which was decided; one in the future counts as now.
pub fn register_behind(register: Register, slot: Timestamp) -> Register {
    register.behind(slot.as_millis())
}

/// The failure of a target. `is_final`: trying again does not cure it.
pub fn target_failed(error: impl Into<BoxError>, is_final: bool) -> Error {
    let error = error.into();
    let kind = if is_final { ErrorKind::Validation } else { ErrorKind::Server };
    let failed = Error::new(kind, error.to_string()).with_source(error);
    if is_final { failed } else { failed.retryable() }
}

/// What the target said whose failure is behind this error.
pub fn failure_of<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}
