//! Jobs as a pure state machine: the in-process backend, and the specification of the Redis scripts.
//!
//! A step is one atomic operation: [`Model::advance`] carries out what is overdue, one or more operations follow,
//! [`Model::wake`] ends the step, and [`Model::take_news`] returns what processes must hear. Time, processes, and
//! whether a process still listens are inputs.

mod advance;
mod change;
mod claim;
mod group;
mod log;
mod look;
mod series;
mod settle;
mod submit;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::group::Group;
use self::log::Log;
use self::series::Series;
use super::ears::News;
use super::store::{Content, FailureCode, FailureView, Happened, JobState, Key, KeyKind, MAX_FAILURES, Rules, Totals};
use crate::handover::{Parking, Places, Standing, Throttle};
use crate::hash::HashMap;

pub(crate) use crate::time::Now;

/// All jobs of one name.
#[derive(Debug, Default)]
pub(crate) struct Model {
    last_id: u64,
    last_fence: u64,
    /// The standing time of the last immediate submit. Later ones never stand before it.
    last_standing: u64,
    totals: Totals,
    throttle: Throttle,
    jobs: HashMap<u64, Job>,
    places: Places,
    /// The last number of joining a line.
    last_join: u64,
    /// (instant, id) of the next timed transition, by state.
    delayed: BTreeSet<(u64, u64)>,
    running: BTreeSet<(u64, u64)>,
    expiring: BTreeSet<(u64, u64)>,
    kept: BTreeSet<(u64, u64)>,
    /// Running jobs by (start, id).
    started: BTreeSet<(u64, u64)>,
    /// Ended jobs by (end, id), for each state.
    ended: [BTreeSet<(u64, u64)>; 4],
    keys: HashMap<(KeyKind, Arc<str>), Bound>,
    /// Keys whose job is gone, by the instant at which they are forgotten.
    key_ends: BTreeSet<(u64, KeyKind, Arc<str>)>,
    series: HashMap<Arc<str>, Series>,
    /// Series without unfinished runs, by the instant at which they are forgotten.
    series_ends: BTreeSet<(u64, Arc<str>)>,
    /// The processes that wait for work.
    parking: Parking,
    /// The processes that wait for news of a job.
    watchers: HashMap<u64, Vec<Watcher>>,
    news: Vec<(Arc<str>, News)>,
    /// Whether more is overdue than one step carried out.
    settling: bool,
    touched: u64,
}

/// The binding of a key.
#[derive(Clone, Debug)]
struct Bound {
    id: u64,
    /// Submit + its shortest life; `None`: until the terminal step.
    until: Option<u64>,
    /// Whether the job is gone.
    gone: bool,
}

/// A process that waits for news of a job.
#[derive(Clone, Debug)]
struct Watcher {
    process: Arc<str>,
    until: u64,
    /// It waits for the end only.
    end_only: bool,
}

/// The longest that a lease lasts beyond timeout and grace of its run. It exceeds the largest margin of a holder.
const SETTLING: u64 = 120_000;

/// How long a process that watches a job is remembered unless it asks again.
pub(crate) const WATCHED: u64 = 60_000;

/// A stored job.
#[derive(Clone, Debug)]
struct Job {
    id: u64,
    priority: u8,
    submitted_at: u64,
    /// Its first due time, or what `retry` set.
    standing: u64,
    /// Its current due time.
    due: u64,
    attempt: u64,
    failures: u32,
    crashes: u32,
    reschedules: u32,
    fence: u64,
    /// Whether a settle ended the run with `fence`.
    settled: bool,
    /// Its order among the jobs of its line.
    join: u64,
    line: Option<Arc<str>>,
    started_at: u64,
    /// The worker of its last run.
    worker: Arc<str>,
    key: Option<Key>,
    origin: Option<From>,
    rules: Arc<Rules>,
    content: Arc<Content>,
    progress: Option<Vec<u8>>,
    memos: Vec<(Arc<str>, Vec<u8>)>,
    memo_bytes: u64,
    last_failures: VecDeque<FailureView>,
    result: Option<Vec<u8>>,
    reason: Option<Arc<str>>,
    log: Log,
    /// The groups that read the log.
    groups: BTreeMap<Arc<str>, Box<Group>>,
    kind: Kind,
}

/// The schedule that this job is a run of.
#[derive(Clone, Debug)]
struct From {
    series: Arc<str>,
    told: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Kind {
    Ready,
    Blocked,
    Delayed,
    Running { end: u64, lease: u64, process: Arc<str> },
    Ended { state: JobState, at: u64 },
}

impl Job {
    fn place(&self) -> Standing {
        (9 - self.priority, self.standing, self.id, self.id)
    }

    fn state(&self) -> JobState {
        match self.kind {
            Kind::Ready | Kind::Blocked | Kind::Delayed => JobState::Submitted,
            Kind::Running { .. } => JobState::Running,
            Kind::Ended { state, .. } => state,
        }
    }

    /// When it expires unless it is started before.
    fn expires_at(&self) -> Option<u64> {
        self.rules.max_wait.map(|wait| self.due + wait)
    }

    /// The latest end of a lease of length `lease` that is renewed now; `None` if there is no bound. From timeout and
    /// grace on, the lease is no longer renewed. Until then a worker can prove a lease that extends beyond them, so
    /// that it can settle the timeout.
    fn renewable_until(&self, now: u64, lease: u64) -> Option<u64> {
        let limit = self.started_at + self.rules.timeout? + self.rules.stop_grace;
        Some(if now < limit { limit + lease.min(SETTLING) } else { 0 })
    }

    fn failed(&mut self, code: FailureCode, message: &Arc<str>, at: u64) {
        if self.last_failures.len() == MAX_FAILURES {
            self.last_failures.pop_front();
        }
        self.last_failures.push_back(FailureView { code, message: Arc::clone(message), attempt: self.attempt, at });
    }
}

fn index_of(state: JobState) -> usize {
    match state {
        JobState::Completed => 0,
        JobState::Failed => 1,
        JobState::Cancelled => 2,
        JobState::TimedOut => 3,
        JobState::Submitted | JobState::Running => unreachable!("only jobs that have ended are in these indexes"),
    }
}

impl Model {
    /// Puts a job that waits for its turn into its state: delayed until `due`, ready, or blocked in its line.
    fn wait(&mut self, mut job: Job, due: u64, now: u64) {
        job.due = due;
        if due > now {
            job.kind = Kind::Delayed;
            // `max_wait` counts from the due time, so nothing expires before it is due.
            self.delayed.insert((due, job.id));
            self.parking.deadline(due);
            self.jobs.insert(job.id, job);
        } else {
            self.be_ready(job);
        }
    }

    fn be_ready(&mut self, mut job: Job) {
        if self.places.may_go(job.line.as_ref(), job.id) {
            job.kind = Kind::Ready;
            self.places.ready.insert(job.place());
        } else {
            job.kind = Kind::Blocked;
            self.places.blocked += 1;
        }
        if let Some(expiry) = job.expires_at() {
            self.expiring.insert((expiry, job.id));
        }
        self.jobs.insert(job.id, job);
    }

    /// Joins the end of its line, if it has one.
    fn join_line(&mut self, job: &mut Job) {
        if let Some(line) = &job.line {
            self.last_join += 1;
            job.join = self.last_join;
            self.places.join(line, job.join, job.id);
        }
    }

    /// Leaves its line. The next job becomes ready if it is due.
    fn leave_line(&mut self, job: &Job) {
        let Some(line) = &job.line else { return };
        let Some(head) = self.places.leave(line, job.join, job.id) else { return };
        let head = self.jobs.get_mut(&head).expect("a line holds stored jobs");
        if matches!(head.kind, Kind::Blocked) {
            head.kind = Kind::Ready;
            self.places.blocked -= 1;
            self.places.ready.insert(head.place());
        }
    }

    /// Takes a job out of the indexes of its state. It stays in its line.
    fn leave_state(&mut self, job: &Job) {
        match &job.kind {
            Kind::Ready => {
                self.places.ready.remove(&job.place());
                self.leave_expiring(job);
            }
            Kind::Blocked => {
                self.places.blocked -= 1;
                self.leave_expiring(job);
            }
            Kind::Delayed => {
                self.delayed.remove(&(job.due, job.id));
            }
            Kind::Running { end, .. } => {
                self.running.remove(&(*end, job.id));
                self.started.remove(&(job.started_at, job.id));
                self.series_run_ended(job);
            }
            Kind::Ended { state, at } => {
                self.ended[index_of(*state)].remove(&(*at, job.id));
                self.kept.remove(&(at + job.rules.retention, job.id));
            }
        }
    }

    fn leave_expiring(&mut self, job: &Job) {
        if let Some(expiry) = job.expires_at() {
            self.expiring.remove(&(expiry, job.id));
        }
    }

    /// The terminal step of a job that is out of the indexes of its state.
    fn end(&mut self, mut job: Job, state: JobState, at: u64, happened: Happened) {
        self.leave_line(&job);
        self.series_left(&job, at);
        if let Some(key) = job.key.as_ref().filter(|_| self.is_bound_while_active(&job)) {
            self.keys.remove(&(key.kind, Arc::clone(&key.text)));
        }
        let total = match state {
            JobState::Completed => &mut self.totals.completed,
            JobState::Failed => &mut self.totals.failed,
            JobState::Cancelled => &mut self.totals.cancelled,
            _ => &mut self.totals.timed_out,
        };
        *total += 1;
        job.kind = Kind::Ended { state, at };
        self.ended[index_of(state)].insert((at, job.id));
        self.kept.insert((at + job.rules.retention, job.id));
        self.log(&mut job, at, happened);
        self.jobs.insert(job.id, job);
    }

    fn is_bound_while_active(&self, job: &Job) -> bool {
        let Some(key) = &job.key else { return false };
        let bound = self.keys.get(&(key.kind, Arc::clone(&key.text)));
        bound.is_some_and(|bound| bound.id == job.id && bound.until.is_none())
    }

    /// Ends a job with a failure.
    fn fail(&mut self, mut job: Job, code: FailureCode, message: &Arc<str>, at: u64) -> JobState {
        job.failed(code, message, at);
        let state = if code == FailureCode::Timeout { JobState::TimedOut } else { JobState::Failed };
        let attempt = job.attempt;
        self.end(job, state, at, Happened::Failed { code, message: Arc::clone(message), attempt });
        state
    }

    /// Removes a job that is out of the indexes of its state and in no line. Its key is kept as long as required.
    fn forget(&mut self, job: &Job, now: u64) {
        if let Some(key) = &job.key {
            let key = (key.kind, Arc::clone(&key.text));
            if let Some(bound) = self.keys.get_mut(&key).filter(|bound| bound.id == job.id) {
                match bound.until.filter(|until| *until > now) {
                    Some(until) => {
                        bound.gone = true;
                        self.key_ends.insert((until, key.0, key.1));
                    }
                    None => {
                        self.keys.remove(&key);
                    }
                }
            }
        }
        self.tell_watchers(job.id, true);
        self.watchers.remove(&job.id);
    }

    /// The number of ready and delayed jobs.
    fn depth(&self) -> u64 {
        (self.places.ready.len() + self.delayed.len()) as u64 + self.places.blocked
    }

    /// How many jobs may be started now.
    fn startable(&self, now: Now) -> usize {
        self.throttle.admits(now.ms, self.places.ready.len(), self.running.len())
    }

    /// Ends a step: wakes one parked process per job that can be started, and the keeper if this step added an
    /// earlier deadline. `listening` tells whether a process still hears.
    pub(crate) fn wake(&mut self, now: Now, listening: impl FnMut(&Arc<str>) -> bool) {
        let startable = self.startable(now);
        for process in self.parking.wake(now.ms, startable, listening) {
            self.news.push((process, News::Work));
        }
    }

    /// What processes must hear because of this step.
    pub(crate) fn take_news(&mut self) -> Vec<(Arc<str>, News)> {
        std::mem::take(&mut self.news)
    }

    /// Appends to the log of a job and tells its watchers.
    fn log(&mut self, job: &mut Job, at: u64, happened: Happened) {
        let ends = matches!(happened, Happened::Completed | Happened::Failed { .. } | Happened::Cancelled { .. });
        job.log.push(at, happened);
        self.tell_watchers(job.id, ends);
    }

    fn tell_watchers(&mut self, id: u64, ends: bool) {
        let Some(watchers) = self.watchers.get_mut(&id) else { return };
        let told = watchers.extract_if(.., |watcher| ends || !watcher.end_only);
        self.news.extend(told.map(|watcher| (watcher.process, News::Happened(id))));
        if watchers.is_empty() {
            self.watchers.remove(&id);
        }
    }

    /// The instant of the next timed transition.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let keys = self.key_ends.first().map(|(until, ..)| *until);
        let series = self.series_ends.first().map(|(until, _)| *until);
        let firsts = [&self.delayed, &self.running, &self.expiring, &self.kept];
        let firsts = firsts.iter().filter_map(|set| set.first().map(|(at, _)| *at));
        firsts.chain(self.throttle.opens()).chain(keys).chain(series).min()
    }

    /// When the object was last touched, if it holds nothing that anybody could ask for. Its numbers are kept for
    /// another hour.
    pub(crate) fn is_idle_since(&self) -> Option<u64> {
        let idle = self.jobs.is_empty() && self.keys.is_empty() && self.series.is_empty() && self.throttle.is_open();
        idle.then_some(self.touched)
    }
}
