//! With the feature `metrics`.

use std::cell::Cell;
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Gauge, IntoF64, Key, Label, Metadata, Recorder, SharedString, with_recorder};

use super::Named;
use crate::time::{Clock, Tick};

/// Whether anything is measured.
pub(crate) const MEASURES: bool = true;

static METADATA: Metadata<'_> = Metadata::new("tidelock", metrics::Level::INFO, Some(module_path!()));

/// The metrics of one object, by index. The recorder is looked up each time, so one that is installed later gets what
/// is measured from then on.
#[derive(Debug)]
pub(crate) struct Counters<const COUNT: usize> {
    keys: [OnceLock<Option<Key>>; COUNT],
}

impl<const COUNT: usize> Counters<COUNT> {
    pub(crate) const fn new() -> Self {
        Self { keys: [const { OnceLock::new() }; COUNT] }
    }

    /// Adds to a counter. `called` is asked only once; `None` means not counted.
    pub(crate) fn add(&self, number: usize, by: usize, called: impl FnOnce() -> Option<Named>) {
        self.with(number, called, |recorder, key| recorder.register_counter(key, &METADATA).increment(by as u64));
    }

    /// Adds a duration to a distribution, in seconds. `elapsed` is called only if there is a recorder.
    pub(crate) fn record(
        &self,
        number: usize,
        called: impl FnOnce() -> Option<Named>,
        elapsed: impl FnOnce() -> Duration,
    ) {
        let seconds = Asked(|| elapsed().as_secs_f64());
        self.with(number, called, |recorder, key| recorder.register_histogram(key, &METADATA).record(seconds));
    }

    /// Adds one to a gauge for as long as the returned value lives. `None`: there is no recorder.
    pub(crate) fn begin(&self, number: usize, clock: &Clock, called: impl FnOnce() -> Option<Named>) -> Option<Going> {
        let since = Cell::new(None);
        let one = Asked(|| {
            since.set(Some(clock.tick()));
            1.0
        });
        let gauge = self.with(number, called, |recorder, key| {
            let gauge = recorder.register_gauge(key, &METADATA);
            gauge.increment(one);
            gauge
        });
        Some(Going { gauge: gauge?, since: since.get()? })
    }

    fn with<T>(
        &self,
        number: usize,
        called: impl FnOnce() -> Option<Named>,
        measure: impl FnOnce(&dyn Recorder, &Key) -> T,
    ) -> Option<T> {
        let key = self.keys[number].get_or_init(|| {
            let (name, labels) = called()?;
            let label = |(name, value)| Label::new(name, SharedString::from_shared(value));
            Some(Key::from_parts(name, labels.into_iter().map(label).collect::<Vec<_>>()))
        });
        key.as_ref().map(|key| with_recorder(|recorder| measure(recorder, key)))
    }
}

/// A number that is computed only if a recorder asks for it.
struct Asked<F>(F);

impl<F: FnOnce() -> f64> IntoF64 for Asked<F> {
    fn into_f64(self) -> f64 {
        (self.0)()
    }
}

/// Something in progress that a gauge counts, until it is dropped.
pub(crate) struct Going {
    gauge: Gauge,
    since: Tick,
}

impl Going {
    /// How long it has been in progress.
    pub(crate) fn elapsed(&self, clock: &Clock) -> Duration {
        clock.tick().since(self.since)
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.gauge.decrement(1.0);
    }
}

impl fmt::Debug for Going {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Going").field("since", &self.since).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_recorder_nobody_asks_how_long_it_was() {
        let called = || Some(Named::from(("nobody.listens".into(), Vec::new())));
        metrics::with_local_recorder(&metrics::NoopRecorder, || {
            let counters = Counters::<2>::new();
            assert!(counters.begin(0, &Clock::System, called).is_none());
            counters.record(1, called, || unreachable!("nobody listens"));
        });
    }
}
