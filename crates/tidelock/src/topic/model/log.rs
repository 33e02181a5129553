//! The log itself: positions, ordinals, lives, retention, gaps.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::store::{Begin, EventView, GapView, Position, STEP, Settings};
use super::Now;
use crate::handover::store::Content;

/// The events in order, and where the retained part begins.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// The position after the newest event ever appended.
    newest: Position,
    /// The stored events up to the newest one, oldest first. The first ones may no longer be retained.
    stored: VecDeque<Stored>,
    /// No event with a smaller ordinal is retained, even if settings change or the clock steps back.
    floor: u64,
    settings: Option<Settings>,
    /// Dedup keys of events that were trimmed.
    trimmed_keys: Vec<(Arc<str>, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) at: u64,
    pub(super) content: Arc<Content>,
    dedup_key: Option<Arc<str>>,
}

impl Log {
    pub(super) fn newest(&self) -> Position {
        self.newest
    }

    pub(super) fn settings(&self) -> Option<Settings> {
        self.settings
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    fn first_stored(&self) -> u64 {
        self.newest.ordinal + 1 - self.stored.len() as u64
    }

    /// The stored event with this ordinal.
    pub(super) fn get(&self, ordinal: u64) -> Option<&Stored> {
        let index = ordinal.checked_sub(self.first_stored())?;
        self.stored.get(usize::try_from(index).ok()?)
    }

    pub(super) fn place(&self, ordinal: u64) -> Option<Position> {
        self.get(ordinal).map(|stored| Position { life: self.newest.life, at: stored.at, ordinal })
    }

    /// The ordinal of the first stored event, from `from` on, that fails `test`. `test` must hold for a prefix.
    fn first_not(&self, from: u64, test: impl Fn(&Stored) -> bool) -> u64 {
        let skipped = usize::try_from(from.saturating_sub(self.first_stored())).unwrap_or(usize::MAX);
        let (mut low, mut high) = (skipped.min(self.stored.len()), self.stored.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if test(&self.stored[middle]) { low = middle + 1 } else { high = middle }
        }
        self.first_stored() + low as u64
    }

    /// The ordinal of the first retained event; if none is retained, one past the newest.
    pub(super) fn first_retained(&self, now: Now) -> u64 {
        let settings = self.settings.unwrap_or(Settings { retention: None, max_len: None });
        let by_number = settings.max_len.map_or(0, |most| (self.newest.ordinal + 1).saturating_sub(most));
        let first = self.floor.max(self.first_stored()).max(by_number);
        let Some(retention) = settings.retention else { return first };
        let is_over = |stored: &Stored| stored.at / 1_000 + retention <= now.ms;
        // Usually the first one is still retained: check it before searching.
        if self.get(first).is_none_or(|stored| !is_over(stored)) { first } else { self.first_not(first, is_over) }
    }

    /// Whether the event at a position can still be read.
    pub(super) fn retains(&self, now: Now, place: Position) -> bool {
        place.life == self.newest.life && place.ordinal >= self.first_retained(now)
    }

    /// Whether an event is no longer retained.
    pub(super) fn has_lost(&self, now: Now, at: u64, ordinal: u64) -> bool {
        self.is_past(ordinal) || self.is_too_old(now.ms, at)
    }

    /// Whether an event is too old to be retained at `instant`.
    pub(super) fn is_too_old(&self, instant: u64, at: u64) -> bool {
        self.too_old_at(at).is_some_and(|end| end <= instant)
    }

    fn too_old_at(&self, at: u64) -> Option<u64> {
        self.settings?.retention.map(|retention| at / 1_000 + retention)
    }

    /// Whether an event is no longer retained because of its ordinal, or because an earlier step found it so.
    fn is_past(&self, ordinal: u64) -> bool {
        let most = self.settings.and_then(|settings| settings.max_len);
        ordinal < self.floor || most.is_some_and(|most| ordinal + most <= self.newest.ordinal)
    }

    /// The instant at which an open event stops being retained, if known; 0: it already has.
    pub(super) fn loses_at(&self, at: u64, ordinal: u64) -> Option<u64> {
        if self.is_past(ordinal) { Some(0) } else { self.too_old_at(at) }
    }

    /// When an event that is no longer retained stopped being so: exact if by age, else now.
    pub(super) fn lost_at(&self, now: Now, at: u64) -> u64 {
        self.too_old_at(at).map_or(now.ms, |by_age| by_age.min(now.ms))
    }

    /// Fixes the beginning of the log as of now.
    pub(super) fn advance(&mut self, now: Now) {
        self.floor = self.first_retained(now);
        self.trim(STEP);
    }

    /// Frees events that are no longer retained, at most `most`.
    pub(super) fn trim(&mut self, most: usize) {
        let mut left = most;
        while left > 0 && !self.stored.is_empty() && self.first_stored() < self.floor {
            let trimmed = self.stored.pop_front();
            if let Some(key) = trimmed.and_then(|stored| stored.dedup_key) {
                self.trimmed_keys.push((key, self.first_stored() - 1));
            }
            left -= 1;
        }
    }

    /// Whether events are stored that are no longer retained.
    pub(super) fn is_overfull(&self) -> bool {
        !self.stored.is_empty() && self.first_stored() < self.floor
    }

    /// The dedup keys of the events trimmed since the last call, with their ordinals.
    pub(super) fn take_trimmed_keys(&mut self) -> Vec<(Arc<str>, u64)> {
        std::mem::take(&mut self.trimmed_keys)
    }

    /// The instant at which the first retained event stops being retained.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let retention = self.settings?.retention?;
        let first = self.get(self.floor.max(self.first_stored()))?;
        Some(first.at / 1_000 + retention)
    }

    /// Applies settings; returns the previous ones if they differ. The beginning of the log is fixed first by the old
    /// settings, then by the new ones; otherwise a clock that steps back later would bring back events that they had
    /// ended.
    pub(super) fn settle_on(&mut self, now: Now, settings: Settings) -> Option<Settings> {
        let replaced = self.settings.filter(|old| *old != settings);
        if replaced.is_some() {
            self.floor = self.first_retained(now);
        }
        self.settings = Some(settings);
        if replaced.is_some() {
            self.floor = self.first_retained(now);
        }
        replaced
    }

    /// The position of the next event to be appended.
    pub(super) fn next_place(&self, now: Now) -> Position {
        let at = now.next_number(self.newest.at);
        let life = if self.newest.life == 0 { at } else { self.newest.life };
        let ordinal = if self.newest.life == 0 { 1 } else { self.newest.ordinal + 1 };
        Position { life, at, ordinal }
    }

    pub(super) fn append(&mut self, now: Now, content: Content, dedup_key: Option<Arc<str>>) -> Position {
        self.newest = self.next_place(now);
        let Position { at, ordinal, .. } = self.newest;
        self.stored.push_back(Stored { at, content: Arc::new(content), dedup_key });
        if let Some(most) = self.settings.and_then(|settings| settings.max_len) {
            self.floor = self.floor.max((ordinal + 1).saturating_sub(most));
        }
        self.newest
    }

    /// Where reading continues after a position: the ordinal of the next retained event, and the gap before it. `None`:
    /// there is no such event yet, and so no gap either.
    pub(super) fn after(&self, now: Now, from: Position) -> Option<(u64, Option<GapView>)> {
        let first = self.first_retained(now);
        let Position { life, ordinal: newest, .. } = self.newest;
        if first > newest {
            return None;
        }
        let same_life = from.life == life || from.life == 0;
        let ordinal = if from.life == 0 { 0 } else { from.ordinal };
        let is_here = || self.get(ordinal).is_some_and(|stored| stored.at == from.at);
        let start = if same_life && ordinal < first {
            first
        } else if same_life && ordinal <= newest && is_here() {
            ordinal + 1
        } else {
            self.first_not(first, |stored| stored.at <= from.at)
        };
        let to = self.place(start).map(|place| Position { life, at: place.at - 1, ordinal: start - 1 })?;
        let missed = (same_life && start > ordinal).then(|| start - ordinal - 1);
        let gap = (missed != Some(0)).then_some(GapView { from, to, missed });
        Some((start, gap))
    }

    /// The position that a start stands for.
    pub(super) fn resolve(&self, now: Now, begin: Begin) -> Position {
        let first = self.first_retained(now);
        let before = |ordinal: u64| {
            let place = self.place(ordinal);
            place.map_or(self.newest, |place| Position { at: place.at - 1, ordinal: ordinal - 1, ..place })
        };
        match begin {
            Begin::Earliest => before(first),
            Begin::Latest => self.newest,
            Begin::After(place) => place,
            Begin::At(instant) => before(self.first_not(first, |stored| stored.at / 1_000 < instant)),
        }
    }

    /// Retained events from an ordinal on: at most `max` events and `bytes`, but at least one event.
    pub(super) fn span(&self, from: u64, max: usize, bytes: usize) -> (Vec<EventView>, bool) {
        let mut events = Vec::new();
        let mut size = 0;
        let mut ordinal = from;
        while let (Some(stored), Some(place)) = (self.get(ordinal), self.place(ordinal)) {
            size += stored.content.size();
            if events.len() == max || (size > bytes && !events.is_empty()) {
                return (events, true);
            }
            events.push(EventView { place, content: (*stored.content).clone() });
            ordinal += 1;
        }
        (events, false)
    }

    /// Retained events before an ordinal, newest first: at most `max` events and `bytes`, but at least one event.
    pub(super) fn span_back(&self, now: Now, before: u64, max: usize, bytes: usize) -> (Vec<EventView>, bool) {
        let first = self.first_retained(now);
        let mut events = Vec::new();
        let mut size = 0;
        let mut ordinal = before;
        while ordinal > first {
            ordinal -= 1;
            let (Some(stored), Some(place)) = (self.get(ordinal), self.place(ordinal)) else { break };
            size += stored.content.size();
            if events.len() == max || (size > bytes && !events.is_empty()) {
                return (events, true);
            }
            events.push(EventView { place, content: (*stored.content).clone() });
        }
        (events, false)
    }

    /// The ordinal of the first retained event at or after a position.
    pub(super) fn ordinal_from(&self, now: Now, at: u64) -> u64 {
        self.first_not(self.first_retained(now), |stored| stored.at < at)
    }

    /// Ends the life of the log; returns whether there was one. `at` is kept, so that no position repeats.
    pub(super) fn end(&mut self) -> bool {
        let existed = self.newest.life > 0;
        *self = Self { newest: Position { life: 0, at: self.newest.at, ordinal: 0 }, ..Self::default() };
        existed
    }
}
