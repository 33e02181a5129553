//! What rings when something may have happened to an object that somebody in this process waits for.

use tokio::sync::Notify;

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
