//! Retry budgets in process: the model behind a lock.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::backend::memory::{Sweep, Timer};
use crate::error::Result;
use crate::name::Address;
use crate::retry::model::Budgets;
use crate::retry::store::{BudgetStore, Take, Taken};
use crate::runtime::BoxFuture;
use crate::time::Timestamp;

/// How many records one step forgets.
const STEP: usize = 200;

/// The budgets of this process.
pub(crate) struct MemoryBudget {
    timer: Arc<Timer>,
    budgets: Mutex<Budgets>,
}

/// Without the stored data, which may be large.
impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBudget").finish_non_exhaustive()
    }
}

impl MemoryBudget {
    pub(crate) fn new(timer: &Arc<Timer>) -> Self {
        Self { timer: Arc::clone(timer), budgets: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Budgets> {
        self.budgets.lock().expect("no code panics while it holds this lock")
    }
}

impl BudgetStore for MemoryBudget {
    fn take<'a>(&'a self, budget: &'a Address, take: Take) -> BoxFuture<'a, Result<Taken>> {
        Box::pin(async move {
            let mut budgets = self.lock();
            let taken = budgets.take(budget, &take, self.timer.clock().now());
            let next = budgets.next_deadline();
            drop(budgets);
            if let Some(next) = next {
                self.timer.arm(next);
            }
            Ok(taken)
        })
    }
}

impl Sweep for MemoryBudget {
    fn sweep(&self, now: Timestamp) -> Option<Timestamp> {
        let mut budgets = self.lock();
        budgets.sweep(now, STEP);
        budgets.next_deadline()
    }
}
