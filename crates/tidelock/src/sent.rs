//! Requests that complete once they have been polled, even if nobody waits for them any more.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::lifecycle::Lifecycle;
use crate::runtime::{BoxFuture, Spawner};

/// A request in flight. If it is dropped after it was polled, it continues in the background.
pub(crate) struct Sent<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    polled: bool,
    spawner: Arc<Spawner>,
    /// What a shutdown waits for while the request continues in the background.
    held: Option<(Lifecycle, &'static str, Arc<str>)>,
}

impl<T: Send + 'static> Sent<T> {
    pub(crate) fn new(future: BoxFuture<'static, T>, spawner: &Arc<Spawner>) -> Self {
        Self { future: Some(future), polled: false, spawner: Arc::clone(spawner), held: None }
    }

    /// Makes a shutdown wait for the request even if nobody else does, as something of `kind` of that object.
    pub(crate) fn held(mut self, lifecycle: &Lifecycle, kind: &'static str, object: &Arc<str>) -> Self {
        self.held = Some((lifecycle.clone(), kind, Arc::clone(object)));
        self
    }

    /// Sends the request without waiting. In process it has completed when this returns, so it needs no runtime there.
    pub(crate) fn detach(mut self) {
        let _ = Pin::new(&mut self).poll(&mut Context::from_waker(Waker::noop()));
    }
}

impl<T: Send + 'static> Future for Sent<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.polled = true;
        let future = self.future.as_mut().expect("a future is not polled after its end");
        let answer = future.as_mut().poll(context);
        if answer.is_ready() {
            self.future = None;
        }
        answer
    }
}

impl<T: Send + 'static> Drop for Sent<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take().filter(|_| self.polled) {
            let hold = self.held.as_ref().map(|(lifecycle, kind, object)| lifecycle.hold(kind, object));
            // Nobody waits for the answer.
            self.spawner.spawn(future.map(|_| drop(hold)));
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Sent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("polled", &self.polled).finish_non_exhaustive()
    }
}

/// Completes at the first poll if possible, as in process; anything else runs in a task of its own. This is for
/// requests that hold a lock until they are answered: a caller that was polled once and then left alone would never
/// release it.
pub(crate) async fn in_task<T: Send + 'static>(
    spawner: &Spawner,
    mut future: BoxFuture<'static, Result<T>>,
) -> Result<T> {
    if let Some(answer) = (&mut future).now_or_never() {
        return answer;
    }
    let (tell, told) = oneshot::channel();
    spawner.spawn(async move {
        // The caller may be gone.
        let _ = tell.send(future.await);
    });
    let ended = || Error::new(ErrorKind::Timeout, "the outcome is unknown: the runtime was shut down");
    told.await.unwrap_or_else(|_| Err(ended()))
}
