//! Schedules that call objects of the page.

use std::sync::Arc;

use crate::error::{BoxError, Error, ErrorKind, Result};
use crate::runtime::BoxFuture;
use crate::scheduler::{Register, Scheduler, SchedulerBuilder, Slot};
use crate::time::Timestamp;

/// What runs the schedules of a scheduler in a page, in the place of jobs and handlers: objects of the page, which are called.
/// A schedule has the name of its target as that of its handler. The numbers of jobs are whatever tells them apart.
pub trait Targets: Send + Sync {
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

/// Targets of these names are served from now on: a started handle of the page has them.
pub fn appeared(scheduler: &Scheduler, targets: Vec<Arc<str>>) {
    scheduler.appeared(targets);
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
