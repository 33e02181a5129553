//! Workers of a queue.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use super::Queue;
use super::message::Message;
use crate::codec::Value;
use crate::error::Result;
use crate::handover::{Crew, HandlerError, crew_options};

/// A handler and how to run it. Created by [`Queue::process`].
///
/// The handler's result settles the message: `Ok` acks it; an error or a panic returns it with a delay
/// ([`backoff`](Worker::backoff)) until its deliveries are used up; [`HandlerError::retry_after`] sets that delay;
/// [`HandlerError::fatal`] makes it a dead letter. Leases are renewed while a handler runs.
#[must_use = "a worker does nothing until it is run"]
pub struct Worker<T> {
    crew: Crew,
    value: PhantomData<fn(T)>,
}

impl<T: Value> Queue<T> {
    /// Runs `handler` for each message, see [`Worker`].
    ///
    /// ```
    /// # use tidelock::{SECOND, Tidelock, queue::HandlerError};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> tidelock::Result<()> {
    /// # let tide = Tidelock::in_process();
    /// let numbers = tide.queue::<String>("numbers").build()?;
    /// numbers.send(&"7".to_owned()).await?;
    ///
    /// let (done, stop) = tokio::sync::oneshot::channel();
    /// let done = std::sync::Mutex::new(Some(done));
    /// let worker = numbers.process(move |message| {
    ///     let finished = done.lock().unwrap().take();
    ///     async move {
    ///         let number: i64 = message.parse().map_err(HandlerError::fatal)?; // no retry makes it a number
    ///         assert_eq!(number, 7);
    ///         finished.map(|finished| finished.send(()));
    ///         Ok(())
    ///     }
    /// });
    /// let report = worker.concurrency(8).run_until(async { stop.await.unwrap() }).await?;
    /// assert_eq!(report.acked, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn process<F, Fut>(&self, handler: F) -> Worker<T>
    where
        F: Fn(Message<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        let border = self.options.border.clone();
        let crew = Crew::new(&self.receivers, &self.options.terms, self.options.max_nack_delay, move |handed, held| {
            let value = border.decode(&handed.content.payload)?;
            Ok(Box::pin(handler(Message::new(value, handed, held))))
        });
        Worker { crew, value: PhantomData }
    }

    /// Like [`process`](Queue::process), with a clone of `state` for each message.
    pub fn process_with<S, F, Fut>(&self, state: S, handler: F) -> Worker<T>
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, Message<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.process(move |message| handler(state.clone(), message))
    }
}

impl<T: Value> Worker<T> {
    crew_options!();
}

impl<T> fmt::Debug for Worker<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Worker").field(&self.crew).finish()
    }
}
