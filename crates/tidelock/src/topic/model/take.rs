//! Taking: delivery to the readers of a group.

use std::sync::Arc;

use super::group::{Group, Kind, Open};
use super::log::Stored;
use super::{Log, Model, Now, STEP};
use crate::topic::store::{Begin, Handed, MAX_BYTES, MAX_GROUPS, Position, Take, Taken};

/// The event to deliver next.
enum Candidate {
    /// An open event that may be handed out.
    Open(u64),
    /// The next event of the log.
    Unread(u64),
}

impl Model {
    /// Hands out the first events, and parks the process if there were fewer than it asked for. `None`: the group does
    /// not exist, and the topic already has the maximum number of groups.
    pub(crate) fn take(&mut self, now: Now, name: &Arc<str>, take: &Take) -> Option<Taken> {
        let mut taken = Taken::default();
        if take.max == 0 {
            self.parked.remove(name);
            return Some(taken);
        }
        if !self.groups.contains_key(name) {
            let newest = self.log.newest();
            // The group was lost together with the log that this reader knew: continue with the log that replaced it.
            let lost = take.seen.filter(|seen| seen.life != newest.life);
            let needs_nothing = newest.life == 0 && (lost.is_some() || take.reader.begin == Begin::Earliest);
            if needs_nothing {
                taken.seen = take.seen;
                if take.park {
                    self.parked.insert(Arc::clone(name), None);
                }
                return Some(taken);
            }
            if self.groups.len() >= MAX_GROUPS {
                return None;
            }
            let position = lost.unwrap_or_else(|| self.log.resolve(now, take.reader.begin));
            self.groups.insert(Arc::clone(name), Box::new(Group { position, ..Group::default() }));
        }
        let group = self.groups.get_mut(name).expect("it was just made");
        let mut hand = Hand { now, log: &self.log, fence: &mut self.fence, take, bytes: 0, set_aside: 0 };
        let stopped = !group.is_paused(now) && group.fill(&mut hand, &mut taken);
        self.settling |= stopped;
        taken.seen = Some(group.position);
        if take.park && taken.len() < take.max && !self.settling {
            let count = group.taken_count();
            let limited = (count >= take.reader.max_in_flight).then_some(count);
            // Several processes may wait for the group. It is limited for all only if it is for each.
            let parked = self.parked.entry(Arc::clone(name)).or_insert(limited);
            *parked = parked.and(limited);
            taken.next = group.next_delivery();
        }
        Some(taken)
    }
}

/// One take in progress.
struct Hand<'a> {
    now: Now,
    log: &'a Log,
    fence: &'a mut u64,
    take: &'a Take,
    bytes: usize,
    set_aside: usize,
}

impl Group {
    /// Hands out events in order until nothing more may be; returns whether it stopped at the bound of the step.
    fn fill(&mut self, hand: &mut Hand<'_>, taken: &mut Taken) -> bool {
        while taken.len() < hand.take.max {
            if hand.set_aside == STEP {
                return true;
            }
            let Some(candidate) = self.candidate(hand) else { return false };
            match candidate {
                Candidate::Open(at) => {
                    let Some(open) = self.open.get(&at) else { return false };
                    // Only while more is overdue than one step carries out. Such an event is never handed out.
                    let lost = !open.is_copy && hand.log.has_lost(hand.now, at, open.ordinal);
                    if lost || !hand.fits(open.content.size()) {
                        return false;
                    }
                    let open = self.remove(at).expect("it was just seen");
                    taken.events.push(self.hand_over(hand, open));
                }
                Candidate::Unread(ordinal) => {
                    if !self.read_on(hand, taken, ordinal) {
                        return false;
                    }
                }
            }
        }
        false
    }

    /// The lowest position of what may be handed out.
    fn candidate(&self, hand: &Hand<'_>) -> Option<Candidate> {
        let limited = self.taken_count() >= hand.take.reader.max_in_flight;
        let ready = self.ready.first();
        let freed = self.freed.first().filter(|_| !limited);
        let open = ready.into_iter().chain(freed).min().copied();
        let unread = if limited || self.is_aside_full() { None } else { hand.log.after(hand.now, self.position) };
        let unread = unread.and_then(|(ordinal, _)| hand.log.place(ordinal));
        match (open, unread) {
            // If both are the same event, read past it in the log first; otherwise it would come again once the copy is
            // done.
            (Some(open), Some(unread)) if unread.at <= open => Some(Candidate::Unread(unread.ordinal)),
            (Some(open), _) => Some(Candidate::Open(open)),
            (None, unread) => unread.map(|unread| Candidate::Unread(unread.ordinal)),
        }
    }

    /// Advances to the next event of the log: hands it out, sets it aside, or skips it if it is open as a requeued
    /// copy.
    fn read_on(&mut self, hand: &mut Hand<'_>, taken: &mut Taken, ordinal: u64) -> bool {
        let (Some(place), Some(stored)) = (hand.log.place(ordinal), hand.log.get(ordinal)) else { return false };
        let gap = hand.log.after(hand.now, self.position).and_then(|(_, gap)| gap);
        if let Some(gap) = gap {
            taken.gap = Some(gap);
            self.missed += gap.missed.unwrap_or(0);
            self.position = gap.to;
            if taken.len() == hand.take.max {
                return true;
            }
        }
        if self.open.contains_key(&place.at) {
            self.position = place;
            return true;
        }
        let key = stored.content.ordering_key.as_ref().filter(|_| hand.take.reader.ordered);
        if key.is_some_and(|key| self.busy.contains(key)) {
            self.position = place;
            hand.set_aside += 1;
            let open = Box::new(hand.open(place, stored, true));
            self.set_aside(open, 0);
            return true;
        }
        if !hand.fits(stored.content.size()) {
            return false;
        }
        self.position = place;
        let open = Box::new(hand.open(place, stored, key.is_some()));
        self.busy.extend(key.cloned());
        taken.events.push(self.hand_over(hand, open));
        true
    }

    fn hand_over(&mut self, hand: &mut Hand<'_>, mut open: Box<Open>) -> Handed {
        let end = hand.now.ms + hand.take.lease;
        *hand.fence = hand.now.next_number(*hand.fence);
        open.fence = *hand.fence;
        open.attempts += 1;
        open.dead_retention = hand.take.reader.dead_retention;
        open.kind =
            Kind::InFlight { end, max_deliveries: hand.take.max_deliveries, consumer: Arc::clone(&hand.take.consumer) };
        hand.bytes += open.content.size();
        self.leased.insert((end, open.at));
        let handed = Handed {
            place: Position { life: hand.log.newest().life, at: open.at, ordinal: open.ordinal },
            fence: open.fence,
            attempt: open.attempts,
            last_error: open.last_error.clone(),
            content: (*open.content).clone(),
        };
        self.open.insert(open.at, open);
        handed
    }
}

impl Hand<'_> {
    /// The answer stays within [`MAX_BYTES`] unless one event is larger.
    fn fits(&self, size: usize) -> bool {
        self.bytes == 0 || self.bytes + size <= MAX_BYTES
    }

    fn open(&self, place: Position, stored: &Stored, keyed: bool) -> Open {
        Open {
            at: place.at,
            ordinal: place.ordinal,
            attempts: 0,
            fence: 0,
            is_copy: false,
            keyed,
            dead_retention: self.take.reader.dead_retention,
            note: None,
            last_error: None,
            content: Arc::clone(&stored.content),
            kind: Kind::Aside { due: 0 },
        }
    }
}
