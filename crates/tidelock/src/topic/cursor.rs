//! Public positions in a topic's log: cursors and event ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::store::Position;
use crate::cursor::{Owner, decode, encode};
use crate::error::{Error, Result};

/// A position in the log of one topic, just after an event. Opaque text: it can be stored, and used in another process.
///
/// A cursor belongs to one topic of one tenant; any other one refuses it. It stays valid for ever: events after it that
/// no longer exist are reported as a [`Gap`](super::Gap).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub(crate) owner: Owner,
    pub(crate) position: Position,
}

impl Cursor {
    pub(crate) fn new(owner: Owner, position: Position) -> Self {
        Self { owner, position }
    }

    /// The position in the log of `owner`; refused if the cursor belongs to another one.
    pub(crate) fn of(self, owner: Owner) -> Result<Position> {
        if self.owner == owner {
            return Ok(self.position);
        }
        Err(Error::argument(format!("the cursor {self} is of another topic or tenant")))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { life, at, ordinal } = self.position;
        f.write_str(&encode(self.owner, &[life, at, ordinal]))
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({self})")
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// Reads the text of a cursor. Cut or otherwise malformed text is an invalid argument.
    fn from_str(text: &str) -> Result<Self> {
        let (owner, [life, at, ordinal]) =
            decode(text).ok_or_else(|| Error::argument(format!("{text:?} is not the text of a cursor")))?;
        Ok(Self { owner, position: Position { life, at, ordinal } })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity of an event. Its text is that of the [`Cursor`] after the event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub(crate) Cursor);

impl EventId {
    /// The position after the event.
    pub fn cursor(&self) -> Cursor {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({})", self.0)
    }
}

impl FromStr for EventId {
    type Err = Error;

    /// Reads the text of an id. Cut or otherwise malformed text is an invalid argument.
    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|_| Error::argument(format!("{text:?} is not the text of an event id")))
    }
}
