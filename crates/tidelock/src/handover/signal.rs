//! A signal that is given once and stays given.

use tokio::sync::watch;

/// Given once; everybody who waits for it, now or later, goes on.
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
