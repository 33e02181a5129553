//! In Redis.
use std::sync::Arc;

use crate::backend::redis::Server;

/// The state on the server.
#[derive(Debug)]
pub(crate) struct RedisQueue {
    server: Arc<Server>,
}

impl RedisQueue {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server) }
    }
}

use crate::error::Result;
use crate::name::Address;
use crate::queue::store::*;
use crate::runtime::BoxFuture;

impl QueueStore for RedisQueue {
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
