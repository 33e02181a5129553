//! Receiving: one message, several, or what is there now.

use std::sync::Arc;
use std::time::Duration;

use super::Queue;
use super::message::{Delivery, Message};
use super::store::Handed;
use crate::codec::Value;
use crate::error::{Error, Result};
use crate::handover::{Held, Opening, Receivers, Terms, Wait, Wish, receive, shown, waits, wishes};
use crate::page::page_limit;
use crate::request::awaitable;
use crate::topic::store::GapView;

impl<T: Value> Opening for Queue<T> {
    type Value = T;
    type Item = Delivery<T>;

    fn receivers(&self) -> &Arc<Receivers> {
        &self.receivers
    }

    fn terms(&self) -> &Arc<Terms> {
        &self.options.terms
    }

    fn max_nack_delay(&self) -> Duration {
        self.options.max_nack_delay
    }

    fn decode(&self, bytes: &[u8]) -> Result<T> {
        self.options.border.decode(bytes)
    }

    fn item(&self, value: T, handed: Handed, held: Arc<Held>) -> Delivery<T> {
        Delivery::new(Message::new(value, handed, held))
    }

    /// Skipped.
    fn undecodable(&self, _: Handed, _: &Error) -> Option<Delivery<T>> {
        None
    }

    /// A queue has no gaps.
    fn gap(&self, _: GapView) -> Option<Delivery<T>> {
        None
    }
}

/// Waits for one message. Resolves to `Option<Delivery<T>>`: `None` means that nothing was deliverable before the end
/// of the wait; a broken connection is an error.
///
/// Receives of one process are served in order of arrival. Dropping the future gives back a message claimed for it, so
/// nothing is lost and no attempt is used.
#[must_use = "nothing is received until it is awaited"]
pub struct Recv<T> {
    queue: Queue<T>,
    wish: Wish,
    wait: Wait,
}

/// Takes one message if one is deliverable now. Resolves to `Option<Delivery<T>>`.
///
/// Dropping the future gives back a message claimed for it.
#[must_use = "nothing is received until it is awaited"]
pub struct TryRecv<T> {
    queue: Queue<T>,
    wish: Wish,
}

/// Waits for the first message and takes with it whatever else is deliverable, up to a number. Resolves to
/// `Vec<Delivery<T>>`, with at most one per ordering key; if empty, nothing was deliverable before the end of the wait.
///
/// Dropping the future gives back the messages claimed for it.
#[must_use = "nothing is received until it is awaited"]
pub struct RecvMany<T> {
    queue: Queue<T>,
    wish: Wish,
    wait: Wait,
    max: usize,
}

impl<T: Value> Recv<T> {
    pub(crate) fn new(queue: &Queue<T>) -> Self {
        Self { queue: queue.clone(), wish: Wish::default(), wait: Wait::DEFAULT }
    }

    wishes!();
    waits!();

    async fn run(self) -> Result<Option<Delivery<T>>> {
        let received = receive(&self.queue, "recv", &self.wish, self.wait, 1).await?;
        Ok(received.into_iter().next())
    }
}

impl<T: Value> TryRecv<T> {
    pub(crate) fn new(queue: &Queue<T>) -> Self {
        Self { queue: queue.clone(), wish: Wish::default() }
    }

    wishes!();

    async fn run(self) -> Result<Option<Delivery<T>>> {
        let received = receive(&self.queue, "try_recv", &self.wish, Wait::NONE, 1).await?;
        Ok(received.into_iter().next())
    }
}

impl<T: Value> RecvMany<T> {
    pub(crate) fn new(queue: &Queue<T>, max: usize) -> Self {
        Self { queue: queue.clone(), wish: Wish::default(), wait: Wait::DEFAULT, max }
    }

    wishes!();
    waits!();

    async fn run(self) -> Result<Vec<Delivery<T>>> {
        let max = page_limit("max", self.max).map_err(|error| self.queue.site().context("recv_many", error))?;
        receive(&self.queue, "recv_many", &self.wish, self.wait, max).await
    }
}

awaitable! {
    Recv<T> => Option<Delivery<T>>;
    TryRecv<T> => Option<Delivery<T>>;
    RecvMany<T> => Vec<Delivery<T>>;
}

shown!(Recv, TryRecv, RecvMany);
