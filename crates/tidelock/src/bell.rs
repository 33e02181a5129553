//! What rings when something may have happened to an object that somebody in this process waits for.

use tokio::sync::Notify;

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

/// Resolves now and then, for a ring that was lost. Never in a page: nothing is lost there, and nobody forgotten.
pub(crate) async fn safety(clock: &Clock) {
    if cfg!(target_family = "wasm") {
        return std::future::pending().await;
    }
    clock.sleep(SECOND.mul_f64(1.0 + 4.0 * fastrand::f64())).await;
}
