//! Timed transitions: due delays, lapsed leases, `max_wait`, the end of retention.

use std::sync::Arc;

use super::super::ears::News;
use super::super::policy::Policy;
use super::super::store::{FailureCode, RetryReason, STEP};
use super::{Job, Kind, Model, Now};

/// The error of a job that was never started in time.
pub(crate) const EXPIRED: &str = "not started within max_wait";
/// The error of a job whose worker was lost.
pub(crate) const CRASHED: &str = "the lease of the run ended without a settle";
/// The error of a job whose run reached its limit.
const TIMED_OUT: &str = "job execution timed out";

/// The index that holds the earliest overdue transition. The order breaks ties between equal (instant, id).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Due,
    Lapsed,
    Expired,
    Kept,
}

impl Model {
    /// Carries out at most [`STEP`] overdue transitions, in the order of their instants. Each takes effect as of its
    /// own instant and not as of now.
    pub(crate) fn advance(&mut self, now: Now) {
        self.touched = now.ms;
        self.throttle.advance(now.ms);
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
            Cause::Lapsed if Policy::limits(&job.rules.policy) => self.timed_out(job, at),
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

    /// The lease was the limit of the run, which is over at that instant, whatever its handler does.
    fn timed_out(&mut self, mut job: Job, at: u64) {
        if let Kind::Running { process, .. } = &job.kind {
            self.news.push((Arc::clone(process), News::Lapsed(job.fence)));
        }
        job.failures += 1;
        let message: Arc<str> = TIMED_OUT.into();
        if job.failures >= job.rules.attempts {
            self.fail(job, FailureCode::Timeout, &message, at);
            return;
        }
        job.failed(FailureCode::Timeout, &message, at);
        self.totals.retries += 1;
        let policy = Policy::decode(&job.rules.policy).unwrap_or_default();
        let due = at + policy.delay(job.failures, fraction(job.fence));
        self.return_job(job, RetryReason::TimedOut, message, at, due);
    }
}

/// A pseudo-random number in 0.0..1.0, always the same for one run: the finalizer of SplitMix64.
fn fraction(fence: u64) -> f64 {
    let mixed = (fence ^ (fence >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let bits = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or_default();
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
