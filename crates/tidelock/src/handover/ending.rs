//! How a worker ends: the order to stop, the grace of its handlers, and the time for its last settles.

use std::sync::Mutex;
use std::time::Duration;

use super::signal::Signal;
use super::site::Site;
use crate::runtime::{self, BoxFuture};
use crate::time::Tick;

/// How long dropped handlers may take to let go, in real time. A handler that never yields cannot be dropped.
const LET_GO: Duration = Duration::from_millis(500);
/// How long the last settles may take after the grace, in real time, so that an unreachable server does not delay the
/// end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The order to take no more work, given by a handle, a failure or a shutdown.
#[derive(Debug, Default)]
pub(crate) struct StopOrder {
    signal: Signal,
    drop_at: Mutex<Option<Tick>>,
}

impl StopOrder {
    pub(crate) fn give(&self) {
        self.signal.give();
    }

    /// Gives the order with a grace that overrides that of the plan, and that of an earlier order if it ends sooner.
    pub(crate) fn give_with(&self, site: &Site, grace: Option<Duration>) {
        if let Some(grace) = grace {
            let end = site.tick().plus(grace);
            let mut drop_at = self.drop_at.lock().expect("no code panics while it holds this lock");
            *drop_at = Some(drop_at.map_or(end, |known| known.min(end)));
        }
        self.signal.give();
    }

    pub(crate) fn is_given(&self) -> bool {
        self.signal.is_given()
    }

    pub(crate) async fn given(&self) {
        self.signal.given().await;
    }

    /// When the handlers must be dropped, if an order said so.
    fn drop_at(&self) -> Option<Tick> {
        *self.drop_at.lock().expect("no code panics while it holds this lock")
    }
}

/// The phase of a worker's end.
#[derive(Default)]
pub(crate) enum Ending {
    #[default]
    None,
    /// Handlers may continue until this instant.
    Grace(Tick, BoxFuture<'static, ()>),
    /// Dropped handlers may let go until the timer fires.
    LetGo(BoxFuture<'static, ()>),
    /// Remaining settles may be sent until the timer fires.
    LastWords(BoxFuture<'static, ()>),
}

/// The phase that has ended, and what follows.
pub(crate) enum Over {
    /// The handlers are dropped, and each one's message is given back when the handler is gone.
    Grace,
    /// The messages of the handlers that remain are given back anyway.
    LetGo,
    /// What has not been settled by now stays unsettled.
    LastWords,
}

impl Ending {
    /// Starts the grace; `usual` applies if the order had no grace of its own.
    pub(crate) fn begin(&mut self, site: &Site, order: &StopOrder, usual: Duration) {
        self.grace_until(site, order.drop_at().unwrap_or_else(|| site.tick().plus(usual)));
    }

    /// Shortens the grace: a shutdown of everything, or a second order, may leave less time than the first order.
    pub(crate) fn shorten(&mut self, site: &Site, order: &StopOrder) {
        let Self::Grace(until, _) = self else { return };
        let until = *until;
        let sooner = site.world.lifecycle.deadline().into_iter().chain(order.drop_at()).min();
        if let Some(sooner) = sooner.filter(|sooner| *sooner < until) {
            self.grace_until(site, sooner);
        }
    }

    fn grace_until(&mut self, site: &Site, until: Tick) {
        let clock = site.clock().clone();
        *self = Self::Grace(until, Box::pin(async move { clock.sleep_until(until).await }));
    }

    /// Resolves when the current phase is over. Nothing is lost if the future is dropped.
    pub(crate) async fn over(&mut self) -> Over {
        match self {
            Self::None => std::future::pending().await,
            Self::Grace(_, end) => {
                end.await;
                *self = Self::LetGo(Box::pin(runtime::sleep(LET_GO)));
                Over::Grace
            }
            Self::LetGo(end) => {
                end.await;
                *self = Self::LastWords(Box::pin(runtime::sleep(LAST_WORDS.saturating_sub(LET_GO))));
                Over::LetGo
            }
            Self::LastWords(end) => {
                end.await;
                Over::LastWords
            }
        }
    }
}
