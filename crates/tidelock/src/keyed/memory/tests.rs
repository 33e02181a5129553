//! Tests that need access to private parts: which objects are stored, and who is woken.

use std::time::Duration;

use super::*;
use crate::Tidelock;
use crate::backend::memory::sweep_all;
use crate::keyed::store::{Action, Bounds, Happened, Kind, Life, Outcome};
use crate::name::Address;
use crate::time::ManualClock;

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const BOUNDS: Bounds = Bounds {
    max_entries: 100_000,
    event_retention: 300_000,
    max_events: 100_000,
    max_event_bytes: 1 << 32,
    tombstone_retention: 60_000,
};

fn object(kind: Kind, id: &str) -> Object {
    Object { kind, address: Address::new(&"default".into(), id) }
}

fn upsert(key: &str, life: Life) -> Change {
    Change { key: key.into(), action: Action::Upsert { value: b"value".to_vec(), life }, bounds: BOUNDS }
}

fn sweep(store: &MemoryKeyed, clock: &ManualClock) -> Option<Timestamp> {
    sweep_all(clock.now(), |now| store.sweep(now))
}

#[tokio::test]
async fn objects_that_were_used_and_left_are_forgotten() {
    let clock = ManualClock::at(START);
    let timer = Timer::pinned(&clock);
    let store = MemoryKeyed::new(&timer, Pace::default());
    for id in 0..1_000 {
        let kind = if id % 2 == 0 { Kind::Registry } else { Kind::Ephemeral };
        let object = object(kind, &id.to_string());
        store.change(&object, upsert("a", Life::For(1_000))).await.unwrap();
        if id % 3 == 0 {
            assert!(store.delete(&object).await.unwrap());
        }
        let unknown = self::object(kind, &format!("unknown {id}"));
        assert_eq!(store.get(&unknown, Get { key: "a".into(), include_expired: true }).await.unwrap(), None);
        assert!(!store.delete(&unknown).await.unwrap());
    }
    assert_eq!(store.stored(), 1_000);
    let waited_for = object(Kind::Registry, "waited for");
    let bell = store.bell(&waited_for);
    let kept = object(Kind::Registry, "kept");
    store.change(&kept, upsert("a", Life::Permanent)).await.unwrap();
    let mut steps = 0;
    while let Some(next) = sweep(&store, &clock).filter(|_| store.stored() > 2) {
        clock.set(next);
        steps += 1;
        assert!(steps < 100, "each deadline is of some use");
    }
    assert_eq!(store.stored(), 2);
    drop(bell);
    clock.advance(Duration::from_hours(2));
    assert_eq!(sweep(&store, &clock), None);
    assert_eq!(store.stored(), 1);
}

#[tokio::test]
async fn who_waits_is_woken_by_a_change_a_deadline_and_a_deletion() {
    let clock = ManualClock::at(START);
    let tide = Tidelock::in_process_with(&clock);
    let store = tide.world.backend.keyed();
    let object = object(Kind::Ephemeral, "o");
    let bell = store.bell(&object);
    let mut place = store.places(&object).await.unwrap().latest;
    for cause in ["change", "deadline", "deletion"] {
        let read = Read { after: place, max: 10, park: true };
        assert!(store.read(&object, read).await.unwrap().events.is_empty());
        match cause {
            "change" => drop(store.change(&object, upsert("a", Life::For(60_000))).await.unwrap()),
            "deadline" => clock.advance(Duration::from_mins(1)),
            _ => assert!(store.delete(&object).await.unwrap()),
        }
        let rung = tokio::time::timeout(Duration::from_mins(1), bell.rung.notified());
        rung.await.unwrap_or_else(|_| panic!("no bell at a {cause}"));
        let span = store.read(&object, read).await.unwrap();
        match cause {
            "change" => assert!(matches!(span.events[0].happened, Happened::Upsert { .. })),
            "deadline" => assert!(matches!(span.events[0].happened, Happened::Expire { .. })),
            _ => assert!(span.overflow.is_some()),
        }
        place = span.end;
    }
}

#[tokio::test]
async fn a_page_after_a_great_expiry_is_empty_and_no_step_is_long() {
    let clock = ManualClock::at(START);
    let timer = Timer::pinned(&clock);
    let store = MemoryKeyed::new(&timer, Pace::default());
    let object = object(Kind::Registry, "o");
    for key in 0..20_000 {
        store.change(&object, upsert(&key.to_string(), Life::For(1_000))).await.unwrap();
    }
    let place = store.places(&object).await.unwrap().latest;
    clock.advance(Duration::from_secs(1));
    let first = store.read(&object, Read { after: place, max: 1_000, park: false }).await.unwrap();
    assert_eq!(first.events.len(), 200, "one step");
    let changed = store.change(&object, upsert("new", Life::Permanent)).await.unwrap();
    assert!(matches!(changed.outcome, Outcome::Stored(_)));
    let list = |expired| List { prefix: "".into(), after_key: None, limit: 1_000, expired };
    assert_eq!(store.list(&object, list(false)).await.unwrap().records.len(), 1);
    assert_eq!(store.stats(&object).await.unwrap().expired, 20_000);
    let mut expired = std::collections::HashSet::new();
    let mut after = place;
    loop {
        let span = store.read(&object, Read { after, max: 1_000, park: false }).await.unwrap();
        if span.events.is_empty() {
            break;
        }
        let gone = span.events.iter().filter(|event| matches!(event.happened, Happened::Expire { .. }));
        assert!(gone.into_iter().all(|event| expired.insert(Arc::clone(&event.key))), "each comes once");
        after = span.end;
    }
    assert_eq!(expired.len(), 20_000);
}

/// A store with steps of 10 transitions and pauses between them, and with 25 records that expire at the same instant.
async fn in_turns(clock: &ManualClock) -> (Arc<Timer>, MemoryKeyed, Object, Position) {
    let timer = Timer::pinned(clock);
    let store = MemoryKeyed::new(&timer, Pace { step: 10, pause: 1, ..Pace::default() });
    let object = object(Kind::Registry, "o");
    for key in 10..35 {
        store.change(&object, upsert(&key.to_string(), Life::For(1_000))).await.unwrap();
    }
    let place = store.places(&object).await.unwrap().latest;
    clock.advance(Duration::from_secs(1));
    (timer, store, object, place)
}

#[tokio::test]
async fn where_steps_are_turns_the_timer_pauses_between_them_and_who_waits_leaves_the_rest_to_it() {
    let clock = ManualClock::at(START);
    let (_timer, store, object, place) = in_turns(&clock).await;
    let events = async |after, park| store.read(&object, Read { after, max: 1_000, park }).await.unwrap();
    assert_eq!(store.sweep(clock.now()), Some(clock.now() + Duration::from_millis(1)));
    let first = events(place, true).await;
    assert_eq!(first.events.len(), 10, "a step");
    clock.advance(Duration::from_millis(1));
    let waiting = events(first.end, true).await;
    assert_eq!((waiting.events.len(), waiting.next), (0, None), "the timer goes on");
    let list = |expired| List { prefix: "".into(), after_key: None, limit: 1_000, expired };
    assert_eq!(store.list(&object, list(false)).await.unwrap().records.len(), 0);
    assert_eq!(store.list(&object, list(true)).await.unwrap().records.len(), 25);
    assert_eq!(events(first.end, true).await.events.len(), 0, "listings do not carry it out");
    let bell = store.bell(&object);
    assert_eq!(store.sweep(clock.now()), Some(clock.now() + Duration::from_millis(1)));
    tokio::time::timeout(Duration::from_mins(1), bell.rung.notified()).await.expect("who waits is woken");
    let second = events(first.end, false).await;
    assert_eq!(second.events.len(), 10);
    assert_eq!(events(second.end, false).await.events.len(), 5, "who does not wait gets all");
    // Nothing is left to the timer. The next overdue record is again carried out by the call that finds it.
    store.change(&object, upsert("late", Life::For(10))).await.unwrap();
    let place = store.places(&object).await.unwrap().latest;
    clock.advance(Duration::from_millis(10));
    assert_eq!(events(place, true).await.events.len(), 1);
}

#[tokio::test]
async fn where_steps_are_turns_who_waits_is_served_while_the_clock_stands() {
    let clock = ManualClock::at(START);
    let (_timer, store, object, mut place) = in_turns(&clock).await;
    let mut seen = 0;
    while seen < 25 {
        let span = store.read(&object, Read { after: place, max: 1_000, park: true }).await.unwrap();
        assert!((1..=10).contains(&span.events.len()));
        seen += span.events.len();
        place = span.end;
    }
    assert_eq!(seen, 25);
}

#[tokio::test]
async fn where_steps_are_turns_a_change_comes_behind_what_was_due_before() {
    let clock = ManualClock::at(START);
    let timer = Timer::pinned(&clock);
    let store = MemoryKeyed::new(&timer, Pace { step: 10, pause: 1, ..Pace::default() });
    let object = object(Kind::Ephemeral, "o");
    for (key, ttl) in [("c", 30), ("a", 10), ("b", 20), ("d", 15)] {
        store.change(&object, upsert(key, Life::For(ttl))).await.unwrap();
    }
    let after = store.places(&object).await.unwrap().latest;
    clock.advance(Duration::from_millis(50));
    store.change(&object, upsert("c", Life::For(30))).await.unwrap();
    let span = store.read(&object, Read { after, max: 10, park: false }).await.unwrap();
    let keys: Vec<_> = span.events.iter().map(|event| &*event.key).collect();
    assert_eq!(keys, ["a", "d", "b", "c", "c"]);
}

#[tokio::test]
async fn the_numbers_of_a_new_object_go_on_behind_those_that_were_forgotten() {
    let clock = ManualClock::at(START);
    let timer = Timer::pinned(&clock);
    let store = MemoryKeyed::new(&timer, Pace::default());
    let object = object(Kind::Registry, "o");
    store.change(&object, upsert("a", Life::For(1_000))).await.unwrap();
    let last = store.places(&object).await.unwrap().latest.revision;
    clock.advance(Duration::from_hours(3));
    while let Some(next) = sweep(&store, &clock) {
        clock.set(next);
    }
    assert_eq!(store.stored(), 0);
    clock.set(START);
    let missed = Position { incarnation: 0, revision: last - 1, event: 0 };
    store.change(&object, upsert("a", Life::For(1_000))).await.unwrap();
    assert!(store.places(&object).await.unwrap().latest.revision > last, "also when the clock was set back");
    let span = store.read(&object, Read { after: missed, max: 10, park: false }).await.unwrap();
    assert!(span.overflow.is_some(), "what stood there is gone");
}
