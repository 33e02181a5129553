//! From clock readings in a zone to instants and back: which instants are slots.
//!
//! *Interval-like* expressions have a slot at each instant whose reading matches. A reading that the clocks skip has
//! none, and one that they show twice has two.
//!
//! *Fixed-time* expressions have one slot for each matching reading: the first instant at which the clocks show that
//! reading or a later one. That is the reading itself, its first showing if there are two, or the end of the gap if
//! the clocks skip it. So a reading is past as soon as the highest reading shown so far has reached it. That is all
//! that the search needs to know, however the clocks change.

use super::fields::Fields;
use super::zone::Zone;

/// No clock is further from UTC, in seconds. Time zone data allow slightly less.
const WIDEST: i64 = 26 * 3_600;
/// After this time, no clock shows a reading again. So if the clocks do not change for this long, there is no slot
/// before they come near the next matching reading, and the stretches until then can be skipped.
const REPEAT: i64 = 2 * WIDEST;

/// The first slot at or after `from`. Instants are in seconds since the Unix epoch.
pub(super) fn next(fields: &Fields, zone: &Zone, from: i64) -> Option<i64> {
    if fields.interval_like {
        return next_matching(fields, zone, from);
    }
    let reading = fields.next_reading(highest_reading(zone, from - 1) + 1)?;
    Some(first_instant(zone, reading))
}

/// The last slot at or before `until`.
pub(super) fn last(fields: &Fields, zone: &Zone, until: i64) -> Option<i64> {
    if fields.interval_like {
        return last_matching(fields, zone, until);
    }
    let reading = fields.last_reading(highest_reading(zone, until))?;
    Some(first_instant(zone, reading))
}

fn next_matching(fields: &Fields, zone: &Zone, mut from: i64) -> Option<i64> {
    loop {
        let stretch = zone.stretch_at(from);
        let reading = fields.next_reading(from + stretch.offset)?;
        let instant = reading - stretch.offset;
        if instant < stretch.end {
            return Some(instant);
        }
        let may_repeat = stretch.end < from + REPEAT;
        from = if may_repeat { stretch.end } else { stretch.end.max(reading - WIDEST) };
    }
}

fn last_matching(fields: &Fields, zone: &Zone, mut until: i64) -> Option<i64> {
    loop {
        let stretch = zone.stretch_at(until);
        let reading = fields.last_reading(until + stretch.offset)?;
        let instant = reading - stretch.offset;
        if instant >= stretch.start {
            return Some(instant);
        }
        let may_repeat = stretch.start > until - REPEAT;
        until = if may_repeat { stretch.start - 1 } else { (stretch.start - 1).min(reading + WIDEST) };
    }
}

/// The highest reading that the clocks have shown up to `instant`. After they were put back, it is above the current
/// one.
fn highest_reading(zone: &Zone, instant: i64) -> i64 {
    let mut stretch = zone.stretch_at(instant);
    let mut highest = instant + stretch.offset;
    while stretch.start > instant - REPEAT {
        stretch = zone.stretch_at(stretch.start - 1);
        highest = highest.max(stretch.end - 1 + stretch.offset);
    }
    highest
}

/// The first instant at which the clocks show `reading` or a later one.
fn first_instant(zone: &Zone, reading: i64) -> i64 {
    let mut stretch = zone.stretch_at(reading - WIDEST);
    loop {
        let instant = stretch.start.max(reading - stretch.offset);
        if instant < stretch.end {
            return instant;
        }
        stretch = zone.stretch_at(stretch.end);
    }
}
