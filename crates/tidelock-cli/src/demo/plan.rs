//! What every process of a run needs to know.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidelock::ephemeral::Ephemeral;
use tidelock::job::{Job, JobWorker};
use tidelock::ratelimit::Limit;
use tidelock::registry::Registry;
use tidelock::topic::Topic;
use tidelock::{Backoff, DAY, Raw, RetryPolicy, SECOND, Tidelock};

use super::event::Outcome;
use super::ledger::Ledger;
use super::members::Member;
use super::worker::{Receipt, Shop, fulfil};
use crate::queue::MAX_BODY;

/// Short, so that what a killed process held is available again within seconds; a living process renews.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// How long a call waits for a server that is briefly unavailable.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum number of attempts per order.
const ATTEMPTS: u32 = 5;

/// Passed to worker processes as one line on stdin, so that no password appears in the process list.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// New for each run: it names the jobs, the topic, the locks, the limit and the records.
    pub(crate) run: String,
    pub(crate) url: Option<String>,
    pub(crate) prefix: String,
    pub(crate) root_certificate: Option<Vec<u8>>,
    /// The name of this process wherever workers are shown.
    pub(crate) name: String,
    /// Concurrent handlers per process.
    pub(crate) concurrency: usize,
    /// Charges per second of all processes together.
    pub(crate) rate: u64,
    /// The ledger shared by several processes.
    pub(crate) ledger: Option<PathBuf>,
}

impl Plan {
    /// Opens the backend. `patience` is how long to wait for a server that is slow or briefly unavailable.
    pub(crate) async fn open(&self, patience: Duration) -> tidelock::Result<Tidelock> {
        let Some(url) = &self.url else { return Ok(Tidelock::in_process()) };
        let mut connect = Tidelock::connect(url).prefix(&self.prefix).name(&self.name).request_timeout(patience);
        if let Some(pem) = &self.root_certificate {
            connect = connect.root_certificate(pem.clone());
        }
        connect.await
    }

    pub(crate) fn orders(&self, tide: &Tidelock) -> tidelock::Result<Job<Raw, Receipt>> {
        let backoff = Backoff::exponential(SECOND / 5).max(2 * SECOND);
        tide.job(&self.run).lease(LEASE).attempts(ATTEMPTS).backoff(backoff).payload_limit(MAX_BODY).build()
    }

    pub(crate) fn topic(&self, tide: &Tidelock) -> tidelock::Result<Topic<Outcome>> {
        tide.topic(&self.run).retention(DAY).build()
    }

    pub(crate) fn members(&self, tide: &Tidelock) -> tidelock::Result<Registry<Member>> {
        tide.registry(&self.run).build()
    }

    pub(crate) fn heartbeats(&self, tide: &Tidelock) -> tidelock::Result<Ephemeral<u32>> {
        tide.ephemeral(&self.run).ttl(LEASE).build()
    }

    pub(crate) fn shop(&self, tide: &Tidelock) -> anyhow::Result<Arc<Shop>> {
        let limit = Limit::per_second(self.rate).token_bucket().burst((self.rate / 10).max(1));
        let ledger = match &self.ledger {
            Some(path) => Ledger::shared(path)?,
            None => Ledger::in_memory(),
        };
        let payments = tide.ratelimit(&self.run).limit(limit).answer_within(10 * SECOND).build()?;
        let shelves = tide.mutex(&self.run).lease(LEASE).build()?;
        let patience = RetryPolicy::builder().unlimited().deadline(PATIENCE).build()?;
        Ok(Arc::new(Shop { tide: tide.clone(), patience, payments, shelves, ledger, topic: self.topic(tide)? }))
    }

    /// The workers of one process, ready to run.
    pub(crate) fn workers(&self, tide: &Tidelock, shop: &Arc<Shop>) -> tidelock::Result<JobWorker<Raw, Receipt>> {
        let shop = Arc::clone(shop);
        let worker = self.orders(tide)?.process_with(shop, async |shop, run, line| fulfil(&shop, &run, &line).await);
        Ok(worker.concurrency(self.concurrency).shutdown_grace(10 * SECOND))
    }
}
