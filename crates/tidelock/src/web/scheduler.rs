//! Schedules that call objects of the page.

use std::sync::Arc;

use crate::error::{BoxError, Error, ErrorKind, Result};
use crate::runtime::BoxFuture;
use crate::scheduler::{Register, Scheduler, SchedulerBuilder, Slot};
use crate::time::Timestamp;

/// Objects of the page that run the schedules of a scheduler, instead of jobs and handlers. The handler name of a
/// schedule is that of its target. Job numbers can be anything that distinguishes the jobs.
pub trait Targets: Send + Sync {
    /// Whether a started handle of the page has the target.
    fn is_served(&self, name: &str) -> bool;
    /// Whether this handle has the target.
    fn is_here(&self, name: &str) -> bool;
    /// Passes a slot or a trigger to the target; resolves to the number of the job. The same slot may come again, even
    /// while an earlier call is running. Dropping the future cancels nothing.
    fn call(&self, name: &str, slot: Slot) -> BoxFuture<'static, Result<u64>>;
    /// All slots of the schedule up to this one have been decided.
    fn decided(&self, schedule: &str, slot: Timestamp) -> Result<()>;
}

/// Sets the targets of a scheduler.
pub fn with_targets(scheduler: SchedulerBuilder, targets: Arc<dyn Targets>) -> SchedulerBuilder {
    scheduler.targets(targets)
}

/// Reports that targets with these names are served from now on, by a started handle of the page.
pub fn appeared(scheduler: &Scheduler, targets: Vec<Arc<str>>) {
    scheduler.appeared(targets);
}

/// Registers a schedule that continues after this slot, which was already decided; a slot in the future counts as now.
pub fn register_behind(register: Register, slot: Timestamp) -> Register {
    register.behind(slot.as_millis())
}

/// The failure of a target. `is_final`: retrying is useless.
pub fn target_failed(error: impl Into<BoxError>, is_final: bool) -> Error {
    let error = error.into();
    let kind = if is_final { ErrorKind::Validation } else { ErrorKind::Server };
    let failed = Error::new(kind, error.to_string()).with_source(error);
    if is_final { failed } else { failed.retryable() }
}

/// The target's own error behind this one.
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
