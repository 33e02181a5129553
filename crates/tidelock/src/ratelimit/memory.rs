//! In process: the model behind a lock.
use std::sync::Arc;

use crate::backend::memory::{Sweep, Timer};
use crate::ratelimit::store::RatelimitStore;
use crate::time::Timestamp;

/// The state of this process.
#[derive(Debug)]
pub(crate) struct MemoryRatelimit;

impl MemoryRatelimit {
    pub(crate) fn new(_timer: &Arc<Timer>) -> Self {
        Self
    }
}

impl RatelimitStore for MemoryRatelimit {}

impl Sweep for MemoryRatelimit {
    fn sweep(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }
}
