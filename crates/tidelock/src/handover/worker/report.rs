//! What a worker has done.

use serde::Serialize;

use crate::error::{Error, as_optional_text};
use crate::handover::background::Report;
use crate::handover::observe::Measure;
use crate::handover::store::{Action, Settled};

/// What a worker did, from its start to its end.
#[derive(Debug, Default, Serialize)]
#[non_exhaustive]
pub struct WorkerReport {
    /// Processed and acknowledged.
    pub acked: u64,
    /// Failed, and returned for another delivery.
    pub nacked: u64,
    /// Failed for good, expired while held, or undecodable: now dead letters.
    pub dead: u64,
    /// No longer held when they were settled; another consumer has or had them.
    pub stale: u64,
    /// Returned unused: not started, or not finished in time after the stop signal.
    pub given_back: u64,
    /// Not confirmed by the backend five seconds after the grace, because it was away: settled by then, or delivered
    /// again when the lease ends.
    pub left: u64,
    /// Why the worker ended before it was told to; [`run_until`](crate::Worker::run_until) returns it instead.
    /// Serialized as text.
    #[serde(serialize_with = "as_optional_text")]
    pub error: Option<Error>,
}

/// What a running worker has done so far, and what it is doing now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Processed and acknowledged.
    pub acked: u64,
    /// Failed, and returned for another delivery.
    pub nacked: u64,
    /// Failed for good, expired while held, or undecodable: now dead letters.
    pub dead: u64,
    /// No longer held when they were settled; another consumer has or had them.
    pub stale: u64,
    /// Returned unused: not started, or not finished in time after the stop signal.
    pub given_back: u64,
    /// Handlers that are running.
    pub running: usize,
    /// Prefetched messages.
    pub prefetched: usize,
}

impl Report for WorkerReport {
    fn error(&mut self) -> &mut Option<Error> {
        &mut self.error
    }
}

impl WorkerStats {
    /// Counts the outcome of a message.
    pub(super) fn count(&mut self, counter: Measure) {
        let field = match counter {
            Measure::Stale => &mut self.stale,
            Measure::Nacked => &mut self.nacked,
            Measure::DeadLettered => &mut self.dead,
            Measure::GivenBack => &mut self.given_back,
            _ => &mut self.acked,
        };
        *field += 1;
    }

    pub(super) fn report(self, error: Option<Error>) -> WorkerReport {
        let Self { acked, nacked, dead, stale, given_back, .. } = self;
        WorkerReport { acked, nacked, dead, stale, given_back, left: 0, error }
    }
}

/// The counter for the outcome of a settle.
pub(super) fn counted_as(action: &Action, settled: Settled) -> Measure {
    match (action, settled) {
        (_, Settled::Stale) => Measure::Stale,
        (_, Settled::Requeued { .. }) => Measure::Nacked,
        (_, Settled::DeadLettered) | (Action::Bury { .. }, _) => Measure::DeadLettered,
        (Action::GiveBack, _) => Measure::GivenBack,
        _ => Measure::Acked,
    }
}
