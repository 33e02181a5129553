//! The mutex when its server, its connections or other processes fail.

mod late;

use std::collections::HashSet;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, Instant};

use tidelock::mutex::{GrantEnd, Guard, Locked, Mutex, Release};
use tidelock::{DAY, ErrorKind, ManualClock, SECOND, Tidelock, Timestamp};
use tidelock_testkit::{Binary, Flavour, Proxy, Reply, Server, scale};

use crate::stage::{PATIENCE, hasty, open, server, until, within};

const MS: Duration = Duration::from_millis(1);
async fn waiting(mutex: &Mutex, count: u64) {
    until("so many wait", async || mutex.describe("r").await.unwrap().waiting == count).await;
}

fn build(tide: &Tidelock, lease: Duration) -> Mutex {
    tide.mutex("m").lease(lease).wait(PATIENCE).build().unwrap()
}

fn spawn_lock(mutex: &Mutex) -> tokio::task::JoinHandle<tidelock::Result<Guard>> {
    tokio::spawn(mutex.lock_or_err("r").into_future())
}

/// Locks with a mutex whose calls give up soon: on a busy machine, even one that is answered may.
async fn patient_lock(mutex: &Mutex) -> Guard {
    within(async {
        loop {
            match mutex.lock_or_err("r").fixed_lease().await {
                Ok(guard) => return guard,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_server_gives_greater_fences_and_waiters_join_again() {
    let Some(server) = server() else { return };
    let (holder, other) = (open(&server.url()).await, open(&server.url()).await);
    let guard = build(&holder, 6 * SECOND).lock_or_err("r").await.unwrap();
    let mutex = build(&other, 6 * SECOND);
    let waiter = spawn_lock(&mutex);
    waiting(&mutex, 1).await;
    server.command(&["FLUSHALL"]).unwrap();
    assert_eq!(within(guard.lost()).await, GrantEnd::NotOwner);
    let next = within(waiter).await.unwrap().unwrap();
    assert!(next.fence() > guard.fence());
    assert_eq!(guard.release().await.unwrap(), Release::WasLost);
    assert_eq!(next.release().await.unwrap(), Release::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_gives_greater_fences_and_waiters_join_again() {
    let Some(server) = server() else { return };
    let (holder, other) = (open(&server.url()).await, open(&server.url()).await);
    let guard = build(&holder, 6 * SECOND).lock_or_err("r").await.unwrap();
    let mutex = build(&other, 6 * SECOND);
    let waiter = spawn_lock(&mutex);
    waiting(&mutex, 1).await;
    server.restart().unwrap();
    assert_ne!(within(guard.lost()).await, GrantEnd::Finished);
    let next = within(waiter).await.unwrap().unwrap();
    assert!(next.fence() > guard.fence());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_changes_nothing() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (mutex, other) =
        (build(&open(&proxy.url()).await, 10 * SECOND), build(&open(&server.url()).await, 10 * SECOND));
    for _ in 0..5 {
        proxy.drop_reply_after(1);
        let guard = within(mutex.lock_or_err("r").into_future()).await.unwrap();
        // There was only one grant.
        assert_eq!(other.describe("r").await.unwrap().last_fence, Some(guard.fence()));
        let waiter = spawn_lock(&other);
        waiting(&other, 1).await;
        proxy.drop_reply_after(1);
        let release = tokio::spawn(guard.release());
        // Another gets it and releases it, before or after the release is repeated.
        assert_eq!(within(waiter).await.unwrap().unwrap().release().await.unwrap(), Release::Released);
        assert_eq!(within(release).await.unwrap().unwrap(), Release::Released);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_never_lengthens_the_proof() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (mutex, other) = (build(&open(&proxy.url()).await, 8 * SECOND), build(&open(&server.url()).await, 8 * SECOND));
    proxy.latency(500 * MS);
    let guard = within(mutex.lock_or_err("r").into_future()).await.unwrap();
    // Over two renewals: what is proven never exceeds what the server has left.
    let start = Instant::now();
    while start.elapsed() < 7 * SECOND {
        let proven = guard.valid_for();
        let asked = Instant::now();
        let left = other.describe("r").await.unwrap().holder.unwrap().lease_left;
        // A renewal may reach the server in between, but it sets exactly a whole lease.
        assert!(proven <= left + asked.elapsed() || left > 7 * SECOND, "{proven:?} is proven of {left:?}");
        assert!(proven <= 7_420 * MS, "{proven:?}");
    }
    let lost = tokio::spawn(guard.lost());
    let waiter = other.lock_or_err("r").into_future();
    let waiter = tokio::spawn(async move { waiter.await.map(|guard| (guard, Instant::now())) });
    waiting(&other, 1).await;
    // No renewal gets through any more.
    proxy.stall(true);
    // A renewal in flight gets no answer.
    let end = Instant::now() + guard.valid_for();
    assert_eq!(within(lost).await.unwrap(), GrantEnd::Unproven);
    let (_guard, granted) = within(waiter).await.unwrap().unwrap();
    assert!(granted >= end, "it is lost before another has it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_ends_the_proof_in_time() {
    let Some(server) = server() else { return };
    let mutex = build(&open(&server.url()).await, 900 * MS);
    let guard = mutex.lock_or_err("r").await.unwrap();
    let lost = tokio::spawn(guard.lost());
    server.freeze().unwrap();
    let frozen = Instant::now();
    let proven = guard.valid_for();
    assert_eq!(within(lost).await.unwrap(), GrantEnd::Unproven);
    assert!(frozen.elapsed() >= proven.saturating_sub(MS), "not before its time");
    assert!(guard.is_lost() && guard.valid_for().is_zero());
    assert!(!guard.extend(SECOND).await.unwrap(), "without a request");
    server.thaw().unwrap();
    // The backend decides: a request in flight may or may not have renewed the lease.
    within(guard.release()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_delays_the_queue_once() {
    const FROZEN: u64 = 20;
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (holder, frozen, last) = (open(&server.url()).await, open(&proxy.url()).await, open(&server.url()).await);
    let (holder, frozen, last) = (build(&holder, 60 * SECOND), build(&frozen, 60 * SECOND), build(&last, 60 * SECOND));
    let guard = holder.lock_or_err("r").await.unwrap();
    let mut slow = Vec::new();
    for count in 1..=FROZEN {
        slow.push(spawn_lock(&frozen));
        waiting(&holder, count).await;
    }
    let waiter = spawn_lock(&last);
    waiting(&holder, FROZEN + 1).await;
    proxy.stall(true);
    let released = Instant::now();
    guard.release().await.unwrap();
    let guard = within(waiter).await.unwrap().unwrap();
    assert!(released.elapsed() >= 490 * MS, "an offer stands for 500 ms");
    // One delay for each would be ten seconds.
    assert!(released.elapsed() < 8 * SECOND, "{FROZEN} waiters, one delay: {:?}", released.elapsed());
    assert_eq!(holder.describe("r").await.unwrap().waiting, 0);
    // Thawed, all of them join again, and are served.
    proxy.stall(false);
    waiting(&holder, FROZEN).await;
    guard.release().await.unwrap();
    // The order in which they join is not fixed.
    let turns = slow.into_iter().map(async |waiter| waiter.await.unwrap().unwrap().release().await.unwrap());
    let ends = within(futures_util::future::join_all(turns)).await;
    assert!(ends.iter().all(|end| *end == Release::Released), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_gone_delays_nobody() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (holder, last) = (open(&server.url()).await, open(&server.url()).await);
    let (holder, last) = (build(&holder, 60 * SECOND), build(&last, 60 * SECOND));
    let guard = holder.lock_or_err("r").await.unwrap();
    let mut dead = Vec::new();
    for count in 1..=10 {
        dead.push(spawn_lock(&build(&open(&proxy.url()).await, 60 * SECOND)));
        waiting(&holder, count).await;
    }
    let waiter = spawn_lock(&last);
    waiting(&holder, 11).await;
    // What a kill looks like from the server: all connections end, and none comes back.
    proxy.refuse(true);
    proxy.cut();
    until("the server has noticed", async || pubsub_channels(&server) == 2).await;
    let released = Instant::now();
    guard.release().await.unwrap();
    drop(within(waiter).await.unwrap().unwrap());
    // A claim window for each would be five seconds.
    assert!(released.elapsed() < 3 * SECOND, "ten processes are gone: {:?}", released.elapsed());
    dead.iter().for_each(tokio::task::JoinHandle::abort);
}

fn pubsub_channels(server: &Server) -> usize {
    server.command(&["PUBSUB", "CHANNELS"]).unwrap().items().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_acquired_is_never_said_without_an_answer() {
    let Some(server) = server() else { return };
    let (holder, tide) = (open(&server.url()).await, hasty(&server.url(), SECOND).await);
    let (holder, mutex) = (build(&holder, 60 * SECOND), build(&tide, 60 * SECOND));
    let _guard = holder.lock_or_err("r").await.unwrap();
    let waiter = tokio::spawn(mutex.lock("r").timeout(5 * SECOND).into_future());
    waiting(&holder, 1).await;
    server.kill();
    let error = within(waiter).await.unwrap().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout), "{error}");
    let error = within(mutex.try_lock("r").into_future()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    server.restart().unwrap();
    drop(within(mutex.lock_or_err("r").into_future()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_is_asked_again() {
    for flavour in [Flavour::Redis62, Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { return };
        let server = Server::start(&binary).expect("a server starts");
        let tide = open(&server.url()).await;
        let mutex = build(&tide, 60 * SECOND);
        let held = mutex.lock_or_err("held").await.unwrap();
        server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap();
        let waiter = spawn_lock(&mutex);
        let publish = tokio::spawn(tide.topic::<u32>("t").build().unwrap().publish(&1).into_future());
        let refused = || {
            let stats = server.command(&["INFO", "commandstats"]).unwrap();
            let failed =
                stats.field("cmdstat_evalsha").and_then(|line| line.rsplit_once("failed_calls=")?.1.parse().ok());
            failed.unwrap_or(0)
        };
        until("both were refused", async || refused() >= 4).await;
        // A request that needs no write is answered all the same.
        assert!(within(mutex.try_lock("held").into_future()).await.unwrap().is_none());
        server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).unwrap();
        within(publish).await.unwrap().unwrap();
        let guard = within(waiter).await.unwrap().unwrap();
        assert_eq!(
            (guard.release().await.unwrap(), held.release().await.unwrap()),
            (Release::Released, Release::Released)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_replaced_however_long_locks_wait() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = hasty(&proxy.url(), 1_500 * MS).await;
    let mutex = build(&tide, 60 * SECOND);
    let before = proxy.connections();
    proxy.stall(true);
    let waiters: Vec<_> = ["one", "two", "three"]
        .map(|resource| tokio::spawn(mutex.lock_or_err(resource).timeout(600 * SECOND).into_future()))
        .into();
    until("another connection is tried", async || proxy.connections() > before).await;
    proxy.stall(false);
    for waiter in waiters {
        assert_eq!(within(waiter).await.unwrap().unwrap().release().await.unwrap(), Release::Released);
    }
}

/// Of the requests on one trip, each gives up at its own time.
#[tokio::test]
async fn who_waits_longer_goes_on_without_those_who_gave_up() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = hasty(&proxy.url(), 300 * MS).await;
    let mutex = build(&tide, 60 * SECOND);
    proxy.stall(true);
    let (hasty, patient) = (mutex.try_lock("hasty").into_future(), mutex.lock_or_err("patient").into_future());
    let (mut hasty, mut patient) = (Box::pin(hasty), Box::pin(patient));
    // In one poll on this single thread, so that both are there when the trip leaves.
    let first = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            biased;
            outcome = &mut hasty => outcome,
            outcome = &mut patient => panic!("nobody answers, but it is {outcome:?}"),
        }
    });
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    proxy.stall(false);
    assert_eq!(within(within(patient).await.unwrap().release()).await.unwrap(), Release::Released);
    // What it asked for may have reached the server, and is given back.
    until("it is free", async || mutex.describe("hasty").await.unwrap().holder.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_without_a_server_is_made_up_for() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = hasty(&proxy.url(), 100 * MS).await;
    let (mutex, other) = (build(&tide, 600 * SECOND), build(&open(&server.url()).await, SECOND));
    for by_drop in [false, true] {
        let guard = patient_lock(&mutex).await;
        let waiter = spawn_lock(&other);
        waiting(&other, 1).await;
        proxy.refuse(true);
        proxy.cut();
        if by_drop {
            drop(guard);
        } else {
            within(guard.release()).await.unwrap_err();
        }
        proxy.refuse(false);
        within(waiter).await.unwrap().unwrap().release().await.unwrap();
        until("the connection is back", async || mutex.describe("r").await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_expires_an_hour_after_its_last_use() {
    let Some(server) = server() else { return };
    let tide = open(&server.url()).await;
    let mutex = build(&tide, 10 * SECOND);
    let guard = mutex.lock_or_err("r").await.unwrap();
    let waiter = spawn_lock(&mutex);
    waiting(&mutex, 1).await;
    let lives = |suffix: &str| {
        let key = format!("tidelock:{{mutex/default/m/r}}:{suffix}");
        server.command(&["PTTL", &key]).unwrap().int().unwrap()
    };
    for key in ["lock", "queue"] {
        assert!((3_600_000..=3_615_000).contains(&lives(key)), "{key} lives for {}", lives(key));
    }
    guard.release().await.unwrap();
    within(waiter).await.unwrap().unwrap().release().await.unwrap();
    for key in ["lock", "released"] {
        assert!((3_590_000..=3_600_000).contains(&lives(key)), "{key} lives for {}", lives(key));
    }
    let Reply::List(keys) = server.command(&["KEYS", "*mutex*"]).unwrap() else { panic!("a list of keys") };
    assert_eq!(keys.len(), 2, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_waiters_ask_once_in_five_seconds_and_have_no_connection_of_their_own() {
    let Some(server) = server() else { return };
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let tide = Tidelock::connect(&server.url()).clock(&clock).await.unwrap();
    let mutex = tide.mutex("m").lease(DAY).wait(DAY).fixed_lease().build().unwrap();
    let resources: Vec<_> = (0..scale(1_000)).map(|number| number.to_string()).collect();
    let mut guards = Vec::new();
    for resource in &resources {
        guards.push(mutex.lock_or_err(resource).await.unwrap());
    }
    for resource in &resources {
        tokio::spawn(mutex.lock(resource).into_future());
        until("it waits", async || mutex.describe(resource).await.unwrap().waiting == 1).await;
    }
    let count = resources.len() as u64;
    for _ in 0..5 {
        let before = scripts_run(&server);
        clock.advance(5 * SECOND);
        until("all have asked", async || scripts_run(&server) >= before + count).await;
        assert_eq!(scripts_run(&server), before + count);
    }
    let clients = server.command(&["INFO", "clients"]).unwrap();
    // Two are ours; the third asks here.
    assert_eq!(clients.field("connected_clients").and_then(|count| count.parse().ok()), Some(3));
}

/// How many scripts the server has run by hash.
fn scripts_run(server: &Server) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]).unwrap();
    let calls = stats.field("cmdstat_evalsha").and_then(|line| line.strip_prefix("calls=")?.split(',').next());
    calls.and_then(|calls| calls.parse().ok()).expect("scripts have run")
}

/// What a holder saw: its fence, and the interval in which it could prove that it held.
struct Section {
    fence: u64,
    from: Instant,
    to: Instant,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contenders_never_overlap() {
    let Some(server) = server() else { return };
    let (sections, mut tasks, mut proxies) = (Arc::new(StdMutex::new(Vec::new())), Vec::new(), Vec::new());
    let rounds = scale(100);
    for number in 0..20_u32 {
        let proxy = Arc::new(Proxy::start(server.port()).await.unwrap());
        let mutex = build(&open(&proxy.url()).await, (100 + number * 5) * MS);
        proxy.latency((number % 4) * 10 * MS);
        let (sections, cutter) = (Arc::clone(&sections), Arc::clone(&proxy));
        proxies.push(proxy);
        tasks.push(tokio::spawn(async move {
            for round in 0..rounds {
                let Ok(Locked::Guard(guard)) = mutex.lock("r").await else { continue };
                // The interval is measured, since a guard can be lost before the first check.
                let mut held = None;
                // Some release at once, some only when they can prove nothing any more.
                let until_lost = fastrand::u8(..8) == 0;
                loop {
                    // Held at an instant after which it can still be proven.
                    let instant = Instant::now();
                    if guard.valid_for().is_zero() {
                        break;
                    }
                    let (from, _) = *held.get_or_insert((instant, instant));
                    held = Some((from, instant));
                    if !until_lost && instant.duration_since(from) > 5 * MS {
                        break;
                    }
                    if until_lost && fastrand::u8(..200) == 0 {
                        cutter.stall(true);
                    }
                    tokio::task::yield_now().await;
                }
                if let Some((from, to)) = held {
                    sections.lock().unwrap().push(Section { fence: guard.fence(), from, to });
                }
                if round % 3 == 0 {
                    cutter.cut();
                }
                cutter.stall(false);
                drop(guard);
            }
        }));
    }
    for task in tasks {
        tokio::time::timeout(10 * PATIENCE, task).await.expect("it ends").unwrap();
    }
    let mut sections = sections.lock().unwrap();
    sections.sort_by_key(|section| section.from);
    let fences: HashSet<_> = sections.iter().map(|section| section.fence).collect();
    assert_eq!(fences.len(), sections.len(), "each grant has a fence of its own");
    for pair in sections.windows(2) {
        assert!(pair[0].to <= pair[1].from, "two holders at once: {} and {}", pair[0].fence, pair[1].fence);
        assert!(pair[0].fence < pair[1].fence, "a fence fell: {} and {}", pair[0].fence, pair[1].fence);
    }
    assert!(sections.len() >= rounds, "the test did something: {}", sections.len());
}
