//! What a backend must do for topics: requests and outcomes as plain data.
//!
//! Times are milliseconds: durations as they were asked for, instants of the backend's clock since the Unix epoch.

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

/// The most groups of one topic.
pub(crate) const MAX_GROUPS: usize = 1_000;
/// The most events that one group sets aside because their ordering key is busy.
pub(crate) const MAX_ASIDE: u64 = 10_000;
/// The most bytes of one read of the log by those who follow it (one event may be larger).
pub(crate) const READ_BYTES: usize = 1_024 * 1_024;

/// What a topic does for its handles.
///
/// Every method is one atomic step on the backend (or several bounded ones where it says so); a mutating one is
/// repeated after a lost reply until it is answered or the request timeout is over.
pub(crate) trait TopicStore: Send + Sync {
    /// Whether every answer is there at the first poll.
    fn is_local(&self) -> bool {
        false
    }
    /// Appends all of a batch or nothing of it.
    fn publish(
        &self,
        topic: &Address,
        settings: Settings,
        batch: Vec<NewEvent>,
    ) -> BoxFuture<'static, Result<Appended>>;
    /// Appends one event once `record` has said yes to the place that it gets; it gets another one if `record` itself
    /// appends. `None`: it said no, and nothing was appended.
    #[cfg(target_family = "wasm")]
    fn publish_recorded(
        &self,
        topic: &Address,
        settings: Settings,
        event: NewEvent,
        record: &mut dyn FnMut(Position) -> bool,
    ) -> Option<Appended>;
    /// Hands out what is first for a group, now. Dropped after it took something, it gives that back.
    fn take(&self, topic: &Address, group: &Arc<str>, take: Take) -> BoxFuture<'static, Result<Taken>>;
    /// Judges each settle of a group's deliveries on its own; outcomes in the same order. Ids are positions.
    fn settle(
        &self,
        topic: &Address,
        group: &Arc<str>,
        settles: Vec<Settle>,
    ) -> BoxFuture<'static, Result<Vec<Settled>>>;
    /// Changes a group or the topic as a whole.
    fn change(&self, topic: &Address, change: Change) -> BoxFuture<'static, Result<Changes>>;
    /// Looks, after carrying out what is overdue; changes no outcome.
    fn look(&self, topic: &Address, look: Look) -> BoxFuture<'static, Result<View>>;
    /// Reads the log behind a place.
    fn read(&self, topic: &Address, read: Read) -> BoxFuture<'static, Result<Span>>;
    /// What rings when this process should take again for a group, or read again for those who follow (`None`). One per
    /// topic, group and process, alive while somebody holds it.
    fn bell(&self, topic: &Address, group: Option<&Arc<str>>) -> Arc<Bell>;
}

opaque!(TopicStore);

/// A place in a log, between two events: behind the event that it names.
///
/// The life names one log from its first event to its end, by the position of that event; 0: none has begun. The
/// ordinal counts the events of one life from 1. All are below 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) life: u64,
    /// max(previous + 1, now in microseconds): never repeats and never falls.
    pub(crate) at: u64,
    pub(crate) ordinal: u64,
}

/// Settings of the topic, those of the latest writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// How long an event can be read, from its publication.
    pub(crate) retention: Option<u64>,
    /// Only so many of the newest events can be read.
    pub(crate) max_len: Option<u64>,
}

/// An event to be appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewEvent {
    pub(crate) content: Content,
    pub(crate) dedup: Option<Dedup>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Appended {
    /// Each event's place, and whether it is that of an earlier event with the same key, in the order of the batch.
    pub(crate) events: Vec<(Position, bool)>,
    /// The settings that this publish replaced by others.
    pub(crate) replaced: Option<Settings>,
}

/// Where a group or follower begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Begin {
    /// Just before the first retained event.
    Earliest,
    /// Behind the newest event ever appended.
    Latest,
    After(Position),
    /// Just before the first retained event published at or after this instant, else as `Latest`.
    At(u64),
}

/// A wish of a group's reader for events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Take {
    /// At most so many, 0..=1,000; a gap counts. 0 takes nothing and passes a wake-up on to another process.
    pub(crate) max: usize,
    pub(crate) lease: u64,
    pub(crate) consumer: Arc<str>,
    /// The delivery whose attempt reaches this is the last.
    pub(crate) max_deliveries: Option<u64>,
    /// If fewer than `max` were there, note that this process wants to be woken: its bell rings.
    pub(crate) park: bool,
    pub(crate) reader: Arc<ReaderTerms>,
    /// Where this process last saw the group: by it a reader notices that group and log were lost with the server.
    pub(crate) seen: Option<Position>,
}

/// What only readers of groups have among their options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReaderTerms {
    /// Where the group begins if it does not exist yet.
    pub(crate) begin: Begin,
    /// Nothing unread and nothing set aside is taken while so many of the group are in flight or waiting.
    pub(crate) max_in_flight: u64,
    /// Whether ordering keys count.
    pub(crate) ordered: bool,
    /// Life of a dead letter.
    pub(crate) dead_retention: Option<u64>,
}

/// What a take gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// What the group has lost, told once.
    pub(crate) gap: Option<GapView>,
    pub(crate) events: Vec<Handed>,
    /// Where the group is now; `None` while it needs no storage.
    pub(crate) seen: Option<Position>,
    /// Take again at this instant of this process's clock if nothing rings before; told to at most one parked process
    /// of the fleet.
    pub(crate) next: Option<u64>,
}

impl Taken {
    /// What counts towards the most that a take asks for.
    pub(crate) fn len(&self) -> usize {
        self.events.len() + usize::from(self.gap.is_some())
    }
}

/// One hand-over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handed {
    /// The event; its `at` is the id of settles.
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
    /// How many lie between; `None`: another life, or the log has lost its newest events (*replaced*).
    pub(crate) missed: Option<u64>,
}

/// A read of the log, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) after: Position,
    /// At most so many events, 1..=1,000; fewer where they are large.
    pub(crate) max: usize,
    /// If nothing was there, note that this process wants to be woken: its bell rings.
    pub(crate) park: bool,
}

/// Events in order, as they stand in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// Comes before the events.
    pub(crate) gap: Option<GapView>,
    pub(crate) events: Vec<EventView>,
    /// Whether more was there than was read.
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
    /// Set the position of a group; ends everything open, but leaves dead letters and requeued copies.
    Seek {
        group: Arc<str>,
        begin: Begin,
    },
    /// Remove a group with its dead letters.
    RemoveGroup {
        group: Arc<str>,
    },
    /// Hand out nothing to the group from here on, until `Resume` or for so long.
    Pause {
        group: Arc<str>,
        for_at_most: Option<u64>,
        reason: Option<Arc<str>>,
    },
    Resume {
        group: Arc<str>,
    },
    /// Hand a dead letter to its group again.
    Requeue {
        group: Arc<str>,
        at: u64,
        delay: u64,
    },
    /// The same for all that the filter finds and that were there when it began, oldest first, at most `limit`.
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

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Changes {
    /// Whether anything was changed, created, or was there.
    Did(bool),
    /// Of a pause or resume: there is no such group.
    NoGroup,
    /// Of a purge or requeue: how many (0 or 1 for one event).
    Count(u64),
    /// There are as many groups as a topic may have; nothing was created.
    Full,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Look {
    Stats,
    /// The place behind the newest event ever appended.
    Latest,
    /// The place that a beginning stands for, now.
    Resolve {
        begin: Begin,
    },
    /// Retained events, oldest first, behind a place or from the first.
    Page {
        after: Option<Position>,
        limit: usize,
    },
    /// Retained events, newest first, before a place or from the last.
    PageBack {
        before: Option<Position>,
        limit: usize,
    },
    Group {
        group: Arc<str>,
    },
    /// By name.
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

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum View {
    Stats(StatsView),
    Place(Position),
    Span(Span),
    Group(Option<GroupView>),
    Groups(Vec<GroupView>),
    Dead(Option<DeadView>),
    /// Dead letters and where the next page begins.
    Deads(Vec<DeadView>, Option<String>),
}

/// A topic at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatsView {
    /// Retained.
    pub(crate) events: u64,
    /// Of the first retained event.
    pub(crate) first: Option<Position>,
    /// Of the newest event ever appended.
    pub(crate) latest: Position,
    /// Publication of the first retained event.
    pub(crate) oldest_at: Option<u64>,
    /// In this life of the log.
    pub(crate) published_total: u64,
    pub(crate) groups: u64,
    /// Those in force; `None` before the first publish.
    pub(crate) settings: Option<Settings>,
}

/// A group at one instant: `lag = unread + in_flight + waiting + set_aside`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupView {
    pub(crate) name: Arc<str>,
    pub(crate) position: Position,
    /// Retained events behind the position.
    pub(crate) unread: u64,
    pub(crate) in_flight: u64,
    /// Returned, and not taken again yet.
    pub(crate) waiting: u64,
    pub(crate) set_aside: u64,
    pub(crate) dead: u64,
    /// Events that were no longer retained when the group came to them, so far.
    pub(crate) missed: u64,
    /// Publication of the oldest open event.
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

/// One more group would be too many.
pub(crate) fn too_many_groups(limit: usize) -> Error {
    Error::new(ErrorKind::CapacityReached, format!("the topic has {limit} groups, the most that it may have"))
}

/// Reads the place in a page token of dead letters: moved at, position.
pub(crate) fn read_dead_cursor(token: &str) -> Result<(u64, u64)> {
    let place = token.split_once('.').and_then(|(moved_at, at)| Some((moved_at.parse().ok()?, at.parse().ok()?)));
    place.ok_or_else(|| Error::argument(format!("the page token {token:?} is not one that a listing gave")))
}
