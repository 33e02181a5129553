//! Queries: the state of a topic at one instant. Nothing here changes anything.

use std::sync::Arc;

use super::group::{Dead, Group, Kind};
use super::{Log, Model, Now};
use crate::topic::store::{
    DeadView, GapView, GroupView, Look, MAX_BYTES, PauseView, Position, READ_BYTES, Read, Span, StatsView, View,
};

impl Model {
    /// Answers a query. `after` is where a listing of dead letters continues: moved at, position.
    pub(crate) fn look(&self, now: Now, look: &Look, after: Option<(u64, u64)>) -> View {
        match look {
            Look::Stats => View::Stats(self.stats(now)),
            Look::Latest => View::Place(self.log.newest()),
            Look::Resolve { begin } => View::Place(self.log.resolve(now, *begin)),
            Look::Page { after, limit } => View::Span(self.page(now, *after, *limit)),
            Look::PageBack { before, limit } => View::Span(self.page_back(now, *before, *limit)),
            Look::Group { group } => {
                View::Group(self.groups.get_key_value(group).map(|(name, group)| self.view(now, name, group)))
            }
            Look::Groups => View::Groups(self.groups.iter().map(|(name, group)| self.view(now, name, group)).collect()),
            Look::GetDead { group, at } => {
                let dead = self.groups.get(group).and_then(|group| group.dead.get(at));
                View::Dead(dead.map(|dead| dead.view(&self.log)))
            }
            Look::ListDead { group, filter, limit, .. } => {
                let Some(group) = self.groups.get(group) else { return View::Deads(Vec::new(), None) };
                let mut found = group.dead_page(*filter, limit + 1, after);
                let more = found.len() > *limit;
                found.truncate(*limit);
                let views: Vec<_> = found.iter().map(|at| group.dead[at].view(&self.log)).collect();
                let next = views.last().filter(|_| more).map(|last| format!("{}.{}", last.moved_at, last.place.at));
                View::Deads(views, next)
            }
        }
    }

    /// Reads the log after a position.
    pub(crate) fn read(&self, now: Now, read: Read) -> Span {
        self.behind(now, read.after, read.max, READ_BYTES)
    }

    fn behind(&self, now: Now, after: Position, max: usize, bytes: usize) -> Span {
        let Some((first, gap)) = self.log.after(now, after) else { return Span::default() };
        let (events, more) = self.log.span(first, max, bytes);
        Span { gap, events, more }
    }

    fn page(&self, now: Now, after: Option<Position>, limit: usize) -> Span {
        if let Some(after) = after {
            return self.behind(now, after, limit, MAX_BYTES);
        }
        let (events, more) = self.log.span(self.log.first_retained(now), limit, MAX_BYTES);
        Span { gap: None, events, more }
    }

    fn page_back(&self, now: Now, before: Option<Position>, limit: usize) -> Span {
        let newest = self.log.newest().ordinal;
        let before = before.map_or(newest + 1, |before| self.log.ordinal_from(now, before.at));
        let (events, more) = self.log.span_back(now, before, limit, MAX_BYTES);
        Span { gap: None::<GapView>, events, more }
    }

    fn stats(&self, now: Now) -> StatsView {
        let latest = self.log.newest();
        let first_retained = self.log.first_retained(now);
        let first = self.log.place(first_retained);
        StatsView {
            events: latest.ordinal + 1 - first_retained,
            first,
            latest,
            oldest_at: first.map(|first| first.at / 1_000),
            published_total: latest.ordinal,
            groups: self.groups.len() as u64,
            settings: self.log.settings(),
        }
    }

    fn view(&self, now: Now, name: &Arc<str>, group: &Group) -> GroupView {
        let unread = self.log.after(now, group.position).map_or(0, |(first, _)| self.log.newest().ordinal + 1 - first);
        let oldest = group.open.values().next();
        let holder = oldest.and_then(|open| match &open.kind {
            Kind::InFlight { consumer, .. } => Some(Arc::clone(consumer)),
            _ => None,
        });
        GroupView {
            name: Arc::clone(name),
            position: group.position,
            unread,
            in_flight: group.leased.len() as u64,
            waiting: group.waiting_count(),
            set_aside: group.aside_count(),
            dead: group.dead.len() as u64,
            missed: group.missed,
            oldest_open_at: oldest.map(|open| open.at / 1_000),
            oldest_open_holder: holder,
            paused: group
                .pause
                .as_ref()
                .filter(|_| group.is_paused(now))
                .map(|pause| PauseView { until: pause.until, reason: pause.reason.clone() }),
            settling: self.settling,
        }
    }
}

impl Dead {
    fn view(&self, log: &Log) -> DeadView {
        let event = &self.event;
        DeadView {
            place: Position { life: log.newest().life, at: event.at, ordinal: event.ordinal },
            reason: self.reason,
            attempts: event.attempts,
            moved_at: self.moved_at,
            kept_until: self.kept_until,
            note: event.note.clone(),
            last_error: event.last_error.clone(),
            content: (*event.content).clone(),
        }
    }
}
