//! Deliveries as a stream.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::Queue;
use super::message::Delivery;
use crate::codec::Value;
use crate::error::Result;
use crate::handover::{Incoming, incoming_options};

/// Deliveries as they come: a [`Stream`] of `Result<Delivery<T>>`.
///
/// It waits on when the queue is empty and survives outages: it backs off and goes on. An `Err` item is something
/// that waiting does not cure: it is told again every second for as long as it lasts; only after that of a shutdown the
/// stream ends. Options are set before the first poll. Dropping the stream gives back what it took ahead.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Deliveries<T> {
    incoming: Incoming<Queue<T>, Delivery<T>>,
}

impl<T: Value> Deliveries<T> {
    pub(crate) fn new(queue: &Queue<T>) -> Self {
        Self { incoming: Incoming::new(queue.clone()) }
    }

    incoming_options!();
}

impl<T: Value> Stream for Deliveries<T> {
    type Item = Result<Delivery<T>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.incoming).poll_next(context)
    }
}

impl<T> fmt::Debug for Deliveries<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}
