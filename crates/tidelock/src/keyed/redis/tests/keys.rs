//! Which keys an object has, how long they live, and how incomplete remains are treated.

use super::*;

#[tokio::test]
async fn keys_live_as_long_as_anything_in_them_matters() {
    for kind in [Kind::Registry, Kind::Ephemeral] {
        for stage in Stage::all(kind).await {
            stage.upsert("a", 10, Life::For(5_000_000)).await;
            stage.touch("a").await;
            stage.upsert("b", 10, Life::For(1)).await;
            advance(&stage, 1);
            stage.store().stats(&stage.object).await.unwrap();
            let lasts = 5_000_000 + i64::try_from(BOUNDS.tombstone_retention).unwrap() + HOUR;
            let lifetimes = stage.lifetimes();
            assert_eq!(lifetimes.len(), if kind == Kind::Registry { 9 } else { 7 }, "{lifetimes:?}");
            for (part, life) in lifetimes {
                assert!(life > lasts - 20_000 && life <= lasts + 600_000, "{part}: {life} ms");
            }
        }
    }
}

#[tokio::test]
async fn nothing_outlives_the_record_which_says_what_it_means() {
    for kind in [Kind::Registry, Kind::Ephemeral] {
        for stage in Stage::all(kind).await {
            let check = |what: &str| {
                let lifetimes = stage.lifetimes();
                let record = lifetimes.iter().find(|(part, _)| part == "record").unwrap().1;
                assert!(lifetimes.iter().all(|(_, life)| (1..=record).contains(life)), "{what}: {lifetimes:?}");
            };
            // Before it is worth renewing the expiries of a new object.
            stage.clock.set(Timestamp::from_millis(1_000));
            stage.upsert("a", 10, Life::For(1)).await;
            check("a clock near its beginning");
            stage.clock.set(START);
            stage.upsert("a", 10, Life::For(5_000_000)).await;
            check("a first life");
            for longer in 1..20 {
                // Each is later than what the expiries were set for, but by too little to renew them.
                stage.upsert("b", 10, Life::For(5_000_000 + longer * 150_000)).await;
                stage.touch("b").await;
                stage.upsert("c", 10, Life::For(1)).await;
                // More than passes on the server's clock, which decides when keys expire.
                advance(&stage, 10_000);
                stage.store().stats(&stage.object).await.unwrap();
                check("one that is a little longer");
            }
        }
    }
}

#[tokio::test]
async fn what_is_left_of_an_object_whose_record_is_gone_counts_for_nothing() {
    for kind in [Kind::Registry, Kind::Ephemeral] {
        for stage in Stage::all(kind).await {
            let before = stage.latest().await;
            for key in ["a", "b"] {
                stage.upsert(key, 10, Life::For(100_000)).await;
            }
            stage.upsert("over", 10, Life::For(1)).await;
            advance(&stage, 1);
            stage.touch("b").await;
            let place = stage.latest().await;
            let lose = || {
                for (mut connection, key, part) in stage.keys() {
                    if part == "record" {
                        connection.command(&["DEL", &key]).unwrap();
                    }
                }
                assert!(stage.parts().len() > 4, "all else is there");
            };
            let store = stage.store();
            lose();
            for key in ["a", "over"] {
                let get = Get { key: key.into(), include_expired: true };
                assert_eq!(store.get(&stage.object, get).await.unwrap(), None);
            }
            assert!(stage.read(before, false).await.is_empty());
            assert!(stage.parts().is_empty(), "nobody looks at it again");
            let bound = |expired| List { prefix: "".into(), after_key: None, limit: 10, expired };
            for expired in [false, true] {
                assert!(store.list(&stage.object, bound(expired)).await.unwrap().records.is_empty());
            }
            let stats = store.stats(&stage.object).await.unwrap();
            assert_eq!((stats.active, stats.events, stats.touches, stats.expired), (0, 0, 0, 0));
            assert!(stage.read(place, false).await.overflow.is_some());

            // A change finds it.
            for key in ["a", "b"] {
                stage.upsert(key, 10, Life::For(100_000)).await;
            }
            stage.touch("b").await;
            lose();
            assert_eq!(stage.touch("b").await, Outcome::Absent);
            let before = stage.latest().await;
            stage.upsert("a", 10, Life::For(100_000)).await;
            let stats = store.stats(&stage.object).await.unwrap();
            assert_eq!((stats.active, stats.events, stats.touches, stats.event_bytes), (1, 1, 0, 10));
            assert_eq!(store.list(&stage.object, bound(false)).await.unwrap().records.len(), 1);
            assert_eq!(stage.read(before, false).await.events.len(), 1);
            assert!(stage.read(place, false).await.overflow.is_some());
        }
    }
}

#[tokio::test]
async fn writers_of_different_retentions_do_not_drive_lifetimes_on() {
    for stage in Stage::all(Kind::Registry).await {
        let long = Bounds { tombstone_retention: 5_000_000, ..BOUNDS };
        stage.upsert("a", 10, Life::For(1_000_000)).await;
        stage.upsert("b", 10, Life::For(1_000)).await;
        advance(&stage, 1_000);
        for bounds in [BOUNDS, long, BOUNDS, long, BOUNDS, long] {
            let action = Action::Touch { ttl: Some(1_000), if_version: None };
            let change = Change { key: "a".into(), action, bounds };
            assert!(matches!(
                stage.store().change(&stage.object, change).await.unwrap().outcome,
                Outcome::Extended { .. }
            ));
        }
        assert_eq!(stage.number_of_record("ends"), START.as_millis() + 2_000 + long.tombstone_retention);
        let get = Get { key: "b".into(), include_expired: true };
        advance(&stage, 4_999_999);
        assert!(stage.store().get(&stage.object, get.clone()).await.unwrap().is_some());
        advance(&stage, 1);
        assert!(stage.store().get(&stage.object, get).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn keys_are_permanent_only_while_a_permanent_record_is_there() {
    for stage in Stage::all(Kind::Registry).await {
        stage.upsert("a", 10, Life::For(1_000)).await;
        stage.upsert("p", 10, Life::Permanent).await;
        stage.touch("a").await;
        assert!(stage.lifetimes().iter().all(|(_, life)| *life == -1), "{:?}", stage.lifetimes());
        stage.remove("p").await;
        assert_eq!(stage.lifetimes().len(), 7);
        assert!(stage.lifetimes().iter().all(|(_, life)| *life >= HOUR - 20_000), "{:?}", stage.lifetimes());
    }
}

#[tokio::test]
async fn a_deleted_object_leaves_only_its_last_revision_for_an_hour() {
    for stage in Stage::all(Kind::Registry).await {
        stage.upsert("a", 10, Life::Permanent).await;
        stage.upsert("b", 10, Life::For(1_000)).await;
        assert!(stage.store().delete(&stage.object).await.unwrap());
        assert!(!stage.store().delete(&stage.object).await.unwrap());
        assert_eq!(stage.parts(), ["record"]);
        assert!(stage.lifetimes().iter().all(|(_, life)| (HOUR - 20_000..=HOUR + 600_000).contains(life)));
    }
}

#[tokio::test]
async fn nothing_is_left_in_the_keys_when_everything_is_over() {
    for kind in [Kind::Registry, Kind::Ephemeral] {
        for stage in Stage::all(kind).await {
            for key in 0..50 {
                stage.upsert(&format!("{key}"), 10, Life::For(1_000 + key)).await;
                stage.touch(&format!("{key}")).await;
            }
            stage.remove("7").await;
            advance(&stage, 2_000);
            stage.store().stats(&stage.object).await.unwrap();
            advance(&stage, BOUNDS.event_retention + 5_000);
            stage.store().stats(&stage.object).await.unwrap();
            assert_eq!(stage.parts(), ["record"]);
        }
    }
}

#[tokio::test]
async fn waiting_keeps_the_object_and_so_the_place() {
    for stage in Stage::all(Kind::Ephemeral).await {
        stage.upsert("a", 10, Life::For(1)).await;
        advance(&stage, 1);
        stage.store().stats(&stage.object).await.unwrap();
        advance(&stage, 5 * 3_600_000);
        stage.read(stage.latest().await, true).await;
        for (part, life) in stage.lifetimes() {
            assert!(life > HOUR - 20_000, "{part}: {life} ms");
        }
        assert_eq!(stage.number_of_record("ends"), stage.clock.now().as_millis() + 20_000);
    }
}
