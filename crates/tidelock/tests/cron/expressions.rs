//! The meaning of expressions, in UTC: field values, the day rule, names, macros, equality, and the ends of time.

use tidelock::{Cron, Timestamp};

use crate::instants::{at, cron, shown, slots};

/// An expression with a placeholder for a field, and where the values of that field are in a slot.
const MINUTE: (&str, &str, &str, std::ops::Range<usize>) =
    ("{} 12 * * *", "2026-03-01T00:00Z", "2026-03-02T00:00Z", 14..16);
const HOUR: (&str, &str, &str, std::ops::Range<usize>) =
    ("0 {} * * *", "2026-02-28T23:59:59Z", "2026-03-02T00:00Z", 11..13);
const DAY: (&str, &str, &str, std::ops::Range<usize>) =
    ("0 0 {} * *", "2026-02-28T23:59:59Z", "2026-04-01T00:00Z", 8..10);
const MONTH: (&str, &str, &str, std::ops::Range<usize>) =
    ("0 0 1 {} *", "2025-12-31T23:59:59Z", "2027-01-01T00:00Z", 5..7);
/// 2026-03-01 was a Sunday, so the weekday is the day of the month minus one.
const WEEKDAY: (&str, &str, &str, std::ops::Range<usize>) =
    ("0 0 * * {}", "2026-02-28T23:59:59Z", "2026-03-08T00:00Z", 8..10);
const SECOND: (&str, &str, &str, std::ops::Range<usize>) =
    ("{} 0 12 * * *", "2026-03-01T00:00Z", "2026-03-02T00:00Z", 17..19);

fn values(field: &(&str, &str, &str, std::ops::Range<usize>), text: &str) -> Vec<u32> {
    let (expression, from, to, place) = field;
    let cron = cron(&expression.replace("{}", text), "UTC");
    let mut values: Vec<u32> = slots(&cron, from, to).iter().map(|slot| slot[place.clone()].parse().unwrap()).collect();
    if field == &WEEKDAY {
        for day in &mut values {
            *day -= 1;
        }
    }
    values.dedup();
    values
}

#[test]
fn segments_are_what_the_table_says() {
    let all = |from: u32, to: u32| (from..=to).collect::<Vec<_>>();
    assert_eq!(values(&MINUTE, "*"), all(0, 59));
    assert_eq!(values(&MINUTE, "7"), [7]);
    assert_eq!(values(&MINUTE, "0007"), [7]);
    assert_eq!(values(&MINUTE, "7,7,5-7"), [5, 6, 7]);
    assert_eq!(values(&MINUTE, "7,*"), all(0, 59));
    assert_eq!(values(&MINUTE, "*/25"), [0, 25, 50]);
    assert_eq!(values(&MINUTE, "*/99999999999999999999"), [0]);
    assert_eq!(values(&MINUTE, "50/4"), [50, 54, 58]);
    assert_eq!(values(&MINUTE, "50/60"), [50]);
    assert_eq!(values(&MINUTE, "10-20/4"), [10, 14, 18]);
    assert_eq!(values(&MINUTE, "58-2"), [0, 1, 2, 58, 59]);
    assert_eq!(values(&SECOND, "55-5/5"), [0, 5, 55]);
    assert_eq!(values(&HOUR, "22-4/2"), [0, 2, 4, 22]);
    assert_eq!(values(&HOUR, "23-0"), [0, 23]);
    assert_eq!(values(&HOUR, "20/3"), [20, 23]);
    assert_eq!(values(&DAY, "*/10"), [1, 11, 21, 31]);
    assert_eq!(values(&DAY, "28/2"), [28, 30]);
    assert_eq!(values(&DAY, "9-9"), [9]);
    assert_eq!(values(&MONTH, "*/5"), [1, 6, 11]);
    assert_eq!(values(&MONTH, "nov-Feb"), [1, 2, 11, 12]);
    assert_eq!(values(&MONTH, "11-3/2"), [1, 3, 11]);
    assert_eq!(values(&MONTH, "OCT/2"), [10, 12]);
}

#[test]
fn sunday_is_zero_and_seven() {
    let days: [(&str, &[u32]); 17] = [
        ("0", &[0]),
        ("7", &[0]),
        ("SUN", &[0]),
        ("5-7", &[0, 5, 6]),
        ("0-7", &[0, 1, 2, 3, 4, 5, 6]),
        ("1-7", &[0, 1, 2, 3, 4, 5, 6]),
        ("7-2", &[0, 1, 2]),
        ("7-7", &[0]),
        ("7-0", &[0]),
        ("6-0", &[0, 6]),
        ("FRI-MON", &[0, 1, 5, 6]),
        ("6-2/2", &[1, 6]),
        ("1-7/2", &[0, 1, 3, 5]),
        ("5-SUN", &[0, 5, 6]),
        ("*/2", &[0, 2, 4, 6]),
        ("3/2", &[3, 5]),
        ("7/3", &[0, 3, 6]),
    ];
    for (text, expected) in days {
        assert_eq!(values(&WEEKDAY, text), expected, "{text}");
    }
}

#[test]
fn a_day_field_is_free_only_if_it_is_written_so() {
    let days = |text: &str| slots(&cron(text, "UTC"), "2026-02-28T23:59Z", "2026-04-01T00:00Z").len();
    assert_eq!(days("0 0 * * *"), 31);
    assert_eq!(days("0 0 */1 * */1"), 31);
    assert_eq!(days("0 0 13 * *"), 1);
    assert_eq!(days("0 0 13 * */1"), 1);
    assert_eq!(days("0 0 * * 5"), 4);
    // March 2026 has four Fridays, one of them the 13th.
    assert_eq!(days("0 0 13 * 5"), 4);
    assert_eq!(days("0 0 14 * 5"), 5);
    assert_eq!(days("0 0 1-31 * 5"), 31);
    assert_eq!(days("0 0 13 * 0-6"), 31);
    assert_eq!(days("0 0 13 * *,1"), 31);
    assert_eq!(days("0 0 */2 * 5"), 18);
    // The 30th of February matches no date, but the Fridays do.
    assert_eq!(days("0 0 30 2 5"), 0);
    assert!(cron("0 0 30 2 5", "UTC").next_after(at("2026-02-28T23:59Z")).is_some());
}

#[test]
fn macros_are_expressions_in_any_case() {
    let macros = [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ];
    for (name, expression) in macros {
        for name in [name.to_owned(), name.to_uppercase(), format!("\t {name}\r\n")] {
            let cron = cron(&name, "UTC");
            assert_eq!(cron, Cron::parse(expression).unwrap());
            assert_eq!(cron.to_string(), expression);
        }
    }
}

#[test]
fn equal_is_what_means_the_same() {
    let equal = [
        ("0 0 * * sun", "0  00\t*\n* 7"),
        ("0 0 0 * * *", "0 0 * * */1"),
        ("*/15 * * * *", "0/15 */1 * JAN-DEC *"),
        ("0 0 1-31 * 5", "0 0 * * *"),
        ("5-7 1 2 3 *", "7,6,5 01 2 MAR *"),
    ];
    for (one, other) in equal {
        assert_eq!(Cron::parse(one), Cron::parse(other));
    }
    // The same values, but different slots where clocks change.
    assert_ne!(Cron::parse("0 * * * *"), Cron::parse("0 0-23 * * *"));
    assert_ne!(Cron::parse("0 0 * * *"), Cron::parse("1 0 * * *"));
    assert_ne!(cron("0 0 * * *", "Europe/Paris"), cron("0 0 * * *", "Europe/Berlin"));
    assert_eq!(cron("0 0 * * *", "europe/paris"), cron("@daily", "Europe/Paris"));
    assert_eq!(cron("0 0 * * *", "Utc"), Cron::parse("0 0 * * *").unwrap());
    assert_eq!(Cron::parse(" 0\t0 * jan  mon-Fri ").unwrap().to_string(), "0 0 * JAN MON-FRI");
}

#[test]
fn a_leap_day_may_be_eight_years_away() {
    let cron = cron("0 0 29 2 *", "UTC");
    assert_eq!(cron.next_after(at("2096-03-01T00:00Z")), Some(at("2104-02-29T00:00Z")));
    assert_eq!(cron.last_before(at("2104-02-29T00:00Z")), Some(at("2096-02-29T00:00Z")));
    assert_eq!(cron.next_after(at("2196-03-01T00:00Z")), Some(at("2204-02-29T00:00Z")));
    assert_eq!(cron.next_after(at("2396-03-01T00:00Z")), Some(at("2400-02-29T00:00Z")));
}

#[test]
fn later_and_earlier_are_strict_to_the_millisecond() {
    let cron = cron("*/10 * * * * *", "UTC");
    let slot = at("2026-03-01T00:00:10Z");
    let millis = |by: i64| Timestamp::from_millis(slot.as_millis().checked_add_signed(by).unwrap());
    assert_eq!(cron.next_after(millis(-1)), Some(slot));
    assert_eq!(cron.next_after(slot), Some(millis(10_000)));
    assert_eq!(cron.last_before(slot), Some(millis(-10_000)));
    assert_eq!(cron.last_before(millis(1)), Some(slot));
}

#[test]
fn backwards_each_part_of_the_time_starts_at_its_end() {
    let last = |text: &str, t: &str| shown(cron(text, "UTC").last_before(at(t)).unwrap());
    assert_eq!(last("* * * * * *", "2026-03-01T10:20:00Z"), "2026-03-01T10:19:59Z");
    assert_eq!(last("30,59 * * * * *", "2026-03-01T10:20:10Z"), "2026-03-01T10:19:59Z");
    assert_eq!(last("30,59 30,59 * * * *", "2026-03-01T10:20:10Z"), "2026-03-01T09:59:59Z");
    assert_eq!(last("30,59 30,59 9,23 * * *", "2026-03-01T09:20:10Z"), "2026-02-28T23:59:59Z");
    assert_eq!(last("* * * * * *", "2026-03-01T00:00:00Z"), "2026-02-28T23:59:59Z");
    assert_eq!(last("7 8 9 * * *", "2026-03-01T09:08:07Z"), "2026-02-28T09:08:07Z");
    assert_eq!(last("7 8,10 9 * * *", "2026-03-01T09:10:07Z"), "2026-03-01T09:08:07Z");
    assert_eq!(last("7 8 9,11 * * *", "2026-03-01T11:08:07Z"), "2026-03-01T09:08:07Z");
    assert_eq!(last("0 0 31 1,12 *", "2026-01-31T00:00:00Z"), "2025-12-31T00:00:00Z");
}

#[test]
fn slots_end_with_the_year_9999_and_begin_with_1970() {
    for zone in ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "-12:00", "+14:00"] {
        for text in ["0 0 1 1 *", "*/20 0 1 1 *", "59 23 31 12 *"] {
            let cron = cron(text, zone);
            let last = cron.last_before(Timestamp::from_millis(u64::MAX)).unwrap();
            assert!((at("9998-12-31T00:00Z").as_millis()..253_402_387_200_000).contains(&last.as_millis()), "{last}");
            assert_eq!(cron.next_after(last), None, "{text} in {zone}");
            assert_eq!(cron.next_after(Timestamp::from_millis(u64::MAX)), None);
            assert_eq!(cron.upcoming(last).next(), None);
            let first = cron.next_after(Timestamp::from_millis(0)).unwrap();
            assert!(first <= at("1971-01-01T00:00Z"), "{}", shown(first));
            assert_eq!(cron.last_before(first).filter(|slot| slot.as_millis() > 0), None);
            assert_eq!(cron.last_before(Timestamp::from_millis(0)), None);
        }
    }
    assert_eq!(cron("0 0 1 1 *", "UTC").last_before(Timestamp::from_millis(1)), Some(Timestamp::from_millis(0)));
    let last_second = Some(Timestamp::from_millis(253_402_300_799_000));
    for zone in ["UTC", "+00:00", "Europe/London"] {
        assert_eq!(cron("* * * * * *", zone).last_before(Timestamp::from_millis(u64::MAX)), last_second);
        assert_eq!(cron("59 59 23 31 12 *", zone).next_after(at("9999-12-30T00:00Z")), last_second);
    }
}
