//! Compares the model with the script: random requests with pinned time, on every server.

use std::time::Duration;

use crate::name::Address;
use crate::retry::model::Budgets;
use crate::retry::store::{Numbers, TOKEN, Take};
use crate::tidelock::Tidelock;
use crate::time::{ManualClock, Timestamp};

const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// Total steps over all servers.
const STEPS: usize = 100_000;

fn seed() -> u64 {
    std::env::var("TIDELOCK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..))
}

/// Rates from a token per eleven days to a million per second; capacities and credits at and between their limits.
fn request(random: &mut fastrand::Rng) -> Take {
    let capacity = [1, 2, 100, 1_000_000][random.usize(..4)] * TOKEN;
    let rate = match random.u8(..6) {
        0 => 0,
        1 => 1,
        2 => random.u64(1..1_000_000),
        3 => 10_000_000,
        4 => random.u64(1..1_000_000_000),
        _ => 1_000_000_000_000,
    };
    let credit = if random.bool() { 0 } else { [1, 100, 999, capacity][random.usize(..4)] };
    let amount = [0, TOKEN, TOKEN, TOKEN][random.usize(..4)];
    Take { numbers: Numbers { capacity, rate }, credit, amount }
}

fn step(random: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(match random.u8(..8) {
        0..4 => random.u64(..3),
        4 | 5 => random.u64(..1_000),
        6 => random.u64(..100_000),
        _ => random.u64(..100_000_000),
    })
}

async fn run(server: &str, url: &str, steps: usize) {
    let seed = seed();
    eprintln!("{server}: TIDELOCK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let clock = ManualClock::at(START);
    let prefix = format!("differential.{:016x}", fastrand::u64(..));
    let tide = Tidelock::connect(url).prefix(&prefix).clock(&clock).await.expect("the server answers");
    let store = tide.world.backend.retry_budget();
    let mut model = Budgets::default();
    // A budget keeps its numbers for a while, but they change sometimes, as with a new deployment.
    let mut budgets: Vec<_> =
        (0..8).map(|id| (Address::new(&"t".into(), &format!("b{id}")), request(&mut random))).collect();
    // The clock never goes back before the last sweep: records that the model forgot then would count again on servers.
    let mut swept = START;
    for number in 0..steps {
        let (address, usual) = &mut budgets[random.usize(..8)];
        let mut take = request(&mut random);
        if random.u8(..100) == 0 {
            *usual = take;
        }
        take.numbers = usual.numbers;
        match random.u8(..200) {
            0 => {
                let back = clock.now().as_millis() - random.u64(..10_000);
                clock.set(Timestamp::from_millis(back).max(swept));
            }
            1..60 => clock.advance(step(&mut random)),
            _ => {}
        }
        if random.u8(..50) == 0 {
            swept = clock.now();
            model.sweep(swept, 3);
        }
        let there = store.take(address, take).await.expect("the server answers");
        let here = model.take(address, &take, clock.now());
        assert_eq!(there, here, "{server}: step {number} of TIDELOCK_SEED={seed}: {address:?} {take:?}");
    }
}

#[tokio::test]
async fn the_script_does_what_the_model_does() {
    let servers = tidelock_testkit::shared_servers();
    if servers.is_empty() {
        assert!(!tidelock_testkit::is_ci(), "servers must run in CI");
        eprintln!("skipped: TIDELOCK_TEST_SERVERS names no server");
        return;
    }
    let factor = if std::env::var_os("TIDELOCK_SOAK").is_some() { 10 } else { 1 };
    let steps = STEPS * factor / servers.len();
    for (server, url) in &servers {
        run(server, url, steps).await;
    }
}
