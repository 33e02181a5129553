//! A worker in the background, as its owner sees it.

use std::time::Duration;

use super::report::{JobWorkerReport, JobWorkerStats};
use crate::handover::Background;

/// A worker of jobs in the background. Dropping it is a stop signal without waiting for the end.
#[derive(Debug)]
#[must_use = "dropping it stops the worker, without waiting for its end"]
pub struct RunningJobWorker(pub(super) Background<JobWorkerStats, JobWorkerReport>);

impl RunningJobWorker {
    /// Starts no more runs, fires the stop tokens, waits up to `grace` for the handlers, drops and gives back the rest,
    /// sends all settles for at most five more seconds, and reports.
    ///
    /// `grace` overrides the option `shutdown_grace`. Dropping the future leaves the worker draining.
    pub async fn shutdown(self, grace: Duration) -> JobWorkerReport {
        self.0.shutdown(grace).await
    }

    /// What it has done so far, and what it is doing now.
    pub fn stats(&self) -> JobWorkerStats {
        self.0.stats()
    }

    /// Resolves when the worker has ended: by a stop, or by an error that waiting does not cure, such as access denied.
    /// After that [`shutdown`](Self::shutdown) returns its report at once.
    ///
    /// Dropping the future changes nothing.
    pub async fn ended(&mut self) {
        self.0.ended().await;
    }
}
