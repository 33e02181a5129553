//! What a group of the topic computes from the events: totals that repeated events do not change.

use std::collections::{BTreeMap, HashSet};

use super::event::Outcome;

/// The groups, each with a projection of its own.
pub(crate) const GROUPS: [&str; 2] = [REVENUE, STOCK];
/// Adds up the amounts charged.
pub(crate) const REVENUE: &str = "revenue";
/// Adds up the quantities that left each shelf.
pub(crate) const STOCK: &str = "stock";

/// The totals of one group. They stand for a database: they outlive their reader, and record which events were applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Projection {
    applied: HashSet<u64>,
    pub(crate) totals: Totals,
    /// Repeated events, which changed nothing.
    pub(crate) repeated: u64,
    /// Gaps and events that could not be decoded; none are expected.
    pub(crate) amiss: Vec<String>,
}

/// What is added up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) cents: i64,
    pub(crate) sold: BTreeMap<String, u64>,
}

impl Projection {
    /// Applies an event for a group.
    pub(crate) fn apply(&mut self, group: &str, event: &Outcome) {
        if !self.applied.insert(event.job()) {
            self.repeated += 1;
            return;
        }
        let Outcome::Charged { shelf, quantity, amount_cents, .. } = event else { return };
        self.totals.add(group, shelf, *quantity, *amount_cents);
    }

    /// Number of distinct events applied.
    pub(crate) fn events(&self) -> u64 {
        self.applied.len() as u64
    }
}

impl Totals {
    /// Adds a sale to the group's totals.
    pub(crate) fn add(&mut self, group: &str, shelf: &str, quantity: u64, cents: i64) {
        if group == REVENUE {
            self.cents += cents;
        } else {
            *self.sold.entry(shelf.to_owned()).or_default() += quantity;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charged(job: u64) -> Outcome {
        let (order, shelf) = (format!("o-{job}"), "4:oslo/lamp".to_owned());
        Outcome::Charged { job, order, shelf, quantity: 3, amount_cents: 200 }
    }

    #[test]
    fn a_repeat_changes_no_total() {
        let (mut revenue, mut stock) = (Projection::default(), Projection::default());
        for event in [charged(1), charged(2), Outcome::died(3, b"{}", "no order"), charged(1)] {
            revenue.apply(REVENUE, &event);
            stock.apply(STOCK, &event);
        }
        assert_eq!((revenue.totals.cents, revenue.events(), revenue.repeated), (400, 3, 1));
        assert_eq!(stock.totals.sold, BTreeMap::from([("4:oslo/lamp".to_owned(), 6)]));
    }
}
