//! Records as users see them.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::cursor::{Cursor, Version};
use super::store::{RecordView, Stamp};
use crate::codec::{Border, Value, readable};
use crate::error::{Error, Result, as_text};
use crate::page::PageToken;
use crate::time::{Timestamp, optional_millis};
use crate::word::words;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entry<T> {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: T,
    /// The version of this state, for conditional calls.
    pub version: Version,
    /// Whether it is active. In an ephemeral store always `Active`.
    pub status: Status,
    /// When this life of the record began; unchanged while the record is active.
    pub created_at: Timestamp,
    /// When it was last changed or touched.
    pub updated_at: Timestamp,
    /// The time to live that a touch restarts; `None` if permanent. Serialized in milliseconds.
    #[serde(serialize_with = "optional_millis")]
    pub ttl: Option<Duration>,
    /// When it expires unless it is touched; `None` if permanent.
    pub expires_at: Option<Timestamp>,
}

/// Whether a record is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// Its deadline, if it has one, has not come.
    Active,
    /// Its deadline has passed; it can still be inspected, and counts as absent everywhere else.
    Expired,
}

words!(Status: Self::Active => "active", Self::Expired => "expired");

/// A record whose bytes cannot be decoded to the handle's type.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct RawEntry {
    /// Its key.
    pub key: String,
    /// Its version, like that of an [`Entry`]: with it the record can be swapped or removed.
    pub version: Version,
    /// The stored bytes.
    #[serde(serialize_with = "readable")]
    pub raw: Vec<u8>,
    /// Why they cannot be decoded. Serialized as text.
    #[serde(serialize_with = "as_text")]
    pub error: Error,
}

/// An item of a listing.
// Exhaustive: a record decodes or it does not, and every caller matches both.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Listed<T> {
    /// A record.
    Entry(Entry<T>),
    /// A record that cannot be decoded.
    Raw(RawEntry),
}

impl<T> Listed<T> {
    /// The key.
    pub fn key(&self) -> &str {
        match self {
            Self::Entry(entry) => &entry.key,
            Self::Raw(raw) => &raw.key,
        }
    }

    /// The version.
    pub fn version(&self) -> Version {
        match self {
            Self::Entry(entry) => entry.version,
            Self::Raw(raw) => raw.version,
        }
    }

    /// The record, if it can be decoded.
    pub fn entry(&self) -> Option<&Entry<T>> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Raw(_) => None,
        }
    }

    /// The record; one that cannot be decoded is an error of kind *decode*, whose [`raw`](Error::raw) returns its
    /// bytes.
    pub fn into_entry(self) -> Result<Entry<T>> {
        match self {
            Self::Entry(entry) => Ok(entry),
            Self::Raw(RawEntry { raw, error, .. }) => Err(error.with_raw(raw)),
        }
    }
}

/// A page of records in byte order of their keys, and the position of the log at the same instant.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Listing<T> {
    /// The records.
    pub items: Vec<Listed<T>>,
    /// The position from which changes since this page can be followed.
    pub cursor: Cursor,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<PageToken>,
}

/// All records, or those under a prefix, in byte order of their keys, and the position of the log at the same instant.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Snapshot<T> {
    /// The records.
    pub items: Vec<Listed<T>>,
    /// The position from which changes since this snapshot can be followed, without a gap.
    pub cursor: Cursor,
}

macro_rules! entries {
    ($($type:ident),*) => {$(
        impl<T> $type<T> {
            /// The records that can be decoded.
            pub fn entries(&self) -> impl Iterator<Item = &Entry<T>> {
                self.items.iter().filter_map(Listed::entry)
            }

            /// The records that can be decoded, by value.
            pub fn into_entries(self) -> impl Iterator<Item = Entry<T>> {
                self.items.into_iter().filter_map(|item| item.into_entry().ok())
            }
        }
    )*};
}

entries!(Listing, Snapshot);

impl<T: Value> Listed<T> {
    pub(crate) fn new(border: &Border<T>, record: RecordView) -> Self {
        match border.decode(&record.value) {
            Ok(value) => Self::Entry(entry(&record.key, value, &record.stamp, record.expired)),
            Err(error) => Self::Raw(RawEntry {
                key: record.key.as_ref().to_owned(),
                version: Version(record.stamp.version),
                error: about(&record.key, record.stamp.version, error),
                raw: record.value,
            }),
        }
    }
}

/// Adds the record to a decoding error.
fn about(key: &Arc<str>, version: u64, error: Error) -> Error {
    error.in_context(format_args!("the record {key:?}, version {version}"))
}

pub(crate) fn entry<T>(key: &Arc<str>, value: T, stamp: &Stamp, expired: bool) -> Entry<T> {
    Entry {
        key: key.as_ref().to_owned(),
        value,
        version: Version(stamp.version),
        status: if expired { Status::Expired } else { Status::Active },
        created_at: Timestamp::from_millis(stamp.created_at),
        updated_at: Timestamp::from_millis(stamp.updated_at),
        ttl: stamp.ttl.map(Duration::from_millis),
        expires_at: stamp.expires_at.map(Timestamp::from_millis),
    }
}
