//! One queue as this process sees it: its address, its store, and the settles that must not be lost.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::store::{Action, Handed, QueueStore, Settle, Settled};
use crate::error::{Error, Result};
use crate::lifecycle::Hold;
use crate::name::Address;
use crate::runtime::BoxFuture;
use crate::tidelock::World;
use crate::time::{Clock, Tick};

/// A queue of this process.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) world: Arc<World>,
    pub(crate) store: Arc<dyn QueueStore>,
    pub(crate) address: Address,
    /// Whether the address is one that may be asked for.
    fine: bool,
}

impl Site {
    pub(crate) fn new(world: &Arc<World>, address: Address) -> Self {
        let fine = address.check().is_ok();
        Self { store: world.backend.queue(), world: Arc::clone(world), address, fine }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.world.clock
    }

    pub(crate) fn tick(&self) -> Tick {
        self.world.clock.tick()
    }

    /// Refuses a bad address, and any call once a shutdown is over. Until then what is held may be finished.
    pub(crate) fn check(&self, operation: &str) -> Result<()> {
        if !self.fine {
            self.address.check().map_err(|error| self.context(operation, error))?;
        }
        match self.world.lifecycle.check(operation) {
            Err(_) if self.world.lifecycle.deadline().is_some() => Ok(()),
            checked => checked.map_err(|error| self.context(operation, error)),
        }
    }

    /// Refuses what would take on more work, as soon as a shutdown has begun.
    pub(crate) fn check_taking(&self, operation: &str) -> Result<()> {
        self.check(operation)?;
        self.world.lifecycle.check(operation).map_err(|error| self.context(operation, error))
    }

    /// Says what was asked of which queue.
    pub(crate) fn context(&self, operation: &str, error: Error) -> Error {
        error.in_context(format_args!("{operation} on queue {:?}", self.address.id))
    }

    /// Settles. Once polled it is sent, even if dropped.
    pub(crate) fn settle(self: &Arc<Self>, settles: Vec<Settle>) -> Unstoppable<Result<Vec<Settled>>> {
        Unstoppable { future: Some(self.store.settle(&self.address, settles)), polled: false, site: Arc::clone(self) }
    }

    /// Settles in the background. What a failure leaves undone ends with its lease.
    pub(crate) fn settle_detached(self: &Arc<Self>, settles: Vec<Settle>) {
        if settles.is_empty() {
            return;
        }
        let mut settling = self.settle(settles);
        // In process this is all there is to do; elsewhere the drop sends it.
        let _ = Pin::new(&mut settling).poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Something of this queue that a shutdown waits for.
    pub(crate) fn hold(&self, kind: &'static str) -> Hold {
        self.world.lifecycle.hold(kind, &self.address.id)
    }
}

/// Runs to its end once it was polled: in the background if it is dropped before.
pub(crate) struct Unstoppable<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    polled: bool,
    site: Arc<Site>,
}

impl<T: Send + 'static> Future for Unstoppable<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.polled = true;
        let future = self.future.as_mut().expect("a future is not polled after its end");
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.future = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Unstoppable<T> {
    fn drop(&mut self) {
        if !self.polled {
            return;
        }
        if let Some(rest) = self.future.take() {
            let hold = self.site.hold("settle");
            self.site.world.spawner.spawn(async move {
                rest.await;
                drop(hold);
            });
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Unstoppable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unstoppable").field("polled", &self.polled).finish_non_exhaustive()
    }
}

/// Messages that were taken and that nobody has seen yet. What is dropped is given back.
#[derive(Debug)]
pub(crate) struct Claims {
    site: Arc<Site>,
    messages: Vec<Handed>,
    /// When the take was asked for: leases are proven from here.
    pub(crate) asked: Tick,
    /// As asked for, in milliseconds.
    pub(crate) lease: u64,
}

impl Claims {
    pub(crate) fn new(site: &Arc<Site>, messages: Vec<Handed>, asked: Tick, lease: u64) -> Self {
        Self { site: Arc::clone(site), messages, asked, lease }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn messages(&self) -> &[Handed] {
        &self.messages
    }

    /// The first of them, at most `max`, as claims of their own.
    pub(crate) fn split(&mut self, max: usize) -> Self {
        let rest = self.messages.split_off(max.min(self.messages.len()));
        let first = std::mem::replace(&mut self.messages, rest);
        Self::new(&self.site, first, self.asked, self.lease)
    }

    /// Takes out what `test` finds; from here on it is the caller's to settle.
    pub(crate) fn take_out(&mut self, mut test: impl FnMut(&Handed) -> bool) -> Vec<Handed> {
        self.messages.extract_if(.., |handed| test(handed)).collect()
    }

    /// Hands all over; from here on they are the caller's to settle.
    pub(crate) fn into_messages(mut self) -> Vec<Handed> {
        std::mem::take(&mut self.messages)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        if !self.messages.is_empty() {
            let give_back = |handed: &Handed| Settle { id: handed.id, fence: handed.fence, action: Action::GiveBack };
            self.site.settle_detached(self.messages.iter().map(give_back).collect());
        }
    }
}
