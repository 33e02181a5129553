//! Hand-over.

use std::sync::Arc;

use super::super::store::{Handed, MAX_BYTES, Take, Taken};
use super::{Kind, Model, Now};
use crate::topic::store::Position;

impl Model {
    /// Hands out the first messages in order, and parks the process if there are fewer than it wanted.
    pub(crate) fn take(&mut self, now: Now, process: &Arc<str>, take: &Take) -> Taken {
        let mut taken = Taken::default();
        let mut bytes = 0;
        let most = take.max.min(self.deliverable(now));
        while taken.messages.len() < most {
            let Some(handed) = self.hand_over_first(now, take, bytes) else { break };
            bytes += handed.content.payload.len() + handed.content.meta.len();
            taken.messages.push(handed);
        }
        self.parking.deadline(self.throttle.count(now.ms, taken.messages.len()));
        if take.max == 0 {
            let next = self.next_delivery();
            self.parking.leave(now.ms, process, || next);
        } else if take.park && taken.messages.len() < take.max && !self.settling {
            let next = self.next_delivery();
            taken.next = self.parking.park(now.ms, process, || next);
        }
        taken
    }

    /// `bytes` is the size of the answer so far. The answer stays within [`MAX_BYTES`] unless a single message is
    /// larger.
    fn hand_over_first(&mut self, now: Now, take: &Take, bytes: usize) -> Option<Handed> {
        let standing = *self.places.ready.first()?;
        let message = self.messages.get_mut(&standing.3).expect("an index holds stored messages");
        if message.expires_at.is_some_and(|expiry| expiry <= now.ms) {
            // This happens only while more is overdue than one step carries out. Expired messages are never handed
            // out.
            return None;
        }
        if bytes > 0 && bytes + message.content.payload.len() + message.content.meta.len() > MAX_BYTES {
            return None;
        }
        self.places.ready.pop_first();
        if let Some(expiry) = message.expires_at {
            self.expiring.remove(&(expiry, message.id));
        }
        let end = now.ms + take.lease;
        self.last_fence = now.next_number(self.last_fence);
        message.fence = self.last_fence;
        message.attempts += 1;
        message.kind = Kind::Leased {
            end,
            max_deliveries: take.max_deliveries,
            place: take.place,
            consumer: Arc::clone(&take.consumer),
        };
        self.leased.insert((end, message.id));
        self.parking.deadline(end);
        Some(Handed {
            id: message.id,
            fence: message.fence,
            attempt: message.attempts,
            priority: message.priority,
            enqueued_at: message.enqueued_at,
            position: Position::default(),
            run: None,
            event: None,
            last_error: message.last_error.clone(),
            content: (*message.content).clone(),
        })
    }

    /// The next instant at which a timed transition may make something deliverable.
    fn next_delivery(&self) -> Option<u64> {
        let firsts = [self.delayed.first(), self.leased.first()].into_iter().flatten().map(|(at, _)| *at);
        firsts.chain(self.throttle.opens()).min()
    }
}
