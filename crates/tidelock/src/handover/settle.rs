//! Settling: ack, nack, dead letter, give back, touch.
//!
//! Once polled, a settle is sent even if its future is dropped. A settle of something no longer held is *stale*: that
//! is a value and not an error, and nothing changes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::held::{Held, Receipt};
use super::observe::{self, Measure, Operation};
use super::site::{Object, Site};
use super::store::{Action, DeadReason, MAX_BATCH, Settle, Settled};
use crate::check;
use crate::check::LARGEST;
use crate::error::{Error, Result};
use crate::lifecycle::Hold;
use crate::queue::MessageId;
use crate::request::awaitable;
use crate::time::{TEN_YEARS, Timestamp, whole_millis};
use crate::word::words;

/// Longest stored reason, in bytes.
pub(crate) const MAX_REASON: usize = 1_024;
/// Longest stored error text, in bytes.
pub(crate) const MAX_ERROR: usize = 4_096;

/// The outcome of a nack.
// Exhaustive: it is delivered again, is dead, or was not held. Callers match all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nacked {
    /// It will be delivered again, from `due` on.
    Requeued {
        /// When, by the backend's clock.
        due: Timestamp,
    },
    /// It was the last delivery, or the message had passed its `max_age`: now a dead letter.
    DeadLettered,
    /// The delivery was no longer held; nothing changed.
    Stale,
}

words!(Nacked: Self::Requeued { .. } => "requeued", Self::DeadLettered => "dead_lettered", Self::Stale => "stale");

/// A pending settle: of a delivery of this process, or of a receipt from anywhere.
#[derive(Debug)]
pub(crate) struct Settlement {
    site: Arc<Site>,
    id: u64,
    fence: u64,
    lease: u64,
    max_nack_delay: Duration,
    held: Option<Arc<Held>>,
    /// Keeps a shutdown waiting until the settle is done.
    hold: Option<Hold>,
    /// Why the receipt is refused.
    fault: Option<Error>,
}

impl Settlement {
    pub(crate) fn of(delivery: &Arc<Held>, hold: Option<Hold>) -> Self {
        Self {
            site: Arc::clone(&delivery.site),
            id: delivery.id,
            fence: delivery.fence,
            lease: delivery.lease,
            max_nack_delay: delivery.max_nack_delay,
            held: Some(Arc::clone(delivery)),
            hold,
            fault: None,
        }
    }

    pub(crate) fn by(site: &Arc<Site>, receipt: &Receipt, max_nack_delay: Duration) -> Self {
        Self {
            site: Arc::clone(site),
            id: receipt.id.0,
            fence: receipt.fence,
            lease: receipt.lease,
            max_nack_delay,
            held: None,
            hold: None,
            fault: belongs(site, receipt).err(),
        }
    }

    fn check(&mut self, operation: &str) -> Result<()> {
        self.site.check(operation)?;
        match self.fault.take() {
            Some(fault) => Err(self.site.context(operation, fault)),
            None => Ok(()),
        }
    }

    /// Adds the operation and the object to an error.
    pub(crate) fn context(&self, operation: &str, error: Error) -> Error {
        self.site.context(operation, error)
    }

    /// Settles. Returns whether the delivery was still held.
    pub(crate) async fn finish(mut self, operation: &'static str, action: Action, counter: Measure) -> Result<bool> {
        self.check(operation)?;
        let site = Arc::clone(&self.site);
        let settled = self.run(operation, action).await?;
        Ok(counted(&site, counter, settled))
    }

    async fn run(self, operation: &'static str, action: Action) -> Result<Settled> {
        let Self { site, id, fence, held, hold, .. } = self;
        let span = observe::span(&site, Operation::Settle(operation), 1, Some(id));
        let asked = site.moment();
        match (&held, &action) {
            (Some(held), Action::Touch { lease }) => held.touching(asked, *lease),
            (Some(held), _) => held.end(),
            (None, _) => {}
        }
        let touch = if let Action::Touch { lease } = action { Some(lease) } else { None };
        let settled = observe::within(span, site.settle(vec![Settle { id, fence, action }])).await;
        let settled = settled.map_err(|error| site.context(operation, error))?;
        let settled = *settled.first().expect("one settle has one outcome");
        if let Some(held) = &held {
            match touch {
                Some(lease) => held.touched(asked, lease, settled == Settled::Done),
                None => held.lost(),
            }
        }
        drop(hold);
        Ok(settled)
    }
}

/// Refuses a receipt of another queue or group.
fn belongs(site: &Site, receipt: &Receipt) -> Result<()> {
    let here = &site.address;
    let (MessageId(id), fence, lease) = (receipt.id, receipt.fence, receipt.lease);
    if id > LARGEST || fence > LARGEST || lease == 0 || lease > whole_millis(TEN_YEARS) {
        return Err(Error::argument(format!("the receipt is none that a delivery gave: {receipt:?}")));
    }
    if here.id == receipt.object && here.tenant == receipt.tenant && site.group() == receipt.group.as_ref() {
        return Ok(());
    }
    let named = |object: &str, group: Option<&Arc<str>>, tenant: &str| match group {
        None => format!("queue {object:?} of tenant {tenant:?}"),
        Some(group) => format!("group {group:?} of topic {object:?} of tenant {tenant:?}"),
    };
    let of = named(&receipt.object, receipt.group.as_ref(), &receipt.tenant);
    let expected = named(&here.id, site.group(), &here.tenant);
    Err(Error::argument(format!("the receipt is of {of}, not of {expected}")))
}

/// At most `max` bytes of a text, cut between characters and marked as cut.
pub(crate) fn cut(text: &str, max: usize) -> Arc<str> {
    const MARK: &str = "…";
    if text.len() <= max {
        return text.into();
    }
    let end = text.floor_char_boundary(max - MARK.len());
    format!("{}{MARK}", &text[..end]).into()
}

/// The same, but `None` for an empty text.
pub(crate) fn cut_or_none(text: &str, max: usize) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| cut(text, max))
}

fn text_of(error: &dyn fmt::Display) -> Option<Arc<str>> {
    cut_or_none(&error.to_string(), MAX_ERROR)
}

/// The name for settling finished work: queues ack messages, groups commit events.
fn done(site: &Site) -> (&'static str, &'static str) {
    match &site.object {
        Object::Queue | Object::Jobs => ("ack", "ack_many"),
        Object::Group(_) | Object::JobGroup(..) => ("commit", "commit_many"),
    }
}

/// The work is done: acks a message, commits an event. Resolves to `false` if the delivery was no longer held.
///
/// Once polled, it is sent even if the future is dropped.
#[derive(Debug)]
#[must_use = "nothing is settled until it is awaited"]
pub struct Ack(Settlement);

impl Ack {
    pub(crate) fn new(settlement: Settlement) -> Self {
        Self(settlement)
    }

    async fn run(self) -> Result<bool> {
        let (verb, _) = done(&self.0.site);
        self.0.finish(verb, Action::Ack, Measure::Acked).await
    }
}

fn counted(site: &Site, counter: Measure, settled: Settled) -> bool {
    let done = settled == Settled::Done;
    observe::count(site, if done { counter } else { Measure::Stale }, 1);
    done
}

/// Returns a message unused. Resolves to `false` if the delivery was no longer held.
///
/// Once polled, it is sent even if the future is dropped.
#[derive(Debug)]
#[must_use = "nothing is settled until it is awaited"]
pub struct GiveBack(Settlement);

impl GiveBack {
    pub(crate) fn new(settlement: Settlement) -> Self {
        Self(settlement)
    }

    async fn run(self) -> Result<bool> {
        self.0.finish("give_back", Action::GiveBack, Measure::GivenBack).await
    }
}

/// Rejects a message for good. Resolves to `false` if the delivery was no longer held.
///
/// Once polled, it is sent even if the future is dropped.
#[derive(Debug)]
#[must_use = "nothing is settled until it is awaited"]
pub struct Bury {
    settlement: Settlement,
    note: Option<Arc<str>>,
    error: Option<Arc<str>>,
}

impl Bury {
    pub(crate) fn new(settlement: Settlement, reason: &str) -> Self {
        Self { settlement, note: cut_or_none(reason, MAX_REASON), error: None }
    }

    /// The error, stored as the dead letter's `last_error`; cut at 4,096 bytes. An empty text counts as none.
    pub fn error(mut self, error: &dyn fmt::Display) -> Self {
        self.error = text_of(error);
        self
    }

    async fn run(self) -> Result<bool> {
        let action = Action::Bury { reason: DeadReason::Rejected, note: self.note, error: self.error };
        self.settlement.finish("dead_letter", action, Measure::DeadLettered).await
    }
}

/// Returns a message after a failure: the attempt counts. Resolves to [`Nacked`].
///
/// Once polled, it is sent even if the future is dropped.
#[derive(Debug)]
#[must_use = "nothing is settled until it is awaited"]
pub struct Nack {
    settlement: Settlement,
    delay: Duration,
    note: Option<Arc<str>>,
    error: Option<Arc<str>>,
}

impl Nack {
    pub(crate) fn new(settlement: Settlement) -> Self {
        Self { settlement, delay: Duration::ZERO, note: None, error: None }
    }

    /// The delay before it is delivered again: 0..=`max_nack_delay`, default 0.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// A note for operators; cut at 1,024 bytes. An empty text counts as none.
    pub fn reason(mut self, reason: &str) -> Self {
        self.note = cut_or_none(reason, MAX_REASON);
        self
    }

    /// The error, shown as `last_error`; cut at 4,096 bytes. An empty text counts as none.
    pub fn error(mut self, error: &dyn fmt::Display) -> Self {
        self.error = text_of(error);
        self
    }

    async fn run(mut self) -> Result<Nacked> {
        self.settlement.check("nack")?;
        let site = Arc::clone(&self.settlement.site);
        let max = self.settlement.max_nack_delay;
        if self.delay > max {
            let text = format!("the nack delay {:?} exceeds max_nack_delay {max:?}", self.delay);
            return Err(site.context("nack", Error::argument(text)));
        }
        let action = Action::Nack { delay: whole_millis(self.delay), note: self.note, error: self.error };
        let nacked = match self.settlement.run("nack", action).await? {
            Settled::Requeued { due } => Nacked::Requeued { due: Timestamp::from_millis(due) },
            Settled::DeadLettered => Nacked::DeadLettered,
            Settled::Stale | Settled::Done => Nacked::Stale,
        };
        let counter = match nacked {
            Nacked::Requeued { .. } => Measure::Nacked,
            Nacked::DeadLettered => Measure::DeadLettered,
            Nacked::Stale => Measure::Stale,
        };
        observe::count(&site, counter, 1);
        Ok(nacked)
    }
}

/// Restarts the lease. Resolves to `false` if the delivery was no longer held.
///
/// It replaces the lease, so it may shorten it. Once polled, it is sent even if the future is dropped.
#[derive(Debug)]
#[must_use = "nothing is settled until it is awaited"]
pub struct Touch {
    settlement: Settlement,
    lease: Option<Duration>,
}

impl Touch {
    pub(crate) fn new(settlement: Settlement) -> Self {
        Self { settlement, lease: None }
    }

    /// The lease from now on: 1 ms..=10 years, default the original one.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    async fn run(mut self) -> Result<bool> {
        self.settlement.check("touch")?;
        let site = Arc::clone(&self.settlement.site);
        let mut lease = self.settlement.lease;
        if let Some(wish) = self.lease {
            check::lasting(Error::argument, "lease", wish).map_err(|error| site.context("touch", error))?;
            lease = whole_millis(wish);
        }
        Ok(self.settlement.run("touch", Action::Touch { lease }).await? == Settled::Done)
    }
}

/// The work of several deliveries is done: acks or commits them in one request. Resolves to whether each was still
/// held, in order.
///
/// At most 1,000. Once polled, it is sent even if the future is dropped.
#[derive(Debug)]
#[must_use = "nothing is settled until it is awaited"]
pub struct AckMany {
    site: Arc<Site>,
    receipts: Vec<Receipt>,
}

impl AckMany {
    pub(crate) fn new(site: &Arc<Site>, receipts: &[Receipt]) -> Self {
        Self { site: Arc::clone(site), receipts: receipts.to_vec() }
    }

    async fn run(self) -> Result<Vec<bool>> {
        let Self { site, receipts } = self;
        let (verb, operation) = done(&site);
        site.check(operation)?;
        if receipts.len() > MAX_BATCH {
            let text = format!("at most {MAX_BATCH} receipts, but {} came", receipts.len());
            return Err(site.context(operation, Error::argument(text)));
        }
        for (index, receipt) in receipts.iter().enumerate() {
            let checked = belongs(&site, receipt).map_err(|error| error.in_context(format_args!("item {index}")));
            checked.map_err(|error| site.context(operation, error))?;
        }
        if receipts.is_empty() {
            return Ok(Vec::new());
        }
        let ack =
            |Receipt { id: MessageId(id), fence, .. }: &Receipt| Settle { id: *id, fence: *fence, action: Action::Ack };
        let span = observe::span(&site, Operation::Settle(verb), receipts.len(), None);
        let settled = observe::within(span, site.settle(receipts.iter().map(ack).collect())).await;
        let settled = settled.map_err(|error| site.context(operation, error))?;
        Ok(settled.into_iter().map(|settled| counted(&site, Measure::Acked, settled)).collect())
    }
}

awaitable! {
    Ack => bool;
    GiveBack => bool;
    Bury => bool;
    Nack => Nacked;
    Touch => bool;
    AckMany => Vec<bool>;
}
