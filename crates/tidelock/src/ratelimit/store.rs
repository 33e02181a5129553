//! What a backend implements for rate limits: judging the limits of an identifier, and forgetting an identifier.

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
    /// In order of their discriminants.
    #[cfg(any(test, target_family = "wasm"))]
    pub(crate) const ALL: [Self; 3] = [Self::Sliding, Self::Fixed, Self::TokenBucket];
}

/// One validated limit: its identity (algorithm and window), and the numbers that judge its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) algorithm: Algorithm,
    /// Milliseconds.
    pub(crate) window: u64,
    /// Units per window.
    pub(crate) limit: u64,
    /// Maximum number of units that can be used at once: the limit, or the burst of a token bucket.
    pub(crate) capacity: u64,
}

/// Whether the cost of a request is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Counted unless a limit refuses.
    Check,
    /// Always counted.
    CountRefused,
    /// Not counted.
    Peek,
}

/// One request. All rules judge the cost together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judge<'a> {
    pub(crate) identifier: Cow<'a, str>,
    pub(crate) rules: Cow<'a, [Rule]>,
    pub(crate) cost: u64,
    pub(crate) mode: Mode,
}

/// The result of one rule, after the cost was counted if it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) refused: bool,
    pub(crate) remaining: u64,
    /// Milliseconds.
    pub(crate) reset_in: u64,
    /// Milliseconds; zero unless refused.
    pub(crate) retry_after: u64,
}

/// The result of each rule, in the order of the request. One rule, the usual case, needs no allocation.
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
    /// The counts of the limiter at `address`. No I/O.
    fn limiter(&self, address: &Address) -> Arc<dyn LimiterStore>;

    /// The lines of the `acquire`s that wait in this process.
    fn lines(&self) -> &Arc<Lines>;
}

opaque!(RatelimitStore);

/// The counts of one limiter.
pub(crate) trait LimiterStore: Send + Sync {
    /// Judges synchronously, if the backend can.
    fn judge_now(&self, judge: &Judge<'_>) -> Option<Outcome>;

    /// Judges, and waits at most `within` for the answer. Never repeated: it is unknown whether a lost request was
    /// counted.
    fn judge<'a>(&'a self, judge: Judge<'a>, within: Duration) -> BoxFuture<'a, Result<Outcome>>;

    /// Forgets the identifier; returns whether anything was counted.
    fn reset<'a>(&'a self, identifier: &'a str, within: Duration) -> BoxFuture<'a, Result<bool>>;
}

opaque!(LimiterStore);
