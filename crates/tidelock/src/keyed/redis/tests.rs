//! What can be seen only from inside or on the server: unchanged bytes, expiring keys, remembered answers, woken
//! processes.

mod keys;

use std::time::Duration;
use tokio::sync::oneshot;

use tidelock_testkit::{Connection, Reply};

use super::*;
use crate::Tidelock;
use crate::backend::redis::{Access, Lane, Redis, Settings, UNSWEPT};
use crate::error::ErrorKind;
use crate::keyed::store::{Action, Bounds, Happened, Kind, Life, Outcome, Position};
use crate::lifecycle::Lifecycle;
use crate::name::Address;
use crate::runtime::Spawner;
use crate::time::{Clock, ManualClock, Timestamp};

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
const BOUNDS: Bounds = Bounds {
    max_entries: 100,
    event_retention: 300_000,
    max_events: 1_000,
    max_event_bytes: 1 << 32,
    tombstone_retention: 60_000,
};
const HOUR: i64 = 3_600_000;

/// A server, a namespace on it, and its time.
struct Stage {
    url: String,
    prefix: String,
    clock: ManualClock,
    tide: Tidelock,
    object: Object,
}

impl Stage {
    /// One stage on each server.
    async fn all(kind: Kind) -> Vec<Self> {
        Self::all_called("keyed", kind).await
    }

    async fn all_called(name: &str, kind: Kind) -> Vec<Self> {
        let mut stages = Vec::new();
        for (_, url) in tidelock_testkit::shared_servers() {
            let unique: String = std::iter::repeat_with(fastrand::alphanumeric).take(12).collect();
            let prefix = format!("{name}.{unique}");
            let clock = ManualClock::at(START);
            let tide = Tidelock::connect(&url).prefix(&prefix).clock(&clock).await.unwrap();
            let object = Object { kind, address: Address::new(&"default".into(), "o") };
            stages.push(Self { url, prefix, clock, tide, object });
        }
        stages
    }

    fn store(&self) -> Arc<dyn KeyedStore> {
        self.tide.world.backend.keyed()
    }

    async fn another_process(&self) -> Tidelock {
        Tidelock::connect(&self.url).prefix(&self.prefix).clock(&self.clock).await.unwrap()
    }

    /// The server connection of another process, without a store on top.
    async fn server(&self) -> Arc<Server> {
        let settings = Settings {
            url: self.url.clone(),
            prefix: self.prefix.clone(),
            request_timeout: Duration::from_secs(5),
            access: Access::default(),
            process: "repeats".into(),
        };
        let clock = Clock::Manual(self.clock.clone());
        let spawner = Arc::new(Spawner::default());
        Redis::connect(settings, &clock, &Lifecycle::new(clock.clone()), &spawner).await.unwrap().server()
    }

    fn act(&self, key: &str, action: Action) -> impl Future<Output = Outcome> + use<> {
        let change = Change { key: key.into(), action, bounds: BOUNDS };
        let changed = self.store().change(&self.object, change);
        async { changed.await.unwrap().outcome }
    }

    async fn upsert(&self, key: &str, size: usize, life: Life) {
        let outcome = self.act(key, Action::Upsert { value: vec![b'x'; size], life }).await;
        assert!(matches!(outcome, Outcome::Stored(_)), "{outcome:?}");
    }

    async fn touch(&self, key: &str) -> Outcome {
        self.act(key, Action::Touch { ttl: None, if_version: None }).await
    }

    async fn remove(&self, key: &str) {
        assert_eq!(self.act(key, Action::Remove { reason: None, if_version: None }).await, Outcome::Removed);
    }

    async fn read(&self, after: Position, park: bool) -> Span {
        self.store().read(&self.object, Read { after, max: 1_000, park }).await.unwrap()
    }

    async fn latest(&self) -> Position {
        self.store().places(&self.object).await.unwrap().latest
    }

    /// The object's keys by the last part of their names, each with a connection to its node. Remembered answers are
    /// left out.
    fn keys(&self) -> Vec<(Connection, String, String)> {
        let hosts = self.url.split_once("://").map_or(&*self.url, |(_, hosts)| hosts);
        let mut found = Vec::new();
        for host in hosts.split(',') {
            let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
            let keys = Connection::open(port).unwrap().command(&["KEYS", &format!("{}:{{*", self.prefix)]).unwrap();
            for key in keys.items().iter().filter_map(Reply::text).filter(|key| !key.contains(":answers:")) {
                let part = key.rsplit(':').next().unwrap_or_default().to_owned();
                found.push((Connection::open(port).unwrap(), key.to_owned(), part));
            }
        }
        found.sort_by(|one, other| one.2.cmp(&other.2));
        found
    }

    fn parts(&self) -> Vec<String> {
        self.keys().into_iter().map(|(_, _, part)| part).collect()
    }

    /// A digest of each key, and whether it expires.
    fn digest(&self) -> Vec<(String, String)> {
        let script = "return redis.sha1hex(redis.call('DUMP', KEYS[1]))";
        let digest = |(mut connection, key, part): (Connection, String, String)| {
            (part, connection.command(&["EVAL", script, "1", &key]).unwrap().text().expect("a digest").to_owned())
        };
        self.keys().into_iter().map(digest).collect()
    }

    /// Saves the current state of all keys.
    fn save(&self) {
        for (mut connection, key, _) in self.keys() {
            connection.command(&["COPY", &key, &format!("{key}:saved")]).unwrap();
        }
    }

    /// Restores the saved state.
    fn restore(&self) {
        let (saved, others): (Vec<_>, Vec<_>) = self.keys().into_iter().partition(|(_, _, part)| part == "saved");
        for (mut connection, key, _) in others {
            connection.command(&["DEL", &key]).unwrap();
        }
        for (mut connection, key, _) in saved {
            connection.command(&["RENAME", &key, key.trim_end_matches(":saved")]).unwrap();
        }
    }

    fn number_of_record(&self, field: &str) -> u64 {
        let (mut connection, key, _) = self.keys().into_iter().find(|(_, _, part)| part == "record").unwrap();
        u64::try_from(connection.command(&["HGET", &key, field]).unwrap().int().unwrap()).unwrap()
    }

    /// The time to live of each key; -1: permanent.
    fn lifetimes(&self) -> Vec<(String, i64)> {
        let ttl = |(mut connection, key, part): (Connection, String, String)| {
            (part, connection.command(&["PTTL", &key]).unwrap().int().expect("a number"))
        };
        self.keys().into_iter().map(ttl).collect()
    }
}

fn advance(stage: &Stage, millis: u64) {
    stage.clock.advance(Duration::from_millis(millis));
}

/// Awaited things happen at once; the timeout only ends a test that would hang.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(1), what).await.expect("it comes")
}

#[tokio::test]
async fn an_older_state_that_has_gone_on_is_told_as_an_overflow() {
    for kind in [Kind::Registry, Kind::Ephemeral] {
        for stage in Stage::all(kind).await {
            stage.upsert("a", 10, Life::For(100_000)).await;
            let kept = stage.latest().await;
            stage.save();
            advance(&stage, 1);
            stage.touch("a").await;
            let touched = stage.latest().await;
            stage.upsert("b", 10, Life::For(100_000)).await;
            let lost = stage.latest().await;
            stage.restore();
            advance(&stage, 1);
            stage.upsert("c", 10, Life::For(100_000)).await;
            assert!(stage.read(lost, false).await.overflow.is_some(), "what it knows of b is no longer so");
            for place in [kept, touched] {
                let span = stage.read(place, false).await;
                assert_eq!(span.overflow, None, "before it all is as it was");
                assert_eq!(span.events.iter().map(|event| &*event.key).collect::<Vec<_>>(), ["c"]);
            }
            // Also when the log holds nothing before the position.
            advance(&stage, 100);
            stage.upsert("d", 10, Life::For(1_000_000)).await;
            let last = stage.latest().await;
            for _ in ["which ends all but d", "which ends what was told of that"] {
                advance(&stage, BOUNDS.event_retention + 5_000);
                stage.store().stats(&stage.object).await.unwrap();
            }
            assert!(!stage.parts().contains(&"log".to_owned()));
            let kept = stage.latest().await;
            assert!(kept.event > last.event);
            assert_eq!(stage.read(kept, false).await.overflow, None);
            let elsewhere = Position { event: lost.event, ..kept };
            assert!(stage.read(elsewhere, false).await.overflow.is_some());
        }
    }
}

#[tokio::test]
async fn a_sweep_alone_puts_off_when_a_process_looks_again() {
    for stage in Stage::all_called(UNSWEPT, Kind::Registry).await {
        let remote = Remote::new(&stage.server().await, &stage.object);
        let site = &remote.site;
        for (told, known) in [(0, 0), (9_000, 9_000), (5_000, 5_000), (9_000, 5_000), (0, 5_000)] {
            site.told_next(told);
            assert_eq!(remote.next_deadline(), known, "answers come in any order");
        }
        site.sweep().await.unwrap();
        assert_eq!(remote.next_deadline(), 0, "there is nothing");
        stage.upsert("a", 10, Life::For(1_000)).await;
        let deadline = START.as_millis() + 1_000;
        site.sweep().await.unwrap();
        assert_eq!(remote.next_deadline(), deadline);
        advance(&stage, 1_000);
        for (mut connection, key, part) in stage.keys() {
            if part == "states" {
                connection.command(&["HSET", &key, "a", "rubbish"]).unwrap();
            }
        }
        assert!(site.sweep().await.is_err());
        assert_eq!(remote.next_deadline(), deadline, "it is still to be done");
    }
}

#[tokio::test]
async fn a_read_of_large_values_carries_few_of_them() {
    const SIZE: usize = 1_500_000;
    for stage in Stage::all(Kind::Registry).await {
        let start = stage.latest().await;
        for _ in 0..6 {
            stage.upsert("a", SIZE, Life::For(100_000)).await;
        }
        stage.upsert("b", 0, Life::For(100_000)).await;
        stage.touch("b").await;
        let remote = Remote::new(&stage.server().await, &stage.object);
        let (mut place, mut counts) = (start, Vec::new());
        loop {
            let shown = remote.site.look_into(&Read { after: place, max: 1_000, park: false }).await.unwrap();
            let bytes = |value| if let redis::Value::BulkString(bytes) = value { bytes.len() } else { 0 };
            let mut answer = shown.answer;
            let carried: usize = (0..answer.left()).map(|_| bytes(answer.item())).sum();
            assert!(carried < 5 * 1_024 * 1_024, "{carried} bytes");
            let span = stage.read(place, false).await;
            if span.events.is_empty() {
                break;
            }
            counts.push(span.events.len());
            place = span.end;
        }
        assert_eq!(counts, [2, 2, 4], "the last two, what is behind them, and the touch at its turn");
    }
}

#[tokio::test]
async fn a_refused_call_and_a_question_leave_every_byte() {
    for stage in Stage::all(Kind::Registry).await {
        stage.upsert("a", 10, Life::Permanent).await;
        stage.upsert("b", 10, Life::For(1_000)).await;
        let place = stage.latest().await;
        let before = stage.digest();
        let other = Bounds { max_entries: 2, max_events: 1, ..BOUNDS };
        let value = || b"other".to_vec();
        for (key, action) in [
            ("c", Action::Upsert { value: value(), life: Life::Permanent }),
            ("a", Action::Cas { expected: Some(1), value: value(), life: Life::Keep }),
            ("c", Action::Cas { expected: Some(1), value: value(), life: Life::Keep }),
            ("a", Action::Touch { ttl: None, if_version: None }),
            ("b", Action::Touch { ttl: None, if_version: Some(1) }),
            ("c", Action::Touch { ttl: None, if_version: None }),
            ("b", Action::Remove { reason: None, if_version: Some(1) }),
            ("c", Action::Remove { reason: None, if_version: None }),
        ] {
            let changed = stage.store().change(&stage.object, Change { key: key.into(), action, bounds: other });
            assert!(!matches!(changed.await.unwrap().outcome, Outcome::Stored(_) | Outcome::Extended { .. }));
        }
        let get = Get { key: "b".into(), include_expired: true };
        assert!(stage.store().get(&stage.object, get).await.unwrap().is_some());
        let list = List { prefix: "".into(), after_key: None, limit: 10, expired: false };
        assert_eq!(stage.store().list(&stage.object, list).await.unwrap().records.len(), 2);
        stage.store().stats(&stage.object).await.unwrap();
        assert!(stage.read(place, false).await.events.is_empty());
        assert_eq!(stage.digest(), before);
    }
}

#[tokio::test]
async fn only_the_latest_expired_records_are_there_swept_or_not() {
    for stage in Stage::all(Kind::Registry).await {
        let bounds = Bounds { max_entries: 3, ..BOUNDS };
        let store = stage.store();
        for key in ["d", "c", "b", "a"] {
            let action = Action::Upsert { value: Vec::new(), life: Life::For(5) };
            store.change(&stage.object, Change { key: key.into(), action, bounds }).await.unwrap();
            advance(&stage, 10);
        }
        // The last one is not swept until the statistics are requested; later changes have swept the others.
        for _ in ["unswept", "swept"] {
            let mut there = Vec::new();
            for key in ["a", "b", "c", "d"] {
                let get = Get { key: key.into(), include_expired: true };
                there.extend(store.get(&stage.object, get).await.unwrap().map(|record| record.key.to_string()));
            }
            assert_eq!(there, ["a", "b", "c"]);
            assert_eq!(store.stats(&stage.object).await.unwrap().expired, 3);
        }
    }
}

#[tokio::test]
async fn a_trip_that_is_made_again_gives_the_first_answer_and_changes_nothing() {
    for stage in Stage::all(Kind::Ephemeral).await {
        let store = stage.store();
        let server = stage.server().await;
        let remote = Remote::new(&server, &stage.object);
        let mut lane = Lane::new(&remote.site.home);
        let request = |key: &str, action| {
            let change = Change { key: key.into(), action, bounds: BOUNDS };
            Request::Change { change, reply: oneshot::channel().0 }
        };
        let life = Life::For(1_000);
        let first = [
            request("a", Action::Upsert { value: b"1".to_vec(), life }),
            request("a", Action::Touch { ttl: None, if_version: None }),
            request("b", Action::Upsert { value: b"2".to_vec(), life }),
            request("b", Action::Remove { reason: None, if_version: None }),
            request("a", Action::Cas { expected: None, value: b"3".to_vec(), life }),
            Request::Delete { reply: oneshot::channel().0 },
            request("c", Action::Upsert { value: b"4".to_vec(), life }),
        ];
        lane.number = 1;
        let made = remote.changes.make_trip(&lane, &first[..5]).await.unwrap().each(Ok).unwrap();
        let before = stage.digest();
        advance(&stage, 500);
        let again = remote.changes.make_trip(&lane, &first[..5]).await.unwrap().each(Ok).unwrap();
        assert_eq!(made, again);
        assert_eq!(stage.digest(), before);
        lane.number = 2;
        let made = remote.changes.make_trip(&lane, &first[5..]).await.unwrap().each(Ok).unwrap();
        let again = remote.changes.make_trip(&lane, &first[5..]).await.unwrap().each(Ok).unwrap();
        assert_eq!(made, again, "a deletion too");
        lane.number = 1;
        assert!(remote.changes.make_trip(&lane, &first).await.is_err(), "an old trip that comes late");
        assert_eq!(store.stats(&stage.object).await.unwrap().active, 1);
    }
}

#[tokio::test]
async fn what_is_not_understood_fails_alone() {
    for stage in Stage::all(Kind::Registry).await {
        stage.upsert("a", 10, Life::For(1_000)).await;
        stage.upsert("b", 10, Life::For(1_000)).await;
        for (mut connection, key, part) in stage.keys() {
            if part == "states" {
                connection.command(&["HSET", &key, "a", "rubbish"]).unwrap();
            }
        }
        let store = stage.store();
        let touch = |key: &str| {
            let action = Action::Touch { ttl: None, if_version: None };
            store.change(&stage.object, Change { key: key.into(), action, bounds: BOUNDS })
        };
        let get = |key: &str| store.get(&stage.object, Get { key: key.into(), include_expired: false });
        let (a, b) = tokio::join!(touch("a"), touch("b"));
        assert_eq!(a.unwrap_err().kind(), ErrorKind::IncompatibleFormat);
        assert!(matches!(b.unwrap().outcome, Outcome::Extended { .. }));
        let (a, b) = tokio::join!(get("a"), get("b"));
        assert_eq!(a.unwrap_err().kind(), ErrorKind::IncompatibleFormat);
        assert!(b.unwrap().is_some());
    }
}

#[tokio::test]
async fn large_values_come_in_pages_and_parts() {
    const LARGE: usize = 3 * 1_024 * 1_024;
    for stage in Stage::all(Kind::Registry).await {
        let start = stage.latest().await;
        for key in ["a", "b", "c"] {
            stage.upsert(key, LARGE, Life::For(100_000)).await;
        }
        stage.touch("b").await;
        let store = stage.store();
        let get = |key: &str| store.get(&stage.object, Get { key: key.into(), include_expired: false });
        let (a, b, c) = tokio::join!(get("a"), get("b"), get("c"));
        assert!([a, b, c].into_iter().all(|found| found.unwrap().unwrap().value.len() == LARGE));
        let cas = |key: &str| stage.act(key, Action::Cas { expected: None, value: Vec::new(), life: Life::Keep });
        let (a, b, c) = tokio::join!(cas("a"), cas("b"), cas("c"));
        for conflict in [a, b, c] {
            assert!(matches!(conflict, Outcome::Conflict(Some(record)) if record.value.len() == LARGE));
        }
        let list = List { prefix: "".into(), after_key: None, limit: 10, expired: false };
        let page = store.list(&stage.object, list).await.unwrap();
        assert_eq!((page.records.len(), page.more), (1, true));
        let mut place = start;
        for expected in [1, 1, 2, 0] {
            let span = stage.read(place, false).await;
            assert_eq!(span.events.len(), expected);
            place = span.end;
        }
    }
}

#[tokio::test]
async fn a_page_after_a_great_expiry_is_empty_and_no_step_is_long() {
    let many = tidelock_testkit::scale(20_000);
    for stage in Stage::all_called(UNSWEPT, Kind::Registry).await {
        let store = stage.store();
        let bounds = Bounds { max_entries: 100_000, max_events: 100_000, ..BOUNDS };
        let change = |key: usize| {
            let action = Action::Upsert { value: b"value".to_vec(), life: Life::For(1_000) };
            store.change(&stage.object, Change { key: key.to_string().into(), action, bounds })
        };
        let changes: Vec<_> = (0..many).map(change).collect();
        assert!(futures_util::future::join_all(changes).await.iter().all(Result::is_ok));
        let mut after = stage.latest().await;
        advance(&stage, 1_000);
        let first = stage.read(after, false).await;
        assert_eq!(first.events.len(), 200, "one step");
        let list = List { prefix: "".into(), after_key: None, limit: 1_000, expired: false };
        assert!(store.list(&stage.object, list).await.unwrap().records.is_empty());
        assert_eq!(store.stats(&stage.object).await.unwrap().expired, many as u64);
        let mut expired = std::collections::HashSet::new();
        loop {
            let span = stage.read(after, false).await;
            if span.events.is_empty() {
                break;
            }
            assert!(span.events.iter().all(|event| expired.insert(Arc::clone(&event.key))), "each comes once");
            after = span.end;
        }
        assert_eq!(expired.len(), many);
    }
}

#[tokio::test]
async fn every_parked_process_is_woken_by_a_change_and_by_a_deletion() {
    for stage in Stage::all(Kind::Ephemeral).await {
        let other = stage.another_process().await;
        let bells = [&stage.tide, &other].map(|tide| tide.world.backend.keyed().bell(&stage.object));
        let start = stage.latest().await;
        for round in 0..3 {
            let mut place = if round == 0 { start } else { stage.latest().await };
            for tide in [&stage.tide, &other] {
                let read = Read { after: place, max: 10, park: true };
                let span = tide.world.backend.keyed().read(&stage.object, read).await.unwrap();
                assert!(span.events.is_empty());
                place = span.end;
            }
            if round == 2 {
                assert!(other.world.backend.keyed().delete(&stage.object).await.unwrap());
            } else {
                stage.upsert("a", 10, Life::For(1_000)).await;
            }
            for bell in &bells {
                soon(bell.rung.notified()).await;
            }
        }
        assert!(!stage.parts().contains(&"parked".to_owned()));
    }
}

#[tokio::test]
async fn a_process_sweeps_what_it_used_and_those_who_wait_hear_of_it() {
    for stage in Stage::all(Kind::Ephemeral).await {
        stage.upsert("a", 10, Life::For(60_000)).await;
        let watcher = stage.another_process().await;
        let store = watcher.world.backend.keyed();
        let bell = store.bell(&stage.object);
        let place = stage.latest().await;
        let read = Read { after: place, max: 10, park: true };
        let span = store.read(&stage.object, read).await.unwrap();
        assert_eq!(span.next, Some(START.as_millis() + 60_000));
        advance(&stage, 60_000);
        // Nobody calls: the sweep of either process does it.
        soon(bell.rung.notified()).await;
        let span = store.read(&stage.object, read).await.unwrap();
        assert!(matches!(span.events[..], [_]) && matches!(span.events[0].happened, Happened::Expire { .. }));
    }
}
