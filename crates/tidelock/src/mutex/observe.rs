//! What a mutex tells `metrics`, with that feature. Costs next to nothing when nobody listens.

use std::sync::Arc;
use std::time::Duration;

use crate::counters::{Counters, Going, Named};
use crate::name;
use crate::time::Clock;

/// What is counted of a mutex.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    Acquired,
    /// Asked once, and somebody else had it.
    Refused,
    /// Waited in vain.
    TimedOut,
    Released,
    Extended,
    Renewed,
    Lost,
}

/// The numbers of what is measured beside them.
const HELD: usize = Counter::Lost as usize + 1;
const HELD_FOR: usize = HELD + 1;
const WAITED: usize = HELD_FOR + 1;
const COUNT: usize = WAITED + 2;

/// The counters of a mutex, all labelled with its id.
#[derive(Debug)]
pub(crate) struct Meter {
    id: Arc<str>,
    counters: Counters<COUNT>,
}

impl Meter {
    pub(super) fn new(id: &Arc<str>) -> Self {
        Self { id: Arc::clone(id), counters: Counters::new() }
    }

    /// The id of the mutex.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn count(&self, counter: Counter) {
        let name = match counter {
            Counter::Acquired => "tidelock.mutex.acquired",
            Counter::Refused => "tidelock.mutex.refused",
            Counter::TimedOut => "tidelock.mutex.timed_out",
            Counter::Released => "tidelock.mutex.released",
            Counter::Extended => "tidelock.mutex.extended",
            Counter::Renewed => "tidelock.mutex.renewed",
            Counter::Lost => "tidelock.mutex.lost",
        };
        self.counters.add(counter as usize, 1, || Some(self.named(name, None)));
    }

    /// A call that was to wait has its answer.
    pub(super) fn waited(&self, acquired: bool, waited: impl FnOnce() -> Duration) {
        let outcome = if acquired { "acquired" } else { "timed_out" };
        let called = || Some(self.named("tidelock.mutex.wait.duration", Some(outcome)));
        self.counters.record(WAITED + usize::from(acquired), called, waited);
    }

    /// A grant begins.
    pub(super) fn held(&self, clock: &Clock) -> Option<Going> {
        self.counters.begin(HELD, clock, || Some(self.named("tidelock.mutex.held", None)))
    }

    /// A grant is over.
    pub(super) fn over(&self, held: Option<Going>, clock: &Clock) {
        if let Some(held) = held {
            let called = || Some(self.named("tidelock.mutex.hold.duration", None));
            self.counters.record(HELD_FOR, called, || held.elapsed(clock));
        }
    }

    fn named(&self, name: &'static str, outcome: Option<&'static str>) -> Named {
        let mut labels = vec![("mutex", name::shown(&self.id).into())];
        labels.extend(outcome.map(|outcome| ("outcome", outcome.into())));
        (name.into(), labels)
    }
}
