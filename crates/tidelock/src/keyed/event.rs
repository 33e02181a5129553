//! Changes as users see them.

use serde::Serialize;

use super::cursor::{Cursor, Version};
use super::entry::{Entry, Listed, RawEntry};
use super::store::{EventView, Happened, RecordView};
use crate::codec::{Border, Value, readable};
use crate::error::{Error, as_text};
use crate::time::Timestamp;

/// A change, or what a follower has to know about its place.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Event<T> {
    /// Numbers the changes of the object; it only grows. Of an overflow the revision of the place where the follower
    /// goes on.
    pub revision: u64,
    /// The place behind this event.
    pub cursor: Cursor,
    /// When it happened: of an expiry the deadline, however late it was carried out. Of an overflow the instant that its
    /// revision stands for.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind<T>,
}

/// What happened.
// Exhaustive: views are kept by it, and a kind that falls to a wildcard would be missing there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind<T> {
    /// A record was stored: all of it, as it was then.
    Upsert(Entry<T>),
    /// A record was stored whose bytes are no value of this handle's type.
    Undecodable {
        /// Its name.
        key: String,
        /// Its version.
        version: Version,
        /// The stored bytes.
        #[serde(serialize_with = "readable")]
        raw: Vec<u8>,
        /// Why they do not decode. Serialized as its text.
        #[serde(serialize_with = "as_text")]
        error: Error,
    },
    /// The life of a record was restarted. Of several touches in a row a follower that is behind may get the last one
    /// only.
    Touch {
        /// Its name.
        key: String,
        /// Its version: in a registry that of its value, in an ephemeral store a new one.
        version: Version,
        /// When it ends now.
        expires_at: Timestamp,
    },
    /// A record was removed.
    Delete {
        /// Its name.
        key: String,
        /// The version that it had.
        version: Version,
        /// What the caller said about it.
        reason: Option<String>,
    },
    /// The deadline of a record has passed. Ignore it for a key that is not in your view.
    Expire {
        /// Its name.
        key: String,
        /// The version that it had.
        version: Version,
    },
    /// The log no longer holds everything behind the follower's place, or is that of an emptied store. List again and
    /// replace your view; the follower goes on behind the event's cursor.
    Overflow {
        /// The place that has fallen behind.
        after: Cursor,
        /// The cursor of the oldest event that can still be read; if there is none, the latest place.
        first_available: Cursor,
    },
}

impl<T> EventKind<T> {
    /// The key that it is about; none for an overflow.
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
