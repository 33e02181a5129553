//! A snapshot: pages read at different instants, brought to one position by means of the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::site::{Call, Site};
use super::store::{EventView, Happened, Kind, List, Listing, MAX_PAGE, Position, Read, RecordView, Stamp};
use crate::error::{Error, ErrorKind, Result};

/// How often a snapshot is attempted.
const ATTEMPTS: u32 = 3;

/// All active records whose keys begin with `prefix`, in order, and the position at which they are valid.
pub(crate) async fn collect(site: &Site, call: &Call<'_>, prefix: &Arc<str>) -> Result<(Vec<RecordView>, Position)> {
    for _ in 0..ATTEMPTS {
        if let Some(collected) = attempt(site, call, prefix).await? {
            return Ok(collected);
        }
    }
    let text = format!(
        "the log was overrun {ATTEMPTS} times while the pages were read: keep more of it (event_retention, max_events, max_event_bytes)"
    );
    Err(site.context(call, Error::new(ErrorKind::Timeout, text)))
}

/// `None`: the log no longer reaches back to the first page.
async fn attempt(site: &Site, call: &Call<'_>, prefix: &Arc<str>) -> Result<Option<(Vec<RecordView>, Position)>> {
    let first = page(site, call, prefix, None).await?;
    let (mut place, mut last, mut more) = (first.place, first.place, first.more);
    if !more {
        return Ok(Some((first.records, place)));
    }
    let mut view = View { kind: site.object.kind, prefix: Arc::clone(prefix), records: BTreeMap::new() };
    let mut behind = view.add(first.records);
    while more {
        let next = page(site, call, prefix, behind.take()).await?;
        (more, last) = (next.more, next.place);
        behind = view.add(next.records);
    }
    if last.incarnation != place.incarnation {
        return Ok(None);
    }
    // From the end of the last page on, all events that the pages already contain have been applied.
    loop {
        let read = site.store.read(&site.object, Read { after: place, max: MAX_PAGE, park: false });
        let span = read.await.map_err(|error| site.context(call, error))?;
        if span.overflow.is_some() {
            return Ok(None);
        }
        let ended = span.events.is_empty();
        for event in span.events {
            view.apply(event);
        }
        place = span.end;
        if ended || place.revision >= last.revision {
            return Ok(Some((view.records.into_values().collect(), place)));
        }
    }
}

async fn page(site: &Site, call: &Call<'_>, prefix: &Arc<str>, after_key: Option<Arc<str>>) -> Result<Listing> {
    let list = List { prefix: Arc::clone(prefix), after_key, limit: MAX_PAGE, expired: false };
    site.store.list(&site.object, list).await.map_err(|error| site.context(call, error))
}

/// The active records as of some position.
#[derive(Debug)]
struct View {
    kind: Kind,
    prefix: Arc<str>,
    records: BTreeMap<Arc<str>, RecordView>,
}

impl View {
    /// Adds a page; returns its last key.
    fn add(&mut self, records: Vec<RecordView>) -> Option<Arc<str>> {
        let last = records.last().map(|record| Arc::clone(&record.key));
        self.records.extend(records.into_iter().map(|record| (Arc::clone(&record.key), record)));
        last
    }

    fn apply(&mut self, event: EventView) {
        let EventView { revision, at, key, happened } = event;
        if !key.starts_with(&*self.prefix) {
            return;
        }
        match happened {
            Happened::Upsert { stamp, value } => {
                self.records.insert(Arc::clone(&key), RecordView { key, value, stamp, expired: false });
            }
            Happened::Touch { expires_at, .. } => {
                if let Some(record) = self.records.get_mut(&key) {
                    let version = if self.kind == Kind::Ephemeral { revision } else { record.stamp.version };
                    // A touch sets the deadline to its own instant plus the ttl in force from then on.
                    let ttl = Some(expires_at.saturating_sub(at));
                    record.stamp = Stamp { version, updated_at: at, ttl, expires_at: Some(expires_at), ..record.stamp };
                }
            }
            Happened::Delete { .. } | Happened::Expire { .. } => {
                self.records.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(version: u64) -> Stamp {
        Stamp { version, created_at: 1, updated_at: 2, ttl: Some(10), expires_at: Some(12) }
    }

    fn record(key: &str, version: u64) -> RecordView {
        RecordView { key: key.into(), value: vec![1], stamp: stamp(version), expired: false }
    }

    fn event(revision: u64, key: &str, happened: Happened) -> EventView {
        EventView { revision, at: 50, key: key.into(), happened }
    }

    fn view(kind: Kind) -> View {
        let mut view = View { kind, prefix: "a/".into(), records: BTreeMap::new() };
        assert_eq!(view.add(vec![record("a/1", 5), record("a/2", 6)]).as_deref(), Some("a/2"));
        view
    }

    #[test]
    fn events_since_the_first_page_bring_all_pages_to_one_instant() {
        let mut view = view(Kind::Registry);
        view.apply(event(7, "a/1", Happened::Delete { version: 5, reason: None }));
        view.apply(event(8, "b/1", Happened::Upsert { stamp: stamp(8), value: vec![8] }));
        view.apply(event(9, "a/3", Happened::Upsert { stamp: stamp(9), value: vec![9] }));
        view.apply(event(10, "a/2", Happened::Touch { version: 6, expires_at: 80 }));
        view.apply(event(11, "a/9", Happened::Expire { version: 4 }));
        let records: Vec<_> = view.records.into_values().collect();
        assert_eq!(records.iter().map(|record| &*record.key).collect::<Vec<_>>(), ["a/2", "a/3"]);
        let touched = Stamp { version: 6, created_at: 1, updated_at: 50, ttl: Some(30), expires_at: Some(80) };
        assert_eq!((records[0].stamp, records[1].value.as_slice()), (touched, [9].as_slice()));
    }

    #[test]
    fn a_touch_is_a_new_version_in_an_ephemeral_store_only() {
        for (kind, version) in [(Kind::Registry, 6), (Kind::Ephemeral, 10)] {
            let mut view = view(kind);
            view.apply(event(10, "a/2", Happened::Touch { version, expires_at: 80 }));
            assert_eq!(view.records["a/2"].stamp.version, version);
        }
    }
}
