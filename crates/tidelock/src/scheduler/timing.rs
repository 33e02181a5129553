//! The slots of a schedule, and when each is due.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::store::{Guess, Next};
use crate::check::LARGEST;
use crate::cron::{Cron, Written};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

/// Later than any instant that a backend can store.
pub(crate) const END_OF_TIME: u64 = LARGEST;

/// The slots of a schedule. Instants are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) rhythm: Rhythm,
    /// A slot is due at most this long after its own instant.
    pub(crate) jitter: u64,
}

/// The rule that the slots follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rhythm {
    Cron(Cron),
    /// At `offset` and every `period` after it, from the Unix epoch on.
    Every {
        period: u64,
        offset: u64,
    },
    Once {
        at: u64,
    },
}

/// A timing as it is stored. Equal timings give equal bytes, however they were written.
#[derive(Serialize, Deserialize)]
struct Stored {
    rhythm: StoredRhythm,
    jitter: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredRhythm {
    Cron(Written),
    Every { period: u64, offset: u64 },
    Once { at: u64 },
}

/// The owner of the slots, which determines their jitter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    pub(crate) scheduler: &'a str,
    pub(crate) schedule: &'a str,
}

impl Timing {
    /// The first slot later than `t`.
    pub(crate) fn next_after(&self, t: u64) -> Option<u64> {
        let slot = match &self.rhythm {
            Rhythm::Cron(cron) => cron.next_after(Timestamp::from_millis(t))?.as_millis(),
            Rhythm::Every { period, offset } => match t.checked_sub(*offset) {
                None => *offset,
                Some(since) => (since / period).checked_add(1)?.checked_mul(*period)?.checked_add(*offset)?,
            },
            Rhythm::Once { at } => Some(*at).filter(|at| *at > t)?,
        };
        (slot <= END_OF_TIME).then_some(slot)
    }

    /// The first slot at or later than `t`.
    pub(crate) fn first_from(&self, t: u64) -> Option<u64> {
        if t == 0 && self.is_slot_at_zero() {
            return Some(0);
        }
        self.next_after(t.saturating_sub(1))
    }

    fn is_slot_at_zero(&self) -> bool {
        match &self.rhythm {
            // Cron: nobody waits for a slot at the very first instant.
            Rhythm::Cron(_) => false,
            Rhythm::Every { offset, .. } => *offset == 0,
            Rhythm::Once { at } => *at == 0,
        }
    }

    /// The last slot earlier than `t`.
    pub(crate) fn last_before(&self, t: u64) -> Option<u64> {
        match &self.rhythm {
            Rhythm::Cron(cron) => cron.last_before(Timestamp::from_millis(t)).map(Timestamp::as_millis),
            Rhythm::Every { period, offset } => {
                let since = t.checked_sub(1)?.checked_sub(*offset)?;
                Some(since / period * period + offset)
            }
            Rhythm::Once { at } => Some(*at).filter(|at| *at < t),
        }
    }

    /// When the slot is due: its own instant plus a fraction of the jitter, or of the distance to the next slot if
    /// that is less. The fraction is determined by owner and slot. So the due instant is the same in every process,
    /// and before the next slot.
    pub(crate) fn due(&self, whose: Whose<'_>, slot: u64) -> u64 {
        if self.jitter == 0 {
            return slot;
        }
        let distance = self.next_after(slot).map_or(u64::MAX, |next| next - slot);
        let span = u128::from(self.jitter.min(distance));
        let part = (u128::from(fraction(whose, slot)) * span) >> 64;
        slot.saturating_add(u64::try_from(part).expect("a fraction of a 64-bit number has 64 bits"))
    }

    /// The slot, and when it is due.
    pub(crate) fn next(&self, whose: Whose<'_>, slot: u64) -> Next {
        Next { slot, due: self.due(whose, slot) }
    }

    /// The first slot later than `now`, and the range of instants for which it is the same.
    pub(crate) fn guess(&self, whose: Whose<'_>, now: u64) -> Guess {
        let next = self.next_after(now);
        Guess {
            from: self.last_before(now.saturating_add(1)).unwrap_or(0),
            until: next.unwrap_or(END_OF_TIME),
            next: next.map(|slot| self.next(whose, slot)),
        }
    }

    /// The same for a new schedule. The instant of a one-off schedule still counts if it is no longer ago than
    /// `tolerance`.
    pub(crate) fn first_guess(&self, whose: Whose<'_>, now: u64, tolerance: u64) -> Guess {
        let Rhythm::Once { at } = self.rhythm else { return self.guess(whose, now) };
        let next = self.next(whose, at);
        let over = next.due.max(at.saturating_add(tolerance)).saturating_add(1);
        if now < over {
            Guess { from: 0, until: over, next: Some(next) }
        } else {
            Guess { from: over, until: END_OF_TIME, next: None }
        }
    }

    /// How many slots there are with `from <= slot < until`, at most `max`.
    pub(crate) fn count(&self, from: u64, until: u64, max: u64) -> u64 {
        let mut count = 0;
        let mut slot = self.first_from(from);
        while let Some(found) = slot.filter(|slot| *slot < until && count < max) {
            count += 1;
            slot = self.next_after(found);
        }
        count
    }

    /// Whether its slots depend on the time zone database.
    pub(crate) fn is_zoned(&self) -> bool {
        matches!(&self.rhythm, Rhythm::Cron(cron) if cron.is_zoned())
    }

    /// The stored form. Equal timings have equal bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let rhythm = match &self.rhythm {
            Rhythm::Cron(cron) => StoredRhythm::Cron(cron.written()),
            Rhythm::Every { period, offset } => StoredRhythm::Every { period: *period, offset: *offset },
            Rhythm::Once { at } => StoredRhythm::Once { at: *at },
        };
        serde_json::to_vec(&Stored { rhythm, jitter: self.jitter }).expect("numbers and texts can be written")
    }

    /// Reads the stored form. `expression` is the original text of a cron expression.
    pub(crate) fn decode(bytes: &[u8], expression: Option<&str>) -> Result<Self> {
        let unreadable = |why: String| Error::new(ErrorKind::IncompatibleFormat, format!("its timing: {why}"));
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        let rhythm = match stored.rhythm {
            StoredRhythm::Cron(written) => {
                let cron = Cron::read(&written, expression.unwrap_or_default());
                Rhythm::Cron(cron.map_err(|error| unreadable(error.to_string()))?)
            }
            StoredRhythm::Every { period: 0, .. } => return Err(unreadable("a period of nothing".to_owned())),
            StoredRhythm::Every { period, offset } => Rhythm::Every { period, offset },
            StoredRhythm::Once { at } => Rhythm::Once { at },
        };
        Ok(Self { rhythm, jitter: stored.jitter })
    }
}

/// The stored form except for the jitter, which is written last.
pub(crate) fn without_jitter(encoded: &[u8]) -> &[u8] {
    let end = encoded.iter().rposition(|byte| *byte == b',').unwrap_or(encoded.len());
    &encoded[..end]
}

/// 64 bits that look random and are always the same for this slot. The names are hashed with their lengths, so that
/// different pairs of names never look alike.
fn fraction(whose: Whose<'_>, slot: u64) -> u64 {
    let mut digest = Sha256::new();
    for name in [whose.scheduler, whose.schedule] {
        digest.update((name.len() as u64).to_be_bytes());
        digest.update(name);
    }
    digest.update(slot.to_be_bytes());
    let digest = digest.finalize();
    let (first, _) = digest.split_first_chunk::<8>().expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOSE: Whose<'_> = Whose { scheduler: "platform", schedule: "digest" };
    const HOUR: u64 = 3_600_000;

    fn cron(text: &str, zone: &str) -> Timing {
        let cron = Cron::parse(text).unwrap().tz(zone).unwrap();
        Timing { rhythm: Rhythm::Cron(cron), jitter: 0 }
    }

    fn every(period: u64, offset: u64) -> Timing {
        Timing { rhythm: Rhythm::Every { period, offset }, jitter: 0 }
    }

    fn once(at: u64) -> Timing {
        Timing { rhythm: Rhythm::Once { at }, jitter: 0 }
    }

    #[test]
    fn an_interval_counts_from_the_epoch_and_its_offset() {
        let timing = every(10_000, 3_000);
        assert_eq!(timing.next_after(0), Some(3_000));
        assert_eq!(timing.next_after(3_000), Some(13_000));
        assert_eq!(timing.next_after(12_999), Some(13_000));
        assert_eq!(timing.last_before(13_000), Some(3_000));
        assert_eq!(timing.last_before(13_001), Some(13_000));
        assert_eq!(timing.last_before(3_000), None);
        assert_eq!(timing.first_from(13_000), Some(13_000));
        assert_eq!(every(10_000, 0).first_from(0), Some(0));
        assert_eq!(timing.next_after(END_OF_TIME), None);
    }

    #[test]
    fn an_interval_keeps_its_distance_when_clocks_change() {
        // The night of 2026-03-29 in Berlin: no slot moves.
        let timing = every(HOUR, 0);
        let mut slot = 1_774_735_200_000;
        for _ in 0..10 {
            assert_eq!(timing.next_after(slot), Some(slot + HOUR));
            slot += HOUR;
        }
    }

    #[test]
    fn what_means_the_same_is_stored_alike() {
        assert_eq!(cron("@weekly", "UTC").encode(), cron("0 0 * * sun", "utc").encode());
        assert_eq!(cron("0 7 * * *", "europe/berlin").encode(), cron("00 07 * * 0-7", "Europe/Berlin").encode());
        assert_ne!(cron("0 7 * * *", "Europe/Berlin").encode(), cron("0 7 * * *", "Europe/Paris").encode());
        assert_ne!(cron("0 7 * * *", "UTC").encode(), Timing { jitter: 1, ..cron("0 7 * * *", "UTC") }.encode());
        assert_ne!(every(HOUR, 0).encode(), every(HOUR, 1).encode());
    }

    #[test]
    fn what_is_stored_is_read_or_refused() {
        for timing in [cron("*/5 1-3 13 * FRI", "Europe/Berlin"), every(HOUR, 7), once(HOUR)] {
            let timing = Timing { jitter: 77, ..timing };
            assert_eq!(Timing::decode(&timing.encode(), Some("text")).unwrap(), timing);
        }
        let zone = String::from_utf8(cron("0 7 * * *", "Europe/Berlin").encode()).unwrap();
        for bad in ["", "{}", &zone.replace("Europe/Berlin", "Mars/Olympus"), &zone.replace('[', "[0,")] {
            let error = Timing::decode(bad.as_bytes(), None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::IncompatibleFormat);
        }
        let none = r#"{"rhythm":{"cron":{"fields":[1,1,1,0,2,0],"interval_like":false,"zone":"UTC"}},"jitter":0}"#;
        assert!(Timing::decode(none.as_bytes(), None).is_err());
    }

    #[test]
    fn jitter_is_fixed_spread_and_before_the_next_slot() {
        let timing = Timing { jitter: 24 * HOUR, ..every(HOUR, 0) };
        let parts: Vec<_> = (0..2_000).map(|k| timing.due(WHOSE, k * HOUR) - k * HOUR).collect();
        assert!(parts.iter().all(|part| *part < HOUR));
        for quarter in 0..4 {
            let share = parts.iter().filter(|part| **part / (HOUR / 4) == quarter).count();
            assert!((400..600).contains(&share), "quarter {quarter} has {share} of 2,000");
        }
        let known = Timing { jitter: 1_000_000, ..every(HOUR, 0) };
        assert_eq!(known.due(WHOSE, HOUR), known.due(WHOSE, HOUR));
        let other = Whose { scheduler: "platformd", schedule: "igest" };
        assert_ne!(known.due(WHOSE, HOUR), known.due(other, HOUR));
    }

    #[test]
    fn a_guess_says_where_it_holds() {
        let timing = cron("*/5 * * * *", "UTC");
        let guess = timing.guess(WHOSE, 7 * 60_000);
        assert_eq!((guess.from, guess.until), (5 * 60_000, 10 * 60_000));
        assert_eq!(guess.next.unwrap().slot, 10 * 60_000);
        for now in [guess.from, guess.until - 1] {
            assert_eq!(timing.guess(WHOSE, now), guess);
        }
        assert_ne!(timing.guess(WHOSE, guess.until), guess);
    }

    #[test]
    fn an_instant_given_once_counts_while_it_is_not_long_ago() {
        let timing = once(HOUR);
        let open = timing.first_guess(WHOSE, 0, 60_000);
        assert_eq!(open, Guess { from: 0, until: HOUR + 60_001, next: Some(Next { slot: HOUR, due: HOUR }) });
        assert_eq!(timing.first_guess(WHOSE, HOUR + 60_000, 60_000), open);
        let over = timing.first_guess(WHOSE, HOUR + 60_001, 60_000);
        assert_eq!((over.from, over.next), (HOUR + 60_001, None));
        assert_eq!(timing.guess(WHOSE, HOUR).next, None);
    }

    #[test]
    fn slots_are_counted_up_to_a_limit() {
        assert_eq!(every(1_000, 0).count(5_000, 8_000, 100), 3);
        assert_eq!(every(1_000, 0).count(5_000, 1_000_000_000, 10_000), 10_000);
        assert_eq!(once(5_000).count(5_000, 5_001, 100), 1);
        assert_eq!(once(5_000).count(5_001, 9_000, 100), 0);
    }
}
