//! What a backend must do for this primitive: judge limits for an identifier, and forget an identifier.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::line::Lines;
use crate::error::Result;
use crate::name::Address;
use crate::opaque::opaque;
use crate::runtime::BoxFuture;

/// How a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    Sliding,
    Fixed,
    TokenBucket,
}

impl Algorithm {
    /// In the order of their numbers.
    #[cfg(any(test, target_family = "wasm"))]
    pub(crate) const ALL: [Self; 3] = [Self::Sliding, Self::Fixed, Self::TokenBucket];
}

/// One limit, checked: its identity (algorithm and window) and the numbers that judge its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) algorithm: Algorithm,
    /// Milliseconds.
    pub(crate) window: u64,
    /// Units per window.
    pub(crate) limit: u64,
    /// The most that can be used at once: the limit, or the burst of a token bucket.
    pub(crate) capacity: u64,
}

/// What becomes of the cost of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Counted if no limit refuses.
    Check,
    /// Counted in any case.
    CountRefused,
    /// Not counted.
    Peek,
}

/// One request: all rules judge the cost together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judge<'a> {
    pub(crate) identifier: Cow<'a, str>,
    pub(crate) rules: Cow<'a, [Rule]>,
    pub(crate) cost: u64,
    pub(crate) mode: Mode,
}

/// What one rule said, after the cost was counted if it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) refused: bool,
    pub(crate) remaining: u64,
    /// Milliseconds.
    pub(crate) reset_in: u64,
    /// Milliseconds; zero unless refused.
    pub(crate) retry_after: u64,
}

/// What each rule said, in the order of the request. One rule, the usual case, needs no allocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    One(Judged),
    Many(Vec<Judged>),
}

impl Outcome {
    pub(crate) fn parts(&self) -> &[Judged] {
        match self {
            Self::One(judged) => std::slice::from_ref(judged),
            Self::Many(judged) => judged,
        }
    }
}

/// All limiters of one backend.
pub(crate) trait RatelimitStore: Send + Sync {
    /// The counts of the limiter at `address`; no I/O.
    fn limiter(&self, address: &Address) -> Arc<dyn LimiterStore>;

    /// Where the waiting `acquire`s of this process stand in line.
    fn lines(&self) -> &Arc<Lines>;
}

opaque!(RatelimitStore);

/// The counts of one limiter.
pub(crate) trait LimiterStore: Send + Sync {
    /// Judges at once, where that needs no waiting.
    fn judge_now(&self, judge: &Judge<'_>) -> Option<Outcome>;

    /// Judges, and waits `within` at most for the answer. Made once: it is unknown whether a lost request counted.
    fn judge<'a>(&'a self, judge: Judge<'a>, within: Duration) -> BoxFuture<'a, Result<Outcome>>;

    /// Forgets the identifier; whether there was anything.
    fn reset<'a>(&'a self, identifier: &'a str, within: Duration) -> BoxFuture<'a, Result<bool>>;
}

opaque!(LimiterStore);
