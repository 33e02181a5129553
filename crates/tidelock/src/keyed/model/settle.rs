//! What happens by time: records expire, tombstones and log entries end.

use std::sync::Arc;

use super::super::store::{Bounds, Happened, Kind, STEP};
use super::{GRACE, Model, Now};

impl Model {
    /// Carries out at most `step` overdue transitions.
    pub(crate) fn settle(&mut self, now: Now, step: usize) {
        let expired = self.expire_first(now, step);
        self.clear_tombs(now, step - expired);
        self.trim(now);
    }

    /// Whether any record is overdue.
    pub(crate) fn is_overdue(&self, now: Now) -> bool {
        self.next_expiry().is_some_and(|deadline| deadline <= now.ms)
    }

    /// Whether anything is overdue.
    pub(crate) fn is_settling(&self, now: Now) -> bool {
        let Some(bounds) = &self.bounds else { return false };
        self.is_overdue(now)
            || self.buried.first().is_some_and(|(deadline, _)| deadline + bounds.tombstone_retention <= now.ms)
            || self.surplus(bounds) > 0
    }

    /// Expires at most `count` records, in order of their deadlines. Returns how many.
    pub(super) fn expire_first(&mut self, now: Now, count: usize) -> usize {
        for expired in 0..count {
            let Some(key) = self.first_overdue(now) else { return expired };
            self.expire(now, &key);
        }
        count
    }

    fn first_overdue(&self, now: Now) -> Option<Arc<str>> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now.ms).map(|(_, key)| Arc::clone(key))
    }

    /// Expires a record whose deadline is over.
    pub(super) fn expire(&mut self, now: Now, key: &Arc<str>) {
        let record = self.take_out(key);
        let deadline = record.stamp.expires_at.expect("an overdue record has a deadline");
        let happened = Happened::Expire { version: record.stamp.version };
        self.append(now, deadline, Arc::clone(key), happened, None);
        let retention = self.bounds.map_or(0, |bounds| bounds.tombstone_retention);
        if self.kind == Kind::Registry && deadline + retention > now.ms {
            self.buried.insert((deadline, Arc::clone(key)));
            self.tombs.insert(Arc::clone(key), record);
        }
    }

    /// Removes tombstones that can no longer be inspected: at most `count` that are too old, and those beyond the
    /// maximum number. Those are few, since one step creates few.
    pub(super) fn clear_tombs(&mut self, now: Now, count: usize) {
        let Some(bounds) = self.bounds else { return };
        let is_old = |(deadline, _): &&(u64, Arc<str>)| deadline + bounds.tombstone_retention <= now.ms;
        let old = self.buried.iter().take(count).take_while(is_old).count();
        let surplus = usize::try_from(self.surplus(&bounds)).unwrap_or(usize::MAX);
        for _ in 0..old.max(surplus.min(STEP)) {
            let Some((_, key)) = self.buried.first() else { return };
            let key = Arc::clone(key);
            self.dig_up(&key);
        }
    }

    /// Number of tombstones beyond the maximum.
    fn surplus(&self, bounds: &Bounds) -> u64 {
        (self.tombs.len() as u64).saturating_sub(bounds.max_entries)
    }

    /// Removes the tombstone of a key, if there is one.
    pub(super) fn dig_up(&mut self, key: &Arc<str>) {
        let Some(record) = self.tombs.remove(key) else { return };
        let deadline = record.stamp.expires_at.expect("a tombstone has a deadline");
        self.buried.remove(&(deadline, Arc::clone(key)));
    }

    /// Number of live records whose deadline has passed.
    pub(super) fn overdue(&self, now: Now) -> u64 {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now.ms).count() as u64
    }

    /// Frees a bounded part of what can no longer be read.
    pub(super) fn trim(&mut self, now: Now) {
        if let Some(bounds) = &self.bounds {
            self.log.trim(now, bounds);
        }
    }

    /// The earliest deadline of a live record.
    pub(crate) fn next_expiry(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The next instant at which something happens by time.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let bounds = self.bounds?;
        let surplus = (self.surplus(&bounds) > 0).then_some(0);
        let tomb = self.buried.first().map(|(deadline, _)| deadline + bounds.tombstone_retention);
        let log = self.log.oldest().map(|revision| revision / 1_000 + bounds.event_retention + GRACE);
        [self.next_expiry(), tomb, log, surplus].into_iter().flatten().min()
    }

    /// Since when nothing is left but the counters.
    pub(crate) fn idle_since(&self) -> Option<u64> {
        let empty = self.live.is_empty() && self.tombs.is_empty() && self.log.oldest().is_none();
        let log = self.revision / 1_000 + self.bounds.map_or(0, |bounds| bounds.event_retention);
        empty.then_some(self.touched.max(log))
    }
}
