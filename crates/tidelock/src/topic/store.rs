//! What a backend implements for topics: requests and outcomes as plain data.
//!
//! All times are in milliseconds. Durations are as the caller requested them; instants are on the backend's clock,
//! since the Unix epoch.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bell::Bell;
use crate::error::{Error, ErrorKind, Result};
pub(crate) use crate::handover::store::{
    Action, Content, DeadFilter, DeadReason, Dedup, MAX_BATCH, MAX_BYTES, PauseView, STEP, Settle, Settled,
};
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;

/// Maximum number of groups per topic.
pub(crate) const MAX_GROUPS: usize = 1_000;
/// Maximum number of events that one group sets aside because their ordering key is busy.
pub(crate) const MAX_ASIDE: u64 = 10_000;
/// Maximum bytes that one read of the log returns to a follower. A single larger event is still returned.
pub(crate) const READ_BYTES: usize = 1_024 * 1_024;

/// The operations of a topic.
///
/// Every method is one atomic step on the backend, or several bounded ones where it says so. If the reply of a mutating
/// step is lost, the step is retried until it is answered or the request timeout has passed.
pub(crate) trait TopicStore: Send + Sync {
    /// Whether every returned future is ready at its first poll.
    fn is_local(&self) -> bool {
        false
    }
    /// Appends a whole batch, or nothing.
    fn publish(
        &self,
        topic: &Address,
        settings: Settings,
        batch: Vec<NewEvent>,
    ) -> BoxFuture<'static, Result<Appended>>;
    /// Appends one event if `record` accepts the position that the event will get. If `record` itself appends events,
    /// the event gets a later position. `None`: `record` refused, and nothing was appended.
    #[cfg(target_family = "wasm")]
    fn publish_recorded(
        &self,
        topic: &Address,
        settings: Settings,
        event: NewEvent,
        record: &mut dyn FnMut(Position) -> bool,
    ) -> Option<Appended>;
    /// Hands out the first deliverable events of a group, without waiting. If the future is dropped after events were
    /// taken, they are given back.
    fn take(&self, topic: &Address, group: &Arc<str>, take: Take) -> BoxFuture<'static, Result<Taken>>;
    /// Judges each settle of a group's deliveries on its own; the outcomes are in the same order. Delivery ids are
    /// positions.
    fn settle(
        &self,
        topic: &Address,
        group: &Arc<str>,
        settles: Vec<Settle>,
    ) -> BoxFuture<'static, Result<Vec<Settled>>>;
    /// Changes a group, or the topic as a whole.
    fn change(&self, topic: &Address, change: Change) -> BoxFuture<'static, Result<Changes>>;
    /// Answers a query, after carrying out what is overdue. The query itself changes nothing.
    fn look(&self, topic: &Address, look: Look) -> BoxFuture<'static, Result<View>>;
    /// Reads the log after a position.
    fn read(&self, topic: &Address, read: Read) -> BoxFuture<'static, Result<Span>>;
    /// The bell that rings when this process should take again for the group or, for `None`, when followers should read
    /// again. There is one per topic, group and process; it lives as long as somebody holds it.
    fn bell(&self, topic: &Address, group: Option<&Arc<str>>) -> Arc<Bell>;
}

opaque!(TopicStore);

/// A position in a log: the gap just after the event that it names.
///
/// `life` identifies one log from its first event until its end, by the position of that first event; 0 means that none
/// has begun. `ordinal` counts the events of one life, from 1. All three numbers are below 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) life: u64,
    /// max(previous + 1, now in microseconds): never repeats and never decreases.
    pub(crate) at: u64,
    pub(crate) ordinal: u64,
}

/// Settings of the topic. The latest publish sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// How long an event can be read after its publication.
    pub(crate) retention: Option<u64>,
    /// Only this many of the newest events can be read.
    pub(crate) max_len: Option<u64>,
}

/// An event to be appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewEvent {
    pub(crate) content: Content,
    pub(crate) dedup: Option<Dedup>,
}

/// The outcome of publishing a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Appended {
    /// For each event of the batch, in order: its position, and whether that is the position of an earlier event with
    /// the same dedup key.
    pub(crate) events: Vec<(Position, bool)>,
    /// The previous settings, if this publish changed them.
    pub(crate) replaced: Option<Settings>,
}

/// Where a group or follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Begin {
    /// Just before the first retained event.
    Earliest,
    /// After the newest event ever appended.
    Latest,
    After(Position),
    /// Just before the first retained event published at or after this instant; if there is none, as `Latest`.
    At(u64),
}

/// A request of a reader for events of its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Take {
    /// Maximum number of events, 0..=1,000; a gap counts as one. 0 takes nothing and passes a wake-up on to another
    /// process.
    pub(crate) max: usize,
    pub(crate) lease: u64,
    pub(crate) consumer: Arc<str>,
    /// A delivery whose attempt number reaches this is the last one.
    pub(crate) max_deliveries: Option<u64>,
    /// If fewer than `max` were found, park this process: its bell rings when there may be more.
    pub(crate) park: bool,
    pub(crate) reader: Arc<ReaderTerms>,
    /// Where this process last saw the group. It lets the store notice that group and log were lost with the server.
    pub(crate) seen: Option<Position>,
}

/// The options that only readers of groups have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReaderTerms {
    /// Where to create the group if it does not exist.
    pub(crate) begin: Begin,
    /// No unread and no set-aside event is taken while this many of the group are in flight or waiting.
    pub(crate) max_in_flight: u64,
    /// Whether ordering keys are respected.
    pub(crate) ordered: bool,
    /// How long a dead letter is kept.
    pub(crate) dead_retention: Option<u64>,
}

/// The outcome of a take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// The events that the group has lost; reported once.
    pub(crate) gap: Option<GapView>,
    pub(crate) events: Vec<Handed>,
    /// Where the group is now; `None` while the group is not stored.
    pub(crate) seen: Option<Position>,
    /// Take again at this instant of this process's clock if the bell does not ring before. Only one parked process of
    /// the fleet at most is given the instant.
    pub(crate) next: Option<u64>,
}

impl Taken {
    /// The number of items that count towards the `max` of a take.
    pub(crate) fn len(&self) -> usize {
        self.events.len() + usize::from(self.gap.is_some())
    }
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// The event's position; its `at` is the id under which it is settled.
    pub(crate) place: Position,
    pub(crate) fence: u64,
    pub(crate) attempt: u64,
    pub(crate) last_error: Option<Arc<str>>,
    pub(crate) content: Content,
}

/// Events that a reader can no longer get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GapView {
    pub(crate) from: Position,
    pub(crate) to: Position,
    /// How many events lie between. `None` if unknown: the log is in another life, or it has lost its newest events
    /// (*replaced*).
    pub(crate) missed: Option<u64>,
}

/// A read of the log, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) after: Position,
    /// Maximum number of events, 1..=1,000; fewer are returned if they are large.
    pub(crate) max: usize,
    /// If nothing was found, park this process: its bell rings when there is more.
    pub(crate) park: bool,
}

/// Consecutive events of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// Events lost before the first one of `events`.
    pub(crate) gap: Option<GapView>,
    pub(crate) events: Vec<EventView>,
    /// Whether there was more to read.
    pub(crate) more: bool,
}

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventView {
    pub(crate) place: Position,
    pub(crate) content: Content,
}

/// A change of a group, or of the topic as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Create a group that does not exist.
    CreateGroup {
        group: Arc<str>,
        begin: Begin,
    },
    /// Set the position of a group. Drops its open events, but keeps dead letters and requeued copies.
    Seek {
        group: Arc<str>,
        begin: Begin,
    },
    /// Remove a group with its dead letters.
    RemoveGroup {
        group: Arc<str>,
    },
    /// Stop deliveries to the group until `Resume`, or for at most this long.
    Pause {
        group: Arc<str>,
        for_at_most: Option<u64>,
        reason: Option<Arc<str>>,
    },
    Resume {
        group: Arc<str>,
    },
    /// Return a dead letter to its group for delivery.
    Requeue {
        group: Arc<str>,
        at: u64,
        delay: u64,
    },
    /// Requeue up to `limit` dead letters that match the filter and existed when the call began, oldest first.
    RequeueAll {
        group: Arc<str>,
        filter: DeadFilter,
        limit: Option<u64>,
        delay: u64,
    },
    RemoveDead {
        group: Arc<str>,
        at: u64,
    },
    PurgeDead {
        group: Arc<str>,
        filter: DeadFilter,
        limit: Option<u64>,
    },
    /// Remove log, groups, dead letters, dedupe records.
    Delete,
}

/// The outcome of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Changes {
    /// Whether anything was changed or created, or existed.
    Did(bool),
    /// Of a pause or resume: the group does not exist.
    NoGroup,
    /// Of a purge or requeue: the number of dead letters (0 or 1 if it was for one event).
    Count(u64),
    /// The topic already has the maximum number of groups; nothing was created.
    Full,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    Stats,
    /// The position after the newest event ever appended.
    Latest,
    /// The position that a start stands for now.
    Resolve {
        begin: Begin,
    },
    /// Retained events, oldest first, after a position or from the first one.
    Page {
        after: Option<Position>,
        limit: usize,
    },
    /// Retained events, newest first, before a position or from the last one.
    PageBack {
        before: Option<Position>,
        limit: usize,
    },
    Group {
        group: Arc<str>,
    },
    /// Ordered by name.
    Groups,
    GetDead {
        group: Arc<str>,
        at: u64,
    },
    /// Newest first.
    ListDead {
        group: Arc<str>,
        filter: DeadFilter,
        limit: usize,
        after: Option<String>,
    },
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum View {
    Stats(StatsView),
    Place(Position),
    Span(Span),
    Group(Option<GroupView>),
    Groups(Vec<GroupView>),
    Dead(Option<DeadView>),
    /// Dead letters, and the token of the next page.
    Deads(Vec<DeadView>, Option<String>),
}

/// A topic at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatsView {
    /// Number of retained events.
    pub(crate) events: u64,
    /// Position of the first retained event.
    pub(crate) first: Option<Position>,
    /// Position after the newest event ever appended.
    pub(crate) latest: Position,
    /// When the first retained event was published.
    pub(crate) oldest_at: Option<u64>,
    /// Number of events published in this life of the log.
    pub(crate) published_total: u64,
    pub(crate) groups: u64,
    /// The current settings; `None` before the first publish.
    pub(crate) settings: Option<Settings>,
}

/// A group at one instant: `lag = unread + in_flight + waiting + set_aside`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupView {
    pub(crate) name: Arc<str>,
    pub(crate) position: Position,
    /// Number of retained events after the position.
    pub(crate) unread: u64,
    pub(crate) in_flight: u64,
    /// Returned, and not yet taken again.
    pub(crate) waiting: u64,
    pub(crate) set_aside: u64,
    pub(crate) dead: u64,
    /// Total number of events that were no longer retained when the group reached them.
    pub(crate) missed: u64,
    /// When the oldest open event was published.
    pub(crate) oldest_open_at: Option<u64>,
    /// The consumer that holds the oldest open event.
    pub(crate) oldest_open_holder: Option<Arc<str>>,
    pub(crate) paused: Option<PauseView>,
    /// More is overdue than one look carries out.
    pub(crate) settling: bool,
}

/// A dead letter of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadView {
    pub(crate) place: Position,
    pub(crate) reason: DeadReason,
    pub(crate) attempts: u64,
    pub(crate) moved_at: u64,
    pub(crate) kept_until: Option<u64>,
    pub(crate) note: Option<Arc<str>>,
    pub(crate) last_error: Option<Arc<str>>,
    pub(crate) content: Content,
}

/// The error for a group beyond the maximum.
pub(crate) fn too_many_groups(limit: usize) -> Error {
    Error::new(ErrorKind::CapacityReached, format!("the topic has {limit} groups, the most that it may have"))
}

/// Parses the page token of a dead letter listing: moved at, position.
pub(crate) fn read_dead_cursor(token: &str) -> Result<(u64, u64)> {
    let place = token.split_once('.').and_then(|(moved_at, at)| Some((moved_at.parse().ok()?, at.parse().ok()?)));
    place.ok_or_else(|| Error::argument(format!("the page token {token:?} is not one that a listing gave")))
}
