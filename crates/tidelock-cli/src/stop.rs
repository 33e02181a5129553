//! Ctrl-C and SIGTERM.

use tokio::sync::watch;

use crate::exit::Exit;
use crate::output;

/// Becomes true at the first signal; the second one ends the process at once.
pub(crate) fn on_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        signal().await;
        sender.send_replace(true);
        signal().await;
        std::process::exit(Exit::Interrupted as i32);
    });
    receiver
}

/// Runs something endless until a signal ends it, which counts as success, or nobody reads stdout any more.
pub(crate) async fn until_signal(endless: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let mut stop = on_signal();
    tokio::select! {
        outcome = endless => outcome,
        _ = stop.wait_for(|stop| *stop) => Ok(Exit::Yes),
        unread = output::unread() => Err(unread.into()),
    }
}

#[cfg(unix)]
pub(crate) async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};

    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
pub(crate) async fn signal() {
    drop(tokio::signal::ctrl_c().await);
}
