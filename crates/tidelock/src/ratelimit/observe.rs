//! What a rate limiter tells `tracing` and, with the feature, `metrics`. Costs next to nothing when nobody listens.

use std::sync::Arc;

use super::Inner;
use super::verdict::{DecidedBy, Verdict};
use crate::counters::{Going, Named};

/// Verdicts, by outcome and by who decided, come first; the rest is of calls that wait.
const WAITING: usize = 6;
const WAITED: usize = WAITING + 1;
/// How much is measured.
pub(super) const COUNTERS: usize = WAITED + 2;

/// Says to the outside what was decided.
pub(super) fn tell(inner: &Inner, verdict: &Verdict) {
    let id = &*inner.address.id;
    tracing::trace!(limiter = id, limited = verdict.limited, decided_by = ?verdict.decided_by, "rate limit judged");
    let number = 2 * verdict.decided_by as usize + usize::from(verdict.limited);
    inner.counters.add(number, 1, || {
        let decided_by = match verdict.decided_by {
            DecidedBy::Backend => "backend",
            DecidedBy::Local => "local",
            DecidedBy::Assumed => "assumed",
        };
        let labels = vec![("outcome", outcome(verdict).into()), ("decided_by", decided_by.into())];
        Some(named(inner, "tidelock.ratelimit.verdicts", labels))
    });
}

/// An `acquire` begins.
pub(super) fn begin(inner: &Inner) -> Option<Going> {
    inner.counters.begin(WAITING, &inner.world.clock, || Some(named(inner, "tidelock.ratelimit.waiting", Vec::new())))
}

/// An `acquire` has its verdict.
pub(super) fn end(inner: &Inner, waiting: Option<Going>, verdict: &Verdict) {
    if let Some(waiting) = waiting {
        let labels = || vec![("outcome", outcome(verdict).into())];
        let called = || Some(named(inner, "tidelock.ratelimit.wait.duration", labels()));
        let elapsed = || waiting.elapsed(&inner.world.clock);
        inner.counters.record(WAITED + usize::from(verdict.limited), called, elapsed);
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
