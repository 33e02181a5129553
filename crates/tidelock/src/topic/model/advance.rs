//! Carrying out what is overdue: a bounded number per cause, in a fixed order.

use std::sync::Arc;

use super::group::{Group, Kind};
use super::{Log, Model, Now, STEP};
use crate::topic::store::DeadReason;

impl Model {
    /// Carries out what is overdue in the log and, if one is named, in a group: at most [`STEP`] of each cause.
    pub(crate) fn advance(&mut self, now: Now, group: Option<&str>) {
        self.touched = now.ms;
        self.log.advance(now);
        self.forget_keys(now);
        self.settling = false;
        if let Some(group) = group.and_then(|name| self.groups.get_mut(name)) {
            self.settling = group.advance(now, &self.log);
        }
    }

    /// Forgets dedup keys whose window is over or whose event was trimmed.
    fn forget_keys(&mut self, now: Now) {
        for (key, ordinal) in self.log.take_trimmed_keys() {
            let newest = self.log.newest();
            let gone = |place: &super::Position| place.life == newest.life && place.ordinal == ordinal;
            if let Some((_, until)) = self.dedup.get(&key).filter(|(place, _)| gone(place)) {
                self.dedup_ends.remove(&(*until, Arc::clone(&key)));
                self.dedup.remove(&key);
            }
        }
        for _ in 0..STEP {
            // Kept one second longer, so that a clock that steps back slightly does not reopen a window.
            let Some((until, key)) = self.dedup_ends.first().filter(|(until, _)| until + 1_000 <= now.ms) else {
                return;
            };
            self.dedup.remove(key);
            let over = (*until, Arc::clone(key));
            self.dedup_ends.remove(&over);
        }
    }

    /// The next instant at which something in the log is due.
    pub(crate) fn next_log_deadline(&self) -> Option<u64> {
        let overfull = self.log.is_overfull().then_some(0);
        let dedup = self.dedup_ends.first().map(|(until, _)| until + 1_000);
        [overfull, self.log.next_deadline(), dedup].into_iter().flatten().min()
    }

    /// The next instant at which something in a group is due.
    pub(crate) fn next_group_deadline(&self, group: &str) -> Option<u64> {
        self.groups.get(group)?.next_deadline(&self.log)
    }

    /// The next instant at which anything is due.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        let groups = self.groups.values().filter_map(|group| group.next_deadline(&self.log));
        groups.chain(self.next_log_deadline()).min()
    }

    /// Groups with something overdue.
    pub(crate) fn overdue_groups(&self, now: Now) -> Vec<Arc<str>> {
        let overdue = |group: &Group| group.next_deadline(&self.log).is_some_and(|at| at <= now.ms);
        self.groups.iter().filter(|(_, group)| overdue(group)).map(|(name, _)| Arc::clone(name)).collect()
    }
}

impl Group {
    /// Returns whether more is overdue.
    fn advance(&mut self, now: Now, log: &Log) -> bool {
        if self.pause.as_ref().is_some_and(|pause| pause.until.is_some_and(|until| until <= now.ms)) {
            self.pause = None;
        }
        let lapsing = self.lapse(now, log);
        let expiring = self.expire(now, log);
        let due = self.come_due(now);
        let ending = self.end_retentions(now);
        lapsing || expiring || due || ending
    }

    fn lapse(&mut self, now: Now, log: &Log) -> bool {
        for _ in 0..STEP {
            let Some((end, at)) = self.leased.first().copied().filter(|(end, _)| *end <= now.ms) else { return false };
            let open = self.remove(at).expect("an index holds open events");
            let Kind::InFlight { max_deliveries, .. } = open.kind else { unreachable!("only these have leases") };
            self.returned(now, log, open, (end, 0), max_deliveries);
        }
        self.leased.first().is_some_and(|(end, _)| *end <= now.ms)
    }

    /// Ends waiting and set-aside events that are no longer retained.
    fn expire(&mut self, now: Now, log: &Log) -> bool {
        for _ in 0..STEP {
            let Some(at) = self.first_lost(now, log) else { return false };
            let is_behind = self.is_behind(at);
            let open = self.remove(at).expect("an index holds open events");
            if !is_behind {
                self.free_key(now, &open);
            }
            let lost_at = log.lost_at(now, at);
            self.lay_down(open, DeadReason::Expired, lost_at);
        }
        self.first_lost(now, log).is_some()
    }

    fn first_lost(&self, now: Now, log: &Log) -> Option<u64> {
        let at = *self.idle.first()?;
        let open = self.open.get(&at)?;
        log.has_lost(now, at, open.ordinal).then_some(at)
    }

    fn come_due(&mut self, now: Now) -> bool {
        for _ in 0..STEP {
            let Some((due, at)) = self.waiting.first().copied().filter(|(due, _)| *due <= now.ms) else { return false };
            self.waiting.remove(&(due, at));
            self.ready.insert(at);
        }
        self.waiting.first().is_some_and(|(due, _)| *due <= now.ms)
    }

    fn end_retentions(&mut self, now: Now) -> bool {
        for _ in 0..STEP {
            let Some((_, at)) = self.kept.first().copied().filter(|(until, _)| *until <= now.ms) else { return false };
            self.remove_dead(at);
        }
        self.kept.first().is_some_and(|(until, _)| *until <= now.ms)
    }

    fn next_deadline(&self, log: &Log) -> Option<u64> {
        let kept = self.kept.first().map(|(until, _)| *until);
        let lost = self.idle.first().and_then(|at| log.loses_at(*at, self.open.get(at)?.ordinal));
        [self.next_delivery(), kept, lost].into_iter().flatten().min()
    }
}
