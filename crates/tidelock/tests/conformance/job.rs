//! Jobs, on every backend.

mod arguments;
mod cancelling;
mod clock;
mod events;
mod groups;
mod joining;
mod keys;
mod leases;
mod options;
mod order;
mod prefetching;
mod races;
mod retries;
mod running;
mod steps;
mod stopping;
mod submitting;

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidelock::job::{JobContext, JobEvent, JobFilter, JobState, JobStats, Joined};
use tidelock::{Job, JobError, JobId, JobInfo, Result, SECOND, Tidelock};
use tokio::sync::Notify;

pub(crate) use crate::conformance;
pub(crate) use crate::harness::World;
pub(crate) use crate::queue::{MS, advancing, until, within};

/// Jobs on texts with default options.
pub(crate) fn texts(tide: &Tidelock) -> Job<String, String> {
    tide.job("texts").build().expect("the defaults are in range")
}

pub(crate) async fn submit(job: &Job<String, String>, text: &str) -> JobId {
    let submitted = job.submit(&text.to_owned()).await.expect("a plain submit");
    assert!(!submitted.duplicate);
    submitted.id
}

pub(crate) async fn info(job: &Job<String, String>, id: &JobId) -> JobInfo {
    job.get(id).await.expect("the backend answers").expect("the job is there")
}

pub(crate) async fn state(job: &Job<String, String>, id: &JobId) -> JobState {
    info(job, id).await.state
}

pub(crate) async fn stats(job: &Job<String, String>) -> JobStats {
    job.stats().await.expect("the backend answers")
}

/// Waits until the job is in a state.
pub(crate) async fn until_state(job: &Job<String, String>, id: &JobId, wanted: JobState) {
    until(async || state(job, id).await == wanted).await;
}

/// Waits for the end of a job; returns its result.
pub(crate) async fn result(job: &Job<String, String>, id: &JobId) -> String {
    match within(job.join(id).forever()).await.expect("the backend answers") {
        Joined::Completed(result) => result,
        other => panic!("{id} did not complete: {other:?}"),
    }
}

/// All events of a job that are kept.
pub(crate) async fn events(job: &Job<String, String>, id: &JobId) -> Vec<JobEvent> {
    let page = job.events(id).read().limit(1_000).await.expect("the backend answers");
    assert!(page.next.is_none());
    page.items.into_iter().map(|item| item.event().expect("nothing is lost")).collect()
}

/// A gate at which a handler waits until the test opens it.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    pub(crate) entered: Arc<Notify>,
    pub(crate) open: Arc<Notify>,
}

impl Gate {
    pub(crate) async fn pass(&self) {
        self.entered.notify_one();
        self.open.notified().await;
    }
}

/// The inputs for which handlers were started, in order.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    pub(crate) fn add(&self, text: impl Into<String>) {
        self.0.lock().unwrap().push(text.into());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Everything that queries show, to compare before and after.
pub(crate) async fn picture(job: &Job<String, String>) -> Result<String> {
    let mut lists = Vec::new();
    for filter in FILTERS {
        lists.push(job.list(filter).await?);
    }
    Ok(format!("{:?} {lists:?}", job.stats().await?))
}

pub(crate) const FILTERS: [JobFilter; 7] = [
    JobFilter::Ready,
    JobFilter::Delayed,
    JobFilter::Running,
    JobFilter::Completed,
    JobFilter::Failed,
    JobFilter::Cancelled,
    JobFilter::TimedOut,
];

/// A handler that returns its input.
pub(crate) async fn echo(_: JobContext, text: String) -> std::result::Result<String, JobError> {
    Ok(text)
}
