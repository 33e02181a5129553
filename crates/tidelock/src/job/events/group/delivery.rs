//! An event held by a reader.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::MAX_NACK_DELAY;
use crate::check;
use crate::error::{Error, Result};
use crate::handover::observe::Measure;
use crate::handover::store::Action;
use crate::handover::{Ack as Commit, GiveBack, Held, Settlement, Touch};
use crate::job::events::JobEvent;
use crate::lifecycle::Hold;
use crate::request::awaitable;
use crate::time::whole_millis;

/// An event of a job held by this reader until it is settled or its lease ends. It dereferences to the [`JobEvent`].
///
/// Settle it by value: [`commit`](EventDelivery::commit), [`nack`](EventDelivery::nack) or
/// [`give_back`](EventDelivery::give_back). Dropping it sends nothing: the lease runs out, and the attempt counts. At
/// the end of [`Tidelock::shutdown`](crate::Tidelock::shutdown) it is given back.
#[must_use = "dropping it settles nothing: the lease runs out, and the attempt counts"]
pub struct EventDelivery {
    event: JobEvent,
    attempt: u64,
    held: Arc<Held>,
    hold: Hold,
}

impl EventDelivery {
    pub(super) fn new(event: JobEvent, attempt: u64, held: Arc<Held>) -> Self {
        let hold = held.hold();
        Self { event, attempt, held, hold }
    }

    /// The event.
    pub fn event(&self) -> &JobEvent {
        &self.event
    }

    /// The event alone, as if the delivery had been dropped.
    pub fn into_event(self) -> JobEvent {
        self.event
    }

    /// The number of this delivery of the event in this group, from 1. Deliveries that were given back do not count.
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// The fencing token of this delivery: it only grows, so it tells a late writer from the current one.
    pub fn fence(&self) -> u64 {
        self.held.fence
    }

    /// How long the lease can still be proven: never longer than it really lasts.
    pub fn lease_left(&self) -> Duration {
        self.held.lease_left()
    }

    /// Resolves once the lease can no longer be proven: another reader may have the event now.
    ///
    /// Dropping the future does nothing.
    pub async fn lost(&self) {
        self.held.until_lost().await;
    }

    /// The work is done: the group does not get the event again. Resolves to `false` if the delivery was no longer
    /// held.
    pub fn commit(self) -> Commit {
        Commit::new(self.settlement())
    }

    /// The work failed: the event will be delivered again.
    pub fn nack(self) -> Nack {
        Nack { settlement: self.settlement(), delay: Duration::ZERO }
    }

    /// Returns the event unused: the attempt does not count. Resolves to `false` if the delivery was no longer held.
    pub fn give_back(self) -> GiveBack {
        GiveBack::new(self.settlement())
    }

    /// Restarts the lease with its full length. Resolves to `false` if the delivery was no longer held.
    pub fn touch(&self) -> Touch {
        Touch::new(Settlement::of(&self.held, None))
    }

    fn settlement(self) -> Settlement {
        Settlement::of(&self.held, Some(self.hold))
    }
}

impl Deref for EventDelivery {
    type Target = JobEvent;

    fn deref(&self) -> &JobEvent {
        &self.event
    }
}

impl fmt::Debug for EventDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventDelivery")
            .field("event", &self.event)
            .field("attempt", &self.attempt)
            .field("fence", &self.held.fence)
            .finish_non_exhaustive()
    }
}

/// Returns an event of a job after a failure: the attempt counts. Resolves to `false` if the delivery was no longer
/// held.
///
/// Once polled it is sent even if the future is dropped.
#[derive(Debug)]
#[must_use = "nothing is settled until it is awaited"]
pub struct Nack {
    settlement: Settlement,
    delay: Duration,
}

impl Nack {
    /// The delay before it is delivered again: 0..=7 days, default 0.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    async fn run(self) -> Result<bool> {
        let Self { settlement, delay } = self;
        check::range(Error::argument, "delay", delay, Duration::ZERO, MAX_NACK_DELAY)
            .map_err(|error| settlement.context("nack", error))?;
        let action = Action::Nack { delay: whole_millis(delay), note: None, error: None };
        settlement.finish("nack", action, Measure::Nacked).await
    }
}

awaitable! {
    Nack => bool;
}
