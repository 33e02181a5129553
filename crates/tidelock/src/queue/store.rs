//! What a backend must do for queues: requests and outcomes as plain data.
//!
//! Times are milliseconds: durations as they were asked for, instants of the backend's clock since the Unix epoch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bell::Bell;
use crate::error::Result;
pub(crate) use crate::handover::store::{
    Action, Content, DeadFilter, Dedup, Handed, MAX_BATCH, MAX_BYTES, PauseView, STEP, Settle, Settled, Taken,
};
pub use crate::handover::store::{DeadReason, Place};
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;
use crate::word::words;

/// What a queue does for its handles.
///
/// Every method is one atomic step on the backend (or several bounded ones where it says so); a mutating one is
/// repeated after a lost reply until it is answered or the request timeout is over.
pub(crate) trait QueueStore: Send + Sync {
    /// Whether every answer is there at the first poll.
    fn is_local(&self) -> bool {
        false
    }
    /// Stores all of a batch or nothing of it.
    fn send(&self, queue: &Address, batch: Vec<NewMessage>) -> BoxFuture<'static, Result<Accepted>>;
    /// Hands out what is first in order, now. Dropped after it took something, it gives that back.
    fn take(&self, queue: &Address, take: Take) -> BoxFuture<'static, Result<Taken>>;
    /// Judges each settle on its own; outcomes in the same order.
    fn settle(&self, queue: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>>;
    /// Changes the queue as a whole, or a message that nobody holds.
    fn change(&self, queue: &Address, change: Change) -> BoxFuture<'static, Result<Changes>>;
    /// Looks, after carrying out what is overdue; changes no outcome.
    fn look(&self, queue: &Address, look: Look) -> BoxFuture<'static, Result<View>>;
    /// What rings when this process should take again. One per queue and process, alive while somebody holds it.
    fn bell(&self, queue: &Address) -> Arc<Bell>;
}

opaque!(QueueStore);

/// When a message is first due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Due {
    Now,
    After(u64),
    At(u64),
}

impl Due {
    /// The instant, unless that is now.
    pub(crate) fn later_than(self, now: u64) -> Option<u64> {
        match self {
            Self::After(delay) if delay > 0 => Some(now + delay),
            Self::At(at) if at > now => Some(at),
            _ => None,
        }
    }
}

/// A message to be stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewMessage {
    pub(crate) content: Content,
    pub(crate) due: Due,
    pub(crate) priority: u8,
    pub(crate) dedup: Option<Dedup>,
    /// Life of the unfinished message, from its first due time.
    pub(crate) max_age: Option<u64>,
    /// Life as a dead letter.
    pub(crate) retention: Option<u64>,
    /// Refuse if ready + delayed would exceed this.
    pub(crate) max_depth: Option<u64>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Accepted {
    /// Id and whether it is that of an earlier message with the same key, in the order of the batch.
    All(Vec<(u64, bool)>),
    /// Item `index` would have been one too many; nothing was stored.
    Full { index: usize, depth: u64, limit: u64 },
}

/// A wish for messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Take {
    /// At most so many, 0..=[`MAX_BATCH`]. 0 takes nothing, says that the process waits no more, and passes a wake-up on to
    /// another one.
    pub(crate) max: usize,
    pub(crate) lease: u64,
    pub(crate) consumer: Arc<str>,
    /// The delivery whose attempt reaches this is the last.
    pub(crate) max_deliveries: Option<u64>,
    pub(crate) place: Place,
    /// If fewer than `max` were there, note that this process wants to be woken: its bell rings.
    pub(crate) park: bool,
}

/// The state of a message that is not finished and not dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum State {
    /// Due, and delivered in its turn; *blocked* while an earlier message of its ordering key is unfinished.
    Ready,
    /// Waiting for its due time.
    Delayed,
    /// Held by a consumer.
    Leased,
}

words!(State: Self::Ready => "ready", Self::Delayed => "delayed", Self::Leased => "leased");

/// A change of the queue as a whole, or of a message that nobody holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Hand out nothing from here on, until `resume` or for so long.
    Pause {
        for_at_most: Option<u64>,
        reason: Option<Arc<str>>,
    },
    Resume,
    /// Remove a ready or delayed message.
    Remove {
        id: u64,
    },
    /// Remove all ready and delayed messages that were there when it began, in bounded steps.
    Purge,
    /// Remove the queue and all about it.
    Delete,
    /// Make a dead letter a message again.
    Requeue {
        id: u64,
        requeue: Requeue,
    },
    /// The same for all that the filter finds and that were there when it began, oldest first, at most `limit`.
    RequeueAll {
        filter: DeadFilter,
        limit: Option<u64>,
        requeue: Requeue,
    },
    RemoveDead {
        id: u64,
    },
    PurgeDead {
        filter: DeadFilter,
        limit: Option<u64>,
    },
}

/// What a dead letter becomes: settings of the handle that requeues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requeue {
    pub(crate) delay: u64,
    pub(crate) max_age: Option<u64>,
    pub(crate) retention: Option<u64>,
    pub(crate) max_depth: Option<u64>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Changes {
    /// Of pause, resume and delete: whether anything was changed or was there.
    Did(bool),
    /// Of a removal of one message.
    Removed(Removed),
    /// Of a purge or requeue: how many (0 or 1 for one message).
    Count(u64),
    /// A requeue would exceed `max_depth`; the entry stays.
    Full { depth: u64, limit: u64 },
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Removed {
    /// It was there and is gone.
    Removed,
    /// Somebody holds it; nothing changed.
    Held,
    /// There is no such thing.
    Absent,
    /// It was changed meanwhile; nothing changed.
    Conflict,
}

words!(Removed: Self::Removed => "removed", Self::Held => "held", Self::Absent => "absent",
    Self::Conflict => "conflict");

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    Stats,
    /// An unfinished message.
    Get {
        id: u64,
    },
    /// Unfinished messages of one state: ready in hand-out order and then the blocked ones by key, delayed by the
    /// instant at which they leave the state, leased by lease end.
    List {
        state: State,
        limit: usize,
        after: Option<String>,
    },
    /// The first deliverable messages in hand-out order.
    Peek {
        max: usize,
    },
    GetDead {
        id: u64,
    },
    /// Newest first.
    ListDead {
        filter: DeadFilter,
        limit: usize,
        after: Option<String>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum View {
    Stats(StatsView),
    Message(Option<MessageView>),
    /// Messages and where the next page begins.
    Messages(Vec<MessageView>, Option<String>),
    Dead(Option<DeadView>),
    Deads(Vec<DeadView>, Option<String>),
}

/// A queue at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatsView {
    pub(crate) ready: u64,
    /// Part of `ready`.
    pub(crate) blocked: u64,
    pub(crate) delayed: u64,
    pub(crate) leased: u64,
    pub(crate) dead: u64,
    pub(crate) accepted: u64,
    pub(crate) settled: u64,
    /// Age of the oldest message that could be handed out, from its standing time.
    pub(crate) oldest_ready_age: Option<u64>,
    /// The earliest instant at which a delayed message is due or expires.
    pub(crate) next_due: Option<u64>,
    pub(crate) paused: Option<PauseView>,
    /// More is overdue than one look carries out.
    pub(crate) settling: bool,
}

/// An unfinished message as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageView {
    pub(crate) id: u64,
    pub(crate) state: State,
    pub(crate) blocked: bool,
    pub(crate) priority: u8,
    pub(crate) attempts: u64,
    pub(crate) enqueued_at: u64,
    /// Delayed: when it is due. Otherwise its standing time.
    pub(crate) due: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) note: Option<Arc<str>>,
    pub(crate) last_error: Option<Arc<str>>,
    pub(crate) lease: Option<LeaseView>,
    pub(crate) content: Content,
}

/// Who holds a leased message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseView {
    pub(crate) fence: u64,
    pub(crate) end: u64,
    pub(crate) consumer: Arc<str>,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadView {
    pub(crate) id: u64,
    pub(crate) reason: DeadReason,
    pub(crate) priority: u8,
    pub(crate) attempts: u64,
    pub(crate) enqueued_at: u64,
    pub(crate) moved_at: u64,
    pub(crate) kept_until: Option<u64>,
    pub(crate) note: Option<Arc<str>>,
    pub(crate) last_error: Option<Arc<str>>,
    pub(crate) content: Content,
}
