//! Receiving the events of a job in a group: one event, what is deliverable now, or a stream.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::{EventDelivery, Reader};
use crate::error::Result;
use crate::handover::{Incoming, Wait, Wish, receive, waits};
use crate::job::events::Item;
use crate::request::awaitable;

/// Waits for one event of the job on behalf of the group. Resolves to `Option<Item<EventDelivery>>`: `None` means that
/// nothing was deliverable before the end of the wait, or that no more events come; a broken connection is an error.
///
/// Receives of one process are served in order of arrival. Dropping the future gives back an event claimed for it, so
/// nothing is lost and no attempt is used.
#[derive(Debug)]
#[must_use = "nothing is received until it is awaited"]
pub struct Recv {
    reader: Reader,
    wish: Wish,
    wait: Wait,
}

/// Takes one event if one is deliverable now. Resolves to `Option<Item<EventDelivery>>`.
///
/// Dropping the future gives back whatever was claimed for it.
#[derive(Debug)]
#[must_use = "nothing is received until it is awaited"]
pub struct TryRecv {
    reader: Reader,
    wish: Wish,
}

impl Recv {
    pub(super) fn new(reader: &Reader) -> Self {
        Self { reader: reader.clone(), wish: Wish::default(), wait: Wait::DEFAULT }
    }

    /// The lease of whatever is received: 1 ms..=10 years, default that of the reader.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.wish.lease = Some(lease);
        self
    }

    waits!();

    async fn run(self) -> Result<Option<Item<EventDelivery>>> {
        Ok(receive(&self.reader, "recv", &self.wish, self.wait, 1).await?.pop())
    }
}

impl TryRecv {
    pub(super) fn new(reader: &Reader) -> Self {
        Self { reader: reader.clone(), wish: Wish::default() }
    }

    /// The lease of whatever is received: 1 ms..=10 years, default that of the reader.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.wish.lease = Some(lease);
        self
    }

    async fn run(self) -> Result<Option<Item<EventDelivery>>> {
        Ok(receive(&self.reader, "try_recv", &self.wish, Wait::NONE, 1).await?.pop())
    }
}

awaitable! {
    Recv => Option<Item<EventDelivery>>;
    TryRecv => Option<Item<EventDelivery>>;
}

/// Events of a job as they arrive in a group: a [`Stream`] of `Result<Item<EventDelivery>>`.
///
/// It ends after the terminal event was delivered here; if another reader got that, when the group has committed
/// everything; and when the job is gone. Until then it waits, and survives outages by reconnecting with backoff. An
/// `Err` item is an error that waiting does not cure; it is repeated every second for as long as it lasts. Only the
/// error of a shutdown ends the stream. Set options before the first poll. Dropping the stream gives back whatever was
/// claimed for it and not delivered.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Deliveries {
    incoming: Incoming<Reader, Item<EventDelivery>>,
}

impl Deliveries {
    pub(super) fn new(reader: &Reader) -> Self {
        Self { incoming: Incoming::new(reader.clone()) }
    }

    /// The lease of whatever is received: 1 ms..=10 years, default that of the reader.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.incoming.set(|setup| setup.wish.lease = Some(lease));
        self
    }

    /// Ends the stream when `stop` resolves.
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.incoming.set(|setup| setup.until = Some(Box::pin(stop)));
        self
    }

    /// Ends the stream as soon as nothing is deliverable.
    pub fn drain(mut self) -> Self {
        self.incoming.set(|setup| setup.drain = true);
        self
    }
}

impl Stream for Deliveries {
    type Item = Result<Item<EventDelivery>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.incoming).poll_next(context)
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}
