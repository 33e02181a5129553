//! The stored format of records and events. Its counterparts are `lua/store.lua` and `lua/log.lua`; docs/wire/keyed.md
//! is the specification.

use std::sync::Arc;

use crate::backend::redis::{Answer, Bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::keyed::store::{EventView, Happened, RecordView, Stamp};

/// Size of a stamp in replies.
pub(super) const STAMP: usize = 40;

/// Reads a stamp.
pub(super) fn read_stamp(bytes: &mut Bytes<'_>) -> Option<Stamp> {
    let (version, created_at, updated_at) = (bytes.number(8)?, bytes.number(8)?, bytes.number(8)?);
    let (ttl, expires_at) = (some(bytes.number(8)?), some(bytes.number(8)?));
    Some(Stamp { version, created_at, updated_at, ttl, expires_at })
}

pub(super) fn some(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

/// Parses a stored state: everything about a record except key and value.
fn state(bytes: &[u8]) -> Option<Stamp> {
    let mut bytes = Bytes(bytes);
    let _kind = bytes.byte()?;
    let stamp = read_stamp(&mut bytes)?;
    let _size = bytes.number(4)?;
    bytes.0.is_empty().then_some(stamp)
}

/// Size of a stored state.
const STATE: usize = 1 + STAMP + 4;

/// Reads a record: its state followed by its value.
pub(super) fn record(key: &Arc<str>, bytes: &[u8], expired: bool) -> Result<RecordView> {
    let (head, value) = bytes.split_at_checked(STATE).ok_or_else(not_understood)?;
    Ok(RecordView { key: Arc::clone(key), stamp: stamp(head)?, value: value.to_vec(), expired })
}

/// Reads a stored state.
pub(super) fn stamp(bytes: &[u8]) -> Result<Stamp> {
    state(bytes).ok_or_else(not_understood)
}

/// Reads an event of the log.
pub(super) fn event(bytes: &[u8]) -> Result<EventView> {
    parse_event(bytes).ok_or_else(not_understood)
}

fn parse_event(bytes: &[u8]) -> Option<EventView> {
    let mut reader = Bytes(bytes);
    let (revision, _before) = (reader.number(8)?, reader.number(8)?);
    let kind = reader.byte()?;
    let length = reader.length(2)?;
    let key = std::str::from_utf8(reader.take(length)?).ok()?.into();
    if kind == b'u' {
        let stamp = read_stamp(&mut reader)?;
        let happened = Happened::Upsert { stamp, value: reader.0.to_vec() };
        return Some(EventView { revision, at: stamp.updated_at, key, happened });
    }
    let (at, version) = (reader.number(8)?, reader.number(8)?);
    let happened = match kind {
        b'd' => {
            let reason = reader.0.get(1..).map(|reason| String::from_utf8_lossy(reason).into());
            Happened::Delete { version, reason }
        }
        b'e' => Happened::Expire { version },
        _ => return None,
    };
    Some(EventView { revision, at, key, happened })
}

/// The error for stored data in the format of another version or of other software.
pub(super) fn not_understood() -> Error {
    Error::new(ErrorKind::IncompatibleFormat, "a stored record is not of this version's format")
}

/// Reads the next item of a reply as a key.
pub(super) fn key(answer: &mut Answer) -> Result<Arc<str>> {
    std::str::from_utf8(&answer.bytes()?).map(Arc::from).map_err(|_| not_understood())
}
