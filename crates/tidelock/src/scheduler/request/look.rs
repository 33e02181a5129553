//! Queries: they change no outcome. Dropping one of these futures does nothing.

use std::sync::Arc;

use super::define::check_id;
use crate::error::Result;
use crate::page::{Page, PageToken, page_limit};
use crate::request::awaitable;
use crate::scheduler::Core;
use crate::scheduler::definition::Spec;
use crate::scheduler::info::{HistoryEntry, ScheduleInfo};
use crate::scheduler::stats::SchedulerStats;
use crate::scheduler::store::{Look, ScheduleView, StateView, View};
use crate::time::Timestamp;

async fn schedule(core: &Core, operation: &str, id: &Arc<str>) -> Result<Option<Box<ScheduleView>>> {
    check_id(core, operation, id)?;
    match core.site.look(operation, Look::Get { id: Arc::clone(id) }).await? {
        View::Schedule(view) => Ok(view),
        _ => Err(core.site.misfit(operation)),
    }
}

/// Reads one schedule. Resolves to `Option<ScheduleInfo>`. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Get {
    core: Arc<Core>,
    id: Arc<str>,
}

impl Get {
    pub(in crate::scheduler) fn new(core: &Arc<Core>, id: &str) -> Self {
        Self { core: Arc::clone(core), id: id.into() }
    }

    async fn run(self) -> Result<Option<ScheduleInfo>> {
        Ok(schedule(&self.core, "get", &self.id).await?.map(|view| (*view).into()))
    }
}

/// All schedules by id, page by page. Resolves to [`Page<ScheduleInfo>`]. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct List {
    core: Arc<Core>,
    limit: usize,
    after: Option<PageToken>,
}

impl List {
    pub(in crate::scheduler) fn new(core: &Arc<Core>) -> Self {
        Self { core: Arc::clone(core), limit: 100, after: None }
    }

    /// Items of a page: 1..=1,000, default 100. Fewer where they are large.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Continues after an earlier page: pass its `next`.
    pub fn after(mut self, page: &PageToken) -> Self {
        self.after = Some(page.clone());
        self
    }

    async fn run(self) -> Result<Page<ScheduleInfo>> {
        let Self { core, limit, after } = self;
        let limit = page_limit("limit", limit).map_err(|error| core.site.context("list", error))?;
        let after = after.map(|token| token.0.into());
        match core.site.look("list", Look::List { limit, after }).await? {
            View::Schedules(views, more) => {
                let next = views.last().filter(|_| more).map(|last| PageToken(last.id.as_ref().to_owned()));
                Ok(Page { items: views.into_iter().map(ScheduleInfo::from).collect(), next })
            }
            _ => Err(core.site.misfit("list")),
        }
    }
}

/// The next slots of a schedule, in order. Resolves to `Vec<Timestamp>`.
///
/// It begins with the first undecided slot, which may be overdue; for a paused schedule, with the first after now. It
/// is empty for a schedule that is absent, finished, or cannot be read. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Upcoming {
    core: Arc<Core>,
    id: Arc<str>,
    count: usize,
}

impl Upcoming {
    pub(in crate::scheduler) fn new(core: &Arc<Core>, id: &str) -> Self {
        Self { core: Arc::clone(core), id: id.into(), count: 10 }
    }

    /// How many: 1..=1,000, default 10.
    pub fn count(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    async fn run(self) -> Result<Vec<Timestamp>> {
        const OPERATION: &str = "upcoming";
        let Self { core, id, count } = self;
        let count = page_limit("count", count).map_err(|error| core.site.about(OPERATION, &id, error))?;
        let Some(view) = schedule(&core, OPERATION, &id).await? else { return Ok(Vec::new()) };
        let Ok(spec) = Spec::read(&view.definition) else { return Ok(Vec::new()) };
        let first = match view.state {
            StateView::Finished { .. } => None,
            StateView::Paused { .. } => match core.site.look(OPERATION, Look::Now).await? {
                View::Now(now) => spec.timing.next_after(now),
                _ => return Err(core.site.misfit(OPERATION)),
            },
            _ => view.next.map(|next| next.slot),
        };
        let slots = std::iter::successors(first, |slot| spec.timing.next_after(*slot));
        Ok(slots.take(count).map(Timestamp::from_millis).collect())
    }
}

/// The past decisions about a schedule, newest first. Resolves to `Vec<HistoryEntry>`, empty for an absent schedule.
/// Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct History {
    core: Arc<Core>,
    id: Arc<str>,
}

impl History {
    pub(in crate::scheduler) fn new(core: &Arc<Core>, id: &str) -> Self {
        Self { core: Arc::clone(core), id: id.into() }
    }

    async fn run(self) -> Result<Vec<HistoryEntry>> {
        const OPERATION: &str = "history";
        let Self { core, id } = self;
        check_id(&core, OPERATION, &id)?;
        match core.site.look(OPERATION, Look::History { id }).await? {
            View::History(entries) => Ok(entries.into_iter().map(HistoryEntry::from).collect()),
            _ => Err(core.site.misfit(OPERATION)),
        }
    }
}

/// Statistics of the scheduler at one instant. Resolves to [`SchedulerStats`]. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Stats(pub(in crate::scheduler) Arc<Core>);

impl Stats {
    async fn run(self) -> Result<SchedulerStats> {
        match self.0.site.look("stats", Look::Stats).await? {
            View::Stats(stats) => Ok(stats.into()),
            _ => Err(self.0.site.misfit("stats")),
        }
    }
}

awaitable! {
    Get => Option<ScheduleInfo>;
    List => Page<ScheduleInfo>;
    Upcoming => Vec<Timestamp>;
    History => Vec<HistoryEntry>;
    Stats => SchedulerStats;
}
