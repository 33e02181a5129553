//! The queue when its server, its connections or other processes fail.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tidelock::{Backoff, Delivery, ErrorKind, ManualClock, Queue, Removed, Tidelock, Timestamp};
use tidelock_testkit::{Binary, Flavour, Proxy, Reply, Sentinel, Server, scale};

use crate::stage::{Other, account, durable_server, hasty, keys_without_lifetime, open, server, until, within};

const MS: Duration = Duration::from_millis(1);
const WAIT: Duration = Duration::from_secs(30);

fn queue(tide: &Tidelock, lease: Duration) -> Queue<u64> {
    tide.queue("q").lease(lease).build().expect("the options are good")
}

/// Takes and acks everything; returns how often each value came.
async fn drain(queue: &Queue<u64>) -> HashMap<u64, usize> {
    let mut seen = HashMap::new();
    loop {
        let stats = within(queue.stats()).await.unwrap();
        if stats.ready + stats.delayed + stats.leased == 0 {
            return seen;
        }
        if let Some(delivery) = within(queue.recv().wait(100 * MS)).await.unwrap() {
            *seen.entry(**delivery).or_default() += 1;
            within(delivery.ack()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_makes_no_second_message_and_acks_stay_true() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let queue = queue(&open(&proxy.url()).await, WAIT);
    let count = scale(1_000) as u64;
    let mut ids = HashSet::new();
    for value in 0..count {
        proxy.drop_reply_after(1);
        let sent = within(queue.send(&value)).await.unwrap();
        assert!(!sent.duplicate && ids.insert(sent.id), "{sent:?}");
    }
    assert_eq!(queue.stats().await.unwrap().accepted, count);
    for expected in 0..count {
        proxy.drop_reply_after(1);
        let delivery = within(queue.try_recv()).await.unwrap().expect("it is there");
        assert_eq!((**delivery, delivery.attempt()), (expected, 1));
        proxy.drop_reply_after(1);
        assert!(within(delivery.ack()).await.unwrap(), "an ack whose reply was lost is done");
    }
    account(&queue, &server).await;
}

/// Access is revoked while the outcome of a call is unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_after_a_lost_reply_does_not_tell_that_nothing_was_done() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let sender = queue(&open(&proxy.url()).await, WAIT);
    within(sender.send(&1)).await.unwrap();
    proxy.refuse(true);
    proxy.drop_reply_after(1);
    let sending = tokio::spawn(sender.clone().send(&2).into_future());
    until("the reply is lost", async || proxy.open_connections() == 0).await;
    server.command(&["CONFIG", "SET", "requirepass", "secret"]).unwrap();
    proxy.refuse(false);
    let error = within(sending).await.unwrap().expect_err("nobody knows");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.to_string().contains("NOAUTH"), "{error}");
    let mut connection = tidelock_testkit::Connection::open(server.port()).unwrap();
    connection.command(&["AUTH", "secret"]).unwrap();
    connection.command(&["CONFIG", "SET", "requirepass", ""]).unwrap();
    let fresh = queue(&open(&server.url()).await, WAIT);
    assert_eq!(within(fresh.stats()).await.unwrap().accepted, 2, "it was done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dedup_records_of_windows_that_are_over_do_not_add_up() {
    let Some(server) = server() else { return };
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let tide = Tidelock::connect(&server.url()).clock(&clock).await.unwrap();
    let queue = queue(&tide, WAIT);
    let records = || server.command(&["HLEN", "tidelock:{queue/default/q}:dedup"]).unwrap().int().unwrap();
    for batch in 0..100 {
        let keys: Vec<_> = (0..100).map(|item| format!("{batch}/{item}")).collect();
        let item = |key| queue.send(&1).dedup_key(key).dedup_for(1_000 * MS);
        within(queue.send_many(keys.iter().map(|key| item(key)))).await.unwrap();
        clock.advance(100 * MS);
    }
    // A window and a second are twenty batches. If as many records go as come, half of those sampled are over.
    assert!((2_000..6_000).contains(&records()), "{}", records());
    clock.advance(2_000 * MS);
    within(queue.send(&1).dedup_key("last").dedup_for(1_000 * MS)).await.unwrap();
    assert!(records() < 6_000);
    clock.advance(10_000 * MS);
    within(queue.send(&1).dedup_key("very last").dedup_for(1_000 * MS)).await.unwrap();
    assert_eq!(records(), 1, "all windows were over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_to_a_server_that_is_away_end_with_the_first_of_them() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = hasty(&proxy.url(), TIMEOUT).await;
    let queue = queue(&tide, WAIT);
    within(queue.send(&0)).await.unwrap();
    proxy.refuse(true);
    proxy.cut();
    within(queue.send(&0)).await.unwrap_err();
    let start = Instant::now();
    let values: Vec<u64> = (0..64).collect();
    let sends = futures_util::future::join_all(values.iter().map(|value| within(queue.send(value)))).await;
    assert!(sends.iter().all(Result::is_err), "the server is away");
    // Those that came before the first trip left, and all others on the next; in halves it would be five trips.
    assert!(start.elapsed() < TIMEOUT * 9 / 2, "{:?}", start.elapsed());
}

#[test]
fn a_runtime_that_is_shut_down_under_a_trip_leaves_the_object_to_others() {
    let Some(server) = server() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (proxy, queue) = runtime.block_on(async {
        let proxy = Proxy::start(server.port()).await.unwrap();
        let queue = queue(&open(&proxy.url()).await, WAIT);
        within(queue.send(&0)).await.unwrap();
        (proxy, queue)
    });
    proxy.stall(true);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    other.block_on(async {
        let turns = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            sent = queue.send(&1).into_future() => panic!("nothing passes: {sent:?}"),
            () = turns => {}
        }
    });
    drop(other);
    proxy.stall(false);
    runtime.block_on(within(queue.send(&2))).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_any_byte_loses_nothing() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = Tidelock::connect(&proxy.url()).await.unwrap();
    let cut = queue(&tide, 200 * MS);
    let witness = queue(&open(&server.url()).await, 200 * MS);
    let count = scale(600) as u64;
    for value in 0..count {
        witness.send(&value).await.unwrap();
    }
    for at in 0..scale(600) {
        // Somewhere within the take or the ack that follow, each of about 900 bytes.
        proxy.cut_after_request_bytes(at * 10 * 600 / scale(600) % 2_000 + 1);
        if let Ok(Some(delivery)) = within(cut.recv().wait(50 * MS)).await {
            within(delivery.ack()).await.unwrap();
        }
    }
    drain(&witness).await;
    let stats = witness.stats().await.unwrap();
    assert_eq!((stats.accepted, stats.settled, stats.dead), (count, count, 0));
    account(&witness, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_scripts_are_loaded_again() {
    let Some(server) = server() else { return };
    let queue = queue(&open(&server.url()).await, WAIT);
    for value in 0..20 {
        queue.send(&value).await.unwrap();
        server.command(&["SCRIPT", "FLUSH"]).unwrap();
        let delivery = queue.try_recv().await.unwrap().expect("it is there");
        server.command(&["SCRIPT", "FLUSH"]).unwrap();
        assert!(delivery.ack().await.unwrap());
    }
    account(&queue, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_with_its_data_has_lost_nothing() {
    let Some(server) = durable_server() else { return };
    let queue = queue(&open(&server.url()).await, 300 * MS);
    for value in 0..50 {
        queue.send(&value).await.unwrap();
    }
    let held = queue.try_recv().await.unwrap().expect("it is there");
    let waiting = tokio::spawn(queue.recv().wait(WAIT).into_future());
    let also = within(waiting).await.unwrap().unwrap().expect("it is there");
    server.restart().unwrap();
    assert!(within(also.ack()).await.is_ok());
    let seen = drain(&queue).await;
    assert!(seen.contains_key(&**held), "a lease ran out over the restart");
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.accepted, stats.settled), (50, 50));
    account(&queue, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_server_repeats_no_number_and_serves_those_who_wait() {
    let Some(server) = server() else { return };
    let queue = queue(&open(&server.url()).await, WAIT);
    let first = queue.send(&1).await.unwrap();
    let held = queue.try_recv().await.unwrap().expect("it is there");
    let waiting = tokio::spawn(queue.recv().wait(WAIT).into_future());
    until("the receiver waits", async || server.command(&["KEYS", "*parked*"]).unwrap().items().len() == 1).await;
    server.command(&["FLUSHALL"]).unwrap();
    let second = within(queue.send(&2)).await.unwrap();
    assert!(second.id > first.id);
    let delivery = within(waiting).await.unwrap().unwrap().expect("the waiter was served");
    assert_eq!(**delivery, 2);
    assert!(delivery.fence() > held.fence());
    assert!(!held.ack().await.unwrap(), "a receipt from before settles nothing");
    assert!(delivery.ack().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_outlives_outages_and_finishes_everything() {
    let Some(server) = durable_server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = open(&proxy.url()).await;
    let queue = queue(&tide, 500 * MS);
    let count = scale(3_000) as u64;
    let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
    let worker = queue
        .process(move |message| {
            let done = done.clone();
            async move {
                done.send(*message).map_err(|error| error.to_string())?;
                Ok(())
            }
        })
        .concurrency(8)
        .backoff(Backoff::fixed(10 * MS))
        .spawn();
    let witness = self::queue(&open(&server.url()).await, WAIT);
    let mut handled = HashSet::new();
    for value in 0..count {
        witness.send(&value).await.unwrap();
        match value % 100 {
            20 => proxy.cut(),
            50 => proxy.drop_reply_after(2),
            80 => proxy.cut_after_request_bytes(700),
            _ => {}
        }
    }
    while handled.len() < count.try_into().unwrap() {
        handled.insert(within(finished.recv()).await.expect("the worker runs"));
    }
    until("everything is settled", async || witness.stats().await.unwrap().settled == count).await;
    let report = within(worker.shutdown(WAIT)).await;
    assert_eq!(report.dead, 0, "{report:?}");
    account(&witness, &server).await;
}

/// The other process of the tests below: takes two messages, prints them, and holds them until it is ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder() {
    let Some(url) = Other::url() else { return };
    let queue = queue(&open(&url).await, 2_000 * MS);
    let first = queue.recv().await.unwrap().expect("there is one");
    let second = queue.recv().await.unwrap().expect("there is another");
    println!("holding {} {}", **first, **second);
    // When it continues after being frozen, its lease has ended and its settles are stale.
    first.lost().await;
    println!("settled {} {}", first.ack().await.unwrap(), second.nack().await.unwrap() == tidelock::Nacked::Stale);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_held_is_handed_out_again() {
    let Some(server) = server() else { return };
    let queue = queue(&open(&server.url()).await, WAIT);
    for value in 1..=3 {
        queue.send(&value).await.unwrap();
    }
    let mut holder = Other::start("queue::holder", &server.url());
    holder.says("holding").await;
    holder.signal("-KILL");
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let delivery = within(queue.recv().wait(WAIT)).await.unwrap().expect("it comes back");
        attempts.push((**delivery, delivery.attempt()));
        assert!(delivery.ack().await.unwrap());
    }
    attempts.sort_unstable();
    assert_eq!(attempts, [(1, 2), (2, 2), (3, 1)]);
    account(&queue, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_process_finds_its_lease_over_and_changes_nothing() {
    let Some(server) = server() else { return };
    let queue = queue(&open(&server.url()).await, WAIT);
    for value in 1..=2 {
        queue.send(&value).await.unwrap();
    }
    let mut holder = Other::start("queue::holder", &server.url());
    holder.says("holding").await;
    holder.signal("-STOP");
    let first = within(queue.recv().wait(WAIT)).await.unwrap().expect("it comes back");
    let second = within(queue.recv().wait(WAIT)).await.unwrap().expect("it comes back");
    assert_eq!((first.attempt(), second.attempt()), (2, 2));
    holder.signal("-CONT");
    assert_eq!(holder.says("settled").await, "settled false true");
    assert!(first.ack().await.unwrap() && second.ack().await.unwrap());
    account(&queue, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_sentinel_is_followed() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let sentinel = Sentinel::start(&binary).expect("the servers start");
    let tide = Tidelock::connect(&sentinel.url()).request_timeout(WAIT).await.unwrap();
    let queue = queue(&tide, WAIT);
    let before = queue.send(&1).await.unwrap();
    // What the replica does not have yet would be lost; this is up to the server, not to us.
    until("the replica has it", async || sentinel.primary().command(&["WAIT", "1", "1000"]).unwrap().int() == Some(1))
        .await;
    let waiting = tokio::spawn(async move { (queue.recv().wait(WAIT).await, queue) });
    let (first, queue) = within(waiting).await.unwrap();
    let first = first.unwrap().expect("it is there");
    until("the replica has it", async || sentinel.primary().command(&["WAIT", "1", "1000"]).unwrap().int() == Some(1))
        .await;
    sentinel.fail_over().unwrap();
    let after = within(queue.send(&2)).await.unwrap();
    assert!(after.id > before.id);
    assert!(within(first.ack()).await.unwrap(), "a lease that was replicated goes on");
    let second = within(queue.recv().wait(WAIT)).await.unwrap().expect("it is there");
    assert!(**second == 2 && second.ack().await.unwrap());
}

#[tokio::test]
async fn a_send_that_a_full_server_refuses_takes_nothing_else_with_it() {
    let Some(server) = server() else { return };
    let queue = queue(&open(&server.url()).await, WAIT);
    for value in 0..2 {
        queue.send(&value).await.unwrap();
    }
    let delivery = queue.try_recv().await.unwrap().unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    // With a priority: a plain one would get through on its trip with the ack, which a full server accepts.
    let send = queue.send(&2).priority(1).into_future();
    let (sent, acked, taken) = tokio::join!(send, delivery.ack(), queue.try_recv());
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::Server);
    assert!(acked.unwrap());
    assert_eq!(**taken.unwrap().unwrap(), 1);
    account(&queue, &server).await;
}

/// The remaining lifetimes of all keys with this suffix, in milliseconds.
fn lifetimes(server: &Server, end: &str) -> Vec<i64> {
    let mut connection = server.connect().unwrap();
    let keys = connection.command(&["KEYS", &format!("*{end}")]).unwrap();
    let keys: Vec<String> = keys.items().iter().filter_map(Reply::text).map(str::to_owned).collect();
    keys.iter().map(|key| connection.command(&["PTTL", key]).unwrap().int().unwrap()).collect()
}

#[tokio::test]
async fn keys_have_a_lifetime_again_once_nothing_without_an_end_is_left() {
    let Some(server) = server() else { return };
    let tide = open(&server.url()).await;
    let queue = queue(&tide, WAIT);
    let endless = tide.queue::<u64>("q").lease(WAIT).max_age(None).dead_letter_retention(None).build().unwrap();
    let are_limited = |limited: bool, what: &str| {
        let without = keys_without_lifetime(&server);
        assert_eq!(without == ["tidelock:format"], limited, "{what}: {without:?}");
    };
    // This message exists all the time.
    queue.send(&0).delay(WAIT * 100).await.unwrap();
    are_limited(true, "a message with an end");
    queue.pause().await.unwrap();
    are_limited(false, "a pause without end");
    queue.resume().await.unwrap();
    are_limited(true, "resumed");
    queue.set_rate_limit(1_000, Duration::from_millis(1)).await.unwrap();
    are_limited(false, "a limit of the rate");
    queue.remove_rate_limit().await.unwrap();
    queue.set_concurrency_limit(1_000).await.unwrap();
    are_limited(false, "a limit of what is held");
    queue.remove_concurrency_limit().await.unwrap();
    are_limited(true, "without a limit");
    for priority in [0, 1] {
        let send = async || {
            let id = endless.send(&1).priority(priority).await.unwrap().id;
            are_limited(false, "a message without end");
            id
        };
        send().await;
        assert!(queue.try_recv().await.unwrap().unwrap().ack().await.unwrap());
        are_limited(true, "acknowledged");
        let id = send().await;
        assert_eq!(queue.remove(id).await.unwrap(), Removed::Removed);
        are_limited(true, "removed");
        let id = send().await;
        assert!(queue.try_recv().await.unwrap().unwrap().dead_letter("no").await.unwrap());
        are_limited(false, "a dead letter without end");
        assert!(queue.dead_letters().requeue(id).await.unwrap());
        are_limited(true, "requeued with an end");
        assert!(queue.try_recv().await.unwrap().unwrap().nack().await.is_ok());
        assert!(queue.try_recv().await.unwrap().unwrap().ack().await.unwrap());
        let id = send().await;
        assert!(queue.try_recv().await.unwrap().unwrap().dead_letter("no").await.unwrap());
        assert!(queue.dead_letters().remove(id).await.unwrap());
        are_limited(true, "a dead letter that was removed");
        send().await;
        queue.purge().await.unwrap();
        are_limited(true, "purged");
        // Alone, since what is acknowledged is not read.
        for _ in 0..3 {
            send().await;
        }
        let taken = queue.recv_many(3).await.unwrap();
        are_limited(false, "deliveries without end");
        let receipts: Vec<_> = taken.iter().map(Delivery::receipt).collect();
        assert_eq!(queue.ack_many(&receipts).await.unwrap(), [true; 3]);
        are_limited(true, "all acknowledged");
        queue.send(&0).delay(WAIT * 100).await.unwrap();
    }
    account(&queue, &server).await;
}

#[tokio::test]
async fn no_key_outlives_the_record_and_who_waits_is_forgotten_soon() {
    let Some(server) = server() else { return };
    let queue = queue(&open(&server.url()).await, WAIT);
    queue.send(&0).await.unwrap();
    // A slightly later deadline needs no new expiry of the record.
    queue.send(&1).delay(WAIT * 10).await.unwrap();
    queue.send(&2).ordering_key("k").dedup_key("d").delay(WAIT * 12).await.unwrap();
    assert_eq!(**queue.try_recv().await.unwrap().unwrap(), 0);
    let waiting = tokio::spawn(queue.recv().forever().into_future());
    until("it has parked", async || !lifetimes(&server, ":parked").is_empty()).await;
    assert!((1..=20_000).contains(&lifetimes(&server, ":parked")[0]));
    let record = lifetimes(&server, ":record")[0];
    for part in [":messages", ":delayed", ":leased", ":lines", ":dedup"] {
        let left = lifetimes(&server, part);
        assert!((1..=record + 1_000).contains(&left[0]), "{part}: {left:?}, the record: {record}");
    }
    waiting.abort();
}

/// How often scripts were called on a server.
fn calls(server: &Server) -> u64 {
    let stats = server.command(&["INFO", "commandstats"]).unwrap();
    let counts =
        stats.text().unwrap().lines().filter_map(|line| line.strip_prefix("cmdstat_eval")?.split_once("calls="));
    counts.map(|(_, rest)| rest.split(',').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_ten_processes_wait_for_causes_two_takes_at_most() {
    let Some(server) = server() else { return };
    // Pinned, so that nobody checks again or sweeps meanwhile.
    let clock = ManualClock::at(Timestamp::from_millis(1_767_225_600_000));
    let mut queues = Vec::new();
    for _ in 0..10 {
        let tide = Tidelock::connect(&server.url()).clock(&clock).await.unwrap();
        queues.push(queue(&tide, WAIT));
    }
    queues[0].stats().await.unwrap();
    let waiting: Vec<_> = queues.iter().map(|queue| tokio::spawn(queue.recv().forever().into_future())).collect();
    let parked = || server.command(&["ZCARD", "tidelock:{queue/default/q}:parked"]).unwrap().int();
    until("all have parked", async || parked() == Some(10)).await;
    let before = calls(&server);
    queues[0].send(&1).await.unwrap();
    until("one has it", async || waiting.iter().any(tokio::task::JoinHandle::is_finished)).await;
    for queue in &queues {
        queue.stats().await.unwrap();
    }
    let takes = calls(&server) - before - 11;
    assert!((1..=2).contains(&takes), "{takes}");
    assert_eq!(waiting.iter().filter(|waiting| waiting.is_finished()).count(), 1);
}

#[tokio::test]
async fn a_receive_that_waits_on_a_dead_link_ends_with_an_error() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let queue = queue(&hasty(&proxy.url(), 200 * MS).await, WAIT);
    until("it is asked", async || queue.recv().wait(50 * MS).await.is_ok_and(|received| received.is_none())).await;
    proxy.refuse(true);
    proxy.cut();
    for _ in 0..3 {
        let error = within(queue.recv().wait(50 * MS)).await.expect_err("nobody was asked");
        assert!(error.is_retryable(), "{error}");
    }
    proxy.refuse(false);
    until("it is asked again", async || queue.recv().wait(50 * MS).await.is_ok_and(|received| received.is_none()))
        .await;
}

/// A take whose caller was told that the outcome is unknown: what it took is not left to its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_for_a_caller_who_gave_up_is_given_back() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let witness = queue(&open(&server.url()).await, 3_600_000 * MS);
    let queue = queue(&hasty(&proxy.url(), 300 * MS).await, 3_600_000 * MS);
    until("its script is there", async || queue.try_recv().await.is_ok()).await;
    witness.send(&1).await.unwrap();
    proxy.refuse(true);
    proxy.drop_reply_after(1);
    let error = within(queue.try_recv()).await.expect_err("the answer is lost");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(witness.stats().await.unwrap().leased, 1);
    proxy.refuse(false);
    let received = within(witness.recv().wait(WAIT)).await.unwrap().expect("it is given back");
    assert_eq!((received.attempt(), received.ack().await.unwrap()), (1, true), "nobody has seen it");
    account(&witness, &server).await;
}
