//! Tests that need access to private parts: the size of the table.

use super::super::store::{Algorithm, Mode, Rule};
use super::*;
use crate::backend::memory::sweep_all;
use crate::time::{ManualClock, SECOND};

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const SLIDING: Rule = Rule { algorithm: Algorithm::Sliding, window: 1_000, limit: 5, capacity: 5 };

fn store(clock: &ManualClock) -> MemoryRatelimit {
    MemoryRatelimit::new(&Timer::pinned(clock))
}

fn check(limiter: &Arc<Limiter>, identifier: &str, rule: Rule) {
    let judge = Judge {
        identifier: Cow::Borrowed(identifier),
        rules: Cow::Borrowed(std::slice::from_ref(&rule)),
        cost: 1,
        mode: Mode::Check,
    };
    let _ = limiter.judged(&judge);
}

fn known(store: &MemoryRatelimit, address: &Address) -> Arc<Limiter> {
    drop(store.limiter(address));
    Arc::clone(&store.lock()[address])
}

fn size(limiter: &Limiter) -> (usize, usize) {
    let shards = limiter.shards.iter().map(|shard| {
        let shard = lock(shard);
        (shard.entries.len(), shard.entries.capacity() + shard.filed.values().map(Vec::len).sum::<usize>())
    });
    shards.fold((0, 0), |sum, shard| (sum.0 + shard.0, sum.1 + shard.1))
}

fn sweep(store: &MemoryRatelimit, now: Timestamp) {
    sweep_all(now, |now| store.sweep(now));
}

#[test]
fn identifiers_are_gone_within_a_second_of_their_lapse_and_the_table_shrinks() {
    let clock = ManualClock::at(START);
    let store = store(&clock);
    let address = Address::new(&"tenant".into(), "limiter");
    let limiter = known(&store, &address);
    let identifiers = if std::env::var_os("TIDELOCK_SOAK").is_some() { 1_000_000 } else { 100_000 };
    for identifier in 0..identifiers {
        check(&limiter, &identifier.to_string(), SLIDING);
    }
    assert_eq!(size(&limiter).0, identifiers);
    sweep(&store, Timestamp::from_millis(START.as_millis() + 1_999));
    assert_eq!(size(&limiter).0, identifiers, "nothing goes before it lapses");
    sweep(&store, clock.now() + 3 * SECOND);
    let (entries, room) = size(&limiter);
    assert_eq!(entries, 0);
    assert!(room < 1_100, "room for {room} is left");
    drop(limiter);
    sweep(&store, clock.now() + 3 * SECOND);
    assert!(store.lock().is_empty(), "a limiter that nobody holds and that counts nothing is forgotten");
}

#[test]
fn what_is_used_again_stays_and_what_lapses_earlier_goes_earlier() {
    let clock = ManualClock::at(START);
    let store = store(&clock);
    let limiter = known(&store, &Address::new(&"tenant".into(), "limiter"));
    check(&limiter, "used again", SLIDING);
    let slow = Rule { algorithm: Algorithm::TokenBucket, window: 86_400_000, limit: 1, capacity: 9 };
    check(&limiter, "quicker", slow);
    clock.advance(SECOND);
    check(&limiter, "used again", SLIDING);
    for _ in 0..500 {
        // A faster rate empties the same bucket within the day.
        check(&limiter, "quicker", Rule { limit: 1_000_000_000, ..slow });
        check(&limiter, "quicker", slow);
    }
    check(&limiter, "quicker", Rule { limit: 1_000_000_000, ..slow });
    assert!(size(&limiter).1 < 500, "what is filed stays in proportion");
    sweep(&store, START + 2 * SECOND + SECOND / 2);
    assert_eq!(size(&limiter).0, 1);
    sweep(&store, START + 4 * SECOND);
    assert_eq!(size(&limiter).0, 0);
}

#[test]
fn reset_and_check_again_does_not_grow() {
    let clock = ManualClock::at(START);
    let store = store(&clock);
    let limiter = known(&store, &Address::new(&"tenant".into(), "limiter"));
    for _ in 0..10_000 {
        check(&limiter, "same", SLIDING);
        limiter.shard("same").remove("same");
    }
    assert!(size(&limiter).1 < 200);
}

#[test]
fn a_literal_never_meets_a_digest() {
    let long = "x".repeat(2_000);
    assert_ne!(key(&long), key(&format!("{long}y")));
    let hex = key(&long)[1..].to_owned();
    assert_ne!(key(&hex), key(&long));
    assert_ne!(key(&format!("#{hex}")), key(&long));
}
