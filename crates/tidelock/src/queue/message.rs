//! What a receive gives: messages, deliveries and receipts.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::store::Handed;
use crate::check;
use crate::error::{Error, Result};
use crate::handover::{Ack, Bury, GiveBack, Held, Nack, Receipt, Settlement, Touch};
use crate::lifecycle::Hold;
use crate::meta::Meta;
use crate::time::Timestamp;

/// The id of a message. Ids of a queue only grow and never repeat, not even after the queue was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub(crate) u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = Error;

    /// Reads an id from decimal text.
    fn from_str(text: &str) -> Result<Self> {
        let id = check::decimal(text).map(Self);
        id.ok_or_else(|| Error::argument(format!("a message id is a decimal below 2^53, but this is {text:?}")))
    }
}

/// A delivered message: its value and what is known about it.
///
/// It dereferences to the value (`Deref`). A worker's handler gets it as is; a receive returns it inside a
/// [`Delivery`].
pub struct Message<T> {
    data: T,
    pub(crate) held: Arc<Held>,
    attempt: u64,
    priority: u8,
    enqueued_at: Timestamp,
    last_error: Option<Arc<str>>,
    meta: Meta,
    trace: Vec<u8>,
    ordering_key: Option<Arc<str>>,
}

impl<T> Message<T> {
    pub(crate) fn new(data: T, handed: Handed, held: Arc<Held>) -> Self {
        let Handed { attempt, priority, enqueued_at, last_error, content, .. } = handed;
        Self {
            data,
            held,
            attempt,
            priority,
            enqueued_at: Timestamp::from_millis(enqueued_at),
            last_error,
            meta: Meta::new(content.meta),
            trace: content.trace,
            ordering_key: content.ordering_key,
        }
    }

    /// The value.
    pub fn data(&self) -> &T {
        &self.data
    }

    /// The value, by ownership.
    pub fn into_data(self) -> T {
        self.data
    }

    /// The message's id.
    pub fn id(&self) -> MessageId {
        MessageId(self.held.id)
    }

    /// Message and delivery in one text: `<message id>.<fence>`.
    pub fn delivery_id(&self) -> String {
        self.held.delivery_id()
    }

    /// The number of this delivery of the message, from 1. Deliveries that were given back do not count.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The fencing token of this delivery: it only grows, so it tells a late writer from the current one.
    pub fn fence(&self) -> u64 {
        self.held.fence
    }

    /// The metadata that the sender attached.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The W3C trace context that the sender attached.
    pub fn traceparent(&self) -> Option<&str> {
        std::str::from_utf8(&self.trace).ok().filter(|text| !text.is_empty())
    }

    /// The ordering key of the message.
    pub fn ordering_key(&self) -> Option<&str> {
        self.ordering_key.as_deref()
    }

    /// 0..=9, higher first.
    pub fn priority(&self) -> u8 {
        self.priority
    }

    /// When it was sent.
    pub fn enqueued_at(&self) -> Timestamp {
        self.enqueued_at
    }

    /// The error of the last nack that had one.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// How long the lease can still be proven: never longer than it really lasts.
    pub fn lease_left(&self) -> Duration {
        self.held.lease_left()
    }

    /// Resolves once the lease can no longer be proven: another consumer may have the message now.
    ///
    /// Dropping the future does nothing.
    pub async fn lost(&self) {
        self.held.until_lost().await;
    }
}

impl<T> Deref for Message<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: fmt::Debug> fmt::Debug for Message<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.held.id)
            .field("fence", &self.held.fence)
            .field("attempt", &self.attempt)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

/// A message held by this process until it is settled or its lease ends.
///
/// Settle it by value: [`ack`](Delivery::ack), [`nack`](Delivery::nack), [`dead_letter`](Delivery::dead_letter) or
/// [`give_back`](Delivery::give_back). Dropping it sends nothing: the lease runs out, and the attempt counts. At the
/// end of [`Tidelock::shutdown`](crate::Tidelock::shutdown) it is given back.
#[must_use = "dropping it settles nothing: the lease runs out, and the attempt counts"]
pub struct Delivery<T> {
    message: Message<T>,
    hold: Hold,
}

impl<T> Delivery<T> {
    pub(crate) fn new(message: Message<T>) -> Self {
        let hold = message.held.hold();
        Self { message, hold }
    }

    /// The work is done: removes the message. Resolves to `false` if the delivery was no longer held.
    pub fn ack(self) -> Ack {
        Ack::new(self.settlement())
    }

    /// The work failed: the message will be delivered again, unless this was its last delivery.
    pub fn nack(self) -> Nack {
        Nack::new(self.settlement())
    }

    /// Rejects the message for good: it becomes a dead letter with this reason. Resolves to `false` if the delivery was
    /// no longer held.
    pub fn dead_letter(self, reason: &str) -> Bury {
        Bury::new(self.settlement(), reason)
    }

    /// Returns the message unused: its place and attempts are as before. Resolves to `false` if the delivery was no
    /// longer held.
    pub fn give_back(self) -> GiveBack {
        GiveBack::new(self.settlement())
    }

    /// Restarts the lease with its full length. Resolves to `false` if the delivery was no longer held.
    pub fn touch(&self) -> Touch {
        Touch::new(Settlement::of(&self.message.held, None))
    }

    /// Everything needed to settle this delivery from elsewhere.
    pub fn receipt(&self) -> Receipt {
        self.message.held.receipt()
    }

    /// The value, and everything needed to settle its delivery later. A shutdown will not give it back.
    pub fn into_parts(self) -> (T, Receipt) {
        let receipt = self.receipt();
        (self.message.data, receipt)
    }

    fn settlement(self) -> Settlement {
        Settlement::of(&self.message.held, Some(self.hold))
    }
}

impl<T> Deref for Delivery<T> {
    type Target = Message<T>;

    fn deref(&self) -> &Message<T> {
        &self.message
    }
}

impl<T: fmt::Debug> fmt::Debug for Delivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delivery").field(&self.message).finish()
    }
}
