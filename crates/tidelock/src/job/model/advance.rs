//! What happens by time: due delays, lapsed leases, waiting for too long, the end of retention.

use std::sync::Arc;

use super::super::store::{FailureCode, RetryReason, STEP};
use super::{Job, Model, Now};

/// What a job that was never started in time says.
pub(crate) const EXPIRED: &str = "not started within max_wait";
/// What a job says whose worker was lost.
pub(crate) const CRASHED: &str = "the lease of the run ended without a settle";

/// Which index the earliest overdue transition is in. The order breaks ties between equal (instant, id).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Due,
    Lapsed,
    Expired,
    Kept,
}

impl Model {
    /// Carries out at most [`STEP`] overdue transitions, in the order of their instants. Each counts as of its own instant,
    /// not as of now.
    pub(crate) fn advance(&mut self, now: Now) {
        self.touched = now.ms;
        if self.pause.is_some() && !self.is_paused(now) {
            self.pause = None;
        }
        self.forget_keys(now);
        self.forget_series(now);
        for _ in 0..STEP {
            let Some((at, id, cause)) = self.first_overdue(now) else {
                self.settling = false;
                return;
            };
            self.transition(now, at, id, cause);
        }
        self.settling = self.first_overdue(now).is_some();
    }

    /// Whether the last [`Model::advance`] left something overdue.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling
    }

    fn forget_keys(&mut self, now: Now) {
        for _ in 0..STEP {
            let Some(first) = self.key_ends.pop_first() else { return };
            if first.0 > now.ms {
                self.key_ends.insert(first);
                return;
            }
            self.keys.remove(&(first.1, first.2));
        }
    }

    fn forget_series(&mut self, now: Now) {
        for _ in 0..STEP {
            let Some(first) = self.series_ends.pop_first() else { return };
            if first.0 > now.ms {
                self.series_ends.insert(first);
                return;
            }
            self.series.remove(&first.1);
        }
    }

    fn first_overdue(&self, now: Now) -> Option<(u64, u64, Cause)> {
        let indexes = [
            (&self.delayed, Cause::Due),
            (&self.running, Cause::Lapsed),
            (&self.expiring, Cause::Expired),
            (&self.kept, Cause::Kept),
        ];
        let firsts = indexes.iter().filter_map(|(set, cause)| set.first().map(|(at, id)| (*at, *id, *cause)));
        firsts.min().filter(|(at, _, _)| *at <= now.ms)
    }

    fn transition(&mut self, now: Now, at: u64, id: u64, cause: Cause) {
        let job = self.jobs.remove(&id).expect("an index holds stored jobs");
        self.leave_state(&job);
        match cause {
            Cause::Due => self.be_ready(job),
            Cause::Lapsed => self.crashed(job, at),
            Cause::Expired => {
                self.fail(job, FailureCode::Expired, &Arc::from(EXPIRED), at);
            }
            Cause::Kept => self.forget(&job, now.ms),
        }
    }

    fn crashed(&mut self, mut job: Job, at: u64) {
        job.crashes += 1;
        self.totals.crashes += 1;
        let message: Arc<str> = CRASHED.into();
        if job.crashes >= job.rules.max_crashes {
            self.fail(job, FailureCode::Crashed, &message, at);
            return;
        }
        job.failed(FailureCode::Crashed, &message, at);
        self.return_job(job, RetryReason::Crashed, message, at, at);
    }
}
