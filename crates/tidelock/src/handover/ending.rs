//! How a worker comes to its end: the order to stop, the grace of its handlers, and the time for its last settles.

use std::sync::Mutex;
use std::time::Duration;

use super::signal::Signal;
use super::site::Site;
use crate::runtime::{self, BoxFuture};
use crate::time::Tick;

/// How long handlers that are dropped may take to let go, of real time: one that never yields cannot be dropped.
const LET_GO: Duration = Duration::from_millis(500);
/// How long the last settles may take after the grace, of real time: a server that is away is not waited for any longer.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The order to take nothing more, given by a handle, a failure or a shutdown.
#[derive(Debug, Default)]
pub(crate) struct StopOrder {
    signal: Signal,
    drop_at: Mutex<Option<Tick>>,
}

impl StopOrder {
    pub(crate) fn give(&self) {
        self.signal.give();
    }

    /// With a grace that overrides that of the plan, and that of an earlier order if it ends sooner.
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

    /// When the handlers are to be dropped, where an order said it.
    fn drop_at(&self) -> Option<Tick> {
        *self.drop_at.lock().expect("no code panics while it holds this lock")
    }
}

/// The end of a worker, as far as it has come.
#[derive(Default)]
pub(crate) enum Ending {
    #[default]
    None,
    /// The handlers may go on until then.
    Grace(Tick, BoxFuture<'static, ()>),
    /// They may let go until then.
    LetGo(BoxFuture<'static, ()>),
    /// What they said may be settled until then.
    LastWords(BoxFuture<'static, ()>),
}

/// What is over.
pub(crate) enum Over {
    /// The handlers are dropped, and what each had is given back when it is gone.
    Grace,
    /// What the others have is given back all the same.
    LetGo,
    /// What could not be settled is left.
    LastWords,
}

impl Ending {
    /// The grace begins; `usual` counts where the order said nothing.
    pub(crate) fn begin(&mut self, site: &Site, order: &StopOrder, usual: Duration) {
        self.grace_until(site, order.drop_at().unwrap_or_else(|| site.tick().plus(usual)));
    }

    /// A shutdown of everything, or a second order, may leave less time than the first one did.
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

    /// Resolves when the next part of it is over. Nothing is lost if the future is dropped.
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
