//! In Redis.
use std::sync::Arc;

use crate::backend::redis::Server;
use crate::ratelimit::store::RatelimitStore;

/// The state on the server.
#[derive(Debug)]
pub(crate) struct RedisRatelimit {
    server: Arc<Server>,
}

impl RedisRatelimit {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server) }
    }
}

impl RatelimitStore for RedisRatelimit {}
