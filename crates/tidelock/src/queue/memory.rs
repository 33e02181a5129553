//! In process: the model behind a lock.
use std::sync::Arc;

use crate::backend::memory::{Sweep, Timer};
use crate::time::Timestamp;

/// The state of this process.
#[derive(Debug)]
pub(crate) struct MemoryQueue;

impl MemoryQueue {
    pub(crate) fn new(_timer: &Arc<Timer>) -> Self {
        Self
    }
}

impl Sweep for MemoryQueue {
    fn sweep(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }
}

use crate::error::Result;
use crate::name::Address;
use crate::queue::store::*;
use crate::runtime::BoxFuture;

impl QueueStore for MemoryQueue {
    fn send(&self, _: &Address, _: Vec<NewMessage>) -> BoxFuture<'static, Result<Accepted>> {
        unreachable!()
    }
    fn take(&self, _: &Address, _: Take) -> BoxFuture<'static, Result<Taken>> {
        unreachable!()
    }
    fn settle(&self, _: &Address, _: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>> {
        unreachable!()
    }
    fn change(&self, _: &Address, _: Change) -> BoxFuture<'static, Result<Changes>> {
        unreachable!()
    }
    fn look(&self, _: &Address, _: Look) -> BoxFuture<'static, Result<View>> {
        unreachable!()
    }
    fn bell(&self, _: &Address) -> Arc<Bell> {
        unreachable!()
    }
}
