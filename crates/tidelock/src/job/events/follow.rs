//! Following the events of a job: each as it happens, until the job has ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::{StreamExt, stream};

use super::{Item, JobEvent, JobEvents, Start, either};
use crate::bell::Bell;
use crate::error::{Error, ErrorKind, Result};
use crate::follow::{self, Hub, Log, Next, Part};
use crate::handover::Site;
use crate::job::ears::Ears;
use crate::job::id::{JobCursor, JobId};
use crate::job::site::store_of;
use crate::job::store::{EventView, Happened, JobStore, Look, View};
use crate::name::Address;
use crate::request::awaitable;
use crate::runtime::{self, BoxFuture};
use crate::tidelock::World;
use crate::time::SECOND;

/// Events per read. The store bounds their number per job, and their size.
const READ_EVENTS: usize = 256;
/// The approximate memory of an event in addition to its bytes.
const OVERHEAD: usize = 160;

/// The events of one job, as followed in this process.
#[derive(Debug)]
pub(crate) struct JobLog {
    world: Arc<World>,
    key: (Address, u64),
    hub: Arc<Hub<Tail>>,
}

impl JobLog {
    /// The log of one job, shared by everybody who follows it.
    fn of(site: &Site, id: JobId) -> Arc<Self> {
        let key = (site.address.clone(), id.0);
        site.world.job_logs.get_or_insert(&key, || {
            let store = store_of(site);
            let ears = store.ears(&site.address);
            let tail = Tail { bell: ears.watch(id.0), _ears: ears, store, address: site.address.clone(), id: id.0 };
            Arc::new(Self { world: Arc::clone(&site.world), hub: Hub::new(&site.world, tail), key: key.clone() })
        })
    }
}

impl Drop for JobLog {
    fn drop(&mut self) {
        self.world.job_logs.forget(&self.key);
    }
}

#[derive(Debug)]
struct Tail {
    store: Arc<dyn JobStore>,
    address: Address,
    id: u64,
    bell: Arc<Bell>,
    /// News of the job arrives as long as somebody holds these.
    _ears: Arc<Ears>,
}

/// A position in a job's events: the number of events before it, and whether it is after the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    number: u64,
    ended: bool,
}

impl Place {
    fn behind(number: u64) -> Self {
        Self { number, ended: false }
    }
}

/// An entry of the log.
#[derive(Debug)]
enum Entry {
    Event(EventView),
    /// Nothing will come any more: the job has ended, or is gone.
    End,
}

impl Log for Tail {
    type Position = Place;
    type Event = Entry;
    /// The number of missed events.
    type Gap = u64;

    fn read(&self, after: &Place, park: bool) -> BoxFuture<'static, Result<Part<Self>>> {
        let after = after.number;
        let reading = self.store.look(&self.address, Look::Events { id: self.id, after, max: READ_EVENTS, park });
        Box::pin(async move {
            let View::Events(view) = reading.await? else {
                return Err(Error::misfit());
            };
            let behind_gap = after + view.missed;
            let last = view.events.last().map_or(behind_gap, |(number, _)| *number);
            let bytes = view.events.iter().map(|(_, event)| size(&event.happened) + OVERHEAD).sum();
            let mut events: Vec<_> =
                view.events.into_iter().map(|(number, event)| (Place::behind(number), Entry::Event(event))).collect();
            let mut end = Place::behind(last);
            if view.ended || view.absent {
                end.ended = true;
                events.push((end, Entry::End));
            }
            let gap = (view.missed > 0).then(|| (Place::behind(behind_gap), view.missed));
            Ok(Part { gap, events, end, bytes, next: None })
        })
    }

    fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }
}

/// The size of the parts that users chose.
fn size(happened: &Happened) -> usize {
    match happened {
        Happened::Progress { value } => value.len(),
        Happened::Step { id: text }
        | Happened::Retry { message: text, .. }
        | Happened::Failed { message: text, .. }
        | Happened::Started { worker: text, .. } => text.len(),
        Happened::Cancelled { reason } => reason.as_ref().map_or(0, |reason| reason.len()),
        Happened::Submitted | Happened::Heartbeat { .. } | Happened::Completed => 0,
    }
}

/// Fixes where a follower of a job's events begins. Resolves to a [`Follower`].
///
/// Once this has been awaited, the position is fixed: everything that happens afterwards, even at once, arrives.
/// Dropping the future does nothing.
#[must_use = "nothing is followed until it is awaited"]
pub struct Follow {
    events: JobEvents,
    start: Option<Start>,
    after: Option<JobCursor>,
    until: Option<BoxFuture<'static, ()>>,
}

impl Follow {
    pub(super) fn new(events: &JobEvents) -> Self {
        Self { events: events.clone(), start: None, after: None, until: None }
    }

    /// Where it begins; default [`Start::Earliest`]. Not together with [`after`](Self::after).
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// Begins after this position: replays what is kept there, and continues seamlessly with live events. Not together
    /// with [`start`](Self::start).
    pub fn after(mut self, cursor: &JobCursor) -> Self {
        self.after = Some(*cursor);
        self
    }

    /// Ends the stream when `stop` resolves.
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Some(Box::pin(stop));
        self
    }

    async fn run(self) -> Result<Follower> {
        const OPERATION: &str = "follow events";
        let Self { events, start, after, until } = self;
        events.site.check_taking(OPERATION)?;
        let start = match (start, after) {
            (Some(start), Some(after)) => Err(either(start, after)),
            (start, None) => Ok(start.unwrap_or_default()),
            (None, Some(after)) => Ok(Start::After(after)),
        };
        let start = start.map_err(|error| events.site.context(OPERATION, error))?;
        // If there is no such job, the first read reports the end.
        let number = match start {
            Start::After(cursor) => events.place(cursor).map_err(|error| events.site.context(OPERATION, error))?,
            Start::Earliest => events.places(OPERATION).await?.map_or(0, |(first, _)| first),
            Start::Latest => events.places(OPERATION).await?.map_or(0, |(_, last)| last),
        };
        let log = JobLog::of(&events.site, events.id);
        let source = Source {
            follower: log.hub.follow(Place::behind(number)),
            _log: log,
            events: events.clone(),
            until: until.unwrap_or_else(|| Box::pin(std::future::pending())),
            pause: false,
            ended: false,
        };
        let items = stream::unfold(source, async |mut source| Some((source.next().await?, source)));
        Ok(Follower { events, items: Box::pin(items.fuse()) })
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("events", &self.events).field("start", &self.start).finish_non_exhaustive()
    }
}

type Items = Pin<Box<dyn Stream<Item = Result<Item<JobEvent>>> + Send>>;

/// Each event of a job in order: a [`Stream`] of `Result<Item<JobEvent>>`.
///
/// It ends after the terminal event, or when the job is removed. It waits out outages and resumes where it was. Events
/// that are no longer kept are reported by one [`Item::Gap`]. An `Err` item is an error that waiting does not cure, or
/// a shutdown, after which the stream ends. To resume later, start another follower after the cursor of the last event.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Follower {
    events: JobEvents,
    items: Items,
}

impl Stream for Follower {
    type Item = Result<Item<JobEvent>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("events", &self.events).finish_non_exhaustive()
    }
}

/// A running follower.
struct Source {
    events: JobEvents,
    follower: follow::Follower<Tail>,
    /// Keeps the log, so that others that start to follow share it.
    _log: Arc<JobLog>,
    until: BoxFuture<'static, ()>,
    /// The last item was an error, so the next attempt waits a little.
    pause: bool,
    ended: bool,
}

impl Source {
    async fn next(&mut self) -> Option<Result<Item<JobEvent>>> {
        if self.ended {
            return None;
        }
        if std::mem::take(&mut self.pause) {
            tokio::select! {
                biased;
                () = &mut self.until => { self.ended = true; return None; }
                () = runtime::sleep(SECOND) => {}
            }
        }
        let from = self.follower.position().number;
        let next = tokio::select! {
            biased;
            () = &mut self.until => { self.ended = true; return None; }
            next = self.follower.next() => next,
        };
        match next {
            Ok(Next::Gap(part)) => {
                let missed = part.gap.as_ref().map_or(0, |(_, missed)| *missed);
                Some(Ok(Item::Gap(self.events.gap(from, from + missed, missed))))
            }
            Ok(Next::Event(part, index)) => match &part.events[index] {
                (place, Entry::Event(view)) => {
                    let event = self.events.event(place.number, view.clone());
                    Some(Ok(Item::Event(event)))
                }
                (_, Entry::End) => {
                    self.ended = true;
                    None
                }
            },
            Err(error) => {
                self.ended = error.kind() == ErrorKind::ShuttingDown;
                self.pause = true;
                Some(Err(self.events.site.context("follow events", error)))
            }
        }
    }
}

awaitable! {
    Follow => Follower;
}
