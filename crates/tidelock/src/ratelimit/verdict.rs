//! The answers of a limiter: a verdict, and the result of each limit.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::limit::Limits;
use super::store::{Judged, Outcome, Rule};
use crate::time::millis;
use crate::word::words;

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DecidedBy {
    /// The backend: the normal case.
    Backend,
    /// A limiter of this process, while the backend was unavailable.
    Local,
    /// Nobody: the backend was unavailable, and the limiter's policy assumed an answer.
    Assumed,
}

words!(DecidedBy: Self::Backend => "backend", Self::Local => "local", Self::Assumed => "assumed");

/// The answer of a limiter.
///
/// `limit`, `remaining` and `reset_in` are those of one limit: if refused, of the one that refuses longest; otherwise
/// of the one with the least remaining. [`parts`](Self::parts) has each of them. Times are serialized in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[must_use = "a refusal is a value, not an error"]
pub struct Verdict {
    /// Whether the request is refused.
    pub limited: bool,
    /// The capacity: the limit, or the burst of a token bucket.
    pub limit: u64,
    /// Whole units that can still be used now.
    pub remaining: u64,
    /// Time until the window ends, or until the bucket is full again.
    #[serde(serialize_with = "millis")]
    pub reset_in: Duration,
    /// Time until the same request passes, if nothing else is counted; zero when not limited.
    #[serde(serialize_with = "millis")]
    pub retry_after: Duration,
    /// Who decided.
    pub decided_by: DecidedBy,
    parts: Parts,
}

/// The result of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    name: Arc<str>,
    capacity: u64,
    window: Duration,
    judged: Judged,
}

/// One limit, the usual case, needs no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Parts {
    One(Part),
    Many(Vec<Part>),
}

impl Parts {
    fn new(limits: &Limits, rules: &[Rule], judged: &[Judged]) -> Self {
        let part = |name: &Arc<str>, rule: &Rule, judged: &Judged| Part {
            name: Arc::clone(name),
            capacity: rule.capacity,
            window: Duration::from_millis(rule.window),
            judged: *judged,
        };
        if let ([name], [rule], [judged]) = (limits.names(), rules, judged) {
            return Self::One(part(name, rule, judged));
        }
        let each = limits.names().iter().zip(rules.iter().zip(judged));
        Self::Many(each.map(|(name, (rule, judged))| part(name, rule, judged)).collect())
    }

    fn as_slice(&self) -> &[Part] {
        match self {
            Self::One(part) => std::slice::from_ref(part),
            Self::Many(parts) => parts,
        }
    }
}

impl Verdict {
    /// The verdict for `outcome`, the results of `rules` with the names in `limits`.
    pub(super) fn new(limits: &Limits, rules: &[Rule], outcome: &Outcome, decided_by: DecidedBy) -> Self {
        Self::of_parts(Parts::new(limits, rules, outcome.parts()), decided_by)
    }

    /// The verdict if nobody decides: nothing is left, and the request passes or is refused for `refused_for`.
    pub(super) fn assumed(limits: &Limits, refused_for: Option<Duration>) -> Self {
        let millis = refused_for.map(crate::time::whole_millis);
        let judged = limits.rules().iter().map(|rule| Judged {
            refused: millis.is_some(),
            remaining: 0,
            reset_in: millis.unwrap_or(rule.window),
            retry_after: millis.unwrap_or(0),
        });
        let judged: Vec<_> = judged.collect();
        Self::of_parts(Parts::new(limits, limits.rules(), &judged), DecidedBy::Assumed)
    }

    fn of_parts(parts: Parts, decided_by: DecidedBy) -> Self {
        let slice = parts.as_slice();
        let mut shown = &slice[0];
        for part in &slice[1..] {
            let (a, b) = (&part.judged, &shown.judged);
            let worse = match (a.refused, b.refused) {
                (true, true) => a.retry_after > b.retry_after,
                (false, false) => a.remaining < b.remaining,
                (refused, _) => refused,
            };
            if worse {
                shown = part;
            }
        }
        let (limited, limit, remaining) = (shown.refused(), shown.limit(), shown.remaining());
        let (reset_in, retry_after) = (shown.reset_in(), shown.retry_after());
        Self { limited, limit, remaining, reset_in, retry_after, decided_by, parts }
    }

    /// The same refusal at a later time, when only `retry_after` is left of the wait.
    pub(super) fn after_waiting(mut self, retry_after: Duration) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The result of each limit, in the order of their declaration.
    pub fn parts(&self) -> &[Part] {
        self.parts.as_slice()
    }

    /// Header fields for an HTTP response: `RateLimit-Policy`, `RateLimit` and, when limited, `Retry-After`.
    ///
    /// In whole seconds, rounded up; one item per limit. The first two follow the IETF draft
    /// `draft-ietf-httpapi-ratelimit-headers`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// # use tidelock::{ratelimit::Limit, Tidelock};
    /// let api = Tidelock::in_process().ratelimit("api").limit(Limit::per_minute(60).name("burst")).build()?;
    /// let fields: Vec<_> = api.check("user:42").await?.http_fields().collect();
    /// assert_eq!(fields[0], ("RateLimit-Policy", r#""burst";q=60;w=60"#.to_owned()));
    /// assert!(fields[1].1.starts_with(r#""burst";r=59;t="#));
    /// # Ok::<_, tidelock::Error>(()) })?; Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn http_fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let (mut policy, mut state) = (String::new(), String::new());
        for (index, part) in self.parts().iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let (name, window) = (&part.name, seconds(part.window));
            // Writing to a string cannot fail.
            let _ = write!(policy, r#"{comma}"{name}";q={};w={window}"#, part.limit());
            let _ = write!(state, r#"{comma}"{name}";r={};t={}"#, part.remaining(), seconds(part.reset_in()));
        }
        let retry = self.limited.then(|| ("Retry-After", seconds(self.retry_after).to_string()));
        [("RateLimit-Policy", policy), ("RateLimit", state)].into_iter().chain(retry)
    }
}

fn seconds(duration: Duration) -> u128 {
    duration.as_nanos().div_ceil(1_000_000_000)
}

impl Part {
    /// The name of the limit.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this limit refuses.
    pub fn refused(&self) -> bool {
        self.judged.refused
    }

    /// The capacity: the limit, or the burst of a token bucket.
    pub fn limit(&self) -> u64 {
        self.capacity
    }

    /// Whole units that can still be used now.
    pub fn remaining(&self) -> u64 {
        self.judged.remaining
    }

    /// Time until the window ends, or until the bucket is full again.
    pub fn reset_in(&self) -> Duration {
        Duration::from_millis(self.judged.reset_in)
    }

    /// Time until this limit lets the request pass; zero unless it refuses.
    pub fn retry_after(&self) -> Duration {
        Duration::from_millis(self.judged.retry_after)
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut part = serializer.serialize_struct("Part", 6)?;
        part.serialize_field("name", self.name())?;
        part.serialize_field("refused", &self.refused())?;
        part.serialize_field("limit", &self.limit())?;
        part.serialize_field("remaining", &self.remaining())?;
        part.serialize_field("reset_in", &self.judged.reset_in)?;
        part.serialize_field("retry_after", &self.judged.retry_after)?;
        part.end()
    }
}

impl Serialize for Parts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_slice().serialize(serializer)
    }
}
