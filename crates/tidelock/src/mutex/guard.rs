//! What a holder has in hand.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lifecycle::Hold;
use crate::mutex::tenure::Tenure;
use crate::mutex::{GrantEnd, Release, check_lease};
use crate::runtime::BoxFuture;

/// The right to act on one resource until it is released, dropped or lost.
///
/// The guard cannot stop its holder: a process that was paused continues when it wakes, not knowing that somebody else
/// holds the lock by then. Protect whatever must not be overwritten by checking the [fence](Self::fence) where it is
/// written.
///
/// Dropping the guard releases it in the background, from any thread; nothing blocks or panics. If the backend cannot
/// be reached, the release is repeated until the lease must have run out.
#[must_use = "the lock is released as soon as the guard is dropped"]
pub struct Guard {
    tenure: Arc<Tenure>,
    resource: Arc<str>,
    /// `None` once it is released.
    hold: Option<Hold>,
}

impl Guard {
    pub(crate) fn new(tenure: Arc<Tenure>, resource: &Arc<str>, hold: Hold) -> Self {
        Self { tenure, resource: Arc::clone(resource), hold: Some(hold) }
    }

    /// The resource, as passed to `lock`.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The fencing token of this grant: greater than that of every earlier grant of this resource, and below 2^53.
    ///
    /// Pass it to whatever the lock protects, which must refuse a smaller one than it has seen:
    /// `UPDATE t SET …, fence = $f WHERE id = $1 AND fence <= $f` changes no row for a holder that has lost the lock.
    /// It could repeat only if the server's clock were set back by more than the hour for which a record outlives its
    /// use.
    pub fn fence(&self) -> u64 {
        self.tenure.fence()
    }

    /// Whether the grant ended before the guard was released: the backend said so, or the last answer no longer proves
    /// it. Final.
    pub fn is_lost(&self) -> bool {
        self.tenure.is_lost()
    }

    /// How long this process can still prove that it holds the lock; zero once it is lost.
    ///
    /// Counted from before the last confirmed request was sent, less a margin (1 % of the lease, at least 1 ms, at most
    /// 1 min), so it is never longer than the truth. Time during which the machine was suspended counts.
    pub fn valid_for(&self) -> Duration {
        self.tenure.valid_for()
    }

    /// Resolves when the grant ends, whether or not the backend can be reached; see [`GrantEnd`].
    ///
    /// The future borrows nothing and may outlive the guard: it then resolves to [`GrantEnd::Finished`]. Dropping it
    /// does nothing.
    pub fn lost(&self) -> Lost {
        Lost(Box::pin(Arc::clone(&self.tenure).lost()))
    }

    /// Sets the rest of the lease to `lease`, which may shorten it: whole milliseconds, 1 ms (100 ms if it is renewed
    /// automatically) to 10 years. From then on it is the lease of this guard and of its renewals.
    ///
    /// Returns `false` if the lock is lost. After an error of kind *invalid argument* the guard is unchanged; after
    /// *connection* or *timeout* it is unknown whether the lease changed, and [`valid_for`](Self::valid_for) assumes
    /// the shorter one.
    ///
    /// If the future is dropped after its first poll, the request is still sent.
    pub async fn extend(&self, lease: Duration) -> Result<bool> {
        check_lease(Error::argument, lease, self.tenure.renews()).map_err(|error| self.failed("extend", error))?;
        let answer = self.tenure.extend(lease).await;
        answer.map_err(|error| self.failed("extend", error))
    }

    /// Passes the lock to the next waiter; returns whether it was still held.
    ///
    /// The answer is the backend's: *released* even if only the proof had ended. After an error of kind *connection* or
    /// *timeout* the release is repeated in the background until it is answered or the lease must have run out.
    ///
    /// If the future is dropped, the lock is released in the background.
    pub async fn release(mut self) -> Result<Release> {
        let hold = self.hold.take();
        let room = self.tenure.room();
        let answer = room.sent(Arc::clone(&self.tenure).release(hold)).await;
        answer.map_err(|error| self.failed("release", error))
    }

    fn failed(&self, operation: &str, error: Error) -> Error {
        error.in_context(format!("{operation} {:?} of mutex {:?}", self.resource, self.tenure.mutex()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            Arc::clone(&self.tenure).release_in_background(Some(hold));
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("mutex", &self.tenure.mutex())
            .field("resource", &self.resource)
            .field("fence", &self.fence())
            .finish_non_exhaustive()
    }
}

/// The future end of a grant; created by [`Guard::lost`].
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
