//! What a backend implements for queues: requests and outcomes as plain data.
//!
//! Times are milliseconds: durations are relative, and instants are those of the backend's clock since the Unix
//! epoch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bell::Bell;
use crate::error::Result;
pub(crate) use crate::handover::store::{
    Action, Content, DeadFilter, Dedup, Handed, MAX_BATCH, MAX_BYTES, PauseView, Rate, RateView, STEP, Settle, Settled,
    Taken,
};
pub use crate::handover::store::{DeadReason, Place};
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;
use crate::word::words;

/// The operations of a queue.
///
/// Every method is one atomic step on the backend (or several bounded ones where it says so). If a reply is lost, a
/// mutating one is retried until it is answered or the request timeout is over.
pub(crate) trait QueueStore: Send + Sync {
    /// Whether every answer is ready at the first poll.
    fn is_local(&self) -> bool {
        false
    }
    /// Stores a batch, all or nothing.
    fn send(&self, queue: &Address, batch: Vec<NewMessage>) -> BoxFuture<'static, Result<Accepted>>;
    /// Hands out the first messages in order, now. If the future is dropped after it took something, that is given
    /// back.
    fn take(&self, queue: &Address, take: Take) -> BoxFuture<'static, Result<Taken>>;
    /// Applies each settle on its own. Outcomes are in the same order.
    fn settle(&self, queue: &Address, settles: Vec<Settle>) -> BoxFuture<'static, Result<Vec<Settled>>>;
    /// Changes the queue as a whole, or a message that nobody holds.
    fn change(&self, queue: &Address, change: Change) -> BoxFuture<'static, Result<Changes>>;
    /// Reads, after carrying out what is overdue. Changes no outcome.
    fn look(&self, queue: &Address, look: Look) -> BoxFuture<'static, Result<View>>;
    /// Rings when this process should take again. There is one per queue and process, alive while somebody holds it.
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
    /// How long an unfinished message lives, from its first due time.
    pub(crate) max_age: Option<u64>,
    /// How long it is kept as a dead letter.
    pub(crate) retention: Option<u64>,
    /// Refuse the message if ready + delayed would exceed this.
    pub(crate) max_depth: Option<u64>,
}

/// The outcome of a send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Accepted {
    /// In the order of the batch: the id, and whether it belongs to an earlier message with the same dedup key.
    All(Vec<(u64, bool)>),
    /// The item at `index` was the first without room. Nothing was stored.
    Full { index: usize, depth: u64, limit: u64 },
}

/// A request for messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Take {
    /// At most this many, 0..=[`MAX_BATCH`]. 0 takes nothing, reports that the process waits no more, and passes a
    /// wake-up on to another one.
    pub(crate) max: usize,
    pub(crate) lease: u64,
    pub(crate) consumer: Arc<str>,
    /// A delivery whose attempt reaches this is the last.
    pub(crate) max_deliveries: Option<u64>,
    pub(crate) place: Place,
    /// If there are fewer than `max`, register this process to be woken: its bell rings.
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
    /// Hand out nothing from now on, until `resume` or for at most this long.
    Pause {
        for_at_most: Option<u64>,
        reason: Option<Arc<str>>,
    },
    Resume,
    /// Set or remove the limit of the rate.
    LimitRate(Option<Rate>),
    /// Set or remove the limit of how many are held at once.
    LimitHeld(Option<u64>),
    /// Remove a ready or delayed message.
    Remove {
        id: u64,
    },
    /// Remove all ready and delayed messages that were there when it began, in bounded steps.
    Purge,
    /// Remove the queue with everything in it.
    Delete,
    /// Make a dead letter a message again.
    Requeue {
        id: u64,
        requeue: Requeue,
    },
    /// The same for all dead letters that match the filter and were there when it began, oldest first, at most
    /// `limit`.
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

/// The settings of a requeued dead letter, from the handle that requeues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requeue {
    pub(crate) delay: u64,
    pub(crate) max_age: Option<u64>,
    pub(crate) retention: Option<u64>,
    pub(crate) max_depth: Option<u64>,
}

/// The outcome of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Changes {
    /// Pause, resume, limit, delete: whether anything was changed or existed.
    Did(bool),
    /// Removal of one message.
    Removed(Removed),
    /// Purge, requeue: how many (0 or 1 for one message).
    Count(u64),
    /// A requeue would exceed `max_depth`; the dead letter stays.
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

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    Stats,
    /// An unfinished message.
    Get {
        id: u64,
    },
    /// Unfinished messages in one state: ready ones in hand-out order, followed by the blocked ones by key; delayed
    /// ones by the instant at which they leave the state; leased ones by lease end.
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

/// The result of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum View {
    Stats(StatsView),
    Message(Option<MessageView>),
    /// Messages, and the cursor of the next page.
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
    /// Age of the oldest deliverable message, from its standing time.
    pub(crate) oldest_ready_age: Option<u64>,
    /// The earliest instant at which a delayed message is due or expires.
    pub(crate) next_due: Option<u64>,
    pub(crate) paused: Option<PauseView>,
    pub(crate) rate: Option<RateView>,
    /// How many may be held at once.
    pub(crate) most_held: Option<u64>,
    /// More is overdue than one query carries out.
    pub(crate) settling: bool,
}

/// An unfinished message at one instant.
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

/// The holder of a leased message.
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
