//! The format of a message in the server's keys. The other half is `lua/store.lua`; both follow docs/wire.md.

use std::sync::Arc;

use crate::backend::redis::{Bytes, foreign, push_content, read_content, reason_of};
use crate::error::Result;
use crate::handover::cursor::Cursor;
use crate::queue::store::{Content, DeadView, Handed, LeaseView, MessageView, NewMessage, State};
use crate::topic::store::Position;

/// A stored message, parsed.
#[derive(Debug)]
pub(super) struct Stored {
    state: Fixed,
    consumer: Arc<str>,
    note: Option<Arc<str>>,
    last_error: Option<Arc<str>>,
    id: u64,
    enqueued_at: u64,
    expires_at: Option<u64>,
    retention: Option<u64>,
    content: Content,
}

/// The fixed-size part of a state, with the lengths of the texts that follow.
#[derive(Debug)]
struct Fixed {
    kind: u8,
    priority: u8,
    standing: u64,
    fence: u64,
    attempts: u64,
    join: u64,
    number: u64,
    tag: u8,
    consumer: usize,
    note: usize,
    last_error: usize,
}

/// Appends the sender's part of an element: retention, then the content.
pub(super) fn push_body(message: &NewMessage, bytes: &mut Vec<u8>) {
    bytes.extend(message.retention.unwrap_or(0).to_be_bytes());
    push_content(&message.content, bytes);
}

fn some(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

/// Reads a message that a take returned. Another format is an error and changes nothing.
pub(super) fn handed(value: Vec<u8>) -> Result<Handed> {
    let size = value.len();
    let parse = || {
        let mut bytes = Bytes(&value);
        let state = Fixed::read(&mut bytes)?;
        bytes.take(state.consumer + state.note)?;
        let last_error = bytes.text_or_none(state.last_error)?.0;
        let (id, enqueued_at) = (bytes.number(8)?, bytes.number(8)?);
        // Expiry and retention, which a consumer does not need.
        bytes.take(16)?;
        Some(Handed {
            id,
            fence: state.fence,
            attempt: state.attempts,
            priority: state.priority,
            enqueued_at,
            position: Position::default(),
            run: None,
            event: None,
            last_error,
            content: read_content(bytes.0.len(), value)?,
        })
    };
    parse().ok_or_else(|| foreign("message", size))
}

impl Fixed {
    fn read(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self {
            kind: bytes.byte()?,
            priority: bytes.byte()?,
            standing: bytes.number(8)?,
            fence: bytes.number(8)?,
            attempts: bytes.number(6)?,
            join: bytes.number(8)?,
            number: bytes.number(8)?,
            tag: bytes.byte()?,
            consumer: bytes.length(2)?,
            note: bytes.length(2)?,
            last_error: bytes.length(2)?,
        })
    }
}

impl Stored {
    /// Reads a stored value. Another format is an error and changes nothing.
    pub(super) fn read(value: Vec<u8>) -> Result<Self> {
        let size = value.len();
        Self::parse(value).ok_or_else(|| foreign("message", size))
    }

    fn parse(value: Vec<u8>) -> Option<Self> {
        let mut bytes = Bytes(&value);
        let state = Fixed::read(&mut bytes)?;
        Some(Self {
            consumer: bytes.text(state.consumer)?,
            note: bytes.text_or_none(state.note)?.0,
            last_error: bytes.text_or_none(state.last_error)?.0,
            state,
            id: bytes.number(8)?,
            enqueued_at: bytes.number(8)?,
            expires_at: some(bytes.number(8)?),
            retention: some(bytes.number(8)?),
            content: read_content(bytes.0.len(), value)?,
        })
    }

    /// The cursor with which a listing of ready messages continues after this one.
    pub(super) fn cursor(&self) -> Cursor {
        let Fixed { kind, priority, standing, join, .. } = self.state;
        match &self.content.ordering_key {
            Some(key) if kind == b'b' => Cursor::Blocked(join, key.to_string()),
            // A message without a number of its own is ordered by its id.
            _ => Cursor::Ready(9 - priority.min(9), standing, if join == 0 { self.id } else { join }),
        }
    }

    /// The view of an unfinished message; `None` for a dead letter.
    pub(super) fn into_view(self, lease_end: u64) -> Option<MessageView> {
        let Fixed { kind, priority, standing, fence, attempts, number, .. } = self.state;
        let (state, due, lease) = match kind {
            b'r' | b'b' => (State::Ready, standing, None),
            b'd' => (State::Delayed, number, None),
            b'l' => {
                let lease = LeaseView { fence, end: lease_end, consumer: self.consumer };
                (State::Leased, standing, Some(lease))
            }
            _ => return None,
        };
        Some(MessageView {
            id: self.id,
            state,
            blocked: kind == b'b',
            priority,
            attempts,
            enqueued_at: self.enqueued_at,
            due,
            expires_at: self.expires_at,
            note: self.note,
            last_error: self.last_error,
            lease,
            content: self.content,
        })
    }

    /// The view of a dead letter; `None` for an unfinished message.
    pub(super) fn into_dead(self) -> Option<DeadView> {
        let Fixed { kind, priority, attempts, number, tag, .. } = self.state;
        let reason = reason_of(tag).filter(|_| kind == b'x')?;
        Some(DeadView {
            id: self.id,
            reason,
            priority,
            attempts,
            enqueued_at: self.enqueued_at,
            moved_at: number,
            kept_until: self.retention.map(|retention| number + retention),
            note: self.note,
            last_error: self.last_error,
            content: self.content,
        })
    }
}
