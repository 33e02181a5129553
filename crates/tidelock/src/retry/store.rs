//! What a backend must do for retry budgets.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;

/// One token, in the unit in which levels are kept.
pub(crate) const TOKEN: u64 = 1_000;

/// How much a budget holds and how fast it gains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    /// Thousandths of a token.
    pub(crate) capacity: u64,
    /// Millionths of a token per second.
    pub(crate) rate: u64,
}

/// Credits a budget and takes from it, in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Take {
    pub(crate) numbers: Numbers,
    /// What successes earned, in thousandths of a token.
    pub(crate) credit: u64,
    /// Thousandths of a token; with 0 the request is a credit alone.
    pub(crate) amount: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    /// Whether the amount was there and was taken.
    pub(crate) taken: bool,
    /// Thousandths of a token that are left.
    pub(crate) level: u64,
}

/// The store of retry budgets.
pub(crate) trait BudgetStore: Send + Sync {
    /// Credits, then takes. Asked once and answered soon: an error is no reason to ask again.
    fn take<'a>(&'a self, budget: &'a Address, take: Take) -> BoxFuture<'a, Result<Taken>>;
}

opaque!(BudgetStore);
