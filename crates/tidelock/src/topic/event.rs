//! What readers and followers get: events, gaps, and events that cannot be decoded.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::cursor::{Cursor, EventId};
use super::store::{GapView, Position};
use crate::codec::readable;
use crate::cursor::Owner;
use crate::handover::store::{Content, Handed};
use crate::handover::{Ack as Commit, Bury, GiveBack, Held, Nack, Receipt, Settlement, Touch};
use crate::lifecycle::Hold;
use crate::meta::Meta;
use crate::time::Timestamp;
use crate::word::words;

/// The next item of a log.
// Exhaustive: every reader takes it apart, and what it passes over by a wildcard would be lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Item<E> {
    /// An event.
    Event(E),
    /// Events that are no longer available; reported once, before the event that follows them.
    Gap(Gap),
    /// An event whose bytes cannot be decoded to the handle's type. In a group it is now in the dead letters.
    Undecodable(RawEvent),
}

impl<E> Item<E> {
    /// The event, if it is one.
    pub fn event(self) -> Option<E> {
        match self {
            Self::Event(event) => Some(event),
            Self::Gap(_) | Self::Undecodable(_) => None,
        }
    }
}

/// Events that a group, follower or page can no longer get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Gap {
    /// The position before the gap.
    pub from: Cursor,
    /// The position just before the next event.
    pub to: Cursor,
    /// The number of events in between; `None` if unknown.
    pub missed: Option<u64>,
    /// The cause.
    pub cause: GapCause,
}

impl Gap {
    pub(crate) fn new(owner: Owner, view: GapView) -> Self {
        Self {
            from: Cursor::new(owner, view.from),
            to: Cursor::new(owner, view.to),
            missed: view.missed,
            cause: if view.missed.is_some() { GapCause::Trimmed } else { GapCause::Replaced },
        }
    }
}

/// Why events are no longer available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GapCause {
    /// They were no longer retained.
    Trimmed,
    /// This is another log (the old one was deleted, forgotten or lost with its server), or a failover lost its newest
    /// events.
    Replaced,
}

words!(GapCause: Self::Trimmed => "trimmed", Self::Replaced => "replaced");

/// An event that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RawEvent {
    /// The event.
    pub event_id: EventId,
    /// The position after it.
    pub cursor: Cursor,
    /// When it was published.
    pub published_at: Timestamp,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// The metadata that the publisher attached.
    pub meta: Meta,
    /// The stored bytes.
    #[serde(serialize_with = "readable")]
    pub raw: Vec<u8>,
    /// Why they cannot be decoded.
    pub error: String,
}

impl RawEvent {
    pub(crate) fn new(owner: Owner, position: Position, content: Content, error: String) -> Self {
        let cursor = Cursor::new(owner, position);
        Self {
            event_id: EventId(cursor),
            cursor,
            published_at: published_at(position),
            ordering_key: content.ordering_key.map(|key| key.as_ref().to_owned()),
            meta: Meta::new(content.meta),
            raw: content.payload,
            error,
        }
    }
}

/// A position is the publication time in microseconds, advanced where it would repeat.
pub(super) fn published_at(position: Position) -> Timestamp {
    Timestamp::from_millis(position.at / 1_000)
}

/// An event of a topic. It dereferences to its value (`Deref`).
#[derive(Clone, PartialEq, Eq)]
pub struct Event<T> {
    data: T,
    cursor: Cursor,
    ordering_key: Option<Arc<str>>,
    meta: Meta,
    trace: Vec<u8>,
}

impl<T> Event<T> {
    /// An event whose payload (that of `content`) was decoded to `data`.
    pub(crate) fn new(owner: Owner, position: Position, data: T, content: Content) -> Self {
        Self {
            data,
            cursor: Cursor::new(owner, position),
            ordering_key: content.ordering_key,
            meta: Meta::new(content.meta),
            trace: content.trace,
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

    /// The identity of the event.
    pub fn event_id(&self) -> EventId {
        EventId(self.cursor)
    }

    /// The position after the event: reading after it continues with the next one.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// When it was published, by the backend's clock.
    pub fn published_at(&self) -> Timestamp {
        published_at(self.cursor.position)
    }

    /// Its ordering key.
    pub fn ordering_key(&self) -> Option<&str> {
        self.ordering_key.as_deref()
    }

    /// The metadata that the publisher attached.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The W3C trace context that the publisher attached.
    pub fn traceparent(&self) -> Option<&str> {
        std::str::from_utf8(&self.trace).ok().filter(|text| !text.is_empty())
    }
}

impl<T> Deref for Event<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T: fmt::Debug> fmt::Debug for Event<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("cursor", &self.cursor).field("data", &self.data).finish_non_exhaustive()
    }
}

impl<T: Serialize> Serialize for Event<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut event = serializer.serialize_struct("Event", 6)?;
        event.serialize_field("event_id", &self.event_id())?;
        event.serialize_field("cursor", &self.cursor)?;
        event.serialize_field("published_at", &self.published_at())?;
        event.serialize_field("ordering_key", &self.ordering_key())?;
        event.serialize_field("meta", &self.meta)?;
        event.serialize_field("data", &self.data)?;
        event.end()
    }
}

/// An event delivered to a reader of a group. It dereferences to the [`Event`], and that to its value.
///
/// A worker's handler gets it as is; a receive returns it inside an [`EventDelivery`].
pub struct GroupEvent<T> {
    event: Event<T>,
    pub(crate) held: Arc<Held>,
    attempt: u64,
    last_error: Option<Arc<str>>,
}

impl<T> GroupEvent<T> {
    pub(crate) fn new(owner: Owner, data: T, handed: Handed, held: Arc<Held>) -> Self {
        let Handed { position, attempt, last_error, content, .. } = handed;
        Self { event: Event::new(owner, position, data, content), held, attempt, last_error }
    }

    /// The event alone.
    pub fn into_event(self) -> Event<T> {
        self.event
    }

    /// Event and delivery in one text, unique within the topic.
    pub fn delivery_id(&self) -> String {
        self.held.delivery_id()
    }

    /// The number of this delivery of the event in this group, from 1. Deliveries that were given back do not count.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The fencing token of this delivery: it only grows, so it tells a late writer from the current one.
    pub fn fence(&self) -> u64 {
        self.held.fence
    }

    /// The error of the last nack in this group that had one.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// How long the lease can still be proven: never longer than it really lasts.
    pub fn lease_left(&self) -> Duration {
        self.held.lease_left()
    }

    /// Resolves once the lease can no longer be proven: another reader may have the event now.
    ///
    /// Dropping the future does nothing.
    pub async fn lost(&self) {
        self.held.until_lost().await;
    }
}

impl<T> Deref for GroupEvent<T> {
    type Target = Event<T>;

    fn deref(&self) -> &Event<T> {
        &self.event
    }
}

impl<T: fmt::Debug> fmt::Debug for GroupEvent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupEvent")
            .field("cursor", &self.event.cursor)
            .field("fence", &self.held.fence)
            .field("attempt", &self.attempt)
            .field("data", &self.event.data)
            .finish_non_exhaustive()
    }
}

/// An event held by this reader until it is settled or its lease ends.
///
/// Settle it by value: [`commit`](EventDelivery::commit), [`nack`](EventDelivery::nack),
/// [`dead_letter`](EventDelivery::dead_letter) or [`give_back`](EventDelivery::give_back). Dropping it sends nothing:
/// the lease runs out, and the attempt counts. At the end of [`Tidelock::shutdown`](crate::Tidelock::shutdown) it is
/// given back.
#[must_use = "dropping it settles nothing: the lease runs out, and the attempt counts"]
pub struct EventDelivery<T> {
    event: GroupEvent<T>,
    hold: Hold,
}

impl<T> EventDelivery<T> {
    pub(crate) fn new(event: GroupEvent<T>) -> Self {
        let hold = event.held.hold();
        Self { event, hold }
    }

    /// The work is done: the group does not get the event again. Resolves to `false` if the delivery was no longer
    /// held.
    pub fn commit(self) -> Commit {
        Commit::new(self.settlement())
    }

    /// The work failed: the event will be delivered again, unless this was its last delivery.
    pub fn nack(self) -> Nack {
        Nack::new(self.settlement())
    }

    /// Rejects the event for good: it becomes a dead letter of the group with this reason. Resolves to `false` if the
    /// delivery was no longer held.
    pub fn dead_letter(self, reason: &str) -> Bury {
        Bury::new(self.settlement(), reason)
    }

    /// Returns the event unused: the attempt does not count. Resolves to `false` if the delivery was no longer held.
    pub fn give_back(self) -> GiveBack {
        GiveBack::new(self.settlement())
    }

    /// Restarts the lease with its full length. Resolves to `false` if the delivery was no longer held.
    pub fn touch(&self) -> Touch {
        Touch::new(Settlement::of(&self.event.held, None))
    }

    /// Everything needed to settle this delivery from elsewhere.
    pub fn receipt(&self) -> Receipt {
        self.event.held.receipt()
    }

    /// The value, and everything needed to settle its delivery later. A shutdown will not give it back.
    pub fn into_parts(self) -> (T, Receipt) {
        let receipt = self.receipt();
        (self.event.event.data, receipt)
    }

    fn settlement(self) -> Settlement {
        Settlement::of(&self.event.held, Some(self.hold))
    }
}

impl<T> Deref for EventDelivery<T> {
    type Target = GroupEvent<T>;

    fn deref(&self) -> &GroupEvent<T> {
        &self.event
    }
}

impl<T: fmt::Debug> fmt::Debug for EventDelivery<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventDelivery").field(&self.event).finish()
    }
}
