//! Inspecting a topic: statistics, latest position, pages of events.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Topic;
use super::cursor::Cursor;
use super::event::{Event, Gap, Item};
use super::site::Site;
use super::store::{Change, Changes, Look, StatsView, View};
use crate::codec::Value;
use crate::error::Result;
use crate::page::{Page, PageToken, page_limit};
use crate::request::{awaitable, opaque};
use crate::time::{Timestamp, optional_millis};

/// Statistics of a topic at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TopicStats {
    /// Events that can be read.
    pub events: u64,
    /// The position after the first of them.
    pub first: Option<Cursor>,
    /// The position after the newest event ever published, retained or not.
    pub latest: Cursor,
    /// When the first of them was published.
    pub oldest_at: Option<Timestamp>,
    /// Events published since the log began.
    pub published_total: u64,
    /// Groups that exist.
    pub groups: u64,
    /// How long an event can be read; `None` means without end, or that nothing was published yet. Serialized in
    /// milliseconds.
    #[serde(serialize_with = "optional_millis")]
    pub retention: Option<Duration>,
    /// How many of the newest events can be read; `None` means all, or that nothing was published yet.
    pub max_len: Option<u64>,
}

impl TopicStats {
    fn new(site: &Site, view: &StatsView) -> Self {
        let settings = view.settings;
        Self {
            events: view.events,
            first: view.first.map(|first| site.cursor(first)),
            latest: site.cursor(view.latest),
            oldest_at: view.oldest_at.map(Timestamp::from_millis),
            published_total: view.published_total,
            groups: view.groups,
            retention: settings.and_then(|settings| settings.retention).map(Duration::from_millis),
            max_len: settings.and_then(|settings| settings.max_len),
        }
    }
}

/// Statistics of the topic at one instant. Resolves to [`TopicStats`]. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Stats(pub(super) Arc<Site>);

impl Stats {
    async fn run(self) -> Result<TopicStats> {
        match self.0.look("stats", Look::Stats).await? {
            View::Stats(view) => Ok(TopicStats::new(&self.0, &view)),
            _ => Err(self.0.misfit("stats")),
        }
    }
}

/// The position after the newest event ever published, retained or not. Resolves to a [`Cursor`].
///
/// On a topic that was never written to, it is before the first event. To pair a snapshot of your own data with the
/// log: take this cursor, read the data, and follow after the cursor. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct LatestCursor(pub(super) Arc<Site>);

impl LatestCursor {
    async fn run(self) -> Result<Cursor> {
        match self.0.look("latest_cursor", Look::Latest).await? {
            View::Place(position) => Ok(self.0.cursor(position)),
            _ => Err(self.0.misfit("latest_cursor")),
        }
    }
}

/// Reads the retained events, page by page; does not wait. Resolves to [`Page<Item<Event<T>>>`](Page).
///
/// When reading oldest first, a gap after the starting position is the first item. Dropping the future does nothing.
#[must_use = "nothing is read until it is awaited"]
pub struct ReadPage<T> {
    topic: Topic<T>,
    after: Option<PageToken>,
    newest_first: bool,
    limit: usize,
}

impl<T: Value> ReadPage<T> {
    pub(crate) fn new(topic: &Topic<T>) -> Self {
        Self { topic: topic.clone(), after: None, newest_first: false, limit: 100 }
    }

    /// Begins beyond this position in the direction of reading: a [`Cursor`], or the `next` of an earlier page.
    /// Default: at the first retained event, or with [`newest_first`](Self::newest_first) at the last one.
    pub fn after(mut self, place: impl Into<PageToken>) -> Self {
        self.after = Some(place.into());
        self
    }

    /// Reads backwards.
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// Events of a page: 1..=1,000, default 100. Fewer where they are large.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    async fn run(self) -> Result<Page<Item<Event<T>>>> {
        let Self { topic, after, newest_first, limit } = self;
        let site = &topic.site;
        let place = |token: PageToken| token.0.parse::<Cursor>().and_then(|cursor| cursor.of(site.owner));
        let checked = page_limit("limit", limit).and_then(|limit| Ok((limit, after.map(place).transpose()?)));
        let (limit, after) = checked.map_err(|error| site.context("read", error))?;
        let look = if newest_first { Look::PageBack { before: after, limit } } else { Look::Page { after, limit } };
        let View::Span(span) = site.look("read", look).await? else { return Err(site.misfit("read")) };
        let last = span.events.last().filter(|_| span.more);
        let next = last.map(|last| PageToken(site.cursor(last.place).to_string()));
        let gap = span.gap.map(|gap| Item::Gap(Gap::new(site.owner, gap)));
        let items = gap.into_iter().chain(span.events.iter().map(|event| topic.open(event))).collect();
        Ok(Page { items, next })
    }
}

impl From<&Cursor> for PageToken {
    /// The page of a topic that starts after the cursor.
    fn from(cursor: &Cursor) -> Self {
        Self(cursor.to_string())
    }
}

impl From<Cursor> for PageToken {
    /// The page of a topic that starts after the cursor.
    fn from(cursor: Cursor) -> Self {
        Self(cursor.to_string())
    }
}

impl From<&Self> for PageToken {
    fn from(token: &Self) -> Self {
        token.clone()
    }
}

/// Deletes log, groups, dead letters and deduplication keys. Resolves to whether anything existed.
///
/// Readers and followers keep waiting, and continue, after a gap, with what is published next. Dropping the future
/// withdraws it unless it was sent.
#[derive(Debug)]
#[must_use = "nothing is deleted until it is awaited"]
pub struct Delete(pub(super) Arc<Site>);

impl Delete {
    async fn run(self) -> Result<bool> {
        match self.0.change("delete", Change::Delete).await? {
            Changes::Did(existed) => Ok(existed),
            _ => Err(self.0.misfit("delete")),
        }
    }
}

awaitable! {
    Stats => TopicStats;
    LatestCursor => Cursor;
    ReadPage<T> => Page<Item<Event<T>>>;
    Delete => bool;
}

opaque!(ReadPage);
