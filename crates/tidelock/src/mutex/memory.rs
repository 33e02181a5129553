//! In process: the model behind a lock.
use std::sync::Arc;

use crate::backend::memory::{Sweep, Timer};
use crate::mutex::store::MutexStore;
use crate::time::Timestamp;

/// The state of this process.
#[derive(Debug)]
pub(crate) struct MemoryMutex;

impl MemoryMutex {
    pub(crate) fn new(_timer: &Arc<Timer>) -> Self {
        Self
    }
}

impl MutexStore for MemoryMutex {}

impl Sweep for MemoryMutex {
    fn sweep(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }
}
