//! The part of a job's rules that only its workers read: the pause after a failure, who renews the lease, and the
//! meaning of its end.
//!
//! Encoding: a byte of flags for the parts that follow, then numbers in 7-bit groups, the low ones first, and
//! fractions as little-endian IEEE bits. No bytes at all stand for the defaults: no pause, and the worker renews.

use std::time::Duration;

use crate::backoff::{Backoff, Parts};
use crate::time::whole_millis;

const MANUAL: u8 = 1;
const BACKOFF: u8 = 1 << 1;
const MAX: u8 = 1 << 2;
const FACTOR: u8 = 1 << 3;
const JITTER: u8 = 1 << 4;
const FULL_JITTER: u8 = 1 << 5;
const LIMIT: u8 = 1 << 6;
const KNOWN: u8 = MANUAL | BACKOFF | MAX | FACTOR | JITTER | FULL_JITTER | LIMIT;

/// Values that are not written.
const USUAL_FACTOR: f64 = 2.0;
const USUAL_JITTER: f64 = 0.2;

/// The part of a job's rules that only workers read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Policy {
    /// `None`: retry at once.
    pub(crate) backoff: Option<Backoff>,
    /// Only the handler renews the lease.
    pub(crate) manual_heartbeat: bool,
    /// The lease is the limit of a run, and only heartbeats extend it. Its end is a timeout and not a crash. Only in
    /// process.
    pub(crate) lease_is_limit: bool,
}

impl Policy {
    /// Whether an encoded policy has the lease as limit. Reads only the flags.
    pub(crate) fn limits(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|flags| flags & LIMIT != 0)
    }

    /// The pause after failure number `failures`, counted from 1, in milliseconds.
    pub(crate) fn delay(&self, failures: u32, random: f64) -> u64 {
        self.backoff.map_or(0, |backoff| whole_millis(backoff.delay(failures, random)))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut flags = if self.manual_heartbeat { MANUAL } else { 0 };
        if self.lease_is_limit {
            flags |= LIMIT;
        }
        let mut rest = Vec::new();
        if let Some(backoff) = &self.backoff {
            let Parts { base, max, factor, jitter } = backoff.parts();
            flags |= BACKOFF;
            put(&mut rest, nanos(base));
            if let Some(max) = max {
                flags |= MAX;
                put(&mut rest, nanos(max));
            }
            if !same(factor, USUAL_FACTOR) {
                flags |= FACTOR;
                rest.extend(factor.to_le_bytes());
            }
            match jitter {
                None => flags |= FULL_JITTER,
                Some(jitter) if same(jitter, USUAL_JITTER) => {}
                Some(jitter) => {
                    flags |= JITTER;
                    rest.extend(jitter.to_le_bytes());
                }
            }
        }
        if flags == 0 {
            return Vec::new();
        }
        rest.insert(0, flags);
        rest
    }

    /// Decodes the output of [`encode`](Self::encode). `None` for anything else, such as the output of a later
    /// version.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let Some((&flags, rest)) = bytes.split_first() else { return Some(Self::default()) };
        bytes = rest;
        if flags & !KNOWN != 0 {
            return None;
        }
        let has = |flag: u8| flags & flag != 0;
        let backoff = if has(BACKOFF) {
            let base = Duration::from_nanos(take(&mut bytes)?);
            let max = if has(MAX) { Some(Duration::from_nanos(take(&mut bytes)?)) } else { None };
            let factor = if has(FACTOR) { fraction(&mut bytes)? } else { USUAL_FACTOR };
            let jitter = match (has(FULL_JITTER), has(JITTER)) {
                (true, _) => None,
                (false, true) => Some(fraction(&mut bytes)?),
                (false, false) => Some(USUAL_JITTER),
            };
            Some(Backoff::from_parts(Parts { base, max, factor, jitter }))
        } else {
            None
        };
        bytes.is_empty().then_some(Self { backoff, manual_heartbeat: has(MANUAL), lease_is_limit: has(LIMIT) })
    }
}

/// Whether two fractions are equal bit for bit.
fn same(one: f64, other: f64) -> bool {
    one.to_bits() == other.to_bits()
}

/// Durations of a checked backoff are below 2^64 ns, so this is exact.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push((number & 0x7f) as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn fraction(bytes: &mut &[u8]) -> Option<f64> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(f64::from_le_bytes(*first))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{DAY, HOUR, SECOND};

    #[test]
    fn the_usual_costs_next_to_nothing() {
        assert!(Policy::default().encode().is_empty());
        let manual = Policy { manual_heartbeat: true, ..Policy::default() };
        assert_eq!(manual.encode(), [MANUAL]);
        let growing = Policy { backoff: Some(Backoff::exponential(SECOND)), ..Policy::default() };
        assert_eq!(growing.encode().len(), 6);
        let all = Backoff::exponential(7 * DAY).max(7 * DAY).factor(9.9).jitter(0.123);
        assert!(Policy { backoff: Some(all), manual_heartbeat: true, lease_is_limit: true }.encode().len() <= 255);
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        let backoff = Backoff::fixed(HOUR).max(2 * HOUR);
        let policy = Policy { backoff: Some(backoff), manual_heartbeat: true, ..Policy::default() };
        let bytes = policy.encode();
        for end in 1..bytes.len() {
            assert_eq!(Policy::decode(&bytes[..end]), None, "cut at {end}");
        }
        assert_eq!(Policy::decode(&[bytes.as_slice(), &[0]].concat()), None);
        assert_eq!(Policy::decode(&[1 << 7]), None);
        assert_eq!(Policy::decode(&[BACKOFF, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), None);
    }

    #[test]
    fn pauses_are_rounded_up_to_whole_milliseconds() {
        let backoff = Backoff::fixed(Duration::from_micros(1_001)).jitter(0.0);
        assert_eq!(Policy { backoff: Some(backoff), ..Policy::default() }.delay(1, 0.5), 2);
        assert_eq!(Policy::default().delay(1, 0.5), 0);
    }

    proptest! {
        #[test]
        fn a_policy_is_read_as_it_was_written(
            base in 0..=u64::MAX, max: Option<u64>, factor in 1.0..10.0_f64, jitter in 0.0..1.0_f64, full: bool, manual: bool,
            limit: bool,
        ) {
            let mut backoff = Backoff::exponential(Duration::from_nanos(base)).factor(factor).jitter(jitter);
            if let Some(max) = max {
                backoff = backoff.max(Duration::from_nanos(max));
            }
            let backoff = if full { backoff.full_jitter() } else { backoff };
            let policy = Policy { backoff: Some(backoff), manual_heartbeat: manual, lease_is_limit: limit };
            prop_assert_eq!(Policy::decode(&policy.encode()), Some(policy));
            prop_assert_eq!(Policy::limits(&policy.encode()), limit);
        }
    }
}
