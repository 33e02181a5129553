//! Receiving: one message, several, or what is deliverable now.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::held::Held;
use super::observe::{self, Measure, Operation};
use super::receivers::{Receivers, Terms, WaitEnd};
use super::settle::{MAX_ERROR, cut};
use super::site::{Claims, Site};
use super::store::{Action, DeadReason, Handed, Settle, Settled};
use crate::check;
use crate::error::{Error, Result};
use crate::name;
use crate::runtime::or_never;
use crate::time::{SECOND, TEN_YEARS, whole_millis};
use crate::topic::store::GapView;

/// A handle that receives, and how it turns what was handed over into items.
pub(crate) trait Opening: Send + Sync + 'static {
    /// What the stored bytes decode to.
    type Value: Send;
    /// What a receiver gets.
    type Item: Send;

    fn receivers(&self) -> &Arc<Receivers>;
    /// The terms of a receive without options of its own.
    fn terms(&self) -> &Arc<Terms>;
    fn max_nack_delay(&self) -> Duration;
    fn decode(&self, bytes: &[u8]) -> Result<Self::Value>;
    fn item(&self, value: Self::Value, handed: Handed, held: Arc<Held>) -> Self::Item;
    /// The item for a message that does not decode and has become a dead letter; `None` skips it.
    fn undecodable(&self, handed: Handed, error: &Error) -> Option<Self::Item>;
    /// The item for a gap; `None` skips it.
    fn gap(&self, gap: GapView) -> Option<Self::Item>;

    fn site(&self) -> &Arc<Site> {
        &self.receivers().site
    }
}

/// The options that all receivers share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) lease: Option<Duration>,
    pub(crate) consumer: Option<Arc<str>>,
}

impl Wish {
    /// Checks the options and takes what is missing from the handle.
    pub(crate) fn terms(&self, handle: &Arc<Terms>) -> Result<Arc<Terms>> {
        check::lasting(Error::argument, "lease", self.lease)?;
        if let Some(consumer) = &self.consumer {
            name::check(Error::argument, "consumer", consumer, name::MAX_ID)?;
        }
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
pub(crate) enum Wait {
    AtMost(Duration),
    Forever,
}

impl Wait {
    pub(crate) const DEFAULT: Self = Self::AtMost(Duration::from_secs(30 * SECOND.as_secs()));
    pub(crate) const NONE: Self = Self::AtMost(Duration::ZERO);

    pub(crate) fn check(self) -> Result<Self> {
        if let Self::AtMost(wait) = self {
            check::range(Error::argument, "wait", wait, Duration::ZERO, TEN_YEARS)?;
        }
        Ok(self)
    }

    pub(crate) fn is_none(self) -> bool {
        matches!(self, Self::AtMost(Duration::ZERO))
    }
}

/// The options of a receive, for requests with a field `wish`.
macro_rules! wishes {
    () => {
        /// The lease of whatever is received: 1 ms..=10 years, default that of the handle.
        pub fn lease(mut self, lease: std::time::Duration) -> Self {
            self.wish.lease = Some(lease);
            self
        }

        /// The name of the holder, as shown by inspections: 1..=256 bytes. Default: the name of the process, new at
        /// each start.
        pub fn consumer(mut self, name: &str) -> Self {
            self.wish.consumer = Some(name.into());
            self
        }
    };
}

/// The options of a receive that waits, for requests with a field `wait`.
macro_rules! waits {
    () => {
        /// The longest wait: 0..=10 years, default 30 s. 0 takes only what is deliverable now.
        pub fn wait(mut self, wait: std::time::Duration) -> Self {
            self.wait = $crate::handover::Wait::AtMost(wait);
            self
        }

        /// Waits until something arrives.
        pub fn forever(mut self) -> Self {
            self.wait = $crate::handover::Wait::Forever;
            self
        }
    };
}

/// Debug output of receives.
macro_rules! shown {
    ($($type:ident),*) => {$(
        impl<T> std::fmt::Debug for $type<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).field("wish", &self.wish).finish_non_exhaustive()
            }
        }
    )*};
}

pub(crate) use {shown, waits, wishes};

/// Waits for the first item and takes up to `max` (at least 1) with it. The result is empty if nothing came within
/// the wait.
pub(crate) async fn receive<O: Opening>(
    handle: &O,
    operation: &str,
    wish: &Wish,
    wait: Wait,
    max: usize,
) -> Result<Vec<O::Item>> {
    let site = handle.site();
    site.check_taking(operation)?;
    let checked = wish.terms(handle.terms()).and_then(|terms| Ok((terms, wait.check()?)));
    let (terms, wait) = checked.map_err(|error| site.context(operation, error))?;
    let span = observe::span(site, Operation::Receive, max, None);
    let received = observe::within(span, receive_as(handle, &terms, wait, max)).await?;
    if !received.is_empty() {
        observe::count(site, Measure::Received, received.len());
    }
    Ok(received)
}

async fn receive_as<O: Opening>(handle: &O, terms: &Arc<Terms>, wait: Wait, max: usize) -> Result<Vec<O::Item>> {
    let (site, line) = (handle.site(), handle.receivers());
    if wait.is_none() {
        return take_now(handle, terms, max).await;
    }
    let end = match wait {
        Wait::AtMost(wait) => Some(site.tick().plus(wait)),
        Wait::Forever => None,
    };
    if site.source.is_local() && line.is_empty() {
        // Nobody is overtaken, and the answer is ready at the first poll.
        let received = take_now(handle, terms, max).await?;
        if !received.is_empty() {
            return Ok(received);
        }
    }
    let mut seat = None;
    loop {
        let over = pin!(async {
            or_never(end.map(|end| site.clock().sleep_until(end))).await;
            WaitEnd::RanOut
        });
        let claims = line.receive(terms, max, &mut seat, over).await?;
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let received = open(handle, claims).await;
        if !received.is_empty() {
            return Ok(received);
        }
    }
}

/// Takes what is deliverable now. Messages that yield no item are skipped, however many there are.
async fn take_now<O: Opening>(handle: &O, terms: &Terms, max: usize) -> Result<Vec<O::Item>> {
    loop {
        let claims = claim_now(handle.site(), terms, max).await?;
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let received = open(handle, claims).await;
        if !received.is_empty() {
            return Ok(received);
        }
    }
}

/// Claims what is deliverable now, at most `max`.
pub(super) async fn claim_now(site: &Arc<Site>, terms: &Terms, max: usize) -> Result<Claims> {
    if let Some(untold) = Claims::untold(site) {
        return Ok(untold);
    }
    let asked = site.moment();
    let taking = site.source.take(terms, max, false);
    let claiming = {
        let (site, lease) = (Arc::clone(site), terms.lease);
        async move { taking.await.map(|taken| Claims::new(&site, taken, asked, lease)) }
    };
    let claims = if site.source.is_local() {
        claiming.await
    } else {
        // If this future is dropped meanwhile, what the take brings is not lost: claims are given back, and the next
        // receiver is told the gap.
        site.sent(Box::pin(claiming)).await
    };
    claims.map_err(|error| site.context("receive", error))
}

/// Decodes claimed messages. Those that do not decode become dead letters.
async fn open<O: Opening>(handle: &O, claims: Claims) -> Vec<O::Item> {
    let mut values = Vec::with_capacity(claims.messages().len());
    let mut faults = Vec::new();
    for (at, handed) in claims.messages().enumerate() {
        match handle.decode(&handed.content.payload) {
            Ok(value) => values.push(value),
            Err(error) => faults.push((at, error)),
        }
    }
    if faults.is_empty() {
        return items(handle, claims, values);
    }
    // Boxed because it is rare: otherwise every receive future would reserve space for it.
    Box::pin(open_faulty(handle, claims, values, faults)).await
}

/// The items of a gap and of claims that all decoded, to `values`.
fn items<O: Opening>(handle: &O, mut claims: Claims, values: Vec<O::Value>) -> Vec<O::Item> {
    let gap = claims.take_gap().and_then(|gap| handle.gap(gap));
    let (asked, lease) = (claims.start, claims.lease);
    let mut items = Vec::with_capacity(values.len() + usize::from(gap.is_some()));
    items.extend(gap);
    items.extend(claims.into_messages().into_iter().zip(values).map(|(handed, value)| {
        let held = Held::new(handle.site(), &handed, asked, lease, handle.max_nack_delay());
        handle.item(value, handed, Arc::new(held))
    }));
    items
}

/// The same if some do not decode, in the order of the claims.
async fn open_faulty<O: Opening>(
    handle: &O,
    mut claims: Claims,
    values: Vec<O::Value>,
    faults: Vec<(usize, Error)>,
) -> Vec<O::Item> {
    let buried = bury(handle, &mut claims, faults).await;
    let before = claims.messages().len();
    let mut items = items(handle, claims, values);
    // The gap's item precedes all of them.
    let first = items.len() - before;
    let mut untold = 0;
    for (at, item) in buried {
        match item {
            Some(item) => items.insert(first + at - untold, item),
            None => untold += 1,
        }
    }
    items
}

/// Moves what does not decode to the dead letters. Returns for each its place among the claims and its item.
async fn bury<O: Opening>(
    handle: &O,
    claims: &mut Claims,
    faults: Vec<(usize, Error)>,
) -> Vec<(usize, Option<O::Item>)> {
    let site = handle.site();
    // From here on they are buried even if this future is dropped; the others are then given back.
    let bad = take_faulty(claims, &faults);
    let burials: Vec<Settle> =
        bad.iter().zip(&faults).map(|(handed, (_, error))| burial(site, handed, &error.to_string())).collect();
    // If a burial fails, the message is delivered again when its lease ends.
    let settled = site.settle(burials).await.unwrap_or_else(|_| vec![Settled::Stale; bad.len()]);
    let told = bad.into_iter().zip(faults).zip(settled);
    told.map(|((handed, (at, error)), settled)| {
        let item = if settled == Settled::Done { handle.undecodable(handed, &error) } else { None };
        (at, item)
    })
    .collect()
}

fn take_faulty(claims: &mut Claims, faults: &[(usize, Error)]) -> Vec<Handed> {
    let (mut at, mut faults) = (0.., faults.iter());
    let mut next = faults.next();
    claims.take_out(|_| {
        let here = next.is_some_and(|(place, _)| at.next() == Some(*place));
        if here {
            next = faults.next();
        }
        here
    })
}

/// The item of one message. If it does not decode, it becomes a dead letter, and this is the item for that.
pub(super) async fn open_one<O: Opening>(handle: &O, handed: Handed, held: Arc<Held>) -> Option<O::Item> {
    match handle.decode(&handed.content.payload) {
        Ok(value) => Some(handle.item(value, handed, held)),
        Err(error) => {
            let site = handle.site();
            // If the burial fails, the message is delivered again when its lease ends.
            let settled = site.settle(vec![burial(site, &handed, &error.to_string())]).await.ok()?;
            if settled.first() == Some(&Settled::Done) { handle.undecodable(handed, &error) } else { None }
        }
    }
}

/// The settle of a message that does not decode. Reports it.
fn burial(site: &Site, handed: &Handed, error: &str) -> Settle {
    Settle { id: handed.id, fence: handed.fence, action: undecodable(site, handed.id, error) }
}

/// The action for a message that does not decode. Reports it.
pub(super) fn undecodable(site: &Site, id: u64, error: &str) -> Action {
    observe::undecodable(site, id, error);
    Action::Bury { reason: DeadReason::Undecodable, note: None, error: Some(cut(error, MAX_ERROR)) }
}
