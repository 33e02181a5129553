//! The log of all changes. It holds every event except touches: of those, at most one for each live record.
//!
//! The age of an event follows from its revision, which is an instant in microseconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::super::store::{Bounds, EventView, Happened, MAX_BYTES, Overflow, Position, Read, STEP, Span};
use super::{GRACE, Model, Now};

/// The events of one life.
#[derive(Debug, Default)]
pub(super) struct Log {
    events: VecDeque<Event>,
    /// Touches by revision.
    pub(super) touches: BTreeMap<u64, Arc<str>>,
    /// Total size of all values ever appended.
    bytes: u64,
    /// No revision up to this one can be read, whatever the bounds are.
    sealed: u64,
    /// The revisions of the last event appended and of the last event trimmed, not counting touches.
    pub(super) last: u64,
    gone: u64,
}

#[derive(Debug)]
struct Event {
    /// Total size of all values before it.
    before: u64,
    /// Without the value of an upsert, which is shared with the record.
    view: EventView,
    value: Option<Arc<Vec<u8>>>,
}

impl Event {
    fn whole(&self) -> EventView {
        let mut view = self.view.clone();
        if let (Happened::Upsert { value, .. }, Some(shared)) = (&mut view.happened, &self.value) {
            value.clone_from(shared);
        }
        view
    }
}

impl Log {
    /// Begins a log after an earlier life that ended with this revision.
    pub(super) fn begin(&mut self, revision: u64) {
        self.sealed = revision;
    }

    pub(super) fn append(&mut self, view: EventView, value: Option<Arc<Vec<u8>>>) {
        let before = self.bytes;
        self.last = view.revision;
        self.bytes += value.as_ref().map_or(0, |value| value.len() as u64);
        self.events.push_back(Event { before, view, value });
    }

    /// The newest revision that can no longer be read.
    pub(super) fn compacted(&self, now: Now, bounds: &Bounds) -> u64 {
        self.compacted_with(now.ms, bounds)
    }

    fn compacted_with(&self, now: u64, bounds: &Bounds) -> u64 {
        let over = |index: Option<usize>| index.map_or(0, |index| self.events[index].view.revision);
        let most = usize::try_from(bounds.max_events).unwrap_or(usize::MAX);
        let by_number = self.events.len().checked_sub(most.saturating_add(1));
        let larger = |event: &Event| self.bytes - event.before > bounds.max_event_bytes;
        let by_bytes = self.events.partition_point(larger).checked_sub(1);
        // The last revision that is too old, whether or not an event has it.
        let aged = now.checked_sub(bounds.event_retention).map_or(0, |ms| ms * 1_000 + 999);
        let by_age = self.events.partition_point(|event| event.view.revision <= aged).checked_sub(1);
        let touch = self.touches.range(..=aged).next_back().map_or(0, |(revision, _)| *revision);
        self.sealed.max(over(by_number)).max(over(by_bytes)).max(over(by_age)).max(touch)
    }

    /// Makes what cannot be read now unreadable for good.
    pub(super) fn seal(&mut self, now: Now, bounds: &Bounds) {
        self.sealed = self.compacted(now, bounds);
    }

    /// Frees a bounded part of what can no longer be read.
    pub(super) fn trim(&mut self, now: Now, bounds: &Bounds) {
        let compacted = self.compacted_with(now.ms.saturating_sub(GRACE), bounds);
        for _ in 0..STEP {
            let event = self.events.front().map(|event| event.view.revision).filter(|at| *at <= compacted);
            let touch = self.touches.first_key_value().map(|(at, _)| *at).filter(|at| *at <= compacted);
            let Some(revision) = event.into_iter().chain(touch).min() else { return };
            if event == Some(revision) {
                self.events.pop_front();
                self.gone = revision;
            } else {
                self.touches.pop_first();
            }
            self.sealed = self.sealed.max(revision);
        }
    }

    /// The revision of the oldest stored event or touch.
    pub(super) fn oldest(&self) -> Option<u64> {
        let event = self.events.front().map(|event| event.view.revision);
        event.into_iter().chain(self.touches.first_key_value().map(|(at, _)| *at)).min()
    }

    /// Number of events, total size of their values, and number of touches after a revision.
    pub(super) fn sizes(&self, revision: u64) -> (u64, u64, u64) {
        let from = self.first_behind(revision);
        let bytes = self.events.get(from).map_or(0, |event| self.bytes - event.before);
        ((self.events.len() - from) as u64, bytes, self.touches.range(revision + 1..).count() as u64)
    }

    fn first_behind(&self, revision: u64) -> usize {
        self.events.partition_point(|event| event.view.revision <= revision)
    }

    /// The revision of the last readable event up to `revision`; 0 for none.
    fn event_up_to(&self, revision: u64) -> u64 {
        let last = self.first_behind(revision).checked_sub(1);
        last.map_or(self.gone, |last| self.events[last].view.revision)
    }
}

impl Model {
    /// The newest revision that can no longer be read.
    pub(super) fn compacted(&self, now: Now) -> u64 {
        self.bounds.map_or(0, |bounds| self.log.compacted(now, &bounds))
    }

    /// Whether everything ever written after a position can still be read.
    pub(crate) fn holds(&self, now: Now, place: Position) -> bool {
        if self.incarnation == 0 {
            return place.incarnation == 0;
        }
        let is_own = place.incarnation == 0 || place.incarnation == self.incarnation;
        let knows = || place.event == 0 || place.event == self.log.event_up_to(place.revision);
        is_own && (self.compacted(now)..=self.revision).contains(&place.revision) && knows()
    }

    /// Reads the log after a position. The caller has already carried out a step of what is overdue.
    pub(crate) fn read(&self, now: Now, read: &Read) -> Span {
        let latest = self.latest(now);
        let Read { after, max, .. } = *read;
        if !self.holds(now, after) {
            let first = self.behind(self.compacted(now)).next().map(|event| self.position(event.revision));
            let overflow = Some(Overflow { first_available: first.unwrap_or(latest) });
            return Span { overflow, events: Vec::new(), end: latest, next: None };
        }
        let mut bytes = 0;
        let fits = |event: &EventView| {
            let first = bytes == 0;
            if let Happened::Upsert { value, .. } = &event.happened {
                bytes += value.len() as u64;
            }
            first || bytes <= MAX_BYTES
        };
        let events: Vec<_> = self.behind(after.revision).take(max).take_while(fits).collect();
        let end = events.iter().fold(after, |place, event| place.behind(self.incarnation, event));
        let next = if events.is_empty() { self.next_expiry() } else { None };
        Span { overflow: None, events, end, next }
    }

    /// The position after a revision that can be read.
    pub(super) fn position(&self, revision: u64) -> Position {
        Position { incarnation: self.incarnation, revision, event: self.log.event_up_to(revision) }
    }

    /// Events and touches after a revision, in order.
    fn behind(&self, revision: u64) -> impl Iterator<Item = EventView> {
        let mut events = self.log.events.range(self.log.first_behind(revision)..).peekable();
        let mut touches = self.log.touches.range(revision + 1..).peekable();
        std::iter::from_fn(move || {
            let touch_is_first = match (events.peek(), touches.peek()) {
                (Some(event), Some((touch, _))) => **touch < event.view.revision,
                (None, touch) => touch.is_some(),
                (Some(_), None) => false,
            };
            if !touch_is_first {
                return events.next().map(Event::whole);
            }
            let (revision, key) = touches.next()?;
            let stamp = &self.live.get(key).expect("a touch is of a live record").stamp;
            let (version, expires_at) = (stamp.version, stamp.expires_at.unwrap_or_default());
            let happened = Happened::Touch { version, expires_at };
            Some(EventView { revision: *revision, at: stamp.updated_at, key: Arc::clone(key), happened })
        })
    }
}
