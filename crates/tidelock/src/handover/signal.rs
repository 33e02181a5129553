//! A signal that is given once and stays given, and a task that it ends.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::runtime::Spawner;

/// Given once. Everybody who waits for it, now or later, continues.
#[derive(Debug)]
pub(crate) struct Signal(watch::Sender<bool>);

impl Default for Signal {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Signal {
    pub(crate) fn give(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_given(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn given(&self) {
        // The sender lives as long as `self`, so the wait can end only by the signal.
        let _ = self.0.subscribe().wait_for(|given| *given).await;
    }
}

/// A background task of an owner that does not wait for it. Dropping this ends the task.
#[derive(Debug)]
pub(crate) struct Companion {
    stop: Arc<Signal>,
}

impl Companion {
    pub(crate) fn start(spawner: &Spawner, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let stop = Arc::new(Signal::default());
        let stopped = Arc::clone(&stop);
        spawner.spawn(async move {
            tokio::select! {
                () = work => {}
                () = stopped.given() => {}
            }
        });
        Self { stop }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.stop.give();
    }
}
