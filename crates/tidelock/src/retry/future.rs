//! `RetryFuture`: the retried call as a state machine, stored inline in the future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;

use super::budget::Taking;
use super::classify::{Classify, FindHint};
use super::course::{Attempt, Course};
use super::observe::{self, Observe, Retrying};
use super::timer::Timer;
use super::{GaveUp, Retry, RetryError};
use crate::runtime::BoxFuture;
use crate::time::Tick;

pin_project! {
    /// The future of a [`Retry`]: runs a call again until it succeeds or gives up.
    ///
    /// Dropping it drops the running attempt and ends everything; nothing continues in the background.
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct RetryFuture<F, Fut, E, W, H, N, S> {
        op: F,
        when: W,
        hint: H,
        observer: N,
        #[pin]
        stop: S,
        #[pin]
        running: Option<Fut>,
        // The end of the running attempt or of the pause.
        #[pin]
        timer: Timer,
        #[pin]
        closing: Option<OwnedNotified>,
        phase: Phase,
        course: Course,
        error: Option<E>,
    }
}

enum Phase {
    New,
    Running,
    /// Asking a backend for the token of the next retry.
    Taking(BoxFuture<'static, bool>),
    /// `yielded`: other tasks have had a turn since the pause began.
    Pausing {
        yielded: bool,
    },
    Done,
}

/// The result of a step of the state machine.
enum Step<T> {
    On,
    Value(T),
    GaveUp(GaveUp),
}

impl<F, Fut, E, W, H, N, S> RetryFuture<F, Fut, E, W, H, N, S> {
    pub(super) fn new(retry: Retry<F, W, H, N, S>) -> Self {
        let Retry { op, when, hint, observer, stop, course } = retry;
        let (running, timer, closing) = (None, Timer::Unset, None);
        Self { op, when, hint, observer, stop, running, timer, closing, phase: Phase::New, course, error: None }
    }
}

impl<F, Fut, T, E, W, H, N, S> Future for RetryFuture<F, Fut, E, W, H, N, S>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    W: Classify<E>,
    H: FindHint<E>,
    N: Observe<E>,
    S: Future<Output = ()>,
{
    type Output = Result<T, RetryError<E>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let step = match self.phase {
                Phase::New => self.as_mut().begin(context),
                Phase::Running => ready!(self.as_mut().run(context)),
                Phase::Taking(_) => ready!(self.as_mut().take(context)),
                Phase::Pausing { .. } => ready!(self.as_mut().rest(context)),
                Phase::Done => panic!("a retried call was polled after it had ended"),
            };
            match step {
                Step::On => {}
                Step::Value(value) => {
                    *self.project().phase = Phase::Done;
                    return Poll::Ready(Ok(value));
                }
                Step::GaveUp(reason) => return Poll::Ready(Err(self.give_up(reason))),
            }
        }
    }
}

impl<F, Fut, T, E, W, H, N, S> RetryFuture<F, Fut, E, W, H, N, S>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    W: Classify<E>,
    H: FindHint<E>,
    N: Observe<E>,
    S: Future<Output = ()>,
{
    fn begin(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Step<T> {
        let now = self.as_mut().project().course.begin();
        match self.as_mut().interrupted(context) {
            Some(reason) => Step::GaveUp(reason),
            None => self.start(now),
        }
    }

    fn start(self: Pin<&mut Self>, now: Tick) -> Step<T> {
        let mut this = self.project();
        let attempt = this.course.next_attempt(now);
        this.timer.set(Timer::Unset);
        observe::attempted();
        this.running.set(Some((this.op)(attempt)));
        *this.phase = Phase::Running;
        Step::On
    }

    fn run(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Step<T>> {
        let mut this = self.as_mut().project();
        let running = this.running.as_mut().as_pin_mut().expect("a running call has an attempt");
        // The operation is polled before anything that could end it, so that a success always counts.
        match running.poll(context) {
            Poll::Ready(Ok(value)) => {
                this.running.set(None);
                if let Some(budget) = &this.course.budget {
                    budget.succeeded();
                }
                return Poll::Ready(Step::Value(value));
            }
            Poll::Ready(Err(error)) => {
                this.running.set(None);
                *this.error = Some(error);
                return Poll::Ready(self.failed(context));
            }
            Poll::Pending => {}
        }
        if let Some(reason) = self.as_mut().interrupted_later(context) {
            return Poll::Ready(Step::GaveUp(reason));
        }
        let cut_off = self.course.cut_off;
        ready!(self.as_mut().reached(cut_off, context));
        let mut this = self.as_mut().project();
        this.running.set(None);
        this.course.timed_out = true;
        Poll::Ready(self.failed(context))
    }

    /// Continues after an attempt that returned an error or was cut off.
    fn failed(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Step<T> {
        let mut this = self.as_mut().project();
        this.timer.set(Timer::Unset);
        let now = this.course.clock().tick();
        let error = this.error.as_ref().filter(|_| !this.course.timed_out);
        if let Some(error) = error
            && !this.when.is_retryable(error)
        {
            return Step::GaveUp(GaveUp::NotRetryable);
        }
        let interrupted = self.as_mut().interrupted(context);
        let this = self.as_mut().project();
        let error = this.error.as_ref().filter(|_| !this.course.timed_out);
        let hint = || error.and_then(|error| this.hint.hint(error, this.when));
        if let Some(reason) = this.course.gives_up(now, interrupted, hint) {
            return Step::GaveUp(reason);
        }
        match this.course.budget.as_ref().map_or(Taking::Decided(true), super::RetryBudget::take) {
            Taking::Decided(true) => self.pause(now),
            Taking::Decided(false) => Step::GaveUp(GaveUp::Budget),
            Taking::Asking(asking) => {
                *this.phase = Phase::Taking(asking);
                Step::On
            }
        }
    }

    fn take(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Step<T>> {
        if let Some(reason) = self.as_mut().interrupted_later(context) {
            return Poll::Ready(Step::GaveUp(reason));
        }
        let this = self.as_mut().project();
        let Phase::Taking(asking) = this.phase else { unreachable!("only a taking call takes") };
        let Poll::Ready(taken) = asking.as_mut().poll(context) else {
            let deadline = this.course.deadline();
            ready!(self.reached(deadline, context));
            return Poll::Ready(Step::GaveUp(GaveUp::Deadline));
        };
        let now = this.course.clock().tick();
        Poll::Ready(match taken {
            false => Step::GaveUp(GaveUp::Budget),
            true if this.course.too_late(now) => Step::GaveUp(GaveUp::Deadline),
            true => self.pause(now),
        })
    }

    fn pause(self: Pin<&mut Self>, now: Tick) -> Step<T> {
        let mut this = self.project();
        let pause = this.course.pause(now);
        let error = this.error.as_ref().filter(|_| !this.course.timed_out);
        let attempt = this.course.attempts;
        observe::retried();
        tracing::debug!(attempt, delay = ?pause.delay, "an attempt failed and will be repeated");
        this.observer.retrying(&Retrying { attempt, error, delay: pause.delay, elapsed: pause.elapsed });
        // The pause counts from the failure, however long the observer took.
        this.timer.set(Timer::until(this.course.clock(), pause.until));
        *this.phase = Phase::Pausing { yielded: false };
        Step::On
    }

    fn rest(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Step<T>> {
        if let Some(reason) = self.as_mut().interrupted_later(context) {
            return Poll::Ready(Step::GaveUp(reason));
        }
        let mut this = self.as_mut().project();
        let over = this.timer.as_mut().poll(context).is_ready();
        let Phase::Pausing { yielded } = this.phase else { unreachable!("only a pausing call rests") };
        if !over || !*yielded {
            *yielded = true;
            if over {
                this.timer.set(Timer::Unset);
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        let now = this.course.clock().tick();
        if this.course.deadline_reached(now) {
            return Poll::Ready(Step::GaveUp(GaveUp::Deadline));
        }
        Poll::Ready(self.start(now))
    }

    /// Ready when `tick` is reached; never if it is `None`.
    fn reached(self: Pin<&mut Self>, tick: Option<Tick>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(tick) = tick else { return Poll::Pending };
        if this.timer.is_unset() {
            this.timer.set(Timer::until(this.course.clock(), tick));
        }
        this.timer.poll(context)
    }

    /// Whether the call was stopped or its `Tidelock` is shutting down.
    fn interrupted(self: Pin<&mut Self>, context: &mut Context<'_>) -> Option<GaveUp> {
        let this = self.project();
        if this.stop.poll(context).is_ready() {
            return Some(GaveUp::Stopped);
        }
        let world = this.course.world.as_ref()?;
        world.lifecycle.is_closing().then_some(GaveUp::ShuttingDown)
    }

    /// As `interrupted`, and registers this task to be woken if it happens later.
    fn interrupted_later(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Option<GaveUp> {
        let mut this = self.as_mut().project();
        if let Some(world) = &this.course.world {
            if this.closing.is_none() {
                this.closing.set(Some(world.lifecycle.notice()));
            }
            if let Some(closing) = this.closing.as_pin_mut() {
                // The notice is created before the check whether a shutdown has begun, so none can be missed in
                // between. If the notice is ready, the shutdown has begun, and the call ends below.
                let _ = closing.poll(context);
            }
        }
        self.interrupted(context)
    }

    fn give_up(self: Pin<&mut Self>, reason: GaveUp) -> RetryError<E> {
        let mut this = self.project();
        this.running.set(None);
        this.timer.set(Timer::Unset);
        *this.phase = Phase::Done;
        let elapsed = this.course.elapsed(this.course.clock().tick());
        observe::gave_up(reason);
        let (attempts, timed_out) = (this.course.attempts, this.course.timed_out);
        RetryError { error: this.error.take(), attempts, elapsed, reason, timed_out }
    }
}

impl<F, Fut, E, W, H, N, S> fmt::Debug for RetryFuture<F, Fut, E, W, H, N, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryFuture").field("attempts", &self.course.attempts).finish_non_exhaustive()
    }
}
