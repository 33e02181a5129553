//! The Gregorian calendar: dates and numbers of days, counted from 1970-01-01.

/// A date. The month counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
}

/// The days of 400 years, after which the calendar repeats, weekdays included.
const ERA_DAYS: i64 = 146_097;
/// The days from 0000-03-01, when the eras begin, to 1970-01-01. In years that begin in March the leap day comes last.
const EPOCH: i64 = 719_468;

impl Date {
    /// The date of a day number, by Howard Hinnant's `civil_from_days`.
    pub(crate) fn of(number: i64) -> Self {
        let (era, day) = ((number + EPOCH).div_euclid(ERA_DAYS), (number + EPOCH).rem_euclid(ERA_DAYS));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Self { year: era * 400 + year + next, month, day }
    }

    /// The day number of the date, by Howard Hinnant's `days_from_civil`.
    pub(crate) fn number(self) -> i64 {
        let (year, month) = if self.month > 2 { (self.year, self.month - 3) } else { (self.year - 1, self.month + 9) };
        let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
        let day = (153 * month + 2) / 5 + self.day - 1;
        era * ERA_DAYS + year * 365 + year / 4 - year / 100 + day - EPOCH
    }
}

/// The day of the week, with Sunday as 0. 1970-01-01 was a Thursday.
pub(crate) fn weekday(number: i64) -> i64 {
    (number + 4).rem_euclid(7)
}

pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_of_ten_thousand_years_follows_the_one_before() {
        let mut date = Date { year: 0, month: 1, day: 1 };
        let last = Date { year: 9_999, month: 12, day: 31 }.number();
        for number in date.number()..=last {
            assert_eq!(Date::of(number), date);
            assert_eq!(date.number(), number);
            date.day += 1;
            if date.day > days_in_month(date.year, date.month) {
                (date.month, date.day) = (date.month + 1, 1);
            }
            if date.month > 12 {
                (date.year, date.month) = (date.year + 1, 1);
            }
        }
        assert_eq!(Date { year: 1970, month: 1, day: 1 }.number(), 0);
        assert_eq!(weekday(Date { year: 2026, month: 3, day: 29 }.number()), 0);
    }
}
