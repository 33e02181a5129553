//! The fields of an expression as bit sets, and the search for clock readings that they match.
//!
//! A *reading* is what a clock on the wall shows: date and time of day without a zone, counted in seconds as if the
//! clock showed UTC. The search goes field by field and never tries one minute after the other.

use crate::calendar::{self, Date};

/// Readings after this year are not slots.
const LAST_YEAR: i64 = 9_999;
const LAST_READING: i64 = 253_402_300_799;
/// Instants begin with 1970, and no clock is much more than a day behind UTC.
const FIRST_YEAR: i64 = 1_969;
const FIRST_READING: i64 = -365 * DAY;

const DAY: i64 = 86_400;
const ALL_DAYS: u64 = 0xffff_fffe;
const ALL_WEEKDAYS: u64 = 0x7f;

/// Bit n of each set stands for the value n.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u64,
    pub(super) months: u64,
    /// Days of the month.
    days: u64,
    /// Days of the week, Sunday being 0. A day matches if it is in either of the two sets.
    weekdays: u64,
    /// Whether second, minute or hour says *each*, or *each from*. Such slots follow elapsed time, all others follow
    /// the wall clock.
    pub(super) interval_like: bool,
}

/// A day field: its set, and whether it was written as *any day*.
#[derive(Clone, Copy, Debug)]
pub(super) struct DayField {
    pub(super) set: u64,
    pub(super) free: bool,
}

impl Fields {
    /// Normalises the two day fields so that a day matches if it is in either of two sets. Then equal rules are equal
    /// values.
    pub(super) fn new(time: [u64; 3], month: u64, (days, weekdays): (DayField, DayField), interval_like: bool) -> Self {
        let [seconds, minutes, hours] = time;
        let days_count = !days.free;
        let weekdays_count = !weekdays.free;
        let everything = (days_count && days.set == ALL_DAYS) || (weekdays_count && weekdays.set == ALL_WEEKDAYS);
        let (days, weekdays) = match (days_count, weekdays_count) {
            (false, false) => (ALL_DAYS, 0),
            _ if everything => (ALL_DAYS, 0),
            (true, false) => (days.set, 0),
            (false, true) => (0, weekdays.set),
            (true, true) => (days.set, weekdays.set),
        };
        Self { seconds, minutes, hours, months: month, days, weekdays, interval_like }
    }

    /// All fields, to be stored.
    pub(super) fn sets(&self) -> ([u64; 6], bool) {
        let Self { seconds, minutes, hours, months, days, weekdays, interval_like } = *self;
        ([seconds, minutes, hours, months, days, weekdays], interval_like)
    }

    /// Reads stored fields; `None` if they contain an invalid value, or match nothing.
    pub(super) fn from_sets(sets: [u64; 6], interval_like: bool) -> Option<Self> {
        const MINUTES: u64 = (1 << 60) - 1;
        const ALLOWED: [u64; 6] = [MINUTES, MINUTES, (1 << 24) - 1, 0x1ffe, ALL_DAYS, ALL_WEEKDAYS];
        let [seconds, minutes, hours, months, days, weekdays] = sets;
        let fields = Self { seconds, minutes, hours, months, days, weekdays, interval_like };
        let known = sets.iter().zip(ALLOWED).all(|(set, allowed)| set & !allowed == 0);
        let named = sets[..4].iter().all(|set| *set != 0) && fields.name_a_date();
        (known && named).then_some(fields)
    }

    /// Whether there is a date, in any year, that these fields match.
    pub(super) fn name_a_date(&self) -> bool {
        let longest = |month| if month == 2 { 29 } else { calendar::days_in_month(1_970, month) };
        self.weekdays != 0
            || (1..=12).any(|month| contains(self.months, month) && self.days & up_to(longest(month)) != 0)
    }

    /// The first reading at or after `from`.
    pub(super) fn next_reading(&self, from: i64) -> Option<i64> {
        if from > LAST_READING {
            return None;
        }
        let from = from.max(FIRST_READING);
        let (day, time) = (from.div_euclid(DAY), from.rem_euclid(DAY));
        if self.has_day(day)
            && let Some(time) = self.next_time(time)
        {
            return Some(day * DAY + time);
        }
        Some(self.next_day(day + 1)? * DAY + self.next_time(0)?)
    }

    /// The last reading at or before `until`.
    pub(super) fn last_reading(&self, until: i64) -> Option<i64> {
        if until < FIRST_READING {
            return None;
        }
        let until = until.min(LAST_READING);
        let (day, time) = (until.div_euclid(DAY), until.rem_euclid(DAY));
        if self.has_day(day)
            && let Some(time) = self.last_time(time)
        {
            return Some(day * DAY + time);
        }
        Some(self.last_day(day - 1)? * DAY + self.last_time(DAY - 1)?)
    }

    fn next_time(&self, from: i64) -> Option<i64> {
        let (hour, minute, second) = (from / 3_600, from / 60 % 60, from % 60);
        if contains(self.hours, hour) {
            if contains(self.minutes, minute)
                && let Some(second) = first_from(self.seconds, second)
            {
                return Some(hour * 3_600 + minute * 60 + second);
            }
            if let Some(minute) = first_from(self.minutes, minute + 1) {
                return Some(hour * 3_600 + minute * 60 + first_from(self.seconds, 0)?);
            }
        }
        let hour = first_from(self.hours, hour + 1)?;
        Some(hour * 3_600 + first_from(self.minutes, 0)? * 60 + first_from(self.seconds, 0)?)
    }

    fn last_time(&self, until: i64) -> Option<i64> {
        let (hour, minute, second) = (until / 3_600, until / 60 % 60, until % 60);
        if contains(self.hours, hour) {
            if contains(self.minutes, minute)
                && let Some(second) = last_to(self.seconds, second)
            {
                return Some(hour * 3_600 + minute * 60 + second);
            }
            if let Some(minute) = last_to(self.minutes, minute - 1) {
                return Some(hour * 3_600 + minute * 60 + last_to(self.seconds, 59)?);
            }
        }
        let hour = last_to(self.hours, hour - 1)?;
        Some(hour * 3_600 + last_to(self.minutes, 59)? * 60 + last_to(self.seconds, 59)?)
    }

    /// Days are counted from 1970-01-01.
    fn has_day(&self, day: i64) -> bool {
        let date = Date::of(day);
        contains(self.months, date.month)
            && (contains(self.days, date.day) || contains(self.weekdays, calendar::weekday(day)))
    }

    fn next_day(&self, from: i64) -> Option<i64> {
        let Date { mut year, mut month, mut day } = Date::of(from);
        while year <= LAST_YEAR {
            if contains(self.months, month)
                && let Some(day) = first_from(self.days_of(year, month), day)
            {
                return Some(Date { year, month, day }.number());
            }
            day = 1;
            (year, month) = match first_from(self.months, month + 1) {
                Some(next) => (year, next),
                None => (year + 1, first_from(self.months, 1)?),
            };
        }
        None
    }

    fn last_day(&self, until: i64) -> Option<i64> {
        let Date { mut year, mut month, mut day } = Date::of(until);
        while year >= FIRST_YEAR {
            if contains(self.months, month)
                && let Some(day) = last_to(self.days_of(year, month), day)
            {
                return Some(Date { year, month, day }.number());
            }
            day = 31;
            (year, month) = match last_to(self.months, month - 1) {
                Some(last) => (year, last),
                None => (year - 1, last_to(self.months, 12)?),
            };
        }
        None
    }

    /// The days of one month that match.
    fn days_of(&self, year: i64, month: i64) -> u64 {
        let mut days = self.days;
        if self.weekdays != 0 {
            let first = calendar::weekday(Date { year, month, day: 1 }.number());
            let week = (self.weekdays >> first | self.weekdays << (7 - first)) & ALL_WEEKDAYS;
            // Five weeks side by side, the first beginning at bit 1.
            days |= (week | week << 7 | week << 14 | week << 21 | week << 28) << 1;
        }
        days & up_to(calendar::days_in_month(year, month))
    }
}

fn contains(set: u64, value: i64) -> bool {
    set >> value & 1 == 1
}

fn up_to(value: i64) -> u64 {
    u64::MAX >> (63 - value)
}

fn first_from(set: u64, value: i64) -> Option<i64> {
    let rest = set & (u64::MAX << value);
    (rest != 0).then(|| i64::from(rest.trailing_zeros()))
}

fn last_to(set: u64, value: i64) -> Option<i64> {
    let rest = if value < 0 { 0 } else { set & up_to(value) };
    (rest != 0).then(|| 63 - i64::from(rest.leading_zeros()))
}
