//! Queries: the object at one instant. They change no outcome.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::super::store::{
    Content, EndView, EventsView, FailureView, JobFilter, JobState, JobView, LeaseView, Look, StatsView, View,
};
use super::{Job, Kind, Model, Now, WATCHED, Watcher};
use crate::handover::cursor::Cursor;

impl Model {
    /// Answers a query of a process. `after` is the parsed cursor of a listing.
    pub(crate) fn look(&mut self, now: Now, process: &Arc<str>, look: &Look, after: Option<Cursor>) -> View {
        match look {
            Look::Stats => View::Stats(Box::new(self.stats(now))),
            Look::Get { id } => View::Job(self.jobs.get(id).map(|job| Box::new(job.view()))),
            Look::List { filter, limit, .. } => {
                let (ids, next) = self.page(*filter, *limit, after);
                let jobs = ids.into_iter().map(|id| self.jobs[&id].summary()).collect();
                View::Jobs(jobs, next.map(|cursor| cursor.to_string()))
            }
            Look::Join { id, park } => {
                let end = self.jobs.get(id).map(|job| Box::new(job.end_view()));
                if *park && end.as_ref().is_some_and(|end| !end.state.is_terminal()) {
                    self.watch(now, process, *id, true);
                }
                View::Joined(end)
            }
            Look::Events { id, after, max, park } => {
                let Some(job) = self.jobs.get(id) else {
                    return View::Events(EventsView { absent: true, ..EventsView::default() });
                };
                let events = job.log.read(*after, *max, job.state().is_terminal());
                if *park && events.events.is_empty() && !events.ended {
                    self.watch(now, process, *id, false);
                }
                View::Events(events)
            }
            Look::Places { id } => View::Places(self.jobs.get(id).map(|job| job.log.places())),
            Look::Memos { id, fence } => {
                let held =
                    |job: &&Job| job.fence == *fence && matches!(job.kind, Kind::Running { end, .. } if now.ms < end);
                View::Memos(self.jobs.get(id).filter(held).map(|job| job.memos.clone()))
            }
        }
    }

    /// Registers a process that wants news of a job.
    pub(super) fn watch(&mut self, now: Now, process: &Arc<str>, id: u64, end_only: bool) {
        let watchers = self.watchers.entry(id).or_default();
        watchers
            .retain(|watcher| watcher.until > now.ms && (watcher.process != *process || watcher.end_only != end_only));
        watchers.push(Watcher { process: Arc::clone(process), until: now.ms + WATCHED, end_only });
    }

    fn stats(&self, now: Now) -> StatsView {
        let ended = |state| self.ended[super::index_of(state)].len() as u64;
        StatsView {
            ready: self.places.ready.len() as u64 + self.places.blocked,
            blocked: self.places.blocked,
            delayed: self.delayed.len() as u64,
            running: self.running.len() as u64,
            completed: ended(JobState::Completed),
            failed: ended(JobState::Failed),
            cancelled: ended(JobState::Cancelled),
            timed_out: ended(JobState::TimedOut),
            oldest_ready_age: self.places.oldest().map(|standing| now.ms.saturating_sub(standing)),
            next_due: self.delayed.first().map(|(at, _)| *at),
            paused: self.throttle.paused(now.ms),
            rate: self.throttle.rate(),
            most_held: self.throttle.held(),
            totals: self.totals,
            settling: self.settling,
        }
    }

    /// Reads one item more than the page holds, to know whether there is a next page.
    fn page(&self, filter: JobFilter, limit: usize, after: Option<Cursor>) -> (Vec<u64>, Option<Cursor>) {
        let ended = |state| before(&self.ended[super::index_of(state)], after.as_ref()).take(limit + 1).collect();
        let mut found: Vec<(Cursor, u64)> = match filter {
            JobFilter::Ready => self.ready_after(after).take(limit + 1).collect(),
            JobFilter::Delayed => behind(&self.delayed, after.as_ref()).take(limit + 1).collect(),
            JobFilter::Running => behind(&self.started, after.as_ref()).take(limit + 1).collect(),
            JobFilter::Completed => ended(JobState::Completed),
            JobFilter::Failed => ended(JobState::Failed),
            JobFilter::Cancelled => ended(JobState::Cancelled),
            JobFilter::TimedOut => ended(JobState::TimedOut),
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(cursor, _)| cursor.clone());
        (found.into_iter().map(|(_, id)| id).collect(), next)
    }

    /// Jobs that can be started, in claim order, then the blocked ones by line and order of joining.
    fn ready_after(&self, after: Option<Cursor>) -> impl Iterator<Item = (Cursor, u64)> {
        let (ready, lines) = match after {
            Some(Cursor::Ready(rank, standing, order)) => (Bound::Excluded((rank, standing, order, u64::MAX)), None),
            Some(Cursor::Blocked(join, key)) => (Bound::Excluded((10, 0, 0, 0)), Some((Arc::from(key), join))),
            Some(Cursor::At(..)) | None => (Bound::Unbounded, None),
        };
        let ready = self.places.ready.range((ready, Bound::Unbounded));
        let lines = self.places.lines.range((lines.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let ready = ready.map(|(rank, standing, order, id)| (Cursor::Ready(*rank, *standing, *order), *id));
        let blocked = lines.filter(|(_, id)| matches!(self.jobs[id].kind, Kind::Blocked));
        ready.chain(blocked.map(|((key, join), id)| (Cursor::Blocked(*join, key.to_string()), *id)))
    }
}

fn behind(set: &BTreeSet<(u64, u64)>, after: Option<&Cursor>) -> impl Iterator<Item = (Cursor, u64)> {
    let from = match after {
        Some(Cursor::At(at, id)) => Bound::Excluded((*at, *id)),
        _ => Bound::Unbounded,
    };
    set.range((from, Bound::Unbounded)).map(|(at, id)| (Cursor::At(*at, *id), *id))
}

/// Newest first.
fn before(set: &BTreeSet<(u64, u64)>, before: Option<&Cursor>) -> impl Iterator<Item = (Cursor, u64)> {
    let to = match before {
        Some(Cursor::At(at, id)) => Bound::Excluded((*at, *id)),
        _ => Bound::Unbounded,
    };
    set.range((Bound::Unbounded, to)).rev().map(|(at, id)| (Cursor::At(*at, *id), *id))
}

impl Job {
    fn view(&self) -> JobView {
        let last_failures = self.last_failures.iter().cloned().collect();
        self.shown((*self.content).clone(), self.result.clone(), last_failures)
    }

    /// The view without input, result and older failures.
    fn summary(&self) -> JobView {
        let last_failure = self.last_failures.back().cloned();
        self.shown(self.content.without_payload(), None, last_failure.into_iter().collect())
    }

    fn shown(&self, content: Content, result: Option<Vec<u8>>, last_failures: Vec<FailureView>) -> JobView {
        let (lease, finished_at) = match &self.kind {
            Kind::Running { end, .. } => (Some(LeaseView { worker: Arc::clone(&self.worker), end: *end }), None),
            Kind::Ended { at, .. } => (None, Some(*at)),
            _ => (None, None),
        };
        let waits = self.state() == JobState::Submitted;
        JobView {
            id: self.id,
            state: self.state(),
            blocked: matches!(self.kind, Kind::Blocked),
            priority: self.priority,
            attempt: self.attempt,
            failures: self.failures,
            crashes: self.crashes,
            reschedules: self.reschedules,
            submitted_at: self.submitted_at,
            due: self.due,
            started_at: (self.fence != 0).then_some(self.started_at),
            finished_at,
            expires_at: self.expires_at().filter(|_| waits),
            kept_until: finished_at.map(|at| at + self.rules.retention),
            key: self.key.as_ref().map(|key| Arc::clone(&key.text)),
            lease,
            fence: self.fence,
            rules: (*self.rules).clone(),
            memos: self.memos.len() as u64,
            progress: self.progress.clone(),
            last_failures,
            reason: self.reason.clone(),
            content,
            result,
        }
    }

    fn end_view(&self) -> EndView {
        let state = self.state();
        let failed = matches!(state, JobState::Failed | JobState::TimedOut);
        EndView {
            state,
            result: self.result.clone(),
            failure: self.last_failures.back().filter(|_| failed).cloned(),
            reason: self.reason.clone(),
        }
    }
}
