//! Receiving in a group: one event, several, whatever is there now, as a stream, or with a worker.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::event::{EventDelivery, Gap, GroupEvent, Item};
use super::observe;
use super::reader::Reader;
use crate::codec::Value;
use crate::error::Result;
use crate::handover::{
    Crew, HandlerError, Incoming, Opening, Wait, Wish, crew_options, incoming_options, receive, shown, waits, wishes,
};
use crate::page::page_limit;
use crate::request::awaitable;

/// Waits for one event of the group. Resolves to `Option<Item<EventDelivery<T>>>`: `None` means that nothing was
/// deliverable before the end of the wait; a broken connection is an error.
///
/// Receives of one process are served in order of arrival. Dropping the future gives back an event claimed for it, so
/// nothing is lost and no attempt is used.
#[must_use = "nothing is received until it is awaited"]
pub struct Recv<T> {
    reader: Reader<T>,
    wish: Wish,
    wait: Wait,
}

/// Takes one event if one is deliverable now. Resolves to `Option<Item<EventDelivery<T>>>`.
///
/// Dropping the future gives back whatever was claimed for it.
#[must_use = "nothing is received until it is awaited"]
pub struct TryRecv<T> {
    reader: Reader<T>,
    wish: Wish,
}

/// Waits for the first event and takes with it whatever else is deliverable, up to a number. Resolves to
/// `Vec<Item<EventDelivery<T>>>`; a gap is the first item, and counts. If empty, nothing was deliverable before the end
/// of the wait.
///
/// Dropping the future gives back the events claimed for it.
#[must_use = "nothing is received until it is awaited"]
pub struct RecvMany<T> {
    reader: Reader<T>,
    wish: Wish,
    wait: Wait,
    max: usize,
}

impl<T: Value> Recv<T> {
    pub(crate) fn new(reader: &Reader<T>) -> Self {
        Self { reader: reader.clone(), wish: Wish::default(), wait: Wait::DEFAULT }
    }

    wishes!();
    waits!();

    async fn run(self) -> Result<Option<Item<EventDelivery<T>>>> {
        let received = receive(&self.reader, "recv", &self.wish, self.wait, 1).await?;
        Ok(received.into_iter().next())
    }
}

impl<T: Value> TryRecv<T> {
    pub(crate) fn new(reader: &Reader<T>) -> Self {
        Self { reader: reader.clone(), wish: Wish::default() }
    }

    wishes!();

    async fn run(self) -> Result<Option<Item<EventDelivery<T>>>> {
        let received = receive(&self.reader, "try_recv", &self.wish, Wait::NONE, 1).await?;
        Ok(received.into_iter().next())
    }
}

impl<T: Value> RecvMany<T> {
    pub(crate) fn new(reader: &Reader<T>, max: usize) -> Self {
        Self { reader: reader.clone(), wish: Wish::default(), wait: Wait::DEFAULT, max }
    }

    wishes!();
    waits!();

    async fn run(self) -> Result<Vec<Item<EventDelivery<T>>>> {
        let site = &self.reader.receivers.site;
        let max = page_limit("max", self.max).map_err(|error| site.context("recv_many", error))?;
        receive(&self.reader, "recv_many", &self.wish, self.wait, max).await
    }
}

awaitable! {
    Recv<T> => Option<Item<EventDelivery<T>>>;
    TryRecv<T> => Option<Item<EventDelivery<T>>>;
    RecvMany<T> => Vec<Item<EventDelivery<T>>>;
}

shown!(Recv, TryRecv, RecvMany);

/// Events of a group as they arrive: a [`Stream`] of `Result<Item<EventDelivery<T>>>`.
///
/// It keeps waiting while there is nothing, and survives outages by reconnecting with backoff. An `Err` item is an
/// error that waiting does not cure; it is repeated every second for as long as it lasts. Only the error of a shutdown
/// ends the stream. Set options before the first poll. Dropping the stream gives back what it has prefetched.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Deliveries<T> {
    incoming: Incoming<Reader<T>, Item<EventDelivery<T>>>,
}

impl<T: Value> Deliveries<T> {
    pub(crate) fn new(reader: &Reader<T>) -> Self {
        Self { incoming: Incoming::new(reader.clone()) }
    }

    incoming_options!();
}

impl<T: Value> Stream for Deliveries<T> {
    type Item = Result<Item<EventDelivery<T>>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.incoming).poll_next(context)
    }
}

impl<T> fmt::Debug for Deliveries<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}

/// A handler and how to run it. Created by [`Reader::process`].
///
/// The handler's result settles the event: `Ok` commits it; an error or a panic returns it with a delay
/// ([`backoff`](Worker::backoff)) until its deliveries are used up; [`HandlerError::retry_after`] sets that delay;
/// [`HandlerError::fatal`] makes it a dead letter of the group. Leases are renewed while a handler runs. A gap goes to
/// [`on_gap`](Worker::on_gap); an event that cannot be decoded is reported by a tracing event and a counter.
#[must_use = "a worker does nothing until it is run"]
pub struct Worker<T> {
    crew: Crew,
    reader: Reader<T>,
    value: PhantomData<fn(T)>,
}

impl<T: Value> Reader<T> {
    /// Runs `handler` for each event of the group, see [`Worker`].
    pub fn process<F, Fut>(&self, handler: F) -> Worker<T>
    where
        F: Fn(GroupEvent<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let reader = self.clone();
        let mut crew = Crew::new(&self.receivers, self.terms(), self.max_nack_delay(), move |handed, held| {
            let value = reader.decode(&handed.content.payload)?;
            Ok(Box::pin(handler(GroupEvent::new(reader.topic.site.owner, value, handed, held))))
        });
        let (topic, group) = (Arc::clone(&self.topic.site.address.id), Arc::clone(self.group_name()));
        let owner = self.topic.site.owner;
        crew.on_gap = Arc::new(move |gap| observe::gap(&topic, &group, &Gap::new(owner, gap)));
        Worker { crew, reader: self.clone(), value: PhantomData }
    }

    /// Like [`process`](Reader::process), with a clone of `state` for each event.
    pub fn process_with<S, F, Fut>(&self, state: S, handler: F) -> Worker<T>
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, GroupEvent<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.process(move |event| handler(state.clone(), event))
    }
}

impl<T: Value> Worker<T> {
    crew_options!();

    /// Called with each gap, before any event after it is handled. It must not block. Default: a tracing warning.
    pub fn on_gap(mut self, tell: impl Fn(Gap) + Send + Sync + 'static) -> Self {
        let owner = self.reader.topic.site.owner;
        self.crew.on_gap = Arc::new(move |gap| tell(Gap::new(owner, gap)));
        self
    }
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("reader", &self.reader).field("crew", &self.crew).finish_non_exhaustive()
    }
}
