//! How a message stands in the server's keys; the other half is `lua/store.lua`, and both follow docs/wire.md.

use std::sync::Arc;

use crate::backend::redis::{Bytes, push_content, read_content, reason_of};
use crate::error::{Error, ErrorKind, Result};
use crate::handover::cursor::Cursor;
use crate::queue::store::{Content, DeadView, Handed, LeaseView, MessageView, State};
use crate::topic::store::Position;

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

/// The sender's part of an element: retention, then the content.
pub(super) fn body(content: &Content, retention: Option<u64>) -> Vec<u8> {
    let mut bytes = retention.unwrap_or(0).to_be_bytes().to_vec();
    push_content(content, &mut bytes);
    bytes
}

fn some(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
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
        let mut bytes = Bytes(value);
        let (kind, priority) = (bytes.byte()?, bytes.byte()?);
        let (standing, fence) = (bytes.number(8)?, bytes.number(8)?);
        let (attempts, join, number) = (bytes.number(6)?, bytes.number(8)?, bytes.number(8)?);
        let tag = bytes.byte()?;
        let (consumer, note, error) = (bytes.length(2)?, bytes.length(2)?, bytes.length(2)?);
        let consumer = bytes.text(consumer)?.0;
        let (note, last_error) = (bytes.text(note)?.unless_empty(), bytes.text(error)?.unless_empty());
        let (id, enqueued_at) = (bytes.number(8)?, bytes.number(8)?);
        let (expires_at, retention) = (some(bytes.number(8)?), some(bytes.number(8)?));
        let content = read_content(bytes)?;
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
            run: None,
            event: None,
            last_error: self.last_error,
            content: self.content,
        }
    }

    /// Where a listing of ready messages goes on after this one.
    pub(super) fn cursor(&self) -> Cursor {
        match &self.content.ordering_key {
            Some(key) if self.kind == b'b' => Cursor::Blocked(self.join, key.to_string()),
            None if self.join != 0 => Cursor::Ready(9 - self.priority.min(9), self.standing, self.join),
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
        let reason = reason_of(self.tag).filter(|_| self.kind == b'x')?;
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
