//! Time zones: the offset of a zone's clocks from UTC at each instant.
//!
//! Both implementations return the same stretches: natively from the built-in database, in a page from the host.

#[cfg(not(target_family = "wasm"))]
#[path = "zone/native.rs"]
mod target;
#[cfg(target_family = "wasm")]
#[path = "zone/web.rs"]
mod target;

pub(super) use target::database;

/// A period in which the clocks of a zone keep one offset from UTC. Instants and offsets are in seconds.
///
/// The next stretch may have the same offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: i64,
    /// The first instant after it.
    pub(super) end: i64,
    /// Reading minus instant.
    pub(super) offset: i64,
}

/// Beyond what any search asks for, and far from overflowing.
const AGES: i64 = 1 << 40;

impl Stretch {
    /// A stretch without beginning and end.
    fn endless(offset: i64) -> Self {
        Self { start: -AGES, end: AGES, offset }
    }
}

/// A time zone.
#[derive(Clone, Debug)]
pub(super) enum Zone {
    Fixed { name: String, offset: i64 },
    Named(target::Named),
}

impl Zone {
    pub(super) fn utc() -> Self {
        Self::Fixed { name: "UTC".to_owned(), offset: 0 }
    }

    /// The zone of an IANA name in any case, or of `±HH:MM`.
    pub(super) fn find(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("UTC") {
            return Some(Self::utc());
        }
        match name.as_bytes() {
            [b'+' | b'-', ..] => Self::fixed(name),
            _ => target::Named::find(name).map(Self::Named),
        }
    }

    fn fixed(name: &str) -> Option<Self> {
        let [sign, h1, h2, b':', m1, m2] = *name.as_bytes() else { return None };
        let number = |tens: u8, ones: u8| {
            (tens.is_ascii_digit() && ones.is_ascii_digit())
                .then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        };
        let (hours, minutes) = (number(h1, h2)?, number(m1, m2)?);
        let distance = hours * 3_600 + minutes * 60;
        let offset = if sign == b'-' { -distance } else { distance };
        let name = if distance == 0 { "+00:00" } else { name };
        (hours <= 23 && minutes <= 59).then(|| Self::Fixed { name: name.to_owned(), offset })
    }

    /// The spelling in the database.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Fixed { name, .. } => name,
            Self::Named(zone) => zone.name(),
        }
    }

    /// The stretch that contains `instant`.
    pub(super) fn stretch_at(&self, instant: i64) -> Stretch {
        match self {
            Self::Fixed { offset, .. } => Stretch::endless(*offset),
            Self::Named(zone) => zone.stretch_at(instant),
        }
    }
}
