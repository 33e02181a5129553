//! Servers that refuse, are too old, full, read-only or unavailable; and the resulting errors.

use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tidelock::{ErrorKind, Queue, Raw, Tidelock};
use tidelock_testkit::{Binary, Cluster, Flavour, Proxy, Server};

use crate::stage::{hasty, open, server, until, within};

const MS: Duration = Duration::from_millis(1);

async fn refusal(url: &str) -> tidelock::Error {
    within(Tidelock::connect(url)).await.expect_err("it is refused")
}

#[tokio::test]
async fn an_unreachable_server_is_a_connection_error() {
    let port = tidelock_testkit::free_port().unwrap();
    let error = refusal(&format!("redis://:hunter2@127.0.0.1:{port}")).await;
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(error.is_retryable() && !format!("{error} {error:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_shown() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let server = Server::builder(&binary).password("swordfish").start().unwrap();
    for url in [
        format!("redis://:hunter2@127.0.0.1:{}", server.port()),
        format!("redis://127.0.0.1:{}", server.port()),
        format!("redis://somebody:hunter2@127.0.0.1:{}", server.port()),
    ] {
        let error = refusal(&url).await;
        assert_eq!(error.kind(), ErrorKind::Server, "{error}");
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2") && !text.contains("swordfish"), "{text}");
    }
    open(&server.url()).await.ping().await.unwrap();
}

/// Creates the user from the guide.
fn make_user(server: &Server) {
    let guide = include_str!("../../../../docs/guide/operations.md");
    let rule = guide.lines().find(|line| line.starts_with("ACL SETUSER fleet ")).expect("the guide has it");
    let made = server.command(&rule.split_whitespace().collect::<Vec<_>>()).unwrap();
    assert_eq!(made.text(), Some("OK"), "{made:?}");
}

async fn serves(url: &str) {
    let tide = open(url).await;
    let queue: Queue<u64> = tide.queue("q").build().unwrap();
    queue.send(&1).await.unwrap();
    assert!(queue.recv().await.unwrap().unwrap().ack().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acl_user_needs_no_more_than_the_guide_says() {
    for flavour in [Flavour::Redis62, Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let server = Server::start(&binary).unwrap();
        make_user(&server);
        let url = format!("redis://fleet:secret@127.0.0.1:{}", server.port());
        serves(&url).await;
        let foreign = Tidelock::connect(&url).prefix("other");
        let error = within(foreign).await.expect_err("the prefix is not the user's");
        assert_eq!(error.kind(), ErrorKind::Server, "{error}");
        let cluster = Cluster::start(&binary, 1).unwrap();
        make_user(cluster.node(0));
        serves(&format!("redis-cluster://fleet:secret@127.0.0.1:{}", cluster.node(0).port())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_where_access_is_denied() {
    for flavour in [Flavour::Redis62, Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let server = Server::start(&binary).unwrap();
        make_user(&server);
        let tide = open(&format!("redis://fleet:secret@127.0.0.1:{}", server.port())).await;
        let queue: Queue<u64> = tide.queue("q").build().unwrap();
        server.command(&["ACL", "SETUSER", "fleet", "-@list", "-@sortedset", "-@string", "-@hash"]).unwrap();
        let worker = queue.process(async |_| Ok(()));
        let error = within(worker.run_until(std::future::pending())).await.expect_err("waiting does not cure it");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Server, false), "{error}");
        assert!(error.to_string().contains("NOPERM"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_tell_that_access_is_denied_without_haste() {
    let Some(server) = server() else { return };
    make_user(&server);
    let tide = open(&format!("redis://fleet:secret@127.0.0.1:{}", server.port())).await;
    let registry = tide.registry::<u64>("r").build().unwrap();
    let mut changes = registry.follow().await.unwrap();
    let mut events = tide.topic::<u64>("t").build().unwrap().follow().await.unwrap();
    server.command(&["ACL", "SETUSER", "fleet", "-@list", "-@sortedset", "-@string", "-@hash"]).unwrap();
    let changed = within(changes.next()).await.expect("the stream goes on").expect_err("it may not look");
    let published = within(events.next()).await.expect("the stream goes on").expect_err("it may not look");
    assert_eq!((changed.kind(), published.kind()), (ErrorKind::Server, ErrorKind::Server));
    let told = Instant::now();
    within(changes.next()).await.expect("the stream goes on").expect_err("it may still not look");
    assert!(told.elapsed() >= Duration::from_millis(900), "it tells no more for a second");
    server.command(&["ACL", "SETUSER", "fleet", "+@list", "+@sortedset", "+@string", "+@hash"]).unwrap();
    registry.upsert("a", &1).await.unwrap();
    until("it goes on", async || within(changes.next()).await.expect("the stream goes on").is_ok()).await;
}

/// A server that answers like Redis 6.0: `HELLO` without a version is an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_too_old_is_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let answer: &[u8] = match line.to_uppercase().as_str() {
                        "HELLO" => b"-ERR wrong number of arguments for 'hello' command\r\n",
                        "CLIENT" | "SELECT" | "PING" => b"+OK\r\n",
                        _ => continue,
                    };
                    if writer.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let error = refusal(&format!("redis://127.0.0.1:{port}")).await;
    assert!(error.to_string().contains("older than Redis 6.2"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_format_is_refused_and_left_alone() {
    let Some(server) = server() else { return };
    server.command(&["SET", "tidelock:format", "2"]).unwrap();
    let error = refusal(&server.url()).await;
    assert_eq!(error.kind(), ErrorKind::IncompatibleFormat, "{error}");
    assert_eq!(server.command(&["DBSIZE"]).unwrap().int(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_changes_nothing_and_says_so() {
    let (Some(primary), Some(replica)) = (server(), server()) else { return };
    let queue: Queue<u64> = hasty(&replica.url(), 300 * MS).await.queue("q").build().unwrap();
    until("it is served", async || queue.send(&1).await.is_ok()).await;
    replica.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]).unwrap();
    let error = within(queue.send(&2)).await.expect_err("a replica takes no writes");
    assert!(error.is_retryable(), "{error}");
    replica.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    until("it is served again", async || queue.send(&3).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_and_what_is_there_stays_usable() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let server = Server::builder(&binary).config("maxmemory-policy noeviction").start().unwrap();
    let tide = open(&server.url()).await;
    let queue: Queue<Raw> = tide.queue("q").build().unwrap();
    for _ in 0..10 {
        queue.send(&Raw(vec![7; 1_000])).await.unwrap();
    }
    let before = queue.stats().await.unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let error = within(queue.send(&Raw(vec![7; 1_000]))).await.expect_err("there is no room");
    assert_eq!(error.kind(), ErrorKind::Server, "{error}");
    assert!(error.to_string().contains("OOM"), "{error}");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    let after = queue.stats().await.unwrap();
    assert_eq!((before.ready, before.accepted), (after.ready, after.accepted));
    assert!(queue.recv().await.unwrap().unwrap().ack().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undecodable_stored_state_is_an_error_and_is_left_alone() {
    let Some(server) = server() else { return };
    let queue: Queue<u64> = open(&server.url()).await.queue("q").build().unwrap();
    queue.send(&1).await.unwrap();
    server.command(&["HSET", "tidelock:{queue/default/q}:record", "numbers", "many"]).unwrap();
    let error = within(queue.send(&2)).await.expect_err("the record is no record");
    assert_eq!(error.kind(), ErrorKind::IncompatibleFormat, "{error}");
    assert_eq!(server.command(&["LLEN", "tidelock:{queue/default/q}:line"]).unwrap().int(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_not_hammered_and_is_found_again() {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server.port()).await.unwrap();
    let queue: Queue<u64> = hasty(&proxy.url(), 200 * MS).await.queue("q").build().unwrap();
    until("it is served", async || queue.send(&1).await.is_ok()).await;
    let before = proxy.connections();
    proxy.refuse(true);
    proxy.cut();
    let (start, mut errors) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        // Never `None`: nobody could be asked.
        assert!(within(queue.try_recv()).await.is_err());
        errors += 1;
    }
    assert!(errors > 0);
    let attempts = proxy.connections() - before;
    assert!(attempts < 40, "{attempts} connections in two seconds");
    proxy.refuse(false);
    let back = Instant::now();
    until("it is served again", async || queue.try_recv().await.is_ok()).await;
    eprintln!("served again {:?} after the server's return, {attempts} attempts before", back.elapsed());
}
