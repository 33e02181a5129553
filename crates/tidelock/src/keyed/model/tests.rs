//! The contract, line by line; the differential test compares the rest.

mod log;

use super::super::store::{Get, List, Overflow, Read, Span, StatsView};
use super::*;

const START: u64 = 1_767_225_600_000;
const BOUNDS: Bounds = Bounds {
    max_entries: 10,
    event_retention: 300_000,
    max_events: 1_000,
    max_event_bytes: 1_000_000,
    tombstone_retention: 60_000,
};

/// An object and its time.
struct Bench {
    model: Model,
    now: u64,
    bounds: Bounds,
}

impl Bench {
    fn new(kind: Kind) -> Self {
        Self { model: Model::new(kind), now: START, bounds: BOUNDS }
    }

    fn at(&self) -> Now {
        Now::from_millis(self.now)
    }

    fn act(&mut self, key: &str, action: Action) -> Outcome {
        let change = Change { key: key.into(), action, bounds: self.bounds };
        self.model.change(self.at(), change).outcome
    }

    fn upsert(&mut self, key: &str, value: &str, life: Life) -> Stamp {
        match self.act(key, Action::Upsert { value: value.into(), life }) {
            Outcome::Stored(stamp) => stamp,
            other => panic!("{other:?}"),
        }
    }

    fn touch(&mut self, key: &str, ttl: Option<u64>) -> Outcome {
        self.act(key, Action::Touch { ttl, if_version: None })
    }

    fn cas(&mut self, key: &str, expected: Option<u64>) -> Outcome {
        self.act(key, Action::Cas { expected, value: b"new".to_vec(), life: Life::Keep })
    }

    fn remove(&mut self, key: &str, if_version: Option<u64>) -> Outcome {
        self.act(key, Action::Remove { reason: Some("why".into()), if_version })
    }

    fn get(&self, key: &str, include_expired: bool) -> Option<RecordView> {
        self.model.get(self.at(), &Get { key: key.into(), include_expired })
    }

    fn list(&mut self, prefix: &str, expired: bool) -> Vec<String> {
        let list = List { prefix: prefix.into(), after_key: None, limit: 100, expired };
        self.settle();
        let page = self.model.list(self.at(), &list);
        page.records.iter().map(|record| record.key.to_string()).collect()
    }

    fn settle(&mut self) {
        let now = self.at();
        self.model.settle(now, STEP);
        assert!(!self.model.is_settling(now));
    }

    fn place(&self) -> Position {
        self.model.places(self.at()).latest
    }

    fn read(&mut self, after: Position) -> Span {
        let now = self.at();
        self.model.settle(now, STEP);
        self.model.read(now, &Read { after, max: 1_000, park: false })
    }

    /// What happened after a position: a letter and the key of each event.
    fn story(&mut self, after: Position) -> Vec<String> {
        let span = self.read(after);
        assert_eq!(span.overflow, None);
        let revisions: Vec<_> = span.events.iter().map(|event| event.revision).collect();
        assert!(revisions.is_sorted_by(|one, other| one < other), "{revisions:?}");
        span.events.iter().map(|event| format!("{} {}", letter(&event.happened), event.key)).collect()
    }

    fn stats(&self) -> StatsView {
        self.model.stats(self.at())
    }
}

fn letter(happened: &Happened) -> char {
    match happened {
        Happened::Upsert { .. } => 'u',
        Happened::Touch { .. } => 't',
        Happened::Delete { .. } => 'd',
        Happened::Expire { .. } => 'e',
    }
}

fn stored(outcome: &Outcome) -> Stamp {
    match outcome {
        Outcome::Stored(stamp) => *stamp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_is_active_until_its_deadline_and_absent_from_then_on() {
    for kind in [Kind::Registry, Kind::Ephemeral] {
        let mut bench = Bench::new(kind);
        let stamp = bench.upsert("a", "1", Life::For(1_000));
        assert_eq!((stamp.ttl, stamp.expires_at), (Some(1_000), Some(START + 1_000)));
        bench.now += 999;
        assert_eq!(bench.get("a", false).unwrap().value, b"1");
        assert_eq!(bench.stats().active, 1);
        bench.now += 1;
        // Nothing has swept.
        assert_eq!(bench.get("a", false), None);
        assert_eq!((bench.stats().active, bench.stats().settling), (0, true));
        assert_eq!(bench.touch("a", None), Outcome::Absent);
        assert_eq!(bench.remove("a", None), Outcome::Absent);
        assert_eq!(bench.cas("a", Some(stamp.version)), Outcome::Conflict(None));
        assert_eq!(bench.list("", false), Vec::<String>::new());
    }
}

#[test]
fn an_expired_record_can_be_looked_at_until_its_tombstone_ends_in_a_registry_only() {
    let mut bench = Bench::new(Kind::Registry);
    bench.upsert("a", "1", Life::For(1_000));
    for swept in [false, true] {
        bench.now = START + 1_000;
        if swept {
            bench.settle();
        }
        bench.now = START + 60_999;
        let seen = bench.get("a", true).unwrap();
        assert!(seen.expired && seen.value == b"1" && seen.stamp.expires_at == Some(START + 1_000));
        assert_eq!(bench.stats().expired, 1);
        bench.now += 1;
        assert_eq!(bench.get("a", true), None, "swept: {swept}");
        assert_eq!(bench.stats().expired, 0);
    }
    let mut bench = Bench::new(Kind::Ephemeral);
    bench.upsert("a", "1", Life::For(1_000));
    bench.now += 1_000;
    assert_eq!(bench.get("a", true), None);
    bench.settle();
    assert_eq!(bench.get("a", true), None);
}

#[test]
fn an_upsert_revives_with_a_new_beginning_and_ends_the_tombstone() {
    let mut bench = Bench::new(Kind::Registry);
    bench.upsert("a", "1", Life::For(10));
    let place = bench.place();
    bench.now += 20;
    let again = bench.upsert("a", "2", Life::Permanent);
    assert_eq!((again.created_at, again.ttl, again.expires_at), (bench.now, None, None));
    assert_eq!(bench.list("", true), Vec::<String>::new());
    assert_eq!(bench.story(place), ["e a", "u a"]);
    bench.now += 5;
    assert_eq!(bench.upsert("a", "3", Life::For(5)).created_at, again.created_at, "it was active");
}

#[test]
fn only_the_latest_expired_records_are_there_swept_or_not() {
    for swept in [false, true] {
        let mut bench = Bench::new(Kind::Registry);
        bench.bounds.max_entries = 3;
        for (at, key) in ["e", "d", "c", "b", "a"].iter().enumerate() {
            bench.upsert(key, "", Life::For(5));
            bench.now += if at < 3 { 10 } else { 0 };
        }
        bench.now += 10;
        if swept {
            bench.settle();
        }
        let there: Vec<_> = ["a", "b", "c", "d", "e"].iter().filter(|key| bench.get(key, true).is_some()).collect();
        assert_eq!(there, [&"a", &"b", &"c"], "swept: {swept}");
        assert_eq!(bench.stats().expired, 3);
        assert_eq!(bench.list("", true), ["a", "b", "c"]);
    }
    // For equal deadlines the order of the keys decides.
    let mut bench = Bench::new(Kind::Registry);
    for key in ["a", "b", "c"] {
        bench.upsert(key, "", Life::For(5));
    }
    bench.upsert("x", "", Life::Permanent);
    bench.bounds.max_entries = 2;
    bench.upsert("x", "", Life::Permanent);
    bench.now += 5;
    let there = |bench: &Bench| ["a", "b", "c"].map(|key| bench.get(key, true).is_some());
    assert_eq!(there(&bench), [false, true, true]);
    bench.settle();
    assert_eq!(there(&bench), [false, true, true]);
}

#[test]
fn ttl_is_kept_replaced_or_ended_as_the_call_says() {
    let mut bench = Bench::new(Kind::Registry);
    bench.upsert("a", "", Life::For(1_000));
    bench.now += 400;
    let kept = bench.upsert("a", "", Life::Keep);
    assert_eq!((kept.ttl, kept.expires_at), (Some(1_000), Some(bench.now + 1_000)));
    let swapped = stored(&bench.cas("a", Some(kept.version)));
    assert_eq!(swapped.ttl, Some(1_000));
    let extended = Outcome::Extended { version: swapped.version, expires_at: bench.now + 50 };
    assert_eq!(bench.touch("a", Some(50)), extended);
    bench.now += 49;
    let again = Outcome::Extended { version: swapped.version, expires_at: bench.now + 50 };
    assert_eq!(bench.touch("a", None), again, "the ttl of the last touch that named one");
    assert_eq!(bench.upsert("a", "", Life::Permanent).expires_at, None);
    assert_eq!(bench.touch("a", None), Outcome::Permanent);
    assert!(matches!(bench.touch("a", Some(7)), Outcome::Extended { .. }));
    assert_eq!(bench.stats().permanent, 0);
    assert_eq!(bench.upsert("new", "", Life::Keep).ttl, None, "there was none to keep");
}

#[test]
fn a_touch_is_a_new_version_in_an_ephemeral_store_only() {
    for kind in [Kind::Registry, Kind::Ephemeral] {
        let mut bench = Bench::new(kind);
        let stamp = bench.upsert("a", "1", Life::For(100));
        bench.now += 10;
        let Outcome::Extended { version, expires_at } = bench.touch("a", None) else { panic!("it is active") };
        assert_eq!(expires_at, bench.now + 100);
        let seen = bench.get("a", false).unwrap();
        assert_eq!((seen.stamp.version, seen.stamp.updated_at, seen.stamp.created_at), (version, bench.now, START));
        assert_eq!(seen.value, b"1");
        assert_eq!(version == stamp.version, kind == Kind::Registry);
        let old = bench.act("a", Action::Touch { ttl: None, if_version: Some(stamp.version) });
        match kind {
            Kind::Registry => assert!(matches!(old, Outcome::Extended { .. }), "it still fits"),
            Kind::Ephemeral => assert_eq!(old, Outcome::Stale { version }),
        }
    }
}

#[test]
fn conditions_hold_only_for_the_version_that_is_there() {
    let mut bench = Bench::new(Kind::Registry);
    let first = stored(&bench.cas("a", None)).version;
    assert!(matches!(bench.cas("a", None), Outcome::Conflict(Some(_))));
    let second = stored(&bench.cas("a", Some(first))).version;
    let Outcome::Conflict(Some(there)) = bench.cas("a", Some(first)) else { panic!("it was swapped") };
    assert_eq!(there.stamp.version, second);
    assert_eq!(bench.remove("a", Some(first)), Outcome::Stale { version: second });
    assert_eq!(bench.remove("a", Some(second)), Outcome::Removed);
    assert_eq!(bench.remove("a", None), Outcome::Absent);
    let third = stored(&bench.cas("a", None)).version;
    assert!(third > second);
    assert!(matches!(bench.cas("a", Some(second)), Outcome::Conflict(Some(_))), "of an earlier life");
}

#[test]
fn a_new_key_beyond_the_bound_is_refused_and_changes_pass() {
    let mut bench = Bench::new(Kind::Registry);
    bench.bounds.max_entries = 2;
    bench.upsert("a", "", Life::For(100));
    let b = bench.upsert("b", "", Life::For(200));
    let before = bench.stats();
    bench.bounds.max_events = 1;
    let full = Outcome::Full { limit: 2 };
    assert_eq!(bench.act("c", Action::Upsert { value: Vec::new(), life: Life::Permanent }), full);
    assert_eq!(bench.cas("c", None), full);
    assert_eq!(bench.cas("c", Some(7)), full, "capacity before the condition");
    assert_eq!(bench.stats(), before, "a refused call changes nothing, bounds included");
    bench.bounds.max_events = BOUNDS.max_events;
    assert!(matches!(bench.cas("b", Some(b.version)), Outcome::Stored(_)));
    assert!(matches!(bench.touch("a", None), Outcome::Extended { .. }));
    bench.now += 100;
    bench.upsert("c", "", Life::Permanent);
    assert_eq!(bench.stats().active, 2);
}

#[test]
fn a_change_tells_the_bounds_that_it_replaced() {
    let mut bench = Bench::new(Kind::Registry);
    let put = |bounds| {
        let action = Action::Upsert { value: Vec::new(), life: Life::Permanent };
        Change { key: "a".into(), action, bounds }
    };
    let other = Bounds { max_entries: 7, ..BOUNDS };
    let now = bench.at();
    let replaced: Vec<_> = [BOUNDS, BOUNDS, other, other]
        .into_iter()
        .map(|bounds| bench.model.change(now, put(bounds)).replaced)
        .collect();
    assert_eq!(replaced, [None, None, Some(BOUNDS), None]);
    assert_eq!(bench.stats().bounds, Some(other));
}

#[test]
fn steps_are_bounded_and_each_expiry_comes_once() {
    let mut bench = Bench::new(Kind::Registry);
    bench.bounds.max_entries = 1_000;
    let start = bench.place();
    for key in 0..450 {
        bench.upsert(&format!("{key:03}"), "", Life::For(1_000 + key % 7));
    }
    bench.now += 2_000;
    let before = bench.model.revision;
    bench.upsert("x", "", Life::Permanent);
    assert_eq!(bench.model.deadlines.len(), 448, "a change carries out two");
    for left in [248, 48, 0, 0] {
        let now = bench.at();
        bench.model.settle(now, STEP);
        assert_eq!(bench.model.deadlines.len(), left);
    }
    assert_eq!(bench.stats().expired, 450);
    let Span { events, .. } = bench.read(Position { event: 0, revision: before, ..bench.place() });
    let mut expired: Vec<_> = events.iter().filter(|event| letter(&event.happened) == 'e').collect();
    assert_eq!(expired.len(), 450);
    assert!(expired.is_sorted_by_key(|event| event.at), "in the order of their deadlines");
    expired.dedup_by_key(|event| &event.key);
    assert_eq!(expired.len(), 450);
    assert_eq!(bench.story(start).len(), 901);
}

#[test]
fn pages_go_in_byte_order_and_end_at_limit_and_size() {
    let mut bench = Bench::new(Kind::Registry);
    for key in ["b", "B", "é", "a/b", "a", "a0", "a/c"] {
        bench.upsert(key, "", Life::Permanent);
    }
    assert_eq!(bench.list("", false), ["B", "a", "a/b", "a/c", "a0", "b", "é"]);
    assert_eq!(bench.list("a/", false), ["a/b", "a/c"]);
    assert_eq!(bench.list("a", false), ["a", "a/b", "a/c", "a0"]);
    let page = |bench: &Bench, after: Option<&str>, limit| {
        let list = List { prefix: "a".into(), after_key: after.map(Arc::from), limit, expired: false };
        let page = bench.model.list(bench.at(), &list);
        (page.records.iter().map(|record| record.key.to_string()).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(page(&bench, None, 3), (vec!["a".to_owned(), "a/b".into(), "a/c".into()], true));
    assert_eq!(page(&bench, Some("a/c"), 3), (vec!["a0".to_owned()], false));
    let large = "x".repeat(3 * 1_024 * 1_024);
    bench.upsert("a/b", &large, Life::Permanent);
    bench.upsert("a/c", &large, Life::Permanent);
    assert_eq!(page(&bench, None, 3), (vec!["a".to_owned(), "a/b".into()], true));
    assert_eq!(page(&bench, Some("a/b"), 1), (vec!["a/c".to_owned()], true));
}

#[test]
fn a_page_shows_what_is_overdue_as_what_it_is() {
    let list = |bench: &Bench, expired, after: Option<&str>| {
        let list = List { prefix: "".into(), after_key: after.map(Arc::from), limit: 3, expired };
        let page = bench.model.list(bench.at(), &list);
        (page.records, page.more)
    };
    for max_entries in [4, 100] {
        let mut bench = Bench::new(Kind::Registry);
        for (at, key) in ["h", "b", "f", "d", "a", "g", "c", "e"].iter().enumerate() {
            let life = if at % 3 == 2 { Life::Permanent } else { Life::For(10 * (at as u64 + 1)) };
            bench.upsert(key, "", life);
        }
        bench.bounds.max_entries = max_entries;
        bench.touch("f", Some(5_000));
        // Some tombstones, some unswept records, some alive.
        bench.now += 45;
        bench.settle();
        bench.now += 30;
        let looks = |bench: &Bench| {
            [(false, None), (false, Some("d")), (true, None), (true, Some("b"))]
                .map(|(expired, after)| list(bench, expired, after))
        };
        let before = looks(&bench);
        assert!(bench.model.is_overdue(bench.at()));
        bench.settle();
        assert_eq!(before, looks(&bench), "swept or not");
        assert_eq!(before[2].0.len(), 3);
    }
}

#[test]
fn everything_ends_and_only_the_numbers_stay() {
    let mut bench = Bench::new(Kind::Registry);
    bench.upsert("a", "1", Life::For(1_000));
    bench.touch("a", None);
    while let Some(next) = bench.model.next_deadline() {
        assert!(next <= START + 1_000 + BOUNDS.event_retention + GRACE);
        bench.now = bench.now.max(next);
        bench.settle();
    }
    assert_eq!(bench.model.idle_since(), Some(START + 1_000 + BOUNDS.event_retention));
    assert_eq!((bench.model.live.len(), bench.model.tombs.len(), bench.model.log.oldest()), (0, 0, None));
    bench.upsert("p", "", Life::Permanent);
    bench.now += 10 * BOUNDS.event_retention;
    bench.settle();
    assert_eq!((bench.model.next_deadline(), bench.model.idle_since()), (None, None), "permanent");
}
