//! What was read last, shared by all followers of a log.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Log, Part};
use crate::error::Error;

/// What the ring holds at most, unless one part alone is larger.
pub(super) const RING_EVENTS: usize = 1_024;
const RING_BYTES: usize = 8 * 1_024 * 1_024;

/// What was read last, as parts that follow each other without a gap between them.
pub(super) struct Ring<L: Log> {
    pub(super) parts: VecDeque<(L::Position, Arc<Part<L>>)>,
    /// The number of the first part; parts are numbered on.
    first: u64,
    /// The place behind the last part; `None` while nobody has read.
    end: Option<L::Position>,
    pub(super) events: usize,
    bytes: usize,
    /// Why the last read of a drive failed, until one succeeds.
    pub(super) trouble: Option<Error>,
    /// How often a read of a drive failed, and how often one was answered.
    pub(super) failures: u64,
    pub(super) answers: u64,
    /// A drive was answered that there is nothing, and waits.
    pub(super) parked: bool,
}

/// Where a place is, seen from the ring.
pub(super) enum Place<L: Log> {
    /// In this part, before that event; or before the part's gap.
    Inside { part: Arc<Part<L>>, number: u64, index: Index },
    /// At its end: what comes next is to be read.
    End,
    /// Anywhere else.
    Outside,
}

/// What of a part comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    Gap,
    Event(usize),
}

impl<L: Log> Default for Ring<L> {
    fn default() -> Self {
        let parts = VecDeque::new();
        Self { parts, first: 0, end: None, events: 0, bytes: 0, trouble: None, failures: 0, answers: 0, parked: false }
    }
}

impl<L: Log> Ring<L> {
    /// Where `position` is. `number` is that of the part that its follower reads next, if it was in the ring before.
    pub(super) fn find(&self, position: &L::Position, number: Option<u64>) -> Place<L> {
        let inside = |offset: usize, index| {
            let (_, part) = &self.parts[offset];
            Place::Inside { part: Arc::clone(part), number: self.first + offset as u64, index }
        };
        let known = number.and_then(|number| usize::try_from(number.checked_sub(self.first)?).ok());
        if let Some(offset) = known.filter(|offset| self.parts.get(*offset).is_some_and(|(start, _)| start == position))
        {
            return inside(offset, Index::Gap);
        }
        match &self.end {
            None => return Place::End,
            Some(end) if end == position => return Place::End,
            Some(_) => {}
        }
        for (offset, (start, part)) in self.parts.iter().enumerate().rev() {
            if start == position {
                return inside(offset, Index::Gap);
            }
            if part.gap.as_ref().is_some_and(|(behind, _)| behind == position) {
                return inside(offset, Index::Event(0));
            }
            if let Some(at) = part.events.iter().position(|(behind, _)| behind == position) {
                // Behind the last event of a part is the start of the next one.
                return inside(offset, Index::Event(at + 1));
            }
        }
        Place::Outside
    }

    /// Adds what was read behind `start`, if that is still where the ring ends.
    pub(super) fn push(&mut self, start: &L::Position, part: Arc<Part<L>>) {
        if self.end.as_ref().is_some_and(|end| end != start) {
            return;
        }
        self.end = Some(part.end.clone());
        self.events += part.events.len();
        self.bytes += part.bytes;
        self.parts.push_back((start.clone(), part));
        while self.parts.len() > 1 && (self.events > RING_EVENTS || self.bytes > RING_BYTES) {
            if let Some((_, old)) = self.parts.pop_front() {
                self.first += 1;
                self.events -= old.events.len();
                self.bytes -= old.bytes;
            }
        }
    }

    /// Makes `position` the end: another one was of a log that is gone, or of followers that are. Answers whether it was not
    /// before.
    pub(super) fn begin_at(&mut self, position: &L::Position) -> bool {
        let begins = self.end.as_ref() != Some(position);
        if begins {
            self.clear();
            self.end = Some(position.clone());
        }
        begins
    }

    /// Whether it ends there, or nobody has read yet.
    pub(super) fn ends_at(&self, position: &L::Position) -> bool {
        self.end.as_ref().is_none_or(|end| end == position)
    }

    /// A read of a drive was answered.
    pub(super) fn answered(&mut self) {
        self.trouble = None;
        self.answers += 1;
    }

    /// A read of a drive failed.
    pub(super) fn failed(&mut self, error: Error) {
        self.trouble = Some(error);
        self.failures += 1;
    }

    pub(super) fn clear(&mut self) {
        self.first += self.parts.len() as u64;
        self.parts.clear();
        self.end = None;
        (self.events, self.bytes) = (0, 0);
        self.trouble = None;
    }
}
