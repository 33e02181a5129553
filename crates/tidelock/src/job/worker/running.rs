//! A worker in the background, as its owner has it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::report::{JobWorkerReport, JobWorkerStats};
use super::shared::Shared;
use crate::error::Error;

/// A worker of jobs in the background. Dropping it is the stop signal without waiting for the end.
#[derive(Debug)]
pub struct RunningJobWorker {
    /// `None`: it did not start.
    shared: Option<Arc<Shared>>,
    end: End,
}

#[derive(Debug)]
enum End {
    Awaited(oneshot::Receiver<JobWorkerReport>),
    Come(Option<JobWorkerReport>),
}

impl RunningJobWorker {
    pub(super) fn over(shared: &Arc<Shared>, end: oneshot::Receiver<JobWorkerReport>) -> Self {
        Self { shared: Some(Arc::clone(shared)), end: End::Awaited(end) }
    }

    pub(super) fn failed(error: Error) -> Self {
        let report = JobWorkerReport { error: Some(error), ..JobWorkerReport::default() };
        Self { shared: None, end: End::Come(Some(report)) }
    }

    /// Starts no more runs, fires the stop tokens, waits up to `grace` for the handlers, drops and gives back the rest,
    /// sends all settles for at most five seconds more, and reports.
    ///
    /// `grace` overrides the option `shutdown_grace`. Dropping the future leaves the worker draining.
    pub async fn shutdown(mut self, grace: Duration) -> JobWorkerReport {
        self.stop(Some(grace));
        self.report().await
    }

    /// What it has done so far, and what it does now.
    pub fn stats(&self) -> JobWorkerStats {
        self.shared.as_ref().map(|shared| shared.stats()).unwrap_or_default()
    }

    pub(super) fn stop(&mut self, grace: Option<Duration>) {
        if let Some(shared) = &self.shared {
            shared.stop(grace);
        }
    }

    /// Resolves when the worker has ended: by a stop, or by what waiting does not cure, such as access that is denied. Then
    /// [`shutdown`](Self::shutdown) gives its report at once.
    ///
    /// Dropping the future changes nothing.
    pub async fn ended(&mut self) {
        if let End::Awaited(end) = &mut self.end {
            // Without a report its runtime has ended, and the worker with it.
            let report = end.await.unwrap_or_else(|_| JobWorkerReport {
                error: Some(Error::shutting_down("process")),
                ..JobWorkerReport::default()
            });
            self.end = End::Come(Some(report));
        }
    }

    pub(super) async fn report(&mut self) -> JobWorkerReport {
        self.ended().await;
        match &mut self.end {
            End::Come(report) => report.take().unwrap_or_default(),
            End::Awaited(_) => JobWorkerReport::default(),
        }
    }
}

impl Drop for RunningJobWorker {
    fn drop(&mut self) {
        self.stop(None);
    }
}
