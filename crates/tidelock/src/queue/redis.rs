//! In Redis.
use std::sync::Arc;

use crate::backend::redis::Server;
use crate::queue::store::QueueStore;

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

impl QueueStore for RedisQueue {}
