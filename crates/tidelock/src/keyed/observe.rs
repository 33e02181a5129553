//! What the keyed stores tell `tracing` and, with the feature, `metrics`. Costs next to nothing when nobody listens.

use tracing::field::Empty;

use super::site::{Call, Site};
use crate::error::Error;
pub(crate) use crate::handover::observe::within;

/// The span of a call.
pub(crate) fn span(site: &Site, call: &Call<'_>) -> tracing::Span {
    tracing::debug_span!(
        target: "tidelock::keyed",
        "keyed",
        otel.name = %format_args!("{} {}", call.name, site.id()),
        otel.kind = "client",
        object.kind = site.object.kind.word(),
        object.id = %site.id(),
        object.operation = call.name,
        object.key = call.key,
        error.type = Empty,
    )
}

/// Counters of a keyed store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    /// Changes that were answered, by the call.
    Calls(&'static str),
    /// Events handed out.
    Events,
    /// Followers that had fallen behind.
    Overflows,
    /// Records and events that did not decode.
    Undecodable,
    /// Memberships that registered again.
    Rejoins,
    /// Memberships that were taken over.
    Lost,
}

impl Counter {
    fn labels(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Calls(call) => ("calls", Some(call)),
            Self::Events => ("events", None),
            Self::Overflows => ("overflows", None),
            Self::Undecodable => ("undecodable", None),
            Self::Rejoins => ("rejoins", None),
            Self::Lost => ("lost", None),
        }
    }
}

/// Adds to a counter, labelled with the object.
#[cfg(feature = "metrics")]
pub(crate) fn count(site: &Site, counter: Counter, by: usize) {
    let (what, call) = counter.labels();
    let object = metrics::SharedString::from_shared(std::sync::Arc::clone(site.id()));
    let kind = site.object.kind.word();
    let mut labels = vec![metrics::Label::new(kind, object)];
    labels.extend(call.map(|call| metrics::Label::new("call", call)));
    metrics::counter!(format!("tidelock.{kind}.{what}"), labels).increment(by as u64);
}

/// Nothing is counted without the feature `metrics`.
#[cfg(not(feature = "metrics"))]
pub(crate) fn count(_: &Site, counter: Counter, _: usize) {
    let _ = counter.labels();
}

/// Reports a record whose bytes are no value of the handle's type.
pub(crate) fn undecodable(site: &Site, key: &str, version: u64, error: &Error) {
    count(site, Counter::Undecodable, 1);
    tracing::warn!(
        object.kind = site.object.kind.word(),
        object.id = %site.id(),
        object.key = key,
        version,
        %error,
        "a record does not decode"
    );
}
