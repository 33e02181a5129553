//! Instants in readable form.

use jiff::Timestamp as Instant;
use tidelock::{Cron, Timestamp};

/// The instant of `2026-03-29T01:00Z`; seconds may follow the minutes.
pub(crate) fn at(text: &str) -> Timestamp {
    let instant: Instant = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    Timestamp::from_millis(u64::try_from(instant.as_millisecond()).expect("after 1970"))
}

/// The instant in the form that [`at`] reads.
pub(crate) fn shown(timestamp: Timestamp) -> String {
    let millis = i64::try_from(timestamp.as_millis()).expect("a year of four digits");
    Instant::from_millisecond(millis).expect("a year of four digits").to_string()
}

pub(crate) fn cron(expression: &str, zone: &str) -> Cron {
    let cron = Cron::parse(expression).and_then(|cron| cron.tz(zone));
    cron.unwrap_or_else(|error| panic!("{expression} in {zone}: {error}"))
}

/// The slots later than `after` and earlier than `end`.
pub(crate) fn slots(cron: &Cron, after: &str, end: &str) -> Vec<String> {
    cron.upcoming(at(after)).take_while(|slot| *slot < at(end)).map(shown).collect()
}
