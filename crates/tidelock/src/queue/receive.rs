//! Receiving: one message, several, or what is there now.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Queue;
use super::message::{Delivery, Held, Message};
use super::observe::{self, Counter, Operation};
use super::receivers::Terms;
use super::request::{MAX_ERROR, awaitable, cut};
use super::site::{Claims, Site};
use super::store::{Action, DeadReason, Handed, MAX_BATCH, Settle};
use crate::codec::Value;
use crate::error::{Error, Result};
use crate::name;
use crate::time::{SECOND, TEN_YEARS, check_duration, whole_millis};

/// The options that all receivers share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) lease: Option<Duration>,
    pub(crate) consumer: Option<Arc<str>>,
}

impl Wish {
    /// Checked, and completed from the handle.
    pub(crate) fn terms<T>(&self, queue: &Queue<T>) -> Result<Arc<Terms>> {
        if let Some(lease) = self.lease {
            check_duration(Error::argument, "lease", lease, Duration::from_millis(1), TEN_YEARS)?;
        }
        if let Some(consumer) = &self.consumer {
            name::check(Error::argument, "consumer", consumer, name::MAX_ID)?;
        }
        let handle = &queue.options.terms;
        if self.lease.is_none() && self.consumer.is_none() {
            return Ok(Arc::clone(handle));
        }
        let mut terms = Terms::clone(handle);
        terms.lease = self.lease.map_or(terms.lease, whole_millis);
        terms.consumer = self.consumer.clone().unwrap_or(terms.consumer);
        Ok(Arc::new(terms))
    }
}

/// How long a receive waits.
#[derive(Clone, Copy, Debug)]
enum Wait {
    AtMost(Duration),
    Forever,
}

impl Wait {
    const DEFAULT: Self = Self::AtMost(Duration::from_secs(30 * SECOND.as_secs()));

    fn check(self) -> Result<Self> {
        if let Self::AtMost(wait) = self {
            check_duration(Error::argument, "wait", wait, Duration::ZERO, TEN_YEARS)?;
        }
        Ok(self)
    }

    fn is_none(self) -> bool {
        matches!(self, Self::AtMost(Duration::ZERO))
    }
}

/// Waits for one message. Gives `Option<Delivery<T>>`: `None` means that nothing was deliverable until the end of the
/// wait; a broken connection is an error.
///
/// Receives of one process are served in order of arrival. Dropping the future gives back what was claimed for it, so
/// nothing is lost and no attempt is used.
#[must_use = "nothing is received until it is awaited"]
pub struct Recv<T> {
    queue: Queue<T>,
    wish: Wish,
    wait: Wait,
}

/// Takes one message if one is deliverable now. Gives `Option<Delivery<T>>`.
///
/// Dropping the future gives back what was claimed for it.
#[must_use = "nothing is received until it is awaited"]
pub struct TryRecv<T> {
    queue: Queue<T>,
    wish: Wish,
}

/// Waits for the first message and takes with it what else is deliverable, up to a number. Gives `Vec<Delivery<T>>`, at
/// most one per ordering key; empty means that nothing was deliverable until the end of the wait.
///
/// Dropping the future gives back what was claimed for it.
#[must_use = "nothing is received until it is awaited"]
pub struct RecvMany<T> {
    queue: Queue<T>,
    wish: Wish,
    wait: Wait,
    max: usize,
}

/// The options of a receive.
macro_rules! wishes {
    () => {
        /// How long the message is this receiver's: 1 ms..=10 years, default that of the handle.
        pub fn lease(mut self, lease: Duration) -> Self {
            self.wish.lease = Some(lease);
            self
        }

        /// The holder that `list` and `get` show: 1..=256 bytes. Default: the name of the process, new at each start.
        pub fn consumer(mut self, name: &str) -> Self {
            self.wish.consumer = Some(name.into());
            self
        }
    };
}

macro_rules! waits {
    () => {
        /// The longest wait: 0..=10 years, default 30 s. 0 takes only what is deliverable now.
        pub fn wait(mut self, wait: Duration) -> Self {
            self.wait = Wait::AtMost(wait);
            self
        }

        /// Waits until a message comes.
        pub fn forever(mut self) -> Self {
            self.wait = Wait::Forever;
            self
        }
    };
}

impl<T: Value> Recv<T> {
    pub(crate) fn new(queue: &Queue<T>) -> Self {
        Self { queue: queue.clone(), wish: Wish::default(), wait: Wait::DEFAULT }
    }

    wishes!();
    waits!();

    async fn run(self) -> Result<Option<Delivery<T>>> {
        let received = self.queue.receive("recv", &self.wish, self.wait, 1).await?;
        Ok(received.into_iter().next())
    }
}

impl<T: Value> TryRecv<T> {
    pub(crate) fn new(queue: &Queue<T>) -> Self {
        Self { queue: queue.clone(), wish: Wish::default() }
    }

    wishes!();

    async fn run(self) -> Result<Option<Delivery<T>>> {
        let received = self.queue.receive("try_recv", &self.wish, Wait::AtMost(Duration::ZERO), 1).await?;
        Ok(received.into_iter().next())
    }
}

impl<T: Value> RecvMany<T> {
    pub(crate) fn new(queue: &Queue<T>, max: usize) -> Self {
        Self { queue: queue.clone(), wish: Wish::default(), wait: Wait::DEFAULT, max }
    }

    wishes!();
    waits!();

    async fn run(self) -> Result<Vec<Delivery<T>>> {
        if !(1..=MAX_BATCH).contains(&self.max) {
            let text = format!("max must be 1..={MAX_BATCH}, but is {}", self.max);
            return Err(self.queue.site().context("recv_many", Error::argument(text)));
        }
        self.queue.receive("recv_many", &self.wish, self.wait, self.max).await
    }
}

impl<T: Value> Queue<T> {
    async fn receive(&self, operation: &str, wish: &Wish, wait: Wait, max: usize) -> Result<Vec<Delivery<T>>> {
        let site = self.site();
        site.check_taking(operation)?;
        let checked = wish.terms(self).and_then(|terms| Ok((terms, wait.check()?)));
        let (terms, wait) = checked.map_err(|error| site.context(operation, error))?;
        let span = observe::span(site, Operation::Receive, max, None);
        let received = observe::within(span, self.receive_as(&terms, wait, max)).await?;
        if !received.is_empty() {
            observe::count(site, Counter::Received, received.len());
        }
        Ok(received)
    }

    async fn receive_as(&self, terms: &Arc<Terms>, wait: Wait, max: usize) -> Result<Vec<Delivery<T>>> {
        let (site, line) = (self.site(), &self.receivers);
        if wait.is_none() {
            return self.take_now(terms, max).await;
        }
        let end = match wait {
            Wait::AtMost(wait) => Some(site.tick().plus(wait)),
            Wait::Forever => None,
        };
        if site.store.is_local() && line.is_empty() {
            // Nobody is overtaken, and the answer is there at the first poll.
            let received = self.take_now(terms, max).await?;
            if !received.is_empty() {
                return Ok(received);
            }
        }
        let mut seat = None;
        loop {
            let over = async {
                match end {
                    Some(end) => site.clock().sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            let claims = line.receive(terms, max, &mut seat, over).await?;
            if claims.is_empty() {
                return Ok(Vec::new());
            }
            let received = self.open(claims).await;
            if !received.is_empty() {
                return Ok(received);
            }
        }
    }

    /// Takes what is deliverable now. Undecodable messages are passed over, however many.
    async fn take_now(&self, terms: &Arc<Terms>, max: usize) -> Result<Vec<Delivery<T>>> {
        loop {
            let claims = self.claim_now(terms, max).await?;
            if claims.is_empty() {
                return Ok(Vec::new());
            }
            let received = self.open(claims).await;
            if !received.is_empty() {
                return Ok(received);
            }
        }
    }

    pub(crate) async fn claim_now(&self, terms: &Terms, max: usize) -> Result<Claims> {
        let site = self.site();
        let asked = site.tick();
        let taken = site.store.take(&site.address, terms.take(max, false)).await;
        let taken = taken.map_err(|error| site.context("receive", error))?;
        Ok(Claims::new(site, taken.messages, asked, terms.lease))
    }

    /// Decodes what was claimed. What does not decode goes to the dead letters.
    async fn open(&self, mut claims: Claims) -> Vec<Delivery<T>> {
        let mut values = Vec::with_capacity(claims.len());
        let mut faults = Vec::new();
        for handed in claims.messages() {
            match self.options.border.decode(&handed.content.payload) {
                Ok(value) => values.push(value),
                Err(error) => faults.push((handed.fence, error.to_string())),
            }
        }
        if !faults.is_empty() {
            // From here on they are buried even if this future is dropped; the others are then given back.
            let bad = claims.take_out(|handed| faults.iter().any(|(fence, _)| *fence == handed.fence));
            let burials = bad.iter().zip(&faults).map(|(handed, (_, error))| burial(self.site(), handed, error));
            // A burial that fails ends with the lease: the message comes again.
            let _ = self.site().settle(burials.collect()).await;
        }
        let (asked, lease) = (claims.asked, claims.lease);
        let messages = claims.into_messages().into_iter().zip(values);
        messages.map(|(handed, value)| self.deliver(handed, value, asked, lease)).collect()
    }

    fn deliver(&self, handed: Handed, value: T, asked: crate::time::Tick, lease: u64) -> Delivery<T> {
        let held = Held::new(self.site(), &handed, asked, lease, self.options.max_nack_delay);
        Delivery::new(Message::new(value, handed, Arc::new(held)))
    }
}

/// The settle of a message that does not decode, reported.
pub(crate) fn burial(site: &Site, handed: &Handed, error: &str) -> Settle {
    observe::undecodable(site, handed.id, error);
    let error = Some(cut(error, MAX_ERROR));
    let action = Action::Bury { reason: DeadReason::Undecodable, note: None, error };
    Settle { id: handed.id, fence: handed.fence, action }
}

awaitable! {
    Recv<T> => Option<Delivery<T>>;
    TryRecv<T> => Option<Delivery<T>>;
    RecvMany<T> => Vec<Delivery<T>>;
}

macro_rules! shown {
    ($($type:ident),*) => {$(
        impl<T> fmt::Debug for $type<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type)).field("wish", &self.wish).finish_non_exhaustive()
            }
        }
    )*};
}

shown!(Recv, TryRecv, RecvMany);
