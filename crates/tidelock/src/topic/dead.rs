//! Dead letters of a group: events that ended without a commit and are kept for inspection.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::cursor::{Cursor, EventId};
use super::event::published_at;
use super::reader::Reader;
use super::store::{Change, Changes, DeadFilter, DeadReason, DeadView, Look, View};
use crate::codec::{self, Codec, Value, readable};
use crate::cursor::Owner;
use crate::error::{Error, Result};
use crate::handover::{self, dead_filters, letters_limit, requeue_delay};
use crate::meta::Meta;
use crate::page::{Page, PageToken, page_limit};
use crate::request::{awaitable, opaque};
use crate::time::Timestamp;

/// An event that ended in a group without a commit: a full copy, kept until its retention is over. It outlives the
/// event.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(bound = "")]
#[non_exhaustive]
pub struct DeadLetter<T> {
    /// The event.
    pub event_id: EventId,
    /// The position after it.
    pub cursor: Cursor,
    /// Why it is a dead letter.
    pub reason: DeadReason,
    /// The reason that the reader gave.
    pub note: Option<String>,
    /// The last error that a reader reported.
    pub last_error: Option<String>,
    /// How often it was delivered.
    pub attempts: u64,
    /// When it was published.
    pub published_at: Timestamp,
    /// When it became a dead letter.
    pub moved_at: Timestamp,
    /// How long it is kept; `None` means until it is removed.
    pub kept_until: Option<Timestamp>,
    /// The metadata that the publisher attached.
    pub meta: Meta,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// The stored bytes of the value.
    #[serde(serialize_with = "readable")]
    pub raw: Vec<u8>,
    #[serde(skip)]
    codec: Codec,
    #[serde(skip)]
    value: PhantomData<fn() -> T>,
}

impl<T> DeadLetter<T> {
    fn new(owner: Owner, view: DeadView, codec: Codec) -> Self {
        let DeadView { content, .. } = view;
        let text = |text: Arc<str>| text.as_ref().to_owned();
        let cursor = Cursor::new(owner, view.place);
        Self {
            event_id: EventId(cursor),
            cursor,
            reason: view.reason,
            note: view.note.map(text),
            last_error: view.last_error.map(text),
            attempts: view.attempts,
            published_at: published_at(view.place),
            moved_at: Timestamp::from_millis(view.moved_at),
            kept_until: view.kept_until.map(Timestamp::from_millis),
            meta: Meta::new(content.meta),
            ordering_key: content.ordering_key.map(text),
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
            .field("event_id", &self.event_id)
            .field("reason", &self.reason)
            .field("note", &self.note)
            .field("last_error", &self.last_error)
            .field("attempts", &self.attempts)
            .field("moved_at", &self.moved_at)
            .field("bytes", &self.raw.len())
            .finish_non_exhaustive()
    }
}

/// The dead letters of a group.
pub struct DeadLetters<T> {
    reader: Reader<T>,
}

impl<T> Clone for DeadLetters<T> {
    fn clone(&self) -> Self {
        Self { reader: self.reader.clone() }
    }
}

impl<T: Value> DeadLetters<T> {
    pub(crate) fn of(reader: &Reader<T>) -> Self {
        Self { reader: reader.clone() }
    }

    /// Dead letters, newest first, page by page.
    pub fn list(&self) -> ListDead<T> {
        ListDead { reader: self.reader.clone(), filter: DeadFilter::default(), limit: 100, after: None }
    }

    /// One dead letter.
    pub fn get(&self, id: EventId) -> GetDead<T> {
        GetDead { reader: self.reader.clone(), id }
    }

    /// Delivers a dead letter to this group again, from its copy, with attempts from 0.
    pub fn requeue(&self, id: EventId) -> Requeue {
        Requeue { letters: Letters::of(&self.reader), id, delay: Duration::ZERO }
    }

    /// Does the same for all that match the filters and exist when it begins, oldest first.
    pub fn requeue_all(&self) -> RequeueAll {
        let (letters, filter) = (Letters::of(&self.reader), DeadFilter::default());
        RequeueAll { letters, filter, limit: None, delay: Duration::ZERO }
    }

    /// Removes a dead letter for good.
    pub fn remove(&self, id: EventId) -> RemoveDead {
        RemoveDead { letters: Letters::of(&self.reader), id }
    }

    /// Removes all that match the filters and exist when it begins, oldest first.
    pub fn purge(&self) -> PurgeDead {
        PurgeDead { letters: Letters::of(&self.reader), filter: DeadFilter::default(), limit: None }
    }
}

/// The group that a request refers to, independent of its value type.
#[derive(Debug)]
struct Letters {
    topic: Arc<super::site::Site>,
    /// The group's site, for the context of errors.
    site: Arc<handover::Site>,
    group: Arc<str>,
}

impl Letters {
    fn of<T>(reader: &Reader<T>) -> Self {
        let (topic, site) = (Arc::clone(&reader.topic.site), Arc::clone(&reader.receivers.site));
        Self { topic, site, group: Arc::clone(reader.group_name()) }
    }

    fn error(&self, operation: &str, error: Error) -> Error {
        self.site.context(operation, error)
    }

    /// The event's number in its topic; an id of another topic is refused.
    fn number(&self, operation: &str, id: EventId) -> Result<u64> {
        let position = id.cursor().of(self.topic.owner).map_err(|error| self.error(operation, error))?;
        Ok(position.at)
    }

    async fn look(&self, operation: &str, look: Look) -> Result<View> {
        self.site.check(operation)?;
        let Self { topic, .. } = self;
        topic.store.look(&topic.address, look).await.map_err(|error| self.error(operation, error))
    }

    /// Makes a change; returns how many letters it affected.
    async fn change(&self, operation: &str, change: Change) -> Result<u64> {
        self.site.check(operation)?;
        let Self { topic, .. } = self;
        let changes = topic.store.change(&topic.address, change).await;
        match changes.map_err(|error| self.error(operation, error))? {
            Changes::Count(count) => Ok(count),
            Changes::Did(did) => Ok(u64::from(did)),
            Changes::NoGroup => Ok(0),
            Changes::Full => Err(topic.misfit(operation)),
        }
    }
}

/// A listing of dead letters, newest first. Resolves to [`Page<DeadLetter<T>>`]. Dropping the future does nothing.
#[must_use = "nothing is asked until it is awaited"]
pub struct ListDead<T> {
    reader: Reader<T>,
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
        let letters = Letters::of(&self.reader);
        let limit = page_limit("limit", self.limit).map_err(|error| letters.error(OPERATION, error))?;
        let (codec, owner) = (self.reader.topic.options.border.codec, letters.topic.owner);
        let (group, after) = (Arc::clone(&letters.group), self.after.map(|token| token.0));
        match letters.look(OPERATION, Look::ListDead { group, filter: self.filter, limit, after }).await? {
            View::Deads(views, next) => {
                let items = views.into_iter().map(|view| DeadLetter::new(owner, view, codec)).collect();
                Ok(Page { items, next: next.map(PageToken) })
            }
            _ => Err(letters.topic.misfit(OPERATION)),
        }
    }
}

/// One dead letter. Resolves to `Option<DeadLetter<T>>`. Dropping the future does nothing.
#[must_use = "nothing is asked until it is awaited"]
pub struct GetDead<T> {
    reader: Reader<T>,
    id: EventId,
}

impl<T: Value> GetDead<T> {
    async fn run(self) -> Result<Option<DeadLetter<T>>> {
        const OPERATION: &str = "get dead letter";
        let letters = Letters::of(&self.reader);
        let at = letters.number(OPERATION, self.id)?;
        let (codec, owner) = (self.reader.topic.options.border.codec, letters.topic.owner);
        match letters.look(OPERATION, Look::GetDead { group: Arc::clone(&letters.group), at }).await? {
            View::Dead(view) => Ok(view.map(|view| DeadLetter::new(owner, view, codec))),
            _ => Err(letters.topic.misfit(OPERATION)),
        }
    }
}

/// Delivers a dead letter to its group again. Resolves to `false` if it did not exist, or if its event is already open
/// in the group again.
///
/// It is delivered from the copy, by its position and regardless of retention; attempts start from 0. Dropping the
/// future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is requeued until it is awaited"]
pub struct Requeue {
    letters: Letters,
    id: EventId,
    delay: Duration,
}

impl Requeue {
    /// Delays it from now: 0..=10 years, default 0.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    async fn run(self) -> Result<bool> {
        let Self { letters, id, delay } = self;
        let at = letters.number("requeue", id)?;
        let delay = requeue_delay(delay).map_err(|error| letters.error("requeue", error))?;
        let change = Change::Requeue { group: Arc::clone(&letters.group), at, delay };
        Ok(letters.change("requeue", change).await? > 0)
    }
}

/// Delivers many dead letters to their group again, oldest first. Resolves to their number.
///
/// Each dead letter moves in a step of its own. Dropping the future ends it after the current step.
#[derive(Debug)]
#[must_use = "nothing is requeued until it is awaited"]
pub struct RequeueAll {
    letters: Letters,
    filter: DeadFilter,
    limit: Option<u64>,
    delay: Duration,
}

impl RequeueAll {
    dead_filters!();

    /// The maximum number. Default: all.
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Delays it from now: 0..=10 years, default 0.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    async fn run(self) -> Result<u64> {
        let Self { letters, filter, limit, delay } = self;
        let checked = requeue_delay(delay).and_then(|delay| Ok((delay, letters_limit(limit)?)));
        let (delay, limit) = checked.map_err(|error| letters.error("requeue_all", error))?;
        let change = Change::RequeueAll { group: Arc::clone(&letters.group), filter, limit, delay };
        letters.change("requeue_all", change).await
    }
}

/// Removes a dead letter for good. Resolves to whether it existed. Dropping the future withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct RemoveDead {
    letters: Letters,
    id: EventId,
}

impl RemoveDead {
    async fn run(self) -> Result<bool> {
        const OPERATION: &str = "remove dead letter";
        let at = self.letters.number(OPERATION, self.id)?;
        let change = Change::RemoveDead { group: Arc::clone(&self.letters.group), at };
        Ok(self.letters.change(OPERATION, change).await? > 0)
    }
}

/// Removes many dead letters for good, oldest first. Resolves to their number. Dropping the future ends it after the
/// current step.
#[derive(Debug)]
#[must_use = "nothing is removed until it is awaited"]
pub struct PurgeDead {
    letters: Letters,
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
        const OPERATION: &str = "purge dead letters";
        let Self { letters, filter, limit } = self;
        let limit = letters_limit(limit).map_err(|error| letters.error(OPERATION, error))?;
        letters.change(OPERATION, Change::PurgeDead { group: Arc::clone(&letters.group), filter, limit }).await
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
