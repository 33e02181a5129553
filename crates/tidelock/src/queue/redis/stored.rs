//! How a message stands in the server's keys; the other half is `lua/store.lua`, and both follow docs/wire.md.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::queue::cursor::Cursor;
use crate::queue::store::{Content, DeadReason, DeadView, Handed, LeaseView, MessageView, State};
use crate::topic::store::Position;

/// Bytes of the fixed part of the state that stands before the element.
const STATE: usize = 47;
/// Bytes of an element before its ordering key, of which the script writes the first 24.
const ELEMENT: usize = 40;
/// Bytes of an element that the script writes.
const HEAD: usize = 24;

/// A stored message, read.
#[derive(Debug)]
pub(super) struct Stored {
    kind: u8,
    priority: u8,
    standing: u64,
    fence: u64,
    attempts: u64,
    number: u64,
    tag: u8,
    consumer: Arc<str>,
    note: Option<Arc<str>>,
    last_error: Option<Arc<str>>,
    id: u64,
    enqueued_at: u64,
    expires_at: Option<u64>,
    retention: Option<u64>,
    join: u64,
    content: Content,
}

/// The sender's part of an element: retention, lengths, ordering key, trace, meta, payload.
pub(super) fn body(content: &Content, retention: Option<u64>) -> Vec<u8> {
    let key = content.ordering_key.as_deref().unwrap_or_default().as_bytes();
    let Content { payload, meta, trace, .. } = content;
    let size = ELEMENT - HEAD + key.len() + trace.len() + meta.len() + payload.len();
    let mut bytes = Vec::with_capacity(size);
    bytes.extend(retention.unwrap_or(0).to_be_bytes());
    let length = |length: usize| u32::try_from(length).expect("payload limits are far below 4 GiB").to_be_bytes();
    bytes.extend(&length(key.len())[2..]);
    bytes.extend(&length(trace.len())[2..]);
    bytes.extend(length(meta.len()));
    for part in [key, trace, meta, payload] {
        bytes.extend_from_slice(part);
    }
    bytes
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self, size: usize) -> Option<u64> {
        Some(self.bytes(size)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, size: usize) -> Option<usize> {
        usize::try_from(self.number(size)?).ok()
    }

    fn text(&mut self, length: usize) -> Option<Arc<str>> {
        Some(String::from_utf8_lossy(self.bytes(length)?).into())
    }
}

fn some(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

fn some_text(text: Arc<str>) -> Option<Arc<str>> {
    (!text.is_empty()).then_some(text)
}

impl Stored {
    /// Reads a stored value; one that is not of this format is an error and changes nothing.
    pub(super) fn read(value: &[u8]) -> Result<Self> {
        Self::parse(value).ok_or_else(|| {
            let message = format!("a stored message of {} bytes is not of this version's format", value.len());
            Error::new(ErrorKind::IncompatibleFormat, message)
        })
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let mut state = Reader(value.get(..STATE)?);
        let mut rest = Reader(&value[STATE..]);
        let kind = state.bytes(1)?[0];
        let priority = state.bytes(1)?[0];
        let (standing, fence) = (state.number(8)?, state.number(8)?);
        let (attempts, join, number) = (state.number(6)?, state.number(8)?, state.number(8)?);
        let tag = state.bytes(1)?[0];
        let (consumer, note, error) = (state.length(2)?, state.length(2)?, state.length(2)?);
        let (consumer, note, error) = (rest.text(consumer)?, rest.text(note)?, rest.text(error)?);
        let (id, enqueued_at) = (rest.number(8)?, rest.number(8)?);
        let (expires_at, retention) = (some(rest.number(8)?), some(rest.number(8)?));
        let (key, trace, meta) = (rest.length(2)?, rest.length(2)?, rest.length(4)?);
        let content = Content {
            ordering_key: some_text(rest.text(key)?),
            trace: rest.bytes(trace)?.to_vec(),
            meta: rest.bytes(meta)?.to_vec(),
            payload: rest.0.to_vec(),
        };
        let (note, last_error) = (some_text(note), some_text(error));
        Some(Self {
            kind,
            priority,
            standing,
            fence,
            attempts,
            number,
            tag,
            consumer,
            note,
            last_error,
            id,
            enqueued_at,
            expires_at,
            retention,
            join,
            content,
        })
    }

    pub(super) fn into_handed(self) -> Handed {
        Handed {
            id: self.id,
            fence: self.fence,
            attempt: self.attempts,
            priority: self.priority,
            enqueued_at: self.enqueued_at,
            position: Position::default(),
            last_error: self.last_error,
            content: self.content,
        }
    }

    /// Where a listing of ready messages goes on after this one.
    pub(super) fn cursor(&self) -> Cursor {
        match &self.content.ordering_key {
            Some(key) if self.kind == b'b' => Cursor::Blocked(self.join, key.to_string()),
            _ => Cursor::Ready(9 - self.priority.min(9), self.standing, self.id),
        }
    }

    /// As an unfinished message; `None` for a dead letter.
    pub(super) fn into_view(self, lease_end: u64) -> Option<MessageView> {
        let (state, due, lease) = match self.kind {
            b'r' | b'b' => (State::Ready, self.standing, None),
            b'd' => (State::Delayed, self.number, None),
            b'l' => {
                let lease = LeaseView { fence: self.fence, end: lease_end, consumer: self.consumer };
                (State::Leased, self.standing, Some(lease))
            }
            _ => return None,
        };
        Some(MessageView {
            id: self.id,
            state,
            blocked: self.kind == b'b',
            priority: self.priority,
            attempts: self.attempts,
            enqueued_at: self.enqueued_at,
            due,
            expires_at: self.expires_at,
            note: self.note,
            last_error: self.last_error,
            lease,
            content: self.content,
        })
    }

    /// As a dead letter; `None` for an unfinished message.
    pub(super) fn into_dead(self) -> Option<DeadView> {
        let reason = match (self.kind, self.tag) {
            (b'x', b'e') => DeadReason::Expired,
            (b'x', b'm') => DeadReason::MaxDeliveriesExceeded,
            (b'x', b'r') => DeadReason::Rejected,
            (b'x', b'u') => DeadReason::Undecodable,
            _ => return None,
        };
        Some(DeadView {
            id: self.id,
            reason,
            priority: self.priority,
            attempts: self.attempts,
            enqueued_at: self.enqueued_at,
            moved_at: self.number,
            kept_until: self.retention.map(|retention| self.number + retention),
            note: self.note,
            last_error: self.last_error,
            content: self.content,
        })
    }
}

/// The letter of a reason in stored messages.
pub(super) fn reason_letter(reason: DeadReason) -> &'static [u8] {
    match reason {
        DeadReason::Expired => b"e",
        DeadReason::MaxDeliveriesExceeded => b"m",
        DeadReason::Rejected => b"r",
        DeadReason::Undecodable => b"u",
    }
}
