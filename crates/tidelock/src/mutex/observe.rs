//! What a mutex reports to `metrics`, with that feature. Costs next to nothing without a recorder.

use std::sync::Arc;
use std::time::Duration;

use crate::counters::{Counters, Going, Named, measures};
use crate::name;
use crate::time::Clock;

measures! {
    /// The metrics of a mutex.
    pub(super) enum Measure: &'static str {
        Acquired = "tidelock.mutex.acquired",
        /// A call that does not wait found the resource held.
        Refused = "tidelock.mutex.refused",
        /// A waiting call timed out.
        TimedOut = "tidelock.mutex.timed_out",
        Released = "tidelock.mutex.released",
        Extended = "tidelock.mutex.extended",
        Renewed = "tidelock.mutex.renewed",
        Lost = "tidelock.mutex.lost",
        Held = "tidelock.mutex.held",
        HeldFor = "tidelock.mutex.hold.duration",
    }
}

/// The counters of a mutex, all labelled with its id.
#[derive(Debug)]
pub(crate) struct Meter {
    id: Arc<str>,
    counters: Counters<{ Measure::COUNT }>,
    /// By outcome.
    waited: Counters<2>,
}

impl Meter {
    pub(super) fn new(id: &Arc<str>) -> Self {
        Self { id: Arc::clone(id), counters: Counters::new(), waited: Counters::new() }
    }

    /// The id of the mutex.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn count(&self, what: Measure) {
        self.counters.add(what as usize, 1, || Some(self.named(what.name(), None)));
    }

    /// Records how long a waiting call took until its answer.
    pub(super) fn waited(&self, acquired: bool, waited: impl FnOnce() -> Duration) {
        let outcome = if acquired { "acquired" } else { "timed_out" };
        let called = || Some(self.named("tidelock.mutex.wait.duration", Some(outcome)));
        self.waited.record(usize::from(acquired), called, waited);
    }

    /// Records that a grant begins.
    pub(super) fn held(&self, clock: &Clock) -> Option<Going> {
        self.counters.begin(Measure::Held as usize, clock, || Some(self.named(Measure::Held.name(), None)))
    }

    /// Records that a grant ended.
    pub(super) fn over(&self, held: Option<Going>, clock: &Clock) {
        if let Some(held) = held {
            let called = || Some(self.named(Measure::HeldFor.name(), None));
            self.counters.record(Measure::HeldFor as usize, called, || held.elapsed(clock));
        }
    }

    fn named(&self, name: &'static str, outcome: Option<&'static str>) -> Named {
        let mut labels = vec![("mutex", name::shown(&self.id).into())];
        labels.extend(outcome.map(|outcome| ("outcome", outcome.into())));
        (name.into(), labels)
    }
}
