//! Sending.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::codec::Value;
use crate::draft::{self, Draft, When};
use crate::error::{Error, ErrorKind, Result};
use crate::handover::observe::{self, Measure, Operation};
use crate::queue::message::MessageId;
use crate::queue::store::{Accepted, MAX_BATCH, NewMessage};
use crate::queue::{Queue, store_of};
use crate::request::{awaitable, opaque};
use crate::time::Timestamp;

/// The result of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Sent {
    /// The message's id; of a duplicate, that of the first message with its key.
    pub id: MessageId,
    /// Whether a message with this deduplication key had been accepted before, so that this send wrote nothing.
    pub duplicate: bool,
}

/// A message to be sent to a queue. Resolves to [`Sent`].
///
/// Sends that are awaited at the same time share round trips. Dropping the future before it was sent withdraws it;
/// after that it may take effect.
#[must_use = "nothing is sent until it is awaited"]
pub struct SendRequest<T> {
    queue: Queue<T>,
    when: When,
    draft: Draft,
}

impl<T: Value> SendRequest<T> {
    pub(crate) fn new(queue: &Queue<T>, value: &T) -> Self {
        Self { draft: Draft::new(queue.options.border.encode(value)), queue: queue.clone(), when: When::default() }
    }

    /// Delays its first delivery: 0..=10 years after it was accepted, default none. Not together with [`at`](Self::at).
    pub fn delay(mut self, delay: Duration) -> Self {
        self.when.delay = Some(delay);
        self
    }

    /// Due at this instant of the backend's clock, at most 10 years ahead; one in the past means now. Not together with
    /// [`delay`](Self::delay).
    pub fn at(mut self, at: impl Into<Timestamp>) -> Self {
        self.when.at = Some(at.into());
        self
    }

    /// 0..=9, higher first; default 0. Strict: lower ones wait while higher ones are ready.
    pub fn priority(mut self, priority: u8) -> Self {
        self.when.priority = priority;
        self
    }

    /// Messages with the same key are delivered in send order and one at a time: 1..=512 bytes.
    pub fn ordering_key(mut self, key: &str) -> Self {
        self.draft.ordering_key = Some(key.into());
        self
    }

    /// At most one message per key and window ([`dedup_for`](Self::dedup_for)): 1..=512 bytes. A later send with the
    /// same key writes nothing and returns the first one's id, whatever happened to that message.
    pub fn dedup_key(mut self, key: &str) -> Self {
        self.draft.dedup_key = Some(key.into());
        self
    }

    /// How long the deduplication key is remembered after its first use: 1 ms..=10 years, default 7 days.
    pub fn dedup_for(mut self, window: Duration) -> Self {
        self.draft.dedup_for = Some(window);
        self
    }

    /// Attaches a JSON value under a name; it is delivered unchanged and counts towards the payload limit.
    pub fn meta(mut self, name: &str, value: &impl Serialize) -> Self {
        self.draft.attach(name, value);
        self
    }

    /// Attaches a W3C trace context (`00-<32 hex>-<16 hex>-<2 hex>`), which travels separately from the metadata and
    /// counts towards no limit.
    pub fn traceparent(mut self, context: &str) -> Self {
        self.draft.trace = Some(context.into());
        self
    }

    fn check(&self) -> Result<()> {
        self.when.check(self.queue.site().clock())?;
        self.draft.check()
    }

    fn into_message(self) -> Result<NewMessage> {
        self.check()?;
        let options = &self.queue.options;
        let (content, dedup) = self.draft.finish(&options.border)?;
        Ok(NewMessage {
            content,
            due: self.when.due(),
            priority: self.when.priority,
            dedup,
            max_age: options.max_age,
            retention: options.retention,
            max_depth: options.max_depth,
        })
    }

    async fn run(self) -> Result<Sent> {
        let receivers = Arc::clone(&self.queue.receivers);
        let site = &receivers.site;
        site.check("send")?;
        let message = self.into_message().map_err(|error| site.context("send", error))?;
        let span = observe::span(site, Operation::Send, 1, None);
        let accepted = observe::within(span, store_of(site).send(&site.address, vec![message])).await;
        match accepted.map_err(|error| site.context("send", error))? {
            Accepted::All(sent) => {
                let (id, duplicate) = *sent.first().expect("a batch of one has one answer");
                observe::count(site, Measure::Sent, usize::from(!duplicate));
                Ok(Sent { id: MessageId(id), duplicate })
            }
            Accepted::Full { depth, limit, .. } => Err(site.context("send", full(depth, limit))),
        }
    }
}

/// The error for a reached `max_depth`. A retry helps once something was consumed.
pub(crate) fn full(depth: u64, limit: u64) -> Error {
    let text = format!("max_depth is reached: {depth} messages are ready or delayed, limit {limit}");
    Error::new(ErrorKind::CapacityReached, text).retryable()
}

/// Several messages, stored all or none. Resolves to a [`Sent`] for each, in order.
///
/// 1..=1,000 items of one queue and tenant, and at most 16 MiB together. Dropping the future before it was sent
/// withdraws it; after that it may take effect.
#[must_use = "nothing is sent until it is awaited"]
pub struct SendMany<T> {
    queue: Queue<T>,
    items: Vec<SendRequest<T>>,
}

impl<T: Value> SendMany<T> {
    pub(crate) fn new(queue: &Queue<T>, items: impl IntoIterator<Item = SendRequest<T>>) -> Self {
        // One more than allowed, so that an endless iterator is refused instead of collected.
        Self { queue: queue.clone(), items: items.into_iter().take(MAX_BATCH + 1).collect() }
    }

    fn into_batch(self) -> Result<Vec<NewMessage>> {
        let address = &self.queue.site().address;
        let check = |index, item: &SendRequest<T>| {
            let other = &item.queue.site().address;
            if other != address {
                let text = format!(
                    "item {index} is for queue {:?} of tenant {:?}: a batch goes to one queue of one tenant ({:?})",
                    other.id, other.tenant, address.tenant
                );
                return Err(Error::argument(text));
            }
            item.check().map_err(|error| error.in_context(format_args!("item {index}")))
        };
        draft::batch(self.items, check, SendRequest::into_message, |message| &message.content)
    }

    async fn run(self) -> Result<Vec<Sent>> {
        let receivers = Arc::clone(&self.queue.receivers);
        let site = &receivers.site;
        site.check("send_many")?;
        let batch = self.into_batch().map_err(|error| site.context("send_many", error))?;
        let count = batch.len();
        let span = observe::span(site, Operation::Send, count, None);
        let accepted = observe::within(span, store_of(site).send(&site.address, batch)).await;
        match accepted.map_err(|error| site.context("send_many", error))? {
            Accepted::All(sent) => {
                observe::count(site, Measure::Sent, sent.iter().filter(|(_, duplicate)| !duplicate).count());
                Ok(sent.into_iter().map(|(id, duplicate)| Sent { id: MessageId(id), duplicate }).collect())
            }
            Accepted::Full { index, depth, limit } => {
                let error = full(depth, limit).in_context(format_args!("item {index}"));
                Err(site.context("send_many", error))
            }
        }
    }
}

awaitable! {
    SendRequest<T> => Sent;
    SendMany<T> => Vec<Sent>;
}

opaque!(SendRequest, SendMany);
