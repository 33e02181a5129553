//! Many concurrent clients: their views equal the store, and every end is reported exactly once.

use std::collections::BTreeSet;

use crate::harness::scale;
use tidelock::MINUTE;
use tidelock::ephemeral::{Cursor, EventKind, Follower};

use super::*;

conformance!(many_that_end_together_are_each_told_once, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let count = scale(20_000);
    let store = tide.ephemeral::<String>("texts").ttl(MINUTE).max_entries(count as u64 + 1).build().unwrap();
    let text = "x".to_owned();
    let names: BTreeSet<_> = (0..count).map(|index| format!("{index:05}")).collect();
    let ordered: Vec<_> = names.iter().collect();
    for part in ordered.chunks(500) {
        for stored in all(part.iter().map(|key| store.upsert(key, &text))).await {
            stored.unwrap();
        }
    }
    store.upsert("stays", &text).ttl(tidelock::HOUR).await.unwrap();
    let mut follower = store.follow().await.unwrap();
    clock.advance(MINUTE);
    assert_eq!(keys(&store.snapshot().await.unwrap().items), ["stays"]);
    assert!(store.get("stays").await.unwrap().is_some(), "others are answered meanwhile");
    let mut gone = BTreeSet::new();
    while gone.len() < count {
        let event = next(&mut follower).await;
        let EventKind::Expire { key, .. } = event.kind else { panic!("only ends: {event:?}") };
        assert!(gone.insert(key), "each once");
    }
    assert_eq!(gone, names);
    assert!(drain(&mut follower).await.is_empty());
});

conformance!(a_touch_never_undoes_an_upsert, async |world: World| {
    let store = texts(&world.open().await);
    let elsewhere = texts(&world.open().await);
    put(&store, "a", "start").await;
    for round in 0..scale(10_000) {
        let text = round.to_string();
        let (upsert, touch) = (store.upsert("a", &text).into_future(), elsewhere.touch("a").into_future());
        let (stored, touched) = tokio::join!(upsert, touch);
        stored.unwrap();
        touched.unwrap();
        assert_eq!(store.get("a").await.unwrap().unwrap().value, text);
    }
});

conformance!(many_heartbeats_push_nothing_out_of_the_log, async |mut world: World| {
    let clock = world.pin();
    let tide = world.open().await;
    let count = scale(10_000);
    let store = tide.ephemeral::<String>("texts").ttl(30 * SECOND).max_events(count as u64).build().unwrap();
    let names: Vec<_> = (0..count).map(|index| format!("{index:05}")).collect();
    let text = "x".to_owned();
    for part in names.chunks(500) {
        all(part.iter().map(|key| store.upsert(key, &text))).await;
    }
    let mut follower = store.follow().from_start().await.unwrap();
    assert_eq!(drain(&mut follower).await.len(), count);
    for _ in 0..6 {
        clock.advance(10 * SECOND);
        for part in names.chunks(500) {
            all(part.iter().map(|key| store.touch(key))).await;
        }
        let touches = drain(&mut follower).await;
        assert_eq!(touches.len(), count);
        assert!(touches.iter().all(|event| matches!(event.kind, EventKind::Touch { .. })));
    }
    drop(follower);
    let mut all_of_it = store.follow().from_start().await.unwrap();
    let events = drain(&mut all_of_it).await;
    assert_eq!(events.iter().filter(|event| matches!(event.kind, EventKind::Upsert(_))).count(), count);
    assert_eq!(events.len(), 2 * count, "and the latest touch of each");
});

async fn writer(store: Ephemeral<String>, seed: u64, rounds: usize) {
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..rounds {
        let key = format!("{}/{}", random.u8(0..3), random.u8(0..20));
        let (text, ttl) = (format!("{seed} {round}"), MS * random.u32(20..200));
        match random.u8(0..5) {
            0 | 1 => drop(store.upsert(&key, &text).ttl(ttl).await.unwrap()),
            2 => drop(store.upsert(&key, &text).await.unwrap()),
            3 => drop(store.touch(&key).await.unwrap()),
            _ => drop(store.remove(&key).await.unwrap()),
        }
    }
}

/// A client that snapshots, follows, disconnects and resumes until its view equals the store at rest.
async fn client(store: Ephemeral<String>, seed: u64, mut rest: tokio::sync::watch::Receiver<Option<View<String>>>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut view, mut cursor): (View<String>, Option<Cursor>) = (View::default(), None);
    loop {
        let from = if let Some(cursor) = cursor.take() {
            cursor
        } else {
            let seen = store.snapshot().await.unwrap();
            view = View::of(&seen.items);
            seen.cursor
        };
        let mut follower = store.follow().after(&from).await.unwrap();
        for _ in 0..random.usize(1..60) {
            if rest.borrow().as_ref().is_some_and(|rest| *rest == view) {
                return;
            }
            let event = tokio::select! {
                event = follower.recv().wait(SECOND) => event.unwrap(),
                _ = rest.changed() => continue,
            };
            if event.is_some_and(|event| view.apply(event)) {
                let seen = store.snapshot().await.unwrap();
                view = View::of(&seen.items);
                follower = store.follow().after(&seen.cursor).await.unwrap();
            }
        }
        cursor = random.bool().then(|| follower.cursor());
    }
}

conformance!(at_rest_every_view_is_the_store, async |world: World| {
    let open = async || {
        let tide = world.open().await;
        tide.ephemeral::<String>("texts").ttl(tidelock::HOUR).build().unwrap()
    };
    let handles = [open().await, open().await];
    let (rest, resting) = tokio::sync::watch::channel(None);
    let clients: Vec<_> =
        (0..50).map(|at| tokio::spawn(client(handles[at % 2].clone(), at as u64, resting.clone()))).collect();
    let rounds = scale(2_000);
    all((0..8).map(|at| tokio::spawn(writer(handles[at % 2].clone(), 100 + at as u64, rounds)))).await;
    // At rest: only the records that live for an hour are left.
    until(async || {
        let seen = handles[0].snapshot().await.unwrap();
        seen.entries().all(|entry| entry.ttl == Some(tidelock::HOUR))
    })
    .await;
    rest.send_replace(Some(View::of(&handles[0].snapshot().await.unwrap().items)));
    for client in all(clients).await {
        client.unwrap();
    }
});

conformance!(a_snapshot_and_what_follows_it_lose_no_write, async |world: World| {
    let open = async || {
        let tide = world.open().await;
        tide.ephemeral::<String>("texts").ttl(tidelock::HOUR).build().unwrap()
    };
    let store = open().await;
    let writing: Vec<_> = [open().await, open().await]
        .into_iter()
        .zip(7..)
        .map(|(elsewhere, seed)| tokio::spawn(writer(elsewhere, seed, scale(10_000))))
        .collect();
    let mut runs: Vec<(View<String>, Follower<String>)> = Vec::new();
    while runs.len() < scale(1_000) || !writing.iter().all(tokio::task::JoinHandle::is_finished) {
        let seen = within(store.snapshot()).await.unwrap();
        let follower = store.follow().after(&seen.cursor).await.unwrap();
        runs.push((View::of(&seen.items), follower));
        // With a single thread, the writers need a turn.
        tokio::task::yield_now().await;
    }
    all(writing).await;
    until(async || {
        let seen = store.snapshot().await.unwrap();
        seen.entries().all(|entry| entry.ttl == Some(tidelock::HOUR))
    })
    .await;
    let rest = View::of(&store.snapshot().await.unwrap().items);
    for (mut view, mut follower) in runs {
        while view != rest {
            assert!(!view.apply(next(&mut follower).await), "nothing was overrun");
        }
    }
});
