//! What a backend implements for retry budgets.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;

/// One token, in the unit of levels.
pub(crate) const TOKEN: u64 = 1_000;

/// The capacity of a budget and its rate of gain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    /// Thousandths of a token.
    pub(crate) capacity: u64,
    /// Millionths of a token per second.
    pub(crate) rate: u64,
}

/// A request to credit a budget and take from it, in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Take {
    pub(crate) numbers: Numbers,
    /// The credit earned by successes, in thousandths of a token.
    pub(crate) credit: u64,
    /// Thousandths of a token; 0 for a request that only credits.
    pub(crate) amount: u64,
}

/// The outcome of a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Whether the amount was available and has been taken.
    pub(crate) taken: bool,
    /// What is left, in thousandths of a token.
    pub(crate) level: u64,
}

/// The store of retry budgets.
pub(crate) trait BudgetStore: Send + Sync {
    /// Credits, then takes. Called once and answered soon: an error is never retried.
    fn take<'a>(&'a self, budget: &'a Address, take: Take) -> BoxFuture<'a, Result<Taken>>;
}

opaque!(BudgetStore);
