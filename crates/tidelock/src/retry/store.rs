//! What a backend must do for retry budgets.

/// The store of retry budgets.
pub(crate) trait BudgetStore: std::fmt::Debug + Send + Sync {}
