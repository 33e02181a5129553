//! Changing the queue as a whole, or a message that nobody holds.
//!
//! Dropping one of these futures withdraws the request if it was not sent; once sent it may take effect.

use std::sync::Arc;
use std::time::Duration;

use super::send::full;
use crate::changed::Changed;
use crate::error::Result;
use crate::handover::{MAX_REASON, Site, cut_or_none};
use crate::limits;
use crate::pause::pause_time;
use crate::queue::message::MessageId;
use crate::queue::store::{Change, Changes, Removed};
use crate::queue::store_of;
use crate::request::awaitable;

/// Applies a change. A full queue is an error.
pub(crate) async fn change(site: &Site, operation: &str, change: Change) -> Result<Changes> {
    site.check(operation)?;
    let changes = store_of(site).change(&site.address, change).await;
    match changes.map_err(|error| site.context(operation, error))? {
        Changes::Full { depth, limit } => Err(site.context(operation, full(depth, limit))),
        changes => Ok(changes),
    }
}

/// How many messages a change affected.
pub(crate) fn counted(site: &Site, operation: &str, changes: Changes) -> Result<u64> {
    match changes {
        Changes::Count(count) => Ok(count),
        Changes::Removed(removed) => Ok(u64::from(removed == Removed::Removed)),
        Changes::Did(did) => Ok(u64::from(did)),
        Changes::Full { .. } => Err(site.misfit(operation)),
    }
}

/// Makes a change that may have nothing to do. All such requests share this future, so that a page has its code once.
async fn alter(site: Arc<Site>, operation: &'static str, wanted: Result<Change>) -> Result<Changed> {
    let wanted = wanted.map_err(|error| site.context(operation, error))?;
    match change(&site, operation, wanted).await? {
        Changes::Did(true) => Ok(Changed::Yes),
        Changes::Did(false) => Ok(Changed::No),
        _ => Err(site.misfit(operation)),
    }
}

/// Pauses delivery in all processes. Resolves to [`Changed`].
///
/// Sends, settles, due times, lease ends and expiry continue; receivers keep waiting. A second pause replaces the end
/// and the reason of the first. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is paused until it is awaited"]
pub struct Pause {
    site: Arc<Site>,
    for_at_most: Option<Duration>,
    reason: Option<Arc<str>>,
}

impl Pause {
    pub(crate) fn new(site: &Arc<Site>) -> Self {
        Self { site: Arc::clone(site), for_at_most: None, reason: None }
    }

    /// Ends the pause automatically after this time: 1 ms..=10 years. Default: it lasts until resumed.
    pub fn for_at_most(mut self, time: Duration) -> Self {
        self.for_at_most = Some(time);
        self
    }

    /// Shown by `stats`; cut at 1,024 bytes. An empty one is none.
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
pub struct Resume(pub(crate) Arc<Site>);

impl Resume {
    fn run(self) -> impl Future<Output = Result<Changed>> {
        alter(self.0, "resume", Ok(Change::Resume))
    }
}

/// Limits the rate of deliveries, of all processes together. Resolves to [`Changed`].
///
/// At most `limit` (1 or more) messages are handed out in each window of `per` (1 ms..=10 years). A window begins with
/// the first message that is handed out while none is under way. So up to twice the limit can be handed out within
/// `per`, at the end of one window and the beginning of the next; 10 in 100 ms spreads them better than 100 in 1 s. Every
/// delivery counts, also a repeated one, and one that is given back later. While a window is used up, receivers wait as
/// in an empty queue, and nothing is held by them.
///
/// The limit lasts until it is replaced or removed, or the queue is deleted. What was handed out in the window under way
/// counts towards the new one. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is limited until it is awaited"]
pub struct SetRateLimit {
    site: Arc<Site>,
    limit: u64,
    per: Duration,
}

impl SetRateLimit {
    pub(crate) fn new(site: &Arc<Site>, limit: u64, per: Duration) -> Self {
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
pub struct RemoveRateLimit(pub(crate) Arc<Site>);

impl RemoveRateLimit {
    fn run(self) -> impl Future<Output = Result<Changed>> {
        alter(self.0, "remove_rate_limit", Ok(Change::LimitRate(None)))
    }
}

/// Limits how many messages are held at once, by all processes together. Resolves to [`Changed`].
///
/// While `limit` (1 or more) are leased, nothing is handed out, and receivers wait as in an empty queue. Every leased
/// message counts, also one that a worker has prefetched and not begun: where few may be held, set
/// [`prefetch`](crate::queue::Worker::prefetch) to 0. One whose consumer has died counts until its lease ends. Messages that
/// are held when the limit is set stay held.
///
/// The limit lasts until it is replaced or removed, or the queue is deleted. Dropping the future
/// withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is limited until it is awaited"]
pub struct SetConcurrencyLimit {
    site: Arc<Site>,
    limit: u64,
}

impl SetConcurrencyLimit {
    pub(crate) fn new(site: &Arc<Site>, limit: u64) -> Self {
        Self { site: Arc::clone(site), limit }
    }

    fn run(self) -> impl Future<Output = Result<Changed>> {
        let limit = limits::held(self.limit).map(|held| Change::LimitHeld(Some(held)));
        alter(self.site, "set_concurrency_limit", limit)
    }
}

/// Removes the limit of how many are held at once. Resolves to [`Changed`]. Dropping the future withdraws it unless it
/// was sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct RemoveConcurrencyLimit(pub(crate) Arc<Site>);

impl RemoveConcurrencyLimit {
    fn run(self) -> impl Future<Output = Result<Changed>> {
        alter(self.0, "remove_concurrency_limit", Ok(Change::LimitHeld(None)))
    }
}

/// Removes one ready or delayed message. Resolves to [`Removed`]. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct Remove {
    site: Arc<Site>,
    id: MessageId,
}

impl Remove {
    pub(crate) fn new(site: &Arc<Site>, id: MessageId) -> Self {
        Self { site: Arc::clone(site), id }
    }

    async fn run(self) -> Result<Removed> {
        match change(&self.site, "remove", Change::Remove { id: self.id.0 }).await? {
            Changes::Removed(removed) => Ok(removed),
            _ => Err(self.site.misfit("remove")),
        }
    }
}

/// Removes all ready and delayed messages that exist when it begins. Resolves to their number.
///
/// It proceeds in bounded steps. Dropping the future ends it after the current step.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct Purge(pub(crate) Arc<Site>);

impl Purge {
    async fn run(self) -> Result<u64> {
        let changes = change(&self.0, "purge", Change::Purge).await?;
        counted(&self.0, "purge", changes)
    }
}

/// Deletes the queue and everything in it: messages, leases, dead letters, deduplication keys, pause, limits. Resolves to
/// whether anything existed.
///
/// Ids and fences continue from where they were, so no old receipt matches a new message. Dropping the future withdraws
/// the request unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is deleted until it is awaited"]
pub struct Delete(pub(crate) Arc<Site>);

impl Delete {
    async fn run(self) -> Result<bool> {
        match change(&self.0, "delete", Change::Delete).await? {
            Changes::Did(existed) => Ok(existed),
            _ => Err(self.0.misfit("delete")),
        }
    }
}

awaitable! {
    Pause => Changed;
    Resume => Changed;
    SetRateLimit => Changed;
    RemoveRateLimit => Changed;
    SetConcurrencyLimit => Changed;
    RemoveConcurrencyLimit => Changed;
    Remove => Removed;
    Purge => u64;
    Delete => bool;
}
