//! Cursors and versions: numbers that users store and pass on as text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::store::{Object, Position};
use crate::check;
use crate::cursor::{self, Owner};
use crate::error::{Error, Result};

/// A position in the change log of one object, between two events.
///
/// Opaque: it names its object, so any other object or tenant refuses it. As text (`Display`, `FromStr`, serde) it can
/// be stored and passed around. It is valid for every selection of its object, and survives restarts; one that has
/// fallen behind what can still be read gives an [`Overflow`](super::event::EventKind::Overflow).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    owner: Owner,
    position: Position,
}

impl Cursor {
    pub(crate) fn new(owner: Owner, position: Position) -> Self {
        Self { owner, position }
    }

    /// The revision of the position: it orders the positions of one object.
    #[cfg(target_family = "wasm")]
    pub(crate) fn revision(&self) -> u64 {
        self.position.revision
    }

    /// The position, if the cursor belongs to this object.
    pub(crate) fn within(&self, owner: Owner, object: &Object) -> Result<Position> {
        if self.owner == owner {
            return Ok(self.position);
        }
        let (word, id) = (object.kind.word(), &object.address.id);
        Err(Error::argument(format!("the cursor must be one of {word} {id:?} of this tenant, but {self} is not")))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { incarnation, revision, event } = self.position;
        f.write_str(&cursor::encode(self.owner, &[incarnation, revision, event]))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (owner, [incarnation, revision, event]) = cursor::decode(text)
            .ok_or_else(|| Error::argument(format!("{text:?} is no cursor of a registry or ephemeral store")))?;
        Ok(Self { owner, position: Position { incarnation, revision, event } })
    }
}

/// Identifies one state of a record: it grows with every change and never repeats.
///
/// In a registry it is the revision of the last change of its value, in an ephemeral store of its last change of any
/// kind, even a touch. Versions of one object are comparable across all of its keys. As text it is a decimal number
/// below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub(crate) u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        check::decimal(text)
            .map(Self)
            .ok_or_else(|| Error::argument(format!("a version is a decimal below 2^53, but this is {text:?}")))
    }
}

macro_rules! as_text {
    ($($type:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

as_text!(Cursor, Version);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::store::Kind;
    use crate::name::Address;

    #[test]
    fn a_cursor_is_text_and_belongs_to_its_object() {
        let object = |id: &str| Object { kind: Kind::Registry, address: Address::new(&"default".into(), id) };
        let owner = |id: &str| Owner::of("registry", &object(id).address);
        let cursor = Cursor::new(owner("a"), Position { incarnation: 3, revision: 17, event: 16 });
        let text = serde_json::to_string(&cursor).unwrap();
        assert_eq!(serde_json::from_str::<Cursor>(&text).unwrap(), cursor);
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        assert!(cursor.within(owner("a"), &object("a")).is_ok());
        let error = cursor.within(owner("b"), &object("b")).unwrap_err();
        assert!(error.to_string().contains("registry \"b\""), "{error}");
        assert!("0".parse::<Cursor>().is_err());
    }

    #[test]
    fn a_version_is_a_decimal_number_as_text() {
        let version = Version(9_007_199_254_740_991);
        assert_eq!(serde_json::to_string(&version).unwrap(), "\"9007199254740991\"");
        assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        for bad in ["", "-1", "+1", "9007199254740992", "1.0"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
