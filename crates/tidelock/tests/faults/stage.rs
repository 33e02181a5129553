//! Shared by the fault tests: their own servers, questions with a time limit, and the account at the end.

use std::process::Stdio;
use std::time::Duration;

use tidelock::{Queue, Tidelock, Value};
use tidelock_testkit::{Binary, Flavour, Reply, Server};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The longest that anything may take; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A server of the test's own; `None` if none can be started, which CI does not accept.
pub fn server() -> Option<Server> {
    Some(Server::start(&Binary::or_skip(Flavour::Redis70)?).expect("a server starts"))
}

/// A server that keeps its data across a restart.
pub fn durable_server() -> Option<Server> {
    let binary = Binary::or_skip(Flavour::Redis70)?;
    Some(Server::builder(&binary).durable().config("appendfsync always").start().expect("a server starts"))
}

pub async fn open(url: &str) -> Tidelock {
    Tidelock::connect(url).await.expect("the server answers")
}

/// Connects with calls that give up after `timeout`. Retries connecting, which may take longer on a busy machine.
pub async fn hasty(url: &str, timeout: Duration) -> Tidelock {
    within(async {
        loop {
            match Tidelock::connect(url).request_timeout(timeout).await {
                Ok(tide) => return tide,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    })
    .await
}

/// Waits for `future`, but not for ever.
pub async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future.into_future()).await.expect("it happens at all")
}

/// Repeats a question until the answer is yes.
pub async fn until(what: &str, mut question: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !question().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("it did not come to pass that {what}"));
}

/// The account of a queue after a fault: its numbers add up, and the only key without an expiry is that of the format.
pub async fn account<T: Value>(queue: &Queue<T>, server: &Server) {
    let stats = within(queue.stats()).await.expect("the server answers");
    let held = stats.ready + stats.delayed + stats.leased + stats.dead;
    assert_eq!(held, stats.accepted - stats.settled, "{stats:?}");
    assert_eq!(keys_without_lifetime(server), ["tidelock:format"]);
}

/// Keys without an expiry.
pub fn keys_without_lifetime(server: &Server) -> Vec<String> {
    let mut connection = server.connect().expect("the server answers");
    let keys = connection.command(&["KEYS", "*"]).expect("the server answers");
    let keys = keys.items().iter().filter_map(Reply::text).map(str::to_owned);
    let mut without: Vec<String> =
        keys.filter(|key| connection.command(&["PTTL", key]).expect("the server answers").int() == Some(-1)).collect();
    without.sort();
    without
}

/// Tells another process where its server is.
const OTHER: &str = "TIDELOCK_FAULTS_OTHER";

/// Another process: one of these tests, run on its own.
#[derive(Debug)]
pub struct Other {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Other {
    /// The server's URL within the other process; `None` if the test is run as a test.
    pub fn url() -> Option<String> {
        std::env::var(OTHER).ok()
    }

    /// Runs a test of this program in a separate process, which ends when this is dropped.
    pub fn start(test: &str, url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args([test, "--exact", "--nocapture"])
            .env(OTHER, url)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("this program can be started again");
        let said = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Self { child, said }
    }

    /// Waits until it prints a line that contains `what`; returns that line from there on.
    pub async fn says(&mut self, what: &str) -> String {
        within(async {
            loop {
                let line = self.said.next_line().await.expect("its output can be read").expect("it says something");
                if let Some(at) = line.find(what) {
                    return line[at..].to_owned();
                }
            }
        })
        .await
    }

    /// Sends it a signal: `-KILL`, `-STOP`, `-CONT`.
    pub fn signal(&self, signal: &str) {
        let process = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([signal, &process]).status().expect("kill can be run");
        assert!(sent.success());
    }
}
