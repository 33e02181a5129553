//! The queue as a pure state machine: the in-process backend, and the specification of the Redis scripts.
//!
//! A step is one atomic operation: [`Model::advance`] carries out what is overdue, one or more operations follow, and
//! [`Model::wake`] ends the step. Time, processes, and whether a process still listens are inputs.

mod advance;
mod change;
mod look;
mod settle;
mod take;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::store::{Accepted, Content, DeadReason, NewMessage, Place};
use crate::handover::{Parking, Places, Standing, Throttle};
use crate::hash::HashMap;

/// How long after its window a dedup record is kept, so that a clock that steps back a little does not reopen the
/// window.
pub(crate) const DEDUP_KEPT: u64 = 1_000;

pub(crate) use crate::time::Now;

/// One queue.
#[derive(Debug, Default)]
pub(crate) struct Model {
    last_id: u64,
    last_fence: u64,
    /// The standing time of the last immediate send. Later ones never stand before it.
    last_standing: u64,
    accepted: u64,
    settled: u64,
    throttle: Throttle,
    messages: HashMap<u64, Message>,
    places: Places,
    /// (instant, id) of the next timed transition, by state.
    delayed: BTreeSet<(u64, u64)>,
    leased: BTreeSet<(u64, u64)>,
    expiring: BTreeSet<(u64, u64)>,
    kept: BTreeSet<(u64, u64)>,
    /// Dead letters by (moved at, id).
    dead: BTreeSet<(u64, u64)>,
    dedup: HashMap<Arc<str>, (u64, u64)>,
    dedup_ends: BTreeSet<(u64, Arc<str>)>,
    /// The processes that wait.
    parking: Parking,
    /// Whether more is overdue than one step carried out.
    settling: bool,
    touched: u64,
}

/// A stored message.
#[derive(Clone, Debug)]
struct Message {
    id: u64,
    priority: u8,
    enqueued_at: u64,
    expires_at: Option<u64>,
    retention: Option<u64>,
    standing: u64,
    attempts: u64,
    fence: u64,
    /// Its order among the messages of its ordering key. Without a key: its order among messages with the same
    /// standing time once it went to the back; before that it is 0 and the id is the order.
    join: u64,
    note: Option<Arc<str>>,
    last_error: Option<Arc<str>>,
    content: Arc<Content>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Ready,
    Blocked,
    /// `place` decides where it stands when it is due again.
    Delayed {
        due: u64,
        place: Place,
    },
    Leased {
        end: u64,
        max_deliveries: Option<u64>,
        place: Place,
        consumer: Arc<str>,
    },
    Dead {
        reason: DeadReason,
        moved_at: u64,
    },
}

impl Message {
    fn standing(&self) -> Standing {
        (9 - self.priority, self.standing, if self.join == 0 { self.id } else { self.join }, self.id)
    }

    /// The instant at which a delayed message leaves this state: when it is due, or when it expires before that.
    fn leaves_delay(&self, due: u64) -> u64 {
        self.expires_at.map_or(due, |expiry| expiry.min(due))
    }
}

impl Model {
    /// Stores a batch, all or nothing.
    pub(crate) fn send(&mut self, now: Now, batch: Vec<NewMessage>) -> Accepted {
        if let Some(full) = self.first_beyond_depth(now, &batch) {
            return full;
        }
        Accepted::All(batch.into_iter().map(|message| self.send_one(now, message)).collect())
    }

    /// Checks the depth for the whole batch before anything is written. Duplicates take no room.
    fn first_beyond_depth(&self, now: Now, batch: &[NewMessage]) -> Option<Accepted> {
        let mut depth = self.depth();
        let mut keys: Vec<&str> = Vec::new();
        for (index, message) in batch.iter().enumerate() {
            if let Some(dedup) = &message.dedup {
                if self.first_id(now, &dedup.key).is_some() || keys.contains(&&*dedup.key) {
                    continue;
                }
                keys.push(&dedup.key);
            }
            if let Some(limit) = message.max_depth.filter(|limit| depth >= *limit) {
                return Some(Accepted::Full { index, depth, limit });
            }
            depth += 1;
        }
        None
    }

    /// The id in an unexpired dedup record.
    fn first_id(&self, now: Now, key: &str) -> Option<u64> {
        self.dedup.get(key).filter(|(_, until)| *until > now.ms).map(|(id, _)| *id)
    }

    fn send_one(&mut self, now: Now, new: NewMessage) -> (u64, bool) {
        if let Some(first) = new.dedup.as_ref().and_then(|dedup| self.first_id(now, &dedup.key)) {
            return (first, true);
        }
        let id = now.next_number(self.last_id);
        self.last_id = id;
        self.accepted += 1;
        if let Some(dedup) = new.dedup {
            self.remember(now, dedup.key, id, dedup.window);
        }
        let due = new.due.later_than(now.ms);
        let standing = due.unwrap_or_else(|| {
            self.last_standing = self.last_standing.max(now.ms);
            self.last_standing
        });
        let message = Message {
            id,
            priority: new.priority,
            enqueued_at: due.map_or(standing, |_| now.ms),
            expires_at: new.max_age.map(|age| standing + age),
            retention: new.retention,
            standing,
            attempts: 0,
            fence: 0,
            join: if new.content.ordering_key.is_some() { id } else { 0 },
            note: None,
            last_error: None,
            content: Arc::new(new.content),
            kind: Kind::Ready,
        };
        self.admit(message, due);
        (id, false)
    }

    fn remember(&mut self, now: Now, key: Arc<str>, id: u64, window: u64) {
        let until = now.ms + window;
        if let Some((_, old)) = self.dedup.insert(Arc::clone(&key), (id, until)) {
            self.dedup_ends.remove(&(old, Arc::clone(&key)));
        }
        self.dedup_ends.insert((until, key));
    }

    /// Puts a new or requeued message into its first state: delayed until `due`, ready, or behind its key.
    fn admit(&mut self, message: Message, due: Option<u64>) {
        if let Some(key) = &message.content.ordering_key {
            self.places.join(key, message.join, message.id);
        }
        match due {
            Some(due) => self.store_delayed(message, due, Place::Original),
            None => self.store_ready(message),
        }
    }

    fn store_delayed(&mut self, mut message: Message, due: u64, place: Place) {
        message.kind = Kind::Delayed { due, place };
        let leaves = message.leaves_delay(due);
        self.delayed.insert((leaves, message.id));
        self.parking.deadline(leaves);
        self.messages.insert(message.id, message);
    }

    /// Makes the message ready if it is the head of its key's line or has no key, else blocked.
    fn store_ready(&mut self, mut message: Message) {
        if self.places.may_go(message.content.ordering_key.as_ref(), message.id) {
            message.kind = Kind::Ready;
            self.places.ready.insert(message.standing());
        } else {
            message.kind = Kind::Blocked;
            self.places.blocked += 1;
        }
        if let Some(expiry) = message.expires_at {
            self.expiring.insert((expiry, message.id));
        }
        self.messages.insert(message.id, message);
    }

    /// Takes a message out of its key's line. The next one becomes the head and, if it is due, deliverable.
    fn leave_line(&mut self, message: &Message) {
        let Some(key) = &message.content.ordering_key else { return };
        let Some(head) = self.places.leave(key, message.join, message.id) else { return };
        let head = self.messages.get_mut(&head).expect("a line holds stored messages");
        if matches!(head.kind, Kind::Blocked) {
            head.kind = Kind::Ready;
            self.places.blocked -= 1;
            self.places.ready.insert(head.standing());
        }
    }

    /// Takes a message out of the index of its state. It stays in its key's line.
    fn leave_state(&mut self, message: &Message) {
        match message.kind {
            Kind::Ready => {
                self.places.ready.remove(&message.standing());
                self.leave_expiring(message);
            }
            Kind::Blocked => {
                self.places.blocked -= 1;
                self.leave_expiring(message);
            }
            Kind::Delayed { due, .. } => {
                self.delayed.remove(&(message.leaves_delay(due), message.id));
            }
            Kind::Leased { end, .. } => {
                self.leased.remove(&(end, message.id));
            }
            Kind::Dead { moved_at, .. } => {
                self.dead.remove(&(moved_at, message.id));
                if let Some(retention) = message.retention {
                    self.kept.remove(&(moved_at + retention, message.id));
                }
            }
        }
    }

    fn leave_expiring(&mut self, message: &Message) {
        if let Some(expiry) = message.expires_at {
            self.expiring.remove(&(expiry, message.id));
        }
    }

    /// Moves a message, already out of its state's index, to the dead letters.
    fn bury(&mut self, mut message: Message, reason: DeadReason, moved_at: u64) {
        self.leave_line(&message);
        message.kind = Kind::Dead { reason, moved_at };
        self.dead.insert((moved_at, message.id));
        if let Some(retention) = message.retention {
            self.kept.insert((moved_at + retention, message.id));
        }
        self.messages.insert(message.id, message);
    }

    /// Ends a message that is out of its state's index.
    fn finish(&mut self, message: &Message) {
        self.leave_line(message);
        self.settled += 1;
    }

    /// Ready and delayed messages.
    fn depth(&self) -> u64 {
        (self.places.ready.len() + self.delayed.len()) as u64 + self.places.blocked
    }

    /// How many messages may be handed out now.
    fn deliverable(&self, now: Now) -> usize {
        self.throttle.admits(now.ms, self.places.ready.len(), self.leased.len())
    }

    /// Ends a step: wakes one parked process per deliverable message, and the keeper if this step added an earlier
    /// deadline. `listening` tells whether a process still hears.
    pub(crate) fn wake(&mut self, now: Now, listening: impl FnMut(&Arc<str>) -> bool) -> Vec<Arc<str>> {
        let deliverable = self.deliverable(now);
        self.parking.wake(now.ms, deliverable, listening)
    }

    pub(crate) fn has_parked(&self) -> bool {
        !self.parking.is_empty()
    }

    /// Ends a step while no process waits.
    pub(crate) fn nobody_waits(&mut self) {
        self.parking.nobody_waits();
    }

    /// The instant of the next timed transition.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let dedup = self.dedup_ends.first().map(|(until, _)| *until + DEDUP_KEPT);
        let firsts = [&self.delayed, &self.leased, &self.expiring, &self.kept];
        firsts.iter().filter_map(|set| set.first().map(|(at, _)| *at)).chain(self.throttle.opens()).chain(dedup).min()
    }

    /// When the queue was last touched, if it holds nothing that anybody could ask for. Its numbers are kept for
    /// another hour.
    pub(crate) fn is_idle_since(&self) -> Option<u64> {
        let idle = self.messages.is_empty() && self.dedup.is_empty() && self.throttle.is_open();
        idle.then_some(self.touched)
    }
}
