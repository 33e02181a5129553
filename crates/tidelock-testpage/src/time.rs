//! Timers in a page, with the interface of `tokio::time`. The page may have replaced its timers with others.

use std::future::IntoFuture;
use std::ops::Add;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use gloo_timers::callback::Timeout;
use send_wrapper::SendWrapper;
use tokio::sync::oneshot;

/// An instant by the page's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// The current instant.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole milliseconds since 1970")]
    pub fn now() -> Self {
        Self(Duration::from_millis(js_sys::Date::now() as u64))
    }

    /// The time since this instant.
    pub fn elapsed(&self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// Resolves at an instant.
pub async fn sleep_until(instant: Instant) {
    let left = instant.0.saturating_sub(Instant::now().0).as_nanos().div_ceil(1_000_000);
    let (tell, told) = oneshot::channel();
    let call = move || {
        // The sleeping future may have been dropped meanwhile.
        let _ = tell.send(());
    };
    // Kept during the wait, because dropping it clears the timer.
    let _timer = SendWrapper::new(Timeout::new(u32::try_from(left).expect("tests wait for minutes at most"), call));
    told.await.expect("the page calls");
}

/// Waits for the future for at most `time`.
pub async fn timeout<F: IntoFuture>(time: Duration, future: F) -> Result<F::Output, Elapsed> {
    let over = pin!(sleep_until(Instant::now() + time));
    match select(pin!(future.into_future()), over).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right(((), _)) => Err(Elapsed),
    }
}

/// The future took longer than its timeout.
#[derive(Debug)]
pub struct Elapsed;
