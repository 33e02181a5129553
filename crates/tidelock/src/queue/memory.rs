//! In process: the model behind a lock.
use std::sync::Arc;

use crate::backend::memory::{Sweep, Timer};
use crate::queue::store::QueueStore;
use crate::time::Timestamp;

/// The state of this process.
#[derive(Debug)]
pub(crate) struct MemoryQueue;

impl MemoryQueue {
    pub(crate) fn new(_timer: &Arc<Timer>) -> Self {
        Self
    }
}

impl QueueStore for MemoryQueue {}

impl Sweep for MemoryQueue {
    fn sweep(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }
}
