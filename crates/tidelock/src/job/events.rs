//! The events of a job, read and followed.

mod follow;
mod group;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

pub(crate) use self::follow::JobLog;
pub use self::follow::{Follow, Follower};
pub use self::group::{Deliveries, EventDelivery, Nack, Reader, ReaderBuilder, Recv, TryRecv};

use super::id::{JobCursor, JobId};
use super::info::Encoded;
use super::site::look;
use super::store::{EventView, EventsView, FailureCode, Happened, Look, RetryReason, View};
use crate::codec::Codec;
use crate::cursor::Owner;
use crate::error::{Error, Result};
use crate::handover::Site;
use crate::page::{Page, PageToken, page_limit};
use crate::request::awaitable;
use crate::time::Timestamp;

/// An event in the history of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct JobEvent {
    /// The job.
    pub job: JobId,
    /// When it happened.
    pub at: Timestamp,
    /// The position after the event.
    pub cursor: JobCursor,
    /// What happened.
    pub kind: JobEventKind,
}

/// The kind of a job's event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobEventKind {
    /// It was accepted, or will run again after its end.
    Submitted,
    /// A run began.
    Started {
        /// The run, from 1.
        attempt: u64,
        /// Its fence.
        fence: u64,
        /// The name of the worker.
        worker: String,
    },
    /// A handler renewed its lease itself.
    Heartbeat {
        /// The run.
        attempt: u64,
    },
    /// A run's progress: at most one every 100 ms, and the last one before its end.
    Progress {
        /// The reported value.
        value: Encoded,
    },
    /// The value of a step was stored.
    Step {
        /// The step.
        id: String,
    },
    /// A run ended, and the job will run again.
    Retry {
        /// The run that ended.
        attempt: u64,
        /// Why.
        reason: RetryReason,
        /// The text of the error.
        message: String,
        /// When it is due.
        next_at: Timestamp,
    },
    /// It ended with a result.
    Completed,
    /// It ended by a failure or a timeout.
    Failed {
        /// The kind of failure.
        code: FailureCode,
        /// The text of the error.
        message: String,
        /// The run that failed; 0 if the job was never started.
        attempt: u64,
    },
    /// It was cancelled.
    Cancelled {
        /// The reason, if one was given.
        reason: Option<String>,
    },
}

impl JobEventKind {
    fn new(happened: Happened, codec: Codec) -> Self {
        let text = |text: Arc<str>| text.as_ref().to_owned();
        match happened {
            Happened::Submitted => Self::Submitted,
            Happened::Started { attempt, fence, worker } => Self::Started { attempt, fence, worker: text(worker) },
            Happened::Heartbeat { attempt } => Self::Heartbeat { attempt },
            Happened::Progress { value } => Self::Progress { value: Encoded::new(value, codec) },
            Happened::Step { id } => Self::Step { id: text(id) },
            Happened::Retry { attempt, reason, message, next_at } => {
                let next_at = Timestamp::from_millis(next_at);
                Self::Retry { attempt, reason, message: text(message), next_at }
            }
            Happened::Completed => Self::Completed,
            Happened::Failed { code, message, attempt } => Self::Failed { code, message: text(message), attempt },
            Happened::Cancelled { reason } => Self::Cancelled { reason: reason.map(text) },
        }
    }

    /// Whether the job has ended with it. Further events follow only if the job is retried.
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed { .. } | Self::Cancelled { .. })
    }
}

/// The next item among a job's events.
// Exhaustive: every reader must handle all items; a wildcard would silently drop some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Item<E> {
    /// An event.
    Event(E),
    /// Events that are no longer kept, reported once before the event that follows them: a job keeps its last 1,000.
    Gap(Gap),
}

impl<E> Item<E> {
    /// The event, if it is one.
    pub fn event(self) -> Option<E> {
        match self {
            Self::Event(event) => Some(event),
            Self::Gap(_) => None,
        }
    }
}

/// Events of a job that are no longer available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[non_exhaustive]
pub struct Gap {
    /// Before the first event that was missed.
    pub from: JobCursor,
    /// After the last event that was missed.
    pub to: JobCursor,
    /// How many events were missed, not counting those that the group has committed or holds.
    pub missed: u64,
}

/// Where a follower of a job's events begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Before the first event that is kept.
    #[default]
    Earliest,
    /// After the last event.
    Latest,
    /// After this position. If events there are no longer kept, the gap is delivered first.
    After(JobCursor),
}

/// The events of one job. Created by [`Job::events`](super::Job::events).
///
/// They are in order of occurrence, begin with `submitted`, and are kept as long as the record of their job.
#[derive(Clone)]
pub struct JobEvents {
    site: Arc<Site>,
    codec: Codec,
    id: JobId,
    owner: Owner,
}

impl JobEvents {
    pub(super) fn new(site: &Arc<Site>, codec: Codec, id: JobId) -> Self {
        Self { owner: Owner::of("job", &site.address), site: Arc::clone(site), codec, id }
    }

    /// Defines a reader of a group: readers with the same group share the events, and each event is redelivered until
    /// it is committed. Checked by [`build`](ReaderBuilder::build); the name of a group is 1..=256 bytes without NUL.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tidelock::Result<()> {
    /// use tidelock::job::Item;
    /// use tidelock::{SECOND, Tidelock};
    ///
    /// let tide = Tidelock::in_process();
    /// let exports = tide.job::<u64, ()>("exports").build()?;
    /// let sent = exports.submit(&7).await?;
    /// exports.cancel(sent.id).reason("too late").await?;
    ///
    /// let audit = exports.events(sent.id).reader("audit").lease(10 * SECOND).build()?;
    /// let mut seen = 0;
    /// while let Some(item) = audit.recv().await? {
    ///     match item {
    ///         Item::Event(event) => {
    ///             println!("{:?} at {}, delivery {}", event.kind, event.at, event.attempt());
    ///             assert!(event.commit().await?); // false: its lease was over, and another reader may have it
    ///             seen += 1;
    ///         }
    ///         Item::Gap(gap) => println!("{} events went unread", gap.missed),
    ///     }
    /// }
    /// assert_eq!(seen, 2); // submitted, cancelled: the job has ended, and the group has committed all
    /// # Ok(())
    /// # }
    /// ```
    pub fn reader(&self, group: &str) -> ReaderBuilder {
        ReaderBuilder::new(self, group)
    }

    /// Follows each event as it happens, until the job has ended.
    pub fn follow(&self) -> Follow {
        Follow::new(self)
    }

    /// Reads the events that are kept, page by page; does not wait.
    pub fn read(&self) -> Read {
        Read { events: self.clone(), limit: 100, after: None }
    }

    /// The position after the last event.
    pub fn latest_cursor(&self) -> LatestCursor {
        LatestCursor(self.clone())
    }

    fn cursor(&self, number: u64) -> JobCursor {
        JobCursor::new(self.owner, self.id.0, number)
    }

    /// The number of the event before a cursor. Refuses a cursor of another job.
    fn place(&self, cursor: JobCursor) -> Result<u64> {
        cursor.of(self.owner, self.id.0)
    }

    fn event(&self, number: u64, view: EventView) -> JobEvent {
        let EventView { at, happened } = view;
        JobEvent {
            job: self.id,
            at: Timestamp::from_millis(at),
            cursor: self.cursor(number),
            kind: JobEventKind::new(happened, self.codec),
        }
    }

    fn gap(&self, from: u64, to: u64, missed: u64) -> Gap {
        Gap { from: self.cursor(from), to: self.cursor(to), missed }
    }

    /// The positions before the first and after the last event; `None` if there is no such job.
    async fn places(&self, operation: &str) -> Result<Option<(u64, u64)>> {
        match look(&self.site, operation, Look::Places { id: self.id.0 }).await? {
            View::Places(places) => Ok(places),
            _ => Err(self.site.misfit(operation)),
        }
    }
}

impl fmt::Debug for JobEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobEvents").field("job", &self.site.address.id).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Reads the kept events of a job, page by page, oldest first; does not wait. Resolves to
/// [`Page<Item<JobEvent>>`](Page); an unknown job has none.
///
/// A gap after the starting position is the first item. Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is read until it is awaited"]
pub struct Read {
    events: JobEvents,
    limit: usize,
    after: Option<PageToken>,
}

impl Read {
    /// Events of a page: 1..=1,000, default 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Begins after this position: a [`JobCursor`], or the `next` of an earlier page. Default: at the first kept event.
    pub fn after(mut self, place: impl Into<PageToken>) -> Self {
        self.after = Some(place.into());
        self
    }

    async fn run(self) -> Result<Page<Item<JobEvent>>> {
        const OPERATION: &str = "read events";
        let Self { events, limit, after } = self;
        let site = &events.site;
        let place = |token: PageToken| token.0.parse().and_then(|cursor| events.place(cursor));
        let checked = page_limit("limit", limit).and_then(|limit| Ok((limit, after.map(place).transpose()?)));
        let (max, after) = checked.map_err(|error| site.context(OPERATION, error))?;
        let from = match after {
            Some(after) => after,
            None => match events.places(OPERATION).await? {
                Some((first, _)) => first,
                None => return Ok(Page { items: Vec::new(), next: None }),
            },
        };
        let asked = Look::Events { id: events.id.0, after: from, max, park: false };
        let View::Events(view) = look(site, OPERATION, asked).await? else { return Err(site.misfit(OPERATION)) };
        let EventsView { missed, events: views, ended, .. } = view;
        let more = views.len() == max && !ended;
        let next = views.last().filter(|_| more).map(|(number, _)| PageToken::from(&events.cursor(*number)));
        let gap = (missed > 0).then(|| Item::Gap(events.gap(from, from + missed, missed)));
        let views = views.into_iter().map(|(number, view)| Item::Event(events.event(number, view)));
        Ok(Page { items: gap.into_iter().chain(views).collect(), next })
    }
}

impl From<&JobCursor> for PageToken {
    /// The position of a cursor, for a page of a job's events.
    fn from(cursor: &JobCursor) -> Self {
        Self(cursor.to_string())
    }
}

impl From<JobCursor> for PageToken {
    /// The position of a cursor, for a page of a job's events.
    fn from(cursor: JobCursor) -> Self {
        Self(cursor.to_string())
    }
}

/// The position after the last event of a job. Resolves to `Option<JobCursor>`; `None` if there is no such job.
/// Dropping the future does nothing.
#[derive(Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct LatestCursor(JobEvents);

impl LatestCursor {
    async fn run(self) -> Result<Option<JobCursor>> {
        Ok(self.0.places("latest_cursor").await?.map(|(_, last)| self.0.cursor(last)))
    }
}

/// The error for conflicting start positions.
fn either(start: Start, after: JobCursor) -> Error {
    Error::argument(format!("either start or after, but both came: {start:?} and {after}"))
}

awaitable! {
    Read => Page<Item<JobEvent>>;
    LatestCursor => Option<JobCursor>;
}
