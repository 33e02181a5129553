//! Compares the model with the formulas of the contract, computed with exact fractions from a plain history.

use std::borrow::Cow;

use super::*;

const LIMIT: u64 = 1_000_000_000_000;

/// A fraction that is never rounded. Numerators stay below 2^127 for the values drawn here.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    over: i128,
    under: i128,
}

fn fraction(over: i128, under: i128) -> Fraction {
    let (mut a, mut b) = (over.abs(), under);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    let divisor = a.max(1);
    Fraction { over: over / divisor, under: under / divisor }
}

impl Fraction {
    fn plus(self, whole: i128) -> Self {
        fraction(self.over + whole * self.under, self.under)
    }

    fn minus(self, other: Self) -> Self {
        fraction(self.over * other.under - other.over * self.under, self.under * other.under)
    }

    fn floor(self) -> i128 {
        self.over.div_euclid(self.under)
    }

    fn ceil(self) -> i128 {
        -(-self.over).div_euclid(self.under)
    }

    fn at_most(self, whole: i128) -> bool {
        self.over <= whole * self.under
    }
}

/// The count of one rule, as the contract's table defines it.
#[derive(Clone, Debug)]
struct Reference {
    /// Costs by window.
    windows: std::collections::BTreeMap<i128, i128>,
    used: Fraction,
    at: i128,
    lapses: i128,
}

impl Reference {
    fn new() -> Self {
        Self { windows: std::collections::BTreeMap::new(), used: fraction(0, 1), at: 0, lapses: 0 }
    }

    /// The used units, as the table's "passes if" column defines them.
    fn used(&self, rule: &Rule, now: i128) -> Fraction {
        let (window, limit) = (i128::from(rule.window), i128::from(rule.limit));
        let count = |n: i128| self.windows.get(&n).copied().unwrap_or(0);
        let n = now / window;
        match rule.algorithm {
            Algorithm::Sliding => fraction(count(n - 1) * (window - now % window), window).plus(count(n)),
            Algorithm::Fixed => fraction(count(n), 1),
            Algorithm::TokenBucket if now >= self.lapses => fraction(0, 1),
            Algorithm::TokenBucket => {
                let left = self.used.minus(fraction((now - self.at) * limit, window));
                if left.over < 0 { fraction(0, 1) } else { left }
            }
        }
    }

    fn add(&mut self, rule: &Rule, now: i128, cost: i128) {
        let n = now / i128::from(rule.window);
        let count = self.windows.entry(n).or_default();
        *count = (*count + cost).min(i128::from(LIMIT));
        let full = 2 * i128::from(rule.capacity);
        let before = self.used(rule, now);
        if before.at_most(full - cost) {
            self.used = before.plus(cost);
        } else if before.at_most(full) {
            self.used = fraction(full, 1);
        } else {
            self.used = before;
        }
        self.at = now;
        let span = fraction(self.used.over * i128::from(rule.window), self.used.under * i128::from(rule.limit)).ceil();
        self.lapses = now + span.min(1_000_000_000_000_000);
    }

    /// Whether the cost would pass at `now` if nothing else were counted.
    fn passes(&self, rule: &Rule, now: i128, cost: i128) -> bool {
        self.used(rule, now).plus(cost).at_most(i128::from(rule.capacity))
    }
}

fn check(rules: &[Rule], cost: u64, mode: Mode) -> Judge<'_> {
    Judge { identifier: Cow::Borrowed("x"), rules: Cow::Borrowed(rules), cost, mode }
}

fn rule(algorithm: Algorithm, window: u64, limit: u64, capacity: u64) -> Rule {
    Rule { algorithm, window, limit, capacity }
}

fn seed() -> u64 {
    let given = std::env::var("TIDELOCK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("TIDELOCK_SEED={seed}");
    seed
}

#[test]
fn every_verdict_is_that_of_exact_fractions() {
    let mut random = fastrand::Rng::with_seed(seed());
    for _ in 0..4_000 {
        let algorithm = random.choice([Algorithm::Sliding, Algorithm::Fixed, Algorithm::TokenBucket]).unwrap();
        let window = *random.choice(&[1, 3, 10, 1_000, 60_000, 999_999_937]).unwrap();
        let most = *random.choice(&[1, 2, 7, 100, 1_000_003]).unwrap();
        let mut counts = Counts::default();
        let mut reference = Reference::new();
        let mut now = 1_700_000_000_000 + random.u64(..1_000);
        for _ in 0..25 {
            let limit = random.u64(1..=most);
            let capacity = if algorithm == Algorithm::TokenBucket { random.u64(1..=most) } else { limit };
            let rule = rule(algorithm, window, limit, capacity);
            let cost = random.u64(1..=capacity);
            let mode = *random.choice(&[Mode::Check, Mode::Check, Mode::CountRefused, Mode::Peek]).unwrap();
            now += if random.bool() { random.u64(..=window / 2 + 1) } else { random.u64(..=2) };
            let Outcome::One(judged) = counts.judge(Timestamp::from_millis(now), &check(&[rule], cost, mode)) else {
                panic!("one rule gives one answer");
            };
            agree(&mut reference, &rule, now, cost, mode, &judged);
            assert_eq!(Counts::from_numbers(&counts.numbers()), counts, "kept elsewhere it is the same");
        }
    }
}

fn agree(reference: &mut Reference, rule: &Rule, now: u64, cost: u64, mode: Mode, judged: &Judged) {
    let context = format!("{rule:?} now {now} cost {cost} {mode:?} {reference:?}");
    let (at, units) = (i128::from(now), i128::from(cost));
    let passes = reference.passes(rule, at, units);
    assert_eq!(judged.refused, !passes, "{context}");
    if mode == Mode::CountRefused || mode == Mode::Check && passes {
        reference.add(rule, at, units);
    }
    let used = reference.used(rule, at);
    let free = fraction(i128::from(rule.capacity), 1).minus(used).floor().max(0);
    assert_eq!(i128::from(judged.remaining), free, "{context}");
    let window = i128::from(rule.window);
    let reset = match rule.algorithm {
        Algorithm::TokenBucket => fraction(used.over * window, used.under * i128::from(rule.limit)).ceil(),
        _ => window - at % window,
    };
    assert_eq!(i128::from(judged.reset_in), reset, "{context}");
    if judged.refused {
        let pass = at + i128::from(judged.retry_after);
        assert!(reference.passes(rule, pass, units), "passes at {pass}: {context}");
        // A bucket that was filled at a faster rate lapses by that rate, which this request cannot know.
        let lapsed = rule.algorithm == Algorithm::TokenBucket && pass > reference.lapses;
        assert!(lapsed || !reference.passes(rule, pass - 1, units), "not before {pass}: {context}");
    } else {
        assert_eq!(judged.retry_after, 0, "{context}");
    }
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let ten_years = 315_360_000_000;
    let now = Timestamp::from_millis(1_767_225_600_000);
    let bucket = rule(Algorithm::TokenBucket, ten_years, 1, LIMIT);
    let mut counts = Counts::default();
    let outcome = counts.judge(now, &check(&[bucket], LIMIT, Mode::CountRefused));
    assert_eq!(outcome.parts()[0].reset_in, MAX_SPAN);
    assert_eq!(counts.judge(now, &check(&[bucket], LIMIT, Mode::CountRefused)).parts()[0].retry_after, MAX_SPAN);
    let sliding = rule(Algorithm::Sliding, ten_years, LIMIT, LIMIT);
    for _ in 0..3 {
        let outcome = counts.judge(now, &check(&[sliding], LIMIT, Mode::CountRefused));
        assert_eq!(outcome.parts()[0].remaining, 0);
    }
    let late = Timestamp::from_millis(u64::MAX);
    assert_eq!(counts.judge(late, &check(&[sliding], 1, Mode::Peek)).parts()[0].remaining, LIMIT);
}

#[test]
fn one_refusal_counts_nothing_anywhere() {
    let rules = [rule(Algorithm::Sliding, 1_000, 5, 5), rule(Algorithm::Fixed, 60_000, 2, 2)];
    let now = Timestamp::from_millis(1_767_225_600_000);
    let mut counts = Counts::default();
    let _ = counts.judge(now, &check(&rules, 2, Mode::Check));
    let before = counts.clone();
    let outcome = counts.judge(now, &check(&rules, 1, Mode::Check));
    assert_eq!(outcome.parts().iter().map(|part| part.refused).collect::<Vec<_>>(), [false, true]);
    assert_eq!(counts, before);
}

#[test]
fn at_most_sixteen_counts_are_kept_and_the_first_to_lapse_goes() {
    let now = Timestamp::from_millis(1_767_225_600_000);
    let mut counts = Counts::default();
    for window in (1..=20).rev() {
        let rule = rule(Algorithm::Fixed, window * 1_000_000, 5, 5);
        let _ = counts.judge(now, &check(&[rule], 1, Mode::Check));
    }
    assert_eq!(counts.counts.len(), MAX_COUNTS);
    let lapsing: Vec<_> = counts.counts.iter().map(|count| count.lapses).collect();
    // Counts named by the request are kept although they lapse first.
    assert_eq!(counts.counts.last().unwrap().window, 1_000_000);
    assert!(lapsing.iter().all(|lapses| *lapses > now.as_millis()));
    let later = Timestamp::from_millis(now.as_millis() + 100_000_000);
    let _ = counts.judge(later, &check(&[rule(Algorithm::Sliding, 1, 1, 1)], 1, Mode::Check));
    assert_eq!(counts.counts.len(), 1);
}

#[test]
fn a_clock_that_steps_back_stands_at_what_was_counted() {
    let rules = [rule(Algorithm::Fixed, 1_000, 3, 3)];
    let now = 1_767_225_600_000;
    let mut counts = Counts::default();
    for back in [0, 1, 5_000, 100_000_000] {
        let outcome = counts.judge(Timestamp::from_millis(now - back), &check(&rules, 1, Mode::Check));
        assert_eq!(outcome.parts()[0].refused, back == 100_000_000);
    }
}

#[test]
fn a_window_whose_counts_are_kept_elsewhere_is_judged_alike() {
    let mut random = fastrand::Rng::with_seed(seed());
    for _ in 0..1_000 {
        let window = *random.choice(&[1, 10, 1_000, 60_000]).unwrap();
        let limit = random.u64(1..=7);
        let rule = rule(Algorithm::Sliding, window, limit, limit);
        let mut counts = Counts::default();
        let mut kept = std::collections::HashMap::<u64, u64>::new();
        let mut now = 1_700_000_000_000 + random.u64(..1_000);
        for _ in 0..25 {
            now += random.u64(..=window + window / 2);
            let (at, rules, cost) = (Timestamp::from_millis(now), [rule], random.u64(1..=3));
            let mode = *random.choice(&[Mode::Check, Mode::Check, Mode::CountRefused, Mode::Peek]).unwrap();
            let judge = check(&rules, cost, mode);
            let count = |number: u64| kept.get(&number).copied().unwrap_or(0);
            let number = now / window;
            let mut elsewhere = Counts::of_window(at, &rule, count(number), count(number - 1));
            assert_eq!(elsewhere.judge(at, &judge), counts.judge(at, &judge), "at {now}, window {window}");
            kept.insert(number, elsewhere.used(&rule));
        }
    }
}
