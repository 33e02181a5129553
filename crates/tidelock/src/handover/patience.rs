//! How long a worker keeps what it has taken ahead of a free handler.

use std::time::Duration;

use super::site::Site;
use crate::runtime::{self, BoxFuture};
use crate::time::{SECOND, Tick};

/// How long something with this lease, in milliseconds, may wait for a handler before it is given back, so that others
/// can run it.
pub(crate) fn patience(lease: u64) -> Duration {
    (Duration::from_millis(lease) / 4).min(SECOND)
}

/// The timer for when the first of what waits for a handler has waited for too long.
#[derive(Default)]
pub(crate) struct Impatience(Option<BoxFuture<'static, ()>>);

impl Impatience {
    /// Sets the timer, unless it is set. It may then fire too early, if what it was set for has been started since.
    pub(crate) fn watch(&mut self, site: &Site, stale_at: impl FnOnce() -> Option<Tick>) {
        if self.0.is_none()
            && let Some(at) = stale_at()
        {
            let clock = site.clock().clone();
            self.0 = Some(Box::pin(async move { clock.sleep_until(at).await }));
        }
    }

    /// Resolves when the timer fires; never without one.
    pub(crate) async fn ended(&mut self) {
        runtime::or_never(self.0.as_mut()).await;
        self.0 = None;
    }
}
