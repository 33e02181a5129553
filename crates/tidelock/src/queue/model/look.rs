//! Queries: the queue at one instant. Nothing here changes anything.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::super::store::{DeadView, LeaseView, Look, MessageView, State, StatsView, View};
use super::{Kind, Message, Model, Now};
use crate::handover::cursor::Cursor;

impl Model {
    /// Answers a query. `after` is the parsed cursor of a listing.
    pub(crate) fn look(&self, now: Now, look: &Look, after: Option<Cursor>) -> View {
        match look {
            Look::Stats => View::Stats(self.stats(now)),
            Look::Get { id } => View::Message(self.messages.get(id).and_then(Message::view)),
            Look::List { state, limit, .. } => {
                let (ids, next) = self.page(*state, *limit, after);
                View::Messages(self.views(ids), next.map(|cursor| cursor.to_string()))
            }
            Look::Peek { max } => {
                View::Messages(self.views(self.places.ready.iter().take(*max).map(|key| key.3)), None)
            }
            Look::GetDead { id } => View::Dead(self.messages.get(id).and_then(Message::dead_view)),
            Look::ListDead { filter, limit, .. } => {
                let before = match after {
                    Some(Cursor::At(at, id)) => Some((at, id)),
                    _ => None,
                };
                let mut found = self.dead_page(*filter, limit + 1, before);
                let more = found.len() > *limit;
                found.truncate(*limit);
                let views: Vec<_> = found.iter().filter_map(|id| self.messages[id].dead_view()).collect();
                let next = views.last().filter(|_| more).map(|last| Cursor::At(last.moved_at, last.id).to_string());
                View::Deads(views, next)
            }
        }
    }

    fn stats(&self, now: Now) -> StatsView {
        StatsView {
            ready: self.places.ready.len() as u64 + self.places.blocked,
            blocked: self.places.blocked,
            delayed: self.delayed.len() as u64,
            leased: self.leased.len() as u64,
            dead: self.dead.len() as u64,
            accepted: self.accepted,
            settled: self.settled,
            oldest_ready_age: self.places.oldest().map(|standing| now.ms.saturating_sub(standing)),
            next_due: self.delayed.first().map(|(at, _)| *at),
            paused: self.throttle.paused(now.ms),
            rate: self.throttle.rate(),
            most_held: self.throttle.held(),
            settling: self.settling,
        }
    }

    /// Reads one item more than the page holds, to know whether there is a next page.
    fn page(&self, state: State, limit: usize, after: Option<Cursor>) -> (Vec<u64>, Option<Cursor>) {
        let mut found: Vec<(Cursor, u64)> = match state {
            State::Ready => self.ready_after(after).take(limit + 1).collect(),
            State::Delayed => timed_after(&self.delayed, after.as_ref()).take(limit + 1).collect(),
            State::Leased => timed_after(&self.leased, after.as_ref()).take(limit + 1).collect(),
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(|(cursor, _)| cursor.clone());
        (found.into_iter().map(|(_, id)| id).collect(), next)
    }

    /// Deliverable messages in hand-out order, then the blocked ones by key and order of joining.
    fn ready_after(&self, after: Option<Cursor>) -> impl Iterator<Item = (Cursor, u64)> {
        let (ready, lines) = match after {
            Some(Cursor::Ready(rank, standing, order)) => (Bound::Excluded((rank, standing, order, u64::MAX)), None),
            Some(Cursor::Blocked(join, key)) => (Bound::Excluded((10, 0, 0, 0)), Some((Arc::from(key), join))),
            Some(Cursor::At(..)) | None => (Bound::Unbounded, None),
        };
        let ready = self.places.ready.range((ready, Bound::Unbounded));
        let lines = self.places.lines.range((lines.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let ready = ready.map(|(rank, standing, order, id)| (Cursor::Ready(*rank, *standing, *order), *id));
        let blocked = lines.filter(|(_, id)| matches!(self.messages[id].kind, Kind::Blocked));
        ready.chain(blocked.map(|((key, join), id)| (Cursor::Blocked(*join, key.to_string()), *id)))
    }

    fn views(&self, ids: impl IntoIterator<Item = u64>) -> Vec<MessageView> {
        ids.into_iter().filter_map(|id| self.messages[&id].view()).collect()
    }
}

fn timed_after(set: &BTreeSet<(u64, u64)>, after: Option<&Cursor>) -> impl Iterator<Item = (Cursor, u64)> {
    let from = match after {
        Some(Cursor::At(at, id)) => Bound::Excluded((*at, *id)),
        _ => Bound::Unbounded,
    };
    set.range((from, Bound::Unbounded)).map(|(at, id)| (Cursor::At(*at, *id), *id))
}

impl Message {
    fn view(&self) -> Option<MessageView> {
        let (state, due, lease) = match &self.kind {
            Kind::Ready | Kind::Blocked => (State::Ready, self.standing, None),
            Kind::Delayed { due, .. } => (State::Delayed, *due, None),
            Kind::Leased { end, consumer, .. } => {
                let lease = LeaseView { fence: self.fence, end: *end, consumer: Arc::clone(consumer) };
                (State::Leased, self.standing, Some(lease))
            }
            Kind::Dead { .. } => return None,
        };
        Some(MessageView {
            id: self.id,
            state,
            blocked: matches!(self.kind, Kind::Blocked),
            priority: self.priority,
            attempts: self.attempts,
            enqueued_at: self.enqueued_at,
            due,
            expires_at: self.expires_at,
            note: self.note.clone(),
            last_error: self.last_error.clone(),
            lease,
            content: (*self.content).clone(),
        })
    }

    fn dead_view(&self) -> Option<DeadView> {
        let Kind::Dead { reason, moved_at } = self.kind else { return None };
        Some(DeadView {
            id: self.id,
            reason,
            priority: self.priority,
            attempts: self.attempts,
            enqueued_at: self.enqueued_at,
            moved_at,
            kept_until: self.retention.map(|retention| moved_at + retention),
            note: self.note.clone(),
            last_error: self.last_error.clone(),
            content: (*self.content).clone(),
        })
    }
}
