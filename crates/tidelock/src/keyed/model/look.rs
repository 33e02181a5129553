//! Queries of an object: records, pages, both ends of the log, statistics.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::super::store::{Get, Kind, List, Listing, MAX_BYTES, Places, RecordView, StatsView};
use super::{Model, Now, Record};

type Records = BTreeMap<Arc<str>, Box<Record>>;

impl Model {
    pub(crate) fn get(&self, now: Now, get: &Get) -> Option<RecordView> {
        let live = self.live.get_key_value(&get.key).map(|(key, record)| (key, record, record.is_over(now)));
        // A tombstone stays one even if the clock has stepped back.
        let tomb = || self.tombs.get_key_value(&get.key).map(|(key, record)| (key, record, true));
        let (key, record, expired) = live.or_else(tomb)?;
        let shown = !expired || (get.include_expired && self.is_kept(now, key, record, self.first_kept(now)));
        shown.then(|| record.view(key, expired))
    }

    /// Whether an expired record can still be inspected, swept or not. `first` is the [first](Self::first_kept) that
    /// can be.
    fn is_kept(&self, now: Now, key: &Arc<str>, record: &Record, first: Option<&(u64, Arc<str>)>) -> bool {
        let (Some(bounds), Some(deadline)) = (&self.bounds, record.stamp.expires_at) else { return false };
        let is_young = self.kind == Kind::Registry && deadline + bounds.tombstone_retention > now.ms;
        is_young && first.is_none_or(|(first, its_key)| (*first, its_key) <= (deadline, key))
    }

    /// If there are more expired records than may be kept, the first by deadline that is kept; `None`: all are.
    fn first_kept(&self, now: Now) -> Option<&(u64, Arc<str>)> {
        let max = usize::try_from(self.bounds?.max_entries).unwrap_or(usize::MAX);
        let overdue = usize::try_from(self.overdue(now)).unwrap_or(usize::MAX);
        let surplus = (self.buried.len() + overdue).checked_sub(max).filter(|surplus| *surplus > 0)?;
        let deadlines = self.deadlines.iter().take(overdue).map(|at| (at, ()));
        let (first, ()) = merged(self.buried.iter().map(|at| (at, ())), deadlines).nth(surplus)?;
        Some(first)
    }

    /// A page. Overdue records that are not swept yet are shown as expired.
    pub(crate) fn list(&self, now: Now, list: &List) -> Listing {
        let first = if list.expired { self.first_kept(now) } else { None };
        let is_shown = |(key, record): &(&Arc<str>, &Record)| {
            if list.expired { self.is_kept(now, key, record, first) } else { !record.is_over(now) }
        };
        let live = within(&self.live, list).filter(|(_, record)| record.is_over(now) == list.expired);
        // Skip the live records if none of them can be overdue.
        let live = (!list.expired || self.is_overdue(now)).then_some(live).into_iter().flatten();
        let tombs = list.expired.then(|| within(&self.tombs, list)).into_iter().flatten();
        let mut listing = Listing { records: Vec::new(), more: false, place: self.latest(now) };
        let mut bytes = 0;
        for (key, record) in merged(live, tombs).filter(is_shown) {
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
        Places { first: self.position(self.compacted(now)), latest }
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

    /// Number of expired records that can be inspected, swept or not.
    fn expired(&self, now: Now) -> u64 {
        let Some(bounds) = self.bounds.filter(|_| self.kind == Kind::Registry) else { return 0 };
        let kept = |deadline: &u64| deadline + bounds.tombstone_retention > now.ms;
        let overdue = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now.ms);
        let expired = overdue.chain(&self.buried).filter(|(deadline, _)| kept(deadline)).count();
        (expired as u64).min(bounds.max_entries)
    }
}

/// The records that a page may show, in order of their keys.
fn within<'a>(records: &'a Records, list: &List) -> impl Iterator<Item = (&'a Arc<str>, &'a Record)> {
    let from = match &list.after_key {
        Some(after) if **after >= *list.prefix => Bound::Excluded(Arc::clone(after)),
        _ => Bound::Included(Arc::clone(&list.prefix)),
    };
    let prefix = Arc::clone(&list.prefix);
    let records = records.range((from, Bound::Unbounded)).map(|(key, record)| (key, &**record));
    records.take_while(move |(key, _)| key.starts_with(&*prefix))
}

/// Merges two ordered sequences of records into one.
fn merged<K: Ord, R>(
    one: impl Iterator<Item = (K, R)>,
    other: impl Iterator<Item = (K, R)>,
) -> impl Iterator<Item = (K, R)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some((key, _)), Some((behind, _))) if key > behind => other.next(),
        (Some(_), _) => one.next(),
        (None, _) => other.next(),
    })
}
