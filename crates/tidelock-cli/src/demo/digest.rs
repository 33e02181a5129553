//! The digest of a run: a schedule that sends one each second, whichever process leads.

use std::sync::Arc;

use tidelock::job::{Job, JobWorker};
use tidelock::scheduler::{Schedule, Scheduler};
use tidelock::{SECOND, Tidelock};

use super::ledger::{Effect, Entry};
use super::plan::{LEASE, Plan};
use super::worker::Shop;

/// The name of the schedule.
const DIGEST: &str = "digest";

/// The digests' part of one process: it may lead the scheduler, and it works on their jobs.
pub(crate) struct Digests {
    scheduler: Scheduler,
    worker: tidelock::job::RunningJobWorker,
}

impl Digests {
    /// Registers the schedule, as every process does at its start, and takes part.
    pub(crate) async fn begin(plan: &Plan, tide: &Tidelock, shop: &Arc<Shop>) -> tidelock::Result<Self> {
        let (scheduler, job) = (scheduler(plan, tide)?, job(plan, tide)?);
        scheduler.register(DIGEST, Schedule::every(SECOND).job(&job, &())).await?;
        scheduler.start().await?;
        Ok(Self { scheduler, worker: worker(&job, shop).spawn() })
    }

    pub(crate) async fn end(self) -> tidelock::Result<()> {
        self.scheduler.stop().await?;
        self.worker.shutdown(10 * SECOND).await;
        Ok(())
    }
}

fn scheduler(plan: &Plan, tide: &Tidelock) -> tidelock::Result<Scheduler> {
    tide.scheduler(&plan.run).lease(2 * SECOND).build()
}

fn job(plan: &Plan, tide: &Tidelock) -> tidelock::Result<Job<(), ()>> {
    tide.job(&format!("{}.digest", plan.run)).lease(LEASE).attempts(5).build()
}

fn worker(job: &Job<(), ()>, shop: &Arc<Shop>) -> JobWorker<(), ()> {
    job.process_with(Arc::clone(shop), async |shop, run, ()| {
        let slot = run.slot().ok_or("a digest is a run of the schedule")?;
        let entry = || Entry::Digest { slot: slot.slot.as_millis(), number: slot.run };
        match shop.ledger.write(entry)? {
            Effect::Violation(what) => Err(what.into()),
            _ => Ok(()),
        }
    })
}

/// Ends the schedule, and waits for the digests in progress.
pub(crate) async fn finish(plan: &Plan, tide: &Tidelock) -> tidelock::Result<()> {
    let (scheduler, job) = (scheduler(plan, tide)?, job(plan, tide)?);
    scheduler.pause(DIGEST).reason("the run is over").await?;
    loop {
        let stats = job.stats().await?;
        if stats.ready + stats.delayed + stats.running == 0 {
            return Ok(());
        }
        tokio::time::sleep(SECOND / 20).await;
    }
}

/// Number of digests that have ended, as their job counts them.
pub(crate) async fn ended(plan: &Plan, tide: &Tidelock) -> tidelock::Result<u64> {
    let stats = job(plan, tide)?.stats().await?;
    Ok(stats.totals.submitted - (stats.ready + stats.delayed + stats.running))
}

/// Removes what the digests have left on the backend.
pub(crate) async fn delete(plan: &Plan, tide: &Tidelock) -> tidelock::Result<()> {
    scheduler(plan, tide)?.delete().await?;
    job(plan, tide)?.delete().await?;
    Ok(())
}
