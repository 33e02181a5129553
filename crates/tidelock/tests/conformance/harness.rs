//! A separate namespace for each test, on each backend.

use tidelock::{ManualClock, Tidelock, Timestamp};

/// Where one test runs: a backend, and a prefix that no other test uses.
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
    /// The world of `backend`; `None` if its server does not run, which is allowed only outside CI.
    pub fn on(backend: &str, test: &str) -> Option<Self> {
        let server = match backend {
            "in_process" => None,
            name => Some(shared_server(name)?),
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

    /// Opens the backend as another process would. In process there is only one, so each call returns a clone of it.
    pub async fn open(&self) -> Tidelock {
        match &self.server {
            None => self.local.clone(),
            Some(url) => connect(url, &self.prefix, self.clock.as_ref()).await,
        }
    }

    /// Whether several calls of [`World::open`] act as several processes.
    pub fn has_processes(&self) -> bool {
        self.server.is_some()
    }

    /// The server's URL and the prefix of all keys, if there is a server.
    #[cfg(not(target_family = "wasm"))]
    pub fn server(&self) -> Option<(&str, &str)> {
        self.server.as_deref().map(|url| (url, self.prefix.as_str()))
    }
}

#[cfg(not(target_family = "wasm"))]
fn shared_server(name: &str) -> Option<String> {
    let server = tidelock_testkit::shared_servers().into_iter().find(|(server, _)| server == name);
    if server.is_none() {
        assert!(!tidelock_testkit::is_ci(), "{name} must run in CI");
        eprintln!("skipped on {name}: TIDELOCK_TEST_SERVERS names no such server");
    }
    Some(server?.1)
}

#[cfg(target_family = "wasm")]
fn shared_server(name: &str) -> Option<String> {
    unreachable!("a page has no {name}")
}

#[cfg(not(target_family = "wasm"))]
async fn connect(url: &str, prefix: &str, clock: Option<&ManualClock>) -> Tidelock {
    let mut connect = Tidelock::connect(url).prefix(prefix).name("test");
    if let Some(clock) = clock {
        connect = connect.clock(clock);
    }
    connect.await.expect("the test's server answers")
}

#[cfg(target_family = "wasm")]
fn connect(url: &str, _prefix: &str, _clock: Option<&ManualClock>) -> std::future::Ready<Tidelock> {
    unreachable!("a page has no {url}")
}

/// How many of `full` repetitions to run.
#[cfg(not(target_family = "wasm"))]
pub use tidelock_testkit::scale;

/// How many of `full` repetitions to run in a page, which does not know of soak runs.
#[cfg(target_family = "wasm")]
pub fn scale(full: usize) -> usize {
    (full / 10).max(1)
}

/// Runs `call` on another thread, if there are threads.
pub fn elsewhere(call: impl FnOnce() + Send + 'static) {
    #[cfg(not(target_family = "wasm"))]
    std::thread::spawn(call).join().expect("the thread comes to its end");
    #[cfg(target_family = "wasm")]
    call();
}

/// Runs one test function on every backend, and in a page.
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

            #[cfg(target_family = "wasm")]
            #[test]
            fn in_page() {
                tokio::cases::add(module_path!(), run_on("in_process"));
            }

            #[cfg(not(target_family = "wasm"))]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_process() {
                run_on("in_process").await;
            }

            #[cfg(not(target_family = "wasm"))]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis62() {
                run_on("redis62").await;
            }

            #[cfg(not(target_family = "wasm"))]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn redis70() {
                run_on("redis70").await;
            }

            #[cfg(not(target_family = "wasm"))]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn valkey8() {
                run_on("valkey8").await;
            }

            #[cfg(not(target_family = "wasm"))]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn cluster() {
                run_on("cluster").await;
            }
        }
    };
}

/// Runs one test function that needs no world in this process, and in a page.
#[macro_export]
macro_rules! in_process {
    ($(#[$attribute:meta])* $name:ident, $body:expr) => {
        $crate::alone!($(#[$attribute])* $name, #[tokio::test], add, $body);
    };
}

/// As `in_process`, in paused time, which jumps to the next timer when nothing else is left to do.
#[macro_export]
macro_rules! paused {
    ($(#[$attribute:meta])* $name:ident, $body:expr) => {
        $crate::alone!($(#[$attribute])* $name, #[tokio::test(start_paused = true)], add_paused, $body);
    };
}

/// A test function that runs natively and in a page.
#[macro_export]
macro_rules! alone {
    ($(#[$attribute:meta])* $name:ident, #[$native:meta], $in_page:ident, $body:expr) => {
        $(#[$attribute])*
        #[cfg(not(target_family = "wasm"))]
        #[$native]
        async fn $name() {
            let body = $body;
            body().await;
        }

        $(#[$attribute])*
        #[cfg(target_family = "wasm")]
        #[test]
        fn $name() {
            tokio::cases::$in_page(concat!(module_path!(), "::", stringify!($name)), async {
                let body = $body;
                body().await;
            });
        }
    };
}
