//! What the keyed stores report to `tracing` and, with the feature, to `metrics`. Costs next to nothing without a
//! listener.

use std::sync::Arc;

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
        tidelock.tenant = %site.object.address.tenant,
        error.type = Empty,
        otel.status_code = Empty,
    )
}

/// Counters of a keyed store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    /// Completed changes, by call.
    Calls(&'static str),
    /// Events delivered.
    Events,
    /// Overflows reported to followers.
    Overflows,
    /// Records and events that could not be decoded.
    Undecodable,
    /// Memberships that registered again.
    Rejoins,
    /// Memberships that were taken over.
    Lost,
}

/// The calls that are counted: those that change something.
const CALLS: [&str; 10] =
    ["upsert", "touch", "remove", "cas", "register", "try_register", "renew", "rejoin", "update", "leave"];
/// Number of counters.
pub(crate) const COUNTERS: usize = 5 + CALLS.len();

impl Counter {
    /// The counter's index, the end of its name, and the call in its label.
    fn described(self) -> Option<(usize, &'static str, Option<&'static str>)> {
        Some(match self {
            Self::Events => (0, "events", None),
            Self::Overflows => (1, "overflows", None),
            Self::Undecodable => (2, "undecodable", None),
            Self::Rejoins => (3, "rejoins", None),
            Self::Lost => (4, "lost", None),
            Self::Calls(call) => (5 + CALLS.iter().position(|known| *known == call)?, "calls", Some(call)),
        })
    }
}

/// Adds to a counter, labelled with the object.
pub(crate) fn count(site: &Site, counter: Counter, by: usize) {
    let described = counter.described();
    debug_assert!(described.is_some(), "{counter:?} is not listed");
    let Some((number, what, call)) = described else { return };
    site.counters.add(number, by, || {
        let kind = site.object.kind.word();
        let mut labels = vec![(kind, Arc::clone(site.id()))];
        labels.extend(call.map(|call| ("call", call.into())));
        Some((format!("tidelock.{kind}.{what}").into(), labels))
    });
}

/// Reports a record that cannot be decoded to the handle's type.
pub(crate) fn undecodable(site: &Site, key: &str, version: u64, error: &Error) {
    count(site, Counter::Undecodable, 1);
    tracing::warn!(
        object.kind = site.object.kind.word(),
        object.id = %site.id(),
        object.key = key,
        version,
        %error,
        "a record cannot be decoded"
    );
}
