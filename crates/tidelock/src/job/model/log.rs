//! The events of one job.

use std::collections::VecDeque;

use super::super::store::{EventView, EventsView, Happened, MAX_EVENTS};

/// The events of a job, in order. They are numbered from 1; the oldest are dropped.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    /// The number of the last event.
    last: u64,
    events: VecDeque<EventView>,
}

impl Log {
    pub(super) fn push(&mut self, at: u64, happened: Happened) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.last += 1;
        self.events.push_back(EventView { at, happened });
    }

    /// The positions before the first and after the last event.
    pub(super) fn places(&self) -> (u64, u64) {
        (self.last - self.events.len() as u64, self.last)
    }

    /// The event with this number, which must still be kept.
    pub(super) fn get(&self, number: u64) -> EventView {
        let (first, _) = self.places();
        let at = usize::try_from(number - first - 1).expect("a log is short");
        self.events[at].clone()
    }

    /// The events after a position. A position that is not reached yet counts as the end.
    pub(super) fn read(&self, after: u64, max: usize, ended: bool) -> EventsView {
        let (first, last) = self.places();
        let start = after.clamp(first, last);
        let skip = usize::try_from(start - first).expect("a log is short");
        let events: Vec<_> = self.events.iter().skip(skip).take(max).cloned().zip(start + 1..).collect();
        let shown = start + events.len() as u64;
        EventsView {
            absent: false,
            missed: first.saturating_sub(after),
            events: events.into_iter().map(|(event, number)| (number, event)).collect(),
            ended: ended && shown == last,
        }
    }
}
