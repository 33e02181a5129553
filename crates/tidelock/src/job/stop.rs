//! Why a run is to stop.

use serde::{Deserialize, Serialize};

use crate::word::words;

/// Why a run is to stop. If several causes meet, the first in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// The lease cannot be proven any more: somebody else may run the job now. What the handler returns counts for nothing.
    LeaseLost,
    /// The job was cancelled. What the handler returns counts for nothing.
    Cancelled,
    /// The run has taken as long as it may. It ends as a timeout, whatever the handler returns.
    Timeout,
    /// The worker ends. A result still counts; anything else gives the run back, without using an attempt.
    Shutdown,
}

words!(StopReason: Self::LeaseLost => "lease_lost", Self::Cancelled => "cancelled", Self::Timeout => "timeout",
    Self::Shutdown => "shutdown");

impl StopReason {
    /// Which of two counts.
    pub(super) fn first(known: Option<Self>, new: Self) -> Self {
        known.map_or(new, |known| known.min(new))
    }

    /// Whether the run is over for the backend, so that nothing may be sent for it.
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
