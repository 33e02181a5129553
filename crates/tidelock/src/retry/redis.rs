//! In Redis.
use std::sync::Arc;

use crate::backend::redis::Server;
use crate::retry::store::BudgetStore;

/// The state on the server.
#[derive(Debug)]
pub(crate) struct RedisBudget {
    server: Arc<Server>,
}

impl RedisBudget {
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        Self { server: Arc::clone(server) }
    }
}

impl BudgetStore for RedisBudget {}
