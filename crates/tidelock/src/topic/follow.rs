//! Following a topic: every event in order, from a position on.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::{StreamExt, stream};

use super::cursor::Cursor;
use super::event::{Event, Gap, Item, RawEvent};
use super::site::Site;
use super::store::{EventView, GapView, Look, Position, Read, TopicStore, View};
use super::{Start, Topic};
use crate::bell::Bell;
use crate::codec::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::follow::{self, Log, Next, Part};
use crate::name::Address;
use crate::request::{awaitable, opaque};
use crate::runtime::{self, BoxFuture};
use crate::time::SECOND;

/// Maximum number of events per read. The store bounds the bytes.
const READ_EVENTS: usize = 256;
/// Approximate memory of an event beyond its bytes.
const OVERHEAD: usize = 128;

/// The log of one topic, as its followers read it.
#[derive(Debug)]
pub(crate) struct Tail {
    store: Arc<dyn TopicStore>,
    address: Address,
}

impl Tail {
    pub(crate) fn new(store: &Arc<dyn TopicStore>, address: &Address) -> Self {
        Self { store: Arc::clone(store), address: address.clone() }
    }
}

impl Log for Tail {
    type Position = Position;
    type Event = EventView;
    type Gap = GapView;

    fn read(&self, after: &Position, park: bool) -> BoxFuture<'static, Result<Part<Self>>> {
        let after = *after;
        let reading = self.store.read(&self.address, Read { after, max: READ_EVENTS, park });
        Box::pin(async move {
            let span = reading.await?;
            let end = span.events.last().map(|event| event.place).or(span.gap.map(|gap| gap.to)).unwrap_or(after);
            Ok(Part {
                gap: span.gap.map(|gap| (gap.to, gap)),
                bytes: span.events.iter().map(|event| event.content.size() + OVERHEAD).sum(),
                events: span.events.into_iter().map(|event| (event.place, event)).collect(),
                end,
                next: None,
            })
        })
    }

    fn bell(&self) -> Arc<Bell> {
        self.store.bell(&self.address, None)
    }
}

/// Fixes where a follower begins. Resolves to a [`Follower`].
///
/// Once this has been awaited, the position is fixed: everything published afterwards, even at once, arrives. Dropping
/// the future does nothing.
#[must_use = "nothing is followed until it is awaited"]
pub struct Follow<T> {
    topic: Topic<T>,
    start: Option<Start>,
    after: Option<Cursor>,
    until: Option<BoxFuture<'static, ()>>,
}

impl<T: Value> Follow<T> {
    pub(crate) fn new(topic: &Topic<T>) -> Self {
        Self { topic: topic.clone(), start: None, after: None, until: None }
    }

    /// Where it begins; default [`Start::Latest`]. Not together with [`after`](Self::after).
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }

    /// Begins after this position: replays what is retained there, and continues seamlessly with live events. Not
    /// together with [`start`](Self::start).
    pub fn after(mut self, cursor: &Cursor) -> Self {
        self.after = Some(*cursor);
        self
    }

    /// Ends the stream when `stop` resolves.
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.until = Some(Box::pin(stop));
        self
    }

    async fn run(self) -> Result<Follower<T>> {
        let Self { topic, start, after, until } = self;
        let site = Arc::clone(&topic.site);
        site.check("follow")?;
        site.world.lifecycle.check().map_err(|error| site.context("follow", error))?;
        let position = begin(&site, start, after).await?;
        let source = Source {
            follower: site.hub.follow(position),
            topic,
            until: until.unwrap_or_else(|| Box::pin(std::future::pending())),
            pause: false,
            ended: false,
        };
        let items = stream::unfold(source, async |mut source| Some((source.next().await?, source)));
        Ok(Follower { topic: site.address.clone(), items: Box::pin(items.fuse()) })
    }
}

async fn begin(site: &Site, start: Option<Start>, after: Option<Cursor>) -> Result<Position> {
    let start = match (start, after) {
        (Some(start), Some(after)) => {
            let text = format!("either start or after, but both came: {start:?} and {after}");
            return Err(site.context("follow", Error::argument(text)));
        }
        (Some(start), None) => start,
        (None, Some(after)) => Start::After(after),
        (None, None) => Start::Latest,
    };
    if let Start::After(cursor) = start {
        return cursor.of(site.owner).map_err(|error| site.context("follow", error));
    }
    let begin = site.begin(start).map_err(|error| site.context("follow", error))?;
    match site.look("follow", Look::Resolve { begin }).await? {
        View::Place(position) => Ok(position),
        _ => Err(site.misfit("follow")),
    }
}

/// The stream of a follower.
trait Items<T>: Stream<Item = Result<Item<Event<T>>>> + Send {}

impl<T, S: Stream<Item = Result<Item<Event<T>>>> + Send> Items<T> for S {}

/// Every event of a topic in order: a [`Stream`] of `Result<Item<Event<T>>>`.
///
/// It waits at the end of the log, and survives outages by reconnecting with backoff and resuming where it was. Events
/// that it can no longer get are reported by one [`Item::Gap`] before the next event; one that cannot be decoded is an
/// [`Item::Undecodable`]. An `Err` item is an error that waiting does not cure; it is repeated every second for as long as it
/// lasts, and the stream continues when it is over. Only a shutdown ends the stream. A slow follower holds up nobody
/// and retains nothing. To resume later, start another follower after the cursor of the last event.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Follower<T> {
    topic: Address,
    items: Pin<Box<dyn Items<T>>>,
}

impl<T> Stream for Follower<T> {
    type Item = Result<Item<Event<T>>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.items.as_mut().poll_next(context)
    }
}

impl<T> fmt::Debug for Follower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("topic", &self.topic.id).finish_non_exhaustive()
    }
}

/// A running follower.
struct Source<T> {
    topic: Topic<T>,
    follower: follow::Follower<Tail>,
    until: BoxFuture<'static, ()>,
    /// The last item was an error: wait briefly before the next read.
    pause: bool,
    ended: bool,
}

impl<T: Value> Source<T> {
    async fn next(&mut self) -> Option<Result<Item<Event<T>>>> {
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
        let next = tokio::select! {
            biased;
            () = &mut self.until => { self.ended = true; return None; }
            next = self.follower.next() => next,
        };
        Some(match next {
            Ok(next) => Ok(self.item(&next)),
            Err(error) => {
                self.ended = error.kind() == ErrorKind::ShuttingDown;
                self.pause = true;
                Err(self.topic.site.context("follow", error))
            }
        })
    }

    fn item(&self, next: &Next<Tail>) -> Item<Event<T>> {
        match next {
            Next::Gap(part) => {
                let (_, gap) = part.gap.as_ref().expect("a follower is told a gap that there is");
                Item::Gap(Gap::new(self.topic.site.owner, *gap))
            }
            Next::Event(part, index) => self.topic.open(&part.events[*index].1),
        }
    }
}

impl<T: Value> Topic<T> {
    /// Decodes an event for one follower. The view is only borrowed, as other followers read it too.
    pub(super) fn open(&self, view: &EventView) -> Item<Event<T>> {
        let (owner, EventView { place, content }) = (self.site.owner, view);
        match self.options.border.decode(&content.payload) {
            Ok(data) => Item::Event(Event::new(owner, *place, data, content.without_payload())),
            Err(error) => Item::Undecodable(RawEvent::new(owner, *place, content.clone(), error.to_string())),
        }
    }
}

awaitable! {
    Follow<T> => Follower<T>;
}

opaque!(Follow);
