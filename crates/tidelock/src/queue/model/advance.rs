//! Timed transitions: due delays, lapsed leases, expiry, the end of retention.

use super::super::store::{DeadReason, Place, STEP};
use super::{DEDUP_KEPT, Kind, Message, Model, Now};

/// The index that holds the earliest overdue transition. The order breaks ties between equal (instant, id).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Due,
    Lapsed,
    Expired,
    Kept,
}

impl Model {
    /// Carries out at most [`STEP`] overdue transitions, in the order of their instants. Each takes effect as of its
    /// own instant and not as of now.
    pub(crate) fn advance(&mut self, now: Now) {
        self.touched = now.ms;
        self.throttle.advance(now.ms);
        self.forget_dedup(now);
        for _ in 0..STEP {
            let Some((at, id, cause)) = self.first_overdue(now) else {
                self.settling = false;
                return;
            };
            self.transition(now, at, id, cause);
        }
        self.settling = self.first_overdue(now).is_some();
    }

    /// Whether the last [`Model::advance`] left something overdue.
    pub(crate) fn is_settling(&self) -> bool {
        self.settling
    }

    fn forget_dedup(&mut self, now: Now) {
        for _ in 0..STEP {
            let Some((until, key)) = self.dedup_ends.pop_first() else { return };
            if until + DEDUP_KEPT > now.ms {
                self.dedup_ends.insert((until, key));
                return;
            }
            self.dedup.remove(&key);
        }
    }

    fn first_overdue(&self, now: Now) -> Option<(u64, u64, Cause)> {
        let indexes = [
            (&self.delayed, Cause::Due),
            (&self.leased, Cause::Lapsed),
            (&self.expiring, Cause::Expired),
            (&self.kept, Cause::Kept),
        ];
        let firsts = indexes.iter().filter_map(|(set, cause)| set.first().map(|(at, id)| (*at, *id, *cause)));
        firsts.min().filter(|(at, _, _)| *at <= now.ms)
    }

    fn transition(&mut self, now: Now, at: u64, id: u64, cause: Cause) {
        let message = self.messages.remove(&id).expect("an index holds stored messages");
        self.leave_state(&message);
        match cause {
            Cause::Due => self.become_due(now, message, at),
            Cause::Lapsed => {
                let Kind::Leased { max_deliveries, place, .. } = message.kind else {
                    unreachable!("only leased messages are in the index of lease ends")
                };
                self.returned(now, message, at, 0, max_deliveries, place);
            }
            Cause::Expired => self.bury(message, DeadReason::Expired, at),
            Cause::Kept => self.settled += 1,
        }
    }

    fn become_due(&mut self, now: Now, mut message: Message, at: u64) {
        let Kind::Delayed { due, place } = message.kind else {
            unreachable!("only delayed messages are in the index of due times")
        };
        if message.expires_at.is_some_and(|expiry| expiry <= due) {
            return self.bury(message, DeadReason::Expired, at);
        }
        if place == Place::Back {
            self.go_back(now, &mut message, due);
        }
        self.store_ready(message);
    }

    /// A message comes back at the instant `at`, by a nack or a lapsed lease. The first rule that applies decides.
    /// Returns when the message is due again, or `None` if it is dead.
    pub(super) fn returned(
        &mut self,
        now: Now,
        mut message: Message,
        at: u64,
        delay: u64,
        max_deliveries: Option<u64>,
        place: Place,
    ) -> Option<u64> {
        if max_deliveries.is_some_and(|max| message.attempts >= max) {
            self.bury(message, DeadReason::MaxDeliveriesExceeded, at);
            return None;
        }
        if message.expires_at.is_some_and(|expiry| expiry <= at) {
            self.bury(message, DeadReason::Expired, at);
            return None;
        }
        if delay > 0 {
            self.store_delayed(message, at + delay, place);
            return Some(at + delay);
        }
        if place == Place::Back {
            self.go_back(now, &mut message, at);
        }
        self.store_ready(message);
        Some(at)
    }

    /// Moves a message behind all that are ready at the instant `at`. Its number is from the series of ids, so that
    /// messages sent later in the same millisecond stand behind it.
    pub(super) fn go_back(&mut self, now: Now, message: &mut Message, at: u64) {
        if message.content.ordering_key.is_none() {
            self.last_id = now.next_number(self.last_id);
            (message.standing, message.join) = (at, self.last_id);
        }
    }
}
