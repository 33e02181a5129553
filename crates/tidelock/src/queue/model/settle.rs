//! Settling: what a holder does with its message, under its fence.

use super::super::store::{Action, Place, Settle, Settled};
use super::{Kind, Model, Now};

impl Model {
    /// Applies each settle on its own, in order.
    pub(crate) fn settle(&mut self, now: Now, settles: Vec<Settle>) -> Vec<Settled> {
        settles.into_iter().map(|settle| self.settle_one(now, settle)).collect()
    }

    fn settle_one(&mut self, now: Now, settle: Settle) -> Settled {
        let Some((end, max_deliveries, place)) = self.held(now, settle.id, settle.fence) else {
            return Settled::Stale;
        };
        if let Action::Touch { lease } = settle.action {
            self.touch(settle.id, end, now.ms + lease);
            return Settled::Done;
        }
        let mut message = self.messages.remove(&settle.id).expect("a held message is stored");
        self.leave_state(&message);
        match settle.action {
            Action::Ack => self.finish(&message),
            Action::Bury { reason, note, error } => {
                message.note = note.or(message.note);
                message.last_error = error.or(message.last_error);
                self.bury(message, reason, now.ms);
            }
            Action::Nack { delay, note, error } => {
                message.note = note.or(message.note);
                message.last_error = error.or(message.last_error);
                let due = self.returned(now, message, now.ms, delay, max_deliveries, place);
                return due.map_or(Settled::DeadLettered, |due| Settled::Requeued { due });
            }
            Action::GiveBack => {
                message.attempts -= 1;
                // It returns to the place that it had before the take, whatever the handle's setting for failed
                // messages.
                self.returned(now, message, now.ms, 0, None, Place::Original);
            }
            Action::Touch { .. } => unreachable!("handled above"),
        }
        Settled::Done
    }

    fn held(&self, now: Now, id: u64, fence: u64) -> Option<(u64, Option<u64>, Place)> {
        let message = self.messages.get(&id).filter(|message| message.fence == fence)?;
        match message.kind {
            Kind::Leased { end, max_deliveries, place, .. } if now.ms < end => Some((end, max_deliveries, place)),
            _ => None,
        }
    }

    fn touch(&mut self, id: u64, old: u64, new: u64) {
        let message = self.messages.get_mut(&id).expect("a held message is stored");
        if let Kind::Leased { end, .. } = &mut message.kind {
            *end = new;
        }
        self.leased.remove(&(old, id));
        self.leased.insert((new, id));
        self.parking.deadline(new);
    }
}
