//! Differential tests: random requests to a model and to every available server.
//!
//! `TIDELOCK_SEED` repeats a run; the seed of each run is printed.

use std::future::Future;

use tidelock_testkit::Proxy;

/// A proxy that loses the reply of every twentieth step: the retry must return the first answer.
pub(crate) struct LostReplies(Proxy);

impl LostReplies {
    /// `None`: the URL is not that of a single server.
    pub(crate) async fn before(url: &str) -> Option<Self> {
        let port = url.strip_prefix("redis://127.0.0.1:")?.parse().ok()?;
        Some(Self(Proxy::start(port).await.unwrap()))
    }

    pub(crate) fn url(&self) -> String {
        self.0.url()
    }

    pub(crate) fn at_step(&self, step: usize) {
        if step % 20 == 19 {
            self.0.drop_reply_after(1);
        }
    }
}

/// Runs `run(url, steps, seed)` on every server concurrently. `steps` is the total over all servers; a soak runs ten
/// times as many.
pub(crate) async fn on_every_server<Fut>(steps: usize, run: impl Fn(String, usize, u64) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let servers = tidelock_testkit::shared_servers();
    if servers.is_empty() {
        assert!(!tidelock_testkit::is_ci(), "servers must run in CI");
        eprintln!("skipped: TIDELOCK_TEST_SERVERS names no server");
        return;
    }
    let seed =
        std::env::var("TIDELOCK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("TIDELOCK_SEED={seed}");
    let steps = steps * if tidelock_testkit::soak() { 10 } else { 1 } / servers.len();
    let mut runs = tokio::task::JoinSet::new();
    for (name, url) in servers {
        eprintln!("{name}: {steps} steps");
        runs.spawn(run(url, steps, seed));
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}
