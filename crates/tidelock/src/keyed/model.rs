//! The keyed store as a pure state machine: the in-process backend, and the specification of the Redis scripts.
//!
//! A change first expires its own record and a few others, then is judged, then removes tombstones. Whether a record is
//! active, an expired one can be inspected, or an event can be read depends only on what is stored and on *now*: no
//! call can tell whether anything has been swept.

mod log;
mod look;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use self::log::Log;
use super::store::{
    Action, Bounds, Change, Changed, EventView, Happened, Kind, Life, Outcome, Position, RecordView, STEP, Stamp,
};
use crate::time::Now;

/// How many overdue transitions of other records each change carries out.
pub(crate) const ALONGSIDE: usize = 2;
/// How long data that is over by age stays stored, so that a clock that steps back slightly finds it again.
pub(crate) const GRACE: u64 = 1_000;
/// How long the counters of an object are kept after everything else is gone, so that none of them repeats.
pub(crate) const NUMBERS_KEPT: u64 = 3_600_000;

/// One object.
#[derive(Debug)]
pub(crate) struct Model {
    kind: Kind,
    /// The last revision, including those of ended lives.
    revision: u64,
    /// The first revision of this life; 0 for none.
    incarnation: u64,
    /// Those of the latest writer; set by the first change of this life.
    bounds: Option<Bounds>,
    /// Records that were active when they were last written, including overdue ones.
    live: BTreeMap<Arc<str>, Box<Record>>,
    /// (deadline, key) of the live records that are not permanent.
    deadlines: BTreeSet<(u64, Arc<str>)>,
    /// Expired records.
    tombs: BTreeMap<Arc<str>, Box<Record>>,
    /// (deadline, key) of the tombstones.
    buried: BTreeSet<(u64, Arc<str>)>,
    log: Log,
    /// The instant of the last step that wrote.
    touched: u64,
}

/// A stored record.
#[derive(Clone, Debug)]
struct Record {
    value: Arc<Vec<u8>>,
    stamp: Stamp,
    /// The revision of its touch in the log.
    touch: Option<u64>,
}

impl Record {
    fn is_over(&self, now: Now) -> bool {
        self.stamp.expires_at.is_some_and(|deadline| deadline <= now.ms)
    }

    fn view(&self, key: &Arc<str>, expired: bool) -> RecordView {
        RecordView { key: Arc::clone(key), value: self.value.to_vec(), stamp: self.stamp, expired }
    }
}

impl Model {
    #[cfg(test)]
    pub(crate) fn new(kind: Kind) -> Self {
        Self::after(kind, 0)
    }

    /// An empty object whose revisions continue after `revision`; nothing else is known of its past.
    pub(crate) fn after(kind: Kind, revision: u64) -> Self {
        Self {
            kind,
            revision,
            incarnation: 0,
            bounds: None,
            live: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            tombs: BTreeMap::new(),
            buried: BTreeSet::new(),
            log: Log::default(),
            touched: 0,
        }
    }

    /// Changes one record, or returns why not.
    pub(crate) fn change(&mut self, now: Now, change: Change) -> Changed {
        if self.live.get(&change.key).is_some_and(|record| record.is_over(now)) {
            self.expire(now, &change.key);
        }
        let expired = self.expire_first(now, ALONGSIDE);
        let Change { key, action, bounds } = change;
        let changed = if let Some(outcome) = self.refusal(now, &key, &action, &bounds) {
            Changed { outcome, replaced: None }
        } else {
            let replaced = self.accept(now, bounds);
            Changed { outcome: self.apply(now, key, action), replaced }
        };
        self.clear_tombs(now, ALONGSIDE - expired);
        self.trim(now);
        changed
    }

    /// Why a change is refused. The record itself has already been expired if it was overdue.
    fn refusal(&self, now: Now, key: &str, action: &Action, bounds: &Bounds) -> Option<Outcome> {
        let active = self.live.get(key);
        let full = active.is_none() && self.is_full(now, bounds.max_entries);
        match action {
            Action::Upsert { .. } | Action::Cas { .. } if full => Some(Outcome::Full { limit: bounds.max_entries }),
            Action::Upsert { .. } => None,
            Action::Cas { expected, .. } => {
                let fits = active.map(|record| record.stamp.version) == *expected;
                (!fits).then(|| Outcome::Conflict(active.map(|record| record.view(&key.into(), false))))
            }
            Action::Touch { if_version, .. } | Action::Remove { if_version, .. } => {
                let Some(stamp) = active.map(|record| &record.stamp) else { return Some(Outcome::Absent) };
                if if_version.is_some_and(|version| version != stamp.version) {
                    return Some(Outcome::Stale { version: stamp.version });
                }
                let lasts = stamp.ttl.is_none() && matches!(action, Action::Touch { ttl: None, .. });
                lasts.then_some(Outcome::Permanent)
            }
        }
    }

    /// Begins a life if none has begun, and applies the bounds of the writer; returns the previous ones if they differ.
    fn accept(&mut self, now: Now, bounds: Bounds) -> Option<Bounds> {
        self.touched = self.touched.max(now.ms);
        if self.incarnation == 0 {
            // Revisions of an earlier life cannot be read in this one.
            self.log.begin(self.revision);
            self.incarnation = (self.revision + 1).max(now.us);
        }
        let replaced = self.bounds.filter(|old| *old != bounds);
        if let Some(old) = replaced {
            // Wider bounds must not bring anything back.
            self.log.seal(now, &old);
            self.clear_tombs(now, STEP);
        }
        self.bounds = Some(bounds);
        replaced
    }

    fn apply(&mut self, now: Now, key: Arc<str>, action: Action) -> Outcome {
        match action {
            Action::Upsert { value, life } | Action::Cas { value, life, .. } => self.put(now, key, value, life),
            Action::Touch { ttl, .. } => self.touch(now, &key, ttl),
            Action::Remove { reason, .. } => {
                let record = self.take_out(&key);
                let version = record.stamp.version;
                self.append(now, now.ms, key, Happened::Delete { version, reason }, None);
                Outcome::Removed
            }
        }
    }

    fn put(&mut self, now: Now, key: Arc<str>, value: Vec<u8>, life: Life) -> Outcome {
        let old = self.live.contains_key(&key).then(|| self.take_out(&key).stamp);
        self.dig_up(&key);
        let ttl = match life {
            Life::Permanent => None,
            Life::For(ttl) => Some(ttl),
            Life::Keep => old.and_then(|old| old.ttl),
        };
        let stamp = Stamp {
            version: self.next_revision(now),
            created_at: old.map_or(now.ms, |old| old.created_at),
            updated_at: now.ms,
            ttl,
            expires_at: ttl.map(|ttl| now.ms + ttl),
        };
        let value = Arc::new(value);
        let happened = Happened::Upsert { stamp, value: Vec::new() };
        self.append(now, now.ms, Arc::clone(&key), happened, Some(Arc::clone(&value)));
        self.put_in(key, Box::new(Record { value, stamp, touch: None }));
        Outcome::Stored(stamp)
    }

    fn touch(&mut self, now: Now, key: &Arc<str>, ttl: Option<u64>) -> Outcome {
        let mut record = self.take_out(key);
        let revision = self.next_revision(now);
        self.revision = revision;
        let stamp = &mut record.stamp;
        stamp.ttl = ttl.or(stamp.ttl);
        stamp.updated_at = now.ms;
        stamp.expires_at = stamp.ttl.map(|ttl| now.ms + ttl);
        if self.kind == Kind::Ephemeral {
            stamp.version = revision;
        }
        let outcome = Outcome::Extended { version: stamp.version, expires_at: stamp.expires_at.unwrap_or_default() };
        record.touch = Some(revision);
        self.log.touches.insert(revision, Arc::clone(key));
        self.put_in(Arc::clone(key), record);
        outcome
    }

    fn next_revision(&self, now: Now) -> u64 {
        (self.revision + 1).max(now.us)
    }

    fn append(&mut self, now: Now, at: u64, key: Arc<str>, happened: Happened, value: Option<Arc<Vec<u8>>>) {
        self.revision = self.next_revision(now);
        self.log.append(EventView { revision: self.revision, at, key, happened }, value);
    }

    /// Adds a live record.
    fn put_in(&mut self, key: Arc<str>, record: Box<Record>) {
        if let Some(deadline) = record.stamp.expires_at {
            self.deadlines.insert((deadline, Arc::clone(&key)));
        }
        self.live.insert(key, record);
    }

    /// Removes a live record. Its touch is no longer the latest thing that happened to it, so the touch goes too.
    #[expect(clippy::unnecessary_box_returns, reason = "it goes from tree to tree in its box")]
    fn take_out(&mut self, key: &Arc<str>) -> Box<Record> {
        let mut record = self.live.remove(key).expect("the caller has seen the record");
        if let Some(deadline) = record.stamp.expires_at {
            self.deadlines.remove(&(deadline, Arc::clone(key)));
        }
        if let Some(touch) = record.touch.take() {
            self.log.touches.remove(&touch);
        }
        record
    }

    /// Whether the maximum number of active records is reached. Looks at no more overdue records than necessary.
    fn is_full(&self, now: Now, max: u64) -> bool {
        let Some(surplus) = (self.live.len() as u64).checked_sub(max) else { return false };
        let more = usize::try_from(surplus).unwrap_or(usize::MAX).saturating_add(1);
        let overdue = self.deadlines.iter().take(more).take_while(|(deadline, _)| *deadline <= now.ms).count();
        overdue as u64 <= surplus
    }

    /// Number of active records.
    fn active(&self, now: Now) -> u64 {
        self.live.len() as u64 - self.overdue(now)
    }

    /// A value that changes with every event, and with the end of the object.
    pub(crate) fn end(&self) -> Position {
        Position { incarnation: self.incarnation, revision: self.revision, event: self.log.last }
    }

    /// The end of the log; for an object that does not exist, a position before any future event.
    fn latest(&self, now: Now) -> Position {
        if self.incarnation == 0 {
            return Position { incarnation: 0, revision: self.revision.max(now.us.saturating_sub(1)), event: 0 };
        }
        self.end()
    }

    /// Removes the object, except for its last revision. Returns whether it existed.
    pub(crate) fn delete(&mut self, now: Now) -> bool {
        let existed = self.incarnation != 0;
        if existed {
            *self = Self { touched: now.ms, ..Self::after(self.kind, self.revision) };
        }
        existed
    }
}
