//! Native implementation: tokio's timers and tasks.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{LazyLock, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Milliseconds since the Unix epoch by this machine's clock.
pub(crate) fn wall_clock_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Time since an arbitrary instant of this process; never decreases. It is the time of the runtime's timers, so a test
/// that pauses tokio's time pauses this too.
pub(crate) fn monotonic() -> Duration {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    ORIGIN.elapsed()
}

/// During long work: lets everything else in the runtime have a turn, including timers and connections.
pub(crate) async fn give_turn() {
    // A task that only wakes itself would run dozens of turns before a single-threaded runtime checks its timers.
    tokio::task::yield_now().await;
}

/// tokio's timer wheel covers about two years; longer waits are taken in steps.
const STEP: Duration = Duration::from_hours(180 * 24);

/// Resolves after `duration`.
pub(crate) async fn sleep(duration: Duration) {
    let mut left = duration;
    while left > STEP {
        tokio::time::sleep(STEP).await;
        left -= STEP;
    }
    tokio::time::sleep(left).await;
}

pin_project! {
    /// As [`sleep`], for hand-written futures that must not allocate. With a zero duration it is ready at once.
    #[derive(Debug)]
    pub(crate) struct Sleep {
        #[pin]
        timer: Option<tokio::time::Sleep>,
        left: Duration,
    }
}

impl Sleep {
    pub(crate) fn new(duration: Duration) -> Self {
        let step = duration.min(STEP);
        Self { timer: (!step.is_zero()).then(|| tokio::time::sleep(step)), left: duration.saturating_sub(step) }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(mut timer) = this.timer.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        loop {
            ready!(timer.as_mut().poll(context));
            if this.left.is_zero() {
                return Poll::Ready(());
            }
            let step = (*this.left).min(STEP);
            *this.left -= step;
            timer.as_mut().reset(Instant::now() + step);
        }
    }
}

/// Starts tasks, also from threads outside a runtime: it remembers the last runtime in which it was used.
#[derive(Debug, Default)]
pub(crate) struct Spawner {
    remembered: Mutex<Option<Handle>>,
}

impl Spawner {
    /// Runs `future` to completion in the background. Returns `false` if there is no runtime to run it on.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        match self.handle() {
            Some(handle) => {
                handle.spawn(future);
                true
            }
            None => false,
        }
    }

    /// Remembers the caller's runtime for calls from other threads.
    #[cfg(feature = "redis")]
    pub(crate) fn remember(&self) {
        self.handle();
    }

    fn handle(&self) -> Option<Handle> {
        let mut remembered = self.remembered.lock().expect("no code panics while it holds this lock");
        if let Ok(current) = Handle::try_current() {
            // Usually the ids are equal; then the old handle need not be replaced and dropped.
            if remembered.as_ref().is_none_or(|known| known.id() != current.id()) {
                *remembered = Some(current.clone());
            }
            return Some(current);
        }
        remembered.clone()
    }
}

/// A closure called on a thread of its own, so that a slow, hanging or panicking one delays nothing.
pub(crate) struct Listener<T> {
    sender: SyncSender<T>,
}

impl<T: Send + 'static> Listener<T> {
    /// At most `room` calls are queued. The thread ends when the listener is dropped and the queue is empty.
    pub(crate) fn new(room: usize, call: impl Fn(T) + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(room);
        let listen = move || {
            for said in receiver {
                if catch_unwind(AssertUnwindSafe(|| call(said))).is_err() {
                    tracing::warn!("an observer panicked; it is told of what comes next");
                }
            }
        };
        // Without a thread nobody listens, and every `tell` returns `false`.
        let _ = std::thread::Builder::new().name("tidelock-observer".to_owned()).spawn(listen);
        Self { sender }
    }

    /// Queues a call; returns `false` if the queue is full.
    pub(crate) fn tell(&self, said: T) -> bool {
        self.sender.try_send(said).is_ok()
    }
}

impl<T> std::fmt::Debug for Listener<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}
