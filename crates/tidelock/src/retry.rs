//! Retries with judgement: only after transient errors, with capped and jittered backoff, within limits of attempts,
//! time and budget, and with full information when giving up.
//!
//! [`retry`](retry()) needs no backend and no `Tidelock`; [`Tidelock::retry`] does the same with the clock and the
//! shutdown of one.
//!
//! See also the [guide](crate::guide::retry).

mod budget;
mod classify;
mod course;
mod failure;
mod future;
pub(crate) mod memory;
pub(crate) mod model;
mod observe;
mod policy;
#[cfg(all(feature = "redis", not(target_family = "wasm")))]
pub(crate) mod redis;
pub(crate) mod store;
mod timer;
#[cfg(target_family = "wasm")]
pub(crate) mod web;

#[cfg(all(test, feature = "redis"))]
mod differential;

use std::fmt;
use std::future::{Future, IntoFuture, Pending, pending};
use std::sync::Arc;
use std::time::Duration;

pub use self::budget::{RetryBudget, RetryBudgetBuilder};
pub use self::classify::{ByType, Retryable};
pub use self::course::Attempt;
pub use self::failure::{GaveUp, RetryError};
pub use self::future::RetryFuture;
pub use self::observe::{Retrying, Unobserved};
pub use self::policy::{RetryPolicy, RetryPolicyBuilder};

use self::classify::{Classify, FindHint};
use self::course::Course;
use self::observe::Observe;
use crate::tidelock::{Tidelock, World};

/// Runs `op` until it succeeds, fails permanently, or a limit is reached. Await the result to begin.
///
/// `op` is called with its [`Attempt`]; an async closure `async |attempt| …` works. The error must be [`Retryable`], or
/// be classified with [`Retry::when`]. Without options, [`RetryPolicy::DEFAULT`] applies: 8 attempts, pauses from 100
/// ms doubling up to 2 s. Pauses and limits use the runtime's timer (tokio's; the host's in a browser), which must
/// exist once a pause or a limit is needed.
///
/// ```
/// use std::io;
/// use tidelock::retry;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let answer = retry(async |attempt| match attempt.number() {
///     1 | 2 => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
///     number => Ok(number),
/// })
/// .await?;
/// assert_eq!(answer, 3);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`RetryError`], which contains the last error of `op` unchanged. A panic of `op` is not caught.
///
/// # Dropping
///
/// Dropping the call, awaited or not, drops the running attempt and ends everything; nothing continues in the
/// background.
pub fn retry<F, Fut, T, E>(op: F) -> Retry<F>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    Retry::new(op, None)
}

impl Tidelock {
    /// Like [`retry`](crate::retry()), with the clock of this `Tidelock`, and ending with
    /// [`GaveUp::ShuttingDown`](crate::GaveUp::ShuttingDown) when it is shut down.
    ///
    /// Each attempt is a new request: if a call must not take effect twice, give it a `dedup_key`, a `key` or the like.
    pub fn retry<F, Fut, T, E>(&self, op: F) -> Retry<F>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        Retry::new(op, Some(Arc::clone(&self.world)))
    }

    /// Starts the definition of a retry budget shared by all processes on this backend. It is identified by tenant and
    /// id.
    ///
    /// Taking a token is one request to the backend, waited for at most 100 ms; if the backend does not answer, a
    /// bucket in this process with the same numbers decides. Successes are added up here and sent with the next token,
    /// or at most once per second.
    pub fn retry_budget(&self, id: &str) -> RetryBudgetBuilder {
        RetryBudgetBuilder::on(self, id)
    }
}

/// A call to be retried, and its options; await it to run it. Created by [`retry`](crate::retry()) and
/// [`Tidelock::retry`].
///
/// The type parameters after the first are the closures and the future given as options.
#[must_use = "nothing runs until it is awaited"]
pub struct Retry<F, W = ByType, H = ByType, N = Unobserved, S = Pending<()>> {
    op: F,
    when: W,
    hint: H,
    observer: N,
    stop: S,
    course: Course,
}

impl<F> Retry<F> {
    fn new(op: F, world: Option<Arc<World>>) -> Self {
        let course = Course::new(RetryPolicy::DEFAULT, world);
        Self { op, when: ByType, hint: ByType, observer: Unobserved, stop: pending(), course }
    }
}

impl<F, W, H, N, S> Retry<F, W, H, N, S> {
    /// The limits and pauses. Default [`RetryPolicy::DEFAULT`].
    pub fn policy(mut self, policy: RetryPolicy) -> Self {
        self.course.policy = policy;
        self
    }

    /// Limits the retries of all calls that share `budget`. Default none.
    pub fn budget(mut self, budget: &RetryBudget) -> Self {
        self.course.budget = Some(budget.clone());
        self
    }

    /// The same seed gives the same pauses, on every target: for tests. Default random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.course.seed = Some(seed);
        self
    }

    /// Ends the call with [`GaveUp::Stopped`] when `stop` resolves: before an attempt, during one, or in a pause.
    ///
    /// A value that is ready at the same moment is returned all the same.
    pub fn stop<S2: Future<Output = ()>>(self, stop: S2) -> Retry<F, W, H, N, S2> {
        let Self { op, when, hint, observer, stop: _, course } = self;
        Retry { op, when, hint, observer, stop, course }
    }
}

impl<F, Fut, T, E, W, H, N, S> Retry<F, W, H, N, S>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    /// Classifies errors instead of [`Retryable`], which `E` then need not implement. Hints then come only from
    /// [`Retry::hint`].
    ///
    /// It is not asked about an attempt that was cut off: that is always retried.
    pub fn when<W2: Fn(&E) -> bool>(self, when: W2) -> Retry<F, W2, H, N, S> {
        let Self { op, when: _, hint, observer, stop, course } = self;
        Retry { op, when, hint, observer, stop, course }
    }

    /// Extracts the pause that the server asked for from an error, instead of [`Retryable::retry_after`].
    ///
    /// The next attempt starts no earlier; jitter only adds to it. See [`max_hint`](RetryPolicyBuilder::max_hint).
    pub fn hint<H2: Fn(&E) -> Option<Duration>>(self, hint: H2) -> Retry<F, W, H2, N, S> {
        let Self { op, when, hint: _, observer, stop, course } = self;
        Retry { op, when, hint, observer, stop, course }
    }

    /// Called with each retry before its pause begins. It changes nothing: a panic in it is caught and reported as a
    /// warning.
    pub fn on_retry<N2: FnMut(&Retrying<'_, E>)>(self, observer: N2) -> Retry<F, W, H, N2, S> {
        let Self { op, when, hint, observer: _, stop, course } = self;
        Retry { op, when, hint, observer, stop, course }
    }
}

impl<F, Fut, T, E, W, H, N, S> IntoFuture for Retry<F, W, H, N, S>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    W: Classify<E>,
    H: FindHint<E>,
    N: Observe<E>,
    S: Future<Output = ()>,
{
    type Output = Result<T, RetryError<E>>;
    type IntoFuture = RetryFuture<F, Fut, E, W, H, N, S>;

    fn into_future(self) -> Self::IntoFuture {
        RetryFuture::new(self)
    }
}

impl<F, W, H, N, S> fmt::Debug for Retry<F, W, H, N, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Course { policy, budget, .. } = &self.course;
        f.debug_struct("Retry").field("policy", policy).field("budget", budget).finish_non_exhaustive()
    }
}
