//! Sentinels that hang, are outdated, or name another primary while the previous one still accepts writes.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidelock::{ErrorKind, Queue, Tidelock};
use tidelock_testkit::{Binary, Flavour, Sentinel, Server};

use crate::stage::{open, server, until, within};

fn queue(tide: &Tidelock) -> Queue<u64> {
    tide.queue("q").build().expect("the defaults are good")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_hang_or_know_nothing_new_hold_up_nobody() {
    let Some(binary) = Binary::or_skip(Flavour::Redis70) else { return };
    let sentinel = Sentinel::start(&binary).unwrap();
    let hosts: Vec<_> = sentinel.sentinels().iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    let stale = stale_sentinel(sentinel.replica().port());
    for frozen in &sentinel.sentinels()[..2] {
        frozen.freeze().unwrap();
    }
    let url = format!("redis-sentinel://127.0.0.1:{stale},{}?master=tidelock", hosts.join(","));
    let tide = within(Tidelock::connect(&url).request_timeout(Duration::from_secs(2))).await;
    for frozen in &sentinel.sentinels()[..2] {
        frozen.thaw().unwrap();
    }
    queue(&tide.expect("one of them knows")).send(&1).await.unwrap();
}

/// A primary that is cut off from the sentinels, but not from its clients, continues to accept writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_the_sentinels_have_replaced_is_left_though_it_takes_writes() {
    let (Some(former), Some(next)) = (server(), server()) else { return };
    let sentinel = Tale::start(former.port());
    let url = format!("redis-sentinel://127.0.0.1:{}/?master=tidelock", sentinel.port);
    let queue = queue(&open(&url).await);
    queue.send(&1).await.unwrap();
    let there = queue_at(&next).await;
    sentinel.switch(next.port(), 1);
    until("it goes to the new primary", async || {
        let _ = queue.send(&1).await;
        there.stats().await.unwrap().accepted > 0
    })
    .await;
    // A sentinel that reports an earlier election is outdated.
    let before = queue_at(&former).await.stats().await.unwrap().accepted;
    sentinel.switch(former.port(), 0);
    for _ in 0..100 {
        queue.send(&1).await.unwrap();
    }
    assert_eq!(queue_at(&former).await.stats().await.unwrap().accepted, before);
    // Sentinels that were set up anew count from the beginning.
    sentinel.switch(former.port(), 0);
    next.kill();
    until("it goes where they say", async || queue.send(&1).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_refuses_is_no_reason_to_give_up() {
    let Some(primary) = server() else { return };
    let refuses = Tale::start(REFUSES).port;
    let sentinel = Tale::start(tidelock_testkit::free_port().unwrap());
    let url = format!("redis-sentinel://127.0.0.1:{refuses},127.0.0.1:{}?master=tidelock", sentinel.port);
    let connect = Tidelock::connect(&url).request_timeout(Duration::from_secs(2));
    let error = within(connect).await.expect_err("the primary is away");
    assert_eq!(error.kind(), ErrorKind::Connection, "a new one may come: {error}");
    assert!(
        error.to_string().contains(&format!("NOAUTH Authentication required. (sentinel 127.0.0.1:{refuses})")),
        "{error}"
    );
    sentinel.switch(primary.port(), 1);
    queue(&open(&url).await).send(&1).await.unwrap();
}

/// The ACL rule for sentinels from the guide.
fn rule_of_the_guide() -> Vec<&'static str> {
    let guide = include_str!("../../../../docs/guide/operations.md");
    let rule = guide.lines().find(|line| line.starts_with("ACL SETUSER watcher ")).expect("the guide has it");
    rule.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_have_credentials_of_their_own() {
    for flavour in [Flavour::Redis62, Flavour::Redis70, Flavour::Valkey8] {
        let Some(binary) = Binary::or_skip(flavour) else { continue };
        let sentinel = Sentinel::start_with_passwords(&binary, "of-the-data", "of-the-watch").unwrap();
        for watching in sentinel.sentinels() {
            assert_eq!(watching.command(&rule_of_the_guide()).unwrap().text(), Some("OK"));
        }
        let connect = || Tidelock::connect(&sentinel.url());
        for refused in [connect(), connect().sentinel_credentials(None, "of-the-data")] {
            let error = within(refused).await.expect_err("the sentinels ask for their password");
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Server, false), "{error}");
            let text = format!("{error} {error:?}");
            assert!(text.contains("(sentinel 127.0.0.1:") && !text.contains("of-the"), "{text}");
        }
        queue(&within(connect().sentinel_credentials(None, "of-the-watch")).await.unwrap()).send(&1).await.unwrap();
        let tide = within(connect().sentinel_credentials(Some("watcher"), "secret")).await.unwrap();
        let queue = queue(&tide);
        assert!(queue.recv().await.unwrap().unwrap().ack().await.unwrap());
        // It listens to each of them, too.
        until("it listens", async || sentinel.sentinels().iter().all(has_watcher)).await;
        sentinel.fail_over().unwrap();
        until("it goes to the new primary", async || queue.send(&2).await.is_ok()).await;
    }
}

fn has_watcher(sentinel: &Server) -> bool {
    let clients = sentinel.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).unwrap();
    clients.text().is_some_and(|clients| clients.contains("user=watcher"))
}

#[tokio::test]
async fn credentials_for_sentinels_that_there_are_not_are_a_wrong_configuration() {
    let port = tidelock_testkit::free_port().unwrap();
    let connect = Tidelock::connect(&format!("redis://127.0.0.1:{port}")).sentinel_credentials(None, "hunter2");
    assert!(!format!("{connect:?}").contains("hunter2"));
    let error = within(connect).await.expect_err("they have no effect");
    assert_eq!(error.kind(), ErrorKind::InvalidConfiguration, "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

async fn queue_at(server: &Server) -> Queue<u64> {
    queue(&open(&server.url()).await)
}

/// A sentinel that always names this server as the primary. Returns its port.
fn stale_sentinel(primary: u16) -> u16 {
    Tale::start(primary).port
}

/// Instead of the port of a primary: the sentinel asks for a password.
const REFUSES: u16 = 0;

/// A sentinel that answers as the test wants.
struct Tale {
    port: u16,
    /// The port of the primary, and the number of its election.
    named: Arc<Mutex<(u16, u64)>>,
    subscribers: Arc<Mutex<Vec<TcpStream>>>,
}

impl Tale {
    fn start(primary: u16) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tale = Self {
            port: listener.local_addr().unwrap().port(),
            named: Arc::new(Mutex::new((primary, 0))),
            subscribers: Arc::default(),
        };
        let (named, subscribers) = (Arc::clone(&tale.named), Arc::clone(&tale.subscribers));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (named, subscribers) = (Arc::clone(&named), Arc::clone(&subscribers));
                std::thread::spawn(move || Self::serve(stream, &named, &subscribers));
            }
        });
        tale
    }

    fn serve(stream: TcpStream, named: &Mutex<(u16, u64)>, subscribers: &Mutex<Vec<TcpStream>>) {
        let mut writer = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let answer = match line.as_str() {
                "CLIENT" => "+OK\r\n".to_owned(),
                "MASTER" if named.lock().unwrap().0 == REFUSES => "-NOAUTH Authentication required.\r\n".to_owned(),
                "MASTER" => {
                    let (port, epoch) = *named.lock().unwrap();
                    let facts = ["ip", "127.0.0.1", "port", &port.to_string(), "config-epoch", &epoch.to_string()];
                    let facts = facts.map(|fact| format!("${}\r\n{fact}\r\n", fact.len()));
                    format!("*6\r\n{}", facts.concat())
                }
                "SUBSCRIBE" => {
                    subscribers.lock().unwrap().push(writer.try_clone().unwrap());
                    "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n".to_owned()
                }
                _ => continue,
            };
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// Names another primary, and notifies the subscribers.
    fn switch(&self, port: u16, epoch: u64) {
        *self.named.lock().unwrap() = (port, epoch);
        for subscriber in &mut *self.subscribers.lock().unwrap() {
            let _ = subscriber.write_all(b"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$4\r\nnews\r\n");
        }
    }
}
