//! In Redis.
use std::sync::Arc;

use crate::backend::redis::Server;
use crate::mutex::store::MutexStore;

/// The state on the server.
#[derive(Debug)]
pub(crate) struct RedisMutex {
    server: Arc<Server>,
}

impl RedisMutex {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server) }
    }
}

impl MutexStore for RedisMutex {}
