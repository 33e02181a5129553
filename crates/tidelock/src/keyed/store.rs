//! What a backend implements for registries and ephemeral stores: requests and outcomes as plain data.
//!
//! All times are in milliseconds. Durations are as the caller requested them; instants are on the backend's clock,
//! since the Unix epoch. Revisions and versions are below 2^53.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bell::Bell;
use crate::error::Result;
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;

/// Maximum number of records per page, and of events per read.
pub(crate) const MAX_PAGE: usize = 1_000;
/// Maximum total size of the values in one page or read. A single larger value is still returned.
pub(crate) const MAX_BYTES: u64 = 4 * 1_024 * 1_024;
/// How many overdue transitions one step carries out.
pub(crate) const STEP: usize = 200;

/// The operations of a keyed store.
///
/// Every method is one atomic step on the backend, or several bounded ones where it says so. If the reply of a mutating
/// step is lost, the step is retried until it is answered or the request timeout has passed. The caller has already
/// checked keys, prefixes, ranges and sizes.
pub(crate) trait KeyedStore: Send + Sync {
    /// Changes one record, or returns why not. Concurrent calls share a trip, in the order of the calls.
    fn change(&self, object: &Object, change: Change) -> BoxFuture<'static, Result<Changed>>;
    /// The record of a key. Writes nothing.
    fn get(&self, object: &Object, get: Get) -> BoxFuture<'static, Result<Option<RecordView>>>;
    /// A page of records, and the position of the log at the same instant. First carries out all that is overdue, in
    /// bounded steps.
    fn list(&self, object: &Object, list: List) -> BoxFuture<'static, Result<Listing>>;
    /// Statistics of the object, after carrying out what is overdue in at most
    /// [`SETTLING_STEPS`](crate::backend::SETTLING_STEPS) bounded steps.
    fn stats(&self, object: &Object) -> BoxFuture<'static, Result<StatsView>>;
    /// Where the log begins and ends now. Writes nothing.
    fn places(&self, object: &Object) -> BoxFuture<'static, Result<Places>>;
    /// Reads the log after a position, following one step of what is overdue.
    fn read(&self, object: &Object, read: Read) -> BoxFuture<'static, Result<Span>>;
    /// Whether everything after a position can still be read, if that is known without a request. A follower delivers
    /// events that it has read ahead only while this holds.
    fn holds(&self, _object: &Object, _place: Position) -> bool {
        true
    }
    /// Removes the object with its records and log. Returns whether it existed.
    fn delete(&self, object: &Object) -> BoxFuture<'static, Result<bool>>;
    /// The bell that rings when this process should read the log again. There is one per object and process; it lives
    /// as long as somebody holds it.
    fn bell(&self, object: &Object) -> Arc<Bell>;
}

opaque!(KeyedStore);

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Records may be permanent, expired records leave tombstones, a touch does not change the version.
    Registry,
    /// Every record has a ttl, ended records leave nothing, a touch makes a new version.
    Ephemeral,
}

impl Kind {
    /// The word for the kind in keys, cursors and messages.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Ephemeral => "ephemeral",
        }
    }
}

/// The identity of one object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) address: Address,
}

/// Bounds of the whole object, stored with it by each change that writes: the latest writer's bounds are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bounds {
    /// Maximum number of active records.
    pub(crate) max_entries: u64,
    /// How long an event can be read.
    pub(crate) event_retention: u64,
    /// Only this many of the newest events can be read; touches do not count.
    pub(crate) max_events: u64,
    /// Only the newest events up to this total size of values can be read.
    pub(crate) max_event_bytes: u64,
    /// How long an expired record can be inspected after its deadline; no effect in an ephemeral store.
    pub(crate) tombstone_retention: u64,
}

/// A request to change the record of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) key: Arc<str>,
    pub(crate) action: Action,
    pub(crate) bounds: Bounds,
}

/// The change to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// Stores the value unconditionally.
    Upsert { value: Vec<u8>, life: Life },
    /// Stores the value if the record is active with that version or, for `None`, if no record is active.
    Cas { expected: Option<u64>, value: Vec<u8>, life: Life },
    /// Restarts the life of an active record: with this ttl from now on or, for `None`, with its current one.
    Touch { ttl: Option<u64>, if_version: Option<u64> },
    /// Removes an active record.
    Remove { reason: Option<Arc<str>>, if_version: Option<u64> },
}

/// The lifetime of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Life {
    /// Until it is removed; not allowed in an ephemeral store.
    Permanent,
    /// This long, from now.
    For(u64),
    /// Restarts the ttl of the active record. Permanent if no record is active or the record is permanent. Not allowed
    /// in an ephemeral store.
    Keep,
}

/// The outcome of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) outcome: Outcome,
    /// The previous bounds, if this change replaced them.
    pub(crate) replaced: Option<Bounds>,
}

/// The outcome for the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// An upsert or swap: the record now holds the given value.
    Stored(Stamp),
    /// An upsert or swap of a key without an active record: the maximum number of active records is reached.
    Full { limit: u64 },
    /// A swap: the active record, if any, is this one. Nothing changed.
    Conflict(Option<RecordView>),
    /// A touch.
    Extended { version: u64, expires_at: u64 },
    /// A touch without ttl on a permanent record. Nothing changed.
    Permanent,
    /// A removal.
    Removed,
    /// A touch or removal: no record is active. Nothing changed.
    Absent,
    /// A touch or removal: the active record has this version, not the expected one. Nothing changed.
    Stale { version: u64 },
}

/// Everything about a record except key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// The revision of its last change of value; in an ephemeral store, of its last change of any kind.
    pub(crate) version: u64,
    /// When this life of the record began.
    pub(crate) created_at: u64,
    /// When it was last upserted, swapped or touched.
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
    /// Whether its deadline has passed; if not, it is active.
    pub(crate) expired: bool,
}

/// A query for one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Get {
    pub(crate) key: Arc<str>,
    /// Also return an expired record while it can be inspected.
    pub(crate) include_expired: bool,
}

/// A query for records, in byte order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct List {
    /// Only keys with this prefix; all if it is empty.
    pub(crate) prefix: Arc<str>,
    /// Only keys after this one.
    pub(crate) after_key: Option<Arc<str>>,
    /// On a server, 1..=[`MAX_PAGE`].
    pub(crate) limit: usize,
    /// List the expired records that can be inspected, instead of the active ones.
    pub(crate) expired: bool,
}

/// A page of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listing {
    /// At most `limit` records, with values of at most [`MAX_BYTES`] in total, but at least one if there is one.
    pub(crate) records: Vec<RecordView>,
    /// Whether there are records after the last one.
    pub(crate) more: bool,
    /// The end of the log at the instant of the page.
    pub(crate) place: Position,
}

/// A position in the log: after the event with that revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Identifies one life of the object, from its first event to its end, by the revision of that event. 0: none had
    /// begun; such a position is valid in the next life.
    pub(crate) incarnation: u64,
    /// max(previous + 1, now in microseconds) for each event: never repeats and never decreases.
    pub(crate) revision: u64,
    /// The revision of the last event up to here that is not a touch; 0 if unknown. It reveals that the log is not the
    /// one of the position: an older state of it was restored and has continued differently.
    pub(crate) event: u64,
}

impl Position {
    /// The position after `next`, the event that follows, in the given life of the object.
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
    /// After the latest event.
    pub(crate) latest: Position,
}

/// A read of the log, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Read {
    pub(crate) after: Position,
    /// Maximum number of events, 1..=[`MAX_PAGE`]; fewer are returned if they are large.
    pub(crate) max: usize,
    /// If nothing was found, park this process: its bell rings when there is more.
    pub(crate) park: bool,
}

/// Consecutive events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Span {
    /// Not everything after the position could be read. Then there are no events, and `end` is the latest position.
    pub(crate) overflow: Option<Overflow>,
    pub(crate) events: Vec<EventView>,
    /// The position after all of it.
    pub(crate) end: Position,
    /// For a span without events: read again at this instant of this process's clock if the bell does not ring before.
    pub(crate) next: Option<u64>,
}

impl Span {
    /// Whether there is nothing to report.
    pub(crate) fn is_empty(&self) -> bool {
        self.overflow.is_none() && self.events.is_empty()
    }
}

/// Reported to a reader that has fallen behind the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Overflow {
    /// The position of the oldest event that can be read; if there is none, the latest position.
    pub(crate) first_available: Position,
}

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventView {
    pub(crate) revision: u64,
    /// When it happened: for a change its instant, for an expiry the deadline.
    pub(crate) at: u64,
    pub(crate) key: Arc<str>,
    pub(crate) happened: Happened,
}

/// What happened to a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Happened {
    /// The record at that time; its version is the revision.
    Upsert {
        stamp: Stamp,
        value: Vec<u8>,
    },
    /// The latest touch of a record, as long as nothing else has happened to it since.
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
    /// Permanent records, included in `active`.
    pub(crate) permanent: u64,
    /// Expired records that can be inspected.
    pub(crate) expired: u64,
    /// Readable events, not counting touches.
    pub(crate) events: u64,
    /// Total size of their values.
    pub(crate) event_bytes: u64,
    /// Readable touches.
    pub(crate) touches: u64,
    /// The position after the latest event.
    pub(crate) latest: Position,
    /// The newest revision that can no longer be read; 0 if all can.
    pub(crate) compacted: u64,
    /// The earliest deadline of an active record.
    pub(crate) next_deadline: Option<u64>,
    /// The current bounds; `None` before the first change.
    pub(crate) bounds: Option<Bounds>,
    /// More is overdue than one look carries out.
    pub(crate) settling: bool,
}
