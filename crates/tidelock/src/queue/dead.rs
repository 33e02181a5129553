//! Dead letters: messages that ended without an ack, kept readable.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Queue;
use super::message::MessageId;
use super::request::{change, counted, look};
use super::store::{Change, DeadFilter, DeadReason, DeadView, Look, Requeue as RequeueTerms, View};
use crate::codec::{self, Codec, Value, readable};
use crate::error::Result;
use crate::handover::{Site, dead_filters, letters_limit, requeue_delay};
use crate::meta::Meta;
use crate::page::{Page, PageToken, page_limit};
use crate::request::{awaitable, opaque};
use crate::time::Timestamp;

/// A message that ended without an ack: a full copy, kept until its retention is over.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(bound = "")]
#[non_exhaustive]
pub struct DeadLetter<T> {
    /// The message's id, which it keeps when it is requeued.
    pub id: MessageId,
    /// Why it is a dead letter.
    pub reason: DeadReason,
    /// The reason that the consumer gave.
    pub note: Option<String>,
    /// The last error that a consumer reported.
    pub last_error: Option<String>,
    /// How often it was delivered.
    pub attempts: u64,
    /// When it was sent.
    pub enqueued_at: Timestamp,
    /// When it became a dead letter.
    pub moved_at: Timestamp,
    /// How long it is kept; `None` means until it is removed.
    pub kept_until: Option<Timestamp>,
    /// The metadata that the sender attached.
    pub meta: Meta,
    /// The ordering key of the message.
    pub ordering_key: Option<String>,
    /// 0..=9, higher first.
    pub priority: u8,
    /// The stored bytes of the value.
    #[serde(serialize_with = "readable")]
    pub raw: Vec<u8>,
    #[serde(skip)]
    codec: Codec,
    #[serde(skip)]
    value: PhantomData<fn() -> T>,
}

impl<T> DeadLetter<T> {
    fn new(view: DeadView, codec: Codec) -> Self {
        let DeadView { content, .. } = view;
        let text = |text: Arc<str>| text.as_ref().to_owned();
        Self {
            id: MessageId(view.id),
            reason: view.reason,
            note: view.note.map(text),
            last_error: view.last_error.map(text),
            attempts: view.attempts,
            enqueued_at: Timestamp::from_millis(view.enqueued_at),
            moved_at: Timestamp::from_millis(view.moved_at),
            kept_until: view.kept_until.map(Timestamp::from_millis),
            meta: Meta::new(content.meta),
            ordering_key: content.ordering_key.map(text),
            priority: view.priority,
            raw: content.payload,
            codec,
            value: PhantomData,
        }
    }

    /// Decodes the value, with the codec of the handle that read it. An error of kind *decode* leaves
    /// [`raw`](Self::raw) as it is.
    pub fn decode(&self) -> Result<T>
    where
        T: Value,
    {
        codec::decode(self.codec, &self.raw)
    }
}

impl<T> fmt::Debug for DeadLetter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("id", &self.id)
            .field("reason", &self.reason)
            .field("note", &self.note)
            .field("last_error", &self.last_error)
            .field("attempts", &self.attempts)
            .field("moved_at", &self.moved_at)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// The dead letters of a queue.
pub struct DeadLetters<T> {
    queue: Queue<T>,
}

impl<T> Clone for DeadLetters<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<T: Value> DeadLetters<T> {
    pub(crate) fn of(queue: &Queue<T>) -> Self {
        Self { queue: queue.clone() }
    }

    /// Lists dead letters, newest first, page by page.
    pub fn list(&self) -> ListDead<T> {
        ListDead { queue: self.queue.clone(), filter: DeadFilter::default(), limit: 100, after: None }
    }

    /// One dead letter.
    pub fn get(&self, id: MessageId) -> GetDead<T> {
        GetDead { queue: self.queue.clone(), id }
    }

    /// Turns a dead letter back into a message: same id, bytes and attributes, attempts from 0, due now.
    pub fn requeue(&self, id: MessageId) -> Requeue {
        Requeue { site: Arc::clone(self.queue.site()), id, delay: Duration::ZERO, terms: self.terms() }
    }

    /// Does the same for all dead letters that match the filters and exist when it begins, oldest first.
    pub fn requeue_all(&self) -> RequeueAll {
        let (site, filter) = (Arc::clone(self.queue.site()), DeadFilter::default());
        RequeueAll { site, filter, limit: None, delay: Duration::ZERO, terms: self.terms() }
    }

    /// Removes a dead letter for good.
    pub fn remove(&self, id: MessageId) -> RemoveDead {
        RemoveDead { site: Arc::clone(self.queue.site()), id }
    }

    /// Removes all dead letters that match the filters and exist when it begins, oldest first.
    pub fn purge(&self) -> PurgeDead {
        PurgeDead { site: Arc::clone(self.queue.site()), filter: DeadFilter::default(), limit: None }
    }

    /// The settings that this handle gives to a requeued message. The request adds the delay.
    fn terms(&self) -> RequeueTerms {
        let options = &self.queue.options;
        RequeueTerms { delay: 0, max_age: options.max_age, retention: options.retention, max_depth: options.max_depth }
    }
}

/// A listing of dead letters, newest first. Resolves to [`Page<DeadLetter<T>>`]. Dropping the future does nothing.
#[must_use = "nothing is asked until it is awaited"]
pub struct ListDead<T> {
    queue: Queue<T>,
    filter: DeadFilter,
    limit: usize,
    after: Option<PageToken>,
}

impl<T: Value> ListDead<T> {
    dead_filters!();

    /// Items of a page: 1..=1,000, default 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Continues after an earlier page: pass its `next`.
    pub fn after(mut self, page: &PageToken) -> Self {
        self.after = Some(page.clone());
        self
    }

    async fn run(self) -> Result<Page<DeadLetter<T>>> {
        const OPERATION: &str = "list dead letters";
        let site = Arc::clone(self.queue.site());
        let limit = page_limit("limit", self.limit).map_err(|error| site.context(OPERATION, error))?;
        let codec = self.queue.options.border.codec;
        let asked = Look::ListDead { filter: self.filter, limit, after: self.after.map(|token| token.0) };
        match look(&site, OPERATION, asked).await? {
            View::Deads(views, next) => {
                let items = views.into_iter().map(|view| DeadLetter::new(view, codec)).collect();
                Ok(Page { items, next: next.map(PageToken) })
            }
            _ => Err(site.misfit(OPERATION)),
        }
    }
}

/// Reads one dead letter. Resolves to `Option<DeadLetter<T>>`. Dropping the future does nothing.
#[must_use = "nothing is asked until it is awaited"]
pub struct GetDead<T> {
    queue: Queue<T>,
    id: MessageId,
}

impl<T: Value> GetDead<T> {
    async fn run(self) -> Result<Option<DeadLetter<T>>> {
        const OPERATION: &str = "get dead letter";
        let site = Arc::clone(self.queue.site());
        match look(&site, OPERATION, Look::GetDead { id: self.id.0 }).await? {
            View::Dead(view) => Ok(view.map(|view| DeadLetter::new(view, self.queue.options.border.codec))),
            _ => Err(site.misfit(OPERATION)),
        }
    }
}

/// Turns a dead letter back into a message. Resolves to whether it existed.
///
/// It keeps id, bytes, metadata, key and priority; its attempts start from 0, and it gets the `max_age` of the handle
/// that requeues. At `max_depth` it is refused (*capacity reached*), and the dead letter stays. Dropping the future
/// withdraws the request unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is requeued until it is awaited"]
pub struct Requeue {
    site: Arc<Site>,
    id: MessageId,
    delay: Duration,
    terms: RequeueTerms,
}

impl Requeue {
    /// Delays it from now: 0..=10 years, default 0.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    async fn run(self) -> Result<bool> {
        let Self { site, id, delay, terms } = self;
        let delay = requeue_delay(delay).map_err(|error| site.context("requeue", error))?;
        let requeue = RequeueTerms { delay, ..terms };
        let changes = change(&site, "requeue", Change::Requeue { id: id.0, requeue }).await?;
        Ok(counted(&site, "requeue", changes)? > 0)
    }
}

/// Turns many dead letters back into messages, oldest first. Resolves to their number; at `max_depth` it ends early.
///
/// Each dead letter moves in a step of its own. Dropping the future ends it after the current step.
#[derive(Debug)]
#[must_use = "nothing is requeued until it is awaited"]
pub struct RequeueAll {
    site: Arc<Site>,
    filter: DeadFilter,
    limit: Option<u64>,
    delay: Duration,
    terms: RequeueTerms,
}

impl RequeueAll {
    dead_filters!();

    /// The maximum number. Default: all.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Delays them from now: 0..=10 years, default 0.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    async fn run(self) -> Result<u64> {
        let Self { site, filter, limit, delay, terms } = self;
        let checked = requeue_delay(delay).and_then(|delay| Ok((delay, letters_limit(limit)?)));
        let (delay, limit) = checked.map_err(|error| site.context("requeue_all", error))?;
        let requeue = RequeueTerms { delay, ..terms };
        let changes = change(&site, "requeue_all", Change::RequeueAll { filter, limit, requeue }).await?;
        counted(&site, "requeue_all", changes)
    }
}

/// Removes a dead letter. Resolves to whether it existed. Dropping the future withdraws the request unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct RemoveDead {
    site: Arc<Site>,
    id: MessageId,
}

impl RemoveDead {
    async fn run(self) -> Result<bool> {
        let changes = change(&self.site, "remove dead letter", Change::RemoveDead { id: self.id.0 }).await?;
        Ok(counted(&self.site, "remove dead letter", changes)? > 0)
    }
}

/// Removes many dead letters, oldest first. Resolves to their number. Dropping the future ends it after the current
/// step.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct PurgeDead {
    site: Arc<Site>,
    filter: DeadFilter,
    limit: Option<u64>,
}

impl PurgeDead {
    dead_filters!();

    /// The maximum number. Default: all.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    async fn run(self) -> Result<u64> {
        let Self { site, filter, limit } = self;
        let limit = letters_limit(limit).map_err(|error| site.context("purge dead letters", error))?;
        let changes = change(&site, "purge dead letters", Change::PurgeDead { filter, limit }).await?;
        counted(&site, "purge dead letters", changes)
    }
}

awaitable! {
    ListDead<T> => Page<DeadLetter<T>>;
    GetDead<T> => Option<DeadLetter<T>>;
    Requeue => bool;
    RequeueAll => u64;
    RemoveDead => bool;
    PurgeDead => u64;
}

opaque!(DeadLetters, ListDead, GetDead);
