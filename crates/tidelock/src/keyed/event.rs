//! Changes as users see them.

use serde::Serialize;

use super::cursor::{Cursor, Version};
use super::entry::{Entry, Listed, RawEntry};
use super::store::{EventView, Happened, RecordView};
use crate::codec::{Border, Value, readable};
use crate::error::{Error, as_text};
use crate::time::Timestamp;

/// A change, or information about the follower's position.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Event<T> {
    /// The revision: changes of the object are numbered in order. For an overflow, the revision from which the follower
    /// continues.
    pub revision: u64,
    /// The position after this event.
    pub cursor: Cursor,
    /// When it happened: for an expiry the deadline, however late it was swept; for an overflow the instant of its
    /// revision.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind<T>,
}

/// The kind of a change.
// Exhaustive: users maintain views with it, and a new kind that fell into a wildcard arm would corrupt them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind<T> {
    /// A record was stored; this is the whole record at that time.
    Upsert(Entry<T>),
    /// A record was stored whose bytes cannot be decoded to this handle's type.
    Undecodable {
        /// Its key.
        key: String,
        /// Its version.
        version: Version,
        /// The stored bytes.
        #[serde(serialize_with = "readable")]
        raw: Vec<u8>,
        /// Why they cannot be decoded. Serialized as text.
        #[serde(serialize_with = "as_text")]
        error: Error,
    },
    /// The life of a record was extended. Of several touches in a row, a follower that is behind may get only the last.
    Touch {
        /// Its key.
        key: String,
        /// Its version: in a registry that of its value, in an ephemeral store a new one.
        version: Version,
        /// When it expires now.
        expires_at: Timestamp,
    },
    /// A record was removed.
    Delete {
        /// Its key.
        key: String,
        /// Its last version.
        version: Version,
        /// The reason that the caller gave.
        reason: Option<String>,
    },
    /// The deadline of a record has passed. Ignore it for a key that is not in your view.
    Expire {
        /// Its key.
        key: String,
        /// Its last version.
        version: Version,
    },
    /// The log no longer holds everything after the follower's position, or belongs to an emptied store. List again and
    /// replace your view; the follower continues after the event's cursor.
    Overflow {
        /// The position that has fallen behind.
        after: Cursor,
        /// The cursor of the oldest event that can still be read; if there is none, the latest position.
        first_available: Cursor,
    },
}

impl<T> EventKind<T> {
    /// The key of the changed record; `None` for an overflow.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Upsert(entry) => Some(&entry.key),
            Self::Undecodable { key, .. }
            | Self::Touch { key, .. }
            | Self::Delete { key, .. }
            | Self::Expire { key, .. } => Some(key),
            Self::Overflow { .. } => None,
        }
    }
}

impl<T: Value> EventKind<T> {
    pub(crate) fn new(border: &Border<T>, event: &EventView) -> Self {
        let key = || event.key.as_ref().to_owned();
        match &event.happened {
            Happened::Upsert { stamp, value } => {
                let record = RecordView { key: event.key.clone(), value: value.clone(), stamp: *stamp, expired: false };
                match Listed::new(border, record) {
                    Listed::Entry(entry) => Self::Upsert(entry),
                    Listed::Raw(RawEntry { key, version, raw, error }) => {
                        Self::Undecodable { key, version, raw, error }
                    }
                }
            }
            Happened::Touch { version, expires_at } => {
                Self::Touch { key: key(), version: Version(*version), expires_at: Timestamp::from_millis(*expires_at) }
            }
            Happened::Delete { version, reason } => Self::Delete {
                key: key(),
                version: Version(*version),
                reason: reason.as_ref().map(|reason| reason.as_ref().to_owned()),
            },
            Happened::Expire { version } => Self::Expire { key: key(), version: Version(*version) },
        }
    }
}
