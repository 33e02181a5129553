//! The runtime abstraction: sleep, spawn and clocks, implemented natively by tokio and in a page by the host.
//!
//! Both implementations have the same signatures and `Send` futures, so no other code depends on the target.

#[cfg(not(target_family = "wasm"))]
#[path = "runtime/native.rs"]
mod target;
#[cfg(target_family = "wasm")]
#[path = "runtime/web.rs"]
mod target;

#[cfg(target_family = "wasm")]
pub(crate) use target::seed;
#[cfg(target_family = "wasm")]
pub use target::{Begun, Pending, begin};
pub(crate) use target::{Listener, Sleep, Spawner, give_turn, monotonic, sleep, wall_clock_millis};

use std::future::Future;
use std::pin::Pin;

/// Resolves after a time, for a page that waits with nothing to wait for.
#[cfg(target_family = "wasm")]
pub async fn pause(time: std::time::Duration) {
    sleep(time).await;
}

/// A boxed future, as the store traits return it.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A boxed future of a known value.
pub(crate) fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

/// Awaits a future; without one, never resolves.
pub(crate) async fn or_never<T>(future: Option<impl Future<Output = T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Lets every other ready task run once. Timers and connections may not get a turn: see [`give_turn`].
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
