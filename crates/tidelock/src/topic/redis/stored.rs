//! The stored format of events. Its counterparts are `lua/log.lua` and `lua/group.lua`; docs/wire/topic.md is the
//! specification.

use std::sync::Arc;

use crate::backend::redis::{Bytes, foreign, read_content, reason_of};
use crate::check::LARGEST;
use crate::error::Result;
use crate::topic::store::{Begin, Content, DeadView, EventView, GapView, Handed, Position};

/// The value that scripts write for an unknown number of missed events.
const UNKNOWN: u64 = LARGEST + 1;
/// Size of a position.
pub(super) const PLACE: usize = 24;

/// A position as 24 bytes.
pub(super) fn place_bytes(place: Position) -> [u8; PLACE] {
    let mut bytes = [0; PLACE];
    for (part, number) in bytes.chunks_exact_mut(8).zip([place.life, place.at, place.ordinal]) {
        part.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

/// Encodes a start for the scripts: a letter, then a position or an instant.
pub(super) fn begin_bytes(begin: Begin) -> Vec<u8> {
    let (letter, place) = match begin {
        Begin::Earliest => (b'e', Position::default()),
        Begin::Latest => (b'l', Position::default()),
        Begin::After(place) => (b'a', place),
        Begin::At(instant) => (b't', Position { life: instant, at: 0, ordinal: 0 }),
    };
    let mut bytes = vec![letter];
    bytes.extend(place_bytes(place));
    bytes
}

pub(super) fn place(bytes: &mut Bytes<'_>) -> Option<Position> {
    Some(Position { life: bytes.number(8)?, at: bytes.number(8)?, ordinal: bytes.number(8)? })
}

/// Reads a gap, if there is one: the first byte tells.
pub(super) fn gap(bytes: &mut Bytes<'_>) -> Option<GapSaid> {
    let is_gap = bytes.byte()? == 1;
    let (from, to, missed) = (place(bytes)?, place(bytes)?, bytes.number(8)?);
    let gap = GapView { from, to, missed: (missed != UNKNOWN).then_some(missed) };
    Some(GapSaid(is_gap.then_some(gap)))
}

/// The gap in a reply, if any.
pub(super) struct GapSaid(pub(super) Option<GapView>);

/// Parses an element of the log.
pub(super) fn event(life: u64, ordinal: u64, element: Vec<u8>) -> Result<EventView> {
    let size = element.len();
    let parse = || {
        let mut bytes = Bytes(&element);
        let at = bytes.number(8)?;
        Some(EventView { place: Position { life, at, ordinal }, content: read_content(bytes.0.len(), element)? })
    };
    parse().ok_or_else(|| foreign("event", size))
}

/// A parsed open event or dead letter.
#[derive(Debug)]
pub(super) struct Stored {
    kind: u8,
    fence: u64,
    attempts: u64,
    number: u64,
    retention: u64,
    ordinal: u64,
    note: Option<Arc<str>>,
    last_error: Option<Arc<str>>,
    at: u64,
    content: Content,
}

impl Stored {
    pub(super) fn read(value: Vec<u8>) -> Result<Self> {
        let size = value.len();
        Self::parse(value).ok_or_else(|| foreign("event of a group", size))
    }

    fn parse(value: Vec<u8>) -> Option<Self> {
        let mut bytes = Bytes(&value);
        let (kind, _flags) = (bytes.byte()?, bytes.byte()?);
        let (fence, attempts, number) = (bytes.number(8)?, bytes.number(6)?, bytes.number(8)?);
        let (retention, ordinal) = (bytes.number(8)?, bytes.number(8)?);
        let (consumer, note, error) = (bytes.length(2)?, bytes.length(2)?, bytes.length(2)?);
        bytes.take(consumer)?;
        let (note, last_error) = (bytes.text_or_none(note)?.0, bytes.text_or_none(error)?.0);
        let at = bytes.number(8)?;
        let content = read_content(bytes.0.len(), value)?;
        Some(Self { kind, fence, attempts, number, retention, ordinal, note, last_error, at, content })
    }

    pub(super) fn into_handed(self, life: u64) -> Handed {
        let Self { fence, attempts, ordinal, last_error, at, content, .. } = self;
        Handed { place: Position { life, at, ordinal }, fence, attempt: attempts, last_error, content }
    }

    /// Converts to a dead letter; `None` for an open event.
    pub(super) fn into_dead(self, life: u64) -> Option<DeadView> {
        Some(DeadView {
            place: Position { life, at: self.at, ordinal: self.ordinal },
            reason: reason_of(self.kind)?,
            attempts: self.attempts,
            moved_at: self.number,
            kept_until: (self.retention != 0).then(|| self.number + self.retention),
            note: self.note,
            last_error: self.last_error,
            content: self.content,
        })
    }
}
