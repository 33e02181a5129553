//! What happens by time even if nobody calls: a process sweeps the queues that it used within the last hour.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::Remote;
use crate::backend::redis::Server;
use crate::name::Address;
use crate::time::{HOUR, SECOND, Timestamp};

/// The queues that a process knows.
type Queues = Mutex<HashMap<Address, Arc<Remote>>>;

/// The task that sweeps. It runs while there are queues to sweep.
#[derive(Debug)]
pub(super) struct Sweeper {
    server: Weak<Server>,
    queues: Weak<Queues>,
    running: Arc<AtomicBool>,
}

impl Sweeper {
    pub(super) fn new(server: &Arc<Server>, queues: &Arc<Queues>) -> Self {
        Self { server: Arc::downgrade(server), queues: Arc::downgrade(queues), running: Arc::default() }
    }

    /// Starts the task unless it runs.
    pub(super) fn start(&self) {
        if self.running.swap(true, Ordering::AcqRel) {
            return;
        }
        let Some(server) = self.server.upgrade() else { return };
        let (weak, queues, running) = (self.server.clone(), self.queues.clone(), Arc::clone(&self.running));
        let started = server.spawner.spawn(async move {
            let _stopped = Stopped(running);
            while round(&weak, &queues).await {}
        });
        if !started {
            self.running.store(false, Ordering::Release);
        }
    }
}

/// Marks the task as ended, also where its runtime was shut down.
struct Stopped(Arc<AtomicBool>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Waits a second or so, then sweeps what is overdue; `false` when there is nothing left to care for.
async fn round(server: &Weak<Server>, queues: &Weak<Queues>) -> bool {
    let Some(strong) = server.upgrade() else { return false };
    let (clock, lifecycle) = (strong.clock.clone(), strong.lifecycle.clone());
    drop(strong);
    let pause = SECOND + Duration::from_millis(fastrand::u64(0..500));
    tokio::select! {
        () = clock.sleep(pause) => {}
        () = lifecycle.closed() => return false,
    }
    let Some(queues) = queues.upgrade() else { return false };
    let now = clock.tick();
    let overdue: Vec<_> = {
        let mut queues = queues.lock().expect("no code panics while it holds this lock");
        queues.retain(|_, remote| {
            let used = *remote.used.lock().expect("no code panics while it holds this lock");
            let waited_for = Arc::strong_count(&remote.bell) > 1 || Arc::strong_count(remote) > 1;
            waited_for || now.since(used) < HOUR
        });
        queues.shrink_to_fit();
        queues.values().filter(|remote| remote.is_overdue(clock.now())).cloned().collect()
    };
    let keeps_on = !queues.lock().expect("no code panics while it holds this lock").is_empty();
    drop(queues);
    let sweeps = overdue.iter().map(|remote| async {
        if let Err(error) = remote.sweep().await {
            tracing::debug!(queue = %remote.place.tag, %error, "a queue could not be swept");
        }
    });
    futures_util::future::join_all(sweeps).await;
    keeps_on
}

impl Remote {
    /// Whether the deadline that the server told last has passed. The local clock only chooses when to ask.
    fn is_overdue(&self, now: Timestamp) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        next != 0 && next <= now.as_millis()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.server.wakes.forget(&self.place.tag);
    }
}
