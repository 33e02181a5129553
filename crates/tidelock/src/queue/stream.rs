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

/// Deliveries as they arrive: a [`Stream`] of `Result<Delivery<T>>`.
///
/// It keeps waiting while the queue is empty, and survives outages by reconnecting with backoff. An `Err` item is an
/// error that waiting does not cure; it is repeated every second for as long as it lasts. Only the error of a shutdown
/// ends the stream. Set options before the first poll. Dropping the stream gives back what it has prefetched.
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
