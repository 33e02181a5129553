//! The actions of runs, under their fences.

use std::sync::Arc;

use super::super::store::{
    Action, FailureCode, Happened, JobState, MAX_MEMO_BYTES, MAX_MEMOS, RetryReason, Settle, Settled,
};
use super::{Job, Kind, Model, Now};

impl Model {
    /// Applies each settle on its own, in order.
    pub(crate) fn settle(&mut self, now: Now, settles: Vec<Settle>) -> Vec<Settled> {
        settles.into_iter().map(|settle| self.settle_one(now, settle)).collect()
    }

    fn settle_one(&mut self, now: Now, settle: Settle) -> Settled {
        let Settle { id, fence, progress, action } = settle;
        let mut job = match self.held(now, id, fence) {
            Ok(job) => job,
            Err(over) => {
                if over == Settled::Stale && action.ends_run() {
                    self.totals.stale += 1;
                }
                return over;
            }
        };
        if let Some(value) = progress {
            job.progress = Some(value.clone());
            self.log(&mut job, now.ms, Happened::Progress { value });
        }
        if action.ends_run() {
            self.leave_state(&job);
            job.settled = true;
            return self.end_run(now, job, action);
        }
        let settled = self.go_on(now, &mut job, action);
        self.jobs.insert(id, job);
        settled
    }

    /// Takes out the job that a run holds now. Otherwise the error is the answer to the run.
    fn held(&mut self, now: Now, id: u64, fence: u64) -> Result<Job, Settled> {
        let Some(job) = self.jobs.get(&id).filter(|job| job.fence == fence) else { return Err(Settled::Stale) };
        match job.kind {
            Kind::Running { end, .. } if now.ms < end => Ok(self.jobs.remove(&id).expect("it was just seen")),
            Kind::Ended { state: JobState::Cancelled, .. } if !job.settled => Err(Settled::Cancelled),
            Kind::Ended { state, .. } if job.settled => Err(Settled::Ended(state)),
            Kind::Ready | Kind::Blocked | Kind::Delayed if job.settled => Err(Settled::Returned { due: job.due }),
            _ => Err(Settled::Stale),
        }
    }

    /// Ends the run of a job that is out of the indexes of its state.
    fn end_run(&mut self, now: Now, mut job: Job, action: Action) -> Settled {
        let (reason, message, delay) = match action {
            Action::Complete { result } => {
                job.result = Some(result);
                (job.memos, job.memo_bytes) = (Vec::new(), 0);
                self.end(job, JobState::Completed, now.ms, Happened::Completed);
                return Settled::Ended(JobState::Completed);
            }
            Action::Fail { code, message, delay } => {
                let again = matches!(code, FailureCode::Error | FailureCode::Timeout);
                if again {
                    job.failures += 1;
                }
                if !again || job.failures >= job.rules.attempts {
                    return Settled::Ended(self.fail(job, code, &message, now.ms));
                }
                job.failed(code, &message, now.ms);
                self.totals.retries += 1;
                let timed_out = code == FailureCode::Timeout;
                (if timed_out { RetryReason::TimedOut } else { RetryReason::Error }, message, delay)
            }
            Action::Reschedule { delay } => {
                (job.failures, job.crashes) = (0, 0);
                job.reschedules += 1;
                (RetryReason::Rescheduled, Arc::from(""), delay)
            }
            Action::Release => (RetryReason::Released, Arc::from(""), 0),
            Action::Renew | Action::Heartbeat { .. } | Action::Progress | Action::Step { .. } => {
                unreachable!("these do not end a run")
            }
        };
        let due = now.ms + delay;
        self.return_job(job, reason, message, now.ms, due);
        Settled::Returned { due }
    }

    /// The run is over, but its job is not: the job waits again in its place, from `at` until `due`.
    pub(super) fn return_job(&mut self, mut job: Job, reason: RetryReason, message: Arc<str>, at: u64, due: u64) {
        let attempt = job.attempt;
        self.log(&mut job, at, Happened::Retry { attempt, reason, message, next_at: due });
        self.wait(job, due, at);
    }

    fn go_on(&mut self, now: Now, job: &mut Job, action: Action) -> Settled {
        match action {
            Action::Renew => self.renew(now, job, None),
            Action::Heartbeat { lease } => {
                let renewed = self.renew(now, job, lease);
                let attempt = job.attempt;
                self.log(job, now.ms, Happened::Heartbeat { attempt });
                renewed
            }
            Action::Progress => Settled::Stored,
            Action::Step { id, value } => self.store_memo(now, job, id, value),
            _ => unreachable!("these end a run"),
        }
    }

    fn renew(&mut self, now: Now, job: &mut Job, wish: Option<u64>) -> Settled {
        let Kind::Running { lease, .. } = job.kind else { unreachable!("what is held runs") };
        let given = wish.unwrap_or(lease);
        let limit = job.renewable_until(now.ms, given);
        let (id, Kind::Running { end, lease, .. }) = (job.id, &mut job.kind) else { unreachable!("what is held runs") };
        *lease = given;
        // A lease that ends later was given before: a renewal does not shorten it.
        let latest = limit.map_or(u64::MAX, |limit| limit.max(*end));
        let renewed = (now.ms + *lease).min(latest);
        self.running.remove(&(*end, id));
        self.running.insert((renewed, id));
        *end = renewed;
        self.parking.deadline(renewed);
        Settled::Renewed { left: renewed - now.ms }
    }

    fn store_memo(&mut self, now: Now, job: &mut Job, id: Arc<str>, value: Vec<u8>) -> Settled {
        if job.memos.iter().any(|(known, _)| *known == id) {
            return Settled::Stored;
        }
        let more = (id.len() + value.len()) as u64;
        if job.memos.len() >= MAX_MEMOS || job.memo_bytes + more > MAX_MEMO_BYTES as u64 {
            return Settled::Full { memos: job.memos.len() as u64, bytes: job.memo_bytes };
        }
        job.memos.push((Arc::clone(&id), value));
        job.memo_bytes += more;
        self.log(job, now.ms, Happened::Step { id });
        Settled::Stored
    }
}
