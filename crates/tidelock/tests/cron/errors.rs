//! Rejected expressions: the position and the text of the error.

use proptest::prelude::*;
use tidelock::CronField::{self, DayOfMonth, DayOfWeek, Hour, Minute, Month, Second};
use tidelock::{Cron, Error, ErrorKind, Timestamp};

/// A text, what its error contains, and its position.
const REFUSED: &[(&str, &str, Option<CronField>, usize)] = &[
    ("", "cron must have 5 fields", None, 0),
    (" \t ", "cron must have 5 fields", None, 3),
    ("* * * *", "cron must have 5 fields, or 6 with seconds first: it has 4", None, 7),
    ("  * * * * ", "cron must have 5 fields", None, 9),
    ("* * * * * * *", "cron must have 5 fields, or 6 with seconds first: it has 7", None, 12),
    ("@reboot", "cron must have 5 fields, or 6 with seconds first: @reboot is no macro", None, 0),
    (" @every", "cron must have 5 fields", None, 1),
    ("@every 5m", "cron must have 5 fields", None, 9),
    ("@daily 0", "cron must have 5 fields", None, 8),
    ("60 * * * *", "out-of-range minute: 60", Some(Minute), 0),
    ("* 24 * * *", "out-of-range hour: 24", Some(Hour), 2),
    ("* * 0 * *", "out-of-range day-of-month: 0", Some(DayOfMonth), 4),
    ("* * 32 * *", "out-of-range day-of-month: 32", Some(DayOfMonth), 4),
    ("* * * 0 *", "out-of-range month: 0", Some(Month), 6),
    ("* * * 13 *", "out-of-range month: 13", Some(Month), 6),
    ("* * * * 8", "out-of-range day-of-week: 8", Some(DayOfWeek), 8),
    ("60 * * * * *", "out-of-range second: 60", Some(Second), 0),
    ("0 60 * * * *", "out-of-range minute: 60", Some(Minute), 2),
    ("1,5-60/2 * * * *", "out-of-range minute: 5-60/2", Some(Minute), 4),
    ("60/5 * * * *", "out-of-range minute: 60/5", Some(Minute), 0),
    ("* * 28-3 * *", "out-of-range day-of-month: 28-3", Some(DayOfMonth), 4),
    ("61x * * * *", "invalid minute value: 61x", Some(Minute), 0),
    ("00000 * * * *", "invalid minute value: 00000", Some(Minute), 0),
    ("\t* x * * *", "invalid hour value: x", Some(Hour), 3),
    ("JAN * * * *", "invalid minute value: JAN", Some(Minute), 0),
    ("* * * MON *", "invalid month value: MON", Some(Month), 6),
    ("* * * * JAN", "invalid day-of-week value: JAN", Some(DayOfWeek), 8),
    ("* * * JANUARY *", "invalid month value: JANUARY", Some(Month), 6),
    ("* * * * MON-FIR", "invalid day-of-week value: FIR", Some(DayOfWeek), 12),
    ("-5 * * * *", "invalid minute value: -5", Some(Minute), 0),
    ("5- * * * *", "invalid minute value: 5-", Some(Minute), 0),
    ("+5 * * * *", "invalid minute value: +5", Some(Minute), 0),
    ("1.5 * * * *", "invalid minute value: 1.5", Some(Minute), 0),
    ("1e1 * * * *", "invalid minute value: 1e1", Some(Minute), 0),
    ("0x1 * * * *", "invalid minute value: 0x1", Some(Minute), 0),
    ("1-3-5 * * * *", "invalid minute value: 3-5", Some(Minute), 2),
    ("*-5 * * * *", "invalid minute value: *", Some(Minute), 0),
    ("** * * * *", "invalid minute value: **", Some(Minute), 0),
    ("/5 * * * *", "invalid minute value: /5", Some(Minute), 0),
    ("١ * * * *", "invalid minute value: ١", Some(Minute), 0),
    ("*\u{a0}* * * * *", "invalid minute value: *\u{a0}*", Some(Minute), 0),
    ("*/5/2 * * * *", "invalid minute step value: 5/2", Some(Minute), 2),
    ("*/x * * * *", "invalid minute step value: x", Some(Minute), 2),
    ("*/-1 * * * *", "invalid minute step value: -1", Some(Minute), 2),
    ("*/+1 * * * *", "invalid minute step value: +1", Some(Minute), 2),
    ("*/1.5 * * * *", "invalid minute step value: 1.5", Some(Minute), 2),
    ("* * * */FEB *", "invalid month step value: FEB", Some(Month), 8),
    ("*/0 * * * *", "invalid minute step: */0", Some(Minute), 2),
    ("*/000 * * * *", "invalid minute step: */000", Some(Minute), 2),
    ("1,2-4/ * * * *", "invalid minute step: 2-4/", Some(Minute), 6),
    (", * * * *", "invalid minute field: \",\"", Some(Minute), 0),
    ("1,,2 * * * *", "invalid minute field: \"1,,2\"", Some(Minute), 2),
    ("* 1, * * *", "invalid hour field: \"1,\"", Some(Hour), 4),
    ("* * ? * *", "invalid day-of-month value: ?", Some(DayOfMonth), 4),
    ("* * L * *", "invalid day-of-month value: L", Some(DayOfMonth), 4),
    ("* * 15W * *", "invalid day-of-month value: 15W", Some(DayOfMonth), 4),
    ("* * * * 5#2", "invalid day-of-week value: 5#2", Some(DayOfWeek), 8),
    ("* * * * 5L", "invalid day-of-week value: 5L", Some(DayOfWeek), 8),
    ("H * * * *", "invalid minute value: H", Some(Minute), 0),
    ("0 0 30 2 *", "0 0 30 2 * never matches", Some(DayOfMonth), 4),
    ("0 0 31 4,6,9,11 *", "never matches", Some(DayOfMonth), 4),
    ("0 0 30,31 FEB */1", "never matches", Some(DayOfMonth), 4),
];

#[test]
fn what_is_refused_is_named_with_field_and_place() {
    for (text, words, field, position) in REFUSED {
        let error = Cron::parse(text).expect_err(text);
        let message = error.to_string();
        let place = format!("{words} (at byte {position})");
        let starts = message.contains(words) && message.ends_with(&format!(" (at byte {position})"));
        assert!(starts, "{text:?}: {message} is not {place}");
        let exact = field.is_none() || message.contains(&place) || words.ends_with("never matches");
        assert!(exact, "{text:?}: {message} is not {place}");
        assert_eq!((error.field(), error.position()), (*field, *position), "{text:?}");
    }
}

#[test]
fn a_text_has_at_most_256_bytes() {
    let longest = format!("{}0 0 1 1 *", " ".repeat(247));
    assert_eq!(longest.len(), 256);
    assert_eq!(Cron::parse(&longest), Cron::parse("@yearly"));
    let error = Cron::parse(&format!(" {longest}")).unwrap_err();
    assert_eq!((error.field(), error.position()), (None, 256));
    assert!(error.to_string().contains("at most 256 bytes, but has 257"), "{error}");
}

#[test]
fn an_error_of_cron_is_an_invalid_argument() {
    let error = Error::from(Cron::parse("61 * * * *").unwrap_err());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(!error.is_retryable());
    assert_eq!(error.to_string(), "invalid argument: out-of-range minute: 61 (at byte 0)");
    let source = std::error::Error::source(&error).expect("the error of cron");
    assert!(source.is::<tidelock::CronError>());
}

/// Texts that look like expressions, most of them with a mistake.
fn texts() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        4 => "[*0-9]{1,2}(-[0-9]{1,2})?(/[0-9]{1,2})?",
        2 => Just("*".to_owned()),
        1 => "[-*/,0-9A-Za-z@?#é]{0,6}",
        1 => "(JAN|feb|Mon|SUN|7|0)-(DEC|Fri|7|0)(/[0-9])?",
    ];
    let fields = proptest::collection::vec(field, 4..8).prop_map(|fields| fields.join(" "));
    prop_oneof![3 => fields, 1 => any::<String>(), 1 => "[@ -~\\PC]{0,300}"]
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in texts(), t in prop_oneof![1..u64::MAX, 1..300_000_000_000_000_u64]) {
        match Cron::parse(&text) {
            Err(error) => prop_assert!(error.position() <= text.len() && text.is_char_boundary(error.position())),
            Ok(cron) => {
                prop_assert_eq!(&Cron::parse(&cron.to_string()).unwrap(), &cron);
                let t = Timestamp::from_millis(t);
                for zone in ["UTC", "Europe/Berlin", "-23:59"] {
                    let cron = cron.clone().tz(zone).unwrap();
                    let (next, last) = (cron.next_after(t), cron.last_before(t));
                    prop_assert!(next.is_none_or(|next| next > t) && last.is_none_or(|last| last < t));
                    // Between the two there is no slot but possibly `t` itself.
                    let is_slot = cron.next_after(Timestamp::from_millis(t.as_millis() - 1)) == Some(t);
                    let (after_last, before_next) = if is_slot { (Some(t), Some(t)) } else { (next, last) };
                    prop_assert!(last.is_none_or(|last| cron.next_after(last) == after_last));
                    prop_assert!(next.is_none_or(|next| cron.last_before(next) == before_next));
                }
            }
        }
    }

    #[test]
    fn any_zone_is_found_or_refused(zone in prop_oneof![any::<String>(), "[+-][0-9:]{0,6}", "[A-Za-z/_]{0,20}"]) {
        if let Ok(cron) = Cron::parse("0 0 * * *").unwrap().tz(&zone) {
            prop_assert!(cron.zone().eq_ignore_ascii_case(&zone) || zone == "-00:00");
        }
    }
}
