//! Permanent data: records of a registry, and schedules.

use std::time::Instant;

use anyhow::{Result, bail};
use tidelock::{DAY, Schedule, Tidelock};

use crate::jobs::{payload, spread};
use crate::protocol::{Outcome, Stage, Task};

const NAME: &str = "compare";
/// The largest capacity that a registry can be configured with; the default is 10,000.
const MOST_RECORDS: u64 = 1_000_000;
/// Requests in flight at once; requests to one object share round trips.
const CALLERS: usize = 64;

pub(crate) async fn run(contender: &str, stage: &mut Stage, task: &Task) -> Result<Outcome> {
    let tide = Tidelock::connect(&task.url).await?;
    stage.ready()?;
    let start = Instant::now();
    match contender {
        "tidelock-registry" => {
            let registry = tide.registry::<String>(NAME).max_entries(MOST_RECORDS).build()?;
            spread(task.items, CALLERS, move |number| {
                let registry = registry.clone();
                async move { Ok(registry.upsert(&format!("key-{number}"), &payload(number)).await.map(drop)?) }
            })
            .await?;
        }
        "tidelock-scheduler" => {
            let job = tide.job::<String, ()>(NAME).build()?;
            let scheduler = tide.scheduler(NAME).build()?;
            spread(task.items, CALLERS, move |number| {
                let (scheduler, job) = (scheduler.clone(), job.clone());
                async move {
                    let schedule = Schedule::every(DAY).job(&job, &payload(number));
                    Ok(scheduler.register(&format!("schedule-{number}"), schedule).await.map(drop)?)
                }
            })
            .await?;
        }
        _ => bail!("there is no contender {contender}"),
    }
    Ok(Outcome::rate(task.items, start.elapsed()))
}
