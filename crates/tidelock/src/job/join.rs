//! Joining: waiting for the end of a job.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::ears::{Ears, Joint};
use super::id::JobId;
use super::info::JobFailure;
use super::site::store_of;
use super::store::{EndView, JobState, JobStore, Look, View};
use crate::backoff::pause_after;
use crate::codec::{self, Codec, Value};
use crate::error::{Error, Result};
use crate::handover::{Site, Wait};
use crate::request::{awaitable, opaque};
use crate::runtime;
use crate::time::SECOND;

/// How a job ended, or that it has not.
// Exhaustive: a caller that waits for a result must handle every other end, including one that is added later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Joined<O> {
    /// It completed, with this result.
    Completed(O),
    /// It failed; this is the last failure.
    Failed(JobFailure),
    /// Its last run exceeded its timeout.
    TimedOut(JobFailure),
    /// It was cancelled.
    Cancelled {
        /// The reason, if one was given.
        reason: Option<String>,
    },
    /// The wait is over, but the job is not: it was in this state.
    StillRunning(JobState),
    /// There is no such job: it never existed, was removed, or its retention is over.
    NotFound,
}

/// Waits for the end of a job. Resolves to [`Joined<O>`].
///
/// Ended and unknown jobs are answered at once. An outage is waited out as long as the wait lasts, and is then an
/// error; a result that cannot be decoded to `O` is an error of kind *decode* that carries its bytes. Dropping the
/// future does nothing.
#[must_use = "nothing is asked until it is awaited"]
pub struct Join<O> {
    site: Arc<Site>,
    codec: Codec,
    id: JobId,
    wait: Wait,
    result: PhantomData<fn() -> O>,
}

impl<O: Value> Join<O> {
    pub(super) fn new(site: &Arc<Site>, codec: Codec, id: JobId) -> Self {
        Self { site: Arc::clone(site), codec, id, wait: Wait::DEFAULT, result: PhantomData }
    }

    /// The longest wait: 0..=10 years, default 30 s. With 0 it asks once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Wait::AtMost(wait);
        self
    }

    /// Waits until the job ends.
    pub fn forever(mut self) -> Self {
        self.wait = Wait::Forever;
        self
    }

    async fn run(self) -> Result<Joined<O>> {
        const OPERATION: &str = "join";
        let Self { site, codec, id, wait, .. } = self;
        site.check(OPERATION)?;
        let wait = wait.check().map_err(|error| site.context(OPERATION, error))?;
        let end = match wait {
            Wait::AtMost(wait) => Some(site.tick().plus(wait)),
            Wait::Forever => None,
        };
        let over = runtime::or_never(end.map(|end| site.clock().sleep_until(end)));
        let store = store_of(&site);
        let view = if wait.is_none() {
            ask(&site, &store, id, false).await
        } else {
            let ears = store.ears(&site.address);
            Joining { site: &site, store: &store, id, joint: ears.join(id.0), _ears: ears }.run(over).await
        };
        let view = view.map_err(|error| site.context(OPERATION, error))?;
        let Some(view) = view else { return Ok(Joined::NotFound) };
        joined(&site, codec, view)
    }
}

fn joined<O: Value>(site: &Site, codec: Codec, view: EndView) -> Result<Joined<O>> {
    let EndView { state, result, failure, reason } = view;
    match (state, result, failure.map(JobFailure::from)) {
        (JobState::Submitted | JobState::Running, ..) => Ok(Joined::StillRunning(state)),
        (JobState::Cancelled, ..) => Ok(Joined::Cancelled { reason: reason.map(|reason| reason.as_ref().to_owned()) }),
        (JobState::Completed, Some(raw), _) => match codec::decode(codec, &raw) {
            Ok(result) => Ok(Joined::Completed(result)),
            Err(error) => Err(site.context("join", error.with_raw(raw))),
        },
        (JobState::Failed, _, Some(failure)) => Ok(Joined::Failed(failure)),
        (JobState::TimedOut, _, Some(failure)) => Ok(Joined::TimedOut(failure)),
        (JobState::Completed | JobState::Failed | JobState::TimedOut, ..) => Err(site.misfit("join")),
    }
}

async fn ask(site: &Site, store: &Arc<dyn JobStore>, id: JobId, park: bool) -> Result<Option<EndView>> {
    match store.look(&site.address, Look::Join { id: id.0, park }).await? {
        View::Joined(view) => Ok(view.map(|view| *view)),
        _ => Err(site.misfit("join")),
    }
}

/// One caller that waits for the end of a job.
struct Joining<'a> {
    site: &'a Site,
    store: &'a Arc<dyn JobStore>,
    id: JobId,
    joint: Arc<Joint>,
    /// News of the job arrives as long as somebody holds these.
    _ears: Arc<Ears>,
}

impl Joining<'_> {
    /// Queries the job, sleeps until there is news, and repeats. Returns the job's state at the time that `over`
    /// resolved.
    async fn run(&self, over: impl Future<Output = ()>) -> Result<Option<EndView>> {
        let mut over = pin!(over);
        let lifecycle = self.site.world.lifecycle.clone();
        let mut closing = pin!(lifecycle.closing());
        let mut failures = 0;
        let mut alone = false;
        loop {
            // Subscribes before the query, so that no news is missed after it.
            let news = self.joint.news.notified();
            let mut looking = pin!(ask(self.site, self.store, self.id, true));
            let looked = tokio::select! {
                biased;
                looked = &mut looking => looked,
                // The answer in flight tells an outage from a job that still runs.
                () = &mut over => return looking.await,
            };
            let answer = match looked {
                Ok(Some(view)) if !view.state.is_terminal() => Ok(Some(view)),
                Err(error) if error.may_pass() => Err(error),
                ended => {
                    if alone {
                        // There was no news of the end, so the other callers learn it from here.
                        self.joint.news.notify_waiters();
                    }
                    return ended;
                }
            };
            failures = if answer.is_ok() { 0 } else { failures + 1 };
            tokio::select! {
                biased;
                () = &mut closing => return Err(Error::shut_down()),
                () = news => alone = false,
                // A result from before the sleep does not tell an outage from a job that still runs.
                () = &mut over => {
                    answer?;
                    return ask(self.site, self.store, self.id, false).await;
                }
                () = runtime::sleep(pause_after(failures)), if failures > 0 => {}
                () = self.lost_news(), if failures == 0 => alone = true,
            }
        }
    }

    /// Resolves now and then, for one of the waiting callers. News may have been lost, and the backend must remember
    /// that this process waits.
    ///
    /// All of them sleep until then, so it does not depend on one that nobody polls.
    async fn lost_news(&self) {
        let clock = self.site.clock();
        let next_check = || self.joint.next_check.lock().expect("no code panics while it holds this lock");
        loop {
            let anew = || clock.tick().plus(SECOND.mul_f64(1.0 + 4.0 * fastrand::f64()));
            let at = *next_check().get_or_insert_with(anew);
            clock.sleep_until(at).await;
            if next_check().take_if(|next| *next == at).is_some() {
                return;
            }
        }
    }
}

awaitable! {
    Join<O> => Joined<O>;
}

opaque!(Join);
