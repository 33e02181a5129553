//! Starting runs.

use std::sync::Arc;

use super::super::store::{Claim, Claimed, Happened, MAX_BYTES, Run};
use super::{Kind, Model, Now};

impl Model {
    /// Starts the first jobs in order, and parks the process if there are fewer than it wanted.
    pub(crate) fn claim(&mut self, now: Now, process: &Arc<str>, claim: &Claim) -> Claimed {
        let mut claimed = Claimed::default();
        let mut bytes = 0;
        let most = claim.max.min(self.startable(now));
        while claimed.runs.len() < most {
            let Some(run) = self.start_first(now, process, &claim.worker, bytes) else { break };
            bytes += run.content.size();
            claimed.runs.push(run);
        }
        self.parking.deadline(self.throttle.count(now.ms, claimed.runs.len()));
        if claim.max == 0 {
            let next = self.next_start();
            self.parking.leave(now.ms, process, || next);
        } else if claim.park && claimed.runs.len() < claim.max && !self.settling {
            let next = self.next_start();
            claimed.next = self.parking.park(now.ms, process, || next);
        }
        claimed
    }

    /// `bytes` is the size of the answer so far. The answer stays within [`MAX_BYTES`] unless a single job is larger.
    fn start_first(&mut self, now: Now, process: &Arc<str>, worker: &Arc<str>, bytes: usize) -> Option<Run> {
        let id = self.places.ready.first()?.3;
        let job = &self.jobs[&id];
        if job.expires_at().is_some_and(|expiry| expiry <= now.ms) {
            // This happens only while more is overdue than one step carries out. Expired jobs are never started.
            return None;
        }
        if bytes > 0 && bytes + job.content.size() > MAX_BYTES {
            return None;
        }
        let mut job = self.jobs.remove(&id).expect("it was just seen");
        self.leave_state(&job);
        self.last_fence = now.next_number(self.last_fence);
        job.fence = self.last_fence;
        job.settled = false;
        job.attempt += 1;
        job.started_at = now.ms;
        job.worker = Arc::clone(worker);
        let lease = job.rules.lease;
        let end = now.ms + lease;
        job.kind = Kind::Running { end, lease, process: Arc::clone(process) };
        self.running.insert((end, id));
        self.started.insert((now.ms, id));
        self.parking.deadline(end);
        self.series_run_started(&job);
        let (attempt, fence) = (job.attempt, job.fence);
        self.log(&mut job, now.ms, Happened::Started { attempt, fence, worker: Arc::clone(worker) });
        let run = Run {
            id,
            fence,
            attempt,
            failures: job.failures,
            crashes: job.crashes,
            priority: job.priority,
            submitted_at: job.submitted_at,
            rules: (*job.rules).clone(),
            content: (*job.content).clone(),
            memos: job.memos.len() as u64,
            told: job.origin.as_ref().map(|from| from.told.clone()),
        };
        self.jobs.insert(id, job);
        Some(run)
    }

    /// The next instant at which there may be something to start.
    fn next_start(&self) -> Option<u64> {
        let firsts = [self.delayed.first(), self.running.first()].into_iter().flatten().map(|(at, _)| *at);
        firsts.chain(self.throttle.opens()).min()
    }
}
