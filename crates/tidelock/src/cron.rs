//! Cron: expressions of five or six fields, and the instants they match.
//!
//! A [`Cron`] is pure: it has no clock and does no I/O. It computes the instants, or *slots*, that an expression
//! matches, in order; running something at them is up to the caller, for example a [scheduler](crate::scheduler).
//!
//! ```
//! use tidelock::{Cron, Timestamp};
//!
//! let cron = Cron::parse("0 7 * * MON-FRI")?.tz("Europe/Berlin")?;
//! let friday = Timestamp::from_millis(1_774_591_200_000); // 2026-03-27T06:00:00Z, seven o'clock in Berlin
//! let monday = Timestamp::from_millis(1_774_846_800_000); // 2026-03-30T05:00:00Z, seven o'clock, summer time
//! assert_eq!(cron.next_after(friday), Some(monday));
//! assert_eq!(cron.last_before(monday), Some(friday));
//!
//! let error = Cron::parse("0 7 * * MON-FIR").unwrap_err();
//! assert_eq!(error.to_string(), "invalid day-of-week value: FIR (at byte 12)");
//! # Ok::<(), tidelock::CronError>(())
//! ```
//!
//! The syntax and the rules for clock changes are in [`guide::cron`](crate::guide::cron).
#![doc = include_str!("../guide/cron.md")]

mod error;
mod fields;
mod parse;
mod search;
mod zone;

pub use error::{CronError, CronField};

use std::fmt;
use std::iter::FusedIterator;

use serde::{Deserialize, Serialize};

use self::fields::Fields;
use self::zone::Zone;
use crate::time::Timestamp;

/// Later than any slot, in seconds: some days after the year 9999.
const LAST_INSTANT: u64 = 253_402_300_800 + 2 * 86_400;

/// A cron expression in a time zone, UTC unless [`tz`](Self::tz) says otherwise.
///
/// Two expressions are equal if they have the same meaning: `0 0 * * MON` and `@weekly` differ, `0 0 * * SUN` and
/// `@weekly` do not. The parsed fields and the name of the zone are compared. It is displayed as the normalised
/// expression: macros expanded, upper case, one blank between fields; parsed again, that gives an equal one.
#[derive(Clone, Debug)]
pub struct Cron {
    fields: Fields,
    zone: Zone,
    text: String,
}

impl Cron {
    /// Parses an expression. For the syntax see [`guide::cron`](crate::guide::cron).
    ///
    /// Anything else is refused, and so is an expression that matches no date.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let (fields, text) = parse::parse(text)?;
        Ok(Self { fields, zone: Zone::utc(), text })
    }

    /// The time zone of the expression: an IANA name in any case, or `±HH:MM`.
    pub fn tz(self, zone: &str) -> Result<Self, CronError> {
        let found = Zone::find(zone).ok_or_else(|| {
            let shown: String = zone.chars().take(64).collect();
            CronError::new(None, 0, format!("unknown time zone: {shown}"))
        })?;
        Ok(Self { zone: found, ..self })
    }

    /// The name of the zone as the time zone database writes it.
    pub fn zone(&self) -> &str {
        self.zone.name()
    }

    /// The release of the time zone database, such as `2026a`; in a browser page `host`, because the browser's is used.
    ///
    /// Future slots may differ between releases.
    pub fn zone_database() -> &'static str {
        zone::database()
    }

    /// The first slot after `t`. `None` after the year 9999.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        let second = t.as_millis() / 1_000;
        if second >= LAST_INSTANT {
            return None;
        }
        timestamp(search::next(&self.fields, &self.zone, second.cast_signed() + 1)?)
    }

    /// The last slot before `t`. `None` before 1970.
    pub fn last_before(&self, t: Timestamp) -> Option<Timestamp> {
        let second = t.as_millis().checked_sub(1)? / 1_000;
        timestamp(search::last(&self.fields, &self.zone, second.min(LAST_INSTANT).cast_signed())?)
    }

    /// The slots after `after`, in order.
    pub fn upcoming(&self, after: Timestamp) -> Slots<'_> {
        Slots { cron: self, after: Some(after) }
    }
}

/// A cron expression as it is stored: the parsed fields, and the name of its zone. Equal expressions have equal
/// stored forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Written {
    /// The sets of seconds, minutes, hours, months, days of the month and days of the week.
    fields: [u64; 6],
    interval_like: bool,
    zone: String,
}

impl Cron {
    /// The stored form.
    pub(crate) fn written(&self) -> Written {
        let (fields, interval_like) = self.fields.sets();
        Written { fields, interval_like, zone: self.zone().to_owned() }
    }

    /// Reads the stored form; the text is only for display. Fails if the zone is unknown here, or the fields are
    /// invalid.
    pub(crate) fn read(written: &Written, text: &str) -> Result<Self, CronError> {
        let fields = Fields::from_sets(written.fields, written.interval_like)
            .ok_or_else(|| CronError::new(None, 0, "the stored fields are none of an expression"))?;
        Self { fields, zone: Zone::utc(), text: text.to_owned() }.tz(&written.zone)
    }

    /// Whether its slots depend on the time zone database.
    pub(crate) fn is_zoned(&self) -> bool {
        matches!(self.zone, Zone::Named(_))
    }
}

/// `None` for an instant before the Unix epoch.
fn timestamp(second: i64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(u64::try_from(second).ok()?.saturating_mul(1_000)))
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields && self.zone() == other.zone()
    }
}

impl Eq for Cron {}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The slots of a [`Cron`] from an instant on, from [`Cron::upcoming`]. It ends with the year 9999.
#[derive(Clone, Debug)]
#[must_use = "an iterator does nothing until it is asked"]
pub struct Slots<'a> {
    cron: &'a Cron,
    after: Option<Timestamp>,
}

impl Iterator for Slots<'_> {
    type Item = Timestamp;

    fn next(&mut self) -> Option<Timestamp> {
        self.after = self.cron.next_after(self.after?);
        self.after
    }
}

impl FusedIterator for Slots<'_> {}
