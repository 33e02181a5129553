//! Queries: they change no outcome.

use std::sync::Arc;

use crate::error::Result;
use crate::handover::Site;
use crate::page::{Page, PageToken, page_limit};
use crate::queue::Queue;
use crate::queue::inspect::{MessageInfo, QueueStats};
use crate::queue::message::MessageId;
use crate::queue::store::{Look, State, View};
use crate::queue::store_of;
use crate::request::awaitable;
use crate::{Codec, Value};

pub(crate) async fn look(site: &Site, operation: &str, look: Look) -> Result<View> {
    site.check(operation)?;
    store_of(site).look(&site.address, look).await.map_err(|error| site.context(operation, error))
}

/// Where a query goes, and how it decodes what it finds.
#[derive(Debug)]
struct Eye {
    site: Arc<Site>,
    codec: Codec,
}

impl Eye {
    fn of<T: Value>(queue: &Queue<T>) -> Self {
        Self { site: Arc::clone(queue.site()), codec: queue.options.border.codec }
    }

    async fn messages(&self, operation: &str, asked: Look) -> Result<(Vec<MessageInfo>, Option<PageToken>)> {
        match look(&self.site, operation, asked).await? {
            View::Messages(messages, next) => {
                let infos = messages.into_iter().map(|view| MessageInfo::new(view, self.codec)).collect();
                Ok((infos, next.map(PageToken)))
            }
            _ => Err(self.site.misfit(operation)),
        }
    }
}

/// Statistics of the queue at one instant. Resolves to [`QueueStats`]. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Stats(Arc<Site>);

impl Stats {
    pub(crate) fn new(site: &Arc<Site>) -> Self {
        Self(Arc::clone(site))
    }

    async fn run(self) -> Result<QueueStats> {
        match look(&self.0, "stats", Look::Stats).await? {
            View::Stats(stats) => Ok(stats.into()),
            _ => Err(self.0.misfit("stats")),
        }
    }
}

/// Reads one unfinished message. Resolves to `Option<MessageInfo>`; `None` if it is finished, dead, or never existed.
/// Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Get {
    eye: Eye,
    id: MessageId,
}

impl Get {
    pub(crate) fn new<T: Value>(queue: &Queue<T>, id: MessageId) -> Self {
        Self { eye: Eye::of(queue), id }
    }

    async fn run(self) -> Result<Option<MessageInfo>> {
        match look(&self.eye.site, "get", Look::Get { id: self.id.0 }).await? {
            View::Message(view) => Ok(view.map(|view| MessageInfo::new(view, self.eye.codec))),
            _ => Err(self.eye.site.misfit("get")),
        }
    }
}

/// Lists the messages in one state, page by page. Resolves to [`Page<MessageInfo>`].
///
/// Ready messages are in delivery order, followed by the blocked ones by key; delayed ones by due time, leased ones by
/// lease end. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct List {
    eye: Eye,
    state: State,
    limit: usize,
    after: Option<PageToken>,
}

impl List {
    pub(crate) fn new<T: Value>(queue: &Queue<T>, state: State) -> Self {
        Self { eye: Eye::of(queue), state, limit: 100, after: None }
    }

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

    async fn run(self) -> Result<Page<MessageInfo>> {
        let limit = page_limit("limit", self.limit).map_err(|error| self.eye.site.context("list", error))?;
        let after = self.after.map(|token| token.0);
        let (items, next) = self.eye.messages("list", Look::List { state: self.state, limit, after }).await?;
        Ok(Page { items, next })
    }
}

/// The next deliverable messages in delivery order, without the blocked ones. Resolves to `Vec<MessageInfo>`. Dropping
/// the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Peek {
    eye: Eye,
    max: usize,
}

impl Peek {
    pub(crate) fn new<T: Value>(queue: &Queue<T>, max: usize) -> Self {
        Self { eye: Eye::of(queue), max }
    }

    async fn run(self) -> Result<Vec<MessageInfo>> {
        let max = page_limit("max", self.max).map_err(|error| self.eye.site.context("peek", error))?;
        Ok(self.eye.messages("peek", Look::Peek { max }).await?.0)
    }
}

awaitable! {
    Stats => QueueStats;
    Get => Option<MessageInfo>;
    List => Page<MessageInfo>;
    Peek => Vec<MessageInfo>;
}
