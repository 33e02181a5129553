//! What looking at a queue shows.

use std::time::Duration;

use serde::Serialize;

use super::message::MessageId;
use super::store::{LeaseView, MessageView, State, StatsView};
use crate::codec::{self, Codec, Value, readable};
use crate::error::Result;
use crate::limits::RateLimit;
use crate::meta::Meta;
use crate::pause::Paused;
use crate::time::{Timestamp, optional_millis};

/// A queue at one instant: `ready + delayed + leased + dead = accepted − settled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct QueueStats {
    /// Due and not held.
    pub ready: u64,
    /// Part of `ready`: waiting for an unfinished message with the same ordering key.
    pub blocked: u64,
    /// Not due yet.
    pub delayed: u64,
    /// Held by consumers.
    pub leased: u64,
    /// In the dead letters.
    pub dead: u64,
    /// Sends so far that were not duplicates.
    pub accepted: u64,
    /// Acked, removed, purged, and dead letters that ended.
    pub settled: u64,
    /// How long the oldest deliverable message has been ready. Serialized in milliseconds.
    #[serde(serialize_with = "optional_millis")]
    pub oldest_ready_age: Option<Duration>,
    /// The earliest instant at which a delayed message becomes ready.
    pub next_due: Option<Timestamp>,
    /// The pause in force.
    pub paused: Option<Paused>,
    /// The limit of the rate of deliveries.
    pub rate_limit: Option<RateLimit>,
    /// How many messages may be held at once, in all processes together.
    pub concurrency_limit: Option<u64>,
    /// More was overdue than one request processes: the numbers are those after its last step.
    pub settling: bool,
}

impl From<StatsView> for QueueStats {
    fn from(view: StatsView) -> Self {
        Self {
            ready: view.ready,
            blocked: view.blocked,
            delayed: view.delayed,
            leased: view.leased,
            dead: view.dead,
            accepted: view.accepted,
            settled: view.settled,
            oldest_ready_age: view.oldest_ready_age.map(Duration::from_millis),
            next_due: view.next_due.map(Timestamp::from_millis),
            paused: view.paused.map(Paused::from),
            rate_limit: view.rate.map(RateLimit::from),
            concurrency_limit: view.most_held,
            settling: view.settling,
        }
    }
}

/// The current state of an unfinished message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MessageInfo {
    /// Its id.
    pub id: MessageId,
    /// Its state.
    pub state: State,
    /// Ready, but waiting for an unfinished message with the same ordering key.
    pub blocked: bool,
    /// 0..=9, higher first.
    pub priority: u8,
    /// Deliveries so far.
    pub attempts: u64,
    /// When it was sent.
    pub enqueued_at: Timestamp,
    /// When it is due; if ready or leased, the time that determines its order.
    pub due: Timestamp,
    /// When it becomes a dead letter unless it is finished.
    pub expires_at: Option<Timestamp>,
    /// The reason of the last nack that had one.
    pub note: Option<String>,
    /// The error of the last nack that had one.
    pub last_error: Option<String>,
    /// Its holder, while it is leased.
    pub lease: Option<Lease>,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// The metadata that the sender attached.
    pub meta: Meta,
    /// Its size, as counted towards the payload limit, in bytes.
    pub size: usize,
    /// The stored bytes of the value.
    #[serde(serialize_with = "readable")]
    pub raw: Vec<u8>,
    #[serde(skip)]
    codec: Codec,
}

/// The holder of a leased message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Lease {
    /// The fencing token of the delivery.
    pub fence: u64,
    /// When the lease ends unless it is renewed.
    pub end: Timestamp,
    /// The name of the consumer.
    pub consumer: String,
}

impl MessageInfo {
    pub(crate) fn new(view: MessageView, codec: Codec) -> Self {
        let MessageView { content, .. } = view;
        let text = |text: std::sync::Arc<str>| text.as_ref().to_owned();
        let lease = |LeaseView { fence, end, consumer }| Lease {
            fence,
            end: Timestamp::from_millis(end),
            consumer: text(consumer),
        };
        Self {
            id: MessageId(view.id),
            state: view.state,
            blocked: view.blocked,
            priority: view.priority,
            attempts: view.attempts,
            enqueued_at: Timestamp::from_millis(view.enqueued_at),
            due: Timestamp::from_millis(view.due),
            expires_at: view.expires_at.map(Timestamp::from_millis),
            note: view.note.map(text),
            last_error: view.last_error.map(text),
            lease: view.lease.map(lease),
            ordering_key: content.ordering_key.map(text),
            size: content.payload.len() + content.meta.len(),
            meta: Meta::new(content.meta),
            raw: content.payload,
            codec,
        }
    }

    /// Decodes the value, with the codec of the handle that read it.
    pub fn decode<T: Value>(&self) -> Result<T> {
        codec::decode(self.codec, &self.raw)
    }
}
