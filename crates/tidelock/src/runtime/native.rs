//! Native twin: tokio's timer and tasks.

use std::future::Future;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::Handle;

/// Milliseconds since the Unix epoch by this machine's clock.
pub(crate) fn wall_clock_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Time since an arbitrary instant of this process; never runs back.
pub(crate) fn monotonic() -> Duration {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    ORIGIN.elapsed()
}

/// Resolves after `duration`.
pub(crate) async fn sleep(duration: Duration) {
    // tokio's timer wheel covers about two years; longer waits are taken in steps.
    const STEP: Duration = Duration::from_secs(180 * 86_400);
    let mut left = duration;
    while left > STEP {
        tokio::time::sleep(STEP).await;
        left -= STEP;
    }
    tokio::time::sleep(left).await;
}

/// Starts tasks, also from threads that are not of a runtime: it remembers the last runtime it was used in.
#[derive(Debug, Default)]
pub(crate) struct Spawner {
    remembered: Mutex<Option<Handle>>,
}

impl Spawner {
    /// Runs `future` to its end in the background. Answers `false` where there is no runtime to run it on.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        match self.handle() {
            Some(handle) => {
                handle.spawn(future);
                true
            }
            None => false,
        }
    }

    /// Remembers the runtime of the caller for calls from other threads.
    pub(crate) fn remember(&self) {
        self.handle();
    }

    fn handle(&self) -> Option<Handle> {
        let mut remembered = self.remembered.lock().expect("no code panics while it holds this lock");
        if let Ok(current) = Handle::try_current() {
            // Comparing ids keeps the common case free of a clone of the old handle being dropped.
            if remembered.as_ref().is_none_or(|known| known.id() != current.id()) {
                *remembered = Some(current.clone());
            }
            return Some(current);
        }
        remembered.clone()
    }
}
