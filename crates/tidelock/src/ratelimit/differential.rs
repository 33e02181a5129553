//! Compares the model with real servers: the same random requests at the same pinned times must have the same answers.

use std::borrow::Cow;

use super::model::Counts;
use super::store::{Algorithm, Judge, Mode, RatelimitStore, Rule};
use crate::name::Address;
use crate::time::{ManualClock, SECOND, Timestamp};
use crate::{Tidelock, error::Result};

/// Requests per server in a normal run.
const STEPS: usize = 100_000;
/// Concurrent requests, each with its own identifier.
const LANES: usize = 50;
const START: u64 = 1_767_225_600_000;

#[tokio::test]
async fn servers_answer_as_the_model_does() -> Result<()> {
    let seed = std::env::var("TIDELOCK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("TIDELOCK_SEED={seed}");
    let servers = tidelock_testkit::shared_servers();
    let factor = if std::env::var_os("TIDELOCK_SOAK").is_some() { 10 } else { 1 };
    let steps = factor * STEPS / servers.len().max(1) / LANES;
    for (name, url) in servers {
        let prefix = format!("t.differential.{}", fastrand::u64(..));
        let clock = ManualClock::at(Timestamp::from_millis(START));
        let tide = Tidelock::connect(&url).prefix(&prefix).clock(&clock).await?;
        let store = tide.world.backend.ratelimit();
        let mut lanes: Vec<_> = (0..LANES).map(|lane| Lane::new(seed.wrapping_add(lane as u64), &name)).collect();
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..steps {
            clock.set(next_time(&mut random, clock.now()));
            let turns = lanes.iter_mut().map(|lane| lane.step(&*store, clock.now()));
            futures_util::future::try_join_all(turns).await?;
        }
    }
    Ok(())
}

/// Usually a little later, sometimes much later, sometimes earlier.
fn next_time(random: &mut fastrand::Rng, now: Timestamp) -> Timestamp {
    let now = now.as_millis();
    Timestamp::from_millis(match random.u8(..20) {
        0 => now.saturating_sub(random.u64(..5_000)).max(START / 2),
        1 => now.saturating_sub(random.u64(..500_000_000)).max(START / 2),
        2 => now + random.u64(..100_000),
        3 => (now + random.u64(..1_000_000_000)).min(4 * START),
        4..8 => now,
        _ => now + random.u64(..300),
    })
}

/// One identifier: its counts in the model, and its own random numbers.
struct Lane<'a> {
    random: fastrand::Rng,
    server: &'a str,
    identifier: String,
    counts: Counts,
    /// Half of the lanes use a single count, the usual case, for which the script has a fast path.
    only: Option<(Algorithm, u64)>,
}

impl<'a> Lane<'a> {
    fn new(seed: u64, server: &'a str) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let only = random.bool().then(|| identity(&mut random));
        Self { random, server, identifier: format!("{{{seed}}}:%"), counts: Counts::default(), only }
    }

    async fn step(&mut self, store: &dyn RatelimitStore, now: Timestamp) -> Result<()> {
        let limiter = store.limiter(&Address::new(&"a/b".into(), "limiter:1"));
        if self.random.u8(..100) == 0 {
            let expected = !self.counts.is_empty(now);
            self.counts = Counts::default();
            assert_eq!(limiter.reset(&self.identifier, 10 * SECOND).await?, expected, "reset at {now}");
            return Ok(());
        }
        let rules = self.rules();
        let smallest = rules.iter().map(|rule| rule.capacity).min().unwrap_or(1);
        let cost = if self.random.bool() { 1 } else { self.number(smallest) };
        let mode =
            *self.random.choice(&[Mode::Check, Mode::Check, Mode::CountRefused, Mode::Peek]).unwrap_or(&Mode::Peek);
        let judge = Judge { identifier: Cow::Borrowed(&self.identifier), rules: Cow::Owned(rules), cost, mode };
        let before = self.counts.clone();
        let expected = self.counts.judge(now, &judge);
        let answer = limiter.judge(judge.clone(), 10 * SECOND).await?;
        assert_eq!(answer, expected, "{} at {now}: {judge:?} on {before:?}", self.server);
        Ok(())
    }

    /// A number from 1 to `most`, of any order of magnitude.
    fn number(&mut self, most: u64) -> u64 {
        let digits = self.random.u32(..=most.ilog10());
        self.random.u64(1..=10_u64.saturating_pow(digits + 1).min(most))
    }

    /// One to eight rules, rarely more than two. There are few windows, so that counts are judged again by other
    /// limits.
    fn rules(&mut self) -> Vec<Rule> {
        let alone = self.only.is_some() || self.random.bool();
        let count = if alone { 1 } else { self.random.usize(1..=8).min(self.random.usize(1..=8)) };
        let mut rules: Vec<Rule> = Vec::new();
        for _ in 0..count {
            let (algorithm, window) = self.only.unwrap_or_else(|| identity(&mut self.random));
            let most = [3, 10, 1_000, 999_999_999_989, 1_000_000_000_000][self.random.usize(..5)];
            let limit = self.number(most);
            let capacity = if algorithm == Algorithm::TokenBucket { self.number(most) } else { limit };
            if !rules.iter().any(|rule| rule.algorithm == algorithm && rule.window == window) {
                rules.push(Rule { algorithm, window, limit, capacity });
            }
        }
        rules
    }
}

/// The identity of a count.
fn identity(random: &mut fastrand::Rng) -> (Algorithm, u64) {
    let windows = [1, 7, 300, 1_000, 1_000, 1_000, 60_000, 86_400_000, 2_592_000_000, 315_360_000_000];
    let algorithm = [Algorithm::Sliding, Algorithm::Fixed, Algorithm::TokenBucket][random.usize(..3)];
    (algorithm, windows[random.usize(..windows.len())])
}
