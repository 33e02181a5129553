//! Waiting without allocation: the runtime's timer is stored inline, only a pinned clock's is boxed.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::runtime::{BoxFuture, Sleep};
use crate::time::{Clock, Tick};

pin_project! {
    /// Resolves when the instant it was set to is reached.
    #[project = TimerState]
    pub(super) enum Timer {
        Unset,
        Runtime { #[pin] sleep: Sleep },
        Pinned { wait: BoxFuture<'static, ()> },
    }
}

impl Timer {
    pub(super) fn until(clock: &Clock, tick: Tick) -> Self {
        match clock {
            Clock::System => Self::Runtime { sleep: Sleep::new(tick.since(clock.tick())) },
            Clock::Manual(_) => {
                let clock = clock.clone();
                Self::Pinned { wait: Box::pin(async move { clock.sleep_until(tick).await }) }
            }
        }
    }

    pub(super) fn is_unset(&self) -> bool {
        matches!(self, Self::Unset)
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match self.project() {
            TimerState::Unset => Poll::Ready(()),
            TimerState::Runtime { sleep } => sleep.poll(context),
            TimerState::Pinned { wait } => wait.as_mut().poll(context),
        }
    }
}
