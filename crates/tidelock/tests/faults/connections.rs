//! Connections that are refused, silent, cut, or whose runtime is shut down; and what happens to waiting calls.

use std::time::{Duration, Instant};

use tidelock::mutex::Mutex;
use tidelock::{ErrorKind, Queue, Registry, Tidelock};
use tidelock_testkit::{Binary, Cluster, Flavour, Proxy, free_port};

use crate::stage::{hasty, open, server, until, within};

const MS: Duration = Duration::from_millis(1);

fn queue(tide: &Tidelock, id: &str) -> Queue<u64> {
    tide.queue(id).build().expect("the defaults are good")
}

/// Waiting calls are told that the outcome is unknown, not that there is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_link_is_no_empty_queue_and_no_held_lock() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = hasty(&proxy.url(), 500 * MS).await;
    let watcher = open(&server.url()).await.mutex("m").build().unwrap();
    let guard = within(watcher.try_lock("r")).await.unwrap().expect("it is free");
    let (queue, mutex) = (queue(&tide, "q"), tide.mutex("m").build().unwrap());
    let wait = Duration::from_secs(5);
    let receiving = tokio::spawn(queue.recv().wait(wait).into_future());
    let locking = tokio::spawn(mutex.lock("r").timeout(wait).into_future());
    until("both wait", async || {
        let parked = server.command(&["ZCARD", "tidelock:{queue/default/q}:parked"]).unwrap().int();
        parked == Some(1) && watcher.describe("r").await.unwrap().waiting == 1
    })
    .await;
    proxy.stall(true);
    let received = within(receiving).await.unwrap().expect_err("nobody can know");
    let locked = within(locking).await.unwrap().expect_err("nobody can know");
    assert!(received.is_retryable() && locked.is_retryable(), "{received} {locked}");
    proxy.stall(false);
    drop(guard);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_replaced_however_short_the_calls() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let queue = queue(&hasty(&proxy.url(), 100 * MS).await, "q");
    until("it is served", async || queue.send(&1).await.is_ok()).await;
    let before = proxy.connections();
    proxy.stall(true);
    until("another connection is tried", async || {
        assert_eq!(within(queue.send(&2)).await.map_err(|error| error.is_retryable()).err(), Some(true));
        proxy.connections() > before
    })
    .await;
    proxy.stall(false);
    until("it is served again", async || queue.send(&3).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_connection_is_replaced_however_long_the_calls() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let queue = queue(&hasty(&proxy.url(), Duration::from_mins(10)).await, "q");
    queue.send(&1).await.unwrap();
    let before = proxy.connections();
    proxy.stall(true);
    let sending = tokio::spawn(queue.send(&2).into_future());
    let silent = Instant::now();
    until("another connection is tried", async || proxy.connections() > before).await;
    // An idle connection would be checked after twenty seconds.
    assert!(silent.elapsed() < Duration::from_secs(15), "{:?}", silent.elapsed());
    assert!(!sending.is_finished());
    proxy.stall(false);
    within(sending).await.unwrap().unwrap();
    assert_eq!(queue.stats().await.unwrap().accepted, 2, "it was sent twice and took effect once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_keeps_its_connection() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = hasty(&proxy.url(), 100 * MS).await;
    let before = proxy.connections();
    proxy.latency(500 * MS);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        assert_eq!(within(tide.ping()).await.map_err(|error| error.kind()).err(), Some(ErrorKind::Timeout));
    }
    assert_eq!(proxy.connections(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_under_many_calls_is_replaced_once() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = open(&proxy.url()).await;
    let before = proxy.connections();
    for round in 1..=10 {
        proxy.stall(true);
        let calls = (0..50).map(|id| tokio::spawn(queue(&tide, &id.to_string()).send(&1).into_future()));
        let calls: Vec<_> = calls.collect();
        proxy.cut();
        proxy.stall(false);
        for call in calls {
            within(call).await.unwrap().unwrap();
        }
        // One for requests, one for wake-ups; on a busy machine, an attempt may time out and be repeated.
        let made = proxy.connections() - before;
        assert!((2 * round..3 * round).contains(&made), "{made} connections in {round} rounds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_whose_connection_is_lost_never_ends_with_nothing() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = hasty(&proxy.url(), 300 * MS).await;
    let queue = queue(&tide, "q");
    let registry: Registry<u64> = tide.registry("r").build().unwrap();
    let mut follower = loop {
        // On a busy machine, the first answer may come too late.
        if let Ok(follower) = registry.follow().await {
            break follower;
        }
    };
    let wait = Duration::from_secs(3);
    let received = tokio::spawn(queue.recv().wait(wait).into_future());
    let followed = tokio::spawn(async move { follower.recv().wait(wait).await });
    let parked = || server.command(&["KEYS", "*parked*"]).unwrap().items().len();
    until("both wait", async || parked() == 2).await;
    proxy.refuse(true);
    proxy.cut();
    let error = within(received).await.unwrap().expect_err("nobody can be asked");
    assert!(error.is_retryable(), "{error}");
    let error = within(followed).await.unwrap().expect_err("nobody can be asked");
    assert!(error.is_retryable(), "{error}");
}

#[test]
fn another_runtime_keeps_the_connections_when_theirs_is_shut_down() {
    let Some(server) = server() else { return };
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = runtime();
    let tide = first.block_on(open(&server.url()));
    let queue = queue(&tide, "q");
    first.block_on(queue.send(&1).into_future()).unwrap();
    drop(first);
    let second = runtime();
    second.block_on(within(queue.send(&2))).unwrap();
    assert!(second.block_on(within(queue.recv())).unwrap().is_some());
    drop(second);
    // A request that is never repeated needs a connection at once, and soon finds one.
    let third = runtime();
    third.block_on(async {
        let api = tide.ratelimit("api").limit(tidelock::ratelimit::Limit::per_day(9)).build().unwrap();
        until("it is answered", async || api.check("x").await.is_ok()).await;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_after_a_shutdown_is_refused_at_once() {
    let Some(server) = server() else { return };
    let tide = open(&server.url()).await;
    let mutex: Mutex = tide.mutex("m").build().unwrap();
    let guard = mutex.lock_or_err("r").await.unwrap();
    let delivery = {
        let queue = queue(&tide, "q");
        queue.send(&1).await.unwrap();
        queue.recv().await.unwrap().unwrap()
    };
    within(tide.shutdown(Duration::ZERO)).await;
    let start = Instant::now();
    if let Err(error) = within(guard.release()).await {
        assert_eq!(error.kind(), ErrorKind::ShuttingDown, "{error}");
    }
    if let Err(error) = within(delivery.ack()).await {
        assert_eq!(error.kind(), ErrorKind::ShuttingDown, "{error}");
    }
    // No request is repeated for its full five seconds.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_found_by_any_of_its_named_nodes() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let cluster = Cluster::start(&binary, 3).unwrap();
    let url = format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", free_port().unwrap(), cluster.node(2).port());
    let tide = within(Tidelock::connect(&url)).await.expect("the second is there");
    for id in 0..20 {
        queue(&tide, &id.to_string()).send(&1).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_has_moved_is_found_by_its_named_nodes() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let cluster = Cluster::start(&binary, 1).unwrap();
    let node = cluster.node(0);
    let lives_at = |proxy: &Proxy| {
        let port = proxy.port().to_string();
        node.command(&["CONFIG", "SET", "cluster-announce-port", &port]).unwrap();
    };
    let before = Proxy::start(node.port()).await.unwrap();
    lives_at(&before);
    let queue = queue(&open(&cluster.url()).await, "q");
    queue.send(&1).await.unwrap();
    assert!(before.open_connections() > 0, "the node tells where it is");
    let after = Proxy::start(node.port()).await.unwrap();
    lives_at(&after);
    drop(before);
    until("it is found", async || queue.send(&2).await.is_ok()).await;
    assert!(after.open_connections() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_away_keeps_nobody_from_the_others() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let cluster = Cluster::start_with(&binary, 3, |node| node.config("cluster-require-full-coverage no")).unwrap();
    drop(open(&cluster.url()).await);
    cluster.node(2).kill();
    let tide = hasty(&cluster.url(), 500 * MS).await;
    let mut served = 0;
    for id in 0..20 {
        match within(queue(&tide, &id.to_string()).send(&1)).await {
            Ok(_) => served += 1,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    assert!(served > 5, "{served}");
    cluster.node(2).restart().unwrap();
    let queues: Vec<_> = (0..20).map(|id| queue(&tide, &id.to_string())).collect();
    for queue in queues {
        until("all are served", async || queue.send(&2).await.is_ok()).await;
    }
}
