//! The end of an order, as an event of the run's topic.

use serde::{Deserialize, Serialize};
use tidelock::topic::{Publish, Topic};

use super::order::{self, Order};
use crate::value::cut;

/// Maximum number of characters of an error in an event.
const REASON: usize = 500;

/// The end of an order: one event per order, whoever publishes it and however often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The customer was charged.
    Charged { job: u64, order: String, shelf: String, quantity: u64, amount_cents: i64 },
    /// It is in the dead letters, and nobody was charged.
    Died { job: u64, order: Option<String>, reason: String },
}

impl Outcome {
    /// The end of a job whose order was carried out.
    pub(crate) fn charged(job: u64, order: Order) -> Self {
        let shelf = order.shelf();
        let Order { id, quantity, amount_cents, .. } = order;
        Self::Charged { job, order: id, shelf, quantity, amount_cents }
    }

    /// The end of a job with these bytes.
    pub(crate) fn died(job: u64, line: &[u8], reason: &str) -> Self {
        Self::Died { job, order: order::readable_id(line), reason: cut(reason, REASON) }
    }

    pub(crate) fn job(&self) -> u64 {
        match self {
            Self::Charged { job, .. } | Self::Died { job, .. } => *job,
        }
    }

    /// The publish request for this event. The job is the dedup key, so that an event published before a crash is not
    /// published again after it.
    pub(crate) fn publish(&self, topic: &Topic<Self>) -> Publish<Self> {
        let publish = topic.publish(self).dedup_key(&self.job().to_string());
        match self.order() {
            Some(order) => publish.ordering_key(order),
            None => publish,
        }
    }

    fn order(&self) -> Option<&str> {
        match self {
            Self::Charged { order, .. } => Some(order),
            Self::Died { order, .. } => order.as_deref(),
        }
    }
}
