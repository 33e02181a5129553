//! Counters for the crate `metrics`, with the name and the labels of each made once: most counts are of an object that is
//! there for long, in the midst of what is to be quick.

use std::borrow::Cow;
use std::sync::Arc;
#[cfg(feature = "metrics")]
use std::sync::OnceLock;

/// The name of a counter and its labels.
pub(crate) type Named = (Cow<'static, str>, Vec<(&'static str, Arc<str>)>);

/// The counters of one object, by number. Nothing is counted without the feature `metrics`.
#[derive(Debug)]
pub(crate) struct Counters<const COUNT: usize> {
    #[cfg(feature = "metrics")]
    keys: [OnceLock<Option<metrics::Key>>; COUNT],
}

impl<const COUNT: usize> Default for Counters<COUNT> {
    fn default() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            keys: [const { OnceLock::new() }; COUNT],
        }
    }
}

impl<const COUNT: usize> Counters<COUNT> {
    /// Adds to a counter. What it is called is asked once; `None` is not counted.
    #[cfg(feature = "metrics")]
    pub(crate) fn add(&self, number: usize, by: usize, called: impl FnOnce() -> Option<Named>) {
        static METADATA: metrics::Metadata<'_> =
            metrics::Metadata::new("tidelock", metrics::Level::INFO, Some(module_path!()));
        let key = self.keys[number].get_or_init(|| {
            let (name, labels) = called()?;
            let label = |(name, value)| metrics::Label::new(name, metrics::SharedString::from_shared(value));
            Some(metrics::Key::from_parts(name, labels.into_iter().map(label).collect::<Vec<_>>()))
        });
        // The recorder is asked for each time: one that is installed later gets what is counted from then on.
        if let Some(key) = key {
            metrics::with_recorder(|recorder| recorder.register_counter(key, &METADATA)).increment(by as u64);
        }
    }

    /// Does nothing.
    #[cfg(not(feature = "metrics"))]
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn add(&self, _: usize, _: usize, _: impl FnOnce() -> Option<Named>) {}
}
