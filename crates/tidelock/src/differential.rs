//! Differential tests: random requests to a model and to every server there is.
//!
//! `TIDELOCK_SEED` repeats a run; the seed of each run is printed.

use std::future::Future;

/// Runs `run(url, steps, seed)` on every server at once; `steps` are those of all servers together, ten times as many in a
/// soak.
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
