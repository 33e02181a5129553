//! What wakes the waiters of this process for an object when something may have happened to it.

use tokio::sync::Notify;

use crate::runtime::BoxFuture;
use crate::time::{Clock, SECOND};

/// Rings for a parked process. There is one per object and process; a waiter that it wakes looks again.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    pub(crate) rung: Notify,
}

impl Bell {
    /// Wakes a waiter or, if there is none, the next one to wait.
    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }
}

/// Resolves after a random time, to cover a lost ring; counted from the call, not from the first poll. Never in a page:
/// nothing is lost there, and no waiter is forgotten.
pub(crate) fn safety(clock: &Clock) -> BoxFuture<'static, ()> {
    if cfg!(target_family = "wasm") {
        return Box::pin(std::future::pending());
    }
    Box::pin(clock.moved_by(SECOND.mul_f64(1.0 + 4.0 * fastrand::f64())))
}
