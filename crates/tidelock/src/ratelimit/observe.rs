//! What a rate limiter reports to `tracing` and, with the feature, to `metrics`. Costs next to nothing without a
//! listener.

use std::sync::Arc;

use super::Inner;
use super::verdict::{DecidedBy, Verdict};
use crate::counters::{Counters, Going, Named};

/// Number of variants of [`DecidedBy`].
const DECIDERS: usize = DecidedBy::Assumed as usize + 1;

/// The metrics of a limiter.
#[derive(Debug)]
pub(super) struct Meter {
    /// By who decided, then by outcome.
    verdicts: [Counters<2>; DECIDERS],
    waiting: Counters<1>,
    /// By outcome.
    waited: Counters<2>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self { verdicts: [const { Counters::new() }; DECIDERS], waiting: Counters::new(), waited: Counters::new() }
    }
}

/// Reports a verdict.
pub(super) fn tell(inner: &Inner, verdict: &Verdict) {
    let id = &*inner.address.id;
    tracing::trace!(limiter = id, limited = verdict.limited, decided_by = ?verdict.decided_by, "rate limit judged");
    let verdicts = &inner.meter.verdicts[verdict.decided_by as usize];
    verdicts.add(usize::from(verdict.limited), 1, || {
        let decided_by = verdict.decided_by.to_string().into();
        let labels = vec![("outcome", outcome(verdict).into()), ("decided_by", decided_by)];
        Some(named(inner, "tidelock.ratelimit.verdicts", labels))
    });
}

/// Called when an `acquire` begins.
pub(super) fn begin(inner: &Inner) -> Option<Going> {
    let called = || Some(named(inner, "tidelock.ratelimit.waiting", Vec::new()));
    inner.meter.waiting.begin(0, &inner.world.clock, called)
}

/// Called when an `acquire` has its verdict.
pub(super) fn end(inner: &Inner, waiting: Option<Going>, verdict: &Verdict) {
    if let Some(waiting) = waiting {
        let labels = || vec![("outcome", outcome(verdict).into())];
        let called = || Some(named(inner, "tidelock.ratelimit.wait.duration", labels()));
        let elapsed = || waiting.elapsed(&inner.world.clock);
        inner.meter.waited.record(usize::from(verdict.limited), called, elapsed);
    }
}

fn outcome(verdict: &Verdict) -> &'static str {
    if verdict.limited { "limited" } else { "allowed" }
}

fn named(inner: &Inner, name: &'static str, more: Vec<(&'static str, Arc<str>)>) -> Named {
    let mut labels = vec![("limiter", Arc::clone(&inner.address.id))];
    labels.extend(more);
    (name.into(), labels)
}
