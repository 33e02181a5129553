//! Looking at an object: records, pages of them, its two ends, its numbers.

use std::ops::Bound;
use std::sync::Arc;

use super::super::store::{Get, Kind, List, Listing, MAX_BYTES, Places, Position, RecordView, StatsView};
use super::{Model, Now, Record};

impl Model {
    pub(crate) fn get(&self, now: Now, get: &Get) -> Option<RecordView> {
        let live = self.live.get_key_value(&get.key).map(|(key, record)| (key, record, record.is_over(now)));
        // A tombstone stays one, also when the clock has stepped back.
        let tomb = || self.tombs.get_key_value(&get.key).map(|(key, record)| (key, record, true));
        let (key, record, expired) = live.or_else(tomb)?;
        let shown = !expired || (get.include_expired && self.is_kept(now, key, record));
        shown.then(|| record.view(key, expired))
    }

    /// Whether an expired record can still be looked at, swept or not.
    fn is_kept(&self, now: Now, key: &Arc<str>, record: &Record) -> bool {
        let (Some(bounds), Some(deadline)) = (&self.bounds, record.stamp.expires_at) else { return false };
        if self.kind == Kind::Ephemeral || deadline + bounds.tombstone_retention <= now.ms {
            return false;
        }
        let behind = (Bound::Excluded((deadline, Arc::clone(key))), Bound::Unbounded);
        let overdue = self.deadlines.range(behind.clone()).take_while(|(deadline, _)| *deadline <= now.ms);
        let later = self.buried.range(behind).count() + overdue.count();
        (later as u64) < bounds.max_entries
    }

    /// A page. The caller has settled until nothing was overdue.
    pub(crate) fn list(&self, now: Now, list: &List) -> Listing {
        let records = if list.expired { &self.tombs } else { &self.live };
        let from = match &list.after_key {
            Some(after) if **after >= *list.prefix => Bound::Excluded(Arc::clone(after)),
            _ => Bound::Included(Arc::clone(&list.prefix)),
        };
        let matching = records.range((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(&*list.prefix));
        let mut listing = Listing { records: Vec::new(), more: false, place: self.latest(now) };
        let mut bytes = 0;
        for (key, record) in matching {
            bytes += record.value.len() as u64;
            let fits = listing.records.is_empty() || bytes <= MAX_BYTES;
            if listing.records.len() == list.limit || !fits {
                listing.more = true;
                break;
            }
            listing.records.push(record.view(key, list.expired));
        }
        listing
    }

    pub(crate) fn places(&self, now: Now) -> Places {
        let latest = self.latest(now);
        if self.incarnation == 0 {
            return Places { first: latest, latest };
        }
        Places { first: Position { revision: self.compacted(now), ..latest }, latest }
    }

    pub(crate) fn stats(&self, now: Now) -> StatsView {
        let compacted = self.compacted(now);
        let (events, event_bytes, touches) = self.log.sizes(compacted);
        StatsView {
            active: self.active(now),
            permanent: (self.live.len() - self.deadlines.len()) as u64,
            expired: self.expired(now),
            events,
            event_bytes,
            touches,
            latest: self.latest(now),
            compacted,
            next_deadline: self.deadlines.range((now.ms + 1, "".into())..).next().map(|(deadline, _)| *deadline),
            bounds: self.bounds,
            settling: self.is_settling(now),
        }
    }

    /// Expired records that can be looked at, swept or not.
    fn expired(&self, now: Now) -> u64 {
        let Some(bounds) = self.bounds.filter(|_| self.kind == Kind::Registry) else { return 0 };
        let kept = |deadline: &u64| deadline + bounds.tombstone_retention > now.ms;
        let overdue = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now.ms);
        let expired = overdue.chain(&self.buried).filter(|(deadline, _)| kept(deadline)).count();
        (expired as u64).min(bounds.max_entries)
    }
}
