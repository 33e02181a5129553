//! The parts of a log that were read last, shared by all its followers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Log, Part};
use crate::error::Error;

/// Limits of the ring, unless a single part is larger.
pub(super) const RING_EVENTS: usize = 1_024;
const RING_BYTES: usize = 8 * 1_024 * 1_024;

/// The parts that were read last; they follow each other without a gap.
pub(super) struct Ring<L: Log> {
    pub(super) parts: VecDeque<(L::Position, Arc<Part<L>>)>,
    /// The number of the first part; the others count on from it.
    first: u64,
    /// The position after the last part; `None` before the first read.
    end: Option<L::Position>,
    pub(super) events: usize,
    bytes: usize,
    /// The error of the drive's last read, until a read succeeds.
    pub(super) trouble: Option<Error>,
    /// Number of failed and of answered reads of drives.
    pub(super) failures: u64,
    pub(super) answers: u64,
    /// A drive was told that there is nothing, and waits.
    pub(super) parked: bool,
}

/// Where a position is, relative to the ring.
pub(super) enum Place<L: Log> {
    /// In this part: before that event, or before the part's gap.
    Inside { part: Arc<Part<L>>, number: u64, index: Index },
    /// At the end of the ring: the next read continues here.
    End,
    /// Anywhere else.
    Outside,
}

/// The next item of a part.
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
    /// Locates `position`. `number` is that of the part that the follower reads next, if it was in the ring before.
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
                // After the last event of a part the next part starts.
                return inside(offset, Index::Event(at + 1));
            }
        }
        Place::Outside
    }

    /// Adds a part that was read after `start`, if the ring still ends there.
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

    /// Makes `position` the end of the ring. A different end belonged to a lost log or to followers that are gone.
    /// Returns whether the end changed.
    pub(super) fn begin_at(&mut self, position: &L::Position) -> bool {
        let begins = self.end.as_ref() != Some(position);
        if begins {
            self.clear();
            self.end = Some(position.clone());
        }
        begins
    }

    /// Whether the ring ends at `position`, or nothing has been read yet.
    pub(super) fn ends_at(&self, position: &L::Position) -> bool {
        self.end.as_ref().is_none_or(|end| end == position)
    }

    /// Called when a read of a drive was answered.
    pub(super) fn answered(&mut self) {
        self.trouble = None;
        self.answers += 1;
    }

    /// Called when a read of a drive failed.
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
