//! Topics when their server, their connections or other processes fail.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt;
use tidelock::topic::{EventDelivery, Follower, Gap, GapCause, Item, Reader, Start, Topic};
use tidelock::{Nacked, Tidelock};
use tidelock_testkit::{Binary, Flavour, Proxy, Sentinel, Server, scale};

use crate::stage::{Other, durable_server, hasty, keys_without_lifetime, open, server, until, within};

const MS: Duration = Duration::from_millis(1);
const WAIT: Duration = Duration::from_secs(30);

fn topic(tide: &Tidelock) -> Topic<u64> {
    tide.topic("t").build().expect("the defaults are good")
}

fn reader(tide: &Tidelock, lease: Duration) -> Reader<u64> {
    topic(tide).reader("g").lease(lease).build().expect("the options are good")
}

async fn publish(topic: &Topic<u64>, value: u64) {
    within(topic.publish(&value)).await.expect("the server answers");
}

/// The next item, which must be an event.
async fn event(reader: &Reader<u64>) -> EventDelivery<u64> {
    match within(reader.recv().wait(WAIT)).await.expect("the server answers") {
        Some(Item::Event(event)) => event,
        other => panic!("an event was expected, but {other:?} came"),
    }
}

async fn gap(reader: &Reader<u64>) -> Gap {
    match within(reader.recv().wait(WAIT)).await.expect("the server answers") {
        Some(Item::Gap(gap)) => gap,
        other => panic!("a gap was expected, but {other:?} came"),
    }
}

/// The next value of a follower.
async fn followed(follower: &mut Follower<u64>) -> u64 {
    match within(follower.next()).await.expect("it goes on").expect("it waits out outages") {
        Item::Event(event) => *event,
        other => panic!("an event was expected, but {other:?} came"),
    }
}

/// The account after a fault: the group has nothing open, and only keys of a group have no expiry.
async fn account(topic: &Topic<u64>, server: &Server) {
    let group = within(topic.groups().get("g")).await.expect("the server answers").expect("the group exists");
    assert_eq!(
        (group.lag, group.unread, group.in_flight, group.waiting, group.set_aside),
        (0, 0, 0, 0, 0),
        "{group:?}"
    );
    let allowed = ["format", ":record", ":groups", ":leased:g", ":letters:g", ":moved:g", ":kept:g"];
    for key in keys_without_lifetime(server) {
        assert!(allowed.iter().any(|end| key.ends_with(end)), "{key} has no lifetime");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_appends_no_second_event_and_commits_stay_true() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = open(&proxy.url()).await;
    let (topic, reader) = (topic(&tide), reader(&tide, WAIT));
    let count = scale(1_000) as u64;
    let mut cursors = Vec::new();
    for value in 0..count {
        proxy.drop_reply_after(1);
        let request = topic.publish(&value);
        // Every other one uses a dedup key.
        let request = if value % 2 == 0 { request } else { request.dedup_key(&format!("key:{value}")) };
        let published = within(request).await.unwrap();
        assert!(!published.duplicate, "{published:?}");
        cursors.push(published.cursor);
    }
    assert_eq!(cursors.iter().collect::<HashSet<_>>().len() as u64, count);
    let stats = topic.stats().await.unwrap();
    assert_eq!((stats.events, stats.latest), (count, *cursors.last().unwrap()));
    for expected in 0..count {
        proxy.drop_reply_after(1);
        let event = event(&reader).await;
        assert_eq!(
            (*event.data(), event.attempt(), event.cursor()),
            (expected, 1, cursors[usize::try_from(expected).unwrap()])
        );
        proxy.drop_reply_after(1);
        assert!(within(event.commit()).await.unwrap(), "a commit whose reply was lost is done");
    }
    account(&topic, &server).await;
}

/// A group that has missed three of five events, and its reader.
async fn with_a_gap(tide: &Tidelock) -> (Topic<u64>, Reader<u64>) {
    let topic = tide.topic("t").max_len(2).build().unwrap();
    topic.groups().create("g", Start::Earliest).await.unwrap();
    let reader = topic.reader("g").build().unwrap();
    // From here on the server knows the script.
    assert!(within(reader.recv().wait(Duration::ZERO)).await.unwrap().is_none());
    for value in 1..=5 {
        publish(&topic, value).await;
    }
    (topic, reader)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_whose_reply_is_lost_is_told_all_the_same() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = open(&proxy.url()).await;
    let (_topic, reader) = with_a_gap(&tide).await;
    proxy.drop_reply_after(1);
    assert_eq!(gap(&reader).await.missed, Some(3));
    assert_eq!(*event(&reader).await.data(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_of_a_take_that_was_given_up_is_told_to_the_next() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = hasty(&proxy.url(), 500 * MS).await;
    let (topic, reader) = with_a_gap(&tide).await;
    let replies = proxy.replies();
    proxy.drop_reply_after(1);
    let first = tokio::spawn(reader.recv().wait(WAIT).into_future());
    until("the reply is lost", async || proxy.replies() > replies).await;
    proxy.refuse(true);
    // This call began later than the take, so when it fails, the take has timed out too.
    within(topic.stats()).await.unwrap_err();
    proxy.refuse(false);
    match within(first).await.unwrap().unwrap() {
        Some(Item::Gap(gap)) => assert_eq!(gap.missed, Some(3)),
        other => panic!("a gap was expected, but {other:?} came"),
    }
    assert_eq!(*event(&reader).await.data(), 4);
    assert_eq!(*event(&reader).await.data(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_any_byte_loses_no_event_to_the_group() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let cut = reader(&open(&proxy.url()).await, 200 * MS);
    let witness = open(&server.url()).await;
    let (topic, rest) = (topic(&witness), reader(&witness, 200 * MS));
    let count = scale(600) as u64;
    for value in 0..count {
        publish(&topic, value).await;
    }
    let mut seen: HashMap<u64, usize> = HashMap::new();
    for at in 0..scale(600) {
        // Somewhere within the take or the commit that follow.
        proxy.cut_after_request_bytes(at * 10 * 600 / scale(600) % 3_000 + 1);
        if let Ok(Some(Item::Event(event))) = within(cut.recv().wait(50 * MS)).await {
            *seen.entry(*event.data()).or_default() += 1;
            within(event.commit()).await.unwrap();
        }
    }
    loop {
        let group = topic.groups().get("g").await.unwrap().unwrap();
        if group.lag == 0 {
            break;
        }
        if let Some(Item::Event(event)) = within(rest.recv().wait(100 * MS)).await.unwrap() {
            *seen.entry(*event.data()).or_default() += 1;
            within(event.commit()).await.unwrap();
        }
    }
    let group = topic.groups().get("g").await.unwrap().unwrap();
    assert_eq!((group.dead, group.missed), (0, 0));
    assert_eq!(seen.len() as u64, count, "what was taken by a receive that did not see it was handed out again");
    account(&topic, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_behind_a_broken_line_gets_each_event_once_and_in_order() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let mut follower = topic(&open(&proxy.url()).await).follow().await.unwrap();
    let topic = topic(&open(&server.url()).await);
    let count = scale(3_000) as u64;
    let publishing = tokio::spawn(async move {
        for value in 0..count {
            publish(&topic, value).await;
            match value % 100 {
                20 => proxy.cut(),
                50 => proxy.drop_reply_after(1),
                80 => proxy.cut_after_request_bytes(150),
                _ => {}
            }
        }
        proxy
    });
    for expected in 0..count {
        assert_eq!(followed(&mut follower).await, expected);
    }
    publishing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_server_is_told_once_to_those_who_wait() {
    let Some(server) = server() else { return };
    let tide = open(&server.url()).await;
    let (topic, reader) = (topic(&tide), reader(&tide, WAIT));
    for value in 1..=3 {
        publish(&topic, value).await;
    }
    let held = event(&reader).await;
    let before = topic.latest_cursor().await.unwrap();
    let mut follower = topic.follow().await.unwrap();
    for _ in 2..=3 {
        event(&reader).await.commit().await.unwrap();
    }
    let waiting = tokio::spawn({
        let reader = reader.clone();
        async move { gap(&reader).await }
    });
    let following = tokio::spawn(async move { (follower.next().await, follower) });
    let parked = || server.command(&["HLEN", "tidelock:{topic/default/t}:parked"]).unwrap().int();
    until("both wait", async || parked() == Some(2)).await;
    server.command(&["FLUSHALL"]).unwrap();
    publish(&topic, 4).await;

    let gap = within(waiting).await.unwrap();
    assert_eq!((gap.cause, gap.missed), (GapCause::Replaced, None));
    let four = event(&reader).await;
    assert_eq!((*four.data(), four.attempt()), (4, 1));
    assert!(four.fence() > held.fence());
    assert!(!held.commit().await.unwrap(), "a receipt from before settles nothing");

    let (first, mut follower) = within(following).await.unwrap();
    assert!(matches!(first, Some(Ok(Item::Gap(gap))) if gap.cause == GapCause::Replaced && gap.from == before));
    assert_eq!(followed(&mut follower).await, 4);
    assert!(four.cursor() != before);
    let mut resumed = topic.follow().after(&before).await.unwrap();
    assert!(matches!(within(resumed.next()).await, Some(Ok(Item::Gap(gap))) if gap.cause == GapCause::Replaced));
    assert_eq!(followed(&mut resumed).await, 4, "a cursor of the old log skips no new event");
    assert!(four.commit().await.unwrap());
    account(&topic, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_with_its_data_has_lost_nothing() {
    let Some(server) = durable_server() else { return };
    let tide = open(&server.url()).await;
    let (topic, reader) = (topic(&tide), reader(&tide, 400 * MS));
    for value in 0..50 {
        publish(&topic, value).await;
    }
    let held = event(&reader).await;
    let mut follower = topic.follow().start(Start::Earliest).await.unwrap();
    assert_eq!(followed(&mut follower).await, 0);
    server.restart().unwrap();
    publish(&topic, 50).await;
    for expected in 1..=50 {
        assert_eq!(followed(&mut follower).await, expected);
    }
    let mut seen = HashSet::new();
    while seen.len() < 51 {
        let event = event(&reader).await;
        seen.insert(*event.data());
        event.commit().await.unwrap();
    }
    assert!(seen.contains(held.data()), "a lease ran out over the restart");
    account(&topic, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_outlives_outages_and_finishes_every_event() {
    let Some(server) = durable_server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let reader = reader(&open(&proxy.url()).await, 500 * MS);
    let count = scale(3_000) as u64;
    let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
    let worker = reader.process(move |event| {
        let done = done.clone();
        async move {
            done.send(**event).map_err(|error| error.to_string())?;
            Ok(())
        }
    });
    let worker = worker.concurrency(8).spawn();
    let topic = topic(&open(&server.url()).await);
    for value in 0..count {
        publish(&topic, value).await;
        match value % 100 {
            20 => proxy.cut(),
            50 => proxy.drop_reply_after(2),
            80 => proxy.cut_after_request_bytes(900),
            _ => {}
        }
    }
    let mut handled = HashSet::new();
    while (handled.len() as u64) < count {
        handled.insert(within(finished.recv()).await.expect("the worker runs"));
    }
    until("all is settled", async || topic.groups().get("g").await.unwrap().unwrap().lag == 0).await;
    let report = within(worker.shutdown(WAIT)).await;
    assert_eq!(report.dead, 0, "{report:?}");
    account(&topic, &server).await;
}

/// The other process of the tests below: takes two events, prints them, and holds them until it is ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder() {
    let Some(url) = Other::url() else { return };
    let reader = reader(&open(&url).await, 2_000 * MS);
    let (first, second) = (event(&reader).await, event(&reader).await);
    println!("holding {} {}", *first.data(), *second.data());
    // When it continues after being frozen, its lease has ended and its settles are stale.
    first.lost().await;
    println!("settled {} {}", first.commit().await.unwrap(), second.nack().await.unwrap() == Nacked::Stale);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_reader_held_goes_to_another_one() {
    let Some(server) = server() else { return };
    let tide = open(&server.url()).await;
    let (topic, reader) = (topic(&tide), reader(&tide, WAIT));
    for value in 1..=3 {
        publish(&topic, value).await;
    }
    let mut holder = Other::start("topic::holder", &server.url());
    holder.says("holding").await;
    holder.signal("-KILL");
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let event = event(&reader).await;
        attempts.push((*event.data(), event.attempt()));
        assert!(event.commit().await.unwrap());
    }
    attempts.sort_unstable();
    assert_eq!(attempts, [(1, 2), (2, 2), (3, 1)]);
    account(&topic, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_reader_finds_its_lease_over_and_changes_nothing() {
    let Some(server) = server() else { return };
    let tide = open(&server.url()).await;
    let (topic, reader) = (topic(&tide), reader(&tide, WAIT));
    for value in 1..=2 {
        publish(&topic, value).await;
    }
    let mut holder = Other::start("topic::holder", &server.url());
    holder.says("holding").await;
    holder.signal("-STOP");
    let (first, second) = (event(&reader).await, event(&reader).await);
    assert_eq!((first.attempt(), second.attempt()), (2, 2));
    holder.signal("-CONT");
    assert_eq!(holder.says("settled").await, "settled false true");
    assert!(first.commit().await.unwrap() && second.commit().await.unwrap());
    account(&topic, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_sentinel_is_followed() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let sentinel = Sentinel::start(&binary).expect("the servers start");
    let tide = Tidelock::connect(&sentinel.url()).request_timeout(WAIT).await.unwrap();
    let (topic, reader) = (topic(&tide), reader(&tide, WAIT));
    let mut follower = topic.follow().await.unwrap();
    publish(&topic, 1).await;
    let first = event(&reader).await;
    assert_eq!(followed(&mut follower).await, 1);
    // What the replica does not have yet would be lost; this is up to the server, not to us.
    until("the replica has it", async || sentinel.primary().command(&["WAIT", "1", "1000"]).unwrap().int() == Some(1))
        .await;
    sentinel.fail_over().unwrap();
    publish(&topic, 2).await;
    assert!(within(first.commit()).await.unwrap(), "a lease that was replicated goes on");
    assert_eq!(*event(&reader).await.data(), 2);
    assert_eq!(followed(&mut follower).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_wait_share_three_connections() {
    let Some(server) = server() else { return };
    let witness = open(&server.url()).await;
    let connections = || {
        let clients = server.command(&["INFO", "clients"]).unwrap();
        clients.field("connected_clients").and_then(|count| count.parse::<i64>().ok()).unwrap()
    };
    let before = connections();
    let tide = open(&server.url()).await;
    let topic = topic(&tide);
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..500 {
        let reader = topic.reader(&format!("g{}", number % 10)).build().unwrap();
        waiting.spawn(async move { reader.recv().wait(WAIT).await.unwrap().is_some() });
        let mut follower = topic.follow().await.unwrap();
        waiting.spawn(async move { follower.next().await.is_some() });
    }
    until("all wait", async || {
        server.command(&["HLEN", "tidelock:{topic/default/t}:parked"]).unwrap().int() == Some(11)
    })
    .await;
    assert!(connections() - before <= 3);
    publish(&self::topic(&witness), 1).await;
    // Each follower, and one reader of each group.
    for _ in 0..510 {
        assert!(within(waiting.join_next()).await.unwrap().unwrap());
    }
}

/// A take whose caller was told that the outcome is unknown: what it took is not left to its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_for_a_reader_who_gave_up_is_given_back() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let tide = open(&server.url()).await;
    let (topic, witness) = (topic(&tide), reader(&tide, 3_600_000 * MS));
    let reader = reader(&hasty(&proxy.url(), 300 * MS).await, 3_600_000 * MS);
    until("its script is there", async || reader.try_recv().await.is_ok()).await;
    publish(&topic, 1).await;
    proxy.refuse(true);
    proxy.drop_reply_after(1);
    let error = within(reader.try_recv()).await.expect_err("the answer is lost");
    assert_eq!(error.kind(), tidelock::ErrorKind::Timeout, "{error}");
    proxy.refuse(false);
    let event = event(&witness).await;
    assert_eq!((event.attempt(), event.commit().await.unwrap()), (1, true), "nobody has seen it");
    account(&topic, &server).await;
}
