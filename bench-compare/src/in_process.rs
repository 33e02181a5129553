//! Workloads without a server: a retried call, and the next slot of a cron expression.

use std::hint::black_box;
use std::io;
use std::str::FromStr as _;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use backon::Retryable as _;
use croner::Cron;
use jiff::Zoned;
use tidelock::Timestamp;

use crate::protocol::{Outcome, Stage, Task};

/// Every quarter of an hour on working days, in a zone with daylight saving time.
const EXPRESSION: &str = "*/15 8-17 * * MON-FRI";
const ZONE: &str = "Europe/Berlin";
/// 2026-01-01.
const BEGIN: i64 = 1_767_225_600;

pub(crate) async fn run(contender: &str, stage: &mut Stage, task: &Task) -> Result<Outcome> {
    stage.ready()?;
    let start = Instant::now();
    match (contender, task.work.as_str()) {
        ("tidelock-retry", "retry") => {
            for call in 0..task.items {
                black_box(tidelock::retry(async |_| operation(black_box(call)).await).await?);
            }
        }
        ("backon", "retry") => {
            for call in 0..task.items {
                let retried = async || operation(black_box(call)).await;
                black_box(retried.retry(backon::ExponentialBuilder::default()).await?);
            }
        }
        ("tidelock-cron", "cron") => slots(task.items)?,
        ("croner", "cron") => slots_of_croner(task.items)?,
        (_, work) => bail!("{contender} does no {work}"),
    }
    Ok(Outcome::rate(task.items, start.elapsed()))
}

/// Succeeds at once, as most calls do, so that the cost of the wrapper is measured.
fn operation(call: usize) -> std::future::Ready<Result<usize, io::Error>> {
    std::future::ready(Ok(call))
}

fn slots(items: usize) -> Result<()> {
    let cron = tidelock::Cron::parse(EXPRESSION)?.tz(ZONE)?;
    let mut slot = Timestamp::from_millis(u64::try_from(BEGIN)? * 1_000);
    for _ in 0..items {
        slot = cron.next_after(slot).context("there is always a next one")?;
    }
    black_box(slot);
    Ok(())
}

fn slots_of_croner(items: usize) -> Result<()> {
    let cron = Cron::from_str(EXPRESSION)?;
    let mut slot: Zoned = jiff::Timestamp::from_second(BEGIN)?.in_tz(ZONE)?;
    for _ in 0..items {
        slot = cron.find_next_occurrence(&slot, false)?;
    }
    black_box(slot);
    Ok(())
}
