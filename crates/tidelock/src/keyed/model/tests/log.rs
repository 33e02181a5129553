//! What the log contains, how long it can be read, and who is told that it cannot.

use super::*;

#[test]
fn a_watcher_sees_every_life_of_a_key_in_order() {
    for kind in [Kind::Registry, Kind::Ephemeral] {
        let mut bench = Bench::new(kind);
        let start = bench.place();
        let first = bench.upsert("a", "1", Life::For(20));
        bench.now += 30;
        bench.upsert("a", "2", Life::For(20));
        bench.now += 10;
        assert_eq!(bench.remove("a", None), Outcome::Removed);
        assert_eq!(bench.story(start), ["u a", "e a", "u a", "d a"]);
        let events = bench.read(start).events;
        assert_eq!(events[1].at, START + 20, "the deadline");
        assert_eq!(events[1].happened, Happened::Expire { version: first.version });
        let removed = events[2].revision;
        assert_eq!(events[3].happened, Happened::Delete { version: removed, reason: Some("why".into()) });
        assert_eq!(events[0].happened, Happened::Upsert { stamp: first, value: b"1".to_vec() });
    }
}

#[test]
fn touches_are_coalesced_and_count_for_nothing() {
    let mut bench = Bench::new(Kind::Ephemeral);
    bench.bounds.max_events = 2;
    let start = bench.place();
    bench.upsert("a", "", Life::For(1_000));
    bench.upsert("b", "", Life::For(1_000));
    for _ in 0..50 {
        bench.now += 1;
        bench.touch("a", None);
    }
    assert_eq!(bench.story(start), ["u a", "u b", "t a"]);
    let stats = bench.stats();
    assert_eq!((stats.events, stats.touches, stats.compacted), (2, 1, 0));
    let last = bench.read(start).events.pop().unwrap();
    let there = bench.get("a", false).unwrap().stamp;
    let touch = Happened::Touch { version: there.version, expires_at: there.expires_at.unwrap() };
    assert_eq!((last.revision, last.happened), (there.version, touch));
    let place = bench.place();
    bench.upsert("a", "", Life::For(1_000));
    assert_eq!(bench.story(place), ["u a"], "what happened since stands for the touch");
    assert_eq!(bench.stats().touches, 0);
}

#[test]
fn what_can_be_read_ends_by_number_bytes_and_age() {
    let mut bench = Bench::new(Kind::Registry);
    bench.bounds = Bounds { max_events: 3, max_event_bytes: 10, event_retention: 100, ..BOUNDS };
    let versions: Vec<_> = (0..4).map(|_| bench.upsert("a", "12", Life::Permanent).version).collect();
    assert_eq!(bench.stats().compacted, versions[0], "number");
    let big = bench.upsert("a", "12345678", Life::Permanent).version;
    assert_eq!(bench.stats().compacted, versions[2], "bytes");
    assert_eq!((bench.stats().events, bench.stats().event_bytes), (2, 10));
    bench.now += 99;
    assert_eq!(bench.stats().compacted, versions[2]);
    bench.now += 1;
    assert_eq!(bench.stats().compacted, big, "age");
    let huge = bench.upsert("a", "123456789ab", Life::Permanent).version;
    assert_eq!(bench.stats().compacted, huge, "one that is too large alone");
    // Wider bounds must not bring anything back.
    bench.bounds = BOUNDS;
    bench.upsert("a", "1", Life::Permanent);
    assert_eq!(bench.stats().compacted, huge);
    assert_eq!(bench.stats().events, 1);
}

#[test]
fn a_touch_that_is_too_old_cannot_be_read_either() {
    let mut bench = Bench::new(Kind::Registry);
    bench.bounds.event_retention = 100;
    bench.upsert("a", "", Life::For(1_000_000));
    bench.now += 50;
    let before = bench.place();
    bench.touch("a", None);
    bench.now += 99;
    assert_eq!(bench.story(before), ["t a"]);
    bench.now += 1;
    assert!(bench.read(before).overflow.is_some());
}

#[test]
fn who_has_fallen_behind_is_told_once_and_goes_on_from_the_end() {
    let mut bench = Bench::new(Kind::Registry);
    bench.bounds.max_events = 2;
    let stamps: Vec<_> = (0..4).map(|_| bench.upsert("a", "", Life::Permanent)).collect();
    let latest = bench.place();
    let at = |revision| Position { incarnation: stamps[0].version, revision, event: revision };
    for bad in [
        at(stamps[0].version),
        at(stamps[3].version + 1),
        Position { incarnation: stamps[1].version, ..at(stamps[2].version) },
        Position { incarnation: 0, ..at(5) },
    ] {
        let overflow = Some(Overflow { first_available: at(stamps[2].version) });
        let told = Span { overflow, events: Vec::new(), end: latest, next: None };
        assert_eq!(bench.read(bad), told, "{bad:?}");
    }
    assert_eq!(bench.read(latest), Span { overflow: None, events: Vec::new(), end: latest, next: None });
    assert_eq!(bench.story(at(stamps[1].version)), ["u a", "u a"], "at the last that cannot be read nothing is missed");
    bench.now += BOUNDS.event_retention;
    let told = bench.read(at(stamps[2].version)).overflow.unwrap();
    assert_eq!(told.first_available, latest, "nothing can be read");
    assert_eq!(bench.read(latest).overflow, None);
}

#[test]
fn a_place_before_everything_fits_the_life_that_comes() {
    let mut bench = Bench::new(Kind::Registry);
    let before = bench.place();
    assert_eq!(before, Position { incarnation: 0, revision: START * 1_000 - 1, event: 0 });
    assert_eq!(bench.read(before).end, before);
    bench.upsert("a", "", Life::Permanent);
    assert_eq!(bench.story(before), ["u a"]);
    let middle = bench.place();
    assert!(bench.model.delete(bench.at()));
    assert!(!bench.model.delete(bench.at()));
    let told = bench.read(middle);
    assert!(told.overflow.is_some() && told.end.incarnation == 0);
    assert!(told.end.revision >= middle.revision, "numbers go on");
    bench.upsert("a", "", Life::Permanent);
    assert_eq!(bench.story(told.end), ["u a"]);
    assert!(bench.read(middle).overflow.is_some(), "of an earlier life");
    assert!(bench.read(before).overflow.is_some(), "it knows nothing of the life that has ended");
}

#[test]
fn from_the_first_place_all_that_can_be_read_is_read() {
    let mut bench = Bench::new(Kind::Ephemeral);
    bench.bounds.max_events = 2;
    for key in ["a", "b", "c"] {
        bench.upsert(key, "", Life::For(1_000));
    }
    let first = bench.model.places(bench.at()).first;
    assert_eq!(bench.story(first), ["u b", "u c"]);
}

#[test]
fn a_read_ends_at_its_number_and_size() {
    let mut bench = Bench::new(Kind::Registry);
    bench.bounds.max_event_bytes = 1 << 32;
    let start = bench.place();
    let large = "x".repeat(3 * 1_024 * 1_024);
    for _ in 0..3 {
        bench.upsert("a", &large, Life::For(1_000));
    }
    bench.touch("a", None);
    let mut place = start;
    for expected in [1, 1, 2, 0] {
        let span = bench.read(place);
        assert_eq!(span.events.len(), expected);
        assert_eq!(span.next, (expected == 0).then_some(START + 1_000));
        place = span.end;
    }
}

#[test]
fn revisions_never_repeat_when_the_clock_steps_back() {
    let mut bench = Bench::new(Kind::Registry);
    let mut last = bench.upsert("a", "", Life::Permanent).version;
    for back in 0..100 {
        bench.now = START - back;
        let version = bench.upsert("a", "", Life::Permanent).version;
        assert!(version > last);
        last = version;
    }
}

#[test]
fn a_place_of_a_log_that_went_on_elsewhere_is_told_as_one() {
    let mut bench = Bench::new(Kind::Registry);
    bench.upsert("a", "", Life::Permanent);
    let first = bench.place();
    bench.touch("a", Some(1_000_000));
    let touched = bench.place();
    assert_eq!(touched.event, first.revision, "a touch is no part of what is compared");
    bench.now += 1;
    bench.upsert("b", "", Life::Permanent);
    for place in [first, touched] {
        let span = bench.read(place);
        assert_eq!((span.overflow, span.end), (None, bench.place()));
        let elsewhere = Position { event: place.event + 1, ..place };
        assert!(bench.read(elsewhere).overflow.is_some());
        assert_eq!(bench.read(Position { event: 0, ..place }).overflow, None, "where it is not known");
    }
    // With nothing before it in the log.
    let last = bench.place();
    bench.now += BOUNDS.event_retention + GRACE;
    bench.settle();
    assert_eq!(bench.stats().events, 0);
    assert_eq!(bench.read(last).overflow, None);
    assert!(bench.read(Position { event: first.event, ..last }).overflow.is_some());
}
