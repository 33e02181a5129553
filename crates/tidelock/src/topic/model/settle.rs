//! Settling: what a holder does with its event, checked by its fence.

use super::group::{Group, Kind};
use super::{Log, Model, Now};
use crate::topic::store::{Action, Settle, Settled};

impl Model {
    /// Judges each settle of a group's deliveries on its own, in order.
    pub(crate) fn settle(&mut self, now: Now, group: &str, settles: Vec<Settle>) -> Vec<Settled> {
        let Some(group) = self.groups.get_mut(group) else { return vec![Settled::Stale; settles.len()] };
        settles.into_iter().map(|settle| group.settle(now, &self.log, settle)).collect()
    }
}

impl Group {
    fn settle(&mut self, now: Now, log: &Log, settle: Settle) -> Settled {
        let Settle { id: at, fence, action } = settle;
        let Some((end, max_deliveries)) = self.held(now, at, fence) else { return Settled::Stale };
        if let Action::Touch { lease } = action {
            self.touch(at, end, now.ms + lease);
            return Settled::Done;
        }
        let mut open = self.remove(at).expect("a held event is open");
        match action {
            Action::Ack => self.free_key(now, &open),
            Action::Bury { reason, note, error } => {
                open.note = note.or(open.note);
                open.last_error = error.or(open.last_error);
                self.bury(now, open, reason, now.ms);
            }
            Action::Nack { delay, note, error } => {
                open.note = note.or(open.note);
                open.last_error = error.or(open.last_error);
                let due = self.returned(now, log, open, (now.ms, delay), max_deliveries);
                return due.map_or(Settled::DeadLettered, |due| Settled::Requeued { due });
            }
            Action::GiveBack => {
                open.attempts -= 1;
                self.returned(now, log, open, (now.ms, 0), None);
            }
            Action::Touch { .. } => unreachable!("handled above"),
        }
        Settled::Done
    }

    fn held(&self, now: Now, at: u64, fence: u64) -> Option<(u64, Option<u64>)> {
        let open = self.open.get(&at).filter(|open| open.fence == fence)?;
        match open.kind {
            Kind::InFlight { end, max_deliveries, .. } if now.ms < end => Some((end, max_deliveries)),
            _ => None,
        }
    }

    fn touch(&mut self, at: u64, old: u64, new: u64) {
        if let Some(Kind::InFlight { end, .. }) = self.open.get_mut(&at).map(|open| &mut open.kind) {
            *end = new;
        }
        self.leased.remove(&(old, at));
        self.leased.insert((new, at));
    }
}
