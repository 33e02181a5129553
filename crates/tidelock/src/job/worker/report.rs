//! What a worker of jobs has done.

use serde::Serialize;

use crate::error::{Error, as_optional_text};
use crate::handover::Report;
use crate::job::observe::Measure;
use crate::job::store::{Action, JobState, Settled};

/// What a worker of jobs did, from its start to its end.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct JobWorkerReport {
    /// Runs that ended their job with a result.
    pub completed: u64,
    /// Runs after which the job will run again: failed, timed out, or rescheduled by the handler.
    pub retried: u64,
    /// Runs that ended their job without a result.
    pub failed: u64,
    /// Runs that were over before they were settled: cancelled, or their lease was lost.
    pub stale: u64,
    /// Runs that were given back: prefetched and not started in time, not finished in time after the stop signal, or
    /// claimed by a request that took longer than the lease.
    pub given_back: u64,
    /// Runs whose end the backend had not confirmed five seconds after the grace, because it was away: settled by then,
    /// or run again when the lease ends.
    pub left: u64,
    /// Why the worker ended before it was told to; [`run_until`](crate::JobWorker::run_until) returns it instead.
    /// Serialized as text.
    #[serde(serialize_with = "as_optional_text")]
    pub error: Option<Error>,
}

/// What a running worker of jobs has done so far, and what it is doing now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobWorkerStats {
    /// Runs that ended their job with a result.
    pub completed: u64,
    /// Runs after which the job will run again: failed, timed out, or rescheduled by the handler.
    pub retried: u64,
    /// Runs that ended their job without a result.
    pub failed: u64,
    /// Runs that were over before they were settled: cancelled, or their lease was lost.
    pub stale: u64,
    /// Runs that were given back: prefetched and not started in time, not finished in time after the stop signal, or
    /// claimed by a request that took longer than the lease.
    pub given_back: u64,
    /// Handlers that are running.
    pub running: usize,
    /// Runs that were claimed and have not been started.
    pub prefetched: usize,
}

impl Report for JobWorkerReport {
    fn error(&mut self) -> &mut Option<Error> {
        &mut self.error
    }
}

impl JobWorkerStats {
    /// Counts the outcome of a run.
    pub(super) fn count(&mut self, counter: Measure) {
        let field = match counter {
            Measure::Stale => &mut self.stale,
            Measure::Completed => &mut self.completed,
            Measure::Failed => &mut self.failed,
            Measure::GivenBack => &mut self.given_back,
            _ => &mut self.retried,
        };
        *field += 1;
    }

    pub(super) fn report(self, error: Option<Error>) -> JobWorkerReport {
        let Self { completed, retried, failed, stale, given_back, .. } = self;
        JobWorkerReport { completed, retried, failed, stale, given_back, left: 0, error }
    }
}

/// The counter for the outcome of the settle that ended a run.
pub(super) fn counted_as(action: &Action, settled: Settled) -> Measure {
    match (settled, action) {
        (Settled::Stale | Settled::Cancelled, _) => Measure::Stale,
        (Settled::Ended(JobState::Completed), _) => Measure::Completed,
        (Settled::Ended(_), _) => Measure::Failed,
        (_, Action::Release) => Measure::GivenBack,
        _ => Measure::Retried,
    }
}
