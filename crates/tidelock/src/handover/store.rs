//! What is handed over and settled, as plain data: the part that the stores of queues and topics share.
//!
//! Times are milliseconds: durations are relative, and instants are those of the backend's clock since the Unix
//! epoch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::job::store::{HandedEvent, Run};
use crate::topic::store::{GapView, Position};
use crate::word::words;

/// The most messages that one request sends, takes or lists.
pub(crate) const MAX_BATCH: usize = 1_000;
/// The most bytes that one request carries in either direction. A single message may be as large on its own.
pub(crate) const MAX_BYTES: usize = 16 * 1_024 * 1_024;

/// How many overdue transitions one step carries out.
pub(crate) const STEP: usize = 200;

/// The place of a returned message without ordering key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Its original place: it is next as soon as it may be delivered.
    #[default]
    Original,
    /// Behind everything that is ready when it becomes ready again.
    Back,
}

/// The part of a message that never changes. Opaque to every backend except for the ordering key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) payload: Vec<u8>,
    /// A JSON object, or empty.
    pub(crate) meta: Vec<u8>,
    /// W3C trace context, or empty.
    pub(crate) trace: Vec<u8>,
    pub(crate) ordering_key: Option<Arc<str>>,
}

impl Content {
    /// The size that counts towards limits, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + self.meta.len()
    }

    /// The rest of the content, for a payload that was decoded.
    pub(crate) fn without_payload(&self) -> Self {
        let Self { meta, trace, ordering_key, .. } = self;
        Self { payload: Vec::new(), meta: meta.clone(), trace: trace.clone(), ordering_key: ordering_key.clone() }
    }
}

/// Deduplication: one message per key and window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dedup {
    pub(crate) key: Arc<str>,
    pub(crate) window: u64,
}

/// The result of a take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// What a group has lost, told once. It precedes the messages.
    pub(crate) gap: Option<GapView>,
    pub(crate) messages: Vec<Handed>,
    /// Take again at this instant of this process's clock unless the bell rings before. At most one parked process of
    /// the fleet is told an instant. If it is in the past, the process was not parked, because more was overdue than
    /// one step carries out.
    pub(crate) next: Option<u64>,
    /// Nothing will come any more, and waiters are told so.
    pub(crate) ended: bool,
}

impl Taken {
    /// What counts towards the limit of a take.
    pub(crate) fn len(&self) -> usize {
        self.messages.len() + usize::from(self.gap.is_some())
    }
}

/// One hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    pub(crate) id: u64,
    pub(crate) fence: u64,
    pub(crate) attempt: u64,
    /// Only for messages of a queue.
    pub(crate) priority: u8,
    pub(crate) enqueued_at: u64,
    /// Only for events: the position in the log.
    pub(crate) position: Position,
    /// Only for jobs: the run. The other content is empty.
    pub(crate) run: Option<Arc<Run>>,
    /// Only for groups that read the events of a job: the event. The other content is empty.
    pub(crate) event: Option<Arc<HandedEvent>>,
    pub(crate) last_error: Option<Arc<str>>,
    pub(crate) content: Content,
}

/// One settle, under the fence of a hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settle {
    pub(crate) id: u64,
    pub(crate) fence: u64,
    pub(crate) action: Action,
}

#[cfg(all(feature = "redis", not(target_family = "wasm")))]
impl Settle {
    /// Roughly how many bytes it adds to a trip.
    pub(crate) fn bytes(&self) -> usize {
        let texts = match &self.action {
            Action::Nack { note, error, .. } | Action::Bury { note, error, .. } => [note, error],
            Action::Ack | Action::GiveBack | Action::Touch { .. } => [&None, &None],
        };
        32 + texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
    }
}

/// A holder's decision about its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    Ack,
    /// Returned after a failure; the attempt counts.
    Nack {
        delay: u64,
        note: Option<Arc<str>>,
        error: Option<Arc<str>>,
    },
    /// Moved to the dead letters.
    Bury {
        reason: DeadReason,
        note: Option<Arc<str>>,
        error: Option<Arc<str>>,
    },
    /// Returned unused, with place and attempt as before the take.
    GiveBack,
    /// The lease ends this long after now.
    Touch {
        lease: u64,
    },
}

/// The outcome of a settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Settled {
    /// Done: an ack, a dead letter, a give-back, a touch.
    Done,
    /// A nack: due again at this instant.
    Requeued { due: u64 },
    /// A nack after the last delivery, or after the message's expiry.
    DeadLettered,
    /// No longer held under this fence; nothing changed.
    Stale,
}

/// Why a message is in the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeadReason {
    /// It was not finished within its `max_age`; in a topic, before its retention was over.
    Expired,
    /// Its last delivery ended without an ack.
    MaxDeliveriesExceeded,
    /// A consumer rejected it.
    Rejected,
    /// Its bytes cannot be decoded to the consumer's type.
    Undecodable,
}

words!(DeadReason: Self::Expired => "expired", Self::MaxDeliveriesExceeded => "max_deliveries_exceeded",
    Self::Rejected => "rejected", Self::Undecodable => "undecodable");

/// Selects dead letters; empty selects all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadFilter {
    pub(crate) reason: Option<DeadReason>,
    /// Moved strictly before this instant.
    pub(crate) moved_before: Option<u64>,
    /// Moved at or after this instant.
    pub(crate) moved_after: Option<u64>,
}

/// A pause that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PauseView {
    /// `None`: until resumed.
    pub(crate) until: Option<u64>,
    pub(crate) reason: Option<Arc<str>>,
}

/// At most `limit` items are handed out in each window of `per` ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) limit: u64,
    pub(crate) per: u64,
}

/// A limit of the rate, and what was handed out in the window under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RateView {
    pub(crate) rate: Rate,
    pub(crate) used: u64,
    /// If nothing was handed out, no window is under way, and this is the end of the last one.
    pub(crate) window_ends: u64,
}

impl RateView {
    /// Whether nothing more is handed out in the window under way.
    pub(crate) fn is_used_up(&self) -> bool {
        self.used >= self.rate.limit
    }
}
