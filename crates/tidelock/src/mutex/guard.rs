//! What a holder has in hand.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lifecycle::Hold;
use crate::mutex::holding::Holding;
use crate::mutex::{GrantEnd, Release, check_lease};
use crate::runtime::BoxFuture;

/// The right to act on one resource until it is released, dropped or lost.
///
/// The guard cannot stop its holder: a process that was frozen goes on when it wakes, not knowing that somebody else
/// holds the lock by then. What must not be written twice is protected by the [fence](Self::fence), where it is written.
///
/// Dropping the guard releases it in the background, from any thread; nothing blocks or panics. If the backend cannot be
/// reached, the release is repeated until the lease must have run out.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct Guard {
    holding: Arc<Holding>,
    resource: Arc<str>,
    /// `None` once it is released.
    hold: Option<Hold>,
}

impl Guard {
    pub(crate) fn new(holding: Arc<Holding>, resource: &Arc<str>, hold: Hold) -> Self {
        Self { holding, resource: Arc::clone(resource), hold: Some(hold) }
    }

    /// The resource, as it was given to `lock`.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The number of this grant: greater than that of every earlier grant of this resource, and below 2^53.
    ///
    /// Hand it to whatever the lock protects, which refuses a smaller one than it has seen: `UPDATE t SET …, fence = $f
    /// WHERE id = $1 AND fence <= $f` changes no row for a holder whose lock is another's by now. It could repeat only if
    /// the server's clock were set back by more than the hour that a record outlives its use.
    pub fn fence(&self) -> u64 {
        self.holding.fence()
    }

    /// Whether the grant ended before the guard was released: by an answer of the backend, or because the time is over
    /// for which the last answer proves it. Final.
    pub fn is_lost(&self) -> bool {
        self.holding.is_lost()
    }

    /// How long this process can still prove that it holds the lock; zero once it is lost.
    ///
    /// Counted from before the last confirmed request, less a margin (a hundredth of the lease, at least 1 ms, at most
    /// 1 min), so it is never longer than the truth. Time in which the machine slept counts.
    pub fn valid_for(&self) -> Duration {
        self.holding.valid_for()
    }

    /// Resolves when the grant ends, whether or not the backend can be reached; see [`GrantEnd`].
    ///
    /// The future borrows nothing and may outlive the guard: it then resolves with [`GrantEnd::Finished`]. Dropping it
    /// does nothing.
    pub fn lost(&self) -> Lost {
        Lost(Box::pin(Arc::clone(&self.holding).lost()))
    }

    /// Sets what is left of the lease to `lease`, which may shorten it: whole milliseconds, 1 ms (100 ms if it renews
    /// itself) to 10 years. From then on it is the lease of this guard and of its renewal.
    ///
    /// `false`: it is lost. The guard stays as it was after an error of kind *invalid argument*; after *connection* or
    /// *timeout* it is unknown whether the lease changed, and [`valid_for`](Self::valid_for) counts with the shorter one.
    ///
    /// Dropping the future after its first poll: the request still goes out.
    pub async fn extend(&self, lease: Duration) -> Result<bool> {
        check_lease(Error::argument, lease, self.holding.renews()).map_err(|error| self.failed("extend", error))?;
        let answer = self.holding.extend(lease).await;
        answer.map_err(|error| self.failed("extend", error))
    }

    /// Gives the lock to the next waiter; answers whether it was still held.
    ///
    /// The answer is the backend's: *released*, too, if only the proof had ended. After an error of kind *connection* or
    /// *timeout* the release is repeated in the background until it is answered or the lease must have run out.
    ///
    /// Dropping the future: the lock is released in the background.
    pub async fn release(mut self) -> Result<Release> {
        let hold = self.hold.take();
        let room = self.holding.room();
        let answer = room.sent(Arc::clone(&self.holding).release(hold)).await;
        answer.map_err(|error| self.failed("release", error))
    }

    fn failed(&self, operation: &str, error: Error) -> Error {
        error.in_context(format!("{operation} {:?} of mutex {:?}", self.resource, self.holding.mutex()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            Arc::clone(&self.holding).release_in_background(Some(hold));
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("mutex", &self.holding.mutex())
            .field("resource", &self.resource)
            .field("fence", &self.fence())
            .finish_non_exhaustive()
    }
}

/// The end of a grant to come; made by [`Guard::lost`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Lost(BoxFuture<'static, GrantEnd>);

impl Future for Lost {
    type Output = GrantEnd;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<GrantEnd> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost").finish_non_exhaustive()
    }
}
