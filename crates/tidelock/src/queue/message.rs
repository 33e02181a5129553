//! What a receive gives: messages, deliveries and receipts.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::meta::Meta;
use super::request::{Ack, Bury, GiveBack, Nack, Settlement, Touch};
use super::site::Site;
use super::store::{Action, Handed, Settle};
use crate::error::{Error, Result};
use crate::lifecycle::{self, Hold};
use crate::runtime::BoxFuture;
use crate::time::{MINUTE, Tick, Timestamp};

/// The number of a message. It grows with each message of its queue and never repeats, not even after the queue was
/// deleted.
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

    /// Reads the decimal text of an id.
    fn from_str(text: &str) -> Result<Self> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let id = text.parse().ok().filter(|id| digits && *id < 1 << 53);
        id.map(Self)
            .ok_or_else(|| Error::argument(format!("a message id is a decimal below 2^53, but this is {text:?}")))
    }
}

/// What became of a nack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nacked {
    /// It will be handed out again, from `due` on.
    Requeued {
        /// By the backend's clock.
        due: Timestamp,
    },
    /// It was the last delivery, or the message was past its `max_age`: now a dead letter.
    DeadLettered,
    /// The delivery was not held any more; nothing changed.
    Stale,
}

/// All that is needed to settle a delivery, from anywhere: it can be stored, and sent to another process.
///
/// Its right ends with the lease, as that of the delivery does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Receipt {
    pub(crate) tenant: Arc<str>,
    pub(crate) queue: Arc<str>,
    pub(crate) id: MessageId,
    pub(crate) fence: u64,
    /// As taken, in milliseconds.
    pub(crate) lease: u64,
}

impl Receipt {
    /// The message.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// The hand-over.
    pub fn fence(&self) -> u64 {
        self.fence
    }
}

/// How much sooner than the server a holder takes its lease for over.
fn margin(lease: Duration) -> Duration {
    (lease / 100).clamp(Duration::from_millis(1), MINUTE)
}

/// One hand-over in this process: under which fence, and until when that can be proven.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) site: Arc<Site>,
    pub(crate) id: u64,
    pub(crate) fence: u64,
    /// As taken, in milliseconds.
    pub(crate) lease: u64,
    /// Of the handle that took it.
    pub(crate) max_nack_delay: Duration,
    proven_until: Mutex<Option<Tick>>,
    moved: Notify,
}

impl Held {
    pub(crate) fn new(site: &Arc<Site>, handed: &Handed, asked: Tick, lease: u64, max_nack_delay: Duration) -> Self {
        Self {
            site: Arc::clone(site),
            id: handed.id,
            fence: handed.fence,
            lease,
            max_nack_delay,
            proven_until: Mutex::new(Some(end(asked, lease))),
            moved: Notify::new(),
        }
    }

    pub(crate) fn settle(&self, action: Action) -> Settle {
        Settle { id: self.id, fence: self.fence, action }
    }

    /// A touch is about to be sent: until its answer the shorter of both leases counts.
    pub(crate) fn touching(&self, asked: Tick, lease: u64) {
        let mut proven = self.lock();
        let end = end(asked, lease);
        if proven.is_some_and(|until| end < until) {
            *proven = Some(end);
            drop(proven);
            self.moved.notify_waiters();
        }
    }

    /// The answer of a touch that was sent at `asked`.
    pub(crate) fn touched(&self, asked: Tick, lease: u64, held: bool) {
        let mut proven = self.lock();
        // A right that was seen to be over never comes back.
        if proven.is_some() {
            *proven = held.then(|| end(asked, lease));
            drop(proven);
            self.moved.notify_waiters();
        }
    }

    pub(crate) fn lost(&self) {
        *self.lock() = None;
        self.moved.notify_waiters();
    }

    pub(crate) fn lease_left(&self) -> Duration {
        let until = *self.lock();
        until.map_or(Duration::ZERO, |until| until.since(self.site.tick()))
    }

    async fn until_lost(&self) {
        loop {
            let moved = self.moved.notified();
            let until = *self.lock();
            match until {
                Some(until) if until > self.site.tick() => tokio::select! {
                    () = self.site.clock().sleep_until(until) => {}
                    () = moved => {}
                },
                _ => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tick>> {
        self.proven_until.lock().expect("no code panics while it holds this lock")
    }
}

fn end(asked: Tick, lease: u64) -> Tick {
    let lease = Duration::from_millis(lease);
    asked.plus(lease.saturating_sub(margin(lease)))
}

impl lifecycle::GiveBack for Held {
    fn give_back(self: Arc<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            // The process ends; what this leaves undone ends with the lease.
            let _ = self.site.settle(vec![self.settle(Action::GiveBack)]).await;
        })
    }
}

/// A message that was handed out: its value and what is known about it.
///
/// Reads as the value itself (`Deref`). A handler of a worker gets it; a receive gives it inside a [`Delivery`].
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

    /// The value alone.
    pub fn into_data(self) -> T {
        self.data
    }

    /// The message's number.
    pub fn id(&self) -> MessageId {
        MessageId(self.held.id)
    }

    /// Message and hand-over in one text: `<message id>.<fence>`.
    pub fn delivery_id(&self) -> String {
        format!("{}.{}", self.held.id, self.held.fence)
    }

    /// Which delivery of the message this is, from 1. A delivery that was given back does not count.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The number of this hand-over: it only grows, so it tells a late writer from the current one.
    pub fn fence(&self) -> u64 {
        self.held.fence
    }

    /// What the sender attached.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The W3C trace context that the sender attached.
    pub fn traceparent(&self) -> Option<&str> {
        std::str::from_utf8(&self.trace).ok().filter(|text| !text.is_empty())
    }

    /// The key in whose line the message stood.
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

    /// How long the lease can still be proven: never longer than it holds.
    pub fn lease_left(&self) -> Duration {
        self.held.lease_left()
    }

    /// Resolves once the lease cannot be proven any more: somebody else may have the message now.
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

/// A message that is this process's until it is settled or its lease is over.
///
/// Settle it by value: [`ack`](Delivery::ack), [`nack`](Delivery::nack), [`dead_letter`](Delivery::dead_letter) or
/// [`give_back`](Delivery::give_back). Dropping it sends nothing: the lease runs out, and the attempt counts. At the end
/// of [`Tidelock::shutdown`](crate::Tidelock::shutdown) it is given back.
pub struct Delivery<T> {
    message: Message<T>,
    hold: Hold,
}

impl<T> Delivery<T> {
    pub(crate) fn new(message: Message<T>) -> Self {
        let site = &message.held.site;
        let at_close = Arc::clone(&message.held) as Arc<dyn lifecycle::GiveBack>;
        let hold = site.world.lifecycle.hold_until_closed("delivery", &site.address.id, at_close);
        Self { message, hold }
    }

    /// The work is done: the message is gone. Answers `false` if the delivery was not held any more.
    pub fn ack(self) -> Ack {
        Ack(self.settlement())
    }

    /// The work failed: the message will be handed out again, unless this was its last delivery.
    pub fn nack(self) -> Nack {
        Nack::new(self.settlement())
    }

    /// The message is refused for good: it becomes a dead letter with this note. Answers `false` if the delivery was
    /// not held any more.
    pub fn dead_letter(self, reason: &str) -> Bury {
        Bury::new(self.settlement(), reason)
    }

    /// Returns the message unused: place and attempt are as before. Answers `false` if the delivery was not held any
    /// more.
    pub fn give_back(self) -> GiveBack {
        GiveBack(self.settlement())
    }

    /// The lease begins anew, with its full length. Answers `false` if the delivery was not held any more.
    pub fn touch(&self) -> Touch {
        Touch::new(Settlement::of(&self.message.held, None))
    }

    /// What is needed to settle this delivery from elsewhere.
    pub fn receipt(&self) -> Receipt {
        let Held { site, id, fence, lease, .. } = &*self.message.held;
        Receipt {
            tenant: Arc::clone(&site.address.tenant),
            queue: Arc::clone(&site.address.id),
            id: MessageId(*id),
            fence: *fence,
            lease: *lease,
        }
    }

    /// The value, and what is needed to settle its delivery later. From here on a shutdown does not give it back.
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
