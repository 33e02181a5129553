//! Why a run must stop.

use serde::{Deserialize, Serialize};

use crate::word::words;

/// Why a run should stop. If there are several reasons, the first in this order applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// The lease can no longer be proven: another worker may run the job now. Whatever the handler returns is ignored.
    LeaseLost,
    /// The job was cancelled. Whatever the handler returns is ignored.
    Cancelled,
    /// The run has reached its timeout, and ends as such whatever the handler returns.
    Timeout,
    /// The worker is shutting down. A result still counts; anything else gives the run back, without using an attempt.
    Shutdown,
}

words!(StopReason: Self::LeaseLost => "lease_lost", Self::Cancelled => "cancelled", Self::Timeout => "timeout",
    Self::Shutdown => "shutdown");

impl StopReason {
    /// Which of two reasons takes precedence.
    pub(super) fn first(known: Option<Self>, new: Self) -> Self {
        known.map_or(new, |known| known.min(new))
    }

    /// Whether the backend considers the run over, so that nothing may be sent for it.
    pub(super) fn is_over(self) -> bool {
        self <= Self::Cancelled
    }
}

#[cfg(test)]
mod tests {
    use super::StopReason::{Cancelled, LeaseLost, Shutdown, Timeout};
    use super::*;

    #[test]
    fn the_first_of_several_reasons_counts_whenever_it_comes() {
        let order = [LeaseLost, Cancelled, Timeout, Shutdown];
        for (at, reason) in order.into_iter().enumerate() {
            assert_eq!(StopReason::first(None, reason), reason);
            for later in &order[at..] {
                assert_eq!(StopReason::first(Some(*later), reason), reason);
                assert_eq!(StopReason::first(Some(reason), *later), reason);
            }
        }
        assert_eq!(order.map(StopReason::is_over), [true, true, false, false]);
    }
}
