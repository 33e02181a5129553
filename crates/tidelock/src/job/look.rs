//! Queries: they change no outcome.

use std::sync::Arc;

use super::id::JobId;
use super::info::{JobInfo, JobStats, JobSummary};
use super::site::look;
use super::store::{JobFilter, Look, View};
use crate::codec::Codec;
use crate::error::Result;
use crate::handover::Site;
use crate::page::{Page, PageToken, page_limit};
use crate::request::awaitable;

/// Statistics of all jobs of the name, at one instant. Resolves to [`JobStats`]. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Stats(pub(super) Arc<Site>);

impl Stats {
    async fn run(self) -> Result<JobStats> {
        match look(&self.0, "stats", Look::Stats).await? {
            View::Stats(stats) => Ok((*stats).into()),
            _ => Err(self.0.misfit("stats")),
        }
    }
}

/// Reads one job. Resolves to `Option<JobInfo>`; `None` if it was removed, its retention is over, or it never existed.
/// Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Get {
    site: Arc<Site>,
    codec: Codec,
    id: JobId,
}

impl Get {
    pub(super) fn new(site: &Arc<Site>, codec: Codec, id: JobId) -> Self {
        Self { site: Arc::clone(site), codec, id }
    }

    async fn run(self) -> Result<Option<JobInfo>> {
        match look(&self.site, "get", Look::Get { id: self.id.0 }).await? {
            View::Job(view) => Ok(view.map(|view| JobInfo::new(*view, self.codec))),
            _ => Err(self.site.misfit("get")),
        }
    }
}

/// Lists the jobs that match a filter, page by page. Resolves to [`Page<JobSummary>`].
///
/// Ready ones are in the order in which they will start (those waiting for another job with their ordering key come
/// last), delayed ones by due time, running ones by start, ended ones newest first. Jobs that change state while a
/// listing is paged may be missing, and none is shown twice. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct List {
    site: Arc<Site>,
    codec: Codec,
    filter: JobFilter,
    limit: usize,
    after: Option<PageToken>,
}

impl List {
    pub(super) fn new(site: &Arc<Site>, codec: Codec, filter: JobFilter) -> Self {
        Self { site: Arc::clone(site), codec, filter, limit: 100, after: None }
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

    async fn run(self) -> Result<Page<JobSummary>> {
        let Self { site, codec, filter, limit, after } = self;
        let limit = page_limit("limit", limit).map_err(|error| site.context("list", error))?;
        let after = after.map(|token| token.0);
        match look(&site, "list", Look::List { filter, limit, after }).await? {
            View::Jobs(jobs, next) => {
                let items = jobs.into_iter().map(|view| JobSummary::new(view, codec)).collect();
                Ok(Page { items, next: next.map(PageToken) })
            }
            _ => Err(site.misfit("list")),
        }
    }
}

awaitable! {
    Stats => JobStats;
    Get => Option<JobInfo>;
    List => Page<JobSummary>;
}
