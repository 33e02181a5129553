//! Changes of the queue as a whole, and of messages that nobody holds.

use super::super::store::{Change, Changes, DeadFilter, Removed, Requeue};
use super::{Kind, Message, Model, Now};

impl DeadFilter {
    /// Whether a dead letter matches.
    fn finds(&self, message: &Message) -> bool {
        let Kind::Dead { reason, moved_at } = message.kind else { return false };
        self.reason.is_none_or(|wanted| wanted == reason)
            && self.moved_before.is_none_or(|before| moved_at < before)
            && self.moved_after.is_none_or(|after| moved_at >= after)
    }
}

impl Model {
    /// Applies a change.
    pub(crate) fn change(&mut self, now: Now, change: Change) -> Changes {
        match change {
            Change::Pause { for_at_most, reason } => {
                let until = for_at_most.map(|duration| now.ms + duration);
                let changed = self.throttle.pause(until, reason);
                self.parking.deadline(until);
                Changes::Did(changed)
            }
            Change::Resume => {
                let changed = self.throttle.resume();
                // Who parked during the pause was told its end, and not that of a window that is used up.
                self.parking.deadline(self.throttle.opens());
                Changes::Did(changed)
            }
            Change::LimitRate(rate) => {
                let changed = self.throttle.limit_rate(now.ms, rate);
                self.parking.deadline(self.throttle.opens());
                Changes::Did(changed)
            }
            Change::LimitHeld(held) => Changes::Did(self.throttle.limit_held(held)),
            Change::Remove { id } => Changes::Removed(self.remove(id)),
            Change::Purge => Changes::Count(self.purge()),
            Change::Delete => Changes::Did(self.delete()),
            Change::Requeue { id, requeue } => self.requeue(now, id, requeue),
            Change::RequeueAll { filter, limit, requeue } => self.requeue_all(now, filter, limit, requeue),
            Change::RemoveDead { id } => Changes::Count(u64::from(self.remove_dead(id))),
            Change::PurgeDead { filter, limit } => {
                let found = self.found_dead(filter, limit);
                Changes::Count(found.into_iter().filter(|id| self.remove_dead(*id)).count() as u64)
            }
        }
    }

    fn remove(&mut self, id: u64) -> Removed {
        match self.messages.get(&id).map(|message| &message.kind) {
            None | Some(Kind::Dead { .. }) => Removed::Absent,
            Some(Kind::Leased { .. }) => Removed::Held,
            Some(Kind::Ready | Kind::Blocked | Kind::Delayed { .. }) => {
                let message = self.messages.remove(&id).expect("it was just seen");
                self.leave_state(&message);
                self.finish(&message);
                Removed::Removed
            }
        }
    }

    fn purge(&mut self) -> u64 {
        let unheld = |message: &&Message| !matches!(message.kind, Kind::Leased { .. } | Kind::Dead { .. });
        let ids: Vec<u64> = self.messages.values().filter(unheld).map(|message| message.id).collect();
        ids.into_iter().filter(|id| self.remove(*id) == Removed::Removed).count() as u64
    }

    /// Deletes everything except for the numbers that must not repeat and the waiting processes.
    fn delete(&mut self) -> bool {
        let existed = self.accepted > 0 || !self.throttle.is_open();
        let mut parking = std::mem::take(&mut self.parking);
        parking.clear_deadlines();
        *self = Self {
            last_id: self.last_id,
            last_fence: self.last_fence,
            last_standing: self.last_standing,
            parking,
            touched: self.touched,
            ..Self::default()
        };
        existed
    }

    fn requeue(&mut self, now: Now, id: u64, requeue: Requeue) -> Changes {
        if !matches!(self.messages.get(&id), Some(Message { kind: Kind::Dead { .. }, .. })) {
            return Changes::Count(0);
        }
        if let Some(limit) = requeue.max_depth.filter(|limit| self.depth() >= *limit) {
            return Changes::Full { depth: self.depth(), limit };
        }
        let mut message = self.messages.remove(&id).expect("it was just seen");
        self.leave_state(&message);
        let standing = now.ms + requeue.delay;
        message.standing = standing;
        // It stands behind all messages that are ready at that instant, and behind all of its ordering key.
        self.last_id = now.next_number(self.last_id);
        message.join = self.last_id;
        message.expires_at = requeue.max_age.map(|age| standing + age);
        message.retention = requeue.retention;
        message.attempts = 0;
        message.note = None;
        message.last_error = None;
        self.admit(message, (requeue.delay > 0).then_some(standing));
        Changes::Count(1)
    }

    fn requeue_all(&mut self, now: Now, filter: DeadFilter, limit: Option<u64>, requeue: Requeue) -> Changes {
        let mut moved = 0;
        for id in self.found_dead(filter, limit) {
            match self.requeue(now, id, requeue) {
                Changes::Full { .. } => break,
                _ => moved += 1,
            }
        }
        Changes::Count(moved)
    }

    fn found_dead(&self, filter: DeadFilter, limit: Option<u64>) -> Vec<u64> {
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let found = self.dead.iter().map(|(_, id)| *id).filter(|id| filter.finds(&self.messages[id]));
        found.take(limit).collect()
    }

    fn remove_dead(&mut self, id: u64) -> bool {
        let Some(Message { kind: Kind::Dead { .. }, .. }) = self.messages.get(&id) else { return false };
        let message = self.messages.remove(&id).expect("it was just seen");
        self.leave_state(&message);
        self.settled += 1;
        true
    }

    /// A page of dead letters, newest first.
    pub(super) fn dead_page(&self, filter: DeadFilter, limit: usize, before: Option<(u64, u64)>) -> Vec<u64> {
        let end = before.unwrap_or((u64::MAX, u64::MAX));
        let newest_first = self.dead.range(..end).rev().map(|(_, id)| *id);
        newest_first.filter(|id| filter.finds(&self.messages[id])).take(limit).collect()
    }
}
