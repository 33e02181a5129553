//! Waiting until a request passes.

use std::future::{Future as _, IntoFuture, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::limit::Limits;
use super::line::{Place, Turn};
use super::observe;
use super::request::{Ask, options};
use super::store::Mode;
use super::verdict::Verdict;
use crate::check;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{BoxFuture, or_never};
use crate::tidelock::World;
use crate::time::{TEN_YEARS, Tick};

/// How long after its timeout an `acquire` still waits for the answer to a check that it sent just in time.
const AFTER_TIMEOUT: Duration = Duration::from_millis(4);

/// A check that waits until it passes; from [`RateLimiter::acquire`](super::RateLimiter::acquire). Resolves to the
/// [`Verdict`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Acquire<'a> {
    pub(super) ask: Ask<'a>,
    pub(super) timeout: Option<Duration>,
}
options!(Acquire);

impl Acquire<'_> {
    /// The longest time to wait: 0..=10 years; 0 is a plain check. Default: until a shutdown.
    ///
    /// If the request cannot pass in time, the refusing verdict is returned at once.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    async fn run(self) -> Result<Verdict> {
        let limits = self.ask.check()?;
        if let Some(timeout) = self.timeout {
            check::range(Error::argument, "timeout", timeout, Duration::ZERO, TEN_YEARS)?;
        }
        let inner = &self.ask.limiter.inner;
        let waiting = observe::begin(inner);
        let verdict = if self.timeout == Some(Duration::ZERO) {
            self.ask.answer(&limits, self.ask.mode(), inner.options.answer_within).await?
        } else {
            let deadline = self.timeout.map(|timeout| inner.world.clock.tick().plus(timeout));
            let place = inner.lines.join(&inner.address, self.ask.identifier);
            Waiting { ask: &self.ask, deadline, place }.run(limits).await?
        };
        observe::end(inner, waiting, &verdict);
        observe::tell(inner, &verdict);
        Ok(verdict)
    }
}

impl<'a> IntoFuture for Acquire<'a> {
    type Output = Result<Verdict>;
    type IntoFuture = BoxFuture<'a, Result<Verdict>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// An `acquire` in its line.
struct Waiting<'a> {
    ask: &'a Ask<'a>,
    deadline: Option<Tick>,
    place: Place,
}

impl Waiting<'_> {
    async fn run(&self, limits: Limits) -> Result<Verdict> {
        if let Some(refusal) = self.too_late() {
            return Ok(refusal);
        }
        let mut turn = pin!(self.place.turn());
        // Takes the place in the line before anything is sent.
        let first = poll_fn(|context| Poll::Ready(turn.as_mut().poll(context))).await;
        let mut mode = self.ask.mode();
        if let Poll::Ready(turn) = first {
            return self.first_in_line(&turn, limits, mode).await;
        }
        if !self.place.is_anybody_waiting() {
            let Some(verdict) = self.ask(&limits, mode).await? else { return self.over(&limits) };
            if self.passes_later(&verdict).is_none() {
                return Ok(verdict);
            }
            mode = Mode::Check;
        }
        self.place.wait();
        let turn = tokio::select! {
            biased;
            () = self.world().lifecycle.closing() => return Err(self.ask.context(Error::shut_down())),
            turn = turn => turn,
            () = self.timed_out(Duration::ZERO) => return self.over(&limits),
        };
        self.first_in_line(&turn, limits, mode).await
    }

    async fn first_in_line(&self, turn: &Turn<'_>, mut limits: Limits, mut mode: Mode) -> Result<Verdict> {
        loop {
            if self.deadline.is_some_and(|deadline| self.now() > deadline.plus(AFTER_TIMEOUT)) {
                return self.over(&limits);
            }
            let mut look_again = pin!(turn.look_again());
            // From here on: a change while the check is in flight makes its answer outdated.
            look_again.as_mut().enable();
            let Some(verdict) = self.ask(&limits, mode).await? else { return self.over(&limits) };
            let Some(passes) = self.passes_later(&verdict) else { return Ok(verdict) };
            // The first refusal has been counted, if refusals count; checking again must not count another one.
            mode = Mode::Check;
            self.place.wait();
            turn.refused(&verdict, passes);
            tokio::select! {
                biased;
                () = self.world().lifecycle.closing() => return Err(self.ask.context(Error::shut_down())),
                () = look_again => {}
                () = self.world().clock.sleep_until(passes) => {}
            }
            limits = self.ask.check()?;
        }
    }

    /// Checks once. `None`: the timeout passed before an answer arrived.
    async fn ask(&self, limits: &Limits, mode: Mode) -> Result<Option<Verdict>> {
        tokio::select! {
            biased;
            verdict = self.ask.answer(limits, mode, self.ask.limiter.inner.options.answer_within) => verdict.map(Some),
            () = self.timed_out(AFTER_TIMEOUT) => Ok(None),
        }
    }

    /// When a refused request will pass, if that is within the deadline.
    fn passes_later(&self, verdict: &Verdict) -> Option<Tick> {
        let passes = self.now().plus(verdict.retry_after);
        let in_time = self.deadline.is_none_or(|deadline| passes <= deadline);
        (verdict.limited && in_time).then_some(passes)
    }

    fn world(&self) -> &World {
        &self.ask.limiter.inner.world
    }

    fn now(&self) -> Tick {
        self.world().clock.tick()
    }

    /// The refusal of the first in line, if that one will pass only after this one's deadline.
    fn too_late(&self) -> Option<Verdict> {
        let (_, passes) = self.place.refusal()?;
        if self.deadline? < passes { self.refusal() } else { None }
    }

    /// The latest refusal of the first in line, adjusted to now.
    fn refusal(&self) -> Option<Verdict> {
        let (refusal, passes) = self.place.refusal()?;
        Some(refusal.after_waiting(passes.since(self.now())))
    }

    /// Resolves `grace` after the timeout; never if there is none.
    async fn timed_out(&self, grace: Duration) {
        or_never(self.deadline.map(|deadline| self.world().clock.sleep_until(deadline.plus(grace)))).await;
    }

    /// The answer at the timeout: the last known refusal, or the fallback for a backend that did not answer.
    fn over(&self, limits: &Limits) -> Result<Verdict> {
        if let Some(refusal) = self.refusal() {
            return Ok(refusal);
        }
        let silence = Error::new(ErrorKind::Timeout, "the backend gave no answer in time");
        self.ask.instead(limits, Mode::Check, self.ask.context(silence))
    }
}
