//! Time in the library: instants of the backend's clock, and the clock that tests control.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::watch;

use crate::calendar::Date;
use crate::check::LARGEST;
use crate::error::Result;
use crate::runtime;

/// The last instant of a pinned clock: a day before the microseconds that number events and fences exceed 2^53.
const LAST: u64 = LARGEST / 1_000 - 86_400_000;

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);
/// One minute.
pub const MINUTE: Duration = Duration::from_mins(1);
/// One hour.
pub const HOUR: Duration = Duration::from_hours(1);
/// One day of 24 hours.
pub const DAY: Duration = Duration::from_hours(24);
/// The maximum of any duration option: 10 years of 365 days.
pub(crate) const TEN_YEARS: Duration = Duration::from_hours(3_650 * 24);

/// An instant of the backend's clock, in milliseconds since the Unix epoch.
///
/// It is displayed as RFC 3339 text in UTC, and serialized as a number ([`as_millis`](Self::as_millis)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The instant `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This machine's wall clock. The backend never uses it for decisions; it helps to compute a time of day for `at`.
    pub fn from_local_clock() -> Self {
        Self(runtime::wall_clock_millis())
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    /// Parts of a millisecond are rounded up, and the sum saturates.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(duration)))
    }
}

impl std::ops::AddAssign<Duration> for Timestamp {
    /// Parts of a millisecond are rounded up, and the sum saturates.
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    /// Parts of a millisecond are rounded up, so that it takes back what was added; nothing is before the Unix epoch.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(duration)))
    }
}

impl std::ops::SubAssign<Duration> for Timestamp {
    /// Parts of a millisecond are rounded up; nothing is before the Unix epoch.
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl From<Timestamp> for std::time::SystemTime {
    /// An instant that the platform's `SystemTime` does not reach becomes its last one.
    fn from(timestamp: Timestamp) -> Self {
        let exact = Self::UNIX_EPOCH.checked_add(Duration::from_millis(timestamp.0));
        exact.unwrap_or_else(last_system_time)
    }
}

/// The last whole millisecond that both this platform's `SystemTime` and a timestamp can represent. There is no
/// constant for it, so each bit is tried, from the highest on.
fn last_system_time() -> std::time::SystemTime {
    let bits = (0..u64::BITS).rev().map(|bit| Duration::from_millis(1 << bit));
    bits.fold(std::time::SystemTime::UNIX_EPOCH, |time, bit| time.checked_add(bit).unwrap_or(time))
}

impl From<std::time::SystemTime> for Timestamp {
    /// Instants before the Unix epoch become the epoch.
    fn from(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// `2026-01-31T12:00:00.000Z`: RFC 3339 in UTC. Years after 9999 have a sign and more digits, as ISO 8601 has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let Date { year, month, day } = Date::of(days.cast_signed());
        let sign = if year > 9_999 { "+" } else { "" };
        let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
        f.pad(&format!("{sign}{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"))
    }
}

/// The instant of a model's step, in milliseconds and microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) ms: u64,
    pub(crate) us: u64,
}

impl Now {
    /// For a pinned or local clock, which counts milliseconds.
    pub(crate) fn from_millis(ms: u64) -> Self {
        Self { ms, us: ms.saturating_mul(1_000) }
    }

    /// The next number of a series that never repeats, even if previous numbers were lost.
    pub(crate) fn next_number(self, last: u64) -> u64 {
        (last + 1).max(self.us)
    }
}

/// Whole milliseconds of a duration; a fraction is rounded up, so that nothing is ever early.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit saturates")]
pub(crate) const fn whole_millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    if millis > u64::MAX as u128 { u64::MAX } else { millis as u64 }
}

/// Serializes a duration in milliseconds.
pub(crate) fn millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    whole_millis(*duration).serialize(serializer)
}

/// As [`millis`], for an optional duration.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn optional_millis<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(whole_millis).serialize(serializer)
}

/// A clock that stands still until a test moves it.
///
/// Passed to [`Tidelock::in_process_with`](crate::Tidelock::in_process_with) or to
/// [`Connect::clock`](crate::Connect::clock), it is the current time for everything that the backend decides and for
/// everything that the library waits for. Clones share the time. It stops for good in June 2255.
#[derive(Clone)]
pub struct ManualClock {
    now: Arc<watch::Sender<u64>>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now: Arc::new(watch::Sender::new(now.0.min(LAST))) }
    }

    /// Sets the time, forwards or backwards, and wakes whatever has become due.
    pub fn set(&self, now: Timestamp) {
        self.now.send_replace(now.0.min(LAST));
    }

    /// Advances the time by `by`; parts of a millisecond are rounded up.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = now.saturating_add(whole_millis(by)).min(LAST));
    }

    /// The current time of the clock.
    pub fn now(&self) -> Timestamp {
        Timestamp(*self.now.borrow())
    }

    async fn reads(&self, is_met: impl Fn(u64) -> bool) {
        let mut receiver = self.now.subscribe();
        // The sender lives as long as `self`, so only the time can end the wait.
        let _ = receiver.wait_for(|now| is_met(*now)).await;
    }

    async fn reached(&self, millis: u64) {
        self.reads(|now| now >= millis).await;
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

/// The clock of one opened `Tidelock`: the machine's, or one that a test controls.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    System,
    Manual(ManualClock),
}

/// An instant of the local monotonic clock, which measures waits, renewals and proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(Duration);

impl Tick {
    pub(crate) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Clock {
    /// The wall clock of this process. On Redis the server's clock decides instead.
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::from_local_clock(),
            Self::Manual(clock) => clock.now(),
        }
    }

    /// The pinned time of a test, which scripts use instead of the server's clock.
    #[cfg(all(feature = "redis", not(target_family = "wasm")))]
    pub(crate) fn pinned(&self) -> Option<Timestamp> {
        match self {
            Self::System => None,
            Self::Manual(clock) => Some(clock.now()),
        }
    }

    pub(crate) fn tick(&self) -> Tick {
        match self {
            Self::System => Tick(runtime::monotonic()),
            Self::Manual(clock) => Tick(Duration::from_millis(clock.now().0)),
        }
    }

    /// Both clocks at one instant. A pinned clock is read only once: if it moved between two reads, it would seem to
    /// have slept.
    pub(crate) fn read(&self) -> (Tick, Timestamp) {
        match self {
            Self::System => (self.tick(), self.now()),
            Self::Manual(clock) => {
                let now = clock.now();
                (Tick(Duration::from_millis(now.0)), now)
            }
        }
    }

    /// Resolves when `tick` is reached; at once if it has passed.
    pub(crate) async fn sleep_until(&self, tick: Tick) {
        match self {
            Self::System => runtime::sleep(tick.0.saturating_sub(runtime::monotonic())).await,
            // Boxed, so that waits by the machine's clock do not carry the space for it.
            Self::Manual(clock) => Box::pin(clock.reached(whole_millis(tick.0))).await,
        }
    }

    /// Resolves after `duration`.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.tick().plus(duration)).await;
    }

    /// Resolves when this clock has moved by `duration` since the call. A pinned clock may move in either direction, so
    /// that periodic checks also run after a test has set the time back.
    pub(crate) fn moved_by(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        let (clock, began) = (self.clone(), self.tick());
        async move {
            match &clock {
                Self::System => clock.sleep_until(began.plus(duration)).await,
                Self::Manual(pinned) => {
                    let (began, far) = (whole_millis(began.0), whole_millis(duration));
                    pinned.reads(|now| now.abs_diff(began) >= far).await;
                }
            }
        }
    }

    /// Resolves when this clock reads `at` or later.
    pub(crate) async fn sleep_until_timestamp(&self, at: Timestamp) {
        match self {
            Self::System => runtime::sleep(at.since(self.now())).await,
            Self::Manual(clock) => clock.reached(at.0).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_pinned_clock_has_moved_in_either_direction() {
        let pinned = ManualClock::at(Timestamp(10_000));
        let clock = Clock::Manual(pinned.clone());
        for there in [12_000, 8_000] {
            pinned.set(Timestamp(10_000));
            let mut moved = Box::pin(clock.moved_by(Duration::from_secs(2)));
            for near in [10_000, 11_999, 8_001] {
                pinned.set(Timestamp(near));
                assert_eq!((&mut moved).now_or_never(), None, "{near}");
            }
            pinned.set(Timestamp(there));
            assert_eq!((&mut moved).now_or_never(), Some(()), "{there}");
        }
    }

    #[test]
    fn a_pinned_clock_ends_while_its_microseconds_are_exact() {
        let pinned = ManualClock::at(Timestamp(u64::MAX));
        let last = pinned.now();
        assert!(last.as_millis() < LARGEST / 1_000);
        pinned.advance(Duration::MAX);
        pinned.set(Timestamp(u64::MAX));
        assert_eq!(pinned.now(), last);
    }

    #[test]
    fn an_instant_is_a_date_for_people_and_a_number_for_machines() {
        let texts = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_007, "2000-02-29T00:00:00.007Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "+10000-01-01T00:00:00.000Z"),
            (u64::MAX, "+584556019-04-03T14:25:51.615Z"),
        ];
        for (millis, text) in texts {
            assert_eq!(Timestamp(millis).to_string(), text);
            assert_eq!(serde_json::to_string(&Timestamp(millis)).unwrap(), millis.to_string());
        }
        assert_eq!(format!("{:>26}", Timestamp(0)), "  1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_added_can_be_taken_back_and_nothing_overflows() {
        let mut at = Timestamp(1_000);
        at += Duration::from_nanos(1_000_001);
        assert_eq!(at, Timestamp(1_002));
        at -= Duration::from_nanos(1_000_001);
        assert_eq!(at, Timestamp(1_000));
        assert_eq!((at - 2 * SECOND, at + Duration::MAX), (Timestamp(0), Timestamp(u64::MAX)));
    }

    #[test]
    fn an_instant_beyond_the_time_of_the_system_is_its_last_one() {
        let time = std::time::SystemTime::from(Timestamp(1_798_761_599_999));
        assert_eq!(Timestamp::from(time), Timestamp(1_798_761_599_999));
        assert_eq!(std::time::SystemTime::from(Timestamp(u64::MAX)), last_system_time());
    }

    #[test]
    fn parts_of_a_millisecond_are_rounded_up() {
        assert_eq!(whole_millis(Duration::ZERO), 0);
        assert_eq!(whole_millis(Duration::from_nanos(1)), 1);
        assert_eq!(whole_millis(Duration::from_millis(7)), 7);
        assert_eq!(whole_millis(Duration::MAX), u64::MAX);
    }
}
