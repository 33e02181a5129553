//! Browser implementation: the host's clock and timers, and an executor for the page's only thread.
//!
//! Everything of the host is looked up on the global object at each use, so that a test may replace the timers. Tasks
//! run as far as they can before a call, or a timer, returns control to the page: see [`web`](crate::web).

#[path = "web/executor.rs"]
mod executor;
#[path = "web/timer.rs"]
mod timer;

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::time::Duration;

pub(crate) use self::executor::seed;
pub use self::executor::{Begun, Pending, begin};
pub(crate) use self::timer::{Sleep, sleep};

/// Milliseconds since the Unix epoch by the host's clock.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "instants before 1970 count as 1970")]
pub(crate) fn wall_clock_millis() -> u64 {
    js_sys::Date::now() as u64
}

/// Time since the page was opened; never decreases.
///
/// It follows the wall clock, so that it includes the time in which the machine slept. When the clock is set back, it
/// stands still.
pub(crate) fn monotonic() -> Duration {
    std::thread_local! {
        static LAST: Cell<(u64, Duration)> = Cell::new((wall_clock_millis(), Duration::ZERO));
    }
    LAST.with(|last| {
        let (before, passed) = last.get();
        let now = wall_clock_millis();
        let passed = passed + Duration::from_millis(now.saturating_sub(before));
        last.set((now, passed));
        passed
    })
}

/// During long work: lets the other tasks have a turn, and the page when its turn is due.
pub(crate) async fn give_turn() {
    crate::runtime::yield_now().await;
}

/// Starts tasks on the page's only thread.
#[derive(Debug)]
pub(crate) struct Spawner {
    _page: (),
}

impl Default for Spawner {
    fn default() -> Self {
        executor::seed();
        Self { _page: () }
    }
}

impl Spawner {
    /// Runs `future` to completion in the background.
    #[expect(clippy::unused_self, reason = "the native twin remembers a runtime in it")]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        executor::spawn(future);
        true
    }
}

/// A closure called in a task of its own.
pub(crate) struct Listener<T> {
    sender: tokio::sync::mpsc::Sender<T>,
}

impl<T: Send + 'static> Listener<T> {
    /// At most `room` calls are queued. The task ends when the listener is dropped and the queue is empty.
    pub(crate) fn new(room: usize, call: impl Fn(T) + Send + 'static) -> Self {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(room);
        executor::spawn(async move {
            while let Some(said) = receiver.recv().await {
                call(said);
            }
        });
        Self { sender }
    }

    /// Queues a call; returns `false` if the queue is full.
    pub(crate) fn tell(&self, said: T) -> bool {
        self.sender.try_send(said).is_ok()
    }
}

impl<T> fmt::Debug for Listener<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}
