//! Requests to a limiter, and the futures that run them.

use std::borrow::Cow;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};
use std::time::Duration;

use super::RateLimiter;
use super::limit::Limits;
use super::observe;
use super::store::{Judge, Mode};
use super::verdict::{DecidedBy, Verdict};
use crate::error::{Error, Result};
use crate::name;
use crate::runtime::BoxFuture;

/// The question of a request: may this identifier use `cost` units now?
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) limiter: &'a RateLimiter,
    pub(super) identifier: &'a str,
    pub(super) cost: u64,
    pub(super) limits: Option<Limits>,
}

impl<'a> Ask<'a> {
    pub(super) fn new(limiter: &'a RateLimiter, identifier: &'a str) -> Self {
        Self { limiter, identifier, cost: 1, limits: None }
    }

    /// Rejects invalid requests; returns the limits that judge valid ones.
    pub(super) fn check(&self) -> Result<Limits> {
        self.check_names()?;
        let limits = self.limits.clone().unwrap_or_else(|| self.limiter.limits());
        self.check_cost(&limits)?;
        Ok(limits)
    }

    fn check_names(&self) -> Result<()> {
        let inner = &self.limiter.inner;
        let checked = inner.world.lifecycle.check_not_closed();
        let checked = checked.and_then(|()| if inner.named { Ok(()) } else { inner.address.check() });
        checked
            .and_then(|()| name::check_of_any_length("identifier", self.identifier))
            .map_err(|error| self.context(error))
    }

    fn check_cost(&self, limits: &Limits) -> Result<()> {
        let most = limits.smallest_capacity();
        if (1..=most).contains(&self.cost) {
            return Ok(());
        }
        let text = format!("cost must be 1..={most}, the smallest capacity of the limits, but is {}", self.cost);
        Err(self.context(Error::argument(text)))
    }

    pub(super) fn context(&self, error: Error) -> Error {
        let shown: String = self.identifier.chars().take(64).collect();
        error.in_context(format_args!("ratelimit {:?} of {shown:?}", self.limiter.id()))
    }

    fn judge<'b>(&'b self, limits: &'b Limits, mode: Mode) -> Judge<'b> {
        let rules = Cow::Borrowed(limits.rules());
        Judge { identifier: Cow::Borrowed(self.identifier), rules, cost: self.cost, mode }
    }

    /// How the cost of a check is counted.
    pub(super) fn mode(&self) -> Mode {
        if self.limiter.inner.options.count_refused { Mode::CountRefused } else { Mode::Check }
    }

    /// The verdict of a backend that can answer synchronously.
    fn answer_now(&self, limits: &Limits, mode: Mode) -> Option<Verdict> {
        let outcome = self.limiter.inner.store.judge_now(&self.judge(limits, mode))?;
        Some(Verdict::new(limits, limits.rules(), &outcome, DecidedBy::Backend))
    }

    /// Handles the first poll. The limiter's own limits are borrowed instead of cloned.
    fn begin(&self, mode: Mode) -> Result<Begun> {
        self.check_names()?;
        let begin = |limits: &Limits| {
            self.check_cost(limits)?;
            let verdict = self.answer_now(limits, mode);
            Ok(verdict.map_or_else(|| Begun::Later(limits.clone()), Begun::Now))
        };
        match &self.limits {
            Some(limits) => begin(limits),
            None => begin(&self.limiter.inner.limits.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// The verdict of the backend or, if it is unavailable, of the fallback.
    pub(super) async fn answer(&self, limits: &Limits, mode: Mode, within: Duration) -> Result<Verdict> {
        if let Some(verdict) = self.answer_now(limits, mode) {
            return Ok(verdict);
        }
        let inner = &self.limiter.inner;
        let outcome = match inner.store.judge(self.judge(limits, mode), within).await {
            Ok(outcome) => outcome,
            Err(error) => return self.instead(limits, mode, self.context(error)),
        };
        let verdict = Verdict::new(limits, limits.rules(), &outcome, DecidedBy::Backend);
        if let Some(local) = inner.local.as_ref().filter(|_| mode != Mode::Peek && !verdict.limited) {
            local.count(self, limits);
        }
        Ok(verdict)
    }

    async fn answer_later(self, limits: Limits, mode: Mode) -> Result<Verdict> {
        self.answer(&limits, mode, self.limiter.inner.options.answer_within).await
    }
}

/// The state of a request after its first poll.
enum Begun {
    Now(Verdict),
    Later(Limits),
}

/// The result of a refusal: a verdict, or an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Verdict,
    RefusalIsError,
}

/// The pending answer to a [`Check`], [`CheckOrErr`] or [`Peek`]. In process it is ready when first polled.
#[must_use = "nothing is asked until it is awaited"]
pub struct Judging<'a> {
    state: State<'a>,
    ending: Ending,
    limiter: &'a RateLimiter,
}

enum State<'a> {
    Asking(Ask<'a>, Mode),
    Waiting(BoxFuture<'a, Result<Verdict>>),
    Answered,
}

impl<'a> Judging<'a> {
    fn new(ask: Ask<'a>, mode: Mode, ending: Ending) -> Self {
        Self { limiter: ask.limiter, state: State::Asking(ask, mode), ending }
    }

    fn end(&self, answer: Result<Verdict>) -> Result<Verdict> {
        let verdict = answer?;
        observe::tell(&self.limiter.inner, &verdict);
        if self.ending == Ending::Verdict || !verdict.limited {
            return Ok(verdict);
        }
        Err(refusal(self.limiter, verdict))
    }
}

impl Future for Judging<'_> {
    type Output = Result<Verdict>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match std::mem::replace(&mut self.state, State::Answered) {
            State::Asking(ask, mode) => match ask.begin(mode) {
                Ok(Begun::Now(verdict)) => Ok(verdict),
                Ok(Begun::Later(limits)) => {
                    self.state = State::Waiting(Box::pin(ask.answer_later(limits, mode)));
                    return self.poll(context);
                }
                Err(error) => Err(error),
            },
            State::Waiting(mut waiting) => match waiting.as_mut().poll(context) {
                Poll::Ready(answer) => answer,
                Poll::Pending => {
                    self.state = State::Waiting(waiting);
                    return Poll::Pending;
                }
            },
            State::Answered => panic!("a request was polled after it had answered"),
        };
        Poll::Ready(self.end(answer))
    }
}

impl fmt::Debug for Judging<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judging").field("limiter", &self.limiter.id()).finish_non_exhaustive()
    }
}

fn refusal(limiter: &RateLimiter, verdict: Verdict) -> Error {
    let names: Vec<_> = verdict.parts().iter().filter(|part| part.refused()).map(super::Part::name).collect();
    let (id, names, retry_after) = (limiter.id(), names.join(", "), verdict.retry_after);
    let text = format!("ratelimit {id:?}: refused by {names}, and passes in {retry_after:?} at the earliest");
    Error::rate_limited(text, verdict)
}

macro_rules! options {
    ($request:ident) => {
        impl $request<'_> {
            /// How many units the request asks for: 1..=the smallest capacity of the limits. Default 1.
            pub fn cost(mut self, cost: u64) -> Self {
                self.ask.cost = cost;
                self
            }

            /// Applies other limits than the limiter's to this request, for example those of the user's plan.
            ///
            /// Counts belong to algorithm and window, so limits that share both use the same count.
            pub fn limits(mut self, limits: &Limits) -> Self {
                self.ask.limits = Some(limits.clone());
                self
            }
        }
    };
}
pub(super) use options;

/// A check; from [`RateLimiter::check`]. Resolves to the [`Verdict`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Check<'a> {
    pub(super) ask: Ask<'a>,
}
options!(Check);

impl<'a> IntoFuture for Check<'a> {
    type Output = Result<Verdict>;
    type IntoFuture = Judging<'a>;

    fn into_future(self) -> Judging<'a> {
        let mode = self.ask.mode();
        Judging::new(self.ask, mode, Ending::Verdict)
    }
}

/// A check whose refusal is an error; from [`RateLimiter::check_or_err`]. Resolves to the [`Verdict`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct CheckOrErr<'a> {
    pub(super) ask: Ask<'a>,
}
options!(CheckOrErr);

impl<'a> IntoFuture for CheckOrErr<'a> {
    type Output = Result<Verdict>;
    type IntoFuture = Judging<'a>;

    fn into_future(self) -> Judging<'a> {
        let mode = self.ask.mode();
        Judging::new(self.ask, mode, Ending::RefusalIsError)
    }
}

/// A read that changes nothing; from [`RateLimiter::peek`]. Resolves to the [`Verdict`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Peek<'a> {
    pub(super) ask: Ask<'a>,
}
options!(Peek);

impl<'a> IntoFuture for Peek<'a> {
    type Output = Result<Verdict>;
    type IntoFuture = Judging<'a>;

    fn into_future(self) -> Judging<'a> {
        Judging::new(self.ask, Mode::Peek, Ending::Verdict)
    }
}

/// A request to forget an identifier; from [`RateLimiter::reset`]. Resolves to whether there were any counts.
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct Reset<'a> {
    pub(super) ask: Ask<'a>,
}

impl Reset<'_> {
    async fn run(self) -> Result<bool> {
        let inner = &self.ask.limiter.inner;
        self.ask.check()?;
        let identifier = self.ask.identifier;
        let answer = inner.store.reset(identifier, inner.options.answer_within).await;
        if let Some(local) = &inner.local {
            local.reset(identifier).await;
        }
        // After an error too, since the outcome may be unknown.
        inner.lines.look_again(&inner.address, Some(identifier));
        answer.map_err(|error| self.ask.context(error))
    }
}

impl<'a> IntoFuture for Reset<'a> {
    type Output = Result<bool>;
    type IntoFuture = BoxFuture<'a, Result<bool>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
