//! Changing one job from outside its run, or the object as a whole.
//!
//! Dropping one of these futures withdraws the request if it was not sent; once sent it may take effect.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::JobId;
use super::site::change;
use super::store::{Change, Changes, JobState};
use crate::changed::Changed;
use crate::error::Result;
use crate::handover::{MAX_REASON, Site, cut_or_none};
use crate::limits;
use crate::pause::pause_time;
use crate::queue::Removed;
use crate::request::awaitable;
use crate::word::words;

/// The outcome of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CancelOutcome {
    /// It is cancelled now. A run under way is told to stop, and whatever it returns is ignored.
    Cancelled,
    /// It had ended before, in this state; nothing changed.
    AlreadyFinished(JobState),
    /// There is no such job.
    NotFound,
}

/// The outcome of a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RetryOutcome {
    /// It is waiting for its next run, due now.
    Submitted,
    /// Only a failed, timed out or cancelled job can be retried, but it is in this state; nothing changed.
    NotRetryable(JobState),
    /// Its deduplication key now belongs to this other job; nothing changed.
    KeyTaken(JobId),
    /// There is no such job.
    NotFound,
}

words!(CancelOutcome: Self::Cancelled => "cancelled", Self::AlreadyFinished(_) => "already_finished",
    Self::NotFound => "not_found");
words!(RetryOutcome: Self::Submitted => "submitted", Self::NotRetryable(_) => "not_retryable",
    Self::KeyTaken(_) => "key_taken", Self::NotFound => "not_found");

/// Cancels a job for good, whether it is waiting or running. Resolves to [`CancelOutcome`].
///
/// A running handler is notified by its stop token. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is cancelled until it is awaited"]
pub struct Cancel {
    site: Arc<Site>,
    id: JobId,
    reason: Option<Arc<str>>,
}

impl Cancel {
    pub(super) fn new(site: &Arc<Site>, id: JobId) -> Self {
        Self { site: Arc::clone(site), id, reason: None }
    }

    /// Shown to whoever joins or inspects the job; cut at 1,024 bytes. The reason of the cancel that ended the job is
    /// kept.
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = cut_or_none(reason, MAX_REASON);
        self
    }

    async fn run(self) -> Result<CancelOutcome> {
        let Self { site, id: JobId(id), reason } = self;
        match change(&site, "cancel", Change::Cancel { id, reason }).await? {
            Changes::Done => Ok(CancelOutcome::Cancelled),
            Changes::Refused(state) => Ok(CancelOutcome::AlreadyFinished(state)),
            Changes::Absent => Ok(CancelOutcome::NotFound),
            _ => Err(site.misfit("cancel")),
        }
    }
}

/// Runs a failed, timed out or cancelled job again, due now. Resolves to [`RetryOutcome`].
///
/// Attempts, failures and crashes start from 0; the values of its steps are kept. Fails with *capacity reached* at
/// `max_depth`. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is retried until it is awaited"]
pub struct Retry {
    site: Arc<Site>,
    id: JobId,
    max_depth: Option<u64>,
}

impl Retry {
    pub(super) fn new(site: &Arc<Site>, id: JobId, max_depth: Option<u64>) -> Self {
        Self { site: Arc::clone(site), id, max_depth }
    }

    async fn run(self) -> Result<RetryOutcome> {
        let Self { site, id: JobId(id), max_depth } = self;
        match change(&site, "retry", Change::Retry { id, max_depth }).await? {
            Changes::Done => Ok(RetryOutcome::Submitted),
            Changes::Refused(state) => Ok(RetryOutcome::NotRetryable(state)),
            Changes::KeyTaken(other) => Ok(RetryOutcome::KeyTaken(JobId(other))),
            Changes::Absent => Ok(RetryOutcome::NotFound),
            _ => Err(site.misfit("retry")),
        }
    }
}

/// Removes a job that is not running: its record, deduplication key, events and step values. Resolves to [`Removed`];
/// `Held` means that it is running. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct Remove {
    site: Arc<Site>,
    id: JobId,
}

impl Remove {
    pub(super) fn new(site: &Arc<Site>, id: JobId) -> Self {
        Self { site: Arc::clone(site), id }
    }

    async fn run(self) -> Result<Removed> {
        let Self { site, id: JobId(id) } = self;
        match change(&site, "remove", Change::Remove { id }).await? {
            Changes::Done => Ok(Removed::Removed),
            Changes::Refused(_) => Ok(Removed::Held),
            Changes::Absent => Ok(Removed::Absent),
            _ => Err(site.misfit("remove")),
        }
    }
}

/// Makes a change that may have nothing to do. All such requests share this future, so that a page has its code once.
async fn alter(site: Arc<Site>, operation: &'static str, wanted: Result<Change>) -> Result<Changed> {
    let wanted = wanted.map_err(|error| site.context(operation, error))?;
    match change(&site, operation, wanted).await? {
        Changes::Done => Ok(Changed::Yes),
        Changes::Nothing => Ok(Changed::No),
        Changes::Absent => Ok(Changed::Absent),
        _ => Err(site.misfit(operation)),
    }
}

/// Pauses the start of runs in all processes. Resolves to [`Changed`].
///
/// Runs under way continue, submits are accepted, due times and `max_wait` keep counting. A second pause replaces the
/// end and the reason of the first. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is paused until it is awaited"]
pub struct Pause {
    site: Arc<Site>,
    for_at_most: Option<Duration>,
    reason: Option<Arc<str>>,
}

impl Pause {
    pub(super) fn new(site: &Arc<Site>) -> Self {
        Self { site: Arc::clone(site), for_at_most: None, reason: None }
    }

    /// Ends the pause automatically after this time: 1 ms..=10 years. Default: it lasts until resumed.
    pub fn for_at_most(mut self, time: Duration) -> Self {
        self.for_at_most = Some(time);
        self
    }

    /// Shown by `stats`; cut at 1,024 bytes.
    pub fn reason(mut self, reason: &str) -> Self {
        self.reason = cut_or_none(reason, MAX_REASON);
        self
    }

    fn run(self) -> impl Future<Output = Result<Changed>> {
        let Self { site, for_at_most, reason } = self;
        let pause = pause_time(for_at_most).map(|for_at_most| Change::Pause { for_at_most, reason });
        alter(site, "pause", pause)
    }
}

/// Ends a pause. Resolves to [`Changed`]. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is resumed until it is awaited"]
pub struct Resume(pub(super) Arc<Site>);

impl Resume {
    fn run(self) -> impl Future<Output = Result<Changed>> {
        alter(self.0, "resume", Ok(Change::Resume))
    }
}

/// Limits the rate at which runs start, in all processes together. Resolves to [`Changed`].
///
/// At most `limit` (1 or more) runs start in each window of `per` (1 ms..=10 years). A window begins with the first run
/// that starts while none is under way. So up to twice the limit can start within `per`, at the end of one window and
/// the beginning of the next; 10 in 100 ms spreads them better than 100 in 1 s. Every run counts when a worker claims it,
/// also a retry, and one that is given back later. While a window is used up, jobs stay ready, and no slot of a worker is
/// occupied.
///
/// The limit lasts until it is replaced or removed, or all jobs of this name are deleted. What has started in the window
/// under way counts towards the new one. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is limited until it is awaited"]
pub struct SetRateLimit {
    site: Arc<Site>,
    limit: u64,
    per: Duration,
}

impl SetRateLimit {
    pub(super) fn new(site: &Arc<Site>, limit: u64, per: Duration) -> Self {
        Self { site: Arc::clone(site), limit, per }
    }

    fn run(self) -> impl Future<Output = Result<Changed>> {
        let limit = limits::rate(self.limit, self.per).map(|rate| Change::LimitRate(Some(rate)));
        alter(self.site, "set_rate_limit", limit)
    }
}

/// Removes the limit of the rate. Resolves to [`Changed`]. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct RemoveRateLimit(pub(super) Arc<Site>);

impl RemoveRateLimit {
    fn run(self) -> impl Future<Output = Result<Changed>> {
        alter(self.0, "remove_rate_limit", Ok(Change::LimitRate(None)))
    }
}

/// Limits how many jobs run at once, in all processes together. Resolves to [`Changed`].
///
/// While `limit` (1 or more) are running, none is started, and jobs stay ready. A job that a worker has prefetched counts
/// as running. One whose worker has died counts until its lease ends. Jobs that run when the limit is set go on.
///
/// The limit lasts until it is replaced or removed, or all jobs of this name are deleted. Dropping the future
/// withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is limited until it is awaited"]
pub struct SetConcurrencyLimit {
    site: Arc<Site>,
    limit: u64,
}

impl SetConcurrencyLimit {
    pub(super) fn new(site: &Arc<Site>, limit: u64) -> Self {
        Self { site: Arc::clone(site), limit }
    }

    fn run(self) -> impl Future<Output = Result<Changed>> {
        let limit = limits::held(self.limit).map(|held| Change::LimitHeld(Some(held)));
        alter(self.site, "set_concurrency_limit", limit)
    }
}

/// Removes the limit of how many jobs run at once. Resolves to [`Changed`]. Dropping the future withdraws it unless it
/// was sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct RemoveConcurrencyLimit(pub(super) Arc<Site>);

impl RemoveConcurrencyLimit {
    fn run(self) -> impl Future<Output = Result<Changed>> {
        alter(self.0, "remove_concurrency_limit", Ok(Change::LimitHeld(None)))
    }
}

/// Deletes all jobs of this name with everything about them. Running ones are included: their results are ignored.
/// Resolves to whether anything existed.
///
/// Ids and fences continue from where they were, so no old one matches a new job. Dropping the future withdraws it
/// unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is deleted until it is awaited"]
pub struct Delete(pub(super) Arc<Site>);

impl Delete {
    async fn run(self) -> Result<bool> {
        match change(&self.0, "delete", Change::Delete).await? {
            Changes::Done => Ok(true),
            Changes::Nothing | Changes::Absent => Ok(false),
            _ => Err(self.0.misfit("delete")),
        }
    }
}

awaitable! {
    Cancel => CancelOutcome;
    Retry => RetryOutcome;
    Remove => Removed;
    Pause => Changed;
    Resume => Changed;
    SetRateLimit => Changed;
    RemoveRateLimit => Changed;
    SetConcurrencyLimit => Changed;
    RemoveConcurrencyLimit => Changed;
    Delete => bool;
}
