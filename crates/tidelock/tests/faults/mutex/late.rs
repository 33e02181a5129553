//! Requests and answers that arrive late, or not at all while a lease runs out.

use super::*;

/// Waits for this much time: a grant of that length ends, on a healthy server.
async fn passes(server: &Server, lease: Duration) {
    let mutex = open(&server.url()).await.mutex("time").fixed_lease().lease(lease).build().unwrap();
    let guard = mutex.try_lock(&fastrand::u64(..).to_string()).await.unwrap().expect("nobody has it");
    assert_eq!(within(guard.lost()).await, GrantEnd::Unproven);
}

/// A mutex behind a proxy whose scripts are loaded, and another that is always answered.
async fn stage(server: &Server, proxy: &Proxy, lease: Duration) -> (Mutex, Mutex) {
    let mutex = build(&hasty(&proxy.url(), 300 * MS).await, lease);
    until("its scripts are there", async || {
        let Ok(guard) = mutex.lock_or_err("warm").await else { return false };
        guard.extend(lease).await.is_ok() && guard.release().await.is_ok()
    })
    .await;
    (mutex, build(&open(&server.url()).await, lease))
}

async fn is_free(mutex: &Mutex) {
    until("it is free", async || mutex.describe("r").await.unwrap().holder.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_over_an_outage_longer_than_its_lease_is_live() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let mutex = build(&open(&proxy.url()).await, 3 * SECOND);
    proxy.stall(true);
    let asked = spawn_lock(&mutex);
    passes(&server, 4 * SECOND).await;
    proxy.stall(false);
    let guard = within(asked).await.unwrap().unwrap();
    assert!(!guard.is_lost() && guard.valid_for() > 500 * MS, "{:?}", guard.valid_for());
    // It is renewed.
    passes(&server, 4 * SECOND).await;
    assert!(!guard.is_lost());
    assert_eq!(guard.release().await.unwrap(), Release::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_told_after_an_outage_longer_than_its_lease_is_live() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let mutex = build(&open(&proxy.url()).await, 60 * SECOND);
    let guard = mutex.lock_or_err("r").await.unwrap();
    let next = tokio::spawn(mutex.lock_or_err("r").lease(3 * SECOND).into_future());
    waiting(&mutex, 1).await;
    proxy.stall(true);
    let release = tokio::spawn(guard.release());
    passes(&server, 4 * SECOND).await;
    proxy.stall(false);
    let next = within(next).await.unwrap().unwrap();
    assert!(!next.is_lost() && next.valid_for() > 500 * MS, "{:?}", next.valid_for());
    assert_eq!(within(release).await.unwrap().unwrap(), Release::Released);
    assert_eq!(next.release().await.unwrap(), Release::Released);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_that_nobody_heard_of_is_given_back_however_long_that_takes() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (mutex, other) = stage(&server, &proxy, 600 * SECOND).await;
    proxy.refuse(true);
    proxy.drop_reply_after(1);
    let error = within(mutex.try_lock("r").into_future()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(other.describe("r").await.unwrap().holder.is_some());
    // Longer than any request is repeated on its own.
    passes(&server, SECOND).await;
    proxy.refuse(false);
    is_free(&other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_repeated_as_long_as_an_extension_may_have_made_the_lease() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let (mutex, other) = stage(&server, &proxy, 2 * SECOND).await;
    let guard = patient_lock(&mutex).await;
    proxy.refuse(true);
    proxy.drop_reply_after(1);
    within(guard.extend(600 * SECOND)).await.unwrap_err();
    within(guard.release()).await.unwrap_err();
    passes(&server, 3 * SECOND).await;
    assert!(other.describe("r").await.unwrap().holder.is_some());
    proxy.refuse(false);
    is_free(&other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_that_shortens_may_be_carried_out_before_its_answer() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = Tidelock::connect(&proxy.url()).request_timeout(60 * SECOND).await.unwrap();
    let guard = build(&tide, 60 * SECOND).lock_or_err("r").await.unwrap();
    proxy.stall(true);
    let lost = guard.lost();
    tokio::select! {
        answer = guard.extend(SECOND) => panic!("no answer comes through, and {answer:?} came"),
        end = within(lost) => assert_eq!(end, GrantEnd::Unproven),
    }
    assert!(guard.valid_for().is_zero());
    proxy.stall(false);
}

#[tokio::test]
async fn an_extension_behind_one_that_came_too_late_is_not_sent() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let tide = Tidelock::connect(&proxy.url()).clock(&clock).await.unwrap();
    let mutex = tide.mutex("m").lease(10 * SECOND).fixed_lease().build().unwrap();
    let guard = mutex.lock_or_err("r").await.unwrap();
    proxy.stall(true);
    let late = async {
        // The server has 50 ms more, and then what the first request set.
        clock.advance(9_950 * MS);
        assert!(guard.is_lost());
        proxy.stall(false);
    };
    // First polled in this order.
    let both = async { tokio::join!(guard.extend(100 * SECOND), guard.extend(600 * SECOND), late) };
    let (first, second, ()) = within(both).await;
    assert_eq!((first.unwrap(), second.unwrap()), (false, false));
    assert_eq!(mutex.describe("r").await.unwrap().holder.unwrap().lease_left, 90_050 * MS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_stays_in_front_when_a_record_is_evicted() {
    let Some(server) = server() else { return };
    let (tide, late) = (open(&server.url()).await, open(&server.url()).await);
    let (mutex, late) = (build(&tide, 60 * SECOND), build(&late, 60 * SECOND));
    let _gone = mutex.lock_or_err("r").await.unwrap();
    let mut turns = Vec::new();
    for count in 1..=3 {
        turns.push(spawn_lock(&mutex));
        waiting(&mutex, count).await;
    }
    server.command(&["DEL", "tidelock:{mutex/default/m/r}:lock"]).unwrap();
    let newcomer = spawn_lock(&late);
    waiting(&mutex, 3).await;
    let mut fences = Vec::new();
    for turn in turns.into_iter().chain([newcomer]) {
        let guard = within(turn).await.unwrap().unwrap();
        fences.push(guard.fence());
        guard.release().await.unwrap();
    }
    assert!(fences.is_sorted(), "{fences:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_that_the_server_forgot_and_cannot_take_back_are_no_hot_loop() {
    let Some(server) = server() else { return };
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let tide = Tidelock::connect(&server.url()).clock(&clock).await.unwrap();
    let mutex = tide.mutex("m").lease(DAY).wait(DAY).fixed_lease().build().unwrap();
    let _guard = mutex.lock_or_err("r").await.unwrap();
    let waiter = tokio::spawn(mutex.lock("r").into_future());
    waiting(&mutex, 1).await;
    // Which keys exist does not matter here, but the server must accept no writes.
    server.command(&["DEL", "tidelock:{mutex/default/m/r}:lock", "tidelock:{mutex/default/m/r}:queue"]).unwrap();
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).unwrap();
    let answered = || {
        let stats = server.command(&["INFO", "commandstats"]).unwrap();
        let line = stats.field("cmdstat_evalsha").unwrap();
        let field = |name| line.split(',').find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok()).unwrap();
        field("calls=") - field("failed_calls=")
    };
    let before = answered();
    clock.advance(5 * SECOND);
    until("it has asked", async || answered() > before).await;
    let before = answered();
    for _ in 0..500 {
        mutex.describe("other").await.unwrap();
    }
    let asked = answered() - before - 500;
    // It asks with pauses, of which a slow machine sees more; without them it would ask as often as this test.
    assert!(asked <= 50, "asked {asked} times in the time of 500 questions");
    waiter.abort();
}
