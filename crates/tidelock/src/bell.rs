//! What rings when something may have happened to an object that somebody in this process waits for.

use tokio::sync::Notify;

use crate::runtime::BoxFuture;
use crate::time::{Clock, SECOND};

/// Rings for a process that parked. One per object and process; whoever waits for it looks again.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    pub(crate) rung: Notify,
}

impl Bell {
    /// Wakes whoever waits for the bell, or the next one to wait if nobody does.
    pub(crate) fn ring(&self) {
        self.rung.notify_one();
    }
}

/// Resolves now and then, for a ring that was lost; counted from now, not from when it is first polled. Never in a page:
/// nothing is lost there, and nobody who waits is forgotten.
pub(crate) fn safety(clock: &Clock) -> BoxFuture<'static, ()> {
    if cfg!(target_family = "wasm") {
        return Box::pin(std::future::pending());
    }
    Box::pin(clock.moved_by(SECOND.mul_f64(1.0 + 4.0 * fastrand::f64())))
}
