//! A namespace of its own for each test, on each backend.

use tidelock::{ManualClock, Tidelock, Timestamp};

/// Where one test runs: a backend, and a prefix that no other test has.
#[derive(Debug)]
pub struct World {
    server: Option<String>,
    prefix: String,
    clock: Option<ManualClock>,
    local: Tidelock,
}

/// 2026-01-01T00:00:00Z, a round number for tests that pin the time.
pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

impl World {
    /// The world of `backend`; `None` where its server does not run, which only a developer's machine may skip.
    pub fn on(backend: &str, test: &str) -> Option<Self> {
        let server = match backend {
            "in_process" => None,
            name => {
                let server = tidelock_testkit::shared_servers().into_iter().find(|(server, _)| server == name);
                if server.is_none() {
                    assert!(!tidelock_testkit::is_ci(), "{name} must run in CI");
                    eprintln!("skipped on {name}: TIDELOCK_TEST_SERVERS names no such server");
                }
                Some(server?.1)
            }
        };
        let unique: String = std::iter::repeat_with(fastrand::alphanumeric).take(10).collect();
        let test = test.rsplit("::").next().unwrap_or(test);
        Some(Self { server, prefix: format!("t.{test:.40}.{unique}"), clock: None, local: Tidelock::in_process() })
    }

    /// Pins the time of everything opened from here on.
    pub fn pin(&mut self) -> ManualClock {
        let clock = ManualClock::at(START);
        self.local = Tidelock::in_process_with(&clock);
        self.clock = Some(clock.clone());
        clock
    }

    /// Opens the backend as one more process would. In process there is only one: each call gives a clone of it.
    pub async fn open(&self) -> Tidelock {
        let Some(url) = &self.server else { return self.local.clone() };
        let mut connect = Tidelock::connect(url).prefix(&self.prefix).name("test");
        if let Some(clock) = &self.clock {
            connect = connect.clock(clock);
        }
        connect.await.expect("the test's server answers")
    }

    /// Whether several calls of [`World::open`] give several processes.
    pub fn has_processes(&self) -> bool {
        self.server.is_some()
    }

    /// The server's URL and the prefix of all keys, where there is a server.
    pub fn server(&self) -> Option<(&str, &str)> {
        self.server.as_deref().map(|url| (url, self.prefix.as_str()))
    }
}

/// Makes one test function run on every backend.
///
/// ```ignore
/// conformance!(first_in_first_out, async |world: World| { … });
/// ```
#[macro_export]
macro_rules! conformance {
    ($(#[$attribute:meta])* $name:ident, $body:expr) => {
        $(#[$attribute])*
        mod $name {
            use super::*;

            async fn run_on(backend: &str) {
                if let Some(world) = $crate::harness::World::on(backend, module_path!()) {
                    let body = $body;
                    body(world).await;
                }
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_process() {
                run_on("in_process").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis62() {
                run_on("redis62").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis70() {
                run_on("redis70").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn valkey8() {
                run_on("valkey8").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn cluster() {
                run_on("cluster").await;
            }
        }
    };
}
