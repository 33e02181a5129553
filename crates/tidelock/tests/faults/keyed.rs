//! Registry and ephemeral store when their server, its connections or other processes fail.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tidelock::registry::{Cas, Event, EventKind, Follower, Left, Removal, Touch, Version};
use tidelock::{Ephemeral, ErrorKind, MINUTE, Registry, SECOND, Tidelock};
use tidelock_testkit::{Proxy, Server, scale};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::stage::{durable_server, keys_without_lifetime, open, server, until, within};

const MS: Duration = Duration::from_millis(1);

fn registry(tide: &Tidelock) -> Registry<u64> {
    tide.registry("r").build().expect("the options are good")
}

fn ephemeral(tide: &Tidelock) -> Ephemeral<u64> {
    tide.ephemeral("e").ttl(MINUTE).build().expect("the options are good")
}

async fn next(follower: &mut Follower<u64>) -> Event<u64> {
    loop {
        match within(follower.next()).await.expect("it goes on") {
            Ok(event) => return event,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

fn told(event: &Event<u64>) -> String {
    match &event.kind {
        EventKind::Upsert(entry) => format!("upsert {} {}", entry.key, entry.value),
        EventKind::Touch { key, .. } => format!("touch {key}"),
        EventKind::Delete { key, .. } => format!("delete {key}"),
        EventKind::Expire { key, .. } => format!("expire {key}"),
        kind => format!("{kind:?}").split(' ').next().unwrap_or_default().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lost_reply_leaves_one_change_and_its_first_outcome() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let registry = registry(&open(&proxy.url()).await);
    let witness = self::registry(&open(&server.url()).await);
    let mut follower = witness.follow().await.unwrap();
    for value in 0..scale(500) as u64 {
        proxy.drop_reply_after(1);
        let Cas::Swapped(made) = within(registry.cas("a", None, &value)).await.unwrap() else {
            panic!("it was not there")
        };
        proxy.drop_reply_after(1);
        let stored = within(registry.upsert("a", &value).ttl(MINUTE)).await.unwrap();
        assert!(stored.version > made.version);
        proxy.drop_reply_after(1);
        let Cas::Swapped(swapped) = within(registry.cas("a", stored.version, &(value + 1))).await.unwrap() else {
            panic!("a swap whose reply was lost is one");
        };
        proxy.drop_reply_after(1);
        let Touch::Extended { version, expires_at } = within(registry.touch("a")).await.unwrap() else {
            panic!("it is active");
        };
        assert_eq!(version, swapped.version);
        assert_eq!(witness.get("a").await.unwrap().unwrap().expires_at, Some(expires_at), "that of the first time");
        proxy.drop_reply_after(1);
        assert_eq!(within(registry.remove("a").if_version(version)).await.unwrap(), Removal::Removed);
        proxy.drop_reply_after(1);
        assert!(within(registry.get("a")).await.unwrap().is_none());
        let mut events = Vec::new();
        for _ in 0..4 {
            events.push(told(&next(&mut follower).await));
        }
        let more = value + 1;
        let (first, second) = (format!("upsert a {value}"), format!("upsert a {more}"));
        // The touch left the log together with its record.
        assert_eq!(events, [first.as_str(), &first, &second, "delete a"]);
    }
    assert!(within(follower.try_recv()).await.unwrap().is_none(), "nothing happened twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_touch_whose_reply_is_lost_has_its_first_deadline() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let store = ephemeral(&open(&proxy.url()).await);
    let witness = ephemeral(&open(&server.url()).await);
    store.upsert("a", &1).await.unwrap();
    let mut last: Option<Version> = None;
    for _ in 0..scale(500) {
        proxy.drop_reply_after(1);
        let Touch::Extended { version, expires_at } = within(store.touch("a")).await.unwrap() else {
            panic!("it lives")
        };
        let found = witness.get("a").await.unwrap().unwrap();
        assert_eq!((found.version, found.expires_at), (version, Some(expires_at)));
        assert!(last.is_none_or(|last| version > last));
        last = Some(version);
    }
    proxy.drop_reply_after(1);
    assert_eq!(within(store.remove("a")).await.unwrap(), Removal::Removed);
    assert_eq!(within(store.remove("a")).await.unwrap(), Removal::Absent);
    assert_eq!(keys_without_lifetime(&server), ["tidelock:format"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_on_two_trips_keep_their_order_where_the_connection_is_lost() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let registry = registry(&open(&proxy.url()).await);
    for round in 0..scale(400) {
        match round % 3 {
            // Before either trip has arrived, between the two, or within the second.
            0 => proxy.cut_after_request_bytes(round % 97),
            1 => proxy.cut_after_request_bytes(600 + round * 7 % 1_500),
            _ => proxy.drop_reply_after(1),
        }
        // More than are sent at once, with half of them on each trip.
        let writes: Vec<u64> = (0..24).collect();
        let stored =
            futures_util::future::join_all(writes.iter().map(|value| within(registry.upsert("a", value)))).await;
        let versions: Vec<_> = stored.into_iter().map(|stored| stored.unwrap().version).collect();
        assert!(versions.is_sorted(), "round {round}: {versions:?}");
        assert_eq!(registry.get("a").await.unwrap().unwrap().value, 23);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_server_is_one_overflow_for_each_and_no_version_comes_back() {
    let Some(server) = server() else { return };
    let (one, other) = (open(&server.url()).await, open(&server.url()).await);
    let (registry, writer, store) = (registry(&one), registry(&other), ephemeral(&one));
    let before = registry.upsert("a", &1).await.unwrap();
    store.upsert("a", &1).await.unwrap();
    let mut followers = [
        registry.follow().await.unwrap(),
        registry.follow().key("a").await.unwrap(),
        writer.follow().prefix("b/").await.unwrap(),
    ];
    let mut on_store = store.follow().await.unwrap();
    let parked = async || server.command(&["PUBSUB", "CHANNELS"]).unwrap().items().len();
    until("this process hears wake-ups", async || parked().await > 0).await;
    server.command(&["FLUSHALL"]).unwrap();
    let again = within(writer.upsert("a", &2)).await.unwrap();
    assert!(again.version > before.version);
    assert!(
        matches!(registry.cas("a", before.version, &3).await.unwrap(), Cas::Conflict(Some(found)) if found.version == again.version)
    );
    within(store.upsert("a", &2)).await.unwrap();
    for follower in &mut followers {
        assert_eq!(told(&next(follower).await), "Overflow");
    }
    assert_eq!(told(&next(&mut on_store).await), "Overflow");
    registry.upsert("a", &4).await.unwrap();
    registry.upsert("b/1", &5).await.unwrap();
    store.upsert("a", &6).await.unwrap();
    let mut seen = vec![told(&next(&mut followers[0]).await)];
    while seen.last().unwrap() != "upsert b/1 5" {
        seen.push(told(&next(&mut followers[0]).await));
    }
    assert!(!seen.contains(&"Overflow".to_owned()), "{seen:?}");
    let mut of_a = told(&next(&mut followers[1]).await);
    if of_a == "upsert a 2" {
        of_a = told(&next(&mut followers[1]).await);
    }
    assert_eq!(of_a, "upsert a 4");
    assert_eq!(told(&next(&mut followers[2]).await), "upsert b/1 5");
    let mut of_store = told(&next(&mut on_store).await);
    if of_store == "upsert a 2" {
        of_store = told(&next(&mut on_store).await);
    }
    assert_eq!(of_store, "upsert a 6");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_outlives_outages_without_a_gap() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let follows = registry(&open(&proxy.url()).await);
    let writes = registry(&open(&server.url()).await);
    let mut follower = follows.follow().await.unwrap();
    let count = scale(3_000) as u64;
    let writing = tokio::spawn(async move {
        for value in 0..count {
            writes.upsert(&format!("k{}", value % 7), &value).await.unwrap();
            match value % 60 {
                20 => proxy.cut(),
                30 => proxy.drop_reply_after(1),
                40 => proxy.cut_after_request_bytes(100),
                _ => {}
            }
        }
        proxy
    });
    for value in 0..count {
        assert_eq!(told(&next(&mut follower).await), format!("upsert k{} {value}", value % 7));
    }
    let proxy = within(writing).await.unwrap();
    // An empty result must not hide a broken connection.
    proxy.refuse(true);
    proxy.cut();
    until("the outage is told", async || {
        matches!(within(follower.recv().wait(20 * MS)).await, Err(error) if error.kind() == ErrorKind::Connection || error.kind() == ErrorKind::Timeout)
    })
    .await;
    proxy.refuse(false);
    until("it is served again", async || {
        within(follower.recv().wait(20 * MS)).await.is_ok_and(|event| event.is_none())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_with_its_data_keeps_records_and_cursors() {
    let Some(server) = durable_server() else { return };
    let registry = registry(&open(&server.url()).await);
    let permanent = registry.upsert("permanent", &1).await.unwrap();
    let place = registry.list().await.unwrap().cursor;
    let long = registry.upsert("long", &2).ttl(MINUTE).await.unwrap();
    registry.upsert("short", &3).ttl(MS).await.unwrap();
    let me = registry.register("me", &4).ttl(10 * SECOND).await.unwrap();
    let mut follower = registry.follow().after(&place).await.unwrap();
    assert_eq!(told(&next(&mut follower).await), "upsert long 2");
    server.restart().unwrap();
    let found: BTreeMap<_, _> = within(registry.snapshot())
        .await
        .unwrap()
        .into_entries()
        .map(|entry| (entry.key.clone(), (entry.version, entry.expires_at)))
        .collect();
    assert_eq!(found["permanent"], (permanent.version, None));
    assert_eq!(found["long"], (long.version, long.expires_at));
    assert!(!found.contains_key("short"));
    let mut told_since = Vec::new();
    while told_since.last().is_none_or(|last| last != "touch me") {
        told_since.push(told(&next(&mut follower).await));
    }
    told_since.sort();
    assert_eq!(told_since, ["expire short", "touch me", "upsert me 4", "upsert short 3"]);
    assert_eq!(me.rejoins(), 0, "its record was kept");
    assert!(
        within(registry.cas("permanent", permanent.version, &9)).await.is_ok_and(|cas| matches!(cas, Cas::Swapped(_)))
    );
    let mut again = registry.follow().after(&place).await.unwrap();
    assert_eq!(told(&next(&mut again).await), "upsert long 2", "a cursor from before");
    assert_eq!(within(me.leave()).await.unwrap(), Left::Left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_on_an_emptied_server_joins_again() {
    let Some(server) = server() else { return };
    let registry = registry(&open(&server.url()).await);
    let me = registry.register("me", &1).ttl(5 * SECOND).await.unwrap();
    let before = me.version();
    server.command(&["FLUSHALL"]).unwrap();
    until("it joined again", async || me.rejoins() > 0).await;
    assert!(me.version() > before);
    assert_eq!(registry.get("me").await.unwrap().unwrap().version, me.version());
    // While the server is unreachable the proof runs out in time, but the membership is not lost.
    drop(server);
    until("nothing is proven any more", async || me.valid_for().is_zero()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_and_followers_lose_no_write_at_full_speed() {
    let Some(server) = server() else { return };
    let store = ephemeral(&open(&server.url()).await);
    let count = scale(20_000) as u64;
    let writers: Vec<_> = [open(&server.url()).await, open(&server.url()).await]
        .into_iter()
        .enumerate()
        .map(|(who, tide)| {
            let store = ephemeral(&tide);
            tokio::spawn(async move {
                for part in 0..count / 16 {
                    let writes = (0..16).map(|at| {
                        let value = part * 16 + at;
                        let (key, store) = (format!("{who}/{:03}", value * 31 % 300), store.clone());
                        async move { store.upsert(&key, &value).await.unwrap() }
                    });
                    futures_util::future::join_all(writes).await;
                }
            })
        })
        .collect();
    let mut runs = Vec::new();
    while runs.len() < scale(1_000) || !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let seen = within(store.snapshot()).await.unwrap();
        let follower = store.follow().after(&seen.cursor).await.unwrap();
        runs.push((seen, follower));
    }
    for writer in writers {
        within(writer).await.unwrap();
    }
    let view = |entries: Vec<tidelock::ephemeral::Entry<u64>>| -> BTreeMap<String, (Version, u64)> {
        entries.into_iter().map(|entry| (entry.key, (entry.version, entry.value))).collect()
    };
    let rest = view(within(store.snapshot()).await.unwrap().into_entries().collect());
    for (seen, mut follower) in runs {
        let mut seen = view(seen.into_entries().collect());
        while seen != rest {
            let EventKind::Upsert(entry) = next(&mut follower).await.kind else { panic!("only upserts") };
            seen.insert(entry.key, (entry.version, entry.value));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_that_end_at_once_hold_up_nobody() {
    let Some(server) = server() else { return };
    let count = scale(20_000) as u64;
    let tide = open(&server.url()).await;
    let store: Ephemeral<u64> = tide.ephemeral("e").ttl(4 * SECOND).max_entries(count + 10).build().unwrap();
    let mut follower = store.follow().await.unwrap();
    for part in 0..count / 100 {
        let writes = (0..100).map(|at| store.upsert(&format!("{}", part * 100 + at), &at).into_future());
        futures_util::future::join_all(writes).await.into_iter().for_each(|stored| drop(stored.unwrap()));
    }
    let (mut ended, mut waits) = (0, Vec::new());
    while ended < count {
        if let EventKind::Expire { .. } = next(&mut follower).await.kind {
            ended += 1;
            if ended.is_multiple_of(100) {
                let began = Instant::now();
                assert!(within(store.get("0")).await.unwrap().is_none());
                waits.push(began.elapsed());
            }
        }
    }
    waits.sort_unstable();
    let usual = waits[waits.len() / 2];
    assert!(usual < SECOND, "half of the calls waited {usual:?} and more");
    assert!(within(store.snapshot()).await.unwrap().items.is_empty());
    assert_eq!(keys_without_lifetime(&server), ["tidelock:format"]);
}

/// The other process of the tests below: a member of a registry and a record of an ephemeral store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member() {
    let Ok(url) = std::env::var("TIDELOCK_FAULTS_MEMBER") else { return };
    let tide = open(&url).await;
    let me = registry(&tide).register("me", &1).ttl(3 * SECOND).await.unwrap();
    ephemeral(&tide).upsert("me", &1).ttl(3 * SECOND).await.unwrap();
    let before = me.version();
    println!("member valid {}", !me.valid_for().is_zero());
    let mut line = String::new();
    // A line wakes it; the first thing it checks is what it can still prove.
    std::io::stdin().read_line(&mut line).unwrap();
    let proven = me.valid_for();
    // It may have rejoined before it checked; then it proves the truth again.
    println!("proof {}", proven.is_zero() || me.version() > before);
    until("it joined again", async || me.rejoins() > 0).await;
    println!("rejoined");
    std::future::pending::<()>().await;
}

struct Member {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Member {
    async fn start(server: &Server) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["keyed::member", "--exact", "--nocapture"])
            .env("TIDELOCK_FAULTS_MEMBER", server.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut member = Self { child, said };
        assert_eq!(member.says("member").await, "member valid true");
        member
    }

    async fn says(&mut self, what: &str) -> String {
        within(async {
            loop {
                let line = self.said.next_line().await.unwrap().expect("it says something");
                if let Some(at) = line.find(what) {
                    return line[at..].to_owned();
                }
            }
        })
        .await
    }

    fn signal(&self, signal: &str) {
        let process = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([signal, &process]).status().unwrap();
        assert!(sent.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_killed_process_is_heard_by_all_others() {
    let Some(server) = server() else { return };
    let (one, other) = (open(&server.url()).await, open(&server.url()).await);
    let mut members = [registry(&one).follow().await.unwrap(), registry(&other).follow().await.unwrap()];
    let mut records = [ephemeral(&one).follow().await.unwrap(), ephemeral(&other).follow().await.unwrap()];
    let killed = Member::start(&server).await;
    killed.signal("-KILL");
    for follower in members.iter_mut().chain(&mut records) {
        let mut deadline = None;
        loop {
            let event = next(follower).await;
            match event.kind {
                EventKind::Upsert(entry) => deadline = entry.expires_at,
                EventKind::Touch { expires_at, .. } => deadline = Some(expires_at),
                EventKind::Expire { .. } => {
                    assert_eq!(Some(event.at), deadline);
                    break;
                }
                kind => panic!("{kind:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_proves_nothing_when_it_wakes_and_joins_again() {
    use tokio::io::AsyncWriteExt;

    let Some(server) = server() else { return };
    let registry = registry(&open(&server.url()).await);
    let mut follower = registry.follow().await.unwrap();
    let mut frozen = Member::start(&server).await;
    frozen.signal("-STOP");
    while told(&next(&mut follower).await) != "expire me" {}
    assert!(registry.get("me").await.unwrap().is_none());
    let mut input = frozen.child.stdin.take().unwrap();
    input.write_all(b"look\n").await.unwrap();
    frozen.signal("-CONT");
    assert_eq!(frozen.says("proof").await, "proof true");
    frozen.says("rejoined").await;
    assert_eq!(told(&next(&mut follower).await), "upsert me 1");
    drop(frozen);
    while told(&next(&mut follower).await) != "expire me" {}
}
