//! Tasks in a page, with the interface of `tokio::task`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::{AbortHandle, abortable, join_all};
use tokio::sync::oneshot;
use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};

#[wasm_bindgen(inline_js = "
const { port1, port2 } = new MessageChannel();
const waiting = [];
port1.onmessage = () => waiting.shift()();
// Node would go on for it.
port1.unref?.();
export function at_next_turn(call) {
  waiting.push(call);
  port2.postMessage(null);
}
")]
extern "C" {
    /// Calls after the page's pending events. Unlike a timer with delay 0, it calls at once if there are none.
    fn at_next_turn(call: JsValue);
}

/// Gives the page a turn, with its timers and all of its tasks.
pub async fn yield_now() {
    let (tell, told) = oneshot::channel();
    at_next_turn(Closure::once_into_js(move || {
        // The yielding future may have been dropped meanwhile.
        let _ = tell.send(());
    }));
    told.await.expect("the page calls");
}

/// Runs a task in the background.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let (tell, result) = oneshot::channel();
    let (task, abort) = abortable(future);
    wasm_bindgen_futures::spawn_local(async move {
        if let Ok(result) = task.await {
            let _ = tell.send(result);
        }
    });
    JoinHandle { result, abort }
}

/// A handle to a task, which continues when this is dropped.
#[derive(Debug)]
pub struct JoinHandle<T> {
    result: oneshot::Receiver<T>,
    abort: AbortHandle,
}

impl<T> JoinHandle<T> {
    /// Makes the page drop the task at its next turn.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.abort.is_aborted() || !self.result.is_empty()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(context).map_err(|_| JoinError)
    }
}

/// The task was aborted. It cannot have panicked, because a panic ends the page.
#[derive(Debug)]
pub struct JoinError;

/// Tasks that are joined together.
#[derive(Debug)]
pub struct JoinSet<T> {
    tasks: Vec<JoinHandle<T>>,
}

impl<T: 'static> JoinSet<T> {
    /// An empty set.
    #[expect(clippy::new_without_default, reason = "the suites make it as tokio's")]
    pub fn new() -> Self {
        Self { tasks: Vec::new() }
    }

    /// Runs another future in the background.
    pub fn spawn(&mut self, future: impl Future<Output = T> + 'static) {
        self.tasks.push(spawn(future));
    }

    /// Waits for all tasks and returns their results.
    pub async fn join_all(self) -> Vec<T> {
        let results = join_all(self.tasks).await;
        results.into_iter().map(|result| result.expect("nobody aborts it")).collect()
    }
}
