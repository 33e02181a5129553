//! Deliveries as a stream.

mod prefetch;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::FutureExt;
use futures_util::stream;

use self::prefetch::Prefetched;
use super::Queue;
use super::message::{Delivery, Held, Message};
use super::observe::{self, Counter};
use super::receive::{Wish, burial};
use super::receivers::Terms;
use super::site::Claims;
use super::store::Handed;
use crate::codec::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::{self, BoxFuture};
use crate::time::SECOND;

/// Deliveries as they come: a [`Stream`] of `Result<Delivery<T>>`.
///
/// It waits on when the queue is empty and survives outages: it backs off and goes on. An `Err` item is something that
/// waiting does not cure, or a shutdown, after which the stream ends. Options are set before the first poll. Dropping
/// the stream gives back what it took ahead.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Deliveries<T> {
    state: State<T>,
}

type Running<T> = Pin<Box<dyn Stream<Item = Result<Delivery<T>>> + Send>>;

enum State<T> {
    Set(Box<Setup<T>>),
    Running(Running<T>),
    Ended,
}

struct Setup<T> {
    queue: Queue<T>,
    wish: Wish,
    prefetch: usize,
    until: Option<BoxFuture<'static, ()>>,
    drain: bool,
}

/// Gives access to the options, as long as nothing was polled.
struct Options<'a, T> {
    setup: Option<&'a mut Setup<T>>,
}

impl<T> Options<'_, T> {
    fn set(self, change: impl FnOnce(&mut Setup<T>)) {
        if let Some(setup) = self.setup {
            change(setup);
        }
    }
}

impl<T: Value> Deliveries<T> {
    pub(crate) fn new(queue: &Queue<T>) -> Self {
        let setup = Setup { queue: queue.clone(), wish: Wish::default(), prefetch: 0, until: None, drain: false };
        Self { state: State::Set(Box::new(setup)) }
    }

    fn options(&mut self) -> Options<'_, T> {
        let setup = if let State::Set(setup) = &mut self.state { Some(&mut **setup) } else { None };
        Options { setup }
    }

    /// How long each message is this receiver's: 1 ms..=10 years, default that of the handle.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.options().set(|setup| setup.wish.lease = Some(lease));
        self
    }

    /// The holder that `list` and `get` show: 1..=256 bytes. Default: the name of the process, new at each start.
    pub fn consumer(mut self, name: &str) -> Self {
        self.options().set(|setup| setup.wish.consumer = Some(name.into()));
        self
    }

    /// How many messages are taken ahead: 0..=1,000, default 0. They are renewed while they wait here, which needs a
    /// lease of at least 100 ms; once handed out, they are the caller's to touch.
    pub fn prefetch(mut self, count: usize) -> Self {
        self.options().set(|setup| setup.prefetch = count);
        self
    }

    /// Ends the stream when `stop` resolves. What was taken ahead is given back.
    pub fn until(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Self {
        self.options().set(|setup| setup.until = Some(Box::pin(stop)));
        self
    }

    /// Ends the stream as soon as nothing is deliverable.
    pub fn drain(mut self) -> Self {
        self.options().set(|setup| setup.drain = true);
        self
    }
}

impl<T: Value> Stream for Deliveries<T> {
    type Item = Result<Delivery<T>>;

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

impl<T> fmt::Debug for Deliveries<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}

impl<T: Value> Setup<T> {
    fn start(self) -> Running<T> {
        let queue = self.queue.clone();
        match self.source() {
            Ok(source) => Box::pin(stream::unfold(source, async |mut source| Some((source.next().await?, source)))),
            Err(error) => Box::pin(stream::iter([Err(queue.site().context("stream", error))])),
        }
    }

    fn source(self) -> Result<Source<T>> {
        let Self { queue, wish, prefetch, until, drain } = self;
        let terms = wish.terms(&queue)?;
        if prefetch > super::store::MAX_BATCH {
            return Err(Error::argument(format!("prefetch must be 0..=1000, but is {prefetch}")));
        }
        if prefetch > 0 && terms.lease < 100 {
            let lease = Duration::from_millis(terms.lease);
            return Err(Error::argument(format!(
                "a lease that renews itself must be at least 100 ms, but is {lease:?}"
            )));
        }
        let ahead = (prefetch > 0).then(|| Prefetched::start(&queue, &terms, prefetch, drain));
        let until = until.unwrap_or_else(|| Box::pin(std::future::pending()));
        Ok(Source { queue, terms, ahead, until, drain, pause: false, ended: false })
    }
}

/// A running stream.
struct Source<T> {
    queue: Queue<T>,
    terms: Arc<Terms>,
    ahead: Option<Prefetched>,
    until: BoxFuture<'static, ()>,
    drain: bool,
    /// The last item was an error: the next look waits a little.
    pause: bool,
    ended: bool,
}

/// One message that was claimed, or why there is none.
enum Claimed {
    One(Box<Handed>, Arc<Held>),
    Nothing,
}

impl<T: Value> Source<T> {
    async fn next(&mut self) -> Option<Result<Delivery<T>>> {
        loop {
            if self.ended || self.until.as_mut().now_or_never().is_some() {
                self.ended = true;
                return None;
            }
            if std::mem::take(&mut self.pause) {
                tokio::select! {
                    () = &mut self.until => { self.ended = true; return None; }
                    () = runtime::sleep(SECOND) => {}
                }
            }
            match self.claim().await {
                Ok(Claimed::One(handed, held)) => {
                    let queue = &self.queue;
                    if let Some(delivery) = open(queue, *handed, held).await {
                        observe::count(queue.site(), Counter::Received, 1);
                        return Some(Ok(delivery));
                    }
                }
                Ok(Claimed::Nothing) => self.ended = true,
                Err(error) => {
                    self.ended = error.kind() == ErrorKind::ShuttingDown;
                    self.pause = true;
                    return Some(Err(error));
                }
            }
        }
    }

    async fn claim(&mut self) -> Result<Claimed> {
        let Self { queue, terms, ahead, until, drain, .. } = self;
        if let Some(ahead) = ahead {
            return tokio::select! {
                biased;
                () = until => Ok(Claimed::Nothing),
                next = ahead.next() => Ok(next?.map_or(Claimed::Nothing, |(handed, held)| Claimed::One(Box::new(handed), held))),
            };
        }
        let claims = if *drain {
            tokio::select! {
                biased;
                () = until => return Ok(Claimed::Nothing),
                claims = claim_through_outages(queue, terms, 1) => claims?,
            }
        } else {
            let mut over = false;
            let end = async {
                until.await;
                over = true;
            };
            let claims = queue.receivers.receive(terms, 1, &mut None, end).await;
            match claims {
                Err(_) if over => return Ok(Claimed::Nothing),
                claims => claims?,
            }
        };
        let (asked, lease) = (claims.asked, claims.lease);
        Ok(match claims.into_messages().pop() {
            Some(handed) => {
                let held = Held::new(queue.site(), &handed, asked, lease, queue.options.max_nack_delay);
                Claimed::One(Box::new(handed), Arc::new(held))
            }
            None => Claimed::Nothing,
        })
    }
}

/// The delivery, or nothing if the message does not decode and goes to the dead letters.
async fn open<T: Value>(queue: &Queue<T>, handed: Handed, held: Arc<Held>) -> Option<Delivery<T>> {
    match queue.options.border.decode(&handed.content.payload) {
        Ok(value) => Some(Delivery::new(Message::new(value, handed, held))),
        Err(error) => {
            let site = queue.site();
            // A burial that fails ends with the lease: the message comes again.
            let _ = site.settle(vec![burial(site, &handed, &error.to_string())]).await;
            None
        }
    }
}

/// What is deliverable now; waits out what waiting cures.
async fn claim_through_outages<T: Value>(queue: &Queue<T>, terms: &Terms, max: usize) -> Result<Claims> {
    let mut pause = Duration::from_millis(100);
    loop {
        queue.site().check_taking("stream")?;
        match queue.claim_now(terms, max).await {
            Err(error) if error.is_retryable() => {
                runtime::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                pause = (pause * 2).min(SECOND);
            }
            claims => return claims,
        }
    }
}
