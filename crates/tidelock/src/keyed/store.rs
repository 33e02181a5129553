//! What a backend must do for registries and ephemeral stores: requests and outcomes as plain data.
//!
//! Times are milliseconds: durations as they were asked for, instants of the backend's clock since the Unix epoch.
//! Revisions and versions are below 2^53.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bell::Bell;
use crate::error::Result;
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;

/// The most records of one page, and events of one read.
pub(crate) const MAX_PAGE: usize = 1_000;
/// The most bytes of values that one page or read carries (one value may be as large on its own).
pub(crate) const MAX_BYTES: u64 = 4 * 1_024 * 1_024;
/// Overdue transitions that one step carries out.
pub(crate) const STEP: usize = 200;

/// What a keyed store does for its handles.
///
/// Every method is one atomic step on the backend (or several bounded ones where it says so); a mutating one is
/// repeated after a lost reply until it is answered or the request timeout is over. Keys, prefixes, ranges and sizes
/// were checked before.
pub(crate) trait KeyedStore: Send + Sync {
    /// Changes one record, or tells why not. Calls that are made together travel together, in the order of the calls.
    fn change(&self, object: &Object, change: Change) -> BoxFuture<'static, Result<Changed>>;
    /// The record of a key. Writes nothing.
    fn get(&self, object: &Object, get: Get) -> BoxFuture<'static, Result<Option<RecordView>>>;
    /// A page of records and the place of the log at the same instant. First carries out all that is overdue, in
    /// bounded steps.
    fn list(&self, object: &Object, list: List) -> BoxFuture<'static, Result<Listing>>;
    /// The object as a whole, after carrying out what is overdue, in at most
    /// [`SETTLING_STEPS`](crate::backend::SETTLING_STEPS) bounded steps.
    fn stats(&self, object: &Object) -> BoxFuture<'static, Result<StatsView>>;
    /// Where the log begins and ends now. Writes nothing.
    fn places(&self, object: &Object) -> BoxFuture<'static, Result<Places>>;
    /// Reads the log behind a place, after one step of what is overdue.
    fn read(&self, object: &Object, read: Read) -> BoxFuture<'static, Result<Span>>;
    /// Whether everything behind a place can still be read, where that is known without asking: what a follower has read
    /// ahead is handed out only as long as that is so.
    fn holds(&self, _object: &Object, _place: Position) -> bool {
        true
    }
    /// Removes the object with its records and its log; whether it existed.
    fn delete(&self, object: &Object) -> BoxFuture<'static, Result<bool>>;
    /// What rings when this process should read the log again. One per object and process, alive while somebody holds
    /// it.
    fn bell(&self, object: &Object) -> Arc<Bell>;
}

opaque!(KeyedStore);

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Records may be permanent; an expired one leaves a tombstone; a touch is no new version.
    Registry,
    /// Every record has a ttl; an ended one leaves nothing; a touch is a new version.
    Ephemeral,
}

impl Kind {
    /// The word that stands for it in keys, cursors and messages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Ephemeral => "ephemeral",
        }
    }
}

/// The name of one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) address: Address,
}

/// Bounds of the whole object, stored with it by each change that writes: those of the latest writer are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// Active records.
    pub(crate) max_entries: u64,
    /// Age up to which an event can be read.
    pub(crate) event_retention: u64,
    /// Only so many of the newest events can be read; touches do not count.
    pub(crate) max_events: u64,
    /// Only the newest events whose values are no larger together can be read.
    pub(crate) max_event_bytes: u64,
    /// How long an expired record can still be looked at, from its deadline; of no effect in an ephemeral store.
    pub(crate) tombstone_retention: u64,
}

/// A wish to change the record of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) key: Arc<str>,
    pub(crate) action: Action,
    pub(crate) bounds: Bounds,
}

/// What a caller does with a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Stores the value, whatever is there.
    Upsert { value: Vec<u8>, life: Life },
    /// Stores the value if the record is active with that version; with `None`, if no record is active.
    Cas { expected: Option<u64>, value: Vec<u8>, life: Life },
    /// Restarts the life of an active record, with its own ttl or from now on with this one.
    Touch { ttl: Option<u64>, if_version: Option<u64> },
    /// Removes an active record.
    Remove { reason: Option<Arc<str>>, if_version: Option<u64> },
}

/// How long a record is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Life {
    /// Until it is removed; not in an ephemeral store.
    Permanent,
    /// So long from now.
    For(u64),
    /// The ttl of the active record, restarted. Permanent where none is active, or where it is permanent; not in an
    /// ephemeral store.
    Keep,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) outcome: Outcome,
    /// The bounds that this change replaced by others.
    pub(crate) replaced: Option<Bounds>,
}

/// What became of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// An upsert or swap: the record now holds the value that was given.
    Stored(Stamp),
    /// An upsert or swap of a key without active record: there are as many active records as there may be.
    Full { limit: u64 },
    /// A swap: this is the active record, if any. Nothing changed.
    Conflict(Option<RecordView>),
    /// A touch.
    Extended { version: u64, expires_at: u64 },
    /// A touch without ttl of a permanent record. Nothing changed.
    Permanent,
    /// A removal.
    Removed,
    /// A touch or removal: no record is active. Nothing changed.
    Absent,
    /// A touch or removal: the active record has this version, not the one that was asked for. Nothing changed.
    Stale { version: u64 },
}

/// All of a record but key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The revision of its last change of value; in an ephemeral store of its last change of any kind.
    pub(crate) version: u64,
    /// When this life of the record began.
    pub(crate) created_at: u64,
    /// Its last upsert, swap or touch.
    pub(crate) updated_at: u64,
    /// `None`: permanent.
    pub(crate) ttl: Option<u64>,
    pub(crate) expires_at: Option<u64>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordView {
    pub(crate) key: Arc<str>,
    pub(crate) value: Vec<u8>,
    pub(crate) stamp: Stamp,
    /// Whether its deadline is over; active otherwise.
    pub(crate) expired: bool,
}

/// A question for one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Get {
    pub(crate) key: Arc<str>,
    /// Also an expired record, while it can be looked at.
    pub(crate) include_expired: bool,
}

/// A question for records, in byte order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct List {
    /// Keys that begin with it; all if it is empty.
    pub(crate) prefix: Arc<str>,
    /// Keys strictly behind it.
    pub(crate) after_key: Option<Arc<str>>,
    /// 1..=[`MAX_PAGE`], on a server.
    pub(crate) limit: usize,
    /// The expired records that can be looked at, instead of the active ones.
    pub(crate) expired: bool,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// At most `limit`, with values of at most [`MAX_BYTES`] together, but at least one if there is one.
    pub(crate) records: Vec<RecordView>,
    /// Whether there are records behind the last one.
    pub(crate) more: bool,
    /// The end of the log at the instant of the page.
    pub(crate) place: Position,
}

/// A place in the log: behind the event with that revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Names one life of the object, from its first event to its end, by the revision of that event. 0: none had begun;
    /// such a place fits the one that comes.
    pub(crate) incarnation: u64,
    /// max(previous + 1, now in microseconds) for each event: never repeats and never falls.
    pub(crate) revision: u64,
    /// The revision of the last event up to it that is no touch; 0: not known. By it a log shows that it is not the one in
    /// which the place was: an older state of it, that has gone on from there.
    pub(crate) event: u64,
}

impl Position {
    /// The place behind an event that comes next, in the life of the object that is read.
    pub(crate) fn behind(self, incarnation: u64, next: &EventView) -> Self {
        let is_touch = matches!(next.happened, Happened::Touch { .. });
        let event = if is_touch { self.event } else { next.revision };
        Self { incarnation, revision: next.revision, event }
    }
}

/// The two ends of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Places {
    /// Before the oldest event that can be read.
    pub(crate) first: Position,
    /// Behind the latest event.
    pub(crate) latest: Position,
}

/// A read of the log, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) after: Position,
    /// At most so many events, 1..=[`MAX_PAGE`]; fewer where they are large.
    pub(crate) max: usize,
    /// If nothing was there, note that this process wants to be woken: its bell rings.
    pub(crate) park: bool,
}

/// Events in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// Not everything behind the place could be read any more. There are no events then, and `end` is the latest place.
    pub(crate) overflow: Option<Overflow>,
    pub(crate) events: Vec<EventView>,
    /// The place behind all of it.
    pub(crate) end: Position,
    /// Of a span without events: read again at this instant of this process's clock if nothing rings before.
    pub(crate) next: Option<u64>,
}

impl Span {
    /// Whether it tells nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.overflow.is_none() && self.events.is_empty()
    }
}

/// What a reader is told that has fallen behind the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overflow {
    /// The place of the oldest event that can be read, else the latest place.
    pub(crate) first_available: Position,
}

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventView {
    pub(crate) revision: u64,
    /// When it happened: the instant of the change; of an expiry the deadline.
    pub(crate) at: u64,
    pub(crate) key: Arc<str>,
    pub(crate) happened: Happened,
}

/// What happened to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Happened {
    /// The record as it was then; its version is the revision.
    Upsert {
        stamp: Stamp,
        value: Vec<u8>,
    },
    /// The latest touch of a record, as long as nothing else happened to it since.
    Touch {
        version: u64,
        expires_at: u64,
    },
    Delete {
        version: u64,
        reason: Option<Arc<str>>,
    },
    Expire {
        version: u64,
    },
}

/// An object at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatsView {
    pub(crate) active: u64,
    /// Part of `active`.
    pub(crate) permanent: u64,
    /// Expired records that can be looked at.
    pub(crate) expired: u64,
    /// Events that can be read, without touches.
    pub(crate) events: u64,
    /// Sum of the values in them.
    pub(crate) event_bytes: u64,
    /// Touches that can be read.
    pub(crate) touches: u64,
    /// Behind the latest event.
    pub(crate) latest: Position,
    /// The newest revision that can no longer be read; 0 while nothing is.
    pub(crate) compacted: u64,
    /// The earliest deadline of an active record.
    pub(crate) next_deadline: Option<u64>,
    /// Those in force; `None` before the first change.
    pub(crate) bounds: Option<Bounds>,
    /// More is overdue than one look carries out.
    pub(crate) settling: bool,
}
