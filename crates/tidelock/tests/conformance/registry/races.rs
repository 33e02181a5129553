//! Many concurrent clients: swaps have one winner, and views equal the store.

use std::collections::HashSet;

use crate::harness::scale;
use tidelock::SECOND;
use tidelock::registry::{Cas, Cursor};

use super::*;

conformance!(of_contenders_with_one_version_one_swaps, async |world: World| {
    let handles = [texts(&world.open().await), texts(&world.open().await)];
    let mut version = put(&handles[0], "a", "0").await.version;
    for round in 0..scale(10_000) {
        let writers: Vec<_> = (0..8).map(|writer| format!("{round} {writer}")).collect();
        let swaps = writers.iter().enumerate().map(|(at, text)| handles[at % 2].cas("a", version, text));
        let outcomes: Vec<_> = all(swaps).await.into_iter().map(|outcome| outcome.unwrap()).collect();
        let winner: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| if let Cas::Swapped(entry) = outcome { Some(entry.clone()) } else { None })
            .collect();
        assert_eq!(winner.len(), 1, "{outcomes:?}");
        let losers = outcomes.iter().filter(|outcome| **outcome == Cas::Conflict(Some(winner[0].clone()))).count();
        assert_eq!(losers, 7, "losers get the winner's record: {outcomes:?}");
        version = winner[0].version;
    }
});

conformance!(of_a_hundred_that_create_one_does, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let elsewhere = texts(&world.open().await);
    let text = "x".to_owned();
    for _ in 0..3 {
        let creations = (0..100).map(|at| if at % 2 == 0 { &registry } else { &elsewhere });
        let outcomes = all(creations.map(|registry| registry.cas("a", None, &text).ttl(SECOND))).await;
        let made = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Cas::Swapped(_)))).count();
        assert_eq!(made, 1);
        if clock.now().as_millis().is_multiple_of(2_000) {
            clock.advance(SECOND);
        } else {
            registry.remove("a").await.unwrap();
        }
    }
});

conformance!(a_touch_never_undoes_an_upsert, async |world: World| {
    let registry = texts(&world.open().await);
    let elsewhere = texts(&world.open().await);
    put(&registry, "a", "start").await;
    for round in 0..scale(10_000) {
        let text = round.to_string();
        let upsert = registry.upsert("a", &text).ttl(SECOND * 60).into_future();
        let touch = elsewhere.touch("a").ttl(SECOND * 30).into_future();
        let (stored, touched) = tokio::join!(upsert, touch);
        touched.unwrap();
        let found = registry.get("a").await.unwrap().unwrap();
        assert_eq!((found.value, found.version), (text, stored.unwrap().version));
    }
});

conformance!(a_version_from_before_a_new_life_never_swaps, async |mut world: World| {
    let clock = world.pin();
    let registry = texts(&world.open().await);
    let text = "x".to_owned();
    let mut seen = HashSet::new();
    for round in 0..30 {
        let entry = registry.upsert("a", &text).ttl(SECOND).await.unwrap();
        assert!(seen.insert(entry.version));
        for touch in 0..3 {
            registry.touch("a").await.unwrap();
            clock.advance(MS * touch);
        }
        assert!(registry.cas("a", entry.version, &text).await.is_ok_and(|swap| matches!(swap, Cas::Swapped(_))));
        match round % 3 {
            0 => drop(registry.remove("a").await.unwrap()),
            1 => clock.advance(SECOND),
            _ => drop(registry.delete().await.unwrap()),
        }
        put(&registry, "a", "y").await;
        for version in &seen {
            assert!(matches!(registry.cas("a", *version, &text).await.unwrap(), Cas::Conflict(Some(_))));
        }
    }
});

/// A client that follows, disconnects and resumes until its view equals the store at rest.
async fn client(registry: Registry<String>, seed: u64, mut rest: tokio::sync::watch::Receiver<Option<View<String>>>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut view, mut cursor): (View<String>, Option<Cursor>) = (View::default(), None);
    loop {
        let from = if let Some(cursor) = cursor.take() {
            cursor
        } else {
            let seen = registry.snapshot().await.unwrap();
            view = View::of(&seen.items);
            seen.cursor
        };
        let mut follower = registry.follow().after(&from).await.unwrap();
        for _ in 0..random.usize(1..60) {
            if rest.borrow().as_ref().is_some_and(|rest| *rest == view) {
                return;
            }
            let event = tokio::select! {
                event = follower.recv().wait(SECOND) => event.unwrap(),
                _ = rest.changed() => continue,
            };
            if event.is_some_and(|event| view.apply(event)) {
                let seen = registry.snapshot().await.unwrap();
                view = View::of(&seen.items);
                follower = registry.follow().after(&seen.cursor).await.unwrap();
            }
        }
        // Sometimes it starts from nothing; otherwise it resumes where it was.
        cursor = random.bool().then(|| follower.cursor());
    }
}

async fn writer(registry: Registry<String>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..scale(2_000) {
        let key = format!("{}/{}", random.u8(0..3), random.u8(0..20));
        let (text, ttl) = (format!("{seed} {round}"), MS * random.u32(20..200));
        match random.u8(0..6) {
            0 | 1 => drop(registry.upsert(&key, &text).ttl(ttl).await.unwrap()),
            2 => drop(registry.upsert(&key, &text).await.unwrap()),
            3 => drop(registry.touch(&key).await.unwrap()),
            4 => drop(registry.remove(&key).await.unwrap()),
            _ => {
                if let Some(entry) = registry.get(&key).await.unwrap() {
                    drop(registry.cas(&key, entry.version, &text).ttl(ttl).await.unwrap());
                }
            }
        }
    }
}

conformance!(at_rest_every_view_is_the_store, async |world: World| {
    let handles = [texts(&world.open().await), texts(&world.open().await)];
    let (rest, resting) = tokio::sync::watch::channel(None);
    let clients: Vec<_> =
        (0..50).map(|at| tokio::spawn(client(handles[at % 2].clone(), at as u64, resting.clone()))).collect();
    all((0..8).map(|at| tokio::spawn(writer(handles[at % 2].clone(), 100 + at as u64)))).await;
    until(async || {
        let seen = stats(&handles[0]).await;
        seen.active == seen.permanent
    })
    .await;
    rest.send_replace(Some(View::of(&handles[0].snapshot().await.unwrap().items)));
    for client in all(clients).await {
        client.unwrap();
    }
});
