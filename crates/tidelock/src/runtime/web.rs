//! Browser twin: the host's timers and microtasks.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use send_wrapper::SendWrapper;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(callback: &js_sys::Function, millis: i32);
}

/// Milliseconds since the Unix epoch by the host's clock.
pub(crate) fn wall_clock_millis() -> u64 {
    let since = web_time::SystemTime::now().duration_since(web_time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Time since the page was opened; never runs back.
pub(crate) fn monotonic() -> Duration {
    std::thread_local! {
        static ORIGIN: web_time::Instant = web_time::Instant::now();
    }
    ORIGIN.with(web_time::Instant::elapsed)
}

/// Resolves after `duration`. The host's timers overflow at 2^31 ms and then fire at once, so long waits go in steps.
pub(crate) async fn sleep(duration: Duration) {
    let mut left = duration.as_nanos().div_ceil(1_000_000);
    loop {
        let step = i32::try_from(left).unwrap_or(i32::MAX);
        SendWrapper::new(timeout(step)).await;
        left -= u128::from(step.unsigned_abs());
        if left == 0 {
            return;
        }
    }
}

/// As [`sleep`], with a name. One of no time lets the page's other events run first.
pub(crate) struct Sleep {
    wait: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Sleep {
    pub(crate) fn new(duration: Duration) -> Self {
        Self { wait: Box::pin(sleep(duration)) }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.wait.as_mut().poll(context)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

async fn timeout(millis: i32) {
    let promise = js_sys::Promise::new(&mut |resolve, _reject| set_timeout(&resolve, millis));
    // A promise that only a timer resolves cannot be rejected.
    let _ = JsFuture::from(promise).await;
}

/// Starts tasks on the page's only thread.
#[derive(Debug, Default)]
pub(crate) struct Spawner {
    _page: (),
}

impl Spawner {
    /// Runs `future` to its end in the background.
    #[expect(clippy::unused_self, reason = "the native twin remembers a runtime in it")]
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> bool {
        wasm_bindgen_futures::spawn_local(future);
        true
    }
}

/// A closure that is called beside the work, when the page has time.
pub(crate) struct Listener<T> {
    sender: tokio::sync::mpsc::Sender<T>,
}

impl<T: Send + 'static> Listener<T> {
    /// At most `room` calls wait. It ends when the listener was dropped and all that waits was told.
    pub(crate) fn new(room: usize, call: impl Fn(T) + Send + 'static) -> Self {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(room);
        wasm_bindgen_futures::spawn_local(async move {
            while let Some(said) = receiver.recv().await {
                call(said);
            }
        });
        Self { sender }
    }

    /// Puts a call into the line; no if the line is full.
    pub(crate) fn tell(&self, said: T) -> bool {
        self.sender.try_send(said).is_ok()
    }
}

impl<T> fmt::Debug for Listener<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}
