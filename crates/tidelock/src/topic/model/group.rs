//! One group: its position, its open events, its dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::store::{MAX_ASIDE, Position};
use super::{Log, Now};
use crate::handover::store::{Content, DeadReason};
use crate::hash::HashSet;

/// A consumer group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// After the last event that was taken, set aside or missed.
    pub(super) position: Position,
    pub(super) missed: u64,
    pub(super) pause: Option<Pause>,
    /// Open events by position: in flight, waiting or set aside.
    pub(super) open: BTreeMap<u64, Box<Open>>,
    /// In flight, by lease end.
    pub(super) leased: BTreeSet<(u64, u64)>,
    /// Waiting, not due yet: by due time.
    pub(super) waiting: BTreeSet<(u64, u64)>,
    /// Waiting and due: by position.
    pub(super) ready: BTreeSet<u64>,
    /// Set aside, but first in line for a key that is free: by position.
    pub(super) freed: BTreeSet<u64>,
    /// Set aside behind an open event with the same key.
    pub(super) aside: BTreeSet<(Arc<str>, u64)>,
    /// Waiting or set aside, except requeued copies: the events that end with their retention.
    pub(super) idle: BTreeSet<u64>,
    /// Keys of open events that later events have to wait for.
    pub(super) busy: HashSet<Arc<str>>,
    pub(super) dead: BTreeMap<u64, Box<Dead>>,
    /// Dead letters by (moved at, position), and by the end of their retention.
    pub(super) moved: BTreeSet<(u64, u64)>,
    pub(super) kept: BTreeSet<(u64, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct Pause {
    pub(super) until: Option<u64>,
    pub(super) reason: Option<Arc<str>>,
}

/// An open event, with everything that it was published with: it no longer depends on the log.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) at: u64,
    pub(super) ordinal: u64,
    pub(super) attempts: u64,
    pub(super) fence: u64,
    /// Requeued from the dead letters: not ended by retention.
    pub(super) is_copy: bool,
    /// Whether its ordering key is respected.
    pub(super) keyed: bool,
    pub(super) dead_retention: Option<u64>,
    pub(super) note: Option<Arc<str>>,
    pub(super) last_error: Option<Arc<str>>,
    pub(super) content: Arc<Content>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    InFlight {
        end: u64,
        max_deliveries: Option<u64>,
        consumer: Arc<str>,
    },
    Waiting {
        due: u64,
    },
    /// `due` is that of a requeued copy with a delay.
    Aside {
        due: u64,
    },
}

/// A dead letter.
#[derive(Clone, Debug)]
pub(super) struct Dead {
    pub(super) event: Box<Open>,
    pub(super) reason: DeadReason,
    pub(super) moved_at: u64,
    pub(super) kept_until: Option<u64>,
}

impl Open {
    /// The ordering key, if it is respected.
    pub(super) fn key(&self) -> Option<&Arc<str>> {
        self.content.ordering_key.as_ref().filter(|_| self.keyed)
    }
}

impl Group {
    /// Whether the group has handled everything up to `newest` and consists of nothing but its position.
    pub(super) fn is_idle_at(&self, newest: Position) -> bool {
        self.position == newest && self.open.is_empty() && self.dead.is_empty() && self.pause.is_none()
    }

    pub(super) fn is_paused(&self, now: Now) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.until.is_none_or(|until| now.ms < until))
    }

    pub(super) fn waiting_count(&self) -> u64 {
        (self.waiting.len() + self.ready.len()) as u64
    }

    pub(super) fn aside_count(&self) -> u64 {
        (self.aside.len() + self.freed.len()) as u64
    }

    pub(super) fn is_aside_full(&self) -> bool {
        self.aside_count() >= MAX_ASIDE
    }

    /// What counts towards `max_in_flight`.
    pub(super) fn taken_count(&self) -> u64 {
        self.leased.len() as u64 + self.waiting_count()
    }

    /// Whether a take might find something. `limited`: the number of events in flight or waiting that made a take stop.
    pub(super) fn can_give(&self, now: Now, log: &Log, limited: Option<u64>) -> bool {
        let more = || limited.is_none_or(|limit| self.taken_count() < limit);
        let unread = || !self.is_aside_full() && log.after(now, self.position).is_some();
        !self.is_paused(now) && (!self.ready.is_empty() || (more() && (!self.freed.is_empty() || unread())))
    }

    /// The earliest instant at which something may become deliverable.
    pub(super) fn next_delivery(&self) -> Option<u64> {
        let firsts = [self.leased.first(), self.waiting.first()].into_iter().flatten().map(|(at, _)| *at);
        firsts.chain(self.pause.as_ref().and_then(|pause| pause.until)).min()
    }

    /// Removes an open event from all indexes; its key stays busy.
    pub(super) fn remove(&mut self, at: u64) -> Option<Box<Open>> {
        let open = self.open.remove(&at)?;
        match &open.kind {
            Kind::InFlight { end, .. } => {
                self.leased.remove(&(*end, at));
            }
            Kind::Waiting { due } => {
                self.ready.remove(&at);
                self.waiting.remove(&(*due, at));
            }
            Kind::Aside { .. } => {
                if !self.freed.remove(&at)
                    && let Some(key) = open.key()
                {
                    self.aside.remove(&(Arc::clone(key), at));
                }
            }
        }
        self.idle.remove(&at);
        Some(open)
    }

    /// Stores an event as waiting until `due`.
    pub(super) fn wait(&mut self, now: Now, mut open: Box<Open>, due: u64) {
        let at = open.at;
        open.kind = Kind::Waiting { due };
        if due <= now.ms {
            self.ready.insert(at);
        } else {
            self.waiting.insert((due, at));
        }
        self.store_idle(open);
    }

    /// Stores an event as set aside behind its busy key.
    pub(super) fn set_aside(&mut self, mut open: Box<Open>, due: u64) {
        open.kind = Kind::Aside { due };
        if let Some(key) = open.key() {
            self.aside.insert((Arc::clone(key), open.at));
        }
        self.store_idle(open);
    }

    fn store_idle(&mut self, open: Box<Open>) {
        if !open.is_copy {
            self.idle.insert(open.at);
        }
        self.open.insert(open.at, open);
    }

    /// Stores a requeued copy: as waiting, or set aside behind its busy key.
    pub(super) fn admit_copy(&mut self, now: Now, copy: Box<Open>, due: u64) {
        match copy.key() {
            Some(key) if self.busy.contains(key) => self.set_aside(copy, due),
            key => {
                let key = key.cloned();
                self.busy.extend(key);
                self.wait(now, copy, due);
            }
        }
    }

    /// Called when an open event is done or dead: frees its key for the next event.
    pub(super) fn free_key(&mut self, now: Now, open: &Open) {
        let Some(key) = open.key().cloned() else { return };
        let next = self.aside.range((Arc::clone(&key), 0)..).next().filter(|(other, _)| *other == key).cloned();
        let Some(next) = next else {
            self.busy.remove(&key);
            return;
        };
        self.aside.remove(&next);
        let at = next.1;
        match self.open.get(&at).map(|open| open.kind.clone()) {
            Some(Kind::Aside { due }) if due > now.ms => {
                if let Some(open) = self.open.remove(&at) {
                    self.wait(now, open, due);
                }
            }
            _ => {
                self.freed.insert(at);
            }
        }
    }

    /// Moves an event, already removed from all indexes, to the dead letters. It replaces an earlier dead letter of the
    /// same event.
    pub(super) fn bury(&mut self, now: Now, open: Box<Open>, reason: DeadReason, moved_at: u64) {
        self.free_key(now, &open);
        self.lay_down(open, reason, moved_at);
    }

    /// Whether the event is set aside behind another one that holds its key.
    pub(super) fn is_behind(&self, at: u64) -> bool {
        let is_aside = self.open.get(&at).is_some_and(|open| matches!(open.kind, Kind::Aside { .. }));
        is_aside && !self.freed.contains(&at)
    }

    pub(super) fn lay_down(&mut self, open: Box<Open>, reason: DeadReason, moved_at: u64) {
        self.remove_dead(open.at);
        let kept_until = open.dead_retention.map(|retention| moved_at + retention);
        self.moved.insert((moved_at, open.at));
        if let Some(until) = kept_until {
            self.kept.insert((until, open.at));
        }
        self.dead.insert(open.at, Box::new(Dead { event: open, reason, moved_at, kept_until }));
    }

    pub(super) fn remove_dead(&mut self, at: u64) -> Option<Box<Dead>> {
        let dead = self.dead.remove(&at)?;
        self.moved.remove(&(dead.moved_at, at));
        if let Some(until) = dead.kept_until {
            self.kept.remove(&(until, at));
        }
        Some(dead)
    }

    /// Applies the first rule that fits an event returned at `instant`. Returns when it is due again; `None`: it is
    /// dead. For an instant before now, only loss by age can be judged; other losses are carried out while the event
    /// waits.
    pub(super) fn returned(
        &mut self,
        now: Now,
        log: &Log,
        open: Box<Open>,
        (instant, delay): (u64, u64),
        max_deliveries: Option<u64>,
    ) -> Option<u64> {
        if max_deliveries.is_some_and(|max| open.attempts >= max) {
            self.bury(now, open, DeadReason::MaxDeliveriesExceeded, instant);
            return None;
        }
        let has_lost =
            log.is_too_old(instant, open.at) || (instant == now.ms && log.has_lost(now, open.at, open.ordinal));
        if !open.is_copy && has_lost {
            self.bury(now, open, DeadReason::Expired, instant);
            return None;
        }
        self.wait(now, open, instant + delay);
        Some(instant + delay)
    }
}
