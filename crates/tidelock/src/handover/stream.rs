//! Receiving as a stream: claims one by one, with prefetching if wished.

mod prefetch;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::future::Fuse;
use futures_util::{FutureExt, stream};

use self::prefetch::Prefetched;
use super::held::Held;
use super::observe::{self, Measure};
use super::receive::{Opening, Wish, claim_now, open_one};
use super::receivers::{Receivers, Terms, WaitEnd};
use super::site::Claims;
use super::store::{Handed, MAX_BATCH};
use crate::backoff::Pauses;
use crate::check;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{self, BoxFuture};
use crate::time::SECOND;
use crate::topic::store::GapView;

/// The stream of received items as results. Options are set before the first poll.
pub(crate) struct Incoming<O, I> {
    state: State<O, I>,
}

type Running<I> = Pin<Box<dyn Stream<Item = Result<I>> + Send>>;

enum State<O, I> {
    Set(Box<Setup<O>>),
    Running(Running<I>),
    Ended,
}

/// The options of a stream.
pub(crate) struct Setup<O> {
    handle: O,
    pub(crate) wish: Wish,
    pub(crate) prefetch: usize,
    pub(crate) until: Option<BoxFuture<'static, ()>>,
    pub(crate) drain: bool,
}

/// The options of a stream, for types with a field `incoming`.
macro_rules! incoming_options {
    () => {
        /// The lease of whatever is received: 1 ms..=10 years, default that of the handle.
        pub fn lease(mut self, lease: std::time::Duration) -> Self {
            self.incoming.set(|setup| setup.wish.lease = Some(lease));
            self
        }

        /// The name of the holder, as shown by inspections: 1..=256 bytes. Default: the name of the process, new at
        /// each start.
        pub fn consumer(mut self, name: &str) -> Self {
            self.incoming.set(|setup| setup.wish.consumer = Some(name.into()));
            self
        }

        /// How many to take ahead: 0..=1,000, default 0. Their leases are renewed while they wait here, which needs a
        /// lease of at least 100 ms; once yielded, renewing them is up to the caller.
        pub fn prefetch(mut self, count: usize) -> Self {
            self.incoming.set(|setup| setup.prefetch = count);
            self
        }

        /// Ends the stream when `stop` resolves, and gives back what was prefetched.
        pub fn until(mut self, stop: impl std::future::Future<Output = ()> + Send + 'static) -> Self {
            self.incoming.set(|setup| setup.until = Some(Box::pin(stop)));
            self
        }

        /// Ends the stream as soon as nothing is deliverable.
        pub fn drain(mut self) -> Self {
            self.incoming.set(|setup| setup.drain = true);
            self
        }
    };
}

pub(crate) use incoming_options;

impl<O: Opening> Incoming<O, O::Item> {
    pub(crate) fn new(handle: O) -> Self {
        let setup = Setup { handle, wish: Wish::default(), prefetch: 0, until: None, drain: false };
        Self { state: State::Set(Box::new(setup)) }
    }

    /// Changes an option, as long as the stream has not been polled.
    pub(crate) fn set(&mut self, change: impl FnOnce(&mut Setup<O>)) {
        if let State::Set(setup) = &mut self.state {
            change(setup);
        }
    }
}

impl<O: Opening> Stream for Incoming<O, O::Item> {
    type Item = Result<O::Item>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut running = match std::mem::replace(&mut self.state, State::Ended) {
            State::Set(setup) => setup.start(),
            State::Running(running) => running,
            State::Ended => return Poll::Ready(None),
        };
        let next = running.as_mut().poll_next(context);
        if !matches!(next, Poll::Ready(None)) {
            self.state = State::Running(running);
        }
        next
    }
}

impl<O: Opening> Setup<O> {
    fn start(self) -> Running<O::Item> {
        let site = Arc::clone(self.handle.site());
        match self.source() {
            Ok(source) => Box::pin(stream::unfold(source, async |mut source| Some((source.next().await?, source)))),
            Err(error) => Box::pin(stream::iter([Err(site.context("stream", error))])),
        }
    }

    fn source(self) -> Result<Source<O>> {
        let Self { handle, wish, prefetch, until, drain } = self;
        let terms = wish.terms(handle.terms())?;
        check::range(Error::argument, "prefetch", prefetch, 0, MAX_BATCH)?;
        if prefetch > 0 {
            check::renewed(Error::argument, Duration::from_millis(terms.lease))?;
        }
        let ahead = (prefetch > 0)
            .then(|| Prefetched::start(handle.receivers(), &terms, handle.max_nack_delay(), prefetch, drain));
        let until = until.unwrap_or_else(|| Box::pin(std::future::pending())).fuse();
        Ok(Source { handle, terms, ahead, until, drain, pause: false, ended: false })
    }
}

/// A running stream.
struct Source<O> {
    handle: O,
    terms: Arc<Terms>,
    ahead: Option<Prefetched>,
    until: Fuse<BoxFuture<'static, ()>>,
    drain: bool,
    /// The last item was an error, so the next attempt waits a little.
    pause: bool,
    ended: bool,
}

/// What was claimed, if anything.
#[derive(Debug)]
enum Claimed {
    One(Box<Handed>, Arc<Held>),
    Gap(GapView),
    Nothing,
}

impl<O: Opening> Source<O> {
    async fn next(&mut self) -> Option<Result<O::Item>> {
        loop {
            if self.ended || (&mut self.until).now_or_never().is_some() {
                self.ended = true;
                return None;
            }
            if std::mem::take(&mut self.pause) {
                tokio::select! {
                    () = &mut self.until => { self.ended = true; return None; }
                    () = runtime::sleep(SECOND) => {}
                }
            }
            let item = match self.claim().await {
                Ok(Claimed::One(handed, held)) => {
                    self.ended |= handed.event.as_ref().is_some_and(|event| event.is_last);
                    open_one(&self.handle, *handed, held).await
                }
                Ok(Claimed::Gap(gap)) => self.handle.gap(gap),
                Ok(Claimed::Nothing) => {
                    self.ended = true;
                    None
                }
                Err(error) => {
                    // Asking again would not help.
                    self.ended |= matches!(error.kind(), ErrorKind::ShuttingDown | ErrorKind::InvalidArgument);
                    self.pause = true;
                    return Some(Err(error));
                }
            };
            if let Some(item) = item {
                observe::count(self.handle.site(), Measure::Received, 1);
                return Some(Ok(item));
            }
        }
    }

    async fn claim(&mut self) -> Result<Claimed> {
        let Self { handle, terms, ahead, until, drain, ended, .. } = self;
        if let Some(ahead) = ahead {
            return tokio::select! {
                biased;
                () = until => Ok(Claimed::Nothing),
                next = ahead.next() => next,
            };
        }
        let line = handle.receivers();
        let mut claims = if *drain {
            tokio::select! {
                biased;
                () = until => return Ok(Claimed::Nothing),
                claims = claim_through_outages(line, terms, 1) => claims?,
            }
        } else {
            let mut over = false;
            let end = async {
                until.await;
                over = true;
                WaitEnd::Stopped
            };
            let claims = line.receive(terms, 1, &mut None, pin!(end)).await;
            // What a take in flight still brings is handed out as the last item.
            *ended = over;
            match claims {
                Err(_) if over => return Ok(Claimed::Nothing),
                claims => claims?,
            }
        };
        if let Some(gap) = claims.take_gap() {
            return Ok(Claimed::Gap(gap));
        }
        let (asked, lease) = (claims.start, claims.lease);
        Ok(match claims.into_messages().pop_front() {
            Some(handed) => {
                let held = Held::new(&line.site, &handed, asked, lease, handle.max_nack_delay());
                Claimed::One(Box::new(handed), Arc::new(held))
            }
            None => Claimed::Nothing,
        })
    }
}

/// Claims what is deliverable now. Waits while an error may pass.
async fn claim_through_outages(line: &Receivers, terms: &Terms, max: usize) -> Result<Claims> {
    let mut pauses = Pauses::OUTAGE;
    loop {
        line.site.check_taking("stream")?;
        match claim_now(&line.site, terms, max).await {
            Err(error) if error.may_pass() => {
                runtime::sleep(pauses.next()).await;
            }
            claims => return claims,
        }
    }
}
