//! Changes of the object as a whole, and of jobs from outside their runs.

use std::sync::Arc;

use super::super::ears::News;
use super::super::store::{Change, Changes, Happened, JobState};
use super::{Kind, Model, Now};

impl Model {
    /// Applies a change.
    pub(crate) fn change(&mut self, now: Now, change: Change) -> Changes {
        match change {
            Change::Cancel { id, reason } => self.cancel(now, id, reason),
            Change::Retry { id, max_depth } => self.retry(now, id, max_depth),
            Change::Remove { id } => self.remove(now, id),
            Change::Pause { for_at_most, reason } => {
                let until = for_at_most.map(|duration| now.ms + duration);
                let changed = self.throttle.pause(until, reason);
                self.parking.deadline(until);
                done(changed)
            }
            Change::Resume => {
                let changed = self.throttle.resume();
                // Who parked during the pause was told its end, and not that of a window that is used up.
                self.parking.deadline(self.throttle.opens());
                done(changed)
            }
            Change::LimitRate(rate) => {
                let changed = self.throttle.limit_rate(now.ms, rate);
                self.parking.deadline(self.throttle.opens());
                done(changed)
            }
            Change::LimitHeld(held) => done(self.throttle.limit_held(held)),
            Change::Delete => done(self.delete()),
        }
    }

    fn cancel(&mut self, now: Now, id: u64, reason: Option<Arc<str>>) -> Changes {
        let Some(job) = self.jobs.get(&id) else { return Changes::Absent };
        if job.state().is_terminal() {
            return Changes::Refused(job.state());
        }
        let mut job = self.jobs.remove(&id).expect("it was just seen");
        self.leave_state(&job);
        if let Kind::Running { process, .. } = &job.kind {
            self.news.push((Arc::clone(process), News::Cancelled(job.fence)));
        }
        job.settled = false;
        job.reason.clone_from(&reason);
        self.end(job, JobState::Cancelled, now.ms, Happened::Cancelled { reason });
        Changes::Done
    }

    fn retry(&mut self, now: Now, id: u64, max_depth: Option<u64>) -> Changes {
        let Some(job) = self.jobs.get(&id) else { return Changes::Absent };
        let state = job.state();
        if !matches!(state, JobState::Failed | JobState::TimedOut | JobState::Cancelled) {
            return Changes::Refused(state);
        }
        let key = job.key.clone();
        if let Some(other) = key.as_ref().and_then(|key| self.bound_to(now, key)).filter(|bound| *bound != id) {
            return Changes::KeyTaken(other);
        }
        if let Some(limit) = max_depth.filter(|limit| self.depth() >= *limit) {
            return Changes::Full { depth: self.depth(), limit };
        }
        let mut job = self.jobs.remove(&id).expect("it was just seen");
        self.leave_state(&job);
        if let Some(key) = key.filter(|key| self.bound_to(now, key).is_none()) {
            self.bind(now, &key, id);
        }
        if let Some(from) = &job.origin {
            self.join_series(&from.series, None, id);
        }
        (job.failures, job.crashes, job.attempt) = (0, 0, 0);
        job.settled = false;
        job.reason = None;
        job.standing = self.stand(now);
        self.join_line(&mut job);
        self.log(&mut job, now.ms, Happened::Submitted);
        self.wait(job, now.ms, now.ms);
        Changes::Done
    }

    fn remove(&mut self, now: Now, id: u64) -> Changes {
        let Some(job) = self.jobs.get(&id) else { return Changes::Absent };
        if job.state() == JobState::Running {
            return Changes::Refused(JobState::Running);
        }
        let job = self.jobs.remove(&id).expect("it was just seen");
        self.leave_state(&job);
        if !job.state().is_terminal() {
            self.leave_line(&job);
            self.series_left(&job, now.ms);
        }
        if let Some(key) = &job.key {
            let key = (key.kind, Arc::clone(&key.text));
            if self.keys.get(&key).is_some_and(|bound| bound.id == id) {
                self.keys.remove(&key);
            }
        }
        self.forget(&job, now.ms);
        Changes::Done
    }

    /// Deletes everything except for the numbers that must not repeat and the processes that wait for work.
    fn delete(&mut self) -> bool {
        let existed = self.totals.submitted > 0 || !self.throttle.is_open();
        let ids: Vec<u64> = self.watchers.keys().copied().collect();
        for id in ids {
            self.tell_watchers(id, true);
        }
        // Workers of running jobs find out by their next renewal.
        let news = std::mem::take(&mut self.news);
        let mut parking = std::mem::take(&mut self.parking);
        parking.clear_deadlines();
        *self = Self {
            last_id: self.last_id,
            last_fence: self.last_fence,
            last_standing: self.last_standing,
            parking,
            news,
            touched: self.touched,
            ..Self::default()
        };
        existed
    }
}

fn done(changed: bool) -> Changes {
    if changed { Changes::Done } else { Changes::Nothing }
}
